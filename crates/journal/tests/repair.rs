//! Mending a damaged journal: what is said of it, what each choice leaves, and that nothing is done without one.

mod common;

use common::{append_upto, open, options, read_all};
use tidebook_journal::repair::{Diagnosis, Restored, cut_storage, examine_storage, restore_storage};
use tidebook_journal::storage::Storage;
use tidebook_journal::{
    Damage, JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions, SEGMENT_HEADER_SIZE_BYTES, Tail,
    Visible, verify_storage,
};
use tidebook_testkit::storage::{EIO, ENOSPC};
use tidebook_testkit::{Fault, MemoryStorage, Operation, Random};

fn name(segment: u64) -> String {
    format!("{segment:010}.segment")
}

/// Five segments of 20 messages each, four to a batch; the last was not closed.
fn journal() -> MemoryStorage {
    let storage = MemoryStorage::new();
    for last in [20, 40, 60, 80, 100] {
        append_upto(&mut open(&storage), last, 4);
    }
    assert_eq!(verify_storage(&storage.shared()).unwrap().journal.segments.len(), 5);
    storage
}

fn examined(storage: &MemoryStorage) -> Diagnosis {
    examine_storage(&storage.shared(), 0).unwrap()
}

fn flip(storage: &MemoryStorage, segment: u64, byte: usize) {
    let mut bytes = storage.bytes(&name(segment));
    bytes[byte] ^= 1;
    storage.set_bytes(&name(segment), bytes);
}

/// Offset of the second batch of a segment.
fn second_batch(storage: &MemoryStorage, segment: u64) -> usize {
    let bytes = storage.bytes(&name(segment));
    let length = u32::from_le_bytes(bytes[SEGMENT_HEADER_SIZE_BYTES + 4..][..4].try_into().unwrap());
    SEGMENT_HEADER_SIZE_BYTES + length as usize
}

type Harm = fn(&MemoryStorage);

/// Segment, whether the damage begins at its second batch, sequence, last good message.
type Place = (u64, bool, u64, u64);

/// Ways to damage the journal: what it is, the damage, and where a diagnosis must find it.
fn harms() -> Vec<(&'static str, Harm, Place)> {
    vec![
        ("a bit in a sealed segment", |s| flip(s, 2, second_batch(s, 2) + 60), (2, true, 25, 24)),
        ("a bit in the newest", |s| flip(s, 5, second_batch(s, 5) + 60), (5, true, 85, 84)),
        ("a header", |s| flip(s, 3, 100), (3, false, 41, 40)),
        ("the newest header", |s| flip(s, 5, 100), (5, false, 81, 80)),
        ("a segment removed", |s| s.remove_file(&name(3)), (3, false, 41, 40)),
        ("the newest removed", |s| s.remove_file(&name(5)), (5, false, 81, 80)),
        (
            "a sealed segment cut",
            |s| s.set_bytes(&name(4), s.bytes(&name(4))[..second_batch(s, 4) + 9].to_vec()),
            (4, true, 65, 64),
        ),
        ("two segments", |s| (flip(s, 2, second_batch(s, 2) + 60), flip(s, 4, 100)).0, (2, true, 25, 24)),
    ]
}

#[test]
fn damage_is_told_with_its_place_and_what_cutting_there_would_lose() {
    for (what, harm, (segment, in_second, sequence, last_good)) in harms() {
        let storage = journal();
        let offset = if in_second { second_batch(&storage, segment) as u64 } else { 0 };
        harm(&storage);
        let before = storage.used_bytes();
        let found = examined(&storage);
        let first = &found.findings[0];
        assert_eq!((first.segment, first.offset, first.sequence), (segment, offset, sequence), "{what}");
        assert_eq!((found.last_good, found.last_known, found.lost_by_cutting()), (last_good, 100, 100 - last_good));
        assert_eq!(storage.used_bytes(), before);
    }
    let two = journal();
    flip(&two, 2, second_batch(&two, 2) + 60);
    flip(&two, 4, 100);
    let found: Vec<(u64, u64)> = examined(&two).findings.iter().map(|one| (one.segment, one.sequence)).collect();
    assert_eq!(found, [(2, 25), (4, 61)]);
}

