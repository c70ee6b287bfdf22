//! Checks a whole journal without changing it.

use std::path::Path;
use std::sync::Arc;

use crate::error::JournalError;
use crate::reader::{JournalReader, ReaderOptions, Visible};
use crate::recovery::{Proof, Tail, check_succession, scan_tail};
use crate::segment;
use crate::storage::{self, Storage};
use crate::watermark;

/// One segment as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number.
    pub segment: u64,
    /// First sequence of its header.
    pub first_sequence: u64,
    /// Messages in it.
    pub record_count: u64,
    /// Batches in it.
    pub batch_count: u64,
    /// Bytes of its batches.
    pub size_bytes: u64,
}

/// A journal whose every batch verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Channel of its headers.
    pub channel: String,
    /// First sequence held.
    pub first_sequence: u64,
    /// Last sequence that verifies; `first_sequence - 1` if there is none.
    pub last_sequence: u64,
    /// Highest sequence proven durable.
    pub durable: u64,
    /// The writer closed it.
    pub closed: bool,
    /// All segments, in order.
    pub segments: Vec<SegmentSummary>,
    /// How it ends; with a live writer a torn tail may be a batch being written.
    pub tail: Tail,
}

/// Verifies every byte of the journal in the directory `path`; safe beside a live writer.
///
/// # Errors
/// [`JournalError::Damaged`] at the first damage, as the writer's opening would find it.
pub fn verify(path: &Path) -> Result<VerifyReport, JournalError> {
    verify_storage(storage::directory(path))
}

/// As [`verify`], over any storage.
///
/// # Errors
/// As [`verify`].
pub fn verify_storage(storage: Arc<dyn Storage>) -> Result<VerifyReport, JournalError> {
    let watermark = watermark::read(&*storage)?;
    let numbers = segment::list(&*storage)?;
    let Some(&newest_number) = numbers.last() else {
        return Err(JournalError::Absent { path: storage.path("") });
    };
    let first_sequence = check_succession(&*storage, "", &numbers)?;
    let newest = segment::read_header(&*storage, newest_number)?
        .ok_or_else(|| JournalError::Absent { path: storage.path(&segment::file_name(newest_number)) })?;
    // The newest first: later, a live writer may be ahead of the watermark read above.
    let scan = scan_tail(&*storage, &newest, Proof { watermark, evidence: 0 })?;

    let mut reader = JournalReader::open_storage(
        Arc::clone(&storage),
        ReaderOptions { visible: Visible::Written, ..ReaderOptions::default() },
    )?;
    let mut segments: Vec<SegmentSummary> = Vec::new();
    let last_sequence = scan.state.next_sequence - 1;
    for &number in &numbers {
        if let Some(opened) = segment::read_header(&*storage, number)? {
            let first_sequence = opened.header.first_sequence;
            segments.push(SegmentSummary {
                segment: number,
                first_sequence,
                record_count: 0,
                batch_count: 0,
                size_bytes: 0,
            });
        }
    }
    while reader.next_sequence() <= last_sequence || reader.segment() < newest_number {
        let Some(batch) = reader.next_batch()? else { break };
        let (records, size) = (batch.last_sequence() - batch.first_sequence() + 1, batch.size_bytes() as u64);
        let number = reader.segment();
        if let Some(summary) = segments.iter_mut().find(|summary| summary.segment == number) {
            summary.record_count += records;
            summary.batch_count += 1;
            summary.size_bytes += size;
        }
    }
    Ok(VerifyReport {
        channel: newest.header.channel,
        first_sequence,
        last_sequence,
        durable: scan.proven_durable,
        closed: watermark.is_some_and(|watermark| watermark.closed && watermark.segment == newest_number),
        segments,
        tail: scan.tail,
    })
}
