//! Numbers and levels as both dialects print them: quoted decimals, padded or not.

use tidebook_book::Level;
use tidebook_types::{DecimalError, Exponent, parse_units, units::EXPONENT_MAX};

use crate::decimal::{quoted, significant_decimals};
use crate::exponents::unfit;
use crate::failure::{Failure, Quantity};
use crate::scan::{ScanError, Scanner};

/// Digits that a new exponent leaves room for: one more than are needed now.
const DIGITS_MAX: usize = 17;

/// What the numbers of one message are scaled by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale<'a> {
    pub(super) symbol: &'a [u8],
    pub(super) exponents: (Exponent, Exponent),
}

impl<'a> Scale<'a> {
    /// Units of a decimal that must not be negative; `at` is where its text stands.
    pub(super) fn units(&self, text: &[u8], at: usize, quantity: Quantity) -> Result<i64, Failure<'a>> {
        match parse_units(text, self.exponent(quantity)) {
            Ok(units) if units >= 0 => Ok(units),
            Ok(_) => Err(ScanError { offset: at, expected: "a decimal that is not negative" }.into()),
            Err(error) => Err(Failure::of_decimal(error, text, at, self.symbol, quantity)),
        }
    }

    /// As [`Self::units`], of the string at the scanner.
    #[inline]
    pub(super) fn string(&self, scanner: &mut Scanner<'a>, quantity: Quantity) -> Result<i64, Failure<'a>> {
        if scanner.peek() == Some(b'"')
            && let Some((units, end)) = quoted(scanner.bytes(), scanner.position() + 1, self.exponent(quantity))
        {
            scanner.seek(end);
            return Ok(units);
        }
        let at = scanner.position() + 1;
        self.units(scanner.string()?, at, quantity)
    }

    const fn exponent(&self, quantity: Quantity) -> Exponent {
        match quantity {
            Quantity::Price => self.exponents.0,
            Quantity::Size => self.exponents.1,
        }
    }
}

/// Price and size of a level.
#[inline]
pub(super) fn level<'a>(scanner: &Scanner<'a>, price: i64, size: i64) -> Result<Level, Failure<'a>> {
    if price == 0 {
        return Err(scanner.error("a price above 0").into());
    }
    Ok(Level { price, size })
}

/// A level of a snapshot, whose numbers are `price` and `size`, or why it is none.
///
/// A number that does not fit says only what it needs itself; a snapshot has thousands, and a book that changed its
/// exponents for each of them would be dropped as often. So the first one makes all of the array be looked at: `texts`
/// calls back with every number of the quantity in it.
#[cold]
pub(super) fn snapshot_failure<'a>(
    failed: Failure<'a>,
    scale: &Scale<'a>,
    (quantity, text): (Quantity, &[u8]),
    texts: impl FnOnce(&mut dyn FnMut(&[u8])),
) -> Failure<'a> {
    let now = scale.exponent(quantity);
    let does_not_fit =
        matches!(parse_units(text, now), Err(DecimalError::TooPrecise { .. } | DecimalError::Overflow { .. }));
    if !does_not_fit {
        return failed;
    }
    let (mut whole, mut places) = (0, 0);
    texts(&mut |text| {
        let point = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
        let zeros = text[..point].iter().take_while(|&&byte| byte == b'0').count();
        whole = whole.max(point - zeros);
        places = places.max(usize::from(significant_decimals(text)));
    });
    // As many places as before where there is room, one digit kept free.
    let exponent = usize::from(now).min(DIGITS_MAX.saturating_sub(whole)).max(places);
    match u8::try_from(exponent) {
        Ok(exponent) if exponent != now && usize::from(exponent) + whole <= usize::from(EXPONENT_MAX) => {
            Failure::Precision { symbol: scale.symbol, quantity, exponent }
        }
        _ => Failure::Malformed(unfit(0)),
    }
}
