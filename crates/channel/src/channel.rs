//! Opening a durable channel: bringing ring and journal to one sequence, whatever happened before.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidebook_journal::{
    JournalError, JournalOptions, JournalReader, JournalThread, JournalWriter, ReaderOptions, RecoveryReport,
    SyncPolicy, Visible,
};
use tidebook_ring::{Consumer, ConsumerOptions, Mode, Producer, Read, Ring, RingError, RingKind, RingOptions, Start};

use crate::configuration;
use crate::consumer::ChannelConsumer;
use crate::error::ChannelError;
use crate::guarantee::Guarantee;
use crate::journaling::{CopyError, RingSource};
use crate::link;
use crate::progress::{DurableWaiter, Progress};

/// How a durable channel is made.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// Its ring. Epoch, first sequence and visibility are the channel's to set.
    pub ring: RingOptions,
    /// Its journal.
    pub journal: JournalOptions,
    /// When the journal syncs.
    pub sync: SyncPolicy,
}

impl ChannelOptions {
    /// A channel of messages of any length in a ring of `ring_size_bytes`; sync every 10 ms.
    pub fn frames(channel: &str, ring_size_bytes: u64) -> Self {
        Self::with_ring(channel, RingOptions::frames(ring_size_bytes))
    }

    /// A channel over any ring; sync every 10 ms.
    pub fn with_ring(channel: &str, ring: RingOptions) -> Self {
        Self { ring, journal: JournalOptions::new(channel), sync: SyncPolicy::default() }
    }

    fn check(&self, journal_max: u64) -> Result<(), ChannelError> {
        let ring_max = match self.ring.kind {
            RingKind::Slots { record_size_bytes, .. } => u64::from(record_size_bytes),
            RingKind::Frames { size_bytes } => size_bytes / 2,
            // What a producer claims and never commits has a sequence, which a journal could not have.
            RingKind::Runs { .. } => return Err(one_producer().into()),
        };
        if self.ring.mode != Mode::Spsc {
            return Err(one_producer().into());
        }
        if ring_max > journal_max { Err(ChannelError::Sizes { ring_max, journal_max }) } else { Ok(()) }
    }
}

fn one_producer() -> RingError {
    let reason = "a journaled channel has one producer; write from many through a memory channel and one process";
    RingError::Option { option: "mode", value: "mpsc".to_owned(), reason }
}

/// Why a ring that was found could not stay. Nothing visible was lost with it unless `lost` says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// For people.
    pub reason: String,
    /// Messages that were committed to it but never durable, as far as it could be read; `None`: unknown.
    pub lost: Option<u64>,
}

/// What opening a channel found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelReport {
    /// What the journal found.
    pub journal: RecoveryReport,
    /// Messages committed to the ring before a crash that the journal did not have and has now.
    pub replayed_from_ring: u64,
    /// The ring found was replaced.
    pub discarded: Option<Discarded>,
    /// The next message's sequence.
    pub next_sequence: u64,
}

impl fmt::Display for ChannelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "next sequence {}, {} messages from the ring", self.next_sequence, self.replayed_from_ring)?;
        if self.journal.tail.torn_bytes() > 0 {
            write!(f, ", {} torn bytes cut off", self.journal.tail.torn_bytes())?;
        }
        if let Some(sequence) = self.journal.undecidable_from {
            write!(f, ", whether the journal ever held more from {sequence} on it cannot tell")?;
        }
        let Some(discarded) = &self.discarded else { return Ok(()) };
        write!(f, ", ring made anew: {}", discarded.reason)?;
        match discarded.lost {
            Some(0) => Ok(()),
            Some(lost) => write!(f, ", {lost} messages that were never durable went with it"),
            None => write!(f, ", what it held and the journal has not is unknown"),
        }
    }
}

/// An open durable channel: its owner runs the journal's thread. Other processes open the ring alone.
#[derive(Debug)]
pub struct Channel {
    ring: Ring,
    journal_path: PathBuf,
    sync: SyncPolicy,
    waiter: DurableWaiter,
    thread: JournalThread,
}

/// Why a ring cannot stay that another directory's journal belongs to.
const OTHER_JOURNAL: &str = "it belongs to another journal";

