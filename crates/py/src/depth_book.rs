//! `DepthBook`: a book that a notebook builds from depth records.

use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidebook_book::{Level, Side};
use tidebook_types::records::ACTION_CLEAR;
use tidebook_types::{Depth, Record};
use zerocopy::{FromBytes, IntoBytes};

use crate::schema::Schema;

/// A depth book of one instrument.
#[pyclass(frozen, module = "tidebook._core")]
pub struct DepthBook(Mutex<State>);

#[derive(Default)]
struct State {
    book: tidebook_book::DepthBook,
    /// Of the records applied; 0 before the first.
    instrument_id: u32,
    venue_sequence: u64,
}

/// bid price, bid size, ask price, ask size.
type Best = (i64, i64, i64, i64);

#[pymethods]
impl DepthBook {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Applies depth records in order.
    fn apply(&self, records: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = records.py();
        let dtype = Schema::of(Depth::SCHEMA).dtype(py)?;
        if !records.getattr("dtype").is_ok_and(|found| found.eq(&dtype).unwrap_or(false)) {
            return Err(PyTypeError::new_err("records must be a numpy array of schemas()[\"depth\"].dtype()"));
        }
        let bytes = records.call_method0("tobytes")?.cast_into::<PyBytes>()?;
        let mut state = self.lock();
        for record in bytes.as_bytes().chunks_exact(size_of::<Depth>()) {
            let record = Depth::read_from_bytes(record).expect("a chunk is one record");
            state.apply(&record)?;
        }
        Ok(())
    }

    /// Best level of each side, size 0 where there is none.
    fn best(&self) -> Best {
        let state = self.lock();
        let best = |side| state.book.best(side).map_or((0, 0), |level: Level| (level.price, level.size));
        let (bid, ask) = (best(Side::Bid), best(Side::Ask));
        (bid.0, bid.1, ask.0, ask.1)
    }

    /// Prices and sizes of the best levels.
    #[pyo3(signature = (count=10))]
    fn levels<'py>(&self, py: Python<'py>, count: usize) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let mut prices = vec![0i64; 2 * count];
        let mut sizes = vec![0i64; 2 * count];
        {
            let state = self.lock();
            for (row, side) in Side::BOTH.into_iter().enumerate() {
                for (place, level) in state.book.levels(side).take(count).enumerate() {
                    prices[row * count + place] = level.price;
                    sizes[row * count + place] = level.size;
                }
            }
        }
        let numpy = py.import("numpy")?;
        let array = |units: Vec<i64>| {
            let bytes = PyBytes::new(py, units.as_bytes());
            numpy.call_method1("frombuffer", (bytes, "<i8"))?.call_method1("reshape", ((2, count),))
        };
        Ok((array(prices)?, array(sizes)?))
    }

    /// Number of bid levels and of ask levels.
    fn counts(&self) -> (usize, usize) {
        self.lock().book.counts()
    }

    /// A number that two books share when they hold the same levels.
    fn state_hash(&self) -> u64 {
        self.lock().book.state_hash()
    }

    /// The venue's sequence of the last record applied.
    #[getter]
    fn venue_sequence(&self) -> u64 {
        self.lock().venue_sequence
    }
}

impl DepthBook {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a book does not panic")
    }
}

impl State {
    fn apply(&mut self, record: &Depth) -> PyResult<()> {
        if self.instrument_id != 0 && record.instrument_id != self.instrument_id {
            let (found, expected) = (record.instrument_id, self.instrument_id);
            let message =
                format!("record of instrument {found} in a book of {expected}; filter by instrument_id first");
            return Err(PyValueError::new_err(message));
        }
        self.instrument_id = record.instrument_id;
        self.venue_sequence = record.venue_sequence;
        if record.action == ACTION_CLEAR {
            self.book.clear();
        } else if let Some(side) = Side::from_code(record.side) {
            self.book.apply(side, record.price, record.size);
        }
        Ok(())
    }
}
