//! The engine of a venue: `orders.in` in, `orders`, `executions` and `risk` out.
//!
//! Every command is judged and written to `orders`, and carried out at once, ahead of the disk; what came of it is published when `orders`
//! has made the command visible. The state is what the journal of `orders` gives, so a killed engine goes on behind the last command of it:
//! with the next message of `orders.in`, and with the numbers of executions and events that would have come next. One thread does all of
//! it, or risk and matching have one each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tidebook_channel::{Channel, ChannelOptions, ChannelReport, Guarantee};
use tidebook_journal::snapshot::{RecoveryFacts, SnapshotStore, proven_durable};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{State, SyncPolicy, panic_text};
use tidebook_ring::tuning::{Effect, MemoryTuning, pin_thread};
use tidebook_ring::{ConsumerOptions, Policy, Producer, Ring, RingOptions, Start, Wait};
use tidebook_risk::Replay;
use tidebook_types::{Command, Execution, RiskEvent};

use crate::confine::Confinement;
use crate::engine::tune;
use crate::error::PlaneError;
use crate::histogram::HistogramSnapshot;
use crate::latency::now;
use crate::matching_side::MatchingSide;
use crate::order_input::OrderInput;
use crate::output::epoch_now;
use crate::release::{Release, Visibility};
use crate::risk_side::{Counts, RiskSide, Timers, VenueTime};
use crate::venue_loops::{Fused, MatchingThread, RiskThread, Surroundings};
use crate::venue_recovery::{
    Found, ORDERS, PRODUCERS_MAX, Published, Recovered, new_venue, recover_venue, ring_of, venue_snapshots_path,
};
use crate::venue_sizes::VenueSizes;
use crate::venue_status::{VenueShared, VenueStage};

/// What of a venue lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VenueDurability {
    /// `orders` is journaled with group commit; what came of a command is published when it is synced.
    #[default]
    Wal,
    /// Nothing: every start begins a new venue. For measurements and simulations.
    Memory,
}

/// Which threads a venue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VenueLayout {
    /// One for risk and matching.
    Fused,
    /// One each.
    Split,
}

impl VenueLayout {
    /// Its threads, the journal's left out.
    pub const fn threads(self) -> usize {
        match self {
            Self::Fused => 1,
            Self::Split => 2,
        }
    }
}

/// Slots of the rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueRings {
    /// Of `orders.in`: as much as clients may be ahead.
    pub orders_in: u64,
    /// Of `orders`.
    pub orders: u64,
    /// Of `executions`.
    pub executions: u64,
    /// Of `risk`.
    pub risk: u64,
}

impl Default for VenueRings {
    fn default() -> Self {
        Self { orders_in: 1 << 13, orders: 1 << 14, executions: 1 << 15, risk: 1 << 12 }
    }
}

/// What a venue is started with.
#[derive(Debug, Clone)]
pub struct VenueEngineOptions {
    /// Directory of the rings.
    pub rings_dir: PathBuf,
    /// Directory of the journal of `orders`.
    pub journal_dir: PathBuf,
    /// Directory of the snapshots of all states, see [`venue_snapshots_path`]; without it a start replays the whole journal.
    pub snapshots_dir: Option<PathBuf>,
    /// See [`VenueDurability`].
    pub durability: VenueDurability,
    /// `None`: two threads where the machine has four cores or more.
    pub layout: Option<VenueLayout>,
    /// How the threads wait. [`Wait::Spin`] is [`Wait::Hybrid`] where the machine has less than two cores more than threads.
    pub wait: Wait,
    /// Of a venue that begins; one that is there keeps its own.
    pub sizes: VenueSizes,
    /// Slots of the rings.
    pub rings: VenueRings,
    /// Judge every command that is replayed again, and refuse to start if one differs.
    pub recheck: bool,
    /// Whose time commands have.
    pub time: VenueTime,
    /// A place, pair or replace that was sent longer ago, by what its sender says, is refused as late: whoever sent it has given up on it,
    /// above all where no engine ran meanwhile. `None`: none is too old.
    pub age_max: Option<Duration>,
    /// A timer this long after the last command, besides those that something is due for.
    pub timer_interval: Option<Duration>,
    /// Bytes of a segment of the journal.
    pub segment_size_bytes: u64,
    /// One command in this many is timed at every [`VenueStage`]; 0: none.
    pub stages_every: u32,
    /// CPUs of the threads, risk first.
    pub cpus: Vec<u32>,
    /// What to ask for the memory of the rings.
    pub memory: MemoryTuning,
    /// What the threads may ask the kernel for.
    pub confinement: Confinement,
}

