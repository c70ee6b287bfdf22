//! Mending a damaged journal by somebody's choice, never by itself.
//!
//! [`examine`] says what is damaged and what still stands. What to do about it is decided by who knows what the messages are
//! worth: [`restore`] puts segments back from a copy that is verified against the chain, and loses nothing; [`cut`] goes on at the
//! last good message and gives up what follows. Neither destroys a byte: what is replaced or taken out is kept in the directory
//! `quarantine` first. Each step leaves a journal that is still refused as damaged until the last one is done, so a crash
//! anywhere is followed by the same repair once more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::beginning::{self, Beginning};
use crate::begun_cut::{self, BegunCut};
use crate::error::{Damage, JournalError, io_error};
use crate::frame::{ChainState, FORMAT_VERSION, IDENTITY, SegmentHeader};
use crate::recovery::{Proof, Tail, last_shown_behind, scan_tail};
use crate::segment::{self, OpenSegment};
use crate::storage::{self, Access, Storage, StorageFile, StorageLock, read_full_at, write_all_at};
use crate::walk::{Buffer, Walked, check_seal, walk};
use crate::watermark::{Watermark, WatermarkWriter};
use crate::writer::now_ns;
use crate::{compact, verify, writer};

/// Where replaced and taken-out segments are kept, below the journal's directory.
pub const QUARANTINE: &str = "quarantine";
const COPY_BLOCK_SIZE_BYTES: usize = 1 << 20;

/// One damaged segment, or several in a row that are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The segment; with [`Damage::Missing`] all up to the next one that is there are missing.
    pub segment: u64,
    /// First byte of it that cannot be trusted.
    pub offset: u64,
    /// First message that cannot be read; 0 if its number is not known.
    pub sequence: u64,
    /// What shows it.
    pub damage: Damage,
}

/// What a whole look at a journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// First message held; 0 when the oldest header does not verify.
    pub first_sequence: u64,
    /// Last message before the first damage: where [`cut`] would go on.
    pub last_good: u64,
    /// Highest sequence that anything shows to have been there: batches that verify behind the damage too.
    pub last_known: u64,
    /// The first damage of each segment, in order; none for a journal that opens.
    pub findings: Vec<Finding>,
    /// A cut was begun and ended on its way: the same cut finishes it, and [`restore`] of all that is damaged undoes it.
    pub cut_begun: bool,
    /// How a journal without damage ends. A torn tail needs no repair: the next opening goes on behind it.
    pub tail: Tail,
}

impl Diagnosis {
    /// Messages that [`cut`] gives up, as far as anything shows that they were there.
    pub const fn lost_by_cutting(&self) -> u64 {
        self.last_known.saturating_sub(self.last_good)
    }
}

/// What [`restore`] did with one damaged segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The segment.
    pub segment: u64,
    /// `None` when it was put back; else why the copy was refused.
    pub refused: Option<String>,
}

/// What [`cut`] left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Last message of the journal now.
    pub last_sequence: u64,
    /// First message from here on. The numbers between were given to messages that are lost, and are not given again.
    pub next_sequence: u64,
    /// Messages given up, as far as anything shows that they were there.
    pub lost: u64,
    /// Where what was taken out is.
    pub quarantined: Vec<PathBuf>,
    /// Epoch of the messages from here on: one more, so that a cursor behind the cut is known for what it is.
    pub epoch: u32,
}

/// Looks at every batch of the journal in the directory `path`, past the first damage too. Changes nothing. `evidence` is the
/// highest sequence that something outside the journal shows to have been durable, 0 if nothing does: one that ends before is
/// damaged.
///
/// # Errors
/// [`JournalError::Absent`], another version, or what the operating system refuses; damage is in the answer.
pub fn examine(path: &Path, evidence: u64) -> Result<Diagnosis, JournalError> {
    examine_storage(&storage::directory(path), evidence)
}

