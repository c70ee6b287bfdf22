//! cryptofeed's raw captures: text lines of several sockets and REST calls.
//!
//! `<url> <-> <seconds>` opens a connection, `<url> <- <seconds>: <json>` is a frame the client sent, `<seconds>:
//! <json>` a frame received, `<url> -> <seconds>: <json>` a REST answer, `configuration: <json>` the recorder's
//! settings. Seconds are the recorder's clock as decimal text and are read as such, so no receive time is rounded.

use std::ops::Range;

use tidebook_types::{DecimalError, MessageKind, Venue, parse_units};

use super::{CaptureError, CaptureFormat, Part, Pending, Source};

const CONFIGURATION: &[u8] = b"configuration: ";

/// Lines looked at to find the venue.
const LOOK_AHEAD_LINES: usize = 1_000;

#[derive(Debug)]
pub(super) struct Cursor {
    /// Receive time of the last line that has one, for those that have none.
    ts_recv: i64,
}

/// Whether `line` has one of the format's forms.
pub(super) fn is_line(line: &[u8]) -> bool {
    line.starts_with(CONFIGURATION) || parse(line).is_some()
}

#[derive(Debug, PartialEq, Eq)]
enum Form {
    Opened { url: Range<usize> },
    Sent { url: Range<usize> },
    Answer { url: Range<usize> },
    Received,
}

/// Form, receive time and place of the JSON.
fn parse(line: &[u8]) -> Option<(Form, i64, Range<usize>)> {
    let separated = |text: &'static [u8]| {
        // URLs hold no spaces, so the first space ends one.
        let space = line.iter().position(|&byte| byte == b' ')?;
        line[space..].starts_with(text).then_some((0..space, space + text.len()))
    };
    let (form, start) = if let Some((url, start)) = separated(b" <-> ") {
        return Some((Form::Opened { url }, seconds(line[start..].trim_ascii())?, line.len()..line.len()));
    } else if let Some((url, start)) = separated(b" <- ") {
        (Form::Sent { url }, start)
    } else if let Some((url, start)) = separated(b" -> ") {
        (Form::Answer { url }, start)
    } else {
        (Form::Received, 0)
    };
    let colon = start + line[start..].iter().position(|&byte| byte == b':')?;
    let ts_recv = seconds(&line[start..colon])?;
    let json = if line[colon..].starts_with(b": ") { colon + 2 } else { return None };
    Some((form, ts_recv, json..line.len()))
}

/// Decimal seconds as ns. Digits below a nanosecond are noise of the recorder's float and are cut.
pub(super) fn seconds(text: &[u8]) -> Option<i64> {
    let units = match parse_units(text, 9) {
        Err(DecimalError::TooPrecise { .. }) => {
            let point = text.iter().position(|&byte| byte == b'.')?;
            parse_units(&text[..point + 10], 9)
        }
        other => other,
    };
    units.ok().filter(|&ns| ns > 0)
}

/// The part of a URL after its host: the request target.
pub(super) fn target(url: &[u8]) -> Range<usize> {
    let host = url.windows(3).position(|window| window == b"://").map_or(0, |at| at + 3);
    let path = url[host..].iter().position(|&byte| byte == b'/').map_or(url.len(), |at| host + at);
    path..url.len()
}

pub(super) fn host(url: &[u8]) -> &[u8] {
    let start = url.windows(3).position(|window| window == b"://").map_or(0, |at| at + 3);
    let rest = &url[start..];
    &rest[..rest.iter().position(|&byte| matches!(byte, b'/' | b':' | b'?')).unwrap_or(rest.len())]
}

/// The venue and dialect behind a URL.
pub(super) fn venue_of(url: &[u8]) -> Option<Venue> {
    let host = host(url);
    let path = &url[target(url)];
    let is = |name: &[u8]| host == name || host.strip_suffix(name).is_some_and(|head| head.ends_with(b"."));
    let futures = |host_starts: [&[u8]; 2], path_starts: &[u8]| {
        host_starts.iter().any(|name| host.starts_with(name)) || path.starts_with(path_starts)
    };
    if is(b"binance.us") {
        Some(Venue::BinanceUs)
    } else if is(b"binance.com") || is(b"binance.vision") || is(b"binancefuture.com") {
        if futures([b"dstream.", b"dapi."], b"/dapi/") {
            Some(Venue::BinanceCoinm)
        } else if futures([b"fstream.", b"fapi."], b"/fapi/") || is(b"binancefuture.com") {
            Some(Venue::BinanceUsdm)
        } else {
            Some(Venue::Binance)
        }
    } else if is(b"kraken.com") {
        // REST is the same for both versions; the format's own client speaks v1.
        Some(if url.ends_with(b"/v2") { Venue::Kraken } else { Venue::KrakenV1 })
    } else if host.starts_with(b"advanced-trade-ws") && is(b"coinbase.com") || host == b"api.coinbase.com" {
        Some(Venue::CoinbaseAdvanced)
    } else if is(b"coinbase.com") {
        // The Exchange, under its names of today and of the time when it was Coinbase Pro.
        let exchange = [&b"ws-feed"[..], b"ws-direct", b"api.exchange.", b"api.pro.", b"api-public"];
        exchange.iter().any(|name| host.starts_with(name)).then_some(Venue::Coinbase)
    } else {
        None
    }
}

