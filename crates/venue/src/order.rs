//! What the venue knows of an order beside the book, and all orders there are.
//!
//! Orders lie in one slab over all instruments, whether they rest in a book or wait beside it, so that an order keeps its place from
//! acceptance to its end and what points at it (the account's list, the other leg, heaps) never has to be told of a move. The common
//! part is one cache line; what only stops, icebergs, pegged orders, pairs, GTD and fees need lies in a second array and is written
//! only by those. The cost is one more line for them, and memory for both arrays taken at the start.

use tidebook_book::{Handle, Resting, Side};
use tidebook_types::command::{OrderType, Peg, SelfTrade, TimeInForce};

use crate::index::OrderIndex;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Beside the flags of commands: it shows only a part.
pub(crate) const ICEBERG: u8 = 4;
/// It is a leg of a pair whose other leg is there.
pub(crate) const LINKED: u8 = 8;
/// It sells.
pub(crate) const SELLS: u8 = 16;
/// Its [`Terms`] are written.
pub(crate) const TERMS: u8 = 32;
/// It is in the heap of times.
pub(crate) const TIMED: u8 = 64;

/// Where an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Standing {
    /// In the book.
    Resting = 0,
    /// A stop that no trade has reached.
    Waiting = 1,
    /// A stop that was reached and is not executed yet.
    Triggered = 2,
    /// A pegged order outside of the book.
    Parked = 3,
    /// Nowhere: it is being matched.
    Matching = 4,
}

/// Slot of a resting order, which the book knows by it.
#[inline]
pub(crate) const fn slot_of(resting: &Resting) -> u32 {
    (resting.id - 1) as u32
}

/// Its name in the book.
#[inline]
pub(crate) const fn resting_id(slot: u32) -> u64 {
    slot as u64 + 1
}

/// The common part.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Order {
    pub(crate) id: u64,
    /// Limit, or the worst price of a pegged or market order; 0 for none.
    pub(crate) price: i64,
    /// `filled` and what is left.
    pub(crate) size: i64,
    pub(crate) filled: i64,
    /// Rises with each place at the end of a queue, in its instrument.
    pub(crate) priority: u64,
    /// Place of the account.
    pub(crate) account: u32,
    /// Place of the instrument.
    pub(crate) market: u32,
    /// While it rests.
    pub(crate) handle: Option<Handle>,
    /// Of the same account, accepted later; of a free slot the next free one.
    pub(crate) next: u32,
    /// Of the same account, accepted before.
    pub(crate) previous: u32,
    pub(crate) flags: u8,
    pub(crate) kind: OrderType,
    /// Time in force, and self-trade mode in the upper half.
    pub(crate) modes: u8,
    pub(crate) standing: Standing,
}

impl Order {
    pub(crate) const EMPTY: Self = Self {
        id: 0,
        price: 0,
        size: 0,
        filled: 0,
        priority: 0,
        account: 0,
        market: 0,
        handle: None,
        next: NONE,
        previous: NONE,
        flags: 0,
        kind: OrderType::Limit,
        modes: 0,
        standing: Standing::Matching,
    };

    pub(crate) const fn modes_of(time_in_force: TimeInForce, self_trade: SelfTrade) -> u8 {
        time_in_force.code() | self_trade.code() << 4
    }

    #[inline]
    pub(crate) const fn remaining(&self) -> i64 {
        self.size - self.filled
    }

    #[inline]
    pub(crate) const fn side(&self) -> Side {
        if self.flags & SELLS == 0 { Side::Bid } else { Side::Ask }
    }

    #[inline]
    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) const fn time_in_force(&self) -> TimeInForce {
        match TimeInForce::from_code(self.modes & 15) {
            Some(time_in_force) => time_in_force,
            None => TimeInForce::Gtc,
        }
    }

    pub(crate) const fn self_trade(&self) -> SelfTrade {
        match SelfTrade::from_code(self.modes >> 4) {
            Some(self_trade) => self_trade,
            None => SelfTrade::None,
        }
    }
}

