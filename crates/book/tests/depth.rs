//! One suite for the naive and the fast depth book, then both on the same seeded commands.

use tidebook_book::{DepthBook, Level, Side};
use tidebook_testkit::{DepthBookLike, NaiveDepthBook, Random};

fn level(price: i64, size: i64) -> Level {
    Level { price, size }
}

/// The book as a trader reads it: asks falling to the spread, then bids falling from it.
fn picture(book: &impl DepthBookLike) -> String {
    let line = |level: &Level| format!("{} x {}", level.price, level.size);
    let mut lines: Vec<_> = book.levels(Side::Ask).iter().map(line).collect();
    lines.reverse();
    lines.push("--".to_owned());
    lines.extend(book.levels(Side::Bid).iter().map(line));
    lines.join(" | ")
}

fn an_update_sets_and_a_zero_removes<B: DepthBookLike>() {
    let mut book = B::default();
    assert_eq!(picture(&book), "--");
    assert_eq!(book.best(Side::Bid), None);
    for (side, price, size) in
        [(Side::Bid, 99, 5), (Side::Bid, 98, 7), (Side::Ask, 101, 2), (Side::Ask, 103, 4), (Side::Bid, 100, 1)]
    {
        assert_eq!(book.apply(side, price, size), 0);
    }
    assert_eq!(picture(&book), "103 x 4 | 101 x 2 | -- | 100 x 1 | 99 x 5 | 98 x 7");
    assert_eq!(book.apply(Side::Bid, 99, 6), 5);
    assert_eq!(book.apply(Side::Ask, 101, 0), 2);
    assert_eq!(picture(&book), "103 x 4 | -- | 100 x 1 | 99 x 6 | 98 x 7");
    assert_eq!(book.best(Side::Bid), Some(level(100, 1)));
    assert_eq!(book.best(Side::Ask), Some(level(103, 4)));
    assert_eq!(book.counts(), (3, 1));
}

fn removing_what_is_not_there_changes_nothing<B: DepthBookLike>() {
    let mut book = B::default();
    assert_eq!(book.apply(Side::Ask, 5, 0), 0);
    book.apply(Side::Ask, 7, 1);
    for price in [i64::MIN, 6, 8, i64::MAX] {
        assert_eq!(book.apply(Side::Ask, price, 0), 0);
    }
    assert_eq!(picture(&book), "7 x 1 | --");
}

fn truncation_drops_the_worst_levels_of_each_side_and_names_them<B: DepthBookLike>() {
    let mut book = B::default();
    for price in 1..=4 {
        book.apply(Side::Bid, price, 10 + price);
        book.apply(Side::Ask, 10 + price, price);
    }
    let removed = book.truncate(2);
    assert_eq!(
        removed,
        [(Side::Bid, level(1, 11)), (Side::Bid, level(2, 12)), (Side::Ask, level(14, 4)), (Side::Ask, level(13, 3))]
    );
    assert_eq!(picture(&book), "12 x 2 | 11 x 1 | -- | 4 x 14 | 3 x 13");
    assert_eq!(book.truncate(2), []);
    book.truncate(0);
    assert_eq!(picture(&book), "--");
}

fn a_cleared_book_is_a_new_book<B: DepthBookLike>() {
    let mut book = B::default();
    for price in 0..1_000 {
        book.apply(Side::Bid, price, 1);
    }
    book.clear();
    assert_eq!(book.counts(), (0, 0));
    book.apply(Side::Bid, 5, 2);
    assert_eq!(picture(&book), "-- | 5 x 2");
}

fn any_price_can_be_stored<B: DepthBookLike>() {
    let mut book = B::default();
    for side in Side::BOTH {
        for price in [i64::MAX, i64::MIN, 0, -1, 1] {
            book.apply(side, price, 3);
        }
    }
    let prices = |levels: Vec<Level>| levels.iter().map(|level| level.price).collect::<Vec<_>>();
    assert_eq!(prices(book.levels(Side::Bid)), [i64::MAX, 1, 0, -1, i64::MIN]);
    assert_eq!(prices(book.levels(Side::Ask)), [i64::MIN, -1, 0, 1, i64::MAX]);
}

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod naive { $(#[test] fn $name() { super::$name::<super::NaiveDepthBook>(); })* }
        mod fast { $(#[test] fn $name() { super::$name::<super::DepthBook>(); })* }
    };
}
suite!(
    an_update_sets_and_a_zero_removes,
    removing_what_is_not_there_changes_nothing,
    truncation_drops_the_worst_levels_of_each_side_and_names_them,
    a_cleared_book_is_a_new_book,
    any_price_can_be_stored,
);

/// Method: activity near a drifting touch with rare far levels, bursts of removals, truncations and clears; after
/// each command the touched answers are compared, and the whole book every 64 commands.
#[test]
fn fast_and_naive_books_agree_at_each_step_of_seeded_commands() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let mut naive = NaiveDepthBook::default();
        let mut fast = DepthBook::new();
        let mut middle: i64 = 100_000;
        let spread = [8, 60, 700, 5_000][seed as usize % 4];
        for step in 0..20_000 {
            let context = || format!("seed {seed} step {step}");
            match random.below(2_000) {
                0 => {
                    naive.clear();
                    fast.clear();
                }
                1..=3 => {
                    let depth = random.index(300);
                    assert_eq!(naive.truncate(depth), DepthBookLike::truncate(&mut fast, depth), "{}", context());
                }
                _ => {
                    middle += random.below(3) as i64 - 1;
                    let side = Side::BOTH[random.index(2)];
                    let far = if random.below(50) == 0 { 100 * spread } else { spread };
                    let distance = random.below(far as u64) as i64;
                    let price = if side == Side::Bid { middle - distance } else { middle + distance };
                    let size = if random.below(100) < 45 { 0 } else { 1 + random.below(1_000) as i64 };
                    let before = naive.apply(side, price, size);
                    assert_eq!(before, fast.apply(side, price, size), "{}", context());
                }
            }
            for side in Side::BOTH {
                assert_eq!(naive.counts(), fast.counts(), "{}", context());
                if step % 64 == 0 {
                    assert_eq!(naive.levels(side), DepthBookLike::levels(&fast, side), "{}", context());
                } else if step % 8 == 0 {
                    assert_eq!(naive.best(side), fast.best(side), "{}", context());
                }
            }
        }
    }
}

#[test]
fn the_state_hash_depends_on_the_levels_and_not_on_how_they_came() {
    let (mut one, mut other) = (DepthBook::new(), DepthBook::new());
    for price in 0..500 {
        one.apply(Side::Bid, price, 1 + price);
        other.apply(Side::Bid, 499 - price, 7);
    }
    for price in 0..500 {
        other.apply(Side::Bid, price, 1 + price);
    }
    assert_eq!(one.state_hash(), other.state_hash());
    other.apply(Side::Bid, 250, 1);
    assert_ne!(one.state_hash(), other.state_hash());
    let (mut bid, mut ask) = (DepthBook::new(), DepthBook::new());
    bid.apply(Side::Bid, 1, 1);
    ask.apply(Side::Ask, 1, 1);
    assert_ne!(bid.state_hash(), ask.state_hash());
}

#[test]
fn a_crossed_book_says_so() {
    let mut book = DepthBook::new();
    book.apply(Side::Bid, 10, 1);
    assert!(!book.is_crossed());
    book.apply(Side::Ask, 11, 1);
    assert!(!book.is_crossed());
    book.apply(Side::Bid, 11, 1);
    assert!(book.is_crossed());
}
