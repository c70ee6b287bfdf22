//! Where a feed is taken up: behind its newest snapshot that can be used, or at its first message.
//!
//! While the journal has its first message a snapshot saves time and decides nothing: one that is damaged or of another build
//! is told and passed over for the next older one, and without any the feed is derived from its first message again. Once a
//! journal begins behind it, a snapshot is all there is of what came before, and without one that can be used there is nothing to
//! begin with: an error that says what to do. One that is whole and contradicts the journal ends the start by the rule of
//! [`tidebook_journal::snapshot::recover`]. What may be removed is asked of the same rule, [`usable_snapshots`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidebook_feed::{FeedOptions, FeedState};
use tidebook_journal::snapshot::{self, Refused, SnapshotFacts, SnapshotStore, load_usable, newest_usable};
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
    /// [`PlaneError::NoBeginning`] when none can be used and the journal does not begin with the first message; a snapshot
    /// that contradicts the journal; what reading the journal returned.
    pub fn find(
        venue: Venue,
        journal_dir: &Path,
        snapshots_dir: Option<&Path>,
        sequence_max: u64,
    ) -> Result<Self, PlaneError> {
        let mut refused = Vec::new();
        let mut ahead = None;
        if let Some(snapshots_dir) = snapshots_dir {
            let (journal, snapshots) = places(venue, journal_dir, snapshots_dir)?;
            ahead = snapshots.list()?.into_iter().find(|&sequence| sequence > sequence_max);
            let (newest, unusable) = newest_usable(|| FeedHistory::new(venue), &journal, &snapshots, sequence_max)?;
            refused = said(&unusable);
            if let Some((_, history)) = newest {
                return Ok(Self { state: history.into_state(), refused });
            }
        }
        let first = first_sequence(journal_dir)?;
        if first > 1 {
            // Else the snapshots that are there would be asked for.
            refused.extend(ahead.map(|sequence| {
                format!(
                    "the snapshot at {sequence} is ahead of message {sequence_max}, to which rows are stored or records told: where \
                     the store's manifest is missing or an older one, put that back"
                )
            }));
            return Err(PlaneError::NoBeginning { venue: venue.name(), first, refused });
        }
        Ok(Self { state: FeedState::new(venue, FeedOptions::of(venue)), refused })
    }
}

/// Sequences, rising, of the newest `count` snapshots up to `sequence_max` that [`Beginning::find`] could begin behind, and why
/// newer ones are not among them. What may be removed on the strength of snapshots is decided by this and nothing less.
///
/// # Errors
/// As [`Beginning::find`], but for a beginning that is not there: then there are none.
pub fn usable_snapshots(
    venue: Venue,
    journal_dir: &Path,
    snapshots_dir: &Path,
    sequence_max: u64,
    count: usize,
) -> Result<(Vec<u64>, Vec<String>), PlaneError> {
    let (journal, snapshots) = places(venue, journal_dir, snapshots_dir)?;
    let make = || FeedHistory::new(venue);
    let (found, refused) = snapshot::usable_snapshots(make, &journal, &snapshots, sequence_max, count)?;
    Ok((found.iter().rev().map(SnapshotFacts::sequence).collect(), said(&refused)))
}

/// First sequence that a feed can be taken up behind: 0 when the journal has its beginning, else that of the oldest snapshot
/// that can be used; `None` when there is none.
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
    let (journal, snapshots) = places(venue, journal_dir, snapshots_dir)?;
    earliest_usable(|| FeedHistory::new(venue), &journal, &snapshots, first)
}

/// The oldest snapshot that can be used of a journal that begins with `first`.
pub(crate) fn earliest_usable<S: State>(
    make: impl Fn() -> S,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    first: u64,
) -> Result<Option<u64>, PlaneError> {
    for sequence in snapshots.list()?.into_iter().filter(|&sequence| sequence + 1 >= first) {
        if load_usable(&make, journal, snapshots, sequence)?.is_ok() {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

fn places(
    venue: Venue,
    journal_dir: &Path,
    snapshots_dir: &Path,
) -> Result<(Arc<dyn Storage>, SnapshotStore), PlaneError> {
    let snapshots = SnapshotStore::open(&snapshots_path(snapshots_dir, venue), &FeedHistory::kind_of(venue))?;
    Ok((Arc::new(Directory::new(journal_dir)), snapshots))
}

pub(crate) fn said(refused: &[Refused]) -> Vec<String> {
    refused.iter().map(|refused| refused.reason.to_string()).collect()
}

/// First sequence that the journal holds; 1 when there is none yet.
pub(crate) fn first_sequence(journal_dir: &Path) -> Result<u64, PlaneError> {
    match JournalReader::open(journal_dir, ReaderOptions::default()) {
        Ok(reader) => Ok(reader.next_sequence()),
        Err(JournalError::Absent { .. }) => Ok(1),
        Err(error) => Err(error.into()),
    }
}
