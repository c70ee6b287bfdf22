//! A ring of many producers against a list: claims taken in one order and settled in another, dropped or forgotten,
//! producers and consumers reopened at any moment. Each reader sees the list, and a ring is full exactly when it must be.

mod common;

use std::time::Duration;

use common::Rings;
use proptest::prelude::*;
use tidebook_ring::*;

#[derive(Debug, Clone)]
enum Operation {
    Write { producer: usize, size: usize },
    Claim { producer: usize, size: usize },
    Settle { producer: usize, how: Settling },
    ReopenProducer { producer: usize },
    Read { consumer: usize, limit: usize },
    Commit { consumer: usize },
    ReopenConsumer { consumer: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settling {
    Commit,
    Drop,
    Forget,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let (producer, consumer) = (0..3usize, 0..3usize);
    let settlings = prop_oneof![4 => Just(Settling::Commit), 1 => Just(Settling::Drop), 1 => Just(Settling::Forget)];
    let operation = prop_oneof![
        8 => (producer.clone(), 0..300usize).prop_map(|(producer, size)| Operation::Write { producer, size }),
        5 => (producer.clone(), 0..44usize).prop_map(|(producer, size)| Operation::Claim { producer, size }),
        6 => (producer.clone(), settlings).prop_map(|(producer, how)| Operation::Settle { producer, how }),
        1 => producer.prop_map(|producer| Operation::ReopenProducer { producer }),
        8 => (consumer.clone(), 1..20usize).prop_map(|(consumer, limit)| Operation::Read { consumer, limit }),
        6 => consumer.clone().prop_map(|consumer| Operation::Commit { consumer }),
        1 => consumer.prop_map(|consumer| Operation::ReopenConsumer { consumer }),
    ];
    proptest::collection::vec(operation, 1..200)
}

fn payload(sequence: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (sequence * 131 + at * 7) as u8).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Claimed { producer: usize, bytes: Vec<u8> },
    Committed(Vec<u8>),
    Void,
}

/// All messages ever claimed; the first has sequence 1.
#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    /// Slots of each.
    runs: Vec<u64>,
}

impl List {
    fn end(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    /// Where the message of this sequence starts, slots counted from 1.
    fn position(&self, sequence: u64) -> u64 {
        1 + self.runs[..sequence as usize - 1].iter().sum::<u64>()
    }

    fn first_claimed(&self) -> Option<u64> {
        self.entries.iter().position(|entry| matches!(entry, Entry::Claimed { .. })).map(|index| index as u64 + 1)
    }

    fn are_void(&self, mut sequences: std::ops::Range<u64>) -> bool {
        sequences.all(|sequence| self.entries[sequence as usize - 1] == Entry::Void)
    }

    fn push(&mut self, entry: Entry, run: u64) -> u64 {
        self.entries.push(entry);
        self.runs.push(run);
        self.entries.len() as u64
    }

    /// The claim of this producer, if it has one.
    fn settle(&mut self, producer: usize, commit: bool) -> Option<u64> {
        let index = self
            .entries
            .iter()
            .position(|entry| matches!(entry, Entry::Claimed { producer: by, .. } if *by == producer))?;
        self.entries[index] = match &self.entries[index] {
            Entry::Claimed { bytes, .. } if commit => Entry::Committed(bytes.clone()),
            _ => Entry::Void,
        };
        Some(index as u64 + 1)
    }
}

/// A producer and what it has claimed.
struct Seat {
    claim: Option<Claim<'static>>,
    producer: *mut Producer,
}

impl Seat {
    fn new(ring: &Ring) -> Self {
        Self { claim: None, producer: Box::into_raw(Box::new(ring.producer().unwrap())) }
    }

    /// The producer, when it has no claim that was not dropped or forgotten.
    fn producer(&mut self) -> &'static mut Producer {
        assert!(self.claim.is_none());
        // SAFETY: the pointer is of a box that is freed by `drop`; no claim borrows it now.
        unsafe { &mut *self.producer }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        std::mem::forget(self.claim.take());
        // SAFETY: made by `new`, freed here only; what borrowed it is forgotten.
        drop(unsafe { Box::from_raw(self.producer) });
    }
}

