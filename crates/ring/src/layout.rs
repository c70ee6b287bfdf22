//! Where every byte of a ring file is, and nothing else. `docs/formats/ring.md` is this file for people; a test pins
//! the two together.
//!
//! Words that different processes write stand 128 bytes apart: adjacent-line prefetch makes 64 too few.
//!
//! In order: superblock, hot lines, producer lines, consumer lines, data, last values.

use std::sync::atomic::{AtomicU32, AtomicU64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pair::PairCell;

/// First bytes of every ring file.
pub const MAGIC: [u8; 8] = *b"TIDERING";
/// Version of this layout. Rings are disposable: another version is refused, drained by its own release, recreated.
pub const VERSION: u32 = 2;
/// Bytes of the superblock.
pub const SUPERBLOCK_SIZE_BYTES: usize = 4096;
/// Bytes between words that different processes write.
pub const LINE_SIZE_BYTES: usize = 128;
/// Where the hot lines start.
pub const HOT_OFFSET: usize = SUPERBLOCK_SIZE_BYTES;
/// Where the producer lines start.
pub const PRODUCERS_OFFSET: usize = HOT_OFFSET + size_of::<HotLines>();
/// Bytes of a schema's text in the superblock at most.
pub const SCHEMA_TEXT_MAX: usize = 3840;
/// Bytes of a schema's name at most.
pub const SCHEMA_NAME_MAX: usize = 48;
/// Bytes of a consumer's name at most.
pub const CONSUMER_NAME_MAX: usize = 64;

/// [`Superblock::kind`]: fixed slots.
pub const KIND_SLOTS: u32 = 1;
/// [`Superblock::kind`]: variable frames.
pub const KIND_FRAMES: u32 = 2;
/// [`Superblock::kind`]: messages that take as many slots as they need.
pub const KIND_RUNS: u32 = 3;

/// [`Superblock::mode`]: one producer.
pub const MODE_SPSC: u32 = 1;
/// [`Superblock::mode`]: up to `producers_max` producers at one time.
pub const MODE_MPSC: u32 = 2;
/// Producers of a ring at one time at most: eight bits of a claim.
pub const PRODUCERS_MAX: u32 = 255;

/// [`Superblock::flags`]: frames carry a CRC and readers check it.
pub const RING_CRC: u32 = 1;
/// [`Superblock::flags`]: consumers that do not peek see only up to the durable watermark.
pub const RING_VISIBLE_DURABLE: u32 = 2;
/// [`Superblock::flags`]: consumers may park; the producer pays a fence per publish for it.
pub const RING_PARKING: u32 = 4;
/// [`Superblock::flags`]: the producer waits for nobody; every consumer is lossy.
pub const RING_NEVER_WAITS: u32 = 8;

/// Written once before the file has a name, never changed, checked by every open.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// `KIND_*`.
    pub kind: u32,
    /// `RING_*`.
    pub flags: u32,
    /// Consumer lines.
    pub consumers_max: u32,
    /// Slots, or bytes of the data area of frames. A power of two.
    pub capacity: u64,
    /// Bytes from slot to slot; 0 for frames.
    pub stride: u32,
    /// Payload bytes of each slot; 0 for frames.
    pub record_size_bytes: u32,
    /// Where the data area starts, a multiple of 4096.
    pub data_offset: u64,
    /// Bytes of the whole file.
    pub file_size_bytes: u64,
    /// Numbering of the messages: sequences never repeat within an epoch.
    pub epoch: u64,
    /// This file among all that had its name: creation time, ns since 1970 UTC.
    pub generation: u64,
    /// Sequence of the first message this file can hold.
    pub first_sequence: u64,
    /// The kernel's boot id when the file was made.
    pub boot_id: [u8; 16],
    /// FNV-1a 64 of name, version and text; 0 without a schema.
    pub schema_hash: u64,
    /// Version of the schema.
    pub schema_version: u32,
    /// Bytes used of `schema_text`.
    pub schema_text_size: u32,
    /// UTF-8, zero padded.
    pub schema_name: [u8; SCHEMA_NAME_MAX],
    /// `name:type:offset[:count]` joined by `;`, types in numpy's spelling (`i8` is 64 bits).
    pub schema_text: [u8; SCHEMA_TEXT_MAX],
    /// `MODE_*`.
    pub mode: u32,
    /// Producer lines.
    pub producers_max: u32,
    /// Keys of the last-value table; 0 without one.
    pub last_value_count: u64,
    /// Where the key stands in a record.
    pub last_value_key_offset: u32,
    /// Bytes of the key: 1, 2, 4 or 8.
    pub last_value_key_size: u32,
    /// Where the last-value table starts, a multiple of 4096; 0 without one.
    pub last_values_offset: u64,
    /// Zero.
    pub reserved: [u8; 60],
    /// CRC-32C of all bytes before it.
    pub crc: u32,
}

