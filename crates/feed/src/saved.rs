//! State as bytes: how everything that an engine keeps is written and read back.
//!
//! Own and small, because what is kept is private and must be whole: [`saved!`] names each field of a type once, and the
//! compiler refuses a field that is neither saved nor named as left out. The same list gives the layout as text, whose
//! checksum stands in front of the bytes, so that bytes of another layout are refused and never read as this one. The cost
//! is that a change of any type here is another version of the state, and that the version before needs a reader of its
//! own: a journal that no longer has its first message starts from nothing but such bytes. Kept files of every version,
//! in `tests/kept`, are read by a test.
//!
//! Numbers are written seven bits a byte, smallest first; signed ones with their sign in the lowest bit. Most are small: an
//! engine of fifty instruments takes a third of what fixed widths would. Nothing here panics on any bytes, and what is
//! allocated is bounded by what was read.

use std::collections::{BTreeMap, VecDeque};

use tidebook_book::{DepthBook, Level, Side};
use tidebook_types::records::Instrument;
use tidebook_types::{Health, InstrumentId, Venue};

use crate::engine::FeedOptions;
use crate::status::StatusKind;

/// Bytes that are no saved state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct SavedError {
    /// First byte that cannot be.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// Saved bytes being read.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// Room taken ahead for elements that are said to follow; more comes as they are read.
const AHEAD_MAX: usize = 1_024;

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) const fn error(&self, reason: &'static str) -> SavedError {
        SavedError { offset: self.offset, reason }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, SavedError> {
        let byte = *self.bytes.get(self.offset).ok_or(self.error("the state ends here"))?;
        self.offset += 1;
        Ok(byte)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], SavedError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..count).ok_or(self.error("the state ends here"))?;
        self.offset += count;
        Ok(taken)
    }

    /// How many elements follow: each takes a byte at least.
    pub(crate) fn count(&mut self) -> Result<usize, SavedError> {
        let count = usize::load(self)?;
        if count > self.bytes.len() - self.offset { Err(self.error("more elements than bytes")) } else { Ok(count) }
    }

    pub(crate) const fn end(&self) -> Result<(), SavedError> {
        if self.offset == self.bytes.len() { Ok(()) } else { Err(self.error("bytes behind the state")) }
    }
}

/// What can be saved and loaded.
pub(crate) trait Saved: Sized {
    /// Adds what this is made of.
    fn layout(text: &mut String);
    fn save(&self, out: &mut Vec<u8>);
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError>;
}

/// The layout of the field that `_field` gives.
pub(crate) fn layout_of<T, F: Saved>(_field: impl Fn(&T) -> &F, text: &mut String) {
    F::layout(text);
}

/// Saves the field called `_name`.
#[inline]
pub(crate) fn save_field(field: &impl Saved, out: &mut Vec<u8>, _name: &'static str) {
    #[cfg(test)]
    let begin = out.len();
    field.save(out);
    #[cfg(test)]
    seen::note(_name, out[begin..].iter().any(|&byte| byte != 0));
}

/// Saves the fields named, in this order; those behind `without` begin anew with the value given.
macro_rules! saved {
    ($type:ident { $($field:ident),* $(,)? } $(without { $($left:ident: $value:expr),* $(,)? })?) => {
        impl crate::saved::Saved for $type {
            fn layout(text: &mut String) {
                text.push_str(concat!(stringify!($type), "{"));
                $(
                    #[cfg(test)]
                    crate::saved::seen::note(crate::saved::name_of!($type.$field), false);
                    text.push_str(concat!(stringify!($field), ":"));
                    crate::saved::layout_of(|it: &Self| &it.$field, text);
                    text.push(',');
                )*
                text.push('}');
            }
            fn save(&self, out: &mut Vec<u8>) {
                let Self { $($field,)* $($($left: _,)*)? } = self;
                $(crate::saved::save_field($field, out, crate::saved::name_of!($type.$field));)*
            }
            fn load(input: &mut crate::saved::Input<'_>) -> Result<Self, crate::saved::SavedError> {
                $(let $field = crate::saved::Saved::load(input)?;)*
                Ok(Self { $($field,)* $($($left: $value,)*)? })
            }
        }
    };
    ($type:ident(0)) => {
        impl crate::saved::Saved for $type {
            fn layout(text: &mut String) {
                text.push_str(concat!(stringify!($type), "("));
                crate::saved::layout_of(|it: &Self| &it.0, text);
                text.push(')');
            }
            fn save(&self, out: &mut Vec<u8>) {
                crate::saved::Saved::save(&self.0, out);
            }
            fn load(input: &mut crate::saved::Input<'_>) -> Result<Self, crate::saved::SavedError> {
                crate::saved::Saved::load(input).map(Self)
            }
        }
    };
    ($type:ident: $($name:ident = $code:literal),* $(,)?) => {
        impl crate::saved::Saved for $type {
            fn layout(text: &mut String) {
                #[cfg(test)]
                {
                    $(crate::saved::seen::note(crate::saved::name_of!($type.$name), false);)*
                }
                text.push_str(concat!(stringify!($type), "[" $(, stringify!($name), "=", $code, ",")*, "]"));
            }
            fn save(&self, out: &mut Vec<u8>) {
                #[cfg(test)]
                match self {
                    $(Self::$name => crate::saved::seen::note(crate::saved::name_of!($type.$name), true),)*
                }
                out.push(match self { $(Self::$name => $code,)* });
            }
            fn load(input: &mut crate::saved::Input<'_>) -> Result<Self, crate::saved::SavedError> {
                match input.byte()? {
                    $($code => Ok(Self::$name),)*
                    _ => Err(input.error(concat!("no ", stringify!($type)))),
                }
            }
        }
    };
}
pub(crate) use saved;

