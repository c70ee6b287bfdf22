//! A saved answer of Kraken's public REST interface: the whole file is one message.
//!
//! Trades rows have seven columns, OHLC rows eight. The file carries no receive time; its `last`, the newest time the
//! answer reaches, stands for it.

use tidebook_types::MessageKind;

use super::{CaptureError, Part, Pending, Source};
use crate::scan::{ScanError, Scanner, parse_unsigned};

#[derive(Debug, Default)]
pub(super) struct Cursor {
    done: bool,
}

impl Cursor {
    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let bytes = source.bytes;
        let answer = outline(bytes).map_err(|error| {
            source.position = error.offset.min(bytes.len());
            source.lines = bytes[..source.position].iter().filter(|&&byte| byte == b'\n').count() as u64;
            source.damaged(error.expected)
        })?;
        let context = match answer.columns {
            8 => {
                let interval = (answer.step_s / 60).to_string();
                source.scratch(&[b"/0/public/OHLC?pair=", answer.pair, b"&interval=", interval.as_bytes()])
            }
            _ => source.scratch(&[b"/0/public/Trades?pair=", answer.pair]),
        };
        source.position = bytes.len();
        let (ts_recv, connection) = (answer.last_ns, source.connection);
        Ok(Some(Pending { ts_recv, connection, kind: MessageKind::Rest, context, body: Part::File(0..bytes.len()) }))
    }
}

struct Outline<'a> {
    pair: &'a [u8],
    columns: usize,
    /// Seconds from the first row's time to the second's, for OHLC.
    step_s: u64,
    last_ns: i64,
}

fn outline(bytes: &[u8]) -> Result<Outline<'_>, ScanError> {
    let mut scanner = Scanner::new(bytes);
    let mut outline = Outline { pair: b"", columns: 0, step_s: 0, last_ns: 0 };
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        if key != b"result" {
            scanner.skip()?;
            continue;
        }
        scanner.expect(b'{', "an object in `result`")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            if key == b"last" {
                let offset = scanner.position();
                let text = scanner.skip()?;
                let digits = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
                let last = parse_unsigned(digits).and_then(|last| i64::try_from(last).ok());
                let last = last.ok_or(ScanError { offset, expected: "a time in `last`" })?;
                // Trades give ns, OHLC seconds.
                outline.last_ns = if last < 100_000_000_000 { last * 1_000_000_000 } else { last };
            } else {
                outline.pair = key;
                (outline.columns, outline.step_s) = rows(&mut scanner)?;
            }
        }
    }
    scanner.end()?;
    match outline.columns {
        7 | 8 => Ok(outline),
        _ => Err(scanner.error("rows of Trades (7 columns) or OHLC (8 columns)")),
    }
}

/// Columns of the rows, and the time from the first to the second row.
fn rows(scanner: &mut Scanner<'_>) -> Result<(usize, u64), ScanError> {
    let mut columns = 0;
    let mut times = [0, 0];
    let mut row = 0;
    scanner.expect(b'[', "an array of rows")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        if row >= times.len() {
            scanner.skip()?;
            continue;
        }
        scanner.expect(b'[', "a row")?;
        columns = 0;
        let mut first = true;
        while scanner.element(&mut first)? {
            let text = scanner.skip()?;
            if columns == 0 {
                times[row] = parse_unsigned(text).unwrap_or(0);
            }
            columns += 1;
        }
        row += 1;
    }
    Ok((columns, times[1].saturating_sub(times[0])))
}
