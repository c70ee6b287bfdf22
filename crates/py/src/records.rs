//! `RecordBuffer`: records of one type as a buffer that numpy views without a copy.

use std::ffi::c_int;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use tidebook_types::Record;
use zerocopy::IntoBytes;

/// Owns records; read-only for those who look at it.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RecordBuffer(Box<dyn Bytes>);

/// Something that is its bytes and does not move while it is borrowed.
trait Bytes: Send + Sync {
    fn bytes(&self) -> &[u8];
}

impl<T: Record> Bytes for Vec<T> {
    fn bytes(&self) -> &[u8] {
        self.as_slice().as_bytes()
    }
}

#[pymethods]
impl RecordBuffer {
    // SAFETY: `view` is checked by `PyBuffer_FillInfo`, which keeps a reference to the object, and the object owns the
    // bytes and never changes them.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("records are read-only; copy the array to change it"));
        }
        let bytes = slf.get().0.bytes();
        let size = ffi::Py_ssize_t::try_from(bytes.len()).expect("a slice fits isize");
        // SAFETY: as above; the pointer is valid for `size` bytes as long as the object lives.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), bytes.as_ptr().cast_mut().cast(), size, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }

    fn __len__(&self) -> usize {
        self.0.bytes().len()
    }
}

/// The records as a read-only structured array of their published layout.
pub fn to_array<T: Record>(py: Python<'_>, records: Vec<T>) -> PyResult<Bound<'_, PyAny>> {
    let dtype = crate::schema::Schema::of(T::SCHEMA).dtype(py)?;
    let numpy = py.import("numpy")?;
    if records.is_empty() {
        return numpy.call_method1("empty", (0, dtype));
    }
    numpy.call_method1("frombuffer", (RecordBuffer(Box::new(records)), dtype))
}
