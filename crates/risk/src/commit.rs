//! What a command does to risk once it has its verdict.

use tidebook_types::command::{
    CancelBody, KillBody, LimitsBody, MassCancelBody, PlaceBody, PlacePairBody, ReplaceBody, TransferBody,
};
use tidebook_types::{
    ClientOrderId, Command, CommandKind, OrderType, Reason, RiskEvent, RiskEventKind, TimeInForce, Verdict,
};
use zerocopy::IntoBytes;

use crate::check::{Checked, Reckoned, Terms, new_order};
use crate::entries::{Account, Limits, Line, Listed, Order, PendingDefinition, PendingReplace};
use crate::portfolio::{pair, transferred};
use crate::reckon::{Need, need};
use crate::risk::Risk;
use crate::table::NONE;

impl Risk {
    /// `checked` is what the checks found of it, if they were asked; without it all is reckoned here.
    #[inline]
    pub(crate) fn commit(&mut self, command: &Command, checked: Option<Checked>) {
        let Some(kind) = CommandKind::from_code(command.head.kind) else { return self.tell_rejected(command) };
        let mut line = None;
        if matches!(kind, CommandKind::Place | CommandKind::PlacePair | CommandKind::Replace) {
            line = match &checked {
                Some(checked) => checked.line,
                None => self.lines.find(pair(command.head.account, command.head.instrument_id)),
            };
            self.take_tokens(command, line);
        }
        if command.head.verdict != Verdict::Accepted.code() {
            return self.tell_rejected(command);
        }
        let (account, instrument_id) = (command.head.account, command.head.instrument_id);
        let event = RiskEvent { account, instrument_id, ..RiskEvent::default() };
        match kind {
            CommandKind::Place => self.place(command, line, checked),
            CommandKind::PlacePair => self.place_pair(command, line),
            CommandKind::Replace => self.replace(command, line, checked),
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
    #[inline]
    fn take_tokens(&mut self, command: &Command, line: Option<u32>) {
        let (head, ts) = (&command.head, self.ts);
        let Some((account, listed)) = self.parties(command, line) else { return };
        let asked = head.reserved == [0; 5] && self.accounts.get(account).known && self.instruments.get(listed).known;
        if !asked || [Reason::Throttled, Reason::Late].map(Reason::code).contains(&head.reason) {
            return;
        }
        if self.accounts.get(account).limits.commands_per_s > 0 {
            self.accounts.get_mut(account).limits.take_token(ts);
        }
        if let Some(line) = line
            && self.lines.get(line).limits.commands_per_s > 0
        {
            self.lines.get_mut(line).limits.take_token(ts);
        }
    }

    /// Slots of a command's account and instrument; the line, if there is one, knows them.
    #[inline]
    fn parties(&self, command: &Command, line: Option<u32>) -> Option<(u32, u32)> {
        if let Some(line) = line {
            let Line { owner, listed, .. } = *self.lines.get(line);
            return Some((owner, listed));
        }
        let account = self.accounts.find(command.head.account)?;
        Some((account, self.instruments.find(command.head.instrument_id)?))
    }

    /// A new order that counts and has reserved what it needs.
    #[inline]
    fn add(&mut self, mut order: Order, need: &Need, id: [u8; 16]) {
        let line = order.line;
        self.base_slot(line);
        self.quote_slot(line);
        order.ids = self.ids.take(order.account, id, order.id, order.ids);
        (order.counted, order.counted_worth) = (need.size, need.worth);
        (order.quote, order.base) = (need.quote.max(0), need.base.max(0));
        let (buy, quote, base) = (order.is_buy(), order.quote, order.base);
        self.orders.insert(order);
        self.count_order(line, 1);
        self.count_sizes(line, buy, need.size, need.worth);
        self.reserve(line, quote, base);
    }

    fn place(&mut self, command: &Command, line: Option<u32>, checked: Option<Checked>) {
        let Some((account, listed)) = self.parties(command, line) else { return };
        let body: PlaceBody = command.body();
        let id = self.sequence.wrapping_mul(2);
        if self.orders.find(id).is_some() {
            return;
        }
        let line = line.unwrap_or_else(|| self.line_slot(command.head.account, command.head.instrument_id));
        let (account, listed) = (self.accounts.get(account), self.instruments.get(listed));
        let reckoned = match &checked {
            Some(checked) => checked.reckoned,
            // What risk puts in was put in when it was judged.
            None => Self::reckon_named(account, listed, &Terms::of_place(&body)).unwrap_or(Reckoned {
                price: body.price,
                worth_price: body.price,
                put: 0,
            }),
        };
        let order = Order { line, ..new_order(id, account.id, &body, listed, reckoned) };
        let need = checked.map_or_else(|| need(&order, account, listed), |checked| checked.need);
        self.add(order, &need, body.client_order_id);
        let time_in_force = TimeInForce::from_code(body.time_in_force);
        if matches!(time_in_force, Some(TimeInForce::Ioc | TimeInForce::Fok))
            || body.order_type == OrderType::Market.code()
        {
            self.immediate.push_back(id);
        }
    }

    fn place_pair(&mut self, command: &Command, line: Option<u32>) {
        let Some((account, listed)) = self.parties(command, line) else { return };
        let body: PlacePairBody = command.body();
        let id = self.sequence.wrapping_mul(2);
        if self.orders.find(id).is_some() || self.orders.find(id + 1).is_some() {
            return;
        }
        // A rule that would refuse it today changes no history: then the limit's price is all there is to reckon with.
        let known = PlacePairBody { limit_price: body.price, ..body };
        let (account, listed) = (self.accounts.get(account), self.instruments.get(listed));
        let legs = self.pair_legs(id, account, &body, listed).or_else(|_| self.pair_legs(id, account, &known, listed));
        let Ok(legs) = legs else { return };
        let needs = legs.map(|leg| need(&leg, account, listed));
        let line = line.unwrap_or_else(|| self.line_slot(command.head.account, command.head.instrument_id));
        let ids = [body.client_order_id, body.stop_client_order_id];
        for ((leg, need), id) in legs.into_iter().zip(&needs).zip(ids) {
            self.add(Order { line, ..leg }, need, id);
        }
    }

    fn replace(&mut self, command: &Command, line: Option<u32>, checked: Option<Checked>) {
        let Some((account, listed)) = self.parties(command, line) else { return };
        let body: ReplaceBody = command.body();
        let found = checked.as_ref().map_or_else(|| self.orders.find(body.order_id), |checked| Some(checked.order));
        let Some(slot) = found else { return };
        let order = self.orders.get(slot);
        let reckoned = match &checked {
            Some(checked) => checked.reckoned,
            None => {
                let (account, listed) = (self.accounts.get(account), self.instruments.get(listed));
                Self::reckon_named(account, listed, &Terms::of_replace(&body, order)).unwrap_or(Reckoned {
                    price: body.price,
                    worth_price: body.price,
                    put: 0,
                })
            }
        };
        let (order_id, ids) = (order.id, self.ids.take(order.account, body.client_order_id, order.id, order.ids));
        let order = self.orders.get_mut(slot);
        order.ids = ids;
        order.ask(reckoned.price, reckoned.worth_price, body.size);
        match &checked {
            Some(checked) => self.count(slot, &checked.need, true),
            None => self.recount(slot, true),
        }
        self.replaces.push_back(PendingReplace {
            sequence: self.sequence,
            order_id,
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
        let assets = (listed.base_asset, listed.quote_asset);
        listed.define(body);
        listed.market = market;
        if assets != (body.base_asset, body.quote_asset) {
            // Balances that its lines know are of other assets now.
            for line in 0..self.lines.len() as u32 {
                if self.lines.get(line).listed == slot {
                    let line = self.lines.get_mut(line);
                    (line.quote, line.base) = (NONE, NONE);
                }
            }
        }
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
