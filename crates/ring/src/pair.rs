//! Two words that are read together although one writer changes them while others read.
//!
//! The writer fills the pair that is not current and then turns the version. A reader that finds the version
//! unchanged read a current pair. Unlike a seqlock, a writer killed half way leaves the last pair readable.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::word::Word;

/// One writer at a time, any number of readers.
#[derive(Debug, Default)]
#[repr(C)]
pub struct PairCell<W = AtomicU64> {
    version: W,
    pairs: [[W; 2]; 2],
}

impl<W: Word> PairCell<W> {
    /// Replaces the pair. Only one process writes at a time.
    #[inline]
    pub fn store(&self, first: u64, second: u64) {
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        let pair = &self.pairs[(version & 1) as usize];
        // The fence keeps the pair's words from moving before the version that made it the spare one.
        W::fence(Ordering::Release);
        pair[0].store(first, Ordering::Relaxed);
        pair[1].store(second, Ordering::Relaxed);
        self.version.store(version, Ordering::Release);
    }

    /// Replaces the first word of the pair, where nobody looks at the second one.
    #[inline]
    pub fn store_first(&self, first: u64) {
        self.pairs[(self.version.load(Ordering::Relaxed) & 1) as usize][0].store(first, Ordering::Release);
    }

    /// The current pair.
    #[inline]
    pub fn load(&self) -> (u64, u64) {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let pair = &self.pairs[(version & 1) as usize];
            let found = (pair[0].load(Ordering::Relaxed), pair[1].load(Ordering::Relaxed));
            W::fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return found;
            }
            W::pause();
        }
    }
}
