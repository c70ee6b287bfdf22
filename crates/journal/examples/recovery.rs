//! How long recovery takes, and what a follower's snapshots cost a live writer.
//!
//! ```sh
//! cargo run --release -p tidebook-journal --example recovery -- replay DIRECTORY 10000000
//! cargo run --release -p tidebook-journal --example recovery -- beside DIRECTORY 1000000 20
//! ```
//!
//! `replay DIRECTORY MESSAGES` writes a journal of so many commands of 64 bytes (if it is not there yet), then rebuilds
//! the orders from it: from the first message, from a snapshot in its middle, and from one at its end.
//! `beside DIRECTORY ORDERS SECONDS` journals so many resting orders, then has a writer append and sync at a fixed pace
//! for so many seconds alone, with a follower that takes one snapshot after another, and beside a bare copy of as many bytes,
//! in turns.
//! Each prints one JSON object a line.

#![allow(clippy::float_arithmetic, reason = "it measures")]

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidebook_journal::snapshot::{
    Follower, FollowerEvent, FollowerOptions, Recovered, RecoveryOptions, SnapshotStore, recover,
};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{JournalOptions, JournalWriter, State};
use tidebook_testkit::orders::{Command, OrderFlow, OrderStore};

const MESSAGE_SIZE_BYTES: usize = 64;
/// Few of the orders rest for good: about a tenth of the messages.
const FLOW: OrderFlow = OrderFlow::new(2026).with_window(100_000);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["replay", directory, count] => replay(Path::new(directory), number(count)),
        ["beside", directory, orders, seconds] => beside(Path::new(directory), number(orders), number(seconds)),
        _ => {
            eprintln!("recovery replay DIRECTORY MESSAGES | recovery beside DIRECTORY ORDERS SECONDS");
            std::process::exit(2);
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        eprintln!("{text}: a number is needed");
        std::process::exit(2);
    })
}

fn padded(command: Command) -> [u8; MESSAGE_SIZE_BYTES] {
    let mut message = [0; MESSAGE_SIZE_BYTES];
    let bytes = command.encode();
    message[..bytes.len()].copy_from_slice(&bytes);
    message
}

fn open(journal: &Arc<dyn Storage>) -> JournalWriter {
    JournalWriter::open_storage(Arc::clone(journal), JournalOptions::new("orders")).expect("the journal opens").0
}

fn recovered(
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    snapshot_sequence_max: u64,
) -> Recovered<OrderStore> {
    let on = |_| ControlFlow::Continue(());
    recover(OrderStore::new, journal, snapshots, RecoveryOptions { snapshot_sequence_max }, on).expect("a recovery")
}

fn replay(directory: &Path, count: u64) {
    let journal: Arc<dyn Storage> = Arc::new(Directory::new(directory.join("wal")));
    let snapshots = SnapshotStore::open(&directory.join("snapshots"), "orders").expect("a store");
    if !directory.join("wal").is_dir() {
        let mut writer = open(&journal);
        for sequence in 1..=count {
            writer.append(&padded(FLOW.command(sequence))).expect("append");
            // A group commit of 1,000 messages.
            if sequence.is_multiple_of(1_000) {
                writer.flush().expect("flush");
            }
        }
        writer.close().expect("close");
    }
    let mut hash = None;
    for start in ["history", "middle", "end"] {
        let until = if start == "history" { 0 } else { u64::MAX };
        let began = Instant::now();
        let found = recovered(&journal, &snapshots, until);
        let took = began.elapsed();
        let facts = &found.facts;
        assert_eq!(facts.state_hash, *hash.get_or_insert(facts.state_hash), "the same state from wherever it began");
        println!(
            r#"{{"recovery": "{start}", "messages": {count}, "tail": {}, "orders": {}, "loading_ms": {:.1}, "replaying_ms": {:.1}, "took_ms": {:.1}, "state_hash": "{:016x}"}}"#,
            facts.tail_count,
            found.state.order_count(),
            milliseconds(facts.loading),
            milliseconds(facts.replaying),
            milliseconds(took),
            facts.state_hash
        );
        match start {
            "history" => snapshot_at(&journal, &snapshots, facts.last_sequence / 2),
            "middle" => {
                let place = found.place.as_ref().expect("messages");
                let began = Instant::now();
                let facts = snapshots.write(&found.state, place, 0).expect("a snapshot");
                println!(
                    r#"{{"snapshot": "written and verified", "orders": {}, "size_bytes": {}, "took_ms": {:.1}}}"#,
                    found.state.order_count(),
                    facts.size_bytes,
                    milliseconds(began.elapsed())
                );
            }
            _ => {}
        }
    }
}

/// Takes a snapshot at the end of the batch that reaches `upto`.
fn snapshot_at(journal: &Arc<dyn Storage>, snapshots: &SnapshotStore, upto: u64) {
    use tidebook_journal::snapshot::Place;
    use tidebook_journal::{JournalReader, ReaderOptions};
    let mut reader = JournalReader::open_storage(Arc::clone(journal), ReaderOptions::default()).expect("a journal");
    let (channel, journal_id) = (reader.channel().to_owned(), reader.journal_id());
    let mut state = OrderStore::new();
    while let Some(batch) = reader.next_batch().expect("a whole journal") {
        for (sequence, payload) in batch.records() {
            state.apply(sequence, payload).expect("a command");
        }
        if batch.last_sequence() >= upto {
            let (epoch, sequence) = (batch.epoch(), batch.last_sequence());
            let (batch_number, chain) = (batch.batch_number(), batch.chain());
            let place = Place { channel, journal_id, epoch, sequence, batch_number, chain };
            snapshots.write(&state, &place, 0).expect("a snapshot");
            return;
        }
    }
}

