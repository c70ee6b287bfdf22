//! How a venue stands: what its threads and those who ask for it share, and what these are told.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tidebook_channel::{ChannelReport, Guarantee};
use tidebook_journal::snapshot::RecoveryFacts;
use tidebook_ring::Wait;

use crate::histogram::{Histogram, HistogramSnapshot};
use crate::venue_options::VenueLayout;
use crate::venue_sizes::VenueSizes;

/// What a start found.
#[derive(Debug)]
pub struct VenueBeginning {
    /// What opening `orders` found; `None` without a journal.
    pub channel: Option<ChannelReport>,
    /// How the state came about; `None` without a journal.
    pub state: Option<RecoveryFacts>,
    /// Last message of `orders.in` that was taken before.
    pub source_sequence: u64,
    /// Rings that were made anew although there were some, each with the reason: whoever reads them has to open them again.
    pub made_anew: Vec<(&'static str, String)>,
    /// Room of the venue.
    pub sizes: VenueSizes,
    /// Threads it has.
    pub layout: VenueLayout,
    /// How many of them match.
    pub shards: u32,
    /// How they wait.
    pub wait: Wait,
}

/// How a venue stands.
#[derive(Debug, Clone)]
pub struct VenueStatus {
    /// Last command of `orders`.
    pub published: u64,
    /// Last one that is visible: synced, with a journal.
    pub visible: u64,
    /// Last one that was carried out.
    pub applied: u64,
    /// Last message of `orders.in` that was taken.
    pub source_sequence: u64,
    /// Last message of `orders.in`.
    pub source_published: u64,
    /// Messages of `orders.in` that were damaged or overwritten.
    pub missed: u64,
    /// Commands accepted since the start, timers and what a kill switch asks for included.
    pub accepted: u64,
    /// Commands refused since then.
    pub rejected: u64,
    /// Timers since then.
    pub timers: u64,
    /// Executions so far.
    pub executed: u64,
    /// Of those, published.
    pub executions: u64,
    /// Events of risk that are published.
    pub events: u64,
    /// Orders that risk holds for open.
    pub open_orders: u64,
    /// ns that the venue's time was ahead of the machine's when a command was last taken: its clock was set back.
    pub ahead_ns: u64,
    /// What the journal promises; `None` without one.
    pub guarantee: Option<Guarantee>,
    /// Why it ended, if it failed.
    pub failure: Option<String>,
}

/// Where a venue stood when it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueStopped {
    /// Last command.
    pub sequence: u64,
    /// [`tidebook_risk::Replay::settled_state_hash`]: that of any replay of the same commands.
    pub state_hash: u64,
}

/// A part of a command's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VenueStage {
    /// From the time that the client wrote into the command to its verdict; only of commands with a time that is not ahead.
    SentJudged,
    /// From the verdict to the command being carried out; with shards to its first execution being in order with those of the others.
    JudgedMatched,
    /// From the verdict to its first execution being published, which waits for the journal.
    JudgedReleased,
}

impl VenueStage {
    /// All, in the order of the way.
    pub const ALL: [Self; 3] = [Self::SentJudged, Self::JudgedMatched, Self::JudgedReleased];

    /// The word of metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SentJudged => "sent_judged",
            Self::JudgedMatched => "judged_matched",
            Self::JudgedReleased => "judged_released",
        }
    }
}

#[derive(Debug)]
pub(crate) struct VenueShared {
    pub(crate) stopping: AtomicBool,
    /// A thread ended with an error: the other one ends too.
    pub(crate) failed: AtomicBool,
    /// Risk judges nothing any more.
    pub(crate) risk_done: AtomicBool,
    /// Parts of matching that have carried out everything that was judged.
    pub(crate) shards_done: AtomicU32,
    /// Matching has carried out everything that was judged.
    pub(crate) matching_done: AtomicBool,
    pub(crate) judged: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) source_sequence: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) timers: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) executed: AtomicU64,
    pub(crate) executions: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) open_orders: AtomicU64,
    pub(crate) ahead_ns: AtomicU64,
    pub(crate) next_due: AtomicI64,
    latencies: [Histogram; VenueStage::ALL.len()],
    pub(crate) failure: Mutex<Option<String>>,
}

impl Default for VenueShared {
    fn default() -> Self {
        Self {
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            risk_done: AtomicBool::new(false),
            shards_done: AtomicU32::new(0),
            matching_done: AtomicBool::new(false),
            judged: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            source_sequence: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            timers: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            executed: AtomicU64::new(0),
            executions: AtomicU64::new(0),
            events: AtomicU64::new(0),
            open_orders: AtomicU64::new(0),
            ahead_ns: AtomicU64::new(0),
            next_due: AtomicI64::new(i64::MAX),
            latencies: Default::default(),
            failure: Mutex::new(None),
        }
    }
}

impl VenueShared {
    /// Counts a time of a stage; each stage has one thread that does.
    pub(crate) fn record(&self, stage: VenueStage, from: i64, to: i64) {
        self.latencies[stage as usize].record(u64::try_from(to.saturating_sub(from)).unwrap_or(0));
    }

    pub(crate) fn latency(&self, stage: VenueStage) -> HistogramSnapshot {
        self.latencies[stage as usize].snapshot()
    }

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, said: String) {
        // The first is the cause of all others.
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said);
        self.failed.store(true, Ordering::Release);
    }
}
