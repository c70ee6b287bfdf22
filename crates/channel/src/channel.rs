//! Opening a durable channel: bringing ring and journal to one sequence, whatever happened before.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{
    JournalError, JournalOptions, JournalReader, JournalThread, JournalWriter, ReaderOptions, RecoveryReport,
    SyncPolicy, Verified, configurations_storage, inspect_storage, is_put_back, mark_put_back_storage, verify_storage,
};
use tidebook_ring::{Consumer, ConsumerOptions, Mode, Producer, Ring, RingError, RingKind, RingOptions, RingView};

use crate::configuration::{self, Layout};
use crate::consumer::ChannelConsumer;
use crate::error::ChannelError;
use crate::guarantee::Guarantee;
use crate::journaling::{self, CopyError, RingSource};
use crate::link;
use crate::other_nodes;
use crate::progress::{DurableWaiter, Progress};
use crate::staging::{self, Keeper, staging_path};

/// How a durable channel is made.
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// Its ring. Epoch, first sequence and visibility are the channel's to set.
    pub ring: RingOptions,
    /// Its journal.
    pub journal: JournalOptions,
    /// When the journal syncs.
    pub sync: SyncPolicy,
    /// Bytes of what a slow disk may be behind beyond the ring before the producer waits, rounded down to a power of two of
    /// at least 65,536; taken from shared memory when it is needed for the first time. 0 for none.
    pub staging_size_bytes: u64,
}

/// Half a second of a million messages of 64 bytes each second.
const STAGING_SIZE_BYTES: u64 = 64 << 20;

impl ChannelOptions {
    /// A channel of messages of any length in a ring of `ring_size_bytes`; sync every 10 ms.
    pub fn frames(channel: &str, ring_size_bytes: u64) -> Self {
        Self::with_ring(channel, RingOptions::frames(ring_size_bytes))
    }

