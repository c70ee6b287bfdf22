//! What tests compare against: naive references that are right by being obvious, seeded generators, a faulty disk.
//!
//! Used as a dev-dependency only; nothing here is fast.

pub mod allocations;
pub mod binance;
pub mod book;
pub mod flow;
pub mod itch;
pub mod matching;
pub mod order_book;
pub mod orders;
pub mod random;
pub mod recordings;
pub mod risk;
pub mod slow;
pub mod storage;

pub use allocations::{Counted, allocations};
pub use binance::BinanceFlow;
pub use book::{DepthBookLike, NaiveDepthBook};
pub use itch::{ItchDay, ItchFlow, ItchMessage, ItchTold};
pub use order_book::{NaiveOrderBook, OrderBookLike};
pub use orders::{Command, Order, OrderFlow, OrderStore};
pub use random::Random;
pub use recordings::recording;
pub use risk::{NaiveRisk, RiskEngine};
pub use slow::{Slow, SlowDisk};
pub use storage::{Fault, MemoryStorage, Operation};
