//! Continuous matching: an aggressor on its way through the other side of the book.
//!
//! A new order is matched before it has a slot, so that one that is filled or cancelled at once leaves no trace in slab, index or lists.
//! An order that was there before (replaced, triggered, a leg of a pair) keeps its slot meanwhile and stands nowhere.

use tidebook_book::{Handle, Resting};
use tidebook_types::command::{BandAction, SelfTrade, Session, TimeInForce};
use tidebook_types::{Execution, ExecutionKind, OrderType, Reason};

use crate::fees::fee;
use crate::market::Market;
use crate::order::{ICEBERG, LINKED, NONE, Order, TERMS, Terms, slot_of};
use crate::self_trade::After;
use crate::step::Step;
use crate::venue::Venue;

/// An aggressor.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) order: Order,
    pub(crate) terms: Terms,
    /// `NONE` for one that has no slot yet.
    pub(crate) slot: u32,
    /// By amount: what is left of it, exact, in units of price x size.
    pub(crate) left: Option<u128>,
    /// How many of those are one unit of the amount.
    unit: u128,
}

/// How its way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing is left of it.
    Filled,
    /// Nobody is there within its price.
    Nobody,
    /// What is left of the amount pays for no lot.
    Amount,
    /// The next price is outside of the band.
    Band,
    /// An own order.
    SelfTrade,
}

impl Incoming {
    pub(crate) const fn new(order: Order, terms: Terms, slot: u32) -> Self {
        Self { order, terms, slot, left: None, unit: 1 }
    }

    /// By this amount of the quote currency instead of a size.
    pub(crate) fn spend(&mut self, amount: i64, size_exp: u8) {
        self.unit = 10_u128.pow(size_exp.into());
        self.left = Some(amount.unsigned_abs() as u128 * self.unit);
    }

    /// Worst price it takes.
    #[inline]
    pub(crate) const fn limit(&self) -> i64 {
        match self.order.price {
            0 if self.order.flags & crate::order::SELLS == 0 => i64::MAX,
            price => price,
        }
    }

    /// How much it would take at this price.
    #[inline]
    pub(crate) fn wants(&self, price: i64, lot: i64) -> i64 {
        match self.left {
            None => self.order.remaining(),
            Some(left) => {
                let lots = left / (price.unsigned_abs() as u128 * lot.unsigned_abs() as u128);
                // No order is larger than what this is capped at.
                (lots.min((1 << 62) / lot.unsigned_abs() as u128) as i64) * lot
            }
        }
    }

    /// What executions say is left: of an order by amount whole units of it.
    #[inline]
    pub(crate) const fn remaining(&self) -> i64 {
        match self.left {
            None => self.order.remaining(),
            Some(left) => (left / self.unit) as i64,
        }
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.left.map_or(self.order.remaining() == 0, |left| left == 0)
    }
}

impl Venue {
    /// An order that keeps its slot and stands nowhere, as an aggressor.
    pub(crate) fn incoming(&self, slot: u32) -> Incoming {
        Incoming::new(self.orders.hot[slot as usize], self.orders.terms_of(slot), slot)
    }

    /// Matches an order in continuous trading; what is left of it rests, or is cancelled.
    pub(crate) fn match_incoming(&mut self, step: &mut Step<'_>, incoming: &mut Incoming) {
        let order = &incoming.order;
        if order.time_in_force() == TimeInForce::Fok && !self.can_fill_whole(incoming) {
            return self.end_incoming(step, incoming, Reason::FillOrKill);
        }
        let end = self.aggress(step, incoming);
        let order = &incoming.order;
        let reason = match end {
            End::Filled => return self.let_go(incoming),
            End::SelfTrade => Reason::SelfTrade,
            End::Band => Reason::PriceBand,
            End::Amount if order.filled > 0 => Reason::AmountLeft,
            End::Nobody if order.kind == OrderType::Limit && order.time_in_force() != TimeInForce::Ioc => {
                return self.rest_incoming(incoming);
            }
            End::Nobody if order.kind == OrderType::Market && order.filled == 0 => Reason::NoLiquidity,
            End::Nobody | End::Amount => Reason::Immediate,
        };
        self.end_incoming(step, incoming, reason);
        let market = &self.markets[incoming.order.market as usize];
        if end == End::Band && market.body.band_action == BandAction::Halt.code() {
            self.enter_session(step, incoming.order.market, Session::Halted, Reason::PriceBand);
        }
    }

