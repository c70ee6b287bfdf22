//! Fees: a rate of the notional, rounded up over an order's whole life.
//!
//! Rounding each fill by itself would let an order that is filled lot by lot pay up to a unit a lot more than one that is filled at once,
//! so each order keeps by how much what it paid is ahead of what it owes, exactly.

use crate::market::Market;

/// Largest rate, of either sign: the whole notional.
pub(crate) const PPM_MAX: i32 = 1_000_000;

/// What an order pays for a fill at this rate, in quote units. `paid_ahead` is in 1 / `Market::fee_parts` of a quote unit, at least 0
/// and less than a whole one.
#[inline]
pub(crate) fn fee(market: &Market, price: i64, size: i64, ppm: i32, paid_ahead: &mut i128) -> i64 {
    if ppm == 0 {
        return 0;
    }
    fee_of(market.fee_parts, i128::from(price) * i128::from(size), ppm, paid_ahead)
}

fn fee_of(parts: i128, notional: i128, ppm: i32, paid_ahead: &mut i128) -> i64 {
    // At most 2^106 x 10^6, which 127 bits hold.
    let owed = notional * i128::from(ppm) - *paid_ahead;
    let fee = match (i64::try_from(owed), i64::try_from(parts)) {
        (Ok(owed), Ok(parts)) if owed != i64::MIN => i128::from(-(-owed).div_euclid(parts)),
        _ => -(-owed).div_euclid(parts),
    };
    *paid_ahead = fee * parts - owed;
    fee.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_filled_lot_by_lot_pays_what_one_filled_at_once_does() {
        for ppm in [250, -250, 1, -1, PPM_MAX, -PPM_MAX] {
            let (mut ahead, mut paid, parts) = (0, 0, 1_000_000_000);
            for fills in 1..=5000_i128 {
                paid += i128::from(fee_of(parts, 777, ppm, &mut ahead));
                let owed = 777 * fills * i128::from(ppm);
                assert_eq!(paid, -(-owed).div_euclid(parts), "{fills} fills at {ppm}");
                assert!((0..parts).contains(&ahead));
            }
        }
        assert_eq!(fee_of(1_000_000, (1 << 106) - 1, PPM_MAX, &mut 0), i64::MAX);
        assert_eq!(
            fee_of(1_000_000 * 10_i128.pow(18), 1 << 106, PPM_MAX, &mut 0),
            ((1_i128 << 106) / 10_i128.pow(18) + 1) as i64
        );
    }
}
