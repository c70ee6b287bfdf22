//! What was derived ahead of the disk and waits until `orders` has made its command visible.
//!
//! Matching does not wait for the journal; what it says to others does. Records of a derived channel stand here in order until the command
//! they followed from is durable, and their number in the channel is their own, so that a restart goes on with the next.

use std::collections::VecDeque;
use std::time::Duration;

use tidebook_ring::{Producer, Ring, Written};
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

/// Executions of one command over which nobody is woken: whoever sleeps while a mass cancel is told would be overtaken.
pub(crate) const QUIET_MAX: usize = 64;

/// The number that a record got, which has to be its own.
#[inline]
fn numbered<T: Derived>(record: &T, found: u64) -> Result<u64, PlaneError> {
    let (channel, expected) = (T::CHANNEL, record.sequence());
    if found == expected { Ok(found) } else { Err(PlaneError::Numbering { channel, expected, found }) }
}

/// One derived channel with what waits for it.
#[derive(Debug)]
pub(crate) struct Release<T> {
    producer: Producer,
    waiting: VecDeque<T>,
    published: u64,
    /// No record has to wait for the disk.
    is_immediate: bool,
    /// Records that were published and over which whoever sleeps was not woken.
    quiet: usize,
    /// Why a record could not be published at once.
    failure: Option<PlaneError>,
}

impl<T: Derived> Release<T> {
    pub(crate) fn new(producer: Producer) -> Self {
        Self {
            published: producer.published(),
            producer,
            waiting: VecDeque::with_capacity(WAITING_MAX + 1024),
            is_immediate: false,
            quiet: 0,
            failure: None,
        }
    }

    /// From now on no record waits for the disk.
    #[must_use]
    pub(crate) fn immediate(mut self, on: bool) -> Self {
        self.is_immediate = on;
        self
    }

    /// Takes the next record; one that the channel has already is dropped. Whether it was published at once: who looks has it, and
    /// who sleeps is woken by [`Self::wake`].
    #[inline]
    pub(crate) fn push(&mut self, record: &T) -> bool {
        if record.sequence() <= self.published {
            return false;
        }
        if self.is_immediate && self.waiting.is_empty() {
            match self.put(record) {
                Ok(true) => return true,
                Ok(false) => {}
                // For who publishes next.
                Err(error) => self.failure = Some(error),
            }
        }
        self.waiting.push_back(*record);
        false
    }

    /// Whether there was room at once.
    #[inline]
    fn put(&mut self, record: &T) -> Result<bool, PlaneError> {
        let Written::At(found) = self.producer.put_within(record.as_bytes(), Duration::ZERO)? else { return Ok(false) };
        self.published = numbered(record, found)?;
        self.quiet += 1;
        if self.quiet >= QUIET_MAX {
            self.wake();
        }
        Ok(true)
    }

    /// Wakes who sleeps over what was published at once.
    #[inline]
    pub(crate) fn wake(&mut self) {
        if std::mem::take(&mut self.quiet) > 0 {
            Producer::wake_all([&self.producer]);
        }
    }

    /// The same, and who sleeps over what was put into `orders`: one look for both.
    #[inline]
    pub(crate) fn wake_with(&mut self, orders: &Producer) {
        self.quiet = 0;
        Producer::wake_all([&self.producer, orders]);
    }

    /// Publishes what has become visible; `each` sees it too. Gives how many.
    #[inline]
    pub(crate) fn publish(&mut self, visible: u64, mut each: impl FnMut(&T)) -> Result<usize, PlaneError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut count = 0;
        while let Some(record) = self.waiting.front()
            && record.source_sequence() <= visible
        {
            self.published = numbered(record, self.producer.write(record.as_bytes())?)?;
            each(record);
            self.waiting.pop_front();
            count += 1;
        }
        if self.waiting.is_empty() {
            // The next ones stand where these stood: memory that is in the core's cache, and not all of it in turn.
            self.waiting.clear();
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, Start};
    use zerocopy::FromBytes;

    use super::*;
    use crate::venue_recovery::ring_of;

    fn channel() -> (tempfile::TempDir, Release<Execution>, Consumer) {
        let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir().unwrap();
        let options = ring_of::<Execution>(64).never_waits(true);
        let ring = Ring::create(directory.path().join("executions.ring"), &options).unwrap();
        let options = ConsumerOptions::named("").start(Start::Earliest).policy(Policy::Overwrite);
        let consumer = ring.consumer(&options).unwrap();
        (directory, Release::new(ring.producer().unwrap()), consumer)
    }

    fn execution(sequence: u64) -> Execution {
        Execution { sequence, source_sequence: sequence, ..Execution::default() }
    }

    fn seen(consumer: &mut Consumer) -> Vec<u64> {
        let mut seen = Vec::new();
        let each = |sequence, payload: &[u8]| {
            assert_eq!(Execution::read_from_bytes(payload).unwrap(), execution(sequence));
            seen.push(sequence);
        };
        assert!(matches!(consumer.read(64, each), Ok(Read::Messages(_))));
        seen
    }

    #[test]
    fn what_waits_for_the_disk_is_published_in_order_as_far_as_it_is_visible() {
        let (_directory, mut release, mut consumer) = channel();
        for sequence in 1..=3 {
            assert!(!release.push(&execution(sequence)));
        }
        assert_eq!((release.waits_for(), release.waits_for_last()), (Some(1), Some(3)));
        assert_eq!(release.publish(0, |_| {}).unwrap(), 0);
        assert_eq!(seen(&mut consumer), Vec::<u64>::new());
        assert_eq!(release.publish(2, |_| {}).unwrap(), 2);
        assert_eq!(seen(&mut consumer), [1, 2]);
        // What is published already, as after a start.
        assert!(!release.push(&execution(2)));
        assert_eq!(release.publish(9, |_| {}).unwrap(), 1);
        assert_eq!((seen(&mut consumer), release.waits_for(), release.published()), (vec![3], None, 3));
    }

    #[test]
    fn what_waits_for_no_disk_is_there_when_it_is_made_and_behind_what_waits() {
        let (_directory, release, mut consumer) = channel();
        let mut release = release.immediate(true);
        for sequence in 1..=2 {
            assert!(release.push(&execution(sequence)));
            assert_eq!(seen(&mut consumer), [sequence]);
        }
        assert!(!release.push(&execution(2)), "it is there");
        assert_eq!((release.waits_for(), release.published()), (None, 2));
        let mut release = release.immediate(false);
        assert!(!release.push(&execution(3)));
        let mut release = release.immediate(true);
        assert!(!release.push(&execution(4)), "one waits before it");
        assert_eq!(release.publish(u64::MAX, |_| {}).unwrap(), 2);
        assert_eq!(seen(&mut consumer), [3, 4]);
    }

    #[test]
    fn a_record_whose_number_is_not_its_place_in_the_channel_is_told_by_who_publishes_next() {
        let (_directory, release, _consumer) = channel();
        let mut release = release.immediate(true);
        assert!(!release.push(&execution(2)));
        let failure = release.publish(u64::MAX, |_| {}).unwrap_err();
        assert!(
            matches!(failure, PlaneError::Numbering { channel: "executions", expected: 2, found: 1 }),
            "{failure:?}"
        );
    }
}
