//! Where the durable part of a journal ends, as one who copies it beside its writer is told.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{SEGMENT_SIZE_BYTES, append_upto, options, payload};
use tidebook_journal::{JournalError, JournalReader, JournalWriter, ReaderOptions, Visible, durable_end};

/// A copy of the journal up to the end that was told, with the watermark that was told.
fn copied(journal: &Path, copy: &Path) {
    let end = durable_end(journal).unwrap().expect("there is a journal");
    for segment in 1..=end.segment {
        let name = format!("{segment:010}.segment");
        let mut bytes = fs::read(journal.join(&name)).unwrap();
        if segment == end.segment {
            bytes.truncate(end.size_bytes as usize);
        }
        fs::write(copy.join(&name), bytes).unwrap();
    }
    if let Some(watermark) = end.watermark {
        fs::write(copy.join("durable"), watermark).unwrap();
    }
}

fn last_of(journal: &Path) -> u64 {
    last(journal, Visible::Written)
}

/// What a reader is given of it before anybody opens it to write.
fn shown_by(journal: &Path) -> u64 {
    last(journal, Visible::Durable)
}

fn last(journal: &Path, visible: Visible) -> u64 {
    let options = ReaderOptions { visible, ..ReaderOptions::default() };
    let mut reader = JournalReader::open(journal, options).unwrap();
    let mut last = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        last = batch.last_sequence();
    }
    last
}

#[test]
fn a_copy_up_to_the_durable_end_has_what_is_synced_and_not_a_message_more() {
    let journal = tempfile::tempdir().unwrap();
    let (mut writer, _) = JournalWriter::open(journal.path(), options()).unwrap();
    for synced in (10..=400).step_by(39) {
        append_upto(&mut writer, synced, 3);
        writer.append(&payload(synced + 1)).unwrap();
        writer.flush().unwrap();
        let copy = tempfile::tempdir().unwrap();
        copied(journal.path(), copy.path());
        assert_eq!(last_of(copy.path()), synced);
        let (_, found) = JournalWriter::open(copy.path(), options()).unwrap();
        assert_eq!((found.last_sequence, found.tail.torn_bytes()), (synced, 0));
    }
    assert!(durable_end(journal.path()).unwrap().unwrap().segment > 2, "it went through segments");
}

#[test]
fn a_watermark_with_a_flipped_bit_shortens_nothing() {
    let journal = tempfile::tempdir().unwrap();
    let (mut writer, _) = JournalWriter::open(journal.path(), options()).unwrap();
    append_upto(&mut writer, 40, 1);
    let whole = durable_end(journal.path()).unwrap().unwrap();
    let watermark = fs::read(journal.path().join("durable")).unwrap();
    assert_eq!(whole.watermark.as_ref(), Some(&watermark));
    for bit in 0..watermark.len() * 8 {
        let mut flipped = watermark.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(journal.path().join("durable"), flipped).unwrap();
        let found = durable_end(journal.path()).unwrap().unwrap();
        assert_eq!((found.segment, found.size_bytes), (whole.segment, whole.size_bytes), "bit {bit}");
        assert_eq!(found.watermark, None, "bit {bit}");
    }
}

/// Method: the watermark as it was after each sync, as a power loss leaves it, beside a writer and without one.
#[test]
fn however_old_the_watermark_is_a_copy_has_all_that_opening_would_go_on_behind() {
    let journal = tempfile::tempdir().unwrap();
    let note = journal.path().join("durable");
    let (mut writer, _) = JournalWriter::open(journal.path(), options()).unwrap();
    let mut notes = Vec::new();
    for last in (10..=300).step_by(10) {
        append_upto(&mut writer, last, 10);
        notes.push(fs::read(&note).unwrap());
    }
    let whole = durable_end(journal.path()).unwrap().unwrap();
    assert!(whole.segment > 2);
    // What a batch says was durable before it stands in it: all but the newest are proven.
    for old in &notes[..notes.len() - 1] {
        fs::write(&note, old).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copied(journal.path(), copy.path());
        assert_eq!((last_of(copy.path()), shown_by(copy.path())), (290, 290));
    }
    drop(writer);
    for (number, old) in notes.iter().enumerate() {
        fs::write(&note, old).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copied(journal.path(), copy.path());
        assert_eq!(shown_by(copy.path()), 300, "watermark {number}");
        let (_, found) = JournalWriter::open(copy.path(), options()).unwrap();
        assert_eq!((found.last_sequence, found.tail.torn_bytes()), (300, 0), "watermark {number}");
    }
}

