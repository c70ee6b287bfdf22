//! The order book (L3): every resting order of one instrument, first in first out at each price.
//!
//! It knows sizes, priority and price levels, and nothing of types, owners or matching rules: the matching engine decides, this keeps.
//! Orders lie in a [`slab`] and are named by a [`Handle`], so that whoever uses the book keeps what else it knows of an order in an array of its
//! own with the same index. An order knows its level and its neighbours in the queue, a level the sums of its orders, so that cancel, fill and
//! resize are a few writes whatever the book holds; [`levels`] finds the level of a price, [`ids`] the order of an id. Once warm nothing allocates,
//! and memory is bounded by the most orders and levels that rested at a time. `clone` copies memory and visits no order.

mod grid;
mod ids;
mod levels;
mod record;
mod slab;
mod sparse;
#[cfg(test)]
mod tests;
mod window;

use std::hint::select_unpredictable;
use std::num::NonZeroU32;

use crate::side::Side;
use grid::Grid;
use ids::Ids;
use levels::{Levels, NO_LEVEL, Queue};
use slab::{NONE, Slab};

/// Names a resting order while it rests; its index is given again to later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(NonZeroU32);

const _: () = assert!(size_of::<Option<Handle>>() == 4);

impl Handle {
    /// Place in the slab, for an array beside it. Below the most orders that rested at a time.
    #[inline]
    pub const fn index(self) -> usize {
        self.slot() as usize - 1
    }

    #[inline]
    const fn slot(self) -> u32 {
        self.0.get()
    }

    /// Of a slot, or of `NONE`.
    #[inline]
    const fn new(slot: u32) -> Option<Self> {
        match NonZeroU32::new(slot) {
            Some(slot) => Some(Self(slot)),
            None => None,
        }
    }
}

/// One resting order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// The venue's id; never 0.
    pub id: u64,
    /// In price units.
    pub price: i64,
    /// What the level shows of it.
    pub shown: i64,
    /// What it has behind that.
    pub hidden: i64,
    /// Which side.
    pub side: Side,
}

/// A price level of an order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderLevel {
    /// In price units.
    pub price: i64,
    /// What its orders show together; `i64::MAX` for all that is more.
    pub shown: i64,
    /// What they have behind that; `i64::MAX` for all that is more.
    pub hidden: i64,
    /// Orders.
    pub count: u32,
}

/// Both sides of an order book.
///
/// ```
/// use tidebook_book::{OrderBook, Resting, Side};
/// let mut book = OrderBook::with_tick(5);
/// let first = book.insert(Resting { id: 2, price: 100, shown: 7, hidden: 0, side: Side::Bid });
/// book.insert(Resting { id: 4, price: 100, shown: 3, hidden: 20, side: Side::Bid });
/// assert_eq!(book.best(Side::Bid), Some(100));
/// assert_eq!(book.fill(first, 7), 0);
/// assert_eq!(book.first(Side::Bid), book.find(4));
/// assert_eq!(book.level(Side::Bid, 100).map(|level| (level.shown, level.hidden)), Some((3, 20)));
/// ```
#[derive(Debug, Clone)]
pub struct OrderBook {
    slab: Slab,
    /// `None` in a book that is not asked for ids.
    ids: Option<Ids>,
    grid: Grid,
    bids: Levels,
    asks: Levels,
}

impl Default for OrderBook {
    fn default() -> Self {
        Self::new()
    }
}

impl OrderBook {
    /// An empty book that learns the tick from its prices. It takes no memory before the first order.
    pub const fn new() -> Self {
        Self {
            slab: Slab::NEW,
            ids: Some(Ids::NEW),
            grid: Grid::UNKNOWN,
            bids: Levels::new(Side::Bid),
            asks: Levels::new(Side::Ask),
        }
    }

    /// An empty book of an instrument with this tick; a tick below 1 is learned. Prices may be other than multiples of it, only the book is then slower.
    pub const fn with_tick(tick: i64) -> Self {
        let mut book = Self::new();
        book.grid = Grid::new(if tick > 0 && tick <= grid::TICK_MAX { tick } else { 0 });
        book
    }

    /// Keeps no index of ids, which is for who has one of its own: [`Self::find`] finds none, and ids may be any number but 0, also one that rests.
    ///
    /// # Panics
    /// When an order rests.
    #[must_use]
    pub fn without_ids(mut self) -> Self {
        assert!(self.is_empty(), "the book has orders with ids");
        self.ids = None;
        self
    }

