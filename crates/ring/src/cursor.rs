//! Moving the cursor of a consumer that is not open: what an operator does when one is to read again, or to skip.

use std::sync::atomic::{Ordering, fence};

use crate::error::RingError;
use crate::frame::Place;
use crate::layout;
use crate::lock::EndpointLock;
use crate::mapping::io_error;
use crate::ring::Ring;
use crate::view::Walker;

/// Where a cursor is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveTo {
    /// The oldest message still there.
    Earliest,
    /// After the newest.
    Latest,
    /// This one.
    Sequence(u64),
}

impl Ring {
    /// Moves the cursor of a named consumer that is not open and gives the sequence it reads next. It is waited for, or
    /// not, as before.
    ///
    /// # Errors
    /// [`RingError::ConsumerUnknown`]; [`RingError::ConsumerBusy`] while it is open; [`RingError::StartBeyond`] and
    /// [`RingError::StartGone`] for a sequence that is not there.
    pub fn move_consumer(&self, name: &str, to: MoveTo) -> Result<u64, RingError> {
        self.with_registry(|| {
            let mapping = &self.mapping;
            let lines = self.find_consumer(name).ok_or_else(|| RingError::ConsumerUnknown { name: name.to_owned() })?;
            let identity = &lines.identity.0;
            // Held to the end: it must not be opened meanwhile.
            let _lock = EndpointLock::acquire(&mapping.file, mapping.lock_offset_of(lines))
                .map_err(io_error("lock", self.path()))?
                .ok_or_else(|| RingError::ConsumerBusy {
                    name: name.to_owned(),
                    process_id: identity.process_id.load(Ordering::Relaxed),
                })?;
            let is_gating = identity.state.load(Ordering::Acquire) == layout::CONSUMER_GATING;
            let write = |place: Place| lines.line().advance(place.into());
            let before = Place {
                sequence: lines.cursor.0.sequence.load(Ordering::Relaxed),
                position: lines.cursor.0.position.load(Ordering::Acquire),
            };
            // A producer may move the floor over a cursor once or twice before it sees it. More often, the floor is damaged.
            for _ in 0..100 {
                // What it asks for may be overwritten while it is not waited for there yet. Where it was, it is.
                let place = self.find(to).inspect_err(|_| write(before))?;
                write(place);
                // As one that joins: a producer that did not see this cursor has written a floor that is seen here.
                mapping.hot().joins.0.fetch_add(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if !is_gating || place.position >= mapping.oldest().position {
                    return Ok(place.sequence);
                }
            }
            write(before);
            Err(RingError::Corrupt { sequence: before.sequence, reason: "floor" })
        })
    }

    fn find(&self, to: MoveTo) -> Result<Place, RingError> {
        let mapping = &self.mapping;
        let (oldest, newest) = (mapping.oldest(), mapping.newest());
        match to {
            MoveTo::Earliest => Ok(oldest),
            MoveTo::Latest => Ok(newest),
            MoveTo::Sequence(asked) if asked > newest.sequence => {
                Err(RingError::StartBeyond { asked, next: newest.sequence })
            }
            MoveTo::Sequence(asked) => {
                let place = Walker::new(mapping.clone(), asked, false).place();
                if place.sequence == asked {
                    return Ok(place);
                }
                Err(RingError::StartGone { asked, oldest: mapping.oldest().sequence })
            }
        }
    }
}
