//! Seeded random numbers for tests: splitmix64, so that a printed seed repeats a failure on every machine.

use tidebook_types::hash::scramble;

/// A sequence of numbers fixed by its seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number from 0 to `bound` - 1.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// True `numerator` times out of `denominator`.
    ///
    /// # Panics
    /// When `denominator` is 0.
    pub const fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// `size` bytes.
    pub fn bytes(&mut self, size: usize) -> Vec<u8> {
        (0..size).map(|_| self.next_u64() as u8).collect()
    }

    /// An index of a slice of `count` elements.
    ///
    /// # Panics
    /// When `count` is 0.
    pub const fn index(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }
}