/// Method: the watermark is gone, so that only what stands behind the damage shows how much was written.
#[test]
fn what_verifies_behind_the_damage_counts_as_lost() {
    for (what, harm, (.., last_good)) in harms() {
        let storage = journal();
        harm(&storage);
        storage.remove_file("durable");
        // A newest segment that is gone is shown by the watermark alone, and its messages by nothing where its header is damaged.
        if what == "the newest removed" {
            continue;
        }
        let last_known = if what == "the newest header" { 80 } else { 100 };
        let found = examined(&storage);
        assert_eq!((found.last_good, found.last_known), (last_good, last_known), "{what}");
    }
    let alone = MemoryStorage::new();
    append_upto(&mut open(&alone), 30, 4);
    flip(&alone, 1, second_batch(&alone, 1) + 60);
    alone.remove_file("durable");
    let found = examined(&alone);
    assert_eq!((found.last_good, found.last_known, found.lost_by_cutting()), (4, 30, 26));
}

#[test]
fn a_whole_journal_and_a_torn_tail_need_no_repair() {
    let storage = journal();
    let found = examined(&storage);
    assert_eq!((found.findings.len(), found.last_good, found.tail), (0, 100, Tail::Clean));
    let mut bytes = storage.bytes(&name(5));
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 8;
    bytes[used] = 7;
    storage.set_bytes(&name(5), bytes);
    let found = examined(&storage);
    assert!(found.findings.is_empty() && matches!(found.tail, Tail::Torn { sequence: 101, .. }), "{found:?}");
    for error in [
        cut_storage(&storage.shared(), 100, 0).unwrap_err(),
        restore_storage(&storage.shared(), &journal()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("the journal is not damaged, and nothing was changed"), "{error}");
    }
}

#[test]
fn segments_put_back_from_a_copy_lose_nothing() {
    for (what, harm, _) in harms() {
        let storage = journal();
        let copy = storage.fork();
        harm(&storage);
        let harmed = storage.fork();
        let restored = restore_storage(&storage.shared(), &copy).unwrap();
        assert!(restored.iter().all(|one| one.refused.is_none()), "{what}: {restored:?}");
        assert_eq!(read_all(&storage, Visible::Durable).0, 100, "{what}");
        for one in restored {
            let kept = format!("quarantine/{}", name(one.segment));
            if harmed.names().unwrap().contains(&name(one.segment)) {
                assert_eq!(storage.bytes(&kept), harmed.bytes(&name(one.segment)), "{what}: what was there is kept");
            }
        }
        append_upto(&mut open(&storage), 104, 4);
        assert_eq!(read_all(&storage, Visible::Durable).0, 104, "{what}");
    }
}

#[test]
fn a_copy_that_does_not_fit_is_refused_and_changes_nothing() {
    let storage = journal();
    let whole = storage.fork();
    flip(&storage, 3, second_batch(&storage, 3) + 60);
    let shorter = whole.fork();
    shorter.set_bytes(&name(3), whole.bytes(&name(3))[..second_batch(&whole, 3)].to_vec());
    let damaged = storage.fork();
    let absent = whole.fork();
    absent.remove_file(&name(3));
    let other = journal();
    for (copy, why) in [
        (&shorter, "ends with batch 11, and the segment behind it follows batch 15"),
        (&damaged, "ends with batch 11, and the segment behind it follows batch 15"),
        (&absent, "not there"),
        (&other, "of journal "),
    ] {
        let before = storage.bytes(&name(3));
        let restored = restore_storage(&storage.shared(), copy).unwrap();
        let refused = restored[0].refused.as_ref().expect("it is refused");
        assert!(refused.contains(why), "{refused}");
        assert_eq!(storage.bytes(&name(3)), before);
        assert!(!storage.names().unwrap().iter().any(|name| name.starts_with("quarantine")));
    }
    // The newest has no successor that would show a short copy: what is known durable does.
    let storage = whole.fork();
    flip(&storage, 5, second_batch(&storage, 5) + 60);
    let early = whole.fork();
    early.set_bytes(&name(5), whole.bytes(&name(5))[..second_batch(&whole, 5)].to_vec());
    let restored = restore_storage(&storage.shared(), &early).unwrap();
    assert!(restored[0].refused.as_ref().unwrap().contains("batch 25 is known to be durable"), "{restored:?}");
}

