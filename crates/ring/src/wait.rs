//! How a consumer waits for the next message, and how anyone waits who cannot be woken.

use std::time::{Duration, Instant};

/// How [`crate::Consumer::wait`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Keeps its core. Lowest latency; only with cores to spare.
    Spin,
    /// Spins some microseconds, then gives its core away, then sleeps 50 µs at a time. Costs the producer nothing.
    #[default]
    Hybrid,
    /// Sleeps until woken by the kernel. The ring must have been made with parking.
    Park,
}

/// How long a parked consumer sleeps without looking. A producer killed between its commit and waking the sleepers is
/// made up for by this, so it is below the 50 ms in which nobody's death may hold others up.
pub(crate) const PARK_SLICE: Duration = Duration::from_millis(40);

/// Rounds of spinning, then rounds of yielding, then sleeps.
const SPINS: u32 = 1000;
const YIELDS: u32 = 20;
const SLEEP: Duration = Duration::from_micros(50);

/// Waits by polling: first hot, then politely.
#[derive(Debug)]
pub(crate) struct Backoff {
    round: u32,
    spin_only: bool,
}

impl Backoff {
    pub fn new(wait: Wait) -> Self {
        Self { round: 0, spin_only: wait == Wait::Spin }
    }

    pub fn pause(&mut self) {
        self.round = self.round.saturating_add(1);
        if self.spin_only || self.round < SPINS {
            std::hint::spin_loop();
        } else if self.round < SPINS + YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(SLEEP);
        }
    }

    /// Whether this is a round of many in which nothing came.
    pub fn is_idle(&self) -> bool {
        self.round >= SPINS && self.round.is_multiple_of(SPINS)
    }

    /// Whether this is a round in which looking at a clock costs nothing that matters.
    pub fn is_slow(&self) -> bool {
        self.round >= SPINS || self.round.is_multiple_of(64)
    }
}

/// The clock of stamps, which all processes of a machine share.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// When a wait of this length ends; `None` when it does not.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}
