//! Replace: new terms under the old id.

use tidebook_book::Handle;
use tidebook_types::command::{POST_ONLY, ReplaceBody, Session, TimeInForce};
use tidebook_types::{Command, ExecutionKind, OrderType, Reason};

use crate::order::{ICEBERG, LINKED, Standing, TERMS};
use crate::step::Step;
use crate::validate;
use crate::venue::{Venue, reserved};

impl Venue {
    pub(crate) fn replace(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let (market, account) = self.parties(command)?;
        let mut body: ReplaceBody = command.body();
        let slot = self.named(body.order_id, market, Some(account))?;
        let order = &self.orders.hot[slot as usize];
        if order.has(LINKED) {
            return Err(Reason::Linked);
        }
        let state = &self.markets[market as usize];
        validate::replace(&body, reserved(command), order, &state.body, step.ts)?;
        if body.size == 0 {
            body.size = order.size;
        }
        let session = state.session;
        if matches!(session, Session::Closed | Session::Halted) {
            return Err(Reason::Session);
        }
        match order.kind {
            OrderType::Limit => self.replace_limit(step, slot, &body, session),
            OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop => {
                self.replace_stop(step, slot, &body);
                Ok(())
            }
            OrderType::Pegged => {
                self.replace_pegged(step, slot, &body);
                Ok(())
            }
            OrderType::Market => unreachable!("a market order never stays"),
        }
    }

    fn replace_limit(
        &mut self,
        step: &mut Step<'_>,
        slot: u32,
        body: &ReplaceBody,
        session: Session,
    ) -> Result<(), Reason> {
        let order = self.orders.hot[slot as usize];
        let display = if order.has(ICEBERG) { self.orders.terms[slot as usize].display } else { 0 };
        let handle = order.handle.expect("a limit order rests");
        let keeps = body.price == order.price && body.display_size == display && body.size <= order.size;
        let meets = session == Session::Continuous
            && !keeps
            && self.markets[order.market as usize].would_meet(order.side(), body.price);
        if meets && order.has(POST_ONLY) {
            return Err(Reason::PostOnly);
        }
        self.retime(slot, body.expire_ts);
        self.hash_out(slot);
        let order = &mut self.orders.hot[slot as usize];
        (order.price, order.size) = (body.price, body.size);
        if keeps {
            self.fit_in_place(slot, handle);
            let of = self.about(slot);
            step.say(ExecutionKind::Replaced, Reason::None, of);
            return Ok(());
        }
        if display != body.display_size {
            self.set_display(slot, body.display_size);
        }
        let of = self.about(slot);
        step.say(ExecutionKind::Replaced, Reason::None, of);
        if meets {
            let order = &mut self.orders.hot[slot as usize];
            (order.standing, order.handle) = (Standing::Matching, None);
            self.markets[order.market as usize].book.remove(handle);
            let mut incoming = self.incoming(slot);
            self.match_incoming(step, &mut incoming);
        } else {
            self.move_to(slot, handle);
        }
        Ok(())
    }

    /// Moves a resting order behind all others of its new price, and into the hash.
    fn move_to(&mut self, slot: u32, handle: Handle) {
        let (shown, hidden) = self.queue(slot);
        let order = &self.orders.hot[slot as usize];
        self.markets[order.market as usize].book.relocate(handle, order.price, shown, hidden);
        self.hash_in(slot);
    }

    fn set_display(&mut self, slot: u32, display: i64) {
        self.orders.terms_mut(slot).display = display;
        let order = &mut self.orders.hot[slot as usize];
        order.flags = if display == 0 { order.flags & !ICEBERG } else { order.flags | ICEBERG };
        if display == 0 {
            self.orders.terms[slot as usize].shown = 0;
        }
    }

    /// Another time of GTD. The hash follows what is hashed: the caller's turn is before or after, never in between.
    fn retime(&mut self, slot: u32, expire_ts: i64) {
        let order = &self.orders.hot[slot as usize];
        if order.time_in_force() == TimeInForce::Gtd && self.orders.terms[slot as usize].expire_ts != expire_ts {
            debug_assert!(order.has(TERMS));
            self.hash_out(slot);
            self.orders.terms[slot as usize].expire_ts = expire_ts;
            self.time_order(slot, expire_ts);
            self.hash_in(slot);
        }
    }

    /// A stop waits on with its new terms, or is reached by the last trade. One that was triggered stays so.
    fn replace_stop(&mut self, step: &mut Step<'_>, slot: u32, body: &ReplaceBody) {
        self.retime(slot, body.expire_ts);
        let triggered = self.orders.hot[slot as usize].standing == Standing::Triggered;
        if triggered {
            self.hash_out(slot);
        } else {
            self.withdraw(slot);
        }
        let order = &mut self.orders.hot[slot as usize];
        (order.price, order.size) = (body.price, body.size);
        let kind = order.kind;
        let terms = &mut self.orders.terms[slot as usize];
        terms.offset = body.offset;
        if kind != OrderType::TrailingStop || body.trigger_price != 0 {
            terms.trigger = body.trigger_price;
        }
        if triggered {
            self.hash_in(slot);
        } else {
            self.begin_waiting_again(slot, body.trigger_price != 0);
        }
        let of = self.about(slot);
        step.say(ExecutionKind::Replaced, Reason::None, of);
        self.reach_alone(slot);
    }

    /// Its terms change; a larger size takes it out, so that it comes back behind all others.
    fn replace_pegged(&mut self, step: &mut Step<'_>, slot: u32, body: &ReplaceBody) {
        self.retime(slot, body.expire_ts);
        self.hash_out(slot);
        let order = &mut self.orders.hot[slot as usize];
        let larger = body.size > order.size;
        (order.price, order.size) = (body.price, body.size);
        self.orders.terms[slot as usize].offset = body.offset;
        let left = order.remaining();
        if let Some(handle) = order.handle {
            let book = &mut self.markets[order.market as usize].book;
            if larger {
                book.remove(handle);
                order.handle = None;
                order.standing = Standing::Parked;
                self.orders.terms[slot as usize].at = 0;
            } else {
                book.resize(handle, left, 0);
            }
        }
        self.hash_in(slot);
        let of = self.about(slot);
        step.say(ExecutionKind::Replaced, Reason::None, of);
    }
}