/// A field or a case as the test of the kept states calls it.
macro_rules! name_of {
    ($type:ident.$name:ident) => {
        concat!(module_path!(), "::", stringify!($type), ".", stringify!($name))
    };
}
pub(crate) use name_of;

/// Which fields and cases this thread has saved with something in them.
#[cfg(test)]
pub(crate) mod seen {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        static SEEN: RefCell<BTreeMap<&'static str, bool>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub(crate) fn note(name: &'static str, is_something: bool) {
        SEEN.with_borrow_mut(|seen| *seen.entry(name).or_default() |= is_something);
    }

    /// Those that always were nothing, and how many there are in all.
    pub(crate) fn trivial() -> (Vec<&'static str>, usize) {
        SEEN.with_borrow(|seen| (seen.iter().filter(|seen| !seen.1).map(|seen| *seen.0).collect(), seen.len()))
    }
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl Saved for $type {
            fn layout(text: &mut String) {
                text.push_str(stringify!($type));
            }
            #[inline]
            fn save(&self, out: &mut Vec<u8>) {
                let mut rest = *self;
                while rest > 0x7f {
                    out.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
            #[inline]
            fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
                let mut value: Self = 0;
                let mut shift = 0;
                loop {
                    let byte = input.byte()?;
                    let bits = Self::from(byte & 0x7f);
                    // Each number has one form: no bit is lost, and no byte says nothing.
                    if shift >= Self::BITS || bits << shift >> shift != bits || byte == 0 && shift > 0 {
                        return Err(input.error(concat!("no ", stringify!($type))));
                    }
                    value |= bits << shift;
                    if byte & 0x80 == 0 {
                        return Ok(value);
                    }
                    shift += 7;
                }
            }
        }
    )*};
}
unsigned!(u32, u64, u128);

macro_rules! signed {
    ($($type:ty as $unsigned:ty),*) => {$(
        impl Saved for $type {
            fn layout(text: &mut String) {
                text.push_str(stringify!($type));
            }
            #[inline]
            fn save(&self, out: &mut Vec<u8>) {
                ((*self << 1) ^ (*self >> (Self::BITS - 1))).cast_unsigned().save(out);
            }
            #[inline]
            fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
                let value = <$unsigned>::load(input)?;
                Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
            }
        }
    )*};
}
signed!(i64 as u64, i128 as u128);

impl Saved for u8 {
    fn layout(text: &mut String) {
        text.push_str("u8");
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        input.byte()
    }
}

impl Saved for i8 {
    fn layout(text: &mut String) {
        text.push_str("i8");
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.push(self.cast_unsigned());
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        input.byte().map(u8::cast_signed)
    }
}

impl Saved for usize {
    fn layout(text: &mut String) {
        text.push_str("u64");
    }
    fn save(&self, out: &mut Vec<u8>) {
        (*self as u64).save(out);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        Self::try_from(u64::load(input)?).map_err(|_| input.error("a count beyond memory"))
    }
}

impl Saved for bool {
    fn layout(text: &mut String) {
        text.push_str("bool");
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(input.error("neither true nor false")),
        }
    }
}

impl<T: Saved> Saved for Option<T> {
    fn layout(text: &mut String) {
        text.push('?');
        T::layout(text);
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.is_some().save(out);
        if let Some(value) = self {
            value.save(out);
        }
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        bool::load(input)?.then(|| T::load(input)).transpose()
    }
}

impl<A: Saved, B: Saved> Saved for (A, B) {
    fn layout(text: &mut String) {
        text.push('(');
        A::layout(text);
        text.push(',');
        B::layout(text);
        text.push(')');
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.0.save(out);
        self.1.save(out);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        Ok((A::load(input)?, B::load(input)?))
    }
}

