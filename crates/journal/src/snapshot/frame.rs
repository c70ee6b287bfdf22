//! The bytes of a snapshot: header, content, footer. Pure functions over slices.
//!
//! The content begins at byte 4096, so that a mapping of the file gives it at the start of a page. One hash covers
//! content and header, and the footer that holds it has a checksum of its own: no byte of the file is unchecked, and
//! header, content and footer of different snapshots do not pass for one. Byte tables: `docs/formats/snapshot.md`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Rises with each change of the bytes.
pub const SNAPSHOT_FORMAT_VERSION: u32 = 1;
/// Bytes before the content.
pub const SNAPSHOT_HEADER_SIZE_BYTES: usize = 4096;
/// Bytes behind the content and its padding.
pub const SNAPSHOT_FOOTER_SIZE_BYTES: usize = size_of::<Footer>();

/// Longest kind or channel, in bytes.
pub(crate) const NAME_SIZE_BYTES_MAX: usize = 255;

const MAGIC: [u8; 8] = *b"TIDESNAP";
const FOOTER_MAGIC: [u8; 8] = *b"TIDESEND";
const HEADER_CRC_OFFSET: usize = SNAPSHOT_HEADER_SIZE_BYTES - 4;
const FOOTER_CRC_OFFSET: usize = SNAPSHOT_FOOTER_SIZE_BYTES - 4;
const ALIGN_BYTES: u64 = 8;

/// The point of a journal between two batches that a state has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Channel of the journal.
    pub channel: String,
    /// What tells the journal from another of the channel.
    pub journal_id: u64,
    /// Epoch of the message.
    pub epoch: u32,
    /// Last message applied.
    pub sequence: u64,
    /// The batch that ends with it.
    pub batch_number: u64,
    /// Chain value of that batch: stands for every batch up to it.
    pub chain: u32,
}

/// What the header of a snapshot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Kind of the state.
    pub kind: String,
    /// Version of the state's bytes.
    pub state_version: u32,
    /// Where in the journal the state stands.
    pub place: Place,
    /// When it was taken, ns since 1970 UTC.
    pub created_ns: i64,
    /// Bytes of the content.
    pub content_size_bytes: u64,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    version: u32,
    header_size_bytes: u32,
    content_size_bytes: u64,
    sequence: u64,
    batch_number: u64,
    journal_id: u64,
    created_ns: i64,
    chain: u32,
    epoch: u32,
    state_version: u32,
    kind_size_bytes: u8,
    channel_size_bytes: u8,
    kind: [u8; NAME_SIZE_BYTES_MAX],
    channel: [u8; NAME_SIZE_BYTES_MAX],
    reserved: [u8; 4],
}

/// What stands behind the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Footer {
    magic: [u8; 8],
    /// BLAKE3 of the content followed by the header.
    pub hash: [u8; 32],
    /// [`crate::State::state_hash`] of the state.
    pub state_hash: u64,
    reserved: u32,
    crc: u32,
}

/// Why bytes are no snapshot, where they stop being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// The first 4 KiB are no header.
    #[error("its header does not verify")]
    Header,
    /// A true header under another name.
    #[error("its header says sequence {found}")]
    Name {
        /// Sequence of the header.
        found: u64,
    },
    /// The file is shorter or longer than its header says.
    #[error("{found} bytes where its header says {expected}")]
    Size {
        /// Bytes by the header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The footer does not verify.
    #[error("its footer does not verify")]
    Footer,
    /// Header and footer are whole, the content is not what was hashed.
    #[error("its content is not what was written")]
    Content,
}

/// Why 4 KiB are no header of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Invalid,
    /// A true header of another version: magic, version and checksum stay where they are in all versions.
    Version(u32),
}

impl SnapshotHeader {
    /// Zeros behind the content up to the footer.
    pub(crate) fn padding_size_bytes(&self) -> u64 {
        self.content_size_bytes.next_multiple_of(ALIGN_BYTES) - self.content_size_bytes
    }

