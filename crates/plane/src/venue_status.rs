//! What the threads of a venue and those who ask for it share.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::histogram::{Histogram, HistogramSnapshot};

/// A part of a command's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VenueStage {
    /// From the time that the client wrote into the command to its verdict; only of commands with a time that is not ahead.
    SentJudged,
    /// From the verdict to the command being carried out.
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
