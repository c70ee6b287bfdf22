//! Recordings of Bitstamp's order-by-order feed: lines `<receive ms> <event> <JSON>`.
//!
//! No line names the instrument, so the file's name does (`btcusd-20150501.log`), and a `State` message in front says it.
//! The body of a message is the line behind its receive time.

use tidebook_types::{MessageKind, Venue};

use super::{CaptureError, CaptureFormat, Part, Pending, Source};
use crate::scan::parse_unsigned;

#[derive(Debug)]
pub(super) struct Cursor {
    /// The state in front, until it was given out.
    state: Option<Vec<u8>>,
}

/// Whether `line` has the format's form: `1430438404518 order_created {`.
pub(super) fn is_line(line: &[u8]) -> bool {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let (time, event, json) = (words.next(), words.next(), words.next());
    time.and_then(parse_unsigned).is_some()
        && event.is_some_and(|event| {
            event.first().is_some_and(u8::is_ascii_lowercase)
                && event.iter().all(|&byte| byte.is_ascii_lowercase() || byte == b'_')
        })
        && json.is_some_and(|json| json.starts_with(b"{"))
}

/// `btcusd-20150501.log` as `BTC/USD`.
fn symbol(file_name: &str) -> Option<String> {
    let size = file_name.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(file_name.len());
    // Currency codes of this venue have three letters at the end of a pair: `btcusd`, `ethbtc`, `usdcusd`.
    if size < 6 {
        return None;
    }
    let name = file_name[..size].to_ascii_uppercase();
    let (base, quote) = name.split_at(size - 3);
    Some(format!("{base}/{quote}"))
}

impl Cursor {
    pub(super) fn open(file_name: &str) -> Result<Self, CaptureError> {
        let symbol = symbol(file_name)
            .ok_or(CaptureError::Unnamed { format: CaptureFormat::Bitstamp, example: "btcusd-20150501.log" })?;
        let name = CaptureFormat::Bitstamp.name();
        let state = format!("{{\"event\":\"capture\",\"format\":\"{name}\",\"symbol\":\"{symbol}\"}}");
        Ok(Self { state: Some(state.into_bytes()) })
    }

    pub(super) const VENUE: Venue = Venue::Bitstamp;

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let connection = source.connection;
        if let Some(state) = self.state.take() {
            // It stands just before the first line.
            let ts_recv = head(source.bytes).map_or(0, |(ts_recv, _)| ts_recv);
            let body = source.scratch(&[&state]);
            return Ok(Some(Pending { ts_recv, connection, kind: MessageKind::State, context: Part::NONE, body }));
        }
        let Some(line) = source.line() else { return Ok(None) };
        let Some((ts_recv, size)) = head(&source.bytes[line.clone()]) else {
            return Err(source.damaged_line(&line, "no receive time in ms at the start of the line"));
        };
        let body = Part::File(line.start + size..line.end);
        Ok(Some(Pending { ts_recv, connection, kind: MessageKind::Ws, context: Part::NONE, body }))
    }
}

/// Receive time in ns, and bytes up to the event.
fn head(line: &[u8]) -> Option<(i64, usize)> {
    let space = line.iter().position(|&byte| byte == b' ')?;
    let ms = parse_unsigned(&line[..space]).and_then(|ms| i64::try_from(ms).ok())?;
    Some((ms.checked_mul(1_000_000)?, space + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_names_are_told_from_others() {
        for (line, expected) in [
            ("1430438404518 order_created {\"price\"", true),
            ("1430438404518 trade {}", true),
            ("1430438404518 {\"stream\":1}", false),
            ("1430438404518 TRADE {}", false),
            ("1430438404518 trade []", false),
            ("abc trade {}", false),
            ("", false),
        ] {
            assert_eq!(is_line(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(symbol("btcusd-20150501.log.zst").as_deref(), Some("BTC/USD"));
        assert_eq!(symbol("usdcusd.log").as_deref(), Some("USDC/USD"));
        assert_eq!(symbol("log.zst"), None);
    }
}
