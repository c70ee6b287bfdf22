//! What an operation of the order book costs, in nanoseconds, by flow of orders.
//!
//! `cargo run --release -p tidebook-book --example order_book [operations]`. A flow is written down first, by a book that it is tried on, and then played to a
//! new one, so that only the book is measured; the best of five rounds is given, and a hash of the book at the end, which has to be the same in each. Move is removal and
//! insertion under the old id.

use std::hint::black_box;
use std::time::Instant;

use tidebook_book::{OrderBook, Resting, Side};
use tidebook_testkit::Random;

#[derive(Clone, Copy)]
enum Operation {
    Insert(Resting),
    Move(u64, i64, i64),
    Remove(u64),
    Reduce(u64, i64),
    Fill(Side, i64),
}

/// Where orders go.
#[derive(Clone, Copy)]
struct Flow {
    name: &'static str,
    /// Orders to begin with, and about as many later.
    resting: usize,
    /// Of 100 operations: moves, removals, reductions, fills; the rest are insertions.
    moves: u64,
    removals: u64,
    reductions: u64,
    fills: u64,
    /// Ticks from the touch.
    depth: u64,
    /// Most ticks that the touch moves, and in how many operations it comes and goes.
    swing: f64,
    period: f64,
    /// One order in so many goes anywhere up to 2^50; 0 for none.
    far: u64,
    /// Orders to choose from for all but insertions and fills: the oldest so many.
    oldest: usize,
}

const EXCHANGE_CORE: Flow = Flow {
    name: "exchange-core mix, 1K",
    resting: 1_000,
    moves: 71,
    removals: 7,
    reductions: 7,
    fills: 2,
    depth: 1_500,
    swing: 0.0,
    period: 1.0,
    far: 0,
    oldest: 512,
};

const REGIME: Flow = Flow {
    name: "static",
    resting: 20_900,
    moves: 9,
    removals: 41,
    reductions: 0,
    fills: 0,
    depth: 60,
    oldest: usize::MAX,
    ..EXCHANGE_CORE
};

const FLOWS: [Flow; 10] = [
    EXCHANGE_CORE,
    Flow { name: "exchange-core mix, 1M", resting: 1_000_000, depth: 2_400, ..EXCHANGE_CORE },
    REGIME,
    Flow { name: "normal", resting: 2_700, fills: 3, depth: 290, swing: 300.0, period: 2e6, ..REGIME },
    Flow { name: "swing 25 %", resting: 1_300, fills: 3, depth: 830, swing: 8_000.0, period: 2e5, ..REGIME },
    Flow { name: "swing 40 %", resting: 700, fills: 3, depth: 560, swing: 13_000.0, period: 1e5, ..REGIME },
    Flow { name: "flash crash", resting: 240, fills: 4, depth: 210, swing: 30_000.0, period: 2e4, ..REGIME },
    Flow { name: "one in ten far away", resting: 2_700, fills: 3, depth: 290, far: 10, ..REGIME },
    Flow { name: "all far away, 1K", resting: 1_000, far: 1, ..REGIME },
    Flow { name: "all far away, 100K", resting: 100_000, far: 1, ..REGIME },
];

