//! `JournalWriter` and `JournalReader`: raw journals from Python, many messages a call.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{
    ConfigurationChange, Inspection, JournalError, JournalOptions, KeepFacts, KeepRule, ReaderOptions, RecoveryReport,
    Visible,
};

use crate::errors::{self, Fact, Raised};
use crate::payloads::Payloads;

impl From<JournalError> for Raised {
    fn from(error: JournalError) -> Self {
        let message = error.to_string();
        match error {
            JournalError::Full { source, .. } => with_errno(Self::new(errors::JOURNAL_FULL, message), &source),
            JournalError::Io { source, .. } | JournalError::ReadOnly { source, .. } => {
                with_errno(Self::new(errors::JOURNAL, message), &source)
            }
            JournalError::Locked { .. } | JournalError::Compacting { .. } => Self::new(errors::JOURNAL_LOCKED, message),
            JournalError::Absent { .. } => Self::new(errors::JOURNAL_ABSENT, message),
            JournalError::Version { found, supported, .. } => Self::new(errors::JOURNAL_VERSION, message)
                .fact("found", Fact::Number(found.into()))
                .fact("expected", Fact::Number(supported.into())),
            JournalError::Damaged { segment, offset, sequence, .. } => Self::new(errors::JOURNAL_DAMAGED, message)
                .fact("segment", Fact::Number(segment))
                .fact("offset", Fact::Number(offset))
                .fact("sequence", Fact::Number(sequence)),
            JournalError::Compacted { requested, first, .. } => Self::new(errors::JOURNAL_COMPACTED, message)
                .fact("requested", Fact::Number(requested))
                .fact("first", Fact::Number(first)),
            _ => Self::new(errors::JOURNAL, message),
        }
    }
}

pub(crate) fn with_errno(raised: Raised, source: &std::io::Error) -> Raised {
    match source.raw_os_error() {
        Some(number) => raised.fact("errno", Fact::Number(number.unsigned_abs().into())),
        None => raised,
    }
}

/// Appends to a journal. One caller at a time; a lock makes a second thread wait rather than fail.
#[pyclass(frozen, module = "tidebook._core")]
pub struct JournalWriter {
    /// `None` once closed.
    writer: Mutex<Option<tidebook_journal::JournalWriter>>,
    report: RecoveryReport,
}

impl JournalWriter {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut tidebook_journal::JournalWriter) -> Result<T, JournalError> + Send,
    ) -> PyResult<T> {
        py.detach(|| {
            let mut writer = self.writer.lock().expect("a journal call does not panic");
            match writer.as_mut() {
                Some(writer) => work(writer).map_err(Raised::from),
                None => Err(Raised::new(errors::JOURNAL, "the journal is closed; open it again".to_owned())),
            }
        })
        .map_err(PyErr::from)
    }
}

#[pymethods]
impl JournalWriter {
    #[new]
    #[pyo3(signature = (directory, channel, *, segment_size_bytes=67108864, evidence=0, configuration=""))]
    fn new(
        py: Python<'_>,
        directory: PathBuf,
        channel: String,
        segment_size_bytes: u64,
        evidence: u64,
        configuration: &str,
    ) -> PyResult<Self> {
        let mut options = JournalOptions::new(channel);
        options.segment_size_bytes = segment_size_bytes;
        options.evidence = evidence;
        options.configuration = configuration.to_owned();
        let (writer, report) = py
            .detach(|| tidebook_journal::JournalWriter::open(&directory, options))
            .map_err(|error| PyErr::from(Raised::from(error)))?;
        Ok(Self { writer: Mutex::new(Some(writer)), report })
    }

    /// What opening found.
    #[getter]
    fn recovery<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        let report = &self.report;
        found.set_item("created", report.created)?;
        found.set_item("first_sequence", report.first_sequence)?;
        found.set_item("last_sequence", report.last_sequence)?;
        found.set_item("proven_durable", report.proven_durable)?;
        found.set_item("closed", report.closed)?;
        found.set_item("undecidable_from", report.undecidable_from)?;
        found.set_item("torn_bytes", report.tail.torn_bytes())?;
        Ok(found)
    }

    #[getter]
    fn next_sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |writer| Ok(writer.next_sequence()))
    }

    #[getter]
    fn durable(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |writer| Ok(writer.durable()))
    }

    fn configure(&self, py: Python<'_>, configuration: &str) -> PyResult<()> {
        self.with(py, |writer| writer.configure(configuration))
    }

    fn append(&self, py: Python<'_>, payload: &[u8]) -> PyResult<u64> {
        self.with(py, |writer| writer.append(payload))
    }

    fn append_all(&self, py: Python<'_>, payloads: &Payloads) -> PyResult<u64> {
        self.with(py, |writer| {
            for payload in payloads.0.iter() {
                writer.append(payload)?;
            }
            Ok(writer.next_sequence() - 1)
        })
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, tidebook_journal::JournalWriter::flush)
    }

    fn sync(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, tidebook_journal::JournalWriter::sync)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let writer = self.writer.lock().expect("a journal call does not panic").take();
            writer.map_or(Ok(()), tidebook_journal::JournalWriter::close)
        })
        .map_err(|error| PyErr::from(Raised::from(error)))
    }
}