/// Method: a journal of one segment whose header is damaged, byte by byte, and one that is gone: no other header says whose it was.
#[test]
fn a_copy_of_another_journal_is_never_put_in_the_place_of_a_sole_segment() {
    let one = |channel: &str| {
        let storage = MemoryStorage::new();
        let options = JournalOptions { channel: channel.into(), ..options() };
        let (mut writer, _) = JournalWriter::open_storage(storage.shared(), options).unwrap();
        append_upto(&mut writer, 5, 5);
        writer.close().unwrap();
        storage
    };
    let channel = options().channel;
    let (whole, same_name, other_name) = (one(&channel), one(&channel), one("another"));
    for byte in 0..4096 {
        let storage = whole.fork();
        flip(&storage, 1, byte);
        for copy in [&same_name, &other_name] {
            let before = storage.used_bytes();
            let refused = restore_storage(&storage.shared(), copy).map(|restored| restored[0].refused.clone());
            assert!(!matches!(refused, Ok(None)), "byte {byte}");
            assert_eq!(storage.used_bytes(), before, "byte {byte}");
        }
        if byte % 64 == 0 && !(64..360).contains(&byte) {
            let restored = restore_storage(&storage.shared(), &whole);
            // Another version is nothing that can be repaired here.
            assert!(restored.is_err() || restored.unwrap()[0].refused.is_none(), "byte {byte}");
        }
    }
}

#[test]
fn a_cut_goes_on_at_the_last_good_message_and_keeps_what_it_takes_out() {
    for (what, harm, (.., last_good)) in harms() {
        let storage = journal();
        harm(&storage);
        let harmed = storage.fork();
        for wrong in [0, last_good - 1, last_good + 1, 100] {
            let error = cut_storage(&storage.shared(), wrong, 0).unwrap_err();
            assert!(error.to_string().contains(&format!("the last good message is {last_good}")), "{what}: {error}");
            assert_eq!(examined(&storage), examined(&harmed), "{what}: nothing was changed");
        }
        let done = cut_storage(&storage.shared(), last_good, 0).unwrap();
        let behind = (done.last_sequence, done.next_sequence, done.lost, done.epoch);
        assert_eq!(behind, (last_good, 101, 100 - last_good, 2), "{what}");
        assert_eq!(read_all(&storage, Visible::Durable).0, last_good, "{what}");
        for number in 1..=5 {
            let kept = format!("quarantine/{}", name(number));
            let now = storage.names().unwrap();
            let was = harmed.names().unwrap().contains(&name(number));
            if was && !(now.contains(&name(number)) && storage.bytes(&name(number)) == harmed.bytes(&name(number))) {
                assert_eq!(storage.bytes(&kept), harmed.bytes(&name(number)), "{what}: segment {number} is kept");
            }
        }
    }
}

/// An older copy was put in the journal's place: nothing in it is damaged, and others know that it had more.
#[test]
fn a_whole_journal_that_others_know_to_have_had_more_is_cut_behind_what_they_know() {
    let storage = journal();
    let whole = storage.fork();
    let found = examine_storage(&storage.shared(), 140).unwrap();
    let [finding] = &found.findings[..] else { panic!("{found:?}") };
    assert_eq!((finding.segment, finding.sequence, finding.damage), (5, 101, Damage::Evidence { durable: 140 }));
    assert_eq!((found.last_good, found.last_known, found.lost_by_cutting()), (100, 140, 40));
    assert!(examine_storage(&storage.shared(), 100).unwrap().findings.is_empty());
    let mut opening = options();
    opening.evidence = 140;
    let error = JournalWriter::open_storage(storage.shared(), opening.clone()).unwrap_err();
    assert!(error.to_string().contains("ends with message 100, and message 140 is known from elsewhere"), "{error}");
    assert!(cut_storage(&storage.shared(), 100, 100).is_err() && cut_storage(&storage.shared(), 99, 140).is_err());
    assert_eq!(storage.used_bytes(), whole.used_bytes(), "nothing was changed");

    let done = cut_storage(&storage.shared(), 100, 140).unwrap();
    assert_eq!((done.next_sequence, done.lost, done.epoch), (141, 40, 2));
    assert!(examine_storage(&storage.shared(), 140).unwrap().findings.is_empty());
    let (mut writer, report) = JournalWriter::open_storage(storage.shared(), opening).unwrap();
    assert_eq!((report.last_sequence, writer.next_sequence()), (140, 141));
    append_upto(&mut writer, 150, 4);
    assert_eq!(verify_storage(&storage.shared()).unwrap().record_count, 110);
}

