//! Frames of the Exchange feed.
//!
//! One pass collects the fields it knows, whatever their order; the `type` then says which of them must be there. Levels
//! go into vectors that are kept, so a warm decoder allocates nothing.
//!
//! Source: Coinbase Exchange documentation, "WebSocket Channels"; field sets checked on a recording of 2021.

use tidebook_book::Level;
use tidebook_types::records::{SIDE_BUY, SIDE_NONE, SIDE_SELL};

use super::Exponents;
use super::levels::{Scale, level, snapshot_failure};
use crate::decimal::quoted;
use crate::failure::{Failure, Quantity};
use crate::market::{NO_LEVEL, Print, Top};
use crate::scan::{ScanError, Scanner, Unknown, parse_unsigned};
use crate::time::rfc3339;

/// What a frame is. Its levels, if any, are in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Snapshot {
        symbol: &'a [u8],
        ts_event: i64,
    },
    Update {
        symbol: &'a [u8],
        ts_event: i64,
    },
    /// `match`, or `last_match` when it happened before the subscription.
    Match {
        symbol: &'a [u8],
        sequence: Option<u64>,
        print: Print,
        is_last: bool,
    },
    Ticker {
        symbol: &'a [u8],
        sequence: u64,
        ts_event: i64,
        top: Top,
    },
    Heartbeat {
        symbol: &'a [u8],
        ts_event: i64,
        last_trade_id: u64,
    },
    /// A change of one order, which no book here is made of.
    Order {
        symbol: &'a [u8],
        sequence: Option<u64>,
        ts_event: i64,
    },
    /// All subscriptions of the session, at this place of the body.
    Subscriptions {
        channels: usize,
    },
    Refused,
    /// Types we know and do not decode.
    Other,
    Unknown,
}

/// A string or number and its place.
type Text<'a> = Option<(&'a [u8], usize)>;

/// An array of levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Array {
    #[default]
    Absent,
    /// Stepped over; its levels are at this place.
    At(usize),
    /// Its levels are in the decoder.
    Read,
}

#[derive(Default)]
struct Fields<'a> {
    kind: Text<'a>,
    product: Text<'a>,
    time: Text<'a>,
    side: Text<'a>,
    price: Text<'a>,
    size: Text<'a>,
    sequence: Text<'a>,
    trade_id: Text<'a>,
    last_trade_id: Text<'a>,
    order_id: Text<'a>,
    best_bid: Text<'a>,
    best_ask: Text<'a>,
    best_bid_size: Text<'a>,
    best_ask_size: Text<'a>,
    changes: Array,
    bids: Array,
    asks: Array,
    channels: Option<usize>,
}

impl<'a> Fields<'a> {
    /// The field called `name`, if it is one of a string or a number.
    fn text(&mut self, name: &[u8]) -> Option<&mut Text<'a>> {
        Some(match name {
            b"type" => &mut self.kind,
            b"product_id" => &mut self.product,
            b"time" => &mut self.time,
            b"side" => &mut self.side,
            b"price" => &mut self.price,
            b"size" => &mut self.size,
            b"sequence" => &mut self.sequence,
            b"trade_id" => &mut self.trade_id,
            b"last_trade_id" => &mut self.last_trade_id,
            b"order_id" => &mut self.order_id,
            b"best_bid" => &mut self.best_bid,
            b"best_ask" => &mut self.best_ask,
            b"best_bid_size" => &mut self.best_bid_size,
            b"best_ask_size" => &mut self.best_ask_size,
            _ => return None,
        })
    }

    fn kind(&self) -> &'a [u8] {
        self.kind.map_or(&b""[..], |(text, _)| text)
    }
}

/// A field that must be there.
fn needed<'a>(field: Text<'a>, expected: &'static str) -> Result<(&'a [u8], usize), ScanError> {
    field.ok_or(ScanError { offset: 0, expected })
}

fn unsigned(field: Text<'_>, expected: &'static str) -> Result<u64, ScanError> {
    let (text, offset) = needed(field, expected)?;
    parse_unsigned(text).ok_or(ScanError { offset, expected })
}

/// ns of a time that the feed sends with every market message; 0 without one.
fn time(field: Text<'_>) -> Result<i64, ScanError> {
    let Some((text, offset)) = field else { return Ok(0) };
    rfc3339(text).ok_or(ScanError { offset, expected: "a time as in RFC 3339, UTC" })
}

/// Decodes frames and keeps their levels.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
    /// Whether the frame that failed last may have changed a book: its type says no other or cannot be read.
    pub(super) may_change_book: bool,
    /// Of the frame decoded last.
    pub(super) unknown: Unknown,
}

