//! The writing end of a ring, the same for one producer and for many.
//!
//! What the two do differently is in [`crate::exclusive`] and [`crate::shared`]; what a frame is made of is here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::crc::{copy_with_checksum, copy_words, frame_checksum};
use crate::error::RingError;
use crate::exclusive::{ExclusiveClaim, ExclusiveProducer};
use crate::layout::{HEADER_SIZE_BYTES, STAMP_EVERY, frame_size_bytes, header_word};
use crate::mapping::Mapping;
use crate::options::{Mode, RingKind};
use crate::ring::Ring;
use crate::shared::{SharedClaim, SharedProducer};

/// What became of a message that might not have had room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Committed with this sequence.
    At(u64),
    /// No room in time; nothing was written.
    Full(Obstacle),
}

/// What became of records that might not all have had room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrittenRecords {
    /// How many were written, in order.
    pub count: usize,
    /// Sequence of the last of them.
    pub last: Option<u64>,
    /// Why not all.
    pub full: Option<Obstacle>,
}

/// Who keeps a producer from writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Line of the slowest consumer waited for; see [`Ring::consumer_name`].
    Consumer(usize),
    /// Line of a consumer that is waited for no longer than this, by its own policy, although it lives.
    Refusing(usize),
    /// Line of a producer that lives and does not commit what it has claimed, or does not finish raising the floor.
    Producer(usize),
}

/// A ring's producer. Its lock is held until it is dropped.
#[derive(Debug)]
pub struct Producer(Inner);

#[derive(Debug)]
enum Inner {
    Exclusive(ExclusiveProducer),
    Shared(SharedProducer),
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($self:expr, $of:ident => $call:expr) => {
        match $self {
            Inner::Exclusive($of) => $call,
            Inner::Shared($of) => $call,
        }
    };
}

impl Producer {
    pub(crate) fn open(ring: Ring) -> Result<Self, RingError> {
        Ok(Self(match ring.info().mode {
            Mode::Spsc => Inner::Exclusive(ExclusiveProducer::open(ring)?),
            Mode::Mpsc => Inner::Shared(SharedProducer::open(ring)?),
        }))
    }

    /// The ring it writes.
    pub fn ring(&self) -> &Ring {
        either!(&self.0, producer => producer.ring())
    }

    /// Its line; 0 in mode spsc.
    pub fn line(&self) -> usize {
        match &self.0 {
            Inner::Exclusive(_) => 0,
            Inner::Shared(producer) => producer.line(),
        }
    }

    /// Last committed sequence; the one before `first_sequence` when there is none. With many producers, the last up to
    /// which all are committed, whoever wrote them.
    pub fn published(&self) -> u64 {
        either!(&self.0, producer => producer.published())
    }

    /// Whether it reads what it is given more than once. It must not change meanwhile then, or the message is a damaged one;
    /// otherwise the message is whatever was there.
    pub fn reads_twice(&self) -> bool {
        let info = self.ring().info();
        info.mode == Mode::Mpsc || info.last_values.is_some()
    }

    /// Commits a message and gives its sequence, waiting for room as long as somebody living holds it up.
    ///
    /// # Errors
    /// [`RingError::TooLarge`], [`RingError::RecordSize`], [`RingError::KeyRange`], [`RingError::Fenced`],
    /// [`RingError::Forked`];
    /// [`RingError::Refused`] when a consumer in the way is, by its policy, not to be waited for longer.
    #[inline]
    pub fn write(&mut self, payload: &[u8]) -> Result<u64, RingError> {
        match either!(&mut self.0, producer => producer.write(payload, None))? {
            Written::At(sequence) => Ok(sequence),
            Written::Full(obstacle) => Err(self.refused(obstacle)),
        }
    }

    /// Without a timeout of the caller only a consumer's own ends a wait.
    #[cold]
    fn refused(&self, obstacle: Obstacle) -> RingError {
        let Obstacle::Refusing(line) = obstacle else { unreachable!("{obstacle:?} ended a wait without a timeout") };
        RingError::Refused { consumer: self.ring().consumer_name(line) }
    }

