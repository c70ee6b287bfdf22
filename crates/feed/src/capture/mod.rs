//! Recordings of a feed as raw messages.
//!
//! A [`CaptureReader`] finds the format by the content, walks the (already decompressed) bytes of one file and lends
//! out one [`RawMessage`] at a time, in the file's order. Bodies borrow from the file, so the bytes the decoder sees
//! are the bytes that were recorded; what a format says outside of bodies (a connection opened, a file's header)
//! becomes a message of kind `State`. [`CaptureWriter`] goes the other way. Formats: `docs/formats/capture.md`.
//!
//! A damaged place is a typed error with line and byte offset. In line formats the reader stands behind the damaged
//! line and can be asked again; framed formats cannot find the next frame and end there.

mod bitstamp;
mod cbcap;
mod cryptofeed;
mod cryptofeed_jsonl;
mod day;
mod hftbacktest;
mod itch50;
mod kraken_rest;
mod lobster;
mod tbcap;
mod writer;

use std::fmt;
use std::ops::Range;

use tidebook_types::{MessageKind, RawMessage, Venue};

pub use day::Day;
pub use writer::{CaptureWriteError, CaptureWriter};

/// A recording format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaptureFormat {
    /// hftbacktest: `<ns> <json>` lines of Binance frames, REST snapshots among them.
    HftBacktest,
    /// cryptofeed: `<seconds>: <json>` lines with connections and REST answers.
    Cryptofeed,
    /// cryptofeed's newer form: one JSON object a line, frames as strings in it.
    CryptofeedJsonl,
    /// crossbook's CBCAP1: length-prefixed Kraken frames.
    Cbcap,
    /// One answer of Kraken's public REST interface as a file: Trades or OHLC.
    KrakenRest,
    /// Lines `<ms> <event> <JSON>` of Bitstamp's order-by-order feed.
    Bitstamp,
    /// LOBSTER's message files: CSV rows of NASDAQ's order flow.
    Lobster,
    /// NASDAQ's TotalView-ITCH 5.0 in files: length-prefixed binary messages.
    Itch50,
    /// Our own export: every kind of message of any venue.
    Tbcap,
}

impl CaptureFormat {
    /// Every format.
    pub const ALL: [Self; 9] = [
        Self::HftBacktest,
        Self::Cryptofeed,
        Self::CryptofeedJsonl,
        Self::Cbcap,
        Self::KrakenRest,
        Self::Bitstamp,
        Self::Lobster,
        Self::Itch50,
        Self::Tbcap,
    ];

    /// The command line's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HftBacktest => "hftbacktest",
            Self::Cryptofeed => "cryptofeed",
            Self::CryptofeedJsonl => "cryptofeed-jsonl",
            Self::Cbcap => "cbcap",
            Self::KrakenRest => "kraken-rest",
            Self::Bitstamp => "bitstamp",
            Self::Lobster => "lobster",
            Self::Itch50 => "itch50",
            Self::Tbcap => "tbcap",
        }
    }

    /// What its messages are counted by.
    const fn unit(self) -> &'static str {
        match self {
            Self::Itch50 => "message",
            _ => "line",
        }
    }

    /// The format called `name`, if we know it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

impl fmt::Display for CaptureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a file is no readable capture. The caller adds the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The content is no format we read.
    #[error(
        "no capture format begins with {found:?}; expected hftbacktest, cryptofeed or Bitstamp lines, LOBSTER \
         rows, CBCAP1, TBCAP1, ITCH 5.0 or a Kraken REST answer, plain or compressed by zstd or gzip"
    )]
    Unknown {
        /// First bytes, as text.
        found: String,
    },
    /// There are no bytes.
    #[error("the capture is empty; check that the recorder finished")]
    Empty,
    /// The format is known but this place breaks it.
    #[error(
        "{format} {} {line} (byte {offset}): {what}; cut or repair the file there, or replay only what is before",
        format.unit()
    )]
    Damaged {
        /// Format of the file.
        format: CaptureFormat,
        /// Line of the place, or message in a format without lines, from 1.
        line: u64,
        /// Byte of the place, from 0.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A venue or dialect we have no decoder for.
    #[error("{format} capture of {found:?}, which no decoder reads; known: {}", known())]
    Venue {
        /// Format of the file.
        format: CaptureFormat,
        /// Host or name found.
        found: String,
    },
    /// The content names no instrument (and no day), and the file's name does not either.
    #[error("{format} content does not say what it is of; name the file like {example}")]
    Unnamed {
        /// Format of the file.
        format: CaptureFormat,
        /// A name that would do.
        example: &'static str,
    },
    /// Times count from a midnight that neither the content nor the file's name tells.
    #[error(
        "{format} content does not say its day; name the file like {example}, or give the day with --date 2019-01-30"
    )]
    Undated {
        /// Format of the file.
        format: CaptureFormat,
        /// A name that would do.
        example: &'static str,
    },
    /// A day was told of a format that says its times itself.
    #[error("{format} says the time of every message itself; leave out --date")]
    Dated {
        /// Format of the file.
        format: CaptureFormat,
    },
    /// A depth snapshot without a symbol, and nothing around it names one.
    #[error("line {line}: a depth snapshot without a symbol; name the symbol, or put it first in the file's name")]
    Symbol {
        /// Line of the snapshot, from 1.
        line: u64,
    },
}

