//! A reader with a cursor of its own.
//!
//! A gating consumer reads in place: the producer does not overwrite what its cursor has not passed. A lossy one
//! reads copies and checks afterwards that the floor had not passed them; what it missed is a [`Gap`], never silence.
//! Reading and committing are two steps ([`Consumer::read`], [`Consumer::commit`]), so that a cursor can wait until
//! what was read is safe elsewhere; [`Consumer::poll`] does both.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crate::error::RingError;
use crate::floor::{self, Line};
use crate::frame::{Frame, Look, Place, WholeSlot};
use crate::futex::{self, Sharing, Words};
use crate::layout::{self, CONSUMER_NAME_MAX, ConsumerLines};
use crate::lock::EndpointLock;
use crate::mapping::{Mapping, io_error};
use crate::options::{Mode, RingKind};
use crate::ring::Ring;
use crate::room::{LIVENESS_INTERVAL, raise};
use crate::slots::SlotBatch;
use crate::wait::{Backoff, PARK_SLICE, Wait, deadline, monotonic_ns};
use crate::watch::{Stuck, Watch};

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest message still there.
    Earliest,
    /// After the newest.
    Latest,
    /// At this one, from 1 on. If it is overwritten already, at the oldest still there with a [`Gap`] first.
    Sequence(u64),
    /// Where the consumer of this name left; a new name starts at the oldest.
    #[default]
    Resume,
}

/// What happens when a consumer is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Producers wait for it: `patience` (`None`: for ever) while it lives, `detach_after` (`None`: for ever) when it is
    /// dead. A write that has waited so long for a living one fails; with a patience of zero it does not wait at all.
    Block {
        /// How long one write waits for it. Its producer is told [`crate::Obstacle::Refusing`] then.
        patience: Option<Duration>,
        /// From the moment the producer finds it dead while it waits for it.
        detach_after: Option<Duration>,
    },
    /// The producer overwrites what it has not read; it is told the gap.
    Overwrite,
}

impl Default for Policy {
    fn default() -> Self {
        Self::Block { patience: None, detach_after: Some(Duration::from_secs(10)) }
    }
}

/// How a consumer joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Keeps its cursor across restarts under this name. Empty: leaves nothing behind.
    pub name: String,
    /// See [`Start`].
    pub start: Start,
    /// See [`Policy`]; `None` is [`Policy::default`], or [`Policy::Overwrite`] where the producer waits for nobody.
    pub policy: Option<Policy>,
    /// Sees what is published although it is not durable yet. Nothing lasting may come of it.
    pub peek: bool,
    /// See [`Wait`].
    pub wait: Wait,
}

impl ConsumerOptions {
    /// A consumer of this name that resumes, blocks where it may and sees what is visible.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets [`ConsumerOptions::start`].
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets [`ConsumerOptions::policy`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Sets [`ConsumerOptions::peek`].
    #[must_use]
    pub fn peek(mut self, on: bool) -> Self {
        self.peek = on;
        self
    }

    /// Sets [`ConsumerOptions::wait`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }
}

/// Messages a consumer will never see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Sequence of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many messages; 0 when nothing new is visible.
    Messages(usize),
    /// Messages were lost before the next one. The next read goes on after them.
    Gap(Gap),
}

/// One consumer. Its lock is held until it is dropped; a named one keeps its cursor.
#[derive(Debug)]
pub struct Consumer {
    pub(crate) ring: Ring,
    lock: EndpointLock,
    index: usize,
    pub(crate) next: Place,
    /// Where it gates: all before this may be overwritten.
    committed: Place,
    /// The sequence it resumes at.
    resume: u64,
    gap: Option<Gap>,
    pub(crate) gating: bool,
    /// Whether the durable watermark bounds it.
    bounded: bool,
    /// Up to which sequence it may read, as last seen.
    visible: u64,
    wait: Wait,
    stuck: Stuck,
    /// The message that must be there and is not, if that was found.
    missing: Option<u64>,
    /// See [`Consumer::make_up_gaps`].
    makes_up: bool,
    /// Looks that found nothing.
    idle: u32,
    /// Messages that are not read in place.
    pub(crate) copy: Vec<u8>,
}

