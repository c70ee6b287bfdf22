//! What one producer and its consumers see, case by case, on both kinds of ring.

mod common;

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use common::{Rings, drain};
use tidebook_ring::*;

const BLOCK_FOR_EVER: Policy = Policy::Block { patience: None, detach_after: None };

fn kinds() -> [RingOptions; 2] {
    [RingOptions::slots(8, 8), RingOptions::frames(4096)]
}

/// Whether these bytes are the ring's own, by what the kernel says is mapped there.
fn lie_in(ring: &Ring, bytes: &[u8]) -> bool {
    let inode = std::fs::metadata(ring.path()).unwrap().ino().to_string();
    let at = bytes.as_ptr() as u64;
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (first, last) = words[0].split_once('-').unwrap();
        let range = u64::from_str_radix(first, 16).unwrap()..u64::from_str_radix(last, 16).unwrap();
        words[4] == inode && range.contains(&at)
    })
}

fn write_numbers(producer: &mut Producer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        producer.write(&number.to_le_bytes()).unwrap();
    }
}

fn numbers(messages: &[(u64, Vec<u8>)]) -> Vec<(u64, u64)> {
    messages.iter().map(|(seq, payload)| (*seq, u64::from_le_bytes(payload[..].try_into().unwrap()))).collect()
}

/// Method: a producer that has seen one consumer far ahead need not look again for nearly a lap; then a second one joins at
/// the oldest message and reads nothing until the producer gives up.
#[test]
fn a_consumer_that_joins_is_waited_for_although_its_producer_knew_all_others() {
    let shared = [RingOptions::slots(8, 64).mpsc(2), RingOptions::runs(64, 64).mpsc(2)];
    for options in [RingOptions::slots(8, 64), RingOptions::frames(4096)].into_iter().chain(shared) {
        for before in [0, 1, 63, 64, 65, 130, 200] {
            let rings = Rings::new();
            let ring = rings.create(&options);
            let mut producer = ring.producer().unwrap();
            let mut ahead = ring.consumer(&ConsumerOptions::named("ahead").policy(BLOCK_FOR_EVER)).unwrap();
            for number in 0..before {
                write_numbers(&mut producer, number..number + 1);
                assert_eq!(drain(&mut ahead, 100).len(), 1, "{options:?}");
            }
            let late = ConsumerOptions::named("late").start(Start::Earliest).policy(BLOCK_FOR_EVER);
            let mut late = ring.consumer(&late).unwrap();
            let first = late.next_sequence();
            let mut last = before;
            while let Written::At(sequence) = producer.write_within(&last.to_le_bytes(), Duration::ZERO).unwrap() {
                last = sequence;
                drain(&mut ahead, 100);
            }
            assert!(last >= before, "{options:?}");
            let expected: Vec<_> = (first..=last).map(|sequence| (sequence, sequence - 1)).collect();
            assert_eq!(numbers(&drain(&mut late, 100)), expected, "{options:?}, {before} before");
        }
    }
}

#[test]
fn messages_arrive_in_order_numbered_from_one_over_many_laps() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let (mut producer, mut consumer) =
            (ring.producer().unwrap(), ring.consumer(&ConsumerOptions::named("a")).unwrap());
        for start in (0..3000).step_by(5) {
            write_numbers(&mut producer, start..start + 5);
            let expected: Vec<_> = (start..start + 5).map(|number| (number + 1, number)).collect();
            assert_eq!(numbers(&drain(&mut consumer, 3)), expected);
        }
        assert_eq!(producer.published(), 3000);
    }
}

