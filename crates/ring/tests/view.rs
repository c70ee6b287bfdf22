//! Looking at a ring without the right to write it: while others write it, when it is damaged, and when it is removed.

mod common;

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Rings, drain};
use tidebook_ring::layout::{HOT_OFFSET, HotLines, consumers_offset, frame_size_bytes};
use tidebook_ring::*;

/// Every kind in every mode it can have.
fn kinds() -> [RingOptions; 4] {
    [
        RingOptions::slots(24, 64),
        RingOptions::frames(4096),
        RingOptions::slots(24, 64).mpsc(3),
        RingOptions::runs(64, 128).mpsc(3),
    ]
}

/// Starts with its number; on rings of messages some are long enough for parts or several slots.
fn message(ring: &Ring, number: u64) -> Vec<u8> {
    let size = match ring.info().kind {
        RingKind::Slots { record_size_bytes, .. } => record_size_bytes as usize,
        _ if number.is_multiple_of(17) => 700,
        _ => 8 + (number * 37 % 90) as usize,
    };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(size, number as u8);
    bytes
}

fn view(rings: &Rings) -> RingView {
    RingView::open(rings.path(), Access::Private).unwrap()
}

fn file(rings: &Rings) -> std::fs::File {
    std::fs::OpenOptions::new().read(true).write(true).open(rings.path()).unwrap()
}

fn flip(file: &std::fs::File, bit: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
}

fn data_offset(info: &RingInfo) -> u64 {
    let data_size = match info.kind {
        RingKind::Slots { count, .. } | RingKind::Runs { count, .. } => count * info.stride as u64,
        RingKind::Frames { size_bytes } => size_bytes,
    };
    info.file_size_bytes - data_size
}

/// All there is to see from here on: messages, and what else was found.
fn seen(walker: &mut Walker, limit: usize) -> (Vec<(u64, Vec<u8>)>, Vec<Walked>) {
    let (mut messages, mut others) = (Vec::new(), Vec::new());
    loop {
        match walker.read(limit, 1 << 20, |sequence, payload| messages.push((sequence, payload.to_vec()))) {
            Walked::Messages(0) => return (messages, others),
            Walked::Messages(_) => {}
            other => others.push(other),
        }
    }
}

fn verified(view: &RingView) -> Verification {
    let mut verifier = view.verify();
    while verifier.step(7) {}
    verifier.found().clone()
}

/// Method: a ring a lap and a half full, read and checked by a view; the file before and after is compared, and the
/// kernel's list of mappings says that this one cannot be written.
#[test]
fn a_view_shows_every_message_of_every_kind_and_changes_no_byte() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        for number in 1..=100 {
            producer.write(&message(&ring, number)).unwrap();
        }
        let before = std::fs::read(rings.path()).unwrap();
        let view = view(&rings);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        // What made the ring has its mapping under another name: the file had none yet.
        let path = rings.path().canonicalize().unwrap().display().to_string();
        let own: Vec<_> = maps.lines().filter(|line| line.ends_with(&path)).collect();
        assert!(own.len() == 1 && own[0].contains(" r--s "), "{own:?}");

        let status = view.status().unwrap();
        assert_eq!(status, ring.status().unwrap());
        let (messages, others) = seen(&mut view.walk(0, false), 9);
        assert_eq!(others, []);
        assert_eq!(messages.first().unwrap().0, status.oldest);
        assert!(messages.iter().map(|(sequence, _)| *sequence).eq(status.oldest..=100));
        assert!(messages.iter().all(|(sequence, payload)| *payload == message(&ring, *sequence)));

        let (messages, others) = seen(&mut view.walk(98, false), 9);
        assert_eq!((messages.len(), messages[0].0, others.len()), (3, 98, 0));
        let (_, others) = seen(&mut view.walk(1, false), 9);
        assert_eq!(others, [Walked::Gap(Gap { first: 1, count: status.oldest - 1 })]);
        assert_eq!(seen(&mut view.walk(u64::MAX, false), 9), (vec![], vec![]));

        let found = verified(&view);
        assert_eq!((found.first, found.last, found.messages), (status.oldest, 100, 101 - status.oldest));
        assert_eq!((found.problems, found.overwritten), (vec![], 0));
        assert!(std::fs::read(rings.path()).unwrap() == before, "a byte has changed");
    }
}

