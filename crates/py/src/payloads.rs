//! `Payloads`: many raw messages in one buffer, handed between recording, journal and decoder without copies.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidebook_types::message::RawMessageError;
use tidebook_types::{MessageKind, RawMessage};

use crate::errors::Raised;

/// Raw messages in order; frozen, so that it may be read without the GIL.
#[pyclass(frozen, module = "tidebook._core")]
pub struct Payloads(pub tidebook_types::Payloads);

#[pymethods]
impl Payloads {
    #[new]
    fn new(payloads: Vec<Vec<u8>>) -> Self {
        let mut all = tidebook_types::Payloads::new();
        for payload in &payloads {
            all.push_bytes(payload);
        }
        Self(all)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
        self.0
            .get(index)
            .map(|payload| PyBytes::new(py, payload))
            .ok_or_else(|| PyIndexError::new_err(format!("payload {index} of {}", self.0.len())))
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

impl From<RawMessageError> for Raised {
    fn from(error: RawMessageError) -> Self {
        Self::new(crate::errors::RAW_MESSAGE, error.to_string())
    }
}

/// The payload of one raw message.
#[pyfunction]
#[pyo3(signature = (ts_recv, connection, kind, body, context=None))]
pub fn pack_message<'py>(
    py: Python<'py>,
    ts_recv: i64,
    connection: u32,
    kind: u8,
    body: &[u8],
    context: Option<&[u8]>,
) -> PyResult<Bound<'py, PyBytes>> {
    let context = context.unwrap_or_default();
    let kind = MessageKind::from_code(kind).ok_or(Raised::from(RawMessageError::Kind { found: kind }))?;
    let mut payload = Vec::with_capacity(64 + context.len() + body.len());
    RawMessage { ts_recv, connection, kind, context, body }.write_to(&mut payload);
    Ok(PyBytes::new(py, &payload))
}

/// ts_recv, connection, kind, context, body.
type Unpacked<'py> = (i64, u32, u8, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// The fields of a payload.
#[pyfunction]
pub fn unpack_message<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Unpacked<'py>> {
    let message = RawMessage::parse(payload).map_err(Raised::from)?;
    Ok((
        message.ts_recv,
        message.connection,
        message.kind as u8,
        PyBytes::new(py, message.context),
        PyBytes::new(py, message.body),
    ))
}
