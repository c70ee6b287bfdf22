//! The price levels of one side.
//!
//! Levels lie in an arena and are linked from best to worst, so that the best one, the next one and a walk need no search. A level is found by its price
//! in one of two places: in the [`Window`] of ticks where orders come and go, in one step, else in the [`Sparse`] index, in at most 64. The rule between
//! them: what lies on a tick of the window is in the window, all else is in the index.
//!
//! Where the window is never decides what is right, only what is fast, therefore it may follow lazily: it moves to where orders go once more than
//! a third of them go elsewhere for longer than moving costs, or a ninth of them not much farther from the best price. Prices that jump to and fro cost the index's price, never one of moving.
//! One that has to move although it was wide enough becomes twice as wide, up to a bound for each level, so that prices which wander move it a few times.

use super::grid::Grid;
use super::slab::NONE;
use super::sparse::Sparse;
use super::window::{TICKS_MAX, Window};
use crate::side::Side;

/// No level.
pub(super) const NO_LEVEL: u32 = u32::MAX;

/// The orders at one price.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Queue {
    /// What its orders show together; the sum of any number of sizes.
    pub(super) shown: i128,
    pub(super) hidden: i128,
    pub(super) price: i64,
    /// First order.
    pub(super) first: u32,
    /// Last order.
    pub(super) last: u32,
    pub(super) count: u32,
    /// The next better level; of a free one the next free one.
    better: u32,
    /// The next worse level.
    pub(super) worse: u32,
}

const _: () = assert!(size_of::<Queue>() == 64);

/// Narrowest window.
const TICKS_MIN: usize = 256;
/// Ticks of the window for each level of the side, at most.
const TICKS_PER_LEVEL: usize = 256;
/// Levels that one move of the window takes in, at most.
const MOVED_MAX: u32 = 8_192;
/// What an order outside of the window adds to what makes it move; one inside takes 1 back.
const OUTSIDE: u32 = 2;
/// The same of one that the window could cover together with the best level: moving there gives nothing up.
const OUTSIDE_NEAR: u32 = 8;

#[derive(Debug, Clone)]
pub(super) struct Levels {
    /// All bits set for asks: turns prices and ticks so that greater is better.
    turn: u64,
    queues: Vec<Queue>,
    free: u32,
    best: u32,
    worst: u32,
    count: u32,
    /// How much more happened outside of the window than inside.
    outside: u32,
    window: Window,
    sparse: Sparse,
}

/// A number that is greater for a better price.
#[inline]
const fn key(price: i64, turn: u64) -> u64 {
    price as u64 ^ 1 << 63 ^ turn
}

impl Levels {
    pub(super) const fn new(side: Side) -> Self {
        let turn = match side {
            Side::Bid => 0,
            Side::Ask => u64::MAX,
        };
        Self {
            turn,
            queues: Vec::new(),
            free: NO_LEVEL,
            best: NO_LEVEL,
            worst: NO_LEVEL,
            count: 0,
            outside: 0,
            window: Window::NEW,
            sparse: Sparse::NEW,
        }
    }

    #[inline]
    pub(super) const fn best(&self) -> u32 {
        self.best
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(super) fn queue(&self, level: u32) -> &Queue {
        &self.queues[level as usize]
    }

    #[inline]
    pub(super) fn queue_mut(&mut self, level: u32) -> &mut Queue {
        &mut self.queues[level as usize]
    }

    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.window.empty();
        self.sparse.clear();
        (self.free, self.best, self.worst, self.count, self.outside) = (NO_LEVEL, NO_LEVEL, NO_LEVEL, 0, 0);
    }

    #[inline]
    const fn tick(&self, grid: &Grid, price: i64) -> u64 {
        grid.number(price) ^ self.turn
    }

    /// The level at this price.
    #[inline]
    pub(super) fn find(&self, grid: &Grid, price: i64) -> Option<u32> {
        match self.window.place(self.tick(grid, price)) {
            Some(place) => Some(self.window.level(place)).filter(|&level| level != NO_LEVEL),
            None => self.sparse.alike(key(price, self.turn)).filter(|&level| self.queue(level).price == price),
        }
    }

    /// The level at this price, whose number on the grid this is; a new one without orders if there is none.
    #[inline]
    pub(super) fn open(&mut self, grid: &Grid, number: u64, price: i64) -> u32 {
        let tick = number ^ self.turn;
        let Some(place) = self.window.place(tick) else { return self.open_outside(grid, tick, price) };
        self.outside = self.outside.saturating_sub(1);
        let level = self.window.level(place);
        if level == NO_LEVEL { self.open_inside(place, price) } else { level }
    }

