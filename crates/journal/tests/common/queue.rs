//! A bounded queue as the source of a journal's thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidebook_journal::{JournalError, JournalThread, JournalWriter, Source, SyncPolicy};

/// A bounded queue in front of a journal thread, for writers without a ring.
#[derive(Debug, Clone)]
pub struct JournalQueue {
    inner: Arc<QueueInner>,
}

#[derive(Debug)]
struct QueueInner {
    state: Mutex<QueueState>,
    filled: Condvar,
    drained: Condvar,
    synced: Condvar,
    size_bytes_max: usize,
}

#[derive(Debug)]
struct QueueState {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
    next_sequence: u64,
    durable: u64,
    ended: bool,
}

impl JournalQueue {
    /// Starts a thread over `writer` with a queue of at most `size_bytes_max` waiting bytes.
    pub fn spawn(writer: JournalWriter, policy: SyncPolicy, size_bytes_max: usize) -> (Self, JournalThread) {
        let state = QueueState {
            bytes: Vec::new(),
            sizes: Vec::new(),
            next_sequence: writer.next_sequence(),
            durable: writer.durable(),
            ended: false,
        };
        let inner = Arc::new(QueueInner {
            state: Mutex::new(state),
            filled: Condvar::new(),
            drained: Condvar::new(),
            synced: Condvar::new(),
            size_bytes_max,
        });
        let source = QueueSource { inner: Arc::clone(&inner), bytes: Vec::new(), sizes: Vec::new() };
        (Self { inner }, JournalThread::spawn(writer, policy, source))
    }

    /// Queues `payload` and returns its sequence, or `None` once the thread has ended. Blocks while the queue is full.
    pub fn append(&self, payload: &[u8]) -> Option<u64> {
        let mut state = self.inner.lock();
        while !state.ended && !state.sizes.is_empty() && state.bytes.len() + payload.len() > self.inner.size_bytes_max {
            state = self.inner.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return None;
        }
        state.bytes.extend_from_slice(payload);
        state.sizes.push(payload.len());
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        drop(state);
        self.inner.filled.notify_one();
        Some(sequence)
    }

    /// Waits until `sequence` is durable; `false` if the thread ended before.
    pub fn wait_durable(&self, sequence: u64) -> bool {
        let mut state = self.inner.lock();
        while state.durable < sequence && !state.ended {
            state = self.inner.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.durable >= sequence
    }
}

impl QueueInner {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct QueueSource {
    inner: Arc<QueueInner>,
    bytes: Vec<u8>,
    sizes: Vec<usize>,
}

impl Source for QueueSource {
    fn drain(&mut self, writer: &mut JournalWriter) -> Result<usize, JournalError> {
        {
            let mut state = self.inner.lock();
            std::mem::swap(&mut state.bytes, &mut self.bytes);
            std::mem::swap(&mut state.sizes, &mut self.sizes);
        }
        if self.sizes.is_empty() {
            return Ok(0);
        }
        self.inner.drained.notify_all();
        let mut offset = 0;
        for &size in &self.sizes {
            writer.append(&self.bytes[offset..offset + size])?;
            offset += size;
        }
        let moved = self.sizes.len();
        self.bytes.clear();
        self.sizes.clear();
        Ok(moved)
    }

    fn durable(&mut self, sequence: u64) -> Result<(), JournalError> {
        self.inner.lock().durable = sequence;
        self.inner.synced.notify_all();
        Ok(())
    }

    /// Dropping the source wakes all who wait.
    fn failed(&mut self, _error: &JournalError) {}

    fn wait(&mut self, timeout: Duration) {
        let state = self.inner.lock();
        if state.sizes.is_empty() {
            drop(self.inner.filled.wait_timeout(state, timeout));
        }
    }
}

impl Drop for QueueSource {
    /// The thread is over: nobody may wait for it any more.
    fn drop(&mut self) {
        self.inner.lock().ended = true;
        self.inner.drained.notify_all();
        self.inner.synced.notify_all();
    }
}
