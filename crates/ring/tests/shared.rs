//! Many producers: one order for all consumers, and nobody is held up by a dead one.

mod common;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Rings, drain};
use rustix::process::{Pid, Signal, kill_process};
use tidebook_ring::layout::STAMP_EVERY;
use tidebook_ring::*;

/// Records of 16 bytes, and messages of one to about five slots.
fn kinds() -> [RingOptions; 2] {
    [RingOptions::slots(16, 64).mpsc(4), RingOptions::runs(64, 256).mpsc(4)]
}

/// Which producer, which of its messages; on runs with more of it, so that some take several slots.
fn message(ring: &Ring, producer: u64, number: u64) -> Vec<u8> {
    let mut bytes = [producer.to_le_bytes(), number.to_le_bytes()].concat();
    if ring.info().record_size().is_none() {
        bytes.resize(16 + (number * 37 % 200) as usize, number as u8);
    }
    bytes
}

fn number_at(payload: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(payload[at..at + 8].try_into().unwrap())
}

/// Checks a message whole and gives who wrote it and which of his it is.
fn checked(ring: &Ring, payload: &[u8]) -> (u64, u64) {
    let (producer, number) = (number_at(payload, 0), number_at(payload, 8));
    assert_eq!(payload, message(ring, producer, number), "a torn message");
    (producer, number)
}

/// Method: four threads write while two consumers here read to the end.
#[test]
fn messages_of_many_producers_arrive_whole_in_one_order_and_each_producers_in_its_own() {
    const EACH: u64 = 5000;
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut consumers = ["one", "two"].map(|name| ring.consumer(&ConsumerOptions::named(name)).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|producer| {
                let ring = ring.clone();
                std::thread::spawn(move || {
                    let mut end = ring.producer().unwrap();
                    for number in 0..EACH {
                        end.write(&message(&ring, producer, number)).unwrap();
                    }
                })
            })
            .collect();
        let mut seen: [Vec<(u64, u64, u64)>; 2] = [Vec::new(), Vec::new()];
        while seen.iter().any(|seen| seen.len() < 4 * EACH as usize) {
            for (consumer, seen) in consumers.iter_mut().zip(&mut seen) {
                let read = consumer.poll(97, |sequence, payload| {
                    let (producer, number) = checked(&ring, payload);
                    seen.push((sequence, producer, number));
                });
                assert!(matches!(read.unwrap(), Read::Messages(_)), "gating consumers miss nothing");
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(seen[0], seen[1]);
        assert!(seen[0].iter().map(|(sequence, ..)| *sequence).eq(1..=4 * EACH), "numbered from one without a hole");
        for producer in 0..4 {
            let own = seen[0].iter().filter(|(_, by, _)| *by == producer).map(|(.., number)| *number);
            assert!(own.eq(0..EACH), "producer {producer} is out of its order");
        }
        assert_eq!(ring.published(), 4 * EACH);
    }
}

#[test]
fn a_lossy_consumer_of_many_producers_gets_every_message_or_a_gap_that_counts_it() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let lossy = ConsumerOptions::named("lossy").policy(Policy::Overwrite);
        let mut lossy = ring.consumer(&lossy).unwrap();
        let mut producers = [(); 3].map(|()| ring.producer().unwrap());
        let (mut next, mut gaps) = (1, 0);
        for number in 0..3000 {
            let producer = number % 3;
            producers[producer as usize].write(&message(&ring, producer, number)).unwrap();
            if number % 500 < 450 && number % 7 != 0 {
                continue;
            }
            let read = lossy.poll(5, |sequence, payload| {
                assert_eq!((sequence, checked(&ring, payload).1), (next, sequence - 1));
                next += 1;
            });
            if let Read::Gap(gap) = read.unwrap() {
                assert_eq!(gap.first, next);
                next += gap.count;
                gaps += 1;
            }
        }
        assert!(gaps > 0 && ring.status().unwrap().oldest > 1);
        // A late one finds nearly a whole lap.
        let mut late = ring.consumer(&ConsumerOptions::default()).unwrap();
        let found = drain(&mut late, 10);
        assert_eq!(found.last().unwrap().0, 3000);
        let first = found.first().unwrap().0;
        assert!(found.len() as u64 == 3001 - first && found.len() > 30, "{first}");
    }
}