#[test]
fn a_full_ring_is_a_value_that_names_the_slowest_consumer_and_room_comes_back_with_its_commit() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let mut fast = ring.consumer(&ConsumerOptions::named("fast")).unwrap();
        let mut slow = ring.consumer(&ConsumerOptions::named("slow")).unwrap();
        let mut written = 0;
        let blocked_by = loop {
            match producer.write_within(&7u64.to_le_bytes(), Duration::ZERO).unwrap() {
                Written::At(sequence) => written = sequence,
                Written::Full(Obstacle::Consumer(consumer)) => {
                    drain(&mut fast, 100);
                    if let Written::Full { .. } = producer.write_within(&7u64.to_le_bytes(), Duration::ZERO).unwrap() {
                        break consumer;
                    }
                    unreachable!("{consumer} and the fast one are both behind");
                }
                Written::Full(obstacle) => panic!("{obstacle:?}"),
            }
        };
        assert!(ring.consumer_name(blocked_by) == "slow" || ring.consumer_name(blocked_by) == "fast");
        let before = ring.status().unwrap();
        assert_eq!((before.oldest, before.published), (1, written));
        slow.read(1, |_, _| ()).unwrap();
        assert!(matches!(producer.write_within(&[7; 8], Duration::ZERO).unwrap(), Written::Full { .. }), "read only");
        slow.commit();
        assert_eq!(producer.write_within(&[7; 8], Duration::ZERO).unwrap(), Written::At(written + 1));
    }
}

#[test]
fn an_overwritten_consumer_gets_the_exact_gap_and_then_what_is_left() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let lossy = ConsumerOptions::named("lossy").policy(Policy::Overwrite);
        let mut consumer = ring.consumer(&lossy).unwrap();
        write_numbers(&mut producer, 0..1000);
        let Read::Gap(gap) = consumer.poll(10, |_, _| panic!("nothing before the gap")).unwrap() else {
            panic!("a gap first");
        };
        assert_eq!(gap.first, 1);
        let rest = numbers(&drain(&mut consumer, 7));
        assert_eq!(rest.first().unwrap().0, gap.first + gap.count);
        assert_eq!(rest.last().unwrap(), &(1000, 999));
        assert_eq!(rest.len() as u64, 1000 - gap.count);
        let status = &ring.status().unwrap().consumers[0];
        assert_eq!((status.gaps, status.lost, status.lag), (1, gap.count, 0));
    }
}

#[test]
fn one_thread_waits_for_many_rings_and_wakes_for_each() {
    for wait in [Wait::Park, Wait::Hybrid, Wait::Spin] {
        let all: Vec<_> = (0..3).map(|_| Rings::new()).collect();
        let rings: Vec<_> = all.iter().map(|rings| rings.create(&RingOptions::frames(1 << 16).parking(true))).collect();
        let mut consumers: Vec<_> =
            rings.iter().map(|ring| Some(ring.consumer(&ConsumerOptions::named("a")).unwrap())).collect();
        let wait_for = |consumers: &mut Vec<Option<Consumer>>, timeout| {
            wait_any(consumers, |consumer| consumer.as_mut(), wait, Some(timeout)).unwrap()
        };
        assert!(!wait_for(&mut consumers, Duration::from_millis(2)));
        for (index, ring) in rings.iter().enumerate() {
            let mut producer = ring.producer().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(5));
                    producer.write(b"wake up").unwrap();
                });
                assert!(wait_for(&mut consumers, Duration::from_secs(60)), "{wait:?}: not woken by ring {index}");
            });
            assert_eq!(consumers[index].as_mut().unwrap().poll(9, |_, _| ()).unwrap(), Read::Messages(1));
        }
        // One that is left out wakes nobody.
        rings[1].producer().unwrap().write(b"unheard").unwrap();
        consumers[1] = None;
        assert!(!wait_for(&mut consumers, Duration::from_millis(2)));
    }
}

#[test]
fn a_producer_that_waits_for_nobody_is_never_full_and_refuses_those_who_ask_for_it() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options.never_waits(true));
        let mut producer = ring.producer().unwrap();
        let mut idle = ring.consumer(&ConsumerOptions::named("idle")).unwrap();
        for number in 0..1000_u64 {
            let written = producer.write_within(&number.to_le_bytes(), Duration::ZERO).unwrap();
            assert_eq!(written, Written::At(number + 1));
        }
        assert!(matches!(idle.poll(10, |_, _| ()).unwrap(), Read::Gap(Gap { first: 1, .. })));
        assert_eq!(numbers(&drain(&mut idle, 100)).last(), Some(&(1000, 999)));
        let refused = ring.consumer(&ConsumerOptions::named("asks").policy(BLOCK_FOR_EVER)).unwrap_err();
        assert!(matches!(refused, RingError::Option { option: "policy", .. }), "{refused}");
        drop(idle);
        assert!(Ring::open(rings.path()).unwrap().info().never_waits);
    }
}

