//! `FeedDecoder`: the market-data engine over raw messages, records out as arrays.

use std::path::PathBuf;
use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tidebook_feed::RecordBatch;
use tidebook_journal::State;
use tidebook_journal::snapshot::{Place, SnapshotStore};
use tidebook_plane::{Beginning, FeedHistory, snapshots_path, usable_snapshots};
use tidebook_types::{RawMessage, Venue};

use crate::errors::{self, Raised};
use crate::journal::BatchEnd;
use crate::payloads::Payloads;
use crate::records::to_array;

/// One feed being decoded.
#[pyclass(frozen, module = "tidebook._core")]
pub struct FeedDecoder {
    history: Mutex<FeedHistory>,
    /// Records of each type in the last batch: the next one begins with room for about as many, because growing and
    /// copying vectors costs as much as a tenth of decoding.
    room: Mutex<[usize; 7]>,
}

impl FeedDecoder {
    fn over(history: FeedHistory) -> Self {
        Self { history: Mutex::new(history), room: Mutex::default() }
    }
}

/// The venue called `name`.
pub fn venue_of(name: &str) -> Result<Venue, Raised> {
    Venue::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Venue::ALL.into_iter().map(Venue::name).collect();
        Raised::new(errors::UNKNOWN_VENUE, format!("venue {name:?} is unknown; known: {}", known.join(", ")))
    })
}

/// Where [`FeedDecoder::begin`] could begin: the newest `count` snapshots, rising, and why newer ones could not be used.
#[pyfunction]
pub fn usable_feed_snapshots(
    py: Python<'_>,
    venue: &str,
    journal_dir: PathBuf,
    snapshots_dir: PathBuf,
    sequence_max: u64,
    count: usize,
) -> PyResult<(Vec<u64>, Vec<String>)> {
    let venue = venue_of(venue)?;
    let found = py.detach(|| usable_snapshots(venue, &journal_dir, &snapshots_dir, sequence_max, count));
    Ok(found.map_err(Raised::from)?)
}

#[pymethods]
impl FeedDecoder {
    #[new]
    fn new(venue: &str) -> PyResult<Self> {
        let venue = venue_of(venue)?;
        Ok(Self::over(FeedHistory::new(venue)))
    }

    /// The decoder behind the newest usable snapshot up to `sequence_max`, and why newer ones were not used.
    #[staticmethod]
    fn begin(
        py: Python<'_>,
        venue: &str,
        journal_dir: PathBuf,
        snapshots_dir: PathBuf,
        sequence_max: u64,
    ) -> PyResult<(Self, Vec<String>)> {
        let venue = venue_of(venue)?;
        let begun = py.detach(|| Beginning::find(venue, &journal_dir, Some(&snapshots_dir), sequence_max));
        let Beginning { state, refused } = begun.map_err(Raised::from)?;
        Ok((Self::over(FeedHistory::of(state)), refused))
    }

    /// Sequence of the last message.
    #[getter]
    fn sequence(&self) -> u64 {
        self.history.lock().expect("an engine does not panic").state().sequence()
    }

