//! Room for many records at once, in huge pages where the system gives them: a page is made ready when it is first touched, and
//! that costs more than what is written to a small one.

/// An empty vector with room for so many.
pub(crate) fn with_room<T>(count: usize) -> Vec<T> {
    let records = Vec::with_capacity(count);
    #[cfg(target_os = "linux")]
    advise(&records);
    records
}

/// Memory below this has no whole huge page for certain.
#[cfg(target_os = "linux")]
const WORTH_BYTES: usize = 4 << 20;

/// Asks for huge pages for its memory; who gets none has the usual ones.
#[cfg(target_os = "linux")]
fn advise<T>(records: &Vec<T>) {
    const PAGE: usize = 4096;
    let size = records.capacity() * size_of::<T>();
    if size < WORTH_BYTES {
        return;
    }
    let begin = records.as_ptr().addr();
    let (first, last) = (begin.next_multiple_of(PAGE), (begin + size) / PAGE * PAGE);
    // SAFETY: whole pages within memory that is ours; how they are paged changes no content.
    unsafe {
        libc::madvise(
            records.as_ptr().cast_mut().cast::<u8>().add(first - begin).cast(),
            last - first,
            libc::MADV_HUGEPAGE,
        )
    };
}