/// Method: three threads (one in mode spsc) write many laps while views walk and check; every message is whole, every
/// sequence is a message, in a gap or void, and nothing is called damaged.
#[test]
fn a_view_beside_writers_sees_whole_messages_or_gaps_that_count_and_no_damage() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let writing = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let producers: Vec<_> = (0..options.producers_max.min(3))
                .map(|_| {
                    scope.spawn(|| {
                        let mut producer = ring.producer().unwrap();
                        for number in 0..6_000 {
                            if number % 101 == 0 && ring.info().mode == Mode::Mpsc {
                                drop(producer.claim(24));
                            }
                            producer.write(&message(&ring, number)).unwrap();
                        }
                    })
                })
                .collect();
            // Joins and leaves, waited for while it is there: lines that the checks look at change all the time.
            let consumer = scope.spawn(|| {
                while writing.load(Ordering::Relaxed) {
                    let mut consumer = ring.consumer(&ConsumerOptions::named("comes and goes")).unwrap();
                    for _ in 0..20 {
                        consumer.poll(30, |_, _| ()).unwrap();
                    }
                    drop(consumer);
                    ring.remove_consumer("comes and goes").unwrap();
                }
            });
            let checker = scope.spawn(|| {
                let view = view(&rings);
                let mut checks = 0;
                while writing.load(Ordering::Relaxed) || checks == 0 {
                    let found = verified(&view);
                    assert_eq!(found.problems, [], "{options:?}");
                    checks += 1;
                }
            });
            let walker = scope.spawn(|| {
                let mut walker = view(&rings).walk(0, false);
                let (mut next, mut gone) = (walker.next_sequence(), 0);
                loop {
                    let done = !writing.load(Ordering::Acquire);
                    let before = next;
                    let walked = walker.read(50, 1 << 20, |sequence, payload| {
                        assert!(sequence >= next, "{sequence} after {next}");
                        gone += sequence - next;
                        next = sequence + 1;
                        let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
                        assert!(payload == message(&ring, number), "torn");
                    });
                    match walked {
                        Walked::Messages(0) if done && before == next => break,
                        Walked::Messages(_) => {}
                        Walked::Gap(gap) => {
                            // Voids between are no part of it.
                            assert!(gap.first >= next);
                            gone += gap.first - next;
                            next = gap.first + gap.count;
                        }
                        Walked::Damage(damage) => panic!("{damage:?}"),
                    }
                }
                assert_eq!(gone, walker.voids(), "between messages and gaps are voids only");
                next
            });
            producers.into_iter().for_each(|producer| producer.join().unwrap());
            writing.store(false, Ordering::Release);
            let next = walker.join().unwrap();
            consumer.join().unwrap();
            checker.join().unwrap();
            assert!(next <= ring.published() + 1);
        });
    }
}

/// Method: each bit of five messages flipped in turn. The damage is told with a byte of that message, those before it
/// are read, and so are those after it: the next whole frame is searched for when its place is not known.
#[test]
fn damage_is_told_with_its_byte_and_what_follows_is_still_seen() {
    let payload = |sequence: u64| (0..24u64).map(|at| (sequence * 31 + at) as u8).collect::<Vec<_>>();
    let kinds = [
        RingOptions::slots(24, 8),
        RingOptions::frames(4096),
        RingOptions::slots(24, 8).mpsc(2),
        RingOptions::runs(64, 8).mpsc(2),
    ];
    for options in kinds {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        for sequence in 1..=5 {
            producer.write(&payload(sequence)).unwrap();
        }
        let view = view(&rings);
        let stride = match ring.info().kind {
            RingKind::Frames { .. } => frame_size_bytes(24) as u64,
            _ => ring.info().stride as u64,
        };
        let first = data_offset(ring.info()) + if ring.info().stride > 0 { stride } else { 0 };
        let file = file(&rings);
        let shared = ring.info().mode == Mode::Mpsc;
        for bit in 0..5 * stride * 8 {
            let (sequence, byte) = (bit / (stride * 8) + 1, bit / 8 % stride);
            flip(&file, first * 8 + bit);
            let (messages, others) = seen(&mut view.walk(0, false), 9);
            let found = verified(&view);
            let context = format!("{options:?} bit {bit}: {others:?} {found:?}");
            assert!(messages.iter().all(|(sequence, bytes)| *bytes == payload(*sequence)), "{context}");
            if byte >= 44 {
                assert_eq!((messages.len(), others.len(), found.problem_count), (5, 0, 0), "{context}");
            } else if shared && byte < 8 && others.is_empty() {
                // The word of an earlier lap, or a claim: to a reader the end. A claim is one that stays; a word lower
                // than those behind it is found by the check.
                assert_eq!(messages.len() as u64, sequence - 1, "{context}");
                let claimed = view.status().unwrap().stuck.is_some();
                assert!(claimed || sequence == 5 || found.problems[0].sequence == Some(sequence), "{context}");
            } else {
                assert_eq!(messages.len(), 4, "{context}");
                let [Walked::Damage(damage)] = &others[..] else { panic!("{context}") };
                assert_eq!((damage.sequence, damage.lost), (sequence, 1), "{context}");
                let place = first + (sequence - 1) * stride;
                // A word of the header is named itself; of the rest only the checksum knows that something is wrong.
                let flipped = place + byte;
                let named = (damage.offset..damage.offset + 8).contains(&flipped);
                assert!(named || damage.offset == place && damage.what.contains("CRC"), "{context}");
                let problem = found.problems.last().unwrap_or_else(|| panic!("{context}"));
                assert_eq!((problem.sequence, problem.offset), (Some(sequence), damage.offset), "{context}");
            }
            flip(&file, first * 8 + bit);
        }
        assert_eq!(verified(&view).messages, 5);
    }
}