/// As [`examine`], over any storage.
///
/// # Errors
/// As [`examine`].
pub fn examine_storage(storage: &Arc<dyn Storage>, evidence: u64) -> Result<Diagnosis, JournalError> {
    match verify::verify_storage(storage) {
        Ok(verified) if verified.journal.last_sequence >= evidence => Ok(Diagnosis {
            first_sequence: verified.journal.first_sequence,
            last_good: verified.journal.last_sequence,
            last_known: verified.journal.last_sequence,
            findings: Vec::new(),
            cut_begun: false,
            tail: verified.journal.tail,
        }),
        // Damage, and nothing that a living writer or compaction may still explain.
        Ok(_) | Err(JournalError::Damaged { .. }) => look(&**storage, evidence).map(|found| found.diagnosis),
        Err(other) => Err(other),
    }
}

/// A diagnosis and what a repair needs beside it.
struct Look {
    diagnosis: Diagnosis,
    /// Where the chain is whole: the segment and its end; `None` when not even the oldest header is.
    good: Option<(u64, Walked)>,
    /// Numbers of all segments present.
    present: Vec<u64>,
    /// Number of the newest segment that anything shows to have been there.
    newest: u64,
    /// The segments before the oldest are missing, which was not compaction.
    headless: bool,
}

fn look(storage: &dyn Storage, evidence: u64) -> Result<Look, JournalError> {
    // What a cut has done that ended on its way is damage too, and its own watermark says nothing of what was there before.
    let begun = begun_cut::read(storage)?;
    let watermark = begun_cut::known_durable(storage)?;
    let evidence = begun.map_or(evidence, |begun| begun.made.sequence.max(evidence));
    let present = segment::numbers_present(storage)?;
    let (Some(&oldest), Some(&newest)) = (present.first(), present.last()) else {
        return Err(JournalError::Absent { path: storage.path("") });
    };
    let newest = begun.map_or(newest, |begun| begun.newest.max(newest));
    let last = watermark.map_or(newest, |watermark| watermark.segment.max(newest));
    let mut findings: Vec<Finding> = Vec::new();
    let mut last_known = watermark.map_or(0, |watermark| watermark.sequence).max(evidence);
    let (mut first_sequence, mut good) = (0, None);
    let mut journal_id = None;
    // Where the segment before ended, if that is known.
    let mut before: Option<ChainState> = None;
    let mut buffer = Buffer::default();
    let expected = beginning::read(storage)?.map_or(oldest, |beginning| beginning.segment).min(oldest);
    if expected < oldest {
        findings.push(Finding { segment: expected, offset: 0, sequence: 0, damage: Damage::Missing });
    }
    let headless = findings.len();
    // Of a hole only where it begins: one name with a large number makes it wide.
    let mut looked_at = Vec::new();
    for (&number, next) in present.iter().zip(present.iter().skip(1).copied().chain([last + 1])) {
        looked_at.push(number);
        looked_at.extend((number + 1 != next).then_some(number + 1));
    }
    for number in looked_at {
        let of_this_journal = |other: &OpenSegment| journal_id.is_none_or(|id| id == other.header.journal_id);
        let next = header_of(storage, number + 1)?.filter(of_this_journal);
        let opened = match segment::read_header(storage, number) {
            Ok(Some(opened)) if of_this_journal(&opened) => opened,
            other => {
                let damage = match other {
                    Ok(Some(_)) => Damage::Succession,
                    Ok(None) => Damage::Missing,
                    Err(JournalError::Damaged { damage, .. }) => damage,
                    Err(error) => return Err(error),
                };
                let sequence = before.map_or(0, |state| state.next_sequence);
                findings.push(Finding { segment: number, offset: 0, sequence, damage });
                before = None;
                continue;
            }
        };
        let header = &opened.header;
        journal_id = Some(header.journal_id);
        if number == oldest {
            first_sequence = header.first_sequence;
        }
        last_known = last_known.max(header.first_sequence - 1);
        let walked = walk(storage, &opened, u64::MAX, &mut buffer, |batch, _| {
            last_known = last_known.max(batch.durable_upto);
        })?;
        last_known = last_known.max(walked.state.next_sequence - 1);
        last_known = last_known.max(last_shown_behind(storage, &opened, &walked, &mut buffer)?);
        let judged = match &next {
            Some(next) => check_seal(storage, number, &walked, next),
            // The newest: its end is judged as an opening would.
            None if number == last => scan_tail(storage, &opened, Proof { watermark, evidence }).map(|_| ()),
            // What stands behind it is damaged itself.
            None => Ok(()),
        };
        let whole = judged.is_ok();
        match judged {
            Ok(()) => {}
            Err(JournalError::Damaged { offset, sequence, damage, .. }) => {
                findings.push(Finding { segment: number, offset, sequence, damage });
            }
            Err(error) => return Err(error),
        }
        if findings.get(headless).is_none_or(|first| first.segment == number) {
            good = Some((number, walked));
        }
        before = whole.then_some(walked.state);
    }
    let last_good = good.map_or(0, |(_, walked): (u64, Walked)| walked.state.next_sequence - 1);
    let cut_begun = begun.is_some();
    let diagnosis = Diagnosis { first_sequence, last_good, last_known, findings, cut_begun, tail: Tail::Clean };
    Ok(Look { diagnosis, good, present, newest: last, headless: headless > 0 })
}

