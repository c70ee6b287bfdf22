//! Prices and sizes as integer units of 10^-exponent.
//!
//! The wire's decimal text is scaled to an `i64` once and stays an integer until a Python edge divides it.
//! Parsing through binary floats would break every checksum that is computed over the wire's digits.

/// Number of decimals an instrument version fixes for a price or a size: value = units / 10^exponent.
pub type Exponent = u8;

/// Largest exponent: 10^18 is the last power of ten that an `i64` holds.
pub const EXPONENT_MAX: Exponent = 18;

/// Why a decimal text could not be scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// No digit, or a byte that is neither a digit nor a single point.
    #[error("not a decimal number")]
    Malformed,
    /// More significant decimals than the exponent holds; rounding would change the value.
    #[error("{found} decimals where the instrument has {exponent}")]
    TooPrecise {
        /// Decimals of the text, trailing zeros not counted.
        found: u8,
        /// Decimals the caller asked for.
        exponent: Exponent,
    },
    /// Does not fit an `i64` at this exponent.
    #[error("number too large at exponent {exponent}")]
    Overflow {
        /// Decimals the caller asked for.
        exponent: Exponent,
    },
}

/// Integer units of the decimal `text` at `exponent`; exact or an error, never rounded.
///
/// Takes an optional leading `-`, digits, and at most one point; no exponent form, no sign `+`, no spaces.
///
/// # Errors
/// [`DecimalError`] when the text is no such number or would not be exact in an `i64`.
///
/// ```
/// use tidebook_types::parse_units;
/// assert_eq!(parse_units(b"61837.63000000", 8), Ok(6_183_763_000_000));
/// assert_eq!(parse_units(b"0.00005100", 8), Ok(5_100));
/// assert!(parse_units(b"1.239", 2).is_err());
/// ```
#[inline]
pub fn parse_units(text: &[u8], exponent: Exponent) -> Result<i64, DecimalError> {
    debug_assert!(exponent <= EXPONENT_MAX, "exponent {exponent} exceeds {EXPONENT_MAX}: check the instrument");
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let overflow = DecimalError::Overflow { exponent };
    let mut units: i64 = 0;
    let mut index = 0;
    while index < digits.len() && digits[index] != b'.' {
        let digit = digits[index].wrapping_sub(b'0');
        if digit > 9 {
            return Err(DecimalError::Malformed);
        }
        units = units.checked_mul(10).and_then(|u| u.checked_add(i64::from(digit))).ok_or(overflow)?;
        index += 1;
    }
    let fraction = digits.get(index + 1..).unwrap_or(&[]);
    if index + fraction.len() == 0 {
        return Err(DecimalError::Malformed);
    }
    let kept = fraction.len().min(usize::from(exponent));
    for &byte in &fraction[..kept] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(DecimalError::Malformed);
        }
        units = units.checked_mul(10).and_then(|u| u.checked_add(i64::from(digit))).ok_or(overflow)?;
    }
    if fraction.len() > kept {
        // Trailing zeros carry no value; anything else cannot be kept exactly.
        let mut significant = kept;
        for (position, &byte) in fraction.iter().enumerate().skip(kept) {
            if byte.wrapping_sub(b'0') > 9 {
                return Err(DecimalError::Malformed);
            }
            if byte != b'0' {
                significant = position + 1;
            }
        }
        if significant > kept {
            return Err(DecimalError::TooPrecise { found: u8::try_from(significant).unwrap_or(u8::MAX), exponent });
        }
    }
    for _ in kept..usize::from(exponent) {
        units = units.checked_mul(10).ok_or(overflow)?;
    }
    Ok(if negative { -units } else { units })
}

/// Number of digits written after the point, trailing zeros included: the wire's precision.
pub fn decimals(text: &[u8]) -> u8 {
    text.iter()
        .position(|&byte| byte == b'.')
        .map_or(0, |point| u8::try_from(text.len() - point - 1).unwrap_or(u8::MAX))
}

/// Decimal text of `units` with exactly `exponent` decimals.
pub fn format_units(units: i64, exponent: Exponent) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let width = usize::from(exponent) + 1;
    let digits = format!("{:0width$}", units.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(exponent));
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_units_agree_both_ways() {
        for (text, exponent, units) in [
            ("0", 0, 0),
            ("0.0", 8, 0),
            ("0.00000000", 8, 0),
            ("61837.63000000", 2, 6_183_763),
            ("-1.5", 1, -15),
            (".5", 1, 5),
            ("5.", 1, 50),
            ("9223372036854775807", 0, i64::MAX),
        ] {
            assert_eq!(parse_units(text.as_bytes(), exponent), Ok(units), "{text} at {exponent}");
        }
        assert_eq!(format_units(5_100, 8), "0.00005100");
        assert_eq!(format_units(-15, 1), "-1.5");
        assert_eq!(format_units(7, 0), "7");
        assert_eq!(decimals(b"0.00005100"), 8);
        assert_eq!(decimals(b"12"), 0);
    }

    #[test]
    fn what_cannot_be_exact_is_an_error_and_never_a_guess() {
        for text in ["", ".", "-", "1e5", "1.2.3", " 1", "+1", "1_000", "NaN", "0.1x"] {
            assert_eq!(parse_units(text.as_bytes(), 2), Err(DecimalError::Malformed), "{text:?}");
        }
        assert_eq!(parse_units(b"0.123", 2), Err(DecimalError::TooPrecise { found: 3, exponent: 2 }));
        assert_eq!(parse_units(b"9223372036854775808", 0), Err(DecimalError::Overflow { exponent: 0 }));
        assert_eq!(parse_units(b"1", 18).unwrap(), 1_000_000_000_000_000_000);
        assert_eq!(parse_units(b"10", 18), Err(DecimalError::Overflow { exponent: 18 }));
    }
}
