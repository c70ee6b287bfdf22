//! The engine between real channels: what it publishes is what the state machine derives, once, whatever ends it.

pub(crate) mod common;

/// Each test of this file is run with snapshots too: `snapshots.rs`.
#[allow(dead_code, reason = "the crate that runs them again has its own")]
const WITH_SNAPSHOTS: bool = false;

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{Feed, directory, run_to_end, start, try_start, wait_for_all};
use tidebook_plane::{CHANNELS, EngineOptions, LatencyStage, MarketDataEngine, PlaneError};
use tidebook_ring::{ConsumerOptions, ConsumerState, Policy, Read, Ring, RingError, RingOptions, Start};
use zerocopy::FromBytes;

use tidebook_types::{
    Bar, BookImage, ConsolidatedTop, Depth, Health, Instrument, InstrumentId, MessageKind, Order, Quote, Record,
    Status, Trade, Venue,
};

fn ring(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.ring"))
}

/// All records of a feed that a channel holds; where a record comes from stands in front of its instrument's id.
pub(crate) fn published<T: Record>(feed: &Feed) -> Vec<T> {
    let channel = Ring::open(ring(&feed.rings, &format!("md.{}", T::SCHEMA.name))).unwrap();
    let mut consumer = channel.consumer(&ConsumerOptions::named("").start(Start::Sequence(1)).peek(true)).unwrap();
    let (mut records, mut places) = (Vec::new(), BTreeSet::new());
    let read = consumer
        .poll(1 << 20, |_, payload| {
            if payload[31] == feed.venue as u8 {
                assert!(places.insert(payload[16..32].to_vec()), "{} was published twice", T::SCHEMA.name);
                records.push(T::read_from_bytes(payload).unwrap());
            }
        })
        .unwrap();
    assert!(matches!(read, Read::Messages(_)), "{read:?}: the test outgrew the ring");
    records
}

pub(crate) fn assert_all_published(feed: &Feed) {
    let derived = feed.derived();
    assert!(derived.trades.len() > 10 && derived.depth.len() > 10 && derived.quotes.len() > 10);
    assert_eq!(published::<Trade>(feed), derived.trades);
    assert_eq!(published::<Quote>(feed), derived.quotes);
    assert_eq!(published::<Depth>(feed), derived.depth);
    assert_eq!(published::<Bar>(feed), derived.bars);
    assert_eq!(published::<Status>(feed), derived.status);
    assert_eq!(published::<Health>(feed), feed.derived_health());
    assert_eq!(published::<Instrument>(feed), derived.instruments);
}

/// Two feeds in one directory.
fn two(rings: &Path) -> (Feed, Feed) {
    (Feed::new(rings, Venue::Binance), Feed::new(rings, Venue::BinanceUs))
}

#[test]
fn what_is_published_is_what_the_state_machine_derives() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let engine = start(rings.path(), &[&feed]);
    assert_eq!(engine.made_anew(), None);
    feed.write_market(0, 50);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    assert_all_published(&feed);
    let images = published::<BookImage>(&feed);
    let last = images.iter().rfind(|image| image.instrument_id & 0xff_ffff == 0).unwrap();
    assert_eq!((last.venue_sequence, last.usable, last.bid_count, last.ask_count), (150, 1, 2, 1));
    let connected = published::<Status>(&feed)[0];
    assert_eq!(connected.instrument_id, InstrumentId::whole_feed(Venue::Binance).get());
}

#[test]
fn several_feeds_share_the_channels_and_each_is_whole() {
    let rings = directory();
    let (mut one, mut other) = two(rings.path());
    let engine = start(rings.path(), &[&one, &other]);
    for round in 0..30 {
        one.write_market(round * 3, 3);
        other.write_market(round * 2, 2);
    }
    wait_for_all(&engine, &[&one, &other]);
    engine.stop().unwrap();
    assert_all_published(&one);
    assert_all_published(&other);
}