impl Consumer {
    pub(crate) fn open(ring: Ring, options: &ConsumerOptions) -> Result<Self, RingError> {
        if options.name.len() > CONSUMER_NAME_MAX || options.name.contains('\0') {
            return Err(RingError::Option {
                option: "name",
                value: options.name.clone(),
                reason: "must have at most 64 bytes and no zero byte",
            });
        }
        if options.wait == Wait::Park && !ring.info().parking {
            return Err(RingError::NoParking);
        }
        if options.start == Start::Sequence(0) {
            return Err(RingError::Option { option: "start", value: "0".to_owned(), reason: "sequences begin with 1" });
        }
        let policy = match (options.policy, ring.info().never_waits) {
            (Some(Policy::Block { .. }), true) => {
                return Err(RingError::Option {
                    option: "policy",
                    value: "block".to_owned(),
                    reason: "this channel's producer waits for nobody; join with overwrite and take what was missed as a gap",
                });
            }
            (Some(policy), _) => policy,
            (None, true) => Policy::Overwrite,
            (None, false) => Policy::default(),
        };
        ring.clone().with_registry(|| Self::join(ring, options, policy))
    }

    fn join(ring: Ring, options: &ConsumerOptions, policy: Policy) -> Result<Self, RingError> {
        let (index, lock, known) = take_line(&ring, &options.name)?;
        let mapping = &ring.mapping;
        let lines = &mapping.consumers()[index];
        let (cursor, identity) = (&lines.cursor.0, &lines.identity.0);
        let gating = policy != Policy::Overwrite;
        let newest = mapping.newest();

        let left = Place {
            sequence: cursor.sequence.load(Ordering::Relaxed),
            position: cursor.position.load(Ordering::Acquire),
        };
        // The sequence it must not miss, if any, and the best place known to begin at.
        let (wanted, mut next) = match options.start {
            Start::Resume if known => {
                let place = mapping.place_at(left.position, newest);
                // Never beyond the end, whatever the line says. Before the place: an untold gap; after it: acknowledged.
                let wanted = left.sequence.min(newest.sequence);
                (Some(wanted), place.unwrap_or_else(|| mapping.oldest()))
            }
            Start::Resume | Start::Earliest => (None, mapping.oldest()),
            Start::Latest => (None, newest),
            Start::Sequence(sequence) if sequence > newest.sequence => {
                return Err(RingError::StartBeyond { asked: sequence, next: newest.sequence });
            }
            Start::Sequence(sequence) => (Some(sequence), mapping.oldest()),
        };

        if !known {
            identity.name_size.store(options.name.len() as u32, Ordering::Relaxed);
            let mut name = [0; CONSUMER_NAME_MAX];
            name[..options.name.len()].copy_from_slice(options.name.as_bytes());
            for (word, bytes) in identity.name.iter().zip(name.as_chunks::<8>().0) {
                word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
            }
            let counters = [&identity.gaps, &identity.lost, &identity.corrupt, &lines.latency.0.sum_ns];
            for counter in counters.into_iter().chain(&lines.latency.0.counts) {
                counter.store(0, Ordering::Relaxed);
            }
        }
        let (patience, detach_after) = match policy {
            Policy::Block { patience, detach_after } => (patience, detach_after),
            Policy::Overwrite => (None, None),
        };
        identity.block_ms.store(milliseconds(patience), Ordering::Relaxed);
        identity.detach_after_ms.store(milliseconds(detach_after), Ordering::Relaxed);
        identity.process_id.store(std::process::id(), Ordering::Relaxed);
        identity.opens.fetch_add(1, Ordering::Relaxed);

        let state = if gating { layout::CONSUMER_GATING } else { layout::CONSUMER_LOSSY };
        let joins = &mapping.hot().joins.0;
        next = lines.line().join(state, joins, || mapping.oldest().into(), wanted, next.into()).into();

        let bounded = mapping.info.visible_durable && !options.peek;
        let mut consumer = Self {
            lock,
            index,
            next,
            committed: Place { sequence: wanted.unwrap_or(next.sequence).min(next.sequence), ..next },
            resume: wanted.unwrap_or(next.sequence),
            gap: None,
            gating,
            bounded,
            visible: if bounded { 0 } else { u64::MAX },
            wait: options.wait,
            stuck: Stuck::default(),
            missing: None,
            makes_up: false,
            idle: 0,
            copy: Vec::new(),
            ring,
        };
        if let Some(wanted) = wanted {
            consumer.go_to(wanted)?;
            consumer.commit();
        }
        Ok(consumer)
    }

