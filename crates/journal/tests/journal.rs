//! What a journal does when nothing goes wrong.

mod common;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{append_upto, open, options, payload, read_all};
use tidebook_journal::storage::{Access, FileIdentity, Storage, StorageFile, StorageLock};
use tidebook_journal::{
    Damage, JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions, Tail, Visible, compact_storage,
    stats_storage, verify, verify_storage, verify_telling,
};
use tidebook_testkit::MemoryStorage;

#[test]
fn messages_read_back_in_order_over_many_segments() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    append_upto(&mut writer, 500, 7);
    assert_eq!(read_all(&storage, Visible::Durable).0, 500);
    let verified = verify_storage(&storage.shared()).unwrap();
    let journal = verified.journal;
    assert!(journal.segments.len() > 5, "the test needs several segments");
    assert_eq!((journal.first_sequence, journal.last_sequence, journal.durable), (1, 500, 500));
    assert_eq!((verified.record_count, verified.batch_count), (500, 500_u64.div_ceil(7)));
    assert_eq!((journal.channel.as_str(), journal.tail), ("feed.test", Tail::Clean));
}

#[test]
fn a_verification_tells_every_message_once_and_ends_when_it_is_told_to() {
    let storage = MemoryStorage::new();
    let mut writer = JournalWriter::open_storage(
        storage.shared(),
        JournalOptions { segment_size_bytes: 1 << 20, ..JournalOptions::new("feed.test") },
    )
    .unwrap()
    .0;
    for sequence in 1..=200_000 {
        assert_eq!(writer.append(b"some message of a few bytes").unwrap(), sequence);
    }
    writer.sync().unwrap();
    let told = Mutex::new(Vec::new());
    let tell = |messages| {
        told.lock().unwrap().push(messages);
        ControlFlow::Continue(())
    };
    let verified = verify_telling(&storage.shared(), tell).unwrap().unwrap();
    let told = told.into_inner().unwrap();
    assert!(verified.journal.segments.len() > 5 && told.len() > 5, "{told:?}");
    assert_eq!((verified.record_count, told.iter().sum::<u64>()), (200_000, 200_000), "{told:?}");

    let calls = AtomicUsize::new(0);
    let end = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Break(())
    };
    assert_eq!(verify_telling(&storage.shared(), end).unwrap(), None);
    let threads = std::thread::available_parallelism().unwrap().get();
    assert!(calls.into_inner() <= threads, "who was told to end tells no more");
}

#[test]
fn a_journal_is_counted_by_segment_with_its_batches_and_syncs() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    for sequence in 1..=30 {
        writer.append(&payload(sequence)).unwrap();
        if sequence % 3 == 0 {
            writer.flush().unwrap();
        }
        if sequence % 6 == 0 {
            writer.sync().unwrap();
        }
    }
    append_upto(&mut writer, 400, 5);
    let counted = stats_storage(&storage.shared()).unwrap();
    assert_eq!(counted.segments.iter().map(|one| one.message_count).sum::<u64>(), 400);
    let payloads: usize = (1..=400).map(|sequence| payload(sequence).len()).sum();
    assert_eq!(counted.segments.iter().map(|one| one.payload_size_bytes).sum::<u64>(), payloads as u64);
    assert_eq!(counted.segments.iter().map(|one| one.batch_count).sum::<u64>(), 84);
    assert_eq!(counted.segments.iter().map(|one| one.batch_sizes.iter().sum::<u64>()).sum::<u64>(), 84);
    // Two batches to each of the first five syncs; what is durable at first is no sync.
    let first = &counted.segments[0];
    assert!(first.sync_group_count < first.batch_count && first.sync_group_count >= first.batch_count - 6, "{first:?}");
    assert!(
        first.batch_sizes.iter().enumerate().all(|(bits, &count)| count == 0 || (7..=9).contains(&bits)),
        "{first:?}"
    );
    assert_eq!(counted.journal.segments.len(), counted.segments.len());
}

#[test]
fn only_what_is_synced_is_visible() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    append_upto(&mut writer, 3, 3);
    writer.append(&payload(4)).unwrap();
    assert_eq!((writer.next_sequence(), writer.flushed(), writer.durable()), (5, 3, 3));
    writer.flush().unwrap();
    assert_eq!((writer.flushed(), writer.durable()), (4, 3));
    assert_eq!(read_all(&storage, Visible::Durable).0, 3);
    assert_eq!(read_all(&storage, Visible::Written).0, 4);
    writer.sync().unwrap();
    assert_eq!(read_all(&storage, Visible::Durable).0, 4);
}