impl VenueEngineOptions {
    /// Durable, as many threads as the machine has room for, parked when there is nothing to do.
    pub fn new(rings_dir: PathBuf, journal_dir: PathBuf) -> Self {
        Self {
            rings_dir,
            journal_dir,
            snapshots_dir: None,
            durability: VenueDurability::default(),
            layout: None,
            wait: Wait::Park,
            sizes: VenueSizes::default(),
            rings: VenueRings::default(),
            recheck: false,
            time: VenueTime::default(),
            age_max: None,
            timer_interval: None,
            segment_size_bytes: 64 << 20,
            stages_every: 32,
            cpus: Vec::new(),
            memory: MemoryTuning::default(),
            confinement: Confinement::Off,
        }
    }
}

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
    /// [`Replay::settled_state_hash`]: that of any replay of the same commands.
    pub state_hash: u64,
}

type Thread<T> = JoinHandle<Result<T, PlaneError>>;

#[derive(Debug)]
enum Threads {
    Fused(Thread<(RiskSide, MatchingSide)>),
    Split(Thread<RiskSide>, Thread<MatchingSide>),
}

/// A running venue.
#[derive(Debug)]
pub struct VenueEngine {
    shared: Arc<VenueShared>,
    beginning: VenueBeginning,
    in_force: Vec<(String, Effect)>,
    orders: Ring,
    orders_in: Ring,
    visibility: Visibility,
    threads: Option<Threads>,
    /// Closed after the threads ended.
    channel: Option<Channel>,
}

