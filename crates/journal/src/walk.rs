//! Verifies one segment from its header on, batch by batch, through a buffer that stays in the cache.
//!
//! A segment can be verified without those before it: its header says what the chain had come to, and the next header
//! says where it must end. So segments are verified side by side ([`each`]).

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Mutex, PoisonError};

use crate::error::{Damage, JournalError, io_error};
use crate::frame::{
    BATCH_HEADER_SIZE_BYTES, BatchFault, BatchHeader, ChainState, SEGMENT_HEADER_SIZE_BYTES, SegmentHeader,
};
use crate::segment::{self, OpenSegment};
use crate::storage::{Storage, read_full_at};

const BUFFER_SIZE_BYTES: usize = 512 * 1024;
static ZEROS: [u8; 4096] = [0; 4096];
/// Less than this one thread has read before another has begun.
const SHARED_SIZE_BYTES_MIN: u64 = 4 << 20;

/// Where the chain of a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walked {
    /// After the last batch that verifies.
    pub state: ChainState,
    /// First byte behind it.
    pub end: u64,
    /// Why it ends there; `None` when as much was read as was asked for.
    pub fault: Option<BatchFault>,
}

/// Bytes that are used again from segment to segment.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

/// Walks the segment until `upto` is reached or nothing valid follows; `seen` is given each batch, its records behind it.
pub(crate) fn walk(
    storage: &dyn Storage,
    opened: &OpenSegment,
    upto: u64,
    buffer: &mut Buffer,
    mut seen: impl FnMut(&BatchHeader, &[u8]),
) -> Result<Walked, JournalError> {
    walk_while(storage, opened, upto, buffer, |header, records| {
        seen(header, records);
        ControlFlow::Continue(())
    })
}

/// As [`walk`], until `seen` breaks: then it ends behind that batch.
pub(crate) fn walk_while(
    storage: &dyn Storage,
    opened: &OpenSegment,
    upto: u64,
    buffer: &mut Buffer,
    mut seen: impl FnMut(&BatchHeader, &[u8]) -> ControlFlow<()>,
) -> Result<Walked, JournalError> {
    let path = || storage.path(&segment::file_name(opened.header.segment));
    let bytes = &mut buffer.0;
    let wanted = BUFFER_SIZE_BYTES.min(opened.header.size_bytes as usize);
    if bytes.len() < wanted {
        bytes.resize(wanted, 0);
    }
    let mut state = ChainState::at_start(&opened.header, opened.header_crc);
    let mut end = SEGMENT_HEADER_SIZE_BYTES as u64;
    // What the buffer holds: bytes of the file from `end - at` on, `filled` of them.
    let (mut at, mut filled, mut ended) = (0, 0, false);
    while state.next_sequence <= upto {
        let room = opened.header.size_bytes.saturating_sub(end) as usize;
        let head = state.check_head(&bytes[at..filled], room);
        let wanted = match head {
            Some(head) => head.length as usize,
            None => BATCH_HEADER_SIZE_BYTES,
        };
        if filled - at < wanted && !ended {
            bytes.copy_within(at..filled, 0);
            filled -= at;
            at = 0;
            if bytes.len() < wanted {
                bytes.resize(wanted.next_multiple_of(BUFFER_SIZE_BYTES), 0);
            }
            let space = bytes.len() - filled;
            let read = read_full_at(&*opened.file, &mut bytes[filled..], end + filled as u64)
                .map_err(|error| io_error("read", &path())(error))?;
            ended = read < space;
            filled += read;
            continue;
        }
        match state.check(&bytes[at..filled]) {
            Ok(header) if u64::from(header.length) <= room as u64 => {
                let size = header.length as usize;
                let seen = seen(&header, &bytes[at + BATCH_HEADER_SIZE_BYTES..at + size]);
                at += size;
                end += size as u64;
                state = state.after(&header);
                if seen.is_break() {
                    break;
                }
            }
            Ok(_) => return Ok(Walked { state, end, fault: Some(BatchFault::Invalid) }),
            Err(fault) => return Ok(Walked { state, end, fault: Some(fault) }),
        }
    }
    Ok(Walked { state, end, fault: None })
}

