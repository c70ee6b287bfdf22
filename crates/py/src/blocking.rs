//! The one door for what may wait: the GIL is released, and Ctrl-C is answered while waiting.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::Raised;

/// How long Ctrl-C may take to be noticed.
const SLICE: Duration = Duration::from_millis(50);

/// A timeout as Python gives it: seconds, `None` for no end.
pub fn timeout(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    seconds
        .map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| PyValueError::new_err(format!("timeout {seconds}: must be seconds from 0 on, or None")))
        })
        .transpose()
}

/// Calls `step` with slices of the timeout, without the GIL, until it gives something; `None` when the time is over.
pub fn wait<T, E>(
    py: Python<'_>,
    timeout: Option<Duration>,
    mut step: impl FnMut(Duration) -> Result<Option<T>, E> + Send,
) -> PyResult<Option<T>>
where
    T: Send,
    E: Into<Raised> + Send,
{
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
        if let Some(found) = py.detach(|| step(left.min(SLICE))).map_err(|error| PyErr::from(error.into()))? {
            return Ok(Some(found));
        }
        py.check_signals()?;
        if left <= SLICE && deadline.is_some() {
            return Ok(None);
        }
    }
}