fn check(options: RingOptions, operations: &[Operation], size_of: impl Fn(usize) -> usize) {
    let rings = Rings::new();
    let ring = rings.create(&options);
    let (RingKind::Slots { count: capacity, .. } | RingKind::Runs { count: capacity, .. }) = ring.info().kind else {
        unreachable!("frames have one producer")
    };
    let run_of = |size: usize| match ring.info().kind {
        RingKind::Runs { .. } => size.div_ceil(44).max(1) as u64,
        _ => 1,
    };
    let mut seats = [(); 3].map(|()| Some(Seat::new(&ring)));
    let consumer_options: Vec<_> = ["first", "second", "lossy"]
        .map(|name| match name {
            "lossy" => ConsumerOptions::named(name).policy(Policy::Overwrite),
            _ => ConsumerOptions::named(name),
        })
        .into();
    let mut consumers: Vec<_> = consumer_options.iter().map(|options| Some(ring.consumer(options).unwrap())).collect();
    let mut list = List::default();
    let (mut next, mut committed) = ([1u64; 3], [1u64; 3]);

    // A ring is full when the message would overwrite what a gating consumer, or a claim, stands at.
    let must_be_full = |list: &List, committed: &[u64; 3], run: u64| {
        let kept = committed[..2].iter().copied().chain(list.first_claimed()).min().expect("two consumers");
        list.position(list.end()) + run > list.position(kept) + capacity
    };
    for operation in operations {
        match operation {
            Operation::Write { producer, size } => {
                let Some(seat) = seats[*producer].as_mut().filter(|seat| seat.claim.is_none()) else { continue };
                list.settle(*producer, false);
                let bytes = payload(list.entries.len(), size_of(*size));
                let run = run_of(bytes.len());
                let full = must_be_full(&list, &committed, run);
                match seat.producer().write_within(&bytes, Duration::ZERO).unwrap() {
                    Written::At(found) => {
                        assert!(!full, "{found} overwrites what is waited for");
                        assert_eq!(found, list.push(Entry::Committed(bytes), run));
                    }
                    Written::Full(obstacle) => {
                        assert!(full, "{obstacle:?}");
                        if let Obstacle::Consumer(consumer) = obstacle {
                            assert_ne!(ring.consumer_name(consumer), "lossy");
                        }
                    }
                }
            }
            Operation::Claim { producer, size } => {
                let Some(seat) = seats[*producer].as_mut().filter(|seat| seat.claim.is_none()) else { continue };
                list.settle(*producer, false);
                let bytes = payload(list.entries.len(), size_of(*size));
                let full = must_be_full(&list, &committed, 1);
                let claim = seat.producer().claim_within(bytes.len(), Duration::ZERO).unwrap();
                assert_eq!(matches!(claim, Claimed::Full(_)), full);
                if let Claimed::At(mut claim) = claim {
                    claim.payload().copy_from_slice(&bytes);
                    seat.claim = Some(claim);
                    list.push(Entry::Claimed { producer: *producer, bytes }, 1);
                }
            }
            Operation::Settle { producer, how } => {
                let Some(claim) = seats[*producer].as_mut().and_then(|seat| seat.claim.take()) else { continue };
                match how {
                    Settling::Commit => assert_eq!(Some(claim.commit().unwrap()), list.settle(*producer, true)),
                    Settling::Drop => {
                        drop(claim);
                        list.settle(*producer, false);
                    }
                    // It is given back by the next call of its producer.
                    Settling::Forget => std::mem::forget(claim),
                }
            }
            Operation::ReopenProducer { producer } => {
                list.settle(*producer, false);
                seats[*producer] = None;
                seats[*producer] = Some(Seat::new(&ring));
            }
            Operation::Read { consumer, limit } => {
                let reader = consumers[*consumer].as_mut().unwrap();
                let at = &mut next[*consumer];
                let read = reader.read(*limit, |sequence, bytes| {
                    assert!(list.are_void(*at..sequence), "{at} to {sequence} of {:?}", list.entries);
                    let Entry::Committed(expected) = &list.entries[sequence as usize - 1] else {
                        panic!("{sequence} was not committed")
                    };
                    assert_eq!(bytes, expected);
                    *at = sequence + 1;
                });
                match read.unwrap() {
                    Read::Messages(count) => {
                        assert!(count <= *limit);
                        assert!(list.are_void(*at..reader.next_sequence()));
                        *at = reader.next_sequence();
                        let readable = list.first_claimed().unwrap_or(list.end());
                        assert!(count == *limit || *at == readable, "{at} of {readable}");
                    }
                    Read::Gap(gap) => {
                        assert_eq!(*consumer, 2, "gating consumers miss nothing");
                        assert!(list.are_void(*at..gap.first) && gap.count > 0);
                        *at = gap.first + gap.count;
                    }
                }
            }
            Operation::Commit { consumer } => {
                consumers[*consumer].as_mut().unwrap().commit();
                committed[*consumer] = next[*consumer];
            }
            Operation::ReopenConsumer { consumer } => {
                consumers[*consumer] = None;
                let again = ring.consumer(&consumer_options[*consumer]).unwrap();
                // A lossy cursor may be overwritten by now: then the gap comes with the next read.
                if *consumer < 2 {
                    assert_eq!(again.next_sequence(), committed[*consumer]);
                }
                next[*consumer] = committed[*consumer];
                consumers[*consumer] = Some(again);
            }
        }
        assert_eq!(ring.published() + 1, list.first_claimed().unwrap_or(list.end()));
    }
    assert_eq!(ring.status().unwrap().repairs.claims, 0, "nobody died");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_of_many_producers_agree_with_a_list(operations in operations()) {
        check(RingOptions::slots(20, 16).mpsc(3), &operations, |_| 20);
    }

    #[test]
    fn runs_of_many_producers_agree_with_a_list(operations in operations()) {
        check(RingOptions::runs(64, 32).mpsc(3), &operations, |size| size);
    }
}
