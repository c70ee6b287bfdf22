//! A matching engine, as far as whoever stands before it needs one.

use crate::{Command, Execution};

/// Commands in, executions out.
pub trait Matching {
    /// Carries out one command of `orders` and says what happened, in order.
    fn apply(&mut self, sequence: u64, command: &Command, out: &mut dyn FnMut(&Execution));
}
