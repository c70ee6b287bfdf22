//! The thread that owns a journal's writer: it moves messages in, syncs by policy, and says how far it got.
//!
//! Where the messages come from is a [`Source`], the ring of crate `channel`. While one sync runs the source fills, so
//! under load a group commit is as large as the disk is slow, and no timer is needed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::JournalError;
use crate::owned_thread::OwnedThread;
use crate::writer::JournalWriter;

/// When the thread syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// At most this long after the first unsynced message: capture channels.
    Interval(Duration),
    /// After everything that waited was written: order channels.
    Group,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self::Interval(Duration::from_millis(10))
    }
}

/// Where a journal thread takes messages from and whom it tells.
pub trait Source: Send + 'static {
    /// Moves what is there into the writer and returns how many; called only from the journal's thread.
    ///
    /// # Errors
    /// What the writer returned; the thread ends with it.
    fn drain(&mut self, writer: &mut JournalWriter) -> Result<usize, JournalError>;
    /// What was moved is synced next, which may take long; an empty [`Self::drain`] may have come in between.
    fn syncs(&mut self) {}
    /// Whether what it keeps until a sync fills up, so that no interval can be waited for.
    fn is_pressed(&mut self) -> bool {
        false
    }
    /// Everything up to `sequence` is durable.
    ///
    /// # Errors
    /// When the source cannot be told; the thread ends with it.
    fn durable(&mut self, sequence: u64) -> Result<(), JournalError>;
    /// Waits until something may have come, at most `timeout`.
    fn wait(&mut self, timeout: Duration);
    /// As [`Self::wait`], while nothing is to be synced: so long as it may take to see that the thread is to end.
    fn idle(&mut self) {
        self.wait(IDLE_WAIT);
    }
    /// The thread ends with this; nothing more becomes durable.
    fn failed(&mut self, error: &JournalError);
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    failure: Mutex<Option<String>>,
    sync_count: AtomicU64,
}

/// A running journal thread.
#[derive(Debug)]
pub struct JournalThread {
    shared: Arc<Shared>,
    durable: Arc<AtomicU64>,
    thread: OwnedThread<Result<(), JournalError>>,
}

/// How long an idle thread sleeps before it looks at its source again, if the source cannot wake it.
pub const IDLE_WAIT: Duration = Duration::from_millis(1);

impl JournalThread {
    /// Starts the thread over `writer`.
    ///
    /// # Panics
    /// When the operating system gives no thread.
    pub fn spawn(writer: JournalWriter, policy: SyncPolicy, mut source: impl Source) -> Self {
        let shared = Arc::new(Shared::default());
        let durable = writer.durable_shared();
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                // A panic ends it like any failure: seen by who asks, and nobody waits for it for ever.
                let result = catch_unwind(AssertUnwindSafe(|| run(writer, policy, &mut source, &seen)))
                    .unwrap_or_else(|panic| Err(JournalError::Panicked { said: panic_text(&*panic).to_owned() }));
                // Before the source drops and wakes who waits: they ask for the reason.
                if let Err(error) = &result {
                    *seen.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                    source.failed(error);
                }
                result
            })
            .expect("a thread for the journal");
        Self { shared, durable, thread: OwnedThread::new(thread) }
    }

    /// Highest durable sequence.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Syncs done so far.
    pub fn sync_count(&self) -> u64 {
        self.shared.sync_count.load(Ordering::Relaxed)
    }

    /// Why the thread ended, if it failed.
    pub fn failure(&self) -> Option<String> {
        if !self.thread.is_here() {
            return Some("this process was forked from the one that runs it".to_owned());
        }
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what the source still has, syncs, closes the journal and ends the thread. Does nothing in a forked child: the
    /// thread is its parent's.
    ///
    /// # Errors
    /// What ended the thread earlier, or what closing returned.
    ///
    /// # Panics
    /// When dropping the source panics.
    pub fn stop(mut self) -> Result<(), JournalError> {
        self.end().map_or(Ok(()), |ended| ended.expect("a panic of the journal thread is an error of its own"))
    }

    fn end(&mut self) -> Option<std::thread::Result<Result<(), JournalError>>> {
        self.thread.end(|| self.shared.stopping.store(true, Ordering::Release))
    }
}

impl Drop for JournalThread {
    /// As [`Self::stop`], but a failure is only kept in [`Self::failure`].
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// What a caught panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no words")
}

fn run(
    mut writer: JournalWriter,
    policy: SyncPolicy,
    source: &mut impl Source,
    shared: &Shared,
) -> Result<(), JournalError> {
    let mut unsynced_since: Option<Instant> = None;
    let mut told = writer.durable();
    loop {
        let stopping = shared.stopping.load(Ordering::Acquire);
        let moved = source.drain(&mut writer)?;
        if moved > 0 && unsynced_since.is_none() {
            unsynced_since = Some(Instant::now());
        }
        let due = match (policy, unsynced_since) {
            (_, None) => None,
            (SyncPolicy::Group, Some(_)) => Some(Duration::ZERO),
            (SyncPolicy::Interval(_), Some(_)) if source.is_pressed() => Some(Duration::ZERO),
            (SyncPolicy::Interval(interval), Some(since)) => Some(interval.saturating_sub(since.elapsed())),
        };
        if due == Some(Duration::ZERO) {
            source.syncs();
            writer.sync()?;
            shared.sync_count.fetch_add(1, Ordering::Relaxed);
            unsynced_since = None;
        }
        if writer.durable() > told {
            told = writer.durable();
            source.durable(told)?;
        }
        writer.look()?;
        if moved == 0 {
            if stopping {
                source.syncs();
                let last = writer.sync()?;
                // Before closing, which may fail while all is durable: then nobody would be told of the last ones.
                if last > told {
                    source.durable(last)?;
                }
                return writer.close();
            }
            match due {
                Some(due) => source.wait(due.min(IDLE_WAIT)),
                None => source.idle(),
            }
        }
    }
}
