//! The matching engine as the page of rules says it (`docs/matching.md`): a list of orders, searched from end to end at every question.
//!
//! Written from the page alone, without a look at the fast engine, so that a rule both get wrong in the same way is one the page gets wrong.
//! Nothing is kept that could be found by looking: no levels, no index, no heap of times.

mod aggress;
mod auction;
mod cancels;
mod pegs;
mod place;
mod replace;
mod settings;
mod stops;

use std::collections::BTreeMap;

use tidebook_book::Side;
use tidebook_types::command::{
    AccountBody, CANCEL_ON_DISCONNECT, Command, CommandKind, InstrumentBody, OrderType, Peg, SelfTrade, Session,
    TimeInForce, Verdict,
};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

use super::{MatchingEngine, OpenOrder};

/// All sizes of an instrument together stay below.
const SIZES_MAX: i64 = 1 << 62;

/// How much the venue takes: beyond it `FULL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NaiveOptions {
    /// Open orders.
    pub orders_max: u32,
    /// Instruments.
    pub instruments_max: u32,
    /// Accounts.
    pub accounts_max: u32,
}

impl Default for NaiveOptions {
    fn default() -> Self {
        Self { orders_max: 1 << 20, instruments_max: 1 << 10, accounts_max: 1 << 16 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Order {
    id: u64,
    account: u32,
    instrument_id: u32,
    side: Side,
    order_type: OrderType,
    time_in_force: TimeInForce,
    self_trade: SelfTrade,
    peg: Peg,
    flags: u8,
    /// Limit, or the worst price of a market order or stop, 0 for any; of a pegged order where it is in the book, 0 while it is parked.
    price: i64,
    /// The worst price of a pegged order; 0 for any.
    worst_price: i64,
    /// Of a stop; 0 for a trailing one that has none yet.
    trigger_price: i64,
    display_size: i64,
    offset: i64,
    expire_ts: i64,
    filled: i64,
    remaining: i64,
    /// Amount and what of it is left, times 10^`size_exp`, of a market order by amount.
    amount: Option<(i64, i128)>,
    /// What the book shows; 0 outside of it.
    shown: i64,
    /// Place in time among the orders of the book; 0 outside of it.
    priority: u64,
    /// The other leg; 0 for none.
    linked: u64,
    /// Fees of all its fills so far before rounding, times 10^6 x 10^`size_exp`.
    owed: i128,
    /// Of a triggered stop: its place among the triggered ones, and the trade that reached it.
    triggered: Option<(u64, i64)>,
}

impl Order {
    const fn in_book(&self) -> bool {
        self.priority > 0
    }

    fn is_waiting_stop(&self) -> bool {
        matches!(self.order_type, OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop)
    }

    const fn size(&self) -> i64 {
        self.filled + self.remaining
    }

    /// At its price or better; a market order without one at any.
    fn takes(&self, price: i64) -> bool {
        self.price == 0 || at_or_better(self.side, self.price, price)
    }
}

/// A buyer with this limit buys at `price`, a seller with it sells at `price`.
fn at_or_better(side: Side, limit: i64, price: i64) -> bool {
    match side {
        Side::Bid => price <= limit,
        Side::Ask => price >= limit,
    }
}

#[derive(Debug, Clone)]
struct Instrument {
    terms: InstrumentBody,
    reference_price: i64,
    session: Session,
    /// Price of the last fill.
    last_trade: Option<i64>,
    trade_id: u64,
    /// Price and volume said last in this auction.
    indicative: (i64, i64),
}

#[derive(Debug, Clone)]
struct Account {
    terms: AccountBody,
    /// When the dead man's switch falls.
    dead_man: Option<i64>,
}

/// A matching engine that is right by being obvious.
#[derive(Debug, Clone)]
pub struct NaiveVenue {
    options: NaiveOptions,
    now: i64,
    instruments: BTreeMap<u32, Instrument>,
    accounts: BTreeMap<u32, Account>,
    /// All that have not ended, in no order that matters.
    orders: Vec<Order>,
    /// Given last.
    priority: u64,
    /// Stops triggered so far.
    triggered: u64,
    /// Executions so far.
    execution: u64,
    /// Of the command that is being carried out.
    sequence: u64,
    executions: Vec<Execution>,
}

impl Default for NaiveVenue {
    fn default() -> Self {
        Self::new(NaiveOptions::default())
    }
}

impl MatchingEngine for NaiveVenue {
    fn apply(&mut self, sequence: u64, command: &Command) -> Vec<Execution> {
        self.sequence = sequence;
        self.now = self.now.max(command.head.ts);
        if command.head.verdict == Verdict::Rejected.code() {
            return Vec::new();
        }
        self.expire();
        if let Err(reason) = self.carry_out(command) {
            let names_an_order = [CommandKind::Replace.code(), CommandKind::Cancel.code()].contains(&command.head.kind);
            self.say(Execution {
                kind: ExecutionKind::Rejected.code(),
                reason: reason.code(),
                command_kind: command.head.kind,
                instrument_id: command.head.instrument_id,
                account: command.head.account,
                order_id: if names_an_order { command.body() } else { 0 },
                ..Execution::default()
            });
        }
        self.price_pegs();
        while let Some(order) = self.next_triggered() {
            self.execute_stop(order);
            self.price_pegs();
        }
        self.say_indicative();
        std::mem::take(&mut self.executions)
    }

    fn open_orders(&self) -> Vec<OpenOrder> {
        let mut orders: Vec<&Order> = self.orders.iter().collect();
        orders.sort_by_key(|order| {
            let price = if order.side == Side::Bid { -order.price } else { order.price };
            let place = if order.in_book() { (false, price, order.priority) } else { (true, 0, order.id) };
            (order.instrument_id, order.side, place)
        });
        orders.into_iter().map(open_order).collect()
    }

    fn depth(&self, instrument_id: u32, side: Side) -> Vec<(i64, i64)> {
        let mut levels = BTreeMap::new();
        for order in self.book(instrument_id, side) {
            *levels.entry(order.price).or_insert(0) += order.shown;
        }
        match side {
            Side::Bid => levels.into_iter().rev().collect(),
            Side::Ask => levels.into_iter().collect(),
        }
    }

    fn session(&self, instrument_id: u32) -> Session {
        self.instruments.get(&instrument_id).map_or(Session::Closed, |instrument| instrument.session)
    }
}

fn open_order(order: &Order) -> OpenOrder {
    OpenOrder {
        order_id: order.id,
        account: order.account,
        instrument_id: order.instrument_id,
        side: order.side.code(),
        order_type: order.order_type.code(),
        time_in_force: order.time_in_force.code(),
        flags: order.flags,
        price: order.price,
        trigger_price: order.trigger_price,
        size: order.size(),
        filled: order.filled,
        remaining: order.remaining,
        shown: order.shown,
        expire_ts: order.expire_ts,
        linked_order_id: order.linked,
        waiting: !order.in_book(),
        triggered: order.triggered.is_some(),
    }
}

impl NaiveVenue {
    /// An empty venue.
    pub const fn new(options: NaiveOptions) -> Self {
        Self {
            options,
            now: 0,
            instruments: BTreeMap::new(),
            accounts: BTreeMap::new(),
            orders: Vec::new(),
            priority: 0,
            triggered: 0,
            execution: 0,
            sequence: 0,
            executions: Vec::new(),
        }
    }

    fn carry_out(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let kind = CommandKind::from_code(head.kind).ok_or(Reason::Fields)?;
        fields(Verdict::from_code(head.verdict).is_some())?;
        match kind {
            CommandKind::Place => self.place(command),
            CommandKind::PlacePair => self.place_pair(command),
            CommandKind::Replace => self.replace(command),
            CommandKind::Cancel => self.cancel_one(command),
            CommandKind::MassCancel => self.mass_cancel(command),
            CommandKind::CancelAllAfter => self.set_dead_man(command),
            CommandKind::Disconnect => self.disconnect(command),
            CommandKind::Timer => self.timer(command),
            CommandKind::Session => self.change_session(command),
            CommandKind::Instrument => self.list_instrument(command),
            CommandKind::Account => self.open_account(command),
            CommandKind::Limits | CommandKind::Transfer | CommandKind::Kill => {
                self.say_done(command);
                Ok(())
            }
        }
    }

    // ---- what the book looks like -----------------------------------------------------------------------------------

    /// Orders of one side that can be met, in no order.
    fn book(&self, instrument_id: u32, side: Side) -> impl Iterator<Item = &Order> {
        self.orders
            .iter()
            .filter(move |order| order.in_book() && order.instrument_id == instrument_id && order.side == side)
    }

    /// Who is met first: the best price, then the one that waits longest.
    fn first(&self, instrument_id: u32, side: Side) -> Option<&Order> {
        self.book(instrument_id, side).min_by_key(|order| match side {
            Side::Bid => (-order.price, order.priority),
            Side::Ask => (order.price, order.priority),
        })
    }

    /// An order of this side at this price would meet one.
    fn would_meet(&self, instrument_id: u32, side: Side, price: i64) -> bool {
        self.book(instrument_id, side.opposite()).any(|order| at_or_better(side, price, order.price))
    }

    fn find(&self, id: u64) -> Option<&Order> {
        self.orders.iter().find(|order| order.id == id)
    }

    fn find_mut(&mut self, id: u64) -> &mut Order {
        self.orders.iter_mut().find(|order| order.id == id).expect("an order that has not ended")
    }

    fn take(&mut self, id: u64) -> Order {
        let index = self.orders.iter().position(|order| order.id == id).expect("an order that has not ended");
        self.orders.remove(index)
    }

    /// Ids of those orders, in the order of acceptance.
    fn ids(&self, which: impl Fn(&Order) -> bool) -> Vec<u64> {
        let mut ids: Vec<u64> = self.orders.iter().filter(|order| which(order)).map(|order| order.id).collect();
        ids.sort_unstable();
        ids
    }

    fn same_owner(&self, one: u32, other: u32) -> bool {
        let group = |account| self.accounts[&account].terms.group;
        one == other || (group(one) > 0 && group(one) == group(other))
    }

    /// No room for so many more: too many orders, or a sum of their sizes might leave its type.
    fn is_full(&self, instrument_id: u32, more: usize) -> bool {
        let there = self.orders.iter().filter(|order| order.instrument_id == instrument_id).count();
        let size_max = i128::from(self.instruments[&instrument_id].terms.size_max);
        self.orders.len() + more > self.options.orders_max as usize
            || (there + more) as i128 * size_max > i128::from(SIZES_MAX)
    }

    /// Behind all orders.
    fn next_priority(&mut self) -> u64 {
        self.priority += 1;
        self.priority
    }

    // ---- what is said -----------------------------------------------------------------------------------------------

    fn say(&mut self, execution: Execution) {
        self.execution += 1;
        self.executions.push(Execution {
            sequence: self.execution,
            source_sequence: self.sequence,
            ts: self.now,
            source_index: self.executions.len() as u32,
            ..execution
        });
    }

    /// What happened to an order; `size` is what the event is about.
    fn say_of(&mut self, kind: ExecutionKind, order: &Order, size: i64, reason: Reason) {
        self.say(Execution {
            kind: kind.code(),
            reason: reason.code(),
            instrument_id: order.instrument_id,
            order_id: order.id,
            account: order.account,
            side: order.side.code(),
            price: order.price,
            size,
            remaining: self.left(order),
            filled: order.filled,
            ..Execution::default()
        });
    }

    /// What is left of an order: a size, or by amount the amount, rounded down.
    fn left(&self, order: &Order) -> i64 {
        match order.amount {
            Some((_, left)) => (left / self.size_scale(order.instrument_id)) as i64,
            None => order.remaining,
        }
    }

    fn size_scale(&self, instrument_id: u32) -> i128 {
        10_i128.pow(u32::from(self.instruments[&instrument_id].terms.size_exp))
    }

    fn say_of_instrument(&mut self, kind: ExecutionKind, instrument_id: u32, price: i64, size: i64, reason: Reason) {
        self.say(Execution {
            kind: kind.code(),
            reason: reason.code(),
            instrument_id,
            price,
            size,
            ..Execution::default()
        });
    }

    fn say_done(&mut self, command: &Command) {
        self.say(Execution {
            kind: ExecutionKind::Done.code(),
            command_kind: command.head.kind,
            instrument_id: command.head.instrument_id,
            account: command.head.account,
            ..Execution::default()
        });
    }
}

/// `FIELDS` unless this holds.
const fn fields(holds: bool) -> Result<(), Reason> {
    demand(holds, Reason::Fields)
}

/// That reason unless this holds.
const fn demand(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

/// What every command needs, beside what its kind does.
fn head_is_clean(command: &Command) -> bool {
    command.head.reserved == [0; 5]
}
