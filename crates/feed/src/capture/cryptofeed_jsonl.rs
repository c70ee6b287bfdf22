//! cryptofeed's newer captures: one JSON object a line.
//!
//! `t` says what the line is: `header` (the recorder's settings), `connect`, `send` and `recv` of a socket, `http` for a
//! REST answer. `ts` is the recorder's clock in seconds, `conn` names the socket, `addr` or `url` where it leads. A frame
//! is a JSON string inside of the line (`data`), so its escapes are undone: the body is what the venue sent.

use std::ops::Range;

use tidebook_types::{MessageKind, Venue};

use super::cryptofeed::{host, seconds, target, venue_of};
use super::{CaptureError, CaptureFormat, Part, Pending, Source};
use crate::scan::{ScanError, Scanner};

/// How every line begins.
pub(super) const START: &[u8] = b"{\"t\":\"";

/// Lines looked at to find the venue.
const LOOK_AHEAD_LINES: usize = 1_000;

/// Numbers between the sockets of one file, so that files read together do not share any.
const SOCKET_STEP: u32 = 1 << 16;

#[derive(Debug)]
pub(super) struct Cursor {
    /// Receive time of the last line that has one, for those that have none.
    ts_recv: i64,
    /// Names of the sockets, in the order of their first line.
    sockets: Vec<Box<[u8]>>,
}

/// The fields of a line.
#[derive(Default)]
struct Line<'a> {
    kind: &'a [u8],
    socket: &'a [u8],
    address: &'a [u8],
    /// Seconds, as text.
    time: &'a [u8],
    /// The string's raw text.
    data: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    fn read(text: &'a [u8]) -> Result<Self, ScanError> {
        let mut line = Self::default();
        let mut scanner = Scanner::new(text);
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match (key, scanner.peek()) {
                (b"t", Some(b'"')) => line.kind = scanner.string()?,
                (b"conn", Some(b'"')) => line.socket = scanner.string()?,
                (b"addr" | b"url", Some(b'"')) => line.address = scanner.string()?,
                (b"ts" | b"recorded", Some(b'0'..=b'9')) => line.time = scanner.number()?,
                (b"data", Some(b'"')) => line.data = Some(scanner.string()?),
                _ => {
                    scanner.skip()?;
                }
            }
        }
        scanner.end()?;
        Ok(line)
    }
}

/// Range of `part` in `whole`, which holds it.
fn range(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// Appends the text that a JSON string spells; false when its escapes make no sense.
fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some(&escape) = rest.get(at + 1) else { return false };
        rest = &rest[at + 2..];
        out.push(match escape {
            b'"' | b'\\' | b'/' => escape,
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => {
                let Some(character) = unicode(&mut rest) else { return false };
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return false,
        });
    }
    out.extend_from_slice(rest);
    true
}

/// The character of `XXXX`, or of a pair `XXXX\uXXXX`, at the start of `rest`, which steps behind it.
fn unicode(rest: &mut &[u8]) -> Option<char> {
    let unit = |rest: &mut &[u8]| {
        let (digits, behind) = rest.split_at_checked(4)?;
        *rest = behind;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let first = unit(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first.into());
    }
    *rest = rest.strip_prefix(b"\\u")?;
    let pair = [first, unit(rest)?];
    char::decode_utf16(pair).next()?.ok()
}