/// Where a batch ends: journal id, epoch, sequence, batch number, chain.
pub type BatchEnd = (u64, u32, u64, u64, u32);

struct Reading {
    reader: tidebook_journal::JournalReader,
    /// End of the last batch given.
    end: Option<BatchEnd>,
    /// What was read behind a cut while what is before it was given: it comes with the next call.
    held: Option<(u64, tidebook_types::Payloads, BatchEnd)>,
}

/// Reads a journal in order.
#[pyclass(frozen, module = "tidebook._core")]
pub struct JournalReader(Mutex<Reading>);

impl JournalReader {
    /// Looks at what another thread may be reading on from the disk: without the GIL, which every other one waits for.
    fn look<T: Send>(&self, py: Python<'_>, seen: impl FnOnce(&Reading) -> T + Send) -> T {
        py.detach(|| seen(&self.0.lock().expect("a journal call does not panic")))
    }
}

#[pymethods]
impl JournalReader {
    #[new]
    #[pyo3(signature = (directory, *, from_sequence=0, channel=None, durable_only=true))]
    fn new(
        py: Python<'_>,
        directory: PathBuf,
        from_sequence: u64,
        channel: Option<String>,
        durable_only: bool,
    ) -> PyResult<Self> {
        let visible = if durable_only { Visible::Durable } else { Visible::Written };
        let options = ReaderOptions { from_sequence, visible, channel: channel.unwrap_or_default() };
        py.detach(|| tidebook_journal::JournalReader::open(&directory, options))
            .map(|reader| Self(Mutex::new(Reading { reader, end: None, held: None })))
            .map_err(|error| Raised::from(error).into())
    }

    #[getter]
    fn channel(&self, py: Python<'_>) -> String {
        self.look(py, |reading| reading.reader.channel().to_owned())
    }

    #[getter]
    fn journal_id(&self, py: Python<'_>) -> u64 {
        self.look(py, |reading| reading.reader.journal_id())
    }

    #[getter]
    fn next_sequence(&self, py: Python<'_>) -> u64 {
        self.look(py, |reading| {
            reading.held.as_ref().map_or_else(|| reading.reader.next_sequence(), |(first, ..)| *first)
        })
    }

    #[getter]
    fn durable(&self, py: Python<'_>) -> u64 {
        self.look(py, |reading| reading.reader.durable())
    }

    /// Where the last batch given ends.
    #[getter]
    fn batch_end(&self, py: Python<'_>) -> Option<BatchEnd> {
        self.look(py, |reading| reading.end)
    }

    /// The next messages, at least `messages_max` of them where there are as many; whole batches.
    #[pyo3(signature = (messages_max=8192))]
    fn next(&self, py: Python<'_>, messages_max: usize) -> PyResult<Option<(u64, Payloads)>> {
        let read = py.detach(|| {
            let mut reading = self.0.lock().expect("a journal call does not panic");
            let Reading { reader, end, held } = &mut *reading;
            let journal_id = reader.journal_id();
            let mut payloads = tidebook_types::Payloads::new();
            let mut first = None;
            if let Some((sequence, behind, its_end)) = held.take() {
                (first, payloads, *end) = (Some(sequence), behind, Some(its_end));
            }
            while payloads.len() < messages_max {
                let batch = match reader.next_batch() {
                    Ok(Some(batch)) => batch,
                    // Damage is met again by the next call: what was read before it comes first.
                    Err(_) if first.is_some() => break,
                    Ok(None) => break,
                    Err(error) => return Err(error),
                };
                let its_end = (journal_id, batch.epoch(), batch.last_sequence(), batch.batch_number(), batch.chain());
                let begins = batch.records().next().map_or(0, |(sequence, _)| sequence);
                if first.is_some_and(|first| first + payloads.len() as u64 != begins) {
                    let mut behind = tidebook_types::Payloads::new();
                    batch.records().for_each(|(_, payload)| behind.push_bytes(payload));
                    *held = Some((begins, behind, its_end));
                    break;
                }
                for (sequence, payload) in batch.records() {
                    first.get_or_insert(sequence);
                    payloads.push_bytes(payload);
                }
                *end = Some(its_end);
            }
            Ok(first.map(|first| (first, Payloads(payloads))))
        });
        read.map_err(|error: JournalError| Raised::from(error).into())
    }
}

