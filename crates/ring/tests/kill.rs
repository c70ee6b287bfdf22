//! Real processes killed with SIGKILL at random moments. Short here; `cargo test -- --ignored` has the full numbers.

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Rings, drain};
use tidebook_ring::*;

/// Messages of one poll of the consumer that is killed: the most it may see twice.
const BATCH: u64 = 64;

fn size_of(ring: &Ring, sequence: u64) -> usize {
    match ring.info().kind {
        RingKind::Slots { record_size_bytes, .. } => record_size_bytes as usize,
        // Now and then one in parts (above an eighth of 64 KiB).
        RingKind::Frames { .. } | RingKind::Runs { .. } if sequence.is_multiple_of(97) => 20_000,
        RingKind::Frames { .. } | RingKind::Runs { .. } => (sequence * 53 % 600) as usize,
    }
}

fn payload(ring: &Ring, sequence: u64) -> Vec<u8> {
    vec![sequence as u8; size_of(ring, sequence)]
}

fn check(ring: &Ring, sequence: u64, payload: &[u8]) {
    assert_eq!(payload.len(), size_of(ring, sequence), "message {sequence}");
    assert!(payload.iter().all(|byte| *byte == sequence as u8), "message {sequence} is torn");
}

/// Not a test: what the children run.
#[test]
fn child() {
    let Some(role) = std::env::var_os("TIDEBOOK_TEST_CHILD") else { return };
    common::die_with_the_parent();
    let ring = Ring::open(std::env::var_os("TIDEBOOK_TEST_RING").expect("the parent names the ring")).unwrap();
    if role == "producer" {
        let mut producer = ring.producer().unwrap();
        let mut bytes = vec![0; 20_000];
        loop {
            let sequence = producer.published() + 1;
            let size = size_of(&ring, sequence);
            if sequence.is_multiple_of(3) && size < 1000 {
                let mut claim = producer.claim(size).unwrap();
                claim.payload().fill(sequence as u8);
                claim.commit().unwrap();
            } else {
                bytes[..size].fill(sequence as u8);
                producer.write(&bytes[..size]).unwrap();
            }
        }
    }
    let mut consumer = ring.consumer(&ConsumerOptions::named("victim")).unwrap();
    let log = std::env::var_os("TIDEBOOK_TEST_LOG").expect("the parent names the log");
    let mut log = OpenOptions::new().append(true).open(log).unwrap();
    loop {
        consumer.wait(None).unwrap();
        let (mut first, mut last) = (0, 0);
        let read = consumer.read(BATCH as usize, |sequence, payload| {
            check(&ring, sequence, payload);
            first = if first == 0 { sequence } else { first };
            last = sequence;
        });
        assert!(matches!(read.unwrap(), Read::Messages(1..)));
        // One write, whole or not at all; it is known to the parent before the cursor moves.
        log.write_all([first.to_le_bytes(), last.to_le_bytes()].as_flattened()).unwrap();
        consumer.commit();
    }
}

