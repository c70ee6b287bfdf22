//! The channels a market-data engine publishes, and where each feed goes on after a crash.
//!
//! Records of one feed message are written in the order of `source_index`, and one feed's batch at a time. After each
//! batch its feed's entry in the table of [`Positions`] is moved, so the newest record of each ring tells how far a batch
//! in progress had got, and the table tells everything before it. On the way back everything up to that point is derived
//! again, or begun with a snapshot, and dropped: nothing is published twice, nothing is left out, feed by feed. An engine that starts does that
//! for every feed of the table, also for one that this run leaves out.
//!
//! The producer waits for nobody: whoever reads too slowly is told how much was overwritten. A gating reader that is
//! stopped would otherwise stop the engine, and with it every other reader.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tidebook_feed::{Consolidator, FeedState, RecordSink, Stage};
use tidebook_ring::{Producer, Ring, RingError, RingOptions, RingView, Walked};
use tidebook_types::{
    Bar, BookImage, ConsolidatedTop, Depth, Health, Instrument, InstrumentId, MessageKind, Order, Quote, Record,
    Schema, Status, Trade, Venue,
};

use zerocopy::FromBytes;

use crate::error::PlaneError;
use crate::latency::{Latencies, StageClock};
use crate::overtaken::{Lost, Readers};
use crate::positions::{Point, Position, Positions};
use crate::retelling::Parts;
use crate::whose::Whose;

/// Layout and count of slots of each channel. Small rings decide the tail of the latency; a depth snapshot of
/// 10,000 levels and a burst have to fit, or every reader has a gap.
pub const CHANNELS: [(Schema, u64); 10] = [
    (Trade::SCHEMA, 1 << 14),
    (Quote::SCHEMA, 1 << 14),
    (Depth::SCHEMA, 1 << 15),
    (Bar::SCHEMA, 1 << 12),
    (BookImage::SCHEMA, 1 << 11),
    (Status::SCHEMA, 1 << 12),
    (Instrument::SCHEMA, 1 << 14),
    (Order::SCHEMA, 1 << 14),
    (Health::SCHEMA, 1 << 10),
    (ConsolidatedTop::SCHEMA, 1 << 13),
];

/// Readers of each channel at one time, names that are not open included: nobody removes those by himself. A line of them
/// costs 768 bytes.
const CONSUMERS_MAX: u32 = 64;
/// Places in `CHANNELS` of those that do not go by the order of one feed's records.
const BOOK: usize = 4;
const INSTRUMENTS: usize = 6;
const TOPS: usize = 9;

/// What is published of a feed when an engine starts: what is derived up to there is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    records: Point,
    definitions: Point,
    images: Point,
}

impl Resume {
    fn of(position: &Position) -> Self {
        Self { records: position.records, definitions: position.definitions, images: position.images }
    }

    /// Last message that a snapshot to begin from may be of: of all up to it no record is missing. Definitions and images
    /// do not count, because a snapshot has them.
    pub(crate) fn behind_max(&self) -> u64 {
        self.records.whole().sequence
    }
}

/// A feed as its ring tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeedIdentity {
    pub(crate) venue: Venue,
    pub(crate) epoch: u64,
    pub(crate) generation: u64,
    pub(crate) first_sequence: u64,
    pub(crate) published: u64,
    pub(crate) durable: u64,
    /// First sequence that it can be derived behind; `None` where that is not known.
    pub(crate) earliest: Option<u64>,
}

impl FeedIdentity {
    pub(crate) fn of(venue: Venue, ring: &Ring, earliest: Option<u64>) -> Self {
        let info = ring.info();
        Self {
            venue,
            epoch: info.epoch,
            generation: info.generation,
            first_sequence: info.first_sequence,
            published: ring.published(),
            durable: ring.durable(),
            earliest,
        }
    }

