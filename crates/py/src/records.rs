//! `RecordBuffer`: records of one type as a buffer that numpy views without a copy.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

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

impl<T: Record> Bytes for Arc<Vec<T>> {
    fn bytes(&self) -> &[u8] {
        self.as_slice().as_bytes()
    }
}

/// Memory that one batch of records leaves to the next, once nobody looks at them any more.
pub type Spare<T> = Arc<Mutex<Vec<T>>>;

/// More than this is given back to the system.
const SPARE_BYTES_MAX: usize = 64 << 20;

/// Records in memory that goes where it came from.
struct Lent<T: Record> {
    records: Vec<T>,
    spare: Spare<T>,
}

impl<T: Record> Bytes for Lent<T> {
    fn bytes(&self) -> &[u8] {
        self.records.as_slice().as_bytes()
    }
}

impl<T: Record> Drop for Lent<T> {
    fn drop(&mut self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.records.capacity();
        if found > spare.capacity() && found * size_of::<T>() <= SPARE_BYTES_MAX {
            *spare = std::mem::take(&mut self.records);
        }
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
    array_of::<T>(py, records)
}

/// The same of records that somebody else has too.
pub fn shared_array<T: Record>(py: Python<'_>, records: Arc<Vec<T>>) -> PyResult<Bound<'_, PyAny>> {
    array_of::<T>(py, records)
}

/// The same of records whose memory is `spare` again when the array is gone.
pub fn lent_array<'py, T: Record>(py: Python<'py>, records: Vec<T>, spare: &Spare<T>) -> PyResult<Bound<'py, PyAny>> {
    array_of::<T>(py, Lent { records, spare: Arc::clone(spare) })
}

fn array_of<'py, T: Record>(py: Python<'py>, records: impl Bytes + 'static) -> PyResult<Bound<'py, PyAny>> {
    let dtype = crate::schema::Schema::of(T::SCHEMA).dtype(py)?;
    let numpy = py.import("numpy")?;
    if records.bytes().is_empty() {
        return numpy.call_method1("empty", (0, dtype));
    }
    numpy.call_method1("frombuffer", (RecordBuffer(Box::new(records)), dtype))
}
