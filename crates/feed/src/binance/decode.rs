//! Frames and REST depth answers of Binance spot, its futures and Binance.US.
//!
//! One pass over the frame collects the fields it knows, whatever their order and whether or not a combined-stream
//! wrapper is around them; the event name then says which of them must be there. Unknown fields are stepped over, an
//! unknown event is no error, a known event that lacks a field is. Levels go into vectors that are kept, so a warm
//! decoder allocates nothing.
//!
//! Source: Binance documentation of spot, USD-M and COIN-M futures, "WebSocket Streams" and "Market data endpoints"; field
//! sets checked on recordings of 2021, 2023 and 2024.

use tidebook_book::Level;
use tidebook_types::records::{SIDE_BUY, SIDE_SELL};
use tidebook_types::{Exponent, parse_units};

use super::rules::Chain;
use crate::decimal::{FAST_EXPONENT, quoted, quoted_at_eight};
use crate::failure::{Failure, Quantity};
use crate::market::{NO_LEVEL, Print, Top};
use crate::scan::{ScanError, Scanner, Unknown, parse_unsigned};

/// Times beyond 2200 are damage; their ns would come near the end of an `i64`.
const TS_MS_MAX: u64 = 7_258_118_400_000;

/// What a frame is. Its levels, if any, are in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// `previous` is the last id of the message before, as the venue's chain tells it.
    Depth {
        symbol: &'a [u8],
        ts_event: i64,
        previous: u64,
        first: u64,
        last: u64,
    },
    Trade {
        symbol: &'a [u8],
        print: Print,
    },
    AggTrade,
    BookTicker {
        symbol: &'a [u8],
        ts_event: i64,
        update_id: u64,
        top: Top,
    },
    Snapshot {
        ts_event: i64,
        last_update_id: u64,
    },
    Acknowledged,
    Refused {
        code: u64,
    },
    Shutdown {
        ts_event: i64,
    },
    Unknown,
}

/// Wire names we look at. Capital and small letters differ on Binance.
#[derive(Debug, Clone, Copy)]
enum Key {
    Stream,
    Event,
    EventTime,
    Symbol,
    FirstId,
    LastId,
    Bids,
    Asks,
    BidSize,
    AskSize,
    TradeId,
    Price,
    Size,
    EngineTime,
    BuyerIsMaker,
    PreviousId,
    LastUpdateId,
    RestBids,
    RestAsks,
    Result,
    Code,
    Origin,
}

const KEYS: usize = Key::Origin as usize + 1;

impl Key {
    #[inline]
    const fn of(name: &[u8]) -> Option<Self> {
        // Streams name nearly every field by one letter, and one byte is a jump instead of a row of comparisons.
        if let [letter] = name {
            return Some(match letter {
                b'e' => Self::Event,
                b'E' => Self::EventTime,
                b's' => Self::Symbol,
                b'U' => Self::FirstId,
                b'u' => Self::LastId,
                b'b' => Self::Bids,
                b'a' => Self::Asks,
                b'B' => Self::BidSize,
                b'A' => Self::AskSize,
                b't' => Self::TradeId,
                b'p' => Self::Price,
                b'q' => Self::Size,
                b'T' => Self::EngineTime,
                b'm' => Self::BuyerIsMaker,
                b'X' => Self::Origin,
                _ => return None,
            });
        }
        Some(match name {
            b"stream" => Self::Stream,
            b"pu" => Self::PreviousId,
            b"lastUpdateId" => Self::LastUpdateId,
            b"bids" => Self::RestBids,
            b"asks" => Self::RestAsks,
            b"result" => Self::Result,
            b"code" => Self::Code,
            _ => return None,
        })
    }

    /// Whether the venue's documents have a field of this name that is not read: a flag that means nothing (`M`), names
    /// that stand elsewhere too (`ps`, `pair`, `symbol`), the sender's own number of a request (`id`).
    const fn is_passed(name: &[u8]) -> bool {
        matches!(name, b"M" | b"ps" | b"pair" | b"symbol" | b"id" | b"msg" | b"data")
    }
}

/// What a trade of futures came from (`X`), by the venue's documents.
const fn is_origin(word: &[u8]) -> bool {
    matches!(word, b"MARKET" | b"INSURANCE_FUND" | b"ADL" | b"NA")
}