    /// Where the feed goes on, by what the table says; and why the records that are there cannot stay, if they cannot.
    fn position(&self, found: Option<Position>) -> (Position, Option<String>) {
        let name = self.venue.name();
        let fresh = Position {
            feed_epoch: self.epoch,
            feed_generation: self.generation,
            // History is not published to fresh channels, but its definitions are, and the books it led to.
            records: Point::after(self.durable),
            definitions: Point::START,
            images: Point::START,
        };
        let Some(found) = found else { return (fresh, None) };
        if found.feed_epoch != self.epoch {
            return (fresh, Some(format!("they were derived from another journal of feed.{name}")));
        }
        // Messages of an earlier ring that never became durable had the sequences that its successor gives again.
        let last = if found.feed_generation == self.generation { self.published } else { self.first_sequence - 1 };
        if found.records.sequence > last {
            let sequence = found.records.sequence;
            let reason = format!("they hold what followed from feed.{name} up to {sequence}, which ends at {last}");
            return (Position { records: Point::after(last), ..fresh }, Some(reason));
        }
        let whole = found.records.whole().sequence;
        if let Some(earliest) = self.earliest.filter(|&earliest| whole < earliest) {
            let reason =
                format!("they end behind message {whole} of feed.{name}, which begins behind {earliest} by now");
            return (fresh, Some(reason));
        }
        (Position { feed_generation: self.generation, ..found }, None)
    }
}

/// One of the channels.
#[derive(Debug)]
struct Outlet {
    producer: Producer,
    whose: Arc<Whose>,
    readers: Readers,
}

impl Outlet {
    fn new(producer: Producer) -> Self {
        let whose = Arc::new(Whose::new(producer.published() + 1));
        let readers = Readers::new(producer.ring());
        Self { producer, whose, readers }
    }

    /// A sink has no errors to give: the first is kept for [`MarketDataChannels::check`].
    #[inline]
    fn write<T: Record>(&mut self, record: &T, failure: &mut Option<RingError>) {
        if failure.is_none() {
            let bytes = record.as_bytes();
            self.whose.note(self.producer.published() + 1, instrument_id_of(bytes));
            *failure = self.producer.write(bytes).err();
        }
    }

    /// What its readers lost since the last look.
    fn lost(&mut self) -> Lost {
        self.readers.look(self.producer.ring(), &self.whose)
    }
}

