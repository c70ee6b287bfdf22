//! The node's own venue as market data sees it, as the journal's recovery knows states: what a snapshot is taken of and loaded into.
//!
//! Matching ([`CommandFeed`]) and what followed from what it said ([`FeedState`]: bars under way, definitions told, books, numbers) behind one
//! command of `orders`. The venue's own snapshots are not enough: they know no bar, no instrument's place among the definitions and
//! no name. What orders show follows from the orders, so it is not written but made again. Byte table: `docs/formats/local-state.md`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidebook_feed::{FeedOptions, FeedState, RecordSink};
use tidebook_journal::snapshot::{self, SnapshotFacts, SnapshotStore, newest_usable};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{State, StateError};
use tidebook_types::command::COMMAND_SIZE_BYTES;
use tidebook_types::hash::mix;
use tidebook_types::{Command, Session, Venue as FeedVenue};
use tidebook_venue::{Venue, VenueOptions};
use zerocopy::FromBytes;

use crate::beginning::{earliest_usable, first_sequence, said};
use crate::command_feed::{CommandFeed, Listed};
use crate::error::PlaneError;
use crate::venue_recovery::ORDERS;
use crate::venue_sizes::VenueSizes;

/// Kind of these states, and name of the directory of their snapshots.
pub const MARKET_DATA: &str = "market_data";
/// Rises with every change of what [`State::save`] writes here; the venue's state inside has a version of its own.
const STATE_VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"TIDELOCL";
const HEAD_SIZE_BYTES: usize = 32;
/// Of each instrument, before its name.
const LISTED_SIZE_BYTES: usize = 48;

/// Where the snapshots of the market data of the node's own venue are among all snapshots of a data directory.
pub fn market_data_snapshots_path(snapshots_dir: &Path) -> PathBuf {
    snapshots_dir.join(ORDERS).join(MARKET_DATA)
}

/// The function of commands that snapshots of market data keep.
pub struct LocalHistory {
    options: VenueOptions,
    names_file: PathBuf,
    local: CommandFeed,
    feed: FeedState,
}

/// Drops what follows from commands that are only caught up with.
struct Nowhere;

impl RecordSink for Nowhere {}

impl LocalHistory {
    /// Before the first command of a venue with this room; `names_file` is read whenever an instrument is new.
    pub fn new(options: VenueOptions, names_file: &Path) -> Self {
        Self {
            options,
            names_file: names_file.to_owned(),
            local: CommandFeed::new(options, names_file),
            feed: FeedState::new(FeedVenue::Local, FeedOptions::of(FeedVenue::Local)),
        }
    }

