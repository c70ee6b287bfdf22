//! The market-data engine: one thread that turns the feeds of any number of venues into one set of `md.*`.
//!
//! The node's own venue is one more of them ([`VenueSource`]), whose feed is made of the commands on `orders` ([`CommandFeed`]).
//!
//! It derives everything from each feed's history when it starts and drops what the channels already hold, so a
//! killed engine goes on without a gap or a duplicate. Trades, quotes and depth go out one by one as they are
//! decoded; book images once per batch of input, only for books that changed, so bursts make images newer, not more.
//!
//! Feeds take turns of a bounded number of messages, so a burst of one venue delays another by no more than that. So does the engine where it
//! shares its thread with the venue's: each turn is one batch of one feed.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidebook_feed::{FeedEngine, FeedState};
use tidebook_journal::panic_text;
use tidebook_ring::tuning::{Effect, MemoryTuning, pin_thread};
use tidebook_ring::{Ring, Wait, wait_any};
use tidebook_types::command::COMMAND_SIZE_BYTES;
use tidebook_types::{BookImage, Command, Health, InstrumentId, RawMessage, Venue};
use tidebook_venue::VenueOptions;
use zerocopy::{FromBytes, FromZeros};

use crate::beginning::{Beginning, earliest};
use crate::command_feed::CommandFeed;
use crate::confine::Confinement;
use crate::error::PlaneError;
use crate::histogram::HistogramSnapshot;
use crate::input::FeedInput;
use crate::latency::{Latencies, LatencyStage};
use crate::local_history::{LocalBeginning, earliest_local};
use crate::output::{FeedIdentity, MarketDataChannels, Resume};
use crate::overtaken::Lost;
use crate::retelling::{Parts, Retelling, Standing};
use crate::turns::{EngineThread, Turned, Turns, Waits, ended};
use crate::venue_recovery::ORDERS;
use crate::venue_sizes::VenueSizes;
use crate::whose::Whose;

/// How often a thread without input looks whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether a reader was overtaken.
const READERS_INTERVAL: Duration = Duration::from_millis(250);
/// How long to wait for a journal to sync what its ring has lost already.
const JOURNAL_WAIT: Duration = Duration::from_millis(1);
/// Messages of one feed in one turn: alone, and beside others that wait meanwhile.
const TURN_ALONE: usize = 256;
const TURN_SHARED: usize = 64;
/// The same where another engine waits meanwhile, which is a matter of microseconds then.
const TURN_BESIDE: usize = 16;

/// One feed to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSource {
    /// Whose dialect it speaks.
    pub venue: Venue,
    /// Directory of its journal.
    pub journal_dir: PathBuf,
    /// Directory of the snapshots of all feeds, see [`crate::snapshots_path`]; without it a start derives the whole history.
    pub snapshots_dir: Option<PathBuf>,
}

/// The node's own venue, to be followed as one more feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenueSource {
    /// Directory of the journal of `orders`.
    pub journal_dir: PathBuf,
    /// File that says what its instruments are called; those that it does not name are called by their numbers.
    pub names_file: PathBuf,
    /// Directory of all snapshots, see [`crate::market_data_snapshots_path`]; without it a start carries every command out again.
    pub snapshots_dir: Option<PathBuf>,
}

impl VenueSource {
    fn room(&self) -> Result<VenueOptions, PlaneError> {
        Ok(VenueSizes::of_journal(&self.journal_dir)?.unwrap_or_default().venue)
    }

    fn earliest(&self) -> Result<Option<u64>, PlaneError> {
        earliest_local(self.room()?, &self.journal_dir, &self.names_file, self.snapshots_dir.as_deref())
    }

    fn begin(&self, behind_max: u64) -> Result<(Beginning, Option<CommandFeed>), PlaneError> {
        let snapshots_dir = self.snapshots_dir.as_deref();
        let LocalBeginning { feed, local, refused } =
            LocalBeginning::find(self.room()?, &self.journal_dir, &self.names_file, snapshots_dir, behind_max)?;
        Ok((Beginning { state: feed, refused }, Some(local)))
    }
}

