//! Kraken WebSocket v1 frames.
//!
//! Market data comes as arrays: `[channel id, object(s) or rows, "channel", "pair"]`; all else is an object with the key
//! `event`. The whole frame is checked to be JSON before anything is taken from it. Prices and sizes are strings
//! printed with the digits that the checksum covers, so the wire's decimals are counted as well as scaled.
//!
//! Source: Kraken API documentation, "WebSockets API v1": book, trade, ticker, subscriptionStatus, systemStatus,
//! heartbeat, pong.

use tidebook_book::Level;
use tidebook_types::records::{SIDE_BUY, SIDE_NONE, SIDE_SELL};
use tidebook_types::{Exponent, decimals};

use crate::decimal::quoted;
use crate::failure::{Failure, Quantity};
use crate::kraken::book::DEPTHS;
use crate::kraken::decode::{behind, units};
use crate::market::{Print, Top};
use crate::scan::{ScanError, Scanner, Unknown, parse_unsigned};
use crate::time::{TIME_EXPONENT, is_time, seconds};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// Channel `book-<depth>`; an update has one object or two.
    Book {
        depth: usize,
        pair: &'a [u8],
        places: [Option<usize>; 2],
    },
    /// Channel `trade`; rows at this place of the body.
    Trades {
        pair: &'a [u8],
        rows: usize,
    },
    /// Channel `ticker`; its object at this place of the body.
    Ticker {
        pair: &'a [u8],
        at: usize,
    },
    Heartbeat,
    Unsubscribed {
        pair: &'a [u8],
        is_book: bool,
    },
    Refused {
        pair: &'a [u8],
    },
    Acknowledged,
    /// The channels we know and do not decode.
    Other,
    Unknown,
}

/// The frame in `body`, which is whole JSON.
pub(crate) fn frame<'a>(body: &'a [u8], unknown: &mut Unknown) -> Result<Frame<'a>, ScanError> {
    let mut scanner = Scanner::new(body);
    let frame = match scanner.peek() {
        Some(b'{') => event(&mut scanner)?,
        _ => data(&mut scanner, unknown)?,
    };
    scanner.end()?;
    Ok(frame)
}

fn data<'a>(scanner: &mut Scanner<'a>, unknown: &mut Unknown) -> Result<Frame<'a>, ScanError> {
    let mut places = [None; 2];
    let mut words = [&b""[..]; 2];
    let (mut place_count, mut word_count, mut number_count) = (0, 0, 0);
    scanner.expect(b'[', "an array or an object")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        match scanner.peek() {
            Some(b'"') => {
                let word = scanner.string()?;
                if let Some(place) = words.get_mut(word_count) {
                    *place = word;
                }
                word_count += 1;
            }
            Some(b'{' | b'[') => {
                if let Some(place) = places.get_mut(place_count) {
                    *place = Some(scanner.position());
                }
                place_count += 1;
                scanner.skip()?;
            }
            // The id of the channel, and whatever else may come.
            _ => {
                unknown.field(scanner, number_count == 0)?;
                number_count += 1;
            }
        }
    }
    let [channel, pair] = words;
    let data = places[0];
    let wrong = |expected| ScanError { offset: 0, expected };
    if word_count != 2 {
        return Ok(Frame::Unknown);
    }
    Ok(match (channel, data) {
        (b"trade", Some(rows)) if place_count == 1 => Frame::Trades { pair, rows },
        (b"ticker", Some(at)) if place_count == 1 => Frame::Ticker { pair, at },
        (b"trade" | b"ticker", _) => return Err(wrong("one value before `trade` or `ticker`")),
        (b"spread", _) => Frame::Other,
        _ if channel.starts_with(b"ohlc-") => Frame::Other,
        _ => match channel.strip_prefix(b"book-") {
            Some(depth) => {
                let depth = parse_unsigned(depth).and_then(|depth| usize::try_from(depth).ok());
                let depth = depth.filter(|depth| DEPTHS.contains(depth)).ok_or(wrong("`book-` and a depth offered"))?;
                if !(1..=2).contains(&place_count) {
                    return Err(wrong("one or two objects before `book-`"));
                }
                Frame::Book { depth, pair, places }
            }
            None => Frame::Unknown,
        },
    })
}

