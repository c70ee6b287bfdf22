//! A file's bytes in memory, for who reads all of it: a mapping, or pages that were filled.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Mmap, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const PAGE_SIZE_BYTES: usize = 4096;

/// Bytes of a file, at a multiple of 4096.
pub struct Mapped {
    pages: Pages,
    size_bytes: usize,
}

enum Pages {
    File(Mmap),
    Memory(Vec<Page>),
}

#[derive(Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE_BYTES]);

impl Mapped {
    /// Maps a file of at least `size_bytes`.
    ///
    /// The file must keep its size: reading a part that was cut off ends the process by a signal.
    pub(crate) fn map(file: &File, size_bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() < size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size_bytes = usize::try_from(size_bytes).map_err(io::Error::other)?;
        // SAFETY: who writes files that are mapped gives them their name when they are whole and never changes them
        // again; removing one leaves the mapping whole.
        let map = unsafe { MmapOptions::new().len(size_bytes).map(file)? };
        Ok(Self { pages: Pages::File(map), size_bytes })
    }

    /// Fills pages of `size_bytes` by `read`, which returns how many bytes there were.
    pub fn read(size_bytes: u64, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Self> {
        let size_bytes = usize::try_from(size_bytes).map_err(io::Error::other)?;
        let count = size_bytes.div_ceil(PAGE_SIZE_BYTES);
        let mut pages = Vec::new();
        pages.try_reserve_exact(count).map_err(io::Error::other)?;
        pages.resize(count, Page([0; PAGE_SIZE_BYTES]));
        if read(&mut pages.as_mut_slice().as_mut_bytes()[..size_bytes])? < size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { pages: Pages::Memory(pages), size_bytes })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.pages {
            Pages::File(map) => &map[..self.size_bytes],
            Pages::Memory(pages) => &pages.as_slice().as_bytes()[..self.size_bytes],
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Mapped({} bytes)", self.size_bytes)
    }
}
