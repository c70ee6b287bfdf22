//! Pegged orders: priced anew after each step, all of them, from what is not pegged.

use tidebook_book::Side;
use tidebook_types::command::{OrderType, Peg, Session, UNITS_MAX};
use tidebook_types::execution::{ExecutionKind, Reason};

use super::{NaiveVenue, Order};

impl NaiveVenue {
    pub(super) fn price_pegs(&mut self) {
        let ids: Vec<u32> = self.instruments.keys().copied().collect();
        for instrument_id in ids {
            let pegs = self.ids(|order| order.instrument_id == instrument_id && order.order_type == OrderType::Pegged);
            if pegs.is_empty() {
                continue;
            }
            let continuous = self.instruments[&instrument_id].session == Session::Continuous;
            let best = [self.best_unpegged(instrument_id, Side::Bid), self.best_unpegged(instrument_id, Side::Ask)];
            // Of all that are priced already, those that are not pegged included.
            let mut bound = best;
            for id in pegs {
                let order = *self.find_mut(id);
                let price = if continuous { self.peg_price(&order, best, bound) } else { 0 };
                if price > 0 {
                    let same_side = &mut bound[order.side as usize];
                    let better = |best: i64| if order.side == Side::Bid { best.max(price) } else { best.min(price) };
                    *same_side = Some(same_side.map_or(price, better));
                }
                if price != order.price {
                    let priority = if price > 0 { self.next_priority() } else { 0 };
                    let shown = if price > 0 { order.remaining } else { 0 };
                    *self.find_mut(id) = Order { price, priority, shown, ..order };
                    let order = *self.find_mut(id);
                    self.say_of(ExecutionKind::Repriced, &order, order.remaining, Reason::None);
                }
            }
        }
    }

    fn best_unpegged(&self, instrument_id: u32, side: Side) -> Option<i64> {
        let prices = self.book(instrument_id, side).filter(|o| o.order_type != OrderType::Pegged).map(|o| o.price);
        if side == Side::Bid { prices.max() } else { prices.min() }
    }

    /// Where it belongs; 0 for outside of the book.
    fn peg_price(&self, order: &Order, best: [Option<i64>; 2], bound: [Option<i64>; 2]) -> i64 {
        let tick = self.instruments[&order.instrument_id].terms.tick;
        let (own, other) = (best[order.side as usize], best[order.side.opposite() as usize]);
        // Twice the price, for the middle may be half a unit.
        let Some(twice) = (match order.peg {
            Peg::None => None,
            Peg::Primary => own.map(|own| 2 * own),
            Peg::Opposite => other.map(|other| 2 * other),
            Peg::Mid => own.zip(other).map(|(own, other)| own + other),
        }) else {
            return 0;
        };
        let limit = bound[order.side.opposite() as usize];
        let price = match order.side {
            Side::Bid => {
                let price = (twice - 2 * order.offset).div_euclid(2 * tick) * tick;
                let price = if order.worst_price > 0 { price.min(order.worst_price) } else { price };
                limit.map_or(price, |ask| price.min(ask - tick))
            }
            Side::Ask => {
                let price = -(-(twice + 2 * order.offset)).div_euclid(2 * tick) * tick;
                let price = price.max(order.worst_price);
                limit.map_or(price, |bid| price.max(bid + tick))
            }
        };
        if (tick..=UNITS_MAX).contains(&price) { price } else { 0 }
    }
}
