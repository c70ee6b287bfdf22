//! From ids to slots: orders by id, instruments and accounts by number.
//!
//! Open addressing with linear probing and removal by shifting back, so that nothing is left behind that a later search has to pass.
//! Neighbouring order ids share a cache line, lines are scattered by multiplication. Nobody walks over a table, so its order decides
//! nothing.
//!
//! Most orders end soon, and those asked for are mostly new. So an order begins in a small array by the low bits of its id, which stays in
//! the caches, and is moved into the table when a later one needs its place: the table has room for all, and every first touch of
//! one of its lines misses every cache. Cost: one look more for who is in the table.

/// Order ids to slots. Half of the table's places stay free: one that is made for as many orders as there can be never grows.
#[derive(Debug, Clone)]
pub(crate) struct OrderIndex {
    /// The newest orders, each in the place its id has here. Nothing is both here and in the table.
    recent: Vec<[u64; 2]>,
    table: OrderTable,
}

/// Places for the newest orders: 256 KiB.
const RECENT: u64 = 1 << 14;

impl OrderIndex {
    /// For so many orders; with more it doubles, which looks at each of them once.
    pub(crate) fn new(expected: u32) -> Self {
        let table = OrderTable::new(expected);
        Self { recent: vec![[0; 2]; RECENT.min(table.mask + 1) as usize], table }
    }

    /// Has the kernel give all of its memory now: ids are spread, so nearly every order that goes over into the table would have it give a page
    /// in the midst of a command.
    pub(crate) fn touch(&mut self) {
        const PAGE: usize = 4096 / size_of::<[u64; 2]>();
        // Read and written back, and the compiler does not know that it is the same.
        let all = [&mut self.recent, &mut self.table.entries];
        all.into_iter()
            .flat_map(|part| part.iter_mut().step_by(PAGE))
            .for_each(|entry| *entry = std::hint::black_box(*entry));
    }

    /// Where an order is while it is new. Nearly all ids are even.
    #[inline]
    const fn place(&self, id: u64) -> usize {
        (id >> 1) as usize & (self.recent.len() - 1)
    }

    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<u32> {
        if id == 0 {
            return None;
        }
        let [found, slot] = self.recent[self.place(id)];
        if found == id { Some(slot as u32) } else { self.table.find(id) }
    }

    #[inline]
    pub(crate) fn insert(&mut self, id: u64, slot: u32) {
        let place = self.place(id);
        let [older, its] = std::mem::replace(&mut self.recent[place], [id, slot.into()]);
        debug_assert_ne!(older, id);
        if older != 0 {
            self.table.insert(older, its as u32);
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: u64) {
        let place = self.place(id);
        if self.recent[place][0] == id {
            self.recent[place] = [0; 2];
        } else {
            self.table.remove(id);
        }
    }
}

/// The older ones.
#[derive(Debug, Clone)]
struct OrderTable {
    /// Id and slot; id 0 is free. Arrays, because the allocator gives those zeroed without a write, so that room nobody uses costs nothing.
    entries: Vec<[u64; 2]>,
    mask: u64,
    len: u64,
}

/// Ids of one line of the table: 4 of 16 bytes.
const LINE_BITS: u32 = 2;

impl OrderTable {
    fn new(expected: u32) -> Self {
        Self::with_places((u64::from(expected) * 2).next_power_of_two().max(16))
    }

    fn with_places(places: u64) -> Self {
        Self { entries: vec![[0; 2]; places as usize], mask: places - 1, len: 0 }
    }

    #[cold]
    fn double(&mut self) {
        let doubled = Self::with_places(2 * self.entries.len() as u64);
        let old = std::mem::replace(self, doubled);
        for [id, slot] in old.entries.into_iter().filter(|[id, _]| *id != 0) {
            self.insert(id, slot as u32);
        }
    }

    #[inline]
    const fn home(&self, id: u64) -> u64 {
        // Nearly all ids are even; the odd ones (stop legs of pairs) get lines of their own.
        let key = id.rotate_right(1);
        let line = (key >> LINE_BITS).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        ((line << LINE_BITS) | (key & ((1 << LINE_BITS) - 1))) & self.mask
    }

    #[inline]
    fn find(&self, id: u64) -> Option<u32> {
        let mut place = self.home(id);
        loop {
            let [found, slot] = self.entries[place as usize];
            if found == id {
                return Some(slot as u32);
            }
            if found == 0 {
                return None;
            }
            place = (place + 1) & self.mask;
        }
    }

