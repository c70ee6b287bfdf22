//! A run of slots as one strided view: what becomes a numpy array.
//!
//! All CRCs of the run are checked before it is handed out. A gating consumer's view lies in the ring and ends at the
//! wrap; a lossy consumer's is a copy that was whole when it was checked.

use std::sync::Arc;

use crate::consumer::{Consumer, Gap, Read};
use crate::error::RingError;
use crate::frame::{Look, Place};
use crate::layout::{FRAME_WHOLE, HEADER_SIZE_BYTES, crc_offset, header_word};
use crate::mapping::Mapping;
use crate::options::{Mode, RingKind};

/// What [`Consumer::slots`] found.
#[derive(Debug)]
pub enum SlotBatch {
    /// At least one slot.
    Slots(Slots),
    /// Messages were lost before the next one.
    Gap(Gap),
    /// Nothing new is visible.
    Empty,
}

#[derive(Debug)]
enum Memory {
    /// Offset in the data area.
    Ring(Arc<Mapping>, usize),
    Copy(Vec<u8>),
}

/// Consecutive slots. Keeps the mapping alive. A view into the ring stays true until its consumer commits to
/// [`Slots::end`] or beyond: commit only when no reader of the view is left.
#[derive(Debug)]
pub struct Slots {
    memory: Memory,
    first_sequence: u64,
    count: usize,
    stride: usize,
    record_size: usize,
    end: Place,
}

impl Slots {
    /// Sequence of the first.
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// How many; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Bytes from slot to slot.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Bytes from the start of a slot to its record. The slot starts with its sequence, a little-endian u64.
    pub fn record_offset(&self) -> usize {
        HEADER_SIZE_BYTES
    }

    /// All slots with their headers: `len() * stride()` bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Ring(mapping, offset) => mapping.bytes(*offset, self.count * self.stride),
            Memory::Copy(bytes) => bytes,
        }
    }

    /// The records in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes()
            .chunks_exact(self.stride)
            .map(|slot| &slot[HEADER_SIZE_BYTES..HEADER_SIZE_BYTES + self.record_size])
    }

    /// A copy of records that are not in the ring any more, laid out as if they were.
    pub(crate) fn copied(mapping: &Mapping, first_sequence: u64, records: &[u8]) -> Result<Option<Self>, RingError> {
        let RingKind::Slots { record_size_bytes, .. } = mapping.info.kind else {
            return Err(RingError::Kind { operation: "a batch of slots", needed: "slots" });
        };
        let (record_size, stride) = (record_size_bytes as usize, mapping.info.stride);
        if records.is_empty() || !records.len().is_multiple_of(record_size) {
            return Ok(None);
        }
        let count = records.len() / record_size;
        let mut copy = vec![0; count * stride];
        let head = header_word(record_size_bytes, FRAME_WHOLE);
        for (slot, (record, sequence)) in
            copy.chunks_exact_mut(stride).zip(records.chunks_exact(record_size).zip(first_sequence..))
        {
            slot[..8].copy_from_slice(&sequence.to_le_bytes());
            slot[8..HEADER_SIZE_BYTES].copy_from_slice(&head.to_le_bytes());
            slot[HEADER_SIZE_BYTES..HEADER_SIZE_BYTES + record_size].copy_from_slice(record);
        }
        let sequence = first_sequence + count as u64;
        let end = Place { sequence, position: sequence };
        Ok(Some(Self { memory: Memory::Copy(copy), first_sequence, count, stride, record_size, end }))
    }

    /// The place after the last of them, for [`Consumer::commit_to`].
    pub fn end(&self) -> Place {
        self.end
    }
}

