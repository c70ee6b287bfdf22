//! Everything that can go wrong with a ring. A full ring, nothing new and a gap are no errors but values.

use std::io;
use std::path::PathBuf;

/// Why an operation on a ring failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The system refused.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file system has no room for the whole ring; nothing was made.
    #[error(
        "no room for ring {path}: {needed_bytes} bytes needed; choose a smaller size, free the file system, or raise the limit of /dev/shm"
    )]
    NoSpace {
        /// The ring.
        path: PathBuf,
        /// Its size.
        needed_bytes: u64,
    },
    /// A ring of this name is there already.
    #[error("ring {path} exists already; open it, or remove it first")]
    Exists {
        /// The ring.
        path: PathBuf,
    },
    /// No ring of this name.
    #[error("no ring {path}; create the channel first, and check the directory and the user")]
    NotFound {
        /// The ring.
        path: PathBuf,
    },
    /// The file that has the ring's name is another one by now.
    #[error("ring {path} was removed, and another has its name; open that one")]
    Replaced {
        /// The ring.
        path: PathBuf,
    },
    /// The file is something else or its superblock is damaged.
    #[error("{path} is no usable ring: {reason}; remove it and create the channel again")]
    NotARing {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A named pipe, a directory, a socket or a device has the ring's name. It is nobody's to remove.
    #[error("{found} stands in the place of ring {path}; see what put it there and move it away")]
    NotAFile {
        /// Where the ring would be.
        path: PathBuf,
        /// What is there, with its article.
        found: &'static str,
    },
    /// Made by another version.
    #[error(
        "ring {path} has layout version {found}, this release reads {expected}; drain it with the release that made it, then remove it"
    )]
    Version {
        /// The ring.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Version of this release.
        expected: u32,
    },
    /// Made before the last boot; what its producer had not committed is undefined.
    #[error("ring {path} was made before the last boot; remove it and create the channel again")]
    OtherBoot {
        /// The ring.
        path: PathBuf,
    },
    /// An existing ring is not what was asked for.
    #[error(
        "ring {path} has {field} {found}, asked for was {expected}; use the options it was made with, or remove it"
    )]
    Mismatch {
        /// The ring.
        path: PathBuf,
        /// Which option.
        field: &'static str,
        /// Asked for.
        expected: String,
        /// There.
        found: String,
    },
    /// Somebody else has made it or could write it.
    #[error(
        "{what} {path} {reason}; rings are private to their user: make it so or choose another directory, or allow it explicitly (allow_others)"
    )]
    Access {
        /// A ring or a directory.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An option has a value that cannot be.
    #[error("{option} = {value}: {reason}")]
    Option {
        /// Which.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
    /// A living producer holds the ring.
    #[error("ring {path} already has a living producer (process {process_id}); a ring has one")]
    ProducerBusy {
        /// The ring.
        path: PathBuf,
        /// For people; a number of the other's process id space.
        process_id: u64,
    },
    /// A living consumer has this name.
    #[error("consumer {name:?} is already open (process {process_id}); names are of one consumer each")]
    ConsumerBusy {
        /// The name.
        name: String,
        /// For people; a number of the other's process id space.
        process_id: u32,
    },
    /// No consumer of this name.
    #[error("ring has no consumer {name:?}")]
    ConsumerUnknown {
        /// The name.
        name: String,
    },
    /// All consumer lines are in use.
    #[error("ring {path} has {max} consumers, which is its limit; remove a name nobody uses, or make it with more")]
    ConsumersFull {
        /// The ring.
        path: PathBuf,
        /// `consumers_max`.
        max: u32,
    },
    /// A start beyond the end.
    #[error("start sequence {asked} is beyond the end: the next sequence of this ring is {next}")]
    StartBeyond {
        /// Asked for.
        asked: u64,
        /// The next one to be written.
        next: u64,
    },
    /// An acknowledgement of what was not read.
    #[error("message {sequence} cannot be acknowledged: the last one read is {last}")]
    NotRead {
        /// Asked for.
        sequence: u64,
        /// The last that was handed out.
        last: u64,
    },
    /// A place that is no longer there.
    #[error("message {asked} is not there: the oldest of this ring is {oldest}")]
    StartGone {
        /// Asked for.
        asked: u64,
        /// The oldest one.
        oldest: u64,
    },
    /// A record whose key has no last value.
    #[error("key {key} of a record: the last values of this ring are of keys below {count}")]
    KeyRange {
        /// The key.
        key: u64,
        /// Keys of the table.
        count: u64,
    },
    /// A producer that stopped while it wrote a key's last value.
    #[error(
        "producer {line} stopped within the last value of key {key}; resume or kill its process, and write the message again"
    )]
    LastValueHeld {
        /// The key.
        key: u64,
        /// Its line.
        line: usize,
    },
    /// A message that this ring cannot carry.
    #[error("message of {size_bytes} bytes; this ring takes at most {max_bytes}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The ring's limit.
        max_bytes: usize,
    },
    /// A claim that is not of one piece.
    #[error("claim of {size_bytes} bytes; a claim on this ring has at most {max_bytes}: use write for longer messages")]
    ClaimTooLarge {
        /// Its size.
        size_bytes: usize,
        /// The ring's limit.
        max_bytes: usize,
    },
    /// A record that is not of the slots' size.
    #[error("record of {found} bytes; slots of this ring hold {expected}")]
    RecordSize {
        /// Bytes of each slot's payload.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// An operation of the other kind.
    #[error("{operation} needs a ring of {needed}")]
    Kind {
        /// What was tried.
        operation: &'static str,
        /// Slots or frames.
        needed: &'static str,
    },
    /// A message that was committed is not what was written.
    #[error("message {sequence} is damaged: {reason}")]
    Corrupt {
        /// Its sequence.
        sequence: u64,
        /// What did not fit.
        reason: &'static str,
    },
    /// This process is a forked child; the endpoint stayed with the parent.
    #[error("this endpoint was opened before a fork and belongs to the parent process; open one in this process")]
    Forked,
    /// Someone raised the ring's fence.
    #[error("producer was deposed: fence epoch {fence} is above its own {own}")]
    Fenced {
        /// The ring's.
        fence: u64,
        /// The producer's when it opened.
        own: u64,
    },
    /// Somebody who joins, leaves or is given up does not come to an end.
    #[error(
        "ring {path}: a process has kept the table of its consumers for {} s, and meanwhile nobody can join or leave; it is \
         stopped, most likely: continue or end it (tidebook channel doctor names it), and try again",
        crate::lock::LOCK_WAIT_MAX.as_secs()
    )]
    RegistryHeld {
        /// The ring.
        path: PathBuf,
    },
    /// All producer lines are in use.
    #[error("ring {path} has {max} living producers, which is its limit; close one, or make it with more")]
    ProducersFull {
        /// The ring.
        path: PathBuf,
        /// `producers_max`.
        max: u32,
    },
    /// A consumer in the way is, by its own policy, not to be waited for.
    #[error("no room: consumer {consumer:?} lags a whole ring and by its policy nobody waits for it longer")]
    Refused {
        /// Its name.
        consumer: String,
    },
    /// Something that happened after some of a call's records were written.
    #[error("{cause}; {written} records of the call were written before")]
    Partly {
        /// So many, in order.
        written: usize,
        /// What happened.
        cause: Box<RingError>,
    },
    /// Parking on a ring made without it.
    #[error("this ring was made without parking; wait hybrid, or create it with parking on")]
    NoParking,
    /// A watermark that would go back or run ahead of what it follows.
    #[error("{watermark} watermark cannot move from {from} to {to}")]
    Watermark {
        /// Which.
        watermark: &'static str,
        /// Where it is.
        from: u64,
        /// Where it was to go.
        to: u64,
    },
}

impl RingError {
    /// This, if nothing was written before it; otherwise with how much was.
    pub(crate) fn after(self, written: usize) -> Self {
        if written == 0 { self } else { Self::Partly { written, cause: Box::new(self) } }
    }
}
