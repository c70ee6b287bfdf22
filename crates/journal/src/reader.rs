//! Reads a journal from any sequence, verifying the chain, and follows its live tail.
//!
//! A reader sees only what is durable ([`Visible::Durable`]): what the writer's watermark file reaches, or what a
//! next segment has sealed. It may run in another process, during the writer's life or after it, and holds no lock.
//! It reads with `pread` and does not map: a sealed segment is cut to its used size, and a mapping of the cut part
//! would be a signal instead of an error.

use std::path::Path;
use std::sync::Arc;

use crate::beginning;
use crate::error::{Damage, JournalError, io_error};
use crate::frame::{
    BATCH_CONFIGURATION, BATCH_HEADER_SIZE_BYTES, BatchFault, BatchHeader, ChainState, Records,
    SEGMENT_HEADER_SIZE_BYTES,
};
use crate::segment::{self, OpenSegment};
use crate::storage::{self, Storage, read_full_at};
use crate::walk::follows;
use crate::watermark::WatermarkReader;

/// Bytes read ahead; small enough to stay in the second-level cache beside the decoder's own data.
const WINDOW_SIZE_BYTES: usize = 256 * 1024;

/// Which messages a reader is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Visible {
    /// Only what is durable: the only choice for whoever makes something lasting of it.
    #[default]
    Durable,
    /// All that verifies, for inspection: the last messages may be gone after a crash.
    Written,
}

/// Where and what to read.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// First sequence to give; 0 for the first held.
    pub from_sequence: u64,
    /// See [`Visible`].
    pub visible: Visible,
    /// Channel expected; empty for any.
    pub channel: String,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { from_sequence: 0, visible: Visible::Durable, channel: String::new() }
    }
}

impl ReaderOptions {
    /// From `from_sequence` on, durable messages only.
    pub fn from_sequence(from_sequence: u64) -> Self {
        Self { from_sequence, ..Self::default() }
    }
}

/// One verified batch, borrowed from the reader's buffer.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    header: BatchHeader,
    from_sequence: u64,
    payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Sequence of its first message, even if the reader was asked to begin later.
    pub fn first_sequence(&self) -> u64 {
        self.header.first_sequence
    }

    /// Sequence of its last message.
    pub fn last_sequence(&self) -> u64 {
        self.header.first_sequence + u64::from(self.header.count) - 1
    }

    /// Number of the batch; rises by one through the whole journal.
    pub fn batch_number(&self) -> u64 {
        self.header.batch_number
    }

    /// Epoch of its messages.
    pub fn epoch(&self) -> u32 {
        self.header.epoch
    }

    /// What the writer knew durable when it wrote this.
    pub fn durable_upto(&self) -> u64 {
        self.header.durable_upto
    }

    /// Chain value, to compare journals with each other.
    pub fn chain(&self) -> u32 {
        self.header.chain
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> usize {
        self.header.length as usize
    }

    /// The messages asked for: (sequence, payload).
    pub fn records(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let from_sequence = self.from_sequence;
        Records::new(self.header.first_sequence, self.payload)
            .skip_while(move |(sequence, _)| *sequence < from_sequence)
    }
}

/// Reads batches in order.
#[derive(Debug)]
pub struct JournalReader {
    storage: Arc<dyn Storage>,
    options: ReaderOptions,
    segment: OpenSegment,
    offset: u64,
    state: ChainState,
    watermark: WatermarkReader,
    /// Highest sequence known durable.
    durable: u64,
    /// Last batch of this segment as its successor names it; 0 while that is not known to be there.
    sealed_batch: u64,
    /// What the last batch of configuration before here said.
    configuration: Option<String>,
    window: Window,
}

impl JournalReader {
    /// Opens the journal in the directory `path`.
    ///
    /// # Errors
    /// [`JournalError::Absent`] when there is none, [`JournalError::Compacted`] when the sequence asked for is gone.
    pub fn open(path: &Path, options: ReaderOptions) -> Result<Self, JournalError> {
        Self::open_storage(storage::directory(path), options)
    }

