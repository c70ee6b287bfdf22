//! What executions change: fills, ends, new terms, definitions that the venue refused.

use tidebook_types::{CommandKind, Execution, ExecutionKind, RiskEvent, RiskEventKind};

use crate::margin::told;
use crate::portfolio::Leg;
use crate::risk::Risk;

impl Risk {
    pub(crate) fn execute(&mut self, execution: &Execution) {
        let source = execution.source_sequence;
        self.settle_before(source);
        let Some(kind) = ExecutionKind::from_code(execution.kind) else { return };
        match kind {
            ExecutionKind::Fill => self.fill(execution),
            ExecutionKind::Cancelled => self.end(execution.order_id),
            ExecutionKind::Reduced => self.reduce(execution),
            ExecutionKind::Replaced => self.answer_replace(source, Some(execution)),
            ExecutionKind::Rejected => match CommandKind::from_code(execution.command_kind) {
                Some(CommandKind::Place | CommandKind::PlacePair) => {
                    let id = source.wrapping_mul(2);
                    self.end(id);
                    self.end(id + 1);
                }
                Some(CommandKind::Replace) => self.answer_replace(source, None),
                Some(CommandKind::Instrument | CommandKind::Account) => self.answer_definition(source, true),
                _ => {}
            },
            ExecutionKind::Done => self.answer_definition(source, false),
            ExecutionKind::Accepted
            | ExecutionKind::Triggered
            | ExecutionKind::Refreshed
            | ExecutionKind::Repriced
            | ExecutionKind::SessionChanged
            | ExecutionKind::Indicative
            | ExecutionKind::Uncrossed
            | ExecutionKind::MassCancelled => {}
        }
    }

    /// What commands before this one left open is answered: the venue does one whole command after another.
    fn settle_before(&mut self, source: u64) {
        while self.immediate.front().is_some_and(|id| id / 2 < source) {
            if let Some(id) = self.immediate.pop_front() {
                self.end(id);
            }
        }
        while let Some(pending) = self.replaces.front().filter(|pending| pending.sequence < source) {
            let sequence = pending.sequence;
            self.answer_replace(sequence, None);
        }
        while self.definitions.front().is_some_and(|pending| pending.sequence < source) {
            self.definitions.pop_front();
        }
    }

    fn fill(&mut self, fill: &Execution) {
        let Some(slot) = self.instruments.find(fill.instrument_id) else { return };
        let listed = self.instruments.get_mut(slot);
        listed.reference = fill.price;
        let listed = *listed;
        self.portfolio.markets.get_mut(listed.market).mark = fill.price;
        let legs = Leg::both(fill);
        let orders = [(fill.order_id, fill.remaining), (fill.contra_order_id, fill.contra_remaining)];
        for (leg, (order_id, remaining)) in legs.iter().zip(orders) {
            self.portfolio.fill(listed.market, leg);
            self.fill_order(order_id, remaining, leg);
        }
        for (index, leg) in legs.iter().enumerate() {
            if index == 0 || leg.account != legs[0].account {
                self.check_deficit(leg.account, [listed.base_asset, listed.quote_asset]);
                self.check_margin(leg.account);
            }
        }
    }

    fn fill_order(&mut self, id: u64, remaining: i64, leg: &Leg) {
        let Some(slot) = self.orders.find(id) else { return };
        let before = self.orders.get(slot);
        let scale = &self.instruments.get(self.lines.get(before.line).listed).scale;
        let traded = i128::from(leg.price) * i128::from(leg.size);
        let (notional, fee) = (scale.worth(traded), i128::from(leg.fee) * scale.quote);
        let (quote, base) = if before.is_buy() {
            (notional.saturating_add(fee), 0)
        } else {
            (fee.saturating_sub(notional).max(0), i128::from(leg.size) * scale.base)
        };
        // What it paid leaves the balance and the reserve; a reserve below 0 is none.
        let quote = before.quote.min(quote.max(before.quote - crate::ledger::LEDGER_MAX));
        let base = before.base.min(base);
        self.reserve(before.line, -quote, -base);
        let order = self.orders.get_mut(slot);
        order.quote -= quote;
        order.base -= base;
        order.filled = order.filled.saturating_add(leg.size);
        let done = if order.by_amount {
            order.amount_left = (order.amount_left - traded).max(0);
            order.amount_left == 0
        } else {
            order.remaining = remaining;
            remaining == 0
        };
        if done {
            self.end(id);
        } else {
            self.recount(slot, false);
        }
    }

    fn reduce(&mut self, execution: &Execution) {
        let Some(slot) = self.orders.find(execution.order_id) else { return };
        let scale = self.instruments.get(self.lines.get(self.orders.get(slot).line).listed).scale;
        let order = self.orders.get_mut(slot);
        if order.by_amount {
            // What is left is told rounded down; the order may have a little more.
            let most = (i128::from(execution.remaining) + 1) * scale.size - 1;
            order.amount_left = order.amount_left.min(most);
        } else {
            order.remaining = execution.remaining;
            if order.remaining == 0 {
                return self.end(execution.order_id);
            }
        }
        self.recount(slot, false);
    }

    /// The venue's answer to a replace: the new terms, or `None` if it stays as it was.
    fn answer_replace(&mut self, source: u64, replaced: Option<&Execution>) {
        let Some(pending) = self.replaces.front().copied().filter(|pending| pending.sequence == source) else { return };
        self.replaces.pop_front();
        let Some(slot) = self.orders.find(pending.order_id) else { return };
        let order = self.orders.get_mut(slot);
        order.pending = order.pending.saturating_sub(1);
        if let Some(execution) = replaced {
            (order.price, order.worth_price) = (pending.price, pending.worth_price);
            order.remaining = execution.remaining;
        }
        if order.pending == 0 && !order.linked {
            (order.bound_size, order.bound_price, order.bound_worth_price) = (0, 0, 0);
        }
        self.recount(slot, false);
    }

    fn answer_definition(&mut self, source: u64, refused: bool) {
        let Some(pending) = self.definitions.front().copied().filter(|pending| pending.sequence == source) else {
            return;
        };
        self.definitions.pop_front();
        if refused {
            self.revert(&pending);
        }
    }

    fn check_deficit(&mut self, account: u32, assets: [u32; 2]) {
        if self.accounts.by_key(account).is_none_or(|account| account.margin()) {
            return;
        }
        for asset in assets {
            let total = self.portfolio.balance(account, asset).total;
            if total < 0 {
                let event = RiskEvent { account, asset, value: told(total), ..RiskEvent::default() };
                self.tell(RiskEventKind::Deficit, event);
            }
        }
    }
}
