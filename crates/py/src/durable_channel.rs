//! `DurableChannel`: the owner of any channel with a journal. Producers and consumers open its ring by path.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_channel::{Channel, ChannelOptions, ChannelReport};
use tidebook_journal::SyncPolicy;
use tidebook_ring::{RingOptions, RingSchema};

use crate::errors::{self, Raised};

/// Longest wait while the channel is held.
const WAIT_SLICE: Duration = Duration::from_millis(20);

/// Runs the journal of one channel until it is closed.
#[pyclass(frozen, module = "tidebook._core")]
pub struct DurableChannel {
    /// `None` once closed.
    channel: Mutex<Option<Channel>>,
    report: ChannelReport,
}

/// Name, version, text.
type Schema = (String, u32, String);

impl DurableChannel {
    fn open(
        py: Python<'_>,
        channel: &str,
        ring_path: PathBuf,
        journal_dir: PathBuf,
        ring: RingOptions,
        sync_interval_ms: Option<u64>,
        segment_size_bytes: u64,
    ) -> PyResult<Self> {
        let mut options = ChannelOptions::with_ring(channel, ring);
        options.sync = sync_interval_ms
            .map_or(SyncPolicy::Group, |interval| SyncPolicy::Interval(Duration::from_millis(interval)));
        options.journal.segment_size_bytes = segment_size_bytes;
        let (channel, report) = py
            .detach(|| Channel::open(&ring_path, &journal_dir, &options))
            .map_err(|error| PyErr::from(Raised::from(error)))?;
        Ok(Self { channel: Mutex::new(Some(channel)), report })
    }

    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&Channel) -> T + Send) -> PyResult<T> {
        py.detach(|| {
            let channel = self.channel.lock().expect("a channel call does not panic");
            let closed = || Raised::new(errors::CHANNEL, "the channel is closed; open it again".to_owned());
            channel.as_ref().map(work).ok_or_else(closed)
        })
        .map_err(PyErr::from)
    }
}

#[pymethods]
impl DurableChannel {
    /// Over a ring of slots.
    #[staticmethod]
    #[pyo3(signature = (channel, ring_path, journal_dir, record_size_bytes, count, *, schema=None, crc=true,
        parking=false, consumers_max=16, sync_interval_ms=None, segment_size_bytes=67108864))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn slots(
        py: Python<'_>,
        channel: &str,
        ring_path: PathBuf,
        journal_dir: PathBuf,
        record_size_bytes: u32,
        count: u64,
        schema: Option<Schema>,
        crc: bool,
        parking: bool,
        consumers_max: u32,
        sync_interval_ms: Option<u64>,
        segment_size_bytes: u64,
    ) -> PyResult<Self> {
        let mut ring = RingOptions::slots(record_size_bytes, count).crc(crc).parking(parking);
        ring.schema = schema.map(|(name, version, text)| RingSchema { name, version, text });
        let ring = ring.consumers_max(consumers_max);
        Self::open(py, channel, ring_path, journal_dir, ring, sync_interval_ms, segment_size_bytes)
    }

    /// Over a ring of frames.
    #[staticmethod]
    #[pyo3(signature = (channel, ring_path, journal_dir, size_bytes, *, crc=true, parking=false, consumers_max=16,
        sync_interval_ms=None, segment_size_bytes=67108864))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn frames(
        py: Python<'_>,
        channel: &str,
        ring_path: PathBuf,
        journal_dir: PathBuf,
        size_bytes: u64,
        crc: bool,
        parking: bool,
        consumers_max: u32,
        sync_interval_ms: Option<u64>,
        segment_size_bytes: u64,
    ) -> PyResult<Self> {
        let ring = RingOptions::frames(size_bytes).crc(crc).parking(parking).consumers_max(consumers_max);
        Self::open(py, channel, ring_path, journal_dir, ring, sync_interval_ms, segment_size_bytes)
    }

    /// What opening found.
    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        facts.set_item("next_sequence", self.report.next_sequence)?;
        facts.set_item("replayed_from_ring", self.report.replayed_from_ring)?;
        let discarded = self.report.discarded.as_ref();
        facts.set_item("ring_discarded", discarded.map(|discarded| &discarded.reason))?;
        facts.set_item("ring_lost", discarded.and_then(|discarded| discarded.lost))?;
        facts.set_item("undecidable_from", self.report.journal.undecidable_from)?;
        Ok(facts)
    }

    /// What is promised right now.
    fn guarantee<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let guarantee = self.with(py, Channel::guarantee)?;
        let facts = PyDict::new(py);
        facts.set_item("text", guarantee.to_string())?;
        facts.set_item("published", guarantee.published)?;
        facts.set_item("durable", guarantee.durable)?;
        facts.set_item("failure", guarantee.failure)?;
        Ok(facts)
    }

    /// Waits until `sequence` is durable; between slices others get the channel, and Ctrl-C gets through.
    fn wait_durable(&self, py: Python<'_>, sequence: u64, timeout_s: f64) -> PyResult<bool> {
        let started = Instant::now();
        let timeout = Duration::try_from_secs_f64(timeout_s).unwrap_or(Duration::MAX);
        loop {
            let slice = timeout.saturating_sub(started.elapsed()).min(WAIT_SLICE);
            let (durable, stopped) =
                self.with(py, |channel| (channel.wait_durable(sequence, slice), channel.failure().is_some()))?;
            if durable || stopped || started.elapsed() >= timeout {
                return Ok(durable);
            }
            py.check_signals()?;
        }
    }

    /// Journals all that is published, syncs and ends.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let channel = self.channel.lock().expect("a channel call does not panic").take();
            channel.map_or(Ok(()), Channel::close)
        })
        .map_err(|error| PyErr::from(Raised::from(error)))
    }
}
