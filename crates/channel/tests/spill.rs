//! Consumers that producers do not wait for and that miss nothing: ring, then journal, then ring again.

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tidebook_channel::{Channel, ChannelConsumer, ChannelError, ChannelOptions, link_path};
use tidebook_journal::{JournalError, JournalOptions, JournalWriter, SyncPolicy};
use tidebook_ring::{ConsumerOptions, Gap, Producer, Read, Ring, RingError, RingOptions, RingSchema, SlotBatch, Start};
use tidebook_testkit::Random;

const LONG: Duration = Duration::from_secs(60);
/// Bytes of a record, and of the longest message.
const SIZE: usize = 64;

struct Place {
    directory: tempfile::TempDir,
    ring: RingOptions,
}

impl Place {
    /// Rings of 128 records and of about as many messages, all in memory: what is read where does not depend on a disk.
    fn both() -> [Self; 2] {
        Self::both_in("/dev/shm", 128)
    }

    /// Of so many records, and of about as many messages.
    fn both_in(directory: &str, count: u64) -> [Self; 2] {
        [RingOptions::slots(SIZE as u32, count), RingOptions::frames(count * SIZE as u64)].map(|ring| {
            let mut private = tempfile::Builder::new();
            private.permissions(PermissionsExt::from_mode(0o700));
            Self { directory: private.tempdir_in(directory).unwrap(), ring }
        })
    }

