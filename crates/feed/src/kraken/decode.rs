//! Kraken WebSocket v2 frames.
//!
//! The whole frame is checked to be JSON before anything is taken from it, then its `data` is read entry by entry: one
//! frame may carry several symbols. Prices and sizes are bare numbers printed with the pair's full precision, and the
//! digits as printed are what the checksum covers, so the wire's decimals are counted as well as scaled.
//!
//! Source: Kraken API documentation, "Spot WebSockets (v2)": book, trade, ticker, status, heartbeat, subscribe, unsubscribe.
//! Of tickers there is no recording, so that how they print numbers is not known: no more is asked of them than that.

use tidebook_book::Level;
use tidebook_types::records::{SIDE_BUY, SIDE_NONE, SIDE_SELL};
use tidebook_types::{Exponent, decimals, parse_units};

use crate::decimal::until;
use crate::failure::{Failure, Quantity};
use crate::market::{NO_LEVEL, Print, Top};
use crate::scan::{ScanError, Scanner, Unknown};
use crate::time::rfc3339;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// Channel `book`; entries at this place of the body.
    Book {
        snapshot: bool,
        data: usize,
    },
    /// Channel `trade`; entries at this place of the body.
    Trades {
        snapshot: bool,
        data: usize,
    },
    /// Channel `ticker`; entries at this place of the body.
    Tickers {
        snapshot: bool,
        data: usize,
    },
    Heartbeat,
    Subscribed {
        symbol: &'a [u8],
        is_book: bool,
        depth: Option<u64>,
    },
    Unsubscribed {
        symbol: &'a [u8],
        is_book: bool,
    },
    Refused {
        symbol: &'a [u8],
    },
    Acknowledged,
    /// `status`, and the channels we know and do not decode.
    Other,
    Unknown,
}

/// The frame in `body`, which is whole JSON.
pub(crate) fn frame<'a>(body: &'a [u8], unknown: &mut Unknown) -> Result<Frame<'a>, ScanError> {
    let mut scanner = Scanner::new(body);
    let (mut channel, mut kind, mut method): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
    let (mut data, mut success) = (None, true);
    let mut symbol: &[u8] = b"";
    let mut result = Subscription::default();
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"channel" => channel = scanner.string()?,
            b"type" => kind = scanner.string()?,
            b"method" => method = scanner.string()?,
            b"symbol" if scanner.peek() == Some(b'"') => symbol = scanner.string()?,
            b"success" => success = scanner.boolean()?,
            b"data" => {
                scanner.peek();
                data = Some(scanner.position());
                scanner.skip()?;
            }
            b"result" if scanner.peek() == Some(b'{') => result = Subscription::read(&mut scanner)?,
            _ => unknown.field(&mut scanner, false)?,
        }
    }
    scanner.end()?;
    let entries = || data.ok_or(ScanError { offset: body.len(), expected: "`data`" });
    let snapshot = || match kind {
        b"snapshot" => Ok(true),
        b"update" => Ok(false),
        _ => Err(ScanError { offset: 0, expected: "`type` snapshot or update" }),
    };
    Ok(match (channel, method) {
        (b"book", b"") => Frame::Book { snapshot: snapshot()?, data: entries()? },
        (b"trade", b"") => Frame::Trades { snapshot: snapshot()?, data: entries()? },
        (b"ticker", b"") => Frame::Tickers { snapshot: snapshot()?, data: entries()? },
        (b"heartbeat", b"") => Frame::Heartbeat,
        (b"status" | b"ohlc" | b"instrument" | b"level3" | b"executions" | b"balances", b"") => Frame::Other,
        (b"", b"subscribe" | b"unsubscribe") if !success => Frame::Refused { symbol },
        (b"", b"subscribe") => {
            Frame::Subscribed { symbol: result.symbol, is_book: result.is_book, depth: result.depth }
        }
        (b"", b"unsubscribe") => Frame::Unsubscribed { symbol: result.symbol, is_book: result.is_book },
        (b"", b"pong" | b"ping") => Frame::Acknowledged,
        _ => Frame::Unknown,
    })
}

/// `result` of an acknowledgement.
#[derive(Default)]
struct Subscription<'a> {
    symbol: &'a [u8],
    is_book: bool,
    depth: Option<u64>,
}

