//! The one writer of a ring.
//!
//! The fast path is: compare with a limit kept here, fill, one release store of the sequence word. Consumers' cursors
//! are read only when the limit is reached, which is once per 1/32 of a lap: then the floor moves up, never past a
//! consumer that is waited for. Moving it in such steps, rather than to the slowest cursor, keeps nearly a whole lap
//! readable for those who join later.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use crate::crc::frame_checksum;
use crate::error::RingError;
use crate::frame::{Look, Place};
use crate::layout::{self, CRC_SIZE_BYTES, FRAME_FIRST, FRAME_LAST, FRAME_PAD, FRAME_SIZE_MIN_BYTES, FRAME_WHOLE};
use crate::layout::{HEADER_SIZE_BYTES, frame_size_bytes, header_word};
use crate::lock::{self, EndpointLock};
use crate::mapping::{Mapping, io_error};
use crate::options::RingKind;
use crate::ring::Ring;
use crate::wait::{Backoff, Wait, deadline};

/// The floor moves by this fraction of the ring.
const FLOOR_STEPS: u64 = 32;
/// How often a blocked producer asks the kernel whether those it waits for live.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(1);

/// What became of a message that might not have had room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Committed with this sequence.
    At(u64),
    /// No room in time; nothing was written.
    Full {
        /// Line of the slowest consumer waited for; see [`Ring::consumer_name`].
        consumer: usize,
    },
}

/// The ring's producer. Its lock is held until it is dropped.
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    lock: EndpointLock,
    /// Of the next message.
    next: Place,
    /// Position of the floor, as it was last written.
    floor: u64,
    /// Positions below it may be written: a lap above a floor that every consumer has agreed to.
    limit: u64,
    /// Starts of messages a step apart, oldest first: where the floor of frames may move to.
    marks: VecDeque<Place>,
    /// When each consumer's lock was first found free.
    dead_since: Vec<Option<Instant>>,
    fence_epoch: u64,
}

impl Producer {
    pub(crate) fn open(ring: Ring) -> Result<Self, RingError> {
        let mapping = &ring.mapping;
        let hot = mapping.hot();
        let words = &hot.producer.0;
        let lock = EndpointLock::acquire(&mapping.file, mapping.lock_offset_of(&hot.producer))
            .map_err(io_error("lock", ring.path()))?
            .ok_or_else(|| RingError::ProducerBusy {
                path: ring.path().to_owned(),
                process_id: words.process_id.load(Ordering::Relaxed),
            })?;
        words.opens.fetch_add(1, Ordering::Relaxed);
        words.process_id.store(u64::from(std::process::id()), Ordering::Relaxed);

        let next = settle(mapping)?;
        let floor = mapping.oldest();
        if floor.position > next.position || next.position - floor.position > mapping.mask + 1 {
            return Err(RingError::Corrupt { sequence: next.sequence, reason: "floor" });
        }
        hot.published.0.store(next.sequence - 1, next.position);
        let mut producer = Self {
            lock,
            next,
            floor: floor.position,
            // The first write asks the consumers: the producer before may have died between raising the floor and
            // seeing who had joined below it.
            limit: 0,
            marks: VecDeque::with_capacity(2 * FLOOR_STEPS as usize),
            dead_since: vec![None; mapping.info.consumers_max as usize],
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

    /// Commits a message and gives its sequence, waiting for room as long as a living consumer holds it up.
    ///
    /// # Errors
    /// [`RingError::TooLarge`], [`RingError::RecordSize`], [`RingError::Fenced`], [`RingError::Forked`].
    #[inline]
    pub fn write(&mut self, payload: &[u8]) -> Result<u64, RingError> {
        match self.write_until(payload, None)? {
            Written::At(sequence) => Ok(sequence),
            Written::Full { .. } => unreachable!("a wait without deadline ends with room"),
        }
    }

    /// As [`Producer::write`], but gives up after `timeout`.
    ///
    /// # Errors
    /// Those of [`Producer::write`]; a full ring is [`Written::Full`].
    #[inline]
    pub fn write_within(&mut self, payload: &[u8], timeout: Duration) -> Result<Written, RingError> {
        // The clock is read only if there is no room.
        self.write_until(payload, Some(timeout))
    }

    #[inline]
    fn write_until(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        match self.ring.mapping.info.kind {
            RingKind::Slots { .. } => self.write_slot(payload, timeout),
            RingKind::Frames { .. } => self.write_frames(payload, timeout),
        }
    }

    /// Commits records that lie one after the other and gives the last sequence.
    ///
    /// # Errors
    /// [`RingError::Kind`] on frames, [`RingError::RecordSize`] when `records` is not a whole number of them.
    pub fn write_records(&mut self, records: &[u8]) -> Result<u64, RingError> {
        self.write_records_until(records, None)?;
        Ok(self.published())
    }

    /// As [`Producer::write_records`], but gives up when there is no room for `timeout`. Gives how many were written.
    ///
    /// # Errors
    /// Those of [`Producer::write_records`].
    pub fn write_records_within(&mut self, records: &[u8], timeout: Duration) -> Result<usize, RingError> {
        self.write_records_until(records, Some(timeout))
    }

    fn write_records_until(&mut self, records: &[u8], timeout: Option<Duration>) -> Result<usize, RingError> {
        let RingKind::Slots { record_size_bytes, .. } = self.ring.mapping.info.kind else {
            return Err(RingError::Kind { operation: "write_records", needed: "slots" });
        };
        let expected = record_size_bytes as usize;
        if !records.len().is_multiple_of(expected) {
            return Err(RingError::RecordSize { expected, found: records.len() % expected });
        }
        let mut records = records.chunks_exact(expected);
        let mut written = 0;
        while records.len() > 0 {
            self.check_owner()?;
            if self.reserve(self.next.position + 1, timeout)?.is_some() {
                break;
            }
            let room = (self.limit - self.next.position) as usize;
            for record in records.by_ref().take(room) {
                self.fill_slot(record);
                written += 1;
            }
            self.announce();
        }
        Ok(written)
    }

    /// Room for a message to be filled in place. Nothing is visible before [`Claim::commit`]; dropping gives it back.
    ///
    /// # Errors
    /// Those of [`Producer::write`]; [`RingError::TooLarge`] above one part (an eighth of the ring).
    pub fn claim(&mut self, size_bytes: usize) -> Result<Claim<'_>, RingError> {
        let claim = self.claim_until(size_bytes, None)?;
        Ok(claim.expect("a wait without deadline ends with room"))
    }

    /// As [`Producer::claim`], but gives up after `timeout`: `None` is a full ring.
    ///
    /// # Errors
    /// Those of [`Producer::claim`].
    pub fn claim_within(&mut self, size_bytes: usize, timeout: Duration) -> Result<Option<Claim<'_>>, RingError> {
        self.claim_until(size_bytes, Some(timeout))
    }