    /// The hash of all, with that of matching.
    fn hash_with(&self, matching: u64) -> u64 {
        let mut hash = mix(matching, self.feed.state_hash());
        for (number, listed) in self.local.listed() {
            let Listed { index, symbol, session, since, indicative: (price, size), indicative_said_at } = listed;
            let words = [
                number.into(),
                (*index).into(),
                session.code().into(),
                self.local.is_unsaid(*index).into(),
                *price as u64,
                *size as u64,
                *since as u64,
                *indicative_said_at as u64,
            ];
            hash = words.into_iter().chain(symbol.iter().map(|&byte| byte.into())).fold(hash, mix);
        }
        hash
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), (usize, String)> {
        let number = |at: usize| bytes.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
        let long = |at: usize| bytes.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")));
        let cut = |at: usize| (at, "it ends too early".to_owned());
        if bytes.get(..8) != Some(&MAGIC[..]) {
            return Err((0, "no state of the venue's market data".to_owned()));
        }
        let version = number(8).ok_or_else(|| cut(8))?;
        let expected = State::version(self.local.venue());
        if version != expected {
            return Err((8, format!("the venue's state has version {version}, and this build reads {expected}")));
        }
        let count = number(12).ok_or_else(|| cut(12))?;
        let size = |at: usize| long(at).and_then(|size| usize::try_from(size).ok()).ok_or_else(|| cut(at));
        let (venue_size, feed_size) = (size(16)?, size(24)?);
        let (mut at, mut listed, mut unsaid) = (HEAD_SIZE_BYTES, Vec::new(), BTreeSet::new());
        for index in 0..count {
            let head = bytes.get(at..at + LISTED_SIZE_BYTES).ok_or_else(|| cut(at))?;
            let (instrument_id, name_size) = (number(at).unwrap_or(0), number(at + 4).unwrap_or(0) as usize);
            let session = Session::from_code(head[8]).ok_or_else(|| (at + 8, format!("{} is no session", head[8])))?;
            if head[9] > 1 {
                return Err((at + 9, format!("{} is neither said nor unsaid", head[9])));
            }
            if head[9] == 1 {
                unsaid.insert(index);
            }
            let time = |at: usize| long(at).unwrap_or(0) as i64;
            let (indicative, since, indicative_said_at) =
                ((time(at + 16), time(at + 24)), time(at + 32), time(at + 40));
            let name_at = at + LISTED_SIZE_BYTES;
            let symbol = bytes.get(name_at..).and_then(|rest| rest.get(..name_size)).ok_or_else(|| cut(name_at))?;
            let symbol = symbol.to_vec();
            listed.push((instrument_id, Listed { index, symbol, session, since, indicative, indicative_said_at }));
            at = name_at + name_size;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((venue_bytes, feed_bytes)) = rest.split_at_checked(venue_size) else { return Err(cut(at)) };
        if feed_bytes.len() != feed_size {
            return Err((at + venue_size, format!("{} bytes are left, {feed_size} belong there", feed_bytes.len())));
        }
        let mut venue = Venue::new(self.options);
        State::load(&mut venue, venue_bytes).map_err(|error| (at, error.to_string()))?;
        let feed = FeedState::load(FeedVenue::Local, feed_bytes);
        self.feed = feed.map_err(|error| (at + venue_size, error.to_string()))?;
        self.local = CommandFeed::of_parts(venue, &self.names_file, listed, unsaid);
        Ok(())
    }
}

impl State for LocalHistory {
    fn kind(&self) -> &str {
        MARKET_DATA
    }

    fn version(&self) -> u32 {
        STATE_VERSION
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        let refused = |reason| StateError::Message { kind: MARKET_DATA.to_owned(), sequence, reason };
        let command = Command::read_from_bytes(payload)
            .map_err(|_| refused(format!("it has {} bytes, a command has {COMMAND_SIZE_BYTES}", payload.len())))?;
        let message = self.local.take(sequence, &command).map_err(|error| refused(error.to_string()))?;
        self.feed.on_message(sequence, message, &mut Nowhere);
        Ok(())
    }

    fn state_hash(&self) -> u64 {
        self.hash_with(self.local.venue().state_hash())
    }

