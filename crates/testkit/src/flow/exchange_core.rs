//! The orders of exchange-core's own benchmark: about 71 % moves, 13 % limit orders, 7 % cancels, 7 % reductions, 2 % IOC.
//!
//! Written anew from a description of how its generator draws, down to the order of the draws of `java.util.Random`; the hashes of three long
//! streams are known, and tests hold them. The generator keeps a book of its own, because what it asks for next depends on what traded.
//!
//! Floats occur where exchange-core has them. All but one of these results are exact or correctly rounded by IEEE 754 and so the same
//! everywhere; 10 to a power, for the first price, is cut to an integer far from where a last bit matters.

use super::book::{FlowBook, Met, Way};
use super::java_random::JavaRandom;
use super::{FlowCommand, FlowKind};

/// Only so many of the oldest orders are ever cancelled, reduced or moved.
const OLDEST: usize = 512;
/// The orders of a side are counted every so many commands, and whenever something was rejected.
const COUNT_EVERY: u32 = 512;
/// The price goes no further than so many deviations from where it began.
const DEVIATIONS: i64 = 5;

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeCoreOptions {
    /// The symbol's number, part of the seed.
    pub symbol: i32,
    /// The other part.
    pub seed: i32,
    /// Whose orders they are: users 1 to this.
    pub users: i32,
    /// How many orders shall rest; as many limit orders come before the first command that counts.
    pub orders: u32,
}

impl ExchangeCoreOptions {
    /// Its benchmark of the order book alone.
    pub const fn module(orders: u32) -> Self {
        Self { symbol: 0, seed: 101_572_685, users: 1_000, orders }
    }
}

/// What a command asks for, by exchange-core's numbers in hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeCoreKind {
    /// A limit order that rests.
    Gtc = 0,
    /// A limit order at the extreme price of which nothing rests.
    Ioc = 1,
    /// The same, whole or not at all; `price` is all that it may cost, or must bring.
    FokBudget = 2,
    /// The order away.
    Cancel = 3,
    /// `size` of the order away.
    Reduce = 4,
    /// The order to `price`, behind all others there.
    Move = 5,
}

/// One command in exchange-core's words. What it has no use for is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeCoreCommand {
    /// What it asks for.
    pub kind: ExchangeCoreKind,
    /// The number of the command that placed the order, from 1; its own where it places one.
    pub order: u32,
    /// Whose.
    pub user: u32,
    /// Limit, budget, or where to.
    pub price: i64,
    /// How much, or how much less.
    pub size: i64,
    /// Whether the order it is about sells.
    pub sells: bool,
}

/// Commands without end; the first [`ExchangeCoreOptions::orders`] of them fill the book.
#[derive(Debug, Clone)]
pub struct ExchangeCoreFlow {
    options: ExchangeCoreOptions,
    random: JavaRandom,
    deviation: i64,
    lowest: i64,
    highest: i64,
    book: FlowBook,
    last_price: i64,
    given: u32,
    /// Whole size and user of each order, by its number; of what is no order nothing.
    placed: Vec<(i64, u32)>,
    oldest: Oldest,
    /// Orders of each side when they were last counted.
    counted: [i64; 2],
    count_at: u32,
    was_full: bool,
    met: Vec<Met>,
    /// What the last command had to match with, or leaves where it does not match.
    size_left: i64,
}

impl ExchangeCoreFlow {
    /// The stream of these options.
    pub fn new(options: ExchangeCoreOptions) -> Self {
        let seed = (31_i32.wrapping_add(options.symbol.wrapping_mul(-177_277)).wrapping_mul(31))
            .wrapping_add(options.seed.wrapping_mul(10_037).wrapping_add(198_267));
        let mut random = JavaRandom::new(i64::from(seed));
        let first_price = first_price(&mut random);
        let deviation = (first_price / 20).min(10_000);
        Self {
            options,
            random,
            deviation,
            lowest: first_price - DEVIATIONS * deviation,
            highest: first_price + DEVIATIONS * deviation,
            book: FlowBook::default(),
            last_price: first_price,
            given: 0,
            placed: vec![(0, 0)],
            oldest: Oldest::default(),
            counted: [0; 2],
            count_at: COUNT_EVERY,
            was_full: false,
            met: Vec::new(),
            size_left: 0,
        }
    }

