//! Prices and sizes from wire text, fast for the form that nearly all of them have.
//!
//! Binance spot prints every decimal with eight places, so a number is up to seven digits, a point, eight digits and a
//! quote: two loads of eight bytes, each turned into a number without a loop. Its futures print the decimals of the
//! instrument: short numbers, for which one loop without checks inside is enough. Everything else goes the careful way
//! through [`tidebook_types::parse_units`].

use tidebook_types::{DecimalError, Exponent, parse_units};

/// The exponent the fast form has.
pub(crate) const FAST_EXPONENT: Exponent = 8;

const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;

/// The number spelled by eight ASCII digits, first digit in the lowest byte.
#[inline]
const fn eight_digits(word: u64) -> Option<u64> {
    let digits = word ^ ASCII_ZEROS;
    // A byte above 9 either has its high bit set already or gets it by adding 0x76.
    if (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & HIGH_BITS != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}

#[inline]
fn load(bytes: &[u8], at: usize) -> Option<u64> {
    let word: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(word))
}

/// Units at exponent 8 of a quoted decimal whose first digit is at `at`, with the place behind its closing quote; `None`
/// when it does not have the fast form, which is no error.
#[inline]
pub(crate) fn quoted_at_eight(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let head = load(bytes, at)?;
    // Lowest byte that is a point: the classic zero-byte test over head xor points.
    let points = head ^ (LOW_BITS * b'.' as u64);
    let found = points.wrapping_sub(LOW_BITS) & !points & HIGH_BITS;
    let digits = found.trailing_zeros() / 8;
    if found == 0 || digits == 0 {
        return None;
    }
    let point = at + digits as usize;
    let fraction = eight_digits(load(bytes, point + 1)?)?;
    if *bytes.get(point + 9)? != b'"' {
        return None;
    }
    // Push the digits to the top and fill up with leading zeros.
    let whole = eight_digits((head << (64 - 8 * digits)) | (ASCII_ZEROS >> (8 * digits)))?;
    Some(((whole * 100_000_000 + fraction) as i64, point + 10))
}

/// Characters of a number that [`until`] reads: with a point among them its digits fit any 64 bits.
const CHARACTERS_MAX: usize = 18;

/// 10^0 to 10^18.
const POWERS: [i64; 19] = {
    let mut powers = [1; 19];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// Units at `exponent` of a quoted decimal whose first digit is at `at`, with the place behind its closing quote; `None`
/// when it is long, has more decimals than the exponent, or is no number, which is for the careful way to say.
#[inline]
pub(crate) fn quoted(bytes: &[u8], at: usize, exponent: Exponent) -> Option<(i64, usize)> {
    until(bytes, at, b'"', exponent)
}

/// As [`quoted`], of a decimal that ends at the byte `end`, which is neither a digit nor a point. One step a character: of
/// numbers as short as these that is fewer than eight characters at once need, measured.
#[inline]
pub(crate) fn until(bytes: &[u8], at: usize, end: u8, exponent: Exponent) -> Option<(i64, usize)> {
    let text = &bytes[at.min(bytes.len())..bytes.len().min(at + CHARACTERS_MAX + 1)];
    let mut units: i64 = 0;
    let mut point = None;
    for (place, &byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            // A digit at the last place is one too many, and there is no end behind it.
            units = units.wrapping_mul(10).wrapping_add(digit.into());
        } else if byte == b'.' && point.is_none() && place > 0 {
            point = Some(place);
        } else if byte == end && place > 0 {
            let decimals = point.map_or(0, |point| place - point - 1);
            let missing = usize::from(exponent).checked_sub(decimals)?;
            return Some((units.checked_mul(*POWERS.get(missing)?)?, at + place + 1));
        } else {
            return None;
        }
    }
    None
}

/// Seconds as ns, to the nearest where a sender's float has more digits (`35821.088778456004`). Not negative.
pub(crate) fn nearest_nanoseconds(text: &[u8]) -> Option<i64> {
    let ns = match parse_units(text, 9) {
        Err(DecimalError::TooPrecise { .. }) => {
            let end = text.iter().position(|&byte| byte == b'.')? + 10;
            let up = text.get(end).is_some_and(|&digit| digit >= b'5');
            parse_units(&text[..end], 9).ok()?.checked_add(up.into())?
        }
        other => other.ok()?,
    };
    (ns >= 0 && !text.starts_with(b"-")).then_some(ns)
}

/// Units nearest to a decimal that its sender printed from a binary float (`1.7885566900000001`, `5e-05`), or `None` when it
/// is no such number: when it is not within a thousandth of a unit of one.
pub(crate) fn nearest_units(text: &[u8], exponent: Exponent) -> Option<i64> {
    let size = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let power: i32 = match text.get(size + 1..) {
        None => 0,
        Some(power) => std::str::from_utf8(power).ok()?.parse().ok()?,
    };
    let mut mantissa: u128 = 0;
    let mut fraction: Option<i32> = None;
    let mut digits = 0;
    for &byte in &text[..size] {
        match byte {
            b'.' if fraction.is_none() => fraction = Some(0),
            b'0'..=b'9' => {
                mantissa = mantissa.checked_mul(10)?.checked_add((byte - b'0').into())?;
                fraction = fraction.map(|count| count + 1);
                digits += 1;
            }
            _ => return None,
        }
    }
    if digits == 0 {
        return None;
    }
    let shift = i32::from(exponent).checked_add(power)? - fraction.unwrap_or(0);
    let scale = 10u128.checked_pow(shift.unsigned_abs())?;
    let units = if shift >= 0 {
        mantissa.checked_mul(scale)?
    } else {
        let (below, rest) = (mantissa / scale, mantissa % scale);
        let (units, off) = if rest * 2 < scale { (below, rest) } else { (below + 1, scale - rest) };
        if off.checked_mul(1_000)? > scale {
            return None;
        }
        units
    };
    i64::try_from(units).ok()
}

