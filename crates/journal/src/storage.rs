//! The one place where a journal touches files, so that tests can put a faulty disk under it.
//!
//! A [`Storage`] is one flat directory. [`Directory`] is the real one; `tidebook-testkit` has one that tears,
//! shortens, refuses and forgets writes.

use std::fmt::Debug;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::fork::FileLock;
use crate::mapped::Mapped;
pub use crate::regular_file::{NotAFile, check_regular, open_regular, open_regular_itself};

/// A flat directory of files.
pub trait Storage: Debug + Send + Sync {
    /// Where `name` is, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// Makes the directory, and its parents, if it is not there.
    fn create_directory(&self) -> io::Result<()>;
    /// Names of all files, in no order.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Those of [`Self::names`] that are links to something that is not there.
    fn names_leading_nowhere(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// Makes a file that must not exist yet, open for reading and writing.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;
    /// Opens a regular file that exists; what else has the name is refused, without waiting for it.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>>;
    /// As [`Self::open`], but not what a symbolic link leads to: for a file that says something of the directory it is in.
    fn open_itself(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>> {
        self.open(name, access)
    }
    /// Which file has this name.
    fn identity(&self, name: &str) -> io::Result<FileIdentity>;
    /// Gives a file its final name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// Gives the file a second name `kept` in the directory `directory` below this one, made if need be; durable when it
    /// returns. The name must be free.
    fn set_aside(&self, name: &str, directory: &str, kept: &str) -> io::Result<()> {
        let _ = (name, directory, kept);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Takes the exclusive lock that only the kernel releases, when the guard drops or the process dies,
    /// whatever children it had; `None` while another holds it.
    fn try_lock(&self, name: &str) -> io::Result<Option<Box<dyn StorageLock>>>;

    /// Whether somebody holds the lock `name`. Who takes it at the same moment may be refused once.
    fn is_locked(&self, name: &str) -> io::Result<bool> {
        Ok(self.try_lock(name)?.is_none())
    }
}

/// Holds a lock until it drops.
pub trait StorageLock: Debug + Send + Sync {}

impl StorageLock for FileLock {}

/// What tells an open file from every other, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// The file system it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl From<&Metadata> for FileIdentity {
    fn from(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// One open file. Reads and writes may be short, as `pread` and `pwrite` are.
pub trait StorageFile: Debug + Send + Sync {
    /// Which file this is.
    fn identity(&self) -> io::Result<FileIdentity>;
    /// When it was made, ns since 1970 UTC, which nobody can set; `None` where the file system keeps no such time.
    fn birth_ns(&self) -> io::Result<Option<i64>> {
        Ok(None)
    }
    /// Bytes of the file.
    fn size_bytes(&self) -> io::Result<u64>;
    /// Reads at `offset`; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Returns when data and size are on the disk.
    fn sync(&self) -> io::Result<()>;
    /// Reserves space up to `size_bytes`, so that a full disk is an error now and not in the middle of a write.
    fn reserve(&self, size_bytes: u64) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;
    /// Asks that the next read comes from the disk and not from a cache that a failed write may have left wrong.
    fn forget_cached(&self) -> io::Result<()>;
    /// The first `size_bytes` of a file that nobody changes any more, in memory at a multiple of 4096.
    fn map(&self, size_bytes: u64) -> io::Result<Mapped> {
        Mapped::read(size_bytes, |buffer| read_full_at(self, buffer, 0))
    }
}

/// Writes all of `bytes`, however short each write is.
pub(crate) fn write_all_at(file: &dyn StorageFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` as far as the file reaches; the count of bytes read.
pub(crate) fn read_full_at(file: &(impl StorageFile + ?Sized), buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A directory of a Linux file system.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

/// Makes a directory and those missing above it, for this user alone; returns when their names are durable.
///
/// # Errors
/// What the disk returned; what was made stays, and the next attempt goes on from there.
pub fn make_directory(path: &Path) -> io::Result<()> {
    make_directory_by(path, &mut |parent| File::open(parent)?.sync_all())
}

/// Makes the file `path`, which is not there yet, for the user alone whose directory it is in: what root makes in another user's
/// place would keep that user out of it.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], also for a link that leads nowhere; what making it returned.
pub fn create_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (own, above) = (file.metadata()?, std::fs::metadata(directory)?);
    if own.uid() != above.uid() {
        // By the file that was just made, and never by a name: that may lead elsewhere by now.
        match std::os::unix::fs::fchown(&file, Some(above.uid()), Some(above.gid())) {
            // Of anybody but root it stays its own.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            given => given?,
        }
    }
    Ok(file)
}

/// Each name is synced before the next is made: whoever dies in between leaves one at most that is not, the last, and that
/// is why the name of a directory that is there already is synced too.
fn make_directory_by(path: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let parent = match path.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if path.is_dir() {
        use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
        return match sync(parent) {
            // Nobody made it who could not, and some file systems that nothing is made in cannot sync.
            Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem) => Ok(()),
            synced => synced,
        };
    }
    make_directory_by(parent, sync)?;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        // Another was faster, or something else stands there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !path.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        made => made?,
    }
    sync(parent)
}

impl Storage for Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn create_directory(&self) -> io::Result<()> {
        make_directory(&self.path)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn names_leading_nowhere(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let is_nowhere = || std::fs::metadata(entry.path()).is_err_and(|error| is_absent(&error));
            if entry.file_type()?.is_symlink() && is_nowhere() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DirectoryFile(create_private(&self.path(name))?)))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>> {
        let write = access == Access::ReadWrite;
        let file = open_regular(&self.path(name), OpenOptions::new().read(true).write(write))?;
        Ok(Box::new(DirectoryFile(file)))
    }

    fn open_itself(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>> {
        let write = access == Access::ReadWrite;
        let file = open_regular_itself(&self.path(name), OpenOptions::new().read(true).write(write))?;
        Ok(Box::new(DirectoryFile(file)))
    }

    fn identity(&self, name: &str) -> io::Result<FileIdentity> {
        Ok(FileIdentity::from(&std::fs::metadata(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn set_aside(&self, name: &str, directory: &str, kept: &str) -> io::Result<()> {
        let below = self.path(directory);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&below)?;
        let (from, to) = (self.path(name), below.join(kept));
        match std::fs::hard_link(&from, &to) {
            // Some file systems have no second names.
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                let mut copy = create_private(&to)?;
                io::copy(&mut open_regular(&from, OpenOptions::new().read(true))?, &mut copy)?;
                copy.sync_all()?;
            }
            result => result?,
        }
        File::open(&below)?.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<Box<dyn StorageLock>>> {
        let path = self.path(name);
        let file = match open_regular(&path, OpenOptions::new().write(true)) {
            Err(error) if is_absent(&error) => match create_private(&path) {
                // Another was faster, or a link leads to nothing.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    open_regular(&path, OpenOptions::new().write(true).create(true).truncate(false).mode(0o600))?
                }
                created => created?,
            },
            opened => opened?,
        };
        Ok(FileLock::acquire(file)?.map(|lock| Box::new(lock) as Box<dyn StorageLock>))
    }

    /// Makes no file and writes none; several who look at once do not take each other for an owner.
    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let file = match open_regular(&self.path(name), OpenOptions::new().read(true)) {
            Err(error) if is_absent(&error) => return Ok(false),
            opened => opened?,
        };
        match file.try_lock_shared() {
            // By word and not only by closing, as a child may have been forked just now.
            Ok(()) => file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct DirectoryFile(File);

impl StorageFile for DirectoryFile {
    fn identity(&self) -> io::Result<FileIdentity> {
        Ok(FileIdentity::from(&self.0.metadata()?))
    }

    fn birth_ns(&self) -> io::Result<Option<i64>> {
        match self.0.metadata()?.created() {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            created => {
                let since = created?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                // Some file systems have the field and leave it empty.
                Ok(i64::try_from(since.as_nanos()).ok().filter(|&birth_ns| birth_ns > 0))
            }
        }
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn reserve(&self, size_bytes: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, size_bytes) {
            // Some file systems cannot reserve; the zeros written next allocate there too.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        }
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.0.set_len(size_bytes)
    }

    #[cfg(target_os = "linux")]
    fn forget_cached(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    /// Nothing: there is no such call here, and the next read may come from the cache.
    #[cfg(not(target_os = "linux"))]
    fn forget_cached(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, size_bytes: u64) -> io::Result<Mapped> {
        Mapped::map(&self.0, size_bytes)
    }
}

/// Opens a file for reading and writing, which is made if it is not there.
pub(crate) fn open_or_create(storage: &dyn Storage, name: &str) -> io::Result<Box<dyn StorageFile>> {
    match storage.open(name, Access::ReadWrite) {
        Err(error) if is_absent(&error) => storage.create(name),
        result => result,
    }
}

/// Whether the error says that there is no such file.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// The real directory at `path`, behind the trait.
pub(crate) fn directory(path: &Path) -> std::sync::Arc<dyn Storage> {
    std::sync::Arc::new(Directory::new(path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Method: each sync in turn is never made, and the attempt dies there; another one follows. What a power loss would leave
    /// is what was synced after it was made.
    #[test]
    fn the_names_of_all_directories_above_a_journal_are_durable_whichever_attempt_died_before() {
        let mut attempts = 0;
        for dies_at in 0.. {
            let root = tempfile::tempdir().unwrap();
            let levels = ["a", "a/b", "a/b/wal", "a/b/wal/fills"].map(|below| root.path().join(below));
            std::fs::create_dir(&levels[0]).unwrap();
            let mut durable = BTreeSet::new();
            let mut sync_count = 0;
            let mut sync = |parent: &Path| {
                sync_count += 1;
                if sync_count == dies_at + 1 {
                    return Err(io::Error::other("killed"));
                }
                durable.extend(levels.iter().filter(|level| level.parent() == Some(parent) && level.is_dir()));
                Ok(())
            };
            if let Err(killed) = make_directory_by(&levels[3], &mut sync) {
                assert_eq!(killed.to_string(), "killed");
                attempts += 1;
                make_directory_by(&levels[3], &mut sync).unwrap();
                assert_eq!(durable.len(), levels.len(), "killed at sync {dies_at}: {durable:?}");
                continue;
            }
            assert_eq!(durable.len(), levels.len(), "{durable:?}");
            break;
        }
        assert_eq!(attempts, 4);
    }

    #[test]
    fn a_directory_below_where_the_process_stands_is_synced_there() {
        let mut synced = Vec::new();
        make_directory_by(Path::new("src"), &mut |parent| {
            synced.push(parent.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(synced, [Path::new(".")]);
    }

    #[test]
    fn a_directory_that_is_there_may_lie_where_nothing_can_be_synced() {
        let there = tempfile::tempdir().unwrap();
        let refused = |kind: io::ErrorKind| make_directory_by(there.path(), &mut |_| Err(kind.into()));
        for kind in [io::ErrorKind::InvalidInput, io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            refused(kind).unwrap();
        }
        refused(io::ErrorKind::Other).unwrap_err();
    }
}
