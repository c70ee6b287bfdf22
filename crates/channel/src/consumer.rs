//! A consumer of a channel whose policy may be `spill`: what the ring overwrote it reads from the journal.
//!
//! Producers do not wait for it. It reads the ring; where that has a gap it goes on in the journal, and comes back to the
//! ring once it stands in its younger half, where it will not be overtaken at once. Ring and journal hold one sequence, so
//! both changes are at a number: nothing is missed and nothing comes twice. What the journal does not hold any more is a
//! gap, given with its count.
//!
//! It sees durable messages only. What comes from the journal is a copy.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidebook_journal::storage::Directory;
use tidebook_journal::{
    JournalError, JournalReader, ReaderOptions, announced_first, configurations_since, is_being_compacted,
};
use tidebook_ring::{Consumer, ConsumerOptions, Gap, Place, Policy, Read, Ring, RingError, SlotBatch, Start, Watch};

use crate::configuration::{self, Layout};
use crate::error::ChannelError;
use crate::link;

/// How far the journal's reader may be behind the place where it is needed again and still read on instead of searching.
const READ_ON_MAX: u64 = 1 << 18;
/// How often a consumer that waits for what only the journal will have looks at the watermark.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// How often who opens looks whether that is removed by now which compaction has announced.
const REMOVAL_LOOKS_MAX: usize = 1000;

/// The place after what was read, for [`ChannelConsumer::commit_to`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In the ring.
    Ring(Place),
    /// In the journal, before this sequence.
    Journal(u64),
}

impl End {
    /// Sequence of the message after it.
    pub fn sequence(self) -> u64 {
        match self {
            Self::Ring(place) => place.sequence(),
            Self::Journal(next) => next,
        }
    }
}

/// A consumer of a ring, and of its journal if its policy is `spill`.
#[derive(Debug)]
pub struct ChannelConsumer {
    consumer: Consumer,
    history: Option<History>,
}

impl From<Consumer> for ChannelConsumer {
    /// Of the ring alone, by the policy it joined with.
    fn from(consumer: Consumer) -> Self {
        Self { consumer, history: None }
    }
}

impl ChannelConsumer {
    /// Joins with policy `spill`, in any process that has the ring; [`ConsumerOptions::policy`] is not looked at. The
    /// earliest message is the first of the journal, and so is the start of a name that the ring does not know.
    ///
    /// # Errors
    /// [`RingError::Option`] for a peek, which would see what no journal may have, and on a channel without a journal;
    /// [`ChannelError::NoJournal`], [`ChannelError::OtherJournal`], [`ChannelError::OtherLayout`],
    /// [`ChannelError::OtherLayoutBefore`]; those of [`Ring::consumer`] and [`JournalReader::open`].
    pub fn spilling(ring: &Ring, options: &ConsumerOptions) -> Result<Self, ChannelError> {
        let refuse = |reason| RingError::Option { option: "policy", value: "spill".to_owned(), reason };
        if !ring.info().visible_durable {
            return Err(refuse(
                "this channel has no journal; use block, or overwrite and take what was missed as a gap",
            )
            .into());
        }
        if options.peek {
            return Err(refuse("spill gives durable messages only; leave peek out, or use block or overwrite").into());
        }
        let path = link::journal_of(ring.path())?;
        let reader = JournalReader::open(&path, ReaderOptions::default())?;
        if reader.journal_id() as u32 != ring.info().epoch as u32 {
            return Err(ChannelError::OtherJournal { ring: ring.path().to_owned(), journal: path });
        }
        let first = reader.next_sequence();
        let start = match options.start {
            Start::Earliest => None,
            Start::Resume if !ring.knows_consumer(&options.name) => None,
            other => Some(other),
        };
        let earliest = if first < ring.oldest() { Start::Sequence(first) } else { Start::Earliest };
        let begins_at = begins_at(ring, options, start, first)?;
        refuse_other_layout(ring, &path, begins_at)?;
        let joined = options.clone().start(start.unwrap_or(earliest)).policy(Policy::Overwrite);
        let mut consumer = ring.consumer(&joined)?;
        consumer.make_up_gaps();
        let mut history = History { path, reader: None, next: None, held: Held::default() };
        // From here on it is known to who compacts; what was announced before may go all the same.
        let earliest = history.settled_first(first.max(begins_at))?.min(ring.oldest());
        if start.is_none() && earliest > begins_at {
            // Nothing is missed: that was the earliest before anything was read.
            consumer.acknowledge(earliest - 1)?;
            history.go_to(earliest);
        }
        Ok(Self { consumer, history: Some(history) })
    }

