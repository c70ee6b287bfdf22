//! The newest record of each key, beside a ring whose records carry one: who has just come knows where things stand.
//!
//! A key's entry has two copies of a frame and a version, whose lowest bit says which copy is the current one. A writer
//! fills the other *before* it commits its message and turns the version *after*, so readers always find a whole record of
//! a committed message, however it dies in between. While it is at it its line stands in the entry; so a dead one's is
//! found, and whoever holds its lock finishes what it had committed and forgets what it had not. A record is never
//! replaced by an older one: with many producers they come here in any order.
//!
//! Refused: a plain seqlock (a killed writer leaves nothing to read), writing after the commit only (a killed writer leaves
//! an old record and no sign of it).

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crate::crc::frame_checksum;
use crate::error::RingError;
use crate::layout::{HEADER_SIZE_BYTES, LAST_VALUE_HEAD_SIZE_BYTES, crc_offset, frame_size_bytes};
use crate::mapping::Mapping;
use crate::producer::Obstacle;
use crate::ring::Ring;
use crate::room::LIVENESS_INTERVAL;
use crate::wait::{Backoff, Wait, deadline};
use crate::word::Word;

/// Looks at an entry that changes under a reader each time; honest writers never make so many.
const LOOKS_MAX: u32 = 1 << 20;

/// A table of last values, as a ring is made with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastValues {
    /// Keys, from 0 on.
    pub count: u64,
    /// Where the key stands in a record.
    pub key_offset: u32,
    /// Bytes of the key, little endian: 1, 2, 4 or 8.
    pub key_size: u32,
}

/// The newest record of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastValue {
    /// Its sequence.
    pub sequence: u64,
    /// The record.
    pub record: Vec<u8>,
}

/// The words of one key.
#[derive(Debug)]
pub struct Entry<'r, W> {
    /// Its lowest bit says which copy is current.
    pub version: &'r W,
    /// Line + 1 of who writes it now, 0 nobody.
    pub writer: &'r W,
    /// Frames: the sequence, then as many words as both have.
    pub copies: [&'r [W]; 2],
}

impl<W: Word> Entry<'_, W> {
    /// Becomes the writer.
    ///
    /// # Errors
    /// Who is it already.
    pub fn seize(&self, own: u64) -> Result<(), u64> {
        self.writer.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed).map(drop)
    }

    /// Ends being the writer.
    pub fn release(&self) {
        self.writer.store(0, Ordering::Release);
    }

    /// Fills the copy that is not current with a frame, unless the current one is newer; whether it did. Of the writer.
    pub fn prepare(&self, sequence: u64, frame: &[W]) -> bool {
        let [current, spare] = self.order();
        if current[0].load(Ordering::Relaxed) >= sequence {
            return false;
        }
        // The fence keeps the words from moving before the version that made this copy the spare one.
        W::fence(Ordering::Release);
        spare[0].store(sequence, Ordering::Relaxed);
        for (to, from) in spare[1..].iter().zip(&frame[1..]) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        true
    }

    /// Makes the copy that was prepared the current one. Of the writer.
    pub fn publish(&self) {
        self.version.store(self.version.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Forgets the copy that was prepared. Of the writer.
    pub fn forget(&self) {
        self.order()[1][0].store(0, Ordering::Relaxed);
    }

    /// Ends what a dead writer had begun: publishes what it had prepared if that was committed. With its lock in hand.
    pub fn settle(&self, is_committed: impl FnOnce(u64) -> bool) {
        let [current, spare] = self.order().map(|copy| copy[0].load(Ordering::Relaxed));
        if spare > current {
            if is_committed(spare) { self.publish() } else { self.forget() }
        }
        self.release();
    }

    /// Copies the current frame; its sequence is 0 when there was none yet. False when it changed all the time.
    pub fn read(&self, into: &mut [u64]) -> bool {
        for _ in 0..LOOKS_MAX {
            let version = self.version.load(Ordering::Acquire);
            let current = self.copies[(version & 1) as usize];
            for (to, from) in into.iter_mut().zip(current) {
                *to = from.load(Ordering::Relaxed);
            }
            W::fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return true;
            }
            W::pause();
        }
        false
    }

    /// The current copy and the other.
    fn order(&self) -> [&[W]; 2] {
        let current = (self.version.load(Ordering::Relaxed) & 1) as usize;
        [self.copies[current], self.copies[1 - current]]
    }
}

