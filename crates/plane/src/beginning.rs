//! Where a feed is taken up: behind its newest snapshot that can be used, or at its first message.
//!
//! A snapshot saves time and decides nothing. One that is damaged, of another build or of another journal is told and passed
//! over for the next older one; without any the feed is derived from its first message again. Only where the journal's
//! beginning is gone too there is nothing to begin with, and that is an error that says what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidebook_feed::{FeedOptions, FeedState};
use tidebook_journal::snapshot::{SnapshotError, SnapshotStore, check_place};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{JournalError, JournalReader, ReaderOptions, State};
use tidebook_types::Venue;

use crate::error::PlaneError;
use crate::feed_history::FeedHistory;

/// Where the snapshots of a feed are kept among all snapshots of a data directory.
pub fn snapshots_path(snapshots_dir: &Path, venue: Venue) -> PathBuf {
    let kind = FeedHistory::kind_of(venue);
    snapshots_dir.join(&kind).join(&kind)
}

/// How a feed is taken up.
pub struct Beginning {
    /// What was loaded: the state after its [`FeedState::sequence`]; the one before the first message without a snapshot.
    pub state: FeedState,
    /// Snapshots that could not be used, newest first, each with the reason.
    pub refused: Vec<String>,
}

impl Beginning {
    /// The state of the feed of `venue` at the newest usable snapshot up to `sequence_max`.
    ///
    /// `snapshots_dir` holds the snapshots of all feeds; `None` where none are kept.
    ///
    /// # Errors
    /// [`PlaneError::NoBeginning`] when none can be used and the journal does not begin with the first message; what
    /// reading the journal returned.
    pub fn find(
        venue: Venue,
        journal_dir: &Path,
        snapshots_dir: Option<&Path>,
        sequence_max: u64,
    ) -> Result<Self, PlaneError> {
        let mut refused = Vec::new();
        if let Some(snapshots_dir) = snapshots_dir {
            let journal: Arc<dyn Storage> = Arc::new(Directory::new(journal_dir));
            let snapshots = SnapshotStore::open(&snapshots_path(snapshots_dir, venue), &FeedHistory::kind_of(venue))?;
            let listed = snapshots.list().unwrap_or_else(|error| {
                refused.push(error.to_string());
                Vec::new()
            });
            for sequence in listed.into_iter().rev().filter(|&sequence| sequence <= sequence_max) {
                match load(venue, &journal, &snapshots, sequence) {
                    Ok(state) => return Ok(Self { state, refused }),
                    Err(error) => refused.push(error.to_string()),
                }
            }
        }
        let first = first_sequence(journal_dir)?;
        if first > 1 {
            return Err(PlaneError::NoBeginning { venue: venue.name(), first, refused });
        }
        Ok(Self { state: FeedState::new(venue, FeedOptions::of(venue)), refused })
    }
}

/// First sequence that a feed can be taken up behind: 0 when the journal has its beginning, else the oldest snapshot's that
/// reaches what the journal has; `None` when there is none.
pub(crate) fn earliest(
    venue: Venue,
    journal_dir: &Path,
    snapshots_dir: Option<&Path>,
) -> Result<Option<u64>, PlaneError> {
    let first = first_sequence(journal_dir)?;
    if first <= 1 {
        return Ok(Some(0));
    }
    let Some(snapshots_dir) = snapshots_dir else { return Ok(None) };
    let snapshots = SnapshotStore::open(&snapshots_path(snapshots_dir, venue), &FeedHistory::kind_of(venue))?;
    // One that cannot be listed cannot be used either, which is told where it would be.
    Ok(snapshots.list().unwrap_or_default().into_iter().find(|&sequence| sequence + 1 >= first))
}

fn load(
    venue: Venue,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    sequence: u64,
) -> Result<FeedState, SnapshotError> {
    let snapshot = snapshots.load(sequence)?;
    check_place(journal, &snapshot.facts)?;
    let mut history = FeedHistory::new(venue);
    let header = &snapshot.facts.header;
    if header.state_version != history.version() {
        return Err(SnapshotError::StateVersion {
            path: snapshot.facts.path.clone(),
            kind: header.kind.clone(),
            expected: history.version(),
            found: header.state_version,
        });
    }
    snapshot.load_into(&mut history)?;
    Ok(history.into_state())
}

/// First sequence that the journal holds; 1 when there is none yet.
fn first_sequence(journal_dir: &Path) -> Result<u64, PlaneError> {
    match JournalReader::open(journal_dir, ReaderOptions::default()) {
        Ok(reader) => Ok(reader.next_sequence()),
        Err(JournalError::Absent { .. }) => Ok(1),
        Err(error) => Err(error.into()),
    }
}
