//! One price at which most can be traded.

use tidebook_book::Side;
use tidebook_types::command::Session;
use tidebook_types::execution::{ExecutionKind, Reason};

use super::aggress::take_from;
use super::{NaiveVenue, Order, at_or_better};

impl NaiveVenue {
    /// Price and volume that uncrossing would give; none without a volume.
    fn uncrossing(&self, instrument_id: u32) -> Option<(i64, i64)> {
        let reference = self.instruments[&instrument_id].reference_price;
        let mut prices: Vec<i64> =
            Side::BOTH.into_iter().flat_map(|side| self.book(instrument_id, side)).map(|order| order.price).collect();
        prices.sort_unstable();
        prices.dedup();
        let total = |side, price| -> i128 {
            let willing = self.book(instrument_id, side).filter(|order| at_or_better(side, order.price, price));
            willing.map(|order| i128::from(order.remaining)).sum()
        };
        // Price, volume, surplus of buyers.
        let all: Vec<(i64, i128, i128)> = prices
            .iter()
            .map(|&price| (price, total(Side::Bid, price), total(Side::Ask, price)))
            .map(|(price, bought, sold)| (price, bought.min(sold), bought - sold))
            .collect();
        let volume = all.iter().map(|&(_, volume, _)| volume).max().filter(|&volume| volume > 0)?;
        let most = || all.iter().filter(|&&(_, v, _)| v == volume);
        let surplus = most().map(|&(.., surplus)| surplus.abs()).min()?;
        let left: Vec<(i64, i128)> =
            most().filter(|(.., s)| s.abs() == surplus).map(|&(price, _, surplus)| (price, surplus)).collect();
        let (lowest, highest) = (left.first()?.0, left.last()?.0);
        let price = if left.iter().all(|&(_, surplus)| surplus > 0) {
            highest
        } else if left.iter().all(|&(_, surplus)| surplus < 0) || reference == 0 {
            lowest
        } else {
            left.iter().map(|&(price, _)| price).min_by_key(|&price| ((price - reference).abs(), -price))?
        };
        Some((price, i64::try_from(volume).unwrap_or(i64::MAX)))
    }

    pub(super) fn uncross(&mut self, instrument_id: u32) {
        let Some((price, volume)) = self.uncrossing(instrument_id) else { return };
        self.say_of_instrument(ExecutionKind::Uncrossed, instrument_id, price, volume, Reason::None);
        self.instruments.get_mut(&instrument_id).expect("it is listed").reference_price = price;
        loop {
            let willing = |side| {
                self.first(instrument_id, side)
                    .filter(|order| at_or_better(side, order.price, price))
                    .map(|order| order.id)
            };
            let (Some(buyer_id), Some(seller_id)) = (willing(Side::Bid), willing(Side::Ask)) else { return };
            let size = self.find_mut(buyer_id).shown.min(self.find_mut(seller_id).shown);
            let (buyer, fee) = self.fill_in_auction(buyer_id, price, size);
            let (seller, contra_fee) = self.fill_in_auction(seller_id, price, size);
            self.say_fill(&buyer, &seller, 0, price, size, (fee, contra_fee));
            for order in [buyer, seller] {
                if order.remaining == 0 {
                    self.take(order.id);
                }
                self.unlink(order.id, order.linked);
            }
            self.refresh(buyer_id);
            self.refresh(seller_id);
            self.trail(instrument_id, price);
        }
    }

    fn fill_in_auction(&mut self, id: u64, price: i64, size: i64) -> (Order, i64) {
        let mut order = *self.find_mut(id);
        take_from(&mut order, price, size);
        let fee = self.charge(&mut order, price, size, false);
        *self.find_mut(id) = order;
        (order, fee)
    }

    /// Says in each auction what uncrossing would give, if it is another than before.
    pub(super) fn say_indicative(&mut self) {
        let auctions: Vec<u32> =
            self.instruments.iter().filter(|(_, i)| i.session == Session::Auction).map(|(&id, _)| id).collect();
        for id in auctions {
            let indicative = self.uncrossing(id).unwrap_or((0, 0));
            let instrument = self.instruments.get_mut(&id).expect("it is in auction");
            if instrument.indicative != indicative {
                instrument.indicative = indicative;
                self.say_of_instrument(ExecutionKind::Indicative, id, indicative.0, indicative.1, Reason::None);
            }
        }
    }
}