/// A value whose meaning the event decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Absent,
    Text {
        text: &'a [u8],
        at: usize,
    },
    Number {
        text: &'a [u8],
        at: usize,
    },
    Boolean(bool),
    /// An array whose levels are already in the decoder.
    Levels,
    /// An array at this place, stepped over.
    Array {
        at: usize,
    },
    Other,
}

impl<'a> Value<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let byte = scanner.peek();
        let at = scanner.position();
        Ok(match byte {
            Some(b'"') => Self::Text { text: scanner.string()?, at },
            Some(b'0'..=b'9' | b'-') => Self::Number { text: scanner.number()?, at },
            Some(b't' | b'f') => Self::Boolean(scanner.boolean()?),
            Some(b'[') => {
                scanner.skip()?;
                Self::Array { at }
            }
            _ => {
                scanner.skip()?;
                Self::Other
            }
        })
    }
}

/// The fields of a frame.
struct Fields<'a>([Value<'a>; KEYS]);

impl<'a> Fields<'a> {
    const fn get(&self, key: Key) -> Value<'a> {
        self.0[key as usize]
    }

    fn has(&self, key: Key) -> bool {
        self.get(key) != Value::Absent
    }

    const fn text(&self, key: Key, expected: &'static str) -> Result<&'a [u8], ScanError> {
        match self.get(key) {
            Value::Text { text, .. } => Ok(text),
            other => Err(other.unlike(expected)),
        }
    }

    fn unsigned(&self, key: Key, expected: &'static str) -> Result<u64, ScanError> {
        match self.get(key) {
            Value::Number { text, at } => parse_unsigned(text).ok_or(ScanError { offset: at, expected }),
            other => Err(other.unlike(expected)),
        }
    }

    /// ns of a venue time: ms, or µs on connections that asked for them.
    fn time(&self, key: Key, expected: &'static str) -> Result<i64, ScanError> {
        let time = self.unsigned(key, expected)?;
        match time {
            0..=TS_MS_MAX => Ok(time as i64 * 1_000_000),
            _ if time <= TS_MS_MAX * 1_000 => Ok(time as i64 * 1_000),
            _ => Err(self.get(key).unlike(expected)),
        }
    }

    /// Whether these are the best levels of the book and no changes: on futures both have the same event, and only the
    /// stream's name (`btcusdt@depth20@100ms`) tells them apart.
    fn is_partial_depth(&self) -> bool {
        let Value::Text { text: stream, .. } = self.get(Key::Stream) else { return false };
        let kind = stream.iter().position(|&byte| byte == b'@').map_or(&[][..], |at| &stream[at + 1..]);
        kind.strip_prefix(b"depth").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
    }

    /// When a state of the book was made by the matching engine (`T`, futures), else when it was sent (`E`).
    fn book_time(&self) -> Result<Option<i64>, ScanError> {
        match (self.has(Key::EngineTime), self.has(Key::EventTime)) {
            (true, _) => self.time(Key::EngineTime, "`T` as a time").map(Some),
            (false, true) => self.time(Key::EventTime, "`E` as a time").map(Some),
            (false, false) => Ok(None),
        }
    }

    /// Units of a quoted decimal that is not negative.
    #[inline(always)]
    fn decimal(
        &self,
        scanner: &Scanner<'a>,
        key: Key,
        symbol: &'a [u8],
        (quantity, exponent): (Quantity, Exponent),
        expected: &'static str,
    ) -> Result<i64, Failure<'a>> {
        let Value::Text { text, at } = self.get(key) else { return Err(self.get(key).unlike(expected).into()) };
        if exponent == FAST_EXPONENT
            && let Some((units, _)) = quoted_at_eight(scanner.bytes(), at + 1)
        {
            return Ok(units);
        }
        decimal_at(scanner.bytes(), text, at + 1, symbol, (quantity, exponent))
    }
}

impl Value<'_> {
    const fn unlike(&self, expected: &'static str) -> ScanError {
        let offset = match self {
            Self::Text { at, .. } | Self::Number { at, .. } | Self::Array { at } => *at,
            _ => 0,
        };
        ScanError { offset, expected }
    }
}

