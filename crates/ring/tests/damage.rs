//! Files and records that are not what was written: each is a typed error or outcome, never a panic or a wrong message.

mod common;

use std::os::unix::fs::{FileExt, symlink};
use std::time::Duration;

use common::{Rings, drain};
use tidebook_ring::layout::{HOT_OFFSET, HotLines, Superblock, consumers_offset, frame_size_bytes};
use tidebook_ring::*;

fn data_offset(ring: &Ring) -> u64 {
    let data_size = match ring.info().kind {
        RingKind::Slots { count, .. } | RingKind::Runs { count, .. } => count * ring.info().stride as u64,
        RingKind::Frames { size_bytes } => size_bytes,
    };
    ring.info().file_size_bytes - data_size
}

fn payload(sequence: u64) -> Vec<u8> {
    (0..24u64).map(|at| (sequence * 31 + at) as u8).collect()
}

fn file(rings: &Rings) -> std::fs::File {
    std::fs::OpenOptions::new().read(true).write(true).open(rings.path()).unwrap()
}

fn flip(file: &std::fs::File, bit: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
}

/// Looks until there is something or until even what must be there and is not was looked for.
fn poll_patiently(consumer: &mut Consumer, mut each: impl FnMut(u64, &[u8])) -> Result<Read, RingError> {
    for _ in 0..3000 {
        match consumer.poll(9, &mut each)? {
            Read::Messages(0) => {}
            found => return Ok(found),
        }
    }
    Ok(Read::Messages(0))
}

/// Five messages; runs have one of three slots among them.
fn five(ring: &Ring, sequence: u64) -> Vec<u8> {
    let size = if matches!(ring.info().kind, RingKind::Runs { .. }) && sequence == 3 { 100 } else { 24 };
    payload(sequence).into_iter().cycle().take(size).collect()
}

/// Bytes of a slot or frame that something covers: up to its CRC.
fn covered(ring: &Ring, sequence: u64) -> Vec<(u64, bool)> {
    let payloads: Vec<u64> = match (ring.info().kind, sequence) {
        (RingKind::Runs { .. }, 3) => vec![44, 44, 12],
        _ => vec![24],
    };
    let stride = if ring.info().stride > 0 { ring.info().stride as u64 } else { frame_size_bytes(24) as u64 };
    payloads.iter().flat_map(|size| (0..stride).map(move |byte| (byte, byte < 20 + size))).collect()
}

/// Method: five messages, then each bit of the five frames flipped in turn and read by a fresh consumer, which must be
/// told of its message and can go past it. Bits that no check covers are only the padding behind a CRC.
#[test]
fn every_flipped_bit_of_a_frame_is_damage_of_its_message_or_changes_nothing_that_is_read() {
    let kinds = [
        RingOptions::slots(24, 8),
        RingOptions::frames(4096),
        RingOptions::slots(24, 8).mpsc(2),
        RingOptions::runs(64, 16).mpsc(2),
    ];
    for (options, policy) in
        kinds.iter().flat_map(|options| [(options, Policy::default()), (options, Policy::Overwrite)])
    {
        let rings = Rings::new();
        let ring = rings.create(options);
        let mut producer = ring.producer().unwrap();
        for sequence in 1..=5 {
            producer.write(&five(&ring, sequence)).unwrap();
        }
        // Slots are placed by sequence, frames from the start of the data.
        let mut base = data_offset(&ring) + ring.info().stride as u64;
        let file = file(&rings);
        for damaged in 1..=5 {
            let bytes = covered(&ring, damaged);
            for (at, (byte, is_covered)) in bytes.iter().enumerate() {
                for bit in 0..8 {
                    let at = (base + at as u64) * 8 + bit;
                    flip(&file, at);
                    let options = ConsumerOptions::default().start(Start::Earliest).policy(policy);
                    let mut consumer = ring.consumer(&options).unwrap();
                    let mut seen = Vec::new();
                    let mut found = None;
                    while seen.len() < 5 && found.is_none() {
                        let read = poll_patiently(&mut consumer, |sequence, bytes| {
                            assert_eq!(bytes, five(&ring, sequence), "bit {bit} of byte {byte} of message {damaged}");
                            seen.push(sequence);
                        });
                        match read {
                            Ok(Read::Messages(0)) => break,
                            Ok(_) => {}
                            Err(error) => found = Some(error),
                        }
                    }
                    let whole = if *is_covered { damaged - 1 } else { 5 };
                    assert_eq!(seen, (1..=whole).collect::<Vec<_>>(), "{byte}.{bit} of {damaged}: {found:?}");
                    match found {
                        None => assert!(!is_covered, "{byte}.{bit} of {damaged} in {options:?} is not told"),
                        Some(error) => {
                            assert!(
                                matches!(error, RingError::Corrupt { sequence, .. } if sequence == damaged),
                                "{byte}.{bit} of {damaged}: {error}"
                            );
                            let gap = consumer.skip().unwrap();
                            assert_eq!(gap.first, damaged);
                            // Where the newest ends only the next message tells, if it has no fixed length.
                            assert!(gap.count > 0 || damaged == 5, "{byte}.{bit} of {damaged}");
                            if gap.count > 0 {
                                let rest = drain(&mut consumer, 9);
                                assert_eq!(
                                    rest.len() as u64,
                                    5 - (damaged - 1) - gap.count,
                                    "{byte}.{bit} of {damaged}"
                                );
                            }
                        }
                    }
                    flip(&file, at);
                }
            }
            base += bytes.len() as u64;
        }
    }
}

