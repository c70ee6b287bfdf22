//! A disk whose calls take as long as a test wants.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tidebook_journal::storage::{Access, FileIdentity, Storage, StorageFile, StorageLock};

const PATIENCE: Duration = Duration::from_secs(60);

/// What of a [`SlowDisk`] takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// Writes.
    Write,
    /// Syncs of files.
    Sync,
    /// Taking a lock, before it is tried.
    Lock,
}

#[derive(Debug, Default)]
struct State {
    /// Which calls wait, if any.
    held: Option<Slow>,
    waiting: u64,
    /// Writes and syncs fail from now on.
    fails: bool,
}

/// A disk whose calls wait until they are let go.
#[derive(Debug, Clone)]
pub struct SlowDisk {
    inner: Arc<dyn Storage>,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl SlowDisk {
    /// Passes on what is not held.
    pub fn over(inner: Arc<dyn Storage>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// For who takes any storage.
    pub fn shared(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// From now on these calls do not return.
    ///
    /// # Panics
    /// As all of it, when another thread has panicked with it.
    pub fn hold(&self, slow: Slow) {
        self.state.0.lock().unwrap().held = Some(slow);
    }

    /// Waits until a call is held.
    ///
    /// # Panics
    /// When none comes within a minute.
    pub fn wait_for_a_held_call(&self) {
        let state = self.state.0.lock().unwrap();
        let (state, waited) = self.state.1.wait_timeout_while(state, PATIENCE, |state| state.waiting == 0).unwrap();
        assert!(!waited.timed_out(), "no call came: {state:?}");
    }

    /// All calls return; with `fails`, these and all later ones with an I/O error.
    ///
    /// # Panics
    /// As [`Self::hold`].
    pub fn let_go(&self, fails: bool) {
        let mut state = self.state.0.lock().unwrap();
        (state.held, state.fails) = (None, fails);
        self.state.1.notify_all();
    }

    fn pass(&self, slow: Slow) -> io::Result<()> {
        let mut state = self.state.0.lock().unwrap();
        state.waiting += 1;
        self.state.1.notify_all();
        state = self.state.1.wait_while(state, |state| state.held == Some(slow)).unwrap();
        state.waiting -= 1;
        if state.fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl Storage for SlowDisk {
    fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }
    fn create_directory(&self) -> io::Result<()> {
        self.inner.create_directory()
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.inner.names()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(SlowFile { inner: self.inner.create(name)?, disk: self.clone() }))
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(SlowFile { inner: self.inner.open(name, access)?, disk: self.clone() }))
    }
    fn identity(&self, name: &str) -> io::Result<FileIdentity> {
        self.inner.identity(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }
    fn try_lock(&self, name: &str) -> io::Result<Option<Box<dyn StorageLock>>> {
        self.pass(Slow::Lock)?;
        self.inner.try_lock(name)
    }
}

#[derive(Debug)]
struct SlowFile {
    inner: Box<dyn StorageFile>,
    disk: SlowDisk,
}

impl StorageFile for SlowFile {
    fn identity(&self) -> io::Result<FileIdentity> {
        self.inner.identity()
    }
    fn size_bytes(&self) -> io::Result<u64> {
        self.inner.size_bytes()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.pass(Slow::Write)?;
        self.inner.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.pass(Slow::Sync)?;
        self.inner.sync()
    }
    fn reserve(&self, size_bytes: u64) -> io::Result<()> {
        self.inner.reserve(size_bytes)
    }
    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.inner.truncate(size_bytes)
    }
    fn forget_cached(&self) -> io::Result<()> {
        self.inner.forget_cached()
    }
}
