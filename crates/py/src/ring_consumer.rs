//! `RingConsumer`: a reader with a cursor of its own.
//!
//! Batches are handed out as views into the ring, so a batch is consumed only when its reader says so (`release`, or
//! asking for the next one) and no buffer of it is left. The cursor moves in order over batches that are done; a batch
//! whose last buffer goes while another thread waits in here is noticed within a slice of that wait.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidebook_channel::{ChannelConsumer, ChannelError};
use tidebook_ring::{Alarm, ConsumerOptions, Policy, Read, RingError, RingKind, SlotBatch, Start, Watch};

use crate::blocking;
use crate::engine::wait_of;
use crate::errors::Raised;
use crate::ring::Ring;
use crate::ring_batch::{BatchState, Contents, RingBatch};
use crate::ring_errors::{raised, unavailable};

/// Messages that were lost before the next one: a value, not an error.
#[pyclass(frozen, eq, module = "tidebook._core")]
#[derive(PartialEq, Eq)]
pub struct Gap {
    /// Sequence of the first.
    #[pyo3(get)]
    first: u64,
    /// How many.
    #[pyo3(get)]
    count: u64,
}

#[pymethods]
impl Gap {
    #[new]
    fn new(first: u64, count: u64) -> Self {
        Self { first, count }
    }

    fn __repr__(&self) -> String {
        format!("Gap(first={}, count={})", self.first, self.count)
    }
}

impl From<tidebook_ring::Gap> for Gap {
    fn from(gap: tidebook_ring::Gap) -> Self {
        Self { first: gap.first, count: gap.count }
    }
}

/// What a poll gives.
#[derive(IntoPyObject)]
pub enum Polled {
    /// Messages handed to the callback.
    Count(usize),
    /// See [`Gap`].
    Gap(Gap),
}

/// What asking for a batch gives.
#[derive(IntoPyObject)]
pub enum Taken {
    /// At least one message.
    Batch(RingBatch),
    /// See [`Gap`].
    Gap(Gap),
}

/// Batches that are remembered of a consumer which nobody waits for: their place is not kept anyway.
const OVERWRITTEN_MAX: usize = 1024;

/// The consumer and the batches it has handed out, oldest first.
pub struct Reader {
    /// `None` once it has left the ring.
    consumer: Option<ChannelConsumer>,
    /// It leaves as soon as no buffer of its batches is left.
    is_leaving: bool,
    outstanding: VecDeque<Arc<BatchState>>,
    /// What was read counts as consumed only when its reader says so.
    is_manual: bool,
    is_gating: bool,
}

/// Shared with every batch: a view keeps its gate.
pub type SharedReader = Arc<Mutex<Reader>>;

impl Reader {
    fn open(&mut self) -> PyResult<&mut ChannelConsumer> {
        self.consumer.as_mut().ok_or_else(|| unavailable("consumer", "was closed; open another"))
    }

    /// Moves the cursor over the batches that are done.
    pub fn settle(&mut self) {
        let Some(consumer) = &mut self.consumer else { return };
        while let Some(batch) = self.outstanding.front().filter(|batch| batch.is_done()) {
            consumer.commit_to(batch.end());
            self.outstanding.pop_front();
        }
        if self.is_leaving && !(self.is_gating && self.outstanding.iter().any(|batch| batch.is_viewed())) {
            self.consumer = None;
        }
    }

    /// Leaves the ring, now or with the last buffer.
    fn leave(&mut self) {
        self.is_leaving = true;
        self.outstanding.iter().for_each(|batch| batch.leave());
        self.settle();
    }

    /// Notes what was read up to now.
    fn note(&mut self, state: Arc<BatchState>) {
        if !self.is_gating && self.outstanding.len() == OVERWRITTEN_MAX {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back(state);
    }
}

/// A reader of a ring.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingConsumer {
    /// `None` once closed.
    reader: Mutex<Option<SharedReader>>,
    /// The task that waits for it in an event loop.
    awaited: Mutex<Option<(Arc<Alarm>, u64)>>,
}

