//! Number and chain of the batch that holds a message: the same in two journals only as far as they are one history.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tidebook_journal::{
    BatchFinder, BatchMark, JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions, compact,
};

fn options() -> JournalOptions {
    JournalOptions { segment_size_bytes: 8192, configuration: "{}".to_owned(), ..JournalOptions::new("numbers") }
}

/// Appends `count` messages in batches of three.
fn write(journal: &Path, count: usize) {
    let (mut writer, _) = JournalWriter::open(journal, options()).expect("opens");
    for number in 1..=count {
        writer.append(&[7; 300]).expect("append");
        if number % 3 == 0 || number == count {
            writer.sync().expect("sync");
        }
    }
    writer.close().expect("close");
}

/// As a reader finds them, which verifies all.
fn read(journal: &Path) -> BTreeMap<u64, BatchMark> {
    let mut reader = JournalReader::open(journal, ReaderOptions::default()).expect("opens");
    let mut found = BTreeMap::new();
    while let Some(batch) = reader.next_batch().expect("whole") {
        let mark = BatchMark { number: batch.batch_number(), chain: batch.chain() };
        found.extend((batch.first_sequence()..=batch.last_sequence()).map(|sequence| (sequence, mark)));
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("there") {
        let entry = entry.expect("read");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}

fn find(finder: &mut BatchFinder, sequence: u64) -> Option<BatchMark> {
    finder.find(sequence).expect("found").map(|found| found.batch)
}

#[test]
fn each_message_is_found_in_its_batch_in_any_order_and_what_is_written_meanwhile_too() {
    let directory = TempDir::new().expect("a directory");
    write(directory.path(), 50);
    let expected = read(directory.path());
    let mut forward = BatchFinder::new(directory.path());
    for (&sequence, &mark) in &expected {
        assert_eq!(find(&mut forward, sequence), Some(mark), "message {sequence}");
    }
    assert_eq!((find(&mut forward, 51), find(&mut forward, 0)), (None, None));
    let mut backward = BatchFinder::new(directory.path());
    for (&sequence, &mark) in expected.iter().rev() {
        assert_eq!(find(&mut backward, sequence), Some(mark), "message {sequence}");
    }
    assert_eq!(find(&mut forward, 51), None);
    write(directory.path(), 40);
    for (&sequence, &mark) in read(directory.path()).range(40..) {
        assert_eq!(find(&mut forward, sequence), Some(mark), "message {sequence}");
    }
}

#[test]
fn a_copy_that_went_on_alone_shares_its_batches_with_the_other_up_to_where_they_part() {
    let directory = TempDir::new().expect("a directory");
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    write(&one, 20);
    copy(&one, &other);
    // The same messages, so that only the chain can tell.
    write(&one, 20);
    write(&other, 20);
    let (mut one, mut other) = (BatchFinder::new(&one), BatchFinder::new(&other));
    for sequence in 1..=40 {
        let (here, there) = (find(&mut one, sequence), find(&mut other, sequence));
        assert!(here.is_some() && there.is_some());
        assert_eq!(here == there, sequence <= 20, "message {sequence}");
    }
}

#[test]
fn of_what_compaction_removed_only_the_end_is_still_shown() {
    let directory = TempDir::new().expect("a directory");
    write(directory.path(), 90);
    let before = read(directory.path());
    let first = compact(directory.path(), 60).expect("compacts").first_sequence;
    assert!(first > 2);
    let mut finder = BatchFinder::new(directory.path());
    assert_eq!(find(&mut finder, first - 1), Some(before[&(first - 1)]));
    let gone = finder.find(first - 2);
    assert!(matches!(gone, Err(JournalError::Compacted { requested, .. }) if requested == first - 2), "{gone:?}");
    assert_eq!(find(&mut finder, first), Some(before[&first]));
}
