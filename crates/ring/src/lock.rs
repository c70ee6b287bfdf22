//! Who is alive: kernel record locks on the hot lines of the ring file itself.
//!
//! An endpoint holds an open-file-description lock on the first byte of its own line. The kernel frees it when the
//! process dies, whatever killed it; asking who holds a lock takes none, so a probe never disturbs an opening. Refused:
//! process ids and heartbeats (they lie in containers and under load), classic `fcntl` locks (closing any descriptor of
//! the file drops them), separate lock files (they outlive their ring).
//!
//! A forked child would inherit the lock and keep a dead parent's endpoint alive, so the child closes all of them right
//! after the fork and its copies of the endpoints refuse to work. A descriptor opened by another thread at the moment
//! of a fork may escape this; it then lives until that child ends or calls exec.

use std::ffi::{c_int, c_short};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::window;

/// As a lock is written; their type is another on each system.
const TAKEN: c_short = libc::F_WRLCK as c_short;
const FREE: c_short = libc::F_UNLCK as c_short;

/// Endpoints one process can hold.
const ENDPOINTS_MAX: usize = 4096;

/// Descriptor + 1 of each endpoint of this process; 0 is free. A table because a fork handler may not lock or allocate.
static ENDPOINTS: [AtomicI32; ENDPOINTS_MAX] = [const { AtomicI32::new(0) }; ENDPOINTS_MAX];
/// Forks this process is away from the one that was started.
static FORKS: AtomicU32 = AtomicU32::new(0);
static HANDLER: Once = Once::new();

extern "C" fn close_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    for entry in &ENDPOINTS {
        let fd = entry.swap(0, Ordering::Relaxed) - 1;
        if fd >= 0 {
            // SAFETY: the entry owned this descriptor; nobody else closes it.
            unsafe { libc::close(fd) };
        }
    }
    window::revoke_in_child();
}

/// A held lock. Dropping it frees the line.
#[derive(Debug)]
pub struct EndpointLock {
    entry: usize,
    forks: u32,
    offset: u64,
}

impl EndpointLock {
    /// Takes the lock at `offset` of the file, or `None` when another endpoint holds it.
    pub fn acquire(file: &File, offset: u64) -> io::Result<Option<Self>> {
        HANDLER.call_once(|| {
            // SAFETY: the handler only touches atomics and calls close and mmap, all allowed after a fork.
            unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
        });
        let own = reopen(file)?;
        if !control(own.as_raw_fd(), libc::F_OFD_SETLK, TAKEN, offset)? {
            return Ok(None);
        }
        let forks = FORKS.load(Ordering::Relaxed);
        let fd = own.into_raw_fd();
        for (entry, word) in ENDPOINTS.iter().enumerate() {
            if word.compare_exchange(0, fd + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(Some(Self { entry, forks, offset }));
            }
        }
        // SAFETY: the descriptor is ours and no entry took it.
        unsafe { libc::close(fd) };
        Err(io::Error::other(format!("this process already holds {ENDPOINTS_MAX} ring endpoints")))
    }

    /// False in a forked child, whose copy of the endpoint is dead.
    #[inline]
    pub fn is_ours(&self) -> bool {
        FORKS.load(Ordering::Relaxed) == self.forks
    }
}

impl Drop for EndpointLock {
    fn drop(&mut self) {
        if self.is_ours() {
            let fd = ENDPOINTS[self.entry].swap(0, Ordering::Relaxed) - 1;
            // Given back by word and not only by closing: a child forked just now may not have closed its copy yet.
            // It fails only for a descriptor that is none.
            let _ = control(fd, libc::F_OFD_SETLK, FREE, self.offset);
            // SAFETY: the entry owned this descriptor; nobody else closes it.
            unsafe { libc::close(fd) };
        }
    }
}

/// Whether an endpoint holds the lock at `offset`. Takes nothing.
pub fn is_held(file: &File, offset: u64) -> io::Result<bool> {
    control(file.as_raw_fd(), libc::F_OFD_GETLK, TAKEN, offset).map(|free| !free)
}

/// How long [`with_lock`] waits for who is in steps of microseconds.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOCK_LOOKS: Duration = Duration::from_micros(100);

/// Waits for the lock at `offset` and runs `work` under it; `None` when somebody else kept it for [`LOCK_WAIT_MAX`]. For steps
/// of microseconds. It looks again and again, because the kernel's own wait has no end when the holder is stopped.
pub fn with_lock<T>(file: &File, offset: u64, work: impl FnOnce() -> T) -> io::Result<Option<T>> {
    let own = reopen(file)?;
    let since = Instant::now();
    while !control(own.as_raw_fd(), libc::F_OFD_SETLK, TAKEN, offset)? {
        if since.elapsed() >= LOCK_WAIT_MAX {
            return Ok(None);
        }
        std::thread::sleep(LOCK_LOOKS);
    }
    let result = work();
    // By word, not only by closing: a child that another thread forked meanwhile has a copy of the descriptor, and would
    // keep the lock for as long as it lives. It fails only for a descriptor that is none.
    let _ = control(own.as_raw_fd(), libc::F_OFD_SETLK, FREE, offset);
    Ok(Some(result))
}

/// A description of its own: two endpoints of one process must exclude each other too.
#[cfg(target_os = "linux")]
fn reopen(file: &File) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A description of its own, by the file's name: what `/dev/fd` gives here is the same description once more. So there is
/// none of a file that was removed.
#[cfg(not(target_os = "linux"))]
fn reopen(file: &File) -> io::Result<File> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let path = rustix::fs::getpath(file)?;
    let path = std::ffi::OsStr::from_bytes(path.as_bytes());
    let own = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let of = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    if of(&own)? == of(file)? { Ok(own) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// True when the lock was taken, or when a question found it free.
fn control(fd: RawFd, command: c_int, kind: c_short, offset: u64) -> io::Result<bool> {
    let mut lock = libc::flock {
        l_type: kind,
        l_whence: libc::SEEK_SET as c_short,
        l_start: offset as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the struct outlives the call and the descriptor is open.
    if unsafe { libc::fcntl(fd, command, &mut lock) } == 0 {
        return Ok(command != libc::F_OFD_GETLK || lock.l_type == FREE);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: the child, which keeps its copy of the descriptor open, is forked while the lock is held.
    #[test]
    fn a_lock_is_given_back_although_a_child_that_was_forked_meanwhile_lives() {
        let file = tempfile::tempfile().unwrap();
        let child = with_lock(&file, 7, || {
            assert!(is_held(&file, 7).unwrap());
            // SAFETY: the child does nothing but wait to be killed.
            match unsafe { libc::fork() } {
                0 => loop {
                    // SAFETY: it has no arguments.
                    unsafe { libc::pause() };
                },
                child => child,
            }
        })
        .unwrap()
        .unwrap();
        let held = is_held(&file, 7).unwrap();
        // SAFETY: the child is ours and was not waited for.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        assert!(!held);
    }
}