/// What the caller knows about a file.
#[derive(Debug, Clone, Copy)]
pub struct CaptureOptions<'a> {
    /// Connection number of the messages, unless the format carries its own.
    pub connection: u32,
    /// File name without folder. `btcusdt-20240808.log.zst` names the symbol where the content does not.
    pub file_name: &'a str,
    /// The day, where times count from midnight (LOBSTER, ITCH): before what the file's name says.
    pub day: Option<Day>,
}

/// Where bytes of a message lie.
#[derive(Debug, Clone)]
enum Part {
    /// In the file.
    File(Range<usize>),
    /// In the reader's scratch.
    Scratch(Range<usize>),
}

impl Part {
    const NONE: Self = Self::Scratch(0..0);
}

/// A message found and not yet taken.
#[derive(Debug, Clone)]
struct Pending {
    ts_recv: i64,
    connection: u32,
    kind: MessageKind,
    context: Part,
    body: Part,
}

/// Position in the file and what all formats share.
#[derive(Debug)]
struct Source<'a> {
    format: CaptureFormat,
    bytes: &'a [u8],
    position: usize,
    /// Lines before `position`.
    lines: u64,
    connection: u32,
    scratch: Vec<u8>,
}

impl<'a> Source<'a> {
    const fn damaged(&self, what: &'static str) -> CaptureError {
        CaptureError::Damaged { format: self.format, line: self.lines + 1, offset: self.position as u64, what }
    }

    /// Range of the next line without its newline; steps behind it. Blank lines are skipped.
    fn line(&mut self) -> Option<Range<usize>> {
        while self.position < self.bytes.len() {
            let start = self.position;
            let rest = &self.bytes[start..];
            let size = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            self.position = (start + size + 1).min(self.bytes.len());
            self.lines += 1;
            if !rest[..size].trim_ascii().is_empty() {
                return Some(start..start + size);
            }
        }
        None
    }

    /// [`Self::damaged`] for the line just stepped over.
    const fn damaged_line(&self, line: &Range<usize>, what: &'static str) -> CaptureError {
        CaptureError::Damaged { format: self.format, line: self.lines, offset: line.start as u64, what }
    }

    /// Puts `pieces` one after the other into scratch, which holds one part at a time.
    fn scratch(&mut self, pieces: &[&[u8]]) -> Part {
        self.scratch.clear();
        for piece in pieces {
            self.scratch.extend_from_slice(piece);
        }
        Part::Scratch(0..self.scratch.len())
    }
}

#[derive(Debug)]
enum Cursor {
    HftBacktest(hftbacktest::Cursor),
    Cryptofeed(cryptofeed::Cursor),
    CryptofeedJsonl(cryptofeed_jsonl::Cursor),
    Cbcap(cbcap::Cursor),
    KrakenRest(kraken_rest::Cursor),
    Bitstamp(bitstamp::Cursor),
    Lobster(lobster::Cursor),
    Itch50(itch50::Cursor),
    Tbcap(tbcap::Cursor),
}

/// Reads one capture file.
#[derive(Debug)]
pub struct CaptureReader<'a> {
    source: Source<'a>,
    cursor: Cursor,
    venue: Venue,
    pending: Option<Pending>,
}

impl<'a> CaptureReader<'a> {
    /// Finds out what the decompressed `bytes` of a file are.
    ///
    /// # Errors
    /// [`CaptureError`] when the content is empty, of no known format, or of a venue without a decoder.
    pub fn open(bytes: &'a [u8], options: CaptureOptions<'_>) -> Result<Self, CaptureError> {
        let format = detect(bytes)?;
        if options.day.is_some() && !matches!(format, CaptureFormat::Lobster | CaptureFormat::Itch50) {
            return Err(CaptureError::Dated { format });
        }
        let mut source =
            Source { format, bytes, position: 0, lines: 0, connection: options.connection, scratch: Vec::new() };
        let (cursor, venue) = match format {
            CaptureFormat::HftBacktest => {
                let (cursor, venue) = hftbacktest::Cursor::open(bytes, options.file_name);
                (Cursor::HftBacktest(cursor), venue)
            }
            CaptureFormat::Cryptofeed => {
                let (cursor, venue) = cryptofeed::Cursor::open(bytes)?;
                (Cursor::Cryptofeed(cursor), venue)
            }
            CaptureFormat::CryptofeedJsonl => {
                let (cursor, venue) = cryptofeed_jsonl::Cursor::open(bytes)?;
                (Cursor::CryptofeedJsonl(cursor), venue)
            }
            CaptureFormat::Cbcap => {
                let (cursor, venue) = cbcap::Cursor::open(&mut source)?;
                (Cursor::Cbcap(cursor), venue)
            }
            CaptureFormat::KrakenRest => (Cursor::KrakenRest(kraken_rest::Cursor::default()), Venue::Kraken),
            CaptureFormat::Bitstamp => {
                (Cursor::Bitstamp(bitstamp::Cursor::open(options.file_name)?), bitstamp::Cursor::VENUE)
            }
            CaptureFormat::Lobster => (Cursor::Lobster(lobster::Cursor::open(options)?), lobster::Cursor::VENUE),
            CaptureFormat::Itch50 => (Cursor::Itch50(itch50::Cursor::open(options)?), itch50::Cursor::VENUE),
            CaptureFormat::Tbcap => {
                let (cursor, venue) = tbcap::Cursor::open(&mut source)?;
                (Cursor::Tbcap(cursor), venue)
            }
        };
        Ok(Self { source, cursor, venue, pending: None })
    }

