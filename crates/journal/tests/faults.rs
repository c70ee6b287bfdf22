//! What a journal does on a disk that tears, shortens, refuses, lies and forgets.

mod common;
#[path = "common/queue.rs"]
mod queue;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{SEGMENT_SIZE_BYTES, append_upto, open, options, payload, read_all};
use queue::JournalQueue;
use tidebook_journal::storage::Access;
use tidebook_journal::{JournalError, JournalOptions, JournalThread, JournalWriter, Source, SyncPolicy, Tail, Visible};
use tidebook_testkit::storage::{EINTR, EIO, ENOSPC};
use tidebook_testkit::{Fault, MemoryStorage, Operation, Random};

/// Method: random appends, flushes and syncs over several segments, then the process closes or dies, or the power goes and a
/// random part of the unsynced sectors stays; reopen, check, go on, several times on the same disk.
///
/// Allowed: everything acknowledged and any whole prefix of the rest. Forbidden: a hole, a changed payload, damage.
fn survive_power_losses(seed: u64) -> u64 {
    let storage = MemoryStorage::new();
    let mut random = Random::new(seed);
    // Every other journal has batches of configuration between its messages.
    let options = || match seed % 2 {
        0 => options(),
        _ => JournalOptions { configuration: format!("{{\"seed\":{seed}}}"), ..options() },
    };
    let (mut acknowledged, mut torn) = (0, 0);
    for cycle in 0..6 {
        let at = format!("seed {seed} cycle {cycle}");
        let opened = JournalWriter::open_storage(storage.shared(), options());
        let (mut writer, report) = opened.unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(report.last_sequence >= acknowledged, "{at}: {acknowledged} acknowledged, {report:?}");
        torn += u64::from(matches!(report.tail, Tail::Torn { .. }));
        assert_eq!(read_all(&storage, Visible::Durable).0, report.last_sequence, "{at}");
        acknowledged = report.last_sequence;
        for _ in 0..random.below(250) {
            match random.below(12) {
                0..=3 => writer.flush().unwrap(),
                4 => acknowledged = writer.sync().unwrap(),
                _ => assert!(writer.append(&payload(writer.next_sequence())).unwrap() > acknowledged),
            }
        }
        acknowledged = acknowledged.max(writer.durable());
        if random.chance(1, 4) {
            acknowledged = writer.next_sequence() - 1;
            writer.close().unwrap();
        } else {
            drop(writer);
        }
        if random.chance(2, 3) {
            storage.power_loss(&mut random);
        }
        // A second recovery of the same bytes must see the same.
        let twin = storage.fork();
        let first =
            JournalWriter::open_storage(twin.shared(), options()).unwrap_or_else(|error| panic!("{at}: {error}"));
        let last = first.1.last_sequence;
        drop(first);
        let second = JournalWriter::open_storage(twin.shared(), options());
        assert_eq!(second.unwrap_or_else(|error| panic!("{at}: {error}")).0.durable(), last, "{at}");
    }
    torn
}

#[test]
fn power_losses_keep_all_that_was_acknowledged_and_a_prefix_of_the_rest() {
    let torn: u64 = (0..400).map(survive_power_losses).sum();
    assert!(torn > 100, "only {torn} torn tails: the test does not reach what it is for");
}

#[test]
#[ignore = "soak: 20,000 seeds"]
fn power_losses_keep_all_that_was_acknowledged_over_many_seeds() {
    let torn: u64 = (1000..21_000).map(survive_power_losses).sum();
    println!("120000 crashes, two in three a power loss: {torn} torn tails, nothing acknowledged was lost");
}

