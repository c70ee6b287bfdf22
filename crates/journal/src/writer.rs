//! The one writer of a journal.
//!
//! Three steps with three names: [`JournalWriter::append`] puts a message into the open batch (memory),
//! [`JournalWriter::flush`] hands the batch to the operating system, [`JournalWriter::sync`] makes it durable. Only
//! what `sync` has returned for may be acknowledged. A failed write or sync poisons the writer: after it the kernel
//! may report clean pages that never reached the disk, so trying again would acknowledge what is lost.
//!
//! A writer belongs to the process that opened it. A forked child has its descriptors and none of its right: it would write over
//! what its parent acknowledges. There every call is refused, and closing or dropping it does nothing.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::begun_cut;
use crate::birth;
use crate::error::{JournalError, io_error};
use crate::fork::Owner;
use crate::frame::{
    BATCH_HEADER_SIZE_BYTES, BatchBuilder, BatchHeader, CHANNEL_SIZE_BYTES_MAX, ChainState, FORMAT_VERSION,
    SEGMENT_HEADER_SIZE_BYTES, SegmentHeader,
};
use crate::owned_thread::OwnedThread;
use crate::put_back;
use crate::recovery::{Recovered, RecoveryReport, Tail, recover};
use crate::segment::{self, BlankSegment, OpenSegment, SEGMENT_SIZE_BYTES_MAX, SEGMENT_SIZE_BYTES_MIN};
use crate::storage::{self, Storage, StorageLock, write_all_at};
use crate::watermark::{Watermark, WatermarkWriter};

pub(crate) const LOCK_NAME: &str = "lock";
/// Between looks at a lock that is taken: longer each time, as one who looks may be kept from running.
const LOCK_PAUSES: [Duration; 4] =
    [Duration::from_micros(50), Duration::from_millis(1), Duration::from_millis(10), Duration::ZERO];
/// Longest configuration, however large the segments are.
const CONFIGURATION_SIZE_BYTES_MAX: u64 = 64 << 10;

/// How a journal is written.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Channel whose messages these are; another channel's directory is refused.
    pub channel: String,
    /// Bytes of a segment, allocated at once.
    pub segment_size_bytes: u64,
    /// A batch that has reached this is flushed by itself; the next sync covers it.
    pub batch_size_bytes: usize,
    /// Sequence of the first message of a new journal.
    pub first_sequence: u64,
    /// Epoch of a new journal's messages; an existing one keeps its own, but for one that was put back from a copy.
    pub epoch: u32,
    /// One that was put back from a copy stays in its epoch, and is known for a copy, until [`JournalWriter::begin_epoch`]: who opens
    /// it has messages of that epoch which the copy lacks.
    pub epoch_later: bool,
    /// Latest epoch that is known from elsewhere, as from a ring: a journal of an earlier one was put back from a copy. 0 if none is.
    pub epoch_known: u32,
    /// Highest sequence known from elsewhere to have been durable (a storage position, a replica's head): a journal
    /// that ends before it is damaged, not torn. 0 if nothing is known.
    pub evidence: u64,
    /// Allocate the next segment in a thread while this one fills, so that no message waits for it.
    pub allocate_ahead: bool,
    /// How often, at most, the writer looks whether its segment still has its name.
    pub look_interval: Duration,
    /// What the channel is run with, as JSON; empty for nothing. Every segment begins with it, so that it is known for
    /// every message whatever compaction removed.
    pub configuration: String,
}

impl JournalOptions {
    /// Defaults: 64 MiB segments, 1 MiB batches, sequences from 1 in epoch 1.
    pub fn new(channel: impl Into<String>) -> Self {
        Self {
            channel: channel.into(),
            segment_size_bytes: 64 << 20,
            batch_size_bytes: 1 << 20,
            first_sequence: 1,
            epoch: 1,
            epoch_later: false,
            epoch_known: 0,
            evidence: 0,
            allocate_ahead: true,
            look_interval: Duration::from_secs(1),
            configuration: String::new(),
        }
    }