    /// As [`Producer::write`], but gives up after `timeout`, or when a consumer in the way is not to be waited for longer.
    ///
    /// # Errors
    /// Those of [`Producer::write`]; a full ring is [`Written::Full`].
    #[inline]
    pub fn write_within(&mut self, payload: &[u8], timeout: Duration) -> Result<Written, RingError> {
        // The clock is read only if there is no room.
        either!(&mut self.0, producer => producer.write(payload, Some(timeout)))
    }

    /// As [`Producer::write_within`], but whoever sleeps may go on sleeping until [`Producer::wake_all`], which has to come before anything
    /// that takes time: for who has more to write, here or on other rings. Whoever looks sees it at once. One of many producers of a ring
    /// writes as ever.
    ///
    /// # Errors
    /// Those of [`Producer::write_within`].
    #[inline]
    pub fn put_within(&mut self, payload: &[u8], timeout: Duration) -> Result<Written, RingError> {
        match &mut self.0 {
            Inner::Exclusive(producer) => producer.put(payload, Some(timeout)),
            Inner::Shared(producer) => producer.write(payload, Some(timeout)),
        }
    }

    /// Wakes who sleeps over what was put into these rings. One look for all: it waits for every store before it.
    #[inline]
    pub fn wake_all<const COUNT: usize>(producers: [&Self; COUNT]) {
        Mapping::wake_all(producers.map(|producer| &*producer.ring().mapping));
    }

    /// The next call goes on with the wait of the last one, which found no room: a consumer's patience is counted from the
    /// beginning of that. For who waits in slices for the same message; every other call has a wait of its own.
    pub fn go_on_waiting(&mut self) {
        either!(&mut self.0, producer => producer.go_on_waiting());
    }

    /// Refuses a message that [`Producer::write`] would refuse whatever room there is.
    ///
    /// # Errors
    /// [`RingError::TooLarge`], [`RingError::RecordSize`], [`RingError::KeyRange`].
    pub fn check(&self, payload: &[u8]) -> Result<(), RingError> {
        let mapping = &self.ring().mapping;
        let (size_bytes, max_bytes) = (payload.len(), mapping.message_max());
        match mapping.info.record_size() {
            Some(expected) if size_bytes != expected => Err(RingError::RecordSize { expected, found: size_bytes }),
            None if size_bytes > max_bytes => Err(RingError::TooLarge { size_bytes, max_bytes }),
            _ => mapping.key_of(payload).map(drop),
        }
    }

    /// Commits records that lie one after the other and gives the last sequence.
    ///
    /// # Errors
    /// [`RingError::Kind`] on rings of messages, [`RingError::RecordSize`] when `records` is not a whole number of them,
    /// [`RingError::KeyRange`]; nothing was written then. [`RingError::Partly`] for anything that happened after some of
    /// them were.
    pub fn write_records(&mut self, records: &[u8]) -> Result<u64, RingError> {
        record_size(self.ring(), records)?;
        self.ring().mapping.check_keys(records)?;
        let batch = either!(&mut self.0, producer => producer.write_records(records, None))?;
        match batch.full {
            Some(obstacle) => Err(self.refused(obstacle).after(batch.count)),
            None => Ok(batch.last.unwrap_or_else(|| self.published())),
        }
    }

    /// As [`Producer::write_records`], but gives up when it has waited for room for `timeout`, all its waits together.
    ///
    /// # Errors
    /// Those of [`Producer::write_records`].
    pub fn write_records_within(&mut self, records: &[u8], timeout: Duration) -> Result<WrittenRecords, RingError> {
        record_size(self.ring(), records)?;
        self.ring().mapping.check_keys(records)?;
        either!(&mut self.0, producer => producer.write_records(records, Some(timeout)))
    }

