//! Kraken's book checksum (WebSocket v2).
//!
//! CRC32 (zlib's polynomial) over ASCII digits: ten best asks, lowest price first, then ten best bids, highest first; of
//! each level the price without its point and leading zeros, then the same of the size. Trailing zeros count, so units
//! must be those of the wire's own precision: at that exponent the integer's digits are the text wanted.
//!
//! Source: Kraken API documentation, "Spot WebSockets (v2), book checksum"; reproduced on 3,500 recorded messages.

use tidebook_book::{DepthBook, Side};

/// Levels of a side that the checksum covers, whatever the subscribed depth.
pub(crate) const LEVELS: usize = 10;

/// Digits of the largest `i64`.
const DIGITS_MAX: usize = 19;

/// Digits written at once; those that a number does not have lie behind the text and are written over.
const CHUNK: usize = 8;
const CHUNK_UNITS: u64 = 100_000_000;

/// The checksum of a book.
pub(crate) fn of(book: &DepthBook) -> u32 {
    let mut text = [0u8; 2 * LEVELS * 2 * DIGITS_MAX + CHUNK];
    let mut size = 0;
    for side in [Side::Ask, Side::Bid] {
        for level in book.levels(side).take(LEVELS) {
            size = append(&mut text, size, level.price);
            size = append(&mut text, size, level.size);
        }
    }
    crc32fast::hash(&text[..size])
}

/// Appends the digits of a number above 0, as many as it has; returns the new size.
#[inline]
fn append(text: &mut [u8], size: usize, number: i64) -> usize {
    let number = number.unsigned_abs();
    let (above, below) = (number / CHUNK_UNITS, number % CHUNK_UNITS);
    if above == 0 {
        return append_first(text, size, below);
    }
    let size = if above < CHUNK_UNITS {
        append_first(text, size, above)
    } else {
        let size = append_first(text, size, above / CHUNK_UNITS);
        write(text, size, eight_digits(above % CHUNK_UNITS), CHUNK)
    };
    write(text, size, eight_digits(below), CHUNK)
}

/// Appends the digits of a number from 1 to 10^8 - 1 without the zeros in front of them; nothing for 0.
#[inline]
fn append_first(text: &mut [u8], size: usize, number: u64) -> usize {
    let digits = eight_digits(number);
    let zeros = (digits | 1 << 63).trailing_zeros() / 8;
    let count = if number == 0 { 0 } else { CHUNK - zeros as usize };
    write(text, size, digits >> (8 * zeros), count)
}

#[inline]
fn write(text: &mut [u8], size: usize, digits: u64, count: usize) -> usize {
    let ascii = digits + u64::from_le_bytes([b'0'; CHUNK]);
    text[size..size + CHUNK].copy_from_slice(&ascii.to_le_bytes());
    size + count
}

/// The eight digits of a number below 10^8, one a byte, the first in the lowest: halved three times, each half with its own
/// multiplication in place of divisions.
#[inline]
const fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_the_digits_they_have() {
        let mut random = tidebook_testkit::Random::new(4);
        let edges =
            [1, 9, 10, 99_999_999, 100_000_000, 100_000_001, 9_999_999_999_999_999, 10_000_000_000_000_000, i64::MAX];
        let others = (0..50_000).map(|_| {
            let bits = random.below(63);
            (random.next_u64() >> (63 - bits) >> 1).cast_signed().max(1)
        });
        for number in edges.into_iter().chain(others) {
            let mut text = [b'x'; 40];
            let size = append(&mut text, 3, number);
            assert_eq!(text[3..size].escape_ascii().to_string(), number.to_string());
        }
    }

    /// CRC-32 bit by bit, as its definition has it.
    fn crc32(text: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for &byte in text {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
            }
        }
        !crc
    }

    /// A made-up book of one decimal in prices, eight in sizes. Its text is put together from the decimals as the venue's rule
    /// says; zlib gives the same number.
    #[test]
    fn the_published_rule_gives_the_checksum() {
        let asks = [
            ("25000.1", "0.00000007"),
            ("25000.5", "0.00001250"),
            ("25001.5", "0.40000000"),
            ("25003.1", "0.99999999"),
            ("25005.3", "1.00000000"),
            ("25008.1", "1.23456789"),
            ("25011.5", "0.00005000"),
            ("25015.5", "0.00000310"),
            ("25020.1", "0.02718281"),
            ("25025.3", "0.00000060"),
        ];
        let bids = [
            ("25000.0", "0.31415926"),
            ("24999.7", "0.00000008"),
            ("24999.0", "5.00000000"),
            ("24997.9", "0.00010000"),
            ("24996.4", "0.00000077"),
            ("24994.5", "10.00000007"),
            ("24992.2", "0.00000640"),
            ("24989.5", "0.25000000"),
            ("24986.4", "0.00000009"),
            ("24982.9", "0.00086400"),
        ];
        let units = |text, exponent| tidebook_types::parse_units(text, exponent).unwrap();
        let (mut book, mut text) = (DepthBook::new(), String::new());
        for (side, levels) in [(Side::Ask, asks), (Side::Bid, bids)] {
            for (price, size) in levels {
                book.apply(side, units(price.as_bytes(), 1), units(size.as_bytes(), 8));
                text += price.replace('.', "").trim_start_matches('0');
                text += size.replace('.', "").trim_start_matches('0');
            }
        }
        assert_eq!(crc32(text.as_bytes()), 4_163_101_735);
        assert_eq!(of(&book), 4_163_101_735);
        // Below the tenth level anything may happen.
        book.apply(Side::Bid, 249_000, 1);
        assert_eq!(of(&book), 4_163_101_735);
        book.apply(Side::Bid, 250_000, 31_415_927);
        assert_ne!(of(&book), 4_163_101_735);
    }
}
