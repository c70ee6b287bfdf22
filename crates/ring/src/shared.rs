//! One of the many writers of a ring in mode mpsc.
//!
//! A message's slots are claimed in their first sequence word (see [`crate::claims`]), so producers meet at the slot they
//! fight for and nowhere else. How far may be written, `room`, is a word that whoever runs into it raises for all: he
//! becomes the raiser, moves the floor as the one writer of mode spsc does, and steps back. A dead raiser is replaced, a
//! dead claimant's message is voided, both only by who holds the dead one's lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::claims::{self, Claim, Found, Slots, Spot, Take, take};
use crate::crc::frame_checksum;
use crate::error::RingError;
use crate::floor::{self, Room};
use crate::frame::{Look, Place};
use crate::last_values::commit_with;
use crate::layout::{
    FRAME_FIRST, FRAME_LAST, FRAME_VOID, FRAME_WHOLE, HEADER_SIZE_BYTES, frame_size_bytes, header_word,
};
use crate::lock::{self, EndpointLock};
use crate::mapping::{Mapping, io_error};
use crate::options::{Mode, RingKind};
use crate::producer::{Obstacle, Sum, Written, WrittenRecords, fill, fill_summed, seal, stamp};
use crate::ring::Ring;
use crate::room::{Allowance, FLOOR_STEPS, LIVENESS_INTERVAL, Slowest, Waiting, slowest_gating};

/// How often others may take the room that was found, when the time is over.
const BEATEN_MAX: u32 = 3;
/// Walks to the end that may fail in a row before the ring is taken for damaged.
const LOST_MAX: u32 = 1000;
/// How often one who opens looks for a line again, a tenth of a millisecond apart.
const REPAIR_WAITS: u32 = 50;

/// How long the commit of a claim waits for a producer that stopped within the same key's last value.
const HELD_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct SharedProducer {
    ring: Ring,
    lock: EndpointLock,
    line: usize,
    /// A place at or before the end, as last seen.
    tail: Spot,
    /// Positions below it may be written.
    limit: u64,
    /// What is claimed and not settled. Also of a claim that was forgotten: the next call gives it back.
    open: Option<(Spot, Claim)>,
    slowest: Slowest,
    waiting: Waiting,
    fence_epoch: u64,
}