#[test]
fn a_failed_sync_ends_the_journal_and_acknowledges_nothing_more() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    append_upto(&mut writer, 4, 4);
    writer.append(&payload(5)).unwrap();
    storage.fail(Operation::Sync, 1, Fault::Errno(EIO));
    let failed = writer.sync().unwrap_err();
    assert!(matches!(failed, JournalError::Io { operation: "sync", .. }), "{failed}");
    // The next sync of the kernel would succeed: the pages count as clean. It must not be asked.
    let syncs = storage.count(Operation::Sync);
    for error in [writer.sync().unwrap_err(), writer.flush().unwrap_err(), writer.append(b"x").unwrap_err()] {
        assert!(matches!(error, JournalError::Poisoned { .. }), "{error}");
    }
    assert_eq!((storage.count(Operation::Sync), writer.durable()), (syncs, 4));
    drop(writer);
    // What a cache still shows of the lost write must not be believed on restart either.
    let (mut writer, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    assert_eq!(report.last_sequence, 4);
    append_upto(&mut writer, 6, 1);
    assert_eq!(read_all(&storage, Visible::Durable).0, 6);
}

/// Method: the k-th call of each kind fails, for every k that a run of appends reaches.
#[test]
fn any_single_failing_call_loses_nothing_acknowledged() {
    for operation in
        [Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Reserve, Operation::Rename]
    {
        for fault in [Fault::Errno(EIO), Fault::Errno(ENOSPC)] {
            for nth in 1..40 {
                let storage = MemoryStorage::new();
                storage.fail(operation, nth, fault);
                let at = format!("{operation:?} {nth} {fault:?}");
                let mut acknowledged = 0;
                if let Ok((mut writer, _)) = JournalWriter::open_storage(storage.shared(), options()) {
                    for sequence in 1..=150_u64 {
                        match writer.append(&payload(sequence)).and_then(|_| writer.sync()) {
                            Ok(durable) => acknowledged = durable,
                            Err(_) => break,
                        }
                    }
                    // Durable may be one ahead: synced, but the call could not tell.
                    assert!((acknowledged..=acknowledged + 1).contains(&writer.durable()), "{at}");
                }
                storage.heal();
                storage.power_loss(&mut Random::new(nth));
                let (writer, _) = JournalWriter::open_storage(storage.shared(), options())
                    .unwrap_or_else(|error| panic!("{at}: {error}"));
                assert!(writer.durable() >= acknowledged, "{at}: {} of {acknowledged}", writer.durable());
                assert_eq!(read_all(&storage, Visible::Durable).0, writer.durable(), "{at}");
            }
        }
    }
}

#[test]
fn short_and_interrupted_writes_are_finished() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    for nth in [1, 3, 4] {
        storage.fail(Operation::Write, nth, Fault::Short(5));
    }
    storage.fail(Operation::Write, 2, Fault::Errno(EINTR));
    storage.fail(Operation::Read, 2, Fault::Errno(EINTR));
    append_upto(&mut writer, 10, 5);
    assert_eq!(read_all(&storage, Visible::Durable).0, 10);
}

#[test]
fn a_full_disk_is_an_error_before_the_acknowledgement_and_goes_on_when_space_returns() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    append_upto(&mut writer, 10, 5);
    storage.set_capacity(Some(storage.used_bytes() + 4000));
    let mut refused = 0;
    let mut sequence = 11;
    while refused < 3 {
        // A refused message is not in the journal; a refused sync leaves it in the open batch.
        let result =
            if writer.next_sequence() == sequence { writer.append(&payload(sequence)).map(drop) } else { Ok(()) };
        match result.and_then(|()| writer.sync()) {
            Ok(durable) => {
                assert_eq!(durable, sequence);
                sequence += 1;
            }
            Err(JournalError::Full { .. }) => {
                refused += 1;
                assert_eq!(writer.durable(), sequence - 1, "a refused sync acknowledges nothing");
                assert_eq!(read_all(&storage, Visible::Durable).0, sequence - 1);
            }
            Err(other) => panic!("{other}"),
        }
    }
    storage.set_capacity(None);
    append_upto(&mut writer, sequence + 100, 5);
    assert_eq!(read_all(&storage, Visible::Durable).0, sequence + 100);
}

