//! The market-data engine: one raw message in, canonical records out.
//!
//! A pure state machine. Time comes with the messages, nothing is read and nothing is waited for, so live capture,
//! replay, recovery and storage run this same code, and the same messages give the same records and the same
//! [`FeedEngine::state_hash`].
//!
//! Bars close by the feed's clock. Once a `Timer` message was seen, timers are that clock; until then every message's
//! receive time is, so that recordings without timers close their bars too. It never goes back, but where the feed says
//! that our clock was stepped: from there on it is the new one.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use tidebook_types::{BookImage, InstrumentId, MessageKind, RawMessage, Venue};

use crate::binance::BinanceFeed;
use crate::bitstamp::BitstampFeed;
use crate::coinbase::{AdvancedFeed, ExchangeFeed};
use crate::connections::Connections;
use crate::health::HealthWindow;
use crate::itch::ItchFeed;
use crate::kraken::KrakenFeed;
use crate::kraken_v1::KrakenV1Feed;
use crate::lobster::LobsterFeed;
use crate::local::LocalDialect;
use crate::market::{Emitter, Markets, StatusRecord};
use crate::oracles::Oracles;
use crate::saved::{Input, Saved, SavedError, layout_of, name_of, save_field, saved};
use crate::scan::{ScanError, Scanner, Unknown};
use crate::sink::RecordSink;
use crate::state_hash::StateHasher;
use crate::status::StatusKind;

/// How long behind its end a bar waits for trades that are on their way, if nothing else is said; ns.
pub const BAR_DELAY_NS: i64 = 1_000_000_000;

/// Bounds of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeedOptions {
    /// How long after its end a bar waits for trades on their way, ns of the feed's clock.
    pub bar_delay_ns: i64,
    /// Closed minutes kept an instrument, for late trades and for comparison with the venue's.
    pub closed_bars_max: usize,
    /// Instruments an engine opens; more are refused and counted, so that damaged symbols cannot fill memory.
    pub instruments_max: usize,
}

impl FeedOptions {
    /// What a venue needs.
    pub const fn of(venue: Venue) -> Self {
        let closed_bars_max = match venue {
            // A day, to compare with an OHLC answer.
            Venue::Kraken => 1_440,
            _ => 60,
        };
        let instruments_max = match venue {
            // Stocks are numbered by two bytes, and a day has more than ten thousand of them.
            Venue::Nasdaq => 1 << 16,
            _ => 10_000,
        };
        Self { bar_delay_ns: BAR_DELAY_NS, closed_bars_max, instruments_max }
    }
}

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// What an engine counted.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$meta])* pub $name: u64,)*
        }

        impl Counters {
            /// Every counter by name.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        saved!(Counters { $($name),* });
    };
}

impl Counters {
    /// Adds what a message said that nobody knows.
    #[inline]
    pub(crate) const fn note(&mut self, unknown: Unknown) {
        self.unknown_fields += unknown.fields;
        self.unknown_values += unknown.values;
    }
}

counters! {
    /// Messages taken in, of any kind.
    messages,
    /// Trades written.
    trades,
    /// Trades that came after trades with higher ids.
    trades_late,
    /// Trades whose bar, of the shortest length at least, was no longer kept.
    trades_too_late,
    /// Trades whose venue time is an hour off the receive time: in no bar.
    trades_off_clock,
    /// Trade messages of size 0, which only take an id: Binance futures number some that became no trade.
    trades_empty,
    /// aggTrade messages; they repeat trades and are not written.
    agg_trades,
    /// Events of orders: written as records, or of Coinbase's full channel, which makes no records yet.
    orders,
    /// Bars the venue sent.
    candles,
    /// Quotes the venue sent.
    quotes,
    /// Quotes the venue sent that were not written: with digits that the book's exponents cannot hold.
    quotes_unfit,
    /// Quotes of our own books.
    quotes_derived,
    /// Depth messages accepted, snapshots included.
    depth_messages,
    /// Level changes in them.
    depth_levels,
    /// Bars closed.
    bars,
    /// Bars given again because of a late trade.
    bar_revisions,
    /// Snapshots that became a book.
    snapshots_applied,
    /// Those of them that replaced a book which an earlier snapshot had begun.
    resyncs,
    /// Snapshots that could not.
    snapshots_refused,
    /// Snapshots that came while the book was whole and further on.
    snapshots_unneeded,
    /// Holes: depth messages or trades that never came, books that lost their checksum.
    gaps,
    /// Messages that repeat earlier ones.
    duplicates,
    /// Depth messages that came while nothing could use them.
    updates_unused,
    /// Depth messages that were kept for a snapshot and dropped for others.
    kept_dropped,
    /// Frames set aside.
    malformed,
    /// Messages of a kind that is not known or not decoded.
    unknown,
    /// Fields of decoded messages that nobody knows, passed over.
    unknown_fields,
    /// Words that are not of the list their field has; what they would say is left out.
    unknown_values,
    /// Requests the venue confirmed, and frames that say nothing about a market.
    acknowledged,
    /// Requests the venue refused.
    refused,
    /// Heartbeats.
    heartbeats,
    /// Timer messages.
    timers,
    /// Changes of the connection or capture.
    states,
    /// Events written of an order that was not known.
    orders_unknown,
    /// Orders that the venue had deleted before it said that they exist.
    orders_late,
    /// Instruments with new exponents.
    precision_changes,
    /// Symbols that cannot be an instrument, or came beyond the bound.
    instruments_refused,
}