#[pymethods]
impl RingConsumer {
    #[new]
    #[pyo3(signature = (ring, name, *, start, sequence=0, policy=None, patience=None, detach_after=None, peek=false,
        wait="hybrid", manual=false))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python call")]
    fn new(
        py: Python<'_>,
        ring: &Ring,
        name: &str,
        start: &str,
        sequence: u64,
        policy: Option<&str>,
        patience: Option<f64>,
        detach_after: Option<f64>,
        peek: bool,
        wait: &str,
        manual: bool,
    ) -> PyResult<Self> {
        let start = match start {
            "earliest" => Start::Earliest,
            "latest" => Start::Latest,
            "resume" => Start::Resume,
            "sequence" => Start::Sequence(sequence),
            other => return Err(PyValueError::new_err(format!("start {other:?}"))),
        };
        let wait = wait_of(wait)?;
        let (patience, detach_after) = (blocking::timeout(patience)?, blocking::timeout(detach_after)?);
        let ring_policy = match policy {
            None if ring.0.info().never_waits => Policy::Overwrite,
            None | Some("block" | "spill") => Policy::Block { patience, detach_after },
            Some("fail") => Policy::Block { patience: Some(Duration::ZERO), detach_after },
            Some("overwrite") => Policy::Overwrite,
            Some(other) => return Err(PyValueError::new_err(format!("policy {other:?}"))),
        };
        let options = ConsumerOptions { name: name.to_owned(), start, policy: Some(ring_policy), peek, wait };
        let consumer = py.detach(|| match policy {
            None => ChannelConsumer::by_default(&ring.0, &options),
            Some("spill") => ChannelConsumer::spilling(&ring.0, &options),
            Some(_) => Ok(ring.0.consumer(&options)?.into()),
        });
        let consumer = consumer.map_err(failed)?;
        let is_gating = consumer.is_gating();
        let reader = Reader {
            consumer: Some(consumer),
            is_leaving: false,
            outstanding: VecDeque::new(),
            is_manual: manual,
            is_gating,
        };
        Ok(Self { reader: Mutex::new(Some(Arc::new(Mutex::new(reader)))), awaited: Mutex::default() })
    }

    /// Hands messages to `callback(sequence, payload)` and commits those it took.
    fn poll(
        &self,
        py: Python<'_>,
        callback: &Bound<'_, PyAny>,
        limit: isize,
        timeout: Option<f64>,
    ) -> PyResult<Polled> {
        let limit = at_least_one(limit)?;
        let shared = self.shared()?;
        let mut reader = lock(&shared)?;
        finish_outstanding(&mut reader);
        wait_until_ready(py, &mut reader, blocking::timeout(timeout)?)?;
        if let Some(gap) = find_in_the_journal(py, reader.open()?)? {
            return Ok(Polled::Gap(gap));
        }
        let mut failure = None;
        let mut handed = 0;
        let read = reader.open()?.read_while(limit, |sequence, payload| {
            match callback.call1((sequence, PyBytes::new(py, payload))) {
                Ok(_) => {
                    handed += 1;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        // Behind batches that are still being read the cursor waits for them.
        if reader.outstanding.is_empty() && !reader.is_manual {
            reader.open()?.commit();
        } else if handed > 0 || !reader.is_manual {
            let end = reader.open()?.end();
            let state = BatchState::copied(end, !reader.is_manual);
            reader.note(state);
        }
        match (failure, read.map_err(failed)?) {
            (Some(error), _) => Err(error),
            (None, Read::Messages(_)) => Ok(Polled::Count(handed)),
            (None, Read::Gap(gap)) => Ok(Polled::Gap(gap.into())),
        }
    }

    /// The next messages as one batch; `None` when nothing came in time. All batches before it are done.
    fn take(&self, py: Python<'_>, limit: isize, timeout: Option<f64>) -> PyResult<Option<Taken>> {
        let limit = at_least_one(limit)?;
        let shared = self.shared()?;
        let mut reader = lock(&shared)?;
        finish_outstanding(&mut reader);
        if !wait_until_ready(py, &mut reader, blocking::timeout(timeout)?)? {
            return Ok(None);
        }
        let consumer = reader.open()?;
        let contents = match consumer.ring().info().kind {
            RingKind::Slots { .. } => match py.detach(|| consumer.slots(limit)).map_err(failed)? {
                SlotBatch::Slots(slots) => Contents::Slots(slots),
                SlotBatch::Gap(gap) => return Ok(Some(Taken::Gap(gap.into()))),
                SlotBatch::Empty => return Ok(None),
            },
            RingKind::Frames { .. } | RingKind::Runs { .. } => {
                if let Some(gap) = find_in_the_journal(py, consumer)? {
                    return Ok(Some(Taken::Gap(gap)));
                }
                let mut first_sequence = 0;
                let mut messages = Vec::new();
                let read = consumer.read_while(limit, |sequence, payload| {
                    if messages.is_empty() {
                        first_sequence = sequence;
                    } else if sequence != first_sequence + messages.len() as u64 {
                        // Behind the claim of a dead producer: a batch is without a hole.
                        return ControlFlow::Break(());
                    }
                    messages.push(PyBytes::new(py, payload).unbind());
                    ControlFlow::Continue(())
                });
                match read.map_err(failed)? {
                    Read::Messages(0) => return Ok(None),
                    Read::Messages(_) => Contents::Messages { first_sequence, messages },
                    Read::Gap(gap) => return Ok(Some(Taken::Gap(gap.into()))),
                }
            }
        };
        let end = reader.open()?.end();
        let state = BatchState::new(end, !reader.is_manual);
        reader.note(state.clone());
        drop(reader);
        Ok(Some(Taken::Batch(RingBatch::new(contents, state, shared))))
    }

    /// Counts all up to a sequence, or all that was read, as consumed; gives the last sequence that is.
    fn acknowledge(&self, sequence: Option<u64>) -> PyResult<u64> {
        let shared = self.shared()?;
        let mut reader = lock(&shared)?;
        if !reader.is_manual {
            return Err(unavailable("consumer", "acknowledges batch by batch; open it with acknowledge=\"manual\""));
        }
        let consumer = reader.open()?;
        let sequence = sequence.unwrap_or_else(|| consumer.last_read());
        consumer.acknowledge(sequence).map_err(raised)?;
        for batch in reader.outstanding.iter().take_while(|batch| batch.end().sequence() <= sequence + 1) {
            batch.acknowledge();
        }
        reader.settle();
        Ok(reader.open()?.committed())
    }

    /// Goes past a damaged message; gives what is lost with it.
    fn skip(&self) -> PyResult<Gap> {
        lock(&self.shared()?)?.open()?.skip().map(Gap::from).map_err(failed)
    }

    #[getter]
    fn next_sequence(&self) -> PyResult<u64> {
        Ok(lock(&self.shared()?)?.open()?.next_sequence())
    }

    /// Last sequence it has consumed.
    #[getter]
    fn committed(&self) -> PyResult<u64> {
        let shared = self.shared()?;
        let mut reader = lock(&shared)?;
        reader.settle();
        Ok(reader.open()?.committed())
    }

    #[getter]
    fn closed(&self) -> bool {
        self.reader.lock().is_ok_and(|shared| shared.is_none())
    }

    /// Leaves the ring, once no buffer of its batches is left.
    fn close(&self) -> PyResult<()> {
        let Ok(shared) = self.shared() else { return Ok(()) };
        lock(&shared)?.leave();
        self.reader.lock().map_err(|_| unavailable("consumer", "failed in another thread"))?.take();
        // Whoever waits finds out.
        if let Some((alarm, token)) = self.awaited().take() {
            alarm.end(token);
        }
        Ok(())
    }
}

impl RingConsumer {
    /// Notes that a task waits with this alarm, and gives what to watch; `None` when there is something to read already.
    pub fn await_with(&self, alarm: &Arc<Alarm>, token: u64) -> PyResult<Option<Watch>> {
        let shared = self.shared()?;
        let mut reader = lock(&shared)?;
        let mut awaited = self.awaited();
        if awaited.is_some() {
            return Err(unavailable("consumer", "is awaited by another task"));
        }
        reader.settle();
        let consumer = reader.open()?;
        if consumer.is_ready() {
            return Ok(None);
        }
        *awaited = Some((alarm.clone(), token));
        Ok(Some(consumer.watch()))
    }

    /// No task waits any more.
    pub fn forget_await(&self) {
        self.awaited().take();
    }

    fn awaited(&self) -> MutexGuard<'_, Option<(Arc<Alarm>, u64)>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> PyResult<SharedReader> {
        let shared = self.reader.lock().map_err(|_| unavailable("consumer", "failed in another thread"))?;
        shared.clone().ok_or_else(|| unavailable("consumer", "was closed; open another"))
    }
}

/// How many messages a call may give at most; who asks for none would wait for ever.
pub fn at_least_one(limit: isize) -> PyResult<usize> {
    usize::try_from(limit).ok().filter(|limit| *limit > 0).ok_or_else(|| {
        raised(RingError::Option { option: "limit", value: limit.to_string(), reason: "must be at least 1" })
    })
}

fn lock(shared: &SharedReader) -> PyResult<MutexGuard<'_, Reader>> {
    shared.try_lock().map_err(|_| unavailable("consumer", "is being used by another thread or its own callback"))
}

/// Reads what the next call will hand out, without the GIL, if it comes from a disk; the gap before it, if there is one.
fn find_in_the_journal(py: Python<'_>, consumer: &mut ChannelConsumer) -> PyResult<Option<Gap>> {
    if !consumer.needs_the_journal() {
        return Ok(None);
    }
    match py.detach(|| consumer.read_while(1, |_, _| ControlFlow::Break(()))).map_err(failed)? {
        Read::Messages(_) => Ok(None),
        Read::Gap(gap) => Ok(Some(gap.into())),
    }
}

fn failed(error: ChannelError) -> PyErr {
    Raised::from(error).into()
}

/// Asking for more says that what came before is done.
fn finish_outstanding(reader: &mut Reader) {
    reader.outstanding.iter().for_each(|batch| batch.finish());
    reader.settle();
}

/// Looks once without giving the GIL away, then waits. False when nothing came in time.
fn wait_until_ready(py: Python<'_>, reader: &mut Reader, timeout: Option<Duration>) -> PyResult<bool> {
    if reader.open()?.is_ready() {
        return Ok(true);
    }
    if timeout == Some(Duration::ZERO) {
        return Ok(false);
    }
    let found = blocking::wait(py, timeout, |slice| {
        // Nobody else can close it while this holds it.
        let ready = reader.consumer.as_mut().map_or(Ok(true), |consumer| consumer.wait(Some(slice)))?;
        reader.settle();
        Ok::<_, RingError>(ready.then_some(()))
    })?;
    Ok(found.is_some())
}
