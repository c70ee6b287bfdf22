//! The mapped file: made whole or not at all, opened only when its superblock holds, addressed with bounds.
//!
//! A ring is allocated in full before it gets its name, so a full tmpfs is an error of `create` and never a SIGBUS of
//! a later write. It has no name until it is complete ([`crate::unnamed`]), so nobody opens half a ring and a
//! killed creator leaves nothing behind.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use memmap2::{MmapOptions, MmapRaw};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::access::Access;
use crate::boot::boot_id;
use crate::crc;
use crate::error::RingError;
use crate::futex::{self, Sharing};
use crate::last_values::{self, LastValues};
use crate::layout::{self, ConsumerLines, HotLines, Line, ProducerLine, Stamp, Superblock};
use crate::options::{Mode, RingKind, RingOptions, RingSchema};
use crate::sleep::Bell;
use crate::unnamed::Unnamed;

/// What a ring was made with, from its superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingInfo {
    /// See [`RingKind`].
    pub kind: RingKind,
    /// Bytes from slot to slot; 0 for frames.
    pub stride: usize,
    /// Layout of the payload.
    pub schema: Option<RingSchema>,
    /// Consumers at one time.
    pub consumers_max: u32,
    /// Frames carry a checked CRC.
    pub crc: bool,
    /// Consumers that do not peek see only up to the durable watermark.
    pub visible_durable: bool,
    /// Consumers may park.
    pub parking: bool,
    /// How many may write.
    pub mode: Mode,
    /// Producers at one time.
    pub producers_max: u32,
    /// The producer waits for nobody.
    pub never_waits: bool,
    /// The newest record of each key is kept.
    pub last_values: Option<LastValues>,
    /// Numbering of the messages.
    pub epoch: u64,
    /// This file among all that had its name.
    pub generation: u64,
    /// Sequence of the first message it can hold.
    pub first_sequence: u64,
    /// Bytes of the file.
    pub file_size_bytes: u64,
}

impl RingInfo {
    /// Bytes of each record; `None` on frames.
    pub fn record_size(&self) -> Option<usize> {
        match self.kind {
            RingKind::Slots { record_size_bytes, .. } => Some(record_size_bytes as usize),
            RingKind::Frames { .. } | RingKind::Runs { .. } => None,
        }
    }
}

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Endpoints.
    Write,
    /// Nothing but reading: a write to it would be a fault. Only what [`crate::RingView::open`] gives has such a mapping,
    /// and it calls nothing that writes. Loads of up to eight bytes, acquiring ones too, are plain loads on the machines we run on, so
    /// they work on memory that cannot be written.
    Look,
}

/// The file, mapped. Shared by all endpoints of a process; unmapped when the last of them and of their views is gone.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: MmapRaw,
    pub file: File,
    pub path: PathBuf,
    pub info: RingInfo,
    data_offset: usize,
    data_size: usize,
    /// 0 where there are none.
    last_values_offset: usize,
    /// `capacity - 1`: of slots or of bytes.
    pub mask: u64,
}

