//! An order's new terms: it keeps its place, or comes in anew.

use tidebook_types::command::{Command, OrderType, POST_ONLY, ReplaceBody, Session, TimeInForce};
use tidebook_types::execution::{ExecutionKind, Reason};

use super::place::Terms;
use super::{NaiveVenue, Order, demand, fields, head_is_clean};

impl NaiveVenue {
    pub(super) fn replace(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let mut body: ReplaceBody = command.body();
        let instrument = self.instruments.get(&head.instrument_id).ok_or(Reason::Instrument)?;
        demand(self.accounts.contains_key(&head.account), Reason::Account)?;
        let mine = |order: &&Order| order.instrument_id == head.instrument_id && order.account == head.account;
        let old = *self.find(body.order_id).filter(mine).ok_or(Reason::UnknownOrder)?;
        demand(old.linked == 0, Reason::Linked)?;

        let is_limit = old.order_type == OrderType::Limit;
        let is_pegged = old.order_type == OrderType::Pegged;
        let is_trailing = old.order_type == OrderType::TrailingStop;
        let needs_price = is_limit || old.order_type == OrderType::StopLimit;
        fields(head_is_clean(command) && body.reserved == [0; 16])?;
        fields(body.display_size == 0 || is_limit)?;
        fields(body.trigger_price == 0 || old.is_waiting_stop())?;
        fields(body.offset == 0 || is_trailing || is_pegged)?;
        fields(body.expire_ts == 0 || old.time_in_force == TimeInForce::Gtd)?;
        demand(old.time_in_force != TimeInForce::Gtd || body.expire_ts > self.now, Reason::Expired)?;
        let terms = Terms {
            price: body.price,
            price_optional: !needs_price,
            size: (body.size != 0).then_some(body.size),
            kept_size: old.size(),
            display_size: body.display_size,
            trigger_price: body.trigger_price,
            trigger_needed: old.is_waiting_stop() && !is_trailing,
            offset: body.offset,
            offset_min: i64::from(is_trailing),
            ..Terms::default()
        };
        terms.check(&instrument.terms, old.filled)?;
        let continuous = instrument.session == Session::Continuous;
        let collects = matches!(instrument.session, Session::PreOpen | Session::Auction);
        demand(continuous || collects, Reason::Session)?;

        if body.size == 0 {
            body.size = old.size();
        }
        let mut order = Order {
            display_size: body.display_size,
            offset: body.offset,
            expire_ts: body.expire_ts,
            remaining: body.size - old.filled,
            ..old
        };
        let larger = body.size > old.size();
        if old.is_waiting_stop() {
            order.price = body.price;
            if !is_trailing {
                order.trigger_price = body.trigger_price;
            } else if body.trigger_price != 0 {
                order.trigger_price = self.trailing_begin(&order, body.trigger_price);
            }
            *self.find_mut(old.id) = order;
            self.say_of(ExecutionKind::Replaced, &order, body.size, Reason::None);
            self.trigger_by_last_trade(old.id);
        } else if is_pegged {
            order.worst_price = body.price;
            if larger {
                order = Order { price: 0, priority: 0, ..order };
            }
            order.shown = if order.in_book() { order.remaining } else { 0 };
            *self.find_mut(old.id) = order;
            self.say_of(ExecutionKind::Replaced, &order, body.size, Reason::None);
        } else if body.price == old.price && body.display_size == old.display_size && !larger {
            order.shown = old.shown.min(order.remaining);
            *self.find_mut(old.id) = order;
            self.say_of(ExecutionKind::Replaced, &order, body.size, Reason::None);
        } else {
            let takes = continuous && self.would_meet(old.instrument_id, old.side, body.price);
            demand(old.flags & POST_ONLY == 0 || !takes, Reason::PostOnly)?;
            self.take(old.id);
            order = Order { price: body.price, shown: 0, priority: 0, ..order };
            self.say_of(ExecutionKind::Replaced, &order, body.size, Reason::None);
            if continuous {
                self.aggress(order);
            } else {
                self.rest(order);
            }
        }
        Ok(())
    }
}