/// Decodes frames and keeps their levels.
#[derive(Debug)]
pub(crate) struct Decoder {
    chain: Chain,
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
    /// Of the frame decoded last.
    pub(crate) unknown: Unknown,
}

impl Decoder {
    pub(crate) const fn new(chain: Chain) -> Self {
        Self { chain, bids: Vec::new(), asks: Vec::new(), unknown: Unknown { fields: 0, values: 0 } }
    }

    /// The frame in `body`. `exponents` tells those in force for a symbol; `rest_symbol` is that of a REST depth
    /// answer, which does not name it.
    pub(crate) fn decode<'a>(
        &mut self,
        body: &'a [u8],
        rest_symbol: Option<&'a [u8]>,
        exponents: impl Fn(&[u8]) -> (Exponent, Exponent),
    ) -> Result<Frame<'a>, Failure<'a>> {
        self.bids.clear();
        self.asks.clear();
        self.unknown = Unknown::default();
        let mut scanner = Scanner::new(body);
        let mut fields = Fields([Value::Absent; KEYS]);
        if rest_symbol.is_none() && scanner.peek() == Some(b'[') {
            // Streams of all symbols at once, without a wrapper.
            scanner.skip()?;
            scanner.end()?;
            return Ok(Frame::Unknown);
        }
        self.object(&mut scanner, &mut fields, rest_symbol, &exponents, false)?;
        scanner.end()?;
        self.frame(&scanner, &fields, rest_symbol, &exponents)
    }

    fn object<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        fields: &mut Fields<'a>,
        rest_symbol: Option<&'a [u8]>,
        exponents: &impl Fn(&[u8]) -> (Exponent, Exponent),
        in_wrapper: bool,
    ) -> Result<(), Failure<'a>> {
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(name) = scanner.key(&mut first)? {
            let Some(key) = Key::of(name) else {
                if name == b"data" && !in_wrapper && scanner.peek() == Some(b'{') {
                    self.object(scanner, fields, rest_symbol, exponents, true)?;
                } else {
                    self.unknown.field(scanner, Key::is_passed(name))?;
                }
                continue;
            };
            if fields.has(key) {
                return Err(scanner.error("each field once").into());
            }
            // The usual order has event and symbol before the levels, which are then read where they stand.
            let symbol = match (key, rest_symbol) {
                (Key::Bids | Key::Asks, None) => match (fields.get(Key::Event), fields.get(Key::Symbol)) {
                    (Value::Text { text: b"depthUpdate", .. }, Value::Text { text, .. }) => Some(text),
                    _ => None,
                },
                (Key::RestBids | Key::RestAsks, symbol) => symbol,
                _ => None,
            };
            fields.0[key as usize] = match symbol {
                Some(symbol) if scanner.peek() == Some(b'[') => {
                    let bids = matches!(key, Key::Bids | Key::RestBids);
                    let side = if bids { &mut self.bids } else { &mut self.asks };
                    levels(scanner, (side, &mut self.unknown), symbol, exponents(symbol))?;
                    Value::Levels
                }
                _ => Value::read(scanner)?,
            };
        }
        Ok(())
    }

    fn frame<'a>(
        &mut self,
        scanner: &Scanner<'a>,
        fields: &Fields<'a>,
        rest_symbol: Option<&'a [u8]>,
        exponents: &impl Fn(&[u8]) -> (Exponent, Exponent),
    ) -> Result<Frame<'a>, Failure<'a>> {
        if rest_symbol.is_some() {
            if fields.has(Key::Code) {
                return Ok(Frame::Refused { code: 0 });
            }
            let last_update_id = fields.unsigned(Key::LastUpdateId, "`lastUpdateId` as an integer")?;
            for (key, expected) in [(Key::RestBids, "`bids` as an array"), (Key::RestAsks, "`asks` as an array")] {
                if fields.get(key) != Value::Levels {
                    return Err(fields.get(key).unlike(expected).into());
                }
            }
            return Ok(Frame::Snapshot { ts_event: fields.book_time()?.unwrap_or(0), last_update_id });
        }
        let event = match fields.get(Key::Event) {
            Value::Text { text, .. } => text,
            Value::Absent if fields.has(Key::BidSize) && fields.has(Key::AskSize) && !fields.has(Key::EventTime) => {
                b"bookTicker"
            }
            Value::Absent if fields.has(Key::Result) => return Ok(Frame::Acknowledged),
            Value::Absent if fields.has(Key::Code) => {
                return Ok(Frame::Refused { code: fields.unsigned(Key::Code, "`code` as an integer").unwrap_or(0) });
            }
            // Partial depth and whatever else has no event name.
            _ => return Ok(Frame::Unknown),
        };
        match event {
            b"depthUpdate" | b"trade" | b"bookTicker" => {}
            b"aggTrade" => return Ok(Frame::AggTrade),
            b"serverShutdown" => {
                return Ok(Frame::Shutdown { ts_event: fields.time(Key::EventTime, "`E` as a time")? });
            }
            _ => return Ok(Frame::Unknown),
        }
        let symbol = fields.text(Key::Symbol, "`s` as a symbol")?;
        // The venue writes none in lower case: it would be another instrument with the name of this one.
        if let Value::Text { at, .. } = fields.get(Key::Symbol)
            && symbol.iter().any(u8::is_ascii_lowercase)
        {
            return Err(ScanError { offset: at, expected: "a symbol in upper case" }.into());
        }
        if let Value::Text { text: stream, at } = fields.get(Key::Stream)
            && let Some(size) = stream.iter().position(|&byte| byte == b'@')
            && !stream[..size].iter().copied().eq(symbol.iter().map(u8::to_ascii_lowercase))
        {
            return Err(ScanError { offset: at, expected: "a stream of the message's symbol" }.into());
        }
        if self.chain == Chain::Previous && event == b"depthUpdate" && fields.is_partial_depth() {
            return Ok(Frame::Unknown);
        }
        let (price_exp, size_exp) = exponents(symbol);
        match event {
            b"depthUpdate" => {
                for (key, side, expected) in
                    [(Key::Bids, &mut self.bids, "`b` as an array"), (Key::Asks, &mut self.asks, "`a` as an array")]
                {
                    match fields.get(key) {
                        Value::Levels => {}
                        Value::Array { at } => {
                            let mut scanner = scanner.clone();
                            scanner.seek(at);
                            levels(&mut scanner, (side, &mut self.unknown), symbol, (price_exp, size_exp))?;
                        }
                        other => return Err(other.unlike(expected).into()),
                    }
                }
                let first = fields.unsigned(Key::FirstId, "`U` as an integer")?;
                let last = fields.unsigned(Key::LastId, "`u` as an integer")?;
                if first > last || last == u64::MAX {
                    return Err(fields.get(Key::LastId).unlike("`u` not below `U`").into());
                }
                let previous = match self.chain {
                    Chain::First if fields.has(Key::PreviousId) => {
                        let expected = "a message of a spot market (`pu` is of futures)";
                        return Err(fields.get(Key::PreviousId).unlike(expected).into());
                    }
                    Chain::First => first.checked_sub(1),
                    Chain::Previous => Some(fields.unsigned(Key::PreviousId, "`pu` as an integer")?)
                        .filter(|&previous| previous < first),
                };
                let Some(previous) = previous else {
                    return Err(fields.get(Key::FirstId).unlike("`U` above the id before").into());
                };
                let Some(ts_event) = fields.book_time()? else {
                    return Err(fields.get(Key::EventTime).unlike("`E` as a time").into());
                };
                Ok(Frame::Depth { symbol, ts_event, previous, first, last })
            }
            b"trade" => {
                let trade_id = fields.unsigned(Key::TradeId, "`t` as an integer")?;
                let price =
                    fields.decimal(scanner, Key::Price, symbol, (Quantity::Price, price_exp), "`p` as a decimal")?;
                let size =
                    fields.decimal(scanner, Key::Size, symbol, (Quantity::Size, size_exp), "`q` as a decimal")?;
                let Value::Boolean(buyer_is_maker) = fields.get(Key::BuyerIsMaker) else {
                    return Err(fields.get(Key::BuyerIsMaker).unlike("`m` as true or false").into());
                };
                let side = if buyer_is_maker { SIDE_SELL } else { SIDE_BUY };
                if let Value::Text { text, .. } = fields.get(Key::Origin) {
                    self.unknown.values += u64::from(!is_origin(text));
                }
                let ts_event = fields.time(Key::EngineTime, "`T` as a time")?;
                Ok(Frame::Trade { symbol, print: Print { ts_event, trade_id, price, size, side, flags: 0 } })
            }
            _ => {
                let update_id = fields.unsigned(Key::LastId, "`u` as an integer")?;
                let mut top = Top { bid: NO_LEVEL, ask: NO_LEVEL };
                for (level, price, size) in
                    [(&mut top.bid, Key::Bids, Key::BidSize), (&mut top.ask, Key::Asks, Key::AskSize)]
                {
                    level.price =
                        fields.decimal(scanner, price, symbol, (Quantity::Price, price_exp), "a best price")?;
                    level.size = fields.decimal(scanner, size, symbol, (Quantity::Size, size_exp), "a best size")?;
                }
                Ok(Frame::BookTicker { symbol, ts_event: fields.book_time()?.unwrap_or(0), update_id, top })
            }
        }
    }
}