/// A flow, written down: what comes first to fill the book, then what is measured.
fn operations(flow: &Flow, count: usize) -> (Vec<Operation>, Vec<Operation>) {
    let mut random = Random::new(1);
    let mut book = OrderBook::new();
    let (mut before, mut measured) = (Vec::new(), Vec::with_capacity(count));
    // Ids in the order in which they came; those that left go lazily.
    let mut ids: Vec<u64> = Vec::new();
    let mut sequence = 0;
    while measured.len() < count {
        let step = measured.len() as f64;
        #[allow(clippy::float_arithmetic, reason = "a curve of prices, written down before anything is measured")]
        let touch = 40_000 + ((step / flow.period * std::f64::consts::TAU).sin() * flow.swing) as i64;
        let side = Side::BOTH[random.index(2)];
        let distance = 1 + (random.below(flow.depth) * random.below(flow.depth) / flow.depth) as i64;
        let price = match side {
            _ if flow.far > 0 && random.chance(1, flow.far) => 1 + random.below(1 << 50) as i64,
            Side::Bid => touch - distance,
            Side::Ask => touch + distance,
        };
        let size = 1 + random.below(100) as i64;
        let draw = random.below(100);
        let mut pick = |random: &mut Random| loop {
            let index = random.index(ids.len().min(flow.oldest));
            match book.find(ids[index]) {
                Some(handle) => break *book.get(handle),
                None if flow.oldest < usize::MAX => drop(ids.remove(index)),
                None => drop(ids.swap_remove(index)),
            }
        };
        let filling = book.len() < flow.resting && before.len() < flow.resting;
        let rest = flow.moves + flow.removals + flow.reductions + flow.fills;
        let operation = if filling || book.len() < flow.resting / 2 || draw >= rest && book.len() < 2 * flow.resting {
            sequence += 1;
            ids.push(2 * sequence);
            Operation::Insert(Resting { id: 2 * sequence, price, shown: size, hidden: 0, side })
        } else if draw < flow.moves {
            let order = pick(&mut random);
            let price = if order.side == side { price } else { 2 * touch - price };
            Operation::Move(order.id, if price > 0 { price } else { order.price }, order.shown)
        } else if draw < flow.moves + flow.reductions {
            let order = pick(&mut random);
            Operation::Reduce(order.id, 1 + order.shown / 2)
        } else if draw < flow.moves + flow.reductions + flow.fills && book.best(side).is_some() {
            Operation::Fill(side, size)
        } else {
            Operation::Remove(pick(&mut random).id)
        };
        play(&mut book, &[operation]);
        if filling { before.push(operation) } else { measured.push(operation) }
    }
    (before, measured)
}

fn play(book: &mut OrderBook, operations: &[Operation]) {
    for operation in operations {
        match *operation {
            Operation::Insert(order) => {
                black_box(book.insert(order));
            }
            Operation::Move(id, price, size) => {
                let handle = book.find(id).expect("it rests");
                book.relocate(handle, price, size, 0);
            }
            Operation::Remove(id) => {
                let handle = book.find(id).expect("it rests");
                book.remove(handle);
            }
            Operation::Reduce(id, size) => {
                let handle = book.find(id).expect("it rests");
                book.resize(handle, size, 0);
            }
            Operation::Fill(side, mut size) => {
                while let Some(first) = book.first(side).filter(|_| size > 0) {
                    let part = size.min(book.get(first).shown);
                    book.fill(first, part);
                    size -= part;
                }
            }
        }
    }
}

fn hash(book: &OrderBook) -> u64 {
    let mut hash = 0_u64;
    for side in Side::BOTH {
        for handle in book.orders(side) {
            let Resting { id, price, shown, .. } = *book.get(handle);
            for part in [id, price as u64, shown as u64] {
                hash = (hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            }
        }
    }
    hash
}

#[allow(clippy::float_arithmetic, reason = "numbers for people")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(2_000_000, |text| text.parse().expect("a count of operations"));
    let only = arguments.next().unwrap_or_default();
    println!("{:24} {:>9} {:>8} {:>8} {:>8}  hash", "flow", "orders", "levels", "ns", "M/s");
    for flow in FLOWS.iter().filter(|flow| flow.name.contains(&only)) {
        let (before, measured) = operations(flow, count);
        let mut best = f64::INFINITY;
        let mut hashes = Vec::new();
        let mut last = OrderBook::new();
        for _ in 0..5 {
            let mut book = OrderBook::with_tick(1);
            book.reserve(2 * flow.resting);
            play(&mut book, &before);
            let start = Instant::now();
            play(&mut book, &measured);
            best = best.min(start.elapsed().as_nanos() as f64 / measured.len() as f64);
            hashes.push(hash(&book));
            last = book;
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]));
        let levels = last.level_counts().0 + last.level_counts().1;
        let rate = 1_000.0 / best;
        println!("{:24} {:>9} {levels:>8} {best:>8.1} {rate:>8.2}  {:016x}", flow.name, last.len(), hashes[0]);
    }
}
