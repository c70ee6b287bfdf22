//! Streams of orders to measure matching with, which are the same on every machine.
//!
//! [`ExchangeCoreFlow`] is what exchange-core measures itself with; [`Regime`]s are five markets from one that stands still to one that crashes
//! again and again. Both say what they want in [`FlowCommand`]s, which any order book can carry out: ours after [`Flow::commands`], one in another
//! language from the records of [`Flow::write`]. What must trade is known beforehand, so that who matches otherwise is found out.

mod book;
mod exchange_core;
mod java_random;
mod regimes;

use std::io::{self, Write};

use tidebook_types::command::{AccountBody, CancelBody, InstrumentBody, PlaceBody, ReplaceBody, SessionBody};
use tidebook_types::records::{SIDE_BUY, SIDE_SELL};
use tidebook_types::{Command, CommandKind, OrderType, Session, TimeInForce, Verdict};

pub use exchange_core::{ExchangeCoreCommand, ExchangeCoreFlow, ExchangeCoreKind, ExchangeCoreOptions};
pub use regimes::{Regime, RegimeFlow};

/// What a command of a stream asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowKind {
    /// A limit order that rests.
    Gtc = 1,
    /// A limit order of which nothing rests.
    Ioc = 2,
    /// A limit order, whole at once or not at all.
    Fok = 3,
    /// An order away, which may be gone already.
    Cancel = 4,
    /// An order to another price or size, which may be gone already. Only one of a smaller size at its price keeps its place.
    Replace = 5,
}

/// One command of a stream. What it has no use for is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowCommand {
    /// What it asks for.
    pub kind: FlowKind,
    /// Of a new order.
    pub sells: bool,
    /// The number of the command that placed the order, from 1; its own where it places one.
    pub order: u32,
    /// Whose.
    pub account: u32,
    /// Limit, in ticks.
    pub price: i64,
    /// Whole size of the order, what is filled of it included.
    pub size: i64,
    /// Of it what is not filled when the command comes; 0 for an order that is gone.
    pub left: i64,
}

/// A whole stream, and what must come of it.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Orders that fill the book before the commands that count.
    pub filling: usize,
    /// All commands, those first.
    pub commands: Vec<FlowCommand>,
    /// Accounts are 1 to this.
    pub accounts: u32,
    /// Of all fills, in their order.
    pub trades: TradeHash,
}

/// Which orders met at which price, in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradeHash {
    /// How many fills.
    pub count: u64,
    /// FNV-1a, a word of 8 bytes at a time, its upper half folded in.
    pub hash: u64,
}

impl Default for TradeHash {
    /// Of no fill.
    fn default() -> Self {
        Self { count: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl TradeHash {
    /// One more.
    pub fn add(&mut self, resting: u32, aggressor: u32, price: i64, size: i64) {
        self.count += 1;
        for word in [u64::from(resting), u64::from(aggressor), price as u64, size as u64] {
            self.hash = (self.hash ^ word).wrapping_mul(0x100_0000_01b3);
            self.hash ^= self.hash >> 32;
        }
    }
}

/// Instrument of all commands.
const INSTRUMENT_ID: u32 = 1;
/// Bytes of a record of [`Flow::write`].
pub const FLOW_RECORD_SIZE_BYTES: usize = 32;
/// What a stream as a file begins with.
pub const FLOW_MAGIC: [u8; 8] = *b"tbflow1\n";

impl Flow {
    /// exchange-core's mix: its first orders, then `commands`.
    pub fn exchange_core(options: ExchangeCoreOptions, commands: u32) -> Self {
        let mut flow = ExchangeCoreFlow::new(options);
        let mut trades = TradeHash::default();
        let all = 0..options.orders + commands;
        let commands = all.map(|_| {
            let command = flow.give_plain();
            flow.fills().for_each(|(resting, price, size)| trades.add(resting, command.order, price, size));
            command
        });
        let commands = commands.collect();
        Self { filling: options.orders as usize, commands, accounts: options.users as u32, trades }
    }

    /// A market in this regime, until so many orders were placed.
    pub fn regime(regime: Regime, orders: u32) -> Self {
        let mut flow = RegimeFlow::new(regime, orders);
        let mut trades = TradeHash::default();
        let mut commands = Vec::new();
        while let Some(command) = flow.give() {
            flow.fills().for_each(|(resting, price, size)| trades.add(resting, command.order, price, size));
            commands.push(command);
        }
        Self { filling: 0, commands, accounts: regimes::ACCOUNTS, trades }
    }

    /// What a venue must be told before: an instrument of tick and lot 1, the accounts, and that trading is continuous.
    pub fn setup(&self) -> Vec<Command> {
        let instrument =
            InstrumentBody { tick: 1, lot: 1, size_min: 1, size_max: 1 << 20, ..InstrumentBody::default() };
        let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
        let mut commands = vec![Command::new(CommandKind::Instrument, 0, INSTRUMENT_ID, &instrument)];
        commands.extend(
            (1..=self.accounts).map(|account| Command::new(CommandKind::Account, account, 0, &AccountBody::default())),
        );
        commands.push(Command::new(CommandKind::Session, 0, INSTRUMENT_ID, &session));
        commands.iter_mut().for_each(|command| command.head.verdict = Verdict::Accepted.code());
        commands
    }

    /// The stream as commands to a venue: the one at index i has sequence `first_sequence` + i, a nanosecond each.
    pub fn commands(&self, first_sequence: u64) -> impl ExactSizeIterator<Item = Command> {
        self.commands.iter().enumerate().map(move |(index, command)| {
            let mut told = command.for_venue(first_sequence).at(index as i64 + 1);
            told.head.verdict = Verdict::Accepted.code();
            told
        })
    }

    /// The stream as a file, little endian: [`FLOW_MAGIC`], how many commands fill the book, how many come behind those, 8 zero bytes; then a record
    /// each: kind (1 byte), 1 if it sells (1), zero (2), order (4), price, size, left (8 each).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let counts = [self.filling as u64, (self.commands.len() - self.filling) as u64, 0];
        out.write_all(&FLOW_MAGIC)?;
        counts.iter().try_for_each(|count| out.write_all(&count.to_le_bytes()))?;
        self.commands.iter().try_for_each(|command| {
            out.write_all(&[command.kind as u8, u8::from(command.sells), 0, 0])?;
            out.write_all(&command.order.to_le_bytes())?;
            [command.price, command.size, command.left].iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))
        })
    }
}

