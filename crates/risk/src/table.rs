//! Entries by key: a slab, an open-addressing index over it, and the sum of the entries' hashes.
//!
//! An entry is named by its slot while it is there, so that what is looked up once per command is looked up once. The hash is kept lazily:
//! entries that are new or change are listed, and hashed anew when somebody asks. When the list is full the one that is longest in it
//! goes, so that a change costs one hash at most and one that is gone by then none. Nothing iterates in the order of the index, which
//! is why any hash function would give the same behaviour.

use crate::plain::{Input, Plain, PlainError, mix};

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;
/// Changed entries that are listed before they are hashed: what somebody who asks waits for at most. A power of two.
const CHANGED_MAX: usize = 2048;

/// What entries are found by.
pub(crate) trait Key: Copy + Eq + Ord {
    /// Spread over the index by [`Table::home`].
    fn word(self) -> u64;
}

impl Key for u32 {
    fn word(self) -> u64 {
        self.into()
    }
}

impl Key for u64 {
    fn word(self) -> u64 {
        self
    }
}

/// An account and its client's id.
impl Key for (u32, [u8; 16]) {
    fn word(self) -> u64 {
        let bits = u128::from_le_bytes(self.1);
        mix(mix(self.0.into(), bits as u64), (bits >> 64) as u64)
    }
}

