//! A state from the newest snapshot that can be trusted and the journal's messages behind it.
//!
//! A snapshot that is damaged, of another version, or that does not load is told and passed over for the next older
//! one: it costs time only. One that is whole and contradicts the journal is another matter. It proves that messages
//! were durable which this journal does not have, or has otherwise; going on without a word would make that loss
//! final. So it ends recovery with an error that says what is missing, and somebody has to decide.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use std::time::{Duration, Instant};

use super::error::{SnapshotError, io_error};
use super::frame::{self, Place, SNAPSHOT_HEADER_SIZE_BYTES, SnapshotHeader};
use super::store::{SnapshotFacts, SnapshotStore};
use crate::error::JournalError;
use crate::reader::{Batch, JournalReader, ReaderOptions, Visible};
use crate::segment;
use crate::state::{Hashes, State};
use crate::storage::{Access, Storage, is_absent, read_full_at};
use crate::verify::inspect_storage;

/// What to recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryOptions {
    /// Only snapshots up to this sequence are used; they are not looked at beyond it.
    pub snapshot_sequence_max: u64,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        Self { snapshot_sequence_max: u64::MAX }
    }
}

/// A snapshot that was not used.
#[derive(Debug)]
pub struct Refused {
    /// Its sequence.
    pub sequence: u64,
    /// Why.
    pub reason: SnapshotError,
}

/// What a recovery found and did.
#[derive(Debug)]
pub struct RecoveryFacts {
    /// Channel of the journal.
    pub channel: String,
    /// What tells the journal from another of the channel.
    pub journal_id: u64,
    /// Snapshot the state was loaded from; `None` if it was derived from the first message.
    pub used: Option<SnapshotFacts>,
    /// Newer snapshots that could not be used, newest first.
    pub refused: Vec<Refused>,
    /// Messages applied behind the snapshot.
    pub tail_count: u64,
    /// Last message the state has taken; one below the journal's first if there is none.
    pub last_sequence: u64,
    /// Hash of the state, computed both ways where it has two.
    pub state_hash: u64,
    /// Time for reading, verifying and loading snapshots.
    pub loading: Duration,
    /// Time for the journal's messages.
    pub replaying: Duration,
}

/// A recovered state and how it came about.
#[derive(Debug)]
pub struct Recovered<S> {
    /// The state, behind all that is durable.
    pub state: S,
    /// Where it stands; `None` before the first message.
    pub place: Option<Place>,
    /// What was found and done.
    pub facts: RecoveryFacts,
    /// Reads on from there.
    pub reader: JournalReader,
}

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Last message applied.
    pub sequence: u64,
    /// Messages applied since the snapshot.
    pub applied_count: u64,
    /// Highest sequence known durable; where recovery will end, or further.
    pub durable: u64,
}