    fn check(&self) -> Result<(), JournalError> {
        let refuse = |option, value: String, rule: String| Err(JournalError::Option { option, value, rule });
        let sizes = SEGMENT_SIZE_BYTES_MIN..=SEGMENT_SIZE_BYTES_MAX;
        if !sizes.contains(&self.segment_size_bytes) || !self.segment_size_bytes.is_multiple_of(4096) {
            let rule = format!("a multiple of 4096 from {} to {}", sizes.start(), sizes.end());
            return refuse("segment_size_bytes", self.segment_size_bytes.to_string(), rule);
        }
        if self.channel.is_empty() || self.channel.len() > CHANNEL_SIZE_BYTES_MAX {
            return refuse("channel", self.channel.clone(), format!("1 to {CHANNEL_SIZE_BYTES_MAX} bytes"));
        }
        check_configuration(&self.configuration, self.segment_size_bytes)?;
        if self.first_sequence == 0 {
            return refuse("first_sequence", "0".into(), "sequences start at 1".into());
        }
        Ok(())
    }
}

/// Appends messages to a journal; at most one per directory, held by a lock of the kernel.
#[derive(Debug)]
pub struct JournalWriter {
    storage: Arc<dyn Storage>,
    options: JournalOptions,
    segment: OpenSegment,
    /// Where the next batch goes.
    offset: u64,
    /// After the last flushed batch.
    state: ChainState,
    batch: BatchBuilder,
    /// After the last synced batch; `durable` of it is what others see.
    synced: ChainState,
    durable: Arc<AtomicU64>,
    /// Epoch of the journal as it was found.
    epoch_found: u32,
    watermark: WatermarkWriter,
    next_segment: Option<OwnedThread<Result<BlankSegment, JournalError>>>,
    poison: Option<String>,
    owner: Owner,
    looked: Instant,
    /// Released last.
    _lock: Box<dyn StorageLock>,
}

impl JournalWriter {
    /// Opens the journal in the directory `path`, or makes one, and begins a new segment.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when bytes that were durable are not what was written; nothing is changed then.
    /// [`JournalError::Locked`] while another process writes it.
    pub fn open(path: &Path, options: JournalOptions) -> Result<(Self, RecoveryReport), JournalError> {
        Self::open_storage(storage::directory(path), options)
    }