/// What an engine is started with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The feeds, each of another venue.
    pub feeds: Vec<FeedSource>,
    /// The node's own venue, if it has one; its engine has to have opened `orders`.
    pub venue: Option<VenueSource>,
    /// Directory of the rings: `feed.<venue>` and `orders` are read, `md.*` are written there.
    pub rings_dir: PathBuf,
    /// How the thread waits for input.
    pub wait: Wait,
    /// Of a venue whose engine runs [together](crate::VenueLayout::Together) with this one; `None`: a thread of its own.
    pub thread: Option<EngineThread>,
    /// One live message in this many is timed at every [`LatencyStage`]; 0: none.
    pub stages_every: u32,
    /// The thread's CPU.
    pub cpu: Option<u32>,
    /// What to ask for the memory of its rings.
    pub memory: MemoryTuning,
    /// What the thread may ask the kernel for.
    pub confinement: Confinement,
}

impl EngineOptions {
    /// Parks without input, times one message in 32, and is neither pinned nor confined.
    pub fn new(feeds: Vec<FeedSource>, rings_dir: PathBuf) -> Self {
        Self {
            feeds,
            venue: None,
            rings_dir,
            wait: Wait::Park,
            thread: None,
            stages_every: 32,
            cpu: None,
            memory: MemoryTuning::default(),
            confinement: Confinement::Off,
        }
    }
}

#[derive(Debug)]
struct FeedShared {
    venue: Venue,
    live: AtomicBool,
    messages: AtomicU64,
    sequence: AtomicU64,
    latencies: Latencies,
    health: Mutex<Option<Health>>,
}

#[derive(Debug)]
struct Shared {
    stopping: AtomicBool,
    published: AtomicU64,
    feeds: Vec<FeedShared>,
    failure: Mutex<Option<String>>,
    whose: HashMap<&'static str, Arc<Whose>>,
}

/// How far one feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedStatus {
    /// Whose.
    pub venue: Venue,
    /// Messages taken in since the start, history included, but for what a snapshot stood for.
    pub messages: u64,
    /// Sequence of the newest.
    pub sequence: u64,
    /// Whether history is done.
    pub live: bool,
    /// The newest record of `md.health`.
    pub health: Option<Health>,
}

/// How a feed was taken up at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenUp {
    /// Whose.
    pub venue: Venue,
    /// Message of the snapshot that it began behind; 0: the whole history is derived.
    pub behind: u64,
    /// Snapshots that could not be used, newest first, each with the reason.
    pub refused: Vec<String>,
}

/// How far an engine is.
#[derive(Debug, Clone)]
pub struct EngineStatus {
    /// Each feed, in the order they were given.
    pub feeds: Vec<FeedStatus>,
    /// Records published since the start.
    pub published: u64,
    /// From `ts_recv` of a live message to everything derived from it being published, in ns.
    pub latency: HistogramSnapshot,
    /// Why the thread ended, if it failed.
    pub failure: Option<String>,
}

/// A running engine.
#[derive(Debug)]
pub struct MarketDataEngine {
    shared: Arc<Shared>,
    made_anew: Option<String>,
    taken_up: Vec<TakenUp>,
    in_force: Vec<(String, Effect)>,
    thread: Option<Thread>,
}

/// Where it runs.
#[derive(Debug)]
enum Thread {
    Own(JoinHandle<Result<(), PlaneError>>),
    Beside(Receiver<Result<(), PlaneError>>, EngineThread),
}

impl Thread {
    fn join(self) -> Result<(), PlaneError> {
        match self {
            Self::Own(thread) => thread.join().expect("a panic of the engine is an error of its own"),
            Self::Beside(end, _thread) => ended(&end),
        }
    }
}

