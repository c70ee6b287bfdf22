//! What a durable channel does in life, after a reboot, and with rings that cannot stay.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tidebook_channel::{Channel, ChannelError, ChannelOptions, ChannelReport};
use tidebook_journal::storage::Directory;
use tidebook_journal::{
    JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions, SyncPolicy, configurations,
    mark_put_back,
};
use tidebook_ring::layout::{SUPERBLOCK_SIZE_BYTES, Superblock};
use tidebook_ring::{Consumer, ConsumerOptions, Read, Ring, RingOptions, RingSchema, Start};
use tidebook_testkit::{Slow, SlowDisk};

const LONG: Duration = Duration::from_secs(20);

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let private = PermissionsExt::from_mode(0o700);
        Self { directory: tempfile::Builder::new().permissions(private).tempdir().unwrap() }
    }

    fn ring(&self) -> PathBuf {
        self.directory.path().join("feed.test.ring")
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn open(&self) -> (Channel, ChannelReport) {
        self.try_open(&options()).unwrap_or_else(|error| panic!("open: {error}"))
    }

    fn try_open(&self, options: &ChannelOptions) -> Result<(Channel, ChannelReport), ChannelError> {
        Channel::open(&self.ring(), &self.journal(), options)
    }

    /// A channel that has lived: messages 1 to `last`, all journaled.
    fn lived(last: u64) -> Self {
        let place = Self::new();
        let (channel, _) = place.open();
        publish(&channel, last);
        channel.close().unwrap();
        place
    }

    /// Last message of the journal, read from the first; checks each.
    fn journaled(&self) -> u64 {
        let mut reader = JournalReader::open(&self.journal(), ReaderOptions::default()).unwrap();
        let mut last = 0;
        while let Some(batch) = reader.next_batch().unwrap() {
            for (sequence, found) in batch.records() {
                assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()));
                last = sequence;
            }
        }
        last
    }
}

fn options() -> ChannelOptions {
    let journal = JournalOptions { segment_size_bytes: 256 << 10, ..JournalOptions::new("feed.test") };
    ChannelOptions { journal, ..ChannelOptions::frames("feed.test", 64 << 10) }
}

fn payload(sequence: u64) -> Vec<u8> {
    format!("message {sequence}").into_bytes()
}

fn publish(channel: &Channel, count: u64) {
    let mut producer = channel.producer().unwrap();
    for _ in 0..count {
        let sequence = producer.published() + 1;
        producer.write(&payload(sequence)).unwrap();
    }
}

/// Last sequence a consumer is given now; checks each payload.
fn read_to_end(consumer: &mut Consumer) -> u64 {
    let mut last = consumer.next_sequence() - 1;
    loop {
        let read = consumer.poll(1000, |sequence, found| {
            assert_eq!((sequence, found), (last + 1, payload(sequence).as_slice()));
            last = sequence;
        });
        match read.unwrap() {
            Read::Messages(0) => return last,
            Read::Messages(_) => {}
            Read::Gap(gap) => panic!("{gap:?}"),
        }
    }
}

/// Changes a file of another boot into being: the boot id of the superblock, with its checksum.
fn change_boot_id(ring: &Path) {
    let mut bytes = std::fs::read(ring).unwrap();
    bytes[std::mem::offset_of!(Superblock, boot_id)] ^= 1;
    let crc = crc_fast::crc32_iscsi(&bytes[..SUPERBLOCK_SIZE_BYTES - 4]).to_le_bytes();
    bytes[SUPERBLOCK_SIZE_BYTES - 4..SUPERBLOCK_SIZE_BYTES].copy_from_slice(&crc);
    std::fs::write(ring, bytes).unwrap();
}

#[test]
fn visible_consumers_see_what_is_durable_and_a_peek_consumer_what_is_published() {
    let place = Place::new();
    let slow = ChannelOptions { sync: SyncPolicy::Interval(Duration::from_secs(3600)), ..options() };
    let (channel, _) = place.try_open(&slow).unwrap();
    let mut visible = channel.consumer(&ConsumerOptions::named("storage")).unwrap();
    let mut peek = channel.consumer(&ConsumerOptions::named("engine").peek(true)).unwrap();
    publish(&channel, 50);
    assert_eq!((read_to_end(&mut peek), read_to_end(&mut visible)), (50, 0));
    let guarantee = channel.guarantee();
    assert_eq!((guarantee.published, guarantee.durable, guarantee.failure.as_ref()), (50, 0, None));
    assert!(guarantee.to_string().starts_with("wal, synced every 3600000 ms, durable up to 0 of 50 in "));
    channel.close().unwrap();
    assert_eq!(read_to_end(&mut visible), 50, "closing makes durable what was published");
    assert_eq!(place.journaled(), 50);
}