/// What tells the journal in the directory `path` from another of the same channel, whatever is missing of it; `None` where no
/// header verifies.
///
/// # Errors
/// [`JournalError::Absent`], another version, or what the operating system refuses.
pub fn journal_id(path: &Path) -> Result<Option<u64>, JournalError> {
    let storage = storage::directory(path);
    for number in segment::numbers_present(&*storage)? {
        if let Some(opened) = header_of(&*storage, number)? {
            return Ok(Some(opened.header.journal_id));
        }
    }
    Ok(None)
}

/// A header that verifies, of a segment that is there.
fn header_of(storage: &dyn Storage, number: u64) -> Result<Option<OpenSegment>, JournalError> {
    match segment::read_header(storage, number) {
        Err(JournalError::Damaged { .. }) => Ok(None),
        other => other,
    }
}

/// Both locks: nobody writes and nobody removes while the journal is repaired.
fn lock(storage: &dyn Storage) -> Result<[Box<dyn StorageLock>; 2], JournalError> {
    let take = |name: &str| storage.try_lock(name).map_err(io_error("lock", &storage.path(name)));
    let writer = writer::lock(storage)?;
    let compaction =
        take(compact::LOCK_NAME)?.ok_or_else(|| JournalError::Compacting { path: storage.path(compact::LOCK_NAME) })?;
    Ok([writer, compaction])
}

/// Puts each damaged segment of the journal in the directory `path` back from the one in `from`, a backup or a copy, if every
/// batch of that verifies and it fits between its neighbours.
///
/// # Errors
/// [`JournalError::Locked`] while the journal is written; [`JournalError::Option`] when nothing is damaged.
pub fn restore(path: &Path, from: &Path) -> Result<Vec<Restored>, JournalError> {
    restore_storage(&storage::directory(path), &*storage::directory(from))
}

/// As [`restore`], over any storage.
///
/// # Errors
/// As [`restore`].
pub fn restore_storage(storage: &Arc<dyn Storage>, from: &dyn Storage) -> Result<Vec<Restored>, JournalError> {
    let _locks = lock(&**storage)?;
    segment::remove_unfinished(&**storage)?;
    let found = damage_of(storage, 0, "from", from.path("").display().to_string())?;
    let mut done = Vec::new();
    let mut numbers = Vec::new();
    for finding in &found.diagnosis.findings {
        numbers.push(finding.segment);
        if finding.damage == Damage::Missing {
            // The others of the hole, as far as the copy has them.
            let end = found.present.iter().copied().find(|&present| present > finding.segment).unwrap_or(u64::MAX);
            numbers.extend(
                segment::numbers_present(from)?.into_iter().filter(|other| (finding.segment + 1..end).contains(other)),
            );
        }
    }
    for number in numbers {
        let refused = match fits(&**storage, from, number)? {
            Ok(copy) => {
                put_back(&**storage, number, &copy)?;
                None
            }
            Err(reason) => Some(reason),
        };
        done.push(Restored { segment: number, refused });
    }
    if found.diagnosis.cut_begun && look(&**storage, 0)?.diagnosis.findings.is_empty() {
        begun_cut::undo(&**storage)?;
    }
    Ok(done)
}

