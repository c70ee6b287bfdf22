//! The order book as maps and queues of ids: the reference for the fast one.

use std::collections::{BTreeMap, VecDeque};

use tidebook_book::{OrderBook, OrderLevel, Resting, Side};

/// What both order books can do, so that one suite runs on either. Orders are named by their ids, which all have to rest.
pub trait OrderBookLike: Default + Clone {
    /// See [`OrderBook::insert`].
    fn insert(&mut self, order: Resting);
    /// See [`OrderBook::get`]; `None` for an id that does not rest.
    fn get(&self, id: u64) -> Option<Resting>;
    /// See [`OrderBook::fill`].
    fn fill(&mut self, id: u64, size: i64) -> i64;
    /// See [`OrderBook::refresh`].
    fn refresh(&mut self, id: u64, size: i64);
    /// See [`OrderBook::resize`].
    fn resize(&mut self, id: u64, shown: i64, hidden: i64);
    /// See [`OrderBook::relocate`].
    fn relocate(&mut self, id: u64, price: i64, shown: i64, hidden: i64);
    /// See [`OrderBook::remove`].
    fn remove(&mut self, id: u64) -> Resting;
    /// See [`OrderBook::clear`].
    fn clear(&mut self);
    /// See [`OrderBook::len`].
    fn count(&self) -> usize;
    /// See [`OrderBook::best`].
    fn best(&self, side: Side) -> Option<i64>;
    /// See [`OrderBook::first`].
    fn first(&self, side: Side) -> Option<u64>;
    /// See [`OrderBook::level`].
    fn level(&self, side: Side, price: i64) -> Option<OrderLevel>;
    /// See [`OrderBook::levels`].
    fn levels(&self, side: Side) -> Vec<OrderLevel>;
    /// See [`OrderBook::orders`].
    fn orders(&self, side: Side) -> Vec<u64>;
    /// See [`OrderBook::orders_at`].
    fn orders_at(&self, side: Side, price: i64) -> Vec<u64>;
}

/// Orders by id, and the ids of each price in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct NaiveOrderBook {
    orders: BTreeMap<u64, Resting>,
    bids: BTreeMap<i64, VecDeque<u64>>,
    asks: BTreeMap<i64, VecDeque<u64>>,
}

impl NaiveOrderBook {
    const fn side(&self, side: Side) -> &BTreeMap<i64, VecDeque<u64>> {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    const fn side_mut(&mut self, side: Side) -> &mut BTreeMap<i64, VecDeque<u64>> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    fn prices(&self, side: Side) -> Vec<i64> {
        let mut prices: Vec<i64> = self.side(side).keys().copied().collect();
        if side == Side::Bid {
            prices.reverse();
        }
        prices
    }

    fn order(&mut self, id: u64) -> &mut Resting {
        self.orders.get_mut(&id).expect("it rests")
    }
}

impl OrderBookLike for NaiveOrderBook {
    fn insert(&mut self, order: Resting) {
        assert!(order.shown > 0 && order.hidden >= 0 && order.id != 0, "{order:?} cannot rest");
        assert!(self.orders.insert(order.id, order).is_none(), "order {} rests already", order.id);
        self.side_mut(order.side).entry(order.price).or_default().push_back(order.id);
    }

    fn get(&self, id: u64) -> Option<Resting> {
        self.orders.get(&id).copied()
    }

    fn fill(&mut self, id: u64, size: i64) -> i64 {
        let order = self.order(id);
        assert!(size <= order.shown, "{size} of {order:?}");
        order.shown -= size;
        let order = *order;
        if order.shown == 0 && order.hidden == 0 {
            self.remove(id);
        }
        order.shown
    }

    fn refresh(&mut self, id: u64, size: i64) {
        let mut order = self.remove(id);
        assert!(order.shown == 0 && size > 0 && size <= order.hidden, "{size} of {order:?}");
        (order.shown, order.hidden) = (size, order.hidden - size);
        self.insert(order);
    }

