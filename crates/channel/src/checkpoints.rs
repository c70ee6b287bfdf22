//! Checkpoints: a state and the cursor it is of, stored in one commit of an LMDB environment.
//!
//! A reader that keeps a state (sums, positions, an index) stores it here together with how far it has read, so after
//! a crash it goes on from both and counts nothing twice. One environment is in one directory; every commit is synced
//! before [`CheckpointStore::put`] returns, a kill at any moment leaves the commit before or this one, and the last
//! few of each subject are kept. LMDB is opened once per process and path, in no forked child, and only behind a
//! check of its pages ([`pages`]), because it maps its file and believes what stands there.
//!
//! Writers of all processes take turns by a lock of the environment; one that is killed gives it up, one that is
//! stopped in the middle of a commit holds the others up until it goes on. On a read-only file system, where nobody writes and no
//! lock can be had, a store is read without one.

mod entry;
mod error;
mod pages;

use std::collections::{BTreeSet, HashMap};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heed::types::Bytes;
use heed::{CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use tidebook_journal::storage::{check_regular, create_private, make_directory, open_regular, open_regular_itself};

pub use entry::{Checkpoint, Cursor, DamagedEntry, Listed, NAME_MAX, Subject, SubjectKind, Survey};
pub use error::CheckpointError;

/// Checkpoints kept of each subject, the newest first.
pub const KEPT: usize = 3;
/// Version of what is stored.
pub const FORMAT_VERSION: u32 = 2;
/// The oldest one that is read; the next commit makes the newest of it.
pub const OLDEST_VERSION: u32 = 1;

/// Address space for the file, which grows as it needs; nothing is taken before.
const MAP_SIZE: usize = 64 << 30;
const READERS_MAX: u32 = 510;
const DATA_FILE: &str = "data.mdb";
const LOCK_FILE: &str = "lock.mdb";
/// Locked by the process that writes; it holds nothing.
const TURN_FILE: &str = "writer.lock";
const FORMAT_KEY: &[u8] = &[0x00];
const FORMAT_MAGIC: &[u8; 8] = b"TIDECKPT";
/// Its value is the number of the newest checkpoint.
const NUMBER_KEY: &[u8] = &[0x01];
/// Looks at the pages of a file that others write meanwhile.
const LOOKS_MAX: u32 = 1_000;
/// What a commit may need beside a state.
const LEAST_ROOM: u64 = 256 << 10;
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Looks for the file of a store whose directory is there.
const MADE_LOOKS_MAX: u32 = 20;
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// For a process that was waited for that long already and has the turn again, or still.
const SPENT_PATIENCE: Duration = Duration::from_millis(100);

type Entries = Database<'static, Bytes, Bytes>;

/// An open store. Clones are the same one; it is closed with the last.
#[derive(Clone)]
pub struct CheckpointStore(Arc<Opened>);

impl std::fmt::Debug for CheckpointStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CheckpointStore({})", self.0.path.display())
    }
}

struct Opened {
    path: PathBuf,
    env: ManuallyDrop<Env<WithoutTls>>,
    entries: Entries,
    /// Device and number of its data file.
    file: (u64, u64),
    /// Largest size of it that was seen: it only grows.
    size_bytes: AtomicU64,
    /// Its file system took no writes when it was opened.
    is_read_only: bool,
    /// Threads of this process take turns by this lock.
    turns: Mutex<Turns>,
    process_id: u32,
}

/// A store that this process may have open. Its lock is held while the store is opened, which may take as long as the disk or
/// another process that opens it: whoever wants the same store waits for that, and nobody else.
type Known = Arc<Mutex<Weak<Opened>>>;

