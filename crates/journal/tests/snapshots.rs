//! Writing, verifying, rotating and mapping snapshots, on whole and on faulty disks.

#[path = "common/orders.rs"]
mod orders;

use std::collections::BTreeSet;

use orders::{append_upto, options, state_at, store, take};
use tidebook_journal::snapshot::{SNAPSHOT_HEADER_SIZE_BYTES, SnapshotError, SnapshotFault, SnapshotStore};
use tidebook_journal::{JournalWriter, State};
use tidebook_testkit::storage::{EIO, ENOSPC};
use tidebook_testkit::{Fault, MemoryStorage, Operation, OrderFlow, OrderStore, Random};

const FLOW: OrderFlow = OrderFlow::new(5);

/// A journal of 60 commands, five to a batch.
fn journal() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let (mut writer, _) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    append_upto(&mut writer, FLOW, 60, 5);
    storage
}

fn name(sequence: u64) -> String {
    format!("{sequence:020}.snapshot")
}

#[test]
fn what_is_written_verifies_and_loads_as_the_same_state() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = store(&disk);
    let (state, place) = state_at(&journal, 35);
    let facts = snapshots.write(&state, &place, 1_000).unwrap();
    assert_eq!((&facts.header.place, facts.header.created_ns), (&place, 1_000));
    assert_eq!(snapshots.verify(35).unwrap(), facts);
    let snapshot = snapshots.load(35).unwrap();
    assert!(snapshot.as_ptr().addr().is_multiple_of(4096), "the content lies at the start of a page");
    let mut loaded = OrderStore::new();
    snapshot.load_into(&mut loaded).unwrap();
    assert_eq!(loaded.state_hash(), FLOW.state_at(35).state_hash());
    assert_eq!(disk.bytes(&name(35)).len() as u64, facts.size_bytes);
}

#[test]
fn a_state_of_another_kind_is_not_written_and_what_was_there_stays() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = SnapshotStore::open_storage(disk.shared(), "balances").unwrap();
    let (state, place) = state_at(&journal, 35);
    let refused = snapshots.write(&state, &place, 1_000).unwrap_err();
    assert!(
        matches!(&refused, SnapshotError::Kind { expected, found, .. } if expected == "balances" && found == "orders"),
        "{refused}"
    );
    assert_eq!(snapshots.list().unwrap(), []);
}

#[test]
fn a_snapshot_in_a_directory_is_private_and_mapped() {
    use std::os::unix::fs::MetadataExt;
    let journal = journal();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshots").join("orders");
    let snapshots = SnapshotStore::open(&path, "orders").unwrap();
    assert_eq!(snapshots.list().unwrap(), [], "a directory that is not there yet is an empty store");
    take(&journal, &snapshots, 20);
    assert_eq!(std::fs::metadata(path.join(name(20))).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    let snapshot = snapshots.load(20).unwrap();
    // Removing the file takes nothing from who has it mapped.
    std::fs::remove_file(path.join(name(20))).unwrap();
    let mut loaded = OrderStore::new();
    snapshot.load_into(&mut loaded).unwrap();
    assert_eq!(loaded.state_hash(), FLOW.state_at(20).state_hash());
    assert!(matches!(snapshots.load(20), Err(SnapshotError::Absent { .. })));
}

/// What `damage` is called where the bytes that were changed begin at `offset`.
fn expected_fault(offset: usize, size_bytes: usize) -> SnapshotFault {
    match offset {
        _ if offset < SNAPSHOT_HEADER_SIZE_BYTES => SnapshotFault::Header,
        _ if offset >= size_bytes - 56 => SnapshotFault::Footer,
        _ => SnapshotFault::Content,
    }
}

fn fault_of(snapshots: &SnapshotStore, sequence: u64, at: &str) -> SnapshotFault {
    match snapshots.load(sequence) {
        Err(SnapshotError::Damaged { fault, .. }) => fault,
        other => panic!("{at}: {other:?}"),
    }
}

#[test]
fn every_flipped_bit_is_found_and_told_where() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = store(&disk);
    take(&journal, &snapshots, 10);
    let whole = disk.bytes(&name(10));
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        disk.set_bytes(&name(10), damaged);
        let at = format!("bit {bit} of {}", whole.len() * 8);
        assert_eq!(fault_of(&snapshots, 10, &at), expected_fault(bit / 8, whole.len()), "{at}");
    }
}

#[test]
fn a_snapshot_cut_or_grown_at_any_byte_is_found_by_its_size() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = store(&disk);
    take(&journal, &snapshots, 10);
    let whole = disk.bytes(&name(10));
    for size in (0..whole.len()).chain(whole.len() + 1..whole.len() + 20) {
        let mut changed = whole.clone();
        changed.resize(size, 0);
        disk.set_bytes(&name(10), changed);
        let expected = SnapshotFault::Size { expected: whole.len() as u64, found: size as u64 };
        let expected = if size < SNAPSHOT_HEADER_SIZE_BYTES { SnapshotFault::Header } else { expected };
        assert_eq!(fault_of(&snapshots, 10, &format!("{size} bytes")), expected, "{size} bytes");
    }
}

