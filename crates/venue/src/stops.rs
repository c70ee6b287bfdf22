//! Stops: waiting for a trade, being reached by it, being executed.
//!
//! Those with a fixed trigger lie in a heap a side, so that a trade looks at one entry of each and takes what it reaches. Trailing stops
//! are looked at one by one at each trade, because each moves by itself; an instrument with many of them pays for each at each trade.

use tidebook_book::Side;
use tidebook_types::command::{Session, UNITS_MAX};
use tidebook_types::{Execution, ExecutionKind, OrderType, Reason};

use crate::heap::Entry;
use crate::market::{Market, Reached};
use crate::order::{Order, Standing};
use crate::step::Step;
use crate::venue::Venue;

/// Whether a trade at `price` reaches a stop of this side with this trigger.
pub(crate) const fn is_reached(side: Side, trigger: i64, price: i64) -> bool {
    match side {
        Side::Bid => price >= trigger,
        Side::Ask => trigger != 0 && price <= trigger,
    }
}

/// A key by which the stop that is reached first comes first.
const fn key(side: Side, trigger: i64) -> i64 {
    match side {
        Side::Bid => trigger,
        Side::Ask => !trigger,
    }
}

/// Trigger of a trailing stop after a trade at `price`: moved to its offset if that is the tighter one. 0 is none.
fn trail(market: &Market, side: Side, trigger: i64, offset: i64, price: i64) -> i64 {
    match side {
        Side::Ask => trigger.max((price - offset).max(market.body.tick)),
        Side::Bid => {
            let moved = (price + offset).min(UNITS_MAX);
            if trigger == 0 { moved } else { trigger.min(moved) }
        }
    }
}

impl Venue {
    /// Has a stop wait with the trigger of its terms; a trailing one begins from the last trade if there is one. Into the hash.
    pub(crate) fn begin_waiting(&mut self, slot: u32) {
        self.begin_waiting_again(slot, true);
    }

    /// The same; `begins` is false for a trailing stop that keeps the trigger it has.
    pub(crate) fn begin_waiting_again(&mut self, slot: u32, begins: bool) {
        let order = &mut self.orders.hot[slot as usize];
        order.standing = Standing::Waiting;
        let (id, side) = (order.id, order.side());
        let market = &mut self.markets[order.market as usize];
        let terms = &mut self.orders.terms;
        if order.kind == OrderType::TrailingStop {
            let its = &mut terms[slot as usize];
            if begins && market.last_trade != 0 {
                its.trigger = trail(market, side, its.trigger, its.offset, market.last_trade);
            }
            its.place = market.trailing.len() as u32;
            market.trailing.push(slot);
        } else {
            let entry = Entry { key: key(side, terms[slot as usize].trigger), id, slot };
            let heap = if side == Side::Bid { &mut market.buys } else { &mut market.sells };
            heap.push(entry, |slot, place| terms[slot as usize].place = place);
        }
        self.hash_in(slot);
    }

    /// Takes a waiting stop from where it waits. The hash is the caller's.
    pub(crate) fn end_waiting(&mut self, slot: u32) {
        let order = &self.orders.hot[slot as usize];
        let market = &mut self.markets[order.market as usize];
        let terms = &mut self.orders.terms;
        let place = terms[slot as usize].place;
        if order.kind == OrderType::TrailingStop {
            market.trailing.swap_remove(place as usize);
            if let Some(moved) = market.trailing.get(place as usize) {
                terms[*moved as usize].place = place;
            }
        } else {
            let heap = if order.side() == Side::Bid { &mut market.buys } else { &mut market.sells };
            heap.remove(place, |slot, place| terms[slot as usize].place = place);
        }
    }

    /// A trade at this price: those that it reaches are triggered in the order of acceptance, then triggers move.
    #[inline]
    pub(crate) fn reach(&mut self, market: u32, price: i64) {
        let state = &self.markets[market as usize];
        let reached = |first: Option<Entry>, key: i64| first.is_some_and(|first| first.key <= key);
        if !state.trailing.is_empty() || reached(state.buys.first(), price) || reached(state.sells.first(), !price) {
            self.trigger(market, price);
            self.move_trailing(market, price);
        }
    }