/// Those stores, by their real paths. Its lock is held for nothing but looking a path up.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Known>>> = LazyLock::new(Mutex::default);
/// Stores that somebody else was opening for longer than this process waited, until it opens them.
static WAITED_FOR: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
/// The process that opened the first one. A child forked from it may have found the locks of its threads taken.
static OWNER: AtomicU32 = AtomicU32::new(0);

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets the store of a path, unless it is open or somebody is about to open it.
fn forget(path: &Path) {
    let mut open = locked(&OPEN);
    // With that lock nobody else can get hold of an entry that nobody has.
    if open.get(path).is_some_and(|known| Arc::strong_count(known) == 1 && locked(known).strong_count() == 0) {
        open.remove(path);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // A child has neither the locks nor the reader slots of its parent, and must not touch them.
        if std::process::id() != self.process_id {
            return;
        }
        // SAFETY: it is dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.env) };
        forget(&self.path);
    }
}

impl CheckpointStore {
    /// Opens the store in a directory, which is made where it is not there (0700, files 0600), but not those above it.
    ///
    /// # Errors
    /// [`CheckpointError::Replaced`], [`CheckpointError::Damaged`], [`CheckpointError::Version`], [`CheckpointError::Forked`],
    /// [`CheckpointError::Full`], [`CheckpointError::NoDirectory`], [`CheckpointError::Io`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let process_id = std::process::id();
        // Before any lock: in a child of a process with threads it may never be free.
        let owner = OWNER.compare_exchange(0, process_id, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|it| it);
        if owner != 0 && owner != process_id {
            return Err(CheckpointError::Forked { path: path.to_owned() });
        }
        let io = |action| move |source| io_error(action, path, source);
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(io("make the directory of"))?,
        }
        let path = &path.canonicalize().map_err(io("find"))?;
        // A named pipe would be waited for.
        if !path.is_dir() {
            return Err(CheckpointError::NoDirectory { path: path.clone() });
        }
        // Its name is durable too, whoever made it and died before.
        make_directory(path).map_err(io("sync the name of"))?;
        let known = Arc::clone(locked(&OPEN).entry(path.clone()).or_default());
        let opened = Self::open_known(&known, path, process_id);
        drop(known);
        if opened.is_err() {
            forget(path);
        }
        opened
    }

    /// As [`Self::open`], in a directory that somebody named: those above it are made too, durably.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_named(path: &Path) -> Result<Self, CheckpointError> {
        make_directory(path).map_err(|source| io_error("make the directory of", path, source))?;
        Self::open(path)
    }

    /// Opens the store of a directory, and makes none: `None` where nothing has its name.
    ///
    /// # Errors
    /// [`CheckpointError::Away`] for a directory without what belongs there, as its disk is not mounted: what is stored in it is not
    /// known then; those of [`Self::open`].
    pub fn open_existing(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let away = |reason| CheckpointError::Away { path: path.to_owned(), reason };
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(away(error.to_string())),
            Ok(_) => {}
        }
        for look in 1.. {
            match std::fs::metadata(path.join(DATA_FILE)) {
                Ok(found) if found.len() > 0 => break,
                // Somebody may have made the directory just now.
                _ if look < MADE_LOOKS_MAX => std::thread::sleep(LOOK_AGAIN),
                Ok(_) => return Err(away(format!("{DATA_FILE} is empty"))),
                Err(error) => return Err(away(error.to_string())),
            }
        }
        Self::open(path).map(Some)
    }

    fn open_known(known: &Known, path: &Path, process_id: u32) -> Result<Self, CheckpointError> {
        loop {
            let mut known = locked(known);
            if let Some(store) = known.upgrade() {
                drop(known);
                store.check_in_place()?;
                return Ok(Self(store));
            }
            if let Some(store) = Opened::open(path, process_id)? {
                let store = Arc::new(store);
                *known = Arc::downgrade(&store);
                return Ok(Self(store));
            }
            // The one before is just being closed by another thread.
            drop(known);
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Stores a state with its cursor and gives the checkpoint's number; older ones of the subject beyond [`KEPT`] go
    /// with the same commit. It is on disk when this returns. `durable` is the channel's watermark, `None` where
    /// nothing has to be durable.
    ///
    /// # Errors
    /// [`CheckpointError::NotDurable`], [`CheckpointError::Name`], [`CheckpointError::Full`],
    /// [`CheckpointError::Failed`], [`CheckpointError::Forked`].
    pub fn put(
        &self,
        subject: &Subject,
        cursor: Cursor,
        durable: Option<u64>,
        state: &[u8],
    ) -> Result<u64, CheckpointError> {
        let store = self.writable()?;
        if let Some(durable) = durable.filter(|durable| cursor.sequence > *durable) {
            return Err(CheckpointError::NotDurable { sequence: cursor.sequence, durable });
        }
        let prefix = subject.prefix()?;
        let failed = |error| store.not_written(error, state.len());
        let _turn = store.turn()?;
        let mut transaction = store.env.write_txn().map_err(failed)?;
        let id = match store.entries.get(&transaction, NUMBER_KEY).map_err(failed)? {
            None => 1,
            Some(bytes) => {
                u64::from_le_bytes(bytes.try_into().map_err(|_| store.damaged(0, "number of the newest"))?) + 1
            }
        };
        let key = entry::key(&prefix, id);
        let head = entry::head(&key, cursor, now_ns(), state);
        store.entries.put(&mut transaction, NUMBER_KEY, &id.to_le_bytes()).map_err(failed)?;
        // A release that knows nothing of batches must not go on from what it cannot check.
        let format = format_value();
        if store.entries.get(&transaction, FORMAT_KEY).map_err(failed)? != Some(&format[..]) {
            store.entries.put(&mut transaction, FORMAT_KEY, &format).map_err(failed)?;
        }
        store
            .entries
            .put_reserved(&mut transaction, &key, head.len() + state.len(), |value| {
                value.write_all(&head)?;
                value.write_all(state)
            })
            .map_err(failed)?;
        let keys: Vec<Vec<u8>> = store
            .entries
            .prefix_iter(&transaction, &prefix)
            .map_err(failed)?
            .map(|found| found.map(|(key, _)| key.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        for old in &keys[..keys.len().saturating_sub(KEPT)] {
            store.entries.delete(&mut transaction, old).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(id)
    }

    /// The newest checkpoint of a subject.
    ///
    /// # Errors
    /// [`CheckpointError::DamagedEntry`], [`CheckpointError::Name`], [`CheckpointError::Forked`].
    pub fn newest(&self, subject: &Subject) -> Result<Option<Checkpoint>, CheckpointError> {
        let prefix = subject.prefix()?;
        self.read(|store, transaction| {
            let mut found = store.entries.rev_prefix_iter(transaction, &prefix)?;
            found.next().transpose().map(|found| found.map(|(key, value)| entry::read(key, value)))
        })?
        .transpose()
        .map_err(|(id, reason)| self.damaged_entry(id, reason))
    }

    /// The checkpoint of a number, if it is still kept.
    ///
    /// # Errors
    /// Those of [`CheckpointStore::newest`].
    pub fn get(&self, id: u64) -> Result<Option<Checkpoint>, CheckpointError> {
        self.read(|store, transaction| {
            for found in store.entries.iter(transaction)? {
                let (key, value) = found?;
                if key.len() > 1 && key.ends_with(&id.to_be_bytes()) {
                    return Ok(Some(entry::read(key, value)));
                }
            }
            Ok(None)
        })?
        .transpose()
        .map_err(|(id, reason)| self.damaged_entry(id, reason))
    }

    /// All checkpoints without their states, by kind, channel, name and number.
    ///
    /// # Errors
    /// Those of [`CheckpointStore::newest`].
    pub fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        let found = self.survey()?;
        match found.damaged.into_iter().next() {
            None => Ok(found.whole),
            Some(damaged) => Err(self.damaged_entry(damaged.id, damaged.reason)),
        }
    }

    /// As [`Self::list`], and those that are not what was written beside them: one hides no other.
    ///
    /// # Errors
    /// [`CheckpointError::Forked`], [`CheckpointError::Replaced`], [`CheckpointError::Damaged`], [`CheckpointError::Io`].
    pub fn survey(&self) -> Result<Survey, CheckpointError> {
        self.read(|store, transaction| {
            let mut survey = Survey::default();
            for found in store.entries.iter(transaction)? {
                let (key, value) = found?;
                if key == FORMAT_KEY || key == NUMBER_KEY {
                    continue;
                }
                match entry::parse(key, value) {
                    Ok((listed, _)) => survey.whole.push(listed),
                    Err((id, reason)) => {
                        let subject = entry::parse_key(key).map(|(subject, _)| subject);
                        survey.damaged.push(DamagedEntry { id, subject, reason });
                    }
                }
            }
            Ok(survey)
        })
    }

    /// Channels that checkpoints are of, by name, damaged ones too as far as their keys can be read.
    ///
    /// # Errors
    /// [`CheckpointError::Forked`], [`CheckpointError::Io`].
    pub fn channels(&self) -> Result<Vec<String>, CheckpointError> {
        let found: BTreeSet<String> = self.read(|store, transaction| {
            let keys = store.entries.iter(transaction)?.map(|found| found.map(|(key, _)| entry::parse_key(key)));
            let subjects = keys.collect::<Result<Vec<_>, heed::Error>>()?;
            Ok(subjects.into_iter().flatten().map(|(subject, _)| subject.channel).collect())
        })?;
        Ok(found.into_iter().collect())
    }

    /// Forgets all checkpoints of a subject; how many there were.
    ///
    /// # Errors
    /// Those of [`CheckpointStore::put`].
    pub fn remove(&self, subject: &Subject) -> Result<usize, CheckpointError> {
        let store = self.writable()?;
        let prefix = subject.prefix()?;
        let failed = |error| store.failed("write to", error);
        let _turn = store.turn()?;
        let mut transaction = store.env.write_txn().map_err(failed)?;
        let mut count = 0;
        let mut found = store.entries.prefix_iter_mut(&mut transaction, &prefix).map_err(failed)?;
        while found.next().transpose().map_err(failed)?.is_some() {
            // SAFETY: nothing of the entry is borrowed any more.
            unsafe { found.del_current() }.map_err(failed)?;
            count += 1;
        }
        drop(found);
        transaction.commit().map_err(failed)?;
        Ok(count)
    }

    /// Forgets checkpoints by their numbers, in one commit; how many of them there were.
    ///
    /// # Errors
    /// Those of [`CheckpointStore::put`].
    pub fn remove_numbers(&self, ids: &[u64]) -> Result<usize, CheckpointError> {
        let store = self.writable()?;
        let failed = |error| store.failed("write to", error);
        let _turn = store.turn()?;
        let mut transaction = store.env.write_txn().map_err(failed)?;
        let mut keys = Vec::new();
        for found in store.entries.iter(&transaction).map_err(failed)? {
            let (key, _) = found.map_err(failed)?;
            keys.extend(entry::parse_key(key).filter(|(_, id)| ids.contains(id)).map(|_| key.to_vec()));
        }
        for key in &keys {
            store.entries.delete(&mut transaction, key).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(keys.len())
    }

    /// Copies all checkpoints of one moment into a directory that is made for them, durably, and checks the copy.
    /// Others go on meanwhile.
    ///
    /// # Errors
    /// [`CheckpointError::Exists`]; those of [`CheckpointStore::open`].
    pub fn copy_to(&self, path: &Path) -> Result<(), CheckpointError> {
        let store = self.checked()?;
        store.check_in_place()?;
        let io = |action| move |source| io_error(action, path, source);
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(CheckpointError::Exists { path: path.to_owned() });
            }
            made => made.map_err(io("make the directory of"))?,
        }
        let partial = path.join("data.mdb.new");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(io("make a copy of"))?;
        store.env.copy_to_file(&mut file, CompactionOption::Enabled).map_err(|error| failed_in(path, "copy", error))?;
        file.sync_all().map_err(io("sync a copy of"))?;
        std::fs::rename(&partial, path.join(DATA_FILE)).map_err(io("name a copy of"))?;
        let sync = |path: &Path| File::open(path).and_then(|directory| directory.sync_all());
        sync(path).map_err(io("sync the directory of"))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent).map_err(io("sync the directory of"))?;
        }
        // With all its checks. What others would know of it as open is not part of a copy.
        let copied = Self::open(path)?.list();
        std::fs::remove_file(path.join(LOCK_FILE)).map_err(io("finish a copy of"))?;
        copied.map(|_| ()).map_err(|error| match error {
            // It was copied as it is: what can be mended is here.
            CheckpointError::DamagedEntry { id, reason, .. } => self.damaged_entry(id, reason),
            error => error,
        })
    }

    fn checked(&self) -> Result<&Opened, CheckpointError> {
        if std::process::id() == self.0.process_id {
            Ok(&self.0)
        } else {
            Err(CheckpointError::Forked { path: self.0.path.clone() })
        }
    }

    fn writable(&self) -> Result<&Opened, CheckpointError> {
        let store = self.checked()?;
        if store.is_read_only {
            return Err(CheckpointError::ReadOnly { path: store.path.clone() });
        }
        store.check_in_place()?;
        Ok(store)
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&Opened, &RoTxn<'_, WithoutTls>) -> Result<T, heed::Error>,
    ) -> Result<T, CheckpointError> {
        let store = self.checked()?;
        store.check_in_place()?;
        let transaction = store.env.read_txn().map_err(|error| store.failed("read", error))?;
        look(store, &transaction).map_err(|error| store.failed("read", error))
    }

    fn damaged_entry(&self, id: u64, reason: &'static str) -> CheckpointError {
        CheckpointError::DamagedEntry { path: self.0.path.clone(), id, reason }
    }
}