fn spawn(role: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--quiet"])
        .env("TIDEBOOK_TEST_CHILD", role)
        .env("TIDEBOOK_TEST_RING", path)
        .env("TIDEBOOK_TEST_LOG", path.with_extension("log"))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Method: a child writes until it is killed; a gating and a lossy consumer here check every message. What the dead
/// committed must be readable, what it had not must not show, and the next child must go on at the next sequence.
fn kill_producers(kills: u32, options: &RingOptions, seed: u64) {
    let mut state = seed;
    let rings = Rings::new();
    let ring = rings.create(options);
    let mut gating = ring.consumer(&ConsumerOptions::named("gating")).unwrap();
    let mut lossy = ring.consumer(&ConsumerOptions::named("lossy").policy(Policy::Overwrite)).unwrap();
    let (mut next, mut next_lossy) = (1, 1);
    let mut longest = Duration::ZERO;
    for kill in 0..kills {
        let mut child = spawn("producer", &rings.path());
        let mut poll = |next: &mut u64, next_lossy: &mut u64| {
            let read = gating.poll(100, |sequence, payload| {
                assert_eq!(sequence, *next, "seed {seed}, kill {kill}");
                check(&ring, sequence, payload);
                *next += 1;
            });
            let found = matches!(read.unwrap(), Read::Messages(1..));
            let read = lossy.poll(10, |sequence, payload| {
                assert_eq!(sequence, *next_lossy, "seed {seed}, kill {kill}");
                check(&ring, sequence, payload);
                *next_lossy += 1;
            });
            if let Read::Gap(gap) = read.unwrap() {
                assert_eq!(gap.first, *next_lossy);
                *next_lossy += gap.count;
            }
            found
        };
        let before = next;
        while next == before {
            poll(&mut next, &mut next_lossy);
        }
        let until = Instant::now() + Duration::from_micros(random(&mut state) % 2000);
        while Instant::now() < until {
            poll(&mut next, &mut next_lossy);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while poll(&mut next, &mut next_lossy) {}
        // As the next producer sees it.
        let started = Instant::now();
        let producer = ring.producer().unwrap();
        longest = longest.max(started.elapsed());
        assert_eq!(producer.published() + 1, next, "seed {seed}, kill {kill}");
    }
    println!("{kills} producers killed over {} messages, longest reopening {longest:?}, seed {seed}", next - 1);
}

/// Method: a child consumes and reports each batch before it commits it; it is killed while this process writes. The
/// next child must begin right after the last batch committed: no gap, and at most one batch twice.
fn kill_consumers(kills: u32, options: &RingOptions, seed: u64) {
    let mut state = seed;
    let rings = Rings::new();
    let ring = rings.create(options);
    let mut producers: Vec<_> = (0..ring.info().producers_max).map(|_| ring.producer().unwrap()).collect();
    // Known from the start, so that the producers wait for it between its lives.
    drop(ring.consumer(&ConsumerOptions::named("victim")).unwrap());
    let log_path = rings.path().with_extension("log");
    let mut written = ring.published();
    let mut expected = 1;
    let mut repeated = 0;
    for kill in 0..kills {
        std::fs::write(&log_path, []).unwrap();
        let mut child = spawn("consumer", &rings.path());
        let started = Instant::now();
        let mut kill_at = None;
        while kill_at.is_none_or(|at| Instant::now() < at) {
            let turn = (random(&mut state) % producers.len() as u64) as usize;
            if let Written::At(sequence) =
                producers[turn].write_within(&payload(&ring, written + 1), Duration::ZERO).unwrap()
            {
                written += 1;
                assert_eq!(sequence, written);
            }
            if kill_at.is_none() && std::fs::metadata(&log_path).unwrap().len() > 16 {
                kill_at = Some(Instant::now() + Duration::from_micros(random(&mut state) % 2000));
            }
            assert!(started.elapsed() < Duration::from_secs(60), "the child reads nothing");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let log = std::fs::read(&log_path).unwrap();
        let (numbers, rest) = log.as_chunks::<8>();
        let (batches, unpaired) = numbers.as_chunks::<2>();
        assert!(rest.is_empty() && unpaired.is_empty());
        for (index, [first, last]) in batches.iter().map(|batch| batch.map(u64::from_le_bytes)).enumerate() {
            if index == 0 {
                assert!(first <= expected && first + BATCH >= expected, "seed {seed}, kill {kill}: {first}");
                repeated += expected - first;
            } else {
                assert_eq!(first, expected, "seed {seed}, kill {kill}");
            }
            expected = last + 1;
        }
    }
    println!("{kills} consumers killed over {expected} messages, {repeated} seen twice, seed {seed}");
}

fn kinds() -> [RingOptions; 2] {
    [RingOptions::frames(1 << 16), RingOptions::slots(200, 128)]
}

/// The same records and messages from two producers.
fn kinds_of_many() -> [RingOptions; 2] {
    [RingOptions::runs(256, 1 << 9).mpsc(2), RingOptions::slots(200, 128).mpsc(2)]
}

/// Method: a consumer reads until it is killed; then what it had not committed and 100 messages more are read by the next
/// process of its name, each once.
#[test]
fn a_hundred_messages_sent_while_a_named_consumer_is_down_are_a_hundred_received() {
    for options in kinds().into_iter().chain(kinds_of_many()) {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        std::fs::write(rings.path().with_extension("log"), []).unwrap();
        drop(ring.consumer(&ConsumerOptions::named("victim")).unwrap());
        let mut child = spawn("consumer", &rings.path());
        let started = Instant::now();
        for sequence in 1..=20 {
            assert_eq!(producer.write(&payload(&ring, sequence)).unwrap(), sequence);
        }
        while std::fs::metadata(rings.path().with_extension("log")).unwrap().len() == 0 {
            assert!(started.elapsed() < Duration::from_secs(60), "the child reads nothing");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for sequence in 21..=120 {
            assert_eq!(producer.write(&payload(&ring, sequence)).unwrap(), sequence);
        }
        let mut consumer = ring.consumer(&ConsumerOptions::named("victim")).unwrap();
        let first = consumer.next_sequence();
        assert!(first <= 21);
        let received = drain(&mut consumer, 7);
        assert!(received.iter().map(|(sequence, _)| *sequence).eq(first..=120));
        received.iter().for_each(|(sequence, bytes)| check(&ring, *sequence, bytes));
    }
}

#[test]
fn killed_producers_leave_no_half_message_and_the_next_goes_on_at_the_next_sequence() {
    kinds().iter().for_each(|options| kill_producers(25, options, 0x5EED));
}

#[test]
fn killed_consumers_resume_without_a_gap_and_repeat_at_most_one_batch() {
    kinds().iter().chain(&kinds_of_many()).for_each(|options| kill_consumers(25, options, 0x5EED));
}

#[test]
#[ignore = "full campaign: make soak"]
fn thousands_of_kills_lose_nothing() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    for options in kinds() {
        kill_producers(2500, &options, seed);
        kill_consumers(2500, &options, seed);
    }
    kinds_of_many().iter().for_each(|options| kill_consumers(2500, options, seed));
}
