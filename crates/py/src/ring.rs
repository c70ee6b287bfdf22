//! `Ring`: a mapped ring file, and where rings are.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tidebook_ring::tuning::{MemoryTuning, pin_thread};
use tidebook_ring::{Access, LastValues, MoveTo, RingOptions, RingSchema, paths};

use crate::ring_errors::raised;
use crate::ring_status::{self, kind_name, mode_name};

/// A mapped ring.
#[pyclass(frozen, module = "tidebook._core")]
pub struct Ring(pub tidebook_ring::Ring);

/// Name, version, text.
type Schema = (String, u32, String);

#[pymethods]
impl Ring {
    /// Makes a ring of slots.
    #[staticmethod]
    #[pyo3(signature = (path, record_size_bytes, count, *, schema=None, crc=true, parking=false, consumers_max=16,
        producers_max=None, group=None, last_values=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn create_slots(
        path: PathBuf,
        record_size_bytes: u32,
        count: u64,
        schema: Option<Schema>,
        crc: bool,
        parking: bool,
        consumers_max: u32,
        producers_max: Option<u32>,
        group: Option<u32>,
        last_values: Option<(u64, u32, u32)>,
    ) -> PyResult<Self> {
        let mut options = RingOptions::slots(record_size_bytes, count);
        options.last_values =
            last_values.map(|(count, key_offset, key_size)| LastValues { count, key_offset, key_size });
        if let Some(max) = producers_max {
            options = options.mpsc(max);
        }
        options.schema = schema.map(|(name, version, text)| RingSchema { name, version, text });
        Self::create(path, options.crc(crc).parking(parking).consumers_max(consumers_max), group)
    }

    /// Makes a ring of frames.
    #[staticmethod]
    #[pyo3(signature = (path, size_bytes, *, crc=true, parking=false, consumers_max=16, group=None))]
    fn create_frames(
        path: PathBuf,
        size_bytes: u64,
        crc: bool,
        parking: bool,
        consumers_max: u32,
        group: Option<u32>,
    ) -> PyResult<Self> {
        let options = RingOptions::frames(size_bytes);
        Self::create(path, options.crc(crc).parking(parking).consumers_max(consumers_max), group)
    }

    /// Makes a ring of runs, which many producers share.
    #[staticmethod]
    #[pyo3(signature = (path, slot_size_bytes, count, producers_max, *, crc=true, parking=false, consumers_max=16,
        group=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn create_runs(
        path: PathBuf,
        slot_size_bytes: u32,
        count: u64,
        producers_max: u32,
        crc: bool,
        parking: bool,
        consumers_max: u32,
        group: Option<u32>,
    ) -> PyResult<Self> {
        let options = RingOptions::runs(slot_size_bytes, count).mpsc(producers_max);
        Self::create(path, options.crc(crc).parking(parking).consumers_max(consumers_max), group)
    }

    /// Opens a ring that exists.
    #[staticmethod]
    #[pyo3(signature = (path, *, group=None, allow_others=false))]
    fn open(path: PathBuf, group: Option<u32>, allow_others: bool) -> PyResult<Self> {
        tidebook_ring::Ring::open_with(path, access(group, allow_others)).map(Self).map_err(raised)
    }

    /// Removes the file of a ring.
    #[staticmethod]
    fn remove(path: PathBuf) -> PyResult<()> {
        tidebook_ring::Ring::remove(path).map_err(raised)
    }

    /// Removes its own file.
    fn unlink(&self) -> PyResult<()> {
        self.0.unlink().map_err(raised)
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    #[getter]
    fn kind(&self) -> &'static str {
        kind_name(self.0.info().kind)
    }

    /// Slots, or bytes of frames.
    #[getter]
    fn capacity(&self) -> u64 {
        self.0.info().kind.capacity()
    }

