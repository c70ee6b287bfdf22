//! How many commands a second one core matches, and what one takes, on streams that are known beforehand.
//!
//! `cargo run --release -p tidebook-venue --example matching -- measure STREAM COMMANDS ROUNDS`: one line of JSON for each round;
//! `... -- write STREAM COMMANDS FILE` gives the same stream to another engine (the layout: `tidebook_testkit::flow::Flow::write`).
//! STREAM is `exchange-core-1k`, `exchange-core-1m`, or a regime: `static`, `normal`, `swing-25`, `swing-40`, `flash-crash`.
//!
//! Commands lie in memory before the clock starts and executions go to a buffer that was taken before. Each round begins with an empty
//! venue and goes over the stream three times: once to see that what trades is what must, which also warms the venue up, once for the rate, once
//! with a look at the clock around each command, which costs about as much as the clock does and is in these figures.

#![allow(clippy::float_arithmetic, reason = "it measures")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use tidebook_testkit::flow::{ExchangeCoreOptions, Flow, Regime, TradeHash, order_of};
use tidebook_testkit::{Counted, allocations};
use tidebook_types::{Command, Execution, ExecutionKind};
use tidebook_venue::{Venue, VenueOptions};

/// Executions are written over each other in a buffer of so many: what reads them is not part of this.
const BUFFER: usize = 1 << 14;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (stream, count) = match words[..] {
        [_, stream, count, _] => (stream, count.parse().expect("how many commands")),
        _ => panic!("measure STREAM COMMANDS ROUNDS, or write STREAM COMMANDS FILE"),
    };
    let flow = flow(stream, count);
    match (words[0], words[3]) {
        ("write", path) => {
            let mut file = BufWriter::new(File::create(path).expect("a file"));
            flow.write(&mut file).and_then(|()| file.flush()).expect("room on the disk");
            let TradeHash { count, hash } = flow.trades;
            println!(r#"{{"commands":{},"trades":{count},"trade_hash":"{hash:016x}"}}"#, flow.commands.len());
        }
        ("measure", rounds) => {
            let run = Run::new(&flow);
            for _ in 0..rounds.parse().expect("how many rounds") {
                println!("{}", run.measure());
            }
        }
        (other, _) => panic!("no way to {other}"),
    }
}

/// The stream with this name, of so many commands or, in a regime, about so many.
pub fn flow(name: &str, commands: u32) -> Flow {
    let regime = |regime| Flow::regime(regime, commands / 2);
    match name {
        "exchange-core-1k" => Flow::exchange_core(ExchangeCoreOptions::module(1_000), commands),
        "exchange-core-1m" => Flow::exchange_core(ExchangeCoreOptions::module(1_000_000), commands),
        "static" => regime(Regime::Static),
        "normal" => regime(Regime::Normal),
        "swing-25" => regime(Regime::Swing25),
        "swing-40" => regime(Regime::Swing40),
        "flash-crash" => regime(Regime::FlashCrash),
        other => panic!("no stream is called {other}"),
    }
}

/// What one round gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Commands behind those that fill the book.
    pub commands: usize,
    /// Of them, in one go.
    pub per_s: f64,
    /// What one takes: p50, p99, p99.9.
    pub took_ns: [u64; 3],
    /// What an empty measurement takes.
    pub clock_ns: u64,
    /// Executions of all commands.
    pub executions: u64,
    /// What traded.
    pub trades: TradeHash,
    /// Allocations in the go that gave the rate.
    pub allocations: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { commands, per_s, took_ns: [p50, p99, p999], clock_ns, executions, trades, allocations } = self;
        let TradeHash { count, hash } = trades;
        write!(
            f,
            r#"{{"commands":{commands},"per_s":{per_s:.0},"p50_ns":{p50},"p99_ns":{p99},"p999_ns":{p999},"clock_ns":{clock_ns},"#
        )?;
        write!(
            f,
            r#""executions":{executions},"trades":{count},"trade_hash":"{hash:016x}","allocations":{allocations}}}"#
        )
    }
}

