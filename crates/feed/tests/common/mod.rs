//! What the tests of the engine share.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod damage;
pub mod orders;

use tidebook_feed::capture::{CaptureOptions, CaptureReader};
use tidebook_feed::{FeedEngine, FeedOptions, Oracle, RecordBatch, RecordSink, StatusKind, Tally};
use tidebook_testkit::recording;
use tidebook_types::{Bar, Depth, Health, Instrument, MessageKind, Order, Quote, RawMessage, Status, Trade, Venue};

/// A raw message with its own bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub ts_recv: i64,
    pub connection: u32,
    pub kind: MessageKind,
    pub context: Vec<u8>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn new(kind: MessageKind, ts_recv: i64, context: &str, body: &str) -> Self {
        Self { ts_recv, connection: 1, kind, context: context.into(), body: body.into() }
    }

    pub fn raw(&self) -> RawMessage<'_> {
        let Self { ts_recv, connection, kind, ref context, ref body } = *self;
        RawMessage { ts_recv, connection, kind, context, body }
    }
}

/// Messages of recordings read one after the other; `None` when recordings are missing.
pub fn messages(names: &[&str]) -> Option<(Venue, Vec<Message>)> {
    let mut all = Vec::new();
    let mut venue = Venue::Binance;
    for (index, name) in names.iter().enumerate() {
        let bytes = recording(name)?;
        let file_name = name.rsplit('/').next().unwrap_or(name);
        let options = CaptureOptions { connection: u32::try_from(index).unwrap() + 1, file_name, day: None };
        let mut reader = CaptureReader::open(&bytes, options).unwrap();
        venue = reader.venue();
        while let Some(message) = reader.next_message().unwrap() {
            let RawMessage { ts_recv, connection, kind, context, body } = message;
            all.push(Message { ts_recv, connection, kind, context: context.to_vec(), body: body.to_vec() });
        }
    }
    Some((venue, all))
}

/// An engine that has taken in all messages, with sequences from 1, and what it wrote.
pub fn run(venue: Venue, messages: &[Message]) -> (FeedEngine, RecordBatch) {
    let mut engine = FeedEngine::new(venue, FeedOptions::of(venue));
    let mut batch = RecordBatch::default();
    for (message, sequence) in messages.iter().zip(1..) {
        engine.on_message(sequence, message.raw(), &mut batch);
    }
    (engine, batch)
}

pub fn tally(engine: &FeedEngine, oracle: Oracle) -> (u64, u64) {
    let Tally { passed, failed } = engine.oracles().tally(oracle);
    (passed, failed)
}

/// Every status as `message: kind (reason) expected found count`, numbers where they are not 0.
pub fn told(batch: &RecordBatch) -> Vec<String> {
    let line = |status: &Status| {
        let mut line = format!("{}: {}", status.source_sequence, StatusKind::from_code(status.kind).unwrap().name());
        if let Some(reason) = StatusKind::from_code(status.reason) {
            line += &format!(" ({})", reason.name());
        }
        for number in [status.expected, status.found, status.count] {
            if (status.expected, status.found, status.count) != (0, 0, 0) {
                line += &format!(" {number}");
            }
        }
        line
    };
    batch.status.iter().map(line).collect()
}

/// A sink that keeps nothing.
pub struct Nothing;

impl RecordSink for Nothing {}

/// Everything that a message makes its engine write.
#[derive(Debug, Default)]
pub struct Written(pub RecordBatch, pub Vec<Health>);

impl RecordSink for Written {
    fn trade(&mut self, record: &Trade) {
        self.0.trade(record);
    }
    fn quote(&mut self, record: &Quote) {
        self.0.quote(record);
    }
    fn depth(&mut self, record: &Depth) {
        self.0.depth(record);
    }
    fn bar(&mut self, record: &Bar) {
        self.0.bar(record);
    }
    fn status(&mut self, record: &Status) {
        self.0.status(record);
    }
    fn instrument(&mut self, record: &Instrument) {
        self.0.instrument(record);
    }
    fn order(&mut self, record: &Order) {
        self.0.order(record);
    }
    fn health(&mut self, record: &Health) {
        self.1.push(*record);
    }
}

impl Written {
    pub fn clear(&mut self) {
        self.0.clear();
        self.1.clear();
    }

    pub fn assert_same(&self, other: &Self, what: &str) {
        let (Self(one, health), Self(two, other_health)) = (self, other);
        assert_eq!(one.trades, two.trades, "{what}");
        assert_eq!(one.quotes, two.quotes, "{what}");
        assert_eq!(one.depth, two.depth, "{what}");
        assert_eq!(one.bars, two.bars, "{what}");
        assert_eq!(one.status, two.status, "{what}");
        assert_eq!(one.instruments, two.instruments, "{what}");
        assert_eq!(one.orders, two.orders, "{what}");
        assert_eq!(health, other_health, "{what}");
    }
}
