//! What risk tells, on channel `risk`.
//!
//! One record for each thing that operators and owners of accounts want to hear of. They are derived: from the commands of `orders` and the
//! executions risk had seen, so a replay gives the same again. `docs/risk.md` says when each comes and what `value` and `limit` are then.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::command::{codes, plain};
use crate::records::{Field, Record, Schema, field};

codes! {
    /// What risk tells of.
    RiskEventKind {
        /// A command was refused: `reason`.
        Rejected = 1 "rejected",
        /// Limits of an account are others now.
        LimitsChanged = 2 "limits_changed",
        /// An account was opened or changed.
        AccountChanged = 3 "account_changed",
        /// An instrument was listed or changed.
        InstrumentChanged = 4 "instrument_changed",
        /// Cash or holdings came in, or went out.
        Transferred = 5 "transferred",
        /// Trading of an account, or of all (account 0), is off.
        Killed = 6 "killed",
        /// And on again.
        Revived = 7 "revived",
        /// A margin account's equity is below what its positions need.
        MarginCall = 8 "margin_call",
        /// It is enough again.
        MarginRestored = 9 "margin_restored",
        /// A spot account's balance is below 0, because its fee rates were raised while it had orders.
        Deficit = 10 "deficit",
        /// The matching engine refused a definition that risk had taken: risk has the old one again.
        Reverted = 11 "reverted",
    }
}

/// Bytes of every event.
pub const RISK_EVENT_SIZE_BYTES: usize = 88;

plain! {
    /// One event.
    RiskEvent {
        /// Its own number, from 1.
        sequence: u64,
        /// Last command of `orders` that risk had judged, this one included.
        source_sequence: u64,
        /// Last execution that risk had seen, this one included.
        executions_seen: u64,
        /// Time of that command.
        ts: i64,
        /// The client's id in a refused command.
        client_order_id: [u8; 16],
        /// Which order a refused command named; 0 if none.
        order_id: u64,
        /// By kind and reason.
        value: i64,
        /// By kind and reason.
        limit: i64,
        /// Whose; 0 for all.
        account: u32,
        /// Of which instrument; 0 where it concerns none.
        instrument_id: u32,
        /// Of which asset; 0 where it concerns none.
        asset: u32,
        /// [`RiskEventKind`].
        kind: u8,
        /// [`crate::Reason`].
        reason: u8,
        /// [`crate::CommandKind`] of a refused command.
        command_kind: u8,
        /// Zero.
        reserved: [u8; 1],
    }
}

const _: () = assert!(size_of::<RiskEvent>() == RISK_EVENT_SIZE_BYTES && RISK_EVENT_SIZE_BYTES.is_multiple_of(8));

impl Record for RiskEvent {
    const SCHEMA: Schema =
        Schema { name: "risk_events", version: 1, size_bytes: RISK_EVENT_SIZE_BYTES, fields: Self::FIELDS };
}