impl SharedProducer {
    pub fn open(ring: Ring) -> Result<Self, RingError> {
        let mapping = &ring.mapping;
        let mut free = free_line(&ring)?;
        // A dead one's line is locked for microseconds by whoever repairs what it left: that line is free.
        for _ in 0..REPAIR_WAITS {
            if free.is_none() {
                std::thread::sleep(LIVENESS_INTERVAL / 10);
                free = free_line(&ring)?;
            }
        }
        let (line, lock) = free.ok_or_else(|| RingError::ProducersFull {
            path: ring.path().to_owned(),
            max: mapping.info.producers_max,
        })?;
        // What the last owner of this line left would from now on look like ours.
        let hot = mapping.hot();
        if mapping.room().replace(line as u64 + 1) {
            hot.repairs.0.raisers.fetch_add(1, Ordering::Relaxed);
        }
        ring.settle_producer(line);
        let words = &mapping.producers()[line].0;
        words.opens.fetch_add(1, Ordering::Relaxed);
        words.process_id.store(u64::from(std::process::id()), Ordering::Relaxed);
        // Somebody may sleep over a message whose producer died before it could wake him.
        mapping.wake();
        Ok(Self {
            lock,
            line,
            tail: mapping.near_end(),
            limit: 0,
            open: None,
            slowest: Slowest::default(),
            waiting: Waiting::default(),
            fence_epoch: hot.fence_epoch.0.load(Ordering::SeqCst),
            ring,
        })
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    pub fn line(&self) -> usize {
        self.line
    }

    pub fn published(&self) -> u64 {
        self.ring.published()
    }

    #[inline(never)]
    pub fn write(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        self.begin()?;
        let mapping = &self.ring.mapping;
        let part_max = mapping.part_max();
        let run = match mapping.info.kind {
            RingKind::Slots { .. } if payload.len() != part_max => {
                return Err(RingError::RecordSize { expected: part_max, found: payload.len() });
            }
            _ if payload.len() <= part_max => 1,
            _ if payload.len() > mapping.message_max() => {
                return Err(RingError::TooLarge { size_bytes: payload.len(), max_bytes: mapping.message_max() });
            }
            _ => payload.len().div_ceil(part_max) as u64,
        };
        let key = mapping.key_of(payload)?;
        // Of the sequence it will most likely have: a claim waits for all stores before it, and the sum for none.
        let expected = (run == 1).then(|| Sum::of(mapping, self.tail.sequence, FRAME_WHOLE, payload));
        if let Some(obstacle) = self.claim_next(run, timeout)? {
            return Ok(Written::Full(obstacle));
        }
        self.fill(payload, expected);
        let written = self.commit(key, timeout)?;
        self.ring.mapping.wake();
        Ok(written)
    }

    pub fn write_records(&mut self, records: &[u8], timeout: Option<Duration>) -> Result<WrittenRecords, RingError> {
        let mut written = WrittenRecords::default();
        let mut allowance = Allowance::new(timeout);
        let mut failure = None;
        for record in records.chunks_exact(self.ring.mapping.part_max()) {
            match self.write_record(record, &mut allowance) {
                Ok(Written::At(sequence)) => written.last = Some(sequence),
                Ok(Written::Full(obstacle)) => {
                    written.full = Some(obstacle);
                    break;
                }
                Err(error) => {
                    failure = Some(error.after(written.count));
                    break;
                }
            }
            written.count += 1;
        }
        // Also those that were committed before something went wrong.
        self.ring.mapping.wake();
        failure.map_or(Ok(written), Err)
    }

    /// One of many: nobody is woken.
    #[inline]
    fn write_record(&mut self, record: &[u8], allowance: &mut Allowance) -> Result<Written, RingError> {
        self.begin()?;
        let key = self.ring.mapping.key_of(record)?;
        let expected = Sum::of(&self.ring.mapping, self.tail.sequence, FRAME_WHOLE, record);
        // Nearly always there is room, and no clock to be read.
        let mut full = self.claim_next(1, Some(Duration::ZERO))?;
        if full.is_some() && !allowance.is_zero() {
            self.waiting.go_on();
            full = self.claim_next(1, allowance.left())?;
        }
        if let Some(obstacle) = full {
            return Ok(Written::Full(obstacle));
        }
        self.fill(record, Some(expected));
        let timeout = if key.is_some() { allowance.left() } else { None };
        self.commit(key, timeout)
    }

    pub fn go_on_waiting(&mut self) {
        self.waiting.go_on();
    }

    pub fn reserve_claim(
        &mut self,
        _size_bytes: usize,
        timeout: Option<Duration>,
    ) -> Result<Option<Obstacle>, RingError> {
        self.begin()?;
        self.claim_next(1, timeout)
    }

    pub fn claim(&mut self, size_bytes: usize) -> SharedClaim<'_> {
        SharedClaim { producer: self, size_bytes }
    }

    #[inline]
    fn begin(&mut self) -> Result<(), RingError> {
        self.ring.check_producer(!self.lock.is_ours(), self.fence_epoch)?;
        self.give_back();
        Ok(())
    }

    /// Claims the next message, of `run` slots, into `open`.
    #[inline]
    fn claim_next(&mut self, run: u64, timeout: Option<Duration>) -> Result<Option<Obstacle>, RingError> {
        let mut lost = 0;
        let mut allowance = Allowance::new(timeout);
        let mut waits = 0_u32;
        loop {
            match take(&*self.ring.mapping, &mut self.tail, self.limit, self.line as u8, run) {
                Take::Claimed(spot, claim) => {
                    self.open = Some((spot, claim));
                    return Ok(None);
                }
                Take::Beaten => {}
                Take::NoRoom => {
                    let left = allowance.left();
                    // Others may take the room this one waited for, again and again.
                    if waits > 0 {
                        self.waiting.go_on();
                    }
                    if waits > BEATEN_MAX && left == Some(Duration::ZERO) {
                        let slowest = slowest_gating(&self.ring.mapping).map_or(0, |(_, index)| index);
                        return Ok(Some(Obstacle::Consumer(slowest)));
                    }
                    waits = waits.saturating_add(1);
                    if let Some(obstacle) = self.wait_for_room(self.tail.position + run, left)? {
                        return Ok(Some(obstacle));
                    }
                }
                // A lap of the others takes longer than to come back here.
                Take::Lost if lost < LOST_MAX => lost += 1,
                Take::Lost => {
                    return Err(RingError::Corrupt {
                        sequence: self.tail.sequence,
                        reason: "no way to the end from it",
                    });
                }
            }
        }
    }