    /// Takes memory for so many orders at a time, so that none is taken until there are more.
    pub fn reserve(&mut self, orders: usize) {
        self.slab.reserve(orders);
        if let Some(ids) = &mut self.ids {
            ids.reserve(orders, &self.slab);
        }
    }

    /// Removes all orders and keeps the memory.
    pub fn clear(&mut self) {
        self.slab.clear();
        if let Some(ids) = &mut self.ids {
            ids.clear();
        }
        self.bids.clear();
        self.asks.clear();
    }

    /// Orders that rest.
    pub const fn len(&self) -> usize {
        self.slab.count()
    }

    /// Whether none rests.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Levels of bids and of asks.
    pub const fn level_counts(&self) -> (usize, usize) {
        (self.bids.count() as usize, self.asks.count() as usize)
    }

    /// Puts an order behind all others of its price.
    ///
    /// # Panics
    /// When the id rests already, or `shown` is not above 0.
    #[inline]
    pub fn insert(&mut self, order: Resting) -> Handle {
        if order.shown <= 0 || order.hidden < 0 || order.id == 0 {
            cannot_rest(order);
        }
        let slot = self.slab.store(order);
        if let Some(ids) = &mut self.ids {
            assert!(ids.insert(order.id, slot, &self.slab), "order {} rests already", order.id);
        }
        self.enqueue(slot, &order);
        Handle::new(slot).expect("a slot")
    }

    /// The order with this id.
    #[inline]
    pub fn find(&self, id: u64) -> Option<Handle> {
        Handle::new(self.ids.as_ref()?.find(id, &self.slab)?)
    }

    /// The order.
    ///
    /// # Panics
    /// When it rests no more.
    #[inline]
    pub fn get(&self, handle: Handle) -> &Resting {
        &self.slab.resting(handle.slot()).order
    }

    /// Takes `size` of what it shows; at 0 shown with nothing hidden it leaves, with something hidden it shows nothing until
    /// [`Self::refresh`]. Returns what it shows now.
    ///
    /// # Panics
    /// When it shows less.
    #[inline]
    pub fn fill(&mut self, handle: Handle, size: i64) -> i64 {
        let node = self.slab.resting_mut(handle.slot());
        assert!(size >= 0 && size <= node.order.shown, "{size} of {:?}", node.order);
        node.order.shown -= size;
        let (shown, hidden, side, level) = (node.order.shown, node.order.hidden, node.order.side, node.level);
        self.levels_mut(side).queue_mut(level).shown -= i128::from(size);
        if shown == 0 && hidden == 0 {
            self.remove(handle);
        }
        shown
    }

    /// Shows `size` of what is hidden, behind all others of its price.
    ///
    /// # Panics
    /// When it has less behind, or shows something.
    pub fn refresh(&mut self, handle: Handle, size: i64) {
        let mut order = self.slab.resting(handle.slot()).order;
        assert!(order.shown == 0 && size > 0 && size <= order.hidden, "{size} of {order:?}");
        let level = self.unqueue(handle.slot());
        (order.shown, order.hidden) = (size, order.hidden - size);
        self.slab.node_mut(handle.slot()).order = order;
        self.append(handle.slot(), &order, level);
    }

    /// It now shows and hides so much, in its place.
    ///
    /// # Panics
    /// When `shown` is not above 0.
    #[inline]
    pub fn resize(&mut self, handle: Handle, shown: i64, hidden: i64) {
        assert!(shown > 0 && hidden >= 0, "an order cannot show {shown} and hide {hidden}");
        let node = self.slab.resting_mut(handle.slot());
        let (more_shown, more_hidden) = (shown - node.order.shown, hidden - node.order.hidden);
        (node.order.shown, node.order.hidden) = (shown, hidden);
        let (side, level) = (node.order.side, node.level);
        let queue = self.levels_mut(side).queue_mut(level);
        queue.shown += i128::from(more_shown);
        queue.hidden += i128::from(more_hidden);
    }

