//! The bytes of a journal: segment header, batch header, records. Pure functions over slices.
//!
//! Two decisions shape them. Every batch stores the chain value of the batch before it, so that a batch can be
//! checked alone: recovery must find a valid batch *behind* an invalid one, because its `durable_upto` is what tells
//! damage from a torn tail. And every checksum is seeded by the segment's own header, whose salt is random, so that
//! a payload which happens to hold journal bytes never passes for a batch. Byte tables: `docs/formats/journal.md`.

use crc_fast::{CrcAlgorithm, Digest};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Rises with each change of the bytes. All versions from 1 on are read; this one is written.
pub const FORMAT_VERSION: u32 = 2;
/// Bytes before the first batch of a segment.
pub const SEGMENT_HEADER_SIZE_BYTES: usize = 4096;
/// Where a segment header says which journal it is of: salt, journal id and channel.
pub(crate) const IDENTITY: std::ops::Range<usize> =
    std::mem::offset_of!(SegmentHead, salt)..std::mem::offset_of!(SegmentHead, created_ns);
/// Bytes of a batch before its first record.
pub const BATCH_HEADER_SIZE_BYTES: usize = size_of::<BatchHeader>();
/// Bytes before the payload of a record.
pub const RECORD_HEADER_SIZE_BYTES: usize = 8;
/// Everything starts at a multiple of this.
pub(crate) const ALIGN_BYTES: usize = 8;
/// Longest channel name, in bytes.
pub(crate) const CHANNEL_SIZE_BYTES_MAX: usize = 255;

const MAGIC: [u8; 8] = *b"TIDEJRNL";
const HEADER_CRC_OFFSET: usize = SEGMENT_HEADER_SIZE_BYTES - 4;

/// A batch of messages; other types will come with replication and encryption.
pub(crate) const BATCH_RECORDS: u8 = 1;
/// A batch of configuration, since version 2: its records are JSON and take no sequence.
pub(crate) const BATCH_CONFIGURATION: u8 = 2;
/// The first version with a time in its headers and batches of configuration.
const VERSION_OF_CONFIGURATION: u32 = 2;

/// What the first 4 KiB of a segment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Version of its bytes.
    pub version: u32,
    /// Bytes of the whole file as allocated.
    pub size_bytes: u64,
    /// Rises by one with each segment.
    pub segment: u64,
    /// Sequence the segment's first message has or will have; one above the last of the segment before.
    pub first_sequence: u64,
    /// Epoch of its messages.
    pub epoch: u32,
    /// Data key the payloads are sealed with; 0 for none.
    pub key_id: u32,
    /// Random, the same in all segments of a journal: tells it from another of the same channel.
    pub journal_id: u64,
    /// Random; makes checksums and keys of this segment its own.
    pub salt: [u8; 32],
    /// Last good batch of the segment before; 0 when there is none.
    pub predecessor_batch: u64,
    /// Its chain value.
    pub predecessor_chain: u32,
    /// Channel whose messages these are.
    pub channel: String,
    /// When the segment was begun, ns since 1970 UTC by the writer's clock; 0 in version 1, which does not say.
    pub created_ns: i64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SegmentHead {
    magic: [u8; 8],
    version: u32,
    header_size_bytes: u32,
    size_bytes: u64,
    segment: u64,
    first_sequence: u64,
    predecessor_batch: u64,
    predecessor_chain: u32,
    epoch: u32,
    key_id: u32,
    reserved: u32,
    salt: [u8; 32],
    journal_id: u64,
    channel_size_bytes: u8,
    channel: [u8; CHANNEL_SIZE_BYTES_MAX],
    created_ns: i64,
}

/// Why 4 KiB are no header of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Short, foreign, or its checksum is wrong.
    Invalid,
    /// A true header of another version: magic, version and checksum stay where they are in all versions.
    Version(u32),
}

