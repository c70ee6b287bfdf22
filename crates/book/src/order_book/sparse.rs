//! Levels anywhere: a binary trie over the bits in which prices differ.
//!
//! A tree by comparison would have to be balanced or could be made a list by whoever chooses the prices; here a step tells one bit apart, so that no
//! pattern of prices makes a path longer than a price has bits (64), and an insertion or removal changes one link. Nodes are 12 bytes in an arena.

use super::slab::NONE;

/// Marks a link to a level instead of a node.
const LEVEL: u32 = 1 << 31;

#[derive(Debug, Clone, Copy)]
struct Fork {
    /// Below this bit the keys of both branches differ, above it they are the same.
    bit: u32,
    /// Where the bit is 0 and where it is 1: a fork, or with [`LEVEL`] a level. `branches[0]` of a free fork is the next free one.
    branches: [u32; 2],
}

#[derive(Debug, Clone)]
pub(super) struct Sparse {
    root: u32,
    forks: Vec<Fork>,
    free: u32,
}

impl Sparse {
    pub(super) const NEW: Self = Self { root: NONE, forks: Vec::new(), free: NONE };

    pub(super) const fn is_empty(&self) -> bool {
        self.root == NONE
    }

    pub(super) fn clear(&mut self) {
        self.forks.clear();
        (self.root, self.free) = (NONE, NONE);
    }

    /// The level that shares the most leading bits with the key; the trie is not empty.
    #[inline]
    fn alike(&self, key: u64) -> u32 {
        let mut link = self.root;
        while link & LEVEL == 0 {
            let fork = &self.forks[link as usize];
            link = fork.branches[(key >> fork.bit & 1) as usize];
        }
        link & !LEVEL
    }

    /// The level with this key.
    #[inline]
    pub(super) fn find(&self, key: u64, key_of: impl Fn(u32) -> u64) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let level = self.alike(key);
        (key_of(level) == key).then_some(level)
    }

    /// The neighbour of a key that is not there: a level and whether it is the next greater, else it is the next smaller.
    pub(super) fn neighbour(&self, key: u64, key_of: impl Fn(u32) -> u64) -> Option<(u32, bool)> {
        if self.is_empty() {
            return None;
        }
        let bit = (key_of(self.alike(key)) ^ key).ilog2();
        let mut link = self.root;
        while link & LEVEL == 0 {
            let fork = &self.forks[link as usize];
            if fork.bit < bit {
                break;
            }
            link = fork.branches[(key >> fork.bit & 1) as usize];
        }
        // All below differ from the key in this bit alone as far as it matters: they are all greater, or all smaller.
        let greater = key >> bit & 1 == 0;
        while link & LEVEL == 0 {
            link = self.forks[link as usize].branches[usize::from(!greater)];
        }
        Some((link & !LEVEL, greater))
    }

    /// Adds a level whose key is not there.
    pub(super) fn insert(&mut self, key: u64, level: u32, key_of: impl Fn(u32) -> u64) {
        debug_assert!(level & LEVEL == 0, "fewer levels than links");
        if self.is_empty() {
            self.root = level | LEVEL;
            return;
        }
        let bit = (key_of(self.alike(key)) ^ key).ilog2();
        let mut parent = None;
        let mut link = self.root;
        while link & LEVEL == 0 {
            let fork = &self.forks[link as usize];
            if fork.bit < bit {
                break;
            }
            let branch = (key >> fork.bit & 1) as usize;
            parent = Some((link, branch));
            link = fork.branches[branch];
        }
        let own = (key >> bit & 1) as usize;
        let mut branches = [link; 2];
        branches[own] = level | LEVEL;
        let fork = self.store(Fork { bit, branches });
        self.relink(parent, fork);
    }

    /// Removes the level with this key, which is there.
    pub(super) fn remove(&mut self, key: u64, level: u32) {
        let (mut parent, mut place) = (None, None);
        let mut link = self.root;
        while link & LEVEL == 0 {
            let fork = &self.forks[link as usize];
            let branch = (key >> fork.bit & 1) as usize;
            parent = place;
            place = Some((link, branch));
            link = fork.branches[branch];
        }
        assert!(link == level | LEVEL, "level {level} is not where its price says");
        let Some((fork, branch)) = place else {
            self.root = NONE;
            return;
        };
        let other = self.forks[fork as usize].branches[1 - branch];
        self.relink(parent, other);
        self.forks[fork as usize].branches[0] = self.free;
        self.free = fork;
    }

    fn relink(&mut self, parent: Option<(u32, usize)>, link: u32) {
        match parent {
            Some((fork, branch)) => self.forks[fork as usize].branches[branch] = link,
            None => self.root = link,
        }
    }

    fn store(&mut self, fork: Fork) -> u32 {
        if self.free == NONE {
            self.forks.push(fork);
            return u32::try_from(self.forks.len() - 1).expect("fewer forks than levels");
        }
        let index = self.free;
        self.free = self.forks[index as usize].branches[0];
        self.forks[index as usize] = fork;
        index
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Method: seeded insertions and removals of keys near each other, far apart and powers of two, compared with an ordered set; keys stand for levels.
    #[test]
    fn a_trie_finds_each_key_and_the_neighbours_of_others() {
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut keys: Vec<u64> = (0..64).map(|bit| 1 << bit).collect();
        keys.extend([0, u64::MAX, 1 << 63 | 1]);
        keys.extend((0..200).map(|n| (1 << 63) + 1_000 * n));
        keys.extend((0..200).map(|_| next() << 31 ^ next()));
        keys.sort_unstable();
        keys.dedup();
        let key_of = |level: u32| keys[level as usize];
        let (mut trie, mut set) = (Sparse::NEW, BTreeSet::new());
        for _ in 0..30_000 {
            let level = (next() % keys.len() as u64) as u32;
            let key = key_of(level);
            if set.contains(&level) {
                assert_eq!(trie.find(key, key_of), Some(level));
                trie.remove(key, level);
                set.remove(&level);
                continue;
            }
            assert_eq!(trie.find(key, key_of), None);
            match trie.neighbour(key, key_of) {
                None => assert!(set.is_empty()),
                Some((other, true)) => assert_eq!(set.range(level..).next(), Some(&other)),
                Some((other, false)) => assert_eq!(set.range(..level).next_back(), Some(&other)),
            }
            if next() % 2 == 0 || set.len() < 20 {
                trie.insert(key, level, key_of);
                set.insert(level);
            }
        }
        assert!(trie.forks.len() < keys.len());
        for level in set {
            trie.remove(key_of(level), level);
        }
        assert!(trie.is_empty());
    }
}