    /// It now rests at `price`, shows and hides so much, and is behind all others there. Its handle stays: the same as removing and inserting it, in
    /// less time.
    ///
    /// # Panics
    /// When `shown` is not above 0.
    #[inline]
    pub fn relocate(&mut self, handle: Handle, price: i64, shown: i64, hidden: i64) {
        assert!(shown > 0 && hidden >= 0, "an order cannot show {shown} and hide {hidden}");
        let was = self.slab.resting(handle.slot()).order;
        let level = self.unqueue(handle.slot());
        let order = Resting { price, shown, hidden, ..was };
        self.slab.node_mut(handle.slot()).order = order;
        if price == was.price {
            self.append(handle.slot(), &order, level);
        } else {
            self.close_if_empty(was.side, level);
            self.enqueue(handle.slot(), &order);
        }
    }

    /// Takes it out.
    ///
    /// # Panics
    /// When it rests no more.
    #[inline]
    pub fn remove(&mut self, handle: Handle) -> Resting {
        let order = self.slab.resting(handle.slot()).order;
        if let Some(ids) = &mut self.ids {
            ids.take(order.id, &self.slab);
        }
        self.take_out(handle.slot());
        order
    }

    /// Takes out the order with this id, if it rests: the same as finding and removing it, in less time.
    #[inline]
    pub fn remove_id(&mut self, id: u64) -> Option<Resting> {
        let slot = self.ids.as_mut()?.take(id, &self.slab)?;
        let order = self.slab.node(slot).order;
        self.take_out(slot);
        Some(order)
    }

    /// Best price of a side.
    #[inline]
    pub fn best(&self, side: Side) -> Option<i64> {
        self.queue(side, self.levels_of(side).best()).map(|queue| queue.price)
    }

    /// Best level of a side.
    #[inline]
    pub fn best_level(&self, side: Side) -> Option<OrderLevel> {
        self.queue(side, self.levels_of(side).best()).map(level)
    }

    /// The level at a price.
    #[inline]
    pub fn level(&self, side: Side, price: i64) -> Option<OrderLevel> {
        let levels = self.levels_of(side);
        levels.find(&self.grid, price).map(|found| level(levels.queue(found)))
    }

    /// First order at the best price of a side.
    #[inline]
    pub fn first(&self, side: Side) -> Option<Handle> {
        self.queue(side, self.levels_of(side).best()).and_then(|queue| Handle::new(queue.first))
    }

    /// The order that an aggressor meets after this one: the next at its price, else the first at the next price.
    ///
    /// # Panics
    /// When it rests no more.
    #[inline]
    pub fn next(&self, handle: Handle) -> Option<Handle> {
        let node = self.slab.resting(handle.slot());
        if node.next != NONE {
            return Handle::new(node.next);
        }
        let side = node.order.side;
        let worse = self.levels_of(side).queue(node.level).worse;
        self.queue(side, worse).and_then(|queue| Handle::new(queue.first))
    }

