//! What can go wrong with a journal, as facts.

use std::path::{Path, PathBuf};

use crate::keep::KeepRuleError;

/// Why a journal could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system refused; the journal is unusable in this process when it was a write or a sync.
    #[error("{operation} {path}: {source}{}", advice(operation, source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The lower cause.
        source: std::io::Error,
    },
    /// Nothing can be written where the journal is.
    #[error(
        "{operation} {path}: the file system is read-only, and who opens a channel, or compacts or repairs its journal, writes there; \
         make it writable; `tidebook journal ls`, `dump` and `export`, `tidebook status` and `tidebook backup` read it as it is"
    )]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The lower cause.
        source: std::io::Error,
    },
    /// No space, quota or file size left; nothing was acknowledged and the same call may be tried again.
    #[error(
        "{path}: no space left for the journal ({source}); nothing unsynced was acknowledged, {} and retry",
        what_makes_room(source)
    )]
    Full {
        /// The file that could not grow or be written.
        path: PathBuf,
        /// The lower cause.
        source: std::io::Error,
    },
    /// The file that is written has lost its name: it takes writes and syncs, and nobody will ever read them.
    #[error(
        "{path}: removed, moved or replaced while the journal was written{}; nothing more is acknowledged. Find what \
         removes files here, then put the directory back from a copy or begin a new one",
        went_with_it(*.first_sequence, *.durable)
    )]
    Removed {
        /// The segment that was written.
        path: PathBuf,
        /// Its first message.
        first_sequence: u64,
        /// Last message that was acknowledged.
        durable: u64,
    },
    /// The file that is written was cut from outside: what was written behind the cut is a hole or gone.
    #[error(
        "{path}: cut from {expected_bytes} to {size_bytes} bytes while the journal was written; of the acknowledged \
         messages {first_sequence} to {durable} those behind the cut may be lost, and nothing more is acknowledged. Find \
         what cuts files here, then see `tidebook journal repair`"
    )]
    Shortened {
        /// The segment that was written.
        path: PathBuf,
        /// Bytes of it now.
        size_bytes: u64,
        /// Bytes it was made with.
        expected_bytes: u64,
        /// Its first message.
        first_sequence: u64,
        /// Last message that was acknowledged.
        durable: u64,
    },
    /// A file stands where a directory is needed.
    #[error(
        "{path}: a file, or a link that leads nowhere, stands in the way of this directory; move it away or choose another directory"
    )]
    NoDirectory {
        /// The journal's directory.
        path: PathBuf,
    },
    /// An earlier write or sync failed. What the disk holds is unknown, so nothing more is acknowledged.
    #[error("{path}: the journal stopped after a failed write ({cause}); restart the process to recover it")]
    Poisoned {
        /// The journal's directory.
        path: PathBuf,
        /// The failure that ended it.
        cause: String,
    },
    /// This process was forked from the one that opened the journal, and only that one writes it.
    #[error(
        "{path}: this process was forked from the one that opened the journal; open it here once that one has closed it"
    )]
    Forked {
        /// The journal's directory.
        path: PathBuf,
    },
    /// Another process writes this journal.
    #[error("{path}: another process writes this journal; stop it or choose another directory")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Another process removes segments of this journal.
    #[error("{path}: another process removes old segments of this journal; let it finish, then try again")]
    Compacting {
        /// The lock file.
        path: PathBuf,
    },
    /// No journal there.
    #[error("{path}: no journal here")]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("{path}: journal format version {found}, this build reads 1 to {supported}; use the release that wrote it")]
    Version {
        /// The segment.
        path: PathBuf,
        /// Version in its header.
        found: u32,
        /// Newest of ours; all before it are read too.
        supported: u32,
    },
    /// Encrypted, and no key was given.
    #[error("{path}: encrypted with key {key_id}, which this build cannot open")]
    Encrypted {
        /// The segment.
        path: PathBuf,
        /// Key id of its header.
        key_id: u32,
    },
    /// The directory holds the journal of another channel.
    #[error("{path}: journal of channel {found:?}, not of {expected:?}; choose another directory")]
    Channel {
        /// The segment.
        path: PathBuf,
        /// Channel asked for.
        expected: String,
        /// Channel in its header.
        found: String,
    },
    /// Bytes that were durable are not what was written. Never repaired by dropping them.
    #[error("{path}: {}", told(path, *.segment, *.offset, *.sequence, .damage))]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Its number.
        segment: u64,
        /// First byte that cannot be trusted.
        offset: u64,
        /// First message that cannot be read.
        sequence: u64,
        /// What shows it.
        damage: Damage,
    },
    /// A message larger than a segment can hold.
    #[error("message of {size_bytes} bytes, largest possible here is {size_bytes_max}; raise segment_size_bytes")]
    TooLarge {
        /// Bytes of the message.
        size_bytes: usize,
        /// Largest that fits a segment.
        size_bytes_max: usize,
    },
    /// The sequence asked for was compacted away.
    #[error(
        "{path}: sequence {requested} is no longer here, the journal begins at {first}; begin there, or put the \
         segments before it back from a copy"
    )]
    Compacted {
        /// The journal's directory.
        path: PathBuf,
        /// Sequence asked for.
        requested: u64,
        /// First sequence held.
        first: u64,
    },
    /// What a journal thread takes its messages from failed.
    #[error("the journal's source failed: {cause}")]
    Source {
        /// The failure.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The journal's thread met a mistake of ours.
    #[error("the journal's thread panicked: {said}; nothing after the durable sequence is acknowledged")]
    Panicked {
        /// What the panic said.
        said: String,
    },
    /// An option that makes no journal.
    #[error("journal option {option} = {value}: {rule}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Value given.
        value: String,
        /// What is allowed.
        rule: String,
    },
}