    fn insert(&mut self, id: u64, slot: u32) {
        if 2 * self.len > self.mask {
            self.double();
        }
        self.len += 1;
        let mut place = self.home(id);
        while self.entries[place as usize][0] != 0 {
            debug_assert_ne!(self.entries[place as usize][0], id);
            place = (place + 1) & self.mask;
        }
        self.entries[place as usize] = [id, slot.into()];
    }

    fn remove(&mut self, id: u64) {
        self.len -= 1;
        let mut hole = self.home(id);
        while self.entries[hole as usize][0] != id {
            debug_assert_ne!(self.entries[hole as usize][0], 0, "it is there");
            hole = (hole + 1) & self.mask;
        }
        let mut place = hole;
        loop {
            place = (place + 1) & self.mask;
            let entry = self.entries[place as usize];
            if entry[0] == 0 {
                break;
            }
            // It may fill the hole if its home is not behind it.
            let from_home = place.wrapping_sub(self.home(entry[0])) & self.mask;
            if from_home >= (place.wrapping_sub(hole) & self.mask) {
                self.entries[hole as usize] = entry;
                hole = place;
            }
        }
        self.entries[hole as usize] = [0; 2];
    }
}

/// Numbers that are given by others (instruments, accounts) to places in an array. Grows; nothing is ever removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct NumberIndex {
    /// Number and place; number 0 is free.
    entries: Vec<(u32, u32)>,
    count: usize,
}

impl NumberIndex {
    const fn home(number: u32, mask: usize) -> usize {
        (number.wrapping_mul(0x9e37_79b9) >> 7) as usize & mask
    }

    #[inline]
    pub(crate) fn find(&self, number: u32) -> Option<u32> {
        if number == 0 || self.entries.is_empty() {
            return None;
        }
        let mask = self.entries.len() - 1;
        let mut place = Self::home(number, mask);
        loop {
            let (found, value) = self.entries[place];
            if found == number {
                return Some(value);
            }
            if found == 0 {
                return None;
            }
            place = (place + 1) & mask;
        }
    }

    pub(crate) fn insert(&mut self, number: u32, value: u32) {
        if self.count * 2 >= self.entries.len() {
            let size = (self.entries.len() * 2).max(16);
            let old = std::mem::replace(&mut self.entries, vec![(0, 0); size]);
            for (number, value) in old.into_iter().filter(|(number, _)| *number != 0) {
                self.put(number, value);
            }
        }
        self.put(number, value);
        self.count += 1;
    }

    fn put(&mut self, number: u32, value: u32) {
        let mask = self.entries.len() - 1;
        let mut place = Self::home(number, mask);
        while self.entries[place].0 != 0 {
            place = (place + 1) & mask;
        }
        self.entries[place] = (number, value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_was_inserted_and_not_removed_is_found_and_nothing_else() {
        let mut seed = 7_u64;
        let mut random = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        // One that has room for all, and one that has to double, which it does as often as it must.
        let (mut index, mut growing, mut known) = (OrderIndex::new(500), OrderIndex::new(5), BTreeMap::new());
        let places = index.table.entries.len();
        for step in 0..50_000_u64 {
            let id = step * 2 + random(2) + 1;
            if known.len() < 500 && random(2) == 0 {
                index.insert(id, step as u32);
                growing.insert(id, step as u32);
                known.insert(id, step as u32);
            } else if let Some((&id, _)) = known.range(random(step * 2 + 1)..).next() {
                known.remove(&id);
                index.remove(id);
                growing.remove(id);
                assert_eq!((index.find(id), growing.find(id)), (None, None));
            }
            let id = random(step * 2 + 3);
            let expected = known.get(&id).copied();
            assert_eq!((index.find(id), growing.find(id)), (expected, expected));
        }
        assert!(known.iter().all(|(id, slot)| index.find(*id) == Some(*slot) && growing.find(*id) == Some(*slot)));
        let grown = growing.table.entries.len();
        assert!((32..=places).contains(&grown), "{grown}");
        assert_eq!(index.table.entries.len(), places);
    }

    #[test]
    fn numbers_are_found_however_many() {
        let mut index = NumberIndex::default();
        for number in 1..2000_u32 {
            index.insert(number.wrapping_mul(0x0100_0001), number);
        }
        assert!((1..2000_u32).all(|number| index.find(number.wrapping_mul(0x0100_0001)) == Some(number)));
        assert_eq!((index.find(0), index.find(5000)), (None, None));
    }
}