    /// Levels of a side, best first.
    pub const fn levels(&self, side: Side) -> OrderLevels<'_> {
        let levels = self.levels_of(side);
        OrderLevels { levels, level: levels.best() }
    }

    /// Orders of a side, in the order in which an aggressor meets them.
    pub fn orders(&self, side: Side) -> Orders<'_> {
        Orders { book: self, next: self.first(side) }
    }

    /// Orders at a price, first in first.
    pub fn orders_at(&self, side: Side, price: i64) -> impl Iterator<Item = Handle> + use<'_> {
        let levels = self.levels_of(side);
        let mut next = levels.find(&self.grid, price).map_or(NONE, |level| levels.queue(level).first);
        std::iter::from_fn(move || {
            let handle = Handle::new(next)?;
            next = self.slab.node(next).next;
            Some(handle)
        })
    }

    /// Whether a buyer would pay at least what a seller asks, as in an auction.
    #[inline]
    pub fn is_crossed(&self) -> bool {
        matches!((self.best(Side::Bid), self.best(Side::Ask)), (Some(bid), Some(ask)) if bid >= ask)
    }

    /// Puts a stored order behind all others of its price.
    #[inline]
    fn enqueue(&mut self, slot: u32, order: &Resting) {
        let number = match self.grid.on(order.price) {
            Some(number) => number,
            None => self.regrid(order.price),
        };
        let levels = of(order.side, &mut self.bids, &mut self.asks);
        let level = levels.open(&self.grid, number, order.price);
        self.append(slot, order, level);
    }

    /// Puts a stored order behind all others of this level.
    #[inline(always)]
    fn append(&mut self, slot: u32, order: &Resting, level: u32) {
        let queue = self.levels_mut(order.side).queue_mut(level);
        queue.shown += i128::from(order.shown);
        queue.hidden += i128::from(order.hidden);
        queue.count += 1;
        let previous = queue.last;
        queue.last = slot;
        queue.first = select_unpredictable(previous == NONE, slot, queue.first);
        self.slab.node_mut(previous).next = slot;
        let node = self.slab.node_mut(slot);
        (node.previous, node.next, node.level) = (previous, NONE, level);
    }

    /// Takes an order out of its queue; returns the level, which may be empty now.
    #[inline(always)]
    fn unqueue(&mut self, slot: u32) -> u32 {
        let slab::Node { order, previous, next, level } = *self.slab.node(slot);
        self.slab.node_mut(previous).next = next;
        self.slab.node_mut(next).previous = previous;
        let queue = self.levels_mut(order.side).queue_mut(level);
        queue.shown -= i128::from(order.shown);
        queue.hidden -= i128::from(order.hidden);
        queue.count -= 1;
        queue.first = select_unpredictable(previous == NONE, next, queue.first);
        queue.last = select_unpredictable(next == NONE, previous, queue.last);
        level
    }

    /// Takes out a stored order that has no id any more.
    #[inline]
    fn take_out(&mut self, slot: u32) {
        let side = self.slab.node(slot).order.side;
        let level = self.unqueue(slot);
        self.close_if_empty(side, level);
        self.slab.free(slot);
    }

    #[inline]
    fn close_if_empty(&mut self, side: Side, level: u32) {
        let levels = of(side, &mut self.bids, &mut self.asks);
        if levels.queue(level).count == 0 {
            levels.close(&self.grid, level);
        }
    }

    /// Takes a grid that has this price on it, if any can; its number there.
    #[cold]
    fn regrid(&mut self, price: i64) -> u64 {
        if let Some(finer) = self.grid.finer(price) {
            self.bids.regrid(&self.grid);
            self.asks.regrid(&self.grid);
            self.grid = finer;
        }
        self.grid.number(price)
    }

    #[inline]
    fn queue(&self, side: Side, level: u32) -> Option<&Queue> {
        (level != NO_LEVEL).then(|| self.levels_of(side).queue(level))
    }

    #[inline]
    const fn levels_of(&self, side: Side) -> &Levels {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    #[inline]
    const fn levels_mut(&mut self, side: Side) -> &mut Levels {
        of(side, &mut self.bids, &mut self.asks)
    }
}

/// Those of one side.
#[inline]
const fn of<'a>(side: Side, bids: &'a mut Levels, asks: &'a mut Levels) -> &'a mut Levels {
    match side {
        Side::Bid => bids,
        Side::Ask => asks,
    }
}

/// Not in the caller, where what is formatted has to lie in memory.
#[cold]
fn cannot_rest(order: Resting) -> ! {
    panic!("{order:?} cannot rest")
}

#[inline]
fn level(queue: &Queue) -> OrderLevel {
    let saturated = |sum: i128| i64::try_from(sum).unwrap_or(i64::MAX);
    OrderLevel {
        price: queue.price,
        shown: saturated(queue.shown),
        hidden: saturated(queue.hidden),
        count: queue.count,
    }
}

/// Levels of one side, best first.
#[derive(Debug, Clone)]
pub struct OrderLevels<'a> {
    levels: &'a Levels,
    level: u32,
}

impl Iterator for OrderLevels<'_> {
    type Item = OrderLevel;

    #[inline]
    fn next(&mut self) -> Option<OrderLevel> {
        if self.level == NO_LEVEL {
            return None;
        }
        let queue = self.levels.queue(self.level);
        self.level = queue.worse;
        Some(level(queue))
    }
}

/// Orders of one side, in the order in which an aggressor meets them.
#[derive(Debug, Clone)]
pub struct Orders<'a> {
    book: &'a OrderBook,
    next: Option<Handle>,
}

impl Iterator for Orders<'_> {
    type Item = Handle;

    #[inline]
    fn next(&mut self) -> Option<Handle> {
        let handle = self.next?;
        self.next = self.book.next(handle);
        Some(handle)
    }
}
