//! Frames of Advanced Trade.
//!
//! An envelope names the channel and carries events. All events of a frame are decoded before anything is done with the
//! first, so a frame that is damaged at its end gives nothing. Levels and trades go into vectors that are kept; names are
//! kept as places in the body, so a warm decoder allocates nothing.
//!
//! Source: Coinbase Advanced Trade documentation, "WebSocket Channels"; field sets checked on a recording of 2026.

use std::ops::Range;

use tidebook_book::Level;
use tidebook_types::records::{FLAG_BACKFILL, FLAG_SNAPSHOT, SIDE_NONE};

use super::Exponents;
use super::exchange_decode::aggressor;
use super::levels::{Scale, level, snapshot_failure};
use crate::decimal::quoted;
use crate::failure::{Failure, Quantity};
use crate::market::{NO_LEVEL, Print, Top};
use crate::scan::{ScanError, Scanner, Unknown, parse_unsigned};
use crate::time::rfc3339;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// `l2_data`: events in `books`.
    Books,
    /// `market_trades`: events in `trades`.
    Trades,
    /// `ticker`, `ticker_batch`: events in `tickers`.
    Tickers,
    Candles {
        count: u64,
    },
    Heartbeats {
        counter: u64,
    },
    /// All subscriptions of the session; its events are at this place of the body.
    Subscriptions {
        events: usize,
    },
    /// Channels we know and do not decode.
    Other,
    Unknown,
}

/// A frame; what its events say is in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Message {
        channel: Channel,
        /// `None` of an unknown channel without one.
        sequence: Option<u64>,
        ts_event: i64,
    },
    Refused,
}

/// A snapshot or change of one book. Ranges are of the body (`symbol`) and of the decoder's levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BookEvent {
    pub(super) symbol: Range<usize>,
    pub(super) is_snapshot: bool,
    pub(super) ts_event: i64,
    pub(super) bids: Range<usize>,
    pub(super) asks: Range<usize>,
}

/// A trade, with the place of its symbol in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TradeEvent {
    pub(super) symbol: Range<usize>,
    pub(super) print: Print,
}

/// A ticker, with the place of its symbol in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TickerEvent {
    pub(super) symbol: Range<usize>,
    pub(super) top: Top,
    pub(super) flags: u8,
}

/// Decodes frames and keeps what their events hold.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
    pub(super) books: Vec<BookEvent>,
    pub(super) trades: Vec<TradeEvent>,
    pub(super) tickers: Vec<TickerEvent>,
    /// Of the frame decoded last.
    pub(super) unknown: Unknown,
}

/// Place of `text`, which is a part of the scanner's bytes.
fn place(scanner: &Scanner<'_>, text: &[u8]) -> Range<usize> {
    let start = text.as_ptr() as usize - scanner.bytes().as_ptr() as usize;
    start..start + text.len()
}