#[test]
fn a_named_consumer_resumes_where_it_committed_and_an_unnamed_one_leaves_nothing() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        write_numbers(&mut producer, 0..5);
        let named = ConsumerOptions::named("a");
        let mut consumer = ring.consumer(&named).unwrap();
        assert_eq!(consumer.poll(2, |_, _| ()).unwrap(), Read::Messages(2));
        assert_eq!(consumer.read(2, |_, _| ()).unwrap(), Read::Messages(2));
        assert!(matches!(ring.consumer(&named), Err(RingError::ConsumerBusy { .. })));
        drop(consumer);
        let mut consumer = ring.consumer(&named).unwrap();
        assert_eq!(numbers(&drain(&mut consumer, 9)), [(3, 2), (4, 3), (5, 4)]);
        drop(ring.consumer(&ConsumerOptions::default()).unwrap());
        let names: Vec<_> = ring.status().unwrap().consumers.into_iter().map(|consumer| consumer.name).collect();
        assert_eq!(names, ["a"]);
        assert!(matches!(ring.remove_consumer("a"), Err(RingError::ConsumerBusy { .. })));
        drop(consumer);
        ring.remove_consumer("a").unwrap();
        assert!(matches!(ring.remove_consumer("a"), Err(RingError::ConsumerUnknown { .. })));
    }
}

#[test]
fn each_start_begins_where_it_says() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        write_numbers(&mut producer, 0..500);
        let oldest = ring.status().unwrap().oldest;
        assert!(oldest > 1 && oldest <= 500);
        let first = |start| {
            let mut consumer = ring.consumer(&ConsumerOptions::default().start(start)).unwrap();
            let mut first = None;
            let read = consumer.read(1, |sequence, _| first = Some(sequence)).unwrap();
            (first, read)
        };
        assert_eq!(first(Start::Earliest), (Some(oldest), Read::Messages(1)));
        assert_eq!(first(Start::Resume), (Some(oldest), Read::Messages(1)));
        assert_eq!(first(Start::Latest), (None, Read::Messages(0)));
        assert_eq!(first(Start::Sequence(500)), (Some(500), Read::Messages(1)));
        assert_eq!(first(Start::Sequence(501)), (None, Read::Messages(0)));
        let gap = Gap { first: 1, count: oldest - 1 };
        assert_eq!(first(Start::Sequence(1)), (None, Read::Gap(gap)));
        let beyond = ring.consumer(&ConsumerOptions::default().start(Start::Sequence(502)));
        assert!(matches!(beyond, Err(RingError::StartBeyond { asked: 502, next: 501 })));
    }
}

#[test]
fn a_joiner_finds_nearly_a_whole_lap_although_a_fast_consumer_is_at_the_end() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::slots(8, 1024));
    let mut producer = ring.producer().unwrap();
    let mut fast = ring.consumer(&ConsumerOptions::named("fast")).unwrap();
    for start in 0..100 {
        write_numbers(&mut producer, start * 50..start * 50 + 50);
        drain(&mut fast, 1000);
    }
    let status = ring.status().unwrap();
    assert!(status.published - status.oldest >= 1024 - 1024 / 32 - 1, "{status:?}");
}

#[test]
fn a_consumer_of_a_durable_channel_sees_up_to_the_watermark_and_a_peek_sees_all() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options.visible_durable(true));
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
        let mut peek = ring.consumer(&ConsumerOptions::named("journal").peek(true)).unwrap();
        write_numbers(&mut producer, 0..5);
        assert!(drain(&mut consumer, 10).is_empty());
        assert!(!consumer.wait(Some(Duration::ZERO)).unwrap());
        assert_eq!(drain(&mut peek, 10).len(), 5);
        ring.set_durable(3).unwrap();
        assert_eq!(numbers(&drain(&mut consumer, 10)), [(1, 0), (2, 1), (3, 2)]);
        for wrong in [2, 6] {
            assert!(matches!(ring.set_durable(wrong), Err(RingError::Watermark { from: 3, .. })));
        }
    }
}

