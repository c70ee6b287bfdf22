//! An engine of two feeds, of which some runs leave one out, that is killed at any moment, and what its channels hold in
//! the end.
//!
//! Has its own `main`, because the engine to be killed is this executable started again: `TIDEBOOK_CHILD` names the
//! role. The parent owns the feeds and goes on writing them; it reads every record that is ever published.
//! Short by default; `-- --ignored` (soak) runs 1,000 kills.

mod common;

const WITH_SNAPSHOTS: bool = false;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Feed, directory, run_to_end, wait_for};
use tidebook_plane::{Confinement, EngineOptions, FeedSource, MarketDataEngine};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, Ring, Start};
use tidebook_testkit::Random;
use tidebook_types::{BookImage, Depth, Health, Instrument, Quote, Record, Status, Trade, Venue};

const CHILD: &str = "TIDEBOOK_CHILD";
const VENUES: [Venue; 2] = [Venue::Binance, Venue::BinanceUs];

fn main() {
    if std::env::var_os(CHILD).is_some() {
        let mut words = std::env::args().skip(1);
        let rings = words.next().expect("the directory");
        engine(Path::new(&rings), &words.collect::<Vec<_>>());
    }
    let soak = std::env::args().any(|argument| argument == "--ignored");
    let kills = if soak { 1000 } else { 25 };
    for seed in 1..=if soak { 3 } else { 1 } {
        kill(seed, kills);
    }
    println!("kill: ok");
}

fn engine(rings: &Path, names: &[String]) -> ! {
    let served = VENUES.into_iter().filter(|venue| names.iter().any(|name| name == venue.name()));
    let feeds = served.map(|venue| FeedSource {
        venue,
        journal_dir: rings.join(format!("journal-{}", venue.name())),
        snapshots_dir: Some(rings.join("snapshots")),
    });
    let mut options = EngineOptions::new(feeds.collect(), rings.to_owned());
    options.confinement = Confinement::On;
    let engine = MarketDataEngine::start(options).unwrap_or_else(|error| panic!("start: {error}"));
    assert_eq!(engine.made_anew(), None);
    let parent = std::os::unix::process::parent_id();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        if std::os::unix::process::parent_id() != parent {
            std::process::exit(0);
        }
        assert_eq!(engine.status().failure, None);
    }
}

fn spawn(rings: &Path, left_out: Option<usize>) -> Child {
    let served = (0..VENUES.len()).filter(|&which| left_out != Some(which));
    Command::new(std::env::current_exe().expect("this executable"))
        .arg(rings)
        .args(served.map(|which| VENUES[which].name()))
        .env(CHILD, "engine")
        .stdout(Stdio::null())
        .spawn()
        .expect("the child starts")
}

/// Reads one channel whole while it lives.
struct Reading<T> {
    consumer: Consumer,
    records: Vec<T>,
}

impl<T: Record> Reading<T> {
    fn new(rings: &Path) -> Self {
        let ring: PathBuf = rings.join(format!("md.{}.ring", T::SCHEMA.name));
        let options = ConsumerOptions::named("").start(Start::Sequence(1)).policy(Policy::Overwrite);
        Self { consumer: Ring::open(ring).unwrap().consumer(&options).unwrap(), records: Vec::new() }
    }

    fn of(&self, venue: Venue) -> Vec<T> {
        self.records.iter().filter(|record| record.as_bytes()[31] == venue as u8).copied().collect()
    }
}

/// A channel of any record type.
trait Polled {
    /// Reads what is there; whether there was something.
    fn poll(&mut self) -> bool;
}

impl<T: Record> Polled for Reading<T> {
    fn poll(&mut self) -> bool {
        let Self { consumer, records } = self;
        let before = records.len();
        loop {
            match consumer.poll(1 << 20, |_, bytes| records.push(T::read_from_bytes(bytes).unwrap())).unwrap() {
                Read::Messages(0) => return records.len() > before,
                Read::Messages(_) => {}
                Read::Gap(gap) => panic!("md.{}: {gap:?}, the test is too slow for its ring", T::SCHEMA.name),
            }
        }
    }
}

/// Equal, or the place where they part; thousands of records are of no use in a report.
fn assert_same<T: Record + PartialEq>(seed: u64, found: &[T], expected: &[T]) {
    let place = |record: Option<&T>| {
        record.map(|record| u64::from_le_bytes(record.as_bytes()[16..24].try_into().expect("eight bytes")))
    };
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let at = at.unwrap_or_else(|| found.len().min(expected.len()));
    let name = T::SCHEMA.name;
    assert!(
        found.len() == expected.len() && at == found.len(),
        "seed {seed}: md.{name} has {} records of {}; record {at} is from message {:?} instead of {:?}",
        found.len(),
        expected.len(),
        place(found.get(at)),
        place(expected.get(at)),
    );
}

