//! A follower beside a live writer: its snapshots are those of an unbroken run, and what goes wrong is told.

#[path = "common/orders.rs"]
mod orders;

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use orders::{append_upto, options, store};
use tidebook_journal::snapshot::{
    Follower, FollowerEvent, FollowerOptions, RecoveryOptions, SnapshotError, SnapshotFacts, SnapshotStore, recover,
    usable_snapshots,
};
use tidebook_journal::{JournalError, JournalWriter, State, StateError};
use tidebook_testkit::storage::{EIO, ENOSPC};
use tidebook_testkit::{Fault, MemoryStorage, Operation, OrderFlow, OrderStore};

const FLOW: OrderFlow = OrderFlow::new(21);
/// Longer than any test: snapshots are taken when they are asked for.
const NEVER: Duration = Duration::from_secs(3600);

fn start(
    journal: &MemoryStorage,
    snapshots: &SnapshotStore,
    options: FollowerOptions,
) -> (Follower, Receiver<FollowerEvent>) {
    let (told, events) = channel();
    let tell = move |event| drop(told.send(event));
    let follower = Follower::start(OrderStore::new, journal.shared(), snapshots.clone(), options, tell).unwrap();
    (follower, events)
}

fn by_hand() -> FollowerOptions {
    FollowerOptions { interval: NEVER, keep: 2, ..FollowerOptions::default() }
}

