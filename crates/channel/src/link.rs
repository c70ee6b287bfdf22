//! Where a ring's journal is, for processes that have only the ring.
//!
//! A symbolic link beside the ring, `<channel>.journal`, written by whoever owns the journal each time it opens it. A link
//! and not a field of the ring: the ring's superblock never changes, and a journal may be moved. Nothing is believed of
//! it: a journal is read for a ring only if it is the one whose id the ring's epoch carries.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::ChannelError;

/// Where the link of this ring is.
pub fn link_path(ring: &Path) -> PathBuf {
    ring.with_extension("journal")
}

/// Points the ring's link at its journal.
pub(crate) fn publish(ring: &Path, journal: &Path) -> Result<(), ChannelError> {
    let link = link_path(ring);
    let failed = |source| ChannelError::Link { path: link.clone(), source };
    let target = std::path::absolute(journal).map_err(failed)?;
    if std::fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    // Under another name first: who reads it meanwhile finds the old one or the new one.
    let fresh = ring.with_extension(format!("journal-{}", std::process::id()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::os::unix::fs::symlink(target, &fresh).map_err(failed)?;
    std::fs::rename(&fresh, &link).map_err(failed)
}

/// The journal that this ring's link points at.
pub(crate) fn journal_of(ring: &Path) -> Result<PathBuf, ChannelError> {
    std::fs::read_link(link_path(ring)).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ChannelError::NoJournal { ring: ring.to_owned() },
        _ => ChannelError::Link { path: link_path(ring), source },
    })
}

/// Whether this may be where the ring's journal was last: its link says so, or says nothing.
pub(crate) fn may_be_of(ring: &Path, journal: &Path) -> bool {
    let Ok(target) = std::fs::read_link(link_path(ring)) else { return true };
    std::path::absolute(journal).map_or(true, |journal| journal == target)
}