/// Rebuilds the state that `make` begins, from `snapshots` and the durable messages of `journal`.
///
/// `make` gives a new state, as often as a snapshot has to be given up. `progress` is called now and then and may end
/// it. Nothing on disk is changed.
///
/// # Errors
/// [`SnapshotError::Ahead`], [`SnapshotError::OtherHistory`] or [`SnapshotError::OtherJournal`] when a whole snapshot
/// contradicts the journal, [`SnapshotError::NoStart`] when there is nothing to begin from,
/// [`SnapshotError::Journal`] when the journal is damaged behind the snapshot, [`SnapshotError::State`] for a message
/// that is none of the state's, [`SnapshotError::Diverged`] when the state's two hashes differ.
pub fn recover<S: State>(
    mut make: impl FnMut() -> S,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    options: RecoveryOptions,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Recovered<S>, SnapshotError> {
    let began = Instant::now();
    let (start, refused) = newest_usable(&mut make, journal, snapshots, options.snapshot_sequence_max)?;
    let from_sequence = start.as_ref().map_or(0, |(facts, _): &Loaded<S>| facts.sequence() + 1);
    let mut reader = JournalReader::open_storage(Arc::clone(journal), ReaderOptions::from_sequence(from_sequence))?;
    let first = segment::first(&**journal)?;
    let (used, mut state) = match start {
        Some((facts, state)) => (Some(facts), state),
        None if first.header.predecessor_batch == 0 => (None, make()),
        None => {
            let (path, refused, first) = (snapshots.path(), refused.len(), first.header.first_sequence);
            return Err(SnapshotError::NoStart { path, refused, first });
        }
    };
    let loading = began.elapsed();
    let mut place = used.as_ref().map(|facts| facts.header.place.clone());
    let from = place.as_ref().map_or(first.header.first_sequence - 1, |place| place.sequence);
    let replayed = replay(&mut reader, &mut state, from, &mut progress)?;
    let last_sequence = replayed.as_ref().map_or(from, |place| place.sequence);
    place = replayed.or(place);
    let state_hash = match &used {
        // Its hashes were compared when it was loaded.
        Some(facts) if last_sequence == from && facts.header.state_version == state.version() => facts.state_hash,
        _ => check_hashes(&state, last_sequence)?,
    };
    let facts = RecoveryFacts {
        channel: reader.channel().to_owned(),
        journal_id: reader.journal_id(),
        used,
        refused,
        tail_count: last_sequence - from,
        last_sequence,
        state_hash,
        loading,
        replaying: began.elapsed() - loading,
    };
    Ok(Recovered { state, place, facts, reader })
}

/// A snapshot and the state that it holds.
pub type Loaded<S> = (SnapshotFacts, S);

/// The newest snapshot up to `sequence_max` that a start can begin behind, with its state, and the newer ones refused.
///
/// This, [`usable_snapshots`] and [`load_usable`] are one rule: whoever relies on snapshots asks what a start would find.
///
/// # Errors
/// What contradicts the journal, as of [`recover`]: it is never passed over; what reading the journal returned.
pub fn newest_usable<S: State>(
    mut make: impl FnMut() -> S,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    sequence_max: u64,
) -> Result<(Option<Loaded<S>>, Vec<Refused>), SnapshotError> {
    let mut newest = None;
    let refused = look(&mut make, journal, snapshots, sequence_max, |facts, state| {
        newest = Some((facts, state));
        ControlFlow::Break(())
    })?;
    Ok((newest, refused))
}

/// The newest `count` snapshots up to `sequence_max` that a start can begin behind, newest first, and those refused.
///
/// # Errors
/// As [`newest_usable`].
pub fn usable_snapshots<S: State>(
    mut make: impl FnMut() -> S,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    sequence_max: u64,
    count: usize,
) -> Result<(Vec<SnapshotFacts>, Vec<Refused>), SnapshotError> {
    let mut found = Vec::new();
    if count == 0 {
        return Ok((found, Vec::new()));
    }
    let refused = look(&mut make, journal, snapshots, sequence_max, |facts, _| {
        found.push(facts);
        if found.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok((found, refused))
}

/// Gives snapshots that can be used, newest first, until `found` has enough; those that cannot.
fn look<S: State>(
    make: &mut impl FnMut() -> S,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    sequence_max: u64,
    mut found: impl FnMut(SnapshotFacts, S) -> ControlFlow<()>,
) -> Result<Vec<Refused>, SnapshotError> {
    let mut refused = Vec::new();
    for sequence in snapshots.list()?.into_iter().rev().filter(|&listed| listed <= sequence_max) {
        match load_usable(&mut *make, journal, snapshots, sequence)? {
            Ok((facts, state)) => {
                if found(facts, state).is_break() {
                    break;
                }
            }
            Err(reason) => refused.push(Refused { sequence, reason }),
        }
    }
    Ok(refused)
}

/// The state of the snapshot at `sequence` if a start can begin behind it, else why not.
///
/// # Errors
/// As [`newest_usable`].
pub fn load_usable<S: State>(
    mut make: impl FnMut() -> S,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    sequence: u64,
) -> Result<Result<Loaded<S>, SnapshotError>, SnapshotError> {
    match load(&mut make, journal, snapshots, sequence) {
        Err(error) if error.contradicts_journal() => Err(error),
        Err(SnapshotError::Journal(error)) => Err(error.into()),
        loaded => Ok(loaded),
    }
}

/// Loads the snapshot at `sequence` after it was found to belong to the journal.
fn load<S: State>(
    make: &mut impl FnMut() -> S,
    journal: &Arc<dyn Storage>,
    snapshots: &SnapshotStore,
    sequence: u64,
) -> Result<Loaded<S>, SnapshotError> {
    let snapshot = snapshots.load(sequence)?;
    check_place(journal, &snapshot.facts)?;
    let mut state = make();
    snapshot.load_into(&mut state)?;
    Ok((snapshot.facts, state))
}

/// Checks that a verified snapshot was taken of this journal's history.
///
/// # Errors
/// [`SnapshotError::OtherJournal`], [`SnapshotError::OtherHistory`], [`SnapshotError::Ahead`],
/// [`SnapshotError::Behind`], or what reading the journal returned.
pub fn check_place(journal: &Arc<dyn Storage>, facts: &SnapshotFacts) -> Result<(), SnapshotError> {
    let (path, place) = (&facts.path, &facts.header.place);
    let sequence = place.sequence;
    let first = segment::first(&**journal)?.header;
    if (first.journal_id, &first.channel) != (place.journal_id, &place.channel) {
        return Err(SnapshotError::OtherJournal {
            path: path.clone(),
            expected: place.journal_id,
            expected_channel: place.channel.clone(),
            found: first.journal_id,
            found_channel: first.channel,
        });
    }
    if sequence < first.first_sequence {
        // The batch itself is gone; the first segment names it if it was the last one before.
        let named = sequence + 1 == first.first_sequence && first.predecessor_batch == place.batch_number;
        if named && first.predecessor_chain == place.chain {
            return Ok(());
        }
        return Err(SnapshotError::Behind { path: path.clone(), sequence, first: first.first_sequence });
    }
    // Written, not durable: the snapshot itself is the proof, where a power loss took the watermark's last write.
    let options = ReaderOptions { visible: Visible::Written, ..ReaderOptions::from_sequence(sequence) };
    let mut reader = JournalReader::open_storage(Arc::clone(journal), options)?;
    let Some(batch) = reader.next_batch()? else {
        let last = inspect_storage(journal)?.last_sequence;
        return Err(SnapshotError::Ahead { path: path.clone(), sequence, last });
    };
    let found = (batch.batch_number(), batch.chain(), batch.epoch(), batch.last_sequence());
    if found == (place.batch_number, place.chain, place.epoch, sequence) {
        return Ok(());
    }
    let found = format!(
        "batch {} with chain {:08x}, sequences {} to {}",
        batch.batch_number(),
        batch.chain(),
        batch.first_sequence(),
        batch.last_sequence()
    );
    let (batch_number, expected) = (place.batch_number, place.chain);
    Err(SnapshotError::OtherHistory { path: path.clone(), sequence, batch_number, expected, found })
}

/// Whether the snapshot at `sequence` in a directory, of whatever kind of state, is whole and of this journal's history; what a
/// keep rule counts. Whether its state loads only the state's owner can say.
///
/// # Errors
/// As [`check_place`] for one that is whole and contradicts the journal; what reading returned.
pub fn is_of_history(
    journal: &Arc<dyn Storage>,
    snapshots: &Arc<dyn Storage>,
    sequence: u64,
) -> Result<bool, SnapshotError> {
    let name = frame::file_name(sequence);
    let mut head = vec![0; SNAPSHOT_HEADER_SIZE_BYTES];
    let path = snapshots.path(&name);
    let file = match snapshots.open(&name, Access::Read) {
        Err(error) if is_absent(&error) => return Ok(false),
        file => file.map_err(io_error("open", &path))?,
    };
    let read = read_full_at(&*file, &mut head, 0).map_err(io_error("read", &path))?;
    let Ok(header) = SnapshotHeader::decode(&head[..read]) else { return Ok(false) };
    let facts = match SnapshotStore::open_storage(Arc::clone(snapshots), &header.kind)?.verify(sequence) {
        Ok(facts) => facts,
        Err(error @ (SnapshotError::Io { .. } | SnapshotError::Option { .. })) => return Err(error),
        Err(_) => return Ok(false),
    };
    match check_place(journal, &facts) {
        Err(SnapshotError::Behind { .. }) => Ok(false),
        checked => checked.map(|()| true),
    }
}

/// Highest sequence that a snapshot proves to have been durable, 0 if none does: what a journal is opened with as its
/// `evidence`, so that a tail that is missing is damage and not torn.
///
/// # Errors
/// [`SnapshotError::OtherJournal`] when the newest snapshot that verifies was taken of another journal; what reading
/// the directories returned.
pub fn proven_durable(journal: &Arc<dyn Storage>, snapshots: &SnapshotStore) -> Result<u64, SnapshotError> {
    for sequence in snapshots.list()?.into_iter().rev() {
        let Ok(facts) = snapshots.verify(sequence) else { continue };
        return match segment::first(&**journal) {
            Err(JournalError::Absent { .. }) => Ok(sequence),
            Err(error) => Err(error.into()),
            Ok(first) if first.header.journal_id == facts.header.place.journal_id => Ok(sequence),
            Ok(first) => Err(SnapshotError::OtherJournal {
                path: facts.path,
                expected: facts.header.place.journal_id,
                expected_channel: facts.header.place.channel,
                found: first.header.journal_id,
                found_channel: first.header.channel,
            }),
        };
    }
    Ok(0)
}

/// The state's hash, after comparing both where it has two.
pub(super) fn check_hashes(state: &(impl State + ?Sized), sequence: u64) -> Result<u64, SnapshotError> {
    let Hashes { kept, recomputed } = state.hashes()?;
    match recomputed {
        Some(recomputed) if recomputed != kept => {
            Err(SnapshotError::Diverged { kind: state.kind().into(), sequence, kept, recomputed })
        }
        _ => Ok(kept),
    }
}

/// A [`Place`] without the names that are the same for the whole journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub sequence: u64,
    batch_number: u64,
    chain: u32,
    epoch: u32,
}

impl Point {
    pub fn after(batch: &Batch<'_>) -> Self {
        Self {
            sequence: batch.last_sequence(),
            batch_number: batch.batch_number(),
            chain: batch.chain(),
            epoch: batch.epoch(),
        }
    }

    pub fn place(self, reader: &JournalReader) -> Place {
        Place {
            channel: reader.channel().to_owned(),
            journal_id: reader.journal_id(),
            epoch: self.epoch,
            sequence: self.sequence,
            batch_number: self.batch_number,
            chain: self.chain,
        }
    }
}

/// Messages read and verified, on their way to the state.
#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Where each payload ends.
    ends: Vec<usize>,
    first_sequence: u64,
    /// Where the last batch of it ends; a piece holds whole batches.
    point: Option<Point>,
    durable: u64,
}

/// Bytes from which on a piece is handed over, and pieces that may wait: small enough to stay in a cache.
const PIECE_SIZE_BYTES: usize = 256 << 10;
const PIECE_COUNT_MAX: usize = 4096;
const PIECES_WAITING_MAX: usize = 4;

/// Applies all that is durable; where the last batch ended, `None` if there was none. Another thread reads and verifies
/// while this one applies.
fn replay<S: State>(
    reader: &mut JournalReader,
    state: &mut S,
    last: u64,
    progress: &mut impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<Place>, SnapshotError> {
    let (filled, pieces) = sync_channel(PIECES_WAITING_MAX);
    let (emptied, spare) = sync_channel(PIECES_WAITING_MAX + 2);
    let reading = &mut *reader;
    let point = std::thread::scope(|scope| {
        let read = std::thread::Builder::new()
            .name("recovery".into())
            .spawn_scoped(scope, move || read_pieces(reading, &filled, &spare))
            .expect("a thread for reading");
        // Dropped at the end of this call: who reads then ends too.
        let applied = apply_pieces(state, last, pieces, &emptied, progress);
        let read = read.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What was read before a damaged batch is applied before it is told.
        let point = applied?;
        read?;
        Ok::<_, SnapshotError>(point)
    })?;
    Ok(point.map(|point| point.place(reader)))
}

/// Hands over all that is durable, until nobody takes it.
fn read_pieces(
    reader: &mut JournalReader,
    filled: &SyncSender<Piece>,
    spare: &Receiver<Piece>,
) -> Result<(), JournalError> {
    let mut piece = Piece::default();
    loop {
        let durable = reader.durable();
        let batch = match reader.next_batch() {
            Ok(Some(batch)) => batch,
            end => {
                if piece.point.is_some() {
                    // Nobody may be there to take it.
                    drop(filled.send(piece));
                }
                return end.map(|_| ());
            }
        };
        let first = batch.records().next().map_or(0, |(sequence, _)| sequence);
        if !piece.ends.is_empty() && first != piece.first_sequence + piece.ends.len() as u64 {
            // A cut of the journal lies between: what follows has numbers of its own.
            if filled.send(piece).is_err() {
                return Ok(());
            }
            piece = spare.try_recv().unwrap_or_default();
        }
        for (sequence, payload) in batch.records() {
            if piece.ends.is_empty() {
                piece.first_sequence = sequence;
            }
            piece.bytes.extend_from_slice(payload);
            piece.ends.push(piece.bytes.len());
        }
        piece.point = Some(Point::after(&batch));
        piece.durable = durable;
        if piece.bytes.len() >= PIECE_SIZE_BYTES || piece.ends.len() >= PIECE_COUNT_MAX {
            if filled.send(piece).is_err() {
                return Ok(());
            }
            piece = spare.try_recv().unwrap_or_default();
        }
    }
}

fn apply_pieces<S: State>(
    state: &mut S,
    mut last: u64,
    pieces: Receiver<Piece>,
    emptied: &SyncSender<Piece>,
    progress: &mut impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<Point>, SnapshotError> {
    let mut point = None;
    let mut applied_count = 0;
    for mut piece in pieces {
        let mut begin = 0;
        for (sequence, &end) in (piece.first_sequence..).zip(&piece.ends) {
            state.apply(sequence, &piece.bytes[begin..end])?;
            begin = end;
            last = sequence;
        }
        applied_count += piece.ends.len() as u64;
        point = piece.point.take();
        if progress(Progress { sequence: last, applied_count, durable: piece.durable.max(last) }).is_break() {
            return Err(SnapshotError::Interrupted { sequence: last });
        }
        piece.bytes.clear();
        piece.ends.clear();
        // A spare one more than there is room for is freed.
        drop(emptied.try_send(piece));
    }
    Ok(point)
}
