//! A ring of a few slots over words of any kind, and those who use it. What they do with words is done by the functions of
//! the crate; here is what lies between: payloads, locks and who stops where.
//!
//! A payload is two words that must belong together. A line's lock is a word: held by its owner, by a repairer, or free,
//! which the kernel makes it when the owner ends.

#![allow(dead_code, reason = "two test files use it, each a part")]

use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use tidebook_ring::Word;
use tidebook_ring::claims::{self, Claim, Found, Slots, Spot, Take};
use tidebook_ring::floor::{self, Line, Room};
use tidebook_ring::layout::{CONSUMER_GATING, CONSUMER_LOSSY, FRAME_FIRST, FRAME_LAST, FRAME_VOID};
use tidebook_ring::pair::PairCell;

/// A word that can be made.
pub trait Make<V> {
    fn make(value: V) -> Self;
}

const FREE: u64 = 0;
const OWNED: u64 = 1;
const REPAIRED: u64 = 2;

thread_local! {
    /// Who holds the lock of a dead one, where more than one could die over it.
    pub static WHO: Cell<u64> = const { Cell::new(0) };
}

pub struct Slot<W> {
    word: W,
    header: W,
    payload: [W; 2],
}

pub struct Cursor<W, S> {
    position: W,
    sequence: W,
    state: S,
}

pub struct Ring<W, S> {
    slots: Vec<Slot<W>>,
    pub floor: PairCell<W>,
    joins: W,
    room: W,
    raiser: W,
    tail: W,
    cursors: Vec<Cursor<W, S>>,
    locks: Vec<W>,
}

/// What the payload of a message says: which message of which producer.
pub fn value(producer: u8, number: u64) -> u64 {
    u64::from(producer) * 100 + number
}

/// What is known of a message that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub sequence: u64,
    pub value: u64,
}

pub struct Writer {
    pub line: u8,
    pub tail: Spot,
    pub limit: u64,
}

impl Writer {
    pub fn new(line: u8) -> Self {
        Self { line, tail: Spot { sequence: 1, position: 1 }, limit: 0 }
    }
}

pub struct Reader {
    pub cursor: usize,
    pub next: Spot,
    pub gating: bool,
}

/// What one attempt to read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    Message(Seen),
    Void,
    Nothing,
    Gap,
}