fn event<'a>(scanner: &mut Scanner<'a>) -> Result<Frame<'a>, ScanError> {
    let (mut event, mut status, mut pair, mut channel): (&[u8], &[u8], &[u8], &[u8]) = (b"", b"", b"", b"");
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        let place = match key {
            b"event" => &mut event,
            b"status" => &mut status,
            b"pair" => &mut pair,
            b"channelName" => &mut channel,
            _ => {
                scanner.skip()?;
                continue;
            }
        };
        if scanner.peek() == Some(b'"') {
            *place = scanner.string()?;
        } else {
            scanner.skip()?;
        }
    }
    Ok(match (event, status) {
        (b"heartbeat", _) => Frame::Heartbeat,
        (b"subscriptionStatus", b"unsubscribed") => Frame::Unsubscribed { pair, is_book: channel.starts_with(b"book") },
        (b"subscriptionStatus" | b"error", b"error") | (b"error", b"") => Frame::Refused { pair },
        (b"subscriptionStatus" | b"systemStatus" | b"pong", _) => Frame::Acknowledged,
        _ => Frame::Unknown,
    })
}

/// A book message beside its levels, which are in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BookMessage {
    /// The newest time of its levels; 0 without any.
    pub(crate) ts_event: i64,
    /// None in a snapshot, which carries none.
    pub(crate) checksum: Option<u32>,
}

/// Reads book messages and keeps their levels.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
    /// Exponents the levels are scaled by.
    pub(crate) exponents: (Exponent, Exponent),
    /// Newest time of the levels read so far.
    ts_event: i64,
}

/// An array of levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Array {
    /// Stepped over; its levels are at this place.
    At(usize),
    /// Its levels, in the decoder already.
    Read,
}

/// The arrays of a book message.
#[derive(Debug, Default)]
struct Places<'a> {
    snapshot: [Option<Array>; 2],
    update: [Option<Array>; 2],
    checksum: Option<&'a [u8]>,
}

impl<'a> Places<'a> {
    /// Adds what the object at the scanner has. Changes that are written the usual way are read where they stand, if the
    /// exponents to scale them by are known.
    fn read(
        &mut self,
        scanner: &mut Scanner<'a>,
        decoder: &mut Decoder,
        known: Option<(Exponent, Exponent)>,
        unknown: &mut Unknown,
    ) -> Result<(), ScanError> {
        scanner.expect(b'{', "an object of the book")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            let (place, side) = match key {
                b"bs" => (&mut self.snapshot[0], None),
                b"as" => (&mut self.snapshot[1], None),
                b"b" => (&mut self.update[0], Some(&mut decoder.bids)),
                b"a" => (&mut self.update[1], Some(&mut decoder.asks)),
                b"c" => {
                    if self.checksum.replace(scanner.string()?).is_some() {
                        return Err(scanner.error("each field once"));
                    }
                    continue;
                }
                _ => {
                    unknown.field(scanner, false)?;
                    continue;
                }
            };
            if place.is_some() {
                return Err(scanner.error("each field once"));
            }
            let at = scanner.position();
            if let (Some(side), Some(exponents)) = (side, known) {
                if plain_levels(scanner, side, &mut decoder.ts_event, exponents) {
                    *place = Some(Array::Read);
                    continue;
                }
                side.clear();
            }
            *place = Some(Array::At(at));
            scanner.skip()?;
        }
        Ok(())
    }
}

/// Appends the levels of an array that is written the usual way, `[["56201.00000","0.00000000","1618678118.000000"],..]` without
/// white space, `"r"` at the end of a level or not; `newest` becomes the latest of their times and its own. The scanner
/// steps behind the array. False when it is not, with the scanner where it was.
#[inline]
fn plain_levels(
    scanner: &mut Scanner<'_>,
    out: &mut Vec<Level>,
    newest: &mut i64,
    (price_exp, size_exp): (Exponent, Exponent),
) -> bool {
    let bytes = scanner.bytes();
    let (mut at, mut latest) = (scanner.position(), *newest);
    let mut level = |at: usize| -> Option<usize> {
        let (price, at) = quoted(bytes, behind(bytes, at, b"[\"")?, price_exp)?;
        let (size, at) = quoted(bytes, behind(bytes, at, b",\"")?, size_exp)?;
        let (time, at) = quoted(bytes, behind(bytes, at, b",\"")?, TIME_EXPONENT)?;
        let at = behind(bytes, at, b",\"r\"").unwrap_or(at);
        latest = latest.max(time);
        out.push(Level { price, size });
        if price == 0 || !is_time(time) { None } else { behind(bytes, at, b"]") }
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
        *newest = latest;
    }
    whole
}

