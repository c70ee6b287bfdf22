//! One directory of snapshots of one state: written whole or not at all, verified from the disk, rotated.
//!
//! A snapshot gets its name when its bytes are synced, were read back from the disk, verified, and proven by whatever who
//! writes it asks for; what fails that leaves no file. Only then may an older one go. Verifying reads with `pread`, so that a
//! bad sector is an error that names the file and not a signal; the mapping that a state is loaded from comes after. Snapshots
//! that are damaged or cannot be used count for nothing and stay until as many good ones are newer: somebody may want to look
//! at them.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{SnapshotError, io_error};
use super::frame::{
    self, Footer, HeaderFault, NAME_SIZE_BYTES_MAX, Place, SNAPSHOT_FOOTER_SIZE_BYTES, SNAPSHOT_FORMAT_VERSION,
    SNAPSHOT_HEADER_SIZE_BYTES, SnapshotFault, SnapshotHeader,
};
use super::recovery::check_hashes;
use crate::mapped::Mapped;
use crate::state::State;
use crate::storage::{self, Access, Storage, StorageFile, StorageLock, is_absent, read_full_at, write_all_at};

const LOCK_NAME: &str = "lock";
/// Bytes written or read at once.
const CHUNK_SIZE_BYTES: usize = 1 << 20;
/// Bytes written between two syncs: a journal on the same disk waits behind this much at most, not behind the whole
/// snapshot.
const SYNC_SIZE_BYTES: u64 = 8 << 20;
/// Fewest snapshots a store keeps: one to use, and one for when that is damaged.
pub(crate) const KEEP_MIN: usize = 2;

/// What a snapshot that verified is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Where it is.
    pub path: PathBuf,
    /// What its header says.
    pub header: SnapshotHeader,
    /// Hash of the state.
    pub state_hash: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
}

impl SnapshotFacts {
    /// Last message it covers.
    pub fn sequence(&self) -> u64 {
        self.header.place.sequence
    }
}

/// A verified snapshot with its content mapped.
#[derive(Debug)]
pub struct Snapshot {
    /// What it is.
    pub facts: SnapshotFacts,
    bytes: Mapped,
}

impl Snapshot {
    /// Loads a new `state` from it and compares the hashes, the recomputed one too where the state has it.
    ///
    /// # Errors
    /// What [`State::load`] or [`State::hashes`] returned, or [`SnapshotError::StateHash`]. The state is not used after it.
    pub fn load_into(&self, state: &mut (impl State + ?Sized)) -> Result<(), SnapshotError> {
        let SnapshotFacts { path, header, state_hash: expected, .. } = &self.facts;
        let (ours, found) = (state.version(), header.state_version);
        if !state.reads(found) {
            let (path, kind) = (path.clone(), header.kind.clone());
            return Err(SnapshotError::StateVersion { path, kind, expected: ours, found });
        }
        state.load(self)?;
        // The hash of another version is one of other fields.
        if found != ours {
            return Ok(());
        }
        let hashes = state.hashes()?;
        for found in [Some(hashes.kept), hashes.recomputed].into_iter().flatten() {
            if found != *expected {
                return Err(SnapshotError::StateHash { path: path.clone(), expected: *expected, found });
            }
        }
        Ok(())
    }
}

impl Deref for Snapshot {
    type Target = [u8];

    /// The content, at a multiple of 4096.
    fn deref(&self) -> &[u8] {
        &self.bytes[SNAPSHOT_HEADER_SIZE_BYTES..][..self.facts.header.content_size_bytes as usize]
    }
}

/// What [`SnapshotStore::rotate`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Sequences of the snapshots that verified and stay, rising.
    pub kept: Vec<u64>,
    /// Sequences of those removed, rising.
    pub removed: Vec<u64>,
    /// Sequences of those between them that do not verify or cannot be used, rising; they stay too.
    pub damaged: Vec<u64>,
}

