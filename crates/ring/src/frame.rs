//! Finding the next message in the data area, for readers and for a producer that comes back.
//!
//! Nothing read from shared memory is trusted: a length, flag or sequence that does not fit is an answer
//! ([`Look::Bad`]), never an access out of bounds.
//!
//! Positions count slots, or bytes of frames. A message of a ring of runs has its parts in consecutive slots.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::claims::{self, Claim, Found, RUN_MAX, Spot};
use crate::crc::frame_checksum;
use crate::layout::{self, CRC_SIZE_BYTES, FRAME_FIRST, FRAME_LAST, FRAME_PAD, FRAME_SIZE_MIN_BYTES, FRAME_VOID};
use crate::layout::{FRAME_WHOLE, HEADER_SIZE_BYTES};
use crate::mapping::Mapping;
use crate::options::{Mode, RingKind};

/// A place between messages: the sequence of the next one and where it starts. Slots count positions in slots (for
/// records both numbers are the same), frames in bytes; neither ever goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(crate) sequence: u64,
    pub(crate) position: u64,
}

impl Place {
    /// Sequence of the message that starts here.
    pub fn sequence(self) -> u64 {
        self.sequence
    }
}

impl From<Spot> for Place {
    #[inline]
    fn from(Spot { sequence, position }: Spot) -> Self {
        Self { sequence, position }
    }
}

impl From<Place> for Spot {
    #[inline]
    fn from(Place { sequence, position }: Place) -> Self {
        Self { sequence, position }
    }
}

/// A committed frame, its length already in bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub sequence: u64,
    /// In the data area.
    pub offset: usize,
    pub header_word: u64,
    pub payload_size: usize,
    /// Position after it.
    pub end: u64,
}

pub(crate) enum Look {
    Frame(Frame),
    Nothing,
    Bad(&'static str),
}

/// All that reading records in place needs of a mapping, at hand: a shorter way to what [`Mapping::look`] and
/// [`Frame::holds`] say.
pub(crate) struct SlotArea<'m> {
    words: &'m [AtomicU64],
    mask: u64,
    /// Words from slot to slot.
    stride: usize,
    /// Bytes of a record.
    size: usize,
    header_word: u64,
    crc: bool,
}

/// What stands in a slot.
pub(crate) enum WholeSlot<'m> {
    /// The record, as it was committed.
    Record(&'m [u8]),
    /// Nobody has claimed it.
    Free,
    /// Anything else.
    Other,
}

impl<'m> SlotArea<'m> {
    #[inline(always)]
    fn slot(&self, sequence: u64) -> &'m [AtomicU64] {
        let start = (sequence & self.mask) as usize * self.stride;
        &self.words[start..start + self.stride]
    }

    /// The record in a slot, not verified; what else stands there.
    #[inline(always)]
    fn record(&self, sequence: u64) -> WholeSlot<'m> {
        let [word, header_word, payload @ ..] = self.slot(sequence) else { return WholeSlot::Other };
        let found = word.load(Ordering::Acquire);
        if found != sequence {
            return if found < sequence { WholeSlot::Free } else { WholeSlot::Other };
        }
        if header_word.load(Ordering::Relaxed) != self.header_word || self.size > payload.len() * 8 {
            return WholeSlot::Other;
        }
        // SAFETY: in bounds by the check; initialised since creation; no producer that keeps to the protocol changes what
        // the cursor of a reader that is waited for has not passed. See `Mapping::bytes` for one that does not.
        WholeSlot::Record(unsafe { std::slice::from_raw_parts(payload.as_ptr().cast::<u8>(), self.size) })
    }

    #[inline(always)]
    fn crc(&self, sequence: u64) -> u32 {
        let at = layout::crc_offset(self.size);
        (self.slot(sequence)[at / 8].load(Ordering::Relaxed) >> (at % 8 * 8)) as u32
    }

    /// The record of this sequence.
    #[inline(always)]
    pub fn at(&self, sequence: u64) -> WholeSlot<'m> {
        match self.record(sequence) {
            WholeSlot::Record(record)
                if self.crc && self.crc(sequence) != frame_checksum(sequence, self.header_word, record) =>
            {
                WholeSlot::Other
            }
            found => found,
        }
    }
}

impl Frame {
    pub fn is_whole(&self) -> bool {
        self.flags() & FRAME_WHOLE == FRAME_WHOLE
    }

    pub fn is_first(&self) -> bool {
        self.flags() & FRAME_FIRST != 0
    }

    pub fn is_last(&self) -> bool {
        self.flags() & FRAME_LAST != 0
    }

    /// No message: what a producer claimed and did not commit.
    #[inline]
    pub fn is_void(&self) -> bool {
        self.flags() & FRAME_VOID != 0
    }