impl SlotBatch {
    pub(crate) fn read(consumer: &mut Consumer, limit: usize) -> Result<Self, RingError> {
        let mapping = consumer.ring.mapping.clone();
        let RingKind::Slots { record_size_bytes, count: slots } = mapping.info.kind else {
            return Err(RingError::Kind { operation: "a batch of slots", needed: "slots" });
        };
        if let Some(gap) = consumer.take_gap()? {
            return Ok(Self::Gap(gap));
        }
        if let Some(found) = Self::pass_voids(consumer, limit)? {
            return Ok(found);
        }
        let first = consumer.next;
        let to_wrap = slots - (first.sequence & mapping.mask);
        let bound = (limit as u64).min(to_wrap).min(consumer.visible_count());
        let stride = mapping.info.stride;
        let offset = (first.sequence & mapping.mask) as usize * stride;
        let record_size = record_size_bytes as usize;

        let mut count = 0;
        let mut problem = None;
        while count < bound {
            let sequence = first.sequence + count;
            match mapping.look(Place { sequence, position: sequence }) {
                Look::Frame(frame) if frame.is_void() => {}
                // A copy is checked below: what is checked here may be overwritten before it is copied.
                Look::Frame(frame) if !consumer.gating || frame.holds(&mapping, frame.payload(&mapping)) => count += 1,
                Look::Frame(_) => problem = Some("CRC"),
                Look::Bad(reason) => problem = Some(reason),
                Look::Nothing => {}
            }
            if first.sequence + count == sequence {
                break;
            }
        }
        let mut memory = Memory::Ring(mapping.clone(), offset);
        if !consumer.gating {
            let mut copy = vec![0; count as usize * stride];
            mapping.copy_racing(offset, &mut copy);
            if consumer.overtaken() {
                return Ok(Self::lost(consumer));
            }
            if mapping.info.crc {
                let whole = copy.chunks_exact(stride).take_while(|slot| holds(slot, record_size)).count();
                if whole < count as usize {
                    problem = Some("CRC");
                    count = whole as u64;
                    copy.truncate(whole * stride);
                }
            }
            memory = Memory::Copy(copy);
        }
        if count == 0 {
            return match problem {
                None if consumer.is_missing() => Self::failed(consumer, "sequence word"),
                None => Ok(Self::Empty),
                Some(reason) => Self::failed(consumer, reason),
            };
        }
        let sequence = first.sequence + count;
        consumer.next = Place { sequence, position: sequence };
        consumer.measure(first.sequence);
        let slots = Slots {
            memory,
            first_sequence: first.sequence,
            count: count as usize,
            stride,
            record_size,
            end: consumer.next,
        };
        Ok(Self::Slots(slots))
    }

    /// Goes to the next message that was committed; what was found if there is none to see.
    fn pass_voids(consumer: &mut Consumer, limit: usize) -> Result<Option<Self>, RingError> {
        if limit == 0 {
            return Ok(Some(Self::Empty));
        }
        let mapping = consumer.ring.mapping.clone();
        if mapping.info.mode == Mode::Spsc {
            return Ok((!consumer.is_visible()).then_some(Self::Empty));
        }
        loop {
            if !consumer.is_visible() {
                return Ok(Some(Self::Empty));
            }
            match mapping.look(consumer.next) {
                Look::Frame(frame) if frame.is_void() => {
                    if !frame.holds(&mapping, &[]) {
                        return Self::failed(consumer, "CRC").map(Some);
                    }
                    if !consumer.gating && consumer.overtaken() {
                        return Ok(Some(Self::lost(consumer)));
                    }
                    consumer.pass(frame);
                }
                Look::Nothing => {
                    if !consumer.gating && consumer.overtaken() {
                        return Ok(Some(Self::lost(consumer)));
                    }
                    if !consumer.mend()? {
                        if consumer.is_missing() {
                            return Self::failed(consumer, "sequence word").map(Some);
                        }
                        return Ok(Some(Self::Empty));
                    }
                }
                Look::Frame(_) | Look::Bad(_) => return Ok(None),
            }
        }
    }

    fn failed(consumer: &mut Consumer, reason: &'static str) -> Result<Self, RingError> {
        Ok(match consumer.fail(0, reason)? {
            Read::Gap(gap) => Self::Gap(gap),
            Read::Messages(_) => Self::Empty,
        })
    }

    fn lost(consumer: &mut Consumer) -> Self {
        match consumer.lose(0) {
            Read::Gap(gap) => Self::Gap(gap),
            Read::Messages(_) => Self::Empty,
        }
    }
}

/// Whether a copied slot is what was committed.
fn holds(slot: &[u8], record_size: usize) -> bool {
    let word = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
    let at = crc_offset(record_size);
    let found = u32::from_le_bytes(slot[at..at + 4].try_into().expect("four bytes"));
    found == crate::crc::frame_checksum(word(0), word(8), &slot[HEADER_SIZE_BYTES..HEADER_SIZE_BYTES + record_size])
}
