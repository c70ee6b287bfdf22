//! Orders that go because somebody or the time says so.

use tidebook_book::Side;
use tidebook_types::command::{CancelAllAfterBody, CancelBody, Command, MassCancelBody, TimeInForce};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

use super::{CANCEL_ON_DISCONNECT, NaiveVenue, Order, demand, fields, head_is_clean};

impl NaiveVenue {
    /// Ends an order that rests or waits, and with it its other leg.
    pub(super) fn cancel(&mut self, id: u64, reason: Reason) {
        let order = self.take(id);
        let gone = Order { remaining: 0, ..order };
        self.say_of(ExecutionKind::Cancelled, &gone, order.remaining, reason);
        self.cancel_linked(order.linked);
    }

    /// Ends many, in the order of acceptance; how many went, other legs included.
    pub(super) fn cancel_many(&mut self, reason: Reason, which: impl Fn(&Order) -> bool) -> i64 {
        let before = self.orders.len();
        for id in self.ids(which) {
            // The other leg of one that went before is gone.
            if self.find(id).is_some() {
                self.cancel(id, reason);
            }
        }
        (before - self.orders.len()) as i64
    }

    pub(super) fn cancel_one(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let body: CancelBody = command.body();
        demand(self.instruments.contains_key(&head.instrument_id), Reason::Instrument)?;
        demand(head.account == 0 || self.accounts.contains_key(&head.account), Reason::Account)?;
        let order = self.find(body.order_id).filter(|order| {
            order.instrument_id == head.instrument_id && (head.account == 0 || order.account == head.account)
        });
        demand(order.is_some(), Reason::UnknownOrder)?;
        fields(head_is_clean(command) && body.reserved == [0; 64])?;
        self.cancel(body.order_id, Reason::Requested);
        Ok(())
    }

    pub(super) fn mass_cancel(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let body: MassCancelBody = command.body();
        demand(head.instrument_id == 0 || self.instruments.contains_key(&head.instrument_id), Reason::Instrument)?;
        demand(head.account == 0 || self.accounts.contains_key(&head.account), Reason::Account)?;
        let side = Side::from_code(body.side);
        fields(head_is_clean(command) && body.reserved == [0; 87] && (side.is_some() || body.side == 0))?;
        let count = self.cancel_many(Reason::MassCancel, |order| {
            (head.account == 0 || order.account == head.account)
                && (head.instrument_id == 0 || order.instrument_id == head.instrument_id)
                && side.is_none_or(|side| order.side == side)
        });
        self.say(Execution {
            kind: ExecutionKind::MassCancelled.code(),
            instrument_id: head.instrument_id,
            account: head.account,
            side: body.side,
            size: count,
            ..Execution::default()
        });
        Ok(())
    }

    pub(super) fn disconnect(&mut self, command: &Command) -> Result<(), Reason> {
        let account = command.head.account;
        demand(self.accounts.contains_key(&account), Reason::Account)?;
        fields(
            head_is_clean(command) && command.head.instrument_id == 0 && command.body.iter().all(|&byte| byte == 0),
        )?;
        self.cancel_many(Reason::Disconnected, |order| {
            order.account == account && order.flags & CANCEL_ON_DISCONNECT != 0
        });
        self.say_done(command);
        Ok(())
    }

    pub(super) fn set_dead_man(&mut self, command: &Command) -> Result<(), Reason> {
        let body: CancelAllAfterBody = command.body();
        let now = self.now;
        let account = self.accounts.get_mut(&command.head.account).ok_or(Reason::Account)?;
        fields(head_is_clean(command) && command.head.instrument_id == 0 && body.reserved == [0; 80])?;
        fields(body.timeout_ns >= 0)?;
        account.dead_man = (body.timeout_ns > 0).then(|| now.saturating_add(body.timeout_ns));
        self.say_done(command);
        Ok(())
    }

    pub(super) fn timer(&self, command: &Command) -> Result<(), Reason> {
        demand(command.head.account == 0, Reason::Operator)?;
        fields(head_is_clean(command) && command.head.instrument_id == 0 && command.body.iter().all(|&byte| byte == 0))
    }

    /// What the time ends, one after another: by time, GTD before dead man, then by order or account.
    pub(super) fn expire(&mut self) {
        loop {
            let orders = self.orders.iter().filter(|order| order.time_in_force == TimeInForce::Gtd);
            let gtd = orders.map(|order| (order.expire_ts, 0, order.id)).min();
            let switches =
                self.accounts.iter().filter_map(|(&id, account)| Some((account.dead_man?, 1, u64::from(id))));
            let Some((ts, what, id)) = switches.chain(gtd).min() else { return };
            if ts > self.now {
                return;
            }
            if what == 0 {
                self.cancel(id, Reason::Expired);
            } else {
                let account = u32::try_from(id).expect("an account's number");
                self.accounts.get_mut(&account).expect("it has a switch").dead_man = None;
                self.cancel_many(Reason::DeadMan, |order| order.account == account);
            }
        }
    }
}