#[test]
fn both_policies_make_durable_what_is_published() {
    for sync in [SyncPolicy::Group, SyncPolicy::Interval(Duration::from_millis(3))] {
        let place = Place::new();
        let (channel, _) = place.try_open(&ChannelOptions { sync, ..options() }).unwrap();
        let mut consumer = channel.consumer(&ConsumerOptions::named("storage")).unwrap();
        for last in [1, 100, 1000] {
            publish(&channel, last - channel.ring().published());
            assert!(channel.wait_durable(last, LONG), "{sync:?} {last}");
            assert_eq!(read_to_end(&mut consumer), last);
        }
    }
}

/// The ring holds far fewer messages than are published: the producer waits for the journal and nothing is skipped.
#[test]
fn a_producer_faster_than_the_journal_waits_and_loses_nothing() {
    let place = Place::new();
    let (channel, _) = place.open();
    publish(&channel, 30_000);
    channel.close().unwrap();
    assert_eq!(place.journaled(), 30_000);
}

#[test]
fn a_channel_goes_on_in_the_same_ring_after_its_owner() {
    let place = Place::lived(20);
    let generation = Ring::open(place.ring()).unwrap().info().generation;
    let (channel, report) = place.open();
    assert_eq!((report.next_sequence, report.replayed_from_ring, report.discarded), (21, 0, None));
    assert_eq!(channel.ring().info().generation, generation);
    publish(&channel, 5);
    channel.close().unwrap();
    assert_eq!(place.journaled(), 25);
}

/// The state after a kill between publish and journal, made without a kill: the ring is used without its owner.
#[test]
fn the_tail_of_the_ring_is_journaled_first_at_the_next_opening() {
    let place = Place::lived(20);
    let ring = Ring::open(place.ring()).unwrap();
    let mut producer = ring.producer().unwrap();
    for sequence in 21..=300 {
        producer.write(&payload(sequence)).unwrap();
    }
    drop(producer);
    let (channel, report) = place.open();
    assert_eq!((report.replayed_from_ring, report.next_sequence), (280, 301));
    assert_eq!((channel.durable(), channel.ring().durable()), (300, 300));
    drop(channel);
    assert_eq!(place.journaled(), 300);
}

#[test]
fn after_a_reboot_the_ring_is_made_anew_where_the_journal_ends() {
    let place = Place::lived(20);
    let ring = Ring::open(place.ring()).unwrap();
    ring.producer().unwrap().write(b"committed, and never journaled before the power went").unwrap();
    drop(ring);
    change_boot_id(&place.ring());
    let (channel, report) = place.open();
    assert!(report.discarded.unwrap().reason.contains("before the last boot"));
    assert_eq!((report.next_sequence, channel.ring().info().first_sequence), (21, 21));
    let mut consumer = channel.consumer(&ConsumerOptions::named("storage").start(Start::Earliest)).unwrap();
    publish(&channel, 3);
    assert!(channel.wait_durable(23, LONG));
    assert_eq!(read_to_end(&mut consumer), 23);
}

#[test]
fn a_damaged_message_in_the_tail_ends_what_is_taken_from_the_ring() {
    let place = Place::lived(20);
    let ring = Ring::open(place.ring()).unwrap();
    let mut producer = ring.producer().unwrap();
    for sequence in 21..=30 {
        producer.write(&payload(sequence)).unwrap();
    }
    drop((producer, ring));
    let mut bytes = std::fs::read(place.ring()).unwrap();
    let at = bytes.windows(10).rposition(|window| window == b"message 26").unwrap();
    bytes[at] ^= 1;
    std::fs::write(place.ring(), bytes).unwrap();
    let (_channel, report) = place.open();
    let discarded = report.discarded.unwrap();
    assert_eq!((report.replayed_from_ring, report.next_sequence, discarded.lost), (5, 26, Some(5)));
    assert!(discarded.reason.contains("26"), "{}", discarded.reason);
    assert_eq!(place.journaled(), 25);
}

