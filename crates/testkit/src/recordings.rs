//! Recorded venue data for tests, which lives beside the repository and not in it.

use std::io::{Write, stderr};
use std::path::PathBuf;

/// Environment variable that names the folder of the recordings.
pub const FOLDER_VARIABLE: &str = "TIDEBOOK_DATA_RECORDINGS";

/// Folder of the recordings: the environment's, else `../shared/data` beside the repository.
pub fn folder() -> PathBuf {
    std::env::var_os(FOLDER_VARIABLE)
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from)
}

/// The decompressed bytes of the recording `name` (`binance-spot/btcusdt-20240808.log.zst`), or `None` with a visible
/// line when the recordings are not on this machine: the caller returns and its test counts as skipped.
///
/// # Panics
/// When the folder is there and the file is not, or cannot be read: then something is broken rather than missing.
pub fn recording(name: &str) -> Option<Vec<u8>> {
    let folder = folder();
    if !folder.is_dir() {
        // Straight to the stream: the test harness hides what print macros write in tests that pass.
        let _ = writeln!(stderr(), "SKIPPED: no recordings in {}; set {FOLDER_VARIABLE}", folder.display());
        return None;
    }
    let path = folder.join(name);
    let compressed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bytes = zstd::decode_all(&compressed[..]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(bytes)
}