    /// Fills what is claimed with a message that has just as many slots; `expected` is of one in a single slot.
    #[inline]
    fn fill(&mut self, payload: &[u8], expected: Option<Sum>) {
        let (spot, claim) = self.open.expect("claimed before");
        let mapping = &self.ring.mapping;
        let (part_max, run) = (mapping.part_max(), claim.run());
        if run == 1 {
            let offset = mapping.slot_offset(spot.position);
            match expected {
                Some(sum) if sum.sequence == spot.sequence => fill_summed(mapping, offset, FRAME_WHOLE, payload, sum),
                _ => {
                    fill(mapping, offset, spot.sequence, FRAME_WHOLE, payload);
                }
            }
        } else {
            for (index, part) in (0..run).zip(payload.chunks(part_max)) {
                let offset = mapping.slot_offset(spot.position + index);
                let flags = if index == 0 { FRAME_FIRST } else { 0 } | if index + 1 == run { FRAME_LAST } else { 0 };
                fill(mapping, offset, spot.sequence, flags, part);
                if index > 0 {
                    claims::follow(mapping.sequence_word(offset), spot.sequence);
                }
            }
        }
    }

    /// Makes what is claimed and filled visible, with the last value of its key where it has one. `Full`: another producer
    /// stopped within that; the claim is given back.
    #[inline]
    fn commit(&mut self, key: Option<u64>, timeout: Option<Duration>) -> Result<Written, RingError> {
        if let Some(key) = key {
            return self.commit_of(key, timeout);
        }
        let (spot, _) = self.open.take().expect("claimed before");
        Ok(Written::At(commit(&self.ring.mapping, spot)))
    }

    #[inline(never)]
    fn commit_of(&mut self, key: u64, timeout: Option<Duration>) -> Result<Written, RingError> {
        let seized = self.ring.seize_last_value(key, self.line, timeout);
        if !matches!(seized, Ok(None)) {
            self.give_back();
        }
        if let Some(obstacle) = seized? {
            return Ok(Written::Full(obstacle));
        }
        let (spot, _) = self.open.take().expect("claimed before");
        let mapping = &self.ring.mapping;
        let frame = mapping.words(mapping.slot_offset(spot.position), frame_size_bytes(mapping.part_max()));
        let entry = mapping.last_value(key);
        Ok(Written::At(commit_with(&entry, spot.sequence, frame, || commit(mapping, spot))))
    }

    /// Voids a claim that was dropped or forgotten.
    #[inline]
    fn give_back(&mut self) {
        if let Some((spot, claim)) = self.open.take() {
            void(&self.ring.mapping, spot, claim);
            self.ring.mapping.wake();
        }
    }

    // --- room

    #[cold]
    fn wait_for_room(&mut self, end: u64, timeout: Option<Duration>) -> Result<Option<Obstacle>, RingError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let ring = self.ring.clone();
        let (forked, fence_epoch) = (!self.lock.is_ours(), self.fence_epoch);
        let waited = waiting.wait(
            &ring,
            &ring.mapping.producers()[self.line].0,
            timeout,
            |slow| self.find_room(end, slow),
            || ring.check_producer(forked, fence_epoch),
        );
        self.waiting = waiting;
        waited
    }

    /// Looks how far may be written by now, and raises that if nobody else is at it. `slow`: there is time to ask the
    /// kernel about those in the way.
    fn find_room(&mut self, end: u64, slow: bool) -> Result<Option<Obstacle>, RingError> {
        let ring = self.ring.clone();
        let room = ring.mapping.room();
        self.limit = room.limit();
        if end <= self.limit {
            return Ok(None);
        }
        if let Err(raiser) = room.seize(self.line as u64 + 1) {
            let line = usize::try_from(raiser - 1).unwrap_or(usize::MAX);
            if line >= ring.mapping.producers().len() {
                return Err(RingError::Corrupt { sequence: self.tail.sequence, reason: "raiser" });
            }
            if slow {
                ring.if_dead(line, || {
                    if room.replace(raiser) {
                        ring.mapping.hot().repairs.0.raisers.fetch_add(1, Ordering::Relaxed);
                    }
                })?;
            }
            return Ok(Some(Obstacle::Producer(line)));
        }
        let raised = raise_floor(&ring, &mut self.slowest, end, slow);
        room.step_back();
        self.limit = room.limit();
        // Nobody in the way any more, but not room enough yet: the next look finds it.
        Ok(raised?.filter(|_| end > self.limit))
    }
}

