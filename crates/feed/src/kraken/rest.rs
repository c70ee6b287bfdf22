//! Kraken's public REST answers: Trades, which are taken in as backfill, and OHLC, which is an oracle.
//!
//! Rows: trades `[price, volume, time, b|s, l|m, misc, trade_id]`; bars `[time, open, high, low, close, vwap, volume,
//! count]`, of which the last is not finished.

use tidebook_types::records::{FLAG_BACKFILL, SIDE_BUY, SIDE_SELL};
use tidebook_types::{Exponent, decimals};

use super::decode::units;
use crate::bars::BarState;
use crate::failure::{Failure, Quantity};
use crate::market::Print;
use crate::saved::saved;
use crate::scan::{ScanError, Scanner};
use crate::time::seconds;

/// Which answer a request target asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Trades,
    Ohlc { interval_min: u64 },
    AssetPairs,
    Other,
}

impl Request {
    /// By the path and query of the request.
    pub(crate) fn of(target: &[u8]) -> Self {
        let size = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
        let (path, query) = target.split_at(size);
        if path.ends_with(b"/Trades") {
            return Self::Trades;
        }
        if path.ends_with(b"/AssetPairs") {
            return Self::AssetPairs;
        }
        if !path.ends_with(b"/OHLC") {
            return Self::Other;
        }
        let pairs = query.get(1..).unwrap_or_default().split(|&byte| byte == b'&');
        let interval = pairs.filter_map(|pair| pair.strip_prefix(b"interval=")).next();
        Self::Ohlc { interval_min: interval.and_then(crate::scan::parse_unsigned).unwrap_or(1) }
    }
}

/// Pair and place of the rows of an answer that is whole JSON; `None` when the venue answered with an error.
pub(crate) fn rows(body: &[u8]) -> Result<Option<(&[u8], usize)>, ScanError> {
    let mut scanner = Scanner::new(body);
    let mut found = None;
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        if key != b"result" || scanner.peek() != Some(b'{') {
            scanner.skip()?;
            continue;
        }
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            if key != b"last" && scanner.peek() == Some(b'[') {
                found = Some((key, scanner.position()));
            }
            scanner.skip()?;
        }
    }
    scanner.end()?;
    Ok(found)
}

/// The texts of one row's columns, without quotes; a row of other than `N` columns is an error.
fn columns<'a, const N: usize>(scanner: &mut Scanner<'a>) -> Result<[&'a [u8]; N], ScanError> {
    let mut columns = [&b""[..]; N];
    scanner.expect(b'[', "a row")?;
    let mut first = true;
    for column in &mut columns {
        if !scanner.element(&mut first)? {
            return Err(scanner.error("a row with all columns"));
        }
        *column = if scanner.peek() == Some(b'"') { scanner.string()? } else { scanner.skip()? };
    }
    if scanner.element(&mut first)? {
        return Err(scanner.error("a row without further columns"));
    }
    Ok(columns)
}

/// The trades of an answer, oldest first, and the exponents they are scaled by: `exponents` tells them, given the decimals
/// that the answer prints (price, size; the largest of all rows).
pub(crate) fn trades<'a>(
    body: &'a [u8],
    place: usize,
    pair: &'a [u8],
    exponents: impl Fn((Exponent, Exponent)) -> (Exponent, Exponent),
) -> Result<(Vec<Print>, (Exponent, Exponent)), Failure<'a>> {
    let mut scanner = Scanner::new(body);
    scanner.seek(place);
    scanner.expect(b'[', "rows")?;
    let mut rows = Vec::new();
    let mut printed = (0, 0);
    let mut first = true;
    while scanner.element(&mut first)? {
        let at = scanner.position();
        let row = columns::<7>(&mut scanner)?;
        printed = (printed.0.max(decimals(row[0])), printed.1.max(decimals(row[1])));
        rows.push((at, row));
    }
    let (price_exp, size_exp) = exponents(printed);
    let mut prints = Vec::with_capacity(rows.len());
    for (at, [price, size, time, side, _, _, id]) in rows {
        let wrong = |expected| ScanError { offset: at, expected };
        prints.push(Print {
            ts_event: seconds(time).ok_or(wrong("a time in seconds"))?,
            trade_id: crate::scan::parse_unsigned(id).ok_or(wrong("a trade id"))?,
            price: units(price, at, pair, Quantity::Price, price_exp)?,
            size: units(size, at, pair, Quantity::Size, size_exp)?,
            side: match side {
                b"b" => SIDE_BUY,
                b"s" => SIDE_SELL,
                _ => return Err(wrong("`b` or `s`").into()),
            },
            flags: FLAG_BACKFILL,
        });
    }
    prints.sort_by_key(|print| print.trade_id);
    Ok((prints, (price_exp, size_exp)))
}

