//! The orders there are, for whoever asks from outside.

use tidebook_book::Side;
use tidebook_types::{OpenOrder, OrderType};

use crate::order::{LINKED, NONE, Standing, slot_of};
use crate::venue::Venue;

impl Venue {
    /// All orders by instrument, bids before asks, those in the book by price (best first) and priority, then those that wait by id.
    pub fn open_orders(&self) -> Vec<OpenOrder> {
        let mut markets: Vec<u32> = (0..self.markets.len() as u32).collect();
        markets.sort_unstable_by_key(|market| self.markets[*market as usize].id);
        let mut all = Vec::with_capacity(self.orders.len() as usize);
        for market in markets {
            let mut waiting = Vec::new();
            self.each_order(market, |id, slot| {
                if self.orders.hot[slot as usize].standing != Standing::Resting {
                    waiting.push((id, slot));
                }
            });
            waiting.sort_unstable();
            for side in Side::BOTH {
                let book = &self.markets[market as usize].book;
                all.extend(book.orders(side).map(|handle| self.open_order(slot_of(book.get(handle)))));
                let its = waiting.iter().filter(|(_, slot)| self.orders.hot[*slot as usize].side() == side);
                all.extend(its.map(|(_, slot)| self.open_order(*slot)));
            }
        }
        all
    }

    /// Those of an account, in the order of acceptance, or of an instrument, or of both; all of them in the order of [`Self::open_orders`].
    pub fn open_orders_of(&self, account: Option<u32>, instrument_id: Option<u32>) -> Vec<OpenOrder> {
        let Some(number) = account else {
            let mut all = self.open_orders();
            all.retain(|order| instrument_id.is_none_or(|id| id == order.instrument_id));
            return all;
        };
        let mut found = Vec::new();
        let mut next = self.accounts.find(number).map_or(NONE, |place| self.accounts.all[place as usize].first);
        while next != NONE {
            found.push(self.open_order(next));
            next = self.orders.hot[next as usize].next;
        }
        found.retain(|order| instrument_id.is_none_or(|id| id == order.instrument_id));
        found
    }

    /// The order with this id, if it is open.
    pub fn order(&self, order_id: u64) -> Option<OpenOrder> {
        self.orders.find(order_id).map(|slot| self.open_order(slot))
    }

    fn open_order(&self, slot: u32) -> OpenOrder {
        let order = &self.orders.hot[slot as usize];
        let (terms, of) = (self.orders.terms_of(slot), self.about(slot));
        let book = &self.markets[order.market as usize].book;
        let stop = matches!(order.kind, OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop);
        OpenOrder {
            order_id: order.id,
            account: of.account,
            instrument_id: of.instrument_id,
            side: of.side,
            order_type: order.kind.code(),
            time_in_force: order.time_in_force().code(),
            flags: order.flags & tidebook_types::command::ORDER_FLAGS,
            price: of.price,
            trigger_price: if stop { terms.trigger } else { 0 },
            size: order.size,
            filled: order.filled,
            remaining: of.remaining,
            shown: order.handle.map_or(0, |handle| book.get(handle).shown),
            expire_ts: terms.expire_ts,
            linked_order_id: if order.has(LINKED) { self.orders.hot[terms.linked as usize].id } else { 0 },
            waiting: order.standing != Standing::Resting,
            triggered: order.standing == Standing::Triggered,
        }
    }
}