fn kill(seed: u64, kills: u64) {
    let (rings, mut random) = (directory(), Random::new(seed));
    let rings = rings.path();
    let mut feeds = VENUES.map(|venue| Feed::new(rings, venue));
    let mut written = [0; 2];
    run_to_end(rings, &[&feeds[0], &feeds[1]]);
    let (mut trades, mut quotes) = (Reading::<Trade>::new(rings), Reading::<Quote>::new(rings));
    let (mut depth, mut status) = (Reading::<Depth>::new(rings), Reading::<Status>::new(rings));
    let mut health = Reading::<Health>::new(rings);
    let (mut images, mut instruments) = (Reading::<BookImage>::new(rings), Reading::<Instrument>::new(rings));
    let (mut within, mut snapshots) = (0, 0);
    for round in 0..kills {
        let whole = round % 10 == 9;
        // Some starts find a snapshot that is near, some one that is long ago, the first ones none.
        if random.chance(1, 3) {
            let feed = &feeds[random.below(2) as usize];
            snapshots += u64::from(feed.take_snapshot(random.below(1 + feed.last())).is_some());
        }
        let left_out = (!whole && random.chance(1, 4)).then(|| random.below(2) as usize);
        let mut child = spawn(rings, left_out);
        // Half of the kills fall into the time after the engine has gone live, the others anywhere.
        let (before, at_once) = (trades.records.len(), random.chance(1, 4));
        for write in 0..1 + random.below(6) {
            let mut which = random.below(2) as usize;
            if write == 0 && left_out == Some(which) {
                // Whoever waits for the engine waits for a feed that it serves.
                which = 1 - which;
            }
            let count = 1 + random.below(40);
            feeds[which].write_market(written[which], count);
            written[which] += count;
        }
        if whole {
            // Kills at once leave work behind, which may not grow beyond what the rings hold.
            wait_for(|| {
                trades.poll();
                trades.records.len() as u64 == written[0] + written[1]
            });
        } else if !at_once {
            wait_for(|| trades.poll());
        }
        std::thread::sleep(Duration::from_micros(random.below(if at_once { 20_000 } else { 400 })));
        child.kill().unwrap();
        child.wait().unwrap();
        trades.poll();
        let cut_short = trades.records.len() > before && (trades.records.len() as u64) < written[0] + written[1];
        within += u64::from(left_out.is_none() && cut_short);
        for poll in
            [&mut quotes as &mut dyn Polled, &mut depth, &mut status, &mut health, &mut images, &mut instruments]
        {
            poll.poll();
        }
    }
    run_to_end(rings, &[&feeds[0], &feeds[1]]);
    for poll in [
        &mut trades as &mut dyn Polled,
        &mut quotes,
        &mut depth,
        &mut status,
        &mut health,
        &mut images,
        &mut instruments,
    ] {
        poll.poll();
    }
    assert!(snapshots * 6 > kills, "seed {seed}: only {snapshots} snapshots");
    // How many do depends on the machine: a fast engine is done before it is killed.
    assert!(within * 6 > kills, "seed {seed}: only {within} of {kills} kills fell into work");
    for feed in &feeds {
        let (derived, venue) = (feed.derived(), feed.venue);
        assert_same(seed, &trades.of(venue), &derived.trades);
        assert_same(seed, &quotes.of(venue), &derived.quotes);
        assert_same(seed, &depth.of(venue), &derived.depth);
        assert_same(seed, &status.of(venue), &derived.status);
        assert_same(seed, &health.of(venue), &feed.derived_health());
        assert_same(seed, &instruments.of(venue), &derived.instruments);
        // Of images only the newest matters: each is newer than the one before it, and the last is the book's last change.
        let mut newest = HashMap::new();
        for image in images.of(venue) {
            let before = newest.insert(image.instrument_id, image.source_sequence);
            assert!(before.is_none_or(|before| before < image.source_sequence), "seed {seed}: an image came twice");
        }
        for id in derived.instruments.iter().map(|instrument| instrument.instrument_id) {
            let changed =
                derived.depth.iter().rfind(|level| level.instrument_id == id).map(|level| level.source_sequence);
            assert_eq!(newest.get(&id).copied(), changed, "seed {seed}: the last image of {id}");
        }
    }
    feeds.iter_mut().for_each(Feed::close);
    println!(
        "kill: seed {seed}: {kills} kills, {within} of them in the middle of work, {snapshots} snapshots, {} records",
        trades.records.len()
    );
}
