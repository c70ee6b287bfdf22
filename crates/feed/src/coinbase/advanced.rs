//! Advanced Trade: what it may say of a book and a trade.
//!
//! Every message of a session carries `sequence_num`, which rises by one over all channels together. Another step means
//! that something was lost, and since nothing says what, every book of the session waits for a snapshot then. The ticker
//! is not in step with the book and is no oracle here.

use std::hash::{Hash, Hasher};

use tidebook_types::records::{FLAG_BACKFILL, FLAG_SNAPSHOT};

use super::advanced_decode::{self, BookEvent, Channel, Decoder, Frame, TickerEvent, TradeEvent};
use super::products::{self, Products};
use super::{apply_changes, apply_snapshot, feeds_book, lose_books, market, sides, with_exponents};
use crate::engine::Quarantine;
use crate::market::{BookState, Emitter, Markets, StatusRecord};
use crate::oracles::Oracle;
use crate::saved::saved;
use crate::scan::ScanError;
use crate::sink::{RecordSink, Stage};
use crate::status::StatusKind;

/// What one session said last.
#[derive(Debug, Clone, Copy, Hash)]
struct Session {
    connection: u32,
    sequence: u64,
    /// Time of the message with that sequence.
    ts_event: i64,
    heartbeat: Option<u64>,
}

saved!(Session { connection, sequence, ts_event, heartbeat });

/// State of the dialect.
#[derive(Debug, Default)]
pub(crate) struct AdvancedFeed {
    decoder: Decoder,
    products: Products,
    /// Open sessions; a feed has a handful.
    sessions: Vec<Session>,
}

saved!(AdvancedFeed { products, sessions } without { decoder: Decoder::default() });

impl Hash for AdvancedFeed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The decoder holds nothing from one message to the next.
        let Self { decoder: _, products, sessions } = self;
        (products, sessions).hash(state);
    }
}