    /// As [`Self::open`], over any storage.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_storage(
        storage: Arc<dyn Storage>,
        options: JournalOptions,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        Self::open_if(storage, options, |_| Ok(()))
    }

    /// As [`Self::open_storage`], if `accepts` takes what is there: it is asked when nobody else can write it any more, and
    /// before anything is written here.
    ///
    /// # Errors
    /// As [`Self::open`]; what `accepts` returned.
    pub fn open_if<E: From<JournalError>>(
        storage: Arc<dyn Storage>,
        options: JournalOptions,
        accepts: impl FnOnce(&dyn Storage) -> Result<(), E>,
    ) -> Result<(Self, RecoveryReport), E> {
        let (lock, recovered) = Self::lock_and_recover(&storage, &options)?;
        accepts(&*storage)?;
        Ok(Self::begin(storage, options, lock, recovered)?)
    }

    fn lock_and_recover(
        storage: &Arc<dyn Storage>,
        options: &JournalOptions,
    ) -> Result<(Box<dyn StorageLock>, Recovered), JournalError> {
        options.check()?;
        let root = storage.path("");
        storage.create_directory().map_err(io_error("create", &root))?;
        let lock = lock(&**storage)?;
        segment::remove_unfinished(&**storage)?;
        let recovered = recover(storage, &options.channel, options.first_sequence, options.evidence)?;
        Ok((lock, recovered))
    }

    fn begin(
        storage: Arc<dyn Storage>,
        options: JournalOptions,
        lock: Box<dyn StorageLock>,
        Recovered { mut report, newest }: Recovered,
    ) -> Result<(Self, RecoveryReport), JournalError> {
        let root = storage.path("");
        let before = newest.as_ref().map(|(segment, scan)| (&segment.header, scan.state));
        let mut header = next_header(&*storage, &options, before)?;
        let epoch_found = header.epoch;
        let is_known_later = before.is_some() && epoch_found < options.epoch_known;
        let was_put_back = put_back::is_put_back(&*storage)? || is_known_later;
        let stays = was_put_back && options.epoch_later;
        if was_put_back && before.is_some() && !stays {
            header.epoch = put_back::next_epoch(&*storage, epoch_found.max(options.epoch_known))?;
            report.epoch_behind_copy = Some(header.epoch);
        }
        let segment = segment::allocate(&storage, header.segment, header.size_bytes)?.finish(&*storage, header)?;
        if let Some((sealed, scan)) = newest
            && scan.tail == Tail::Clean
        {
            release_unused(&*storage, &sealed, scan.end)?;
        }
        let mut state = ChainState::at_start(&segment.header, segment.header_crc);
        let mut offset = SEGMENT_HEADER_SIZE_BYTES as u64;
        if let Some((header, bytes)) = configuration_batch(&options.configuration, &state) {
            let path = storage.path(&segment::file_name(segment.header.segment));
            write_all_at(&*segment.file, &bytes, offset).map_err(io_error("write", &path))?;
            segment.file.sync().map_err(io_error("sync", &path))?;
            offset += u64::from(header.length);
            state = state.after(&header);
        }
        let watermark = WatermarkWriter::open(&*storage)?;
        watermark.publish_synced(watermark_of(&segment, &state, false))?;
        // Behind the segment that it led to: an opening that ended before is made up for by the next one.
        if !stays {
            birth::note(&*storage)?;
            if was_put_back {
                put_back::unmark(&*storage)?;
            }
        }
        storage.sync_directory().map_err(io_error("sync", &root))?;
        // Of a cut that was finished but for this.
        begun_cut::forget(&*storage)?;
        let writer = Self {
            options,
            segment,
            offset,
            state,
            batch: BatchBuilder::new(),
            synced: state,
            durable: Arc::new(AtomicU64::new(state.next_sequence - 1)),
            epoch_found,
            watermark,
            next_segment: None,
            poison: None,
            owner: Owner::here(),
            looked: Instant::now(),
            _lock: lock,
            storage,
        };
        Ok((writer, report))
    }

    /// Sequence the next message gets.
    pub fn next_sequence(&self) -> u64 {
        self.state.next_sequence + u64::from(self.batch.count())
    }

    /// Highest sequence handed to the operating system.
    pub fn flushed(&self) -> u64 {
        self.state.next_sequence - 1
    }

    /// Highest durable sequence: all up to it may be acknowledged.
    pub fn durable(&self) -> u64 {
        self.synced.next_sequence - 1
    }

    /// [`Self::durable`] for other threads of this process.
    pub fn durable_shared(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.durable)
    }

    /// Epoch of the messages.
    pub fn epoch(&self) -> u32 {
        self.state.epoch
    }

    /// Epoch in which the journal ended when it was opened.
    pub fn epoch_found(&self) -> u32 {
        self.epoch_found
    }

    /// What tells this journal from another of the same channel.
    pub fn journal_id(&self) -> u64 {
        self.segment.header.journal_id
    }

    /// Largest message [`Self::append`] takes.
    pub fn payload_size_bytes_max(&self) -> usize {
        self.batch_size_bytes_max() - BATCH_HEADER_SIZE_BYTES - BatchBuilder::record_size_bytes(0)
    }

    /// Bytes an empty segment has for a batch.
    fn batch_size_bytes_max(&self) -> usize {
        let configuration = match self.options.configuration.len() {
            0 => 0,
            size => BATCH_HEADER_SIZE_BYTES + BatchBuilder::record_size_bytes(size),
        };
        self.options.segment_size_bytes as usize - SEGMENT_HEADER_SIZE_BYTES - configuration
    }

    /// The channel is run otherwise from the next message on. What was appended is made durable first, and a new segment
    /// begins with `configuration`; nothing happens if it is the one in force.
    ///
    /// # Errors
    /// [`JournalError::Option`] when it is too long, else as [`Self::sync`].
    pub fn configure(&mut self, configuration: &str) -> Result<(), JournalError> {
        if self.options.configuration == configuration {
            return Ok(());
        }
        check_configuration(configuration, self.options.segment_size_bytes)?;
        self.sync()?;
        let before = std::mem::replace(&mut self.options.configuration, configuration.to_owned());
        let begun = self.begin_segment();
        if begun.is_err() {
            self.options.configuration = before;
        }
        begun
    }

    /// Goes on in an epoch that this journal never had, behind all that was appended, which is made durable first; from now on it is
    /// no copy any more. For who opened it with [`JournalOptions::epoch_later`].
    ///
    /// # Errors
    /// As [`Self::sync`]. Until this has returned it stays a copy for its next opening.
    pub fn begin_epoch(&mut self) -> Result<u32, JournalError> {
        self.sync()?;
        let epoch = put_back::next_epoch(&*self.storage, self.state.epoch.max(self.options.epoch_known))?;
        let before = self.state.epoch;
        (self.state.epoch, self.synced.epoch) = (epoch, epoch);
        if let Err(error) = self.begin_segment() {
            (self.state.epoch, self.synced.epoch) = (before, before);
            return Err(error);
        }
        self.sync_flushed()?;
        let noted = birth::note(&*self.storage).and_then(|()| put_back::unmark(&*self.storage));
        self.poison(noted)?;
        let synced = self.storage.sync_directory().map_err(io_error("sync", &self.storage.path("")));
        self.poison(synced)?;
        Ok(epoch)
    }

    /// Puts `payload` into the open batch and returns its sequence; touches the disk only to flush a full batch.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`], or what [`Self::flush`] returns; the message is not in the journal then.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, JournalError> {
        self.check_usable()?;
        let size_bytes_max = self.payload_size_bytes_max();
        if payload.len() > size_bytes_max {
            return Err(JournalError::TooLarge { size_bytes: payload.len(), size_bytes_max });
        }
        let limit = self.options.batch_size_bytes.min(self.batch_size_bytes_max());
        if self.batch.count() > 0 && self.batch.size_bytes() + BatchBuilder::record_size_bytes(payload.len()) > limit {
            self.flush()?;
        }
        let sequence = self.next_sequence();
        self.batch.push(payload);
        Ok(sequence)
    }

    /// Writes the open batch, beginning a new segment if it does not fit. Nothing is durable by this.
    ///
    /// # Errors
    /// [`JournalError::Full`]: the batch stays open and the call may be repeated. Any other failure poisons.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.check_usable()?;
        if self.batch.count() == 0 {
            return Ok(());
        }
        if self.offset + self.batch.size_bytes() as u64 > self.options.segment_size_bytes {
            self.begin_segment()?;
        }
        let durable = self.durable();
        let (header, bytes) = self.batch.seal(&self.state, durable);
        let path = self.storage.path(&segment::file_name(self.segment.header.segment));
        let written = write_all_at(&*self.segment.file, bytes, self.offset).map_err(io_error("write", &path));
        self.poison_unless_full(written)?;
        self.offset += u64::from(header.length);
        self.state = self.state.after(&header);
        self.batch.clear();
        if self.options.allocate_ahead
            && self.next_segment.is_none()
            && self.offset > self.options.segment_size_bytes / 2
        {
            let (storage, size_bytes) = (Arc::clone(&self.storage), self.options.segment_size_bytes);
            let number = self.segment.header.segment + 1;
            self.next_segment = std::thread::Builder::new()
                .name("journal-allocate".into())
                .spawn(move || segment::allocate(&storage, number, size_bytes))
                .map(OwnedThread::new)
                .ok(); // without a thread the segment is allocated when it is needed
        }
        Ok(())
    }

    /// Flushes and makes everything appended durable; returns the durable sequence.
    ///
    /// # Errors
    /// As [`Self::flush`] and [`Self::look`]; a failed sync poisons.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        self.flush()?;
        // Each time: what was removed before a message was written is never acknowledged with it.
        self.check_usable()?;
        self.look_now()?;
        self.sync_flushed()?;
        Ok(self.durable())
    }

    /// Looks whether the segment still has its name and its size, if the last look is `look_interval` ago: a removed or
    /// shortened file takes writes and syncs like any other, and what was in it is lost.
    ///
    /// # Errors
    /// [`JournalError::Removed`] and [`JournalError::Shortened`], which poison.
    pub fn look(&mut self) -> Result<(), JournalError> {
        self.check_usable()?;
        if self.looked.elapsed() < self.options.look_interval {
            return Ok(());
        }
        self.look_now()
    }

    fn look_now(&mut self) -> Result<(), JournalError> {
        self.looked = Instant::now();
        let name = segment::file_name(self.segment.header.segment);
        let path = self.storage.path(&name);
        let written = self.segment.file.identity().map_err(io_error("look at", &path))?;
        let (first_sequence, durable) = (self.segment.header.first_sequence, self.durable());
        match self.storage.identity(&name) {
            Ok(named) if named == written => {}
            // A directory that may not be searched says nothing about the file.
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Ok(_) | Err(_) => return self.poison(Err(JournalError::Removed { path, first_sequence, durable })),
        }
        // Zeros were written over its whole size, and nothing gives them back before it is sealed.
        let expected_bytes = self.segment.header.size_bytes;
        let size_bytes = self.segment.file.size_bytes().map_err(io_error("look at", &path))?;
        if size_bytes < expected_bytes {
            let shortened = JournalError::Shortened { path, size_bytes, expected_bytes, first_sequence, durable };
            return self.poison(Err(shortened));
        }
        Ok(())
    }

    /// Ends the journal cleanly: syncs, notes that nothing was pending, and gives back the space that was allocated for
    /// more. Does nothing in a forked child.
    ///
    /// # Errors
    /// As [`Self::sync`]; everything is durable when giving space back is what failed.
    pub fn close(mut self) -> Result<(), JournalError> {
        if !self.owner.is_here() {
            return Ok(());
        }
        self.sync()?;
        self.watermark.publish_synced(watermark_of(&self.segment, &self.synced, true))?;
        // Behind the note: until it is durable the zeros are what tells a clean tail from a cut one.
        self.end_allocating();
        segment::remove_unfinished(&*self.storage)?;
        release_unused(&*self.storage, &self.segment, self.offset)
    }

    fn sync_flushed(&mut self) -> Result<(), JournalError> {
        if self.synced == self.state {
            return Ok(());
        }
        let path = self.storage.path(&segment::file_name(self.segment.header.segment));
        let synced = self.segment.file.sync().map_err(io_error("sync", &path));
        self.poison(synced)?;
        self.synced = self.state;
        self.durable.store(self.durable(), Ordering::Release);
        let published = self.watermark.publish(watermark_of(&self.segment, &self.synced, false));
        self.poison(published)
    }

    /// Syncs and seals this segment; the next takes the open batch.
    fn begin_segment(&mut self) -> Result<(), JournalError> {
        self.look_now()?;
        self.sync_flushed()?;
        let header = next_header(&*self.storage, &self.options, Some((&self.segment.header, self.state)))?;
        let ahead = self.next_segment.take().and_then(|mut thread| thread.end(|| ()));
        let ahead = ahead.map(|allocated| allocated.expect("allocating a segment never panics"));
        let blank = match ahead {
            Some(Ok(blank)) => blank,
            // Space may have come back since the thread tried.
            Some(Err(_)) | None => {
                let allocated = segment::allocate(&self.storage, header.segment, header.size_bytes);
                self.poison_unless_full(allocated)?
            }
        };
        let finished = blank.finish(&*self.storage, header);
        let next = self.poison(finished)?;
        let sealed = std::mem::replace(&mut self.segment, next);
        let end = std::mem::replace(&mut self.offset, SEGMENT_HEADER_SIZE_BYTES as u64);
        self.state = ChainState::at_start(&self.segment.header, self.segment.header_crc);
        self.synced = self.state;
        let released = release_unused(&*self.storage, &sealed, end);
        self.poison(released)?;
        let Some((header, bytes)) = configuration_batch(&self.options.configuration, &self.state) else {
            return Ok(());
        };
        let path = self.storage.path(&segment::file_name(self.segment.header.segment));
        let written = write_all_at(&*self.segment.file, &bytes, self.offset).map_err(io_error("write", &path));
        self.poison(written)?;
        self.offset += u64::from(header.length);
        self.state = self.state.after(&header);
        Ok(())
    }

    /// Waits for the thread that allocates the next segment, if there is one.
    fn end_allocating(&mut self) {
        drop(self.next_segment.take().and_then(|mut thread| thread.end(|| ())));
    }

    /// Whether anything may still be written here.
    fn check_usable(&self) -> Result<(), JournalError> {
        if !self.owner.is_here() {
            return Err(JournalError::Forked { path: self.storage.path("") });
        }
        match &self.poison {
            None => Ok(()),
            Some(cause) => Err(JournalError::Poisoned { path: self.storage.path(""), cause: cause.clone() }),
        }
    }

    fn poison<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        result.map_err(|error| {
            let error = match error {
                // `Full` promises that the call may be repeated.
                JournalError::Full { path, source } => JournalError::Io { operation: "write", path, source },
                error => error,
            };
            self.poison = Some(error.to_string());
            error
        })
    }

    fn poison_unless_full<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if matches!(result, Err(JournalError::Full { .. })) { result } else { self.poison(result) }
    }
}

