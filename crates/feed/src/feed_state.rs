//! The whole state of a feed: what its engine keeps, and what readers of its channels were told last.
//!
//! A restart that begins from a [`FeedState`] instead of the feed's first message must publish and store the same. The
//! engine alone is not enough for that: fresh channels begin with the definitions of all instruments, and the best price
//! over all venues counts tops that were told long ago. So this follows what the engine writes and keeps those too.
//!
//! Byte table: `docs/formats/feed-state.md`.

use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use tidebook_types::records::Instrument;
use tidebook_types::{Bar, Depth, Health, Order, Quote, RawMessage, Status, Trade, Venue};

use crate::consolidated::Consolidator;
use crate::engine::{FeedEngine, FeedOptions};
use crate::saved::{Input, Saved, SavedError, saved};
use crate::sink::{RecordSink, Stage};
use crate::state_hash::StateHasher;

/// What [`FeedState::save`] writes. Rises with every change of the layout, and whenever the same messages would lead to
/// another state or a state means something else, though its layout is the same.
pub const STATE_VERSION: u32 = 1;

/// A version of the saved state that this build reads.
struct Reader {
    version: u32,
    /// Number of its layout, for good: a build between two releases may have had another under the same version.
    layout: u32,
    read: fn(&[u8]) -> Result<FeedState, SavedError>,
}

/// Every version that this build reads, oldest first; the last is what it writes. A row is never taken out: a journal that has
/// lost its first messages starts from nothing but such a state.
const READERS: [Reader; 1] = [Reader { version: STATE_VERSION, layout: 0x0a47_4cd7, read: FeedState::of_content }];

/// First bytes of a saved state.
const MAGIC: [u8; 8] = *b"TIDEFEED";
const HEAD_SIZE_BYTES: usize = 40;
const CHECKSUM_SIZE_BYTES: usize = 4;

/// Definitions kept before those that others replaced are given up: as many as `md.instruments` has room for.
const DEFINITIONS_MAX: usize = 1 << 14;

/// Why bytes do not become the state of a feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Not what a feed's state begins with.
    #[error("no saved state of a feed")]
    NoState,
    /// Saved by a build that came later.
    #[error(
        "a state of version {found}, and this build reads version {STATE_VERSION} at most: start the release that wrote it, or \
         a later one"
    )]
    Newer {
        /// What the bytes say.
        found: u32,
    },
    /// Of a version that never was.
    #[error("a state of version {found}, which no build wrote; this one reads versions {} to {STATE_VERSION}", READERS[0].version)]
    Version {
        /// What the bytes say.
        found: u32,
    },
    /// Saved by a build between two releases whose state has other fields under the same version.
    #[error("a state of version {version} with layout {found:08x}, which in this build has {expected:08x}")]
    Layout {
        /// What the bytes say.
        version: u32,
        /// What the bytes say.
        found: u32,
        /// The version's.
        expected: u32,
    },
    /// Of another feed.
    #[error("a state of {found} where {expected} is wanted")]
    Venue {
        /// What the bytes say.
        found: String,
        /// The feed that was to be loaded.
        expected: &'static str,
    },
    /// Changed since they were written.
    #[error("damaged: {reason}")]
    Damaged {
        /// What shows it.
        reason: String,
    },
}

impl LoadError {
    fn damaged(reason: impl ToString) -> Self {
        Self::Damaged { reason: reason.to_string() }
    }
}

/// The state of one feed after a message.
pub struct FeedState {
    sequence: u64,
    /// Receive time of the last message.
    ts_recv: i64,
    engine: FeedEngine,
    tops: Consolidator,
    definitions: VecDeque<Instrument>,
    health: Option<Health>,
}

saved!(FeedState { sequence, ts_recv, engine, tops, definitions, health });

impl FeedState {
    /// A feed of which nothing was seen.
    pub fn new(venue: Venue, options: FeedOptions) -> Self {
        Self {
            sequence: 0,
            ts_recv: 0,
            engine: FeedEngine::new(venue, options),
            tops: Consolidator::default(),
            definitions: VecDeque::new(),
            health: None,
        }
    }

    /// Takes in the message that has this sequence in `feed.<venue>`; see [`FeedEngine::on_message`].
    #[inline]
    pub fn on_message(&mut self, sequence: u64, message: RawMessage<'_>, sink: &mut impl RecordSink) {
        let Self { engine, tops, definitions, health, .. } = self;
        let (ts_recv, kind) = (message.ts_recv, message.kind);
        engine.on_message(sequence, message, &mut Noting { sink, tops, definitions, health });
        tops.on_message(engine.venue(), sequence, ts_recv, kind, |_| {});
        (self.sequence, self.ts_recv) = (sequence, ts_recv);
        if self.definitions.len() > DEFINITIONS_MAX {
            self.forget_replaced();
        }
    }

