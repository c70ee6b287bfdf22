//! The time of a venue: the machine's, but that it never goes back and never stands still.
//!
//! A command's time is never before an earlier one's, so a system clock that is set back would hold the venue's time until it has come as
//! far again: nothing would expire meanwhile, and no dead man's switch go off, for as long as the clock was set back. So where the system is
//! behind, the venue's time goes on by a steady clock, a little slower than that, until the system has caught up. Where the system
//! is ahead the venue follows at once: what has a time to expire has it by the system's clock. As long as it goes on, only that is read exactly:
//! of the steady clock the last tick is noted, so where the system is found behind, the venue's time may be a tick (some ms) further.

use std::time::Duration;

use crate::latency::now;

/// While the system is behind, the venue's time lacks one part in so many of the steady clock's: of an hour it is rid in 16.
const SLOWER: u64 = 16;

/// ns since 1970 UTC.
#[derive(Debug)]
pub(crate) struct VenueClock {
    /// The steady clock when this one was last read.
    read: Duration,
    ts: i64,
    ahead_ns: i64,
}

impl VenueClock {
    /// One that goes on behind `ts`.
    pub(crate) fn behind(ts: i64) -> Self {
        Self { read: Steady::now(), ts, ahead_ns: 0 }
    }

    /// The time.
    #[inline]
    pub(crate) fn now(&mut self) -> i64 {
        self.step::<Steady>(now())
    }

    /// How far it was ahead of the system's when it was last read.
    pub(crate) const fn ahead_ns(&self) -> i64 {
        self.ahead_ns
    }

    #[inline]
    fn step<S: Clock>(&mut self, system: i64) -> i64 {
        if system > self.ts && self.ahead_ns == 0 {
            (self.ts, self.read) = (system, S::tick());
            return system;
        }
        self.behind_or_catching_up(system, S::now())
    }

    #[cold]
    fn behind_or_catching_up(&mut self, system: i64, steady: Duration) -> i64 {
        let elapsed = steady.saturating_sub(self.read).as_nanos() as u64;
        self.read = self.read.max(steady);
        let at_least = self.ts.saturating_add_unsigned(elapsed - elapsed / SLOWER);
        self.ts = system.max(at_least);
        self.ahead_ns = self.ts - system;
        self.ts
    }
}

/// A clock that nobody sets.
trait Clock {
    /// What it says.
    fn now() -> Duration;

    /// What it said when it last ticked: less, and read in a fifth of the time.
    fn tick() -> Duration {
        Self::now()
    }
}

/// The machine's, since some time before its start.
struct Steady;

impl Clock for Steady {
    fn now() -> Duration {
        read(libc::CLOCK_MONOTONIC)
    }

    #[cfg(target_os = "linux")]
    #[inline]
    fn tick() -> Duration {
        read(libc::CLOCK_MONOTONIC_COARSE)
    }
}

#[inline]
fn read(clock: libc::clockid_t) -> Duration {
    let mut found = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes into what it is given, which is ours. It fails only for a clock that the system does not have.
    unsafe { libc::clock_gettime(clock, &raw mut found) };
    Duration::new(found.tv_sec.unsigned_abs(), found.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::{Clock, Steady, VenueClock};

    thread_local! {
        static STEADY_S: Cell<u64> = const { Cell::new(0) };
    }

    /// Says what a test says.
    struct Said;

    impl Clock for Said {
        fn now() -> Duration {
            Duration::from_secs(STEADY_S.get())
        }
    }

    /// What it says when the steady clock says `steady` seconds and the system `system`.
    fn look(clock: &mut VenueClock, system: i64, steady: u64) -> i64 {
        STEADY_S.set(steady);
        clock.step::<Said>(system * SECOND)
    }

    fn behind(ts: i64) -> VenueClock {
        VenueClock { read: Duration::ZERO, ts, ahead_ns: 0 }
    }

    const SECOND: i64 = 1_000_000_000;

    /// Method: what the system and a steady clock say at each look, in seconds, and what the venue's time is then.
    #[test]
    fn time_follows_a_system_that_is_ahead_and_goes_on_slower_where_it_is_behind() {
        let mut clock = behind(100 * SECOND);
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
            assert_eq!(look(&mut clock, system, steady), expected * SECOND, "at {steady} s");
            assert_eq!(clock.ahead_ns(), (expected - system) * SECOND);
        }
    }

    #[test]
    fn a_venue_whose_last_command_is_ahead_of_the_system_goes_on_behind_it() {
        let mut clock = behind(5_000 * SECOND);
        assert_eq!(look(&mut clock, 1_000, 16), 5_015 * SECOND);
        assert_eq!(look(&mut clock, 1_016, 32), 5_030 * SECOND);
    }

    #[test]
    fn a_system_that_is_set_back_by_less_than_passed_is_followed_and_time_goes_on() {
        let mut clock = behind(100 * SECOND);
        assert_eq!(look(&mut clock, 1_000, 0), 1_000 * SECOND);
        assert_eq!((look(&mut clock, 1_004, 16), clock.ahead_ns()), (1_004 * SECOND, 0));
    }

    #[test]
    fn the_machines_steady_clock_goes_on_and_is_at_most_some_ticks_ahead_of_its_last_one() {
        for _ in 0..1_000 {
            let (before, tick, after) = (Steady::now(), Steady::tick(), Steady::now());
            assert!(before <= after && tick <= after, "{before:?} {tick:?} {after:?}");
            // Ticks are 1 to 10 ms apart; a machine that others use may be late with one.
            assert!(after - tick < Duration::from_secs(1), "{tick:?} {after:?}");
        }
    }
}
