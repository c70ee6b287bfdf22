//! What a command that is refused for its balance or margin lacks: the refusal is a number, and whoever asked wants to know of which asset.
//!
//! Reckoned when somebody asks, as of then, and not when a command is refused: risk says no to many commands in a row without the cost.

use tidebook_types::command::{PlaceBody, PlacePairBody, ReplaceBody, TransferBody};
use tidebook_types::{Command, CommandKind, Reason};

use crate::check::{NO_LINE, Terms, new_order};
use crate::entries::{Account, Line, Listed, Order};
use crate::portfolio::{pair, transferred};
use crate::reckon::{Need, need, rate};
use crate::risk::Risk;

/// An asset that an account has too little of, in ledger units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// Which; the quote asset where both are short.
    pub asset: u32,
    /// What the command needs of it beyond what is reserved already; of a margin account beyond what is margin already.
    pub needed: i128,
    /// What there is of it that is not reserved, or no margin.
    pub available: i128,
}

impl Risk {
    /// What the command lacks now; `None` unless it would be refused for its balance or margin.
    pub fn shortfall(&self, command: &Command) -> Option<Shortfall> {
        if !matches!(self.check(command), Err(Reason::Balance | Reason::Margin)) {
            return None;
        }
        let head = &command.head;
        let slot = self.lines.find(pair(head.account, head.instrument_id));
        let line = slot.map_or(&NO_LINE, |slot| self.lines.get(slot));
        let account = self.accounts.by_key(head.account)?;
        let listed = self.instruments.by_key(head.instrument_id);
        match (CommandKind::from_code(head.kind)?, listed) {
            (CommandKind::Transfer, _) => {
                let body: TransferBody = command.body();
                let margin = self.margin(account.id, body.asset);
                let available = margin.map_or_else(|| self.available(account.id, body.asset), |margin| margin.free());
                Some(Shortfall { asset: body.asset, needed: -transferred(&body), available })
            }
            (CommandKind::Place, Some(listed)) => {
                let body: PlaceBody = command.body();
                let reckoned = self.reckon(account, &line.limits, listed, &Terms::of_place(&body)).ok()?;
                let order = new_order(0, account.id, &body, listed, reckoned);
                self.short_of(account, listed, slot, &Need::default(), &order)
            }
            (CommandKind::PlacePair, Some(listed)) => {
                let body: PlacePairBody = command.body();
                let [order, _] = self.pair_legs(0, account, &body, listed).ok()?;
                self.short_of(account, listed, slot, &Need::default(), &order)
            }
            (CommandKind::Replace, Some(listed)) => {
                let body: ReplaceBody = command.body();
                let by_id = (body.order_id == 0).then_some(body.client_order_id);
                let order = self.orders.get(self.named(command, body.order_id, by_id).ok()?);
                let reckoned = self.reckon(account, &line.limits, listed, &Terms::of_replace(&body, order)).ok()?;
                let mut after = *order;
                after.ask(reckoned.price, reckoned.worth_price, body.size);
                self.short_of(account, listed, slot, &order.counted(), &after)
            }
            _ => None,
        }
    }

    /// What an order lacks that needed so much `before`.
    fn short_of(
        &self,
        account: &Account,
        listed: &Listed,
        slot: Option<u32>,
        before: &Need,
        order: &Order,
    ) -> Option<Shortfall> {
        let (line, need) = (slot.map_or(&NO_LINE, |slot| self.lines.get(slot)), need(order, account, listed));
        if !account.margin() {
            return self.lacks(account, listed, line, before, &need);
        }
        let asset = listed.quote_asset;
        let margin = self.margin(account.id, asset)?;
        let worth = listed.scale.worth(need.worth - before.worth);
        let (buys, sells) = if order.is_buy() { (worth, 0) } else { (0, worth) };
        let exposures = self.exposure(line, buys, sells).saturating_add(self.exposures(account, asset, slot));
        let fee = listed.scale.fee(need.worth, rate(account, listed));
        let needed = Self::initial(account, exposures).saturating_add(fee).saturating_sub(margin.initial);
        Some(Shortfall { asset, needed, available: margin.free() })
    }

    /// The asset of which an order needs more than it did `before` and than there is.
    #[inline]
    pub(crate) fn lacks(
        &self,
        account: &Account,
        listed: &Listed,
        line: &Line,
        before: &Need,
        need: &Need,
    ) -> Option<Shortfall> {
        let of = |asset: u32, balance: u32, needed: i128| {
            if needed <= 0 {
                return None;
            }
            let available = self.available_in(balance, account.id, asset);
            (needed > available).then_some(Shortfall { asset, needed, available })
        };
        of(listed.quote_asset, line.quote, need.quote.saturating_sub(before.quote))
            .or_else(|| of(listed.base_asset, line.base, need.base.saturating_sub(before.base)))
    }
}