impl MarketDataEngine {
    /// Opens the channels and starts the thread.
    ///
    /// # Errors
    /// [`PlaneError`] when a channel cannot be opened; the rings of the feeds have to be there. What was asked for speed
    /// and the machine cannot give is no error: see [`Self::in_force`].
    ///
    /// # Panics
    /// When the operating system gives no thread.
    pub fn start(options: EngineOptions) -> Result<Self, PlaneError> {
        let EngineOptions { wait, cpu, confinement, ref thread, .. } = options;
        let thread = thread.clone();
        let Prepared { mut market_data, shared, made_anew, taken_up, mut in_force } = Prepared::of(options)?;
        if let Some(thread) = thread {
            let (told, end) = std::sync::mpsc::sync_channel(1);
            let pinned = thread.add(Box::new(InTurns { market_data, told }), wait, cpu, confinement)?;
            in_force.extend(pinned.map(|effect| ("engine".to_owned(), effect)));
            let thread = Some(Thread::Beside(end, thread));
            return Ok(Self { shared, made_anew, taken_up, in_force, thread });
        }
        let seen = Arc::clone(&shared);
        let (told, tell) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("md-engine".into())
            .spawn(move || {
                let pinned = cpu.map(pin_thread);
                let confined = confinement.apply();
                let goes_on = confined.is_ok();
                // Who starts it waits for this.
                let _ = told.send((pinned, confined));
                guarded(&seen, || if goes_on { market_data.run(wait) } else { Ok(()) })
            })
            .expect("a thread for the engine");
        let (pinned, confined) = tell.recv().expect("the thread tells before it does anything else");
        confined.map_err(|reason| PlaneError::Confinement { reason })?;
        in_force.extend(pinned.map(|effect| ("engine".to_owned(), effect)));
        Ok(Self { shared, made_anew, taken_up, in_force, thread: Some(Thread::Own(thread)) })
    }

    /// What was asked for speed, of the thread and of each ring by its channel's name, and what the kernel did.
    pub fn in_force(&self) -> &[(String, Effect)] {
        &self.in_force
    }

    /// Why the channels that were there were made anew, if they were: whoever read them has to open them again.
    pub fn made_anew(&self) -> Option<&str> {
        self.made_anew.as_deref()
    }

    /// How each feed was taken up, in the order they were given.
    pub fn taken_up(&self) -> &[TakenUp] {
        &self.taken_up
    }

