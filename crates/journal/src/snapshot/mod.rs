//! Images of a state at a place of a journal, from which recovery starts instead of from the first message.
//!
//! A snapshot belongs to its journal by the chain value of the batch it stands behind, which stands for every batch
//! before it. So it is used only with the journal it was taken from, and it is evidence: a snapshot that verifies
//! proves that the journal's messages up to its sequence were durable. The journal stays the truth; a snapshot that is
//! damaged costs time and never a message, as long as the journal keeps what lies behind an older one.
//!
//! [`SnapshotStore`] writes, verifies, rotates and maps; [`recover`] rebuilds a state; a [`Follower`] takes snapshots
//! beside a live writer, from the journal alone.

mod error;
mod follower;
mod frame;
mod recovery;
mod store;

pub use error::SnapshotError;
pub use follower::{Follower, FollowerEvent, FollowerOptions, FollowerStatus};
pub use frame::{
    Place, SNAPSHOT_FOOTER_SIZE_BYTES, SNAPSHOT_FORMAT_VERSION, SNAPSHOT_HEADER_SIZE_BYTES, SnapshotFault,
    SnapshotHeader,
};
pub use recovery::{
    Loaded, Progress, Recovered, RecoveryFacts, RecoveryOptions, Refused, check_place, is_of_history, load_usable,
    newest_usable, proven_durable, recover, usable_snapshots,
};
pub use store::{Rotation, Snapshot, SnapshotFacts, SnapshotStore};
