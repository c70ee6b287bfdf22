//! Trade ids of one instrument: which are missing, late or here twice.
//!
//! Venues number trades by one. A short memory of recent ids tells a duplicate (dropped) from a late trade (kept), so
//! that one damaged or reordered id can neither hide nor double the trades behind it.

use crate::saved::saved;

/// Ids remembered; duplicates and reorderings are a matter of a few messages.
const RECENT: usize = 64;

/// What an id means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TradeStep {
    /// The first one of the instrument.
    First,
    /// One above the last.
    Next,
    /// Ids between the last and this one never came.
    Gap { expected: u64, missing: u64 },
    /// Below the last and not seen before, or seen with another trade: a venue that numbers anew.
    Late { expected: u64 },
    /// Seen before, the same trade.
    Duplicate,
}

/// Ids seen.
#[derive(Debug, Clone, Hash)]
pub(crate) struct TradeIds {
    last: Option<u64>,
    recent: [u64; RECENT],
    /// What the trades of `recent` were.
    contents: [u64; RECENT],
    /// Ids ever remembered.
    count: usize,
    /// Up to this count an id one above the last may be one seen before a late trade.
    careful_until: usize,
}

saved!(TradeIds { last, recent, contents, count, careful_until });

impl TradeIds {
    pub(crate) const fn new() -> Self {
        Self { last: None, recent: [0; RECENT], contents: [0; RECENT], count: 0, careful_until: 0 }
    }

    pub(crate) const fn last(&self) -> Option<u64> {
        self.last
    }

    /// Whether `id` or one above it was seen of late.
    pub(crate) fn reached(&self, id: u64) -> bool {
        self.recent[..self.count.min(RECENT)].iter().any(|&seen| seen >= id)
    }

    /// Takes the ids up to `id` as lost, for a venue that tells the last one apart from the trades; what comes of them
    /// after all is late.
    pub(crate) fn miss_until(&mut self, id: u64) {
        self.last = Some(id);
        self.careful_until = self.count + RECENT;
    }

    #[inline]
    /// `content` tells trades of one id apart.
    pub(crate) fn step(&mut self, id: u64, content: u64) -> TradeStep {
        let step = match self.last {
            None => TradeStep::First,
            Some(last) if id == last.wrapping_add(1) && self.count >= self.careful_until => TradeStep::Next,
            Some(last) => {
                let recent = &self.recent[..self.count.min(RECENT)];
                let expected = last.wrapping_add(1);
                let same = |(&other, &what): (&u64, &u64)| other == id && what == content;
                if recent.iter().zip(&self.contents).any(same) {
                    return TradeStep::Duplicate;
                } else if id < last || recent.contains(&id) {
                    self.careful_until = self.count + RECENT;
                    TradeStep::Late { expected }
                } else {
                    // After a late trade some ids above it were seen already.
                    let seen = recent.iter().filter(|&&other| other > last && other < id).count() as u64;
                    let missing = id.wrapping_sub(expected).saturating_sub(seen);
                    if missing == 0 { TradeStep::Next } else { TradeStep::Gap { expected, missing } }
                }
            }
        };
        self.last = Some(id);
        self.recent[self.count % RECENT] = id;
        self.contents[self.count % RECENT] = content;
        self.count += 1;
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(ids: &[u64]) -> Vec<TradeStep> {
        let mut trades = TradeIds::new();
        ids.iter().map(|&id| trades.step(id, 0)).collect()
    }

    #[test]
    fn a_hole_a_swap_and_a_duplicate_are_told_apart() {
        use TradeStep::{Duplicate, First, Gap, Late, Next};
        assert_eq!(steps(&[10, 11, 12]), [First, Next, Next]);
        assert_eq!(steps(&[10, 14, 15]), [First, Gap { expected: 11, missing: 3 }, Next]);
        assert_eq!(steps(&[10, 12, 11, 13]), [First, Gap { expected: 11, missing: 1 }, Late { expected: 13 }, Next]);
        assert_eq!(steps(&[10, 11, 11, 10, 12]), [First, Next, Duplicate, Duplicate, Next]);
        assert_eq!(steps(&[5, 5]), [First, Duplicate]);
        assert_eq!(
            steps(&[7, 9, 8, 9, 10]),
            [First, Gap { expected: 8, missing: 1 }, Late { expected: 10 }, Duplicate, Next]
        );
    }

    #[test]
    fn another_trade_under_an_id_seen_before_is_kept() {
        let mut trades = TradeIds::new();
        let steps: Vec<_> =
            [(10, 1), (11, 2), (10, 3), (11, 4), (11, 4), (12, 5)].map(|(id, content)| trades.step(id, content)).into();
        use TradeStep::{Duplicate, First, Late, Next};
        assert_eq!(steps, [First, Next, Late { expected: 12 }, Late { expected: 11 }, Duplicate, Next]);
    }

    #[test]
    fn trades_that_the_venue_says_there_were_are_lost_and_told_once() {
        let mut trades = TradeIds::new();
        assert!(!trades.reached(1));
        assert_eq!([10, 11].map(|id| trades.step(id, 0)), [TradeStep::First, TradeStep::Next]);
        assert!(trades.reached(11) && !trades.reached(12));
        trades.miss_until(13);
        assert_eq!(trades.step(14, 0), TradeStep::Next);
        assert_eq!(trades.step(12, 0), TradeStep::Late { expected: 15 });
    }

    #[test]
    fn one_wrong_id_does_not_hide_the_trades_behind_it() {
        use TradeStep::{First, Gap, Late, Next};
        assert_eq!(
            steps(&[10, 911, 12, 13]),
            [First, Gap { expected: 11, missing: 900 }, Late { expected: 912 }, Next]
        );
        assert_eq!(steps(&[u64::MAX - 1, u64::MAX, 0]), [First, Next, Next]);
    }
}