    fn flags(&self) -> u8 {
        (self.header_word >> 32) as u8
    }

    /// The payload in place. Only for readers the producer waits for.
    #[inline]
    pub fn payload<'m>(&self, mapping: &'m Mapping) -> &'m [u8] {
        mapping.bytes(self.offset + HEADER_SIZE_BYTES, self.payload_size)
    }

    /// Whether a payload is the one that was committed; true on rings without CRC.
    #[inline]
    pub fn holds(&self, mapping: &Mapping, payload: &[u8]) -> bool {
        !mapping.info.crc
            || mapping.crc(self.offset + layout::crc_offset(self.payload_size))
                == frame_checksum(self.sequence, self.header_word, payload)
    }
}

impl Mapping {
    /// Where the frame at `position` really starts: what is left of a lap may be too small for any.
    #[inline]
    pub fn frame_start(&self, position: u64) -> u64 {
        let left = self.mask + 1 - (position & self.mask);
        if left < FRAME_SIZE_MIN_BYTES as u64 { position + left } else { position }
    }

    /// The frame at `place`, if it is committed.
    #[inline]
    pub fn look(&self, place: Place) -> Look {
        match self.info.kind {
            RingKind::Slots { record_size_bytes, .. } => self.look_slot(place, record_size_bytes),
            RingKind::Frames { .. } => self.look_frame(place),
            RingKind::Runs { .. } => self.look_run(place),
        }
    }

    /// Where the slot at this position starts in the data area.
    #[inline]
    pub fn slot_offset(&self, position: u64) -> usize {
        (position & self.mask) as usize * self.info.stride
    }

    /// The claim that keeps the message at `place` from being read; `None` when nobody has claimed it.
    pub fn claim_at(&self, place: Place) -> Option<Claim> {
        if self.info.mode != Mode::Mpsc {
            return None;
        }
        match Found::at(self.sequence_word(self.slot_offset(place.position)), place.sequence) {
            Found::Claimed(claim) => Some(claim),
            _ => None,
        }
    }

    /// Whether nothing stands where a message must: it was committed, or claimed, and its word was turned into one of an
    /// earlier lap. Not for each look: it reads what the producers write.
    #[cold]
    pub fn is_missing(&self, place: Place) -> bool {
        match self.info.mode {
            // First what says so, then the word: what was passed is there by now.
            Mode::Spsc => {
                self.hot().published.0.load().0 >= place.sequence && matches!(self.look(place), Look::Nothing)
            }
            Mode::Mpsc => claims::is_missing(self, &self.hot().tail.0, place.into()),
        }
    }

    /// What a slot's sequence word says of the message awaited there: the header word when it is committed.
    #[inline]
    fn look_word(&self, place: Place, offset: usize) -> Result<u64, Look> {
        // Another message's: overwritten, or damaged; the caller knows the floor.
        Err(match Found::at(self.sequence_word(offset), place.sequence) {
            Found::Committed => return Ok(self.header_word(offset).load(Ordering::Relaxed)),
            Found::Free(_) => Look::Nothing,
            Found::Claimed(claim) if u32::from(claim.producer()) < self.info.producers_max => match self.info.mode {
                Mode::Mpsc => Look::Nothing,
                Mode::Spsc => Look::Bad("sequence word"),
            },
            _ => Look::Bad("sequence word"),
        })
    }

    /// An empty message of a claim that was never committed.
    fn look_void(&self, place: Place, offset: usize, header_word: u64) -> Look {
        let run = u64::from(header_word as u32);
        if self.info.mode != Mode::Mpsc || header_word >> 32 != u64::from(FRAME_VOID | FRAME_WHOLE) {
            return Look::Bad("length or flags");
        }
        if run == 0 || run > self.run_max() {
            return Look::Bad("length");
        }
        Look::Frame(Frame { sequence: place.sequence, offset, header_word, payload_size: 0, end: place.position + run })
    }

    #[inline]
    fn look_slot(&self, place: Place, record_size_bytes: u32) -> Look {
        let offset = self.slot_offset(place.position);
        let header_word = match self.look_word(place, offset) {
            Ok(header_word) => header_word,
            Err(other) => return other,
        };
        if header_word != layout::header_word(record_size_bytes, FRAME_WHOLE) {
            return self.look_void(place, offset, header_word);
        }
        let (sequence, payload_size) = (place.sequence, record_size_bytes as usize);
        Look::Frame(Frame { sequence, offset, header_word, payload_size, end: place.position + 1 })
    }