#[test]
fn a_reader_follows_the_live_tail_through_new_segments_and_a_reopening() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
    let mut seen = 0;
    for last in (5..400).step_by(5) {
        append_upto(&mut writer, last, 2);
        if last == 200 {
            drop(writer);
            writer = open(&storage);
        }
        while let Some(batch) = reader.next_batch().unwrap() {
            for (sequence, found) in batch.records() {
                assert_eq!((sequence, found), (seen + 1, payload(sequence).as_slice()));
                seen = sequence;
            }
        }
        assert_eq!(seen, last);
    }
    assert!(reader.segment() > 5);
}

/// Method: a thread writes many small segments; beside it the journal is verified and read to its written end, again
/// and again.
#[test]
fn verifying_and_reading_beside_a_live_writer_find_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let (mut writer, _) = JournalWriter::open(directory.path(), options()).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || append_upto(&mut writer, 6000, 3));
        let mut last = 0;
        while !writing.is_finished() {
            let verified = verify(directory.path()).unwrap();
            assert!(verified.journal.last_sequence >= last);
            last = verified.journal.last_sequence;
            let written = ReaderOptions { visible: Visible::Written, ..ReaderOptions::from_sequence(last + 1) };
            let mut reader = JournalReader::open(directory.path(), written).unwrap();
            while let Some(batch) = reader.next_batch().unwrap() {
                for (sequence, found) in batch.records() {
                    assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()));
                    last = sequence;
                }
            }
        }
    });
    assert_eq!(verify(directory.path()).unwrap().record_count, 6000);
}

/// A storage in which something happens just before one file is opened.
struct BeforeOpening {
    storage: MemoryStorage,
    name: &'static str,
    action: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for BeforeOpening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "before opening {}", self.name)
    }
}

impl Storage for BeforeOpening {
    fn open(&self, name: &str, access: Access) -> std::io::Result<Box<dyn StorageFile>> {
        if name == self.name
            && let Some(action) = self.action.lock().unwrap().take()
        {
            action();
        }
        self.storage.open(name, access)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.storage.path(name)
    }

    fn create_directory(&self) -> std::io::Result<()> {
        self.storage.create_directory()
    }

    fn names(&self) -> std::io::Result<Vec<String>> {
        self.storage.names()
    }

    fn create(&self, name: &str) -> std::io::Result<Box<dyn StorageFile>> {
        self.storage.create(name)
    }

    fn identity(&self, name: &str) -> std::io::Result<FileIdentity> {
        self.storage.identity(name)
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.storage.remove(name)
    }

    fn sync_directory(&self) -> std::io::Result<()> {
        self.storage.sync_directory()
    }

    fn try_lock(&self, name: &str) -> std::io::Result<Option<Box<dyn StorageLock>>> {
        self.storage.try_lock(name)
    }
}

/// The moment that could look like damage: the reader has found nothing at the end, the writer fills and seals the
/// segment, and only then does the reader look for the next one.
#[test]
fn a_segment_that_is_filled_and_sealed_while_its_end_is_read_is_no_damage() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    append_upto(&mut writer, 3, 3);
    let storage = BeforeOpening {
        storage,
        name: "0000000002.segment",
        action: Mutex::new(Some(Box::new(move || append_upto(&mut writer, 200, 3)))),
    };
    let written = ReaderOptions { visible: Visible::Written, ..ReaderOptions::default() };
    let mut reader = JournalReader::open_storage(Arc::new(storage), written).unwrap();
    let mut last = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        for (sequence, found) in batch.records() {
            assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()));
            last = sequence;
        }
    }
    assert_eq!(last, 200);
}

#[test]
fn a_reader_begins_at_any_sequence() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 300, 4);
    for from in 1..=300 {
        let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(from)).unwrap();
        let batch = reader.next_batch().unwrap().expect("there is more");
        assert_eq!(batch.records().next(), Some((from, payload(from).as_slice())));
    }
    let mut beyond = JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(301)).unwrap();
    assert!(beyond.next_batch().unwrap().is_none());
    assert_eq!(beyond.next_sequence(), 301);
}

