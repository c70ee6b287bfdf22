//! Why a channel cannot be opened or go on.

use std::path::PathBuf;

use tidebook_journal::JournalError;
use tidebook_ring::RingError;

use crate::configuration::Layout;

/// What went wrong with a channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Of its ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Of its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The ring no longer holds the message after the journal's last: the journal was put back to an older state.
    #[error(
        "ring {ring} begins at sequence {ring_oldest} but its journal ends at {journal_last}: the messages between are \
         in neither; put back the newer journal, or remove the ring to go on without them"
    )]
    Hole {
        /// The ring.
        ring: PathBuf,
        /// Its oldest message.
        ring_oldest: u64,
        /// The journal's last.
        journal_last: u64,
    },
    /// The ring has to be made anew, but processes that live have it open.
    #[error(
        "ring {ring} must be made anew ({reason}) but is open in other processes; stop them first, or use another node or directory \
         of rings"
    )]
    InUse {
        /// The ring.
        ring: PathBuf,
        /// Why it cannot stay.
        reason: String,
    },
    /// Another process journals the ring into another copy of the journal.
    #[error(
        "ring {ring} is journaled into {other} by process {process_id}, and asked for was {journal}, another copy of that journal, \
         which was not changed; stop that process first, or use another node or directory of rings"
    )]
    OtherCopy {
        /// The ring.
        ring: PathBuf,
        /// The journal it was opened with.
        journal: PathBuf,
        /// Where it is journaled.
        other: PathBuf,
        /// For people; a number of the other's process id space.
        process_id: u32,
    },
    /// The ring belongs to another journal and holds what that has not: its last producer was killed.
    #[error(
        "ring {ring} belongs to another journal than {journal} and holds messages that were never synced ({unsynced}); open \
         it once with the journal it was made with, or remove the ring to go on without them"
    )]
    Stranger {
        /// The ring.
        ring: PathBuf,
        /// The journal it was opened with.
        journal: PathBuf,
        /// Messages that are nowhere else.
        unsynced: u64,
    },
    /// Another node's ring goes on with the same journal and holds what that has not: its owner was killed.
    #[error(
        "journal {journal} is gone on with by ring {ring} of another node too, which holds {unsynced} messages that were published \
         and never synced; start that node or open the producer under it once, which journals them, or give them up with \
         `tidebook channel rm {ring} --lose-unjournaled`"
    )]
    OtherNode {
        /// The ring, which is kept.
        ring: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// Messages that are nowhere else.
        unsynced: u64,
    },
    /// The ring shows that a journal was here, and none is: a disk that is not mounted, or a directory that was removed.
    #[error(
        "{journal}: no journal here, and ring {ring} shows that messages up to {durable} were durable in it; mount its disk or \
         put the directory back from a copy, or begin anew without them after `tidebook channel rm {ring}`"
    )]
    JournalGone {
        /// The ring, which is kept.
        ring: PathBuf,
        /// Where its journal was.
        journal: PathBuf,
        /// Last message that was durable.
        durable: u64,
    },
    /// The journal is whole and ends before what the ring knows to be durable: it was put back from a copy.
    #[error(
        "{journal}: this journal is whole and ends at {journal_last}, and ring {ring} of the same journal knows messages up to \
         {durable} to be durable and does not hold all that are missing: a copy was put back; put back the newer journal, or go \
         on without them after `tidebook channel rm {ring} --lose-unjournaled`, or under another --node"
    )]
    RingAhead {
        /// The ring, which is kept.
        ring: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// Last message the ring knows to be durable.
        durable: u64,
        /// The journal's last.
        journal_last: u64,
    },
    /// The journal has other messages where the ring knows some to be durable: somebody went on with a copy that was put back.
    #[error(
        "{journal}: ring {ring} of the same journal knows messages up to {durable} to be durable, and the journal has others in \
         their place: somebody has gone on with an older copy that was put back; put back the journal that has them, or go on \
         without them after `tidebook channel rm {ring} --lose-unjournaled`, or under another --node"
    )]
    OtherHistory {
        /// The ring, which is kept.
        ring: PathBuf,
        /// The journal.
        journal: PathBuf,
        /// Last message the ring knows to be durable.
        durable: u64,
    },
    /// The newest messages of the journal have another layout than was asked for.
    #[error("journal {journal} holds {found}, and {expected} were asked for; use its layout or another channel")]
    OtherLayout {
        /// The journal.
        journal: PathBuf,
        /// Asked for.
        expected: Layout,
        /// There.
        found: Layout,
    },
    /// Messages from where a consumer would begin have another layout than those of its ring.
    #[error(
        "journal {journal}: messages before {first} are {found}, those of its ring {expected}; begin at message {first} or later, and read \
         what is before with `tidebook journal export`"
    )]
    OtherLayoutBefore {
        /// The journal.
        journal: PathBuf,
        /// First message with the layout of the ring, and all after it.
        first: u64,
        /// Of the ring.
        expected: Layout,
        /// Of messages before.
        found: Layout,
    },
    /// A message the ring takes would not fit a segment.
    #[error(
        "the ring takes messages of {ring_max} bytes, a journal segment holds {journal_max}; raise segment_size_bytes"
    )]
    Sizes {
        /// Largest message of the ring.
        ring_max: u64,
        /// Largest of the journal.
        journal_max: u64,
    },
    /// Nothing says where the journal of a ring is: it has none, or its owner has never opened it here.
    #[error("ring {ring} names no journal, and its owner does when it opens it: open its producer once")]
    NoJournal {
        /// The ring.
        ring: PathBuf,
    },
    /// What a ring's link names is the journal of another.
    #[error("journal {journal} is not the one of ring {ring}; open the channel once where its journal is now")]
    OtherJournal {
        /// The ring.
        ring: PathBuf,
        /// The journal its link names.
        journal: PathBuf,
    },
    /// The link beside a ring that says where its journal is.
    #[error("link {path}: {source}")]
    Link {
        /// The link.
        path: PathBuf,
        /// What went wrong with it.
        source: std::io::Error,
    },
}