impl AdvancedFeed {
    /// A WebSocket frame.
    pub(crate) fn on_ws<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        let Self { decoder, products, .. } = self;
        let decoded = with_exponents(markets, products, emit, |exponents| decoder.decode(body, exponents));
        emit.reached(Stage::Decoded, 0);
        let result = decoded.and_then(|frame| self.on_frame(markets, connection, (body, frame), emit));
        if let Err(error) = result {
            quarantine.add(&mut markets.counters, error, emit);
            // The next message would tell by its sequence; this one does already.
            markets.want_again_after_damage(emit);
            lose_books(markets, connection, StatusKind::Malformed, 0, emit);
        }
    }

    fn on_frame<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        (body, frame): (&[u8], Frame),
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let Frame::Message { channel, sequence, ts_event } = frame else {
            markets.counters.refused += 1;
            emit.status(0, 0, StatusRecord::of(StatusKind::Refused));
            return Ok(());
        };
        if let Some(sequence) = sequence
            && !self.follows(markets, connection, (sequence, ts_event), emit)
        {
            markets.counters.duplicates += 1;
            return Ok(());
        }
        let sequence = sequence.unwrap_or(0);
        if let Channel::Books | Channel::Trades | Channel::Tickers = channel {
            markets.counters.note(self.decoder.unknown);
        }
        match channel {
            Channel::Books => {
                for place in 0..self.decoder.books.len() {
                    self.on_book(markets, connection, (body, sequence, place), emit);
                }
            }
            Channel::Trades => self.on_trades(markets, body, emit),
            Channel::Tickers => {
                for TickerEvent { symbol, top, flags } in &self.decoder.tickers {
                    let Some(index) = market(markets, &self.products, &body[symbol.clone()], emit) else { continue };
                    markets.counters.quotes += 1;
                    markets.emit_quote(index, ts_event, *top, sequence, *flags, emit);
                    if flags & FLAG_SNAPSHOT == 0 {
                        markets.hold_against_ticker(index, ts_event, (*top, sequence), emit);
                    }
                }
            }
            Channel::Candles { count } => markets.counters.candles += count,
            Channel::Heartbeats { counter } => {
                markets.counters.heartbeats += 1;
                let session = self.sessions.iter_mut().find(|session| session.connection == connection);
                if let Some(before) = session.and_then(|session| session.heartbeat.replace(counter)) {
                    markets.oracles.count(Oracle::CoinbaseHeartbeats, counter == before.wrapping_add(1));
                }
            }
            Channel::Subscriptions { events } => {
                on_subscriptions(markets, connection, (body, events), emit)?;
                markets.counters.acknowledged += 1;
            }
            Channel::Other => markets.counters.acknowledged += 1,
            Channel::Unknown => markets.counters.unknown += 1,
        }
        Ok(())
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
        products::on_rest(&mut self.products, markets, quarantine, (target, body), emit);
    }

    /// Books fed by `connection` wait for a snapshot.
    pub(crate) fn on_disconnect<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        self.sessions.retain(|session| session.connection != connection);
        lose_books(markets, connection, StatusKind::Disconnected, 0, emit);
    }

    /// Takes a message into the sequence of its session; false when it repeats the one before. What was lost before it is
    /// told, and then every book of the session waits.
    #[inline]
    fn follows<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        (sequence, ts_event): (u64, i64),
        emit: &mut Emitter<'_, S>,
    ) -> bool {
        let Some(session) = self.sessions.iter_mut().find(|session| session.connection == connection) else {
            self.sessions.push(Session { connection, sequence, ts_event, heartbeat: None });
            return true;
        };
        let last = std::mem::replace(&mut session.sequence, sequence);
        let last_ts_event = std::mem::replace(&mut session.ts_event, ts_event);
        // Another message under the same number is none that was here already.
        if sequence == last && ts_event == last_ts_event {
            return false;
        }
        let expected = last.wrapping_add(1);
        markets.oracles.count(Oracle::CoinbaseSequenceNum, sequence == expected);
        if sequence != expected {
            markets.counters.gaps += 1;
            let count = sequence.saturating_sub(expected);
            let status = StatusRecord { expected, found: sequence, count, ..StatusRecord::of(StatusKind::Gap) };
            emit.status(0, ts_event, status);
            lose_books(markets, connection, StatusKind::Gap, ts_event, emit);
        }
        true
    }

    fn on_book<S: RecordSink>(
        &self,
        markets: &mut Markets,
        connection: u32,
        (body, sequence, place): (&[u8], u64, usize),
        emit: &mut Emitter<'_, S>,
    ) {
        let Decoder { bids, asks, books, .. } = &self.decoder;
        let BookEvent { symbol, is_snapshot, ts_event, bids: bid_range, asks: ask_range } = &books[place];
        let (symbol, ts_event) = (&body[symbol.clone()], *ts_event);
        let levels = (&bids[bid_range.clone()], &asks[ask_range.clone()]);
        // A product nobody spoke of before its first change is a damaged name, and the change was another book's.
        if !is_snapshot && markets.find(symbol).is_none() {
            lose_books(markets, connection, StatusKind::Malformed, ts_event, emit);
        }
        let Some(index) = market(markets, &self.products, symbol, emit) else { return };
        if *is_snapshot {
            apply_snapshot(markets, index, (connection, sequence, ts_event), levels, emit);
            return;
        }
        if !feeds_book(markets, index, connection, ts_event, emit) {
            return;
        }
        markets.get(index).venue_sequence = sequence;
        if apply_changes(markets, index, ts_event, levels, emit) {
            markets.emit_depth(index, ts_event, false, sides(levels.0, levels.1), emit);
        }
    }

    fn on_trades<S: RecordSink>(&mut self, markets: &mut Markets, body: &[u8], emit: &mut Emitter<'_, S>) {
        // The venue lists the newest first.
        self.decoder.trades.sort_unstable_by_key(|trade| trade.print.trade_id);
        for TradeEvent { symbol, print } in &self.decoder.trades {
            let Some(index) = market(markets, &self.products, &body[symbol.clone()], emit) else { continue };
            // The trades before a subscription are some that an earlier session may have seen.
            let known = markets.get(index).trade_ids.last();
            if print.flags & FLAG_BACKFILL != 0 && known.is_some_and(|known| print.trade_id <= known) {
                markets.counters.duplicates += 1;
                continue;
            }
            markets.take_trade(index, print, Oracle::CoinbaseTradeIds, emit);
        }
    }
}

/// All subscriptions of a session. A book whose product is not among them any more waits.
fn on_subscriptions<S: RecordSink>(
    markets: &mut Markets,
    connection: u32,
    (body, events): (&[u8], usize),
    emit: &mut Emitter<'_, S>,
) -> Result<(), ScanError> {
    let mut listed = Vec::new();
    advanced_decode::subscriptions(body, events, |channel, symbol| {
        if channel == b"level2" {
            listed.push(symbol);
        }
    })?;
    for index in 0..markets.all().len() {
        let market = markets.get(index);
        if market.connection != connection || market.state == BookState::Waiting {
            continue;
        }
        // Who subscribes to a market in USDC is sent the one in USD.
        let is_listed = listed.iter().any(|&symbol| {
            symbol == &market.symbol[..] || symbol.strip_suffix(b"C").is_some_and(|usd| *usd == *market.symbol)
        });
        if !is_listed {
            markets.lose_book(index, StatusKind::Unsubscribed, 0, false, emit);
        }
    }
    Ok(())
}
