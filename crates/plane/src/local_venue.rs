//! A venue in its caller's own hands: risk and matching behind one sequence, with what led there.
//!
//! No thread, no channel, no clock: commands are applied where they are given, so a notebook, a backtest or a gateway's replica has the engine's rules
//! without the engine. Commands are kept, with copies of the whole state at intervals, so the venue as it was at any of its sequences
//! can be made again by applying at most one interval. The cost: 128 bytes a command, and the copies.

use std::cell::OnceCell;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidebook_book::Side;
use tidebook_journal::snapshot::{self, Place, SnapshotError, SnapshotFacts, SnapshotStore};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{JournalError, JournalReader, ReaderOptions, State};
use tidebook_risk::{Difference, Replay, Risk, RiskOptions, Told, saved_matching};
use tidebook_types::{Command, Execution, RiskEvent, Verdict};
use tidebook_venue::{Venue, VenueOptions};
use zerocopy::FromBytes;

use crate::command_history::{BLOCK, CommandHistory, Mark};
use crate::huge_pages::with_room;
use crate::room::{NoRoom, ORDERS_MAX, check_room};
use crate::venue_sizes::{VenueSizes, VenueSizesError};

/// Channel of the venue's commands, and kind of its states.
const ORDERS: &str = "orders";
/// Commands between two questions whether to go on.
const ASK_SPACING: u64 = 1 << 16;

/// How much it has room for, and what it keeps. State hashes depend on the room: replays need the same.
#[derive(Debug, Clone, Copy)]
pub struct LocalVenueOptions {
    /// Of risk.
    pub risk: RiskOptions,
    /// Of matching.
    pub venue: VenueOptions,
    /// Whether commands are kept, for [`LocalVenue::at`].
    pub history: bool,
}

impl Default for LocalVenueOptions {
    fn default() -> Self {
        Self { risk: RiskOptions::default(), venue: VenueOptions::default(), history: true }
    }
}

/// Why a local venue cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalVenueError {
    /// A sequence that it does not know the way to.
    #[error("sequence {sequence}: this venue can be made again from {first} to {last}")]
    Sequence {
        /// Asked for.
        sequence: u64,
        /// First there is.
        first: u64,
        /// Last there is.
        last: u64,
    },
    /// One of before what the journal that it was opened from can give.
    #[error(
        "sequence {sequence}: this venue can be made again from {first} to {last}: orders begins with command {begins}, as those before it were \
         removed ([venue] keep), and no older snapshot can be gone on from; a backup of the journal that has them gives the venue as it was, the \
         audit trail what became of each order"
    )]
    Removed {
        /// Asked for.
        sequence: u64,
        /// First there is.
        first: u64,
        /// Last there is.
        last: u64,
        /// First command of the journal.
        begins: u64,
    },
    /// It keeps no commands.
    #[error("this venue keeps no history: make it with history, or fork it where it will be needed")]
    NoHistory,
    /// A command that cannot be the next one.
    #[error("orders: command {found} was given where {expected} comes next")]
    NotNext {
        /// The next one.
        expected: u64,
        /// What was given.
        found: u64,
    },
    /// A message of the journal that is no command.
    #[error("orders: message {sequence} has {size_bytes} bytes, a command has 128")]
    NoCommand {
        /// Which.
        sequence: u64,
        /// Its size.
        size_bytes: usize,
    },
    /// A journaled command is not what risk would have said of it.
    #[error(transparent)]
    Difference(#[from] Difference),
    /// What room the venue has is not known.
    #[error(transparent)]
    Sizes(#[from] VenueSizesError),
    /// There is nothing to save: a snapshot stands behind a command.
    #[error("a venue without a command cannot be saved")]
    Empty,
    /// No snapshot in the directory.
    #[error("no snapshot of a venue in {}", .path.display())]
    NoSnapshot {
        /// Where.
        path: PathBuf,
    },
    /// Room that cannot be had.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It went its own way, and cannot read on.
    #[error(
        "command {sequence} was this venue's own: what the journal has there would be carried out in another state; open it again, or submit to a fork"
    )]
    OwnWay {
        /// First command that the journal does not have.
        sequence: u64,
    },
    /// A journal without its beginning.
    #[error("orders begins with command {first}, so {}", beginning(*earliest))]
    NoBeginning {
        /// First it has.
        first: u64,
        /// First command behind which the snapshots that were named can make the venue again, if any can.
        earliest: Option<u64>,
    },
    /// Reading the journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Reading or writing a snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Who was asked whether to go on said no.
    #[error("ended before command {sequence}")]
    Interrupted {
        /// The next command.
        sequence: u64,
    },
}

