//! Feeds the journal's thread from the ring.
//!
//! The consumer's cursor, which lets the producer overwrite, moves only after a sync and not after the copy: what a
//! failed sync loses is then still in the ring. When the journal fails the ring is fenced, so that producers get an
//! error instead of waiting for ever for room.

use std::ops::ControlFlow;
use std::time::Duration;

use tidebook_journal::{JournalError, JournalWriter, Source, SyncPolicy};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, Ring, RingError, Start, Wait};

/// Name under which the journal gates the ring.
const CONSUMER_NAME: &str = "journal";
/// Messages copied before the thread looks at its clock again.
const DRAIN_LIMIT: usize = 4096;

/// The ring as a source of messages.
#[derive(Debug)]
pub(crate) struct RingSource {
    consumer: Consumer,
    policy: SyncPolicy,
}

impl RingSource {
    /// Joins the ring so that nothing from `next_sequence` on can be overwritten before it is journaled.
    pub fn join(ring: &Ring, next_sequence: u64, policy: SyncPolicy) -> Result<Self, RingError> {
        let options = ConsumerOptions::named(CONSUMER_NAME)
            .start(Start::Sequence(next_sequence))
            .policy(Policy::Block { patience: None, detach_after: None })
            .peek(true)
            .wait(Wait::Hybrid);
        Ok(Self { consumer: ring.consumer(&options)?, policy })
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
        self.copy(DRAIN_LIMIT, writer).map_err(|error| match error {
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
    }
}
