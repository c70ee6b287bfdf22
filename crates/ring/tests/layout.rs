//! The byte tables of docs/formats/ring.md against the structs.

use std::mem::offset_of;

use tidebook_ring::layout::*;

/// (offset, size, name) of the rows of one table of the page.
fn table(heading: &str) -> Vec<(usize, usize, String)> {
    let page = include_str!("../../../docs/formats/ring.md");
    let section = page.split(&format!("\n## {heading}\n")).nth(1).expect("the page has the section");
    let section = section.split("\n## ").next().expect("it has a start");
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let number = |at: usize| cells.get(at)?.parse().ok();
        Some((number(1)?, number(2)?, cells.get(3)?.trim_matches('`').to_owned()))
    });
    rows.collect()
}

macro_rules! rows {
    ($struct:ty { $($field:ident),* $(,)? } at $base:expr) => {{
        fn size<T, F>(_: impl Fn(&T) -> &F) -> usize { size_of::<F>() }
        vec![$(($base + offset_of!($struct, $field), size(|of: &$struct| &of.$field), stringify!($field).to_owned())),*]
    }};
}

macro_rules! lines {
    ($struct:ty { $($field:ident),* $(,)? } at $base:expr) => {{
        fn size<T, F>(_: impl Fn(&T) -> &F) -> usize { size_of::<F>() }
        vec![$(($base + offset_of!($struct, $field), size(|of: &$struct| &of.$field.0), stringify!($field).to_owned())),*]
    }};
}

#[test]
fn the_page_shows_an_entry_of_last_values_as_it_is() {
    let fixed = [(0, 8, "version"), (8, 8, "writer")];
    assert_eq!(table("Last values"), fixed.map(|(offset, size, name)| (offset, size, name.to_owned())));
    assert_eq!(LAST_VALUE_HEAD_SIZE_BYTES, 16);
    // 16 and two frames of 88 bytes for records of 64; both ends of the table are those of the file.
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    let directory = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
    let last_values = tidebook_ring::LastValues { count: 10, key_offset: 8, key_size: 4 };
    let options = tidebook_ring::RingOptions::slots(64, 8).last_values(last_values);
    let ring = tidebook_ring::Ring::create(directory.path().join("keys.ring"), &options).unwrap();
    let data_end = consumers_offset(1) + 16 * size_of::<ConsumerLines>();
    let table_at = (data_end.next_multiple_of(4096) + 8 * 88).next_multiple_of(4096);
    assert_eq!(ring.info().file_size_bytes as usize, table_at + 10 * 192);
    let mut record = [7; 64];
    record[8..12].copy_from_slice(&3_u32.to_le_bytes());
    ring.producer().unwrap().write(&record).unwrap();
    let file = std::fs::File::open(ring.path()).unwrap();
    let mut entry = [0; 192];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut entry, (table_at + 3 * 192) as u64).unwrap();
    let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
    // The second copy is the first that is written: version 1, writer 0.
    assert_eq!([word(0), word(8), word(16), word(104)], [1, 0, 0, 1]);
    assert_eq!((word(112), &entry[120..184]), (header_word(64, FRAME_WHOLE), &record[..]));
}

#[test]
fn the_page_shows_the_superblock_as_it_is() {
    let expected = rows!(Superblock {
        magic, version, kind, flags, consumers_max, capacity, stride, record_size_bytes, data_offset,
        file_size_bytes, epoch, generation, first_sequence, boot_id, schema_hash, schema_version,
        schema_text_size, schema_name, schema_text, mode, producers_max, last_value_count, last_value_key_offset,
        last_value_key_size, last_values_offset, reserved, crc,
    } at 0);
    assert_eq!(table("Superblock"), expected);
    assert_eq!(size_of::<Superblock>(), 4096);
}

