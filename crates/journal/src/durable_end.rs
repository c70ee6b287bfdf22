//! Where the durable part of a journal ends, for who copies one that may be written at the same time.
//!
//! The watermark alone does not say it: a power loss may leave an old one, never one that is ahead. Where nobody writes, the end is
//! the one at which opening would go on. Beside a writer it is what the watermark or a later batch (`durable_upto`) proves: what
//! follows may be a batch that is not synced yet, and whoever writes has told its watermark when it began.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Damage, JournalError, io_error};
use crate::frame::SEGMENT_HEADER_SIZE_BYTES;
use crate::recovery::{Proof, TailScan, scan_tail};
use crate::segment::{self, OpenSegment};
use crate::storage::{self, Storage};
use crate::walk::{Buffer, missing_behind, walk};
use crate::watermark::{self, Watermark};
use crate::writer::LOCK_NAME;

/// Everything before it is synced and stays as it is: the segments below [`Self::segment`] whole, and this one up to
/// [`Self::size_bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableEnd {
    /// The newest segment that holds something durable, its header at least.
    pub segment: u64,
    /// Bytes of that segment up to the end of its last durable batch.
    pub size_bytes: u64,
    /// Bytes of a watermark that says so, for the copy. `None` where the journal has none that verifies: then the end is where
    /// opening would go on.
    pub watermark: Option<Vec<u8>>,
}

/// Where the durable part of the journal in the directory `path` ends; `None` of one that was never begun.
///
/// # Errors
/// [`JournalError::Damaged`] when what is durable is not there, as opening would find it.
pub fn durable_end(path: &Path) -> Result<Option<DurableEnd>, JournalError> {
    durable_end_storage(&storage::directory(path))
}

/// As [`durable_end`], over any storage.
///
/// # Errors
/// As [`durable_end`].
pub fn durable_end_storage(storage: &Arc<dyn Storage>) -> Result<Option<DurableEnd>, JournalError> {
    loop {
        // The watermark first: a writer that goes on meanwhile adds segments and removes none that it names.
        let told = watermark::read(&**storage)?;
        let Some(newest) = segment::list(&**storage)?.last().copied() else {
            return match told {
                Some(told) if told.sequence > 0 => Err(segment::missing(&**storage, told.segment, told.sequence)),
                _ => Ok(None),
            };
        };
        // Behind the list: a writer that begins now writes into a segment of its own, and leaves this one as it is.
        let lock = storage.path(LOCK_NAME);
        let is_written = storage.is_locked(LOCK_NAME).map_err(io_error("look at", &lock))?;
        // Removed by compaction since it was listed, so there are newer ones.
        let Some(opened) = segment::read_header(&**storage, newest)? else { continue };
        if told.is_some_and(|told| told.segment > newest) {
            return Err(missing_behind(&**storage, &opened));
        }
        let end = match told {
            Some(told) if is_written => proven_end(&**storage, &opened, told)?,
            _ => end_for_opening(&**storage, &opened, told)?,
        };
        let watermark = told.map(|told| end.watermark(&opened, told).bytes());
        return Ok(Some(DurableEnd { segment: newest, size_bytes: end.size_bytes, watermark }));
    }
}

/// Behind which batch of the newest segment.
struct End {
    batch_number: u64,
    sequence: u64,
    size_bytes: u64,
}

impl End {
    /// What a writer that was `told` before would tell of it.
    fn watermark(&self, newest: &OpenSegment, told: Watermark) -> Watermark {
        let segment = newest.header.segment;
        let is_told = (told.segment, told.batch_number) == (segment, self.batch_number);
        Watermark {
            sequence: self.sequence,
            batch_number: self.batch_number,
            segment,
            epoch: newest.header.epoch,
            closed: told.closed && is_told,
        }
    }
}

/// Where opening would go on, which makes durable what it finds first; so does this.
fn end_for_opening(storage: &dyn Storage, newest: &OpenSegment, told: Option<Watermark>) -> Result<End, JournalError> {
    let path = storage.path(&segment::file_name(newest.header.segment));
    newest.file.sync().map_err(io_error("sync", &path))?;
    newest.file.forget_cached().map_err(io_error("read", &path))?;
    let TailScan { state, end, .. } = scan_tail(storage, newest, Proof { watermark: told, evidence: 0 })?;
    Ok(End { batch_number: state.batch_number, sequence: state.next_sequence - 1, size_bytes: end })
}

/// Behind the last batch of the newest segment that is proven durable; behind its header if none is. A segment gets its name when
/// all before it is synced, so a watermark of an earlier one says nothing of this one's batches.
fn proven_end(storage: &dyn Storage, newest: &OpenSegment, told: Watermark) -> Result<End, JournalError> {
    let header = &newest.header;
    let told_batch = if told.segment == header.segment { told.batch_number } else { 0 };
    let (mut proven, mut size_bytes) = (told.sequence, SEGMENT_HEADER_SIZE_BYTES as u64);
    let mut end = End { batch_number: header.predecessor_batch, sequence: header.first_sequence - 1, size_bytes };
    let mut batches = Vec::new();
    let walked = walk(storage, newest, u64::MAX, &mut Buffer::default(), |batch, _| {
        proven = proven.max(batch.durable_upto);
        size_bytes += u64::from(batch.length);
        let sequence = batch.first_sequence + batch.message_count() - 1;
        let behind = End { batch_number: batch.batch_number, sequence, size_bytes };
        batches.push((behind, batch.message_count() > 0));
    })?;
    for (behind, has_messages) in batches {
        // One without messages is known to be there by those behind it only.
        if behind.batch_number <= told_batch || (has_messages && behind.sequence <= proven) {
            end = behind;
        }
    }
    if end.batch_number < told_batch || walked.state.next_sequence <= proven {
        return Err(JournalError::Damaged {
            path: storage.path(&segment::file_name(header.segment)),
            segment: header.segment,
            offset: walked.end,
            sequence: walked.state.next_sequence,
            damage: Damage::Batch { durable: proven },
        });
    }
    Ok(end)
}
