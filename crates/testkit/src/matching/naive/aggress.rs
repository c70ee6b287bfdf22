//! Continuous matching: an aggressor meets the opposite side until it is done.

use std::collections::VecDeque;

use tidebook_types::command::{ACCOUNT_OWN_FEES, BandAction, OrderType, SelfTrade, Session, TimeInForce};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

use super::{NaiveVenue, Order};

/// A resting order as the look-ahead of FOK sees it.
struct OnTheWay {
    own: bool,
    shown: i64,
    hidden: i64,
    display_size: i64,
}

impl NaiveVenue {
    /// Matches an order that is in no list, and puts into the book what rests of it.
    pub(super) fn aggress(&mut self, mut order: Order) {
        if order.time_in_force == TimeInForce::Fok && !self.can_fill_whole(&order) {
            return self.end(&order, Reason::FillOrKill);
        }
        loop {
            if is_done(&order) {
                return;
            }
            let next = self.first(order.instrument_id, order.side.opposite()).copied();
            let Some(resting) = next.filter(|resting| order.takes(resting.price)) else { break };
            if self.affordable(&order, resting.price) == 0 {
                return self.end(&order, if order.filled > 0 { Reason::AmountLeft } else { Reason::Immediate });
            }
            if self.is_outside_band(order.instrument_id, resting.price) {
                self.end(&order, Reason::PriceBand);
                let instrument = &self.instruments[&order.instrument_id];
                if instrument.terms.band_action == BandAction::Halt.code() {
                    self.set_session(order.instrument_id, Session::Halted, Reason::PriceBand);
                }
                return;
            }
            let mode = order.self_trade;
            if mode != SelfTrade::None && self.same_owner(order.account, resting.account) {
                match mode {
                    SelfTrade::None => unreachable!("they trade"),
                    SelfTrade::CancelNewest => return self.end(&order, Reason::SelfTrade),
                    SelfTrade::CancelOldest => self.cancel(resting.id, Reason::SelfTrade),
                    SelfTrade::CancelBoth => {
                        self.cancel(resting.id, Reason::SelfTrade);
                        return self.end(&order, Reason::SelfTrade);
                    }
                    SelfTrade::Decrement => self.decrement(&mut order, resting.id),
                }
                continue;
            }
            let size = self.affordable(&order, resting.price).min(i128::from(resting.shown)) as i64;
            self.fill(&mut order, resting.id, size);
        }
        if order.order_type == OrderType::Market {
            self.end(&order, if order.filled > 0 { Reason::Immediate } else { Reason::NoLiquidity });
        } else if order.time_in_force == TimeInForce::Ioc {
            self.end(&order, Reason::Immediate);
        } else {
            self.rest(order);
        }
    }

    /// Puts an order into the book, behind all others at its price.
    pub(super) fn rest(&mut self, mut order: Order) {
        order.priority = self.next_priority();
        order.shown = next_part(order.display_size, order.remaining);
        self.orders.push(order);
    }

    /// Ends an aggressor, and with it its other leg.
    fn end(&mut self, order: &Order, reason: Reason) {
        let left = self.left(order);
        let gone = Order { remaining: 0, amount: order.amount.map(|(amount, _)| (amount, 0)), ..*order };
        self.say_of(ExecutionKind::Cancelled, &gone, left, reason);
        self.cancel_linked(order.linked);
    }

    /// How much it could still trade at this price: what is left of its size, or as many lots as its amount pays for.
    fn affordable(&self, order: &Order, price: i64) -> i128 {
        let lot = i128::from(self.instruments[&order.instrument_id].terms.lot);
        match order.amount {
            Some((_, left)) => left / (i128::from(price) * lot) * lot,
            None => i128::from(order.remaining),
        }
    }

    pub(super) fn is_outside_band(&self, instrument_id: u32, price: i64) -> bool {
        let instrument = &self.instruments[&instrument_id];
        let reference = i128::from(instrument.reference_price);
        let width = reference * i128::from(instrument.terms.band_ppm);
        width > 0 && (i128::from(price) - reference).abs() * 1_000_000 > width
    }

    fn fill(&mut self, order: &mut Order, resting_id: u64, size: i64) {
        let price = self.find(resting_id).expect("it was met").price;
        take_from(order, price, size);
        let fee = self.charge(order, price, size, true);
        let mut resting = *self.find_mut(resting_id);
        take_from(&mut resting, price, size);
        let contra_fee = self.charge(&mut resting, price, size, false);
        *self.find_mut(resting_id) = resting;
        self.say_fill(order, &resting, order.side.code(), price, size, (fee, contra_fee));
        if resting.remaining == 0 {
            self.take(resting_id);
        }
        self.unlink(resting_id, resting.linked);
        self.unlink(order.id, order.linked);
        order.linked = 0;
        self.refresh(resting_id);
        self.traded(order.instrument_id, price);
    }

    pub(super) fn say_fill(
        &mut self,
        order: &Order,
        contra: &Order,
        side: i8,
        price: i64,
        size: i64,
        (fee, contra_fee): (i64, i64),
    ) {
        let instrument = self.instruments.get_mut(&order.instrument_id).expect("it is traded");
        instrument.trade_id += 1;
        let trade_id = instrument.trade_id;
        self.say(Execution {
            kind: ExecutionKind::Fill.code(),
            instrument_id: order.instrument_id,
            order_id: order.id,
            contra_order_id: contra.id,
            account: order.account,
            contra_account: contra.account,
            side,
            price,
            size,
            remaining: self.left(order),
            filled: order.filled,
            contra_remaining: contra.remaining,
            trade_id,
            fee,
            contra_fee,
            ..Execution::default()
        });
    }