    fn ring(&self) -> PathBuf {
        self.directory.path().join("feed.test.ring")
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn open(&self) -> Channel {
        // Several laps of the ring, and of a small one as little as a segment can be.
        let segment_size_bytes = (4 * self.ring.kind.capacity()).max(64 << 10);
        let journal = JournalOptions { segment_size_bytes, ..JournalOptions::new("feed.test") };
        let options = ChannelOptions {
            ring: self.ring.clone().parking(true),
            journal,
            sync: SyncPolicy::Group,
            staging_size_bytes: 1 << 20,
        };
        Channel::open(&self.ring(), &self.journal(), &options).unwrap_or_else(|error| panic!("open: {error}")).0
    }

    /// Publishes as many and waits until they are durable.
    fn publish(channel: &Channel, producer: &mut Producer, count: u64) {
        for _ in 0..count {
            let sequence = producer.published() + 1;
            assert_eq!(producer.write(&payload(sequence)).unwrap(), sequence);
        }
        assert!(channel.wait_durable(producer.published(), LONG), "{:?}", channel.failure());
    }
}

fn payload(sequence: u64) -> [u8; SIZE] {
    let mut payload = [sequence as u8; SIZE];
    payload[..8].copy_from_slice(&sequence.to_le_bytes());
    payload
}

/// Reads up to `limit` messages, each of which must follow the one before and be whole; the gap, if there was one.
fn read(consumer: &mut ChannelConsumer, limit: usize, last: &mut u64) -> Option<Gap> {
    let follow = |last: &mut u64, sequence, found: &[u8]| {
        assert_eq!((sequence, found), (*last + 1, &payload(sequence)[..]));
        *last = sequence;
    };
    let gap = if let tidebook_ring::RingKind::Slots { .. } = consumer.ring().info().kind {
        match consumer.slots(limit).unwrap() {
            SlotBatch::Slots(slots) => {
                slots
                    .records()
                    .zip(slots.first_sequence()..)
                    .for_each(|(found, sequence)| follow(last, sequence, found));
                assert!(slots.len() <= limit);
                None
            }
            SlotBatch::Gap(gap) => Some(gap),
            SlotBatch::Empty => None,
        }
    } else {
        let read = consumer.read_while(limit, |sequence, found| {
            follow(last, sequence, found);
            ControlFlow::Continue(())
        });
        match read.unwrap() {
            Read::Messages(count) => {
                assert!(count <= limit);
                None
            }
            Read::Gap(gap) => Some(gap),
        }
    };
    assert_eq!(consumer.next_sequence(), gap.map_or(*last, |gap| gap.first + gap.count - 1) + 1);
    gap
}

fn read_to(consumer: &mut ChannelConsumer, end: u64, last: &mut u64) {
    while *last < end {
        assert!(consumer.wait(Some(LONG)).unwrap());
        assert_eq!(read(consumer, 1000, last), None);
    }
}

/// Method: seeded turns of publishing and reading; what is published between two reads is from nothing to many laps.
#[test]
fn a_consumer_that_is_overtaken_misses_nothing_and_gets_nothing_twice() {
    for place in Place::both() {
        let channel = place.open();
        let mut producer = channel.producer().unwrap();
        let mut consumer = channel.spilling_consumer(&ConsumerOptions::named("storage")).unwrap();
        let mut random = Random::new(7);
        let (mut last, mut in_history, mut live) = (0, 0, 0);
        for _ in 0..400 {
            let count = if random.below(3) == 0 { random.below(1500) } else { random.below(40) };
            Place::publish(&channel, &mut producer, count);
            for _ in 0..random.below(6) {
                assert_eq!(read(&mut consumer, 1 + random.below(200) as usize, &mut last), None);
                if random.below(2) == 0 {
                    consumer.commit();
                }
                *if consumer.is_behind_the_ring() { &mut in_history } else { &mut live } += 1;
            }
        }
        read_to(&mut consumer, producer.published(), &mut last);
        assert!(in_history > 50 && live > 50, "{in_history} reads of the journal, {live} of the ring");
        assert!(!consumer.is_ready());
        let status = channel.ring().status().unwrap();
        let found = status.consumers.iter().find(|found| found.name == "storage").unwrap();
        assert_eq!((found.gaps, found.lost), (0, 0), "nothing was lost");
    }
}

/// Method: a producer without pause, and a consumer that pauses for as long as some laps take; short here, 10,000,000
/// messages with `--ignored`.
fn beside_a_producer(messages: u64, held: u64, places: [Place; 2]) {
    for place in places {
        let channel = place.open();
        let mut consumer = channel.spilling_consumer(&ConsumerOptions::named("storage")).unwrap();
        std::thread::scope(|scope| {
            let (mut producer, ring) = (channel.producer().unwrap(), channel.ring());
            scope.spawn(move || {
                for sequence in 1..=messages {
                    producer.write(&payload(sequence)).unwrap();
                }
            });
            let (mut random, mut last, mut behind) = (Random::new(11), 0, 0_u64);
            while last < messages {
                assert!(consumer.wait(Some(LONG)).unwrap(), "{}", channel.guarantee());
                assert_eq!(read(&mut consumer, 1 + random.below(1000) as usize, &mut last), None);
                consumer.commit();
                behind += u64::from(consumer.is_behind_the_ring());
                if random.below(50) == 0 {
                    let resume_at = (last + 3 * held).min(messages);
                    while ring.durable() < resume_at {
                        std::thread::yield_now();
                    }
                }
            }
            assert!(behind > 0);
        });
        channel.close().unwrap();
    }
}

#[test]
fn a_slow_consumer_beside_a_producer_without_pause_misses_nothing() {
    beside_a_producer(100_000, 300, Place::both());
}

#[test]
#[ignore = "the full numbers: make soak"]
fn ten_million_messages_reach_a_slow_consumer_without_gap_or_duplicate() {
    beside_a_producer(10_000_000, 1 << 15, Place::both_in(std::env::temp_dir().to_str().unwrap(), 1 << 15));
}

#[test]
fn the_earliest_message_is_the_first_of_the_journal_and_an_older_start_is_read_there() {
    for place in Place::both() {
        let channel = place.open();
        let mut producer = channel.producer().unwrap();
        Place::publish(&channel, &mut producer, 2000);
        assert!(channel.ring().oldest() > 500);
        let starts = [(Start::Earliest, 1), (Start::Resume, 1), (Start::Sequence(500), 500), (Start::Latest, 2001)];
        for (start, first) in starts {
            let mut consumer = channel.spilling_consumer(&ConsumerOptions::default().start(start)).unwrap();
            assert_eq!(consumer.next_sequence(), first, "{start:?}");
            let mut last = first - 1;
            read_to(&mut consumer, 2000, &mut last);
        }
        let beyond = channel.spilling_consumer(&ConsumerOptions::default().start(Start::Sequence(2002))).unwrap_err();
        assert!(matches!(beyond, ChannelError::Ring(RingError::StartBeyond { asked: 2002, next: 2001 })), "{beyond}");
    }
}

/// Method: a named consumer goes away in the middle of the journal's part, once after it had committed and once not.
#[test]
fn a_named_consumer_that_was_away_goes_on_after_what_it_committed() {
    for place in Place::both() {
        let channel = place.open();
        let mut producer = channel.producer().unwrap();
        let named = ConsumerOptions::named("storage");
        let mut last = 0;
        drop(channel.spilling_consumer(&named).unwrap());
        Place::publish(&channel, &mut producer, 3000);
        for committed in [100, 700, 2990, 3000] {
            let mut consumer = channel.spilling_consumer(&named).unwrap();
            assert_eq!(consumer.next_sequence(), last + 1);
            while last < committed {
                read(&mut consumer, (committed - last) as usize, &mut last);
            }
            consumer.commit();
            assert_eq!(consumer.committed(), committed);
            let mut further = last;
            read(&mut consumer, 50, &mut further);
        }
        Place::publish(&channel, &mut producer, 1000);
        read_to(&mut channel.spilling_consumer(&named).unwrap(), 4000, &mut last);
    }
}

#[test]
fn what_was_read_from_the_journal_can_be_acknowledged_and_what_was_not_cannot() {
    for place in Place::both() {
        let channel = place.open();
        let mut producer = channel.producer().unwrap();
        Place::publish(&channel, &mut producer, 1000);
        let mut consumer = channel.spilling_consumer(&ConsumerOptions::named("storage")).unwrap();
        let mut last = 0;
        read(&mut consumer, 300, &mut last);
        assert!(matches!(consumer.acknowledge(last + 1), Err(RingError::NotRead { .. })));
        consumer.acknowledge(200).unwrap();
        drop(consumer);
        let again = channel.spilling_consumer(&ConsumerOptions::named("storage")).unwrap();
        assert_eq!((again.committed(), again.next_sequence()), (200, 201));
    }
}

/// Method: the segments of the front are removed, as compaction removes them, before a consumer begins and while it is
/// among them.
#[test]
fn what_the_journal_does_not_hold_any_more_is_a_gap_with_its_count() {
    for place in Place::both() {
        let channel = place.open();
        let mut producer = channel.producer().unwrap();
        Place::publish(&channel, &mut producer, 5000);
        let mut early = channel.spilling_consumer(&ConsumerOptions::named("early")).unwrap();
        let mut last = 0;
        read(&mut early, 10, &mut last);
        assert!(tidebook_journal::compact(&place.journal(), 3000).unwrap().removed.len() > 1);
        let mut late = channel.spilling_consumer(&ConsumerOptions::named("late").start(Start::Sequence(1))).unwrap();
        let mut seen = 0;
        let gap = read(&mut late, 1000, &mut seen).expect("the first messages are gone");
        assert_eq!(gap.first, 1);
        let mut kept = tidebook_journal::JournalReader::open(&place.journal(), Default::default()).unwrap();
        assert_eq!(gap.count, kept.next_batch().unwrap().unwrap().first_sequence() - 1);
        seen = gap.count;
        read_to(&mut late, 5000, &mut seen);
        let status = channel.ring().status().unwrap();
        let found = status.consumers.iter().find(|found| found.name == "late").unwrap();
        assert_eq!((found.gaps, found.lost), (1, gap.count), "lost for good is counted");

        let mut told = 0;
        while last < 5000 {
            if let Some(gap) = read(&mut early, 1000, &mut last) {
                assert_eq!(gap.first, last + 1);
                (last, told) = (last + gap.count, told + 1);
            }
        }
        assert_eq!(told, 1);
    }
}

#[test]
fn after_a_reboot_a_consumer_goes_on_at_its_cursor_from_the_journal_and_then_live() {
    for place in Place::both() {
        let channel = place.open();
        let mut producer = channel.producer().unwrap();
        Place::publish(&channel, &mut producer, 900);
        let epoch = channel.ring().info().epoch;
        drop(producer);
        channel.close().unwrap();
        std::fs::remove_file(place.ring()).unwrap();

        let channel = place.open();
        assert_eq!((channel.ring().info().epoch, channel.ring().published()), (epoch, 900));
        let mut producer = channel.producer().unwrap();
        let options = ConsumerOptions::named("storage").start(Start::Sequence(401));
        let mut consumer = channel.spilling_consumer(&options).unwrap();
        let mut last = 400;
        read_to(&mut consumer, 900, &mut last);
        Place::publish(&channel, &mut producer, 10);
        read_to(&mut consumer, 910, &mut last);
        assert!(!consumer.is_ready() && !consumer.is_behind_the_ring());
    }
}

#[test]
fn a_process_that_has_only_the_ring_finds_the_journal_and_refuses_another() {
    let [place, other] = Place::both();
    let (channel, strange) = (place.open(), other.open());
    let mut producer = channel.producer().unwrap();
    Place::publish(&channel, &mut producer, 1000);
    let ring = Ring::open(place.ring()).unwrap();
    let mut consumer = ChannelConsumer::spilling(&ring, &ConsumerOptions::named("storage")).unwrap();
    read_to(&mut consumer, 1000, &mut 0);

    let spill = || ChannelConsumer::spilling(&ring, &ConsumerOptions::named("other")).unwrap_err();
    std::fs::remove_file(link_path(&place.ring())).unwrap();
    assert!(matches!(spill(), ChannelError::NoJournal { .. }), "{}", spill());
    std::os::unix::fs::symlink(other.journal(), link_path(&place.ring())).unwrap();
    assert!(matches!(spill(), ChannelError::OtherJournal { .. }), "{}", spill());
    drop(strange);
    std::fs::remove_dir_all(other.journal()).unwrap();
    assert!(matches!(spill(), ChannelError::Journal(JournalError::Absent { .. })), "{}", spill());
    drop((producer, channel));
    let channel = place.open();
    ChannelConsumer::spilling(channel.ring(), &ConsumerOptions::named("other"))
        .expect("its owner tells the place anew");
}

/// Method: 30 plain messages, then what an older release did: it went on with records and a configuration that says so.
#[test]
fn messages_of_another_layout_than_the_rings_are_refused_by_where_they_end_and_never_given() {
    let [Place { directory, mut ring }, Place { ring: plain, .. }] = Place::both();
    ring.schema = Some(RingSchema { name: "numbers".into(), version: 1, text: "price i8 @0".into() });
    let place = Place { directory, ring };
    {
        let options = ChannelOptions::with_ring("feed.test", plain);
        let (channel, _) = Channel::open(&place.ring(), &place.journal(), &options).unwrap();
        Place::publish(&channel, &mut channel.producer().unwrap(), 30);
        channel.close().unwrap();
    }
    std::fs::remove_file(place.ring()).unwrap();
    let mut options = JournalOptions { segment_size_bytes: 64 << 10, ..JournalOptions::new("feed.test") };
    options.configuration = format!(
        r#"{{"sync":"group","segment_size_bytes":65536,"ring":{{"record_size_bytes":{SIZE},"count":128}},"record":{{"name":"numbers","version":1,"layout":"price i8 @0"}}}}"#
    );
    JournalWriter::open(&place.journal(), options).unwrap().0.close().unwrap();
    let channel = place.open();
    let mut producer = channel.producer().unwrap();
    Place::publish(&channel, &mut producer, 1_000);

    let named = || ConsumerOptions::named("storage");
    for refused in [
        ChannelConsumer::spilling(channel.ring(), &named()),
        ChannelConsumer::by_default(channel.ring(), &named()),
        ChannelConsumer::spilling(channel.ring(), &named().start(Start::Earliest)),
        ChannelConsumer::spilling(channel.ring(), &named().start(Start::Sequence(30))),
    ] {
        let refused = refused.expect_err("plain messages are no records");
        assert!(
            matches!(&refused, ChannelError::OtherLayoutBefore { first: 31, journal, .. } if *journal == place.journal()),
            "{refused}"
        );
    }
    assert!(!channel.ring().knows_consumer("storage"), "who is refused leaves nothing");
    for (name, start) in [("all", Start::Sequence(31)), ("resuming", Start::Sequence(500)), ("latest", Start::Latest)] {
        let consumer = ConsumerOptions::named(name).start(start);
        let mut consumer = ChannelConsumer::spilling(channel.ring(), &consumer).unwrap();
        let mut last = consumer.last_read();
        read_to(&mut consumer, 1_030, &mut last);
        consumer.commit();
    }
    Place::publish(&channel, &mut producer, 1_000);
    let resuming = ConsumerOptions::named("resuming").start(Start::Resume);
    let mut consumer = ChannelConsumer::spilling(channel.ring(), &resuming).unwrap();
    let mut last = 1_030;
    read_to(&mut consumer, 2_030, &mut last);
}

#[test]
fn spill_is_refused_where_it_cannot_keep_what_it_promises() {
    let [place, _] = Place::both();
    let channel = place.open();
    let peek = channel.spilling_consumer(&ConsumerOptions::named("ahead").peek(true)).unwrap_err();
    assert!(matches!(peek, ChannelError::Ring(RingError::Option { option: "policy", .. })), "{peek}");
    let memory = Ring::create(place.directory.path().join("memory.ring"), &RingOptions::slots(64, 8)).unwrap();
    let refused = ChannelConsumer::spilling(&memory, &ConsumerOptions::named("reader")).unwrap_err();
    assert!(refused.to_string().contains("this channel has no journal"), "{refused}");
}
