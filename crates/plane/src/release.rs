//! What was derived ahead of the disk and waits until `orders` has made its command visible.
//!
//! Matching does not wait for the journal; what it says to others does. Records of a derived channel stand here in order until the command
//! they followed from is durable, and their number in the channel is their own, so that a restart goes on with the next.

use std::collections::VecDeque;

use tidebook_ring::{Producer, Ring};
use tidebook_types::{Execution, Record, RiskEvent};

use crate::error::PlaneError;

/// A record that is numbered by who makes it and follows from a command of `orders`.
pub(crate) trait Derived: Record {
    /// Its channel.
    const CHANNEL: &'static str;

    /// Its own number, which is its sequence on the channel.
    fn sequence(&self) -> u64;

    /// The command that has to be visible before it may be.
    fn source_sequence(&self) -> u64;
}

impl Derived for Execution {
    const CHANNEL: &'static str = "executions";

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn source_sequence(&self) -> u64 {
        self.source_sequence
    }
}

impl Derived for RiskEvent {
    const CHANNEL: &'static str = "risk";

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn source_sequence(&self) -> u64 {
        self.source_sequence
    }
}

/// How far `orders` is visible.
#[derive(Debug, Clone)]
pub(crate) struct Visibility {
    pub(crate) orders: Ring,
    /// There is no journal: what is published is visible.
    pub(crate) in_memory: bool,
}

impl Visibility {
    /// Last command that is visible.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        if self.in_memory { u64::MAX } else { self.orders.durable() }
    }
}

/// Records that may wait before no further command is taken.
const WAITING_MAX: usize = 1 << 16;

/// One derived channel with what waits for it.
#[derive(Debug)]
pub(crate) struct Release<T> {
    producer: Producer,
    waiting: VecDeque<T>,
    published: u64,
}

impl<T: Derived> Release<T> {
    pub(crate) fn new(producer: Producer) -> Self {
        Self { published: producer.published(), producer, waiting: VecDeque::with_capacity(WAITING_MAX + 1024) }
    }

    /// Takes the next record; one that the channel has already is dropped.
    #[inline]
    pub(crate) fn push(&mut self, record: &T) {
        if record.sequence() > self.published {
            self.waiting.push_back(*record);
        }
    }

    /// Publishes what has become visible; `each` sees it too. Gives how many.
    #[inline]
    pub(crate) fn publish(&mut self, visible: u64, mut each: impl FnMut(&T)) -> Result<usize, PlaneError> {
        let mut count = 0;
        while let Some(record) = self.waiting.front()
            && record.source_sequence() <= visible
        {
            let found = self.producer.write(record.as_bytes())?;
            if found != record.sequence() {
                let (channel, expected) = (T::CHANNEL, record.sequence());
                return Err(PlaneError::Numbering { channel, expected, found });
            }
            each(record);
            self.published = found;
            self.waiting.pop_front();
            count += 1;
        }
        Ok(count)
    }

    /// The command that has to be visible before anything goes on; `None` when nothing waits.
    #[inline]
    pub(crate) fn waits_for(&self) -> Option<u64> {
        self.waiting.front().map(Derived::source_sequence)
    }

    /// The command that has to be visible before everything is published.
    pub(crate) fn waits_for_last(&self) -> Option<u64> {
        self.waiting.back().map(Derived::source_sequence)
    }

    /// So much waits that nothing more should be derived.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Number of the last record that is published.
    pub(crate) const fn published(&self) -> u64 {
        self.published
    }
}
