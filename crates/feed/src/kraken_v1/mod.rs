//! The dialect of Kraken spot, WebSocket v1: array messages. The venue keeps it running and frozen beside v2.
//!
//! The book's rule is v2's, with one difference: a snapshot carries no checksum. It is therefore held until the first
//! update's checksum proves both together, and only then does the book become usable; a pair that does not trade waits
//! that long. Trades carry no ids, so nothing tells a lost or repeated one.

mod decode;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use tidebook_book::Side;
use tidebook_types::Exponent;

use crate::engine::Quarantine;
use crate::exponents::{self, PRECISION_ROUNDS_MAX, unfit};
use crate::failure::{Failure, Quantity};
use crate::kraken::book::{self, Cut, check};
use crate::kraken::pairs::Pairs;
use crate::kraken::rest::Request;
use crate::kraken::symbol;
use crate::market::{BookState, Emitter, Markets, Print, StatusRecord, SymbolHasher, is_best_first};
use crate::oracles::Oracle;
use crate::saved::saved;
use crate::scan::{ScanError, Unknown};
use crate::sink::{RecordSink, Stage};
use crate::status::StatusKind;
use decode::{BookMessage, Decoder, Frame};

/// State of the dialect.
#[derive(Debug, Default)]
pub(crate) struct KrakenV1Feed {
    decoder: Decoder,
    pairs: Pairs,
    /// Index of the instrument by the pair as the wire names it (`XBT/USD`). Looked up, never walked.
    by_pair: HashMap<Box<[u8]>, usize, BuildHasherDefault<SymbolHasher>>,
    /// By index of the instrument: whether its book holds a snapshot that no checksum has proven yet.
    held: Vec<bool>,
    cut: Cut,
    /// Trades of the message at hand.
    prints: Vec<Print>,
}

// Which instrument a pair is of is found again when the pair comes.
saved!(KrakenV1Feed { pairs, held } without {
    decoder: Decoder::default(), by_pair: HashMap::default(), cut: Cut::default(), prints: Vec::new(),
});

impl Hash for KrakenV1Feed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Which instrument a pair is of follows from their names; the others hold nothing from one message to the next.
        let Self { decoder: _, pairs, by_pair: _, held, cut: _, prints: _ } = self;
        (pairs, held).hash(state);
    }
}

