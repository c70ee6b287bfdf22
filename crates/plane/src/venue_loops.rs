//! The threads of a venue: one that does everything, or one for risk and one for matching.
//!
//! Matching in several parts is in `venue_shards.rs`. Between two threads commands go over `orders` itself, read ahead of the disk, and executions come back over a ring without a name.
//! Risk never waits for room without taking in what comes back, so the two cannot wait for each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidebook_channel::DurableWaiter;
use tidebook_ring::{Consumer, Producer, Read, Wait, wait_any_or_durable};
use tidebook_types::{Command, Execution};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::PlaneError;
use crate::latency::now;
use crate::matching_side::MatchingSide;
use crate::order_input::OrderInput;
use crate::release::{QUIET_MAX, Visibility};
use crate::risk_side::{RiskSide, Timers, VenueTime};
use crate::turns::Turned;
use crate::venue_status::{VenueShared, VenueStage};

/// How often a thread without work looks whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How long a stop waits for the journal to make visible what was carried out.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(30);
/// How long a write back to risk waits before others are looked at.
const BACK_WAIT: Duration = Duration::from_millis(1);

/// How long a thread that is about to be parked goes on looking: as long as it takes to be woken, so whatever comes, no more than twice what was
/// needed is spent on waiting.
const LOOKS: Duration = Duration::from_micros(10);

/// What both threads have.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) shared: Arc<VenueShared>,
    pub(crate) visibility: Visibility,
    /// `None` where there is no journal.
    pub(crate) journal: Option<DurableWaiter>,
    pub(crate) wait: Wait,
    pub(crate) timers: Timers,
}

impl Surroundings {
    /// Sleeps until a consumer can read, `durable` is, or there is something else to look at.
    pub(crate) fn sleep(
        &self,
        consumers: &mut [&mut Consumer],
        durable: Option<u64>,
        until_timer: Option<i64>,
    ) -> Result<(), PlaneError> {
        self.check_journal()?;
        let timer = until_timer.map_or(STOP_INTERVAL, |ns| Duration::from_nanos(ns.unsigned_abs()));
        let durable = durable.map(|sequence| (&self.visibility.orders, sequence));
        let timeout = timer.min(STOP_INTERVAL);
        let mut wait_for = |wait, timeout| {
            wait_any_or_durable(consumers, |consumer| Some(&mut **consumer), durable, wait, Some(timeout))
        };
        // What waits for the disk waits for threads that may have this core.
        let looks = self.wait == Wait::Park && durable.is_none();
        if !looks || !wait_for(Wait::Spin, LOOKS.min(timeout))? {
            wait_for(self.wait, timeout)?;
        }
        Ok(())
    }

    /// Whether there is any sense in waiting for the journal.
    pub(crate) fn check_journal(&self) -> Result<(), PlaneError> {
        if self.journal.as_ref().is_some_and(DurableWaiter::has_ended) && !self.shared.is_stopping() {
            return Err(PlaneError::JournalStopped);
        }
        Ok(())
    }

    /// Waits until everything up to `last` is visible, at the end; false when that does not come.
    pub(crate) fn wait_visible(&self, last: Option<u64>, ends: Instant) -> bool {
        let (Some(last), Some(journal)) = (last, &self.journal) else { return true };
        while !journal.wait(last, STOP_INTERVAL) {
            if journal.has_ended() || Instant::now() >= ends || self.shared.has_failed() {
                return false;
            }
        }
        true
    }

    /// Times a command from what its sender says.
    #[inline]
    fn judged(&self, every: u64, sequence: u64, sent: i64, ts: i64) {
        if every != 0 && sequence.is_multiple_of(every) && (1..=ts).contains(&sent) {
            self.shared.record(VenueStage::SentJudged, sent, now());
        }
    }