/// The diagnosis of a journal that is damaged.
fn damage_of(
    storage: &Arc<dyn Storage>,
    evidence: u64,
    option: &'static str,
    value: String,
) -> Result<Look, JournalError> {
    match verify::verify_storage(storage) {
        Ok(found) if found.journal.last_sequence >= evidence => {
            let rule = "the journal is not damaged, and nothing was changed".to_owned();
            Err(JournalError::Option { option, value, rule })
        }
        Ok(_) | Err(JournalError::Damaged { .. }) => look(&**storage, evidence),
        Err(other) => Err(other),
    }
}

/// The copy of segment `number` if it can stand in this journal, or why it cannot.
fn fits(storage: &dyn Storage, from: &dyn Storage, number: u64) -> Result<Result<OpenSegment, String>, JournalError> {
    let refused = |reason: String| Ok(Err(reason));
    let path = from.path(&segment::file_name(number));
    let copy = match segment::read_header(from, number) {
        Ok(Some(copy)) => copy,
        Ok(None) => return refused(format!("{}: not there", path.display())),
        Err(error @ JournalError::Damaged { .. }) => return refused(error.to_string()),
        Err(error) => return Err(error),
    };
    if let Some(reason) = stranger(storage, number, &copy, &path)? {
        return refused(reason);
    }
    let mut buffer = Buffer::default();
    let before = if number > 1 { header_of(storage, number - 1)? } else { None };
    if let Some(before) = &before {
        let ended = walk(storage, before, u64::MAX, &mut buffer, |_, _| ())?;
        let (seal, other) = (&copy.header, before.header.journal_id != copy.header.journal_id);
        if other || check_seal(storage, number - 1, &ended, &copy).is_err() {
            let path = path.display();
            let batch = seal.predecessor_batch;
            return refused(format!(
                "{path}: does not follow the segment before it, whose last batch it calls {batch}"
            ));
        }
    }
    let walked = walk(from, &copy, u64::MAX, &mut buffer, |_, _| ())?;
    match header_of(storage, number + 1)? {
        Some(next) => {
            if next.header.journal_id != copy.header.journal_id || check_seal(from, number, &walked, &next).is_err() {
                let (path, end) = (path.display(), walked.state.batch_number);
                let named = next.header.predecessor_batch;
                return refused(format!(
                    "{path}: ends with batch {end}, and the segment behind it follows batch {named}"
                ));
            }
        }
        None => {
            // The newest, or one whose successor is damaged too: no less than what is known.
            let watermark = begun_cut::known_durable(storage)?.filter(|watermark| watermark.segment == number);
            let known = watermark.map_or(0, |watermark| watermark.batch_number);
            let held = match header_of(storage, number)? {
                Some(held) => walk(storage, &held, u64::MAX, &mut buffer, |_, _| ())?.state.batch_number,
                None => 0,
            };
            if walked.state.batch_number < known.max(held) {
                let (path, end, least) = (path.display(), walked.state.batch_number, known.max(held));
                return refused(format!("{path}: ends with batch {end}, and batch {least} is known to be durable"));
            }
        }
    }
    if let Some(held) = header_of(storage, number)?
        && held.header_crc != copy.header_crc
    {
        return refused(format!("{}: another segment of this number, its header differs", path.display()));
    }
    Ok(Ok(copy))
}

/// Why a copy of segment `number` is not shown to be of this journal, if it is not: its id and channel must be those of every
/// header here that verifies; where none does, salt, id and channel must be what the damaged header still has.
fn stranger(
    storage: &dyn Storage,
    number: u64,
    copy: &OpenSegment,
    path: &Path,
) -> Result<Option<String>, JournalError> {
    let (path, mut shown) = (path.display(), false);
    let SegmentHeader { journal_id, channel, .. } = &copy.header;
    for other in segment::numbers_present(storage)? {
        let Some(OpenSegment { header: held, .. }) = header_of(storage, other)? else { continue };
        if (held.journal_id, &held.channel) != (*journal_id, channel) {
            return Ok(Some(format!(
                "{path}: of journal {journal_id:016x} of channel {channel:?}; this one is {:016x} of {:?}",
                held.journal_id, held.channel
            )));
        }
        shown = true;
    }
    if shown {
        return Ok(None);
    }
    let name = segment::file_name(number);
    let identity = |file: &dyn StorageFile| {
        let mut bytes = [0; IDENTITY.end - IDENTITY.start];
        read_full_at(file, &mut bytes, IDENTITY.start as u64).map(|_| bytes)
    };
    let here = match storage.open(&name, Access::Read) {
        Ok(file) => Some(identity(&*file).map_err(io_error("read", &storage.path(&name)))?),
        Err(error) if storage::is_absent(&error) => None,
        Err(error) => return Err(io_error("open", &storage.path(&name))(error)),
    };
    if here == Some(identity(&*copy.file).map_err(io_error("read", &storage.path(&name)))?) {
        return Ok(None);
    }
    Ok(Some(format!(
        "{path}: nothing that is left here shows of which journal it was, and this copy is of journal {journal_id:016x} of channel \
         {channel:?}; if you know that it is the one, copy its whole directory in the place of this one"
    )))
}