    /// Moves forward to a sequence without handing anything out; what is gone already is a gap.
    fn go_to(&mut self, wanted: u64) -> Result<(), RingError> {
        loop {
            if self.next.sequence > wanted {
                self.gap = Some(Gap { first: wanted, count: self.next.sequence - wanted });
                return Ok(());
            }
            let mapping = &self.ring.mapping;
            if self.next.sequence == wanted {
                return Ok(());
            }
            if let RingKind::Slots { .. } = mapping.info.kind {
                self.next = Place { sequence: wanted, position: wanted };
                return Ok(());
            }
            let last = match mapping.look(self.next) {
                Look::Frame(first) => mapping.last_frame(first),
                other => other,
            };
            match last {
                Look::Frame(last) if self.gating || !self.overtaken() => {
                    self.next = Place { sequence: self.next.sequence + 1, position: last.end };
                }
                _ if self.overtaken() => self.next = mapping.oldest(),
                _ => return Err(RingError::Corrupt { sequence: self.next.sequence, reason: "no way past it" }),
            }
        }
    }

    /// From now on its reader gets what the ring overwrites from elsewhere: gaps are given and not counted as lost, and
    /// what was never read here can be acknowledged.
    pub fn make_up_gaps(&mut self) {
        self.makes_up = true;
    }

    /// Counts messages that its reader could not get elsewhere either.
    pub fn count_lost(&self, gap: Gap) {
        let identity = &self.lines().identity.0;
        raise(&identity.gaps, 1);
        raise(&identity.lost, gap.count);
    }

    /// Goes on at this sequence, because what is before it was read elsewhere; it does not go back. What the ring has
    /// overwritten of it by then is a gap.
    ///
    /// # Errors
    /// [`RingError::StartBeyond`] for one that is not written yet, and then it stays where it is; [`RingError::Corrupt`] when
    /// damage hides it; [`RingError::Forked`].
    pub fn skip_to(&mut self, sequence: u64) -> Result<(), RingError> {
        self.check_owner()?;
        let next = self.ring.mapping.newest().sequence;
        if sequence > next {
            return Err(RingError::StartBeyond { asked: sequence, next });
        }
        if sequence >= self.next.sequence {
            self.gap = None;
        }
        if sequence > self.next.sequence {
            self.go_to(sequence)?;
        }
        Ok(())
    }

    /// The ring it reads.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether producers wait for it.
    pub fn is_gating(&self) -> bool {
        self.gating
    }

    /// How much of the ring it keeps from being overwritten, and of how much: slots, or bytes of frames.
    pub fn keeps(&self) -> (u64, u64) {
        let newest = self.ring.mapping.newest().position;
        (newest.saturating_sub(self.committed.position), self.ring.info().kind.capacity())
    }

    /// Whether messages were lost before the next one, as far as can be seen now.
    pub fn has_gap(&self) -> bool {
        self.gap.is_some() || !self.gating && self.overtaken()
    }

    /// The sequence it reads next.
    pub fn next_sequence(&self) -> u64 {
        self.next.sequence
    }

    /// Last sequence it has consumed: it resumes after it.
    pub fn committed(&self) -> u64 {
        self.resume - 1
    }

    /// Last sequence that was handed out, or told to be lost.
    pub fn last_read(&self) -> u64 {
        self.gap.map_or(self.next.sequence, |gap| gap.first) - 1
    }

    /// Resumes after this sequence from now on, however it ends: one store for any number of messages. Their place is kept
    /// until they are committed. One before what was acknowledged changes nothing.
    ///
    /// # Errors
    /// [`RingError::NotRead`] for one that was not handed out yet; [`RingError::Forked`].
    pub fn acknowledge(&mut self, sequence: u64) -> Result<(), RingError> {
        self.check_owner()?;
        let last = self.last_read();
        if sequence > last && !self.makes_up {
            return Err(RingError::NotRead { sequence, last });
        }
        if sequence >= self.resume {
            self.resume = sequence + 1;
            self.lines().cursor.0.sequence.store(self.resume, Ordering::Release);
        }
        Ok(())
    }

    /// The place after all it has read, for [`Consumer::commit_to`].
    pub fn place(&self) -> Place {
        self.next
    }

