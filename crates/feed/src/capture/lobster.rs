//! LOBSTER's message files: one CSV row of six columns an event.
//!
//! Rows name neither instrument nor day, so the file's name does (`AAPL_2012-06-21_34200000_57600000_message_10.csv`,
//! `aapl-20120621-message.csv`), and a `State` message in front says both. Times are the exchange's and stand for
//! receive times, which LOBSTER does not have.

use tidebook_types::{MessageKind, Venue};

use super::{CaptureError, CaptureFormat, Part, Pending, Source};
use crate::decimal::nearest_nanoseconds;
use crate::kraken::time::days_since_1970;
use crate::scan::parse_unsigned;

const DAY_NS: i64 = 86_400_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

#[derive(Debug)]
pub(super) struct Cursor {
    midnight_ns: i64,
    /// The state in front, until it was given out.
    state: Option<Vec<u8>>,
}

/// Whether `line` has the format's form: six numbers, the first with a point, the last 1 or -1.
pub(super) fn is_line(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let mut columns = line.split(|&byte| byte == b',');
    let time = columns.next().unwrap_or_default();
    let is_number = |text: &[u8]| parse_unsigned(text.strip_prefix(b"-").unwrap_or(text)).is_some();
    time.contains(&b'.')
        && nearest_nanoseconds(time).is_some()
        && line.iter().filter(|&&byte| byte == b',').count() == 5
        && columns.all(is_number)
        && (line.ends_with(b",1") || line.ends_with(b",-1"))
}

/// Symbol in upper case and midnight in New York, ns since 1970 UTC.
fn name(file_name: &str) -> Option<(String, i64)> {
    let size = file_name.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'.')?;
    let (symbol, rest) = file_name.split_at(size);
    let digits: Vec<u8> = rest.bytes().skip(1).filter(|&byte| byte != b'-').take(8).collect();
    let number = |from: usize, to: usize| parse_unsigned(digits.get(from..to)?).and_then(|n| i64::try_from(n).ok());
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let known = !symbol.is_empty() && (2007..2200).contains(&year);
    if !known || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some((symbol.to_ascii_uppercase(), new_york_midnight(year, month, day)))
}

/// Midnight in New York by the rule in force since 2007, which is as far back as the format's data goes: clocks are an hour
/// ahead from the second Sunday of March to the first of November.
const fn new_york_midnight(year: i64, month: i64, day: i64) -> i64 {
    let days = days_since_1970(year, month, day);
    let summer = days > sunday(year, 3, 2) && days <= sunday(year, 11, 1);
    days * DAY_NS + if summer { 4 } else { 5 } * HOUR_NS
}

/// Days since 1970 of the `count`th Sunday of a month.
const fn sunday(year: i64, month: i64, count: i64) -> i64 {
    let first = days_since_1970(year, month, 1);
    // 1970 began on a Thursday: days 3 and 10 are Sundays.
    first + (3 - first).rem_euclid(7) + 7 * (count - 1)
}

impl Cursor {
    pub(super) fn open(file_name: &str) -> Result<Self, CaptureError> {
        let format = CaptureFormat::Lobster;
        let (symbol, midnight_ns) =
            name(file_name).ok_or(CaptureError::Unnamed { format, example: "aapl-20120621-message.csv" })?;
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
        let ns = nearest_nanoseconds(&row[..comma]).filter(|&ns| ns < 2 * DAY_NS)?;
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
            ("34200.004241176,1,16113575,18,5853300,1,1", false),
            ("", false),
        ] {
            assert_eq!(is_line(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_file_s_name_gives_symbol_and_midnight_in_new_york() {
        let hours = |days: i64, hours: i64| days * DAY_NS + hours * HOUR_NS;
        for (file_name, expected) in [
            ("aapl-20120621-message.csv.zst", Some(("AAPL", hours(15_512, 4)))),
            ("AAPL_2012-06-21_34200000_57600000_message_10.csv", Some(("AAPL", hours(15_512, 4)))),
            ("brk.b-20120103.csv", Some(("BRK.B", hours(15_342, 5)))),
            // The nights of the change belong to the time before it.
            ("x-20240310.csv", Some(("X", hours(19_792, 5)))),
            ("x-20240311.csv", Some(("X", hours(19_793, 4)))),
            ("x-20241103.csv", Some(("X", hours(20_030, 4)))),
            ("x-20241104.csv", Some(("X", hours(20_031, 5)))),
            ("aapl-message.csv", None),
            ("x-20241304.csv", None),
            ("x-19991104.csv", None),
            ("message.csv", None),
            ("", None),
        ] {
            let found = name(file_name);
            assert_eq!(found.as_ref().map(|(symbol, midnight)| (&symbol[..], *midnight)), expected, "{file_name}");
        }
    }
}