/// Number, chain value and start of its segment of the batch that holds a message.
type FoundBatch = (u64, u32, Option<i64>);

/// Finds the batches of messages in a journal.
#[pyclass(frozen, module = "tidebook._core")]
pub struct BatchFinder(Mutex<tidebook_journal::BatchFinder>);

#[pymethods]
impl BatchFinder {
    #[new]
    fn new(directory: PathBuf) -> Self {
        Self(Mutex::new(tidebook_journal::BatchFinder::new(&directory)))
    }

    /// The batch that holds a message.
    fn find(&self, py: Python<'_>, sequence: u64) -> PyResult<Option<FoundBatch>> {
        let found = py.detach(|| self.0.lock().expect("a journal call does not panic").find(sequence));
        let found = found.map_err(|error| PyErr::from(Raised::from(error)))?;
        Ok(found.map(|found| (found.batch.number, found.batch.chain, found.created_ns)))
    }
}

/// What headers and the newest segment of a journal say.
#[pyfunction]
pub fn inspect_journal(py: Python<'_>, directory: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let found =
        py.detach(|| tidebook_journal::inspect(&directory)).map_err(|error| PyErr::from(Raised::from(error)))?;
    facts_of(py, &found)
}

/// The same, after every batch verified, with what was counted. What `progress` raises ends it, and so does Ctrl-C.
#[pyfunction]
#[pyo3(signature = (directory, progress=None))]
pub fn verify_journal(py: Python<'_>, directory: PathBuf, progress: Option<Py<PyAny>>) -> PyResult<Bound<'_, PyDict>> {
    let failure: Mutex<Option<PyErr>> = Mutex::default();
    let tell = |messages: u64| {
        let told = Python::attach(|py| {
            py.check_signals()?;
            progress.as_ref().map(|tell| tell.call1(py, (messages,))).transpose()
        });
        match told {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    };
    let storage: Arc<dyn Storage> = Arc::new(Directory::new(directory));
    let verified = py.detach(|| tidebook_journal::verify_telling(&storage, tell));
    let verified = verified.map_err(|error| PyErr::from(Raised::from(error)))?;
    let Some(found) = verified else {
        let ended = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        return Err(ended.expect("who ends a verification says why"));
    };
    let facts = facts_of(py, &found.journal)?;
    facts.set_item("messages", found.record_count)?;
    facts.set_item("batches", found.batch_count)?;
    facts.set_item("batch_size_bytes", found.size_bytes)?;
    Ok(facts)
}

/// Where the durable part of a journal ends: segment, bytes of it, bytes of the watermark that says so.
type DurableEnd = (u64, u64, Option<Vec<u8>>);

/// Where the durable part of a journal ends.
#[pyfunction]
pub fn journal_durable_end(py: Python<'_>, directory: PathBuf) -> PyResult<Option<DurableEnd>> {
    let found =
        py.detach(|| tidebook_journal::durable_end(&directory)).map_err(|error| PyErr::from(Raised::from(error)))?;
    Ok(found.map(|end| (end.segment, end.size_bytes, end.watermark)))
}

/// Why nothing was removed.
#[derive(Debug)]
enum NotCompacted {
    Journal(JournalError),
    /// What who was asked raised.
    Asked(PyErr),
}

impl From<JournalError> for NotCompacted {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// Removes the oldest segments whose messages all lie before `keep_from`, and before what `still` gives when those who open were told.
#[pyfunction]
#[pyo3(signature = (directory, keep_from, still=None))]
pub fn compact_journal(
    py: Python<'_>,
    directory: PathBuf,
    keep_from: u64,
    still: Option<Py<PyAny>>,
) -> PyResult<Bound<'_, PyDict>> {
    let ask = || match &still {
        None => Ok(keep_from),
        Some(still) => Python::attach(|py| still.call0(py)?.extract(py)).map_err(NotCompacted::Asked),
    };
    let compacted =
        py.detach(|| tidebook_journal::compact_if(&Directory::new(&directory), keep_from, ask)).map_err(|error| {
            match error {
                NotCompacted::Journal(error) => Raised::from(error).into(),
                NotCompacted::Asked(error) => error,
            }
        })?;
    let facts = PyDict::new(py);
    facts.set_item("removed", compacted.removed)?;
    facts.set_item("size_bytes", compacted.size_bytes)?;
    facts.set_item("first_sequence", compacted.first_sequence)?;
    Ok(facts)
}

/// First sequence of a journal that must stay by a keep rule.
#[pyfunction]
#[pyo3(signature = (directory, rule, *, now_ns, snapshots=Vec::new(), consumers_floor=None, stored=None))]
pub fn journal_first_to_keep(
    py: Python<'_>,
    directory: PathBuf,
    rule: &str,
    now_ns: i64,
    snapshots: Vec<u64>,
    consumers_floor: Option<u64>,
    stored: Option<u64>,
) -> PyResult<u64> {
    let facts = KeepFacts { snapshots, consumers_floor, stored, now_ns, segments: Vec::new() };
    py.detach(|| tidebook_journal::first_to_keep(&directory, &rule.parse()?, facts))
        .map_err(|error| Raised::from(error).into())
}

/// The keep rule a text says, as the core writes it.
#[pyfunction]
pub fn journal_keep_rule(rule: &str) -> PyResult<String> {
    let rule = rule.parse::<KeepRule>().map_err(|error| PyErr::from(Raised::from(JournalError::from(error))))?;
    Ok(rule.to_string())
}

/// A journal counted, segment by segment.
#[pyfunction]
pub fn journal_stats(py: Python<'_>, directory: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let found = py.detach(|| tidebook_journal::stats(&directory)).map_err(|error| PyErr::from(Raised::from(error)))?;
    let facts = facts_of(py, &found.journal)?;
    let mut segments = Vec::new();
    for counted in found.segments {
        let one = PyDict::new(py);
        one.set_item("segment", counted.segment)?;
        one.set_item("first_sequence", counted.first_sequence)?;
        one.set_item("created_ns", counted.created_ns)?;
        one.set_item("size_bytes", counted.size_bytes)?;
        one.set_item("messages", counted.message_count)?;
        one.set_item("batches", counted.batch_count)?;
        one.set_item("payload_size_bytes", counted.payload_size_bytes)?;
        one.set_item("batch_size_bytes", counted.batch_size_bytes)?;
        one.set_item("sync_groups", counted.sync_group_count)?;
        one.set_item("batch_sizes", counted.batch_sizes)?;
        segments.push(one);
    }
    facts.set_item("segments", segments)?;
    let changes: PyResult<Vec<_>> = found.configurations.iter().map(|change| configuration_facts(py, change)).collect();
    facts.set_item("configurations", changes?)?;
    Ok(facts)
}

/// Each configuration of a journal: segment, first_sequence, created_ns, configuration.
#[pyfunction]
pub fn journal_configurations(py: Python<'_>, directory: PathBuf) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let changes =
        py.detach(|| tidebook_journal::configurations(&directory)).map_err(|error| PyErr::from(Raised::from(error)))?;
    changes.iter().map(|change| configuration_facts(py, change)).collect()
}

/// What the messages of a journal are: first_sequence, text and record_size_bytes, for the first and each change.
#[pyfunction]
pub fn journal_layouts(py: Python<'_>, directory: PathBuf) -> PyResult<Vec<(u64, Option<String>, u32)>> {
    let changes =
        py.detach(|| tidebook_channel::layouts(&directory)).map_err(|error| PyErr::from(Raised::from(error)))?;
    let facts = changes.into_iter().map(|change| match change.layout {
        Some(layout) => (change.first_sequence, Some(layout.text), layout.record_size_bytes),
        None => (change.first_sequence, None, 0),
    });
    Ok(facts.collect())
}

fn configuration_facts<'py>(py: Python<'py>, change: &ConfigurationChange) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("segment", change.segment)?;
    facts.set_item("first_sequence", change.first_sequence)?;
    facts.set_item("created_ns", change.created_ns)?;
    facts.set_item("configuration", &change.configuration)?;
    Ok(facts)
}

fn facts_of<'py>(py: Python<'py>, found: &Inspection) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("channel", &found.channel)?;
    facts.set_item("journal_id", found.journal_id)?;
    facts.set_item("epoch", found.epoch)?;
    facts.set_item("first_sequence", found.first_sequence)?;
    facts.set_item("last_sequence", found.last_sequence)?;
    facts.set_item("durable", found.durable)?;
    facts.set_item("closed", found.closed)?;
    facts.set_item("torn_bytes", found.tail.torn_bytes())?;
    facts.set_item("segments", found.segments.len())?;
    facts.set_item("size_bytes", found.segments.iter().map(|segment| segment.size_bytes).sum::<u64>())?;
    Ok(facts)
}