#[test]
fn a_crash_while_a_segment_is_made_leaves_nothing_that_is_read() {
    for nth in 1..=3 {
        let storage = MemoryStorage::new();
        let mut writer = open(&storage);
        append_upto(&mut writer, 20, 5);
        storage.fail(Operation::Rename, nth, Fault::Errno(EIO));
        while writer.append(&payload(writer.next_sequence())).and_then(|_| writer.sync()).is_ok() {}
        let acknowledged = writer.durable();
        drop(writer);
        let (writer, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
        assert!(report.last_sequence >= acknowledged);
        assert_eq!(read_all(&storage, Visible::Durable).0, writer.durable());
    }
}

#[test]
fn a_journal_thread_acknowledges_in_order_and_tells_who_waits_when_it_fails() {
    for policy in [SyncPolicy::Group, SyncPolicy::default()] {
        let storage = MemoryStorage::new();
        let (writer, _) =
            JournalWriter::open_storage(storage.shared(), JournalOptions { segment_size_bytes: 1 << 20, ..options() })
                .unwrap();
        let (queue, thread) = JournalQueue::spawn(writer, policy, 4096);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sequence = queue.append(b"from one of three").expect("the thread runs");
                        if sequence % 16 == 0 {
                            assert!(queue.wait_durable(sequence));
                        }
                    }
                });
            }
        });
        assert!(queue.wait_durable(600));
        assert_eq!(thread.durable(), 600);
        storage.fail(Operation::Sync, 1, Fault::Errno(EIO));
        let lost = queue.append(b"never durable").expect("the thread still runs");
        assert!(!queue.wait_durable(lost), "a failed sync acknowledges nothing");
        assert_eq!(queue.append(b"too late"), None);
        let cause = thread.failure().expect("the thread says why");
        assert!(cause.contains("sync"), "{cause}");
        assert!(thread.stop().is_err());
    }
}

/// Gives `left` messages, then panics.
struct Panicking {
    left: u64,
    told: Arc<Mutex<Option<String>>>,
}

impl Source for Panicking {
    fn drain(&mut self, writer: &mut JournalWriter) -> Result<usize, JournalError> {
        assert!(self.left > 0, "the source has a mistake");
        self.left -= 1;
        writer.append(&payload(writer.next_sequence())).map(|_| 1)
    }
    fn durable(&mut self, _sequence: u64) -> Result<(), JournalError> {
        Ok(())
    }
    fn wait(&mut self, _timeout: Duration) {}
    fn failed(&mut self, error: &JournalError) {
        *self.told.lock().unwrap() = Some(error.to_string());
    }
}

#[test]
fn a_panic_of_a_journal_thread_is_its_failure_and_its_source_is_told() {
    let storage = MemoryStorage::new();
    let (writer, _) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    let told = Arc::new(Mutex::new(None));
    let thread = JournalThread::spawn(writer, SyncPolicy::Group, Panicking { left: 3, told: Arc::clone(&told) });
    let start = Instant::now();
    while thread.failure().is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody saw the panic");
        std::thread::yield_now();
    }
    let failure = thread.failure().unwrap();
    assert!(failure.contains("the source has a mistake"), "{failure}");
    assert_eq!(thread.stop().unwrap_err().to_string(), failure);
    assert_eq!(told.lock().unwrap().as_ref(), Some(&failure));
    assert_eq!(read_all(&storage, Visible::Durable).0, 3);
}

#[test]
fn a_journal_whose_segment_is_removed_moved_or_replaced_acknowledges_nothing_more() {
    let at_each_sync = || JournalOptions { look_interval: Duration::ZERO, ..options() };
    type Lose = fn(&MemoryStorage);
    let lose: [(&str, Lose); 3] = [
        ("removed", |storage| storage.remove_file("0000000001.segment")),
        ("moved", |storage| storage.shared().rename("0000000001.segment", "elsewhere").unwrap()),
        ("replaced", |storage| {
            let bytes = storage.bytes("0000000001.segment");
            storage.remove_file("0000000001.segment");
            storage.set_bytes("0000000001.segment", bytes);
        }),
    ];
    for (how, lose) in lose {
        let storage = MemoryStorage::new();
        let (mut writer, _) = JournalWriter::open_storage(storage.shared(), at_each_sync()).unwrap();
        append_upto(&mut writer, 4, 4);
        lose(&storage);
        writer.append(&payload(5)).unwrap();
        let error = writer.sync().unwrap_err();
        assert!(matches!(error, JournalError::Removed { first_sequence: 1, durable: 4, .. }), "{how}: {error}");
        assert!(error.to_string().contains("and acknowledged messages 1 to 4 with it"), "{how}: {error}");
        assert_eq!(writer.durable(), 4);
        assert!(matches!(writer.append(&payload(6)), Err(JournalError::Poisoned { .. })), "{how}");
    }
}