impl Decoder {
    /// The frame in `body`.
    pub(super) fn decode<'a>(&mut self, body: &'a [u8], exponents: Exponents<'_>) -> Result<Frame, Failure<'a>> {
        self.bids.clear();
        self.asks.clear();
        self.books.clear();
        self.trades.clear();
        self.tickers.clear();
        self.unknown = Unknown::default();
        let mut scanner = Scanner::new(body);
        let (mut name, mut time, mut sequence): (Option<&[u8]>, _, _) = (None, None, None);
        let (mut kind, mut events, mut channel) = (None, None, None);
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            let twice = scanner.error("each field once");
            let again = match (key, scanner.peek()) {
                (b"channel", Some(b'"')) => name.replace(scanner.string()?).is_some(),
                (b"timestamp", Some(b'"')) => time.replace(scanner.string()?).is_some(),
                (b"sequence_num", Some(b'0'..=b'9')) => sequence.replace(scanner.unsigned()?).is_some(),
                (b"type", Some(b'"')) => kind.replace(scanner.string()?).is_some(),
                (b"events", Some(b'[')) => {
                    let start = scanner.position();
                    // The usual order has the channel first, and its events are read where they stand.
                    match name {
                        Some(name) => channel = Some(self.events(&mut scanner, name, exponents)?),
                        None => {
                            scanner.skip()?;
                        }
                    }
                    events.replace(start).is_some()
                }
                _ => {
                    self.unknown.field(&mut scanner, key == b"client_id")?;
                    false
                }
            };
            if again {
                return Err(twice.into());
            }
        }
        scanner.end()?;
        let missing = |expected| ScanError { offset: 0, expected };
        let Some(name) = name else {
            return match kind {
                Some(b"error") if events.is_none() => Ok(Frame::Refused),
                _ => Err(missing("`channel`").into()),
            };
        };
        let channel = match (channel, events) {
            (Some(channel), _) => channel,
            (None, Some(at)) => {
                scanner.seek(at);
                self.events(&mut scanner, name, exponents)?
            }
            (None, None) => return Err(missing("`events`").into()),
        };
        if sequence.is_none() && channel != Channel::Unknown {
            return Err(missing("`sequence_num` as an integer").into());
        }
        let ts_event = time.and_then(rfc3339).ok_or(missing("`timestamp` as in RFC 3339, UTC"))?;
        for book in &mut self.books {
            if book.ts_event == 0 {
                book.ts_event = ts_event;
            }
        }
        Ok(Frame::Message { channel, sequence, ts_event })
    }

    /// Reads the events of a channel.
    fn events<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        channel: &[u8],
        exponents: Exponents<'_>,
    ) -> Result<Channel, Failure<'a>> {
        let start = scanner.position();
        let mut found = match channel {
            b"l2_data" => Channel::Books,
            b"market_trades" => Channel::Trades,
            b"ticker" | b"ticker_batch" => Channel::Tickers,
            b"candles" => Channel::Candles { count: 0 },
            b"heartbeats" => Channel::Heartbeats { counter: 0 },
            b"subscriptions" => Channel::Subscriptions { events: start },
            b"status" | b"user" | b"futures_balance_summary" => Channel::Other,
            _ => Channel::Unknown,
        };
        scanner.expect(b'[', "an array of events")?;
        let mut first = true;
        while scanner.element(&mut first)? {
            match &mut found {
                Channel::Books => self.book(scanner, exponents)?,
                Channel::Trades => self.trades(scanner, exponents)?,
                Channel::Tickers => self.tickers(scanner, exponents)?,
                Channel::Candles { count } => *count += candles(scanner)?,
                Channel::Heartbeats { counter } => *counter = heartbeat(scanner)?,
                Channel::Unknown => unknown(scanner)?,
                Channel::Subscriptions { .. } | Channel::Other => {
                    scanner.skip()?;
                }
            }
        }
        Ok(found)
    }

    /// Reads an event of `l2_data`.
    fn book<'a>(&mut self, scanner: &mut Scanner<'a>, exponents: Exponents<'_>) -> Result<(), Failure<'a>> {
        let (mut kind, mut symbol, mut updates) = (None, None, None);
        let mut ts_event = None;
        let (bids, asks) = (self.bids.len(), self.asks.len());
        scanner.peek();
        let start = scanner.position();
        scanner.expect(b'{', "an event")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match (key, scanner.peek()) {
                (b"type", Some(b'"')) => kind = Some(scanner.string()?),
                (b"product_id", Some(b'"')) => symbol = Some(scanner.string()?),
                (b"updates", Some(b'[')) => {
                    if updates.replace(scanner.position()).is_some() {
                        return Err(scanner.error("each field once").into());
                    }
                    match (kind, symbol) {
                        (Some(kind), Some(symbol)) => {
                            let scale = Scale { symbol, exponents: exponents(symbol) };
                            ts_event = Some(self.updates(scanner, &scale, kind == b"snapshot")?);
                        }
                        _ => {
                            scanner.skip()?;
                        }
                    }
                }
                _ => self.unknown.field(scanner, false)?,
            }
        }
        let missing = |expected| ScanError { offset: start, expected };
        let is_snapshot = match kind {
            Some(b"snapshot") => true,
            Some(b"update") => false,
            _ => return Err(missing("`type` snapshot or update").into()),
        };
        let symbol = symbol.ok_or(missing("`product_id`"))?;
        let at = updates.ok_or(missing("`updates` as an array"))?;
        let ts_event = match ts_event {
            Some(ts_event) => ts_event,
            None => {
                let mut scanner = scanner.clone();
                scanner.seek(at);
                self.updates(&mut scanner, &Scale { symbol, exponents: exponents(symbol) }, is_snapshot)?
            }
        };
        let (bids, asks) = (bids..self.bids.len(), asks..self.asks.len());
        self.books.push(BookEvent { symbol: place(scanner, symbol), is_snapshot, ts_event, bids, asks });
        Ok(())
    }

    /// Reads the levels of an event and tells the time of the last.
    fn updates<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        scale: &Scale<'a>,
        is_snapshot: bool,
    ) -> Result<i64, Failure<'a>> {
        scanner.peek();
        let start = scanner.position();
        scanner.expect(b'[', "an array of updates")?;
        let mut time: &[u8] = b"";
        let mut first = true;
        while scanner.element(&mut first)? {
            let fast = fast_update(scanner.bytes(), scanner.position(), scale, time);
            if let Some((is_bid, level, event_time, end)) = fast {
                (if is_bid { &mut self.bids } else { &mut self.asks }).push(level);
                time = event_time;
                scanner.seek(end);
                continue;
            }
            let update = Update::read(scanner, &mut self.unknown)?;
            time = update.time;
            let number = |quantity, (text, at): (&'a [u8], usize)| {
                scale.units(text, at, quantity).map_err(|failed| {
                    if !is_snapshot {
                        return failed;
                    }
                    let texts = |each: &mut dyn FnMut(&[u8])| {
                        let mut scanner = scanner.clone();
                        scanner.seek(start);
                        // What is behind the failure is not checked yet: it counts up to where it stops making sense.
                        let _ = for_each(&mut scanner, quantity, each);
                    };
                    snapshot_failure(failed, scale, (quantity, text), texts)
                })
            };
            let price = number(Quantity::Price, update.price)?;
            let size = number(Quantity::Size, update.size)?;
            let side = match update.side {
                b"bid" => &mut self.bids,
                b"offer" => &mut self.asks,
                _ => return Err(scanner.error("`side` bid or offer").into()),
            };
            side.push(level(scanner, price, size)?);
        }
        Ok(rfc3339(time).unwrap_or(0))
    }

    /// Reads an event of `market_trades`.
    fn trades<'a>(&mut self, scanner: &mut Scanner<'a>, exponents: Exponents<'_>) -> Result<(), Failure<'a>> {
        let from = self.trades.len();
        let is_snapshot = event(scanner, b"trades", &mut self.unknown, |scanner, unknown| {
            let mut fields = TradeFields::default();
            scanner.peek();
            let start = scanner.position();
            scanner.expect(b'{', "a trade")?;
            let mut first = true;
            while let Some(key) = scanner.key(&mut first)? {
                let field = match key {
                    b"product_id" => &mut fields.symbol,
                    b"trade_id" => &mut fields.trade_id,
                    b"price" => &mut fields.price,
                    b"size" => &mut fields.size,
                    b"time" => &mut fields.time,
                    b"side" => &mut fields.side,
                    _ => {
                        unknown.field(scanner, false)?;
                        continue;
                    }
                };
                *field = Some(scanner.string()?);
            }
            let TradeFields { symbol, trade_id, price, size, time, side } = fields;
            let missing = |expected| ScanError { offset: start, expected };
            let symbol = symbol.ok_or(missing("`product_id`"))?;
            let scale = Scale { symbol, exponents: exponents(symbol) };
            let side = side.map_or(SIDE_NONE, aggressor);
            unknown.values += u64::from(side == SIDE_NONE);
            let print = Print {
                ts_event: time.and_then(rfc3339).ok_or(missing("`time` as in RFC 3339, UTC"))?,
                trade_id: trade_id.and_then(parse_unsigned).ok_or(missing("`trade_id` as an integer in quotes"))?,
                price: scale.units(price.ok_or(missing("`price`"))?, start, Quantity::Price)?,
                size: scale.units(size.ok_or(missing("`size`"))?, start, Quantity::Size)?,
                side,
                flags: 0,
            };
            self.trades.push(TradeEvent { symbol: place(scanner, symbol), print });
            Ok(())
        })?;
        if is_snapshot {
            for trade in &mut self.trades[from..] {
                trade.print.flags = FLAG_BACKFILL;
            }
        }
        Ok(())
    }

    /// Reads an event of `ticker` or `ticker_batch`.
    fn tickers<'a>(&mut self, scanner: &mut Scanner<'a>, exponents: Exponents<'_>) -> Result<(), Failure<'a>> {
        let from = self.tickers.len();
        let is_snapshot = event(scanner, b"tickers", &mut self.unknown, |scanner, unknown| {
            let mut symbol = None;
            let mut texts = [None; 4];
            scanner.peek();
            let start = scanner.position();
            scanner.expect(b'{', "a ticker")?;
            let mut first = true;
            while let Some(key) = scanner.key(&mut first)? {
                let field = match (key, scanner.peek()) {
                    (b"product_id", Some(b'"')) => &mut symbol,
                    (b"best_bid", Some(b'"')) => &mut texts[0],
                    (b"best_bid_quantity", Some(b'"')) => &mut texts[1],
                    (b"best_ask", Some(b'"')) => &mut texts[2],
                    (b"best_ask_quantity", Some(b'"')) => &mut texts[3],
                    (name, _) => {
                        unknown.field(scanner, is_passed(name))?;
                        continue;
                    }
                };
                *field = Some(scanner.string()?);
            }
            let symbol = symbol.ok_or(ScanError { offset: start, expected: "`product_id`" })?;
            let scale = Scale { symbol, exponents: exponents(symbol) };
            let mut top = Top { bid: NO_LEVEL, ask: NO_LEVEL };
            let units = [&mut top.bid.price, &mut top.bid.size, &mut top.ask.price, &mut top.ask.size];
            for (place, (units, text)) in units.into_iter().zip(texts).enumerate() {
                let quantity = if place % 2 == 0 { Quantity::Price } else { Quantity::Size };
                // A side without orders is an empty text or a zero.
                if let Some(text) = text.filter(|text| !text.is_empty()) {
                    *units = scale.units(text, start, quantity)?;
                }
            }
            self.tickers.push(TickerEvent { symbol: place(scanner, symbol), top, flags: 0 });
            Ok(())
        })?;
        if is_snapshot {
            for ticker in &mut self.tickers[from..] {
                ticker.flags = FLAG_SNAPSHOT;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct TradeFields<'a> {
    symbol: Option<&'a [u8]>,
    trade_id: Option<&'a [u8]>,
    price: Option<&'a [u8]>,
    size: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    side: Option<&'a [u8]>,
}

/// The fields of one level.
struct Update<'a> {
    side: &'a [u8],
    time: &'a [u8],
    /// With their places.
    price: (&'a [u8], usize),
    size: (&'a [u8], usize),
}

impl<'a> Update<'a> {
    fn read(scanner: &mut Scanner<'a>, unknown: &mut Unknown) -> Result<Self, ScanError> {
        let (mut side, mut time, mut price, mut size) = (None, None, None, None);
        scanner.peek();
        let start = scanner.position();
        scanner.expect(b'{', "an update")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            let field = match key {
                b"side" => &mut side,
                b"event_time" => &mut time,
                b"price_level" => &mut price,
                b"new_quantity" => &mut size,
                _ => {
                    unknown.field(scanner, false)?;
                    continue;
                }
            };
            scanner.peek();
            let at = scanner.position() + 1;
            if field.replace((scanner.string()?, at)).is_some() {
                return Err(scanner.error("each field once"));
            }
        }
        let missing = |expected| ScanError { offset: start, expected };
        Ok(Self {
            side: side.ok_or(missing("`side`"))?.0,
            time: time.map_or(b"", |(time, _)| time),
            price: price.ok_or(missing("`price_level`"))?,
            size: size.ok_or(missing("`new_quantity`"))?,
        })
    }
}

/// An update in the usual order of its fields without white space: whether it is a bid, its level, its time, and the
/// place behind it. `before` is the time of the update before.
#[inline]
fn fast_update<'a>(
    bytes: &'a [u8],
    at: usize,
    scale: &Scale<'_>,
    before: &'a [u8],
) -> Option<(bool, Level, &'a [u8], usize)> {
    const BID: &[u8] = b"{\"side\":\"bid\",\"event_time\":\"";
    const OFFER: &[u8] = b"{\"side\":\"offer\",\"event_time\":\"";
    const PRICE: &[u8] = b",\"price_level\":\"";
    const SIZE: &[u8] = b",\"new_quantity\":\"";
    let text = bytes.get(at..)?;
    let is_bid = text.starts_with(BID);
    let start = if is_bid {
        BID.len()
    } else if text.starts_with(OFFER) {
        OFFER.len()
    } else {
        return None;
    };
    // All updates of an event have one time, which is looked at once.
    let end = start + before.len();
    let (time, end) = if !before.is_empty() && text[start..].starts_with(before) && text.get(end) == Some(&b'"') {
        (before, end)
    } else {
        let size = memchr::memchr2(b'"', b'\\', &text[start..])?;
        (&text[start..start + size], start + size)
    };
    if text[end] != b'"' {
        return None;
    }
    let price = end + 1;
    if !text[price..].starts_with(PRICE) {
        return None;
    }
    let (price, end) = quoted(text, price + PRICE.len(), scale.exponents.0)?;
    if !text[end..].starts_with(SIZE) {
        return None;
    }
    let (size, end) = quoted(text, end + SIZE.len(), scale.exponents.1)?;
    let whole = *text.get(end)? == b'}' && price != 0;
    whole.then_some((is_bid, Level { price, size }, time, at + end + 1))
}

/// Calls `each` with the text of one quantity of every update.
fn for_each(scanner: &mut Scanner<'_>, quantity: Quantity, each: &mut dyn FnMut(&[u8])) -> Result<(), ScanError> {
    scanner.expect(b'[', "an array of updates")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        let update = Update::read(scanner, &mut Unknown::default())?;
        each(if quantity == Quantity::Price { update.price.0 } else { update.size.0 });
    }
    Ok(())
}