impl<W: Word + Make<u64> + Default, S: Word<u32> + Make<u32>> Ring<W, S> {
    pub fn new(capacity: u64, producers: u8, consumers: usize) -> Self {
        let ring = Self {
            slots: (0..capacity)
                .map(|_| Slot { word: W::make(0), header: W::make(0), payload: [W::make(0), W::make(0)] })
                .collect(),
            floor: PairCell::default(),
            joins: W::make(0),
            room: W::make(1 + capacity),
            raiser: W::make(0),
            tail: W::make(0),
            cursors: (0..consumers)
                .map(|_| Cursor { position: W::make(1), sequence: W::make(1), state: S::make(0) })
                .collect(),
            locks: (0..producers).map(|_| W::make(OWNED)).collect(),
        };
        ring.floor.store(1, 1);
        ring
    }

    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&self, position: u64) -> &Slot<W> {
        &self.slots[(position % self.capacity()) as usize]
    }

    pub fn oldest(&self) -> Spot {
        let (sequence, position) = self.floor.load();
        Spot { sequence, position }
    }

    fn line(&self, cursor: usize) -> Line<'_, W, S> {
        let Cursor { position, sequence, state } = &self.cursors[cursor];
        Line { position, sequence, state }
    }

    fn room(&self) -> Room<'_, W> {
        Room { room: &self.room, raiser: &self.raiser }
    }

    // --- producers

    /// Claims the next message of `run` slots, in a few attempts.
    pub fn claim(&self, writer: &mut Writer, run: u64, attempts: u32) -> Option<(Spot, Claim)> {
        for _ in 0..attempts {
            match claims::take(self, &mut writer.tail, writer.limit, writer.line, run) {
                Take::Claimed(spot, claim) => return Some((spot, claim)),
                Take::NoRoom => self.find_room(writer, writer.tail.position + run),
                Take::Beaten | Take::Lost => {}
            }
        }
        None
    }

    pub fn fill(&self, (spot, claim): (Spot, Claim), value: u64) {
        let run = claim.run();
        for index in 0..run {
            let slot = self.slot(spot.position + index);
            slot.payload[0].store(value, Relaxed);
            slot.payload[1].store(value, Relaxed);
            let flags = if index == 0 { FRAME_FIRST } else { 0 } | if index + 1 == run { FRAME_LAST } else { 0 };
            slot.header.store(u64::from(flags) << 32, Relaxed);
            if index > 0 {
                claims::follow(&slot.word, spot.sequence);
            }
        }
    }

    pub fn commit(&self, (spot, claim): (Spot, Claim)) {
        let word = self.word(spot.position);
        assert_eq!(word.load(Relaxed), claim.word(), "nobody voids the claim of one who lives");
        claims::publish(word, spot.sequence);
    }

    /// Writes a message and gives its sequence; `None` when there was no room or somebody else was always faster.
    pub fn write(&self, writer: &mut Writer, run: u64, value: u64, attempts: u32) -> Option<u64> {
        let claimed = self.claim(writer, run, attempts)?;
        self.fill(claimed, value);
        self.commit(claimed);
        Some(claimed.0.sequence)
    }

    /// What a producer does that finds no room, once.
    pub fn find_room(&self, writer: &mut Writer, end: u64) {
        let room = self.room();
        writer.limit = room.limit();
        if end <= writer.limit {
            return;
        }
        if let Err(raiser) = room.seize(u64::from(writer.line) + 1) {
            self.if_dead((raiser - 1) as usize, || {
                room.replace(raiser);
            });
            return;
        }
        let stuck = self.raise(end);
        room.step_back();
        if let Some((spot, claim)) = stuck {
            self.repair(spot, claim);
        }
        writer.limit = room.limit();
    }

    /// Raises floor and room; gives the claim that is in the way, if one is.
    fn raise(&self, end: u64) -> Option<(Spot, Claim)> {
        let needed = end.saturating_sub(self.capacity());
        let (raised, slowest) = floor::raise(&self.joins, &self.floor, || {
            let floor = self.oldest();
            let slowest = floor::slowest((0..self.cursors.len()).map(|cursor| self.line(cursor)), CONSUMER_GATING);
            let bound = slowest.map_or(u64::MAX, |(position, _)| position.max(floor.position));
            let mut raised = floor;
            while raised.position < needed.min(bound) {
                match self.message(raised) {
                    Some(run) if raised.position + run <= bound => raised = raised.after(run),
                    _ => break,
                }
            }
            ((raised.position > floor.position).then_some(raised), (raised, slowest))
        })?;
        self.room().allow(floor::limit(raised.position, slowest.map(|(position, _)| position), self.capacity()));
        match Found::at(self.word(raised.position), raised.sequence) {
            Found::Claimed(claim) => Some((raised, claim)),
            _ => None,
        }
    }

    /// As the one producer of mode spsc does it: the limit is its own.
    pub fn find_room_alone(&self, writer: &mut Writer, end: u64) {
        let needed = end.saturating_sub(self.capacity());
        let looked = floor::raise(&self.joins, &self.floor, || {
            let floor = self.oldest();
            let slowest = floor::slowest((0..self.cursors.len()).map(|cursor| self.line(cursor)), CONSUMER_GATING);
            let moves = needed > floor.position && slowest.is_none_or(|(position, _)| position >= needed);
            (moves.then_some(Spot { sequence: needed, position: needed }), slowest)
        });
        if let Some(slowest) = looked {
            let limit = floor::limit(self.oldest().position, slowest.map(|(position, _)| position), self.capacity());
            writer.limit = writer.limit.max(limit);
        }
    }

    /// Writes a message of one slot as the one producer does, if there is room.
    pub fn write_alone(&self, writer: &mut Writer, value: u64) -> Option<u64> {
        let spot = writer.tail;
        if spot.position + 1 > writer.limit {
            self.find_room_alone(writer, spot.position + 1);
            if spot.position + 1 > writer.limit {
                return None;
            }
        }
        let slot = self.slot(spot.position);
        slot.payload[0].store(value, Relaxed);
        slot.payload[1].store(value, Relaxed);
        slot.header.store(u64::from(FRAME_FIRST | FRAME_LAST) << 32, Relaxed);
        claims::publish(&slot.word, spot.sequence);
        writer.tail = spot.after(1);
        Some(spot.sequence)
    }

    /// Slots of the committed message here.
    fn message(&self, spot: Spot) -> Option<u64> {
        let first = self.slot(spot.position);
        if Found::at(&first.word, spot.sequence) != Found::Committed {
            return None;
        }
        let mut header = first.header.load(Relaxed);
        let flag = |header: u64, flag: u8| header >> 32 & u64::from(flag) != 0;
        if flag(header, FRAME_VOID) {
            return Some(u64::from(header as u32).clamp(1, self.capacity()));
        }
        if !flag(header, FRAME_FIRST) {
            return None;
        }
        let mut run = 1;
        while !flag(header, FRAME_LAST) {
            let slot = self.slot(spot.position + run);
            if run == self.capacity() || Found::at(&slot.word, spot.sequence) != Found::Committed {
                return None;
            }
            header = slot.header.load(Relaxed);
            if flag(header, FRAME_FIRST) {
                return None;
            }
            run += 1;
        }
        Some(run)
    }

    // --- death

    /// The kernel frees the lock of one that ends. All it has done is seen by whoever takes the lock then.
    pub fn bury(&self, line: u8) {
        self.locks[usize::from(line)].store(FREE, Release);
    }

    /// The kernel frees the locks that one held who dies over a repair.
    pub fn release_of(&self, who: u64) {
        for lock in &self.locks {
            let _ = lock.compare_exchange(REPAIRED + who, FREE, AcqRel, Relaxed);
        }
    }

    /// Where a consumer of this cursor that died is resumed, on the first lap.
    pub fn resume(&self, cursor: usize) -> Reader {
        let Cursor { position, sequence, .. } = &self.cursors[cursor];
        let position = position.load(Relaxed);
        // What stands at the position is what is true: it is written last.
        let sequence = match self.word(position).load(Relaxed) {
            0 => sequence.load(Relaxed),
            found => found,
        };
        self.join(cursor, true, Spot { sequence, position })
    }

    /// Takes the line of a dead one, as whoever opens it: only the new owner lets go of it.
    pub fn adopt(&self, line: u8) -> bool {
        let lock = &self.locks[usize::from(line)];
        if lock.compare_exchange(FREE, OWNED, AcqRel, Relaxed).is_err() {
            return false;
        }
        self.room().replace(u64::from(line) + 1);
        let mut at = self.oldest();
        loop {
            match Found::at(self.word(at.position), at.sequence) {
                Found::Claimed(claim) => {
                    if claim.producer() == line {
                        self.void(at, claim);
                    }
                    at = at.after(claim.run());
                }
                Found::Committed => match self.committed_run(at) {
                    Some(run) => at = at.after(run),
                    None => at = self.oldest(),
                },
                Found::Other if at.position < self.oldest().position => at = self.oldest(),
                Found::Free(_) | Found::Other => return true,
            }
        }
    }

    fn if_dead(&self, line: usize, work: impl FnOnce()) {
        let lock = &self.locks[line];
        if lock.compare_exchange(FREE, REPAIRED + WHO.get(), AcqRel, Relaxed).is_ok() {
            work();
            lock.store(FREE, Release);
        }
    }

    pub fn repair(&self, spot: Spot, claim: Claim) {
        self.if_dead(claim.producer().into(), || {
            if Found::at(self.word(spot.position), spot.sequence) == Found::Claimed(claim) {
                self.void(spot, claim);
            }
        });
    }

    fn void(&self, spot: Spot, claim: Claim) {
        let flags = u64::from(FRAME_VOID | FRAME_FIRST | FRAME_LAST);
        self.slot(spot.position).header.store(flags << 32 | claim.run(), Relaxed);
        assert!(claims::void(self.word(spot.position), claim, spot.sequence), "only one voids, and none commits");
    }

    // --- consumers

    pub fn join(&self, cursor: usize, gating: bool, next: Spot) -> Reader {
        let state = if gating { CONSUMER_GATING } else { CONSUMER_LOSSY };
        let next = self.line(cursor).join(state, &self.joins, || self.oldest(), None, next);
        Reader { cursor, next, gating }
    }

    /// One attempt to read the next message; `repairs`: a claim in the way is voided if its producer is dead.
    pub fn read(&self, reader: &mut Reader, repairs: bool) -> Read {
        let spot = reader.next;
        let passed = || !reader.gating && floor::has_passed::<W>(|| self.oldest().position, spot.position);
        match Found::at(self.word(spot.position), spot.sequence) {
            Found::Committed => {}
            _ if passed() => {
                reader.next = self.oldest();
                return Read::Gap;
            }
            Found::Claimed(claim) => {
                if repairs {
                    self.repair(spot, claim);
                }
                return Read::Nothing;
            }
            Found::Free(_) => {
                assert!(!claims::is_missing(self, &self.tail, spot), "taken for damage: {spot:?}");
                return Read::Nothing;
            }
            Found::Other => {
                panic!("{:?} at {spot:?} of one that cannot be overwritten", self.word(spot.position).load(Relaxed))
            }
        }
        let run = self.message(spot);
        let is_void = self.slot(spot.position).header.load(Relaxed) >> 32 & u64::from(FRAME_VOID) != 0;
        let words: Vec<u64> = (0..run.unwrap_or(0).min(self.capacity()))
            .flat_map(|index| self.slot(spot.position + index).payload.iter().map(|word| word.load(Relaxed)))
            .collect();
        if passed() {
            reader.next = self.oldest();
            return Read::Gap;
        }
        let run = run.unwrap_or_else(|| panic!("no whole message at {spot:?}"));
        reader.next = spot.after(run);
        if is_void {
            return Read::Void;
        }
        let value = words[0];
        assert!(words.iter().all(|word| *word == value), "torn at {spot:?}: {words:?}");
        Read::Message(Seen { sequence: spot.sequence, value })
    }

    /// Lets what was read be overwritten.
    pub fn advance(&self, reader: &Reader) {
        self.line(reader.cursor).advance(reader.next);
    }

    /// All that can be read, one after the other.
    pub fn drain(&self, reader: &mut Reader, seen: &mut Vec<Seen>) {
        // A claim that is in the way is voided by one attempt and passed by the next.
        let mut nothing = 0;
        while nothing < 2 {
            match self.read(reader, true) {
                Read::Message(message) => seen.push(message),
                Read::Nothing => nothing += 1,
                Read::Void | Read::Gap => nothing = 0,
            }
        }
        self.advance(reader);
    }
}

impl<W: Word + Make<u64> + Default, S: Word<u32> + Make<u32>> Slots for Ring<W, S> {
    type Word = W;

    fn word(&self, position: u64) -> &W {
        &self.slot(position).word
    }

    fn committed_run(&self, spot: Spot) -> Option<u64> {
        let run = self.message(spot)?;
        claims::is_unchanged(self.word(spot.position), spot.sequence).then_some(run)
    }

    fn near_end(&self) -> Spot {
        claims::near_end(&self.tail, |position| self.word(position), || self.oldest(), self.capacity(), false)
    }

    fn claimed(&self, position: u64) {
        claims::remember(&self.tail, position);
    }
}

/// Each sequence once, rising.
pub fn assert_order(seen: &[Seen]) {
    assert!(seen.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "{seen:?}");
}
