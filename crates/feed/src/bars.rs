//! One-minute bars of one instrument.
//!
//! A trade belongs to the minute of the venue's time; a minute closes when the feed's clock is a bound past its end, so
//! that trades on their way still count, and a trade later than that gives the bar again, one revision higher. Open
//! and close go by (venue time, trade id) and not by arrival: a bar is a function of its set of trades, so a late
//! or swapped message cannot change what it says.

use std::collections::VecDeque;

use tidebook_types::records::{FLAG_BACKFILL, FLAG_UNPROVEN, SIDE_BUY};

/// Length of a bar.
pub(crate) const INTERVAL_NS: i64 = 60_000_000_000;
/// The same in seconds.
pub(crate) const INTERVAL_S: u32 = 60;

/// A silence longer than this many intervals gives no empty bars: the feed was off, the market was not still.
const EMPTY_MAX: i64 = 1_440;

/// A trade as bars see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BarTrade {
    pub(crate) ts_event: i64,
    pub(crate) trade_id: u64,
    pub(crate) price: i64,
    pub(crate) size: i64,
    pub(crate) side: i8,
    pub(crate) flags: u8,
}

/// Trades of one interval so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BarState {
    pub(crate) ts_open: i64,
    pub(crate) trade_count: u32,
    pub(crate) open: i64,
    pub(crate) high: i64,
    pub(crate) low: i64,
    pub(crate) close: i64,
    pub(crate) volume: i64,
    pub(crate) buy_volume: i64,
    pub(crate) notional: i128,
    pub(crate) revision: u32,
    /// `FLAG_UNPROVEN`, `FLAG_BACKFILL`.
    pub(crate) flags: u8,
    /// Place of the first and last trade: (venue time, trade id).
    first: (i64, u64),
    last: (i64, u64),
}

impl BarState {
    const fn empty(ts_open: i64, price: i64) -> Self {
        Self {
            ts_open,
            trade_count: 0,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            buy_volume: 0,
            notional: 0,
            revision: 0,
            flags: 0,
            first: (0, 0),
            last: (0, 0),
        }
    }

    fn add(&mut self, trade: &BarTrade) {
        let place = (trade.ts_event, trade.trade_id);
        if self.trade_count == 0 {
            *self = Self { revision: self.revision, flags: self.flags, ..Self::empty(self.ts_open, trade.price) };
            (self.first, self.last) = (place, place);
        }
        if place < self.first {
            (self.first, self.open) = (place, trade.price);
        }
        if place >= self.last {
            (self.last, self.close) = (place, trade.price);
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        // Sizes of a minute fit an i64 at any exponent a venue uses; a damaged size must not stop the feed.
        self.volume = self.volume.saturating_add(trade.size);
        if trade.side == SIDE_BUY {
            self.buy_volume = self.buy_volume.saturating_add(trade.size);
        }
        self.notional = self.notional.saturating_add(i128::from(trade.price) * i128::from(trade.size));
        self.trade_count = self.trade_count.saturating_add(1);
        self.flags |= trade.flags & (FLAG_BACKFILL | FLAG_UNPROVEN);
    }
}

/// What a trade did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is in a bar that is still open.
    Open,
    /// It changed a closed bar, given here one revision higher.
    Revised(BarState),
    /// Its bar closed too long ago to be kept.
    TooLate,
}

/// The bars of one instrument.
#[derive(Debug, Clone)]
pub(crate) struct Bars {
    /// Open intervals, rising; rarely more than two.
    open: Vec<BarState>,
    /// Closed ones, rising, newest last.
    closed: VecDeque<BarState>,
    closed_max: usize,
    /// Start of the first interval that is not closed; 0 before the first trade.
    next_open: i64,
    /// Close of the last bar closed.
    last_close: i64,
    /// The trade added last was fetched after the fact: trades behind it may not have been.
    backfilled: bool,
}

impl Bars {
    pub(crate) const fn new(closed_max: usize) -> Self {
        Self { open: Vec::new(), closed: VecDeque::new(), closed_max, next_open: 0, last_close: 0, backfilled: false }
    }

