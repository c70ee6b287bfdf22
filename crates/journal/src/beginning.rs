//! The small file that says with which segment a compacted journal begins.
//!
//! Compaction writes and syncs it before it removes anything, so an oldest segment beyond the one it names was not removed by
//! compaction but is missing. A journal without the file was never compacted and begins with segment 1. A content that fails
//! its checksum says nothing, and nothing is held against the journal then.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{JournalError, io_error};
use crate::segment;
use crate::storage::{self, Access, Storage, is_absent, read_full_at, write_all_at};

pub(crate) const FILE_NAME: &str = "first";
const MAGIC: [u8; 8] = *b"TIDEFRST";
const CRC_OFFSET: usize = 28;

/// Where a journal begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// Its first segment, or one that compaction was about to remove.
    pub segment: u64,
    /// First message of that.
    pub sequence: u64,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    segment: u64,
    sequence: u64,
    reserved: u32,
    crc: u32,
}

impl Beginning {
    fn encode(self) -> [u8; size_of::<Layout>()] {
        let mut layout = Layout { magic: MAGIC, segment: self.segment, sequence: self.sequence, reserved: 0, crc: 0 };
        layout.crc = crc_fast::crc32_iscsi(&layout.as_bytes()[..CRC_OFFSET]);
        zerocopy::transmute!(layout)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let layout = Layout::read_from_bytes(bytes).ok()?;
        let whole = layout.magic == MAGIC && layout.crc == crc_fast::crc32_iscsi(&bytes[..CRC_OFFSET]);
        whole.then_some(Self { segment: layout.segment, sequence: layout.sequence })
    }
}

/// Says, durably, with which segment the journal begins. Over the old content: a full disk can be compacted.
pub(crate) fn record(storage: &dyn Storage, beginning: Beginning) -> Result<(), JournalError> {
    let path = storage.path(FILE_NAME);
    let file = storage::open_or_create(storage, FILE_NAME).map_err(io_error("open", &path))?;
    write_all_at(&*file, &beginning.encode(), 0).map_err(io_error("write", &path))?;
    file.sync().map_err(io_error("sync", &path))?;
    storage.sync_directory().map_err(io_error("sync", &storage.path("")))
}

/// Whether the file is there: something was compacted, or was about to be.
pub(crate) fn is_recorded(storage: &dyn Storage) -> Result<bool, JournalError> {
    match storage.open(FILE_NAME, Access::Read) {
        Err(error) if is_absent(&error) => Ok(false),
        result => result.map(|_| true).map_err(io_error("open", &storage.path(FILE_NAME))),
    }
}

/// Takes back what was recorded of a journal that was not compacted after all.
pub(crate) fn forget(storage: &dyn Storage) -> Result<(), JournalError> {
    storage.remove(FILE_NAME).map_err(io_error("remove", &storage.path(FILE_NAME)))?;
    storage.sync_directory().map_err(io_error("sync", &storage.path("")))
}

/// Where the journal has to begin at the latest; `None` when the file does not say.
pub(crate) fn read(storage: &dyn Storage) -> Result<Option<Beginning>, JournalError> {
    let path = storage.path(FILE_NAME);
    let file = match storage.open(FILE_NAME, Access::Read) {
        Err(error) if is_absent(&error) => return Ok(Some(Beginning { segment: 1, sequence: 0 })),
        result => result.map_err(io_error("open", &path))?,
    };
    let mut bytes = [0; size_of::<Layout>()];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(io_error("read", &path))?;
    Ok(Beginning::decode(&bytes[..read]))
}

/// Checks that nothing but compaction removed what stood before segment `oldest`, which was listed before this call.
///
/// # Errors
/// [`crate::Damage::Missing`] for the first segment that is not there.
pub(crate) fn check(storage: &dyn Storage, oldest: u64) -> Result<(), JournalError> {
    if oldest == 1 {
        return Ok(());
    }
    match read(storage)? {
        Some(Beginning { segment, sequence }) if segment < oldest => Err(segment::missing(storage, segment, sequence)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_reads_back_and_any_flipped_bit_makes_it_say_nothing() {
        let beginning = Beginning { segment: 7, sequence: 3000 };
        let bytes = beginning.encode();
        assert_eq!((bytes.len(), std::mem::offset_of!(Layout, crc)), (32, CRC_OFFSET));
        assert_eq!(Beginning::decode(&bytes), Some(beginning));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Beginning::decode(&damaged), None, "bit {bit}");
        }
    }
}
