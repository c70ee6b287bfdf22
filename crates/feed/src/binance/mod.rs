//! The dialects of Binance spot, its USD-M and COIN-M futures, and Binance.US.
//!
//! [`decode`] turns bytes into frames, [`sync`] holds the rule by which a snapshot and a stream of changes become a
//! book, [`ticker`] the comparison with the venue's own best prices, and [`listing`] reads the steps of prices and sizes.
//! What differs between the venues is data in [`rules`]. This file puts them together: one message in, records out.

mod decode;
mod listing;
mod rules;
mod sync;
mod ticker;

use std::hash::{Hash, Hasher};

use tidebook_types::{Exponent, Venue};

use crate::engine::Quarantine;
use crate::exponents::{PRECISION_ROUNDS_MAX, change_exponent, unfit};
use crate::failure::Failure;
use crate::market::{BookState, Emitter, Markets, StatusRecord, Steps};
use crate::oracles::Oracle;
use crate::saved::saved;
use crate::scan::{ScanError, Scanner, Unknown};
use crate::sink::{RecordSink, Stage};
use crate::status::StatusKind;
use decode::{Decoder, Frame, depth_symbol};
use listing::{Listed, Listing, is_listing, listed};
use rules::Rules;
use sync::Sync;

/// State of a dialect.
#[derive(Debug)]
pub(crate) struct BinanceFeed {
    rules: Rules,
    decoder: Decoder,
    listing: Listing,
    /// By index of the instrument.
    syncs: Vec<Sync>,
}

saved!(BinanceFeed { rules, listing, syncs } without { decoder: Decoder::new(rules.chain) });

impl Hash for BinanceFeed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The decoder holds nothing from one message to the next.
        let Self { rules, decoder: _, listing, syncs } = self;
        (rules, listing, syncs).hash(state);
    }
}

impl BinanceFeed {
    pub(crate) fn new(venue: Venue) -> Self {
        let rules = Rules::of(venue);
        Self { rules, decoder: Decoder::new(rules.chain), listing: Listing::default(), syncs: Vec::new() }
    }

