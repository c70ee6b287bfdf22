//! The threads of a venue: how they are started, what they are connected by, and how they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tidebook_channel::DurableWaiter;
use tidebook_journal::StateError;
use tidebook_journal::panic_text;
use tidebook_journal::snapshot::SnapshotError;
use tidebook_ring::tuning::{Effect, pin_thread};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Producer, Ring, Start, Wait};
use tidebook_types::Execution;
use tidebook_venue::{ShardMerge, Venue};

use crate::confine::Confinement;
use crate::error::PlaneError;
use crate::matching_side::MatchingSide;
use crate::order_input::OrderInput;
use crate::release::Visibility;
use crate::risk_side::{RiskSide, Timers};
use crate::turns::{EngineThread, ended};
use crate::venue_in_turns::{VenueEnd, VenueInTurns};
use crate::venue_loops::{Fused, MatchingThread, RiskThread, Surroundings};
use crate::venue_options::{SHARDS_MAX, VenueEngineOptions};
use crate::venue_recovery::ring_of;
use crate::venue_shards::{MergeThread, ShardInput, ShardThread};
use crate::venue_status::VenueShared;

type Thread<T> = JoinHandle<Result<T, PlaneError>>;

/// Those that run.
#[derive(Debug)]
pub(crate) enum Threads {
    Fused(Thread<(RiskSide, MatchingSide)>),
    Together(VenueEnd, EngineThread),
    Split(Thread<RiskSide>, Thread<MatchingSide>),
    Sharded { risk: Thread<RiskSide>, shards: Vec<Thread<Venue>>, merge: Thread<u64> },
}

impl Threads {
    /// Waits for their end.
    pub(crate) fn join(self) -> Result<(RiskSide, Venue), PlaneError> {
        match self {
            Self::Fused(thread) => joined(thread).map(|(risk, matching)| (risk, matching.venue)),
            Self::Together(end, thread) => {
                let (risk, matching) = ended(&end)?;
                drop(thread);
                Ok((risk, matching.venue))
            }
            Self::Split(risk, matching) => {
                let (risk, matching) = both(joined(risk), joined(matching))?;
                Ok((risk, matching.venue))
            }
            Self::Sharded { risk, shards, merge } => {
                let ended = both(joined(risk), joined(merge));
                let mut parts = Ok(Vec::new());
                for part in shards.into_iter().map(joined) {
                    parts = both(parts, part).map(|(mut parts, part)| {
                        parts.push(part);
                        parts
                    });
                }
                let ((risk, executions), parts) = both(ended, parts)?;
                Ok((risk, Venue::of_shards(parts, executions).map_err(contradiction)?))
            }
        }
    }
}

fn joined<T>(thread: Thread<T>) -> Result<T, PlaneError> {
    thread.join().expect("a panic of a venue's thread is an error of its own")
}

/// Both, or what ended one of them: that another one ended is no cause.
fn both<A, B>(one: Result<A, PlaneError>, other: Result<B, PlaneError>) -> Result<(A, B), PlaneError> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(PlaneError::OtherThread), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn contradiction(cause: StateError) -> PlaneError {
    PlaneError::Unrecoverable { cause: SnapshotError::State(cause), advice: "" }
}

/// What the threads are made of.
pub(crate) struct Parts {
    pub(crate) input: OrderInput,
    pub(crate) risk: RiskSide,
    pub(crate) matching: MatchingSide,
    pub(crate) orders: Ring,
}

/// Name of who reads `orders` to match it.
const MATCHING: &str = "matching";

fn shard_name(index: u32) -> String {
    format!("{MATCHING}.{index}")
}

/// What every thread is started with.
pub(crate) struct Starting<'a> {
    pub(crate) options: &'a VenueEngineOptions,
    pub(crate) shared: Arc<VenueShared>,
    pub(crate) visibility: Visibility,
    pub(crate) journal: Option<DurableWaiter>,
    pub(crate) wait: Wait,
    pub(crate) timers: Timers,
    pub(crate) confinement: Confinement,
    /// Of each thread, what was asked for speed and what the kernel did.
    pub(crate) in_force: Vec<(String, Effect)>,
}

