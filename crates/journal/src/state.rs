//! What recovery rebuilds: a state that is a function of a journal's messages.
//!
//! A [`State`] takes messages one by one, can be saved whole and loaded again, and has a hash by which two of them are
//! compared. It never sees a file, a clock or a position: the snapshot store keeps where its bytes belong, so that one
//! state serves a live engine, a follower, recovery and a drill alike. The cost is that a state has to be able to write
//! all of itself; what it leaves out, a restart forgets.

use std::io;

/// A function of the messages applied so far.
///
/// The promise: the same messages in the same order give the same [`Self::state_hash`], on every machine, and a state
/// that was loaded from what another saved goes on exactly as that one would have.
pub trait State: Send {
    /// What kind of state this is, such as `feed.binance.spot`: names its directory of snapshots. 1 to 255 bytes of
    /// `a-z 0-9 . _ -`.
    fn kind(&self) -> &str;

    /// Another with each change of what [`Self::save`] writes.
    fn version(&self) -> u32;

    /// Whether [`Self::load`] is given bytes of this version. A snapshot of another is refused by name, and recovery goes on
    /// with the history.
    fn reads(&self, version: u32) -> bool {
        version == self.version()
    }

    /// Takes message `sequence`. Called for each message in order, without a hole.
    ///
    /// A message that the state's rules refuse (an order over its limit) is no error: refusing it is what the state
    /// does with it.
    ///
    /// # Errors
    /// [`StateError::Message`] when the payload is no message of this state: the journal is another's, or its writer
    /// was faulty. The state is not used after it.
    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError>;

    /// A hash of everything that may change what later messages do. Cheap: kept up to date by [`Self::apply`].
    fn state_hash(&self) -> u64;

    /// The same hash, computed anew from the whole state by another way than [`Self::apply`] keeps it; `None` if the
    /// state has no second way. The two are compared before a snapshot is written.
    fn recomputed_state_hash(&self) -> Option<u64> {
        None
    }

    /// Both hashes, for a state whose code is not ours and may fail to give one: snapshots and recovery ask this alone.
    ///
    /// # Errors
    /// [`StateError::Hash`] when there is none. It is no hash like another: two that failed would be the same.
    fn hashes(&self) -> Result<Hashes, StateError> {
        Ok(Hashes { kept: self.state_hash(), recomputed: self.recomputed_state_hash() })
    }

    /// Writes all of itself, the same bytes for the same state.
    ///
    /// # Errors
    /// What `out` returned, as it is.
    fn save(&self, out: &mut dyn io::Write) -> io::Result<()>;

    /// Becomes the state whose [`Self::save`] wrote `bytes`, which lie at a multiple of 4096 in memory. Called on a new
    /// state only, and only with bytes of its own kind and of a version that it reads, whose checksum is right; still it must
    /// neither panic nor take more memory than `bytes` justify. From bytes of another version than its own it becomes the
    /// state that goes on as the one that was saved; its hash may be another.
    ///
    /// # Errors
    /// [`StateError::Saved`] when the bytes are no saved state. The state is not used after it.
    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError>;
}

/// The hash of a state, by each way it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// [`State::state_hash`].
    pub kept: u64,
    /// [`State::recomputed_state_hash`].
    pub recomputed: Option<u64>,
}

/// Why a state cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A payload that is no message of this state.
    #[error("state {kind}: message {sequence} is none of this state's: {reason}")]
    Message {
        /// The state's kind.
        kind: String,
        /// Which message.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A state that cannot say what its hash is.
    #[error("state {kind}: it gives no hash: {reason}")]
    Hash {
        /// The state's kind.
        kind: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that are no saved state.
    #[error("state {kind} cannot be loaded from what was saved: {reason} (at byte {offset})")]
    Saved {
        /// The state's kind.
        kind: String,
        /// First byte of the content that cannot be.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
}