    /// A WebSocket frame.
    #[inline]
    pub(crate) fn on_ws<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        let Some(frame) = self.decode(markets, quarantine, body, None, emit) else { return };
        emit.reached(Stage::Decoded, 0);
        match frame {
            Frame::Depth { symbol, ts_event, previous, first, last } => {
                let Some(index) = self.market(markets, symbol, emit) else { return };
                markets.get(index).connection = connection;
                let Decoder { bids, asks, .. } = &self.decoder;
                let change = sync::Change { ts_event, previous, first, last, bids, asks };
                self.syncs[index].on_change(markets, index, &change, emit);
            }
            Frame::Trade { symbol, print } => {
                let Some(index) = self.market(markets, symbol, emit) else { return };
                markets.take_trade(index, &print, Oracle::BinanceTradeIds, emit);
            }
            Frame::BookTicker { symbol, ts_event, update_id, top } => {
                let Some(index) = self.market(markets, symbol, emit) else { return };
                if self.syncs[index].on_ticker(markets, index, ts_event, (update_id, top), emit) {
                    markets.counters.quotes += 1;
                    markets.emit_quote(index, ts_event, top, update_id, 0, emit);
                } else {
                    markets.counters.duplicates += 1;
                }
            }
            Frame::AggTrade => markets.counters.agg_trades += 1,
            Frame::Acknowledged => markets.counters.acknowledged += 1,
            Frame::Refused { code } => {
                markets.counters.refused += 1;
                emit.status(0, 0, StatusRecord { found: code, ..StatusRecord::of(StatusKind::Refused) });
            }
            Frame::Shutdown { ts_event } => emit.status(0, ts_event, StatusRecord::of(StatusKind::VenueShutdown)),
            // A REST answer only; a frame never is one.
            Frame::Snapshot { .. } | Frame::Unknown => markets.counters.unknown += 1,
        }
    }

    /// A REST answer, asked for during session `connection` (0: outside of any).
    pub(crate) fn on_rest<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        connection: u32,
        target: &[u8],
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        if is_listing(target) {
            return self.on_listing(markets, quarantine, body, emit);
        }
        let Some(symbol) = depth_symbol(target) else {
            markets.counters.unknown += 1;
            return;
        };
        let malformed = markets.counters.malformed;
        match self.decode(markets, quarantine, body, Some(symbol), emit) {
            Some(Frame::Snapshot { ts_event, last_update_id }) => {
                let Some(index) = self.market(markets, symbol, emit) else { return };
                if self.syncs[index].refuse_unfed(markets, index, emit) {
                    return;
                }
                // An answer that comes late may be of a session before the one that feeds the book.
                let fed_by = &mut markets.get(index).connection;
                *fed_by = connection.max(*fed_by);
                let Decoder { bids, asks, .. } = &self.decoder;
                self.syncs[index].on_snapshot(markets, index, ts_event, (last_update_id, bids, asks), emit);
            }
            other => {
                // The snapshot did not come: the connector must ask again.
                if other.is_some() {
                    markets.counters.refused += 1;
                }
                let damaged = markets.counters.malformed > malformed;
                let reason = if damaged { StatusKind::Malformed } else { StatusKind::Refused };
                if let Some(index) = markets.find(symbol)
                    && !self.syncs.get(index).is_some_and(|sync| sync.refuse_unfed(markets, index, emit))
                {
                    let status = StatusRecord::because(StatusKind::SnapshotRefused, reason);
                    markets.refuse_snapshot(index, status, emit);
                }
            }
        }
    }

    /// An exchangeInfo answer. Only an answer that is whole says anything.
    fn on_listing<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        let (mut all, mut unknown) = (Vec::new(), Unknown::default());
        match listed(body, &mut unknown, |symbol| all.push(symbol)) {
            Ok(true) => {
                markets.counters.acknowledged += 1;
                markets.counters.note(unknown);
            }
            Ok(false) => {
                markets.counters.refused += 1;
                emit.status(0, 0, StatusRecord::of(StatusKind::Refused));
            }
            Err(error) => return quarantine.add(&mut markets.counters, error, emit),
        }
        for Listed { symbol, tick, lot } in all {
            let Some(steps) = Steps::parse(tick, lot).filter(|_| self.listing.has_room(symbol)) else {
                markets.counters.instruments_refused += 1;
                continue;
            };
            self.listing.insert(symbol, steps);
            let Some(index) = markets.find(symbol).filter(|&index| markets.get(index).version > 0) else { continue };
            let market = markets.get(index);
            let exponents = (market.price_exp, market.size_exp);
            if steps.widened(exponents) != exponents {
                markets.set_exponents(index, steps.widened(exponents), emit);
                self.syncs[index].rescale();
            }
            markets.set_steps(index, steps, emit);
        }
    }

    /// Session `connection` carries these streams from here on, or no more. The venue's answers name none, so this is what
    /// the connector noted: a book without its diff stream waits, and is not to be made anew.
    pub(crate) fn on_streams<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        (body, subscribed): (&[u8], bool),
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        for stream in streams(body)? {
            let Some(symbol) = diff_symbol(stream) else { continue };
            let Some(index) = markets.find(&symbol.to_ascii_uppercase()).filter(|&index| index < self.syncs.len())
            else {
                continue;
            };
            if subscribed {
                self.syncs[index].on_subscribed();
            } else if [0, connection].contains(&markets.get(index).connection) {
                markets.get(index).connection = 0;
                self.syncs[index].on_unsubscribed(markets, index, emit);
            }
        }
        Ok(())
    }

    /// Books fed by `connection` wait for a snapshot.
    pub(crate) fn on_disconnect<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        for index in 0..self.syncs.len() {
            if markets.get(index).connection == connection {
                markets.get(index).connection = 0;
                self.syncs[index].restart();
                if markets.get(index).state != BookState::Waiting {
                    markets.lose_book(index, StatusKind::Disconnected, 0, true, emit);
                }
            }
        }
    }

    /// Index of the instrument, announced if it is new.
    #[inline]
    fn market<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        symbol: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Option<usize> {
        let index = markets.find_or_open(symbol)?;
        if markets.get(index).version == 0 {
            markets.set_steps(index, self.listing.get(symbol), emit);
            markets.set_exponents(index, first_exponents(self.rules, &self.listing, symbol), emit);
        }
        if index >= self.syncs.len() {
            self.syncs.resize_with(index + 1, || Sync::new(self.rules));
        }
        Some(index)
    }

    /// Decodes, changes exponents if a number asks for it, sets a frame aside that cannot be decoded.
    #[inline]
    fn decode<'a, S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        body: &'a [u8],
        rest_symbol: Option<&'a [u8]>,
        emit: &mut Emitter<'_, S>,
    ) -> Option<Frame<'a>> {
        for round in 0.. {
            let Self { rules, decoder, listing, .. } = self;
            let exponents = |symbol: &[u8]| {
                markets.exponents_in_force(symbol).unwrap_or_else(|| first_exponents(*rules, listing, symbol))
            };
            match decoder.decode(body, rest_symbol, exponents) {
                Ok(frame) => {
                    // Frames that are not decoded have fields that are not looked for.
                    if let Frame::Depth { .. }
                    | Frame::Trade { .. }
                    | Frame::BookTicker { .. }
                    | Frame::Snapshot { .. } = frame
                    {
                        markets.counters.note(decoder.unknown);
                    }
                    return Some(frame);
                }
                Err(Failure::Malformed(error)) => {
                    quarantine.add(&mut markets.counters, error, emit);
                    return None;
                }
                Err(Failure::Precision { symbol, quantity, exponent }) if round < PRECISION_ROUNDS_MAX => {
                    let index = self.market(markets, symbol, emit)?;
                    change_exponent(markets, index, quantity, exponent, emit);
                    self.syncs[index].rescale();
                }
                Err(Failure::Precision { .. }) => {
                    quarantine.add(&mut markets.counters, unfit(0), emit);
                    return None;
                }
            }
        }
        None
    }
}

/// Exponents that an instrument begins with: the venue's usual ones, or finer where its listed steps need them.
#[cold]
fn first_exponents(rules: Rules, listing: &Listing, symbol: &[u8]) -> (Exponent, Exponent) {
    listing.get(symbol).widened(rules.exponents)
}

/// Names in the `streams` of a state message.
fn streams(body: &[u8]) -> Result<Vec<&[u8]>, ScanError> {
    let mut scanner = Scanner::new(body);
    let (mut names, mut first) = (Vec::new(), true);
    scanner.expect(b'{', "an object")?;
    while let Some(key) = scanner.key(&mut first)? {
        if key != b"streams" {
            scanner.skip()?;
            continue;
        }
        scanner.expect(b'[', "a list of streams")?;
        let mut first = true;
        while scanner.element(&mut first)? {
            names.push(scanner.string()?);
        }
    }
    Ok(names)
}

/// The symbol, in lower case, of a stream that books are made of: `btcusdt@depth@100ms`.
fn diff_symbol(stream: &[u8]) -> Option<&[u8]> {
    let at = stream.iter().position(|&byte| byte == b'@')?;
    let rest = stream[at..].strip_prefix(b"@depth")?;
    (rest.is_empty() || rest[0] == b'@').then(|| &stream[..at])
}
