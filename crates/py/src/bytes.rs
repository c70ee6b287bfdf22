//! Bytes that Python lends for one call.

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
    // SAFETY: the buffer is held until this function returns, contiguous and of single bytes. A thread that writes to
    // it meanwhile breaks the rule every reader of a buffer relies on; a CRC or hash is of what was read.
    work(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) })
}
