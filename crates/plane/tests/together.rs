//! Engines that take turns in one thread: each does what it does with a thread of its own.

#[allow(dead_code, reason = "other tests use all of it")]
mod common;
#[path = "../../risk/tests/common/flow.rs"]
#[allow(dead_code, reason = "risk's tests use all of it")]
mod flow;
#[path = "common/venue.rs"]
mod venue;

/// Feeds are derived from their beginning here.
const WITH_SNAPSHOTS: bool = false;

use common::Feed;
use flow::Flow;
use tidebook_plane::{Confinement, EngineOptions, MarketDataEngine, VenueEngine, VenueLayout, VenueSource, VenueTime};
use tidebook_types::{Command, Depth, Execution, Quote, Record, RiskEvent, Status, Trade, Venue};
use venue::{Layout, Place, held, journaled, wait_for};
use zerocopy::IntoBytes;

/// From here on a record's `source_index` says that a start told a whole book.
const WHOLE_INDEX: u32 = 1 << 19;

const TOGETHER: Layout = (VenueLayout::Together, 1);

/// Everything that a run published and kept, in bytes by channel; and the state's hash.
type Told = (Vec<(&'static str, Vec<Vec<u8>>)>, u64);

fn bytes<T: Record>(place: &Place, channel: &'static str) -> (&'static str, Vec<Vec<u8>>) {
    let records = held::<T>(&place.rings(), channel).into_iter().map(|(_, record)| record.as_bytes().to_vec());
    (channel, records.collect())
}

/// Records of one venue: how those of two take turns on a channel is a matter of time, and so is which command a start tells books behind.
fn of<T: Record>(place: &Place, channel: &'static str, venue: Venue) -> (&'static str, Vec<Vec<u8>>) {
    let (channel, mut records) = bytes::<T>(place, channel);
    let index = |record: &[u8]| u32::from_le_bytes(record[24..28].try_into().unwrap());
    records.retain(|record| record[31] == venue as u8 && index(record) < WHOLE_INDEX);
    (channel, records)
}

fn market_data(place: &Place, feed: &Feed, engine: &VenueEngine) -> MarketDataEngine {
    let mut options = EngineOptions::new(vec![feed.source()], place.rings());
    let names_file = place.path().join("names.json");
    options.venue = Some(VenueSource { journal_dir: place.journal(), names_file, snapshots_dir: None });
    options.thread = engine.thread().cloned();
    options.confinement = Confinement::On;
    MarketDataEngine::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// The same commands and the same feed through engines of this layout.
fn run(layout: Layout) -> Told {
    let (place, mut flow) = (Place::new(), Flow::new(23, 20));
    let mut feed = Feed::new(&place.rings(), Venue::Binance);
    let mut options = place.options(layout);
    options.time = VenueTime::Command;
    let engine = VenueEngine::start(options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(engine.thread().is_some(), layout == TOGETHER);
    let market_data = market_data(&place, &feed, &engine);
    let mut client = place.client();
    let mut last = client.send_all(&flow.opening());
    for round in 0..40 {
        wait_for(|| engine.status().source_sequence >= last);
        flow.sent = engine.status().published;
        for _ in 0..40 {
            flow.sent += 1;
            last = client.send(&flow.next());
        }
        feed.write_market(round * 5, 5);
    }
    wait_for(|| engine.status().source_sequence >= last && engine.status().visible == engine.status().published);
    let sequence = engine.status().published;
    wait_for(|| {
        let status = market_data.status();
        assert_eq!(status.failure, None);
        let ends = [(Venue::Binance, feed.last()), (Venue::Local, sequence)];
        ends.iter().all(|(venue, last)| {
            status.feeds.iter().any(|found| found.venue == *venue && found.live && found.sequence == *last)
        })
    });
    market_data.stop().unwrap();
    let stopped = engine.stop().unwrap_or_else(|error| panic!("{error}"));
    let commands: Vec<Vec<u8>> =
        journaled(&place.journal()).iter().map(|(_, command): &(u64, Command)| command.as_bytes().to_vec()).collect();
    let mut told =
        vec![("orders", commands), bytes::<Execution>(&place, "executions"), bytes::<RiskEvent>(&place, "risk")];
    for venue in [Venue::Binance, Venue::Local] {
        told.push(of::<Trade>(&place, "md.trades", venue));
        told.push(of::<Depth>(&place, "md.depth", venue));
        told.push(of::<Quote>(&place, "md.quotes", venue));
        told.push(of::<Status>(&place, "md.status", venue));
    }
    (told, stopped.state_hash)
}

/// Method: seeded commands with times of their own and a feed, once with a thread for each engine and once with one for both.
#[test]
fn what_is_journaled_and_published_is_the_same_whether_engines_share_a_thread() {
    let (apart, together) = (run(venue::FUSED), run(TOGETHER));
    for ((channel, expected), (_, found)) in apart.0.iter().zip(&together.0) {
        assert!(expected.len() > 5, "{channel}: {} records", expected.len());
        assert_eq!(found.len(), expected.len(), "{channel}");
        assert_eq!(found.iter().zip(expected).position(|(found, expected)| found != expected), None, "{channel}");
    }
    assert_eq!(together.1, apart.1);
}

#[test]
fn market_data_goes_on_in_the_thread_of_a_venue_that_has_stopped_and_a_venue_in_that_of_stopped_market_data() {
    let place = Place::new();
    let mut feed = Feed::new(&place.rings(), Venue::Binance);
    let engine = place.start(TOGETHER);
    let started = market_data(&place, &feed, &engine);
    engine.stop().unwrap();
    feed.write_market(0, 10);
    let taken = |engine: &MarketDataEngine, feed: &Feed| {
        let status = engine.status();
        assert_eq!(status.failure, None);
        status.feeds.iter().any(|found| found.venue == Venue::Binance && found.sequence == feed.last())
    };
    wait_for(|| taken(&started, &feed));
    started.stop().unwrap();

    let engine = place.start(TOGETHER);
    for round in 1..3 {
        let started = market_data(&place, &feed, &engine);
        feed.write_market(round * 10, 10);
        wait_for(|| taken(&started, &feed));
        started.stop().unwrap();
        let last = place.client().send_all(&Flow::new(round, 20).opening());
        wait_for(|| engine.status().source_sequence >= last);
    }
    engine.stop().unwrap();
}
