//! Executions: what the matching engine says of commands, on channel `executions`.
//!
//! One record for each thing that happened, in the order it happened. They are numbered by the matching state itself, so a replay gives the
//! same numbers again; `source_sequence` and `source_index` say which command each is of. A fill is one record for both its orders.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::command::{codes, plain};
use crate::records::{Field, Record, Schema, field};

codes! {
    /// What happened.
    ExecutionKind {
        /// The order was taken: `size`, `price`; `remaining` is what the book holds of it before it matches.
        Accepted = 1 "accepted",
        /// The command was refused: `reason`. Nothing changed.
        Rejected = 2 "rejected",
        /// Two orders met: `order_id` is the aggressor (the buyer in an auction), `contra_*` the one that rested.
        Fill = 3 "fill",
        /// The order is gone: `size` of it was withdrawn, for `reason`.
        Cancelled = 4 "cancelled",
        /// The order has new terms: `price`, `size`, `remaining`.
        Replaced = 5 "replaced",
        /// Self-trade prevention took `size` of it; `remaining` stays.
        Reduced = 6 "reduced",
        /// The stop was reached by `price` and is executed now.
        Triggered = 7 "triggered",
        /// An iceberg shows its next part: `size`, behind the others.
        Refreshed = 8 "refreshed",
        /// A pegged order has another price; 0 while it waits outside of the book.
        Repriced = 9 "repriced",
        /// The instrument's session is now the number in `size`.
        SessionChanged = 10 "session_changed",
        /// Uncrossing now would give `price` and `size`.
        Indicative = 11 "indicative",
        /// The auction gave `price` and `size`.
        Uncrossed = 12 "uncrossed",
        /// A mass cancel took `size` orders.
        MassCancelled = 13 "mass_cancelled",
        /// A command that concerns no order (instrument, account, switch) was carried out.
        Done = 14 "done",
    }
}

codes! {
    /// Why.
    Reason {
        /// No reason is needed.
        None = 0 "none",
        /// No such instrument.
        Instrument = 1 "unknown_instrument",
        /// No such account.
        Account = 2 "unknown_account",
        /// A field without use here is not 0, or a number means nothing.
        Fields = 3 "fields",
        /// The order type does not go with this time in force.
        TimeInForce = 4 "time_in_force",
        /// The time of GTD has come.
        Expired = 5 "expired",
        /// No multiple of the tick.
        Tick = 6 "tick",
        /// No multiple of the lot.
        Lot = 7 "lot",
        /// Outside of the bounds of sizes.
        Size = 8 "size",
        /// Not above 0, or too large.
        Price = 9 "price",
        /// Not between 0 and the size.
        Display = 10 "display_size",
        /// No valid trigger price.
        Trigger = 11 "trigger_price",
        /// No valid offset.
        Offset = 12 "offset",
        /// No valid amount.
        Amount = 13 "amount",
        /// Not in this session.
        Session = 14 "session",
        /// It would have met an order.
        PostOnly = 15 "post_only",
        /// No room for another order.
        Full = 16 "full",
        /// No such order of this account.
        UnknownOrder = 17 "unknown_order",
        /// A leg of a pair.
        Linked = 18 "linked",
        /// Its owner, or the operator, asked.
        Requested = 19 "requested",
        /// What was not filled at once.
        Immediate = 20 "immediate",
        /// It could not be filled whole.
        FillOrKill = 21 "fill_or_kill",
        /// Nobody to meet.
        NoLiquidity = 22 "no_liquidity",
        /// The amount left pays for no lot.
        AmountLeft = 23 "amount_left",
        /// Its owner's own order.
        SelfTrade = 24 "self_trade",
        /// The price band.
        PriceBand = 25 "price_band",
        /// A mass cancel.
        MassCancel = 26 "mass_cancel",
        /// The account's session ended.
        Disconnected = 27 "disconnected",
        /// The dead man's switch.
        DeadMan = 28 "dead_man",
        /// Risk: trading is switched off.
        Killed = 29 "killed",
        /// Risk: the client's order id is in use, or was.
        Duplicate = 30 "duplicate_client_order_id",
        /// Risk: too many commands.
        Throttled = 31 "throttled",
        /// Risk: not enough to pay or to deliver.
        Balance = 32 "balance",
        /// Risk: not enough margin.
        Margin = 33 "margin",
        /// Risk: size of one order.
        OrderSize = 34 "order_size",
        /// Risk: notional of one order.
        OrderNotional = 35 "order_notional",
        /// Risk: too far from the reference.
        Collar = 36 "collar",
        /// Risk: open orders.
        OpenOrders = 37 "open_orders",
        /// Risk: position.
        Position = 38 "position",
        /// Risk: exposure.
        Exposure = 39 "exposure",
        /// Only the operator may.
        Operator = 40 "operator_only",
        /// The instrument's definition cannot change so.
        Definition = 41 "definition",
        /// It was sent longer ago than the venue takes.
        Late = 42 "late",
    }
}

/// Bytes of every execution.
pub const EXECUTION_SIZE_BYTES: usize = 128;

plain! {
    /// One execution.
    Execution {
        /// Its own number, from 1, over all instruments of one matching engine.
        sequence: u64,
        /// Which command of `orders` it is of.
        source_sequence: u64,
        /// The command's time.
        ts: i64,
        /// From 0 among those of one command.
        source_index: u32,
        /// Which instrument; 0 where it concerns none.
        instrument_id: u32,
        /// Which order: of a fill the aggressor, in an auction the buyer.
        order_id: u64,
        /// Of a fill the order that rested, in an auction the seller.
        contra_order_id: u64,
        /// Whose order.
        account: u32,
        /// Whose `contra_order_id`.
        contra_account: u32,
        /// Of the fill, or the order's.
        price: i64,
        /// What the event is about.
        size: i64,
        /// What is left of the order afterwards, hidden part included.
        remaining: i64,
        /// What of the order was filled so far.
        filled: i64,
        /// What is left of the other one.
        contra_remaining: i64,
        /// Number of the fill in its instrument, from 1.
        trade_id: u64,
        /// What the order's account pays, in quote units of 10^-`price_exp`; below 0 it receives.
        fee: i64,
        /// What the other one pays.
        contra_fee: i64,
        /// [`ExecutionKind`].
        kind: u8,
        /// [`Reason`].
        reason: u8,
        /// Side of the order; of a fill the aggressor's, 0 in an auction.
        side: i8,
        /// Kind of the command, where it was rejected.
        command_kind: u8,
        /// Zero.
        reserved: [u8; 4],
    }
}

const _: () = assert!(size_of::<Execution>() == EXECUTION_SIZE_BYTES);

impl Record for Execution {
    const SCHEMA: Schema =
        Schema { name: "executions", version: 1, size_bytes: EXECUTION_SIZE_BYTES, fields: Self::FIELDS };
}