/// Reads an event with `each` element of its array `list`; says whether it is a snapshot.
fn event<'a>(
    scanner: &mut Scanner<'a>,
    list: &[u8],
    unknown: &mut Unknown,
    mut each: impl FnMut(&mut Scanner<'a>, &mut Unknown) -> Result<(), Failure<'a>>,
) -> Result<bool, Failure<'a>> {
    let (mut is_snapshot, mut found) = (false, false);
    scanner.expect(b'{', "an event")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match (key, scanner.peek()) {
            (b"type", Some(b'"')) => {
                let kind = scanner.string()?;
                is_snapshot = kind == b"snapshot";
                unknown.values += u64::from(!is_snapshot && kind != b"update");
            }
            (key, Some(b'[')) if key == list && !found => {
                found = true;
                scanner.expect(b'[', "an array")?;
                let mut inner = true;
                while scanner.element(&mut inner)? {
                    each(scanner, unknown)?;
                }
            }
            _ => unknown.field(scanner, false)?,
        }
    }
    if found { Ok(is_snapshot) } else { Err(scanner.error("an event with its list").into()) }
}

/// Whether the venue's documents have a field of this name in a ticker that is not read.
const fn is_passed(name: &[u8]) -> bool {
    matches!(
        name,
        b"type"
            | b"price"
            | b"volume_24_h"
            | b"low_24_h"
            | b"high_24_h"
            | b"low_52_w"
            | b"high_52_w"
            | b"price_percent_chg_24_h"
            | b"best_bid"
            | b"best_bid_quantity"
            | b"best_ask"
            | b"best_ask_quantity"
    )
}