/// That the segment behind `opened` is missing, with the first message that it had.
pub(crate) fn missing_behind(storage: &dyn Storage, opened: &OpenSegment) -> JournalError {
    match walk(storage, opened, u64::MAX, &mut Buffer::default(), |_, _| ()) {
        Ok(walked) => segment::missing(storage, opened.header.segment + 1, walked.state.next_sequence),
        Err(error) => error,
    }
}

/// First byte from `offset` on behind which the file has only zeros, up to `size_bytes`; `None` if they all are.
pub(crate) fn last_byte_used(
    storage: &dyn Storage,
    opened: &OpenSegment,
    offset: u64,
    size_bytes: u64,
    buffer: &mut Buffer,
) -> Result<Option<u64>, JournalError> {
    let path = storage.path(&segment::file_name(opened.header.segment));
    let bytes = &mut buffer.0;
    let (mut at, mut last) = (offset, None);
    while at < size_bytes {
        let size = (size_bytes - at).min(bytes.len() as u64) as usize;
        let read = read_full_at(&*opened.file, &mut bytes[..size], at).map_err(io_error("read", &path))?;
        if read == 0 {
            break;
        }
        // In blocks, which compare as fast as memory is read.
        let block = bytes[..read].chunks(ZEROS.len()).rposition(|block| *block != ZEROS[..block.len()]);
        if let Some(block) = block {
            let from = block * ZEROS.len();
            let used = bytes[from..read].iter().take(ZEROS.len()).rposition(|&byte| byte != 0);
            last = used.map(|used| at + (from + used) as u64 + 1);
        }
        at += read as u64;
    }
    Ok(last)
}

/// Whether a segment of this header goes on where the chain has come to. A new epoch, begun by a cut, may begin further on: the
/// numbers in between were given to messages that the cut gave up, and are never given again.
pub(crate) fn follows(header: &SegmentHeader, state: &ChainState) -> bool {
    let sequence_follows = match header.epoch.cmp(&state.epoch) {
        Ordering::Less => false,
        Ordering::Equal => header.first_sequence == state.next_sequence,
        Ordering::Greater => header.first_sequence >= state.next_sequence,
    };
    sequence_follows && (header.predecessor_batch, header.predecessor_chain) == (state.batch_number, state.chain)
}

/// What is wrong with a segment that ended at `walked`, if the header of the next one does not name that as its end.
pub(crate) fn check_seal(
    storage: &dyn Storage,
    segment: u64,
    walked: &Walked,
    next: &OpenSegment,
) -> Result<(), JournalError> {
    let (seal, state) = (&next.header, &walked.state);
    let damage = if seal.predecessor_batch > state.batch_number {
        Damage::Batch { durable: seal.first_sequence - 1 }
    } else if !follows(seal, state) {
        Damage::Seal { expected: seal.predecessor_batch, found: state.batch_number }
    } else {
        return Ok(());
    };
    let path = storage.path(&segment::file_name(segment));
    Err(JournalError::Damaged { path, segment, offset: walked.end, sequence: state.next_sequence, damage })
}

/// Calls `work` for the number of each segment in `sizes`, bytes of their files, and gives what it returned, in order. Much is
/// shared among as many threads as there are cores, each with a buffer of its own.
pub(crate) fn each<T: Send>(sizes: &[u64], work: impl Fn(usize, &mut Buffer) -> T + Sync) -> Vec<T> {
    let count = sizes.len();
    let threads = match sizes.iter().sum::<u64>() {
        0..SHARED_SIZE_BYTES_MIN => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from).min(count).max(1),
    };
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    let run = || {
        let mut buffer = Buffer::default();
        loop {
            let index = next.fetch_add(1, atomic::Ordering::Relaxed);
            if index >= count {
                return;
            }
            let result = work(index, &mut buffer);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without a thread the others do its part.
            drop(std::thread::Builder::new().name("journal-verify".into()).spawn_scoped(scope, run));
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
