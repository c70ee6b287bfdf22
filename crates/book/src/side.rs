//! One side of a depth book: price levels in order, fast near the best and sound everywhere.
//!
//! Levels live in chunks of 8 behind a directory of each chunk's best key, and the walk to a price starts at the chunk
//! touched last, because venues list the levels of a message in price order. Inside a chunk the search and the shift
//! have a fixed length, and insert, update and removal share one path, so that few branches are mispredicted. Measured
//! on 300,111 recorded level changes of a busy pair (40 % inserts, 39 % removals, books of 2,000 and 3,000 levels): 31 ns
//! a change against 56 ns for two flat sorted arrays and 43 ns for chunks with searches and shifts of variable length.
//! Its cost is memory: about four times the levels.

use std::fmt;

/// Which side of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Buyers; best is the highest price.
    Bid,
    /// Sellers; best is the lowest price.
    Ask,
}

impl Side {
    /// Bids, then asks.
    pub const BOTH: [Self; 2] = [Self::Bid, Self::Ask];

    /// The number stored in records: `SIDE_BUY` or `SIDE_SELL`.
    pub const fn code(self) -> i8 {
        match self {
            Self::Bid => tidebook_types::records::SIDE_BUY,
            Self::Ask => tidebook_types::records::SIDE_SELL,
        }
    }

    /// The side with this number, if it names one.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            tidebook_types::records::SIDE_BUY => Some(Self::Bid),
            tidebook_types::records::SIDE_SELL => Some(Self::Ask),
            _ => None,
        }
    }

    /// The other one.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }

    /// Whether an order of this side with this limit takes that price.
    #[inline]
    pub const fn takes(self, limit: i64, price: i64) -> bool {
        match self {
            Self::Bid => price <= limit,
            Self::Ask => price >= limit,
        }
    }

    /// A number that grows towards the best price of this side. Its own inverse.
    const fn key(self, price: i64) -> i64 {
        match self {
            Self::Bid => price,
            // Bitwise not reverses the order like a minus sign but cannot overflow.
            Self::Ask => !price,
        }
    }
}

/// All orders at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level {
    /// In price units.
    pub price: i64,
    /// Total size in size units; above 0 for a level that is there.
    pub size: i64,
}

/// Levels a chunk holds.
const CHUNK: usize = 8;
/// A shift moves `CHUNK` elements from any position inside the chunk, so the arrays carry that many more.
const PADDED: usize = 2 * CHUNK + 2;
/// Key of an empty place; sorts behind every key of the chunk.
const EMPTY: i64 = i64::MAX;

#[derive(Clone)]
struct Chunk {
    count: usize,
    /// Rising; `EMPTY` from `count` on.
    keys: [i64; PADDED],
    sizes: [i64; PADDED],
}

impl Chunk {
    const NEW: Self = Self { count: 0, keys: [EMPTY; PADDED], sizes: [0; PADDED] };

    /// Place of `key`: number of keys below it. Always looks at the whole chunk: no branch to mispredict.
    #[inline]
    fn position(&self, key: i64) -> usize {
        self.keys[..CHUNK].iter().map(|&other| usize::from(other < key)).sum::<usize>().min(CHUNK)
    }

    #[inline]
    fn insert(&mut self, position: usize, key: i64, size: i64) {
        debug_assert!(self.count < CHUNK);
        shift(&mut self.keys, position, position + 1);
        shift(&mut self.sizes, position, position + 1);
        self.keys[position] = key;
        self.sizes[position] = size;
        self.count += 1;
    }

    #[inline]
    fn remove(&mut self, position: usize) {
        debug_assert!(position < self.count);
        shift(&mut self.keys, position + 1, position);
        shift(&mut self.sizes, position + 1, position);
        self.count -= 1;
    }

    /// Moves the better half into the returned chunk.
    fn split(&mut self) -> Self {
        const HALF: usize = CHUNK / 2;
        let mut better = Self::NEW;
        better.keys[..CHUNK - HALF].copy_from_slice(&self.keys[HALF..CHUNK]);
        better.sizes[..CHUNK - HALF].copy_from_slice(&self.sizes[HALF..CHUNK]);
        better.count = self.count - HALF;
        self.keys[HALF..].fill(EMPTY);
        self.count = HALF;
        better
    }
}

/// Copies `CHUNK` elements from one position to another; the constant length compiles to plain loads and stores.
#[inline]
fn shift(array: &mut [i64; PADDED], from: usize, to: usize) {
    debug_assert!(from.abs_diff(to) <= 1);
    let moved: [i64; CHUNK] = array[from..from + CHUNK].try_into().expect("a slice of CHUNK elements");
    array[to..to + CHUNK].copy_from_slice(&moved);
}

/// The levels of one side.
#[derive(Clone)]
pub(crate) struct BookSide {
    side: Side,
    count: usize,
    /// Best key of each chunk in use, rising; the best of the side is last.
    tops: Vec<i64>,
    /// Where in `pool` the chunk of the same position lies.
    slots: Vec<u32>,
    pool: Vec<Chunk>,
    free: Vec<u32>,
    /// Position in `tops` of the chunk touched last; any value is correct, a near one is fast.
    finger: usize,
}

