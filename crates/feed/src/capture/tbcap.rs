//! Our own export: a header line `TBCAP1 <venue>`, then per message one head line and its bytes.
//!
//! `<ts_recv> <connection> <kind> <context bytes> <body bytes>\n`, context, body, `\n`. Text heads and verbatim bodies
//! can be read with any pager; counts instead of escapes keep bodies with line breaks whole.

use tidebook_types::{MessageKind, RawMessage, Venue};

use super::{CaptureError, Part, Pending, Source};
use crate::scan::parse_unsigned;

pub(super) const MAGIC: &[u8] = b"TBCAP1 ";

const HEAD: &str = "no head `<ts_recv> <connection> <kind> <context bytes> <body bytes>`";
const CUT: &str = "the file ends inside a message";

/// Longest head line: five numbers, four spaces.
const HEAD_BYTES_MAX: usize = 80;

const fn kind_word(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Ws => "ws",
        MessageKind::Rest => "rest",
        MessageKind::State => "state",
        MessageKind::Timer => "timer",
    }
}

fn kind_of(word: &[u8]) -> Option<MessageKind> {
    (1..=4).filter_map(MessageKind::from_code).find(|&kind| kind_word(kind).as_bytes() == word)
}

pub(super) fn write_header(venue: Venue, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(venue.name().as_bytes());
    out.push(b'\n');
}

pub(super) fn write(message: &RawMessage<'_>, out: &mut Vec<u8>) {
    let RawMessage { ts_recv, connection, kind, context, body } = message;
    let word = kind_word(*kind);
    out.extend_from_slice(format!("{ts_recv} {connection} {word} {} {}\n", context.len(), body.len()).as_bytes());
    out.extend_from_slice(context);
    out.extend_from_slice(body);
    out.push(b'\n');
}

#[derive(Debug, Default)]
pub(super) struct Cursor {
    failed: bool,
}

impl Cursor {
    pub(super) fn open(source: &mut Source<'_>) -> Result<(Self, Venue), CaptureError> {
        let bytes = source.bytes;
        let line = source.line().ok_or(CaptureError::Empty)?;
        if line.start != 0 {
            return Err(source.damaged_line(&line, "blank lines before the header"));
        }
        let name = String::from_utf8_lossy(&bytes[line][MAGIC.len()..]);
        let venue = Venue::from_name(&name);
        let venue = venue.ok_or_else(|| CaptureError::Venue { format: source.format, found: name.into_owned() })?;
        Ok((Self::default(), venue))
    }

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let rest = &source.bytes[source.position..];
        if rest.is_empty() || self.failed {
            return Ok(None);
        }
        let (mut pending, head_bytes, context_bytes, body_bytes) = match message(rest) {
            Ok(found) => found,
            Err(what) => {
                self.failed = true;
                return Err(source.damaged(what));
            }
        };
        let context = source.position + head_bytes;
        let body = context + context_bytes;
        let end = body + body_bytes;
        pending.context = Part::File(context..body);
        pending.body = Part::File(body..end);
        source.lines += 2 + source.bytes[context..end].iter().filter(|&&byte| byte == b'\n').count() as u64;
        source.position = end + 1;
        Ok(Some(pending))
    }
}

/// Head of the message at the start of `bytes`, with the sizes of head, context and body, all of which are there.
fn message(bytes: &[u8]) -> Result<(Pending, usize, usize, usize), &'static str> {
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let size = window.iter().position(|&byte| byte == b'\n').ok_or(HEAD)?;
    let words: Vec<&[u8]> = bytes[..size].split(|&byte| byte == b' ').collect();
    let &[ts_recv, connection, kind, context, body] = &words[..] else { return Err(HEAD) };
    let (negative, ts_recv) = ts_recv.strip_prefix(b"-").map_or((false, ts_recv), |digits| (true, digits));
    let ts_recv = parse_unsigned(ts_recv).and_then(|ns| i64::try_from(ns).ok()).ok_or(HEAD)?;
    let connection = parse_unsigned(connection).and_then(|number| u32::try_from(number).ok()).ok_or(HEAD)?;
    let kind = kind_of(kind).ok_or(HEAD)?;
    let context = parse_unsigned(context).filter(|&size| size <= u64::from(u16::MAX)).ok_or(HEAD)? as usize;
    let body = parse_unsigned(body).and_then(|size| usize::try_from(size).ok()).ok_or(HEAD)?;
    let end = (size + 1 + context).checked_add(body).ok_or(CUT)?;
    if *bytes.get(end).ok_or(CUT)? != b'\n' {
        return Err("no newline where the message's byte counts end it");
    }
    let ts_recv = if negative { -ts_recv } else { ts_recv };
    let pending = Pending { ts_recv, connection, kind, context: Part::NONE, body: Part::NONE };
    Ok((pending, size + 1, context, body))
}