fn beginning(earliest: Option<u64>) -> String {
    match earliest {
        Some(earliest) => format!("this venue can be made again from command {earliest} on"),
        None => "it can only be made again from a snapshot behind which its commands are left: name the directory with them \
                 (`snapshots/orders/orders` of a data directory)"
            .to_owned(),
    }
}

/// Best price of an empty side.
pub const NO_PRICE: i64 = i64::MIN;

/// What happened, in order.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    /// By matching.
    pub executions: Vec<Execution>,
    /// By risk.
    pub events: Vec<RiskEvent>,
    /// Commands that risk asked for (mass cancels of a kill switch), with their sequences.
    pub follow_ups: Vec<(u64, Command)>,
}

impl Happened {
    /// Nothing yet, with room for what so many commands usually make happen; in `spare`, if that is enough.
    pub fn with_room(commands: usize, mut spare: Vec<Execution>) -> Self {
        let wanted = commands + commands / 2;
        spare.clear();
        let executions = if spare.capacity() >= wanted { spare } else { with_room(wanted) };
        Self { executions, ..Self::default() }
    }

    /// Nothing yet; keeps its memory.
    pub fn clear(&mut self) {
        self.executions.clear();
        self.events.clear();
        self.follow_ups.clear();
    }

    fn take(&mut self, told: Told<'_>) {
        match told {
            Told::Execution(execution) => self.executions.push(*execution),
            Told::Event(event) => self.events.push(*event),
        }
    }
}

/// Where it reads on, once it was opened from a journal.
struct Following {
    storage: Arc<dyn Storage>,
    /// None where it stopped within a batch: it is opened anew at the next command.
    reader: Option<JournalReader>,
    recheck: bool,
    /// First command that was submitted here.
    own: Option<u64>,
}

/// What it was opened from, by which it is made again as it was before its history.
#[derive(Clone)]
struct Origin {
    journal: PathBuf,
    snapshots: Option<PathBuf>,
}

/// Risk and matching, in process.
pub struct LocalVenue {
    options: LocalVenueOptions,
    replay: Replay<Venue>,
    /// Last command applied.
    sequence: u64,
    history: Option<CommandHistory>,
    /// Risk with all executions seen, made when it is asked for and not so.
    ahead: OnceCell<Box<Risk>>,
    following: Option<Following>,
    origin: Option<Origin>,
}

impl LocalVenue {
    /// One that knows nobody and nothing, if there is room for it.
    ///
    /// # Errors
    /// [`LocalVenueError::NoRoom`].
    pub fn with_room(options: LocalVenueOptions) -> Result<Self, LocalVenueError> {
        check_room(options.venue.orders_max)?;
        Ok(Self::new(options))
    }

    /// One that knows nobody and nothing.
    ///
    /// # Panics
    /// It ends the process where there is no memory for it, see [`Self::with_room`].
    pub fn new(options: LocalVenueOptions) -> Self {
        let replay = Replay::new(options.risk, Venue::new(options.venue), false);
        let history = options.history.then(|| CommandHistory::beginning(None));
        Self { options, replay, sequence: 0, history, ahead: OnceCell::new(), following: None, origin: None }
    }

    /// Last command applied.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// First sequence that [`Self::at`] can make again; none without history.
    pub fn history_begin(&self) -> Option<u64> {
        self.history.as_ref().map(CommandHistory::begin)
    }

    /// Matching.
    pub const fn matching(&self) -> &Venue {
        self.replay.matching()
    }

    /// Risk, with every execution seen.
    pub fn risk(&self) -> &Risk {
        match self.ahead.get() {
            Some(risk) => risk,
            None if self.replay.is_settled() => self.replay.risk(),
            None => self.ahead.get_or_init(|| Box::new(self.replay.settled_risk().into_owned())),
        }
    }

    /// The same for the same commands, whether they were submitted or replayed.
    pub fn state_hash(&self) -> u64 {
        self.replay.settled_state_hash()
    }

