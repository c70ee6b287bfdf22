//! How a ring stands, read from its lines: for people, metrics and whoever repairs.
//!
//! Reads only, so that who looks needs no right to write and disturbs nobody. The numbers are read one after the other
//! while others change them: each is true, and no two are of the same instant.

use std::sync::atomic::Ordering;

use crate::error::RingError;
use crate::layout::{self, ConsumerLines};
use crate::lock;
use crate::mapping::{Mapping, io_error};
use crate::options::RingKind;

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
    /// Slots, or bytes of frames, written since the ring was made.
    pub written: u64,
    /// Of those, how many the slowest consumer that is waited for has not read: at the ring's capacity producers wait.
    pub unread: u64,
    /// A producer lives.
    pub producer_alive: bool,
    /// All producer lines that were ever used.
    pub producers: Vec<ProducerStatus>,
    /// The claim that keeps readers from going on, if one does.
    pub stuck: Option<StuckClaim>,
    /// Line of the producer that raises the floor now. Briefly; while it is stopped nobody finds room.
    pub raiser: Option<usize>,
    /// Somebody joins, leaves or is given up now. Briefly; while he is stopped nobody else can.
    pub registry_held: bool,
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

/// Latencies from commit to being read, of one message in 256.
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
    /// Its line.
    pub line: usize,
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
    /// How long it gates after its death, ms; `None` for ever.
    pub detach_after_ms: Option<u32>,
    /// How long a write waits for it while it lives, ms; `None` for ever.
    pub block_ms: Option<u32>,
    /// Gaps it was told of.
    pub gaps: u64,
    /// Messages in those gaps.
    pub lost: u64,
    /// Messages that failed their check.
    pub corrupt: u64,
    /// See [`LatencyCounts`].
    pub latency: LatencyCounts,
}

/// What one reader was told that it lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderLoss {
    /// Its line.
    pub line: usize,
    /// Who has the line: another number is another reader, or the same one opened again.
    pub opens: u64,
    /// It has consumed all before this; of what it lost nothing that it was told of later is before this.
    pub next: u64,
    /// Messages it was told to have lost.
    pub lost: u64,
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

impl Mapping {
    /// See [`crate::Ring::losses`].
    pub fn losses(&self) -> impl Iterator<Item = ReaderLoss> {
        self.consumers().iter().enumerate().filter_map(|(line, lines)| {
            let identity = &lines.identity.0;
            if identity.state.load(Ordering::Acquire) == layout::CONSUMER_FREE {
                return None;
            }
            // The loss first: where it had read to by then is further on, and never before that.
            let lost = identity.lost.load(Ordering::Acquire);
            let next = lines.cursor.0.sequence.load(Ordering::Relaxed);
            let opens = u64::from(identity.opens.load(Ordering::Relaxed));
            Some(ReaderLoss { line, opens, next, lost })
        })
    }

    /// See [`RingStatus`].
    pub fn status(&self) -> Result<RingStatus, RingError> {
        let held = |offset| lock::is_held(&self.file, offset).map_err(io_error("examine locks of", &self.path));
        let end = self.newest();
        let mut consumers = Vec::new();
        let mut slowest = end.position;
        for (line, lines) in self.consumers().iter().enumerate() {
            let identity = &lines.identity.0;
            let state = match identity.state.load(Ordering::Acquire) {
                layout::CONSUMER_GATING => ConsumerState::Gating,
                layout::CONSUMER_LOSSY => ConsumerState::Lossy,
                layout::CONSUMER_DETACHED => ConsumerState::Detached,
                _ => continue,
            };
            if state == ConsumerState::Gating {
                slowest = slowest.min(lines.cursor.0.position.load(Ordering::Acquire));
            }
            let next = lines.cursor.0.sequence.load(Ordering::Relaxed);
            let bound = |milliseconds: u32| (milliseconds != u32::MAX).then_some(milliseconds);
            consumers.push(ConsumerStatus {
                line,
                name: lines.name(),
                state,
                alive: held(self.lock_offset_of(lines))?,
                process_id: identity.process_id.load(Ordering::Relaxed),
                next,
                lag: end.sequence.saturating_sub(next),
                detach_after_ms: bound(identity.detach_after_ms.load(Ordering::Relaxed)),
                block_ms: bound(identity.block_ms.load(Ordering::Relaxed)),
                gaps: identity.gaps.load(Ordering::Relaxed),
                lost: identity.lost.load(Ordering::Relaxed),
                corrupt: identity.corrupt.load(Ordering::Relaxed),
                latency: LatencyCounts {
                    sum_ns: lines.latency.0.sum_ns.load(Ordering::Relaxed),
                    counts: lines.latency.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
                },
            });
        }
        let producers = self
            .producers()
            .iter()
            .enumerate()
            .filter(|(_, line)| line.0.opens.load(Ordering::Relaxed) != 0)
            .map(|(line, words)| {
                Ok(ProducerStatus {
                    line,
                    alive: held(self.lock_offset_of(words))?,
                    process_id: words.0.process_id.load(Ordering::Relaxed),
                    opens: words.0.opens.load(Ordering::Relaxed),
                    waits: words.0.waits.load(Ordering::Relaxed),
                    waited_ns: words.0.waited_ns.load(Ordering::Relaxed),
                })
            })
            .collect::<Result<Vec<_>, RingError>>()?;
        let hot = self.hot();
        let claim = self.claim_at(end);
        Ok(RingStatus {
            oldest: self.oldest().sequence,
            published: end.sequence - 1,
            durable: hot.watermarks.0.durable.load(Ordering::Acquire),
            replicated: hot.watermarks.0.replicated.load(Ordering::Acquire),
            written: end.position.saturating_sub(self.start_position()),
            unread: (end.position - slowest).min(self.mask + 1),
            producer_alive: producers.iter().any(|producer| producer.alive),
            producers,
            stuck: claim.map(|claim| StuckClaim { sequence: end.sequence, line: claim.producer().into() }),
            registry_held: held(self.lock_offset_of(&hot.joins))?,
            raiser: hot.raiser.0.load(Ordering::Relaxed).checked_sub(1).map(|line| line as usize),
            repairs: RepairCounts {
                claims: hot.repairs.0.claims.load(Ordering::Relaxed),
                raisers: hot.repairs.0.raisers.load(Ordering::Relaxed),
                detached: hot.repairs.0.detached.load(Ordering::Relaxed),
            },
            consumers,
        })
    }

    /// Position of the first message this file could hold.
    fn start_position(&self) -> u64 {
        match self.info.kind {
            RingKind::Frames { .. } => 0,
            RingKind::Slots { .. } | RingKind::Runs { .. } => self.info.first_sequence,
        }
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
