//! What commands go through: the venue's engine, or threads that only hand 128 bytes on over rings like the venue's own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidebook_plane::{VenueDurability, VenueEngine, VenueEngineOptions, VenueLayout, VenueRings};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Producer, Read, Ring, RingOptions, Start, Wait};
use tidebook_types::{Command, Execution, Record};
use zerocopy::{FromBytes, IntoBytes};

use crate::Measured;
use crate::market::{opening, order};
use crate::open_loop::{Pace, Round, open_loop, quantile, sorted};

/// Slots: footprint and room decide the tail, so both chains have as many.
const RINGS: VenueRings = VenueRings { orders_in: 1 << 14, orders: 1 << 16, executions: 1 << 17, risk: 1 << 12 };

/// One record out for each in.
pub struct Bare {
    producer: Producer,
    consumer: Consumer,
    stopping: Arc<AtomicBool>,
    hops: Vec<JoinHandle<()>>,
    done: u64,
}

impl Bare {
    pub fn start(rings: &Path, layout: VenueLayout, wait: Wait) -> Self {
        let options = |count| RingOptions::records(&Command::SCHEMA, count).parking(true).consumers_max(64);
        let make = |name: &str, options: RingOptions| {
            Ring::create(rings.join(format!("{name}.ring")), &options).expect("a ring")
        };
        let input = make("in", options(RINGS.orders_in).mpsc(64));
        let orders = make("orders", options(RINGS.orders));
        let out = make("out", options(RINGS.executions).never_waits(true));
        let stopping = Arc::new(AtomicBool::new(false));
        let hop = |from: &Ring, to: &[&Ring]| {
            let gating = ConsumerOptions::named("hop").start(Start::Earliest).wait(wait);
            let mut consumer = from.consumer(&gating).expect("a consumer");
            let mut producers: Vec<_> = to.iter().map(|ring| ring.producer().expect("a producer")).collect();
            let stopping = Arc::clone(&stopping);
            std::thread::spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    let mut hand_on = |_: u64, payload: &[u8]| {
                        producers.iter_mut().for_each(|producer| drop(producer.write(payload)));
                    };
                    match consumer.read(64, &mut hand_on) {
                        Ok(Read::Messages(0)) => drop(consumer.wait(Some(Duration::from_millis(50)))),
                        found => assert!(found.is_ok(), "{found:?}"),
                    }
                    consumer.commit();
                }
            })
        };
        let hops = match layout {
            VenueLayout::Fused | VenueLayout::Together => vec![hop(&input, &[&orders, &out])],
            VenueLayout::Split => vec![hop(&input, &[&orders]), hop(&orders, &[&out])],
        };
        let options = ConsumerOptions::named("").start(Start::Earliest).policy(Policy::Overwrite);
        let consumer = out.consumer(&options).expect("a consumer");
        Self { producer: input.producer().expect("a producer"), consumer, stopping, hops, done: 0 }
    }
}

impl Measured for Bare {
    fn round(&mut self, pace: Pace) -> Vec<String> {
        let first = self.done + 1;
        self.done += pace.count;
        let index_of = |sequence, _: &[u8]| Some(sequence - first);
        vec![open_loop(&mut self.producer, &mut self.consumer, pace, index_of).told("bare")]
    }

    fn stop(self: Box<Self>) {
        self.stopping.store(true, Ordering::Relaxed);
        self.hops.into_iter().for_each(|hop| hop.join().expect("a hop"));
    }
}

/// A venue, with ends at its channels.
pub struct Running {
    pub engine: VenueEngine,
    pub producer: Producer,
    pub consumer: Consumer,
    /// Commands on `orders`.
    pub sequence: u64,
}

impl Running {
    /// One command in so many is timed at its stages; `None`: as many as a node times, since each costs reads of a clock.
    pub fn start(
        (rings, journal): (&Path, &Path),
        layout: VenueLayout,
        wait: Wait,
        durability: VenueDurability,
        stages_every: Option<u32>,
    ) -> Self {
        let mut options = VenueEngineOptions::new(rings.to_owned(), journal.to_owned());
        (options.durability, options.layout, options.wait, options.rings) = (durability, Some(layout), wait, RINGS);
        options.stages_every = stages_every.unwrap_or(options.stages_every);
        let engine = VenueEngine::start(options).unwrap_or_else(|error| panic!("{error}"));
        let ring = |name: &str| Ring::open(rings.join(format!("{name}.ring"))).expect("a ring of the venue");
        let mut producer = ring("orders.in").producer().expect("a producer");
        let begin = opening();
        begin.iter().for_each(|command| drop(producer.write(command.as_bytes())));
        let sequence = begin.len() as u64;
        while engine.status().executions < sequence {
            std::thread::sleep(Duration::from_millis(1));
        }
        let status = engine.status();
        assert_eq!((status.accepted, status.published), (sequence, sequence), "{status:?}");
        let options = ConsumerOptions::named("").start(Start::Latest).policy(Policy::Overwrite).wait(Wait::Park);
        let consumer = ring("executions").consumer(&options).expect("a consumer");
        Self { engine, producer, consumer, sequence }
    }

    /// One round in an open loop.
    pub fn open_loop(&mut self, pace: Pace) -> Round {
        let first = self.sequence + 1;
        self.sequence += pace.count;
        open_loop(&mut self.producer, &mut self.consumer, pace, |_, payload| {
            let execution = Execution::read_from_bytes(payload).expect("an execution");
            (execution.source_index == 0).then(|| execution.source_sequence - first)
        })
    }
}

impl Running {
    /// Hands over so many commands and sleeps until the last of them is executed; ns.
    pub fn batch(&mut self, count: u64) -> u64 {
        let began = Instant::now();
        for index in 0..count {
            self.producer.write(order(index).as_bytes()).expect("a write");
        }
        self.sequence += count;
        let mut seen = 0;
        while seen < self.sequence {
            let each = |_, payload: &[u8]| {
                seen = Execution::read_from_bytes(payload).expect("an execution").source_sequence;
            };
            match self.consumer.poll(usize::MAX, each) {
                Ok(Read::Messages(0)) => drop(self.consumer.wait(None).expect("a wait")),
                found => assert!(matches!(found, Ok(Read::Messages(_))), "{found:?}"),
            }
        }
        began.elapsed().as_nanos() as u64
    }
}

/// Batches whose median counts.
pub const BATCHES: usize = 21;

impl Measured for Running {
    fn round(&mut self, pace: Pace) -> Vec<String> {
        vec![self.open_loop(pace).told("venue")]
    }

    fn batch(&mut self, count: u64) -> Vec<String> {
        let took = sorted((0..BATCHES).map(|_| Self::batch(self, count)).collect());
        vec![format!(r#"{{"chain":"venue","batch":{count},"p50_ns":{}}}"#, quantile(&took, 500))]
    }

    /// Nothing was refused, and the commands are those that were sent.
    fn stop(self: Box<Self>) {
        let status = self.engine.status();
        assert_eq!((status.rejected, status.accepted), (0, self.sequence), "{status:?}");
        self.engine.stop().unwrap_or_else(|error| panic!("{error}"));
    }
}
