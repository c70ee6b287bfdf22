//! What a command does to risk once it has its verdict.

use tidebook_types::command::{
    CancelBody, KillBody, LimitsBody, MassCancelBody, PlaceBody, PlacePairBody, ReplaceBody, TransferBody,
};
use tidebook_types::{
    ClientOrderId, Command, CommandKind, OrderType, Reason, RiskEvent, RiskEventKind, TimeInForce, Verdict,
};
use zerocopy::IntoBytes;

use crate::check::{Reckoned, new_order, with_terms};
use crate::entries::{Account, Limits, Listed, Order, PendingDefinition, PendingReplace};
use crate::portfolio::transferred;
use crate::risk::Risk;

impl Risk {
    pub(crate) fn commit(&mut self, command: &Command) {
        let Some(kind) = CommandKind::from_code(command.head.kind) else { return self.tell_rejected(command) };
        if matches!(kind, CommandKind::Place | CommandKind::PlacePair | CommandKind::Replace) {
            self.take_tokens(command);
        }
        if command.head.verdict != Verdict::Accepted.code() {
            return self.tell_rejected(command);
        }
        let (account, instrument_id) = (command.head.account, command.head.instrument_id);
        let event = RiskEvent { account, instrument_id, ..RiskEvent::default() };
        match kind {
            CommandKind::Place => self.place(command),
            CommandKind::PlacePair => self.place_pair(command),
            CommandKind::Replace => self.replace(command),
            CommandKind::MassCancel => {
                // The one that a kill asked for, or one that does the same.
                let all = instrument_id == 0 && command.body::<MassCancelBody>().side == 0;
                if all {
                    self.due.retain(|&due| due != account);
                }
            }
            CommandKind::Timer => self.check_all_margins(),
            CommandKind::Instrument => {
                self.define_instrument(command);
                self.tell(RiskEventKind::InstrumentChanged, event);
            }
            CommandKind::Account => {
                self.define_account(command);
                self.tell(RiskEventKind::AccountChanged, event);
                self.check_margin(account);
            }
            CommandKind::Limits => {
                self.set_limits(command);
                self.tell(RiskEventKind::LimitsChanged, event);
            }
            CommandKind::Transfer => {
                let body: TransferBody = command.body();
                debug_assert!(transferred(&body) != 0);
                self.portfolio.transfer(account, &body);
                self.tell(RiskEventKind::Transferred, RiskEvent { asset: body.asset, value: body.amount, ..event });
                self.check_margin(account);
            }
            CommandKind::Kill => self.kill(account, command.body::<KillBody>().killed != 0),
            CommandKind::Cancel | CommandKind::CancelAllAfter | CommandKind::Disconnect | CommandKind::Session => {}
        }
    }

    fn tell_rejected(&mut self, command: &Command) {
        let head = &command.head;
        let (order_id, client_order_id) = match CommandKind::from_code(head.kind) {
            Some(CommandKind::Place) => (0, command.body::<PlaceBody>().client_order_id),
            Some(CommandKind::PlacePair) => (0, command.body::<PlacePairBody>().client_order_id),
            Some(CommandKind::Replace) => {
                let body: ReplaceBody = command.body();
                (body.order_id, body.client_order_id)
            }
            Some(CommandKind::Cancel) => {
                let body: CancelBody = command.body();
                (body.order_id, body.client_order_id)
            }
            _ => (0, ClientOrderId::NONE.0),
        };
        let event = RiskEvent {
            account: head.account,
            instrument_id: head.instrument_id,
            order_id,
            client_order_id,
            reason: head.reason,
            command_kind: head.kind,
            ..RiskEvent::default()
        };
        self.tell(RiskEventKind::Rejected, event);
    }