    /// Joins as `spill` where the ring has a journal that can be read, and else by [`ConsumerOptions::policy`], if the ring alone has
    /// what the consumer is to begin with: a journal that is away, as its disk is not mounted, is not passed over in silence.
    ///
    /// # Errors
    /// Those of [`ChannelConsumer::spilling`] and [`Ring::consumer`].
    pub fn by_default(ring: &Ring, options: &ConsumerOptions) -> Result<Self, ChannelError> {
        if ring.info().visible_durable && !options.peek {
            use ChannelError as E;
            match Self::spilling(ring, options) {
                Err(E::NoJournal { .. }) => {}
                Err(E::OtherJournal { .. } | E::Journal(JournalError::Absent { .. }))
                    if begins_in_ring(ring, options) => {}
                joined => return joined,
            }
        }
        Ok(ring.consumer(options)?.into())
    }

    /// Whether producers wait for it.
    pub fn is_gating(&self) -> bool {
        self.consumer.is_gating()
    }

    /// Whether what it loses it reads from the journal.
    pub fn is_spilling(&self) -> bool {
        self.history.is_some()
    }

    /// The ring it reads.
    pub fn ring(&self) -> &Ring {
        self.consumer.ring()
    }

    /// Whether the next read looks into the journal, which may take as long as a disk does.
    pub fn needs_the_journal(&self) -> bool {
        self.history.is_some() && (self.is_behind_the_ring() || self.consumer.has_gap())
    }

    /// Whether it reads the journal now.
    pub fn is_behind_the_ring(&self) -> bool {
        self.behind().is_some()
    }

    /// The sequence it reads next.
    pub fn next_sequence(&self) -> u64 {
        match self.behind() {
            Some(next) => next,
            None if self.history.is_some() => self.consumer.last_read() + 1,
            None => self.consumer.next_sequence(),
        }
    }

    /// Last sequence it has consumed: it resumes after it.
    pub fn committed(&self) -> u64 {
        self.consumer.committed()
    }

    /// Last sequence that was handed out, or told to be lost.
    pub fn last_read(&self) -> u64 {
        self.behind().map_or_else(|| self.consumer.last_read(), |next| next - 1)
    }

    /// The place after all it has read, for [`ChannelConsumer::commit_to`].
    pub fn end(&self) -> End {
        self.behind().map_or_else(|| End::Ring(self.consumer.place()), End::Journal)
    }

    /// As [`Consumer::acknowledge`].
    ///
    /// # Errors
    /// [`RingError::NotRead`], [`RingError::Forked`].
    pub fn acknowledge(&mut self, sequence: u64) -> Result<(), RingError> {
        let last = self.last_read();
        if sequence > last {
            return Err(RingError::NotRead { sequence, last });
        }
        self.consumer.acknowledge(sequence)
    }

    /// Counts all that was read as consumed.
    pub fn commit(&mut self) {
        self.commit_to(self.end());
    }

    /// Counts all before an [`End`] of this consumer as consumed. One before what is committed changes nothing.
    pub fn commit_to(&mut self, end: End) {
        match end {
            End::Ring(place) => self.consumer.commit_to(place),
            // In a forked child it does nothing, as the other.
            End::Journal(next) => drop(self.consumer.acknowledge(next - 1)),
        }
    }

