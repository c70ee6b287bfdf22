//! How many producers share the end of a ring: each claims the slot itself, in the slot's own sequence word.
//!
//! The word of a slot holds the sequence of an earlier lap (or 0) while it is free. A producer claims the message at the
//! end of the ring by turning that into a *claim* (who, how many slots, which sequence) with one compare-exchange, fills
//! the slots, and writes the sequence over the claim: that is the commit. Who finds a claim goes on to the
//! slot after it, so a claim costs nobody else a wait. Because the claim stands where everybody looks, there is no moment
//! in which a slot is taken and it cannot be seen by whom: a dead producer's claim names it, and whoever proves the death
//! turns the claim into an empty message.
//!
//! A word never holds the same value twice: sequences do not repeat within an epoch. So a compare-exchange that succeeds
//! has found the slot as it was when it was looked at, whatever happened in between.

use std::sync::atomic::Ordering;

use crate::word::Word;

const CLAIMED: u64 = 1 << 63;
const PRODUCER_SHIFT: u32 = 55;
const RUN_SHIFT: u32 = 40;
const SEQUENCE_MASK: u64 = (1 << RUN_SHIFT) - 1;
/// Slots of one message at most.
pub const RUN_MAX: u64 = (1 << (PRODUCER_SHIFT - RUN_SHIFT)) - 1;

/// A claim, as it stands in a slot's sequence word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim(u64);

impl Claim {
    /// The claim of the producer of this line on `run` slots for this sequence, of which it keeps the low 40 bits.
    pub fn new(producer: u8, run: u64, sequence: u64) -> Self {
        debug_assert!((1..=RUN_MAX).contains(&run), "run of {run} slots");
        Self(CLAIMED | u64::from(producer) << PRODUCER_SHIFT | run << RUN_SHIFT | sequence & SEQUENCE_MASK)
    }

    /// The claim in this word, if it holds one.
    #[inline]
    pub const fn of(word: u64) -> Option<Self> {
        if word & CLAIMED != 0 { Some(Self(word)) } else { None }
    }

    /// The word.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Line of the producer.
    pub const fn producer(self) -> u8 {
        (self.0 >> PRODUCER_SHIFT) as u8
    }

    /// Slots claimed. At least 1, whatever the word says.
    #[inline]
    pub const fn run(self) -> u64 {
        let run = self.0 >> RUN_SHIFT & RUN_MAX;
        if run == 0 { 1 } else { run }
    }

    /// Whether it is a claim of this sequence. Two sequences that agree in 40 bits are never in a ring together.
    #[inline]
    pub const fn is_of(self, sequence: u64) -> bool {
        self.0 & SEQUENCE_MASK == sequence & SEQUENCE_MASK
    }

    /// Its sequence, known to be at or after `from` and less than 2^40 after it.
    pub const fn sequence_from(self, from: u64) -> u64 {
        from + ((self.0 & SEQUENCE_MASK).wrapping_sub(from) & SEQUENCE_MASK)
    }
}

/// What a slot's sequence word says to who expects the message `sequence` to start there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nobody has claimed it; the value is what an earlier lap left.
    Free(u64),
    /// Somebody is filling it.
    Claimed(Claim),
    /// It is committed.
    Committed,
    /// It holds something else: the ring has moved on since `sequence` was expected here.
    Other,
}

impl Found {
    /// What this word in the ring is. When it is committed, all of the message is there.
    #[inline]
    pub fn at<W: Word>(word: &W, sequence: u64) -> Self {
        Self::of(word.load(Ordering::Acquire), sequence)
    }

    /// What this word is.
    #[inline]
    pub const fn of(word: u64, sequence: u64) -> Self {
        if word == sequence {
            return Self::Committed;
        }
        match Claim::of(word) {
            // No producer claims nothing: that is a committed word with one bit turned.
            Some(claim) if claim.is_of(sequence) && word & RUN_MAX << RUN_SHIFT != 0 => Self::Claimed(claim),
            Some(_) => Self::Other,
            None if word < sequence => Self::Free(word),
            None => Self::Other,
        }
    }
}

