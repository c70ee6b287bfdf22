//! What holds of any engine, whatever the rules say in detail, seen from outside: from its executions and its book.

use std::collections::BTreeMap;

use tidebook_book::Side;
use tidebook_types::command::{
    ACCOUNT_OWN_FEES, AccountBody, Command, CommandKind, InstrumentBody, OrderType, PlaceBody, ReplaceBody, Session,
};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};
use tidebook_types::records::SIDE_NONE;

use super::{MatchingEngine, OpenOrder};

/// One order's account, from its executions.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    /// By amount, which has no size.
    by_amount: bool,
    size: i64,
    filled: i64,
    cancelled: i64,
    reduced: i64,
    open: bool,
    /// Of its fills, and what they owe exactly, times 10^6 x 10^`size_exp`.
    paid: i128,
    owed: i128,
}

/// Keeps the accounts of a stream and fails where they do not add up.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    execution: u64,
    ts: i64,
    trades: BTreeMap<u32, u64>,
    orders: BTreeMap<u64, Life>,
    instruments: BTreeMap<u32, InstrumentBody>,
    accounts: BTreeMap<u32, AccountBody>,
    /// Open orders before the command, by place.
    before: Vec<OpenOrder>,
    /// How many fills were checked.
    pub fills: u64,
}

impl Audit {
    /// Checks what an engine said to a command, and the book it has now.
    ///
    /// # Panics
    /// When numbers have gaps, time goes back, sizes or fees do not add up, the book is crossed in continuous trading, or somebody was passed over
    /// within a level.
    pub fn check(&mut self, sequence: u64, command: &Command, said: &[Execution], engine: &impl MatchingEngine) {
        for (index, e) in said.iter().enumerate() {
            self.execution += 1;
            assert_eq!(e.sequence, self.execution, "executions are numbered without gaps");
            assert_eq!((e.source_sequence, e.source_index), (sequence, index as u32));
            assert!(e.ts >= self.ts, "time goes back: {e:?}");
            self.ts = e.ts;
        }
        self.check_queues(said);
        for e in said {
            self.book_keep(command, e);
        }
        let open = engine.open_orders();
        self.check_orders(&open);
        self.check_book(&open, engine);
        self.before = open;
    }

    /// Whoever waited before the command and did not move since is met before those behind him at his price.
    fn check_queues(&self, said: &[Execution]) {
        for e in said.iter().filter(|e| e.kind == ExecutionKind::Fill.code()) {
            let resting = [e.contra_order_id, if e.side == SIDE_NONE { e.order_id } else { 0 }];
            for id in resting {
                let before = |order: &&OpenOrder| order.order_id == id && !order.waiting;
                let Some(order) = self.before.iter().find(before).filter(|_| !has_moved(id, said, e)) else { continue };
                let place = (order.instrument_id, order.side, order.price);
                let ahead = self
                    .before
                    .iter()
                    .take_while(|other| other.order_id != id)
                    .filter(|other| !other.waiting && (other.instrument_id, other.side, other.price) == place)
                    .find(|other| !has_moved(other.order_id, said, e));
                assert!(ahead.is_none(), "{id} was met before one that waited longer at its price: {ahead:?} {e:?}");
            }
        }
    }

    fn book_keep(&mut self, command: &Command, e: &Execution) {
        let life = self.orders.entry(e.order_id).or_default();
        match ExecutionKind::from_code(e.kind).expect("a kind of the table") {
            ExecutionKind::Accepted => {
                let body: PlaceBody = command.body();
                let place = command.head.kind == CommandKind::Place.code();
                let by_amount = place && body.order_type == OrderType::Market.code() && body.amount != 0;
                assert!(!life.open && life.size == 0, "an id is given again: {e:?}");
                *life = Life { by_amount, size: e.size, open: true, ..Life::default() };
            }
            ExecutionKind::Replaced => {
                let body: ReplaceBody = command.body();
                let whole = if body.size == 0 { life.size - life.reduced } else { body.size };
                assert_eq!((e.size, e.size), (whole, e.filled + e.remaining), "{e:?}");
                // What was reduced went from the size before.
                (life.size, life.reduced) = (e.size, 0);
            }
            ExecutionKind::Cancelled => {
                life.cancelled += e.size;
                life.open = false;
            }
            ExecutionKind::Reduced => {
                assert_eq!(e.reason, Reason::SelfTrade.code());
                life.reduced += e.size;
                life.open = e.remaining > 0;
            }
            ExecutionKind::Fill => self.book_fill(e),
            ExecutionKind::Done if e.command_kind == CommandKind::Instrument.code() => {
                self.instruments.insert(e.instrument_id, command.body());
            }
            ExecutionKind::Done if e.command_kind == CommandKind::Account.code() => {
                self.accounts.insert(e.account, command.body());
            }
            _ => {}
        }
    }