impl SegmentHeader {
    /// The 4 KiB.
    ///
    /// # Panics
    /// When the channel's name is longer than its field; the writer's options refuse it earlier.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut channel = [0; CHANNEL_SIZE_BYTES_MAX];
        channel[..self.channel.len()].copy_from_slice(self.channel.as_bytes());
        let head = SegmentHead {
            magic: MAGIC,
            version: self.version,
            header_size_bytes: SEGMENT_HEADER_SIZE_BYTES as u32,
            size_bytes: self.size_bytes,
            segment: self.segment,
            first_sequence: self.first_sequence,
            predecessor_batch: self.predecessor_batch,
            predecessor_chain: self.predecessor_chain,
            epoch: self.epoch,
            key_id: self.key_id,
            reserved: 0,
            salt: self.salt,
            journal_id: self.journal_id,
            channel_size_bytes: u8::try_from(self.channel.len()).expect("channel names fit 255 bytes"),
            channel,
            created_ns: self.created_ns,
        };
        let mut bytes = vec![0; SEGMENT_HEADER_SIZE_BYTES];
        head.write_to_prefix(&mut bytes).expect("the head fits the header");
        let crc = crc_fast::crc32_iscsi(&bytes[..HEADER_CRC_OFFSET]);
        bytes[HEADER_CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header in `bytes`, and its checksum: the chain value before the segment's first batch.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u32), HeaderFault> {
        let bytes = bytes.get(..SEGMENT_HEADER_SIZE_BYTES).ok_or(HeaderFault::Invalid)?;
        let (head, _) = SegmentHead::read_from_prefix(bytes).map_err(|_| HeaderFault::Invalid)?;
        let stored = u32::from_le_bytes(bytes[HEADER_CRC_OFFSET..].try_into().map_err(|_| HeaderFault::Invalid)?);
        if head.magic != MAGIC || crc_fast::crc32_iscsi(&bytes[..HEADER_CRC_OFFSET]) != stored {
            return Err(HeaderFault::Invalid);
        }
        if !(1..=FORMAT_VERSION).contains(&head.version) {
            return Err(HeaderFault::Version(head.version));
        }
        let channel = std::str::from_utf8(&head.channel[..usize::from(head.channel_size_bytes)]);
        let header = Self {
            version: head.version,
            size_bytes: head.size_bytes,
            segment: head.segment,
            first_sequence: head.first_sequence,
            epoch: head.epoch,
            key_id: head.key_id,
            journal_id: head.journal_id,
            salt: head.salt,
            predecessor_batch: head.predecessor_batch,
            predecessor_chain: head.predecessor_chain,
            channel: channel.map_err(|_| HeaderFault::Invalid)?.to_owned(),
            created_ns: head.created_ns,
        };
        Ok((header, stored))
    }
}

impl SegmentHeader {
    /// When the segment was begun, where its version says.
    pub(crate) fn created_ns(&self) -> Option<i64> {
        (self.version >= VERSION_OF_CONFIGURATION).then_some(self.created_ns)
    }
}

/// Head of a batch, little endian. `length` 0 is space not written yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct BatchHeader {
    /// CRC-32C of everything after it up to `length`, seeded by the segment header's checksum.
    pub chain: u32,
    /// Bytes from `chain` to the end of the last record's padding.
    pub length: u32,
    /// `chain` of the batch before; of the first in a segment: the header's checksum.
    pub previous_chain: u32,
    pub epoch: u32,
    pub batch_number: u64,
    pub first_sequence: u64,
    /// Highest sequence the writer knew synced when it wrote this.
    pub durable_upto: u64,
    pub count: u32,
    pub kind: u8,
    pub flags: u8,
    pub reserved: u16,
}

impl BatchHeader {
    /// Messages in it: a batch of configuration has none.
    pub fn message_count(&self) -> u64 {
        if self.kind == BATCH_RECORDS { u64::from(self.count) } else { 0 }
    }
}

const CHAIN_SIZE_BYTES: usize = 4;

/// Where a chain of batches has come to: what the next batch must say to belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainState {
    /// Checksum of the segment's header.
    pub seed: u32,
    pub chain: u32,
    pub batch_number: u64,
    pub next_sequence: u64,
    pub epoch: u32,
    /// Version of the segment: says which kinds of batches there are.
    pub version: u32,
}