    /// Room for a message to be filled in place. Nothing is visible before [`Claim::commit`]; dropping gives it back.
    ///
    /// With many producers the claim has its place among the messages already: readers wait at it.
    ///
    /// # Errors
    /// Those of [`Producer::write`]; [`RingError::ClaimTooLarge`] above one part (an eighth of a ring of frames, one
    /// slot of a ring of runs).
    pub fn claim(&mut self, size_bytes: usize) -> Result<Claim<'_>, RingError> {
        match self.reserve(size_bytes, None)? {
            Some(obstacle) => Err(self.refused(obstacle)),
            None => Ok(self.reserved(size_bytes)),
        }
    }

    /// As [`Producer::claim`], but gives up after `timeout`, or when a consumer in the way is not to be waited for longer.
    ///
    /// # Errors
    /// Those of [`Producer::claim`].
    pub fn claim_within(&mut self, size_bytes: usize, timeout: Duration) -> Result<Claimed<'_>, RingError> {
        Ok(match self.reserve(size_bytes, Some(timeout))? {
            Some(obstacle) => Claimed::Full(obstacle),
            None => Claimed::At(self.reserved(size_bytes)),
        })
    }

    fn reserve(&mut self, size_bytes: usize, timeout: Option<Duration>) -> Result<Option<Obstacle>, RingError> {
        let mapping = &self.ring().mapping;
        let max_bytes = mapping.part_max();
        if mapping.info.record_size().is_some_and(|expected| size_bytes != expected) {
            return Err(RingError::RecordSize { expected: max_bytes, found: size_bytes });
        }
        if size_bytes > max_bytes {
            return Err(RingError::ClaimTooLarge { size_bytes, max_bytes });
        }
        either!(&mut self.0, producer => producer.reserve_claim(size_bytes, timeout))
    }

    fn reserved(&mut self, size_bytes: usize) -> Claim<'_> {
        Claim(match &mut self.0 {
            Inner::Exclusive(producer) => InnerClaim::Exclusive(producer.claim(size_bytes)),
            Inner::Shared(producer) => InnerClaim::Shared(producer.claim(size_bytes)),
        })
    }
}

/// Bytes of each record, if `records` are whole ones of this ring.
fn record_size(ring: &Ring, records: &[u8]) -> Result<usize, RingError> {
    let RingKind::Slots { record_size_bytes, .. } = ring.info().kind else {
        return Err(RingError::Kind { operation: "write_records", needed: "slots" });
    };
    let expected = record_size_bytes as usize;
    match records.len() % expected {
        0 => Ok(expected),
        found => Err(RingError::RecordSize { expected, found }),
    }
}

/// What became of a claim that might not have had room.
#[derive(Debug)]
pub enum Claimed<'p> {
    /// Room for the message.
    At(Claim<'p>),
    /// No room in time; nothing was claimed.
    Full(Obstacle),
}

/// A message being filled in place.
#[derive(Debug)]
pub struct Claim<'p>(InnerClaim<'p>);

#[derive(Debug)]
enum InnerClaim<'p> {
    Exclusive(ExclusiveClaim<'p>),
    Shared(SharedClaim<'p>),
}

impl Claim<'_> {
    /// The ring it will be a message of.
    pub fn ring(&self) -> &Ring {
        match &self.0 {
            InnerClaim::Exclusive(claim) => claim.ring(),
            InnerClaim::Shared(claim) => claim.ring(),
        }
    }

    /// The payload to fill. What an earlier lap left is in it.
    pub fn payload(&mut self) -> &mut [u8] {
        match &mut self.0 {
            InnerClaim::Exclusive(claim) => claim.payload(),
            InnerClaim::Shared(claim) => claim.payload(),
        }
    }

    /// Commits it and gives its sequence.
    ///
    /// # Errors
    /// [`RingError::Fenced`] when the ring's producers were deposed meanwhile, [`RingError::Forked`],
    /// [`RingError::KeyRange`], [`RingError::LastValueHeld`]; nothing of it is visible then.
    pub fn commit(self) -> Result<u64, RingError> {
        match self.0 {
            InnerClaim::Exclusive(claim) => claim.commit(),
            InnerClaim::Shared(claim) => claim.commit(),
        }
    }
}