#[test]
fn order_events_have_a_channel_and_go_on_after_a_stop() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Bitstamp);
    let capture = r#"{"event":"capture","format":"bitstamp","symbol":"BTC/USD"}"#;
    feed.write(MessageKind::State, "", capture);
    let engine = start(rings.path(), &[&feed]);
    let mut engine = Some(engine);
    for round in 0..2 {
        for (event, amount) in [("created", "2.00000000"), ("changed", "1.50000000"), ("deleted", "0.00000000")] {
            let order = format!(
                r#"order_{event} {{"price":"236.47","amount":"{amount}","datetime":"1430438404","id":{round},"order_type":0}}"#
            );
            feed.write(MessageKind::Ws, "", &order);
            let running = engine.take().unwrap_or_else(|| start(rings.path(), &[&feed]));
            wait_for_all(&running, &[&feed]);
            running.stop().unwrap();
        }
    }
    let remaining: Vec<_> = published::<Order>(&feed).iter().map(|order| order.remaining).collect();
    assert_eq!(remaining, [200_000_000, 150_000_000, 0, 200_000_000, 150_000_000, 0]);
    assert_eq!(published::<Order>(&feed), feed.derived().orders);
}

/// Price in hundredths, size in tenths, venue.
type Best = (i64, i64, u8);
/// Best bid, best ask, venues that count, venues left out.
type Told = (Best, Best, u8, u8);

/// Each top that was told.
fn tops(rings: &Path) -> Vec<Told> {
    let channel = Ring::open(ring(rings, "md.consolidated")).unwrap();
    let mut consumer = channel.consumer(&ConsumerOptions::named("").start(Start::Sequence(1)).peek(true)).unwrap();
    let mut told = Vec::new();
    let read = consumer.poll(1 << 20, |_, payload| {
        let top = ConsolidatedTop::read_from_bytes(payload).unwrap();
        assert_eq!((&top.asset[..8], top.price_exp, top.size_exp), (&b"BTC/USDT"[..], 8, 8));
        let venue = |id: u32| (id >> 24) as u8;
        told.push((
            (top.bid_price / 1_000_000, top.bid_size / 10_000_000, venue(top.bid_instrument_id)),
            (top.ask_price / 1_000_000, top.ask_size / 10_000_000, venue(top.ask_instrument_id)),
            top.venues,
            top.left_out,
        ));
    });
    assert!(matches!(read.unwrap(), Read::Messages(_)));
    told
}