    /// Judges a command, carries it out, and so what risk asks for behind it; the command becomes what `orders` would hold. Its sequence.
    pub fn submit(&mut self, command: &mut Command, happened: &mut Happened) -> u64 {
        self.ahead.take();
        self.goes_its_own_way();
        self.submit_one(command, happened, true)
    }

    /// As [`Self::submit`], many in order; what they became, which the history has with the caller. Each is copied once, before it is used.
    pub fn submit_all(&mut self, given: &[Command], happened: &mut Happened) -> Arc<Vec<Command>> {
        self.ahead.take();
        if !given.is_empty() {
            self.goes_its_own_way();
        }
        let (begin, asked_before) = (self.sequence, happened.follow_ups.len());
        let alone = given.len() < BLOCK;
        let mut judged = with_room(given.len());
        for command in given {
            judged.push(black_box(*command));
            if let Some(command) = judged.last_mut() {
                self.submit_one(command, happened, alone);
            }
        }
        let judged = Arc::new(judged);
        if let Some(history) = &mut self.history
            && !alone
        {
            let asked_for = &happened.follow_ups[asked_before..];
            if asked_for.is_empty() {
                history.append(Arc::clone(&judged));
            } else {
                let (mut own, mut asked_for) = (judged.iter(), asked_for.iter().peekable());
                let all = (begin + 1..=self.sequence).filter_map(|sequence| {
                    let its = asked_for.next_if(|(its, _)| *its == sequence);
                    its.map(|(_, command)| command).or_else(|| own.next())
                });
                history.append(Arc::new(all.copied().collect()));
            }
        }
        judged
    }

    /// Notes where commands begin that the journal it follows does not have.
    fn goes_its_own_way(&mut self) {
        if let Some(following) = &mut self.following {
            following.own.get_or_insert(self.sequence + 1);
        }
    }

    fn submit_one(&mut self, command: &mut Command, happened: &mut Happened, keep: bool) -> u64 {
        self.follow_up(happened, keep);
        self.step(command, happened, keep);
        let sequence = self.sequence;
        self.follow_up(happened, keep);
        sequence
    }

    fn follow_up(&mut self, happened: &mut Happened, keep: bool) {
        while let Some(mut command) = self.replay.risk().follow_up() {
            let verdict = self.step(&mut command, happened, keep);
            happened.follow_ups.push((self.sequence, command));
            if verdict != Verdict::Accepted {
                // It would be asked for again and again.
                break;
            }
        }
    }

    /// Who does not let it `keep` the command does so himself, before anybody asks for it.
    #[inline]
    fn step(&mut self, command: &mut Command, happened: &mut Happened, keep: bool) -> Verdict {
        let Happened { executions, events, .. } = happened;
        self.sequence += 1;
        let verdict = self.replay.submit_settled(self.sequence, command, executions, &mut |event| events.push(*event));
        self.keep(command, keep);
        verdict
    }

    #[inline]
    fn keep(&mut self, command: &Command, keep: bool) {
        if let Some(history) = &mut self.history {
            if keep {
                history.push(command);
            }
            if history.is_mark_due(self.sequence) {
                history.mark(self.sequence, &self.replay);
            }
        }
    }

    /// Takes in the next command of a journal as it is there, or compares it with what risk says of it now.
    ///
    /// # Errors
    /// The first difference, if `recheck`; the venue is not used after it.
    pub fn apply_journaled(
        &mut self,
        command: &Command,
        recheck: bool,
        happened: Option<&mut Happened>,
    ) -> Result<(), LocalVenueError> {
        self.take_in(command, recheck, happened, true)
    }

    /// As [`Self::apply_journaled`], many in order. Each is copied once, before it is used.
    ///
    /// # Errors
    /// As [`Self::apply_journaled`].
    pub fn apply_all_journaled(
        &mut self,
        given: &[Command],
        recheck: bool,
        happened: &mut Happened,
    ) -> Result<(), LocalVenueError> {
        if self.history.is_none() || given.len() < BLOCK {
            return given
                .iter()
                .try_for_each(|command| self.take_in(&black_box(*command), recheck, Some(happened), true));
        }
        let mut taken = with_room(given.len());
        let mut applied = Ok(());
        for command in given {
            let command = black_box(*command);
            applied = self.take_in(&command, recheck, Some(happened), false);
            if applied.is_err() {
                break;
            }
            taken.push(command);
        }
        if let Some(history) = &mut self.history {
            history.append(Arc::new(taken));
        }
        applied
    }