    /// Keeps the newer half of the definitions, and of those before what still holds. Looks at nothing but the state, so that
    /// one that was loaded does the same.
    #[cold]
    fn forget_replaced(&mut self) {
        if self.definitions.len() <= DEFINITIONS_MAX.max(2 * self.engine.instruments().count()) {
            return;
        }
        let mut known = HashSet::new();
        let newest: Vec<_> = self.definitions.iter().rev().map(|record| known.insert(record.instrument_id)).collect();
        let mut places = (0..newest.len()).rev();
        self.definitions.retain(|_| places.next().is_some_and(|back| back < DEFINITIONS_MAX / 2 || newest[back]));
    }

    /// Sequence of the last message; 0 before the first.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Receive time of the last message, ns since 1970 UTC; 0 before the first.
    pub const fn ts_recv(&self) -> i64 {
        self.ts_recv
    }

    /// The engine.
    pub const fn engine(&self) -> &FeedEngine {
        &self.engine
    }

    /// The engine, to go on with alone.
    pub fn into_engine(self) -> FeedEngine {
        self.engine
    }

    /// What counts for the best price over all venues.
    pub const fn tops(&self) -> &Consolidator {
        &self.tops
    }

    /// Definitions of instruments, oldest first: the one that holds of each, and as many of those before as are kept.
    pub fn definitions(&self) -> impl Iterator<Item = &Instrument> {
        self.definitions.iter()
    }

    /// How the feed did, by the newest record.
    pub const fn health(&self) -> Option<&Health> {
        self.health.as_ref()
    }

    /// The engine's [`FeedEngine::state_hash`] with the sequence.
    pub fn state_hash(&self) -> u64 {
        let mut state = StateHasher::default();
        (self.sequence, self.engine.state_hash()).hash(&mut state);
        state.finish()
    }

    /// Everything as bytes, the same for the same state.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&STATE_VERSION.to_le_bytes());
        out.extend_from_slice(&layout().to_le_bytes());
        out.extend_from_slice(&(self.engine.venue() as u64).to_le_bytes());
        let size_at = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.engine.state_hash().to_le_bytes());
        debug_assert_eq!(out.len(), HEAD_SIZE_BYTES);
        Saved::save(self, &mut out);
        let size_bytes = (out.len() - HEAD_SIZE_BYTES) as u64;
        out[size_at..size_at + 8].copy_from_slice(&size_bytes.to_le_bytes());
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The state of the feed of `venue` that [`Self::save`] gave, in this build or in one before.
    ///
    /// # Errors
    /// [`LoadError`]; nothing in `bytes` makes this panic, or take more memory than a small multiple of them.
    pub fn load(venue: Venue, bytes: &[u8]) -> Result<Self, LoadError> {
        let number = |at: usize| bytes.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
        let long = |at: usize| bytes.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
        if bytes.get(..8) != Some(&MAGIC[..]) {
            return Err(LoadError::NoState);
        }
        let cut = || LoadError::damaged("it is cut");
        let version = number(8).ok_or_else(cut)?;
        if version > STATE_VERSION {
            return Err(LoadError::Newer { found: version });
        }
        let reader = READERS.iter().find(|reader| reader.version == version);
        let reader = reader.ok_or(LoadError::Version { found: version })?;
        let (found, expected) = (number(12).ok_or_else(cut)?, reader.layout);
        if found != expected {
            return Err(LoadError::Layout { version, found, expected });
        }
        let code = long(16).ok_or_else(cut)?;
        if code != venue as u64 {
            let known = u8::try_from(code).ok().and_then(Venue::from_code);
            let found = known.map_or_else(|| format!("venue {code}"), |venue| venue.name().to_owned());
            return Err(LoadError::Venue { found, expected: venue.name() });
        }
        let (size_bytes, state_hash) = (long(24).ok_or_else(cut)?, long(32).ok_or_else(cut)?);
        let end = usize::try_from(size_bytes).ok().and_then(|size_bytes| HEAD_SIZE_BYTES.checked_add(size_bytes));
        let end = end.filter(|end| end.checked_add(CHECKSUM_SIZE_BYTES) == Some(bytes.len())).ok_or_else(cut)?;
        if number(end) != Some(crc32fast::hash(&bytes[..end])) {
            return Err(LoadError::damaged("its checksum is another"));
        }
        let state = (reader.read)(&bytes[HEAD_SIZE_BYTES..end]).map_err(LoadError::damaged)?;
        // The hash of a version before is one of other fields.
        let is_same = version != STATE_VERSION || state.engine.state_hash() == state_hash;
        if state.engine.venue() != venue || !is_same {
            return Err(LoadError::damaged("what it holds is not the state that was saved"));
        }
        Ok(state)
    }

    /// Reads what [`Self::save`] of this build writes behind the head.
    fn of_content(content: &[u8]) -> Result<Self, SavedError> {
        let mut input = Input::new(content);
        let state = <Self as Saved>::load(&mut input)?;
        input.end()?;
        Ok(state)
    }
}

