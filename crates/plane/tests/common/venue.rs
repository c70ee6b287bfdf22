//! A venue in a directory of its own, its clients, and what a replay of its journal gives.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidebook_journal::{JournalReader, ReaderOptions, Visible};
use tidebook_plane::{VenueEngine, VenueEngineOptions, VenueLayout, VenueRings, VenueSizes, new_venue};
use tidebook_ring::{Producer, Ring, RingView, Walked};
use tidebook_risk::{Replay, Told};
use tidebook_types::{Command, Execution, Record, RiskEvent};
use tidebook_venue::Venue;
use zerocopy::{FromBytes, IntoBytes};

/// Which threads, and how many of them match.
pub type Layout = (VenueLayout, u32);

pub const FUSED: Layout = (VenueLayout::Fused, 1);
pub const SPLIT: Layout = (VenueLayout::Split, 1);

pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn wait_for(mut until: impl FnMut() -> bool) {
    let began = Instant::now();
    while !until() {
        assert!(began.elapsed() < DEADLINE, "it did not come within {DEADLINE:?}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Rings, journal and snapshots of one venue.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir().unwrap();
        std::fs::create_dir(directory.path().join("rings")).unwrap();
        std::fs::set_permissions(directory.path().join("rings"), PermissionsExt::from_mode(0o700)).unwrap();
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn rings(&self) -> PathBuf {
        self.path().join("rings")
    }

    pub fn journal(&self) -> PathBuf {
        self.path().join("orders")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.path().join("snapshots")
    }

    pub fn options(&self, layout: Layout) -> VenueEngineOptions {
        options_in(self.path(), layout)
    }

    pub fn start(&self, layout: Layout) -> VenueEngine {
        VenueEngine::start(self.options(layout)).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn client(&self) -> Client {
        client(self.path())
    }

    /// As after the machine was switched off.
    pub fn lose_rings(&self) {
        for entry in std::fs::read_dir(self.rings()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// Small rooms, and rings that hold everything a test says.
pub fn options_in(directory: &Path, layout: Layout) -> VenueEngineOptions {
    let mut options = VenueEngineOptions::new(directory.join("rings"), directory.join("orders"));
    options.snapshots_dir = Some(directory.join("snapshots"));
    (options.layout, options.shards) = (Some(layout.0), layout.1);
    options.sizes = sizes();
    options.segment_size_bytes = 1 << 20;
    options.rings = VenueRings { orders_in: 1 << 10, orders: 1 << 10, executions: 1 << 16, risk: 1 << 15 };
    options
}

pub fn sizes() -> VenueSizes {
    let mut sizes = VenueSizes::default();
    (sizes.risk.orders_max, sizes.venue.orders_max) = (4_096, 4_096);
    sizes
}

/// Who writes to `orders.in`.
pub struct Client(Producer);

pub fn client(directory: &Path) -> Client {
    let ring = Ring::open(directory.join("rings/orders.in.ring")).unwrap();
    Client(ring.producer().unwrap())
}

impl Client {
    /// Its sequence on `orders.in`.
    pub fn send(&mut self, command: &Command) -> u64 {
        self.0.write(command.as_bytes()).unwrap()
    }

    pub fn send_all(&mut self, commands: &[Command]) -> u64 {
        commands.iter().map(|command| self.send(command)).last().unwrap_or(0)
    }
}

/// All records that a ring holds.
pub fn held<T: Record>(rings: &Path, channel: &str) -> Vec<(u64, T)> {
    let mut walker = RingView::of(&Ring::open(rings.join(format!("{channel}.ring"))).unwrap()).walk(0, true);
    let mut records = Vec::new();
    loop {
        let each = |sequence, payload: &[u8]| records.push((sequence, T::read_from_bytes(payload).unwrap()));
        match walker.read(usize::MAX, usize::MAX, each) {
            Walked::Messages(0) => return records,
            Walked::Messages(_) => {}
            found => panic!("{channel}: {found:?}"),
        }
    }
}

/// All commands of the journal.
pub fn journaled(journal: &Path) -> Vec<(u64, Command)> {
    let options = ReaderOptions { visible: Visible::Written, ..ReaderOptions::default() };
    let mut reader = JournalReader::open(journal, options).unwrap();
    let mut commands = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        commands
            .extend(batch.records().map(|(sequence, payload)| (sequence, Command::read_from_bytes(payload).unwrap())));
    }
    commands
}

/// What a replay with recheck makes of commands: the venue, its executions, its events.
pub struct Replayed {
    pub venue: Replay<Venue>,
    pub executions: Vec<Execution>,
    pub events: Vec<RiskEvent>,
}

pub fn replayed(commands: &[(u64, Command)], sizes: VenueSizes) -> Replayed {
    let mut venue = new_venue(sizes, true);
    let (mut executions, mut events) = (Vec::new(), Vec::new());
    for (sequence, command) in commands {
        let applied = venue.apply_journaled_telling(*sequence, command, &mut |told| match told {
            Told::Execution(execution) => executions.push(*execution),
            Told::Event(event) => events.push(*event),
        });
        applied.unwrap_or_else(|difference| panic!("{difference}"));
    }
    venue.settle(&mut |event| events.push(*event));
    Replayed { venue, executions, events }
}

/// Compares everything that was published with what the journal gives, number by number.
pub fn assert_published(what: &str, directory: &Path, state_hash: Option<u64>) -> Replayed {
    let commands = journaled(&directory.join("orders"));
    let replayed = replayed(&commands, sizes());
    let executions = held::<Execution>(&directory.join("rings"), "executions");
    assert!(executions.iter().all(|(sequence, execution)| *sequence == execution.sequence), "{what}");
    let first = executions.first().map_or(replayed.executions.len() as u64, |(sequence, _)| sequence - 1) as usize;
    let found: Vec<_> = executions.into_iter().map(|(_, execution)| execution).collect();
    let at = found.iter().zip(&replayed.executions[first..]).position(|(found, expected)| found != expected);
    assert_eq!((at, found.len()), (None, replayed.executions.len() - first), "{what}: executions from {first}");
    let events = held::<RiskEvent>(&directory.join("rings"), "risk");
    let first = events.first().map_or(replayed.events.len() as u64, |(sequence, _)| sequence - 1) as usize;
    let found: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    let at = found.iter().zip(&replayed.events[first..]).position(|(found, expected)| found != expected);
    assert_eq!((at, found.len()), (None, replayed.events.len() - first), "{what}: events from {first}");
    if let Some(state_hash) = state_hash {
        assert_eq!(replayed.venue.settled_state_hash(), state_hash, "{what}");
    }
    replayed
}