/// Whether the venue's documents have a field of this name, in a message that is decoded, that is not read.
fn is_passed(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 33] = [
        b"maker_order_id",
        b"taker_order_id",
        b"open_24h",
        b"volume_24h",
        b"low_24h",
        b"high_24h",
        b"volume_30d",
        b"last_size",
        b"remaining_size",
        b"order_type",
        b"client_oid",
        b"client-oid",
        b"funds",
        b"reason",
        b"new_size",
        b"old_size",
        b"new_price",
        b"old_price",
        b"new_funds",
        b"old_funds",
        b"user_id",
        b"profile_id",
        b"taker_user_id",
        b"taker_profile_id",
        b"taker_fee_rate",
        b"maker_user_id",
        b"maker_profile_id",
        b"maker_fee_rate",
        b"cancel_reason",
        b"stop_type",
        b"stop_price",
        b"timestamp",
        b"private",
    ];
    NAMES.contains(&name)
}

impl Decoder {
    /// The frame in `body`.
    pub(super) fn decode<'a>(&mut self, body: &'a [u8], exponents: Exponents<'_>) -> Result<Frame<'a>, Failure<'a>> {
        self.bids.clear();
        self.asks.clear();
        self.unknown = Unknown::default();
        self.may_change_book = true;
        let mut fields = Fields::default();
        let mut scanner = Scanner::new(body);
        self.object(&mut scanner, &mut fields, exponents)?;
        scanner.end()?;
        self.frame(&scanner, &fields, exponents)
    }

    fn object<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        fields: &mut Fields<'a>,
        exponents: Exponents<'_>,
    ) -> Result<(), Failure<'a>> {
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(name) = scanner.key(&mut first)? {
            let twice = scanner.error("each field once");
            if let Some(field) = fields.text(name) {
                let byte = scanner.peek();
                let at = scanner.position();
                let value = match byte {
                    Some(b'"') => (scanner.string()?, at + 1),
                    Some(b'0'..=b'9' | b'-') => (scanner.number()?, at),
                    // `null` is how a missing value may be written.
                    _ => {
                        scanner.skip()?;
                        continue;
                    }
                };
                if field.replace(value).is_some() {
                    return Err(twice.into());
                }
                if name == b"type" {
                    self.may_change_book = !matches!(
                        value.0,
                        b"match"
                            | b"last_match"
                            | b"ticker"
                            | b"heartbeat"
                            | b"subscriptions"
                            | b"error"
                            | b"status"
                            | b"received"
                            | b"open"
                            | b"change"
                            | b"done"
                            | b"activate"
                    );
                }
                continue;
            }
            let array = match name {
                b"changes" => &mut fields.changes,
                b"bids" => &mut fields.bids,
                b"asks" => &mut fields.asks,
                b"channels" => {
                    scanner.peek();
                    fields.channels = Some(scanner.position());
                    scanner.skip()?;
                    continue;
                }
                _ => {
                    self.unknown.field(scanner, is_passed(name))?;
                    continue;
                }
            };
            if *array != Array::Absent {
                return Err(twice.into());
            }
            // The usual order has type and product before the levels, which are then read where they stand.
            let is_changes = name == b"changes";
            let (kind, product) = (fields.kind.map(|(kind, _)| kind), fields.product);
            match (kind, product) {
                (Some(b"l2update"), Some((symbol, _))) if is_changes => {
                    let scale = Scale { symbol, exponents: exponents(symbol) };
                    self.changes(scanner, &scale)?;
                    *array = Array::Read;
                }
                (Some(b"snapshot"), Some((symbol, _))) if !is_changes => {
                    let scale = Scale { symbol, exponents: exponents(symbol) };
                    let side = if name == b"bids" { &mut self.bids } else { &mut self.asks };
                    levels(scanner, (side, &mut self.unknown), &scale)?;
                    *array = Array::Read;
                }
                _ => {
                    scanner.peek();
                    *array = Array::At(scanner.position());
                    scanner.skip()?;
                }
            }
        }
        Ok(())
    }

    fn frame<'a>(
        &mut self,
        scanner: &Scanner<'a>,
        fields: &Fields<'a>,
        exponents: Exponents<'_>,
    ) -> Result<Frame<'a>, Failure<'a>> {
        let symbol = || needed(fields.product, "`product_id`").map(|(symbol, _)| symbol);
        let sequence = || fields.sequence.map(|_| unsigned(fields.sequence, "`sequence` as an integer")).transpose();
        let placed = |array, expected| match array {
            Array::Absent => Err(ScanError { offset: 0, expected }),
            Array::At(at) => {
                let mut scanner = scanner.clone();
                scanner.seek(at);
                Ok(Some(scanner))
            }
            Array::Read => Ok(None),
        };
        Ok(match fields.kind() {
            b"l2update" => {
                let symbol = symbol()?;
                if let Some(mut scanner) = placed(fields.changes, "`changes` as an array")? {
                    self.changes(&mut scanner, &Scale { symbol, exponents: exponents(symbol) })?;
                }
                Frame::Update { symbol, ts_event: time(fields.time)? }
            }
            b"snapshot" => {
                let symbol = symbol()?;
                let scale = Scale { symbol, exponents: exponents(symbol) };
                for (array, side, expected) in [
                    (fields.bids, &mut self.bids, "`bids` as an array"),
                    (fields.asks, &mut self.asks, "`asks` as an array"),
                ] {
                    if let Some(mut scanner) = placed(array, expected)? {
                        levels(&mut scanner, (side, &mut self.unknown), &scale)?;
                    }
                }
                Frame::Snapshot { symbol, ts_event: time(fields.time)? }
            }
            kind @ (b"match" | b"last_match") => {
                let symbol = symbol()?;
                let scale = Scale { symbol, exponents: exponents(symbol) };
                let (price, price_at) = needed(fields.price, "`price`")?;
                let (size, size_at) = needed(fields.size, "`size`")?;
                let print = Print {
                    ts_event: needed(fields.time, "`time`").and_then(|_| time(fields.time))?,
                    trade_id: unsigned(fields.trade_id, "`trade_id` as an integer")?,
                    price: scale.units(price, price_at, Quantity::Price)?,
                    size: scale.units(size, size_at, Quantity::Size)?,
                    side: aggressor(needed(fields.side, "`side`")?.0),
                    flags: 0,
                };
                self.unknown.values += u64::from(print.side == SIDE_NONE);
                Frame::Match { symbol, sequence: sequence()?, print, is_last: kind == b"last_match" }
            }
            b"ticker" => {
                let symbol = symbol()?;
                let scale = Scale { symbol, exponents: exponents(symbol) };
                let mut top = Top { bid: NO_LEVEL, ask: NO_LEVEL };
                for (level, price, size) in [
                    (&mut top.bid, fields.best_bid, fields.best_bid_size),
                    (&mut top.ask, fields.best_ask, fields.best_ask_size),
                ] {
                    for (units, text, quantity) in
                        [(&mut level.price, price, Quantity::Price), (&mut level.size, size, Quantity::Size)]
                    {
                        // A side without orders is an empty text or a zero.
                        if let Some((text, at)) = text.filter(|(text, _)| !text.is_empty()) {
                            *units = scale.units(text, at, quantity)?;
                        }
                    }
                }
                let sequence = unsigned(fields.sequence, "`sequence` as an integer")?;
                Frame::Ticker { symbol, sequence, ts_event: time(fields.time)?, top }
            }
            b"heartbeat" => Frame::Heartbeat {
                symbol: symbol()?,
                ts_event: time(fields.time)?,
                last_trade_id: unsigned(fields.last_trade_id, "`last_trade_id` as an integer")?,
            },
            kind @ (b"received" | b"open" | b"change" | b"done" | b"activate") => {
                let symbol = symbol()?;
                needed(fields.order_id, "`order_id`")?;
                // Who activates a stop order is told to its owner, outside of the product's sequence.
                if kind != b"activate" {
                    needed(fields.sequence, "`sequence` as an integer")?;
                    needed(fields.side, "`side`")?;
                }
                Frame::Order { symbol, sequence: sequence()?, ts_event: time(fields.time)? }
            }
            b"subscriptions" => {
                let missing = ScanError { offset: 0, expected: "`channels`" };
                Frame::Subscriptions { channels: fields.channels.ok_or(missing)? }
            }
            b"error" => Frame::Refused,
            b"status" | b"level3" | b"auction" | b"rfq_match" => Frame::Other,
            // A frame with levels whose type is none of those with levels is a damaged one, and what it did is not known.
            _ if [fields.changes, fields.bids, fields.asks] != [Array::Absent; 3] => {
                let offset = fields.kind.map_or(0, |(_, at)| at);
                return Err(ScanError { offset, expected: "`type` l2update or snapshot" }.into());
            }
            b"" => return Err(ScanError { offset: 0, expected: "`type`" }.into()),
            _ => Frame::Unknown,
        })
    }

    /// Reads `[["buy","price","size"],..]`.
    fn changes<'a>(&mut self, scanner: &mut Scanner<'a>, scale: &Scale<'a>) -> Result<(), Failure<'a>> {
        scanner.expect(b'[', "an array of changes")?;
        let mut first = true;
        while scanner.element(&mut first)? {
            scanner.expect(b'[', "a change")?;
            let mut inner = true;
            next(scanner, &mut inner)?;
            let side = match scanner.string()? {
                b"buy" => &mut self.bids,
                b"sell" => &mut self.asks,
                _ => return Err(scanner.error("`buy` or `sell`").into()),
            };
            next(scanner, &mut inner)?;
            let price = scale.string(scanner, Quantity::Price)?;
            next(scanner, &mut inner)?;
            let size = scale.string(scanner, Quantity::Size)?;
            self.unknown.columns(scanner, &mut inner)?;
            side.push(level(scanner, price, size)?);
        }
        Ok(())
    }
}

