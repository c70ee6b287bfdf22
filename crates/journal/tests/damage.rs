//! What a journal says of bytes that are not what was written: never a wrong payload, and torn or damaged exactly as
//! the rule of `recovery` has it.

mod common;

use common::{append_upto, open, options, payload, read_all};
use tidebook_journal::{
    Damage, JournalError, JournalOptions, JournalReader, JournalWriter, ReaderOptions, SEGMENT_HEADER_SIZE_BYTES, Tail,
    Visible, verify_storage,
};
use tidebook_testkit::{MemoryStorage, Random};

const SEALED: &str = "0000000001.segment";
const NEWEST: &str = "0000000002.segment";

/// Two segments. The newest holds seven batches, each synced before the next; `ends[i]` is where batch i ends and
/// `lasts[i]` its last sequence, index 0 standing for the header alone.
struct Small {
    storage: MemoryStorage,
    ends: Vec<usize>,
    lasts: Vec<u64>,
}

fn small() -> Small {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 20, 3);
    let mut writer = open(&storage);
    let (mut ends, mut lasts) = (vec![SEGMENT_HEADER_SIZE_BYTES], vec![20]);
    for group in 1..=7_u64 {
        let last = 20 + group * 2;
        append_upto(&mut writer, last, 100);
        let used = storage.bytes(NEWEST).iter().rposition(|&byte| byte != 0).unwrap() + 1;
        ends.push(used.next_multiple_of(8));
        lasts.push(last);
    }
    Small { storage, ends, lasts }
}

impl Small {
    fn without_watermark(&self) -> MemoryStorage {
        let copy = self.storage.fork();
        copy.remove_file("durable");
        copy
    }

    /// Whole batches before byte `cut` of the newest segment.
    fn batches_before(&self, cut: usize) -> usize {
        self.ends.iter().filter(|&&end| end <= cut).count() - 1
    }
}

fn damage_of(error: &JournalError) -> (u64, u64, u64, Damage) {
    let JournalError::Damaged { segment, offset, sequence, damage, .. } = error else { panic!("not damage: {error}") };
    (*segment, *offset, *sequence, *damage)
}

#[test]
fn a_cut_newest_segment_is_torn_at_its_last_whole_batch_unless_the_watermark_shows_more() {
    let small = small();
    let bytes = small.storage.bytes(NEWEST);
    for cut in 0..=bytes.len() {
        for (copy, known) in [(small.without_watermark(), false), (small.storage.fork(), true)] {
            copy.set_bytes(NEWEST, bytes[..cut].to_vec());
            let opened = JournalWriter::open_storage(copy.shared(), options());
            if cut < SEGMENT_HEADER_SIZE_BYTES {
                assert_eq!(damage_of(&opened.unwrap_err()).3, Damage::Header, "cut at {cut}");
                continue;
            }
            let whole = small.batches_before(cut);
            let last = small.lasts[whole];
            if known && last < 34 {
                let found = damage_of(&opened.unwrap_err());
                let expected = (2, small.ends[whole] as u64, last + 1, Damage::Batch { durable: 34 });
                assert_eq!(found, expected, "cut at {cut}");
                assert_eq!(copy.bytes(NEWEST), bytes[..cut], "damage is left as found");
                continue;
            }
            let (mut writer, report) = opened.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            assert_eq!(report.last_sequence, last, "cut at {cut}");
            // The bytes of a cut batch are torn, but what was cut off an end of zeros leaves no trace.
            let torn = bytes[small.ends[whole]..cut].iter().any(|&byte| byte != 0);
            assert_eq!(matches!(report.tail, Tail::Torn { .. }), torn, "cut at {cut}: {:?}", report.tail);
            append_upto(&mut writer, last + 1, 1);
            let (read, error) = read_all(&copy, Visible::Durable);
            assert_eq!((read, error.map(|error| error.to_string())), (last + 1, None), "cut at {cut}");
        }
    }
}

#[test]
fn a_cut_sealed_segment_is_damage_at_every_byte() {
    let small = small();
    let bytes = small.storage.bytes(SEALED);
    for cut in 0..bytes.len() {
        let copy = small.storage.fork();
        copy.set_bytes(SEALED, bytes[..cut].to_vec());
        let (last, error) = read_all(&copy, Visible::Durable);
        let (segment, offset, sequence, _) = damage_of(&error.expect("a reader finds it"));
        assert!(segment == 1 && offset <= cut as u64, "cut at {cut}");
        assert!(cut < SEGMENT_HEADER_SIZE_BYTES || sequence == last + 1, "cut at {cut}");
        damage_of(&verify_storage(&copy.shared()).unwrap_err());
    }
}

