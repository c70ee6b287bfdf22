//! `FeedChannel`: the raw capture of a venue, ring and journal as one, with its one producer.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_channel::{Channel, ChannelError, ChannelOptions, Layout};
use tidebook_journal::SyncPolicy;
use tidebook_ring::{Producer, RingError, Written};
use tidebook_types::message::RawMessageError;
use tidebook_types::{MessageKind, RawMessage};

use crate::errors::{self, Fact, Raised};
use crate::owned_channel::{OwnedChannel, closed};

/// Larger messages (exchange snapshots) are copied without the GIL.
const AT_ONCE_SIZE_MAX_BYTES: usize = 1 << 16;

/// How long a write waits for room before it looks for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

impl From<ChannelError> for Raised {
    fn from(error: ChannelError) -> Self {
        let message = error.to_string();
        match error {
            ChannelError::Journal(error) => error.into(),
            ChannelError::Ring(error) => error.into(),
            ChannelError::InUse { .. } | ChannelError::OtherCopy { .. } => Self::new(errors::ENDPOINT_BUSY, message),
            ChannelError::OtherLayout { journal, expected, found } => {
                Self::with_facts(errors::CHANNEL_USAGE, message, other_layout(&journal, expected, found))
            }
            ChannelError::OtherLayoutBefore { journal, first, expected, found } => {
                Self::with_facts(errors::CHANNEL_USAGE, message, other_layout(&journal, expected, found))
                    .fact("first", Fact::Number(first))
            }
            _ => Self::new(errors::CHANNEL, message),
        }
    }
}

fn other_layout(journal: &Path, expected: Layout, found: Layout) -> Vec<(&'static str, Fact)> {
    vec![
        ("option", Fact::Text("dtype".to_owned())),
        ("path", Fact::Text(journal.display().to_string())),
        ("expected", Fact::Text(expected.text)),
        ("expected_bytes", Fact::Number(expected.record_size_bytes.into())),
        ("found", Fact::Text(found.text)),
        ("found_bytes", Fact::Number(found.record_size_bytes.into())),
    ]
}

struct FeedProducer {
    producer: Producer,
    payload: Vec<u8>,
}

impl FeedProducer {
    fn write_within(&mut self, message: &RawMessage<'_>, timeout: Duration) -> Result<Written, RingError> {
        self.payload.clear();
        message.write_to(&mut self.payload);
        self.producer.write_within(&self.payload, timeout)
    }
}

/// The channel `feed.<venue>`, owned by this process.
#[pyclass(frozen, module = "tidebook._core")]
pub struct FeedChannel {
    /// `None` once closed. Dropped before the channel it writes.
    producer: Mutex<Option<FeedProducer>>,
    channel: OwnedChannel,
}

impl FeedChannel {
    /// The write that needs no waiting, with the GIL held; `None` when anything is in its way.
    ///
    /// Giving the GIL up for a microsecond's work invites another Python thread to keep it for its whole switch
    /// interval: beside one busy thread the 99th percentile of a write was 6.1 ms with it given up, 0.02 ms with it kept; alone the median fell from 5.9 us to 1.1 us.
    fn write_at_once(&self, message: &RawMessage<'_>) -> Option<u64> {
        if message.size_bytes() > AT_ONCE_SIZE_MAX_BYTES {
            return None;
        }
        let mut producer = self.producer.try_lock().ok()?;
        match producer.as_mut()?.write_within(message, Duration::ZERO) {
            Ok(Written::At(sequence)) => Some(sequence),
            Ok(Written::Full { .. }) | Err(_) => None,
        }
    }
}

#[pymethods]
impl FeedChannel {
    #[new]
    #[pyo3(signature = (name, rings_dir, journal_dir, *, ring_size_bytes=67108864, sync_interval_ms=10, evidence=0))]
    fn new(
        py: Python<'_>,
        name: &str,
        rings_dir: PathBuf,
        journal_dir: PathBuf,
        ring_size_bytes: u64,
        sync_interval_ms: u64,
        evidence: u64,
    ) -> PyResult<Self> {
        let opened = py.detach(|| {
            let mut options = ChannelOptions::frames(name, ring_size_bytes);
            options.ring.parking = true;
            options.sync = SyncPolicy::Interval(Duration::from_millis(sync_interval_ms));
            let ring_path = tidebook_ring::paths::ring_path(&rings_dir, name).map_err(ChannelError::from)?;
            options.journal.evidence = evidence;
            let channel = OwnedChannel::open(&ring_path, &journal_dir, &options)?;
            let producer = channel.with(Channel::producer)??;
            Ok(Self { producer: Mutex::new(Some(FeedProducer { producer, payload: Vec::new() })), channel })
        });
        opened.map_err(|raised: Raised| raised.into())
    }

    /// What opening found.
    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.channel.recovery(py)
    }

    /// Publishes a message and gives its sequence.
    fn write(
        &self,
        py: Python<'_>,
        ts_recv_ns: i64,
        connection: u32,
        kind: u8,
        context: &[u8],
        body: &[u8],
    ) -> PyResult<u64> {
        let kind = MessageKind::from_code(kind).ok_or(Raised::from(RawMessageError::Kind { found: kind }))?;
        let message = RawMessage { ts_recv: ts_recv_ns, connection, kind, context, body };
        if let Some(sequence) = self.write_at_once(&message) {
            return Ok(sequence);
        }
        loop {
            let written = py.detach(|| {
                let mut producer = self.producer.lock().expect("a channel call does not panic");
                match producer.as_mut().ok_or_else(closed)?.write_within(&message, SIGNAL_INTERVAL) {
                    Ok(Written::At(sequence)) => Ok(Written::At(sequence)),
                    // A journal that stopped deposes the producer, or leaves the ring full: name the cause.
                    other => match self.channel.with(Channel::failure)? {
                        Some(failure) => Err(Raised::new(errors::JOURNAL, format!("the journal stopped: {failure}"))),
                        None => other.map_err(|error| ChannelError::from(error).into()),
                    },
                }
            })?;
            match written {
                Written::At(sequence) => return Ok(sequence),
                Written::Full { .. } => py.check_signals()?,
            }
        }
    }

    /// Waits until `sequence` is durable.
    fn wait_durable(&self, py: Python<'_>, sequence: u64, timeout_s: f64) -> PyResult<bool> {
        self.channel.wait_durable(py, sequence, timeout_s)
    }

    /// What is promised right now.
    fn guarantee<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.channel.guarantee(py)
    }

    /// Journals all that is published, syncs and ends.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| drop(self.producer.lock().expect("a channel call does not panic").take()));
        self.channel.close(py)
    }
}