impl Opened {
    /// `None` while the store of this path is still being closed.
    fn open(path: &Path, process_id: u32) -> Result<Option<Self>, CheckpointError> {
        let io = |action| move |source| io_error(action, path, source);
        // Who opens makes the file whole before others look at it.
        let _opening = Opening::of(path, File::open(path).map_err(io("open"))?).map_err(io("lock"))?;
        check_file(path)?;
        // Left to LMDB it would be of whoever opens first, and root would keep the owner of the directory out.
        match create_private(&path.join(LOCK_FILE)) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::ReadOnlyFilesystem) => {
                return Err(io("make the lock of")(error));
            }
            _ => {}
        }
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_SIZE).max_readers(READERS_MAX);
        let mut is_read_only = false;
        // SAFETY: the file is changed through LMDB alone, it was looked at, and the flags are the safe ones.
        let mut opened = unsafe { options.open(path) };
        if matches!(&opened, Err(heed::Error::Io(error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem) {
            is_read_only = true;
            // SAFETY: as above; LMDB leaves its lock out, where nobody can write.
            opened = unsafe { options.flags(EnvFlags::READ_ONLY).open(path) };
        }
        let env = match opened {
            Ok(env) => env,
            Err(heed::Error::EnvAlreadyOpened) => return Ok(None),
            Err(error) => return Err(failed_in(path, "open", error)),
        };
        env.clear_stale_readers().map_err(|error| failed_in(path, "open", error))?;
        check_env(path, &env)?;
        let entries = open_entries(path, &env, is_read_only)?;
        let opened = env.try_clone_inner_file().map_err(|error| failed_in(path, "open", error))?;
        let metadata = opened.metadata().map_err(io("examine"))?;
        let file = (metadata.dev(), metadata.ino());
        let size_bytes = AtomicU64::new(metadata.len());
        let (path, env) = (path.to_owned(), ManuallyDrop::new(env));
        let turns = Mutex::default();
        Ok(Some(Self { path, env, entries, file, size_bytes, is_read_only, turns, process_id }))
    }

    /// What is stored in a file that has no name any more would be lost with this process; to read a page that was cut off
    /// would end it.
    fn check_in_place(&self) -> Result<(), CheckpointError> {
        // Before the look: another thread may see the file longer after ours, and tell it first.
        let known_bytes = self.size_bytes.load(Ordering::Acquire);
        match std::fs::symlink_metadata(self.path.join(DATA_FILE)) {
            Ok(found) if (found.dev(), found.ino()) == self.file => {
                if found.len() < known_bytes {
                    return Err(self.damaged(0, "the file was cut while it was open"));
                }
                self.size_bytes.fetch_max(found.len(), Ordering::Release);
                Ok(())
            }
            Ok(_) => Err(CheckpointError::Replaced { path: self.path.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CheckpointError::Replaced { path: self.path.clone() })
            }
            Err(error) => Err(io_error("examine", &self.path, error)),
        }
    }

    /// Waits until nobody writes, and has the turn until it drops.
    ///
    /// LMDB's own turns are taken after it, by a mutex that would be waited for without an end and without a word when a process
    /// is stopped in a commit.
    fn turn(&self) -> Result<Turn<'_>, CheckpointError> {
        let path = self.path.join(TURN_FILE);
        let io = |source| io_error("take a turn at", &path, source);
        let mut turns = locked(&self.turns);
        let file = match turns.file.take() {
            Some(file) => file,
            None => open_turn(&path).map_err(io)?,
        };
        let begun = Instant::now();
        let taken = loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break Ok(()),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {}
                Err(error) => break Err(io(error.into())),
            }
            if begun.elapsed() >= SPENT_PATIENCE {
                let process_id = match whose(&file) {
                    Ok(Some(process_id)) => process_id,
                    // It was given back just now.
                    Ok(None) => continue,
                    Err(error) => break Err(io(error)),
                };
                if begun.elapsed() >= LOCK_PATIENCE || turns.waited_for == Some(process_id) {
                    turns.waited_for = Some(process_id);
                    break Err(CheckpointError::Busy { path: self.path.clone(), process_id });
                }
            }
            std::thread::sleep(LOOK_AGAIN);
        };
        turns.file = Some(file);
        taken?;
        turns.waited_for = None;
        Ok(Turn(turns))
    }

    fn failed(&self, action: &'static str, error: heed::Error) -> CheckpointError {
        failed_in(&self.path, action, error)
    }

    /// LMDB says of a write that was cut short only that it failed; whether the disk is full the system is asked.
    fn not_written(&self, error: heed::Error, size: usize) -> CheckpointError {
        let error = self.failed("write to", error);
        let CheckpointError::Io { source, .. } = &error else { return error };
        if source.raw_os_error() != Some(rustix::io::Errno::IO.raw_os_error()) {
            return error;
        }
        let ask = || -> io::Result<()> {
            // Of a file without a name and as long: the store itself is LMDB's, and keeps its size.
            let size_bytes = self.env.try_clone_inner_file().map_err(io::Error::other)?.metadata()?.len();
            let needed = (size as u64).next_multiple_of(LEAST_ROOM) + LEAST_ROOM;
            let path = self.path.join(format!("room-{}", std::process::id()));
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            std::fs::remove_file(path)?;
            Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), size_bytes, needed)?)
        };
        match ask().map_err(|source| io_error("write to", &self.path, source)) {
            Err(full @ CheckpointError::Full { .. }) => full,
            _ => error,
        }
    }

    fn damaged(&self, page: u64, reason: &'static str) -> CheckpointError {
        CheckpointError::Damaged { path: self.path.clone(), page, reason }
    }
}

