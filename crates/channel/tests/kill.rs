//! Processes of a durable channel that are killed between publish and journal, or while they store checkpoints.
//!
//! Has its own `main`, because the processes to be killed are this executable started again: `TIDEBOOK_CHILD` names
//! the role. A producer writes each committed sequence to its standard output, a reader that of each stored checkpoint.
//! Short by default; `-- --ignored` (soak) runs 2,000 kills.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidebook_channel::{Channel, ChannelOptions, CheckpointStore, Cursor, Subject, staging_path};
use tidebook_journal::storage::Directory;
use tidebook_journal::{JournalOptions, JournalReader, ReaderOptions, SyncPolicy};
use tidebook_ring::Ring;
use tidebook_testkit::{Random, Slow, SlowDisk};

const CHILD: &str = "TIDEBOOK_CHILD";

fn main() {
    if let Ok(role) = std::env::var(CHILD) {
        let directory = PathBuf::from(std::env::args().nth(1).expect("the directory"));
        let sync_ms = std::env::args().nth(2).expect("the interval").parse().expect("milliseconds");
        match role.as_str() {
            "whole" => own_and_publish(&directory, sync_ms),
            "owner" => own(&directory, sync_ms),
            "producer" => publish(&directory),
            "checkpoints" => store_checkpoints(&directory, "one"),
            "other checkpoints" => store_checkpoints(&directory, "other"),
            "stuck" => publish_to_a_stuck_disk(&directory),
            other => panic!("no role {other}"),
        }
    }
    let soak = std::env::args().any(|argument| argument == "--ignored");
    kill_whole(if soak { 500 } else { 20 });
    kill_owner_under_a_living_producer(if soak { 500 } else { 10 });
    kill_who_stores_checkpoints(if soak { 1_000 } else { 40 });
    kill_with_much_staged(if soak { 200 } else { 10 });
    println!("kill: ok");
}

fn options(sync_ms: u64) -> ChannelOptions {
    let journal = JournalOptions { segment_size_bytes: 256 << 10, ..JournalOptions::new("feed.test") };
    let sync = SyncPolicy::Interval(Duration::from_millis(sync_ms));
    ChannelOptions { journal, sync, ..ChannelOptions::frames("feed.test", 128 << 10) }
}

fn paths(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("feed.test.ring"), directory.join("journal"))
}

fn open(directory: &Path, sync_ms: u64) -> Channel {
    let (ring, journal) = paths(directory);
    Channel::open(&ring, &journal, &options(sync_ms)).unwrap_or_else(|error| panic!("open: {error}")).0
}

fn payload(sequence: u64) -> Vec<u8> {
    let mut random = Random::new(sequence);
    let size = random.below(300) as usize;
    random.bytes(size)
}

