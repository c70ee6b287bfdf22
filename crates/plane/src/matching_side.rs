//! Matching as a live engine has it: it carries out commands ahead of the disk, and publishes what came of it behind.

use tidebook_types::{Command, Execution};
use tidebook_venue::Venue;

use crate::error::PlaneError;
use crate::latency::now;
use crate::release::{Release, Visibility};
use crate::venue_status::{VenueShared, VenueStage};

/// The venue, its channel and what waits for it.
#[derive(Debug)]
pub(crate) struct MatchingSide {
    pub(crate) venue: Venue,
    pub(crate) executions: Release<Execution>,
    /// Last command that was carried out.
    pub(crate) applied: u64,
    /// One command in this many is timed; 0: none.
    pub(crate) stages_every: u64,
}

impl MatchingSide {
    /// Carries a command out; `made` gets what came of it.
    #[inline]
    pub(crate) fn apply(
        &mut self,
        sequence: u64,
        command: &Command,
        shared: &VenueShared,
        mut made: impl FnMut(&Execution),
    ) {
        let Self { venue, executions, stages_every: every, .. } = self;
        venue.apply(sequence, command, &mut |execution| {
            if executions.push(execution) {
                released(execution, *every, shared);
            }
            made(execution);
        });
        self.applied = sequence;
        if self.is_timed(sequence) {
            shared.record(VenueStage::JudgedMatched, command.head.ts, now());
        }
    }

    /// Publishes what is visible by now. Gives how many.
    #[inline]
    pub(crate) fn publish(&mut self, visibility: &Visibility, shared: &VenueShared) -> Result<usize, PlaneError> {
        publish_executions(&mut self.executions, self.stages_every, visibility, shared)
    }

    /// When something expires next; the largest number for never.
    pub(crate) fn next_due(&self) -> i64 {
        self.venue.next_due().unwrap_or(i64::MAX)
    }

    #[inline]
    const fn is_timed(&self, sequence: u64) -> bool {
        self.stages_every != 0 && sequence.is_multiple_of(self.stages_every)
    }
}

/// Publishes executions that are visible by now. Gives how many.
#[inline]
pub(crate) fn publish_executions(
    executions: &mut Release<Execution>,
    every: u64,
    visibility: &Visibility,
    shared: &VenueShared,
) -> Result<usize, PlaneError> {
    if executions.waits_for().is_none() {
        executions.wake();
        return Ok(0);
    }
    executions.publish(visibility.last(), |execution| released(execution, every, shared))
}

/// Times an execution that was published.
#[inline]
pub(crate) fn released(execution: &Execution, every: u64, shared: &VenueShared) {
    if execution.source_index == 0 && every != 0 && execution.source_sequence.is_multiple_of(every) {
        shared.record(VenueStage::JudgedReleased, execution.ts, now());
    }
}
