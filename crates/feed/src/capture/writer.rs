//! Raw messages as a capture file.
//!
//! What was read from a file by [`super::CaptureReader`] is given back byte for byte, because bodies are verbatim and
//! what stands between them is in the messages. Only [`CaptureFormat::Tbcap`] holds every kind of message; the other
//! formats have no word for a timer or a connection change and leave it out.

use tidebook_types::{MessageKind, RawMessage, Venue};

use super::{CaptureFormat, hftbacktest, tbcap};
use crate::scan::Scanner;

/// Why messages cannot be written in a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureWriteError {
    /// The format is read-only here, or belongs to another venue.
    #[error("{format} cannot hold messages of {venue}; export as tbcap", venue = venue.name())]
    Format {
        /// Format asked for.
        format: CaptureFormat,
        /// Venue of the messages.
        venue: Venue,
    },
    /// The format is made of lines and this body has a line break.
    #[error("a message received at {ts_recv} holds a line break, which {format} cannot express; export as tbcap")]
    LineBreak {
        /// Format asked for.
        format: CaptureFormat,
        /// Receive time of the message.
        ts_recv: i64,
    },
    /// A depth snapshot is a line without a symbol, which a reader takes for the symbol of the file's first stream.
    #[error(
        "{format} has no word for the symbol of a snapshot, so a file is of one; here is {first} and a snapshot of \
         {other}; export as tbcap"
    )]
    Symbols {
        /// Format asked for.
        format: CaptureFormat,
        /// Symbol of the file.
        first: String,
        /// The other one.
        other: String,
    },
    /// CBCAP1 begins with a header that only messages read from CBCAP1 carry.
    #[error("these messages were not recorded from cbcap, whose header they lack; export as tbcap")]
    Header,
}

/// Writes one capture file.
#[derive(Debug)]
pub struct CaptureWriter {
    format: CaptureFormat,
    venue: Venue,
    started: bool,
    /// What the reader added to receive times.
    offset_ns: i64,
    /// Of hftbacktest: upper-case symbol of the first stream, which a reader gives to every snapshot.
    stream_symbol: Option<Vec<u8>>,
    /// Upper-case symbol of the snapshots so far.
    snapshot_symbol: Option<Vec<u8>>,
}

impl CaptureWriter {
    /// A writer of `format` for messages of `venue`.
    ///
    /// # Errors
    /// [`CaptureWriteError::Format`] when the format cannot hold them.
    pub fn new(format: CaptureFormat, venue: Venue) -> Result<Self, CaptureWriteError> {
        match (format, venue) {
            (CaptureFormat::Tbcap, _)
            | (CaptureFormat::HftBacktest, Venue::Binance | Venue::BinanceUsdm | Venue::BinanceCoinm)
            | (CaptureFormat::Cbcap, Venue::Kraken) => {
                Ok(Self { format, venue, started: false, offset_ns: 0, stream_symbol: None, snapshot_symbol: None })
            }
            _ => Err(CaptureWriteError::Format { format, venue }),
        }
    }

    /// Appends what must stand before the first message; called by [`Self::write`], so needed only for an empty file.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started && self.format == CaptureFormat::Tbcap {
            tbcap::write_header(self.venue, out);
            self.started = true;
        }
    }

    /// Appends `message` to `out`; false when the format has no word for it and it was left out.
    ///
    /// # Errors
    /// [`CaptureWriteError`] when the message should be in the file and cannot be; `out` is unchanged.
    pub fn write(&mut self, message: &RawMessage<'_>, out: &mut Vec<u8>) -> Result<bool, CaptureWriteError> {
        match self.format {
            CaptureFormat::HftBacktest => self.write_line(message, out),
            CaptureFormat::Cbcap => self.write_cbcap(message, out),
            _ => {
                self.start(out);
                tbcap::write(message, out);
                Ok(true)
            }
        }
    }

    fn write_line(&mut self, message: &RawMessage<'_>, out: &mut Vec<u8>) -> Result<bool, CaptureWriteError> {
        let is_held = match message.kind {
            MessageKind::Ws => true,
            // Any other answer would be read as a frame.
            MessageKind::Rest => message.body.starts_with(hftbacktest::SNAPSHOT),
            MessageKind::State | MessageKind::Timer => false,
        };
        if !is_held {
            return Ok(false);
        }
        if message.body.contains(&b'\n') {
            return Err(CaptureWriteError::LineBreak { format: self.format, ts_recv: message.ts_recv });
        }
        self.know_symbol(message)?;
        out.extend_from_slice(format!("{} ", message.ts_recv).as_bytes());
        out.extend_from_slice(message.body);
        out.push(b'\n');
        Ok(true)
    }

    /// Refuses a file of which a reader would give a snapshot to another symbol than it is of.
    fn know_symbol(&mut self, message: &RawMessage<'_>) -> Result<(), CaptureWriteError> {
        let of_snapshot = match message.kind {
            MessageKind::Rest => hftbacktest::snapshot_symbol(message.context),
            _ if self.stream_symbol.is_none() => {
                self.stream_symbol = hftbacktest::stream_symbol(message.body);
                self.snapshot_symbol.clone()
            }
            _ => return Ok(()),
        };
        let Some(symbol) = of_snapshot else { return Ok(()) };
        let known = [&self.stream_symbol, &self.snapshot_symbol].into_iter().flatten();
        if let Some(first) = known.into_iter().find(|&known| *known != symbol) {
            let text = |symbol: &[u8]| String::from_utf8_lossy(symbol).into_owned();
            return Err(CaptureWriteError::Symbols { format: self.format, first: text(first), other: text(&symbol) });
        }
        self.snapshot_symbol = Some(symbol);
        Ok(())
    }

    fn write_cbcap(&mut self, message: &RawMessage<'_>, out: &mut Vec<u8>) -> Result<bool, CaptureWriteError> {
        match message.kind {
            MessageKind::State => {
                let Some(header) = Header::parse(message.body) else { return Ok(false) };
                out.extend_from_slice(b"CBCAP1 kraken ");
                out.extend_from_slice(header.symbol);
                out.extend_from_slice(format!(" {}\n", header.started_ns).as_bytes());
                self.offset_ns = header.offset_ns;
                self.started = true;
                Ok(true)
            }
            MessageKind::Ws if !self.started => Err(CaptureWriteError::Header),
            MessageKind::Ws => {
                let ts = message.ts_recv.wrapping_sub(self.offset_ns);
                out.extend_from_slice(format!("{ts} {}\n", message.body.len()).as_bytes());
                out.extend_from_slice(message.body);
                out.push(b'\n');
                Ok(true)
            }
            MessageKind::Rest | MessageKind::Timer => Ok(false),
        }
    }
}

/// The `State` message that [`super::cbcap`] makes of a header.
struct Header<'a> {
    symbol: &'a [u8],
    started_ns: u64,
    offset_ns: i64,
}

impl<'a> Header<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut header = Self { symbol: b"", started_ns: 0, offset_ns: 0 };
        let mut is_capture = false;
        let mut scanner = Scanner::new(body);
        scanner.expect(b'{', "an object").ok()?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first).ok()? {
            match key {
                b"format" => is_capture = scanner.string().ok()? == CaptureFormat::Cbcap.name().as_bytes(),
                b"symbol" => header.symbol = scanner.string().ok()?,
                b"started_ns" => header.started_ns = scanner.unsigned().ok()?,
                b"offset_ns" => header.offset_ns = std::str::from_utf8(scanner.number().ok()?).ok()?.parse().ok()?,
                _ => {
                    scanner.skip().ok()?;
                }
            }
        }
        is_capture.then_some(header)
    }
}