/// The rings and the state before there are threads.
struct Opened {
    channel: Option<Channel>,
    orders: Producer,
    orders_in: Ring,
    executions: Release<Execution>,
    events: Release<RiskEvent>,
    replay: Replay<tidebook_venue::Venue>,
    report: Option<ChannelReport>,
    facts: Option<RecoveryFacts>,
    made_anew: Vec<(&'static str, String)>,
    sizes: VenueSizes,
}

impl VenueEngine {
    /// Recovers the venue, opens or makes its channels and starts its threads. The channels are there when it returns.
    ///
    /// # Errors
    /// [`PlaneError::Unrecoverable`] when the journal does not give a state, or a recheck differs: nothing was started;
    /// [`PlaneError::Channel`] when `orders` cannot be opened, [`PlaneError::InUse`] for a ring that has to be made anew.
    ///
    /// # Panics
    /// When the operating system gives no thread.
    pub fn start(options: VenueEngineOptions) -> Result<Self, PlaneError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let layout = options.layout.unwrap_or(if cores >= 4 { VenueLayout::Split } else { VenueLayout::Fused });
        let wait = match options.wait {
            Wait::Spin if cores < layout.threads() + 2 => Wait::Hybrid,
            wait => wait,
        };
        let opened = match options.durability {
            VenueDurability::Wal => open_durable(&options)?,
            VenueDurability::Memory => open_in_memory(&options)?,
        };
        let Opened { channel, orders, orders_in, executions, events, replay, report, facts, made_anew, sizes } = opened;
        let mut in_force = Vec::new();
        tune(&orders_in, options.memory, &mut in_force);
        tune(orders.ring(), options.memory, &mut in_force);
        let source_sequence = replay.source_sequence();
        let beginning =
            VenueBeginning { channel: report, state: facts, source_sequence, made_anew, sizes, layout, wait };
        let shared = Arc::new(VenueShared::default());
        let visibility =
            Visibility { orders: orders.ring().clone(), in_memory: options.durability == VenueDurability::Memory };
        let (orders_ring, every) = (orders.ring().clone(), u64::from(options.stages_every));
        let applied = orders.published();
        // Before the first turn a status says where it begins.
        for (word, value) in [
            (&shared.judged, applied),
            (&shared.applied, applied),
            (&shared.source_sequence, source_sequence),
            (&shared.executed, replay.matching().execution_count()),
            (&shared.executions, executions.published()),
            (&shared.events, events.published()),
            (&shared.open_orders, replay.risk().open_orders() as u64),
        ] {
            word.store(value, Ordering::Relaxed);
        }
        let (risk, venue) = replay.into_parts();
        let counts = Counts::default();
        let age_max_ns = options.age_max.map(|age_max| i64::try_from(age_max.as_nanos()).unwrap_or(i64::MAX));
        let risk =
            RiskSide { risk, orders, events, source_sequence, time: options.time, age_max_ns, counts, last_ts: now() };
        let matching = MatchingSide { venue, executions, applied, stages_every: every };
        let consumer = ConsumerOptions::named("risk")
            .start(Start::Sequence(source_sequence + 1))
            .policy(Policy::Block { patience: None, detach_after: None })
            .wait(wait);
        let input = OrderInput::new(orders_in.consumer(&consumer)?);
        let made = Vec::with_capacity(1024);
        let start = Starting {
            shared: Arc::clone(&shared),
            visibility: visibility.clone(),
            journal: channel.as_ref().map(Channel::waiter),
            wait,
            timers: Timers::new(options.timer_interval, options.time),
            confinement: options.confinement,
        };
        let cpu = |index: usize| options.cpus.get(index).copied();
        let threads = match layout {
            VenueLayout::Fused => {
                // Of an earlier run with two threads: nobody reads under this name now, and the producer would wait for it.
                if orders_ring.knows_consumer(MATCHING) {
                    orders_ring.remove_consumer(MATCHING)?;
                }
                let fused = Fused { input, risk, matching, made };
                let (thread, effect) = start.thread("venue", cpu(0), move |around| fused.run(around))?;
                in_force.extend(effect.map(|effect| ("venue".to_owned(), effect)));
                Threads::Fused(thread)
            }
            VenueLayout::Split => {
                let (back, returned) = back(&options.rings_dir, options.rings.executions, wait)?;
                let consumer = ConsumerOptions::named(MATCHING)
                    .start(Start::Sequence(applied + 1))
                    .policy(Policy::Block { patience: None, detach_after: None })
                    .peek(true)
                    .wait(wait);
                let orders_input = OrderInput::new(orders_ring.consumer(&consumer)?);
                let matching = MatchingThread { input: orders_input, matching, back, made };
                let risk = RiskThread { input, risk, back: returned, stages_every: every };
                let (matching, effect) = start.thread("venue-match", cpu(1), move |around| matching.run(around))?;
                in_force.extend(effect.map(|effect| ("matching".to_owned(), effect)));
                match start.thread("venue-risk", cpu(0), move |around| risk.run(around)) {
                    Ok((risk, effect)) => {
                        in_force.extend(effect.map(|effect| ("risk".to_owned(), effect)));
                        Threads::Split(risk, matching)
                    }
                    Err(error) => {
                        shared.fail(error.to_string());
                        drop(matching.join());
                        return Err(error);
                    }
                }
            }
        };
        Ok(Self {
            shared,
            beginning,
            in_force,
            orders: orders_ring,
            orders_in,
            visibility,
            threads: Some(threads),
            channel,
        })
    }

    /// What the start found.
    pub const fn beginning(&self) -> &VenueBeginning {
        &self.beginning
    }

    /// What was asked for speed, of the threads and of each ring by its channel's name, and what the kernel did.
    pub fn in_force(&self) -> &[(String, Effect)] {
        &self.in_force
    }

