//! One suite for the naive and the fast order book, then both on the same seeded streams.

use tidebook_book::{OrderBook, Resting, Side};
use tidebook_testkit::{NaiveOrderBook, OrderBookLike, Random};

const fn resting(id: u64, side: Side, price: i64, shown: i64) -> Resting {
    Resting { id, price, shown, hidden: 0, side }
}

/// A side as a trader reads it, best first: `price: id=shown+hidden ...`, with the sums of the level behind.
fn side<B: OrderBookLike>(book: &B, side: Side) -> String {
    let levels: Vec<_> = book
        .levels(side)
        .iter()
        .map(|level| {
            let ids = book.orders_at(side, level.price);
            assert_eq!(Some(*level), book.level(side, level.price));
            assert_eq!(ids.len(), level.count as usize);
            let order = |id: &u64| {
                let order = book.get(*id).unwrap();
                if order.hidden == 0 {
                    format!("{id}={}", order.shown)
                } else {
                    format!("{id}={}+{}", order.shown, order.hidden)
                }
            };
            let orders: Vec<_> = ids.iter().map(order).collect();
            format!("{}: {} ({}+{})", level.price, orders.join(" "), level.shown, level.hidden)
        })
        .collect();
    levels.join(" | ")
}

fn book_of<B: OrderBookLike>(orders: &[Resting]) -> B {
    let mut book = B::default();
    orders.iter().for_each(|order| book.insert(*order));
    book
}

fn orders_of_a_price_are_first_in_first_out<B: OrderBookLike>() {
    let mut book: B = book_of(&[
        resting(2, Side::Bid, 100, 5),
        resting(4, Side::Bid, 101, 1),
        resting(6, Side::Bid, 100, 7),
        resting(8, Side::Ask, 103, 2),
        resting(10, Side::Ask, 102, 3),
    ]);
    assert_eq!(side(&book, Side::Bid), "101: 4=1 (1+0) | 100: 2=5 6=7 (12+0)");
    assert_eq!(side(&book, Side::Ask), "102: 10=3 (3+0) | 103: 8=2 (2+0)");
    assert_eq!((book.best(Side::Bid), book.first(Side::Bid)), (Some(101), Some(4)));
    assert_eq!((book.best(Side::Ask), book.first(Side::Ask)), (Some(102), Some(10)));
    assert_eq!(book.orders(Side::Bid), [4, 2, 6]);
    assert_eq!(book.remove(4), resting(4, Side::Bid, 101, 1));
    book.remove(2);
    assert_eq!(side(&book, Side::Bid), "100: 6=7 (7+0)");
    book.insert(resting(2, Side::Bid, 100, 1));
    assert_eq!(side(&book, Side::Bid), "100: 6=7 2=1 (8+0)");
    assert_eq!((book.count(), book.get(4)), (4, None));
}

fn a_fill_in_part_keeps_the_place_and_a_whole_one_leaves<B: OrderBookLike>() {
    let mut book: B = book_of(&[resting(2, Side::Ask, 7, 5), resting(4, Side::Ask, 7, 5), resting(6, Side::Ask, 9, 5)]);
    assert_eq!(book.fill(2, 2), 3);
    assert_eq!(side(&book, Side::Ask), "7: 2=3 4=5 (8+0) | 9: 6=5 (5+0)");
    assert_eq!(book.fill(2, 0), 3);
    assert_eq!(book.fill(2, 3), 0);
    assert_eq!(side(&book, Side::Ask), "7: 4=5 (5+0) | 9: 6=5 (5+0)");
    assert_eq!(book.fill(4, 5), 0);
    assert_eq!(book.best(Side::Ask), Some(9));
    assert_eq!(book.fill(6, 5), 0);
    assert_eq!((book.best(Side::Ask), book.count()), (None, 0));
}

