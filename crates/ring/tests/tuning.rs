//! What the kernel did, as the kernel says it: a wish that cannot be is told with its reason and nothing breaks.

mod common;

use common::{Rings, drain};
use tidebook_ring::tuning::{Effect, MemoryTuning, pin_thread};
use tidebook_ring::*;

fn effect(effects: &[Effect], option: &str) -> Effect {
    effects.iter().find(|effect| effect.option == option).unwrap_or_else(|| panic!("no {option}: {effects:?}")).clone()
}

#[test]
fn a_ring_is_prefaulted_and_locked_if_asked_and_goes_on_working() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(1 << 16));
    let effects = ring.tune(MemoryTuning { lock: true, numa_node: Some(0), ..MemoryTuning::default() });
    assert!(effect(&effects, "prefault").in_force, "{effects:?}");
    let lock = effect(&effects, "lock");
    // Where the limit forbids it the limit is named.
    assert!(lock.in_force || lock.detail.contains("ulimit -l"), "{lock:?}");
    if lock.in_force {
        let size_kib = ring.info().file_size_bytes / 1024;
        assert_eq!(lock.detail, format!("{size_kib} of {size_kib} KiB are locked"));
        // Other mappings of the same pages make it no less so.
        let _other = Ring::open(ring.path()).unwrap();
        let again = ring.tune(MemoryTuning { lock: true, ..MemoryTuning::default() });
        assert_eq!(effect(&again, "lock"), lock);
    }
    let node = effect(&effects, "numa_node");
    assert_eq!(node.in_force, node.detail.ends_with("pages are on node 0"), "{node:?}");
    ring.producer().unwrap().write(b"as before").unwrap();
    let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
    assert_eq!(drain(&mut consumer, 9), [(1, b"as before".to_vec())]);
}

#[test]
fn what_the_machine_cannot_give_is_told_with_its_reason() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(1 << 16));
    let wanted = MemoryTuning { huge_pages: true, numa_node: Some(63), ..MemoryTuning::default() };
    let effects = ring.tune(wanted);
    let huge = effect(&effects, "huge_pages");
    assert!(!huge.in_force, "64 KiB hold no huge page: {huge:?}");
    let node = effect(&effects, "numa_node");
    assert!(!node.in_force && node.detail.contains("node 63"), "{node:?}");
    assert_eq!(ring.tune(MemoryTuning::default()).len(), 1, "only what was asked for, and prefault");
}

#[test]
fn a_thread_is_pinned_to_a_cpu_that_is_there_and_told_when_it_is_not() {
    // In a thread of its own: it stays pinned.
    std::thread::spawn(|| {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let cpu = (0..1024).find(|cpu| allowed.is_set(*cpu)).unwrap();
        assert!(pin_thread(cpu as u32).in_force);
        let now = rustix::thread::sched_getaffinity(None).unwrap();
        assert_eq!((now.count(), now.is_set(cpu)), (1, true));
        for cpu in [1000, u32::MAX] {
            let refused = pin_thread(cpu);
            assert!(!refused.in_force && refused.detail.contains(&cpu.to_string()), "{refused:?}");
        }
    })
    .join()
    .unwrap();
}
