//! What a durable channel is run with, as the text its journal keeps, and what that says of its messages.
//!
//! The messages of a journal have one layout. Nothing in a message says which, so whoever reads or continues a journal has
//! to know it from here; a journal that does not say (raw ones, those of older releases) is taken for what it is asked for.

use std::fmt;
use std::path::Path;

use serde_json::Value;
use tidebook_journal::{ConfigurationChange, JournalError, SyncPolicy, configurations};
use tidebook_ring::{RingKind, RingSchema};

use crate::channel::ChannelOptions;

/// How the messages of a channel are laid out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// As a ring has it; empty for plain messages.
    pub text: String,
    /// Bytes of a record; 0 for plain messages.
    pub record_size_bytes: u32,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text[..] {
            "" => write!(f, "plain messages"),
            text => write!(f, "records of {} bytes ({text})", self.record_size_bytes),
        }
    }
}

impl Layout {
    /// That of a ring.
    pub(crate) fn of_ring(kind: RingKind, schema: Option<&RingSchema>) -> Self {
        match (kind, schema) {
            (RingKind::Slots { record_size_bytes, .. }, Some(schema)) => {
                Self { text: schema.text.clone(), record_size_bytes }
            }
            _ => Self::default(),
        }
    }

    /// That of messages under a configuration of [`text`]; `None` where that does not say.
    fn of_configuration(text: &str) -> Option<Self> {
        let found: Value = serde_json::from_str(text).ok()?;
        // The ring is what a channel's configuration has; one of something else says nothing of messages.
        let ring = found.get("ring")?.as_object()?;
        let Some(record) = found.get("record") else { return Some(Self::default()) };
        let record_size_bytes = ring.get("record_size_bytes")?.as_u64()?.try_into().ok()?;
        Some(Self { text: record.get("layout")?.as_str()?.to_owned(), record_size_bytes })
    }
}

/// What the messages of a journal are from one of them on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutChange {
    /// The first of them.
    pub first_sequence: u64,
    /// `None` where the journal does not say.
    pub layout: Option<Layout>,
}

/// What the messages of the journal in a directory are, oldest first: the first that are held, and each change.
///
/// # Errors
/// As [`configurations`].
pub fn layouts(journal: &Path) -> Result<Vec<LayoutChange>, JournalError> {
    Ok(layout_changes(&configurations(journal)?))
}

fn layout_changes(changes: &[ConfigurationChange]) -> Vec<LayoutChange> {
    let mut found: Vec<LayoutChange> = Vec::new();
    for change in changes {
        let layout = change.configuration.as_deref().and_then(Layout::of_configuration);
        if found.last().is_none_or(|last| last.layout != layout) {
            found.push(LayoutChange { first_sequence: change.first_sequence, layout });
        }
    }
    found
}

/// What of a journal's history has another layout than `own`: the last such one, and the first message behind all of it, `None`
/// if that is still in force.
pub(crate) fn other_layout(changes: &[ConfigurationChange], own: &Layout) -> Option<(Layout, Option<u64>)> {
    let mut other = None;
    for change in changes {
        match change.configuration.as_deref().and_then(Layout::of_configuration) {
            // Who does not say goes on with what was there.
            None => {}
            Some(found) if found == *own => {
                if let Some((_, behind @ None)) = &mut other {
                    *behind = Some(change.first_sequence);
                }
            }
            Some(found) => other = Some((found, None)),
        }
    }
    other
}

