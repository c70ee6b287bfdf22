//! An engine that begins with snapshots publishes what one that derives the whole history does. Every test of `engine.rs`
//! runs here again, with a snapshot taken before each start.

#[path = "engine.rs"]
mod engine;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::common::{Feed, directory, start, try_start, wait_for_all};
use tidebook_journal::snapshot::{Place, SnapshotError};
use tidebook_journal::storage::Directory;
use tidebook_journal::{State, StateError, compact, segments};
use tidebook_plane::{Beginning, CHANNELS, FeedHistory, MarketDataEngine, PlaneError, usable_snapshots};
use tidebook_ring::{Ring, RingView, Walked};
use tidebook_testkit::Random;
use tidebook_types::{MessageKind, Venue};

/// See `common::try_start`.
const WITH_SNAPSHOTS: bool = true;

/// Starts that choose their snapshots themselves.
fn start_plain(rings: &Path, feeds: &[&Feed], with_snapshots: bool) -> MarketDataEngine {
    let mut sources: Vec<_> = feeds.iter().map(|feed| feed.source()).collect();
    if !with_snapshots {
        sources.iter_mut().for_each(|source| source.snapshots_dir = None);
    }
    MarketDataEngine::start(tidebook_plane::EngineOptions::new(sources, rings.to_owned())).unwrap()
}

/// What belongs to `md.*`: rings and table.
fn published_files(rings: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(rings).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("md.")).collect()
}

/// Every record of every channel, as its bytes. Feeds take turns in their history as they like, so each one's records are put
/// together; which top is told follows from all of them and not from their turns.
fn everything(rings: &Path) -> Vec<(String, Vec<Vec<u8>>)> {
    let channels = CHANNELS.iter().map(|(schema, _)| {
        let ring = Ring::open(rings.join(format!("md.{}.ring", schema.name))).unwrap();
        let mut walker = RingView::of(&ring).walk(0, true);
        let mut records = Vec::new();
        while walker.read(usize::MAX, usize::MAX, |_, payload| records.push(payload.to_vec())) != Walked::Messages(0) {}
        if schema.name != "consolidated" {
            records.sort_by_key(|record| record[31]);
        }
        (schema.name.to_owned(), records)
    });
    channels.collect()
}

fn assert_same(what: &str, whole: &[(String, Vec<Vec<u8>>)], again: &[(String, Vec<Vec<u8>>)]) {
    for ((name, whole), (_, again)) in whole.iter().zip(again) {
        let at = whole.iter().zip(again).position(|(one, other)| one != other);
        assert_eq!((at, whole.len()), (None, again.len()), "{what}: md.{name}");
    }
}

/// Everything that was written is in the journal and nothing is on its way.
fn settle(feeds: &mut [&mut Feed]) {
    for feed in feeds {
        feed.close();
        feed.open();
    }
}