#[test]
fn a_ring_that_is_no_ring_is_made_anew() {
    let place = Place::lived(20);
    std::fs::write(place.ring(), b"noise").unwrap();
    let (_channel, report) = place.open();
    assert_eq!(report.next_sequence, 21);
    assert!(report.discarded.unwrap().reason.contains("no usable ring"));
}

/// Method: a pipe, which would keep who opens it waiting, and a directory, under each name of a channel's files.
#[test]
fn what_is_no_file_under_the_name_of_a_ring_is_named_and_stays() {
    let place = Place::lived(20);
    let files = [place.ring(), place.ring().with_extension("staging")];
    for path in files {
        let aside = path.with_extension("aside");
        let was_there = std::fs::rename(&path, &aside).is_ok();
        for found in ["a named pipe", "a directory"] {
            match found {
                "a directory" => std::fs::create_dir(&path).unwrap(),
                _ => rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap(),
            }
            let refused = place.try_open(&options()).map(|_| ()).unwrap_err();
            let expected = format!("{found} stands in the place of ring {}", path.display());
            assert!(refused.to_string().starts_with(&expected), "{refused}");
            // It still stands there.
            if found == "a directory" { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) }.unwrap();
        }
        if was_there {
            std::fs::rename(&aside, &path).unwrap();
        }
    }
    assert_eq!(place.open().1.next_sequence, 21);
}

#[test]
fn a_ring_of_another_journal_is_never_continued() {
    let place = Place::lived(20);
    std::fs::remove_dir_all(place.journal()).unwrap();
    JournalWriter::open(&place.journal(), options().journal).unwrap().0.close().unwrap();
    let (channel, report) = place.open();
    assert_eq!((report.next_sequence, report.replayed_from_ring), (1, 0));
    assert!(report.discarded.unwrap().reason.contains("another journal"));
    publish(&channel, 2);
    channel.close().unwrap();
    assert_eq!(place.journaled(), 2);
}

/// Method: a journal's directory is taken away, or is empty as where its disk is not mounted, and comes back.
#[test]
fn a_channel_whose_journal_is_gone_is_refused_and_its_ring_kept_until_somebody_removes_it() {
    for empty in [false, true] {
        let place = Place::lived(20);
        let away = place.directory.path().join("away");
        std::fs::rename(place.journal(), &away).unwrap();
        if empty {
            std::fs::create_dir(place.journal()).unwrap();
        }
        for _ in 0..2 {
            let error = place.try_open(&options()).unwrap_err();
            assert!(matches!(error, ChannelError::JournalGone { durable: 20, .. }), "{error}");
            let said = error.to_string();
            assert!(said.contains(place.journal().to_str().unwrap()), "{said}");
            assert!(said.contains(&format!("`tidebook channel rm {}`", place.ring().display())), "{said}");
            assert_eq!(Ring::open(place.ring()).unwrap().durable(), 20);
            assert_eq!(place.journal().exists(), empty, "nothing is made where the disk belongs");
        }
        if empty {
            std::fs::remove_dir(place.journal()).unwrap();
        }
        std::fs::rename(&away, place.journal()).unwrap();
        let (channel, report) = place.open();
        assert_eq!((report.next_sequence, report.discarded), (21, None));
        channel.close().unwrap();
        std::fs::remove_dir_all(place.journal()).unwrap();
        Ring::remove(place.ring()).unwrap();
        assert_eq!(place.open().1.next_sequence, 1, "a decision of somebody");
    }
    let (place, new) = (Place::lived(20), Place::new());
    let (_channel, report) = Channel::open(&place.ring(), &new.journal(), &options()).unwrap();
    assert_eq!(report.next_sequence, 1, "the ring says that its journal is in another directory");
}

/// Two data directories whose nodes share one place for rings.
#[test]
fn a_ring_is_never_continued_into_the_journal_of_another_directory() {
    let (place, other) = (Place::lived(20), Place::lived(5));
    let (channel, report) = Channel::open(&place.ring(), &other.journal(), &options()).unwrap();
    assert_eq!((report.next_sequence, report.replayed_from_ring), (6, 0));
    let discarded = report.discarded.unwrap();
    assert!(discarded.reason.contains("another journal"));
    assert_eq!(discarded.lost, Some(0));
    channel.close().unwrap();
    assert_eq!(other.journaled(), 5);
}