#[test]
fn a_claim_that_is_dropped_or_forgotten_leaves_a_sequence_that_readers_go_past() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut consumer = ring.consumer(&ConsumerOptions::named("reader")).unwrap();
        let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
        let claim = one.claim(16).unwrap();
        two.write(&message(&ring, 2, 0)).unwrap();
        assert_eq!(drain(&mut consumer, 10), [], "the claim comes first and is not settled");
        let stuck = ring.status().unwrap().stuck.unwrap();
        assert_eq!((stuck.sequence, stuck.line), (1, 0));
        drop(claim);
        assert_eq!(drain(&mut consumer, 10), [(2, message(&ring, 2, 0))]);

        std::mem::forget(one.claim(16).unwrap());
        two.write(&message(&ring, 2, 1)).unwrap();
        assert_eq!(drain(&mut consumer, 10), []);
        assert_eq!(one.write(&message(&ring, 1, 2)).unwrap(), 5);
        assert_eq!(drain(&mut consumer, 10), [(4, message(&ring, 2, 1)), (5, message(&ring, 1, 2))]);

        let mut claim = two.claim(16).unwrap();
        claim.payload().copy_from_slice(&[7; 16]);
        assert_eq!(claim.commit().unwrap(), 6);
        assert_eq!(drain(&mut consumer, 10), [(6, vec![7; 16])]);
        let status = ring.status().unwrap();
        assert_eq!((status.repairs.claims, status.stuck), (0, None), "nobody died");
        assert_eq!(ring.published(), 6);
    }
}

#[test]
fn batches_of_slots_end_before_a_void_and_go_on_after_it() {
    let rings = Rings::new();
    let ring = rings.create(&kinds()[0]);
    let mut consumer = ring.consumer(&ConsumerOptions::named("reader")).unwrap();
    let mut producer = ring.producer().unwrap();
    let records: Vec<u8> = (0..3).flat_map(|number| message(&ring, 0, number)).collect();
    assert_eq!(producer.write_records(&records).unwrap(), 3);
    drop(producer.claim(16).unwrap());
    assert_eq!(producer.write_records(&records).unwrap(), 7);
    let mut batches = Vec::new();
    while let SlotBatch::Slots(slots) = consumer.slots(100).unwrap() {
        batches.push((slots.first_sequence(), slots.len()));
        consumer.commit_to(slots.end());
    }
    assert_eq!(batches, [(1, 3), (5, 3)]);
    assert_eq!(ring.info().stride, 64, "neighbours do not share a cache line");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let rings = Rings::new();
    let path = rings.path();
    for (options, option) in [
        (RingOptions::frames(1 << 16).mpsc(2), "mode"),
        (RingOptions::runs(64, 64), "mode"),
        (RingOptions::slots(16, 64).mpsc(0), "producers_max"),
        (RingOptions::slots(16, 64).mpsc(256), "producers_max"),
        (RingOptions::runs(100, 64).mpsc(2), "slot_size_bytes"),
    ] {
        let refused = Ring::create(&path, &options).unwrap_err();
        assert!(matches!(&refused, RingError::Option { option: found, .. } if *found == option), "{refused}");
    }
    let ring = rings.create(&RingOptions::runs(64, 64).mpsc(2));
    let mut one = ring.producer().unwrap();
    let two = ring.producer().unwrap();
    let refused = ring.producer().unwrap_err();
    assert!(matches!(refused, RingError::ProducersFull { max: 2, .. }), "{refused}");
    drop(two);
    ring.producer().unwrap();
    // Half of 64 slots with 44 bytes each.
    assert_eq!(one.write(&vec![1; 32 * 44]).unwrap(), 1);
    let refused = one.write(&vec![1; 32 * 44 + 1]).unwrap_err();
    assert!(matches!(refused, RingError::TooLarge { size_bytes: 1409, max_bytes: 1408 }), "{refused}");
    let refused = one.claim(45).unwrap_err();
    assert!(matches!(refused, RingError::ClaimTooLarge { max_bytes: 44, .. }), "{refused}");
}

