//! Waiting until a message is durable, without polling.
//!
//! The journal's thread tells whoever waits in its own process right after each sync, when it stops and when it ends.
//! Other processes have no need of it: the ring wakes their consumers with the watermark.

use std::fmt::Display;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tidebook_ring::Ring;

/// What the journal's thread and those who wait for it share.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The thread moves nothing any more.
    ended: Mutex<bool>,
    moved: Condvar,
    /// See [`crate::Guarantee::no_staging`].
    no_staging: OnceLock<String>,
}

impl Progress {
    /// The watermark moved. Called after it did.
    pub fn tell(&self) {
        // With the lock: who looked before it moved sleeps by now.
        drop(self.ended());
        self.moved.notify_all();
    }

    /// Nothing becomes durable any more.
    pub fn end(&self) {
        *self.ended() = true;
        self.moved.notify_all();
    }

    /// Nothing is staged, for this reason.
    pub fn has_no_staging(&self, reason: &dyn Display) {
        self.no_staging.get_or_init(|| reason.to_string());
    }

    pub fn no_staging(&self) -> Option<String> {
        self.no_staging.get().cloned()
    }

    fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the durable watermark of a channel that this process owns; any number of threads may have one. It holds
/// neither the channel nor its thread, so a wait ends when the channel is closed.
#[derive(Debug, Clone)]
pub struct DurableWaiter {
    ring: Ring,
    progress: Arc<Progress>,
    process_id: u32,
}

impl DurableWaiter {
    pub(crate) fn new(ring: Ring, progress: Arc<Progress>) -> Self {
        Self { ring, progress, process_id: std::process::id() }
    }

    /// Waits until consumers see `sequence` as durable; false when `timeout` passed, or journaling stopped or ended
    /// before. A forked child does not wait: nothing tells it anything.
    pub fn wait(&self, sequence: u64, timeout: Duration) -> bool {
        let is_durable = || self.ring.durable() >= sequence;
        if is_durable() || std::process::id() != self.process_id {
            return is_durable();
        }
        let until = Instant::now().checked_add(timeout);
        let mut ended = self.progress.ended();
        while !is_durable() && !*ended {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let woken = self.progress.moved.wait_timeout(ended, left);
            ended = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        is_durable()
    }

    pub(crate) fn no_staging(&self) -> Option<String> {
        self.progress.no_staging()
    }

    /// Whether nothing becomes durable any more, because journaling stopped or the channel was closed.
    pub fn has_ended(&self) -> bool {
        std::process::id() != self.process_id || *self.progress.ended()
    }
}
