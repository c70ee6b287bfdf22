//! What the protocols ask of a word of shared memory, so that a model checker can stand in for the processor.
//!
//! The protocols of this crate that run on one or a few words ([`crate::protocol`]) are written over this trait. In a
//! ring the words are atomics in the mapping; in `tests/loom.rs` they are loom's, which tries every order of every
//! access that the memory model allows.

use std::sync::atomic::{AtomicU64, Ordering};

/// A 64-bit word that several processes use.
pub trait Word {
    /// See [`AtomicU64::load`].
    fn load(&self, order: Ordering) -> u64;
    /// See [`AtomicU64::store`].
    fn store(&self, value: u64, order: Ordering);
    /// See [`AtomicU64::compare_exchange`].
    ///
    /// # Errors
    /// The value found when it is not `current`.
    fn compare_exchange(&self, current: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64>;
    /// See [`AtomicU64::fetch_add`].
    fn fetch_add(&self, value: u64, order: Ordering) -> u64;
    /// See [`std::sync::atomic::fence`].
    fn fence(order: Ordering);
    /// Between two looks at a word that somebody else will change.
    fn pause();
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn compare_exchange(&self, current: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64> {
        self.compare_exchange(current, new, success, failure)
    }

    #[inline]
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_add(value, order)
    }

    #[inline]
    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }

    #[inline]
    fn pause() {
        std::hint::spin_loop();
    }
}