    fn open_inside(&mut self, place: usize, price: i64) -> u32 {
        let better = if self.is_best(price) {
            NO_LEVEL
        } else if let Some(better) = self.window.better(place) {
            better
        } else if let Some(worse) = self.window.worse(place) {
            self.queue(worse).better
        } else {
            // The window has none, and the index has the best one.
            let price_key = key(price, self.turn);
            let alike = self.alike(price_key).expect("another level");
            self.better_of(self.sparse.neighbour(price_key, alike))
        };
        let level = self.store(price);
        self.link(level, better);
        self.window.set(place, level);
        level
    }

    #[inline(never)]
    fn open_outside(&mut self, grid: &Grid, tick: u64, price: i64) -> u32 {
        let level = match self.sparse.alike(key(price, self.turn)) {
            Some(level) if self.queue(level).price == price => level,
            _ => {
                let level = self.store(price);
                let beside = self.index(level);
                let better = if self.is_best(price) { NO_LEVEL } else { self.better_than(level, tick, beside) };
                self.link(level, better);
                level
            }
        };
        self.outside +=
            if self.tick(grid, self.queue(self.best).price) - tick < self.reach() { OUTSIDE_NEAR } else { OUTSIDE };
        if self.outside as usize > 2 * self.window.count() + 64 && grid.is_known() {
            self.follow(grid, level);
        }
        level
    }

    /// Key of the level in the index that is most like this key.
    fn alike(&self, price_key: u64) -> Option<u64> {
        self.sparse.alike(price_key).map(|level| key(self.queue(level).price, self.turn))
    }

    /// Adds a level to the index; its neighbour there, and whether that is better.
    fn index(&mut self, level: u32) -> Option<(u32, bool)> {
        let price_key = key(self.queue(level).price, self.turn);
        let alike = self.alike(price_key);
        self.sparse.insert(price_key, level, alike)
    }

    #[inline]
    fn is_best(&self, price: i64) -> bool {
        self.best == NO_LEVEL || key(price, self.turn) > key(self.queue(self.best).price, self.turn)
    }

    /// The next better level, given one of both neighbours.
    fn better_of(&self, (neighbour, is_better): (u32, bool)) -> u32 {
        if is_better { neighbour } else { self.queue(neighbour).better }
    }

    /// The next better level of one that is not linked yet and not the best. Its `tick` is outside of the window, `beside` its neighbour in the index: it
    /// is its neighbour in all if the window is not between them.
    fn better_than(&self, level: u32, tick: u64, beside: Option<(u32, bool)>) -> u32 {
        let key_of = |level: u32| key(self.queue(level).price, self.turn);
        let is_better = self.window.is_better_than(tick);
        let inside = if is_better { self.window.worst() } else { self.window.best() }.map(|inside| (inside, is_better));
        let nearest = match (beside, inside) {
            (Some(beside), Some(inside)) if beside.1 == inside.1 => {
                let distance = |other: u32| key_of(other).abs_diff(key_of(level));
                if distance(inside.0) < distance(beside.0) { inside } else { beside }
            }
            (beside, inside) => beside.or(inside).expect("another level"),
        };
        self.better_of(nearest)
    }

    /// A new level that is nowhere yet.
    #[inline]
    fn store(&mut self, price: i64) -> u32 {
        let queue =
            Queue { shown: 0, hidden: 0, price, first: NONE, last: NONE, count: 0, better: NO_LEVEL, worse: NO_LEVEL };
        self.count += 1;
        let level = self.free;
        if level == NO_LEVEL {
            self.queues.push(queue);
            return (self.queues.len() - 1) as u32;
        }
        let place = &mut self.queues[level as usize];
        self.free = place.better;
        *place = queue;
        level
    }

    /// Puts a new level right behind `better`, or in front of all.
    #[inline]
    fn link(&mut self, level: u32, better: u32) {
        let worse = if better == NO_LEVEL { self.best } else { self.queue(better).worse };
        self.join(better, level);
        self.join(level, worse);
    }

    /// Makes two levels, or an end and a level, neighbours.
    #[inline]
    fn join(&mut self, better: u32, worse: u32) {
        match better {
            NO_LEVEL => self.best = worse,
            level => self.queues[level as usize].worse = worse,
        }
        match worse {
            NO_LEVEL => self.worst = better,
            level => self.queues[level as usize].better = better,
        }
    }

    /// Removes a level without orders.
    #[inline]
    pub(super) fn close(&mut self, grid: &Grid, level: u32) {
        let Queue { price, better, worse, count, .. } = *self.queue(level);
        debug_assert!(count == 0);
        match self.window.place(self.tick(grid, price)) {
            Some(place) => self.window.clear(place),
            None => self.sparse.remove(key(price, self.turn), level),
        }
        self.join(better, worse);
        self.queues[level as usize].better = self.free;
        self.free = level;
        self.count -= 1;
    }

    /// Most ticks that the window may have now.
    fn ticks_max(&self) -> u64 {
        (TICKS_PER_LEVEL * self.count as usize).next_power_of_two().clamp(TICKS_MIN, TICKS_MAX) as u64
    }