/// Appends the levels of an array `[["price","size"],..]` to `out`.
fn levels<'a>(
    scanner: &mut Scanner<'a>,
    (out, unknown): (&mut Vec<Level>, &mut Unknown),
    symbol: &'a [u8],
    (price_exp, size_exp): (Exponent, Exponent),
) -> Result<(), Failure<'a>> {
    scanner.expect(b'[', "an array of levels")?;
    let mut first = if price_exp == FAST_EXPONENT && size_exp == FAST_EXPONENT {
        fast_levels(scanner, out, quoted_at_eight, quoted_at_eight)
    } else {
        short_levels(scanner, out, (price_exp, size_exp))
    };
    // The end of the array, and every level that is not written the usual way. `first` is true behind a comma, where
    // a level must follow.
    if first && !out.is_empty() && scanner.peek() == Some(b']') {
        return Err(scanner.error("a level").into());
    }
    while scanner.element(&mut first)? {
        scanner.expect(b'[', "a level")?;
        let mut inner = true;
        let mut units_of = |quantity, exponent| {
            if !scanner.element(&mut inner)? {
                return Err(scanner.error("price and size").into());
            }
            let at = scanner.position() + 1;
            units(scanner.string()?, at, symbol, quantity, exponent)
        };
        let price = units_of(Quantity::Price, price_exp)?;
        let size = units_of(Quantity::Size, size_exp)?;
        unknown.columns(scanner, &mut inner)?;
        if price == 0 {
            return Err(scanner.error("a price above 0").into());
        }
        out.push(Level { price, size });
    }
    Ok(())
}