/// Steps to the next element of a level, which must be there.
#[inline]
fn next(scanner: &mut Scanner<'_>, first: &mut bool) -> Result<(), ScanError> {
    if scanner.element(first)? { Ok(()) } else { Err(scanner.error("price and size")) }
}

/// The side of who came to the market, given that of who waited; the venue's word is the maker's.
pub(super) fn aggressor(maker: &[u8]) -> i8 {
    match maker {
        b"buy" | b"BUY" => SIDE_SELL,
        b"sell" | b"SELL" => SIDE_BUY,
        _ => SIDE_NONE,
    }
}

/// Reads `[["price","size"],..]` of a snapshot.
fn levels<'a>(
    scanner: &mut Scanner<'a>,
    (out, unknown): (&mut Vec<Level>, &mut Unknown),
    scale: &Scale<'a>,
) -> Result<(), Failure<'a>> {
    scanner.peek();
    let start = scanner.position();
    scanner.expect(b'[', "an array of levels")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        if let Some((level, end)) = fast_level(scanner.bytes(), scanner.position(), scale) {
            out.push(level);
            scanner.seek(end);
            continue;
        }
        scanner.expect(b'[', "a level")?;
        let mut inner = true;
        let mut number = |quantity| {
            next(scanner, &mut inner)?;
            scanner.peek();
            let at = scanner.position();
            scale.string(scanner, quantity).map_err(|failed| {
                let mut failing = scanner.clone();
                failing.seek(at);
                let text = failing.string().unwrap_or_default();
                let texts = |each: &mut dyn FnMut(&[u8])| {
                    let mut scanner = scanner.clone();
                    scanner.seek(start);
                    // What is behind the failure is not checked yet: it counts up to where it stops making sense.
                    let _ = for_each(&mut scanner, quantity, each);
                };
                snapshot_failure(failed, scale, (quantity, text), texts)
            })
        };
        let price = number(Quantity::Price)?;
        let size = number(Quantity::Size)?;
        unknown.columns(scanner, &mut inner)?;
        out.push(level(scanner, price, size)?);
    }
    Ok(())
}

