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
    pub(crate) fn count_order(&mut self, line: u32, change: i32) {
        let count = |number: &mut u32| *number = number.saturating_add_signed(change);
        let Line { account, listed, .. } = *self.lines.get(line);
        count(&mut self.lines.get_mut(line).open_orders);
        count(&mut self.instruments.get_mut(listed).open_orders);
        if let Some(account) = self.accounts.find(account) {
            count(&mut self.accounts.get_mut(account).open_orders);
        }
    }

    /// Adds to what the order's line counts.
    pub(crate) fn count_sizes(&mut self, order: &Order, size: i128, worth: i128) {
        if (size, worth) == (0, 0) {
            return;
        }
        let line = self.lines.get_mut(order.line);
        let (sizes, worths) = if order.is_buy() {
            (&mut line.buys, &mut line.buys_worth)
        } else {
            (&mut line.sells, &mut line.sells_worth)
        };
        *sizes = sizes.saturating_add(size);
        *worths = worths.saturating_add(worth);
    }

    /// Adds to what the order's account has reserved, in ledger units.
    pub(crate) fn reserve(&mut self, order: &Order, quote: i128, base: i128) {
        if (quote, base) == (0, 0) {
            return;
        }
        let listed = *self.instruments.get(self.lines.get(order.line).listed);
        for (asset, amount) in [(listed.quote_asset, quote), (listed.base_asset, base)] {
            if amount != 0 {
                let slot = self.portfolio.balance_slot(order.account, asset);
                let reserved = &mut self.portfolio.balance_at(slot).reserved;
                *reserved = reserved.saturating_add(amount);
            }
        }
    }

    /// Counts the order by its terms as they are now. Reserves only ever shrink here, except for what a new or replaced order `grows` by.
    pub(crate) fn recount(&mut self, slot: u32, grows: bool) {
        let order = *self.orders.get(slot);
        let account = self.accounts.find(order.account).expect("an open order has an account");
        let need = need(&order, self.accounts.get(account), self.instruments.get(self.lines.get(order.line).listed));
        let settle = |now: i128, need: i128| if grows { now.max(need) } else { now.min(need) };
        let (quote, base) = (settle(order.quote, need.quote), settle(order.base, need.base));
        self.count_sizes(&order, need.size - order.counted, need.worth - order.counted_worth);
        self.reserve(&order, quote - order.quote, base - order.base);
        let order = self.orders.get_mut(slot);
        (order.counted, order.counted_worth, order.quote, order.base) = (need.size, need.worth, quote, base);
    }

    /// The order has ended.
    pub(crate) fn end(&mut self, id: u64) {
        let Some(slot) = self.orders.find(id) else { return };
        let order = *self.orders.get(slot);
        self.count_sizes(&order, -order.counted, -order.counted_worth);
        self.reserve(&order, -order.quote, -order.base);
        self.count_order(order.line, -1);
        if order.ids != NONE
            && let Some(account) = self.accounts.find(order.account)
        {
            let mut ended = self.accounts.get(account).ended;
            self.ids.end(order.ids, &mut ended);
            self.accounts.get_mut(account).ended = ended;
        }
        self.orders.remove(slot);
        if order.linked
            && let Some(other) = self.orders.find(id ^ 1)
        {
            // The other leg counts alone now; what it needs was reserved with this one.
            self.orders.get_mut(other).linked = false;
            let is_stop = !(id ^ 1).is_multiple_of(2);
            self.recount(other, is_stop);
        }
    }
}
