//! A journal that was put back from a copy, by a restore or by hand: its numbers are given a second time, and never in the same epoch.

mod common;

use common::{append_upto, open, options, payload, read_all};
use tidebook_journal::{
    JournalError, JournalOptions, JournalWriter, Visible, adopt, inspect, inspect_storage, is_put_back,
};
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
fn who_has_what_a_copy_lacks_appends_it_in_the_old_epoch_and_goes_on_in_a_new_one() {
    for storage in [put_back(), copied_by_hand()] {
        let later = JournalOptions { epoch_later: true, ..options() };
        let (mut writer, report) = JournalWriter::open_storage(storage.shared(), later).unwrap();
        append_upto(&mut writer, 44, 4);
        assert_eq!((writer.epoch(), writer.epoch_found(), report.epoch_behind_copy), (1, 1, None));
        assert!(is_put_back(&*storage.shared()).unwrap(), "whoever finds it now begins a new epoch");
        let begun = writer.begin_epoch().unwrap();
        assert!(begun > 1 && !is_put_back(&*storage.shared()).unwrap());
        append_upto(&mut writer, 48, 4);
        assert_eq!((writer.epoch(), epoch(&storage), writer.epoch_found()), (begun, begun, 1));
        drop(writer);
        append_upto(&mut open(&storage), 52, 4);
        assert_eq!((epoch(&storage), read_all(&storage, Visible::Durable).0), (begun, 52));
    }
}

#[test]
fn a_journal_of_an_earlier_epoch_than_is_known_was_put_back() {
    for (epoch_known, is_older) in [(1, false), (7, true)] {
        let storage = MemoryStorage::new();
        append_upto(&mut open(&storage), 40, 4);
        let known = JournalOptions { epoch_known, ..options() };
        let (_writer, report) = JournalWriter::open_storage(storage.shared(), known.clone()).unwrap();
        assert_eq!(report.epoch_behind_copy.is_some_and(|begun| begun > 7), is_older);
        let begun = JournalWriter::open_storage(MemoryStorage::new().shared(), known).unwrap().0;
        assert_eq!(begun.epoch(), 1, "a new journal is no copy");
    }
}

/// Method: each call fails in turn, from the opening of a copy to the first message in its new epoch; then the power goes.
#[test]
fn what_ends_before_a_copy_has_its_new_epoch_leaves_it_a_copy() {
    let (mut failed, mut finished) = (0, 0);
    for operation in [Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Rename, Operation::Remove]
    {
        for nth in 1..32_u64 {
            let storage = if nth % 2 == 0 { put_back() } else { copied_by_hand() };
            storage.fail(operation, nth.div_ceil(2), Fault::Errno(EIO));
            let begin = || {
                let later = JournalOptions { epoch_later: true, ..options() };
                let (mut writer, _) = JournalWriter::open_storage(storage.shared(), later)?;
                for sequence in 41..=43 {
                    assert_eq!(writer.append(&payload(sequence))?, sequence);
                }
                writer.begin_epoch()
            };
            let begun = begin();
            storage.heal();
            storage.power_loss(&mut Random::new(nth));
            let mut writer = open(&storage);
            assert!(writer.epoch() > 1, "{operation:?} {nth}");
            match begun {
                Ok(begun) => {
                    finished += 1;
                    assert_eq!((writer.epoch(), writer.next_sequence()), (begun, 44), "{operation:?} {nth}");
                }
                Err(_) => failed += 1,
            }
            append_upto(&mut writer, 48, 4);
            assert_eq!(read_all(&storage, Visible::Durable).0, 48);
        }
    }
    assert!(failed > 20 && finished > 20, "{failed} {finished}");
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

/// Method: the link leads to the file of the original, as a copy of links leaves it, or nowhere.
#[test]
fn a_link_in_the_place_of_what_tells_a_copy_is_refused_as_that_and_nothing_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let journal = scratch.path().join("journal");
    append_upto(&mut JournalWriter::open(&journal, options()).unwrap().0, 40, 4);
    let birth = scratch.path().join("birth");
    std::fs::rename(journal.join("birth"), &birth).unwrap();
    for (name, target) in [("birth", &*birth), ("birth", "nowhere".as_ref()), ("restored", "nowhere".as_ref())] {
        std::os::unix::fs::symlink(target, journal.join(name)).unwrap();
        let error = JournalWriter::open(&journal, options()).unwrap_err().to_string();
        let expected = format!("{name}: a symbolic link stands in the place of this file; see what put it there");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(inspect(&journal).unwrap().last_sequence, 40);
        std::fs::remove_file(journal.join(name)).unwrap();
        assert!(!journal.join("nowhere").exists());
    }
    append_upto(&mut JournalWriter::open(&journal, options()).unwrap().0, 44, 4);
}

#[test]
fn a_file_system_that_is_read_only_is_named_as_that() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 40, 4);
    storage.fail(Operation::Write, 1, Fault::Errno(libc::EROFS));
    let error = JournalWriter::open_storage(storage.shared(), options()).unwrap_err();
    assert!(matches!(error, JournalError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("the file system is read-only"), "{error}");
}
