//! Checks before matching: which commands are carried out, what an order may cost, what accounts have.
//!
//! [`Risk`] is pure state: no clock, no I/O, no floats, no order of hash tables, so the same commands and executions give the same verdicts
//! and the same [`Risk::state_hash`] on every machine. The rules are in `docs/risk.md`.

mod check;
mod client_ids;
mod commit;
mod entries;
mod executions;
mod ledger;
mod margin;
mod plain;
mod portfolio;
mod reckon;
mod replay;
mod risk;
mod shortfall;
mod table;
mod throttle;

pub use ledger::{LEDGER_EXP, LEDGER_MAX};
pub use margin::Margin;
pub use portfolio::{Balance, Fraction, Holding, Portfolio};
pub use replay::{Difference, Replay, Told, saved_matching};
pub use risk::{Decided, Risk, RiskOptions};
pub use shortfall::Shortfall;
pub use tidebook_types::Matching;