/// Bytes of an entry for records of this size.
pub(crate) const fn entry_size_bytes(record_size_bytes: u32) -> usize {
    (LAST_VALUE_HEAD_SIZE_BYTES + 2 * frame_size_bytes(record_size_bytes as usize)).next_multiple_of(64)
}

impl Mapping {
    /// Words of a copy; 0 where there are no last values.
    fn copy_words(&self) -> usize {
        self.info.record_size().map_or(0, |size| frame_size_bytes(size) / 8)
    }

    /// The entry of a key below the count.
    pub(crate) fn last_value(&self, key: u64) -> Entry<'_, AtomicU64> {
        let words = self.last_value_words(key);
        let (head, copies) = words.split_at(LAST_VALUE_HEAD_SIZE_BYTES / 8);
        let (first, rest) = copies.split_at(self.copy_words());
        Entry { version: &head[0], writer: &head[1], copies: [first, &rest[..first.len()]] }
    }

    /// The key of a record; `None` where there are no last values.
    ///
    /// # Errors
    /// [`RingError::KeyRange`].
    #[inline]
    pub(crate) fn key_of(&self, record: &[u8]) -> Result<Option<u64>, RingError> {
        match self.info.last_values {
            None => Ok(None),
            Some(table) => key_in(table, record).map(Some),
        }
    }

    /// Refuses records of which one has a key that is too high.
    pub(crate) fn check_keys(&self, records: &[u8]) -> Result<(), RingError> {
        let Some((table, size)) = self.info.last_values.zip(self.info.record_size()) else { return Ok(()) };
        records.chunks_exact(size).try_for_each(|record| key_in(table, record).map(drop))
    }

    /// Ends what a dead producer had begun in the table. With its line's lock in hand; `is_committed` is asked about the
    /// sequence of a message that may have been.
    pub(crate) fn settle_last_values(&self, line: usize, mut is_committed: impl FnMut(u64) -> bool) {
        let Some(table) = self.info.last_values else { return };
        let own = line as u64 + 1;
        for key in 0..table.count {
            let entry = self.last_value(key);
            if entry.writer.load(Ordering::Acquire) == own {
                entry.settle(&mut is_committed);
            }
        }
    }
}

fn key_in(table: LastValues, record: &[u8]) -> Result<u64, RingError> {
    let at = table.key_offset as usize;
    let mut bytes = [0; 8];
    bytes[..table.key_size as usize].copy_from_slice(&record[at..at + table.key_size as usize]);
    let key = u64::from_le_bytes(bytes);
    if key < table.count { Ok(key) } else { Err(RingError::KeyRange { key, count: table.count }) }
}

impl Ring {
    /// The newest record of a key; `None` when it had none yet. It is of a message that was committed, also when its
    /// producer died right after that.
    ///
    /// # Errors
    /// [`RingError::Kind`] on a ring without last values, [`RingError::KeyRange`], [`RingError::Corrupt`] for a record that
    /// is not what was committed.
    pub fn last_value(&self, key: u64) -> Result<Option<LastValue>, RingError> {
        let mut words = vec![0; self.mapping.copy_words()];
        Ok(self.read_last_value(key, &mut words)?.then(|| LastValue {
            sequence: words[0],
            record: words[HEADER_SIZE_BYTES / 8..]
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .take(self.info().record_size().unwrap_or(0))
                .collect(),
        }))
    }

    /// Hands the newest record of every key that has one to `each(key, sequence, record)`, in the order of keys. They are
    /// of moments close to each other, not of one.
    ///
    /// # Errors
    /// Those of [`Ring::last_value`].
    pub fn last_values(&self, mut each: impl FnMut(u64, u64, &[u8])) -> Result<(), RingError> {
        let table = self.table()?;
        let size = self.info().record_size().unwrap_or(0);
        let mut words = vec![0; self.mapping.copy_words()];
        let mut record = vec![0; size.next_multiple_of(8)];
        for key in 0..table.count {
            if self.read_last_value(key, &mut words)? {
                for (to, from) in record.as_chunks_mut::<8>().0.iter_mut().zip(&words[HEADER_SIZE_BYTES / 8..]) {
                    *to = from.to_le_bytes();
                }
                each(key, words[0], &record[..size]);
            }
        }
        Ok(())
    }

