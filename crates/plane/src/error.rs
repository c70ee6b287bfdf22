//! What ends an engine.

use std::io;
use std::path::PathBuf;

use tidebook_channel::ChannelError;
use tidebook_journal::JournalError;
use tidebook_journal::snapshot::SnapshotError;
use tidebook_ring::RingError;
use tidebook_types::RawMessageError;

use crate::venue_options::SHARDS_MAX;
use crate::venue_sizes::VenueSizesError;

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
    /// Nothing to take the market data of the node's own venue up with.
    #[error(
        "orders begins with command {first}, and no snapshot of its market data from there on can be used{}; put the older segments, or \
         snapshots of `snapshots/orders/market_data` that this release reads, back from a backup, start the release that wrote the \
         snapshots, or begin in a new data directory",
        because(refused)
    )]
    NoMarketData {
        /// First command of the journal.
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
    /// What the venue's instruments are called cannot be read.
    #[error(
        "{path}: {reason}; an instrument was listed that market data does not know yet, and here it reads what it is called: make the file readable, or put it \
         back from a backup, and start the node again; no order is lost"
    )]
    VenueNames {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A message of `orders` that is no command.
    #[error(
        "orders: message {sequence} has {found} bytes where a command has {expected}; start the release that wrote it"
    )]
    NoCommand {
        /// Its sequence.
        sequence: u64,
        /// Its bytes.
        found: usize,
        /// Those of a command.
        expected: usize,
    },
    /// The durable channel of the venue failed to open.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The journal of `orders` does not give back what it was written from.
    #[error("the venue cannot be recovered: {cause}; nothing was judged and nothing published{advice}")]
    Unrecoverable {
        /// What differs.
        cause: SnapshotError,
        /// What to do, beginning with `; `, where there is something.
        advice: &'static str,
    },
    /// What room the venue has is not known.
    #[error(transparent)]
    Sizes(#[from] VenueSizesError),
    /// The journal of `orders` ends where its ring says that there is more.
    #[error(
        "orders: the journal gave {found} commands and the channel has {expected}; run `tidebook journal verify` on it"
    )]
    JournalShort {
        /// Last command of the channel.
        expected: u64,
        /// Last one that was read.
        found: u64,
    },
    /// A record got another sequence on its channel than its own number.
    #[error(
        "{channel}: record {expected} got sequence {found}; the ring is another one's: stop what writes it, remove it and start again"
    )]
    Numbering {
        /// The channel.
        channel: &'static str,
        /// Its own number.
        expected: u64,
        /// The sequence.
        found: u64,
    },
    /// The matching thread lost commands, which its ring keeps for it.
    #[error("orders: matching missed {count} commands; start the venue again, its journal has them")]
    MatchingMissed {
        /// How many.
        count: u64,
    },
    /// No such number of shards, or threads that have none.
    #[error("shards = {shards}: must be 1 to {SHARDS_MAX}, and more than 1 only with layout split")]
    Shards {
        /// What was asked for.
        shards: u32,
    },
    /// Shards cannot see together that there is no room.
    #[error(
        "shards = {shards}: risk has room for {risk} orders and matching for {matching}; shards need matching to have as much as risk: \
         start this venue with shards = 1"
    )]
    ShardsRoom {
        /// What was asked for.
        shards: u32,
        /// Orders that risk has room for.
        risk: u32,
        /// The same of matching.
        matching: u32,
    },
    /// Nothing becomes durable any more.
    #[error("the journal of orders has stopped; nothing more is acknowledged until the venue is started again")]
    JournalStopped,
    /// It stopped, but not in order.
    #[error("{said}")]
    Stopped {
        /// Why.
        said: String,
    },
    /// The other thread of the venue ended.
    #[error("the venue's other thread ended")]
    OtherThread,
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