impl<A: Saved, B: Saved, C: Saved> Saved for (A, B, C) {
    fn layout(text: &mut String) {
        text.push('(');
        A::layout(text);
        text.push(',');
        B::layout(text);
        text.push(',');
        C::layout(text);
        text.push(')');
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.0.save(out);
        self.1.save(out);
        self.2.save(out);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        Ok((A::load(input)?, B::load(input)?, C::load(input)?))
    }
}

impl<T: Saved + Copy + Default, const N: usize> Saved for [T; N] {
    fn layout(text: &mut String) {
        *text += &format!("{N}*");
        T::layout(text);
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|element| element.save(out));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let mut array = [T::default(); N];
        for element in &mut array {
            *element = T::load(input)?;
        }
        Ok(array)
    }
}

impl<T: Saved> Saved for Vec<T> {
    fn layout(text: &mut String) {
        text.push('*');
        T::layout(text);
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        self.iter().for_each(|element| element.save(out));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let count = input.count()?;
        let mut elements = Self::with_capacity(count.min(AHEAD_MAX));
        for _ in 0..count {
            elements.push(T::load(input)?);
        }
        Ok(elements)
    }
}

impl<T: Saved> Saved for VecDeque<T> {
    fn layout(text: &mut String) {
        Vec::<T>::layout(text);
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        self.iter().for_each(|element| element.save(out));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        Vec::load(input).map(Self::from)
    }
}

impl<T: Saved> Saved for Box<[T]> {
    fn layout(text: &mut String) {
        Vec::<T>::layout(text);
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        self.iter().for_each(|element| element.save(out));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        Vec::load(input).map(Self::from)
    }
}

