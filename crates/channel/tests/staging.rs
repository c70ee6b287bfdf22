//! A slow disk: what it is behind is staged beside the ring, and nothing of it is lost, whatever happens then.

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidebook_channel::{Channel, ChannelError, ChannelOptions, staging_path};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{JournalOptions, JournalReader, ReaderOptions, SyncPolicy};
use tidebook_ring::{ConsumerOptions, Producer, Ring, RingError, RingOptions, Written, layout};
use tidebook_testkit::{MemoryStorage, Random, Slow, SlowDisk};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

struct Place {
    directory: tempfile::TempDir,
    ring: RingOptions,
}

impl Place {
    /// Rings that hold about 500 messages.
    fn both() -> [Self; 2] {
        [RingOptions::slots(100, 512), RingOptions::frames(64 << 10)].map(|ring| {
            let mut private = tempfile::Builder::new();
            private.permissions(PermissionsExt::from_mode(0o700));
            Self { directory: private.tempdir_in("/dev/shm").unwrap(), ring }
        })
    }

    fn ring(&self) -> PathBuf {
        self.directory.path().join("feed.test.ring")
    }

    fn disk(&self) -> SlowDisk {
        SlowDisk::over(Arc::new(Directory::new(self.directory.path().join("journal"))))
    }

    fn open(&self, disk: &Arc<dyn Storage>, staging_size_bytes: u64) -> (Channel, u64) {
        self.open_syncing(disk, staging_size_bytes, SyncPolicy::Group)
    }

    fn open_syncing(&self, disk: &Arc<dyn Storage>, staging_size_bytes: u64, sync: SyncPolicy) -> (Channel, u64) {
        let journal = JournalOptions { segment_size_bytes: 256 << 10, ..JournalOptions::new("feed.test") };
        let options = ChannelOptions { ring: self.ring.clone(), journal, sync, staging_size_bytes };
        let (channel, report) =
            Channel::open_storage(&self.ring(), disk, &options).unwrap_or_else(|error| panic!("open: {error}"));
        assert_eq!(report.discarded, None);
        (channel, report.replayed_from_ring)
    }
}

fn payload(sequence: u64) -> [u8; 100] {
    let mut payload = [sequence as u8; 100];
    payload[..8].copy_from_slice(&sequence.to_le_bytes());
    payload
}

/// Writes up to sequence `last`; the last that there was room for in time.
fn write_to(producer: &mut Producer, last: u64, timeout: Duration) -> u64 {
    while producer.published() < last {
        match producer.write_within(&payload(producer.published() + 1), timeout).unwrap() {
            Written::At(_) => {}
            Written::Full(_) => break,
        }
    }
    producer.published()
}

/// Last message of the journal; each is the one that was written.
fn journaled(disk: Arc<dyn Storage>) -> u64 {
    let mut reader = JournalReader::open_storage(disk, ReaderOptions::default()).unwrap();
    let mut last = 0;
    while let Some(batch) = reader.next_batch().unwrap() {
        for (sequence, found) in batch.records() {
            assert_eq!((sequence, found), (last + 1, &payload(sequence)[..]));
            last = sequence;
        }
    }
    last
}

/// A channel at whose disk one call is held, with ten messages more that are durable, and one that the call is for.
fn with_a_held_call(place: &Place, slow: Slow, staging_size_bytes: u64) -> (SlowDisk, Channel, Producer) {
    let disk = place.disk();
    let (channel, _) = place.open(&disk.shared(), staging_size_bytes);
    let mut producer = channel.producer().unwrap();
    let last = producer.published() + 10;
    write_to(&mut producer, last, LONG);
    assert!(channel.wait_durable(last, LONG));
    disk.hold(slow);
    write_to(&mut producer, last + 1, LONG);
    disk.wait_for_a_held_call();
    (disk, channel, producer)
}

