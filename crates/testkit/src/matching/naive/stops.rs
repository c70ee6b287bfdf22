//! Stop orders: reached by trades, executed one after another.

use tidebook_book::Side;
use tidebook_types::command::{OrderType, Session, TimeInForce, UNITS_MAX};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

use super::{NaiveVenue, Order};

/// A trade at `price` reaches a stop of this side with this trigger.
pub(super) const fn reaches(side: Side, trigger_price: i64, price: i64) -> bool {
    match side {
        Side::Bid => price >= trigger_price,
        Side::Ask => price <= trigger_price,
    }
}

/// The one that is reached earlier; 0 is none.
fn tighter(side: Side, one: i64, other: i64) -> i64 {
    match (one, other, side) {
        (0, trigger, _) | (trigger, 0, _) => trigger,
        (_, _, Side::Bid) => one.min(other),
        (_, _, Side::Ask) => one.max(other),
    }
}

impl NaiveVenue {
    /// A trade happened: who is reached is triggered, then triggers trail.
    pub(super) fn traded(&mut self, instrument_id: u32, price: i64) {
        self.reach(instrument_id, price);
        self.trail(instrument_id, price);
    }

    /// Triggers whom a trade at `price` reaches, in the order of acceptance.
    pub(super) fn reach(&mut self, instrument_id: u32, price: i64) {
        let reached = self.ids(|order| {
            order.instrument_id == instrument_id
                && order.is_waiting_stop()
                && order.triggered.is_none()
                && order.trigger_price > 0
                && reaches(order.side, order.trigger_price, price)
        });
        for id in reached {
            self.triggered += 1;
            let place = self.triggered;
            self.find_mut(id).triggered = Some((place, price));
        }
    }

    /// Moves the triggers of trailing stops that were not reached.
    pub(super) fn trail(&mut self, instrument_id: u32, price: i64) {
        self.instruments.get_mut(&instrument_id).expect("it is traded").last_trade = Some(price);
        let tick = self.instruments[&instrument_id].terms.tick;
        for order in &mut self.orders {
            let trails = order.order_type == OrderType::TrailingStop && order.triggered.is_none();
            if trails && order.instrument_id == instrument_id {
                let follows = trailing(order, price, tick);
                order.trigger_price = tighter(order.side, order.trigger_price, follows);
            }
        }
    }

    /// Where a trailing stop begins: at `trigger_price` or at its distance of the last trade, whichever is tighter.
    pub(super) fn trailing_begin(&self, order: &Order, trigger_price: i64) -> i64 {
        let instrument = &self.instruments[&order.instrument_id];
        let follows = instrument.last_trade.map_or(0, |last| trailing(order, last, instrument.terms.tick));
        tighter(order.side, trigger_price, follows)
    }

    /// Triggers a stop that was just placed or replaced if the last trade is already there.
    pub(super) fn trigger_by_last_trade(&mut self, id: u64) {
        let order = self.find(id).expect("just placed");
        let instrument = &self.instruments[&order.instrument_id];
        let Some(last) = instrument.last_trade.filter(|_| instrument.session == Session::Continuous) else { return };
        if order.triggered.is_none() && order.trigger_price > 0 && reaches(order.side, order.trigger_price, last) {
            self.triggered += 1;
            let place = self.triggered;
            self.find_mut(id).triggered = Some((place, last));
        }
    }

    /// The stop whose turn it is.
    pub(super) fn next_triggered(&self) -> Option<Order> {
        let tradable =
            |order: &&Order| self.instruments[&order.instrument_id].session == Session::Continuous && !order.in_book();
        self.orders
            .iter()
            .filter(|order| order.triggered.is_some())
            .filter(tradable)
            .min_by_key(|o| o.triggered)
            .copied()
    }

    pub(super) fn execute_stop(&mut self, stop: Order) {
        let (_, price) = stop.triggered.expect("it was triggered");
        self.say(Execution {
            kind: ExecutionKind::Triggered.code(),
            instrument_id: stop.instrument_id,
            order_id: stop.id,
            account: stop.account,
            side: stop.side.code(),
            price,
            size: stop.remaining,
            remaining: stop.remaining,
            filled: stop.filled,
            ..Execution::default()
        });
        self.take(stop.id);
        self.cancel_linked(stop.linked);
        let mut order = Order { trigger_price: 0, offset: 0, linked: 0, triggered: None, ..stop };
        if stop.order_type == OrderType::StopLimit {
            order.order_type = OrderType::Limit;
        } else {
            order.order_type = OrderType::Market;
            order.time_in_force = TimeInForce::Ioc;
        }
        self.aggress(order);
    }

    /// Ends the other leg of `id`, which goes on alone.
    pub(super) fn unlink(&mut self, id: u64, linked: u64) {
        if linked == 0 {
            return;
        }
        if self.find(id).is_some() {
            self.find_mut(id).linked = 0;
        }
        self.cancel_linked(linked);
    }

    /// Ends an order because its other leg ended.
    pub(super) fn cancel_linked(&mut self, linked: u64) {
        if linked != 0 && self.find(linked).is_some() {
            self.find_mut(linked).linked = 0;
            self.cancel(linked, Reason::Linked);
        }
    }
}

/// Where a trade at `price` puts the trigger of a trailing stop.
fn trailing(order: &Order, price: i64, tick: i64) -> i64 {
    match order.side {
        Side::Bid => (price + order.offset).min(UNITS_MAX),
        Side::Ask => (price - order.offset).max(tick),
    }
}
