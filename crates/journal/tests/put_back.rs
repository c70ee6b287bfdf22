//! A journal that was put back from a copy: its numbers are given a second time, and never in the same epoch.

mod common;

use common::{append_upto, open, options, read_all};
use tidebook_journal::{JournalOptions, JournalWriter, Visible, inspect_storage, is_put_back};
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
        for nth in 1..8 {
            let storage = put_back();
            storage.fail(operation, nth, Fault::Errno(EIO));
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