impl<'a> Subscription<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut read = Self::default();
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match (key, scanner.peek()) {
                (b"channel", Some(b'"')) => read.is_book = scanner.string()? == b"book",
                (b"symbol", Some(b'"')) => read.symbol = scanner.string()?,
                (b"depth", Some(b'0'..=b'9')) => read.depth = Some(scanner.unsigned()?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        Ok(read)
    }
}

/// One symbol of a book frame; its levels are in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BookEntry<'a> {
    pub(crate) symbol: &'a [u8],
    pub(crate) ts_event: i64,
    pub(crate) checksum: u32,
}

/// Reads entries and keeps their levels.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
    /// Exponents the levels are scaled by.
    pub(crate) exponents: (Exponent, Exponent),
}

impl Decoder {
    /// The book entry at the scanner, which steps behind it. `in_force` tells the exponents of a symbol to scale by, if it has
    /// some; else they are the decimals that the wire printed (price, size; the largest of all levels).
    pub(crate) fn book_entry<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        unknown: &mut Unknown,
        in_force: impl Fn(&[u8]) -> Option<(Exponent, Exponent)>,
    ) -> Result<BookEntry<'a>, Failure<'a>> {
        self.bids.clear();
        self.asks.clear();
        let (mut symbol, mut checksum, mut ts_event) = (None, None, None);
        let (mut bids, mut asks) = (None, None);
        let start = scanner.position();
        scanner.expect(b'{', "an object in `data`")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            let again = match key {
                b"symbol" => symbol.replace(scanner.string()?).is_some(),
                b"checksum" => checksum.replace(scanner.unsigned()?).is_some(),
                b"timestamp" => {
                    ts_event = rfc3339(scanner.string()?);
                    false
                }
                b"bids" | b"asks" => {
                    let (place, side) =
                        if key == b"bids" { (&mut bids, &mut self.bids) } else { (&mut asks, &mut self.asks) };
                    let at = scanner.position();
                    // The usual order has the symbol before the levels, which are then read where they stand.
                    let read = symbol.and_then(&in_force).is_some_and(|scale| plain_levels(scanner, side, scale));
                    if !read {
                        side.clear();
                        scanner.skip()?;
                    }
                    place.replace((!read).then_some(at)).is_some()
                }
                _ => {
                    unknown.field(scanner, false)?;
                    false
                }
            };
            if again {
                return Err(scanner.error("each field once").into());
            }
        }
        let missing = |expected| ScanError { offset: start, expected };
        let symbol = symbol.ok_or(missing("`symbol`"))?;
        let checksum = checksum.and_then(|checksum| u32::try_from(checksum).ok());
        let checksum = checksum.ok_or(missing("`checksum` as 32 bits"))?;
        // Snapshots of early API versions carry no time.
        let ts_event = ts_event.unwrap_or(0);
        // What was not read yet.
        let places = [bids.ok_or(missing("`bids`"))?, asks.ok_or(missing("`asks`"))?];
        let (price_exp, size_exp) = match in_force(symbol) {
            Some(exponents) => exponents,
            None => {
                let mut printed = (0, 0);
                for place in places.into_iter().flatten() {
                    for_each_level(scanner, place, &mut Unknown::default(), |_, price, size| {
                        printed = (printed.0.max(decimals(price)), printed.1.max(decimals(size)));
                        Ok(())
                    })?;
                }
                printed
            }
        };
        self.exponents = (price_exp, size_exp);
        for (place, side) in places.into_iter().zip([&mut self.bids, &mut self.asks]) {
            let Some(place) = place else { continue };
            let mut levels = scanner.clone();
            levels.seek(place);
            if plain_levels(&mut levels, side, self.exponents) {
                continue;
            }
            side.clear();
            for_each_level(scanner, place, unknown, |at, price, size| {
                let price = units(price, at, symbol, Quantity::Price, price_exp)?;
                if price == 0 {
                    return Err(ScanError { offset: at, expected: "a price above 0" }.into());
                }
                side.push(Level { price, size: units(size, at, symbol, Quantity::Size, size_exp)? });
                Ok(())
            })?;
        }
        Ok(BookEntry { symbol, ts_event, checksum })
    }
}

