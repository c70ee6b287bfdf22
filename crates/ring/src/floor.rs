//! How far a ring may be written: what its writers, its readers and those who join agree on, word by word.
//!
//! The floor is the oldest message that is still whole. Who raises it looks at every consumer that is waited for before,
//! and after it at whether somebody joined meanwhile; who joins writes his place first and looks at the floor then. Both
//! have a full fence between the two, so at least one of them sees the other. A joiner that saw the floor before it was
//! raised may end up below it: so what may be written is bounded by the slowest place *and* the floor, a lap above both.

use std::sync::atomic::Ordering;

use crate::claims::Spot;
use crate::pair::PairCell;
use crate::word::Word;

/// How often a raiser looks again because somebody joined, and one who joins because the floor has moved. Both take their
/// time, so honest ones never make each other look so often.
const LOOKS_MAX: u32 = 100;

/// A consumer's words that others look at.
#[derive(Debug)]
pub struct Line<'r, W, S> {
    /// See [`crate::layout::ConsumerCursor::position`].
    pub position: &'r W,
    /// See [`crate::layout::ConsumerCursor::sequence`].
    pub sequence: &'r W,
    /// See [`crate::layout::ConsumerIdentity::state`].
    pub state: &'r S,
}

impl<W: Word, S: Word<u32>> Line<'_, W, S> {
    /// Moves the cursor: all before it may be overwritten.
    #[inline]
    pub fn advance(&self, to: Spot) {
        // In this order: a sequence below the one at the position means that a gap in between was not told yet. One above
        // it is of messages that were consumed while their place was kept, which this is too if we die in between.
        self.sequence.store(to.sequence, Ordering::Relaxed);
        self.position.store(to.position, Ordering::Release);
    }

    /// Becomes a consumer of this state at `next`, or at the oldest message if that is not there any more, and gives the
    /// place. `wanted`: the sequence it must not miss, kept in the cursor.
    pub fn join(&self, state: u32, joins: &W, oldest: impl Fn() -> Spot, wanted: Option<u64>, mut next: Spot) -> Spot {
        for _ in 0..LOOKS_MAX {
            self.advance(Spot { sequence: wanted.unwrap_or(next.sequence), ..next });
            self.state.store(state, Ordering::Release);
            joins.fetch_add(1, Ordering::SeqCst);
            W::fence(Ordering::SeqCst);
            let oldest = oldest();
            if next.position >= oldest.position {
                return next;
            }
            next = oldest;
        }
        // Whoever moves the floor so often waits for nobody; what was overwritten is found by reading it.
        next
    }
}

/// Where the slowest consumer of state `gating` stands, and which of `lines` it is.
pub fn slowest<'r, W: Word + 'r, S: Word<u32> + 'r>(
    lines: impl Iterator<Item = Line<'r, W, S>>,
    gating: u32,
) -> Option<(u64, usize)> {
    lines
        .enumerate()
        .filter(|(_, line)| line.state.load(Ordering::Acquire) == gating)
        .map(|(index, line)| (line.position.load(Ordering::Acquire), index))
        .min()
}

/// Moves the floor. `look` examines the consumers and says where it may go, if anywhere, and whatever else the caller wants
/// of its last look. One process raises at a time. `None` when somebody joined during each of many looks.
pub fn raise<W: Word, T>(joins: &W, floor: &PairCell<W>, mut look: impl FnMut() -> (Option<Spot>, T)) -> Option<T> {
    for _ in 0..LOOKS_MAX {
        let before = joins.load(Ordering::SeqCst);
        let (to, found) = look();
        if let Some(to) = to {
            floor.store(to.sequence, to.position);
        }
        // A consumer that joined meanwhile either saw this floor, or is seen by another look: its cursor and our
        // floor are both written before either side reads the other's. It also keeps what is written below the new
        // limit from being seen before the floor is.
        W::fence(Ordering::SeqCst);
        if joins.load(Ordering::SeqCst) == before {
            return Some(found);
        }
    }
    None
}

/// The first position that may not be written when the floor and the slowest consumer stand there.
pub fn limit(floor: u64, slowest: Option<u64>, capacity: u64) -> u64 {
    slowest.map_or(floor, |slowest| slowest.min(floor)).saturating_add(capacity)
}

/// Whether the floor has passed a message. If not, all that was read of it before this call is what was committed.
#[inline]
pub fn has_passed<W: Word>(oldest: impl FnOnce() -> u64, position: u64) -> bool {
    W::fence(Ordering::Acquire);
    oldest() > position
}

/// The limit that many producers share.
#[derive(Debug)]
pub struct Room<'r, W> {
    /// See [`crate::layout::HotLines::room`].
    pub room: &'r W,
    /// See [`crate::layout::HotLines::raiser`].
    pub raiser: &'r W,
}

impl<W: Word> Room<'_, W> {
    /// The first position that may not be written.
    pub fn limit(&self) -> u64 {
        let limit = self.room.load(Ordering::Acquire);
        // What we write below it must not be seen before the floor that allowed it: lossy readers look at the floor after
        // the message, and the word of a slot need not be among what they read anew.
        W::fence(Ordering::Release);
        limit
    }

    /// Becomes the raiser.
    ///
    /// # Errors
    /// Who is it already.
    pub fn seize(&self, own: u64) -> Result<(), u64> {
        self.raiser.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }

    /// Allows more; it never goes back. Of the raiser alone.
    pub fn allow(&self, limit: u64) -> u64 {
        let before = self.room.load(Ordering::Relaxed);
        if limit > before {
            self.room.store(limit, Ordering::Release);
        }
        limit.max(before)
    }

    /// Ends being the raiser.
    pub fn step_back(&self) {
        self.raiser.store(0, Ordering::Release);
    }

    /// Ends it for a dead one; false when somebody else did.
    pub fn replace(&self, dead: u64) -> bool {
        self.raiser.compare_exchange(dead, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}
