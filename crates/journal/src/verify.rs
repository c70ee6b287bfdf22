//! Looks at a journal without changing it, beside a live writer too: cheaply ([`inspect`]) or whole ([`verify`]).

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::beginning;
use crate::error::{JournalError, io_error};
use crate::frame::BatchHeader;
use crate::recovery::{Proof, Tail, check_succession, scan_tail};
use crate::segment;
use crate::storage::{self, Storage};
use crate::walk::{self, missing_behind};
use crate::watermark;

/// One segment's header and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number.
    pub segment: u64,
    /// First sequence of its header.
    pub first_sequence: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// When it was begun, ns since 1970 UTC by the writer's clock; `None` in version 1.
    pub created_ns: Option<i64>,
}

/// What headers and the newest segment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Channel of its headers.
    pub channel: String,
    /// What tells it from another journal of the channel.
    pub journal_id: u64,
    /// Epoch of the newest segment.
    pub epoch: u32,
    /// First sequence held.
    pub first_sequence: u64,
    /// Last sequence that verifies; `first_sequence - 1` if there is none.
    pub last_sequence: u64,
    /// Highest sequence proven durable.
    pub durable: u64,
    /// The writer closed it.
    pub closed: bool,
    /// How it ends; with a live writer a torn tail may be a batch being written.
    pub tail: Tail,
    /// All segments, in order.
    pub segments: Vec<SegmentSummary>,
}

/// What a whole walk counted; every batch verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What [`inspect`] gives.
    pub journal: Inspection,
    /// Messages.
    pub record_count: u64,
    /// Batches.
    pub batch_count: u64,
    /// Bytes of the batches.
    pub size_bytes: u64,
}

/// Reads all headers and the newest segment of the journal in the directory `path`.
///
/// # Errors
/// [`JournalError::Absent`], and [`JournalError::Damaged`] as far as these show damage.
pub fn inspect(path: &Path) -> Result<Inspection, JournalError> {
    inspect_storage(&storage::directory(path))
}

/// As [`inspect`], over any storage.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_storage(storage: &Arc<dyn Storage>) -> Result<Inspection, JournalError> {
    loop {
        // `None`: while the segments were looked at, all that were listed were removed by compaction.
        if let Some(found) = inspect_once(storage)? {
            return Ok(found);
        }
    }
}

fn inspect_once(storage: &Arc<dyn Storage>) -> Result<Option<Inspection>, JournalError> {
    let watermark = watermark::read(&**storage)?;
    let numbers = segment::list(&**storage)?;
    let Some(&newest_number) = numbers.last() else {
        return Err(JournalError::Absent { path: storage.path("") });
    };
    let first_sequence = check_succession(&**storage, "", &numbers)?;
    beginning::check(&**storage, numbers[0])?;
    let mut segments = Vec::new();
    for &segment in &numbers {
        // One that compaction has removed since it was listed is passed over.
        if let Some(opened) = segment::read_header(&**storage, segment)? {
            let path = storage.path(&segment::file_name(segment));
            let size_bytes = opened.file.size_bytes().map_err(io_error("read", &path))?;
            let (first_sequence, created_ns) = (opened.header.first_sequence, opened.header.created_ns());
            segments.push(SegmentSummary { segment, first_sequence, size_bytes, created_ns });
        }
    }
    let Some(newest) = segment::read_header(&**storage, newest_number)? else { return Ok(None) };
    if let Some(watermark) = watermark
        && watermark.segment > newest_number
    {
        // Read before the list, it names a segment that was there by then.
        return Err(missing_behind(&**storage, &newest));
    }
    let scan = scan_tail(&**storage, &newest, Proof { watermark, evidence: 0 })?;
    Ok(Some(Inspection {
        channel: newest.header.channel,
        journal_id: newest.header.journal_id,
        epoch: newest.header.epoch,
        first_sequence,
        last_sequence: scan.state.next_sequence - 1,
        durable: scan.proven_durable,
        closed: watermark.is_some_and(|told| told.closed && told.segment == newest_number) && scan.tail == Tail::Clean,
        tail: scan.tail,
        segments,
    }))
}

/// Verifies every batch of the journal in the directory `path`.
///
/// # Errors
/// [`JournalError::Damaged`] at the first damage, as a reader or the writer's opening would find it.
pub fn verify(path: &Path) -> Result<Verified, JournalError> {
    verify_storage(&storage::directory(path))
}

