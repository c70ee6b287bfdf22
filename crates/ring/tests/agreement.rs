//! The ring against a list: any sequence of operations, and many threads at once, give what a plain list would.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Rings;
use proptest::prelude::*;
use tidebook_ring::*;

#[derive(Debug, Clone)]
enum Operation {
    Write(usize),
    Claim(usize),
    Read { consumer: usize, limit: usize },
    Commit { consumer: usize },
    ReopenProducer,
    ReopenConsumer { consumer: usize },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let consumer = 0..3usize;
    let operation = prop_oneof![
        8 => (0..3000usize).prop_map(Operation::Write),
        4 => (0..200usize).prop_map(Operation::Write),
        2 => (0..500usize).prop_map(Operation::Claim),
        8 => (consumer.clone(), 1..20usize).prop_map(|(consumer, limit)| Operation::Read { consumer, limit }),
        6 => consumer.clone().prop_map(|consumer| Operation::Commit { consumer }),
        1 => Just(Operation::ReopenProducer),
        1 => consumer.prop_map(|consumer| Operation::ReopenConsumer { consumer }),
    ];
    proptest::collection::vec(operation, 1..200)
}

fn payload(sequence: u64, size: usize) -> Vec<u8> {
    (0..size).map(|at| (sequence as usize * 131 + at * 7) as u8).collect()
}

