//! The order book of an L3 feed: made of its [`Order`] records, of what rests after each.

use tidebook_types::Order;
use tidebook_types::records::{FLAG_HIDDEN, ORDER_CLEAR};

use super::{OrderBook, Resting};
use crate::side::Side;

impl OrderBook {
    /// Takes in what a feed says of an order: afterwards `remaining` of it rests at `price`. Returns whether the record fits what rests: `false` for one
    /// that takes from an order which does not rest, or that says neither side nor id of an order that should.
    ///
    /// An order keeps its place in the queue as long as it keeps side and price and does not grow, which is every venue's rule. Hidden fills concern no
    /// order that rests, and a clear removes all.
    pub fn apply_record(&mut self, record: &Order) -> bool {
        let Order { order_id, price, remaining, action, flags, .. } = *record;
        if action == ORDER_CLEAR {
            self.clear();
            return true;
        }
        if flags & FLAG_HIDDEN != 0 {
            return true;
        }
        if remaining <= 0 {
            return self.remove_id(order_id).is_some();
        }
        let Some(side) = Side::from_code(record.side).filter(|_| order_id != 0) else { return false };
        if let Some(handle) = self.find(order_id) {
            let order = *self.get(handle);
            if order.side == side {
                if order.price == price && remaining <= order.shown {
                    self.resize(handle, remaining, 0);
                } else {
                    self.relocate(handle, price, remaining, 0);
                }
                return true;
            }
            self.remove(handle);
        }
        self.insert(Resting { id: order_id, price, shown: remaining, hidden: 0, side });
        true
    }
}

#[cfg(test)]
mod tests {
    use tidebook_types::records::{
        ORDER_ADD, ORDER_CANCEL, ORDER_DELETE, ORDER_EXECUTE, ORDER_MODIFY, SIDE_BUY, SIDE_NONE, SIDE_SELL,
    };
    use zerocopy::FromZeros;

    use super::*;

    fn record(action: u8, order_id: u64, side: i8, price: i64, remaining: i64) -> Order {
        Order { action, order_id, side, price, remaining, ..Order::new_zeroed() }
    }

    /// Bids, best first: (id, price, size).
    fn bids(book: &OrderBook) -> Vec<(u64, i64, i64)> {
        book.orders(Side::Bid)
            .map(|handle| *book.get(handle))
            .map(|order| (order.id, order.price, order.shown))
            .collect()
    }

    #[test]
    fn a_record_leaves_what_it_says_of_its_order() {
        let mut book = OrderBook::new();
        for order_id in [1, 2, 3] {
            assert!(book.apply_record(&record(ORDER_ADD, order_id, SIDE_BUY, 50, 9)));
        }
        assert_eq!(bids(&book), [(1, 50, 9), (2, 50, 9), (3, 50, 9)]);
        // Smaller or the same in its place; larger or elsewhere behind all.
        assert!(book.apply_record(&record(ORDER_EXECUTE, 1, SIDE_BUY, 50, 4)));
        assert!(book.apply_record(&record(ORDER_MODIFY, 2, SIDE_BUY, 50, 10)));
        assert!(book.apply_record(&record(ORDER_MODIFY, 1, SIDE_BUY, 50, 4)));
        assert_eq!(bids(&book), [(1, 50, 4), (3, 50, 9), (2, 50, 10)]);
        assert!(book.apply_record(&record(ORDER_MODIFY, 1, SIDE_BUY, 51, 4)));
        assert!(book.apply_record(&record(ORDER_CANCEL, 2, SIDE_BUY, 50, 3)));
        assert!(book.apply_record(&record(ORDER_DELETE, 3, SIDE_NONE, 0, 0)));
        assert_eq!(bids(&book), [(1, 51, 4), (2, 50, 3)]);
        assert!(book.apply_record(&record(ORDER_MODIFY, 2, SIDE_SELL, 60, 3)));
        assert_eq!((bids(&book), book.best(Side::Ask)), (vec![(1, 51, 4)], Some(60)));
        assert!(book.apply_record(&record(ORDER_CLEAR, 0, SIDE_NONE, 0, 0)));
        assert!(book.is_empty());
    }

    #[test]
    fn a_record_that_fits_no_order_says_so_and_changes_nothing() {
        let mut book = OrderBook::new();
        assert!(book.apply_record(&record(ORDER_ADD, 1, SIDE_BUY, 50, 9)));
        assert!(!book.apply_record(&record(ORDER_DELETE, 2, SIDE_BUY, 50, 0)));
        assert!(!book.apply_record(&record(ORDER_ADD, 0, SIDE_BUY, 50, 5)));
        assert!(!book.apply_record(&record(ORDER_ADD, 3, SIDE_NONE, 50, 5)));
        assert!(!book.apply_record(&record(ORDER_EXECUTE, 4, SIDE_BUY, 50, -1)));
        // A hidden fill concerns none that rests.
        assert!(book.apply_record(&Order { flags: FLAG_HIDDEN, ..record(ORDER_EXECUTE, 1, SIDE_BUY, 50, 0) }));
        assert_eq!(bids(&book), [(1, 50, 9)]);
    }
}
