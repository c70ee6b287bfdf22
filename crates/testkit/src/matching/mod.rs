//! What both matching engines can do, so that one suite runs on either, and the naive one.

mod audit;
mod compare;
mod flow;
mod naive;
pub mod rules;
pub mod script;

pub use audit::Audit;
pub use compare::{Difference, compare};
pub use flow::{MatchingFlow, Mix};
pub use naive::{NaiveOptions, NaiveVenue};

use tidebook_book::Side;
use tidebook_types::command::{Command, Session};
use tidebook_types::execution::Execution;

pub use tidebook_types::OpenOrder;

/// A matching engine of `docs/matching.md`.
pub trait MatchingEngine {
    /// Carries out one command, `sequence` of `orders`; its executions in order.
    fn apply(&mut self, sequence: u64, command: &Command) -> Vec<Execution>;
    /// All orders by instrument, bids before asks, those in the book by price (best first) and priority, then those that wait by id.
    fn open_orders(&self) -> Vec<OpenOrder>;
    /// Price and shown size of each level, best first.
    fn depth(&self, instrument_id: u32, side: Side) -> Vec<(i64, i64)>;
    /// The instrument's session; closed if it is unknown.
    fn session(&self, instrument_id: u32) -> Session;
}
