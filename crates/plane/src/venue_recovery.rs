//! What a venue begins with: its rings, and the state that the journal of `orders` gives.
//!
//! `orders` alone decides. The other three rings are as disposable as any, and carry the epoch of the ring of `orders`, which stands for
//! the journal and its last cut: one of another epoch is of another history and is made anew. What each still tells is used: the last
//! execution and event that are published, so that none is published twice or left out. `orders.in` goes on behind the last of its
//! messages that is on `orders`; one that is made anew begins there, so that a number of it never means two commands of one history.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidebook_journal::snapshot::{
    RecoveryFacts, RecoveryOptions, SnapshotError, SnapshotFacts, SnapshotStore, recover, usable_snapshots,
};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{State, StateError};
use tidebook_ring::{Producer, Ring, RingError, RingOptions};
use tidebook_risk::{Replay, Told};
use tidebook_types::command::COMMAND_SIZE_BYTES;
use tidebook_types::{Command, Execution, Record, RiskEvent};
use tidebook_venue::Venue;
use zerocopy::FromBytes;

use crate::error::PlaneError;
use crate::output::holder;
use crate::release::Derived;
use crate::venue_sizes::VenueSizes;

/// Kind of the snapshots of a venue, and the name of its journal.
pub const ORDERS: &str = "orders";

/// Where the snapshots of a venue are kept among all snapshots of a data directory.
pub fn venue_snapshots_path(snapshots_dir: &Path) -> PathBuf {
    snapshots_dir.join(ORDERS).join(ORDERS)
}

/// A venue without history, as snapshots and replays of `orders` begin it.
pub fn new_venue(sizes: VenueSizes, recheck: bool) -> Replay<Venue> {
    Replay::new(sizes.risk, Venue::new(sizes.venue), recheck)
}

/// Sequences, rising, of the newest `count` snapshots of the venue up to `sequence_max` that a start could begin behind, and why newer
/// ones could not be used. What may be removed on the strength of snapshots is decided by this.
///
/// # Errors
/// A snapshot that contradicts the journal, or what reading the directories returned.
pub fn usable_venue_snapshots(
    journal_dir: &Path,
    snapshots_dir: &Path,
    sequence_max: u64,
    count: usize,
) -> Result<(Vec<u64>, Vec<String>), PlaneError> {
    let sizes = VenueSizes::of_journal(journal_dir)?.unwrap_or_default();
    let journal: Arc<dyn Storage> = Arc::new(Directory::new(journal_dir));
    let snapshots = SnapshotStore::open(&venue_snapshots_path(snapshots_dir), ORDERS)?;
    let (found, refused) = usable_snapshots(|| new_venue(sizes, false), &journal, &snapshots, sequence_max, count)?;
    let refused = refused.iter().map(|refused| refused.reason.to_string()).collect();
    Ok((found.iter().rev().map(SnapshotFacts::sequence).collect(), refused))
}

/// Numbers of what is published already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) executions: Option<u64>,
    pub(crate) events: Option<u64>,
}

/// The venue with what it said last.
pub(crate) struct Recovered {
    pub(crate) replay: Replay<Venue>,
    /// What is not published; of a channel that is made anew the newest that it holds.
    pub(crate) executions: VecDeque<Execution>,
    pub(crate) events: VecDeque<RiskEvent>,
    pub(crate) facts: RecoveryFacts,
}

/// The replay of a start: keeps what has to be published.
struct Tail {
    replay: Replay<Venue>,
    executions: Kept<Execution>,
    events: Kept<RiskEvent>,
}

/// The records of one channel that have to be published.
struct Kept<T> {
    records: VecDeque<T>,
    /// Number of the last that is; `None` where the channel is made anew.
    published: Option<u64>,
    /// How many a channel that is made anew begins with.
    count_max: usize,
}

impl<T: Derived> Kept<T> {
    fn new(published: Option<u64>, count_max: usize) -> Self {
        Self { records: VecDeque::new(), published, count_max }
    }

    fn keep(&mut self, record: &T) {
        match self.published {
            Some(published) if record.sequence() <= published => return,
            None if self.records.len() == self.count_max => drop(self.records.pop_front()),
            _ => {}
        }
        self.records.push_back(*record);
    }
}

impl State for Tail {
    fn kind(&self) -> &str {
        self.replay.kind()
    }

    fn version(&self) -> u32 {
        self.replay.version()
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        let refused = |reason: String| StateError::Message { kind: ORDERS.to_owned(), sequence, reason };
        let command = Command::read_from_bytes(payload)
            .map_err(|_| refused(format!("{} bytes where a command has {COMMAND_SIZE_BYTES}", payload.len())))?;
        let Self { replay, executions, events } = self;
        let applied = replay.apply_journaled_telling(sequence, &command, &mut |told| match told {
            Told::Execution(execution) => executions.keep(execution),
            Told::Event(event) => events.keep(event),
        });
        applied.map_err(|difference| refused(difference.to_string()))
    }

    fn state_hash(&self) -> u64 {
        self.replay.state_hash()
    }

    fn recomputed_state_hash(&self) -> Option<u64> {
        self.replay.recomputed_state_hash()
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        self.replay.save(out)
    }

