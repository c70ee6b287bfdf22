//! The words of the venue as data: layouts of bodies, numbers with their names, and the client's ids.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tidebook_types::command::{BandAction, CommandHead};
use tidebook_types::{
    ClientOrderId, ClientOrderIdError, Command, CommandKind, ExecutionKind, OrderType, Peg, Reason, RiskEventKind,
    SelfTrade, Session, TimeInForce, Verdict,
};

use crate::errors::{self, Fact, Raised};
use crate::schema::described;

/// Fields of a command of each kind, head and body, as (name, offset in bytes, numpy format), by the kind's word.
///
/// `reserved` of the body is left out: both parts have one.
#[pyfunction]
pub fn command_layouts(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let layouts = PyDict::new(py);
    for &kind in CommandKind::ALL {
        let mut fields: Vec<_> = CommandHead::FIELDS.iter().map(described).collect();
        let body = Command::body_fields(kind).iter().filter(|field| field.name != "reserved").map(described);
        fields.extend(body.map(|(name, offset, format)| (name, size_of::<CommandHead>() + offset, format)));
        layouts.set_item(kind.name(), fields)?;
    }
    Ok(layouts)
}

/// Word and number of everything that commands, executions and risk events number, by the name of the list.
#[pyfunction]
pub fn venue_codes(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let codes = PyDict::new(py);
    macro_rules! add {
        ($($list:ident),*) => { $(
            let words: Vec<_> = $list::ALL.iter().map(|it| (it.name(), it.code())).collect();
            codes.set_item(stringify!($list), words)?;
        )* };
    }
    add!(
        BandAction,
        CommandKind,
        ExecutionKind,
        OrderType,
        Peg,
        Reason,
        RiskEventKind,
        SelfTrade,
        Session,
        TimeInForce,
        Verdict
    );
    Ok(codes)
}

impl From<ClientOrderIdError> for Raised {
    fn from(error: ClientOrderIdError) -> Self {
        let message = error.to_string();
        Self::with_facts(errors::COMMAND, message, vec![("field", Fact::Text("client_order_id".into()))])
            .fact("value", Fact::Text(error.text))
    }
}

/// The 16 bytes of a client's id.
#[pyfunction]
pub fn client_order_id_bytes<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyBytes>> {
    let id: ClientOrderId = text.parse().map_err(Raised::from)?;
    Ok(PyBytes::new(py, &id.0))
}

/// The text of 16 bytes, `None` where no text gives them.
#[pyfunction]
pub fn client_order_id_text(id: [u8; 16]) -> Option<String> {
    ClientOrderId(id).text()
}