/// Claims a slot that was found free. Whoever lost finds out by looking again.
#[inline]
pub fn claim<W: Word>(word: &W, free: u64, claim: Claim) -> bool {
    // Acquire: what we write after it must not move before it, over a reader of the lap before. Relaxed on failure:
    // the caller looks again.
    word.compare_exchange(free, claim.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Turns a claim into an empty message, of which all else was written; false when it is none any more. Only by its owner,
/// or by who has the lock of its dead owner in hand.
#[inline]
pub fn void<W: Word>(word: &W, claim: Claim, sequence: u64) -> bool {
    debug_assert!(claim.is_of(sequence));
    word.compare_exchange(claim.0, sequence, Ordering::Release, Ordering::Relaxed).is_ok()
}

/// Commits a message. Nobody else writes its word: there is one producer, or it stands there as claimed by one who lives.
#[inline]
pub fn publish<W: Word>(word: &W, sequence: u64) {
    word.store(sequence, Ordering::Release);
}

/// Makes sure that nothing is taken for a message here, once the next [`publish`] is seen.
#[inline]
pub fn clear<W: Word>(word: &W) {
    word.store(0, Ordering::Relaxed);
}

/// Writes the word of a part that is not the first of its message, of which everything else was written.
#[inline]
pub fn follow<W: Word>(word: &W, sequence: u64) {
    word.store(sequence, Ordering::Relaxed);
    // Who walks over the message that stood here finds its end in several slots and then looks at its first word again:
    // that must have changed when anything behind it has.
    W::fence(Ordering::Release);
}

/// Whether a message that was committed is still there, so that what was read of all its parts is true.
#[inline]
pub fn is_unchanged<W: Word>(word: &W, sequence: u64) -> bool {
    W::fence(Ordering::Acquire);
    word.load(Ordering::Relaxed) == sequence
}

/// A message's place, as the producers of a ring count: its sequence and its first slot since the ring was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Its sequence.
    pub sequence: u64,
    /// Its first slot.
    pub position: u64,
}

impl Spot {
    /// The place after a message of `run` slots.
    #[inline]
    #[must_use]
    pub const fn after(self, run: u64) -> Self {
        Self { sequence: self.sequence + 1, position: self.position + run }
    }
}

/// The slots of a ring, as the walk to its end needs them.
pub trait Slots {
    /// A sequence word.
    type Word: Word;

    /// The sequence word of the slot at this position.
    fn word(&self, position: u64) -> &Self::Word;

    /// Slots of the committed message here; `None` when it is being overwritten, or what stands there is no message.
    fn committed_run(&self, spot: Spot) -> Option<u64>;

    /// A message near the end, or the oldest.
    fn near_end(&self) -> Spot;

    /// Remembers a message that was just claimed for [`Slots::near_end`].
    fn claimed(&self, position: u64);
}

/// A message near the end, or the oldest. `tail` is the hint, `word_at` gives the sequence word of a slot; `numbered`:
/// every message has one slot, so that its position is its sequence.
#[inline]
pub fn near_end<'r, W: Word + 'r>(
    tail: &W,
    word_at: impl FnOnce(u64) -> &'r W,
    oldest: impl FnOnce() -> Spot,
    capacity: u64,
    numbered: bool,
) -> Spot {
    let position = tail.load(Ordering::Acquire);
    let word = word_at(position).load(Ordering::Acquire);
    // After the word: if the message is still in the ring now, the word was its.
    let oldest = oldest();
    if position <= oldest.position || position - oldest.position >= capacity {
        return oldest;
    }
    let sequence = match Claim::of(word) {
        _ if numbered => position,
        Some(claim) => claim.sequence_from(oldest.sequence),
        None => word,
    };
    let near = sequence > oldest.sequence && sequence - oldest.sequence <= position - oldest.position;
    if near { Spot { sequence, position } } else { oldest }
}

/// Remembers a message that was just claimed, for [`near_end`].
#[inline]
pub fn remember<W: Word>(tail: &W, position: u64) {
    // Others may write an older one over it; it is a hint.
    if tail.load(Ordering::Relaxed) < position {
        tail.store(position, Ordering::Release);
    }
}

/// Whether the message at this place, or one behind it, was claimed, and yet its word says that nobody has claimed it.
pub fn is_missing<S: Slots>(slots: &S, tail: &S::Word, spot: Spot) -> bool {
    let end = slots.near_end();
    let is_there = || matches!(Found::at(slots.word(end.position), end.sequence), Found::Claimed(_) | Found::Committed);
    let claimed = end.position > spot.position && is_there() || tail.load(Ordering::Acquire) == spot.position;
    // Looked at last and once: by now it is claimed, committed or overwritten.
    claimed && matches!(Found::at(slots.word(spot.position), spot.sequence), Found::Free(_))
}

/// What the walk to the end came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// The slot here is free and held this value.
    End {
        /// Where the next message goes.
        spot: Spot,
        /// What its word held.
        free: u64,
    },
    /// Positions from here on may not be written yet.
    NoRoom(Spot),
    /// The ring has moved on by more than a lap: start again from a newer place.
    Lost,
}

