//! A thread that replays a journal beside its live writer and takes the snapshots, so that the writer never pauses.
//!
//! It has a state of its own, fed from the journal's durable messages alone: what it saves was derived from the disk by
//! another way than the live state. Before a snapshot has its name, the state's hash is computed anew, the file is read back
//! from the disk, loaded into a new state, and the hashes are compared; what fails that leaves no file. The cost is a second state in memory, a third
//! while a snapshot is proven, and work that is given the lowest urgency.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::error::SnapshotError;
use super::frame::Place;
use super::recovery::{Point, Progress, Recovered, RecoveryFacts, RecoveryOptions, recover};
use super::store::{KEEP_MIN, Rotation, SnapshotFacts, SnapshotStore};
use crate::owned_thread::OwnedThread;
use crate::reader::JournalReader;
use crate::state::State;
use crate::storage::Storage;
use crate::thread::panic_text;
use crate::watermark::WatermarkReader;

/// How a follower works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerOptions {
    /// Time between snapshots; none is taken when no message came.
    pub interval: Duration,
    /// Snapshots kept.
    pub keep: usize,
    /// Messages it may be behind what is durable before it says so.
    pub lag_count_max: u64,
    /// How long it sleeps when there is nothing to read. Nobody waits for it: who asks for a snapshot, or ends it, wakes it.
    pub idle_wait: Duration,
    /// Load each new snapshot into a new state and compare the hashes before it counts.
    pub prove_by_loading: bool,
}

impl Default for FollowerOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            keep: 12,
            lag_count_max: 1_000_000,
            idle_wait: Duration::from_millis(100),
            prove_by_loading: true,
        }
    }
}

/// What a follower tells who started it.
#[derive(Debug)]
#[non_exhaustive]
pub enum FollowerEvent {
    /// It has its state and goes on from there.
    Recovered(RecoveryFacts),
    /// A snapshot was taken, verified and proven, and old ones were removed.
    Snapshot {
        /// What it is.
        facts: SnapshotFacts,
        /// What stays and what went; nothing where [`Self::RotationFailed`] follows.
        rotation: Rotation,
        /// How long it took, in all.
        took: Duration,
    },
    /// A snapshot could not be taken; the ones before are as they were, and it is tried again after the interval.
    SnapshotFailed(SnapshotError),
    /// A snapshot was taken and stands, but old ones could not be removed; it is tried again with the next one.
    RotationFailed(SnapshotError),
    /// It is further behind than `lag_count_max`.
    Lagging {
        /// Messages it is behind.
        lag_count: u64,
    },
    /// It is no longer behind.
    CaughtUp,
}

/// How a follower stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Last message its state has taken.
    pub applied: u64,
    /// Highest sequence it knows durable.
    pub durable: u64,
    /// It is further behind than it may be.
    pub lagging: bool,
    /// Snapshots it has taken.
    pub snapshot_count: u64,
    /// The newest of them, or the one it began from.
    pub snapshot: Option<SnapshotFacts>,
    /// Why it has ended, if something ended it.
    pub failure: Option<String>,
    /// Why it took no snapshot when it last tried, or removed no old ones behind it; it goes on.
    pub trouble: Option<String>,
}

impl FollowerStatus {
    /// Messages it is behind.
    pub fn lag_count(&self) -> u64 {
        self.durable.saturating_sub(self.applied)
    }
}

type Reply = Result<Option<SnapshotFacts>, String>;

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    status: Mutex<FollowerStatus>,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, FollowerStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running follower.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    requests: Sender<SyncSender<Reply>>,
    thread: OwnedThread<Result<(), SnapshotError>>,
}