/// One number for [`STATE_VERSION`] and the layout: states of two builds are readable by each other if it is the same.
pub fn state_number() -> u32 {
    let mut text = format!("{STATE_VERSION} ");
    <FeedState as Saved>::layout(&mut text);
    crc32fast::hash(text.as_bytes())
}

/// Number of the layout of a saved state.
fn layout() -> u32 {
    let mut text = String::new();
    <FeedState as Saved>::layout(&mut text);
    crc32fast::hash(text.as_bytes())
}

/// Hands all records on and notes what a later start needs of them.
struct Noting<'a, S> {
    sink: &'a mut S,
    tops: &'a mut Consolidator,
    definitions: &'a mut VecDeque<Instrument>,
    health: &'a mut Option<Health>,
}

impl<S: RecordSink> RecordSink for Noting<'_, S> {
    #[inline]
    fn reached(&mut self, stage: Stage, ts_event: i64) {
        self.sink.reached(stage, ts_event);
    }
    fn health(&mut self, record: &Health) {
        *self.health = Some(*record);
        self.sink.health(record);
    }
    #[inline]
    fn trade(&mut self, record: &Trade) {
        self.sink.trade(record);
    }
    #[inline]
    fn quote(&mut self, record: &Quote) {
        self.tops.on_quote(record, |_| {});
        self.sink.quote(record);
    }
    #[inline]
    fn depth(&mut self, record: &Depth) {
        self.sink.depth(record);
    }
    #[inline]
    fn bar(&mut self, record: &Bar) {
        self.sink.bar(record);
    }
    fn status(&mut self, record: &Status) {
        self.tops.on_status(record, |_| {});
        self.sink.status(record);
    }
    #[inline]
    fn order(&mut self, record: &Order) {
        self.sink.order(record);
    }
    fn instrument(&mut self, record: &Instrument) {
        self.tops.on_instrument(record);
        self.definitions.push_back(*record);
        self.sink.instrument(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_reads_every_version_up_to_the_one_that_it_writes() {
        assert!(READERS.iter().map(|reader| reader.version).eq(1..=STATE_VERSION));
        let newest = READERS.last().unwrap();
        assert_eq!(
            layout(),
            newest.layout,
            "the layout of a saved state is {:08x} and was {:08x}: raise STATE_VERSION and give the new version a row; the \
             row before keeps its layout and gets a reader of its own, see docs/formats/feed-state.md#a-change",
            layout(),
            newest.layout
        );
    }

    #[test]
    fn the_format_page_says_where_everything_is() {
        let page = include_str!("../../../docs/formats/feed-state.md");
        let state = FeedState::new(Venue::Kraken, FeedOptions::of(Venue::Kraken));
        let saved = state.save();
        let content = saved.len() - HEAD_SIZE_BYTES - CHECKSUM_SIZE_BYTES;
        for (field, offset, value) in [
            ("magic", 0, u64::from_le_bytes(MAGIC)),
            ("version", 8, u64::from(STATE_VERSION)),
            ("layout", 12, u64::from(layout())),
            ("venue", 16, Venue::Kraken as u64),
            ("size_bytes", 24, content as u64),
            ("state_hash", 32, state.engine.state_hash()),
        ] {
            let size = if value == u64::from(STATE_VERSION) || field == "layout" { 4 } else { 8 };
            assert!(page.contains(&format!("| {offset} | {size} | {field} |")), "{field}");
            assert_eq!(&saved[offset..offset + size], &value.to_le_bytes()[..size], "{field}");
        }
        assert!(page.contains(&format!("feed, version {STATE_VERSION}")));
        assert!(page.contains(&format!("| {HEAD_SIZE_BYTES} | size_bytes | content |")));
        assert!(page.contains(&format!("| {HEAD_SIZE_BYTES} + size_bytes | {CHECKSUM_SIZE_BYTES} | checksum |")));
    }
}
