//! The whole way of a strategy: a message of a feed goes to the market data engine, its record to the strategy, the strategy's order to the
//! venue, its execution back. Engines and channels are those of a node; the strategy is the loop below, on a core it does not give away.
//!
//! The strategy's thread also plays the connector: it writes a message when it is due. So there are no more threads than a machine of two
//! cores has room for (both engines sleep on the other one), and all times but the engines' own are of one thread.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidebook_plane::{
    EngineOptions, FeedSource, HistogramSnapshot, LatencyStage, MarketDataEngine, VenueDurability, VenueLayout,
    VenueStage,
};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Producer, Read, Ring, RingOptions, Start, Wait, Written};
use tidebook_types::{Execution, MessageKind, RawMessage, Trade, Venue};
use zerocopy::{FromBytes, IntoBytes};

use crate::Measured;
use crate::chains::Running;
use crate::market::order;
use crate::open_loop::{Pace, quantile, sorted};
use crate::stalls::Stalls;

/// When one message came how far, ns since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    /// When it had to be sent.
    due: i64,
    /// The strategy had its record.
    seen: i64,
    /// The venue had taken the order: its command's time.
    taken: i64,
    /// The strategy had the execution.
    back: i64,
}

/// What the engines have timed so far: name and histogram.
type Stages = [(&'static str, HistogramSnapshot); 4];

pub struct Trader {
    market_data: MarketDataEngine,
    venue: Running,
    feed: Producer,
    trades: Consumer,
    /// Trades so far; their ids are 1, 2, 3 ...
    sent: u64,
}

impl Trader {
    pub fn start(rings: &Path, layout: VenueLayout, wait: Wait) -> Self {
        let path = rings.join("feed.binance.ring");
        let ring = Ring::create(&path, &RingOptions::frames(1 << 20).parking(true)).expect("a ring");
        let mut feed = ring.producer().expect("a producer");
        write(&mut feed, MessageKind::State, br#"{"event":"connected"}"#);
        let venue = Running::start((rings, &rings.join("orders")), layout, wait, VenueDurability::Memory, Some(1));
        let source = FeedSource { venue: Venue::Binance, journal_dir: rings.join("none"), snapshots_dir: None };
        let mut options = EngineOptions::new(vec![source], rings.to_owned());
        (options.wait, options.stages_every) = (wait, 1);
        options.thread = venue.engine.thread().cloned();
        let market_data = MarketDataEngine::start(options).unwrap_or_else(|error| panic!("{error}"));
        while !market_data.status().feeds[0].live {
            std::thread::sleep(Duration::from_millis(1));
        }
        let options = ConsumerOptions::named("").start(Start::Latest).policy(Policy::Overwrite);
        let trades =
            Ring::open(rings.join("md.trades.ring")).expect("md.trades").consumer(&options).expect("a consumer");
        Self { market_data, venue, feed, trades, sent: 0 }
    }

    fn stages(&self) -> Stages {
        let (market_data, venue) = (&self.market_data, &self.venue.engine);
        [
            ("received_decoded", market_data.latency(None, LatencyStage::ReceivedDecoded)),
            ("decoded_published", market_data.latency(None, LatencyStage::BookPublished)),
            ("judged_matched", venue.latency(VenueStage::JudgedMatched)),
            ("judged_released", venue.latency(VenueStage::JudgedReleased)),
        ]
    }

    /// One round in an open loop; the times of each message, and what [`Stalls`] told.
    fn open_loop(&mut self, pace: Pace) -> (Vec<Times>, String) {
        let Self { venue, feed, trades, sent, .. } = self;
        let (first_trade, first_command) = (*sent + 1, venue.sequence + 1);
        (*sent, venue.sequence) = (*sent + pace.count, venue.sequence + pace.count);
        let mut times = vec![Times::default(); pace.count as usize];
        let (mut written, mut back) = (0, 0);
        let mut stalls = Stalls::begin();
        let began = now();
        while back < pace.count {
            let turn = now();
            stalls.turn((turn - began).max(0) as u64);
            if written < pace.count && pace.due_ns(written) <= (turn - began).max(0) as u64 {
                times[written as usize].due = began + pace.due_ns(written) as i64;
                let id = first_trade + written;
                let body = format!(
                    r#"{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{id},"p":"61800.01","q":"0.00500","T":1700000000000,"m":false,"M":true}}"#
                );
                write(feed, MessageKind::Ws, body.as_bytes());
                written += 1;
            }
            let found = trades.read(64, |_, payload| {
                let trade = Trade::read_from_bytes(payload).expect("a trade");
                let index = trade.trade_id - first_trade;
                let times = &mut times[index as usize];
                times.seen = now();
                // The strategy: a buy or a sell in turn, whatever traded.
                let mut command = order(index);
                command.head.ts = times.seen;
                let written = venue.producer.write_within(command.as_bytes(), Duration::ZERO).expect("a write");
                assert!(matches!(written, Written::At(_)), "orders.in is full at {} a second", pace.per_s);
            });
            assert!(matches!(found, Ok(Read::Messages(_))), "{found:?}");
            trades.commit();
            let found = venue.consumer.read(64, |_, payload| {
                let execution = Execution::read_from_bytes(payload).expect("an execution");
                if execution.source_index == 0 {
                    let times = &mut times[(execution.source_sequence - first_command) as usize];
                    (times.taken, times.back) = (execution.ts, now());
                    back += 1;
                }
            });
            assert!(matches!(found, Ok(Read::Messages(_))), "{found:?}");
            venue.consumer.commit();
        }
        (times, stalls.told())
    }
}

impl Measured for Trader {
    fn round(&mut self, pace: Pace) -> Vec<String> {
        let before = self.stages();
        let (times, stalls) = self.open_loop(pace);
        vec![told(&times, &since(&before, &self.stages()), &stalls)]
    }

    fn stop(self: Box<Self>) {
        self.market_data.stop().unwrap_or_else(|error| panic!("{error}"));
        Box::new(self.venue).stop();
    }
}

fn write(feed: &mut Producer, kind: MessageKind, body: &[u8]) {
    let mut payload = Vec::with_capacity(256);
    RawMessage { ts_recv: now(), connection: 1, kind, context: b"", body }.write_to(&mut payload);
    feed.write(&payload).expect("a write");
}

/// The engines' clock, which all times here are of.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
    i64::try_from(since.as_nanos()).expect("a clock before 2262")
}

/// What was timed between the two: p50 and p99, at most 6.25 % too high.
fn since(before: &Stages, after: &Stages) -> Vec<(&'static str, u64, u64)> {
    let mut found = Vec::new();
    for ((name, before), (_, after)) in before.iter().zip(after) {
        let known: std::collections::BTreeMap<_, _> = before.buckets().collect();
        let counts: Vec<_> =
            after.buckets().map(|(value, count)| (value, count - known.get(&value).copied().unwrap_or(0))).collect();
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let at = |per_mille: u64| {
            let mut left = total * per_mille / 1000;
            counts
                .iter()
                .find(|(_, count)| {
                    *count > left || {
                        left -= count;
                        false
                    }
                })
                .map_or(0, |(value, _)| *value)
        };
        found.push((*name, at(500), at(990)));
    }
    found
}

fn told(times: &[Times], engines: &[(&'static str, u64, u64)], stalls: &str) -> String {
    // The first tenth wakes who slept.
    let times = &times[times.len() / 10..];
    let of = |name, part: fn(&Times) -> i64| {
        let sorted = sorted(times.iter().map(|times| part(times).max(0) as u64).collect());
        (name, quantile(&sorted, 500), quantile(&sorted, 990))
    };
    let mut stages = vec![
        of("due_seen", |times| times.seen - times.due),
        of("seen_taken", |times| times.taken - times.seen),
        of("taken_back", |times| times.back - times.taken),
        of("total", |times| times.back - times.due),
    ];
    stages.extend(engines);
    let cells: Vec<_> = stages.iter().map(|(name, p50, p99)| format!(r#""{name}":[{p50},{p99}]"#)).collect();
    format!(r#"{{"chain":"trade",{},{stalls}}}"#, cells.join(","))
}
