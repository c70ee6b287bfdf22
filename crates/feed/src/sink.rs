//! Where canonical records go.
//!
//! One method per record type and no type parameter over records: a ring, a column buffer and a test each want the
//! record as it is, and a sink that does not care about a type leaves its method out.

use tidebook_types::{Bar, Depth, Health, Instrument, Order, Quote, Status, Trade};

/// How far the message in hand has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its bytes are numbers.
    Decoded,
    /// They are in the book; the records follow.
    Booked,
}

/// Takes the records of one feed in order: by source sequence, then source index.
pub trait RecordSink {
    /// The message in hand has come this far: for who reads a clock, since the engine has none. A stage is told once or
    /// more, or never. `ts_event` is the venue's time of the message, 0 where it is not known or long ago.
    #[inline]
    fn reached(&mut self, stage: Stage, ts_event: i64) {
        let _ = (stage, ts_event);
    }
    /// How the feed does.
    fn health(&mut self, record: &Health) {
        let _ = record;
    }
    /// A public print of a fill.
    fn trade(&mut self, record: &Trade) {
        let _ = record;
    }
    /// A top of book, the venue's or ours.
    fn quote(&mut self, record: &Quote) {
        let _ = record;
    }
    /// One level change; the last of a message carries `FLAG_LAST`.
    fn depth(&mut self, record: &Depth) {
        let _ = record;
    }
    /// A closed bar or a revision of one.
    fn bar(&mut self, record: &Bar) {
        let _ = record;
    }
    /// Something that is no market data.
    fn status(&mut self, record: &Status) {
        let _ = record;
    }
    /// What happened to one order of an order-by-order feed.
    fn order(&mut self, record: &Order) {
        let _ = record;
    }
    /// A definition that holds from here on.
    fn instrument(&mut self, record: &Instrument) {
        let _ = record;
    }
}

/// Every record, kept in vectors: what replay hands to Python, and what tests read.
#[derive(Debug, Clone, Default)]
pub struct RecordBatch {
    /// In order of arrival, like all of them.
    pub trades: Vec<Trade>,
    /// Venue's and derived.
    pub quotes: Vec<Quote>,
    /// Level changes.
    pub depth: Vec<Depth>,
    /// Closed and revised.
    pub bars: Vec<Bar>,
    /// Gaps, resyncs, frames set aside.
    pub status: Vec<Status>,
    /// Definitions.
    pub instruments: Vec<Instrument>,
    /// Events of resting orders.
    pub orders: Vec<Order>,
}

impl RecordBatch {
    /// An empty batch with room for as many records of each type, in the order of the fields.
    pub fn with_room([trades, quotes, depth, bars, status, instruments, orders]: [usize; 7]) -> Self {
        Self {
            trades: Vec::with_capacity(trades),
            quotes: Vec::with_capacity(quotes),
            depth: Vec::with_capacity(depth),
            bars: Vec::with_capacity(bars),
            status: Vec::with_capacity(status),
            instruments: Vec::with_capacity(instruments),
            orders: Vec::with_capacity(orders),
        }
    }

    /// Records of each type, in the order of the fields.
    pub const fn counts(&self) -> [usize; 7] {
        [
            self.trades.len(),
            self.quotes.len(),
            self.depth.len(),
            self.bars.len(),
            self.status.len(),
            self.instruments.len(),
            self.orders.len(),
        ]
    }

    /// Records of all types.
    pub fn len(&self) -> usize {
        self.counts().iter().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Empties all and keeps the memory.
    pub fn clear(&mut self) {
        self.trades.clear();
        self.quotes.clear();
        self.depth.clear();
        self.bars.clear();
        self.status.clear();
        self.instruments.clear();
        self.orders.clear();
    }
}

impl RecordSink for RecordBatch {
    fn trade(&mut self, record: &Trade) {
        self.trades.push(*record);
    }
    fn quote(&mut self, record: &Quote) {
        self.quotes.push(*record);
    }
    #[inline]
    fn depth(&mut self, record: &Depth) {
        self.depth.push(*record);
    }
    fn bar(&mut self, record: &Bar) {
        self.bars.push(*record);
    }
    fn status(&mut self, record: &Status) {
        self.status.push(*record);
    }
    fn instrument(&mut self, record: &Instrument) {
        self.instruments.push(*record);
    }
    #[inline]
    fn order(&mut self, record: &Order) {
        self.orders.push(*record);
    }
}