    /// Orders that rest.
    pub fn order_count(&self) -> usize {
        self.book.count(Way::Buy) + self.book.count(Way::Sell)
    }

    /// Price levels of both sides.
    pub fn level_count(&self) -> usize {
        self.book.level_count()
    }

    /// What the last command met: resting order, price, size.
    pub fn fills(&self) -> impl ExactSizeIterator<Item = (u32, i64, i64)> {
        self.met.iter().map(|met| (met.resting, met.price, met.size))
    }

    /// The next command, carried out.
    ///
    /// # Panics
    /// When more than 2^32 were asked for.
    pub fn give(&mut self) -> ExchangeCoreCommand {
        let filling = self.given < self.options.orders;
        self.given += 1;
        self.placed.push((0, 0));
        self.met.clear();
        let (command, rejected) = if filling { (self.limit_order(), false) } else { self.any() };
        for met in &self.met {
            self.last_price = met.price.clamp(self.lowest, self.highest);
            if met.gone {
                self.oldest.remove(met.resting);
            }
        }
        if self.book.size(command.order) == 0 {
            self.oldest.remove(command.order);
        }
        let turn = self.given > self.count_at;
        if turn {
            self.count_at += COUNT_EVERY;
        }
        if turn || rejected {
            self.counted = [Way::Buy, Way::Sell].map(|way| self.book.count(way) as i64);
        }
        command
    }

    /// The same in words that every book has: a reduction by all that is left is a cancel, any other a smaller size, a budget a limit.
    pub fn give_plain(&mut self) -> FlowCommand {
        let command = self.give();
        let ExchangeCoreCommand { order, user, sells, .. } = command;
        let whole = &mut self.placed[order as usize].0;
        let (kind, price, size) = match command.kind {
            ExchangeCoreKind::Gtc => (FlowKind::Gtc, command.price, command.size),
            ExchangeCoreKind::Ioc => (FlowKind::Ioc, command.price, command.size),
            ExchangeCoreKind::FokBudget => (FlowKind::Fok, command.price / command.size, command.size),
            ExchangeCoreKind::Reduce if self.size_left > 0 => {
                *whole -= command.size;
                (FlowKind::Replace, self.book.price(order), *whole)
            }
            ExchangeCoreKind::Cancel | ExchangeCoreKind::Reduce => (FlowKind::Cancel, 0, 0),
            ExchangeCoreKind::Move => (FlowKind::Replace, command.price, *whole),
        };
        FlowCommand { kind, sells, order, account: user, price, size, left: self.size_left }
    }

    fn any(&mut self) -> (ExchangeCoreCommand, bool) {
        let half = i64::from(self.options.orders / 2);
        let lack = half - self.counted[self.way() as usize];
        let grows = lack > 0;
        self.was_full |= !grows;
        let fast = !self.was_full || lack > (half * 3 / 4).min(i64::from(COUNT_EVERY));
        let among = match (grows, fast) {
            (true, true) => 2,
            (true, false) => 10,
            (false, _) => 40,
        };
        match self.random.below(among) {
            0 | 1 if grows => (self.limit_order(), false),
            0 | 1 => self.instant_order(),
            2 => (self.cancel(), false),
            3 => (self.reduce(), false),
            _ => (self.shift(), false),
        }
    }