#[test]
fn an_overtaken_consumer_of_a_durable_channel_has_nothing_to_read_until_something_is_durable() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options.visible_durable(true));
        let mut producer = ring.producer().unwrap();
        let lossy = ConsumerOptions::named("lossy").policy(Policy::Overwrite);
        let mut consumer = ring.consumer(&lossy).unwrap();
        write_numbers(&mut producer, 0..3);
        ring.set_durable(2).unwrap();
        assert_eq!(drain(&mut consumer, 9).len(), 2);
        write_numbers(&mut producer, 3..2_000);
        assert!(ring.oldest() > 3, "nothing was overwritten");
        assert!(!consumer.is_ready() && !consumer.watch().is_ready());
        assert!(!consumer.wait(Some(Duration::ZERO)).unwrap());
        assert_eq!(consumer.read(9, |_, _| ()).unwrap(), Read::Messages(0));
        // What is lost is told as far as it is durable, and where it stands is never ahead of that.
        let mut from = 3;
        for durable in [100, 101, ring.oldest() - 1] {
            ring.set_durable(durable).unwrap();
            assert!(consumer.is_ready() && consumer.watch().is_ready());
            let gap = Gap { first: from, count: durable + 1 - from };
            assert_eq!(consumer.poll(9, |_, _| ()).unwrap(), Read::Gap(gap));
            assert_eq!((consumer.next_sequence(), consumer.committed()), (durable + 1, durable));
            assert!(!consumer.is_ready() && !consumer.watch().is_ready());
            assert_eq!(consumer.read(9, |_, _| ()).unwrap(), Read::Messages(0));
            from = durable + 1;
        }
        ring.set_durable(2_000).unwrap();
        let found = drain(&mut consumer, 9_999);
        assert_eq!((found[0].0, found.len() as u64), (from, 2_001 - from));
    }
}

#[test]
fn a_ring_has_one_producer_and_the_next_one_goes_on_at_the_right_sequence() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options.continuing(77, 1001));
        let mut producer = ring.producer().unwrap();
        assert_eq!(producer.published(), 1000);
        write_numbers(&mut producer, 0..700);
        assert!(matches!(ring.producer(), Err(RingError::ProducerBusy { .. })));
        drop(producer);
        let other = Ring::open(rings.path()).unwrap();
        assert_eq!((other.published(), other.info().epoch), (1700, 77));
        let mut producer = other.producer().unwrap();
        assert_eq!(producer.write(&[1; 8]).unwrap(), 1701);
        let mut consumer = ring.consumer(&ConsumerOptions::default().start(Start::Sequence(1700))).unwrap();
        assert_eq!(drain(&mut consumer, 9).len(), 2);
    }
}

#[test]
fn a_deposed_producer_writes_nothing_more() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(4096));
    let mut producer = ring.producer().unwrap();
    producer.write(b"before").unwrap();
    ring.fence();
    assert!(matches!(producer.write(b"after"), Err(RingError::Fenced { fence: 1, own: 0 })));
    assert_eq!(ring.published(), 1);
    drop(producer);
    assert_eq!(ring.producer().unwrap().write(b"next").unwrap(), 2);
}

#[test]
fn a_claim_is_visible_only_when_committed_and_costs_nothing_when_dropped() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
        for lap in 0..300u64 {
            producer.claim(8).unwrap().payload().fill(0xFF);
            assert_eq!(consumer.read(9, |_, _| ()).unwrap(), Read::Messages(0));
            let mut claim = producer.claim(8).unwrap();
            claim.payload().copy_from_slice(&lap.to_le_bytes());
            assert_eq!(claim.commit().unwrap(), lap + 1);
            assert_eq!(numbers(&drain(&mut consumer, 9)), [(lap + 1, lap)]);
        }
    }
}