/// Snapshots of one kind of state in one directory. Clones are the same store.
#[derive(Clone)]
pub struct SnapshotStore {
    storage: Arc<dyn Storage>,
    kind: String,
    /// Files this process has verified: name and size. What rots later is found by recovery, which verifies anew.
    verified: Arc<Mutex<BTreeSet<(u64, u64)>>>,
    /// Those that could be used when that was last looked at.
    usable: Arc<Mutex<BTreeSet<u64>>>,
    /// Somebody begins behind one up to each of these, see [`SnapshotStore::spare`].
    spared: Arc<Mutex<Vec<u64>>>,
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SnapshotStore({} in {})", self.kind, self.storage.path("").display())
    }
}

impl SnapshotStore {
    /// The store of states of `kind` in the directory `path`, which need not exist yet.
    ///
    /// # Errors
    /// [`SnapshotError::Option`] when `kind` is not 1 to 255 bytes of `a-z 0-9 . _ -`.
    pub fn open(path: &Path, kind: &str) -> Result<Self, SnapshotError> {
        Self::open_storage(storage::directory(path), kind)
    }

    /// As [`Self::open`], over any storage.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_storage(storage: Arc<dyn Storage>, kind: &str) -> Result<Self, SnapshotError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if kind.is_empty() || kind.len() > NAME_SIZE_BYTES_MAX || !kind.bytes().all(allowed) {
            let rule = "1 to 255 bytes of a-z 0-9 . _ -";
            return Err(SnapshotError::Option { option: "kind", value: kind.into(), rule });
        }
        Ok(Self {
            storage,
            kind: kind.into(),
            verified: Arc::default(),
            usable: Arc::default(),
            spared: Arc::default(),
        })
    }

    /// Kind of the states.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The directory.
    pub fn path(&self) -> PathBuf {
        self.storage.path("")
    }

    /// Sequences of the snapshots there are, rising; whether they verify is not known by this.
    ///
    /// # Errors
    /// When the directory cannot be listed; one that does not exist is empty.
    pub fn list(&self) -> Result<Vec<u64>, SnapshotError> {
        let mut sequences: Vec<u64> = self.names()?.iter().filter_map(|name| frame::sequence_of(name)).collect();
        sequences.sort_unstable();
        Ok(sequences)
    }

    /// Writes a snapshot of `state`, which stands at `place`, reads it back from the disk and verifies it. A state whose
    /// two hashes differ is not written.
    ///
    /// One that is there already is left alone if it verifies and has the same state hash, else written anew.
    ///
    /// # Errors
    /// [`SnapshotError::Diverged`]; [`SnapshotError::Kind`] for a state of another kind than the store's; what
    /// [`State::hashes`] returned; what the disk did. The snapshots before are as they were; nothing half made is left.
    ///
    /// # Panics
    /// When `place` is before the first message or its channel's name is no journal's.
    pub fn write(
        &self,
        state: &(impl State + ?Sized),
        place: &Place,
        created_ns: i64,
    ) -> Result<SnapshotFacts, SnapshotError> {
        self.write_proven(state, place, created_ns, |_| Ok(()))
    }

    /// As [`Self::write`], and it has its name only once `prove` has agreed to what was read back: one that fails leaves
    /// no file. One that is there already has to be agreed to as well.
    ///
    /// # Errors
    /// As [`Self::write`]; what `prove` returned.
    ///
    /// # Panics
    /// As [`Self::write`].
    pub fn write_proven(
        &self,
        state: &(impl State + ?Sized),
        place: &Place,
        created_ns: i64,
        mut prove: impl FnMut(&Snapshot) -> Result<(), SnapshotError>,
    ) -> Result<SnapshotFacts, SnapshotError> {
        assert!(place.sequence > 0, "a snapshot stands behind a message");
        if state.kind() != self.kind {
            let (path, expected, found) = (self.path(), self.kind.clone(), state.kind().to_owned());
            return Err(SnapshotError::Kind { path, expected, found });
        }
        let state_hash = check_hashes(state, place.sequence)?;
        let _lock = self.lock()?;
        self.remove_unfinished()?;
        if let Ok(found) = self.load(place.sequence)
            && (&found.facts.header.place, found.facts.header.state_version, found.facts.state_hash)
                == (place, state.version(), state_hash)
            && prove(&found).is_ok()
        {
            return Ok(found.facts);
        }
        let header = SnapshotHeader {
            kind: self.kind.clone(),
            state_version: state.version(),
            place: place.clone(),
            created_ns,
            content_size_bytes: 0,
        };
        let (unfinished, name) = (frame::unfinished_name(place.sequence), frame::file_name(place.sequence));
        let path = self.storage.path(&unfinished);
        let file = self.storage.create(&unfinished).map_err(io_error("create", &path))?;
        let named = write_file(&*file, header, state, state_hash).map_err(io_error("write", &path)).and_then(|()| {
            // What the disk holds, and not what this process meant to write.
            file.forget_cached().map_err(io_error("read", &path))?;
            let (facts, file) = self.check_file(&unfinished, place.sequence)?;
            let snapshot = mapped(facts, &*file)?;
            prove(&snapshot)?;
            self.usable().remove(&place.sequence);
            self.storage.rename(&unfinished, &name).map_err(io_error("rename", &path))?;
            self.storage.sync_directory().map_err(io_error("sync", &self.path()))?;
            Ok(snapshot.facts)
        });
        match named {
            Ok(facts) => {
                self.known().insert((place.sequence, facts.size_bytes));
                Ok(SnapshotFacts { path: self.storage.path(&name), ..facts })
            }
            Err(error) => {
                // Best effort: the next write removes it too.
                drop(self.storage.remove(&unfinished));
                Err(error)
            }
        }
    }

    /// Reads every byte of the snapshot at `sequence`.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] with what shows it, [`SnapshotError::Version`], [`SnapshotError::Kind`],
    /// [`SnapshotError::Absent`].
    pub fn verify(&self, sequence: u64) -> Result<SnapshotFacts, SnapshotError> {
        Ok(self.check(sequence)?.0)
    }

    /// Verifies the snapshot at `sequence` and maps it.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn load(&self, sequence: u64) -> Result<Snapshot, SnapshotError> {
        let (facts, file) = self.check(sequence)?;
        mapped(facts, &*file)
    }

    /// Has every rotation from now on leave the newest 2 up to each of these sequences too: somebody who is no further will begin
    /// behind one of them.
    pub fn spare(&self, sequences: &[u64]) {
        *self.spared.lock().unwrap_or_else(PoisonError::into_inner) = sequences.to_vec();
    }

    /// Removes what is older than the newest `keep` that verify. Damaged ones among these count for nothing and stay.
    ///
    /// # Errors
    /// [`SnapshotError::Option`] when `keep` is less than 2; what the disk returned.
    pub fn rotate(&self, keep: usize) -> Result<Rotation, SnapshotError> {
        self.rotate_by(
            keep,
            |sequence, anew| {
                if anew { Ok(self.verify(sequence).is_ok()) } else { self.was_verified(sequence) }
            },
        )
    }

    /// As [`Self::rotate`], but what counts is `usable` too, as far as a start would ask: those that it would begin with are
    /// asked each time, others once.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_usable(
        &self,
        keep: usize,
        mut usable: impl FnMut(&Snapshot) -> bool,
    ) -> Result<Rotation, SnapshotError> {
        self.rotate_by(keep, |sequence, anew| {
            if !anew && self.usable().contains(&sequence) && self.was_verified(sequence)? {
                return Ok(true);
            }
            let can_be = self.load(sequence).is_ok_and(|snapshot| usable(&snapshot));
            let mut known = self.usable();
            if can_be {
                known.insert(sequence)
            } else {
                known.remove(&sequence)
            };
            Ok(can_be)
        })
    }

    /// `counts` says whether a snapshot does, looked at anew or as it was known.
    fn rotate_by(
        &self,
        keep: usize,
        mut counts: impl FnMut(u64, bool) -> Result<bool, SnapshotError>,
    ) -> Result<Rotation, SnapshotError> {
        if keep < KEEP_MIN {
            let rule = "at least 2: one to use, and one for when that is damaged";
            return Err(SnapshotError::Option { option: "keep_snapshots", value: keep.to_string(), rule });
        }
        let _lock = self.lock()?;
        // A name that is not durable yet must not be what an older snapshot goes for.
        self.storage.sync_directory().map_err(io_error("sync", &self.path()))?;
        let spared = self.spared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Each with how many of those up to it stay.
        let mut spared: Vec<_> = spared.into_iter().map(|sequence| (sequence, 0)).collect();
        let (mut rotation, mut newest_count) = (Rotation::default(), 0);
        for sequence in self.list()?.into_iter().rev() {
            let is_spared = spared.iter().any(|&(upto, count)| sequence <= upto && count < KEEP_MIN);
            if newest_count == keep && !is_spared {
                let name = frame::file_name(sequence);
                self.storage.remove(&name).map_err(io_error("remove", &self.storage.path(&name)))?;
                rotation.removed.push(sequence);
                continue;
            }
            // Those that recovery would use are read anew, however often they were.
            if counts(sequence, newest_count < KEEP_MIN)? {
                newest_count = keep.min(newest_count + 1);
                spared.iter_mut().filter(|(upto, _)| sequence <= *upto).for_each(|(_, count)| *count += 1);
                rotation.kept.push(sequence);
            } else {
                rotation.damaged.push(sequence);
            }
        }
        if !rotation.removed.is_empty() {
            self.storage.sync_directory().map_err(io_error("sync", &self.path()))?;
        }
        for sequences in [&mut rotation.kept, &mut rotation.removed, &mut rotation.damaged] {
            sequences.reverse();
        }
        Ok(rotation)
    }

    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        match self.storage.names() {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            names => names.map_err(io_error("list", &self.path())),
        }
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, SnapshotError> {
        self.storage.create_directory().map_err(io_error("create", &self.path()))?;
        let path = self.storage.path(LOCK_NAME);
        let lock = self.storage.try_lock(LOCK_NAME).map_err(io_error("lock", &path))?;
        lock.ok_or(SnapshotError::Locked { path })
    }

    fn remove_unfinished(&self) -> Result<(), SnapshotError> {
        for name in self.names()?.iter().filter(|name| frame::is_unfinished(name)) {
            self.storage.remove(name).map_err(io_error("remove", &self.storage.path(name)))?;
        }
        Ok(())
    }

    /// Whether the snapshot verifies, or did the last time in this process.
    fn was_verified(&self, sequence: u64) -> Result<bool, SnapshotError> {
        let name = frame::file_name(sequence);
        let path = self.storage.path(&name);
        let file = self.storage.open(&name, Access::Read).map_err(io_error("open", &path))?;
        let size_bytes = file.size_bytes().map_err(io_error("read", &path))?;
        let known = self.known().contains(&(sequence, size_bytes));
        Ok(known || self.check(sequence).is_ok())
    }

    fn usable(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.usable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, sequence: u64) -> Result<(SnapshotFacts, Box<dyn StorageFile>), SnapshotError> {
        let checked = self.check_file(&frame::file_name(sequence), sequence);
        let mut known = self.known();
        known.retain(|&(other, _)| other != sequence);
        known.extend(checked.as_ref().ok().map(|(facts, _)| (sequence, facts.size_bytes)));
        drop(known);
        checked
    }

    fn check_file(&self, name: &str, sequence: u64) -> Result<(SnapshotFacts, Box<dyn StorageFile>), SnapshotError> {
        let path = self.storage.path(name);
        let file = match self.storage.open(name, Access::Read) {
            Err(error) if is_absent(&error) => return Err(SnapshotError::Absent { path }),
            file => file.map_err(io_error("open", &path))?,
        };
        let (header, footer) = match read_file(&*file) {
            Ok(read) => read,
            Err(ReadError::Io(error)) => return Err(io_error("read", &path)(error)),
            Err(ReadError::Fault(fault)) => return Err(SnapshotError::Damaged { path, fault }),
            Err(ReadError::Version(found)) => {
                return Err(SnapshotError::Version { path, found, supported: SNAPSHOT_FORMAT_VERSION });
            }
        };
        if header.place.sequence != sequence {
            let fault = SnapshotFault::Name { found: header.place.sequence };
            return Err(SnapshotError::Damaged { path, fault });
        }
        if header.kind != self.kind {
            return Err(SnapshotError::Kind { path, expected: self.kind.clone(), found: header.kind });
        }
        let size_bytes = header.file_size_bytes().expect("a size that was read");
        Ok((SnapshotFacts { path, header, state_hash: footer.state_hash, size_bytes }, file))
    }
}