#[test]
fn a_ring_with_messages_never_synced_is_kept_from_another_journal_until_its_own_has_them() {
    let (place, other) = (Place::lived(20), Place::lived(5));
    let mut producer = Ring::open(place.ring()).unwrap().producer().unwrap();
    producer.write(&payload(21)).unwrap();
    let error = Channel::open(&place.ring(), &other.journal(), &options()).unwrap_err();
    assert!(matches!(error, ChannelError::InUse { .. }), "its own producer lives: {error}");
    drop(producer);
    let error = Channel::open(&place.ring(), &other.journal(), &options()).unwrap_err();
    assert!(matches!(error, ChannelError::Stranger { unsynced: 1, .. }), "{error}");
    let said = error.to_string();
    for path in [place.ring(), other.journal()] {
        assert!(said.contains(path.to_str().unwrap()), "{said}");
    }
    let (channel, report) = place.open();
    assert_eq!((report.replayed_from_ring, report.next_sequence), (1, 22));
    channel.close().unwrap();
    assert_eq!((place.journaled(), other.journaled()), (21, 5));
    Channel::open(&place.ring(), &other.journal(), &options()).unwrap();
}

#[test]
fn a_ring_behind_its_journal_is_made_anew() {
    let place = Place::lived(20);
    let (mut writer, _) = JournalWriter::open(&place.journal(), options().journal).unwrap();
    for sequence in 21..=40 {
        writer.append(&payload(sequence)).unwrap();
    }
    writer.close().unwrap();
    let (_channel, report) = place.open();
    assert_eq!(report.next_sequence, 41);
    assert!(report.discarded.unwrap().reason.contains("before its journal"));
}

/// A node was killed with messages in its ring that no sync had reached; another node went on with the journal.
#[test]
fn a_tail_whose_sequences_the_journal_gave_to_other_messages_is_not_spliced_in() {
    let place = Place::lived(20);
    let ring = Ring::open(place.ring()).unwrap();
    let mut producer = ring.producer().unwrap();
    for _ in 21..=25 {
        producer.write(b"of the first node").unwrap();
    }
    drop(producer);
    let (mut writer, _) = JournalWriter::open(&place.journal(), options().journal).unwrap();
    for sequence in 21..=23 {
        writer.append(&payload(sequence)).unwrap();
    }
    writer.close().unwrap();
    let (channel, report) = place.open();
    assert_eq!((report.replayed_from_ring, report.next_sequence), (0, 24));
    let discarded = report.discarded.unwrap();
    assert_eq!(discarded.reason, "its message 23 is another than its journal's");
    assert_eq!(discarded.lost, Some(5));
    channel.close().unwrap();
    assert_eq!(place.journaled(), 23);
}

#[test]
fn a_ring_of_other_options_is_drained_and_made_anew_unless_it_is_in_use() {
    let place = Place::lived(20);
    let ring = Ring::open(place.ring()).unwrap();
    ring.producer().unwrap().write(&payload(21)).unwrap();
    let larger = ChannelOptions { ring: RingOptions::frames(128 << 10), ..options() };
    let consumer = ring.consumer(&ConsumerOptions::named("storage")).unwrap();
    let error = place.try_open(&larger).unwrap_err();
    assert!(matches!(error, ChannelError::InUse { .. }), "{error}");
    drop((consumer, ring));
    let (channel, report) = place.try_open(&larger).unwrap();
    assert_eq!((report.next_sequence, report.discarded.unwrap().lost), (22, Some(0)));
    assert_eq!(channel.ring().info().kind, larger.ring.kind);
    assert_eq!(place.journaled(), 21);
}

