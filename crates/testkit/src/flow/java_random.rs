//! The numbers of `java.util.Random`, which the documentation of that class fixes for every Java.

const MULTIPLIER: u64 = 0x5_deec_e66d;
const MASK: u64 = (1 << 48) - 1;

#[derive(Debug, Clone)]
pub(super) struct JavaRandom(u64);

impl JavaRandom {
    pub(super) const fn new(seed: i64) -> Self {
        Self((seed as u64 ^ MULTIPLIER) & MASK)
    }

    const fn bits(&mut self, count: u32) -> i32 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(11) & MASK;
        (self.0 >> (48 - count)) as i32
    }

    /// `nextInt(bound)`: a number from 0 to `bound` - 1.
    pub(super) const fn below(&mut self, bound: i32) -> i32 {
        let bits = self.bits(31);
        if bound & (bound - 1) == 0 {
            return ((bound as i64 * bits as i64) >> 31) as i32;
        }
        let mut bits = bits;
        // What lies in the last, cut period of `bound` would make small numbers likelier.
        while (bits - bits % bound).checked_add(bound - 1).is_none() {
            bits = self.bits(31);
        }
        bits % bound
    }

    /// `nextDouble()`: of 2^53 numbers from 0 to below 1, each exact.
    pub(super) const fn unit(&mut self) -> f64 {
        let bits = ((self.bits(26) as i64) << 27) + self.bits(27) as i64;
        #[allow(clippy::float_arithmetic, reason = "53 bits times a power of two: nothing is rounded")]
        let unit = bits as f64 * (1.0 / (1_u64 << 53) as f64);
        unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of `nextInt()` and `nextDouble()` for seed 42, which are quoted wherever seeds are explained.
    #[test]
    fn it_gives_what_java_gives() {
        let mut random = JavaRandom::new(42);
        for number in [-1_170_105_035_i32, 234_785_527, -1_360_544_799] {
            // A bound of 2^30 gives the upper 30 of its 32 bits.
            assert_eq!(random.below(1 << 30), (number as u32 >> 2) as i32);
        }
        assert_eq!(JavaRandom::new(42).unit().to_string(), "0.7275636800328681");
    }
}
