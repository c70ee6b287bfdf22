//! A plain order book for generators of orders, which must know what trades before they can say what comes next.
//!
//! It matches limit orders by price and then time and knows nothing else. Ids are dense, so an order is its place in an array; levels are a
//! sorted map. It shares no code with the books it is used to test.

use std::collections::BTreeMap;

/// Buys, or sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Buy,
    Sell,
}

impl Way {
    /// Whether an order this way at `limit` trades with one at `price`.
    pub(super) const fn reaches(self, limit: i64, price: i64) -> bool {
        match self {
            Self::Buy => price <= limit,
            Self::Sell => price >= limit,
        }
    }
}

/// Two orders met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) resting: u32,
    pub(super) price: i64,
    pub(super) size: i64,
    /// Nothing of the resting order is left.
    pub(super) gone: bool,
}

const NOBODY: u32 = u32::MAX;

/// An order that rests, or rested: then its size is 0.
#[derive(Debug, Clone, Copy)]
struct Order {
    price: i64,
    size: i64,
    way: Way,
    before: u32,
    behind: u32,
}

const GONE: Order = Order { price: 0, size: 0, way: Way::Buy, before: NOBODY, behind: NOBODY };

#[derive(Debug, Clone, Copy)]
struct Level {
    first: u32,
    last: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FlowBook {
    orders: Vec<Order>,
    bids: BTreeMap<i64, Level>,
    asks: BTreeMap<i64, Level>,
    counts: [usize; 2],
}

impl FlowBook {
    /// Orders that rest on a side.
    pub(super) const fn count(&self, way: Way) -> usize {
        self.counts[way as usize]
    }

    /// Price levels of both sides.
    pub(super) fn level_count(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    /// What is left of an order; 0 if it does not rest.
    pub(super) fn size(&self, id: u32) -> i64 {
        self.orders.get(id as usize).map_or(0, |order| order.size)
    }

    pub(super) fn price(&self, id: u32) -> i64 {
        self.orders[id as usize].price
    }

    pub(super) fn way(&self, id: u32) -> Way {
        self.orders[id as usize].way
    }

    /// Trades as far as `limit` and `size` allow; what is left of `size`.
    pub(super) fn take(&mut self, way: Way, limit: i64, mut size: i64, mut met: impl FnMut(Met)) -> i64 {
        while size > 0 {
            let best = match way {
                Way::Buy => self.asks.first_key_value(),
                Way::Sell => self.bids.last_key_value(),
            };
            let Some((price, level)) = best.map(|(price, level)| (*price, *level)) else { break };
            if !way.reaches(limit, price) {
                break;
            }
            let order = &mut self.orders[level.first as usize];
            let traded = size.min(order.size);
            size -= traded;
            let gone = traded == order.size;
            if gone {
                self.remove(level.first);
            } else {
                order.size -= traded;
            }
            met(Met { resting: level.first, price, size: traded, gone });
        }
        size
    }

    /// What `size` would cost, or bring, if it went through whole at any price; `None` if there is not so much.
    pub(super) fn worth(&self, way: Way, mut size: i64) -> Option<i64> {
        let mut worth = 0;
        let mut pay = |price: i64, level: &Level| {
            let mut id = level.first;
            while id != NOBODY && size > 0 {
                let order = &self.orders[id as usize];
                let traded = size.min(order.size);
                (size, worth, id) = (size - traded, worth + traded * price, order.behind);
            }
            size == 0
        };
        let whole = match way {
            Way::Buy => self.asks.iter().any(|(price, level)| pay(*price, level)),
            Way::Sell => self.bids.iter().rev().any(|(price, level)| pay(*price, level)),
        };
        whole.then_some(worth)
    }

    /// Puts an order behind all others of its price.
    pub(super) fn rest(&mut self, id: u32, way: Way, price: i64, size: i64) {
        let index = id as usize;
        if self.orders.len() <= index {
            self.orders.resize(index + 1, GONE);
        }
        let level = self.levels(way).entry(price).or_insert(Level { first: id, last: NOBODY });
        let before = std::mem::replace(&mut level.last, id);
        self.orders[index] = Order { price, size, way, before, behind: NOBODY };
        if before != NOBODY {
            self.orders[before as usize].behind = id;
        }
        self.counts[way as usize] += 1;
    }

    /// So much less of it, in its place; at nothing it leaves.
    pub(super) fn reduce(&mut self, id: u32, by: i64) {
        let order = &mut self.orders[id as usize];
        if order.size <= by {
            self.remove(id);
        } else {
            order.size -= by;
        }
    }

    /// Takes an order that rests out.
    pub(super) fn remove(&mut self, id: u32) {
        let order = std::mem::replace(&mut self.orders[id as usize], GONE);
        let levels = self.levels(order.way);
        if order.before == NOBODY && order.behind == NOBODY {
            levels.remove(&order.price);
        } else {
            let level = levels.get_mut(&order.price).expect("its level");
            if order.before == NOBODY {
                level.first = order.behind;
            }
            if order.behind == NOBODY {
                level.last = order.before;
            }
            if order.before != NOBODY {
                self.orders[order.before as usize].behind = order.behind;
            }
            if order.behind != NOBODY {
                self.orders[order.behind as usize].before = order.before;
            }
        }
        self.counts[order.way as usize] -= 1;
    }

    fn levels(&mut self, way: Way) -> &mut BTreeMap<i64, Level> {
        match way {
            Way::Buy => &mut self.bids,
            Way::Sell => &mut self.asks,
        }
    }
}
