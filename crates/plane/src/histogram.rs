//! A latency histogram that a hot thread writes and others read while it does.
//!
//! Buckets are logarithmic with sixteen steps an octave (at most 6.25 % wide), fixed at creation: recording is one
//! relaxed addition by the single writer, no allocation, no lock. A reader's copy may be some records behind.

use std::sync::atomic::{AtomicU64, Ordering};

const STEPS_LOG2: u32 = 4;
const STEPS: usize = 1 << STEPS_LOG2;
/// Up to 2^40 ns, which is 18 minutes; longer counts as that.
const OCTAVES: usize = 40;
const BUCKETS: usize = STEPS * (OCTAVES - STEPS_LOG2 as usize + 1);

/// Nanoseconds, counted by size.
#[derive(Debug)]
pub struct Histogram {
    counts: Box<[AtomicU64; BUCKETS]>,
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([const { AtomicU64::new(0) }; BUCKETS]), sum: AtomicU64::new(0) }
    }
}

fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < STEPS as u64 {
        return nanoseconds as usize;
    }
    let octave = 63 - nanoseconds.leading_zeros();
    let step = (nanoseconds >> (octave - STEPS_LOG2)) as usize - STEPS;
    (((octave - STEPS_LOG2 + 1) as usize) * STEPS + step).min(BUCKETS - 1)
}

/// Largest value that falls into the bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    (((STEPS + bucket % STEPS + 1) as u64) << shift) - 1
}

impl Histogram {
    /// Counts one value. Only one thread records.
    #[inline]
    pub fn record(&self, nanoseconds: u64) {
        let count = &self.counts[bucket(nanoseconds)];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.sum.store(self.sum.load(Ordering::Relaxed).wrapping_add(nanoseconds), Ordering::Relaxed);
    }

    /// The counts as of now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        HistogramSnapshot { counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// A copy to compute with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
    sum: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], sum: 0 }
    }
}

impl HistogramSnapshot {
    /// Adds the values of another.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, other)| *count += other);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Sum of all values.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Buckets that hold something, by size: largest value, values.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bucket, count)| (upper(bucket), *count))
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bound, at most 6.25 % too high, of the smallest `per_mille` thousandths of the values; `None` without any.
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.count() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        self.counts
            .iter()
            .position(|count| {
                seen += count;
                seen >= rank
            })
            .map(upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_a_bucket_at_most_a_sixteenth_wide() {
        for value in (0..2000).chain((11..40).flat_map(|octave| [(1 << octave) - 1, 1 << octave, (1 << octave) + 1])) {
            let upper = upper(bucket(value));
            assert!(upper >= value && upper - value <= value / 16, "{value} in a bucket up to {upper}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(500), None);
        for value in 1..=1000 {
            histogram.record(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.sum()), (1000, 500_500));
        let mut twice = snapshot.clone();
        twice.add(&snapshot);
        assert_eq!((twice.count(), twice.sum(), twice.quantile(500)), (2000, 1_001_000, snapshot.quantile(500)));
        assert_eq!(twice.buckets().map(|(_, count)| count).sum::<u64>(), 2000);
        assert!(twice.buckets().is_sorted());
        for (per_mille, exact) in [(500, 500), (990, 990), (1000, 1000)] {
            let found = snapshot.quantile(per_mille).unwrap();
            assert!((exact..=exact + exact / 16 + 1).contains(&found), "{per_mille}: {found}");
        }
    }
}