impl KrakenV1Feed {
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
        let result = decode::frame(body, &mut unknown)
            .and_then(|frame| self.on_frame(markets, (connection, body), frame, &mut unknown, emit));
        if let Err(error) = result {
            quarantine.add(&mut markets.counters, error, emit);
            markets.want_again_after_damage(emit);
            self.lose_books(markets, connection, StatusKind::Malformed, emit);
        }
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
        if Request::of(target) != Request::AssetPairs {
            markets.counters.unknown += 1;
        } else if let Err(error) = self.pairs.on_answer(markets, body, emit) {
            quarantine.add(&mut markets.counters, error, emit);
        }
    }

    /// Books fed by `connection` wait for a snapshot.
    pub(crate) fn on_disconnect<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        self.lose_books(markets, connection, StatusKind::Disconnected, emit);
    }

    fn on_frame<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        (connection, body): (u32, &[u8]),
        frame: Frame<'_>,
        unknown: &mut Unknown,
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        // Frames that are not decoded have fields that are not looked for.
        let decoded = matches!(frame, Frame::Book { .. } | Frame::Trades { .. } | Frame::Ticker { .. });
        match frame {
            Frame::Book { depth, pair, places } => {
                let Some(index) = self.market(markets, pair, emit) else { return Ok(()) };
                let market = markets.get(index);
                let known = (market.version > 0).then_some((market.price_exp, market.size_exp));
                match self.decoder.book(body, pair, places, known, unknown) {
                    Ok(message) => {
                        emit.reached(Stage::Decoded, 0);
                        match message.checksum {
                            None => self.on_snapshot(markets, index, connection, message.ts_event, emit),
                            Some(checksum) => {
                                self.on_update(markets, index, connection, depth, message, checksum, emit)
                            }
                        }
                    }
                    Err(Failure::Malformed(error)) => return Err(error),
                    // The book's digits have changed: nothing but a snapshot can be checked any more.
                    Err(Failure::Precision { quantity, exponent, .. }) if known.is_some() => {
                        self.change_exponent(markets, index, quantity, exponent, emit);
                    }
                    Err(Failure::Precision { .. }) => return Err(unfit(0)),
                }
            }
            Frame::Trades { pair, rows } => {
                let Some(index) = self.market(markets, pair, emit) else { return Ok(()) };
                let mut prints = std::mem::take(&mut self.prints);
                let before = *unknown;
                let read = self.with_exponents(markets, index, emit, |exponents| {
                    *unknown = before;
                    let kept = (&mut prints, &mut *unknown);
                    decode::trades(body, pair, rows, exponents, kept).map(|exponents| ((), exponents))
                });
                if read.is_ok() {
                    for print in &prints {
                        markets.take_trade_unchecked(index, print, emit);
                    }
                }
                self.prints = prints;
                read?;
            }
            Frame::Ticker { pair, at } => {
                let Some(index) = self.market(markets, pair, emit) else { return Ok(()) };
                let before = *unknown;
                let top = self.with_exponents(markets, index, emit, |exponents| {
                    *unknown = before;
                    decode::ticker(body, pair, at, exponents, unknown)
                })?;
                markets.counters.quotes += 1;
                markets.emit_quote(index, 0, top, 0, 0, emit);
            }
            Frame::Heartbeat => markets.counters.heartbeats += 1,
            Frame::Acknowledged | Frame::Other => markets.counters.acknowledged += 1,
            Frame::Unsubscribed { pair, is_book } => {
                markets.counters.acknowledged += 1;
                if let (true, Some(index)) = (is_book, find(markets, pair)) {
                    self.held[index] = false;
                    markets.lose_book(index, StatusKind::Unsubscribed, 0, false, emit);
                }
            }
            Frame::Refused { pair } => {
                markets.counters.refused += 1;
                let id = find(markets, pair).map_or(0, |index| markets.get(index).id.get());
                emit.status(id, 0, StatusRecord::of(StatusKind::Refused));
            }
            Frame::Unknown => markets.counters.unknown += 1,
        }
        if decoded {
            markets.counters.note(*unknown);
        }
        Ok(())
    }

    /// A snapshot becomes the book, which waits for the checksum of an update.
    fn on_snapshot<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        connection: u32,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) {
        let Decoder { bids, asks, exponents, .. } = &self.decoder;
        let market = markets.get(index);
        if market.state != BookState::Waiting {
            let moved = market.connection != connection;
            let reason = if moved { StatusKind::ConnectionChanged } else { StatusKind::Started };
            markets.lose_book(index, reason, ts_event, false, emit);
        }
        markets.set_exponents(index, *exponents, emit);
        let market = markets.get(index);
        market.connection = connection;
        market.book.clear();
        book::apply(&mut market.book, bids, asks);
        self.held[index] = is_best_first(bids, asks);
        if !self.held[index] {
            let status = StatusRecord::because(StatusKind::SnapshotRefused, StatusKind::OutOfOrder);
            markets.refuse_snapshot(index, status, emit);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a fact of the one message")]
    fn on_update<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        connection: u32,
        depth: usize,
        message: BookMessage,
        checksum: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        let BookMessage { ts_event, .. } = message;
        let market = markets.get(index);
        let is_held = self.held[index];
        if market.state == BookState::Waiting && !is_held {
            let unknown = market.version == 0;
            markets.counters.updates_unused += 1;
            if unknown {
                markets.set_exponents(index, self.decoder.exponents, emit);
                markets.want_snapshot(index, StatusKind::Started, ts_event, emit);
            }
            return;
        }
        if market.connection != connection {
            self.held[index] = false;
            markets.lose_book(index, StatusKind::ConnectionChanged, ts_event, true, emit);
            return;
        }
        let Decoder { bids, asks, .. } = &mut self.decoder;
        book::apply(&mut market.book, bids, asks);
        self.cut.truncate(&mut market.book, depth);
        let proven = check(markets, index, ts_event, checksum, Oracle::KrakenV1BookChecksum, emit);
        self.held[index] = false;
        match (is_held, proven) {
            (false, true) => {
                let Cut { bids: cut_bids, asks: cut_asks } = &self.cut;
                let changes =
                    [(Side::Bid, &bids[..]), (Side::Ask, &asks[..]), (Side::Bid, cut_bids), (Side::Ask, cut_asks)];
                markets.emit_depth(index, ts_event, false, changes, emit);
            }
            (true, true) => {
                let book = &markets.get(index).book;
                for (side, levels) in [(Side::Bid, &mut *bids), (Side::Ask, &mut *asks)] {
                    levels.clear();
                    levels.extend(book.levels(side));
                }
                markets.snapshot_applied(index, bids.len() + asks.len(), ts_event, emit);
                let changes = [(Side::Bid, &bids[..]), (Side::Ask, &asks[..]), (Side::Bid, &[]), (Side::Ask, &[])];
                markets.emit_depth(index, ts_event, true, changes, emit);
            }
            (false, false) => {
                markets.counters.gaps += 1;
                markets.lose_book(index, StatusKind::ChecksumMismatch, ts_event, true, emit);
            }
            (true, false) => {
                let status = StatusRecord::because(StatusKind::SnapshotRefused, StatusKind::ChecksumMismatch);
                markets.refuse_snapshot(index, status, emit);
            }
        }
    }

    /// Reads a message at exponents that hold all its numbers: those in force, changed where a number asks for it.
    fn with_exponents<'a, T, S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        emit: &mut Emitter<'_, S>,
        mut read: impl FnMut(
            &dyn Fn((Exponent, Exponent)) -> (Exponent, Exponent),
        ) -> Result<(T, (Exponent, Exponent)), Failure<'a>>,
    ) -> Result<T, ScanError> {
        for _ in 0..PRECISION_ROUNDS_MAX {
            let market = markets.get(index);
            let pair = self.pairs.get(&market.symbol);
            let exponents = |(price, size): (Exponent, Exponent)| match (market.version > 0, pair) {
                (true, _) => (market.price_exp, market.size_exp),
                (false, Some(pair)) => (price.max(pair.price_decimals), size.max(pair.size_decimals)),
                (false, None) => (price, size),
            };
            match read(&exponents) {
                Ok((value, exponents)) => {
                    markets.set_exponents(index, exponents, emit);
                    return Ok(value);
                }
                Err(Failure::Malformed(error)) => return Err(error),
                Err(Failure::Precision { quantity, exponent, .. }) => {
                    self.change_exponent(markets, index, quantity, exponent, emit);
                }
            }
        }
        Err(unfit(0))
    }

    fn change_exponent<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        quantity: Quantity,
        exponent: Exponent,
        emit: &mut Emitter<'_, S>,
    ) {
        exponents::change_exponent(markets, index, quantity, exponent, emit);
        if std::mem::take(&mut self.held[index]) {
            markets.want_snapshot(index, StatusKind::PrecisionChanged, 0, emit);
        }
    }

    /// Books fed by `connection` wait for a snapshot, and snapshots held for it are void.
    fn lose_books<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        reason: StatusKind,
        emit: &mut Emitter<'_, S>,
    ) {
        book::lose_books(markets, connection, reason, emit);
        for (index, held) in self.held.iter_mut().enumerate() {
            if *held && markets.get(index).connection == connection {
                *held = false;
                markets.want_snapshot(index, reason, 0, emit);
            }
        }
    }

    /// Index of the instrument that the wire calls `pair`, made if it is new.
    fn market<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        pair: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Option<usize> {
        if let Some(&index) = self.by_pair.get(pair) {
            return Some(index);
        }
        let index = markets.find_or_open(&normal(pair))?;
        if index >= self.held.len() {
            self.held.resize(index + 1, false);
            self.pairs.tell(markets, index, emit);
        }
        self.by_pair.insert(pair.into(), index);
        Some(index)
    }
}

/// The WebSocket v2 name of a pair.
fn normal(pair: &[u8]) -> Vec<u8> {
    symbol::normal(&String::from_utf8_lossy(pair)).into_bytes()
}

fn find(markets: &Markets, pair: &[u8]) -> Option<usize> {
    markets.find(&normal(pair))
}