impl Mapping {
    pub fn create(path: &Path, options: &RingOptions) -> Result<Self, RingError> {
        options.check()?;
        let directory = &options.access.make_directory(directory_of(path))?;
        let superblock = superblock(options)?;
        let size = superblock.file_size_bytes;
        let unnamed =
            Unnamed::make(directory, options.access.file_mode()).map_err(io_error("make a ring in", directory))?;
        let file = unnamed.file();
        options.access.hand_over(file, path)?;
        allocate(file, path, size)?;
        let fail = io_error("write", path);
        file.write_all_at(superblock.as_bytes(), 0).map_err(fail)?;
        // A new ring starts at its first sequence; in both pairs, so that the version does not matter.
        let first = superblock.first_sequence;
        let start = superblock.start_position();
        let hot = layout::HOT_OFFSET as u64;
        for (line, sequence) in [(0, first - 1), (1, first)] {
            let pair = [0, sequence, start, sequence, start];
            file.write_all_at(pair.as_bytes(), hot + line * layout::LINE_SIZE_BYTES as u64)
                .map_err(io_error("write", path))?;
        }
        let line = |of: usize| hot + of as u64;
        let watermarks = line(offset_of!(HotLines, watermarks));
        file.write_all_at([first - 1, first - 1].as_bytes(), watermarks).map_err(io_error("write", path))?;
        let room = start + superblock.capacity;
        file.write_all_at(room.as_bytes(), line(offset_of!(HotLines, room))).map_err(io_error("write", path))?;

        // Into the directory that was examined, whatever the path leads to by now.
        let named = directory.join(path.file_name().unwrap_or_default());
        match unnamed.give_name(&named) {
            Ok(file) => Self::map(file, path, Use::Write),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(RingError::Exists { path: path.to_owned() })
            }
            Err(error) => Err(io_error("name", path)(error)),
        }
    }

    pub fn open(path: &Path, access: Access, usage: Use) -> Result<Self, RingError> {
        let not_a_file = |found| RingError::NotAFile { path: path.to_owned(), found };
        let cannot = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => RingError::NotFound { path: path.to_owned() },
            // Some of them cannot even be opened.
            _ => match std::fs::symlink_metadata(path).ok().and_then(|found| no_file(found.file_type())) {
                Some(found) => not_a_file(found),
                None => io_error("open", path)(source),
            },
        };
        let directory = access.check_directory(directory_of(path)).map_err(|error| match error {
            RingError::Io { source, .. } => cannot(source),
            other => other,
        })?;
        let file = OpenOptions::new()
            .read(true)
            .write(usage == Use::Write)
            // A pipe of this name would keep whoever opens it for reading waiting.
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(directory.join(path.file_name().unwrap_or_default()))
            .map_err(cannot)?;
        access.check_file(&file, path)?;
        let found = file.metadata().map_err(io_error("examine", path))?;
        if let Some(found) = no_file(found.file_type()) {
            return Err(not_a_file(found));
        }
        Self::map(file, path, usage)
    }

    fn map(file: File, path: &Path, usage: Use) -> Result<Self, RingError> {
        let not_a_ring = |reason: &str| RingError::NotARing { path: path.to_owned(), reason: reason.to_owned() };
        let mut bytes = [0; layout::SUPERBLOCK_SIZE_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => not_a_ring("it is shorter than a superblock"),
            _ => io_error("read", path)(source),
        })?;
        let superblock = Superblock::read_from_bytes(&bytes).expect("the sizes are equal");
        if superblock.magic != layout::MAGIC {
            return Err(not_a_ring("its first bytes are not those of a ring"));
        }
        // Before the CRC: another version may sum something else.
        if superblock.version != layout::VERSION {
            return Err(RingError::Version {
                path: path.to_owned(),
                found: superblock.version,
                expected: layout::VERSION,
            });
        }
        if superblock.crc != crc::checksum(&bytes[..layout::SUPERBLOCK_SIZE_BYTES - 4]) {
            return Err(not_a_ring("its superblock fails its checksum"));
        }
        let info = info_of(&superblock).ok_or_else(|| not_a_ring("its superblock contradicts itself"))?;
        let found = file.metadata().map_err(io_error("examine", path))?.len();
        if found != superblock.file_size_bytes {
            return Err(not_a_ring(&format!("it has {found} bytes where {} were made", superblock.file_size_bytes)));
        }
        if superblock.boot_id != boot_id()? {
            return Err(RingError::OtherBoot { path: path.to_owned() });
        }
        let map = match usage {
            // The pages exist since creation; entering them into the page table now keeps faults off the first lap.
            Use::Write => MmapOptions::new().populate().map_raw(&file),
            Use::Look => MmapOptions::new().map_raw_read_only(&file),
        };
        let map = map.map_err(io_error("map", path))?;
        let data_offset = superblock.data_offset as usize;
        let last_values_offset = superblock.last_values_offset as usize;
        Ok(Self {
            map,
            file,
            path: path.to_owned(),
            info,
            data_offset,
            data_size: superblock.capacity as usize
                * if superblock.stride == 0 { 1 } else { superblock.stride as usize },
            last_values_offset,
            mask: superblock.capacity - 1,
        })
    }

    /// Refuses a file that somebody cut: where it ends, its memory can no longer be read.
    pub fn check_size(&self) -> Result<(), RingError> {
        let found = self.file.metadata().map_err(io_error("examine", &self.path))?.len();
        if found >= self.map.len() as u64 {
            return Ok(());
        }
        let reason = format!("it was cut to {found} of its {} bytes", self.map.len());
        Err(RingError::NotARing { path: self.path.clone(), reason })
    }

    /// The producer's and the ring's lines.
    #[inline]
    pub fn hot(&self) -> &HotLines {
        // SAFETY: the file is larger than its superblock and hot lines (checked by `map`), the mapping is page aligned
        // and lives as long as `self`, and every word of the lines is an atomic.
        unsafe { &*self.map.as_mut_ptr().add(layout::HOT_OFFSET).cast::<HotLines>() }
    }

    /// The producers' lines.
    pub fn producers(&self) -> &[Line<ProducerLine>] {
        // SAFETY: as for `hot`; the consumers' lines start after `producers_max` of these (checked by `map`).
        unsafe {
            let first = self.map.as_mut_ptr().add(layout::PRODUCERS_OFFSET).cast::<Line<ProducerLine>>();
            std::slice::from_raw_parts(first, self.info.producers_max as usize)
        }
    }

    /// The consumers' lines.
    pub fn consumers(&self) -> &[ConsumerLines] {
        // SAFETY: as for `hot`; the data area starts after `consumers_max` of these (checked by `map`).
        unsafe {
            let first =
                self.map.as_mut_ptr().add(layout::consumers_offset(self.info.producers_max)).cast::<ConsumerLines>();
            std::slice::from_raw_parts(first, self.info.consumers_max as usize)
        }
    }

    /// Where a line's lock stands in the file.
    pub fn lock_offset_of<T>(&self, line: &T) -> u64 {
        (std::ptr::from_ref(line) as usize - self.map.as_mut_ptr() as usize) as u64
    }

    /// Where in the file a pointer into the mapping leads.
    pub fn offset_in_file(&self, pointer: *const u8) -> usize {
        pointer as usize - self.map.as_mut_ptr() as usize
    }

    /// The sequence word of the frame at this offset of the data area.
    #[inline]
    pub fn sequence_word(&self, offset: usize) -> &AtomicU64 {
        if !offset.is_multiple_of(8) || offset + 8 > self.data_size {
            outside(8, offset);
        }
        // SAFETY: in bounds and aligned by the check; the mapping lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(self.data_offset + offset).cast()) }
    }

    /// The words of a frame at this offset. Payloads are bytes to their readers and these words to who writes them.
    #[inline]
    pub fn words(&self, offset: usize, size_bytes: usize) -> &[AtomicU64] {
        if !offset.is_multiple_of(8) || offset > self.data_size || size_bytes > self.data_size - offset {
            outside(size_bytes, offset);
        }
        // SAFETY: in bounds and aligned by the check; the mapping lives as long as `self`.
        unsafe {
            let first = self.map.as_mut_ptr().add(self.data_offset + offset).cast::<AtomicU64>();
            std::slice::from_raw_parts(first, size_bytes / 8)
        }
    }

    /// The words of a key's entry in the last-value table.
    pub fn last_value_words(&self, key: u64) -> &[AtomicU64] {
        let table = self.info.last_values.expect("asked for of a ring with last values");
        assert!(key < table.count, "key {key} of {}", table.count);
        let size = last_values::entry_size_bytes(self.info.record_size().unwrap_or(0) as u32);
        // SAFETY: the file holds `count` entries from this offset on, a multiple of 4096 (checked by `map`); in bounds by
        // the assert, and the mapping lives as long as `self`.
        unsafe {
            let first = self.map.as_mut_ptr().add(self.last_values_offset + key as usize * size);
            std::slice::from_raw_parts(first.cast::<AtomicU64>(), size / 8)
        }
    }

    /// Length and flags of the frame at this offset.
    #[inline]
    pub fn header_word(&self, offset: usize) -> &AtomicU64 {
        self.sequence_word(offset + 8)
    }

    /// The CRC at this offset: half of a word, as it was written.
    #[inline]
    pub fn crc(&self, offset: usize) -> u32 {
        let word = self.sequence_word(offset & !7).load(Ordering::Relaxed);
        (word >> (offset % 8 * 8)) as u32
    }

    /// Bytes of the data area as the reader of a consumer that is waited for may see them, or a producer those that it is
    /// filling.
    #[inline]
    pub fn bytes(&self, offset: usize, size: usize) -> &[u8] {
        if offset > self.data_size || size > self.data_size - offset {
            outside(size, offset);
        }
        // SAFETY: in bounds by the check; initialised since creation. That nobody writes them meanwhile is the protocol's
        // promise and not the compiler's: producers write nothing that such a consumer's cursor has not passed, and nothing
        // of another's claim. A process that breaks it (a hostile one, or a stray pointer) makes this a data race, which the
        // language leaves undefined; on the machines we run on it gives other bytes, and the CRC says so where there is
        // one. Copying first would close that and costs every reader a copy.
        unsafe { std::slice::from_raw_parts(self.map.as_mut_ptr().add(self.data_offset + offset), size) }
    }

    /// Bytes of the data area for the producer whose they are: in mode spsc the one that holds the lock, in mode mpsc the
    /// one whose claim they are in.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the memory is the file's; the claim makes its producer the only writer")]
    pub fn bytes_mut(&self, offset: usize, size: usize) -> &mut [u8] {
        if offset > self.data_size || size > self.data_size - offset {
            outside(size, offset);
        }
        // SAFETY: in bounds by the check. No other producer writes here: there is none, or it would have to take the claim,
        // which needs this one's lock. No consumer that is waited for reads here: the place is below the limit, so all of
        // them have passed what stood there, and what comes is not committed. A lossy reader may still copy what stood
        // there, by loads of words ([`Mapping::copy_racing`]), and throws that away; beside these plain stores of long
        // payloads that is a race which the language does not define, and the processor does.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(self.data_offset + offset), size) }
    }

    /// Copies bytes a producer may be overwriting, word by word, from an offset that is a multiple of eight. The caller
    /// checks afterwards whether it did.
    #[inline]
    pub fn copy_racing(&self, offset: usize, into: &mut [u8]) {
        let words = self.words(offset, into.len().next_multiple_of(8));
        let (whole, rest) = into.as_chunks_mut::<8>();
        for (word, bytes) in words.iter().zip(whole.iter_mut()) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        if let Some(word) = words.get(whole.len()) {
            let size = rest.len();
            rest.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()[..size]);
        }
    }

    /// Where the file is mapped.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no other system is asked for memory"))]
    pub fn address(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Bytes mapped.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no other system is asked for memory"))]
    pub fn size_bytes(&self) -> usize {
        self.map.len()
    }

    /// Where the data area starts in the file.
    pub fn data_offset(&self) -> usize {
        self.data_offset
    }

    /// Bytes of the data area.
    pub fn data_size(&self) -> usize {
        self.data_size
    }

    /// Where the time of this message is noted.
    pub fn stamp(&self, sequence: u64) -> &Stamp {
        let lines = &self.hot().stamps;
        let index = (sequence / layout::STAMP_EVERY) as usize % (lines.len() * layout::STAMPS_PER_LINE);
        &lines[index / layout::STAMPS_PER_LINE].0[index % layout::STAMPS_PER_LINE]
    }

    /// Tells sleepers that something became visible.
    #[inline]
    pub fn wake(&self) {
        if self.info.parking && self.bell().is_awaited() {
            self.wake_sleepers();
        }
    }

    /// As [`Mapping::wake`], of several rings.
    #[inline]
    pub fn wake_all<const COUNT: usize>(mappings: [&Self; COUNT]) {
        if mappings.iter().any(|mapping| mapping.info.parking) {
            std::sync::atomic::fence(Ordering::SeqCst);
            for mapping in mappings {
                if mapping.info.parking && mapping.bell().is_announced() {
                    mapping.wake_sleepers();
                }
            }
        }
    }

    /// What sleepers are woken with.
    #[inline]
    pub fn bell(&self) -> Bell<'_, AtomicU32> {
        let wake = &self.hot().wake.0;
        Bell { waiting: &wake.waiting, signal: &wake.signal }
    }

    /// Asks producers to wake whoever sleeps, and gives the word to sleep on with its value, if there is still nothing then.
    pub fn announce_sleep(&self) -> (&AtomicU32, u32) {
        (&self.hot().wake.0.signal, self.bell().announce())
    }

    #[cold]
    fn wake_sleepers(&self) {
        let bell = self.bell();
        bell.ring(|| futex::wake(bell.signal, Sharing::Machine, u32::MAX >> 1));
    }
}

