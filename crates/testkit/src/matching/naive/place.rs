//! New orders: what is refused, and in which order the reasons come.

use tidebook_book::Side;
use tidebook_types::command::{
    Command, InstrumentBody, ORDER_FLAGS, OrderType, POST_ONLY, Peg, PlaceBody, PlacePairBody, SelfTrade, Session,
    TimeInForce, UNITS_MAX,
};
use tidebook_types::execution::{ExecutionKind, Reason};

use super::{NaiveVenue, Order, demand, fields, head_is_clean};

/// The numbers of an order that can be invalid; 0 where its type has no use for one.
#[derive(Default)]
pub(super) struct Terms {
    pub price: i64,
    /// 0 is a price like any other: none.
    pub price_optional: bool,
    /// Limit of a pair's stop leg, or 0.
    pub limit_price: i64,
    /// `None` by amount, and where it is kept.
    pub size: Option<i64>,
    /// That stays where no other is named.
    pub kept_size: i64,
    pub display_size: i64,
    pub trigger_price: i64,
    pub trigger_needed: bool,
    pub offset: i64,
    /// The smallest that is valid.
    pub offset_min: i64,
    pub amount: Option<i64>,
}

pub(super) const fn is_price(price: i64, tick: i64) -> bool {
    0 < price && price <= UNITS_MAX && price % tick == 0
}

impl Terms {
    /// `TICK`, `LOT`, `SIZE`, `PRICE`, `DISPLAY`, `TRIGGER`, `OFFSET`, `AMOUNT`, in this order.
    pub(super) fn check(&self, of: &InstrumentBody, filled: i64) -> Result<(), Reason> {
        demand(self.price % of.tick == 0 && self.limit_price % of.tick == 0, Reason::Tick)?;
        if let Some(size) = self.size {
            demand(size % of.lot == 0, Reason::Lot)?;
            demand(size > filled && size >= of.size_min && size <= of.size_max, Reason::Size)?;
        }
        let lowest = if self.price_optional { 0 } else { 1 };
        demand((lowest..=UNITS_MAX).contains(&self.price), Reason::Price)?;
        demand((0..=UNITS_MAX).contains(&self.limit_price), Reason::Price)?;
        if self.display_size != 0 {
            let (shown, size) = (i128::from(self.display_size), i128::from(self.size.unwrap_or(self.kept_size)));
            demand(0 < shown && shown < size && size <= 100 * shown, Reason::Display)?;
            demand(self.display_size % of.lot == 0, Reason::Display)?;
        }
        if self.trigger_needed || self.trigger_price != 0 {
            demand(is_price(self.trigger_price, of.tick), Reason::Trigger)?;
        }
        let in_bounds = (self.offset_min..=UNITS_MAX).contains(&self.offset);
        demand(in_bounds && self.offset % of.tick == 0, Reason::Offset)?;
        if let Some(amount) = self.amount {
            demand((1..=UNITS_MAX).contains(&amount), Reason::Amount)?;
        }
        Ok(())
    }
}