    /// How it stands.
    pub fn status(&self) -> VenueStatus {
        let shared = &*self.shared;
        let load = |word: &std::sync::atomic::AtomicU64| word.load(Ordering::Relaxed);
        let guarantee = self.channel.as_ref().map(Channel::guarantee);
        let failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cause = guarantee.as_ref().and_then(|guarantee| guarantee.failure.clone());
        let published = self.orders.published();
        VenueStatus {
            published,
            visible: if self.visibility.in_memory { published } else { self.orders.durable() },
            applied: load(&shared.applied),
            source_sequence: load(&shared.source_sequence),
            source_published: self.orders_in.published(),
            missed: load(&shared.missed),
            accepted: load(&shared.accepted),
            rejected: load(&shared.rejected),
            timers: load(&shared.timers),
            executed: load(&shared.executed),
            executions: load(&shared.executions),
            events: load(&shared.events),
            open_orders: load(&shared.open_orders),
            guarantee,
            failure: cause.map(|cause| format!("the journal of orders stopped: {cause}")).or(failure),
        }
    }

    /// How long commands took for a part of their way, in ns.
    pub fn latency(&self, stage: VenueStage) -> HistogramSnapshot {
        self.shared.latency(stage)
    }

    /// Ends the threads after the turn in hand, waits for the journal so that what was carried out is published, and closes `orders`.
    ///
    /// # Errors
    /// What ended it earlier, or the journal's failure.
    ///
    /// # Panics
    /// When a thread panicked outside its work, which it does not.
    pub fn stop(mut self) -> Result<VenueStopped, PlaneError> {
        let ended = self.end();
        let closed = self.channel.take().map_or(Ok(()), Channel::close);
        let (risk, matching) = ended.expect("threads are joined once")?;
        closed?;
        if let Some(said) = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(PlaneError::Stopped { said });
        }
        let (sequence, source_sequence) = (risk.sequence(), risk.source_sequence);
        let replay = Replay::of_parts(risk.risk, matching.venue, source_sequence);
        Ok(VenueStopped { sequence, state_hash: replay.state_hash() })
    }

    fn end(&mut self) -> Option<Result<(RiskSide, MatchingSide), PlaneError>> {
        self.shared.stopping.store(true, Ordering::Release);
        fn joined<T>(thread: Thread<T>) -> Result<T, PlaneError> {
            thread.join().expect("a panic of a venue's thread is an error of its own")
        }
        Some(match self.threads.take()? {
            Threads::Fused(thread) => joined(thread),
            Threads::Split(risk, matching) => match (joined(risk), joined(matching)) {
                (Ok(risk), Ok(matching)) => Ok((risk, matching)),
                // That the other one ended is no cause.
                (Err(PlaneError::OtherThread), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
            },
        })
    }
}

impl Drop for VenueEngine {
    /// As [`Self::stop`], but a failure is only kept in the status.
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Name of the thread of matching at the ring of `orders`.
const MATCHING: &str = "matching";

/// What every thread is started with.
struct Starting {
    shared: Arc<VenueShared>,
    visibility: Visibility,
    journal: Option<tidebook_channel::DurableWaiter>,
    wait: Wait,
    timers: Timers,
    confinement: Confinement,
}

impl Starting {
    fn thread<T: Send + 'static>(
        &self,
        name: &str,
        cpu: Option<u32>,
        work: impl FnOnce(&Surroundings<'_>) -> Result<T, PlaneError> + Send + 'static,
    ) -> Result<(Thread<T>, Option<Effect>), PlaneError> {
        let (shared, visibility, journal) = (Arc::clone(&self.shared), self.visibility.clone(), self.journal.clone());
        let (wait, timers, confinement) = (self.wait, self.timers, self.confinement);
        let (told, tell) = std::sync::mpsc::sync_channel(1);
        let thread =
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || {
                    let pinned = cpu.map(pin_thread);
                    let confined = confinement.apply();
                    let goes_on = confined.is_ok();
                    // Who starts it waits for this.
                    let _ = told.send((pinned, confined));
                    let around = Surroundings { shared: &shared, visibility, journal, wait, timers };
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        if goes_on { work(&around) } else { Err(PlaneError::OtherThread) }
                    }))
                    .unwrap_or_else(|panic| Err(PlaneError::Panicked { said: panic_text(&*panic).to_owned() }));
                    if let Err(error) = &result {
                        shared.fail(error.to_string());
                        shared.risk_done.store(true, Ordering::Release);
                        shared.matching_done.store(true, Ordering::Release);
                    }
                    result
                })
                .expect("a thread for the venue");
        let (pinned, confined) = tell.recv().expect("the thread tells before it does anything else");
        confined.map_err(|reason| PlaneError::Confinement { reason })?;
        Ok((thread, pinned))
    }
}

