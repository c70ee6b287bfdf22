//! Many orders away: by command, at the end of a client's session, by the dead man's switch.

use tidebook_book::Side;
use tidebook_types::command::{CANCEL_ON_DISCONNECT, MassCancelBody};
use tidebook_types::{Command, Execution, ExecutionKind, Reason};

use crate::order::NONE;
use crate::shards::Phase;
use crate::step::Step;
use crate::venue::{Venue, done, fields};

impl Venue {
    pub(crate) fn mass_cancel(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let head = &command.head;
        let market = match head.instrument_id {
            0 => None,
            id => Some(self.instruments.find(id).ok_or(Reason::Instrument)?),
        };
        let account = match head.account {
            0 => None,
            number => Some(self.accounts.find(number).ok_or(Reason::Account)?),
        };
        let body: MassCancelBody = command.body();
        let side = Side::from_code(body.side);
        fields(command, (side.is_some() || body.side == 0) && body.reserved == [0; 87])?;
        let before = self.orders.len();
        let mut picked = std::mem::take(&mut self.picked);
        picked.clear();
        match (account, market) {
            (Some(account), _) => self.pick_of_account(account, &mut picked),
            (None, Some(market)) => self.each_order(market, |id, slot| picked.push((id, slot))),
            (None, None) => {
                let all = self.orders.hot.iter().enumerate().filter(|(_, order)| order.id != 0);
                picked.extend(all.map(|(slot, order)| (order.id, slot as u32)));
            }
        }
        picked.retain(|(_, slot)| {
            let order = &self.orders.hot[*slot as usize];
            market.is_none_or(|market| market == order.market) && side.is_none_or(|side| side == order.side())
        });
        picked.sort_unstable();
        step.phase = Phase::Many;
        self.cancel_all(step, &picked, Reason::MassCancel);
        step.phase = Phase::Sum;
        self.picked = picked;
        let of = Execution {
            instrument_id: head.instrument_id,
            account: head.account,
            side: body.side,
            size: (before - self.orders.len()).into(),
            ..Execution::default()
        };
        step.say(ExecutionKind::MassCancelled, Reason::None, of);
        Ok(())
    }

    pub(crate) fn disconnect(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let account = self.accounts.find(command.head.account).ok_or(Reason::Account)?;
        fields(command, command.head.instrument_id == 0 && command.body.iter().all(|byte| *byte == 0))?;
        let mut picked = std::mem::take(&mut self.picked);
        picked.clear();
        self.pick_of_account(account, &mut picked);
        picked.retain(|(_, slot)| self.orders.hot[*slot as usize].has(CANCEL_ON_DISCONNECT));
        step.phase = Phase::Many;
        self.cancel_all(step, &picked, Reason::Disconnected);
        step.phase = Phase::Sum;
        self.picked = picked;
        done(step, command);
        Ok(())
    }

    /// The dead man's switch of an account goes off.
    pub(crate) fn switch_off_and_cancel(&mut self, step: &mut Step<'_>, account: u32) {
        self.switch_off(account);
        let mut picked = std::mem::take(&mut self.picked);
        picked.clear();
        self.pick_of_account(account, &mut picked);
        self.cancel_all(step, &picked, Reason::DeadMan);
        self.picked = picked;
    }

    /// Orders of an account, in the order of acceptance.
    fn pick_of_account(&self, account: u32, picked: &mut Vec<(u64, u32)>) {
        let mut slot = self.accounts.all[account as usize].first;
        while slot != NONE {
            let order = &self.orders.hot[slot as usize];
            picked.push((order.id, slot));
            slot = order.next;
        }
    }

    /// Cancels each that is still there: the other leg of a pair goes with the first.
    pub(crate) fn cancel_all(&mut self, step: &mut Step<'_>, picked: &[(u64, u32)], reason: Reason) {
        for (id, slot) in picked.iter().copied() {
            if self.orders.hot[slot as usize].id == id {
                self.cancel(step, slot, reason);
            }
        }
    }
}