    /// `spsc` or `mpsc`.
    #[getter]
    fn mode(&self) -> &'static str {
        mode_name(self.0.info().mode)
    }

    #[getter]
    fn producers_max(&self) -> u32 {
        self.0.info().producers_max
    }

    #[getter]
    fn consumers_max(&self) -> u32 {
        self.0.info().consumers_max
    }

    /// 0 for messages.
    #[getter]
    fn record_size_bytes(&self) -> usize {
        self.0.info().record_size().unwrap_or(0)
    }

    /// Bytes from the start of a slot to its record, and from slot to slot.
    #[getter]
    fn slot(&self) -> (usize, usize) {
        (tidebook_ring::layout::HEADER_SIZE_BYTES, self.0.info().stride)
    }

    #[getter]
    fn schema(&self) -> Option<Schema> {
        self.0.info().schema.clone().map(|schema| (schema.name, schema.version, schema.text))
    }

    /// Keys, where the key stands, its bytes; `None` without last values.
    #[getter]
    fn last_values(&self) -> Option<(u64, u32, u32)> {
        self.0.info().last_values.map(|table| (table.count, table.key_offset, table.key_size))
    }

    /// The newest record of a key behind its sequence; `None` when it had none yet.
    fn read_last_value<'py>(&self, py: Python<'py>, key: u64) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let found = self.0.last_value(key).map_err(raised)?;
        Ok(found.map(|value| PyBytes::new(py, &[&value.sequence.to_le_bytes()[..], &value.record].concat())))
    }

    /// The newest record of each key behind its sequence, one after the other; zeros where there was none yet.
    fn read_last_values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let values = py.detach(|| {
            let info = self.0.info();
            let size = 8 + info.record_size().unwrap_or(0);
            let count = info.last_values.map_or(0, |table| table.count);
            let mut values = vec![0; count as usize * size];
            self.0.last_values(|key, sequence, record| {
                let value = &mut values[key as usize * size..][..size];
                value[..8].copy_from_slice(&sequence.to_le_bytes());
                value[8..].copy_from_slice(record);
            })?;
            Ok(values)
        });
        values.map(|values| PyBytes::new(py, &values)).map_err(raised)
    }

    #[getter]
    fn epoch(&self) -> u64 {
        self.0.info().epoch
    }

    #[getter]
    fn crc(&self) -> bool {
        self.0.info().crc
    }

    #[getter]
    fn parking(&self) -> bool {
        self.0.info().parking
    }

    /// Whether its producer waits for nobody.
    #[getter]
    fn never_waits(&self) -> bool {
        self.0.info().never_waits
    }

    #[getter]
    fn visible_durable(&self) -> bool {
        self.0.info().visible_durable
    }

    #[getter]
    fn published(&self) -> u64 {
        self.0.published()
    }

    #[getter]
    fn durable(&self) -> u64 {
        self.0.durable()
    }

    /// Asks for this process's mapping of it; what is in force: option, whether, detail.
    #[pyo3(signature = (*, lock=false, huge_pages=false, numa_node=None))]
    fn tune(&self, lock: bool, huge_pages: bool, numa_node: Option<u32>) -> Vec<(&'static str, bool, String)> {
        let effects = self.0.tune(MemoryTuning { lock, huge_pages, numa_node });
        effects.into_iter().map(|effect| (effect.option, effect.in_force, effect.detail)).collect()
    }

    /// Forgets a named consumer that is not open.
    fn remove_consumer(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        py.detach(|| self.0.remove_consumer(name)).map_err(raised)
    }

    /// Moves the cursor of a named consumer that is not open: to `earliest`, `latest`, or a sequence.
    #[pyo3(signature = (name, to, sequence=0))]
    fn move_consumer(&self, py: Python<'_>, name: &str, to: &str, sequence: u64) -> PyResult<u64> {
        let to = match to {
            "earliest" => MoveTo::Earliest,
            "latest" => MoveTo::Latest,
            _ => MoveTo::Sequence(sequence),
        };
        py.detach(|| self.0.move_consumer(name, to)).map_err(raised)
    }

    /// How it stands, as a dict of numbers with lists of producers and consumers.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        ring_status::as_dict(py, &py.detach(|| self.0.status()).map_err(raised)?)
    }
}

impl Ring {
    fn create(path: PathBuf, options: RingOptions, group: Option<u32>) -> PyResult<Self> {
        tidebook_ring::Ring::create(path, &options.access(access(group, false))).map(Self).map_err(raised)
    }
}

/// Who may have a ring, as Python says it.
pub fn access(group: Option<u32>, allow_others: bool) -> Access {
    match group {
        _ if allow_others => Access::Anyone,
        Some(group) => Access::Group(group),
        None => Access::Private,
    }
}

/// Binds the calling thread to one CPU; what is in force: option, whether, detail.
#[pyfunction]
#[pyo3(name = "pin_thread")]
pub fn pin_calling_thread(cpu: u32) -> (&'static str, bool, String) {
    let effect = pin_thread(cpu);
    (effect.option, effect.in_force, effect.detail)
}

/// Where the rings of a node are unless told otherwise.
#[pyfunction]
pub fn ring_directory(node: &str) -> PyResult<PathBuf> {
    paths::ring_directory(node).map_err(raised)
}

/// The file of a channel's ring in a directory.
#[pyfunction]
pub fn ring_path(directory: PathBuf, channel: &str) -> PyResult<PathBuf> {
    paths::ring_path(&directory, channel).map_err(raised)
}
