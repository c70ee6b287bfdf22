//! Exponents that a message asks for: what every dialect does when a number does not fit those of its instrument.

use tidebook_types::Exponent;

use crate::failure::Quantity;
use crate::market::{Emitter, Markets};
use crate::scan::ScanError;
use crate::sink::RecordSink;

/// A message may change exponents of price and size up and down; more is damage.
pub(crate) const PRECISION_ROUNDS_MAX: usize = 4;

/// Numbers at `offset` that would need more exponents than a message may ask for.
pub(crate) const fn unfit(offset: usize) -> ScanError {
    ScanError { offset, expected: "numbers that share exponents" }
}

/// Gives one of an instrument's exponents another value.
pub(crate) fn change_exponent<S: RecordSink>(
    markets: &mut Markets,
    index: usize,
    quantity: Quantity,
    exponent: Exponent,
    emit: &mut Emitter<'_, S>,
) {
    let market = markets.get(index);
    let exponents = match quantity {
        Quantity::Price => (exponent, market.size_exp),
        Quantity::Size => (market.price_exp, exponent),
    };
    markets.set_exponents(index, exponents, emit);
}