/// As [`verify`], over any storage.
///
/// # Errors
/// As [`verify`].
pub fn verify_storage(storage: &Arc<dyn Storage>) -> Result<Verified, JournalError> {
    let on = |_| ControlFlow::Continue(());
    Ok(verify_telling(storage, on)?.expect("it goes on to its end"))
}

/// As [`verify_storage`], and tells `progress` now and then how many more messages were verified, from several threads. It may
/// break off by that: `None` then, soon. Where compaction removed what was just being read all begins anew, and is told anew.
///
/// # Errors
/// As [`verify`].
pub fn verify_telling(
    storage: &Arc<dyn Storage>,
    progress: impl Fn(u64) -> ControlFlow<()> + Sync,
) -> Result<Option<Verified>, JournalError> {
    loop {
        match verify_once(storage, &progress) {
            // What compaction took away meanwhile is not part of it any more: each turn begins later.
            Err(JournalError::Compacted { .. }) => {}
            result => return result,
        }
    }
}

/// Messages of which progress is told at once: some milliseconds' work.
const TOLD_MESSAGES: u64 = 16_384;
/// Bytes of larger ones.
const TOLD_SIZE_BYTES: u64 = 4 << 20;

fn verify_once(
    storage: &Arc<dyn Storage>,
    progress: &(impl Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Option<Verified>, JournalError> {
    // The newest segment first: later, a live writer may be ahead of the watermark that judges its tail.
    let journal = inspect_storage(storage)?;
    let sizes: Vec<u64> = journal.segments.iter().map(|segment| segment.size_bytes).collect();
    let (numbers, last_sequence) = (&journal.segments, journal.last_sequence);
    let (ended, untold) = (AtomicBool::new(false), AtomicU64::new(0));
    // Many a small segment is told of at once.
    let tell = |messages: u64, at_least: u64| {
        let untold_now = untold.fetch_add(messages, Ordering::Relaxed) + messages;
        if untold_now >= at_least && !ended.load(Ordering::Relaxed) {
            let messages = untold.swap(0, Ordering::Relaxed);
            if messages > 0 && progress(messages).is_break() {
                ended.store(true, Ordering::Relaxed);
            }
        }
        if ended.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let counted: Vec<Result<Counts, JournalError>> = walk::each(&sizes, |index, buffer| {
        let mut counts = Counts::default();
        if ended.load(Ordering::Relaxed) {
            return Ok(counts);
        }
        let number = numbers[index].segment;
        let gone =
            || JournalError::Compacted { path: storage.path(""), requested: numbers[index].first_sequence, first: 0 };
        let opened = segment::read_header(&**storage, number)?.ok_or_else(gone)?;
        let mut told = Counts::default();
        let newest = index + 1 == numbers.len();
        let upto = if newest { last_sequence } else { u64::MAX };
        let walked = walk::walk_while(&**storage, &opened, upto, buffer, |header, _| {
            counts.add(header);
            let messages = counts.record_count - told.record_count;
            let is_large = counts.size_bytes - told.size_bytes >= TOLD_SIZE_BYTES;
            if messages < TOLD_MESSAGES && !is_large {
                return ControlFlow::Continue(());
            }
            told = counts;
            tell(messages, 0)
        })?;
        if tell(counts.record_count - told.record_count, TOLD_MESSAGES).is_continue() && !newest {
            let next = segment::read_header(&**storage, number + 1)?.ok_or_else(gone)?;
            walk::check_seal(&**storage, number, &walked, &next)?;
        }
        Ok(counts)
    });
    if tell(0, 0).is_break() {
        return Ok(None);
    }
    let mut verified = Verified { journal: journal.clone(), record_count: 0, batch_count: 0, size_bytes: 0 };
    for counts in counted {
        // The first damage, as a reader would meet it.
        let counts = counts?;
        verified.record_count += counts.record_count;
        verified.batch_count += counts.batch_count;
        verified.size_bytes += counts.size_bytes;
    }
    Ok(Some(verified))
}

/// Of batches of messages.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    record_count: u64,
    batch_count: u64,
    size_bytes: u64,
}

impl Counts {
    fn add(&mut self, header: &BatchHeader) {
        if header.message_count() > 0 {
            self.record_count += header.message_count();
            self.batch_count += 1;
            self.size_bytes += u64::from(header.length);
        }
    }
}