/// Candles of one event.
fn candles<'a>(scanner: &mut Scanner<'a>) -> Result<u64, Failure<'a>> {
    let mut count = 0;
    event(scanner, b"candles", &mut Unknown::default(), |scanner, _| {
        scanner.skip()?;
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// The counter of a heartbeat, which some versions of the feed put in quotes.
fn heartbeat(scanner: &mut Scanner<'_>) -> Result<u64, ScanError> {
    let mut counter = None;
    scanner.expect(b'{', "an event")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match (key, scanner.peek()) {
            (b"heartbeat_counter", Some(b'"')) => counter = parse_unsigned(scanner.string()?),
            (b"heartbeat_counter", _) => counter = Some(scanner.unsigned()?),
            _ => {
                scanner.skip()?;
            }
        }
    }
    counter.ok_or(scanner.error("`heartbeat_counter` as an integer"))
}

/// An event of a channel we do not know. If it has what only a book's event has, the channel's name is damaged, and what
/// the event did is not known.
fn unknown(scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
    if scanner.peek() != Some(b'{') {
        scanner.skip()?;
        return Ok(());
    }
    scanner.expect(b'{', "an event")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        if key == b"updates" {
            return Err(scanner.error("`channel` l2_data of an event with `updates`"));
        }
        scanner.skip()?;
    }
    Ok(())
}

/// Calls `each` with channel and product of every subscription in the events at `events`.
pub(super) fn subscriptions<'a>(
    body: &'a [u8],
    events: usize,
    mut each: impl FnMut(&'a [u8], &'a [u8]),
) -> Result<(), ScanError> {
    let mut scanner = Scanner::new(body);
    scanner.seek(events);
    scanner.expect(b'[', "an array of events")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        scanner.expect(b'{', "an event")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            if key != b"subscriptions" || scanner.peek() != Some(b'{') {
                scanner.skip()?;
                continue;
            }
            scanner.expect(b'{', "subscriptions")?;
            let mut first = true;
            while let Some(channel) = scanner.key(&mut first)? {
                if scanner.peek() != Some(b'[') {
                    scanner.skip()?;
                    continue;
                }
                scanner.expect(b'[', "an array of products")?;
                let mut first = true;
                while scanner.element(&mut first)? {
                    each(channel, scanner.string()?);
                }
            }
        }
    }
    Ok(())
}