/// A copy of a journal, beside it.
fn copied(place: &Place) -> PathBuf {
    let copy = place.directory.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(place.journal()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_copy_of_a_journal_is_not_opened_with_the_ring_that_another_process_journals_and_stays_as_it_is() {
    let place = Place::lived(10);
    let copy = copied(&place);
    let files = || {
        let mut found: Vec<_> = std::fs::read_dir(&copy)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        found.sort();
        found
    };
    let before = files();
    let (channel, _) = place.open();
    publish(&channel, 5);
    let error = Channel::open(&place.ring(), &copy, &options()).unwrap_err();
    assert!(matches!(&error, ChannelError::OtherCopy { other, .. } if *other == place.journal()), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(files() == before, "the copy was changed");
    // Its own journal says as before that it is written.
    assert!(matches!(
        place.try_open(&options()).unwrap_err(),
        ChannelError::Journal(tidebook_journal::JournalError::Locked { .. })
    ));
    channel.close().unwrap();
    assert_eq!(place.journaled(), 15);
}

/// Method: a copy of the journal at message 10 is put back beside the ring of the one that went on.
fn put_back(more: u64) -> Place {
    let place = Place::lived(10);
    let copy = copied(&place);
    let (channel, _) = place.open();
    publish(&channel, more);
    channel.close().unwrap();
    std::fs::remove_dir_all(place.journal()).unwrap();
    std::fs::rename(copy, place.journal()).unwrap();
    place
}

#[test]
fn a_journal_that_was_put_back_gets_from_the_ring_what_that_still_holds() {
    let place = put_back(10);
    let (channel, report) = place.open();
    assert_eq!((report.next_sequence, report.replayed_from_ring), (21, 10));
    let discarded = report.discarded.unwrap();
    assert!(discarded.reason.contains("put back from a copy"), "{discarded:?}");
    assert_eq!(discarded.lost, Some(0));
    channel.close().unwrap();
    assert_eq!(place.journaled(), 20);
}

/// Method: what the ring holds behind the copy's end is in part durable, and in part was published by an owner that was killed.
#[test]
fn what_a_ring_holds_and_a_copy_lacks_is_journaled_in_its_epoch_as_far_as_it_was_durable() {
    let place = put_back(10);
    let ring = Ring::open(place.ring()).unwrap();
    let mut producer = ring.producer().unwrap();
    for sequence in 21..=25 {
        producer.write(&payload(sequence)).unwrap();
    }
    drop((producer, ring));
    let (channel, report) = place.open();
    assert_eq!((report.next_sequence, report.replayed_from_ring), (26, 15));
    let begun = report.journal.epoch_behind_copy.unwrap();
    assert_eq!(channel.ring().info().epoch >> 32, u64::from(begun));
    channel.close().unwrap();
    assert_eq!(place.journaled(), 25);
    let mut reader = JournalReader::open(&place.journal(), ReaderOptions::default()).unwrap();
    while let Some(batch) = reader.next_batch().unwrap() {
        let expected = if batch.last_sequence() <= 20 { 1 } else { begun };
        assert_eq!(batch.epoch(), expected, "{} to {}", batch.first_sequence(), batch.last_sequence());
    }
}

#[test]
fn a_journal_that_was_put_back_is_not_opened_while_its_ring_is_read() {
    for marked in [false, true] {
        let place = put_back(10);
        if marked {
            mark_put_back(&place.journal()).unwrap();
        }
        let reading = Ring::open(place.ring()).unwrap().consumer(&ConsumerOptions::named("reads")).unwrap();
        let error = place.try_open(&options()).unwrap_err();
        assert!(matches!(&error, ChannelError::InUse { reason, .. } if reason.contains("put back")), "{error}");
        assert_eq!(place.journaled(), 10, "nothing was changed");
        drop(reading);
        assert_eq!(place.open().1.next_sequence, 21);
    }
}

#[test]
fn a_journal_that_was_put_back_and_a_ring_that_no_longer_holds_what_is_missing_are_both_named_and_kept() {
    let place = put_back(200_000);
    assert!(Ring::open(place.ring()).unwrap().status().unwrap().oldest > 11);
    for _ in 0..2 {
        let error = place.try_open(&options()).unwrap_err();
        assert!(matches!(error, ChannelError::RingAhead { durable: 200_010, journal_last: 10, .. }), "{error}");
        let said = error.to_string();
        let remedy = format!("`tidebook channel rm {} --lose-unjournaled`", place.ring().display());
        for part in [place.journal().to_str().unwrap(), &remedy] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(place.journaled(), 10);
    }
    Ring::remove(place.ring()).unwrap();
    let (_channel, report) = place.open();
    assert_eq!(report.next_sequence, 11, "a decision of somebody");
}

/// Method: the ring's messages 11 to 14 were durable in a journal in whose place another ring goes on with a copy that ends at 10, by
/// less, as many, and more messages. They are the same to the last byte: only their epoch tells that they are others.
#[test]
fn a_ring_that_alone_knows_durable_messages_is_kept_however_far_another_went_on_with_a_copy() {
    for more in [1, 3, 4, 5, 50] {
        let place = put_back(4);
        let other = place.directory.path().join("other.ring");
        let (channel, _) = Channel::open(&other, &place.journal(), &options()).unwrap();
        publish(&channel, more);
        channel.close().unwrap();
        for _ in 0..2 {
            let error = place.try_open(&options()).unwrap_err();
            assert_eq!(matches!(error, ChannelError::RingAhead { .. }), more < 4, "{error}");
            assert_eq!(matches!(error, ChannelError::OtherHistory { durable: 14, .. }), more >= 4, "{error}");
            let remedy = format!("`tidebook channel rm {} --lose-unjournaled`", place.ring().display());
            assert!(error.to_string().contains(&remedy), "{error}");
            assert_eq!((Ring::open(place.ring()).unwrap().durable(), place.journaled()), (14, 10 + more));
        }
        // The one that has gone on does so again.
        assert_eq!(Channel::open(&other, &place.journal(), &options()).unwrap().1.next_sequence, 11 + more);
        Ring::remove(place.ring()).unwrap();
        assert_eq!(place.open().1.next_sequence, 11 + more, "a decision of somebody");
    }
}

/// Method: the ring goes on with a copy, in an epoch of its own, and then the journal itself comes back, which has gone on longer.
#[test]
fn a_ring_that_alone_knows_durable_messages_of_a_later_epoch_is_kept() {
    let place = Place::lived(10);
    let (copy, journal) = (copied(&place), place.directory.path().join("the journal itself"));
    std::fs::rename(place.journal(), &journal).unwrap();
    std::fs::rename(copy, place.journal()).unwrap();
    let (channel, report) = place.open();
    assert!(report.journal.epoch_behind_copy.is_some());
    publish(&channel, 4);
    channel.close().unwrap();
    std::fs::remove_dir_all(place.journal()).unwrap();
    std::fs::rename(journal, place.journal()).unwrap();
    let (channel, _) = Channel::open(&place.directory.path().join("other.ring"), &place.journal(), &options()).unwrap();
    publish(&channel, 20);
    channel.close().unwrap();
    let error = place.try_open(&options()).unwrap_err();
    assert!(matches!(error, ChannelError::OtherHistory { durable: 14, .. }), "{error}");
    assert_eq!(Ring::open(place.ring()).unwrap().durable(), 14);
}

#[test]
fn a_ring_of_an_earlier_epoch_whose_messages_the_journal_has_is_made_anew() {
    let place = Place::lived(10);
    let copy = copied(&place);
    std::fs::remove_dir_all(place.journal()).unwrap();
    std::fs::rename(copy, place.journal()).unwrap();
    let (channel, report) =
        Channel::open(&place.directory.path().join("other.ring"), &place.journal(), &options()).unwrap();
    assert!(report.journal.epoch_behind_copy.is_some());
    publish(&channel, 5);
    channel.close().unwrap();
    let (_channel, report) = place.open();
    assert_eq!((report.next_sequence, report.discarded.unwrap().lost), (16, Some(0)));
}

/// Epoch of the ring of a channel that was opened at a journal which a restore has left, and its next sequence.
fn reopened_after_restore(place: &Place) -> (u64, u64) {
    mark_put_back(&place.journal()).unwrap();
    let (channel, report) = place.open();
    let opened = (channel.ring().info().epoch, report.next_sequence);
    channel.close().unwrap();
    opened
}

#[test]
fn a_restored_journal_gives_no_number_twice_in_one_epoch_whatever_its_ring_holds() {
    let place = put_back(10);
    let epoch = Ring::open(place.ring()).unwrap().info().epoch;
    let (with_ring, next) = reopened_after_restore(&place);
    assert_eq!((next, with_ring as u32), (21, epoch as u32));
    assert!(with_ring > epoch);
    Ring::remove(place.ring()).unwrap();
    let (without_ring, next) = reopened_after_restore(&place);
    assert_eq!((next, without_ring as u32), (21, epoch as u32));
    assert!(without_ring > with_ring);
}

#[test]
fn a_channel_has_one_owner() {
    let place = Place::new();
    let (_channel, _) = place.open();
    let error = place.try_open(&options()).unwrap_err();
    assert!(matches!(error, ChannelError::Journal(JournalError::Locked { .. })), "{error}");
}

#[test]
fn messages_that_no_segment_could_hold_are_refused_at_opening() {
    let place = Place::new();
    let error = place.try_open(&ChannelOptions { ring: RingOptions::frames(1 << 20), ..options() }).unwrap_err();
    assert!(matches!(error, ChannelError::Sizes { ring_max: 524_288, .. }), "{error}");
}

/// Method: the journal's directory vanishes under the running channel, so its next segment cannot be made.
fn records() -> ChannelOptions {
    let mut ring = RingOptions::slots(24, 64);
    ring.schema = Some(RingSchema { name: "numbers".into(), version: 1, text: "price i8 @0".into() });
    let journal = JournalOptions { segment_size_bytes: 64 << 10, ..JournalOptions::new("feed.test") };
    ChannelOptions { journal, ..ChannelOptions::with_ring("feed.test", ring) }
}

/// Method: the first has looked at all there is and stands before the lock when the second comes, journals and ends.
#[test]
fn of_two_openers_with_two_layouts_the_later_is_refused_and_changes_nothing() {
    let place = Place::new();
    let disk = SlowDisk::over(Arc::new(Directory::new(place.journal())));
    disk.hold(Slow::Lock);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| Channel::open_storage(&place.ring(), &disk.shared(), &options()).map(|_| ()));
        disk.wait_for_a_held_call();
        let (channel, _) = place.try_open(&records()).unwrap();
        let sequence = channel.producer().unwrap().write(&[7; 24]).unwrap();
        assert!(channel.wait_durable(sequence, LONG));
        channel.close().unwrap();
        std::fs::remove_file(place.ring()).unwrap();
        let before = configurations(&place.journal()).unwrap();
        disk.let_go(false);
        let refused = first.join().unwrap().unwrap_err();
        let expected = format!(
            "journal {} holds records of 24 bytes (price i8 @0), and plain messages were asked for; use its layout or another \
             channel",
            place.journal().display()
        );
        assert_eq!(refused.to_string(), expected);
        assert_eq!(configurations(&place.journal()).unwrap(), before);
        assert!(!place.ring().exists());
    });
    assert_eq!(place.try_open(&records()).unwrap().1.next_sequence, 2);
}

