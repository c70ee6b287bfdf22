//! `FeedDecoder`: the market-data engine over raw messages, records out as arrays.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tidebook_feed::{FeedEngine, FeedOptions, RecordBatch};
use tidebook_types::{RawMessage, Venue};

use crate::errors::{self, Raised};
use crate::payloads::Payloads;
use crate::records::to_array;

/// One feed being decoded.
#[pyclass(frozen, module = "tidebook._core")]
pub struct FeedDecoder {
    engine: Mutex<FeedEngine>,
    /// Records of each type in the last batch: the next one begins with room for about as many, because growing and
    /// copying vectors costs as much as a tenth of decoding.
    room: Mutex<[usize; 7]>,
}

/// The venue called `name`.
pub fn venue_of(name: &str) -> Result<Venue, Raised> {
    Venue::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Venue::ALL.into_iter().map(Venue::name).collect();
        Raised::new(errors::UNKNOWN_VENUE, format!("venue {name:?} is unknown; known: {}", known.join(", ")))
    })
}

#[pymethods]
impl FeedDecoder {
    #[new]
    fn new(venue: &str) -> PyResult<Self> {
        let venue = venue_of(venue)?;
        let engine = Mutex::new(FeedEngine::new(venue, FeedOptions::of(venue)));
        Ok(Self { engine, room: Mutex::default() })
    }

    /// Records derived from the messages, by type.
    fn decode<'py>(&self, py: Python<'py>, first_sequence: u64, messages: &Payloads) -> PyResult<Bound<'py, PyDict>> {
        let batch = py
            .detach(|| {
                let mut engine = self.engine.lock().expect("an engine does not panic");
                let mut room = self.room.lock().expect("nothing panics under this lock");
                let mut batch = RecordBatch::with_room(room.map(|count| count + count / 4));
                for (sequence, payload) in (first_sequence..).zip(messages.0.iter()) {
                    let message = RawMessage::parse(payload)
                        .map_err(|error| Raised::from(error).about(&format!("message {sequence}")))?;
                    engine.on_message(sequence, message, &mut batch);
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
        let engine = self.engine.lock().expect("an engine does not panic");
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
