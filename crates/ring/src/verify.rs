//! Everything about a ring that can be checked by reading it: lines, cursors, every committed frame.
//!
//! The superblock was checked when the ring was opened. A ring in use changes under the check: what its producer
//! overwrites meanwhile is counted and is no fault, and a line that seems wrong is looked at again before it is told.

use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::RingError;
use crate::frame::{Look, Place};
use crate::layout::{self, ConsumerLines, HotLines};
use crate::mapping::Mapping;
use crate::options::{Mode, RingKind};
use crate::view::{Walked, Walker};

/// Problems that are kept; more are counted.
const PROBLEMS_MAX: usize = 1000;
/// Looks at a line before it is called wrong: its writer may be in the middle of changing it.
const LOOKS: usize = 20;

/// Something that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Of which message; `None` of a line.
    pub sequence: Option<u64>,
    /// First byte of the file that is wrong.
    pub offset: u64,
    /// Messages that cannot be read because of it.
    pub lost: u64,
    /// What stands there, and what should.
    pub what: String,
}

/// What a check has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// First sequence that was there.
    pub first: u64,
    /// Newest sequence that was looked at: about the newest when the check began.
    pub last: u64,
    /// Messages that are what was written.
    pub messages: u64,
    /// Sequences that were never committed.
    pub voids: u64,
    /// Messages that were overwritten before the check came to them.
    pub overwritten: u64,
    /// Payload bytes of `messages`.
    pub size_bytes: u64,
    /// In the order they were found: lines first, then messages. At most 1000.
    pub problems: Vec<Problem>,
    /// All of them.
    pub problem_count: u64,
}

/// A check in progress.
#[derive(Debug)]
pub struct Verifier {
    mapping: Arc<Mapping>,
    walker: Walker,
    /// Looks no further than this: its writers may be faster than the check.
    until: u64,
    found: Verification,
    done: bool,
}

impl Verifier {
    pub(crate) fn new(mapping: Arc<Mapping>) -> Self {
        let last = mapping.newest().sequence - 1;
        let walker = Walker::new(mapping.clone(), 0, false);
        let found = Verification { first: walker.next_sequence(), last, ..Verification::default() };
        // Many producers: where nobody says how far all is committed, damage would look like the end.
        let until = match mapping.info.mode {
            Mode::Spsc => last,
            Mode::Mpsc => last.max(found.first + mapping.mask),
        };
        let mut verifier = Self { mapping, walker, until, found, done: false };
        verifier.check_lines();
        verifier
    }

    /// What was found so far.
    pub fn found(&self) -> &Verification {
        &self.found
    }

    /// The sequence it looks at next.
    pub fn next_sequence(&self) -> u64 {
        self.walker.next_sequence()
    }

    /// As [`crate::RingView::check_size`].
    ///
    /// # Errors
    /// As there.
    pub fn check_size(&self) -> Result<(), RingError> {
        self.mapping.check_size()
    }

    /// Looks at up to `limit` messages; false when there are no more.
    pub fn step(&mut self, limit: usize) -> bool {
        let left = (self.until + 1).saturating_sub(self.walker.next_sequence());
        if self.done || left == 0 && !self.walker.has_found_more() {
            self.finish();
            return false;
        }
        let limit = limit.min(usize::try_from(left).unwrap_or(usize::MAX)).max(1);
        let mut size_bytes = 0;
        match self.walker.read(limit, usize::MAX, |_, payload| size_bytes += payload.len() as u64) {
            Walked::Messages(0) => self.finish(),
            Walked::Messages(count) => {
                self.found.messages += count as u64;
                self.found.size_bytes += size_bytes;
            }
            Walked::Gap(gap) => self.found.overwritten += gap.count,
            Walked::Damage(damage) => {
                self.tell(Some(damage.sequence), damage.lost, damage.offset, damage.what);
            }
        }
        self.found.voids = self.walker.voids();
        self.found.last = self.found.last.max(self.walker.next_sequence() - 1);
        !self.done
    }

