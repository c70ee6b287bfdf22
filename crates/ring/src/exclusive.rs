//! The one writer of a ring in mode spsc.
//!
//! The fast path is: compare with a limit kept here, fill, one release store of the sequence word. Consumers' cursors
//! are read only when the limit is reached, which is once per 1/32 of a lap: then the floor moves up, never past a
//! consumer that is waited for. Moving it in such steps, rather than to the slowest cursor, keeps nearly a whole lap
//! readable for those who join later.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::claims::{clear, follow, publish};
use crate::error::RingError;
use crate::floor;
use crate::frame::{Look, Place};
use crate::last_values::commit_with;
use crate::layout::frame_size_bytes;
use crate::layout::{FRAME_FIRST, FRAME_LAST, FRAME_PAD, FRAME_SIZE_MIN_BYTES, FRAME_WHOLE, HEADER_SIZE_BYTES};
use crate::lock::EndpointLock;
use crate::mapping::{Mapping, io_error};
use crate::options::RingKind;
use crate::producer::{Obstacle, Written, WrittenRecords, fill, seal, stamp};
use crate::ring::Ring;
use crate::room::{Allowance, FLOOR_STEPS, Slowest, Waiting};

/// The ring's producer. Its lock is held until it is dropped.
#[derive(Debug)]
pub(crate) struct ExclusiveProducer {
    ring: Ring,
    lock: EndpointLock,
    /// Of the next message.
    next: Place,
    /// Bytes of a record, on a ring of slots.
    record_size: Option<usize>,
    /// Position of the floor, as it was last written.
    floor: u64,
    /// Positions below it may be written: a lap above a floor that every consumer has agreed to.
    limit: u64,
    /// Starts of messages a step apart, oldest first: where the floor of frames may move to.
    marks: VecDeque<Place>,
    slowest: Slowest,
    waiting: Waiting,
    fence_epoch: u64,
}

impl ExclusiveProducer {
    pub fn open(ring: Ring) -> Result<Self, RingError> {
        let mapping = &ring.mapping;
        let hot = mapping.hot();
        let line = &mapping.producers()[0];
        let words = &line.0;
        let lock = EndpointLock::acquire(&mapping.file, mapping.lock_offset_of(line))
            .map_err(io_error("lock", ring.path()))?
            .ok_or_else(|| RingError::ProducerBusy {
                path: ring.path().to_owned(),
                process_id: words.process_id.load(Ordering::Relaxed),
            })?;
        words.opens.fetch_add(1, Ordering::Relaxed);
        words.process_id.store(u64::from(std::process::id()), Ordering::Relaxed);

        let next = settle(mapping)?;
        mapping.settle_last_values(0, |sequence| sequence < next.sequence);
        let floor = mapping.oldest();
        if floor.position > next.position || next.position - floor.position > mapping.mask + 1 {
            return Err(RingError::Corrupt { sequence: next.sequence, reason: "floor" });
        }
        hot.published.0.store(next.sequence - 1, next.position);
        let mut producer = Self {
            lock,
            next,
            // With last values a write is more than that.
            record_size: mapping.info.record_size().filter(|_| mapping.info.last_values.is_none()),
            floor: floor.position,
            // The first write asks the consumers: the producer before may have died between raising the floor and
            // seeing who had joined below it.
            limit: 0,
            marks: VecDeque::with_capacity(2 * FLOOR_STEPS as usize),
            slowest: Slowest::default(),
            waiting: Waiting::default(),
            fence_epoch: hot.fence_epoch.0.load(Ordering::SeqCst),
            ring,
        };
        producer.find_marks(floor)?;
        // Consumers may be asleep over a message whose producer died before it could wake them.
        producer.ring.mapping.wake();
        Ok(producer)
    }

    /// The ring it writes.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Last committed sequence; the one before `first_sequence` when there is none.
    pub fn published(&self) -> u64 {
        self.next.sequence - 1
    }

    #[inline]
    pub fn write(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        let Some(sequence) = self.put_record(payload) else { return self.write_any(payload, timeout) };
        self.ring.mapping.wake();
        Ok(Written::At(sequence))
    }

    /// As [`ExclusiveProducer::write`], and wakes nobody where there is room.
    #[inline]
    pub fn put(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        self.put_record(payload).map_or_else(|| self.write_any(payload, timeout), |sequence| Ok(Written::At(sequence)))
    }