#[test]
fn the_best_of_all_venues_is_told_and_after_a_restart_only_what_has_changed() {
    let rings = directory();
    let (mut one, mut other) = two(rings.path());
    let write = |feed: &mut Feed, id: u64, bid: &str, ask: &str| {
        let body = format!(
            r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{id},"u":{id},"b":[["{bid}","1.0"]],"a":[["{ask}","2.0"]]}}"#
        );
        feed.write(MessageKind::Ws, "", &body);
        if id == 1 {
            let snapshot = format!(r#"{{"lastUpdateId":1,"bids":[["{bid}","1.0"]],"asks":[["{ask}","2.0"]]}}"#);
            feed.write(MessageKind::Rest, "/api/v3/depth?symbol=BTCUSDT&limit=1000", &snapshot);
        }
    };
    let engine = start(rings.path(), &[&one, &other]);
    for feed in [&mut one, &mut other] {
        write(feed, 1, "1.00", "9.00");
        wait_for_all(&engine, &[feed]);
    }
    write(&mut one, 2, "2.00", "8.00");
    wait_for_all(&engine, &[&one]);
    write(&mut other, 2, "3.00", "8.50");
    wait_for_all(&engine, &[&other]);
    write(&mut other, 3, "2.50", "8.50");
    wait_for_all(&engine, &[&other]);
    engine.stop().unwrap();
    let begun = ((100, 10, 1), (900, 20, 1));
    let expected = [
        (begun.0, begun.1, 1, 0),
        (begun.0, begun.1, 2, 0),
        ((200, 10, 1), (800, 20, 1), 2, 0),
        ((300, 10, 5), (800, 20, 1), 2, 0),
    ];
    assert_eq!(tops(rings.path()), expected);
    run_to_end(rings.path(), &[&one, &other]);
    assert_eq!(tops(rings.path()), expected, "nothing has changed");
    // A session ends while nobody derives: its book counts no more.
    other.write(MessageKind::State, "", r#"{"event":"connected"}"#);
    other.write(MessageKind::State, "", r#"{"event":"disconnected"}"#);
    run_to_end(rings.path(), &[&one, &other]);
    assert_eq!(tops(rings.path())[4..], [((200, 10, 1), (800, 20, 1), 1, 1)]);
}

/// A clock that was fifty minutes ahead is put right. Method: the same with an engine that is stopped and started between, which
/// reads the step from the journal; a venue's trades go on in true time all the while.
#[test]
fn after_a_step_of_our_clock_bars_health_and_tops_go_on_and_a_restart_reads_the_step_from_the_journal() {
    const SECOND_NS: i64 = 1_000_000_000;
    const AHEAD_S: i64 = 3_000;
    let rings = directory();
    let (mut one, mut other) = two(rings.path());
    let mut engine = start(rings.path(), &[&one, &other]);
    for (feed, size) in [(&mut one, "1.0"), (&mut other, "2.0")] {
        feed.ahead_ns = AHEAD_S * SECOND_NS;
        let depth = |id: u64| {
            format!(
                r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{id},"u":{id},"b":[["1.00","{size}"]],"a":[["9.00","{size}"]]}}"#
            )
        };
        feed.write(MessageKind::Ws, "", &depth(1));
        let snapshot = format!(r#"{{"lastUpdateId":1,"bids":[["1.00","{size}"]],"asks":[["9.00","{size}"]]}}"#);
        feed.write(MessageKind::Rest, "/api/v3/depth?symbol=BTCUSDT&limit=1000", &snapshot);
        feed.write(MessageKind::Ws, "", &depth(2));
        wait_for_all(&engine, &[feed]);
    }
    let mut id = 1_000;
    let mut second = |feed: &mut Feed, second: i64, error_s: i64| {
        feed.ahead_ns = (second + error_s) * SECOND_NS;
        id += 1;
        feed.write(MessageKind::Timer, "", "");
        let ms = 1_700_000_000_000 + second * 1_000;
        let trade =
            format!(r#"{{"e":"trade","E":{ms},"s":"BTCUSDT","t":{id},"p":"10.01","q":"0.5","T":{ms},"m":false}}"#);
        feed.write(MessageKind::Ws, "", &trade);
    };
    for n in 0..200 {
        second(&mut one, n, AHEAD_S);
        second(&mut other, n, AHEAD_S);
        wait_for_all(&engine, &[&one, &other]);
    }
    wait_for_all(&engine, &[&one, &other]);
    let before = [&one, &other].map(Feed::last);
    for feed in [&mut one, &mut other] {
        feed.ahead_ns = 200 * SECOND_NS;
        feed.write(MessageKind::State, "", r#"{"event":"clock_stepped","step_ns":-3000000000000}"#);
    }
    for n in 200..500 {
        second(&mut one, n, 0);
        second(&mut other, n, 0);
        wait_for_all(&engine, &[&one, &other]);
        if n == 350 {
            engine.stop().unwrap();
            engine = start(rings.path(), &[&one, &other]);
        }
    }
    for (feed, before) in [&one, &other].into_iter().zip(before) {
        let bars: Vec<Bar> = published(feed);
        assert_eq!(bars, feed.derived().bars);
        let of = |interval_s: u32| {
            let of = bars.iter().filter(move |bar| bar.source_sequence > before && bar.interval_s == interval_s);
            of.map(|bar| (bar.trade_count, bar.revision > 0)).collect::<Vec<_>>()
        };
        assert!(of(1).len() > 290, "{}", of(1).len());
        // Those that had been given as empty, and the one that was open in true time.
        assert_eq!(of(60)[1..], [(60, true); 4]);
        let health: Vec<Health> = published(feed);
        assert_eq!(health, feed.derived_health());
        let after: Vec<_> = health.iter().filter(|record| record.source_sequence > before).collect();
        assert_eq!(after.len(), 300);
        assert!(after.iter().all(|record| (0..2 * SECOND_NS).contains(&record.interval_ns)));
        assert_eq!(after[299].clock_offset_ns / SECOND_NS, 0, "the lags of a clock that was ahead say nothing now");
    }
    // One falls silent in the time that had been before.
    for n in 500..512 {
        second(&mut one, n, 0);
        wait_for_all(&engine, &[&one]);
    }
    engine.stop().unwrap();
    assert_eq!(tops(rings.path()).iter().map(|told| (told.2, told.3)).collect::<Vec<_>>(), [(1, 0), (2, 0), (1, 1)]);
}

#[test]
fn what_was_asked_for_speed_is_told_for_thread_and_rings_and_an_engine_works_without_it() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let mut options = EngineOptions::new(vec![feed.source()], rings.path().to_owned());
    // No machine has this CPU.
    options.cpu = Some(u32::MAX);
    options.memory.lock = true;
    let engine = MarketDataEngine::start(options).unwrap();
    let told = |of: &str, option: &str| {
        let effect = engine.in_force().iter().find(|(found, effect)| found == of && effect.option == option);
        effect.unwrap_or_else(|| panic!("nothing of {option} of {of}")).1.clone()
    };
    assert!(!told("engine", "cpu").in_force);
    for ring in ["feed.binance", "md.trades", "md.consolidated"] {
        assert!(told(ring, "prefault").in_force, "{ring}");
        let lock = told(ring, "lock");
        assert!(lock.in_force || lock.detail.contains("ulimit -l"), "{ring}: {lock:?}");
    }
    feed.write_market(0, 10);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
}

#[test]
fn latencies_are_counted_by_feed_and_stage_and_of_live_messages_only() {
    let rings = directory();
    let (mut one, mut other) = two(rings.path());
    let mut options = EngineOptions::new(vec![one.source(), other.source()], rings.path().to_owned());
    options.stages_every = 1;
    one.write_market(0, 5);
    one.close();
    one.open();
    let engine = MarketDataEngine::start(options).unwrap();
    wait_for_all(&engine, &[&one, &other]);
    let history = engine.latency(None, LatencyStage::ReceivedPublished).count();
    other.write_market(0, 10);
    wait_for_all(&engine, &[&one, &other]);
    let count = |venue, stage| engine.latency(venue, stage).count();
    let of_other = LatencyStage::ALL.map(|stage| count(Some(Venue::BinanceUs), stage));
    // 33 messages; one tells a connection, the others decode: 2 + 10 + 4 changes of books and 2 snapshots, 10 trades. The
    // first change of each book waits for its snapshot.
    assert_eq!(of_other[4], other.last());
    assert_eq!(of_other[1], of_other[3]);
    assert!(of_other[2] > 10 && of_other[2] < of_other[1], "{of_other:?}");
    assert_eq!(history, 0, "what was written before is no latency");
    assert_eq!(count(None, LatencyStage::ReceivedPublished), other.last());
    engine.stop().unwrap();
}

#[test]
fn an_engine_started_again_goes_on_without_gap_or_duplicate() {
    let rings = directory();
    let (mut one, mut other) = two(rings.path());
    one.write(MessageKind::Timer, "", "");
    let engine = start(rings.path(), &[&one, &other]);
    one.write_market(0, 20);
    other.write_market(0, 20);
    wait_for_all(&engine, &[&one, &other]);
    engine.stop().unwrap();
    // Nobody derives while these come.
    one.write_market(20, 20);
    other.write_market(20, 20);
    run_to_end(rings.path(), &[&one, &other]);
    other.write_market(40, 20);
    // One feed is left out for a while.
    run_to_end(rings.path(), &[&other]);
    one.write_market(40, 20);
    run_to_end(rings.path(), &[&other, &one]);
    assert_all_published(&one);
    assert_all_published(&other);
}

/// Method: readers of other names come and go on every channel until its lines are all taken.
#[test]
fn an_engine_starts_whoever_has_read_its_channels_before() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    // What is durable before the channels are there is history to them.
    run_to_end(rings.path(), &[&feed]);
    feed.write_market(0, 20);
    run_to_end(rings.path(), &[&feed]);
    let channels = CHANNELS.map(|(schema, _)| Ring::open(ring(rings.path(), &format!("md.{}", schema.name))).unwrap());
    let mut names = BTreeSet::new();
    for channel in &channels {
        let refused = (0..2000).map(|name| name.to_string()).find_map(|name| {
            let joined = channel.consumer(&ConsumerOptions::named(&name)).map(drop);
            names.insert(name);
            joined.err()
        });
        assert!(matches!(refused, Some(RingError::ConsumersFull { max: 64, .. })), "{refused:?}");
    }
    feed.write_market(20, 20);
    run_to_end(rings.path(), &[&feed]);
    for (channel, name) in channels.iter().flat_map(|channel| names.iter().map(move |name| (channel, name))) {
        // The last of them never joined.
        let _ = channel.remove_consumer(name);
    }
    assert_all_published(&feed);
}