#[test]
fn a_run_of_slots_is_one_view_that_ends_at_the_wrap() {
    for policy in [BLOCK_FOR_EVER, Policy::Overwrite] {
        let rings = Rings::new();
        let ring = rings.create(&RingOptions::slots(12, 16));
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
        let mut next = 1;
        for round in 0..50u8 {
            let records: Vec<u8> = (0..7u8).flat_map(|i| [round.wrapping_mul(7).wrapping_add(i); 12]).collect();
            assert_eq!(producer.write_records(&records).unwrap(), u64::from(round) * 7 + 7);
            let mut found = Vec::new();
            loop {
                match consumer.slots(5).unwrap() {
                    SlotBatch::Empty => break,
                    SlotBatch::Gap(gap) => panic!("{gap:?}"),
                    SlotBatch::Slots(slots) => {
                        assert_eq!(slots.first_sequence(), next);
                        assert_eq!(lie_in(&ring, slots.bytes()), policy == BLOCK_FOR_EVER);
                        assert_eq!((slots.stride(), slots.bytes().len()), (32, slots.len() * 32));
                        assert!((next & 15) + slots.len() as u64 <= 16, "ends at the wrap");
                        let sequence = u64::from_le_bytes(slots.bytes()[..8].try_into().unwrap());
                        assert_eq!(sequence, next);
                        slots.records().for_each(|record| found.extend_from_slice(record));
                        next += slots.len() as u64;
                        consumer.commit_to(slots.end());
                    }
                }
            }
            assert_eq!(found, records);
        }
    }
}

#[test]
fn a_message_above_an_eighth_of_the_ring_comes_back_whole_and_above_half_is_refused() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(1 << 14));
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
    for size in (0..=1 << 13).step_by(61).chain([1 << 13]) {
        let payload: Vec<u8> = (0..size).map(|at| (at % 251) as u8 ^ size as u8).collect();
        let sequence = producer.write(&payload).unwrap();
        assert_eq!(drain(&mut consumer, 9), [(sequence, payload)]);
    }
    let refused = producer.write(&vec![0; (1 << 13) + 1]);
    assert!(matches!(refused, Err(RingError::TooLarge { size_bytes: 8193, max_bytes: 8192 })));
}

#[test]
fn a_dead_consumer_gates_for_its_time_and_gets_a_gap_when_it_returns() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let policy = Policy::Block { patience: None, detach_after: Some(Duration::from_millis(30)) };
        let options = ConsumerOptions::named("a").policy(policy);
        let mut consumer = ring.consumer(&options).unwrap();
        write_numbers(&mut producer, 0..3);
        consumer.poll(2, |_, _| ()).unwrap();
        drop(consumer);
        let started = std::time::Instant::now();
        write_numbers(&mut producer, 3..1000);
        assert!(started.elapsed() >= Duration::from_millis(30));
        assert_eq!(ring.status().unwrap().consumers[0].state, ConsumerState::Detached);
        let mut consumer = ring.consumer(&options).unwrap();
        let oldest = ring.status().unwrap().oldest;
        let gap = Gap { first: 3, count: oldest - 3 };
        assert_eq!(consumer.read(1, |_, _| ()).unwrap(), Read::Gap(gap));
        assert_eq!(drain(&mut consumer, 10).len() as u64, 1000 - oldest + 1);
    }
}

/// Method: a producer without patience finds the consumer dead and goes away; meanwhile that is opened again, reads all and
/// dies once more, and the ring is full again when the producer looks next.
#[test]
fn a_consumer_that_came_back_has_its_whole_time_when_it_dies_again() {
    for options in kinds() {
        for reads in [true, false] {
            let rings = Rings::new();
            let ring = rings.create(&options);
            let mut producer = ring.producer().unwrap();
            let detach_after = Duration::from_millis(300);
            let policy = Policy::Block { patience: None, detach_after: Some(detach_after) };
            let named = ConsumerOptions::named("a").policy(policy);
            let fill = |producer: &mut Producer| {
                let mut writes = (0..1000).map(|_| producer.write_within(&[7; 8], Duration::ZERO).unwrap());
                assert!(
                    writes.any(|written| written == Written::Full(Obstacle::Consumer(0))),
                    "{reads}: not waited for"
                );
            };
            drop(ring.consumer(&named).unwrap());
            fill(&mut producer);
            std::thread::sleep(detach_after);
            let mut consumer = ring.consumer(&named).unwrap();
            if reads {
                drain(&mut consumer, 1000);
            }
            drop(consumer);
            let died = std::time::Instant::now();
            fill(&mut producer);
            assert_eq!(ring.status().unwrap().consumers[0].state, ConsumerState::Gating, "{options:?}, {reads}");
            producer.write(&[7; 8]).unwrap();
            assert!(died.elapsed() >= detach_after, "{options:?}, {reads}");
            assert_eq!(ring.status().unwrap().consumers[0].state, ConsumerState::Detached);
        }
    }
}