#[test]
fn a_damaged_slot_in_a_batch_is_reported_after_the_slots_before_it() {
    for policy in [Policy::default(), Policy::Overwrite] {
        let rings = Rings::new();
        let ring = rings.create(&RingOptions::slots(24, 8));
        let mut producer = ring.producer().unwrap();
        for sequence in 1..=5 {
            producer.write(&payload(sequence)).unwrap();
        }
        let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
        flip(&file(&rings), (data_offset(&ring) + 3 * 48 + 20) * 8);
        let SlotBatch::Slots(slots) = consumer.slots(9).unwrap() else { panic!("two are whole") };
        assert_eq!((slots.first_sequence(), slots.len()), (1, 2));
        assert!(matches!(consumer.slots(9), Err(RingError::Corrupt { sequence: 3, reason: "CRC" })));
        assert_eq!(consumer.skip().unwrap(), Gap { first: 3, count: 1 });
        let SlotBatch::Slots(slots) = consumer.slots(9).unwrap() else { panic!("two are left") };
        assert_eq!((slots.first_sequence(), slots.len()), (4, 2));
        assert_eq!(ring.status().unwrap().consumers[0].corrupt, 1);
    }
}

/// Method: of five messages three are durable, and one of them is damaged, in its length too; or one that is not durable yet.
#[test]
fn what_is_skipped_on_a_durable_channel_is_never_ahead_of_what_is_durable() {
    for options in [RingOptions::slots(24, 8), RingOptions::frames(4096), RingOptions::runs(64, 16).mpsc(3)] {
        for (damaged, policy) in [(3, Policy::default()), (3, Policy::Overwrite), (4, Policy::Overwrite)] {
            let rings = Rings::new();
            let ring = rings.create(&options.clone().visible_durable(true));
            let mut producer = ring.producer().unwrap();
            for sequence in 1..=5 {
                producer.write(&payload(sequence)).unwrap();
            }
            let mut consumer = ring.consumer(&ConsumerOptions::named("a").policy(policy)).unwrap();
            let stride = covered(&ring, 1).len() as u64;
            // Slots are placed by sequence, frames from the start of the data.
            let base = data_offset(&ring) + ring.info().stride as u64 + (damaged - 1) * stride;
            for byte in [8, 20] {
                flip(&file(&rings), (base + byte) * 8);
            }
            ring.set_durable(3).unwrap();
            let mut seen = Vec::new();
            let mut told = 0;
            for durable in [3, 4, 5] {
                ring.set_durable(durable).unwrap();
                loop {
                    match poll_patiently(&mut consumer, |sequence, _| seen.push(sequence)) {
                        Ok(Read::Messages(0)) => break,
                        Ok(_) => {}
                        Err(error) => {
                            assert!(
                                matches!(error, RingError::Corrupt { sequence, .. } if sequence <= durable),
                                "{error}"
                            );
                            let gap = consumer.skip().unwrap();
                            assert!(
                                gap.count > 0 && gap.first + gap.count <= durable + 1,
                                "{gap:?} at {durable}, {options:?}"
                            );
                            told += gap.count;
                        }
                    }
                    assert!(consumer.next_sequence() <= durable + 1 && consumer.committed() <= durable);
                }
                let before = consumer.next_sequence();
                assert_eq!(consumer.skip().unwrap(), Gap { first: before, count: 0 }, "nothing more is visible");
                assert_eq!(seen.len() as u64 + told, durable, "{seen:?} and {told} of {options:?}");
            }
            assert!(told > 0 && !seen.contains(&damaged));
        }
    }
}