impl From<KeepRuleError> for JournalError {
    fn from(error: KeepRuleError) -> Self {
        let rule = format!("{:?} is no condition; {}", error.part, KeepRuleError::SPELLING);
        Self::Option { option: "keep", value: error.text, rule }
    }
}

/// What showed that durable bytes are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The first 4 KiB are no segment header.
    #[error("the segment header does not verify")]
    Header,
    /// Header fields contradict the file's name or its neighbours.
    #[error("the segment header does not follow from the segment before it")]
    Succession,
    /// A segment between two others, or the newest, is gone.
    #[error("the segment is missing")]
    Missing,
    /// A batch that its successor in the chain, or a seal, shows to have been durable does not verify.
    #[error("a batch known durable up to sequence {durable} does not verify")]
    Batch {
        /// Highest sequence known durable.
        durable: u64,
    },
    /// The journal is whole and ends before what something outside it (rows, a snapshot, a ring) shows to have been durable.
    #[error("nothing here is damaged, but message {durable} is known from elsewhere to have been durable")]
    Evidence {
        /// Highest sequence known durable.
        durable: u64,
    },
    /// A batch after the last message, which can only be one of configuration, was durable and does not verify.
    #[error("batch {expected}, of configuration and known durable, does not verify")]
    Configuration {
        /// Its number.
        expected: u64,
    },
    /// The last good batch is not the one the next segment names as its predecessor.
    #[error("the next segment names batch {expected} as the last here, found {found}")]
    Seal {
        /// Batch number in the successor's header.
        expected: u64,
        /// Last batch number that verifies.
        found: u64,
    },
    /// A batch with a right checksum whose records do not add up: written by a faulty writer.
    #[error("the records of a batch do not add up")]
    Records,
}

fn told(path: &Path, segment: u64, offset: u64, sequence: u64, damage: &Damage) -> String {
    let journal = path.parent().unwrap_or(path);
    if let Damage::Evidence { durable } = damage {
        return format!(
            "the journal ends with message {}, and message {durable} is known from elsewhere to have been durable: this is an \
             older copy, or its end is lost; put the newer one in its place, or see the choices with `tidebook journal repair {}`",
            sequence - 1,
            journal.display()
        );
    }
    format!(
        "damaged at segment {segment}, offset {offset}, sequence {sequence}: {damage}; `tidebook journal \
         repair {}` tells what can be done",
        journal.display()
    )
}

/// What to do where the system's own words do not say it.
fn advice(operation: &str, source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{InvalidFilename, NotFound};
    match source.kind() {
        InvalidFilename => "; choose a shorter path",
        NotFound if operation == "create" => "; no directory can be made there, choose another one",
        _ => "",
    }
}

fn what_makes_room(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::FileTooLarge => "raise the limit of the size of files (ulimit -f)",
        std::io::ErrorKind::QuotaExceeded => "free space of this user's quota",
        _ => "free space",
    }
}

fn went_with_it(first_sequence: u64, durable: u64) -> String {
    if durable < first_sequence {
        return " (no acknowledged message was in it)".into();
    }
    format!(" and acknowledged messages {first_sequence} to {durable} with it")
}

/// Adds where and what to an I/O error; out-of-space becomes [`JournalError::Full`].
pub(crate) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> JournalError {
    use std::io::ErrorKind::{FileTooLarge, NotADirectory, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    move |source| match source.kind() {
        NotADirectory => JournalError::NoDirectory { path: path.into() },
        ReadOnlyFilesystem => JournalError::ReadOnly { operation, path: path.into(), source },
        StorageFull | QuotaExceeded | FileTooLarge => JournalError::Full { path: path.into(), source },
        _ => JournalError::Io { operation, path: path.into(), source },
    }
}
