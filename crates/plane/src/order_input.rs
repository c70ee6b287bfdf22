//! Commands from a ring in turns: those of `orders.in`, and for a matching thread of its own those of `orders`.
//!
//! A turn is copied out of the ring, so that nothing of it is borrowed while its commands are carried out, and given back to the ring when
//! they are.

use tidebook_ring::{Consumer, Read, RingError};
use tidebook_types::Command;
use zerocopy::FromBytes;

use crate::error::PlaneError;

/// Commands of one turn.
const TURN: usize = 64;

/// A consumer of commands.
#[derive(Debug)]
pub(crate) struct OrderInput {
    consumer: Consumer,
    turn: Vec<(u64, Command)>,
    /// Messages that were overwritten or damaged before they were read.
    missed: u64,
}

impl OrderInput {
    pub(crate) fn new(consumer: Consumer) -> Self {
        Self { consumer, turn: Vec::with_capacity(TURN), missed: 0 }
    }

    /// Reads the next turn; whether there is anything in it. Does not wait.
    #[inline]
    pub(crate) fn read(&mut self) -> Result<bool, PlaneError> {
        self.turn.clear();
        let turn = &mut self.turn;
        let read = self.consumer.read(TURN, |sequence, payload| {
            turn.push((sequence, Command::read_from_bytes(payload).expect("slots hold commands")));
        });
        match read {
            Ok(Read::Messages(_)) => {}
            Ok(Read::Gap(gap)) => self.missed += gap.count,
            // Somebody's store went astray: whoever waits for this one gets no answer, and all others do.
            Err(RingError::Corrupt { .. }) => self.missed += self.consumer.skip()?.count,
            Err(error) => return Err(error.into()),
        }
        Ok(!self.turn.is_empty())
    }

    /// Sequences and commands of the turn.
    #[inline]
    pub(crate) fn turn(&self) -> &[(u64, Command)] {
        &self.turn
    }

    /// The turn is carried out: its slots may be overwritten.
    #[inline]
    pub(crate) fn commit(&mut self) {
        self.turn.clear();
        self.consumer.commit();
    }

    /// Messages that were lost.
    pub(crate) const fn missed(&self) -> u64 {
        self.missed
    }

    pub(crate) const fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }
}
