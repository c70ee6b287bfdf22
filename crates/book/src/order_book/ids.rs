//! Which node an order id is: a table with open addressing, a cache line at a time.
//!
//! A line has eight places, each 32 bits of an id's hash and the number of its node; the id itself is in the node, which whoever looks it up reads
//! anyway. All places of a line are compared at once and an entry may be in any, so that where among its like an order is costs no branch: how far one
//! has to look in a table of single places can be foreseen by no processor. At most half of the table is used, and only who finds a line
//! full goes to the next one. The hash bits say where an entry belongs, therefore removal closes the hole in a full line by an entry that had to
//! go on, and growth needs no node: there are no tombstones and nothing ever degrades.
//!
//! Four ids that follow each other begin in one line, and which line is a hash: what was placed together is found together, yet ids in steps
//! of a power of two collide no more than others.

use super::slab::{NONE, Slab};

/// Places of a line.
const WIDTH: usize = 8;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line {
    /// Of a free place any.
    tags: [u32; WIDTH],
    /// `NONE` in a free place.
    nodes: [u32; WIDTH],
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    const EMPTY: Self = Self { tags: [0; WIDTH], nodes: [NONE; WIDTH] };

    #[inline]
    fn is_full(&self) -> bool {
        places(&self.nodes, NONE) == 0
    }

    #[inline]
    fn find(&self, tag: u32, id: u64, slab: &Slab) -> Option<usize> {
        let mut alike = places(&self.tags, tag);
        while alike != 0 {
            let place = alike.trailing_zeros() as usize;
            // A free place leads to the node that is no order and has no id.
            if slab.node(self.nodes[place]).order.id == id {
                return Some(place);
            }
            alike &= alike - 1;
        }
        None
    }

    /// Whether it had a free place.
    #[inline]
    fn put(&mut self, tag: u32, node: u32) -> bool {
        let free = places(&self.nodes, NONE);
        if free != 0 {
            let place = free.trailing_zeros() as usize;
            (self.tags[place], self.nodes[place]) = (tag, node);
        }
        free != 0
    }
}

/// A bit for each of the words that is this one.
#[inline]
fn places(words: &[u32; WIDTH], word: u32) -> u32 {
    words.iter().enumerate().fold(0, |bits, (place, &other)| bits | u32::from(other == word) << place)
}

#[derive(Debug, Clone)]
pub(super) struct Ids {
    /// The length is a power of two, or 0.
    lines: Vec<Line>,
    count: usize,
}

/// 30 bits that say the line, 2 that tell apart who begins in it.
#[inline]
const fn tag(id: u64) -> u32 {
    let block = (id >> 2) ^ 0x9e37_79b9_7f4a_7c15;
    let product = (block as u128).wrapping_mul(0xd134_2543_de82_ef95_a4cf_6d2b_91e0_35f7);
    let mixed = (product >> 64) as u64 ^ product as u64;
    ((mixed >> 32) as u32 & !3) | id as u32 & 3
}

impl Ids {
    pub(super) const NEW: Self = Self { lines: Vec::new(), count: 0 };

    /// Room for `count` ids in all.
    pub(super) fn reserve(&mut self, count: usize) {
        let lines = (2 * count).div_ceil(WIDTH).next_power_of_two();
        if lines > self.lines.len() {
            self.grow(lines);
        }
    }

    pub(super) fn clear(&mut self) {
        self.lines.fill(Line::EMPTY);
        self.count = 0;
    }

    /// The line where an entry with this tag belongs.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        // In 64 bits, because a table of one line would shift by 32.
        (u64::from(tag) >> (32 - self.lines.len().trailing_zeros())) as usize
    }

    /// The node of this id.
    #[inline]
    pub(super) fn find(&self, id: u64, slab: &Slab) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let tag = tag(id);
        let mut at = self.home(tag);
        loop {
            let line = &self.lines[at & (self.lines.len() - 1)];
            if let Some(place) = line.find(tag, id, slab) {
                return Some(line.nodes[place]);
            }
            if !line.is_full() {
                return None;
            }
            at += 1;
        }
    }

    /// Adds an id and says whether it was not there yet.
    #[inline]
    pub(super) fn insert(&mut self, id: u64, node: u32, slab: &Slab) -> bool {
        debug_assert!(node != NONE);
        if 2 * (self.count + 1) > WIDTH * self.lines.len() {
            self.grow((2 * self.lines.len()).max(1));
        }
        let tag = tag(id);
        let mask = self.lines.len() - 1;
        let mut at = self.home(tag);
        loop {
            let line = &mut self.lines[at & mask];
            if line.find(tag, id, slab).is_some() {
                return false;
            }
            if line.put(tag, node) {
                self.count += 1;
                return true;
            }
            at += 1;
        }
    }

    /// Adds an entry in the first line from its own on that has a free place.
    #[inline]
    fn put(&mut self, tag: u32, node: u32) {
        let mask = self.lines.len() - 1;
        let mut at = self.home(tag);
        while !self.lines[at & mask].put(tag, node) {
            at += 1;
        }
    }

    /// Removes an id and says whose it was.
    #[inline]
    pub(super) fn take(&mut self, id: u64, slab: &Slab) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let tag = tag(id);
        let mut at = self.home(tag) & (self.lines.len() - 1);
        loop {
            let line = &mut self.lines[at];
            let is_full = line.is_full();
            if let Some(place) = line.find(tag, id, slab) {
                let node = std::mem::replace(&mut line.nodes[place], NONE);
                self.count -= 1;
                if is_full {
                    self.close(at);
                }
                return Some(node);
            }
            if !is_full {
                return None;
            }
            at = (at + 1) & (self.lines.len() - 1);
        }
    }

    /// A line that was full has a free place now: who had to go on because of it comes back, and so on from where that one was.
    #[cold]
    fn close(&mut self, mut hole: usize) {
        let mask = self.lines.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let line = self.lines[at];
            let is_full = line.is_full();
            // An entry that belongs behind the hole stays where it is.
            let comes = |place: &usize| {
                let gone = at.wrapping_sub(self.home(line.tags[*place])) & mask;
                line.nodes[*place] != NONE && gone >= at.wrapping_sub(hole) & mask
            };
            if let Some(place) = (0..WIDTH).find(comes) {
                self.lines[at].nodes[place] = NONE;
                self.put(line.tags[place], line.nodes[place]);
                hole = at;
            }
            if !is_full {
                return;
            }
        }
    }

    #[cold]
    fn grow(&mut self, lines: usize) {
        // 30 bits of the hash say the line.
        assert!(lines <= 1 << 30, "fewer orders than hash bits can tell apart");
        let old = std::mem::replace(&mut self.lines, vec![Line::EMPTY; lines]);
        for line in old {
            for (tag, node) in line.tags.into_iter().zip(line.nodes).filter(|&(_, node)| node != NONE) {
                self.put(tag, node);
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
                let its = line.tags.iter().zip(&line.nodes).filter(|&(_, &node)| node != NONE);
                distances.extend(its.map(|(&tag, _)| at.wrapping_sub(ids.home(tag)) & mask));
            }
            assert_eq!(distances.len(), ids.count);
            let (sum, most) = (distances.iter().sum::<usize>(), distances.iter().max().unwrap());
            assert!(10 * sum < ids.count && *most < 20, "pattern {number}: {sum} of {}, at most {most}", ids.count);
        }
    }
}