impl Starting<'_> {
    /// One thread.
    pub(crate) fn fused(&mut self, parts: Parts) -> Result<Threads, PlaneError> {
        let Parts { input, risk, matching, orders } = parts;
        forget_others(&orders, &[])?;
        let fused = Fused { input, risk, matching, made: Vec::with_capacity(1024) };
        Ok(Threads::Fused(self.thread(("venue", "venue"), 0, move |around| fused.run(around))?))
    }

    /// One for risk, matching and whatever else is let into it.
    pub(crate) fn together(&mut self, parts: Parts) -> Result<Threads, PlaneError> {
        let Parts { input, risk, matching, orders } = parts;
        forget_others(&orders, &[])?;
        let fused = Fused { input, risk, matching, made: Vec::with_capacity(1024) };
        let (shared, visibility, journal) = (Arc::clone(&self.shared), self.visibility.clone(), self.journal.clone());
        let around = Surroundings { shared, visibility, journal, wait: self.wait, timers: self.timers };
        let (engine, end) = VenueInTurns::new(fused, around);
        let thread = EngineThread::start();
        let cpu = self.options.cpus.first().copied();
        let pinned = thread.add(Box::new(engine), self.wait, cpu, self.confinement)?;
        self.in_force.extend(pinned.map(|effect| ("venue".to_owned(), effect)));
        Ok(Threads::Together(end, thread))
    }

    /// One for risk and one for matching.
    pub(crate) fn split(&mut self, parts: Parts) -> Result<Threads, PlaneError> {
        let Parts { input, risk, matching, orders } = parts;
        forget_others(&orders, &[MATCHING.to_owned()])?;
        let (back, returned) = self.between()?;
        let orders_input = self.orders_input(&orders, MATCHING, matching.applied)?;
        let stages_every = matching.stages_every;
        let made = Vec::with_capacity(1024);
        let matching = MatchingThread { input: orders_input, matching, back, made };
        let risk = RiskThread { input, risk, back: returned, stages_every };
        let matching = self.thread(("venue-match", "matching"), 1, move |around| matching.run(around))?;
        match self.thread(("venue-risk", "risk"), 0, move |around| risk.run(around)) {
            Ok(risk) => Ok(Threads::Split(risk, matching)),
            Err(error) => {
                drop(matching.join());
                Err(error)
            }
        }
    }

    /// One for risk, one for each part of the venue, and one that puts in order what the parts say.
    pub(crate) fn sharded(&mut self, parts: Parts, count: u32) -> Result<Threads, PlaneError> {
        let Parts { input, risk, matching, orders } = parts;
        let MatchingSide { venue, executions, applied, stages_every } = matching;
        let names: Vec<_> = (0..count).map(shard_name).collect();
        forget_others(&orders, &names)?;
        let merge = ShardMerge::new(count, applied, venue.execution_count());
        let next_due = venue.next_due().unwrap_or(i64::MAX);
        let venues = venue.into_shards(count).map_err(contradiction)?;
        let (mut inputs, mut shards) = (Vec::new(), Vec::new());
        for (mut venue, name) in venues.into_iter().zip(&names) {
            venue.touch();
            let (out, consumer) = self.between()?;
            inputs.push(ShardInput { consumer, next_due });
            let orders_input = self.orders_input(&orders, name, applied)?;
            shards.push(ShardThread { input: orders_input, venue, out, said: Vec::with_capacity(1024) });
        }
        let (back, returned) = self.between()?;
        let made = Vec::with_capacity(1024);
        let merge = MergeThread { inputs, merge, executions, back, made, stages_every };
        let risk = RiskThread { input, risk, back: returned, stages_every };
        let mut started = Vec::new();
        let start = || {
            for (shard, index) in shards.into_iter().zip(0_usize..) {
                let names = (format!("venue-match-{index}"), shard_name(index as u32));
                started.push(self.thread((&names.0, &names.1), index + 1, move |around| shard.run(around))?);
            }
            let merge = self.thread(("venue-merge", "merge"), count as usize + 1, move |around| merge.run(around))?;
            match self.thread(("venue-risk", "risk"), 0, move |around| risk.run(around)) {
                Ok(risk) => Ok((risk, merge)),
                Err(error) => {
                    drop(merge.join());
                    Err(error)
                }
            }
        };
        match start() {
            Ok((risk, merge)) => Ok(Threads::Sharded { risk, shards: started, merge }),
            Err(error) => {
                started.into_iter().for_each(|shard| drop(shard.join()));
                Err(error)
            }
        }
    }

    /// `orders` behind command `applied`, ahead of the disk.
    fn orders_input(&self, orders: &Ring, name: &str, applied: u64) -> Result<OrderInput, PlaneError> {
        let consumer = ConsumerOptions::named(name)
            .start(Start::Sequence(applied + 1))
            .policy(Policy::Block { patience: None, detach_after: None })
            .peek(true)
            .wait(self.wait);
        Ok(OrderInput::new(orders.consumer(&consumer)?))
    }

    /// A ring of executions from one thread to another. Nobody else has to find it.
    fn between(&self) -> Result<(Producer, Consumer), PlaneError> {
        let VenueEngineOptions { rings_dir, rings, .. } = self.options;
        between(rings_dir, rings.executions, self.wait)
    }

    /// Starts a thread, `(name, name among what is in force)`, on CPU `index` of those that were asked for. When it cannot be started
    /// the others are told to end.
    fn thread<T: Send + 'static>(
        &mut self,
        (name, part): (&str, &str),
        index: usize,
        work: impl FnOnce(&Surroundings) -> Result<T, PlaneError> + Send + 'static,
    ) -> Result<Thread<T>, PlaneError> {
        let (shared, visibility, journal) = (Arc::clone(&self.shared), self.visibility.clone(), self.journal.clone());
        let (wait, timers, confinement) = (self.wait, self.timers, self.confinement);
        let cpu = self.options.cpus.get(index).copied();
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
                    let around = Surroundings { shared: Arc::clone(&shared), visibility, journal, wait, timers };
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
        self.in_force.extend(pinned.map(|effect| (part.to_owned(), effect)));
        if let Err(reason) = confined {
            let error = PlaneError::Confinement { reason };
            self.shared.fail(error.to_string());
            drop(thread.join());
            return Err(error);
        }
        Ok(thread)
    }
}

/// Who matched with other threads in an earlier run reads `orders` no more, and nobody has to wait for it.
fn forget_others(orders: &Ring, used: &[String]) -> Result<(), PlaneError> {
    for name in (0..SHARDS_MAX).map(shard_name).chain([MATCHING.to_owned()]) {
        if !used.contains(&name) && orders.knows_consumer(&name) {
            orders.remove_consumer(&name)?;
        }
    }
    Ok(())
}

fn between(rings_dir: &Path, count: u64, wait: Wait) -> Result<(Producer, Consumer), PlaneError> {
    let path = tidebook_ring::paths::ring_path(rings_dir, &format!("venue.back.{}", std::process::id()))?;
    drop(Ring::remove(&path));
    let ring = Ring::create(&path, &ring_of::<Execution>(count).consumers_max(1).crc(false))?;
    let options = ConsumerOptions::named("risk").start(Start::Earliest).wait(wait);
    let consumer = ring.consumer(&options.policy(Policy::Block { patience: None, detach_after: None }))?;
    let producer = ring.producer()?;
    ring.unlink()?;
    Ok((producer, consumer))
}