    /// Forgets everything, as a change of exponents demands.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.closed_max);
    }

    pub(crate) fn open(&self) -> &[BarState] {
        &self.open
    }

    pub(crate) const fn last_close(&self) -> i64 {
        self.last_close
    }

    /// The closed bar that starts at `ts_open`, if it is still kept.
    pub(crate) fn closed(&self, ts_open: i64) -> Option<&BarState> {
        let index = self.closed.binary_search_by_key(&ts_open, |bar| bar.ts_open).ok()?;
        self.closed.get(index)
    }

    pub(crate) fn add(&mut self, trade: &BarTrade) -> Added {
        let ts_open = trade.ts_event - trade.ts_event.rem_euclid(INTERVAL_NS);
        self.backfilled = trade.flags & FLAG_BACKFILL != 0;
        let mut flags = 0;
        if self.next_open == 0 {
            self.next_open = ts_open;
            // What happened in this minute before the feed began is not known.
            flags = FLAG_UNPROVEN;
        }
        if ts_open < self.next_open {
            let Ok(index) = self.closed.binary_search_by_key(&ts_open, |bar| bar.ts_open) else {
                return Added::TooLate;
            };
            let newest = index + 1 == self.closed.len();
            let bar = &mut self.closed[index];
            bar.add(trade);
            bar.revision += 1;
            if newest {
                self.last_close = bar.close;
            }
            return Added::Revised(*bar);
        }
        let index = match self.open.binary_search_by_key(&ts_open, |bar| bar.ts_open) {
            Ok(index) => index,
            Err(index) => {
                self.open.insert(index, BarState { flags, ..BarState::empty(ts_open, trade.price) });
                index
            }
        };
        self.open[index].add(trade);
        Added::Open
    }

    /// Marks the open bar that `ts_event` falls into as possibly lacking trades.
    pub(crate) fn doubt(&mut self, ts_event: i64) {
        let ts_open = ts_event - ts_event.rem_euclid(INTERVAL_NS);
        if let Some(bar) = self.open.iter_mut().find(|bar| bar.ts_open == ts_open) {
            bar.flags |= FLAG_UNPROVEN;
        }
    }

    /// Closes every interval that ends at or before `clock`. `by_trade` says that a trade at or behind `clock` is known;
    /// then a backfill holds all trades before it, which nothing else says of a backfill's end.
    pub(crate) fn close_until(&mut self, clock: i64, by_trade: bool, mut closed: impl FnMut(&BarState)) {
        if self.next_open == 0 {
            return;
        }
        while self.next_open <= clock - INTERVAL_NS {
            let is_next = self.open.first().is_some_and(|bar| bar.ts_open == self.next_open);
            let mut bar = if is_next {
                self.open.remove(0)
            } else {
                let end = self.open.first().map_or(i64::MAX, |bar| bar.ts_open);
                let end = end.min(clock - clock.rem_euclid(INTERVAL_NS));
                if (end - self.next_open) / INTERVAL_NS > EMPTY_MAX {
                    // The next trade says where the market goes on; a clock alone may be wrong.
                    match self.open.first() {
                        Some(bar) if bar.ts_open <= clock - INTERVAL_NS => self.next_open = bar.ts_open,
                        _ => return,
                    }
                    continue;
                }
                BarState::empty(self.next_open, self.last_close)
            };
            if self.backfilled && !by_trade {
                bar.flags |= FLAG_UNPROVEN;
            }
            self.next_open += INTERVAL_NS;
            self.last_close = bar.close;
            if self.closed.len() == self.closed_max {
                self.closed.pop_front();
            }
            self.closed.push_back(bar);
            closed(&bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = INTERVAL_NS;

    fn trade(second: i64, trade_id: u64, price: i64, size: i64) -> BarTrade {
        let ts_event = 100 * MINUTE + second * 1_000_000_000;
        BarTrade { ts_event, trade_id, price, size, side: SIDE_BUY, flags: 0 }
    }

    fn close(bars: &mut Bars, minutes: i64) -> Vec<(i64, [i64; 4], i64, u32)> {
        let mut closed = Vec::new();
        bars.close_until((100 + minutes) * MINUTE, false, |bar| {
            let prices = [bar.open, bar.high, bar.low, bar.close];
            closed.push((bar.ts_open / MINUTE - 100, prices, bar.volume, bar.trade_count));
        });
        closed
    }

    #[test]
    fn a_bar_is_a_function_of_its_trades_and_not_of_their_order() {
        let trades = [trade(1, 1, 10, 1), trade(2, 2, 30, 2), trade(2, 3, 5, 3), trade(59, 4, 20, 4)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut bars = Bars::new(4);
            for index in order {
                assert_eq!(bars.add(&trades[index]), Added::Open);
            }
            assert_eq!(close(&mut bars, 1), [(0, [10, 30, 5, 20], 10, 4)], "{order:?}");
        }
    }

    #[test]
    fn a_minute_without_trades_repeats_the_close_and_a_long_silence_is_no_row_of_bars() {
        let mut bars = Bars::new(4);
        bars.add(&trade(5, 1, 10, 1));
        assert_eq!(close(&mut bars, 0), []);
        assert_eq!(close(&mut bars, 3), [(0, [10; 4], 1, 1), (1, [10; 4], 0, 0), (2, [10; 4], 0, 0)]);
        bars.add(&trade(60 * 5_000, 2, 11, 1));
        assert_eq!(close(&mut bars, 5_001), [(5_000, [11; 4], 1, 1)]);
    }

    #[test]
    fn a_late_trade_revises_its_bar_while_it_is_kept() {
        let mut bars = Bars::new(2);
        bars.add(&trade(1, 2, 10, 1));
        close(&mut bars, 2);
        let Added::Revised(bar) = bars.add(&trade(0, 1, 7, 1)) else { panic!("not revised") };
        assert_eq!((bar.revision, bar.open, bar.close, bar.low, bar.trade_count), (1, 7, 10, 7, 2));
        let Added::Revised(bar) = bars.add(&trade(61, 3, 9, 1)) else { panic!("an empty bar not revised") };
        assert_eq!((bar.revision, bar.open, bar.close, bar.trade_count), (1, 9, 9, 1));
        assert_eq!(close(&mut bars, 3), [(2, [9; 4], 0, 0)]);
        assert_eq!(bars.add(&trade(2, 4, 8, 1)), Added::TooLate);
    }

    #[test]
    fn a_bar_says_when_it_may_lack_trades() {
        let flags = |bars: &mut Bars, minutes: i64, by_trade: bool| {
            let mut flags = Vec::new();
            bars.close_until((100 + minutes) * MINUTE, by_trade, |bar| flags.push(bar.flags & FLAG_UNPROVEN != 0));
            flags
        };
        let mut bars = Bars::new(8);
        for second in [1, 61, 121] {
            bars.add(&trade(second, second as u64, 10, 1));
        }
        bars.doubt(100 * MINUTE + 70_000_000_000);
        assert_eq!(flags(&mut bars, 3, false), [true, true, false]);
        for second in [181, 241] {
            bars.add(&BarTrade { flags: FLAG_BACKFILL, ..trade(second, second as u64, 10, 1) });
        }
        assert_eq!(flags(&mut bars, 4, true), [false]);
        assert_eq!(flags(&mut bars, 5, false), [true]);
    }
}
