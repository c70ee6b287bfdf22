//! What removing old segments leaves, whatever happens meanwhile and whoever reads.

mod common;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{append_upto, open, options, payload};
use tidebook_journal::repair::{cut_storage, examine_storage, restore_storage};
use tidebook_journal::storage::{Access, FileIdentity, Storage, StorageFile, StorageLock};
use tidebook_journal::{
    Damage, JournalError, JournalReader, JournalWriter, KeepFacts, KeepRule, ReaderOptions, announced_first, compact,
    compact_if, compact_storage, first_to_keep, inspect_storage, is_being_compacted, segments, verify, verify_storage,
};
use tidebook_testkit::storage::EIO;
use tidebook_testkit::{Fault, MemoryStorage, Operation, Random};

/// A journal of 400 messages in many segments, and the first sequence of each.
fn journal() -> (MemoryStorage, Vec<u64>) {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 400, 5);
    let firsts: Vec<u64> = segments(&storage).unwrap().iter().map(|segment| segment.first_sequence).collect();
    assert!(firsts.len() > 5, "the test needs several segments");
    (storage, firsts)
}

/// Reads from the first message held to the end; the first and the last sequence.
fn span(storage: &MemoryStorage) -> (u64, u64) {
    let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
    let (mut first, mut last) = (0, 0);
    while let Some(batch) = reader.next_batch().unwrap() {
        for (sequence, found) in batch.records() {
            assert_eq!(found, payload(sequence));
            assert!(last == 0 || sequence == last + 1);
            first = if first == 0 { sequence } else { first };
            last = sequence;
        }
    }
    (first, last)
}

#[test]
fn segments_wholly_before_the_sequence_go_and_the_newest_two_stay() {
    let (whole, firsts) = journal();
    for keep_from in 0..=402 {
        let storage = whole.fork();
        let compacted = compact_storage(&storage, keep_from).unwrap();
        let kept = firsts.iter().rposition(|&first| first <= keep_from).unwrap_or(0).min(firsts.len() - 2);
        assert_eq!(compacted.removed, (1..=kept as u64).collect::<Vec<_>>(), "from {keep_from}");
        assert_eq!(compacted.first_sequence, firsts[kept]);
        let noted = if compacted.removed.is_empty() { 0 } else { storage.bytes("first").len() };
        assert_eq!(compacted.size_bytes, (whole.used_bytes() + noted - storage.used_bytes()) as u64);
        assert_eq!(span(&storage), (firsts[kept], 400));
        assert_eq!(verify_storage(&storage.shared()).unwrap().journal.first_sequence, firsts[kept]);
        let (mut writer, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
        assert_eq!((report.first_sequence, report.last_sequence), (firsts[kept], 400));
        append_upto(&mut writer, 410, 5);
        assert_eq!(span(&storage), (firsts[kept], 410));
    }
}

/// Method: the oldest segments of a journal that was never compacted, and of one that was, are removed one after another.
#[test]
fn an_oldest_segment_that_compaction_did_not_remove_is_missing_and_not_compacted() {
    let (whole, firsts) = journal();
    let compacted = whole.fork();
    assert_eq!(compact_storage(&compacted, firsts[2]).unwrap().removed, [1, 2]);
    for (storage, first, sequence) in [(whole, 1, 0), (compacted, 3, firsts[2])] {
        for last in first..firsts.len() as u64 - 2 {
            storage.remove_file(&format!("{last:010}.segment"));
            let at = format!("{first} to {last} removed");
            let missing = |error: JournalError| {
                let JournalError::Damaged { segment, sequence: from, damage, .. } = error else {
                    panic!("{at}: {error}")
                };
                assert_eq!((segment, from, damage), (first, sequence, Damage::Missing), "{at}");
            };
            missing(JournalWriter::open_storage(storage.shared(), options()).unwrap_err());
            missing(inspect_storage(&storage.shared()).unwrap_err());
            missing(verify_storage(&storage.shared()).unwrap_err());
            missing(compact_storage(&storage, 400).unwrap_err());
            missing(JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap_err());
            missing(JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(1)).unwrap_err());
            // Who asks for what is there gets it.
            JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(400)).unwrap();
        }
    }
}