impl Flow {
    /// What [`Self::write`] wrote: how many commands fill the book, and all of them. Accounts are not in it. `None` if it is something else.
    pub fn read(bytes: &[u8]) -> Option<(usize, Vec<FlowCommand>)> {
        let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        let (head, records) = bytes.split_at_checked(FLOW_MAGIC.len() + 24)?;
        let filling = head.strip_prefix(&FLOW_MAGIC)?;
        let filling = word(&filling[..8])? as usize;
        let commands = records.chunks_exact(FLOW_RECORD_SIZE_BYTES).map(|record| {
            let kind = match record[0] {
                1 => FlowKind::Gtc,
                2 => FlowKind::Ioc,
                3 => FlowKind::Fok,
                4 => FlowKind::Cancel,
                5 => FlowKind::Replace,
                _ => return None,
            };
            let order = u32::from_le_bytes(record[4..8].try_into().ok()?);
            let [price, size, left] = [8, 16, 24].map(|at| word(&record[at..at + 8]));
            let (price, size, left) = (price? as i64, size? as i64, left? as i64);
            Some(FlowCommand { kind, sells: record[1] == 1, order, account: 0, price, size, left })
        });
        commands.collect::<Option<Vec<_>>>().map(|commands| (filling, commands))
    }
}

impl FlowCommand {
    /// The command to a venue whose commands of this stream begin at `first_sequence`.
    pub fn for_venue(&self, first_sequence: u64) -> Command {
        let order_id = 2 * (first_sequence + u64::from(self.order) - 1);
        let (price, size, account) = (self.price, self.size, self.account);
        let place = |time_in_force: TimeInForce| {
            let side = if self.sells { SIDE_SELL } else { SIDE_BUY };
            let (order_type, time_in_force) = (OrderType::Limit.code(), time_in_force.code());
            let body = PlaceBody { price, size, side, order_type, time_in_force, ..PlaceBody::default() };
            Command::new(CommandKind::Place, account, INSTRUMENT_ID, &body)
        };
        match self.kind {
            FlowKind::Gtc => place(TimeInForce::Gtc),
            FlowKind::Ioc => place(TimeInForce::Ioc),
            FlowKind::Fok => place(TimeInForce::Fok),
            FlowKind::Cancel => {
                let body = CancelBody { order_id, ..CancelBody::default() };
                Command::new(CommandKind::Cancel, account, INSTRUMENT_ID, &body)
            }
            FlowKind::Replace => {
                let body = ReplaceBody { order_id, price, size, ..ReplaceBody::default() };
                Command::new(CommandKind::Replace, account, INSTRUMENT_ID, &body)
            }
        }
    }
}

/// The number of the order that a venue gave this id, where commands of the stream begin at `first_sequence`.
pub const fn order_of(order_id: u64, first_sequence: u64) -> u32 {
    (order_id / 2 + 1 - first_sequence) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_was_written_is_read_as_it_was() {
        let flow = Flow::exchange_core(ExchangeCoreOptions::module(100), 2_000);
        let mut file = Vec::new();
        flow.write(&mut file).unwrap();
        assert_eq!(file.len(), 32 + 2_100 * FLOW_RECORD_SIZE_BYTES);
        let (filling, read) = Flow::read(&file).unwrap();
        let without_accounts = |command: &FlowCommand| FlowCommand { account: 0, ..*command };
        assert_eq!((filling, read), (100, flow.commands.iter().map(without_accounts).collect()));
        assert_eq!(Flow::read(&file[1..]), None);
    }
}
