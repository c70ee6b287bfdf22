//! A venue in parts that run apart: each has the orders of its instruments, and all accounts.
//!
//! Every part is given every command. One that names an instrument is carried out by the part that has it; what concerns accounts, and what
//! expires, by all of them, each for its own orders. What the parts said is put in the order, and given the numbers, in which the whole
//! venue would have said it, so nothing that lasts depends on how many parts there are. The cost is that accounts and definitions are
//! there once for each part, and that a command is done when the slowest part has looked at it.
//!
//! One rule looks at all orders together: that there is room for another (`FULL`). A part sees its own alone, so the parts say what the
//! whole says only while something before them, risk in the engine, never lets more orders in than the whole has room for.

use std::collections::VecDeque;

use tidebook_journal::{State, StateError};
use tidebook_types::{Execution, ExecutionKind};

use crate::venue::Venue;

/// Which part of a venue this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: u32,
    pub(crate) count: u32,
}

impl Shard {
    pub(crate) const WHOLE: Self = Self { index: 0, count: 1 };

    /// Whether an instrument is this part's. Number 0, which is none, is the first one's: it speaks for all.
    #[inline]
    pub(crate) const fn owns(self, instrument_id: u32) -> bool {
        self.count == 1 || instrument_id % self.count == self.index
    }
}

/// Where in its command something was said. An execution of a part says it in place of its numbers: `source_index` is the phase, `sequence`
/// the [`turn`] within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// What had expired: by time, orders before switches.
    Expiry,
    /// The command itself, said by the one part that has its instrument.
    Command,
    /// Orders that a command takes of all instruments, in the order of acceptance.
    Many,
    /// How many those were.
    Sum,
    /// Pegged orders after the command, by instrument.
    Pegs,
    /// Triggered stops of the command's instrument, and pegged orders after each.
    Stops,
    /// Indicative prices, by instrument.
    Indicatives,
}

impl Phase {
    const ALL: [Self; 7] =
        [Self::Expiry, Self::Command, Self::Many, Self::Sum, Self::Pegs, Self::Stops, Self::Indicatives];
}

/// Within [`Phase::Expiry`]: the time that it was due at, and whether it was a switch.
pub(crate) const fn turn(due: i64, is_switch: bool) -> u64 {
    (due as u64) << 1 | is_switch as u64
}

/// What decides the order of things said of one command by several parts. What compares equal is of one part, and stays in its order.
fn place(said: &Execution) -> (Phase, u64, u32, u64) {
    let phase = Phase::ALL[said.source_index as usize];
    match phase {
        // A leg that goes with the other one has the id behind it.
        Phase::Expiry if said.sequence & 1 == 0 => (phase, said.sequence, 0, said.order_id),
        Phase::Expiry => (phase, said.sequence, said.account, said.order_id),
        Phase::Many => (phase, 0, 0, said.order_id),
        Phase::Pegs | Phase::Indicatives => (phase, 0, said.instrument_id, 0),
        Phase::Command | Phase::Sum | Phase::Stops => (phase, 0, 0, 0),
    }
}

impl Venue {
    /// The part that has an instrument, of `count`.
    pub const fn shard_of(instrument_id: u32, count: u32) -> u32 {
        instrument_id % count
    }

    /// The venue in `count` parts.
    ///
    /// # Errors
    /// When it contradicts itself, which would be a fault of ours.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn into_shards(self, count: u32) -> Result<Vec<Self>, StateError> {
        assert!(count > 0, "a venue has at least one part");
        if count == 1 {
            return Ok(vec![self]);
        }
        let mut bytes = Vec::new();
        self.save(&mut bytes).expect("memory takes all");
        let part = |index| {
            let mut part = Self::new_part(self.options, Shard { index, count });
            part.load(&bytes).map(|()| part)
        };
        (0..count).map(part).collect()
    }

    /// The whole of all parts, in their order; it has said `executions`.
    ///
    /// # Errors
    /// When the parts contradict each other: they were not given the same commands.
    pub fn of_shards(mut shards: Vec<Self>, executions: u64) -> Result<Self, StateError> {
        if shards.len() == 1 {
            return Ok(shards.remove(0));
        }
        let mut bytes = Vec::new();
        Self::save_shards(&shards, executions, &mut bytes).expect("memory takes all");
        let mut whole = Self::new(shards[0].options);
        whole.load(&bytes).map(|()| whole)
    }
}

