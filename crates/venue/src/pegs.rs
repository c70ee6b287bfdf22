//! Pegged orders: priced from the best of all others, after each command and each triggered stop.
//!
//! All of an instrument's are priced anew together, because each bounds those accepted after it. That costs a look at every one of them
//! after each command on an instrument that has any; one without pays for a comparison.

use tidebook_book::Side;
use tidebook_types::command::{Peg, Session, UNITS_MAX};
use tidebook_types::{ExecutionKind, OrderType, Reason};

use crate::market::Market;
use crate::order::{Standing, Terms, slot_of};
use crate::step::Step;
use crate::venue::Venue;

/// A pegged order's price from the best prices of orders that are not pegged, if there is one; what bounds it comes later.
fn pegged_price(market: &Market, side: Side, terms: &Terms, worst: i64, best: [Option<i64>; 2]) -> Option<i64> {
    let (own, other) = match side {
        Side::Bid => (best[0], best[1]),
        Side::Ask => (best[1], best[0]),
    };
    // Twice the price, so that a middle between two units is exact.
    let twice = match terms.peg {
        Peg::Primary => own? * 2,
        Peg::Opposite => other? * 2,
        Peg::Mid => own? + other?,
        Peg::None => return None,
    };
    let tick = market.body.tick;
    Some(match side {
        Side::Bid => {
            let price = (twice - 2 * terms.offset).div_euclid(2 * tick) * tick;
            if worst == 0 { price } else { price.min(worst) }
        }
        Side::Ask => {
            let price = -(-(twice + 2 * terms.offset)).div_euclid(2 * tick) * tick;
            if worst == 0 { price } else { price.max(worst) }
        }
    })
}

impl Venue {
    /// Has a new pegged order wait outside of the book until pegged orders are priced. Into the hash.
    pub(crate) fn park(&mut self, slot: u32) {
        self.orders.hot[slot as usize].standing = Standing::Parked;
        self.list_peg(slot);
        self.orders.terms[slot as usize].at = 0;
        self.hash_in(slot);
    }

    /// Puts a pegged order on its instrument's list, if it is not there.
    pub(crate) fn list_peg(&mut self, slot: u32) {
        let order = &self.orders.hot[slot as usize];
        let pegs = &mut self.markets[order.market as usize].pegs;
        if let Err(place) = pegs.binary_search(&(order.id, slot)) {
            pegs.insert(place, (order.id, slot));
        }
    }

    /// Strikes an order that ends off the list of pegged ones.
    pub(crate) fn forget_peg(&mut self, slot: u32) {
        let order = &self.orders.hot[slot as usize];
        let pegs = &mut self.markets[order.market as usize].pegs;
        if let Ok(place) = pegs.binary_search(&(order.id, slot)) {
            pegs.remove(place);
        }
    }

    /// Prices the pegged orders of every instrument that was touched, by the instruments' ids.
    pub(crate) fn price_all_pegs(&mut self, step: &mut Step<'_>) {
        if self.dirty.len() > 1 {
            let markets = &self.markets;
            self.dirty.sort_unstable_by_key(|market| markets[*market as usize].id);
        }
        for place in 0..self.dirty.len() {
            self.price_pegs(step, self.dirty[place]);
        }
    }

    fn best_unpegged(&self, market: &Market, side: Side) -> Option<i64> {
        let mut resting = market.book.orders(side).map(|handle| market.book.get(handle));
        resting
            .find(|resting| self.orders.hot[slot_of(resting) as usize].kind != OrderType::Pegged)
            .map(|resting| resting.price)
    }

    fn price_pegs(&mut self, step: &mut Step<'_>, market: u32) {
        let state = &self.markets[market as usize];
        if state.pegs.is_empty() {
            return;
        }
        let continuous = state.session == Session::Continuous;
        let best = [self.best_unpegged(state, Side::Bid), self.best_unpegged(state, Side::Ask)];
        // Best of all that count so far, by side.
        let mut bounds = best;
        let mut changed = std::mem::take(&mut self.picked);
        changed.clear();
        for (_, slot) in state.pegs.iter().copied() {
            let order = &self.orders.hot[slot as usize];
            let (side, terms) = (order.side(), &self.orders.terms[slot as usize]);
            let price = pegged_price(state, side, terms, order.price, best).filter(|_| continuous).unwrap_or(0);
            let price = bound(side, price, &mut bounds, state.body.tick);
            if price != terms.at {
                changed.push((price as u64, slot));
            }
        }
        // First all that move are out, then each goes to the end of its queue.
        for (_, slot) in changed.iter().copied() {
            self.hash_out(slot);
            let order = &mut self.orders.hot[slot as usize];
            if let Some(handle) = order.handle.take() {
                self.markets[market as usize].book.remove(handle);
            }
            order.standing = Standing::Parked;
        }
        for (price, slot) in changed.iter().copied() {
            self.orders.terms[slot as usize].at = price as i64;
            if price == 0 {
                self.hash_in(slot);
            } else {
                self.rest(slot);
            }
            let of = self.about(slot);
            step.say(ExecutionKind::Repriced, Reason::None, tidebook_types::Execution { size: of.remaining, ..of });
        }
        self.picked = changed;
    }
}

/// The price so that it meets nobody, one tick behind the best of the other side if it would; 0 if that is none. It bounds those to come.
fn bound(side: Side, price: i64, bounds: &mut [Option<i64>; 2], tick: i64) -> i64 {
    let (own, other) = match side {
        Side::Bid => (0, 1),
        Side::Ask => (1, 0),
    };
    if price == 0 {
        return 0;
    }
    let price = match (side, bounds[other]) {
        (Side::Bid, Some(best)) => price.min(best - tick),
        (Side::Ask, Some(best)) => price.max(best + tick),
        (_, None) => price,
    };
    if price < tick || price > UNITS_MAX {
        return 0;
    }
    bounds[own] = Some(match (side, bounds[own]) {
        (_, None) => price,
        (Side::Bid, Some(best)) => best.max(price),
        (Side::Ask, Some(best)) => best.min(price),
    });
    price
}