    /// Whoever was neither late nor throttled, and came as far as being asked, has taken a token of both buckets.
    fn take_tokens(&mut self, command: &Command) {
        let (head, ts) = (&command.head, self.ts);
        let Some(account) = self.accounts.find(head.account) else { return };
        let known = self.instruments.by_key(head.instrument_id).is_some_and(|listed| listed.known);
        let asked = head.reserved == [0; 5] && self.accounts.get(account).known && known;
        if !asked || [Reason::Throttled, Reason::Late].map(Reason::code).contains(&head.reason) {
            return;
        }
        if self.accounts.get(account).limits.commands_per_s > 0 {
            self.accounts.get_mut(account).limits.take_token(ts);
        }
        let line = self.lines.find(crate::portfolio::pair(head.account, head.instrument_id));
        if let Some(line) = line
            && self.lines.get(line).limits.commands_per_s > 0
        {
            self.lines.get_mut(line).limits.take_token(ts);
        }
    }

    /// The account and instrument of a command that was accepted.
    fn parties(&self, command: &Command) -> Option<(Account, Listed)> {
        let account = self.accounts.by_key(command.head.account)?;
        let listed = self.instruments.by_key(command.head.instrument_id)?;
        Some((*account, *listed))
    }

    fn add(&mut self, order: Order, listed: &Listed, id: [u8; 16]) {
        let line = self.line_slot(order.account, order.instrument_id);
        for asset in [listed.base_asset, listed.quote_asset] {
            self.portfolio.balance_slot(order.account, asset);
        }
        let ids = self.ids.take(order.account, id, order.id, order.ids);
        let slot = self.orders.insert(Order { line, ids, ..order });
        self.count_order(line, 1);
        self.recount(slot, true);
    }

    fn place(&mut self, command: &Command) {
        let Some((account, listed)) = self.parties(command) else { return };
        let body: PlaceBody = command.body();
        let id = self.sequence.wrapping_mul(2);
        if self.orders.find(id).is_some() {
            return;
        }
        let (_, line) = self.line_of(account.id, &listed);
        let reckoned = self
            .reckon(&account, &line.limits, &listed, body.side, body.order_type, body.price, body.amount != 0)
            .unwrap_or(Reckoned { price: body.price, worth_price: body.price, put: 0 });
        self.add(new_order(id, account.id, &body, &listed, reckoned), &listed, body.client_order_id);
        let time_in_force = TimeInForce::from_code(body.time_in_force);
        if matches!(time_in_force, Some(TimeInForce::Ioc | TimeInForce::Fok))
            || body.order_type == OrderType::Market.code()
        {
            self.immediate.push_back(id);
        }
    }

    fn place_pair(&mut self, command: &Command) {
        let Some((account, listed)) = self.parties(command) else { return };
        let body: PlacePairBody = command.body();
        let id = self.sequence.wrapping_mul(2);
        if self.orders.find(id).is_some() || self.orders.find(id + 1).is_some() {
            return;
        }
        // A rule that would refuse it today changes no history: then the limit's price is all there is to reckon with.
        let known = PlacePairBody { limit_price: body.price, ..body };
        let legs =
            self.pair_legs(id, &account, &body, &listed).or_else(|_| self.pair_legs(id, &account, &known, &listed));
        let Ok([limit, stop]) = legs else { return };
        self.add(limit, &listed, body.client_order_id);
        self.add(stop, &listed, body.stop_client_order_id);
    }

    fn replace(&mut self, command: &Command) {
        let Some((account, listed)) = self.parties(command) else { return };
        let body: ReplaceBody = command.body();
        let Some(slot) = self.orders.find(body.order_id) else { return };
        let order = *self.orders.get(slot);
        let (_, line) = self.line_of(account.id, &listed);
        let reckoned = self
            .reckon(&account, &line.limits, &listed, order.side, order.order_type, body.price, false)
            .unwrap_or(Reckoned { price: body.price, worth_price: body.price, put: 0 });
        let ids = self.ids.take(order.account, body.client_order_id, order.id, order.ids);
        let after = with_terms(&order, reckoned.price, reckoned.worth_price, body.size);
        *self.orders.get_mut(slot) = Order { ids, ..after };
        self.recount(slot, true);
        self.replaces.push_back(PendingReplace {
            sequence: self.sequence,
            order_id: order.id,
            price: reckoned.price,
            worth_price: reckoned.worth_price,
            size: body.size,
        });
    }

