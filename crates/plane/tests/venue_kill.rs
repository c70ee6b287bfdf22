//! A venue that is killed at any moment, under clients that go on writing, and what its channels hold in the end.
//!
//! Has its own `main`, because the engine to be killed is this executable started again: `TIDEBOOK_CHILD` names the role. The parent is
//! every client: it writes to `orders.in` whether an engine lives or not, and after each kill reads what `orders` and `executions` have
//! told. Some runs take snapshots in between, some lose all rings as a machine does that is switched off, and the threads of the engine
//! are others from start to start. Short by default; `-- --ignored` (soak) runs 3,000 kills.

#[path = "../../risk/tests/common/flow.rs"]
#[allow(dead_code, reason = "risk's tests use all of it")]
mod flow;
#[path = "common/venue.rs"]
mod venue;

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use flow::Flow;
use tidebook_journal::snapshot::{Follower, FollowerOptions, SnapshotStore};
use tidebook_journal::storage::Directory;
use tidebook_plane::{Confinement, VenueEngine, VenueLayout, new_venue, venue_snapshots_path};
use tidebook_ring::{Ring, RingView, Walked};
use tidebook_testkit::Random;
use tidebook_types::{Command, Execution, Record};
use venue::{FUSED, Layout, Place, SPLIT, assert_published, journaled, options_in, sizes, wait_for};

const CHILD: &str = "TIDEBOOK_CHILD";
const LAYOUTS: [(&str, Layout); 5] = [
    ("fused", FUSED),
    ("together", (VenueLayout::Together, 1)),
    ("split", SPLIT),
    ("2 shards", (VenueLayout::Split, 2)),
    ("3 shards", (VenueLayout::Split, 3)),
];

fn main() {
    if std::env::var_os(CHILD).is_some() {
        let words: Vec<_> = std::env::args().skip(1).collect();
        engine(Path::new(&words[0]), &words[1]);
    }
    let soak = std::env::args().any(|argument| argument == "--ignored");
    let only = std::env::var("TIDEBOOK_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in only.map_or(1..=if soak { 6 } else { 2 }, |seed| seed..=seed) {
        kill(seed, if soak { 500 } else { 20 }, seed % 2 == 0);
    }
    println!("venue kill: ok");
}

fn engine(directory: &Path, layout: &str) -> ! {
    let (_, layout) = LAYOUTS.into_iter().find(|(name, _)| *name == layout).expect("a layout");
    let mut options = options_in(directory, layout);
    options.confinement = Confinement::On;
    options.recheck = true;
    let engine = VenueEngine::start(options).unwrap_or_else(|error| panic!("start: {error}"));
    let made_anew = &engine.beginning().made_anew;
    assert!(made_anew.is_empty(), "{made_anew:?}");
    let parent = std::os::unix::process::parent_id();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        if std::os::unix::process::parent_id() != parent {
            std::process::exit(0);
        }
        assert_eq!(engine.status().failure, None);
    }
}

fn spawn(directory: &Path, layout: &str) -> Child {
    std::process::Command::new(std::env::current_exe().expect("this executable"))
        .arg(directory)
        .arg(layout)
        .env(CHILD, "engine")
        .stdout(Stdio::null())
        .spawn()
        .expect("the child starts")
}

/// What one channel has told, read to its end after each kill.
struct Told<T> {
    channel: &'static str,
    records: Vec<(u64, T)>,
    /// Of the ring that is there.
    next: u64,
}

impl<T: Record + PartialEq + std::fmt::Debug> Told<T> {
    fn new(channel: &'static str) -> Self {
        Self { channel, records: Vec::new(), next: 0 }
    }

    /// Reads on; `limit` is the last that counts.
    fn read(&mut self, rings: &Path, limit: u64) {
        let Ok(ring) = Ring::open(rings.join(format!("{}.ring", self.channel))) else { return };
        let mut walker = RingView::of(&ring).walk(self.next, true);
        loop {
            let (records, next) = (&mut self.records, &mut self.next);
            let walked = walker.read(usize::MAX, usize::MAX, |sequence, payload| {
                if sequence > limit {
                    return;
                }
                assert!(*next == 0 || sequence == *next, "{sequence} where {next} comes next");
                records.push((sequence, T::read_from_bytes(payload).unwrap()));
                *next = sequence + 1;
            });
            match walked {
                Walked::Messages(0) => return,
                Walked::Messages(_) if self.next <= limit => {}
                Walked::Messages(_) => return,
                found => panic!("{}: {found:?}", self.channel),
            }
        }
    }

    /// Whatever was told once is what there is in the end.
    fn assert_kept(&self, seed: u64, kept: impl Fn(u64) -> Option<T>) {
        for (sequence, record) in &self.records {
            assert_eq!(kept(*sequence).as_ref(), Some(record), "seed {seed}: {} {sequence}", self.channel);
        }
    }
}

