//! Claims that are filled through pointers which outlive them.

mod common;

use common::{Rings, drain};
use tidebook_ring::*;

#[test]
fn a_claim_filled_through_a_window_is_the_message() {
    let many = [RingOptions::slots(16, 8).mpsc(2), RingOptions::runs(64, 64).mpsc(2)];
    for options in [RingOptions::slots(16, 8), RingOptions::frames(4096)].into_iter().chain(many) {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let window = Window::new(&ring).unwrap();
        let (mut producer, mut consumer) =
            (ring.producer().unwrap(), ring.consumer(&ConsumerOptions::named("a")).unwrap());
        for number in 1..100u8 {
            let mut claim = producer.claim(16).unwrap();
            let payload = window.payload(&mut claim);
            // SAFETY: the claim is open, so the memory is its and nobody else's.
            unsafe { payload.cast::<[u8; 16]>().write([number; 16]) };
            assert_eq!(claim.commit().unwrap(), number.into());
            assert_eq!(drain(&mut consumer, 10), [(number.into(), vec![number; 16])]);
        }
    }
}

/// Method: a claim is given up, its window revoked, and a whole lap written; what then comes through the old pointer
/// must not be seen by a reader that reads each message after it came.
#[test]
fn what_is_written_through_a_revoked_window_changes_no_message() {
    for options in [RingOptions::slots(16, 8), RingOptions::frames(4096), RingOptions::slots(16, 8).mpsc(2)] {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let (mut producer, mut consumer) =
            (ring.producer().unwrap(), ring.consumer(&ConsumerOptions::named("a")).unwrap());
        let window = Window::new(&ring).unwrap();
        let mut claim = producer.claim(16).unwrap();
        let payload = window.payload(&mut claim).cast::<[u8; 16]>();
        drop(claim);
        window.revoke().unwrap();
        for number in 0..200u8 {
            let sequence = producer.write(&[number; 16]).unwrap();
            // SAFETY: the window is still there; its memory is private now.
            unsafe { payload.write([255; 16]) };
            assert_eq!(drain(&mut consumer, 10), [(sequence, vec![number; 16])]);
        }
    }
}

#[test]
fn a_deposed_producer_commits_no_claim_it_had_before() {
    for options in [RingOptions::slots(16, 8), RingOptions::frames(4096), RingOptions::slots(16, 8).mpsc(2)] {
        let rings = Rings::new();
        let ring = rings.create(&options);
        let mut producer = ring.producer().unwrap();
        let claim = producer.claim(16).unwrap();
        ring.fence();
        assert!(matches!(claim.commit(), Err(RingError::Fenced { .. })));
        assert_eq!(drain(&mut ring.consumer(&ConsumerOptions::named("a")).unwrap(), 10), []);
    }
}
