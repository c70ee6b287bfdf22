//! Record layouts as data: what numpy needs to read a ring or a batch without code of ours.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use tidebook_types::records::{SCHEMAS, VENUE_SCHEMAS};
use tidebook_types::{Field, FieldKind};

/// The published layout of one record type.
#[pyclass(frozen, module = "tidebook._core")]
pub struct Schema(tidebook_types::Schema);

/// numpy's format of a field: `<i8`, or `(25,)<i8` for an array.
fn format(field: &Field) -> String {
    let scalar = match field.kind {
        FieldKind::I8 => "i1",
        FieldKind::U8 => "u1",
        FieldKind::I32 => "<i4",
        FieldKind::U32 => "<u4",
        FieldKind::U64 => "<u8",
        FieldKind::I64 => "<i8",
    };
    if field.count == 1 { scalar.to_owned() } else { format!("({},){scalar}", field.count) }
}

/// A field as (name, offset in bytes, numpy format).
pub fn described(field: &Field) -> (&'static str, usize, String) {
    (field.name, field.offset, format(field))
}

/// All that are published.
fn published() -> impl Iterator<Item = tidebook_types::Schema> {
    SCHEMAS.into_iter().chain(VENUE_SCHEMAS)
}

/// dtypes already built, in the order of `published`: building one costs as much as decoding a dozen messages.
static DTYPES: [PyOnceLock<Py<PyAny>>; SCHEMAS.len() + VENUE_SCHEMAS.len()] =
    [const { PyOnceLock::new() }; SCHEMAS.len() + VENUE_SCHEMAS.len()];

impl Schema {
    /// The face of a published layout.
    pub const fn of(schema: tidebook_types::Schema) -> Self {
        Self(schema)
    }

    fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let description = PyDict::new(py);
        let fields = self.0.fields;
        description.set_item("names", fields.iter().map(|field| field.name).collect::<Vec<_>>())?;
        description.set_item("formats", fields.iter().map(format).collect::<Vec<_>>())?;
        description.set_item("offsets", fields.iter().map(|field| field.offset).collect::<Vec<_>>())?;
        description.set_item("itemsize", self.0.size_bytes)?;
        py.import("numpy")?.call_method1("dtype", (description,))
    }
}

#[pymethods]
impl Schema {
    /// The record's name; of market data also the last word of its channel.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name
    }

    /// Rises with each change of the fields.
    #[getter]
    fn version(&self) -> u32 {
        self.0.version
    }

    /// Bytes of one record.
    #[getter]
    fn size_bytes(&self) -> usize {
        self.0.size_bytes
    }

    /// Fields in order as (name, offset in bytes, numpy format).
    #[getter]
    fn fields(&self) -> Vec<(&'static str, usize, String)> {
        self.0.fields.iter().map(described).collect()
    }

    /// The numpy dtype of one record; numpy is imported by the first call.
    pub fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match published().position(|schema| schema == self.0) {
            Some(place) => {
                let dtype = DTYPES[place].get_or_try_init(py, || self.build(py).map(Bound::unbind))?;
                Ok(dtype.bind(py).clone())
            }
            None => self.build(py),
        }
    }

    fn __repr__(&self) -> String {
        format!("Schema({:?}, version {}, {} bytes)", self.0.name, self.0.version, self.0.size_bytes)
    }
}

/// Layout of every record type, by name, in the order of their first use.
#[pyfunction]
pub fn schemas(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let by_name = PyDict::new(py);
    for schema in published() {
        by_name.set_item(schema.name, Schema(schema))?;
    }
    Ok(by_name)
}