impl Follower {
    /// Starts it: it recovers a state from `snapshots` and `journal` and follows.
    ///
    /// # Errors
    /// [`SnapshotError::Option`] for a rotation that keeps fewer than 2.
    ///
    /// # Panics
    /// When the operating system gives no thread.
    pub fn start<S: State + 'static>(
        make: impl FnMut() -> S + Send + 'static,
        journal: Arc<dyn Storage>,
        snapshots: SnapshotStore,
        options: FollowerOptions,
        tell: impl FnMut(FollowerEvent) + Send + 'static,
    ) -> Result<Self, SnapshotError> {
        if options.keep < KEEP_MIN {
            let rule = "at least 2: one to use, and one for when that is damaged";
            return Err(SnapshotError::Option { option: "keep_snapshots", value: options.keep.to_string(), rule });
        }
        let shared = Arc::new(Shared::default());
        let (requests, received) = channel();
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("snapshots".into())
            .spawn(move || {
                let (shared, requests, asked) = (&*seen, received, Vec::new());
                let mut following = Following { make, journal, snapshots, options, tell, shared, requests, asked };
                let result = catch_unwind(AssertUnwindSafe(|| following.run()))
                    .unwrap_or_else(|panic| Err(SnapshotError::Panicked { said: panic_text(&*panic).to_owned() }));
                if let Err(error) = &result {
                    seen.status().failure = Some(error.to_string());
                }
                // Behind that: who asked and waits is woken by it, and asks for the reason.
                drop(following);
                result
            })
            .expect("a thread for snapshots");
        Ok(Self { shared, requests, thread: OwnedThread::new(thread) })
    }

    /// How it stands.
    pub fn status(&self) -> FollowerStatus {
        self.shared.status().clone()
    }

    /// Takes a snapshot once all that is durable now has been applied, and waits for it. `None` when there is no message
    /// yet.
    ///
    /// # Errors
    /// Why it could not be taken; [`SnapshotError::Ended`] when the follower has ended.
    pub fn snapshot(&self) -> Result<Option<SnapshotFacts>, SnapshotError> {
        let ended = || SnapshotError::Ended { cause: self.status().failure.unwrap_or_else(|| "it was stopped".into()) };
        if !self.thread.is_here() {
            return Err(SnapshotError::Ended { cause: "this process was forked from the one that runs it".into() });
        }
        let (reply, replied) = sync_channel(1);
        self.requests.send(reply).map_err(|_| ended())?;
        if let Some(thread) = self.thread.thread() {
            thread.unpark();
        }
        replied.recv().map_err(|_| ended())?.map_err(|cause| SnapshotError::Failed { cause })
    }

    /// Ends the thread, after the snapshot it may be taking. Does nothing in a forked child: the thread is its parent's.
    ///
    /// # Errors
    /// What had ended it before.
    ///
    /// # Panics
    /// Never: a panic of the thread is an error of its own.
    pub fn stop(mut self) -> Result<(), SnapshotError> {
        self.end().map_or(Ok(()), |ended| ended.expect("a panic of the follower is an error of its own"))
    }

    fn end(&mut self) -> Option<std::thread::Result<Result<(), SnapshotError>>> {
        self.thread.end(|| self.shared.stopping.store(true, Ordering::Release))
    }
}

impl Drop for Follower {
    /// As [`Self::stop`], but a failure is only kept in [`Self::status`].
    fn drop(&mut self) {
        drop(self.end());
    }
}

struct Following<'a, M, T> {
    make: M,
    journal: Arc<dyn Storage>,
    snapshots: SnapshotStore,
    options: FollowerOptions,
    tell: T,
    shared: &'a Shared,
    requests: Receiver<SyncSender<Reply>>,
    /// Those that wait for the next snapshot.
    asked: Vec<SyncSender<Reply>>,
}

/// Batches applied before it looks at anything else.
const BATCHES_AT_ONCE: usize = 256;

