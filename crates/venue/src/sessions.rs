//! Sessions: what may follow on which, and what follows from a change.

use tidebook_types::command::{Session, SessionBody, TimeInForce};
use tidebook_types::{Command, Execution, ExecutionKind, Reason};

use crate::order::slot_of;
use crate::step::Step;
use crate::venue::{Venue, fields, operator};

const fn may_follow(from: Session, to: Session) -> bool {
    use Session::{Auction, Closed, Continuous, Halted, PreOpen};
    match from {
        Closed => matches!(to, PreOpen | Auction | Continuous),
        PreOpen => matches!(to, Closed | Auction | Continuous | Halted),
        Auction => matches!(to, Closed | Continuous | Halted),
        Continuous => matches!(to, Closed | Auction | Halted),
        Halted => matches!(to, Closed | Auction | Continuous),
    }
}

impl Venue {
    pub(crate) fn change_session(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        operator(command)?;
        let market = self.instruments.find(command.head.instrument_id).ok_or(Reason::Instrument)?;
        let body: SessionBody = command.body();
        let to = Session::from_code(body.session).ok_or(Reason::Fields)?;
        fields(command, body.reserved == [0; 87])?;
        if !may_follow(self.markets[market as usize].session, to) {
            return Err(Reason::Session);
        }
        self.enter_session(step, market, to, Reason::None);
        Ok(())
    }

    /// Enters a session and does what follows from it but for pegged orders, which are priced or parked after the command.
    pub(crate) fn enter_session(&mut self, step: &mut Step<'_>, market: u32, to: Session, reason: Reason) {
        let state = &mut self.markets[market as usize];
        let from = std::mem::replace(&mut state.session, to);
        state.indicative = (0, 0);
        let of = Execution { instrument_id: state.id, size: to.code().into(), ..Execution::default() };
        step.say(ExecutionKind::SessionChanged, reason, of);
        if to == Session::Continuous || (from, to) == (Session::Auction, Session::Closed) {
            self.uncross(step, market);
        }
        if to == Session::Closed {
            self.expire_day_orders(step, market);
        }
        self.reach_by_last_trade(market);
        self.mark(market);
    }

    fn expire_day_orders(&mut self, step: &mut Step<'_>, market: u32) {
        let mut picked = std::mem::take(&mut self.picked);
        picked.clear();
        self.each_order(market, |id, slot| picked.push((id, slot)));
        picked.retain(|(_, slot)| self.orders.hot[*slot as usize].time_in_force() == TimeInForce::Day);
        picked.sort_unstable();
        self.cancel_all(step, &picked, Reason::Expired);
        self.picked = picked;
    }

    /// Each order of an instrument, in no order.
    pub(crate) fn each_order(&self, market: u32, mut visit: impl FnMut(u64, u32)) {
        let state = &self.markets[market as usize];
        let mut see = |slot: u32| visit(self.orders.hot[slot as usize].id, slot);
        for side in tidebook_book::Side::BOTH {
            for handle in state.book.orders(side) {
                see(slot_of(state.book.get(handle)));
            }
        }
        state.buys.iter().chain(state.sells.iter()).for_each(|entry| see(entry.slot));
        state.trailing.iter().copied().for_each(&mut see);
        state.triggered.iter().filter(|reached| self.is_due(**reached)).for_each(|reached| see(reached.slot));
        let parked = |slot: u32| self.orders.hot[slot as usize].standing == crate::order::Standing::Parked;
        state.pegs.iter().filter(|(_, slot)| parked(*slot)).for_each(|(_, slot)| see(*slot));
    }
}