fn mapped(facts: SnapshotFacts, file: &dyn StorageFile) -> Result<Snapshot, SnapshotError> {
    let bytes = file.map(facts.size_bytes).map_err(io_error("map", &facts.path))?;
    Ok(Snapshot { facts, bytes })
}

/// Content, footer and last the header, which then knows the content's size; durable when this returns.
fn write_file(
    file: &dyn StorageFile,
    mut header: SnapshotHeader,
    state: &(impl State + ?Sized),
    state_hash: u64,
) -> io::Result<()> {
    let mut content = ContentWriter {
        file,
        buffer: Vec::with_capacity(CHUNK_SIZE_BYTES),
        offset: SNAPSHOT_HEADER_SIZE_BYTES as u64,
        unsynced_size_bytes: 0,
        hasher: blake3::Hasher::new(),
    };
    state.save(&mut content)?;
    content.hand_over()?;
    header.content_size_bytes = content.offset - SNAPSHOT_HEADER_SIZE_BYTES as u64;
    let head = header.encode();
    let hash = content.hasher.update(&head).finalize();
    let mut end = vec![0; header.padding_size_bytes() as usize];
    end.extend_from_slice(zerocopy::IntoBytes::as_bytes(&Footer::new(hash.into(), state_hash)));
    write_all_at(file, &end, content.offset)?;
    write_all_at(file, &head, 0)?;
    file.sync()
}

