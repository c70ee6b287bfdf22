//! Which node an order id is: a table with open addressing.
//!
//! A place holds 32 bits of the id's hash and the number of the node, so that eight fit a cache line and a table of a million orders is
//! 16 MiB; the id itself is in the node, which whoever looks it up reads anyway. The hash bits say where an entry belongs, therefore
//! removal closes the hole by moving its followers and growth needs no node: there are no tombstones and nothing ever degrades.
//!
//! Eight ids that follow each other (a venue's are even: `2 x sequence`) begin in one cache line, in turn, and which line is a hash: what
//! was placed together is found together, yet ids in steps of a power of two collide no more than others. At most half of the table is used.

use super::slab::{NONE, Slab};

const EMPTY: u64 = u64::MAX;
/// Places of the smallest table.
const SMALLEST: usize = 16;

#[derive(Debug, Clone)]
pub(super) struct Ids {
    /// Hash bits above, node below; the length is a power of two, or 0.
    places: Vec<u64>,
    count: usize,
}

/// 29 bits that say the line, 3 that say the place in it.
#[inline]
const fn tag(id: u64) -> u32 {
    let block = (id >> 4) ^ 0x9e37_79b9_7f4a_7c15;
    let product = (block as u128).wrapping_mul(0xd134_2543_de82_ef95_a4cf_6d2b_91e0_35f7);
    let mixed = (product >> 64) as u64 ^ product as u64;
    ((mixed >> 32) as u32 & !7) | (id >> 1) as u32 & 7
}

impl Ids {
    pub(super) const NEW: Self = Self { places: Vec::new(), count: 0 };

    /// Room for `count` ids in all.
    pub(super) fn reserve(&mut self, count: usize) {
        let size = (2 * count).next_power_of_two().max(SMALLEST);
        if size > self.places.len() {
            self.grow(size);
        }
    }

    pub(super) fn clear(&mut self) {
        self.places.fill(EMPTY);
        self.count = 0;
    }

    /// Where an entry with this tag belongs.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        let lines_log2 = self.places.len().trailing_zeros() - 3;
        // In 64 bits, because a table of one line would shift by 32.
        ((u64::from(tag) >> (32 - lines_log2)) << 3 | u64::from(tag & 7)) as usize
    }

    /// The node of this id.
    #[inline]
    pub(super) fn find(&self, id: u64, slab: &Slab) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let tag = tag(id);
        let mask = self.places.len() - 1;
        let mut place = self.home(tag);
        loop {
            let entry = self.places[place & mask];
            if entry == EMPTY {
                return None;
            }
            if (entry >> 32) as u32 == tag && slab.node(entry as u32).order.id == id {
                return Some(entry as u32);
            }
            place += 1;
        }
    }

    /// Adds an id and says whether it was not there yet.
    #[inline]
    pub(super) fn insert(&mut self, id: u64, node: u32, slab: &Slab) -> bool {
        debug_assert!(node != NONE);
        if 2 * (self.count + 1) > self.places.len() {
            self.grow((2 * self.places.len()).max(SMALLEST));
        }
        let tag = tag(id);
        let mask = self.places.len() - 1;
        let mut place = self.home(tag);
        loop {
            let entry = self.places[place & mask];
            if entry == EMPTY {
                break;
            }
            if (entry >> 32) as u32 == tag && slab.node(entry as u32).order.id == id {
                return false;
            }
            place += 1;
        }
        self.places[place & mask] = u64::from(tag) << 32 | u64::from(node);
        self.count += 1;
        true
    }

    /// Removes an id that is there.
    #[inline]
    pub(super) fn remove(&mut self, id: u64, node: u32) {
        let tag = tag(id);
        let entry = u64::from(tag) << 32 | u64::from(node);
        let mask = self.places.len() - 1;
        let mut hole = self.home(tag);
        while self.places[hole & mask] != entry {
            debug_assert!(self.places[hole & mask] != EMPTY, "order {id} has no entry");
            hole += 1;
        }
        self.count -= 1;
        let mut place = hole;
        loop {
            place += 1;
            let follower = self.places[place & mask];
            if follower == EMPTY {
                break;
            }
            // It may move to the hole unless it belongs behind it.
            let home = self.home((follower >> 32) as u32);
            if place.wrapping_sub(home) & mask >= place - hole {
                self.places[hole & mask] = follower;
                hole = place;
            }
        }
        self.places[hole & mask] = EMPTY;
    }

    #[cold]
    fn grow(&mut self, size: usize) {
        // 29 bits of the hash say the line.
        assert!(size <= 1 << 32, "fewer orders than hash bits can tell apart");
        let old = std::mem::replace(&mut self.places, vec![EMPTY; size]);
        for entry in old.into_iter().filter(|&entry| entry != EMPTY) {
            let mut place = self.home((entry >> 32) as u32);
            while self.places[place & (size - 1)] != EMPTY {
                place += 1;
            }
            self.places[place & (size - 1)] = entry;
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
                ids.remove(all[index], nodes[index]);
                slab.free(nodes[index]);
            }
            for (index, &id) in all.iter().enumerate() {
                let expected = (index % 3 != 0).then_some(nodes[index]);
                assert_eq!(ids.find(id, &slab), expected, "pattern {number}: {id}");
            }
            let mask = ids.places.len() - 1;
            let distance = |(place, &entry): (usize, &u64)| {
                (entry != EMPTY).then(|| place.wrapping_sub(ids.home((entry >> 32) as u32)) & mask)
            };
            let distances: Vec<usize> = ids.places.iter().enumerate().filter_map(distance).collect();
            assert_eq!(distances.len(), ids.count);
            let (sum, most) = (distances.iter().sum::<usize>(), distances.iter().max().unwrap());
            assert!(sum < 5 * ids.count && *most < 120, "pattern {number}: {sum} of {}, at most {most}", ids.count);
        }
    }
}