const _: () = assert!(size_of::<Superblock>() == SUPERBLOCK_SIZE_BYTES);

/// A word or pair alone on its line.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Line<T>(pub T);

/// Lines of the ring as a whole.
#[derive(Debug)]
#[repr(C)]
pub struct HotLines {
    /// (last sequence, position after it). With one producer written after each commit; with many, by whoever raises
    /// the floor. The commit itself is the sequence word of the frame; this serves joiners, watermarks and a producer
    /// that comes back.
    pub published: Line<PairCell>,
    /// Written before anything is overwritten: (oldest intact sequence, its position). What is at or after it and
    /// before the end can be read; a lossy reader checks its copy against this.
    pub floor: Line<PairCell>,
    /// Rises with each consumer that joins; the lock on this line orders joining and leaving.
    pub joins: Line<AtomicU64>,
    /// Written by the journal and replication.
    pub watermarks: Line<Watermarks>,
    /// For parked consumers.
    pub wake: Line<Wake>,
    /// Raised by who deposes producers; one whose own is older writes nothing more.
    pub fence_epoch: Line<AtomicU64>,
    /// Many producers: positions below it may be written, because every consumer has agreed.
    pub room: Line<AtomicU64>,
    /// Many producers: start of a message claimed lately, 0 before the first. A hint of where the end is.
    pub tail: Line<AtomicU64>,
    /// Many producers: who raises the floor now (line + 1), 0 nobody.
    pub raiser: Line<AtomicU64>,
    /// Counters of rare events.
    pub repairs: Line<Repairs>,
    /// When some messages were committed.
    pub stamps: [Line<[Stamp; STAMPS_PER_LINE]>; STAMP_LINES],
    /// Zero.
    pub reserved: [Line<AtomicU64>; 4],
}

/// Lines of [`HotLines::stamps`].
pub const STAMP_LINES: usize = 2;
/// Stamps on a line.
pub const STAMPS_PER_LINE: usize = LINE_SIZE_BYTES / size_of::<Stamp>();
/// Every message whose sequence is a multiple of this is stamped, in the stamp of index `sequence / STAMP_EVERY`,
/// modulo their number.
pub const STAMP_EVERY: u64 = 256;

/// When a message was committed.
#[derive(Debug)]
#[repr(C)]
pub struct Stamp {
    /// Its sequence; 0 while the stamp is being written.
    pub sequence: AtomicU64,
    /// CLOCK_MONOTONIC, ns.
    pub committed_ns: AtomicU64,
}

/// See [`HotLines::repairs`].
#[derive(Debug)]
#[repr(C)]
pub struct Repairs {
    /// Claims of dead producers that were voided.
    pub claims: AtomicU64,
    /// Raisers of the floor that died over it and were replaced.
    pub raisers: AtomicU64,
    /// Consumers given up because they were dead for longer than their `detach_after`.
    pub detached: AtomicU64,
}

