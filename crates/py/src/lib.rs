//! The module `tidebook._core`: PyO3 and nothing else.
//!
//! It converts arguments, releases the GIL, calls one core function and maps the error ([`errors`]). An `if` about
//! the domain belongs into the crate below. One file per class; this file only registers them. The typed face with
//! the documentation for callers is `python/tidebook/_core.pyi`; `make lint` compares the two.

mod blocking;
mod bytes;
mod checkpoints;
mod decoder;
mod depth_book;
mod digest;
mod durable_channel;
mod engine;
mod errors;
mod feed_channel;
mod journal;
mod journal_repair;
mod measure;
mod owned_channel;
mod payloads;
mod portfolio;
mod processor;
mod recording;
mod records;
mod ring;
mod ring_alarm;
mod ring_batch;
mod ring_claim;
mod ring_consumer;
mod ring_errors;
mod ring_producer;
mod ring_status;
mod ring_view;
mod schema;
mod snapshots;
mod units;
mod venue;
mod venue_engine;
mod venue_words;
mod venues;

use pyo3::prelude::*;

/// The compiled core of Tidebook. Private: Python re-exports what is public.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::checkpoints::CheckpointStore;
    #[pymodule_export]
    use super::decoder::{FeedDecoder, usable_feed_snapshots};
    #[pymodule_export]
    use super::depth_book::DepthBook;
    #[pymodule_export]
    use super::digest::{blake3_of_bytes, blake3_of_file};
    #[pymodule_export]
    use super::durable_channel::DurableChannel;
    #[pymodule_export]
    use super::engine::MarketDataEngine;
    #[pymodule_export]
    use super::errors::error_classes;
    #[pymodule_export]
    use super::feed_channel::FeedChannel;
    #[pymodule_export]
    use super::journal::{
        BatchFinder, JournalReader, JournalWriter, compact_journal, inspect_journal, journal_configurations,
        journal_durable_end, journal_first_to_keep, journal_keep_rule, journal_layouts, journal_stats, verify_journal,
    };
    #[pymodule_export]
    use super::journal_repair::{
        adopt_journal, cut_journal, damaged_journal_id, examine_journal, mark_journal_put_back, restore_journal,
    };
    #[pymodule_export]
    use super::measure::{measure_drain, measure_echo, measure_hand_over, measure_stream};
    #[pymodule_export]
    use super::payloads::{Payloads, pack_message, unpack_message};
    #[pymodule_export]
    use super::portfolio::Portfolio;
    #[pymodule_export]
    use super::recording::{Recording, RecordingWriter};
    #[pymodule_export]
    use super::records::RecordBuffer;
    #[pymodule_export]
    use super::ring::{Ring, pin_calling_thread, ring_directory, ring_path};
    #[pymodule_export]
    use super::ring_alarm::RingAlarm;
    #[pymodule_export]
    use super::ring_batch::RingBatch;
    #[pymodule_export]
    use super::ring_claim::RingClaim;
    #[pymodule_export]
    use super::ring_consumer::{Gap, RingConsumer};
    #[pymodule_export]
    use super::ring_producer::{Full, RingProducer};
    #[pymodule_export]
    use super::ring_view::{Damage, RingVerifier, RingView, RingWalker, Seen};
    #[pymodule_export]
    use super::schema::{Schema, schemas};
    #[pymodule_export]
    use super::snapshots::{
        Follower, SnapshotStore, recover_state, snapshot_is_of_history, usable_market_data_snapshots,
        usable_venue_snapshots,
    };
    #[pymodule_export]
    use super::units::{format_units, parse_units};
    #[pymodule_export]
    use super::venue::{CommandOutcome, Venue, VenueState};
    #[pymodule_export]
    use super::venue_engine::{VenueEngine, venue_sizes};
    #[pymodule_export]
    use super::venue_words::{client_order_id_bytes, client_order_id_text, command_layouts, venue_codes};
    #[pymodule_export]
    use super::venues::{instrument_name, venues};
    #[pymodule_export]
    use super::{profile, version};

    #[pymodule_init]
    fn init(_module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        super::processor::check()
    }
}

/// Version of the workspace this module was built from.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Whether the compiler optimised all of this module: what was measured with a core that it did not says nothing.
#[pyfunction]
fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}