#[test]
fn a_check_finds_lines_that_cannot_be() {
    for options in kinds() {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(&ConsumerOptions::named("slow")).unwrap();
        for number in 1..=20 {
            producer.write(&message(&ring, number)).unwrap();
        }
        consumer.poll(3, |_, _| ()).unwrap();
        let view = view(&rings);
        assert_eq!(verified(&view).problem_count, 0);
        let cursor = consumers_offset(options.producers_max) as u64;
        let hot = HOT_OFFSET as u64;
        let file = file(&rings);
        for (offset, value, word) in [
            (cursor, 1 << 40, "cursor of consumer slow"),
            (cursor + 8, 1 << 40, "cursor of consumer slow"),
            (cursor + 128, 77, "state of consumer line 0"),
            (cursor + 140, 65, "name of consumer line 0 has 65 bytes"),
            (hot + std::mem::offset_of!(HotLines, watermarks) as u64, 21, "durable 21"),
        ] {
            let mut before = [0; 8];
            file.read_exact_at(&mut before, offset).unwrap();
            // States and sizes have four bytes.
            let width = if value < 100 && offset >= cursor { 4 } else { 8 };
            file.write_all_at(&u64::to_le_bytes(value)[..width], offset).unwrap();
            let found = verified(&view);
            let problem = &found.problems[0];
            assert!(problem.what.contains(word), "{options:?}: {problem:?}");
            assert!(problem.offset.abs_diff(offset) <= 16 && problem.sequence.is_none(), "{problem:?} for {offset}");
            file.write_all_at(&before, offset).unwrap();
        }
        assert_eq!(verified(&view).problem_count, 0);
    }
}

/// Method: one thread makes and removes rings of one name; views of it are whole or there is none, and one that is open
/// goes on to its end.
#[test]
fn rings_that_are_made_and_removed_are_seen_whole_or_not_at_all() {
    let rings = Rings::new();
    std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            for _ in 0..300 {
                let ring = rings.create(&RingOptions::frames(4096));
                let mut producer = ring.producer().unwrap();
                producer.write(b"one").unwrap();
                producer.write(b"two").unwrap();
                Ring::remove(rings.path()).unwrap();
            }
        });
        let mut opened = 0;
        while !making.is_finished() {
            match RingView::open(rings.path(), Access::Private) {
                Ok(view) => {
                    opened += 1;
                    assert_eq!(view.info().kind, RingKind::Frames { size_bytes: 4096 });
                    while view.has_name().unwrap() {
                        view.status().unwrap();
                    }
                    let (messages, others) = seen(&mut view.walk(0, false), 9);
                    assert_eq!((messages, others), (vec![(1, b"one".to_vec()), (2, b"two".to_vec())], vec![]));
                }
                Err(RingError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        making.join().unwrap();
        assert!(opened > 0);
    });
}

