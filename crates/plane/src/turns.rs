//! One thread for several engines, by turns.
//!
//! On few cores engines with a thread each only wait to be woken on the core of another. Here one thread goes round: each engine does what is
//! there, no more than one bounded batch of it, then the next one; nobody sleeps before all have found nothing. So an engine waits for at most
//! one batch of every other, and what one of them gives to the next costs no wake-up. Their state is not shared: what an engine does is what it
//! does with a thread of its own. The cost: two engines never use two cores.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidebook_journal::panic_text;
use tidebook_ring::tuning::{Effect, pin_thread};
use tidebook_ring::{Consumer, Ring, RingError, Wait, wait_any_or_durable};

use crate::confine::Confinement;
use crate::error::PlaneError;

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// It did something; there may be more.
    Worked,
    /// There was nothing to do.
    Idle,
    /// There will be no other.
    Over,
}

/// An engine that has no thread of its own.
pub(crate) trait Turns: Send {
    /// Does what there is to do, no more than one bounded batch. Does not wait.
    fn turn(&mut self) -> Result<Turned, PlaneError>;

    /// Says what it sleeps for, once it has found nothing to do.
    fn wait_for<'a>(&'a mut self, waits: &mut Waits<'a>) -> Result<(), PlaneError>;

    /// Ends it, and tells whoever waits for its end: after [`Turned::Over`], or because of a failure.
    fn end(self: Box<Self>, failure: Option<PlaneError>);
}

/// How often a thread without work looks whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// What a thread sleeps for.
pub(crate) struct Waits<'a> {
    consumers: Vec<&'a mut Consumer>,
    durable: Option<(&'a Ring, u64)>,
    timeout: Duration,
}

impl<'a> Waits<'a> {
    const fn new() -> Self {
        Self { consumers: Vec::new(), durable: None, timeout: STOP_INTERVAL }
    }

    /// Until this one can read.
    pub(crate) fn consumer(&mut self, consumer: &'a mut Consumer) {
        self.consumers.push(consumer);
    }

    /// Until a sequence of a ring is durable; one engine may say so.
    pub(crate) fn durable(&mut self, ring: &'a Ring, sequence: u64) {
        debug_assert!(self.durable.is_none(), "one ring at a time can be waited for so");
        self.durable = Some((ring, sequence));
    }

    /// Not longer than this.
    pub(crate) fn within(&mut self, timeout: Duration) {
        self.timeout = self.timeout.min(timeout);
    }

    fn sleep(mut self, wait: Wait) -> Result<(), RingError> {
        wait_any_or_durable(
            &mut self.consumers,
            |consumer| Some(&mut **consumer),
            self.durable,
            wait,
            Some(self.timeout),
        )?;
        Ok(())
    }
}

/// How long a thread that is about to sleep goes on looking: a strategy answers a record with an order, and to be woken costs more than to
/// look for so long.
const LOOKS_PARKED: Duration = Duration::from_micros(50);
/// The same of one that polls: it is hot as long as messages come some hundred times a second.
const LOOKS_HYBRID: Duration = Duration::from_millis(2);
/// Looks without giving the core to somebody else who could run.
const LOOKS_HOT: Duration = Duration::from_micros(50);

/// An engine on its way into the thread.
struct Newcomer {
    engine: Box<dyn Turns>,
    wait: Wait,
    cpu: Option<u32>,
    confinement: Confinement,
    told: SyncSender<(Option<Effect>, Result<(), String>)>,
}

#[derive(Default)]
struct Entrance {
    newcomers: Vec<Newcomer>,
    /// No more will come.
    is_closed: bool,
}

#[derive(Default)]
struct Inbox {
    entrance: Mutex<Entrance>,
    has_news: AtomicBool,
    came: Condvar,
}

impl Inbox {
    fn entrance(&self) -> MutexGuard<'_, Entrance> {
        self.entrance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Entrance)) {
        change(&mut self.entrance());
        self.has_news.store(true, Ordering::Release);
        self.came.notify_one();
    }
}