/// Copies a verified segment over a damaged one, which is set aside before.
fn put_back(storage: &dyn Storage, number: u64, copy: &OpenSegment) -> Result<(), JournalError> {
    let name = segment::file_name(number);
    let size_bytes = copy.file.size_bytes().map_err(io_error("read", &storage.path(&name)))?;
    set_aside(storage, &name)?;
    copy_beginning(storage, number, copy, size_bytes)?;
    name_beginning(storage, number)
}

/// Keeps a file in the quarantine under a name that is free there; where that is, if the file is there.
fn set_aside(storage: &dyn Storage, name: &str) -> Result<Option<PathBuf>, JournalError> {
    let mut kept = format!("{QUARANTINE}/{name}");
    for copy in 2..=u32::MAX {
        match storage.set_aside(name, QUARANTINE, &kept[QUARANTINE.len() + 1..]) {
            Ok(()) => return Ok(Some(storage.path(&kept))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                kept = format!("{QUARANTINE}/{name}.{copy}");
            }
            Err(error) if storage::is_absent(&error) => return Ok(None),
            Err(error) => return Err(io_error("set aside", &storage.path(name))(error)),
        }
    }
    unreachable!("no directory holds so many copies")
}

/// Makes the journal in the directory `path` end with message `sequence`, which must be [`Diagnosis::last_good`]: who gives it has
/// seen what is lost. A new segment of the next epoch begins behind it, with a message that no number was given to before:
/// behind all that the journal shows, and behind `evidence`, the last one known to anybody else.
///
/// # Errors
/// [`JournalError::Option`] for any other sequence, or when nothing is damaged; [`JournalError::Locked`] while the journal is
/// written. [`JournalError::Damaged`] when not even the oldest header verifies: there is nothing to go on from.
pub fn cut(path: &Path, sequence: u64, evidence: u64) -> Result<Cut, JournalError> {
    cut_storage(&storage::directory(path), sequence, evidence)
}

