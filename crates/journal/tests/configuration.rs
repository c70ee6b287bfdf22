//! What a channel is run with is in its journal, and journals of version 1, which had no place for it, stay readable.

mod common;

use std::path::Path;

use common::{append_upto, open, options, payload, read_all};
use tidebook_journal::{
    ConfigurationChange, Damage, JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions,
    SEGMENT_HEADER_SIZE_BYTES, Tail, Visible, compact_storage, configurations_storage, verify_storage,
};
use tidebook_testkit::MemoryStorage;

const FIRST: &str = "0000000001.segment";

fn configured(configuration: &str) -> JournalOptions {
    JournalOptions { configuration: configuration.into(), ..options() }
}

fn open_configured(storage: &MemoryStorage, configuration: &str) -> JournalWriter {
    JournalWriter::open_storage(storage.shared(), configured(configuration)).expect("the journal opens").0
}

fn texts(changes: &[ConfigurationChange]) -> Vec<(u64, Option<&str>)> {
    changes.iter().map(|change| (change.first_sequence, change.configuration.as_deref())).collect()
}

#[test]
fn every_segment_begins_with_the_configuration_and_messages_are_numbered_as_without() {
    let storage = MemoryStorage::new();
    append_upto(&mut open_configured(&storage, r#"{"sync":"group"}"#), 300, 7);
    let verified = verify_storage(&storage.shared()).unwrap();
    assert!(verified.journal.segments.len() > 3, "the test needs several segments");
    assert_eq!((verified.record_count, verified.batch_count), (300, 300_u64.div_ceil(7)));
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
    assert_eq!(reader.configuration(), None, "nothing was read yet");
    let mut last = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        for (sequence, found) in batch.records() {
            assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()));
            last = sequence;
        }
        assert_eq!(reader.configuration(), Some(r#"{"sync":"group"}"#));
    }
    assert_eq!(last, 300);
    // From the middle on it is known too, and when the oldest segments are gone.
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(200)).unwrap();
    reader.next_batch().unwrap().expect("there is more");
    assert_eq!(reader.configuration(), Some(r#"{"sync":"group"}"#));
    assert!(!compact_storage(&storage, 200).unwrap().removed.is_empty());
    let changes = configurations_storage(&storage).unwrap();
    assert_eq!(
        changes.iter().map(|change| change.configuration.as_deref()).collect::<Vec<_>>(),
        [Some(r#"{"sync":"group"}"#)]
    );
}

#[test]
fn each_change_is_told_with_its_first_message_and_its_time() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 5, 5);
    append_upto(&mut open_configured(&storage, "a"), 10, 5);
    let mut writer = open_configured(&storage, "a");
    append_upto(&mut writer, 12, 5);
    writer.append(&payload(13)).unwrap();
    writer.configure("b").unwrap();
    assert_eq!(writer.durable(), 13, "what was appended before a change is durable before it");
    let segment_count = |storage: &MemoryStorage| verify_storage(&storage.shared()).unwrap().journal.segments.len();
    let before = segment_count(&storage);
    writer.configure("b").unwrap();
    assert_eq!(segment_count(&storage), before, "what is in force already changes nothing");
    append_upto(&mut writer, 20, 5);
    writer.close().unwrap();
    let changes = configurations_storage(&storage).unwrap();
    assert_eq!(texts(&changes), [(1, None), (6, Some("a")), (14, Some("b"))]);
    assert!(changes.windows(2).all(|pair| pair[0].created_ns.unwrap() <= pair[1].created_ns.unwrap()));
    assert!(changes[0].created_ns.unwrap() > 1_700_000_000_000_000_000);
    assert_eq!(read_all(&storage, Visible::Durable).0, 20);
}

#[test]
fn segments_that_hold_a_configuration_alone_are_read_past() {
    let storage = MemoryStorage::new();
    append_upto(&mut open_configured(&storage, "a"), 3, 3);
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
    assert_eq!(reader.next_batch().unwrap().unwrap().last_sequence(), 3);
    for configuration in ["b", "c", "c"] {
        open_configured(&storage, configuration);
        assert!(reader.next_batch().unwrap().is_none());
    }
    append_upto(&mut open_configured(&storage, "d"), 4, 1);
    assert_eq!(reader.next_batch().unwrap().unwrap().records().next(), Some((4, payload(4).as_slice())));
    assert_eq!(reader.configuration(), Some("d"));
    assert_eq!(read_all(&storage, Visible::Written).0, 4);
    assert_eq!(verify_storage(&storage.shared()).unwrap().record_count, 4);
    assert_eq!(texts(&configurations_storage(&storage).unwrap()).len(), 4);
}

/// Method: each bit of a batch of configuration, in a sealed segment and alone in the newest one.
#[test]
fn a_configuration_that_was_durable_and_does_not_verify_is_damage() {
    let storage = MemoryStorage::new();
    open_configured(&storage, "{\"a\":1}");
    let newest = storage.fork();
    append_upto(&mut open_configured(&storage, "{\"a\":2}"), 3, 3);
    let batch = SEGMENT_HEADER_SIZE_BYTES * 8..(SEGMENT_HEADER_SIZE_BYTES + 64) * 8;
    for bit in batch {
        for (damaged, what) in [(storage.fork(), "sealed"), (newest.fork(), "newest")] {
            let mut bytes = damaged.bytes(FIRST);
            bytes[bit / 8] ^= 1 << (bit % 8);
            damaged.set_bytes(FIRST, bytes);
            let error = verify_storage(&damaged.shared()).expect_err(what);
            let JournalError::Damaged { segment: 1, offset: 4096, sequence: 1, damage, .. } = error else {
                panic!("{what}, bit {bit}: {error}")
            };
            let expected = match what {
                "newest" => Damage::Configuration { expected: 1 },
                _ => Damage::Seal { expected: 1, found: 0 },
            };
            assert!(damage == expected || damage == Damage::Batch { durable: 0 }, "{what}, bit {bit}: {damage:?}");
        }
        let unknown = newest.fork();
        let mut bytes = unknown.bytes(FIRST);
        bytes[bit / 8] ^= 1 << (bit % 8);
        unknown.set_bytes(FIRST, bytes);
        unknown.remove_file("durable");
        let (_, report) = JournalWriter::open_storage(unknown.shared(), configured("b")).unwrap();
        assert!(matches!(report.tail, Tail::Torn { sequence: 1, .. }), "bit {bit}: {report:?}");
    }
}

/// Method: the power goes when a new segment has its name and its configuration is written and not synced: each subset of
/// the sectors it spans stays, in the first segment, behind a kill, behind a close, and in a segment begun while running.
#[test]
fn a_configuration_whose_write_a_power_loss_tore_is_a_torn_tail() {
    let long = |letter: &str| letter.repeat(1024);
    for begun in ["first", "killed", "closed", "running"] {
        let storage = MemoryStorage::new();
        if begun != "first" {
            let mut writer = open_configured(&storage, &long("a"));
            append_upto(&mut writer, 3, 3);
            match begun {
                "closed" => writer.close().unwrap(),
                "killed" => drop(writer),
                _ => writer.configure(&long("b")).unwrap(),
            }
        }
        let (newest, durable, last) = match begun {
            "first" => (FIRST, None, 0),
            _ => ("0000000002.segment", Some(storage.bytes("durable")), 3),
        };
        if begun != "running" {
            open_configured(&storage, &long("b"));
        }
        let written = storage.bytes(newest);
        let sectors =
            [0, 512, 1024].map(|behind| SEGMENT_HEADER_SIZE_BYTES + behind..SEGMENT_HEADER_SIZE_BYTES + behind + 512);
        assert!(sectors.iter().all(|sector| written[sector.clone()].iter().any(|&byte| byte != 0)), "it spans three");
        for kept in 0..8_u32 {
            let at = format!("{begun}, sectors {kept:03b}");
            let torn = storage.fork();
            let mut bytes = written.clone();
            for (_, sector) in sectors.iter().enumerate().filter(|(n, _)| kept & (1 << n) == 0) {
                bytes[sector.clone()].fill(0);
            }
            torn.set_bytes(newest, bytes);
            // The watermark of a segment is written when its configuration is synced.
            match &durable {
                Some(durable) => torn.set_bytes("durable", durable.clone()),
                None => torn.remove_file("durable"),
            }
            let opened = JournalWriter::open_storage(torn.shared(), configured("c"));
            let (mut writer, report) = opened.unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!((report.last_sequence, report.closed), (last, false), "{at}");
            assert_eq!(matches!(report.tail, Tail::Torn { .. }), kept != 0 && kept != 7, "{at}: {:?}", report.tail);
            append_upto(&mut writer, last + 4, 2);
            writer.close().unwrap();
            assert_eq!(read_all(&torn, Visible::Durable).0, last + 4, "{at}");
            assert_eq!(verify_storage(&torn.shared()).unwrap().record_count, last + 4, "{at}");
        }
    }
}

#[test]
fn a_configuration_has_a_size_and_leaves_room_for_the_largest_message() {
    let storage = MemoryStorage::new();
    let error = JournalWriter::open_storage(storage.shared(), configured(&"x".repeat(1025))).unwrap_err();
    assert!(error.to_string().contains("configuration = 1025 bytes: at most 1024 bytes"), "{error}");
    let mut writer = open_configured(&storage, &"x".repeat(1024));
    let largest = vec![7; writer.payload_size_bytes_max()];
    for sequence in 1..=3 {
        assert_eq!(writer.append(&largest).unwrap(), sequence);
    }
    assert!(matches!(writer.append(&vec![7; largest.len() + 1]), Err(JournalError::TooLarge { .. })));
    assert_eq!(writer.sync().unwrap(), 3);
    assert_eq!(verify_storage(&storage.shared()).unwrap().record_count, 3);
}

/// A journal written by version 1 of the format, kept as it was: 90 messages in three openings, each closed.
fn version_1() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals/version1");
    for name in [FIRST, "0000000002.segment", "0000000003.segment", "durable"] {
        storage.set_bytes(name, std::fs::read(directory.join(name)).expect("a kept file"));
    }
    storage
}

#[test]
fn a_journal_of_version_1_is_read_and_goes_on_in_version_2() {
    let storage = version_1();
    let verified = verify_storage(&storage.shared()).unwrap();
    assert_eq!((verified.record_count, verified.journal.durable, verified.journal.closed), (90, 90, true));
    assert!(verified.journal.segments.iter().all(|segment| segment.created_ns.is_none()));
    assert_eq!(read_all(&storage, Visible::Durable).0, 90);
    assert_eq!(texts(&configurations_storage(&storage).unwrap()), [(1, None)]);

    let (mut writer, report) = JournalWriter::open_storage(storage.shared(), configured("a")).unwrap();
    assert_eq!((report.last_sequence, report.closed, report.tail), (90, true, Tail::Clean));
    append_upto(&mut writer, 120, 4);
    writer.close().unwrap();
    assert_eq!(read_all(&storage, Visible::Durable).0, 120);
    assert_eq!(texts(&configurations_storage(&storage).unwrap()), [(1, None), (91, Some("a"))]);
}

#[test]
fn damage_to_a_journal_of_version_1_is_named_as_ever() {
    let storage = version_1();
    let mut bytes = storage.bytes("0000000002.segment");
    bytes[SEGMENT_HEADER_SIZE_BYTES + 60] ^= 1;
    storage.set_bytes("0000000002.segment", bytes);
    let (last, error) = read_all(&storage, Visible::Durable);
    assert_eq!(last, 40);
    assert!(matches!(error, Some(JournalError::Damaged { segment: 2, offset: 4096, sequence: 41, .. })), "{error:?}");
}

/// Method: the newest segment has a header and nothing else, as a kill while it is begun leaves it.
#[test]
fn a_segment_that_was_only_begun_changes_no_configuration() {
    let storage = MemoryStorage::new();
    append_upto(&mut open_configured(&storage, "{}"), 10, 5);
    let before = storage.bytes("durable");
    drop(open_configured(&storage, "{}"));
    let empty = |name: &str| {
        let mut bytes = storage.bytes(name);
        bytes[SEGMENT_HEADER_SIZE_BYTES..].fill(0);
        storage.set_bytes(name, bytes);
    };
    empty("0000000002.segment");
    storage.set_bytes("durable", before);
    assert_eq!(texts(&configurations_storage(&storage).unwrap()), [(1, Some("{}"))]);
    append_upto(&mut open_configured(&storage, "{}"), 20, 5);
    assert_eq!(texts(&configurations_storage(&storage).unwrap()), [(1, Some("{}"))]);
    append_upto(&mut open_configured(&storage, "[]"), 30, 5);
    assert_eq!(texts(&configurations_storage(&storage).unwrap()), [(1, Some("{}")), (21, Some("[]"))]);
}
