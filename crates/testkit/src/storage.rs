//! A disk in memory that loses, tears, shortens and refuses.
//!
//! It keeps two states of every file: what a reader sees now, and what would be found after a power loss. A write
//! becomes pending sectors of 512 bytes; a sync makes them stable. [`MemoryStorage::power_loss`] keeps a random
//! subset of what is pending, sector by sector, in no order, and does the same with names until their directory is
//! synced. A failed sync behaves as Linux file systems do: the pages count as clean from then on and are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidebook_journal::storage::{Access, FileIdentity, Storage, StorageFile, StorageLock};

use crate::random::Random;

const SECTOR_SIZE_BYTES: usize = 512;

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `write_at`.
    Write,
    /// `sync` of a file.
    Sync,
    /// `sync_directory`.
    SyncDirectory,
    /// `reserve`.
    Reserve,
    /// `rename`.
    Rename,
    /// `read_at`.
    Read,
    /// `remove`.
    Remove,
}

/// What happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This error number.
    Errno(i32),
    /// Only so many bytes of a write or read are done.
    Short(usize),
}

/// No space left on device.
pub const ENOSPC: i32 = 28;
/// Input/output error.
pub const EIO: i32 = 5;
/// Interrupted by a signal.
pub const EINTR: i32 = 4;

type FileId = u64;

#[derive(Debug, Default)]
struct Content {
    live: Vec<u8>,
    stable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { size_bytes: usize },
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes: written } => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
            Self::Truncate { size_bytes } => bytes.resize(*size_bytes, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<FileId, Content>,
    names: BTreeMap<String, FileId>,
    stable_names: BTreeMap<String, FileId>,
    next_id: FileId,
    /// What is added to a file's number for the time at which it was made.
    births_from_ns: i64,
    locked: BTreeSet<String>,
    capacity_bytes: Option<usize>,
    faults: BTreeMap<(Operation, u64), Fault>,
    counts: BTreeMap<Operation, u64>,
}

impl Disk {
    /// Counts the call and returns the fault planned for it.
    fn enter(&mut self, operation: Operation) -> Result<Option<usize>, io::Error> {
        let count = self.counts.entry(operation).or_default();
        *count += 1;
        match self.faults.remove(&(operation, *count)) {
            None => Ok(None),
            Some(Fault::Short(size)) => Ok(Some(size)),
            Some(Fault::Errno(number)) => Err(io::Error::from_raw_os_error(number)),
        }
    }

