//! Which node an order id is: a table with open addressing, eight places at a time.
//!
//! A line has eight places: the numbers of their nodes, and in one word seven bits of each id's hash. One word tells at once which places may be the one
//! that is looked for and which are free, and an entry may be in any, so that where among its like an order is costs no branch: how far one has to
//! look in a table of single places can be foreseen by no processor. The id itself is in the node, which whoever looks it up reads anyway. At most half of the
//! table is used, and only who finds a line full goes to the next one; removal closes the hole in a full line by an entry that had to go on: there are no
//! tombstones and nothing ever degrades.
//!
//! Four ids that follow each other begin in one line, and which line is a hash: what was placed together is found together, yet ids in steps
//! of a power of two collide no more than others.

use super::slab::{NONE, Slab};

/// Places of a line.
const WIDTH: usize = 8;
/// The highest bit of each byte: that a place is used.
const USED: u64 = 0x8080_8080_8080_8080;
/// One in each byte.
const EACH: u64 = 0x0101_0101_0101_0101;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line {
    /// A byte for each place: [`tag`], or 0 of a free one.
    tags: u64,
    nodes: [u32; WIDTH],
}

impl Line {
    const EMPTY: Self = Self { tags: 0, nodes: [NONE; WIDTH] };

    #[inline]
    const fn is_full(&self) -> bool {
        self.tags & USED == USED
    }

    /// Place of an id with this tag.
    #[inline]
    fn place(&self, tag: u64, id: u64, slab: &Slab) -> Option<usize> {
        let apart = self.tags ^ (EACH * tag);
        // The lowest is right; one above it may be another's, whose id is another.
        let mut alike = apart.wrapping_sub(EACH) & !apart & USED;
        while alike != 0 {
            let place = lowest(alike);
            if slab.node(self.nodes[place]).order.id == id {
                return Some(place);
            }
            alike &= alike - 1;
        }
        None
    }

    /// Puts an entry into a line that is not full.
    #[inline]
    fn put(&mut self, tag: u64, node: u32) {
        let place = lowest(!self.tags & USED);
        self.tags |= tag << (8 * place);
        self.nodes[place] = node;
    }

    /// Frees a place; whose it was, and its tag.
    #[inline]
    fn free(&mut self, place: usize) -> (u64, u32) {
        let tag = self.tags >> (8 * place) & 0xff;
        self.tags ^= tag << (8 * place);
        (tag, self.nodes[place])
    }

    /// Places that are used.
    fn used(self) -> impl Iterator<Item = usize> {
        (0..WIDTH).filter(move |place| self.tags >> (8 * place) & 0x80 != 0)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Ids {
    /// The length is a power of two, or 0.
    lines: Vec<Line>,
    count: usize,
}

#[inline]
const fn hash(id: u64) -> u64 {
    let block = (id >> 2) ^ 0x9e37_79b9_7f4a_7c15;
    let product = (block as u128).wrapping_mul(0xd134_2543_de82_ef95_a4cf_6d2b_91e0_35f7);
    (product >> 64) as u64 ^ product as u64
}

/// That it is used, five bits of the hash, two that tell apart who begins in one line.
#[inline]
const fn tag(id: u64, hash: u64) -> u64 {
    0x80 | hash & 0x7c | id & 3
}

/// The place whose byte has the lowest bit.
#[inline]
const fn lowest(bits: u64) -> usize {
    (bits.trailing_zeros() >> 3) as usize
}

impl Ids {
    pub(super) const NEW: Self = Self { lines: Vec::new(), count: 0 };

    /// Room for `count` ids in all.
    pub(super) fn reserve(&mut self, count: usize, slab: &Slab) {
        let lines = (2 * count).div_ceil(WIDTH).next_power_of_two();
        if lines > self.lines.len() {
            self.grow(lines, slab);
        }
    }

    pub(super) fn clear(&mut self) {
        self.lines.fill(Line::EMPTY);
        self.count = 0;
    }

    /// The line where an id with this hash belongs.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // In two steps, because a table of one line would shift by 64.
        (hash >> 1 >> (63 - self.lines.len().trailing_zeros())) as usize
    }

    #[inline]
    fn after(&self, line: usize) -> usize {
        (line + 1) & (self.lines.len() - 1)
    }

    /// The node of this id.
    #[inline]
    pub(super) fn find(&self, id: u64, slab: &Slab) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let hash = hash(id);
        let mut at = self.home(hash);
        loop {
            let line = &self.lines[at];
            if let Some(place) = line.place(tag(id, hash), id, slab) {
                return Some(line.nodes[place]);
            }
            if !line.is_full() {
                return None;
            }
            at = self.after(at);
        }
    }