#[test]
fn when_journaling_stops_producers_are_refused_and_the_guarantee_says_why() {
    let place = Place::new();
    let small = JournalOptions { segment_size_bytes: 64 << 10, allocate_ahead: false, ..options().journal };
    let (channel, _) = place.try_open(&ChannelOptions { journal: small, ..options() }).unwrap();
    publish(&channel, 10);
    assert!(channel.wait_durable(10, LONG));
    std::fs::remove_dir_all(place.journal()).unwrap();
    let mut producer = channel.producer().unwrap();
    let refused = (0..1_000_000).map(|_| producer.write(&[0; 500])).find_map(Result::err).expect("refused in the end");
    assert!(matches!(refused, tidebook_ring::RingError::Fenced { .. }), "{refused}");
    let guarantee = channel.guarantee();
    assert!(guarantee.failure.is_some() && guarantee.to_string().contains("STOPPED"), "{guarantee}");
    assert!(!channel.wait_durable(guarantee.published, LONG));
    assert!(channel.close().is_err());
}

/// Many threads wait for messages of their own while the journal syncs in groups; each is told when its own is durable.
#[test]
fn each_of_many_waiters_is_told_when_its_message_is_durable() {
    let place = Place::new();
    let (channel, _) = place.try_open(&ChannelOptions { sync: SyncPolicy::Group, ..options() }).unwrap();
    let mut producer = channel.producer().unwrap();
    std::thread::scope(|scope| {
        for last in 1..=50 {
            let (waiter, ring) = (channel.waiter(), channel.ring());
            scope.spawn(move || {
                assert!(waiter.wait(last * 10, LONG));
                assert!(ring.durable() >= last * 10);
            });
        }
        for sequence in 1..=500 {
            producer.write(&payload(sequence)).unwrap();
        }
    });
}

#[test]
fn a_wait_for_what_is_never_written_ends_when_the_channel_is_closed() {
    let place = Place::new();
    let (channel, _) = place.open();
    let waiter = channel.waiter();
    assert!(!waiter.has_ended());
    let waiting = std::thread::spawn(move || (waiter.wait(1, Duration::MAX), waiter.has_ended()));
    channel.close().unwrap();
    assert_eq!(waiting.join().unwrap(), (false, true));
}
