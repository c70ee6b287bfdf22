//! The dialect of NASDAQ's TotalView-ITCH 5.0: every order of every stock of a day, from the first message on.
//!
//! The feed is whole and in order: it begins before any order rests, and an order is named by its id alone once it was
//! added. Messages of a stock carry its number of the day; the directory says which number is which stock, and so does
//! every message with a symbol, so that a recording may begin later. Files of the feed carry no sequence numbers: what
//! cannot be, contradictions and times that go back, is all there is to find damage by (`docs/feeds.md`).
//!
//! Source: NASDAQ, "TotalView-ITCH 5.0", message formats.

pub(crate) mod decode;

use std::hash::{Hash, Hasher};

use tidebook_types::Exponent;
use tidebook_types::records::{FLAG_HIDDEN, FLAG_UNKNOWN_ORDER, ORDER_CANCEL, ORDER_DELETE, ORDER_EXECUTE, SIDE_NONE};

use crate::engine::Quarantine;
use crate::market::{Emitter, Markets, Print, StatusRecord, Steps};
use crate::orders::{OrderLine, OrderTable, midnight};
use crate::saved::saved;
use crate::scan::{ScanError, Scanner};
use crate::sink::RecordSink;
use crate::status::StatusKind;
use decode::{Head, Message, Symbol};

/// Prices have four decimals, sizes are shares.
const EXPONENTS: (Exponent, Exponent) = (4, 0);

/// The longest message we know has 50 bytes.
const REPEATED_BYTES_MAX: usize = 64;

/// Where an instrument is not known.
const NO_INDEX: u32 = u32::MAX;

/// A stock by its number of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stock {
    symbol: Symbol,
    /// Index of the instrument.
    index: u32,
    /// Of its last message, ns after midnight.
    last_ns: i64,
}

saved!(Stock { symbol, index, last_ns });

impl Stock {
    const UNKNOWN: Self = Self { symbol: [b' '; 8], index: NO_INDEX, last_ns: 0 };
}

/// The day that messages are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Day {
    connection: u32,
    /// ns since 1970 UTC.
    midnight_ns: i64,
}

saved!(Day { connection, midnight_ns });

/// State of the dialect.
#[derive(Debug)]
pub(crate) struct ItchFeed {
    day: Option<Day>,
    /// By number of the day.
    stocks: Vec<Stock>,
    /// By index of the instrument.
    tables: Vec<OrderTable>,
    /// The message before, to know its repetition by.
    last: [u8; REPEATED_BYTES_MAX],
    last_size: usize,
}

saved!(ItchFeed { day, stocks, tables, last, last_size });

impl Default for ItchFeed {
    fn default() -> Self {
        Self { day: None, stocks: Vec::new(), tables: Vec::new(), last: [0; REPEATED_BYTES_MAX], last_size: 0 }
    }
}

impl Hash for ItchFeed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { day, stocks, tables, last, last_size } = self;
        (day, stocks, tables, &last[..*last_size]).hash(state);
    }
}