/// Why bytes are not the next batch of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchFault {
    /// Nothing written, or not this chain's next batch.
    Invalid,
    /// Its checksum is right but its records do not fill it.
    Records,
}

impl ChainState {
    /// Before the first batch of the segment.
    pub fn at_start(header: &SegmentHeader, header_crc: u32) -> Self {
        Self {
            seed: header_crc,
            chain: header_crc,
            batch_number: header.predecessor_batch,
            next_sequence: header.first_sequence,
            epoch: header.epoch,
            version: header.version,
        }
    }

    /// After `header`.
    pub fn after(self, header: &BatchHeader) -> Self {
        Self {
            chain: header.chain,
            batch_number: header.batch_number,
            next_sequence: header.first_sequence + header.message_count(),
            ..self
        }
    }

    /// The head of the next batch if `bytes` begin with it whole; its length is within `bytes`.
    pub fn check(self, bytes: &[u8]) -> Result<BatchHeader, BatchFault> {
        let header = self.check_head(bytes, bytes.len()).ok_or(BatchFault::Invalid)?;
        let batch = &bytes[..header.length as usize];
        if checksum(self.seed, batch) != header.chain {
            return Err(BatchFault::Invalid);
        }
        let mut records = Records::new(header.first_sequence, &batch[BATCH_HEADER_SIZE_BYTES..]);
        let counted = records.by_ref().count();
        if counted != header.count as usize || !records.rest.is_empty() {
            return Err(BatchFault::Records);
        }
        Ok(header)
    }

    /// The head alone, if it claims to be the next batch and to end within `room` bytes. Not to be trusted yet.
    pub fn check_head(self, bytes: &[u8], room: usize) -> Option<BatchHeader> {
        let header = self.plausible_head(bytes, room)?;
        let follows = header.previous_chain == self.chain
            && header.batch_number == self.batch_number.checked_add(1)?
            && header.first_sequence == self.next_sequence
            && header.durable_upto < self.next_sequence;
        follows.then_some(header)
    }

    /// The head of a batch that verifies alone, somewhere behind this point of the chain.
    pub fn check_later(self, bytes: &[u8]) -> Result<BatchHeader, LaterFault> {
        let header = self
            .plausible_head(bytes, bytes.len())
            .filter(|header| header.batch_number > self.batch_number && header.first_sequence >= self.next_sequence)
            .ok_or(LaterFault::Implausible)?;
        let length = header.length as usize;
        if checksum(self.seed, &bytes[..length]) == header.chain {
            Ok(header)
        } else {
            Err(LaterFault::Checksum { hashed_bytes: length })
        }
    }

    fn plausible_head(self, bytes: &[u8], room: usize) -> Option<BatchHeader> {
        let (header, _) = BatchHeader::read_from_prefix(bytes).ok()?;
        let length = header.length as usize;
        let kinds = if self.version >= VERSION_OF_CONFIGURATION { BATCH_CONFIGURATION } else { BATCH_RECORDS };
        let holds = length >= BATCH_HEADER_SIZE_BYTES + RECORD_HEADER_SIZE_BYTES
            && length.is_multiple_of(ALIGN_BYTES)
            && length <= room
            && (BATCH_RECORDS..=kinds).contains(&header.kind)
            && header.flags == 0
            && header.reserved == 0
            && header.epoch == self.epoch
            && header.count > 0
            && header.durable_upto < header.first_sequence
            && header.first_sequence.checked_add(u64::from(header.count)).is_some();
        holds.then_some(header)
    }
}

/// Why bytes behind a bad batch are no batch either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaterFault {
    /// Not even a head.
    Implausible,
    /// A head whose checksum is wrong, found out by hashing so many bytes.
    Checksum { hashed_bytes: usize },
}

fn checksum(seed: u32, batch: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(seed));
    digest.update(&batch[CHAIN_SIZE_BYTES..]);
    digest.finalize() as u32
}