/// In the order of the keys, each once.
impl<K: Saved + Ord, V: Saved> Saved for BTreeMap<K, V> {
    fn layout(text: &mut String) {
        text.push_str("map");
        <(K, V)>::layout(text);
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.len().save(out);
        for (key, value) in self {
            key.save(out);
            value.save(out);
        }
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let mut map = Self::new();
        for _ in 0..input.count()? {
            let (key, value) = <(K, V)>::load(input)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(input.error("keys out of order"));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

saved!(Level { price, size });
saved!(Side: Bid = 0, Ask = 1);
saved!(FeedOptions { bar_delay_ns, closed_bars_max, instruments_max });
saved!(Instrument {
    ts_event, ts_recv, source_sequence, source_index, instrument_id, symbol, instrument_version, price_exp, size_exp, tick,
    lot,
} without { reserved: [0; 2] });
saved!(Health {
    ts_event, ts_recv, source_sequence, source_index, instrument_id, interval_ns, messages, timed, lag_min_ns, lag_mean_ns,
    lag_max_ns, clock_offset_ns, gaps, resyncs, malformed, instruments, books_usable, connections,
} without { reserved: [0; 4] });

impl Saved for StatusKind {
    fn layout(text: &mut String) {
        text.push_str("StatusKind");
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        Self::from_code(input.byte()?).ok_or(input.error("no status"))
    }
}

impl Saved for Venue {
    fn layout(text: &mut String) {
        text.push_str("Venue");
    }
    fn save(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        Self::from_code(input.byte()?).ok_or(input.error("no venue"))
    }
}

impl Saved for InstrumentId {
    fn layout(text: &mut String) {
        text.push_str("InstrumentId");
    }
    fn save(&self, out: &mut Vec<u8>) {
        self.get().save(out);
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let id = u32::load(input)?;
        let venue = Venue::from_code((id >> 24) as u8).ok_or(input.error("an instrument of no venue"))?;
        Ok(Self::new(venue, id & Self::INDEX_MAX))
    }
}

/// The levels of both sides, best first; how a book lies in memory is its own affair.
impl Saved for DepthBook {
    fn layout(text: &mut String) {
        text.push_str("DepthBook");
        Vec::<Level>::layout(text);
    }
    fn save(&self, out: &mut Vec<u8>) {
        let (bids, asks) = self.counts();
        for (side, count) in [(Side::Bid, bids), (Side::Ask, asks)] {
            count.save(out);
            // Prices stand close together: the steps between them are small numbers.
            let mut last = 0_i64;
            for level in self.levels(side) {
                level.price.wrapping_sub(last).save(out);
                level.size.save(out);
                last = level.price;
            }
        }
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let mut book = Self::new();
        for side in Side::BOTH {
            let mut last = 0_i64;
            for number in 0..input.count()? {
                let level = Level { price: last.wrapping_add(i64::load(input)?), size: i64::load(input)? };
                let follows = number == 0 || (level.price < last) == (side == Side::Bid) && level.price != last;
                if level.size == 0 || !follows {
                    return Err(input.error("levels out of order"));
                }
                book.apply(side, level.price, level.size);
                last = level.price;
            }
        }
        Ok(book)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeedState, STATE_VERSION};

    fn round<T: Saved + PartialEq + std::fmt::Debug>(value: &T) -> usize {
        let mut bytes = Vec::new();
        value.save(&mut bytes);
        let mut input = Input::new(&bytes);
        assert_eq!(T::load(&mut input).as_ref(), Ok(value));
        assert_eq!(input.end(), Ok(()));
        for count in 0..bytes.len() {
            let cut = T::load(&mut Input::new(&bytes[..count]));
            assert!(cut.is_err(), "{count} of {} bytes gave {cut:?}", bytes.len());
        }
        bytes.len()
    }

    #[test]
    fn every_kind_of_value_comes_back_and_a_cut_one_is_an_error() {
        for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
            round(&value);
            round(&i128::from(value));
            round(&Some(value));
        }
        for value in [i128::MAX, i128::MIN] {
            round(&value);
        }
        for value in [0, 127, 128, u64::MAX] {
            round(&value);
            round(&(u32::try_from(value).unwrap_or(u32::MAX), value, value == 0));
        }
        assert_eq!((round(&-64_i64), round(&64_i64), round(&u64::MAX)), (1, 2, 10));
        round(&vec![(1_u64, Some(2_i64)), (3, None)]);
        round(&VecDeque::from([Level { price: -1, size: 1 }]));
        round(&BTreeMap::from([(Box::<[u8]>::from(&b"b"[..]), 1_u64), (Box::from(&b"a"[..]), 2)]));
        round(&[Side::Bid; 3].map(|side| side == Side::Ask));
        round(&InstrumentId::whole_feed(Venue::Kraken));
    }

    /// A field that is nothing in all of them could mean another thing, or be read back wrongly, and no test would tell.
    #[test]
    fn every_field_and_case_is_something_in_one_of_the_kept_states() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kept");
        <FeedState as Saved>::layout(&mut String::new());
        for venue in Venue::ALL {
            let Ok(bytes) = std::fs::read(format!("{kept}/v{STATE_VERSION}-{}.state", venue.name())) else { continue };
            assert_eq!(FeedState::load(venue, &bytes).unwrap().save(), bytes, "{}", venue.name());
        }
        let (trivial, count) = seen::trivial();
        // Neither record has a venue time, and changes are dropped from 10,000 on.
        let never = ["engine::Counters.kept_dropped", "saved::Health.ts_event", "saved::Instrument.ts_event"];
        assert_eq!(trivial, never.map(|name| format!("tidebook_feed::{name}")));
        assert!(count > 200, "only {count} are known");
    }

    #[test]
    fn what_is_no_value_is_an_error() {
        let number = |bytes: &[u8]| u64::load(&mut Input::new(bytes));
        assert!(number(&[0xff; 10]).is_err() && number(&[0x80, 0]).is_err());
        assert!(u32::load(&mut Input::new(&[0xff, 0xff, 0xff, 0xff, 0x1f])).is_err());
        assert!(bool::load(&mut Input::new(&[2])).is_err() && Side::load(&mut Input::new(&[2])).is_err());
        let mut many = Vec::new();
        u64::MAX.save(&mut many);
        assert!(Vec::<u8>::load(&mut Input::new(&many)).is_err() && DepthBook::load(&mut Input::new(&many)).is_err());
        let twice = [2, 1, b'b', 0, 1, b'b', 0];
        assert!(BTreeMap::<Box<[u8]>, u64>::load(&mut Input::new(&twice)).is_err());
        assert!(InstrumentId::load(&mut Input::new(&[0])).is_err());
    }

    #[test]
    fn a_book_comes_back_with_every_level_whatever_its_prices() {
        let mut book = DepthBook::new();
        for (number, price) in [i64::MAX, i64::MIN, 0, -1, 1, 77].into_iter().enumerate() {
            for side in Side::BOTH {
                book.apply(side, price, 1 + number as i64);
            }
        }
        let mut bytes = Vec::new();
        book.save(&mut bytes);
        let again = DepthBook::load(&mut Input::new(&bytes)).unwrap();
        assert_eq!((again.state_hash(), again.counts()), (book.state_hash(), book.counts()));
        // Two bids, the second no lower.
        assert!(DepthBook::load(&mut Input::new(&[2, 10, 2, 0, 2, 0])).is_err());
        assert!(DepthBook::load(&mut Input::new(&[2, 10, 2, 2, 2, 0])).is_err());
        assert!(DepthBook::load(&mut Input::new(&[1, 10, 0, 0])).is_err(), "a level of nothing");
    }
}
