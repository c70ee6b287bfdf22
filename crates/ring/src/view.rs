//! A ring opened to be looked at: its file is opened for reading and its memory mapped so that nothing can be written.
//!
//! A view takes no line, no lock and no name, so whoever looks changes nothing: no producer waits for it, and it may be
//! killed anywhere. What it reads it copies, checks, and compares with the floor afterwards, as a lossy consumer does.
//! What it missed is a gap, what is damaged is told with the place in the file, and it goes on behind both.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::access::Access;
use crate::claims::{Claim, Found};
use crate::consumer::Gap;
use crate::crc::frame_checksum;
use crate::error::RingError;
use crate::floor;
use crate::frame::{Look, Place};
use crate::layout::{FRAME_SIZE_MIN_BYTES, HEADER_SIZE_BYTES, crc_offset};
use crate::mapping::{Mapping, RingInfo, Use, io_error};
use crate::options::{Mode, RingKind};
use crate::ring::Ring;
use crate::status::RingStatus;
use crate::verify::Verifier;

/// A ring that can be read and not changed. Clones share the mapping.
///
/// What would write does not exist on it:
///
/// ```compile_fail
/// fn write(view: &tidebook_ring::RingView) {
///     view.producer();
/// }
/// ```
#[derive(Debug, Clone)]
pub struct RingView {
    mapping: Arc<Mapping>,
}

impl RingView {
    /// Opens a ring that exists, for reading.
    ///
    /// # Errors
    /// Those of [`crate::Ring::open_with`].
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self, RingError> {
        let mapping = Mapping::open(path.as_ref(), access, Use::Look)?;
        Ok(Self { mapping: Arc::new(mapping) })
    }

    /// Looks at a ring that is open: what only looks needs no line among its consumers.
    pub fn of(ring: &Ring) -> Self {
        Self { mapping: ring.mapping.clone() }
    }

    /// What it was made with.
    pub fn info(&self) -> &RingInfo {
        &self.mapping.info
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.mapping.path
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`RingError::Io`] when the locks cannot be examined, [`RingError::NotARing`] when its file was cut.
    pub fn status(&self) -> Result<RingStatus, RingError> {
        self.check_size()?;
        self.mapping.status()
    }

    /// Refuses to look further where the file was cut meanwhile: to read behind its end would end this process. Before each
    /// look; a file that is cut during one is beyond it.
    ///
    /// # Errors
    /// [`RingError::NotARing`], [`RingError::Io`].
    pub fn check_size(&self) -> Result<(), RingError> {
        self.mapping.check_size()
    }

    /// Whether its file still has a name. One that was removed can be read to its end.
    ///
    /// # Errors
    /// [`RingError::Io`].
    pub fn has_name(&self) -> Result<bool, RingError> {
        let found = self.mapping.file.metadata().map_err(io_error("examine", self.path()))?;
        Ok(found.nlink() > 0)
    }

    /// A walk over its messages. `from` is the first to see: 0 for the oldest there is; one that is overwritten already gives
    /// a gap first; beyond the newest it begins with what comes next. `peek` shows also what is not durable yet, of which
    /// nothing lasting may come.
    pub fn walk(&self, from: u64, peek: bool) -> Walker {
        Walker::new(self.mapping.clone(), from, self.info().visible_durable && !peek)
    }

    /// A check of everything that can be checked: lines, cursors, every committed frame up to the newest there is now.
    pub fn verify(&self) -> Verifier {
        Verifier::new(self.mapping.clone())
    }
}

/// A message that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its sequence.
    pub sequence: u64,
    /// How many messages cannot be read because of it, itself included.
    pub lost: u64,
    /// First byte of the file that is not what it must be.
    pub offset: u64,
    /// What stands there, and what should.
    pub what: String,
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Walked {
    /// So many messages; 0 when nothing new is visible.
    Messages(usize),
    /// Messages were overwritten before they were read. The next read goes on after them.
    Gap(Gap),
    /// A damaged message. The next read goes on at the next one that can be found.
    Damage(Damage),
}

