//! Prices as multiples of a tick.
//!
//! The tick is given, or learned as the greatest common divisor of the prices seen, and becomes finer when a price comes that is no
//! multiple of it: at most 53 times in the life of a book of 53 bit prices. Division by it is one multiplication by its inverse modulo 2^64, which is
//! exact for multiples and gives a number out of range for all else.

/// Prices beyond this, to either side, are on no grid.
const GRIDDED_MAX: i64 = 1 << 61;
/// Coarsest tick.
pub(super) const TICK_MAX: i64 = 1 << 56;

#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// 0 while it is not known.
    tick: i64,
    /// Inverse of the tick's odd part modulo 2^64.
    inverse: u64,
    /// Zeros at the end of the tick.
    shift: u32,
    /// The least multiple of the tick that makes all gridded prices positive.
    bias: u64,
    /// How many ticks there are; 0 while the tick is not known.
    count: u64,
}

impl Grid {
    pub(super) const UNKNOWN: Self = Self { tick: 0, inverse: 0, shift: 0, bias: 0, count: 0 };

    pub(super) const fn new(tick: i64) -> Self {
        if tick == 0 {
            return Self::UNKNOWN;
        }
        let shift = tick.trailing_zeros();
        let odd = (tick >> shift) as u64;
        // Newton: each step doubles the bits that are right, from 3.
        let mut inverse = odd;
        let mut step = 0;
        while step < 5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
            step += 1;
        }
        let each_side = GRIDDED_MAX as u64 / tick as u64;
        Self { tick, inverse, shift, bias: (each_side + 1) * tick as u64, count: 2 * each_side + 1 }
    }

    pub(super) const fn is_known(&self) -> bool {
        self.tick != 0
    }

    #[cfg(test)]
    pub(super) const fn tick(&self) -> i64 {
        self.tick
    }

    const fn is_gridded(price: i64) -> bool {
        price.unsigned_abs() <= GRIDDED_MAX as u64
    }

    /// Number of the tick the price lies on, rising with the price, from 1 and far below `u64::MAX`.
    #[inline]
    pub(super) const fn on(&self, price: i64) -> Option<u64> {
        let number = (price as u64).wrapping_add(self.bias).wrapping_mul(self.inverse).rotate_right(self.shift);
        if number.wrapping_sub(1) < self.count { Some(number) } else { None }
    }

    /// The same, and of a price that is on none: 0 if it is below all, else `u64::MAX`.
    #[inline]
    pub(super) const fn number(&self, price: i64) -> u64 {
        match self.on(price) {
            Some(number) => number,
            None if price < 0 => 0,
            None => u64::MAX,
        }
    }

    /// The grid that also has this price on it, which this one has not, if any can.
    #[cold]
    pub(super) fn finer(&self, price: i64) -> Option<Self> {
        if !Self::is_gridded(price) {
            return None;
        }
        let tick = gcd(self.tick, price.abs());
        // A divisor that is small enough; prices of this size have no tick to learn.
        let tick = if tick > TICK_MAX { 1 } else { tick };
        (tick != self.tick).then(|| Self::new(tick))
    }
}

const fn gcd(mut one: i64, mut other: i64) -> i64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_of_a_tick_are_numbered_in_turn_and_nothing_else_is() {
        for tick in [1, 2, 3, 5, 10, 12, 25, 100, 1_000_003, (1 << 53) - 1, 1 << 53, TICK_MAX] {
            let grid = Grid::new(tick);
            let middle = grid.number(0);
            for multiple in (-20..20).chain([GRIDDED_MAX / tick, -GRIDDED_MAX / tick]) {
                let Some(price) = multiple.checked_mul(tick).filter(|price| Grid::is_gridded(*price)) else { continue };
                assert_eq!(grid.number(price).wrapping_sub(middle) as i64, multiple, "tick {tick}");
                for off in [1, tick / 2, tick - 1] {
                    if off % tick != 0 {
                        let none = if price + off < 0 { 0 } else { u64::MAX };
                        assert_eq!(grid.number(price + off), none, "tick {tick}, price {}", price + off);
                    }
                }
            }
            for price in [i64::MAX, GRIDDED_MAX + 1] {
                assert_eq!((grid.number(price), grid.number(-price), grid.number(i64::MIN)), (u64::MAX, 0, 0));
            }
        }
    }

    #[test]
    fn the_tick_is_learned_from_prices() {
        let mut grid = Grid::UNKNOWN;
        let ticks = [0, 600, 300, 250, 250, 7, 100, i64::MAX, i64::MIN].map(|price| {
            grid = grid.on(price).map_or_else(|| grid.finer(price), |_| None).unwrap_or(grid);
            grid.tick()
        });
        assert_eq!(ticks, [0, 600, 300, 50, 50, 1, 1, 1, 1]);
    }
}
