//! hftbacktest's raw captures: one line a message, `<receive time> <JSON>`.
//!
//! Receive time is ns since 1970, or µs in files of before 2024 (told by its size). The JSON is the combined-stream
//! frame as received, or a REST depth snapshot, which names no symbol: the streams around it do, else the file name.
//!
//! Nothing names the market either. Frames of futures have fields that spot has not, so the first frame that tells spot,
//! USD-M and COIN-M apart decides; Binance.US looks like spot and counts as such.

use std::ops::Range;

use memchr::memmem;
use tidebook_types::{MessageKind, Venue};

use super::{CaptureError, Part, Pending, Source};
use crate::scan::parse_unsigned;

/// How every REST snapshot of the format begins; a frame begins with its stream's name.
pub(super) const SNAPSHOT: &[u8] = b"{\"lastUpdateId\"";
const STREAM: &[u8] = b"{\"stream\":\"";

/// Lines looked at to find the symbol and the market.
const LOOK_AHEAD_LINES: usize = 1_000;

#[derive(Debug)]
pub(super) struct Cursor {
    /// Upper case; of the only symbol the format carries.
    symbol: Option<Vec<u8>>,
    /// Path of the market's REST depth.
    depth_path: &'static [u8],
}

impl Cursor {
    pub(super) fn open(bytes: &[u8], file_name: &str) -> (Self, Venue) {
        let lines = || bytes.split(|&byte| byte == b'\n').take(LOOK_AHEAD_LINES);
        let symbol = lines().find_map(stream_symbol).or_else(|| file_symbol(file_name));
        let venue = lines().find_map(venue_of).unwrap_or(Venue::Binance);
        let depth_path: &[u8] = match venue {
            Venue::BinanceUsdm => b"/fapi/v1/depth?symbol=",
            Venue::BinanceCoinm => b"/dapi/v1/depth?symbol=",
            _ => b"/api/v3/depth?symbol=",
        };
        (Self { symbol, depth_path }, venue)
    }

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let Some(line) = source.line() else { return Ok(None) };
        let text = &source.bytes[line.clone()];
        let Some(space) = text.iter().position(|&byte| byte == b' ') else {
            return Err(source.damaged_line(&line, "no space between receive time and message"));
        };
        let Some(ts_recv) = parse_unsigned(&text[..space]).and_then(nanoseconds) else {
            return Err(source.damaged_line(&line, "no receive time at the start of the line"));
        };
        let body: Range<usize> = line.start + space + 1..line.end;
        let is_snapshot = source.bytes[body.clone()].starts_with(SNAPSHOT);
        let context = if is_snapshot {
            let Some(symbol) = &self.symbol else { return Err(CaptureError::Symbol { line: source.lines }) };
            source.scratch(&[self.depth_path, symbol, b"&limit=1000"])
        } else {
            Part::NONE
        };
        let kind = if is_snapshot { MessageKind::Rest } else { MessageKind::Ws };
        Ok(Some(Pending { ts_recv, connection: source.connection, kind, context, body: Part::File(body) }))
    }
}

/// Receive time in ns: a value below 10^17 can only be µs (10^17 ns is March 1973).
fn nanoseconds(value: u64) -> Option<i64> {
    let value = i64::try_from(value).ok()?;
    if value < 100_000_000_000_000_000 { value.checked_mul(1_000) } else { Some(value) }
}

/// Symbol of the first stream that a line names, in upper case.
pub(super) fn stream_symbol(line: &[u8]) -> Option<Vec<u8>> {
    stream(line).map(|(symbol, _)| symbol.to_ascii_uppercase())
}

/// Symbol that a snapshot was asked for with, in upper case.
pub(super) fn snapshot_symbol(target: &[u8]) -> Option<Vec<u8>> {
    const PARAMETER: &[u8] = b"symbol=";
    let start = memmem::find(target, PARAMETER)? + PARAMETER.len();
    let end = memchr::memchr(b'&', &target[start..]).map_or(target.len(), |size| start + size);
    Some(target[start..end].to_ascii_uppercase())
}

/// Symbol and kind of a line's stream: `btcusdt` and `depth@100ms`.
fn stream(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = memmem::find(line, STREAM)? + STREAM.len();
    let name = &line[start..start + memchr::memchr(b'"', &line[start..])?];
    let at = memchr::memchr(b'@', name)?;
    Some((&name[..at], &name[at + 1..]))
}

