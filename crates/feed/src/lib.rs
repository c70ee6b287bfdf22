//! Venue bytes in, canonical records out.
//!
//! [`capture`] reads and writes recordings; [`FeedEngine`] decodes messages, keeps books by the venue's own sequencing
//! rule, verifies what can be verified ([`Oracle`]) and writes records to a [`RecordSink`]. What each check can and
//! cannot find is told in `docs/feeds.md`, what the records mean in `docs/formats/records.md`.

mod bars;
mod binance;
mod bitstamp;
pub mod capture;
mod coinbase;
mod connections;
mod consolidated;
mod decimal;
mod engine;
mod exponents;
mod failure;
mod feed_state;
mod health;
mod itch;
mod kraken;
mod kraken_v1;
mod lobster;
mod local;
mod market;
mod oracles;
mod orders;
mod saved;
pub mod scan;
mod sink;
mod state_hash;
mod status;
mod time;
mod trades;

pub use bars::INTERVALS_S as BAR_INTERVALS_S;
pub use consolidated::{Consolidator, SILENCE_NS};
pub use engine::{BAR_DELAY_NS, BookView, Counters, FeedEngine, FeedOptions, Quarantined};
pub use feed_state::{FeedState, LoadError, STATE_VERSION, state_number};
pub use local::LocalEvent;
pub use oracles::{Oracle, Oracles, Tally};
pub use saved::SavedError;
pub use sink::{RecordBatch, RecordSink, Stage};
pub use status::StatusKind;
