//! Removing the oldest segments, whole.
//!
//! It runs beside the living writer and readers and in any process: the newest segment and the one before it always stay,
//! and who reads a removed file has it open. Oldest first, and each removal is durable before the next: a power failure
//! anywhere leaves a journal that begins later, never one with a hole.
//!
//! Who is about to read is not overlooked: where the journal will begin is announced first, in the file that says it, and only
//! then is it asked for the last time what is still needed. A reader makes itself known first and then looks at that file
//! ([`announced_first`]): of the two at least one sees the other.

use std::path::Path;
use std::sync::atomic::{Ordering, fence};

use crate::beginning::{self, Beginning};
use crate::error::{JournalError, io_error};
use crate::keep::{KeepFacts, KeepRule, SegmentFacts};
use crate::segment;
use crate::storage::{self, Storage};

pub(crate) const LOCK_NAME: &str = "compaction.lock";
/// The newest and the one it was begun behind, which an opening or a reader may still be at.
const SEGMENTS_KEPT_MIN: usize = 2;

/// What compaction removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// Numbers of the segments.
    pub removed: Vec<u64>,
    /// Bytes of their files.
    pub size_bytes: u64,
    /// First message held now.
    pub first_sequence: u64,
}

/// Removes the segments of the journal in the directory `path` whose messages all lie before `keep_from`.
///
/// # Errors
/// [`JournalError::Compacting`] while another does it. After any other, what was removed until then stays removed.
pub fn compact(path: &Path, keep_from: u64) -> Result<Compacted, JournalError> {
    compact_storage(&*storage::directory(path), keep_from)
}

/// As [`compact`], over any storage.
///
/// # Errors
/// As [`compact`].
pub fn compact_storage(storage: &dyn Storage, keep_from: u64) -> Result<Compacted, JournalError> {
    compact_if(storage, keep_from, || Ok(keep_from))
}

/// As [`compact_storage`], but asks once more before it removes anything, when those who open have been told: `still` gives the first
/// message that has to stay by now, and what it gives is for nothing if it is above `keep_from`. Not asked where nothing would go.
///
/// # Errors
/// As [`compact`], and those of `still`: nothing is removed then.
pub fn compact_if<E: From<JournalError>>(
    storage: &dyn Storage,
    keep_from: u64,
    still: impl FnOnce() -> Result<u64, E>,
) -> Result<Compacted, E> {
    // Before the lock, which would make a directory's first file.
    let first = segments(storage)?.first().map_or(0, |segment| segment.first_sequence);
    let lock_path = storage.path(LOCK_NAME);
    let _lock = storage
        .try_lock(LOCK_NAME)
        .map_err(io_error("lock", &lock_path))?
        .ok_or(JournalError::Compacting { path: lock_path })?;
    let mut compacted = Compacted { removed: Vec::new(), size_bytes: 0, first_sequence: first };
    let mut going = going(storage, keep_from)?;
    let Some(&(_, announced)) = going.last() else { return Ok(compacted) };
    let was_compacted = beginning::is_recorded(storage)?;
    beginning::record(storage, announced)?;
    // What was written above is seen by who made itself known after what is asked below was looked at.
    fence(Ordering::SeqCst);
    let asked = still();
    let keep_from = asked.as_ref().map_or(0, |&still| still.min(keep_from));
    let oldest = Beginning { segment: going[0].0, sequence: first };
    going.retain(|(_, beginning)| beginning.sequence <= keep_from);
    match going.last() {
        Some(&(_, beginning)) if beginning != announced => beginning::record(storage, beginning)?,
        Some(_) => {}
        None if was_compacted => beginning::record(storage, oldest)?,
        None => beginning::forget(storage)?,
    }
    asked?;
    for (number, beginning) in going {
        let name = segment::file_name(number);
        let path = storage.path(&name);
        let size_bytes = match segment::read_header(storage, number)? {
            Some(oldest) => oldest.file.size_bytes().map_err(io_error("read", &path))?,
            None => 0,
        };
        storage.remove(&name).map_err(io_error("remove", &path))?;
        storage.sync_directory().map_err(io_error("sync", &storage.path("")))?;
        compacted.removed.push(number);
        compacted.size_bytes += size_bytes;
        compacted.first_sequence = beginning.sequence;
    }
    Ok(compacted)
}

/// Each segment that goes, with where the journal begins once it has gone.
fn going(storage: &dyn Storage, keep_from: u64) -> Result<Vec<(u64, Beginning)>, JournalError> {
    let numbers = segment::list(storage)?;
    if let Some(&oldest) = numbers.first() {
        // What is missing already stays known as missing.
        beginning::check(storage, oldest)?;
    }
    let mut going = Vec::new();
    for pair in numbers.windows(2).take(numbers.len().saturating_sub(SEGMENTS_KEPT_MIN)) {
        let Some(next) = segment::read_header(storage, pair[1])? else { break };
        let sequence = next.header.first_sequence;
        if sequence > keep_from {
            break;
        }
        going.push((pair[0], Beginning { segment: pair[1], sequence }));
    }
    Ok(going)
}

/// The first message that no compaction which has been announced removes, for a reader that has made itself known to who compacts: it
/// asks after that. 0 where the journal was never compacted, or does not say.
///
/// # Errors
/// [`JournalError::Io`].
pub fn announced_first(storage: &dyn Storage) -> Result<u64, JournalError> {
    fence(Ordering::SeqCst);
    Ok(beginning::read(storage)?.map_or(0, |beginning| beginning.sequence))
}

/// Whether somebody compacts the journal, or keeps it from being compacted, right now.
///
/// # Errors
/// [`JournalError::Io`].
pub fn is_being_compacted(storage: &dyn Storage) -> Result<bool, JournalError> {
    storage.is_locked(LOCK_NAME).map_err(io_error("look at", &storage.path(LOCK_NAME)))
}

/// First sequence of the journal in the directory `path` that must stay by `rule`. The journal says what its segments are, in
/// place of `facts.segments`; the caller says the rest.
///
/// # Errors
/// [`JournalError::Absent`]; [`JournalError::Damaged`] for a header that does not verify.
pub fn first_to_keep(path: &Path, rule: &KeepRule, facts: KeepFacts) -> Result<u64, JournalError> {
    let segments = segments(&*storage::directory(path))?;
    Ok(rule.first_to_keep(&KeepFacts { segments, ..facts }))
}

/// What a keep rule has to know of all segments, in order.
///
/// # Errors
/// As [`first_to_keep`].
pub fn segments(storage: &dyn Storage) -> Result<Vec<SegmentFacts>, JournalError> {
    let mut segments = Vec::new();
    let numbers = segment::list(storage)?;
    if numbers.is_empty() {
        return Err(JournalError::Absent { path: storage.path("") });
    }
    for number in numbers {
        let Some(opened) = segment::read_header(storage, number)? else { continue };
        let path = storage.path(&segment::file_name(number));
        segments.push(SegmentFacts {
            first_sequence: opened.header.first_sequence,
            size_bytes: opened.file.size_bytes().map_err(io_error("read", &path))?,
            created_ns: opened.header.created_ns(),
        });
    }
    // All that were listed are gone by now, and there are newer ones.
    if segments.is_empty() { self::segments(storage) } else { Ok(segments) }
}