impl Drop for SharedProducer {
    fn drop(&mut self) {
        if self.lock.is_ours() {
            self.give_back();
        }
    }
}

/// A line that nobody holds, with its lock.
fn free_line(ring: &Ring) -> Result<Option<(usize, EndpointLock)>, RingError> {
    let mapping = &ring.mapping;
    for (index, line) in mapping.producers().iter().enumerate() {
        let offset = mapping.lock_offset_of(line);
        if let Some(lock) = EndpointLock::acquire(&mapping.file, offset).map_err(io_error("lock", ring.path()))? {
            return Ok(Some((index, lock)));
        }
    }
    Ok(None)
}

/// See [`crate::Claim`].
#[derive(Debug)]
pub(crate) struct SharedClaim<'p> {
    producer: &'p mut SharedProducer,
    size_bytes: usize,
}

impl SharedClaim<'_> {
    pub fn ring(&self) -> &Ring {
        &self.producer.ring
    }

    fn offset(&self) -> usize {
        let (spot, _) = self.producer.open.expect("claimed before");
        self.producer.ring.mapping.slot_offset(spot.position)
    }

    pub fn payload(&mut self) -> &mut [u8] {
        self.producer.ring.mapping.bytes_mut(self.offset() + HEADER_SIZE_BYTES, self.size_bytes)
    }

    pub fn commit(self) -> Result<u64, RingError> {
        let (offset, size_bytes) = (self.offset(), self.size_bytes);
        let producer = &mut *self.producer;
        producer.ring.check_producer(!producer.lock.is_ours(), producer.fence_epoch)?;
        let mapping = &producer.ring.mapping;
        let (spot, _) = producer.open.expect("claimed before");
        let key = match mapping.info.last_values {
            None => None,
            Some(_) => mapping.key_of(mapping.bytes(offset + HEADER_SIZE_BYTES, size_bytes))?,
        };
        seal(mapping, offset, spot.sequence, FRAME_WHOLE, size_bytes);
        let written = producer.commit(key, Some(HELD_MAX))?;
        producer.ring.mapping.wake();
        match (written, key) {
            (Written::At(sequence), _) => Ok(sequence),
            (Written::Full(Obstacle::Producer(line)), Some(key)) => Err(RingError::LastValueHeld { key, line }),
            (Written::Full(obstacle), _) => unreachable!("{obstacle:?} of a claim"),
        }
    }
}

impl Drop for SharedClaim<'_> {
    fn drop(&mut self) {
        if self.producer.lock.is_ours() {
            self.producer.give_back();
        }
    }
}

/// Moves the floor so that positions below `end` may be written, or says who is in the way. Of the raiser alone.
fn raise_floor(ring: &Ring, known: &mut Slowest, end: u64, slow: bool) -> Result<Option<Obstacle>, RingError> {
    let mapping = &*ring.mapping;
    let hot = mapping.hot();
    let capacity = mapping.mask + 1;
    let needed = end.saturating_sub(capacity);
    let looked = floor::raise(&hot.joins.0, &hot.floor.0, || {
        let floor = mapping.oldest();
        let wanted = needed + capacity / FLOOR_STEPS;
        let slowest = known.look(mapping, wanted);
        let bound = slowest.map_or(u64::MAX, |(position, _)| position.max(floor.position));
        let raised = mapping.committed_until(floor, wanted, bound);
        let moves = raised.position > floor.position;
        if moves && hot.published.0.load().1 < raised.position {
            hot.published.0.store(raised.sequence - 1, raised.position);
        }
        (moves.then_some(raised.into()), (raised, slowest))
    });
    let Some((raised, slowest)) = looked else { return Ok(Some(Obstacle::Consumer(0))) };
    let room = mapping.room().allow(floor::limit(raised.position, slowest.map(|(position, _)| position), capacity));
    Ok(match slowest {
        _ if end <= room => None,
        Some((position, index)) if position <= raised.position => Some(Obstacle::Consumer(index)),
        _ => {
            let claim = mapping.claim_at(raised);
            if let Some(claim) = claim.filter(|_| slow) {
                ring.repair(raised, claim)?;
            }
            let line = claim.map_or(0, |claim| usize::from(claim.producer()));
            Some(Obstacle::Producer(line.min(mapping.producers().len() - 1)))
        }
    })
}

