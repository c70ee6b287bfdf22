//! The torn-tail rule: what the newest segment's end means after a crash.
//!
//! The first bytes that are no valid next batch are a *torn tail*, and opening goes on behind the last good batch,
//! only if (1) they are in the newest segment and (2) nothing shows that what stood there was ever durable. What
//! would show it: a valid batch further on whose `durable_upto` reaches it, the writer's watermark file, or evidence
//! the caller brings (a storage position, a snapshot, a replica's head). Everything else is damage: it is refused by
//! segment, offset and sequence, and no byte is touched. The one case this cannot decide is a lone journal whose
//! last sync group was acknowledged but whose watermark did not reach the disk; the report says so.

use std::sync::Arc;

use crate::beginning;
use crate::error::{Damage, JournalError, io_error};
use crate::frame::{BATCH_HEADER_SIZE_BYTES, BatchFault, ChainState, LaterFault};
use crate::segment::{self, OpenSegment};
use crate::storage::{Access, Storage, read_full_at};
use crate::walk::{Buffer, Walked, last_byte_used, missing_behind, walk};
use crate::watermark::{self, Watermark};

/// Looking for later batches hashes at most this many times the segment; a file made to need more is damage.
const HASHED_SEGMENTS_MAX: u64 = 4;

/// What the end of the journal looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Only zeros behind the last good batch.
    Clean,
    /// Bytes of writes that never became durable; they stay where they are and are never read again.
    Torn {
        /// Segment that holds them.
        segment: u64,
        /// Where they begin.
        offset: u64,
        /// The sequence the first of them would have had.
        sequence: u64,
        /// From there to the last byte that is not zero.
        size_bytes: u64,
    },
}

/// What opening a journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// There was no journal before.
    pub created: bool,
    /// First sequence held, or the one the first message will have.
    pub first_sequence: u64,
    /// Last sequence recovered; `first_sequence - 1` if none.
    pub last_sequence: u64,
    /// Number of the last good batch; 0 if none.
    pub last_batch: u64,
    /// Segments present before this opening added its own.
    pub segment_count: usize,
    /// Highest sequence that something proved durable; what lies above and was still recovered was written but
    /// never acknowledged.
    pub proven_durable: u64,
    /// The writer before had closed the journal.
    pub closed: bool,
    /// How it ended.
    pub tail: Tail,
    /// `Some(s)`: whether messages from `s` on were synced before the crash cannot be told from this journal alone;
    /// a replica or the source may know. `None` after a close, or for a new journal.
    pub undecidable_from: Option<u64>,
    /// The epoch it goes on in, where it was put back from a copy: numbers behind that may have been given before.
    pub epoch_behind_copy: Option<u32>,
}

impl Tail {
    /// Bytes that a crash left behind the last good batch.
    pub const fn torn_bytes(&self) -> u64 {
        match self {
            Self::Clean => 0,
            Self::Torn { size_bytes, .. } => *size_bytes,
        }
    }
}

/// A journal judged fit to go on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub report: RecoveryReport,
    /// The newest segment with where its chain ended; `None` if there is none.
    pub newest: Option<(OpenSegment, TailScan)>,
}

