//! The depth book as a map: one line per operation, the reference for the fast one.

use std::collections::BTreeMap;

use tidebook_book::{DepthBook, Level, Side};

/// What both depth books can do, so that one suite runs on either.
pub trait DepthBookLike: Default {
    /// See [`DepthBook::apply`].
    fn apply(&mut self, side: Side, price: i64, size: i64) -> i64;
    /// See [`DepthBook::clear`].
    fn clear(&mut self);
    /// See [`DepthBook::truncate`]; returns what was removed.
    fn truncate(&mut self, depth: usize) -> Vec<(Side, Level)>;
    /// See [`DepthBook::best`].
    fn best(&self, side: Side) -> Option<Level>;
    /// All levels of a side, best first.
    fn levels(&self, side: Side) -> Vec<Level>;
    /// See [`DepthBook::counts`].
    fn counts(&self) -> (usize, usize);
}

/// Price to size per side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NaiveDepthBook {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl NaiveDepthBook {
    const fn side(&mut self, side: Side) -> &mut BTreeMap<i64, i64> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }
}

impl DepthBookLike for NaiveDepthBook {
    fn apply(&mut self, side: Side, price: i64, size: i64) -> i64 {
        let levels = self.side(side);
        let before = if size == 0 { levels.remove(&price) } else { levels.insert(price, size) };
        before.unwrap_or(0)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn truncate(&mut self, depth: usize) -> Vec<(Side, Level)> {
        let mut removed = Vec::new();
        for side in Side::BOTH {
            while self.side(side).len() > depth {
                let levels = self.side(side);
                let worst = if side == Side::Bid { levels.pop_first() } else { levels.pop_last() };
                removed.extend(worst.map(|(price, size)| (side, Level { price, size })));
            }
        }
        removed
    }

    fn best(&self, side: Side) -> Option<Level> {
        self.levels(side).first().copied()
    }

    fn levels(&self, side: Side) -> Vec<Level> {
        let level = |(&price, &size): (&i64, &i64)| Level { price, size };
        match side {
            Side::Bid => self.bids.iter().rev().map(level).collect(),
            Side::Ask => self.asks.iter().map(level).collect(),
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.bids.len(), self.asks.len())
    }
}

impl DepthBookLike for DepthBook {
    fn apply(&mut self, side: Side, price: i64, size: i64) -> i64 {
        self.apply(side, price, size)
    }

    fn clear(&mut self) {
        self.clear();
    }

    fn truncate(&mut self, depth: usize) -> Vec<(Side, Level)> {
        let mut removed = Vec::new();
        self.truncate(depth, |side, level| removed.push((side, level)));
        removed
    }

    fn best(&self, side: Side) -> Option<Level> {
        self.best(side)
    }

    fn levels(&self, side: Side) -> Vec<Level> {
        self.levels(side).collect()
    }

    fn counts(&self) -> (usize, usize) {
        self.counts()
    }
}