pub(crate) trait Entry: Plain {
    type Key: Key;
    /// Tells the tables apart in the state's hash.
    const SALT: u64;
    fn key(&self) -> Self::Key;
    /// What of it is made again from others when it is loaded, hashed with the rest.
    fn hash_derived(&self, state: u64) -> u64 {
        state
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot<T> {
    entry: T,
    used: bool,
    /// Whether it is listed.
    changed: bool,
    /// The entry's part of the sum; of a changed one what it was, of a new one 0.
    hash: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// Slot plus one; 0 is empty. A power of two, never more than half full.
    index: Vec<u32>,
    count: usize,
    /// Slots, in turn: once it is full, `oldest` is the place of the one listed first.
    changed: Vec<u32>,
    oldest: usize,
    sum: u64,
}

fn hash_of<T: Entry>(entry: &T) -> u64 {
    entry.hash_derived(entry.hash(mix(T::SALT, 0)))
}

impl<T: Entry> Table<T> {
    /// With room for so many before it allocates.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            index: vec![0; (capacity * 2).next_power_of_two().max(16)],
            count: 0,
            changed: Vec::with_capacity(CHANGED_MAX),
            oldest: 0,
            sum: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    #[inline]
    fn home(&self, key: T::Key) -> usize {
        // The high bits of a product depend on all bits of the key.
        (key.word().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.index.len() - 1)
    }

    #[inline]
    pub(crate) fn find(&self, key: T::Key) -> Option<u32> {
        let mut place = self.home(key);
        loop {
            let slot = self.index[place].checked_sub(1)?;
            if self.slots[slot as usize].entry.key() == key {
                return Some(slot);
            }
            place = (place + 1) & (self.index.len() - 1);
        }
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &T {
        debug_assert!(self.slots[slot as usize].used);
        &self.slots[slot as usize].entry
    }

    #[inline]
    pub(crate) fn by_key(&self, key: T::Key) -> Option<&T> {
        self.find(key).map(|slot| self.get(slot))
    }

    /// To change it; its key stays.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut T {
        let found = &mut self.slots[slot as usize];
        debug_assert!(found.used);
        if !found.changed {
            found.changed = true;
            self.list(slot);
        }
        &mut self.slots[slot as usize].entry
    }

    /// A new entry, whose key is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        debug_assert!(self.find(entry.key()).is_none());
        if (self.count + 1) * 2 > self.index.len() {
            self.grow();
        }
        let fresh = Slot { entry, used: true, changed: true, hash: 0 };
        let (slot, listed) = if let Some(slot) = self.free.pop() {
            // It may still be listed from its former life.
            let listed = self.slots[slot as usize].changed;
            self.slots[slot as usize] = fresh;
            (slot, listed)
        } else {
            self.slots.push(fresh);
            (self.slots.len() as u32 - 1, false)
        };
        if !listed {
            self.list(slot);
        }
        self.count += 1;
        self.link(slot);
        slot
    }

    /// Lists a changed entry that is not listed.
    fn list(&mut self, slot: u32) {
        if self.changed.len() < CHANGED_MAX {
            self.changed.push(slot);
        } else {
            let oldest = std::mem::replace(&mut self.changed[self.oldest], slot);
            self.oldest = (self.oldest + 1) % CHANGED_MAX;
            self.settle(oldest);
        }
    }

    /// Hashes a listed entry, which is listed no more.
    fn settle(&mut self, slot: u32) {
        let found = &mut self.slots[slot as usize];
        found.changed = false;
        if found.used {
            let hash = hash_of(&found.entry);
            self.sum = self.sum.wrapping_sub(found.hash).wrapping_add(hash);
            found.hash = hash;
        }
    }

    #[inline]
    fn link(&mut self, slot: u32) {
        let mut place = self.home(self.slots[slot as usize].entry.key());
        while self.index[place] != 0 {
            place = (place + 1) & (self.index.len() - 1);
        }
        self.index[place] = slot + 1;
    }

    #[cold]
    fn grow(&mut self) {
        self.index = vec![0; self.index.len() * 2];
        for slot in 0..self.slots.len() as u32 {
            if self.slots[slot as usize].used {
                self.link(slot);
            }
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let mask = self.index.len() - 1;
        let entry = self.slots[slot as usize].entry;
        let mut place = self.home(entry.key());
        while self.index[place] != slot + 1 {
            place = (place + 1) & mask;
        }
        // Whatever follows and could stand here moves up, so that no search ends early.
        let mut next = (place + 1) & mask;
        while let Some(other) = self.index[next].checked_sub(1) {
            let home = self.home(self.slots[other as usize].entry.key());
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(place) & mask {
                self.index[place] = other + 1;
                place = next;
            }
            next = (next + 1) & mask;
        }
        self.index[place] = 0;
        let found = &mut self.slots[slot as usize];
        self.sum = self.sum.wrapping_sub(found.hash);
        (found.used, found.hash) = (false, 0);
        self.free.push(slot);
        self.count -= 1;
        entry
    }

    /// A chain of entries from its first on; `next` says what an entry has behind it, `NONE` for nothing.
    pub(crate) fn chain(&self, first: u32, next: impl Fn(&T) -> u32) -> impl Iterator<Item = (u32, &T)> {
        let mut at = first;
        std::iter::from_fn(move || {
            let slot = (at != NONE).then_some(at)?;
            let entry = self.get(slot);
            at = next(entry);
            Some((slot, entry))
        })
    }

    /// In the order of slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.used).map(|(index, slot)| (index as u32, &slot.entry))
    }

    /// Sum of the entries' hashes.
    pub(crate) fn hash(&self) -> u64 {
        let changed = self.changed.iter().map(|&slot| &self.slots[slot as usize]).filter(|found| found.used);
        changed.fold(self.sum, |sum, found| sum.wrapping_sub(found.hash).wrapping_add(hash_of(&found.entry)))
    }

    /// In the order of keys, so that the bytes say nothing of slots.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        let mut entries: Vec<&T> = self.iter().map(|(_, entry)| entry).collect();
        entries.sort_unstable_by_key(|entry| entry.key());
        (entries.len() as u64).save(out);
        entries.iter().for_each(|entry| entry.save(out));
    }

    pub(crate) fn load(&mut self, input: &mut Input<'_>) -> Result<(), PlainError> {
        let mut last = None;
        for _ in 0..input.count()? {
            let entry = T::load(input)?;
            if last.is_some_and(|last| last >= entry.key()) {
                return Err(input.error("keys out of order"));
            }
            last = Some(entry.key());
            self.insert(entry);
        }
        Ok(())
    }
}