#[test]
fn a_view_of_a_durable_channel_shows_what_is_durable_unless_it_peeks() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(4096).visible_durable(true));
    let mut producer = ring.producer().unwrap();
    for number in 1..=5 {
        producer.write(&message(&ring, number)).unwrap();
    }
    let view = view(&rings);
    let mut walker = view.walk(0, false);
    assert_eq!(seen(&mut walker, 9).0.len(), 0);
    ring.set_durable(3).unwrap();
    assert_eq!(seen(&mut walker, 9).0.len(), 3);
    assert_eq!(seen(&mut view.walk(0, true), 9).0.len(), 5);
    assert_eq!(verified(&view).messages, 5);
}

#[test]
fn a_stuck_claim_and_who_is_waited_for_can_be_seen() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::slots(24, 64).mpsc(3));
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer(&ConsumerOptions::named("slow")).unwrap();
    let lossy = ConsumerOptions::named("lossy").policy(Policy::Overwrite);
    let _lossy = ring.consumer(&lossy).unwrap();
    for number in 1..=10 {
        one.write(&message(&ring, number)).unwrap();
    }
    consumer.poll(4, |_, _| ()).unwrap();
    let claim = one.claim(24).unwrap();
    two.write(&message(&ring, 12)).unwrap();
    let status = view(&rings).status().unwrap();
    assert_eq!((status.published, status.written, status.unread), (10, 10, 6));
    let stuck = status.stuck.unwrap();
    assert_eq!((stuck.sequence, stuck.line), (11, 0));
    assert_eq!(status.raiser, None);
    let [slow, lossy] = &status.consumers[..] else { panic!("two") };
    assert_eq!((slow.line, slow.lag, slow.detach_after_ms, slow.block_ms), (0, 6, Some(10_000), None));
    assert_eq!((lossy.line, lossy.lag, lossy.state), (1, 10, ConsumerState::Lossy));
    // A view goes no further than a reader, and on when the claim is settled.
    let mut walker = view(&rings).walk(11, false);
    assert_eq!(seen(&mut walker, 9), (vec![], vec![]));
    drop(claim);
    assert_eq!(seen(&mut walker, 9), (vec![(12, message(&ring, 12))], vec![]));
}

#[test]
fn the_cursor_of_a_consumer_that_is_not_open_can_be_moved() {
    for options in kinds() {
        for policy in [Policy::default(), Policy::Overwrite] {
            let rings = Rings::new();
            let ring = rings.create(&options);
            let mut producer = ring.producer().unwrap();
            let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
            for number in 1..=20 {
                producer.write(&message(&ring, number)).unwrap();
            }
            consumer.poll(15, |_, _| ()).unwrap();
            assert!(matches!(ring.move_consumer("a", MoveTo::Earliest), Err(RingError::ConsumerBusy { .. })));
            drop(consumer);
            let unknown = ring.move_consumer("b", MoveTo::Latest);
            assert!(matches!(unknown, Err(RingError::ConsumerUnknown { .. })));
            for (to, next) in
                [(MoveTo::Earliest, 1), (MoveTo::Latest, 21), (MoveTo::Sequence(21), 21), (MoveTo::Sequence(7), 7)]
            {
                assert_eq!(ring.move_consumer("a", to).unwrap(), next);
                let status = ring.status().unwrap().consumers.remove(0);
                assert_eq!((status.next, status.alive, status.gaps), (next, false, 0));
                let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
                let found = drain(&mut consumer, 30);
                assert_eq!(found.first().map(|(sequence, _)| *sequence), (next <= 20).then_some(next), "{options:?}");
            }
            let beyond = ring.move_consumer("a", MoveTo::Sequence(22));
            assert!(matches!(beyond, Err(RingError::StartBeyond { asked: 22, next: 21 })));
            ring.remove_consumer("a").unwrap();
            for number in 21..=200 {
                producer.write(&message(&ring, number)).unwrap();
            }
            drop(ring.consumer(&ConsumerOptions::named("late").start(Start::Latest).policy(policy)).unwrap());
            let oldest = ring.status().unwrap().oldest;
            match ring.move_consumer("late", MoveTo::Sequence(oldest - 1)).unwrap_err() {
                RingError::StartGone { asked, oldest: found } => assert_eq!((asked, found), (oldest - 1, oldest)),
                error => panic!("{error}"),
            }
            assert_eq!(ring.status().unwrap().consumers[0].next, 201, "it stays where it was");
        }
    }
}