    /// Hands up to `limit` messages to `each`, as far as they are visible. Does not wait and does not commit.
    ///
    /// A payload is valid during its call. For gating consumers it lies in the ring unless the message has parts.
    ///
    /// # Errors
    /// [`RingError::Corrupt`] at a damaged message, after those before it were handed out by an earlier call;
    /// [`Consumer::skip`] goes past it. [`RingError::Forked`].
    pub fn read(&mut self, limit: usize, mut each: impl FnMut(u64, &[u8])) -> Result<Read, RingError> {
        self.read_while(limit, |sequence, payload| {
            each(sequence, payload);
            ControlFlow::Continue(())
        })
    }

    /// As [`Consumer::read`], until `each` breaks. The message it broke at is not counted and is read again.
    ///
    /// # Errors
    /// Those of [`Consumer::read`].
    pub fn read_while(
        &mut self,
        limit: usize,
        mut each: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<Read, RingError> {
        if let Some(gap) = self.take_gap()? {
            return Ok(Read::Gap(gap));
        }
        let from = self.next.sequence;
        let (mut count, end) = self.read_whole_slots(limit, &mut each);
        if end == RunEnd::Broke || end == RunEnd::Nothing && !self.is_missing() {
            self.measure(from);
            return Ok(Read::Messages(count));
        }
        while count < limit && self.is_visible() {
            let first = match self.ring.mapping.look(self.next) {
                Look::Frame(frame) if frame.is_void() => {
                    if !frame.holds(&self.ring.mapping, &[]) {
                        return self.fail(count, "CRC");
                    }
                    if !self.gating && self.overtaken() {
                        return Ok(self.lose(count));
                    }
                    self.pass(frame);
                    continue;
                }
                Look::Frame(frame) => frame,
                Look::Nothing => {
                    // A lossy reader may stand where nothing is any more.
                    if !self.gating && self.overtaken() {
                        return Ok(self.lose(count));
                    }
                    if self.mend()? {
                        continue;
                    }
                    if self.is_missing() {
                        return self.fail(count, "sequence word");
                    }
                    break;
                }
                Look::Bad(reason) => return self.fail(count, reason),
            };
            let end = if self.gating && first.is_whole() {
                let payload = first.payload(&self.ring.mapping);
                if !first.holds(&self.ring.mapping, payload) {
                    return self.fail(count, "CRC");
                }
                if each(first.sequence, payload).is_break() {
                    break;
                }
                first.end
            } else {
                let end = match self.ring.mapping.copy_message(first, &mut self.copy) {
                    Ok(end) => end,
                    Err(reason) => return self.fail(count, reason),
                };
                if !self.gating && self.overtaken() {
                    return Ok(self.lose(count));
                }
                if each(first.sequence, &self.copy).is_break() {
                    break;
                }
                end
            };
            self.next = Place { sequence: self.next.sequence + 1, position: end };
            count += 1;
        }
        self.measure(from);
        Ok(Read::Messages(count))
    }

    /// Records that are there and hold, read in place: nearly all there ever are. How many, and why not more.
    #[inline]
    fn read_whole_slots(
        &mut self,
        limit: usize,
        each: &mut impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> (usize, RunEnd) {
        let mapping = &*self.ring.mapping;
        let Some(slots) = mapping.slots().filter(|_| self.gating && !self.bounded) else { return (0, RunEnd::Other) };
        let mut count = 0;
        while count < limit {
            let sequence = self.next.sequence;
            let record = match slots.at(sequence) {
                WholeSlot::Record(record) => record,
                WholeSlot::Free => return (count, RunEnd::Nothing),
                WholeSlot::Other => break,
            };
            if each(sequence, record).is_break() {
                return (count, RunEnd::Broke);
            }
            self.next = Place { sequence: sequence + 1, position: sequence + 1 };
            count += 1;
        }
        (count, RunEnd::Other)
    }

    /// Goes past the claim of a message that never came.
    pub(crate) fn pass(&mut self, void: Frame) {
        self.next = Place { sequence: self.next.sequence + 1, position: void.end };
    }

    /// Counts the latency of the newest stamped message among those read, from `from` up to the next.
    #[inline]
    pub(crate) fn measure(&self, from: u64) {
        let stamped = (self.next.sequence - 1) / layout::STAMP_EVERY * layout::STAMP_EVERY;
        if stamped >= from && stamped > 0 {
            self.count_latency(stamped);
        }
    }

    #[cold]
    fn count_latency(&self, sequence: u64) {
        let stamp = self.ring.mapping.stamp(sequence);
        if stamp.sequence.load(Ordering::Acquire) != sequence {
            return;
        }
        let committed_ns = stamp.committed_ns.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if stamp.sequence.load(Ordering::Relaxed) == sequence {
            let nanoseconds = monotonic_ns().saturating_sub(committed_ns);
            let latency = &self.lines().latency.0;
            raise(&latency.sum_ns, nanoseconds);
            raise(&latency.counts[layout::latency_bucket(nanoseconds)], 1);
        }
    }

    /// See [`Stuck::mend`].
    pub(crate) fn mend(&mut self) -> Result<bool, RingError> {
        self.stuck.mend(&self.ring, self.next)
    }

    /// Whether the next message is one that must be there. Looked at now and then only.
    pub(crate) fn is_missing(&mut self) -> bool {
        self.idle = self.idle.wrapping_add(1);
        if self.idle.is_multiple_of(IDLE_LOOKS) {
            self.look_for_missing();
        }
        self.missing == Some(self.next.sequence)
    }

    fn look_for_missing(&mut self) {
        self.missing = self.ring.mapping.is_missing(self.next).then_some(self.next.sequence);
    }

    /// How long it may sleep without looking.
    pub(crate) fn sleep_max(&self) -> Duration {
        // Nobody wakes those who wait for a message whose producer is dead.
        if self.stuck.is_at_a_claim() { LIVENESS_INTERVAL } else { PARK_SLICE }
    }

    /// [`Consumer::read`] and [`Consumer::commit`].
    ///
    /// # Errors
    /// Those of [`Consumer::read`].
    pub fn poll(&mut self, limit: usize, each: impl FnMut(u64, &[u8])) -> Result<Read, RingError> {
        let read = self.read(limit, each)?;
        self.commit();
        Ok(read)
    }

    /// Lets the producer overwrite all that was read, and resumes after it next time.
    pub fn commit(&mut self) {
        self.commit_to(self.next);
    }

    /// Commits only up to a [`Consumer::place`] of this consumer. One before what is committed changes nothing.
    pub fn commit_to(&mut self, place: Place) {
        if place.sequence <= self.committed.sequence || !self.lock.is_ours() {
            return;
        }
        // A gap nobody has been told of yet is not consumed: it must be found again after a crash.
        if self.gap.is_some_and(|gap| place.sequence > gap.first) {
            return;
        }
        assert!(place.sequence <= self.next.sequence, "commit of {} which was not read", place.sequence - 1);
        self.resume = self.resume.max(place.sequence);
        self.lines().line().advance(Place { sequence: self.resume, ..place }.into());
        self.committed = place;
    }

    /// Goes past a damaged message and gives what is lost with it. On frames that may be all up to the newest, because
    /// a damaged length hides where the next one starts. On a durable channel it goes no further than the consumer may see, so what
    /// is damaged and not durable yet is not gone past.
    ///
    /// # Errors
    /// [`RingError::Forked`].
    pub fn skip(&mut self) -> Result<Gap, RingError> {
        self.check_owner()?;
        if !self.is_visible() {
            return Ok(Gap { first: self.next.sequence, count: 0 });
        }
        let mapping = &self.ring.mapping;
        let newest = mapping.newest();
        let first = self.next.sequence;
        let look = mapping.look(self.next);
        let last = match look {
            Look::Frame(frame) => Some(mapping.last_frame(frame)),
            _ => None,
        };
        let is_there = !matches!(look, Look::Nothing) || self.missing == Some(first);
        let after = match last {
            _ if !self.gating && self.overtaken() => mapping.oldest(),
            // With many producers nobody says how far all is committed: the next message that is there.
            _ if mapping.info.mode == Mode::Mpsc && is_there => match mapping.info.kind {
                RingKind::Slots { .. } => Place { sequence: first + 1, position: first + 1 },
                _ => match (mapping.after_damage(self.next), last) {
                    (Some(place), _) => place,
                    // It is the newest: its length is believed until something else is found.
                    (None, Some(Look::Frame(last))) => Place { sequence: first + 1, position: last.end },
                    (None, _) => self.next,
                },
            },
            // The length is believed if a message of the right sequence follows where it says.
            Some(Look::Frame(last)) if first < newest.sequence => match mapping.place_at(last.end, newest) {
                Some(place) if place.sequence == first + 1 => place,
                _ => newest,
            },
            _ if first >= newest.sequence => self.next,
            _ => match mapping.info.kind {
                RingKind::Slots { .. } => Place { sequence: first + 1, position: first + 1 },
                RingKind::Frames { .. } | RingKind::Runs { .. } => newest,
            },
        };
        Ok(self.go_past(after))
    }

    /// Waits until something can be read; false when `timeout` passed first.
    ///
    /// # Errors
    /// [`RingError::Forked`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, RingError> {
        self.check_owner()?;
        let deadline = deadline(timeout);
        let mut backoff = Backoff::new(self.wait);
        loop {
            if self.is_ready() {
                return Ok(true);
            }
            if backoff.is_slow() {
                let now = Instant::now();
                if deadline.is_some_and(|deadline| now >= deadline) {
                    return Ok(false);
                }
                if self.mend()? {
                    continue;
                }
                if backoff.is_idle() || self.wait == Wait::Park {
                    self.look_for_missing();
                }
                if self.wait == Wait::Park {
                    let slice = self.sleep_max();
                    self.park(Some(deadline.map_or(slice, |deadline| (deadline - now).min(slice))));
                    continue;
                }
            }
            backoff.pause();
        }
    }

    /// Whether a read would find something: a message, a gap or damage.
    pub fn is_ready(&mut self) -> bool {
        // What was never committed is nothing to read.
        while self.ring.info().mode == Mode::Mpsc
            && self.is_visible()
            && let Look::Frame(frame) = self.ring.mapping.look(self.next)
            && frame.is_void()
            && frame.holds(&self.ring.mapping, &[])
            && (self.gating || !self.overtaken())
        {
            self.pass(frame);
        }
        self.gap.is_some()
            || self.is_visible()
                // One that was overtaken before it may see what stands there gives nothing until then.
                && (self.missing == Some(self.next.sequence)
                    || !matches!(self.ring.mapping.look(self.next), Look::Nothing)
                    || !self.gating && self.overtaken())
    }

    /// A look at where it stands, for who waits in its place.
    pub fn watch(&self) -> Watch {
        Watch {
            ring: self.ring.clone(),
            next: self.next,
            gating: self.gating,
            bounded: self.bounded,
            has_gap: self.gap.is_some(),
            durable: None,
            stuck: Stuck::default(),
        }
    }

    /// A look at whether this sequence is durable and nothing else, for who reads it elsewhere.
    pub fn watch_durable(&self, sequence: u64) -> Watch {
        Watch { durable: Some(sequence), ..self.watch() }
    }

    fn park(&mut self, timeout: Option<Duration>) {
        let ring = self.ring.clone();
        let (word, value) = ring.mapping.announce_sleep();
        if self.is_ready() {
            return;
        }
        // Woken, interrupted, timed out or too late: the caller looks again in each case.
        futex::wait(word, Sharing::Machine, value, timeout);
    }

    // --- used by slot batches too

    pub(crate) fn take_gap(&mut self) -> Result<Option<Gap>, RingError> {
        self.check_owner()?;
        Ok(self.gap.take().inspect(|gap| self.count_gap(*gap)))
    }

    /// Whether the next sequence is within what this consumer may see.
    #[inline]
    pub(crate) fn is_visible(&mut self) -> bool {
        self.next.sequence <= self.visible || self.bounded && self.look_further()
    }

    fn look_further(&mut self) -> bool {
        self.visible = self.ring.durable();
        self.next.sequence <= self.visible
    }

    /// How many messages from the next on it may see, as last looked.
    pub(crate) fn visible_count(&self) -> u64 {
        self.visible.saturating_sub(self.next.sequence - 1)
    }

    /// Whether the producer may have overwritten what stands at `next`. Whatever was copied before this is whole when
    /// it says no.
    #[inline]
    pub(crate) fn overtaken(&self) -> bool {
        floor::has_passed::<AtomicU64>(|| self.ring.mapping.oldest().position, self.next.position)
    }

    /// Overtaken after `count` messages: those first, the gap with the next read.
    pub(crate) fn lose(&mut self, count: usize) -> Read {
        let after = self.as_far_as_visible(self.ring.mapping.oldest());
        if count > 0 {
            self.gap =
                Some(Gap { first: self.next.sequence, count: after.sequence.saturating_sub(self.next.sequence) });
            self.next = after;
            return Read::Messages(count);
        }
        Read::Gap(self.go_past(after))
    }

    /// Goes on at a place, or before it at what may not be seen yet; what is so lost.
    fn go_past(&mut self, after: Place) -> Gap {
        let after = self.as_far_as_visible(after);
        let gap = Gap { first: self.next.sequence, count: after.sequence.saturating_sub(self.next.sequence) };
        self.next = after;
        self.count_gap(gap);
        gap
    }

    /// A gap ends with what the consumer may see: of what is not durable nobody may say that it was there, and where the consumer
    /// stands, acknowledges and keeps checkpoints is never ahead of the disk. The rest is the next gap, when it is durable.
    fn as_far_as_visible(&self, after: Place) -> Place {
        if !self.bounded || after.sequence - 1 <= self.visible {
            return after;
        }
        let sequence = self.next.sequence.max(self.visible + 1);
        let position = match self.ring.info().kind {
            RingKind::Slots { .. } => sequence,
            // Frames that are gone, or behind one whose length is not known, have no place: it stays where it is.
            RingKind::Frames { .. } | RingKind::Runs { .. } => self.next.position,
        };
        Place { sequence, position }
    }

    /// A message that does not hold: overtaken, or damaged. Those before it are handed out first.
    pub(crate) fn fail(&mut self, count: usize, reason: &'static str) -> Result<Read, RingError> {
        if !self.gating && self.overtaken() {
            return Ok(self.lose(count));
        }
        if count > 0 {
            return Ok(Read::Messages(count));
        }
        raise(&self.lines().identity.0.corrupt, 1);
        Err(RingError::Corrupt { sequence: self.next.sequence, reason })
    }

    #[inline]
    fn check_owner(&self) -> Result<(), RingError> {
        if self.lock.is_ours() { Ok(()) } else { Err(RingError::Forked) }
    }

    fn count_gap(&self, gap: Gap) {
        if !self.makes_up {
            self.count_lost(gap);
        }
    }

    fn lines(&self) -> &ConsumerLines {
        &self.ring.mapping.consumers()[self.index]
    }

    /// The next run of slots as one view; see [`SlotBatch`]. Does not wait and does not commit.
    ///
    /// # Errors
    /// Those of [`Consumer::read`]; [`RingError::Kind`] on frames.
    pub fn slots(&mut self, limit: usize) -> Result<SlotBatch, RingError> {
        SlotBatch::read(self, limit)
    }
}

/// Why [`Consumer::read_whole_slots`] ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunEnd {
    /// `each` wanted no more.
    Broke,
    /// Nobody has claimed the next slot.
    Nothing,
    /// So many were asked for, or what stands next needs a closer look.
    Other,
}