/// As [`cut`], over any storage.
///
/// # Errors
/// As [`cut`].
pub fn cut_storage(storage: &Arc<dyn Storage>, sequence: u64, evidence: u64) -> Result<Cut, JournalError> {
    let _locks = lock(&**storage)?;
    segment::remove_unfinished(&**storage)?;
    let found = damage_of(storage, evidence, "cut-at", sequence.to_string())?;
    let diagnosis = &found.diagnosis;
    let Some((last, walked)) = found.good else {
        let Finding { segment, offset, sequence, damage } = diagnosis.findings[0].clone();
        let path = storage.path(&segment::file_name(segment));
        return Err(JournalError::Damaged { path, segment, offset, sequence, damage });
    };
    if sequence != diagnosis.last_good {
        let rule = format!("the last good message is {}; give exactly that", diagnosis.last_good);
        return Err(JournalError::Option { option: "cut-at", value: sequence.to_string(), rule });
    }
    let newer: Vec<u64> = found.present.iter().copied().filter(|&number| number > last).collect();
    let opened = segment::open(&**storage, last, Access::Read)?.expect("the segment was read under the lock");
    let path = storage.path(&segment::file_name(last));
    let trimmed = opened.file.size_bytes().map_err(io_error("read", &path))? > walked.end;
    let root = storage.path("");
    let next_sequence = diagnosis.last_known.max(evidence).max(sequence) + 1;
    let header = header_behind(&**storage, &opened.header, &walked.state, next_sequence)?;
    let epoch = header.epoch;
    // Room for all of it before anything is changed.
    let blank = segment::allocate(storage, header.segment, header.size_bytes)?;
    if trimmed {
        copy_beginning(&**storage, last, &opened, walked.end)
            .inspect_err(|_| drop(segment::remove_unfinished(&**storage)))?;
    }
    let mut quarantined = Vec::new();
    for &number in trimmed.then_some(&last).into_iter().chain(&newer) {
        quarantined.extend(set_aside(&**storage, &segment::file_name(number))?);
    }
    // Before anything else is changed: until the segment has its name it shows that one is missing, whatever a crash leaves
    // of those there are. Afterwards the older one would name segments that are gone for good.
    let made = Watermark {
        sequence: next_sequence - 1,
        batch_number: walked.state.batch_number,
        segment: header.segment,
        epoch,
        closed: false,
    };
    let before = begun_cut::known_durable(&**storage)?;
    begun_cut::begin(&**storage, BegunCut { before, made, newest: found.newest })?;
    WatermarkWriter::open(&**storage)?.publish_synced(made)?;
    storage.sync_directory().map_err(io_error("sync", &root))?;
    // The newest first, down to the second behind the cut: its predecessor still shows that it is missing.
    for &number in newer.iter().rev().filter(|&&number| number > last + 1) {
        let name = segment::file_name(number);
        storage.remove(&name).map_err(io_error("remove", &storage.path(&name)))?;
        storage.sync_directory().map_err(io_error("sync", &root))?;
    }
    if trimmed {
        name_beginning(&**storage, last)?;
    }
    blank.finish(&**storage, header)?;
    storage.sync_directory().map_err(io_error("sync", &root))?;
    begun_cut::forget(&**storage)?;
    if found.headless {
        // Who cuts has seen that they are missing too. Last, for without it the journal is still damaged.
        let beginning = Beginning { segment: found.present[0], sequence: diagnosis.first_sequence };
        beginning::record(&**storage, beginning)?;
    }
    let lost = next_sequence - 1 - sequence;
    Ok(Cut { last_sequence: sequence, next_sequence, lost, quarantined, epoch })
}

/// Copies the first `end` bytes of `opened`, durably, under the name that segment `number` has while it is made.
fn copy_beginning(storage: &dyn Storage, number: u64, opened: &OpenSegment, end: u64) -> Result<(), JournalError> {
    let (name, unfinished) = (segment::file_name(number), segment::unfinished_name(number));
    let path = storage.path(&unfinished);
    let file = storage.create(&unfinished).map_err(io_error("create", &path))?;
    let (mut block, mut offset) = (vec![0; COPY_BLOCK_SIZE_BYTES], 0);
    while offset < end {
        let size = (end - offset).min(block.len() as u64) as usize;
        let read = read_full_at(&*opened.file, &mut block[..size], offset);
        let read = read.map_err(io_error("read", &storage.path(&name)))?;
        if read == 0 {
            return Err(io_error("read", &storage.path(&name))(std::io::ErrorKind::UnexpectedEof.into()));
        }
        write_all_at(&*file, &block[..read], offset).map_err(io_error("write", &path))?;
        offset += read as u64;
    }
    file.sync().map_err(io_error("sync", &path))
}

/// Lets it take the place of the segment, which was set aside if it is there.
fn name_beginning(storage: &dyn Storage, number: u64) -> Result<(), JournalError> {
    let (name, unfinished) = (segment::file_name(number), segment::unfinished_name(number));
    storage.rename(&unfinished, &name).map_err(io_error("rename", &storage.path(&unfinished)))?;
    storage.sync_directory().map_err(io_error("sync", &storage.path("")))
}

/// Header of the segment that begins behind a cut.
fn header_behind(
    storage: &dyn Storage,
    before: &SegmentHeader,
    state: &ChainState,
    first_sequence: u64,
) -> Result<SegmentHeader, JournalError> {
    Ok(SegmentHeader {
        version: FORMAT_VERSION,
        size_bytes: before.size_bytes,
        segment: before.segment + 1,
        first_sequence,
        epoch: state.epoch + 1,
        key_id: 0,
        journal_id: before.journal_id,
        salt: segment::random_bytes(storage)?,
        predecessor_batch: state.batch_number,
        predecessor_chain: state.chain,
        channel: before.channel.clone(),
        created_ns: now_ns(),
    })
}