fn what_was_hidden_is_shown_behind_the_others<B: OrderBookLike>() {
    let mut book: B = book_of(&[
        Resting { hidden: 7, ..resting(2, Side::Bid, 50, 3) },
        resting(4, Side::Bid, 50, 1),
        Resting { hidden: 1, ..resting(6, Side::Bid, 49, 1) },
    ]);
    assert_eq!(side(&book, Side::Bid), "50: 2=3+7 4=1 (4+7) | 49: 6=1+1 (1+1)");
    assert_eq!(book.fill(2, 3), 0);
    assert_eq!(side(&book, Side::Bid), "50: 2=0+7 4=1 (1+7) | 49: 6=1+1 (1+1)");
    book.refresh(2, 3);
    assert_eq!(side(&book, Side::Bid), "50: 4=1 2=3+4 (4+4) | 49: 6=1+1 (1+1)");
    // Alone at its price it is behind nobody.
    book.fill(6, 1);
    book.refresh(6, 1);
    assert_eq!(side(&book, Side::Bid), "50: 4=1 2=3+4 (4+4) | 49: 6=1 (1+0)");
    assert_eq!(book.remove(2), Resting { hidden: 4, ..resting(2, Side::Bid, 50, 3) });
    assert_eq!(side(&book, Side::Bid), "50: 4=1 (1+0) | 49: 6=1 (1+0)");
}

fn another_size_keeps_the_place_and_another_price_does_not<B: OrderBookLike>() {
    let mut book: B = book_of(&[resting(2, Side::Bid, 5, 1), resting(4, Side::Bid, 5, 2), resting(6, Side::Bid, 4, 3)]);
    book.resize(2, 9, 1);
    assert_eq!(side(&book, Side::Bid), "5: 2=9+1 4=2 (11+1) | 4: 6=3 (3+0)");
    book.relocate(2, 4, 8, 0);
    assert_eq!(side(&book, Side::Bid), "5: 4=2 (2+0) | 4: 6=3 2=8 (11+0)");
    book.relocate(6, 4, 3, 2);
    assert_eq!(side(&book, Side::Bid), "5: 4=2 (2+0) | 4: 2=8 6=3+2 (11+2)");
    book.relocate(4, 6, 2, 0);
    assert_eq!(side(&book, Side::Bid), "6: 4=2 (2+0) | 4: 2=8 6=3+2 (11+2)");
    book.relocate(4, 6, 1, 0);
    assert_eq!(side(&book, Side::Bid), "6: 4=1 (1+0) | 4: 2=8 6=3+2 (11+2)");
}

fn both_sides_may_rest_at_a_price<B: OrderBookLike>() {
    let mut book: B = book_of(&[resting(2, Side::Bid, 5, 1), resting(4, Side::Ask, 5, 2), resting(6, Side::Ask, 3, 2)]);
    assert_eq!((book.best(Side::Bid), book.best(Side::Ask)), (Some(5), Some(3)));
    book.remove(4);
    assert_eq!((side(&book, Side::Bid), side(&book, Side::Ask)), ("5: 2=1 (1+0)".into(), "3: 6=2 (2+0)".into()));
}

fn any_price_and_any_id_can_rest<B: OrderBookLike>() {
    let prices = [i64::MAX, 1, (1 << 53) - 1, 1 << 53, 0, -1, i64::MIN, 7, 1 << 61, (1 << 61) + 1, -(1 << 61) - 1];
    let mut sorted = prices;
    sorted.sort_unstable();
    for ask_first in [true, false] {
        let mut book = B::default();
        for (index, &price) in prices.iter().enumerate() {
            let id = [1, u64::MAX, 1 << 63, 1 << 32][index % 4].wrapping_sub(16 * index as u64 * u64::from(index > 3));
            let sides = if ask_first { [Side::Ask, Side::Bid] } else { [Side::Bid, Side::Ask] };
            book.insert(resting(id, sides[0], price, 1));
            book.insert(resting(id ^ 1 << 20, sides[1], price, 1));
        }
        let prices_of = |side| book.levels(side).iter().map(|level| level.price).collect::<Vec<_>>();
        assert_eq!(prices_of(Side::Ask), sorted);
        assert!(prices_of(Side::Bid).iter().rev().eq(&sorted));
        for id in book.orders(Side::Ask) {
            book.remove(id);
        }
        assert_eq!((book.best(Side::Ask), book.count()), (None, prices.len()));
    }
}

