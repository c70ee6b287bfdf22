//! A feed's state as the journal's recovery knows states: what a snapshot of a feed is taken of and loaded into.

use std::io;

use tidebook_feed::{FeedOptions, FeedState, RecordSink, state_number};
use tidebook_journal::snapshot::{Place, Rotation, SnapshotError, SnapshotFacts, SnapshotStore};
use tidebook_journal::{State, StateError};
use tidebook_types::{RawMessage, Venue};

/// The function of a feed's messages that snapshots keep.
///
/// Its hash is no running one: [`State::state_hash`] reads all books, some milliseconds for a thousand of them. It is asked
/// for when a snapshot is written or loaded, not for each message.
pub struct FeedHistory {
    kind: String,
    venue: Venue,
    state: FeedState,
}

/// Drops what follows from messages that are only caught up with.
struct Nowhere;

impl RecordSink for Nowhere {}

impl FeedHistory {
    /// A feed of which nothing was seen.
    pub fn new(venue: Venue) -> Self {
        Self::of(FeedState::new(venue, FeedOptions::of(venue)))
    }

    /// A feed of which this is known.
    pub fn of(state: FeedState) -> Self {
        let venue = state.engine().venue();
        Self { kind: Self::kind_of(venue), venue, state }
    }

    /// Kind of the states of a venue's feed: the name of its channel.
    pub fn kind_of(venue: Venue) -> String {
        format!("feed.{}", venue.name())
    }

    /// The state.
    pub const fn state(&self) -> &FeedState {
        &self.state
    }

    /// The state, to go on with.
    pub const fn state_mut(&mut self) -> &mut FeedState {
        &mut self.state
    }

    /// All of it as bytes, to be written while the state goes on.
    pub fn saved(&self) -> SavedFeed {
        let (hash, bytes) = (self.state.state_hash(), self.state.save());
        SavedFeed { kind: self.kind.clone(), venue: self.venue, sequence: self.state.sequence(), hash, bytes }
    }

    /// The state alone.
    pub fn into_state(self) -> FeedState {
        self.state
    }
}

impl State for FeedHistory {
    fn kind(&self) -> &str {
        &self.kind
    }

    /// Another in each build whose state has other fields, so that the header of a snapshot tells.
    fn version(&self) -> u32 {
        state_number()
    }

    /// The bytes say their version themselves: those of releases before are read, and others refused by that.
    fn reads(&self, _version: u32) -> bool {
        true
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        let message = RawMessage::parse(payload).map_err(|error| StateError::Message {
            kind: self.kind.clone(),
            sequence,
            reason: error.to_string(),
        })?;
        self.state.on_message(sequence, message, &mut Nowhere);
        Ok(())
    }

    fn state_hash(&self) -> u64 {
        self.state.state_hash()
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&self.state.save())
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.state = FeedState::load(self.venue, bytes).map_err(|error| StateError::Saved {
            kind: self.kind.clone(),
            offset: 0,
            reason: error.to_string(),
        })?;
        Ok(())
    }
}

/// The state of a feed after a message, as bytes: what is written, and what must come back.
pub struct SavedFeed {
    kind: String,
    venue: Venue,
    sequence: u64,
    hash: u64,
    bytes: Vec<u8>,
}

impl SavedFeed {
    /// Whose it is.
    pub const fn venue(&self) -> Venue {
        self.venue
    }

    /// The last message it has taken.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes a snapshot, loads it from the disk into a new state that must have this hash and give these bytes, and lets go
    /// what is older than the newest `keep` that can be used.
    ///
    /// # Errors
    /// As of [`SnapshotStore::write_proven`] and [`SnapshotStore::rotate_usable`]; what was there stays.
    pub fn write_to(
        &self,
        snapshots: &SnapshotStore,
        place: &Place,
        created_ns: i64,
        keep: usize,
    ) -> Result<(SnapshotFacts, Rotation), SnapshotError> {
        let facts = snapshots.write_proven(self, place, created_ns, |snapshot| {
            let mut again = FeedHistory::new(self.venue);
            snapshot.load_into(&mut again)?;
            if again.state.save() == self.bytes {
                return Ok(());
            }
            let (kind, reason) = (self.kind.clone(), "what was loaded is saved as other bytes; report this".to_owned());
            Err(StateError::Saved { kind, offset: 0, reason }.into())
        })?;
        let rotation = snapshots.rotate_usable(keep, |snapshot| {
            let ours = snapshot.facts.header.place.journal_id == place.journal_id;
            ours && snapshot.load_into(&mut FeedHistory::new(self.venue)).is_ok()
        })?;
        Ok((facts, rotation))
    }
}

impl State for SavedFeed {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn version(&self) -> u32 {
        state_number()
    }

    /// It has been written off: a message goes to the state it was taken of.
    fn apply(&mut self, sequence: u64, _payload: &[u8]) -> Result<(), StateError> {
        let reason = "bytes take no message".to_owned();
        Err(StateError::Message { kind: self.kind.clone(), sequence, reason })
    }

    fn state_hash(&self) -> u64 {
        self.hash
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&self.bytes)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut history = FeedHistory::new(self.venue);
        history.load(bytes)?;
        *self = history.saved();
        Ok(())
    }
}
