//! `RingProducer`: the one writer of a ring.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use pyo3::prelude::*;
use tidebook_ring::{Producer, Written};

use crate::blocking;
use crate::bytes::with_bytes;
use crate::ring::Ring;
use crate::ring_errors::{raised, unavailable};

/// No room in time: a value, not an error.
#[pyclass(frozen, eq, module = "tidebook._core")]
#[derive(PartialEq, Eq)]
pub struct Full {
    /// Messages of the call that were written before.
    #[pyo3(get)]
    written: usize,
    /// Name of the slowest consumer that is waited for.
    #[pyo3(get)]
    consumer: String,
}

#[pymethods]
impl Full {
    fn __repr__(&self) -> String {
        format!("Full(written={}, consumer={:?})", self.written, self.consumer)
    }
}

/// What a write gives.
#[derive(IntoPyObject)]
pub enum Outcome {
    /// The (last) sequence.
    Sequence(u64),
    /// See [`Full`].
    Full(Full),
}

/// The one writer of a ring. Frozen: the mutex is what threads meet at.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingProducer(Mutex<Option<Producer>>);

#[pymethods]
impl RingProducer {
    #[new]
    fn new(ring: &Ring) -> PyResult<Self> {
        ring.0.producer().map(|producer| Self(Mutex::new(Some(producer)))).map_err(raised)
    }

    /// Commits one message.
    #[pyo3(signature = (payload, timeout=None))]
    fn write(&self, py: Python<'_>, payload: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Outcome> {
        let mut guard = self.lock()?;
        with_bytes(payload, |bytes| write_one(py, open(&mut guard)?, bytes, timeout))
    }

    /// Commits messages in order.
    #[pyo3(signature = (payloads, timeout=None))]
    fn write_messages(
        &self,
        py: Python<'_>,
        payloads: Vec<Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Outcome> {
        let mut guard = self.lock()?;
        let producer = open(&mut guard)?;
        for (written, payload) in payloads.iter().enumerate() {
            if let Outcome::Full(full) = with_bytes(payload, |bytes| write_one(py, producer, bytes, timeout))? {
                return Ok(Outcome::Full(Full { written, ..full }));
            }
        }
        Ok(Outcome::Sequence(producer.published()))
    }

    /// Commits records that lie one after the other in a contiguous buffer of bytes.
    #[pyo3(signature = (records, timeout=None))]
    fn write_records(&self, py: Python<'_>, records: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Outcome> {
        let mut guard = self.lock()?;
        let producer = open(&mut guard)?;
        let timeout = blocking::timeout(timeout)?;
        with_bytes(records, |bytes| {
            let size = producer.ring().info().record_size().unwrap_or(1);
            let mut done = 0;
            let finished = blocking::wait(py, timeout, |slice| {
                done += producer.write_records_within(&bytes[done * size..], slice)?;
                Ok::<_, tidebook_ring::RingError>((done * size >= bytes.len()).then_some(()))
            })?;
            Ok(match finished {
                Some(()) => Outcome::Sequence(producer.published()),
                None => Outcome::Full(Full { written: done, consumer: slowest(producer)? }),
            })
        })
    }

    /// Last committed sequence.
    #[getter]
    fn published(&self) -> PyResult<u64> {
        open(&mut *self.lock()?).map(|producer| producer.published())
    }

    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(self.lock()?.is_none())
    }

    /// Frees the ring for another producer.
    fn close(&self) -> PyResult<()> {
        *self.lock()? = None;
        Ok(())
    }
}

impl RingProducer {
    fn lock(&self) -> PyResult<MutexGuard<'_, Option<Producer>>> {
        self.0.try_lock().map_err(|_| unavailable("producer", "is being used by another thread"))
    }
}

fn open(guard: &mut Option<Producer>) -> PyResult<&mut Producer> {
    guard.as_mut().ok_or_else(|| unavailable("producer", "was closed; open another"))
}

fn write_one(py: Python<'_>, producer: &mut Producer, bytes: &[u8], timeout: Option<f64>) -> PyResult<Outcome> {
    // Nearly always there is room, and giving the GIL away costs more than the write.
    if let Written::At(sequence) = producer.write_within(bytes, Duration::ZERO).map_err(raised)? {
        return Ok(Outcome::Sequence(sequence));
    }
    let mut in_the_way = 0;
    let written = blocking::wait(py, blocking::timeout(timeout)?, |slice| {
        Ok::<_, tidebook_ring::RingError>(match producer.write_within(bytes, slice)? {
            Written::At(sequence) => Some(sequence),
            Written::Full { consumer } => {
                in_the_way = consumer;
                None
            }
        })
    })?;
    Ok(match written {
        Some(sequence) => Outcome::Sequence(sequence),
        None => Outcome::Full(Full { written: 0, consumer: producer.ring().consumer_name(in_the_way) }),
    })
}

/// Name of the gating consumer that lags most.
fn slowest(producer: &Producer) -> PyResult<String> {
    let consumers = producer.ring().status().map_err(raised)?.consumers;
    let gating = consumers.into_iter().filter(|consumer| consumer.state == tidebook_ring::ConsumerState::Gating);
    Ok(gating.max_by_key(|consumer| consumer.lag).map(|consumer| consumer.name).unwrap_or_default())
}
