//! BLAKE3 of bytes and of files: what a stored part and a recording are known by.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use tidebook_journal::storage::open_regular;

use crate::bytes::with_bytes;

/// 64 hexadecimal digits of bytes.
pub fn of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// BLAKE3-256 of anything with a contiguous buffer of bytes.
#[pyfunction]
pub fn blake3_of_bytes(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<String> {
    with_bytes(data, |bytes| Ok(py.detach(|| of(bytes))))
}

/// BLAKE3-256 of the bytes of a file.
#[pyfunction]
pub fn blake3_of_file(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let hash = || -> io::Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(open_regular(&path, OpenOptions::new().read(true))?)?;
        Ok(hasher.finalize().to_hex().to_string())
    };
    py.detach(hash).map_err(|error| as_python_raises_it(&error, &path))
}

/// The system's number, its text and the path, by which Python picks the class of the exception.
fn as_python_raises_it(error: &io::Error, path: &Path) -> PyErr {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    PyOSError::new_err((error.raw_os_error(), text, path.to_path_buf()))
}
