//! A feed's state as the journal's recovery knows states: what a snapshot of a feed is taken of and loaded into.

use std::io;

use tidebook_feed::{FeedOptions, FeedState, RecordSink, STATE_VERSION};
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

    /// The state alone.
    pub fn into_state(self) -> FeedState {
        self.state
    }
}

impl State for FeedHistory {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn version(&self) -> u32 {
        STATE_VERSION
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
