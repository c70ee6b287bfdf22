//! Messages that left the ring and are not durable yet: where a slow disk makes the journal's thread late.
//!
//! While a write or a sync takes long the ring fills up. A thread of its own then copies what the ring keeps for the
//! journal into a second ring beside it, and lets the producer on. That ring is in shared memory too, so it outlives
//! the process as the first does: ring, staging and synced journal together never have a hole, and what a failing sync
//! loses is still in one of the first two. What is staged always precedes what the ring keeps.
//!
//! It is made when it is needed for the first time, and removed when the channel is closed. A message in it is
//! `[8 sequence][payload]`: numbers of its own ring mean nothing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidebook_journal::JournalWriter;
use tidebook_journal::storage::Storage;
use tidebook_ring::{
    Consumer, ConsumerOptions, Policy, Producer, Read, Ring, RingError, RingOptions, RingView, Start, Walked, Walker,
    Written,
};

use crate::error::ChannelError;
use crate::journaling::{CopyError, shares};
use crate::progress::Progress;

/// How long the disk may take before the ring is looked at: syncs of a good one are over by then, and cost nothing more.
const PATIENCE: Duration = Duration::from_millis(2);
/// Looks without anything to journal before the thread sleeps until there is.
const IDLE_LOOKS: u32 = 50;
/// Staging begins when this part of the ring waits for the journal: one in.
const RING_PART: u64 = 4;
/// Messages that are moved before the journal's thread may have its turn, or about [`Chunk::SIZE_BYTES`] of longer ones.
const TURN: usize = 4096;
/// Bytes of the smallest staging.
const SIZE_MIN_BYTES: u64 = 1 << 16;
const SEQUENCE_SIZE_BYTES: usize = 8;

/// Where the staging of this ring is.
pub fn staging_path(ring: &Path) -> PathBuf {
    ring.with_extension("staging")
}

/// What the channel keeps for its journal: the gate of the ring, and what is staged.
#[derive(Debug)]
pub(crate) struct Kept {
    gate: Consumer,
    staging: Staging,
    /// Last sequence that the journal's thread has taken.
    taken: u64,
    /// Since when that thread is at the disk with what it took.
    at_disk_since: Option<Instant>,
    /// Rises each time it goes there.
    turns: u64,
    /// The other thread sleeps until it does.
    is_parked: bool,
    is_ending: bool,
    progress: Arc<Progress>,
}

/// The second ring, if there is one.
#[derive(Debug)]
enum Staging {
    /// Not needed yet; of so many bytes.
    None(u64),
    Open(Box<Staged>),
    /// There is none; [`Progress`] has why.
    Refused,
}

#[derive(Debug)]
struct Staged {
    producer: Producer,
    consumer: Consumer,
    /// Last sequence in it.
    last: u64,
    /// Where in the ring the next one is that the gate has read already, if more of those are to come.
    beside: Option<Walker>,
}

/// What was taken, for the journal's thread to write.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    /// Sequence, and where its payload ends.
    ends: Vec<(u64, usize)>,
}

impl Chunk {
    /// Bytes taken at once; a longer message comes alone.
    const SIZE_BYTES: usize = 1 << 20;

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The messages in order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = (u64, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(sequence, end)| (*sequence, &self.bytes[std::mem::replace(&mut start, *end)..*end]))
    }

    fn push(&mut self, sequence: u64, payload: &[u8]) -> ControlFlow<()> {
        if !self.ends.is_empty() && self.bytes.len() + payload.len() > Self::SIZE_BYTES {
            return ControlFlow::Break(());
        }
        self.bytes.extend_from_slice(payload);
        self.ends.push((sequence, self.bytes.len()));
        ControlFlow::Continue(())
    }
}