    /// As [`Self::apply_all_journaled`] without recheck, and the best bid and ask of each command's instrument before it was carried out,
    /// [`NO_PRICE`] for none.
    ///
    /// # Errors
    /// As [`Self::apply_journaled`].
    pub fn apply_all_journaled_with_tops(
        &mut self,
        given: &[Command],
        happened: &mut Happened,
    ) -> Result<Vec<[i64; 2]>, LocalVenueError> {
        let mut tops = with_room(given.len());
        for command in given {
            let command = black_box(*command);
            let instrument = command.head.instrument_id;
            tops.push(Side::BOTH.map(|side| self.matching().best(instrument, side).unwrap_or(NO_PRICE)));
            self.take_in(&command, false, Some(happened), true)?;
        }
        Ok(tops)
    }

    #[inline]
    fn take_in(
        &mut self,
        command: &Command,
        recheck: bool,
        happened: Option<&mut Happened>,
        keep: bool,
    ) -> Result<(), LocalVenueError> {
        self.ahead.take();
        self.replay.set_recheck(recheck);
        let next = self.sequence + 1;
        match happened {
            Some(happened) => self.replay.apply_journaled_telling(next, command, &mut |told| happened.take(told)),
            None => self.replay.apply_journaled(next, command),
        }?;
        self.sequence = next;
        self.keep(command, keep);
        Ok(())
    }