#[test]
fn a_living_consumer_gates_however_short_its_time_after_death() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let policy = Policy::Block { patience: None, detach_after: Some(Duration::ZERO) };
        let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
        let unnamed = ring.consumer(&ConsumerOptions::default()).unwrap();
        let full = |producer: &mut Producer| loop {
            if let Written::Full(Obstacle::Consumer(consumer)) =
                producer.write_within(&[7; 8], Duration::from_millis(30)).unwrap()
            {
                return consumer;
            }
        };
        full(&mut producer);
        drain(&mut consumer, 1000);
        assert_eq!(ring.consumer_name(full(&mut producer)), "", "the unnamed one is left");
        drop(unnamed);
        assert_eq!(ring.consumer_name(full(&mut producer)), "a");
    }
}

/// Method: a call that gives up at once, a pause longer than the consumer's patience, and another call.
#[test]
fn a_consumers_patience_is_of_one_write_and_nobody_waits_between_two() {
    let patience = Duration::from_millis(300);
    for options in kinds().into_iter().chain([RingOptions::slots(8, 8).mpsc(2)]) {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let policy = Policy::Block { patience: Some(patience), detach_after: None };
        let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
        let full = Written::Full(Obstacle::Consumer(0));
        assert!((0..1000).any(|_| producer.write_within(&[7; 8], Duration::ZERO).unwrap() == full));
        std::thread::sleep(patience);
        assert_eq!(producer.write_within(&[7; 8], Duration::ZERO).unwrap(), full, "{options:?}");
        let waited = |ring: &Ring| Duration::from_nanos(ring.status().unwrap().producers[0].waited_ns);
        assert!(waited(&ring) < patience, "{options:?}: {:?}", waited(&ring));
        // One who waits in slices comes to its end.
        let slice = Duration::from_millis(20);
        let slices = (0..1000).map(|_| {
            producer.go_on_waiting();
            producer.write_within(&[7; 8], slice).unwrap()
        });
        let slices = slices.take_while(|written| *written == full).count();
        assert!((1..=patience.div_duration_f64(slice) as usize).contains(&slices), "{options:?}: {slices}");
        assert_eq!(ring.status().unwrap().producers[0].waits, 2, "{options:?}");
        drain(&mut consumer, 1000);
        producer.write(&[7; 8]).unwrap();
    }
}

/// Method: the producer is deposed while it waits in the middle of a call.
#[test]
fn what_ends_a_call_after_some_records_were_written_says_how_many() {
    for options in [RingOptions::slots(8, 8), RingOptions::slots(8, 8).mpsc(2)] {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(BLOCK_FOR_EVER)).unwrap();
        let records: Vec<u8> = (0..20_u64).flat_map(u64::to_le_bytes).collect();
        let failed = std::thread::scope(|scope| {
            let writing = scope.spawn(|| producer.write_records(&records).unwrap_err());
            while ring.published() < 8 {
                std::thread::yield_now();
            }
            ring.fence();
            writing.join().unwrap()
        });
        let RingError::Partly { written, cause } = failed else { panic!("{failed}") };
        assert!(matches!(*cause, RingError::Fenced { .. }), "{cause}");
        let expected: Vec<_> = (0..written as u64).map(|number| (number + 1, number)).collect();
        assert_eq!(numbers(&drain(&mut consumer, 100)), expected, "{options:?}");
        assert_eq!(written, 8);
    }
}

#[test]
fn a_start_before_the_first_sequence_is_refused() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let from = |start| ConsumerOptions::named("a").start(Start::Sequence(start));
        let refused = ring.consumer(&from(0)).unwrap_err();
        assert!(matches!(refused, RingError::Option { option: "start", .. }), "{refused}");
        assert_eq!(ring.status().unwrap().consumers, []);
        assert_eq!(ring.consumer(&from(1)).unwrap().committed(), 0);
    }
}

