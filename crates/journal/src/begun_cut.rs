//! The small file that is there while a cut is under way: what the journal was before it.
//!
//! A cut first lets `durable` name the segment that it will make, so that a crash anywhere leaves a journal that is refused. What was
//! known durable before stands here until the end, for who puts the damaged segments back after all: then nothing is lost, and
//! `durable` is what it was. A content that is not whole says nothing.

use crate::error::{JournalError, io_error};
use crate::segment;
use crate::storage::{Access, Storage, is_absent, read_full_at, write_all_at};
use crate::watermark::{self, SIZE_BYTES as WATERMARK_SIZE_BYTES, Watermark, WatermarkWriter};

const FILE_NAME: &str = "cut";
const UNFINISHED_NAME: &str = "cut.new";
const SIZE_BYTES: usize = 2 * WATERMARK_SIZE_BYTES + size_of::<u64>();

/// A cut that was begun and not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BegunCut {
    /// What `durable` said before; `None` when it said nothing.
    pub before: Option<Watermark>,
    /// What it says since: the segment that the cut makes, and the last number that is not given again.
    pub made: Watermark,
    /// Number of the newest segment that there was before.
    pub newest: u64,
}

/// The cut that is under way, if one is: the segment that it makes is not there yet.
pub(crate) fn read(storage: &dyn Storage) -> Result<Option<BegunCut>, JournalError> {
    let path = storage.path(FILE_NAME);
    let file = match storage.open(FILE_NAME, Access::Read) {
        Err(error) if is_absent(&error) => return Ok(None),
        result => result.map_err(io_error("open", &path))?,
    };
    let mut bytes = [0; SIZE_BYTES];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(io_error("read", &path))?;
    let Some(made) = Watermark::decode(&bytes[WATERMARK_SIZE_BYTES..][..WATERMARK_SIZE_BYTES]) else { return Ok(None) };
    if read < SIZE_BYTES {
        return Ok(None);
    }
    let mut newest = [0; size_of::<u64>()];
    newest.copy_from_slice(&bytes[2 * WATERMARK_SIZE_BYTES..]);
    let is_made = match segment::read_header(storage, made.segment) {
        Ok(there) => there.is_some_and(|there| there.header.epoch >= made.epoch),
        // The damaged one, which still stands in its place.
        Err(JournalError::Damaged { .. }) => false,
        Err(error) => return Err(error),
    };
    let before = Watermark::decode(&bytes[..WATERMARK_SIZE_BYTES]);
    Ok((!is_made).then(|| BegunCut { before, made, newest: u64::from_le_bytes(newest) }))
}

/// What was known durable before any cut that is under way.
pub(crate) fn known_durable(storage: &dyn Storage) -> Result<Option<Watermark>, JournalError> {
    Ok(match read(storage)? {
        Some(begun) => begun.before,
        None => watermark::read(storage)?,
    })
}

/// Says, durably, that a cut is under way. Nothing of the journal has changed by this.
pub(crate) fn begin(storage: &dyn Storage, begun: BegunCut) -> Result<(), JournalError> {
    let path = storage.path(UNFINISHED_NAME);
    remove_if_there(storage, UNFINISHED_NAME)?;
    let file = storage.create(UNFINISHED_NAME).map_err(io_error("create", &path))?;
    let mut bytes = begun.before.map_or_else(|| vec![0; WATERMARK_SIZE_BYTES], Watermark::bytes);
    bytes.extend(begun.made.bytes());
    bytes.extend(begun.newest.to_le_bytes());
    write_all_at(&*file, &bytes, 0).map_err(io_error("write", &path))?;
    file.sync().map_err(io_error("sync", &path))?;
    storage.rename(UNFINISHED_NAME, FILE_NAME).map_err(io_error("rename", &path))?;
    storage.sync_directory().map_err(io_error("sync", &storage.path("")))
}

/// Lets `durable` say what it said before the cut, if one is under way, and forgets that cut: all that it took out is back.
pub(crate) fn undo(storage: &dyn Storage) -> Result<(), JournalError> {
    let Some(begun) = read(storage)? else { return Ok(()) };
    match begun.before {
        Some(before) => WatermarkWriter::open(storage)?.publish_synced(before)?,
        None => watermark::remove(storage)?,
    }
    storage.sync_directory().map_err(io_error("sync", &storage.path("")))?;
    forget(storage)
}

/// Removes the file.
pub(crate) fn forget(storage: &dyn Storage) -> Result<(), JournalError> {
    if remove_if_there(storage, FILE_NAME)? {
        storage.sync_directory().map_err(io_error("sync", &storage.path("")))?;
    }
    Ok(())
}

/// Whether it was there.
fn remove_if_there(storage: &dyn Storage, name: &str) -> Result<bool, JournalError> {
    match storage.remove(name) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(io_error("remove", &storage.path(name))(error)),
    }
}