#[test]
fn a_consumer_that_is_not_to_be_waited_for_fails_the_write_that_would_have_to() {
    let spsc = [RingOptions::slots(16, 64), RingOptions::frames(4096)];
    for options in kinds().into_iter().chain(spsc) {
        for patience in [Duration::ZERO, Duration::from_millis(5)] {
            let rings = Rings::new();
            let ring = rings.create(&options);
            let policy = Policy::Block { patience: Some(patience), detach_after: None };
            let mut impatient = ring.consumer(&ConsumerOptions::named("impatient").policy(policy)).unwrap();
            let mut producer = ring.producer().unwrap();
            let refused = loop {
                match producer.write(&[1; 16]) {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(&refused, RingError::Refused { consumer } if consumer == "impatient"), "{refused}");
            let within = producer.write_within(&[1; 16], Duration::from_secs(60)).unwrap();
            assert!(matches!(within, Written::Full(Obstacle::Refusing(0))), "{within:?}");
            let published = ring.published();
            assert_eq!(drain(&mut impatient, 100).len() as u64, published, "and nothing was lost");
            assert_eq!(producer.write(&[1; 16]).unwrap(), published + 1);
            assert!(ring.status().unwrap().producers[0].waits > 0);
        }
    }
}

#[test]
fn the_latency_of_stamped_messages_is_counted_by_their_reader() {
    for options in kinds().into_iter().chain([RingOptions::slots(16, 64), RingOptions::frames(1 << 16)]) {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut consumer = ring.consumer(&ConsumerOptions::named("reader")).unwrap();
        let mut producer = ring.producer().unwrap();
        for number in 0..1000 {
            producer.write(&message(&ring, 0, number)[..16]).unwrap();
            drain(&mut consumer, 100);
        }
        let latency = &ring.status().unwrap().consumers[0].latency;
        assert_eq!(latency.counts.iter().sum::<u64>(), 1000 / STAMP_EVERY);
        assert!(latency.sum_ns > 0);
    }
}

/// Not a test: what the children run.
#[test]
fn child() {
    let Some(role) = std::env::var_os("TIDEBOOK_TEST_CHILD") else { return };
    common::die_with_the_parent();
    let path = std::env::var_os("TIDEBOOK_TEST_RING").expect("the parent names the ring");
    let life: u64 = std::env::var("TIDEBOOK_TEST_LIFE").unwrap().parse().unwrap();
    let ring = Ring::open(&path).unwrap();
    let mut producer = ring.producer().unwrap();
    if role == "claimant" {
        let mut claim = producer.claim(16).unwrap();
        claim.payload().copy_from_slice(&message(&ring, life, 0)[..16]);
        std::fs::write(Path::new(&path).with_extension("claimed"), []).unwrap();
        // The parent stops or kills this process here, and may let it go on.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        claim.commit().unwrap();
        return;
    }
    // After each commit it notes the number: what is noted was committed.
    let log = std::fs::File::create(Path::new(&path).with_extension(life.to_string())).unwrap();
    for number in 0.. {
        let bytes = message(&ring, life, number);
        if number % 5 == 4 && bytes.len() <= 44 {
            let mut claim = producer.claim(bytes.len()).unwrap();
            let (first, second) = bytes.split_at(bytes.len() / 2);
            claim.payload()[..first.len()].copy_from_slice(first);
            // Half filled for most of its time, so that many die there.
            (0..500).for_each(|_| std::hint::spin_loop());
            claim.payload()[first.len()..].copy_from_slice(second);
            claim.commit().unwrap();
        } else {
            producer.write(&bytes).unwrap();
        }
        log.write_all_at(&(number + 1).to_le_bytes(), 0).unwrap();
    }
}

fn spawn(role: &str, path: &Path, life: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--quiet"])
        .env("TIDEBOOK_TEST_CHILD", role)
        .env("TIDEBOOK_TEST_RING", path)
        .env("TIDEBOOK_TEST_LIFE", life.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// A child that has claimed a message and not committed it.
fn claimant(rings: &Rings) -> Child {
    let child = spawn("claimant", &rings.path(), 1);
    let claimed = rings.path().with_extension("claimed");
    let until = Instant::now() + Duration::from_secs(60);
    while !claimed.exists() {
        assert!(Instant::now() < until, "the child claims nothing");
        std::thread::yield_now();
    }
    child
}

#[test]
fn a_producer_killed_between_claim_and_commit_is_found_by_readers_that_poll_wait_or_park() {
    for (wait, options) in [Wait::Spin, Wait::Hybrid, Wait::Park].into_iter().zip(kinds().into_iter().cycle()) {
        let rings = Rings::new();
        let ring = rings.create(&options.parking(true));
        let mut waiting = ring.consumer(&ConsumerOptions::named("waiting").wait(wait)).unwrap();
        let mut polling = ring.consumer(&ConsumerOptions::named("polling").wait(wait)).unwrap();
        let mut child = claimant(&rings);
        let mut living = ring.producer().unwrap();
        assert_eq!(living.write(&message(&ring, 2, 0)).unwrap(), 2);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(waiting.wait(None).unwrap());
        let expected = [(2, message(&ring, 2, 0))];
        assert_eq!(drain(&mut waiting, 10), expected);
        let mut found = Vec::new();
        while found.is_empty() {
            found = drain(&mut polling, 10);
        }
        assert_eq!(found, expected);
        assert_eq!(ring.status().unwrap().repairs.claims, 1);
    }
}

#[test]
fn a_producer_killed_between_claim_and_commit_does_not_keep_others_from_filling_the_ring_again_and_again() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut child = claimant(&rings);
        child.kill().unwrap();
        child.wait().unwrap();
        // It would be line 0, whose opening voids what it finds; a living one takes it first.
        let mut living = ring.producer().unwrap();
        for number in 0..1000 {
            living.write(&message(&ring, 2, number)).unwrap();
        }
        assert_eq!((ring.published(), ring.status().unwrap().repairs.claims), (1001, 1));
    }
}

#[test]
fn a_stopped_producer_holds_readers_and_writers_up_until_it_goes_on_and_is_named() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut other = ring.producer().unwrap();
        let mut child = claimant(&rings);
        let process = Pid::from_child(&child);
        kill_process(process, Signal::STOP).unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("reader")).unwrap();
        let full = loop {
            match other.write_within(&message(&ring, 2, 0), Duration::from_millis(5)).unwrap() {
                Written::At(_) => {}
                Written::Full(obstacle) => break obstacle,
            }
        };
        assert_eq!(drain(&mut consumer, 1000), []);
        assert!(!consumer.wait(Some(Duration::from_millis(20))).unwrap());
        let status = ring.status().unwrap();
        let stuck = status.stuck.unwrap();
        assert_eq!((stuck.sequence, stuck.line), (1, 1));
        let named = status.producers.iter().find(|producer| producer.line == stuck.line).unwrap();
        assert_eq!((named.process_id, named.alive), (child.id().into(), true));
        assert_eq!(status.repairs.claims, 0, "a stopped process is not a dead one");
        // Nobody can be read, so the reader stands at the claim and is in the way as well.
        assert!(matches!(full, Obstacle::Consumer(0) | Obstacle::Producer(1)), "{full:?}");
        kill_process(process, Signal::CONT).unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        let found = drain(&mut consumer, 1000);
        assert_eq!(found[0], (1, message(&ring, 1, 0)));
        assert_eq!(found.len() as u64, ring.published());
        assert!(other.write_within(&message(&ring, 2, 0), Duration::ZERO).is_ok());
    }
}