    /// Whether what comes after the end is what comes after an end.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let end = self.walker.place();
        let mapping = self.mapping.clone();
        match (mapping.info.mode, mapping.look(end)) {
            (_, Look::Frame(_)) | (Mode::Spsc, Look::Nothing) => {}
            (Mode::Mpsc, Look::Nothing) if mapping.claim_at(end).is_some() => {}
            (Mode::Mpsc, Look::Nothing) => {
                // Places are taken in order, so nothing stands behind a free one.
                let behind = mapping.find_committed_after(end);
                let still_free = matches!(mapping.look(end), Look::Nothing) && mapping.claim_at(end).is_none();
                if let Some(behind) = behind.filter(|_| still_free && mapping.oldest().position <= end.position) {
                    let (offset, _) = mapping.diagnose(end, &mut Vec::new());
                    let what = format!(
                        "the sequence word is of an earlier lap, but message {} was committed behind it",
                        behind.sequence
                    );
                    self.tell(Some(end.sequence), behind.sequence - end.sequence, offset, what);
                }
            }
            (_, Look::Bad(_)) if mapping.oldest().position > end.position => {}
            (_, Look::Bad(_)) => {
                let (offset, what) = mapping.diagnose(end, &mut Vec::new());
                self.tell(Some(end.sequence), 0, offset, format!("behind the newest message: {what}"));
            }
        }
    }

    fn tell(&mut self, sequence: Option<u64>, lost: u64, offset: u64, what: String) {
        self.found.problem_count += 1;
        if self.found.problems.len() < PROBLEMS_MAX {
            self.found.problems.push(Problem { sequence, offset, lost, what });
        }
    }

    /// Tells what `check` finds wrong, if it still does after some looks.
    fn check(&mut self, offset: usize, check: impl Fn(&Mapping) -> Option<String>) {
        let mut found = None;
        for _ in 0..LOOKS {
            found = check(&self.mapping);
            if found.is_none() {
                return;
            }
            std::thread::yield_now();
        }
        if let Some(what) = found {
            self.tell(None, 0, offset as u64, what);
        }
    }

    fn check_lines(&mut self) {
        let hot = |of: usize| layout::HOT_OFFSET + of;
        let first = self.mapping.info.first_sequence;
        let capacity = self.mapping.mask + 1;
        let is_shared = self.mapping.info.mode == Mode::Mpsc;
        self.check(hot(offset_of!(HotLines, floor)), |mapping| {
            let (floor, position) = mapping.hot().floor.0.load();
            let newest = mapping.newest();
            let fits = floor >= first
                && floor <= newest.sequence
                && position <= newest.position
                && newest.position - position <= capacity;
            let is_slots = matches!(mapping.info.kind, RingKind::Slots { .. });
            (!fits || is_slots && floor != position).then(|| {
                format!(
                    "the floor is at message {floor}, position {position}: no place between {first} and {}",
                    newest.sequence
                )
            })
        });
        self.check(hot(offset_of!(HotLines, published)), |mapping| {
            let (published, position) = mapping.hot().published.0.load();
            let newest = mapping.newest();
            let fits = published >= first - 1 && published < newest.sequence && position <= newest.position;
            (!fits).then(|| {
                format!("{published} is published, position {position}; the newest is {}", newest.sequence - 1)
            })
        });
        self.check(hot(offset_of!(HotLines, watermarks)), |mapping| {
            let marks = &mapping.hot().watermarks.0;
            let (durable, replicated) =
                (marks.durable.load(Ordering::Acquire), marks.replicated.load(Ordering::Acquire));
            let newest = mapping.newest().sequence - 1;
            (durable > newest || replicated > newest)
                .then(|| format!("durable {durable}, replicated {replicated}: beyond the newest, {newest}"))
        });
        if is_shared {
            self.check(hot(offset_of!(HotLines, raiser)), |mapping| {
                let raiser = mapping.hot().raiser.0.load(Ordering::Acquire);
                (raiser > u64::from(mapping.info.producers_max))
                    .then(|| format!("the raiser is producer {}, of {}", raiser - 1, mapping.info.producers_max))
            });
            self.check(hot(offset_of!(HotLines, room)), |mapping| {
                // In the order they are raised, so that a raiser between the two is no fault.
                let room = mapping.hot().room.0.load(Ordering::Acquire);
                let floor = mapping.oldest().position;
                (room > floor + capacity)
                    .then(|| format!("room up to {room}, a lap above the floor is {}", floor + capacity))
            });
        }
        let lines = layout::consumers_offset(self.mapping.info.producers_max);
        for index in 0..self.mapping.consumers().len() {
            self.check_consumer(index, lines + index * size_of::<ConsumerLines>());
        }
    }

    fn check_consumer(&mut self, index: usize, line: usize) {
        let identity = line + offset_of!(ConsumerLines, identity);
        self.check(identity, move |mapping| {
            let words = &mapping.consumers()[index].identity.0;
            let (state, size) = (words.state.load(Ordering::Acquire), words.name_size.load(Ordering::Relaxed));
            if state > layout::CONSUMER_DETACHED {
                return Some(format!("the state of consumer line {index} is {state}"));
            }
            (size as usize > layout::CONSUMER_NAME_MAX)
                .then(|| format!("the name of consumer line {index} has {size} bytes"))
        });
        self.check(line + offset_of!(ConsumerLines, cursor), move |mapping| {
            let lines = &mapping.consumers()[index];
            let state = lines.identity.0.state.load(Ordering::Acquire);
            if state == layout::CONSUMER_FREE || state > layout::CONSUMER_DETACHED {
                return None;
            }
            let floor = mapping.oldest();
            let cursor = &lines.cursor.0;
            let (sequence, position) =
                (cursor.sequence.load(Ordering::Relaxed), cursor.position.load(Ordering::Acquire));
            let newest = mapping.newest();
            let who = || match lines.name() {
                name if name.is_empty() => format!("consumer line {index}"),
                name => format!("consumer {name}"),
            };
            if position > newest.position || sequence > newest.sequence {
                return Some(format!(
                    "the cursor of {} is at message {sequence}, position {position}; the end is {}, {}",
                    who(),
                    newest.sequence,
                    newest.position
                ));
            }
            // One that joins while the floor is moved may stand below it: nothing it has not read is overwritten.
            if state == layout::CONSUMER_GATING && position < floor.position && !mapping.is_message(position) {
                return Some(format!(
                    "{} is waited for, but what its cursor shows (message {sequence}, position {position}) was overwritten",
                    who(),
                ));
            }
            None
        });
    }
}

