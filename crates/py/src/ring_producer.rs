//! `RingProducer`: a writer of a ring.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tidebook_ring::{Obstacle, Producer, RingError, Window, Written};

use crate::blocking;
use crate::bytes::{with_bytes, with_still_bytes};
use crate::errors::{self, Fact, Raised};
use crate::ring::Ring;
use crate::ring_claim::{Held, OpenClaim, Refusal, RingClaim};
use crate::ring_errors::{after, raised, unavailable};

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

    fn __bool__(&self) -> bool {
        false
    }

    /// Nothing was claimed that could be filled: for `with` over a claim.
    fn __enter__(&self) -> PyResult<()> {
        let consumer = ("consumer", Fact::Text(self.consumer.clone()));
        let (obstacle, facts) = match self.producer {
            Some(process_id) => {
                let holder = format!("process {process_id} holds a claim and does not commit it");
                (holder, vec![consumer, ("producer", Fact::Number(process_id))])
            }
            None => (format!("consumer {:?} lags a whole ring behind", self.consumer), vec![consumer]),
        };
        let message = format!("no room in time: {obstacle}; look for Full before `with`, or wait longer");
        Err(Raised::with_facts(errors::NO_ROOM, message, facts).into())
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {}
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

/// What a claim gives.
#[derive(IntoPyObject)]
pub enum ClaimOutcome {
    /// See [`RingClaim`].
    Claim(RingClaim),
    /// See [`Full`].
    Full(Full),
}

/// What a producer is doing.
pub enum State {
    /// Ready to write.
    Open(Producer),
    /// Somebody fills a message in place.
    Claimed(OpenClaim),
    /// Gone.
    Closed,
}

/// A producer, shared by its face and its claims.
pub struct Endpoint {
    /// See [`State`].
    pub state: State,
    /// Where claims are shown; made with the first.
    window: Option<Arc<Window>>,
}

impl Endpoint {
    fn open(&mut self) -> PyResult<&mut Producer> {
        match &mut self.state {
            State::Open(producer) => Ok(producer),
            State::Claimed(_) => Err(unavailable("producer", "has an open claim; commit or abort that first")),
            State::Closed => Err(unavailable("producer", "was closed; open another")),
        }
    }

    /// Gives a claim back; the producer is ready again.
    pub fn give_up(&mut self, open: OpenClaim) -> PyResult<()> {
        match open.give_up() {
            Ok((producer, revoked)) => {
                if revoked {
                    self.window = None;
                }
                self.state = State::Open(producer);
                Ok(())
            }
            Err((open, error)) => {
                self.state = State::Claimed(open);
                Err(raised(error))
            }
        }
    }
}

/// A writer of a ring. Frozen: the mutex is what threads meet at.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingProducer(Arc<Mutex<Endpoint>>);

#[pymethods]
impl RingProducer {
    #[new]
    fn new(py: Python<'_>, ring: &Ring) -> PyResult<Self> {
        let state = State::Open(py.detach(|| ring.0.producer()).map_err(raised)?);
        Ok(Self(Arc::new(Mutex::new(Endpoint { state, window: None }))))
    }

    /// Commits one message.
    #[pyo3(signature = (payload, timeout=None))]
    fn write(&self, py: Python<'_>, payload: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Outcome> {
        let mut endpoint = self.lock()?;
        write_object(py, endpoint.open()?, payload, || blocking::timeout(timeout), raised)
    }

    /// Commits messages in order, none of them if one is such that it could not be.
    #[pyo3(signature = (payloads, timeout=None))]
    fn write_messages(
        &self,
        py: Python<'_>,
        payloads: Vec<Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Outcome> {
        let mut endpoint = self.lock()?;
        let producer = endpoint.open()?;
        let deadline = blocking::timeout(timeout)?.and_then(|timeout| Instant::now().checked_add(timeout));
        let waited = Cell::new(false);
        let left = || {
            waited.set(true);
            Ok(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())))
        };
        for payload in &payloads {
            with_bytes(payload, |bytes| producer.check(bytes).map_err(raised))?;
        }
        let mut last = None;
        for (written, payload) in payloads.iter().enumerate() {
            let failed = |error| PyErr::from(after(written, error));
            // Room that comes bit by bit ends each wait before it looks for Ctrl-C.
            if waited.take() {
                py.check_signals()?;
            }
            match write_object(py, producer, payload, left, failed)? {
                Outcome::Full(full) => return Ok(Outcome::Full(Full { written, ..full })),
                Outcome::Sequence(sequence) => last = Some(sequence),
            }
        }
        Ok(Outcome::Sequence(last.unwrap_or_else(|| producer.published())))
    }

    /// Commits records that lie one after the other in a contiguous buffer of bytes.
    #[pyo3(signature = (records, timeout=None))]
    fn write_records(&self, py: Python<'_>, records: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<Outcome> {
        let mut endpoint = self.lock()?;
        let producer = endpoint.open()?;
        let timeout = blocking::timeout(timeout)?;
        // Copied before, where it must be still, in parts that stay in the cache; in one where no record may be written
        // before the key of each was checked.
        let part_max = match (producer.reads_twice(), producer.ring().info().last_values) {
            (false, _) => None,
            (true, None) => Some(STILL_SIZE_BYTES),
            (true, Some(_)) => Some(usize::MAX),
        };
        with_bytes(records, |bytes| {
            let size = producer.ring().info().record_size().unwrap_or(1);
            let (mut done, mut last, mut full) = (0, None, None);
            blocking::wait(py, timeout, |slice| {
                let end = Instant::now() + slice;
                loop {
                    let slice = end.saturating_duration_since(Instant::now());
                    if full.is_some() {
                        producer.go_on_waiting();
                    }
                    let left = &bytes[done * size..];
                    let batch = match part_max {
                        None => producer.write_records_within(left, slice),
                        Some(part_max) => {
                            let part = left.len().min((part_max / size).max(1) * size);
                            let copy = left[..part].to_vec();
                            producer.write_records_within(black_box(&copy), slice)
                        }
                    };
                    let batch = batch.map_err(|error| after(done, error))?;
                    done += batch.count;
                    last = batch.last.or(last);
                    full = batch.full;
                    match full {
                        None if done * size < bytes.len() => {}
                        Some(obstacle) if !matches!(obstacle, Obstacle::Refusing(_)) => return Ok(None),
                        _ => return Ok::<_, Raised>(Some(())),
                    }
                }
            })?;
            Ok(match full {
                None => Outcome::Sequence(last.unwrap_or_else(|| producer.published())),
                Some(obstacle) => Outcome::Full(Full::new(producer.ring(), done, obstacle)?),
            })
        })
    }

    /// Room for one message, to be filled in place.
    #[pyo3(signature = (size_bytes, timeout=None))]
    fn claim(&self, py: Python<'_>, size_bytes: usize, timeout: Option<f64>) -> PyResult<ClaimOutcome> {
        let timeout = blocking::timeout(timeout)?;
        let mut endpoint = self.lock()?;
        let window = match &endpoint.window {
            Some(window) => window.clone(),
            None => Arc::new(Window::new(endpoint.open()?.ring()).map_err(raised)?),
        };
        endpoint.open()?;
        let State::Open(producer) = std::mem::replace(&mut endpoint.state, State::Closed) else {
            unreachable!("it was open just now");
        };
        let (idle, outcome) = claim_one(py, producer, size_bytes, timeout);
        if let Some(producer) = idle {
            endpoint.state = State::Open(producer);
        }
        match outcome? {
            Ok(held) => {
                let (claim, open) = RingClaim::open(&self.0, held, window.clone());
                endpoint.window = Some(window);
                endpoint.state = State::Claimed(open);
                Ok(ClaimOutcome::Claim(claim))
            }
            Err(obstacle) => Full::new(endpoint.open()?.ring(), 0, obstacle).map(ClaimOutcome::Full),
        }
    }

    /// Last committed sequence.
    #[getter]
    fn published(&self) -> PyResult<u64> {
        self.lock()?.open().map(|producer| producer.published())
    }

    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(matches!(self.lock()?.state, State::Closed))
    }

    /// Frees the ring for another producer; an open claim is given back.
    fn close(&self) -> PyResult<()> {
        let mut endpoint = self.lock()?;
        if let State::Claimed(_) = endpoint.state
            && let State::Claimed(open) = std::mem::replace(&mut endpoint.state, State::Closed)
        {
            endpoint.give_up(open)?;
        }
        endpoint.state = State::Closed;
        Ok(())
    }
}

