//! Examining and mending damaged journals.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_journal::{adopt, mark_put_back, repair};

use crate::errors::Raised;

/// What is damaged in a journal and what a cut would lose.
#[pyfunction]
#[pyo3(signature = (directory, evidence=0))]
pub fn examine_journal(py: Python<'_>, directory: PathBuf, evidence: u64) -> PyResult<Bound<'_, PyDict>> {
    let found =
        py.detach(|| repair::examine(&directory, evidence)).map_err(|error| PyErr::from(Raised::from(error)))?;
    let facts = PyDict::new(py);
    facts.set_item("first_sequence", found.first_sequence)?;
    facts.set_item("last_good", found.last_good)?;
    facts.set_item("last_known", found.last_known)?;
    facts.set_item("torn_bytes", found.tail.torn_bytes())?;
    facts.set_item("cut_begun", found.cut_begun)?;
    let mut findings = Vec::new();
    for finding in &found.findings {
        let one = PyDict::new(py);
        one.set_item("segment", finding.segment)?;
        one.set_item("offset", finding.offset)?;
        one.set_item("sequence", finding.sequence)?;
        one.set_item("damage", finding.damage.to_string())?;
        findings.push(one);
    }
    facts.set_item("findings", findings)?;
    Ok(facts)
}

/// What tells a journal from another of its channel, whatever is missing of it.
#[pyfunction]
pub fn damaged_journal_id(py: Python<'_>, directory: PathBuf) -> PyResult<Option<u64>> {
    py.detach(|| repair::journal_id(&directory)).map_err(|error| PyErr::from(Raised::from(error)))
}

/// Puts damaged segments back from a copy: (segment, why it was refused or None).
#[pyfunction]
pub fn restore_journal(py: Python<'_>, directory: PathBuf, source: PathBuf) -> PyResult<Vec<(u64, Option<String>)>> {
    let done = py.detach(|| repair::restore(&directory, &source)).map_err(|error| PyErr::from(Raised::from(error)))?;
    Ok(done.into_iter().map(|one| (one.segment, one.refused)).collect())
}

/// Makes a damaged journal end with its last good message, and go on behind all numbers that were ever given.
#[pyfunction]
#[pyo3(signature = (directory, sequence, evidence=0))]
pub fn cut_journal(py: Python<'_>, directory: PathBuf, sequence: u64, evidence: u64) -> PyResult<Bound<'_, PyDict>> {
    let cut =
        py.detach(|| repair::cut(&directory, sequence, evidence)).map_err(|error| PyErr::from(Raised::from(error)))?;
    let facts = PyDict::new(py);
    facts.set_item("last_sequence", cut.last_sequence)?;
    facts.set_item("next_sequence", cut.next_sequence)?;
    facts.set_item("lost", cut.lost)?;
    facts.set_item("quarantined", cut.quarantined)?;
    facts.set_item("epoch", cut.epoch)?;
    Ok(facts)
}

/// Has the next start of a journal that was put back from a copy take a new epoch.
#[pyfunction]
pub fn mark_journal_put_back(py: Python<'_>, directory: PathBuf) -> PyResult<()> {
    py.detach(|| mark_put_back(&directory)).map_err(|error| PyErr::from(Raised::from(error)))
}

/// Takes a journal that was moved for the one that was written last.
#[pyfunction]
pub fn adopt_journal(py: Python<'_>, directory: PathBuf) -> PyResult<()> {
    py.detach(|| adopt(&directory)).map_err(|error| PyErr::from(Raised::from(error)))
}