/// The line of one producer. Its lock stands on it.
#[derive(Debug)]
#[repr(C)]
pub struct ProducerLine {
    /// Rises with each producer that opens this line.
    pub opens: AtomicU64,
    /// For people: the process that holds or last held the lock.
    pub process_id: AtomicU64,
    /// How often it found no room and waited.
    pub waits: AtomicU64,
    /// How long all these waits took, ns. Those that gave up too.
    pub waited_ns: AtomicU64,
}

/// See [`HotLines::watermarks`].
#[derive(Debug)]
#[repr(C)]
pub struct Watermarks {
    /// Last sequence whose journal is synced.
    pub durable: AtomicU64,
    /// Last sequence held by the replicas the channel asks for.
    pub replicated: AtomicU64,
}

/// See [`HotLines::wake`].
#[derive(Debug)]
#[repr(C)]
pub struct Wake {
    /// 1 when someone may be asleep. Set by sleepers, cleared by who wakes them, so a killed sleeper costs one call.
    pub waiting: AtomicU32,
    /// The futex word.
    pub signal: AtomicU32,
}

/// [`ConsumerIdentity::state`]: nobody's.
pub const CONSUMER_FREE: u32 = 0;
/// [`ConsumerIdentity::state`]: the producer waits for it.
pub const CONSUMER_GATING: u32 = 1;
/// [`ConsumerIdentity::state`]: reads copies and may be overwritten.
pub const CONSUMER_LOSSY: u32 = 2;
/// [`ConsumerIdentity::state`]: was gating and dead for longer than its `detach_after`; its cursor is kept.
pub const CONSUMER_DETACHED: u32 = 3;

/// Lines of one consumer. Its lock stands on the first.
#[derive(Debug)]
#[repr(C)]
pub struct ConsumerLines {
    /// Written by the consumer once per batch.
    pub cursor: Line<ConsumerCursor>,
    /// Written when it joins, leaves or loses something.
    pub identity: Line<ConsumerIdentity>,
    /// Written by the consumer when it meets a stamped message.
    pub latency: Line<ConsumerLatency>,
}

/// See [`ConsumerLines::cursor`].
#[derive(Debug)]
#[repr(C)]
pub struct ConsumerCursor {
    /// Where the next unread message starts; all before it may be overwritten.
    pub position: AtomicU64,
    /// The sequence to resume at, written before the position. Lower than what stands at the position: the messages
    /// between are lost, and the consumer has not been told yet. Higher: those between are acknowledged, and their place
    /// is kept while somebody looks at them.
    pub sequence: AtomicU64,
}

/// See [`ConsumerLines::identity`].
#[derive(Debug)]
#[repr(C)]
pub struct ConsumerIdentity {
    /// `CONSUMER_*`.
    pub state: AtomicU32,
    /// How long it gates after its death, ms; `u32::MAX` for ever.
    pub detach_after_ms: AtomicU32,
    /// For people: the process that holds or last held the lock.
    pub process_id: AtomicU32,
    /// Bytes of the name; 0 for a consumer that leaves nothing behind.
    pub name_size: AtomicU32,
    /// UTF-8 as eight-byte words.
    pub name: [AtomicU64; CONSUMER_NAME_MAX / 8],
    /// Gaps it was told of.
    pub gaps: AtomicU64,
    /// Messages in those gaps.
    pub lost: AtomicU64,
    /// Messages that failed their check.
    pub corrupt: AtomicU64,
    /// How long a producer waits for it while it lives, ms; `u32::MAX` for ever.
    pub block_ms: AtomicU32,
    /// Rises with each consumer that opens this line: a death is one opening's.
    pub opens: AtomicU32,
}

/// From commit to being read, of stamped messages.
#[derive(Debug)]
#[repr(C)]
pub struct ConsumerLatency {
    /// Sum of all, ns.
    pub sum_ns: AtomicU64,
    /// By size: `latency_bucket`.
    pub counts: [AtomicU64; LATENCY_BUCKETS],
}