/// A stream as commands to a venue.
pub struct Run {
    options: VenueOptions,
    setup: Vec<Command>,
    filling: Vec<Command>,
    commands: Vec<Command>,
    trades: TradeHash,
}

impl Run {
    /// Of this stream.
    pub fn new(flow: &Flow) -> Self {
        let setup = flow.setup();
        let mut filling: Vec<Command> = flow.commands(setup.len() as u64 + 1).collect();
        let commands = filling.split_off(flow.filling);
        let options =
            VenueOptions { orders_max: flow.filling as u32 + 60_000, instruments_max: 1, accounts_max: flow.accounts };
        Self { options, setup, filling, commands, trades: flow.trades }
    }

    /// One round.
    ///
    /// # Panics
    /// When something else trades than what must.
    pub fn measure(&self) -> Figures {
        let (trades, executions) = self.check();
        assert_eq!(trades, self.trades, "something else traded");
        let (per_s, allocations) = self.rate();
        let (took_ns, clock_ns) = self.latency();
        Figures { commands: self.commands.len(), per_s, took_ns, clock_ns, executions, trades, allocations }
    }

    /// A venue with its book filled, and the sequence of the next command.
    fn filled(&self, out: &mut impl FnMut(&Execution)) -> (Venue, u64) {
        let mut venue = Venue::new(self.options);
        let mut sequence = 0;
        for command in self.setup.iter().chain(&self.filling) {
            sequence += 1;
            venue.apply(sequence, command, out);
        }
        (venue, sequence + 1)
    }

    fn check(&self) -> (TradeHash, u64) {
        let first = self.setup.len() as u64 + 1;
        let mut trades = TradeHash::default();
        let mut executions = 0;
        let mut tell = |execution: &Execution| {
            executions += 1;
            if execution.kind == ExecutionKind::Fill.code() {
                let [resting, aggressor] =
                    [execution.contra_order_id, execution.order_id].map(|order_id| order_of(order_id, first));
                trades.add(resting, aggressor, execution.price, execution.size);
            }
        };
        let (mut venue, sequence) = self.filled(&mut tell);
        for (sequence, command) in (sequence..).zip(&self.commands) {
            venue.apply(sequence, command, &mut tell);
        }
        (trades, executions)
    }

    fn rate(&self) -> (f64, u64) {
        let mut buffer = vec![Execution::default(); BUFFER];
        let mut at = 0;
        let mut tell = |execution: &Execution| {
            buffer[at % BUFFER] = *execution;
            at += 1;
        };
        let (mut venue, sequence) = self.filled(&mut tell);
        let start = Instant::now();
        let allocations = allocations(|| {
            for (sequence, command) in (sequence..).zip(&self.commands) {
                venue.apply(sequence, command, &mut tell);
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        std::hint::black_box(&buffer);
        (self.commands.len() as f64 / seconds, allocations)
    }

    fn latency(&self) -> ([u64; 3], u64) {
        let mut buffer = vec![Execution::default(); BUFFER];
        let mut at = 0;
        let mut tell = |execution: &Execution| {
            buffer[at % BUFFER] = *execution;
            at += 1;
        };
        let (mut venue, sequence) = self.filled(&mut tell);
        let mut took: Vec<u32> = Vec::with_capacity(self.commands.len());
        for (sequence, command) in (sequence..).zip(&self.commands) {
            let start = Instant::now();
            venue.apply(sequence, command, &mut tell);
            took.push(start.elapsed().as_nanos() as u32);
        }
        std::hint::black_box(&buffer);
        took.sort_unstable();
        let mut nothing: Vec<u32> = (0..1_001).map(|_| Instant::now().elapsed().as_nanos() as u32).collect();
        nothing.sort_unstable();
        let share = |share: f64| u64::from(took[((took.len() - 1) as f64 * share) as usize]);
        ([share(0.5), share(0.99), share(0.999)], u64::from(nothing[500]))
    }
}