    /// Where the footer begins; `None` for a size that no file has.
    pub(crate) fn footer_offset(&self) -> Option<u64> {
        let padded = self.content_size_bytes.checked_next_multiple_of(ALIGN_BYTES)?;
        padded.checked_add(SNAPSHOT_HEADER_SIZE_BYTES as u64)
    }

    /// Bytes of the whole file; `None` for a size that no file has.
    pub(crate) fn file_size_bytes(&self) -> Option<u64> {
        self.footer_offset()?.checked_add(SNAPSHOT_FOOTER_SIZE_BYTES as u64)
    }

    /// The 4 KiB.
    ///
    /// # Panics
    /// When a name is longer than its field; the store and the journal refuse it earlier.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind_size_bytes, kind) = name_field(&self.kind);
        let (channel_size_bytes, channel) = name_field(&self.place.channel);
        let head = Head {
            magic: MAGIC,
            version: SNAPSHOT_FORMAT_VERSION,
            header_size_bytes: SNAPSHOT_HEADER_SIZE_BYTES as u32,
            content_size_bytes: self.content_size_bytes,
            sequence: self.place.sequence,
            batch_number: self.place.batch_number,
            journal_id: self.place.journal_id,
            created_ns: self.created_ns,
            chain: self.place.chain,
            epoch: self.place.epoch,
            state_version: self.state_version,
            kind_size_bytes,
            channel_size_bytes,
            kind,
            channel,
            reserved: [0; 4],
        };
        let mut bytes = vec![0; SNAPSHOT_HEADER_SIZE_BYTES];
        bytes[..size_of::<Head>()].copy_from_slice(head.as_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[..HEADER_CRC_OFFSET]);
        bytes[HEADER_CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let bytes = bytes.get(..SNAPSHOT_HEADER_SIZE_BYTES).ok_or(HeaderFault::Invalid)?;
        let (head, _) = Head::read_from_prefix(bytes).map_err(|_| HeaderFault::Invalid)?;
        let stored = u32::from_le_bytes(bytes[HEADER_CRC_OFFSET..].try_into().map_err(|_| HeaderFault::Invalid)?);
        if head.magic != MAGIC || crc_fast::crc32_iscsi(&bytes[..HEADER_CRC_OFFSET]) != stored {
            return Err(HeaderFault::Invalid);
        }
        if head.version != SNAPSHOT_FORMAT_VERSION {
            return Err(HeaderFault::Version(head.version));
        }
        let header = Self {
            kind: name_of(head.kind_size_bytes, &head.kind)?,
            state_version: head.state_version,
            place: Place {
                channel: name_of(head.channel_size_bytes, &head.channel)?,
                journal_id: head.journal_id,
                epoch: head.epoch,
                sequence: head.sequence,
                batch_number: head.batch_number,
                chain: head.chain,
            },
            created_ns: head.created_ns,
            content_size_bytes: head.content_size_bytes,
        };
        let possible = header.place.sequence > 0 && header.file_size_bytes().is_some();
        if possible { Ok(header) } else { Err(HeaderFault::Invalid) }
    }
}

impl Footer {
    pub fn new(hash: [u8; 32], state_hash: u64) -> Self {
        let mut footer = Self { magic: FOOTER_MAGIC, hash, state_hash, reserved: 0, crc: 0 };
        footer.crc = crc_fast::crc32_iscsi(&footer.as_bytes()[..FOOTER_CRC_OFFSET]);
        footer
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let footer = Self::read_from_bytes(bytes).ok()?;
        (footer == Self::new(footer.hash, footer.state_hash)).then_some(footer)
    }
}

/// Name of the file of the snapshot at `sequence`.
pub(crate) fn file_name(sequence: u64) -> String {
    format!("{sequence:020}{SUFFIX}")
}

/// Name the file has until it is whole.
pub(crate) fn unfinished_name(sequence: u64) -> String {
    format!("{sequence:020}{UNFINISHED_SUFFIX}")
}