/// A thread that engines take turns in; it ends with the last handle to it and the last of its engines. Whoever drops the last handle waits
/// for that: engines hold one until they have ended.
#[derive(Clone)]
pub struct EngineThread(Arc<Owner>);

struct Owner {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for EngineThread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EngineThread")
    }
}

impl EngineThread {
    /// One without engines.
    pub(crate) fn start() -> Self {
        let inbox = Arc::new(Inbox::default());
        let seen = Arc::clone(&inbox);
        let thread = std::thread::Builder::new()
            .name("engines".into())
            .spawn(move || run(&seen))
            .expect("a thread for the engines");
        Self(Arc::new(Owner { inbox, thread: Some(thread) }))
    }

    /// Lets an engine in. The thread waits as the most eager of its engines would; CPU and profile are those of all that name one.
    ///
    /// # Errors
    /// When the thread cannot be confined: the engine was ended.
    pub(crate) fn add(
        &self,
        engine: Box<dyn Turns>,
        wait: Wait,
        cpu: Option<u32>,
        confinement: Confinement,
    ) -> Result<Option<Effect>, PlaneError> {
        let (told, tell) = std::sync::mpsc::sync_channel(1);
        let newcomer = Newcomer { engine, wait, cpu, confinement, told };
        self.0.inbox.change(|entrance| entrance.newcomers.push(newcomer));
        let (pinned, confined) = tell.recv().expect("the thread tells before it does anything else");
        confined.map_err(|reason| PlaneError::Confinement { reason })?;
        Ok(pinned)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.inbox.change(|entrance| entrance.is_closed = true);
        if let Some(thread) = self.thread.take() {
            // Panics of engines are caught, each as its failure.
            drop(thread.join());
        }
    }
}

fn run(inbox: &Inbox) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut engines: Vec<Box<dyn Turns>> = Vec::new();
    let mut wait = Wait::Park;
    let mut confined = Confinement::Off;
    let mut idle_since = None;
    loop {
        if inbox.has_news.swap(false, Ordering::Acquire) {
            for newcomer in std::mem::take(&mut inbox.entrance().newcomers) {
                wait = more_eager(wait, newcomer.wait, cores);
                engines.extend(newcomer.enter(&mut confined));
            }
        }
        if engines.is_empty() {
            let entrance = inbox.entrance();
            let until = |entrance: &mut Entrance| entrance.newcomers.is_empty() && !entrance.is_closed;
            let entrance = inbox.came.wait_while(entrance, until).unwrap_or_else(PoisonError::into_inner);
            if entrance.newcomers.is_empty() {
                return;
            }
            continue;
        }
        if go_round(&mut engines) {
            idle_since = None;
            continue;
        }
        let now = Instant::now();
        let idle = now - *idle_since.get_or_insert(now);
        let looks = match wait {
            Wait::Park => LOOKS_PARKED,
            Wait::Hybrid => LOOKS_HYBRID,
            // Looks while it waits.
            Wait::Spin => Duration::ZERO,
        };
        if idle >= looks {
            sleep(&mut engines, wait);
        } else if idle < LOOKS_HOT {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// How a thread waits for two: a core is kept only where there are two more.
fn more_eager(one: Wait, other: Wait, cores: usize) -> Wait {
    match (one, other) {
        (Wait::Spin, _) | (_, Wait::Spin) if cores >= 3 => Wait::Spin,
        (Wait::Park, Wait::Park) => Wait::Park,
        _ => Wait::Hybrid,
    }
}

impl Newcomer {
    /// What it asks of the thread, and it, if it may stay.
    fn enter(self, in_force: &mut Confinement) -> Option<Box<dyn Turns>> {
        let pinned = self.cpu.map(pin_thread);
        // One that is on stays on, and lets nobody confine the thread again.
        let is_more = self.confinement != Confinement::Off && *in_force != Confinement::On;
        let confined = if is_more { self.confinement.apply() } else { Ok(()) };
        let stays = confined.is_ok();
        if is_more && stays {
            *in_force = self.confinement;
        }
        // Who lets it in waits for this.
        let _ = self.told.send((pinned, confined));
        if stays {
            return Some(self.engine);
        }
        end(self.engine, Some(PlaneError::OtherThread));
        None
    }
}

/// What an engine's code gives; a panic of it is a failure like another.
fn caught<T>(work: impl FnOnce() -> Result<T, PlaneError>) -> Result<T, PlaneError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(PlaneError::Panicked { said: panic_text(&*panic).to_owned() }))
}