    /// A window that has the best level in it covers less than so many ticks from there on; the rest is room for better prices.
    fn reach(&self) -> u64 {
        self.ticks_max() / 4 * 3
    }

    /// Moves the window to where this level is, together with the best one if one window can have both.
    #[cold]
    fn follow(&mut self, grid: &Grid, level: u32) {
        self.outside = 0;
        let tick_of = |levels: &Self, level: u32| levels.tick(grid, levels.queue(level).price);
        let (tick, best) = (tick_of(self, level), tick_of(self, self.best));
        if grid.number(self.queue(level).price).wrapping_add(1) < 2 {
            // On no grid.
            return;
        }
        let wide = self.ticks_max();
        let span = best - tick;
        let (size, top, from) = if span < self.reach() {
            let (size, was) = ((span / 3 * 4 + 64).next_power_of_two(), self.window.size().next_power_of_two());
            // It was wide enough and has to move all the same: prices wander.
            let size = if size <= was { 2 * was } else { size }.clamp(TICKS_MIN as u64, wide);
            (size, best.saturating_add(size / 4), self.best)
        } else {
            (wide, tick.saturating_add(wide / 2), level)
        };
        // The outermost ticks stand for prices that are on none.
        let top = top.min(u64::MAX - 1);
        let base = top.saturating_sub(size - 1).max(1);
        self.cover(grid, base, top, from);
    }

    /// Makes the window cover the ticks from `base` to `top`, or as many of them around the level `from` as have not too many levels.
    fn cover(&mut self, grid: &Grid, mut base: u64, mut top: u64, from: u32) {
        let turn = self.turn;
        let tick_of = |queue: &Queue| grid.number(queue.price) ^ turn;
        let (mut first, mut last) = (from, from);
        for (step, is_better) in [(MOVED_MAX / 4, true), (MOVED_MAX / 4 * 3, false)] {
            let mut level = from;
            for steps in 0.. {
                let queue = self.queue(level);
                let next = if is_better { queue.better } else { queue.worse };
                if next == NO_LEVEL || !(base..=top).contains(&tick_of(self.queue(next))) {
                    break;
                }
                if steps == step {
                    *(if is_better { &mut top } else { &mut base }) = tick_of(queue);
                    break;
                }
                level = next;
                *(if is_better { &mut first } else { &mut last }) = next;
            }
        }
        // Those that it leaves behind.
        let mut next = self.window.best();
        let mut left = std::mem::replace(&mut self.window, Window::NEW);
        while let Some(level) = next {
            let queue = self.queue(level);
            let tick = tick_of(queue);
            left.clear(left.place(tick).expect("it is in the window"));
            if !(base..=top).contains(&tick) {
                self.index(level);
            }
            next = Some(self.queue(level).worse).filter(|_| left.count() > 0);
        }
        let old = left.ticks();
        left.cover(base, top - base + 1);
        let mut level = first;
        loop {
            let queue = self.queue(level);
            let (tick, price_key, worse) = (tick_of(queue), key(queue.price, turn), queue.worse);
            if !old.contains(&tick) {
                self.sparse.remove(price_key, level);
            }
            left.set(left.place(tick).expect("it is to be in the window"), level);
            if level == last {
                break;
            }
            level = worse;
        }
        self.window = left;
    }

    /// All prices lie on other ticks from now on: the window begins anew.
    #[cold]
    pub(super) fn regrid(&mut self, old: &Grid) {
        let turn = self.turn;
        let mut next = self.window.best();
        while let Some(level) = next {
            let price = self.queue(level).price;
            let place = self.window.place(old.number(price) ^ turn).expect("it is in the window");
            self.window.clear(place);
            self.index(level);
            next = Some(self.queue(level).worse).filter(|_| self.window.count() > 0);
        }
        self.window.cover(0, 0);
    }
}

#[cfg(test)]
impl Levels {
    /// Asserts what this file promises of links, window and index.
    pub(super) fn check(&self, grid: &Grid) {
        let (mut level, mut better, mut count, mut inside) = (self.best, NO_LEVEL, 0, 0);
        while level != NO_LEVEL {
            let queue = self.queue(level);
            assert_eq!(queue.better, better);
            assert!(better == NO_LEVEL || key(self.queue(better).price, self.turn) > key(queue.price, self.turn));
            assert_eq!(self.find(grid, queue.price), Some(level));
            inside += usize::from(self.window.place(self.tick(grid, queue.price)).is_some());
            (better, level, count) = (level, queue.worse, count + 1);
        }
        assert_eq!((self.worst, self.count, self.window.count()), (better, count, inside));
    }

    pub(super) const fn window_size(&self) -> u64 {
        self.window.size()
    }

    pub(super) const fn window_base(&self) -> u64 {
        self.window.ticks().start
    }

    /// Levels that are not in the window.
    pub(super) const fn outside_count(&self) -> usize {
        self.count as usize - self.window.count()
    }
}