#[test]
fn messages_the_ring_no_longer_holds_come_from_the_journal() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let engine = start(rings.path(), &[&feed]);
    feed.write_market(0, 1);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    // Several laps of a ring of 64 KiB.
    feed.write_market(1, 1000);
    run_to_end(rings.path(), &[&feed]);
    assert_all_published(&feed);
}

#[test]
fn the_capture_does_not_wait_for_an_engine_that_lags() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let engine = start(rings.path(), &[&feed]);
    feed.write_market(0, 1);
    wait_for_all(&engine, &[&feed]);
    let status = Ring::open(feed.ring()).unwrap().status().unwrap();
    let states: Vec<_> = status.consumers.iter().map(|found| (found.name.as_str(), found.state)).collect();
    assert!(states.contains(&("engine", ConsumerState::Lossy)), "{states:?}");
    // More laps than the engine can follow message by message: what its ring lost it reads from the journal.
    feed.write_market(1, 2000);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    assert_all_published(&feed);
}

#[test]
fn a_reader_that_stands_still_holds_nobody_up_and_is_told_its_gap() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    let engine = start(rings.path(), &[&feed]);
    let trades = Ring::open(ring(rings.path(), "md.trades")).unwrap();
    let refused = trades.consumer(&ConsumerOptions::named("gating").policy(Policy::default())).unwrap_err();
    assert!(refused.to_string().contains("waits for nobody"), "{refused}");
    let mut still = trades.consumer(&ConsumerOptions::named("notebook")).unwrap();
    feed.write_market(0, 20_000);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    assert!(matches!(still.poll(10, |_, _| ()).unwrap(), Read::Gap(gap) if gap.first == 1));
    let mut last = 0;
    while still.poll(1000, |sequence, _| last = sequence).unwrap() != Read::Messages(0) {}
    assert_eq!(last, 20_000);
}

