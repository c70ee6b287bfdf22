//! `RingView`: a ring opened to be looked at, and what walks over it and checks it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use tidebook_ring::{Verifier, Walked, Walker};

use crate::ring::access;
use crate::ring_consumer::{Gap, at_least_one};
use crate::ring_errors::{raised, unavailable};
use crate::ring_status;

/// A ring that can be read and not changed.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingView(tidebook_ring::RingView);

#[pymethods]
impl RingView {
    /// Opens a ring that exists, for reading.
    #[staticmethod]
    #[pyo3(signature = (path, *, group=None, allow_others=false))]
    fn open(path: PathBuf, group: Option<u32>, allow_others: bool) -> PyResult<Self> {
        tidebook_ring::RingView::open(path, access(group, allow_others)).map(Self).map_err(raised)
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Whether its file still has a name.
    fn has_name(&self) -> PyResult<bool> {
        self.0.has_name().map_err(raised)
    }

    /// What it was made with.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        ring_status::info_as_dict(py, self.0.info())
    }

    /// How it stands.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = py.detach(|| self.0.status()).map_err(raised)?;
        ring_status::as_dict(py, &status)
    }

    /// A walk over its messages.
    #[pyo3(signature = (first=0, *, peek=false))]
    fn walk(&self, py: Python<'_>, first: u64, peek: bool) -> PyResult<RingWalker> {
        self.0.check_size().map_err(raised)?;
        Ok(RingWalker(Mutex::new(py.detach(|| self.0.walk(first, peek)))))
    }

    /// A check of its lines and every committed frame.
    fn verify(&self, py: Python<'_>) -> PyResult<RingVerifier> {
        self.0.check_size().map_err(raised)?;
        Ok(RingVerifier(Mutex::new(py.detach(|| self.0.verify()))))
    }
}

/// A message that cannot be read: a value, not an error.
#[pyclass(frozen, eq, module = "tidebook._core")]
#[derive(PartialEq, Eq)]
pub struct Damage(tidebook_ring::Damage);

#[pymethods]
impl Damage {
    #[getter]
    fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Messages that cannot be read because of it, itself included.
    #[getter]
    fn lost(&self) -> u64 {
        self.0.lost
    }

    /// Byte of the file.
    #[getter]
    fn offset(&self) -> u64 {
        self.0.offset
    }

    #[getter]
    fn what(&self) -> &str {
        &self.0.what
    }

    fn __repr__(&self) -> String {
        let tidebook_ring::Damage { sequence, lost, offset, what } = &self.0;
        format!("Damage(sequence={sequence}, lost={lost}, offset={offset}, what={what:?})")
    }
}

/// Messages that a walk has copied.
#[pyclass(frozen, module = "tidebook._core")]
#[derive(Default)]
pub struct Seen {
    sequences: Vec<u64>,
    bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<usize>,
}

#[pymethods]
impl Seen {
    fn __len__(&self) -> usize {
        self.sequences.len()
    }

    /// Little-endian u64 of each.
    #[getter]
    fn sequences<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes: Vec<u8> = self.sequences.iter().flat_map(|sequence| sequence.to_le_bytes()).collect();
        PyBytes::new(py, &bytes)
    }

    /// All payloads, one after the other.
    #[getter]
    fn payloads<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.bytes)
    }

    /// The payloads.
    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let payloads: Vec<_> =
            starts.zip(&self.ends).map(|(start, end)| PyBytes::new(py, &self.bytes[*start..*end])).collect();
        PyList::new(py, payloads)
    }
}

/// What a walk gives.
#[derive(IntoPyObject)]
pub enum Sight {
    /// At least one message.
    Seen(Seen),
    /// See [`Gap`].
    Gap(Gap),
    /// See [`Damage`].
    Damage(Damage),
}

/// A reader without a line.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingWalker(Mutex<Walker>);

#[pymethods]
impl RingWalker {
    #[getter]
    fn next_sequence(&self) -> PyResult<u64> {
        Ok(lock(&self.0)?.next_sequence())
    }

    /// Up to `limit` messages, the gap or the damage before the next one, or `None` when nothing new is visible.
    fn read(&self, py: Python<'_>, limit: isize, size_max_bytes: usize) -> PyResult<Option<Sight>> {
        let limit = at_least_one(limit)?;
        let mut walker = lock(&self.0)?;
        let walker = &mut *walker;
        walker.check_size().map_err(raised)?;
        let mut seen = Seen::default();
        let walked = py.detach(|| {
            walker.read(limit, size_max_bytes, |sequence, payload| {
                seen.sequences.push(sequence);
                seen.bytes.extend_from_slice(payload);
                seen.ends.push(seen.bytes.len());
            })
        });
        Ok(match walked {
            Walked::Messages(0) => None,
            Walked::Messages(_) => Some(Sight::Seen(seen)),
            Walked::Gap(gap) => Some(Sight::Gap(gap.into())),
            Walked::Damage(damage) => Some(Sight::Damage(Damage(damage))),
        })
    }
}

/// A check in progress.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RingVerifier(Mutex<Verifier>);

#[pymethods]
impl RingVerifier {
    #[getter]
    fn next_sequence(&self) -> PyResult<u64> {
        Ok(lock(&self.0)?.next_sequence())
    }

    /// Looks at up to `limit` messages; false when there are no more.
    fn step(&self, py: Python<'_>, limit: usize) -> PyResult<bool> {
        let mut verifier = lock(&self.0)?;
        let verifier = &mut *verifier;
        verifier.check_size().map_err(raised)?;
        Ok(py.detach(|| verifier.step(limit)))
    }

    /// What was found so far.
    fn found<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let verifier = lock(&self.0)?;
        let found = verifier.found();
        let dict = PyDict::new(py);
        for (name, value) in [
            ("first", found.first),
            ("last", found.last),
            ("messages", found.messages),
            ("voids", found.voids),
            ("overwritten", found.overwritten),
            ("size_bytes", found.size_bytes),
            ("problem_count", found.problem_count),
        ] {
            dict.set_item(name, value)?;
        }
        let problems = found.problems.iter().map(|problem| {
            let dict = PyDict::new(py);
            dict.set_item("sequence", problem.sequence)?;
            dict.set_item("offset", problem.offset)?;
            dict.set_item("lost", problem.lost)?;
            dict.set_item("what", &problem.what)?;
            Ok(dict)
        });
        dict.set_item("problems", problems.collect::<PyResult<Vec<_>>>()?)?;
        Ok(dict)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> PyResult<MutexGuard<'_, T>> {
    mutex.try_lock().map_err(|_| unavailable("walk", "is being used by another thread"))
}