#[test]
fn a_journal_whose_segment_is_cut_under_its_writer_acknowledges_nothing_more() {
    for (size_bytes, last) in [(4096, 5), (5000, 5), (SEGMENT_SIZE_BYTES - 1, 5), (4096, 400)] {
        let storage = MemoryStorage::new();
        let mut writer = open(&storage);
        append_upto(&mut writer, 4, 4);
        storage.shared().open("0000000001.segment", Access::ReadWrite).unwrap().truncate(size_bytes).unwrap();
        // One message, or so many that the segment is full and a next one would seal it.
        let error = (5..=last).find_map(|sequence| writer.append(&payload(sequence)).err());
        let error = error.unwrap_or_else(|| writer.sync().unwrap_err());
        let at = format!("{size_bytes}, {last}: {error}");
        assert!(matches!(error, JournalError::Shortened { first_sequence: 1, durable: 4, .. }), "{at}");
        assert!(error.to_string().contains("cut from 8192 to"), "{at}");
        assert_eq!(writer.durable(), 4, "{at}");
        assert!(matches!(writer.append(&payload(6)), Err(JournalError::Poisoned { .. })), "{at}");
    }
}

/// Nothing is appended any more: the thread looks by itself.
#[test]
fn an_idle_journal_thread_sees_that_its_segment_is_gone() {
    let storage = MemoryStorage::new();
    let options = JournalOptions { look_interval: Duration::ZERO, ..options() };
    let (writer, _) = JournalWriter::open_storage(storage.shared(), options).unwrap();
    let (queue, thread) = JournalQueue::spawn(writer, SyncPolicy::default(), 1 << 20);
    storage.remove_file("0000000001.segment");
    let start = Instant::now();
    while thread.failure().is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "nobody saw it");
        std::thread::yield_now();
    }
    assert!(thread.failure().unwrap().contains("removed, moved or replaced"));
    assert!(matches!(thread.stop(), Err(JournalError::Removed { .. })));
    assert_eq!(queue.append(b"too late"), None);
}

#[test]
fn a_stopped_journal_thread_leaves_a_closed_journal() {
    let storage = MemoryStorage::new();
    let (writer, _) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    let (queue, thread) = JournalQueue::spawn(writer, SyncPolicy::default(), 1 << 20);
    for sequence in 1..=100 {
        assert_eq!(queue.append(&payload(sequence)), Some(sequence));
    }
    thread.stop().unwrap();
    assert_eq!(read_all(&storage, Visible::Durable).0, 100);
    assert!(JournalWriter::open_storage(storage.shared(), options()).unwrap().1.closed);
}

/// Method: the sync that is for the note that the journal is closed fails, behind the one for the messages.
#[test]
fn the_last_messages_are_told_durable_although_closing_fails() {
    let storage = MemoryStorage::new();
    let (writer, _) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    let (queue, thread) = JournalQueue::spawn(writer, SyncPolicy::Interval(Duration::from_secs(3600)), 4096);
    for sequence in 1..=5 {
        assert_eq!(queue.append(&payload(sequence)), Some(sequence));
    }
    storage.fail(Operation::Sync, 2, Fault::Errno(EIO));
    assert!(matches!(thread.stop(), Err(JournalError::Io { operation: "sync", .. })));
    assert!(queue.wait_durable(5), "all was durable");
    assert_eq!(read_all(&storage, Visible::Durable).0, 5);
}