    /// Nearly every write of a record is this one; `None`, with nothing written, where it needs a closer look.
    #[inline]
    fn put_record(&mut self, payload: &[u8]) -> Option<u64> {
        if Some(payload.len()) != self.record_size || self.next.position >= self.limit || self.check_owner().is_err() {
            return None;
        }
        let sequence = self.next.sequence;
        self.fill_slot(payload);
        self.ring.mapping.hot().published.0.store_first(sequence);
        Some(sequence)
    }

    #[inline(never)]
    fn write_any(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        match self.ring.mapping.info.kind {
            RingKind::Slots { .. } => self.write_slot(payload, timeout),
            RingKind::Frames { .. } => self.write_frames(payload, timeout),
            RingKind::Runs { .. } => unreachable!("runs are for many producers"),
        }
    }

    /// Whole records of a ring of slots.
    pub fn write_records(&mut self, records: &[u8], timeout: Option<Duration>) -> Result<WrittenRecords, RingError> {
        let mut records = records.chunks_exact(self.ring.mapping.part_max());
        let mut written = WrittenRecords::default();
        let mut allowance = Allowance::new(timeout);
        while records.len() > 0 {
            self.check_owner().map_err(|error| error.after(written.count))?;
            if self.next.position >= self.limit {
                let reserved = self.wait_for_room(self.next.position + 1, allowance.left());
                written.full = reserved.map_err(|error| error.after(written.count))?;
                if written.full.is_some() {
                    break;
                }
            }
            let room = (self.limit - self.next.position) as usize;
            let filled = records.by_ref().take(room).try_for_each(|record| {
                match self.ring.mapping.key_of(record)? {
                    None => self.fill_slot(record),
                    Some(key) => self.fill_slot_of(key, record),
                }
                written.count += 1;
                Ok::<_, RingError>(())
            });
            self.announce();
            filled.map_err(|error| error.after(written.count))?;
            written.last = Some(self.next.sequence - 1);
        }
        Ok(written)
    }

    pub fn go_on_waiting(&mut self) {
        self.waiting.go_on();
    }

    /// Makes sure of room for [`ExclusiveProducer::claim`]. The size is one that the ring takes.
    pub fn reserve_claim(
        &mut self,
        size_bytes: usize,
        timeout: Option<Duration>,
    ) -> Result<Option<Obstacle>, RingError> {
        self.check_owner()?;
        match self.ring.mapping.info.kind {
            RingKind::Frames { .. } => {
                let start = self.place(self.next.position, size_bytes);
                self.reserve_frames(start + frame_size_bytes(size_bytes) as u64, timeout)
            }
            _ => self.reserve(self.next.position + 1, timeout),
        }
    }

