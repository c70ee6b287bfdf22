//! An open order, for whoever asks a matching engine.

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
    /// [`crate::OrderType`]: a stop that was executed is a limit order from then on.
    pub order_type: u8,
    /// [`crate::TimeInForce`].
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