/// What readers are given behind a cut, whatever they ask for and whatever the writer adds.
#[test]
fn no_number_is_given_again_behind_a_cut() {
    for (what, harm, (.., last_good)) in harms() {
        for evidence in [0, 130] {
            let storage = journal();
            harm(&storage);
            let next = cut_storage(&storage.shared(), last_good, evidence).unwrap().next_sequence;
            assert_eq!(next, evidence.max(100) + 1, "{what}");
            let mut reader = JournalReader::open_storage(storage.shared(), ReaderOptions::from_sequence(1)).unwrap();
            let before = sequences(&mut reader);
            assert_eq!(before, (1..=last_good).collect::<Vec<_>>(), "{what}");
            assert_eq!(reader.next_sequence(), next, "{what}: the reader knows that nothing is between");
            let mut opening = options();
            opening.evidence = next - 1;
            let (mut writer, report) = JournalWriter::open_storage(storage.shared(), opening).unwrap();
            assert_eq!((report.last_sequence, report.tail, writer.epoch()), (next - 1, Tail::Clean, 2), "{what}");
            append_upto(&mut writer, next + 8, 4);
            let behind: Vec<_> = (next..=next + 8).collect();
            assert_eq!(sequences(&mut reader), behind, "{what}: followed live");
            for from in [last_good + 1, next - 1, next] {
                let options = ReaderOptions::from_sequence(from);
                let mut reader = JournalReader::open_storage(storage.shared(), options).unwrap();
                assert_eq!(reader.next_batch().unwrap().unwrap().epoch(), 2, "{what}: from {from}");
                let options = ReaderOptions::from_sequence(from);
                let mut reader = JournalReader::open_storage(storage.shared(), options).unwrap();
                assert_eq!(sequences(&mut reader), behind, "{what}: from {from}");
            }
            let verified = verify_storage(&storage.shared()).unwrap();
            assert_eq!((verified.record_count, verified.journal.last_sequence), (last_good + 9, next + 8), "{what}");
        }
    }
}

/// All that is left to read.
fn sequences(reader: &mut JournalReader) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        found.extend(batch.records().map(|(sequence, _)| sequence));
    }
    found
}

/// Method: each call a repair makes fails in turn, then the power goes; the same repair done again ends as an undisturbed
/// one. In between the journal never opens with fewer messages than are good.
#[test]
fn a_crash_within_a_repair_is_followed_by_the_same_repair() {
    let mut failed = 0;
    let each_twice = harms().into_iter().flat_map(|harm| [(harm, true), (harm, false)]);
    for ((what, harm, (.., last_good)), with_watermark) in each_twice {
        let whole = journal();
        let copy = whole.fork();
        harm(&whole);
        if !with_watermark {
            whole.remove_file("durable");
        }
        // Without one nothing shows that the newest was there, or what was in it.
        let Some(last_known) = (match (with_watermark, what) {
            (false, "the newest removed") => None,
            (false, "the newest header") => Some(80),
            _ => Some(100),
        }) else {
            continue;
        };
        for restoring in [false, true] {
            let repair = |storage: &MemoryStorage| -> Result<(), JournalError> {
                if restoring {
                    let refused = |one: &tidebook_journal::repair::Restored| one.refused.is_some();
                    restore_storage(&storage.shared(), &copy).map(|done| assert!(!done.iter().any(refused)))
                } else {
                    cut_storage(&storage.shared(), last_good, 0).map(drop)
                }
            };
            let operations =
                [Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Rename, Operation::Remove];
            for operation in operations {
                for nth in 1..12 {
                    let storage = whole.fork();
                    storage.fail(operation, nth, Fault::Errno(EIO));
                    let first = repair(&storage);
                    storage.heal();
                    storage.power_loss(&mut Random::new(nth));
                    let at = format!(
                        "{what}, watermark {with_watermark}, {operation:?} {nth}, restoring {restoring}, first {first:?}"
                    );
                    failed += u64::from(first.is_err());
                    // Readers of what is durable see it by the watermark.
                    let visible = if with_watermark { Visible::Durable } else { Visible::Written };
                    match verify_storage(&storage.shared()) {
                        Ok(found) => {
                            let kept = found.journal.last_sequence;
                            let given = if restoring { 100 } else { last_known };
                            assert_eq!(kept, given, "{at}: all numbers that were ever given");
                        }
                        Err(JournalError::Damaged { .. }) => {
                            let found = examined(&storage);
                            assert!(found.last_good >= last_good, "{at}: {found:?}");
                            assert!(found.last_known >= last_known, "{at}: {found:?}");
                            if !restoring {
                                // Who has a copy after all loses nothing.
                                let undone = storage.fork();
                                let done = restore_storage(&undone.shared(), &copy).unwrap();
                                assert!(done.iter().all(|one| one.refused.is_none()), "{at}: {done:?}");
                                assert_eq!(read_all(&undone, visible).0, 100, "{at}");
                                append_upto(&mut open(&undone), 101, 1);
                                assert_eq!(verify_storage(&undone.shared()).unwrap().journal.epoch, 1, "{at}");
                            }
                            repair(&storage).unwrap_or_else(|error| panic!("{at}: {error}"));
                        }
                        Err(error) => panic!("{at}: {error}"),
                    }
                    let expected = if restoring { 100 } else { last_good };
                    assert_eq!(read_all(&storage, visible).0, expected, "{at}");
                    append_upto(&mut open(&storage), if restoring { 101 } else { last_known + 1 }, 1);
                }
            }
        }
    }
    assert!(failed > 100, "only {failed} repairs failed on the way");
}

