//! The words every other crate uses.
//!
//! Nothing here does work: fixed-point [`units`], the raw feed [`message`], the canonical [`records`] with
//! their published layouts, and the ids of [`venue`]s and instruments. Logic that needs one of these words
//! lives in the crate that owns the job.

pub mod client_order_id;
pub mod command;
pub mod execution;
pub mod hash;
pub mod matching;
pub mod message;
pub mod open_order;
pub mod payloads;
pub mod records;
pub mod risk_event;
pub mod units;
pub mod venue;

pub use client_order_id::{ClientOrderId, ClientOrderIdError};
pub use command::{Command, CommandKind, OrderType, Peg, SelfTrade, Session, TimeInForce, Verdict};
pub use execution::{Execution, ExecutionKind, Reason};
pub use hash::mix;
pub use matching::Matching;
pub use message::{MessageKind, RawMessage, RawMessageError};
pub use open_order::{OpenOrder, OpenOrderRecord};
pub use payloads::Payloads;
pub use records::{
    Bar, BookImage, ConsolidatedTop, Depth, Field, FieldKind, Health, Instrument, Order, Quote, Record, Schema, Status,
    Trade,
};
pub use risk_event::{RiskEvent, RiskEventKind};
pub use units::{DecimalError, Exponent, decimals, format_units, parse_units};
pub use venue::{InstrumentId, Venue};