impl NaiveVenue {
    pub(super) fn place(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let body: PlaceBody = command.body();
        let instrument = self.instruments.get(&head.instrument_id).ok_or(Reason::Instrument)?;
        demand(self.accounts.contains_key(&head.account), Reason::Account)?;

        fields(head_is_clean(command) && body.reserved == [0; 10] && body.flags & !ORDER_FLAGS == 0)?;
        let side = Side::from_code(body.side).ok_or(Reason::Fields)?;
        let order_type = OrderType::from_code(body.order_type).ok_or(Reason::Fields)?;
        let time_in_force = TimeInForce::from_code(body.time_in_force).ok_or(Reason::Fields)?;
        let self_trade = SelfTrade::from_code(body.self_trade).ok_or(Reason::Fields)?;
        let peg = Peg::from_code(body.peg).ok_or(Reason::Fields)?;
        let (is_limit, is_market) = (order_type == OrderType::Limit, order_type == OrderType::Market);
        let is_trailing = order_type == OrderType::TrailingStop;
        let is_pegged = order_type == OrderType::Pegged;
        let needs_price = matches!(order_type, OrderType::Limit | OrderType::StopLimit);
        let has_trigger = matches!(order_type, OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop);
        let by_amount = is_market && body.amount != 0;
        fields(body.size == 0 || !by_amount)?;
        fields(body.amount == 0 || is_market)?;
        fields(body.display_size == 0 || is_limit)?;
        fields(body.trigger_price == 0 || has_trigger)?;
        fields(body.offset == 0 || is_trailing || is_pegged)?;
        fields((peg != Peg::None) == is_pegged)?;
        fields(body.flags & POST_ONLY == 0 || is_limit)?;
        fields(body.expire_ts == 0 || time_in_force == TimeInForce::Gtd)?;

        let at_once = matches!(time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
        let plain_limit = is_limit && body.flags & POST_ONLY == 0 && body.display_size == 0;
        demand(if is_market { at_once } else { plain_limit || !at_once }, Reason::TimeInForce)?;
        demand(time_in_force != TimeInForce::Gtd || body.expire_ts > self.now, Reason::Expired)?;
        let terms = Terms {
            price: body.price,
            price_optional: !needs_price,
            size: (!by_amount).then_some(body.size),
            display_size: body.display_size,
            trigger_price: body.trigger_price,
            trigger_needed: has_trigger && !is_trailing,
            offset: body.offset,
            offset_min: i64::from(is_trailing),
            amount: by_amount.then_some(body.amount),
            ..Terms::default()
        };
        terms.check(&instrument.terms, 0)?;
        let collects = matches!(instrument.session, Session::PreOpen | Session::Auction);
        let continuous = instrument.session == Session::Continuous;
        let may_wait = has_trigger || (is_limit && body.flags & POST_ONLY == 0 && !at_once);
        demand(continuous || (collects && may_wait), Reason::Session)?;
        let takes = self.would_meet(head.instrument_id, side, body.price);
        demand(body.flags & POST_ONLY == 0 || !takes, Reason::PostOnly)?;
        demand(!self.is_full(head.instrument_id, 1), Reason::Full)?;

        let mut order = Order {
            id: self.sequence.wrapping_mul(2),
            account: head.account,
            instrument_id: head.instrument_id,
            side,
            order_type,
            time_in_force,
            self_trade,
            peg,
            flags: body.flags,
            price: if is_pegged { 0 } else { body.price },
            worst_price: if is_pegged { body.price } else { 0 },
            trigger_price: body.trigger_price,
            display_size: body.display_size,
            offset: body.offset,
            expire_ts: body.expire_ts,
            filled: 0,
            remaining: body.size,
            amount: by_amount
                .then(|| (body.amount, i128::from(body.amount) * 10_i128.pow(u32::from(instrument.terms.size_exp)))),
            shown: 0,
            priority: 0,
            linked: 0,
            owed: 0,
            triggered: None,
        };
        if is_trailing {
            order.trigger_price = self.trailing_begin(&order, body.trigger_price);
        }
        self.say_of(ExecutionKind::Accepted, &order, if by_amount { body.amount } else { body.size }, Reason::None);
        match order_type {
            OrderType::Limit | OrderType::Market if continuous => self.aggress(order),
            OrderType::Limit => self.rest(order),
            OrderType::Market => unreachable!("refused outside of continuous trading"),
            OrderType::Pegged => self.orders.push(order),
            OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop => {
                self.orders.push(order);
                self.trigger_by_last_trade(order.id);
            }
        }
        Ok(())
    }

    pub(super) fn place_pair(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let body: PlacePairBody = command.body();
        let instrument = self.instruments.get(&head.instrument_id).ok_or(Reason::Instrument)?;
        demand(self.accounts.contains_key(&head.account), Reason::Account)?;

        fields(head_is_clean(command) && body.reserved == [0; 12] && body.flags & !ORDER_FLAGS == 0)?;
        let side = Side::from_code(body.side).ok_or(Reason::Fields)?;
        let time_in_force = TimeInForce::from_code(body.time_in_force).ok_or(Reason::Fields)?;
        let self_trade = SelfTrade::from_code(body.self_trade).ok_or(Reason::Fields)?;
        fields(body.expire_ts == 0 || time_in_force == TimeInForce::Gtd)?;

        demand(!matches!(time_in_force, TimeInForce::Ioc | TimeInForce::Fok), Reason::TimeInForce)?;
        demand(time_in_force != TimeInForce::Gtd || body.expire_ts > self.now, Reason::Expired)?;
        let terms = Terms {
            price: body.price,
            limit_price: body.limit_price,
            size: Some(body.size),
            trigger_price: body.trigger_price,
            trigger_needed: true,
            ..Terms::default()
        };
        terms.check(&instrument.terms, 0)?;
        let reached = instrument.last_trade.is_some_and(|last| super::stops::reaches(side, body.trigger_price, last));
        demand(!reached, Reason::Trigger)?;
        demand(instrument.session == Session::Continuous, Reason::Session)?;
        let takes = self.would_meet(head.instrument_id, side, body.price);
        demand(body.flags & POST_ONLY == 0 || !takes, Reason::PostOnly)?;
        demand(!self.is_full(head.instrument_id, 2), Reason::Full)?;

        let id = self.sequence.wrapping_mul(2);
        let limit = Order {
            id,
            account: head.account,
            instrument_id: head.instrument_id,
            side,
            order_type: OrderType::Limit,
            time_in_force,
            self_trade,
            peg: Peg::None,
            flags: body.flags,
            price: body.price,
            worst_price: 0,
            trigger_price: 0,
            display_size: 0,
            offset: 0,
            expire_ts: body.expire_ts,
            filled: 0,
            remaining: body.size,
            amount: None,
            shown: 0,
            priority: 0,
            linked: id + 1,
            owed: 0,
            triggered: None,
        };
        let stop = Order {
            id: id + 1,
            order_type: if body.limit_price == 0 { OrderType::Stop } else { OrderType::StopLimit },
            flags: body.flags & !POST_ONLY,
            price: body.limit_price,
            trigger_price: body.trigger_price,
            linked: id,
            ..limit
        };
        self.say_of(ExecutionKind::Accepted, &limit, body.size, Reason::None);
        self.say_of(ExecutionKind::Accepted, &stop, body.size, Reason::None);
        self.orders.push(stop);
        self.aggress(limit);
        Ok(())
    }
}
