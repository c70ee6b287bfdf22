//! Two words that are read together although one writer changes them while others read.
//!
//! The writer fills the pair that is not current and then turns the version. A reader that finds the version
//! unchanged read a current pair. Unlike a seqlock, a writer killed half way leaves the last pair readable.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// One writer, any number of readers.
#[derive(Debug)]
#[repr(C)]
pub struct PairCell {
    version: AtomicU64,
    pairs: [[AtomicU64; 2]; 2],
}

impl PairCell {
    /// Replaces the pair. Only one process writes.
    #[inline]
    pub fn store(&self, first: u64, second: u64) {
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        let pair = &self.pairs[(version & 1) as usize];
        // The fence keeps the pair's words from moving before the version that made it the spare one.
        fence(Ordering::Release);
        pair[0].store(first, Ordering::Relaxed);
        pair[1].store(second, Ordering::Relaxed);
        self.version.store(version, Ordering::Release);
    }

    /// The current pair.
    #[inline]
    pub fn load(&self) -> (u64, u64) {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let pair = &self.pairs[(version & 1) as usize];
            let found = (pair[0].load(Ordering::Relaxed), pair[1].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return found;
            }
            std::hint::spin_loop();
        }
    }
}