impl Cursor {
    pub(super) fn open(bytes: &[u8]) -> Result<(Self, Venue), CaptureError> {
        let url = bytes.split(|&byte| byte == b'\n').take(LOOK_AHEAD_LINES).find_map(|line| match parse(line)?.0 {
            Form::Opened { url } | Form::Sent { url } | Form::Answer { url } => Some(&line[url]),
            Form::Received => None,
        });
        let url = url.unwrap_or(b"no url");
        let venue = venue_of(url);
        let found = || String::from_utf8_lossy(host(url)).into_owned();
        let venue = venue.ok_or_else(|| CaptureError::Venue { format: CaptureFormat::Cryptofeed, found: found() })?;
        Ok((Self { ts_recv: 0 }, venue))
    }

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let Some(line) = source.line() else { return Ok(None) };
        let bytes = source.bytes;
        let text = &bytes[line.clone()];
        if let Some(settings) = text.strip_prefix(CONFIGURATION) {
            let body = source.scratch(&[b"{\"event\":\"configuration\",\"body\":", settings, b"}"]);
            return Ok(Some(self.state(source, body)));
        }
        let Some((form, ts_recv, json)) = parse(text) else {
            return Err(source.damaged_line(&line, "no `<seconds>: <json>` and no `<url> -> <seconds>: <json>`"));
        };
        self.ts_recv = ts_recv;
        let body = Part::File(line.start + json.start..line.start + json.end);
        let (kind, context) = match form {
            Form::Received => (MessageKind::Ws, Part::NONE),
            Form::Answer { url } => {
                let target = target(&text[url.clone()]);
                let start = line.start + url.start;
                (MessageKind::Rest, Part::File(start + target.start..start + target.end))
            }
            Form::Opened { url } | Form::Sent { url }
                if text[url.clone()].iter().any(|byte| b"\"\\".contains(byte)) =>
            {
                return Err(source.damaged_line(&line, "an address with a quote in it"));
            }
            Form::Opened { url } => {
                let body = source.scratch(&[b"{\"event\":\"connected\",\"url\":\"", &text[url], b"\"}"]);
                return Ok(Some(self.state(source, body)));
            }
            Form::Sent { url } => {
                let body = source.scratch(&[
                    b"{\"event\":\"sent\",\"url\":\"",
                    &text[url],
                    b"\",\"body\":",
                    &text[json],
                    b"}",
                ]);
                return Ok(Some(self.state(source, body)));
            }
        };
        Ok(Some(Pending { ts_recv, connection: source.connection, kind, context, body }))
    }

    const fn state(&self, source: &Source<'_>, body: Part) -> Pending {
        let (ts_recv, connection) = (self.ts_recv, source.connection);
        Pending { ts_recv, connection, kind: MessageKind::State, context: Part::NONE, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_line_is_told_apart() {
        let text = |line: &'static str| {
            let (form, ts_recv, json) = parse(line.as_bytes()).unwrap();
            (form, ts_recv, &line[json])
        };
        assert_eq!(text("1633998512.0633569: {}"), (Form::Received, 1_633_998_512_063_356_900, "{}"));
        let url = 0.."wss://x/y".len();
        assert_eq!(text("wss://x/y <-> 1.5"), (Form::Opened { url: url.clone() }, 1_500_000_000, ""));
        assert_eq!(text("wss://x/y <- 2: [1]"), (Form::Sent { url: url.clone() }, 2_000_000_000, "[1]"));
        assert_eq!(text("wss://x/y -> 2.0: {\"a\":1}"), (Form::Answer { url }, 2_000_000_000, "{\"a\":1}"));
        for line in ["", "{}", "abc: {}", "1.5 {}", "-1.5: {}", "wss://x/y <-> now", "1.5:{}"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_address_tells_the_dialect() {
        for (url, venue) in [
            ("wss://stream.binance.com:9443/stream?streams=x", Some(Venue::Binance)),
            ("https://data-api.binance.vision/api/v3/depth", Some(Venue::Binance)),
            ("wss://fstream.binance.com/stream?streams=x", Some(Venue::BinanceUsdm)),
            ("https://fapi.binance.com/fapi/v1/depth?symbol=X", Some(Venue::BinanceUsdm)),
            ("wss://stream.binancefuture.com/ws/x", Some(Venue::BinanceUsdm)),
            ("https://dapi.binance.com/dapi/v1/depth", Some(Venue::BinanceCoinm)),
            ("wss://dstream.binancefuture.com/ws/x", Some(Venue::BinanceCoinm)),
            ("https://testnet.binancefuture.com/dapi/v1/depth", Some(Venue::BinanceCoinm)),
            ("wss://stream.binance.us:9443/stream", Some(Venue::BinanceUs)),
            ("wss://ws.kraken.com/v2", Some(Venue::Kraken)),
            ("wss://ws.kraken.com", Some(Venue::KrakenV1)),
            ("wss://notbinance.com/ws", None),
            ("wss://ws-feed.pro.coinbase.com", Some(Venue::Coinbase)),
            ("wss://ws-feed.exchange.coinbase.com", Some(Venue::Coinbase)),
            ("https://api.exchange.coinbase.com/products", Some(Venue::Coinbase)),
            ("wss://advanced-trade-ws.coinbase.com", Some(Venue::CoinbaseAdvanced)),
            ("https://api.coinbase.com/api/v3/brokerage/market/products", Some(Venue::CoinbaseAdvanced)),
            ("https://www.coinbase.com/", None),
        ] {
            assert_eq!(venue_of(url.as_bytes()), venue, "{url}");
        }
    }

    #[test]
    fn a_request_target_begins_behind_the_host() {
        let url = b"https://api.binance.com:443/api/v3/depth?symbol=X&limit=5";
        assert_eq!(&url[target(url)], b"/api/v3/depth?symbol=X&limit=5");
        assert_eq!(host(url), b"api.binance.com");
        assert_eq!(target(b"https://host"), 12..12);
    }
}