fn sums_of_a_level_are_never_beyond_their_type<B: OrderBookLike>() {
    const MOST: i64 = (1 << 53) - 1;
    let mut book = B::default();
    for id in 1..=1_025 {
        book.insert(Resting { id, price: 3, shown: MOST, hidden: MOST, side: Side::Bid });
    }
    let level = book.level(Side::Bid, 3).unwrap();
    assert_eq!((level.shown, level.hidden, level.count), (i64::MAX, i64::MAX, 1_025));
    for id in 3..=1_025 {
        book.remove(id);
    }
    let level = book.level(Side::Bid, 3).unwrap();
    assert_eq!((level.shown, level.hidden, level.count), (2 * MOST, 2 * MOST, 2));
}

fn a_cleared_book_is_a_new_book_and_a_clone_is_another<B: OrderBookLike>() {
    let mut book: B = book_of(&[resting(2, Side::Bid, 5, 1), resting(4, Side::Ask, 8, 2)]);
    for id in 10..500 {
        book.insert(resting(id, Side::Ask, 5 + id as i64, 1));
    }
    let fork = book.clone();
    book.clear();
    assert_eq!((book.count(), book.best(Side::Bid), book.best(Side::Ask), book.get(2)), (0, None, None, None));
    book.insert(resting(2, Side::Ask, 8, 1));
    assert_eq!(side(&book, Side::Ask), "8: 2=1 (1+0)");
    assert_eq!((fork.count(), side(&fork, Side::Bid)), (492, "5: 2=1 (1+0)".into()));
}

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod naive { $(#[test] fn $name() { super::$name::<super::NaiveOrderBook>(); })* }
        mod fast { $(#[test] fn $name() { super::$name::<super::OrderBook>(); })* }
    };
}
suite!(
    orders_of_a_price_are_first_in_first_out,
    a_fill_in_part_keeps_the_place_and_a_whole_one_leaves,
    what_was_hidden_is_shown_behind_the_others,
    another_size_keeps_the_place_and_another_price_does_not,
    both_sides_may_rest_at_a_price,
    any_price_and_any_id_can_rest,
    sums_of_a_level_are_never_beyond_their_type,
    a_cleared_book_is_a_new_book_and_a_clone_is_another,
);

#[test]
#[should_panic(expected = "rests already")]
fn an_id_that_rests_cannot_rest_again() {
    let mut book = OrderBook::new();
    book.insert(resting(2, Side::Bid, 5, 1));
    book.insert(resting(2, Side::Ask, 9, 1));
}

#[test]
#[should_panic(expected = "rests no more")]
fn an_order_that_left_has_no_handle() {
    let mut book = OrderBook::new();
    let handle = book.insert(resting(2, Side::Bid, 5, 1));
    book.remove(handle);
    book.get(handle);
}

#[test]
fn a_book_without_ids_finds_none_and_is_the_same_otherwise() {
    let mut book = OrderBook::new().without_ids();
    let first = book.insert(resting(2, Side::Bid, 5, 1));
    let second = book.insert(resting(2, Side::Bid, 5, 3));
    assert_eq!((book.find(2), book.len()), (None, 2));
    assert_eq!(book.orders(Side::Bid).collect::<Vec<_>>(), [first, second]);
    assert_eq!(book.fill(first, 1), 0);
    assert_eq!((book.first(Side::Bid), book.next(second)), (Some(second), None));
    book.remove(second);
    assert!(book.is_empty());
}

/// Where the prices of a stream come from.
#[derive(Debug, Clone, Copy)]
enum Prices {
    /// At most so many ticks from a touch that stays.
    Static(u64),
    /// The same around a touch that moves by up to so much each step.
    Swing(u64, i64),
    /// Around a touch that jumps by up to so much now and then.
    Jumps(u64, i64),
    /// Anywhere from 1 to 2^53 - 1.
    Anywhere,
    /// Dense in one place, then in another, in turn.
    Alternating,
    /// Mostly near, now and then far away and off the tick.
    OffTick,
}

const STREAMS: [(Prices, usize); 12] = [
    (Prices::Static(4), 12),
    (Prices::Static(300), 40),
    (Prices::Swing(20, 2), 30),
    (Prices::Swing(200, 40), 60),
    (Prices::Jumps(30, 100_000), 40),
    (Prices::Jumps(2_000, 5_000), 300),
    (Prices::Anywhere, 50),
    (Prices::Anywhere, 2_000),
    (Prices::Alternating, 30),
    (Prices::Alternating, 500),
    (Prices::OffTick, 60),
    (Prices::Static(50_000), 3_000),
];

struct Stream {
    random: Random,
    prices: Prices,
    tick: i64,
    touch: i64,
    step: u64,
    sequence: u64,
    /// Ids that rest.
    ids: Vec<u64>,
}

impl Stream {
    fn price(&mut self, side: Side) -> i64 {
        let random = &mut self.random;
        let near = |random: &mut Random, width: u64| {
            // Square: many near the touch, few far; now and then through it.
            let distance = (random.below(width) * random.below(width) / width) as i64 - i64::from(random.chance(1, 8));
            if side == Side::Bid { -distance } else { distance }
        };
        let ticks = match self.prices {
            Prices::Static(width) => self.touch + near(random, width),
            Prices::Swing(width, most) => {
                self.touch += random.below(2 * most as u64 + 1) as i64 - most;
                self.touch = self.touch.clamp(100_000, 1 << 40);
                self.touch + near(random, width)
            }
            Prices::Jumps(width, most) => {
                if random.chance(1, 400) {
                    self.touch += random.below(2 * most as u64 + 1) as i64 - most;
                    self.touch = self.touch.clamp(100_000, 1 << 40);
                }
                self.touch + near(random, width)
            }
            Prices::Anywhere => return 1 + random.below((1 << 53) - 1) as i64,
            Prices::Alternating => self.touch + ((self.step / 3_000 % 2) << 30) as i64 + near(random, 100),
            Prices::OffTick if random.chance(1, 50) => return 1 + random.below(1 << 40) as i64,
            Prices::OffTick => self.touch + near(random, 40),
        };
        ticks * self.tick
    }

    fn size(&mut self) -> i64 {
        1 + self.random.below(20) as i64
    }
}

/// Runs `steps` random operations on both books, which keep about `target` orders. After each one the order, the sums of its level, both touches and the count are compared, and the
/// whole of both books each `whole` steps. Returns the comparisons of whole books.
fn run(seed: u64, prices: Prices, target: usize, steps: u64, whole: u64) -> u64 {
    let mut random = Random::new(seed);
    let tick = [1, 5, 100, 7][random.index(4)];
    let touch = 1_000_000 + random.below(1_000_000) as i64;
    let mut fast = if random.chance(1, 2) { OrderBook::with_tick(tick) } else { OrderBook::new() };
    let mut naive = NaiveOrderBook::default();
    let mut stream = Stream { random, prices, tick, touch, step: 0, sequence: 0, ids: Vec::new() };
    let mut compared = 0;
    for step in 0..steps {
        stream.step = step;
        let context = || format!("seed {seed}, {prices:?} with {target}, step {step}");
        let grow = stream.ids.len() < target / 2 || stream.ids.len() < target && stream.random.chance(1, 2);
        let draw = stream.random.below(100);
        let (price, side) = if stream.ids.is_empty() || draw < 2 || grow && draw < 50 {
            stream.sequence += 1 + stream.random.below(3);
            let id = if stream.random.chance(1, 10) { stream.random.next_u64() | 1 } else { 2 * stream.sequence };
            let side = Side::BOTH[stream.random.index(2)];
            let price = stream.price(side);
            let hidden = if stream.random.chance(1, 5) { stream.size() } else { 0 };
            let order = Resting { id, price, shown: stream.size(), hidden, side };
            OrderBookLike::insert(&mut naive, order);
            OrderBookLike::insert(&mut fast, order);
            stream.ids.push(id);
            (price, side)
        } else {
            let index = stream.random.index(stream.ids.len());
            let id = if draw > 70 {
                // Whoever is first in turn.
                let side = Side::BOTH[stream.random.index(2)];
                naive.first(side).unwrap_or(stream.ids[index])
            } else {
                stream.ids[index]
            };
            let order = naive.get(id).unwrap();
            assert_eq!(OrderBookLike::get(&fast, id), Some(order), "{}", context());
            let mut price = order.price;
            match draw {
                0..20 => {
                    assert_eq!(naive.remove(id), OrderBookLike::remove(&mut fast, id), "{}", context());
                }
                20..50 => {
                    price = if stream.random.chance(1, 6) { price } else { stream.price(order.side) };
                    let (shown, hidden) = (stream.size(), if order.hidden > 0 { stream.size() } else { 0 });
                    naive.relocate(id, price, shown, hidden);
                    OrderBookLike::relocate(&mut fast, id, price, shown, hidden);
                }
                50..60 => {
                    let (shown, hidden) = (stream.size(), if order.hidden > 0 { stream.size() } else { 0 });
                    naive.resize(id, shown, hidden);
                    OrderBookLike::resize(&mut fast, id, shown, hidden);
                }
                _ if order.shown == 0 => {
                    let size = 1 + stream.random.below(order.hidden as u64) as i64;
                    naive.refresh(id, size);
                    OrderBookLike::refresh(&mut fast, id, size);
                }
                _ => {
                    let size = if stream.random.chance(1, 2) {
                        order.shown
                    } else {
                        stream.random.below(order.shown as u64) as i64
                    };
                    assert_eq!(naive.fill(id, size), OrderBookLike::fill(&mut fast, id, size), "{}", context());
                }
            }
            let now = naive.get(id);
            assert_eq!(OrderBookLike::get(&fast, id), now, "{}", context());
            if now.is_none() {
                let index = stream.ids.iter().position(|other| *other == id).unwrap();
                stream.ids.swap_remove(index);
            }
            (price, order.side)
        };
        if stream.random.chance(1, 200_000) {
            naive.clear();
            fast.clear();
            stream.ids.clear();
        }
        if stream.random.chance(1, 20_000) {
            fast = fast.clone();
        }
        assert_eq!(naive.level(side, price), fast.level(side, price), "{}", context());
        for side in Side::BOTH {
            assert_eq!(naive.best(side), fast.best(side), "{}", context());
            assert_eq!(naive.first(side), OrderBookLike::first(&fast, side), "{}", context());
        }
        assert_eq!(naive.count(), fast.len(), "{}", context());
        if step % whole == 0 || step + 1 == steps {
            compared += 1;
            for side in Side::BOTH {
                assert_eq!(naive.levels(side), OrderBookLike::levels(&fast, side), "{}", context());
                assert_eq!(naive.orders(side), OrderBookLike::orders(&fast, side), "{}", context());
            }
        }
    }
    compared
}

/// Operations of a stream in an ordinary test run: what fits some seconds with and without optimization.
const STEPS: u64 = if cfg!(debug_assertions) { 80_000 } else { 250_000 };

/// The target decides how often whole books are compared: after each step where they are small.
fn whole(target: usize) -> u64 {
    if target <= 12 { 1 } else { target as u64 }
}

#[test]
fn fast_and_naive_books_agree_at_each_step_of_seeded_streams() {
    for (seed, (prices, target)) in STREAMS.into_iter().enumerate() {
        assert!(run(seed as u64, prices, target, STEPS, whole(target)) > STEPS / target as u64);
    }
}

#[test]
#[ignore = "the full numbers: make soak"]
fn soak_fast_and_naive_books() {
    for round in 0..40 {
        for (index, (prices, target)) in STREAMS.into_iter().enumerate() {
            run(1_000 + 100 * round + index as u64, prices, target, 250_000, whole(target));
        }
    }
}
