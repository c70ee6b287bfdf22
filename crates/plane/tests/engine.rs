//! The engine between real channels: what it publishes is what the state machine derives, once, whatever ends it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidebook_channel::{Channel, ChannelOptions};
use tidebook_feed::{FeedEngine, FeedOptions, RecordBatch};
use tidebook_plane::{EngineOptions, MarketDataEngine};
use tidebook_ring::{ConsumerOptions, Producer, Read, Ring, Start, Wait};
use tidebook_types::{BookImage, Depth, Instrument, MessageKind, Quote, RawMessage, Record, Status, Trade, Venue};

const DEADLINE: Duration = Duration::from_secs(20);

/// A feed channel in a directory of its own, with the messages written to it so far.
struct Feed {
    directory: TempDir,
    channel: Option<(Producer, Channel)>,
    written: Vec<Vec<u8>>,
}

impl Feed {
    fn new() -> Self {
        let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir().unwrap();
        let mut feed = Self { directory, channel: None, written: Vec::new() };
        feed.open();
        feed
    }

    fn rings(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn open(&mut self) {
        let mut options = ChannelOptions::frames("feed.binance", 1 << 16);
        options.ring.parking = true;
        options.journal.segment_size_bytes = 1 << 20;
        let (channel, _) = Channel::open(&self.rings().join("feed.binance.ring"), &self.journal(), &options).unwrap();
        self.channel = Some((channel.producer().unwrap(), channel));
    }

    fn write(&mut self, kind: MessageKind, context: &str, body: &str) {
        let mut payload = Vec::new();
        let ts_recv = 1_700_000_000_000_000_000 + self.written.len() as i64 * 1_000_000;
        let (context, body) = (context.as_bytes(), body.as_bytes());
        RawMessage { ts_recv, connection: 1, kind, context, body }.write_to(&mut payload);
        self.channel.as_mut().unwrap().0.write(&payload).unwrap();
        self.written.push(payload);
    }

    /// A snapshot, then diffs, tickers and trades that follow from each other.
    fn write_market(&mut self, from: u64, count: u64) {
        if from == 0 {
            self.write(MessageKind::State, "", r#"{"event":"connected"}"#);
            let snapshot = r#"{"lastUpdateId":100,"bids":[["10.00","1.0"],["9.99","2.0"]],"asks":[["10.01","1.5"]]}"#;
            self.write(MessageKind::Ws, "", &diff(100));
            self.write(MessageKind::Rest, "/api/v3/depth?symbol=BTCUSDT&limit=1000", snapshot);
        }
        for n in from..from + count {
            self.write(MessageKind::Ws, "", &diff(101 + n));
            let trade = format!(
                r#"{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{},"p":"10.01","q":"0.5","T":1700000000000,"m":false,"M":true}}"#,
                1 + n
            );
            self.write(MessageKind::Ws, "", &trade);
        }
    }

    fn start(&self) -> MarketDataEngine {
        let options = EngineOptions {
            venue: Venue::Binance,
            rings_dir: self.rings(),
            journal_dir: self.journal(),
            wait: Wait::Park,
        };
        MarketDataEngine::start(options).unwrap()
    }

    /// An engine that has taken in all that was written, then stopped.
    fn run_to_end(&self) {
        let engine = self.start();
        wait_for(|| engine.status().failure.is_some() || engine.status().sequence == self.written.len() as u64);
        assert_eq!(engine.status().failure, None);
        engine.stop().unwrap();
    }

    /// What the state machine alone derives of all that was written.
    fn derived(&self) -> RecordBatch {
        let mut engine = FeedEngine::new(Venue::Binance, FeedOptions::of(Venue::Binance));
        let mut batch = RecordBatch::default();
        for (index, payload) in self.written.iter().enumerate() {
            engine.on_message(index as u64 + 1, RawMessage::parse(payload).unwrap(), &mut batch);
        }
        batch
    }

    /// All records a channel holds.
    fn published<T: Record>(&self) -> Vec<T> {
        let ring = Ring::open(self.rings().join(format!("md.{}.ring", T::SCHEMA.name))).unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("").start(Start::Sequence(1)).peek(true)).unwrap();
        let mut records = Vec::new();
        let read = consumer.poll(1 << 20, |_, payload| records.push(T::read_from_bytes(payload).unwrap())).unwrap();
        assert!(matches!(read, Read::Messages(_)), "{read:?}: the test outgrew the ring");
        records
    }

    fn assert_all_published(&self) {
        let derived = self.derived();
        assert!(derived.trades.len() > 10 && derived.depth.len() > 10 && derived.quotes.len() > 10);
        assert_eq!(self.published::<Trade>(), derived.trades);
        assert_eq!(self.published::<Quote>(), derived.quotes);
        assert_eq!(self.published::<Depth>(), derived.depth);
        assert_eq!(self.published::<Status>(), derived.status);
        assert_eq!(self.published::<Instrument>(), derived.instruments);
    }
}

fn diff(id: u64) -> String {
    let size = 1 + id % 7;
    format!(
        r#"{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":{id},"u":{id},"b":[["10.00","{size}.0"]],"a":[["10.01","{}.5"]]}}"#,
        size + 1
    )
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_published_is_what_the_state_machine_derives() {
    let mut feed = Feed::new();
    let engine = feed.start();
    feed.write_market(0, 50);
    wait_for(|| engine.status().sequence == feed.written.len() as u64);
    engine.stop().unwrap();
    feed.assert_all_published();
    let images = feed.published::<BookImage>();
    let last = images.last().unwrap();
    assert_eq!((last.venue_sequence, last.usable, last.bid_count, last.ask_count), (150, 1, 2, 1));
}

#[test]
fn an_engine_started_again_goes_on_without_gap_or_duplicate() {
    let mut feed = Feed::new();
    feed.write(MessageKind::Timer, "", "");
    let engine = feed.start();
    feed.write_market(0, 20);
    wait_for(|| engine.status().sequence == feed.written.len() as u64);
    engine.stop().unwrap();
    // Nobody derives while these come.
    feed.write_market(20, 20);
    feed.run_to_end();
    feed.write_market(40, 20);
    feed.run_to_end();
    feed.assert_all_published();
}

#[test]
fn messages_the_ring_no_longer_holds_come_from_the_journal() {
    let mut feed = Feed::new();
    let engine = feed.start();
    feed.write_market(0, 1);
    wait_for(|| engine.status().sequence == feed.written.len() as u64);
    engine.stop().unwrap();
    let ring = Ring::open(feed.rings().join("feed.binance.ring")).unwrap();
    ring.remove_consumer("engine").unwrap();
    // Several laps of a ring of 64 KiB.
    feed.write_market(1, 1000);
    feed.run_to_end();
    feed.assert_all_published();
}

#[test]
fn fresh_channels_begin_after_the_history_and_books_are_whole() {
    let mut feed = Feed::new();
    feed.write_market(0, 30);
    let journaled = feed.written.len() as u64;
    let (producer, channel) = feed.channel.take().unwrap();
    drop(producer);
    channel.close().unwrap();
    feed.open();
    let engine = feed.start();
    feed.write_market(30, 5);
    wait_for(|| engine.status().sequence == feed.written.len() as u64);
    engine.stop().unwrap();
    let expected: Vec<_> =
        feed.derived().trades.into_iter().filter(|trade| trade.source_sequence > journaled).collect();
    assert_eq!(expected.len(), 5);
    assert_eq!(feed.published::<Trade>(), expected);
    assert_eq!(feed.published::<Instrument>(), feed.derived().instruments, "what the records are about is told");
    assert_eq!(feed.published::<BookImage>().last().unwrap().venue_sequence, 135);
}

#[test]
fn a_second_engine_is_refused() {
    let feed = Feed::new();
    let engine = feed.start();
    let options =
        EngineOptions { venue: Venue::Binance, rings_dir: feed.rings(), journal_dir: feed.journal(), wait: Wait::Park };
    let refused = MarketDataEngine::start(options).unwrap_err().to_string();
    assert!(refused.contains("already has a living producer"), "{refused}");
    engine.stop().unwrap();
}
