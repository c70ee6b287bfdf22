//! What every Python owner of a channel does with it, whoever writes to its ring.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_channel::{Channel, ChannelError, ChannelOptions, ChannelReport, DurableWaiter};

use crate::blocking;
use crate::errors::{self, Raised};

/// A channel whose journal runs until it is closed.
pub(crate) struct OwnedChannel {
    /// `None` once closed.
    channel: Mutex<Option<Channel>>,
    waiter: DurableWaiter,
    report: ChannelReport,
    process_id: u32,
}

impl OwnedChannel {
    pub(crate) fn open(ring_path: &Path, journal_dir: &Path, options: &ChannelOptions) -> Result<Self, ChannelError> {
        let (channel, report) = Channel::open(ring_path, journal_dir, options)?;
        let waiter = channel.waiter();
        Ok(Self { channel: Mutex::new(Some(channel)), waiter, report, process_id: std::process::id() })
    }

    /// Runs `work` on the open channel; call it without the GIL.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Channel) -> T) -> Result<T, Raised> {
        let channel = self.channel.lock().expect("a channel call does not panic");
        channel.as_ref().map(work).ok_or_else(closed)
    }

    /// What opening found.
    pub(crate) fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        facts.set_item("text", self.report.to_string())?;
        facts.set_item("next_sequence", self.report.next_sequence)?;
        facts.set_item("replayed_from_ring", self.report.replayed_from_ring)?;
        let discarded = self.report.discarded.as_ref();
        facts.set_item("ring_discarded", discarded.map(|discarded| &discarded.reason))?;
        facts.set_item("ring_lost", discarded.and_then(|discarded| discarded.lost))?;
        facts.set_item("undecidable_from", self.report.journal.undecidable_from)?;
        facts.set_item("epoch_behind_copy", self.report.journal.epoch_behind_copy)?;
        Ok(facts)
    }

    /// What is promised right now.
    pub(crate) fn guarantee<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let guarantee = py.detach(|| self.with(Channel::guarantee))?;
        let facts = PyDict::new(py);
        facts.set_item("text", guarantee.to_string())?;
        facts.set_item("published", guarantee.published)?;
        facts.set_item("durable", guarantee.durable)?;
        facts.set_item::<_, PathBuf>("journal", guarantee.journal)?;
        facts.set_item("failure", guarantee.failure)?;
        facts.set_item("no_staging", guarantee.no_staging)?;
        Ok(facts)
    }

    /// Waits until `sequence` is durable; false when the time passed or journaling stopped before.
    pub(crate) fn wait_durable(&self, py: Python<'_>, sequence: u64, timeout_s: f64) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|error| PyValueError::new_err(format!("timeout_s {timeout_s}: {error}")))?;
        let waiter = &self.waiter;
        let durable = blocking::wait(py, Some(timeout), |slice| {
            let durable = waiter.wait(sequence, slice);
            Ok::<_, Raised>((durable || waiter.has_ended()).then_some(durable))
        })?;
        Ok(durable.unwrap_or(false))
    }

    /// Journals all that is published, syncs and ends. In a forked child there is nothing to end, and the lock may be one
    /// that a thread of the parent had.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if std::process::id() != self.process_id {
            return Ok(());
        }
        py.detach(|| {
            let channel = self.channel.lock().expect("a channel call does not panic").take();
            channel.map_or(Ok(()), Channel::close)
        })
        .map_err(|error| PyErr::from(Raised::from(error)))
    }
}

pub(crate) fn closed() -> Raised {
    Raised::new(errors::CHANNEL, "the channel is closed; open it again".to_owned())
}
