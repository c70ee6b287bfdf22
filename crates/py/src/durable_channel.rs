//! `DurableChannel`: the owner of any channel with a journal. Producers and consumers open its ring by path.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_channel::ChannelOptions;
use tidebook_journal::SyncPolicy;
use tidebook_ring::{RingOptions, RingSchema};

use crate::errors::Raised;
use crate::owned_channel::OwnedChannel;

/// Runs the journal of one channel until it is closed.
#[pyclass(frozen, module = "tidebook._core")]
pub struct DurableChannel(OwnedChannel);

/// Name, version, text.
type Schema = (String, u32, String);

impl DurableChannel {
    #[expect(clippy::too_many_arguments, reason = "one for each keyword of its callers")]
    fn open(
        py: Python<'_>,
        channel: &str,
        ring_path: PathBuf,
        journal_dir: PathBuf,
        ring: RingOptions,
        sync_interval_ms: Option<u64>,
        (segment_size_bytes, staging_size_bytes): (u64, u64),
        evidence: u64,
        configuration: &str,
    ) -> PyResult<Self> {
        let mut options = ChannelOptions::with_ring(channel, ring);
        options.sync = sync_interval_ms
            .map_or(SyncPolicy::Group, |interval| SyncPolicy::Interval(Duration::from_millis(interval)));
        options.journal.segment_size_bytes = segment_size_bytes;
        options.staging_size_bytes = staging_size_bytes;
        options.journal.evidence = evidence;
        options.journal.configuration = configuration.to_owned();
        py.detach(|| OwnedChannel::open(&ring_path, &journal_dir, &options))
            .map(Self)
            .map_err(|error| Raised::from(error).into())
    }
}

#[pymethods]
impl DurableChannel {
    /// Over a ring of slots.
    #[staticmethod]
    #[pyo3(signature = (channel, ring_path, journal_dir, record_size_bytes, count, *, schema=None, crc=true,
        parking=false, consumers_max=16, sync_interval_ms=None, segment_size_bytes=67108864, staging_size_bytes=67108864,
        evidence=0, configuration=""))]
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
        staging_size_bytes: u64,
        evidence: u64,
        configuration: &str,
    ) -> PyResult<Self> {
        let mut ring = RingOptions::slots(record_size_bytes, count).crc(crc).parking(parking);
        ring.schema = schema.map(|(name, version, text)| RingSchema { name, version, text });
        let ring = ring.consumers_max(consumers_max);
        let sizes = (segment_size_bytes, staging_size_bytes);
        Self::open(py, channel, ring_path, journal_dir, ring, sync_interval_ms, sizes, evidence, configuration)
    }

    /// Over a ring of frames.
    #[staticmethod]
    #[pyo3(signature = (channel, ring_path, journal_dir, size_bytes, *, crc=true, parking=false, consumers_max=16,
        sync_interval_ms=None, segment_size_bytes=67108864, staging_size_bytes=67108864,
        evidence=0, configuration=""))]
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
        staging_size_bytes: u64,
        evidence: u64,
        configuration: &str,
    ) -> PyResult<Self> {
        let ring = RingOptions::frames(size_bytes).crc(crc).parking(parking).consumers_max(consumers_max);
        let sizes = (segment_size_bytes, staging_size_bytes);
        Self::open(py, channel, ring_path, journal_dir, ring, sync_interval_ms, sizes, evidence, configuration)
    }

    /// What opening found.
    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.0.recovery(py)
    }

    /// What is promised right now.
    fn guarantee<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.0.guarantee(py)
    }

    /// Waits until `sequence` is durable.
    fn wait_durable(&self, py: Python<'_>, sequence: u64, timeout_s: f64) -> PyResult<bool> {
        self.0.wait_durable(py, sequence, timeout_s)
    }

    /// Journals all that is published, syncs and ends.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.close(py)
    }
}
