//! A small journal on the faulty disk, and how the tests read it.
#![allow(dead_code, reason = "each test file uses its own part")]

use tidebook_journal::{JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions, Visible};
use tidebook_testkit::MemoryStorage;

pub const SEGMENT_SIZE_BYTES: u64 = 8192;

pub fn options() -> JournalOptions {
    JournalOptions { segment_size_bytes: SEGMENT_SIZE_BYTES, allocate_ahead: false, ..JournalOptions::new("feed.test") }
}

pub fn open(storage: &MemoryStorage) -> JournalWriter {
    JournalWriter::open_storage(storage.shared(), options()).expect("the journal opens").0
}

/// What message `sequence` holds: its length and bytes differ from all others.
pub fn payload(sequence: u64) -> Vec<u8> {
    let mut bytes = format!("message {sequence} ").into_bytes();
    bytes.extend((0..sequence * 7 % 61).map(|index| (index * 31 + sequence) as u8));
    bytes
}

/// Appends messages up to `last`, `group` to a sync.
pub fn append_upto(writer: &mut JournalWriter, last: u64, group: u64) {
    while writer.next_sequence() <= last {
        let sequence = writer.next_sequence();
        assert_eq!(writer.append(&payload(sequence)).expect("append"), sequence);
        if sequence.is_multiple_of(group) || sequence == last {
            assert_eq!(writer.sync().expect("sync"), sequence);
        }
    }
}

/// Reads all that is visible and checks each payload; the last sequence and the error that ended the reading.
pub fn read_all(storage: &MemoryStorage, visible: Visible) -> (u64, Option<JournalError>) {
    let options = ReaderOptions { visible, ..ReaderOptions::default() };
    let mut reader = match JournalReader::open_storage(storage.shared(), options) {
        Ok(reader) => reader,
        Err(error) => return (0, Some(error)),
    };
    let mut last = 0;
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                for (sequence, found) in batch.records() {
                    assert_eq!(sequence, last + 1, "a sequence without hole or repetition");
                    assert_eq!(found, payload(sequence), "payload of {sequence}");
                    last = sequence;
                }
            }
            Ok(None) => return (last, None),
            Err(error) => return (last, Some(error)),
        }
    }
}
