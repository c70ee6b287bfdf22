//! Price bands: how far from the reference price an aggressor may trade.

/// Prices that may be traded at, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Band {
    low: i64,
    high: i64,
}

impl Band {
    /// Every price.
    pub(crate) const NONE: Self = Self { low: i64::MIN, high: i64::MAX };

    /// `ppm` of the reference to each side, rounded inwards to ticks. None without a reference or a width.
    pub(crate) fn around(reference: i64, ppm: u32, tick: i64) -> Self {
        if reference == 0 || ppm == 0 {
            return Self::NONE;
        }
        let (reference, tick, ppm) = (i128::from(reference), i128::from(tick), i128::from(ppm));
        let parts = 1_000_000 * tick;
        // Ticks, rounded up and down: `div_euclid` rounds down for a divisor above 0.
        let low = -(-(reference * (1_000_000 - ppm))).div_euclid(parts) * tick;
        let high = (reference * (1_000_000 + ppm)).div_euclid(parts) * tick;
        let narrow = |price: i128| price.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Self { low: narrow(low), high: narrow(high) }
    }

    #[inline]
    pub(crate) const fn holds(self, price: i64) -> bool {
        self.low <= price && price <= self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_is_rounded_inwards_and_none_holds_everything() {
        // 1 % of 1005 is 10.05: 994.95 to 1015.05, in ticks of 5.
        assert_eq!(Band::around(1005, 10_000, 5), Band { low: 995, high: 1015 });
        assert_eq!(Band::around(1000, 10_000, 5), Band { low: 990, high: 1010 });
        assert_eq!((Band::around(0, 10_000, 5), Band::around(1005, 0, 5)), (Band::NONE, Band::NONE));
        assert!(Band::around(1, 5_000_000, 1).holds(1) && Band::around((1 << 53) - 1, u32::MAX, 1).holds(1 << 53));
    }
}
