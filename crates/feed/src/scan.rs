//! A pull scanner over the JSON of one message.
//!
//! Decoders ask for what they expect, in one pass, and borrow from the message: nothing is allocated and nothing is
//! built that nobody reads. The price is that decoders see raw text: a string's escapes are skipped, not decoded,
//! which is enough for the ASCII words, ids and decimals that venues send. Every byte of a frame is checked to be
//! JSON in structure, so a cut or damaged frame is an error and never half a message.

/// Why a frame is not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {expected} expected")]
pub struct ScanError {
    /// Bytes from the start of the body.
    pub offset: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// What a message says that nobody here knows. It is passed over, counted, and changes nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// Fields, or columns behind those we know.
    pub(crate) fields: u64,
    /// Words that are not of the list their field has.
    pub(crate) values: u64,
}

impl Unknown {
    /// Steps over the rest of an array whose columns we know are read.
    pub(crate) fn columns(&mut self, scanner: &mut Scanner<'_>, first: &mut bool) -> Result<(), ScanError> {
        while scanner.element(first)? {
            scanner.skip()?;
            self.fields += 1;
        }
        Ok(())
    }

    /// Steps over the value of a field that is not read; `known` says whether the venue's documents have it.
    pub(crate) fn field(&mut self, scanner: &mut Scanner<'_>, known: bool) -> Result<(), ScanError> {
        scanner.skip()?;
        self.fields += u64::from(!known);
        Ok(())
    }
}

/// Deepest nesting of a value that is skipped.
const DEPTH_MAX: u32 = 64;

/// Position in the JSON text of one message.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes consumed.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Continues at `position`, which an earlier call of [`Self::position`] gave.
    pub const fn seek(&mut self, position: usize) {
        self.position = position;
    }

    /// The whole text.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// An error at the current position.
    pub const fn error(&self, expected: &'static str) -> ScanError {
        ScanError { offset: self.position, expected }
    }

    /// The next byte that is no white space, not consumed.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.position) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.position += 1,
                other => return other.copied(),
            }
        }
    }

    /// Consumes `byte`.
    #[inline]
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ScanError> {
        if self.peek() == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        Err(self.error(expected))
    }

    /// Steps to the next key of an object whose `{` was consumed, past its colon; `None` past the closing brace.
    /// `first` starts true and belongs to the object.
    #[inline]
    pub fn key(&mut self, first: &mut bool) -> Result<Option<&'a [u8]>, ScanError> {
        if !self.step(first, b'}', "',' or '}'")? {
            return Ok(None);
        }
        let key = self.string()?;
        self.expect(b':', "':'")?;
        Ok(Some(key))
    }

    /// Steps to the next element of an array whose `[` was consumed; false past the closing bracket.
    #[inline]
    pub fn element(&mut self, first: &mut bool) -> Result<bool, ScanError> {
        self.step(first, b']', "',' or ']'")
    }

    #[inline]
    fn step(&mut self, first: &mut bool, close: u8, expected: &'static str) -> Result<bool, ScanError> {
        match self.peek() {
            Some(byte) if byte == close => {
                self.position += 1;
                Ok(false)
            }
            _ if *first => {
                *first = false;
                Ok(true)
            }
            Some(b',') => {
                self.position += 1;
                if self.peek() == Some(close) { Err(self.error("an element")) } else { Ok(true) }
            }
            _ => Err(self.error(expected)),
        }
    }

    /// The raw text between the quotes of a string.
    #[inline]
    pub fn string(&mut self) -> Result<&'a [u8], ScanError> {
        self.expect(b'"', "a string")?;
        let start = self.position;
        let mut position = start;
        while let Some(&byte) = self.bytes.get(position) {
            match byte {
                b'"' => {
                    self.position = position + 1;
                    return Ok(&self.bytes[start..position]);
                }
                b'\\' => position += 2,
                _ => position += 1,
            }
        }
        self.position = self.bytes.len();
        Err(self.error("the end of a string"))
    }

    /// The text of a number.
    #[inline]
    pub fn number(&mut self) -> Result<&'a [u8], ScanError> {
        self.peek();
        let rest = &self.bytes[self.position..];
        let size = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'))
            .unwrap_or(rest.len());
        if size == 0 {
            return Err(self.error("a number"));
        }
        self.position += size;
        Ok(&rest[..size])
    }

    /// An unsigned integer.
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, ScanError> {
        let start = self.position;
        let text = self.number()?;
        parse_unsigned(text).ok_or(ScanError { offset: start, expected: "an unsigned integer" })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, ScanError> {
        self.peek();
        for (text, value) in [(&b"true"[..], true), (b"false", false)] {
            if self.bytes[self.position..].starts_with(text) {
                self.position += text.len();
                return Ok(value);
            }
        }
        Err(self.error("true or false"))
    }

    /// Steps over one value of any kind, checking its structure; returns its text.
    pub fn skip(&mut self) -> Result<&'a [u8], ScanError> {
        self.peek();
        let start = self.position;
        // Bit per open bracket, lowest innermost: 1 for an object. An explicit stack: hostile nesting cannot
        // overflow ours.
        let mut objects: u64 = 0;
        let mut depth: u32 = 0;
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == DEPTH_MAX {
                        return Err(self.error("nesting of at most 64"));
                    }
                    self.position += 1;
                    depth += 1;
                    objects = objects << 1 | u64::from(open == b'{');
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(close) {
                        if open == b'{' {
                            self.string()?;
                            self.expect(b':', "':'")?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't' | b'f') => {
                    self.boolean()?;
                }
                Some(b'n') if self.bytes[self.position..].starts_with(b"null") => self.position += 4,
                _ => {
                    self.number()?;
                }
            }
            // A value ended: close what ends with it, then go on to the next one or leave.
            loop {
                if depth == 0 {
                    return Ok(&self.bytes[start..self.position]);
                }
                let in_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.position += 1;
                        if in_object {
                            self.string()?;
                            self.expect(b':', "':'")?;
                        }
                        break;
                    }
                    Some(byte) if byte == if in_object { b'}' } else { b']' } => {
                        self.position += 1;
                        objects >>= 1;
                        depth -= 1;
                    }
                    _ => return Err(self.error("',' or a closing bracket")),
                }
            }
        }
    }

    /// Nothing but white space is left.
    pub fn end(&mut self) -> Result<(), ScanError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.error("the end of the message")) }
    }
}

