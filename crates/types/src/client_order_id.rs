//! The client's own id of an order: a text outside, 16 bytes inside.
//!
//! Two kinds of text fit without loss: a UUID (RFC 9562), and up to 20 letters, digits, `_` and `-`. A UUID has the bits 10 where its
//! variant stands; a text puts 11 there, so that no id is both and each has one text. The cost: nil, max and the UUIDs of other
//! variants are no ids.

use std::fmt;
use std::str::FromStr;

/// Characters of the longest text that is no UUID.
pub const TEXT_LENGTH_MAX: usize = 20;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
/// Lowest of the two bits of the variant.
const VARIANT_SHIFT: u32 = 62;
const VARIANT_UUID: u128 = 0b10;
const VARIANT_TEXT: u128 = 0b11;
/// Bits of the characters, below the length.
const CONTENT_BITS: u32 = 6 * TEXT_LENGTH_MAX as u32;

/// A client's id as it stands in commands; all zero for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClientOrderId(pub [u8; 16]);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("client order id {text:?}: a UUID (RFC 9562), or 1 to 20 of the characters A-Z a-z 0-9 _ - is wanted")]
pub struct ClientOrderIdError {
    /// The text, cut after 64 characters.
    pub text: String,
}

impl ClientOrderId {
    /// No id.
    pub const NONE: Self = Self([0; 16]);

    /// Whether there is one.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }

    /// Its text; `None` for no id and for bytes that no text gives. A UUID comes in small letters.
    pub fn text(self) -> Option<String> {
        let bits = u128::from_be_bytes(self.0);
        match bits >> VARIANT_SHIFT & 0b11 {
            VARIANT_UUID => {
                let hex = format!("{bits:032x}");
                Some(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
            }
            VARIANT_TEXT => {
                let packed = bits >> 64 << VARIANT_SHIFT | bits & ((1 << VARIANT_SHIFT) - 1);
                let length =
                    usize::try_from(packed >> CONTENT_BITS).ok().filter(|length| *length <= TEXT_LENGTH_MAX)?;
                let text: String =
                    (0..length).map(|index| char::from(ALPHABET[(packed >> (6 * index)) as usize & 63])).collect();
                (packed_text(&text)? == bits).then_some(text)
            }
            _ => None,
        }
    }
}

/// The bits of a text that is no UUID.
fn packed_text(text: &str) -> Option<u128> {
    if text.is_empty() || text.len() > TEXT_LENGTH_MAX {
        return None;
    }
    let mut packed = (text.len() as u128) << CONTENT_BITS;
    for (index, byte) in text.bytes().enumerate() {
        packed |= (ALPHABET.iter().position(|&known| known == byte)? as u128) << (6 * index);
    }
    Some(packed >> VARIANT_SHIFT << 64 | VARIANT_TEXT << VARIANT_SHIFT | packed & ((1 << VARIANT_SHIFT) - 1))
}

/// The bits of a UUID in its usual form.
fn uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    let hyphens = [8, 13, 18, 23];
    if bytes.len() != 36 || !hyphens.iter().all(|&place| bytes[place] == b'-') {
        return None;
    }
    let mut bits = 0;
    for (index, &byte) in bytes.iter().enumerate().filter(|(index, _)| !hyphens.contains(index)) {
        debug_assert!(index < 36);
        bits = bits << 4 | u128::from(char::from(byte).to_digit(16)?);
    }
    (bits >> VARIANT_SHIFT & 0b11 == VARIANT_UUID).then_some(bits)
}

impl FromStr for ClientOrderId {
    type Err = ClientOrderIdError;

    /// The id of a text: a UUID in either case of letters, or up to 20 characters in which case counts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid(text)
            .or_else(|| packed_text(text))
            .map(|bits| Self(bits.to_be_bytes()))
            .ok_or_else(|| ClientOrderIdError { text: text.chars().take(64).collect() })
    }
}

impl fmt::Display for ClientOrderId {
    /// Its text; `-` for none, and bytes that no text gives as `0x` and their digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.pad(&text),
            None if *self == Self::NONE => f.pad("-"),
            None => f.pad(&format!("0x{:032x}", u128::from_be_bytes(self.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_was_and_no_two_have_the_same_bytes() {
        let texts = [
            "a",
            "A",
            "-",
            "_",
            "0",
            "AA",
            "AAA",
            "aaaaaaaaaaaaaaaaaaaa",
            "AAAAAAAAAAAAAAAAAAAA",
            "--------------------",
            "order-17_b",
            "00000000-0000-4000-8000-000000000000",
            "ffffffff-ffff-ffff-bfff-ffffffffffff",
            "01890a5d-ac96-774b-bcce-b302099a8057",
        ];
        let ids: Vec<_> = texts.iter().map(|text| text.parse::<ClientOrderId>().unwrap()).collect();
        for (index, id) in ids.iter().enumerate() {
            assert_eq!(id.to_string(), texts[index]);
            assert!(id.is_some() && ids[..index].iter().all(|other| other != id), "{}", texts[index]);
        }
        let capital = "01890A5D-AC96-774B-BCCE-B302099A8057".parse::<ClientOrderId>().unwrap();
        assert_eq!(capital.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
    }

    #[test]
    fn what_would_not_come_back_is_an_error() {
        for text in [
            "",
            " ",
            "a b",
            "aaaaaaaaaaaaaaaaaaaaa",
            "ä",
            "a.b",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "01890a5dac96774bbcceb302099a8057",
            "01890a5d-ac96-774b-bcce-b302099a805g",
        ] {
            assert!(text.parse::<ClientOrderId>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_that_no_text_gives_are_shown_as_such() {
        assert_eq!((ClientOrderId::NONE.text(), ClientOrderId::NONE.to_string()), (None, "-".to_owned()));
        assert_eq!(ClientOrderId([1; 16]).to_string(), format!("0x{}", "01".repeat(16)));
        // The longest text and one bit more: a length of 21 and above, or characters behind the end.
        let mut bits = u128::from_be_bytes("A".parse::<ClientOrderId>().unwrap().0);
        bits |= 1 << 6;
        assert_eq!(ClientOrderId(bits.to_be_bytes()).text(), None);
        assert_eq!(ClientOrderId([0xff; 16]).text(), None);
    }
}
