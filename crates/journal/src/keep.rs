//! What of a journal must stay: a pure rule over facts.
//!
//! The facts come from those who know them (the snapshot store, the consumers' cursors, the store of rows); the rule only
//! combines them, so that it can be tried in full. Each condition alone says from which sequence on it still needs the
//! journal, and what one of them needs stays: a fact nobody brings keeps everything.

use std::fmt;
use std::str::FromStr;

/// One reason to keep messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepUntil {
    /// So many snapshots that were read back and verified cover them; with fewer everything stays.
    Snapshots {
        /// How many.
        count: usize,
    },
    /// All named consumers have consumed them.
    Consumers,
    /// Their rows are stored.
    Stored,
    /// They are so old, by the times of the segments. Segments of version 1 have none and count as old as the next that has.
    Age {
        /// Nanoseconds.
        ns: i64,
    },
    /// The newest segments after theirs hold so many bytes.
    Size {
        /// Bytes.
        bytes: u64,
    },
}

/// When messages may go: when all conditions agree. No condition keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeepRule {
    /// The conditions.
    pub until: Vec<KeepUntil>,
}

/// A segment, as the rule sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Sequence of its first message.
    pub first_sequence: u64,
    /// Bytes of its file.
    pub size_bytes: u64,
    /// When it was begun, ns since 1970 UTC; `None` in version 1.
    pub created_ns: Option<i64>,
}

/// What is known when the rule is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeepFacts {
    /// Sequences of snapshots that were read back and verified, in any order.
    pub snapshots: Vec<u64>,
    /// Highest sequence that every named consumer has consumed; `None` if that is not known.
    pub consumers_floor: Option<u64>,
    /// Highest sequence whose rows are stored; `None` if that is not known.
    pub stored: Option<u64>,
    /// Now, ns since 1970 UTC.
    pub now_ns: i64,
    /// All segments, in order.
    pub segments: Vec<SegmentFacts>,
}

impl KeepRule {
    /// Everything stays.
    pub fn forever() -> Self {
        Self::default()
    }

    /// For channels whose state is in snapshots: two that were verified must cover what goes.
    pub fn snapshots() -> Self {
        Self { until: vec![KeepUntil::Snapshots { count: 2 }] }
    }

    /// First sequence that must stay; messages before it may go. Never beyond the newest segment's first message.
    pub fn first_to_keep(&self, facts: &KeepFacts) -> u64 {
        let (Some(first), Some(last)) = (facts.segments.first(), facts.segments.last()) else { return 0 };
        let needed = self.until.iter().map(|until| until.first_needed(facts)).min();
        needed.unwrap_or(first.first_sequence).clamp(first.first_sequence, last.first_sequence)
    }
}

impl KeepUntil {
    /// First sequence this condition needs; 0 for all there is, `u64::MAX` for nothing.
    fn first_needed(self, facts: &KeepFacts) -> u64 {
        let after = |sequence: u64| sequence.saturating_add(1);
        match self {
            Self::Snapshots { count } => {
                let mut newest_first = facts.snapshots.clone();
                newest_first.sort_unstable_by(|a, b| b.cmp(a));
                newest_first.dedup();
                // Its own last message stays too: the batch with it shows that snapshot and journal belong together.
                // None at all would need no journal, and nothing would be left to recover from.
                newest_first.get(count.max(1) - 1).copied().unwrap_or(0)
            }
            Self::Consumers => facts.consumers_floor.map_or(0, after),
            Self::Stored => facts.stored.map_or(0, after),
            Self::Age { ns } => {
                let limit = facts.now_ns.saturating_sub(ns);
                // A segment's messages were written before the next one was begun. The newest time so far counts, for a
                // clock that is set back makes nothing old.
                let (mut needed, mut newest) = (0, i64::MIN);
                for segment in &facts.segments {
                    let Some(created_ns) = segment.created_ns else { continue };
                    newest = newest.max(created_ns);
                    if newest <= limit {
                        needed = segment.first_sequence;
                    }
                }
                needed
            }
            Self::Size { bytes } => {
                let mut held = 0_u64;
                for segment in facts.segments.iter().rev() {
                    held = held.saturating_add(segment.size_bytes);
                    if held >= bytes {
                        return segment.first_sequence;
                    }
                }
                0
            }
        }
    }
}