/// Appends levels for as long as they have the usual form. Returns whether the scanner stands where a level must follow,
/// or none was read.
#[inline]
fn fast_levels(
    scanner: &mut Scanner<'_>,
    out: &mut Vec<Level>,
    price: impl Fn(&[u8], usize) -> Option<(i64, usize)>,
    size: impl Fn(&[u8], usize) -> Option<(i64, usize)>,
) -> bool {
    while let Some((level, end)) = fast_level(scanner.bytes(), scanner.position(), &price, &size) {
        out.push(level);
        scanner.seek(end);
        if scanner.bytes().get(end) != Some(&b',') || scanner.bytes().get(end + 1) != Some(&b'[') {
            return false;
        }
        scanner.seek(end + 1);
    }
    true
}

/// [`fast_levels`] of the short numbers that futures print.
#[inline(never)]
fn short_levels(scanner: &mut Scanner<'_>, out: &mut Vec<Level>, (price_exp, size_exp): (Exponent, Exponent)) -> bool {
    fast_levels(scanner, out, |bytes, at| quoted(bytes, at, price_exp), |bytes, at| quoted(bytes, at, size_exp))
}

/// `["price","size"]` at `at` in the usual form, and the place behind it.
#[inline]
fn fast_level(
    bytes: &[u8],
    at: usize,
    price: impl Fn(&[u8], usize) -> Option<(i64, usize)>,
    size: impl Fn(&[u8], usize) -> Option<(i64, usize)>,
) -> Option<(Level, usize)> {
    if bytes.get(at..at + 2)? != b"[\"" {
        return None;
    }
    let (price, end) = price(bytes, at + 2)?;
    if bytes.get(end..end + 2)? != b",\"" {
        return None;
    }
    let (size, end) = size(bytes, end + 2)?;
    if *bytes.get(end)? != b']' || price == 0 {
        return None;
    }
    Some((Level { price, size }, end + 1))
}

