//! One cancels other: a limit order and a stop of which only one can ever be executed.
//!
//! Both legs are orders like others that name each other; whoever fills, triggers or ends one of them cancels the other (`Venue::unlink`).

use tidebook_book::Side;
use tidebook_types::command::{CANCEL_ON_DISCONNECT, POST_ONLY, PlacePairBody, Session};
use tidebook_types::{Command, Execution, ExecutionKind, OrderType, Reason};

use crate::order::{LINKED, NONE, Order, SELLS, TERMS, Terms};
use crate::step::Step;
use crate::stops::is_reached;
use crate::validate;
use crate::venue::{Venue, reserved};

impl Venue {
    pub(crate) fn place_pair(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let (market, account) = self.parties(command)?;
        let body: PlacePairBody = command.body();
        let state = &self.markets[market as usize];
        let words = validate::pair(&body, reserved(command), &state.body, step.ts)?;
        if state.last_trade != 0 && is_reached(words.side, body.trigger_price, state.last_trade) {
            return Err(Reason::Trigger);
        }
        if state.session != Session::Continuous {
            return Err(Reason::Session);
        }
        if body.flags & POST_ONLY != 0 && state.would_meet(words.side, body.price) {
            return Err(Reason::PostOnly);
        }
        self.room(market, 2)?;
        let common = Order {
            size: body.size,
            account,
            market,
            modes: Order::modes_of(words.time_in_force, words.self_trade),
            flags: TERMS | LINKED | if words.side == Side::Ask { SELLS } else { 0 },
            ..Order::EMPTY
        };
        let limit = Order {
            id: step.source_sequence.wrapping_mul(2),
            price: body.price,
            flags: common.flags | body.flags,
            ..common
        };
        let stop = Order {
            id: limit.id + 1,
            price: body.limit_price,
            flags: common.flags | body.flags & CANCEL_ON_DISCONNECT,
            kind: if body.limit_price == 0 { OrderType::Stop } else { OrderType::StopLimit },
            ..common
        };
        let terms = Terms { expire_ts: body.expire_ts, ..Terms::NONE };
        let limit_slot = self.admit(limit, &terms);
        let stop_slot = self.admit(stop, &Terms { trigger: body.trigger_price, linked: limit_slot, ..terms });
        self.orders.terms[limit_slot as usize].linked = stop_slot;
        self.begin_waiting(stop_slot);
        for slot in [limit_slot, stop_slot] {
            let of: Execution = self.about(slot);
            step.say(ExecutionKind::Accepted, Reason::None, of);
        }
        let mut incoming = self.incoming(limit_slot);
        debug_assert_ne!(incoming.slot, NONE);
        self.match_incoming(step, &mut incoming);
        Ok(())
    }
}