impl Kept {
    /// Takes what is next, from the staging first.
    pub fn take(&mut self, chunk: &mut Chunk) -> Result<(), CopyError> {
        self.at_disk_since = None;
        chunk.clear();
        let taken = &mut self.taken;
        if let Staging::Open(staged) = &mut self.staging {
            let read = staged.consumer.read_while(usize::MAX, |_, message| {
                let (sequence, payload) = staged_message(message);
                if sequence <= *taken {
                    return ControlFlow::Continue(());
                }
                assert_eq!(sequence, *taken + 1, "what is staged has no hole");
                chunk.push(sequence, payload)?;
                *taken = sequence;
                ControlFlow::Continue(())
            });
            without_gap(read)?;
        }
        if self.gate.next_sequence() == *taken + 1 {
            let waiting = (self.gate.ring().published() + 1).saturating_sub(self.gate.next_sequence());
            let read = self.gate.read_while(waiting as usize, |sequence, payload| {
                chunk.push(sequence, payload)?;
                *taken = sequence;
                ControlFlow::Continue(())
            });
            without_gap(read)?;
        }
        if !chunk.ends.is_empty() {
            self.turns += 1;
        }
        Ok(())
    }

    /// How many it has not given to the journal's thread yet.
    pub fn waiting(&self) -> u64 {
        self.gate.ring().published().saturating_sub(self.taken)
    }

    /// Everything up to here is durable: nothing else keeps it any more.
    pub fn forget(&mut self, durable: u64) {
        // What is read is given up as a whole: the rest with the sync that covers it.
        if self.taken != durable {
            return;
        }
        if let Staging::Open(staged) = &mut self.staging {
            staged.consumer.commit();
        }
        if self.gate.next_sequence() == durable + 1 {
            self.gate.commit();
        }
    }

    /// The ring itself.
    pub fn ring(&self) -> &Ring {
        self.gate.ring()
    }

    /// Waits until something has come to the ring; only where nothing is staged.
    pub fn wait(&mut self, timeout: Duration) {
        // That it cannot wait its next read tells too.
        drop(self.gate.wait(Some(timeout)));
    }

    /// Whether much of the ring waits for the disk.
    pub fn is_filling(&self) -> bool {
        let (kept, capacity) = self.gate.keeps();
        kept >= capacity / RING_PART
    }

    /// Whether the disk takes long and the ring fills up.
    fn is_needed(&self) -> bool {
        self.at_disk_since.is_some_and(|since| since.elapsed() >= PATIENCE) && self.is_filling()
    }

    /// What a staging is to be made of, where there is none yet: its ring, bytes, and the last message that needs no keeping.
    fn wanted(&self) -> Option<(Ring, u64, u64)> {
        let Staging::None(size_bytes) = self.staging else { return None };
        Some((self.gate.ring().clone(), size_bytes, self.gate.committed()))
    }

    fn set_staging(&mut self, made: Result<Staged, RingError>) {
        self.staging = match made {
            Ok(staged) => Staging::Open(Box::new(staged)),
            Err(error) => {
                self.progress.has_no_staging(&error);
                Staging::Refused
            }
        };
    }

    /// Moves up to a turn of messages from the ring to the staging; whether there may be more, and room for it.
    fn stage(&mut self) -> Result<bool, RingError> {
        let Self { gate, staging, .. } = self;
        let Staging::Open(staged) = staging else { return Ok(false) };
        let first = staged.last.max(gate.committed()) + 1;
        staged.last = first - 1;
        let mut message = Vec::new();
        let mut full = None;
        let behind = (gate.next_sequence() - first) as usize;
        if behind > 0 {
            // What was taken and may be lost with a failing sync: the gate has read it, so it is looked at beside it. By who
            // joins nothing: joining waits for others who do, and the journal's thread would wait for that with us.
            let known = staged.beside.take().filter(|beside| beside.next_sequence() == first);
            let mut beside = known.unwrap_or_else(|| RingView::of(gate.ring()).walk(first, true));
            let walked = beside.read(behind.min(TURN), Chunk::SIZE_BYTES, |sequence, payload| {
                if full.is_none() {
                    // What broke is in `full`.
                    let _ = staged.write(&mut message, sequence, payload, &mut full);
                }
            });
            if let Some(full) = full {
                return full;
            }
            if staged.last + 1 < gate.next_sequence() {
                staged.beside = Some(beside);
                return Ok(matches!(walked, Walked::Messages(1..)));
            }
        }
        let mut size_bytes = 0;
        let read = gate.read_while(TURN, |sequence, payload| {
            if size_bytes >= Chunk::SIZE_BYTES {
                return ControlFlow::Break(());
            }
            size_bytes += payload.len();
            staged.write(&mut message, sequence, payload, &mut full)
        })?;
        gate.commit();
        match (full, read) {
            (Some(full), _) => full,
            (None, read) => Ok(read == Read::Messages(TURN) || size_bytes >= Chunk::SIZE_BYTES),
        }
    }
}

