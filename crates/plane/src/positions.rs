//! How far each feed is published: a small mapped table beside the rings of `md.*`.
//!
//! The rings alone cannot say it: several feeds share them, and the newest record of a ring tells of one feed only. So
//! the engine notes after each batch up to where everything that follows from a feed is published, and the rings tell
//! only how far the batch in progress had got. That goes into the table when an engine starts, before another feed
//! publishes and hides it. Each point is one word that only rises, so a kill at any store leaves a true table.
//!
//! The table also says what the rings were derived from: which journal (`feed_epoch`) through which ring file
//! (`feed_generation`). Byte table: `docs/formats/positions.md`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use tidebook_journal::storage::open_regular_itself;
use tidebook_types::Venue;

use crate::error::PlaneError;

/// First bytes of the file.
pub(crate) const MAGIC: [u8; 8] = *b"TIDEPOSN";
/// Version of the layout. As disposable as the rings: another version is made anew with them.
pub(crate) const VERSION: u64 = 1;
/// Bytes of the head and of each entry, so that two feeds never share a cache line.
pub(crate) const LINE_SIZE_BYTES: usize = 64;
/// One entry for each number a venue can have.
pub(crate) const ENTRIES: usize = 256;
const FILE_SIZE_BYTES: usize = LINE_SIZE_BYTES * (ENTRIES + 1);

/// Words of the head and of an entry, by their place in it.
const EPOCH: usize = 2;
const FEED_EPOCH: usize = 0;
const FEED_GENERATION: usize = 1;
const RECORDS: usize = 2;
const DEFINITIONS: usize = 3;
const IMAGES: usize = 4;

/// Place of a record among all that is derived of a feed: the sequence of the message, and the position within what it
/// gave; for a book image that of its instrument among the venue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Point {
    pub(crate) sequence: u64,
    pub(crate) index: u32,
}

impl Point {
    /// Bits of a word that hold the index: no message gives a million records, and no feed opens a million instruments.
    const INDEX_BITS: u32 = 20;
    pub(crate) const INDEX_MAX: u32 = (1 << Self::INDEX_BITS) - 1;
    /// Before everything.
    pub(crate) const START: Self = Self { sequence: 0, index: 0 };

    #[inline]
    pub(crate) const fn new(sequence: u64, index: u32) -> Self {
        Self { sequence, index }
    }

    /// Behind everything that follows from messages up to this one.
    #[inline]
    pub(crate) const fn after(sequence: u64) -> Self {
        Self { sequence, index: Self::INDEX_MAX }
    }

    /// Behind the last message that is published whole.
    pub(crate) const fn whole(self) -> Self {
        if self.index == Self::INDEX_MAX || self.sequence == 0 { self } else { Self::after(self.sequence - 1) }
    }

    const fn word(self) -> u64 {
        let index = if self.index < Self::INDEX_MAX { self.index } else { Self::INDEX_MAX };
        (self.sequence << Self::INDEX_BITS) | index as u64
    }

    const fn of_word(word: u64) -> Self {
        Self { sequence: word >> Self::INDEX_BITS, index: word as u32 & Self::INDEX_MAX }
    }
}

/// How far one feed is published, and what it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// Epoch of the feed: its journal.
    pub(crate) feed_epoch: u64,
    /// Which file of the feed's ring; 0 for no entry.
    pub(crate) feed_generation: u64,
    /// Everything but definitions and images up to here is published, or is not to be.
    pub(crate) records: Point,
    /// Definitions are.
    pub(crate) definitions: Point,
    /// Images are of all books that changed up to here.
    pub(crate) images: Point,
}

/// The mapped table.
#[derive(Debug)]
pub(crate) struct Positions {
    map: MmapRaw,
}

