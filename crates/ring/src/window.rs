//! Writable views of claims that somebody may keep longer than the claim lasts.
//!
//! In Rust a borrow ends with its claim; a buffer lent to another language does not. Such views lie in a window: a
//! mapping of the same file at other addresses. When a claim ends while somebody still has a view of it, the window is
//! revoked: at its addresses there is private memory from then on, and who writes there changes nothing of the ring.
//! That costs a system call, and only then; a window serves any number of claims before.

use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use memmap2::{MmapOptions, MmapRaw};

use crate::error::RingError;
use crate::mapping::io_error;
use crate::producer::Claim;
use crate::ring::Ring;

/// A mapping of a ring that can be taken from under those who have pointers into it.
#[derive(Debug)]
pub struct Window {
    ring: Ring,
    map: MmapRaw,
}

impl Window {
    /// A window of this ring.
    ///
    /// # Errors
    /// [`RingError::Io`] when the file cannot be mapped again.
    pub fn new(ring: &Ring) -> Result<Self, RingError> {
        let map = MmapOptions::new().populate().map_raw(&ring.mapping.file).map_err(io_error("map", ring.path()))?;
        Ok(Self { ring: ring.clone(), map })
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
