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

/// The checksum of a book.
pub(crate) fn of(book: &DepthBook) -> u32 {
    let mut text = [0u8; 2 * LEVELS * 2 * DIGITS_MAX];
    let mut size = 0;
    for side in [Side::Ask, Side::Bid] {
        for level in book.levels(side).take(LEVELS) {
            size = append(&mut text, size, level.price);
            size = append(&mut text, size, level.size);
        }
    }
    crc32fast::hash(&text[..size])
}

/// Appends the digits of a number above 0; returns the new size.
#[inline]
fn append(text: &mut [u8], size: usize, number: i64) -> usize {
    let mut digits = [0u8; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let count = DIGITS_MAX - start;
    text[size..size + count].copy_from_slice(&digits[start..]);
    size + count
}

#[cfg(test)]
mod tests {
    use super::*;

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
