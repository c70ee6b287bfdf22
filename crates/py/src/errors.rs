//! Core errors become exceptions of `tidebook.errors` here and nowhere else.
//!
//! The classes live in Python, where the tree is drawn and documented; this side knows their names. Each core error
//! enum gets one `From<...> for Raised` that picks the class and hands over the facts, so that nobody has to read
//! them out of the text. `tests/house/test_errors.py` holds that every name here exists there.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_types::DecimalError;

/// Name of an exception class in `tidebook.errors`.
#[derive(Debug, Clone, Copy)]
pub struct ErrorClass(&'static str);

/// A text that is no exact decimal number.
pub const DECIMAL: ErrorClass = ErrorClass("DecimalError");

/// A command that cannot be written or given to a venue.
pub const COMMAND: ErrorClass = ErrorClass("CommandError");

/// Something that cannot be answered for.
pub const QUERY: ErrorClass = ErrorClass("QueryError");

/// A payload that is no raw message.
pub const RAW_MESSAGE: ErrorClass = ErrorClass("RawMessageError");

/// A venue no decoder is for.
pub const UNKNOWN_VENUE: ErrorClass = ErrorClass("UnknownVenueError");
/// A capture file that cannot be read or written.
pub const CAPTURE: ErrorClass = ErrorClass("CaptureError");
/// A channel or an engine that cannot be opened or go on.
pub const CHANNEL: ErrorClass = ErrorClass("ChannelError");
/// Checkpoints that cannot be stored or read.
pub const CHECKPOINT: ErrorClass = ErrorClass("CheckpointError");
/// No space for a checkpoint.
pub const CHECKPOINT_FULL: ErrorClass = ErrorClass("CheckpointFullError");
/// Checkpoints that are not what was stored.
pub const CHECKPOINT_DAMAGED: ErrorClass = ErrorClass("CheckpointDamagedError");
/// Checkpoints of another version.
pub const CHECKPOINT_VERSION: ErrorClass = ErrorClass("CheckpointVersionError");
/// A journal operation that failed.
pub const JOURNAL: ErrorClass = ErrorClass("JournalError");
/// No space for the journal.
pub const JOURNAL_FULL: ErrorClass = ErrorClass("JournalFullError");
/// Another process writes the journal.
pub const JOURNAL_LOCKED: ErrorClass = ErrorClass("JournalLockedError");
/// No journal there.
pub const JOURNAL_ABSENT: ErrorClass = ErrorClass("JournalAbsentError");
/// Messages that are no longer in the journal.
pub const JOURNAL_COMPACTED: ErrorClass = ErrorClass("JournalCompactedError");
/// A journal of another version.
pub const JOURNAL_VERSION: ErrorClass = ErrorClass("JournalVersionError");
/// Durable bytes that do not verify.
pub const JOURNAL_DAMAGED: ErrorClass = ErrorClass("JournalDamagedError");

/// A snapshot that cannot be taken, read or used.
pub const SNAPSHOT: ErrorClass = ErrorClass("SnapshotError");
/// No space for the snapshot.
pub const SNAPSHOT_FULL: ErrorClass = ErrorClass("SnapshotFullError");
/// A snapshot that is not what was written.
pub const SNAPSHOT_DAMAGED: ErrorClass = ErrorClass("SnapshotDamagedError");
/// A whole snapshot that its journal contradicts.
pub const SNAPSHOT_MISMATCH: ErrorClass = ErrorClass("SnapshotMismatchError");
/// A state that cannot take a message or its saved bytes.
pub const STATE: ErrorClass = ErrorClass("StateError");

/// A channel asked for something its ring cannot be or do.
pub const CHANNEL_USAGE: ErrorClass = ErrorClass("ChannelUsageError");
/// No ring of this name.
pub const CHANNEL_NOT_FOUND: ErrorClass = ErrorClass("ChannelNotFoundError");
/// A ring of this name is there already.
pub const CHANNEL_EXISTS: ErrorClass = ErrorClass("ChannelExistsError");
/// A file that is no usable ring of this release.
pub const CHANNEL_FORMAT: ErrorClass = ErrorClass("ChannelFormatError");
/// A ring or directory that others can write.
pub const CHANNEL_ACCESS: ErrorClass = ErrorClass("ChannelAccessError");
/// No room for a ring.
pub const CHANNEL_FULL: ErrorClass = ErrorClass("ChannelSpaceError");
/// No room for a message, where there is nothing to give instead of one.
pub const NO_ROOM: ErrorClass = ErrorClass("ChannelFullError");
/// A living endpoint is in the way.
pub const ENDPOINT_BUSY: ErrorClass = ErrorClass("EndpointBusyError");
/// An endpoint that works no more.
pub const ENDPOINT_LOST: ErrorClass = ErrorClass("EndpointLostError");
/// A committed message that is not what was written.
pub const CORRUPT_MESSAGE: ErrorClass = ErrorClass("CorruptMessageError");

/// Every class this module can raise. A class missing here is found by the test that closes the list.
const ALL: &[ErrorClass] = &[
    DECIMAL,
    COMMAND,
    QUERY,
    RAW_MESSAGE,
    UNKNOWN_VENUE,
    CAPTURE,
    CHANNEL,
    CHANNEL_USAGE,
    CHANNEL_NOT_FOUND,
    CHANNEL_EXISTS,
    CHANNEL_FORMAT,
    CHANNEL_ACCESS,
    CHANNEL_FULL,
    NO_ROOM,
    ENDPOINT_BUSY,
    ENDPOINT_LOST,
    CORRUPT_MESSAGE,
    CHECKPOINT,
    CHECKPOINT_FULL,
    CHECKPOINT_DAMAGED,
    CHECKPOINT_VERSION,
    JOURNAL,
    JOURNAL_FULL,
    JOURNAL_LOCKED,
    JOURNAL_ABSENT,
    JOURNAL_COMPACTED,
    JOURNAL_VERSION,
    JOURNAL_DAMAGED,
    SNAPSHOT,
    SNAPSHOT_FULL,
    SNAPSHOT_DAMAGED,
    SNAPSHOT_MISMATCH,
    STATE,
];

/// An error on its way to Python: the class, one line for people, and the facts as attributes.
pub struct Raised {
    pub(crate) class: ErrorClass,
    message: String,
    pub(crate) facts: Vec<(&'static str, Fact)>,
}

/// Value of a fact.
pub enum Fact {
    /// A count, a sequence, a position.
    Number(u64),
    /// A name, a path, a value as it was given.
    Text(String),
}

impl From<DecimalError> for Raised {
    fn from(error: DecimalError) -> Self {
        let facts = match error {
            DecimalError::TooPrecise { found, exponent } => {
                vec![("found", Fact::Number(found.into())), ("exponent", Fact::Number(exponent.into()))]
            }
            DecimalError::Overflow { exponent } => vec![("exponent", Fact::Number(exponent.into()))],
            DecimalError::Malformed => Vec::new(),
        };
        Self { class: DECIMAL, message: error.to_string(), facts }
    }
}

impl Raised {
    /// An error whose message says it all.
    pub const fn new(class: ErrorClass, message: String) -> Self {
        Self { class, message, facts: Vec::new() }
    }

    /// An error with facts.
    pub const fn with_facts(class: ErrorClass, message: String, facts: Vec<(&'static str, Fact)>) -> Self {
        Self { class, message, facts }
    }

    /// The same error with one more fact.
    pub fn fact(mut self, name: &'static str, fact: Fact) -> Self {
        self.facts.push((name, fact));
        self
    }

    /// The same error with what the caller knows put before it (which file, which text).
    pub fn about(mut self, subject: &str) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// The exception, built in Python so that its class stays Python's.
    fn into_exception(self, py: Python<'_>) -> PyResult<PyErr> {
        let class = py.import("tidebook.errors")?.getattr(self.class.0)?;
        let facts = PyDict::new(py);
        for (name, fact) in self.facts {
            match fact {
                Fact::Number(number) => facts.set_item(name, number)?,
                Fact::Text(text) => facts.set_item(name, text)?,
            }
        }
        Ok(PyErr::from_value(class.call((self.message,), Some(&facts))?))
    }
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        Python::attach(|py| raised.into_exception(py).unwrap_or_else(|failure| failure))
    }
}

/// Names of the `tidebook.errors` classes this module may raise.
#[pyfunction]
pub fn error_classes() -> Vec<&'static str> {
    ALL.iter().map(|class| class.0).collect()
}
