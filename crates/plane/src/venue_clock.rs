//! The time of a venue: the machine's, but that it never goes back and never stands still.
//!
//! A command's time is never before an earlier one's, so a system clock that is set back would hold the venue's time until it has come as
//! far again: nothing would expire meanwhile, and no dead man's switch go off, for as long as the clock was set back. So where the system is
//! behind, the venue's time goes on by a steady clock, a little slower than that, until the system has caught up. Where the system
//! is ahead the venue follows at once: what has a time to expire has it by the system's clock. The cost is a second read of a clock a turn.

use std::time::{Duration, Instant};

use crate::latency::now;

/// While the system is behind, the venue's time lacks one part in so many of the steady clock's: of an hour it is rid in 16.
const SLOWER: u64 = 16;

/// ns since 1970 UTC.
#[derive(Debug)]
pub(crate) struct VenueClock {
    began: Instant,
    read: Duration,
    ts: i64,
    ahead_ns: i64,
}

impl VenueClock {
    /// One that goes on behind `ts`.
    pub(crate) fn behind(ts: i64) -> Self {
        Self { began: Instant::now(), read: Duration::ZERO, ts, ahead_ns: 0 }
    }

    /// The time.
    pub(crate) fn now(&mut self) -> i64 {
        self.step(now(), self.began.elapsed())
    }

    /// How far it was ahead of the system's when it was last read.
    pub(crate) const fn ahead_ns(&self) -> i64 {
        self.ahead_ns
    }

    fn step(&mut self, system: i64, steady: Duration) -> i64 {
        let elapsed = steady.saturating_sub(self.read).as_nanos() as u64;
        self.read = self.read.max(steady);
        let at_least = self.ts.saturating_add_unsigned(elapsed - elapsed / SLOWER);
        self.ts = system.max(at_least);
        self.ahead_ns = self.ts - system;
        self.ts
    }
}

#[cfg(test)]
mod tests {
    use super::VenueClock;
    use std::time::Duration;

    const SECOND: i64 = 1_000_000_000;

    /// Method: what the system and a steady clock say at each look, in seconds, and what the venue's time is then.
    #[test]
    fn time_follows_a_system_that_is_ahead_and_goes_on_slower_where_it_is_behind() {
        let mut clock = VenueClock::behind(100 * SECOND);
        let looks = [
            (1_000, 0, 1_000),  // the first look
            (1_016, 16, 1_016), // both go on
            (5_000, 32, 5_000), // set forward
            (1_000, 48, 5_015), // set back: 15 s for 16
            (1_000, 64, 5_030), // it stands still: the venue does not
            (5_044, 80, 5_045), // nearly caught up
            (5_060, 96, 5_060), // caught up
            (5_076, 112, 5_076),
        ];
        for (system, steady, expected) in looks {
            assert_eq!(clock.step(system * SECOND, Duration::from_secs(steady)), expected * SECOND, "at {steady} s");
            assert_eq!(clock.ahead_ns(), (expected - system) * SECOND);
        }
    }

    #[test]
    fn a_venue_whose_last_command_is_ahead_of_the_system_goes_on_behind_it() {
        let mut clock = VenueClock::behind(5_000 * SECOND);
        assert_eq!(clock.step(1_000 * SECOND, Duration::from_secs(16)), 5_015 * SECOND);
        assert_eq!(clock.step(1_016 * SECOND, Duration::from_secs(32)), 5_030 * SECOND);
    }
}
