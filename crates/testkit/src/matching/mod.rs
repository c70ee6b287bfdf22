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

/// An order that has not ended: in the book, or waiting beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OpenOrder {
    /// Which.
    pub order_id: u64,
    /// Whose.
    pub account: u32,
    /// Of which instrument.
    pub instrument_id: u32,
    /// `SIDE_BUY` or `SIDE_SELL`.
    pub side: i8,
    /// [`tidebook_types::OrderType`]: a stop that was executed is a limit order from then on.
    pub order_type: u8,
    /// [`tidebook_types::TimeInForce`].
    pub time_in_force: u8,
    /// `POST_ONLY`, `CANCEL_ON_DISCONNECT`.
    pub flags: u8,
    /// Limit, or the worst price of a market order or stop, 0 for any; of a pegged order where it is in the book, 0 while it is parked.
    pub price: i64,
    /// Of a waiting stop; 0 for one that has none yet, and for what is none.
    pub trigger_price: i64,
    /// Whole: `filled` + `remaining`.
    pub size: i64,
    /// What was filled so far.
    pub filled: i64,
    /// What is left, hidden part included.
    pub remaining: i64,
    /// What the book shows of it; 0 while it waits.
    pub shown: i64,
    /// Time of GTD, else 0.
    pub expire_ts: i64,
    /// The other leg of its pair; 0 for none.
    pub linked_order_id: u64,
    /// A stop that is not executed yet, or a parked pegged order.
    pub waiting: bool,
    /// A stop that was reached and not executed yet.
    pub triggered: bool,
}

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