impl BookSide {
    pub(crate) const fn new(side: Side) -> Self {
        Self { side, count: 0, tops: Vec::new(), slots: Vec::new(), pool: Vec::new(), free: Vec::new(), finger: 0 }
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Empties the side and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.free.append(&mut self.slots);
        self.tops.clear();
        self.finger = 0;
    }

    /// Sets the level at `price`, or removes it when `size` is 0; returns the size before, 0 if there was none.
    #[inline]
    pub(crate) fn apply(&mut self, price: i64, size: i64) -> i64 {
        let key = self.side.key(price);
        if self.tops.is_empty() {
            if size != 0 {
                self.open_first(key, size);
            }
            return 0;
        }
        let place = self.find(key);
        let chunk = &mut self.pool[self.slots[place] as usize];
        let position = chunk.position(key);
        let found = (position < chunk.count) & (chunk.keys[position] == key);
        let inserts = !found & (size != 0);
        if inserts && chunk.count == CHUNK {
            self.insert_splitting(place, key, size);
            self.count += 1;
            return 0;
        }
        let before = if found { chunk.sizes[position] } else { 0 };
        // One straight path for a new level, a new size, a removal and nothing to do: what a change is cannot be
        // predicted, and a shift by nothing is cheaper than a wrong guess.
        let removes = found & (size == 0);
        let (from, to) = (position + usize::from(removes), position + usize::from(inserts));
        shift(&mut chunk.keys, from, to);
        shift(&mut chunk.sizes, from, to);
        let sets = size != 0;
        chunk.keys[position] = if sets { key } else { chunk.keys[position] };
        chunk.sizes[position] = if sets { size } else { chunk.sizes[position] };
        chunk.count = chunk.count + usize::from(inserts) - usize::from(removes);
        self.count = self.count + usize::from(inserts) - usize::from(removes);
        if chunk.count == 0 {
            self.free.push(self.slots.remove(place));
            self.tops.remove(place);
        } else {
            self.tops[place] = chunk.keys[chunk.count - 1];
        }
        before
    }

    /// Position of the chunk that holds `key` or would take it. The directory is not empty.
    #[inline]
    fn find(&mut self, key: i64) -> usize {
        let last = self.tops.len() - 1;
        let mut place = self.finger.min(last);
        if self.tops[place] >= key {
            while place > 0 && self.tops[place - 1] >= key {
                place -= 1;
            }
        } else {
            while place < last && self.tops[place] < key {
                place += 1;
            }
        }
        self.finger = place;
        place
    }

    #[cold]
    fn open_first(&mut self, key: i64, size: i64) {
        let mut chunk = Chunk::NEW;
        chunk.insert(0, key, size);
        let slot = self.store(chunk);
        self.tops.push(key);
        self.slots.push(slot);
        self.count = 1;
    }

    #[cold]
    fn insert_splitting(&mut self, place: usize, key: i64, size: i64) {
        let worse = &mut self.pool[self.slots[place] as usize];
        let mut better = worse.split();
        let target = if worse.keys[worse.count - 1] < key { &mut better } else { &mut *worse };
        target.insert(target.position(key), key, size);
        let (top_worse, top_better) = (worse.keys[worse.count - 1], better.keys[better.count - 1]);
        let slot = self.store(better);
        self.tops[place] = top_worse;
        self.tops.insert(place + 1, top_better);
        self.slots.insert(place + 1, slot);
    }

    fn store(&mut self, chunk: Chunk) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.pool[slot as usize] = chunk;
            return slot;
        }
        self.pool.push(chunk);
        u32::try_from(self.pool.len() - 1).expect("fewer than 2^32 chunks fit memory")
    }

    /// Keeps the `depth` best levels and hands each one removed to `removed`, worst first.
    pub(crate) fn truncate(&mut self, depth: usize, mut removed: impl FnMut(Level)) {
        while self.count > depth {
            let chunk = &mut self.pool[self.slots[0] as usize];
            removed(Level { price: self.side.key(chunk.keys[0]), size: chunk.sizes[0] });
            chunk.remove(0);
            self.count -= 1;
            if chunk.count == 0 {
                self.free.push(self.slots.remove(0));
                self.tops.remove(0);
            }
        }
    }

    #[inline]
    pub(crate) fn best(&self) -> Option<Level> {
        let chunk = &self.pool[*self.slots.last()? as usize];
        Some(Level { price: self.side.key(chunk.keys[chunk.count - 1]), size: chunk.sizes[chunk.count - 1] })
    }

    pub(crate) fn levels(&self) -> Levels<'_> {
        Levels { side: self, place: self.slots.len(), position: 0 }
    }
}

impl fmt::Debug for BookSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.levels()).finish()
    }
}

/// Levels of one side, best first.
#[derive(Clone)]
pub struct Levels<'a> {
    side: &'a BookSide,
    /// Chunks still untouched are those before this one.
    place: usize,
    /// Levels left in the chunk at `place`.
    position: usize,
}

impl Iterator for Levels<'_> {
    type Item = Level;

    fn next(&mut self) -> Option<Level> {
        if self.position == 0 {
            self.place = self.place.checked_sub(1)?;
            self.position = self.side.pool[self.side.slots[self.place] as usize].count;
        }
        self.position -= 1;
        let chunk = &self.side.pool[self.side.slots[self.place] as usize];
        Some(Level { price: self.side.side.key(chunk.keys[self.position]), size: chunk.sizes[self.position] })
    }
}
