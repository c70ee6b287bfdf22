//! How what risk keeps is hashed, saved and loaded: field by field, in one list.
//!
//! A struct names its fields once, in [`plain!`]; what is not named there is scratch, or is made again from the rest.

pub(crate) use tidebook_types::mix;

/// Bytes that are being loaded.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// What cannot be, and where.
#[derive(Debug)]
pub(crate) struct PlainError {
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.offset..]
    }

    pub(crate) const fn error(&self, reason: &'static str) -> PlainError {
        PlainError { offset: self.offset, reason }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], PlainError> {
        let found = self.rest().first_chunk::<N>().ok_or_else(|| self.error("the bytes end"))?;
        self.offset += N;
        Ok(*found)
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<&'a [u8], PlainError> {
        let found = self.rest().get(..count).ok_or_else(|| self.error("the bytes end"))?;
        self.offset += count;
        Ok(found)
    }

    /// How many elements follow: never more than there are bytes.
    pub(crate) fn count(&mut self) -> Result<usize, PlainError> {
        let count = u64::load(self)?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest().len())
            .ok_or_else(|| self.error("a count beyond the bytes"))
    }
}

pub(crate) trait Plain: Copy {
    fn save(&self, out: &mut Vec<u8>);
    fn load(input: &mut Input<'_>) -> Result<Self, PlainError>;
    fn hash(&self, state: u64) -> u64;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Plain for $type {
            fn save(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn load(input: &mut Input<'_>) -> Result<Self, PlainError> {
                Ok(Self::from_le_bytes(input.take()?))
            }
            fn hash(&self, state: u64) -> u64 {
                mix(state, *self as u64)
            }
        }
    )*};
}
numbers!(u8, i8, u32, i32, u64, i64);

/// Largest sum the ledger speaks of, with room for adding.
const SUM_MAX: i128 = 1 << 125;

impl Plain for i128 {
    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn load(input: &mut Input<'_>) -> Result<Self, PlainError> {
        let value = Self::from_le_bytes(input.take()?);
        if value.unsigned_abs() > SUM_MAX.unsigned_abs() {
            Err(input.error("an amount beyond the ledger"))
        } else {
            Ok(value)
        }
    }
    fn hash(&self, state: u64) -> u64 {
        mix(mix(state, *self as u64), (*self >> 64) as u64)
    }
}

impl Plain for bool {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, PlainError> {
        match input.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(input.error("neither true nor false")),
        }
    }
    fn hash(&self, state: u64) -> u64 {
        mix(state, u64::from(*self))
    }
}

impl<const N: usize> Plain for [u8; N] {
    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, PlainError> {
        input.take()
    }
    fn hash(&self, state: u64) -> u64 {
        self.chunks(8).fold(state, |state, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix(state, u64::from_le_bytes(word))
        })
    }
}

/// Saves, loads and hashes the named fields in their order; the others are as in `Default`.
macro_rules! plain {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl crate::plain::Plain for $type {
            fn save(&self, out: &mut Vec<u8>) {
                $(crate::plain::Plain::save(&self.$field, out);)*
            }
            fn load(input: &mut crate::plain::Input<'_>) -> Result<Self, crate::plain::PlainError> {
                let mut value = Self::default();
                $(value.$field = crate::plain::Plain::load(input)?;)*
                Ok(value)
            }
            #[inline]
            fn hash(&self, state: u64) -> u64 {
                $(let state = crate::plain::Plain::hash(&self.$field, state);)*
                state
            }
        }
    };
}
pub(crate) use plain;
