//! Five markets, from one that stands still to one that crashes again and again.
//!
//! All have the same orders around a middle price: 15 % are IOC, prices lie a few ticks behind the middle, sizes are 1 to 100; 95 % of the others are
//! cancelled after a while and 20 % are replaced before, by one more and mostly a tick away; 2 % of both are sent twice, and none asks whether
//! the order still rests. Only the way of the middle differs, and with it everything else: where it stands nearly nothing trades and what is
//! never cancelled piles up in a few levels; the more it swings, the fewer orders survive and the further apart they lie.
//!
//! Which marginals they were made to have (orders that rest, price levels, fills) is told of a public harness in its publications;
//! the draws are ours, in integers alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::book::{FlowBook, Met, Way};
use super::{FlowCommand, FlowKind};
use crate::random::Random;

/// Accounts take turns.
pub(super) const ACCOUNTS: u32 = 64;

const SEED: u64 = 23;
/// Middle price in the beginning, ticks.
const START: i64 = 33_504;
/// The middle in parts of a tick.
const FINE: i64 = 1 << 16;
/// Half of the orders that are cancelled are so by when so many others were placed; half of the rest after as many again, and so on.
const HALF_LIFE: u64 = 2;

/// How the middle price moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    /// Not at all.
    Static,
    /// By chance.
    Normal,
    /// Up and down by 25 %.
    Swing25,
    /// Up and down by 40 %.
    Swing40,
    /// It falls by 60 % in no time and comes back.
    FlashCrash,
}

impl Regime {
    /// All five.
    pub const ALL: [Self; 5] = [Self::Static, Self::Normal, Self::Swing25, Self::Swing40, Self::FlashCrash];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Normal => "normal",
            Self::Swing25 => "swing 25 %",
            Self::Swing40 => "swing 40 %",
            Self::FlashCrash => "flash crash",
        }
    }

    /// Largest step by chance when an order is placed, in [`FINE`]ths of a tick.
    const fn wander(self) -> u64 {
        match self {
            Self::Static => 0,
            _ => 20_000,
        }
    }

    /// How far from the start the middle is by plan when so many orders were placed, in [`FINE`]ths of a tick.
    const fn plan(self, placed: u32) -> i64 {
        let (percent, period) = match self {
            Self::Static | Self::Normal => return 0,
            Self::Swing25 => (25, 130_000),
            Self::Swing40 => (40, 75_000),
            Self::FlashCrash => (60, 30_000),
        };
        // Quarters of a swing: up, back, down, back. A crash only falls.
        let swing = START * FINE * percent / 100;
        let at = (placed % period) as i64;
        let quarter = period as i64 / 4;
        let away = match at / quarter {
            0 => at,
            1 | 2 => 2 * quarter - at,
            _ => at - 4 * quarter,
        };
        swing / quarter * away
    }
}

/// What was asked for and comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Later {
    /// When so many orders were placed.
    due: u64,
    /// In the order in which it was planned.
    number: u64,
    command: (u32, Asked),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Cancel,
    /// One more, and so many ticks away.
    Replace(i64),
}

/// What was placed: sells, price, whole size.
type Placed = (bool, i64, i64);

/// The commands of a market; they end with the last order and what follows from it.
#[derive(Debug, Clone)]
pub struct RegimeFlow {
    regime: Regime,
    orders: u32,
    random: Random,
    book: FlowBook,
    placed: u32,
    planned: u64,
    /// Of the middle, in [`FINE`]ths of a tick.
    wandered: i64,
    later: BinaryHeap<Reverse<Later>>,
    /// By the number of the command that placed it.
    known: Vec<Placed>,
    given: u32,
    met: Vec<Met>,
}

