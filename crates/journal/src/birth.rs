//! When the journal's directory was begun, as its file system has it: who goes on with a copy of it is told by that.
//!
//! A directory that was put back by hand, with `cp -a`, `rsync` or `tar`, may be older than what was acknowledged, and says so nowhere:
//! every byte is what it was. But its files are others. So this small file holds the time at which it itself was made, which no
//! program can set: where it holds another one, it is a copy, and the next writer takes a new epoch as it does behind a restore
//! ([`crate::put_back`]). A directory that was renamed is the same one. One that was moved to another disk is a copy too, since nothing
//! tells it from one that is older; [`adopt`] is for who knows better.
//!
//! A link in its place is refused: copied as a link it would lead to the file of the original, and tell nothing of the copy.
//!
//! It also says whether the journal notes its rings ([`mark_rings_noted`]): a note that was removed is missed then.
//!
//! A file system that keeps no such time says nothing, and nothing is held against a journal without the file or with one whose content
//! fails its checksum. Not seen is what brings back the very same files: an image of the disk, a snapshot of the file system, or a
//! copy that was written over the files that are there.

use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{JournalError, io_error};
use crate::put_back;
use crate::storage::{self, Access, Storage, StorageFile, is_absent, read_full_at, write_all_at};
use crate::writer;

const FILE_NAME: &str = "birth";
const MAGIC: [u8; 8] = *b"TIDEBRTH";
const CRC_OFFSET: usize = 20;
/// A flag: the rings that go on with the journal are noted in its directory.
const RINGS_NOTED: u32 = 1;

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    birth_ns: i64,
    flags: u32,
    crc: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Birth {
    ns: i64,
    flags: u32,
}

fn encode(birth: Birth) -> [u8; size_of::<Layout>()] {
    let mut layout = Layout { magic: MAGIC, birth_ns: birth.ns, flags: birth.flags, crc: 0 };
    layout.crc = crc_fast::crc32_iscsi(&layout.as_bytes()[..CRC_OFFSET]);
    zerocopy::transmute!(layout)
}

fn decode(bytes: &[u8]) -> Option<Birth> {
    let layout = Layout::read_from_bytes(bytes).ok()?;
    let whole = layout.magic == MAGIC && layout.crc == crc_fast::crc32_iscsi(&bytes[..CRC_OFFSET]);
    whole.then_some(Birth { ns: layout.birth_ns, flags: layout.flags })
}

/// Whether the directory is a copy of the one that was written last, as far as its file system tells.
pub(crate) fn is_copy(storage: &dyn Storage) -> Result<bool, JournalError> {
    let path = storage.path(FILE_NAME);
    let file = match storage.open_itself(FILE_NAME, Access::Read) {
        Err(error) if is_absent(&error) => return Ok(false),
        file => file.map_err(io_error("open", &path))?,
    };
    let (Some(noted), Some(found)) = (read(&*file, &path)?, file.birth_ns().map_err(io_error("read", &path))?) else {
        return Ok(false);
    };
    Ok(noted.ns != found)
}

/// Notes, durably but for the directory, which the caller syncs, that this is the directory that is written. Over the old
/// content: the file stays, and so does its time.
pub(crate) fn note(storage: &dyn Storage) -> Result<(), JournalError> {
    let path = storage.path(FILE_NAME);
    let file = match storage.open_itself(FILE_NAME, Access::ReadWrite) {
        Err(error) if is_absent(&error) => storage.create(FILE_NAME),
        opened => opened,
    };
    let file = file.map_err(io_error("open", &path))?;
    let Some(ns) = file.birth_ns().map_err(io_error("read", &path))? else { return Ok(()) };
    let found = read(&*file, &path)?;
    if found.is_some_and(|found| found.ns == ns) {
        return Ok(());
    }
    write(&*file, &path, Birth { ns, flags: found.map_or(0, |found| found.flags) })
}

/// Says durably that the journal's directory notes the rings that go on with it, for who finds no such note. By the journal's owner,
/// behind the note. Not said where the file system keeps no time of birth, and of a copy not before its new epoch has begun.
///
/// # Errors
/// [`JournalError::Io`].
pub fn mark_rings_noted(path: &Path) -> Result<(), JournalError> {
    let storage = storage::directory(path);
    let path = storage.path(FILE_NAME);
    let file = match storage.open_itself(FILE_NAME, Access::ReadWrite) {
        Err(error) if is_absent(&error) => return Ok(()),
        opened => opened.map_err(io_error("open", &path))?,
    };
    let ns = file.birth_ns().map_err(io_error("read", &path))?;
    match read(&*file, &path)? {
        Some(found) if Some(found.ns) == ns && found.flags & RINGS_NOTED == 0 => {
            write(&*file, &path, Birth { flags: found.flags | RINGS_NOTED, ..found })
        }
        _ => Ok(()),
    }
}

fn read(file: &dyn StorageFile, path: &Path) -> Result<Option<Birth>, JournalError> {
    let mut bytes = [0; size_of::<Layout>()];
    let read = read_full_at(file, &mut bytes, 0).map_err(io_error("read", path))?;
    Ok(decode(&bytes[..read]))
}

fn write(file: &dyn StorageFile, path: &Path, birth: Birth) -> Result<(), JournalError> {
    write_all_at(file, &encode(birth), 0).map_err(io_error("write", path))?;
    file.sync().map_err(io_error("sync", path))
}

/// Takes a journal for the one that was written last and not for a copy, because who says so has moved all of it: its next start keeps
/// the epoch.
///
/// # Errors
/// [`JournalError::Absent`]; [`JournalError::Locked`] while it is written; what the operating system refuses.
pub fn adopt(path: &Path) -> Result<(), JournalError> {
    let storage = storage::directory(path);
    crate::segment::first(&*storage)?;
    let _lock = writer::lock(&*storage)?;
    note(&*storage)?;
    put_back::unmark(&*storage)?;
    storage.sync_directory().map_err(io_error("sync", &storage.path("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_birth_reads_back_and_any_flipped_bit_makes_it_say_nothing() {
        let birth = Birth { ns: 1_790_000_000_123_456_789, flags: RINGS_NOTED };
        let bytes = encode(birth);
        assert_eq!((bytes.len(), std::mem::offset_of!(Layout, crc)), (24, CRC_OFFSET));
        assert_eq!(decode(&bytes), Some(birth));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }
}