/// A batch being filled in memory.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
    kind: u8,
}

impl BatchBuilder {
    pub fn new() -> Self {
        Self { bytes: vec![0; BATCH_HEADER_SIZE_BYTES], count: 0, kind: BATCH_RECORDS }
    }

    /// A batch that holds the text of a configuration.
    pub fn configuration(text: &str) -> Self {
        let mut batch = Self { kind: BATCH_CONFIGURATION, ..Self::new() };
        batch.push(text.as_bytes());
        batch
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes a payload adds.
    pub const fn record_size_bytes(payload_size_bytes: usize) -> usize {
        RECORD_HEADER_SIZE_BYTES + payload_size_bytes.next_multiple_of(ALIGN_BYTES)
    }

    pub fn push(&mut self, payload: &[u8]) {
        let size = u32::try_from(payload.len()).expect("the writer bounds a payload by its segment");
        self.bytes.extend_from_slice(&size.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN_BYTES), 0);
        self.count += 1;
    }

    /// The finished frame; may be asked again with another `durable_upto` until [`Self::clear`].
    pub fn seal(&mut self, state: &ChainState, durable_upto: u64) -> (BatchHeader, &[u8]) {
        let mut header = BatchHeader {
            chain: 0,
            length: u32::try_from(self.bytes.len()).expect("the writer bounds a batch by its segment"),
            previous_chain: state.chain,
            epoch: state.epoch,
            batch_number: state.batch_number + 1,
            first_sequence: state.next_sequence,
            durable_upto,
            count: self.count,
            kind: self.kind,
            flags: 0,
            reserved: 0,
        };
        self.bytes[..BATCH_HEADER_SIZE_BYTES].copy_from_slice(header.as_bytes());
        header.chain = checksum(state.seed, &self.bytes);
        self.bytes[..CHAIN_SIZE_BYTES].copy_from_slice(&header.chain.to_le_bytes());
        (header, &self.bytes)
    }

    pub fn clear(&mut self) {
        self.bytes.truncate(BATCH_HEADER_SIZE_BYTES);
        self.count = 0;
    }
}