/// Records of all feeds, of an asset that both trade, and of things that end the use of books.
fn write_something(feed: &mut Feed, written: &mut u64, random: &mut Random) {
    let count = 20 + random.below(60);
    feed.write_market(*written, count);
    *written += count;
    feed.ahead_ns += random.below(3_000_000_000) as i64;
    if random.chance(1, 2) {
        let last = 100 + *written;
        let snapshot = format!(r#"{{"lastUpdateId":{last},"bids":[["9.98","1.0"]],"asks":[["10.02","1.5"]]}}"#);
        feed.write(MessageKind::Rest, "/api/v3/depth?symbol=BTCUSDT&limit=1000", &snapshot);
    }
    match random.below(5) {
        0 => feed.write(MessageKind::Timer, "", ""),
        1 => feed.write(MessageKind::State, "", r#"{"event":"disconnected"}"#),
        2 => feed.write(MessageKind::State, "", r#"{"event":"connected"}"#),
        3 => {
            let ticker = format!(r#"{{"u":{written},"s":"LTCUSDT","b":"1.00","B":"{written}","a":"9.00","A":"2.0"}}"#);
            feed.write(MessageKind::Ws, "", &ticker);
        }
        _ => {
            let listing =
                r#"{"symbols":[{"symbol":"ETHUSDT","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.0TICK"}]}]}"#;
            let listing = listing.replace("TICK", &(1 + random.below(5)).to_string());
            feed.write(MessageKind::Rest, "/api/v3/exchangeInfo", &listing);
        }
    }
}

/// Method: the same start is made twice from the same files, once without the snapshots; fresh channels and ones that an
/// earlier engine has left. Everything that is in the channels then is compared, byte by byte.
#[test]
fn a_start_from_snapshots_publishes_what_one_from_the_whole_history_does() {
    let (mut from_snapshots, mut published) = (0, BTreeMap::new());
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let rings = directory();
        let rings = rings.path();
        let mut feeds = [Feed::new(rings, Venue::Binance), Feed::new(rings, Venue::BinanceUs)];
        let mut written = [0; 2];
        let mut write = |feeds: &mut [Feed; 2], random: &mut Random| {
            for (feed, written) in feeds.iter_mut().zip(&mut written) {
                for _ in 0..1 + random.below(4) {
                    write_something(feed, written, random);
                }
                feed.close();
                feed.open();
            }
        };
        let kept = directory();
        for round in 0..3 {
            write(&mut feeds, &mut random);
            if random.chance(2, 3) {
                for feed in &feeds {
                    feed.take_snapshot(1 + random.below(feed.last()));
                }
            }
            write(&mut feeds, &mut random);
            if round == 1 {
                published_files(rings).iter().for_each(|path| std::fs::remove_file(path).unwrap());
            }
            let before = published_files(rings);
            for path in &before {
                std::fs::copy(path, kept.path().join(path.file_name().unwrap())).unwrap();
            }
            let all = [&feeds[0], &feeds[1]];
            let runs = [false, true].map(|with_snapshots| {
                published_files(rings).iter().for_each(|path| std::fs::remove_file(path).unwrap());
                for path in &before {
                    std::fs::copy(kept.path().join(path.file_name().unwrap()), path).unwrap();
                }
                let engine = start_plain(rings, &all, with_snapshots);
                wait_for_all(&engine, &all);
                assert_eq!(engine.made_anew(), None);
                let behind: u64 = engine.taken_up().iter().map(|feed| feed.behind).sum();
                let health: Vec<_> = engine.status().feeds.iter().map(|feed| feed.health).collect();
                engine.stop().unwrap();
                (behind, health, everything(rings))
            });
            let what = format!("seed {seed} round {round}");
            let [(nowhere, health, whole), (behind, health_again, again)] = runs;
            assert_eq!((nowhere, health), (0, health_again), "{what}");
            assert_same(&what, &whole, &again);
            for (name, records) in whole {
                *published.entry(name).or_insert(0) += records.len();
            }
            from_snapshots += u64::from(behind > 0);
        }
        for feed in &mut feeds {
            feed.close();
        }
    }
    assert!(from_snapshots > 8, "only {from_snapshots} of 18 starts had a snapshot to begin with");
    let nothing: Vec<_> = published.iter().filter(|(_, count)| **count == 0).map(|(name, _)| &name[..]).collect();
    assert_eq!(nothing, ["orders"], "what was compared: {published:?}");
}

#[test]
fn a_damaged_snapshot_is_told_and_the_next_older_one_or_the_history_is_used() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    for from in [0, 40, 80] {
        feed.write_market(from, 40);
        settle(&mut [&mut feed]);
    }
    let first = feed.take_snapshot(20).unwrap();
    let second = feed.take_snapshot(first + 1).unwrap();
    let damage = |sequence: u64| {
        let path = feed.snapshots().path().join(format!("{sequence:020}.snapshot"));
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let taken_up = || {
        let engine = start_plain(rings.path(), &[&feed], true);
        wait_for_all(&engine, &[&feed]);
        let found = engine.taken_up()[0].clone();
        engine.stop().unwrap();
        published_files(rings.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        found
    };
    assert_eq!((taken_up().behind, taken_up().refused.len()), (second, 0));
    damage(second);
    let found = taken_up();
    assert_eq!((found.behind, found.refused.len()), (first, 1));
    assert!(found.refused[0].contains(&format!("{second:020}.snapshot")), "{:?}", found.refused);
    damage(first);
    let found = taken_up();
    assert_eq!((found.behind, found.refused.len()), (0, 2));
    feed.close();
}

/// Compacts the oldest segments away. Gives the first message that is left.
fn remove_oldest(feed: &Feed, count: usize) -> u64 {
    let held = segments(&Directory::new(feed.journal())).unwrap();
    assert!(held.len() > count + 1, "{} segments", held.len());
    let compacted = compact(&feed.journal(), held[count].first_sequence).unwrap();
    assert_eq!(compacted.removed.len(), count);
    compacted.first_sequence
}

#[test]
fn a_feed_whose_history_is_compacted_away_begins_with_a_snapshot_or_is_refused_with_what_to_do() {
    let rings = directory();
    let mut feed = Feed::in_segments(rings.path(), Venue::Binance, 1 << 16);
    let engine = start_plain(rings.path(), &[&feed], true);
    feed.write_market(0, 20);
    settle(&mut [&mut feed]);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    let left_off = feed.last();
    for round in 0..30 {
        feed.write_market(20 + round * 50, 50);
        settle(&mut [&mut feed]);
    }
    let snapshot = feed.take_snapshot(feed.last() / 2).unwrap();
    let first = remove_oldest(&feed, 2);
    assert!(left_off + 1 < first && first <= snapshot + 1, "{left_off} {first} {snapshot}");
    // What the channels hold ends before anything that is left: they begin anew.
    let engine = start_plain(rings.path(), &[&feed], true);
    let reason = engine.made_anew().unwrap().to_owned();
    assert!(reason.contains("begins behind"), "{reason}");
    wait_for_all(&engine, &[&feed]);
    assert_eq!(engine.taken_up()[0].behind, snapshot);
    engine.stop().unwrap();
    // A record of the channels tells what the history would have.
    feed.write_market(1_520, 10);
    let engine = start_plain(rings.path(), &[&feed], true);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    let trades: Vec<tidebook_types::Trade> = engine::published(&feed);
    let derived = feed.derived().trades;
    assert_eq!(trades[..], derived[derived.len() - 10..]);
    // One that is there and ahead of what is stored is named: it is not what is missing.
    let source = feed.source();
    let found = Beginning::find(Venue::Binance, &source.journal_dir, source.snapshots_dir.as_deref(), 7);
    let said = found.err().expect("nothing to begin with").to_string();
    assert!(said.contains(&format!("the snapshot at {snapshot} is ahead of message 7")), "{said}");
    assert!(said.contains("the store's manifest is missing"), "{said}");
    // Nothing to begin with.
    std::fs::remove_file(feed.snapshots().path().join(format!("{snapshot:020}.snapshot"))).unwrap();
    let mut source = feed.source();
    for snapshots_dir in [source.snapshots_dir.clone(), None] {
        source.snapshots_dir = snapshots_dir;
        let options = tidebook_plane::EngineOptions::new(vec![source.clone()], rings.path().to_owned());
        let error = MarketDataEngine::start(options).unwrap_err();
        assert!(matches!(&error, PlaneError::NoBeginning { first: found, .. } if *found == first), "{error}");
        assert!(error.to_string().contains("from a backup"), "{error}");
    }
    feed.close();
}

#[test]
fn a_snapshot_ahead_of_what_is_published_is_not_begun_with() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let engine = try_start(rings.path(), &[&feed]).unwrap();
    feed.write_market(0, 20);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    let published = feed.last();
    feed.write_market(20, 20);
    settle(&mut [&mut feed]);
    let ahead = feed.take_snapshot(feed.last()).unwrap();
    assert!(ahead > published);
    let engine = start(rings.path(), &[&feed]);
    assert!(engine.taken_up()[0].behind <= published);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    engine::assert_all_published(&feed);
    feed.close();
}

/// The state of a feed as a build with other fields would have saved it: whole, and not to be loaded by this one.
struct OtherLayout(FeedHistory);

impl State for OtherLayout {
    fn kind(&self) -> &str {
        self.0.kind()
    }
    fn version(&self) -> u32 {
        self.0.version()
    }
    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        self.0.apply(sequence, payload)
    }
    fn state_hash(&self) -> u64 {
        self.0.state_hash()
    }
    fn save(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let mut bytes = self.0.state().save();
        bytes[12] ^= 0xff;
        out.write_all(&bytes)
    }
    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.0.load(bytes)
    }
}

/// Puts another state and place into the snapshot at `sequence`, which verifies then too.
fn replace_snapshot(feed: &Feed, sequence: u64, change: impl FnOnce(&mut Place), other_layout: bool) {
    let snapshots = feed.snapshots();
    let mut history = FeedHistory::new(feed.venue);
    let mut place = {
        let snapshot = snapshots.load(sequence).unwrap();
        snapshot.load_into(&mut history).unwrap();
        snapshot.facts.header.place.clone()
    };
    change(&mut place);
    std::fs::remove_file(snapshots.path().join(format!("{sequence:020}.snapshot"))).unwrap();
    if other_layout {
        snapshots.write(&OtherLayout(history), &place, 0).unwrap();
    } else {
        snapshots.write(&history, &place, 0).unwrap();
    }
    snapshots.verify(sequence).unwrap();
}

fn damage_snapshot(feed: &Feed, sequence: u64) {
    let path = feed.snapshots().path().join(format!("{sequence:020}.snapshot"));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// What may be removed is asked of this; were it to count one that a start cannot use, the removed would be needed.
#[test]
fn a_snapshot_counts_only_if_a_start_can_begin_behind_it() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let mut taken = Vec::new();
    for round in 0..5 {
        feed.write_market(40 * round, 40);
        settle(&mut [&mut feed]);
        taken.push(feed.take_snapshot(feed.last()).unwrap());
    }
    let snapshots_dir = feed.source().snapshots_dir.unwrap();
    let usable = |sequence_max, count| {
        usable_snapshots(feed.venue, &feed.journal(), &snapshots_dir, sequence_max, count).unwrap()
    };
    let begins = |sequence_max| {
        let found = Beginning::find(feed.venue, &feed.journal(), Some(&snapshots_dir), sequence_max).unwrap();
        (found.state.sequence(), found.refused.len())
    };
    assert_eq!(usable(u64::MAX, 2), (taken[3..].to_vec(), Vec::new()));
    assert_eq!(usable(taken[3], 2).0, taken[2..4], "none ahead of what is asked for");
    assert!(usable(u64::MAX, 0).0.is_empty());
    replace_snapshot(&feed, taken[4], |_| {}, true);
    replace_snapshot(&feed, taken[3], |_| {}, true);
    damage_snapshot(&feed, taken[1]);
    let (found, refused) = usable(u64::MAX, 2);
    assert_eq!((found, refused.len()), (vec![taken[0], taken[2]], 3));
    assert!(refused[0].contains("layout"), "{refused:?}");
    assert_eq!(begins(u64::MAX), (taken[2], 2));
    damage_snapshot(&feed, taken[0]);
    assert_eq!(usable(u64::MAX, 2).0, [taken[2]], "one is not two");
    feed.close();
}

#[test]
fn a_snapshot_that_contradicts_the_journal_ends_a_start_and_what_relies_on_snapshots() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    feed.write_market(0, 40);
    settle(&mut [&mut feed]);
    feed.take_snapshot(1).unwrap();
    let newest = feed.take_snapshot(feed.last()).unwrap();
    let snapshots_dir = feed.source().snapshots_dir.unwrap();
    for change in [|place: &mut Place| place.chain ^= 1, |place: &mut Place| place.journal_id ^= 1] {
        replace_snapshot(&feed, newest, change, false);
        let asked = usable_snapshots(feed.venue, &feed.journal(), &snapshots_dir, u64::MAX, 2).unwrap_err();
        let options = tidebook_plane::EngineOptions::new(vec![feed.source()], rings.path().to_owned());
        let begun = MarketDataEngine::start(options).unwrap_err();
        for error in [asked, begun] {
            let PlaneError::Snapshot(error) = error else { panic!("{error}") };
            assert!(error.contradicts_journal() && !matches!(error, SnapshotError::Ahead { .. }), "{error}");
        }
        change_back(&feed, newest);
    }
    assert_eq!(usable_snapshots(feed.venue, &feed.journal(), &snapshots_dir, u64::MAX, 1).unwrap().0, [newest]);
    feed.close();
}

