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

    /// The worked example of a recorded opening snapshot: one decimal in prices, eight in sizes.
    #[test]
    fn the_published_rule_gives_the_venue_s_number() {
        let asks = [
            (633_888, 34_887_114),
            (633_890, 5_100),
            (633_898, 12_000),
            (633_902, 1_586_649),
            (633_921, 5_100),
            (633_922, 3_016_950),
            (633_953, 5_100),
            (633_960, 157_739),
            (633_981, 22_148_007),
            (633_982, 74_355_413),
        ];
        let bids = [
            (633_887, 25_761_908),
            (633_881, 78_879_110),
            (633_874, 23_660_683),
            (633_869, 78_880_630),
            (633_868, 1_612_983),
            (633_864, 23_660_676),
            (633_861, 5_955_181),
            (633_859, 5_100),
            (633_858, 74_197_679),
            (633_845, 78_883_523),
        ];
        let mut book = DepthBook::new();
        for (price, size) in asks {
            book.apply(Side::Ask, price, size);
        }
        for (price, size) in bids {
            book.apply(Side::Bid, price, size);
        }
        assert_eq!(of(&book), 3_726_153_463);
        // Below the tenth level anything may happen.
        book.apply(Side::Bid, 633_810, 1);
        assert_eq!(of(&book), 3_726_153_463);
        book.apply(Side::Bid, 633_887, 25_761_909);
        assert_ne!(of(&book), 3_726_153_463);
    }
}