/// Method: the word says that a producer is raising the floor whose line nobody has locked.
#[test]
fn a_raiser_that_died_over_it_is_replaced() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let file = std::fs::File::options().write(true).open(rings.path()).unwrap();
        let offset = tidebook_ring::layout::HOT_OFFSET + std::mem::offset_of!(tidebook_ring::layout::HotLines, raiser);
        file.write_all_at(&3u64.to_le_bytes(), offset as u64).unwrap();
        for number in 0..1000 {
            producer.write(&message(&ring, 0, number)).unwrap();
        }
        assert_eq!(ring.status().unwrap().repairs.raisers, 1);
    }
}

/// The time the calling thread has run.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Method: three children write and note what they have committed; one at a time is killed at a random moment and
/// replaced, while a gating and a lossy consumer here check every message. Of each life a gating consumer must see the
/// messages from the first on without a hole, at least up to the last one noted.
fn kill_producers(kills: u64, options: &RingOptions, mut state: u64) {
    let seed = state;
    let rings = Rings::new();
    let ring = rings.create(options);
    let mut gating = ring.consumer(&ConsumerOptions::named("gating")).unwrap();
    let mut lossy = ring.consumer(&ConsumerOptions::named("lossy").policy(Policy::Overwrite)).unwrap();
    let mut numbers: Vec<u64> = Vec::new();
    let (mut next, mut next_lossy, mut holes) = (1, 1, 0);
    let (mut longest, mut longest_own) = (Duration::ZERO, Duration::ZERO);
    let mut poll = |numbers: &mut Vec<u64>| {
        let read = gating.poll(100, |sequence, payload| {
            assert!(sequence >= next, "seed {seed}");
            holes += sequence - next;
            next = sequence + 1;
            let (life, number) = checked(&ring, payload);
            if numbers.len() <= life as usize {
                numbers.resize(life as usize + 1, 0);
            }
            assert_eq!(number, numbers[life as usize], "seed {seed}: life {life}");
            numbers[life as usize] += 1;
        });
        let Read::Messages(found) = read.unwrap() else { panic!("a gating consumer lost something") };
        let read = lossy.poll(10, |sequence, payload| {
            assert!(sequence >= next_lossy, "seed {seed}");
            checked(&ring, payload);
            next_lossy = sequence + 1;
        });
        if let Read::Gap(gap) = read.unwrap() {
            assert!(gap.first >= next_lossy, "seed {seed}");
            next_lossy = gap.first + gap.count;
        }
        found
    };
    let mut children: Vec<_> = (0..3).map(|life| (life, spawn("producer", &rings.path(), life))).collect();
    for kill in 0..kills {
        let newest = children[2].0 as usize;
        let started = Instant::now();
        while numbers.get(newest).is_none_or(|number| *number == 0) {
            poll(&mut numbers);
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "seed {seed}, kill {kill}: life {newest} writes nothing"
            );
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let until = Instant::now() + Duration::from_micros(state % 3000);
        while Instant::now() < until {
            poll(&mut numbers);
        }
        let (life, mut child) = children.remove((state >> 32) as usize % 2);
        child.kill().unwrap();
        child.wait().unwrap();
        // What it committed comes, and what others write behind its claim does not wait long.
        // Not even made, if it was killed while it started.
        let noted = std::fs::read(rings.path().with_extension(life.to_string())).unwrap_or_default();
        let noted = if noted.is_empty() { 0 } else { u64::from_le_bytes(noted.try_into().unwrap()) };
        let died = Instant::now();
        // The time this thread was given: on a busy machine the clock says how long it waited for a core.
        let own = thread_time();
        while poll(&mut numbers) == 0 {
            assert!(died.elapsed() < Duration::from_secs(60), "seed {seed}, kill {kill}: held up");
        }
        longest = longest.max(died.elapsed());
        longest_own = longest_own.max(thread_time() - own);
        let alive = |numbers: &[u64]| children.iter().map(|(life, _)| numbers[*life as usize]).sum::<u64>();
        let before = alive(&numbers);
        while numbers[life as usize] < noted || alive(&numbers) < before + 200 {
            poll(&mut numbers);
            assert!(died.elapsed() < Duration::from_secs(60), "seed {seed}, kill {kill}: {noted} noted by {life}");
        }
        let life = 3 + kill;
        children.push((life, spawn("producer", &rings.path(), life)));
    }
    for (_, mut child) in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let repairs = ring.status().unwrap().repairs;
    println!(
        "{kills} of three producers killed over {next} messages, {holes} never committed, {repairs:?}, longest hold-up of \
         the reader {longest:?} by the clock, {longest_own:?} of its own time, seed {seed}"
    );
}

