//! The venue as the engine that the suites of `tidebook_testkit::matching` run on.

use tidebook_book::Side;
use tidebook_testkit::matching::{MatchingEngine, NaiveOptions, OpenOrder};
use tidebook_types::{Command, Execution, Session};
use tidebook_venue::{Venue, VenueOptions};

/// After each command the hash kept up to date is compared with the one of the whole state.
pub struct Engine {
    pub venue: Venue,
    pub checks_hash: bool,
}

impl Engine {
    pub fn new(options: NaiveOptions) -> Self {
        let NaiveOptions { orders_max, instruments_max, accounts_max } = options;
        Self { venue: Venue::new(VenueOptions { orders_max, instruments_max, accounts_max }), checks_hash: true }
    }
}

impl MatchingEngine for Engine {
    fn apply(&mut self, sequence: u64, command: &Command) -> Vec<Execution> {
        let mut executions = Vec::new();
        self.venue.apply(sequence, command, &mut |execution| executions.push(*execution));
        if self.checks_hash {
            assert_eq!(self.venue.state_hash(), self.venue.recomputed_state_hash(), "after {command:?}");
        }
        executions
    }

    fn open_orders(&self) -> Vec<OpenOrder> {
        self.venue.open_orders()
    }

    fn depth(&self, instrument_id: u32, side: Side) -> Vec<(i64, i64)> {
        self.venue.depth(instrument_id, side).collect()
    }

    fn session(&self, instrument_id: u32) -> Session {
        self.venue.session(instrument_id)
    }
}