    /// How far it is.
    pub fn status(&self) -> EngineStatus {
        let shared = &self.shared;
        EngineStatus {
            feeds: shared.feeds.iter().map(FeedShared::status).collect(),
            published: shared.published.load(Ordering::Relaxed),
            latency: self.latency(None, LatencyStage::ReceivedPublished),
            failure: shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// How many of these records of a channel are of which instrument, by the ids that they carry: for a reader who lost them. `None`
    /// where that is not known any more, or the channel is none of its own.
    pub fn whose(&self, channel: &str, first: u64, count: u64) -> Option<BTreeMap<u32, u64>> {
        self.shared.whose.get(channel.strip_prefix("md.")?)?.of(first, count)
    }

    /// How long live messages of a feed, or of all, took for a part of their way, in ns.
    pub fn latency(&self, venue: Option<Venue>, stage: LatencyStage) -> HistogramSnapshot {
        let mut all = HistogramSnapshot::default();
        for feed in self.shared.feeds.iter().filter(|feed| venue.is_none_or(|venue| venue == feed.venue)) {
            all.add(&feed.latencies.snapshot(stage));
        }
        all
    }

    /// Ends the thread after the batch in hand.
    ///
    /// # Errors
    /// What ended it earlier.
    ///
    /// # Panics
    /// When the thread panicked outside its work, which it does not.
    pub fn stop(mut self) -> Result<(), PlaneError> {
        self.shared.stopping.store(true, Ordering::Release);
        self.thread.take().expect("a thread is joined once").join()
    }
}

impl Drop for MarketDataEngine {
    /// As [`Self::stop`], but a failure is only kept in the status.
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl FeedShared {
    fn new(venue: Venue) -> Self {
        Self {
            venue,
            live: AtomicBool::new(false),
            messages: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            latencies: Latencies::default(),
            health: Mutex::new(None),
        }
    }

    /// Begins with what a snapshot says.
    fn begin(&self, state: &FeedState) {
        self.sequence.store(state.sequence(), Ordering::Relaxed);
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = state.health().copied();
    }

    fn status(&self) -> FeedStatus {
        FeedStatus {
            venue: self.venue,
            messages: self.messages.load(Ordering::Relaxed),
            sequence: self.sequence.load(Ordering::Relaxed),
            live: self.live.load(Ordering::Relaxed),
            health: *self.health.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// The channel that a feed is read from.
fn channel_of(venue: Venue) -> String {
    if venue == Venue::Local { ORDERS.to_owned() } else { format!("feed.{}", venue.name()) }
}

/// Asks for the memory of one ring.
pub(crate) fn tune(ring: &Ring, memory: MemoryTuning, effects: &mut Vec<(String, Effect)>) {
    let channel = ring.path().file_stem().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    effects.extend(ring.tune(memory).into_iter().map(|effect| (channel.clone(), effect)));
}

fn check(feeds: &[FeedSource]) -> Result<(), PlaneError> {
    let names: Vec<_> = feeds.iter().map(|feed| feed.venue.name()).collect();
    let twice = names.iter().enumerate().any(|(index, name)| names[..index].contains(name));
    if feeds.is_empty() || twice {
        return Err(PlaneError::Feeds { found: if twice { names.join(", ") } else { "none".to_owned() } });
    }
    Ok(())
}

/// Runs the thread's work. Whatever ends it, a panic too, is what the status says.
fn guarded(shared: &Shared, work: impl FnOnce() -> Result<(), PlaneError>) -> Result<(), PlaneError> {
    let result = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(PlaneError::Panicked { said: panic_text(&*panic).to_owned() }));
    if let Err(error) = &result {
        *shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
    result
}

/// An engine before it has a thread.
struct Prepared {
    market_data: MarketData,
    shared: Arc<Shared>,
    made_anew: Option<String>,
    taken_up: Vec<TakenUp>,
    in_force: Vec<(String, Effect)>,
}

impl Prepared {
    /// Opens the channels.
    fn of(options: EngineOptions) -> Result<Self, PlaneError> {
        let EngineOptions { mut feeds, venue: local, rings_dir, wait, stages_every, memory, .. } = options;
        feeds.extend(local.as_ref().map(|local| FeedSource {
            venue: Venue::Local,
            journal_dir: local.journal_dir.clone(),
            snapshots_dir: local.snapshots_dir.clone(),
        }));
        check(&feeds)?;
        let (mut rings, mut identities) = (Vec::new(), Vec::new());
        let mut in_force = Vec::new();
        for FeedSource { venue, journal_dir, snapshots_dir } in &feeds {
            let path = tidebook_ring::paths::ring_path(&rings_dir, &channel_of(*venue))?;
            let ring = Ring::open(path)?;
            tune(&ring, memory, &mut in_force);
            let earliest = match &local {
                Some(local) if *venue == Venue::Local => local.earliest()?,
                _ => earliest(*venue, journal_dir, snapshots_dir.as_deref())?,
            };
            identities.push(FeedIdentity::of(*venue, &ring, earliest));
            rings.push(ring);
        }
        let mut opened = MarketDataChannels::open(&rings_dir, &identities)?;
        opened.channels.time_stages(stages_every);
        opened.channels.rings().for_each(|ring| tune(ring, memory, &mut in_force));
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            published: AtomicU64::new(0),
            feeds: feeds.iter().map(|feed| FeedShared::new(feed.venue)).collect(),
            failure: Mutex::new(None),
            whose: opened.channels.whose(),
        });
        let (mut lanes, mut taken_up) = (Vec::new(), Vec::new());
        for (((feed, ring), resume), shared) in feeds.into_iter().zip(rings).zip(opened.resume).zip(&shared.feeds) {
            let FeedSource { venue, journal_dir, snapshots_dir } = feed;
            let (Beginning { state, refused }, local) = match &local {
                Some(local) if venue == Venue::Local => local.begin(resume.behind_max())?,
                _ => (Beginning::find(venue, &journal_dir, snapshots_dir.as_deref(), resume.behind_max())?, None),
            };
            opened.channels.begin_with(&state, &resume)?;
            let behind = state.sequence();
            shared.begin(&state);
            taken_up.push(TakenUp { venue, behind, refused });
            lanes.push(Lane {
                venue,
                input: FeedInput::new(venue, journal_dir, ring, wait, behind),
                resume,
                ts_recv: state.ts_recv(),
                engine: state.into_engine(),
                local,
                begun: false,
                retelling: Retelling::default(),
                changed: Vec::new(),
            });
        }
        let limit = if lanes.len() == 1 { TURN_ALONE } else { TURN_SHARED };
        let (image, channels) = (Box::new(BookImage::new_zeroed()), opened.channels);
        let seen = Arc::clone(&shared);
        let looked_at = Instant::now();
        let market_data =
            MarketData { lanes, channels, image, first: 0, tops_told: false, looked_at, limit, shared: seen };
        Ok(Self { market_data, shared, made_anew: opened.made_anew, taken_up, in_force })
    }
}

/// What the engine's thread works with.
struct MarketData {
    lanes: Vec<Lane>,
    channels: MarketDataChannels,
    image: Box<BookImage>,
    /// Whose turn is first.
    first: usize,
    tops_told: bool,
    /// When it was looked at readers last.
    looked_at: Instant,
    /// Messages of one feed in one turn.
    limit: usize,
    shared: Arc<Shared>,
}

impl MarketData {
    /// With a thread of its own, until it is stopped.
    fn run(&mut self, wait: Wait) -> Result<(), PlaneError> {
        while !self.shared.stopping.load(Ordering::Acquire) {
            let mut count = 0;
            for place in 0..self.lanes.len() {
                count += self.step((self.first + place) % self.lanes.len(), self.limit)?;
            }
            // Who was first is last the next time.
            self.first = (self.first + 1) % self.lanes.len();
            self.look_at_readers();
            self.tell_tops()?;
            if count > 0 {
                self.note();
            } else if self.is_live() {
                wait_any(&mut self.lanes, |lane| lane.input.consumer(), wait, Some(STOP_INTERVAL))?;
            } else {
                std::thread::sleep(JOURNAL_WAIT);
            }
        }
        Ok(())
    }

    /// One batch of the next feed that has any. Gives how many messages.
    fn one_batch(&mut self) -> Result<usize, PlaneError> {
        let mut count = 0;
        for _ in 0..self.lanes.len() {
            let index = self.first;
            self.first = (self.first + 1) % self.lanes.len();
            count = self.step(index, TURN_BESIDE)?;
            if count > 0 {
                break;
            }
        }
        self.look_at_readers();
        self.tell_tops()?;
        if count > 0 {
            self.note();
        }
        Ok(count)
    }

    fn step(&mut self, index: usize, limit: usize) -> Result<usize, PlaneError> {
        let Self { lanes, channels, image, shared, .. } = self;
        lanes[index].step(limit, channels, image, &shared.feeds[index])
    }

    fn is_live(&self) -> bool {
        self.lanes.iter().all(|lane| lane.input.is_live())
    }

    /// Sees now and then who was overtaken, and what is still unsaid: from the next step on it is told.
    fn look_at_readers(&mut self) {
        if self.looked_at.elapsed() < READERS_INTERVAL {
            return;
        }
        self.looked_at = Instant::now();
        for (parts, lost) in self.channels.lost() {
            self.lanes.iter_mut().for_each(|lane| lane.lost(parts, &lost));
        }
        self.lanes.iter_mut().for_each(Lane::say_unsaid);
    }

    /// The tops of all venues, once the history of all is done.
    fn tell_tops(&mut self) -> Result<(), PlaneError> {
        if self.tops_told || !self.is_live() {
            return Ok(());
        }
        self.tops_told = true;
        let newest = self.lanes.iter().max_by_key(|lane| lane.ts_recv).expect("an engine has a feed");
        self.channels.tell_tops(newest.venue, newest.input.last_sequence(), newest.ts_recv);
        self.channels.check()?;
        Ok(())
    }

    fn note(&self) {
        self.shared.published.store(self.channels.published(), Ordering::Relaxed);
    }
}

/// The engine in a thread that it shares.
struct InTurns {
    market_data: MarketData,
    told: SyncSender<Result<(), PlaneError>>,
}

impl Turns for InTurns {
    fn turn(&mut self) -> Result<Turned, PlaneError> {
        if self.market_data.shared.stopping.load(Ordering::Acquire) {
            return Ok(Turned::Over);
        }
        Ok(if self.market_data.one_batch()? > 0 { Turned::Worked } else { Turned::Idle })
    }

    fn wait_for<'a>(&'a mut self, waits: &mut Waits<'a>) -> Result<(), PlaneError> {
        if !self.market_data.is_live() {
            waits.within(JOURNAL_WAIT);
        }
        self.market_data.lanes.iter_mut().filter_map(|lane| lane.input.consumer()).for_each(|one| waits.consumer(one));
        Ok(())
    }

    fn end(self: Box<Self>, failure: Option<PlaneError>) {
        let Self { market_data, told } = *self;
        let result = guarded(&market_data.shared, || failure.map_or(Ok(()), Err));
        // Its channels may be opened again by whoever hears of the end.
        drop(market_data);
        // Whoever started it may not wait for its end.
        let _ = told.send(result);
    }
}

/// One feed with its state machine.
struct Lane {
    venue: Venue,
    input: FeedInput,
    engine: FeedEngine,
    /// What makes messages of commands, where these are what is read.
    local: Option<CommandFeed>,
    /// Whether history was done once.
    begun: bool,
    /// What is to be told of it again.
    retelling: Retelling,
    resume: Resume,
    /// Receive time of the last message.
    ts_recv: i64,
    /// Books that changed in the batch in hand: by which message, and which.
    changed: Vec<(u64, InstrumentId)>,
}

impl Lane {
    /// Takes in what is there, up to `turn` messages, and publishes all that follows. Gives how many.
    fn step(
        &mut self,
        turn: usize,
        channels: &mut MarketDataChannels,
        image: &mut BookImage,
        shared: &FeedShared,
    ) -> Result<usize, PlaneError> {
        let Self { venue, input, engine, local, begun, retelling, resume, ts_recv, changed } = self;
        let was_live = input.is_live();
        let mut refused = None;
        let mut sink = channels.of(resume);
        let count = input.read(turn, |sequence, payload| match message_of(*venue, local, sequence, payload) {
            _ if refused.is_some() => {}
            Ok(message) => {
                sink.begin(was_live);
                engine.on_message(sequence, message, &mut sink);
                *ts_recv = message.ts_recv;
                let latencies = was_live.then_some(&shared.latencies);
                sink.end((*venue, sequence), (message.ts_recv, message.kind), latencies);
            }
            Err(error) => refused = Some(error),
        })?;
        channels.check()?;
        if let Some(error) = refused {
            return Err(error);
        }
        if let Some(health) = channels.take_health() {
            *shared.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(health);
        }
        let is_live = input.is_live();
        if count > 0 {
            channels.note(*venue, input.last_sequence());
        }
        if is_live && (count > 0 || !shared.live.load(Ordering::Relaxed)) {
            engine.drain_dirty(|sequence, instrument| changed.push((sequence, instrument)));
            changed.sort_unstable_by_key(|(sequence, instrument)| (*sequence, instrument.get()));
            let mut sink = channels.of(resume);
            for (sequence, instrument) in changed.drain(..) {
                if sink.wants_image(sequence, instrument) && engine.fill_image(instrument, image) {
                    sink.publish_book(image);
                }
            }
            channels.check()?;
            channels.note_images(*venue, input.last_sequence());
        }
        if is_live && local.is_some() && !std::mem::replace(begun, true) {
            // Nobody else tells who begins now what stands.
            engine.exponents().for_each(|(id, ..)| retelling.want(id.get(), Parts::ALL));
        }
        if is_live && !retelling.is_done() {
            // Behind all that was noted, so that a death in the middle goes on there.
            let trading = |id: InstrumentId| local.as_ref()?.trading(id.index() as u32);
            let standing = Standing { engine, trading: &trading, sequence: input.last_sequence(), ts_recv: *ts_recv };
            retelling.tell(Instant::now(), &standing, image, &mut channels.of(resume));
            channels.check()?;
        }
        shared.live.store(is_live, Ordering::Relaxed);
        if count > 0 {
            shared.messages.fetch_add(count as u64, Ordering::Relaxed);
            shared.sequence.store(input.last_sequence(), Ordering::Release);
        }
        Ok(count)
    }
}

impl Lane {
    /// Tells readers again what they lost of this feed. What nobody knows any more is told of all its instruments; what was lost before
    /// somebody joined only of our own venue, as all others tell their books whole at every session.
    fn lost(&mut self, parts: Parts, lost: &Lost) {
        let all = lost.any || lost.joined && self.local.is_some();
        for (id, ..) in self.engine.exponents().filter(|(id, ..)| all || lost.ids.contains(&id.get())) {
            self.retelling.want(id.get(), parts);
        }
    }

    /// Tells indicative prices that commands brought too fast to say each.
    fn say_unsaid(&mut self) {
        let unsaid = self.local.as_mut().map(CommandFeed::take_unsaid).unwrap_or_default();
        for index in unsaid {
            self.retelling.want(InstrumentId::new(self.venue, index).get(), Parts::INDICATIVE);
        }
    }
}

/// The message that a payload is, or that is made of it.
fn message_of<'a>(
    venue: Venue,
    local: &'a mut Option<CommandFeed>,
    sequence: u64,
    payload: &'a [u8],
) -> Result<RawMessage<'a>, PlaneError> {
    let Some(local) = local else {
        let refused = |cause| PlaneError::Payload { venue: venue.name(), sequence, cause };
        return RawMessage::parse(payload).map_err(refused);
    };
    let (found, expected) = (payload.len(), COMMAND_SIZE_BYTES);
    let command = Command::read_from_bytes(payload);
    local.take(sequence, &command.map_err(|_| PlaneError::NoCommand { sequence, found, expected })?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tidebook_ring::RingOptions;
    use tidebook_types::MessageKind;

    use super::*;

    /// Method: two feeds of which each has a hundred messages; what a turn takes is counted.
    #[test]
    fn a_turn_beside_another_engine_is_one_bounded_batch_of_one_feed() {
        let directory = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempdir().unwrap();
        let venues = [Venue::Binance, Venue::BinanceUs];
        let rings = venues.map(|venue| {
            let path = directory.path().join(format!("{}.ring", channel_of(venue)));
            Ring::create(path, &RingOptions::frames(1 << 16).parking(true)).unwrap()
        });
        let source = |venue| FeedSource { venue, journal_dir: directory.path().join("none"), snapshots_dir: None };
        let options = EngineOptions::new(venues.map(source).to_vec(), directory.path().to_owned());
        let mut engine = Prepared::of(options).unwrap_or_else(|error| panic!("{error}")).market_data;
        while !engine.is_live() {
            assert_eq!(engine.one_batch().unwrap(), 0);
        }
        for ring in rings {
            let mut producer = ring.producer().unwrap();
            for _ in 0..100 {
                let (kind, body) = (MessageKind::State, br#"{"event":"connected"}"#);
                let mut payload = Vec::new();
                RawMessage { ts_recv: 1, connection: 1, kind, context: b"", body }.write_to(&mut payload);
                producer.write(&payload).unwrap();
            }
        }
        let taken = |engine: &MarketData| -> Vec<u64> {
            engine.shared.feeds.iter().map(|feed| feed.messages.load(Ordering::Relaxed)).collect()
        };
        let mut before = taken(&engine);
        for turn in 1..=14 {
            let count = engine.one_batch().unwrap() as u64;
            let after = taken(&engine);
            let mut each: Vec<_> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
            each.sort_unstable();
            assert_eq!(each, [0, count], "turn {turn}");
            assert_eq!(count, if turn <= 12 { TURN_BESIDE as u64 } else { 4 }, "turn {turn}");
            before = after;
        }
        assert_eq!((engine.one_batch().unwrap(), before), (0, vec![100, 100]));
    }

    #[test]
    fn a_panic_of_the_thread_is_its_failure() {
        let shared = Shared {
            stopping: AtomicBool::new(false),
            published: AtomicU64::new(0),
            feeds: Vec::new(),
            failure: Mutex::new(None),
            whose: HashMap::new(),
        };
        let error = guarded(&shared, || panic!("a mistake in {}", "a decoder")).unwrap_err();
        assert_eq!(error.to_string(), "the engine's thread panicked: a mistake in a decoder");
        assert_eq!(*shared.failure.lock().unwrap(), Some(error.to_string()));
        assert!(guarded(&shared, || Ok(())).is_ok());
    }
}