/// Method: seeded random bytes over the hot lines and the data, then everything a process may do with the ring.
#[test]
fn garbage_in_shared_memory_is_an_error_or_an_outcome_and_never_a_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..800 {
        let options = match round % 4 {
            0 => RingOptions::slots(24, 8),
            1 => RingOptions::frames(4096),
            2 => RingOptions::slots(24, 8).mpsc(3),
            _ => RingOptions::runs(64, 16).mpsc(3),
        };
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let options = [Policy::Block { patience: None, detach_after: Some(Duration::ZERO) }, Policy::Overwrite]
            .map(|policy| ConsumerOptions::named(format!("{policy:?}")).policy(policy));
        let mut consumers = options.each_ref().map(|options| ring.consumer(options).unwrap());
        for sequence in 1..=random() % 300 {
            let _ = producer.write_within(&payload(sequence), Duration::ZERO).unwrap();
            let _ = consumers[0].poll(2, |_, _| ());
        }
        let file = file(&rings);
        let whole_file = ring.info().file_size_bytes;
        for _ in 0..1 + random() % 40 {
            let at = 4096 + random() % (whole_file - 4096 - 8);
            let at = if random() % 3 == 0 { 4096 + at % 2048 } else { at };
            let value = match random() % 4 {
                0 => 0,
                1 => u64::MAX,
                2 => random() % 512,
                _ => random(),
            };
            // The fence would only depose the producer.
            let fence = (HOT_OFFSET + std::mem::offset_of!(HotLines, fence_epoch)) as u64;
            if !(fence - 7..fence + 8).contains(&at) {
                file.write_all_at(&value.to_le_bytes(), at).unwrap();
            }
        }
        let _ = producer.write_within(&payload(1), Duration::ZERO);
        for consumer in &mut consumers {
            let _ = consumer.poll(9, |_, _| ());
            let _ = consumer.wait(Some(Duration::ZERO));
            let _ = consumer.slots(9);
            let _ = consumer.skip();
            let _ = consumer.poll(9, |_, _| ());
        }
        drop((producer, consumers));
        let _ = ring.status().unwrap();
        let view = RingView::open(rings.path(), Access::Private).unwrap();
        assert!(view.status().is_ok());
        for from in [0, 3, random()] {
            let mut walker = view.walk(from, true);
            for _ in 0..20 {
                let _ = walker.read(9, 100, |_, _| ());
            }
        }
        let mut verifier = view.verify();
        let steps = (0..2000).find(|_| !verifier.step(9));
        assert!(steps.is_some(), "a check of garbage has an end");
        for to in [MoveTo::Earliest, MoveTo::Latest, MoveTo::Sequence(random() % 300)] {
            let _ = ring.move_consumer(options[0].name.as_str(), to);
        }
        for options in &options {
            let _ = ring.consumer(options).map(|mut consumer| consumer.poll(9, |_, _| ()));
        }
        if let Ok(mut producer) = ring.producer() {
            let _ = producer.write_within(&payload(1), Duration::ZERO);
        }
    }
}