enum Step {
    /// In `copy`, with this sequence.
    Message(u64),
    Found(Walked),
    Nothing,
}

/// A reader without a line. See [`RingView::walk`].
#[derive(Debug)]
pub struct Walker {
    mapping: Arc<Mapping>,
    next: Place,
    bounded: bool,
    copy: Vec<u8>,
    /// What came after the messages of the last read.
    pending: Option<Walked>,
    /// The next message is somewhere behind this damaged one and was not there yet.
    searching: bool,
    voids: u64,
}

impl Walker {
    pub(crate) fn new(mapping: Arc<Mapping>, from: u64, bounded: bool) -> Self {
        let next = mapping.oldest();
        let mut walker = Self { mapping, next, bounded, copy: Vec::new(), pending: None, searching: false, voids: 0 };
        walker.go_to(from);
        walker.voids = 0;
        walker
    }

    /// The sequence it looks for next.
    pub fn next_sequence(&self) -> u64 {
        self.next.sequence
    }

    /// As [`RingView::check_size`].
    ///
    /// # Errors
    /// As there.
    pub fn check_size(&self) -> Result<(), RingError> {
        self.mapping.check_size()
    }

    pub(crate) fn place(&self) -> Place {
        self.next
    }

    /// Whether the next read tells what ended the last one.
    pub(crate) fn has_found_more(&self) -> bool {
        self.pending.is_some()
    }

    /// Sequences it went past because they were never committed.
    pub fn voids(&self) -> u64 {
        self.voids
    }

    fn go_to(&mut self, wanted: u64) {
        if wanted == 0 {
            return;
        }
        let newest = self.mapping.newest();
        if wanted >= newest.sequence {
            self.next = newest;
            return;
        }
        if wanted < self.next.sequence {
            let gap = Gap { first: wanted, count: self.next.sequence - wanted };
            self.pending = Some(Walked::Gap(gap));
            return;
        }
        if let RingKind::Slots { .. } = self.mapping.info.kind {
            self.next = Place { sequence: wanted, position: wanted };
            return;
        }
        while self.next.sequence < wanted {
            let last = match self.mapping.look(self.next) {
                Look::Frame(first) if first.is_void() => Look::Frame(first),
                Look::Frame(first) => self.mapping.last_frame(first),
                other => other,
            };
            if let Look::Frame(last) = last {
                self.next = Place { sequence: self.next.sequence + 1, position: last.end };
            } else if self.overtaken() {
                self.next = self.mapping.oldest();
                if self.next.sequence > wanted {
                    let gap = Gap { first: wanted, count: self.next.sequence - wanted };
                    self.pending = Some(Walked::Gap(gap));
                    return;
                }
            } else {
                match self.mapping.find_after(self.next) {
                    Some(found) if found.sequence <= wanted => self.next = found,
                    // The damage is of what was asked for.
                    _ => return,
                }
            }
        }
    }

    /// Hands up to `limit` messages to `each`, or as many as have `size_max_bytes` together and one more. Does not wait.
    pub fn read(&mut self, limit: usize, size_max_bytes: usize, mut each: impl FnMut(u64, &[u8])) -> Walked {
        if let Some(found) = self.pending.take() {
            return found;
        }
        let (mut count, mut size_bytes) = (0, 0);
        while count < limit && size_bytes < size_max_bytes {
            match self.step() {
                Step::Message(sequence) => {
                    each(sequence, &self.copy);
                    count += 1;
                    size_bytes += self.copy.len();
                }
                Step::Nothing => break,
                Step::Found(found) if count == 0 => return found,
                Step::Found(found) => {
                    self.pending = Some(found);
                    break;
                }
            }
        }
        Walked::Messages(count)
    }