#[test]
fn fresh_channels_begin_after_the_history_and_books_are_whole() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    feed.write_market(0, 30);
    let journaled = feed.last();
    feed.close();
    feed.open();
    let engine = start(rings.path(), &[&feed]);
    feed.write_market(30, 5);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    let expected: Vec<_> =
        feed.derived().trades.into_iter().filter(|trade| trade.source_sequence > journaled).collect();
    assert_eq!(expected.len(), 5);
    assert_eq!(published::<Trade>(&feed), expected);
    assert_eq!(published::<Instrument>(&feed), feed.derived().instruments, "what the records are about is told");
    let images = published::<BookImage>(&feed);
    let last = images.iter().rfind(|image| image.instrument_id & 0xff_ffff == 0).unwrap();
    assert_eq!(last.venue_sequence, 135);
    assert!(images.iter().any(|image| image.instrument_id & 0xff_ffff == 1), "a book that is still is there too");
}

#[test]
fn a_feed_added_later_begins_after_its_history_and_the_others_go_on() {
    let rings = directory();
    let (mut one, mut other) = two(rings.path());
    run_to_end(rings.path(), &[&one]);
    one.write_market(0, 20);
    other.write_market(0, 20);
    other.close();
    other.open();
    let journaled = other.last();
    let engine = start(rings.path(), &[&one, &other]);
    assert_eq!(engine.made_anew(), None);
    other.write_market(20, 20);
    wait_for_all(&engine, &[&one, &other]);
    engine.stop().unwrap();
    assert_all_published(&one);
    assert!(published::<Trade>(&other).iter().all(|trade| trade.source_sequence > journaled));
    assert_eq!(published::<Trade>(&other).len(), 20);
    assert_eq!(published::<Instrument>(&other), other.derived().instruments);
}

/// The points of a feed's entry in the table of positions.
fn points(feed: &Feed) -> [u8; 24] {
    let mut points = [0; 24];
    let table = std::fs::File::open(feed.rings.join("md.positions")).unwrap();
    table.read_exact_at(&mut points, 64 * (feed.venue as u64 + 1) + 16).unwrap();
    points
}

/// As a kill leaves the table when a batch was published and not yet noted.
fn set_points(feed: &Feed, points: &[u8]) {
    patch(&feed.rings.join("md.positions"), 64 * (feed.venue as u64 + 1) + 16, points);
}

