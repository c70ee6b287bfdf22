//! `SnapshotStore`, `recover_state` and `Follower`: snapshots, and states that are Python objects.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tidebook_journal::snapshot::{
    self, FollowerEvent, FollowerOptions, Place, Progress, RecoveryFacts, RecoveryOptions, SnapshotError, SnapshotFacts,
};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{Hashes, State, StateError};
use tidebook_plane::{LocalHistory, VenueSizes, new_venue};

use crate::errors::{self, Fact, Raised};
use crate::journal::with_errno;

impl From<SnapshotError> for Raised {
    fn from(error: SnapshotError) -> Self {
        let message = error.to_string();
        match error {
            SnapshotError::Journal(error) => error.into(),
            SnapshotError::State(_) => Self::new(errors::STATE, message),
            SnapshotError::Full { source, .. } => with_errno(Self::new(errors::SNAPSHOT_FULL, message), &source),
            SnapshotError::Io { source, .. } => with_errno(Self::new(errors::SNAPSHOT, message), &source),
            SnapshotError::Locked { path } => {
                Self::new(errors::SNAPSHOT, message).fact("lock", Fact::Text(path.display().to_string()))
            }
            SnapshotError::Damaged { path, .. } => {
                Self::new(errors::SNAPSHOT_DAMAGED, message).fact("path", text(&path))
            }
            SnapshotError::Ahead { path, sequence, last } => Self::new(errors::SNAPSHOT_MISMATCH, message)
                .fact("path", text(&path))
                .fact("sequence", Fact::Number(sequence))
                .fact("last_sequence", Fact::Number(last)),
            SnapshotError::OtherHistory { path, sequence, .. } => Self::new(errors::SNAPSHOT_MISMATCH, message)
                .fact("path", text(&path))
                .fact("sequence", Fact::Number(sequence)),
            SnapshotError::OtherJournal { path, .. } => {
                Self::new(errors::SNAPSHOT_MISMATCH, message).fact("path", text(&path))
            }
            _ => Self::new(errors::SNAPSHOT, message),
        }
    }
}

fn text(path: &Path) -> Fact {
    Fact::Text(path.display().to_string())
}

fn raised(error: SnapshotError) -> PyErr {
    Raised::from(error).into()
}

/// A thread of ours may outlive the interpreter, of a program that stopped nothing at its end: it is told by nobody then, and tells nobody.
const PYTHON_HAS_ENDED: &str = "Python has ended";

/// The first exception that the newest Python state of a call raised, kept until the call has returned.
type Failure = Arc<Mutex<Option<PyErr>>>;

/// A Python object as a state: what it raises becomes a state error, and its cause.
struct PyState {
    /// `None` where making it failed.
    object: Option<Py<PyAny>>,
    kind: String,
    version: u32,
    failure: Failure,
}

impl PyState {
    fn make(py: Python<'_>, factory: &Py<PyAny>, failure: &Failure) -> PyResult<Self> {
        let object = factory.bind(py).call0()?;
        let (kind, version) = (object.getattr("kind")?.extract()?, object.getattr("version")?.extract()?);
        Ok(Self { object: Some(object.unbind()), kind, version, failure: Arc::clone(failure) })
    }

    /// As [`Self::make`]; a failure is met by the first use.
    ///
    /// What an earlier state raised was of the snapshot that it was to be loaded from, which has been passed over.
    fn make_or_fail(factory: &Py<PyAny>, kind: &str, failure: &Failure) -> Self {
        taken(failure);
        let made = Python::try_attach(|py| Self::make(py, factory, failure));
        made.and_then(|made| made.map_err(|error| keep(failure, error)).ok()).unwrap_or_else(|| Self {
            object: None,
            kind: kind.to_owned(),
            version: 0,
            failure: Arc::clone(failure),
        })
    }