/// Method: each write of a cut finds no room in turn.
#[test]
fn a_cut_that_finds_no_room_has_changed_nothing_or_says_that_it_was_begun() {
    let mut begun = 0;
    for nth in 1..6 {
        let storage = journal();
        flip(&storage, 2, second_batch(&storage, 2) + 60);
        let segments = |storage: &MemoryStorage| (1..=5).map(|n| storage.bytes(&name(n))).collect::<Vec<_>>();
        let (told, before) = (examined(&storage), segments(&storage));
        storage.fail(Operation::Write, nth, Fault::Errno(ENOSPC));
        let error = cut_storage(&storage.shared(), 24, 0).unwrap_err();
        storage.heal();
        assert!(matches!(error, JournalError::Full { .. }), "{nth}: {error}");
        let now = examined(&storage);
        if now.cut_begun {
            assert!(nth > 3, "all the room is taken before");
            assert_eq!((now.findings[0].clone(), now.last_good), (told.findings[0].clone(), 24));
            begun += 1;
        } else {
            assert_eq!((now, segments(&storage)), (told, before), "{nth}");
        }
        assert_eq!(cut_storage(&storage.shared(), 24, 0).unwrap().next_sequence, 101);
        assert!(!examined(&storage).cut_begun);
    }
    assert!(begun > 0);
}

#[test]
fn a_journal_that_is_written_is_not_repaired_and_one_without_a_good_header_has_nothing_to_go_on_from() {
    let storage = journal();
    flip(&storage, 1, second_batch(&storage, 1) + 60);
    let writer_lock = storage.shared().try_lock("lock").unwrap();
    assert!(matches!(cut_storage(&storage.shared(), 4, 0), Err(JournalError::Locked { .. })));
    drop(writer_lock);
    flip(&storage, 1, 100);
    let error = cut_storage(&storage.shared(), 0, 0).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { segment: 1, damage: Damage::Header, .. }), "{error}");
}

/// Method: a stray file with a number that nobody counts up to, and a hole of two segments that a copy has.
#[test]
fn several_missing_segments_in_a_row_are_one_finding_and_all_are_put_back() {
    let whole = journal();
    let count = 5;
    let storage = whole.fork();
    storage.set_bytes(&name(9_999_999_999), b"stray".to_vec());
    let told: Vec<_> = examined(&storage).findings.into_iter().map(|one| (one.segment, one.damage)).collect();
    assert_eq!(told, [(count + 1, Damage::Missing), (9_999_999_999, Damage::Header)]);
    let storage = whole.fork();
    storage.remove_file(&name(2));
    storage.remove_file(&name(3));
    let told: Vec<_> = examined(&storage).findings.into_iter().map(|one| (one.segment, one.damage)).collect();
    assert_eq!(told, [(2, Damage::Missing)]);
    let done = restore_storage(&storage.shared(), &whole).unwrap();
    assert_eq!(done, [2, 3].map(|segment| Restored { segment, refused: None }));
    assert!(examined(&storage).findings.is_empty());
}