    fn recomputed_state_hash(&self) -> Option<u64> {
        Some(self.hash_with(self.local.venue().recomputed_state_hash()))
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut venue = Vec::new();
        State::save(self.local.venue(), &mut venue)?;
        let (feed, listed) = (self.feed.save(), self.local.listed());
        out.write_all(&MAGIC)?;
        out.write_all(&State::version(self.local.venue()).to_le_bytes())?;
        out.write_all(&(listed.len() as u32).to_le_bytes())?;
        out.write_all(&(venue.len() as u64).to_le_bytes())?;
        out.write_all(&(feed.len() as u64).to_le_bytes())?;
        for (number, listed) in listed {
            let Listed { index, symbol, session, since, indicative: (price, size), indicative_said_at } = listed;
            out.write_all(&number.to_le_bytes())?;
            out.write_all(&(symbol.len() as u32).to_le_bytes())?;
            out.write_all(&[session.code(), self.local.is_unsaid(*index).into(), 0, 0, 0, 0, 0, 0])?;
            for number in [price, size, since, indicative_said_at] {
                out.write_all(&number.to_le_bytes())?;
            }
            out.write_all(symbol)?;
        }
        out.write_all(&venue)?;
        out.write_all(&feed)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.read(bytes).map_err(|(offset, reason)| StateError::Saved {
            kind: MARKET_DATA.to_owned(),
            offset: offset as u64,
            reason,
        })
    }
}

/// Where the market data of the node's own venue is taken up: behind its newest usable snapshot up to a command, or at the first one.
pub(crate) struct LocalBeginning {
    /// The feed, behind its [`FeedState::sequence`].
    pub(crate) feed: FeedState,
    /// The venue behind the same command.
    pub(crate) local: CommandFeed,
    /// Snapshots that could not be used, newest first, each with the reason.
    pub(crate) refused: Vec<String>,
}

impl LocalBeginning {
    /// As [`crate::Beginning::find`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn find(
        options: VenueOptions,
        journal_dir: &Path,
        names_file: &Path,
        snapshots_dir: Option<&Path>,
        sequence_max: u64,
    ) -> Result<Self, PlaneError> {
        let mut refused = Vec::new();
        if let Some(snapshots_dir) = snapshots_dir {
            let (journal, snapshots) = places(journal_dir, snapshots_dir)?;
            let make = || LocalHistory::new(options, names_file);
            let (newest, unusable) = newest_usable(make, &journal, &snapshots, sequence_max)?;
            refused = said(&unusable);
            if let Some((_, LocalHistory { local, feed, .. })) = newest {
                return Ok(Self { feed, local, refused });
            }
        }
        let first = first_sequence(journal_dir)?;
        if first > 1 {
            return Err(PlaneError::NoMarketData { first, refused });
        }
        let LocalHistory { local, feed, .. } = LocalHistory::new(options, names_file);
        Ok(Self { feed, local, refused })
    }
}

/// First command that market data can be taken up behind: 0 when the journal has its beginning, else that of the oldest snapshot
/// that can be used; `None` when there is none.
pub(crate) fn earliest_local(
    options: VenueOptions,
    journal_dir: &Path,
    names_file: &Path,
    snapshots_dir: Option<&Path>,
) -> Result<Option<u64>, PlaneError> {
    let first = first_sequence(journal_dir)?;
    if first <= 1 {
        return Ok(Some(0));
    }
    let Some(snapshots_dir) = snapshots_dir else { return Ok(None) };
    let (journal, snapshots) = places(journal_dir, snapshots_dir)?;
    earliest_usable(|| LocalHistory::new(options, names_file), &journal, &snapshots, first)
}

/// As [`crate::usable_snapshots`], of the market data of the node's own venue.
///
/// # Errors
/// As there.
pub fn usable_market_data_snapshots(
    journal_dir: &Path,
    names_file: &Path,
    snapshots_dir: &Path,
    sequence_max: u64,
    count: usize,
) -> Result<(Vec<u64>, Vec<String>), PlaneError> {
    let room = VenueSizes::of_journal(journal_dir)?.unwrap_or_default().venue;
    let (journal, snapshots) = places(journal_dir, snapshots_dir)?;
    let make = || LocalHistory::new(room, names_file);
    let (found, refused) = snapshot::usable_snapshots(make, &journal, &snapshots, sequence_max, count)?;
    Ok((found.iter().rev().map(SnapshotFacts::sequence).collect(), said(&refused)))
}

fn places(journal_dir: &Path, snapshots_dir: &Path) -> Result<(Arc<dyn Storage>, SnapshotStore), PlaneError> {
    let snapshots = SnapshotStore::open(&market_data_snapshots_path(snapshots_dir), MARKET_DATA)?;
    Ok((Arc::new(Directory::new(journal_dir)), snapshots))
}

#[cfg(test)]
mod tests {
    use tidebook_feed::RecordBatch;
    use tidebook_testkit::matching::{MatchingFlow, Mix};
    use tidebook_venue::Venue;
    use zerocopy::IntoBytes;

    use super::*;

