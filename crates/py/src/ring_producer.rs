//! `RingProducer`: the one writer of a ring.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use pyo3::prelude::*;
use tidebook_ring::{Obstacle, Producer, Written};

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
    /// Process id of another producer, where one is in the way: it has claimed a message and does not commit it.
    #[pyo3(get)]
    producer: Option<u64>,
}

#[pymethods]
impl Full {
    fn __repr__(&self) -> String {
        let producer = self.producer.map_or(String::new(), |process_id| format!(", producer={process_id}"));
        format!("Full(written={}, consumer={:?}{producer})", self.written, self.consumer)
    }
}

impl Full {
    fn new(ring: &tidebook_ring::Ring, written: usize, obstacle: Obstacle) -> PyResult<Self> {
        let producer = match obstacle {
            Obstacle::Consumer(line) | Obstacle::Refusing(line) => {
                return Ok(Self { written, consumer: ring.consumer_name(line), producer: None });
            }
            Obstacle::Producer(line) => {
                let producers = ring.status().map_err(raised)?.producers;
                producers.iter().find(|producer| producer.line == line).map(|producer| producer.process_id)
            }
        };
        Ok(Self { written, consumer: String::new(), producer })
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
        let mut last = None;
        for (written, payload) in payloads.iter().enumerate() {
            match with_bytes(payload, |bytes| write_one(py, producer, bytes, timeout))? {
                Outcome::Full(full) => return Ok(Outcome::Full(Full { written, ..full })),
                Outcome::Sequence(sequence) => last = Some(sequence),
            }
        }
        Ok(Outcome::Sequence(last.unwrap_or_else(|| producer.published())))
    }

    /// Commits records that lie one after the other in a contiguous buffer of bytes.
    #[pyo3(signature = (records, timeout=None))]
    fn write_records(&self, py: Python<'_>, records: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Outcome> {
        let mut guard = self.lock()?;
        let producer = open(&mut guard)?;
        let timeout = blocking::timeout(timeout)?;
        with_bytes(records, |bytes| {
            let size = producer.ring().info().record_size().unwrap_or(1);
            let (mut done, mut last, mut full) = (0, None, None);
            blocking::wait(py, timeout, |slice| {
                let batch = producer.write_records_within(&bytes[done * size..], slice)?;
                done += batch.count;
                last = batch.last.or(last);
                full = batch.full;
                let refused = matches!(full, Some(Obstacle::Refusing(_)));
                Ok::<_, tidebook_ring::RingError>((full.is_none() || refused).then_some(()))
            })?;
            Ok(match full {
                None => Outcome::Sequence(last.unwrap_or_else(|| producer.published())),
                Some(obstacle) => Outcome::Full(Full::new(producer.ring(), done, obstacle)?),
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
    let mut in_the_way = None;
    let written = blocking::wait(py, blocking::timeout(timeout)?, |slice| {
        Ok::<_, tidebook_ring::RingError>(match producer.write_within(bytes, slice)? {
            Written::At(sequence) => Some(Some(sequence)),
            Written::Full(obstacle) => {
                in_the_way = Some(obstacle);
                matches!(obstacle, Obstacle::Refusing(_)).then_some(None)
            }
        })
    })?;
    match (written.flatten(), in_the_way) {
        (None, Some(obstacle)) => Full::new(producer.ring(), 0, obstacle).map(Outcome::Full),
        (sequence, _) => Ok(Outcome::Sequence(sequence.expect("a wait ends with a sequence or somebody in the way"))),
    }
}