impl ItchFeed {
    /// A message of the feed.
    pub(crate) fn on_ws<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        if let Err(error) = self.on_message(markets, connection, body, emit) {
            quarantine.add(&mut markets.counters, error, emit);
        }
    }

    /// The recording of `connection` says which day it is of. Another day has other numbers and other orders.
    pub(crate) fn on_capture<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let mut midnight_ns = None;
        let mut scanner = Scanner::new(body);
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            if key == b"midnight_ns" {
                midnight_ns = Some(midnight(&mut scanner)?);
            } else {
                scanner.skip()?;
            }
        }
        let midnight_ns = midnight_ns.ok_or(ScanError { offset: body.len(), expected: "`midnight_ns`" })?;
        if self.day.is_some_and(|day| day.midnight_ns != midnight_ns) {
            self.void(markets, emit);
            self.stocks.clear();
        }
        self.day = Some(Day { connection, midnight_ns });
        Ok(())
    }

    /// What was missed behind the end of a session is not known: orders are void.
    pub(crate) fn on_disconnect<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        if self.day.is_some_and(|day| day.connection == connection) {
            self.void(markets, emit);
            self.day = None;
        }
    }

    /// Forgets every order and says so of each instrument that had some.
    fn void<S: RecordSink>(&mut self, markets: &mut Markets, emit: &mut Emitter<'_, S>) {
        for (index, table) in self.tables.iter_mut().enumerate().filter(|(_, table)| !table.is_empty()) {
            table.clear();
            markets.emit_order(index, 0, &OrderLine::CLEAR, true, emit);
        }
    }

    #[inline]
    fn on_message<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let day = self.day.filter(|day| day.connection == connection);
        let expected = "a state `capture` before it that says the day";
        let day = day.ok_or(ScanError { offset: 0, expected })?;
        // The venue gives no nanosecond twice to the same event of the same order.
        if self.last[..self.last_size] == *body {
            markets.counters.duplicates += 1;
            return Ok(());
        }
        let (head, message, more) = decode::message(body)?;
        markets.counters.unknown_fields += u64::from(more > 0);
        let ts_event = day.midnight_ns + head.since_midnight_ns;
        self.take(markets, head, message, ts_event, emit)?;
        if let Some(place) = self.last.get_mut(..body.len()) {
            place.copy_from_slice(body);
            self.last_size = body.len();
        }
        Ok(())
    }

    #[inline]
    fn take<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        head: Head,
        message: Message,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        match message {
            Message::Add { symbol, order_id, side, price, size } => {
                let Some(index) = self.stock(markets, head, &symbol, 0, emit)? else { return Ok(()) };
                let line = self.tables[index].create(order_id, side, price, size);
                markets.emit_order(index, ts_event, &line, true, emit);
            }
            Message::Execute { order_id, size, match_number } => {
                let index = self.known_stock(markets, head, emit)?;
                let line = self.tables[index].take(ORDER_EXECUTE, order_id, Some(size));
                markets.emit_order(index, ts_event, &line, true, emit);
                // The price of an order that nobody told of is not known.
                if line.flags & FLAG_UNKNOWN_ORDER == 0 {
                    let print = print_of(&line, ts_event, match_number, line.price);
                    markets.take_trade_unchecked(index, &print, emit);
                }
            }
            Message::ExecuteAt { order_id, size, match_number, printed, price } => {
                let index = self.known_stock(markets, head, emit)?;
                let line = self.tables[index].take(ORDER_EXECUTE, order_id, Some(size));
                markets.emit_order(index, ts_event, &line, true, emit);
                match printed {
                    b'Y' => {
                        markets.take_trade_unchecked(index, &print_of(&line, ts_event, match_number, price), emit);
                    }
                    b'N' => {}
                    _ => markets.counters.unknown_values += 1,
                }
            }
            Message::Cancel { order_id, size } => {
                let index = self.known_stock(markets, head, emit)?;
                let line = self.tables[index].take(ORDER_CANCEL, order_id, Some(size));
                markets.emit_order(index, ts_event, &line, true, emit);
            }
            Message::Delete { order_id } => {
                let index = self.known_stock(markets, head, emit)?;
                let line = self.tables[index].take(ORDER_DELETE, order_id, None);
                markets.emit_order(index, ts_event, &line, true, emit);
            }
            Message::Replace { order_id, by, size, price } => {
                let index = self.known_stock(markets, head, emit)?;
                let table = &mut self.tables[index];
                let old = table.take(ORDER_DELETE, order_id, None);
                let mut new = table.create(by, old.side, price, size);
                // Nothing said which side the order was of.
                new.flags |= old.flags & FLAG_UNKNOWN_ORDER;
                markets.emit_order(index, ts_event, &old, false, emit);
                markets.emit_order(index, ts_event, &new, true, emit);
            }
            Message::HiddenTrade { symbol, size, price, match_number } => {
                let Some(index) = self.stock(markets, head, &symbol, 0, emit)? else { return Ok(()) };
                let line = OrderLine {
                    order_id: 0,
                    side: SIDE_NONE,
                    price,
                    size,
                    remaining: 0,
                    action: ORDER_EXECUTE,
                    flags: FLAG_HIDDEN,
                };
                markets.emit_order(index, ts_event, &line, true, emit);
                markets.take_trade_unchecked(index, &print_of(&line, ts_event, match_number, price), emit);
            }
            Message::Cross { symbol, size, price, match_number, kind } => {
                markets.counters.unknown_values += u64::from(!matches!(kind, b'O' | b'C' | b'H' | b'I' | b'A'));
                let Some(index) = self.stock(markets, head, &symbol, 0, emit)? else { return Ok(()) };
                if size == 0 {
                    markets.counters.trades_empty += 1;
                } else {
                    let print = Print { ts_event, trade_id: match_number, price, size, side: SIDE_NONE, flags: 0 };
                    markets.take_trade_unchecked(index, &print, emit);
                }
            }
            Message::Broken { match_number } => {
                let index = self.known_stock(markets, head, emit)?;
                let status = StatusRecord { found: match_number, ..StatusRecord::of(StatusKind::TradeBroken) };
                emit.status(markets.get(index).id.get(), ts_event, status);
            }
            Message::Stock { symbol, round_lot } => {
                self.stock(markets, head, &symbol, round_lot, emit)?;
            }
            Message::Trading { symbol, state, reason } => {
                let Some(index) = self.stock(markets, head, &symbol, 0, emit)? else { return Ok(()) };
                let reason = if reason == [b' '; 4] { 0 } else { u32::from_be_bytes(reason) };
                tell_trading(markets, index, ts_event, state, reason, emit);
            }
            Message::Market { symbol, market, action } => {
                let Some(index) = self.stock(markets, head, &symbol, 0, emit)? else { return Ok(()) };
                match market {
                    b'Q' => tell_trading(markets, index, ts_event, action, 0, emit),
                    // NASDAQ's other exchanges, which this is no feed of.
                    b'B' | b'X' => markets.counters.acknowledged += 1,
                    _ => markets.counters.unknown_values += 1,
                }
            }
            Message::Event { code } => {
                let known = matches!(code, b'O' | b'S' | b'Q' | b'M' | b'E' | b'C');
                markets.counters.acknowledged += u64::from(known);
                markets.counters.unknown_values += u64::from(!known);
            }
            Message::Other => markets.counters.acknowledged += 1,
            Message::Unknown => markets.counters.unknown += 1,
        }
        Ok(())
    }

    /// Index of the instrument of a message that carries its symbol, made if it is new; `None` when the symbol cannot be an
    /// instrument. `round_lot` is 0 where the message says none.
    ///
    /// # Errors
    /// The number stands for another symbol.
    #[inline]
    fn stock<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        head: Head,
        symbol: &Symbol,
        round_lot: u32,
        emit: &mut Emitter<'_, S>,
    ) -> Result<Option<usize>, ScanError> {
        let place = usize::from(head.locate);
        let known = self.stocks.get(place).is_some_and(|stock| stock.index != NO_INDEX);
        if !known {
            return Ok(self.open(markets, head, symbol, round_lot, emit));
        }
        if self.stocks[place].symbol != *symbol {
            return Err(ScanError { offset: 1, expected: "the stock locate of its symbol" });
        }
        let index = self.known_stock(markets, head, emit)?;
        if round_lot > 0 {
            markets.set_steps(index, steps(round_lot), emit);
        }
        Ok(Some(index))
    }

    #[cold]
    fn open<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        head: Head,
        symbol: &Symbol,
        round_lot: u32,
        emit: &mut Emitter<'_, S>,
    ) -> Option<usize> {
        let index = markets.find_or_open(symbol.trim_ascii_end())?;
        // A round lot that is not told is the one of the day before.
        if round_lot > 0 {
            markets.set_steps(index, steps(round_lot), emit);
        }
        markets.set_exponents(index, EXPONENTS, emit);
        if index >= self.tables.len() {
            self.tables.resize_with(index + 1, OrderTable::default);
        }
        let place = usize::from(head.locate);
        if place >= self.stocks.len() {
            self.stocks.resize(place + 1, Stock::UNKNOWN);
        }
        let last_ns = head.since_midnight_ns;
        self.stocks[place] = Stock { symbol: *symbol, index: u32::try_from(index).ok()?, last_ns };
        Some(index)
    }

    /// Index of the instrument that the message's number stands for; tells when its time goes back.
    #[inline]
    fn known_stock<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        head: Head,
        emit: &mut Emitter<'_, S>,
    ) -> Result<usize, ScanError> {
        let stock = self.stocks.get_mut(usize::from(head.locate)).filter(|stock| stock.index != NO_INDEX);
        let stock = stock.ok_or(ScanError { offset: 1, expected: "a stock locate that was told of" })?;
        let index = stock.index as usize;
        // One wrong time is told of once: the next is held against it, not against the furthest.
        let before = std::mem::replace(&mut stock.last_ns, head.since_midnight_ns);
        if head.since_midnight_ns < before {
            markets.counters.gaps += 1;
            let (expected, found) = (before as u64, head.since_midnight_ns as u64);
            let status = StatusRecord { expected, found, ..StatusRecord::of(StatusKind::Gap) };
            let ts_event = self.day.map_or(0, |day| day.midnight_ns + head.since_midnight_ns);
            emit.status(markets.get(index).id.get(), ts_event, status);
        }
        Ok(index)
    }
}

fn steps(round_lot: u32) -> Steps {
    Steps { tick: (0, 0), lot: (round_lot.into(), 0) }
}

/// The trade that a fill is. Who crossed the spread is on the other side than who waited.
fn print_of(line: &OrderLine, ts_event: i64, trade_id: u64, price: i64) -> Print {
    Print { ts_event, trade_id, price, size: line.size, side: -line.side, flags: 0 }
}

/// Says that trading is halted or goes on; `reason` is the venue's, four letters.
fn tell_trading<S: RecordSink>(
    markets: &mut Markets,
    index: usize,
    ts_event: i64,
    state: u8,
    reason: u32,
    emit: &mut Emitter<'_, S>,
) {
    let kind = match state {
        b'H' | b'P' => StatusKind::TradingHalted,
        b'T' => StatusKind::TradingResumed,
        // Quotes resume ahead of trading.
        b'Q' => {
            markets.counters.acknowledged += 1;
            return;
        }
        _ => {
            markets.counters.unknown_values += 1;
            return;
        }
    };
    let status = StatusRecord { found: reason.into(), ..StatusRecord::of(kind) };
    emit.status(markets.get(index).id.get(), ts_event, status);
}
