//! Sleeping on a word until it changes: Linux's futexes; elsewhere the word is looked at again and again.
//!
//! Everybody who sleeps here looks again after it, whatever ended the sleep, so all of it may end early. A system without
//! futexes costs who parks up to a millisecond and some processor time. Refused: the calls of macOS 14.4 for this
//! (`os_sync_wait_on_address`), as long as nobody here can run them.

#[cfg(target_os = "linux")]
pub(crate) use linux::{Words, wait, wake};
#[cfg(not(target_os = "linux"))]
pub(crate) use polling::{Words, wait, wake};

/// Who sleeps on a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Threads of this process.
    Process,
    /// Whoever has the file mapped.
    Machine,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use rustix::thread::futex::{self, Flags, Timespec, WaitFlags, WaitPtr, WaitvFlags};
    use rustix::time::{ClockId, clock_gettime};

    use super::Sharing;

    const fn flags(sharing: Sharing) -> Flags {
        match sharing {
            Sharing::Process => Flags::PRIVATE,
            Sharing::Machine => Flags::empty(),
        }
    }

    /// Wakes up to this many of those who sleep on the word.
    #[inline]
    pub fn wake(word: &AtomicU32, sharing: Sharing, count: u32) {
        // Fails only for a bad address, which this is not.
        let _ = futex::wake(word, flags(sharing), count);
    }

    /// Sleeps while the word has this value, at most so long.
    #[inline]
    pub fn wait(word: &AtomicU32, sharing: Sharing, value: u32, timeout: Option<Duration>) {
        let timeout = timeout
            .map(|timeout| Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) });
        let _ = futex::wait(word, flags(sharing), value, timeout.as_ref());
    }

    /// Up to `MAX` words that are slept on at once.
    #[derive(Debug)]
    pub struct Words<const MAX: usize> {
        waits: [futex::Wait; MAX],
        count: usize,
    }

    impl<const MAX: usize> Words<MAX> {
        #[inline]
        pub fn new() -> Self {
            Self { waits: [futex::Wait::new(); MAX], count: 0 }
        }

        /// The word must be there until [`Words::sleep`] is over; of one that is not, the kernel says so and nobody sleeps.
        #[inline]
        pub fn push(&mut self, word: &AtomicU32, sharing: Sharing, value: u32) {
            let wait = &mut self.waits[self.count];
            wait.val = value.into();
            wait.uaddr = WaitPtr::new(word.as_ptr().cast());
            wait.flags = WaitFlags::SIZE_U32;
            if sharing == Sharing::Process {
                wait.flags |= WaitFlags::PRIVATE;
            }
            self.count += 1;
        }

        pub const fn is_empty(&self) -> bool {
            self.count == 0
        }

        /// Sleeps while each has its value, at most so long; false when the kernel cannot (before Linux 5.16).
        #[inline]
        pub fn sleep(&self, timeout: Option<Duration>) -> bool {
            let until = timeout.map(monotonic_after);
            let waits = &self.waits[..self.count];
            let slept = futex::waitv(waits, WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic);
            slept != Err(rustix::io::Errno::NOSYS)
        }
    }

    /// The clock of stamps after this time from now, as the kernel wants the end of a sleep.
    fn monotonic_after(pause: Duration) -> Timespec {
        let now = clock_gettime(ClockId::Monotonic);
        let nanoseconds = now.tv_nsec + i64::from(pause.subsec_nanos());
        Timespec {
            tv_sec: now.tv_sec + pause.as_secs() as i64 + nanoseconds / 1_000_000_000,
            tv_nsec: nanoseconds % 1_000_000_000,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod polling {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use super::Sharing;

    /// How often a word is looked at.
    const LOOK: Duration = Duration::from_millis(1);

    /// Who sleeps finds the change by itself.
    pub fn wake(_word: &AtomicU32, _sharing: Sharing, _count: u32) {}

    /// Sleeps while the word has this value, at most so long.
    pub fn wait(word: &AtomicU32, _sharing: Sharing, value: u32, timeout: Option<Duration>) {
        let since = Instant::now();
        while word.load(Ordering::SeqCst) == value {
            let left = timeout.map_or(LOOK, |timeout| timeout.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Words that cannot be slept on at once: who would is told so, and looks at its rings instead.
    #[derive(Debug)]
    pub struct Words<const MAX: usize>(usize);

    impl<const MAX: usize> Words<MAX> {
        pub const fn new() -> Self {
            Self(0)
        }

        pub const fn push(&mut self, _word: &AtomicU32, _sharing: Sharing, _value: u32) {
            self.0 += 1;
        }

        pub const fn is_empty(&self) -> bool {
            self.0 == 0
        }

        /// False: nobody slept.
        pub const fn sleep(&self, _timeout: Option<Duration>) -> bool {
            false
        }
    }
}
