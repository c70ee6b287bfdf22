//! What the parts of the book promise each other, and where the window goes.

use tidebook_testkit::Random;

use super::*;

impl OrderBook {
    /// Asserts that links, sums, levels and ids agree.
    fn check(&self) {
        let mut count = 0;
        for (side, levels) in [(Side::Bid, &self.bids), (Side::Ask, &self.asks)] {
            levels.check(&self.grid);
            let mut level = levels.best();
            while level != NO_LEVEL {
                let queue = levels.queue(level);
                let (mut previous, mut index, mut sums, mut orders) = (NONE, queue.first, (0, 0), 0);
                while index != NONE {
                    let node = self.slab.node(index);
                    assert_eq!(
                        (node.previous, node.level, node.order.side, node.order.price),
                        (previous, level, side, queue.price)
                    );
                    assert_eq!(self.find(node.order.id), Handle::new(index));
                    sums = (sums.0 + i128::from(node.order.shown), sums.1 + i128::from(node.order.hidden));
                    (previous, index, orders) = (index, node.next, orders + 1);
                }
                assert!(orders > 0);
                assert_eq!((queue.last, queue.shown, queue.hidden, queue.count), (previous, sums.0, sums.1, orders));
                count += orders as usize;
                level = queue.worse;
            }
        }
        assert_eq!(count, self.len());
    }
}

fn order(id: u64, side: Side, price: i64) -> Resting {
    Resting { id, price, shown: 1, hidden: 0, side }
}

/// From step `from` on, `steps` times: remove the oldest of `keep` orders, add one at the price that `price_of(step, side)` says.
/// Checks everything now and then.
fn churn(book: &mut OrderBook, from: u64, steps: u64, keep: u64, mut price_of: impl FnMut(u64, Side) -> i64) {
    for step in from..from + steps {
        let side = Side::BOTH[step as usize % 2];
        if step >= keep {
            let oldest = book.find(2 * (step - keep + 1)).unwrap();
            book.remove(oldest);
        }
        book.insert(order(2 * (step + 1), side, price_of(step, side)));
        if step % 997 == 0 {
            book.check();
        }
    }
    book.check();
}

#[test]
fn parts_agree_whatever_the_prices_do() {
    let mut random = Random::new(7);
    let mut touch = 1_000_000_i64;
    for width in [30, 3_000, 300_000, 1 << 50] {
        let mut book = OrderBook::new();
        churn(&mut book, 0, 20_000, 700, |step, side| {
            touch = (touch + random.below(9) as i64 - 4 + i64::from(step % 5_000 == 0) * 40_000).max(1);
            let distance = random.below(width) as i64;
            if side == Side::Bid { touch - distance } else { touch + distance }
        });
    }
}

#[test]
fn the_window_covers_where_orders_go_and_follows_them() {
    let mut book = OrderBook::with_tick(5);
    let price_of = |touch: i64| {
        let mut random = Random::new(1);
        move |_: u64, side: Side| {
            let distance = 5 * random.below(1_000) as i64;
            if side == Side::Bid { touch - distance } else { touch + distance }
        }
    };
    churn(&mut book, 0, 5_000, 500, price_of(1_000_000));
    assert!((1_000..=4_096).contains(&book.bids.window_size()), "{}", book.bids.window_size());
    assert!(book.bids.outside_count() < 250 / 9);
    book.clear();
    assert_eq!(book.bids.window_size(), 0);
    churn(&mut book, 0, 5_000, 500, price_of(1_000_000));
    // The market is elsewhere now.
    book.clear();
    churn(&mut book, 0, 5_000, 500, price_of(900_000_000));
    assert!(book.bids.outside_count() < 250 / 9 && book.asks.outside_count() < 250 / 9);
}

/// Method: a stub far below a busy market, and stray orders far from it, one in ten.
#[test]
fn strays_do_not_move_the_window() {
    let mut random = Random::new(2);
    let mut book = OrderBook::with_tick(1);
    book.insert(order(1, Side::Bid, 1));
    book.insert(order(3, Side::Ask, 1 << 52));
    let mut moves = 0;
    let mut last = (0, 0);
    for part in 0..20 {
        churn(&mut book, part * 1_000, 1_000, 300, |_, side| {
            if random.chance(1, 10) {
                return 1 + random.below(1 << 50) as i64;
            }
            let distance = random.below(100) as i64;
            if side == Side::Bid { 1_000_000 - distance } else { 1_000_000 + distance }
        });
        let now = (book.bids.window_base(), book.asks.window_base());
        moves += u64::from(part > 3 && now != last);
        last = now;
    }
    assert_eq!(moves, 0);
}

/// Method: prices that are far from each other in turn, in the pattern that is worst for a window that follows at once.
#[test]
fn far_prices_in_turn_move_the_window_rarely() {
    let mut book = OrderBook::with_tick(1);
    let (mut moves, mut last) = (0, 0);
    for step in 0..20_000 {
        churn(&mut book, step, 1, 100, |step, _| if step / 2 % 2 == 0 { 1_000 } else { 1 << 50 } + (step % 64) as i64);
        moves += u64::from(book.bids.window_base() != last);
        last = book.bids.window_base();
    }
    assert!(moves < 1_500, "{moves}");
}

#[test]
fn memory_is_bounded_by_what_rested_at_a_time() {
    let mut random = Random::new(3);
    let mut book = OrderBook::new();
    let mut indexes = 0;
    for step in 0..50_000 {
        let handle = book.insert(order(2 * (step + 1), Side::Ask, 1 + random.below(1 << 53) as i64));
        indexes = indexes.max(handle.index());
        if step >= 99 {
            let oldest = book.find(2 * (step - 98)).unwrap();
            book.remove(oldest);
        }
    }
    assert_eq!((book.len(), indexes), (99, 99));
    assert!(book.asks.window_size() <= 256 * 128);
    book.check();
}