#[test]
fn a_ring_of_another_version_is_refused_by_both_versions_names() {
    let rings = Rings::new();
    drop(rings.create(&RingOptions::frames(4096)));
    file(&rings).write_all_at(&7u32.to_le_bytes(), 8).unwrap();
    let error = Ring::open(rings.path()).unwrap_err();
    assert!(matches!(error, RingError::Version { found: 7, expected: 2, .. }));
    assert!(error.to_string().contains("version 7") && error.to_string().contains("test.ring"), "{error}");
}

#[test]
fn a_ring_of_another_boot_is_refused() {
    let rings = Rings::new();
    drop(rings.create(&RingOptions::frames(4096)));
    let mut bytes = [0; size_of::<Superblock>()];
    file(&rings).read_exact_at(&mut bytes, 0).unwrap();
    bytes[80] ^= 1;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[..4092]) as u32;
    bytes[4092..].copy_from_slice(&crc.to_le_bytes());
    file(&rings).write_all_at(&bytes, 0).unwrap();
    assert!(matches!(Ring::open(rings.path()), Err(RingError::OtherBoot { .. })));
}

/// Both pairs of the cell at this line, so that its version does not matter.
fn set_pair(rings: &Rings, line: usize, first: u64, second: u64) {
    let pairs = [first, second, first, second].map(u64::to_le_bytes);
    file(rings).write_all_at(pairs.as_flattened(), line as u64 + 8).unwrap();
}

/// Method: what a producer leaves that dies after it has raised the floor and before it sees who joined below it.
#[test]
fn a_producer_that_comes_back_waits_for_a_consumer_below_the_floor() {
    for options in [RingOptions::slots(24, 8), RingOptions::slots(24, 8).mpsc(2), RingOptions::runs(64, 8).mpsc(2)] {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
        let mut producer = ring.producer().unwrap();
        for sequence in 1..=8 {
            producer.write(&payload(sequence)).unwrap();
        }
        drop(producer);
        set_pair(&rings, HOT_OFFSET + std::mem::offset_of!(HotLines, floor), 5, 5);
        let mut producer = ring.producer().unwrap();
        assert_eq!(producer.write_within(&payload(9), Duration::ZERO).unwrap(), Written::Full(Obstacle::Consumer(0)));
        assert_eq!(drain(&mut consumer, 9).len(), 8);
        assert_eq!(producer.write_within(&payload(9), Duration::ZERO).unwrap(), Written::At(9));
    }
}

/// Method: three messages, the note of the third taken back as if its producer had died right after the commit.
#[test]
fn a_producer_that_comes_back_counts_a_committed_message_and_refuses_a_damaged_one() {
    for options in [RingOptions::slots(24, 8), RingOptions::frames(4096)] {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        for sequence in 1..=3 {
            producer.write(&payload(sequence)).unwrap();
        }
        drop(producer);
        let (after_two, third) = if ring.info().stride > 0 { (3, 3 * 48) } else { (2 * 48, 2 * 48) };
        set_pair(&rings, HOT_OFFSET, 2, after_two);
        assert_eq!(ring.producer().unwrap().published(), 3);
        set_pair(&rings, HOT_OFFSET, 2, after_two);
        flip(&file(&rings), (data_offset(&ring) + third + 20) * 8);
        assert!(matches!(ring.producer(), Err(RingError::Corrupt { sequence: 3, reason: "CRC" })));
    }
}