    /// Another one that is the same and goes its own way. Copies the state, and none of the history.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            options: self.options,
            replay: self.replay.clone(),
            sequence: self.sequence,
            history: self.history.clone(),
            ahead: OnceCell::new(),
            following: None,
            origin: self.origin.clone(),
        }
    }

    /// This venue as it was behind command `sequence`; it goes its own way. What is before its history is read again from the journal that it was
    /// opened from, behind the snapshot before it. `ask` is asked now and then, with the next sequence, whether to go on.
    ///
    /// # Errors
    /// [`LocalVenueError::Sequence`], [`LocalVenueError::Removed`], [`LocalVenueError::NoHistory`], [`LocalVenueError::Interrupted`]; before its
    /// history as [`Self::open`].
    pub fn at(&self, sequence: u64, mut ask: impl FnMut(u64) -> ControlFlow<()>) -> Result<Self, LocalVenueError> {
        let history = self.history.as_ref().ok_or(LocalVenueError::NoHistory)?;
        let (first, last) = (history.begin(), self.sequence);
        if sequence < first
            && let Some(origin) = &self.origin
        {
            return self.before_history(origin, sequence, ask);
        }
        if !(first..=last).contains(&sequence) {
            return Err(LocalVenueError::Sequence { sequence, first, last });
        }
        let mark = history.marks.iter().rev().chain(&history.base).find(|mark| mark.sequence <= sequence);
        let (mut replay, begin) = match mark {
            Some(mark) => ((*mark.state).clone(), mark.sequence),
            None => (Replay::new(self.options.risk, Venue::new(self.options.venue), false), 0),
        };
        replay.set_recheck(false);
        for (next, command) in (begin + 1..=sequence).zip(history.from(begin - first)) {
            if next % ASK_SPACING == 0 && ask(next).is_break() {
                return Err(LocalVenueError::Interrupted { sequence: next });
            }
            replay.apply_journaled(next, command)?;
        }
        // It goes its own way: nobody will say any more that risk had not seen these.
        replay.settle(&mut |_| {});
        let history = Some(history.cut(sequence - first));
        let (ahead, origin) = (OnceCell::new(), self.origin.clone());
        Ok(Self { options: self.options, replay, sequence, history, ahead, following: None, origin })
    }

    fn before_history(
        &self,
        origin: &Origin,
        sequence: u64,
        ask: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self, LocalVenueError> {
        let Origin { journal, snapshots } = origin;
        match Self::open(journal, snapshots.as_deref(), Some(sequence), false, self.options, ask) {
            Ok(mut venue) => {
                venue.following = None;
                venue.replay.settle(&mut |_| {});
                Ok(venue)
            }
            Err(LocalVenueError::NoBeginning { first: begins, earliest }) => {
                let begun = self.history_begin().unwrap_or(self.sequence);
                let first = earliest.map_or(begun, |earliest| earliest.min(begun));
                Err(LocalVenueError::Removed { sequence, first, last: self.sequence, begins })
            }
            Err(error) => Err(error),
        }
    }

    /// Commands behind `first` up to `last`, as `orders` would hold them.
    ///
    /// # Errors
    /// [`LocalVenueError::Sequence`], [`LocalVenueError::NoHistory`].
    pub fn commands(&self, first: u64, last: u64) -> Result<Vec<Command>, LocalVenueError> {
        let history = self.history.as_ref().ok_or(LocalVenueError::NoHistory)?;
        let (begin, end) = (history.begin() + 1, self.sequence);
        if first > last {
            return Ok(Vec::new());
        }
        for sequence in [first, last] {
            if !(begin..=end).contains(&sequence) {
                return Err(LocalVenueError::Sequence { sequence, first: begin, last: end });
            }
        }
        Ok(history.from(first - begin).take((last - first + 1) as usize).copied().collect())
    }

    /// Writes a snapshot into a directory of snapshots, as nodes write them; it is read back and verified.
    ///
    /// # Errors
    /// [`LocalVenueError::Empty`], [`LocalVenueError::Snapshot`].
    pub fn save(&self, directory: &Path, created_ns: i64) -> Result<SnapshotFacts, LocalVenueError> {
        if self.sequence == 0 {
            return Err(LocalVenueError::Empty);
        }
        let place = Place {
            channel: ORDERS.to_owned(),
            journal_id: 0,
            epoch: 0,
            sequence: self.sequence,
            batch_number: 0,
            chain: 0,
        };
        Ok(SnapshotStore::open(directory, ORDERS)?.write(&self.replay, &place, created_ns)?)
    }

    /// The venue of a snapshot, of a node or of [`Self::save`]: the newest, or that of `sequence`. Its room is the saved one's, and its history begins there.
    ///
    /// # Errors
    /// [`LocalVenueError::NoSnapshot`], [`LocalVenueError::Snapshot`].
    pub fn load(
        directory: &Path,
        sequence: Option<u64>,
        options: LocalVenueOptions,
    ) -> Result<(Self, SnapshotFacts), LocalVenueError> {
        let store = SnapshotStore::open(directory, ORDERS)?;
        let newest = match sequence {
            Some(sequence) => Some(sequence),
            None => store.list()?.pop(),
        };
        let newest = newest.ok_or_else(|| LocalVenueError::NoSnapshot { path: directory.to_owned() })?;
        let saved = store.load(newest)?;
        let room = VenueOptions::of_saved(saved_matching(&saved).map_err(SnapshotError::from)?);
        let room = room.filter(|room| room.orders_max <= ORDERS_MAX).unwrap_or(options.venue);
        let mut replay = Replay::new(options.risk, Venue::new(room), false);
        saved.load_into(&mut replay)?;
        Ok((Self::from_state(replay, newest, options), saved.facts.clone()))
    }

    fn from_state(replay: Replay<Venue>, sequence: u64, options: LocalVenueOptions) -> Self {
        let options =
            LocalVenueOptions { risk: replay.risk().options(), venue: replay.matching().options(), ..options };
        let history = options
            .history
            .then(|| CommandHistory::beginning(Some(Mark { sequence, state: Arc::new(replay.clone()) })));
        Self { options, replay, sequence, history, ahead: OnceCell::new(), following: None, origin: None }
    }

    /// The venue that a node's journal of `orders` describes, up to `last` or all that is durable. Nothing on disk is changed, and the
    /// node may be running. It begins behind the newest usable snapshot of `snapshots`, if that is given and there is one. Its room is what the
    /// journal says that its venue was begun with; that of `options` where it does not say.
    ///
    /// # Errors
    /// [`LocalVenueError::Journal`], [`LocalVenueError::Snapshot`], [`LocalVenueError::NoBeginning`], [`LocalVenueError::Difference`],
    /// [`LocalVenueError::NoCommand`], [`LocalVenueError::Interrupted`].
    pub fn open(
        journal: &Path,
        snapshots: Option<&Path>,
        last: Option<u64>,
        recheck: bool,
        options: LocalVenueOptions,
        ask: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self, LocalVenueError> {
        let storage: Arc<dyn Storage> = Arc::new(Directory::new(journal.to_owned()));
        let last = last.unwrap_or(u64::MAX);
        let options = match VenueSizes::of_journal(journal)? {
            Some(VenueSizes { risk, venue }) => LocalVenueOptions { risk, venue, ..options },
            None => options,
        };
        check_room(options.venue.orders_max)?;
        let make = || Replay::new(options.risk, Venue::new(options.venue), false);
        let store = snapshots.map(|directory| SnapshotStore::open(directory, ORDERS)).transpose()?;
        let start = match &store {
            Some(store) => snapshot::newest_usable(make, &storage, store, last)?.0,
            None => None,
        };
        let mut venue = match start {
            Some((facts, replay)) => Self::from_state(replay, facts.sequence(), options),
            None => Self::new(options),
        };
        venue.following = Some(Following { storage: Arc::clone(&storage), reader: None, recheck, own: None });
        venue.origin = Some(Origin { journal: journal.to_owned(), snapshots: snapshots.map(Path::to_owned) });
        match (venue.read_on(last, None, ask), store) {
            (Err(LocalVenueError::NoBeginning { first, .. }), Some(store)) => {
                let mut listed = store.list()?.into_iter().filter(|sequence| sequence + 1 >= first);
                let earliest = listed.try_fold(None, |found, sequence| match found {
                    Some(_) => Ok::<_, SnapshotError>(found),
                    None => Ok(snapshot::load_usable(make, &storage, &store, sequence)?.ok().map(|_| sequence)),
                })?;
                Err(LocalVenueError::NoBeginning { first, earliest })
            }
            (read, _) => read.map(|_| venue),
        }
    }

    /// Applies what has become durable since, up to command `last`; how many commands that were. Nothing where it was not opened from a journal.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read_on(
        &mut self,
        last: u64,
        happened: Option<&mut Happened>,
        ask: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<u64, LocalVenueError> {
        let Some(mut following) = self.following.take() else { return Ok(0) };
        if let Some(sequence) = following.own {
            self.following = Some(following);
            return Err(LocalVenueError::OwnWay { sequence });
        }
        let read = self.read_from(&mut following, last, happened, ask);
        self.following = Some(following);
        read
    }

    fn read_from(
        &mut self,
        following: &mut Following,
        last: u64,
        mut happened: Option<&mut Happened>,
        mut ask: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<u64, LocalVenueError> {
        let began = self.sequence;
        // Put back only where it stands between two batches.
        let mut reader = match following.reader.take() {
            Some(reader) => reader,
            None => {
                // 0 is the first that is left of it.
                let from = if self.sequence == 0 { 0 } else { self.sequence + 1 };
                JournalReader::open_storage(Arc::clone(&following.storage), ReaderOptions::from_sequence(from))?
            }
        };
        while self.sequence < last {
            let Some(batch) = reader.next_batch()? else { break };
            for (sequence, payload) in batch.records() {
                let expected = self.sequence + 1;
                if sequence < expected {
                    continue;
                }
                // Also where it is behind `last`: a venue that has not got there must not be given as the one that has.
                if sequence > expected {
                    return Err(if self.sequence == 0 {
                        LocalVenueError::NoBeginning { first: sequence, earliest: None }
                    } else {
                        LocalVenueError::NotNext { expected, found: sequence }
                    });
                }
                if sequence > last {
                    return Ok(self.sequence - began);
                }
                if sequence % ASK_SPACING == 0 && ask(sequence).is_break() {
                    return Err(LocalVenueError::Interrupted { sequence });
                }
                let command = Command::read_from_bytes(payload)
                    .map_err(|_| LocalVenueError::NoCommand { sequence, size_bytes: payload.len() })?;
                self.apply_journaled(&command, following.recheck, happened.as_deref_mut())?;
            }
        }
        following.reader = Some(reader);
        Ok(self.sequence - began)
    }

    /// Whether it was opened from a journal and can read on.
    pub const fn is_following(&self) -> bool {
        self.following.is_some()
    }

    /// A hash of the whole state made by another way; for tests and doubts.
    pub fn recomputed_state_hash(&self) -> Option<u64> {
        let mut settled = self.replay.clone();
        settled.settle(&mut |_| {});
        State::recomputed_state_hash(&settled)
    }
}