    /// Calls a method; what it raised as a sentence.
    fn call<T>(&self, work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> Result<T, String> {
        let Some(object) = &self.object else { return Err("it could not be made".into()) };
        let called = Python::try_attach(|py| {
            work(object.bind(py)).map_err(|error| {
                let said = error.to_string();
                keep(&self.failure, error);
                said
            })
        });
        called.unwrap_or_else(|| Err(PYTHON_HAS_ENDED.to_owned()))
    }
}

fn keep(failure: &Failure, error: PyErr) {
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

fn taken(failure: &Failure) -> Option<PyErr> {
    failure.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl State for PyState {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        let applied = self.call(|object| {
            object.call_method1("apply", (sequence, PyBytes::new(object.py(), payload)))?;
            Ok(())
        });
        applied.map_err(|reason| StateError::Message { kind: self.kind.clone(), sequence, reason })
    }

    fn state_hash(&self) -> u64 {
        unreachable!("who asks for the hash of a Python state asks for `hashes`, which may fail")
    }

    fn hashes(&self) -> Result<Hashes, StateError> {
        let found = self.call(|object| {
            let kept = object.call_method0("state_hash")?.extract()?;
            let recomputed = match object.getattr_opt("recomputed_state_hash")? {
                Some(method) => Some(method.call0()?.extract()?),
                None => None,
            };
            Ok(Hashes { kept, recomputed })
        });
        found.map_err(|reason| StateError::Hash { kind: self.kind.clone(), reason })
    }

    fn save(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let saved = self.call(|object| object.call_method0("save")?.extract::<Vec<u8>>());
        out.write_all(&saved.map_err(std::io::Error::other)?)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let loaded = self.call(|object| {
            object.call_method1("load", (PyBytes::new(object.py(), bytes),))?;
            Ok(())
        });
        loaded.map_err(|reason| StateError::Saved { kind: self.kind.clone(), offset: 0, reason })
    }
}

/// What the state raised as the cause of the error, if that comes of it: an error of the journal, or of another snapshot than
/// the one a state could not be loaded from, does not.
fn with_cause(py: Python<'_>, failure: &Failure, error: SnapshotError) -> PyErr {
    let of_state = matches!(error, SnapshotError::State(_) | SnapshotError::Io { .. });
    let error = raised(error);
    if of_state {
        error.set_cause(py, taken(failure));
    }
    error
}

/// Snapshots of one kind of state in one directory.
#[pyclass(frozen, module = "tidebook._core")]
pub struct SnapshotStore(snapshot::SnapshotStore);

#[pymethods]
impl SnapshotStore {
    #[new]
    fn new(directory: PathBuf, kind: &str) -> PyResult<Self> {
        snapshot::SnapshotStore::open(&directory, kind).map(Self).map_err(raised)
    }

    #[getter]
    fn kind(&self) -> &str {
        self.0.kind()
    }

    #[getter]
    fn directory(&self) -> PathBuf {
        self.0.path()
    }

    fn sequences(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        py.detach(|| self.0.list()).map_err(raised)
    }

    fn verify<'py>(&self, py: Python<'py>, sequence: u64) -> PyResult<Bound<'py, PyDict>> {
        let facts = py.detach(|| self.0.verify(sequence)).map_err(raised)?;
        facts_of(py, &facts)
    }

    fn read<'py>(&self, py: Python<'py>, sequence: u64) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyBytes>)> {
        let found = py.detach(|| self.0.load(sequence)).map_err(raised)?;
        Ok((facts_of(py, &found.facts)?, PyBytes::new(py, &found)))
    }

    fn write<'py>(
        &self,
        py: Python<'py>,
        state: &Bound<'py, PyAny>,
        place: &Bound<'py, PyDict>,
        created_ns: i64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let place = place_from(place)?;
        let failure = Failure::default();
        let (kind, version) = (state.getattr("kind")?.extract()?, state.getattr("version")?.extract()?);
        let state = PyState { object: Some(state.clone().unbind()), kind, version, failure: Arc::clone(&failure) };
        let facts =
            py.detach(|| self.0.write(&state, &place, created_ns)).map_err(|error| with_cause(py, &failure, error))?;
        facts_of(py, &facts)
    }

    fn rotate<'py>(&self, py: Python<'py>, keep: usize) -> PyResult<Bound<'py, PyDict>> {
        let rotation = py.detach(|| self.0.rotate(keep)).map_err(raised)?;
        let found = PyDict::new(py);
        found.set_item("kept", rotation.kept)?;
        found.set_item("removed", rotation.removed)?;
        found.set_item("damaged", rotation.damaged)?;
        Ok(found)
    }

    /// Has every rotation leave the newest two up to each of these sequences too.
    fn spare(&self, sequences: Vec<u64>) {
        self.0.spare(&sequences);
    }

    /// Highest sequence the snapshots prove to have been durable in the journal.
    fn proven_durable(&self, py: Python<'_>, journal: PathBuf) -> PyResult<u64> {
        py.detach(|| snapshot::proven_durable(&storage(&journal), &self.0)).map_err(raised)
    }
}