    fn note(&self, risk: &RiskSide, missed: u64) {
        let shared = &*self.shared;
        let store = |word: &std::sync::atomic::AtomicU64, value| word.store(value, Ordering::Relaxed);
        store(&shared.accepted, risk.counts.accepted);
        store(&shared.rejected, risk.counts.rejected);
        store(&shared.timers, risk.counts.timers);
        store(&shared.missed, missed);
        store(&shared.source_sequence, risk.source_sequence);
        store(&shared.events, risk.events.published());
        store(&shared.ahead_ns, risk.clock.ahead_ns().unsigned_abs());
        store(&shared.open_orders, risk.risk.open_orders() as u64);
        shared.judged.store(risk.sequence(), Ordering::Release);
    }

    fn note_matching(&self, matching: &MatchingSide) {
        let (executed, published) = (matching.venue.execution_count(), matching.executions.published());
        self.note_executions(executed, published, matching.next_due(), matching.applied);
    }

    pub(crate) fn note_executions(&self, executed: u64, published: u64, next_due: i64, applied: u64) {
        let shared = &*self.shared;
        shared.executed.store(executed, Ordering::Relaxed);
        shared.executions.store(published, Ordering::Relaxed);
        shared.next_due.store(next_due, Ordering::Relaxed);
        shared.applied.store(applied, Ordering::Release);
    }
}

/// What an engine without anything to do sleeps for.
pub(crate) struct Rest {
    /// No command is taken.
    pub(crate) is_full: bool,
    /// The command that has to be visible before something is published.
    pub(crate) durable: Option<u64>,
    /// ns until a timer is due.
    pub(crate) until_timer: Option<i64>,
}

/// Risk and matching on one thread.
pub(crate) struct Fused {
    pub(crate) input: OrderInput,
    pub(crate) risk: RiskSide,
    pub(crate) matching: MatchingSide,
    /// What the command in hand gave.
    pub(crate) made: Vec<Execution>,
}

impl Fused {
    pub(crate) fn run(mut self, around: &Surroundings) -> Result<(RiskSide, MatchingSide), PlaneError> {
        if !self.begin(around)? {
            return self.end(around);
        }
        loop {
            match self.turn(around)? {
                Turned::Worked => {}
                Turned::Over => return self.end(around),
                Turned::Idle => {
                    let Rest { is_full, durable, until_timer } = self.rest(around);
                    let mut consumers = [self.input.consumer()];
                    around.sleep(if is_full { &mut [] } else { &mut consumers }, durable, until_timer)?;
                }
            }
        }
    }

    /// What comes before the first turn; false as of [`Self::one`].
    pub(crate) fn begin(&mut self, around: &Surroundings) -> Result<bool, PlaneError> {
        let ts = self.risk.now();
        if !self.follow_up(around, ts)? {
            return Ok(false);
        }
        self.publish(around)?;
        self.note(around);
        Ok(true)
    }

    /// One turn of commands, or what else there is to do now.
    pub(crate) fn turn(&mut self, around: &Surroundings) -> Result<Turned, PlaneError> {
        if around.shared.is_stopping() {
            return Ok(Turned::Over);
        }
        let is_full = self.is_full();
        let mut count = 0;
        if !is_full && self.input.read()? {
            let ts = self.risk.now();
            count = self.input.turn().len();
            for index in 0..count {
                let (source_sequence, command) = self.input.turn()[index];
                if !self.one(around, source_sequence, &command, ts)? || !self.follow_up(around, ts)? {
                    // The rest of the turn is taken again by the next start.
                    return Ok(Turned::Over);
                }
                self.publish(around)?;
            }
            self.input.commit();
        }
        count += self.publish(around)?;
        if count > 0 {
            self.note(around);
            return Ok(Turned::Worked);
        }
        if !is_full && self.until_timer(around) == Some(0) {
            let timer = self.risk.timer();
            let ts = self.risk.now();
            if !self.one(around, 0, &timer, ts)? || !self.follow_up(around, ts)? {
                return Ok(Turned::Over);
            }
            self.note(around);
            return Ok(Turned::Worked);
        }
        Ok(Turned::Idle)
    }