impl RegimeFlow {
    /// A market in this regime, in which so many orders are placed.
    pub fn new(regime: Regime, orders: u32) -> Self {
        Self {
            regime,
            orders,
            random: Random::new(SEED),
            book: FlowBook::default(),
            placed: 0,
            planned: 0,
            wandered: 0,
            later: BinaryHeap::new(),
            known: vec![(false, 0, 0)],
            given: 0,
            met: Vec::new(),
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

    /// The next command, carried out; `None` when there is no other.
    pub fn give(&mut self) -> Option<FlowCommand> {
        self.met.clear();
        let placing = self.placed < self.orders;
        let due = self.later.peek().is_some_and(|later| !placing || later.0.due <= u64::from(self.placed));
        if !due && !placing {
            return None;
        }
        self.given += 1;
        self.known.push((false, 0, 0));
        Some(match due {
            true => {
                let (order, asked) = self.later.pop().expect("it was seen").0.command;
                match asked {
                    Asked::Cancel => self.cancel(order),
                    Asked::Replace(away) => self.replace(order, away),
                }
            }
            false => self.place(),
        })
    }

    fn place(&mut self) -> FlowCommand {
        self.placed += 1;
        let wander = self.regime.wander();
        if wander > 0 {
            self.wandered += self.random.below(2 * wander + 1) as i64 - wander as i64;
        }
        let middle = (START * FINE + self.regime.plan(self.placed) + self.wandered) / FINE;
        let order = self.given;
        let (kind, sells) = (self.kind(), self.random.chance(1, 2));
        let distance = self.distance();
        let price = if sells { middle + distance } else { middle - distance };
        let size = self.random.below(100) as i64 + 1;
        self.known[order as usize] = (sells, price, size);
        self.trade(order, price, size, kind == FlowKind::Gtc);
        if kind == FlowKind::Gtc {
            self.plan(order);
        }
        let account = account_of(order);
        FlowCommand { kind, sells, order, account, price, size, left: size }
    }

    fn kind(&mut self) -> FlowKind {
        if self.random.chance(15, 100) { FlowKind::Ioc } else { FlowKind::Gtc }
    }

    /// From the middle: near a power law, which loses three of five at each doubling, or a hump eight ticks away.
    fn distance(&mut self) -> i64 {
        if self.random.chance(1, 4) {
            return 2 + (0..4).map(|_| self.random.below(4) as i64).sum::<i64>();
        }
        let mut doubled = if self.random.chance(1, 5) { 1 } else { 2 };
        while doubled < 16 && self.random.chance(2, 5) {
            doubled *= 2;
        }
        (doubled + self.random.below(doubled)) as i64
    }

    /// Its end, and what is asked of it before.
    fn plan(&mut self, order: u32) {
        let (cancelled, replaced) = (self.random.chance(95, 100), self.random.chance(20, 100));
        let half_lives = u64::from(self.random.next_u64().trailing_zeros());
        let life = HALF_LIFE * half_lives + self.random.below(HALF_LIFE) + 1;
        if replaced {
            let away = if self.random.chance(80, 100) { self.random.below(2) as i64 * 2 - 1 } else { 0 };
            let after = self.random.below(life);
            self.ask(after, order, Asked::Replace(away));
        }
        if cancelled {
            self.ask(life, order, Asked::Cancel);
        }
    }

    /// Now and then it is sent again.
    fn ask(&mut self, after: u64, order: u32, asked: Asked) {
        for _ in 0..1 + u64::from(self.random.chance(2, 100)) {
            self.planned += 1;
            let due = u64::from(self.placed) + after;
            self.later.push(Reverse(Later { due, number: self.planned, command: (order, asked) }));
        }
    }

    fn cancel(&mut self, order: u32) -> FlowCommand {
        let left = self.book.size(order);
        if left > 0 {
            self.book.remove(order);
        }
        FlowCommand { kind: FlowKind::Cancel, sells: false, order, account: account_of(order), price: 0, size: 0, left }
    }

    fn replace(&mut self, order: u32, away: i64) -> FlowCommand {
        let left = self.book.size(order);
        let (_, price, size) = self.known[order as usize];
        let (price, size) = (price + away, size + 1);
        let left = if left == 0 { 0 } else { left + 1 };
        if left > 0 {
            self.known[order as usize].1 = price;
            self.known[order as usize].2 = size;
            self.book.remove(order);
            self.trade(order, price, left, true);
        }
        FlowCommand { kind: FlowKind::Replace, sells: false, order, account: account_of(order), price, size, left }
    }

    fn trade(&mut self, order: u32, price: i64, size: i64, rests: bool) {
        let way = if self.known[order as usize].0 { Way::Sell } else { Way::Buy };
        let left = self.book.take(way, price, size, |met| self.met.push(met));
        if left > 0 && rests {
            self.book.rest(order, way, price, left);
        }
    }
}

const fn account_of(order: u32) -> u32 {
    order % ACCOUNTS + 1
}

#[cfg(test)]
mod tests {
    use super::super::Flow;
    use super::*;

    /// Orders and levels are means over the commands, of a tenth of the orders the benches place.
    #[test]
    fn each_regime_is_the_market_that_its_name_says_and_the_same_everywhere() {
        let found = Regime::ALL.map(|regime| {
            let mut flow = RegimeFlow::new(regime, 100_000);
            let (mut commands, mut orders, mut levels) = (0, 0, 0);
            while flow.give().is_some() {
                commands += 1;
                orders += flow.order_count();
                levels += flow.level_count();
            }
            let trades = Flow::regime(regime, 100_000).trades;
            (regime, commands, orders / commands, levels / commands, trades.count, trades.hash)
        });
        let expected = [
            (Regime::Static, 199_885, 2_079, 56, 84, 15_765_328_580_073_414_525),
            (Regime::Normal, 199_688, 478, 68, 6_760, 106_481_124_052_144_969),
            (Regime::Swing25, 199_688, 694, 662, 5_542, 12_853_158_789_496_412_044),
            (Regime::Swing40, 199_688, 538, 530, 8_957, 4_483_645_083_024_400_674),
            (Regime::FlashCrash, 199_688, 230, 230, 22_339, 7_155_772_693_490_784_323),
        ];
        assert_eq!(found, expected);
    }
}
