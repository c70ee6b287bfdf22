//! An open order, for whoever asks a matching engine.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::command::plain;
use crate::records::{Field, Record, Schema, field};

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

/// Bytes of an open order as a record.
pub const OPEN_ORDER_SIZE_BYTES: usize = 88;

plain! {
    /// An [`OpenOrder`] as others read it.
    OpenOrderRecord {
        /// Which.
        order_id: u64,
        /// The other leg of its pair; 0 for none.
        linked_order_id: u64,
        /// Limit, or the worst price of a market order or stop, 0 for any; of a pegged order where it is in the book, 0 while it is parked.
        price: i64,
        /// Of a waiting stop; 0 for one that has none yet, and for what is none.
        trigger_price: i64,
        /// Whole: `filled` + `remaining`.
        size: i64,
        /// What was filled so far.
        filled: i64,
        /// What is left, hidden part included.
        remaining: i64,
        /// What the book shows of it; 0 while it waits.
        shown: i64,
        /// Time of GTD, else 0.
        expire_ts: i64,
        /// Whose.
        account: u32,
        /// Of which instrument.
        instrument_id: u32,
        /// `SIDE_BUY` or `SIDE_SELL`.
        side: i8,
        /// [`crate::OrderType`]: a stop that was executed is a limit order from then on.
        order_type: u8,
        /// [`crate::TimeInForce`].
        time_in_force: u8,
        /// `POST_ONLY`, `CANCEL_ON_DISCONNECT`.
        flags: u8,
        /// 1: a stop that is not executed yet, or a parked pegged order.
        waiting: u8,
        /// 1: a stop that was reached and not executed yet.
        triggered: u8,
        /// Zero.
        reserved: [u8; 2],
    }
}

const _: () = assert!(size_of::<OpenOrderRecord>() == OPEN_ORDER_SIZE_BYTES);

impl Record for OpenOrderRecord {
    const SCHEMA: Schema =
        Schema { name: "open_orders", version: 1, size_bytes: OPEN_ORDER_SIZE_BYTES, fields: Self::FIELDS };
}

impl From<&OpenOrder> for OpenOrderRecord {
    fn from(order: &OpenOrder) -> Self {
        Self {
            order_id: order.order_id,
            linked_order_id: order.linked_order_id,
            price: order.price,
            trigger_price: order.trigger_price,
            size: order.size,
            filled: order.filled,
            remaining: order.remaining,
            shown: order.shown,
            expire_ts: order.expire_ts,
            account: order.account,
            instrument_id: order.instrument_id,
            side: order.side,
            order_type: order.order_type,
            time_in_force: order.time_in_force,
            flags: order.flags,
            waiting: order.waiting.into(),
            triggered: order.triggered.into(),
            reserved: [0; 2],
        }
    }
}