const NS_PER_S: i64 = 1_000_000_000;

impl fmt::Display for KeepRule {
    /// `forever`, or conditions joined by ` and `: `snapshots 2`, `consumers`, `stored`, `age 3600s`, `size 1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.until.is_empty() {
            return f.write_str("forever");
        }
        for (index, until) in self.until.iter().enumerate() {
            if index > 0 {
                f.write_str(" and ")?;
            }
            match until {
                KeepUntil::Snapshots { count } => write!(f, "snapshots {count}")?,
                KeepUntil::Consumers => f.write_str("consumers")?,
                KeepUntil::Stored => f.write_str("stored")?,
                KeepUntil::Age { ns } => write!(f, "age {}s", ns / NS_PER_S)?,
                KeepUntil::Size { bytes } => write!(f, "size {bytes}")?,
            }
        }
        Ok(())
    }
}

/// A text that is no keep rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keep rule {text:?}: {part:?} is no condition; {}", Self::SPELLING)]
pub struct KeepRuleError {
    /// The whole.
    pub text: String,
    /// What of it is none.
    pub part: String,
}

impl KeepRuleError {
    /// How a rule is written.
    pub(crate) const SPELLING: &str = "write forever, or some of \"snapshots 2\", \"consumers\", \"stored\" (of a node's \
         feeds), \"age 3600s\" (or m, h, d), \"size 1000000\" (bytes, or KiB, MiB, GiB), joined by \" and \"";
}

impl FromStr for KeepRule {
    type Err = KeepRuleError;

    /// What [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, KeepRuleError> {
        if text == "forever" {
            return Ok(Self::forever());
        }
        let condition = |part: &str| {
            let (word, value) = part.split_once(' ').unwrap_or((part, ""));
            match word {
                "snapshots" => {
                    value.parse().ok().filter(|&count| count > 0).map(|count| KeepUntil::Snapshots { count })
                }
                "consumers" if value.is_empty() => Some(KeepUntil::Consumers),
                "stored" if value.is_empty() => Some(KeepUntil::Stored),
                "age" => {
                    let seconds = in_units(value, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)])?;
                    Some(KeepUntil::Age { ns: i64::from(u32::try_from(seconds).ok()?) * NS_PER_S })
                }
                "size" => {
                    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
                    in_units(value, &units).map(|bytes| KeepUntil::Size { bytes })
                }
                _ => None,
            }
        };
        let until = text.split(" and ").map(|part| {
            condition(part.trim()).ok_or_else(|| KeepRuleError { text: text.into(), part: part.trim().into() })
        });
        Ok(Self { until: until.collect::<Result<_, _>>()? })
    }
}