    /// The file's format.
    pub const fn format(&self) -> CaptureFormat {
        self.source.format
    }

    /// The venue whose messages these are.
    pub const fn venue(&self) -> Venue {
        self.venue
    }

    /// Bytes read so far.
    pub const fn position(&self) -> usize {
        self.source.position
    }

    /// Receive time of the next message, so that files can be merged; `None` at the end.
    ///
    /// # Errors
    /// As [`Self::next_message`].
    pub fn peek_ts_recv(&mut self) -> Result<Option<i64>, CaptureError> {
        if self.pending.is_none() {
            self.pending = match &mut self.cursor {
                Cursor::HftBacktest(cursor) => cursor.next(&mut self.source),
                Cursor::Cryptofeed(cursor) => cursor.next(&mut self.source),
                Cursor::CryptofeedJsonl(cursor) => cursor.next(&mut self.source),
                Cursor::Cbcap(cursor) => cursor.next(&mut self.source),
                Cursor::KrakenRest(cursor) => cursor.next(&mut self.source),
                Cursor::Bitstamp(cursor) => cursor.next(&mut self.source),
                Cursor::Lobster(cursor) => cursor.next(&mut self.source),
                Cursor::Itch50(cursor) => cursor.next(&mut self.source),
                Cursor::Tbcap(cursor) => cursor.next(&mut self.source),
            }?;
        }
        Ok(self.pending.as_ref().map(|pending| pending.ts_recv))
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// [`CaptureError::Damaged`] at a place that breaks the format; see the module on what comes after it.
    pub fn next_message(&mut self) -> Result<Option<RawMessage<'_>>, CaptureError> {
        self.peek_ts_recv()?;
        Ok(self.pending.take().map(|pending| RawMessage {
            ts_recv: pending.ts_recv,
            connection: pending.connection,
            kind: pending.kind,
            context: match pending.context {
                Part::File(range) => &self.source.bytes[range],
                Part::Scratch(range) => &self.source.scratch[range],
            },
            body: match pending.body {
                Part::File(range) => &self.source.bytes[range],
                Part::Scratch(range) => &self.source.scratch[range],
            },
        }))
    }
}

/// Names of the venues with a decoder.
fn known() -> String {
    Venue::ALL.map(Venue::name).join(", ")
}

fn detect(bytes: &[u8]) -> Result<CaptureFormat, CaptureError> {
    if itch50::is_start(bytes) {
        return Ok(CaptureFormat::Itch50);
    }
    let text = bytes.trim_ascii_start();
    if text.is_empty() {
        return Err(CaptureError::Empty);
    }
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or(text);
    if line.starts_with(tbcap::MAGIC) {
        return Ok(CaptureFormat::Tbcap);
    }
    if line.starts_with(cbcap::MAGIC) {
        return Ok(CaptureFormat::Cbcap);
    }
    if line.starts_with(cryptofeed_jsonl::START) {
        return Ok(CaptureFormat::CryptofeedJsonl);
    }
    if line.starts_with(b"{") && text[..text.len().min(256)].windows(8).any(|window| window == b"\"result\"") {
        return Ok(CaptureFormat::KrakenRest);
    }
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && line[digits..].starts_with(b" {") {
        return Ok(CaptureFormat::HftBacktest);
    }
    if bitstamp::is_line(line) {
        return Ok(CaptureFormat::Bitstamp);
    }
    if lobster::is_line(line) {
        return Ok(CaptureFormat::Lobster);
    }
    if cryptofeed::is_line(line) {
        return Ok(CaptureFormat::Cryptofeed);
    }
    let shown = &line[..line.len().min(40)];
    Err(CaptureError::Unknown { found: String::from_utf8_lossy(shown).into_owned() })
}
