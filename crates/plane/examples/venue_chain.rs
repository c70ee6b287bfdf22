//! How long a command takes through the venue, beside the bare chain of as many rings and threads, and beside a bare sync.
//!
//! `venue_chain <venue|bare> <fused|split> <per_s> <count>`: an open loop without a journal. Commands are due at fixed times, and each counts
//! from when it was due to when its first execution is read; who is late is not excused. `bare` hands the same 128 bytes on over the same
//! rings, one record out for each in. `venue_chain wal <fused|split> <per_s> <count> <directory>`: the same through the journal, then all at
//! once, then syncs of 4 KiB alone in the same directory. Prints one line of JSON.

#![allow(clippy::float_arithmetic, reason = "it measures")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidebook_plane::{VenueDurability, VenueEngine, VenueEngineOptions, VenueLayout, VenueRings, VenueTime};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Producer, Read, Ring, RingOptions, Start, Wait};
use tidebook_types::command::{AccountBody, InstrumentBody, PlaceBody, SessionBody, TransferBody};
use tidebook_types::{Command, CommandKind, Execution, OrderType, Record, Session, TimeInForce};
use zerocopy::{FromBytes, IntoBytes};

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let usage = "venue_chain <venue|bare|wal> <fused|split> <per_s> <count> [directory]";
    let (mode, layout) = (words.first().expect(usage).as_str(), words.get(1).expect(usage).as_str());
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok()).expect(usage);
    let (per_s, count) = (number(2), number(3));
    let layout = if layout == "split" { VenueLayout::Split } else { VenueLayout::Fused };
    let base = if mode == "wal" { words.get(4).expect(usage).as_str() } else { "/dev/shm" };
    let directory =
        tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir_in(base).expect("a directory");
    let rings =
        tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir_in("/dev/shm").expect("rings");
    match mode {
        "bare" => println!("{}", bare(rings.path(), layout, per_s, count)),
        "venue" => println!("{}", venue(rings.path(), directory.path(), layout, per_s, count, false)),
        "wal" => {
            let open = venue(rings.path(), directory.path(), layout, per_s, count, true);
            let sync = sync_alone(directory.path());
            println!("{}", open.replacen('{', &format!(r#"{{"fdatasync_p50_ns":{sync},"#), 1));
        }
        _ => panic!("{usage}"),
    }
}

fn order(index: u64) -> Command {
    let side = if index.is_multiple_of(2) { 1 } else { -1 };
    let (order_type, time_in_force) = (OrderType::Limit.code(), TimeInForce::Gtc.code());
    let body = PlaceBody { price: 100, size: 1, side, order_type, time_in_force, ..PlaceBody::default() };
    Command::new(CommandKind::Place, 1 + index as u32 % 2, 1, &body)
}

fn opening() -> Vec<Command> {
    let instrument = InstrumentBody {
        tick: 1,
        lot: 1,
        size_max: 1_000_000,
        base_asset: 1,
        quote_asset: 2,
        ..InstrumentBody::default()
    };
    let mut commands = vec![Command::new(CommandKind::Instrument, 0, 1, &instrument)];
    for account in [1, 2] {
        commands.push(Command::new(CommandKind::Account, account, 0, &AccountBody::default()));
        for asset in [1, 2] {
            let transfer = TransferBody { amount: 1 << 50, asset, ..TransferBody::default() };
            commands.push(Command::new(CommandKind::Transfer, account, 0, &transfer));
        }
    }
    let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
    commands.push(Command::new(CommandKind::Session, 0, 1, &session));
    commands
}

/// Sends at fixed times and reads what comes; ns from due to read, by the number of each command from 0.
fn open_loop(
    producer: &mut Producer,
    consumer: &mut Consumer,
    per_s: u64,
    count: u64,
    mut index_of: impl FnMut(u64, &[u8]) -> Option<u64>,
) -> Vec<u64> {
    let gap_ns = 1_000_000_000 / per_s.max(1);
    let mut took = vec![0; count as usize];
    let (began, mut sent, mut read) = (Instant::now() + Duration::from_millis(1), 0, 0);
    while read < count {
        let now = Instant::now().saturating_duration_since(began).as_nanos() as u64;
        while sent < count && sent * gap_ns <= now {
            // One that finds no room waits like the others behind it: its time has begun.
            let written = producer.write_within(order(sent).as_bytes(), Duration::ZERO).expect("a write");
            if !matches!(written, tidebook_ring::Written::At(_)) {
                break;
            }
            sent += 1;
        }
        let found = consumer.read(64, |sequence, payload| {
            if let Some(index) = index_of(sequence, payload) {
                let now = began.elapsed().as_nanos() as u64;
                took[index as usize] = now.saturating_sub(index * gap_ns);
                read += 1;
            }
        });
        assert!(matches!(found, Ok(Read::Messages(_))), "{found:?}");
        consumer.commit();
    }
    took
}

fn told(mut took: Vec<u64>, more: &str) -> String {
    let stalls = took.iter().filter(|ns| **ns > 1_000_000).count();
    // The first tenth warms up.
    took.drain(..took.len() / 10);
    took.sort_unstable();
    let at = |per_mille: usize| took[(took.len() * per_mille / 1000).min(took.len() - 1)];
    format!(
        r#"{{"p50_ns":{},"p99_ns":{},"p999_ns":{},"max_ns":{},"over_1ms":{stalls},"count":{}{more}}}"#,
        at(500),
        at(990),
        at(999),
        at(1000),
        took.len()
    )
}

fn ring_of<T: Record>(path: &Path, count: u64) -> RingOptions {
    drop(Ring::remove(path));
    RingOptions::records(&T::SCHEMA, count).parking(true).consumers_max(64)
}

fn bare(rings: &Path, layout: VenueLayout, per_s: u64, count: u64) -> String {
    let make = |name: &str, out: bool| {
        let path = rings.join(format!("{name}.ring"));
        // As many slots as the venue's own rings have below: footprint and room decide the tail.
        let count =
            [("in", 1 << 14), ("orders", 1 << 16), ("out", 1 << 17)].into_iter().find(|(known, _)| *known == name);
        let options = ring_of::<Command>(&path, count.expect("one of the three").1);
        let options = if name == "in" { options.mpsc(64) } else { options.never_waits(out) };
        Ring::create(&path, &options).expect("a ring")
    };
    let (input, orders, out) = (make("in", false), make("orders", false), make("out", true));
    let gating = || ConsumerOptions::named("hop").start(Start::Earliest).wait(Wait::Hybrid);
    let stopping = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    let mut hop = |from: &Ring, to: Vec<&Ring>| {
        let mut consumer = from.consumer(&gating()).expect("a consumer");
        let mut producers: Vec<_> = to.into_iter().map(|ring| ring.producer().expect("a producer")).collect();
        let stopping = Arc::clone(&stopping);
        threads.push(std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let mut hand_on = |_: u64, payload: &[u8]| {
                    producers.iter_mut().for_each(|producer| drop(producer.write(payload)));
                };
                match consumer.read(64, &mut hand_on) {
                    Ok(Read::Messages(0)) => drop(consumer.wait(Some(Duration::from_millis(50)))),
                    found => assert!(found.is_ok(), "{found:?}"),
                }
                consumer.commit();
            }
        }));
    };
    match layout {
        VenueLayout::Fused => hop(&input, vec![&orders, &out]),
        VenueLayout::Split => {
            hop(&input, vec![&orders]);
            hop(&orders, vec![&out]);
        }
    }
    let options = ConsumerOptions::named("").start(Start::Earliest).policy(Policy::Overwrite);
    let (mut consumer, mut producer) =
        (out.consumer(&options).expect("a consumer"), input.producer().expect("a producer"));
    let took = open_loop(&mut producer, &mut consumer, per_s, count, |sequence, _| Some(sequence - 1));
    stopping.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("a hop"));
    told(took, "")
}