/// The ring that executions go back to risk on. Nobody else has to find it.
fn back(rings_dir: &Path, count: u64, wait: Wait) -> Result<(Producer, tidebook_ring::Consumer), PlaneError> {
    let path = tidebook_ring::paths::ring_path(rings_dir, &format!("venue.back.{}", std::process::id()))?;
    drop(Ring::remove(&path));
    let ring = Ring::create(&path, &ring_of::<Execution>(count).consumers_max(1).crc(false))?;
    let options = ConsumerOptions::named("risk").start(Start::Earliest).wait(wait);
    let consumer = ring.consumer(&options.policy(Policy::Block { patience: None, detach_after: None }))?;
    let producer = ring.producer()?;
    ring.unlink()?;
    Ok((producer, consumer))
}

fn derived<T: tidebook_types::Record>(count: u64, epoch: u64, first: u64) -> RingOptions {
    ring_of::<T>(count).never_waits(true).continuing(epoch, first)
}

fn open_durable(options: &VenueEngineOptions) -> Result<Opened, PlaneError> {
    let VenueEngineOptions { rings_dir, journal_dir, snapshots_dir, rings, .. } = options;
    let sizes = VenueSizes::of_journal(journal_dir)?.unwrap_or(options.sizes);
    let mut channel_options = ChannelOptions::with_ring(ORDERS, ring_of::<Command>(rings.orders));
    channel_options.sync = SyncPolicy::Group;
    channel_options.journal.segment_size_bytes = options.segment_size_bytes;
    channel_options.journal.configuration = sizes.text();
    if let Some(snapshots_dir) = snapshots_dir {
        let journal: Arc<dyn Storage> = Arc::new(Directory::new(journal_dir));
        let snapshots = SnapshotStore::open(&venue_snapshots_path(snapshots_dir), ORDERS)?;
        channel_options.journal.evidence = proven_durable(&journal, &snapshots)?;
    }
    let ring_path = tidebook_ring::paths::ring_path(rings_dir, ORDERS)?;
    let (channel, report) = Channel::open(&ring_path, journal_dir, &channel_options)?;
    let orders = channel.producer()?;
    let epoch = channel.ring().info().epoch;

    let mut executions = Found::look(rings_dir, "executions", &derived::<Execution>(rings.executions, epoch, 1))?;
    let mut events = Found::look(rings_dir, "risk", &derived::<RiskEvent>(rings.risk, epoch, 1))?;
    let (executions_producer, events_producer) = (executions.producer()?, events.producer()?);
    let published = Published {
        executions: executions_producer.as_ref().map(Producer::published),
        events: events_producer.as_ref().map(Producer::published),
    };
    let room = (rings.executions as usize / 2, rings.risk as usize / 2);
    let (recovered, gap) =
        recover_venue(journal_dir, snapshots_dir.as_deref(), sizes, options.recheck, published, room)?;
    let Recovered { replay, executions: tail, events: event_tail, facts } = recovered;
    let expected = report.journal.last_sequence + report.replayed_from_ring;
    if facts.last_sequence < expected {
        return Err(PlaneError::JournalShort { expected, found: facts.last_sequence });
    }
    let mut made_anew = Vec::new();
    let executed = replay.matching().execution_count();
    let told = replay.risk().events_count();
    let executions = take_up(
        executions,
        executions_producer,
        (executed, &gap),
        tail,
        |first| derived::<Execution>(rings.executions, epoch, first),
        &mut made_anew,
    )?;
    let events = take_up(
        events,
        events_producer,
        (told, &gap),
        event_tail,
        |first| derived::<RiskEvent>(rings.risk, epoch, first),
        &mut made_anew,
    )?;

    let source_sequence = replay.source_sequence();
    let in_options = ring_of::<Command>(rings.orders_in).mpsc(PRODUCERS_MAX).continuing(epoch, source_sequence + 1);
    let mut found = Found::look(rings_dir, "orders.in", &in_options)?;
    if let Some(ring) = found.usable()
        && ring.published() < source_sequence
    {
        found.fault = Some(format!("it ends at {} and orders has its message {source_sequence}", ring.published()));
    }
    let orders_in = match found.usable() {
        Some(ring) => ring.clone(),
        None => {
            made_anew.extend(found.fault.clone().map(|fault| ("orders.in", fault)));
            found.make_anew(&in_options)?
        }
    };
    Ok(Opened {
        channel: Some(channel),
        orders,
        orders_in,
        executions,
        events,
        replay,
        report: Some(report),
        facts: Some(facts),
        made_anew,
        sizes,
    })
}