#[test]
fn an_opening_seals_what_was_and_goes_on_in_a_new_segment() {
    let storage = MemoryStorage::new();
    for opening in 1..=4_u64 {
        let (mut writer, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
        assert_eq!(report.created, opening == 1);
        assert_eq!(report.last_sequence, (opening - 1) * 3);
        assert_eq!(report.segment_count as u64, opening - 1);
        append_upto(&mut writer, opening * 3, 2);
        writer.close().unwrap();
    }
    let (_, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    assert!(report.closed);
    assert_eq!((report.undecidable_from, report.proven_durable), (None, 12));
    assert_eq!(read_all(&storage, Visible::Durable).0, 12);
    assert!(storage.bytes("0000000001.segment").len() < 5000, "the zeros of a sealed segment are given back");
}

/// A reader that has its file open meanwhile sees the end and not an error.
#[test]
fn closing_gives_back_what_was_allocated_for_more() {
    let storage = MemoryStorage::new();
    let mut writer =
        JournalWriter::open_storage(storage.shared(), JournalOptions { allocate_ahead: true, ..options() }).unwrap().0;
    // With its header in, the segment is more than half full: the next one is being allocated.
    writer.append(&payload(1)).unwrap();
    writer.sync().unwrap();
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
    assert_eq!(reader.next_batch().unwrap().unwrap().last_sequence(), 1);
    writer.close().unwrap();
    let size_bytes = storage.bytes("0000000001.segment").len();
    assert!(size_bytes < 4200, "{size_bytes} bytes for a header and one message");
    let mut names = storage.shared().names().unwrap();
    names.sort_unstable();
    assert_eq!(names, ["0000000001.segment", "birth", "durable"], "the segment allocated ahead is gone too");
    assert!(reader.next_batch().unwrap().is_none());
    let verified = verify_storage(&storage.shared()).unwrap().journal;
    assert_eq!((verified.closed, verified.tail, verified.durable), (true, Tail::Clean, 1));

    append_upto(&mut open(&storage), 3, 1);
    assert_eq!(reader.next_batch().unwrap().unwrap().records().next(), Some((2, payload(2).as_slice())));
}

#[test]
fn a_journal_that_was_not_closed_says_what_it_cannot_know() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 9, 2);
    let (_, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    assert_eq!((report.closed, report.tail, report.undecidable_from), (false, Tail::Clean, Some(10)));
}

#[test]
fn large_messages_get_a_batch_of_their_own_and_too_large_ones_are_refused() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    let largest = vec![5; writer.payload_size_bytes_max()];
    assert_eq!(writer.append(b"small").unwrap(), 1);
    assert_eq!(writer.append(&largest).unwrap(), 2);
    assert_eq!(writer.append(b"").unwrap(), 3);
    let refused = writer.append(&vec![5; largest.len() + 1]).unwrap_err();
    assert!(matches!(refused, JournalError::TooLarge { size_bytes_max, .. } if size_bytes_max == largest.len()));
    assert_eq!(writer.append(b"after").unwrap(), 4);
    writer.sync().unwrap();
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        found.extend(batch.records().map(|(sequence, payload)| (sequence, payload.to_vec())));
    }
    assert_eq!(found, [(1, b"small".to_vec()), (2, largest), (3, Vec::new()), (4, b"after".to_vec())]);
}

#[test]
fn one_process_writes() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, _) = JournalWriter::open(directory.path(), options()).unwrap();
    let second = JournalWriter::open(directory.path(), options()).unwrap_err();
    assert!(matches!(second, JournalError::Locked { .. }), "{second}");
    drop(writer);
    JournalWriter::open(directory.path(), options()).unwrap();
}