    fn aggress(&mut self, step: &mut Step<'_>, incoming: &mut Incoming) -> End {
        let Order { market, account, .. } = incoming.order;
        let (side, limit, mode) = (incoming.order.side(), incoming.limit(), incoming.order.self_trade());
        loop {
            let state = &self.markets[market as usize];
            let Some(handle) = state.book.first(side.opposite()) else { return End::Nobody };
            let resting = *state.book.get(handle);
            if !side.takes(limit, resting.price) {
                return End::Nobody;
            }
            let wants = incoming.wants(resting.price, state.body.lot);
            if wants == 0 {
                return End::Amount;
            }
            if !state.band.holds(resting.price) {
                return End::Band;
            }
            let slot = slot_of(&resting);
            if mode != SelfTrade::None && self.accounts.one_owner(account, self.orders.hot[slot as usize].account) {
                match self.meet_own(step, incoming, mode, slot, wants) {
                    After::GoesOn => {}
                    After::IsDone => return End::Filled,
                    After::IsCancelled => return End::SelfTrade,
                }
                continue;
            }
            self.fill(step, incoming, slot, handle, &resting, wants.min(resting.shown));
            if incoming.is_done() {
                return End::Filled;
            }
        }
    }

    #[inline]
    fn fill(
        &mut self,
        step: &mut Step<'_>,
        incoming: &mut Incoming,
        slot: u32,
        handle: Handle,
        resting: &Resting,
        size: i64,
    ) {
        self.hash_out(slot);
        let state = &mut self.markets[incoming.order.market as usize];
        let (price, shown) = (resting.price, state.book.fill(handle, size));
        state.trades += 1;
        state.last_trade = price;
        incoming.order.filled += size;
        if let Some(left) = &mut incoming.left {
            incoming.order.size += size;
            *left -= price.unsigned_abs() as u128 * size.unsigned_abs() as u128;
        }
        let taker_ppm = self.accounts.taker_ppm(incoming.order.account, &state.body);
        let taker_fee = fee(state, price, size, taker_ppm, &mut incoming.terms.paid_ahead);
        let contra = &mut self.orders.hot[slot as usize];
        contra.filled += size;
        let (contra_left, contra_account) = (contra.remaining(), contra.account);
        let contra_order_id = contra.id;
        let maker_ppm = self.accounts.maker_ppm(contra_account, &state.body);
        let (instrument_id, trade_id) = (state.id, state.trades);
        let contra_fee = self.maker_fee(slot, price, size, maker_ppm);
        let of = Execution {
            instrument_id,
            order_id: incoming.order.id,
            contra_order_id,
            account: self.accounts.number(incoming.order.account),
            contra_account: self.accounts.number(contra_account),
            price,
            size,
            remaining: incoming.remaining(),
            filled: incoming.order.filled,
            contra_remaining: contra_left,
            trade_id,
            fee: taker_fee,
            contra_fee,
            side: incoming.order.side().code(),
            ..Execution::default()
        };
        step.say(ExecutionKind::Fill, Reason::None, of);
        let other = self.unlink(slot);
        let refreshed = self.after_fill(slot, handle, shown);
        if let Some(other) = other {
            self.cancel(step, other, Reason::Linked);
        }
        if incoming.slot != NONE && self.orders.hot[incoming.slot as usize].has(LINKED) {
            let other = self.unlink(incoming.slot).expect("it is a leg");
            self.cancel(step, other, Reason::Linked);
        }
        if refreshed {
            self.tell_refreshed(step, slot);
        }
        self.reach(incoming.order.market, price);
    }

    /// What a resting order pays for a fill, which its terms remember.
    #[inline]
    pub(crate) fn maker_fee(&mut self, slot: u32, price: i64, size: i64, ppm: i32) -> i64 {
        if ppm == 0 {
            return 0;
        }
        let order = &self.orders.hot[slot as usize];
        let has = order.has(TERMS);
        let state: &Market = &self.markets[order.market as usize];
        let mut ahead = if has { self.orders.terms[slot as usize].paid_ahead } else { 0 };
        let paid = fee(state, price, size, ppm, &mut ahead);
        if has || ahead != 0 {
            self.orders.terms_mut(slot).paid_ahead = ahead;
        }
        paid
    }

    /// What becomes of a resting order that was filled and taken out of the hash: it leaves, shows its next part (true), or stays.
    #[inline]
    pub(crate) fn after_fill(&mut self, slot: u32, handle: Handle, shown: i64) -> bool {
        let order = &mut self.orders.hot[slot as usize];
        let left = order.remaining();
        if left == 0 {
            if order.kind == OrderType::Pegged {
                self.forget_peg(slot);
            }
            self.dismiss(slot);
            return false;
        }
        let mut refreshed = false;
        if order.has(ICEBERG) {
            let terms = &mut self.orders.terms[slot as usize];
            terms.shown = shown;
            if shown == 0 {
                let market = &mut self.markets[order.market as usize];
                terms.shown = left.min(terms.display);
                market.priority += 1;
                order.priority = market.priority;
                market.book.refresh(handle, terms.shown);
                refreshed = true;
            }
        }
        self.hash_in(slot);
        refreshed
    }

