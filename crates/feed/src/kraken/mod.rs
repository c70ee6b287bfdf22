//! The dialect of Kraken spot, WebSocket v2 and public REST.
//!
//! There are no sequence numbers: after a snapshot every update is applied, the book is cut to the subscribed depth, and
//! the venue's CRC32 over the ten best levels a side must come out. A message is published only when it does; when it
//! does not, the book waits for the snapshot of a new subscription. Levels below the tenth are covered by nothing until
//! they rise. The ticker carries no number and no checksum and is sent beside the book, so that it is a quote and no
//! oracle: what it could find, the checksum has found.

pub(crate) mod book;
mod checksum;
pub(crate) mod decode;
pub(crate) mod pairs;
pub(crate) mod rest;
pub(crate) mod symbol;

use std::hash::{Hash, Hasher};

use tidebook_book::Side;
use tidebook_types::Exponent;
use tidebook_types::records::{FLAG_SNAPSHOT, FLAG_UNPROVEN};

use crate::engine::Quarantine;
use crate::exponents::{PRECISION_ROUNDS_MAX, change_exponent, unfit};
use crate::failure::Failure;
use crate::market::{BookState, Emitter, Markets, Print, StatusRecord, is_best_first};
use crate::oracles::Oracle;
use crate::saved::saved;
use crate::scan::{ScanError, Scanner, Unknown};
use crate::sink::{RecordSink, Stage};
use crate::status::StatusKind;
use book::{Cut, DEPTHS, check};
use decode::{BookEntry, Decoder, Frame, TickerEntry, TradeEntry, ticker_entry, trade_entry};
use pairs::Pairs;
use rest::{Request, VenueBar};

/// Venue bars that wait for ours, an instrument: a day of minutes.
const VENUE_BARS_MAX: usize = 1_440;

/// What one instrument needs beside its market.
#[derive(Debug, Default, Hash)]
struct Subscription {
    /// Levels a side, as acknowledged.
    depth: Option<usize>,
    /// Bars of the venue not compared yet, rising.
    venue_bars: Vec<VenueBar>,
    /// An OHLC answer that came before the instrument's exponents were known.
    ohlc: Option<Box<[u8]>>,
}

saved!(Subscription { depth, venue_bars, ohlc });

/// State of the dialect.
#[derive(Debug, Default)]
pub(crate) struct KrakenFeed {
    decoder: Decoder,
    /// By index of the instrument.
    subscriptions: Vec<Subscription>,
    pairs: Pairs,
    cut: Cut,
    /// Trades of the message at hand.
    trades: Vec<(usize, u32, Print)>,
}

saved!(KrakenFeed { subscriptions, pairs } without {
    decoder: Decoder::default(), cut: Cut::default(), trades: Vec::new(),
});

impl Hash for KrakenFeed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The others hold nothing from one message to the next.
        let Self { decoder: _, subscriptions, pairs, cut: _, trades: _ } = self;
        (subscriptions, pairs).hash(state);
    }
}

impl KrakenFeed {
    /// A WebSocket frame.
    pub(crate) fn on_ws<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        let mut unknown = Unknown::default();
        let frame = decode::frame(body, &mut unknown);
        // Frames that are not decoded have fields that are not looked for.
        let decoded = matches!(frame, Ok(Frame::Book { .. } | Frame::Trades { .. } | Frame::Tickers { .. }));
        let result = match frame {
            Ok(Frame::Book { snapshot, data }) => entries(body, data, |scanner| {
                self.on_book_entry(markets, (connection, snapshot), scanner, &mut unknown, emit)
            }),
            Ok(Frame::Trades { snapshot, data }) => {
                let flags = if snapshot { FLAG_SNAPSHOT } else { 0 };
                let result = self.read_trades(markets, (body, data), flags, &mut unknown, emit);
                // A snapshot's trades come in no promised order.
                self.trades.sort_by_key(|&(index, _, print)| (index, print.trade_id));
                for (index, _, print) in self.trades.drain(..) {
                    markets.take_trade(index, &print, Oracle::KrakenTradeIds, emit);
                }
                result
            }
            Ok(Frame::Tickers { snapshot, data }) => {
                let flags = if snapshot { FLAG_SNAPSHOT } else { 0 };
                entries(body, data, |scanner| self.on_ticker_entry(markets, flags, scanner, &mut unknown, emit))
            }
            Ok(Frame::Subscribed { symbol, is_book, depth }) => {
                markets.counters.acknowledged += 1;
                if let (true, Some(depth)) = (is_book, depth)
                    && let Some(index) = self.market(markets, symbol, emit)
                {
                    self.subscriptions[index].depth = usize::try_from(depth).ok();
                }
                Ok(())
            }
            Ok(Frame::Unsubscribed { symbol, is_book }) => {
                markets.counters.acknowledged += 1;
                if let (true, Some(index)) = (is_book, markets.find(symbol)) {
                    markets.lose_book(index, StatusKind::Unsubscribed, 0, false, emit);
                }
                Ok(())
            }
            Ok(Frame::Refused { symbol }) => {
                markets.counters.refused += 1;
                let id = markets.find(symbol).map_or(0, |index| markets.get(index).id.get());
                emit.status(id, 0, StatusRecord::of(StatusKind::Refused));
                Ok(())
            }
            Ok(Frame::Heartbeat) => {
                markets.counters.heartbeats += 1;
                Ok(())
            }
            Ok(Frame::Acknowledged | Frame::Other) => {
                markets.counters.acknowledged += 1;
                Ok(())
            }
            Ok(Frame::Unknown) => {
                markets.counters.unknown += 1;
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            quarantine.add(&mut markets.counters, error, emit);
            markets.want_again_after_damage(emit);
            book::lose_books(markets, connection, StatusKind::Malformed, emit);
        } else if decoded {
            markets.counters.note(unknown);
        }
        self.compare_bars(markets);
    }