    /// Refuses one whose executions were not all published: an older one makes them again.
    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.replay.load(bytes)?;
        let (executions, events) = (self.replay.matching().execution_count(), self.replay.risk().events_count());
        for (channel, made, published) in
            [("executions", executions, self.executions.published), ("risk", events, self.events.published)]
        {
            if let Some(published) = published
                && made > published
            {
                let reason =
                    format!("{channel} has {published} of its {made} records; an older snapshot gives the others");
                return Err(StateError::Saved { kind: ORDERS.to_owned(), offset: 0, reason });
            }
        }
        Ok(())
    }
}

/// The venue as the journal gives it, behind all its commands.
///
/// Where no snapshot is old enough to give what was never published, and the journal no longer begins with the first command, the second
/// value says so: what is published cannot go on then.
pub(crate) fn recover_venue(
    journal_dir: &Path,
    snapshots_dir: Option<&Path>,
    sizes: VenueSizes,
    recheck: bool,
    published: Published,
    (executions_max, events_max): (usize, usize),
) -> Result<(Recovered, Option<String>), PlaneError> {
    let journal: Arc<dyn Storage> = Arc::new(Directory::new(journal_dir));
    // Without snapshots: a directory that has none.
    let path = snapshots_dir.map_or_else(|| journal_dir.join("no-snapshots"), venue_snapshots_path);
    let snapshots = SnapshotStore::open(&path, ORDERS)?;
    let begin = |published: Published| {
        let make = || Tail {
            replay: new_venue(sizes, recheck),
            executions: Kept::new(published.executions, executions_max),
            events: Kept::new(published.events, events_max),
        };
        recover(make, &journal, &snapshots, RecoveryOptions::default(), |_| ControlFlow::Continue(()))
    };
    let (recovered, gap) = match begin(published) {
        Err(error @ SnapshotError::NoStart { .. }) if published.executions.is_some() || published.events.is_some() => {
            let anew = begin(Published { executions: None, events: None }).map_err(unrecoverable)?;
            (anew, Some(format!("what was not published yet cannot be made again: {error}")))
        }
        other => (other.map_err(unrecoverable)?, None),
    };
    let Tail { mut replay, executions, mut events } = recovered.state;
    replay.settle(&mut |event| events.keep(event));
    replay.set_recheck(false);
    let (executions, events) = (executions.records, events.records);
    Ok((Recovered { replay, executions, events, facts: recovered.facts }, gap))
}

fn unrecoverable(cause: SnapshotError) -> PlaneError {
    let advice = match &cause {
        SnapshotError::State(StateError::Message { .. }) => {
            "; start the release that wrote the journal, or begin in a new data directory"
        }
        _ => "",
    };
    PlaneError::Unrecoverable { cause, advice }
}

/// A ring of the venue as it was found.
pub(crate) struct Found {
    path: PathBuf,
    ring: Option<Ring>,
    /// Why it cannot stay, if it cannot.
    pub(crate) fault: Option<String>,
}

impl Found {
    /// Looks at a ring that would have to have these options, their epoch too.
    pub(crate) fn look(rings_dir: &Path, channel: &str, options: &RingOptions) -> Result<Self, PlaneError> {
        let path = tidebook_ring::paths::ring_path(rings_dir, channel)?;
        let (ring, fault) = match Ring::open(&path) {
            Ok(ring) => match ring.require(options) {
                Ok(()) => (Some(ring), None),
                Err(error @ RingError::Mismatch { .. }) => (Some(ring), Some(error.to_string())),
                Err(error) => return Err(error.into()),
            },
            Err(RingError::NotFound { .. }) => (None, None),
            Err(error @ (RingError::NotARing { .. } | RingError::OtherBoot { .. } | RingError::Version { .. })) => {
                (None, Some(error.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path, ring, fault })
    }

    /// The ring, if it can stay.
    pub(crate) fn usable(&self) -> Option<&Ring> {
        self.ring.as_ref().filter(|_| self.fault.is_none())
    }

    /// As producer of one that can stay; damage of its newest messages is a fault.
    pub(crate) fn producer(&mut self) -> Result<Option<Producer>, PlaneError> {
        match self.usable().map(Ring::producer) {
            None => Ok(None),
            Some(Ok(producer)) => Ok(Some(producer)),
            Some(Err(error @ RingError::Corrupt { .. })) => {
                self.fault = Some(error.to_string());
                Ok(None)
            }
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Makes it anew with these options, if nobody has the one that is there open.
    pub(crate) fn make_anew(&self, options: &RingOptions) -> Result<Ring, PlaneError> {
        if let Some(ring) = &self.ring
            && let Some(who) = holder(ring)?
        {
            let reason = self.fault.clone().unwrap_or_else(|| "it cannot go on".to_owned());
            return Err(PlaneError::InUse { ring: self.path.clone(), reason, who });
        }
        match Ring::remove(&self.path) {
            Ok(()) | Err(RingError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Ring::create(&self.path, options)?)
    }
}

/// Readers of each channel at one time, names that are not open included.
pub(crate) const CONSUMERS_MAX: u32 = 64;
/// Writers of `orders.in` at one time.
pub(crate) const PRODUCERS_MAX: u32 = 64;

/// A ring of records that readers can sleep on.
pub(crate) fn ring_of<T: Record>(count: u64) -> RingOptions {
    RingOptions::records(&T::SCHEMA, count).parking(true).consumers_max(CONSUMERS_MAX)
}
