//! What ends an engine.

use std::io;
use std::path::PathBuf;

use tidebook_journal::JournalError;
use tidebook_journal::snapshot::SnapshotError;
use tidebook_ring::RingError;
use tidebook_types::RawMessageError;

/// Why an engine could not start or go on. Malformed market data never does: it is counted and set aside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaneError {
    /// A ring failed.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A message of the feed that no connector of this version wrote.
    #[error("message {sequence} of feed.{venue}: {cause}; run the version that recorded it")]
    Payload {
        /// Whose feed.
        venue: &'static str,
        /// Its sequence.
        sequence: u64,
        /// Why it cannot be read.
        cause: RawMessageError,
    },
    /// Ring and journal of a feed are not one sequence.
    #[error(
        "feed.{venue} gave message {found} where {expected} comes next: its ring and its journal are not one sequence; \
         stop what writes the feed, remove its ring and start again"
    )]
    OutOfSequence {
        /// Whose feed.
        venue: &'static str,
        /// The sequence that comes next.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The journal of a feed failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The snapshots of a feed failed; one that only cannot be used is no failure.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Nothing to take a feed up with.
    #[error(
        "feed.{venue}: its journal begins at message {first} and no snapshot from there on can be used{}; put the older \
         segments, or snapshots that this release reads, back from a backup, start the release that wrote the snapshots, or \
         begin in a new data directory",
        because(refused)
    )]
    NoBeginning {
        /// Whose feed.
        venue: &'static str,
        /// First sequence of its journal.
        first: u64,
        /// Why each snapshot that is there cannot be used.
        refused: Vec<String>,
    },
    /// The channels have to be made anew, but a process that lives has one open.
    #[error("{ring} must be made anew ({reason}) but {who} has it open; stop it first")]
    InUse {
        /// The ring.
        ring: PathBuf,
        /// Why it cannot stay.
        reason: String,
        /// Which endpoint, of which process.
        who: String,
    },
    /// The table of what is published failed.
    #[error("{action} {path}: {source}")]
    Positions {
        /// What was tried.
        action: &'static str,
        /// The table.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No feed, or one venue twice.
    #[error("an engine needs one or more feeds, each of another venue: {found}")]
    Feeds {
        /// What was asked for.
        found: String,
    },
    /// The kernel does not take the profile.
    #[error("the engine cannot be confined: {reason}; switch engine.seccomp off, or use a kernel with seccomp")]
    Confinement {
        /// What it said.
        reason: String,
    },
    /// A mistake of ours.
    #[error("the engine's thread panicked: {said}")]
    Panicked {
        /// What the panic said.
        said: String,
    },
}

/// ` (reason; reason)`, or nothing.
fn because(refused: &[String]) -> String {
    if refused.is_empty() { String::new() } else { format!(" ({})", refused.join("; ")) }
}