#[test]
fn a_read_that_breaks_hands_the_message_out_again() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(4096));
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
    write_numbers(&mut producer, 0..5);
    let read = consumer.read_while(10, |sequence, _| {
        if sequence == 3 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    assert_eq!(read.unwrap(), Read::Messages(2));
    assert_eq!(numbers(&drain(&mut consumer, 10)), [(3, 2), (4, 3), (5, 4)]);
}

#[test]
fn waiting_ends_with_the_message_in_each_way_of_waiting() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(1 << 16).parking(true));
    let mut producer = ring.producer().unwrap();
    for wait in [Wait::Spin, Wait::Hybrid, Wait::Park] {
        let options = ConsumerOptions::default().start(Start::Latest).wait(wait);
        let (asleep, told) = std::sync::mpsc::channel();
        let thread_ring = ring.clone();
        let reader = std::thread::spawn(move || {
            let mut consumer = thread_ring.consumer(&options).unwrap();
            assert!(!consumer.wait(Some(Duration::from_millis(1))).unwrap());
            for _ in 0..200 {
                asleep.send(()).unwrap();
                assert!(consumer.wait(Some(Duration::from_secs(20))).unwrap(), "{wait:?}");
                assert_eq!(consumer.poll(1, |_, _| ()).unwrap(), Read::Messages(1));
            }
        });
        for _ in 0..200 {
            told.recv().unwrap();
            producer.write(b"wake").unwrap();
        }
        reader.join().unwrap();
    }
    let plain = Rings::new();
    let refused = plain.create(&RingOptions::frames(4096)).consumer(&ConsumerOptions::default().wait(Wait::Park));
    assert!(matches!(refused, Err(RingError::NoParking)));
}

/// Method: after each acknowledgement the consumer goes without a commit and joins again by name.
#[test]
fn what_is_acknowledged_is_not_read_again_and_its_place_is_kept_until_it_is_committed() {
    let many = [RingOptions::slots(8, 8).mpsc(2), RingOptions::runs(64, 64).mpsc(2)];
    for options in kinds().into_iter().chain(many) {
        for policy in [BLOCK_FOR_EVER, Policy::Overwrite] {
            let rings = Rings::new();
            let ring = rings.create(&options);
            let mut producer = ring.producer().unwrap();
            let named = ConsumerOptions::named("worker").policy(policy);
            write_numbers(&mut producer, 0..6);
            let mut next = 1;
            for acknowledged in [0, 2, 2, 3, 6] {
                let mut worker = ring.consumer(&named).unwrap();
                let mut read = Vec::new();
                worker.read(100, |sequence, _| read.push(sequence)).unwrap();
                assert_eq!(read, (next..=6).collect::<Vec<_>>(), "{options:?}");
                worker.acknowledge(acknowledged).unwrap();
                worker.acknowledge(1).unwrap_or_else(|_| unreachable!("it was read"));
                next = acknowledged.max(1) + 1;
                assert_eq!(worker.committed(), next - 1);
                let refused = worker.acknowledge(7).unwrap_err();
                assert!(matches!(refused, RingError::NotRead { sequence: 7, last: 6 }), "{refused}");
                assert_eq!(ring.status().unwrap().consumers[0].lag, 7 - next);
            }
            // All is acknowledged and nothing was given up.
            let mut worker = ring.consumer(&named).unwrap();
            assert_eq!((worker.next_sequence(), drain(&mut worker, 10).len()), (7, 0));
        }
    }
}

#[test]
fn an_acknowledged_message_is_not_overwritten_before_it_is_committed() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let mut worker = ring.consumer(&ConsumerOptions::named("worker").policy(BLOCK_FOR_EVER)).unwrap();
        while let Written::At(_) = producer.write_within(&[0; 8], Duration::ZERO).unwrap() {}
        let mut read = 0;
        worker.read(1000, |sequence, _| read = sequence).unwrap();
        worker.acknowledge(read).unwrap();
        assert!(matches!(producer.write_within(&[0; 8], Duration::ZERO).unwrap(), Written::Full(_)));
        worker.commit();
        assert!(matches!(producer.write_within(&[0; 8], Duration::ZERO).unwrap(), Written::At(_)));
        assert_eq!(worker.committed(), read);
    }
}