/// Appends the levels of an array that is written the usual way, `[{"price":63004.9,"qty":0.01876947},..]` without white space
/// and further fields; the scanner steps behind it. False when it is not, with the scanner where it was.
#[inline]
fn plain_levels(scanner: &mut Scanner<'_>, out: &mut Vec<Level>, (price_exp, size_exp): (Exponent, Exponent)) -> bool {
    let bytes = scanner.bytes();
    let mut at = scanner.position();
    if bytes.get(at..at + 2) == Some(b"[]") {
        scanner.seek(at + 2);
        return true;
    }
    let mut level = |at: usize| -> Option<usize> {
        let at = behind(bytes, at, b"{\"price\":")?;
        let (price, at) = until(bytes, at, b',', price_exp)?;
        let at = behind(bytes, at, b"\"qty\":")?;
        let (size, at) = until(bytes, at, b'}', size_exp)?;
        out.push(Level { price, size });
        (price != 0).then_some(at)
    };
    let mut separator = b'[';
    while bytes.get(at) == Some(&separator) {
        let Some(end) = level(at + 1) else { return false };
        at = end;
        separator = b',';
    }
    let whole = separator == b',' && bytes.get(at) == Some(&b']');
    if whole {
        scanner.seek(at + 1);
    }
    whole
}

/// The place behind `text`, which stands at `at`.
#[inline]
pub(crate) fn behind(bytes: &[u8], at: usize, text: &[u8]) -> Option<usize> {
    (bytes.get(at..at + text.len())? == text).then_some(at + text.len())
}

/// Calls `each` with place, price text and size text of every level of the array at `place`.
fn for_each_level<'a>(
    scanner: &Scanner<'a>,
    place: usize,
    unknown: &mut Unknown,
    mut each: impl FnMut(usize, &'a [u8], &'a [u8]) -> Result<(), Failure<'a>>,
) -> Result<(), Failure<'a>> {
    let mut scanner = scanner.clone();
    scanner.seek(place);
    scanner.expect(b'[', "an array of levels")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        let at = scanner.position();
        let (mut price, mut size) = (None, None);
        scanner.expect(b'{', "a level")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match key {
                b"price" => price = Some(scanner.number()?),
                b"qty" => size = Some(scanner.number()?),
                _ => unknown.field(&mut scanner, false)?,
            }
        }
        let (Some(price), Some(size)) = (price, size) else {
            return Err(ScanError { offset: at, expected: "`price` and `qty`" }.into());
        };
        each(at, price, size)?;
    }
    Ok(())
}

/// A trade entry, with symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TradeEntry<'a> {
    pub(crate) symbol: &'a [u8],
    pub(crate) print: Print,
    /// Those it is scaled by.
    pub(crate) exponents: (Exponent, Exponent),
}

/// The trade entry at the scanner, which steps behind it. `exponents` as in [`Decoder::book_entry`].
pub(crate) fn trade_entry<'a>(
    scanner: &mut Scanner<'a>,
    unknown: &mut Unknown,
    exponents: impl Fn(&[u8], (Exponent, Exponent)) -> (Exponent, Exponent),
) -> Result<TradeEntry<'a>, Failure<'a>> {
    let (mut symbol, mut side, mut price, mut size) = (None, None, None, None);
    let (mut trade_id, mut ts_event) = (None, None);
    scanner.peek();
    let start = scanner.position();
    scanner.expect(b'{', "an object in `data`")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"symbol" => symbol = Some(scanner.string()?),
            b"side" => side = Some(scanner.string()?),
            b"price" => price = Some(scanner.number()?),
            b"qty" => size = Some(scanner.number()?),
            b"trade_id" => trade_id = Some(scanner.unsigned()?),
            b"timestamp" => ts_event = rfc3339(scanner.string()?),
            b"ord_type" if scanner.peek() == Some(b'"') => {
                unknown.values += u64::from(!matches!(scanner.string()?, b"market" | b"limit"));
            }
            _ => unknown.field(scanner, false)?,
        }
    }
    let missing = |expected| ScanError { offset: start, expected };
    let symbol = symbol.ok_or(missing("`symbol`"))?;
    let side = match side.ok_or(missing("`side`"))? {
        b"buy" => SIDE_BUY,
        b"sell" => SIDE_SELL,
        _ => {
            unknown.values += 1;
            SIDE_NONE
        }
    };
    let price = price.ok_or(missing("`price`"))?;
    let size = size.ok_or(missing("`qty`"))?;
    let trade_id = trade_id.ok_or(missing("`trade_id`"))?;
    let ts_event = ts_event.ok_or(missing("`timestamp`"))?;
    let (price_exp, size_exp) = exponents(symbol, (decimals(price), decimals(size)));
    let price = units(price, start, symbol, Quantity::Price, price_exp)?;
    let size = units(size, start, symbol, Quantity::Size, size_exp)?;
    let print = Print { ts_event, trade_id, price, size, side, flags: 0 };
    Ok(TradeEntry { symbol, print, exponents: (price_exp, size_exp) })
}