/// Method: every pair of sectors of 512 bytes swapped, each zeroed, and each taken from another snapshot of the store.
#[test]
fn sectors_swapped_zeroed_or_of_another_snapshot_are_found() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = store(&disk);
    take(&journal, &snapshots, 55);
    take(&journal, &snapshots, 60);
    let (whole, other) = (disk.bytes(&name(60)), disk.bytes(&name(55)));
    let sectors = whole.len() / 512;
    let sector = |index: usize| index * 512..(index + 1) * 512;
    let mut changed = 0;
    let mut check = |damaged: Vec<u8>, at: String| {
        if damaged != whole {
            disk.set_bytes(&name(60), damaged);
            fault_of(&snapshots, 60, &at);
            changed += 1;
        }
    };
    for first in 0..sectors {
        for second in first + 1..sectors {
            let mut damaged = whole.clone();
            damaged[sector(first)].copy_from_slice(&whole[sector(second)]);
            damaged[sector(second)].copy_from_slice(&whole[sector(first)]);
            check(damaged, format!("sectors {first} and {second} swapped"));
        }
        let mut damaged = whole.clone();
        damaged[sector(first)].fill(0);
        check(damaged, format!("sector {first} zeroed"));
        if other.len() >= sector(first).end {
            let mut damaged = whole.clone();
            damaged[sector(first)].copy_from_slice(&other[sector(first)]);
            check(damaged, format!("sector {first} of another snapshot"));
        }
    }
    assert!(changed > 50, "only {changed} changes: the snapshot is too small for this test");
    disk.set_bytes(&name(60), other);
    assert_eq!(fault_of(&snapshots, 60, "renamed"), SnapshotFault::Name { found: 55 });
}

#[test]
fn states_of_another_kind_or_version_are_refused_by_name() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    take(&journal, &store(&disk), 10);
    let others = SnapshotStore::open_storage(disk.shared(), "feed.binance").unwrap();
    assert!(matches!(others.verify(10), Err(SnapshotError::Kind { .. })));
    let mut newer = disk.bytes(&name(10));
    newer[8] = 2;
    let crc = crc_fast::crc32_iscsi(&newer[..4092]);
    newer[4092..4096].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(&name(10), newer);
    assert!(matches!(store(&disk).verify(10), Err(SnapshotError::Version { found: 2, supported: 1, .. })));
    for kind in ["", "Orders", "a/b", "a b", &"x".repeat(256)] {
        let refused = SnapshotStore::open_storage(disk.shared(), kind);
        assert!(matches!(refused, Err(SnapshotError::Option { option: "kind", .. })), "{kind:?}");
    }
}

#[test]
fn rotation_keeps_the_newest_that_verify_and_the_damaged_ones_between_them() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = store(&disk);
    for sequence in [5, 10, 15, 20, 25, 30] {
        take(&journal, &snapshots, sequence);
    }
    for sequence in [10, 25] {
        let mut damaged = disk.bytes(&name(sequence));
        damaged[4200] ^= 1;
        disk.set_bytes(&name(sequence), damaged);
    }
    // A store that has just been opened knows nothing yet.
    let snapshots = store(&disk);
    let rotation = snapshots.rotate(3).unwrap();
    assert_eq!((rotation.kept, rotation.removed, rotation.damaged), (vec![15, 20, 30], vec![5, 10], vec![25]));
    assert_eq!(snapshots.list().unwrap(), [15, 20, 25, 30]);
    assert!(matches!(snapshots.rotate(1), Err(SnapshotError::Option { option: "keep_snapshots", .. })));
}

#[test]
fn rotation_spares_the_newest_two_that_can_be_used_up_to_where_somebody_stands() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = store(&disk);
    for sequence in [5, 10, 15, 20, 25, 30] {
        take(&journal, &snapshots, sequence);
    }
    let mut damaged = disk.bytes(&name(15));
    damaged[4200] ^= 1;
    disk.set_bytes(&name(15), damaged);
    let snapshots = store(&disk);
    // A clone is the same store.
    snapshots.clone().spare(&[17]);
    let rotation = snapshots.rotate(2).unwrap();
    assert_eq!(
        (rotation.kept, rotation.removed, rotation.damaged),
        (vec![5, 10, 25, 30], vec![20], vec![15]),
        "of those up to 17 one is damaged, so the two before it stay"
    );
    // Those that stay anyway count.
    snapshots.spare(&[30]);
    let rotation = snapshots.rotate(2).unwrap();
    assert_eq!((rotation.kept, rotation.removed), (vec![25, 30], vec![5, 10, 15]));
    take(&journal, &snapshots, 35);
    take(&journal, &snapshots, 40);
    take(&journal, &snapshots, 45);
    // Two of them for each who stands somewhere.
    snapshots.spare(&[29, 35]);
    assert_eq!(snapshots.rotate(2).unwrap().kept, [25, 30, 35, 40, 45]);
    snapshots.spare(&[]);
    assert_eq!(snapshots.rotate(2).unwrap().kept, [40, 45]);
    assert_eq!(snapshots.list().unwrap(), [40, 45]);
}