    /// The next message, whose room was reserved.
    pub fn claim(&mut self, size_bytes: usize) -> ExclusiveClaim<'_> {
        let offset = match self.ring.mapping.info.kind {
            RingKind::Frames { .. } => (self.place(self.next.position, size_bytes) & self.ring.mapping.mask) as usize,
            _ => self.slot_offset(),
        };
        ExclusiveClaim { producer: self, offset, size_bytes }
    }

    // --- slots

    #[inline]
    fn write_slot(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        self.check_owner()?;
        let expected = self.ring.mapping.part_max();
        if payload.len() != expected {
            return Err(RingError::RecordSize { expected, found: payload.len() });
        }
        let key = self.ring.mapping.key_of(payload)?;
        if let Some(obstacle) = self.reserve(self.next.position + 1, timeout)? {
            return Ok(Written::Full(obstacle));
        }
        let sequence = self.next.sequence;
        match key {
            None => self.fill_slot(payload),
            Some(key) => self.fill_slot_of(key, payload),
        }
        self.announce();
        Ok(Written::At(sequence))
    }

    fn slot_offset(&self) -> usize {
        let mapping = &self.ring.mapping;
        (self.next.sequence & mapping.mask) as usize * mapping.info.stride
    }

    #[inline]
    fn fill_slot(&mut self, payload: &[u8]) {
        let (offset, sequence) = (self.slot_offset(), self.next.sequence);
        let mapping = &self.ring.mapping;
        let sequence_word = fill(mapping, offset, sequence, FRAME_WHOLE, payload);
        stamp(mapping, sequence);
        publish(sequence_word, sequence);
        self.next = Place { sequence: sequence + 1, position: sequence + 1 };
    }

    /// As [`ExclusiveProducer::fill_slot`], with the last value of its key.
    fn fill_slot_of(&mut self, key: u64, payload: &[u8]) {
        let (offset, sequence) = (self.slot_offset(), self.next.sequence);
        fill(&self.ring.mapping, offset, sequence, FRAME_WHOLE, payload);
        self.commit_slot_of(key, offset);
    }

    /// Commits a record that is in its slot, with the last value of its key.
    fn commit_slot_of(&mut self, key: u64, offset: usize) {
        let sequence = self.next.sequence;
        let mapping = &self.ring.mapping;
        let entry = mapping.last_value(key);
        // Nobody else writes; whoever comes after us looks for what we leave.
        entry.writer.store(1, Ordering::Relaxed);
        let frame = mapping.words(offset, frame_size_bytes(mapping.part_max()));
        commit_with(&entry, sequence, frame, || {
            stamp(mapping, sequence);
            publish(mapping.sequence_word(offset), sequence);
        });
        self.next = Place { sequence: sequence + 1, position: sequence + 1 };
    }

    // --- frames

    fn write_frames(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        self.check_owner()?;
        let part_max = self.ring.mapping.part_max();
        if payload.len() > part_max {
            return self.write_parts(payload, timeout);
        }
        let start = self.place(self.next.position, payload.len());
        let end = start + frame_size_bytes(payload.len()) as u64;
        if let Some(obstacle) = self.reserve_frames(end, timeout)? {
            return Ok(Written::Full(obstacle));
        }
        let sequence = self.next.sequence;
        let mapping = &self.ring.mapping;
        let offset = (start & mapping.mask) as usize;
        fill(mapping, offset, sequence, FRAME_WHOLE, payload);
        self.commit_frames(offset, end);
        Ok(Written::At(sequence))
    }

    /// A message in consecutive parts, visible all at once because its first word is written last.
    #[cold]
    fn write_parts(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        let mapping = self.ring.mapping.clone();
        let max_bytes = mapping.message_max();
        if payload.len() > max_bytes {
            return Err(RingError::TooLarge { size_bytes: payload.len(), max_bytes });
        }
        let mut end = self.next.position;
        for part in payload.chunks(mapping.part_max()) {
            end = self.place(end, part.len()) + frame_size_bytes(part.len()) as u64;
        }
        if let Some(obstacle) = self.reserve_frames(end, timeout)? {
            return Ok(Written::Full(obstacle));
        }
        let sequence = self.next.sequence;
        let count = payload.len().div_ceil(mapping.part_max());
        let (mut position, mut first) = (self.next.position, 0);
        for (index, part) in payload.chunks(mapping.part_max()).enumerate() {
            let start = self.place(position, part.len());
            let offset = (start & mapping.mask) as usize;
            let flags = if index == 0 { FRAME_FIRST } else { 0 } | if index + 1 == count { FRAME_LAST } else { 0 };
            fill(&mapping, offset, sequence, flags, part);
            if index == 0 {
                first = offset;
            } else {
                pad(&mapping, position, start, sequence);
                follow(mapping.sequence_word(offset), sequence);
            }
            position = start + frame_size_bytes(part.len()) as u64;
        }
        self.commit_frames(first, end);
        Ok(Written::At(sequence))
    }

    /// Where a frame goes that is to stand at `position`: there, or at the start of the next lap.
    #[inline]
    fn place(&self, position: u64, payload_size: usize) -> u64 {
        let left = self.ring.mapping.mask + 1 - (position & self.ring.mapping.mask);
        if (frame_size_bytes(payload_size) as u64) > left { position + left } else { position }
    }

    /// Room up to `end` and for the header after it, which is zeroed: a reader must not take what an earlier lap left
    /// there for a frame.
    #[inline]
    fn reserve_frames(&mut self, end: u64, timeout: Option<Duration>) -> Result<Option<Obstacle>, RingError> {
        let after = self.ring.mapping.frame_start(end);
        if let Some(obstacle) = self.reserve(after + 8, timeout)? {
            return Ok(Some(obstacle));
        }
        let mapping = &self.ring.mapping;
        clear(mapping.sequence_word((after & mapping.mask) as usize));
        Ok(None)
    }

    /// Makes the frame at `offset`, and the frames behind it, visible as the next message.
    #[inline]
    fn commit_frames(&mut self, offset: usize, end: u64) {
        let mapping = &self.ring.mapping;
        let Place { sequence, position } = self.next;
        let start = mapping.frame_start(position);
        let first = (start & mapping.mask) as usize;
        stamp(mapping, sequence);
        if first == offset {
            publish(mapping.sequence_word(offset), sequence);
        } else {
            // The message begins on the next lap: readers are at the padding, so that is the commit.
            follow(mapping.sequence_word(offset), sequence);
            pad(mapping, position, position + (mapping.mask + 1 - (position & mapping.mask)), sequence);
        }
        if self.marks.back().is_none_or(|mark| position >= mark.position + (mapping.mask + 1) / FLOOR_STEPS) {
            self.marks.push_back(self.next);
        }
        self.next = Place { sequence: sequence + 1, position: end };
        self.announce();
    }

    // --- both

    /// Tells joiners and sleepers what is committed.
    #[inline]
    fn announce(&self) {
        let mapping = &self.ring.mapping;
        let published = &mapping.hot().published.0;
        match mapping.info.kind {
            // The position is the sequence.
            RingKind::Slots { .. } => published.store_first(self.next.sequence - 1),
            _ => published.store(self.next.sequence - 1, self.next.position),
        }
        mapping.wake();
    }

    #[inline]
    fn check_owner(&self) -> Result<(), RingError> {
        self.ring.check_producer(!self.lock.is_ours(), self.fence_epoch)
    }

    /// Waits until all positions below `end` may be written; `Some` names the consumer that was in the way too long.
    #[inline]
    fn reserve(&mut self, end: u64, timeout: Option<Duration>) -> Result<Option<Obstacle>, RingError> {
        if end <= self.limit { Ok(None) } else { self.wait_for_room(end, timeout) }
    }

    #[cold]
    fn wait_for_room(&mut self, end: u64, timeout: Option<Duration>) -> Result<Option<Obstacle>, RingError> {
        // Those who are waited for may sleep over what was put there.
        self.ring.mapping.wake();
        let mut waiting = std::mem::take(&mut self.waiting);
        let ring = self.ring.clone();
        let (forked, fence_epoch) = (!self.lock.is_ours(), self.fence_epoch);
        let waited = waiting.wait(
            &ring,
            &ring.mapping.producers()[0].0,
            timeout,
            |_| Ok(self.raise_floor(end).err().map(Obstacle::Consumer)),
            || ring.check_producer(forked, fence_epoch),
        );
        self.waiting = waiting;
        waited
    }

    /// Moves the floor so that positions below `end` may be written, or names the consumer that is in the way.
    fn raise_floor(&mut self, end: u64) -> Result<(), usize> {
        let mapping = &self.ring.mapping;
        let capacity = mapping.mask + 1;
        let needed = end.saturating_sub(capacity);
        let hot = mapping.hot();
        while self.marks.front().is_some_and(|mark| mark.position < needed) {
            self.marks.pop_front();
        }
        let looked = floor::raise(&hot.joins.0, &hot.floor.0, || {
            let wanted = match mapping.info.kind {
                RingKind::Slots { count, .. } => {
                    let step = if needed > self.floor { needed + count / FLOOR_STEPS } else { self.floor };
                    let sequence = step.min(self.next.sequence);
                    Place { sequence, position: sequence }
                }
                _ => self.marks.front().copied().unwrap_or(self.next),
            };
            let slowest = self.slowest.look(mapping, wanted.position);
            let raised = match slowest {
                // What a consumer says is bounded: behind the floor it waits for nothing, past the end it is the end.
                Some((position, _)) if position < needed => None,
                Some((position, _)) if position < wanted.position => mapping.place_at(position, self.next),
                _ => Some(wanted),
            };
            let raised = raised.filter(|raised| raised.position > self.floor);
            if let Some(raised) = raised {
                self.floor = raised.position;
            }
            (raised.map(Place::into), slowest)
        });
        let Some(slowest) = looked else { return Err(0) };
        let limit = floor::limit(self.floor, slowest.map(|(position, _)| position), capacity);
        self.limit = self.limit.max(limit);
        if end <= self.limit { Ok(()) } else { Err(slowest.map_or(0, |(_, index)| index)) }
    }

    /// Finds the marks of a lap that another producer wrote.
    fn find_marks(&mut self, floor: Place) -> Result<(), RingError> {
        let mapping = &self.ring.mapping;
        let RingKind::Frames { size_bytes } = mapping.info.kind else { return Ok(()) };
        let mut place = floor;
        while place.sequence < self.next.sequence {
            if self.marks.back().is_none_or(|mark| place.position >= mark.position + size_bytes / FLOOR_STEPS) {
                self.marks.push_back(place);
            }
            let last = match mapping.look(place) {
                Look::Frame(first) => mapping.last_frame(first),
                other => other,
            };
            let Look::Frame(last) = last else {
                return Err(RingError::Corrupt { sequence: place.sequence, reason: "no way past it" });
            };
            place = Place { sequence: place.sequence + 1, position: last.end };
        }
        Ok(())
    }
}

