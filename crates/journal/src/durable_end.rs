//! Where the durable part of a journal ends, for who copies one that may be written at the same time.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Damage, JournalError};
use crate::frame::SEGMENT_HEADER_SIZE_BYTES;
use crate::recovery::{Proof, scan_tail};
use crate::segment;
use crate::storage::{self, Storage};
use crate::walk::{Buffer, missing_behind, walk};
use crate::watermark::{self, Watermark};

/// Everything before it is synced and stays as it is: the segments below [`Self::segment`] whole, and this one up to
/// [`Self::size_bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableEnd {
    /// The newest segment that holds something durable, its header at least.
    pub segment: u64,
    /// Bytes of that segment up to the end of its last durable batch.
    pub size_bytes: u64,
    /// Bytes of the writer's watermark that says so. `None` where there is none that verifies: then this is where opening the
    /// journal would go on.
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
        let newest = segment::list(&**storage)?.last().copied();
        let missing = |told: Watermark| segment::missing(&**storage, told.segment, told.sequence);
        let Some(newest) = newest else {
            return match told {
                Some(told) if told.sequence > 0 => Err(missing(told)),
                _ => Ok(None),
            };
        };
        // Removed by compaction since it was listed, so there are newer ones.
        let Some(opened) = segment::read_header(&**storage, newest)? else { continue };
        if told.is_some_and(|told| told.segment > newest) {
            return Err(missing_behind(&**storage, &opened));
        }
        let Some(told) = told else {
            let scan = scan_tail(&**storage, &opened, Proof { watermark: None, evidence: 0 })?;
            return Ok(Some(DurableEnd { segment: newest, size_bytes: scan.end, watermark: None }));
        };
        let watermark = Some(told.bytes());
        if told.segment < newest {
            // A segment gets its name when all before it is synced; of its batches the watermark says nothing yet.
            let size_bytes = SEGMENT_HEADER_SIZE_BYTES as u64;
            return Ok(Some(DurableEnd { segment: newest, size_bytes, watermark }));
        }
        let mut size_bytes = SEGMENT_HEADER_SIZE_BYTES as u64;
        let mut reached = opened.header.predecessor_batch;
        let walked = walk(&**storage, &opened, u64::MAX, &mut Buffer::default(), |batch, _| {
            if batch.batch_number <= told.batch_number {
                size_bytes += u64::from(batch.length);
                reached = batch.batch_number;
            }
        })?;
        if reached < told.batch_number {
            return Err(JournalError::Damaged {
                path: storage.path(&segment::file_name(newest)),
                segment: newest,
                offset: walked.end,
                sequence: walked.state.next_sequence,
                damage: Damage::Batch { durable: told.sequence },
            });
        }
        return Ok(Some(DurableEnd { segment: newest, size_bytes, watermark }));
    }
}
