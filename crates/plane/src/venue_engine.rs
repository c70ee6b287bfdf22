//! The engine of a venue: `orders.in` in, `orders`, `executions` and `risk` out.
//!
//! Every command is judged and written to `orders`, and carried out at once, ahead of the disk; what came of it is published when `orders`
//! has made the command visible. The state is what the journal of `orders` gives, so a killed engine goes on behind the last command of it:
//! with the next message of `orders.in`, and with the numbers of executions and events that would have come next. One thread does all of
//! it (and may take turns with market data), or risk and matching have one each, or every part of matching has its own; what is published is
//! the same.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tidebook_channel::Channel;
use tidebook_journal::State;
use tidebook_ring::tuning::Effect;
use tidebook_ring::{ConsumerOptions, Policy, Ring, Start, Wait};
use tidebook_risk::Replay;
use tidebook_venue::Venue;

use crate::engine::tune;
use crate::error::PlaneError;
use crate::histogram::HistogramSnapshot;
use crate::matching_side::MatchingSide;
use crate::order_input::OrderInput;
use crate::release::Visibility;
use crate::risk_side::{Counts, RiskSide, Timers};
use crate::turns::EngineThread;
use crate::venue_clock::VenueClock;
use crate::venue_opening::{Opened, open_durable, open_in_memory};
use crate::venue_options::{SHARDS_MAX, VenueDurability, VenueEngineOptions, VenueLayout};
use crate::venue_status::{VenueBeginning, VenueShared, VenueStage, VenueStatus, VenueStopped};
use crate::venue_threads::{Parts, Starting, Threads};

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
        let VenueEngineOptions { shards, .. } = options;
        let layout =
            options.layout.unwrap_or(if cores >= 4 || shards > 1 { VenueLayout::Split } else { VenueLayout::Fused });
        if shards == 0 || shards > SHARDS_MAX || (shards > 1 && layout != VenueLayout::Split) {
            return Err(PlaneError::Shards { shards });
        }
        let wait = match options.wait {
            Wait::Spin if cores < layout.threads(shards) + 2 => Wait::Hybrid,
            wait => wait,
        };
        let opened = match options.durability {
            VenueDurability::Wal => open_durable(&options)?,
            VenueDurability::Memory => open_in_memory(&options)?,
        };
        let Opened { channel, orders, orders_in, executions, events, replay, report, facts, made_anew, sizes } = opened;
        let executions = executions.immediate(options.durability == VenueDurability::Memory);
        // Parts see their own orders alone: whether there is room for another is for risk to say, which sees all.
        if shards > 1 && sizes.risk.orders_max > sizes.venue.orders_max {
            let (risk, matching) = (sizes.risk.orders_max, sizes.venue.orders_max);
            return Err(PlaneError::ShardsRoom { shards, risk, matching });
        }
        let mut in_force = Vec::new();
        tune(&orders_in, options.memory, &mut in_force);
        tune(orders.ring(), options.memory, &mut in_force);
        let source_sequence = replay.source_sequence();
        let beginning =
            VenueBeginning { channel: report, state: facts, source_sequence, made_anew, sizes, layout, shards, wait };
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
        let (risk, mut venue) = replay.into_parts();
        if shards == 1 {
            venue.touch();
        }
        let counts = Counts::default();
        let mut clock = VenueClock::behind(risk.ts());
        let last_ts = clock.now();
        let age_max_ns = options.age_max.map(|age_max| i64::try_from(age_max.as_nanos()).unwrap_or(i64::MAX));
        let (time, last_fill_ts) = (options.time, options.closes_bars.then_some(0));
        let risk =
            RiskSide { risk, orders, events, source_sequence, time, age_max_ns, counts, clock, last_ts, last_fill_ts };
        let matching = MatchingSide { venue, executions, applied, stages_every: every };
        let consumer = ConsumerOptions::named("risk")
            .start(Start::Sequence(source_sequence + 1))
            .policy(Policy::Block { patience: None, detach_after: None })
            .wait(wait);
        let input = OrderInput::new(orders_in.consumer(&consumer)?);
        let parts = Parts { input, risk, matching, orders: orders_ring.clone() };
        let mut start = Starting {
            options: &options,
            shared: Arc::clone(&shared),
            visibility: visibility.clone(),
            journal: channel.as_ref().map(Channel::waiter),
            wait,
            timers: Timers::new(options.timer_interval, options.time),
            confinement: options.confinement,
            in_force,
        };
        let threads = match (layout, shards) {
            (VenueLayout::Fused, _) => start.fused(parts)?,
            (VenueLayout::Together, _) => start.together(parts)?,
            (VenueLayout::Split, 1) => start.split(parts)?,
            (VenueLayout::Split, count) => start.sharded(parts, count)?,
        };
        let in_force = start.in_force;
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

    /// The thread it runs in, for others that are to run there too; `None` but for [`VenueLayout::Together`].
    pub const fn thread(&self) -> Option<&EngineThread> {
        match &self.threads {
            Some(Threads::Together(_, thread)) => Some(thread),
            _ => None,
        }
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
            ahead_ns: load(&shared.ahead_ns),
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
        let (risk, venue) = ended.expect("threads are joined once")?;
        closed?;
        if let Some(said) = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(PlaneError::Stopped { said });
        }
        let (sequence, source_sequence) = (risk.sequence(), risk.source_sequence);
        let replay = Replay::of_parts(risk.risk, venue, source_sequence);
        Ok(VenueStopped { sequence, state_hash: replay.state_hash() })
    }

    fn end(&mut self) -> Option<Result<(RiskSide, Venue), PlaneError>> {
        self.shared.stopping.store(true, Ordering::Release);
        Some(self.threads.take()?.join())
    }
}

impl Drop for VenueEngine {
    /// As [`Self::stop`], but a failure is only kept in the status.
    fn drop(&mut self) {
        drop(self.end());
    }
}