/// Makes a message visible that was claimed and filled. Nobody else writes the word of a claim whose producer lives: who
/// voids one has its producer's lock in hand.
#[inline]
fn commit(mapping: &Mapping, spot: Spot) -> u64 {
    stamp(mapping, spot.sequence);
    claims::publish(mapping.word(spot.position), spot.sequence);
    spot.sequence
}

/// Turns a claim into an empty message. Only by its owner, or with its owner's lock in hand.
fn void(mapping: &Mapping, spot: Spot, claim: Claim) -> bool {
    let offset = mapping.slot_offset(spot.position);
    let header = header_word(claim.run() as u32, FRAME_VOID | FRAME_WHOLE);
    mapping.header_word(offset).store(header, Ordering::Relaxed);
    let crc = if mapping.info.crc { frame_checksum(spot.sequence, header, &[]) } else { 0 };
    mapping.sequence_word(offset + HEADER_SIZE_BYTES).store(crc.into(), Ordering::Relaxed);
    claims::void(mapping.word(spot.position), claim, spot.sequence)
}

impl Ring {
    /// Runs `work` if the producer of this line is dead, and keeps anybody from becoming it meanwhile.
    pub(crate) fn if_dead(&self, line: usize, work: impl FnOnce()) -> Result<bool, RingError> {
        let mapping = &self.mapping;
        let Some(words) = mapping.producers().get(line) else { return Ok(false) };
        let offset = mapping.lock_offset_of(words);
        // Asked without taking it first: a producer that is just opening must not find its line taken by a question.
        if lock::is_held(&mapping.file, offset).map_err(io_error("examine locks of", self.path()))? {
            return Ok(false);
        }
        let held = EndpointLock::acquire(&mapping.file, offset).map_err(io_error("lock", self.path()))?;
        if held.is_some() {
            work();
        }
        Ok(held.is_some())
    }

    /// Ends what a dead producer had begun: its claims, and what of it was to be the last value of a key. With its line's
    /// lock in hand.
    pub(crate) fn settle_producer(&self, line: usize) {
        let mapping = &self.mapping;
        if mapping.info.mode == Mode::Spsc {
            let next = mapping.newest().sequence;
            return mapping.settle_last_values(line, |sequence| sequence < next);
        }
        let is_its = |claim: Claim| usize::from(claim.producer()) == line;
        let mut found = mapping.find_claim(None, is_its);
        // It prepares a last value only with the claim of its message. Where that stands, it did not commit.
        let is_committed = found.is_none();
        mapping.settle_last_values(line, |_| is_committed);
        while let Some((spot, claim)) = found {
            if void(mapping, spot, claim) {
                mapping.hot().repairs.0.claims.fetch_add(1, Ordering::Relaxed);
            }
            found = mapping.find_claim(Some(spot.after(claim.run())), is_its);
        }
    }

    /// Voids the claim at this place if its producer is dead; whether it did.
    pub(crate) fn repair(&self, place: Place, claim: Claim) -> Result<bool, RingError> {
        let mut repaired = false;
        self.if_dead(claim.producer().into(), || {
            if self.mapping.claim_at(place) == Some(claim) {
                // Before the claim is gone: without one, what it prepared counts as committed.
                self.mapping.settle_last_values(claim.producer().into(), |_| false);
                repaired = void(&self.mapping, place.into(), claim);
            }
        })?;
        if repaired {
            self.mapping.hot().repairs.0.claims.fetch_add(1, Ordering::Relaxed);
            self.mapping.wake();
        }
        Ok(repaired)
    }
}

impl Slots for Mapping {
    type Word = AtomicU64;

    #[inline]
    fn word(&self, position: u64) -> &AtomicU64 {
        self.sequence_word(self.slot_offset(position))
    }

    #[inline]
    fn committed_run(&self, spot: Spot) -> Option<u64> {
        if let RingKind::Slots { .. } = self.info.kind {
            return Some(1);
        }
        let Look::Frame(first) = self.look(spot.into()) else { return None };
        let Look::Frame(last) = self.last_frame(first) else { return None };
        // Whoever writes this message's slots anew changes the first of them before the others.
        claims::is_unchanged(self.word(spot.position), spot.sequence).then(|| last.end - spot.position)
    }

    fn near_end(&self) -> Spot {
        let numbered = matches!(self.info.kind, RingKind::Slots { .. });
        let oldest = || self.oldest().into();
        claims::near_end(&self.hot().tail.0, |position| self.word(position), oldest, self.mask + 1, numbered)
    }