/// A bar as the venue computed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VenueBar {
    pub(crate) ts_open: i64,
    pub(crate) open: i64,
    pub(crate) high: i64,
    pub(crate) low: i64,
    pub(crate) close: i64,
    pub(crate) volume: i64,
    pub(crate) trade_count: u64,
}

saved!(VenueBar { ts_open, open, high, low, close, volume, trade_count });

impl VenueBar {
    /// Whether our bar says the same.
    pub(crate) fn equals(&self, ours: &BarState) -> bool {
        (self.open, self.high, self.low, self.close) == (ours.open, ours.high, ours.low, ours.close)
            && self.volume == ours.volume
            && self.trade_count == u64::from(ours.trade_count)
    }
}

/// The finished bars of an answer.
pub(crate) fn bars<'a>(
    body: &'a [u8],
    place: usize,
    pair: &'a [u8],
    (price_exp, size_exp): (Exponent, Exponent),
) -> Result<Vec<VenueBar>, Failure<'a>> {
    let mut scanner = Scanner::new(body);
    scanner.seek(place);
    scanner.expect(b'[', "rows")?;
    let mut bars = Vec::new();
    let mut first = true;
    while scanner.element(&mut first)? {
        let at = scanner.position();
        let [time, open, high, low, close, _, volume, count] = columns::<8>(&mut scanner)?;
        let wrong = |expected| ScanError { offset: at, expected };
        let price = |text| units(text, at, pair, Quantity::Price, price_exp);
        bars.push(VenueBar {
            ts_open: seconds(time).ok_or(wrong("a time in seconds"))?,
            open: price(open)?,
            high: price(high)?,
            low: price(low)?,
            close: price(close)?,
            volume: units(volume, at, pair, Quantity::Size, size_exp)?,
            trade_count: crate::scan::parse_unsigned(count).ok_or(wrong("a count"))?,
        });
    }
    bars.pop();
    Ok(bars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_their_target() {
        assert_eq!(Request::of(b"/0/public/Trades?pair=XBTUSDT&since=0"), Request::Trades);
        assert_eq!(Request::of(b"/0/public/OHLC?pair=X&interval=5"), Request::Ohlc { interval_min: 5 });
        assert_eq!(Request::of(b"/0/public/OHLC"), Request::Ohlc { interval_min: 1 });
        assert_eq!(Request::of(b"/0/public/AssetPairs"), Request::AssetPairs);
        assert_eq!(Request::of(b"/0/public/Time"), Request::Other);
    }

    #[test]
    fn rows_become_trades_and_finished_bars() {
        let body = br#"{"error":[],"result":{"XBTUSDT":[["105433.60000","0.00027625",1762795433.9717445,"b","l","",8],
            ["105410.1","0.5",1762795400,"s","m","",7]],"last":"1"}}"#;
        let (pair, place) = rows(body).unwrap().unwrap();
        let (prints, exponents) = trades(body, place, pair, |printed| printed).unwrap();
        assert_eq!((pair, exponents), (&b"XBTUSDT"[..], (5, 8)));
        let seen: Vec<_> = prints.iter().map(|p| (p.trade_id, p.price, p.size, p.side)).collect();
        assert_eq!(seen, [(7, 10_541_010_000, 50_000_000, SIDE_SELL), (8, 10_543_360_000, 27_625, SIDE_BUY)]);

        let body = br#"{"error":[],"result":{"P":[[60,"1.5","2","1","1.7","1.6","0.25",3],[120,"2","2","2","2","2","0",0]],"last":60}}"#;
        let (pair, place) = rows(body).unwrap().unwrap();
        let bar =
            VenueBar { ts_open: 60_000_000_000, open: 15, high: 20, low: 10, close: 17, volume: 25, trade_count: 3 };
        assert_eq!(bars(body, place, pair, (1, 2)), Ok(vec![bar]));
        assert_eq!(rows(br#"{"error":["EQuery:Unknown asset pair"]}"#), Ok(None));
        assert!(rows(br#"{"error":[],"result":{"P":[[1]]}"#).is_err());
    }
}
