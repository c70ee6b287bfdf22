//! What an engine reads: a feed channel from any sequence on, its journal first, then live from its ring.
//!
//! The ring is read ahead of the durable watermark (`peek`): what the engine publishes is no more lasting than that.
//! If the ring no longer holds the next message, the journal does or soon will, and reading goes on there.

use std::path::PathBuf;
use std::time::Duration;

use tidebook_journal::{JournalError, JournalReader, ReaderOptions};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, Ring, Start, Wait};

use crate::error::PlaneError;

/// How long to wait for the journal to sync what the ring has lost already.
const JOURNAL_WAIT: Duration = Duration::from_millis(1);
/// Messages handed over before the caller is asked whether to go on.
const BATCH_MAX: usize = 256;

/// Where the input stands.
#[derive(Debug)]
enum Place {
    /// Behind the ring: reading the journal, unless there is none yet.
    History(Option<JournalReader>),
    /// On the ring.
    Live(Consumer),
}

/// One feed channel, read in order without gap.
#[derive(Debug)]
pub struct FeedInput {
    journal_dir: PathBuf,
    ring: Ring,
    consumer: String,
    wait: Wait,
    next_sequence: u64,
    place: Place,
}

impl FeedInput {
    /// Reads from sequence 1: the journal in `journal_dir`, then `ring` as its consumer named `consumer`.
    pub fn new(journal_dir: PathBuf, ring: Ring, consumer: String, wait: Wait) -> Self {
        Self { journal_dir, ring, consumer, wait, next_sequence: 1, place: Place::History(None) }
    }

    /// Whether history is done and messages come from the ring.
    pub fn is_live(&self) -> bool {
        matches!(self.place, Place::Live(_))
    }

    /// Hands the next messages to `each`, waiting at most `timeout` for the first. Gives how many.
    ///
    /// # Errors
    /// [`PlaneError`] of the ring or the journal; damage is never passed over.
    pub fn read(&mut self, timeout: Duration, mut each: impl FnMut(u64, &[u8])) -> Result<usize, PlaneError> {
        let next = &mut self.next_sequence;
        let mut take = |sequence: u64, payload: &[u8]| {
            debug_assert_eq!(sequence, *next, "a feed is read without gap");
            each(sequence, payload);
            *next = sequence + 1;
        };
        match &mut self.place {
            Place::Live(consumer) => {
                if !consumer.wait(Some(timeout))? {
                    return Ok(0);
                }
                match consumer.poll(BATCH_MAX, take)? {
                    Read::Messages(count) => return Ok(count),
                    Read::Gap(_) => self.place = Place::History(None),
                }
            }
            Place::History(Some(reader)) => {
                let mut count = 0;
                if let Some(batch) = reader.next_batch()? {
                    for (sequence, payload) in batch.records() {
                        take(sequence, payload);
                        count += 1;
                    }
                    return Ok(count);
                }
                self.join()?;
            }
            Place::History(None) => self.open_history()?,
        }
        Ok(0)
    }

    fn open_history(&mut self) -> Result<(), PlaneError> {
        match JournalReader::open(&self.journal_dir, ReaderOptions::from_sequence(self.next_sequence)) {
            Ok(reader) => self.place = Place::History(Some(reader)),
            Err(JournalError::Absent { .. }) => self.join()?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Goes over to the ring if it still holds the next message.
    fn join(&mut self) -> Result<(), PlaneError> {
        let options = ConsumerOptions::named(self.consumer.clone())
            .start(Start::Sequence(self.next_sequence))
            .policy(Policy::default())
            .peek(true)
            .wait(self.wait);
        let mut consumer = self.ring.consumer(&options)?;
        // A limit of 0 reads nothing, but tells of a gap before the next message.
        match consumer.read(0, |_, _| {})? {
            Read::Messages(_) => self.place = Place::Live(consumer),
            Read::Gap(_) => std::thread::sleep(JOURNAL_WAIT),
        }
        Ok(())
    }
}