#[test]
fn a_journal_without_its_beginning_is_put_back_from_a_copy_or_goes_on_without_it_by_choice() {
    let (whole, firsts) = journal();
    let headless = whole.fork();
    for number in 1..=2 {
        headless.remove_file(&format!("{number:010}.segment"));
    }
    let found = examine_storage(&headless.shared(), 0).unwrap();
    assert_eq!(found.findings.iter().map(|finding| finding.segment).collect::<Vec<_>>(), [1]);
    assert_eq!((found.first_sequence, found.last_good, found.lost_by_cutting()), (firsts[2], 400, 0));

    let restored = headless.fork();
    let done = restore_storage(&restored.shared(), &whole).unwrap();
    assert!(done.iter().all(|one| one.refused.is_none()), "{done:?}");
    assert_eq!(verify_storage(&restored.shared()).unwrap().record_count, 400);

    assert_eq!(cut_storage(&headless.shared(), 400, 0).unwrap().last_sequence, 400);
    assert_eq!(verify_storage(&headless.shared()).unwrap().journal.first_sequence, firsts[2]);
    append_upto(&mut open(&headless), 410, 5);
    assert_eq!(span(&headless), (firsts[2], 410));
}

/// Method: each removal and each sync of the directory fails in turn, then the power goes, over many seeds.
#[test]
fn a_crash_at_any_call_leaves_a_journal_that_begins_later_and_has_no_hole() {
    let (whole, firsts) = journal();
    let keep_from = firsts[firsts.len() - 3] + 1;
    let mut lost_names = 0;
    for operation in [Operation::Remove, Operation::SyncDirectory] {
        for nth in 1..=firsts.len() as u64 {
            for seed in 0..20 {
                let storage = whole.fork();
                storage.fail(operation, nth, Fault::Errno(EIO));
                let compacted = compact_storage(&storage, keep_from);
                storage.heal();
                storage.power_loss(&mut Random::new(seed));
                let at = format!("{operation:?} {nth}, seed {seed}, {compacted:?}");
                let (first, last) = span(&storage);
                assert!(firsts.contains(&first) && first <= keep_from && last == 400, "{at}: {first} to {last}");
                lost_names += u64::from(compacted.is_err() && first > 1);
                compact_storage(&storage, keep_from).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(span(&storage).0, firsts[firsts.len() - 3], "{at}");
                append_upto(&mut open(&storage), 401, 1);
            }
        }
    }
    assert!(lost_names > 100, "only {lost_names} failures came after a removal");
}

#[test]
fn a_reader_in_a_removed_segment_gets_all_of_it_and_then_what_follows_or_is_told() {
    let (storage, firsts) = journal();
    for (keep_from, told) in [(firsts[1], false), (firsts[2], true), (firsts[4], true)] {
        let storage = storage.fork();
        let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::default()).unwrap();
        let mut last = reader.next_batch().unwrap().unwrap().last_sequence();
        let first = compact_storage(&storage, keep_from).unwrap().first_sequence;
        let end = loop {
            match reader.next_batch() {
                Ok(Some(batch)) => {
                    for (sequence, found) in batch.records() {
                        assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()));
                        last = sequence;
                    }
                }
                other => break other.map(|batch| batch.is_none()),
            }
        };
        if told {
            let error = end.expect_err("it was told");
            let JournalError::Compacted { requested, first: begins, .. } = error else { panic!("{error}") };
            assert_eq!((requested, last, begins), (firsts[1], firsts[1] - 1, first), "keep from {keep_from}");
        } else {
            assert_eq!((end.unwrap(), last), (true, 400));
        }
        let gone = JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(1)).unwrap_err();
        assert!(matches!(gone, JournalError::Compacted { requested: 1, .. }), "{gone}");
    }
}