    /// The slots as readers that are waited for see them; `None` of a ring of another kind.
    #[inline]
    pub fn slots(&self) -> Option<SlotArea<'_>> {
        let RingKind::Slots { record_size_bytes, .. } = self.info.kind else { return None };
        Some(SlotArea {
            words: self.words(0, self.data_size()),
            mask: self.mask,
            stride: self.info.stride / 8,
            size: record_size_bytes as usize,
            header_word: layout::header_word(record_size_bytes, FRAME_WHOLE),
            crc: self.info.crc,
        })
    }

    #[inline]
    fn look_run(&self, place: Place) -> Look {
        let offset = self.slot_offset(place.position);
        let header_word = match self.look_word(place, offset) {
            Ok(header_word) => header_word,
            Err(other) => return other,
        };
        let (payload_size, flags) = (header_word as u32 as usize, header_word >> 32);
        if flags & !u64::from(FRAME_WHOLE) != 0 {
            return self.look_void(place, offset, header_word);
        }
        let part_max = self.part_max();
        // Only the last part may be short.
        if payload_size > part_max || payload_size < part_max && flags & u64::from(FRAME_LAST) == 0 {
            return Look::Bad("length");
        }
        Look::Frame(Frame { sequence: place.sequence, offset, header_word, payload_size, end: place.position + 1 })
    }

    #[inline]
    fn look_frame(&self, place: Place) -> Look {
        let mut position = self.frame_start(place.position);
        loop {
            let offset = (position & self.mask) as usize;
            let found = self.sequence_word(offset).load(Ordering::Acquire);
            if found != place.sequence {
                return if found == 0 { Look::Nothing } else { Look::Bad("sequence word") };
            }
            let header_word = self.header_word(offset).load(Ordering::Relaxed);
            if header_word >> 32 > u64::from(FRAME_PAD) {
                return Look::Bad("flags");
            }
            let payload_size = header_word as u32 as usize;
            let left = self.data_size() - offset;
            if layout::frame_size_bytes(payload_size) > left {
                return Look::Bad("length");
            }
            let end = position + layout::frame_size_bytes(payload_size) as u64;
            let frame = Frame { sequence: found, offset, header_word, payload_size, end };
            if frame.flags() & FRAME_PAD == 0 {
                return Look::Frame(frame);
            }
            if offset == 0 || payload_size != 0 || !frame.holds(self, &[]) {
                return Look::Bad("padding");
            }
            position += left as u64;
        }
    }

    /// The last frame of the message that `first` begins.
    pub fn last_frame(&self, first: Frame) -> Look {
        let (mut frame, mut size) = (first, first.payload_size);
        if !first.is_first() {
            return Look::Bad("first part missing");
        }
        while !frame.is_last() {
            match self.look(Place { sequence: first.sequence, position: frame.end }) {
                Look::Frame(next) if !next.is_first() => frame = next,
                Look::Bad(reason) => return Look::Bad(reason),
                // Parts become visible together.
                Look::Frame(_) | Look::Nothing => return Look::Bad("part missing"),
            }
            size += frame.payload_size;
            // Empty parts add nothing to the size: without the second bound they could lead round and round.
            if size > self.message_max() || frame.end - first.end > self.mask {
                return Look::Bad("length of parts");
            }
        }
        Look::Frame(frame)
    }

    /// Copies the message that `first` begins, checks it and gives the position after it. A writer may be overwriting it:
    /// the copy is the message only if the floor has not passed it afterwards.
    pub fn copy_message(&self, first: Frame, copy: &mut Vec<u8>) -> Result<u64, &'static str> {
        copy.clear();
        let mut frame = first;
        if !frame.is_first() {
            return Err("first part missing");
        }
        loop {
            let start = copy.len();
            if start + frame.payload_size > self.message_max() || frame.end - first.end > self.mask {
                return Err("length of parts");
            }
            copy.resize(start + frame.payload_size, 0);
            self.copy_racing(frame.offset + HEADER_SIZE_BYTES, &mut copy[start..]);
            if !frame.holds(self, &copy[start..]) {
                return Err("CRC");
            }
            if frame.is_last() {
                return Ok(frame.end);
            }
            frame = match self.look(Place { sequence: first.sequence, position: frame.end }) {
                Look::Frame(next) if !next.is_first() => next,
                Look::Bad(reason) => return Err(reason),
                Look::Frame(_) | Look::Nothing => return Err("part missing"),
            };
        }
    }

    /// Bytes of the longest message.
    pub fn message_max(&self) -> usize {
        match self.info.kind {
            RingKind::Slots { record_size_bytes, .. } => record_size_bytes as usize,
            RingKind::Frames { size_bytes } => (size_bytes / 2) as usize,
            RingKind::Runs { .. } => self.run_max() as usize * self.part_max(),
        }
    }

    /// Slots of the longest message.
    pub fn run_max(&self) -> u64 {
        match self.info.kind {
            RingKind::Runs { count, .. } => (count / 2).min(RUN_MAX),
            _ => 1,
        }
    }

    /// Bytes of the longest payload in one frame.
    pub fn part_max(&self) -> usize {
        match self.info.kind {
            RingKind::Slots { record_size_bytes, .. } => record_size_bytes as usize,
            RingKind::Frames { size_bytes } => size_bytes as usize / 8 - FRAME_SIZE_MIN_BYTES,
            RingKind::Runs { slot_size_bytes, .. } => slot_size_bytes as usize - HEADER_SIZE_BYTES - CRC_SIZE_BYTES,
        }
    }

    /// The oldest message that can be read.
    pub fn oldest(&self) -> Place {
        let (sequence, position) = self.hot().floor.0.load();
        self.bounded(sequence, position)
    }

    /// The place after the newest committed message, also when its producer died before it could say so.
    pub fn newest(&self) -> Place {
        let mut place;
        let mut attempts = 0;
        loop {
            let (published, position) = self.hot().published.0.load();
            let start = self.furthest_read(self.bounded(published.wrapping_add(1), position));
            place = start;
            while let Look::Frame(first) = self.look(place) {
                let Look::Frame(last) = self.last_frame(first) else { break };
                place = Place { sequence: place.sequence + 1, position: last.end };
            }
            // A producer a whole lap ahead of this walk would have made it read the wrong frames. The bound is for
            // words that were overwritten by someone else: no number of attempts makes them agree.
            attempts += 1;
            if self.oldest().sequence <= start.sequence || attempts == 100 {
                return place;
            }
        }
    }

    /// With many producers nobody says after each commit how far all is committed. But what a consumer has read is, and
    /// consumers are mostly near the end.
    fn furthest_read(&self, from: Place) -> Place {
        if self.info.mode != Mode::Mpsc {
            return from;
        }
        let oldest = self.oldest();
        self.consumers()
            .iter()
            .filter(|lines| lines.identity.0.state.load(Ordering::Acquire) != layout::CONSUMER_FREE)
            .map(|lines| lines.cursor.0.position.load(Ordering::Acquire))
            .filter(|position| {
                let lap = oldest.position..=oldest.position + self.mask;
                *position > from.position && lap.contains(position)
            })
            .filter_map(|position| {
                if let RingKind::Slots { .. } = self.info.kind {
                    // It has read the slot before, if what its line says is true.
                    let before = Place { sequence: position - 1, position: position - 1 };
                    let read = matches!(self.look(before), Look::Frame(_));
                    return read.then_some(Place { sequence: position, position });
                }
                let sequence = self.sequence_word(self.slot_offset(position)).load(Ordering::Acquire);
                let place = Place { sequence, position };
                // Of this lap, and the first slot of its message.
                let near = sequence > oldest.sequence && sequence - oldest.sequence <= position - oldest.position;
                matches!(self.look(place), Look::Frame(frame) if near && frame.is_first()).then_some(place)
            })
            .max_by_key(|place| place.position)
            .unwrap_or(from)
    }

    /// A place made of words from shared memory: whatever they say, computing with it cannot overflow and looking
    /// there cannot leave the data.
    pub fn bounded(&self, sequence: u64, position: u64) -> Place {
        let sequence = (sequence & (u64::MAX >> 2)).max(1);
        match self.info.kind {
            RingKind::Slots { .. } => Place { sequence, position: sequence },
            RingKind::Frames { .. } => Place { sequence, position: position & (u64::MAX >> 2) & !7 },
            RingKind::Runs { .. } => Place { sequence, position: (position & (u64::MAX >> 2)).max(1) },
        }
    }

    /// The place at a position a consumer left, or `None` when no message starts there.
    pub fn place_at(&self, position: u64, newest: Place) -> Option<Place> {
        if position == newest.position {
            return Some(newest);
        }
        // Of another lap: the same bytes hold another message there.
        if position < self.oldest().position || position > newest.position {
            return None;
        }
        let sequence = match self.info.kind {
            RingKind::Slots { .. } => position,
            RingKind::Frames { .. } => {
                if !position.is_multiple_of(8) {
                    return None;
                }
                self.sequence_word((self.frame_start(position) & self.mask) as usize).load(Ordering::Acquire)
            }
            RingKind::Runs { .. } => self.sequence_word(self.slot_offset(position)).load(Ordering::Acquire),
        };
        let place = Place { sequence, position };
        match self.look(place) {
            Look::Frame(frame) if sequence < newest.sequence && frame.is_first() => Some(place),
            _ => None,
        }
    }
}