/// Method: ten times what the ring holds is written while the disk does not answer at all.
#[test]
fn a_disk_that_does_not_answer_holds_no_producer_up_before_the_staging_is_full() {
    for place in Place::both() {
        for slow in [Slow::Sync, Slow::Write] {
            let (disk, channel, mut producer) = with_a_held_call(&place, slow, 4 << 20);
            let from = channel.durable();
            assert_eq!(write_to(&mut producer, from + 5_000, LONG), from + 5_000);
            assert!(staging_path(&place.ring()).exists());
            assert_eq!(
                (channel.durable(), channel.ring().durable()),
                (from, from),
                "nothing is acknowledged by staging"
            );
            let mut consumer = channel.spilling_consumer(&ConsumerOptions::named("reader")).unwrap();
            let mut seen = 0;
            while seen < from {
                consumer.poll(1000, |sequence, _| seen = sequence).unwrap();
            }
            assert!(!consumer.is_ready(), "what is staged is not visible");

            disk.let_go(false);
            assert!(channel.wait_durable(from + 5_000, LONG), "{:?}", channel.failure());
            while seen < from + 5_000 {
                consumer
                    .poll(1000, |sequence, found| {
                        assert_eq!((sequence, found), (seen + 1, &payload(sequence)[..]));
                        seen = sequence;
                    })
                    .unwrap();
            }
            write_to(&mut producer, from + 6_000, LONG);
            drop((producer, consumer));
            channel.close().unwrap();
            assert!(!staging_path(&place.ring()).exists(), "a channel that is closed has none");
            assert_eq!(journaled(disk.shared()), from + 6_000);
            std::fs::remove_dir_all(place.directory.path().join("journal")).unwrap();
            std::fs::remove_file(place.ring()).unwrap();
        }
    }
}

/// A process that was stopped while it joined: it has the lock of the ring's registry. Dropping this lets it go.
fn stopped_while_joining(ring: &Path) -> std::fs::File {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(ring).unwrap();
    let joins = (layout::HOT_OFFSET + std::mem::offset_of!(layout::HotLines, joins)) as i64;
    let lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: joins,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the struct outlives the call and the descriptor is open.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) }, 0);
    file
}

/// Method: another process is stopped while it joins the ring, for as long as the disk does not answer.
#[test]
fn who_is_stopped_while_joining_holds_no_staging_up() {
    for place in Place::both() {
        let (disk, channel, mut producer) = with_a_held_call(&place, Slow::Sync, 4 << 20);
        let stopped = stopped_while_joining(&place.ring());
        let refused = channel.spilling_consumer(&ConsumerOptions::named("reader")).map(|_| ()).unwrap_err();
        assert!(matches!(refused, ChannelError::Ring(RingError::RegistryHeld { .. })), "{refused}");
        let from = channel.durable();
        let written = write_to(&mut producer, from + 5_000, LONG);
        disk.let_go(false);
        assert_eq!(written, from + 5_000);
        assert!(channel.wait_durable(from + 5_000, LONG));
        drop(stopped);
        drop(producer);
        channel.close().unwrap();
        assert_eq!(journaled(disk.shared()), from + 5_000);
    }
}

/// Method: one message, and nothing that comes after it before its sync begins.
#[test]
fn a_sync_that_an_interval_brought_lets_the_producer_on_too() {
    for place in Place::both() {
        let disk = place.disk();
        let every = SyncPolicy::Interval(Duration::from_millis(20));
        let (channel, _) = place.open_syncing(&disk.shared(), 4 << 20, every);
        let mut producer = channel.producer().unwrap();
        disk.hold(Slow::Sync);
        write_to(&mut producer, 1, LONG);
        disk.wait_for_a_held_call();
        assert_eq!(write_to(&mut producer, 5_000, LONG), 5_000);
        disk.let_go(false);
        assert!(channel.wait_durable(5_000, LONG));
        drop(producer);
        channel.close().unwrap();
        assert_eq!(journaled(disk.shared()), 5_000);
    }
}

#[test]
fn a_ring_that_fills_up_waits_for_no_interval() {
    for place in Place::both() {
        let disk = place.disk();
        let every = SyncPolicy::Interval(Duration::from_secs(3_600));
        let (channel, _) = place.open_syncing(&disk.shared(), 0, every);
        let mut producer = channel.producer().unwrap();
        assert_eq!(write_to(&mut producer, 5_000, LONG), 5_000);
        assert!(channel.durable() > 4_000);
        drop(producer);
        channel.close().unwrap();
        assert_eq!(journaled(disk.shared()), 5_000);
    }
}