/// Decimals of `text` that are not trailing zeros.
pub(crate) fn significant_decimals(text: &[u8]) -> u8 {
    let Some(point) = text.iter().position(|&byte| byte == b'.') else { return 0 };
    let last = text.iter().rposition(|&byte| byte != b'0').unwrap_or(0);
    u8::try_from(last.saturating_sub(point)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_form_agrees_with_the_careful_one() {
        let mut random = tidebook_testkit::Random::new(1);
        for digits in 1..=7 {
            for _ in 0..2_000 {
                let whole = random.below(10u64.pow(digits));
                let text = format!("{whole:0width$}.{:08}", random.below(100_000_000), width = digits as usize);
                let quoted = format!("{text}\",\"0.00000000\"]");
                let expected = parse_units(text.as_bytes(), 8).unwrap();
                assert_eq!(quoted_at_eight(quoted.as_bytes(), 0), Some((expected, text.len() + 1)), "{text}");
            }
        }
    }

    #[test]
    fn any_other_form_is_left_to_the_careful_way() {
        for text in [
            "12345678.00000000\"",
            ".00000000\"______",
            "1.0000000\"_______",
            "1.000000000\"_____",
            "1.0000000x\"______",
            "1:.00000000\"_____",
            "-1.00000000\"_____",
            "1.00000000",
            "1",
            "",
        ] {
            assert_eq!(quoted_at_eight(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(quoted_at_eight(b"1.5.00000\"..........", 0), None);
    }

    #[test]
    fn a_short_number_agrees_with_the_careful_way_at_every_exponent() {
        let mut random = tidebook_testkit::Random::new(2);
        for _ in 0..20_000 {
            let digits = 1 + random.below(9) as u32;
            let whole = random.below(10u64.pow(digits));
            let text = match random.below(10) as usize {
                0 => whole.to_string(),
                decimals => format!("{whole}.{:0decimals$}", random.below(10u64.pow(decimals as u32))),
            };
            let exponent = random.below(19) as u8;
            if let Some(found) = quoted(format!("{text}\"").as_bytes(), 0, exponent) {
                assert_eq!(Ok(found.0), parse_units(text.as_bytes(), exponent), "{text} at {exponent}");
                assert_eq!(found.1, text.len() + 1);
            } else {
                let decimals = text.split('.').nth(1).map_or(0, str::len);
                let careful = parse_units(text.as_bytes(), exponent);
                assert!(
                    careful.is_err() || decimals > exponent.into() || text.len() > CHARACTERS_MAX,
                    "{text} {exponent}"
                );
            }
        }
        assert_eq!(quoted(b"61804.7\"", 0, 8), Some((6_180_470_000_000, 8)));
        assert_eq!(quoted(b"x\"606\"", 2, 3), Some((606_000, 6)));
        for text in ["", "\"", ".5\"", "1.2.3\"", "-1\"", "1e5\"", "1", "1234567890123456789\"", "0.0001\""] {
            assert_eq!(quoted(text.as_bytes(), 0, 3), None, "{text}");
        }
        assert_eq!(quoted(b"1\"", 7, 3), None);
    }

    #[test]
    fn a_number_ends_at_the_byte_that_is_told_and_may_have_eighteen_characters() {
        for (text, end, exponent, expected) in [
            ("63004.9,\"qty\"", b',', 1, Some((630_049, 8))),
            ("0.01876947}", b'}', 8, Some((1_876_947, 11))),
            ("63004.9}", b',', 1, None),
            ("999999999999999999\"", b'"', 0, Some((999_999_999_999_999_999, 19))),
            ("9999999999999999999\"", b'"', 0, None),
            ("99999999999999999999999\"", b'"', 0, None),
            ("999999999999999999\"", b'"', 2, None),
        ] {
            assert_eq!(until(text.as_bytes(), 0, end, exponent), expected, "{text}");
        }
    }

    #[test]
    fn seconds_with_too_many_digits_become_the_nearest_nanosecond() {
        for (text, ns) in [
            ("35821.088778456004", Some(35_821_088_778_456)),
            ("0.0000000015", Some(2)),
            ("0.0000000014999", Some(1)),
            ("34200.5", Some(34_200_500_000_000)),
            ("7", Some(7_000_000_000)),
            ("-0.5", None),
            ("1.0000000000x", None),
            ("", None),
        ] {
            assert_eq!(nearest_nanoseconds(text.as_bytes()), ns, "{text}");
        }
    }

    #[test]
    fn a_printed_float_becomes_the_units_it_stood_for() {
        for (text, exponent, units) in [
            ("1.7885566900000001", 8, Some(178_855_669)),
            ("236.46999999999999886", 2, Some(23_647)),
            ("5.9999999999999997e-05", 8, Some(6_000)),
            ("236.5", 2, Some(23_650)),
            ("1e2", 2, Some(10_000)),
            ("7", 0, Some(7)),
            ("0.123", 2, None),
            ("0.125", 2, None),
            ("-1.5", 2, None),
            ("1.5.0", 2, None),
            ("1e", 2, None),
            (".", 2, None),
            ("", 2, None),
            ("1e-99", 2, None),
            ("99999999999999999999999999999999999999999", 2, None),
        ] {
            assert_eq!(nearest_units(text.as_bytes(), exponent), units, "{text}");
        }
    }

    #[test]
    fn trailing_zeros_are_not_significant() {
        for (text, count) in [("1.500", 1), ("1.000", 0), ("100", 0), ("0.00000001", 8), ("1.", 0)] {
            assert_eq!(significant_decimals(text.as_bytes()), count, "{text}");
        }
    }
}