fn storage(directory: &Path) -> Arc<dyn Storage> {
    Arc::new(Directory::new(directory))
}

/// Rebuilds the state that `factory` begins; it and what was found.
#[pyfunction]
#[pyo3(signature = (factory, journal, store, *, snapshot_sequence_max=None, progress=None))]
pub fn recover_state<'py>(
    py: Python<'py>,
    factory: Py<PyAny>,
    journal: PathBuf,
    store: &SnapshotStore,
    snapshot_sequence_max: Option<u64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>)> {
    let failure = Failure::default();
    let on = |now: Progress| {
        let told = Python::attach(|py| {
            py.check_signals()?;
            progress.as_ref().map(|tell| tell.call1(py, (now.sequence, now.durable))).transpose()
        });
        match told {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                keep(&failure, error);
                ControlFlow::Break(())
            }
        }
    };
    let recovered = py.detach(|| {
        let make = || PyState::make_or_fail(&factory, store.0.kind(), &failure);
        let options = RecoveryOptions { snapshot_sequence_max: snapshot_sequence_max.unwrap_or(u64::MAX) };
        snapshot::recover(make, &storage(&journal), &store.0, options, on)
    });
    let recovered = match recovered {
        // Ctrl-C, or what the caller's own function raised.
        Err(SnapshotError::Interrupted { .. }) => {
            let ended = taken(&failure);
            return Err(ended.expect("who ends a recovery says why"));
        }
        Err(error) => return Err(with_cause(py, &failure, error)),
        Ok(recovered) => recovered,
    };
    let facts = recovery_of(py, &recovered.facts)?;
    facts.set_item("place", recovered.place.as_ref().map(|place| place_of(py, place)).transpose()?)?;
    match recovered.state.object {
        Some(object) => Ok((object.into_bound(py), facts)),
        None => Err(taken(&failure).expect("why it could not be made")),
    }
}

/// A thread that replays a journal and takes snapshots of a Python state of its own.
#[pyclass(frozen, module = "tidebook._core")]
pub struct Follower {
    /// `None` once stopped.
    follower: Mutex<Option<Arc<snapshot::Follower>>>,
    last: Mutex<Option<snapshot::FollowerStatus>>,
}

#[pymethods]
impl Follower {
    #[new]
    #[pyo3(signature = (factory, journal, store, *, interval_s=300.0, keep=12, lag_count_max=1_000_000, prove_by_loading=true, tell=None))]
    #[allow(clippy::too_many_arguments, reason = "options by their names")]
    fn new(
        py: Python<'_>,
        factory: Py<PyAny>,
        journal: PathBuf,
        store: &SnapshotStore,
        interval_s: f64,
        keep: usize,
        lag_count_max: u64,
        prove_by_loading: bool,
        tell: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let failure = Failure::default();
        let kind = store.0.kind().to_owned();
        let make = move || PyState::make_or_fail(&factory, &kind, &failure);
        Self::start(py, make, &journal, store, (interval_s, keep, lag_count_max, prove_by_loading), tell)
    }

    /// Of a venue, from its journal of `orders`; its state is no Python object.
    #[staticmethod]
    #[pyo3(signature = (journal, store, *, interval_s=300.0, keep=12, lag_count_max=1_000_000, prove_by_loading=true, tell=None))]
    #[allow(clippy::too_many_arguments, reason = "options by their names")]
    fn of_venue(
        py: Python<'_>,
        journal: PathBuf,
        store: &SnapshotStore,
        interval_s: f64,
        keep: usize,
        lag_count_max: u64,
        prove_by_loading: bool,
        tell: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let sizes = py.detach(|| VenueSizes::of_journal(&journal)).map_err(Raised::from)?.unwrap_or_default();
        let make = move || new_venue(sizes, false);
        Self::start(py, make, &journal, store, (interval_s, keep, lag_count_max, prove_by_loading), tell)
    }