/// Takes the snapshot anew in place of what is there.
fn change_back(feed: &Feed, sequence: u64) {
    std::fs::remove_file(feed.snapshots().path().join(format!("{sequence:020}.snapshot"))).unwrap();
    assert_eq!(feed.take_snapshot(sequence), Some(sequence));
}

#[test]
fn a_damaged_old_snapshot_behind_which_the_channels_end_does_not_keep_an_engine_down() {
    let rings = directory();
    let mut feed = Feed::in_segments(rings.path(), Venue::Binance, 1 << 16);
    let write = |feed: &mut Feed, rounds: std::ops::Range<u64>| {
        for round in rounds {
            feed.write_market(round * 50, 50);
            settle(&mut [feed]);
        }
    };
    write(&mut feed, 0..15);
    let old = feed.take_snapshot(feed.last() - 60).unwrap();
    let engine = start_plain(rings.path(), &[&feed], false);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    let left_off = feed.last();
    write(&mut feed, 15..30);
    let newer = feed.take_snapshot(feed.last()).unwrap();
    let first = remove_oldest(&feed, 2);
    assert!(first <= old + 1 && old <= left_off && left_off < newer, "{first} {old} {left_off} {newer}");
    damage_snapshot(&feed, old);
    let engine = start_plain(rings.path(), &[&feed], true);
    assert!(engine.made_anew().unwrap().contains("begins behind"), "{:?}", engine.made_anew());
    wait_for_all(&engine, &[&feed]);
    assert_eq!(engine.taken_up()[0].behind, newer);
    engine.stop().unwrap();
    feed.close();
}