#[test]
fn a_damaged_snapshot_is_written_anew_and_a_whole_one_left_alone() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    let snapshots = store(&disk);
    take(&journal, &snapshots, 10);
    let whole = disk.bytes(&name(10));
    let written = disk.count(Operation::Write);
    take(&journal, &snapshots, 10);
    assert_eq!(disk.count(Operation::Write), written, "nothing is written where nothing is new");
    let mut damaged = whole.clone();
    damaged[4200] ^= 1;
    disk.set_bytes(&name(10), damaged);
    take(&journal, &snapshots, 10);
    assert_eq!(disk.bytes(&name(10)), whole);
}

/// Method: each call that writing a snapshot makes fails once, by error and, for writes, by a full disk.
#[test]
fn a_call_that_fails_leaves_the_snapshots_before_and_nothing_half_made() {
    let journal = journal();
    let before = MemoryStorage::new();
    take(&journal, &store(&before), 10);
    let (state, place) = state_at(&journal, 20);
    let operations = [Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Rename, Operation::Read];
    let mut failed = 0;
    for (operation, errno) in
        operations.map(|operation| (operation, EIO)).into_iter().chain([(Operation::Write, ENOSPC)])
    {
        for nth in 1.. {
            let disk = before.fork();
            let snapshots = store(&disk);
            disk.fail(operation, nth, Fault::Errno(errno));
            let Err(error) = snapshots.write(&state, &place, 2_000) else { break };
            let at = format!("{operation:?} {nth}: {error}");
            assert_eq!(matches!(error, SnapshotError::Full { .. }), errno == ENOSPC, "{at}");
            assert!(!disk.shared().names().unwrap().iter().any(|name| name.ends_with(".new")), "{at}");
            snapshots.verify(10).unwrap();
            snapshots.write(&state, &place, 2_000).unwrap();
            snapshots.verify(20).unwrap();
            failed += 1;
        }
    }
    assert!(failed >= 8, "{failed}");
}

#[test]
fn short_writes_and_reads_change_nothing() {
    let (journal, disk) = (journal(), MemoryStorage::new());
    for (operation, nth, size) in [(Operation::Write, 1, 100), (Operation::Write, 3, 1), (Operation::Read, 1, 7)] {
        disk.fail(operation, nth, Fault::Short(size));
    }
    take(&journal, &store(&disk), 40);
    let snapshot = store(&disk).load(40).unwrap();
    assert_eq!(snapshot.facts.state_hash, FLOW.state_at(40).state_hash());
}

/// Method: the power goes after each number of calls of a write and of a rotation; what was verified before is still
/// there, and the new one is there whole or not at all.
#[test]
fn a_power_loss_at_any_call_leaves_every_verified_snapshot_and_no_other_name() {
    let journal = journal();
    for seed in 0..300 {
        let at = format!("seed {seed}");
        let mut random = Random::new(seed);
        let disk = MemoryStorage::new();
        let snapshots = store(&disk);
        // What must be there whatever happens now.
        let mut verified = BTreeSet::new();
        for sequence in [10, 20, 30, 40] {
            let operation =
                [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDirectory][random.index(4)];
            if random.chance(1, 2) {
                disk.fail(operation, random.below(3) + 1, Fault::Errno(EIO));
            }
            let (state, place) = state_at(&journal, sequence);
            let written = snapshots.write(&state, &place, 1).is_ok();
            if written {
                verified.insert(sequence);
            }
            // Also after a write that failed when its name was there already.
            match snapshots.rotate(2) {
                Ok(rotation) => verified = rotation.kept.into_iter().collect(),
                Err(_) => verified.retain(|&kept| written && kept == sequence),
            }
            disk.heal();
            if random.chance(1, 2) {
                disk.power_loss(&mut random);
                let found = store(&disk);
                for &sequence in &verified {
                    let facts = found.verify(sequence).unwrap_or_else(|error| panic!("{at}: {error}"));
                    assert_eq!(facts.state_hash, FLOW.state_at(sequence).state_hash(), "{at}");
                }
                for sequence in found.list().unwrap() {
                    found.verify(sequence).unwrap_or_else(|error| panic!("{at}: named and not whole: {error}"));
                }
            }
        }
    }
}
