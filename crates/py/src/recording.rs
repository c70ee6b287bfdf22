//! `Recording` and `RecordingWriter`: capture files as raw messages and back.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use self_cell::self_cell;
use tidebook_feed::capture::{
    self, CaptureError, CaptureFormat, CaptureOptions, CaptureReader, CaptureWriteError, Day,
};
use tidebook_types::RawMessage;

use crate::decoder::venue_of;
use crate::digest;
use crate::errors::{self, Raised};
use crate::payloads::Payloads;

impl From<CaptureError> for Raised {
    fn from(error: CaptureError) -> Self {
        Self::new(errors::CAPTURE, error.to_string())
    }
}

impl From<CaptureWriteError> for Raised {
    fn from(error: CaptureWriteError) -> Self {
        Self::new(errors::CAPTURE, error.to_string())
    }
}

self_cell! {
    /// The bytes of a file with the reader that borrows them.
    struct Opened {
        owner: Vec<u8>,
        #[covariant]
        dependent: CaptureReader,
    }
}

/// Whole content of a file, decompressed when its first bytes say zstd or gzip.
fn decompressed(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    match bytes.as_slice() {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::stream::decode_all(bytes.as_slice()),
        [0x1f, 0x8b, ..] => {
            let mut content = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut content)?;
            Ok(content)
        }
        _ => Ok(bytes),
    }
}

/// One recording, read from its start.
#[pyclass(frozen, module = "tidebook._core")]
pub struct Recording {
    path: PathBuf,
    opened: Mutex<Opened>,
    /// Found behind messages that were handed over; raised by the next call.
    damage: Mutex<Option<CaptureError>>,
    size_bytes: usize,
}

#[pymethods]
impl Recording {
    #[new]
    #[pyo3(signature = (path, *, connection=1, day=None))]
    fn new(py: Python<'_>, path: PathBuf, connection: u32, day: Option<&str>) -> PyResult<Self> {
        let about = path.display().to_string();
        let known = |text| {
            let no_day = || format!("{text:?} is no day of the exchanges since 2007; write it like 2019-01-30");
            Day::parse(text).ok_or_else(|| Raised::new(errors::CAPTURE, no_day()))
        };
        let day = day.map(known).transpose()?;
        let opened = py.detach(|| {
            let bytes = decompressed(&path).map_err(|error| {
                let advice = "check the path, its permissions and that the file is whole";
                Raised::new(errors::CAPTURE, format!("cannot be read ({error}); {advice}"))
            })?;
            let file_name = path.file_name().unwrap_or_default().to_string_lossy();
            Opened::try_new(bytes, |bytes| {
                CaptureReader::open(bytes, CaptureOptions { connection, file_name: &file_name, day })
            })
            .map_err(Raised::from)
        });
        let opened = opened.map_err(|raised| raised.about(&about))?;
        let size_bytes = opened.borrow_owner().len();
        Ok(Self { path, opened: Mutex::new(opened), damage: Mutex::new(None), size_bytes })
    }

    #[getter]
    fn venue(&self) -> &'static str {
        self.lock().borrow_dependent().venue().name()
    }

    #[getter]
    fn format(&self) -> &'static str {
        self.lock().borrow_dependent().format().name()
    }

    /// Bytes of the decompressed file.
    #[getter]
    const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// BLAKE3-256 of the decompressed file.
    fn digest(&self, py: Python<'_>) -> String {
        py.detach(|| digest::of(self.lock().borrow_owner()))
    }

    /// Receive time of the next message; `None` at the end, and where a damaged place comes first.
    fn next_ts_recv(&self, py: Python<'_>) -> Option<i64> {
        py.detach(|| {
            let mut opened = self.lock();
            let mut damage = self.damage.lock().expect("a reader does not panic");
            if damage.is_some() {
                return None;
            }
            opened.with_dependent_mut(|_, reader| reader.peek_ts_recv()).unwrap_or_else(|error| {
                *damage = Some(error);
                None
            })
        })
    }

    /// Bytes read so far.
    #[getter]
    fn position_bytes(&self) -> usize {
        self.lock().borrow_dependent().position()
    }

    /// The next messages, at most `messages_max`; empty at the end.
    #[pyo3(signature = (messages_max=8192))]
    fn next(&self, py: Python<'_>, messages_max: usize) -> PyResult<Payloads> {
        if let Some(damage) = self.damage.lock().expect("a reader does not panic").take() {
            return Err(self.raised(damage));
        }
        let read = py.detach(|| {
            self.lock().with_dependent_mut(|_, reader| {
                let mut payloads = tidebook_types::Payloads::new();
                while payloads.len() < messages_max {
                    match reader.next_message() {
                        Ok(Some(message)) => payloads.push(&message),
                        Ok(None) => break,
                        Err(damage) if payloads.is_empty() => return Err(damage),
                        Err(damage) => {
                            *self.damage.lock().expect("a reader does not panic") = Some(damage);
                            break;
                        }
                    }
                }
                Ok(payloads)
            })
        });
        read.map(Payloads).map_err(|error| self.raised(error))
    }
}

impl Recording {
    fn lock(&self) -> std::sync::MutexGuard<'_, Opened> {
        self.opened.lock().expect("a reader does not panic")
    }

    fn raised(&self, error: CaptureError) -> PyErr {
        Raised::from(error).about(&self.path.display().to_string()).into()
    }
}

/// Turns messages into the bytes of a capture file.
#[pyclass(frozen, module = "tidebook._core")]
pub struct RecordingWriter(Mutex<capture::CaptureWriter>);

#[pymethods]
impl RecordingWriter {
    #[new]
    fn new(format: &str, venue: &str) -> PyResult<Self> {
        let format = CaptureFormat::from_name(format).ok_or_else(|| {
            let known: Vec<_> = CaptureFormat::ALL.into_iter().map(CaptureFormat::name).collect();
            Raised::new(errors::CAPTURE, format!("capture format {format:?} is unknown; known: {}", known.join(", ")))
        })?;
        let venue = venue_of(venue)?;
        Ok(Self(Mutex::new(capture::CaptureWriter::new(format, venue).map_err(Raised::from)?)))
    }

    /// Bytes the file begins with even when no message follows.
    fn start<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut out = Vec::new();
        self.0.lock().expect("a writer does not panic").start(&mut out);
        PyBytes::new(py, &out)
    }

    /// Bytes of these messages, and how many the format has no word for and left out.
    fn write<'py>(&self, py: Python<'py>, payloads: &Payloads) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        let written = py.detach(|| {
            let mut writer = self.0.lock().expect("a writer does not panic");
            let mut out = Vec::with_capacity(payloads.0.size_bytes());
            let mut left_out = 0;
            for payload in payloads.0.iter() {
                let message = RawMessage::parse(payload).map_err(Raised::from)?;
                if !writer.write(&message, &mut out).map_err(Raised::from)? {
                    left_out += 1;
                }
            }
            Ok((out, left_out))
        });
        let (out, left_out) = written.map_err(|raised: Raised| PyErr::from(raised))?;
        Ok((PyBytes::new(py, &out), left_out))
    }
}