impl Mapping {
    /// A message that was committed although the place before it was not taken.
    fn find_committed_after(&self, free: Place) -> Option<Place> {
        match self.info.kind {
            RingKind::Slots { .. } => (1..=self.mask).map(|ahead| free.position + ahead).find_map(|position| {
                let place = Place { sequence: position, position };
                matches!(self.look(place), Look::Frame(frame) if self.is_whole_slot(&frame)).then_some(place)
            }),
            _ => self.find_after(free).filter(|place| self.claim_at(*place).is_none()),
        }
    }

    /// Whether a message stands at this position, whichever.
    fn is_message(&self, position: u64) -> bool {
        let offset = match self.info.kind {
            RingKind::Frames { .. } => (self.frame_start(position & !7) & self.mask) as usize,
            _ => self.slot_offset(position),
        };
        let sequence = self.sequence_word(offset).load(Ordering::Acquire);
        matches!(self.look(Place { sequence, position }), Look::Frame(frame) if frame.is_first())
    }

    fn is_whole_slot(&self, frame: &crate::frame::Frame) -> bool {
        let mut copy = vec![0; frame.payload_size];
        self.copy_racing(frame.offset + layout::HEADER_SIZE_BYTES, &mut copy);
        frame.holds(self, &copy)
    }
}