    fn claim_until(&mut self, size_bytes: usize, timeout: Option<Duration>) -> Result<Option<Claim<'_>>, RingError> {
        self.check_owner()?;
        let mapping = &self.ring.mapping;
        let max_bytes = mapping.part_max();
        if size_bytes > max_bytes {
            return Err(RingError::TooLarge { size_bytes, max_bytes });
        }
        let (full, offset) = match mapping.info.kind {
            RingKind::Slots { .. } if size_bytes != max_bytes => {
                return Err(RingError::RecordSize { expected: max_bytes, found: size_bytes });
            }
            RingKind::Slots { .. } => (self.reserve(self.next.position + 1, timeout)?, self.slot_offset()),
            RingKind::Frames { .. } => {
                let start = self.place(self.next.position, size_bytes);
                let full = self.reserve_frames(start + frame_size_bytes(size_bytes) as u64, timeout)?;
                (full, (start & self.ring.mapping.mask) as usize)
            }
        };
        Ok(full.is_none().then_some(Claim { producer: self, offset, size_bytes }))
    }

    // --- slots

    #[inline]
    fn write_slot(&mut self, payload: &[u8], timeout: Option<Duration>) -> Result<Written, RingError> {
        self.check_owner()?;
        let expected = self.ring.mapping.part_max();
        if payload.len() != expected {
            return Err(RingError::RecordSize { expected, found: payload.len() });
        }
        if let Some(consumer) = self.reserve(self.next.position + 1, timeout)? {
            return Ok(Written::Full { consumer });
        }
        let sequence = self.next.sequence;
        self.fill_slot(payload);
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
        fill(mapping, offset, sequence, FRAME_WHOLE, payload);
        mapping.sequence_word(offset).store(sequence, Ordering::Release);
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
        if let Some(consumer) = self.reserve_frames(end, timeout)? {
            return Ok(Written::Full { consumer });
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
        if let Some(consumer) = self.reserve_frames(end, timeout)? {
            return Ok(Written::Full { consumer });
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
                mapping.sequence_word(offset).store(sequence, Ordering::Relaxed);
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
    fn reserve_frames(&mut self, end: u64, timeout: Option<Duration>) -> Result<Option<usize>, RingError> {
        let after = self.ring.mapping.frame_start(end);
        if let Some(consumer) = self.reserve(after + 8, timeout)? {
            return Ok(Some(consumer));
        }
        let mapping = &self.ring.mapping;
        // Ordered before the commit by its release store.
        mapping.sequence_word((after & mapping.mask) as usize).store(0, Ordering::Relaxed);
        Ok(None)
    }

    /// Makes the frame at `offset`, and the frames behind it, visible as the next message.
    #[inline]
    fn commit_frames(&mut self, offset: usize, end: u64) {
        let mapping = &self.ring.mapping;
        let Place { sequence, position } = self.next;
        let start = mapping.frame_start(position);
        let first = (start & mapping.mask) as usize;
        if first == offset {
            mapping.sequence_word(offset).store(sequence, Ordering::Release);
        } else {
            // The message begins on the next lap: readers are at the padding, so that is the commit.
            mapping.sequence_word(offset).store(sequence, Ordering::Relaxed);
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
        mapping.hot().published.0.store(self.next.sequence - 1, self.next.position);
        mapping.wake();
    }

    #[inline]
    fn check_owner(&self) -> Result<(), RingError> {
        if !self.lock.is_ours() {
            return Err(RingError::Forked);
        }
        let found = self.ring.mapping.hot().fence_epoch.0.load(Ordering::Relaxed);
        if found != self.fence_epoch {
            return Err(RingError::Fenced { fence: found, own: self.fence_epoch });
        }
        Ok(())
    }

    /// Waits until all positions below `end` may be written; `Some` names the consumer that was in the way too long.
    #[inline]
    fn reserve(&mut self, end: u64, timeout: Option<Duration>) -> Result<Option<usize>, RingError> {
        if end <= self.limit { Ok(None) } else { self.wait_for_room(end, timeout) }
    }

    #[cold]
    fn wait_for_room(&mut self, end: u64, timeout: Option<Duration>) -> Result<Option<usize>, RingError> {
        let Err(mut slowest) = self.raise_floor(end) else { return Ok(None) };
        let deadline = deadline(timeout);
        let mut backoff = Backoff::new(Wait::Hybrid);
        let mut asked: Option<Instant> = None;
        loop {
            if backoff.is_slow() {
                let now = Instant::now();
                if asked.is_none_or(|asked| now - asked >= LIVENESS_INTERVAL) {
                    asked = Some(now);
                    self.give_up_the_dead(now)?;
                    self.check_owner()?;
                }
                if deadline.is_some_and(|deadline| now >= deadline) {
                    return Ok(Some(slowest));
                }
            }
            backoff.pause();
            match self.raise_floor(end) {
                Ok(()) => return Ok(None),
                Err(consumer) => slowest = consumer,
            }
        }
    }

    /// Moves the floor so that positions below `end` may be written, or names the consumer that is in the way.
    fn raise_floor(&mut self, end: u64) -> Result<(), usize> {
        let mapping = &self.ring.mapping;
        let needed = end.saturating_sub(mapping.mask + 1);
        let hot = mapping.hot();
        loop {
            let joins = hot.joins.0.load(Ordering::SeqCst);
            while self.marks.front().is_some_and(|mark| mark.position < needed) {
                self.marks.pop_front();
            }
            let wanted = match mapping.info.kind {
                RingKind::Slots { count, .. } => {
                    let step = if needed > self.floor { needed + count / FLOOR_STEPS } else { self.floor };
                    let sequence = step.min(self.next.sequence);
                    Place { sequence, position: sequence }
                }
                RingKind::Frames { .. } => self.marks.front().copied().unwrap_or(self.next),
            };
            let slowest = mapping
                .consumers()
                .iter()
                .enumerate()
                .filter(|(_, lines)| lines.identity.0.state.load(Ordering::Acquire) == layout::CONSUMER_GATING)
                .map(|(index, lines)| (lines.cursor.0.position.load(Ordering::Acquire), index))
                .min();
            let raised = match slowest {
                // What a consumer says is bounded: behind the floor it waits for nothing, past the end it is the end.
                Some((position, index)) if position < wanted.position => {
                    if position < needed {
                        return Err(index);
                    }
                    match mapping.place_at(position, self.next) {
                        Some(place) => place,
                        None => return Err(index),
                    }
                }
                _ => wanted,
            };
            if raised.position > self.floor {
                hot.floor.0.store(raised.sequence, raised.position);
                self.floor = raised.position;
            }
            // A consumer that joined meanwhile either saw this floor, or is seen by another look: its cursor and our
            // floor are both written before either side reads the other's.
            fence(Ordering::SeqCst);
            if hot.joins.0.load(Ordering::SeqCst) == joins {
                self.limit = self.floor + mapping.mask + 1;
                return Ok(());
            }
        }
    }

    /// Stops waiting for consumers whose lock is free: unnamed ones at once, named ones after their `detach_after`.
    fn give_up_the_dead(&mut self, now: Instant) -> Result<(), RingError> {
        let ring = self.ring.clone();
        for (lines, dead_since) in ring.mapping.consumers().iter().zip(&mut self.dead_since) {
            let identity = &lines.identity.0;
            if identity.state.load(Ordering::Acquire) != layout::CONSUMER_GATING || ring.is_alive(lines)? {
                *dead_since = None;
                continue;
            }
            let named = identity.name_size.load(Ordering::Relaxed) != 0;
            let detach_after_ms = identity.detach_after_ms.load(Ordering::Relaxed);
            let dead_for = now - *dead_since.get_or_insert(now);
            if named && (detach_after_ms == u32::MAX || dead_for < Duration::from_millis(detach_after_ms.into())) {
                continue;
            }
            // Under the lock of those who join, and asked once more: it may just be coming back.
            let offset = ring.mapping.lock_offset_of(&ring.mapping.hot().joins);
            let registry = EndpointLock::acquire(&ring.mapping.file, offset).map_err(io_error("lock", ring.path()))?;
            if registry.is_some()
                && identity.state.load(Ordering::Acquire) == layout::CONSUMER_GATING
                && !lock::is_held(&ring.mapping.file, ring.mapping.lock_offset_of(lines))
                    .map_err(io_error("examine locks of", ring.path()))?
            {
                let state = if named { layout::CONSUMER_DETACHED } else { layout::CONSUMER_FREE };
                identity.state.store(state, Ordering::Release);
                *dead_since = None;
            }
        }
        Ok(())
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
pub struct Claim<'p> {
    producer: &'p mut Producer,
    offset: usize,
    size_bytes: usize,
}

impl Claim<'_> {
    /// The payload to fill. What an earlier lap left is in it.
    pub fn payload(&mut self) -> &mut [u8] {
        self.producer.ring.mapping.bytes_mut(self.offset + HEADER_SIZE_BYTES, self.size_bytes)
    }

    /// Commits it and gives its sequence.
    pub fn commit(self) -> u64 {
        let Self { producer, offset, size_bytes } = self;
        let mapping = &producer.ring.mapping;
        let sequence = producer.next.sequence;
        seal(mapping, offset, sequence, FRAME_WHOLE, mapping.bytes(offset + HEADER_SIZE_BYTES, size_bytes));
        match mapping.info.kind {
            RingKind::Slots { .. } => {
                mapping.sequence_word(offset).store(sequence, Ordering::Release);
                producer.next = Place { sequence: sequence + 1, position: sequence + 1 };
                producer.announce();
            }
            RingKind::Frames { .. } => {
                let start = producer.place(producer.next.position, size_bytes);
                producer.commit_frames(offset, start + frame_size_bytes(size_bytes) as u64);
            }
        }
        sequence
    }
}

/// Everything of a frame but its sequence word.
#[inline]
fn fill(mapping: &Mapping, offset: usize, sequence: u64, flags: u8, payload: &[u8]) {
    mapping.bytes_mut(offset + HEADER_SIZE_BYTES, payload.len()).copy_from_slice(payload);
    seal(mapping, offset, sequence, flags, payload);
}

/// Length, flags, padding and CRC around a payload that is in place.
#[inline]
fn seal(mapping: &Mapping, offset: usize, sequence: u64, flags: u8, payload: &[u8]) {
    let word = header_word(payload.len() as u32, flags);
    mapping.header_word(offset).store(word, Ordering::Relaxed);
    let crc_offset = layout::crc_offset(payload.len());
    let payload_end = HEADER_SIZE_BYTES + payload.len();
    mapping.bytes_mut(offset + payload_end, crc_offset - payload_end).fill(0);
    let crc = if mapping.info.crc { frame_checksum(sequence, word, payload) } else { 0 };
    mapping.crc_word(offset + crc_offset).store(crc, Ordering::Relaxed);
    let end = crc_offset + CRC_SIZE_BYTES;
    mapping.bytes_mut(offset + end, frame_size_bytes(payload.len()) - end).fill(0);
}

/// A frame that sends readers from `position` to the start of the next lap, if they would not go there by themselves.
#[inline]
fn pad(mapping: &Mapping, position: u64, start: u64, sequence: u64) {
    if start - position >= FRAME_SIZE_MIN_BYTES as u64 {
        let offset = (position & mapping.mask) as usize;
        fill(mapping, offset, sequence, FRAME_PAD, &[]);
        mapping.sequence_word(offset).store(sequence, Ordering::Release);
    }
}

/// The place a producer goes on at, with nothing after it that could be taken for a message.
fn settle(mapping: &Mapping) -> Result<Place, RingError> {
    let next = mapping.newest();
    // A message that was committed before the death must be whole; anything else is damage, not a torn write.
    let (published, position) = mapping.hot().published.0.load();
    let mut place = Place { sequence: published + 1, position };
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
