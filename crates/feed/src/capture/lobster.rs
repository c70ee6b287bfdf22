//! LOBSTER's message files: one CSV row of six columns an event.
//!
//! Rows name neither instrument nor day, so the file's name does (`AAPL_2012-06-21_34200000_57600000_message_10.csv`,
//! `aapl-20120621-message.csv`; the day may be told instead), and a `State` message in front says both. Times are the exchange's and stand for
//! receive times, which LOBSTER does not have.

use tidebook_types::{MessageKind, Venue};

use super::{CaptureError, CaptureFormat, CaptureOptions, Day, Part, Pending, Source};
use crate::decimal::nearest_nanoseconds;
use crate::scan::parse_unsigned;

/// Longer than any day.
const TWO_DAYS_NS: i64 = 172_800_000_000_000;

#[derive(Debug)]
pub(super) struct Cursor {
    midnight_ns: i64,
    /// The state in front, until it was given out.
    state: Option<Vec<u8>>,
}

/// Whether `line` has the format's form: six numbers, the first with a point, the sixth 1 or -1. Columns may follow.
pub(super) fn is_line(line: &[u8]) -> bool {
    let mut columns = line.trim_ascii_end().split(|&byte| byte == b',');
    let time = columns.next().unwrap_or_default();
    let is_number = |text: &[u8]| parse_unsigned(text.strip_prefix(b"-").unwrap_or(text)).is_some();
    time.contains(&b'.')
        && nearest_nanoseconds(time).is_some()
        && columns.by_ref().take(4).filter(|text| is_number(text)).count() == 4
        && matches!(columns.next(), Some(b"1" | b"-1"))
}

/// Symbol in upper case, and the day that follows it in a file's name.
fn name(file_name: &str) -> (String, Option<Day>) {
    let size = file_name.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'.');
    let (symbol, rest) = file_name.split_at(size.unwrap_or(0));
    (symbol.to_ascii_uppercase(), Day::in_name(rest))
}

impl Cursor {
    pub(super) fn open(options: CaptureOptions<'_>) -> Result<Self, CaptureError> {
        let format = CaptureFormat::Lobster;
        let (symbol, named) = name(options.file_name);
        let example = "aapl-20120621-message.csv";
        if symbol.is_empty() {
            return Err(CaptureError::Unnamed { format, example });
        }
        let day = options.day.or(named).ok_or(CaptureError::Undated { format, example })?;
        let midnight_ns = day.midnight_ns();
        let state = format!(
            "{{\"event\":\"capture\",\"format\":\"{}\",\"symbol\":\"{symbol}\",\"midnight_ns\":{midnight_ns}}}",
            format.name()
        );
        Ok(Self { midnight_ns, state: Some(state.into_bytes()) })
    }

    pub(super) const VENUE: Venue = Venue::Lobster;

    pub(super) fn next(&mut self, source: &mut Source<'_>) -> Result<Option<Pending>, CaptureError> {
        let connection = source.connection;
        if let Some(state) = self.state.take() {
            // It stands just before the first row.
            let ts_recv = self.time(source.bytes).unwrap_or(self.midnight_ns);
            let body = source.scratch(&[&state]);
            return Ok(Some(Pending { ts_recv, connection, kind: MessageKind::State, context: Part::NONE, body }));
        }
        let Some(line) = source.line() else { return Ok(None) };
        let Some(ts_recv) = self.time(&source.bytes[line.clone()]) else {
            return Err(source.damaged_line(&line, "no seconds after midnight at the start of the row"));
        };
        let body = Part::File(line);
        Ok(Some(Pending { ts_recv, connection, kind: MessageKind::Ws, context: Part::NONE, body }))
    }

    /// Time of a row.
    fn time(&self, row: &[u8]) -> Option<i64> {
        let comma = row.iter().position(|&byte| byte == b',')?;
        let ns = nearest_nanoseconds(&row[..comma]).filter(|&ns| ns < TWO_DAYS_NS)?;
        Some(self.midnight_ns + ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_from_other_numbers() {
        for (line, expected) in [
            ("34200.004241176,1,16113575,18,5853300,1", true),
            ("34713.685155243,7,0,0,-1,-1\r", true),
            ("5859400,200,5853300,18", false),
            ("34200,1,16113575,18,5853300,1", false),
            ("34200.004241176,1,16113575,18,5853300,5", false),
            ("34200.004241176,1,16113575,18,5853300", false),
            ("34200.004241176,1,16113575,18,x,1", false),
            ("34200.004241176,1,16113575,18,5853300,1,new", true),
            ("", false),
        ] {
            assert_eq!(is_line(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_file_s_name_gives_symbol_and_day() {
        for (file_name, symbol, day) in [
            ("aapl-20120621-message.csv.zst", "AAPL", Some("2012-06-21")),
            ("AAPL_2012-06-21_34200000_57600000_message_10.csv", "AAPL", Some("2012-06-21")),
            ("brk.b-20120103.csv", "BRK.B", Some("2012-01-03")),
            ("aapl-message.csv", "AAPL", None),
            ("x-20241304.csv", "X", None),
            ("", "", None),
        ] {
            assert_eq!(name(file_name), (symbol.to_owned(), day.and_then(Day::parse)), "{file_name}");
        }
    }
}