    /// What there is to sleep for.
    pub(crate) fn rest(&mut self, around: &Surroundings) -> Rest {
        let durable = [self.matching.executions.waits_for(), self.risk.events.waits_for()];
        let durable = durable.into_iter().flatten().min();
        Rest { is_full: self.is_full(), durable, until_timer: self.until_timer(around) }
    }

    /// So much waits for the disk that no command is taken.
    fn is_full(&self) -> bool {
        self.matching.executions.is_full() || self.risk.events.is_full()
    }

    #[inline]
    fn until_timer(&mut self, around: &Surroundings) -> Option<i64> {
        let next_due = self.risk.next_due(self.matching.next_due());
        around.timers.until(self.risk.last_ts, next_due, || self.risk.clock.now())
    }

    /// Judges a command and carries it out; false when a stop came before there was room for it on `orders`. Nothing may be judged after
    /// that: the next would get its number.
    #[inline]
    fn one(
        &mut self,
        around: &Surroundings,
        source_sequence: u64,
        command: &Command,
        ts: i64,
    ) -> Result<bool, PlaneError> {
        let (sequence, judged, decided) = self.risk.decide(source_sequence, command, ts);
        while !self.risk.put(&judged)? {
            if around.shared.is_stopping() {
                around.shared.fail(NO_ROOM.to_owned());
                return Ok(false);
            }
            self.publish(around)?;
        }
        around.judged(self.matching.stages_every, sequence, command.head.ts, ts);
        let Self { risk, matching, made, .. } = self;
        made.clear();
        matching.apply(sequence, &judged, &around.shared, |execution| {
            made.push(*execution);
            if made.len() == QUIET_MAX {
                // This will take longer than the journal should wait for.
                Producer::wake_all([&risk.orders]);
            }
        });
        // What nobody waits for comes behind, and the stores that others wait for leave the core meanwhile; a wake-up takes longer than both.
        risk.take(sequence, &judged, decided);
        made.iter().for_each(|execution| risk.see(execution));
        matching.executions.wake_with(&risk.orders);
        Ok(true)
    }