    /// Shows the next part of an iceberg whose shown part is filled, behind all others.
    pub(super) fn refresh(&mut self, id: u64) {
        if self.find(id).is_none_or(|order| order.shown > 0) {
            return;
        }
        let priority = self.next_priority();
        let order = self.find_mut(id);
        order.shown = next_part(order.display_size, order.remaining);
        order.priority = priority;
        let order = *order;
        self.say_of(ExecutionKind::Refreshed, &order, order.shown, Reason::None);
    }

    /// Both lose the smaller of what both have left.
    fn decrement(&mut self, order: &mut Order, resting_id: u64) {
        let price = self.find(resting_id).expect("it was met").price;
        let affordable = self.affordable(order, price);
        let resting = self.find_mut(resting_id);
        let size = affordable.min(i128::from(resting.remaining)) as i64;
        resting.remaining -= size;
        resting.shown = resting.shown.min(resting.remaining);
        let resting = *resting;
        self.say_of(ExecutionKind::Reduced, &resting, size, Reason::SelfTrade);
        if resting.remaining == 0 {
            self.take(resting_id);
            self.cancel_linked(resting.linked);
        }
        let filled = order.filled;
        take_from(order, price, size);
        order.filled = filled;
        self.say_of(ExecutionKind::Reduced, order, size, Reason::SelfTrade);
        if is_done(order) {
            self.cancel_linked(order.linked);
        }
    }

    /// FOK: whether it would be filled whole, counting what it could really take.
    fn can_fill_whole(&self, order: &Order) -> bool {
        let mut left = *order;
        let mut prices: Vec<i64> = self.book(order.instrument_id, order.side.opposite()).map(|o| o.price).collect();
        prices.sort_unstable_by_key(|&price| if order.side == tidebook_book::Side::Bid { price } else { -price });
        prices.dedup();
        for price in prices {
            if !order.takes(price) {
                return false;
            }
            let mut queue = self.on_the_way(order, price);
            while let Some(mut resting) = queue.pop_front() {
                if self.affordable(&left, price) == 0 {
                    return true;
                }
                if self.is_outside_band(order.instrument_id, price) {
                    return false;
                }
                if resting.own && order.self_trade != SelfTrade::None {
                    if order.self_trade == SelfTrade::CancelOldest {
                        continue;
                    }
                    return false;
                }
                let size = self.affordable(&left, price).min(i128::from(resting.shown)) as i64;
                take_from(&mut left, price, size);
                // By amount it ends in the middle of an order when what is left pays for no more of it.
                if is_done(&left) || size < resting.shown {
                    return true;
                }
                if resting.hidden > 0 {
                    resting.shown = next_part(resting.display_size, resting.hidden);
                    resting.hidden -= resting.shown;
                    queue.push_back(resting);
                }
            }
        }
        false
    }

    fn on_the_way(&self, order: &Order, price: i64) -> VecDeque<OnTheWay> {
        let mut level: Vec<&Order> =
            self.book(order.instrument_id, order.side.opposite()).filter(|resting| resting.price == price).collect();
        level.sort_by_key(|resting| resting.priority);
        level
            .into_iter()
            .map(|resting| OnTheWay {
                own: self.same_owner(order.account, resting.account),
                shown: resting.shown,
                hidden: resting.remaining - resting.shown,
                display_size: resting.display_size,
            })
            .collect()
    }

    /// What an order pays for a fill: what all its fills owe, rounded up, less what it paid before.
    pub(super) fn charge(&self, order: &mut Order, price: i64, size: i64, taker: bool) -> i64 {
        let account = &self.accounts[&order.account].terms;
        let instrument = &self.instruments[&order.instrument_id].terms;
        let own = account.flags & ACCOUNT_OWN_FEES != 0;
        let (maker_ppm, taker_ppm) =
            if own { (account.maker_ppm, account.taker_ppm) } else { (instrument.maker_ppm, instrument.taker_ppm) };
        let ppm = if taker { taker_ppm } else { maker_ppm };
        let scale = 1_000_000 * self.size_scale(order.instrument_id);
        let rounded_up = |owed: i128| -(-owed).div_euclid(scale);
        let before = rounded_up(order.owed);
        order.owed += i128::from(price) * i128::from(size) * i128::from(ppm);
        (rounded_up(order.owed) - before).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// Takes `size` of what is left of an order at this price.
pub(super) fn take_from(order: &mut Order, price: i64, size: i64) {
    match &mut order.amount {
        Some((_, left)) => *left -= i128::from(price) * i128::from(size),
        None => order.remaining -= size,
    }
    order.shown = (order.shown - size).max(0);
    order.filled += size;
}

const fn is_done(order: &Order) -> bool {
    match order.amount {
        Some((_, left)) => left == 0,
        None => order.remaining == 0,
    }
}

/// What is shown of `remaining`.
fn next_part(display_size: i64, remaining: i64) -> i64 {
    if display_size == 0 { remaining } else { display_size.min(remaining) }
}
