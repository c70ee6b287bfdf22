//! Risk and matching as one of the engines of a thread.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use crate::error::PlaneError;
use crate::matching_side::MatchingSide;
use crate::risk_side::RiskSide;
use crate::turns::{Turned, Turns, Waits};
use crate::venue_loops::{Fused, Rest, Surroundings};

type Parts = Result<(RiskSide, MatchingSide), PlaneError>;

/// Where the venue's end is told.
pub(crate) type VenueEnd = Receiver<Parts>;

/// Does what [`Fused`] does with a thread of its own.
pub(crate) struct VenueInTurns {
    fused: Fused,
    around: Surroundings,
    has_begun: bool,
    told: SyncSender<Parts>,
}

impl VenueInTurns {
    pub(crate) fn new(fused: Fused, around: Surroundings) -> (Self, VenueEnd) {
        let (told, end) = std::sync::mpsc::sync_channel(1);
        (Self { fused, around, has_begun: false, told }, end)
    }
}

impl Turns for VenueInTurns {
    fn turn(&mut self) -> Result<Turned, PlaneError> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Ok(if self.fused.begin(&self.around)? { Turned::Worked } else { Turned::Over });
        }
        self.fused.turn(&self.around)
    }

    fn wait_for<'a>(&'a mut self, waits: &mut Waits<'a>) -> Result<(), PlaneError> {
        let Self { fused, around, .. } = self;
        around.check_journal()?;
        let Rest { is_full, durable, until_timer } = fused.rest(around);
        if let Some(ns) = until_timer {
            waits.within(Duration::from_nanos(ns.unsigned_abs()));
        }
        if let Some(sequence) = durable {
            waits.durable(&around.visibility.orders, sequence);
        }
        if !is_full {
            waits.consumer(fused.input.consumer());
        }
        Ok(())
    }

    fn end(self: Box<Self>, failure: Option<PlaneError>) {
        let Self { fused, around, told, .. } = *self;
        let result = failure.map_or_else(|| fused.end(&around), Err);
        if let Err(error) = &result {
            around.shared.fail(error.to_string());
        }
        // Whoever started it may not wait for its end.
        let _ = told.send(result);
    }
}