#[test]
fn a_cursor_of_another_lap_is_found_again_by_its_sequence() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(4096));
    let mut producer = ring.producer().unwrap();
    for sequence in 1..=20 {
        producer.write(&payload(sequence)).unwrap();
    }
    let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
    consumer.poll(4, |_, _| ()).unwrap();
    drop(consumer);
    file(&rings).write_all_at(&(4 * 48 + 4096u64).to_le_bytes(), consumers_offset(1) as u64).unwrap();
    let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
    while let Written::At(_) = producer.write_within(&payload(0), Duration::ZERO).unwrap() {}
    let sequences: Vec<_> = drain(&mut consumer, 9).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(sequences, (5..=producer.published()).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_no_whole_ring_of_this_boot_is_refused_with_its_reason() {
    let reason = |rings: &Rings| match Ring::open(rings.path()).unwrap_err() {
        RingError::NotARing { reason, .. } => reason,
        other => panic!("{other}"),
    };
    let rings = Rings::new();
    assert!(matches!(Ring::open(rings.path()), Err(RingError::NotFound { .. })));
    std::fs::write(rings.path(), b"short").unwrap();
    assert!(reason(&rings).contains("shorter"));
    std::fs::write(rings.path(), vec![1; 8192]).unwrap();
    assert!(reason(&rings).contains("first bytes"));
    Ring::remove(rings.path()).unwrap();
    drop(rings.create(&RingOptions::frames(4096)));
    let size = file(&rings).metadata().unwrap().len();
    file(&rings).set_len(size - 1).unwrap();
    assert!(reason(&rings).contains(&format!("{} bytes where {size}", size - 1)));
    file(&rings).set_len(size).unwrap();
    // Every bit of the superblock is held by something: version by itself, the rest by the checksum. Of the schema too.
    Ring::remove(rings.path()).unwrap();
    let schema = &<tidebook_types::Trade as tidebook_types::Record>::SCHEMA;
    drop(rings.create(&RingOptions::records(schema, 64).mpsc(2)));
    let open = file(&rings);
    for bit in 0..8 * size_of::<Superblock>() as u64 {
        flip(&open, bit);
        let refused = Ring::open(rings.path()).unwrap_err();
        assert!(matches!(refused, RingError::NotARing { .. } | RingError::Version { .. }), "bit {bit}: {refused}");
        flip(&open, bit);
    }
    Ring::open(rings.path()).unwrap();
    symlink(rings.path(), rings.path().with_extension("link")).unwrap();
    assert!(matches!(Ring::open(rings.path().with_extension("link")), Err(RingError::Io { .. })));
}

#[test]
fn a_ring_is_made_once_and_reopened_only_with_the_options_it_has() {
    let rings = Rings::new();
    let options = RingOptions::records(&<tidebook_types::Trade as tidebook_types::Record>::SCHEMA, 64);
    let ring = rings.create(&options);
    assert!(matches!(Ring::create(rings.path(), &options), Err(RingError::Exists { .. })));
    Ring::open_or_create(rings.path(), &options).unwrap();
    let schema = ring.info().schema.as_ref().unwrap();
    assert_eq!(
        (schema.name.as_str(), schema.version, &schema.text[..27]),
        ("trades", 1, "ts_event:i8:0;ts_recv:i8:8;")
    );
    let mut other_schema = options.clone();
    other_schema.schema.as_mut().unwrap().version = 2;
    let mut other_epoch = options.clone();
    other_epoch.epoch = Some(1);
    for (other, name) in [
        (RingOptions::slots(64, 128), "kind and size"),
        (options.clone().crc(false), "crc"),
        (options.clone().parking(true), "parking"),
        (options.clone().never_waits(true), "never_waits"),
        (options.clone().visible_durable(true), "visible_durable"),
        (options.clone().consumers_max(3), "consumers_max"),
        (other_schema, "schema"),
        (other_epoch, "epoch"),
    ] {
        match Ring::open_or_create(rings.path(), &other).unwrap_err() {
            RingError::Mismatch { field, .. } => assert_eq!(field, name),
            error => panic!("{error}"),
        }
    }
    let entries = std::fs::read_dir(rings.path().parent().unwrap()).unwrap().count();
    assert_eq!(entries, 1, "a refused creation leaves nothing");
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let rings = Rings::new();
    for (options, name) in [
        (RingOptions::slots(0, 8), "record_size_bytes"),
        (RingOptions::slots(8, 12), "count"),
        (RingOptions::frames(5000), "size_bytes"),
        (RingOptions::frames(4096).consumers_max(0), "consumers_max"),
        (RingOptions::frames(4096).continuing(1, 0), "first_sequence"),
    ] {
        match Ring::create(rings.path(), &options).unwrap_err() {
            RingError::Option { option, .. } => assert_eq!(option, name),
            error => panic!("{error}"),
        }
    }
    let ring = rings.create(&RingOptions::frames(4096).consumers_max(2));
    let long = ring.consumer(&ConsumerOptions::named("x".repeat(65)));
    assert!(matches!(long, Err(RingError::Option { option: "name", .. })));
    let _two = ["a", "b"].map(|name| ring.consumer(&ConsumerOptions::named(name)).unwrap());
    assert!(matches!(ring.consumer(&ConsumerOptions::named("c")), Err(RingError::ConsumersFull { max: 2, .. })));
}

/// Method: a ring larger than the file system. `fallocate` fails before anything has a name.
#[test]
fn a_ring_that_does_not_fit_is_an_error_and_leaves_nothing() {
    let rings = Rings::new();
    let directory = rings.path().parent().unwrap().to_owned();
    let free = rustix::fs::statvfs(&directory).unwrap();
    let size = (free.f_blocks * free.f_frsize).next_power_of_two() * 2;
    let error = Ring::create(rings.path(), &RingOptions::frames(size)).unwrap_err();
    assert!(matches!(error, RingError::NoSpace { needed_bytes, .. } if needed_bytes > size), "{error}");
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
}

/// Method: a message whose parts are all empty and lead round the ring past its first one, on a ring without CRC.
#[test]
fn parts_that_lead_round_and_round_are_damage() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(4096).crc(false));
    let (base, file) = (data_offset(&ring), file(&rings));
    for offset in (0..4056).step_by(24).chain([4072]) {
        file.write_all_at(&1u64.to_le_bytes(), base + offset).unwrap();
        let flags: u64 = if offset == 4072 { 1 << 32 } else { 0 };
        file.write_all_at(&flags.to_le_bytes(), base + offset + 8).unwrap();
    }
    // The last of them ends where the first begins to be skipped; its own CRC field is the first one's sequence.
    file.write_all_at(&[1u64, 0, 1].map(u64::to_le_bytes).concat(), base + 4056).unwrap();
    set_pair(&rings, HOT_OFFSET, 0, 4072);
    set_pair(&rings, HOT_OFFSET + std::mem::offset_of!(HotLines, floor), 1, 4072);
    for policy in [Policy::default(), Policy::Overwrite] {
        let mut consumer = ring.consumer(&ConsumerOptions::default().policy(policy)).unwrap();
        let damaged = consumer.poll(9, |_, _| ()).unwrap_err();
        assert!(matches!(damaged, RingError::Corrupt { sequence: 1, .. }), "{damaged}");
    }
    assert_eq!(ring.published(), 0);
}