    const OPTIONS: VenueOptions = VenueOptions { orders_max: 10_000, instruments_max: 8, accounts_max: 16 };
    const STREAM: usize = 1_500;
    const SPACING: usize = 211;

    fn saved(history: &LocalHistory) -> Vec<u8> {
        let mut bytes = Vec::new();
        history.save(&mut bytes).unwrap();
        bytes
    }

    fn loaded(bytes: &[u8]) -> Result<LocalHistory, StateError> {
        let mut history = LocalHistory::new(OPTIONS, Path::new("no-such-file"));
        history.load(bytes).map(|()| history)
    }

    fn take(history: &mut LocalHistory, sequence: u64, command: &Command, batch: &mut RecordBatch) {
        let LocalHistory { local, feed, .. } = history;
        feed.on_message(sequence, local.take(sequence, command).unwrap(), batch);
    }

    #[test]
    fn market_data_that_was_saved_behind_any_command_goes_on_with_the_same_records() {
        let mut compared = 0;
        for seed in 0..4 {
            for mix in Mix::ALL {
                let (mut flow, mut venue) = (MatchingFlow::new(seed, mix), Venue::new(OPTIONS));
                let mut history = LocalHistory::new(OPTIONS, Path::new("no-such-file"));
                // Each with what it gave since it was loaded, and how much the first one had given by then.
                let mut again: Vec<(LocalHistory, RecordBatch)> = Vec::new();
                let mut batch = RecordBatch::default();
                for place in 0..STREAM {
                    let (sequence, command) = flow.next_command();
                    let mut said = Vec::new();
                    venue.apply(sequence, &command, &mut |execution| said.push(*execution));
                    flow.observe(&said);
                    let mut own = RecordBatch::default();
                    take(&mut history, sequence, &command, &mut own);
                    for (other, its) in &mut again {
                        its.clear();
                        take(other, sequence, &command, its);
                        assert_eq!(format!("{its:?}"), format!("{own:?}"), "seed {seed} {mix:?} command {sequence}");
                        compared += its.depth.len() + its.trades.len() + its.bars.len();
                    }
                    batch = own;
                    if place % SPACING == SPACING - 1 {
                        let bytes = saved(&history);
                        let back = loaded(&bytes).unwrap();
                        assert_eq!(back.state_hash(), history.state_hash());
                        assert_eq!(back.recomputed_state_hash(), Some(back.state_hash()));
                        for index in 0..history.local.listed().len() as u32 {
                            assert_eq!(back.local.trading(index), history.local.trading(index));
                        }
                        assert!(saved(&back) == bytes, "what was loaded is saved as the same bytes");
                        again.push((back, RecordBatch::default()));
                    }
                }
                drop(batch);
                for (other, _) in &again {
                    assert!(saved(other) == saved(&history), "seed {seed} {mix:?}");
                }
            }
        }
        assert!(compared > 10_000, "only {compared} records were compared");
    }

    #[test]
    fn bytes_that_are_no_saved_state_are_refused_wherever_they_are_cut_and_never_panic() {
        let mut flow = MatchingFlow::new(1, Mix::ALL[0]);
        let mut history = LocalHistory::new(OPTIONS, Path::new("no-such-file"));
        for _ in 0..200 {
            let (sequence, command) = flow.next_command();
            State::apply(&mut history, sequence, command.as_bytes()).unwrap();
        }
        let bytes = saved(&history);
        for cut in (0..bytes.len()).step_by(7) {
            assert!(loaded(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(loaded(&longer).is_err());
        // Every byte of the head and of the names: what it becomes is refused, or another state.
        for at in 0..HEAD_SIZE_BYTES + 4 * LISTED_SIZE_BYTES {
            let mut other = bytes.clone();
            other[at] ^= 0x40;
            if let Ok(found) = loaded(&other) {
                assert!(found.state_hash() != history.state_hash() || saved(&found) == bytes, "byte {at}");
            }
        }
        assert!(State::apply(&mut history, 201, b"no command").is_err());
    }
}
