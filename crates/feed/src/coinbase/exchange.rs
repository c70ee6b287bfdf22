//! The Exchange feed: what it may say of a book, a trade and an order.
//!
//! Its level2 channel has no sequence: a change that is lost is lost unseen, unless the ticker, which is sent with each
//! match, says other best prices than the book, or the book crosses. So whatever may have been a change and cannot be read
//! makes every book of the session wait for a snapshot, which the connector gets by subscribing again. Trades have ids,
//! and a heartbeat tells the last; the full channel has a sequence of its own for each product.

use std::hash::{Hash, Hasher};

use tidebook_types::records::FLAG_BACKFILL;

use super::exchange_decode::{self, Decoder, Frame};
use super::products::{self, Products};
use super::states::{Prices, States, Verdict, prices};
use super::{apply_changes, apply_snapshot, feeds_book, lose_books, market, sides, with_exponents};
use crate::engine::Quarantine;
use crate::market::{BookState, Emitter, Markets, Print, StatusRecord, Top};
use crate::oracles::Oracle;
use crate::saved::saved;
use crate::scan::ScanError;
use crate::sink::{RecordSink, Stage};
use crate::status::StatusKind;

/// Changes after a ticker that disagreed: if none of them makes the state it says, the book is wrong and the ticker was
/// not only ahead.
const AHEAD_MAX: u32 = 4;

/// A sequence further back than this is no repetition: one that came before it was damaged.
const REPEATED_MAX: u64 = 1_000;

/// A ticker that disagrees.
#[derive(Debug, Clone, Copy, Hash)]
struct Dispute {
    prices: Prices,
    /// State of the book before.
    before: BookState,
    /// Changes left before a snapshot is asked for.
    left: u32,
}

saved!(Dispute { prices, before, left });

/// What one instrument needs beside its market.
#[derive(Debug, Default, Hash)]
struct Product {
    states: States,
    dispute: Option<Dispute>,
    /// Venue time of the last change.
    changed: i64,
    /// Session that confirmed `level2`; its changes come one by one. `level2_batch` gives some states only.
    level2: Option<u32>,
    /// Session that confirmed `matches` or `full`.
    trades: Option<u32>,
    /// Last trade id by the last heartbeat.
    last_trade_id: Option<u64>,
    /// Sequence of the last ticker.
    ticker: Option<u64>,
    /// Session and last sequence of the full channel.
    full: Option<(u32, u64)>,
}

saved!(Product { states, dispute, changed, level2, trades, last_trade_id, ticker, full });

/// State of the dialect.
#[derive(Debug, Default)]
pub(crate) struct ExchangeFeed {
    decoder: Decoder,
    products: Products,
    /// By index of the instrument.
    states: Vec<Product>,
}

saved!(ExchangeFeed { products, states } without { decoder: Decoder::default() });

impl Hash for ExchangeFeed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The decoder holds nothing from one message to the next.
        let Self { decoder: _, products, states } = self;
        (products, states).hash(state);
    }
}