/// Everything of a frame but its sequence word, which is given back.
#[inline]
pub(crate) fn fill<'m>(mapping: &'m Mapping, offset: usize, sequence: u64, flags: u8, payload: &[u8]) -> &'m AtomicU64 {
    let header = header_word(payload.len() as u32, flags);
    match payload.as_chunks::<8>() {
        (words, []) if words.len() <= SHORT_WORDS => {
            let frame = mapping.words(offset, HEADER_SIZE_BYTES + payload.len() + 8);
            let [sequence_word, first, inner @ .., last] = frame else { unreachable!("a frame has three words") };
            first.store(header, Ordering::Relaxed);
            let crc = if mapping.info.crc {
                copy_with_checksum(sequence, header, words, inner)
            } else {
                copy_words(words, inner);
                0
            };
            last.store(crc.into(), Ordering::Relaxed);
            sequence_word
        }
        _ => {
            // Summed where it was copied to: its memory may be one that somebody changes meanwhile.
            mapping.bytes_mut(offset + HEADER_SIZE_BYTES, payload.len()).copy_from_slice(payload);
            seal(mapping, offset, sequence, flags, payload.len());
            mapping.sequence_word(offset)
        }
    }
}

/// The checksum that a payload's frame has with one sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    pub sequence: u64,
    crc: u32,
}

impl Sum {
    /// Of a frame with this sequence and these flags. Nothing is summed on rings without CRC.
    #[inline]
    pub fn of(mapping: &Mapping, sequence: u64, flags: u8, payload: &[u8]) -> Self {
        let header = header_word(payload.len() as u32, flags);
        Self { sequence, crc: if mapping.info.crc { frame_checksum(sequence, header, payload) } else { 0 } }
    }
}

/// As [`fill`], of the sequence that was summed before.
#[inline]
pub(crate) fn fill_summed(mapping: &Mapping, offset: usize, flags: u8, payload: &[u8], sum: Sum) {
    let header = header_word(payload.len() as u32, flags);
    match payload.as_chunks::<8>() {
        (words, []) if words.len() <= SHORT_WORDS => {
            let frame = mapping.words(offset, HEADER_SIZE_BYTES + payload.len() + 8);
            let [_, first, inner @ .., last] = frame else { unreachable!("a frame has three words") };
            first.store(header, Ordering::Relaxed);
            copy_words(words, inner);
            last.store(sum.crc.into(), Ordering::Relaxed);
        }
        _ => fill_bytes(mapping, offset, header, payload, sum.crc),
    }
}

/// Payloads up to here are copied word by word, if they are whole words.
const SHORT_WORDS: usize = 32;

#[inline(never)]
fn fill_bytes(mapping: &Mapping, offset: usize, header: u64, payload: &[u8], crc: u32) {
    let (whole, rest) = payload.as_chunks::<8>();
    let frame = mapping.words(offset, frame_size_bytes(payload.len()));
    frame[1].store(header, Ordering::Relaxed);
    mapping.bytes_mut(offset + HEADER_SIZE_BYTES, whole.len() * 8).copy_from_slice(whole.as_flattened());
    close(&frame[2 + whole.len()..], rest, crc);
}

/// Length, flags, padding and CRC around a payload that is in place.
#[inline]
pub(crate) fn seal(mapping: &Mapping, offset: usize, sequence: u64, flags: u8, payload_size: usize) {
    let header = header_word(payload_size as u32, flags);
    let words = mapping.words(offset, frame_size_bytes(payload_size));
    let whole = payload_size / 8;
    let mut rest = [0; 8];
    let crc = {
        let payload = mapping.bytes(offset + HEADER_SIZE_BYTES, payload_size);
        rest[..payload_size % 8].copy_from_slice(&payload[whole * 8..]);
        if mapping.info.crc { frame_checksum(sequence, header, payload) } else { 0 }
    };
    close(&words[HEADER_SIZE_BYTES / 8 + whole..], &rest[..payload_size % 8], crc);
    words[1].store(header, Ordering::Relaxed);
}

/// The last words of a frame: what of the payload fills no word, the CRC, and zeros.
#[inline]
fn close(end: &[AtomicU64], rest: &[u8], crc: u32) {
    let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let crc = u64::from(crc);
    match rest.len() {
        0 => end[0].store(crc, Ordering::Relaxed),
        1..=4 => end[0].store(last | crc << 32, Ordering::Relaxed),
        _ => {
            end[1].store(crc, Ordering::Relaxed);
            end[0].store(last, Ordering::Relaxed);
        }
    }
}

