//! Once warm, no operation of an order book allocates: counted, not believed.

use tidebook_book::{Handle, OrderBook, Resting, Side};
use tidebook_testkit::{Counted, Random, allocations};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

struct Flow {
    random: Random,
    sequence: u64,
    touch: i64,
}

impl Flow {
    const fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), sequence: 0, touch: 50_000 }
    }
}

/// Keeps `handles` full of orders around a touch that swings, some far away, with every operation that a book has.
fn trade(book: &mut OrderBook, handles: &mut [Option<Handle>], flow: &mut Flow, steps: u64) {
    let Flow { random, sequence, touch } = flow;
    for step in 0..steps {
        *touch += random.below(41) as i64 - 20
            + if *touch < 30_000 {
                100
            } else if *touch > 70_000 {
                -100
            } else {
                0
            };
        let side = Side::BOTH[random.index(2)];
        let distance = if step % 10 == 0 { random.below(1 << 40) } else { random.below(2_000) } as i64;
        let price = if side == Side::Bid { (*touch - distance).max(1) } else { *touch + distance };
        let place = &mut handles[random.index(400)];
        let Some(handle) = *place else {
            *sequence += 1;
            let hidden = random.below(2) as i64 * 50;
            *place = Some(book.insert(Resting { id: 2 * *sequence, price, shown: 10, hidden, side }));
            continue;
        };
        let order = *book.get(handle);
        assert_eq!(book.find(order.id), Some(handle));
        match random.below(6) {
            0 => {
                book.remove(handle);
                *place = None;
            }
            1 => book.resize(handle, 5, order.hidden),
            2 if order.shown > 0 => {
                if book.fill(handle, order.shown) == 0 && order.hidden == 0 {
                    *place = None;
                } else {
                    book.refresh(handle, order.hidden.min(10));
                }
            }
            _ => book.relocate(handle, price, 10, order.hidden),
        }
        let levels: i64 = book.levels(side).take(5).map(|level| level.shown).sum();
        let orders: i64 = book.orders(side).take(5).map(|handle| book.get(handle).shown).sum();
        assert!(orders <= levels && book.best_level(side).is_none() == (levels == 0));
    }
}

/// Each side was once as full as it gets: 400 orders at as many prices.
fn fill(book: &mut OrderBook) {
    for side in Side::BOTH {
        let order = |n: u64| Resting { id: 1 + 2 * n, price: 1 + ((n as i64) << 30), shown: 1, hidden: 0, side };
        let handles: Vec<Handle> = (0..400).map(|n| book.insert(order(n))).collect();
        for handle in handles {
            book.remove(handle);
        }
    }
}

#[test]
fn a_warm_book_allocates_nothing() {
    let mut book = OrderBook::with_tick(1);
    let mut flow = Flow::new(4);
    let mut handles = vec![None; 400];
    let warms_up = || {
        fill(&mut book);
        trade(&mut book, &mut handles, &mut flow, 200_000);
    };
    assert!(allocations(warms_up) > 0);
    assert_eq!(allocations(|| trade(&mut book, &mut handles, &mut flow, 200_000)), 0);
    // Nor does one that was emptied.
    book.clear();
    handles.fill(None);
    assert_eq!(allocations(|| trade(&mut book, &mut handles, &mut flow, 50_000)), 0);
}

#[test]
fn a_book_takes_memory_with_its_first_order_and_a_copy_in_a_few_pieces() {
    assert_eq!(allocations(|| assert!(OrderBook::new().clone().is_empty())), 0);
    let mut book = OrderBook::new();
    let mut handles = vec![None; 400];
    trade(&mut book, &mut handles, &mut Flow::new(5), 50_000);
    assert!(allocations(|| drop(book.clone())) <= 12);
}