impl Drop for JournalWriter {
    /// Leaves the disk as a crash would; only waits for the allocating thread, which holds no lock of its own.
    fn drop(&mut self) {
        self.end_allocating();
    }
}

/// The writer's lock. Who only looks whether there is a writer ([`Storage::is_locked`]) has it for an instant and is waited for.
///
/// # Errors
/// [`JournalError::Locked`] while another writes.
pub(crate) fn lock(storage: &dyn Storage) -> Result<Box<dyn StorageLock>, JournalError> {
    let path = storage.path(LOCK_NAME);
    for pause in LOCK_PAUSES {
        if let Some(lock) = storage.try_lock(LOCK_NAME).map_err(io_error("lock", &path))? {
            return Ok(lock);
        }
        std::thread::sleep(pause);
    }
    Err(JournalError::Locked { path })
}

/// Header of the segment after `before`: (its header, where its chain ended).
fn next_header(
    storage: &dyn Storage,
    options: &JournalOptions,
    before: Option<(&SegmentHeader, ChainState)>,
) -> Result<SegmentHeader, JournalError> {
    let journal_id = match before {
        Some((header, _)) => header.journal_id,
        None => u64::from_le_bytes(segment::random_bytes(storage)?),
    };
    Ok(SegmentHeader {
        size_bytes: options.segment_size_bytes,
        segment: before.map_or(1, |(header, _)| header.segment + 1),
        first_sequence: before.map_or(options.first_sequence, |(_, state)| state.next_sequence),
        epoch: before.map_or(options.epoch, |(_, state)| state.epoch),
        key_id: 0,
        journal_id,
        salt: segment::random_bytes(storage)?,
        predecessor_batch: before.map_or(0, |(_, state)| state.batch_number),
        predecessor_chain: before.map_or(0, |(_, state)| state.chain),
        channel: options.channel.clone(),
        version: FORMAT_VERSION,
        created_ns: now_ns(),
    })
}