/// Method: one looks again and again while another opens the journal again and again.
#[test]
fn who_asks_where_a_journal_ends_keeps_no_writer_from_opening_it() {
    let journal = tempfile::tempdir().unwrap();
    drop(JournalWriter::open(journal.path(), options()).unwrap());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looked = scope.spawn(|| {
            let mut looked = 0;
            while !ended.load(Ordering::Relaxed) {
                durable_end(journal.path()).unwrap();
                looked += 1;
            }
            looked
        });
        let opened: Vec<_> =
            (0..200).map(|_| JournalWriter::open(journal.path(), options()).map(|(writer, _)| drop(writer))).collect();
        ended.store(true, Ordering::Relaxed);
        assert!(looked.join().unwrap() > 0);
        assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    });
}

#[test]
fn looking_where_a_journal_ends_writes_nothing_to_it() {
    let journal = tempfile::tempdir().unwrap();
    let (mut writer, _) = JournalWriter::open(journal.path(), options()).unwrap();
    append_upto(&mut writer, 5, 1);
    drop(writer);
    fs::remove_file(journal.path().join("lock")).unwrap();
    let listed = || {
        let mut names: Vec<_> = fs::read_dir(journal.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listed();
    assert!(durable_end(journal.path()).unwrap().is_some());
    assert_eq!(listed(), before);
}

#[test]
fn a_watermark_of_an_earlier_segment_leaves_out_nothing_that_is_there() {
    let journal = tempfile::tempdir().unwrap();
    let (mut writer, _) = JournalWriter::open(journal.path(), options()).unwrap();
    append_upto(&mut writer, 5, 1);
    let old = fs::read(journal.path().join("durable")).unwrap();
    append_upto(&mut writer, 600, 3);
    writer.close().unwrap();
    let newest = durable_end(journal.path()).unwrap().unwrap().segment;
    assert!(newest > 2);
    fs::write(journal.path().join("durable"), old).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copied(journal.path(), copy.path());
    assert_eq!(last_of(copy.path()), 600);
}

#[test]
fn what_was_durable_and_is_not_there_is_damage() {
    let journal = tempfile::tempdir().unwrap();
    assert_eq!(durable_end(journal.path()).unwrap(), None, "no journal was begun");
    let (mut writer, _) = JournalWriter::open(journal.path(), options()).unwrap();
    append_upto(&mut writer, 20, 1);
    let end = durable_end(journal.path()).unwrap().unwrap();
    let segment = journal.path().join("0000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    assert!((end.size_bytes as usize) < bytes.len() && bytes.len() as u64 <= SEGMENT_SIZE_BYTES);
    bytes[end.size_bytes as usize - 1] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let found = durable_end(journal.path()).unwrap_err();
    assert!(matches!(found, JournalError::Damaged { segment: 1, sequence: 20, .. }), "{found}");
    fs::remove_file(&segment).unwrap();
    let found = durable_end(journal.path()).unwrap_err();
    assert!(matches!(found, JournalError::Damaged { segment: 1, offset: 0, .. }), "{found}");
}

/// Method: the watermark as it was after each sync, as a power loss or an opening that was killed leaves it; read from each
/// message.
#[test]
fn readers_see_what_a_next_segment_has_sealed_however_old_the_watermark_is() {
    let journal = tempfile::tempdir().unwrap();
    let note = journal.path().join("durable");
    let (mut writer, _) = JournalWriter::open(journal.path(), options()).unwrap();
    let mut notes = Vec::new();
    for last in (10..=300).step_by(10) {
        append_upto(&mut writer, last, 10);
        notes.push(fs::read(&note).unwrap());
    }
    // Written and not synced by who dies then, synced and sealed by the next.
    writer.append(&payload(301)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let (writer, found) = JournalWriter::open(journal.path(), options()).unwrap();
    assert!(found.last_sequence == 301 && found.segment_count > 2);
    drop(writer);
    for (number, old) in notes.iter().enumerate() {
        fs::write(&note, old).unwrap();
        for from in 1..=301 {
            let mut reader = JournalReader::open(journal.path(), ReaderOptions::from_sequence(from)).unwrap();
            let mut last = 0;
            while let Some(batch) = reader.next_batch().unwrap() {
                last = batch.last_sequence();
            }
            assert_eq!(last, 301, "watermark {number}, from {from}");
        }
    }
}