fn take_snapshot(place: &Place) -> bool {
    let store = SnapshotStore::open(&venue_snapshots_path(&place.snapshots()), "orders").unwrap();
    let journal = Arc::new(Directory::new(place.journal()));
    let options = FollowerOptions { interval: Duration::from_secs(3_600), ..FollowerOptions::default() };
    let follower = Follower::start(|| new_venue(sizes(), false), journal, store, options, |_| {}).unwrap();
    let taken = follower.snapshot().unwrap().is_some();
    follower.stop().unwrap();
    taken
}

fn kill(seed: u64, kills: u64, loses_rings: bool) {
    let (place, mut random, mut flow) = (Place::new(), Random::new(seed), Flow::new(seed, 20));
    let rings = place.rings();
    place.start(FUSED).stop().unwrap();
    let mut clients = vec![place.client(), place.client()];
    let mut last = clients[0].send_all(&flow.opening());
    let (mut sent, mut within, mut snapshots, mut lost) = (last, 0, 0, 0);
    let (mut durable_max, mut unsynced) = (0, 0);
    let (mut orders, mut executions) = (Told::<Command>::new("orders"), Told::<Execution>::new("executions"));
    for _ in 0..kills {
        if random.chance(1, 4) {
            snapshots += u64::from(take_snapshot(&place));
        }
        let (layout, _) = LAYOUTS[random.index(LAYOUTS.len())];
        let mut child = spawn(place.path(), layout);
        let at_once = random.chance(1, 4);
        let ring = Ring::open(rings.join("orders.ring"));
        let published = ring.as_ref().map_or(0, Ring::published);
        if !at_once && let Ok(ring) = &ring {
            // It has gone live when it takes what is written now.
            last = clients[0].send(&flow.next());
            sent += 1;
            wait_for(|| ring.published() > published || child.try_wait().unwrap().is_some());
            assert_eq!(child.try_wait().unwrap(), None, "seed {seed}: the engine ended by itself");
        }
        for _ in 0..random.below(200) {
            flow.sent = ring.as_ref().map_or(0, Ring::published) + 1;
            last = clients[random.index(2)].send(&flow.next());
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(random.below(if at_once { 20_000 } else { 3_000 })));
        child.kill().unwrap();
        child.wait().unwrap();
        let ring = Ring::open(rings.join("orders.ring")).unwrap();
        let (published, durable) = (ring.published(), ring.durable());
        drop(ring);
        let taken = orders.records.len();
        let loses = loses_rings && random.chance(1, 6);
        orders.read(&rings, if loses { durable } else { u64::MAX });
        executions.read(&rings, u64::MAX);
        let sources = orders.records[taken..].iter().filter(|(_, it)| it.head.source_sequence > 0).count() as u64;
        within += u64::from(published > durable || sources > 0 && last > sources);
        // A watermark that any kill has seen is never taken back.
        assert!(durable >= durable_max, "seed {seed}: durable fell from {durable_max} to {durable}");
        durable_max = durable;
        if loses {
            clients.clear();
            // What was written and not synced survives a process, not the machine: also what was read after an earlier kill, if
            // no start has journaled it since. Everything up to the watermark has to be there in the end.
            let told = orders.records.len();
            orders.records.retain(|(sequence, _)| *sequence <= durable);
            unsynced += told - orders.records.len();
            place.lose_rings();
            place.start(SPLIT).stop().unwrap();
            clients.extend([place.client(), place.client()]);
            (orders.next, executions.next) = (0, 0);
            lost += 1;
        }
    }
    let last_sent = clients[1].send(&flow.next());
    sent += 1;
    let engine = place.start(FUSED);
    wait_for(|| engine.status().source_sequence >= last_sent);
    let stopped = engine.stop().unwrap();
    orders.read(&rings, u64::MAX);
    executions.read(&rings, u64::MAX);
    let commands = journaled(&place.journal());
    let replayed = assert_published(&format!("seed {seed}"), place.path(), Some(stopped.state_hash));
    assert!(commands.iter().zip(1..).all(|((sequence, _), expected)| *sequence == expected), "seed {seed}");
    orders.assert_kept(seed, |sequence| commands.get(sequence as usize - 1).map(|(_, command)| *command));
    executions.assert_kept(seed, |sequence| replayed.executions.get(sequence as usize - 1).copied());
    let sources: Vec<_> = commands.iter().map(|(_, it)| it.head.source_sequence).filter(|it| *it > 0).collect();
    assert!(sources.is_sorted_by(|one, next| one < next), "seed {seed}: a message of orders.in was taken twice");
    if loses_rings {
        assert!(lost > 0 && snapshots > 0, "seed {seed}: {lost} {snapshots}");
    } else {
        assert_eq!(sources.len() as u64, sent, "seed {seed}: every message of orders.in was taken");
        assert_eq!(executions.records.len(), replayed.executions.len(), "seed {seed}: every execution was told once");
        // How many do depends on the machine: a fast engine is done before it is killed.
        assert!(within * 6 > kills, "seed {seed}: only {within} of {kills} kills fell into work");
    }
    println!(
        "venue kill: seed {seed}: {kills} kills, {within} in the middle of work, {lost} losses of all rings with {unsynced} unsynced \
         commands read before, {snapshots} snapshots, {} commands, {} executions",
        commands.len(),
        replayed.executions.len()
    );
}