/// A ticker entry, with symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TickerEntry<'a> {
    pub(crate) symbol: &'a [u8],
    /// 0 where the entry has no time.
    pub(crate) ts_event: i64,
    /// Best prices; a side that is `null` has size 0. `None` when a number is printed with a power of ten.
    pub(crate) top: Option<Top>,
    /// Those it is scaled by.
    pub(crate) exponents: (Exponent, Exponent),
}

/// The ticker entry at the scanner, which steps behind it. `exponents` as in [`Decoder::book_entry`].
pub(crate) fn ticker_entry<'a>(
    scanner: &mut Scanner<'a>,
    unknown: &mut Unknown,
    exponents: impl Fn(&[u8], (Exponent, Exponent)) -> (Exponent, Exponent),
) -> Result<TickerEntry<'a>, Failure<'a>> {
    let (mut symbol, mut ts_event) = (None, None);
    // Bid, its size, ask, its size; an empty text is `null`.
    let mut texts: [Option<&[u8]>; 4] = [None; 4];
    scanner.peek();
    let start = scanner.position();
    scanner.expect(b'{', "an object in `data`")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        let text = match key {
            b"symbol" => {
                symbol = Some(scanner.string()?);
                continue;
            }
            b"timestamp" if scanner.peek() == Some(b'"') => {
                ts_event = rfc3339(scanner.string()?);
                continue;
            }
            b"bid" => &mut texts[0],
            b"bid_qty" => &mut texts[1],
            b"ask" => &mut texts[2],
            b"ask_qty" => &mut texts[3],
            b"last" | b"volume" | b"vwap" | b"low" | b"high" | b"change" | b"change_pct" | b"timestamp" => {
                scanner.skip()?;
                continue;
            }
            _ => {
                unknown.field(scanner, false)?;
                continue;
            }
        };
        *text =
            Some(if scanner.peek() == Some(b'n') { scanner.skip().map(|_| &b""[..])? } else { scanner.number()? });
    }
    let missing = |expected| ScanError { offset: start, expected };
    let symbol = symbol.ok_or(missing("`symbol`"))?;
    let [Some(bid), Some(bid_size), Some(ask), Some(ask_size)] = texts else {
        return Err(missing("`bid`, `bid_qty`, `ask` and `ask_qty`").into());
    };
    let printed = (decimals(bid).max(decimals(ask)), decimals(bid_size).max(decimals(ask_size)));
    let ts_event = ts_event.unwrap_or(0);
    if [bid, bid_size, ask, ask_size].iter().any(|text| text.iter().any(|byte| matches!(byte, b'e' | b'E'))) {
        return Ok(TickerEntry { symbol, ts_event, top: None, exponents: (0, 0) });
    }
    let (price_exp, size_exp) = exponents(symbol, printed);
    let level = |price: &[u8], size: &[u8]| -> Result<Level, Failure<'a>> {
        if price.is_empty() || size.is_empty() {
            return Ok(NO_LEVEL);
        }
        let price = units(price, start, symbol, Quantity::Price, price_exp)?;
        Ok(Level { price, size: units(size, start, symbol, Quantity::Size, size_exp)? })
    };
    let top = Top { bid: level(bid, bid_size)?, ask: level(ask, ask_size)? };
    Ok(TickerEntry { symbol, ts_event, top: Some(top), exponents: (price_exp, size_exp) })
}

