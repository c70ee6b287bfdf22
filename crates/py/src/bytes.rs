//! Bytes that Python lends for one call. Those of any object but `bytes` may change during it: other threads and processes
//! can have the memory too.

use std::hint::black_box;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The bytes of `object` itself, or of anything with a contiguous buffer of bytes.
pub fn with_bytes<T>(object: &Bound<'_, PyAny>, work: impl FnOnce(&[u8]) -> PyResult<T>) -> PyResult<T> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return work(bytes.as_bytes());
    }
    let buffer = PyBuffer::<u8>::get(object)?;
    if !buffer.is_c_contiguous() {
        return Err(PyTypeError::new_err("bytes must be contiguous"));
    }
    if buffer.len_bytes() == 0 {
        return work(&[]);
    }
    // SAFETY: the buffer is held until this function returns, contiguous and of single bytes. Somebody may write to it
    // meanwhile: who must not see that copies it first, and no CRC or hash promises more than that of what was read.
    work(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) })
}

/// Copies up to here need no allocation.
const SHORT_SIZE_BYTES: usize = 256;

/// As [`with_bytes`], and nobody changes them meanwhile.
pub fn with_still_bytes<T>(object: &Bound<'_, PyAny>, work: impl FnOnce(&[u8]) -> PyResult<T>) -> PyResult<T> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return work(bytes.as_bytes());
    }
    with_bytes(object, |bytes| {
        if bytes.len() > SHORT_SIZE_BYTES {
            let copy = bytes.to_vec();
            // What is done with it is done with the copy, whatever may be assumed of bytes that are lent.
            return work(black_box(&copy));
        }
        let mut copy = [0; SHORT_SIZE_BYTES];
        let copy = &mut copy[..bytes.len()];
        copy.copy_from_slice(bytes);
        work(black_box(copy))
    })
}
