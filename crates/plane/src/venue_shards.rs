//! Matching by several threads: one for each part of the venue, and one that puts in order what they say.
//!
//! Every part reads all of `orders`, ahead of the disk, and hands what it says on over a ring without a name; behind each turn it says how
//! far it is. The thread of the merge numbers executions, publishes them when their commands are visible, and shows them to risk: to
//! all others it is what one matching thread would be. A part that is ahead waits when much of it is not merged; the one that all wait
//! for is always read, so they cannot wait for each other.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tidebook_ring::{Consumer, Producer, Read};
use tidebook_types::Execution;
use tidebook_venue::{ShardMerge, Venue};
use zerocopy::FromBytes;

use crate::error::PlaneError;
use crate::latency::now;
use crate::matching_side::{publish_executions, released};
use crate::order_input::OrderInput;
use crate::release::Release;
use crate::venue_loops::{STOP_WAIT, Surroundings, hand_over};
use crate::venue_status::VenueStage;

/// Executions of a part that is ahead, before it has to wait.
const AHEAD_MAX: usize = 1 << 14;
/// Records taken from one part before another is looked at.
const READ_MAX: usize = 1 << 10;

/// How far a part is, as a record among its executions: it has a kind that no execution has.
fn progress(applied: u64, next_due: i64) -> Execution {
    Execution { source_sequence: applied, ts: next_due, ..Execution::default() }
}

fn is_progress(record: &Execution) -> bool {
    record.kind == 0
}

/// One part.
pub(crate) struct ShardThread {
    /// `orders`, ahead of the disk.
    pub(crate) input: OrderInput,
    pub(crate) venue: Venue,
    /// To the merge.
    pub(crate) out: Producer,
    /// What the turn in hand gave.
    pub(crate) said: Vec<Execution>,
}

impl ShardThread {
    pub(crate) fn run(mut self, around: &Surroundings) -> Result<Venue, PlaneError> {
        let shared = &*around.shared;
        loop {
            if shared.has_failed() {
                return Err(PlaneError::OtherThread);
            }
            // Before the read: what it judged before it was done is found by that.
            let is_last = shared.risk_done.load(Ordering::Acquire);
            if self.input.read()? {
                self.turn(around)?;
                continue;
            }
            if self.input.missed() > 0 {
                return Err(PlaneError::MatchingMissed { count: self.input.missed() });
            }
            if is_last {
                break;
            }
            around.sleep(&mut [self.input.consumer()], None, None)?;
        }
        shared.shards_done.fetch_add(1, Ordering::Release);
        Ok(self.venue)
    }

    fn turn(&mut self, around: &Surroundings) -> Result<(), PlaneError> {
        let Self { input, venue, out, said } = self;
        if input.missed() > 0 {
            return Err(PlaneError::MatchingMissed { count: input.missed() });
        }
        said.clear();
        let mut applied = 0;
        for (sequence, command) in input.turn() {
            venue.apply(*sequence, command, &mut |execution| said.push(*execution));
            applied = *sequence;
        }
        said.push(progress(applied, venue.next_due().unwrap_or(i64::MAX)));
        hand_over(out, said, around, || Ok(()))?;
        input.commit();
        Ok(())
    }
}

/// What a part says, as the merge reads it.
pub(crate) struct ShardInput {
    pub(crate) consumer: Consumer,
    /// When something of it is due; the largest number for never.
    pub(crate) next_due: i64,
}

/// Puts in order what the parts say.
pub(crate) struct MergeThread {
    pub(crate) inputs: Vec<ShardInput>,
    pub(crate) merge: ShardMerge,
    pub(crate) executions: Release<Execution>,
    /// To risk.
    pub(crate) back: Producer,
    /// What was merged at last.
    pub(crate) made: Vec<Execution>,
    pub(crate) stages_every: u64,
}

impl MergeThread {
    /// Gives the number of the last execution.
    pub(crate) fn run(mut self, around: &Surroundings) -> Result<u64, PlaneError> {
        let shared = &*around.shared;
        self.publish(around)?;
        self.note(around);
        loop {
            if shared.has_failed() {
                return Err(PlaneError::OtherThread);
            }
            // Before the reads: what parts said before they were done is found by those.
            let is_last = shared.shards_done.load(Ordering::Acquire) as usize == self.inputs.len();
            let is_full = self.executions.is_full() && !shared.risk_done.load(Ordering::Acquire);
            let mut count = 0;
            if !is_full {
                count = self.read()?;
                self.merge(around)?;
            }
            count += self.publish(around)?;
            if count > 0 {
                self.note(around);
                continue;
            }
            if is_last {
                break;
            }
            let durable = self.executions.waits_for();
            let Self { inputs, merge, .. } = &mut self;
            let inputs = inputs.iter_mut().enumerate();
            let inputs = inputs.filter(|(shard, _)| !is_full && merge.ahead(*shard) < AHEAD_MAX);
            let mut consumers: Vec<_> = inputs.map(|(_, input)| &mut input.consumer).collect();
            around.sleep(&mut consumers, durable, None)?;
        }
        shared.matching_done.store(true, Ordering::Release);
        around.wait_visible(self.executions.waits_for_last(), Instant::now() + STOP_WAIT);
        self.publish(around)?;
        self.note(around);
        Ok(self.merge.execution_count())
    }

    /// Takes in what the parts said. Gives how many records.
    fn read(&mut self) -> Result<usize, PlaneError> {
        let Self { inputs, merge, .. } = self;
        let mut count = 0;
        for (shard, input) in inputs.iter_mut().enumerate() {
            if merge.ahead(shard) >= AHEAD_MAX {
                continue;
            }
            let ShardInput { consumer, next_due } = input;
            let read = consumer.read(READ_MAX, |_, payload| {
                let record = Execution::read_from_bytes(payload).expect("slots hold executions");
                if is_progress(&record) {
                    merge.done(shard, record.source_sequence);
                    *next_due = record.ts;
                } else {
                    merge.said(shard, &record);
                }
            })?;
            match read {
                Read::Messages(0) => {}
                Read::Messages(read) => {
                    consumer.commit();
                    count += read;
                }
                Read::Gap(gap) => unreachable!("{gap:?} of a ring whose producer waits"),
            }
        }
        Ok(count)
    }

    /// Numbers what all parts have done, and shows it to risk.
    fn merge(&mut self, around: &Surroundings) -> Result<(), PlaneError> {
        let Self { merge, executions, back, made, stages_every: every, .. } = self;
        made.clear();
        merge.merge(&mut |execution| {
            if executions.push(execution) {
                released(execution, *every, &around.shared);
            }
            made.push(*execution);
            if *every != 0 && execution.source_index == 0 && execution.source_sequence.is_multiple_of(*every) {
                around.shared.record(VenueStage::JudgedMatched, execution.ts, now());
            }
        });
        hand_over(back, made, around, || {
            publish_executions(executions, *every, &around.visibility, &around.shared).map(|_| ())
        })
    }

    fn publish(&mut self, around: &Surroundings) -> Result<usize, PlaneError> {
        publish_executions(&mut self.executions, self.stages_every, &around.visibility, &around.shared)
    }

    fn note(&self, around: &Surroundings) {
        let next_due = self.inputs.iter().map(|input| input.next_due).min().unwrap_or(i64::MAX);
        let (executed, published) = (self.merge.execution_count(), self.executions.published());
        around.note_executions(executed, published, next_due, self.merge.applied());
    }
}
