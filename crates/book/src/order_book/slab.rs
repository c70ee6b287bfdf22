//! Where orders lie: one slab of 64 bytes each, linked first in first out by numbers instead of pointers.
//!
//! A node is one cache line and plain bytes: a book is copied by copying memory, and an order that was just looked up has its links at
//! hand. Node 0 is no order: links to nobody lead there and are written like all others, because who is first or last in a queue cannot be predicted.
//! Free nodes are linked through `next`; the one freed last is taken first, because it is still in the cache. The slab never shrinks.

use super::Resting;
use crate::side::Side;

/// No order. What its node says means nothing.
pub(super) const NONE: u32 = 0;

/// An order and its place in the queue of its level.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Node {
    /// Id 0: the node is free.
    pub(super) order: Resting,
    /// Who came before it at its price.
    pub(super) previous: u32,
    /// Who came after it, or the next free node.
    pub(super) next: u32,
    /// The level, in the levels of its side.
    pub(super) level: u32,
}

const _: () = assert!(size_of::<Node>() == 64);

#[derive(Debug, Clone)]
pub(super) struct Slab {
    /// Empty before the first order.
    nodes: Vec<Node>,
    free: u32,
    count: usize,
}

impl Slab {
    pub(super) const NEW: Self = Self { nodes: Vec::new(), free: NONE, count: 0 };

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Room for `count` orders in all.
    pub(super) fn reserve(&mut self, count: usize) {
        self.nodes.reserve_exact((count + 1).saturating_sub(self.nodes.len()));
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        (self.free, self.count) = (NONE, 0);
    }

    /// Stores an order that is in no queue yet.
    #[inline]
    pub(super) fn store(&mut self, order: Resting) -> u32 {
        self.count += 1;
        let index = self.free;
        if index == NONE {
            return self.push(order);
        }
        let place = &mut self.nodes[index as usize];
        self.free = place.next;
        place.order = order;
        index
    }

    #[cold]
    fn push(&mut self, order: Resting) -> u32 {
        let node = |order| Node { order, previous: NONE, next: NONE, level: NONE };
        if self.nodes.is_empty() {
            self.nodes.push(node(Resting { id: 0, price: 0, shown: 0, hidden: 0, side: Side::Bid }));
        }
        self.nodes.push(node(order));
        u32::try_from(self.nodes.len() - 1).expect("fewer orders than numbers")
    }

    /// Frees a node that is in no queue any more.
    #[inline]
    pub(super) fn free(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.order.id = 0;
        node.next = self.free;
        self.free = index;
        self.count -= 1;
    }

    #[inline]
    pub(super) fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    #[inline]
    pub(super) fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }

    /// The node of an order that rests.
    ///
    /// # Panics
    /// When it rests no more.
    #[inline]
    pub(super) fn resting(&self, index: u32) -> &Node {
        let node = &self.nodes[index as usize];
        assert!(node.order.id != 0, "order {index} rests no more");
        node
    }

    /// See [`Self::resting`].
    #[inline]
    pub(super) fn resting_mut(&mut self, index: u32) -> &mut Node {
        let node = &mut self.nodes[index as usize];
        assert!(node.order.id != 0, "order {index} rests no more");
        node
    }
}
