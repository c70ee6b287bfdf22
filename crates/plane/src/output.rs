//! The channels a market-data engine publishes, and where it goes on after a crash.
//!
//! Records of one feed message are written in the order of `source_index`, so the newest (sequence, index) over all
//! channels is exactly how far the engine had got when it died. On the way back to it everything up to that point is
//! derived again and dropped: nothing is published twice, nothing is left out.

use std::path::Path;

use tidebook_feed::RecordSink;
use tidebook_ring::{ConsumerOptions, Producer, Ring, RingError, RingOptions, Start};
use tidebook_types::{Bar, BookImage, Depth, Instrument, Quote, Record, Schema, Status, Trade};

/// Layout and count of slots of each channel. Small rings decide the tail of the latency; a depth snapshot of
/// 10,000 levels has to fit without holding the engine up.
pub const CHANNELS: [(Schema, u64); 7] = [
    (Trade::SCHEMA, 1 << 14),
    (Quote::SCHEMA, 1 << 14),
    (Depth::SCHEMA, 1 << 15),
    (Bar::SCHEMA, 1 << 10),
    (BookImage::SCHEMA, 1 << 9),
    (Status::SCHEMA, 1 << 12),
    (Instrument::SCHEMA, 1 << 12),
];

/// Place of a record among all that is derived: the feed message, and the position within what it gave.
type Point = (u64, u32);

/// The producers of `md.*`. One engine owns them all.
#[derive(Debug)]
pub struct MarketDataChannels {
    trades: Producer,
    quotes: Producer,
    depth: Producer,
    bars: Producer,
    book: Producer,
    status: Producer,
    instruments: Producer,
    /// Newest record that is published; what is derived up to it is dropped.
    resume_after: Option<Point>,
    /// Newest definition that is published: fresh channels are given those of the history too, or nobody could tell
    /// what the records are about.
    defined_upto: Option<Point>,
    book_sequence: u64,
    published: u64,
    failure: Option<RingError>,
}

impl MarketDataChannels {
    /// Opens the channels in `directory`, making those that are not there.
    ///
    /// # Errors
    /// [`RingError`] of the channel that cannot be opened; another living engine is [`RingError::ProducerBusy`].
    pub fn open(directory: &Path) -> Result<Self, RingError> {
        let open = |index: usize| {
            let (schema, count) = &CHANNELS[index];
            let path = tidebook_ring::paths::ring_path(directory, &format!("md.{}", schema.name))?;
            Ring::open_or_create(path, &RingOptions::records(schema, *count).parking(true))?.producer()
        };
        let (trades, quotes, depth, bars) = (open(0)?, open(1)?, open(2)?, open(3)?);
        let (book, status, instruments) = (open(4)?, open(5)?, open(6)?);
        let mut resume_after = None;
        for producer in [&trades, &quotes, &depth, &bars, &status] {
            resume_after = resume_after.max(newest(producer)?);
        }
        let defined_upto = newest(&instruments)?;
        let book_sequence = newest(&book)?.map_or(0, |(sequence, _)| sequence);
        Ok(Self {
            trades,
            quotes,
            depth,
            bars,
            book,
            status,
            instruments,
            resume_after,
            defined_upto,
            book_sequence,
            published: 0,
            failure: None,
        })
    }

    /// Newest feed message of which something is published, if anything is.
    pub fn resume_after(&self) -> Option<u64> {
        self.resume_after.map(|(sequence, _)| sequence)
    }

    /// Drops everything but definitions that is derived from messages up to `sequence`: history is not published to
    /// fresh channels.
    pub fn start_after(&mut self, sequence: u64) {
        self.resume_after = Some((sequence, u32::MAX));
    }

    /// Publishes a book image, unless one as new was published before the last restart.
    pub fn publish_book(&mut self, image: &BookImage) {
        if image.source_sequence > self.book_sequence {
            self.published += 1;
            write(&mut self.book, image, &mut self.failure);
        }
    }

    /// Records published by this process.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The failure of a write since the last call, if any.
    ///
    /// # Errors
    /// The first [`RingError`] a write met; what came after it in that channel was not written.
    pub fn check(&mut self) -> Result<(), RingError> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// A sink has no errors to give: the first is kept for [`MarketDataChannels::check`].
#[inline]
fn write<T: Record>(producer: &mut Producer, record: &T, failure: &mut Option<RingError>) {
    if failure.is_none() {
        *failure = producer.write(record.as_bytes()).err();
    }
}

/// Where the newest record of a channel was derived from.
fn newest(producer: &Producer) -> Result<Option<Point>, RingError> {
    let published = producer.published();
    if published == 0 {
        return Ok(None);
    }
    let options = ConsumerOptions::named("").start(Start::Sequence(published)).peek(true);
    let mut point = None;
    producer.ring().consumer(&options)?.read(1, |_, payload| {
        // All records begin alike: ts_event, ts_recv, source_sequence, source_index.
        let word = |at: usize| payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        let index = payload.get(24..28).and_then(|bytes| bytes.try_into().ok());
        point = word(16).map(u64::from_le_bytes).zip(index.map(u32::from_le_bytes));
    })?;
    Ok(point)
}

macro_rules! sink {
    ($($method:ident => $channel:ident: $record:ty, after $after:ident;)*) => {
        impl RecordSink for MarketDataChannels {
            $(
                #[inline]
                fn $method(&mut self, record: &$record) {
                    let point = (record.source_sequence, record.source_index);
                    if self.$after.is_none_or(|published| point > published) {
                        self.published += 1;
                        write(&mut self.$channel, record, &mut self.failure);
                    }
                }
            )*
        }
    };
}
sink!(
    trade => trades: Trade, after resume_after;
    quote => quotes: Quote, after resume_after;
    depth => depth: Depth, after resume_after;
    bar => bars: Bar, after resume_after;
    status => status: Status, after resume_after;
    instrument => instruments: Instrument, after defined_upto;
);
