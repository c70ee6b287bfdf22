//! The order book (L3): every resting order of one instrument, first in first out at each price.
//!
//! It knows sizes, priority and price levels, and nothing of types, owners or matching rules: the matching engine decides, this keeps.
//! Orders lie in a slab and are named by a [`Handle`], so that whoever uses the book keeps what else it knows of an order in an array of its
//! own with the same index.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::side::Side;

/// Names a resting order while it rests; its index is given again to later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(u32);

impl Handle {
    /// Place in the slab, for an array beside it.
    pub const fn index(self) -> usize {
        self.0 as usize
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

/// Both sides of an order book.
#[derive(Debug, Clone, Default)]
pub struct OrderBook {
    orders: Vec<Option<Resting>>,
    free: Vec<u32>,
    by_id: HashMap<u64, Handle>,
    bids: BTreeMap<i64, VecDeque<Handle>>,
    asks: BTreeMap<i64, VecDeque<Handle>>,
}

/// A price level of an order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderLevel {
    /// In price units.
    pub price: i64,
    /// What its orders show together.
    pub shown: i64,
    /// What they have behind that.
    pub hidden: i64,
    /// Orders.
    pub count: u32,
}

impl OrderBook {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Orders that rest.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none rests.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Puts an order behind all others of its price.
    ///
    /// # Panics
    /// When the id rests already, or `shown` is not above 0.
    pub fn insert(&mut self, order: Resting) -> Handle {
        assert!(order.shown > 0 && order.hidden >= 0 && order.id != 0, "{order:?} cannot rest");
        let handle = Handle(self.free.pop().unwrap_or_else(|| {
            self.orders.push(None);
            u32::try_from(self.orders.len() - 1).expect("fewer orders than handles")
        }));
        assert!(self.by_id.insert(order.id, handle).is_none(), "order {} rests already", order.id);
        self.orders[handle.index()] = Some(order);
        self.levels_mut(order.side).entry(order.price).or_default().push_back(handle);
        handle
    }

    /// The order with this id.
    pub fn find(&self, id: u64) -> Option<Handle> {
        self.by_id.get(&id).copied()
    }

    /// The order.
    ///
    /// # Panics
    /// When it rests no more.
    pub fn get(&self, handle: Handle) -> &Resting {
        self.orders[handle.index()].as_ref().expect("it rests")
    }

    /// Takes `size` of what it shows; at 0 shown with nothing hidden it leaves, with something hidden it shows nothing until
    /// [`Self::refresh`]. Returns what it shows now.
    ///
    /// # Panics
    /// When it shows less.
    pub fn fill(&mut self, handle: Handle, size: i64) -> i64 {
        let order = self.orders[handle.index()].as_mut().expect("it rests");
        assert!(size <= order.shown, "{size} of {order:?}");
        order.shown -= size;
        let (shown, gone) = (order.shown, order.shown == 0 && order.hidden == 0);
        if gone {
            self.remove(handle);
        }
        shown
    }

    /// Shows `size` of what is hidden, behind all others of its price.
    ///
    /// # Panics
    /// When it has less behind.
    pub fn refresh(&mut self, handle: Handle, size: i64) {
        let order = self.orders[handle.index()].as_mut().expect("it rests");
        assert!(order.shown == 0 && size > 0 && size <= order.hidden, "{size} of {order:?}");
        (order.shown, order.hidden) = (size, order.hidden - size);
        let (side, price) = (order.side, order.price);
        let level = self.levels_mut(side).get_mut(&price).expect("its level");
        level.retain(|other| *other != handle);
        level.push_back(handle);
    }

    /// It now shows and hides so much, in its place.
    ///
    /// # Panics
    /// When `shown` is not above 0.
    pub fn resize(&mut self, handle: Handle, shown: i64, hidden: i64) {
        assert!(shown > 0 && hidden >= 0);
        let order = self.orders[handle.index()].as_mut().expect("it rests");
        (order.shown, order.hidden) = (shown, hidden);
    }

    /// Takes it out.
    ///
    /// # Panics
    /// When it rests no more.
    pub fn remove(&mut self, handle: Handle) -> Resting {
        let order = self.orders[handle.index()].take().expect("it rests");
        self.by_id.remove(&order.id);
        self.free.push(handle.0);
        let levels = self.levels_mut(order.side);
        let level = levels.get_mut(&order.price).expect("its level");
        level.retain(|other| *other != handle);
        if level.is_empty() {
            levels.remove(&order.price);
        }
        order
    }

    /// Best price of a side.
    pub fn best(&self, side: Side) -> Option<i64> {
        match side {
            Side::Bid => self.bids.last_key_value().map(|(price, _)| *price),
            Side::Ask => self.asks.first_key_value().map(|(price, _)| *price),
        }
    }

    /// First order at the best price of a side.
    pub fn first(&self, side: Side) -> Option<Handle> {
        let level = match side {
            Side::Bid => self.bids.last_key_value(),
            Side::Ask => self.asks.first_key_value(),
        };
        level.and_then(|(_, level)| level.front().copied())
    }

    /// Levels of a side, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = OrderLevel> {
        self.sorted(side).map(|(price, level)| {
            let sum = |of: fn(&Resting) -> i64| level.iter().map(|handle| of(self.get(*handle))).sum();
            let (shown, hidden) = (sum(|order| order.shown), sum(|order| order.hidden));
            OrderLevel { price: *price, shown, hidden, count: level.len() as u32 }
        })
    }

    /// Orders of a side, in the order in which an aggressor meets them.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = Handle> {
        self.sorted(side).flat_map(|(_, level)| level.iter().copied())
    }

    fn sorted(&self, side: Side) -> Box<dyn Iterator<Item = (&i64, &VecDeque<Handle>)> + '_> {
        match side {
            Side::Bid => Box::new(self.bids.iter().rev()),
            Side::Ask => Box::new(self.asks.iter()),
        }
    }

    fn levels_mut(&mut self, side: Side) -> &mut BTreeMap<i64, VecDeque<Handle>> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }
}