    fn step(&mut self) -> Step {
        if self.searching {
            let Some(found) = self.mapping.find_after(self.next) else {
                return if self.overtaken() { self.lose() } else { Step::Nothing };
            };
            (self.next, self.searching) = (found, false);
        }
        loop {
            let mapping = &self.mapping;
            if self.bounded && self.next.sequence > mapping.hot().watermarks.0.durable.load(Ordering::Acquire) {
                return Step::Nothing;
            }
            // Before the look: what it says is committed has to be found by the look.
            let published = mapping.hot().published.0.load().0;
            let copied = match mapping.look(self.next) {
                Look::Frame(frame) if frame.is_void() && frame.holds(mapping, &[]) => {
                    self.copy.clear();
                    Some((frame.end, true))
                }
                Look::Frame(frame) if frame.is_void() => None,
                Look::Frame(first) => mapping.copy_message(first, &mut self.copy).ok().map(|end| (end, false)),
                Look::Nothing if self.overtaken() => return self.lose(),
                Look::Nothing if mapping.info.mode == Mode::Spsc && self.next.sequence <= published => None,
                Look::Nothing => return Step::Nothing,
                Look::Bad(_) => None,
            };
            if self.overtaken() {
                return self.lose();
            }
            let sequence = self.next.sequence;
            match copied {
                Some((end, is_void)) => {
                    self.next = Place { sequence: sequence + 1, position: end };
                    if !is_void {
                        return Step::Message(sequence);
                    }
                    self.voids += 1;
                }
                // Behind the end: the producer fills it before anybody may read it.
                None if mapping.info.mode == Mode::Spsc && sequence > published => return Step::Nothing,
                None => return self.pass_damage(),
            }
        }
    }

    fn pass_damage(&mut self) -> Step {
        let (offset, what) = self.mapping.diagnose(self.next, &mut self.copy);
        let found = self.mapping.find_after(self.next);
        if self.overtaken() {
            return self.lose();
        }
        let sequence = self.next.sequence;
        match found {
            Some(found) => self.next = found,
            None => self.searching = true,
        }
        let lost = (self.next.sequence - sequence).max(1);
        Step::Found(Walked::Damage(Damage { sequence, lost, offset, what }))
    }

    fn lose(&mut self) -> Step {
        let oldest = self.mapping.oldest();
        let gap = Gap { first: self.next.sequence, count: oldest.sequence.saturating_sub(self.next.sequence) };
        (self.next, self.searching) = (oldest, false);
        Step::Found(Walked::Gap(gap))
    }

    fn overtaken(&self) -> bool {
        floor::has_passed::<AtomicU64>(|| self.mapping.oldest().position, self.next.position)
    }
}

impl Mapping {
    /// The next message that can be read, or will be when its claim is settled, after one that cannot. `None` when nothing
    /// tells where it starts.
    pub(crate) fn find_after(&self, damaged: Place) -> Option<Place> {
        let mut copy = Vec::new();
        let near = |place: Place, unit: u64| {
            place.sequence > damaged.sequence
                && place.sequence - damaged.sequence <= (place.position - damaged.position) / unit
        };
        let mut is_whole = |place: Place| match self.look(place) {
            Look::Frame(frame) if frame.is_void() => frame.holds(self, &[]),
            Look::Frame(first) => self.copy_message(first, &mut copy).is_ok_and(|end| {
                // Without a checksum anything may look like a frame; one that leads to the next is one.
                self.info.crc || {
                    let after = Place { sequence: place.sequence + 1, position: end };
                    matches!(self.look(after), Look::Frame(_)) || after == self.end()
                }
            }),
            _ => false,
        };
        match self.info.kind {
            RingKind::Slots { .. } => Some(Place { sequence: damaged.sequence + 1, position: damaged.position + 1 }),
            RingKind::Frames { .. } => {
                let end = self.end();
                let limit = end.position.min(damaged.position + self.mask + 1);
                let mut position = damaged.position + 8;
                while position < limit {
                    let left = self.mask + 1 - (position & self.mask);
                    if left < FRAME_SIZE_MIN_BYTES as u64 {
                        position += left;
                        continue;
                    }
                    let sequence = self.sequence_word((position & self.mask) as usize).load(Ordering::Acquire);
                    let place = Place { sequence, position };
                    if sequence < end.sequence && near(place, FRAME_SIZE_MIN_BYTES as u64) && is_whole(place) {
                        return Some(place);
                    }
                    position += 8;
                }
                (end.sequence > damaged.sequence).then_some(end)
            }
            RingKind::Runs { .. } => (1..=self.mask).map(|run| damaged.position + run).find_map(|position| {
                let word = self.sequence_word(self.slot_offset(position)).load(Ordering::Acquire);
                let claim = Claim::of(word);
                let sequence = claim.map_or(word, |claim| claim.sequence_from(damaged.sequence));
                let place = Place { sequence, position };
                (near(place, 1) && (claim.is_some() || is_whole(place))).then_some(place)
            }),
        }
    }

