//! Feeds the journal's thread from the ring.
//!
//! The gate, which lets the producer overwrite, moves only after a sync or once a message is staged, and not after the
//! copy: what a failed sync loses is then still in the ring or in the staging. When the journal fails the ring is
//! fenced, so that producers get an error instead of waiting for ever for room.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidebook_journal::storage::Storage;
use tidebook_journal::{
    IDLE_WAIT, JournalError, JournalReader, JournalWriter, ReaderOptions, Source, SyncPolicy, Visible,
};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, Ring, RingError, Start, Wait};

use crate::error::ChannelError;
use crate::progress::Progress;
use crate::staging::{Chunk, Keeper};

/// Name under which the journal gates the ring.
pub(crate) const CONSUMER_NAME: &str = "journal";
/// How long an idle thread sleeps where the producer wakes it: what that may cost whoever ends it.
const PARKED_WAIT: Duration = Duration::from_millis(10);
/// Looks without a message that make a pause: waking costs the producer of a channel that syncs by an interval once a pause.
const IDLE_LOOKS: u32 = 50;
/// Chunks that one sync is for at most: what it covers is given up with it.
const CHUNKS_MAX: usize = 32;

/// Joins the ring so that nothing from `next_sequence` on can be overwritten before it is journaled.
pub(crate) fn gate(ring: &Ring, next_sequence: u64) -> Result<Consumer, RingError> {
    // Where the producer wakes sleepers the first message after a pause is synced at once, and an idle journal looks seldom.
    let wait = if ring.info().parking { Wait::Park } else { Wait::Hybrid };
    let options = ConsumerOptions::named(CONSUMER_NAME)
        .start(Start::Sequence(next_sequence))
        .policy(Policy::Block { patience: None, detach_after: None })
        .peek(true)
        .wait(wait);
    ring.consumer(&options)
}

/// Copies all messages from the gate, but `count_max` at most, into the writer.
pub(crate) fn copy(gate: &mut Consumer, writer: &mut JournalWriter, count_max: usize) -> Result<usize, CopyError> {
    let mut failed = None;
    let read = gate.read_while(count_max, |sequence, payload| match append(writer, sequence, payload) {
        Ok(()) => ControlFlow::Continue(()),
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

fn append(writer: &mut JournalWriter, sequence: u64, payload: &[u8]) -> Result<(), JournalError> {
    let appended = writer.append(payload)?;
    assert_eq!(appended, sequence, "ring and journal are one sequence");
    Ok(())
}

/// Epoch of the journal in which it got a message; `None` where it has no such message.
pub(crate) fn epoch_of(journal: &Arc<dyn Storage>, sequence: u64) -> Result<Option<u32>, JournalError> {
    let options = ReaderOptions { from_sequence: sequence, visible: Visible::Written, ..ReaderOptions::default() };
    let mut reader = JournalReader::open_storage(Arc::clone(journal), options)?;
    let batch = reader.next_batch()?;
    Ok(batch.filter(|batch| batch.first_sequence() <= sequence).map(|batch| batch.epoch()))
}

/// Whether the journal has this message at its sequence; also where it has none.
pub(crate) fn shares(journal: &Arc<dyn Storage>, sequence: u64, payload: &[u8]) -> Result<bool, ChannelError> {
    let options = ReaderOptions { from_sequence: sequence, visible: Visible::Written, ..ReaderOptions::default() };
    let mut reader = JournalReader::open_storage(Arc::clone(journal), options)?;
    let Some(batch) = reader.next_batch()? else { return Ok(true) };
    Ok(batch.records().find(|(found, _)| *found == sequence).is_none_or(|(_, found)| found == payload))
}

/// The ring, and what is staged of it, as a source of messages.
#[derive(Debug)]
pub(crate) struct RingSource {
    keeper: Keeper,
    chunk: Chunk,
    policy: SyncPolicy,
    progress: Arc<Progress>,
    /// Looks since the last message.
    idle_looks: u32,
}

impl RingSource {
    /// Of a [`gate`] at which all before is durable.
    pub fn new(keeper: Keeper, policy: SyncPolicy, progress: Arc<Progress>) -> Self {
        Self { keeper, chunk: Chunk::default(), policy, progress, idle_looks: 0 }
    }

    fn copy(&mut self, writer: &mut JournalWriter) -> Result<usize, CopyError> {
        // All that waits now, however slow the disk is: one sync is for all of it.
        let (mut left, mut count) = (self.keeper.kept().waiting() as usize, 0);
        for _ in 0..CHUNKS_MAX {
            self.keeper.kept().take(&mut self.chunk)?;
            let messages = self.chunk.messages();
            if messages.len() == 0 {
                break;
            }
            left = left.saturating_sub(messages.len());
            count += messages.len();
            self.keeper.goes_to_disk();
            for (sequence, payload) in messages {
                append(writer, sequence, payload).map_err(CopyError::Journal)?;
            }
            if left == 0 {
                break;
            }
        }
        Ok(count)
    }

    /// Everything up to here is synced: the ring may give it up.
    pub fn commit(&mut self, durable: u64) -> Result<(), RingError> {
        let mut kept = self.keeper.kept();
        kept.ring().set_durable(durable)?;
        kept.forget(durable);
        drop(kept);
        self.progress.tell();
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
        let moved = self.copy(writer).map_err(|error| match error {
            CopyError::Journal(error) => error,
            other => JournalError::Source { cause: other.into() },
        })?;
        if moved > 0 {
            self.idle_looks = 0;
        }
        Ok(moved)
    }

    fn syncs(&mut self) {
        self.keeper.goes_to_disk();
    }

    fn is_pressed(&mut self) -> bool {
        self.keeper.kept().is_filling()
    }

    fn durable(&mut self, sequence: u64) -> Result<(), JournalError> {
        self.commit(sequence).map_err(|error| JournalError::Source { cause: error.into() })
    }

    fn wait(&mut self, timeout: Duration) {
        match self.policy {
            // Nobody waits for the single message: sleeping is cheapest.
            SyncPolicy::Interval(_) => std::thread::sleep(timeout),
            SyncPolicy::Group => self.keeper.kept().wait(timeout),
        }
    }

    fn idle(&mut self) {
        self.idle_looks = self.idle_looks.saturating_add(1);
        let mut kept = self.keeper.kept();
        let is_pause = self.policy == SyncPolicy::Group || self.idle_looks > IDLE_LOOKS;
        if kept.ring().info().parking && is_pause {
            // The lock is held meanwhile: nobody is at the disk, so the thread that stages has nothing to do.
            kept.wait(PARKED_WAIT);
            return;
        }
        drop(kept);
        self.wait(IDLE_WAIT);
    }

    fn failed(&mut self, _error: &JournalError) {
        self.keeper.kept().ring().fence();
        self.progress.end();
    }
}

impl Drop for RingSource {
    /// The thread that owned it has ended; who waits looks why.
    fn drop(&mut self) {
        // Before they are told: whoever opens the channel next finds no thread of this one.
        self.keeper.end();
        self.progress.end();
    }
}