/// A turn of each; whether any of them did something.
fn go_round(engines: &mut Vec<Box<dyn Turns>>) -> bool {
    let mut worked = false;
    let mut index = 0;
    while let Some(engine) = engines.get_mut(index) {
        match caught(|| engine.turn()) {
            Ok(Turned::Over) => end(engines.remove(index), None),
            Err(error) => end(engines.remove(index), Some(error)),
            Ok(turned) => {
                worked |= turned == Turned::Worked;
                index += 1;
            }
        }
    }
    worked
}

/// Sleeps until one of them has something to do.
fn sleep(engines: &mut Vec<Box<dyn Turns>>, wait: Wait) {
    let mut waits = Waits::new();
    let mut failed = None;
    for (index, engine) in engines.iter_mut().enumerate() {
        if let Err(error) = caught(|| engine.wait_for(&mut waits)) {
            failed = Some((index, error));
            break;
        }
    }
    match failed {
        Some((index, error)) => end(engines.remove(index), Some(error)),
        None => {
            if let Err(error) = caught(|| Ok(waits.sleep(wait)?)) {
                // It is no more one's than another's.
                let said = error.to_string();
                engines.drain(..).for_each(|engine| end(engine, Some(PlaneError::Stopped { said: said.clone() })));
            }
        }
    }
}

fn end(engine: Box<dyn Turns>, failure: Option<PlaneError>) {
    // Who waits for its end finds that nobody will tell it any more.
    drop(catch_unwind(AssertUnwindSafe(|| engine.end(failure))));
}