/// A frame that was set aside: its raw message stays in the journal under this sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantined {
    /// Sequence of the message.
    pub sequence: u64,
    /// Where it stops making sense.
    pub error: ScanError,
}

/// Frames set aside remembered for a report; all are counted.
const QUARANTINED_MAX: usize = 64;

/// The first frames set aside.
#[derive(Debug, Default)]
pub(crate) struct Quarantine(Vec<Quarantined>);

/// Texts of errors that a saved state told, each once however many states are loaded. There are as many as we wrote, and
/// no more than [`TOLD_COUNT_MAX`] whatever the states say, since they are kept for ever.
static TOLD: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Longest text of an error that is read back.
const TOLD_BYTES_MAX: usize = 256;
const TOLD_COUNT_MAX: usize = 4_096;

/// What stands for this text, kept for ever; some text of ours when too many others are kept.
fn told(kept: &mut BTreeSet<&'static str>, text: &str) -> &'static str {
    if let Some(known) = kept.get(text) {
        return known;
    }
    if kept.len() >= TOLD_COUNT_MAX {
        return "what a saved state says";
    }
    let leaked: &'static str = Box::leak(Box::<str>::from(text));
    kept.insert(leaked);
    leaked
}

impl Saved for Quarantined {
    fn layout(text: &mut String) {
        text.push_str("Quarantined{sequence:u64,offset:u64,expected:*u8}");
    }
    fn save(&self, out: &mut Vec<u8>) {
        let Self { sequence, error: ScanError { offset, expected } } = self;
        sequence.save(out);
        offset.save(out);
        expected.len().save(out);
        out.extend_from_slice(expected.as_bytes());
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let (sequence, offset) = Saved::load(input)?;
        let count = input.count()?;
        let text = std::str::from_utf8(input.take(count)?).ok().filter(|text| text.len() <= TOLD_BYTES_MAX);
        let text = text.ok_or(input.error("no text"))?;
        let expected = told(&mut TOLD.lock().unwrap_or_else(PoisonError::into_inner), text);
        Ok(Self { sequence, error: ScanError { offset, expected } })
    }
}

saved!(Quarantine(0));

impl Quarantine {
    #[cold]
    pub(crate) fn add<S: RecordSink>(&mut self, counters: &mut Counters, error: ScanError, emit: &mut Emitter<'_, S>) {
        counters.malformed += 1;
        if self.0.len() < QUARANTINED_MAX {
            self.0.push(Quarantined { sequence: emit.sequence, error });
        }
        let status = StatusRecord { found: error.offset as u64, ..StatusRecord::of(StatusKind::Malformed) };
        emit.status(0, 0, status);
    }
}

enum Dialect {
    Binance(BinanceFeed),
    Kraken(KrakenFeed),
    KrakenV1(KrakenV1Feed),
    Coinbase(ExchangeFeed),
    CoinbaseAdvanced(AdvancedFeed),
    Bitstamp(BitstampFeed),
    Lobster(LobsterFeed),
    Itch(ItchFeed),
    Local(LocalDialect),
}

impl Dialect {
    /// One that has seen nothing.
    ///
    /// # Panics
    /// When the venue has no dialect here, which a new `Venue` without one would mean.
    fn of(venue: Venue) -> Self {
        match venue {
            Venue::Binance | Venue::BinanceUsdm | Venue::BinanceCoinm | Venue::BinanceUs => {
                Self::Binance(BinanceFeed::new(venue))
            }
            Venue::Kraken => Self::Kraken(KrakenFeed::default()),
            Venue::KrakenV1 => Self::KrakenV1(KrakenV1Feed::default()),
            Venue::Coinbase => Self::Coinbase(ExchangeFeed::default()),
            Venue::CoinbaseAdvanced => Self::CoinbaseAdvanced(AdvancedFeed::default()),
            Venue::Bitstamp => Self::Bitstamp(BitstampFeed::default()),
            Venue::Lobster => Self::Lobster(LobsterFeed::default()),
            Venue::Nasdaq => Self::Itch(ItchFeed::default()),
            Venue::Local => Self::Local(LocalDialect::default()),
            other => panic!("no dialect for {}: add one to tidebook-feed", other.name()),
        }
    }

    fn save(&self, out: &mut Vec<u8>) {
        match self {
            Self::Binance(feed) => feed.save(out),
            Self::Kraken(feed) => feed.save(out),
            Self::KrakenV1(feed) => feed.save(out),
            Self::Coinbase(feed) => feed.save(out),
            Self::CoinbaseAdvanced(feed) => feed.save(out),
            Self::Bitstamp(feed) => feed.save(out),
            Self::Lobster(feed) => feed.save(out),
            Self::Itch(feed) => feed.save(out),
            // Keeps nothing.
            Self::Local(_) => {}
        }
    }

    fn load(&mut self, input: &mut Input<'_>) -> Result<(), SavedError> {
        match self {
            Self::Binance(feed) => *feed = Saved::load(input)?,
            Self::Kraken(feed) => *feed = Saved::load(input)?,
            Self::KrakenV1(feed) => *feed = Saved::load(input)?,
            Self::Coinbase(feed) => *feed = Saved::load(input)?,
            Self::CoinbaseAdvanced(feed) => *feed = Saved::load(input)?,
            Self::Bitstamp(feed) => *feed = Saved::load(input)?,
            Self::Lobster(feed) => *feed = Saved::load(input)?,
            Self::Itch(feed) => *feed = Saved::load(input)?,
            Self::Local(_) => {}
        }
        Ok(())
    }
}

/// The engine of one venue's feed.
pub struct FeedEngine {
    markets: Markets,
    dialect: Dialect,
    quarantine: Quarantine,
    connections: Connections,
    health: HealthWindow,
    timers_seen: bool,
    /// Furthest the clock has come since it was stepped last.
    clock: i64,
    /// Second of the clock that bars were last closed for.
    closed_for: i64,
}

impl Saved for FeedEngine {
    fn layout(text: &mut String) {
        text.push_str("FeedEngine{");
        layout_of(|it: &Self| &it.markets, text);
        // Which one is saved follows from the venue.
        BinanceFeed::layout(text);
        KrakenFeed::layout(text);
        KrakenV1Feed::layout(text);
        ExchangeFeed::layout(text);
        AdvancedFeed::layout(text);
        BitstampFeed::layout(text);
        LobsterFeed::layout(text);
        ItchFeed::layout(text);
        layout_of(|it: &Self| &it.quarantine, text);
        layout_of(|it: &Self| &it.connections, text);
        layout_of(|it: &Self| &it.health, text);
        text.push_str("timers_seen,clock,closed_for}");
    }
    fn save(&self, out: &mut Vec<u8>) {
        let Self { markets, dialect, quarantine, connections, health, timers_seen, clock, closed_for } = self;
        markets.save(out);
        dialect.save(out);
        save_field(quarantine, out, name_of!(FeedEngine.quarantine));
        save_field(connections, out, name_of!(FeedEngine.connections));
        health.save(out);
        save_field(timers_seen, out, name_of!(FeedEngine.timers_seen));
        save_field(clock, out, name_of!(FeedEngine.clock));
        save_field(closed_for, out, name_of!(FeedEngine.closed_for));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let markets = Markets::load(input)?;
        let mut dialect = Dialect::of(markets.venue);
        dialect.load(input)?;
        let (quarantine, connections, health) = Saved::load(input)?;
        let (timers_seen, clock, closed_for) = Saved::load(input)?;
        Ok(Self { markets, dialect, quarantine, connections, health, timers_seen, clock, closed_for })
    }
}

impl FeedEngine {
    /// An engine that has seen nothing.
    ///
    /// # Panics
    /// When the venue has no dialect here, which a new `Venue` without one would mean.
    pub fn new(venue: Venue, options: FeedOptions) -> Self {
        Self {
            markets: Markets::new(venue, options),
            dialect: Dialect::of(venue),
            quarantine: Quarantine::default(),
            connections: Connections::default(),
            health: HealthWindow::default(),
            timers_seen: false,
            clock: i64::MIN,
            closed_for: i64::MIN,
        }
    }

    /// The venue.
    pub const fn venue(&self) -> Venue {
        self.markets.venue
    }

    /// Takes in the message that has this sequence in `feed.<venue>` and writes what follows from it to `sink`.
    ///
    /// Never fails: what cannot be decoded is counted, set aside ([`Self::quarantined`]) and told by a status record.
    pub fn on_message(&mut self, sequence: u64, message: RawMessage<'_>, sink: &mut impl RecordSink) {
        let RawMessage { ts_recv, connection, kind, context, body } = message;
        let mut emit = Emitter { sink, venue: self.markets.venue, sequence, ts_recv, index: 0, ts_event: 0 };
        self.markets.counters.messages += 1;
        self.timers_seen |= kind == MessageKind::Timer;
        if kind == MessageKind::Timer || !self.timers_seen {
            self.advance_clock(ts_recv, &mut emit);
        }
        self.health.count(kind);
        let Self { markets, dialect, quarantine, .. } = self;
        match (kind, dialect) {
            (MessageKind::Ws, Dialect::Binance(feed)) => feed.on_ws(markets, quarantine, connection, body, &mut emit),
            (MessageKind::Ws, Dialect::Kraken(feed)) => feed.on_ws(markets, quarantine, connection, body, &mut emit),
            (MessageKind::Ws, Dialect::KrakenV1(feed)) => feed.on_ws(markets, quarantine, connection, body, &mut emit),
            (MessageKind::Ws, Dialect::Coinbase(feed)) => feed.on_ws(markets, quarantine, connection, body, &mut emit),
            (MessageKind::Ws, Dialect::CoinbaseAdvanced(feed)) => {
                feed.on_ws(markets, quarantine, connection, body, &mut emit);
            }
            (MessageKind::Ws, Dialect::Bitstamp(feed)) => feed.on_ws(markets, quarantine, connection, body, &mut emit),
            (MessageKind::Ws, Dialect::Lobster(feed)) => feed.on_ws(markets, quarantine, connection, body, &mut emit),
            (MessageKind::Ws, Dialect::Itch(feed)) => feed.on_ws(markets, quarantine, connection, body, &mut emit),
            (MessageKind::Ws, Dialect::Local(feed)) => feed.on_ws(markets, quarantine, (context, body), &mut emit),
            (MessageKind::Rest, Dialect::Binance(feed)) => {
                feed.on_rest(markets, quarantine, connection, context, body, &mut emit);
            }
            (MessageKind::Rest, Dialect::Kraken(feed)) => feed.on_rest(markets, quarantine, context, body, &mut emit),
            (MessageKind::Rest, Dialect::KrakenV1(feed)) => feed.on_rest(markets, quarantine, context, body, &mut emit),
            (MessageKind::Rest, Dialect::Coinbase(feed)) => feed.on_rest(markets, quarantine, context, body, &mut emit),
            (MessageKind::Rest, Dialect::CoinbaseAdvanced(feed)) => {
                feed.on_rest(markets, quarantine, context, body, &mut emit);
            }
            (MessageKind::Rest, Dialect::Bitstamp(_) | Dialect::Lobster(_) | Dialect::Itch(_) | Dialect::Local(_)) => {
                markets.counters.unknown += 1;
            }
            (MessageKind::Timer, _) => markets.counters.timers += 1,
            (MessageKind::State, _) => self.on_state(connection, body, &mut emit),
        }
        if emit.ts_event != 0 {
            self.health.lag(ts_recv.saturating_sub(emit.ts_event));
        }
    }

    /// Closes bars when the clock enters another second.
    #[inline]
    fn advance_clock<S: RecordSink>(&mut self, ts_recv: i64, emit: &mut Emitter<'_, S>) {
        if ts_recv <= self.clock {
            return;
        }
        self.clock = ts_recv;
        let clock = ts_recv.saturating_sub(self.markets.options.bar_delay_ns);
        let second = clock.div_euclid(crate::bars::SECOND_NS);
        if second > self.closed_for {
            self.closed_for = second;
            for index in 0..self.markets.all().len() {
                self.markets.close_bars(index, clock, false, emit);
            }
            // Of a venue that speaks when it is asked to, silence says nothing.
            if self.markets.venue != Venue::Local {
                self.health.tell(ts_recv, &self.markets, self.connections.count(), emit);
            }
        }
    }

    /// A change of the connection or the capture: a JSON object with the key `event`. Events we do not know are counted
    /// only, since recorders may note what they like.
    fn on_state<S: RecordSink>(&mut self, connection: u32, body: &[u8], emit: &mut Emitter<'_, S>) {
        self.markets.counters.states += 1;
        let (event, step_ns) = match event(body) {
            Ok(found) => found,
            Err(error) => return self.quarantine.add(&mut self.markets.counters, error, emit),
        };
        match event {
            b"connected" => {
                self.connections.open(connection);
                Self::tell(StatusKind::Connected, connection, emit);
            }
            b"disconnected" => self.on_disconnect(connection, emit),
            // Sessions of a process that was killed ended with it, although nobody could say so.
            b"started" => {
                while let Some(connection) = self.connections.take() {
                    self.on_disconnect(connection, emit);
                }
            }
            // A recording of one instrument says which one.
            b"capture" => {
                let Self { markets, dialect, quarantine, .. } = self;
                let result = match dialect {
                    Dialect::Bitstamp(feed) => feed.on_capture(markets, connection, body, emit),
                    Dialect::Lobster(feed) => feed.on_capture(markets, connection, body, emit),
                    Dialect::Itch(feed) => feed.on_capture(markets, connection, body, emit),
                    _ => Ok(()),
                };
                if let Err(error) = result {
                    quarantine.add(&mut markets.counters, error, emit);
                }
            }
            // What other venues answer says so itself.
            b"subscribed" | b"unsubscribed" => {
                let Self { markets, dialect: Dialect::Binance(feed), quarantine, .. } = self else { return };
                if let Err(error) = feed.on_streams(markets, connection, (body, event == b"subscribed"), emit) {
                    quarantine.add(&mut markets.counters, error, emit);
                }
            }
            b"clock_stepped" => {
                Self::tell(StatusKind::ClockStepped, connection, emit);
                self.step_clock(step_ns, emit.ts_recv);
            }
            _ => {}
        }
    }

    /// What was over by a clock that was ahead is not, and everything that waited for it to be reached again goes on.
    fn step_clock(&mut self, step_ns: Option<i64>, ts_recv: i64) {
        self.health.step_clock(step_ns);
        if ts_recv < self.clock {
            (self.clock, self.closed_for) = (i64::MIN, i64::MIN);
            self.markets.step_clock_back(ts_recv);
        }
    }

    fn on_disconnect<S: RecordSink>(&mut self, connection: u32, emit: &mut Emitter<'_, S>) {
        self.connections.close(connection);
        Self::tell(StatusKind::Disconnected, connection, emit);
        match &mut self.dialect {
            Dialect::Binance(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            Dialect::Kraken(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            Dialect::KrakenV1(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            Dialect::Coinbase(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            Dialect::CoinbaseAdvanced(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            Dialect::Bitstamp(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            Dialect::Lobster(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            Dialect::Itch(feed) => feed.on_disconnect(&mut self.markets, connection, emit),
            // Nobody connects to it.
            Dialect::Local(_) => {}
        }
    }

    fn tell<S: RecordSink>(kind: StatusKind, connection: u32, emit: &mut Emitter<'_, S>) {
        emit.status(0, 0, StatusRecord { found: connection.into(), ..StatusRecord::of(kind) });
    }

    /// What was counted.
    pub const fn counters(&self) -> &Counters {
        &self.markets.counters
    }

    /// Independent checks so far.
    pub const fn oracles(&self) -> &Oracles {
        &self.markets.oracles
    }

    /// The first frames set aside; `counters().malformed` counts all.
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantine.0
    }

    /// Ids and venue symbols of all instruments, in the order of their first appearance.
    pub fn instruments(&self) -> impl Iterator<Item = (InstrumentId, &[u8])> {
        self.markets.all().iter().map(|market| (market.id, &market.symbol[..]))
    }

    /// Ids of all instruments that are defined, with the decimals of their prices and sizes.
    pub fn exponents(&self) -> impl Iterator<Item = (InstrumentId, u8, u8)> {
        let defined = self.markets.all().iter().filter(|market| market.version > 0);
        defined.map(|market| (market.id, market.price_exp, market.size_exp))
    }

    /// The book of an instrument, whatever its state.
    pub fn book(&self, id: InstrumentId) -> Option<BookView<'_>> {
        let market = self.markets.all().get(id.index()).filter(|market| market.id == id)?;
        Some(BookView {
            book: &market.book,
            usable: market.state.is_usable(),
            unproven: market.state.flag() != 0,
            venue_sequence: market.venue_sequence,
        })
    }

    /// Fills `image` with the best levels of a book; false when the instrument is not known.
    pub fn fill_image(&self, id: InstrumentId, image: &mut BookImage) -> bool {
        self.markets.fill_image(id, image)
    }

    /// Calls `each` with every instrument whose book changed since the last call, and the message that changed it last.
    pub fn drain_dirty(&mut self, each: impl FnMut(u64, InstrumentId)) {
        self.markets.drain_dirty(each);
    }

    /// A number of all that is kept from one message to the next: engines that share it, up to 64-bit collisions, write the
    /// same records for the same messages. The same on every machine; not stored, another version may give another. Reads
    /// all books.
    pub fn state_hash(&self) -> u64 {
        // Frames set aside are remembered for a report only.
        let Self { markets, dialect, quarantine: _, connections, health, timers_seen, clock, closed_for } = self;
        let mut state = StateHasher::default();
        (markets, connections, health, timers_seen, clock, closed_for).hash(&mut state);
        match dialect {
            Dialect::Binance(feed) => feed.hash(&mut state),
            Dialect::Kraken(feed) => feed.hash(&mut state),
            Dialect::KrakenV1(feed) => feed.hash(&mut state),
            Dialect::Coinbase(feed) => feed.hash(&mut state),
            Dialect::CoinbaseAdvanced(feed) => feed.hash(&mut state),
            Dialect::Bitstamp(feed) => feed.hash(&mut state),
            Dialect::Lobster(feed) => feed.hash(&mut state),
            Dialect::Itch(feed) => feed.hash(&mut state),
            Dialect::Local(feed) => feed.hash(&mut state),
        }
        state.finish()
    }
}

/// A book with what may be said of it.
#[derive(Debug, Clone, Copy)]
pub struct BookView<'a> {
    /// The levels. They mean nothing while the book is not usable.
    pub book: &'a tidebook_book::DepthBook,
    /// Whether the book may be used: false from a gap to the next snapshot, and while an oracle disagrees.
    pub usable: bool,
    /// An oracle disagreed since the last snapshot: see `FLAG_UNPROVEN`.
    pub unproven: bool,
    /// The venue's sequence of the book; 0 where it sends none.
    pub venue_sequence: u64,
}

/// Values of the keys `event` and `step_ns` of a state message.
fn event(body: &[u8]) -> Result<(&[u8], Option<i64>), ScanError> {
    let mut scanner = Scanner::new(body);
    let (mut event, mut step_ns) = (None, None);
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        if key == b"event" {
            event = Some(scanner.string()?);
        } else if key == b"step_ns" {
            step_ns = std::str::from_utf8(scanner.skip()?).ok().and_then(|text| text.parse().ok());
        } else {
            scanner.skip()?;
        }
    }
    scanner.end()?;
    let event = event.ok_or(ScanError { offset: body.len(), expected: "`event`" })?;
    Ok((event, step_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_saved_states_are_kept_once_and_not_without_bound() {
        let mut kept = BTreeSet::new();
        for number in 0..2 * TOLD_COUNT_MAX {
            let text = format!("a number from {number}");
            let first = told(&mut kept, &text);
            assert_eq!(first == text, number < TOLD_COUNT_MAX, "{first}");
            assert!(std::ptr::eq(first, told(&mut kept, &text)));
        }
        assert_eq!(kept.len(), TOLD_COUNT_MAX);
    }
}