impl RingProducer {
    fn lock(&self) -> PyResult<MutexGuard<'_, Endpoint>> {
        self.0.try_lock().map_err(|_| unavailable("producer", "is being used by another thread"))
    }
}

/// The producer with a claim, or the producer alone and who was in the way or what went wrong.
fn claim_one(
    py: Python<'_>,
    producer: Producer,
    size_bytes: usize,
    timeout: Option<Duration>,
) -> (Option<Producer>, PyResult<Result<Held, Obstacle>>) {
    let mut idle = Some(producer);
    let mut in_the_way = None;
    let mut attempt = |slice| {
        let mut producer = idle.take().expect("it came back");
        if in_the_way.is_some() {
            producer.go_on_waiting();
        }
        match Held::claim(producer, size_bytes, slice) {
            Ok(held) => Ok(Some(Ok(held))),
            Err((producer, refusal)) => {
                idle = Some(producer);
                match refusal {
                    Refusal::Failed(error) => Err(error),
                    Refusal::Full(obstacle) => {
                        in_the_way = Some(obstacle);
                        Ok(matches!(obstacle, Obstacle::Refusing(_)).then_some(Err(obstacle)))
                    }
                }
            }
        }
    };
    // As in `write_one`: nearly always there is room.
    let outcome = match attempt(Duration::ZERO) {
        Ok(Some(found)) => Ok(Some(found)),
        Ok(None) => blocking::wait(py, timeout, attempt),
        Err(error) => Err(raised(error)),
    };
    let outcome = outcome.map(|found| {
        found.unwrap_or_else(|| Err(in_the_way.expect("a wait ends with a claim or somebody in the way")))
    });
    (idle, outcome)
}

