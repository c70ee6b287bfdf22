//! Exact amounts: the ledger's unit, worths, rates.

use tidebook_types::command::InstrumentBody;

/// The ledger counts every asset in units of 10^-18.
pub const LEDGER_EXP: u8 = 18;
/// Largest worth and balance in ledger units; what is worth more counts as this.
pub const LEDGER_MAX: i128 = 1 << 120;
/// Parts per million of a whole.
pub(crate) const MILLION: i128 = 1_000_000;

/// 10^`exponent`, for exponents of at most 18.
pub(crate) const fn power(exponent: u8) -> i128 {
    10_i128.pow(exponent as u32)
}

/// Whether a value is one of 64 bits.
const fn is_word(value: i128) -> bool {
    value as i64 as i128 == value
}

/// A remainder of less than this x a rate fits 64 bits.
const SMALL_WHOLE: i128 = 1 << 43;

/// `value` within what the ledger holds.
pub(crate) const fn bounded(value: i128) -> i128 {
    if value > LEDGER_MAX {
        LEDGER_MAX
    } else if value < -LEDGER_MAX {
        -LEDGER_MAX
    } else {
        value
    }
}

/// `value` x `ppm` / 10^6, rounded up; `value` is not below 0.
pub(crate) const fn parts_up(value: i128, ppm: i128) -> i128 {
    value / MILLION * ppm + (value % MILLION * ppm + MILLION - 1) / MILLION
}

/// How an instrument's units stand to the ledger's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scale {
    /// Ledger units of price unit x size unit.
    pub(crate) notional: i128,
    /// Ledger units of 10^-`price_exp` of the quote asset.
    pub(crate) quote: i128,
    /// Ledger units of 10^-`size_exp` of the base asset.
    pub(crate) base: i128,
    /// 10^`size_exp`: so many price x size are one quote unit.
    pub(crate) size: i128,
    /// Largest notional in price unit x size unit whose worth the ledger holds.
    pub(crate) notional_max: i128,
}

impl Scale {
    pub(crate) const fn new(body: &InstrumentBody) -> Self {
        let notional = power(LEDGER_EXP - body.price_exp - body.size_exp);
        Self {
            notional,
            notional_max: LEDGER_MAX / notional,
            quote: power(LEDGER_EXP - body.price_exp),
            base: power(LEDGER_EXP - body.size_exp),
            size: power(body.size_exp),
        }
    }

    /// Ledger units of a notional in price unit x size unit.
    #[inline]
    pub(crate) const fn worth(&self, notional: i128) -> i128 {
        // A product of two words needs no care, and nearly every one is such.
        if is_word(notional) {
            bounded(notional as i64 as i128 * self.notional as i64 as i128)
        } else {
            bounded(notional.saturating_mul(self.notional))
        }
    }

    /// The most that fills of this notional owe at `rate` parts per million, in ledger units: a whole number of quote units.
    pub(crate) const fn fee(&self, notional: i128, rate: i128) -> i128 {
        if rate == 0 {
            return 0;
        }
        let whole = self.size * MILLION;
        if notional >= 0 && is_word(notional) && whole <= SMALL_WHOLE {
            // All of it fits words, whose division is many times faster: the rate is below 2^20.
            let (notional, whole, rate) = (notional as u64, whole as u64, rate as u64);
            let part = (notional % whole * rate).div_ceil(whole);
            return bounded(((notional / whole) as i128 * rate as i128 + part as i128).saturating_mul(self.quote));
        }
        // Both parts fit: the rate is below 2^20, a remainder below 10^24.
        let units =
            (notional / whole).saturating_mul(rate).saturating_add((notional % whole * rate + whole - 1) / whole);
        bounded(units.saturating_mul(self.quote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_are_rounded_up_once_to_whole_quote_units() {
        // Price in cents, size in 10^-8: one coin at 60,000.00 with 10 ppm is 60 cents.
        let scale = Scale::new(&InstrumentBody { price_exp: 2, size_exp: 8, ..Default::default() });
        assert_eq!(scale.fee(6_000_000 * 100_000_000, 10), 60 * scale.quote);
        assert_eq!(scale.fee(6_000_000 * 100_000_000 + 1, 10), 61 * scale.quote);
        assert_eq!((scale.fee(1, 1), scale.fee(0, 1), scale.fee(1, 0)), (scale.quote, 0, 0));
        assert_eq!(scale.fee(i128::MAX, 500_000), LEDGER_MAX);
        assert_eq!(
            (scale.worth(i128::MAX), scale.worth(i128::from(i64::MIN))),
            (LEDGER_MAX, -(1 << 63) * scale.notional)
        );
        // The way of small words and the general one agree, also where one begins.
        for size_exp in 0..=8 {
            let scale = Scale::new(&InstrumentBody { price_exp: 2, size_exp, ..Default::default() });
            let whole = scale.size * MILLION;
            for notional in
                [0, 1, whole - 1, whole, whole + 1, 7 * whole + 3, i128::from(i64::MAX), i128::from(i64::MAX) + 1]
            {
                for rate in [1, 10, 500_000] {
                    let exact = notional / whole * rate + (notional % whole * rate + whole - 1) / whole;
                    assert_eq!(
                        scale.fee(notional, rate),
                        bounded(exact.saturating_mul(scale.quote)),
                        "{notional} {rate}"
                    );
                }
            }
        }
        assert_eq!((parts_up(1, 1), parts_up(0, 5), parts_up(2_000_000, 5), parts_up(2_000_001, 5)), (1, 0, 10, 11));
    }
}
