//! The newest record of each key, beside the ring.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::Rings;
use tidebook_ring::*;

const KEYS: u64 = 20;

/// `[8 number][2 key][6 zero][8 number again, inverted]`.
fn record(key: u64, number: u64) -> [u8; 24] {
    let mut record = [0; 24];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record[8..10].copy_from_slice(&(key as u16).to_le_bytes());
    record[16..].copy_from_slice(&(!number).to_le_bytes());
    record
}

/// Key and number of a record that is whole.
fn checked(record: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
    assert_eq!(word(0), !word(16), "torn");
    (word(8), word(0))
}

fn options(mode: Mode) -> RingOptions {
    let options = RingOptions::slots(24, 64).last_values(LastValues { count: KEYS, key_offset: 8, key_size: 2 });
    if mode == Mode::Mpsc { options.mpsc(4) } else { options }
}

/// The table as key -> (sequence, number).
fn table(ring: &Ring) -> BTreeMap<u64, (u64, u64)> {
    let mut found = BTreeMap::new();
    ring.last_values(|key, sequence, record| {
        let (by, number) = checked(record);
        assert_eq!(by, key);
        found.insert(key, (sequence, number));
    })
    .unwrap();
    found
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn the_table_has_the_newest_record_of_every_key_however_it_was_written() {
    for mode in [Mode::Spsc, Mode::Mpsc] {
        let rings = Rings::new();
        let ring = rings.create(&options(mode));
        let mut producers: Vec<_> =
            (0..if mode == Mode::Mpsc { 3 } else { 1 }).map(|_| ring.producer().unwrap()).collect();
        let mut expected = BTreeMap::new();
        let mut state = 0x5EED;
        assert_eq!(ring.last_value(3).unwrap(), None);
        for number in 0..2000 {
            let at = random(&mut state) as usize % producers.len();
            let producer = &mut producers[at];
            let key = random(&mut state) % (KEYS - 1);
            match random(&mut state) % 4 {
                0 => {
                    let other = (key + 5) % (KEYS - 1);
                    let records = [record(key, number), record(other, number), record(key, number + 1)].concat();
                    let last = producer.write_records(&records).unwrap();
                    expected.insert(other, (last - 1, number));
                    expected.insert(key, (last, number + 1));
                }
                1 => {
                    let mut claim = producer.claim(24).unwrap();
                    claim.payload().copy_from_slice(&record(key, number));
                    if !random(&mut state).is_multiple_of(3) {
                        expected.insert(key, (claim.commit().unwrap(), number));
                    }
                }
                _ => drop(expected.insert(key, (producer.write(&record(key, number)).unwrap(), number))),
            }
            if number % 50 == 0 {
                assert_eq!(table(&ring), expected, "{mode:?}");
            }
        }
        for (key, (sequence, number)) in &expected {
            let value = LastValue { sequence: *sequence, record: record(*key, *number).to_vec() };
            assert_eq!(ring.last_value(*key).unwrap(), Some(value));
        }
        // One key was never written; another process sees the same.
        assert_eq!(ring.last_value(KEYS - 1).unwrap(), None);
        assert_eq!(table(&Ring::open(rings.path()).unwrap()), expected);
    }
}

#[test]
fn a_key_of_any_size_is_found_and_one_too_high_is_refused_before_anything_is_written() {
    for (mode, key_size) in [Mode::Spsc, Mode::Mpsc].into_iter().zip([1, 2, 4, 8]).chain([(Mode::Mpsc, 8)]) {
        let rings = Rings::new();
        let table = LastValues { count: 200, key_offset: 8, key_size };
        let mut options = RingOptions::slots(16, 8).last_values(table);
        options = if mode == Mode::Mpsc { options.mpsc(2) } else { options };
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let of = |key: u64| [key.to_le_bytes(), key.to_le_bytes()].concat();
        assert_eq!(producer.write(&of(199)).unwrap(), 1);
        assert_eq!(ring.last_value(199).unwrap().unwrap().record, of(199));
        let refused = producer.write(&of(200)).unwrap_err();
        assert!(matches!(refused, RingError::KeyRange { key: 200, count: 200 }), "{refused}");
        let refused = producer.write_records(&[of(1), of(255)].concat()).unwrap_err();
        assert!(matches!(refused, RingError::KeyRange { key: 255, .. }), "{refused}");
        let mut claim = producer.claim(16).unwrap();
        claim.payload().fill(255);
        assert!(matches!(claim.commit().unwrap_err(), RingError::KeyRange { .. }));
        assert!(matches!(ring.last_value(200).unwrap_err(), RingError::KeyRange { .. }));
        assert_eq!(ring.last_value(1).unwrap(), None);
        let next = producer.write(&of(1)).unwrap();
        // A claim of many producers that is given back keeps its sequence.
        assert_eq!(next, if mode == Mode::Mpsc { 3 } else { 2 });
    }
}

#[test]
fn what_cannot_have_last_values_is_refused_and_a_ring_with_them_is_not_taken_for_one_without() {
    let table = LastValues { count: 8, key_offset: 0, key_size: 8 };
    let wrong = |count, key_offset, key_size| LastValues { count, key_offset, key_size };
    for refused in [
        RingOptions::frames(4096).last_values(table),
        RingOptions::slots(16, 8).last_values(wrong(0, 0, 8)),
        RingOptions::slots(16, 8).last_values(wrong(1 << 25, 0, 8)),
        RingOptions::slots(16, 8).last_values(wrong(8, 9, 8)),
        RingOptions::slots(16, 8).last_values(wrong(8, 0, 3)),
        RingOptions::slots(16, 8).last_values(table).visible_durable(true),
    ] {
        assert!(matches!(refused.check(), Err(RingError::Option { .. })), "{refused:?}");
    }
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::slots(16, 8).last_values(table));
    let other = ring.require(&RingOptions::slots(16, 8)).unwrap_err();
    assert!(matches!(other, RingError::Mismatch { field: "last_values", .. }), "{other}");
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::slots(16, 8));
    assert!(matches!(ring.last_value(0), Err(RingError::Kind { .. })));
}