/// Records that are copied at a time.
const STILL_SIZE_BYTES: usize = 1 << 16;

/// As [`write_one`], of bytes that stay as they are where the producer needs that.
fn write_object(
    py: Python<'_>,
    producer: &mut Producer,
    payload: &Bound<'_, PyAny>,
    timeout: impl FnOnce() -> PyResult<Option<Duration>>,
    failed: impl Fn(RingError) -> PyErr,
) -> PyResult<Outcome> {
    if producer.reads_twice() {
        return with_still_bytes(payload, |bytes| write_one(py, producer, bytes, timeout, failed));
    }
    with_bytes(payload, |bytes| write_one(py, producer, bytes, timeout, failed))
}

/// `failed` makes an exception of what went wrong; `timeout` is asked for only if there is no room.
fn write_one(
    py: Python<'_>,
    producer: &mut Producer,
    bytes: &[u8],
    timeout: impl FnOnce() -> PyResult<Option<Duration>>,
    failed: impl Fn(RingError) -> PyErr,
) -> PyResult<Outcome> {
    // Nearly always there is room, and giving the GIL away costs more than the write.
    let mut in_the_way = match producer.write_within(bytes, Duration::ZERO).map_err(&failed)? {
        Written::At(sequence) => return Ok(Outcome::Sequence(sequence)),
        Written::Full(obstacle) => obstacle,
    };
    let mut failure = None;
    let written = blocking::wait(py, timeout()?, |slice| {
        producer.go_on_waiting();
        Ok::<_, RingError>(match producer.write_within(bytes, slice) {
            Ok(Written::At(sequence)) => Some(Some(sequence)),
            Ok(Written::Full(obstacle)) => {
                in_the_way = obstacle;
                matches!(obstacle, Obstacle::Refusing(_)).then_some(None)
            }
            Err(error) => {
                failure = Some(error);
                Some(None)
            }
        })
    })?;
    match (written.flatten(), failure) {
        (_, Some(error)) => Err(failed(error)),
        (Some(sequence), None) => Ok(Outcome::Sequence(sequence)),
        (None, None) => Full::new(producer.ring(), 0, in_the_way).map(Outcome::Full),
    }
}