/// A whole number with the first of `units` that it ends with.
fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    number.trim_end().parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five segments of a hundred messages and a thousand bytes, begun at 10 s, 20 s and so on.
    fn facts() -> KeepFacts {
        let segment = |number: u64| SegmentFacts {
            first_sequence: (number - 1) * 100 + 1,
            size_bytes: 1000,
            created_ns: Some(number as i64 * 10 * NS_PER_S),
        };
        KeepFacts { now_ns: 60 * NS_PER_S, segments: (1..=5).map(segment).collect(), ..KeepFacts::default() }
    }

    fn keep(rule: &str, facts: &KeepFacts) -> u64 {
        rule.parse::<KeepRule>().unwrap().first_to_keep(facts)
    }

    #[test]
    fn each_condition_keeps_what_it_needs() {
        let all = facts();
        let snapshots = KeepFacts { snapshots: vec![350, 120, 250], ..facts() };
        let known = KeepFacts { consumers_floor: Some(220), stored: Some(180), ..facts() };
        for (rule, facts, first) in [
            ("forever", &known, 1),
            ("snapshots 2", &all, 1),
            ("snapshots 2", &snapshots, 250),
            ("snapshots 1", &snapshots, 350),
            ("snapshots 3", &snapshots, 120),
            ("snapshots 4", &snapshots, 1),
            ("consumers", &all, 1),
            ("consumers", &known, 221),
            ("stored", &all, 1),
            ("stored", &known, 181),
            ("age 60s", &all, 1),
            ("age 50s", &all, 1),
            ("age 40s", &all, 101),
            ("age 25s", &all, 201),
            ("age 0s", &all, 401),
            ("size 0", &all, 401),
            ("size 1000", &all, 401),
            ("size 1001", &all, 301),
            ("size 5000", &all, 1),
            ("size 9000", &all, 1),
            ("consumers and stored", &known, 181),
            ("stored and age 25s", &known, 181),
            ("stored and age 40s", &known, 101),
        ] {
            assert_eq!(keep(rule, facts), first, "{rule}");
        }
    }

    #[test]
    fn nothing_that_is_covered_twice_by_one_snapshot_counts_as_two() {
        assert_eq!(keep("snapshots 2", &KeepFacts { snapshots: vec![350, 350], ..facts() }), 1);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_old_and_one_without_time_is_as_old_as_the_next() {
        let mut facts = facts();
        facts.segments[3].created_ns = Some(0);
        assert_eq!(keep("age 40s", &facts), 101);
        assert_eq!(keep("age 25s", &facts), 301, "begun after the one of 30 s, which is old enough");
        facts.segments[0].created_ns = None;
        facts.segments[1].created_ns = None;
        assert_eq!(keep("age 40s", &facts), 1);
        assert_eq!(keep("age 30s", &facts), 301);
    }

    /// Method: every pair of conditions over random facts; together they keep what either keeps.
    #[test]
    fn conditions_together_keep_what_each_keeps() {
        let rules = ["snapshots 2", "snapshots 1", "consumers", "stored", "age 25s", "size 2500"];
        for a in rules {
            for b in rules {
                for known in [None, Some(0), Some(77), Some(300), Some(u64::MAX)] {
                    let snapshots = known.into_iter().chain([150]).collect();
                    let facts = KeepFacts { consumers_floor: known, stored: Some(210), snapshots, ..facts() };
                    let both = keep(&format!("{a} and {b}"), &facts);
                    assert_eq!(both, keep(a, &facts).min(keep(b, &facts)), "{a}, {b}, {known:?}");
                    assert!((1..=401).contains(&both));
                }
            }
        }
    }

    #[test]
    fn a_rule_reads_back_and_what_is_none_is_named() {
        for rule in ["forever", "snapshots 2", "stored and snapshots 2 and age 3600s", "consumers and size 1000"] {
            assert_eq!(rule.parse::<KeepRule>().unwrap().to_string(), rule);
        }
        assert_eq!(KeepRule::snapshots().to_string(), "snapshots 2");
        for (text, seconds) in [("age 90m", "5400s"), ("age 24h", "86400s"), ("age 7 d", "604800s")] {
            assert_eq!(text.parse::<KeepRule>().unwrap().to_string(), format!("age {seconds}"));
        }
        for (text, bytes) in [("size 4KiB", "4096"), ("size 3 MiB", "3145728"), ("size 10GiB", "10737418240")] {
            assert_eq!(text.parse::<KeepRule>().unwrap().to_string(), format!("size {bytes}"));
        }
        for (text, part) in [
            ("", ""),
            ("for ever", "for ever"),
            ("stored and", "stored and"),
            ("snapshots 0", "snapshots 0"),
            ("snapshots", "snapshots"),
            ("stored and snapshots-if-any 2", "snapshots-if-any 2"),
            ("age 5", "age 5"),
            ("age -5s", "age -5s"),
            ("age 99999d", "age 99999d"),
            ("size 10GB", "size 10GB"),
            ("size 99999999999GiB", "size 99999999999GiB"),
            ("stored and size x", "size x"),
            ("forever and stored", "forever"),
        ] {
            let error = text.parse::<KeepRule>().unwrap_err();
            assert_eq!(error.part, part, "{text}");
        }
    }
}
