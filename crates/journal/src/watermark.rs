//! The small file in which a writer tells others how far the journal is durable.
//!
//! It is written after each sync and never synced itself: after a kill it is exact, after a power loss it may be
//! older than the truth, but it is never ahead of it. So live readers may follow it, and recovery may take it as
//! proof. A torn or foreign content fails its checksum and counts as absent.

use std::path::PathBuf;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{JournalError, io_error};
use crate::storage::{self, Access, Storage, StorageFile, is_absent, read_full_at, write_all_at};

const FILE_NAME: &str = "durable";
const MAGIC: [u8; 8] = *b"TIDEDURA";
const CRC_OFFSET: usize = 44;
/// Of the file.
pub(crate) const SIZE_BYTES: usize = size_of::<Layout>();

/// How far a journal is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// Highest synced sequence.
    pub sequence: u64,
    /// Its batch.
    pub batch_number: u64,
    /// Segment the writer was in.
    pub segment: u64,
    pub epoch: u32,
    /// The writer ended by closing: nothing was pending.
    pub closed: bool,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    sequence: u64,
    batch_number: u64,
    segment: u64,
    epoch: u32,
    closed: u32,
    reserved: u32,
    crc: u32,
}

impl Watermark {
    fn encode(self) -> [u8; size_of::<Layout>()] {
        let mut layout = Layout {
            magic: MAGIC,
            sequence: self.sequence,
            batch_number: self.batch_number,
            segment: self.segment,
            epoch: self.epoch,
            closed: u32::from(self.closed),
            reserved: 0,
            crc: 0,
        };
        layout.crc = crc_fast::crc32_iscsi(&layout.as_bytes()[..CRC_OFFSET]);
        zerocopy::transmute!(layout)
    }

    /// As they are in the file.
    pub fn bytes(self) -> Vec<u8> {
        self.encode().to_vec()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let layout = Layout::read_from_bytes(bytes).ok()?;
        let whole = layout.magic == MAGIC && layout.crc == crc_fast::crc32_iscsi(&bytes[..CRC_OFFSET]);
        whole.then_some(Self {
            sequence: layout.sequence,
            batch_number: layout.batch_number,
            segment: layout.segment,
            epoch: layout.epoch,
            closed: layout.closed == 1,
        })
    }
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct WatermarkWriter {
    file: Box<dyn StorageFile>,
    path: PathBuf,
}

impl WatermarkWriter {
    /// Opens or makes the file.
    pub fn open(storage: &dyn Storage) -> Result<Self, JournalError> {
        let path = storage.path(FILE_NAME);
        let file = storage::open_or_create(storage, FILE_NAME).map_err(io_error("open", &path))?;
        Ok(Self { file, path })
    }

    /// Tells live readers; the caller has synced what it tells.
    pub fn publish(&self, watermark: Watermark) -> Result<(), JournalError> {
        write_all_at(&*self.file, &watermark.encode(), 0).map_err(io_error("write", &self.path))
    }

    /// As [`Self::publish`], and durable: where an old content would be a lie (`closed`).
    pub fn publish_synced(&self, watermark: Watermark) -> Result<(), JournalError> {
        self.publish(watermark)?;
        self.file.sync().map_err(io_error("sync", &self.path))
    }
}

/// A reader's end; keeps the file open between polls.
#[derive(Debug, Default)]
pub(crate) struct WatermarkReader {
    file: Option<Box<dyn StorageFile>>,
}

impl WatermarkReader {
    /// What the writer told last; `None` if there is no file or it is not whole.
    pub fn poll(&mut self, storage: &dyn Storage) -> Result<Option<Watermark>, JournalError> {
        let path = || storage.path(FILE_NAME);
        if self.file.is_none() {
            match storage.open(FILE_NAME, Access::Read) {
                Ok(file) => self.file = Some(file),
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => return Err(io_error("open", &path())(error)),
            }
        }
        let Some(file) = &self.file else { return Ok(None) };
        // A read may meet a write half way; the next one will not.
        for _ in 0..3 {
            let mut bytes = [0; size_of::<Layout>()];
            let read = read_full_at(&**file, &mut bytes, 0).map_err(|error| io_error("read", &path())(error))?;
            if let Some(watermark) = Watermark::decode(&bytes[..read]) {
                return Ok(Some(watermark));
            }
        }
        Ok(None)
    }
}

/// What the file says now.
pub(crate) fn read(storage: &dyn Storage) -> Result<Option<Watermark>, JournalError> {
    WatermarkReader::default().poll(storage)
}

/// Removes the file, of a journal that had none; the caller syncs the directory.
pub(crate) fn remove(storage: &dyn Storage) -> Result<(), JournalError> {
    match storage.remove(FILE_NAME) {
        Err(error) if !is_absent(&error) => Err(io_error("remove", &storage.path(FILE_NAME))(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_reads_back_and_any_flipped_bit_makes_it_absent() {
        let watermark = Watermark { sequence: 9, batch_number: 4, segment: 2, epoch: 1, closed: true };
        let bytes = watermark.encode();
        assert_eq!((bytes.len(), std::mem::offset_of!(Layout, crc)), (48, CRC_OFFSET));
        assert_eq!(Watermark::decode(&bytes), Some(watermark));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Watermark::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Watermark::decode(&[0; 48]), None);
    }
}
