//! Self-trade prevention: what an aggressor does at an order of its owner, before any fill of that meeting.

use tidebook_types::command::SelfTrade;
use tidebook_types::{Execution, ExecutionKind, OrderType, Reason};

use crate::aggress::Incoming;
use crate::order::{LINKED, NONE};
use crate::step::Step;
use crate::venue::Venue;

/// What becomes of the aggressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    GoesOn,
    IsDone,
    IsCancelled,
}

impl Venue {
    /// `wants` is what the aggressor would take at the price of the own order in `slot`. Where both are told the resting one comes first.
    pub(crate) fn meet_own(
        &mut self,
        step: &mut Step<'_>,
        incoming: &mut Incoming,
        mode: SelfTrade,
        slot: u32,
        wants: i64,
    ) -> After {
        match mode {
            SelfTrade::None => After::GoesOn,
            SelfTrade::CancelNewest => After::IsCancelled,
            SelfTrade::CancelOldest => {
                self.cancel(step, slot, Reason::SelfTrade);
                After::GoesOn
            }
            SelfTrade::CancelBoth => {
                self.cancel(step, slot, Reason::SelfTrade);
                After::IsCancelled
            }
            SelfTrade::Decrement => {
                self.decrement(step, incoming, slot, wants);
                if incoming.is_done() { After::IsDone } else { After::GoesOn }
            }
        }
    }

    fn decrement(&mut self, step: &mut Step<'_>, incoming: &mut Incoming, slot: u32, wants: i64) {
        let left = self.orders.hot[slot as usize].remaining();
        let size = left.min(wants);
        let of = self.about(slot);
        let price = of.price;
        step.say(ExecutionKind::Reduced, Reason::SelfTrade, Execution { size, remaining: left - size, ..of });
        self.hash_out(slot);
        let order = &mut self.orders.hot[slot as usize];
        order.size -= size;
        let handle = order.handle.expect("it rests");
        if size == left {
            let market = order.market;
            self.markets[market as usize].book.remove(handle);
            if order.kind == OrderType::Pegged {
                self.forget_peg(slot);
            }
            let other = self.unlink(slot);
            self.dismiss(slot);
            if let Some(other) = other {
                self.cancel(step, other, Reason::Linked);
            }
        } else {
            self.fit_in_place(slot, handle);
        }
        match &mut incoming.left {
            None => incoming.order.size -= size,
            Some(left) => *left -= price.unsigned_abs() as u128 * size.unsigned_abs() as u128,
        }
        let order = &incoming.order;
        let of = Execution {
            instrument_id: of.instrument_id,
            order_id: order.id,
            account: self.accounts.number(order.account),
            price: order.price,
            size,
            remaining: incoming.remaining(),
            filled: order.filled,
            side: order.side().code(),
            ..Execution::default()
        };
        step.say(ExecutionKind::Reduced, Reason::SelfTrade, of);
        if incoming.slot != NONE && incoming.is_done() && self.orders.hot[incoming.slot as usize].has(LINKED) {
            let other = self.unlink(incoming.slot).expect("it is a leg");
            self.cancel(step, other, Reason::Linked);
        }
    }
}