    /// As [`Consumer::read_while`].
    ///
    /// # Errors
    /// Those of [`Consumer::read_while`]; of the journal [`JournalError::Damaged`] and those of reading.
    pub fn read_while(
        &mut self,
        limit: usize,
        mut each: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<Read, ChannelError> {
        self.rejoin()?;
        if !self.is_behind_the_ring() {
            match self.consumer.read_while(limit, &mut each)? {
                Read::Gap(gap) if self.history.is_some() => self.fall_behind(gap.first),
                read => {
                    self.forget_history();
                    return Ok(read);
                }
            }
        }
        self.read_history(limit, &mut each)
    }

    /// [`ChannelConsumer::read_while`] to the end and [`ChannelConsumer::commit`].
    ///
    /// # Errors
    /// Those of [`ChannelConsumer::read_while`].
    pub fn poll(&mut self, limit: usize, mut each: impl FnMut(u64, &[u8])) -> Result<Read, ChannelError> {
        let read = self.read_while(limit, |sequence, payload| {
            each(sequence, payload);
            ControlFlow::Continue(())
        })?;
        self.commit();
        Ok(read)
    }

    /// As [`Consumer::slots`]; from the journal as a copy laid out like slots of the ring.
    ///
    /// # Errors
    /// Those of [`Consumer::slots`] and [`ChannelConsumer::read_while`].
    pub fn slots(&mut self, limit: usize) -> Result<SlotBatch, ChannelError> {
        self.rejoin()?;
        if !self.is_behind_the_ring() {
            match self.consumer.slots(limit)? {
                SlotBatch::Gap(gap) if self.history.is_some() => self.fall_behind(gap.first),
                batch => {
                    self.forget_history();
                    return Ok(batch);
                }
            }
        }
        let first_sequence = self.next_sequence();
        let mut records = Vec::new();
        let read = self.read_history(limit, &mut |_, record| {
            records.extend_from_slice(record);
            ControlFlow::Continue(())
        })?;
        if let Read::Gap(gap) = read {
            return Ok(SlotBatch::Gap(gap));
        }
        Ok(self.ring().slots_of(first_sequence, &records)?.map_or(SlotBatch::Empty, SlotBatch::Slots))
    }

    /// As [`Consumer::skip`]. In a damaged journal it goes past all that is read from there, up to the ring's oldest, and no further
    /// than the disk is.
    ///
    /// # Errors
    /// Those of [`Consumer::skip`].
    pub fn skip(&mut self) -> Result<Gap, ChannelError> {
        let Some(first) = self.behind() else { return Ok(self.consumer.skip()?) };
        let (durable, oldest) = (self.ring().durable(), self.ring().oldest());
        let next = oldest.min(durable + 1).max(first);
        let gap = Gap { first, count: next - first };
        self.consumer.count_lost(gap);
        if next < oldest {
            self.fall_behind(next);
        } else {
            self.consumer.skip_to(next)?;
            self.set_behind(None);
        }
        Ok(gap)
    }

    /// Whether a read would find something.
    pub fn is_ready(&mut self) -> bool {
        // What is wrong with it is told by reading.
        if self.rejoin().is_err() {
            return true;
        }
        match self.behind() {
            Some(next) => next <= self.ring().durable(),
            None => self.consumer.is_ready(),
        }
    }

    /// As [`Consumer::wait`].
    ///
    /// # Errors
    /// [`RingError::Forked`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool, RingError> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if self.is_ready() {
                return Ok(true);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if !self.is_behind_the_ring() {
                return self.consumer.wait(left);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            std::thread::sleep(left.map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL)));
        }
    }

    /// A look at where it stands, for who waits in its place.
    pub fn watch(&self) -> Watch {
        self.behind().map_or_else(|| self.consumer.watch(), |next| self.consumer.watch_durable(next))
    }

    fn behind(&self) -> Option<u64> {
        self.history.as_ref().and_then(|history| history.next)
    }

    fn set_behind(&mut self, next: Option<u64>) {
        if let Some(history) = &mut self.history {
            history.next = next;
        }
    }

    fn fall_behind(&mut self, next: u64) {
        if let Some(history) = &mut self.history {
            history.go_to(next);
        }
    }

    /// Closes the journal once it is too far behind to read on: a segment that is open takes its space after its removal.
    fn forget_history(&mut self) {
        let next = self.consumer.next_sequence();
        if let Some(history) = &mut self.history
            && history.reader.as_ref().is_some_and(|reader| next.saturating_sub(reader.next_sequence()) > READ_ON_MAX)
        {
            history.reader = None;
            history.held = Held::default();
        }
    }

    /// Goes on in the ring, if that has the next message and it is time.
    fn rejoin(&mut self) -> Result<(), RingError> {
        let Some(next) = self.behind() else { return Ok(()) };
        let ring = self.consumer.ring();
        let (oldest, published, durable) = (ring.oldest(), ring.published(), ring.durable());
        let middle = oldest + (published + 1).saturating_sub(oldest) / 2;
        if next < oldest || next < middle && next <= durable {
            return Ok(());
        }
        match self.consumer.skip_to(next) {
            Ok(()) => self.set_behind(None),
            // Damage in the ring before it; the journal has it whole.
            Err(RingError::Corrupt { .. }) if next <= durable => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read_history(
        &mut self,
        limit: usize,
        each: &mut impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<Read, ChannelError> {
        let durable = self.ring().durable();
        let history = self.history.as_mut().expect("it is behind the ring");
        let found = history.read(limit, durable, each)?;
        let Found::Compacted { next, first } = found else {
            return Ok(found.read());
        };
        // The ring may still have what the journal has not.
        let oldest = self.ring().oldest();
        if oldest <= next {
            self.consumer.skip_to(next)?;
            self.set_behind(None);
            return Ok(self.consumer.read_while(limit, each)?);
        }
        let gap = Gap { first: next, count: first.min(oldest) - next };
        self.set_behind(Some(gap.first + gap.count));
        self.consumer.count_lost(gap);
        Ok(Read::Gap(gap))
    }
}

/// First message that a consumer may be given.
fn begins_at(ring: &Ring, options: &ConsumerOptions, start: Option<Start>, first: u64) -> Result<u64, RingError> {
    Ok(match start {
        None | Some(Start::Earliest) => first,
        Some(Start::Sequence(sequence)) => sequence,
        Some(Start::Latest) => u64::MAX,
        Some(Start::Resume) => {
            let consumers = ring.status()?.consumers;
            consumers.iter().find(|known| known.name == options.name).map_or(first, |known| known.next)
        }
    })
}

/// Whether a consumer finds in the ring alone all that it is to begin with.
fn begins_in_ring(ring: &Ring, options: &ConsumerOptions) -> bool {
    match options.start {
        Start::Latest => true,
        Start::Sequence(sequence) => sequence >= ring.oldest(),
        // What it has read tells what comes next, and what it missed is a gap.
        Start::Resume if ring.knows_consumer(&options.name) => true,
        // Its cursor may be stored with the journal.
        Start::Resume if !options.name.is_empty() => false,
        Start::Resume | Start::Earliest => ring.oldest() == 1,
    }
}

/// A journal that was continued with another layout gives no messages that would be read as what they are not.
fn refuse_other_layout(ring: &Ring, journal: &Path, from: u64) -> Result<(), ChannelError> {
    let expected = Layout::of_ring(ring.info().kind, ring.info().schema.as_ref());
    let changes = configurations_since(&Directory::new(journal), from)?;
    let Some((found, behind)) = configuration::other_layout(&changes, &expected) else { return Ok(()) };
    let journal = journal.to_owned();
    match behind {
        None => Err(ChannelError::OtherLayout { journal, expected, found }),
        Some(first) if from < first => Err(ChannelError::OtherLayoutBefore { journal, first, expected, found }),
        Some(_) => Ok(()),
    }
}

/// What the journal gave.
enum Found {
    Messages(usize),
    /// It has nothing before `first`, after what is wanted: compacted away, or given up by a cut.
    Compacted {
        next: u64,
        first: u64,
    },
}

impl Found {
    fn read(&self) -> Read {
        Read::Messages(match self {
            Self::Messages(count) => *count,
            Self::Compacted { .. } => 0,
        })
    }
}

/// The journal's side.
#[derive(Debug)]
struct History {
    path: PathBuf,
    /// Kept while it may be needed soon.
    reader: Option<JournalReader>,
    /// Sequence of the next message to be read here; `None` while the ring is read.
    next: Option<u64>,
    held: Held,
}

impl History {
    /// Reads here from `next` on.
    fn go_to(&mut self, next: u64) {
        self.next = Some(next);
        self.held.drop_before(next);
        let reads_next = self.reader.as_ref().is_some_and(|reader| {
            let follows = self.held.first().unwrap_or_else(|| reader.next_sequence());
            follows <= next && next - follows <= READ_ON_MAX
        });
        if !reads_next {
            self.reader = None;
            self.held.clear();
        }
    }

    /// The journal's first message, or `first`, where it was before this reader was known to who compacts, if no compaction takes it.
    ///
    /// One under way that has not seen the reader removes what it announced: that is waited for, so that what is read first has no
    /// hole right behind it. One that was stopped there is not, and is taken at its word.
    fn settled_first(&self, first: u64) -> Result<u64, JournalError> {
        let storage = Directory::new(&self.path);
        if announced_first(&storage)? <= first {
            return Ok(first);
        }
        for _ in 0..REMOVAL_LOOKS_MAX {
            // What may not be looked at is another user's, and was so before.
            if !is_being_compacted(&storage).unwrap_or(false) {
                return Ok(JournalReader::open(&self.path, ReaderOptions::default())?.next_sequence());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        announced_first(&storage)
    }

    fn read(
        &mut self,
        limit: usize,
        durable: u64,
        each: &mut impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<Found, JournalError> {
        let Some(mut next) = self.next else { return Ok(Found::Messages(0)) };
        let (mut count, mut fresh) = (0, false);
        let found = loop {
            match self.held.hand_out(limit - count, &mut next, each) {
                (handed, ControlFlow::Continue(())) => count += handed,
                (handed, ControlFlow::Break(())) => break Ok(Found::Messages(count + handed)),
            }
            if count == limit || next > durable {
                break Ok(Found::Messages(count));
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => match JournalReader::open(&self.path, ReaderOptions::from_sequence(next)) {
                    Ok(reader) => {
                        fresh = true;
                        self.reader.insert(reader)
                    }
                    Err(error) => break failed(error, next, count),
                },
            };
            match reader.next_batch() {
                Ok(Some(batch)) => {
                    self.held.fill(batch.records().skip_while(|(sequence, _)| *sequence < next));
                    if let Some(first) = self.held.first().filter(|first| *first > next) {
                        // Behind a cut of the journal, which gave up what is between.
                        self.reader = None;
                        self.held.clear();
                        break Ok(if count > 0 { Found::Messages(count) } else { Found::Compacted { next, first } });
                    }
                }
                Ok(None) => {
                    let first = reader.next_sequence();
                    if count == 0 && first > next {
                        break Ok(Found::Compacted { next, first });
                    }
                    // A journal that was moved, or a watermark that was being written just now: a fresh look tells.
                    if fresh || count > 0 {
                        break Ok(Found::Messages(count));
                    }
                    self.reader = None;
                }
                // It stood further back than what is wanted, and only that was removed.
                Err(JournalError::Compacted { first, .. }) if first <= next && !fresh => self.reader = None,
                Err(error) => {
                    self.reader = None;
                    break failed(error, next, count);
                }
            }
        };
        self.next = Some(next);
        found
    }
}

/// After some messages an error waits for the next call, which meets it again.
fn failed(error: JournalError, next: u64, count: usize) -> Result<Found, JournalError> {
    match error {
        _ if count > 0 => Ok(Found::Messages(count)),
        JournalError::Compacted { first, .. } if first > next => Ok(Found::Compacted { next, first }),
        error => Err(error),
    }
}

/// Messages of the journal's last batch that were not handed out yet.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// Sequence, and where its payload ends.
    ends: Vec<(u64, usize)>,
    /// How many were handed out.
    taken: usize,
}

impl Held {
    fn fill<'a>(&mut self, records: impl Iterator<Item = (u64, &'a [u8])>) {
        self.clear();
        for (sequence, payload) in records {
            self.bytes.extend_from_slice(payload);
            self.ends.push((sequence, self.bytes.len()));
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.taken = 0;
    }

    fn first(&self) -> Option<u64> {
        self.ends.get(self.taken).map(|(sequence, _)| *sequence)
    }

    fn drop_before(&mut self, sequence: u64) {
        self.taken += self.ends[self.taken..].partition_point(|(held, _)| *held < sequence);
    }

    /// How many `each` took, and whether it broke.
    fn hand_out(
        &mut self,
        limit: usize,
        next: &mut u64,
        each: &mut impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> (usize, ControlFlow<()>) {
        let from = self.taken;
        while self.taken < self.ends.len() && self.taken - from < limit {
            let start = self.taken.checked_sub(1).map_or(0, |before| self.ends[before].1);
            let (sequence, end) = self.ends[self.taken];
            assert_eq!(sequence, *next, "a journal has no hole within");
            if each(sequence, &self.bytes[start..end]).is_break() {
                return (self.taken - from, ControlFlow::Break(()));
            }
            self.taken += 1;
            *next += 1;
        }
        (self.taken - from, ControlFlow::Continue(()))
    }
}
