//! The market-data engine: one thread that turns `feed.<venue>` into `md.*`.
//!
//! It derives everything from the feed's history when it starts and drops what the channels already hold, so a
//! killed engine goes on without a gap or a duplicate. Trades, quotes and depth go out one by one as they are
//! decoded; book images once per batch of input, only for books that changed, so bursts make images newer, not more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidebook_feed::{FeedEngine, FeedOptions};
use tidebook_journal::{JournalError, JournalReader, ReaderOptions};
use tidebook_ring::{Ring, Wait};
use tidebook_types::{BookImage, RawMessage, Venue};
use zerocopy::FromZeros;

use crate::error::PlaneError;
use crate::histogram::{Histogram, HistogramSnapshot};
use crate::input::FeedInput;
use crate::output::MarketDataChannels;

/// How often a thread without input looks whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// What an engine is started with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Whose dialect the feed speaks.
    pub venue: Venue,
    /// Directory of the rings: `feed.<venue>` is read, `md.*` are written there.
    pub rings_dir: PathBuf,
    /// Directory of the feed's journal.
    pub journal_dir: PathBuf,
    /// How the thread waits for input.
    pub wait: Wait,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    live: AtomicBool,
    messages: AtomicU64,
    sequence: AtomicU64,
    published: AtomicU64,
    latency: Histogram,
    failure: Mutex<Option<String>>,
}

/// How far an engine is.
#[derive(Debug, Clone)]
pub struct EngineStatus {
    /// Feed messages taken in since the start, history included.
    pub messages: u64,
    /// Sequence of the newest.
    pub sequence: u64,
    /// Records published since the start.
    pub published: u64,
    /// Whether history is done.
    pub live: bool,
    /// From `ts_recv` of a live message to everything derived from it being published, in ns.
    pub latency: HistogramSnapshot,
    /// Why the thread ended, if it failed.
    pub failure: Option<String>,
}

/// A running engine.
#[derive(Debug)]
pub struct MarketDataEngine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), PlaneError>>>,
}

impl MarketDataEngine {
    /// Opens the channels and starts the thread.
    ///
    /// # Errors
    /// [`PlaneError`] when a channel cannot be opened; the feed's ring has to be there.
    ///
    /// # Panics
    /// When the operating system gives no thread.
    pub fn start(options: EngineOptions) -> Result<Self, PlaneError> {
        let feed = tidebook_ring::paths::ring_path(&options.rings_dir, &format!("feed.{}", options.venue.name()))?;
        let ring = Ring::open(feed)?;
        let mut channels = MarketDataChannels::open(&options.rings_dir)?;
        if channels.resume_after().is_none() {
            channels.start_after(last_durable(&options.journal_dir)?);
        }
        let input = FeedInput::new(options.journal_dir, ring, "engine".to_owned(), options.wait);
        let engine = FeedEngine::new(options.venue, FeedOptions::of(options.venue));
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("md-engine".into())
            .spawn(move || {
                let result = run(engine, input, channels, &seen);
                if let Err(error) = &result {
                    *seen.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
                result
            })
            .expect("a thread for the engine");
        Ok(Self { shared, thread: Some(thread) })
    }

    /// How far it is.
    pub fn status(&self) -> EngineStatus {
        let shared = &self.shared;
        EngineStatus {
            messages: shared.messages.load(Ordering::Relaxed),
            sequence: shared.sequence.load(Ordering::Relaxed),
            published: shared.published.load(Ordering::Relaxed),
            live: shared.live.load(Ordering::Relaxed),
            latency: shared.latency.snapshot(),
            failure: shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Ends the thread after the batch in hand.
    ///
    /// # Errors
    /// What ended it earlier.
    ///
    /// # Panics
    /// When the thread panicked.
    pub fn stop(mut self) -> Result<(), PlaneError> {
        self.shared.stopping.store(true, Ordering::Release);
        self.thread.take().expect("a thread is joined once").join().expect("the engine thread does not panic")
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

/// Highest durable sequence of the journal, 0 when there is none: what a fresh set of channels does not repeat.
fn last_durable(journal_dir: &std::path::Path) -> Result<u64, JournalError> {
    match JournalReader::open(journal_dir, ReaderOptions::default()) {
        Ok(mut reader) => {
            while reader.next_batch()?.is_some() {}
            Ok(reader.durable())
        }
        Err(JournalError::Absent { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

fn run(
    mut engine: FeedEngine,
    mut input: FeedInput,
    mut channels: MarketDataChannels,
    shared: &Shared,
) -> Result<(), PlaneError> {
    let mut image = BookImage::new_zeroed();
    let mut changed = Vec::new();
    let mut refused = None;
    while !shared.stopping.load(Ordering::Acquire) {
        let was_live = input.is_live();
        let mut last_sequence = 0;
        let count = input.read(STOP_INTERVAL, |sequence, payload| {
            last_sequence = sequence;
            match RawMessage::parse(payload) {
                Ok(message) => {
                    engine.on_message(sequence, message, &mut channels);
                    if was_live {
                        shared.latency.record(u64::try_from(now() - message.ts_recv).unwrap_or(0));
                    }
                }
                Err(cause) => refused = refused.take().or(Some(PlaneError::Payload { sequence, cause })),
            }
        })?;
        if let Some(error) = refused {
            return Err(error);
        }
        if input.is_live() {
            engine.drain_dirty(|instrument| changed.push(instrument));
            for instrument in changed.drain(..) {
                if engine.fill_image(instrument, &mut image) {
                    channels.publish_book(&image);
                }
            }
        }
        channels.check()?;
        shared.live.store(input.is_live(), Ordering::Relaxed);
        if count > 0 {
            shared.messages.fetch_add(count as u64, Ordering::Relaxed);
            shared.sequence.store(last_sequence, Ordering::Relaxed);
            shared.published.store(channels.published(), Ordering::Relaxed);
        }
    }
    Ok(())
}

/// ns since 1970; the one clock of the engine, read for the latency histogram alone.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