    fn book_fill(&mut self, e: &Execution) {
        self.fills += 1;
        let trade = self.trades.entry(e.instrument_id).or_insert(0);
        *trade += 1;
        assert_eq!(e.trade_id, *trade, "trades of an instrument are numbered without gaps");
        assert!(e.size > 0 && e.price > 0, "{e:?}");
        let terms = self.instruments[&e.instrument_id];
        assert_eq!((e.size % terms.lot, e.price % terms.tick), (0, 0), "{e:?}");
        let scale = 1_000_000 * 10_i128.pow(u32::from(terms.size_exp));
        let sides = [
            (e.order_id, e.account, e.fee, e.side != SIDE_NONE),
            (e.contra_order_id, e.contra_account, e.contra_fee, false),
        ];
        for (id, account, fee, taker) in sides {
            let own = self.accounts[&account];
            let (maker_ppm, taker_ppm) = if own.flags & ACCOUNT_OWN_FEES == 0 {
                (terms.maker_ppm, terms.taker_ppm)
            } else {
                (own.maker_ppm, own.taker_ppm)
            };
            let ppm = if taker { taker_ppm } else { maker_ppm };
            let life = self.orders.get_mut(&id).expect("it was accepted");
            assert!(life.open, "{id} had ended: {e:?}");
            life.filled += e.size;
            life.owed += i128::from(e.price) * i128::from(e.size) * i128::from(ppm);
            life.paid += i128::from(fee);
            let (paid, owed) = (life.paid * scale, life.owed);
            assert!(paid >= owed && paid - owed < scale, "fees of {id} add up to {} for {owed} / {scale}", life.paid);
        }
        let (order, contra) = (&self.orders[&e.order_id], &self.orders[&e.contra_order_id]);
        assert_eq!(order.filled, e.filled, "{e:?}");
        if !order.by_amount {
            assert_eq!(order.size - order.reduced - order.filled, e.remaining, "{e:?}");
        }
        assert_eq!(contra.size - contra.reduced - contra.filled, e.contra_remaining, "{e:?}");
        for (id, left) in [(e.order_id, e.remaining), (e.contra_order_id, e.contra_remaining)] {
            let life = self.orders.get_mut(&id).expect("it was accepted");
            // What an amount has left may be less than a unit and is said rounded down.
            life.open = left > 0 || life.by_amount;
        }
    }

    /// Placed is filled, cancelled, reduced or open.
    fn check_orders(&mut self, open: &[OpenOrder]) {
        self.orders.retain(|id, life| {
            if life.by_amount || life.size == 0 {
                return false;
            }
            let left = life.size - life.filled - life.cancelled - life.reduced;
            if life.open {
                let order = open.iter().find(|order| order.order_id == *id);
                let order = order.unwrap_or_else(|| panic!("{id} is lost: {life:?}"));
                assert_eq!((left, life.filled), (order.remaining, order.filled), "{order:?}");
                assert_eq!(order.size, order.filled + order.remaining);
            } else {
                assert_eq!(left, 0, "what was placed as {id} does not add up: {life:?}");
            }
            life.open
        });
        let known = open.iter().filter(|order| self.orders.contains_key(&order.order_id)).count();
        assert_eq!(known, open.len(), "an open order was never accepted");
    }

    /// Never crossed in continuous trading; levels are the sums of what their orders show.
    fn check_book(&self, open: &[OpenOrder], engine: &impl MatchingEngine) {
        for &instrument_id in self.instruments.keys() {
            let depth = Side::BOTH.map(|side| engine.depth(instrument_id, side));
            if let ([(bid, _), ..], [(ask, _), ..]) = (&depth[0][..], &depth[1][..])
                && engine.session(instrument_id) == Session::Continuous
            {
                assert!(bid < ask, "crossed: {bid} {ask}");
            }
            for (side, levels) in Side::BOTH.into_iter().zip(depth) {
                let mut summed: Vec<(i64, i64)> = Vec::new();
                let resting =
                    open.iter().filter(|o| o.instrument_id == instrument_id && o.side == side.code() && !o.waiting);
                for order in resting {
                    assert!(0 < order.shown && order.shown <= order.remaining, "{order:?}");
                    match summed.last_mut() {
                        Some((price, size)) if *price == order.price => *size += order.shown,
                        _ => summed.push((order.price, order.shown)),
                    }
                }
                assert_eq!(levels, summed, "levels of {instrument_id} {side:?}");
            }
        }
    }
}

/// Whether an order that was there before the command is no longer where it was when `fill` happens.
fn has_moved(id: u64, said: &[Execution], fill: &Execution) -> bool {
    said.iter().take_while(|e| e.source_index < fill.source_index).any(|e| {
        let ended = (e.order_id == id && e.remaining == 0 && e.kind != ExecutionKind::Accepted.code())
            || (e.contra_order_id == id && e.contra_remaining == 0);
        let moves = [ExecutionKind::Refreshed, ExecutionKind::Repriced, ExecutionKind::Replaced];
        ended || (e.order_id == id && moves.iter().any(|kind| kind.code() == e.kind))
    })
}
