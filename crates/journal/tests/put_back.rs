//! A journal that was put back from a copy, by a restore or by hand: its numbers are given a second time, and never in the same epoch.

mod common;

use common::{append_upto, open, options, read_all};
use tidebook_journal::{JournalOptions, JournalWriter, Visible, adopt, inspect, inspect_storage, is_put_back};
use tidebook_testkit::storage::EIO;
use tidebook_testkit::{Fault, MemoryStorage, Operation, Random};

/// Messages 1 to 40, as a restore leaves them.
fn put_back() -> MemoryStorage {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 40, 4);
    storage.set_bytes("restored", b"anything".to_vec());
    assert!(is_put_back(&*storage.shared()).unwrap());
    storage
}

/// Messages 1 to 40, as somebody has copied them file by file.
fn copied_by_hand() -> MemoryStorage {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 40, 4);
    assert!(!is_put_back(&*storage.shared()).unwrap());
    let copy = storage.copied();
    assert!(is_put_back(&*copy.shared()).unwrap());
    copy
}

fn epoch(storage: &MemoryStorage) -> u32 {
    inspect_storage(&storage.shared()).unwrap().epoch
}

#[test]
fn a_journal_that_was_put_back_goes_on_in_a_new_epoch_once() {
    let storage = put_back();
    append_upto(&mut open(&storage), 44, 4);
    let begun = epoch(&storage);
    assert!(begun > 1);
    assert!(!is_put_back(&*storage.shared()).unwrap());
    append_upto(&mut open(&storage), 48, 4);
    assert_eq!((epoch(&storage), read_all(&storage, Visible::Durable).0), (begun, 48));
    storage.set_bytes("restored", Vec::new());
    append_upto(&mut open(&storage), 52, 4);
    assert!(epoch(&storage) > begun);
}

#[test]
fn who_has_all_that_was_acknowledged_keeps_the_epoch_of_a_journal_that_was_put_back() {
    let storage = put_back();
    let keeping = JournalOptions { keeps_epoch: true, ..options() };
    append_upto(&mut JournalWriter::open_storage(storage.shared(), keeping).unwrap().0, 44, 4);
    assert_eq!((epoch(&storage), is_put_back(&*storage.shared()).unwrap()), (1, false));
}

/// Method: each call of the first opening fails in turn, then the power goes, and the journal is opened again.
#[test]
fn an_opening_that_ends_on_its_way_acknowledges_nothing_in_the_old_epoch() {
    let mut failed = 0;
    for operation in [Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Rename, Operation::Remove]
    {
        for nth in 1..16_u64 {
            let storage = if nth % 2 == 0 { put_back() } else { copied_by_hand() };
            storage.fail(operation, nth.div_ceil(2), Fault::Errno(EIO));
            let opened = JournalWriter::open_storage(storage.shared(), options());
            failed += u64::from(opened.is_err());
            drop(opened);
            storage.heal();
            storage.power_loss(&mut Random::new(nth));
            append_upto(&mut open(&storage), 44, 4);
            assert!(epoch(&storage) > 1, "{operation:?} {nth}");
            assert_eq!(read_all(&storage, Visible::Durable).0, 44);
        }
    }
    assert!(failed > 5, "only {failed} openings failed on the way");
}

#[test]
fn a_copy_made_by_hand_goes_on_in_a_new_epoch_once_and_the_original_in_its_own() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 40, 4);
    let copy = storage.copied();
    append_upto(&mut open(&copy), 44, 4);
    let begun = epoch(&copy);
    assert!(begun > 1);
    append_upto(&mut open(&copy), 48, 4);
    assert_eq!((epoch(&copy), read_all(&copy, Visible::Durable).0), (begun, 48));
    append_upto(&mut open(&storage), 44, 4);
    assert_eq!(epoch(&storage), 1);
    let of_copy = copy.copied();
    append_upto(&mut open(&of_copy), 52, 4);
    assert!(epoch(&of_copy) > begun);
}

#[test]
fn a_journal_that_cannot_tell_or_whose_note_is_damaged_is_no_copy() {
    for damage in [None, Some(Vec::new()), Some(vec![7; 24])] {
        let storage = MemoryStorage::new();
        append_upto(&mut open(&storage), 40, 4);
        match damage {
            None => storage.remove_file("birth"),
            Some(bytes) => storage.set_bytes("birth", bytes),
        }
        let copy = storage.copied();
        append_upto(&mut open(&copy), 44, 4);
        assert_eq!(epoch(&copy), 1, "as one of an earlier release");
        append_upto(&mut open(&copy.copied()), 48, 4);
        assert!(is_put_back(&*copy.copied().shared()).unwrap(), "from now on it tells");
    }
}

/// Method: a directory of the machine, copied as `cp -a` does, renamed, and adopted. Where its file system keeps no time of birth
/// nothing is told, and nothing is held against the copy.
#[test]
fn a_directory_tells_its_copies_and_not_what_was_renamed_or_adopted() {
    let scratch = tempfile::tempdir().unwrap();
    let (original, copy) = (scratch.path().join("original"), scratch.path().join("copy"));
    let append = |path: &std::path::Path, upto| {
        let (mut writer, report) = JournalWriter::open(path, options()).unwrap();
        append_upto(&mut writer, upto, 4);
        writer.close().unwrap();
        report
    };
    let copy_all = |to: &std::path::Path| {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(&original).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    append(&original, 40);
    let tells = std::fs::metadata(original.join("lock")).unwrap().created().is_ok();
    copy_all(&copy);
    let adopted = scratch.path().join("adopted");
    copy_all(&adopted);
    adopt(&adopted).unwrap();
    let renamed = scratch.path().join("renamed");
    std::fs::rename(&original, &renamed).unwrap();
    for (path, is_copy) in [(&renamed, false), (&adopted, false), (&copy, tells)] {
        let report = append(path, 44);
        assert_eq!(report.epoch_behind_copy.is_some(), is_copy, "{}", path.display());
        assert_eq!(inspect(path).unwrap().epoch > 1, is_copy);
    }
}
