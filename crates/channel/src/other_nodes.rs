//! Rings that other nodes of this machine have for the same journal.
//!
//! A journal may be opened by one node today and by another tomorrow, and each has a ring of its own. What the ring of one holds
//! that was published and never synced, as its owner was killed, is nowhere else; the next messages of another would get the same
//! numbers, and it could never be journaled. So whoever opens a journal looks at the rings of that channel under all nodes, and
//! is refused while one of them has more. So it is with rings in places of their own, which the journal notes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidebook_journal::storage::Storage;
use tidebook_journal::{JournalError, inspect_storage, is_put_back};
use tidebook_ring::{Ring, paths};

use crate::channel::{belongs, shares_last};
use crate::error::ChannelError;
use crate::link;

/// Refuses a journal that the ring of another node goes on with, if that has messages behind the journal's last.
///
/// Of a journal that was put back from a copy nothing is refused: its next epoch is another one, and it is for that.
pub(crate) fn refuse_if_one_has_more(
    ring: &Path,
    storage: &Arc<dyn Storage>,
    journal: &Path,
) -> Result<(), ChannelError> {
    for other in rings_of_others(ring, journal) {
        // What cannot be opened is of another boot or another user, or has gone.
        let Ok(found) = Ring::open(&other) else { continue };
        if !leads_to(&other, journal) {
            continue;
        }
        let state = match inspect_storage(storage) {
            Err(JournalError::Absent { .. }) => return Ok(()),
            inspected => inspected?,
        };
        let is_of_epoch = belongs(&found, state.journal_id) && found.info().epoch >> 32 == u64::from(state.epoch);
        let (published, last) = (found.published(), state.last_sequence);
        if is_of_epoch && published > last && shares_last(&found, storage, last)? && !is_put_back(&**storage)? {
            let (ring, journal) = (other, journal.to_owned());
            return Err(ChannelError::OtherNode { ring, journal, unsynced: published - last });
        }
    }
    Ok(())
}

/// The files of the same name under the other nodes, if this ring is where rings of nodes are, and those that the journal notes.
fn rings_of_others(ring: &Path, journal: &Path) -> Vec<PathBuf> {
    let others = || -> io::Result<Vec<PathBuf>> {
        let ring = std::path::absolute(ring)?;
        let (Some(node), Some(name)) = (ring.parent(), ring.file_name()) else { return Ok(Vec::new()) };
        let root = paths::rings_root().canonicalize()?;
        // Nobody's other directories are looked into. That of a new node is not there yet.
        if !node.parent().is_some_and(|above| above.canonicalize().is_ok_and(|above| above == root)) {
            return Ok(Vec::new());
        }
        let nodes = root.read_dir()?.filter_map(|entry| Some(entry.ok()?.file_name()));
        let others = nodes.filter(|other| Some(&**other) != node.file_name());
        Ok(others.map(|other| root.join(other).join(name)).filter(|path| path.is_file()).collect())
    };
    let mut found = others().unwrap_or_default();
    found.extend(link::rings_of(journal).unwrap_or_default());
    let real = |path: &PathBuf| path.canonicalize().ok();
    let own = ring.canonicalize().ok();
    found.retain(|other| real(other).is_some_and(|other| Some(other) != own));
    found
}

/// Whether a ring's owner has opened its journal here last.
fn leads_to(ring: &Path, journal: &Path) -> bool {
    let target = link::journal_of(ring).ok().and_then(|target| target.canonicalize().ok());
    target.is_some_and(|target| journal.canonicalize().is_ok_and(|journal| journal == target))
}
