//! Once warm, writing and polling allocate nothing: counted, not believed.

mod common;

use std::time::Duration;

use common::Rings;
use tidebook_ring::*;
use tidebook_testkit::{Counted, allocations};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Method: two laps of work to get warm, then ten laps counted, with a gating and a lossy consumer and messages in
/// parts; the ring runs full on the way.
#[test]
fn a_warm_ring_allocates_nothing() {
    let many = [RingOptions::slots(64, 256).mpsc(4), RingOptions::runs(128, 512).mpsc(4)];
    for options in [RingOptions::slots(64, 256), RingOptions::frames(1 << 16)].into_iter().chain(many) {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let mut gating = ring.consumer(&ConsumerOptions::named("gating")).unwrap();
        let lossy = ConsumerOptions::named("lossy").policy(Policy::Overwrite);
        let mut lossy = ring.consumer(&lossy).unwrap();
        let records = vec![5; 64 * 100];
        let parts = vec![6; 10_000];
        let is_slots = ring.info().record_size().is_some();
        let mut bytes = 0;
        let mut work = |laps: usize| {
            for _ in 0..laps {
                while let Written::At(_) = producer.write_within(&records[..64], Duration::ZERO).unwrap() {}
                while gating.poll(50, |_, payload| bytes += payload.len()).unwrap() != Read::Messages(0) {}
                while lossy.poll(50, |_, payload| bytes += payload.len()).unwrap() != Read::Messages(0) {}
                let mut claim = producer.claim(64).unwrap();
                claim.payload().fill(1);
                claim.commit().unwrap();
                if is_slots {
                    producer.write_records(&records).unwrap();
                    if let SlotBatch::Slots(slots) = gating.slots(1000).unwrap() {
                        bytes += slots.len();
                        gating.commit_to(slots.end());
                    }
                } else {
                    producer.write(&parts).unwrap();
                }
            }
        };
        work(2);
        assert_eq!(allocations(|| work(10)), 0, "{options:?}");
        assert!(bytes > 0);
    }
}
