//! Risk as a live engine has it: it judges what comes, and writes it to `orders` with its verdict.
//!
//! The venue's time is the engine's clock ([`VenueClock`]), read once a turn: what a client says of the time moves nothing, because time that
//! was once moved ahead could never go back.

use std::time::Duration;

use tidebook_feed::{BAR_DELAY_NS, BAR_INTERVALS_S};
use tidebook_ring::{Producer, Written};
use tidebook_risk::{Decided, Risk};
use tidebook_types::{Command, CommandKind, Execution, ExecutionKind, RiskEvent, Verdict};
use zerocopy::IntoBytes;

use crate::error::PlaneError;
use crate::release::Release;
use crate::venue_clock::VenueClock;

const SECOND_NS: i64 = 1_000_000_000;
/// How long a write waits for room before others are looked at.
const ROOM_WAIT: Duration = Duration::from_millis(1);

/// Whose time commands have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VenueTime {
    /// When the engine took them.
    #[default]
    Arrival,
    /// What they say, and never before an earlier one's: for histories that are run through an engine. There are no timers then.
    Command,
}

/// Risk, its channel and what it tells.
#[derive(Debug)]
pub(crate) struct RiskSide {
    pub(crate) risk: Risk,
    pub(crate) orders: Producer,
    pub(crate) events: Release<RiskEvent>,
    /// Last message of `orders.in` that was taken.
    pub(crate) source_sequence: u64,
    pub(crate) time: VenueTime,
    /// Oldest place, pair or replace that is judged, ns from when its sender says that it was sent.
    pub(crate) age_max_ns: Option<i64>,
    pub(crate) counts: Counts,
    pub(crate) clock: VenueClock,
    /// When the last command was judged, by the engine's clock.
    pub(crate) last_ts: i64,
    /// The newest fill since the start, ns; `None` where nobody wants a timer behind one.
    pub(crate) last_fill_ts: Option<i64>,
}

/// What was judged since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    pub(crate) timers: u64,
}

impl RiskSide {
    /// The time of the next command.
    pub(crate) fn now(&mut self) -> i64 {
        self.clock.now()
    }

    /// Last command of `orders` that was judged.
    pub(crate) fn sequence(&self) -> u64 {
        self.risk.sequence()
    }

    /// Judges the next command: its sequence on `orders`, it as it is to be written there, and what is to be [taken](Self::take) before
    /// anything else is shown to risk.
    #[inline]
    pub(crate) fn decide(&mut self, source_sequence: u64, command: &Command, ts: i64) -> (u64, Command, Decided) {
        let sequence = self.orders.published() + 1;
        let mut command = *command;
        let is_late = self.is_late(&command, ts);
        let head = &mut command.head;
        (head.source_sequence, head.executions_seen, head.verdict, head.reason) = (source_sequence, 0, 0, 0);
        if self.time == VenueTime::Arrival {
            head.ts = ts;
        }
        self.last_ts = ts;
        let decided = if is_late { self.risk.decide_late(&mut command) } else { self.risk.decide(&mut command) };
        match decided.verdict() {
            Verdict::Accepted => self.counts.accepted += 1,
            _ => self.counts.rejected += 1,
        }
        self.source_sequence = self.source_sequence.max(source_sequence);
        (sequence, command, decided)
    }

    /// Takes in what was decided of the command, and tells what came of it.
    #[inline]
    pub(crate) fn take(&mut self, sequence: u64, command: &Command, decided: Decided) {
        self.risk.take(sequence, command, decided);
        self.tell();
    }

    /// Whether a command waited so long that its sender cannot want it any more. Whoever wants to get out is never late, and of a command
    /// that says no time nobody knows.
    fn is_late(&self, command: &Command, ts: i64) -> bool {
        let asks_for_more = [CommandKind::Place, CommandKind::PlacePair, CommandKind::Replace].map(CommandKind::code);
        self.time == VenueTime::Arrival
            && command.head.ts > 0
            && asks_for_more.contains(&command.head.kind)
            // Its sender's clock is the machine's.
            && self.age_max_ns.is_some_and(|age_max| (ts - self.clock.ahead_ns()).saturating_sub(command.head.ts) > age_max)
    }

