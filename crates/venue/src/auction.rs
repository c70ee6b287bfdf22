//! The call auction: one price at which most can be traded.

use tidebook_book::Side;
use tidebook_types::command::Session;
use tidebook_types::{Execution, ExecutionKind, Reason};

use crate::market::Market;
use crate::order::{LINKED, slot_of};
use crate::step::Step;
use crate::venue::Venue;

/// The levels that could trade with each other: price and all its orders have left, hidden parts included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crossing {
    /// Lowest first.
    asks: Vec<(i64, i128)>,
    /// Highest first.
    bids: Vec<(i64, i128)>,
    /// Prices of both, lowest first, with what buyers and sellers would take there.
    prices: Vec<(i64, i128, i128)>,
}

impl Crossing {
    /// Price and volume of an uncross; no volume, no price.
    fn solve(&mut self, market: &Market) -> (i64, i64) {
        let (Some(bid), Some(ask)) = (market.book.best(Side::Bid), market.book.best(Side::Ask)) else { return (0, 0) };
        if bid < ask {
            return (0, 0);
        }
        let whole =
            |level: tidebook_book::OrderLevel| (level.price, i128::from(level.shown) + i128::from(level.hidden));
        self.asks.clear();
        self.asks.extend(market.book.levels(Side::Ask).map(whole).take_while(|(price, _)| *price <= bid));
        self.bids.clear();
        self.bids.extend(market.book.levels(Side::Bid).map(whole).take_while(|(price, _)| *price >= ask));
        self.list_prices();
        self.choose(market.reference)
    }

    fn list_prices(&mut self) {
        self.prices.clear();
        let mut buyers: i128 = self.bids.iter().map(|(_, size)| size).sum();
        let mut sellers = 0;
        let mut asks = self.asks.iter().peekable();
        let mut bids = self.bids.iter().rev().peekable();
        while let Some(price) = [asks.peek(), bids.peek()].into_iter().flatten().map(|level| level.0).min() {
            let ask = asks.next_if(|level| level.0 == price);
            let bid = bids.next_if(|level| level.0 == price);
            sellers += ask.map_or(0, |level| level.1);
            self.prices.push((price, buyers, sellers));
            buyers -= bid.map_or(0, |level| level.1);
        }
    }

    fn choose(&self, reference: i64) -> (i64, i64) {
        let volume = |of: &(i64, i128, i128)| of.1.min(of.2);
        let surplus = |of: &(i64, i128, i128)| (of.1 - of.2).abs();
        let Some(most) = self.prices.iter().map(volume).max().filter(|volume| *volume > 0) else { return (0, 0) };
        let largest = self.prices.iter().filter(|of| volume(of) == most);
        let least = largest.clone().map(surplus).min().expect("one has the most");
        let mut left = largest.filter(|of| surplus(of) == least);
        let (lowest, highest) =
            (left.clone().next().expect("one has the least").0, left.clone().next_back().expect("one").0);
        let price = if left.clone().all(|of| of.1 > of.2) {
            highest
        } else if left.clone().all(|of| of.2 > of.1) || reference == 0 {
            lowest
        } else {
            // The last of the nearest is the higher one.
            let distance = |price: i64| price.abs_diff(reference);
            let first = left.next().expect("one has the least").0;
            left.fold(first, |nearest, of| if distance(of.0) <= distance(nearest) { of.0 } else { nearest })
        };
        (price, most.min(i64::MAX.into()) as i64)
    }
}

impl Venue {
    /// Carries out the auction of an instrument, if it has a price.
    pub(crate) fn uncross(&mut self, step: &mut Step<'_>, market: u32) {
        let (price, volume) = self.crossing.solve(&self.markets[market as usize]);
        if volume == 0 {
            return;
        }
        let of =
            Execution { instrument_id: self.markets[market as usize].id, price, size: volume, ..Execution::default() };
        step.say(ExecutionKind::Uncrossed, Reason::None, of);
        loop {
            let book = &self.markets[market as usize].book;
            let (Some(buy), Some(sell)) = (book.first(Side::Bid), book.first(Side::Ask)) else { break };
            let (bid, ask) = (*book.get(buy), *book.get(sell));
            if bid.price < price || ask.price > price {
                break;
            }
            let size = bid.shown.min(ask.shown);
            let (buyer, seller) = (slot_of(&bid), slot_of(&ask));
            let state = &mut self.markets[market as usize];
            state.trades += 1;
            let trade_id = state.trades;
            let mut sides = [(buyer, buy, 0), (seller, sell, 0)];
            let mut of = Execution { price, size, trade_id, ..self.about(buyer) };
            for (slot, handle, shown) in &mut sides {
                self.hash_out(*slot);
                *shown = self.markets[market as usize].book.fill(*handle, size);
                self.orders.hot[*slot as usize].filled += size;
            }
            let fees = [buyer, seller].map(|slot| {
                let account = self.orders.hot[slot as usize].account;
                let ppm = self.accounts.maker_ppm(account, &self.markets[market as usize].body);
                self.maker_fee(slot, price, size, ppm)
            });
            let contra = self.about(seller);
            of.contra_order_id = contra.order_id;
            of.contra_account = contra.account;
            of.contra_remaining = contra.remaining;
            of.remaining -= size;
            of.filled += size;
            (of.fee, of.contra_fee, of.side) = (fees[0], fees[1], 0);
            step.say(ExecutionKind::Fill, Reason::None, of);
            let others =
                sides.map(|(slot, ..)| self.orders.hot[slot as usize].has(LINKED).then(|| self.unlink(slot)).flatten());
            let refreshed = sides.map(|(slot, handle, shown)| self.after_fill(slot, handle, shown));
            for other in others.into_iter().flatten() {
                self.cancel(step, other, Reason::Linked);
            }
            for ((slot, ..), _) in sides.iter().zip(refreshed).filter(|(_, refreshed)| *refreshed) {
                self.tell_refreshed(step, *slot);
            }
        }
        let state = &mut self.markets[market as usize];
        state.last_trade = price;
        state.set_reference(price);
        self.move_trailing(market, price);
    }

    /// Step 4: says what each instrument's auction would give now, where that is another than before. Ends the command's list of
    /// instruments.
    pub(crate) fn tell_indicatives(&mut self, step: &mut Step<'_>) {
        for place in 0..self.dirty.len() {
            let market = self.dirty[place];
            let state = &self.markets[market as usize];
            if state.session == Session::Auction {
                let indicative = self.crossing.solve(state);
                let (instrument_id, before) = (state.id, state.indicative);
                if indicative != before {
                    let (price, size) = indicative;
                    let of = Execution { instrument_id, price, size, ..Execution::default() };
                    step.say(ExecutionKind::Indicative, Reason::None, of);
                }
                self.markets[market as usize].indicative = indicative;
            }
            self.markets[market as usize].dirty = false;
        }
        self.dirty.clear();
    }
}
