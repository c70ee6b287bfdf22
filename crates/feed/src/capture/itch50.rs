//! Files of NASDAQ's TotalView-ITCH 5.0: two bytes of length, big-endian, then the message; a length of 0 at the end.
//!
//! Messages say the time of day and not the day, so the file's name does (`01302019.NASDAQ_ITCH50`, as the exchange names
//! them; the day may be told instead), and a `State` message in front says it. The exchange's clock stands for ours. Nothing
//! marks the start of a message: one whose length does not fit its type ends the file, since the next cannot be found.

use tidebook_types::{MessageKind, Venue};

use super::{CaptureError, CaptureFormat, CaptureOptions, Day, Part, Pending, Source};
use crate::itch::decode::{HEAD_BYTES, since_midnight_ns, size_bytes};

/// Messages looked at to know the format by.
const MESSAGES_LOOKED_AT: usize = 4;

/// More than any message may grow to; beyond it a length is damaged.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// A length of 0: nothing follows.
const END: &[u8] = &[0, 0];

const CUT: &str = "the file ends inside a message";

#[derive(Debug)]
pub(super) struct Cursor {
    midnight_ns: i64,
    /// Whether the state in front was given out.
    begun: bool,
    failed: bool,
}

/// Whether a file begins with messages of the format: types we know in their sizes, at times of a day that do not go back.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut last = 0;
    for count in 0..MESSAGES_LOOKED_AT {
        let body = match body(rest) {
            Ok(body) => body,
            Err(what) => return what == CUT && count > 0,
        };
        let known = body.first().and_then(|&kind| size_bytes(kind)) == Some(body.len());
        let Some(ns) = since_midnight_ns(body).filter(|&ns| known && ns >= last) else { return false };
        last = ns;
        rest = &rest[2 + body.len()..];
        if matches!(rest, END | []) {
            break;
        }
    }
    true
}

/// The first message of `bytes`.
fn body(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let length = bytes.first_chunk().ok_or(CUT)?;
    let size = usize::from(u16::from_be_bytes(*length));
    let body = bytes.get(2..2 + size).ok_or(CUT)?;
    let least =
        body.first().filter(|kind| kind.is_ascii_alphabetic()).map(|&kind| size_bytes(kind).unwrap_or(HEAD_BYTES));
    match least {
        Some(least) if (least..=MESSAGE_BYTES_MAX).contains(&size) => Ok(body),
        _ => Err("no message of a known type, or of a length that does not fit it"),
    }
}

impl Cursor {
    pub(super) fn open(options: CaptureOptions<'_>) -> Result<Self, CaptureError> {
        let (format, example) = (CaptureFormat::Itch50, "01302019.NASDAQ_ITCH50");
        let day = options.day.or_else(|| Day::in_name(options.file_name));
        let day = day.ok_or(CaptureError::Undated { format, example })?;
        Ok(Self { midnight_ns: day.midnight_ns(), begun: false, failed: false })
    }

    pub(super) const VENUE: Venue = Venue::Nasdaq;

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let connection = source.connection;
        let rest = &source.bytes[source.position..];
        if self.failed || matches!(rest, END | []) {
            source.position = source.bytes.len();
            return Ok(None);
        }
        let found = body(rest).and_then(|body| {
            let ns = since_midnight_ns(body).ok_or("a message at no time of the day")?;
            Ok((body.len(), self.midnight_ns + ns))
        });
        let (size, ts_recv) = match found {
            Ok(found) => found,
            Err(what) => {
                self.failed = true;
                return Err(source.damaged(what));
            }
        };
        if !std::mem::replace(&mut self.begun, true) {
            // It stands just before the first message.
            let midnight = self.midnight_ns.to_string();
            let name = CaptureFormat::Itch50.name().as_bytes();
            let pieces: [&[u8]; 5] =
                [b"{\"event\":\"capture\",\"format\":\"", name, b"\",\"midnight_ns\":", midnight.as_bytes(), b"}"];
            let body = source.scratch(&pieces);
            return Ok(Some(Pending { ts_recv, connection, kind: MessageKind::State, context: Part::NONE, body }));
        }
        let start = source.position + 2;
        source.position = start + size;
        source.lines += 1;
        let body = Part::File(start..start + size);
        Ok(Some(Pending { ts_recv, connection, kind: MessageKind::Ws, context: Part::NONE, body }))
    }
}