    /// As [`Self::open`], over any storage.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_storage(storage: Arc<dyn Storage>, options: ReaderOptions) -> Result<Self, JournalError> {
        let root = storage.path("");
        let (first, chosen) = choose_segment(&*storage, options.from_sequence)?;
        if options.from_sequence < first {
            beginning::check(&*storage, segment::list(&*storage)?.first().copied().unwrap_or(1))?;
        }
        if !options.channel.is_empty() && chosen.header.channel != options.channel {
            let (expected, found) = (options.channel, chosen.header.channel);
            return Err(JournalError::Channel { path: root, expected, found });
        }
        if options.from_sequence != 0 && options.from_sequence < first {
            return Err(JournalError::Compacted { path: root, requested: options.from_sequence, first });
        }
        let state = ChainState::at_start(&chosen.header, chosen.header_crc);
        Ok(Self {
            storage,
            options,
            offset: SEGMENT_HEADER_SIZE_BYTES as u64,
            state,
            durable: chosen.header.first_sequence - 1,
            sealed_batch: 0,
            configuration: None,
            segment: chosen,
            watermark: WatermarkReader::default(),
            window: Window::default(),
        })
    }

    /// Channel the journal belongs to.
    pub fn channel(&self) -> &str {
        &self.segment.header.channel
    }

    /// What tells the journal from another of the same channel.
    pub fn journal_id(&self) -> u64 {
        self.segment.header.journal_id
    }

    /// Configuration in force for the message read last, as the writer was given it; `None` where it was given none, in
    /// version 1, and before the first message.
    pub fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }

    /// When the segment being read was begun, ns since 1970 UTC by the writer's clock; `None` in version 1.
    pub fn created_ns(&self) -> Option<i64> {
        self.segment.header.created_ns()
    }

    /// Sequence of the next message to be read. Further on than the last one read where a cut gave up what was in between:
    /// then no message of those numbers will come.
    pub fn next_sequence(&self) -> u64 {
        self.state.next_sequence.max(self.options.from_sequence)
    }

    /// Number of the segment being read.
    pub fn segment(&self) -> u64 {
        self.segment.header.segment
    }

    /// Highest sequence this reader has seen to be durable; as new as its last read.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The next batch, or `None` when there is nothing more to see now; ask again to follow the tail.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when durable bytes do not verify. The reader stays where it is.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, JournalError> {
        loop {
            if self.state.next_sequence > self.durable {
                self.look_for_durable()?;
            }
            let inside = self.state.next_sequence <= self.durable || self.state.batch_number < self.sealed_batch;
            if !inside && self.options.visible == Visible::Durable {
                return Ok(None);
            }
            let found = self.check_next()?;
            match found {
                Ok(header) => {
                    let from = self.offset + BATCH_HEADER_SIZE_BYTES as u64;
                    let size = header.length as usize - BATCH_HEADER_SIZE_BYTES;
                    self.offset += u64::from(header.length);
                    self.state = self.state.after(&header);
                    if header.kind == BATCH_CONFIGURATION {
                        self.configuration = configuration_of(self.window.held(from, size));
                        continue;
                    }
                    if self.state.next_sequence <= self.options.from_sequence {
                        continue;
                    }
                    let payload = self.window.held(from, size);
                    return Ok(Some(Batch { header, from_sequence: self.options.from_sequence, payload }));
                }
                Err(fault) => {
                    if self.enter_next_segment()? {
                        continue;
                    }
                    match fault {
                        BatchFault::Records => return Err(self.damaged(Damage::Records)),
                        BatchFault::Invalid if inside => {
                            return Err(self.damaged(Damage::Batch { durable: self.durable }));
                        }
                        BatchFault::Invalid => return Ok(None),
                    }
                }
            }
        }
    }

    /// Learns from the watermark file and from the headers of the next segments how far the journal is durable. From the
    /// headers too where the watermark is of this segment: what a power loss left of it, or an opening that was cut off,
    /// may be older than segments that were begun since.
    fn look_for_durable(&mut self) -> Result<(), JournalError> {
        let watermark = self.watermark.poll(&*self.storage)?;
        self.durable = self.durable.max(watermark.map_or(0, |watermark| watermark.sequence));
        while self.state.next_sequence > self.durable && self.state.batch_number >= self.sealed_batch {
            let Some(next) = segment::read_header(&*self.storage, self.segment() + 1)? else {
                if watermark.is_none_or(|watermark| watermark.segment != self.segment()) {
                    self.look_for_compaction()?;
                }
                return Ok(());
            };
            self.durable = self.durable.max(next.header.first_sequence - 1);
            if self.durable < self.state.next_sequence && !self.enter_next_segment()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The head of the next batch, with the whole batch in the window.
    fn check_next(&mut self) -> Result<Result<BatchHeader, BatchFault>, JournalError> {
        let room = self.segment.header.size_bytes.saturating_sub(self.offset) as usize;
        let fresh = self.state.next_sequence > self.window.durable;
        let (durable, offset) = (self.durable, self.offset);
        let file = &*self.segment.file;
        let path = || self.storage.path(&segment::file_name(self.segment.header.segment));
        let load = |window: &mut Window, size: usize, fresh: bool| {
            window.load(file, offset, size.min(room), fresh, durable).map_err(|error| io_error("read", &path())(error))
        };
        load(&mut self.window, BATCH_HEADER_SIZE_BYTES, fresh)?;
        let Some(claimed) = self.state.check_head(self.window.from(offset), room) else {
            return Ok(Err(BatchFault::Invalid));
        };
        // The length is not verified yet, but it is bounded by the segment.
        load(&mut self.window, claimed.length as usize, false)?;
        Ok(self.state.check(self.window.from(offset)))
    }

    /// Goes on to the next segment if there is one; its header must name the batch this one ended with, or, where
    /// this one is empty, what it was itself given. True if there is more to look at.
    fn enter_next_segment(&mut self) -> Result<bool, JournalError> {
        let Some(next) = segment::read_header(&*self.storage, self.segment() + 1)? else {
            return self.look_for_compaction();
        };
        let seal = &next.header;
        if seal.predecessor_batch > self.state.batch_number {
            // Sealed further on: all up to there is durable. A live writer may have written it since we looked, so
            // look once more; what does not verify then is damaged.
            let sealed = seal.first_sequence - 1;
            if self.sealed_batch < seal.predecessor_batch {
                self.sealed_batch = seal.predecessor_batch;
                self.durable = self.durable.max(sealed);
                return Ok(true);
            }
            return Err(self.damaged(Damage::Batch { durable: sealed }));
        }
        if !follows(seal, &self.state) {
            let (expected, found) = (seal.predecessor_batch, self.state.batch_number);
            return Err(self.damaged(Damage::Seal { expected, found }));
        }
        self.state = ChainState::at_start(&next.header, next.header_crc);
        self.sealed_batch = 0;
        self.durable = self.durable.max(next.header.first_sequence - 1);
        self.offset = SEGMENT_HEADER_SIZE_BYTES as u64;
        self.segment = next;
        self.window.clear();
        Ok(true)
    }

    /// There is no next segment, which is the end of the journal unless compaction has removed it: it removes this one first.
    fn look_for_compaction(&self) -> Result<bool, JournalError> {
        if segment::is_there(&*self.storage, self.segment())? {
            return Ok(false);
        }
        match segment::list(&*self.storage) {
            Ok(numbers) if numbers.first().is_some_and(|&first| first > self.segment() + 1) => {
                let (first, _) = choose_segment(&*self.storage, 0)?;
                let (path, requested) = (self.storage.path(""), self.next_sequence());
                Err(JournalError::Compacted { path, requested, first })
            }
            // The next one was made meanwhile.
            Ok(numbers) if numbers.contains(&(self.segment() + 1)) => Ok(true),
            // The whole journal was removed: its writer ends with that, and there is nothing more to see.
            Ok(_) | Err(JournalError::Absent { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn damaged(&self, damage: Damage) -> JournalError {
        let segment = self.segment();
        JournalError::Damaged {
            path: self.storage.path(&segment::file_name(segment)),
            segment,
            offset: self.offset,
            sequence: self.state.next_sequence,
            damage,
        }
    }
}

/// Text of a batch of configuration, from its records.
pub(crate) fn configuration_of(records: &[u8]) -> Option<String> {
    let (_, text) = Records::new(0, records).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The first sequence held, and the last segment that begins at or before `from_sequence`, the first one for 0.
pub(crate) fn choose_segment(storage: &dyn Storage, from_sequence: u64) -> Result<(u64, OpenSegment), JournalError> {
    loop {
        let numbers = segment::list(storage)?;
        let Some(&oldest) = numbers.first() else { return Err(JournalError::Absent { path: storage.path("") }) };
        // One that compaction has removed since it was listed: the list is made anew, and begins later.
        let Some(mut chosen) = segment::read_header(storage, oldest)? else { continue };
        let first = chosen.header.first_sequence;
        // Headers are in order of their numbers.
        let (mut low, mut high) = (0, numbers.len());
        while from_sequence > first && high - low > 1 {
            let middle = usize::midpoint(low, high);
            match segment::read_header(storage, numbers[middle])? {
                Some(candidate) if candidate.header.first_sequence > from_sequence => high = middle,
                Some(candidate) => (low, chosen) = (middle, candidate),
                None => low = middle,
            }
        }
        if chosen.header.segment == numbers[low] {
            return Ok((first, chosen));
        }
    }
}

/// Bytes of the file read ahead.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    /// Bytes of the buffer that the file filled.
    filled: usize,
    /// Offset of the buffer in the file.
    start: u64,
    /// What was known durable when these bytes were read: batches up to it are final, later ones may be stale.
    durable: u64,
}

impl Window {
    /// Makes `size` bytes at `offset` present as far as the file reaches; reads again if `fresh` is asked for.
    pub fn load(
        &mut self,
        file: &dyn storage::StorageFile,
        offset: u64,
        size: usize,
        fresh: bool,
        durable: u64,
    ) -> std::io::Result<()> {
        let held = offset >= self.start && offset + size as u64 <= self.start + self.filled as u64;
        if held && !fresh {
            return Ok(());
        }
        let wanted = size.max(WINDOW_SIZE_BYTES);
        if self.buffer.len() < wanted {
            self.buffer = vec![0; wanted];
        }
        self.filled = 0;
        self.filled = read_full_at(file, &mut self.buffer[..wanted], offset)?;
        self.start = offset;
        self.durable = durable;
        Ok(())
    }

    /// Forgets the bytes: those of another segment.
    fn clear(&mut self) {
        self.filled = 0;
        self.durable = 0;
    }

    /// What is held from `offset` on.
    pub fn from(&self, offset: u64) -> &[u8] {
        offset.checked_sub(self.start).and_then(|skip| self.buffer[..self.filled].get(skip as usize..)).unwrap_or(&[])
    }

    fn held(&self, offset: u64, size: usize) -> &[u8] {
        &self.from(offset)[..size]
    }
}