/// What an engine's end was, that whoever stops it waits for.
pub(crate) fn ended<T>(answer: &std::sync::mpsc::Receiver<Result<T, PlaneError>>) -> Result<T, PlaneError> {
    answer.recv().unwrap_or_else(|_| Err(PlaneError::Panicked { said: "at its end".to_owned() }))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

    use super::*;

    /// Says when it has a turn; has so many batches to do.
    struct Batches {
        name: &'static str,
        left: usize,
        log: Sender<&'static str>,
        told: SyncSender<Result<(), PlaneError>>,
        last: Box<dyn FnMut() -> Result<Turned, PlaneError> + Send>,
        /// What it does when it says what it sleeps for.
        asleep: fn(&mut Waits<'_>),
    }

    impl Turns for Batches {
        fn turn(&mut self) -> Result<Turned, PlaneError> {
            if self.left == 0 {
                return (self.last)();
            }
            self.left -= 1;
            self.log.send(self.name).unwrap();
            Ok(Turned::Worked)
        }

        fn wait_for<'a>(&'a mut self, waits: &mut Waits<'a>) -> Result<(), PlaneError> {
            (self.asleep)(waits);
            Ok(())
        }

        fn end(self: Box<Self>, failure: Option<PlaneError>) {
            let _ = self.told.send(failure.map_or(Ok(()), Err));
        }
    }

    type Ended = Receiver<Result<(), PlaneError>>;

    fn batches(
        (name, left): (&'static str, usize),
        log: &Sender<&'static str>,
        last: impl FnMut() -> Result<Turned, PlaneError> + Send + 'static,
    ) -> (Box<dyn Turns>, Ended) {
        batches_that_sleep((name, left), log, last, |_| {})
    }

    fn batches_that_sleep(
        (name, left): (&'static str, usize),
        log: &Sender<&'static str>,
        last: impl FnMut() -> Result<Turned, PlaneError> + Send + 'static,
        asleep: fn(&mut Waits<'_>),
    ) -> (Box<dyn Turns>, Ended) {
        let (told, end) = sync_channel(1);
        (Box::new(Batches { name, left, log: log.clone(), told, last: Box::new(last), asleep }), end)
    }

    #[test]
    fn an_engine_waits_for_one_batch_of_another_however_much_that_one_has() {
        let (log, turns) = channel();
        let over = || Ok(Turned::Over);
        let mut engines = vec![batches(("venue", 3), &log, over).0, batches(("market data", 1_000), &log, over).0];
        for _ in 0..4 {
            assert!(go_round(&mut engines));
        }
        let said: Vec<_> = turns.try_iter().collect();
        let (venue, other) = ("venue", "market data");
        assert_eq!(said, [venue, other, venue, other, venue, other, other]);
        assert_eq!(engines.len(), 1, "who is over is gone");
    }

    #[test]
    fn an_engine_that_fails_or_panics_ends_alone_with_what_it_said() {
        let (log, turns) = channel();
        let thread = EngineThread::start();
        let add = |(engine, end): (Box<dyn Turns>, Ended)| {
            thread.add(engine, Wait::Park, None, Confinement::Off).unwrap();
            end
        };
        let is_stopped = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_stopped);
        let last = move || Ok(if seen.load(Ordering::Acquire) { Turned::Over } else { Turned::Idle });
        let goes_on = add(batches(("goes on", 1), &log, last));
        let fails = add(batches(("fails", 1), &log, || Err(PlaneError::JournalStopped)));
        let panics = add(batches(("panics", 1), &log, || panic!("a mistake")));
        assert!(matches!(ended(&fails), Err(PlaneError::JournalStopped)));
        assert_eq!(ended(&panics).unwrap_err().to_string(), "the engine's thread panicked: a mistake");
        // One that comes later has its turns beside the one that is left.
        let later = add(batches(("later", 2), &log, || Ok(Turned::Over)));
        ended(&later).unwrap();
        assert_eq!(turns.try_iter().filter(|name| *name == "later").count(), 2);
        assert!(goes_on.try_recv().is_err(), "it has not ended");
        is_stopped.store(true, Ordering::Release);
        ended(&goes_on).unwrap();
    }

    #[test]
    fn an_engine_that_panics_when_it_says_what_it_sleeps_for_ends_alone() {
        let (log, turns) = channel();
        let idle = || Ok(Turned::Idle);
        let (panics, panicked) = batches_that_sleep(("panics", 0), &log, idle, |_| panic!("no such ring"));
        let (goes_on, end) = batches(("goes on", 1), &log, idle);
        let mut engines = vec![panics, goes_on];
        sleep(&mut engines, Wait::Park);
        assert_eq!(ended(&panicked).unwrap_err().to_string(), "the engine's thread panicked: no such ring");
        assert!(end.try_recv().is_err(), "it has not ended");
        assert!(go_round(&mut engines));
        assert_eq!((engines.len(), turns.try_iter().collect::<Vec<_>>()), (1, vec!["goes on"]));
    }

    #[test]
    fn a_thread_keeps_a_core_only_where_there_are_two_more() {
        let looks = [(Wait::Park, Wait::Park), (Wait::Park, Wait::Hybrid), (Wait::Spin, Wait::Park)];
        for (cores, expected) in
            [(2, [Wait::Park, Wait::Hybrid, Wait::Hybrid]), (3, [Wait::Park, Wait::Hybrid, Wait::Spin])]
        {
            assert_eq!(looks.map(|(one, other)| more_eager(one, other, cores)), expected, "{cores} cores");
        }
    }
}