impl Decoder {
    /// The book message whose objects are at `places` of `body`. `known` are the exponents in force; a snapshot is scaled
    /// by those that the wire prints, and so is everything while none are known.
    pub(crate) fn book<'a>(
        &mut self,
        body: &'a [u8],
        pair: &'a [u8],
        places: [Option<usize>; 2],
        known: Option<(Exponent, Exponent)>,
        unknown: &mut Unknown,
    ) -> Result<BookMessage, Failure<'a>> {
        self.bids.clear();
        self.asks.clear();
        self.ts_event = 0;
        let mut found = Places::default();
        let mut scanner = Scanner::new(body);
        for place in places.into_iter().flatten() {
            scanner.seek(place);
            found.read(&mut scanner, self, known, unknown)?;
        }
        let wrong = |expected| ScanError { offset: places[0].unwrap_or(0), expected };
        let (sides, checksum, known) = match found {
            Places { snapshot: [Some(bids), Some(asks)], update: [None, None], checksum: None } => {
                ([Some(bids), Some(asks)], None, None)
            }
            Places { snapshot: [None, None], update, checksum: Some(text) } if update != [None, None] => {
                let checksum = parse_unsigned(text).and_then(|checksum| u32::try_from(checksum).ok());
                (update, Some(checksum.ok_or(wrong("`c` as 32 bits"))?), known)
            }
            _ => return Err(wrong("`as` and `bs`, or `a` or `b` with `c`").into()),
        };
        let exponents = match known {
            Some(known) => known,
            None => {
                let mut printed = (0, 0);
                for array in sides.into_iter().flatten() {
                    let Array::At(place) = array else { continue };
                    for_each_level(&scanner, place, &mut Unknown::default(), |_, [price, size, _]| {
                        printed = (printed.0.max(decimals(price)), printed.1.max(decimals(size)));
                        Ok(())
                    })?;
                }
                printed
            }
        };
        self.exponents = exponents;
        let mut ts_event = self.ts_event;
        for (array, side) in sides.into_iter().zip([&mut self.bids, &mut self.asks]) {
            let Some(Array::At(place)) = array else { continue };
            scanner.seek(place);
            if plain_levels(&mut scanner, side, &mut ts_event, exponents) {
                continue;
            }
            side.clear();
            for_each_level(&scanner, place, unknown, |at, [price, size, time]| {
                let price = units(price, at, pair, Quantity::Price, exponents.0)?;
                if price == 0 {
                    return Err(ScanError { offset: at, expected: "a price above 0" }.into());
                }
                let time = seconds(time).ok_or(ScanError { offset: at, expected: "a time in seconds" })?;
                ts_event = ts_event.max(time);
                side.push(Level { price, size: units(size, at, pair, Quantity::Size, exponents.1)? });
                Ok(())
            })?;
        }
        Ok(BookMessage { ts_event, checksum })
    }
}

/// Calls `each` with place, price, size and time of every level of the array at `place`. A level may carry more: `"r"` marks
/// one that is sent again because it rose into the subscribed depth.
fn for_each_level<'a>(
    scanner: &Scanner<'a>,
    place: usize,
    unknown: &mut Unknown,
    mut each: impl FnMut(usize, [&'a [u8]; 3]) -> Result<(), Failure<'a>>,
) -> Result<(), Failure<'a>> {
    let mut scanner = scanner.clone();
    scanner.seek(place);
    scanner.expect(b'[', "an array of levels")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        scanner.peek();
        let at = scanner.position();
        each(at, columns(&mut scanner, &[&[b"r"]], unknown)?)?;
    }
    Ok(())
}

