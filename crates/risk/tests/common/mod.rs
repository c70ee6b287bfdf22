//! Both implementations behind one face, and a desk on which commands are judged, matched and answered.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod shop;

use std::collections::VecDeque;

use tidebook_risk::{Matching, Risk, RiskOptions};
use tidebook_testkit::RiskEngine;
use tidebook_testkit::matching::{MatchingEngine, NaiveOptions, NaiveVenue};
use tidebook_types::{Command, Execution, RiskEvent, Verdict};

/// The fast one.
#[derive(Clone)]
pub struct Fast(pub Risk);

impl RiskEngine for Fast {
    fn judge(&mut self, sequence: u64, command: &mut Command) -> Verdict {
        self.0.judge(sequence, command)
    }
    fn on_execution(&mut self, execution: &Execution) {
        self.0.on_execution(execution);
    }
    fn events(&self) -> Vec<RiskEvent> {
        self.0.events().to_vec()
    }
    fn follow_up(&self) -> Option<Command> {
        self.0.follow_up()
    }
    fn available(&self, account: u32, asset: u32) -> i128 {
        self.0.available(account, asset)
    }
    fn open_sizes(&self, account: u32, instrument_id: u32) -> (i128, i128) {
        self.0.open_sizes(account, instrument_id)
    }
}

/// Ids of ended orders that tests remember of each account.
pub const ENDED_IDS_MAX: u32 = 8;

pub fn options() -> RiskOptions {
    RiskOptions { orders_max: 1 << 16, accounts_max: 64, instruments_max: 16, ended_ids_max: ENDED_IDS_MAX }
}

/// The naive venue as risk wants one.
pub struct Naive(pub NaiveVenue);

impl Naive {
    pub fn new() -> Self {
        Self(NaiveVenue::new(NaiveOptions::default()))
    }
}

impl Matching for Naive {
    fn apply(&mut self, sequence: u64, command: &Command, out: &mut dyn FnMut(&Execution)) {
        self.0.apply(sequence, command).iter().for_each(out);
    }
}

/// Risk and a venue, with executions on their way between them.
pub struct Desk<R> {
    pub risk: R,
    pub venue: NaiveVenue,
    pub sequence: u64,
    pub on_the_way: VecDeque<Execution>,
    /// As journaled.
    pub orders: Vec<Command>,
    pub events: Vec<RiskEvent>,
}

impl<R: RiskEngine> Desk<R> {
    pub fn new(risk: R) -> Self {
        Self {
            risk,
            venue: NaiveVenue::new(NaiveOptions::default()),
            sequence: 0,
            on_the_way: VecDeque::new(),
            orders: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Judges one command and lets the venue carry it out; its executions stay on the way.
    pub fn send(&mut self, command: Command) -> Command {
        let mut command = command;
        self.sequence += 1;
        self.risk.judge(self.sequence, &mut command);
        self.events.extend(self.risk.events());
        self.orders.push(command);
        self.on_the_way.extend(self.venue.apply(self.sequence, &command));
        command
    }

    /// Shows risk so many of the executions on the way.
    pub fn show(&mut self, count: usize) -> Vec<Execution> {
        let shown: Vec<_> = self.on_the_way.drain(..count.min(self.on_the_way.len())).collect();
        for execution in &shown {
            self.risk.on_execution(execution);
            self.events.extend(self.risk.events());
        }
        shown
    }
}
