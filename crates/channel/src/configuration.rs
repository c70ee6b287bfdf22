//! What a durable channel is run with, as the text its journal keeps.

use tidebook_journal::SyncPolicy;
use tidebook_ring::RingKind;

use crate::channel::ChannelOptions;

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
}