/// What this is, with its article, if it is no file that a ring could be in; a link is left to who opens it.
fn no_file(found: FileType) -> Option<&'static str> {
    match found {
        usable if usable.is_file() || usable.is_symlink() => None,
        directory if directory.is_dir() => Some("a directory"),
        pipe if pipe.is_fifo() => Some("a named pipe"),
        socket if socket.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

/// The directory a path leads into.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whoever would leave the data stops here. Kept apart, so that the check costs two comparisons and nothing else.
#[cold]
#[inline(never)]
fn outside(size_bytes: usize, offset: usize) -> ! {
    panic!("{size_bytes} bytes at {offset} are not words inside the data");
}

/// An [`RingError::Io`] in the making.
pub(crate) fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> RingError + 'a {
    move |source| RingError::Io { action, path: path.to_owned(), source }
}

fn allocate(file: &File, path: &Path, size: u64) -> Result<(), RingError> {
    loop {
        return match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::FBIG | rustix::io::Errno::DQUOT) => {
                Err(RingError::NoSpace { path: path.to_owned(), needed_bytes: size })
            }
            Err(errno) => Err(io_error("allocate", path)(errno.into())),
        };
    }
}

fn superblock(options: &RingOptions) -> Result<Superblock, RingError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut block = Superblock::new_zeroed();
    block.magic = layout::MAGIC;
    block.version = layout::VERSION;
    let data_size = match options.kind {
        RingKind::Slots { record_size_bytes, count } => {
            block.kind = layout::KIND_SLOTS;
            block.capacity = count;
            block.record_size_bytes = record_size_bytes;
            block.stride = options.stride();
            count * u64::from(block.stride)
        }
        RingKind::Frames { size_bytes } => {
            block.kind = layout::KIND_FRAMES;
            block.capacity = size_bytes;
            size_bytes
        }
        RingKind::Runs { count, .. } => {
            block.kind = layout::KIND_RUNS;
            block.capacity = count;
            block.stride = options.stride();
            count * u64::from(block.stride)
        }
    };
    block.mode = match options.mode {
        Mode::Spsc => layout::MODE_SPSC,
        Mode::Mpsc => layout::MODE_MPSC,
    };
    block.producers_max = options.producers_max;
    for (on, flag) in [
        (options.crc, layout::RING_CRC),
        (options.visible_durable, layout::RING_VISIBLE_DURABLE),
        (options.parking, layout::RING_PARKING),
        (options.never_waits, layout::RING_NEVER_WAITS),
    ] {
        block.flags |= if on { flag } else { 0 };
    }
    block.consumers_max = options.consumers_max;
    block.data_offset = data_offset(options.producers_max, options.consumers_max);
    block.file_size_bytes = block.data_offset + data_size;
    if let Some(table) = options.last_values {
        (block.last_value_count, block.last_value_key_offset) = (table.count, table.key_offset);
        block.last_value_key_size = table.key_size;
        (block.last_values_offset, block.file_size_bytes) = table_place(block.file_size_bytes, options);
    }
    block.epoch = options.epoch.unwrap_or(now);
    block.generation = now;
    block.first_sequence = options.first_sequence;
    block.boot_id = boot_id()?;
    if let Some(schema) = &options.schema {
        block.schema_hash = schema.hash();
        block.schema_version = schema.version;
        block.schema_name[..schema.name.len()].copy_from_slice(schema.name.as_bytes());
        block.schema_text[..schema.text.len()].copy_from_slice(schema.text.as_bytes());
        block.schema_text_size = schema.text.len() as u32;
    }
    block.crc = crc::checksum(&block.as_bytes()[..layout::SUPERBLOCK_SIZE_BYTES - 4]);
    Ok(block)
}