    /// Adds an id and says whether it was not there yet.
    #[inline]
    pub(super) fn insert(&mut self, id: u64, node: u32, slab: &Slab) -> bool {
        debug_assert!(node != NONE);
        if 2 * (self.count + 1) > WIDTH * self.lines.len() {
            self.grow((2 * self.lines.len()).max(1), slab);
        }
        let hash = hash(id);
        let mut at = self.home(hash);
        loop {
            let line = &mut self.lines[at];
            if line.place(tag(id, hash), id, slab).is_some() {
                return false;
            }
            if !line.is_full() {
                line.put(tag(id, hash), node);
                self.count += 1;
                return true;
            }
            at = self.after(at);
        }
    }

    /// Removes an id and says whose it was.
    #[inline]
    pub(super) fn take(&mut self, id: u64, slab: &Slab) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let hash = hash(id);
        let mut at = self.home(hash);
        loop {
            let line = &mut self.lines[at];
            let is_full = line.is_full();
            if let Some(place) = line.place(tag(id, hash), id, slab) {
                let (_, node) = line.free(place);
                self.count -= 1;
                if is_full {
                    self.close(at, slab);
                }
                return Some(node);
            }
            if !is_full {
                return None;
            }
            at = self.after(at);
        }
    }

    /// A line that was full has a free place now: who had to go on because of it comes back, and so on from where that one was.
    #[cold]
    fn close(&mut self, mut hole: usize, slab: &Slab) {
        let mask = self.lines.len() - 1;
        let mut at = hole;
        loop {
            at = self.after(at);
            let line = self.lines[at];
            // An entry that belongs behind the hole stays where it is.
            let comes = |place: &usize| {
                let home = self.home(hash(slab.node(line.nodes[*place]).order.id));
                at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask
            };
            if let Some(place) = line.used().find(comes) {
                let (tag, node) = self.lines[at].free(place);
                self.lines[hole].put(tag, node);
                hole = at;
            }
            if !line.is_full() {
                return;
            }
        }
    }

    #[cold]
    fn grow(&mut self, lines: usize, slab: &Slab) {
        for line in std::mem::replace(&mut self.lines, vec![Line::EMPTY; lines]) {
            for node in line.used().map(|place| line.nodes[place]) {
                let id = slab.node(node).order.id;
                let mut at = self.home(hash(id));
                while self.lines[at].is_full() {
                    at = self.after(at);
                }
                self.lines[at].put(tag(id, hash(id)), node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Resting;
    use super::*;
    use crate::side::Side;

    /// Method: ids in many patterns, a third of them removed again in another order; each is found exactly while it is there, and no entry is
    /// ever far from where it belongs.
    #[test]
    fn ids_of_any_pattern_are_found_and_lie_near_their_place() {
        let patterns: [fn(u64) -> u64; 7] = [
            |n| n,
            |n| 2 * n,
            |n| n << 20,
            |n| n << 51,
            |n| u64::MAX - n,
            |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            |n| n * 16,
        ];
        for (number, id_of) in patterns.into_iter().enumerate() {
            let (mut ids, mut slab) = (Ids::NEW, Slab::NEW);
            let all: Vec<u64> = (1..=6_000).map(id_of).collect();
            let nodes: Vec<u32> = all
                .iter()
                .map(|&id| {
                    let node = slab.store(Resting { id, price: 1, shown: 1, hidden: 0, side: Side::Bid });
                    assert_eq!(ids.find(id, &slab), None, "pattern {number}: {id}");
                    assert!(ids.insert(id, node, &slab) && !ids.insert(id, node, &slab));
                    node
                })
                .collect();
            for index in (0..all.len()).step_by(3).rev() {
                assert_eq!(ids.take(all[index], &slab), Some(nodes[index]));
                slab.free(nodes[index]);
            }
            for (index, &id) in all.iter().enumerate() {
                let expected = (index % 3 != 0).then_some(nodes[index]);
                assert_eq!(ids.find(id, &slab), expected, "pattern {number}: {id}");
            }
            let mask = ids.lines.len() - 1;
            let mut distances = Vec::new();
            for (at, line) in ids.lines.iter().enumerate() {
                let its = line.used().map(|place| slab.node(line.nodes[place]).order.id);
                distances.extend(its.map(|id| at.wrapping_sub(ids.home(hash(id))) & mask));
            }
            assert_eq!(distances.len(), ids.count);
            let (sum, most) = (distances.iter().sum::<usize>(), distances.iter().max().unwrap());
            assert!(10 * sum < ids.count && *most < 20, "pattern {number}: {sum} of {}, at most {most}", ids.count);
        }
    }
}
