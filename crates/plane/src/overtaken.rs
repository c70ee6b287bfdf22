//! Which readers of a channel were overtaken, as the channel itself tells: nobody has to say so, and a reader of another
//! process has no way to.

use std::collections::{BTreeSet, HashMap};

use tidebook_ring::{ReaderLoss, Ring};

use crate::whose::Whose;

/// What readers have lost since the last look, as far as that may be known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Instruments whose records may be among it.
    pub(crate) ids: BTreeSet<u32>,
    /// It is not known any more whose they were.
    pub(crate) any: bool,
    /// One who joined since the last look has lost something by now, maybe what was overwritten before he came.
    pub(crate) joined: bool,
}

/// What was seen of the readers of one channel.
#[derive(Debug)]
pub(crate) struct Readers {
    seen: HashMap<usize, ReaderLoss>,
    /// The oldest message that the ring had at the last look.
    oldest: u64,
}

impl Readers {
    /// Those of a ring, none of whom was looked at.
    pub(crate) fn new(ring: &Ring) -> Self {
        Self { seen: HashMap::new(), oldest: ring.oldest() }
    }

    /// What they lost since the last look.
    pub(crate) fn look(&mut self, ring: &Ring, whose: &Whose) -> Lost {
        let mut lost = Lost::default();
        let oldest_before = std::mem::replace(&mut self.oldest, ring.oldest());
        for now in ring.losses() {
            // Nothing that it was told of since then is before this, or still in the ring.
            let first = match self.seen.insert(now.line, now) {
                Some(before) if before.opens == now.opens && before.lost == now.lost => continue,
                Some(before) if before.opens == now.opens => before.next,
                _ if now.lost == 0 => continue,
                _ => {
                    lost.joined = true;
                    oldest_before
                }
            };
            match whose.of(first, ring.oldest().saturating_sub(first)) {
                Some(found) => lost.ids.extend(found.into_keys()),
                None => lost.any = true,
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use tidebook_ring::{Consumer, ConsumerOptions, Policy, Read, RingOptions};

    use super::*;

    fn read_all(consumer: &mut Consumer) -> u64 {
        let mut lost = 0;
        loop {
            match consumer.read(usize::MAX, |_, _| {}).unwrap() {
                Read::Messages(0) => return lost,
                Read::Messages(_) => consumer.commit(),
                Read::Gap(gap) => lost += gap.count,
            }
        }
    }

    #[test]
    fn what_an_overtaken_reader_may_have_lost_is_seen_once_and_by_instrument() {
        let directory = tempfile::tempdir().unwrap();
        let options = RingOptions::slots(4, 16).never_waits(true);
        let ring = Ring::create(directory.path().join("of.ring"), &options).unwrap();
        let (mut producer, whose, mut readers) = (ring.producer().unwrap(), Whose::new(1), Readers::new(&ring));
        let mut write = |ids: &[u32]| {
            for id in ids {
                whose.note(producer.published() + 1, *id);
                producer.write(&id.to_le_bytes()).unwrap();
            }
        };
        let mut consumer = ring.consumer(&ConsumerOptions::default().policy(Policy::Overwrite)).unwrap();
        write(&[1; 10]);
        assert_eq!(read_all(&mut consumer), 0);
        assert_eq!(readers.look(&ring, &whose), Lost::default());
        write(&[2; 6]);
        write(&[3; 16]);
        assert_eq!(readers.look(&ring, &whose), Lost::default(), "it was not told yet");
        let lost = read_all(&mut consumer);
        assert!(lost >= 6, "{lost}");
        let seen = readers.look(&ring, &whose);
        assert!(seen.ids.contains(&2) && !seen.ids.contains(&1) && !seen.any && !seen.joined, "{seen:?}");
        assert_eq!(readers.look(&ring, &whose), Lost::default(), "once");
    }
}
