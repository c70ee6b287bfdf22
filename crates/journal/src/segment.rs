//! Segment files: their names, their allocation, their headers.
//!
//! A segment gets its final name only when it is whole: zeros written and synced, header written and synced. A
//! segment with a bad header is therefore always damage and never an unfinished creation. Zeros are really written
//! and not only reserved, because a durable write into reserved space also has to write the file system's own
//! journal (measured: half as much again).

use std::sync::Arc;

use crate::error::{Damage, JournalError, io_error};
use crate::frame::{FORMAT_VERSION, HeaderFault, SEGMENT_HEADER_SIZE_BYTES, SegmentHeader};
use crate::storage::{Access, Storage, StorageFile, is_absent, read_full_at, write_all_at};
use crate::walk::missing_behind;

/// Smallest segment: its header and a few small batches.
pub const SEGMENT_SIZE_BYTES_MIN: u64 = 8192;
/// Largest segment: recovery reads the newest one whole.
pub const SEGMENT_SIZE_BYTES_MAX: u64 = 1 << 30;

const SUFFIX: &str = ".segment";
const UNFINISHED_SUFFIX: &str = ".segment.new";
/// Largest sequence and batch number a header may begin with, and segment's number: what counts on from it stays a number.
const NUMBER_MAX: u64 = 1 << 62;
/// Segments that come and go while a directory is listed make it listed again, at most so often.
const LISTINGS_MAX: usize = 1000;
static ZERO_BLOCK: [u8; 256 * 1024] = [0; 256 * 1024];

/// Name of segment number `segment`.
pub(crate) fn file_name(segment: u64) -> String {
    format!("{segment:010}{SUFFIX}")
}

/// Its name while it is being made.
pub(crate) fn unfinished_name(segment: u64) -> String {
    format!("{segment:010}{UNFINISHED_SUFFIX}")
}

/// Numbers of the segments present, rising, without a hole.
///
/// # Errors
/// [`Damage::Missing`] for the first number missing between two others, or whose name leads nowhere.
pub(crate) fn list(storage: &dyn Storage) -> Result<Vec<u64>, JournalError> {
    let mut listed = numbers_present(storage)?;
    for _ in 0..LISTINGS_MAX {
        let Some(hole) = hole_of(&listed) else { break };
        // What a directory lists while files come and go is not what it held at any one moment. Segments are made and
        // removed in order, so a hole is one only if its place is empty while the segment below it is there.
        if !is_there(storage, hole)? && is_there(storage, hole - 1)? {
            break;
        }
        listed = numbers_present(storage)?;
    }
    // What is listed and cannot be opened is taken for removed by compaction meanwhile, which a new list shows: of a name that
    // leads nowhere each list would say the same, without end.
    let nowhere = storage.names_leading_nowhere().map_err(io_error("list", &storage.path("")))?;
    let lost = listed.iter().copied().find(|&number| nowhere.contains(&file_name(number)));
    let Some(gone) = hole_of(&listed).into_iter().chain(lost).min() else { return Ok(listed) };
    let before = if gone > 1 { read_header(storage, gone - 1)? } else { None };
    Err(match before {
        Some(before) => missing_behind(storage, &before),
        None => missing(storage, gone, 0),
    })
}

/// That a segment is not there and should be; it begins with message `sequence`, 0 where that is not known.
pub(crate) fn missing(storage: &dyn Storage, segment: u64, sequence: u64) -> JournalError {
    let path = storage.path(&file_name(segment));
    JournalError::Damaged { path, segment, offset: 0, sequence, damage: Damage::Missing }
}

/// The first segment there is.
///
/// # Errors
/// [`JournalError::Absent`] when there is none.
pub(crate) fn first(storage: &dyn Storage) -> Result<OpenSegment, JournalError> {
    loop {
        let number = *list(storage)?.first().ok_or_else(|| JournalError::Absent { path: storage.path("") })?;
        if let Some(found) = read_header(storage, number)? {
            return Ok(found);
        }
        // Removed by compaction since it was listed.
    }
}

/// Numbers of the segments present, rising; there may be holes. A name that is not written as ours are is not a segment's.
pub(crate) fn numbers_present(storage: &dyn Storage) -> Result<Vec<u64>, JournalError> {
    let names = storage.names().map_err(|source| {
        let path = storage.path("");
        if is_absent(&source) { JournalError::Absent { path } } else { io_error("list", &path)(source) }
    })?;
    let number_of = |name: &String| {
        let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
        ((1..=NUMBER_MAX).contains(&number) && *name == file_name(number)).then_some(number)
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(number_of).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// First number missing between two others.
fn hole_of(numbers: &[u64]) -> Option<u64> {
    numbers.windows(2).find(|pair| pair[1] != pair[0] + 1).map(|pair| pair[0] + 1)
}

/// Whether segment number `segment` has its name now.
pub(crate) fn is_there(storage: &dyn Storage, segment: u64) -> Result<bool, JournalError> {
    let name = file_name(segment);
    match storage.identity(&name) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(io_error("look at", &storage.path(&name))(error)),
    }
}

/// Removes what a crash left of segments that were never finished.
pub(crate) fn remove_unfinished(storage: &dyn Storage) -> Result<(), JournalError> {
    let names = storage.names().map_err(io_error("list", &storage.path("")))?;
    for name in names.iter().filter(|name| name.ends_with(UNFINISHED_SUFFIX)) {
        storage.remove(name).map_err(io_error("remove", &storage.path(name)))?;
    }
    Ok(())
}

/// A segment with its header read.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub header: SegmentHeader,
    pub header_crc: u32,
    pub file: Box<dyn StorageFile>,
}

