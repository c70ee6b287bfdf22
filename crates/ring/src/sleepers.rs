//! Waiting for event loops: one thread of the process sleeps for all consumers that their tasks wait for.
//!
//! A task that finds nothing to read leaves a [`Watch`] of its consumer here and sleeps in its loop; when there is
//! something, the loop's [`Alarm`] gets the task's token and becomes readable. The thread sleeps on the words of all
//! parking rings at once and on one of its own, so nobody polls; rings made without parking are looked at from time to
//! time, and so are all of them where the kernel cannot sleep on many words (before Linux 5.16). A waking costs two
//! hand-overs, from the producer to the thread and from there to the loop. Refused: a descriptor in the ring (a
//! producer of another process cannot reach it), a thread for each consumer.
//!
//! The thread is started by the first wait and sleeps without end when nobody waits. A forked child has none of its
//! parent's threads and starts its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::RingError;
use crate::futex::{self, Sharing, Words};
use crate::ring::Ring;
use crate::room::LIVENESS_INTERVAL;
use crate::signal::Signal;
use crate::wait::PARK_SLICE;
use crate::watch::Watch;

/// Words the kernel sleeps on at once, one of them the thread's own.
const WORDS_MAX: usize = 128;
/// How often rings without parking are looked at: soon after somebody has begun to wait, and later.
const LOOK_SOON: Duration = Duration::from_micros(50);
const LOOK_LATER: Duration = Duration::from_millis(1);
/// How long that is soon.
const SOON: Duration = Duration::from_millis(2);

/// What an event loop watches: readable when one of its waits is over.
#[derive(Debug)]
pub struct Alarm {
    signal: Signal,
    /// Tokens of the waits that are over.
    over: Mutex<Vec<u64>>,
}