fn venue(rings: &Path, directory: &Path, layout: VenueLayout, per_s: u64, count: u64, is_durable: bool) -> String {
    let mut options = VenueEngineOptions::new(rings.to_owned(), directory.join("orders"));
    options.durability = if is_durable { VenueDurability::Wal } else { VenueDurability::Memory };
    options.layout = Some(layout);
    // As the bare chain waits; a durable one sleeps between syncs.
    options.wait = if is_durable { Wait::Park } else { Wait::Hybrid };
    options.time = VenueTime::Arrival;
    options.rings = VenueRings { orders_in: 1 << 14, orders: 1 << 16, executions: 1 << 17, ..VenueRings::default() };
    let engine = VenueEngine::start(options).expect("a venue");
    let mut producer = Ring::open(rings.join("orders.in.ring")).expect("orders.in").producer().expect("a producer");
    let begin = opening();
    begin.iter().for_each(|command| drop(producer.write(command.as_bytes())));
    let opened = begin.len() as u64;
    while engine.status().executions < opened {
        std::thread::sleep(Duration::from_millis(1));
    }
    let out = Ring::open(rings.join("executions.ring")).expect("executions");
    let options = ConsumerOptions::named("").start(Start::Latest).policy(Policy::Overwrite);
    let mut consumer = out.consumer(&options).expect("a consumer");
    let took = open_loop(&mut producer, &mut consumer, per_s, count, |_, payload| {
        let execution = Execution::read_from_bytes(payload).expect("an execution");
        (execution.source_index == 0).then(|| execution.source_sequence - opened - 1)
    });
    let mut more = String::new();
    if is_durable {
        // As fast as there is room, until the last is synced and published.
        let began = Instant::now();
        for index in 0..count {
            producer.write(order(count + index).as_bytes()).expect("a write");
        }
        let last = opened + 2 * count;
        while engine.status().visible < last {
            std::thread::sleep(Duration::from_micros(100));
        }
        let per_s = count as f64 / began.elapsed().as_secs_f64();
        more = format!(r#","sustained_per_s":{per_s:.0}"#);
    }
    engine.stop().expect("a clean stop");
    told(took, &more)
}

/// ns of the median of syncs of 4 KiB each, one after another in a file that is there already.
fn sync_alone(directory: &Path) -> u64 {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(directory.join("alone")).expect("a file");
    file.write_all_at(&vec![1; 4 << 20], 0).expect("room");
    file.sync_all().expect("a sync");
    let mut took: Vec<_> = (0..500)
        .map(|index| {
            let began = Instant::now();
            file.write_all_at(&[2; 4096], index * 4096).expect("a write");
            file.sync_data().expect("a sync");
            began.elapsed().as_nanos() as u64
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}
