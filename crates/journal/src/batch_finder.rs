//! In which batch of a journal a message is: what tells its history from another one that has as many messages.
//!
//! Two journals that were one, a restored copy and what went on without it, give the same numbers to different messages. Number
//! and chain value of the batch that holds a message are the same in both only as long as all before it is. So who keeps
//! something that was made of messages keeps these with it, and asks again before it is used. Only the heads of batches are
//! read, from where the last answer was on: what they hold is verified by who reads it.

use std::path::Path;
use std::sync::Arc;

use crate::error::{JournalError, io_error};
use crate::frame::{BATCH_HEADER_SIZE_BYTES, BatchHeader, ChainState, SEGMENT_HEADER_SIZE_BYTES};
use crate::reader::{Window, choose_segment};
use crate::segment::{self, OpenSegment};
use crate::storage::{self, Storage};
use crate::walk::follows;

/// Which batch of a journal: the same in another one only where both are of one history up to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchMark {
    /// Rises by one through the whole journal, from 1.
    pub number: u64,
    /// Its chain value.
    pub chain: u32,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The batch that holds it.
    pub batch: BatchMark,
    /// When that segment was begun, ns since 1970 UTC by the writer's clock; `None` in version 1.
    pub created_ns: Option<i64>,
}

/// Finds the batches of messages, fastest in their order.
#[derive(Debug)]
pub struct BatchFinder {
    storage: Arc<dyn Storage>,
    /// `None` before the first look.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    segment: OpenSegment,
    offset: u64,
    state: ChainState,
    /// The batch that ends at `offset`.
    last: Option<BatchHeader>,
    window: Window,
}

impl BatchFinder {
    /// Of the journal in the directory `path`, which is looked at by [`Self::find`].
    pub fn new(path: &Path) -> Self {
        Self::over(storage::directory(path))
    }

    /// As [`Self::new`], over any storage.
    pub fn over(storage: Arc<dyn Storage>) -> Self {
        Self { storage, place: None }
    }

    /// The batch that holds message `sequence`, whether it is known durable or not; `None` where the journal has no such message:
    /// it ends before, or a cut gave up the number.
    ///
    /// # Errors
    /// [`JournalError::Absent`] when there is no journal, [`JournalError::Compacted`] when the message is gone, unless it was the
    /// last that is gone and the journal still says how its batch ended.
    pub fn find(&mut self, sequence: u64) -> Result<Option<Found>, JournalError> {
        let mut place = match self.place.take() {
            Some(place) if place.begins() <= sequence => place,
            _ => {
                let (first, segment) = choose_segment(&*self.storage, sequence)?;
                if sequence < first {
                    return self.before(&segment, sequence, first);
                }
                Place::at_start(segment)
            }
        };
        while place.state.next_sequence <= sequence {
            if !place.step(&*self.storage)? {
                self.place = Some(place);
                return Ok(None);
            }
        }
        let found = place.last.map(|batch| Found {
            batch: BatchMark { number: batch.batch_number, chain: batch.chain },
            created_ns: place.segment.header.created_ns(),
        });
        let is_held = place.last.is_some_and(|batch| batch.first_sequence <= sequence);
        self.place = Some(place);
        Ok(found.filter(|_| is_held))
    }

    /// What the oldest segment says of the batch before it.
    fn before(&self, oldest: &OpenSegment, sequence: u64, first: u64) -> Result<Option<Found>, JournalError> {
        let header = &oldest.header;
        if sequence == 0 || (sequence + 1 == first && header.predecessor_batch > 0) {
            let batch = BatchMark { number: header.predecessor_batch, chain: header.predecessor_chain };
            return Ok((sequence > 0).then_some(Found { batch, created_ns: None }));
        }
        Err(JournalError::Compacted { path: self.storage.path(""), requested: sequence, first })
    }
}

impl Place {
    fn at_start(segment: OpenSegment) -> Self {
        let state = ChainState::at_start(&segment.header, segment.header_crc);
        Self { segment, offset: SEGMENT_HEADER_SIZE_BYTES as u64, state, last: None, window: Window::default() }
    }

    /// The first message that this place and what is behind it can have.
    fn begins(&self) -> u64 {
        self.last.map_or(self.state.next_sequence, |batch| batch.first_sequence)
    }

    /// Goes behind the next batch of messages, or into the next segment; false at the end.
    fn step(&mut self, storage: &dyn Storage) -> Result<bool, JournalError> {
        let room = self.segment.header.size_bytes.saturating_sub(self.offset) as usize;
        let path = || storage.path(&segment::file_name(self.segment.header.segment));
        // What was read ahead may be from before it was written.
        for fresh in [false, true] {
            self.window
                .load(&*self.segment.file, self.offset, BATCH_HEADER_SIZE_BYTES.min(room), fresh, 0)
                .map_err(|error| io_error("read", &path())(error))?;
            if let Some(header) = self.state.check_head(self.window.from(self.offset), room) {
                self.offset += u64::from(header.length);
                self.state = self.state.after(&header);
                // One of configuration holds no message.
                self.last = (header.message_count() > 0).then_some(header).or(self.last);
                return Ok(true);
            }
        }
        let Some(next) = segment::read_header(storage, self.segment.header.segment + 1)? else { return Ok(false) };
        if !follows(&next.header, &self.state) {
            return Ok(false);
        }
        *self = Self::at_start(next);
        Ok(true)
    }
}