    fn resize(&mut self, id: u64, shown: i64, hidden: i64) {
        assert!(shown > 0 && hidden >= 0);
        let order = self.order(id);
        (order.shown, order.hidden) = (shown, hidden);
    }

    fn relocate(&mut self, id: u64, price: i64, shown: i64, hidden: i64) {
        let order = self.remove(id);
        self.insert(Resting { price, shown, hidden, ..order });
    }

    fn remove(&mut self, id: u64) -> Resting {
        let order = self.orders.remove(&id).expect("it rests");
        let levels = self.side_mut(order.side);
        let level = levels.get_mut(&order.price).expect("its level");
        level.retain(|other| *other != id);
        if level.is_empty() {
            levels.remove(&order.price);
        }
        order
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn count(&self) -> usize {
        self.orders.len()
    }

    fn best(&self, side: Side) -> Option<i64> {
        match side {
            Side::Bid => self.bids.last_key_value().map(|(price, _)| *price),
            Side::Ask => self.asks.first_key_value().map(|(price, _)| *price),
        }
    }

    fn first(&self, side: Side) -> Option<u64> {
        self.best(side).map(|price| self.side(side)[&price][0])
    }

    fn level(&self, side: Side, price: i64) -> Option<OrderLevel> {
        let ids = self.side(side).get(&price)?;
        let sum = |of: fn(&Resting) -> i64| {
            let sum = ids.iter().map(|id| i128::from(of(&self.orders[id]))).sum::<i128>();
            i64::try_from(sum).unwrap_or(i64::MAX)
        };
        let (shown, hidden) = (sum(|order| order.shown), sum(|order| order.hidden));
        Some(OrderLevel { price, shown, hidden, count: ids.len() as u32 })
    }

    fn levels(&self, side: Side) -> Vec<OrderLevel> {
        self.prices(side).into_iter().filter_map(|price| self.level(side, price)).collect()
    }

    fn orders(&self, side: Side) -> Vec<u64> {
        self.prices(side).into_iter().flat_map(|price| self.orders_at(side, price)).collect()
    }

    fn orders_at(&self, side: Side, price: i64) -> Vec<u64> {
        self.side(side).get(&price).map_or_else(Vec::new, |ids| ids.iter().copied().collect())
    }
}

impl OrderBookLike for OrderBook {
    fn insert(&mut self, order: Resting) {
        self.insert(order);
    }

    fn get(&self, id: u64) -> Option<Resting> {
        self.find(id).map(|handle| *self.get(handle))
    }

    fn fill(&mut self, id: u64, size: i64) -> i64 {
        self.fill(self.find(id).expect("it rests"), size)
    }

    fn refresh(&mut self, id: u64, size: i64) {
        self.refresh(self.find(id).expect("it rests"), size);
    }

    fn resize(&mut self, id: u64, shown: i64, hidden: i64) {
        self.resize(self.find(id).expect("it rests"), shown, hidden);
    }

    fn relocate(&mut self, id: u64, price: i64, shown: i64, hidden: i64) {
        self.relocate(self.find(id).expect("it rests"), price, shown, hidden);
    }

    fn remove(&mut self, id: u64) -> Resting {
        self.remove(self.find(id).expect("it rests"))
    }

    fn clear(&mut self) {
        self.clear();
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn best(&self, side: Side) -> Option<i64> {
        self.best(side)
    }

    fn first(&self, side: Side) -> Option<u64> {
        self.first(side).map(|handle| self.get(handle).id)
    }

    fn level(&self, side: Side, price: i64) -> Option<OrderLevel> {
        self.level(side, price)
    }

    fn levels(&self, side: Side) -> Vec<OrderLevel> {
        self.levels(side).collect()
    }

    fn orders(&self, side: Side) -> Vec<u64> {
        self.orders(side).map(|handle| self.get(handle).id).collect()
    }

    fn orders_at(&self, side: Side, price: i64) -> Vec<u64> {
        self.orders_at(side, price).map(|handle| self.get(handle).id).collect()
    }
}