#[test]
fn another_channel_another_version_and_a_key_are_refused_by_name() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 3, 3);
    let other = JournalOptions { channel: "feed.other".into(), ..options() };
    let error = JournalWriter::open_storage(storage.shared(), other).unwrap_err();
    assert!(matches!(&error, JournalError::Channel { found, .. } if found == "feed.test"), "{error}");

    let name = "0000000001.segment";
    for (offset, value, expected) in
        [(8, 3, "journal format version 3, this build reads 1 to 2"), (56, 7, "encrypted with key 7")]
    {
        let changed = storage.fork();
        let mut bytes = changed.bytes(name);
        bytes[offset] = value;
        let crc = crc_fast::crc32_iscsi(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
        changed.set_bytes(name, bytes);
        for error in [
            JournalWriter::open_storage(changed.shared(), options()).unwrap_err(),
            JournalReader::open_storage(changed.shared(), ReaderOptions::default()).unwrap_err(),
        ] {
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}

#[test]
fn options_that_make_no_journal_are_refused_with_the_rule() {
    for (wrong, option) in [
        (JournalOptions { segment_size_bytes: 4096, ..options() }, "segment_size_bytes = 4096"),
        (JournalOptions { segment_size_bytes: 10_000, ..options() }, "segment_size_bytes = 10000"),
        (JournalOptions { channel: String::new(), ..options() }, "channel = "),
        (JournalOptions { first_sequence: 0, ..options() }, "first_sequence = 0"),
    ] {
        let error = JournalWriter::open_storage(MemoryStorage::new().shared(), wrong).unwrap_err();
        assert!(error.to_string().contains(option), "{error}");
    }
}

#[test]
fn a_missing_segment_is_damage_wherever_it_was() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 300, 4);
    let mut names: Vec<String> =
        storage.names().unwrap().into_iter().filter(|name| name.ends_with(".segment")).collect();
    names.sort();
    let held = tidebook_journal::inspect_storage(&storage.shared()).unwrap().segments;
    assert_eq!(names.len(), held.len());
    for (name, summary) in names.iter().zip(&held) {
        let copy = storage.fork();
        copy.remove_file(name);
        let asked = [
            JournalWriter::open_storage(copy.shared(), options()).map(drop),
            tidebook_journal::inspect_storage(&copy.shared()).map(drop),
            tidebook_journal::verify_storage(&copy.shared()).map(drop),
        ];
        for error in asked.map(Result::unwrap_err) {
            let JournalError::Damaged { segment, sequence, damage, .. } = error else { panic!("{error}") };
            // The first message that is missing with it, not one of the segment beside it; of the oldest nothing says it.
            let first = if segment == 1 { 0 } else { summary.first_sequence };
            assert_eq!((segment, sequence, damage), (summary.segment, first, Damage::Missing));
        }
    }
    let newest = storage.fork();
    newest.remove_file(names.last().unwrap());
    let error = tidebook_journal::durable_end_storage(&newest.shared()).unwrap_err();
    let last = held.last().unwrap();
    assert!(
        matches!(error, JournalError::Damaged { segment, sequence, damage: Damage::Missing, .. }
            if (segment, sequence) == (last.segment, last.first_sequence)),
        "{error}"
    );
    let copy = storage.fork();
    for name in &names {
        copy.remove_file(name);
    }
    let error = JournalWriter::open_storage(copy.shared(), options()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { damage: Damage::Missing, .. }), "{error}");
}

#[test]
fn the_first_segments_may_be_compacted_and_a_reader_is_told() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 300, 4);
    assert!(!compact_storage(&storage, 150).unwrap().removed.is_empty());
    let error = JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(1)).unwrap_err();
    let JournalError::Compacted { requested: 1, first, .. } = error else { panic!("{error}") };
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
    assert_eq!(reader.next_batch().unwrap().unwrap().first_sequence(), first);
}

#[test]
fn segments_allocated_ahead_by_a_thread_hold_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions { allocate_ahead: true, segment_size_bytes: 64 << 10, ..options() };
    let (mut writer, _) = JournalWriter::open(directory.path(), options.clone()).unwrap();
    append_upto(&mut writer, 5000, 50);
    drop(writer);
    let report = verify(directory.path()).unwrap();
    assert_eq!(report.journal.last_sequence, 5000);
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let (mut writer, recovered) = JournalWriter::open(directory.path(), options).unwrap();
    assert_eq!((recovered.last_sequence, recovered.tail), (5000, Tail::Clean), "{names:?}");
    append_upto(&mut writer, 5001, 1);
}

#[test]
fn a_closed_journal_that_was_written_to_since_is_not_said_to_be_closed() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    append_upto(&mut writer, 10, 5);
    writer.close().unwrap();
    assert!(tidebook_journal::inspect_storage(&storage.shared()).unwrap().closed);
    let name = "0000000001.segment";
    storage.set_bytes(name, [storage.bytes(name), b"somebody's".to_vec()].concat());
    let found = tidebook_journal::inspect_storage(&storage.shared()).unwrap();
    let (_, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    assert_eq!((found.closed, found.tail), (report.closed, report.tail));
    assert!(!found.closed);
}