impl Cursor {
    pub(super) fn open(bytes: &[u8]) -> Result<(Self, Venue), CaptureError> {
        let mut lines = bytes.split(|&byte| byte == b'\n').take(LOOK_AHEAD_LINES);
        let address = lines.find_map(|line| Line::read(line).ok().map(|line| line.address).filter(|a| !a.is_empty()));
        let address = address.unwrap_or(b"no url");
        let found = || String::from_utf8_lossy(host(address)).into_owned();
        let venue = venue_of(address)
            .ok_or_else(|| CaptureError::Venue { format: CaptureFormat::CryptofeedJsonl, found: found() })?;
        Ok((Self { ts_recv: 0, sockets: Vec::new() }, venue))
    }

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let Some(place) = source.line() else { return Ok(None) };
        let bytes = source.bytes;
        let text = &bytes[place.clone()];
        let Ok(line) = Line::read(text) else {
            return Err(source.damaged_line(&place, "no JSON object"));
        };
        match seconds(line.time) {
            Some(ts_recv) => self.ts_recv = ts_recv,
            None if line.kind == b"header" => {}
            None => return Err(source.damaged_line(&place, "no `ts` in seconds")),
        }
        let data = line.data.ok_or("no `data`");
        let (kind, context, body) = match line.kind {
            b"recv" => (MessageKind::Ws, Part::NONE, Self::data(source, data)),
            b"http" if line.address.is_empty() => (MessageKind::Rest, Part::NONE, Err("no `url` of the answer")),
            b"http" => {
                let target = target(line.address);
                let address = range(bytes, line.address);
                let context = Part::File(address.start + target.start..address.start + target.end);
                (MessageKind::Rest, context, Self::data(source, data))
            }
            b"connect" => {
                let body = source.scratch(&[b"{\"event\":\"connected\",\"url\":\"", line.address, b"\"}"]);
                (MessageKind::State, Part::NONE, Ok(body))
            }
            b"send" => {
                let body = Self::data(source, data).map(|_| {
                    let sent = std::mem::take(&mut source.scratch);
                    let start: &[u8] = b"{\"event\":\"sent\",\"url\":\"";
                    source.scratch(&[start, line.address, b"\",\"body\":", &sent, b"}"])
                });
                (MessageKind::State, Part::NONE, body)
            }
            b"header" => {
                let body = source.scratch(&[b"{\"event\":\"configuration\",\"body\":", text, b"}"]);
                (MessageKind::State, Part::NONE, Ok(body))
            }
            b"close" | b"disconnect" => {
                let body = source.scratch(&[b"{\"event\":\"disconnected\"}"]);
                (MessageKind::State, Part::NONE, Ok(body))
            }
            _ => (MessageKind::State, Part::NONE, Err("no `t` of a line we know")),
        };
        let body = body.map_err(|what| source.damaged_line(&place, what))?;
        let connection = self.connection(source.connection, line.kind, line.socket);
        Ok(Some(Pending { ts_recv: self.ts_recv, connection, kind, context, body }))
    }

    /// Puts the text of a line's `data` into scratch.
    fn data(source: &mut Source<'_>, data: Result<&[u8], &'static str>) -> Result<Part, &'static str> {
        let data = data?;
        source.scratch.clear();
        if unescape(data, &mut source.scratch) {
            Ok(Part::Scratch(0..source.scratch.len()))
        } else {
            Err("`data` with an escape that is none")
        }
    }

    /// Number of a socket. REST calls and settings belong to none and have that of the file.
    fn connection(&mut self, of_file: u32, kind: &[u8], socket: &[u8]) -> u32 {
        if socket.is_empty() || matches!(kind, b"http" | b"header") {
            return of_file;
        }
        let place = self.sockets.iter().position(|known| **known == *socket).unwrap_or_else(|| {
            self.sockets.push(socket.into());
            self.sockets.len() - 1
        });
        u32::try_from(place).map_or(of_file, |place| of_file.wrapping_add(place.wrapping_mul(SOCKET_STEP)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_or_refused() {
        let undone = |raw: &str| {
            let mut out = Vec::new();
            unescape(raw.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
        };
        for (raw, text) in [
            (r#"{\"a\":\"b\\\"c\"}"#, r#"{"a":"b\"c"}"#),
            (r"\/\n\t\r\b\f", "/\n\t\r\u{8}\u{c}"),
            (r"\u00e9\ud83d\ude00x", "é😀x"),
            ("plain", "plain"),
        ] {
            assert_eq!(undone(raw).as_deref(), Some(text), "{raw}");
        }
        for raw in ["\\", r"\x", r"\u12", r"\ud83d", r"\ud83d\u0041", r"\uzzzz"] {
            assert_eq!(undone(raw), None, "{raw}");
        }
    }
}