    fn limit_order(&mut self) -> ExchangeCoreCommand {
        let (way, user) = (self.way(), self.user());
        let unit = self.random.unit();
        #[allow(clippy::float_arithmetic, reason = "two products, each rounded as IEEE 754 says")]
        let width = 1 + (unit * unit * self.deviation as f64) as i32;
        let sum: i32 = (0..4).map(|_| self.random.below(width)).sum();
        let distance = i64::from((sum / 4 * 2 - width).abs());
        let price = self.last_price + if way == Way::Sell { distance } else { -distance };
        let size = self.product(6);
        let order = self.given;
        self.placed[order as usize] = (size, user);
        self.oldest.push(order);
        self.match_and_rest(order, way, price, size);
        ExchangeCoreCommand { kind: ExchangeCoreKind::Gtc, order, user, price, size, sells: way == Way::Sell }
    }

    fn instant_order(&mut self) -> (ExchangeCoreCommand, bool) {
        let (way, user) = (self.way(), self.user());
        let limit = if way == Way::Buy { self.highest } else { self.lowest };
        let whole = self.random.below(32) == 0;
        let size = self.product(if whole { 8 } else { 6 });
        self.size_left = size;
        let command =
            |kind, price| ExchangeCoreCommand { kind, order: self.given, user, price, size, sells: way == Way::Sell };
        if !whole {
            let left = self.book.take(way, limit, size, |met| self.met.push(met));
            return (command(ExchangeCoreKind::Ioc, limit), left > 0);
        }
        let budget = size * limit;
        let paid = self.book.worth(way, size).is_some_and(|worth| way.reaches(budget, worth));
        if paid {
            let any = if way == Way::Buy { i64::MAX } else { i64::MIN };
            self.book.take(way, any, size, |met| self.met.push(met));
        }
        (command(ExchangeCoreKind::FokBudget, budget), !paid)
    }

    fn cancel(&mut self) -> ExchangeCoreCommand {
        let order = self.old_order();
        let way = self.book.way(order);
        self.size_left = self.book.size(order);
        self.book.remove(order);
        self.about(ExchangeCoreKind::Cancel, order, way, 0, 0)
    }

    fn reduce(&mut self) -> ExchangeCoreCommand {
        let order = self.old_order();
        let (way, size) = (self.book.way(order), self.book.size(order));
        let by = i64::from(self.random.below(size as i32)) + 1;
        self.size_left = size - by;
        self.book.reduce(order, by);
        self.about(ExchangeCoreKind::Reduce, order, way, 0, by)
    }

    /// A hundredth of the way towards the last price, a step at least.
    fn shift(&mut self) -> ExchangeCoreCommand {
        let order = self.old_order();
        let (way, before, size) = (self.book.way(order), self.book.price(order), self.book.size(order));
        let away = self.last_price - before;
        let step = match away {
            0 => i64::from(self.random.below(2) * 2 - 1),
            _ => away.signum() * ((away.abs() + 99) / 100),
        };
        let price = (before + step).min(self.highest);
        self.book.remove(order);
        self.match_and_rest(order, way, price, size);
        self.about(ExchangeCoreKind::Move, order, way, price, 0)
    }

    fn match_and_rest(&mut self, order: u32, way: Way, price: i64, size: i64) {
        self.size_left = size;
        let left = self.book.take(way, price, size, |met| self.met.push(met));
        if left > 0 {
            self.book.rest(order, way, price, left);
        }
    }

    fn about(&self, kind: ExchangeCoreKind, order: u32, way: Way, price: i64, size: i64) -> ExchangeCoreCommand {
        ExchangeCoreCommand { kind, order, user: self.placed[order as usize].1, price, size, sells: way == Way::Sell }
    }

    fn old_order(&mut self) -> u32 {
        let candidates = self.oldest.front();
        candidates[self.random.below(candidates.len() as i32) as usize]
    }

    fn way(&mut self) -> Way {
        if self.random.below(4) >= 2 { Way::Buy } else { Way::Sell }
    }

    fn user(&mut self) -> u32 {
        self.random.below(self.options.users) as u32 + 1
    }

    fn product(&mut self, bound: i32) -> i64 {
        i64::from(1 + self.random.below(bound) * self.random.below(bound) * self.random.below(bound))
    }
}