    pub(crate) fn tell_refreshed(&self, step: &mut Step<'_>, slot: u32) {
        let of = Execution { size: self.orders.terms[slot as usize].shown, ..self.about(slot) };
        step.say(ExecutionKind::Refreshed, Reason::None, of);
    }

    /// Cancels what is left of an aggressor, and the other leg if it is one.
    fn end_incoming(&mut self, step: &mut Step<'_>, incoming: &Incoming, reason: Reason) {
        let order = &incoming.order;
        let of = Execution {
            instrument_id: self.markets[order.market as usize].id,
            order_id: order.id,
            account: self.accounts.number(order.account),
            price: order.price,
            size: incoming.remaining(),
            filled: order.filled,
            side: order.side().code(),
            ..Execution::default()
        };
        step.say(ExecutionKind::Cancelled, reason, of);
        let other = if incoming.slot == NONE { None } else { self.unlink(incoming.slot) };
        self.let_go(incoming);
        if let Some(other) = other {
            self.cancel(step, other, Reason::Linked);
        }
    }

    #[inline]
    fn let_go(&mut self, incoming: &Incoming) {
        if incoming.slot != NONE {
            self.dismiss(incoming.slot);
        }
    }

    #[inline]
    fn rest_incoming(&mut self, incoming: &mut Incoming) {
        let ahead = incoming.terms.paid_ahead;
        let slot = if incoming.slot == NONE {
            if ahead != 0 {
                incoming.order.flags |= TERMS;
            }
            self.admit(incoming.order, &incoming.terms)
        } else {
            let order = &mut self.orders.hot[incoming.slot as usize];
            (order.size, order.filled) = (incoming.order.size, incoming.order.filled);
            if ahead != 0 || order.has(TERMS) {
                self.orders.terms_mut(incoming.slot).paid_ahead = ahead;
            }
            incoming.slot
        };
        self.rest(slot);
    }

    /// Whether a fill-or-kill order would be filled whole, counting only what it could really take, in the order in which it would
    /// meet it.
    fn can_fill_whole(&self, incoming: &Incoming) -> bool {
        let Order { market, account, .. } = incoming.order;
        let state = &self.markets[market as usize];
        let (side, limit, mode) = (incoming.order.side(), incoming.limit(), incoming.order.self_trade());
        let mut left = incoming.left;
        // Of the level at `price`: what was counted of it, and the hidden parts, which come behind all that is shown.
        let (mut price, mut shown, mut hidden, mut wants) = (0, 0_i64, 0_i64, incoming.order.remaining());
        // By amount it goes through when something is left to be had that it pays for no more; by size when all is there.
        let by_amount = left.is_some();
        let enough = |there: i64, wants: i64| if by_amount { there > wants } else { there >= wants };
        for handle in state.book.orders(side.opposite()) {
            let resting = state.book.get(handle);
            if resting.price != price {
                // Nothing stands in the way of the hidden parts of the level that was passed.
                if price != 0 && enough(shown + hidden, wants) {
                    return true;
                }
                match &mut left {
                    None => wants -= shown + hidden,
                    Some(left) => *left -= price as u128 * (shown + hidden) as u128,
                }
                (price, shown, hidden) = (resting.price, 0, 0);
                if !side.takes(limit, price) {
                    return left == Some(0);
                }
                if let Some(left) = left {
                    let at = Incoming { left: Some(left), ..Incoming::new(incoming.order, incoming.terms, NONE) };
                    wants = at.wants(price, state.body.lot);
                    if wants == 0 {
                        return true;
                    }
                }
                if !state.band.holds(price) {
                    return false;
                }
            }
            if by_amount && shown >= wants {
                return true;
            }
            let owned = mode != SelfTrade::None
                && self.accounts.one_owner(account, self.orders.hot[slot_of(resting) as usize].account);
            if owned {
                if mode == SelfTrade::CancelOldest {
                    continue;
                }
                return false;
            }
            shown += resting.shown;
            hidden += resting.hidden;
            if enough(shown, wants) {
                return true;
            }
        }
        let all = shown + hidden;
        price != 0 && (enough(all, wants) || left == Some(price as u128 * all as u128))
    }
}
