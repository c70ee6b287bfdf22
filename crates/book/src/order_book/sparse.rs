//! Levels anywhere: a binary trie over the bits in which prices differ.
//!
//! A tree by comparison would have to be balanced or could be made a list by whoever chooses the prices; here a step tells one bit apart, so that no
//! pattern of prices makes a path longer than a price has bits (64), and an insertion or removal changes one link. Nodes are 12 bytes in an arena.

/// No link.
const NONE: u32 = u32::MAX;

/// Marks a link to a level instead of a node.
const LEVEL: u32 = 1 << 31;

#[derive(Debug, Clone, Copy)]
struct Fork {
    /// Below this bit the keys of both branches differ, above it they are the same.
    bit: u32,
    /// Where the bit is 0 and where it is 1: a fork, or with [`LEVEL`] a level. `branches[0]` of a free fork is the next free one.
    branches: [u32; 2],
}

/// Where a key branches off: the bit, the branch that leads there (`None`: the root), and what it leads to.
struct Place {
    bit: u32,
    parent: Option<(u32, usize)>,
    link: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Sparse {
    root: u32,
    forks: Vec<Fork>,
    free: u32,
}

impl Sparse {
    pub(super) const NEW: Self = Self { root: NONE, forks: Vec::new(), free: NONE };

    pub(super) fn clear(&mut self) {
        self.forks.clear();
        (self.root, self.free) = (NONE, NONE);
    }

    /// The level that shares the most leading bits with the key: the one with this key, if there is one. `None` without any level.
    #[inline]
    pub(super) fn alike(&self, key: u64) -> Option<u32> {
        if self.root == NONE {
            return None;
        }
        let mut link = self.root;
        while link & LEVEL == 0 {
            let fork = &self.forks[link as usize];
            link = fork.branches[(key >> fork.bit & 1) as usize];
        }
        Some(link & !LEVEL)
    }

    /// Where a key that is not there branches off, given the key of the level that is [`Self::alike`].
    fn branch_off(&self, key: u64, alike: u64) -> Place {
        let bit = (alike ^ key).ilog2();
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
        Place { bit, parent, link }
    }

    /// The neighbour of a key at its place: a level and whether it is the next greater, else it is the next smaller.
    fn beside(&self, key: u64, place: &Place) -> (u32, bool) {
        // All behind the link differ from the key in this bit first: they are all greater, or all smaller.
        let greater = key >> place.bit & 1 == 0;
        let mut link = place.link;
        while link & LEVEL == 0 {
            link = self.forks[link as usize].branches[usize::from(!greater)];
        }
        (link & !LEVEL, greater)
    }

    /// See [`Self::beside`]; `alike` is the key of the level that is, the key is not there.
    pub(super) fn neighbour(&self, key: u64, alike: u64) -> (u32, bool) {
        self.beside(key, &self.branch_off(key, alike))
    }

    /// Adds a level whose key is not there; `alike` is the key of the level that is, if there is any. Returns the neighbour, as [`Self::beside`].
    pub(super) fn insert(&mut self, key: u64, level: u32, alike: Option<u64>) -> Option<(u32, bool)> {
        debug_assert!(level & LEVEL == 0, "fewer levels than links");
        let Some(alike) = alike else {
            self.root = level | LEVEL;
            return None;
        };
        let place = self.branch_off(key, alike);
        let neighbour = self.beside(key, &place);
        let mut branches = [place.link; 2];
        branches[(key >> place.bit & 1) as usize] = level | LEVEL;
        let fork = self.store(Fork { bit: place.bit, branches });
        self.relink(place.parent, fork);
        Some(neighbour)
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
            let alike = trie.alike(key).map(key_of);
            assert_eq!(alike == Some(key), set.contains(&level));
            if set.contains(&level) {
                trie.remove(key, level);
                set.remove(&level);
                continue;
            }
            let (greater, smaller) = (set.range(level..).next().copied(), set.range(..level).next_back().copied());
            let is_beside = |found: Option<(u32, bool)>| match found {
                None => assert!(set.is_empty()),
                Some((other, true)) => assert_eq!(greater, Some(other)),
                Some((other, false)) => assert_eq!(smaller, Some(other)),
            };
            is_beside(alike.map(|alike| trie.neighbour(key, alike)));
            if next() % 2 == 0 || set.len() < 20 {
                is_beside(trie.insert(key, level, alike));
                set.insert(level);
            }
        }
        assert!(trie.forks.len() < keys.len());
        for level in set {
            trie.remove(key_of(level), level);
        }
        assert_eq!(trie.alike(1), None);
    }
}