/// Looks that find nothing before it is asked whether there must be something.
const IDLE_LOOKS: u32 = 1024;

/// Consumers that one thread can sleep on at once; more are looked at in turn.
const SLEEP_MAX: usize = 32;

/// Waits until one of the consumers in `items` can read something; false when `timeout` passed first. Those that
/// `consumer` gives `None` for are left out. `wait` says how, whatever the consumers were opened with.
///
/// # Errors
/// [`RingError::Forked`].
pub fn wait_any<T>(
    items: &mut [T],
    consumer: impl Fn(&mut T) -> Option<&mut Consumer>,
    wait: Wait,
    timeout: Option<Duration>,
) -> Result<bool, RingError> {
    wait_any_or_durable(items, consumer, None, wait, timeout)
}

/// As [`wait_any`], or until a sequence of a ring is durable, for who has something ready that only waits for that.
///
/// # Errors
/// [`RingError::Forked`].
pub fn wait_any_or_durable<T>(
    items: &mut [T],
    consumer: impl Fn(&mut T) -> Option<&mut Consumer>,
    durable: Option<(&Ring, u64)>,
    wait: Wait,
    timeout: Option<Duration>,
) -> Result<bool, RingError> {
    let deadline = deadline(timeout);
    let mut backoff = Backoff::new(wait);
    let is_durable = || durable.is_some_and(|(ring, sequence)| ring.durable() >= sequence);
    let mut can_sleep = wait == Wait::Park && items.len() < SLEEP_MAX;
    loop {
        if is_durable() {
            return Ok(true);
        }
        for consumer in items.iter_mut().filter_map(&consumer) {
            consumer.check_owner()?;
            if consumer.is_ready() {
                return Ok(true);
            }
        }
        if backoff.is_slow() {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(false);
            }
            let mut slice = PARK_SLICE;
            for consumer in items.iter_mut().filter_map(&consumer) {
                consumer.mend()?;
                if backoff.is_idle() || can_sleep {
                    consumer.look_for_missing();
                }
                slice = slice.min(consumer.sleep_max());
            }
            if can_sleep {
                let left = deadline.map_or(slice, |deadline| (deadline - now).min(slice));
                can_sleep = sleep_on(items, &consumer, durable.map(|(ring, _)| ring), is_durable, Some(left));
                continue;
            }
        }
        backoff.pause();
    }
}