/// Walks from a place where a message starts, or started when it was seen, to the end of the ring; not beyond `limit`,
/// the first position that may not be written.
#[inline]
pub fn walk<S: Slots>(slots: &S, mut spot: Spot, limit: u64) -> Walk {
    loop {
        if spot.position >= limit {
            return Walk::NoRoom(spot);
        }
        match Found::at(slots.word(spot.position), spot.sequence) {
            Found::Free(free) => return Walk::End { spot, free },
            Found::Claimed(claim) => spot = spot.after(claim.run()),
            Found::Committed => match slots.committed_run(spot) {
                Some(run) => spot = spot.after(run),
                None => return Walk::Lost,
            },
            Found::Other => return Walk::Lost,
        }
    }
}

/// What an attempt to claim the next message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It is ours.
    Claimed(Spot, Claim),
    /// Another producer was faster.
    Beaten,
    /// It would go beyond what may be written.
    NoRoom,
    /// Overtaken on the way.
    Lost,
}

/// Tries to claim the message at the end of the ring, of `run` slots, for the producer of this line. `tail` is a place at
/// or before the end, as last seen; it is moved to what was found.
#[inline]
pub fn take<S: Slots>(slots: &S, tail: &mut Spot, limit: u64, producer: u8, run: u64) -> Take {
    // Alone, the end is where this producer left it.
    let found = match Found::at(slots.word(tail.position), tail.sequence) {
        Found::Free(free) if tail.position < limit => Walk::End { spot: *tail, free },
        _ => {
            let near = slots.near_end();
            if near.position > tail.position {
                *tail = near;
            }
            walk(slots, *tail, limit)
        }
    };
    match found {
        Walk::End { spot, free } if spot.position + run <= limit => {
            *tail = spot;
            let own = Claim::new(producer, run, spot.sequence);
            if !claim(slots.word(spot.position), free, own) {
                return Take::Beaten;
            }
            *tail = spot.after(run);
            slots.claimed(spot.position);
            Take::Claimed(spot, own)
        }
        Walk::End { spot, .. } | Walk::NoRoom(spot) => {
            *tail = spot;
            Take::NoRoom
        }
        Walk::Lost => {
            *tail = slots.near_end();
            Take::Lost
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_keeps_who_how_many_and_which() {
        for (producer, run, sequence) in [(0, 1, 1), (254, RUN_MAX, (1 << 40) + 5), (7, 12, (1 << 40) - 1)] {
            let claim = Claim::new(producer, run, sequence);
            assert_eq!((claim.producer(), claim.run()), (producer, run));
            assert!(claim.is_of(sequence) && !claim.is_of(sequence + 1));
            for behind in [0, 1, 4096, (1 << 32) - 1] {
                let from = sequence.saturating_sub(behind).max(1);
                assert_eq!(claim.sequence_from(from), sequence, "from {from}");
            }
            assert_eq!(Claim::of(claim.word()), Some(claim));
        }
        assert_eq!(Claim::of((1 << 62) + 1), None, "a sequence is no claim");
    }

    #[test]
    fn a_word_is_free_claimed_committed_or_of_another_lap() {
        assert_eq!(Found::of(0, 9), Found::Free(0));
        assert_eq!(Found::of(1, 9), Found::Free(1));
        assert_eq!(Found::of(9, 9), Found::Committed);
        assert_eq!(Found::of(17, 9), Found::Other);
        let claim = Claim::new(3, 2, 9);
        assert_eq!(Found::of(claim.word(), 9), Found::Claimed(claim));
        assert_eq!(Found::of(claim.word(), 1), Found::Other);
        assert_eq!(Found::of(1 << 63 | 9, 9), Found::Other, "one bit makes no claim of a sequence");
    }
}