#[test]
fn each_snapshot_beside_a_live_writer_is_the_state_of_an_unbroken_run() {
    let (journal, snapshots) = (MemoryStorage::new(), store(&MemoryStorage::new()));
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    let (follower, events) = start(&journal, &snapshots, by_hand());
    assert_eq!(follower.snapshot().unwrap(), None, "before the first message there is nothing to take");
    for last in [50, 120, 121, 300] {
        append_upto(&mut writer, FLOW, last, 7);
        let facts = follower.snapshot().unwrap().unwrap();
        assert_eq!((facts.sequence(), facts.state_hash), (last, FLOW.state_at(last).state_hash()));
    }
    // What is not durable is not in it.
    writer.append(&FLOW.payload(301)).unwrap();
    writer.flush().unwrap();
    assert_eq!(follower.snapshot().unwrap().unwrap().sequence(), 300);
    assert_eq!(snapshots.list().unwrap(), [121, 300], "two are kept");
    let status = follower.status();
    assert_eq!((status.applied, status.lag_count(), status.failure), (300, 0, None));
    follower.stop().unwrap();
    drop(writer);
    let told: Vec<FollowerEvent> = events.iter().collect();
    assert!(matches!(told[0], FollowerEvent::Recovered(ref facts) if facts.last_sequence == 0), "{told:?}");
    let removed: Vec<u64> = told
        .iter()
        .filter_map(|event| match event {
            FollowerEvent::Snapshot { rotation, .. } => Some(rotation.removed.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(removed, [50, 120]);
}

#[test]
fn a_follower_that_starts_again_goes_on_from_its_newest_snapshot() {
    let (journal, snapshots) = (MemoryStorage::new(), store(&MemoryStorage::new()));
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    append_upto(&mut writer, FLOW, 200, 7);
    let (follower, _events) = start(&journal, &snapshots, by_hand());
    follower.snapshot().unwrap();
    follower.stop().unwrap();
    append_upto(&mut writer, FLOW, 260, 7);
    let (follower, events) = start(&journal, &snapshots, by_hand());
    let FollowerEvent::Recovered(facts) = events.recv().unwrap() else { panic!("first it says what it found") };
    assert_eq!((facts.used.unwrap().sequence(), facts.tail_count), (200, 60));
    assert_eq!(follower.snapshot().unwrap().unwrap().state_hash, FLOW.state_at(260).state_hash());
}

#[test]
fn snapshots_come_by_themselves_while_messages_do_and_recovery_uses_them() {
    let (journal, snapshots) = (MemoryStorage::new(), store(&MemoryStorage::new()));
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    let (_follower, events) =
        start(&journal, &snapshots, FollowerOptions { interval: Duration::from_millis(1), ..by_hand() });
    let mut taken = Vec::new();
    while taken.len() < 5 {
        append_upto(&mut writer, FLOW, taken.len() as u64 * 40 + 40, 7);
        loop {
            match events.recv().unwrap() {
                FollowerEvent::Snapshot { facts, .. } => break taken.push(facts),
                FollowerEvent::Recovered(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    for facts in &taken {
        assert_eq!(facts.state_hash, FLOW.state_at(facts.sequence()).state_hash());
    }
    assert!(taken.windows(2).all(|pair| pair[0].sequence() < pair[1].sequence()), "none without a new message");
    let on = |_| ControlFlow::Continue(());
    let found = recover(OrderStore::new, &journal.shared(), &snapshots, RecoveryOptions::default(), on).unwrap();
    assert!(found.facts.used.is_some_and(|used| used.sequence() >= taken[4].sequence()));
    assert_eq!(found.state.state_hash(), FLOW.state_at(200).state_hash());
}

#[test]
fn a_full_disk_costs_the_snapshot_and_not_the_follower() {
    let (journal, disk) = (MemoryStorage::new(), MemoryStorage::new());
    let snapshots = store(&disk);
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    append_upto(&mut writer, FLOW, 100, 7);
    let (follower, events) = start(&journal, &snapshots, by_hand());
    follower.snapshot().unwrap();
    append_upto(&mut writer, FLOW, 150, 7);
    disk.fail(Operation::Write, 1, Fault::Errno(ENOSPC));
    let failed = follower.snapshot().unwrap_err();
    assert!(failed.to_string().contains("no space left"), "{failed}");
    assert!(follower.status().trouble.is_some_and(|cause| cause.contains("no space left")));
    assert_eq!(follower.snapshot().unwrap().unwrap().sequence(), 150);
    assert_eq!(follower.status().failure, None);
    follower.stop().unwrap();
    let failures =
        events.iter().filter(|event| matches!(event, FollowerEvent::SnapshotFailed(SnapshotError::Full { .. })));
    assert_eq!(failures.count(), 1);
}

/// A state that waits before each message until the test lets it go on.
struct Gated {
    orders: OrderStore,
    gate: Receiver<()>,
}

impl State for Gated {
    fn kind(&self) -> &str {
        "orders"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        // Open for good once the test has dropped its end.
        let _ = self.gate.recv();
        self.orders.apply(sequence, payload)
    }

    fn state_hash(&self) -> u64 {
        self.orders.state_hash()
    }

    fn save(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.orders.save(out)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.orders.load(bytes)
    }
}

#[test]
fn a_follower_that_falls_behind_its_bound_says_so_and_says_when_it_has_caught_up() {
    let (journal, snapshots) = (MemoryStorage::new(), store(&MemoryStorage::new()));
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    let (open, gate) = channel();
    let mut gates = vec![gate];
    let make = move || Gated { orders: OrderStore::new(), gate: gates.pop().unwrap_or_else(|| channel().1) };
    let (told, events) = channel();
    let tell = move |event| drop(told.send(event));
    let options = FollowerOptions { lag_count_max: 40, ..by_hand() };
    let follower = Follower::start(make, journal.shared(), snapshots, options, tell).unwrap();
    assert!(matches!(events.recv().unwrap(), FollowerEvent::Recovered(_)));
    // It stands at the first message while the writer goes on; then it goes on itself, some hundred batches at once.
    append_upto(&mut writer, FLOW, 600, 1);
    for _ in 0..600 {
        open.send(()).unwrap();
    }
    let FollowerEvent::Lagging { lag_count } = events.recv().unwrap() else { panic!("it is behind") };
    assert!(lag_count > 40, "{lag_count}");
    assert!(matches!(events.recv().unwrap(), FollowerEvent::CaughtUp));
    drop(open);
    assert!(!follower.status().lagging);
}

#[test]
fn a_state_that_breaks_its_own_hash_is_told_and_no_snapshot_is_taken_of_it() {
    #[derive(Default)]
    struct Drifting(OrderStore);
    impl State for Drifting {
        fn kind(&self) -> &str {
            "orders"
        }
        fn version(&self) -> u32 {
            1
        }
        fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
            self.0.apply(sequence, payload)
        }
        fn state_hash(&self) -> u64 {
            self.0.state_hash() ^ u64::from(self.0.sequence() > 20)
        }
        fn recomputed_state_hash(&self) -> Option<u64> {
            Some(self.0.state_hash())
        }
        fn save(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
            self.0.save(out)
        }
        fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
            self.0.load(bytes)
        }
    }
    let (journal, snapshots) = (MemoryStorage::new(), store(&MemoryStorage::new()));
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    append_upto(&mut writer, FLOW, 20, 7);
    let follower = Follower::start(Drifting::default, journal.shared(), snapshots.clone(), by_hand(), |_| {}).unwrap();
    follower.snapshot().unwrap();
    append_upto(&mut writer, FLOW, 30, 7);
    let failed = follower.snapshot().unwrap_err();
    assert!(failed.to_string().contains("computed anew"), "{failed}");
    // Nor by who has the state and no follower.
    let (state, place) = orders::state_at(&journal, 30);
    let written = snapshots.write(&Drifting(state), &place, 1);
    assert!(matches!(written, Err(SnapshotError::Diverged { sequence: 30, .. })), "{written:?}");
    assert_eq!(snapshots.list().unwrap(), [20]);
}

/// A state whose `save` leaves something out once it has seen enough: it verifies, and loads as another.
#[derive(Default)]
struct Forgetful(OrderStore);

impl State for Forgetful {
    fn kind(&self) -> &str {
        "orders"
    }
    fn version(&self) -> u32 {
        1
    }
    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        self.0.apply(sequence, payload)
    }
    fn state_hash(&self) -> u64 {
        self.0.state_hash()
    }
    fn save(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        if self.0.sequence() > 20 { OrderStore::new().save(out) } else { self.0.save(out) }
    }
    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.0.load(bytes)
    }
}

/// Were such ones to have a name, their number would grow without bound and the history would be removed on their strength.
#[test]
fn a_snapshot_that_fails_its_proof_leaves_no_file_and_those_that_load_stay() {
    let (journal, disk) = (MemoryStorage::new(), MemoryStorage::new());
    let snapshots = store(&disk);
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    append_upto(&mut writer, FLOW, 10, 5);
    let follower = Follower::start(Forgetful::default, journal.shared(), snapshots.clone(), by_hand(), |_| {}).unwrap();
    follower.snapshot().unwrap();
    append_upto(&mut writer, FLOW, 20, 5);
    follower.snapshot().unwrap();
    for upto in [30, 40, 50, 60] {
        append_upto(&mut writer, FLOW, upto, 5);
        let failed = follower.snapshot().unwrap_err();
        assert!(failed.to_string().contains("hash"), "{failed}");
        assert_eq!(snapshots.list().unwrap(), [10, 20]);
        assert!(!disk.shared().names().unwrap().iter().any(|name| name.ends_with(".new")));
    }
    follower.stop().unwrap();
    let (usable, refused) = usable_snapshots(Forgetful::default, &journal.shared(), &snapshots, u64::MAX, 2).unwrap();
    assert_eq!((usable.iter().map(SnapshotFacts::sequence).collect::<Vec<_>>(), refused.len()), (vec![20, 10], 0));
}

/// What an earlier release left verifies and cannot be loaded: it must not push out what can.
#[test]
fn rotation_of_a_follower_counts_only_what_loads() {
    let (journal, snapshots) = (MemoryStorage::new(), store(&MemoryStorage::new()));
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    append_upto(&mut writer, FLOW, 10, 5);
    let follower = Follower::start(Forgetful::default, journal.shared(), snapshots.clone(), by_hand(), |_| {}).unwrap();
    follower.snapshot().unwrap();
    // A follower that does not prove writes what cannot be loaded.
    let careless = FollowerOptions { prove_by_loading: false, keep: 12, ..by_hand() };
    let other = Follower::start(Forgetful::default, journal.shared(), snapshots.clone(), careless, |_| {}).unwrap();
    for upto in [30, 40, 50] {
        append_upto(&mut writer, FLOW, upto, 5);
        other.snapshot().unwrap();
    }
    other.stop().unwrap();
    follower.stop().unwrap();
    assert_eq!(snapshots.list().unwrap(), [10, 30, 40, 50]);
    append_upto(&mut writer, FLOW, 60, 5);
    let (follower, _events) = start(&journal, &snapshots, by_hand());
    follower.snapshot().unwrap();
    follower.stop().unwrap();
    assert_eq!(
        snapshots.list().unwrap(),
        [10, 30, 40, 50, 60],
        "two that load, and what may be looked at between them"
    );
}

#[test]
fn a_follower_whose_journal_is_damaged_or_whose_state_panics_ends_and_says_why() {
    let (journal, snapshots) = (MemoryStorage::new(), store(&MemoryStorage::new()));
    // Whether it is asked before it ends, while it does or behind that.
    for _ in 0..200 {
        let (follower, _events) = start(&journal, &snapshots, by_hand());
        let ended = follower.snapshot().unwrap_err();
        assert!(matches!(&ended, SnapshotError::Ended { cause } if cause.contains("no journal here")), "told: {ended}");
        assert!(matches!(follower.stop(), Err(SnapshotError::Journal(JournalError::Absent { .. }))));
    }
    drop(JournalWriter::open_storage(journal.shared(), options()).unwrap());
    let make = || -> OrderStore { panic!("out of order") };
    let follower = Follower::start(make, journal.shared(), snapshots.clone(), by_hand(), |_| {}).unwrap();
    assert!(matches!(follower.snapshot(), Err(SnapshotError::Ended { cause }) if cause.contains("out of order")));
    assert!(matches!(follower.stop(), Err(SnapshotError::Panicked { said }) if said == "out of order"));
    let refused = FollowerOptions { keep: 1, ..by_hand() };
    let started = Follower::start(OrderStore::new, journal.shared(), snapshots, refused, |_| {});
    assert!(matches!(started, Err(SnapshotError::Option { option: "keep_snapshots", .. })));
}

#[test]
fn a_snapshot_stands_and_is_given_where_older_ones_cannot_be_removed() {
    let (journal, disk) = (MemoryStorage::new(), MemoryStorage::new());
    let snapshots = store(&disk);
    let (mut writer, _) = JournalWriter::open_storage(journal.shared(), options()).unwrap();
    let (follower, events) = start(&journal, &snapshots, by_hand());
    for upto in [10, 20, 30, 40] {
        append_upto(&mut writer, FLOW, upto, 5);
        if upto == 30 {
            disk.fail(Operation::Remove, 1, Fault::Errno(EIO));
        }
        assert_eq!(follower.snapshot().unwrap().map(|facts| facts.sequence()), Some(upto));
        let status = follower.status();
        assert_eq!((status.failure, status.trouble.is_some()), (None, upto == 30));
        assert_eq!(status.snapshot.map(|facts| facts.sequence()), Some(upto));
    }
    assert_eq!(follower.status().snapshot_count, 4);
    assert_eq!(snapshots.list().unwrap(), [30, 40]);
    follower.stop().unwrap();
    let told: Vec<FollowerEvent> = events.iter().collect();
    let failed = |event: &&FollowerEvent| matches!(event, FollowerEvent::RotationFailed(_));
    assert_eq!(told.iter().filter(failed).count(), 1, "{told:?}");
    assert!(!told.iter().any(|event| matches!(event, FollowerEvent::SnapshotFailed(_))), "{told:?}");
}
