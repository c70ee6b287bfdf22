//! Comparison of our book's top with Binance's bookTicker stream.
//!
//! bookTicker is sent when the best price or size changes: after a depth message up to update id `u`, our top must equal the
//! last bookTicker with an id not above `u`. Spot sends those before the depth message, so that the comparison is made at
//! once ([`Tickers`]); futures send some behind it, so that it waits for the first bookTicker from `u` on ([`Waiting`]).
//!
//! A disagreement is damage in one of the two streams, or the venue's own: in recordings about one depth message in 3,000
//! lacks a level that bookTicker shows and sends it in the next message. The book is therefore suspect at once, a
//! snapshot is asked for, and without one the book may be used again when every price in dispute was sent anew
//! and the tops agree. Deeper levels cannot be checked that way: until the next snapshot the book counts as unproven.

use std::collections::VecDeque;

use tidebook_book::{Level, Side};

use crate::market::Top;
use crate::saved::saved;

/// bookTickers kept while their depth message is on its way: 100 ms of the busiest pair is under a thousand.
const TICKERS_MAX: usize = 4_096;

/// Depth messages (5 s of a 100 ms stream) after which a disagreement with a bookTicker that old says that the bookTicker
/// stream has ended, and not that our book is wrong.
const SILENT_MAX: u32 = 50;

/// Tops that may wait for a bookTicker; the oldest is given up when the stream sends none.
const WAITING_MAX: usize = 4_096;

/// Prices in dispute that are followed; with more of them only a snapshot helps.
const DISPUTED_MAX: usize = 16;

/// bookTickers of one instrument that no depth message has covered yet, and the last one covered.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Tickers {
    ahead: VecDeque<(u64, Top)>,
    covered: Option<(u64, Top)>,
    /// Depth messages since the last bookTicker.
    silent: u32,
}

saved!(Tickers { ahead, covered, silent });

impl Tickers {
    /// Takes one in; false for a repetition of the last.
    pub(super) fn push(&mut self, update_id: u64, top: Top) -> bool {
        match self.newest() {
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

    /// Id of the last one that came.
    fn newest(&self) -> Option<u64> {
        self.ahead.back().or(self.covered.as_ref()).map(|&(id, _)| id)
    }

    /// The last one with an id not above `update_id`.
    #[inline]
    fn until(&mut self, update_id: u64) -> Option<(u64, Top)> {
        while let Some(&(id, _)) = self.ahead.front()
            && id <= update_id
        {
            self.covered = self.ahead.pop_front();
        }
        self.covered.filter(|&(id, _)| id <= update_id)
    }

    /// Our top as of `sequence` with the last bookTicker up to there; `None` when there is none, or when the stream has
    /// ended.
    #[inline]
    pub(super) fn compare(&mut self, sequence: u64, ours: Top) -> Option<Compared> {
        let (update_id, venues) = self.until(sequence)?;
        self.silent = self.silent.saturating_add(1);
        if self.silent > SILENT_MAX && venues != ours {
            self.covered = None;
            return None;
        }
        Some(Compared { sequence, ours, update_id, venues })
    }
}

/// Our top as of a depth message beside the venue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compared {
    /// Last update id of the depth message.
    pub(super) sequence: u64,
    pub(super) ours: Top,
    /// That of the bookTicker, not above `sequence`.
    pub(super) update_id: u64,
    pub(super) venues: Top,
}

/// Our tops, by the depth message they are of, that a bookTicker still to come may belong to.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Waiting(VecDeque<(u64, Top)>);

saved!(Waiting(0));

impl Waiting {
    pub(super) fn push(&mut self, sequence: u64, ours: Top) {
        if self.0.len() == WAITING_MAX {
            self.0.pop_front();
        }
        self.0.push_back((sequence, ours));
    }

    /// The oldest comparison that can be made with the bookTickers so far.
    pub(super) fn next(&mut self, tickers: &mut Tickers) -> Option<Compared> {
        let newest = tickers.newest()?;
        while let Some(&(sequence, ours)) = self.0.front()
            && sequence <= newest
        {
            self.0.pop_front();
            if let Some((update_id, venues)) = tickers.until(sequence) {
                return Some(Compared { sequence, ours, update_id, venues });
            }
        }
        None
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Prices that a disagreement put in doubt and that were not sent anew since.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Dispute {
    prices: Vec<(Side, i64)>,
    /// More than are followed.
    overflown: bool,
}

saved!(Dispute { prices, overflown });

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