/// Buckets of [`ConsumerLatency::counts`].
pub const LATENCY_BUCKETS: usize = 63;

/// The bucket of a latency: two an octave, up to 32 ns in the first, from about 50 s on in the last.
pub const fn latency_bucket(nanoseconds: u64) -> usize {
    if nanoseconds <= 32 {
        return 0;
    }
    // Of the largest value that is still counted with it: a bucket holds its upper bound.
    let value = nanoseconds - 1;
    let octave = 63 - value.leading_zeros() as usize;
    let half = (value >> (octave - 1)) as usize & 1;
    let bucket = (octave - 5) * 2 + half + 1;
    if bucket < LATENCY_BUCKETS { bucket } else { LATENCY_BUCKETS - 1 }
}

/// Largest latency of a bucket, ns; of the last, `u64::MAX`.
pub const fn latency_bucket_end(bucket: usize) -> u64 {
    match bucket {
        0 => 32,
        bucket if bucket + 1 >= LATENCY_BUCKETS => u64::MAX,
        bucket => {
            let half = 1 << (4 + (bucket - 1) / 2);
            let octave = half * 2;
            octave + half * (1 + (bucket as u64 - 1) % 2)
        }
    }
}

const _: () = assert!(size_of::<HotLines>() == 16 * LINE_SIZE_BYTES);
const _: () = assert!(size_of::<Line<ProducerLine>>() == LINE_SIZE_BYTES);
const _: () = assert!(size_of::<ConsumerLines>() == 6 * LINE_SIZE_BYTES);

/// Bytes of an entry of the last-value table before its copies: `[8 version][8 writer]`.
pub const LAST_VALUE_HEAD_SIZE_BYTES: usize = 16;
/// Keys of a last-value table at most. Who makes up for a dead producer looks at all of them: five million took 64 to 99 ms,
/// and nobody's death may hold others up for 50.
pub const LAST_VALUES_MAX: u64 = 1 << 21;

/// Where the consumer lines start.
pub const fn consumers_offset(producers_max: u32) -> usize {
    PRODUCERS_OFFSET + producers_max as usize * LINE_SIZE_BYTES
}

/// Bytes of a frame before its payload: `[8 sequence][4 length][1 flags][3 zero]`.
pub const HEADER_SIZE_BYTES: usize = 16;
/// Bytes of the CRC.
pub const CRC_SIZE_BYTES: usize = 4;
/// Bytes of the smallest frame. Where less is left before the end of the data, both sides go on at its start.
pub const FRAME_SIZE_MIN_BYTES: usize = frame_size_bytes(0);

/// Frame flag: first part of a message.
pub const FRAME_FIRST: u8 = 1;
/// Frame flag: last part of a message.
pub const FRAME_LAST: u8 = 2;
/// Frame flag: no message; go on at the start of the data. Carries the sequence of the message to come.
pub const FRAME_PAD: u8 = 4;
/// Frame flag: no message; its producer died before it committed, or gave the claim back. The length is the number of
/// slots it had claimed, the payload is empty.
pub const FRAME_VOID: u8 = 8;
/// Flags of a message in one frame.
pub const FRAME_WHOLE: u8 = FRAME_FIRST | FRAME_LAST;

/// Bytes from the start of a frame to its CRC.
#[inline]
pub const fn crc_offset(payload_size_bytes: usize) -> usize {
    (HEADER_SIZE_BYTES + payload_size_bytes).next_multiple_of(4)
}

/// Bytes of a frame with this payload; also the stride of slots.
#[inline]
pub const fn frame_size_bytes(payload_size_bytes: usize) -> usize {
    (crc_offset(payload_size_bytes) + CRC_SIZE_BYTES).next_multiple_of(8)
}

/// The second word of a header: length and flags.
#[inline]
pub const fn header_word(payload_size_bytes: u32, flags: u8) -> u64 {
    payload_size_bytes as u64 | (flags as u64) << 32
}