/// Applies the rule to the whole directory. The caller holds the writer's lock.
///
/// `evidence` is the highest sequence the caller knows to have been durable, 0 if it knows nothing.
pub(crate) fn recover(
    storage: &Arc<dyn Storage>,
    channel: &str,
    first_sequence: u64,
    evidence: u64,
) -> Result<Recovered, JournalError> {
    let watermark = watermark::read(&**storage)?;
    let numbers = segment::list(&**storage)?;
    let missing = |segment, sequence| segment::missing(&**storage, segment, sequence);
    let Some(&newest_number) = numbers.last() else {
        let durable = evidence.max(watermark.map_or(0, |watermark| watermark.sequence));
        if durable >= first_sequence {
            return Err(missing(watermark.map_or(1, |watermark| watermark.segment), first_sequence));
        }
        let report = RecoveryReport {
            created: true,
            first_sequence,
            last_sequence: first_sequence - 1,
            last_batch: 0,
            segment_count: 0,
            proven_durable: first_sequence - 1,
            closed: true,
            tail: Tail::Clean,
            undecidable_from: None,
            epoch_behind_copy: None,
        };
        return Ok(Recovered { report, newest: None });
    };
    let oldest = check_succession(&**storage, channel, &numbers)?;
    beginning::check(&**storage, numbers[0])?;
    let newest = segment::open(&**storage, newest_number, Access::ReadWrite)?
        .ok_or_else(|| missing(newest_number, first_sequence))?;
    if let Some(watermark) = watermark
        && watermark.segment > newest_number
    {
        return Err(missing_behind(&**storage, &newest));
    }
    // Make what is valid durable, then look at the disk and not at a cache that a failed write may have left wrong.
    let path = storage.path(&segment::file_name(newest_number));
    newest.file.sync().map_err(io_error("sync", &path))?;
    newest.file.forget_cached().map_err(io_error("read", &path))?;
    let proof = Proof { watermark, evidence };
    let scan = scan_tail(&**storage, &newest, proof)?;
    let last_sequence = scan.state.next_sequence - 1;
    let closed = watermark
        .is_some_and(|watermark| watermark.closed && watermark.segment == newest_number && scan.tail == Tail::Clean);
    let report = RecoveryReport {
        created: false,
        first_sequence: oldest,
        last_sequence,
        last_batch: scan.state.batch_number,
        segment_count: numbers.len(),
        proven_durable: scan.proven_durable,
        closed,
        tail: scan.tail.clone(),
        undecidable_from: (!closed).then_some(last_sequence + 1),
        epoch_behind_copy: None,
    };
    Ok(Recovered { report, newest: Some((newest, scan)) })
}

/// Checks that each header follows from the one before; the first sequence of all.
pub(crate) fn check_succession(storage: &dyn Storage, channel: &str, numbers: &[u64]) -> Result<u64, JournalError> {
    let mut oldest = 0;
    let mut before: Option<crate::frame::SegmentHeader> = None;
    for &number in numbers {
        let path = storage.path(&segment::file_name(number));
        let Some(OpenSegment { header, .. }) = segment::read_header(storage, number)? else {
            continue; // removed by compaction since it was listed
        };
        if !channel.is_empty() && header.channel != channel {
            return Err(JournalError::Channel { path, expected: channel.into(), found: header.channel });
        }
        match &before {
            None => oldest = header.first_sequence,
            Some(before) => {
                let follows = header.first_sequence >= before.first_sequence
                    && header.predecessor_batch >= before.predecessor_batch
                    && header.epoch >= before.epoch
                    && header.journal_id == before.journal_id
                    && header.channel == before.channel;
                if !follows {
                    let sequence = header.first_sequence;
                    let damage = Damage::Succession;
                    return Err(JournalError::Damaged { path, segment: number, offset: 0, sequence, damage });
                }
            }
        }
        before = Some(header);
    }
    Ok(oldest)
}

/// What is known about durability from outside the segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    pub watermark: Option<Watermark>,
    pub evidence: u64,
}

/// Where the newest segment's chain ends and what lies behind it.
#[derive(Debug)]
pub(crate) struct TailScan {
    pub state: ChainState,
    /// First byte behind the last good batch.
    pub end: u64,
    pub proven_durable: u64,
    pub tail: Tail,
}