/// The batch a segment begins with, if the channel is said to be run with anything.
fn configuration_batch(configuration: &str, state: &ChainState) -> Option<(BatchHeader, Vec<u8>)> {
    if configuration.is_empty() {
        return None;
    }
    let mut batch = BatchBuilder::configuration(configuration);
    let (header, bytes) = batch.seal(state, state.next_sequence - 1);
    Some((header, bytes.to_vec()))
}

fn check_configuration(configuration: &str, segment_size_bytes: u64) -> Result<(), JournalError> {
    let size_bytes_max = (segment_size_bytes / 8).min(CONFIGURATION_SIZE_BYTES_MAX);
    if configuration.len() as u64 <= size_bytes_max {
        return Ok(());
    }
    let value = format!("{} bytes", configuration.len());
    Err(JournalError::Option { option: "configuration", value, rule: format!("at most {size_bytes_max} bytes") })
}

/// Now by the machine's clock, ns since 1970 UTC.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Gives back the zeros behind the last batch of a segment that takes no more: its seal is durable in its successor's
/// header, or the journal was closed behind it.
fn release_unused(storage: &dyn Storage, sealed: &OpenSegment, end: u64) -> Result<(), JournalError> {
    let path = storage.path(&segment::file_name(sealed.header.segment));
    sealed.file.truncate(end).map_err(io_error("truncate", &path))
}

fn watermark_of(segment: &OpenSegment, synced: &ChainState, closed: bool) -> Watermark {
    Watermark {
        sequence: synced.next_sequence - 1,
        batch_number: synced.batch_number,
        segment: segment.header.segment,
        epoch: synced.epoch,
        closed,
    }
}
