//! What an order may cost at worst, and where that is counted.

use crate::entries::{Account, Line, Listed, Order};
use crate::risk::Risk;
use crate::table::NONE;

/// What an order counts for and needs, in the worst case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Size units.
    pub(crate) size: i128,
    /// Price unit x size unit.
    pub(crate) worth: i128,
    /// Ledger units of the quote and the base asset; of a spot account.
    pub(crate) quote: i128,
    pub(crate) base: i128,
}

/// The larger of the rates an order may pay: never a rebate.
pub(crate) fn rate(account: &Account, listed: &Listed) -> i128 {
    let own = account.flags & tidebook_types::command::ACCOUNT_OWN_FEES != 0;
    let (maker, taker) =
        if own { (account.maker_ppm, account.taker_ppm) } else { (listed.maker_ppm, listed.taker_ppm) };
    i128::from(maker.max(taker).max(0))
}

/// What the order needs by its worst terms.
#[inline]
pub(crate) fn need(order: &Order, account: &Account, listed: &Listed) -> Need {
    if order.linked && !order.id.is_multiple_of(2) {
        // The other leg counts for both.
        return Need::default();
    }
    let scale = &listed.scale;
    let bound = order.pending > 0 || order.linked;
    let (left, price, worth_price) = if bound {
        (order.remaining.max(order.bound_size.saturating_sub(order.filled)), order.bound_price, order.bound_worth_price)
    } else {
        (order.remaining, order.price, order.worth_price)
    };
    let price = i128::from(price.max(1));
    let (size, worth, paid) = if order.by_amount {
        (order.amount_left / price, order.amount_left, order.amount_left)
    } else {
        let left = i128::from(left.max(0));
        (left, left * i128::from(worth_price.max(0)), left * price)
    };
    let mut need = Need { size, worth, quote: 0, base: 0 };
    if !account.margin() {
        let rate = rate(account, listed);
        if order.is_buy() {
            need.quote = scale.worth(paid) + scale.fee(paid, rate);
        } else {
            need.base = size.saturating_mul(scale.base);
            // A fill worth less than a unit may pay a unit of fee.
            if rate > 0 && price * i128::from(listed.lot) < scale.size {
                need.quote = scale.quote;
            }
        }
    }
    need
}

impl Risk {
    /// One open order more, or (-1) less.
    #[inline]
    pub(crate) fn count_order(&mut self, line: u32, change: i32) {
        let count = |number: &mut u32| *number = number.saturating_add_signed(change);
        let Line { owner, listed, .. } = *self.lines.get(line);
        count(&mut self.lines.get_mut(line).open_orders);
        count(&mut self.instruments.get_mut(listed).open_orders);
        count(&mut self.accounts.get_mut(owner).open_orders);
    }

    /// Adds to what a line counts of buys or sells.
    #[inline]
    pub(crate) fn count_sizes(&mut self, line: u32, buy: bool, size: i128, worth: i128) {
        if (size, worth) == (0, 0) {
            return;
        }
        let line = self.lines.get_mut(line);
        let (sizes, worths) =
            if buy { (&mut line.buys, &mut line.buys_worth) } else { (&mut line.sells, &mut line.sells_worth) };
        *sizes = sizes.saturating_add(size);
        *worths = worths.saturating_add(worth);
    }

    /// Adds to what a line's account has reserved, in ledger units.
    #[inline]
    pub(crate) fn reserve(&mut self, line: u32, quote: i128, base: i128) {
        if quote != 0 {
            let slot = self.quote_slot(line);
            let reserved = &mut self.portfolio.balance_at(slot).reserved;
            *reserved = reserved.saturating_add(quote);
        }
        if base != 0 {
            let slot = self.base_slot(line);
            let reserved = &mut self.portfolio.balance_at(slot).reserved;
            *reserved = reserved.saturating_add(base);
        }
    }

    /// Balance of the quote asset of a line's account, made if there is none.
    #[inline]
    pub(crate) fn quote_slot(&mut self, line: u32) -> u32 {
        match self.lines.get(line).quote {
            NONE => {
                let Line { account, listed, .. } = *self.lines.get(line);
                let slot = self.portfolio.balance_slot(account, self.instruments.get(listed).quote_asset);
                self.lines.get_mut(line).quote = slot;
                slot
            }
            slot => slot,
        }
    }

    /// The same of the base asset.
    #[inline]
    pub(crate) fn base_slot(&mut self, line: u32) -> u32 {
        match self.lines.get(line).base {
            NONE => {
                let Line { account, listed, .. } = *self.lines.get(line);
                let slot = self.portfolio.balance_slot(account, self.instruments.get(listed).base_asset);
                self.lines.get_mut(line).base = slot;
                slot
            }
            slot => slot,
        }
    }

    /// What an order needs by its terms as they are now.
    #[inline]
    pub(crate) fn need_of(&self, order: &Order) -> Need {
        let line = self.lines.get(order.line);
        need(order, self.accounts.get(line.owner), self.instruments.get(line.listed))
    }

    /// Counts the order by its terms as they are now. Reserves only ever shrink here, except for what a new or replaced order `grows` by.
    #[inline]
    pub(crate) fn recount(&mut self, slot: u32, grows: bool) {
        let need = self.need_of(self.orders.get(slot));
        self.count(slot, &need, grows);
    }

    /// The same where it is known what the order needs.
    #[inline]
    pub(crate) fn count(&mut self, slot: u32, need: &Need, grows: bool) {
        let settle = |now: i128, need: i128| if grows { now.max(need) } else { now.min(need) };
        let order = self.orders.get_mut(slot);
        let before = order.counted();
        (order.counted, order.counted_worth) = (need.size, need.worth);
        (order.quote, order.base) = (settle(before.quote, need.quote), settle(before.base, need.base));
        let (line, buy, quote, base) =
            (order.line, order.is_buy(), order.quote - before.quote, order.base - before.base);
        self.count_sizes(line, buy, need.size - before.size, need.worth - before.worth);
        self.reserve(line, quote, base);
    }

    /// The order has ended.
    pub(crate) fn end(&mut self, id: u64) {
        let Some(slot) = self.orders.find(id) else { return };
        let order = self.orders.get(slot);
        let (line, buy, counted, ids, linked) = (order.line, order.is_buy(), order.counted(), order.ids, order.linked);
        self.count_sizes(line, buy, -counted.size, -counted.worth);
        self.reserve(line, -counted.quote, -counted.base);
        self.count_order(line, -1);
        if ids != NONE {
            let owner = self.lines.get(line).owner;
            let mut ended = self.accounts.get(owner).ended;
            self.ids.end(ids, &mut ended);
            self.accounts.get_mut(owner).ended = ended;
        }
        self.orders.remove(slot);
        if linked && let Some(other) = self.orders.find(id ^ 1) {
            // The other leg counts alone now; what it needs was reserved with this one.
            self.orders.get_mut(other).linked = false;
            let is_stop = !(id ^ 1).is_multiple_of(2);
            self.recount(other, is_stop);
        }
    }
}