    /// Where a single producer says its messages end.
    fn end(&self) -> Place {
        let (published, position) = self.hot().published.0.load();
        self.bounded(published.wrapping_add(1), position)
    }

    /// The first byte of the file that keeps the message at `place` from being read, and what is wrong with it.
    pub(crate) fn diagnose(&self, place: Place, copy: &mut Vec<u8>) -> (u64, String) {
        let at = |offset: usize| (self.data_offset() + offset) as u64;
        let mut part = place;
        let mut size_bytes = 0;
        loop {
            let offset = match self.info.kind {
                RingKind::Frames { .. } => (self.frame_start(part.position) & self.mask) as usize,
                _ => self.slot_offset(part.position),
            };
            let (word, header) = (self.sequence_word(offset), self.header_word(offset));
            let (word, header) = (word.load(Ordering::Acquire), header.load(Ordering::Relaxed));
            let (length, flags) = (header as u32, header >> 32);
            let is_first = part == place;
            let frame = match self.look(part) {
                Look::Frame(frame) => frame,
                Look::Nothing => {
                    let what = format!("the sequence word is {word}, expected {}", place.sequence);
                    return (at(offset), what);
                }
                Look::Bad("sequence word") => {
                    let found = match Found::of(word, place.sequence) {
                        Found::Other if Claim::of(word).is_some() => format!("{word:#x}, a claim of another message"),
                        _ => word.to_string(),
                    };
                    return (at(offset), format!("the sequence word is {found}, expected {}", place.sequence));
                }
                Look::Bad(reason) => {
                    return (at(offset + 8), format!("{reason}: the header says {length} bytes, flags {flags:#x}"));
                }
            };
            if !frame.is_void() && frame.is_first() != is_first {
                let which = if is_first { "the first part is missing" } else { "a part is missing" };
                return (at(frame.offset + 12), format!("{which}: the flags here are {:#x}", flags & 0xff));
            }
            size_bytes += frame.payload_size;
            if size_bytes > self.message_max() {
                return (at(frame.offset + 8), format!("the parts have more than {} bytes", self.message_max()));
            }
            copy.clear();
            copy.resize(frame.payload_size, 0);
            self.copy_racing(frame.offset + HEADER_SIZE_BYTES, copy);
            if !frame.holds(self, copy) {
                let crc = frame.offset + crc_offset(frame.payload_size);
                let found = self.crc(crc);
                let computed = frame_checksum(frame.sequence, frame.header_word, copy);
                // Any of its bytes may be the changed one.
                let what = format!(
                    "the frame of {} bytes from here has the CRC {computed:#010x}, at byte {} stands {found:#010x}",
                    HEADER_SIZE_BYTES + frame.payload_size,
                    at(crc),
                );
                return (at(frame.offset), what);
            }
            if frame.is_last() {
                return (at(offset), "it was whole when it was looked at again".to_owned());
            }
            part = Place { sequence: place.sequence, position: frame.end };
        }
    }
}
