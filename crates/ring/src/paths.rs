//! Where rings are: one directory per node, one file per channel, so a second process opens `md.trades` by name.

use std::path::{Path, PathBuf};

use crate::error::RingError;

/// Environment variable that replaces the default directory.
pub const DIRECTORY_VARIABLE: &str = "TIDEBOOK_RINGS";
/// Node when none is named.
pub const DEFAULT_NODE: &str = "default";

/// `$TIDEBOOK_RINGS/<node>`, else `/dev/shm/tidebook-<uid>/<node>`. Not made here.
///
/// # Errors
/// [`RingError::Option`] for a node name that is no file name.
pub fn ring_directory(node: &str) -> Result<PathBuf, RingError> {
    check_name("node", node)?;
    Ok(rings_root().join(node))
}

/// Where the directories of all nodes are.
pub fn rings_root() -> PathBuf {
    std::env::var_os(DIRECTORY_VARIABLE).filter(|value| !value.is_empty()).map_or_else(
        || shared_memory().join(format!("tidebook-{}", rustix::process::geteuid().as_raw())),
        PathBuf::from,
    )
}

/// Where files are memory. Only Linux has such a place; elsewhere the directory of temporary files.
fn shared_memory() -> PathBuf {
    if cfg!(target_os = "linux") { PathBuf::from("/dev/shm") } else { std::env::temp_dir() }
}

/// The file of a channel's ring: `<directory>/<channel>.ring`.
///
/// # Errors
/// [`RingError::Option`] for a channel name that is no file name.
pub fn ring_path(directory: &Path, channel: &str) -> Result<PathBuf, RingError> {
    check_name("channel", channel)?;
    Ok(directory.join(format!("{channel}.ring")))
}

fn check_name(option: &'static str, name: &str) -> Result<(), RingError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.bytes().all(fits) {
        let reason = "must be 1 to 128 letters, digits, dots, dashes or underscores and not start with a dot";
        return Err(RingError::Option { option, value: name.to_owned(), reason });
    }
    Ok(())
}