/// The first `N` texts of the array at the scanner, which steps behind it. Those behind them are words of the lists in `more`,
/// in its order; an empty list is of any text.
fn columns<'a, const N: usize>(
    scanner: &mut Scanner<'a>,
    more: &[&[&[u8]]],
    unknown: &mut Unknown,
) -> Result<[&'a [u8]; N], ScanError> {
    let mut columns = [&b""[..]; N];
    scanner.expect(b'[', "an array of texts")?;
    let mut first = true;
    for column in &mut columns {
        if !scanner.element(&mut first)? {
            return Err(scanner.error("all columns"));
        }
        *column = scanner.string()?;
    }
    for words in more {
        if !scanner.element(&mut first)? {
            return Ok(columns);
        }
        if scanner.peek() == Some(b'"') {
            let word = scanner.string()?;
            unknown.values += u64::from(!words.is_empty() && !words.contains(&word));
        } else {
            unknown.field(scanner, false)?;
        }
    }
    unknown.columns(scanner, &mut first)?;
    Ok(columns)
}

/// The trades of a message in their order, and the exponents they are scaled by: `exponents` tells them, given the decimals
/// that the message prints (price, size; the largest of all rows). v1 gives trades no ids.
pub(crate) fn trades<'a>(
    body: &'a [u8],
    pair: &'a [u8],
    rows: usize,
    exponents: impl Fn((Exponent, Exponent)) -> (Exponent, Exponent),
    (prints, unknown): (&mut Vec<Print>, &mut Unknown),
) -> Result<(Exponent, Exponent), Failure<'a>> {
    prints.clear();
    let each_row = |unknown: &mut Unknown, each: &mut dyn FnMut(usize, [&'a [u8]; 4]) -> Result<(), Failure<'a>>| {
        let mut scanner = Scanner::new(body);
        scanner.seek(rows);
        scanner.expect(b'[', "rows of trades")?;
        let mut first = true;
        while scanner.element(&mut first)? {
            scanner.peek();
            let at = scanner.position();
            each(at, columns(&mut scanner, &[&[b"m", b"l"], &[]], unknown)?)?;
        }
        Ok::<(), Failure<'a>>(())
    };
    let mut printed = (0, 0);
    each_row(unknown, &mut |_, [price, size, _, _]| {
        printed = (printed.0.max(decimals(price)), printed.1.max(decimals(size)));
        Ok(())
    })?;
    let (price_exp, size_exp) = exponents(printed);
    let mut sides = 0;
    each_row(&mut Unknown::default(), &mut |at, [price, size, time, side]| {
        let wrong = |expected| ScanError { offset: at, expected };
        prints.push(Print {
            ts_event: seconds(time).ok_or(wrong("a time in seconds"))?,
            trade_id: 0,
            price: units(price, at, pair, Quantity::Price, price_exp)?,
            size: units(size, at, pair, Quantity::Size, size_exp)?,
            side: match side {
                b"b" => SIDE_BUY,
                b"s" => SIDE_SELL,
                _ => {
                    sides += 1;
                    SIDE_NONE
                }
            },
            flags: 0,
        });
        Ok(())
    })?;
    unknown.values += sides;
    Ok((price_exp, size_exp))
}

/// The best prices of a ticker message, and the exponents they are scaled by. Each side is `[price, whole size, size]`.
pub(crate) fn ticker<'a>(
    body: &'a [u8],
    pair: &'a [u8],
    at: usize,
    exponents: impl Fn((Exponent, Exponent)) -> (Exponent, Exponent),
    unknown: &mut Unknown,
) -> Result<(Top, (Exponent, Exponent)), Failure<'a>> {
    let mut scanner = Scanner::new(body);
    scanner.seek(at);
    scanner.expect(b'{', "an object of the ticker")?;
    let mut sides = [None; 2];
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        let side = match key {
            b"b" => &mut sides[0],
            b"a" => &mut sides[1],
            _ => {
                unknown.field(&mut scanner, matches!(key, b"c" | b"v" | b"p" | b"t" | b"l" | b"h" | b"o"))?;
                continue;
            }
        };
        scanner.expect(b'[', "a side of the ticker")?;
        let mut first = true;
        let mut texts = [&b""[..]; 3];
        for text in &mut texts {
            if !scanner.element(&mut first)? {
                return Err(scanner.error("price, whole size and size").into());
            }
            *text = if scanner.peek() == Some(b'"') { scanner.string()? } else { scanner.skip()? };
        }
        unknown.columns(&mut scanner, &mut first)?;
        *side = Some((texts[0], texts[2]));
    }
    let [Some(bid), Some(ask)] = sides else {
        return Err(ScanError { offset: at, expected: "`a` and `b`" }.into());
    };
    let printed = (decimals(bid.0).max(decimals(ask.0)), decimals(bid.1).max(decimals(ask.1)));
    let (price_exp, size_exp) = exponents(printed);
    let level = |(price, size)| -> Result<Level, Failure<'a>> {
        let price = units(price, at, pair, Quantity::Price, price_exp)?;
        Ok(Level { price, size: units(size, at, pair, Quantity::Size, size_exp)? })
    };
    Ok((Top { bid: level(bid)?, ask: level(ask)? }, (price_exp, size_exp)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAPSHOT: &str = r#"[464,{"as":[["56218.30000","0.15000000","1618678117.243818"]],"bs":[["56200.00000","1.00000000","1618678118.000000"]]},"book-1000","XBT/CHF"]"#;
    const UPDATE: &str = r#"[464,{"a":[["56218.30000","0.00000000","1618678119.5"],["56230.10000","2.5","1618678118.1","r"]]},{"b":[["56201.00000","1.50000000","1618678117"]],"c":"2583817756"},"book-10","XBT/CHF"]"#;

    fn plain_frame(body: &str) -> Result<Frame<'_>, ScanError> {
        frame(body.as_bytes(), &mut Unknown::default())
    }

    fn book(body: &str) -> Result<(BookMessage, Decoder), Failure<'_>> {
        let Frame::Book { pair, places, .. } = plain_frame(body)? else {
            return Err(ScanError { offset: 0, expected: "a book" }.into());
        };
        let mut decoder = Decoder::default();
        let message = decoder.book(body.as_bytes(), pair, places, None, &mut Unknown::default())?;
        Ok((message, decoder))
    }

    const fn level(price: i64, size: i64) -> Level {
        Level { price, size }
    }

    #[test]
    fn a_snapshot_has_both_sides_and_an_update_one_or_two_objects_with_a_checksum() {
        let (message, decoder) = book(SNAPSHOT).unwrap();
        assert_eq!(message, BookMessage { ts_event: 1_618_678_118_000_000_000, checksum: None });
        assert_eq!(decoder.exponents, (5, 8));
        assert_eq!(decoder.asks, [level(5_621_830_000, 15_000_000)]);
        assert_eq!(decoder.bids, [level(5_620_000_000, 100_000_000)]);
        let (message, decoder) = book(UPDATE).unwrap();
        assert_eq!(message, BookMessage { ts_event: 1_618_678_119_500_000_000, checksum: Some(2_583_817_756) });
        assert_eq!(decoder.asks, [level(5_621_830_000, 0), level(5_623_010_000, 250_000_000)]);
        assert_eq!(decoder.bids, [level(5_620_100_000, 150_000_000)]);
    }

    #[test]
    fn each_frame_is_told_by_channel_or_event() {
        for (body, expected) in [
            (r#"{"event":"heartbeat"}"#, Frame::Heartbeat),
            (
                r#"{"connectionID":17843232920108168701,"event":"systemStatus","status":"online","version":"1.8.3"}"#,
                Frame::Acknowledged,
            ),
            (
                r#"{"channelID":464,"channelName":"book-1000","event":"subscriptionStatus","pair":"XBT/CHF","status":"subscribed","subscription":{"depth":1000,"name":"book"}}"#,
                Frame::Acknowledged,
            ),
            (
                r#"{"channelName":"book-10","event":"subscriptionStatus","pair":"XBT/CHF","status":"unsubscribed"}"#,
                Frame::Unsubscribed { pair: b"XBT/CHF", is_book: true },
            ),
            (
                r#"{"errorMessage":"Currency pair not supported","event":"subscriptionStatus","pair":"A/B","status":"error"}"#,
                Frame::Refused { pair: b"A/B" },
            ),
            (r#"{"event":"pong","reqid":42}"#, Frame::Acknowledged),
            (r#"{"event":"weather"}"#, Frame::Unknown),
            (r#"[1,["5698.4","5700","1542057299.5"],"spread","XBT/USD"]"#, Frame::Other),
            (r#"[1,["1542057314.7"],"ohlc-5","XBT/USD"]"#, Frame::Other),
            (r#"[1,{},"weather","XBT/USD"]"#, Frame::Unknown),
            (r#"[[{}],"openOrders",{"sequence":1}]"#, Frame::Unknown),
            (r#"[0,[],"trade","XBT/USD"]"#, Frame::Trades { pair: b"XBT/USD", rows: 3 }),
            (r#"[0,{},"ticker","XBT/USD"]"#, Frame::Ticker { pair: b"XBT/USD", at: 3 }),
        ] {
            assert_eq!(plain_frame(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn trades_keep_their_order_and_the_side_of_the_taker() {
        let body = r#"[993,[["354.04","0.28245396","1618678150.826417","s","m",""],["353.8","1.7","1618678150.827816","b","l",""]],"trade","XMR/USD"]"#;
        let Ok(Frame::Trades { pair, rows }) = plain_frame(body) else { panic!("no trades") };
        let mut prints = Vec::new();
        let exponents =
            trades(body.as_bytes(), pair, rows, |printed| printed, (&mut prints, &mut Unknown::default())).unwrap();
        assert_eq!(exponents, (2, 8));
        let seen: Vec<_> = prints.iter().map(|print| (print.price, print.size, print.side)).collect();
        assert_eq!(seen, [(35_404, 28_245_396, SIDE_SELL), (35_380, 170_000_000, SIDE_BUY)]);
        assert_eq!(prints[0].ts_event, 1_618_678_150_826_417_000);
    }

    #[test]
    fn a_ticker_gives_the_best_prices_with_their_exact_sizes() {
        let body = r#"[996,{"a":["355.24",27,"27.19106411"],"b":["354.32",6,"6.87748868"],"c":["355.23","1.2"],"v":["1","2"]},"ticker","XMR/USD"]"#;
        let (top, exponents) =
            ticker(body.as_bytes(), b"XMR/USD", 5, |printed| printed, &mut Unknown::default()).unwrap();
        assert_eq!((top.bid, top.ask), (level(35_432, 687_748_868), level(35_524, 2_719_106_411)));
        assert_eq!(exponents, (2, 8));
        assert!(ticker(br#"{"a":["1",1,"1"]}"#, b"", 0, |printed| printed, &mut Unknown::default()).is_err());
    }

    #[test]
    fn a_damaged_frame_gives_nothing() {
        for body in [SNAPSHOT, UPDATE] {
            for size in 0..body.len() {
                assert!(plain_frame(&body[..size]).is_err(), "{size} of {body}");
            }
        }
        for (body, from, to) in [
            (SNAPSHOT, "\"bs\"", "\"as\""),
            (SNAPSHOT, "\"bs\"", "\"bt\""),
            (SNAPSHOT, "\"bs\"", "\"b\""),
            (SNAPSHOT, "book-1000", "book-1001"),
            (SNAPSHOT, "56218.30000", "5e218.30000"),
            (SNAPSHOT, "56218.30000", "-56218.3000"),
            (SNAPSHOT, "56218.30000", "0.0"),
            (SNAPSHOT, "1618678117.243818", "now"),
            (UPDATE, "\"c\"", "\"d\""),
            (UPDATE, "2583817756", "25838177560"),
            (UPDATE, "\"2583817756\"", "2583817756"),
            (UPDATE, "{\"b\"", "{\"a\""),
            (UPDATE, "\"56201.00000\",", ""),
            (UPDATE, "464,{", "464,{},{"),
        ] {
            let body = body.replacen(from, to, 1);
            assert!(book(&body).is_err(), "{body}");
        }
    }
}