#[test]
fn a_producer_waits_when_the_staging_is_full_and_without_one_when_the_ring_is() {
    for place in Place::both() {
        let mut written = Vec::new();
        for staging_size_bytes in [0, 256 << 10] {
            let (disk, channel, mut producer) = with_a_held_call(&place, Slow::Sync, staging_size_bytes);
            let durable = channel.durable();
            // Staging takes a moment each time: what counts is that it ends.
            let mut last = 0;
            while write_to(&mut producer, u64::MAX, SHORT) > last {
                last = producer.published();
            }
            written.push(last - durable);
            let told = channel.guarantee().no_staging;
            assert_eq!(told.as_deref(), (staging_size_bytes == 0).then_some("staging_size_bytes is 0"));
            disk.let_go(false);
            assert!(channel.wait_durable(last, LONG));
            drop(producer);
            channel.close().unwrap();
            assert_eq!(journaled(disk.shared()), last);
        }
        assert!((400..600).contains(&written[0]) && (1500..3500).contains(&written[1]), "{written:?}");
    }
}

/// Method: thousands are staged, then the sync fails, and the channel is opened again.
#[test]
fn what_is_staged_when_a_sync_fails_is_journaled_at_the_next_opening() {
    for place in Place::both() {
        for slow in [Slow::Sync, Slow::Write] {
            let (disk, channel, mut producer) = with_a_held_call(&place, slow, 4 << 20);
            let durable = channel.durable();
            write_to(&mut producer, durable + 5_000, LONG);
            disk.let_go(true);
            assert!(!channel.wait_durable(durable + 1, LONG), "a failed {slow:?} acknowledges nothing");
            assert!(channel.failure().is_some());
            assert!(producer.write(&payload(0)).is_err());
            drop(producer);
            channel.close().unwrap_err();
            let disk = place.disk();
            let (channel, replayed) = place.open(&disk.shared(), 4 << 20);
            assert!((4_990..=5_000).contains(&replayed), "{replayed}");
            assert_eq!(channel.ring().durable(), durable + 5_000);
            assert!(!staging_path(&place.ring()).exists());
            channel.close().unwrap();
            assert_eq!(journaled(disk.shared()), durable + 5_000);
            std::fs::remove_dir_all(place.directory.path().join("journal")).unwrap();
            std::fs::remove_file(place.ring()).unwrap();
        }
    }
}

/// Method: the disk in memory loses what no sync of it returned for, in seeded ways, and with the power all shared memory.
#[test]
fn a_power_loss_while_much_is_staged_loses_nothing_acknowledged() {
    for seed in 0..20 {
        for place in Place::both() {
            let (memory, mut random) = (MemoryStorage::new(), Random::new(seed));
            let disk = SlowDisk::over(memory.shared());
            let (channel, _) = place.open(&disk.shared(), 4 << 20);
            let mut producer = channel.producer().unwrap();
            let acknowledged = 1 + random.below(2_000);
            write_to(&mut producer, acknowledged, LONG);
            assert!(channel.wait_durable(acknowledged, LONG));
            disk.hold(Slow::Sync);
            write_to(&mut producer, acknowledged + 1, LONG);
            disk.wait_for_a_held_call();
            write_to(&mut producer, acknowledged + 1 + random.below(4_000), LONG);
            let published = producer.published();
            drop(producer);
            disk.let_go(true);
            channel.close().unwrap_err();
            memory.power_loss(&mut random);
            std::fs::remove_file(place.ring()).unwrap();
            let left = staging_path(&place.ring());
            if left.exists() {
                std::fs::remove_file(left).unwrap();
            }
            let (channel, replayed) = place.open(&memory.shared(), 4 << 20);
            assert_eq!(replayed, 0);
            let found = channel.ring().published();
            channel.close().unwrap();
            assert_eq!(journaled(memory.shared()), found, "seed {seed}");
            assert!(
                (acknowledged..=published).contains(&found),
                "seed {seed}: {acknowledged} acknowledged, {found} found"
            );
        }
    }
}