impl Staged {
    /// `durable`: everything before it needs no keeping.
    fn make(ring: &Ring, size_bytes: u64, durable: u64) -> Result<Self, RingError> {
        let options = RingOptions::frames(size_bytes).consumers_max(1).continuing(ring.info().epoch, 1);
        let staging = Ring::create(staging_path(ring.path()), &options)?;
        let options = ConsumerOptions::named("").policy(Policy::Block { patience: None, detach_after: None });
        Ok(Self { producer: staging.producer()?, consumer: staging.consumer(&options)?, last: durable, beside: None })
    }

    /// Breaks where there is no room; `full` then says that, or what went wrong.
    fn write(
        &mut self,
        message: &mut Vec<u8>,
        sequence: u64,
        payload: &[u8],
        full: &mut Option<Result<bool, RingError>>,
    ) -> ControlFlow<()> {
        message.clear();
        message.extend_from_slice(&sequence.to_le_bytes());
        message.extend_from_slice(payload);
        match self.producer.write_within(message, Duration::ZERO) {
            Ok(Written::At(_)) => {
                self.last = sequence;
                return ControlFlow::Continue(());
            }
            // A message that is too long for it waits for the journal in the ring.
            Ok(Written::Full(_)) | Err(RingError::TooLarge { .. }) => *full = Some(Ok(false)),
            Err(error) => *full = Some(Err(error)),
        }
        ControlFlow::Break(())
    }
}

fn staged_message(message: &[u8]) -> (u64, &[u8]) {
    let (sequence, payload) =
        message.split_first_chunk::<SEQUENCE_SIZE_BYTES>().expect("written by us, and its CRC holds");
    (u64::from_le_bytes(*sequence), payload)
}

/// Nobody overwrites what a gate keeps, unless someone removed its consumer.
fn without_gap(read: Result<Read, RingError>) -> Result<(), CopyError> {
    match read {
        Ok(Read::Messages(_)) => Ok(()),
        Ok(Read::Gap(gap)) => Err(CopyError::Gap { first: gap.first, count: gap.count }),
        Err(error) => Err(CopyError::Ring(error)),
    }
}

/// [`Kept`], shared by the journal's thread and the one that stages.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<(Mutex<Kept>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// `gate` stands after all that is journaled. `size_bytes`: of the staging, 0 for none.
    pub fn new(gate: Consumer, size_bytes: u64, progress: Arc<Progress>) -> Self {
        let staging = match size_bytes {
            0 => {
                progress.has_no_staging(&"staging_size_bytes is 0");
                Staging::Refused
            }
            size_bytes => Staging::None(1 << size_bytes.max(SIZE_MIN_BYTES).ilog2()),
        };
        let can_stage = matches!(staging, Staging::None(_));
        let kept = Kept {
            taken: gate.next_sequence() - 1,
            gate,
            staging,
            at_disk_since: None,
            turns: 0,
            is_parked: false,
            is_ending: false,
            progress,
        };
        let shared = Arc::new((Mutex::new(kept), Condvar::new()));
        let seen = Arc::clone(&shared);
        let run = move || run(&seen.0, &seen.1);
        // Without a thread there is no staging: the producer waits for the disk, and nothing is lost.
        let thread = can_stage.then(|| std::thread::Builder::new().name("journal-staging".into()).spawn(run).ok());
        Self { shared, thread: thread.flatten() }
    }

    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        locked(&self.shared.0)
    }

    /// The journal's thread goes to the disk with what it took.
    pub fn goes_to_disk(&self) {
        let mut kept = self.kept();
        kept.at_disk_since = Some(Instant::now());
        if std::mem::take(&mut kept.is_parked) {
            self.shared.1.notify_one();
        }
    }

    /// Ends the thread; what is staged stays.
    pub fn end(&mut self) {
        self.kept().is_ending = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }

    /// Removes the staging if all of it is durable.
    fn remove(&self, durable: u64) {
        let kept = self.kept();
        if let Staging::Open(staged) = &kept.staging
            && staged.last <= durable
        {
            // One that stays is found and removed at the next opening.
            drop(staged.producer.ring().unlink());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
        let durable = self.kept().ring().durable();
        self.remove(durable);
    }
}

fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that stages. What it cannot do the journal's thread meets too, and tells.
fn run(kept: &Mutex<Kept>, changed: &Condvar) {
    let (mut seen, mut idle) = (0, 0);
    loop {
        let mut now = locked(kept);
        if now.is_ending {
            return;
        }
        if now.is_needed()
            && let Some((ring, size_bytes, durable)) = now.wanted()
        {
            // The journal's thread goes on meanwhile: memory for all of it takes its time.
            drop(now);
            let made = Staged::make(&ring, size_bytes, durable);
            now = locked(kept);
            now.set_staging(made);
        }
        while now.is_needed() && !now.is_ending && now.stage().unwrap_or(false) {
            drop(now);
            now = locked(kept);
        }
        idle = if now.turns == seen { idle + 1 } else { 0 };
        seen = now.turns;
        if idle > IDLE_LOOKS && now.at_disk_since.is_none() && !now.is_ending {
            now.is_parked = true;
            drop(changed.wait_while(now, |kept| kept.is_parked && !kept.is_ending));
            idle = 0;
        } else {
            drop(changed.wait_timeout_while(now, PATIENCE, |kept| !kept.is_ending));
        }
    }
}

/// What a staging that was found had.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// Messages that the journal did not have and has now.
    pub count: u64,
    /// Why nothing after these can be taken.
    pub fault: Option<String>,
    /// It is of other messages than the journal's, and so is its ring.
    pub is_foreign: bool,
}

/// Appends to the journal what the staging has beyond it.
pub(crate) fn replay(
    staging: &Ring,
    writer: &mut JournalWriter,
    journal: &Arc<dyn Storage>,
) -> Result<Replayed, ChannelError> {
    let options = ConsumerOptions::named("").start(Start::Earliest).policy(Policy::Overwrite).peek(true);
    let mut consumer = staging.consumer(&options)?;
    let mut replayed = Replayed::default();
    let mut last_of_journal = Some(writer.next_sequence() - 1);
    let mut failed = None;
    loop {
        let read = consumer.read_while(TURN, |_, message| {
            let (sequence, payload) = staged_message(message);
            let next = writer.next_sequence();
            if last_of_journal.take_if(|last| *last == sequence).is_some() {
                match shares(journal, sequence, payload) {
                    Ok(true) => {}
                    Ok(false) => {
                        replayed.fault = Some(format!("its message {sequence} is another than its journal's"));
                        replayed.is_foreign = true;
                        return ControlFlow::Break(());
                    }
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            if sequence < next {
                return ControlFlow::Continue(());
            }
            let appended = if sequence > next {
                let (ring, journal_last) = (staging.path().into(), next - 1);
                Err(ChannelError::Hole { ring, ring_oldest: sequence, journal_last })
            } else {
                writer.append(payload).map_err(ChannelError::from)
            };
            match appended {
                Ok(_) => {
                    replayed.count += 1;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        match (failed.take(), read) {
            (Some(error), _) => return Err(error),
            (None, Ok(Read::Messages(0))) => return Ok(replayed),
            (None, _) if replayed.fault.is_some() => return Ok(replayed),
            (None, Ok(_)) => {}
            (None, Err(error @ RingError::Corrupt { .. })) => {
                replayed.fault = Some(error.to_string());
                return Ok(replayed);
            }
            (None, Err(error)) => return Err(error.into()),
        }
    }
}