/// The market a line is of, if it is of a kind that differs between them.
fn venue_of(line: &[u8]) -> Option<Venue> {
    let has = |key: &[u8]| memmem::find(line, key).is_some();
    let Some((symbol, kind)) = stream(line) else {
        // COIN-M names the pair in its snapshots, USD-M only has the times.
        let is_snapshot = has(SNAPSHOT);
        return match (has(b"\"pair\":"), has(b"\"T\":")) {
            (true, _) if is_snapshot => Some(Venue::BinanceCoinm),
            (false, true) if is_snapshot => Some(Venue::BinanceUsdm),
            (false, false) if is_snapshot => Some(Venue::Binance),
            _ => None,
        };
    };
    let futures = match kind {
        b"trade" => has(b"\"X\":"),
        b"bookTicker" => has(b"\"T\":"),
        _ if kind.starts_with(b"depth") => has(b"\"pu\":"),
        _ => return None,
    };
    // Contracts of COIN-M are of a pair against the dollar itself: btcusd_perp, btcusd_240927.
    let pair = symbol.split(|&byte| byte == b'_').next().filter(|pair| pair.len() < symbol.len());
    Some(match pair {
        Some(pair) if futures && pair.ends_with(b"usd") => Venue::BinanceCoinm,
        _ if futures => Venue::BinanceUsdm,
        _ => Venue::Binance,
    })
}

/// The symbol at the start of a file name such as `btcusdt-20240808.log.zst`, `btcusdt_20240808.gz` or
/// `btcusd_perp_20240808.gz`.
fn file_symbol(name: &str) -> Option<Vec<u8>> {
    const PERPETUAL: &str = "_perp";
    let mut size = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
    if name[size..].to_ascii_lowercase().starts_with(PERPETUAL) {
        size += PERPETUAL.len();
    }
    (size > 0).then(|| name.as_bytes()[..size].to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_market_by_the_fields_that_only_futures_have() {
        use Venue::{Binance, BinanceCoinm, BinanceUsdm};
        for (line, venue) in [
            (r#"1 {"stream":"btcusdt@trade","data":{"e":"trade","t":1,"m":true,"M":true}}"#, Some(Binance)),
            (r#"1 {"stream":"btcusdt@trade","data":{"e":"trade","t":1,"X":"MARKET","m":true}}"#, Some(BinanceUsdm)),
            (r#"1 {"stream":"btcusd_perp@trade","data":{"e":"trade","X":"MARKET","m":true}}"#, Some(BinanceCoinm)),
            (r#"1 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1"}}"#, Some(Binance)),
            (r#"1 {"stream":"btcusdt@bookTicker","data":{"u":1,"A":"1","T":1,"E":1}}"#, Some(BinanceUsdm)),
            (r#"1 {"stream":"btcusdt_240927@depth@0ms","data":{"U":2,"u":3,"pu":1}}"#, Some(BinanceUsdm)),
            (r#"1 {"stream":"btcusd_240927@depth@0ms","data":{"U":2,"u":3,"pu":1}}"#, Some(BinanceCoinm)),
            (r#"1 {"stream":"btcusdt@depth@100ms","data":{"U":2,"u":3}}"#, Some(Binance)),
            (r#"1 {"stream":"btcusdt@kline_1m","data":{"e":"kline","k":{"T":1}}}"#, None),
            (r#"1 {"lastUpdateId":1,"bids":[],"asks":[]}"#, Some(Binance)),
            (r#"1 {"lastUpdateId": 1, "E": 2, "T": 3, "bids": [], "asks": []}"#, Some(BinanceUsdm)),
            (r#"1 {"lastUpdateId":1,"E":2,"T":3,"symbol":"X","pair":"Y","bids":[]}"#, Some(BinanceCoinm)),
            ("1 {}", None),
        ] {
            assert_eq!(venue_of(line.as_bytes()), venue, "{line}");
        }
    }

    #[test]
    fn a_file_is_named_after_its_symbol() {
        for (name, symbol) in [
            ("btcusdt-20240808.log.zst", "BTCUSDT"),
            ("btcusdt_20240808.gz", "BTCUSDT"),
            ("btcusd_perp-20240808.log.zst", "BTCUSD_PERP"),
            ("BTCUSD_PERP_20240808.gz", "BTCUSD_PERP"),
        ] {
            assert_eq!(file_symbol(name), Some(symbol.as_bytes().to_vec()), "{name}");
        }
        assert_eq!(file_symbol("-"), None);
    }
}
