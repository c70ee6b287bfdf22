//! A ring: the mapped file and what anyone may ask of it. Endpoints are made here and live in their own files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::access::Access;
use crate::consumer::{Consumer, ConsumerOptions};
use crate::error::RingError;
use crate::layout::{self, ConsumerLines};
use crate::lock;
use crate::mapping::{Mapping, RingInfo, Use, io_error};
use crate::options::RingOptions;
use crate::producer::Producer;
use crate::slots::Slots;
use crate::status::{ReaderLoss, RingStatus};

/// One mapped ring. Clones share the mapping, which lives until the last clone, endpoint and view is gone.
#[derive(Debug, Clone)]
pub struct Ring {
    pub(crate) mapping: Arc<Mapping>,
}

impl Ring {
    /// Makes a ring. It has its name only when it is whole and all its memory is there.
    ///
    /// # Errors
    /// [`RingError::Exists`], [`RingError::NoSpace`], [`RingError::Option`], [`RingError::Access`].
    pub fn create(path: impl AsRef<Path>, options: &RingOptions) -> Result<Self, RingError> {
        Mapping::create(path.as_ref(), options).map(Self::of)
    }

    /// Opens a ring that exists, of this user alone.
    ///
    /// # Errors
    /// Those of [`Ring::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RingError> {
        Self::open_with(path, Access::Private)
    }

    /// Opens a ring that exists and that nobody but those of `access` can have written.
    ///
    /// # Errors
    /// [`RingError::NotFound`], [`RingError::Access`], [`RingError::Version`], [`RingError::NotARing`],
    /// [`RingError::OtherBoot`].
    pub fn open_with(path: impl AsRef<Path>, access: Access) -> Result<Self, RingError> {
        Mapping::open(path.as_ref(), access, Use::Write).map(Self::of)
    }

    /// Opens the ring if it exists, makes it otherwise.
    ///
    /// # Errors
    /// Those of both, and [`RingError::Mismatch`] when the one found was made with other options. `epoch` and
    /// `first_sequence` are compared only when an epoch was given.
    pub fn open_or_create(path: impl AsRef<Path>, options: &RingOptions) -> Result<Self, RingError> {
        let path = path.as_ref();
        loop {
            match Self::open_with(path, options.access) {
                Ok(ring) => return ring.require(options).map(|()| ring),
                Err(RingError::NotFound { .. }) => match Self::create(path, options) {
                    Err(RingError::Exists { .. }) => {}
                    other => return other,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the file. Endpoints that have it open go on with the memory until they close.
    ///
    /// # Errors
    /// [`RingError::NotFound`], [`RingError::Io`].
    pub fn remove(path: impl AsRef<Path>) -> Result<(), RingError> {
        let path = path.as_ref();
        std::fs::remove_file(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => RingError::NotFound { path: path.to_owned() },
            _ => io_error("remove", path)(source),
        })
    }

    /// Removes this ring's file, and no other that has its name by now.
    ///
    /// # Errors
    /// [`RingError::Replaced`]; those of [`Ring::remove`].
    pub fn unlink(&self) -> Result<(), RingError> {
        let path = self.path();
        let own = self.mapping.file.metadata().map_err(io_error("examine", path))?;
        let named = std::fs::symlink_metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => RingError::NotFound { path: path.to_owned() },
            _ => io_error("examine", path)(source),
        })?;
        if (own.dev(), own.ino()) != (named.dev(), named.ino()) {
            return Err(RingError::Replaced { path: path.to_owned() });
        }
        Self::remove(path)
    }

    fn of(mapping: Mapping) -> Self {
        Self { mapping: Arc::new(mapping) }
    }

    /// Refuses a ring that was made with other options than these. `epoch` is compared when one is given.
    ///
    /// # Errors
    /// [`RingError::Mismatch`] naming the first that differs.
    pub fn require(&self, options: &RingOptions) -> Result<(), RingError> {
        let info = self.info();
        let path = || self.path().to_owned();
        let differ = |field, expected: String, found: String| {
            if expected == found { Ok(()) } else { Err(RingError::Mismatch { path: path(), field, expected, found }) }
        };
        differ("kind and size", format!("{:?}", options.kind), format!("{:?}", info.kind))?;
        differ("consumers_max", options.consumers_max.to_string(), info.consumers_max.to_string())?;
        differ("crc", options.crc.to_string(), info.crc.to_string())?;
        differ("visible_durable", options.visible_durable.to_string(), info.visible_durable.to_string())?;
        differ("mode", format!("{:?}", options.mode), format!("{:?}", info.mode))?;
        differ("producers_max", options.producers_max.to_string(), info.producers_max.to_string())?;
        differ("parking", options.parking.to_string(), info.parking.to_string())?;
        differ("last_values", format!("{:?}", options.last_values), format!("{:?}", info.last_values))?;
        differ("never_waits", options.never_waits.to_string(), info.never_waits.to_string())?;
        let schema = |schema: &Option<crate::RingSchema>| {
            schema.as_ref().map_or("none".to_owned(), |s| format!("{} v{} ({})", s.name, s.version, s.text))
        };
        differ("schema", schema(&options.schema), schema(&info.schema))?;
        if let Some(epoch) = options.epoch {
            differ("epoch", epoch.to_string(), info.epoch.to_string())?;
        }
        Ok(())
    }

    /// What it was made with.
    pub fn info(&self) -> &RingInfo {
        &self.mapping.info
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.mapping.path
    }

    /// Becomes the ring's producer and goes on after its last committed message.
    ///
    /// # Errors
    /// [`RingError::ProducerBusy`] while another lives; [`RingError::Corrupt`] when the newest messages are damaged.
    pub fn producer(&self) -> Result<Producer, RingError> {
        Producer::open(self.clone())
    }

    /// Joins as a consumer.
    ///
    /// # Errors
    /// [`RingError::ConsumerBusy`], [`RingError::ConsumersFull`], [`RingError::StartBeyond`], [`RingError::Option`],
    /// [`RingError::NoParking`].
    pub fn consumer(&self, options: &ConsumerOptions) -> Result<Consumer, RingError> {
        Consumer::open(self.clone(), options)
    }

    /// Last committed sequence; the one before `first_sequence` when there is none.
    pub fn published(&self) -> u64 {
        self.mapping.newest().sequence - 1
    }

    /// Oldest sequence that can still be read; the next one to come when there is none.
    pub fn oldest(&self) -> u64 {
        self.mapping.oldest().sequence
    }

    /// Last sequence whose journal is synced.
    pub fn durable(&self) -> u64 {
        self.mapping.hot().watermarks.0.durable.load(Ordering::Acquire)
    }

    /// Moves the durable watermark: everything up to `sequence` is synced. Wakes consumers that wait for it.
    ///
    /// # Errors
    /// [`RingError::Watermark`] when it would go back or pass what is published.
    pub fn set_durable(&self, sequence: u64) -> Result<(), RingError> {
        let from = self.durable();
        if sequence < from || sequence > self.published() {
            return Err(RingError::Watermark { watermark: "durable", from, to: sequence });
        }
        self.mapping.hot().watermarks.0.durable.store(sequence, Ordering::Release);
        self.mapping.wake();
        Ok(())
    }

    /// Deposes the producer: raises the fence above it. It finds out at its next write.
    pub fn fence(&self) -> u64 {
        self.mapping.hot().fence_epoch.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How it stands, for people and metrics.
    ///
    /// # Errors
    /// [`RingError::Io`] when the locks cannot be examined.
    pub fn status(&self) -> Result<RingStatus, RingError> {
        self.mapping.status()
    }

    /// What its readers were told that they lost, of those that have a line. Looks at memory alone, so it may be asked often.
    pub fn losses(&self) -> impl Iterator<Item = ReaderLoss> {
        self.mapping.losses()
    }

    /// Forgets a named consumer that is not open, with its cursor.
    ///
    /// # Errors
    /// [`RingError::ConsumerUnknown`], [`RingError::ConsumerBusy`].
    pub fn remove_consumer(&self, name: &str) -> Result<(), RingError> {
        self.with_registry(|| {
            let lines = self.find_consumer(name).ok_or_else(|| RingError::ConsumerUnknown { name: name.to_owned() })?;
            if self.is_alive(lines)? {
                let process_id = lines.identity.0.process_id.load(Ordering::Relaxed);
                return Err(RingError::ConsumerBusy { name: name.to_owned(), process_id });
            }
            lines.identity.0.state.store(layout::CONSUMER_FREE, Ordering::Release);
            Ok(())
        })
    }

    /// Whether a consumer of this name has a cursor here.
    pub fn knows_consumer(&self, name: &str) -> bool {
        !name.is_empty() && self.find_consumer(name).is_some()
    }

    /// Records from elsewhere, one after the other, as slots of this ring hold them: `None` unless they are at least one
    /// and whole.
    ///
    /// # Errors
    /// [`RingError::Kind`] on rings of messages.
    pub fn slots_of(&self, first_sequence: u64, records: &[u8]) -> Result<Option<Slots>, RingError> {
        Slots::copied(&self.mapping, first_sequence, records)
    }

    /// Name of the consumer with this line, as in [`crate::Written::Full`].
    pub fn consumer_name(&self, index: usize) -> String {
        self.mapping.consumers().get(index).map_or_else(String::new, ConsumerLines::name)
    }

    /// Refuses a producer that is a forked child's copy or was deposed.
    #[inline]
    pub(crate) fn check_producer(&self, forked: bool, own: u64) -> Result<(), RingError> {
        if forked {
            return Err(RingError::Forked);
        }
        let fence = self.mapping.hot().fence_epoch.0.load(Ordering::Relaxed);
        if fence == own { Ok(()) } else { Err(RingError::Fenced { fence, own }) }
    }

    /// Runs `work` while nobody else joins, leaves or is given up.
    pub(crate) fn with_registry<T>(&self, work: impl FnOnce() -> Result<T, RingError>) -> Result<T, RingError> {
        let offset = self.mapping.lock_offset_of(&self.mapping.hot().joins);
        lock::with_lock(&self.mapping.file, offset, work)
            .map_err(io_error("lock", self.path()))?
            .unwrap_or_else(|| Err(RingError::RegistryHeld { path: self.path().to_owned() }))
    }

    pub(crate) fn find_consumer(&self, name: &str) -> Option<&ConsumerLines> {
        self.mapping.consumers().iter().find(|lines| {
            lines.identity.0.state.load(Ordering::Acquire) != layout::CONSUMER_FREE && lines.name() == name
        })
    }

    pub(crate) fn is_alive(&self, lines: &ConsumerLines) -> Result<bool, RingError> {
        lock::is_held(&self.mapping.file, self.mapping.lock_offset_of(lines))
            .map_err(io_error("examine locks of", self.path()))
    }
}
