//! A heap from which anything can be taken: stops by trigger, orders and switches by time.
//!
//! Each entry tells its owner where it lies (`moved`), so that one that is cancelled is removed at once: with entries left behind until they
//! come up, orders placed and cancelled over and over would fill memory.

/// One entry; the smallest `(key, id)` comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) key: i64,
    pub(crate) id: u64,
    pub(crate) slot: u32,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Heap {
    entries: Vec<Entry>,
}

impl Heap {
    #[inline]
    pub(crate) fn first(&self) -> Option<Entry> {
        self.entries.first().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// In no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries.iter().copied()
    }

    pub(crate) fn push(&mut self, entry: Entry, mut moved: impl FnMut(u32, u32)) {
        self.entries.push(entry);
        self.rise(self.entries.len() - 1, &mut moved);
    }

    pub(crate) fn pop(&mut self, moved: impl FnMut(u32, u32)) -> Option<Entry> {
        let first = self.first()?;
        self.remove(0, moved);
        Some(first)
    }

    /// Takes out what lies at `place`.
    pub(crate) fn remove(&mut self, place: u32, mut moved: impl FnMut(u32, u32)) {
        let place = place as usize;
        self.entries.swap_remove(place);
        if place < self.entries.len() {
            let place = self.sink(place, &mut moved);
            self.rise(place, &mut moved);
        }
    }

    fn rise(&mut self, mut place: usize, moved: &mut impl FnMut(u32, u32)) {
        while place > 0 {
            let above = (place - 1) / 2;
            if self.entries[above] <= self.entries[place] {
                break;
            }
            self.entries.swap(above, place);
            moved(self.entries[place].slot, place as u32);
            place = above;
        }
        moved(self.entries[place].slot, place as u32);
    }

    fn sink(&mut self, mut place: usize, moved: &mut impl FnMut(u32, u32)) -> usize {
        loop {
            let below = (2 * place + 1..self.entries.len().min(2 * place + 3)).min_by_key(|below| self.entries[*below]);
            match below.filter(|below| self.entries[*below] < self.entries[place]) {
                Some(below) => {
                    self.entries.swap(below, place);
                    moved(self.entries[place].slot, place as u32);
                    place = below;
                }
                None => return place,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_whatever_is_taken_from_the_middle() {
        let (mut heap, mut places) = (Heap::default(), [u32::MAX; 1000]);
        for slot in 0..1000_u32 {
            let key = i64::from(slot.wrapping_mul(2_654_435_761) % 300);
            heap.push(Entry { key, id: slot.into(), slot }, |slot, place| places[slot as usize] = place);
        }
        for slot in (0..1000).step_by(3) {
            let mut moved = places;
            heap.remove(places[slot], |slot, place| moved[slot as usize] = place);
            places = moved;
        }
        let mut last = None;
        while let Some(entry) = heap.pop(|slot, place| places[slot as usize] = place) {
            assert!(entry.slot % 3 != 0 && last.is_none_or(|last| last < entry));
            last = Some(entry);
        }
        assert_eq!(heap.len(), 0);
    }
}
