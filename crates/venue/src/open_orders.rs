//! The orders there are, for whoever asks from outside.

use tidebook_book::Side;
use tidebook_types::OrderType;

use crate::order::{LINKED, Standing};
use crate::venue::Venue;

/// An order that has not ended: in the book, or waiting beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOrder {
    /// Which.
    pub order_id: u64,
    /// Whose.
    pub account: u32,
    /// Of which instrument.
    pub instrument_id: u32,
    /// `SIDE_BUY` or `SIDE_SELL`.
    pub side: i8,
    /// [`OrderType`]: a stop that was executed is a limit order from then on.
    pub order_type: u8,
    /// [`tidebook_types::TimeInForce`].
    pub time_in_force: u8,
    /// `POST_ONLY`, `CANCEL_ON_DISCONNECT`.
    pub flags: u8,
    /// Limit; of a pegged order where it is in the book, 0 while it is parked.
    pub price: i64,
    /// Of a waiting stop; 0 for one that has none yet, and for what is none.
    pub trigger_price: i64,
    /// Whole: `filled` + `remaining`.
    pub size: i64,
    /// What was filled so far.
    pub filled: i64,
    /// What is left, hidden part included.
    pub remaining: i64,
    /// What the book shows of it; 0 while it waits.
    pub shown: i64,
    /// Time of GTD, else 0.
    pub expire_ts: i64,
    /// The other leg of its pair; 0 for none.
    pub linked_order_id: u64,
    /// A stop that is not executed yet, or a parked pegged order.
    pub waiting: bool,
    /// A stop that was reached and not executed yet.
    pub triggered: bool,
}

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
                all.extend(book.orders(side).map(|handle| self.open_order((book.get(handle).id - 1) as u32)));
                let its = waiting.iter().filter(|(_, slot)| self.orders.hot[*slot as usize].side() == side);
                all.extend(its.map(|(_, slot)| self.open_order(*slot)));
            }
        }
        all
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