    /// What risk asks for before anything else.
    #[inline]
    pub(crate) fn follow_up(&self) -> Option<Command> {
        self.risk.follow_up()
    }

    /// The command that lets time pass when nobody sends any.
    pub(crate) fn timer(&mut self) -> Command {
        self.counts.timers += 1;
        Command::bare(CommandKind::Timer, 0)
    }

    /// Writes what was judged; false when there is no room yet, and then it is to be written again before anything else is judged.
    #[inline]
    pub(crate) fn write(&mut self, command: &Command) -> Result<bool, PlaneError> {
        Ok(matches!(self.orders.write_within(command.as_bytes(), ROOM_WAIT)?, Written::At(_)))
    }

    /// The same; who sleeps over it is to be woken.
    #[inline]
    pub(crate) fn put(&mut self, command: &Command) -> Result<bool, PlaneError> {
        Ok(matches!(self.orders.put_within(command.as_bytes(), ROOM_WAIT)?, Written::At(_)))
    }

    /// Shows risk what was executed.
    #[inline]
    pub(crate) fn see(&mut self, execution: &Execution) {
        self.risk.on_execution(execution);
        if execution.kind == ExecutionKind::Fill.code() {
            self.last_fill_ts = self.last_fill_ts.map(|last| last.max(execution.ts));
        }
        self.tell();
    }

    /// When a timer is due, by what matching has to do: also where a bar with the newest fill ends, so that no chart waits for somebody's command.
    pub(crate) fn next_due(&self, of_matching: i64) -> i64 {
        let of_bars = self.last_fill_ts.and_then(|fill| bar_closes_at(fill, self.last_ts));
        of_bars.map_or(of_matching, |due| due.min(of_matching))
    }

    #[inline]
    fn tell(&mut self) {
        for event in self.risk.events() {
            self.events.push(event);
        }
    }
}

/// When the first bar that has a fill at `fill_ts` can be closed, of those that no command up to `last_ts` has closed; ns. What has no fill waits
/// for the next command: an idle venue writes nothing.
fn bar_closes_at(fill_ts: i64, last_ts: i64) -> Option<i64> {
    let ends = BAR_INTERVALS_S.map(|seconds| {
        let interval = i64::from(seconds) * SECOND_NS;
        (fill_ts / interval + 1) * interval + BAR_DELAY_NS
    });
    ends.into_iter().filter(|end| *end > last_ts).min()
}

/// When a timer is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timers {
    /// Also when nothing is due, this long after the last command, ns.
    pub(crate) interval_ns: Option<i64>,
    /// Not sooner than this after the last command, ns.
    pub(crate) pause_ns: i64,
    pub(crate) time: VenueTime,
}

impl Timers {
    /// ns until a timer is due, 0 when it is; `None` when none is. `next_due` is when matching has something to do, the largest number
    /// for never.
    pub(crate) fn until(&self, last_ts: i64, next_due: i64, now: impl FnOnce() -> i64) -> Option<i64> {
        if self.time == VenueTime::Command {
            return None;
        }
        let due = (next_due != i64::MAX).then(|| next_due.max(last_ts + self.pause_ns));
        let regular = self.interval_ns.map(|interval| last_ts + interval);
        let next = [due, regular].into_iter().flatten().min()?;
        Some((next - now()).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_fill_a_timer_closes_each_bar_that_has_it_once_and_then_there_is_none() {
        // A second and a half into the last second of an hour: it ends a second, a minute, five minutes and the hour.
        let fill_ts = (3_600 * 5 - 1) * SECOND_NS + SECOND_NS / 2;
        let mut last_ts = fill_ts;
        let mut closed_at = Vec::new();
        while let Some(due) = bar_closes_at(fill_ts, last_ts) {
            closed_at.push(due / SECOND_NS);
            last_ts = due;
        }
        assert_eq!(closed_at, [3_600 * 5 + 1, 86_400 + 1]);
        let fill_ts = 61 * SECOND_NS;
        let dues = [61, 62, 63, 120, 121, 301, 3_601, 86_401].map(|last| bar_closes_at(fill_ts, last * SECOND_NS));
        let expected = [63, 63, 121, 121, 301, 3_601, 86_401].map(|due| Some(due * SECOND_NS));
        assert_eq!(dues, [&expected[..], &[None]].concat()[..]);
    }
}
