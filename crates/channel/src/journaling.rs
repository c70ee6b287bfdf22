//! Feeds the journal's thread from the ring.
//!
//! The consumer's cursor, which lets the producer overwrite, moves only after a sync and not after the copy: what a
//! failed sync loses is then still in the ring. When the journal fails the ring is fenced, so that producers get an
//! error instead of waiting for ever for room.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidebook_journal::{JournalError, JournalWriter, Source, SyncPolicy};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, Ring, RingError, Start, Wait};

use crate::progress::Progress;

/// Name under which the journal gates the ring.
const CONSUMER_NAME: &str = "journal";

/// The ring as a source of messages.
#[derive(Debug)]
pub(crate) struct RingSource {
    consumer: Consumer,
    policy: SyncPolicy,
    progress: Arc<Progress>,
}

impl RingSource {
    /// Joins the ring so that nothing from `next_sequence` on can be overwritten before it is journaled.
    pub fn join(
        ring: &Ring,
        next_sequence: u64,
        policy: SyncPolicy,
        progress: Arc<Progress>,
    ) -> Result<Self, RingError> {
        // Where the producer wakes sleepers the first message after a pause is synced at once, and an idle journal costs
        // nothing.
        let wait = if ring.info().parking { Wait::Park } else { Wait::Hybrid };
        let options = ConsumerOptions::named(CONSUMER_NAME)
            .start(Start::Sequence(next_sequence))
            .policy(Policy::Block { patience: None, detach_after: None })
            .peek(true)
            .wait(wait);
        Ok(Self { consumer: ring.consumer(&options)?, policy, progress })
    }

    /// Copies up to `limit` messages into the writer.
    pub fn copy(&mut self, limit: usize, writer: &mut JournalWriter) -> Result<usize, CopyError> {
        let mut failed = None;
        let read = self.consumer.read_while(limit, |sequence, payload| match writer.append(payload) {
            Ok(appended) => {
                assert_eq!(appended, sequence, "ring and journal are one sequence");
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        match (failed, read) {
            (Some(error), _) => Err(CopyError::Journal(error)),
            (None, Ok(Read::Messages(count))) => Ok(count),
            (None, Ok(Read::Gap(gap))) => Err(CopyError::Gap { first: gap.first, count: gap.count }),
            (None, Err(error)) => Err(CopyError::Ring(error)),
        }
    }

    /// Everything copied is synced: the ring may give it up.
    pub fn commit(&mut self, durable: u64) -> Result<(), RingError> {
        self.consumer.ring().set_durable(durable)?;
        self.progress.tell();
        if self.consumer.next_sequence() == durable + 1 {
            self.consumer.commit();
        }
        Ok(())
    }
}

/// Why messages could not be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Journal(JournalError),
    #[error(transparent)]
    Ring(RingError),
    /// Cannot happen to a consumer the producer waits for, unless someone removed it.
    #[error("the ring overwrote {count} messages from {first} on before they were journaled")]
    Gap { first: u64, count: u64 },
}

impl Source for RingSource {
    fn drain(&mut self, writer: &mut JournalWriter) -> Result<usize, JournalError> {
        // All that waited, however slow the disk is: one sync is for all of it.
        let waiting = (self.consumer.ring().published() + 1).saturating_sub(self.consumer.next_sequence());
        self.copy(waiting as usize, writer).map_err(|error| match error {
            CopyError::Journal(error) => error,
            other => JournalError::Source { cause: other.into() },
        })
    }

    fn durable(&mut self, sequence: u64) -> Result<(), JournalError> {
        self.commit(sequence).map_err(|error| JournalError::Source { cause: error.into() })
    }

    fn wait(&mut self, timeout: Duration) {
        match self.policy {
            // Nobody waits for the single message: sleeping is cheapest.
            SyncPolicy::Interval(_) => std::thread::sleep(timeout),
            SyncPolicy::Group => drop(self.consumer.wait(Some(timeout))),
        }
    }

    fn failed(&mut self, _error: &JournalError) {
        self.consumer.ring().fence();
        self.progress.end();
    }
}

impl Drop for RingSource {
    /// The thread that owned it has ended; who waits looks why.
    fn drop(&mut self) {
        self.progress.end();
    }
}