    fn define_instrument(&mut self, command: &Command) {
        let id = command.head.instrument_id;
        let slot =
            self.instruments.find(id).unwrap_or_else(|| self.instruments.insert(Listed { id, ..Listed::default() }));
        self.pend(command, 0, self.instruments.get(slot).known, self.instruments.get(slot).body().as_bytes());
        self.list(slot, &command.body());
    }

    fn list(&mut self, slot: u32, body: &tidebook_types::command::InstrumentBody) {
        let id = self.instruments.get(slot).id;
        self.portfolio.list(id, body);
        let market = self.portfolio.markets.find(id).expect("it was just listed");
        let listed = self.instruments.get_mut(slot);
        listed.define(body);
        listed.market = market;
    }

    fn define_account(&mut self, command: &Command) {
        let id = command.head.account;
        let slot = self.accounts.find(id).unwrap_or_else(|| self.accounts.insert(Account { id, ..Account::default() }));
        self.pend(command, id, self.accounts.get(slot).known, self.accounts.get(slot).body().as_bytes());
        let body = command.body();
        self.portfolio.open(id, &body);
        self.accounts.get_mut(slot).define(&body);
    }

    fn pend(&mut self, command: &Command, account: u32, known: bool, body: &[u8]) {
        let mut before = [0; 88];
        before.copy_from_slice(body);
        let instrument_id = if account == 0 { command.head.instrument_id } else { 0 };
        self.definitions.push_back(PendingDefinition {
            sequence: self.sequence,
            account,
            instrument_id,
            known,
            before,
        });
    }

    /// The venue refused a definition: what was before holds again.
    pub(crate) fn revert(&mut self, pending: &PendingDefinition) {
        let before = Command { body: pending.before, ..Command::bare(CommandKind::Timer, 0) };
        if pending.account != 0 {
            if let Some(slot) = self.accounts.find(pending.account) {
                let body = before.body();
                self.portfolio.open(pending.account, &body);
                let account = self.accounts.get_mut(slot);
                account.define(&body);
                account.known = pending.known;
            }
        } else if let Some(slot) = self.instruments.find(pending.instrument_id) {
            if pending.known {
                self.list(slot, &before.body());
            } else {
                self.instruments.get_mut(slot).known = false;
            }
        }
        let event =
            RiskEvent { account: pending.account, instrument_id: pending.instrument_id, ..RiskEvent::default() };
        self.tell(RiskEventKind::Reverted, event);
    }

    fn set_limits(&mut self, command: &Command) {
        let limits = Limits::new(&command.body::<LimitsBody>(), self.ts);
        let Some(account) = self.accounts.find(command.head.account) else { return };
        if command.head.instrument_id == 0 {
            self.accounts.get_mut(account).limits = limits;
        } else if self.instruments.find(command.head.instrument_id).is_some() {
            let line = self.line_slot(command.head.account, command.head.instrument_id);
            self.lines.get_mut(line).limits = limits;
        }
    }

    fn kill(&mut self, account: u32, killed: bool) {
        if account == 0 {
            self.killed = killed;
        } else if let Some(slot) = self.accounts.find(account) {
            self.accounts.get_mut(slot).killed = killed;
        }
        if killed && !self.due.contains(&account) {
            self.due.push_back(account);
        }
        let kind = if killed { RiskEventKind::Killed } else { RiskEventKind::Revived };
        self.tell(kind, RiskEvent { account, ..RiskEvent::default() });
    }

    /// By their numbers, so that the order of events says nothing of slots.
    fn check_all_margins(&mut self) {
        let mut picked = std::mem::take(&mut self.picked);
        picked.clear();
        picked.extend(self.accounts.iter().filter(|(_, account)| account.margin()).map(|(_, account)| account.id));
        picked.sort_unstable();
        for account in &picked {
            self.check_margin(*account);
        }
        self.picked = picked;
    }
}
