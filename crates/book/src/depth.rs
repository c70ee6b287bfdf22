//! The depth book (L2): the total size at each price, as a venue's depth feed describes it.

use tidebook_types::mix;

use crate::side::{BookSide, Level, Levels, Side};

/// Both sides of a depth book.
///
/// ```
/// use tidebook_book::{DepthBook, Level, Side};
/// let mut book = DepthBook::new();
/// book.apply(Side::Bid, 6_183_763, 378_826);
/// book.apply(Side::Bid, 6_183_700, 1_000);
/// book.apply(Side::Ask, 6_183_764, 154_698);
/// assert_eq!(book.best(Side::Bid), Some(Level { price: 6_183_763, size: 378_826 }));
/// book.apply(Side::Bid, 6_183_763, 0);
/// assert_eq!(book.counts(), (1, 1));
/// ```
#[derive(Clone, Debug)]
pub struct DepthBook {
    bids: BookSide,
    asks: BookSide,
}

impl Default for DepthBook {
    fn default() -> Self {
        Self::new()
    }
}

impl DepthBook {
    /// An empty book.
    pub const fn new() -> Self {
        Self { bids: BookSide::new(Side::Bid), asks: BookSide::new(Side::Ask) }
    }

    const fn side(&self, side: Side) -> &BookSide {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    const fn side_mut(&mut self, side: Side) -> &mut BookSide {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// Sets the level at `price` to `size`, or removes it when `size` is 0. Removing a level that is not there is
    /// normal on every venue and changes nothing. Returns the size before, 0 if there was no level.
    #[inline]
    pub fn apply(&mut self, side: Side, price: i64, size: i64) -> i64 {
        self.side_mut(side).apply(price, size)
    }

    /// Empties both sides; the memory stays for the next snapshot.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Keeps the `depth` best levels of each side and hands each level that goes to `removed`, worst first.
    pub fn truncate(&mut self, depth: usize, mut removed: impl FnMut(Side, Level)) {
        for side in Side::BOTH {
            self.side_mut(side).truncate(depth, |level| removed(side, level));
        }
    }

    /// The best level of a side.
    #[inline]
    pub fn best(&self, side: Side) -> Option<Level> {
        self.side(side).best()
    }

    /// Levels of a side, best first.
    pub fn levels(&self, side: Side) -> Levels<'_> {
        self.side(side).levels()
    }

    /// Number of bid levels and of ask levels.
    pub const fn counts(&self) -> (usize, usize) {
        (self.bids.count(), self.asks.count())
    }

    /// Whether a buyer would pay at least what a seller asks, which no venue's own book shows.
    #[inline]
    pub fn is_crossed(&self) -> bool {
        match (self.best(Side::Bid), self.best(Side::Ask)) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
    }

    /// A number that two books share exactly when they hold the same levels, up to 64-bit collisions; the same on
    /// every machine and for any history that led there. Reads the whole book.
    pub fn state_hash(&self) -> u64 {
        let mut hash = 0;
        for side in Side::BOTH {
            hash = mix(hash, self.side(side).count() as u64);
            for level in self.levels(side) {
                hash = mix(mix(hash, level.price as u64), level.size as u64);
            }
        }
        hash
    }
}