    /// A channel over any ring; sync every 10 ms.
    pub fn with_ring(channel: &str, ring: RingOptions) -> Self {
        let journal = JournalOptions::new(channel);
        Self { ring, journal, sync: SyncPolicy::default(), staging_size_bytes: STAGING_SIZE_BYTES }
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

/// Why a ring that was found, or what was staged of one that is gone, could not stay. Nothing visible was lost with it unless `lost` says so.
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
    /// Messages committed to the ring before a crash, staged or not, that the journal did not have and has now.
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
        if let Some(epoch) = self.journal.epoch_behind_copy {
            write!(f, ", its journal was put back from a copy and goes on in epoch {epoch}")?;
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
/// Why a ring cannot stay whose journal was put back.
const PUT_BACK: &str = "its journal was put back from a copy, and goes on in an epoch of its own";

impl Channel {
    /// Opens the channel whose ring is the file `ring_path` and whose journal the directory `journal_path`, making
    /// what is not there, and starts journaling.
    ///
    /// # Errors
    /// [`JournalError::Locked`] while another process owns the channel, [`JournalError::Damaged`] when the journal
    /// lacks what is known to be durable, [`ChannelError::RingAhead`] when only the ring knows of it and no longer holds
    /// all of it, [`ChannelError::OtherHistory`] when the journal has other messages in their place,
    /// [`ChannelError::JournalGone`] when there is none at all, [`ChannelError::OtherLayout`], [`ChannelError::Hole`],
    /// [`ChannelError::InUse`], [`ChannelError::Stranger`], [`ChannelError::OtherNode`].
    pub fn open(
        ring_path: &Path,
        journal_path: &Path,
        options: &ChannelOptions,
    ) -> Result<(Self, ChannelReport), ChannelError> {
        let storage = Arc::new(Directory::new(journal_path)) as Arc<dyn Storage>;
        Self::open_noting(ring_path, &storage, options, || link::note(journal_path, ring_path))
    }

    /// As [`Self::open`], with a journal in any storage.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_storage(
        ring_path: &Path,
        storage: &Arc<dyn Storage>,
        options: &ChannelOptions,
    ) -> Result<(Self, ChannelReport), ChannelError> {
        Self::open_noting(ring_path, storage, options, || Ok(()))
    }

    /// `note` is called with the journal locked, before a ring is made.
    fn open_noting(
        ring_path: &Path,
        storage: &Arc<dyn Storage>,
        options: &ChannelOptions,
        note: impl FnOnce() -> Result<(), ChannelError>,
    ) -> Result<(Self, ChannelReport), ChannelError> {
        // Without what a joined nothing leaves at its end.
        let journal_path: PathBuf = storage.path("").components().collect();
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
        let journal_id = match JournalReader::open_storage(Arc::clone(storage), ReaderOptions::default()) {
            Ok(reader) => Some(reader.journal_id()),
            Err(JournalError::Absent { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let stranger = found.take_if(|ring| !journal_id.is_some_and(|id| belongs(ring, id)));
        if journal_id.is_none()
            && let Some(ring) = &stranger
        {
            // Before a journal is made: the next opening would find a ring of another one, and remove the proof.
            refuse_if_its_journal_is_gone(ring, &journal_path, options.journal.first_sequence)?;
        }

        if let Some(ring) = &found {
            refuse_if_other_copy_is_written(ring, &journal_path)?;
            if is_put_back(&**storage)? {
                // It is of the epoch that ends here, and made anew.
                refuse_if_open(ring, PUT_BACK)?;
            }
        }

        let mut journal_options = options.journal.clone();
        journal_options.configuration = configuration::text(options);
        if let Some(ring) = &found {
            journal_options.evidence = journal_options.evidence.max(ring.durable());
            journal_options.epoch_known = epoch_of(ring);
        }
        let Opened { mut writer, report: journal_report, mut replayed } =
            open_journal(storage, journal_options, options, found.as_ref(), ring_path, &journal_path)?;
        options.check(writer.payload_size_bytes_max() as u64)?;

        if discarded.is_some() {
            Ring::remove(ring_path)?;
        }
        if let Some(ring) = stranger {
            // While its own node lives, what it holds is not yet synced, and no reason to remove it.
            refuse_if_open(&ring, OTHER_JOURNAL)?;
            refuse_if_unsynced(&ring, ring.published().saturating_sub(ring.durable()), &journal_path)?;
            discarded = Some(discard(&ring, OTHER_JOURNAL, Some(0))?);
            // All of that ring was durable, and so is what was staged of it.
            remove_if_there(&staging_path(ring_path))?;
        }
        let staged = replay_staging(ring_path, &mut writer, storage, &journal_path)?;
        replayed += staged.count;
        if let Some(ring) = &found {
            let next = writer.next_sequence();
            let fault = match staged.fault {
                // What the ring has follows what cannot be read, or is of another history too.
                Some(reason) if staged.is_foreign || ring.status()?.oldest > next => {
                    Some((reason, Some((ring.published() + 1).saturating_sub(next))))
                }
                // The ring has what cannot be read in the staging, or nothing was staged.
                Some(_) | None => {
                    let (count, fault) = replay_tail(ring, &mut writer, storage)?;
                    replayed += count;
                    fault
                }
            };
            if let Some((reason, lost)) = fault {
                discarded = Some(discard(ring, &reason, lost)?);
            }
        } else if let Some(reason) = staged.fault {
            // The ring that it was staged of is gone, and what could not be read of it goes too.
            let of_the_ring = discarded.map_or(String::new(), |ring| format!("{}; ", ring.reason));
            discarded = Some(Discarded { reason: format!("{of_the_ring}its staging: {reason}"), lost: None });
        }
        writer.sync()?;
        remove_if_there(&staging_path(ring_path))?;

        // Who reads a ring that nobody knows of would not be heard by who compacts.
        note()?;
        let next = writer.next_sequence();
        let ring_options = options.ring.clone().visible_durable(true).continuing(ring_epoch(&writer), next);
        let ring = match Ring::open_or_create(ring_path, &ring_options) {
            Err(error @ RingError::Mismatch { .. }) => {
                // All it holds is journaled by now.
                let reason = match journal_report.epoch_behind_copy {
                    Some(_) => PUT_BACK.to_owned(),
                    None => error.to_string(),
                };
                discarded = Some(discard(&Ring::open(ring_path)?, &reason, Some(0))?);
                Ring::create(ring_path, &ring_options)?
            }
            other => other?,
        };
        link::publish(ring_path, &journal_path)?;
        let progress = Arc::new(Progress::default());
        let gate = journaling::gate(&ring, writer.next_sequence())?;
        let keeper = Keeper::new(gate, options.staging_size_bytes, Arc::clone(&progress));
        let mut source = RingSource::new(keeper, options.sync, Arc::clone(&progress));
        source.commit(writer.durable())?;
        let report = ChannelReport {
            journal: journal_report,
            replayed_from_ring: replayed,
            discarded,
            next_sequence: writer.next_sequence(),
        };
        let thread = JournalThread::spawn(writer, options.sync, source);
        let waiter = DurableWaiter::new(ring.clone(), progress);
        Ok((Self { ring, journal_path, sync: options.sync, waiter, thread }, report))
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
            no_staging: self.waiter.no_staging(),
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

/// A journal that was opened.
struct Opened {
    writer: JournalWriter,
    report: RecoveryReport,
    /// Messages that it lacked as a copy of one that went on, and has now.
    replayed: u64,
}

/// Opens the journal with what its ring knows to be durable. One that is whole and ends before that was put back from a copy, whoever
/// did it and however: where the ring still holds all that is missing, it is given that, in the epoch in which it was acknowledged. Then
/// it goes on in one of its own, as the ring does not know whether somebody else has gone on with the journal since.
fn open_journal(
    storage: &Arc<dyn Storage>,
    journal_options: JournalOptions,
    options: &ChannelOptions,
    ring: Option<&Ring>,
    ring_path: &Path,
    journal_path: &Path,
) -> Result<Opened, ChannelError> {
    let is_ours = |journal: &dyn Storage| {
        refuse_other_layout(journal, &options.ring, journal_path)?;
        other_nodes::refuse_if_one_has_more(ring_path, storage, journal_path)
    };
    let is_ours_and_has_all = |journal: &dyn Storage| {
        is_ours(journal)?;
        ring.map_or(Ok(()), |ring| refuse_if_not_in_history(ring, storage, journal_path))
    };
    let error = match JournalWriter::open_if(Arc::clone(storage), journal_options.clone(), is_ours_and_has_all) {
        Err(ChannelError::Journal(error @ JournalError::Damaged { .. })) => error,
        Ok((writer, report)) => return Ok(Opened { writer, report, replayed: 0 }),
        Err(other) => return Err(other),
    };
    let Some(ring) = ring else { return Err(error.into()) };
    // By its own proof alone, and changing nothing.
    let Ok(Verified { journal, .. }) = verify_storage(storage) else { return Err(error.into()) };
    let last = journal.last_sequence;
    let is_behind_ring = journal.tail.torn_bytes() == 0 && last < ring.durable();
    if !is_behind_ring || options.journal.evidence > last {
        return Err(error.into());
    }
    let oldest = ring.status()?.oldest;
    let continues = epoch_of(ring) == journal.epoch;
    // The last message of the journal, if it has any, has to be in the ring too: nothing else says that both are of one history.
    if !continues || oldest > last.max(1) || !shares_last(ring, storage, last)? {
        return Err(ring_ahead(ring, journal_path, last));
    }
    refuse_if_open(ring, PUT_BACK)?;
    let evidence = options.journal.evidence;
    let journal_options = JournalOptions { evidence, epoch_later: true, ..journal_options };
    let is_ours_and_marked = |journal: &dyn Storage| {
        is_ours(journal)?;
        // Before anything is added: whoever finds it without the ring, and with a part of this, knows it for a copy.
        Ok::<_, ChannelError>(mark_put_back_storage(journal)?)
    };
    let (mut writer, mut report) = JournalWriter::open_if(Arc::clone(storage), journal_options, is_ours_and_marked)?;
    let replayed = replay_durable(ring, &mut writer)?;
    writer.sync()?;
    if writer.durable() < ring.durable() {
        // What was to come from the ring could not be read there.
        return Err(ring_ahead(ring, journal_path, writer.durable()));
    }
    report.epoch_behind_copy = Some(writer.begin_epoch()?);
    Ok(Opened { writer, report, replayed })
}

/// What is read of a journal later is read with the layout that its newest messages have.
fn refuse_other_layout(storage: &dyn Storage, ring: &RingOptions, journal: &Path) -> Result<(), ChannelError> {
    let expected = Layout::of_ring(ring.kind, ring.schema.as_ref());
    match configuration::other_layout(&configurations_storage(storage)?, &expected) {
        Some((found, None)) => Err(ChannelError::OtherLayout { journal: journal.to_owned(), expected, found }),
        _ => Ok(()),
    }
}

/// Epoch of the journal that a ring continues.
fn epoch_of(ring: &Ring) -> u32 {
    (ring.info().epoch >> 32) as u32
}

/// Epoch of a ring that continues this journal: the journal's epoch above, its id below.
fn ring_epoch(writer: &JournalWriter) -> u64 {
    (u64::from(writer.epoch()) << 32) | (writer.journal_id() & u64::from(u32::MAX))
}

pub(crate) fn belongs(ring: &Ring, journal_id: u64) -> bool {
    ring.info().epoch as u32 == journal_id as u32
}

/// What cannot go on with a ring: why, and how many committed messages go with it.
type Fault = (String, Option<u64>);

/// Appends to the journal what the ring has beyond it and knows to be durable, as far as that can be read; how many.
fn replay_durable(ring: &Ring, writer: &mut JournalWriter) -> Result<u64, ChannelError> {
    let (next, durable) = (writer.next_sequence(), ring.durable());
    let mut gate = journaling::gate(ring, next)?;
    loop {
        let left = (durable + 1).saturating_sub(writer.next_sequence());
        match journaling::copy(&mut gate, writer, usize::try_from(left).unwrap_or(usize::MAX)) {
            Ok(0) | Err(CopyError::Ring(RingError::Corrupt { .. }) | CopyError::Gap { .. }) => {
                return Ok(writer.next_sequence() - next);
            }
            Ok(_) => {}
            Err(CopyError::Journal(error)) => return Err(error.into()),
            Err(CopyError::Ring(error)) => return Err(error.into()),
        }
    }
}

/// Appends to the journal what the ring has beyond it; how many, and why the ring cannot stay, if it cannot.
fn replay_tail(
    ring: &Ring,
    writer: &mut JournalWriter,
    journal: &Arc<dyn Storage>,
) -> Result<(u64, Option<Fault>), ChannelError> {
    let (next, published) = (writer.next_sequence(), ring.published());
    // What the journal got from elsewhere since stands at the sequences of what this ring held and never synced.
    let unsynced = published.saturating_sub(ring.durable());
    if epoch_of(ring) != writer.epoch_found() {
        return Ok((0, Some(("its journal was cut or put back since".into(), Some(unsynced)))));
    }
    if published + 1 < next {
        return Ok((0, Some((format!("it ends at {published}, before its journal"), Some(unsynced)))));
    }
    if !shares_last(ring, journal, next - 1)? {
        let reason = format!("its message {} is another than its journal's", next - 1);
        return Ok((0, Some((reason, Some(unsynced)))));
    }
    let oldest = ring.status()?.oldest;
    if oldest > next {
        return Err(ChannelError::Hole { ring: ring.path().into(), ring_oldest: oldest, journal_last: next - 1 });
    }
    let mut gate = journaling::gate(ring, next)?;
    let mut replayed = 0;
    loop {
        match journaling::copy(&mut gate, writer, usize::MAX) {
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
pub(crate) fn shares_last(ring: &Ring, journal: &Arc<dyn Storage>, last: u64) -> Result<bool, ChannelError> {
    if last == 0 || ring.status()?.oldest > last {
        return Ok(true);
    }
    let mut held = None;
    // Without a line: its consumers may have all of them.
    let mut walk = RingView::of(ring).walk(last, true);
    walk.read(1, usize::MAX, |sequence, payload| held = (sequence == last).then(|| payload.to_vec()));
    // What cannot be read is judged where it is copied.
    held.map_or(Ok(true), |held| journaling::shares(journal, last, &held))
}

/// Appends to the journal what is staged beyond it.
fn replay_staging(
    ring_path: &Path,
    writer: &mut JournalWriter,
    journal: &Arc<dyn Storage>,
    journal_path: &Path,
) -> Result<staging::Replayed, ChannelError> {
    let found = match Ring::open(staging_path(ring_path)) {
        Ok(found) => found,
        // Of another boot, or half made: what it was made for is gone with it, or still in the ring.
        Err(RingError::NotFound { .. } | RingError::OtherBoot { .. } | RingError::NotARing { .. }) => {
            return Ok(staging::Replayed::default());
        }
        Err(error) => return Err(error.into()),
    };
    if !belongs(&found, writer.journal_id()) {
        // Its ring is gone: nothing says what of it is durable.
        refuse_if_unsynced(&found, found.published(), journal_path)?;
        return Ok(staging::Replayed::default());
    }
    if epoch_of(&found) != writer.epoch_found() {
        let reason = "its journal was cut or put back since".to_owned();
        return Ok(staging::Replayed { fault: Some(reason), is_foreign: true, ..staging::Replayed::default() });
    }
    staging::replay(&found, writer, journal)
}

fn remove_if_there(path: &Path) -> Result<(), RingError> {
    match Ring::remove(path) {
        Err(RingError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

fn ring_ahead(ring: &Ring, journal: &Path, journal_last: u64) -> ChannelError {
    let (ring, durable) = (ring.path().to_owned(), ring.durable());
    ChannelError::RingAhead { ring, journal: journal.to_owned(), durable, journal_last }
}

/// Of a journal that ends no earlier than what its ring knows to be durable: refuses one that has other messages there. Who went on with
/// an older copy gave those numbers again, and how many says nothing; the epoch of a message does, and what the ring still holds.
fn refuse_if_not_in_history(ring: &Ring, storage: &Arc<dyn Storage>, journal: &Path) -> Result<(), ChannelError> {
    let (durable, ring_epoch) = (ring.durable(), epoch_of(ring));
    if durable < ring.info().first_sequence {
        // Nothing was acknowledged by it.
        return Ok(());
    }
    let epoch = match journaling::epoch_of(storage, durable) {
        // A cut gave it up, or a keep rule.
        Ok(None) => return Ok(()),
        Ok(Some(epoch)) => epoch,
        // In one epoch no number is given twice: what is damaged there keeps nobody from going on behind it.
        Err(_) if inspect_storage(storage)?.epoch == ring_epoch => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if epoch == ring_epoch && shares_last(ring, storage, durable)? {
        return Ok(());
    }
    Err(ChannelError::OtherHistory { ring: ring.path().to_owned(), journal: journal.to_owned(), durable })
}

fn refuse_if_unsynced(ring: &Ring, unsynced: u64, journal: &Path) -> Result<(), ChannelError> {
    if unsynced == 0 {
        return Ok(());
    }
    Err(ChannelError::Stranger { ring: ring.path().to_owned(), journal: journal.to_owned(), unsynced })
}

/// A directory without a journal is a new channel's, or one whose disk is not mounted: the ring tells them apart.
fn refuse_if_its_journal_is_gone(ring: &Ring, journal: &Path, first_sequence: u64) -> Result<(), ChannelError> {
    // A ring that was opened last with another directory is no proof of this one.
    if ring.durable() < first_sequence || !link::may_be_of(ring.path(), journal) {
        return Ok(());
    }
    refuse_if_open(ring, "its journal is gone")?;
    refuse_if_unsynced(ring, ring.published().saturating_sub(ring.durable()), journal)?;
    Err(ChannelError::JournalGone { ring: ring.path().into(), journal: journal.into(), durable: ring.durable() })
}

/// Removes a ring nobody has open.
fn discard(ring: &Ring, reason: &str, lost: Option<u64>) -> Result<Discarded, ChannelError> {
    refuse_if_open(ring, reason)?;
    ring.unlink()?;
    Ok(Discarded { reason: reason.into(), lost })
}

/// Before the journal is opened: what the ring holds is the other one's to journal, and would be in both.
fn refuse_if_other_copy_is_written(ring: &Ring, journal: &Path) -> Result<(), ChannelError> {
    let Ok(other) = link::journal_of(ring.path()) else { return Ok(()) };
    let is_same = match (other.canonicalize(), journal.canonicalize()) {
        (Ok(other), Ok(journal)) => other == journal,
        // One that is gone is written by nobody who could be told from its owner.
        _ => true,
    };
    let status = ring.status()?;
    match status.consumers.iter().find(|one| one.alive && one.name == journaling::CONSUMER_NAME) {
        Some(owner) if !is_same => Err(ChannelError::OtherCopy {
            ring: ring.path().into(),
            journal: journal.into(),
            other,
            process_id: owner.process_id,
        }),
        _ => Ok(()),
    }
}

fn refuse_if_open(ring: &Ring, reason: &str) -> Result<(), ChannelError> {
    let status = ring.status()?;
    if status.producer_alive || status.consumers.iter().any(|consumer| consumer.alive) {
        return Err(ChannelError::InUse { ring: ring.path().into(), reason: reason.into() });
    }
    Ok(())
}
