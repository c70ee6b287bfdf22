//! A ring: the mapped file and what anyone may ask of it. Endpoints are made here and live in their own files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::consumer::{Consumer, ConsumerOptions};
use crate::error::RingError;
use crate::layout::{self, ConsumerLines};
use crate::lock;
use crate::mapping::{Mapping, RingInfo, io_error};
use crate::options::RingOptions;
use crate::producer::Producer;

/// One mapped ring. Clones share the mapping, which lives until the last clone, endpoint and view is gone.
#[derive(Debug, Clone)]
pub struct Ring {
    pub(crate) mapping: Arc<Mapping>,
}

/// How a ring stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingStatus {
    /// Oldest sequence that can be read.
    pub oldest: u64,
    /// Last committed sequence.
    pub published: u64,
    /// Last sequence whose journal is synced.
    pub durable: u64,
    /// Last sequence the replicas hold.
    pub replicated: u64,
    /// A producer lives.
    pub producer_alive: bool,
    /// All producer lines that were ever used.
    pub producers: Vec<ProducerStatus>,
    /// The claim that keeps readers from going on, if one does.
    pub stuck: Option<StuckClaim>,
    /// What had to be repaired.
    pub repairs: RepairCounts,
    /// All consumers that have a line.
    pub consumers: Vec<ConsumerStatus>,
}

/// How a producer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerStatus {
    /// Its line.
    pub line: usize,
    /// Its process lives and has it open.
    pub alive: bool,
    /// For people: the process that has or last had it open.
    pub process_id: u64,
    /// Producers that had this line.
    pub opens: u64,
    /// How often this line's producers found no room and waited.
    pub waits: u64,
    /// How long they waited, ns.
    pub waited_ns: u64,
}

/// A message that is claimed and not committed, with nothing readable before it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckClaim {
    /// Its sequence.
    pub sequence: u64,
    /// Line of its producer.
    pub line: usize,
}

/// What had to be repaired since the ring was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairCounts {
    /// Claims of dead producers that were voided.
    pub claims: u64,
    /// Dead raisers of the floor that were replaced.
    pub raisers: u64,
    /// Dead consumers that are no longer waited for.
    pub detached: u64,
}

/// Latencies from commit to being read, of one message in 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyCounts {
    /// Sum of all, ns.
    pub sum_ns: u64,
    /// By [`layout::latency_bucket`].
    pub counts: Vec<u64>,
}

/// How a consumer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Empty for one that leaves nothing behind.
    pub name: String,
    /// See [`ConsumerState`].
    pub state: ConsumerState,
    /// Its process lives and has it open.
    pub alive: bool,
    /// For people: the process that has or last had it open.
    pub process_id: u32,
    /// The sequence it will read next.
    pub next: u64,
    /// Committed messages it has not consumed.
    pub lag: u64,
    /// Gaps it was told of.
    pub gaps: u64,
    /// Messages in those gaps.
    pub lost: u64,
    /// Messages that failed their check.
    pub corrupt: u64,
    /// See [`LatencyCounts`].
    pub latency: LatencyCounts,
}

/// What a consumer's line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerState {
    /// The producer waits for it.
    Gating,
    /// Reads copies; may be overwritten.
    Lossy,
    /// Dead longer than its `detach_after`: no longer waited for, cursor kept.
    Detached,
}

impl Ring {
    /// Makes a ring. It has its name only when it is whole and all its memory is there.
    ///
    /// # Errors
    /// [`RingError::Exists`], [`RingError::NoSpace`], [`RingError::Option`], [`RingError::Directory`].
    pub fn create(path: impl AsRef<Path>, options: &RingOptions) -> Result<Self, RingError> {
        Mapping::create(path.as_ref(), options).map(Self::of)
    }