/// Units of a decimal that must not be negative; `at` is where it stands.
pub(crate) fn units<'a>(
    text: &[u8],
    at: usize,
    symbol: &'a [u8],
    quantity: Quantity,
    exponent: Exponent,
) -> Result<i64, Failure<'a>> {
    if exponent > tidebook_types::units::EXPONENT_MAX {
        return Err(ScanError { offset: at, expected: "at most 18 decimals" }.into());
    }
    match parse_units(text, exponent) {
        Ok(units) if units >= 0 => Ok(units),
        Ok(_) => Err(ScanError { offset: at, expected: "a decimal that is not negative" }.into()),
        Err(error) => Err(Failure::of_decimal(error, text, at, symbol, quantity)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &str = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":63004.9,"qty":0.01876947}],"asks":[{"price":63006.3,"qty":0.00000000},{"price":63007,"qty":1.5}],"checksum":3793782525,"timestamp":"2026-08-01T02:54:53.266327Z"}]}"#;

    fn plain_frame(body: &str) -> Result<Frame<'_>, ScanError> {
        frame(body.as_bytes(), &mut Unknown::default())
    }

    fn entry(body: &str) -> Result<(BookEntry<'_>, Decoder), Failure<'_>> {
        entry_as(body, None)
    }

    fn entry_as(body: &str, in_force: Option<(Exponent, Exponent)>) -> Result<(BookEntry<'_>, Decoder), Failure<'_>> {
        let Frame::Book { data, .. } = plain_frame(body)? else { panic!("no book frame") };
        let mut decoder = Decoder::default();
        let mut scanner = Scanner::new(body.as_bytes());
        scanner.seek(data);
        scanner.expect(b'[', "entries")?;
        let entry = decoder.book_entry(&mut scanner, &mut Unknown::default(), |_| in_force)?;
        Ok((entry, decoder))
    }

    #[test]
    fn a_book_entry_is_scaled_by_the_decimals_the_wire_prints() {
        let (entry, decoder) = entry(UPDATE).unwrap();
        let ts_event = rfc3339(b"2026-08-01T02:54:53.266327Z").unwrap();
        assert_eq!(entry, BookEntry { symbol: b"BTC/USD", ts_event, checksum: 3_793_782_525 });
        assert_eq!(decoder.bids, [Level { price: 630_049, size: 1_876_947 }]);
        let level = |price, size| Level { price, size };
        assert_eq!(decoder.asks, [level(630_063, 0), level(630_070, 150_000_000)]);
    }

    /// Levels in the usual form are read where they stand, all others when the entry is known whole: by one rule.
    #[test]
    fn levels_are_the_same_in_whatever_form_they_are_written() {
        let scaled = Some((1, 8));
        let (plain, read) = entry_as(UPDATE, scaled).unwrap();
        assert_eq!((&read.bids[..], read.asks.len()), (&[Level { price: 630_049, size: 1_876_947 }][..], 2));
        for (from, to) in [
            ("\"bids\":[{", "\"bids\": [ {"),
            ("\"qty\":1.5", "\"qty\":1.5,\"orders\":4"),
            ("{\"price\":63004.9,\"qty\":0.01876947}", "{\"qty\":0.01876947,\"price\":63004.9}"),
            ("\"price\":63007,", "\"price\":63007.0 ,"),
        ] {
            let body = UPDATE.replacen(from, to, 1);
            assert_ne!(body, UPDATE);
            let (other, again) = entry_as(&body, scaled).unwrap();
            assert_eq!((other.checksum, &again.bids, &again.asks), (plain.checksum, &read.bids, &read.asks), "{body}");
            assert_eq!(entry(&body).unwrap().1.bids, read.bids, "{body}");
        }
        for (from, to) in [
            ("{\"price\":63004.9", "{\"price\":0"),
            ("{\"price\":63004.9", "{\"price\":-1"),
            ("0.01876947}]", "0.01876947}},"),
            ("\"checksum\"", "\"symbol\":\"X/Y\",\"checksum\""),
            ("\"checksum\"", "\"bids\":[],\"checksum\""),
        ] {
            let body = UPDATE.replacen(from, to, 1);
            assert_ne!(body, UPDATE);
            for in_force in [scaled, None] {
                assert!(matches!(entry_as(&body, in_force), Err(Failure::Malformed(_))), "{body}");
            }
        }
        let finer = UPDATE.replacen("63004.9", "63004.95", 1);
        let expected = Failure::Precision { symbol: b"BTC/USD", quantity: Quantity::Price, exponent: 2 };
        assert_eq!(entry_as(&finer, scaled).map(|_| ()), Err(expected));
    }

    #[test]
    fn each_frame_is_told_by_channel_or_method() {
        for (body, expected) in [
            (r#"{"channel":"heartbeat"}"#, Frame::Heartbeat),
            (r#"{"channel":"status","type":"update","data":[{"connection_id":7204881492680171915}]}"#, Frame::Other),
            (
                r#"{"method":"subscribe","result":{"channel":"book","depth":25,"snapshot":true,"symbol":"BTC/USD"},"success":true,"time_in":"x"}"#,
                Frame::Subscribed { symbol: b"BTC/USD", is_book: true, depth: Some(25) },
            ),
            (
                r#"{"method":"unsubscribe","result":{"channel":"book","symbol":"BTC/USD"},"success":true}"#,
                Frame::Unsubscribed { symbol: b"BTC/USD", is_book: true },
            ),
            (
                r#"{"error":"Currency pair not supported","method":"subscribe","success":false,"symbol":"A/B"}"#,
                Frame::Refused { symbol: b"A/B" },
            ),
            (r#"{"method":"pong","time_in":"x"}"#, Frame::Acknowledged),
            (r#"{"channel":"weather","data":{}}"#, Frame::Unknown),
            (r#"{"type":"snapshot","data":[],"channel":"trade"}"#, Frame::Trades { snapshot: true, data: 26 }),
        ] {
            assert_eq!(plain_frame(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn a_trade_gives_the_side_of_the_taker() {
        let body = br#"{"symbol":"MATIC/USD","side":"sell","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}"#;
        let trade = trade_entry(&mut Scanner::new(body), &mut Unknown::default(), |_, _| (4, 8)).unwrap();
        assert_eq!(trade.symbol, b"MATIC/USD");
        let Print { trade_id, price, size, side, .. } = trade.print;
        assert_eq!((trade_id, price, size, side), (4_665_906, 5_117, 4_000_000_000, SIDE_SELL));
    }

    #[test]
    fn a_ticker_gives_the_best_prices_and_sizes() {
        let ticker = |body: &'static str| {
            ticker_entry(&mut Scanner::new(body.as_bytes()), &mut Unknown::default(), |_, printed| printed)
        };
        let entry = ticker(
            r#"{"symbol":"ALGO/USD","bid":0.10025,"bid_qty":740.0,"ask":0.1035,"ask_qty":740.25,"last":0.10035,"volume":997038.98383185,"change":-0.00017,"timestamp":"2023-09-25T07:49:37.708706Z"}"#,
        );
        let top = Top { bid: Level { price: 10_025, size: 74_000 }, ask: Level { price: 10_350, size: 74_025 } };
        let ts_event = rfc3339(b"2023-09-25T07:49:37.708706Z").unwrap();
        assert_eq!(entry, Ok(TickerEntry { symbol: b"ALGO/USD", ts_event, top: Some(top), exponents: (5, 2) }));
        let one_sided = ticker(r#"{"symbol":"A/B","bid":null,"bid_qty":null,"ask":2,"ask_qty":3}"#).unwrap();
        let top = Top { bid: NO_LEVEL, ask: Level { price: 2, size: 3 } };
        assert_eq!((one_sided.ts_event, one_sided.top), (0, Some(top)));
        assert_eq!(ticker(r#"{"symbol":"A/B","bid":1,"bid_qty":5.1e-05,"ask":2,"ask_qty":3}"#).unwrap().top, None);
        for body in [
            r#"{"symbol":"A/B","bid":1,"bid_qty":1,"ask":2}"#,
            r#"{"bid":1,"bid_qty":1,"ask":2,"ask_qty":3}"#,
            r#"{"symbol":"A/B","bid":-1,"bid_qty":1,"ask":2,"ask_qty":3}"#,
            r#"{"symbol":"A/B","bid":"1","bid_qty":1,"ask":2,"ask_qty":3}"#,
        ] {
            assert!(matches!(ticker(body), Err(Failure::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn a_damaged_frame_gives_nothing() {
        for size in 0..UPDATE.len() {
            assert!(plain_frame(&UPDATE[..size]).is_err(), "{size}");
        }
        for (from, to) in [
            ("\"price\":63004.9", "\"prise\":63004.9"),
            ("63004.9", "63004.9.1"),
            ("63004.9", "-63004.9"),
            ("63004.9", "0.0"),
            ("\"asks\"", "\"bids\""),
            ("\"asks\"", "\"basks\""),
            ("3793782525", "37937825250"),
            ("3793782525", "\"3793782525\""),
            ("\"symbol\"", "\"symbal\""),
            ("update", "updale"),
        ] {
            let body = UPDATE.replacen(from, to, 1);
            let failed = plain_frame(&body).is_err() || entry(&body).is_err();
            assert!(failed, "{body}");
        }
    }
}