    /// A REST answer.
    pub(crate) fn on_rest<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        target: &[u8],
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        let request = Request::of(target);
        if request == Request::Other {
            markets.counters.unknown += 1;
            return;
        }
        if request == Request::AssetPairs {
            if let Err(error) = self.pairs.on_answer(markets, body, emit) {
                quarantine.add(&mut markets.counters, error, emit);
            }
            return;
        }
        let result = match rest::rows(body) {
            Ok(Some((pair, place))) => {
                let symbol = symbol::normal(&String::from_utf8_lossy(pair));
                match (self.market(markets, symbol.as_bytes(), emit), request) {
                    (Some(index), Request::Trades) => self.on_rest_trades(markets, index, (body, place), emit),
                    (Some(index), Request::Ohlc { interval_min: 1 }) => {
                        self.subscriptions[index].ohlc = Some(body.into());
                        Ok(())
                    }
                    _ => {
                        markets.counters.unknown += 1;
                        Ok(())
                    }
                }
            }
            Ok(None) => {
                markets.counters.refused += 1;
                emit.status(0, 0, StatusRecord::of(StatusKind::Refused));
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            quarantine.add(&mut markets.counters, error, emit);
        }
        self.compare_bars(markets);
    }

    /// Books fed by `connection` wait for a snapshot.
    pub(crate) fn on_disconnect<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        book::lose_books(markets, connection, StatusKind::Disconnected, emit);
    }

    fn market<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        symbol: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Option<usize> {
        let index = markets.find_or_open(symbol)?;
        if index >= self.subscriptions.len() {
            self.subscriptions.resize_with(index + 1, Subscription::default);
            self.pairs.tell(markets, index, emit);
        }
        Some(index)
    }

    fn on_book_entry<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        (connection, snapshot): (u32, bool),
        scanner: &mut Scanner<'_>,
        unknown: &mut Unknown,
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        // A snapshot is scaled by what it prints.
        let in_force = |symbol: &[u8]| if snapshot { None } else { markets.exponents_in_force(symbol) };
        let entry = match self.decoder.book_entry(scanner, unknown, in_force) {
            Ok(entry) => entry,
            Err(Failure::Malformed(error)) => return Err(error),
            Err(Failure::Precision { symbol, quantity, exponent }) => {
                // The book's digits have changed: nothing but a snapshot can be checked any more.
                let Some(index) = self.market(markets, symbol, emit).filter(|_| !snapshot) else {
                    return Err(scanner.error("numbers that fit 64 bits"));
                };
                change_exponent(markets, index, quantity, exponent, emit);
                return Ok(());
            }
        };
        emit.reached(Stage::Decoded, 0);
        let Some(index) = self.market(markets, entry.symbol, emit) else { return Ok(()) };
        if snapshot {
            markets.set_exponents(index, self.decoder.exponents, emit);
            self.on_snapshot(markets, index, connection, entry, emit);
            return Ok(());
        }
        let market = markets.get(index);
        if market.state == BookState::Waiting {
            let unknown = market.version == 0;
            markets.counters.updates_unused += 1;
            if unknown {
                markets.set_exponents(index, self.decoder.exponents, emit);
                markets.want_snapshot(index, StatusKind::Started, entry.ts_event, emit);
            }
            markets.remind(index, StatusKind::Started, entry.ts_event, emit);
            return Ok(());
        }
        if market.connection != connection {
            markets.lose_book(index, StatusKind::ConnectionChanged, entry.ts_event, true, emit);
            return Ok(());
        }
        let Decoder { bids, asks, .. } = &self.decoder;
        book::apply(&mut market.book, bids, asks);
        let depth = self.subscriptions[index].depth.unwrap_or(DEPTHS[0]);
        self.cut.truncate(&mut market.book, depth);
        if !check(markets, index, entry.ts_event, entry.checksum, Oracle::KrakenBookChecksum, emit) {
            markets.counters.gaps += 1;
            markets.lose_book(index, StatusKind::ChecksumMismatch, entry.ts_event, true, emit);
            return Ok(());
        }
        let changes =
            [(Side::Bid, &bids[..]), (Side::Ask, &asks[..]), (Side::Bid, &self.cut.bids), (Side::Ask, &self.cut.asks)];
        markets.emit_depth(index, entry.ts_event, false, changes, emit);
        Ok(())
    }

    fn on_snapshot<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        connection: u32,
        entry: BookEntry<'_>,
        emit: &mut Emitter<'_, S>,
    ) {
        let Decoder { bids, asks, .. } = &self.decoder;
        let levels = bids.len().max(asks.len());
        let depth = &mut self.subscriptions[index].depth;
        if depth.is_none() {
            // The smallest that holds it.
            *depth = DEPTHS.into_iter().find(|&depth| depth >= levels);
        }
        let market = markets.get(index);
        market.connection = connection;
        market.book.clear();
        book::apply(&mut market.book, bids, asks);
        let reason = if !check(markets, index, entry.ts_event, entry.checksum, Oracle::KrakenBookChecksum, emit) {
            Some(StatusKind::ChecksumMismatch)
        } else if !is_best_first(bids, asks) {
            Some(StatusKind::OutOfOrder)
        } else {
            None
        };
        if let Some(reason) = reason {
            markets.lose_book(index, reason, entry.ts_event, false, emit);
            let status = StatusRecord::because(StatusKind::SnapshotRefused, reason);
            markets.refuse_snapshot(index, status, emit);
            return;
        }
        markets.snapshot_applied(index, bids.len() + asks.len(), entry.ts_event, emit);
        let changes = [(Side::Bid, &bids[..]), (Side::Ask, &asks[..]), (Side::Bid, &[]), (Side::Ask, &[])];
        markets.emit_depth(index, entry.ts_event, true, changes, emit);
    }

    /// All trades of a message into `trades`, in the exponents that are in force when it has been read: an entry that
    /// needs others makes those before it be read again.
    fn read_trades<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        (body, data): (&[u8], usize),
        flags: u8,
        unknown: &mut Unknown,
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let before = *unknown;
        for _ in 0..PRECISION_ROUNDS_MAX {
            self.trades.clear();
            *unknown = before;
            let result = entries(body, data, |scanner| self.on_trade_entry(markets, flags, scanner, unknown, emit));
            if self.trades.iter().all(|&(index, version, _)| markets.get(index).version == version) {
                return result;
            }
        }
        self.trades.clear();
        Err(unfit(data))
    }

    fn on_trade_entry<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        flags: u8,
        scanner: &mut Scanner<'_>,
        unknown: &mut Unknown,
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let (start, before) = (scanner.position(), *unknown);
        for _ in 0..PRECISION_ROUNDS_MAX {
            scanner.seek(start);
            *unknown = before;
            match trade_entry(scanner, unknown, |symbol, printed| markets.exponents(symbol, printed)) {
                Ok(TradeEntry { symbol, print, exponents }) => {
                    if let Some(index) = self.market(markets, symbol, emit) {
                        markets.set_exponents(index, exponents, emit);
                        let version = markets.get(index).version;
                        self.trades.push((index, version, Print { flags, ..print }));
                    }
                    return Ok(());
                }
                Err(Failure::Malformed(error)) => return Err(error),
                Err(Failure::Precision { symbol, quantity, exponent }) => {
                    let Some(index) = self.market(markets, symbol, emit) else { return Ok(()) };
                    change_exponent(markets, index, quantity, exponent, emit);
                }
            }
        }
        Err(unfit(scanner.position()))
    }

    fn on_ticker_entry<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        flags: u8,
        scanner: &mut Scanner<'_>,
        unknown: &mut Unknown,
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let (start, before) = (scanner.position(), *unknown);
        for _ in 0..PRECISION_ROUNDS_MAX {
            scanner.seek(start);
            *unknown = before;
            let exponents = |symbol: &[u8], printed: (Exponent, Exponent)| {
                let pair = self.pairs.get(symbol).map_or((0, 0), |pair| (pair.price_decimals, pair.size_decimals));
                markets.exponents(symbol, (printed.0.max(pair.0), printed.1.max(pair.1)))
            };
            match ticker_entry(scanner, unknown, exponents) {
                Ok(TickerEntry { symbol, ts_event, top, exponents }) => {
                    let Some(index) = self.market(markets, symbol, emit) else { return Ok(()) };
                    let Some(top) = top else {
                        markets.counters.quotes_unfit += 1;
                        return Ok(());
                    };
                    markets.set_exponents(index, exponents, emit);
                    markets.counters.quotes += 1;
                    markets.emit_quote(index, ts_event, top, 0, flags, emit);
                    if flags & FLAG_SNAPSHOT == 0 {
                        markets.hold_against_ticker(index, ts_event, (top, 0), emit);
                    }
                    return Ok(());
                }
                Err(Failure::Malformed(error)) => return Err(error),
                Err(Failure::Precision { symbol, quantity, exponent }) => {
                    let Some(index) = self.market(markets, symbol, emit) else { return Ok(()) };
                    if markets.get(index).state != BookState::Waiting {
                        // Other exponents would cost the book, whose next snapshot would bring back its own.
                        markets.counters.quotes_unfit += 1;
                        return Ok(());
                    }
                    change_exponent(markets, index, quantity, exponent, emit);
                }
            }
        }
        Err(unfit(scanner.position()))
    }

    fn on_rest_trades<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        (body, place): (&[u8], usize),
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let symbol = markets.get(index).symbol.clone();
        let read = (0..PRECISION_ROUNDS_MAX).find_map(|_| {
            let exponents = |printed| markets.exponents(&symbol, printed);
            match rest::trades(body, place, &symbol, exponents) {
                Ok(read) => Some(Ok(read)),
                Err(Failure::Malformed(error)) => Some(Err(error)),
                Err(Failure::Precision { quantity, exponent, .. }) => {
                    change_exponent(markets, index, quantity, exponent, emit);
                    None
                }
            }
        });
        let (prints, exponents) = read.unwrap_or(Err(unfit(place)))?;
        markets.set_exponents(index, exponents, emit);
        let known = markets.get(index).trade_ids.last();
        for print in &prints {
            // Trades at or before the last one were seen or reported missing; an answer overlaps what it continues.
            if known.is_some_and(|known| print.trade_id <= known) {
                markets.counters.duplicates += 1;
                continue;
            }
            markets.close_bars(index, print.ts_event, true, emit);
            markets.take_trade(index, print, Oracle::KrakenTradeIds, emit);
        }
        Ok(())
    }

    /// Compares the venue's bars with those of ours that have closed and are known to be whole.
    fn compare_bars(&mut self, markets: &mut Markets) {
        for index in 0..self.subscriptions.len() {
            let Subscription { venue_bars, ohlc, .. } = &mut self.subscriptions[index];
            let market = markets.get(index);
            if market.version > 0
                && let Some(body) = ohlc.take()
            {
                let exponents = (market.price_exp, market.size_exp);
                let rows = rest::rows(&body).ok().flatten();
                let read = rows.and_then(|(pair, place)| rest::bars(&body, place, pair, exponents).ok());
                match read {
                    Some(bars) => venue_bars.extend(bars),
                    None => markets.counters.unknown += 1,
                }
                venue_bars.sort_by_key(|bar| bar.ts_open);
                let excess = venue_bars.len().saturating_sub(VENUE_BARS_MAX);
                venue_bars.drain(..excess);
            }
            if venue_bars.is_empty() {
                continue;
            }
            venue_bars.retain(|venue| {
                let Some(&ours) = markets.get(index).bars.closed_minute(venue.ts_open) else { return true };
                if venue.trade_count > 0 && ours.flags & FLAG_UNPROVEN == 0 {
                    markets.oracles.count(Oracle::KrakenOhlc, venue.equals(&ours));
                }
                false
            });
        }
    }
}

/// Calls `each` at every entry of the array at `data`, which steps behind it.
fn entries<'a>(
    body: &'a [u8],
    data: usize,
    mut each: impl FnMut(&mut Scanner<'a>) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let mut scanner = Scanner::new(body);
    scanner.seek(data);
    scanner.expect(b'[', "an array in `data`")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        each(&mut scanner)?;
    }
    Ok(())
}
