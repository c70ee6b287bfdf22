//! The ends of `tidebook channel bench`: each opens its rings by path, runs and gives what it measured.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use tidebook_ring::{Consumer, ConsumerOptions, Producer, Ring, RingError, Start, Wait, measure};

use crate::ring_errors::raised;

fn producer(path: &Path) -> Result<Producer, RingError> {
    Ring::open(path)?.producer()
}

fn consumer(path: &Path, spin: bool) -> Result<Consumer, RingError> {
    let wait = if spin { Wait::Spin } else { Wait::Hybrid };
    Ring::open(path)?.consumer(&ConsumerOptions::named("bench").start(Start::Resume).wait(wait))
}

/// Round trips of a message that another process sends back, ns each.
#[pyfunction]
pub fn measure_hand_over(
    py: Python<'_>,
    out: PathBuf,
    back: PathBuf,
    size_bytes: usize,
    rounds: usize,
    spin: bool,
) -> PyResult<Vec<u64>> {
    let payload = vec![7; size_bytes];
    py.detach(|| measure::hand_over(&mut producer(&out)?, &mut consumer(&back, spin)?, &payload, rounds))
        .map_err(raised)
}

/// The other end of it: how many it sent back.
#[pyfunction]
pub fn measure_echo(
    py: Python<'_>,
    out: PathBuf,
    back: PathBuf,
    size_bytes: usize,
    rounds: usize,
    spin: bool,
) -> PyResult<usize> {
    let payload = vec![7; size_bytes];
    py.detach(|| measure::echo(&mut producer(&back)?, &mut consumer(&out, spin)?, &payload, rounds)).map_err(raised)
}

/// Writes messages as fast as there is room: how many.
#[pyfunction]
pub fn measure_stream(py: Python<'_>, path: PathBuf, size_bytes: usize, count: usize) -> PyResult<usize> {
    let payload = vec![7; size_bytes];
    py.detach(|| measure::stream(&mut producer(&path)?, &payload, count)).map_err(raised)
}

/// Reads messages: how many, and seconds from the first on.
#[pyfunction]
pub fn measure_drain(py: Python<'_>, path: PathBuf, count: usize, spin: bool) -> PyResult<(usize, f64)> {
    let (done, took) = py.detach(|| measure::drain(&mut consumer(&path, spin)?, count)).map_err(raised)?;
    Ok((done, took.as_secs_f64()))
}