/// Method: both hot pairs hold numbers with which nothing may be computed; everything is opened on them.
#[test]
fn pairs_at_the_end_of_all_numbers_are_an_error_or_an_outcome() {
    for options in [
        RingOptions::slots(24, 8),
        RingOptions::frames(4096),
        RingOptions::slots(24, 8).mpsc(2),
        RingOptions::runs(64, 16).mpsc(2),
    ] {
        for (published, floor) in
            [(u64::MAX, 1), (u64::MAX - 1, 1), (0, u64::MAX), (u64::MAX, u64::MAX), (1 << 62, 1 << 62)]
        {
            let rings = Rings::new();
            let ring = rings.create(&options);
            set_pair(&rings, HOT_OFFSET, published, published);
            set_pair(&rings, HOT_OFFSET + std::mem::offset_of!(HotLines, floor), floor, floor);
            if let Ok(mut producer) = ring.producer() {
                let _ = producer.write_within(&payload(1), Duration::ZERO);
            }
            for policy in [Policy::default(), Policy::Overwrite] {
                let options = ConsumerOptions::default().policy(policy);
                let _ = ring.consumer(&options).map(|mut consumer| consumer.poll(9, |_, _| ()).map(drop));
            }
            assert!(ring.status().is_ok());
        }
    }
}
