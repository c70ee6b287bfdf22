//! A process that is killed while it keeps a state, journals its commands and takes snapshots by a follower.
//!
//! Has its own `main`, because the process to be killed is this executable started again: with `TIDEBOOK_CHILD` set it
//! recovers, goes on with the commands of the flow, and writes each acknowledged sequence with its state's hash to its
//! standard output, until it is killed. Some deaths are followed by damage to the newest snapshot.
//! Short by default; `-- --ignored` (soak) runs 1,000 kills per sync policy.

#[path = "common/killing.rs"]
mod killing;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use killing::{CHILD, Killed, start};
use tidebook_journal::snapshot::{
    Follower, FollowerEvent, FollowerOptions, Recovered, RecoveryOptions, SnapshotStore, proven_durable, recover,
    usable_snapshots,
};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{JournalOptions, JournalReader, JournalWriter, ReaderOptions, State};
use tidebook_testkit::{OrderFlow, OrderStore, Random};

const FLOW: OrderFlow = OrderFlow::new(77);
/// Up to here a short life is long enough to begin without a snapshot and to take one; beyond, one stays undamaged.
const SHORT_HISTORY: u64 = 5_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if let Ok(directory) = std::env::var(CHILD) {
        live_until_killed(Path::new(&directory), &arguments.next().unwrap_or_default());
    }
    let soak = arguments.any(|argument| argument == "--ignored");
    for mode in ["each", "group"] {
        kill_loop(mode, if soak { 1000 } else { 15 });
    }
    println!("kill_state: ok");
}

fn journal_of(directory: &Path) -> Arc<dyn Storage> {
    Arc::new(Directory::new(directory.join("wal")))
}

fn snapshots_of(directory: &Path) -> SnapshotStore {
    SnapshotStore::open(&directory.join("snapshots"), "orders").expect("a store")
}

fn recovered(directory: &Path) -> Recovered<OrderStore> {
    let on = |_| ControlFlow::Continue(());
    let options = RecoveryOptions::default();
    recover(OrderStore::new, &journal_of(directory), &snapshots_of(directory), options, on)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// How many snapshots a start could begin behind, at most two.
fn usable_count(directory: &Path) -> usize {
    let (journal, snapshots) = (journal_of(directory), snapshots_of(directory));
    let found = usable_snapshots(OrderStore::new, &journal, &snapshots, u64::MAX, 2);
    found.unwrap_or_else(|error| panic!("{error}")).0.len()
}

fn newest(directory: &Path) -> Option<u64> {
    snapshots_of(directory).list().expect("the snapshots").last().copied()
}

fn live_until_killed(directory: &Path, mode: &str) -> ! {
    let (journal, snapshots) = (journal_of(directory), snapshots_of(directory));
    let evidence = proven_durable(&journal, &snapshots).expect("evidence");
    let options = JournalOptions {
        segment_size_bytes: 64 << 10,
        batch_size_bytes: 4096,
        evidence,
        ..JournalOptions::new("orders")
    };
    let (mut writer, _) = JournalWriter::open_storage(Arc::clone(&journal), options).expect("the journal opens");
    let mut state = recovered(directory).state;
    assert_eq!(state.sequence() + 1, writer.next_sequence());
    let options = FollowerOptions { interval: Duration::from_millis(2), keep: 3, ..FollowerOptions::default() };
    let tell = |event| {
        if let FollowerEvent::SnapshotFailed(error) = event {
            panic!("{error}");
        }
    };
    let _follower = Follower::start(OrderStore::new, journal, snapshots, options, tell).expect("a follower");
    let mut out = std::io::stdout().lock();
    loop {
        let sequence = writer.next_sequence();
        let payload = FLOW.payload(sequence);
        writer.append(&payload).expect("append");
        state.apply(sequence, &payload).expect("a command");
        if mode == "each" || sequence.is_multiple_of(37) {
            let durable = writer.sync().expect("sync");
            writeln!(out, "{durable} {:016x}", state.state_hash()).expect("the parent reads");
            out.flush().expect("the parent reads");
        }
    }
}

fn kill_loop(mode: &str, cycles: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Random::new(42);
    // The unbroken run.
    let mut truth = OrderStore::new();
    let (mut acknowledged, mut from_snapshot, mut refused, mut damaged) = (0, 0, 0, 0);
    let mut needs_snapshot = false;
    for cycle in 0..cycles {
        let at = format!("{mode} cycle {cycle}");
        let mut child = start(directory.path(), mode);
        if cycle % 8 == 7 || needs_snapshot {
            // The longer the history, the less often a short life takes one; and none may be left.
            let before = newest(directory.path());
            child = child.until(|| newest(directory.path()) > before);
        }
        let Killed { lines, said } = child.kill(&mut random, cycle % 3 != 0);
        assert!(!said.contains("panicked"), "{at}: {said}");
        let mut hashes = Vec::new();
        for line in &lines {
            // A kill may cut the last line.
            let Some((sequence, hash)) = line.split_once(' ').filter(|(_, hash)| hash.len() == 16) else { continue };
            let sequence: u64 = sequence.parse().expect("a sequence");
            acknowledged = acknowledged.max(sequence);
            hashes.push((sequence, u64::from_str_radix(hash, 16).expect("a hash")));
        }
        if acknowledged == 0 {
            continue;
        }
        // Each message once, in order, as the unbroken run has it; and the hashes that the process told meanwhile.
        let from = ReaderOptions::from_sequence(truth.sequence() + 1);
        let mut reader = JournalReader::open_storage(journal_of(directory.path()), from).expect("the journal is there");
        let mut hashes = hashes.into_iter().peekable();
        while let Some(batch) = reader.next_batch().unwrap_or_else(|error| panic!("{at}: {error}")) {
            for (sequence, found) in batch.records() {
                assert_eq!((sequence, found), (truth.sequence() + 1, FLOW.payload(sequence).as_slice()), "{at}");
                truth.apply(sequence, found).expect("a command");
                if let Some((_, hash)) = hashes.next_if(|told| told.0 == sequence) {
                    assert_eq!(hash, truth.state_hash(), "{at}: the live state at {sequence}");
                }
            }
        }
        assert!(truth.sequence() >= acknowledged, "{at}: {acknowledged} acknowledged, {} there", truth.sequence());
        let found = recovered(directory.path());
        assert_eq!(found.facts.last_sequence, truth.sequence(), "{at}");
        assert_eq!(found.facts.state_hash, truth.state_hash(), "{at}");
        from_snapshot += u64::from(found.facts.used.is_some());
        refused += found.facts.refused.len();
        needs_snapshot = false;
        if random.chance(1, 4)
            && let Some(facts) = found.facts.used
            && (truth.sequence() < SHORT_HISTORY || usable_count(directory.path()) > 1)
        {
            let mut bytes = std::fs::read(&facts.path).expect("the snapshot");
            let place = random.index(bytes.len());
            bytes[place] ^= 1 << random.below(8);
            std::fs::write(&facts.path, bytes).expect("write");
            damaged += 1;
            needs_snapshot = usable_count(directory.path()) == 0;
        }
    }
    assert!(acknowledged >= cycles / 2, "the child never got to work");
    assert!(from_snapshot > cycles / 4, "only {from_snapshot} recoveries used a snapshot");
    println!(
        "kill_state: {cycles} kills ({mode}), {acknowledged} messages acknowledged, none lost or twice; {from_snapshot} \
         recoveries from a snapshot, {damaged} snapshots damaged, {refused} refused; every state as in the unbroken run"
    );
}