impl ExchangeFeed {
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
        // Frames that are not decoded have fields that are not looked for.
        let undecoded =
            matches!(decoded, Ok(Frame::Subscriptions { .. } | Frame::Refused | Frame::Other | Frame::Unknown));
        if decoded.is_ok() && !undecoded {
            markets.counters.note(decoder.unknown);
        }
        let result = decoded.and_then(|frame| self.on_frame(markets, connection, (body, frame), emit));
        if let Err(error) = result {
            quarantine.add(&mut markets.counters, error, emit);
            if self.decoder.may_change_book {
                markets.want_again_after_damage(emit);
                lose_books(markets, connection, StatusKind::Malformed, 0, emit);
            }
        }
    }

    fn on_frame<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        (body, frame): (&[u8], Frame<'_>),
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        match frame {
            Frame::Update { symbol, ts_event } => {
                // A product nobody spoke of before its first change is a damaged name, and the change was another book's.
                if markets.find(symbol).is_none() {
                    lose_books(markets, connection, StatusKind::Malformed, ts_event, emit);
                }
                if let Some(index) = self.market(markets, symbol, emit) {
                    self.on_update(markets, index, connection, ts_event, emit);
                }
            }
            Frame::Snapshot { symbol, ts_event } => {
                let Some(index) = self.market(markets, symbol, emit) else { return Ok(()) };
                let Decoder { bids, asks, .. } = &self.decoder;
                let product = &mut self.states[index];
                (product.changed, product.dispute) = (0, None);
                if apply_snapshot(markets, index, (connection, 0, ts_event), (bids, asks), emit) {
                    product.states.restart(&Top::of(&markets.get(index).book));
                }
            }
            Frame::Match { symbol, sequence, print, is_last } => {
                let Some(index) = self.market(markets, symbol, emit) else { return Ok(()) };
                if let (Some(sequence), Some((session, last))) = (sequence, self.states[index].full)
                    && session == connection
                    // A match that the matches channel repeats is told by its trade id.
                    && sequence > last
                {
                    self.on_full(markets, index, (connection, sequence, print.ts_event), emit);
                }
                on_match(markets, index, print, is_last, emit);
            }
            Frame::Ticker { symbol, sequence, ts_event, top } => {
                let Some(index) = self.market(markets, symbol, emit) else { return Ok(()) };
                if self.states[index].ticker.replace(sequence) == Some(sequence) {
                    markets.counters.duplicates += 1;
                    return Ok(());
                }
                markets.counters.quotes += 1;
                markets.emit_quote(index, ts_event, top, sequence, 0, emit);
                markets.hold_against_ticker(index, ts_event, (top, sequence), emit);
                let market = markets.get(index);
                if market.connection == connection && market.state != BookState::Waiting {
                    self.on_ticker(markets, index, (sequence, ts_event, prices(&top)), emit);
                }
            }
            Frame::Heartbeat { symbol, ts_event, last_trade_id } => {
                markets.counters.heartbeats += 1;
                if let Some(index) = self.market(markets, symbol, emit) {
                    self.on_heartbeat(markets, index, connection, (ts_event, last_trade_id), emit);
                }
            }
            Frame::Order { symbol, sequence, ts_event } => {
                markets.counters.orders += 1;
                if let (Some(index), Some(sequence)) = (self.market(markets, symbol, emit), sequence) {
                    self.on_full(markets, index, (connection, sequence, ts_event), emit);
                }
            }
            Frame::Subscriptions { channels } => {
                self.on_subscriptions(markets, connection, (body, channels), emit)?;
                markets.counters.acknowledged += 1;
            }
            Frame::Refused => {
                markets.counters.refused += 1;
                emit.status(0, 0, StatusRecord::of(StatusKind::Refused));
            }
            Frame::Other => markets.counters.acknowledged += 1,
            Frame::Unknown => markets.counters.unknown += 1,
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
        for product in &mut self.states {
            for session in [&mut product.level2, &mut product.trades] {
                session.take_if(|session| *session == connection);
            }
            product.full.take_if(|(session, _)| *session == connection);
            if product.trades.is_none() {
                product.last_trade_id = None;
            }
        }
        lose_books(markets, connection, StatusKind::Disconnected, 0, emit);
    }

    #[inline]
    fn market<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        symbol: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Option<usize> {
        let index = market(markets, &self.products, symbol, emit)?;
        self.grow(index);
        Some(index)
    }

    #[inline]
    fn grow(&mut self, index: usize) {
        if index >= self.states.len() {
            self.states.resize_with(index + 1, Product::default);
        }
    }

    fn on_update<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        connection: u32,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) {
        if !feeds_book(markets, index, connection, ts_event, emit) {
            return;
        }
        let product = &mut self.states[index];
        if ts_event != 0 && ts_event < product.changed {
            // The changes of a product come in the order of their times. Two that changed places leave a wrong size if
            // they are of one price.
            markets.counters.gaps += 1;
            product.changed = 0;
            markets.lose_book(index, StatusKind::OutOfOrder, ts_event, true, emit);
            return;
        }
        product.changed = ts_event;
        let changes = (&self.decoder.bids[..], &self.decoder.asks[..]);
        if !apply_changes(markets, index, ts_event, changes, emit) {
            return;
        }
        let top = Top::of(&markets.get(index).book);
        product.states.push(ts_event, &top);
        if product.dispute.is_some() {
            product.settle(markets, index, prices(&top), ts_event, emit);
        }
        markets.emit_depth(index, ts_event, false, sides(changes.0, changes.1), emit);
    }

    /// A ticker while there is a book.
    fn on_ticker<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        (sequence, ts_event, ticker): (u64, i64, Prices),
        emit: &mut Emitter<'_, S>,
    ) {
        let product = &mut self.states[index];
        let Some(verdict) = product.states.compare(ts_event, ticker) else { return };
        markets.oracles.count(Oracle::CoinbaseTicker, verdict == Verdict::Agrees);
        let market = markets.get(index);
        let (state, id) = (market.state, market.id.get());
        match verdict {
            Verdict::Agrees if state == BookState::Suspect => {
                product.dispute = None;
                markets.change_state(index, BookState::Unproven, StatusKind::OracleAgrees, ts_event, emit);
            }
            // Without every state of the book a ticker may mean one between two of them.
            Verdict::Disagrees if product.level2 == Some(market.connection) => {
                let status = StatusRecord { expected: sequence, ..StatusRecord::of(StatusKind::OracleDisagrees) };
                emit.status(id, ts_event, status);
                if state == BookState::Suspect {
                    // The second in a row: this is no ticker that was ahead.
                    product.dispute = None;
                    markets.want_snapshot(index, StatusKind::OracleDisagrees, ts_event, emit);
                } else {
                    product.dispute = Some(Dispute { prices: ticker, before: state, left: AHEAD_MAX });
                    markets.change_state(index, BookState::Suspect, StatusKind::OracleDisagrees, ts_event, emit);
                }
            }
            _ => {}
        }
    }

    fn on_heartbeat<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        connection: u32,
        (ts_event, last_trade_id): (i64, u64),
        emit: &mut Emitter<'_, S>,
    ) {
        let product = &mut self.states[index];
        if product.trades != Some(connection) {
            return;
        }
        // A heartbeat may overtake the match it speaks of, so it is held against the trades at the next one.
        let Some(told) = product.last_trade_id.replace(last_trade_id) else { return };
        let market = markets.get(index);
        let Some(last) = market.trade_ids.last() else { return };
        let reached = market.trade_ids.reached(told);
        if !reached && told <= last {
            // Told as lost by an earlier heartbeat.
            return;
        }
        markets.oracles.count(Oracle::CoinbaseLastTradeId, reached);
        if reached {
            return;
        }
        let market = markets.get(index);
        market.trade_ids.miss_until(told);
        markets.counters.gaps += 1;
        let status = StatusRecord {
            expected: last + 1,
            found: told,
            count: told - last,
            ..StatusRecord::of(StatusKind::TradeGap)
        };
        emit.status(markets.get(index).id.get(), ts_event, status);
        markets.doubt_bars(index, ts_event, emit);
    }

    /// A message of the full channel, in the sequence of its product.
    fn on_full<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        (connection, sequence, ts_event): (u32, u64, i64),
        emit: &mut Emitter<'_, S>,
    ) {
        let full = &mut self.states[index].full;
        let before = full.filter(|&(session, _)| session == connection).map(|(_, last)| last);
        *full = Some((connection, sequence));
        let Some(last) = before else { return };
        if sequence == last.wrapping_add(1) {
            markets.oracles.count(Oracle::CoinbaseFullSequence, true);
        } else if sequence <= last && last - sequence < REPEATED_MAX {
            *full = Some((connection, last));
            markets.counters.duplicates += 1;
        } else {
            markets.oracles.count(Oracle::CoinbaseFullSequence, false);
            markets.counters.gaps += 1;
            let expected = last.wrapping_add(1);
            let count = sequence.saturating_sub(expected);
            let status = StatusRecord { expected, found: sequence, count, ..StatusRecord::of(StatusKind::Gap) };
            emit.status(markets.get(index).id.get(), ts_event, status);
        }
    }

    /// All subscriptions of a session. A book whose product is not among them any more waits.
    fn on_subscriptions<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        (body, channels): (&[u8], usize),
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let (mut level2, mut batched, mut trades) = (Vec::new(), Vec::new(), Vec::new());
        exchange_decode::subscriptions(body, channels, |channel, symbol| match channel {
            b"level2" => level2.push(symbol),
            b"level2_batch" | b"level2_50" => batched.push(symbol),
            b"matches" | b"full" => trades.push(symbol),
            _ => {}
        })?;
        for &symbol in level2.iter().chain(&batched).chain(&trades) {
            if let Some(index) = markets.find_or_open(symbol) {
                self.grow(index);
            }
        }
        for (index, product) in self.states.iter_mut().enumerate() {
            let market = markets.get(index);
            let symbol = &market.symbol[..];
            for (listed, session) in [(&level2, &mut product.level2), (&trades, &mut product.trades)] {
                if listed.contains(&symbol) {
                    *session = Some(connection);
                } else {
                    session.take_if(|session| *session == connection);
                }
            }
            let listed = level2.contains(&symbol) || batched.contains(&symbol);
            if !listed && market.connection == connection && market.state != BookState::Waiting {
                markets.lose_book(index, StatusKind::Unsubscribed, 0, false, emit);
            }
        }
        Ok(())
    }
}

impl Product {
    /// Holds a change against the ticker that disagreed with the states before it.
    #[cold]
    fn settle<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        now: Prices,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) {
        let Some(dispute) = &mut self.dispute else { return };
        dispute.left -= 1;
        if now == dispute.prices {
            let before = dispute.before;
            self.dispute = None;
            markets.change_state(index, before, StatusKind::OracleAgrees, ts_event, emit);
        } else if dispute.left == 0 {
            self.dispute = None;
            markets.want_snapshot(index, StatusKind::OracleDisagrees, ts_event, emit);
        }
    }
}

fn on_match<S: RecordSink>(
    markets: &mut Markets,
    index: usize,
    print: Print,
    is_last: bool,
    emit: &mut Emitter<'_, S>,
) {
    if !is_last {
        markets.take_trade(index, &print, Oracle::CoinbaseTradeIds, emit);
        return;
    }
    // The last trade before a subscription is one that an earlier session may have seen.
    if markets.get(index).trade_ids.last().is_some_and(|last| print.trade_id <= last) {
        markets.counters.duplicates += 1;
        return;
    }
    let print = Print { flags: FLAG_BACKFILL, ..print };
    markets.take_trade(index, &print, Oracle::CoinbaseTradeIds, emit);
}