/// A JSON object in which equal options are equal bytes; `options.journal.configuration`, JSON too, is in it as
/// `options`.
pub(crate) fn text(options: &ChannelOptions) -> String {
    let ring = &options.ring;
    let sync = match options.sync {
        SyncPolicy::Group => r#""group""#.to_owned(),
        SyncPolicy::Interval(interval) => format!(r#"{{"interval_ms":{}}}"#, interval.as_millis()),
    };
    let kind = match ring.kind {
        RingKind::Slots { record_size_bytes, count } => {
            format!(r#"{{"record_size_bytes":{record_size_bytes},"count":{count}}}"#)
        }
        RingKind::Runs { slot_size_bytes, count } => {
            format!(r#"{{"slot_size_bytes":{slot_size_bytes},"count":{count}}}"#)
        }
        RingKind::Frames { size_bytes } => format!(r#"{{"size_bytes":{size_bytes}}}"#),
    };
    let segment_size_bytes = options.journal.segment_size_bytes;
    let mut text = format!(r#"{{"sync":{sync},"segment_size_bytes":{segment_size_bytes},"ring":{kind}"#);
    if let Some(schema) = &ring.schema {
        let (name, layout) = (quoted(&schema.name), quoted(&schema.text));
        text += &format!(r#","record":{{"name":{name},"version":{},"layout":{layout}}}"#, schema.version);
    }
    if !options.journal.configuration.is_empty() {
        text += &format!(r#","options":{}"#, options.journal.configuration);
    }
    text + "}"
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if u32::from(control) < 0x20 => quoted += &format!("\\u{:04x}", u32::from(control)),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_json_and_says_what_the_channel_is_run_with() {
        let mut options = ChannelOptions::frames("feed.test", 65_536);
        options.sync = SyncPolicy::Group;
        assert_eq!(text(&options), r#"{"sync":"group","segment_size_bytes":67108864,"ring":{"size_bytes":65536}}"#);
        options.sync = SyncPolicy::default();
        options.journal.configuration = r#"{"keep":"forever"}"#.into();
        let expected = r#"{"sync":{"interval_ms":10},"segment_size_bytes":67108864,"ring":{"size_bytes":65536},"options":{"keep":"forever"}}"#;
        assert_eq!(text(&options), expected);
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }

    #[test]
    fn a_layout_read_from_a_configuration_is_the_one_the_ring_has() {
        let mut options = ChannelOptions::frames("feed.test", 65_536);
        let of = |options: &ChannelOptions| Layout::of_ring(options.ring.kind, options.ring.schema.as_ref());
        assert_eq!(Layout::of_configuration(&text(&options)), Some(Layout::default()));
        options.ring = tidebook_ring::RingOptions::slots(24, 64);
        assert_eq!(Layout::of_configuration(&text(&options)), Some(of(&options)), "slots of plain messages");
        for layout in ["price i8 @0", "\"}{\\ \n,\"ring\":{\"", "h\u{f6}he i8 @0"] {
            let (name, text_of_it) = (layout.to_owned(), layout.to_owned());
            options.ring.schema = Some(RingSchema { name, version: 3, text: text_of_it });
            options.journal.configuration = r#"{"ring":{},"record":{"layout":"no"}}"#.into();
            let expected = Layout { text: layout.into(), record_size_bytes: 24 };
            assert_eq!((Layout::of_configuration(&text(&options)), of(&options)), (Some(expected.clone()), expected));
        }
        let spaced =
            r#"{ "record": {"layout": "price i8 @0", "name": "a"}, "ring": {"count": 64, "record_size_bytes": 8} }"#;
        let expected = Layout { text: "price i8 @0".into(), record_size_bytes: 8 };
        assert_eq!(Layout::of_configuration(spaced), Some(expected), "in any order and spacing");
        for silent in ["", "{}", r#"{"keep":"forever"}"#, r#"{"sync":1,"ring":{"#, r#"{"sync":1,"ring":7}"#] {
            assert_eq!(Layout::of_configuration(silent), None, "{silent}");
        }
    }

    #[test]
    fn layouts_are_told_where_they_change() {
        let mut options = ChannelOptions::frames("feed.test", 65_536);
        let plain = text(&options);
        options.ring = tidebook_ring::RingOptions::slots(24, 64);
        options.ring.schema = Some(RingSchema { name: "a".into(), version: 1, text: "price i8 @0".into() });
        let records = text(&options);
        options.sync = SyncPolicy::Group;
        let synced = text(&options);
        let configurations = [None, Some(plain), Some(records), Some(synced), None];
        let changes: Vec<_> = (1..)
            .zip(configurations)
            .map(|(segment, configuration)| ConfigurationChange {
                segment,
                first_sequence: 10 * segment,
                created_ns: None,
                configuration,
            })
            .collect();
        let records = Layout { text: "price i8 @0".into(), record_size_bytes: 24 };
        let expected = [(10, None), (20, Some(Layout::default())), (30, Some(records)), (50, None)];
        let expected = expected.map(|(first_sequence, layout)| LayoutChange { first_sequence, layout });
        assert_eq!(layout_changes(&changes), expected);
    }

    #[test]
    fn another_layout_is_told_with_where_it_ends() {
        let plain = Layout::default();
        let records = Layout { text: "price i8 @0".into(), record_size_bytes: 24 };
        let configuration = |layout: &Layout| {
            let mut options = ChannelOptions::frames("feed.test", 65_536);
            if *layout != Layout::default() {
                options.ring = tidebook_ring::RingOptions::slots(24, 64);
                options.ring.schema = Some(RingSchema { name: "a".into(), version: 1, text: layout.text.clone() });
            }
            text(&options)
        };
        let changes = |layouts: &[Option<&Layout>]| -> Vec<_> {
            let change = |(index, layout): (usize, &Option<&Layout>)| ConfigurationChange {
                segment: index as u64 + 1,
                first_sequence: 10 * index as u64 + 1,
                created_ns: None,
                configuration: layout.map(configuration),
            };
            layouts.iter().enumerate().map(change).collect()
        };
        let cases = [
            (vec![], None),
            (vec![None, None], None),
            (vec![None, Some(&records)], None),
            (vec![Some(&records), None, Some(&records)], None),
            (vec![Some(&plain)], Some((plain.clone(), None))),
            (vec![Some(&records), Some(&plain), None], Some((plain.clone(), None))),
            (vec![Some(&plain), None, Some(&records), None], Some((plain.clone(), Some(21)))),
            (vec![Some(&plain), Some(&records), Some(&plain), Some(&records)], Some((plain.clone(), Some(31)))),
        ];
        for (layouts, expected) in cases {
            assert_eq!(other_layout(&changes(&layouts), &records), expected, "{layouts:?}");
        }
    }
}