    #[inline]
    fn claimed(&self, position: u64) {
        claims::remember(&self.hot().tail.0, position);
    }
}

impl Mapping {
    /// The limit of the producers.
    fn room(&self) -> Room<'_, AtomicU64> {
        let hot = self.hot();
        Room { room: &hot.room.0, raiser: &hot.raiser.0 }
    }

    /// The first claim in the ring, from this place or from the oldest message on, that `wanted` holds for.
    fn find_claim(&self, mut spot: Option<Spot>, wanted: impl Fn(Claim) -> bool) -> Option<(Spot, Claim)> {
        loop {
            let at = spot.unwrap_or_else(|| self.oldest().into());
            match Found::at(self.word(at.position), at.sequence) {
                Found::Free(_) => return None,
                Found::Claimed(claim) if wanted(claim) => return Some((at, claim)),
                Found::Claimed(claim) => spot = Some(at.after(claim.run())),
                // Overwritten under this walk: what was looked for would have kept it from being.
                Found::Other if at.position < self.oldest().position => spot = None,
                // Damaged: behind it nothing can be found.
                Found::Other => return None,
                Found::Committed => match self.committed_run(at) {
                    Some(run) => spot = Some(at.after(run)),
                    None if at.position < self.oldest().position => spot = None,
                    None => return None,
                },
            }
        }
    }

    /// The first message at or after `wanted` before which all is committed, or the last such place there is, not
    /// beyond `bound`, which is where some message starts.
    fn committed_until(&self, from: Place, wanted: u64, bound: u64) -> Place {
        if let RingKind::Slots { .. } = self.info.kind
            && bound != u64::MAX
        {
            // Who is waited for has read all before it.
            let position = wanted.min(bound).max(from.position);
            return Place { sequence: position, position };
        }
        let mut place = from;
        while place.position < wanted.min(bound) {
            let last = match self.look(place) {
                Look::Frame(first) => self.last_frame(first),
                other => other,
            };
            let next = match last {
                Look::Frame(last) => Place { sequence: place.sequence + 1, position: last.end },
                Look::Nothing if !self.is_missing(place) => break,
                Look::Nothing | Look::Bad(_) => match self.after_damage(place) {
                    Some(next) => next,
                    None => break,
                },
            };
            if next.position > bound {
                break;
            }
            place = next;
        }
        place
    }

    /// The next message after one that is damaged: readers go on there too, or were told.
    pub(crate) fn after_damage(&self, damaged: Place) -> Option<Place> {
        (1..=self.run_max()).map(|run| damaged.position + run).find_map(|position| {
            let sequence = match self.info.kind {
                RingKind::Slots { .. } => position,
                _ => self.word(position).load(Ordering::Acquire),
            };
            let near = sequence > damaged.sequence && sequence - damaged.sequence <= position - damaged.position;
            let place = Place { sequence, position };
            matches!(self.look(place), Look::Frame(frame) if near && frame.is_first()).then_some(place)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::consumer::ConsumerOptions;
    use crate::options::RingOptions;
    use crate::wait::Wait;

    fn ring(options: &RingOptions) -> (tempfile::TempDir, Ring) {
        let private = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
        let ring = Ring::create(directory.path().join("test.ring"), options).unwrap();
        (directory, ring)
    }

    /// Method: a thread takes the one line as repairers do, again and again.
    #[test]
    fn a_line_that_is_being_repaired_is_not_taken_for_a_living_producers() {
        let (_directory, ring) = ring(&RingOptions::slots(16, 8).mpsc(1));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    ring.if_dead(0, || ()).unwrap();
                }
            });
            let opened: Result<Vec<_>, _> = (0..200).map(|_| ring.producer().map(drop)).collect();
            done.store(true, Ordering::Relaxed);
            opened.unwrap();
        });
    }

    #[test]
    fn one_who_waits_at_a_claim_does_not_sleep_long() {
        let (_directory, ring) = ring(&RingOptions::slots(16, 8).mpsc(1).parking(true));
        let options = ConsumerOptions::named("a").wait(Wait::Park);
        let mut consumer = ring.consumer(&options).unwrap();
        assert_eq!(consumer.sleep_max(), crate::wait::PARK_SLICE);
        let mut producer = ring.producer().unwrap();
        let claim = producer.claim(16).unwrap();
        assert!(!consumer.wait(Some(Duration::from_millis(2))).unwrap());
        assert_eq!(consumer.sleep_max(), LIVENESS_INTERVAL);
        drop(claim);
    }
}
