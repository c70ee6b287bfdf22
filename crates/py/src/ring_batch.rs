//! `RingBatch`: messages read at once; slots as a buffer that lies in the ring.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use tidebook_channel::End;
use tidebook_ring::Slots;

use crate::ring_consumer::SharedReader;

/// When the cursor may pass a batch.
pub struct BatchState {
    end: End,
    /// Buffers that refer to it.
    exports: AtomicUsize,
    /// Its reader is done with it.
    finished: AtomicBool,
    /// What its reader made of it is safe.
    acknowledged: AtomicBool,
    /// Its consumer has left the ring.
    left: AtomicBool,
}

impl BatchState {
    /// A batch up to `end` that is being read; `acknowledged` where reading is enough.
    pub fn new(end: End, acknowledged: bool) -> Arc<Self> {
        let [finished, left] = [false; 2].map(AtomicBool::new);
        let acknowledged = AtomicBool::new(acknowledged);
        Arc::new(Self { end, exports: AtomicUsize::new(0), finished, acknowledged, left })
    }

    /// Messages up to `end` that nobody has a view of.
    pub fn copied(end: End, acknowledged: bool) -> Arc<Self> {
        let state = Self::new(end, acknowledged);
        state.finish();
        state
    }

    /// The place after it.
    pub fn end(&self) -> End {
        self.end
    }

    /// Its reader wants no new buffer of it.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// No new buffer of it: its consumer leaves the ring.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Buffers of it are left.
    pub fn is_viewed(&self) -> bool {
        self.exports.load(Ordering::Acquire) > 0
    }

    /// All of it is safe elsewhere.
    pub fn acknowledge(&self) {
        self.acknowledged.store(true, Ordering::Release);
    }

    /// Finished and acknowledged, and nothing refers to it.
    pub fn is_done(&self) -> bool {
        self.finished.load(Ordering::Acquire) && self.acknowledged.load(Ordering::Acquire) && !self.is_viewed()
    }
}

/// What a batch holds.
pub enum Contents {
    /// A run of slots.
    Slots(Slots),
    /// Copies of frames.
    Messages {
        /// Sequence of the first.
        first_sequence: u64,
        /// Payloads in order.
        messages: Vec<Py<PyBytes>>,
    },
}

/// Messages read at once.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingBatch {
    contents: Contents,
    state: Arc<BatchState>,
    reader: SharedReader,
}

#[pymethods]
impl RingBatch {
    #[getter]
    fn first_sequence(&self) -> u64 {
        match &self.contents {
            Contents::Slots(slots) => slots.first_sequence(),
            Contents::Messages { first_sequence, .. } => *first_sequence,
        }
    }

    fn __len__(&self) -> usize {
        match &self.contents {
            Contents::Slots(slots) => slots.len(),
            Contents::Messages { messages, .. } => messages.len(),
        }
    }

    /// The payloads, copied.
    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match &self.contents {
            Contents::Slots(slots) => {
                self.check_open()?;
                PyList::new(py, slots.records().map(|record| PyBytes::new(py, record)))
            }
            Contents::Messages { messages, .. } => PyList::new(py, messages),
        }
    }

    #[getter]
    fn released(&self) -> bool {
        self.state.finished.load(Ordering::Acquire) || self.state.left.load(Ordering::Acquire)
    }

    /// Done with it, now: refused while a buffer refers to it.
    fn release(&self) -> PyResult<()> {
        let exports = self.state.exports.load(Ordering::Acquire);
        if exports > 0 {
            let message = format!("{exports} arrays or views still refer to this batch; delete them before release()");
            return Err(PyBufferError::new_err(message));
        }
        self.finish();
        Ok(())
    }

    /// Done with it as soon as no buffer refers to it.
    fn finish(&self) {
        self.state.finish();
        self.settle();
    }

    /// All slots with their headers, read-only.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let batch = slf.get();
        let Contents::Slots(slots) = &batch.contents else {
            return Err(PyBufferError::new_err("messages of variable size have no common buffer; use messages()"));
        };
        batch.check_open()?;
        let bytes = slots.bytes();
        let (pointer, size) = (bytes.as_ptr().cast_mut().cast(), bytes.len() as ffi::Py_ssize_t);
        // SAFETY: Python passes a view to fill. The bytes live as long as `slf`, which the view then refers to, and
        // stay as they are until `__releasebuffer__` was called for every view.
        if unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), pointer, size, 1, flags) } != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        batch.state.exports.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        let last = self.state.exports.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && self.released() {
            self.settle();
        }
    }
}

impl RingBatch {
    /// A batch of this reader; `state` is among its outstanding ones.
    pub const fn new(contents: Contents, state: Arc<BatchState>, reader: SharedReader) -> Self {
        Self { contents, state, reader }
    }

    fn check_open(&self) -> PyResult<()> {
        if self.released() {
            return Err(PyBufferError::new_err(
                "this batch was released, or its consumer closed: its slots may be overwritten",
            ));
        }
        Ok(())
    }

    /// Moves the cursor, unless its consumer is busy: then that will do it.
    fn settle(&self) {
        if let Ok(mut reader) = self.reader.try_lock() {
            reader.settle();
        }
    }
}