    /// Opens a ring that exists.
    ///
    /// # Errors
    /// [`RingError::NotFound`], [`RingError::Version`], [`RingError::NotARing`], [`RingError::OtherBoot`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RingError> {
        Mapping::open(path.as_ref()).map(Self::of)
    }

    /// Opens the ring if it exists, makes it otherwise.
    ///
    /// # Errors
    /// Those of both, and [`RingError::Mismatch`] when the one found was made with other options. `epoch` and
    /// `first_sequence` are compared only when an epoch was given.
    pub fn open_or_create(path: impl AsRef<Path>, options: &RingOptions) -> Result<Self, RingError> {
        let path = path.as_ref();
        loop {
            match Self::open(path) {
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
        let end = self.mapping.newest();
        let newest = end.sequence;
        let held =
            |offset| lock::is_held(&self.mapping.file, offset).map_err(io_error("examine locks of", self.path()));
        let mut consumers = Vec::new();
        for lines in self.mapping.consumers() {
            let identity = &lines.identity.0;
            let state = match identity.state.load(Ordering::Acquire) {
                layout::CONSUMER_GATING => ConsumerState::Gating,
                layout::CONSUMER_LOSSY => ConsumerState::Lossy,
                layout::CONSUMER_DETACHED => ConsumerState::Detached,
                _ => continue,
            };
            let next = lines.cursor.0.sequence.load(Ordering::Relaxed);
            consumers.push(ConsumerStatus {
                name: lines.name(),
                state,
                alive: held(self.mapping.lock_offset_of(lines))?,
                process_id: identity.process_id.load(Ordering::Relaxed),
                next,
                lag: newest.saturating_sub(next),
                gaps: identity.gaps.load(Ordering::Relaxed),
                lost: identity.lost.load(Ordering::Relaxed),
                corrupt: identity.corrupt.load(Ordering::Relaxed),
                latency: LatencyCounts {
                    sum_ns: lines.latency.0.sum_ns.load(Ordering::Relaxed),
                    counts: lines.latency.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
                },
            });
        }
        let hot = self.mapping.hot();
        let producers: Vec<ProducerStatus> = self
            .mapping
            .producers()
            .iter()
            .enumerate()
            .filter(|(_, line)| line.0.opens.load(Ordering::Relaxed) != 0)
            .map(|(line, words)| {
                Ok(ProducerStatus {
                    line,
                    alive: held(self.mapping.lock_offset_of(words))?,
                    process_id: words.0.process_id.load(Ordering::Relaxed),
                    opens: words.0.opens.load(Ordering::Relaxed),
                    waits: words.0.waits.load(Ordering::Relaxed),
                    waited_ns: words.0.waited_ns.load(Ordering::Relaxed),
                })
            })
            .collect::<Result<_, RingError>>()?;
        let stuck = self
            .mapping
            .claim_at(end)
            .map(|claim| StuckClaim { sequence: end.sequence, line: claim.producer().into() });
        Ok(RingStatus {
            oldest: self.mapping.oldest().sequence,
            published: newest - 1,
            durable: self.durable(),
            replicated: hot.watermarks.0.replicated.load(Ordering::Acquire),
            producer_alive: producers.iter().any(|producer| producer.alive),
            producers,
            stuck,
            repairs: RepairCounts {
                claims: hot.repairs.0.claims.load(Ordering::Relaxed),
                raisers: hot.repairs.0.raisers.load(Ordering::Relaxed),
                detached: hot.repairs.0.detached.load(Ordering::Relaxed),
            },
            consumers,
        })
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
        lock::with_lock(&self.mapping.file, offset, work).map_err(io_error("lock", self.path()))?
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

impl ConsumerLines {
    /// Its name; empty for one that leaves nothing behind.
    pub(crate) fn name(&self) -> String {
        let identity = &self.identity.0;
        let size = (identity.name_size.load(Ordering::Relaxed) as usize).min(layout::CONSUMER_NAME_MAX);
        let bytes: Vec<u8> =
            identity.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).take(size).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