/// Sequence of a file's name; `None` for a name that is no snapshot's.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let sequence = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (file_name(sequence) == name).then_some(sequence)
}

pub(crate) fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED_SUFFIX)
}

const SUFFIX: &str = ".snapshot";
const UNFINISHED_SUFFIX: &str = ".snapshot.new";

fn name_field(name: &str) -> (u8, [u8; NAME_SIZE_BYTES_MAX]) {
    let mut field = [0; NAME_SIZE_BYTES_MAX];
    field[..name.len()].copy_from_slice(name.as_bytes());
    (u8::try_from(name.len()).expect("names fit 255 bytes"), field)
}

fn name_of(size_bytes: u8, field: &[u8; NAME_SIZE_BYTES_MAX]) -> Result<String, HeaderFault> {
    let name = std::str::from_utf8(&field[..usize::from(size_bytes)]);
    Ok(name.map_err(|_| HeaderFault::Invalid)?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            kind: "orders".into(),
            state_version: 3,
            place: Place {
                channel: "orders".into(),
                journal_id: 77,
                epoch: 2,
                sequence: 11,
                batch_number: 5,
                chain: 99,
            },
            created_ns: 1_700_000_000_000_000_000,
            content_size_bytes: 13,
        }
    }

    /// The byte tables of `docs/formats/snapshot.md`.
    #[test]
    fn the_layouts_are_the_documented_ones() {
        assert_eq!(
            [
                offset_of!(Head, magic),
                offset_of!(Head, version),
                offset_of!(Head, header_size_bytes),
                offset_of!(Head, content_size_bytes),
                offset_of!(Head, sequence),
                offset_of!(Head, batch_number),
                offset_of!(Head, journal_id),
                offset_of!(Head, created_ns),
                offset_of!(Head, chain),
                offset_of!(Head, epoch),
                offset_of!(Head, state_version),
                offset_of!(Head, kind_size_bytes),
                offset_of!(Head, channel_size_bytes),
                offset_of!(Head, kind),
                offset_of!(Head, channel),
                offset_of!(Head, reserved),
                HEADER_CRC_OFFSET,
            ],
            [0, 8, 12, 16, 24, 32, 40, 48, 56, 60, 64, 68, 69, 70, 325, 580, 4092]
        );
        assert_eq!(
            [
                offset_of!(Footer, magic),
                offset_of!(Footer, hash),
                offset_of!(Footer, state_hash),
                offset_of!(Footer, reserved),
                offset_of!(Footer, crc),
                SNAPSHOT_FOOTER_SIZE_BYTES,
            ],
            [0, 8, 40, 48, 52, 56]
        );
    }

    #[test]
    fn header_and_footer_read_back_and_any_flipped_bit_is_seen() {
        let bytes = header().encode();
        assert_eq!(SnapshotHeader::decode(&bytes).unwrap(), header());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SnapshotHeader::decode(&damaged).unwrap_err(), HeaderFault::Invalid, "bit {bit}");
        }
        let footer = Footer::new([7; 32], 9);
        assert_eq!(Footer::decode(footer.as_bytes()), Some(footer));
        for bit in 0..SNAPSHOT_FOOTER_SIZE_BYTES * 8 {
            let mut damaged = footer.as_bytes().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Footer::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_another_version_is_told_from_a_damaged_one() {
        let mut bytes = header().encode();
        bytes[8] = 9;
        let crc = crc_fast::crc32_iscsi(&bytes[..HEADER_CRC_OFFSET]);
        bytes[HEADER_CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SnapshotHeader::decode(&bytes).unwrap_err(), HeaderFault::Version(9));
    }

    #[test]
    fn a_name_is_a_snapshots_only_as_it_is_written() {
        assert_eq!(sequence_of(&file_name(12)), Some(12));
        assert_eq!(sequence_of("12.snapshot"), None);
        assert_eq!(sequence_of(&unfinished_name(12)), None);
    }
}