impl Alarm {
    /// An alarm nobody waits with yet.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { signal: Signal::new()?, over: Mutex::new(Vec::new()) }))
    }

    /// Puts the token among those of [`Alarm::take`] as soon as there is something to read for the watched consumer, or
    /// something wrong with it; false when that is so already, and then it does nothing.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn wait(self: &Arc<Self>, watch: Watch, token: u64) -> io::Result<bool> {
        if watch.is_ready() {
            return Ok(false);
        }
        Sleepers::of_this_process()?.add(Waiting { watch, token, alarm: self.clone(), since: Instant::now() });
        Ok(true)
    }

    /// Ends a wait without a token. One that is over already leaves it among those of [`Alarm::take`].
    pub fn forget(self: &Arc<Self>, token: u64) {
        if let Some(sleepers) = Sleepers::existing() {
            sleepers.waiting().retain(|waiting| waiting.token != token || !Arc::ptr_eq(&waiting.alarm, self));
        }
    }

    /// Ends a wait with its token, whether there is something to read or not.
    pub fn end(self: &Arc<Self>, token: u64) {
        self.forget(token);
        self.ring(token);
    }

    /// Tokens of waits that are over; the alarm is quiet until the next.
    pub fn take(&self) -> Vec<u64> {
        // Before the tokens: one that comes in between rings again.
        self.signal.clear();
        std::mem::take(&mut *locked(&self.over))
    }

    fn ring(&self, token: u64) {
        locked(&self.over).push(token);
        self.signal.set();
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

#[derive(Debug)]
struct Waiting {
    watch: Watch,
    token: u64,
    alarm: Arc<Alarm>,
    since: Instant,
}

/// The thread's side.
#[derive(Debug)]
struct Sleepers {
    waiting: Mutex<Vec<Waiting>>,
    /// The thread sleeps on this too: it changes when somebody begins to wait.
    changes: AtomicU32,
    /// The thread ends: another has its place.
    is_retired: AtomicBool,
    /// The process whose thread it is.
    process_id: u32,
}

/// Never freed: its thread has no end.
static SLEEPERS: AtomicPtr<Sleepers> = AtomicPtr::new(std::ptr::null_mut());

impl Sleepers {
    fn existing() -> Option<&'static Self> {
        // SAFETY: what was stored here is never freed and was complete before.
        let found = unsafe { SLEEPERS.load(Ordering::Acquire).as_ref() };
        found.filter(|sleepers| sleepers.process_id == std::process::id())
    }

    fn of_this_process() -> io::Result<&'static Self> {
        if let Some(found) = Self::existing() {
            return Ok(found);
        }
        let before = SLEEPERS.load(Ordering::Acquire);
        let ours: &'static mut Self = Box::leak(Box::new(Self {
            waiting: Mutex::default(),
            changes: AtomicU32::new(0),
            is_retired: AtomicBool::new(false),
            process_id: std::process::id(),
        }));
        let pointer = std::ptr::from_mut(ours);
        let ours: &'static Self = ours;
        std::thread::Builder::new().name("tidebook-alarm".to_owned()).spawn(|| ours.run())?;
        if SLEEPERS.compare_exchange(before, pointer, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Ok(ours);
        }
        // Somebody else was first.
        ours.is_retired.store(true, Ordering::Relaxed);
        ours.has_changed();
        Self::of_this_process()
    }

    fn add(&self, waiting: Waiting) {
        self.waiting().push(waiting);
        self.has_changed();
    }

    fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        futex::wake(&self.changes, Sharing::Process, 1);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        locked(&self.waiting)
    }

    fn run(&self) {
        let mut can_sleep_on_many = true;
        while !self.is_retired.load(Ordering::Relaxed) {
            let changes = self.changes.load(Ordering::SeqCst);
            let mut waiting = self.waiting();
            if ring_the_ready(&mut waiting, Watch::find) {
                continue;
            }
            let now = Instant::now();
            let mut pause = (!waiting.is_empty()).then_some(PARK_SLICE);
            let mut words: Vec<(Ring, u32)> = Vec::new();
            for one in &*waiting {
                let ring = one.watch.ring();
                let is_known = words.iter().any(|(other, _)| Arc::ptr_eq(&other.mapping, &ring.mapping));
                if !is_known && ring.info().parking && can_sleep_on_many && words.len() + 1 < WORDS_MAX {
                    words.push((ring.clone(), ring.mapping.announce_sleep().1));
                } else if !is_known {
                    let look = if now - one.since < SOON { LOOK_SOON } else { LOOK_LATER };
                    pause = pause.min(Some(look));
                }
                if one.watch.stuck.is_at_a_claim() {
                    pause = pause.min(Some(LIVENESS_INTERVAL));
                }
            }
            // Those who committed before they could know that we sleep are seen here.
            if ring_the_ready(&mut waiting, |watch| Ok(watch.is_ready())) {
                continue;
            }
            drop(waiting);
            can_sleep_on_many &= self.sleep(changes, &words, pause);
        }
    }

    /// Sleeps until a word changes or the pause is over; false when the kernel cannot sleep on many words.
    fn sleep(&self, changes: u32, words: &[(Ring, u32)], pause: Option<Duration>) -> bool {
        let mut slept_on = Words::<WORDS_MAX>::new();
        slept_on.push(&self.changes, Sharing::Process, changes);
        for (ring, value) in words {
            // The ring, and with it the word, is held for this call.
            slept_on.push(&ring.mapping.hot().wake.0.signal, Sharing::Machine, *value);
        }
        // Woken, interrupted, timed out or too late: looked at again in each case.
        if slept_on.sleep(pause) {
            return true;
        }
        futex::wait(&self.changes, Sharing::Process, changes, pause);
        false
    }
}

/// Ends the waits of those who can read; whether there were any.
fn ring_the_ready(waiting: &mut Vec<Waiting>, can_read: impl Fn(&mut Watch) -> Result<bool, RingError>) -> bool {
    let before = waiting.len();
    waiting.retain_mut(|one| {
        // What cannot be asked is for the consumer itself to find out.
        let is_over = can_read(&mut one.watch).unwrap_or(true);
        if is_over {
            one.alarm.ring(one.token);
        }
        !is_over
    });
    waiting.len() < before
}

/// Nobody panics while holding one of these, and what they hold is whole between any two of its changes.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