#[test]
fn of_killed_producers_every_committed_message_is_read_and_the_others_go_on() {
    kinds().iter().for_each(|options| kill_producers(20, options, 0x5EED));
}

#[test]
#[ignore = "full campaign: make soak"]
fn thousands_of_killed_producers_lose_nothing() {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    kinds().iter().for_each(|options| kill_producers(2500, options, seed));
}

#[test]
fn a_claim_that_was_given_back_is_nothing_to_read_whoever_waits() {
    for options in [RingOptions::slots(8, 8).mpsc(1), RingOptions::runs(64, 8).mpsc(1)] {
        for policy in [Policy::default(), Policy::Overwrite] {
            let rings = Rings::new();
            let ring = rings.create(&options);
            let mut producer = ring.producer().unwrap();
            let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
            drop(producer.claim(8).unwrap());
            assert!(!consumer.wait(Some(Duration::from_millis(1))).unwrap(), "{options:?}, {policy:?}");
            let written = producer.write(&[7; 8]).unwrap();
            assert!(consumer.wait(Some(Duration::ZERO)).unwrap(), "{options:?}, {policy:?}");
            assert_eq!(common::drain(&mut consumer, 10), [(written, vec![7; 8])]);
        }
        // One that was overwritten is a gap.
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(Policy::Overwrite)).unwrap();
        for _ in 0..20 {
            drop(producer.claim(8).unwrap());
        }
        let last = producer.write(&[7; 8]).unwrap();
        assert!(consumer.wait(Some(Duration::ZERO)).unwrap());
        let Read::Gap(gap) = consumer.read(10, |_, _| ()).unwrap() else { panic!("{options:?}") };
        assert_eq!(gap.first, 1);
        assert_eq!(common::drain(&mut consumer, 10), [(last, vec![7; 8])]);
    }
}
