//! What can go wrong with snapshots, as facts.

use std::path::{Path, PathBuf};

use super::frame::SnapshotFault;
use crate::error::JournalError;
use crate::state::StateError;

/// Why a snapshot could not be written or used, or a state not be recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The lower cause.
        source: std::io::Error,
    },
    /// No space left; the snapshots before are as they were.
    #[error("{path}: no space left for the snapshot ({source}); those before it are kept, free space")]
    Full {
        /// The file that could not be written.
        path: PathBuf,
        /// The lower cause.
        source: std::io::Error,
    },
    /// Not what was written.
    #[error(
        "{path}: snapshot damaged, {fault}; recovery uses an older one, put this one back from a copy or remove it"
    )]
    Damaged {
        /// The snapshot.
        path: PathBuf,
        /// What shows it.
        fault: SnapshotFault,
    },
    /// Written by another version.
    #[error("{path}: snapshot format version {found}, this build reads {supported}; use the release that wrote it")]
    Version {
        /// The snapshot.
        path: PathBuf,
        /// Version in its header.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// Of another kind of state.
    #[error("{path}: snapshot of state {found:?}, not of {expected:?}")]
    Kind {
        /// The snapshot.
        path: PathBuf,
        /// Kind asked for.
        expected: String,
        /// Kind in its header.
        found: String,
    },
    /// Of another version of the state.
    #[error(
        "{path}: state {kind} of version {found}, this build has {expected}; an older snapshot or the history is used"
    )]
    StateVersion {
        /// The snapshot.
        path: PathBuf,
        /// The state's kind.
        kind: String,
        /// Version this build has.
        expected: u32,
        /// Version in its header.
        found: u32,
    },
    /// The state that was loaded is not the one that was saved.
    #[error("{path}: the state loaded has hash {found:016x}, the one saved had {expected:016x}")]
    StateHash {
        /// The snapshot.
        path: PathBuf,
        /// Hash in the footer.
        expected: u64,
        /// Hash of the loaded state.
        found: u64,
    },
    /// The state keeps a hash that is not the one of what it holds.
    #[error(
        "state {kind} at sequence {sequence} keeps hash {kept:016x}, computed anew it is {recomputed:016x}; no \
             snapshot is taken of it, report this"
    )]
    Diverged {
        /// The state's kind.
        kind: String,
        /// Last message applied.
        sequence: u64,
        /// [`crate::State::state_hash`].
        kept: u64,
        /// [`crate::State::recomputed_state_hash`].
        recomputed: u64,
    },
    /// Another process writes snapshots here.
    #[error("{path}: another process writes snapshots here; stop it or choose another directory")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// No snapshot of that sequence.
    #[error("{path}: no such snapshot")]
    Absent {
        /// Where it would be.
        path: PathBuf,
    },
    /// The journal ends before messages that a snapshot proves to have been durable.
    #[error(
        "{path}: taken at sequence {sequence} of this journal, which ends at {last}: messages {} to {sequence} were \
         durable and are missing; put the journal back from a copy, or move the snapshot away to go on without them",
        .last + 1
    )]
    Ahead {
        /// The snapshot.
        path: PathBuf,
        /// Its sequence.
        sequence: u64,
        /// Last sequence of the journal.
        last: u64,
    },
    /// The journal holds other messages up to the snapshot's sequence than those it was taken of.
    #[error(
        "{path}: taken behind batch {batch_number} with chain {expected:08x} at sequence {sequence}; the journal has \
         {found} there: it is not the history the snapshot was taken of. Put the right journal back, or move the \
         snapshot away to go on with this one"
    )]
    OtherHistory {
        /// The snapshot.
        path: PathBuf,
        /// Its sequence.
        sequence: u64,
        /// Its batch.
        batch_number: u64,
        /// Chain of its header.
        expected: u32,
        /// What the journal has there.
        found: String,
    },
    /// Taken of another journal.
    #[error(
        "{path}: taken of journal {expected:016x} of channel {expected_channel:?}, this is {found:016x} of \
         {found_channel:?}; put that journal back, or move the snapshot away to go on with this one"
    )]
    OtherJournal {
        /// The snapshot.
        path: PathBuf,
        /// Journal in its header.
        expected: u64,
        /// Channel in its header.
        expected_channel: String,
        /// The journal given.
        found: u64,
        /// Its channel.
        found_channel: String,
    },
    /// The journal no longer reaches back to the snapshot.
    #[error(
        "{path}: taken at sequence {sequence}, the journal begins at {first}: what shows that they belong together, or \
         what follows the snapshot, is gone"
    )]
    Behind {
        /// The snapshot.
        path: PathBuf,
        /// Its sequence.
        sequence: u64,
        /// First sequence the journal holds.
        first: u64,
    },
    /// No snapshot can be used, and the journal does not begin with the first message.
    #[error(
        "{path}: no snapshot can be used ({refused} refused) and the journal begins at sequence {first}, behind messages \
         that were compacted away; put a snapshot of sequence {first} or later, or those segments, back from a copy"
    )]
    NoStart {
        /// Directory of the snapshots.
        path: PathBuf,
        /// Snapshots that were refused.
        refused: usize,
        /// First sequence the journal holds.
        first: u64,
    },
    /// Who asked for the recovery wants no more of it.
    #[error("recovery was ended at sequence {sequence}; nothing was changed, it begins anew next time")]
    Interrupted {
        /// Last message applied.
        sequence: u64,
    },
    /// The state could not take a message or its saved bytes.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A follower could not take the snapshot; it has told why.
    #[error("no snapshot was taken: {cause}")]
    Failed {
        /// The failure.
        cause: String,
    },
    /// The follower has ended.
    #[error("the follower has ended: {cause}; no more snapshots are taken")]
    Ended {
        /// Why.
        cause: String,
    },
    /// The thread met a mistake of ours.
    #[error("the follower's thread panicked: {said}; no more snapshots are taken")]
    Panicked {
        /// What the panic said.
        said: String,
    },
    /// An option that makes no store.
    #[error("snapshot option {option} = {value}: {rule}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Value given.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
}

impl SnapshotError {
    /// Whether a whole snapshot says that this journal lacks messages that were durable, or has others.
    pub fn contradicts_journal(&self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::OtherHistory { .. } | Self::OtherJournal { .. })
    }
}

/// Adds where and what to an I/O error; out-of-space becomes [`SnapshotError::Full`].
pub(super) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SnapshotError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    move |source| match source.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => SnapshotError::Full { path: path.into(), source },
        _ => SnapshotError::Io { operation, path: path.into(), source },
    }
}