/// The messages of a checked batch: (sequence, payload).
#[derive(Debug, Clone)]
pub struct Records<'a> {
    next_sequence: u64,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) fn new(first_sequence: u64, payload: &'a [u8]) -> Self {
        Self { next_sequence: first_sequence, rest: payload }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (u64, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_first_chunk::<RECORD_HEADER_SIZE_BYTES>()?;
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let padded = size.next_multiple_of(ALIGN_BYTES);
        if head[4..] != [0; 4] || padded > rest.len() {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.rest = &rest[padded..];
        Some((sequence, &rest[..size]))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            version: FORMAT_VERSION,
            size_bytes: 65_536,
            segment: 3,
            first_sequence: 11,
            epoch: 2,
            key_id: 0,
            journal_id: 77,
            salt: [7; 32],
            predecessor_batch: 5,
            predecessor_chain: 99,
            channel: "feed.binance".into(),
            created_ns: 1_700_000_000_000_000_000,
        }
    }

    /// The byte tables of `docs/formats/journal.md`.
    #[test]
    fn the_layouts_are_the_documented_ones() {
        assert_eq!(
            [
                offset_of!(SegmentHead, magic),
                offset_of!(SegmentHead, version),
                offset_of!(SegmentHead, header_size_bytes),
                offset_of!(SegmentHead, size_bytes),
                offset_of!(SegmentHead, segment),
                offset_of!(SegmentHead, first_sequence),
                offset_of!(SegmentHead, predecessor_batch),
                offset_of!(SegmentHead, predecessor_chain),
                offset_of!(SegmentHead, epoch),
                offset_of!(SegmentHead, key_id),
                offset_of!(SegmentHead, reserved),
                offset_of!(SegmentHead, salt),
                offset_of!(SegmentHead, journal_id),
                offset_of!(SegmentHead, channel_size_bytes),
                offset_of!(SegmentHead, channel),
                offset_of!(SegmentHead, created_ns),
                HEADER_CRC_OFFSET,
            ],
            [0, 8, 12, 16, 24, 32, 40, 48, 52, 56, 60, 64, 96, 104, 105, 360, 4092]
        );
        assert_eq!(
            [
                offset_of!(BatchHeader, chain),
                offset_of!(BatchHeader, length),
                offset_of!(BatchHeader, previous_chain),
                offset_of!(BatchHeader, epoch),
                offset_of!(BatchHeader, batch_number),
                offset_of!(BatchHeader, first_sequence),
                offset_of!(BatchHeader, durable_upto),
                offset_of!(BatchHeader, count),
                offset_of!(BatchHeader, kind),
                offset_of!(BatchHeader, flags),
                offset_of!(BatchHeader, reserved),
                BATCH_HEADER_SIZE_BYTES,
            ],
            [0, 4, 8, 12, 16, 24, 32, 40, 44, 45, 46, 48]
        );
    }

    #[test]
    fn a_segment_header_reads_back_and_any_flipped_bit_is_seen() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes).unwrap().0, header());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged).unwrap_err(), HeaderFault::Invalid, "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..4095]).unwrap_err(), HeaderFault::Invalid);
    }

    #[test]
    fn a_header_of_another_version_is_told_from_a_damaged_one() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        let crc = crc_fast::crc32_iscsi(&bytes[..HEADER_CRC_OFFSET]);
        bytes[HEADER_CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes).unwrap_err(), HeaderFault::Version(9));
    }

    #[test]
    fn a_batch_belongs_to_one_place_of_one_chain() {
        let state = ChainState { seed: 1, chain: 2, batch_number: 5, next_sequence: 11, epoch: 2, version: 2 };
        let mut builder = BatchBuilder::new();
        builder.push(b"abc");
        builder.push(b"");
        builder.push(&[9; 16]);
        let bytes = builder.seal(&state, 10).1.to_vec();
        let found = state.check(&bytes).unwrap();
        let records = Records::new(found.first_sequence, &bytes[BATCH_HEADER_SIZE_BYTES..]);
        assert_eq!(records.collect::<Vec<_>>(), [(11, &b"abc"[..]), (12, b""), (13, &[9; 16])]);
        for elsewhere in [
            ChainState { seed: 3, ..state },
            ChainState { chain: 3, ..state },
            ChainState { batch_number: 6, ..state },
            ChainState { next_sequence: 12, ..state },
            ChainState { epoch: 1, ..state },
        ] {
            assert_eq!(elsewhere.check(&bytes), Err(BatchFault::Invalid), "{elsewhere:?}");
        }
        for size in 0..bytes.len() {
            assert_eq!(state.check(&bytes[..size]), Err(BatchFault::Invalid), "cut at {size}");
        }
    }

    #[test]
    fn a_batch_of_configuration_takes_no_sequence_and_is_none_in_version_1() {
        let state = ChainState { seed: 1, chain: 2, batch_number: 5, next_sequence: 11, epoch: 2, version: 2 };
        let bytes = BatchBuilder::configuration("{}").seal(&state, 10).1.to_vec();
        let found = state.check(&bytes).unwrap();
        let after = state.after(&found);
        assert_eq!((found.count, found.message_count(), after.next_sequence, after.batch_number), (1, 0, 11, 6));
        assert_eq!(ChainState { version: 1, ..state }.check(&bytes), Err(BatchFault::Invalid));
    }

    #[test]
    fn a_length_beyond_the_file_is_refused_before_anything_is_read() {
        let state = ChainState { seed: 1, chain: 2, batch_number: 5, next_sequence: 11, epoch: 2, version: 2 };
        let mut builder = BatchBuilder::new();
        builder.push(b"abc");
        let mut bytes = builder.seal(&state, 0).1.to_vec();
        bytes[4..8].copy_from_slice(&0xFFFF_FFF8_u32.to_le_bytes());
        assert_eq!(state.check(&bytes), Err(BatchFault::Invalid));
    }
}
