//! What ends an engine.

use tidebook_journal::JournalError;
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
    #[error("feed message {sequence}: {cause}; run the version that recorded it")]
    Payload {
        /// Its sequence.
        sequence: u64,
        /// Why it cannot be read.
        cause: RawMessageError,
    },
    /// The journal of the feed failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