/// What only some orders have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// By how much what was paid of fees is above what the fills owe, in parts of a quote unit (see `fees.rs`).
    pub(crate) paid_ahead: i128,
    /// What an iceberg shows at most.
    pub(crate) display: i64,
    /// What it shows now.
    pub(crate) shown: i64,
    /// Of a stop; 0 for a trailing one that has none yet.
    pub(crate) trigger: i64,
    /// Of a trailing stop or a pegged order.
    pub(crate) offset: i64,
    /// Of GTD.
    pub(crate) expire_ts: i64,
    /// The trade that reached the stop; the price a pegged order has in the book.
    pub(crate) at: i64,
    /// Slot of the other leg.
    pub(crate) linked: u32,
    /// Place in the heap of stops or the list of trailing ones.
    pub(crate) place: u32,
    /// Place in the heap of times.
    pub(crate) timed_place: u32,
    pub(crate) peg: Peg,
}

impl Terms {
    pub(crate) const NONE: Self = Self {
        paid_ahead: 0,
        display: 0,
        shown: 0,
        trigger: 0,
        offset: 0,
        expire_ts: 0,
        at: 0,
        linked: NONE,
        place: NONE,
        timed_place: NONE,
        peg: Peg::None,
    };
}

/// Every order there is.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) hot: Vec<Order>,
    pub(crate) terms: Vec<Terms>,
    index: OrderIndex,
    free: u32,
    len: u32,
    max: u32,
}

impl Orders {
    /// At most `max` are let in; the index is made for the `expected` ones.
    pub(crate) fn new(max: u32, expected: u32) -> Self {
        let capacity = max as usize;
        Self {
            // Not touched, so of all that is reserved here only what is used is memory.
            hot: Vec::with_capacity(capacity),
            terms: Vec::with_capacity(capacity),
            index: OrderIndex::new(expected),
            free: NONE,
            len: 0,
            max,
        }
    }

    /// See [`OrderIndex::touch`]. The slab grows from its front, a page for many orders.
    pub(crate) fn touch(&mut self) {
        self.index.touch();
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Whether so many more have room.
    pub(crate) const fn has_room(&self, more: u32) -> bool {
        self.max - self.len >= more
    }

    /// Takes an order in; there is room. Its terms are written when it has the flag.
    #[inline]
    pub(crate) fn insert(&mut self, order: Order, terms: &Terms) -> u32 {
        debug_assert!(self.has_room(1));
        let slot = if self.free == NONE {
            self.hot.push(order);
            self.terms.push(Terms::NONE);
            self.hot.len() as u32 - 1
        } else {
            let slot = self.free;
            self.free = self.hot[slot as usize].next;
            self.hot[slot as usize] = order;
            slot
        };
        if order.has(TERMS) {
            self.terms[slot as usize] = *terms;
        }
        self.len += 1;
        self.index.insert(order.id, slot);
        slot
    }

    /// Lets an order go.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u32) {
        let order = &mut self.hot[slot as usize];
        let id = order.id;
        order.id = 0;
        order.next = self.free;
        self.free = slot;
        self.len -= 1;
        self.index.remove(id);
    }

    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<u32> {
        self.index.find(id)
    }

    /// The order's terms, written now if they were not.
    pub(crate) fn terms_mut(&mut self, slot: u32) -> &mut Terms {
        let order = &mut self.hot[slot as usize];
        if !order.has(TERMS) {
            order.flags |= TERMS;
            self.terms[slot as usize] = Terms::NONE;
        }
        &mut self.terms[slot as usize]
    }

    /// Terms, or those of an order that has none of its own.
    pub(crate) fn terms_of(&self, slot: u32) -> Terms {
        if self.hot[slot as usize].has(TERMS) { self.terms[slot as usize] } else { Terms::NONE }
    }
}
