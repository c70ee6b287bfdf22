//! Comparison of our book's top with Binance's bookTicker stream.
//!
//! bookTicker is sent when the best price or size changes, before the depth message that covers the same update ids; so
//! after a depth message up to update id `u`, our top must equal the last bookTicker with an id not above `u`.
//!
//! A disagreement is damage in one of the two streams, or the venue's own: in recordings about one depth message in 3,000
//! lacks a level that bookTicker shows and sends it in the next message. The book is therefore suspect at once, a
//! snapshot is asked for, and without one the book may be used again when every price in dispute was sent anew
//! and the tops agree. Deeper levels cannot be checked that way: until the next snapshot the book counts as unproven.

use std::collections::VecDeque;

use tidebook_book::{Level, Side};

use crate::market::Top;

/// bookTickers kept while their depth message is on its way: 100 ms of the busiest pair is under a thousand.
const TICKERS_MAX: usize = 4_096;

/// Depth messages (5 s of a 100 ms stream) after which a disagreement with a bookTicker that old says that the bookTicker
/// stream has ended, and not that our book is wrong.
const SILENT_MAX: u32 = 50;

/// Prices in dispute that are followed; with more of them only a snapshot helps.
const DISPUTED_MAX: usize = 16;

/// bookTickers of one instrument that no depth message has covered yet, and the last one covered.
#[derive(Debug, Clone, Default)]
pub(super) struct Tickers {
    ahead: VecDeque<(u64, Top)>,
    covered: Option<(u64, Top)>,
    /// Depth messages since the last bookTicker.
    silent: u32,
}

impl Tickers {
    /// Takes one in; false for a repetition of the last.
    pub(super) fn push(&mut self, update_id: u64, top: Top) -> bool {
        let last = self.ahead.back().or(self.covered.as_ref()).map(|&(id, _)| id);
        match last {
            Some(last) if update_id == last => return false,
            // Ids only rise. One that falls means this or an earlier one is damaged: what is ahead is not to be
            // trusted, and must not shut out all that follow.
            Some(last) if update_id < last => *self = Self::default(),
            _ => {}
        }
        if self.ahead.len() == TICKERS_MAX {
            self.covered = self.ahead.pop_front();
        }
        self.ahead.push_back((update_id, top));
        self.silent = 0;
        true
    }

    /// The last one with an id not above `update_id`, to compare with `ours`; `None` when there is none, or when the
    /// stream has ended.
    #[inline]
    pub(super) fn at(&mut self, update_id: u64, ours: Top) -> Option<(u64, Top)> {
        while let Some(&(id, _)) = self.ahead.front()
            && id <= update_id
        {
            self.covered = self.ahead.pop_front();
        }
        self.silent = self.silent.saturating_add(1);
        if self.silent > SILENT_MAX && self.covered.is_some_and(|(_, top)| top != ours) {
            self.covered = None;
        }
        self.covered
    }
}

/// Prices that a disagreement put in doubt and that were not sent anew since.
#[derive(Debug, Clone, Default)]
pub(super) struct Dispute {
    prices: Vec<(Side, i64)>,
    /// More than are followed.
    overflown: bool,
}

impl Dispute {
    /// Adds what differs between our top and the venue's.
    pub(super) fn add(&mut self, ours: Top, venues: Top) {
        for side in Side::BOTH {
            let (ours, venues) = (ours.level(side), venues.level(side));
            if ours == venues {
                continue;
            }
            for Level { price, .. } in [ours, venues] {
                if self.prices.contains(&(side, price)) {
                    continue;
                }
                if self.prices.len() == DISPUTED_MAX {
                    self.overflown = true;
                } else {
                    self.prices.push((side, price));
                }
            }
        }
    }

    /// Takes off what a depth message sends anew.
    pub(super) fn resolve(&mut self, side: Side, levels: &[Level]) {
        self.prices.retain(|&(other, price)| other != side || !levels.iter().any(|level| level.price == price));
    }

    pub(super) const fn is_resolved(&self) -> bool {
        self.prices.is_empty() && !self.overflown
    }

    pub(super) fn clear(&mut self) {
        self.prices.clear();
        self.overflown = false;
    }
}