/// Units of a quoted decimal whose text begins at `at`, whatever its exponent. Of its own, so that spot's way around it
/// stays short.
#[inline(never)]
fn decimal_at<'a>(
    bytes: &[u8],
    text: &[u8],
    at: usize,
    symbol: &'a [u8],
    (quantity, exponent): (Quantity, Exponent),
) -> Result<i64, Failure<'a>> {
    match quoted(bytes, at, exponent) {
        Some((units, _)) => Ok(units),
        None => units(text, at, symbol, quantity, exponent),
    }
}

/// Units of a decimal that must not be negative; `at` is where its text stands.
fn units<'a>(
    text: &[u8],
    at: usize,
    symbol: &'a [u8],
    quantity: Quantity,
    exponent: Exponent,
) -> Result<i64, Failure<'a>> {
    match parse_units(text, exponent) {
        Ok(units) if units >= 0 => Ok(units),
        Ok(_) => Err(ScanError { offset: at, expected: "a decimal that is not negative" }.into()),
        Err(error) => Err(Failure::of_decimal(error, text, at, symbol, quantity)),
    }
}

/// The symbol of a REST depth request (`/api/v3/depth?symbol=BTCUSDT&limit=1000`; futures `/fapi/v1/`, `/dapi/v1/`).
pub(crate) fn depth_symbol(target: &[u8]) -> Option<&[u8]> {
    let (path, query) = target.split_at(target.iter().position(|&byte| byte == b'?')?);
    if !path.ends_with(b"/depth") {
        return None;
    }
    query[1..].split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"symbol="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &str) -> Result<(Frame<'_>, Vec<Level>, Vec<Level>), Failure<'_>> {
        decode_as(Chain::First, (8, 8), body)
    }

    fn decode_as(
        chain: Chain,
        exponents: (Exponent, Exponent),
        body: &str,
    ) -> Result<(Frame<'_>, Vec<Level>, Vec<Level>), Failure<'_>> {
        let mut decoder = Decoder::new(chain);
        let frame = decoder.decode(body.as_bytes(), None, |_| exponents)?;
        Ok((frame, decoder.bids, decoder.asks))
    }

    const DEPTH: &str = r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":5,"u":7,"b":[["61737.63000000","0.00000000"],["61730.17000000","1.50000000"]],"a":[["61837.64000000","1.54698000"]]}}"#;

    fn level(price: i64, size: i64) -> Level {
        Level { price, size }
    }

    #[test]
    fn a_depth_update_gives_its_ids_and_levels_in_any_order_of_fields() {
        let expected =
            Frame::Depth { symbol: b"BTCUSDT", ts_event: 1_723_161_255_208_000_000, previous: 4, first: 5, last: 7 };
        let bids = vec![level(6_173_763_000_000, 0), level(6_173_017_000_000, 150_000_000)];
        let asks = vec![level(6_183_764_000_000, 154_698_000)];
        let turned = r#"{ "data" : {"a":[ ["61837.64", "1.54698000", "x"] ],"b":[["61737.63","0"] , ["61730.17000000","1.5"]],"z":{"b":1},
            "u":7,"U":5,"s":"BTCUSDT","E":1723161255208000,"e":"depthUpdate"}, "stream":"btcusdt@depth"}"#;
        let raw = DEPTH.strip_prefix(r#"{"stream":"btcusdt@depth@100ms","data":"#).unwrap().strip_suffix('}').unwrap();
        for body in [DEPTH, turned, raw] {
            assert_eq!(decode(body), Ok((expected, bids.clone(), asks.clone())), "{body}");
        }
    }

    #[test]
    fn each_event_gives_its_frame() {
        let print = Print {
            ts_event: 1_723_161_255_342_000_000,
            trade_id: 9,
            price: 6_183_763_000_000,
            size: 2_000_000,
            side: SIDE_SELL,
            flags: 0,
        };
        let ticker = Top { bid: level(100_000_000, 200_000_000), ask: level(300_000_000, 400_000_000) };
        for (body, frame) in [
            (
                r#"{"e":"trade","E":1,"s":"X","t":9,"p":"61837.63000000","q":"0.02000000","b":1,"a":2,"T":1723161255342,"m":true,"M":true}"#,
                Frame::Trade { symbol: b"X", print },
            ),
            (
                r#"{"stream":"x@bookTicker","data":{"u":12,"s":"X","b":"1.00000000","B":"2.00000000","a":"3","A":"4"}}"#,
                Frame::BookTicker { symbol: b"X", ts_event: 0, update_id: 12, top: ticker },
            ),
            (r#"{"e":"aggTrade","a":5,"p":"1","q":"1"}"#, Frame::AggTrade),
            (r#"{"e":"kline","E":1,"s":"X","k":{"t":1,"b":"x","B":[1]}}"#, Frame::Unknown),
            (r#"{"e":"24hrTicker","E":1,"s":"X","p":"-1","b":"1","B":"2","a":"3","A":"4"}"#, Frame::Unknown),
            (r#"{"lastUpdateId":160,"bids":[["0.1","10"]],"asks":[["0.2","1"]]}"#, Frame::Unknown),
            (r#"{"result":null,"id":1}"#, Frame::Acknowledged),
            (r#"{"code":2,"msg":"Invalid request","id":null}"#, Frame::Refused { code: 2 }),
            (
                r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
                Frame::Shutdown { ts_event: 1_770_123_456_789_000_000 },
            ),
        ] {
            assert_eq!(decode(body).map(|(frame, ..)| frame), Ok(frame), "{body}");
        }
    }

    #[test]
    fn futures_say_what_a_depth_update_follows_and_when_each_state_of_the_book_was() {
        let depth = r#"{"stream":"btcusd_perp@depth@0ms","data":{"e":"depthUpdate","E":1723161257440,"T":1723161257432,"s":"BTCUSD_PERP","ps":"BTCUSD","U":260,"u":565,"pu":198,"b":[["61773.6","1001"],["61778.7","0"]],"a":[["1234567890.1", "41"]]}}"#;
        let expected = Frame::Depth {
            symbol: b"BTCUSD_PERP",
            ts_event: 1_723_161_257_432_000_000,
            previous: 198,
            first: 260,
            last: 565,
        };
        let bids = vec![level(6_177_360_000_000, 1_001), level(6_177_870_000_000, 0)];
        let asks = vec![level(123_456_789_010_000_000, 41)];
        assert_eq!(decode_as(Chain::Previous, (8, 0), depth), Ok((expected, bids, asks)));
        for (from, to) in [
            ("\"pu\":198", "\"px\":198"),
            ("\"pu\":198", "\"pu\":260"),
            ("\"pu\":198", "\"pu\":\"198\""),
            ("[\"61773", "\"61773"),
        ] {
            let damaged = depth.replacen(from, to, 1);
            assert_ne!(damaged, depth);
            let found = decode_as(Chain::Previous, (8, 0), &damaged);
            assert!(matches!(found, Err(Failure::Malformed(_))), "{damaged}: {found:?}");
        }
        let print = Print {
            ts_event: 1_680_652_700_452_000_000,
            trade_id: 9,
            price: 2_814_510_000_000,
            size: 20,
            side: SIDE_SELL,
            flags: 0,
        };
        let top = Top { bid: level(2_814_510_000_000, 3_868), ask: level(2_814_520_000_000, 6_887) };
        let ticker = Frame::BookTicker { symbol: b"X", ts_event: 1_680_652_700_430_000_000, update_id: 7, top };
        for (body, frame) in [
            (
                r#"{"e":"trade","E":1680652700455,"T":1680652700452,"s":"X","t":9,"p":"28145.10","q":"0.020","X":"INSURANCE_FUND","m":true}"#,
                Frame::Trade { symbol: b"X", print },
            ),
            (
                r#"{"e":"bookTicker","u":7,"s":"X","b":"28145.10","B":"3.868","a":"28145.20","A":"6.887","T":1680652700430,"E":1680652700435}"#,
                ticker,
            ),
            (r#"{"e":"markPriceUpdate","E":1,"s":"X","p":"28147.27373413","r":"0.00002754","T":2}"#, Frame::Unknown),
            (r#"{"e":"forceOrder","E":1,"o":{"s":"X","S":"SELL","q":"0.014","T":2}}"#, Frame::Unknown),
            (r#"{"stream":"!markPrice@arr","data":[{"e":"markPriceUpdate","s":"X"}]}"#, Frame::Unknown),
            (r#"[{"e":"24hrMiniTicker","s":"X"}]"#, Frame::Unknown),
            (
                r#"{"stream":"x@depth20@100ms","data":{"e":"depthUpdate","E":1,"T":1,"s":"X","U":5,"u":7,"pu":4,"b":[],"a":[]}}"#,
                Frame::Unknown,
            ),
        ] {
            assert_eq!(decode_as(Chain::Previous, (8, 3), body).map(|(frame, ..)| frame), Ok(frame), "{body}");
        }
    }

    #[test]
    fn a_rest_answer_is_a_snapshot_of_the_symbol_asked_for() {
        let mut decoder = Decoder::new(Chain::First);
        let body = br#"{"lastUpdateId":160,"bids":[["0.00240000","10.00000000"]],"asks":[]}"#;
        let frame = decoder.decode(body, Some(b"BNBBTC"), |_| (8, 8));
        assert_eq!(frame, Ok(Frame::Snapshot { ts_event: 0, last_update_id: 160 }));
        assert_eq!((&decoder.bids[..], decoder.asks.len()), (&[level(240_000, 1_000_000_000)][..], 0));
        let refused = decoder.decode(br#"{"code":-1121,"msg":"Invalid symbol."}"#, Some(b"X"), |_| (8, 8));
        assert_eq!(refused, Ok(Frame::Refused { code: 0 }));
        assert_eq!(depth_symbol(b"/api/v3/depth?limit=5&symbol=BNBBTC"), Some(&b"BNBBTC"[..]));
        assert_eq!(depth_symbol(b"/api/v3/exchangeInfo?symbol=BNBBTC"), None);
        assert_eq!(depth_symbol(b"/api/v3/depth"), None);
    }

    #[test]
    fn a_damaged_frame_gives_nothing() {
        for (from, to) in [
            ("\"U\":5", "\"V\":5"),
            ("\"U\":5", "\"U\":8"),
            ("\"U\":5", "\"U\":0"),
            ("\"U\":5", "\"u\":5"),
            ("\"E\":1723161255208", "\"E\":\"1723161255208\""),
            ("\"E\":1723161255208", "\"E\":17231612552080000000"),
            ("\"a\":[", "\"c\":["),
            ("\"s\":\"BTCUSDT\"", "\"s\":\"BTCUSDX\""),
            ("61737.63000000", "61737.6300000:"),
            ("61737.63000000", "-1737.63000000"),
            ("61737.63000000", "0"),
            ("[[\"61737", "[\"61737"),
            ("0.00000000\"]", "0.00000000\""),
            ("1.50000000\"]]", "1.50000000\"],]"),
            ("}}", "}"),
            ("}}", "}}}"),
            ("\"U\":5", "\"pu\":4,\"U\":5"),
        ] {
            let body = DEPTH.replacen(from, to, 1);
            assert_ne!(body, DEPTH);
            assert!(matches!(decode(&body), Err(Failure::Malformed(_))), "{body}");
        }
        for size in 0..DEPTH.len() {
            assert!(decode(&DEPTH[..size]).is_err(), "{size}");
        }
    }

    #[test]
    fn a_number_beyond_the_exponents_asks_for_others() {
        let finer = DEPTH.replacen("61737.63000000", "61737.630000001", 1);
        let failure = Failure::Precision { symbol: b"BTCUSDT", quantity: Quantity::Price, exponent: 9 };
        assert_eq!(decode(&finer), Err(failure));
        let larger = DEPTH.replacen("1.50000000", "150000000000.50000000", 1);
        let failure = Failure::Precision { symbol: b"BTCUSDT", quantity: Quantity::Size, exponent: 1 };
        assert_eq!(decode(&larger), Err(failure));
        let too_large = DEPTH.replacen("1.50000000", "99999999999999999999", 1);
        assert!(matches!(decode(&too_large), Err(Failure::Malformed(_))));
    }
}