/// Walks the newest segment and applies the rule to its end.
pub(crate) fn scan_tail(storage: &dyn Storage, newest: &OpenSegment, proof: Proof) -> Result<TailScan, JournalError> {
    let path = storage.path(&segment::file_name(newest.header.segment));
    let header = &newest.header;
    let size_bytes = newest.file.size_bytes().map_err(io_error("read", &path))?.min(header.size_bytes);
    let damaged = |walked: &Walked, damage| JournalError::Damaged {
        path: path.clone(),
        segment: header.segment,
        offset: walked.end,
        sequence: walked.state.next_sequence,
        damage,
    };
    // The header itself was synced after everything before this segment.
    let mut proven = header.first_sequence - 1;
    let mut proven_batch = 0;
    if let Some(watermark) = proof.watermark {
        proven = proven.max(watermark.sequence);
        if watermark.segment == header.segment {
            proven_batch = watermark.batch_number;
        }
    }
    let mut buffer = Buffer::default();
    let mut refused = None;
    loop {
        let walked = walk(storage, newest, u64::MAX, &mut buffer, |batch, _| proven = proven.max(batch.durable_upto))?;
        if walked.fault == Some(BatchFault::Records) {
            return Err(damaged(&walked, Damage::Records));
        }
        let used = last_byte_used(storage, newest, walked.end, size_bytes, &mut buffer)?;
        let later = match used {
            None => 0,
            Some(used) => {
                let mut rest = vec![0; (size_bytes - walked.end) as usize];
                let read = read_full_at(&*newest.file, &mut rest, walked.end).map_err(io_error("read", &path))?;
                shown_later(&rest[..read], (used - walked.end) as usize, size_bytes, &walked.state).durable
            }
        };
        let state = walked.state;
        let shown_here = proven.max(later);
        let durable = shown_here.max(proof.evidence);
        let message_lost = durable >= state.next_sequence;
        if !message_lost && proven_batch <= state.batch_number {
            let tail = match used {
                None => Tail::Clean,
                Some(used) => {
                    let (segment, offset, sequence) = (header.segment, walked.end, state.next_sequence);
                    Tail::Torn { segment, offset, sequence, size_bytes: used - walked.end }
                }
            };
            let proven_durable = proven.max(proof.evidence);
            return Ok(TailScan { state, end: walked.end, proven_durable, tail });
        }
        // A live writer may have finished this batch since it was read: it is damaged if it is there no further.
        if refused == Some(walked.end) {
            let expected = state.batch_number + 1;
            let damage = match used {
                _ if !message_lost => Damage::Configuration { expected },
                None if shown_here < state.next_sequence => Damage::Evidence { durable },
                _ => Damage::Batch { durable },
            };
            return Err(damaged(&walked, damage));
        }
        refused = Some(walked.end);
    }
}

/// Last message of the batches that verify behind where a walk ended, 0 if there are none: not trusted, but known to have been
/// written.
pub(crate) fn last_shown_behind(
    storage: &dyn Storage,
    opened: &OpenSegment,
    walked: &Walked,
    buffer: &mut Buffer,
) -> Result<u64, JournalError> {
    let path = storage.path(&segment::file_name(opened.header.segment));
    let size_bytes = opened.file.size_bytes().map_err(io_error("read", &path))?.min(opened.header.size_bytes);
    let Some(used) = last_byte_used(storage, opened, walked.end, size_bytes, buffer)? else { return Ok(0) };
    let mut rest = vec![0; (size_bytes - walked.end) as usize];
    let read = read_full_at(&*opened.file, &mut rest, walked.end).map_err(io_error("read", &path))?;
    Ok(shown_later(&rest[..read], (used - walked.end) as usize, size_bytes, &walked.state).last)
}

/// What batches show that verify behind a bad one.
#[derive(Default)]
struct Later {
    /// Highest of their `durable_upto`, or `u64::MAX` when looking would take too long.
    durable: u64,
    /// Last message of them, as far as was looked.
    last: u64,
}

/// `bytes` are those from the bad batch on, of which only the first `used` are not zero.
fn shown_later(bytes: &[u8], used: usize, segment_size_bytes: u64, state: &ChainState) -> Later {
    let mut later = Later::default();
    let mut hashed: u64 = 0;
    let mut offset = 8;
    while offset < used && offset + BATCH_HEADER_SIZE_BYTES <= bytes.len() {
        match state.check_later(&bytes[offset..]) {
            Ok(batch) => {
                later.durable = later.durable.max(batch.durable_upto);
                later.last = later.last.max(state.after(&batch).next_sequence - 1);
                offset += batch.length as usize;
            }
            Err(LaterFault::Implausible) => offset += 8,
            Err(LaterFault::Checksum { hashed_bytes }) => {
                hashed += hashed_bytes as u64;
                if hashed > HASHED_SEGMENTS_MAX * segment_size_bytes {
                    return Later { durable: u64::MAX, ..later };
                }
                offset += 8;
            }
        }
    }
    later
}