/// A batch in progress is told by the newest records of the rings alone, and another feed's records hide them.
#[test]
fn a_feed_left_out_of_a_run_after_a_kill_is_published_once() {
    for cut_short in [false, true] {
        let rings = directory();
        let (mut one, mut other) = two(rings.path());
        run_to_end(rings.path(), &[&one, &other]);
        one.write_market(0, 20);
        other.write_market(0, 20);
        run_to_end(rings.path(), &[&one, &other]);
        let noted = points(&one);
        one.write_market(20, 20);
        run_to_end(rings.path(), &[&one, &other]);
        set_points(&one, &noted);
        other.write_market(20, 20);
        if cut_short {
            // The run without it cannot keep the channels: what is published of it is not published again in new ones.
            let before = one.last();
            std::fs::remove_file(ring(rings.path(), "md.bars")).unwrap();
            let engine = start(rings.path(), &[&other]);
            assert!(engine.made_anew().is_some());
            wait_for_all(&engine, &[&other]);
            engine.stop().unwrap();
            one.write_market(40, 20);
            run_to_end(rings.path(), &[&other, &one]);
            assert_eq!(published::<Trade>(&one), after(one.derived().trades, before - 1));
        } else {
            run_to_end(rings.path(), &[&other]);
            one.write_market(40, 20);
            run_to_end(rings.path(), &[&other, &one]);
            assert_all_published(&one);
            assert_all_published(&other);
            // One a book and batch, and none twice.
            assert!(published::<BookImage>(&one).len() >= 6);
        }
    }
}

fn after(trades: Vec<Trade>, sequence: u64) -> Vec<Trade> {
    trades.into_iter().filter(|trade| trade.source_sequence > sequence).collect()
}

/// As an image of the disk does: without what tells a copy, which goes on in a new epoch.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "birth" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn channels_that_are_ahead_of_a_feed_are_made_anew_and_no_message_is_dropped() {
    let rings = directory();
    let (mut one, mut other) = two(rings.path());
    one.write_market(0, 10);
    one.close();
    // A backup of the journal, put back after the feed went on and was published.
    let (backup, backed_up) = (rings.path().join("backup"), one.last());
    copy(&one.journal(), &backup);
    one.open();
    run_to_end(rings.path(), &[&one, &other]);
    one.write_market(10, 20);
    other.write_market(0, 20);
    run_to_end(rings.path(), &[&one, &other]);
    one.close();
    std::fs::remove_dir_all(one.journal()).unwrap();
    copy(&backup, &one.journal());
    std::fs::remove_file(one.ring()).unwrap();
    one.written.truncate(backed_up as usize);
    one.open();
    // Written before the engine looks: its numbers are those of messages that are gone.
    one.write_market(10, 5);
    let engine = start(rings.path(), &[&one, &other]);
    let reason = engine.made_anew().unwrap().to_owned();
    assert!(reason.contains("feed.binance up to") && reason.ends_with(&format!("ends at {backed_up}")), "{reason}");
    one.write_market(15, 30);
    other.write_market(20, 5);
    wait_for_all(&engine, &[&one, &other]);
    engine.stop().unwrap();
    assert_eq!(published::<Trade>(&one), after(one.derived().trades, backed_up));
    assert_eq!(published::<Instrument>(&one), one.derived().instruments);
    // The feed that was not ahead goes on where it was, in the new channels.
    assert_eq!(published::<Trade>(&other).len(), 5);
    assert_eq!(published::<Instrument>(&other), other.derived().instruments);
    let engine = start(rings.path(), &[&one, &other]);
    assert_eq!(engine.made_anew(), None);
    wait_for_all(&engine, &[&one, &other]);
    engine.stop().unwrap();
    assert_eq!(published::<Trade>(&one).len(), 35);
}

/// What was published of a batch that a kill kept from being noted is ahead of a feed that lost it, too.
#[test]
fn channels_whose_batch_in_progress_is_ahead_of_a_feed_are_made_anew_and_no_message_is_dropped() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    run_to_end(rings.path(), &[&feed]);
    feed.write_market(0, 10);
    feed.close();
    let (backup, backed_up) = (rings.path().join("backup"), feed.last());
    copy(&feed.journal(), &backup);
    feed.open();
    run_to_end(rings.path(), &[&feed]);
    let noted = points(&feed);
    feed.write_market(10, 20);
    run_to_end(rings.path(), &[&feed]);
    set_points(&feed, &noted);
    feed.close();
    std::fs::remove_dir_all(feed.journal()).unwrap();
    copy(&backup, &feed.journal());
    std::fs::remove_file(feed.ring()).unwrap();
    feed.written.truncate(backed_up as usize);
    feed.open();
    feed.write_market(10, 5);
    let engine = start(rings.path(), &[&feed]);
    let reason = engine.made_anew().unwrap_or("kept").to_owned();
    assert!(reason.contains("feed.binance up to") && reason.ends_with(&format!("ends at {backed_up}")), "{reason}");
    feed.write_market(15, 30);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    assert_eq!(published::<Trade>(&feed), after(feed.derived().trades, backed_up));
    assert_eq!(published::<Instrument>(&feed), feed.derived().instruments);
}

