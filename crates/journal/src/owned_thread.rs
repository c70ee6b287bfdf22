//! A thread that ends with its owner, in the process that started it and in no other.

use std::thread::{JoinHandle, Thread};

use crate::fork::Owner;

/// A running thread of this process. Its owner says how it is told to end; a forked child has nothing to end.
#[derive(Debug)]
pub(crate) struct OwnedThread<T> {
    /// `None` once it was joined.
    thread: Option<JoinHandle<T>>,
    owner: Owner,
}

impl<T> OwnedThread<T> {
    /// Takes what was started in this process.
    pub fn new(thread: JoinHandle<T>) -> Self {
        Self { thread: Some(thread), owner: Owner::here() }
    }

    /// False in a forked child.
    pub fn is_here(&self) -> bool {
        self.owner.is_here()
    }

    /// To be woken; `None` once it was joined.
    pub fn thread(&self) -> Option<&Thread> {
        self.thread.as_ref().map(JoinHandle::thread)
    }

    /// Tells it to end, wakes it and waits; what it ended with. `None` where there is none: it was joined before, or is another
    /// process's.
    pub fn end(&mut self, tell: impl FnOnce()) -> Option<std::thread::Result<T>> {
        let thread = self.thread.take()?;
        if !self.owner.is_here() {
            // Neither joined nor detached: here its handle names nothing.
            std::mem::forget(thread);
            return None;
        }
        tell();
        thread.thread().unpark();
        Some(thread.join())
    }
}