/// Method: every bit of the batches, every 37th of header and zeros (the header's are all tried in `frame`).
#[test]
fn a_flipped_bit_never_gives_a_wrong_payload_and_is_classed_by_what_proves_it() {
    let small = small();
    let end = *small.ends.last().unwrap();
    for name in [SEALED, NEWEST] {
        let bytes = small.storage.bytes(name);
        for bit in (0..bytes.len() * 8).filter(|bit| {
            let byte = bit / 8;
            (SEGMENT_HEADER_SIZE_BYTES..end).contains(&byte) || bit % 37 == 0
        }) {
            let byte = bit / 8;
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << (bit % 8);
            for (copy, known) in [(small.storage.fork(), true), (small.without_watermark(), false)] {
                copy.set_bytes(name, flipped.clone());
                let (read, read_error) = read_all(&copy, Visible::Written);
                let verified = verify_storage(&copy.shared());
                let at = format!("{name} bit {bit}, watermark {known}");
                if name == SEALED || byte < SEGMENT_HEADER_SIZE_BYTES {
                    damage_of(&read_error.unwrap_or_else(|| panic!("{at}: not seen")));
                    damage_of(&verified.unwrap_err());
                } else if byte >= end {
                    let report = verified.unwrap_or_else(|error| panic!("{at}: {error}"));
                    assert_eq!((read, report.journal.last_sequence), (34, 34), "{at}");
                    assert!(matches!(report.journal.tail, Tail::Torn { .. }), "{at}");
                } else {
                    let whole = small.batches_before(byte);
                    let last = small.lasts[whole];
                    assert_eq!(read, last, "{at}");
                    if known || whole < 6 {
                        let (segment, offset, sequence, _) = damage_of(&verified.unwrap_err());
                        assert_eq!((segment, offset, sequence), (2, small.ends[whole] as u64, last + 1), "{at}");
                    } else {
                        // Only the last batch, and only when nothing else remembers it: undecidable, so torn.
                        let report = verified.unwrap_or_else(|error| panic!("{at}: {error}"));
                        assert!(matches!(report.journal.tail, Tail::Torn { .. }), "{at}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_the_watermark_file_changes_no_message() {
    let small = small();
    let bytes = small.storage.bytes("durable");
    for bit in 0..bytes.len() * 8 {
        let copy = small.storage.fork();
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        copy.set_bytes("durable", flipped);
        let (_, report) = JournalWriter::open_storage(copy.shared(), options()).unwrap();
        assert_eq!(report.last_sequence, 34, "bit {bit}");
        assert_eq!(read_all(&copy, Visible::Durable).0, 34, "bit {bit}");
    }
}

/// Method: every pair of 512-byte units of the newest segment's batches is swapped, and each is copied over each
/// other and zeroed. With seven synced batches on record nothing of this may pass or be called torn.
#[test]
fn swapped_doubled_and_zeroed_sectors_are_damage() {
    let storage = MemoryStorage::new();
    let mut writer =
        JournalWriter::open_storage(storage.shared(), JournalOptions { segment_size_bytes: 16 << 10, ..options() })
            .unwrap()
            .0;
    append_upto(&mut writer, 110, 3);
    drop(writer);
    let bytes = storage.bytes(SEALED);
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    let units = SEGMENT_HEADER_SIZE_BYTES / 512..used / 512;
    assert!(units.len() > 10, "the test needs several sectors");
    let check = |changed: Vec<u8>, what: String| {
        assert_ne!(changed, bytes, "{what}");
        let copy = storage.fork();
        copy.set_bytes(SEALED, changed);
        damage_of(&JournalWriter::open_storage(copy.shared(), options()).map(|_| ()).expect_err(&what));
        read_all(&copy, Visible::Written);
    };
    let range = |unit: usize| unit * 512..(unit + 1) * 512;
    for a in units.clone() {
        let mut zeroed = bytes.clone();
        zeroed[range(a)].fill(0);
        check(zeroed, format!("zeroed {a}"));
        for b in units.clone().filter(|&b| b != a) {
            let mut doubled = bytes.clone();
            doubled.copy_within(range(a), b * 512);
            check(doubled.clone(), format!("{a} over {b}"));
            if a < b {
                doubled[range(a)].copy_from_slice(&bytes[range(b)]);
                check(doubled, format!("swapped {a} and {b}"));
            }
        }
    }
}

#[test]
fn what_the_caller_knows_durable_turns_a_torn_tail_into_damage() {
    let small = small();
    let copy = small.without_watermark();
    let mut bytes = copy.bytes(NEWEST);
    bytes[small.ends[6]..small.ends[7]].fill(0);
    copy.set_bytes(NEWEST, bytes);
    for (evidence, damaged) in [(0, false), (32, false), (33, true), (34, true), (1000, true)] {
        let copy = copy.fork();
        let opened = JournalWriter::open_storage(copy.shared(), JournalOptions { evidence, ..options() });
        match opened {
            Ok((_, report)) => assert!(!damaged && report.last_sequence == 32, "evidence {evidence}"),
            Err(error) => {
                let expected = (2, small.ends[6] as u64, 33, Damage::Evidence { durable: evidence });
                assert_eq!((damaged, damage_of(&error)), (true, expected));
            }
        }
    }
}

#[test]
fn unsynced_batches_written_out_of_order_are_torn_and_not_damage() {
    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    append_upto(&mut writer, 4, 4);
    for sequence in 5..=9 {
        writer.append(&payload(sequence)).unwrap();
        writer.flush().unwrap();
    }
    drop(writer);
    let mut bytes = storage.bytes(SEALED);
    let (mut reader_ends, mut reader) = (Vec::new(), JournalReader::open_storage(storage.shared(), written()).unwrap());
    let mut end = SEGMENT_HEADER_SIZE_BYTES;
    while let Some(batch) = reader.next_batch().unwrap() {
        end += batch.size_bytes();
        reader_ends.push(end);
    }
    // Batch 6 never reached the disk, 7 to 9 did: none was acknowledged.
    bytes[reader_ends[1]..reader_ends[2]].fill(0);
    storage.set_bytes(SEALED, bytes);
    let (_, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    assert_eq!((report.last_sequence, report.proven_durable), (5, 4));
    let Tail::Torn { segment: 1, offset, sequence: 6, .. } = report.tail else { panic!("{:?}", report.tail) };
    assert_eq!(offset, reader_ends[1] as u64);
    assert_eq!(read_all(&storage, Visible::Durable).0, 5);
}

fn written() -> ReaderOptions {
    ReaderOptions { visible: Visible::Written, ..ReaderOptions::default() }
}

#[test]
fn a_payload_that_holds_journal_bytes_does_not_pass_for_a_batch() {
    let donor = MemoryStorage::new();
    append_upto(&mut open(&donor), 30, 3);
    let batches = donor.bytes(SEALED)[SEGMENT_HEADER_SIZE_BYTES..].to_vec();
    let used = batches.iter().rposition(|&byte| byte != 0).unwrap().next_multiple_of(8);

    let storage = MemoryStorage::new();
    let mut writer = open(&storage);
    writer.append(&batches[..used]).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let mut bytes = storage.bytes(SEALED);
    bytes[SEGMENT_HEADER_SIZE_BYTES] ^= 1;
    storage.set_bytes(SEALED, bytes);
    let (_, report) = JournalWriter::open_storage(storage.shared(), options()).unwrap();
    assert_eq!(report.last_sequence, 0, "the embedded batches prove nothing");
}

/// Method: random bytes over random parts of both files, 400 seeds; nothing may panic or give a wrong payload, and
/// what a writer then opens it must also be able to go on with.
#[test]
fn random_bytes_are_survived() {
    let small = small();
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let copy = if random.chance(1, 2) { small.storage.fork() } else { small.without_watermark() };
        for _ in 0..=random.below(3) {
            let name = if random.chance(1, 2) { SEALED } else { NEWEST };
            let mut bytes = copy.bytes(name);
            let from = random.below(bytes.len() as u64) as usize;
            let size = (random.below(400) as usize).min(bytes.len() - from);
            let noise = random.bytes(size);
            bytes[from..from + size].copy_from_slice(&noise);
            if random.chance(1, 4) {
                bytes.extend(random.bytes(3000));
            }
            copy.set_bytes(name, bytes);
        }
        let (last, _) = read_all(&copy, Visible::Written);
        assert!(last <= 34, "seed {seed}");
        drop(verify_storage(&copy.shared()));
        if let Ok((mut writer, report)) = JournalWriter::open_storage(copy.shared(), options()) {
            append_upto(&mut writer, report.last_sequence + 1, 1);
        }
    }
}

#[test]
fn a_file_of_noise_is_no_journal() {
    for seed in 0..20 {
        let storage = MemoryStorage::new();
        storage.set_bytes(SEALED, Random::new(seed).bytes(9000));
        let error = JournalWriter::open_storage(storage.shared(), options()).unwrap_err();
        assert_eq!(damage_of(&error).3, Damage::Header, "seed {seed}");
    }
}

/// Method: a journal and a copy of it go on with the same messages in batches of the same numbers, so that only the chain tells
/// their segments apart; one gets a segment of the other.
#[test]
fn a_segment_of_another_history_of_the_same_journal_is_damage() {
    let storage = MemoryStorage::new();
    append_upto(&mut open(&storage), 10, 5);
    let copy = storage.fork();
    for disk in [&storage, &copy] {
        append_upto(&mut open(disk), 20, 5);
        append_upto(&mut open(disk), 30, 5);
    }
    storage.set_bytes("0000000003.segment", copy.bytes("0000000003.segment"));
    let error = verify_storage(&storage.shared()).unwrap_err();
    let (segment, _, sequence, damage) = damage_of(&error);
    assert!(matches!(damage, Damage::Seal { .. }), "{error}");
    assert_eq!((segment, sequence), (2, 21), "{error}");
    let (last, error) = read_all(&storage, Visible::Durable);
    assert_eq!(last, 20);
    assert!(matches!(damage_of(&error.expect("damage")).3, Damage::Seal { .. }));
}