/// A message being filled in place.
#[derive(Debug)]
pub(crate) struct ExclusiveClaim<'p> {
    producer: &'p mut ExclusiveProducer,
    offset: usize,
    size_bytes: usize,
}

impl ExclusiveClaim<'_> {
    pub fn ring(&self) -> &Ring {
        &self.producer.ring
    }

    /// The payload to fill. What an earlier lap left is in it.
    pub fn payload(&mut self) -> &mut [u8] {
        self.producer.ring.mapping.bytes_mut(self.offset + HEADER_SIZE_BYTES, self.size_bytes)
    }

    /// Commits it and gives its sequence.
    pub fn commit(self) -> Result<u64, RingError> {
        let Self { producer, offset, size_bytes } = self;
        producer.check_owner()?;
        let mapping = &producer.ring.mapping;
        let sequence = producer.next.sequence;
        let key = match mapping.info.last_values {
            None => None,
            Some(_) => mapping.key_of(mapping.bytes(offset + HEADER_SIZE_BYTES, size_bytes))?,
        };
        seal(mapping, offset, sequence, FRAME_WHOLE, size_bytes);
        match mapping.info.kind {
            RingKind::Frames { .. } => {
                let start = producer.place(producer.next.position, size_bytes);
                producer.commit_frames(offset, start + frame_size_bytes(size_bytes) as u64);
            }
            _ if key.is_some() => {
                producer.commit_slot_of(key.unwrap_or(0), offset);
                producer.announce();
            }
            _ => {
                stamp(mapping, sequence);
                publish(mapping.sequence_word(offset), sequence);
                producer.next = Place { sequence: sequence + 1, position: sequence + 1 };
                producer.announce();
            }
        }
        Ok(sequence)
    }
}