    fn table(&self) -> Result<LastValues, RingError> {
        self.info().last_values.ok_or(RingError::Kind { operation: "last_value", needed: "slots with last values" })
    }

    /// The frame of a key's newest record; whether there is one.
    fn read_last_value(&self, key: u64, words: &mut [u64]) -> Result<bool, RingError> {
        let table = self.table()?;
        if key >= table.count {
            return Err(RingError::KeyRange { key, count: table.count });
        }
        let entry = self.mapping.last_value(key);
        let corrupt = |sequence, reason| Err(RingError::Corrupt { sequence, reason });
        // Who dies between commit and publishing leaves its line here.
        let writer = entry.writer.load(Ordering::Acquire);
        if writer != 0 {
            self.settle_writer(writer)?;
        }
        if !entry.read(words) {
            return corrupt(0, "a last value that is never still");
        }
        let (sequence, size) = (words[0], self.info().record_size().unwrap_or(0));
        if sequence == 0 {
            return Ok(false);
        }
        if self.info().crc {
            let payload: Vec<u8> =
                words[HEADER_SIZE_BYTES / 8..].iter().flat_map(|word| word.to_le_bytes()).take(size).collect();
            let at = crc_offset(size);
            let found = (words[at / 8] >> (at % 8 * 8)) as u32;
            if found != frame_checksum(sequence, words[1], &payload) {
                return corrupt(sequence, "CRC of a last value");
            }
        }
        Ok(true)
    }

    /// Ends what this writer of an entry had begun, if it is dead.
    fn settle_writer(&self, writer: u64) -> Result<bool, RingError> {
        let line = usize::try_from(writer - 1).unwrap_or(usize::MAX);
        if line >= self.mapping.producers().len() {
            return Err(RingError::Corrupt { sequence: 0, reason: "writer of a last value" });
        }
        self.if_dead(line, || self.settle_producer(line))
    }

    /// Becomes the writer of a key's entry, or says who is it, stopped, when `timeout` passed.
    pub(crate) fn seize_last_value(
        &self,
        key: u64,
        line: usize,
        timeout: Option<Duration>,
    ) -> Result<Option<Obstacle>, RingError> {
        let entry = self.mapping.last_value(key);
        let Err(mut writer) = entry.seize(line as u64 + 1) else { return Ok(None) };
        let deadline = deadline(timeout);
        let mut backoff = Backoff::new(Wait::Hybrid);
        let mut asked: Option<Instant> = None;
        loop {
            if backoff.is_slow() {
                let now = Instant::now();
                if asked.is_none_or(|asked| now - asked >= LIVENESS_INTERVAL) {
                    // Not the first time: it is done in less than a system call takes.
                    if asked.is_some() {
                        self.settle_writer(writer)?;
                    }
                    asked = Some(now);
                }
                if deadline.is_some_and(|deadline| now >= deadline) {
                    return Ok(Some(Obstacle::Producer(writer as usize - 1)));
                }
            }
            backoff.pause();
            match entry.seize(line as u64 + 1) {
                Ok(()) => return Ok(None),
                Err(other) => writer = other,
            }
        }
    }
}

/// Commits a message whose record is in its slot, with its key's entry: `commit` says whether it was.
#[inline]
pub(crate) fn commit_with<T>(
    entry: &Entry<'_, AtomicU64>,
    sequence: u64,
    frame: &[AtomicU64],
    commit: impl FnOnce() -> T,
) -> T {
    let is_newest = entry.prepare(sequence, frame);
    // What is prepared is there before the message is.
    fence(Ordering::Release);
    let committed = commit();
    if is_newest {
        entry.publish();
    }
    entry.release();
    committed
}
