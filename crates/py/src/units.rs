//! Decimal text to integer units and back, for Python's edges.

use crate::errors::Raised;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tidebook_types::units::EXPONENT_MAX;

fn check_exponent(exponent: u8) -> PyResult<u8> {
    if exponent > EXPONENT_MAX {
        return Err(PyValueError::new_err(format!("exponent {exponent} exceeds {EXPONENT_MAX}")));
    }
    Ok(exponent)
}

/// Integer units of the decimal `text` at `exponent`: exact or an error, never rounded.
#[pyfunction]
pub fn parse_units(text: &str, exponent: u8) -> PyResult<i64> {
    let exponent = check_exponent(exponent)?;
    Ok(tidebook_types::parse_units(text.as_bytes(), exponent)
        .map_err(|error| Raised::from(error).about(&format!("{text:?}")))?)
}

/// Decimal text of `units` with exactly `exponent` decimals.
#[pyfunction]
pub fn format_units(units: i64, exponent: u8) -> PyResult<String> {
    Ok(tidebook_types::format_units(units, check_exponent(exponent)?))
}
