//! Where a ring's journal is, for processes that have only the ring.
//!
//! A symbolic link beside the ring, `<channel>.journal`, written by whoever owns the journal each time it opens it. A link
//! and not a field of the ring: the ring's superblock never changes, and a journal may be moved. Nothing is believed of
//! it: a journal is read for a ring only if it is the one whose id the ring's epoch carries. The journal knows its rings in turn:
//! who reads them is not known without, where they are in places of their own.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tidebook_journal::storage::{create_private, open_regular};

use crate::error::ChannelError;

/// The file of a journal's notes.
const RINGS: &str = "rings";

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

/// Notes in a journal's directory where its ring is, for who compacts it from elsewhere: the file `rings` has the path of each ring it
/// ever had, a zero byte behind each. Places are few, and a ring that is gone has no readers, so none is taken back. By the journal's
/// owner alone.
pub(crate) fn note(journal: &Path, ring: &Path) -> Result<(), ChannelError> {
    let path = journal.join(RINGS);
    let failed = |source| ChannelError::Link { path: path.clone(), source };
    let place = std::path::absolute(ring).map_err(failed)?;
    let mut known = rings_of(journal).map_err(failed)?;
    if known.contains(&place) {
        return Ok(());
    }
    known.push(place);
    let write = || -> io::Result<()> {
        // Under another name first: who reads it meanwhile finds the old one or the new one.
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create_private(&fresh)?;
        for place in &known {
            file.write_all(place.as_os_str().as_bytes())?;
            file.write_all(&[0])?;
        }
        std::fs::rename(&fresh, &path)
    };
    write().map_err(failed)
}

/// Where rings of a journal are or were, as it notes them.
pub(crate) fn rings_of(journal: &Path) -> io::Result<Vec<PathBuf>> {
    let mut content = Vec::new();
    match open_regular(&journal.join(RINGS), OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?.read_to_end(&mut content)?,
    };
    // Behind the last zero byte is what a power failure cut.
    let mut places: Vec<_> =
        content.split(|byte| *byte == 0).map(|place| PathBuf::from(OsStr::from_bytes(place))).collect();
    places.pop();
    Ok(places)
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
