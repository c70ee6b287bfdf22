//! Of which instrument each record of a channel is, for longer than its ring holds the record.
//!
//! Several venues share the rings of `md.*`. A reader who was overtaken knows how many records he lost and not whose, so
//! without this he would have to doubt what he knows of every instrument, and one busy venue would spoil the books of all others.
//! The engine notes each record before it publishes it; the cost is one store a record and half a megabyte a channel.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Records of a channel that are remembered: those of the largest ring four times.
const REMEMBERED: u64 = 1 << 17;

/// What is remembered of one channel.
#[derive(Debug)]
pub(crate) struct Whose {
    /// The first record that was noted; those before it are of an engine that ended.
    first: u64,
    /// The last one that is noted, or is just being noted.
    newest: AtomicU64,
    ids: Box<[AtomicU32]>,
}

impl Whose {
    /// Of a channel whose next record is `first`.
    pub(crate) fn new(first: u64) -> Self {
        let ids = std::iter::repeat_with(AtomicU32::default).take(REMEMBERED as usize).collect();
        Self { first, newest: AtomicU64::new(first.saturating_sub(1)), ids }
    }

    /// Notes the next record. For its one producer, before he publishes it.
    #[inline]
    pub(crate) fn note(&self, sequence: u64, instrument_id: u32) {
        self.newest.store(sequence, Ordering::Relaxed);
        // Who reads the id below sees at least this newest one, and so that what was there before is gone.
        fence(Ordering::Release);
        self.ids[(sequence % REMEMBERED) as usize].store(instrument_id, Ordering::Relaxed);
    }

    /// How many of these records are of which instrument, by the ids that they carry; `None` where one of them is not remembered.
    pub(crate) fn of(&self, first: u64, count: u64) -> Option<BTreeMap<u32, u64>> {
        let end = first.checked_add(count)?;
        if first < self.first || count > REMEMBERED || end > self.newest.load(Ordering::Acquire) + 1 {
            return None;
        }
        let mut found = BTreeMap::new();
        for sequence in first..end {
            let id = self.ids[(sequence % REMEMBERED) as usize].load(Ordering::Relaxed);
            *found.entry(id).or_insert(0) += 1;
        }
        fence(Ordering::Acquire);
        if self.newest.load(Ordering::Relaxed) >= first + REMEMBERED {
            return None;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_remembered_by_their_instrument_until_as_many_came_behind_them() {
        let whose = Whose::new(11);
        for sequence in 11..=20 {
            whose.note(sequence, (sequence % 3) as u32);
        }
        assert_eq!(whose.of(11, 10), Some(BTreeMap::from([(0, 3), (1, 3), (2, 4)])));
        assert_eq!(whose.of(12, 1), Some(BTreeMap::from([(0, 1)])));
        assert_eq!(whose.of(10, 2), None, "of an engine before");
        assert_eq!(whose.of(20, 2), None, "not published yet");
        for sequence in 21..=REMEMBERED + 15 {
            whose.note(sequence, 7);
        }
        assert_eq!(whose.of(15, 1), None, "written over");
        assert_eq!(whose.of(16, 1), Some(BTreeMap::from([(1, 1)])));
    }
}