impl Positions {
    /// Where it is.
    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join("md.positions")
    }

    /// The table in `directory`; `None` when there is none, or the reason why it is of no use.
    pub(crate) fn open(directory: &Path) -> Result<Option<Result<Self, String>>, PlaneError> {
        let path = Self::path(directory);
        let file = match open_regular_itself(&path, OpenOptions::new().read(true).write(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        if file.metadata().map_err(failed("examine", &path))?.len() != FILE_SIZE_BYTES as u64 {
            return Ok(Some(Err(format!("{} is no table of positions", path.display()))));
        }
        let map = MmapOptions::new().populate().map_raw(&file).map_err(failed("map", &path))?;
        let table = Self { map };
        let magic = table.word(0, 0).load(Ordering::Relaxed).to_le_bytes();
        let version = table.word(0, 1).load(Ordering::Relaxed);
        if magic != MAGIC || version != VERSION {
            return Ok(Some(Err(format!("{} has another layout than version {VERSION}", path.display()))));
        }
        Ok(Some(Ok(table)))
    }

    /// Makes the table of the rings of `epoch` with these entries, in the place of one that is there.
    pub(crate) fn create(directory: &Path, epoch: u64, entries: &[(u8, Position)]) -> Result<Self, PlaneError> {
        let (path, fresh) = (Self::path(directory), directory.join("md.positions.new"));
        let mut bytes = vec![0; FILE_SIZE_BYTES];
        let mut put = |line: usize, word: usize, value: u64| {
            let at = line * LINE_SIZE_BYTES + word * 8;
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(0, 0, u64::from_le_bytes(MAGIC));
        put(0, 1, VERSION);
        put(0, EPOCH, epoch);
        for (code, position) in entries {
            let line = usize::from(*code) + 1;
            put(line, FEED_EPOCH, position.feed_epoch);
            put(line, FEED_GENERATION, position.feed_generation);
            put(line, RECORDS, position.records.word());
            put(line, DEFINITIONS, position.definitions.word());
            put(line, IMAGES, position.images.word());
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = open_regular_itself(&fresh, &mut options).map_err(failed("create", &fresh))?;
        file.write_all(&bytes).map_err(failed("write", &fresh))?;
        drop(file);
        // Under its name all at once: a table is whole or the one before it.
        std::fs::rename(&fresh, &path).map_err(failed("name", &path))?;
        match Self::open(directory)? {
            Some(Ok(table)) => Ok(table),
            _ => Err(failed("open", &path)(io::Error::other("it was replaced while it was made"))),
        }
    }

    /// Epoch of the rings it belongs to.
    pub(crate) fn epoch(&self) -> u64 {
        self.word(0, EPOCH).load(Ordering::Relaxed)
    }

    /// Every entry, by number of its venue.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u8, Position)> {
        (0..=u8::MAX).filter_map(|code| Some((code, self.get(code)?)))
    }

    /// The entry of a venue, if it has one.
    pub(crate) fn get(&self, code: u8) -> Option<Position> {
        let load = |word| self.word(usize::from(code) + 1, word).load(Ordering::Acquire);
        let position = Position {
            feed_epoch: load(FEED_EPOCH),
            feed_generation: load(FEED_GENERATION),
            records: Point::of_word(load(RECORDS)),
            definitions: Point::of_word(load(DEFINITIONS)),
            images: Point::of_word(load(IMAGES)),
        };
        (position.feed_generation != 0).then_some(position)
    }

    /// Begins or takes up the entry of a venue. One that is begun and killed half way is none.
    pub(crate) fn take_up(&self, code: u8, position: Position) {
        let line = usize::from(code) + 1;
        let store = |word, value| self.word(line, word).store(value, Ordering::Release);
        if self.get(code).is_some_and(|found| found.feed_epoch == position.feed_epoch) {
            self.raise(line, RECORDS, position.records);
            self.raise(line, DEFINITIONS, position.definitions);
            self.raise(line, IMAGES, position.images);
        } else {
            store(FEED_EPOCH, position.feed_epoch);
            store(RECORDS, position.records.word());
            store(DEFINITIONS, position.definitions.word());
            store(IMAGES, position.images.word());
        }
        store(FEED_GENERATION, position.feed_generation);
    }

    /// Everything that follows from the feed up to `sequence` but book images is published.
    #[inline]
    pub(crate) fn publish(&self, venue: Venue, sequence: u64) {
        self.raise(venue as usize + 1, RECORDS, Point::after(sequence));
        self.raise(venue as usize + 1, DEFINITIONS, Point::after(sequence));
    }

    /// Images of all books that changed up to `sequence` are published.
    #[inline]
    pub(crate) fn publish_images(&self, venue: Venue, sequence: u64) {
        self.raise(venue as usize + 1, IMAGES, Point::after(sequence));
    }

    /// On the way through the history points that are behind are passed again.
    #[inline]
    fn raise(&self, line: usize, word: usize, point: Point) {
        let word = self.word(line, word);
        if point.word() > word.load(Ordering::Relaxed) {
            word.store(point.word(), Ordering::Release);
        }
    }

    fn word(&self, line: usize, word: usize) -> &AtomicU64 {
        assert!(line <= ENTRIES && word < LINE_SIZE_BYTES / 8, "word {word} of line {line} outside the table");
        // SAFETY: in bounds of the file's size, which was checked when it was mapped, by the assert; aligned because the
        // mapping is page aligned; the mapping lives as long as `self` and everybody uses atomics.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(line * LINE_SIZE_BYTES + word * 8).cast()) }
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PlaneError + 'a {
    move |source| PlaneError::Positions { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const POSITION: Position = Position {
        feed_epoch: 1 << 40,
        feed_generation: 7,
        records: Point::new(10, 3),
        definitions: Point::after(4),
        images: Point::START,
    };

    #[test]
    fn positions_read_back_are_those_stored_and_a_table_is_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Positions::open(directory.path()).unwrap().is_none());
        let table = Positions::create(directory.path(), 5, &[(2, POSITION)]).unwrap();
        assert_eq!((table.epoch(), table.get(1), table.get(2)), (5, None, Some(POSITION)));
        table.take_up(Venue::Binance as u8, POSITION);
        table.publish(Venue::Binance, 9);
        table.publish_images(Venue::Binance, 9);
        let again = Positions::open(directory.path()).unwrap().unwrap().unwrap();
        let expected = Position { definitions: Point::after(9), images: Point::after(9), ..POSITION };
        assert_eq!(again.entries().collect::<Vec<_>>(), [(1, expected), (2, POSITION)]);
        table.publish(Venue::Binance, 11);
        assert_eq!(again.get(1).unwrap().records, Point::after(11));
        let fresh = Positions::create(directory.path(), 6, &[(1, POSITION)]).unwrap();
        assert_eq!((fresh.epoch(), fresh.entries().count()), (6, 1));
    }

    #[test]
    fn points_never_fall_and_a_ring_file_may_change_under_them() {
        let directory = tempfile::tempdir().unwrap();
        let table = Positions::create(directory.path(), 5, &[(1, POSITION)]).unwrap();
        table.publish(Venue::Binance, 9);
        assert_eq!(table.get(1).unwrap().records, POSITION.records, "passed again on the way through the history");
        let later = Position { feed_generation: 8, records: Point::new(10, 2), images: Point::new(3, 1), ..POSITION };
        table.take_up(Venue::Binance as u8, later);
        let expected = Position { records: POSITION.records, definitions: Point::after(9), ..later };
        assert_eq!(table.get(1), Some(expected));
        assert_eq!(Point::new(10, 2).whole(), Point::after(9));
        assert_eq!(Point::after(9).whole(), Point::after(9));
    }

    #[test]
    fn the_format_page_says_where_everything_is() {
        let page = include_str!("../../../docs/formats/positions.md");
        for (field, word) in [
            ("magic", 0),
            ("version", 1),
            ("epoch", EPOCH),
            ("feed_epoch", FEED_EPOCH),
            ("feed_generation", FEED_GENERATION),
            ("records", RECORDS),
            ("definitions", DEFINITIONS),
            ("images", IMAGES),
        ] {
            let row = format!("| {} | `{field}` |", word * 8);
            assert!(page.contains(&row), "{row}");
        }
        assert!(page.contains(&format!("positions, version {VERSION}")) && page.contains("16,448 bytes"));
        assert_eq!((FILE_SIZE_BYTES, LINE_SIZE_BYTES), (16_448, 64));
        assert!(page.contains(&format!("sequence << {}", Point::INDEX_BITS)) && page.contains("1,048,575"));
    }

    #[test]
    fn a_file_that_is_no_table_of_this_version_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = Positions::path(directory.path());
        Positions::create(directory.path(), 5, &[]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut other_version = whole.clone();
        other_version[8] += 1;
        for bytes in [&whole[..100], &vec![0; FILE_SIZE_BYTES], &other_version] {
            std::fs::write(&path, bytes).unwrap();
            assert!(Positions::open(directory.path()).unwrap().unwrap().is_err());
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_the_table_or_of_one_being_made_is_named_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["md.positions.new", "md.positions"] {
            let path = directory.path().join(name);
            let text = CString::new(path.as_os_str().as_bytes()).unwrap();
            // SAFETY: a string that ends with 0, read by the call only.
            assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
            let failed = match name {
                "md.positions" => Positions::open(directory.path()).map(drop),
                _ => Positions::create(directory.path(), 5, &[]).map(drop),
            };
            let error = failed.unwrap_err().to_string();
            let told = format!("{}: a named pipe stands in the place of this file", path.display());
            assert!(error.contains(&told), "{error}");
            std::fs::remove_file(path).unwrap();
        }
    }
}