#[test]
fn what_is_staged_is_not_given_up_for_another_journal() {
    let [place, other] = Place::both();
    let (disk, channel, mut producer) = with_a_held_call(&place, Slow::Sync, 4 << 20);
    write_to(&mut producer, 5_000, LONG);
    disk.let_go(true);
    drop(producer);
    channel.close().unwrap_err();

    let journal = JournalOptions { segment_size_bytes: 256 << 10, ..JournalOptions::new("feed.test") };
    let options = ChannelOptions { journal, ..ChannelOptions::with_ring("feed.test", place.ring.clone()) };
    let stranger = |why: &str| {
        let error = Channel::open_storage(&place.ring(), &other.disk().shared(), &options).expect_err(why);
        assert!(matches!(error, ChannelError::Stranger { .. }), "{error}");
    };
    stranger("the ring has what its own journal lacks");
    std::fs::remove_file(place.ring()).unwrap();
    stranger("the staging has it too");

    let staged = Ring::open(staging_path(&place.ring())).unwrap().published();
    let own = place.disk();
    let (channel, replayed) = place.open(&own.shared(), 4 << 20);
    assert!(staged > 3_000 && (staged - 1..=staged).contains(&replayed), "{staged} staged, {replayed} replayed");
    channel.close().unwrap();
    assert_eq!(journaled(own.shared()), 10 + staged);
}

/// Method: one message staged is damaged that the ring holds as well, for it overwrites only what it must.
#[test]
fn a_damaged_staging_costs_nothing_that_the_ring_still_holds() {
    for place in Place::both() {
        let (disk, channel, mut producer) = with_a_held_call(&place, Slow::Sync, 4 << 20);
        assert_eq!(write_to(&mut producer, 700, LONG), 700);
        disk.let_go(true);
        drop(producer);
        channel.close().unwrap_err();
        let staging = staging_path(&place.ring());
        damage_staged(&place, 400);
        let disk = place.disk();
        let (channel, replayed) = place.open(&disk.shared(), 4 << 20);
        assert!((680..=690).contains(&replayed), "{replayed}");
        assert!(!staging.exists());
        channel.close().unwrap();
        assert_eq!(journaled(disk.shared()), 700);
    }
}

#[test]
fn a_staging_of_another_boot_or_half_of_one_is_removed() {
    for place in Place::both() {
        let disk = place.disk();
        let (channel, _) = place.open(&disk.shared(), 4 << 20);
        write_to(&mut channel.producer().unwrap(), 10, LONG);
        channel.close().unwrap();
        std::fs::write(staging_path(&place.ring()), b"noise").unwrap();
        let (channel, replayed) = place.open(&disk.shared(), 4 << 20);
        assert_eq!((replayed, channel.ring().published()), (0, 10));
        assert!(!staging_path(&place.ring()).exists());
    }
}

/// Method: one message staged is damaged, and somebody removed the ring, which held it too.
#[test]
fn what_cannot_be_read_of_a_staging_without_its_ring_is_told() {
    for place in Place::both() {
        let (disk, channel, mut producer) = with_a_held_call(&place, Slow::Sync, 4 << 20);
        write_to(&mut producer, 700, LONG);
        disk.let_go(true);
        drop(producer);
        channel.close().unwrap_err();
        damage_staged(&place, 400);
        std::fs::remove_file(place.ring()).unwrap();
        let journal = JournalOptions { segment_size_bytes: 256 << 10, ..JournalOptions::new("feed.test") };
        let options = ChannelOptions { journal, ..ChannelOptions::with_ring("feed.test", place.ring.clone()) };
        let own = place.disk();
        let (channel, report) = Channel::open_storage(&place.ring(), &own.shared(), &options).unwrap();
        let discarded = report.discarded.expect("what is staged from 400 on is given up");
        assert!(discarded.reason.starts_with("its staging: ") && discarded.lost.is_none(), "{discarded:?}");
        assert_eq!((report.next_sequence, staging_path(&place.ring()).exists()), (400, false));
        channel.close().unwrap();
        assert_eq!(journaled(own.shared()), 399);
    }
}

/// Changes a byte of a message that is staged.
fn damage_staged(place: &Place, sequence: u64) {
    let staging = staging_path(&place.ring());
    let mut bytes = std::fs::read(&staging).unwrap();
    let staged = [&sequence.to_le_bytes()[..], &payload(sequence)].concat();
    let at = bytes.windows(staged.len()).position(|found| found == staged).expect("it was staged");
    bytes[at + staged.len() - 1] ^= 1;
    std::fs::write(&staging, bytes).unwrap();
}
