//! The day of a recording whose times count from midnight in New York.

use crate::scan::parse_unsigned;
use crate::time::days_since_1970;

const DAY_NS: i64 = 86_400_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

/// A day of the exchanges in New York, from 2007 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    year: i64,
    month: i64,
    day: i64,
}

impl Day {
    /// The day, if there is one.
    pub fn new(year: i64, month: i64, day: i64) -> Option<Self> {
        let known = (2007..2200).contains(&year) && (1..=12).contains(&month);
        // The first of the next month, were this one to go on.
        let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let last = || days_since_1970(next.0, next.1, 1) - days_since_1970(year, month, 1);
        (known && (1..=last()).contains(&day)).then_some(Self { year, month, day })
    }

    /// The day written `2019-01-30`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let plain = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
        if plain { Self::of_digits(&bytes[..4], &bytes[5..7], &bytes[8..]) } else { None }
    }

    /// The first day that a file's name spells as `20190130`, `2019-01-30` or the exchange's own `01302019`; `S013019` of a
    /// name that begins so.
    pub(super) fn in_name(file_name: &str) -> Option<Self> {
        let bytes = file_name.as_bytes();
        if let Some(digits) = bytes.strip_prefix(b"S").and_then(|rest| rest.get(..6))
            && bytes.get(7).is_none_or(|byte| !byte.is_ascii_digit())
            && let [month, day, year] = [&digits[..2], &digits[2..4], &[b"20", &digits[4..]].concat()]
            && let Some(found) = Self::of_digits(year, month, day)
        {
            return Some(found);
        }
        let mut start = 0;
        while start < bytes.len() {
            let count = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let run = &bytes[start..start + count];
            let found = match count {
                8 => Self::of_digits(&run[..4], &run[4..6], &run[6..])
                    .or_else(|| Self::of_digits(&run[4..], &run[..2], &run[2..4])),
                4 => file_name.get(start..start + 10).and_then(Self::parse),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
            start += count.max(1);
        }
        None
    }

    fn of_digits(year: &[u8], month: &[u8], day: &[u8]) -> Option<Self> {
        let number = |text| parse_unsigned(text).and_then(|number| i64::try_from(number).ok());
        Self::new(number(year)?, number(month)?, number(day)?)
    }

    /// Its midnight, ns since 1970 UTC, by the rule in force since 2007, which is as far back as the formats' data goes:
    /// clocks are an hour ahead from the second Sunday of March to the first of November.
    pub(super) const fn midnight_ns(self) -> i64 {
        let days = days_since_1970(self.year, self.month, self.day);
        let summer = days > sunday(self.year, 3, 2) && days <= sunday(self.year, 11, 1);
        days * DAY_NS + if summer { 4 } else { 5 } * HOUR_NS
    }
}

/// Days since 1970 of the `count`th Sunday of a month.
const fn sunday(year: i64, month: i64, count: i64) -> i64 {
    let first = days_since_1970(year, month, 1);
    // 1970 began on a Thursday: days 3 and 10 are Sundays.
    first + (3 - first).rem_euclid(7) + 7 * (count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_in_new_york_follows_its_clocks() {
        let hours = |days: i64, hours: i64| Some(days * DAY_NS + hours * HOUR_NS);
        for (text, expected) in [
            ("2012-06-21", hours(15_512, 4)),
            ("2012-01-03", hours(15_342, 5)),
            // The nights of the change belong to the time before it.
            ("2024-03-10", hours(19_792, 5)),
            ("2024-03-11", hours(19_793, 4)),
            ("2024-11-03", hours(20_030, 4)),
            ("2024-11-04", hours(20_031, 5)),
            ("2024-02-29", hours(19_782, 5)),
            ("2023-02-29", None),
            ("2024-13-04", None),
            ("2024-04-31", None),
            ("2024-12-31", hours(20_088, 5)),
            ("1999-11-04", None),
            ("20240229", None),
            ("2024-02-2x", None),
            ("", None),
        ] {
            assert_eq!(Day::parse(text).map(Day::midnight_ns), expected, "{text}");
        }
    }

    #[test]
    fn a_file_s_name_spells_a_day_in_one_of_four_ways() {
        let day = |text| Day::parse(text);
        for (file_name, expected) in [
            ("01302019.NASDAQ_ITCH50.gz", day("2019-01-30")),
            ("20190130.BX_ITCH_50", day("2019-01-30")),
            ("itch-2019-01-30.bin", day("2019-01-30")),
            ("S071321-v50.txt.gz", day("2021-07-13")),
            ("aapl-20120621-message.csv.zst", day("2012-06-21")),
            ("AAPL_2012-06-21_34200000_57600000_message_10.csv", day("2012-06-21")),
            ("nasdaq-itch50-first1000.itch.zst", None),
            ("S0713215.txt", None),
            ("13302019.NASDAQ_ITCH50", None),
            ("2019-1-30.itch", None),
            ("tag-2019-é1-30", None),
            ("", None),
        ] {
            assert_eq!(Day::in_name(file_name), expected, "{file_name}");
        }
    }
}