#[test]
fn the_page_shows_the_hot_lines_as_they_are() {
    let mut expected = lines!(HotLines {
        published, floor, joins, watermarks, wake, fence_epoch, room, tail, raiser, repairs,
    } at HOT_OFFSET);
    expected.extend(rows!(HotLines { stamps, reserved } at HOT_OFFSET));
    assert_eq!(table("Hot lines"), expected);
    assert_eq!((HOT_OFFSET, PRODUCERS_OFFSET, consumers_offset(1)), (4096, 6144, 6272));
    assert_eq!((STAMP_EVERY, STAMP_LINES * STAMPS_PER_LINE, size_of::<Stamp>()), (256, 16, 16));
}

#[test]
fn the_page_shows_a_producer_line_as_it_is() {
    assert_eq!(table("Producer lines"), rows!(ProducerLine { opens, process_id, waits, waited_ns } at 0));
    assert_eq!(size_of::<Line<ProducerLine>>(), 128);
}

#[test]
fn a_latency_is_in_the_bucket_that_ends_at_or_above_it() {
    assert_eq!([0, 32, 33, 48, 49, 64, 65].map(latency_bucket), [0, 0, 1, 1, 2, 2, 3]);
    for bucket in 0..LATENCY_BUCKETS - 1 {
        let end = latency_bucket_end(bucket);
        assert_eq!((latency_bucket(end), latency_bucket(end + 1)), (bucket, bucket + 1), "{end}");
    }
    assert_eq!(latency_bucket_end(latency_bucket(u64::MAX)), u64::MAX);
}

#[test]
fn the_page_shows_the_consumer_lines_as_they_are() {
    let mut expected = rows!(ConsumerCursor { position, sequence } at offset_of!(ConsumerLines, cursor));
    expected.extend(rows!(ConsumerIdentity {
        state, detach_after_ms, process_id, name_size, name, gaps, lost, corrupt, block_ms, opens,
    } at offset_of!(ConsumerLines, identity)));
    expected.extend(rows!(ConsumerLatency { sum_ns, counts } at offset_of!(ConsumerLines, latency)));
    assert_eq!(table("Consumer lines"), expected);
    assert_eq!(size_of::<ConsumerLines>(), 768);
}

#[test]
fn the_page_shows_a_frame_as_it_is() {
    let fixed = [(0, 8, "sequence"), (8, 4, "length"), (12, 1, "flags"), (13, 3, "zero")];
    assert_eq!(table("A frame"), fixed.map(|(offset, size, name)| (offset, size, name.to_owned())));
    assert_eq!((HEADER_SIZE_BYTES, CRC_SIZE_BYTES, FRAME_SIZE_MIN_BYTES), (16, 4, 24));
    for (payload, crc_at, size) in [(0, 16, 24), (1, 20, 24), (4, 20, 24), (5, 24, 32), (44, 60, 64), (64, 80, 88)] {
        assert_eq!((crc_offset(payload), frame_size_bytes(payload)), (crc_at, size), "{payload}");
    }
    assert_eq!((FRAME_FIRST, FRAME_LAST, FRAME_PAD, FRAME_VOID, VERSION), (1, 2, 4, 8, 2));
    assert_eq!(header_word(0x0102_0304, 3), u64::from_le_bytes([4, 3, 2, 1, 3, 0, 0, 0]));
}

#[test]
fn a_written_frame_has_the_bytes_of_the_page() {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    let private = std::fs::Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new().permissions(private).tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("layout.ring");
    let ring = tidebook_ring::Ring::create(&path, &tidebook_ring::RingOptions::frames(4096)).unwrap();
    ring.producer().unwrap().write(b"hello").unwrap();
    let file = std::fs::File::open(&path).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut superblock = [0; 56];
    file.read_exact_at(&mut superblock, 0).unwrap();
    assert_eq!(&superblock[..8], b"TIDERING");
    let data_offset = u64::from_le_bytes(superblock[40..48].try_into().unwrap());
    let mut frame = [0xAA; 40];
    file.read_exact_at(&mut frame, data_offset).unwrap();
    // Sequence 1, 5 bytes, flags 3, payload, padding, CRC-32C (from a bit-by-bit sum elsewhere), padding, next word.
    let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0];
    expected.extend_from_slice(b"hello\0\0\0");
    expected.extend_from_slice(&0xF666_05DD_u32.to_le_bytes());
    expected.resize(40, 0);
    assert_eq!(frame[..], expected);
}