/// Two gating consumers and a lossy one. A gating consumer must see every message once from its cursor on; a lossy one
/// must see every message or be told that it is in a gap.
fn check(options: RingOptions, operations: &[Operation], size_of: impl Fn(usize) -> usize) {
    let rings = Rings::new();
    let ring = rings.create(&options);
    let mut producer = Some(ring.producer().unwrap());
    let consumer_options: Vec<_> = ["first", "second", "lossy"]
        .map(|name| match name {
            "lossy" => ConsumerOptions::named(name).policy(Policy::Overwrite),
            _ => ConsumerOptions::named(name),
        })
        .into();
    let mut consumers: Vec<_> = consumer_options.iter().map(|options| Some(ring.consumer(options).unwrap())).collect();
    let mut written: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut next = [1u64; 3];
    let mut committed = [1u64; 3];
    for operation in operations {
        match operation {
            Operation::Write(size) => {
                let sequence = written.len() as u64 + 1;
                let bytes = payload(sequence, size_of(*size));
                match producer.as_mut().unwrap().write_within(&bytes, Duration::ZERO) {
                    Ok(Written::At(found)) => {
                        assert_eq!(found, sequence);
                        written.insert(sequence, bytes);
                    }
                    Ok(Written::Full(Obstacle::Consumer(consumer))) => {
                        assert_ne!(ring.consumer_name(consumer), "lossy")
                    }
                    Ok(Written::Full(obstacle)) => panic!("{obstacle:?}"),
                    Err(RingError::TooLarge { size_bytes, max_bytes }) => assert!(size_bytes > max_bytes),
                    Err(error) => panic!("{error}"),
                }
            }
            Operation::Claim(size) => {
                let sequence = written.len() as u64 + 1;
                let bytes = payload(sequence, size_of(*size));
                match producer.as_mut().unwrap().claim_within(bytes.len(), Duration::ZERO) {
                    Ok(Claimed::At(mut claim)) => {
                        claim.payload().copy_from_slice(&bytes);
                        assert_eq!(claim.commit().unwrap(), sequence);
                        written.insert(sequence, bytes);
                    }
                    Ok(Claimed::Full(_)) => {}
                    Err(error) => assert!(matches!(error, RingError::ClaimTooLarge { max_bytes: 488, .. }), "{error}"),
                }
            }
            Operation::Read { consumer, limit } => {
                let at = &mut next[*consumer];
                let read = consumers[*consumer].as_mut().unwrap().read(*limit, |sequence, bytes| {
                    assert_eq!((sequence, Some(bytes)), (*at, written.get(at).map(Vec::as_slice)));
                    *at += 1;
                });
                match read.unwrap() {
                    Read::Messages(0) => assert_eq!(*at, written.len() as u64 + 1),
                    Read::Messages(count) => assert!(count <= *limit),
                    Read::Gap(gap) => {
                        assert_eq!((*consumer, gap.first), (2, *at));
                        *at += gap.count;
                    }
                }
            }
            Operation::Commit { consumer } => {
                consumers[*consumer].as_mut().unwrap().commit();
                committed[*consumer] = next[*consumer];
            }
            Operation::ReopenProducer => {
                drop(producer.take());
                producer = Some(ring.producer().unwrap());
                assert_eq!(producer.as_ref().unwrap().published(), written.len() as u64);
            }
            Operation::ReopenConsumer { consumer } => {
                consumers[*consumer] = None;
                let again = ring.consumer(&consumer_options[*consumer]).unwrap();
                // A lossy cursor may be overwritten by now: then the gap comes with the next read.
                if *consumer < 2 {
                    assert_eq!(again.next_sequence(), committed[*consumer]);
                }
                next[*consumer] = committed[*consumer];
                consumers[*consumer] = Some(again);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_agree_with_a_list(operations in operations()) {
        check(RingOptions::frames(4096), &operations, |size| size);
    }

    #[test]
    fn slots_agree_with_a_list(operations in operations()) {
        check(RingOptions::slots(20, 16), &operations, |_| 20);
    }
}

/// Method: one thread writes numbered messages while gating consumers read, lossy ones read copies, and others join and
/// leave all the time. Each message must be the one of its number; a gating consumer misses none.
#[test]
fn threads_see_every_message_whole_and_gating_ones_see_all() {
    // Without CRC too: there only the order of writes and the look at the floor keep a torn message away.
    for (options, count) in [
        (RingOptions::slots(40, 64), 40_000u64),
        (RingOptions::slots(40, 64).crc(false), 40_000),
        (RingOptions::frames(1 << 14), 30_000),
        (RingOptions::frames(1 << 14).crc(false), 30_000),
    ] {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let is_slots = ring.info().stride > 0;
        let size_of = |sequence: u64| if is_slots { 40 } else { (sequence * 37 % 700) as usize };
        let check = |sequence: u64, bytes: &[u8]| {
            assert_eq!(bytes.len(), size_of(sequence));
            assert!(bytes.iter().all(|byte| *byte == sequence as u8), "message {sequence} is torn");
        };
        let done = AtomicBool::new(false);
        let mut producer = ring.producer().unwrap();
        let gating: Vec<_> = ["a", "b"].map(|name| ring.consumer(&ConsumerOptions::named(name)).unwrap()).into();
        std::thread::scope(|scope| {
            for mut consumer in gating {
                scope.spawn(move || {
                    let mut next = 1;
                    while next <= count {
                        assert!(consumer.wait(Some(Duration::from_secs(60))).unwrap());
                        let read = consumer.poll(100, |sequence, bytes| {
                            assert_eq!(sequence, next);
                            check(sequence, bytes);
                            next += 1;
                        });
                        assert!(matches!(read.unwrap(), Read::Messages(_)));
                    }
                });
            }
            let (done, ring, check) = (&done, &ring, &check);
            scope.spawn(move || {
                let options = ConsumerOptions::default().policy(Policy::Overwrite);
                let mut consumer = ring.consumer(&options).unwrap();
                let mut next = consumer.next_sequence();
                while !done.load(Ordering::Relaxed) {
                    consumer.wait(Some(Duration::from_millis(1))).unwrap();
                    let read = consumer.poll(1000, |sequence, bytes| {
                        assert_eq!(sequence, next);
                        check(sequence, bytes);
                        next += 1;
                    });
                    if let Read::Gap(gap) = read.unwrap() {
                        assert_eq!(gap.first, next);
                        next += gap.count;
                    }
                }
            });
            scope.spawn(move || {
                let options = ConsumerOptions::default().policy(Policy::Overwrite);
                let mut consumer = ring.consumer(&options).unwrap();
                let mut next = consumer.next_sequence();
                while is_slots && !done.load(Ordering::Relaxed) {
                    match consumer.slots(64).unwrap() {
                        SlotBatch::Slots(slots) => {
                            assert_eq!(slots.first_sequence(), next);
                            for (record, sequence) in slots.records().zip(next..) {
                                check(sequence, record);
                            }
                            next += slots.len() as u64;
                        }
                        SlotBatch::Gap(gap) => {
                            assert_eq!(gap.first, next);
                            next += gap.count;
                        }
                        SlotBatch::Empty => std::thread::yield_now(),
                    }
                }
            });
            scope.spawn(move || {
                let starts = [Start::Earliest, Start::Latest];
                for start in starts.iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut consumer = ring.consumer(&ConsumerOptions::default().start(*start)).unwrap();
                    let mut next = consumer.next_sequence();
                    for _ in 0..5 {
                        let read = consumer.poll(7, |sequence, bytes| {
                            assert_eq!(sequence, next);
                            check(sequence, bytes);
                            next += 1;
                        });
                        assert!(matches!(read.unwrap(), Read::Messages(_)), "it gates");
                    }
                }
            });
            let mut bytes = vec![0; 700];
            for sequence in 1..=count {
                let size = size_of(sequence);
                bytes[..size].fill(sequence as u8);
                assert_eq!(producer.write(&bytes[..size]).unwrap(), sequence);
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
