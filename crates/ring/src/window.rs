//! Writable views of claims that somebody may keep longer than the claim lasts.
//!
//! In Rust a borrow ends with its claim; a buffer lent to another language does not. Such views lie in a window: a
//! mapping of the same file at other addresses. When a claim ends while somebody still has a view of it, the window is
//! revoked: at its addresses there is private memory from then on, and who writes there changes nothing of the ring.
//! That costs a system call, and only then; a window serves any number of claims before.
//!
//! A forked child has copies of such pointers, and its parent commits the claim and goes on: in the child all windows are
//! revoked right after the fork.

use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::error::RingError;
use crate::mapping::io_error;
use crate::producer::Claim;
use crate::ring::Ring;

/// Windows one process can have.
const WINDOWS_MAX: usize = 1024;

/// Address and size of each window of this process; an address of 0 is free. A table because a fork handler may not lock or
/// allocate.
static WINDOWS: [(AtomicUsize, AtomicUsize); WINDOWS_MAX] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; WINDOWS_MAX];

/// Puts zeroed private memory in the place of all windows. What a fork handler calls: system calls and atomics only.
pub(crate) fn revoke_in_child() {
    for (address, size) in &WINDOWS {
        let address = address.load(Ordering::Acquire);
        if address != 0 {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
            // SAFETY: the range is a mapping of a window, as in `Window::revoke`. Should it fail, the child has what it had.
            unsafe { libc::mmap(address as *mut libc::c_void, size.load(Ordering::Relaxed), protection, flags, -1, 0) };
        }
    }
}

/// A window's entry in the table.
#[derive(Debug)]
struct Entry(usize);

impl Entry {
    fn of(map: &MmapRaw) -> Option<Self> {
        let address = map.as_mut_ptr() as usize;
        // Taken by its size, and seen by a fork only when the address stands there too.
        let taken = |(_, size): &(AtomicUsize, AtomicUsize)| {
            size.compare_exchange(0, map.len(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let entry = WINDOWS.iter().position(taken)?;
        WINDOWS[entry].0.store(address, Ordering::Release);
        Some(Self(entry))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        WINDOWS[self.0].0.store(0, Ordering::Release);
        WINDOWS[self.0].1.store(0, Ordering::Release);
    }
}

/// A mapping of a ring that can be taken from under those who have pointers into it.
#[derive(Debug)]
pub struct Window {
    ring: Ring,
    /// Before the mapping: what is unmapped is nobody's to replace.
    _entry: Entry,
    map: MmapRaw,
}

impl Window {
    /// A window of this ring.
    ///
    /// # Errors
    /// [`RingError::Io`] when the file cannot be mapped again.
    pub fn new(ring: &Ring) -> Result<Self, RingError> {
        let map = MmapOptions::new().populate().map_raw(&ring.mapping.file).map_err(io_error("map", ring.path()))?;
        let full = || std::io::Error::other(format!("this process already has {WINDOWS_MAX} windows of claims"));
        let entry = Entry::of(&map).ok_or_else(full).map_err(io_error("map", ring.path()))?;
        Ok(Self { ring: ring.clone(), _entry: entry, map })
    }

    /// The payload of a claim on this window's ring, as [`Claim::payload`] gives it. The memory is there as long as the
    /// window; until the claim ends or the window is revoked what is written there is the message's.
    ///
    /// # Panics
    /// For a claim on another ring.
    pub fn payload(&self, claim: &mut Claim<'_>) -> NonNull<[u8]> {
        assert!(std::ptr::eq(&*claim.ring().mapping, &*self.ring.mapping), "a claim on another ring");
        let size = claim.payload().len();
        let offset = self.ring.mapping.offset_in_file(claim.payload().as_ptr());
        assert!(
            offset <= self.map.len() && size <= self.map.len() - offset,
            "{size} bytes at {offset} outside the file"
        );
        // SAFETY: in bounds by the assert, so inside one allocation and not null.
        unsafe {
            let start = NonNull::new_unchecked(self.map.as_mut_ptr().add(offset));
            NonNull::slice_from_raw_parts(start, size)
        }
    }

    /// Puts private memory at this window's addresses: pointers into it stay valid and reach the ring no more.
    ///
    /// # Errors
    /// [`RingError::Io`]; the window is as before then.
    pub fn revoke(&self) -> Result<(), RingError> {
        let (address, size) = (self.map.as_mut_ptr(), self.map.len());
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_FIXED);
        // SAFETY: the range is exactly the mapping that `map` owns and unmaps in the end, so nothing else is replaced;
        // the new one has the same size and protection, so whoever may access the old may access it.
        let found =
            unsafe { libc::mmap(address.cast(), size, protection, flags, self.ring.mapping.file.as_raw_fd(), 0) };
        if found == libc::MAP_FAILED {
            return Err(io_error("map privately", self.ring.path())(std::io::Error::last_os_error()));
        }
        Ok(())
    }
}