/// Those that an earlier release left verify; were rotation to count them, the one that a start needs would go.
#[test]
fn rotation_of_a_feed_counts_what_loads_and_an_unloadable_one_is_written_anew() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let mut taken = Vec::new();
    for round in 0..4 {
        feed.write_market(40 * round, 40);
        settle(&mut [&mut feed]);
        taken.push(feed.take_snapshot(feed.last()).unwrap());
    }
    let snapshots = feed.snapshots();
    let mut history = FeedHistory::new(feed.venue);
    let snapshot = snapshots.load(taken[3]).unwrap();
    snapshot.load_into(&mut history).unwrap();
    let place = snapshot.facts.header.place.clone();
    for &sequence in &taken[2..] {
        replace_snapshot(&feed, sequence, |_| {}, true);
    }
    let (facts, rotation) = history.saved().write_to(&snapshots, &place, 7, 2).unwrap();
    assert_eq!((facts.sequence(), facts.header.created_ns), (taken[3], 7), "it was there, and not to be loaded");
    assert_eq!(
        (rotation.kept, rotation.damaged, rotation.removed),
        (vec![taken[1], taken[3]], vec![taken[2]], vec![taken[0]])
    );
    snapshots.load(taken[3]).unwrap().load_into(&mut FeedHistory::new(feed.venue)).unwrap();
    // What is not what was saved has no name.
    let mut other = place.clone();
    other.sequence += 1;
    let refused = snapshots.write_proven(&OtherLayout(history), &other, 0, |snapshot| {
        snapshot.load_into(&mut FeedHistory::new(feed.venue))
    });
    assert!(refused.unwrap_err().to_string().contains("layout"));
    assert_eq!(snapshots.list().unwrap(), taken[1..]);
    feed.close();
}
