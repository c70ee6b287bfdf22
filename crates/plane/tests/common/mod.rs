//! Feeds that a test writes, and what must be published of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidebook_channel::{Channel, ChannelOptions};
use tidebook_feed::{FeedEngine, FeedOptions, RecordBatch, RecordSink};
use tidebook_journal::snapshot::{Place, SnapshotStore};
use tidebook_journal::{JournalError, JournalReader, ReaderOptions, State};
use tidebook_plane::{
    Confinement, EngineOptions, FeedHistory, FeedSource, MarketDataEngine, PlaneError, snapshots_path,
};
use tidebook_ring::Producer;
use tidebook_types::{Health, MessageKind, RawMessage, Venue};

pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn directory() -> TempDir {
    tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir().unwrap()
}

/// A feed channel, with the messages written to it so far. Both venues here speak Binance's dialect.
pub struct Feed {
    pub venue: Venue,
    pub rings: PathBuf,
    channel: Option<(Producer, Channel)>,
    pub written: Vec<Vec<u8>>,
    /// Of the receiving clock, against one that goes a millisecond a message.
    pub ahead_ns: i64,
    pub segment_size_bytes: u64,
}

impl Feed {
    pub fn new(rings: &Path, venue: Venue) -> Self {
        Self::in_segments(rings, venue, 1 << 20)
    }

    /// With a journal in segments of this size.
    pub fn in_segments(rings: &Path, venue: Venue, segment_size_bytes: u64) -> Self {
        let (rings, written) = (rings.to_owned(), Vec::new());
        let mut feed = Self { venue, rings, channel: None, written, ahead_ns: 0, segment_size_bytes };
        feed.open();
        feed
    }

    pub fn name(&self) -> String {
        format!("feed.{}", self.venue.name())
    }

    pub fn ring(&self) -> PathBuf {
        self.rings.join(format!("{}.ring", self.name()))
    }

    pub fn journal(&self) -> PathBuf {
        self.rings.join(format!("journal-{}", self.venue.name()))
    }

    pub fn source(&self) -> FeedSource {
        let snapshots_dir = Some(self.rings.join("snapshots"));
        FeedSource { venue: self.venue, journal_dir: self.journal(), snapshots_dir }
    }

    pub fn snapshots(&self) -> SnapshotStore {
        let path = snapshots_path(&self.rings.join("snapshots"), self.venue);
        SnapshotStore::open(&path, &self.name()).unwrap()
    }

    /// Takes a snapshot behind the first batch that ends at `sequence` or later; gives where, if the journal has one.
    pub fn take_snapshot(&self, sequence: u64) -> Option<u64> {
        let mut reader = match JournalReader::open(&self.journal(), ReaderOptions::default()) {
            Err(JournalError::Absent { .. }) => return None,
            reader => reader.unwrap(),
        };
        let (channel, journal_id) = (self.name(), reader.journal_id());
        let mut history = FeedHistory::new(self.venue);
        let mut applied = 0;
        loop {
            let batch = reader.next_batch().unwrap()?;
            // What compaction has taken is in the test's hands still.
            for missing in applied + 1..batch.first_sequence() {
                history.apply(missing, &self.written[missing as usize - 1]).unwrap();
            }
            batch.records().for_each(|(sequence, payload)| history.apply(sequence, payload).unwrap());
            applied = batch.last_sequence();
            if applied >= sequence {
                let (batch_number, chain, epoch) = (batch.batch_number(), batch.chain(), batch.epoch());
                let place = Place { channel, journal_id, epoch, sequence: applied, batch_number, chain };
                self.snapshots().write(&history, &place, 0).unwrap();
                return Some(applied);
            }
        }
    }

    pub fn open(&mut self) {
        let mut options = ChannelOptions::frames(&self.name(), 1 << 16);
        options.ring.parking = true;
        options.journal.segment_size_bytes = self.segment_size_bytes;
        let (channel, _) = Channel::open(&self.ring(), &self.journal(), &options).unwrap();
        self.channel = Some((channel.producer().unwrap(), channel));
    }

    pub fn close(&mut self) {
        let (producer, channel) = self.channel.take().unwrap();
        drop(producer);
        channel.close().unwrap();
    }

    pub fn last(&self) -> u64 {
        self.written.len() as u64
    }