impl Channel {
    /// Opens the channel whose ring is the file `ring_path` and whose journal the directory `journal_path`, making
    /// what is not there, and starts journaling.
    ///
    /// # Errors
    /// [`JournalError::Locked`] while another process owns the channel, [`JournalError::Damaged`] when the journal
    /// lacks what the ring knows to be durable, [`ChannelError::Hole`], [`ChannelError::InUse`],
    /// [`ChannelError::Stranger`].
    pub fn open(
        ring_path: &Path,
        journal_path: &Path,
        options: &ChannelOptions,
    ) -> Result<(Self, ChannelReport), ChannelError> {
        let mut discarded = None;
        let mut found = match Ring::open(ring_path) {
            Ok(ring) => Some(ring),
            Err(RingError::NotFound { .. }) => None,
            Err(error @ (RingError::OtherBoot { .. } | RingError::NotARing { .. })) => {
                // Before the lock of the journal below nothing is removed: another owner may live.
                discarded = Some(Discarded { reason: error.to_string(), lost: None });
                None
            }
            Err(error) => return Err(error.into()),
        };
        let journal_id = match JournalReader::open(journal_path, ReaderOptions::default()) {
            Ok(reader) => Some(reader.journal_id()),
            Err(JournalError::Absent { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let stranger = found.take_if(|ring| !journal_id.is_some_and(|id| belongs(ring, id)));

        let mut journal_options = options.journal.clone();
        journal_options.configuration = configuration::text(options);
        if let Some(ring) = &found {
            journal_options.evidence = journal_options.evidence.max(ring.durable());
        }
        let (mut writer, journal_report) = JournalWriter::open(journal_path, journal_options)?;
        options.check(writer.payload_size_bytes_max() as u64)?;

        if discarded.is_some() {
            Ring::remove(ring_path)?;
        }
        if let Some(ring) = stranger {
            // While its own node lives, what it holds is not yet synced, and no reason to remove it.
            refuse_if_open(&ring, OTHER_JOURNAL)?;
            let unsynced = ring.published().saturating_sub(ring.durable());
            if unsynced > 0 {
                let (ring, journal) = (ring_path.to_owned(), journal_path.to_owned());
                return Err(ChannelError::Stranger { ring, journal, unsynced });
            }
            discarded = Some(discard(&ring, OTHER_JOURNAL, Some(0))?);
        }
        let mut replayed = 0;
        if let Some(ring) = &found {
            let (count, fault) = replay_tail(ring, &mut writer, journal_path)?;
            replayed = count;
            if let Some((reason, lost)) = fault {
                discarded = Some(discard(ring, &reason, lost)?);
            }
        }
        writer.sync()?;

        let next = writer.next_sequence();
        let ring_options = options.ring.clone().visible_durable(true).continuing(ring_epoch(&writer), next);
        let ring = match Ring::open_or_create(ring_path, &ring_options) {
            Err(error @ RingError::Mismatch { .. }) => {
                // All it holds is journaled by now.
                discarded = Some(discard(&Ring::open(ring_path)?, &error.to_string(), Some(0))?);
                Ring::create(ring_path, &ring_options)?
            }
            other => other?,
        };
        link::publish(ring_path, journal_path)?;
        let progress = Arc::new(Progress::default());
        let mut source = RingSource::join(&ring, writer.next_sequence(), options.sync, Arc::clone(&progress))?;
        source.commit(writer.durable())?;
        let report = ChannelReport {
            journal: journal_report,
            replayed_from_ring: replayed,
            discarded,
            next_sequence: writer.next_sequence(),
        };
        let thread = JournalThread::spawn(writer, options.sync, source);
        let waiter = DurableWaiter::new(ring.clone(), progress);
        Ok((Self { ring, journal_path: journal_path.to_owned(), sync: options.sync, waiter, thread }, report))
    }

    /// Its ring.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Becomes the producer.
    ///
    /// # Errors
    /// Those of [`Ring::producer`].
    pub fn producer(&self) -> Result<Producer, ChannelError> {
        Ok(self.ring.producer()?)
    }

    /// Joins as a consumer: of what is durable, or with `peek` of what is published.
    ///
    /// # Errors
    /// Those of [`Ring::consumer`].
    pub fn consumer(&self, options: &ConsumerOptions) -> Result<Consumer, ChannelError> {
        Ok(self.ring.consumer(options)?)
    }

    /// Joins as a consumer that producers do not wait for: what the ring overwrites it reads from the journal.
    ///
    /// # Errors
    /// Those of [`ChannelConsumer::spilling`].
    pub fn spilling_consumer(&self, options: &ConsumerOptions) -> Result<ChannelConsumer, ChannelError> {
        ChannelConsumer::spilling(&self.ring, options)
    }

    /// Last durable sequence.
    pub fn durable(&self) -> u64 {
        self.thread.durable()
    }

    /// Waits until `sequence` is durable; false when `timeout` passed or journaling stopped before.
    pub fn wait_durable(&self, sequence: u64, timeout: Duration) -> bool {
        self.waiter.wait(sequence, timeout)
    }

    /// What waits for the watermark without borrowing the channel.
    pub fn waiter(&self) -> DurableWaiter {
        self.waiter.clone()
    }

    /// Syncs done since it was opened.
    pub fn sync_count(&self) -> u64 {
        self.thread.sync_count()
    }

    /// Why journaling has stopped, if it has; producers are refused then.
    pub fn failure(&self) -> Option<String> {
        self.thread.failure()
    }

    /// What is promised right now.
    pub fn guarantee(&self) -> Guarantee {
        Guarantee {
            sync: self.sync,
            published: self.ring.published(),
            durable: self.ring.durable(),
            journal: self.journal_path.clone(),
            failure: self.thread.failure(),
        }
    }

    /// Journals all that is published, syncs and ends. The ring stays for those who have it open.
    ///
    /// # Errors
    /// What ended journaling before.
    pub fn close(self) -> Result<(), ChannelError> {
        Ok(self.thread.stop()?)
    }
}

/// Epoch of a ring that continues this journal: the journal's epoch above, its id below.
fn ring_epoch(writer: &JournalWriter) -> u64 {
    (u64::from(writer.epoch()) << 32) | (writer.journal_id() & u64::from(u32::MAX))
}

fn belongs(ring: &Ring, journal_id: u64) -> bool {
    ring.info().epoch as u32 == journal_id as u32
}

/// What cannot go on with a ring: why, and how many committed messages go with it.
type Fault = (String, Option<u64>);

/// Appends to the journal what the ring has beyond it; how many, and why the ring cannot stay, if it cannot.
fn replay_tail(
    ring: &Ring,
    writer: &mut JournalWriter,
    journal_path: &Path,
) -> Result<(u64, Option<Fault>), ChannelError> {
    let (next, published) = (writer.next_sequence(), ring.published());
    // What the journal got from elsewhere since stands at the sequences of what this ring held and never synced.
    let unsynced = published.saturating_sub(ring.durable());
    if published + 1 < next {
        return Ok((0, Some((format!("it ends at {published}, before its journal"), Some(unsynced)))));
    }
    if !shares_last(ring, journal_path, next - 1)? {
        let reason = format!("its message {} is another than its journal's", next - 1);
        return Ok((0, Some((reason, Some(unsynced)))));
    }
    let oldest = ring.status()?.oldest;
    if oldest > next {
        return Err(ChannelError::Hole { ring: ring.path().into(), ring_oldest: oldest, journal_last: next - 1 });
    }
    let mut source = RingSource::join(ring, next, SyncPolicy::Group, Arc::default())?;
    let mut replayed = 0;
    loop {
        match source.copy(usize::MAX, writer) {
            Ok(0) => return Ok((replayed, None)),
            Ok(count) => replayed += count as u64,
            Err(CopyError::Journal(error)) => return Err(error.into()),
            Err(CopyError::Ring(error @ RingError::Corrupt { sequence, .. })) => {
                replayed = sequence - next;
                return Ok((replayed, Some((error.to_string(), Some(published + 1 - sequence)))));
            }
            Err(CopyError::Ring(error)) => return Err(error.into()),
            Err(CopyError::Gap { first, count }) => {
                let (ring, ring_oldest) = (ring.path().into(), first + count);
                return Err(ChannelError::Hole { ring, ring_oldest, journal_last: first - 1 });
            }
        }
    }
}

/// Whether ring and journal have the same message `last`; also true where the ring no longer holds it, or none is.
fn shares_last(ring: &Ring, journal_path: &Path, last: u64) -> Result<bool, ChannelError> {
    if last == 0 || ring.status()?.oldest > last {
        return Ok(true);
    }
    let mut held = Vec::new();
    let options = ConsumerOptions::named("").start(Start::Sequence(last)).peek(true);
    match ring.consumer(&options)?.read(1, |_, payload| held.extend_from_slice(payload)) {
        Ok(Read::Messages(1)) => {}
        // What cannot be read is judged where it is copied.
        Ok(_) | Err(RingError::Corrupt { .. }) => return Ok(true),
        Err(error) => return Err(error.into()),
    }
    let options = ReaderOptions { from_sequence: last, visible: Visible::Written, ..ReaderOptions::default() };
    let mut reader = JournalReader::open(journal_path, options)?;
    let Some(batch) = reader.next_batch()? else { return Ok(true) };
    Ok(batch.records().find(|(sequence, _)| *sequence == last).is_none_or(|(_, payload)| payload == held))
}

/// Removes a ring nobody has open.
fn discard(ring: &Ring, reason: &str, lost: Option<u64>) -> Result<Discarded, ChannelError> {
    refuse_if_open(ring, reason)?;
    ring.unlink()?;
    Ok(Discarded { reason: reason.into(), lost })
}

fn refuse_if_open(ring: &Ring, reason: &str) -> Result<(), ChannelError> {
    let status = ring.status()?;
    if status.producer_alive || status.consumers.iter().any(|consumer| consumer.alive) {
        return Err(ChannelError::InUse { ring: ring.path().into(), reason: reason.into() });
    }
    Ok(())
}
