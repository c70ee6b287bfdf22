//! hftbacktest's raw captures: one line a message, `<receive time> <JSON>`.
//!
//! Receive time is ns since 1970, or µs in files of before 2024 (told by its size). The JSON is the combined-stream
//! frame as received, or a REST depth snapshot, which names no symbol: the streams around it do, else the file name.

use std::ops::Range;

use tidebook_types::MessageKind;

use super::{CaptureError, Part, Pending, Source};
use crate::scan::parse_unsigned;

/// How every REST snapshot of the format begins; a frame begins with its stream's name.
const SNAPSHOT: &[u8] = b"{\"lastUpdateId\"";
const STREAM: &[u8] = b"{\"stream\":\"";

/// Lines looked at to find the symbol.
const LOOK_AHEAD_LINES: usize = 1_000;

#[derive(Debug)]
pub(super) struct Cursor {
    /// Upper case; of the only symbol the format carries.
    symbol: Option<Vec<u8>>,
}

impl Cursor {
    pub(super) fn open(bytes: &[u8], file_name: &str) -> Self {
        let symbol = bytes
            .split(|&byte| byte == b'\n')
            .take(LOOK_AHEAD_LINES)
            .find_map(stream_symbol)
            .or_else(|| file_symbol(file_name));
        Self { symbol }
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
            source.scratch(&[b"/api/v3/depth?symbol=", symbol, b"&limit=1000"])
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

fn stream_symbol(line: &[u8]) -> Option<Vec<u8>> {
    let start = line.windows(STREAM.len()).position(|window| window == STREAM)? + STREAM.len();
    let name = &line[start..];
    let size = name.iter().position(|&byte| byte == b'@')?;
    Some(name[..size].to_ascii_uppercase())
}

/// The leading letters and digits of a file name such as `btcusdt-20240808.log.zst` or `btcusdt_20240808.gz`.
fn file_symbol(name: &str) -> Option<Vec<u8>> {
    let size = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
    (size > 0).then(|| name.as_bytes()[..size].to_ascii_uppercase())
}
