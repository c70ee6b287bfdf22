//! What a durable channel is run with, as the text its journal keeps, and what that says of its messages.
//!
//! The messages of a journal have one layout. Nothing in a message says which, so whoever reads or continues a journal has
//! to know it from here; a journal that does not say (raw ones, those of older releases) is taken for what it is asked for.

use std::fmt;

use tidebook_journal::{ConfigurationChange, SyncPolicy};
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
        let (_, from_ring) = text.split_once(r#","ring":"#)?;
        let ring = object(from_ring)?;
        let Some(record) = from_ring[ring.len()..].strip_prefix(r#","record":"#).map(object) else {
            return Some(Self::default());
        };
        let (_, size) = ring.split_once(r#""record_size_bytes":"#)?;
        let record_size_bytes = size[..size.find([',', '}'])?].parse().ok()?;
        let (_, layout) = record?.split_once(r#","layout":"#)?;
        Some(Self { text: unquoted(layout)?, record_size_bytes })
    }
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

/// The JSON object that a text begins with.
fn object(text: &str) -> Option<&str> {
    let (mut depth, mut in_string, mut is_escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[..=at]);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The string of [`quoted`] that a text begins with.
fn unquoted(text: &str) -> Option<String> {
    let mut found = String::new();
    let mut left = text.strip_prefix('"')?.chars();
    loop {
        match left.next()? {
            '"' => return Some(found),
            '\\' => match left.next()? {
                'u' => {
                    let digits = left.as_str().get(..4)?;
                    found.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                    left = left.as_str()[4..].chars();
                }
                character => found.push(character),
            },
            character => found.push(character),
        }
    }
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
        for silent in ["", "{}", r#"{"keep":"forever"}"#, r#"{"sync":1,"ring":{"#, r#"{"sync":1,"ring":7}"#] {
            assert_eq!(Layout::of_configuration(silent), None, "{silent}");
        }
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