impl Superblock {
    /// Position of the first message.
    const fn start_position(&self) -> u64 {
        if self.kind == layout::KIND_FRAMES { 0 } else { self.first_sequence }
    }
}

const fn data_offset(producers_max: u32, consumers_max: u32) -> u64 {
    (layout::consumers_offset(producers_max) + consumers_max as usize * size_of::<ConsumerLines>())
        .next_multiple_of(4096) as u64
}

/// Where the last-value table starts behind data that end here, and where it ends.
fn table_place(data_end: u64, options: &RingOptions) -> (u64, u64) {
    let (Some(table), RingKind::Slots { record_size_bytes, .. }) = (options.last_values, options.kind) else {
        return (0, data_end);
    };
    let start = data_end.next_multiple_of(4096);
    (start, start + table.count * last_values::entry_size_bytes(record_size_bytes) as u64)
}

/// The options a superblock states, or `None` when its numbers do not agree with each other.
fn info_of(block: &Superblock) -> Option<RingInfo> {
    let kind = match block.kind {
        layout::KIND_SLOTS => RingKind::Slots { record_size_bytes: block.record_size_bytes, count: block.capacity },
        layout::KIND_FRAMES => RingKind::Frames { size_bytes: block.capacity },
        layout::KIND_RUNS => RingKind::Runs { slot_size_bytes: block.stride, count: block.capacity },
        _ => return None,
    };
    let mode = match block.mode {
        layout::MODE_SPSC => Mode::Spsc,
        layout::MODE_MPSC => Mode::Mpsc,
        _ => return None,
    };
    let schema = if block.schema_hash == 0 {
        None
    } else {
        let name = block.schema_name.split(|byte| *byte == 0).next()?;
        let text = block.schema_text.get(..block.schema_text_size as usize)?;
        let schema = RingSchema {
            name: String::from_utf8(name.to_vec()).ok()?,
            version: block.schema_version,
            text: String::from_utf8(text.to_vec()).ok()?,
        };
        (schema.hash() == block.schema_hash).then_some(schema).map(Some)?
    };
    let options = RingOptions {
        kind,
        schema,
        consumers_max: block.consumers_max,
        crc: block.flags & layout::RING_CRC != 0,
        visible_durable: block.flags & layout::RING_VISIBLE_DURABLE != 0,
        parking: block.flags & layout::RING_PARKING != 0,
        mode,
        producers_max: block.producers_max,
        never_waits: block.flags & layout::RING_NEVER_WAITS != 0,
        last_values: (block.last_value_count != 0).then_some(LastValues {
            count: block.last_value_count,
            key_offset: block.last_value_key_offset,
            key_size: block.last_value_key_size,
        }),
        epoch: Some(block.epoch),
        first_sequence: block.first_sequence,
        access: Access::default(),
    };
    options.check().ok()?;
    let data_size = match kind {
        RingKind::Slots { count, .. } | RingKind::Runs { count, .. } => count * u64::from(options.stride()),
        RingKind::Frames { size_bytes } => size_bytes,
    };
    let agrees = block.stride == options.stride()
        && block.data_offset == data_offset(block.producers_max, block.consumers_max)
        && (block.last_values_offset, block.file_size_bytes) == table_place(block.data_offset + data_size, &options);
    agrees.then(|| RingInfo {
        kind,
        stride: options.stride() as usize,
        schema: options.schema,
        consumers_max: options.consumers_max,
        crc: options.crc,
        visible_durable: options.visible_durable,
        parking: options.parking,
        mode: options.mode,
        producers_max: options.producers_max,
        never_waits: options.never_waits,
        last_values: options.last_values,
        epoch: block.epoch,
        generation: block.generation,
        first_sequence: block.first_sequence,
        file_size_bytes: block.file_size_bytes,
    })
}