#[allow(clippy::float_arithmetic, reason = "cut to an integer, far from where a last bit matters")]
fn first_price(random: &mut JavaRandom) -> i64 {
    let (one, other) = (random.unit(), random.unit());
    10_f64.powf(3.3 + 1.5 * one + 1.5 * other) as i64
}

/// Orders that rest, the oldest first. Only the front is ever looked at, so the others are but a mark each.
#[derive(Debug, Clone, Default)]
struct Oldest {
    rests: Vec<bool>,
    front: Vec<u32>,
    /// Orders from here on are not in `front`.
    next: u32,
}

impl Oldest {
    fn push(&mut self, order: u32) {
        self.rests.resize(order as usize + 1, false);
        self.rests[order as usize] = true;
    }

    fn remove(&mut self, order: u32) {
        if let Some(rests) = self.rests.get_mut(order as usize)
            && std::mem::take(rests)
            && order < self.next
            && let Ok(index) = self.front.binary_search(&order)
        {
            self.front.remove(index);
        }
    }

    /// The oldest of all.
    fn front(&mut self) -> &[u32] {
        while self.front.len() < OLDEST && (self.next as usize) < self.rests.len() {
            if self.rests[self.next as usize] {
                self.front.push(self.next);
            }
            self.next += 1;
        }
        &self.front
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted of a stream behind its first orders.
    #[derive(Debug, PartialEq, Eq)]
    struct Found {
        /// Commands by kind.
        kinds: [u32; 6],
        trades: usize,
        hash: u64,
    }

    /// The hash of known streams: FNV-1a, begun at its usual number without the last digit, of kind, order, price, size and side of each command,
    /// 8 bytes each; orders are numbered from 1 in the order in which they were placed.
    fn found(options: ExchangeCoreOptions, commands: u32) -> Found {
        let mut flow = ExchangeCoreFlow::new(options);
        let mut numbers = Vec::new();
        let mut orders = 0;
        let mut found = Found { kinds: [0; 6], trades: 0, hash: 1_469_598_103_934_665_603 };
        for index in 0..options.orders + commands {
            let ExchangeCoreCommand { kind, order, price, size, sells, .. } = flow.give();
            numbers.resize(index as usize + 2, 0);
            if order == index + 1 {
                orders += 1;
                numbers[order as usize] = orders;
            }
            if index < options.orders {
                assert_eq!(kind, ExchangeCoreKind::Gtc);
                continue;
            }
            found.kinds[kind as usize] += 1;
            found.trades += flow.fills().len();
            for word in [kind as u64, numbers[order as usize], price as u64, size as u64, u64::from(sells)] {
                for byte in word.to_le_bytes() {
                    found.hash = (found.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
        }
        found
    }

    #[test]
    fn its_first_commands_are_the_known_ones() {
        let found = found(ExchangeCoreOptions::module(1_000), 100_000);
        let kinds = [12_700, 1_795, 59, 7_208, 7_248, 70_990];
        assert_eq!(found, Found { kinds, trades: 4_179, hash: 13_447_591_851_394_161_280 });
    }

    #[test]
    #[ignore = "11 million commands, for make soak"]
    fn whole_streams_are_the_known_ones() {
        let pipeline = ExchangeCoreOptions { symbol: 40_000, seed: 1, users: 1_300, orders: 1_000 };
        for (options, commands, trades, hash) in [
            (ExchangeCoreOptions::module(1_000), 3_000_000, 122_686, 0x735e_47a5_b969_bb9c),
            (pipeline, 3_000_000, 122_156, 0x86f9_f88d_72a9_d51a),
            (ExchangeCoreOptions::module(1_000_000), 5_000_000, 289_742, 0x2a0a_393d_43c8_ab81),
        ] {
            let found = found(options, commands);
            assert_eq!((found.trades, found.hash), (trades, hash), "{options:?}");
        }
    }
}
