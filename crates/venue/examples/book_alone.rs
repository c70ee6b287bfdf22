//! The order book without the venue around it: what other engines are that know no accounts, fees, sessions or stops.
//!
//! `cargo run --release -p tidebook-venue --example book_alone -- FILE` reads a stream that `matching write` wrote and prints one line of JSON, as
//! the peers of `benches/matching.py` do: a first pass sees what trades, a second has the clock.

#![allow(clippy::float_arithmetic, reason = "it measures")]

use std::time::Instant;

use tidebook_book::{OrderBook, Resting, Side};
use tidebook_testkit::flow::{Flow, FlowCommand, FlowKind, TradeHash};

/// Reports are written over each other in a buffer of so many.
const BUFFER: usize = 1 << 14;

fn main() {
    let path = std::env::args().nth(1).expect("a stream");
    let (filling, commands) = Flow::read(&std::fs::read(path).expect("a stream")).expect("a stream");
    println!("{}", measure(filling, &commands));
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Commands behind those that fill the book.
    pub commands: usize,
    /// Of them.
    pub per_s: f64,
    /// What traded.
    pub trades: TradeHash,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { commands, per_s, trades: TradeHash { count, hash } } = self;
        write!(f, r#"{{"commands":{commands},"per_s":{per_s:.0},"trades":{count},"trade_hash":"{hash:016x}"}}"#)
    }
}

/// Two passes over the stream.
pub fn measure(filling: usize, commands: &[FlowCommand]) -> Figures {
    let mut trades = TradeHash::default();
    let mut tell = |report: &Report| {
        if report.contra != 0 {
            trades.add(report.contra, report.order, report.price, report.size);
        }
    };
    let mut matcher = Matcher::default();
    commands.iter().for_each(|command| matcher.apply(command, &mut tell));

    let mut buffer = vec![Report::default(); BUFFER];
    let mut at = 0;
    let mut tell = |report: &Report| {
        buffer[at % BUFFER] = *report;
        at += 1;
    };
    let mut matcher = Matcher::default();
    let (fill, timed) = commands.split_at(filling);
    fill.iter().for_each(|command| matcher.apply(command, &mut tell));
    let start = Instant::now();
    timed.iter().for_each(|command| matcher.apply(command, &mut tell));
    let per_s = timed.len() as f64 / start.elapsed().as_secs_f64();
    std::hint::black_box(&buffer);
    Figures { commands: timed.len(), per_s, trades }
}

/// A command that came, or a fill: a cache line, as the peers have.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Report {
    order: u32,
    /// 0 where it is no fill.
    contra: u32,
    price: i64,
    size: i64,
}

struct Matcher(OrderBook);

impl Default for Matcher {
    fn default() -> Self {
        Self(OrderBook::with_tick(1))
    }
}

impl Matcher {
    fn apply(&mut self, command: &FlowCommand, tell: &mut impl FnMut(&Report)) {
        let FlowCommand { kind, sells, order, price, size, .. } = *command;
        let side = if sells { Side::Ask } else { Side::Bid };
        tell(&Report { order, price, size, ..Report::default() });
        match kind {
            FlowKind::Gtc => {
                let left = self.take(side, order, price, size, tell);
                self.rest(side, order, price, left);
            }
            FlowKind::Fok if !self.has(side, price, size) => {}
            FlowKind::Ioc | FlowKind::Fok => {
                self.take(side, order, price, size, tell);
            }
            FlowKind::Cancel => {
                self.0.remove_id(order.into());
            }
            FlowKind::Replace => {
                let Some(handle) = self.0.find(order.into()) else { return };
                let resting = *self.0.get(handle);
                if resting.price == price && command.left <= resting.shown {
                    self.0.resize(handle, command.left, 0);
                } else if self.meets(resting.side, price) {
                    self.0.remove(handle);
                    let left = self.take(resting.side, order, price, command.left, tell);
                    self.rest(resting.side, order, price, left);
                } else {
                    self.0.relocate(handle, price, command.left, 0);
                }
            }
        }
    }

    /// Whether an order would trade.
    fn meets(&self, side: Side, limit: i64) -> bool {
        self.0.best(side.opposite()).is_some_and(|best| side.takes(limit, best))
    }

    /// What is left.
    fn take(&mut self, side: Side, order: u32, limit: i64, size: i64, tell: &mut impl FnMut(&Report)) -> i64 {
        let mut left = size;
        while left > 0 && self.meets(side, limit) {
            let Some(handle) = self.0.first(side.opposite()) else { break };
            let Resting { id, price, shown, .. } = *self.0.get(handle);
            let size = left.min(shown);
            left -= size;
            self.0.fill(handle, size);
            tell(&Report { order, contra: id as u32, price, size });
        }
        left
    }

    fn rest(&mut self, side: Side, order: u32, price: i64, size: i64) {
        if size > 0 {
            self.0.insert(Resting { id: order.into(), price, shown: size, hidden: 0, side });
        }
    }

    fn has(&self, side: Side, limit: i64, size: i64) -> bool {
        let mut left = size;
        let reached = self.0.levels(side.opposite()).take_while(|level| side.takes(limit, level.price));
        reached.map(|level| level.shown).any(|shown| {
            left -= shown;
            left <= 0
        })
    }
}