    /// What risk asks for before anything else; false as of [`Self::one`].
    #[inline]
    fn follow_up(&mut self, around: &Surroundings, ts: i64) -> Result<bool, PlaneError> {
        while let Some(command) = self.risk.follow_up() {
            if !self.one(around, 0, &command, ts)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    #[inline]
    fn publish(&mut self, around: &Surroundings) -> Result<usize, PlaneError> {
        let mut count = self.matching.publish(&around.visibility, &around.shared)?;
        if self.risk.events.waits_for().is_some() {
            count += self.risk.events.publish(around.visibility.last(), |_| {})?;
        }
        Ok(count)
    }

    fn note(&self, around: &Surroundings) {
        around.note_matching(&self.matching);
        around.note(&self.risk, self.input.missed());
    }

    pub(crate) fn end(mut self, around: &Surroundings) -> Result<(RiskSide, MatchingSide), PlaneError> {
        let last = self.matching.executions.waits_for_last().max(self.risk.events.waits_for_last());
        around.wait_visible(last, Instant::now() + STOP_WAIT);
        self.publish(around)?;
        self.note(around);
        Ok((self.risk, self.matching))
    }
}

/// Why a stop is not a clean one.
const NO_ROOM: &str = "stopped while the journal of orders had no room: the last command was judged and not written";

/// Risk on a thread of its own.
pub(crate) struct RiskThread {
    pub(crate) input: OrderInput,
    pub(crate) risk: RiskSide,
    /// Executions that matching made.
    pub(crate) back: Consumer,
    pub(crate) stages_every: u64,
}

impl RiskThread {
    pub(crate) fn run(mut self, around: &Surroundings) -> Result<RiskSide, PlaneError> {
        let result = self.work(around);
        around.shared.risk_done.store(true, Ordering::Release);
        result?;
        // What matching still carries out comes back here.
        while !around.shared.matching_done.load(Ordering::Acquire) && !around.shared.has_failed() {
            if self.see()? == 0 {
                around.sleep(&mut [&mut self.back], None, Some(1_000_000))?;
            }
        }
        while self.see()? > 0 {}
        around.wait_visible(self.risk.events.waits_for_last(), Instant::now() + STOP_WAIT);
        self.publish(around)?;
        around.note(&self.risk, self.input.missed());
        Ok(self.risk)
    }

    fn work(&mut self, around: &Surroundings) -> Result<(), PlaneError> {
        let shared = &*around.shared;
        let ts = self.risk.now();
        if !self.follow_up(around, ts)? {
            return Ok(());
        }
        around.note(&self.risk, self.input.missed());
        while !shared.is_stopping() {
            if shared.has_failed() {
                return Err(PlaneError::OtherThread);
            }
            let mut count = self.see()?;
            let is_full = self.risk.events.is_full();
            if !is_full && self.input.read()? {
                let ts = self.risk.now();
                count += self.input.turn().len();
                for index in 0..self.input.turn().len() {
                    let (source_sequence, command) = self.input.turn()[index];
                    if !self.one(around, source_sequence, &command, ts)? || !self.follow_up(around, ts)? {
                        return Ok(());
                    }
                }
                self.input.commit();
            }
            count += self.publish(around)?;
            if count > 0 {
                around.note(&self.risk, self.input.missed());
                continue;
            }
            // What is due is known when everything before has been carried out.
            let is_settled = shared.applied.load(Ordering::Acquire) >= self.risk.sequence();
            let next_due = shared.next_due.load(Ordering::Relaxed);
            let next_due = if is_settled { self.risk.next_due(next_due) } else { i64::MAX };
            let until_timer = around.timers.until(self.risk.last_ts, next_due, || self.risk.clock.now());
            if until_timer == Some(0) && !is_full {
                let timer = self.risk.timer();
                let ts = self.risk.now();
                if !self.one(around, 0, &timer, ts)? || !self.follow_up(around, ts)? {
                    return Ok(());
                }
                around.note(&self.risk, self.input.missed());
                continue;
            }
            let until_timer =
                if is_settled { until_timer } else { Some(until_timer.unwrap_or(i64::MAX).min(1_000_000)) };
            let durable = self.risk.events.waits_for();
            if is_full {
                around.sleep(&mut [&mut self.back], durable, until_timer)?;
            } else {
                around.sleep(&mut [self.input.consumer(), &mut self.back], durable, until_timer)?;
            }
        }
        Ok(())
    }

    /// Judges a command and writes it; false when a stop came before there was room for it on `orders`. Nothing may be judged after that:
    /// risk has taken in a command that is nowhere, and the next would get its number.
    #[inline]
    fn one(
        &mut self,
        around: &Surroundings,
        source_sequence: u64,
        command: &Command,
        ts: i64,
    ) -> Result<bool, PlaneError> {
        let (sequence, judged, decided) = self.risk.decide(source_sequence, command, ts);
        // Matching may have it before risk has done with it; risk sees nothing else in between.
        let mut is_written = self.risk.write(&judged)?;
        self.risk.take(sequence, &judged, decided);
        while !is_written {
            if around.shared.is_stopping() || around.shared.has_failed() {
                around.shared.fail(NO_ROOM.to_owned());
                return Ok(false);
            }
            self.see()?;
            self.publish(around)?;
            is_written = self.risk.write(&judged)?;
        }
        around.judged(self.stages_every, sequence, command.head.ts, ts);
        Ok(true)
    }

    /// What risk asks for before anything else; false as of [`Self::one`].
    #[inline]
    fn follow_up(&mut self, around: &Surroundings, ts: i64) -> Result<bool, PlaneError> {
        while let Some(command) = self.risk.follow_up() {
            if !self.one(around, 0, &command, ts)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes in what matching made. Gives how many.
    #[inline]
    fn see(&mut self) -> Result<usize, PlaneError> {
        let Self { back, risk, .. } = self;
        let read = back.read(usize::MAX, |_, payload| {
            risk.see(&Execution::read_from_bytes(payload).expect("slots hold executions"));
        })?;
        match read {
            Read::Messages(0) => Ok(0),
            Read::Messages(count) => {
                back.commit();
                Ok(count)
            }
            Read::Gap(gap) => unreachable!("{gap:?} of a ring whose producer waits"),
        }
    }

    #[inline]
    fn publish(&mut self, around: &Surroundings) -> Result<usize, PlaneError> {
        if self.risk.events.waits_for().is_none() {
            return Ok(0);
        }
        self.risk.events.publish(around.visibility.last(), |_| {})
    }
}

/// Matching on a thread of its own.
pub(crate) struct MatchingThread {
    /// `orders`, ahead of the disk.
    pub(crate) input: OrderInput,
    pub(crate) matching: MatchingSide,
    /// To risk.
    pub(crate) back: Producer,
    /// What the command in hand gave.
    pub(crate) made: Vec<Execution>,
}

impl MatchingThread {
    pub(crate) fn run(mut self, around: &Surroundings) -> Result<MatchingSide, PlaneError> {
        let shared = &*around.shared;
        self.matching.publish(&around.visibility, shared)?;
        around.note_matching(&self.matching);
        loop {
            if shared.has_failed() {
                return Err(PlaneError::OtherThread);
            }
            // Before the read: what it judged before it was done is found by that.
            let is_last = shared.risk_done.load(Ordering::Acquire);
            let is_full = self.matching.executions.is_full() && !is_last;
            let mut count = 0;
            if !is_full && self.input.read()? {
                count = self.input.turn().len();
                for index in 0..count {
                    let (sequence, command) = self.input.turn()[index];
                    self.one(around, sequence, &command)?;
                }
                self.input.commit();
            }
            if self.input.missed() > 0 {
                return Err(PlaneError::MatchingMissed { count: self.input.missed() });
            }
            count += self.matching.publish(&around.visibility, shared)?;
            if count > 0 {
                around.note_matching(&self.matching);
                continue;
            }
            if is_last {
                break;
            }
            let durable = self.matching.executions.waits_for();
            let input = self.input.consumer();
            let mut consumers = [input];
            around.sleep(if is_full { &mut [] } else { &mut consumers }, durable, None)?;
        }
        shared.matching_done.store(true, Ordering::Release);
        around.wait_visible(self.matching.executions.waits_for_last(), Instant::now() + STOP_WAIT);
        self.matching.publish(&around.visibility, shared)?;
        around.note_matching(&self.matching);
        Ok(self.matching)
    }

    #[inline]
    fn one(&mut self, around: &Surroundings, sequence: u64, command: &Command) -> Result<(), PlaneError> {
        let Self { matching, made, back, .. } = self;
        made.clear();
        matching.apply(sequence, command, &around.shared, |execution| made.push(*execution));
        matching.publish(&around.visibility, &around.shared)?;
        hand_over(back, made, around, || matching.publish(&around.visibility, &around.shared).map(|_| ()))
    }
}

/// Writes executions for the thread that reads them next; does `between` while there is no room.
#[inline]
pub(crate) fn hand_over(
    to: &mut Producer,
    mut left: &[Execution],
    around: &Surroundings,
    mut between: impl FnMut() -> Result<(), PlaneError>,
) -> Result<(), PlaneError> {
    while !left.is_empty() {
        let written = to.write_records_within(left.as_bytes(), BACK_WAIT)?;
        left = &left[written.count..];
        if !left.is_empty() {
            if around.shared.has_failed() {
                return Err(PlaneError::OtherThread);
            }
            between()?;
        }
    }
    Ok(())
}

impl Timers {
    /// Timers of an engine whose commands have this time.
    pub(crate) fn new(interval: Option<Duration>, time: VenueTime) -> Self {
        let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX / 4);
        Self { interval_ns: interval.map(ns), pause_ns: 1_000_000, time }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use tidebook_ring::{ConsumerOptions, Policy, Ring, RingOptions, Start};
    use tidebook_risk::{Risk, RiskOptions};
    use tidebook_types::command::{AccountBody, KillBody};
    use tidebook_types::{CommandKind, Record, RiskEvent};
    use tidebook_venue::{Venue, VenueOptions};

    use super::*;
    use crate::release::Release;
    use crate::risk_side::Counts;
    use crate::venue_clock::VenueClock;

    const ROOM: u64 = 8;

    fn ring<T: Record>(directory: &Path, name: &str, count: u64) -> Ring {
        let options = RingOptions::records(&T::SCHEMA, count).parking(true).consumers_max(4);
        Ring::create(directory.join(format!("{name}.ring")), &options).unwrap()
    }

    fn consumer(ring: &Ring) -> Consumer {
        let options = ConsumerOptions::named("test").start(Start::Earliest);
        ring.consumer(&options.policy(Policy::Block { patience: None, detach_after: None })).unwrap()
    }

    /// Method: `orders` has room for eight commands and a reader that takes none. The eighth is a kill switch whose mass cancel finds no
    /// room, and behind it there is one more command in the turn; then a stop comes.
    #[test]
    fn nothing_is_judged_behind_a_command_that_was_judged_and_found_no_room() {
        for is_fused in [true, false] {
            let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir().unwrap();
            let input = ring::<Command>(directory.path(), "orders.in", 64);
            let orders = ring::<Command>(directory.path(), "orders", ROOM);
            let _reader = consumer(&orders);
            let mut commands = vec![Command::new(CommandKind::Account, 1, 0, &AccountBody::default())];
            commands.resize(ROOM as usize - 1, Command::bare(CommandKind::Timer, 0));
            commands.push(Command::new(CommandKind::Kill, 1, 0, &KillBody { killed: 1, ..KillBody::default() }));
            commands.push(Command::new(CommandKind::Account, 2, 0, &AccountBody::default()));
            let mut client = input.producer().unwrap();
            for command in &commands {
                client.write(command.as_bytes()).unwrap();
            }
            let mut options = RiskOptions::default();
            (options.orders_max, options.accounts_max) = (64, 64);
            let risk = RiskSide {
                risk: Risk::new(options),
                orders: orders.producer().unwrap(),
                events: Release::new(ring::<RiskEvent>(directory.path(), "risk", 64).producer().unwrap()),
                source_sequence: 0,
                time: VenueTime::Arrival,
                age_max_ns: None,
                clock: VenueClock::behind(0),
                counts: Counts::default(),
                last_ts: 0,
                last_fill_ts: None,
            };
            let input = OrderInput::new(consumer(&input));
            let shared = Arc::new(VenueShared::default());
            let around = Surroundings {
                shared: Arc::clone(&shared),
                visibility: Visibility { orders: orders.clone(), in_memory: true },
                journal: None,
                wait: Wait::Park,
                timers: Timers::new(None, VenueTime::Arrival),
            };
            let stop = || {
                while orders.published() < ROOM {
                    std::thread::sleep(Duration::from_micros(200));
                }
                shared.stopping.store(true, Ordering::Release);
            };
            let risk = std::thread::scope(|scope| {
                scope.spawn(stop);
                if is_fused {
                    let venue = Venue::new(VenueOptions { orders_max: 64, instruments_max: 4, accounts_max: 64 });
                    let executions = ring::<Execution>(directory.path(), "executions", 64).producer().unwrap();
                    let executions = Release::new(executions);
                    let matching = MatchingSide { venue, executions, applied: 0, stages_every: 0 };
                    let fused = Fused { input, risk, matching, made: Vec::new() };
                    fused.run(&around).unwrap().0
                } else {
                    let back = consumer(&ring::<Execution>(directory.path(), "back", 64));
                    RiskThread { input, risk, back, stages_every: 0 }.run(&around).unwrap()
                }
            });
            assert_eq!(orders.published(), ROOM, "fused: {is_fused}");
            let Counts { accepted, rejected, .. } = risk.counts;
            // What was written, and the mass cancel.
            assert_eq!((accepted + rejected, risk.source_sequence), (ROOM + 1, ROOM), "fused: {is_fused}");
            assert_eq!(shared.failure.lock().unwrap().as_deref(), Some(NO_ROOM), "fused: {is_fused}");
        }
    }
}
