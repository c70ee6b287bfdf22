//! What tests compare against: naive references that are right by being obvious, and seeded generators.
//!
//! Used as a dev-dependency only; nothing here is fast.

pub mod book;
pub mod random;
pub mod recordings;

pub use book::{DepthBookLike, NaiveDepthBook};
pub use random::Random;
pub use recordings::recording;