/// Messages of one group commit of the live writer, and the time between two.
const GROUP: u64 = 20;
const PACE: Duration = Duration::from_millis(2);
/// What goes on beside the live writer.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    Follower,
    /// The bytes of a snapshot, written and synced by somebody who does nothing else: what the disk itself costs.
    Copy,
}

const TURNS: [Beside; 6] =
    [Beside::Nothing, Beside::Follower, Beside::Copy, Beside::Nothing, Beside::Follower, Beside::Copy];
/// Between two syncs of a copy, as a snapshot has it.
const COPY_SYNC_SIZE_BYTES: usize = 8 << 20;

/// Writes so many bytes, one file after the other, until told to stop; how many.
fn copy(directory: PathBuf, size_bytes: u64, stopping: Arc<AtomicBool>) -> u64 {
    let piece = vec![1; COPY_SYNC_SIZE_BYTES];
    let mut count = 0;
    while !stopping.load(Ordering::Relaxed) {
        let path = directory.join("copy");
        let mut file = std::fs::File::create(&path).expect("a file");
        let mut left = size_bytes as usize;
        while left > 0 {
            let now = left.min(piece.len());
            file.write_all(&piece[..now]).expect("write");
            file.sync_data().expect("sync");
            left -= now;
        }
        std::fs::remove_file(&path).expect("remove");
        count += 1;
    }
    count
}

fn beside(directory: &Path, orders: u64, seconds: u64) {
    let path: PathBuf = directory.join("wal");
    assert!(!path.is_dir(), "{}: an empty directory is needed", directory.display());
    let journal: Arc<dyn Storage> = Arc::new(Directory::new(path));
    let snapshots = SnapshotStore::open(&directory.join("snapshots"), "orders").expect("a store");
    let mut writer = open(&journal);
    for order in 1..=orders {
        let add =
            Command::Add { order, account: (order % 1_000) as u32, buys: order % 2 == 0, price: 100, quantity: 10 };
        writer.append(&padded(add)).expect("append");
        if order.is_multiple_of(1_000) {
            writer.flush().expect("flush");
        }
    }
    writer.sync().expect("sync");
    let turn = Duration::from_secs(seconds) / TURNS.len() as u32;
    let mut copied_size_bytes = 0;
    for what in TURNS {
        let (taken, took_us, size_bytes) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let follower = (what == Beside::Follower).then(|| {
            let (taken, took_us, size_bytes) = (Arc::clone(&taken), Arc::clone(&took_us), Arc::clone(&size_bytes));
            let options = FollowerOptions { interval: Duration::ZERO, keep: 2, ..FollowerOptions::default() };
            let tell = move |event| match event {
                FollowerEvent::Snapshot { facts, took, .. } => {
                    taken.fetch_add(1, Ordering::Relaxed);
                    took_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
                    size_bytes.store(facts.size_bytes, Ordering::Relaxed);
                }
                FollowerEvent::SnapshotFailed(error) | FollowerEvent::RotationFailed(error) => panic!("{error}"),
                _ => {}
            };
            let follower = Follower::start(OrderStore::new, Arc::clone(&journal), snapshots.clone(), options, tell)
                .expect("a follower");
            // The first covers what was there before the turn.
            follower.snapshot().expect("a snapshot");
            follower
        });
        let stopping = Arc::new(AtomicBool::new(false));
        let copying = (what == Beside::Copy).then(|| {
            let (directory, stopping) = (directory.to_owned(), Arc::clone(&stopping));
            std::thread::spawn(move || copy(directory, copied_size_bytes, stopping))
        });
        let mut waits = live(&mut writer, turn);
        if let Some(follower) = follower {
            follower.stop().expect("a follower without failure");
            copied_size_bytes = size_bytes.load(Ordering::Relaxed);
        }
        stopping.store(true, Ordering::Relaxed);
        let copies = copying.map_or(0, |copying| copying.join().expect("copies"));
        let name = match what {
            Beside::Nothing => "nothing",
            Beside::Follower => "follower",
            Beside::Copy => "copy",
        };
        waits.sort_unstable();
        let quantile = |of: f64| waits[((waits.len() - 1) as f64 * of) as usize].as_micros();
        let count = taken.load(Ordering::Relaxed) + copies;
        println!(
            r#"{{"beside": "{name}", "syncs": {}, "p50_us": {}, "p99_us": {}, "p999_us": {}, "max_us": {}, "files": {count}, "snapshot_ms": {:.1}, "snapshot_size_bytes": {}}}"#,
            waits.len(),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            quantile(1.0),
            took_us.load(Ordering::Relaxed) as f64 / 1e3 / count.max(1) as f64,
            size_bytes.load(Ordering::Relaxed)
        );
    }
}

/// Appends a group and syncs it each time it is due; how long each took from when it was due.
fn live(writer: &mut JournalWriter, turn: Duration) -> Vec<Duration> {
    let mut waits = Vec::new();
    let began = Instant::now();
    let mut due = began;
    while began.elapsed() < turn {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for _ in 0..GROUP {
            let sequence = writer.next_sequence();
            writer.append(&padded(Command::Execute { order: sequence / 2, quantity: 1 })).expect("append");
        }
        writer.sync().expect("sync");
        waits.push(due.elapsed());
        due += PACE;
    }
    waits
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
