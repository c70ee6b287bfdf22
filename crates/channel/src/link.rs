//! Where a ring's journal is, for processes that have only the ring.
//!
//! A symbolic link beside the ring, `<channel>.journal`, written by whoever owns the journal each time it opens it. A link
//! and not a field of the ring: the ring's superblock never changes, and a journal may be moved. Nothing is believed of
//! it: a journal is read for a ring only if it is the one whose id the ring's epoch carries. The journal knows its rings in turn:
//! who reads them is not known without, where they are in places of their own.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crc_fast::crc32_iso_hdlc;
use tidebook_journal::mark_rings_noted;
use tidebook_journal::storage::{create_private, open_regular_itself};

use crate::error::ChannelError;

/// The file of a journal's notes.
const RINGS: &str = "rings";
const RINGS_SIZE_MAX: u64 = 4 << 20;

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

/// Notes in a journal's directory where its ring is or is about to be, for who compacts it from elsewhere: the file `rings` has the
/// path of each ring it ever had ([`encode`]). Places are few, and a ring that is gone has no readers, so none is taken back. By the
/// journal's owner alone, before anybody can open the ring. What is damaged is written anew, with what can still be read of it.
pub(crate) fn note(journal: &Path, ring: &Path) -> Result<(), ChannelError> {
    let path = journal.join(RINGS);
    let failed = |source| ChannelError::Link { path: path.clone(), source };
    let place = std::path::absolute(ring).map_err(failed)?;
    let Noted { mut places, is_whole } = noted(journal).map_err(failed)?;
    if !is_whole || !places.contains(&place) {
        if !places.contains(&place) {
            places.push(place);
        }
        write(journal, &path, &encode(&places)).map_err(failed)?;
    }
    Ok(mark_rings_noted(journal)?)
}

/// Under another name first: who reads it meanwhile finds the old one or the new one, and so does who comes behind a power failure.
fn write(journal: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(journal)?.sync_all()
}

/// Where rings of a journal are or were, as far as it can be read.
pub(crate) fn rings_of(journal: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(noted(journal)?.places)
}

struct Noted {
    places: Vec<PathBuf>,
    /// It is there, and all that was written.
    is_whole: bool,
}

fn noted(journal: &Path) -> io::Result<Noted> {
    let mut content = Vec::new();
    match open_regular_itself(&journal.join(RINGS), OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => _ = opened?.take(RINGS_SIZE_MAX + 1).read_to_end(&mut content)?,
    }
    Ok(decode(&content))
}

/// Entries with a zero byte behind each: the CRC-32 of what follows in eight hexadecimal digits, a space, and that. The first is how
/// many follow, in decimal, the others a path each.
fn encode(places: &[PathBuf]) -> Vec<u8> {
    let count = places.len().to_string();
    let texts = std::iter::once(count.as_bytes()).chain(places.iter().map(|place| place.as_os_str().as_bytes()));
    texts.flat_map(|text| [format!("{:08x} ", crc32_iso_hdlc(text)).as_bytes(), text, &[0]].concat()).collect()
}

fn decode(content: &[u8]) -> Noted {
    let mut entries: Vec<&[u8]> = content.split(|byte| *byte == 0).collect();
    // Nothing is behind the last zero byte.
    let mut is_whole = entries.pop().is_some_and(<[u8]>::is_empty) && content.len() as u64 <= RINGS_SIZE_MAX;
    let texts: Vec<_> = entries.iter().map(|entry| verified(entry)).collect();
    is_whole &= texts.first().is_some_and(|count| *count == Some((texts.len() - 1).to_string().as_bytes()));
    is_whole &= texts.iter().all(Option::is_some);
    let paths = texts.iter().flatten().filter(|text| text.starts_with(b"/"));
    Noted { places: paths.map(|text| PathBuf::from(OsStr::from_bytes(text))).collect(), is_whole }
}

fn verified(entry: &[u8]) -> Option<&[u8]> {
    let (crc, text) = entry.split_at_checked(9)?;
    (crc == format!("{:08x} ", crc32_iso_hdlc(text)).as_bytes()).then_some(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_rings_read_back_and_what_is_damaged_is_told_and_costs_no_other() {
        let places = [PathBuf::from("/dev/shm/a.ring"), PathBuf::from("/some where/b.ring")];
        let content = encode(&places);
        let found = decode(&content);
        assert_eq!((found.places.as_slice(), found.is_whole), (&places[..], true));
        assert!(decode(&encode(&[])).is_whole);
        for length in 0..content.len() {
            assert!(!decode(&content[..length]).is_whole, "cut to {length}");
        }
        for bit in 0..content.len() * 8 {
            let mut damaged = content.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = decode(&damaged);
            assert!(!found.is_whole, "bit {bit}");
            // What has become one entry is lost with both of its paths.
            let was_end = content[bit / 8] == 0;
            assert!(was_end || !found.places.is_empty(), "bit {bit}");
            assert!(found.places.iter().all(|place| places.contains(place)), "bit {bit}");
        }
        assert!(!decode(&[content.as_slice(), b"x\0"].concat()).is_whole);
    }
}
