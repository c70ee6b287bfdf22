//! A token bucket on command time.

use crate::plain::plain;

/// Parts of a token.
const TOKEN: u64 = 1_000_000_000;

/// What is left to spend, and when that was so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// In 10^-9 tokens: at one token a second that is one a nanosecond.
    level: u64,
    ts: i64,
}

plain!(Bucket { level, ts });

impl Bucket {
    pub(crate) const NONE: Self = Self { level: 0, ts: 0 };

    const fn size(per_second: u32, burst: u32) -> u64 {
        (if burst == 0 { per_second } else { burst }) as u64 * TOKEN
    }

    pub(crate) const fn full(per_second: u32, burst: u32, ts: i64) -> Self {
        Self { level: Self::size(per_second, burst), ts }
    }

    fn at(self, per_second: u32, burst: u32, ts: i64) -> u64 {
        let passed = u128::from(ts.abs_diff(self.ts)) * u128::from(per_second);
        let level = u128::from(self.level) + passed;
        u64::try_from(level).unwrap_or(u64::MAX).min(Self::size(per_second, burst))
    }

    /// Whether a token is there. A rate of 0 is no limit.
    pub(crate) fn has_token(self, per_second: u32, burst: u32, ts: i64) -> bool {
        per_second == 0 || self.at(per_second, burst, ts) >= TOKEN
    }

    pub(crate) fn take(&mut self, per_second: u32, burst: u32, ts: i64) {
        if per_second != 0 {
            *self = Self { level: self.at(per_second, burst, ts).saturating_sub(TOKEN), ts };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_full_and_fills_to_the_nanosecond_never_above_its_size() {
        let mut bucket = Bucket::full(2, 3, 0);
        for _ in 0..3 {
            assert!(bucket.has_token(2, 3, 0));
            bucket.take(2, 3, 0);
        }
        assert!(
            !bucket.has_token(2, 3, 0) && !bucket.has_token(2, 3, 499_999_999) && bucket.has_token(2, 3, 500_000_000)
        );
        bucket.take(2, 3, i64::MAX);
        assert_eq!(bucket.at(2, 3, i64::MAX), 2 * TOKEN);
        assert!(Bucket::default().has_token(0, 0, 0));
        assert_eq!(Bucket::full(7, 0, 0).level, 7 * TOKEN);
    }
}