    /// Of the market data of a venue, from its journal of `orders` and the names of its instruments.
    #[staticmethod]
    #[pyo3(signature = (journal, names_file, store, *, interval_s=300.0, keep=12, lag_count_max=1_000_000, prove_by_loading=true, tell=None))]
    #[allow(clippy::too_many_arguments, reason = "options by their names")]
    fn of_market_data(
        py: Python<'_>,
        journal: PathBuf,
        names_file: PathBuf,
        store: &SnapshotStore,
        interval_s: f64,
        keep: usize,
        lag_count_max: u64,
        prove_by_loading: bool,
        tell: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let sizes = py.detach(|| VenueSizes::of_journal(&journal)).map_err(Raised::from)?.unwrap_or_default();
        let make = move || LocalHistory::new(sizes.venue, &names_file);
        Self::start(py, make, &journal, store, (interval_s, keep, lag_count_max, prove_by_loading), tell)
    }

    #[getter]
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = match self.running() {
            Some(follower) => follower.status(),
            None => self.last.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default(),
        };
        let found = PyDict::new(py);
        found.set_item("applied", status.applied)?;
        found.set_item("durable", status.durable)?;
        found.set_item("lag_count", status.lag_count())?;
        found.set_item("lagging", status.lagging)?;
        found.set_item("snapshot_count", status.snapshot_count)?;
        found.set_item("snapshot", status.snapshot.as_ref().map(|facts| facts_of(py, facts)).transpose()?)?;
        found.set_item("failure", status.failure)?;
        found.set_item("trouble", status.trouble)?;
        Ok(found)
    }

    /// Takes a snapshot of all that is durable now and waits for it.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(follower) = self.running() else {
            return Err(raised(SnapshotError::Ended { cause: "it was stopped".into() }));
        };
        let facts = py.detach(move || follower.snapshot()).map_err(raised)?;
        facts.as_ref().map(|facts| facts_of(py, facts)).transpose()
    }

    /// Ends the thread; a second call does nothing.
    fn stop(&self, py: Python<'_>) {
        let taken = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(follower) = taken {
            // Another thread may wait in `snapshot`; whoever is last ends the thread.
            let status = py.detach(move || {
                let status = follower.status();
                drop(follower);
                status
            });
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        }
    }
}

impl Follower {
    fn start<S: State + 'static>(
        py: Python<'_>,
        make: impl FnMut() -> S + Send + 'static,
        journal: &Path,
        store: &SnapshotStore,
        (interval_s, keep, lag_count_max, prove_by_loading): (f64, usize, u64, bool),
        tell: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let interval = Duration::try_from_secs_f64(interval_s)
            .map_err(|_| Raised::new(errors::SNAPSHOT, format!("interval_s = {interval_s}: seconds from 0 on")))?;
        let options = FollowerOptions { interval, keep, lag_count_max, prove_by_loading, ..FollowerOptions::default() };
        let told = move |event: FollowerEvent| {
            if let Some(tell) = &tell {
                Python::try_attach(|py| {
                    let called = event_of(py, &event).and_then(|event| tell.call1(py, event));
                    if let Err(error) = called {
                        error.write_unraisable(py, Some(tell.bind(py)));
                    }
                });
            }
        };
        let follower = py
            .detach(|| snapshot::Follower::start(make, storage(journal), store.0.clone(), options, told))
            .map_err(raised)?;
        Ok(Self { follower: Mutex::new(Some(Arc::new(follower))), last: Mutex::new(None) })
    }

    fn running(&self) -> Option<Arc<snapshot::Follower>> {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Follower {
    /// Its thread may be waiting for the lock of Python that who drops this holds.
    fn drop(&mut self) {
        let taken = self.follower.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(follower) = taken {
            Python::attach(|py| py.detach(move || drop(follower)));
        }
    }
}

fn event_of<'py>(py: Python<'py>, event: &FollowerEvent) -> PyResult<(&'static str, Bound<'py, PyDict>)> {
    let facts = PyDict::new(py);
    let name = match event {
        FollowerEvent::Recovered(found) => return Ok(("recovered", recovery_of(py, found)?)),
        FollowerEvent::Snapshot { facts: found, rotation, took } => {
            facts.set_item("snapshot", facts_of(py, found)?)?;
            facts.set_item("removed", rotation.removed.clone())?;
            facts.set_item("damaged", rotation.damaged.clone())?;
            facts.set_item("took_s", took.as_secs_f64())?;
            "snapshot"
        }
        FollowerEvent::SnapshotFailed(error) => {
            facts.set_item("problem", error.to_string())?;
            "snapshot_failed"
        }
        FollowerEvent::RotationFailed(error) => {
            facts.set_item("problem", error.to_string())?;
            "rotation_failed"
        }
        FollowerEvent::Lagging { lag_count } => {
            facts.set_item("lag_count", lag_count)?;
            "lagging"
        }
        FollowerEvent::CaughtUp => "caught_up",
        _ => "other",
    };
    Ok((name, facts))
}

