//! What an engine reads of one feed: its channel from where it is taken up, its journal first, then live from its ring.
//!
//! The ring of a capture is read ahead of the durable watermark (`peek`): what the engine publishes is no more lasting than that.
//! `orders` is not: what came of a command is said to nobody before it is durable.
//! The capture never waits for the engine: if the ring no longer holds the next message, the journal does or soon will,
//! and reading goes on there.

use std::ops::ControlFlow;
use std::path::PathBuf;

use tidebook_journal::{JournalError, JournalReader, ReaderOptions};
use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, Ring, Start, Wait};
use tidebook_types::Venue;

use crate::error::PlaneError;

/// Where the input stands.
#[derive(Debug)]
enum Place {
    /// Behind the ring: reading the journal, unless there is none yet.
    History(Option<JournalReader>),
    /// On the ring.
    Live(Consumer),
}

/// One feed channel, read in order; without gap but where its journal was cut.
#[derive(Debug)]
pub(crate) struct FeedInput {
    venue: Venue,
    journal_dir: PathBuf,
    ring: Ring,
    wait: Wait,
    peek: bool,
    next_sequence: u64,
    place: Place,
}

/// Hands messages on as long as they follow from each other.
struct Follow<'a, F> {
    next: &'a mut u64,
    stray: Option<u64>,
    each: F,
}

impl<F: FnMut(u64, &[u8])> Follow<'_, F> {
    fn take(&mut self, sequence: u64, payload: &[u8]) -> ControlFlow<()> {
        if sequence != *self.next {
            self.stray = Some(sequence);
            return ControlFlow::Break(());
        }
        (self.each)(sequence, payload);
        *self.next = sequence + 1;
        ControlFlow::Continue(())
    }
}

impl FeedInput {
    /// Reads what follows `behind`, a sequence: the journal in `journal_dir`, then `ring`.
    pub(crate) fn new(venue: Venue, journal_dir: PathBuf, ring: Ring, wait: Wait, behind: u64) -> Self {
        let (next_sequence, place) = (behind + 1, Place::History(None));
        Self { venue, journal_dir, ring, wait, peek: venue != Venue::Local, next_sequence, place }
    }

    /// Whether history is done and messages come from the ring.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.place, Place::Live(_))
    }

    /// Sequence of the last message handed out.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// The consumer to wait for, once history is done.
    pub(crate) fn consumer(&mut self) -> Option<&mut Consumer> {
        match &mut self.place {
            Place::Live(consumer) => Some(consumer),
            Place::History(_) => None,
        }
    }

    /// Hands the next messages to `each`: up to `limit` of the ring, or a batch of the journal. Gives how many; 0 when
    /// nothing is there now. Does not wait.
    ///
    /// # Errors
    /// [`PlaneError`] of the ring or the journal, [`PlaneError::OutOfSequence`]; damage is never passed over.
    pub(crate) fn read(&mut self, limit: usize, each: impl FnMut(u64, &[u8])) -> Result<usize, PlaneError> {
        let mut follow = Follow { next: &mut self.next_sequence, stray: None, each };
        let mut count = 0;
        match &mut self.place {
            Place::Live(consumer) => {
                match consumer.read_while(limit, |sequence, payload| follow.take(sequence, payload))? {
                    Read::Messages(read) => {
                        count = read;
                        consumer.commit();
                    }
                    Read::Gap(_) => {
                        self.place = Place::History(None);
                        return Ok(0);
                    }
                }
            }
            Place::History(Some(reader)) => match reader.next_batch()? {
                Some(batch) => {
                    // A journal leaves out only the numbers of what somebody's cut gave up.
                    *follow.next = batch.first_sequence().max(*follow.next);
                    for (sequence, payload) in batch.records() {
                        if follow.take(sequence, payload).is_break() {
                            break;
                        }
                        count += 1;
                    }
                }
                None => {
                    *follow.next = reader.next_sequence().max(*follow.next);
                    self.join()?;
                    return Ok(0);
                }
            },
            Place::History(None) => {
                self.open_history()?;
                return Ok(0);
            }
        }
        match follow.stray {
            None => Ok(count),
            Some(found) => {
                let (venue, expected) = (self.venue.name(), self.next_sequence);
                Err(PlaneError::OutOfSequence { venue, expected, found })
            }
        }
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
        let options = ConsumerOptions::named("engine")
            .start(Start::Sequence(self.next_sequence))
            .policy(Policy::Overwrite)
            .peek(self.peek)
            .wait(self.wait);
        let mut consumer = self.ring.consumer(&options)?;
        // A limit of 0 reads nothing, but tells of a gap before the next message.
        if let Read::Messages(_) = consumer.read(0, |_, _| {})? {
            self.place = Place::Live(consumer);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_follow_is_not_handed_on() {
        let (mut next, mut taken) = (1, Vec::new());
        let mut follow = Follow { next: &mut next, stray: None, each: |sequence, _: &[u8]| taken.push(sequence) };
        for (sequence, goes_on) in [(1, true), (2, true), (4, false)] {
            assert_eq!(follow.take(sequence, b"").is_continue(), goes_on);
        }
        assert_eq!(follow.stray, Some(4));
        assert_eq!((next, taken), (3, vec![1, 2]));
    }
}
