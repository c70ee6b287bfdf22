//! Venues and the names of their instruments.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidebook_types::Venue;

use crate::decoder::venue_of;

/// Name of every venue by its number, which is the top byte of an instrument id.
#[pyfunction]
pub fn venues(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let by_number = PyDict::new(py);
    for venue in Venue::ALL {
        by_number.set_item(venue as u8, venue.name())?;
    }
    Ok(by_number)
}

/// The name of the instrument that the venue calls `symbol`.
#[pyfunction]
pub fn instrument_name(venue: &str, symbol: &str) -> PyResult<String> {
    Ok(venue_of(venue)?.instrument_name(symbol))
}