#[test]
fn channels_derived_from_another_journal_are_made_anew_unless_somebody_has_them_open() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    run_to_end(rings.path(), &[&feed]);
    feed.write_market(0, 20);
    run_to_end(rings.path(), &[&feed]);
    feed.close();
    std::fs::remove_dir_all(feed.journal()).unwrap();
    std::fs::remove_file(feed.ring()).unwrap();
    feed.written.clear();
    feed.open();
    let quotes = Ring::open(ring(rings.path(), "md.quotes")).unwrap();
    let reader = quotes.consumer(&ConsumerOptions::named("notebook")).unwrap();
    let refused = try_start(rings.path(), &[&feed]).unwrap_err();
    assert!(matches!(refused, PlaneError::InUse { .. }), "{refused}");
    let said = format!("\"notebook\" of process {}", std::process::id());
    assert!(refused.to_string().contains(&said), "{refused}");
    drop(reader);
    let engine = start(rings.path(), &[&feed]);
    assert_eq!(engine.made_anew(), Some("they were derived from another journal of feed.binance"));
    feed.write_market(0, 20);
    wait_for_all(&engine, &[&feed]);
    engine.stop().unwrap();
    assert_all_published(&feed);
}

#[test]
fn channels_that_cannot_be_read_are_made_anew_with_the_reason() {
    type Break = fn(&Path);
    let breaks: [(&str, Break); 7] = [
        ("no usable ring", |rings| std::fs::write(ring(rings, "md.depth"), b"no ring").unwrap()),
        ("is missing", |rings| std::fs::remove_file(ring(rings, "md.status")).unwrap()),
        ("md.positions is missing", |rings| std::fs::remove_file(rings.join("md.positions")).unwrap()),
        ("no table of positions", |rings| std::fs::write(rings.join("md.positions"), b"").unwrap()),
        ("layout version 9", |rings| patch(&ring(rings, "md.bars"), 8, &[9])),
        // In the price of the newest trade; the slots are the end of the file.
        ("damaged", |rings| {
            let trades = Ring::open(ring(rings, "md.trades")).unwrap();
            let (count, stride) = (trades.info().kind.capacity(), trades.info().stride as u64);
            let slots = trades.info().file_size_bytes - count * stride;
            let at = slots + trades.published() % count * stride + 56;
            patch(&ring(rings, "md.trades"), at, &[0xff; 3]);
        }),
        ("kind and size", |rings| {
            std::fs::remove_file(ring(rings, "md.book")).unwrap();
            Ring::create(ring(rings, "md.book"), &RingOptions::slots(64, 8)).unwrap();
        }),
    ];
    for (said, damage) in breaks {
        let rings = directory();
        let mut feed = Feed::new(rings.path(), Venue::Binance);
        run_to_end(rings.path(), &[&feed]);
        feed.write_market(0, 20);
        run_to_end(rings.path(), &[&feed]);
        let before = feed.last();
        damage(rings.path());
        let engine = start(rings.path(), &[&feed]);
        let reason = engine.made_anew().unwrap_or_else(|| panic!("{said}: kept")).to_owned();
        assert!(reason.contains(said), "{said}: {reason}");
        feed.write_market(20, 20);
        wait_for_all(&engine, &[&feed]);
        engine.stop().unwrap();
        let trades = published::<Trade>(&feed);
        let table_is_gone = said.contains("positions");
        if !table_is_gone {
            assert_eq!(trades, after(feed.derived().trades, before), "{said}");
        }
        assert_eq!(trades.last(), feed.derived().trades.last(), "{said}");
        assert_eq!(published::<Instrument>(&feed), feed.derived().instruments, "{said}");
    }
}

fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_second_engine_is_refused_and_so_is_one_without_feeds_or_with_one_twice() {
    let rings = directory();
    let feed = Feed::new(rings.path(), Venue::Binance);
    let engine = start(rings.path(), &[&feed]);
    let refused = try_start(rings.path(), &[&feed]).unwrap_err().to_string();
    assert!(refused.contains("already has a living producer"), "{refused}");
    engine.stop().unwrap();
    for feeds in [vec![], vec![&feed, &feed]] {
        assert!(matches!(try_start(rings.path(), &feeds).unwrap_err(), PlaneError::Feeds { .. }));
    }
}