/// By what a process has its turns to write.
#[derive(Default)]
struct Turns {
    /// Open from its first turn on, and opened nowhere else in this process: closing it anywhere would give the turn back.
    file: Option<File>,
    /// Whom it has waited for in vain since its last turn.
    waited_for: Option<u32>,
}

/// A turn to write: no other process and no other thread does so meanwhile.
///
/// By a lock that is a process's own: the system says whose it is, and a forked child that lives on does not have it.
struct Turn<'a>(MutexGuard<'a, Turns>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.file.as_ref().map(|file| fcntl_lock(file, FlockOperation::Unlock));
    }
}

/// The process that has the turn, 0 for one that cannot be seen from here; `None` where nobody has it.
fn whose(file: &File) -> io::Result<Option<u32>> {
    let found = fcntl_getlk(file, &Flock::from(FlockType::WriteLock))?;
    Ok(found.map(|lock| lock.pid.map_or(0, |id| id.as_raw_nonzero().get().unsigned_abs())))
}

/// Never by a link: it would make or lock a file of somebody else.
fn open_turn(path: &Path) -> io::Result<File> {
    loop {
        match open_regular_itself(path, OpenOptions::new().read(true).write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match create_private(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
    }
}

/// The lock of a directory whose store is being opened: nobody else does so meanwhile.
struct Opening(File);

impl Opening {
    /// Whoever has it for long was stopped, and is not waited for.
    fn of(path: &Path, directory: File) -> io::Result<Self> {
        let begun = Instant::now();
        let patience = Self::patience(path);
        loop {
            match directory.try_lock() {
                Ok(()) => {
                    locked(&WAITED_FOR).remove(path);
                    return Ok(Self(directory));
                }
                Err(TryLockError::WouldBlock) if begun.elapsed() < patience => std::thread::sleep(LOOK_AGAIN),
                Err(TryLockError::WouldBlock) => {
                    locked(&WAITED_FOR).insert(path.to_owned());
                    let reason = "another process has been opening it for ten seconds; see whether it is stopped";
                    return Err(io::Error::other(reason));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl Opening {
    /// How long the lock of a path is waited for: each reader of a process looks for its store, and all would wait one behind the other.
    fn patience(path: &Path) -> Duration {
        if locked(&WAITED_FOR).contains(path) { SPENT_PATIENCE } else { LOCK_PATIENCE }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked has the file open too.
        let _ = self.0.unlock();
    }
}

/// Looks at the file before LMDB does.
fn check_file(path: &Path) -> Result<(), CheckpointError> {
    let (data, lock) = (path.join(DATA_FILE), path.join(LOCK_FILE));
    check_regular(&lock).map_err(|source| io_error("lock", &lock, source))?;
    let file = match open_regular(&data, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|source| io_error("open", &data, source))?,
    };
    for look in 1.. {
        match pages::check_metas(&file, MAP_SIZE as u64) {
            Ok(()) => break,
            // A meta page that is being written may be read half.
            Err(pages::Fault::Damage { .. }) if look < 5 => std::thread::sleep(LOOK_AGAIN),
            Err(fault) => return Err(told(path, fault)),
        }
    }
    Ok(())
}

/// Looks at every page, at a moment that a read transaction holds.
fn check_env(path: &Path, env: &Env<WithoutTls>) -> Result<(), CheckpointError> {
    let failed = |error| failed_in(path, "read", error);
    let file = env.try_clone_inner_file().map_err(failed)?;
    for _ in 0..LOOKS_MAX {
        let transaction = env.read_txn().map_err(failed)?;
        match pages::check_trees(&file, MAP_SIZE as u64, transaction.id() as u64) {
            Err(pages::Fault::Moved) => std::thread::sleep(LOOK_AGAIN),
            checked => return checked.map_err(|fault| told(path, fault)),
        }
    }
    Err(told(path, pages::Fault::Damage { page: 0, reason: "no meta page is of the newest commit" }))
}

/// The entries, of this format; one that holds nothing yet is given it, where it can be.
fn open_entries(path: &Path, env: &Env<WithoutTls>, is_read_only: bool) -> Result<Entries, CheckpointError> {
    let failed = |error| failed_in(path, "open", error);
    let transaction = env.read_txn().map_err(failed)?;
    let entries: Entries = env
        .open_databases_and_commit(transaction, |opener, transaction| {
            opener.open_database::<Bytes, Bytes>(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })
        .map_err(failed)?
        .commit()
        .flatten()
        .expect("the unnamed database is always there");
    let found = |transaction: &RoTxn<'_, WithoutTls>| {
        let format = entries.get(transaction, FORMAT_KEY)?.map(<[u8]>::to_vec);
        Ok((format, entries.is_empty(transaction)?))
    };
    let (mut format, mut is_empty) = found(&env.read_txn().map_err(failed)?).map_err(failed)?;
    if is_empty && is_read_only {
        return Ok(entries);
    }
    if is_empty {
        let mut transaction = env.write_txn().map_err(failed)?;
        (format, is_empty) = {
            let format = entries.get(&transaction, FORMAT_KEY).map_err(failed)?.map(<[u8]>::to_vec);
            (format, entries.is_empty(&transaction).map_err(failed)?)
        };
        if is_empty {
            entries.put(&mut transaction, FORMAT_KEY, &format_value()).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            sync_directories(path).map_err(|source| io_error("sync the directory of", path, source))?;
            return Ok(entries);
        }
    }
    let version = format.as_deref().and_then(|value| value.strip_prefix(FORMAT_MAGIC)).and_then(|rest| {
        let bytes: [u8; 4] = rest.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    });
    match version {
        Some(OLDEST_VERSION..=FORMAT_VERSION) => Ok(entries),
        Some(found) => Err(CheckpointError::Version { path: path.to_owned(), found, supported: FORMAT_VERSION }),
        None => Err(CheckpointError::Damaged { path: path.to_owned(), page: 0, reason: "it is not of checkpoints" }),
    }
}

fn format_value() -> Vec<u8> {
    [&FORMAT_MAGIC[..], &FORMAT_VERSION.to_le_bytes()].concat()
}

/// The names of the files and of the directory itself are on disk.
fn sync_directories(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn told(path: &Path, fault: pages::Fault) -> CheckpointError {
    let path = path.to_owned();
    match fault {
        pages::Fault::Damage { page, reason } => CheckpointError::Damaged { path, page, reason },
        pages::Fault::Version { found } => CheckpointError::Version { path, found, supported: pages::DATA_VERSION },
        pages::Fault::Io(source) => io_error("read", &path, source),
        pages::Fault::Moved => CheckpointError::Damaged { path, page: 0, reason: "its meta pages do not stand still" },
    }
}

fn failed_in(path: &Path, action: &'static str, error: heed::Error) -> CheckpointError {
    match error {
        heed::Error::Io(source) => io_error(action, path, source),
        heed::Error::Mdb(MdbError::MapFull) => CheckpointError::Full {
            path: path.to_owned(),
            source: io::Error::other(format!("it holds {} GiB", MAP_SIZE >> 30)),
        },
        heed::Error::Mdb(MdbError::Panic) => CheckpointError::Failed { path: path.to_owned() },
        heed::Error::Mdb(MdbError::VersionMismatch) => {
            CheckpointError::Version { path: path.to_owned(), found: 0, supported: pages::DATA_VERSION }
        }
        heed::Error::Mdb(MdbError::Corrupted | MdbError::PageNotFound | MdbError::Invalid) => {
            CheckpointError::Damaged { path: path.to_owned(), page: 0, reason: "it was found by LMDB" }
        }
        other => io_error(action, path, io::Error::other(other.to_string())),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            CheckpointError::Full { path, source }
        }
        io::ErrorKind::ReadOnlyFilesystem => CheckpointError::ReadOnly { path },
        _ => CheckpointError::Io { action, path, source },
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: the lock is somebody else's by a file of its own.
    #[test]
    fn a_store_that_another_does_not_finish_opening_is_waited_for_once_and_opened_when_it_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let stopped = File::open(&path).unwrap();
        stopped.lock().unwrap();
        for _ in 0..5 {
            let error = CheckpointStore::open(&path).unwrap_err().to_string();
            assert!(error.contains("another process has been opening it for ten seconds"), "{error}");
            assert_eq!(Opening::patience(&path), SPENT_PATIENCE);
        }
        stopped.unlock().unwrap();
        let store = CheckpointStore::open(&path).unwrap();
        assert_eq!(store.list().unwrap(), []);
        assert_eq!(Opening::patience(&path), LOCK_PATIENCE);
    }
}
