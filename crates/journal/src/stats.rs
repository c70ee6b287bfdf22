//! What a journal consists of, counted over every batch: messages, batches and their sizes, sync groups, times.

use std::path::Path;
use std::sync::Arc;

use crate::configuration::{ConfigurationChange, configurations_storage};
use crate::error::JournalError;
use crate::segment;
use crate::storage::{self, Storage};
use crate::verify::{self, Inspection};
use crate::walk;

/// Powers of two that sizes are counted by: 2^63 is the last.
const BUCKETS: usize = 64;

/// What was counted in one segment; every batch of it verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentStats {
    /// Its number.
    pub segment: u64,
    /// Sequence of its first message.
    pub first_sequence: u64,
    /// When it was begun, ns since 1970 UTC by the writer's clock; `None` in version 1.
    pub created_ns: Option<i64>,
    /// Bytes of its file.
    pub size_bytes: u64,
    /// Messages.
    pub message_count: u64,
    /// Batches of messages.
    pub batch_count: u64,
    /// Bytes of the messages themselves.
    pub payload_size_bytes: u64,
    /// Bytes of all batches.
    pub batch_size_bytes: u64,
    /// Syncs that its batches show: how often `durable_upto` rose from one to the next.
    pub sync_group_count: u64,
    /// Batches of messages by size: entry i counts those of 2^(i-1) + 1 to 2^i bytes.
    pub batch_sizes: Vec<u64>,
}

/// A journal, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStats {
    /// What [`crate::inspect`] gives.
    pub journal: Inspection,
    /// Each segment, in order.
    pub segments: Vec<SegmentStats>,
    /// What the channel was run with.
    pub configurations: Vec<ConfigurationChange>,
}

/// Counts the journal in the directory `path`, on all cores; safe beside a living writer.
///
/// # Errors
/// As [`crate::verify`].
pub fn stats(path: &Path) -> Result<JournalStats, JournalError> {
    stats_storage(&storage::directory(path))
}

/// As [`stats`], over any storage.
///
/// # Errors
/// As [`stats`].
pub fn stats_storage(storage: &Arc<dyn Storage>) -> Result<JournalStats, JournalError> {
    let journal = verify::verify_storage(storage)?.journal;
    let sizes: Vec<u64> = journal.segments.iter().map(|segment| segment.size_bytes).collect();
    let counted = walk::each(&sizes, |index, buffer| {
        let summary = &journal.segments[index];
        let Some(opened) = segment::read_header(&**storage, summary.segment)? else { return Ok(None) };
        let mut counts = SegmentStats {
            segment: summary.segment,
            first_sequence: summary.first_sequence,
            created_ns: summary.created_ns,
            size_bytes: summary.size_bytes,
            message_count: 0,
            batch_count: 0,
            payload_size_bytes: 0,
            batch_size_bytes: 0,
            sync_group_count: 0,
            batch_sizes: vec![0; BUCKETS],
        };
        let mut durable = 0;
        walk::walk(&**storage, &opened, journal.last_sequence, buffer, |header, records| {
            counts.batch_size_bytes += u64::from(header.length);
            if header.message_count() == 0 {
                return;
            }
            counts.message_count += header.message_count();
            counts.batch_count += 1;
            counts.payload_size_bytes +=
                crate::frame::Records::new(0, records).map(|(_, one)| one.len() as u64).sum::<u64>();
            counts.batch_sizes[header.length.next_power_of_two().ilog2() as usize] += 1;
            counts.sync_group_count += u64::from(header.durable_upto > durable);
            durable = durable.max(header.durable_upto);
        })?;
        Ok(Some(counts))
    });
    let segments: Result<Vec<Option<SegmentStats>>, JournalError> = counted.into_iter().collect();
    let configurations = configurations_storage(&**storage)?;
    Ok(JournalStats { journal, segments: segments?.into_iter().flatten().collect(), configurations })
}