/// Segment number `segment`, or `None` if there is no such file.
pub(crate) fn read_header(storage: &dyn Storage, segment: u64) -> Result<Option<OpenSegment>, JournalError> {
    open(storage, segment, Access::Read)
}

/// As [`read_header`], with the access asked for.
pub(crate) fn open(storage: &dyn Storage, segment: u64, access: Access) -> Result<Option<OpenSegment>, JournalError> {
    let name = file_name(segment);
    let path = storage.path(&name);
    let file = match storage.open(&name, access) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    let mut bytes = vec![0; SEGMENT_HEADER_SIZE_BYTES];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(io_error("read", &path))?;
    let damaged = |damage| JournalError::Damaged { path: path.clone(), segment, offset: 0, sequence: 0, damage };
    let (header, header_crc) = match SegmentHeader::decode(&bytes[..read]) {
        Ok(decoded) => decoded,
        Err(HeaderFault::Invalid) => return Err(damaged(Damage::Header)),
        Err(HeaderFault::Version(found)) => {
            return Err(JournalError::Version { path, found, supported: FORMAT_VERSION });
        }
    };
    if header.segment != segment
        || header.first_sequence == 0
        || header.first_sequence > NUMBER_MAX
        || header.predecessor_batch > NUMBER_MAX
        || header.epoch == u32::MAX
        || !(SEGMENT_SIZE_BYTES_MIN..=SEGMENT_SIZE_BYTES_MAX).contains(&header.size_bytes)
    {
        return Err(damaged(Damage::Header));
    }
    if header.key_id != 0 {
        return Err(JournalError::Encrypted { path, key_id: header.key_id });
    }
    Ok(Some(OpenSegment { header, header_crc, file }))
}

/// An allocated segment that has no header and no final name yet.
#[derive(Debug)]
pub(crate) struct BlankSegment {
    segment: u64,
    size_bytes: u64,
    file: Box<dyn StorageFile>,
}

/// Allocates segment number `segment`: real zeros over its whole size, synced. Takes as long as the disk needs.
///
/// # Errors
/// [`JournalError::Full`] when it does not fit; nothing is left behind then.
pub(crate) fn allocate(
    storage: &Arc<dyn Storage>,
    segment: u64,
    size_bytes: u64,
) -> Result<BlankSegment, JournalError> {
    let name = unfinished_name(segment);
    let path = storage.path(&name);
    let file = match storage.create(&name) {
        // Left by an allocation that found no room and could not remove it either; the writer is alone here.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            storage.remove(&name).map_err(io_error("remove", &path))?;
            storage.create(&name)
        }
        created => created,
    };
    let file = file.map_err(io_error("create", &path))?;
    let fill = || {
        file.reserve(size_bytes)?;
        let mut offset = 0;
        while offset < size_bytes {
            let size = (size_bytes - offset).min(ZERO_BLOCK.len() as u64);
            write_all_at(&*file, &ZERO_BLOCK[..size as usize], offset)?;
            offset += size;
        }
        file.sync()
    };
    match fill() {
        Ok(()) => Ok(BlankSegment { segment, size_bytes, file }),
        Err(error) => {
            // Best effort: opening the journal removes unfinished segments too.
            drop(storage.remove(&name));
            Err(io_error("allocate", &path)(error))
        }
    }
}

impl BlankSegment {
    /// Writes the header and gives the segment its name; durable when this returns.
    pub fn finish(self, storage: &dyn Storage, header: SegmentHeader) -> Result<OpenSegment, JournalError> {
        assert_eq!((self.segment, self.size_bytes), (header.segment, header.size_bytes), "header of another segment");
        let (unfinished, name) = (unfinished_name(self.segment), file_name(self.segment));
        let path = storage.path(&unfinished);
        let bytes = header.encode();
        write_all_at(&*self.file, &bytes, 0).map_err(io_error("write", &path))?;
        self.file.sync().map_err(io_error("sync", &path))?;
        storage.rename(&unfinished, &name).map_err(io_error("rename", &path))?;
        storage.sync_directory().map_err(io_error("sync", &storage.path("")))?;
        let (header, header_crc) = SegmentHeader::decode(&bytes).expect("a header just encoded decodes");
        Ok(OpenSegment { header, header_crc, file: self.file })
    }
}

/// Random bytes of the operating system.
pub(crate) fn random_bytes<const N: usize>(storage: &dyn Storage) -> Result<[u8; N], JournalError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| io_error("take random bytes for", &storage.path(""))(std::io::Error::other(error)))?;
    Ok(bytes)
}