impl<S: State, M: FnMut() -> S, T: FnMut(FollowerEvent)> Following<'_, M, T> {
    fn run(&mut self) -> Result<(), SnapshotError> {
        lower_urgency();
        let shared = self.shared;
        let stopping = || shared.stopping.load(Ordering::Acquire);
        let watch = |progress: Progress| {
            let mut status = shared.status();
            (status.applied, status.durable) = (progress.sequence, progress.durable);
            if stopping() { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        };
        let recovered = recover(&mut self.make, &self.journal, &self.snapshots, RecoveryOptions::default(), watch);
        let Recovered { mut state, mut place, facts, mut reader } = match recovered {
            Err(SnapshotError::Interrupted { .. }) => return Ok(()),
            recovered => recovered?,
        };
        shared.status().snapshot.clone_from(&facts.used);
        let mut applied = facts.last_sequence;
        let mut taken = facts.used.as_ref().map_or(0, SnapshotFacts::sequence);
        (self.tell)(FollowerEvent::Recovered(facts));
        let mut watermark = WatermarkReader::default();
        let mut due = Instant::now() + self.options.interval;
        let mut asked_upto = u64::MAX;
        while !stopping() {
            // Before reading: what was durable when somebody asked is then in the snapshot.
            let already = self.asked.len();
            self.asked.extend(self.requests.try_iter());
            if self.asked.len() > already {
                asked_upto = watermark.poll(&*self.journal)?.map_or(u64::MAX, |found| found.sequence);
            }
            let mut batch_count = 0;
            let mut point = None;
            while batch_count < BATCHES_AT_ONCE
                && let Some(now) = apply_next(&mut reader, &mut state)?
            {
                point = Some(now);
                batch_count += 1;
            }
            if let Some(point) = point {
                applied = point.sequence;
                place = Some(point.place(&reader));
            }
            let durable = watermark.poll(&*self.journal)?.map_or(0, |found| found.sequence).max(reader.durable());
            self.look_at_lag(applied, durable);
            let caught_up = batch_count < BATCHES_AT_ONCE || applied >= asked_upto;
            if Instant::now() >= due {
                due = Instant::now() + self.options.interval;
                if let Some(place) = place.as_ref().filter(|place| place.sequence > taken) {
                    taken = self.take(&state, place).map_or(taken, |facts| facts.sequence());
                }
            }
            if caught_up && !self.asked.is_empty() {
                let result = place.as_ref().map(|place| self.take(&state, place)).transpose();
                if let Ok(Some(facts)) = &result {
                    taken = facts.sequence();
                }
                reply_to(std::mem::take(&mut self.asked), &result);
            }
            if batch_count == 0 && !stopping() {
                std::thread::park_timeout(self.options.idle_wait.min(due.saturating_duration_since(Instant::now())));
            }
        }
        Ok(())
    }

    fn look_at_lag(&mut self, applied: u64, durable: u64) {
        let mut status = self.shared.status();
        (status.applied, status.durable) = (applied, durable);
        let (lag_count, lagging) = (status.lag_count(), status.lagging);
        // It has caught up at half of the bound, not at the bound itself: else it would say both all the time.
        status.lagging =
            if lagging { lag_count > self.options.lag_count_max / 2 } else { lag_count > self.options.lag_count_max };
        let now = status.lagging;
        drop(status);
        match (lagging, now) {
            (false, true) => (self.tell)(FollowerEvent::Lagging { lag_count }),
            (true, false) => (self.tell)(FollowerEvent::CaughtUp),
            _ => {}
        }
    }

    /// Writes, proves and rotates; what went wrong is told and leaves the follower running.
    fn take(&mut self, state: &S, place: &Place) -> Result<SnapshotFacts, String> {
        let began = Instant::now();
        let facts = match self.write(state, place) {
            Ok(facts) => facts,
            Err(error) => {
                let cause = error.to_string();
                self.shared.status().trouble = Some(cause.clone());
                (self.tell)(FollowerEvent::SnapshotFailed(error));
                return Err(cause);
            }
        };
        // It stands, whatever becomes of older ones.
        let rotated = self.rotate(place);
        let mut status = self.shared.status();
        status.snapshot_count += 1;
        status.snapshot = Some(facts.clone());
        status.trouble = rotated.as_ref().err().map(ToString::to_string);
        drop(status);
        let (rotation, failed) = match rotated {
            Ok(rotation) => (rotation, None),
            Err(error) => (Rotation::default(), Some(error)),
        };
        (self.tell)(FollowerEvent::Snapshot { facts: facts.clone(), rotation, took: began.elapsed() });
        if let Some(error) = failed {
            (self.tell)(FollowerEvent::RotationFailed(error));
        }
        Ok(facts)
    }

    fn write(&mut self, state: &S, place: &Place) -> Result<SnapshotFacts, SnapshotError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let created_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let Self { make, snapshots, options, .. } = self;
        if !options.prove_by_loading {
            return snapshots.write(state, place, created_ns);
        }
        snapshots.write_proven(state, place, created_ns, |snapshot| snapshot.load_into(&mut make()))
    }

    fn rotate(&mut self, place: &Place) -> Result<Rotation, SnapshotError> {
        let Self { make, snapshots, options, .. } = self;
        if !options.prove_by_loading {
            return snapshots.rotate(options.keep);
        }
        snapshots.rotate_usable(options.keep, |snapshot| {
            let ours = snapshot.facts.header.place.journal_id == place.journal_id;
            ours && snapshot.load_into(&mut make()).is_ok()
        })
    }
}

/// Whoever asked may have gone meanwhile.
fn reply_to(asked: Vec<SyncSender<Reply>>, result: &Reply) {
    for reply in asked {
        drop(reply.send(result.clone()));
    }
}

/// Applies the next durable batch; where it ended.
fn apply_next(reader: &mut JournalReader, state: &mut impl State) -> Result<Option<Point>, SnapshotError> {
    let Some(batch) = reader.next_batch()? else { return Ok(None) };
    for (sequence, payload) in batch.records() {
        state.apply(sequence, payload)?;
    }
    Ok(Some(Point::after(&batch)))
}

/// A live writer on the same cores goes first.
fn lower_urgency() {
    #[cfg(target_os = "linux")]
    // SAFETY: changes one number of this thread; where it is not allowed nothing happens.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}