/// The integer `text` spells in decimal digits alone, if it fits.
#[inline]
pub fn parse_unsigned(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_one_pass_whatever_the_white_space() {
        let mut scanner = Scanner::new(b" { \"a\" : 12 , \"b\":[\"x\\\"y\", true] ,\"c\":{}}\n");
        let mut first = true;
        scanner.expect(b'{', "'{'").unwrap();
        assert_eq!(scanner.key(&mut first), Ok(Some(&b"a"[..])));
        assert_eq!(scanner.unsigned(), Ok(12));
        assert_eq!(scanner.key(&mut first), Ok(Some(&b"b"[..])));
        scanner.expect(b'[', "'['").unwrap();
        let mut first_element = true;
        assert_eq!(scanner.element(&mut first_element), Ok(true));
        assert_eq!(scanner.string(), Ok(&b"x\\\"y"[..]));
        assert_eq!(scanner.element(&mut first_element), Ok(true));
        assert_eq!(scanner.boolean(), Ok(true));
        assert_eq!(scanner.element(&mut first_element), Ok(false));
        assert_eq!(scanner.key(&mut first), Ok(Some(&b"c"[..])));
        assert_eq!(scanner.skip(), Ok(&b"{}"[..]));
        assert_eq!(scanner.key(&mut first), Ok(None));
        assert_eq!(scanner.end(), Ok(()));
    }

    #[test]
    fn a_string_ends_at_its_first_quote_that_is_not_escaped() {
        for size in 0..40 {
            let plain = "x".repeat(size);
            for (inside, behind) in
                [(plain.clone(), ""), (format!("{plain}\\\"y\\\\"), "  and \" more"), (plain, "\"\"")]
            {
                let text = format!("\"{inside}\"{behind}");
                let mut scanner = Scanner::new(text.as_bytes());
                assert_eq!(scanner.string(), Ok(inside.as_bytes()), "{text}");
                assert_eq!(scanner.position(), inside.len() + 2, "{text}");
                assert!(Scanner::new(&text.as_bytes()[..inside.len() + 1]).string().is_err(), "{text}");
            }
        }
    }

    #[test]
    fn a_value_cut_at_any_byte_is_an_error() {
        let text = br#"{"a":[1,-2.5e3,{"b":null,"c":[true,false,"\"}"]}],"d":{}}"#;
        assert_eq!(Scanner::new(text).skip(), Ok(&text[..]));
        for size in 0..text.len() {
            let mut scanner = Scanner::new(&text[..size]);
            assert!(scanner.skip().is_err(), "{size}");
        }
    }

    #[test]
    fn wrong_structure_is_an_error_and_deep_nesting_too() {
        for text in ["[1 2]", "[1,]", "{\"a\":1,}", "{\"a\" 1}", "[1}", "{1:2}", "nul", "tru", "]", ",", "{\"a\":}"] {
            let mut scanner = Scanner::new(text.as_bytes());
            assert!(scanner.skip().and_then(|_| scanner.end()).is_err(), "{text}");
        }
        assert!(Scanner::new(&[b'['; 1_000]).skip().is_err());
        let mut deepest = vec![b'['; 64];
        deepest.extend(vec![b']'; 64]);
        assert!(Scanner::new(&deepest).skip().is_ok());
    }
}
