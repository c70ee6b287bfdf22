//! The matching engine: commands in, executions out.
//!
//! A state machine of many instruments: the same commands give the same executions, the same numbers and the same
//! [`Venue::state_hash`], live, in replay and on another machine. The rules are `docs/matching.md`, the records `docs/formats/orders.md`.

mod accounts;
mod aggress;
mod auction;
mod bands;
mod fees;
mod heap;
mod index;
mod market;
mod mass_cancel;
mod open_orders;
mod order;
mod pairs;
mod pegs;
mod replace;
mod saved;
mod self_trade;
mod sessions;
mod shards;
mod state_hash;
mod step;
mod stops;
mod validate;
mod venue;

pub use shards::ShardMerge;
pub use venue::{Venue, VenueOptions};