/// Method: two producers write few keys as fast as they can, two readers check every record they see.
#[test]
fn readers_see_whole_records_that_never_go_back() {
    let rings = Rings::new();
    let ring = rings.create(&options(Mode::Mpsc));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut producer = ring.producer().unwrap();
            let done = &done;
            scope.spawn(move || {
                for number in 0..30_000 {
                    producer.write(&record(number % 3, number)).unwrap();
                }
                done.store(true, Ordering::Release);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = [0; 3];
                while !done.load(Ordering::Acquire) {
                    for key in 0..3 {
                        let Some(value) = ring.last_value(key).unwrap() else { continue };
                        assert_eq!(checked(&value.record).0, key);
                        assert!(value.sequence >= newest[key as usize], "{} after {newest:?}", value.sequence);
                        newest[key as usize] = value.sequence;
                    }
                }
            });
        }
    });
    // What was published last of each key is there.
    let mut consumer = ring.consumer(&ConsumerOptions::default()).unwrap();
    let mut expected = BTreeMap::new();
    for (sequence, payload) in common::drain(&mut consumer, 100) {
        let (key, number) = checked(&payload);
        expected.insert(key, (sequence, number));
    }
    assert_eq!(table(&ring), expected);
}

/// Not a test: what the children run.
#[test]
fn child() {
    if std::env::var_os("TIDEBOOK_TEST_CHILD").is_none() {
        return;
    }
    common::die_with_the_parent();
    let path = std::env::var_os("TIDEBOOK_TEST_RING").expect("the parent names the ring");
    let mut state = u64::from(std::process::id()) | 1;
    let mut producer = Ring::open(&path).unwrap().producer().unwrap();
    for number in 0.. {
        let key = random(&mut state) % KEYS;
        match number % 4 {
            0 => drop(producer.write_records(&[record(key, number), record((key + 1) % KEYS, number)].concat())),
            1 => {
                let mut claim = producer.claim(24).unwrap();
                claim.payload().copy_from_slice(&record(key, number));
                claim.commit().unwrap();
            }
            _ => drop(producer.write(&record(key, number))),
        }
    }
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--quiet"])
        .env("TIDEBOOK_TEST_CHILD", "producer")
        .env("TIDEBOOK_TEST_RING", path)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Kills producers at random moments. After each death of the last of them, all that was committed is read, and the table
/// must have exactly the newest of each key.
fn kill_producers(mode: Mode, rounds: u32, seed: u64) {
    let rings = Rings::new();
    let ring = rings.create(&options(mode));
    let mut consumer = ring.consumer(&ConsumerOptions::named("model")).unwrap();
    let mut expected = BTreeMap::new();
    let mut state = seed | 1;
    let together = if mode == Mode::Mpsc { 3 } else { 1 };
    for round in 0..rounds {
        let mut read = |consumer: &mut Consumer| {
            let polled = consumer.poll(100, |sequence, payload| {
                let (key, number) = checked(payload);
                expected.insert(key, (sequence, number));
            });
            let Read::Messages(found) = polled.unwrap() else {
                panic!("seed {seed}: a gating consumer lost something")
            };
            found
        };
        let mut children: Vec<_> = (0..together).map(|_| spawn(&rings.path())).collect();
        let begun = Instant::now();
        let mut found = 0;
        while found < 500 {
            found += read(&mut consumer);
            assert!(begun.elapsed() < Duration::from_secs(60), "seed {seed}, round {round}: nothing is written");
        }
        for mut child in children.drain(..) {
            let until = Instant::now() + Duration::from_micros(random(&mut state) % 2000);
            while Instant::now() < until {
                read(&mut consumer);
                table(&ring);
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // What was claimed by the dead is found and voided on the way.
        let end = ring.published();
        while consumer.next_sequence() <= end || ring.status().unwrap().stuck.is_some() {
            read(&mut consumer);
        }
        while read(&mut consumer) > 0 {}
        assert_eq!(table(&ring), expected, "{mode:?}, seed {seed}, round {round}");
    }
    println!(
        "{mode:?}: {rounds} rounds of {together} killed producers over {} messages, seed {seed}",
        ring.published()
    );
}

#[test]
fn after_producers_were_killed_the_table_has_exactly_what_they_committed() {
    kill_producers(Mode::Spsc, 5, 0x5EED);
    kill_producers(Mode::Mpsc, 5, 0x5EED);
}

#[test]
#[ignore = "thousands of kills: make soak"]
fn after_thousands_of_kills_the_table_has_exactly_what_was_committed() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    kill_producers(Mode::Spsc, 2000, seed);
    kill_producers(Mode::Mpsc, 1000, seed);
}