/// A derived channel to go on with: the one that is there, or one that begins with the newest records that are at hand.
fn take_up<T: crate::release::Derived>(
    mut found: Found,
    producer: Option<Producer>,
    (count, gap): (u64, &Option<String>),
    waiting: std::collections::VecDeque<T>,
    options: impl Fn(u64) -> RingOptions,
    made_anew: &mut Vec<(&'static str, String)>,
) -> Result<Release<T>, PlaneError> {
    let producer = match producer {
        Some(producer) if gap.is_none() && producer.published() <= count => producer,
        unusable => {
            if let Some(producer) = unusable {
                let published = producer.published();
                found.fault =
                    Some(gap.clone().unwrap_or_else(|| {
                        format!("it has {published} records and the journal of orders gives {count}")
                    }));
            }
            made_anew.extend(found.fault.clone().map(|fault| (T::CHANNEL, fault)));
            let first = waiting.front().map_or(count + 1, T::sequence);
            found.make_anew(&options(first))?.producer()?
        }
    };
    let mut release = Release::new(producer);
    waiting.iter().for_each(|record| release.push(record));
    Ok(release)
}

fn open_in_memory(options: &VenueEngineOptions) -> Result<Opened, PlaneError> {
    let VenueEngineOptions { rings_dir, rings, sizes, .. } = options;
    let epoch = epoch_now();
    let make = |channel: &str, options: &RingOptions| {
        let mut found = Found::look(rings_dir, channel, options)?;
        if found.usable().is_some() {
            found.fault = Some("a venue in memory begins anew".to_owned());
        }
        found.make_anew(options)
    };
    let orders = make(ORDERS, &ring_of::<Command>(rings.orders).continuing(epoch, 1))?;
    let executions = make("executions", &derived::<Execution>(rings.executions, epoch, 1))?;
    let events = make("risk", &derived::<RiskEvent>(rings.risk, epoch, 1))?;
    let in_options = ring_of::<Command>(rings.orders_in).mpsc(PRODUCERS_MAX).continuing(epoch, 1);
    Ok(Opened {
        channel: None,
        orders: orders.producer()?,
        orders_in: make("orders.in", &in_options)?,
        executions: Release::new(executions.producer()?),
        events: Release::new(events.producer()?),
        replay: new_venue(*sizes, false),
        report: None,
        facts: None,
        made_anew: Vec::new(),
        sizes: *sizes,
    })
}
