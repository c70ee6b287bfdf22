//! What a channel was run with, and since when.
//!
//! A writer that is given a configuration begins every segment with it, so one small read a segment tells the whole
//! history, and compaction, which removes whole segments, never takes away what is in force.

use std::path::Path;

use crate::error::{JournalError, io_error};
use crate::frame::{BATCH_CONFIGURATION, BATCH_HEADER_SIZE_BYTES, ChainState, SEGMENT_HEADER_SIZE_BYTES};
use crate::reader::configuration_of;
use crate::segment::{self, OpenSegment};
use crate::storage::{self, Storage, read_full_at};

/// A configuration that differs from the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationChange {
    /// Segment that begins with it.
    pub segment: u64,
    /// First message under it.
    pub first_sequence: u64,
    /// When, ns since 1970 UTC by the writer's clock.
    pub created_ns: Option<i64>,
    /// JSON as the writer was given it; `None` where a writer was given none, or wrote version 1.
    pub configuration: Option<String>,
}

/// Configurations of the journal in the directory `path`, oldest first: the first that is known and each change.
///
/// # Errors
/// [`JournalError::Absent`]; [`JournalError::Damaged`] for a header that does not verify. A damaged batch counts as none:
/// [`crate::verify`] finds it.
pub fn configurations(path: &Path) -> Result<Vec<ConfigurationChange>, JournalError> {
    configurations_storage(&*storage::directory(path))
}

/// As [`configurations`], over any storage.
///
/// # Errors
/// As [`configurations`].
pub fn configurations_storage(storage: &dyn Storage) -> Result<Vec<ConfigurationChange>, JournalError> {
    configurations_since(storage, 0)
}

/// As [`configurations_storage`], of the messages from `sequence` on: the one that is in force there, and each change behind
/// it. Looks at no segment before that message's.
///
/// # Errors
/// As [`configurations`].
pub fn configurations_since(storage: &dyn Storage, sequence: u64) -> Result<Vec<ConfigurationChange>, JournalError> {
    let mut found = Vec::new();
    let numbers = segment::list(storage)?;
    for &number in numbers.iter().rev() {
        let Some(opened) = segment::read_header(storage, number)? else { continue };
        let (first_sequence, created_ns) = (opened.header.first_sequence, opened.header.created_ns());
        let configuration = match configuration_in(storage, &opened)? {
            // A crash between its header and its first batch leaves one that no message was written under.
            Begins::Empty if number != numbers[0] => continue,
            Begins::Empty | Begins::Otherwise => None,
            Begins::With(configuration) => Some(configuration),
        };
        found.push(ConfigurationChange { segment: number, first_sequence, created_ns, configuration });
        if first_sequence <= sequence {
            break;
        }
    }
    found.reverse();
    found.dedup_by(|next, before| next.configuration == before.configuration);
    Ok(found)
}

/// What the first batch of a segment is.
enum Begins {
    /// There is none.
    Empty,
    /// A configuration.
    With(String),
    /// Messages, or nothing that verifies.
    Otherwise,
}

fn configuration_in(storage: &dyn Storage, opened: &OpenSegment) -> Result<Begins, JournalError> {
    let path = storage.path(&segment::file_name(opened.header.segment));
    let mut bytes = vec![0; BATCH_HEADER_SIZE_BYTES];
    let read = |bytes: &mut Vec<u8>| -> Result<(), JournalError> {
        let read = read_full_at(&*opened.file, bytes, SEGMENT_HEADER_SIZE_BYTES as u64);
        bytes.truncate(read.map_err(io_error("read", &path))?);
        Ok(())
    };
    read(&mut bytes)?;
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(Begins::Empty);
    }
    let state = ChainState::at_start(&opened.header, opened.header_crc);
    let room = opened.header.size_bytes as usize - SEGMENT_HEADER_SIZE_BYTES;
    let Some(claimed) = state.check_head(&bytes, room).filter(|head| head.kind == BATCH_CONFIGURATION) else {
        return Ok(Begins::Otherwise);
    };
    bytes.resize(claimed.length as usize, 0);
    read(&mut bytes)?;
    if state.check(&bytes).is_err() {
        return Ok(Begins::Otherwise);
    }
    Ok(configuration_of(&bytes[BATCH_HEADER_SIZE_BYTES..]).map_or(Begins::Otherwise, Begins::With))
}