/// Of which instrument a record is. All begin alike: ts_event, ts_recv, source_sequence, source_index, instrument_id.
#[inline]
fn instrument_id_of(record: &[u8]) -> u32 {
    record.get(28..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The producers of `md.*`. One engine owns them all.
#[derive(Debug)]
pub struct MarketDataChannels {
    trades: Outlet,
    quotes: Outlet,
    depth: Outlet,
    bars: Outlet,
    book: Outlet,
    status: Outlet,
    instruments: Outlet,
    orders: Outlet,
    health: Outlet,
    tops: Outlet,
    consolidator: Consolidator,
    /// The newest record of `md.health` since the last look.
    newest_health: Option<Health>,
    clock: StageClock,
    positions: Positions,
    published: u64,
    failure: Option<RingError>,
}

/// The channels, where each feed goes on, and why they were made anew, if they were.
pub(crate) struct Opened {
    pub(crate) channels: MarketDataChannels,
    pub(crate) resume: Vec<Resume>,
    pub(crate) made_anew: Option<String>,
}

impl MarketDataChannels {
    /// All its rings.
    pub(crate) fn rings(&self) -> impl Iterator<Item = &Ring> {
        let Self { trades, quotes, depth, bars, book, status, instruments, orders, health, tops, .. } = self;
        let all = [trades, quotes, depth, bars, book, status, instruments, orders, health, tops];
        all.into_iter().map(|outlet| outlet.producer.ring())
    }

    /// Opens the channels in `directory` for these feeds, making those that are not there. Channels that cannot stay,
    /// because of what they are or what they were derived from, are all made anew.
    pub(crate) fn open(directory: &Path, feeds: &[FeedIdentity]) -> Result<Opened, PlaneError> {
        let found = Found::look(directory)?;
        let mut reason = found.fault.clone();
        // What a killed engine had published of a batch counts before anything is compared, and for every feed: records
        // of those that are here now will hide it.
        let mut entries = found.entries();
        for feed in feeds {
            let code = feed.venue as u8;
            let known = entries.iter().position(|(other, _)| *other == code);
            let (position, fault) = feed.position(known.map(|place| entries[place].1));
            reason = reason.or(fault);
            match known {
                Some(place) => entries[place].1 = position,
                None => entries.push((code, position)),
            }
        }
        let of = |entries: &[(u8, Position)]| {
            let position = |feed: &FeedIdentity| entries.iter().find(|(code, _)| *code == feed.venue as u8);
            feeds.iter().filter_map(position).map(|(_, position)| Resume::of(position)).collect::<Vec<_>>()
        };
        if reason.is_none()
            && let (Some(rings), Some(table)) = (found.rings(), &found.table)
        {
            match rings.iter().map(Ring::producer).collect::<Result<Vec<_>, _>>() {
                Ok(producers) => {
                    for (code, position) in &entries {
                        table.take_up(*code, *position);
                    }
                    let mut channels = Self::with(producers, found.table.expect("it was just used"));
                    tops_told(&rings[TOPS], &mut channels.consolidator);
                    return Ok(Opened { channels, resume: of(&entries), made_anew: None });
                }
                Err(error @ RingError::Corrupt { .. }) => reason = Some(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        // The channels will hold no definitions and images of any feed, and of a message all records or none.
        for (_, position) in &mut entries {
            position.records = position.records.whole();
            (position.definitions, position.images) = (Point::START, Point::START);
        }
        let channels = found.make_anew(directory, &entries, reason.as_deref())?;
        Ok(Opened { channels, resume: of(&entries), made_anew: reason })
    }

    fn with(producers: Vec<Producer>, positions: Positions) -> Self {
        let [trades, quotes, depth, bars, book, status, instruments, orders, health, tops] =
            <[Producer; CHANNELS.len()]>::try_from(producers).expect("one producer a channel").map(Outlet::new);
        Self {
            trades,
            quotes,
            depth,
            bars,
            book,
            status,
            instruments,
            orders,
            health,
            tops,
            consolidator: Consolidator::default(),
            newest_health: None,
            clock: StageClock::new(0),
            positions,
            published: 0,
            failure: None,
        }
    }

    /// By its channel's name: of which instrument each record is.
    pub(crate) fn whose(&self) -> HashMap<&'static str, Arc<Whose>> {
        let Self { trades, quotes, depth, bars, book, status, instruments, orders, health, tops, .. } = self;
        let all = [trades, quotes, depth, bars, book, status, instruments, orders, health, tops];
        CHANNELS.iter().zip(all).map(|((schema, _), outlet)| (schema.name, Arc::clone(&outlet.whose))).collect()
    }

    /// What readers lost since the last look of what somebody has to tell them again: levels, images and tops, states.
    pub(crate) fn lost(&mut self) -> [(Parts, Lost); 4] {
        let Self { depth, book, quotes, status, .. } = self;
        [
            (Parts::LEVELS, depth.lost()),
            (Parts::IMAGE, book.lost()),
            (Parts::IMAGE, quotes.lost()),
            (Parts::TRADING, status.lost()),
        ]
    }

    /// Times one live message in so many at every stage; 0: none.
    pub(crate) fn time_stages(&mut self, every: u32) {
        self.clock = StageClock::new(every);
    }

    /// Tells every top that is another than was told last, and from here on every change.
    pub(crate) fn tell_tops(&mut self, venue: Venue, sequence: u64, ts_recv: i64) {
        let Self { consolidator, tops, published, failure, .. } = self;
        consolidator.tell_all(venue, sequence, ts_recv, |top| {
            *published += 1;
            tops.write(top, failure);
        });
    }

    /// Begins a feed with what a snapshot says: publishes the definitions that are not there yet, and takes its tops in.
    ///
    /// # Errors
    /// [`RingError`] of a write.
    pub(crate) fn begin_with(&mut self, state: &FeedState, resume: &Resume) -> Result<(), RingError> {
        let mut sink = self.of(resume);
        state.definitions().for_each(|record| sink.instrument(record));
        self.consolidator.take_over(state.tops());
        self.check()?;
        if state.sequence() > 0 {
            self.note(state.engine().venue(), state.sequence());
        }
        Ok(())
    }

    /// The newest record of `md.health` that was derived since the last call, published by this process or not.
    pub(crate) fn take_health(&mut self) -> Option<Health> {
        self.newest_health.take()
    }

    /// Takes the records of one feed.
    pub(crate) fn of<'a>(&'a mut self, resume: &'a Resume) -> FeedChannels<'a> {
        FeedChannels { channels: self, resume }
    }

    /// Notes that everything but images that follows from the feed up to `sequence` is published.
    #[inline]
    pub(crate) fn note(&self, venue: Venue, sequence: u64) {
        self.positions.publish(venue, sequence);
    }

    /// Notes the same of images.
    #[inline]
    pub(crate) fn note_images(&self, venue: Venue, sequence: u64) {
        self.positions.publish_images(venue, sequence);
    }

    /// Records published by this process.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// The failure of a write since the last call, if any.
    ///
    /// # Errors
    /// The first [`RingError`] a write met; what came after it was not written.
    pub(crate) fn check(&mut self) -> Result<(), RingError> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// What is in a directory of rings.
struct Found {
    /// Those that can be opened, in the order of `CHANNELS`.
    rings: Vec<Option<Ring>>,
    /// Feed and place of the newest record of each that belongs to the table.
    newest: Newest,
    table: Option<Positions>,
    /// Why they cannot stay as they are; none when there are none either.
    fault: Option<String>,
}

impl Found {
    fn look(directory: &Path) -> Result<Self, PlaneError> {
        let mut faults = Vec::new();
        let table = match Positions::open(directory)? {
            Some(Ok(table)) => Some(table),
            Some(Err(reason)) => {
                faults.push(reason);
                None
            }
            None => None,
        };
        let (mut rings, mut missing) = (Vec::new(), Vec::new());
        let mut newest = [None; CHANNELS.len()];
        for ((schema, count), newest) in CHANNELS.iter().zip(&mut newest) {
            let path = tidebook_ring::paths::ring_path(directory, &channel(schema))?;
            let ring = match Ring::open(&path) {
                Ok(ring) => {
                    let epoch = table.as_ref().map(Positions::epoch);
                    let found = ring.require(&RingOptions { epoch, ..options(schema, *count, 0) });
                    match found.and_then(|()| newest_of(&ring)) {
                        Ok(found) => *newest = found,
                        Err(error @ (RingError::Mismatch { .. } | RingError::Corrupt { .. })) => {
                            faults.push(error.to_string());
                        }
                        Err(error) => return Err(error.into()),
                    }
                    Some(ring)
                }
                Err(RingError::NotFound { path }) => {
                    missing.push(path);
                    None
                }
                Err(error @ (RingError::NotARing { .. } | RingError::OtherBoot { .. } | RingError::Version { .. })) => {
                    faults.push(error.to_string());
                    None
                }
                Err(error) => return Err(error.into()),
            };
            rings.push(ring);
        }
        let nothing = missing.len() == CHANNELS.len() && faults.is_empty();
        if !nothing || table.is_some() {
            if table.is_none() && faults.is_empty() {
                faults.push(format!("{} is missing", Positions::path(directory).display()));
            }
            faults.extend(missing.first().map(|path| format!("{} is missing", path.display())));
        }
        Ok(Self { rings, newest, table, fault: faults.into_iter().next() })
    }

    /// How far each feed that the table knows is published: what it says, or what the batch in progress had got to.
    fn entries(&self) -> Vec<(u8, Position)> {
        let entries = self.table.iter().flat_map(Positions::entries);
        entries.map(|(code, position)| (code, resume_at(code, &position, &self.newest))).collect()
    }

    /// All of them, if all are there.
    fn rings(&self) -> Option<Vec<Ring>> {
        self.rings.iter().cloned().collect()
    }

    /// Makes all channels in the place of those found, if nobody has those open.
    fn make_anew(
        self,
        directory: &Path,
        entries: &[(u8, Position)],
        reason: Option<&str>,
    ) -> Result<MarketDataChannels, PlaneError> {
        let why = reason.unwrap_or("they are not all there");
        for ring in self.rings.iter().flatten() {
            if let Some(who) = holder(ring)? {
                return Err(PlaneError::InUse { ring: ring.path().to_owned(), reason: why.to_owned(), who });
            }
        }
        let epoch = self.table.as_ref().map_or(0, Positions::epoch);
        let epoch = epoch_now().max(epoch + 1);
        // The table first: should this end half way, the rings do not belong to it and are made anew once more.
        let table = Positions::create(directory, epoch, entries)?;
        let mut producers = Vec::new();
        for (schema, count) in &CHANNELS {
            let path = tidebook_ring::paths::ring_path(directory, &channel(schema))?;
            match Ring::remove(&path) {
                Ok(()) | Err(RingError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            producers.push(Ring::create(path, &options(schema, *count, epoch))?.producer()?);
        }
        Ok(MarketDataChannels::with(producers, table))
    }
}

fn channel(schema: &Schema) -> String {
    format!("md.{}", schema.name)
}

fn options(schema: &Schema, count: u64, epoch: u64) -> RingOptions {
    let options = RingOptions::records(schema, count).consumers_max(CONSUMERS_MAX);
    options.parking(true).never_waits(true).continuing(epoch, 1)
}

/// Who has a ring open, if anybody lives.
pub(crate) fn holder(ring: &Ring) -> Result<Option<String>, RingError> {
    let status = ring.status()?;
    if status.producer_alive {
        return Ok(Some("its producer".to_owned()));
    }
    let living = status.consumers.into_iter().find(|consumer| consumer.alive);
    Ok(living.map(|consumer| format!("consumer {:?} of process {}", consumer.name, consumer.process_id)))
}

/// Feed and place of the newest record of each ring.
type Newest = [Option<(u8, Point)>; CHANNELS.len()];

fn newest_of(ring: &Ring) -> Result<Option<(u8, Point)>, RingError> {
    let published = ring.published();
    if published == 0 {
        return Ok(None);
    }
    let mut point = None;
    // Not as a consumer: the lines of this ring are its readers', and may all be taken by names that are not open.
    let walked = RingView::of(ring).walk(published, true).read(1, usize::MAX, |_, payload| {
        // All records begin alike: ts_event, ts_recv, source_sequence, source_index, instrument_id.
        let number =
            |at: usize| payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let sequence = payload.get(16..24).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        point = sequence.zip(number(24)).zip(number(28));
    });
    if walked != Walked::Messages(1) {
        return Err(RingError::Corrupt { sequence: published, reason: "it is not the newest record" });
    }
    // Which book an image is of tells how far the images of a batch had got.
    let is_image = ring.info().schema.as_ref().is_some_and(|schema| schema.name == BookImage::SCHEMA.name);
    Ok(point.map(|((sequence, index), id)| {
        ((id >> 24) as u8, Point::new(sequence, if is_image { id & InstrumentId::INDEX_MAX } else { index }))
    }))
}

/// Gives the tops that a ring holds, so that the same are not told again.
fn tops_told(ring: &Ring, consolidator: &mut Consolidator) {
    let mut walker = RingView::of(ring).walk(0, true);
    let mut tell = |_, payload: &[u8]| {
        if let Ok(top) = ConsolidatedTop::read_from_bytes(payload) {
            consolidator.told(&top);
        }
    };
    while walker.read(usize::MAX, usize::MAX, &mut tell) != Walked::Messages(0) {}
}

/// Where a feed goes on: behind what the table says, or behind what the batch in progress had published.
fn resume_at(code: u8, position: &Position, newest: &Newest) -> Position {
    let of = |place: usize| newest[place].filter(|(other, _)| *other == code).map(|(_, point)| point);
    let records = (0..CHANNELS.len()).filter(|place| ![BOOK, INSTRUMENTS, TOPS].contains(place)).filter_map(of).max();
    let behind = |noted: Point, found: Option<Point>| found.map_or(noted, |found| found.max(noted));
    Position {
        records: behind(position.records, records),
        definitions: behind(position.definitions, of(INSTRUMENTS)),
        images: behind(position.images, of(BOOK)),
        ..*position
    }
}

pub(crate) fn epoch_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The channels as one feed writes them.
pub(crate) struct FeedChannels<'a> {
    channels: &'a mut MarketDataChannels,
    resume: &'a Resume,
}

impl FeedChannels<'_> {
    /// Takes the next message in hand; with `live` its latencies may be counted.
    #[inline]
    pub(crate) fn begin(&mut self, live: bool) {
        if live {
            self.channels.clock.begin();
        } else {
            self.channels.clock.pause();
        }
    }

    /// Everything of the message in hand was written.
    #[inline]
    pub(crate) fn end(
        &mut self,
        (venue, sequence): (Venue, u64),
        (ts_recv, kind): (i64, MessageKind),
        latencies: Option<&Latencies>,
    ) {
        let MarketDataChannels { consolidator, tops, published, failure, clock, .. } = &mut *self.channels;
        consolidator.on_message(venue, sequence, ts_recv, kind, |top| {
            *published += 1;
            tops.write(top, failure);
        });
        if let Some(latencies) = latencies {
            latencies.published(ts_recv, clock);
        }
    }

    /// Whether the image of this book, changed by this message, is still to be published. Images of one batch go out in
    /// the order of (message, index).
    pub(crate) fn wants_image(&self, sequence: u64, id: InstrumentId) -> bool {
        Point::new(sequence, id.get() & InstrumentId::INDEX_MAX) > self.resume.images
    }

    /// Publishes a level that is told again.
    pub(crate) fn retold_depth(&mut self, record: &Depth) {
        self.channels.published += 1;
        self.channels.depth.write(record, &mut self.channels.failure);
    }

    /// Publishes a state that is told again.
    pub(crate) fn retold_status(&mut self, record: &Status) {
        self.channels.published += 1;
        self.channels.status.write(record, &mut self.channels.failure);
    }

    pub(crate) fn publish_book(&mut self, image: &BookImage) {
        self.channels.published += 1;
        self.channels.book.write(image, &mut self.channels.failure);
    }
}

macro_rules! sink {
    ($($method:ident => $channel:ident: $record:ty, after $after:ident $(, then $then:ident)?;)*) => {
        impl RecordSink for FeedChannels<'_> {
            #[inline]
            fn reached(&mut self, stage: Stage, ts_event: i64) {
                self.channels.clock.reached(stage, ts_event);
            }
            $(
                #[inline]
                fn $method(&mut self, record: &$record) {
                    if Point::new(record.source_sequence, record.source_index) > self.resume.$after {
                        self.channels.published += 1;
                        self.channels.$channel.write(record, &mut self.channels.failure);
                    }
                    $(
                        let MarketDataChannels { consolidator, tops, published, failure, .. } = &mut *self.channels;
                        consolidator.$then(record, |top| {
                            *published += 1;
                            tops.write(top, failure);
                        });
                    )?
                }
            )*
            fn health(&mut self, record: &Health) {
                if Point::new(record.source_sequence, record.source_index) > self.resume.records {
                    self.channels.published += 1;
                    self.channels.health.write(record, &mut self.channels.failure);
                }
                self.channels.newest_health = Some(*record);
            }
            #[inline]
            fn instrument(&mut self, record: &Instrument) {
                if Point::new(record.source_sequence, record.source_index) > self.resume.definitions {
                    self.channels.published += 1;
                    self.channels.instruments.write(record, &mut self.channels.failure);
                }
                self.channels.consolidator.on_instrument(record);
            }
        }
    };
}
sink!(
    trade => trades: Trade, after records;
    quote => quotes: Quote, after records, then on_quote;
    depth => depth: Depth, after records;
    bar => bars: Bar, after records;
    status => status: Status, after records, then on_status;
    order => orders: Order, after records;
);
