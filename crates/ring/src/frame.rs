//! Finding the next message in the data area, for readers and for a producer that comes back.
//!
//! Nothing read from shared memory is trusted: a length, flag or sequence that does not fit is an answer
//! ([`Look::Bad`]), never an access out of bounds.

use std::sync::atomic::Ordering;

use crate::crc::frame_checksum;
use crate::layout::{self, FRAME_FIRST, FRAME_LAST, FRAME_PAD, FRAME_SIZE_MIN_BYTES, FRAME_WHOLE, HEADER_SIZE_BYTES};
use crate::mapping::Mapping;
use crate::options::RingKind;

/// A place between messages: the sequence of the next one and where it starts. Slots count positions in slots (then
/// both numbers are the same), frames in bytes; neither ever goes back.
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
            || mapping.crc_word(self.offset + layout::crc_offset(self.payload_size)).load(Ordering::Relaxed)
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
        }
    }

    #[inline]
    fn look_slot(&self, place: Place, record_size_bytes: u32) -> Look {
        let offset = (place.sequence & self.mask) as usize * self.info.stride;
        let found = self.sequence_word(offset).load(Ordering::Acquire);
        if found != place.sequence {
            // An earlier lap, or never used. Above: overwritten, or damaged; the caller knows the floor.
            return if found < place.sequence { Look::Nothing } else { Look::Bad("sequence word") };
        }
        let header_word = self.header_word(offset).load(Ordering::Relaxed);
        if header_word != layout::header_word(record_size_bytes, FRAME_WHOLE) {
            return Look::Bad("length or flags");
        }
        let payload_size = record_size_bytes as usize;
        Look::Frame(Frame { sequence: found, offset, header_word, payload_size, end: place.sequence + 1 })
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
            if size > self.message_max() {
                return Look::Bad("length of parts");
            }
        }
        Look::Frame(frame)
    }

    /// Bytes of the longest message.
    pub fn message_max(&self) -> usize {
        match self.info.kind {
            RingKind::Slots { record_size_bytes, .. } => record_size_bytes as usize,
            RingKind::Frames { size_bytes } => (size_bytes / 2) as usize,
        }
    }

    /// Bytes of the longest payload in one frame.
    pub fn part_max(&self) -> usize {
        match self.info.kind {
            RingKind::Slots { record_size_bytes, .. } => record_size_bytes as usize,
            RingKind::Frames { size_bytes } => size_bytes as usize / 8 - FRAME_SIZE_MIN_BYTES,
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
            let start = self.bounded(published.wrapping_add(1), position);
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

    /// A place made of words from shared memory: whatever they say, computing with it cannot overflow and looking
    /// there cannot leave the data.
    fn bounded(&self, sequence: u64, position: u64) -> Place {
        let sequence = (sequence & (u64::MAX >> 2)).max(1);
        match self.info.kind {
            RingKind::Slots { .. } => Place { sequence, position: sequence },
            RingKind::Frames { .. } => Place { sequence, position: position & (u64::MAX >> 2) & !7 },
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
        };
        let place = Place { sequence, position };
        match self.look(place) {
            Look::Frame(frame) if sequence < newest.sequence && frame.is_first() => Some(place),
            _ => None,
        }
    }
}
