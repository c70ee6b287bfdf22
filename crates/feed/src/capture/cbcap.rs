//! CBCAP1 captures of Kraken's WebSocket: a header line, then `<receive ns> <byte count>\n<payload>\n` per frame.
//!
//! Some recorders stamp frames with a monotonic clock and only the header with the wall clock. The header becomes a
//! `State` message that keeps all its words and, where the clocks differ, the offset that was added to every receive
//! time: [`super::CaptureWriter`] takes it off again and gives the file back byte for byte.

use tidebook_types::{MessageKind, Venue};

use super::{CaptureError, Part, Pending, Source};
use crate::scan::parse_unsigned;

pub(super) const MAGIC: &[u8] = b"CBCAP1 ";

/// First frame and header further apart than this come from different clocks.
const CLOCKS_DIFFER_NS: u64 = 86_400_000_000_000;

#[derive(Debug)]
pub(super) struct Cursor {
    /// Words of the header, until it was given out.
    header: Option<(Vec<u8>, i64)>,
    offset_ns: i64,
    failed: bool,
}

impl Cursor {
    pub(super) fn open(source: &mut Source<'_>) -> Result<(Self, Venue), CaptureError> {
        const WORDS: &str = "the header must read `CBCAP1 <venue> <symbol> <ns>`";
        let bytes = source.bytes;
        let line = source.line().ok_or(CaptureError::Empty)?;
        let words: Vec<&[u8]> = bytes[line.clone()].split(|&byte| byte == b' ').collect();
        let (&[_, venue, symbol, started], true) = (&words[..], line.start == 0) else {
            return Err(source.damaged_line(&line, WORDS));
        };
        let started = parse_unsigned(started).and_then(|ns| i64::try_from(ns).ok());
        let quoted = symbol.iter().any(|byte| b"\"\\".contains(byte) || byte.is_ascii_control());
        let (Some(started_ns), false) = (started, quoted) else {
            return Err(source.damaged_line(&line, WORDS));
        };
        if venue != Venue::Kraken.name().as_bytes() {
            let found = String::from_utf8_lossy(venue).into_owned();
            return Err(CaptureError::Venue { format: source.format, found });
        }
        let first = frame_head(&bytes[source.position..]).map_or(started_ns, |head| head.ts);
        let offset_ns = if first.abs_diff(started_ns) > CLOCKS_DIFFER_NS { started_ns - first } else { 0 };
        let mut body = b"{\"event\":\"capture\",\"format\":\"cbcap\",\"symbol\":\"".to_vec();
        body.extend_from_slice(symbol);
        body.extend_from_slice(format!("\",\"started_ns\":{started_ns},\"offset_ns\":{offset_ns}}}").as_bytes());
        Ok((Self { header: Some((body, started_ns)), offset_ns, failed: false }, Venue::Kraken))
    }

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let connection = source.connection;
        if let Some((body, ts_recv)) = self.header.take() {
            let body = source.scratch(&[&body]);
            return Ok(Some(Pending { ts_recv, connection, kind: MessageKind::State, context: Part::NONE, body }));
        }
        let rest = &source.bytes[source.position..];
        if rest.is_empty() || self.failed {
            return Ok(None);
        }
        let frame = frame_head(rest).ok_or("no frame head `<receive ns> <byte count>`").and_then(|head| {
            let ts_recv = head.ts.checked_add(self.offset_ns).ok_or("a receive time out of range")?;
            let body = rest.get(head.size_bytes..).and_then(|rest| rest.get(..head.payload_bytes));
            let body = body.ok_or("the file ends inside a frame")?;
            match rest.get(head.size_bytes + head.payload_bytes) {
                Some(b'\n') => Ok((ts_recv, head.size_bytes, body)),
                Some(_) => Err("no newline where the frame's byte count ends it"),
                None => Err("the file ends inside a frame"),
            }
        });
        let (ts_recv, head_bytes, body) = match frame {
            Ok(frame) => frame,
            Err(what) => {
                self.failed = true;
                return Err(source.damaged(what));
            }
        };
        let start = source.position + head_bytes;
        let part = Part::File(start..start + body.len());
        source.lines += 2 + body.iter().filter(|&&byte| byte == b'\n').count() as u64;
        source.position = start + body.len() + 1;
        Ok(Some(Pending { ts_recv, connection, kind: MessageKind::Ws, context: Part::NONE, body: part }))
    }
}

struct FrameHead {
    ts: i64,
    payload_bytes: usize,
    /// Bytes of the head itself.
    size_bytes: usize,
}

fn frame_head(bytes: &[u8]) -> Option<FrameHead> {
    // Two 64-bit numbers, a space and a newline take at most 42 bytes.
    let size = bytes[..bytes.len().min(42)].iter().position(|&byte| byte == b'\n')?;
    let space = bytes[..size].iter().position(|&byte| byte == b' ')?;
    let ts = i64::try_from(parse_unsigned(&bytes[..space])?).ok()?;
    let payload_bytes = usize::try_from(parse_unsigned(&bytes[space + 1..size])?).ok()?;
    (payload_bytes <= isize::MAX as usize / 2).then_some(FrameHead { ts, payload_bytes, size_bytes: size + 1 })
}