pub(crate) fn recovery_of<'py>(py: Python<'py>, found: &RecoveryFacts) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("channel", &found.channel)?;
    facts.set_item("journal_id", found.journal_id)?;
    facts.set_item("used", found.used.as_ref().map(|used| facts_of(py, used)).transpose()?)?;
    let refused: Vec<(u64, String)> =
        found.refused.iter().map(|refused| (refused.sequence, refused.reason.to_string())).collect();
    facts.set_item("refused", refused)?;
    facts.set_item("tail_count", found.tail_count)?;
    facts.set_item("last_sequence", found.last_sequence)?;
    facts.set_item("state_hash", found.state_hash)?;
    facts.set_item("loading_s", found.loading.as_secs_f64())?;
    facts.set_item("replaying_s", found.replaying.as_secs_f64())?;
    Ok(facts)
}

fn facts_of<'py>(py: Python<'py>, found: &SnapshotFacts) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("path", &found.path)?;
    facts.set_item("kind", &found.header.kind)?;
    facts.set_item("state_version", found.header.state_version)?;
    facts.set_item("place", place_of(py, &found.header.place)?)?;
    facts.set_item("created_ns", found.header.created_ns)?;
    facts.set_item("content_size_bytes", found.header.content_size_bytes)?;
    facts.set_item("size_bytes", found.size_bytes)?;
    facts.set_item("state_hash", found.state_hash)?;
    Ok(facts)
}

fn place_of<'py>(py: Python<'py>, place: &Place) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("channel", &place.channel)?;
    facts.set_item("journal_id", place.journal_id)?;
    facts.set_item("epoch", place.epoch)?;
    facts.set_item("sequence", place.sequence)?;
    facts.set_item("batch_number", place.batch_number)?;
    facts.set_item("chain", place.chain)?;
    Ok(facts)
}

fn place_from(place: &Bound<'_, PyDict>) -> PyResult<Place> {
    Ok(Place {
        channel: place.as_any().get_item("channel")?.extract()?,
        journal_id: place.as_any().get_item("journal_id")?.extract()?,
        epoch: place.as_any().get_item("epoch")?.extract()?,
        sequence: place.as_any().get_item("sequence")?.extract()?,
        batch_number: place.as_any().get_item("batch_number")?.extract()?,
        chain: place.as_any().get_item("chain")?.extract()?,
    })
}

/// Sequences, rising, of the newest `count` snapshots of a venue up to `sequence_max` that a start could begin behind, and why newer
/// ones could not be used.
#[pyfunction]
pub fn usable_venue_snapshots(
    py: Python<'_>,
    journal_dir: PathBuf,
    snapshots_dir: PathBuf,
    sequence_max: u64,
    count: usize,
) -> PyResult<(Vec<u64>, Vec<String>)> {
    py.detach(|| tidebook_plane::usable_venue_snapshots(&journal_dir, &snapshots_dir, sequence_max, count))
        .map_err(|error| Raised::from(error).into())
}

/// The same of the market data of a venue, whose names are in `names_file`.
#[pyfunction]
pub fn usable_market_data_snapshots(
    py: Python<'_>,
    journal_dir: PathBuf,
    names_file: PathBuf,
    snapshots_dir: PathBuf,
    sequence_max: u64,
    count: usize,
) -> PyResult<(Vec<u64>, Vec<String>)> {
    py.detach(|| {
        tidebook_plane::usable_market_data_snapshots(&journal_dir, &names_file, &snapshots_dir, sequence_max, count)
    })
    .map_err(|error| Raised::from(error).into())
}

/// Whether a snapshot, of whatever kind of state, is whole and of this journal's history.
#[pyfunction]
pub fn snapshot_is_of_history(py: Python<'_>, journal: PathBuf, snapshots: PathBuf, sequence: u64) -> PyResult<bool> {
    let directory = |path| Arc::new(Directory::new(path)) as Arc<dyn Storage>;
    py.detach(|| snapshot::is_of_history(&directory(journal), &directory(snapshots), sequence)).map_err(raised)
}
