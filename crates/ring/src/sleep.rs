//! Sleeping until something is committed, without a wake-up that is lost and without a system call when nobody sleeps.
//!
//! The sleeper takes the value of `signal`, says that it sleeps, and then looks once more; the kernel lets it sleep only
//! while `signal` has that value. The waker commits and then looks whether anybody sleeps. Both have a full fence in
//! between: either the sleeper sees the commit, or the waker sees the sleeper.

use std::sync::atomic::Ordering;

use crate::word::Word;

/// The words of [`crate::layout::Wake`].
#[derive(Debug)]
pub struct Bell<'r, S> {
    /// See [`crate::layout::Wake::waiting`].
    pub waiting: &'r S,
    /// See [`crate::layout::Wake::signal`].
    pub signal: &'r S,
}

impl<S: Word<u32>> Bell<'_, S> {
    /// Says that somebody is about to sleep, and gives the value on which to sleep if there is still nothing.
    pub fn announce(&self) -> u32 {
        // Before `waiting`: whoever clears that changes the signal afterwards, so we do not sleep on the new one.
        let value = self.signal.load(Ordering::SeqCst);
        self.waiting.store(1, Ordering::SeqCst);
        S::fence(Ordering::SeqCst);
        value
    }

    /// Whether somebody may sleep who does not know what was committed before.
    #[inline]
    pub fn is_awaited(&self) -> bool {
        S::fence(Ordering::SeqCst);
        self.is_announced()
    }

    /// The same, behind a full fence that stands behind all that was committed.
    #[inline]
    pub fn is_announced(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Keeps those who are about to sleep from it; those who sleep are woken by `wake`.
    pub fn ring(&self, wake: impl FnOnce()) {
        self.waiting.store(0, Ordering::SeqCst);
        self.signal.fetch_add(1, Ordering::SeqCst);
        wake();
    }
}