fn publish_into(mut producer: tidebook_ring::Producer) -> ! {
    let mut out = std::io::stdout().lock();
    loop {
        let sequence = producer.published() + 1;
        assert_eq!(producer.write(&payload(sequence)).expect("write"), sequence);
        writeln!(out, "{sequence}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

fn own_and_publish(directory: &Path, sync_ms: u64) -> ! {
    let channel = open(directory, sync_ms);
    publish_into(channel.producer().expect("producer"))
}

/// The disk takes what it is given and answers no sync, so all but the first messages stay in the ring and in the staging.
fn publish_to_a_stuck_disk(directory: &Path) -> ! {
    let (ring, journal) = paths(directory);
    let disk = SlowDisk::over(Arc::new(Directory::new(journal)));
    let options = ChannelOptions { staging_size_bytes: 32 << 20, ..options(1) };
    let (channel, _) =
        Channel::open_storage(&ring, &disk.shared(), &options).unwrap_or_else(|error| panic!("open: {error}"));
    disk.hold(Slow::Sync);
    publish_into(channel.producer().expect("producer"))
}

fn own(directory: &Path, sync_ms: u64) -> ! {
    let _channel = open(directory, sync_ms);
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn publish(directory: &Path) -> ! {
    let ring = Ring::open(paths(directory).0).expect("the ring is there");
    publish_into(ring.producer().expect("producer"))
}

fn checkpoint_state(sequence: u64) -> Vec<u8> {
    let mut random = Random::new(sequence);
    let size = random.below(20_000) as usize;
    random.bytes(size)
}

/// Goes on after the newest checkpoint of this state.
fn store_checkpoints(directory: &Path, name: &str) -> ! {
    let store = CheckpointStore::open(directory).unwrap_or_else(|error| panic!("open: {error}"));
    let subject = Subject::state("feed.test", name);
    let mut sequence = store.newest(&subject).expect("read").map_or(0, |found| found.listed.cursor.sequence);
    let mut out = std::io::stdout().lock();
    loop {
        sequence += 1;
        store.put(&subject, Cursor::without_journal(1, sequence), None, &checkpoint_state(sequence)).expect("put");
        writeln!(out, "{sequence}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

fn start(role: &str, directory: &Path, sync_ms: u64) -> Child {
    Command::new(std::env::current_exe().expect("this executable"))
        .arg(directory)
        .arg(sync_ms.to_string())
        .env(CHILD, role)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// What a child claims on its standard output, read while it lives, so that its pipe never fills.
struct Claims {
    last: Arc<AtomicU64>,
    reader: std::thread::JoinHandle<()>,
}

impl Claims {
    fn of(child: &mut Child) -> Self {
        let out = child.stdout.take().expect("a pipe");
        let last = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&last);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // A kill may cut the last line; a shorter number is a weaker claim.
                seen.fetch_max(line.parse().unwrap_or(0), Ordering::Release);
            }
        });
        Self { last, reader }
    }

    /// Waits until the child has published, however slow the machine is.
    fn wait_for_work(&self) {
        self.wait_for(1);
    }

    /// Waits until it has published this one.
    fn wait_for(&self, sequence: u64) {
        while self.last.load(Ordering::Acquire) < sequence && !self.reader.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills the child and returns the last sequence it claimed.
    fn end(self, mut child: Child) -> u64 {
        child.kill().expect("kill");
        child.wait().expect("wait");
        self.reader.join().expect("the reader ends with the pipe");
        self.last.load(Ordering::Acquire)
    }
}

fn directory() -> tempfile::TempDir {
    let private = PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().expect("a directory")
}

/// Reads the journal on from `checked`: no hole, no repetition, the payloads that were written.
fn check_journal(directory: &Path, checked: u64, at: &str) -> u64 {
    let from = ReaderOptions::from_sequence(checked + 1);
    let mut reader = JournalReader::open(&paths(directory).1, from).unwrap_or_else(|error| panic!("{at}: {error}"));
    let mut last = checked;
    while let Some(batch) = reader.next_batch().unwrap_or_else(|error| panic!("{at}: {error}")) {
        for (sequence, found) in batch.records() {
            assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()), "{at}");
            last = sequence;
        }
    }
    last
}

/// One process publishes and journals. With a sync interval of a minute hardly anything is journaled before it dies.
fn kill_whole(cycles: u64) {
    let directory = directory();
    let mut random = Random::new(7);
    let (mut published, mut checked, mut replayed) = (0, 0, 0);
    for cycle in 0..cycles {
        let sync_ms = if random.chance(1, 2) { 60_000 } else { 1 };
        let mut child = start("whole", directory.path(), sync_ms);
        let claims = Claims::of(&mut child);
        // Every third dies while it starts.
        if cycle % 3 > 0 {
            claims.wait_for_work();
        }
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        published = published.max(claims.end(child));
        let at = format!("cycle {cycle}, sync {sync_ms} ms");
        let (ring, journal) = paths(directory.path());
        let (channel, report) =
            Channel::open(&ring, &journal, &options(1)).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(report.discarded, None, "{at}");
        replayed += report.replayed_from_ring;
        channel.close().expect("close");
        checked = check_journal(directory.path(), checked, &at);
        assert!(checked >= published, "{at}: {published} published, {checked} journaled");
    }
    assert!(replayed > 0, "no kill ever left a tail in the ring");
    println!(
        "kill: {cycles} kills of the whole channel, {checked} messages, {replayed} taken from the ring, none lost"
    );
}

/// One process publishes many times what the ring holds while its disk answers no sync, and is killed.
fn kill_with_much_staged(cycles: u64) {
    let directory = directory();
    let mut random = Random::new(9);
    let (mut published, mut checked, mut staged) = (0, 0, 0);
    for cycle in 0..cycles {
        let mut child = start("stuck", directory.path(), 1);
        let claims = Claims::of(&mut child);
        claims.wait_for(published + 500 + random.below(3000));
        published = published.max(claims.end(child));
        let (ring, journal) = paths(directory.path());
        staged += u64::from(staging_path(&ring).exists());
        let (channel, report) = Channel::open(&ring, &journal, &options(1)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.discarded, None, "cycle {cycle}");
        channel.close().expect("close");
        checked = check_journal(directory.path(), checked, &format!("cycle {cycle}, much staged"));
        assert!(checked >= published, "cycle {cycle}: {published} published, {checked} journaled");
    }
    assert!(staged > 0, "nothing was ever staged");
    println!("kill: {cycles} kills over a stuck disk, {staged} with a staging, {checked} messages, none lost");
}

/// The owner is killed and started again while another process goes on publishing.
fn kill_owner_under_a_living_producer(cycles: u64) {
    let directory = directory();
    let mut random = Random::new(8);
    drop(open(directory.path(), 1));
    let mut producer = start("producer", directory.path(), 0);
    let claims = Claims::of(&mut producer);
    claims.wait_for_work();
    for _ in 0..cycles {
        let mut owner = start("owner", directory.path(), 1 + random.below(5));
        std::thread::sleep(Duration::from_micros(10_000 + random.below(50_000)));
        owner.kill().expect("kill");
        owner.wait().expect("wait");
    }
    let published = claims.end(producer);
    open(directory.path(), 1).close().expect("close");
    let checked = check_journal(directory.path(), 0, "owner killed");
    assert!(checked >= published, "{published} published, {checked} journaled");
    println!("kill: {cycles} kills of the owner, {checked} messages of a living producer, none lost");
}

/// Of two processes that store states in turn one is killed, the other goes on; each state is that of its cursor.
fn kill_who_stores_checkpoints(cycles: u64) {
    let directory = directory();
    let mut random = Random::new(9);
    let mut other = start("other checkpoints", directory.path(), 0);
    let others = Claims::of(&mut other);
    let (mut stored, mut last) = (0, 0);
    for cycle in 0..cycles {
        let mut child = start("checkpoints", directory.path(), 0);
        let claims = Claims::of(&mut child);
        if cycle % 3 > 0 {
            claims.wait_for_work();
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        stored = stored.max(claims.end(child));
        let store = CheckpointStore::open(directory.path()).unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
        if let Some(found) = store.newest(&Subject::state("feed.test", "one")).expect("read") {
            last = found.listed.cursor.sequence;
            assert_eq!(found.state, checkpoint_state(last), "cycle {cycle}");
        }
        assert!(last >= stored, "cycle {cycle}: {stored} stored, {last} found");
    }
    let before = others.last.load(Ordering::Acquire);
    while others.last.load(Ordering::Acquire) == before {
        assert!(!others.reader.is_finished(), "who was not killed stores on");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stored_by_other = others.end(other);
    let store = CheckpointStore::open(directory.path()).expect("open");
    let found = store.newest(&Subject::state("feed.test", "other")).expect("read").expect("there");
    assert!(found.listed.cursor.sequence >= stored_by_other);
    println!(
        "kill: {cycles} kills of who stores checkpoints, {last} of its and {stored_by_other} of another's, none lost"
    );
}
