//! What of a process stays with it when it forks: locks and threads.
//!
//! A forked child has a copy of every descriptor, and a lock of the file lives as long as any of them: a child would keep
//! a journal locked whose owner is dead. So the child closes its copies right after the fork, and its copy of whatever
//! holds one does nothing. The ring does the same with its endpoints. A lock that another thread takes at the moment of a
//! fork may escape this; it is then the child's too until that ends, unless its owner gives it back.

use std::fs::{File, TryLockError};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Locks one process can hold.
const LOCKS_MAX: usize = 1024;

/// Descriptor + 1 of each lock of this process; 0 is free. A table because a fork handler may not lock or allocate.
static LOCKS: [AtomicI32; LOCKS_MAX] = [const { AtomicI32::new(0) }; LOCKS_MAX];
/// Forks this process is away from the one that was started.
static FORKS: AtomicU32 = AtomicU32::new(0);
static HANDLER: Once = Once::new();

extern "C" fn close_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    for entry in &LOCKS {
        let fd: RawFd = entry.swap(0, Ordering::Relaxed) - 1;
        if fd >= 0 {
            // SAFETY: the entry owned this descriptor; its lock does nothing in a child.
            unsafe { libc::close(fd) };
        }
    }
}

/// The process that made this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    forks: u32,
}

impl Owner {
    /// This process.
    pub fn here() -> Self {
        HANDLER.call_once(|| {
            // SAFETY: the handler only touches atomics and calls close, both allowed after a fork.
            let refused = unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
            // Without it a child would take itself for the owner. It fails for want of memory only.
            assert_eq!(refused, 0, "no handler for forks: {}", io::Error::from_raw_os_error(refused));
        });
        Self { forks: FORKS.load(Ordering::Relaxed) }
    }

    /// False in a forked child.
    pub fn is_here(self) -> bool {
        FORKS.load(Ordering::Relaxed) == self.forks
    }
}

/// A locked file. Dropping it gives the lock back.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: ManuallyDrop<File>,
    entry: usize,
    owner: Owner,
}

impl FileLock {
    /// Takes the lock, or `None` while another holds it.
    pub fn acquire(file: File) -> io::Result<Option<Self>> {
        let owner = Owner::here();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let fd = file.as_raw_fd();
        for (entry, word) in LOCKS.iter().enumerate() {
            if word.compare_exchange(0, fd + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(Some(Self { file: ManuallyDrop::new(file), entry, owner }));
            }
        }
        Err(io::Error::other(format!("this process already holds {LOCKS_MAX} journals")))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // In a child the descriptor is closed, and its number may be another file's.
        if self.owner.is_here() {
            LOCKS[self.entry].store(0, Ordering::Relaxed);
            // Given back by word and not only by closing: a child forked just now may not have closed its copy yet. It
            // fails only for a descriptor that is none.
            let _ = self.file.unlock();
            // SAFETY: it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}