    /// Hash of the whole state, as snapshots keep it.
    #[getter]
    fn state_hash(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.history.lock().expect("an engine does not panic").state_hash())
    }

    /// The definitions that hold, and older ones that are kept.
    fn definitions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let definitions = {
            let history = self.history.lock().expect("an engine does not panic");
            history.state().definitions().copied().collect::<Vec<_>>()
        };
        to_array(py, definitions)
    }

    /// Takes a snapshot and lets the oldest go: the file, its bytes, the messages of those that verify now.
    fn snapshot(
        &self,
        py: Python<'_>,
        snapshots_dir: PathBuf,
        batch_end: BatchEnd,
        created_ns: i64,
        keep: usize,
    ) -> PyResult<(PathBuf, u64, Vec<u64>)> {
        let taken = py.detach(|| {
            // The lock is held for the bytes, not for the disk.
            let saved = self.history.lock().expect("an engine does not panic").saved();
            let (venue, decoded) = (saved.venue(), saved.sequence());
            let channel = FeedHistory::kind_of(venue);
            let (journal_id, epoch, sequence, batch_number, chain) = batch_end;
            if sequence != decoded || sequence == 0 {
                let message =
                    format!("{channel} is decoded up to {decoded}, which is not where a batch ends: {sequence}");
                return Err(Raised::new(errors::SNAPSHOT, message));
            }
            let snapshots = SnapshotStore::open(&snapshots_path(&snapshots_dir, venue), &channel)?;
            let place = Place { channel, journal_id, epoch, sequence, batch_number, chain };
            let (facts, rotation) = saved.write_to(&snapshots, &place, created_ns, keep)?;
            Ok((facts.path, facts.size_bytes, rotation.kept))
        });
        taken.map_err(|raised: Raised| raised.into())
    }

    /// BLAKE3 of the whole state as a snapshot holds it.
    fn saved_hash(&self, py: Python<'_>) -> String {
        py.detach(|| {
            let saved = self.history.lock().expect("an engine does not panic").state().save();
            blake3::hash(&saved).to_hex().to_string()
        })
    }

    /// Records derived from the messages, by type.
    fn decode<'py>(&self, py: Python<'py>, first_sequence: u64, messages: &Payloads) -> PyResult<Bound<'py, PyDict>> {
        let batch = py
            .detach(|| {
                let mut history = self.history.lock().expect("an engine does not panic");
                let mut room = self.room.lock().expect("nothing panics under this lock");
                let mut batch = RecordBatch::with_room(room.map(|count| count + count / 4));
                for (sequence, payload) in (first_sequence..).zip(messages.0.iter()) {
                    let message = RawMessage::parse(payload).map_err(|error| {
                        let said = format!("message {sequence} of {}, which a feed alone may write", history.kind());
                        Raised::from(error).about(&said)
                    })?;
                    history.state_mut().on_message(sequence, message, &mut batch);
                }
                *room = batch.counts();
                Ok(batch)
            })
            .map_err(|raised: Raised| PyErr::from(raised))?;
        let arrays = PyDict::new(py);
        arrays.set_item("instruments", to_array(py, batch.instruments)?)?;
        arrays.set_item("trades", to_array(py, batch.trades)?)?;
        arrays.set_item("quotes", to_array(py, batch.quotes)?)?;
        arrays.set_item("depth", to_array(py, batch.depth)?)?;
        arrays.set_item("orders", to_array(py, batch.orders)?)?;
        arrays.set_item("bars", to_array(py, batch.bars)?)?;
        arrays.set_item("status", to_array(py, batch.status)?)?;
        Ok(arrays)
    }

    /// What was counted and checked so far.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let history = self.history.lock().expect("an engine does not panic");
        let engine = history.state().engine();
        let oracles = PyList::empty(py);
        for (oracle, tally) in engine.oracles().used() {
            let entry = PyDict::new(py);
            entry.set_item("name", oracle.name())?;
            entry.set_item("passed", tally.passed)?;
            entry.set_item("failed", tally.failed)?;
            oracles.append(entry)?;
        }
        let quarantined = PyList::empty(py);
        for frame in engine.quarantined() {
            let entry = PyDict::new(py);
            entry.set_item("sequence", frame.sequence)?;
            entry.set_item("offset", frame.error.offset)?;
            entry.set_item("expected", frame.error.expected)?;
            quarantined.append(entry)?;
        }
        let counters = PyDict::new(py);
        for (name, count) in engine.counters().all() {
            counters.set_item(name, count)?;
        }
        let total = engine.oracles().total();
        let facts = PyDict::new(py);
        facts.set_item("venue", engine.venue().name())?;
        facts.set_item("messages", engine.counters().messages)?;
        facts.set_item("instruments", engine.instruments().count())?;
        facts.set_item("books", engine.instruments().filter(|(id, _)| engine.book(*id).is_some()).count())?;
        facts.set_item("checks_passed", total.passed)?;
        facts.set_item("checks_failed", total.failed)?;
        facts.set_item("gaps", engine.counters().gaps)?;
        facts.set_item("oracles", oracles)?;
        facts.set_item("counters", counters)?;
        facts.set_item("quarantined", quarantined)?;
        facts.set_item("state_hash", format!("{:016x}", engine.state_hash()))?;
        Ok(facts)
    }
}