    pub fn write(&mut self, kind: MessageKind, context: &str, body: &str) {
        let mut payload = Vec::new();
        let ts_recv = 1_700_000_000_000_000_000 + self.ahead_ns + self.written.len() as i64 * 1_000_000;
        let (context, body) = (context.as_bytes(), body.as_bytes());
        RawMessage { ts_recv, connection: 1, kind, context, body }.write_to(&mut payload);
        let sequence = self.channel.as_mut().unwrap().0.write(&payload).unwrap();
        self.written.push(payload);
        assert_eq!(sequence, self.last());
    }

    /// A snapshot, then diffs and trades of two symbols that follow from each other.
    pub fn write_market(&mut self, from: u64, count: u64) {
        if from == 0 {
            self.write(MessageKind::State, "", r#"{"event":"connected"}"#);
            let snapshot = r#"{"lastUpdateId":100,"bids":[["10.00","1.0"],["9.99","2.0"]],"asks":[["10.01","1.5"]]}"#;
            for symbol in ["BTCUSDT", "ETHUSDT"] {
                self.write(MessageKind::Ws, "", &diff(symbol, 100));
                let target = format!("/api/v3/depth?symbol={symbol}&limit=1000");
                self.write(MessageKind::Rest, &target, snapshot);
            }
        }
        for n in from..from + count {
            self.write(MessageKind::Ws, "", &diff("BTCUSDT", 101 + n));
            if n % 3 == 0 {
                self.write(MessageKind::Ws, "", &diff("ETHUSDT", 101 + n / 3));
            }
            let trade = format!(
                r#"{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{},"p":"10.01","q":"0.5","T":1700000000000,"m":false,"M":true}}"#,
                1 + n
            );
            self.write(MessageKind::Ws, "", &trade);
        }
    }

    /// How the feed does, as the state machine alone derives it.
    pub fn derived_health(&self) -> Vec<Health> {
        struct Kept(Vec<Health>);
        impl RecordSink for Kept {
            fn health(&mut self, record: &Health) {
                self.0.push(*record);
            }
        }
        let mut engine = FeedEngine::new(self.venue, FeedOptions::of(self.venue));
        let mut kept = Kept(Vec::new());
        for (index, payload) in self.written.iter().enumerate() {
            engine.on_message(index as u64 + 1, RawMessage::parse(payload).unwrap(), &mut kept);
        }
        kept.0
    }

    /// What the state machine alone derives of all that was written.
    pub fn derived(&self) -> RecordBatch {
        let mut engine = FeedEngine::new(self.venue, FeedOptions::of(self.venue));
        let mut batch = RecordBatch::default();
        for (index, payload) in self.written.iter().enumerate() {
            engine.on_message(index as u64 + 1, RawMessage::parse(payload).unwrap(), &mut batch);
        }
        batch
    }
}

pub fn try_start(rings: &Path, feeds: &[&Feed]) -> Result<MarketDataEngine, PlaneError> {
    if crate::WITH_SNAPSHOTS {
        for feed in feeds {
            feed.take_snapshot(feed.last() * 2 / 3);
        }
    }
    let mut options = EngineOptions::new(feeds.iter().map(|feed| feed.source()).collect(), rings.to_owned());
    // Whatever an engine does in these tests it must be able to do under its profile.
    options.confinement = Confinement::On;
    MarketDataEngine::start(options)
}

pub fn start(rings: &Path, feeds: &[&Feed]) -> MarketDataEngine {
    try_start(rings, feeds).unwrap()
}

/// Waits until the engine has taken in all that was written.
pub fn wait_for_all(engine: &MarketDataEngine, feeds: &[&Feed]) {
    wait_for(|| {
        let status = engine.status();
        assert_eq!(status.failure, None);
        feeds.iter().all(|feed| {
            status.feeds.iter().any(|found| found.venue == feed.venue && found.live && found.sequence == feed.last())
        })
    });
}

/// An engine that has taken in all that was written, then stopped.
pub fn run_to_end(rings: &Path, feeds: &[&Feed]) {
    let engine = start(rings, feeds);
    wait_for_all(&engine, feeds);
    engine.stop().unwrap();
}

pub fn wait_for(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn diff(symbol: &str, id: u64) -> String {
    let size = 1 + id % 7;
    format!(
        r#"{{"e":"depthUpdate","E":1700000000000,"s":"{symbol}","U":{id},"u":{id},"b":[["10.00","{size}.0"]],"a":[["10.01","{}.5"]]}}"#,
        size + 1
    )
}