    fn check_capacity(&self, id: FileId, size_bytes: usize) -> io::Result<()> {
        let Some(capacity) = self.capacity_bytes else { return Ok(()) };
        let others: usize =
            self.names.values().filter(|&&other| other != id).map(|other| self.files[other].live.len()).sum();
        if others + size_bytes > capacity { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }
}

/// A flat directory on the faulty disk; clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

impl MemoryStorage {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Self::new`], behind the journal's trait.
    pub fn shared(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// Makes the `nth` next call of `operation` (1 for the next) fail.
    pub fn fail(&self, operation: Operation, nth: u64, fault: Fault) {
        let mut disk = self.lock();
        let call = disk.counts.get(&operation).copied().unwrap_or(0) + nth;
        disk.faults.insert((operation, call), fault);
    }

    /// Forgets planned faults.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// How often `operation` was called.
    pub fn count(&self, operation: Operation) -> u64 {
        self.lock().counts.get(&operation).copied().unwrap_or(0)
    }

    /// Bytes the disk holds in all; `None` for no limit.
    pub fn set_capacity(&self, capacity_bytes: Option<usize>) {
        self.lock().capacity_bytes = capacity_bytes;
    }

    /// Bytes used.
    pub fn used_bytes(&self) -> usize {
        let disk = self.lock();
        disk.names.values().map(|id| disk.files[id].live.len()).sum()
    }

    /// The power goes: of everything not synced a random part stays. All open files must have been dropped.
    pub fn power_loss(&self, random: &mut Random) {
        let mut disk = self.lock();
        assert!(disk.locked.is_empty(), "drop the journal before its power goes");
        // Half of the losses keep each sector by its own coin, half keep a prefix of the writes.
        for content in disk.files.values_mut() {
            let pending = std::mem::take(&mut content.pending);
            let keep_prefix = random.chance(1, 2).then(|| random.below(pending.len() as u64 + 1) as usize);
            let odds = random.below(5);
            for (index, change) in pending.iter().enumerate() {
                if keep_prefix.map_or_else(|| random.chance(odds, 4), |prefix| index < prefix) {
                    change.apply(&mut content.stable);
                }
            }
            content.live.clone_from(&content.stable);
        }
        let changed: Vec<String> = disk
            .names
            .keys()
            .chain(disk.stable_names.keys())
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        for name in changed {
            let (now, before) = (disk.names.get(&name).copied(), disk.stable_names.get(&name).copied());
            if now != before && random.chance(1, 2) {
                match now {
                    Some(id) => disk.stable_names.insert(name, id),
                    None => disk.stable_names.remove(&name),
                };
            }
        }
        disk.names = disk.stable_names.clone();
    }

    /// The file's bytes as a reader sees them.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let disk = self.lock();
        disk.files[&disk.names[name]].live.clone()
    }

    /// Puts bytes in place of the file's, durably: damage, or a test's own file.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.lock();
        let id = match disk.names.get(name) {
            Some(&id) => id,
            None => {
                disk.next_id += 1;
                disk.next_id
            }
        };
        disk.names.insert(name.into(), id);
        disk.stable_names.insert(name.into(), id);
        disk.files.insert(id, Content { live: bytes.clone(), stable: bytes, pending: Vec::new() });
    }

    /// Removes a file, durably.
    pub fn remove_file(&self, name: &str) {
        let mut disk = self.lock();
        disk.names.remove(name);
        disk.stable_names.remove(name);
    }

    /// A copy with its own future.
    pub fn fork(&self) -> Self {
        let disk = self.lock();
        let files = disk.names.values().map(|id| {
            let live = disk.files[id].live.clone();
            (*id, Content { stable: live.clone(), live, pending: Vec::new() })
        });
        let copy = Disk {
            files: files.collect(),
            names: disk.names.clone(),
            stable_names: disk.names.clone(),
            next_id: disk.next_id,
            births_from_ns: disk.births_from_ns,
            ..Disk::default()
        };
        Self { disk: Arc::new(Mutex::new(copy)) }
    }

    /// As [`Self::fork`], but file by file: each was made when it was copied.
    pub fn copied(&self) -> Self {
        let copy = self.fork();
        copy.lock().births_from_ns += 1_000_000;
        copy
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: FileId) -> Box<dyn StorageFile> {
        Box::new(MemoryFile { disk: Arc::clone(&self.disk), id })
    }
}

impl Storage for MemoryStorage {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }

    fn create_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let mut disk = self.lock();
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.next_id += 1;
        let id = disk.next_id;
        disk.files.insert(id, Content::default());
        disk.names.insert(name.into(), id);
        drop(disk);
        Ok(self.file(id))
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Box<dyn StorageFile>> {
        let id = self.lock().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(id))
    }

    fn identity(&self, name: &str) -> io::Result<FileIdentity> {
        let inode = self.lock().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(FileIdentity { device: 0, inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.enter(Operation::Rename)?;
        let id = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.into(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.enter(Operation::Remove)?;
        disk.names.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.enter(Operation::SyncDirectory)?;
        disk.stable_names = disk.names.clone();
        Ok(())
    }

    fn set_aside(&self, name: &str, directory: &str, kept: &str) -> io::Result<()> {
        let mut disk = self.lock();
        let id = disk.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        let kept = format!("{directory}/{kept}");
        if disk.names.contains_key(&kept) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.names.insert(kept.clone(), id);
        disk.stable_names.insert(kept, id);
        Ok(())
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<Box<dyn StorageLock>>> {
        if !self.lock().locked.insert(name.into()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Unlock { disk: Arc::clone(&self.disk), name: name.into() })))
    }
}

#[derive(Debug)]
struct Unlock {
    disk: Arc<Mutex<Disk>>,
    name: String,
}

impl StorageLock for Unlock {}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).locked.remove(&self.name);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: Arc<Mutex<Disk>>,
    id: FileId,
}

impl MemoryFile {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageFile for MemoryFile {
    fn identity(&self) -> io::Result<FileIdentity> {
        Ok(FileIdentity { device: 0, inode: self.id })
    }

    fn birth_ns(&self) -> io::Result<Option<i64>> {
        Ok(Some(self.lock().births_from_ns + self.id as i64))
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().files[&self.id].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.lock();
        let short = disk.enter(Operation::Read)?;
        let rest = disk.files[&self.id].live.get(offset as usize..).unwrap_or(&[]);
        let size = rest.len().min(buffer.len()).min(short.unwrap_or(usize::MAX));
        buffer[..size].copy_from_slice(&rest[..size]);
        Ok(size)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.lock();
        let short = disk.enter(Operation::Write)?;
        let bytes = &bytes[..bytes.len().min(short.unwrap_or(usize::MAX))];
        let offset = offset as usize;
        let size = disk.files[&self.id].live.len().max(offset + bytes.len());
        disk.check_capacity(self.id, size)?;
        let content = disk.files.get_mut(&self.id).expect("an open file has content");
        let mut at = offset;
        while at < offset + bytes.len() {
            let end = (at / SECTOR_SIZE_BYTES + 1) * SECTOR_SIZE_BYTES;
            let end = end.min(offset + bytes.len());
            let sector = Pending::Write { offset: at, bytes: bytes[at - offset..end - offset].to_vec() };
            sector.apply(&mut content.live);
            content.pending.push(sector);
            at = end;
        }
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let result = disk.enter(Operation::Sync);
        let content = disk.files.get_mut(&self.id).expect("an open file has content");
        let pending = std::mem::take(&mut content.pending);
        result?;
        for change in &pending {
            change.apply(&mut content.stable);
        }
        Ok(())
    }

    fn reserve(&self, size_bytes: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.enter(Operation::Reserve)?;
        disk.check_capacity(self.id, size_bytes as usize)
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        let mut disk = self.lock();
        let content = disk.files.get_mut(&self.id).expect("an open file has content");
        let change = Pending::Truncate { size_bytes: size_bytes as usize };
        change.apply(&mut content.live);
        content.pending.push(change);
        Ok(())
    }

    /// Shows what the disk holds where a failed sync left the cache wrong.
    fn forget_cached(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let content = disk.files.get_mut(&self.id).expect("an open file has content");
        if content.pending.is_empty() {
            content.live.clone_from(&content.stable);
        }
        Ok(())
    }
}