/// Method: a thread writes small segments, another removes all but the newest messages, and beside them readers from
/// any place and whole verifications go on; whatever they get is what was written, and the only error is that it is gone.
#[test]
fn beside_a_living_writer_and_readers_only_old_messages_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (mut writer, _) = JournalWriter::open(path, options()).unwrap();
    append_upto(&mut writer, 50, 3);
    let (mut removed, mut told, mut verified) = (0, 0, 0);
    let ended = AtomicBool::new(false);
    let ended = &ended;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _end = End(ended);
            append_upto(&mut writer, 4000, 3);
        });
        let compacting = scope.spawn(move || {
            let mut removed = 0;
            while !ended.load(Ordering::Acquire) {
                let rule: KeepRule = "size 30000".parse().unwrap();
                let keep_from = first_to_keep(path, &rule, KeepFacts::default()).unwrap();
                removed += compact(path, keep_from).unwrap().removed.len();
            }
            removed
        });
        let reading = scope.spawn(move || {
            let (mut told, mut random) = (0, Random::new(1));
            while !ended.load(Ordering::Acquire) {
                let from = match random.below(3) {
                    0 => 0,
                    1 => *firsts_of(path).first().unwrap(),
                    _ => *firsts_of(path).last().unwrap(),
                };
                let mut reader = match JournalReader::open(path, ReaderOptions::from_sequence(from)) {
                    Ok(reader) => reader,
                    Err(JournalError::Compacted { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
                let mut last = 0;
                loop {
                    match reader.next_batch() {
                        Ok(Some(batch)) => {
                            for (sequence, found) in batch.records() {
                                assert!(last == 0 || sequence == last + 1);
                                assert_eq!(found, payload(sequence));
                                last = sequence;
                            }
                        }
                        Ok(None) => break,
                        Err(JournalError::Compacted { requested, first, .. }) => {
                            assert!(first > requested && (last == 0 || requested == last + 1));
                            told += 1;
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            told
        });
        while !ended.load(Ordering::Acquire) {
            verified += verify(path).unwrap().record_count;
        }
        removed = compacting.join().unwrap();
        told = reading.join().unwrap();
    });
    println!("{removed} segments removed, {told} readers told, {verified} messages verified meanwhile");
    assert!(removed > 20 && verified > 0);
    let found = verify(path).unwrap();
    assert_eq!((found.journal.last_sequence, found.journal.first_sequence > 1), (4000, true));
}

/// Says that a thread is over, however it ended.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn firsts_of(path: &std::path::Path) -> Vec<u64> {
    let directory = tidebook_journal::storage::Directory::new(path);
    segments(&directory).unwrap().iter().map(|segment| segment.first_sequence).collect()
}

#[test]
fn one_process_removes_and_a_journal_that_is_none_is_not_made_one() {
    let (storage, firsts) = journal();
    let lock = storage.shared().try_lock("compaction.lock").unwrap();
    let busy = compact_storage(&storage, firsts[3]).unwrap_err();
    assert!(matches!(busy, JournalError::Compacting { .. }), "{busy}");
    drop(lock);
    assert_eq!(compact_storage(&storage, firsts[3]).unwrap().removed, [1, 2, 3]);

    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(compact(empty.path(), 5), Err(JournalError::Absent { .. })));
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

/// Method: a journal that was never compacted, and one that was; who is asked wants each segment in turn, or fails.
#[test]
fn what_goes_is_announced_before_it_is_asked_for_the_last_time_and_taken_back_if_it_stays() {
    let (whole, firsts) = journal();
    let compacted = whole.fork();
    compact_storage(&compacted, firsts[2]).unwrap();
    let announced = firsts[firsts.len() - 2];
    for (storage, gone) in [(whole, 0), (compacted, 2)] {
        let said = (gone > 0).then(|| storage.bytes("first"));
        for (kept, &wanted) in firsts.iter().enumerate().skip(gone) {
            let storage = storage.fork();
            let done = compact_if::<JournalError>(&storage, 400, || {
                assert_eq!(announced_first(&storage).unwrap(), announced);
                assert!(is_being_compacted(&storage).unwrap());
                assert_eq!(span(&storage), (firsts[gone], 400), "nothing has gone yet");
                Ok(wanted + 1)
            });
            let kept = kept.min(firsts.len() - 2);
            assert_eq!(done.unwrap().removed, (gone as u64 + 1..=kept as u64).collect::<Vec<_>>(), "{wanted}");
            assert_eq!(span(&storage), (firsts[kept], 400));
            assert!(!is_being_compacted(&storage).unwrap());
            if kept == gone {
                assert_eq!(storage.names().unwrap().contains(&"first".to_owned()), gone > 0);
            }
            // What goes besides is missing, and not taken for compacted.
            storage.remove_file(&format!("{:010}.segment", kept + 1));
            assert!(verify_storage(&storage.shared()).is_err(), "{wanted}");
        }
        let refused = compact_if(&storage, 400, || Err(JournalError::Absent { path: "asked".into() }));
        assert!(matches!(refused, Err(JournalError::Absent { .. })), "{refused:?}");
        assert_eq!(span(&storage), (firsts[gone], 400));
        assert_eq!(said, storage.names().unwrap().contains(&"first".to_owned()).then(|| storage.bytes("first")));
    }
}

/// Root is nobody's user; whoever else runs this makes files in a directory of its own, where the same holds.
#[test]
fn what_root_makes_in_a_journal_is_of_who_has_the_directory() {
    use std::os::unix::fs::MetadataExt;

    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("wal");
    let (mut writer, _) = JournalWriter::open(&journal, options()).unwrap();
    append_upto(&mut writer, 400, 5);
    drop(writer);
    // Refused to all but root.
    let _ = std::os::unix::fs::chown(&journal, Some(65534), Some(65534));
    compact(&journal, 400).unwrap();
    let owner = std::fs::metadata(&journal).unwrap().uid();
    for name in ["first", "compaction.lock"] {
        assert_eq!(std::fs::metadata(journal.join(name)).unwrap().uid(), owner, "{name}");
    }
}

#[test]
fn a_hole_is_damage_for_compaction_too() {
    let (storage, firsts) = journal();
    storage.remove_file("0000000003.segment");
    let before = storage.used_bytes();
    assert!(matches!(compact_storage(&storage, firsts[5]), Err(JournalError::Damaged { segment: 3, .. })));
    assert_eq!(storage.used_bytes(), before);
}

/// A directory whose next listing is an earlier or mixed one, as while files come and go.
#[derive(Debug)]
struct Listed {
    storage: MemoryStorage,
    next: Mutex<Option<Vec<String>>>,
}

impl Storage for Listed {
    fn names(&self) -> std::io::Result<Vec<String>> {
        self.next.lock().unwrap().take().map_or_else(|| self.storage.names(), Ok)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.storage.path(name)
    }

    fn create_directory(&self) -> std::io::Result<()> {
        self.storage.create_directory()
    }

    fn create(&self, name: &str) -> std::io::Result<Box<dyn StorageFile>> {
        self.storage.create(name)
    }

    fn open(&self, name: &str, access: Access) -> std::io::Result<Box<dyn StorageFile>> {
        self.storage.open(name, access)
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

#[test]
fn a_listing_made_while_segments_come_and_go_shows_no_hole_that_is_none() {
    let (whole, firsts) = journal();
    let name = |segment: usize| format!("{segment:010}.segment");
    let count = firsts.len();
    for (gone, listed, what) in [
        (
            2,
            [1].into_iter().chain(3..=count).collect::<Vec<_>>(),
            "the first was listed before it went, the second not",
        ),
        (0, (1..=count).filter(|&segment| segment != count - 1).collect(), "the last but one was made meanwhile"),
        (3, vec![1, 2, 3], "all that were listed are gone"),
        (1, (1..=count).collect(), "the first is gone"),
    ] {
        let storage = whole.fork();
        assert_eq!(compact_storage(&storage, firsts[gone]).unwrap().removed.len(), gone);
        let names = listed.into_iter().map(name).collect();
        let listed: Arc<dyn Storage> = Arc::new(Listed { storage, next: Mutex::new(Some(names)) });
        let mut reader = JournalReader::open_storage(Arc::clone(&listed), ReaderOptions::default())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let first = reader.next_batch().unwrap().expect("there is more").first_sequence();
        assert_eq!(first, firsts[gone], "{what}");
    }
}
