//! `CheckpointStore`: states and cursors in an LMDB environment, which nothing but the core opens.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tidebook_channel::checkpoints::{DamagedEntry, Listed};
use tidebook_channel::{Checkpoint, CheckpointError, Cursor, Subject, SubjectKind};
use tidebook_journal::BatchMark;

use crate::errors::{self, Fact, Raised};

impl From<CheckpointError> for Raised {
    fn from(error: CheckpointError) -> Self {
        use CheckpointError as E;
        let message = error.to_string();
        let path = |path: &std::path::Path| ("path", Fact::Text(path.display().to_string()));
        let (class, facts) = match &error {
            E::Name { what, value, .. } => (
                errors::CHANNEL_USAGE,
                vec![("option", Fact::Text((*what).to_owned())), ("value", Fact::Text(value.clone()))],
            ),
            E::NotDurable { sequence, durable } => {
                (errors::CHECKPOINT, vec![("sequence", Fact::Number(*sequence)), ("durable", Fact::Number(*durable))])
            }
            E::Full { path: file, .. } => (errors::CHECKPOINT_FULL, vec![path(file)]),
            E::Damaged { path: file, page, .. } => {
                (errors::CHECKPOINT_DAMAGED, vec![path(file), ("page", Fact::Number(*page))])
            }
            E::DamagedEntry { path: file, id, reason } => (
                errors::CHECKPOINT_DAMAGED,
                vec![path(file), ("checkpoint_id", Fact::Number(*id)), ("reason", Fact::Text((*reason).to_owned()))],
            ),
            E::Version { path: file, found, supported } => (
                errors::CHECKPOINT_VERSION,
                vec![
                    path(file),
                    ("found", Fact::Number((*found).into())),
                    ("expected", Fact::Number((*supported).into())),
                ],
            ),
            E::Forked { path: file }
            | E::Failed { path: file }
            | E::ReadOnly { path: file }
            | E::Replaced { path: file }
            | E::Exists { path: file }
            | E::Away { path: file, .. }
            | E::Io { path: file, .. } => (errors::CHECKPOINT, vec![path(file)]),
            E::Busy { path: file, process_id } => {
                (errors::CHECKPOINT, vec![path(file), ("process_id", Fact::Number((*process_id).into()))])
            }
            _ => (errors::CHECKPOINT, Vec::new()),
        };
        Self::with_facts(class, message, facts)
    }
}

type Dicts<'py> = Vec<Bound<'py, PyDict>>;

fn raised(error: CheckpointError) -> PyErr {
    Raised::from(error).into()
}

/// A store of checkpoints; the same one for all of this process that open its directory.
#[pyclass(frozen, module = "tidebook._core")]
pub struct CheckpointStore(tidebook_channel::CheckpointStore);

