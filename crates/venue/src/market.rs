//! One instrument: its definition, its book, and what waits beside the book.

use std::collections::VecDeque;

use tidebook_book::{OrderBook, Side};
use tidebook_types::command::{InstrumentBody, Session};

use crate::bands::Band;
use crate::heap::Heap;

/// A stop that was reached and is not executed yet. It may have ended since: then its slot holds another id, or it waits no more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) id: u64,
    pub(crate) slot: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Market {
    /// Instrument id.
    pub(crate) id: u32,
    pub(crate) body: InstrumentBody,
    pub(crate) session: Session,
    /// Price of the last fill; 0 for none.
    pub(crate) last_trade: i64,
    /// Fills so far.
    pub(crate) trades: u64,
    /// 0 for none.
    pub(crate) reference: i64,
    /// Follows from `reference` and `body`.
    pub(crate) band: Band,
    /// Parts of a quote unit that fees are counted in: follows from `body`.
    pub(crate) fee_parts: i128,
    /// Given last.
    pub(crate) priority: u64,
    pub(crate) book: OrderBook,
    /// Waiting stops by trigger, the first to be reached first: buys by the lowest.
    pub(crate) buys: Heap,
    /// Sells by the highest: keys are bitwise not.
    pub(crate) sells: Heap,
    /// Slots of waiting trailing stops, in no order.
    pub(crate) trailing: Vec<u32>,
    /// In the order in which they are executed.
    pub(crate) triggered: VecDeque<Reached>,
    /// Id and slot of pegged orders, by id.
    pub(crate) pegs: Vec<(u64, u32)>,
    /// What the auction was last said to give: price and size.
    pub(crate) indicative: (i64, i64),
    /// Orders, waiting ones too.
    pub(crate) orders: u32,
    /// Whether it is in the venue's list of instruments to be looked at after the command.
    pub(crate) dirty: bool,
}

impl Market {
    pub(crate) fn new(id: u32, body: InstrumentBody) -> Self {
        let mut market = Self {
            id,
            body,
            session: Session::Closed,
            last_trade: 0,
            trades: 0,
            reference: 0,
            band: Band::NONE,
            fee_parts: 1,
            priority: 0,
            book: OrderBook::with_tick(body.tick).without_ids(),
            buys: Heap::default(),
            sells: Heap::default(),
            trailing: Vec::new(),
            triggered: VecDeque::new(),
            pegs: Vec::new(),
            indicative: (0, 0),
            orders: 0,
            dirty: false,
        };
        market.define(body);
        market
    }

    /// Takes a definition that was found valid.
    pub(crate) fn define(&mut self, body: InstrumentBody) {
        self.fee_parts = 1_000_000 * 10_i128.pow(body.size_exp.into());
        if body.reference_price != 0 {
            self.reference = body.reference_price;
        }
        if body.tick != self.body.tick {
            // It has no order then: another tick is another grid of prices.
            self.book = OrderBook::with_tick(body.tick).without_ids();
        }
        self.body = body;
        self.set_band();
    }

    pub(crate) fn set_reference(&mut self, price: i64) {
        self.reference = price;
        self.set_band();
    }

    fn set_band(&mut self) {
        self.band = Band::around(self.reference, self.body.band_ppm, self.body.tick);
    }

    /// Whether an order at this price would meet one of the other side.
    #[inline]
    pub(crate) fn would_meet(&self, side: Side, price: i64) -> bool {
        self.book.best(side.opposite()).is_some_and(|best| side.takes(price, best))
    }
}
