//! What a venue is started with.

use std::path::PathBuf;
use std::time::Duration;

use tidebook_ring::Wait;
use tidebook_ring::tuning::MemoryTuning;

use crate::confine::Confinement;
use crate::risk_side::VenueTime;
use crate::venue_sizes::VenueSizes;

/// What of a venue lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VenueDurability {
    /// `orders` is journaled with group commit; what came of a command is published when it is synced.
    #[default]
    Wal,
    /// Nothing: every start begins a new venue. For measurements and simulations.
    Memory,
}

/// Which threads a venue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VenueLayout {
    /// One for risk and matching.
    Fused,
    /// One for risk, matching and the market data engine that is started with [`crate::EngineOptions::thread`], by turns: for two to four
    /// cores, of which it leaves all others to strategies.
    Together,
    /// One each; with several shards one for each of them, and one more that puts in order what they say.
    Split,
}

impl VenueLayout {
    /// Its threads with so many shards, the journal's left out.
    pub const fn threads(self, shards: u32) -> usize {
        match self {
            Self::Fused | Self::Together => 1,
            Self::Split if shards > 1 => shards as usize + 2,
            Self::Split => 2,
        }
    }
}

/// Shards at most.
pub(crate) const SHARDS_MAX: u32 = 16;

/// Slots of the rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueRings {
    /// Of `orders.in`: as much as clients may be ahead.
    pub orders_in: u64,
    /// Of `orders`.
    pub orders: u64,
    /// Of `executions`.
    pub executions: u64,
    /// Of `risk`.
    pub risk: u64,
}

impl Default for VenueRings {
    fn default() -> Self {
        Self { orders_in: 1 << 13, orders: 1 << 14, executions: 1 << 15, risk: 1 << 12 }
    }
}

/// What a venue is started with.
#[derive(Debug, Clone)]
pub struct VenueEngineOptions {
    /// Directory of the rings.
    pub rings_dir: PathBuf,
    /// Directory of the journal of `orders`.
    pub journal_dir: PathBuf,
    /// Directory of the snapshots of all states, see [`venue_snapshots_path`]; without it a start replays the whole journal.
    pub snapshots_dir: Option<PathBuf>,
    /// See [`VenueDurability`].
    pub durability: VenueDurability,
    /// `None`: [`VenueLayout::Split`] where the machine has four cores or more, or there are several shards.
    pub layout: Option<VenueLayout>,
    /// Threads that match, 1 to 16: each has the instruments whose number divided by this leaves its own. More than one need
    /// [`VenueLayout::Split`]. What is published, journaled and saved is the same for any number.
    pub shards: u32,
    /// How the threads wait. [`Wait::Spin`] is [`Wait::Hybrid`] where the machine has less than two cores more than threads. Together with
    /// others in one thread, that thread waits as the most eager of them would, and looks some time before it sleeps.
    pub wait: Wait,
    /// Of a venue that begins; one that is there keeps its own.
    pub sizes: VenueSizes,
    /// Slots of the rings.
    pub rings: VenueRings,
    /// Judge every command that is replayed again, and refuse to start if one differs.
    pub recheck: bool,
    /// Whose time commands have.
    pub time: VenueTime,
    /// A place, pair or replace that was sent longer ago, by what its sender says, is refused as late: whoever sent it has given up on it,
    /// above all where no engine ran meanwhile. `None`: none is too old.
    pub age_max: Option<Duration>,
    /// A timer this long after the last command, besides those that something is due for.
    pub timer_interval: Option<Duration>,
    /// A timer also where a bar with a fill has ended: five behind the last fill, the latest a day later. Market data closes bars by commands.
    pub closes_bars: bool,
    /// Bytes of a segment of the journal.
    pub segment_size_bytes: u64,
    /// One command in this many is timed at every [`VenueStage`]; 0: none.
    pub stages_every: u32,
    /// CPUs of the threads: risk, matching (each shard), what puts shards in order.
    pub cpus: Vec<u32>,
    /// What to ask for the memory of the rings.
    pub memory: MemoryTuning,
    /// What the threads may ask the kernel for.
    pub confinement: Confinement,
}

impl VenueEngineOptions {
    /// Durable, as many threads as the machine has room for, parked when there is nothing to do.
    pub fn new(rings_dir: PathBuf, journal_dir: PathBuf) -> Self {
        Self {
            rings_dir,
            journal_dir,
            snapshots_dir: None,
            durability: VenueDurability::default(),
            layout: None,
            shards: 1,
            wait: Wait::Park,
            sizes: VenueSizes::default(),
            rings: VenueRings::default(),
            recheck: false,
            time: VenueTime::default(),
            age_max: None,
            timer_interval: None,
            closes_bars: false,
            segment_size_bytes: 64 << 20,
            stages_every: 32,
            cpus: Vec::new(),
            memory: MemoryTuning::default(),
            confinement: Confinement::Off,
        }
    }
}