/// Hashes and writes what a state saves, in large pieces.
struct ContentWriter<'a> {
    file: &'a dyn StorageFile,
    buffer: Vec<u8>,
    offset: u64,
    unsynced_size_bytes: u64,
    hasher: blake3::Hasher,
}

impl ContentWriter<'_> {
    fn hand_over(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        write_all_at(self.file, &self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.unsynced_size_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced_size_bytes >= SYNC_SIZE_BYTES {
            self.unsynced_size_bytes = 0;
            self.file.sync()?;
        }
        Ok(())
    }
}

impl Write for ContentWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_SIZE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_SIZE_BYTES {
            self.hand_over()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum ReadError {
    Io(io::Error),
    Fault(SnapshotFault),
    Version(u32),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads every byte of the file and judges it, from the outside in: header, size, footer, content.
fn read_file(file: &dyn StorageFile) -> Result<(SnapshotHeader, Footer), ReadError> {
    let fault = |fault| Err(ReadError::Fault(fault));
    let mut head = vec![0; SNAPSHOT_HEADER_SIZE_BYTES];
    let read = read_full_at(file, &mut head, 0)?;
    let header = match SnapshotHeader::decode(&head[..read]) {
        Ok(header) => header,
        Err(HeaderFault::Invalid) => return fault(SnapshotFault::Header),
        Err(HeaderFault::Version(found)) => return Err(ReadError::Version(found)),
    };
    let found = file.size_bytes()?;
    let (Some(footer_offset), Some(expected)) = (header.footer_offset(), header.file_size_bytes()) else {
        return fault(SnapshotFault::Header);
    };
    if found != expected {
        return fault(SnapshotFault::Size { expected, found });
    }
    let mut end = [0; SNAPSHOT_FOOTER_SIZE_BYTES];
    let read = read_full_at(file, &mut end, footer_offset)?;
    let Some(footer) = Footer::decode(&end[..read]) else { return fault(SnapshotFault::Footer) };
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK_SIZE_BYTES];
    let content_end = SNAPSHOT_HEADER_SIZE_BYTES as u64 + header.content_size_bytes;
    let mut offset = SNAPSHOT_HEADER_SIZE_BYTES as u64;
    while offset < footer_offset {
        let size = (footer_offset - offset).min(CHUNK_SIZE_BYTES as u64) as usize;
        let piece = &mut buffer[..size];
        if read_full_at(file, piece, offset)? < size {
            return fault(SnapshotFault::Size { expected, found: file.size_bytes()? });
        }
        let (content, padding) = piece.split_at(content_end.saturating_sub(offset).min(size as u64) as usize);
        hasher.update(content);
        if padding.iter().any(|&byte| byte != 0) {
            return fault(SnapshotFault::Content);
        }
        offset += size as u64;
    }
    if *hasher.update(&head).finalize().as_bytes() != footer.hash {
        return fault(SnapshotFault::Content);
    }
    Ok((header, footer))
}
