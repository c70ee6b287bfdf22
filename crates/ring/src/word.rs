//! What the protocols ask of a word of shared memory, so that a model checker can stand in for the processor.
//!
//! The steps of this crate that run on one or a few words ([`crate::claims`], [`crate::floor`], [`crate::pair`],
//! [`crate::sleep`]) are written over this trait. In a ring the words are atomics in the mapping; in `tests/loom.rs` they
//! are loom's, which tries every order of every access that the memory model allows; in `tests/steps.rs` they stop who
//! uses them at each access.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A word, of 64 bits unless said otherwise, that several processes use.
pub trait Word<V = u64> {
    /// See [`AtomicU64::load`].
    fn load(&self, order: Ordering) -> V;
    /// See [`AtomicU64::store`].
    fn store(&self, value: V, order: Ordering);
    /// See [`AtomicU64::compare_exchange`].
    ///
    /// # Errors
    /// The value found when it is not `current`.
    fn compare_exchange(&self, current: V, new: V, success: Ordering, failure: Ordering) -> Result<V, V>;
    /// See [`AtomicU64::fetch_add`].
    fn fetch_add(&self, value: V, order: Ordering) -> V;
    /// See [`std::sync::atomic::fence`].
    fn fence(order: Ordering);
    /// Between two looks at a word that somebody else will change.
    fn pause();
}

macro_rules! word_of {
    ($value:ty, $atomic:ty) => {
        impl Word<$value> for $atomic {
            #[inline]
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }

            #[inline]
            fn store(&self, value: $value, order: Ordering) {
                self.store(value, order);
            }

            #[inline]
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            #[inline]
            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
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
    };
}

word_of!(u64, AtomicU64);
word_of!(u32, AtomicU32);