/// A frame that sends readers from `position` to the start of the next lap, if they would not go there by themselves.
#[inline]
fn pad(mapping: &Mapping, position: u64, start: u64, sequence: u64) {
    if start - position >= FRAME_SIZE_MIN_BYTES as u64 {
        let offset = (position & mapping.mask) as usize;
        fill(mapping, offset, sequence, FRAME_PAD, &[]);
        publish(mapping.sequence_word(offset), sequence);
    }
}

/// The place a producer goes on at, with nothing after it that could be taken for a message.
fn settle(mapping: &Mapping) -> Result<Place, RingError> {
    let next = mapping.newest();
    // A message that was committed before the death must be whole; anything else is damage, not a torn write.
    let (published, position) = mapping.hot().published.0.load();
    let mut place = mapping.bounded(published.wrapping_add(1), position);
    while place.sequence < next.sequence {
        let Look::Frame(first) = mapping.look(place) else { break };
        let mut frame = first;
        loop {
            if !frame.holds(mapping, frame.payload(mapping)) {
                return Err(RingError::Corrupt { sequence: place.sequence, reason: "CRC" });
            }
            if frame.is_last() {
                break;
            }
            let Look::Frame(part) = mapping.look(Place { sequence: place.sequence, position: frame.end }) else {
                return Err(RingError::Corrupt { sequence: place.sequence, reason: "part missing" });
            };
            frame = part;
        }
        place = Place { sequence: place.sequence + 1, position: frame.end };
    }
    if let RingKind::Frames { .. } = mapping.info.kind {
        // Zeroed by the commit before. Were it not, the next message would be visible while it is written.
        let offset = (mapping.frame_start(next.position) & mapping.mask) as usize;
        if mapping.sequence_word(offset).load(Ordering::Relaxed) != 0 {
            return Err(RingError::Corrupt { sequence: next.sequence, reason: "sequence word" });
        }
    }
    Ok(next)
}