/// Sleeps until a producer of one of the consumers wakes it; false when the kernel cannot (before Linux 5.16).
fn sleep_on<T>(
    items: &mut [T],
    consumer: &impl Fn(&mut T) -> Option<&mut Consumer>,
    durable: Option<&Ring>,
    is_durable: impl Fn() -> bool,
    timeout: Option<Duration>,
) -> bool {
    let mut words = Words::<SLEEP_MAX>::new();
    if let Some(ring) = durable {
        let (word, value) = ring.mapping.announce_sleep();
        words.push(word, Sharing::Machine, value);
    }
    for consumer in items.iter_mut().filter_map(consumer) {
        // The consumer's ring, and with it the word, outlives this call: `items` is borrowed for it.
        let (word, value) = consumer.ring.mapping.announce_sleep();
        words.push(word, Sharing::Machine, value);
    }
    if words.is_empty() {
        std::thread::sleep(timeout.unwrap_or(Duration::from_millis(1)));
        return true;
    }
    if is_durable() || items.iter_mut().filter_map(consumer).any(Consumer::is_ready) {
        return true;
    }
    // Woken, interrupted, timed out or too late: the caller looks again in each case.
    words.sleep(timeout)
}

impl ConsumerLines {
    /// Its words that others look at.
    #[inline]
    pub(crate) fn line(&self) -> Line<'_, AtomicU64, AtomicU32> {
        let (cursor, identity) = (&self.cursor.0, &self.identity.0);
        Line { position: &cursor.position, sequence: &cursor.sequence, state: &identity.state }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let identity = &self.lines().identity.0;
        if self.lock.is_ours() && identity.name_size.load(Ordering::Relaxed) == 0 {
            identity.state.store(layout::CONSUMER_FREE, Ordering::Release);
        }
    }
}

