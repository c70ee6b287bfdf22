//! Times as venues write them: RFC 3339 (Coinbase, Kraken's WebSocket), decimal seconds (Kraken's REST), days of a calendar.

use tidebook_types::{Exponent, parse_units};

use crate::scan::parse_unsigned;

/// ns since 1970 UTC of `2026-08-02T03:36:41.387283Z`, or `None`. Up to nine decimals; UTC only, as the venue sends.
pub(crate) fn rfc3339(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let number =
        |from: usize, to: usize| parse_unsigned(&date_time[from..to]).and_then(|number| i64::try_from(number).ok());
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| date_time[at] != byte) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1970..2200).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let fraction = rest.strip_suffix(b"Z")?;
    let nanos = match fraction.split_first() {
        None => 0,
        Some((b'.', digits)) if (1..=9).contains(&digits.len()) => parse_units(fraction, 9).ok()?,
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000_000 + nanos)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counting years from March so that leap days come last.
pub(crate) const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Seconds with so many decimals are ns.
pub(crate) const TIME_EXPONENT: Exponent = 9;

/// Whether this is a time from 1970 to 2200, in ns.
pub(crate) const fn is_time(ns: i64) -> bool {
    0 <= ns && ns < 7_258_118_400_000_000_000
}

/// ns since 1970 UTC of decimal seconds (`1762795433.9717445`), or `None` out of 1970 to 2200.
pub(crate) fn seconds(text: &[u8]) -> Option<i64> {
    parse_units(text, TIME_EXPONENT).ok().filter(|&ns| is_time(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_nanoseconds() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-08-02T03:36:41.387283Z", Some(1_785_641_801_387_283_000)),
            ("2024-02-29T23:59:59.123456789Z", Some(1_709_251_199_123_456_789)),
            ("2000-03-01T00:00:00.5Z", Some(951_868_800_500_000_000)),
            ("2026-08-02T03:36:41.387283", None),
            ("2026-08-02 03:36:41Z", None),
            ("2026-13-02T03:36:41Z", None),
            ("2026-08-02T03:36:41.Z", None),
            ("2026-08-02T03:36:41.1234567891Z", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(seconds(b"1762795433.9717445"), Some(1_762_795_433_971_744_500));
        assert_eq!(seconds(b"-1"), None);
    }
}