/// Notes the time of a message that is about to be committed, if it is one of those whose latency is measured.
#[inline]
pub(crate) fn stamp(mapping: &Mapping, sequence: u64) {
    if sequence.is_multiple_of(STAMP_EVERY) {
        write_stamp(mapping, sequence);
    }
}

#[cold]
fn write_stamp(mapping: &Mapping, sequence: u64) {
    let stamp = mapping.stamp(sequence);
    // With many producers two may write one stamp, a thousand messages apart: a reader that sees both words of one
    // sequence change in between takes neither.
    stamp.sequence.store(0, Ordering::Relaxed);
    std::sync::atomic::fence(Ordering::Release);
    stamp.committed_ns.store(crate::wait::monotonic_ns(), Ordering::Relaxed);
    stamp.sequence.store(sequence, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::consumer::{ConsumerOptions, Read};
    use crate::options::RingOptions;
    use crate::wait::Wait;

    fn ring() -> (tempfile::TempDir, Ring) {
        let private = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
        let ring = Ring::create(directory.path().join("test.ring"), &RingOptions::slots(16, 8).parking(true)).unwrap();
        (directory, ring)
    }

    /// How often sleepers of this ring were woken.
    fn wakes(ring: &Ring) -> u32 {
        ring.mapping.hot().wake.0.signal.load(Ordering::SeqCst)
    }

    #[test]
    fn what_is_put_is_there_at_once_and_wakes_nobody_until_all_are_woken() {
        let ((_one, one), (_other, other)) = (ring(), ring());
        let mut consumer = one.consumer(&ConsumerOptions::named("a")).unwrap();
        let (mut producer, mut second) = (one.producer().unwrap(), other.producer().unwrap());
        // The first writes find out how much room there is.
        producer.write(&[0; 16]).unwrap();
        second.write(&[0; 16]).unwrap();
        let before = (wakes(&one), wakes(&other));
        one.mapping.announce_sleep();
        other.mapping.announce_sleep();
        assert_eq!(producer.put_within(&[1; 16], Duration::ZERO).unwrap(), Written::At(2));
        assert_eq!(second.put_within(&[1; 16], Duration::ZERO).unwrap(), Written::At(2));
        assert_eq!((wakes(&one), wakes(&other)), before);
        let mut seen = Vec::new();
        let read = consumer.poll(8, |sequence, payload| seen.push((sequence, payload[0]))).unwrap();
        assert_eq!((read, seen), (Read::Messages(2), vec![(1, 0), (2, 1)]));
        assert_eq!(one.published(), 2);
        Producer::wake_all([&producer, &second]);
        assert_eq!((wakes(&one), wakes(&other)), (before.0 + 1, before.1 + 1));
        // Nobody sleeps any more.
        Producer::wake_all([&producer, &second]);
        assert_eq!((wakes(&one), wakes(&other)), (before.0 + 1, before.1 + 1));
    }

    /// Method: a reader that sleeps until it is woken gets a lap that was only put, because the next write finds no room.
    #[test]
    fn who_waits_for_room_has_woken_those_that_sleep_over_what_was_put() {
        let (_directory, ring) = ring();
        let mut consumer = ring.consumer(&ConsumerOptions::named("a").wait(Wait::Park)).unwrap();
        let mut producer = ring.producer().unwrap();
        producer.write(&[0; 16]).unwrap();
        for _ in 1..8 {
            assert!(matches!(producer.put_within(&[0; 16], Duration::ZERO), Ok(Written::At(_))));
        }
        let before = wakes(&ring);
        ring.mapping.announce_sleep();
        assert!(matches!(producer.put_within(&[0; 16], Duration::ZERO), Ok(Written::Full(_))));
        assert_eq!(wakes(&ring), before + 1);
        assert_eq!(consumer.poll(8, |_, _| {}).unwrap(), Read::Messages(8));
    }
}
