//! A book made of order records, as a reader of `md.orders` makes one.

use std::collections::{BTreeMap, HashMap};

use tidebook_types::Order;
use tidebook_types::records::{FLAG_HIDDEN, ORDER_CLEAR, SIDE_SELL};

/// Orders by id, made of the records alone.
#[derive(Default)]
pub struct Book {
    orders: HashMap<u64, (i8, i64, i64)>,
    /// Size by side and price.
    levels: [BTreeMap<i64, i64>; 2],
}

impl Book {
    /// Takes in a record.
    pub fn apply(&mut self, order: &Order) {
        if order.action == ORDER_CLEAR {
            *self = Self::default();
            return;
        }
        if order.flags & FLAG_HIDDEN != 0 {
            return;
        }
        if let Some((side, price, remaining)) = self.orders.remove(&order.order_id) {
            let levels = &mut self.levels[usize::from(side == SIDE_SELL)];
            let size = levels.get_mut(&price).unwrap();
            *size -= remaining;
            if *size == 0 {
                levels.remove(&price);
            }
        }
        if order.remaining > 0 {
            self.orders.insert(order.order_id, (order.side, order.price, order.remaining));
            *self.levels[usize::from(order.side == SIDE_SELL)].entry(order.price).or_default() += order.remaining;
        }
    }

    /// Price and size of best bid and best ask; (0, 0) for a side without orders.
    pub fn top(&self) -> [(i64, i64); 2] {
        let level = |found: Option<(&i64, &i64)>| found.map_or((0, 0), |(&price, &size)| (price, size));
        [level(self.levels[0].last_key_value()), level(self.levels[1].first_key_value())]
    }
}