#[pymethods]
impl CheckpointStore {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        py.detach(|| tidebook_channel::CheckpointStore::open(&directory)).map(Self).map_err(raised)
    }

    /// The store of a directory that somebody named.
    #[staticmethod]
    fn named(py: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        py.detach(|| tidebook_channel::CheckpointStore::open_named(&directory)).map(Self).map_err(raised)
    }

    /// The store of a directory if there is one.
    #[staticmethod]
    fn existing(py: Python<'_>, directory: PathBuf) -> PyResult<Option<Self>> {
        let found = py.detach(|| tidebook_channel::CheckpointStore::open_existing(&directory)).map_err(raised)?;
        Ok(found.map(Self))
    }

    /// Its directory.
    #[getter]
    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Stores a state with its cursor and gives the checkpoint's number.
    #[pyo3(signature = (kind, channel, name, *, epoch, sequence, batch=None, state=None, durable=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn put(
        &self,
        py: Python<'_>,
        kind: &str,
        channel: &str,
        name: &str,
        epoch: u64,
        sequence: u64,
        batch: Option<(u64, u32)>,
        state: Option<&[u8]>,
        durable: Option<u64>,
    ) -> PyResult<u64> {
        let subject = subject(kind, channel, name)?;
        let state = state.unwrap_or_default();
        let batch = batch.map(|(number, chain)| BatchMark { number, chain });
        py.detach(|| self.0.put(&subject, Cursor { epoch, sequence, batch }, durable, state)).map_err(raised)
    }

    /// The newest checkpoint of a state or consumer.
    fn newest<'py>(
        &self,
        py: Python<'py>,
        kind: &str,
        channel: &str,
        name: &str,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let subject = subject(kind, channel, name)?;
        whole(py, py.detach(|| self.0.newest(&subject)).map_err(raised)?)
    }

    /// The checkpoint of a number.
    fn get<'py>(&self, py: Python<'py>, checkpoint_id: u64) -> PyResult<Option<Bound<'py, PyDict>>> {
        whole(py, py.detach(|| self.0.get(checkpoint_id)).map_err(raised)?)
    }

    /// All checkpoints without their states.
    fn list<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let found = py.detach(|| self.0.list()).map_err(raised)?;
        found.iter().map(|listed| facts(py, listed)).collect()
    }

    /// All checkpoints without their states, and beside them those that are not what was written.
    fn survey<'py>(&self, py: Python<'py>) -> PyResult<(Dicts<'py>, Dicts<'py>)> {
        let found = py.detach(|| self.0.survey()).map_err(raised)?;
        let whole = found.whole.iter().map(|listed| facts(py, listed)).collect::<PyResult<_>>()?;
        let damaged = found.damaged.iter().map(|entry| damage(py, entry)).collect::<PyResult<_>>()?;
        Ok((whole, damaged))
    }

    /// Channels that checkpoints are of.
    fn channels(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        py.detach(|| self.0.channels()).map_err(raised)
    }

    /// Forgets all checkpoints of a state or consumer; how many there were.
    fn remove(&self, py: Python<'_>, kind: &str, channel: &str, name: &str) -> PyResult<usize> {
        let subject = subject(kind, channel, name)?;
        py.detach(|| self.0.remove(&subject)).map_err(raised)
    }

    /// Forgets checkpoints by their numbers; how many of them there were.
    fn remove_numbers(&self, py: Python<'_>, checkpoint_ids: Vec<u64>) -> PyResult<usize> {
        py.detach(|| self.0.remove_numbers(&checkpoint_ids)).map_err(raised)
    }

    /// Copies all of one moment into a directory that is made for it.
    fn copy_to(&self, py: Python<'_>, directory: PathBuf) -> PyResult<()> {
        py.detach(|| self.0.copy_to(&directory)).map_err(raised)
    }
}

fn subject(kind: &str, channel: &str, name: &str) -> PyResult<Subject> {
    match kind {
        "state" => Ok(Subject::state(channel, name)),
        "consumer" => Ok(Subject::consumer(channel, name)),
        other => Err(PyValueError::new_err(format!("kind {other:?}"))),
    }
}

fn whole(py: Python<'_>, found: Option<Checkpoint>) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(found) = found else { return Ok(None) };
    let facts = facts(py, &found.listed)?;
    facts.set_item("state", PyBytes::new(py, &found.state))?;
    Ok(Some(facts))
}

fn facts<'py>(py: Python<'py>, listed: &Listed) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("checkpoint_id", listed.id)?;
    facts.set_item("kind", kind(listed.subject.kind))?;
    facts.set_item("channel", &listed.subject.channel)?;
    facts.set_item("name", &listed.subject.name)?;
    facts.set_item("epoch", listed.cursor.epoch)?;
    facts.set_item("sequence", listed.cursor.sequence)?;
    facts.set_item("batch", listed.cursor.batch.map(|batch| (batch.number, batch.chain)))?;
    facts.set_item("created_ns", listed.created_ns)?;
    facts.set_item("state_size_bytes", listed.state_size_bytes)?;
    Ok(facts)
}

fn damage<'py>(py: Python<'py>, entry: &DamagedEntry) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    let subject = entry.subject.as_ref();
    facts.set_item("checkpoint_id", entry.id)?;
    facts.set_item("kind", subject.map(|subject| kind(subject.kind)))?;
    facts.set_item("channel", subject.map(|subject| &subject.channel))?;
    facts.set_item("name", subject.map(|subject| &subject.name))?;
    facts.set_item("reason", entry.reason)?;
    Ok(facts)
}

const fn kind(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::State => "state",
        SubjectKind::Consumer => "consumer",
    }
}
