//! Event loops that wait for many consumers by one thread of their process.

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Write};
use std::os::fd::AsFd;

use common::{Rings, drain};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tidebook_ring::*;

/// Tokens of waits that are over, once there are some.
fn over(alarm: &Alarm) -> BTreeSet<u64> {
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut descriptors = [PollFd::new(alarm, PollFlags::IN)];
    assert_eq!(poll(&mut descriptors, Some(&timeout)).unwrap(), 1, "nothing rang for a minute");
    alarm.take().into_iter().collect()
}

fn is_quiet(alarm: &Alarm) -> bool {
    poll(&mut [PollFd::new(&alarm.as_fd(), PollFlags::IN)], Some(&Timespec::default())).unwrap() == 0
}

#[test]
fn each_wait_is_over_when_its_consumer_can_read_with_and_without_parking() {
    let all: Vec<_> = (0..6).map(|_| Rings::new()).collect();
    let rings: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(index, rings)| rings.create(&RingOptions::frames(4096).parking(index % 3 != 0)))
        .collect();
    let mut producers: Vec<_> = rings.iter().map(|ring| ring.producer().unwrap()).collect();
    let mut consumers: Vec<_> = rings.iter().map(|ring| ring.consumer(&ConsumerOptions::named("a")).unwrap()).collect();
    let alarm = Alarm::new().unwrap();
    for (token, consumer) in (0..).zip(&consumers) {
        assert!(alarm.wait(consumer.watch(), token).unwrap());
    }
    assert!(is_quiet(&alarm));
    for round in 0..20 {
        for index in [4, 0, 3, 1] {
            producers[index].write(b"message").unwrap();
            assert_eq!(over(&alarm), BTreeSet::from([index as u64]), "round {round}");
            assert!(is_quiet(&alarm));
            assert!(!alarm.wait(consumers[index].watch(), 99).unwrap(), "there is something already");
            assert_eq!(drain(&mut consumers[index], 10).len(), 1);
            assert!(alarm.wait(consumers[index].watch(), index as u64).unwrap());
        }
    }
    let mut left = BTreeSet::new();
    for producer in &mut producers {
        producer.write(b"message").unwrap();
    }
    while left.len() < 6 {
        left.extend(over(&alarm));
    }
}

#[test]
fn a_wait_that_is_forgotten_leaves_its_alarm_quiet_and_another_alarm_rings_for_itself() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(4096).parking(true));
    let mut producer = ring.producer().unwrap();
    let consumers: Vec<_> = ["a", "b"].map(|name| ring.consumer(&ConsumerOptions::named(name)).unwrap()).into();
    let (one, two) = (Alarm::new().unwrap(), Alarm::new().unwrap());
    assert!(one.wait(consumers[0].watch(), 1).unwrap());
    assert!(two.wait(consumers[0].watch(), 1).unwrap());
    assert!(one.wait(consumers[1].watch(), 2).unwrap());
    one.forget(1);
    producer.write(b"message").unwrap();
    assert_eq!(over(&two), BTreeSet::from([1]));
    assert_eq!(over(&one), BTreeSet::from([2]));
    assert!(is_quiet(&one) && is_quiet(&two));
}

#[test]
fn an_overwritten_consumer_and_one_behind_the_durable_watermark_are_told_in_their_time() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::slots(8, 8).parking(true).visible_durable(true));
    let mut producer = ring.producer().unwrap();
    let alarm = Alarm::new().unwrap();
    let durable = ring.consumer(&ConsumerOptions::named("durable").policy(Policy::Overwrite)).unwrap();
    let peek = ring.consumer(&ConsumerOptions::named("peek").policy(Policy::Overwrite).peek(true)).unwrap();
    assert!(alarm.wait(durable.watch(), 1).unwrap());
    assert!(alarm.wait(peek.watch(), 2).unwrap());
    producer.write(&[0; 8]).unwrap();
    assert_eq!(over(&alarm), BTreeSet::from([2]));
    ring.set_durable(1).unwrap();
    assert_eq!(over(&alarm), BTreeSet::from([1]));
    // What it has not read is overwritten: a gap, which is told when the first of it is durable, and not before.
    let behind = ring.consumer(&ConsumerOptions::named("behind").policy(Policy::Overwrite).start(Start::Sequence(2)));
    let behind = behind.unwrap();
    for _ in 0..20 {
        producer.write(&[0; 8]).unwrap();
    }
    assert!(alarm.wait(behind.watch(), 3).unwrap());
    assert!(is_quiet(&alarm));
    ring.set_durable(2).unwrap();
    assert_eq!(over(&alarm), BTreeSet::from([3]));
    assert!(!alarm.wait(behind.watch(), 3).unwrap());
}

/// Runs `work` in a forked child and gives its process id. It must not return: what it leaves is a dead process's.
fn fork(work: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child allocates, which after a fork of several threads only the C library here allows.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = work();
        // SAFETY: ends the process at once, as a kill does.
        unsafe { libc::_exit(code) };
    }
    assert!(child > 0, "fork failed");
    child
}

fn exit_code(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the child is ours and not waited for yet.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    libc::WEXITSTATUS(status)
}

#[test]
fn a_wait_at_the_claim_of_a_dead_producer_is_over_when_that_is_voided() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::slots(8, 8).mpsc(2).parking(true));
    let mut consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
    let alarm = Alarm::new().unwrap();
    let child = fork(|| {
        let mut producer = Ring::open(rings.path()).unwrap().producer().unwrap();
        let claim = producer.claim(8).unwrap();
        std::mem::forget(claim);
        std::mem::forget(producer);
        7
    });
    assert_eq!(exit_code(child), 7);
    // It would be line 0, whose opening voids what it finds; the claim stands until somebody asks.
    assert!(ring.status().unwrap().stuck.is_some());
    assert!(alarm.wait(consumer.watch(), 1).unwrap());
    assert_eq!(over(&alarm), BTreeSet::from([1]));
    assert_eq!(drain(&mut consumer, 10), []);
    assert_eq!(ring.status().unwrap().repairs.claims, 1);
}

#[test]
fn a_forked_child_waits_with_a_thread_of_its_own() {
    let rings = Rings::new();
    let ring = rings.create(&RingOptions::frames(4096).parking(true));
    let consumer = ring.consumer(&ConsumerOptions::named("a")).unwrap();
    let alarm = Alarm::new().unwrap();
    assert!(alarm.wait(consumer.watch(), 1).unwrap());
    let mut producer = ring.producer().unwrap();
    let (mut heard, mut say) = std::io::pipe().unwrap();
    let child = fork(|| {
        let alarm = Alarm::new().unwrap();
        let consumer = Ring::open(rings.path()).unwrap().consumer(&ConsumerOptions::named("b")).unwrap();
        let waits = alarm.wait(consumer.watch(), 5).unwrap();
        say.write_all(b"x").unwrap();
        i32::from(!waits || over(&alarm) != BTreeSet::from([5]))
    });
    heard.read_exact(&mut [0]).unwrap();
    producer.write(b"message").unwrap();
    assert_eq!(over(&alarm), BTreeSet::from([1]));
    assert_eq!(exit_code(child), 0);
}
