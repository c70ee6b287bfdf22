//! Order books in integer units.
//!
//! A book is pure state: no clock, no I/O, no floats, no hash iteration, so the same changes give the same book and
//! the same [`DepthBook::state_hash`] on every machine. Which changes may be applied, and when the result may be
//! used, is the venue's sequencing rule and belongs to the feed.

mod depth;
mod order_book;
mod side;

pub use depth::DepthBook;
pub use order_book::{Handle, OrderBook, OrderLevel, OrderLevels, Orders, Resting};
pub use side::{Level, Levels, Side};