/// `["price","size"]` at `at` without white space, and the place behind it.
#[inline]
fn fast_level(bytes: &[u8], at: usize, scale: &Scale<'_>) -> Option<(Level, usize)> {
    if bytes.get(at..at + 2)? != b"[\"" {
        return None;
    }
    let (price, end) = quoted(bytes, at + 2, scale.exponents.0)?;
    if bytes.get(end..end + 2)? != b",\"" {
        return None;
    }
    let (size, end) = quoted(bytes, end + 2, scale.exponents.1)?;
    (*bytes.get(end)? == b']' && price != 0).then_some((Level { price, size }, end + 1))
}

/// Calls `each` with the text of one quantity of every level.
fn for_each(scanner: &mut Scanner<'_>, quantity: Quantity, each: &mut dyn FnMut(&[u8])) -> Result<(), ScanError> {
    scanner.expect(b'[', "an array of levels")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        scanner.expect(b'[', "a level")?;
        let mut inner = true;
        next(scanner, &mut inner)?;
        let price = scanner.string()?;
        next(scanner, &mut inner)?;
        let size = scanner.string()?;
        while scanner.element(&mut inner)? {
            scanner.skip()?;
        }
        each(if quantity == Quantity::Price { price } else { size });
    }
    Ok(())
}

/// Calls `each` with channel and product of every subscription in the array at `channels`.
pub(super) fn subscriptions<'a>(
    body: &'a [u8],
    channels: usize,
    mut each: impl FnMut(&'a [u8], &'a [u8]),
) -> Result<(), ScanError> {
    let mut scanner = Scanner::new(body);
    scanner.seek(channels);
    scanner.expect(b'[', "an array of channels")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        scanner.expect(b'{', "a channel")?;
        let (mut name, mut products) = (None, None);
        let mut inner = true;
        while let Some(key) = scanner.key(&mut inner)? {
            match (key, scanner.peek()) {
                (b"name", Some(b'"')) => name = Some(scanner.string()?),
                (b"product_ids", Some(b'[')) => {
                    products = Some(scanner.position());
                    scanner.skip()?;
                }
                _ => {
                    scanner.skip()?;
                }
            }
        }
        let (Some(name), Some(products)) = (name, products) else { continue };
        let mut scanner = scanner.clone();
        scanner.seek(products);
        scanner.expect(b'[', "an array of products")?;
        let mut inner = true;
        while scanner.element(&mut inner)? {
            each(name, scanner.string()?);
        }
    }
    Ok(())
}
