//! Why a frame could not be decoded.

use tidebook_types::{DecimalError, Exponent, decimals, parse_units};

use crate::decimal::significant_decimals;
use crate::scan::ScanError;

/// Which number of a level or trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    Price,
    Size,
}

/// A frame that gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure<'a> {
    /// Not what the dialect says; the frame is set aside.
    Malformed(ScanError),
    /// A number that the instrument's exponents cannot hold but others can: a new instrument version is due.
    Precision { symbol: &'a [u8], quantity: Quantity, exponent: Exponent },
}

impl From<ScanError> for Failure<'_> {
    fn from(error: ScanError) -> Self {
        Self::Malformed(error)
    }
}

impl<'a> Failure<'a> {
    /// What a number that did not parse at `exponent` means.
    pub(crate) fn of_decimal(
        error: DecimalError,
        text: &[u8],
        offset: usize,
        symbol: &'a [u8],
        quantity: Quantity,
    ) -> Self {
        let malformed = Self::Malformed(ScanError { offset, expected: "a decimal number that fits 64 bits" });
        match error {
            DecimalError::TooPrecise { .. } if decimals(text) <= tidebook_types::units::EXPONENT_MAX => {
                Self::Precision { symbol, quantity, exponent: decimals(text) }
            }
            // Fewer decimals than the instrument has may hold a number that is too large for it. Without a point it is
            // no large number but a damaged one: venues print their decimals.
            DecimalError::Overflow { exponent } if decimals(text) > 0 => {
                let fewer = significant_decimals(text);
                if fewer < exponent && parse_units(text, fewer).is_ok() {
                    Self::Precision { symbol, quantity, exponent: fewer }
                } else {
                    malformed
                }
            }
            _ => malformed,
        }
    }
}