    /// In continuous trading, whether the last trade reaches this stop, which was placed or replaced; the others have seen that trade.
    pub(crate) fn reach_alone(&mut self, slot: u32) {
        let order = &self.orders.hot[slot as usize];
        let state = &self.markets[order.market as usize];
        let (market, id, price) = (order.market, order.id, state.last_trade);
        let trigger = self.orders.terms[slot as usize].trigger;
        let waits = state.session == Session::Continuous && order.standing == Standing::Waiting;
        if waits && price != 0 && trigger != 0 && is_reached(order.side(), trigger, price) {
            self.end_waiting(slot);
            self.set_triggered(market, id, slot, price);
        }
    }

    /// Puts a stop that waits no more at the end of the queue of those to be executed.
    fn set_triggered(&mut self, market: u32, id: u64, slot: u32, price: i64) {
        self.hash_out(slot);
        self.orders.hot[slot as usize].standing = Standing::Triggered;
        self.orders.terms[slot as usize].at = price;
        self.markets[market as usize].triggered.push_back(Reached { id, slot });
        self.hash_in(slot);
    }

    /// In continuous trading, whom the last trade reaches. It is no new trade: no trigger moves.
    pub(crate) fn reach_by_last_trade(&mut self, market: u32) {
        let state = &self.markets[market as usize];
        if state.session == Session::Continuous && state.last_trade != 0 {
            self.trigger(market, state.last_trade);
        }
    }

    #[cold]
    fn trigger(&mut self, market: u32, price: i64) {
        let mut picked = std::mem::take(&mut self.picked);
        picked.clear();
        let state = &self.markets[market as usize];
        let mut place = 0;
        while let Some(slot) = state.trailing.get(place).copied() {
            place += 1;
            let order = &self.orders.hot[slot as usize];
            let trigger = self.orders.terms[slot as usize].trigger;
            if trigger != 0 && is_reached(order.side(), trigger, price) {
                picked.push((order.id, slot));
            }
        }
        for (_, slot) in &picked {
            self.end_waiting(*slot);
        }
        let state = &mut self.markets[market as usize];
        for (heap, key) in [(&mut state.buys, price), (&mut state.sells, !price)] {
            while heap.first().is_some_and(|first| first.key <= key) {
                let terms = &mut self.orders.terms;
                let first = heap.pop(|slot, place| terms[slot as usize].place = place).expect("it has a first");
                picked.push((first.id, first.slot));
            }
        }
        picked.sort_unstable();
        for (id, slot) in picked.iter().copied() {
            self.set_triggered(market, id, slot, price);
        }
        self.picked = picked;
    }

    /// Moves the triggers of trailing stops after a trade.
    pub(crate) fn move_trailing(&mut self, market: u32, price: i64) {
        for place in 0..self.markets[market as usize].trailing.len() {
            let state = &self.markets[market as usize];
            let slot = state.trailing[place];
            let its = &self.orders.terms[slot as usize];
            let moved = trail(state, self.orders.hot[slot as usize].side(), its.trigger, its.offset, price);
            if moved != its.trigger {
                self.hash_out(slot);
                self.orders.terms[slot as usize].trigger = moved;
                self.hash_in(slot);
            }
        }
    }

    /// Whether the entry is of a stop that still waits to be executed.
    pub(crate) fn is_due(&self, reached: Reached) -> bool {
        let order = &self.orders.hot[reached.slot as usize];
        order.id == reached.id && order.standing == Standing::Triggered
    }

    /// Executes the first triggered stop of an instrument that is in continuous trading, if there is one.
    pub(crate) fn execute_triggered(&mut self, step: &mut Step<'_>, market: u32) -> bool {
        loop {
            let state = &mut self.markets[market as usize];
            if state.session != Session::Continuous {
                return false;
            }
            let Some(first) = state.triggered.pop_front() else { return false };
            if self.is_due(first) {
                self.execute_stop(step, first.slot);
                return true;
            }
        }
    }

    fn execute_stop(&mut self, step: &mut Step<'_>, slot: u32) {
        let of = self.about(slot);
        let at = self.orders.terms[slot as usize].at;
        self.withdraw(slot);
        step.say(ExecutionKind::Triggered, Reason::None, Execution { price: at, size: of.remaining, ..of });
        if let Some(other) = self.unlink(slot) {
            self.cancel(step, other, Reason::Linked);
        }
        let order: &mut Order = &mut self.orders.hot[slot as usize];
        order.kind = if order.kind == OrderType::StopLimit { OrderType::Limit } else { OrderType::Market };
        let terms = &mut self.orders.terms[slot as usize];
        (terms.trigger, terms.offset, terms.at) = (0, 0, 0);
        let mut incoming = self.incoming(slot);
        self.match_incoming(step, &mut incoming);
    }
}