/// Puts what the parts of a venue say in order, and numbers it.
#[derive(Debug)]
pub struct ShardMerge {
    said: Vec<VecDeque<Execution>>,
    /// Last command that each part has done.
    applied: Vec<u64>,
    /// Number of the last execution.
    executions: u64,
    /// What was said of the command in hand.
    command: Vec<Execution>,
}

impl ShardMerge {
    /// Of so many parts, behind command `applied` and execution `executions`.
    pub fn new(count: u32, applied: u64, executions: u64) -> Self {
        let said = (0..count).map(|_| VecDeque::with_capacity(1 << 12)).collect();
        Self { said, applied: vec![applied; count as usize], executions, command: Vec::with_capacity(1 << 10) }
    }

    /// What a part said next.
    #[inline]
    pub fn said(&mut self, shard: usize, execution: &Execution) {
        self.said[shard].push_back(*execution);
    }

    /// A part has done all commands up to this one.
    #[inline]
    pub fn done(&mut self, shard: usize, sequence: u64) {
        self.applied[shard] = sequence;
    }

    /// Last command that all parts have done.
    pub fn applied(&self) -> u64 {
        self.applied.iter().copied().min().unwrap_or(0)
    }

    /// How much of a part waits, for one that is ahead of another; 0 for one that all others wait for.
    pub fn ahead(&self, shard: usize) -> usize {
        if self.applied[shard] == self.applied() { 0 } else { self.said[shard].len() }
    }

    /// Number of the last execution.
    pub const fn execution_count(&self) -> u64 {
        self.executions
    }

    /// Hands out all that was said of commands that every part has done. Gives how many.
    #[inline]
    pub fn merge(&mut self, out: &mut dyn FnMut(&Execution)) -> usize {
        let (applied, before) = (self.applied(), self.executions);
        loop {
            // The next command, how many parts spoke of it, and the last of them.
            let (mut next, mut parts, mut speaker) = (u64::MAX, 0, 0);
            for (shard, said) in self.said.iter().enumerate() {
                match said.front().map(|said| said.source_sequence) {
                    Some(sequence) if sequence < next => (next, parts, speaker) = (sequence, 1, shard),
                    Some(sequence) if sequence == next => parts += 1,
                    _ => {}
                }
            }
            if next > applied {
                return (self.executions - before) as usize;
            }
            let mut index = 0;
            let executions = &mut self.executions;
            let mut number = |mut said: Execution| {
                *executions += 1;
                (said.sequence, said.source_index) = (*executions, index);
                index += 1;
                out(&said);
            };
            let of_next = |said: &Execution| said.source_sequence == next;
            if parts == 1 {
                let said = &mut self.said[speaker];
                while said.front().is_some_and(of_next) {
                    said.pop_front().into_iter().for_each(&mut number);
                }
                continue;
            }
            self.command.clear();
            for said in &mut self.said {
                let count = said.iter().take_while(|said| of_next(said)).count();
                self.command.extend(said.drain(..count));
            }
            self.command.sort_by_key(place);
            let mut said = self.command.drain(..).peekable();
            while let Some(mut one) = said.next() {
                if one.kind == ExecutionKind::MassCancelled.code() {
                    // Each part counted its own.
                    while let Some(other) = said.next_if(|other| other.kind == one.kind) {
                        one.size += other.size;
                    }
                }
                number(one);
            }
        }
    }
}