/// Milliseconds as a consumer's line holds them.
fn milliseconds(duration: Option<Duration>) -> u32 {
    duration.map_or(u32::MAX, |duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).min(u32::MAX - 1))
}

/// The line of this name, or a free one, with its lock; true when the name was known. Under the registry's lock.
fn take_line(ring: &Ring, name: &str) -> Result<(usize, EndpointLock, bool), RingError> {
    let mapping: &Mapping = &ring.mapping;
    let acquire = |lines: &ConsumerLines| {
        EndpointLock::acquire(&mapping.file, mapping.lock_offset_of(lines)).map_err(io_error("lock", ring.path()))
    };
    let state = |lines: &ConsumerLines| lines.identity.0.state.load(Ordering::Acquire);
    if !name.is_empty()
        && let Some(lines) = ring.find_consumer(name)
    {
        let busy = || RingError::ConsumerBusy {
            name: name.to_owned(),
            process_id: lines.identity.0.process_id.load(Ordering::Relaxed),
        };
        let index = mapping.consumers().iter().position(|other| std::ptr::eq(other, lines)).expect("it is one of them");
        return Ok((index, acquire(lines)?.ok_or_else(busy)?, true));
    }
    for (index, lines) in mapping.consumers().iter().enumerate() {
        // Unnamed ones that died left their line behind.
        let unnamed = lines.identity.0.name_size.load(Ordering::Relaxed) == 0;
        if (state(lines) == layout::CONSUMER_FREE || unnamed)
            && let Some(lock) = acquire(lines)?
        {
            lines.identity.0.state.store(layout::CONSUMER_FREE, Ordering::Release);
            return Ok((index, lock, false));
        }
    }
    Err(RingError::ConsumersFull { path: ring.path().to_owned(), max: mapping.info.consumers_max })
}
