//! Engine threads: a channel in, a state machine, channels out.
//!
//! A state machine (crate `feed`) knows neither threads nor clocks nor channels; what runs it live is here. The
//! market-data engine follows each `feed.<venue>`, and `orders` of the node's own venue, first through its journal, then on its
//! ring, and publishes `md.<type>`.

mod beginning;
mod command_feed;
mod command_history;
mod confine;
mod engine;
mod error;
mod feed_history;
mod histogram;
mod huge_pages;
mod input;
mod latency;
mod local_history;
mod local_venue;
mod matching_side;
mod order_input;
mod outcome;
mod output;
mod overtaken;
mod positions;
mod release;
mod retelling;
mod risk_side;
mod room;
mod turns;
mod venue_clock;
mod venue_engine;
mod venue_in_turns;
mod venue_loops;
mod venue_names;
mod venue_opening;
mod venue_options;
mod venue_recovery;
mod venue_shards;
mod venue_sizes;
mod venue_status;
mod venue_threads;
mod whose;

pub use beginning::{Beginning, snapshots_path, usable_snapshots};
pub use confine::Confinement;
pub use engine::{EngineOptions, EngineStatus, FeedSource, FeedStatus, MarketDataEngine, TakenUp, VenueSource};
pub use error::PlaneError;
pub use feed_history::{FeedHistory, SavedFeed};
pub use histogram::{Histogram, HistogramSnapshot};
pub use latency::LatencyStage;
pub use local_history::{LocalHistory, MARKET_DATA, market_data_snapshots_path, usable_market_data_snapshots};
pub use local_venue::{Happened, LocalVenue, LocalVenueError, LocalVenueOptions, NO_PRICE};
pub use outcome::Outcome;
pub use output::{CHANNELS, MarketDataChannels};
pub use risk_side::VenueTime;
pub use room::{NoRoom, check_room};
pub use turns::EngineThread;
pub use venue_engine::VenueEngine;
pub use venue_options::{VenueDurability, VenueEngineOptions, VenueLayout, VenueRings};
pub use venue_recovery::{new_venue, usable_venue_snapshots, venue_snapshots_path};
pub use venue_sizes::{VenueSizes, VenueSizesError};
pub use venue_status::{VenueBeginning, VenueStage, VenueStatus, VenueStopped};
