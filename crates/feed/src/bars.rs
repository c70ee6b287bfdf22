//! Bars of one instrument: a second, a minute, five minutes, an hour, a day (UTC).
//!
//! A trade belongs to the interval of the venue's time; an interval closes when the feed's clock is a bound past its
//! end, so that trades on their way still count, and a trade later than that gives the bar again, one revision higher.
//! Open and close go by (venue time, trade id) and not by arrival: a bar is a function of its set of trades, so a late
//! or swapped message cannot change what it says.
//!
//! Each length is made from the trades and not from shorter bars: a trade too late for its second still counts for its
//! hour, and each length's revisions are its own.

use std::collections::VecDeque;

use tidebook_types::records::{FLAG_BACKFILL, FLAG_UNPROVEN, SIDE_BUY};

use crate::saved::{Input, Saved, SavedError, name_of, save_field, saved};

/// ns of a second.
pub(crate) const SECOND_NS: i64 = 1_000_000_000;
/// Lengths in seconds, rising.
pub const INTERVALS_S: [u32; 5] = [1, 60, 300, 3_600, 86_400];
/// Which of them is the minute, which venues give too.
const MINUTE: usize = 1;
/// Closed bars kept of each length but the minute, for late trades: by a minute, two hours, a day, two days.
const CLOSED_MAX: [usize; 5] = [60, 0, 24, 24, 2];

/// A silence longer than this gives no empty bars: the feed was off, the market was not still.
const EMPTY_MAX_NS: i64 = 86_400 * SECOND_NS;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

saved!(BarState {
    ts_open,
    trade_count,
    open,
    high,
    low,
    close,
    volume,
    buy_volume,
    notional,
    revision,
    flags,
    first,
    last,
});

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

    /// Says the same in other units, if they can.
    fn rescale(&mut self, price: i32, size: i32) -> Option<()> {
        for value in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
            *value = rescaled(*value, price)?;
        }
        for value in [&mut self.volume, &mut self.buy_volume] {
            *value = rescaled(*value, size)?;
        }
        self.notional = rescaled(self.notional, price + size)?;
        Some(())
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

/// A number in units of so many more decimals, or fewer; `None` when there is no such number.
fn rescaled<N: TryFrom<i128>>(units: impl Into<i128>, more: i32) -> Option<N> {
    let (units, power) = (units.into(), 10i128.checked_pow(more.unsigned_abs())?);
    let units = if more >= 0 {
        units.checked_mul(power)?
    } else if units % power == 0 {
        units / power
    } else {
        return None;
    };
    N::try_from(units).ok()
}

/// The bars of one length.
#[derive(Debug, Clone, Hash)]
struct Series {
    interval: i64,
    /// Whether an interval without trades gives a bar that repeats the close. Seconds do not: most have none.
    fills: bool,
    /// Open intervals, rising; rarely more than two.
    open: Vec<BarState>,
    /// Closed ones, rising, newest last.
    closed: VecDeque<BarState>,
    closed_max: usize,
    /// Start of the first interval that is not closed; 0 before the first trade.
    next_open: i64,
    /// Close of the last bar closed.
    last_close: i64,
    /// End of the newest closed interval that had a trade: all bars given since then are empty.
    traded_until: i64,
    /// First and last interval that trades were lost in.
    doubted: Option<(i64, i64)>,
}

impl Series {
    const fn new(interval_s: u32, closed_max: usize) -> Self {
        Self {
            interval: interval_s as i64 * SECOND_NS,
            fills: interval_s > 1,
            open: Vec::new(),
            closed: VecDeque::new(),
            closed_max,
            next_open: 0,
            last_close: 0,
            traded_until: 0,
            doubted: None,
        }
    }

    const fn start_of(&self, time: i64) -> i64 {
        time.saturating_sub(time.rem_euclid(self.interval))
    }

    fn closed(&self, ts_open: i64) -> Option<&BarState> {
        let index = self.closed.binary_search_by_key(&ts_open, |bar| bar.ts_open).ok()?;
        self.closed.get(index)
    }

    /// Flags of a bar that begins.
    fn flags_of(&self, ts_open: i64) -> u8 {
        let is_doubted = self.doubted.is_some_and(|(from, to)| from <= ts_open && ts_open <= to);
        if is_doubted { FLAG_UNPROVEN } else { 0 }
    }

    /// Adds a trade. The closed bars it changed, or made, are given one revision higher, or first; false when its bar
    /// closed too long ago to be kept.
    #[inline]
    fn add(&mut self, trade: &BarTrade, changed: impl FnMut(&BarState)) -> bool {
        let ts_open = self.start_of(trade.ts_event);
        // Until a bar is given the feed may begin earlier than its first trade said: trades may come in any order, and
        // the clock of one may be far ahead.
        let begins = self.next_open == 0 || self.traded_until == 0 && ts_open < self.next_open;
        if begins {
            self.next_open = ts_open;
        }
        if ts_open < self.next_open {
            return self.add_late(ts_open, trade, changed);
        }
        let index = match self.open.binary_search_by_key(&ts_open, |bar| bar.ts_open) {
            Ok(index) => index,
            Err(index) => {
                // What happened in its first interval before the feed began is not known.
                let flags = if begins { FLAG_UNPROVEN } else { self.flags_of(ts_open) };
                self.open.insert(index, BarState { flags, ..BarState::empty(ts_open, trade.price) });
                index
            }
        };
        self.open[index].add(trade);
        true
    }

    #[cold]
    fn add_late(&mut self, ts_open: i64, trade: &BarTrade, mut changed: impl FnMut(&BarState)) -> bool {
        let index = match self.closed.binary_search_by_key(&ts_open, |bar| bar.ts_open) {
            Ok(index) => {
                let bar = &mut self.closed[index];
                bar.add(trade);
                bar.revision += 1;
                index
            }
            // An interval that had no trades gave no bar; it does now, if its neighbours are still kept.
            Err(index) if !self.fills && index > 0 => {
                let mut bar = BarState { flags: self.flags_of(ts_open), ..BarState::empty(ts_open, trade.price) };
                bar.add(trade);
                self.closed.insert(index, bar);
                let excess = self.closed.len().saturating_sub(self.closed_max);
                self.closed.drain(..excess);
                index - excess
            }
            Err(_) => return false,
        };
        self.traded_until = self.traded_until.max(ts_open.saturating_add(self.interval));
        let close = self.closed[index].close;
        changed(&self.closed[index]);
        let mut behind = index + 1;
        // Empty bars repeat the close before them, so they follow it.
        while let Some(bar) = self.closed.get_mut(behind).filter(|bar| bar.trade_count == 0 && bar.close != close) {
            let BarState { ts_open, flags, revision, .. } = *bar;
            *bar = BarState { flags, revision: revision + 1, ..BarState::empty(ts_open, close) };
            changed(bar);
            behind += 1;
        }
        if let Some(last) = self.closed.back() {
            self.last_close = last.close;
        }
        true
    }

    fn rescale(&mut self, price: i32, size: i32) -> Option<()> {
        for bar in self.open.iter_mut().chain(&mut self.closed) {
            bar.rescale(price, size)?;
        }
        self.last_close = rescaled(self.last_close, price)?;
        Some(())
    }

    /// Marks every bar from the one of `from` to the one of `to`, those to come included. Closed ones are given one
    /// revision higher.
    #[cold]
    fn doubt(&mut self, from: i64, to: i64, mut changed: impl FnMut(&BarState)) {
        let (mut first, mut last) = (self.start_of(from), self.start_of(to));
        let from = self.closed.partition_point(|bar| bar.ts_open < first);
        for bar in self.closed.range_mut(from..).take_while(|bar| bar.ts_open <= last) {
            if bar.flags & FLAG_UNPROVEN == 0 {
                bar.flags |= FLAG_UNPROVEN;
                bar.revision += 1;
                changed(bar);
            }
        }
        // What an earlier loss put in doubt and is still to come stays so.
        if let Some((before, until)) = self.doubted.filter(|&(_, until)| until >= self.next_open) {
            (first, last) = (first.min(before), last.max(until));
        }
        self.doubted = Some((first, last));
        for bar in &mut self.open {
            if first <= bar.ts_open && bar.ts_open <= last {
                bar.flags |= FLAG_UNPROVEN;
            }
        }
    }

    /// Closes every interval that ends at or before `clock`; `flags` go to each.
    fn close_until(&mut self, clock: i64, flags: u8, mut closed: impl FnMut(&BarState)) {
        if self.next_open == 0 {
            return;
        }
        let last = clock.saturating_sub(self.interval);
        while self.next_open <= last {
            let first = self.open.first().map(|bar| bar.ts_open);
            let due = first.filter(|ts_open| *ts_open <= last);
            let mut bar = if due == Some(self.next_open) {
                self.open.remove(0)
            } else {
                let silence = due.unwrap_or(self.start_of(clock)).saturating_sub(self.next_open);
                match due {
                    _ if self.fills && silence <= EMPTY_MAX_NS => {
                        let flags = self.flags_of(self.next_open);
                        BarState { flags, ..BarState::empty(self.next_open, self.last_close) }
                    }
                    Some(ts_open) => {
                        self.next_open = ts_open;
                        continue;
                    }
                    // The next trade says where the market goes on; a clock alone may be wrong.
                    None if self.fills => return,
                    None => {
                        self.next_open = first.unwrap_or(i64::MAX).min(self.start_of(clock));
                        return;
                    }
                }
            };
            if bar.trade_count == 0 {
                // One given before, when the clock was ahead: what it repeats may have changed.
                let BarState { ts_open, revision, flags, .. } = bar;
                bar = BarState { revision, flags, ..BarState::empty(ts_open, self.last_close) };
            }
            bar.flags |= flags;
            self.next_open += self.interval;
            if bar.trade_count > 0 {
                self.traded_until = self.next_open;
            }
            self.last_close = bar.close;
            if self.closed.len() == self.closed_max {
                self.closed.pop_front();
            }
            self.closed.push_back(bar);
            closed(&bar);
        }
    }
}

impl Series {
    /// Opens again what a clock closed that was ahead of `clock`, so that it closes again, one revision higher, when it is
    /// really over. What was given with trades and is no longer kept stays closed.
    #[cold]
    fn step_back(&mut self, clock: i64) {
        let from = self.start_of(clock);
        if self.next_open == 0 || from >= self.next_open {
            return;
        }
        let all_kept = self.closed.len() < self.closed_max;
        let kept = self.closed.partition_point(|bar| bar.ts_open < from);
        let mut again: Vec<_> = self.closed.drain(kept..).collect();
        again.iter_mut().for_each(|bar| bar.revision += 1);
        let oldest = again.first().map_or(self.next_open, |bar| bar.ts_open);
        self.last_close = match (self.closed.back(), again.first()) {
            (Some(bar), _) => bar.close,
            // An empty bar repeats the close before it.
            (None, Some(bar)) => bar.open,
            (None, None) => self.last_close,
        };
        self.next_open = if !self.closed.is_empty() || !self.fills && (all_kept || again.is_empty()) {
            from
        } else if self.fills {
            // Those that are no longer kept were empty, back to the last trade, and given as often as the oldest kept one.
            let revision = again.first().map_or(1, |bar| bar.revision);
            let from = from.max(self.traded_until).max(oldest.saturating_sub(EMPTY_MAX_NS));
            let times = (0..).map(|number| from + number * self.interval).take_while(|ts_open| *ts_open < oldest);
            let mut all: Vec<_> = times
                .map(|ts_open| {
                    let flags = self.flags_of(ts_open);
                    BarState { revision, flags, ..BarState::empty(ts_open, self.last_close) }
                })
                .collect();
            all.append(&mut again);
            again = all;
            from.min(oldest)
        } else {
            oldest
        };
        again.append(&mut self.open);
        self.open = again;
    }
}

/// The bars of one instrument.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Bars {
    series: [Series; INTERVALS_S.len()],
    /// The trade added last was fetched after the fact: trades behind it may not have been.
    backfilled: bool,
    /// Time of the trade added last; `None` before any.
    last: Option<i64>,
}

/// What each length keeps; the lengths themselves are ours.
impl Saved for Bars {
    fn layout(text: &mut String) {
        text.push_str("Bars{closed_max,backfilled,last,series:");
        for interval_s in INTERVALS_S {
            *text += &format!("{interval_s}:open,closed,next_open,last_close,traded_until,doubted,");
        }
        BarState::layout(text);
        text.push('}');
    }
    fn save(&self, out: &mut Vec<u8>) {
        let Self { series, backfilled, last } = self;
        save_field(&series[MINUTE].closed_max, out, name_of!(Bars.closed_max));
        save_field(backfilled, out, name_of!(Bars.backfilled));
        save_field(last, out, name_of!(Bars.last));
        for series in series {
            let Series {
                interval: _,
                fills: _,
                open,
                closed,
                closed_max: _,
                next_open,
                last_close,
                traded_until,
                doubted,
            } = series;
            save_field(open, out, name_of!(Series.open));
            save_field(closed, out, name_of!(Series.closed));
            save_field(next_open, out, name_of!(Series.next_open));
            save_field(last_close, out, name_of!(Series.last_close));
            save_field(traded_until, out, name_of!(Series.traded_until));
            save_field(doubted, out, name_of!(Series.doubted));
        }
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let mut bars = Self::new(usize::load(input)?);
        bars.backfilled = bool::load(input)?;
        bars.last = Option::load(input)?;
        for series in &mut bars.series {
            series.open = Vec::load(input)?;
            series.closed = VecDeque::load(input)?;
            let rising = |bars: &mut dyn Iterator<Item = &BarState>| {
                bars.map(|bar| bar.ts_open).is_sorted_by(|one, next| one < next)
            };
            if !rising(&mut series.open.iter()) || !rising(&mut series.closed.iter()) {
                return Err(input.error("bars out of order"));
            }
            (series.next_open, series.last_close, series.traded_until) = Saved::load(input)?;
            series.doubted = Option::load(input)?;
        }
        Ok(bars)
    }
}

impl Bars {
    /// `minutes_max` closed minutes are kept.
    pub(crate) fn new(minutes_max: usize) -> Self {
        let series = std::array::from_fn(|index| {
            let closed_max = if index == MINUTE { minutes_max } else { CLOSED_MAX[index] };
            Series::new(INTERVALS_S[index], closed_max)
        });
        Self { series, backfilled: false, last: None }
    }

    /// Prices and sizes have so many more decimals from here on, or fewer. Bars keep what they say in the new units; all of
    /// them are forgotten when one cannot be said in these.
    #[cold]
    pub(crate) fn rescale(&mut self, (price, size): (i32, i32)) {
        let mut rescaled = self.clone();
        let all = rescaled.series.iter_mut().map(|series| series.rescale(price, size));
        *self = if all.fold(Some(()), Option::and).is_some() {
            rescaled
        } else {
            Self::new(self.series[MINUTE].closed_max)
        };
    }

    /// The closed minute that starts at `ts_open`, if it is still kept.
    pub(crate) fn closed_minute(&self, ts_open: i64) -> Option<&BarState> {
        self.series[MINUTE].closed(ts_open)
    }

    /// Adds a trade and gives the closed bars that it changed, with their length in seconds; false when it came too late
    /// for one of them.
    #[inline]
    pub(crate) fn add(&mut self, trade: &BarTrade, mut changed: impl FnMut(u32, &BarState)) -> bool {
        self.backfilled = trade.flags & FLAG_BACKFILL != 0;
        self.last = Some(trade.ts_event);
        let mut in_time = true;
        for (series, interval_s) in self.series.iter_mut().zip(INTERVALS_S) {
            in_time &= series.add(trade, |bar| changed(interval_s, bar));
        }
        in_time
    }

    /// Whether no trade was ever added.
    pub(crate) const fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// Nothing was traded before the feed began: its first bars lack nothing.
    #[cold]
    pub(crate) fn begin_whole(&mut self) {
        let open = self.series.iter_mut().flat_map(|series| &mut series.open);
        open.for_each(|bar| bar.flags &= !FLAG_UNPROVEN);
    }

    /// Trades were lost between the one added last and one at `ts_event`: marks every bar that may lack them, and gives
    /// the closed ones again.
    pub(crate) fn doubt(&mut self, ts_event: i64, mut changed: impl FnMut(u32, &BarState)) {
        let from = self.last.map_or(ts_event, |last| last.min(ts_event));
        for (series, interval_s) in self.series.iter_mut().zip(INTERVALS_S) {
            series.doubt(from, ts_event, |bar| changed(interval_s, bar));
        }
    }

    /// The clock that closed bars was wrong, and is `clock` now.
    pub(crate) fn step_back(&mut self, clock: i64) {
        self.series.iter_mut().for_each(|series| series.step_back(clock));
    }

    /// Closes every interval that ends at or before `clock`, shorter lengths first. `by_trade` says that a trade at or
    /// behind `clock` is known; then a backfill holds all trades before it, which nothing else says of a backfill's end.
    pub(crate) fn close_until(&mut self, clock: i64, by_trade: bool, mut closed: impl FnMut(u32, &BarState)) {
        let flags = if self.backfilled && !by_trade { FLAG_UNPROVEN } else { 0 };
        for (series, interval_s) in self.series.iter_mut().zip(INTERVALS_S) {
            series.close_until(clock, flags, |bar| closed(interval_s, bar));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: i64 = 60 * SECOND_NS;

    fn trade(second: i64, trade_id: u64, price: i64, size: i64) -> BarTrade {
        // A minute that begins an hour and a day.
        let ts_event = 86_400 * SECOND_NS + second * SECOND_NS;
        BarTrade { ts_event, trade_id, price, size, side: SIDE_BUY, flags: 0 }
    }

    fn add(bars: &mut Bars, trade: &BarTrade) -> Vec<(u32, BarState)> {
        let mut changed = Vec::new();
        bars.add(trade, |interval_s, bar| changed.push((interval_s, *bar)));
        changed
    }

    /// (start in intervals from the first trade's day, prices, volume, trades) of the bars of one length.
    fn close(bars: &mut Bars, seconds: i64, length: u32) -> Vec<(i64, [i64; 4], i64, u32)> {
        let mut closed = Vec::new();
        bars.close_until((86_400 + seconds) * SECOND_NS, false, |interval_s, bar| {
            if interval_s == length {
                let start = (bar.ts_open / SECOND_NS - 86_400) / i64::from(length);
                closed.push((start, [bar.open, bar.high, bar.low, bar.close], bar.volume, bar.trade_count));
            }
        });
        closed
    }

    #[test]
    fn a_bar_is_a_function_of_its_trades_and_not_of_their_order() {
        let trades = [trade(1, 1, 10, 1), trade(2, 2, 30, 2), trade(2, 3, 5, 3), trade(59, 4, 20, 4)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut bars = Bars::new(4);
            for index in order {
                assert_eq!(add(&mut bars, &trades[index]), []);
            }
            assert_eq!(close(&mut bars, 60, 60), [(0, [10, 30, 5, 20], 10, 4)], "{order:?}");
        }
    }

    #[test]
    fn every_length_holds_the_same_trades() {
        let mut bars = Bars::new(2_000);
        let mut closed = Vec::new();
        for (number, second) in (0..90_000).step_by(7).enumerate() {
            bars.close_until((86_400 + second - 1) * SECOND_NS, false, |length, bar| closed.push((length, *bar)));
            bars.add(&trade(second, number as u64, 1 + second % 13, 1 + second % 3), |_, bar| panic!("{bar:?}"));
        }
        for length in INTERVALS_S {
            let of: Vec<_> =
                closed.iter().filter(|(interval_s, _)| *interval_s == length).map(|(_, bar)| bar).collect();
            let (first, last) = (of[0], of[of.len() - 1]);
            assert!(of.windows(2).all(|pair| pair[0].ts_open < pair[1].ts_open));
            // As many trades as the seconds of its span allow, one every seven.
            let end = last.ts_open / SECOND_NS - 86_400 + i64::from(length);
            let trades = of.iter().map(|bar| i64::from(bar.trade_count)).sum::<i64>();
            assert_eq!((first.ts_open, trades), (86_400 * SECOND_NS, (end - 1) / 7 + 1), "{length} s");
            let per_day: i64 =
                of.iter().take_while(|bar| bar.ts_open < 2 * 86_400 * SECOND_NS).map(|bar| bar.volume).sum();
            assert_eq!(per_day, (0..86_400).step_by(7).map(|second| 1 + second % 3).sum::<i64>(), "{length} s");
        }
    }

    #[test]
    fn an_interval_without_trades_repeats_the_close_and_a_long_silence_is_no_row_of_bars() {
        let mut bars = Bars::new(4);
        add(&mut bars, &trade(5, 1, 10, 1));
        assert_eq!(close(&mut bars, 59, 60), []);
        assert_eq!(close(&mut bars, 180, 60), [(0, [10; 4], 1, 1), (1, [10; 4], 0, 0), (2, [10; 4], 0, 0)]);
        add(&mut bars, &trade(60 * 5_000, 2, 11, 1));
        assert_eq!(close(&mut bars, 60 * 5_001, 60), [(5_000, [11; 4], 1, 1)]);
    }

    #[test]
    fn a_second_without_trades_gives_no_bar_until_a_late_trade_makes_it_one() {
        let mut bars = Bars::new(4);
        for second in [3, 9] {
            add(&mut bars, &trade(second, second as u64, 10, 1));
        }
        assert_eq!(close(&mut bars, 20, 1), [(3, [10; 4], 1, 1), (9, [10; 4], 1, 1)]);
        let changed = add(&mut bars, &trade(6, 6, 12, 2));
        assert_eq!(changed.len(), 1, "longer bars are open still");
        assert_eq!((changed[0].0, changed[0].1.revision, changed[0].1.trade_count), (1, 0, 1));
        let again = add(&mut bars, &trade(6, 7, 13, 2));
        assert_eq!((again[0].1.revision, again[0].1.open, again[0].1.close), (1, 12, 13));
        assert!(!bars.add(&trade(2, 1, 9, 1), |_, _| ()), "before all that is kept");
        assert_eq!(
            close(&mut bars, 60, 60),
            [(0, [9, 13, 9, 10], 7, 5)],
            "too late for its second, not for its minute"
        );
        add(&mut bars, &trade(70, 8, 10, 1));
        assert_eq!(close(&mut bars, 71, 1), [(70, [10; 4], 1, 1)]);
    }

    #[test]
    fn a_late_trade_revises_its_bars_while_they_are_kept() {
        let mut bars = Bars::new(2);
        add(&mut bars, &trade(1, 2, 10, 1));
        close(&mut bars, 120, 60);
        let minute = |changed: Vec<(u32, BarState)>| changed.into_iter().find(|(length, _)| *length == 60).unwrap().1;
        let bar = minute(add(&mut bars, &trade(0, 1, 7, 1)));
        assert_eq!((bar.revision, bar.open, bar.close, bar.low, bar.trade_count), (1, 7, 10, 7, 2));
        let bar = minute(add(&mut bars, &trade(61, 3, 9, 1)));
        assert_eq!((bar.revision, bar.open, bar.close, bar.trade_count), (1, 9, 9, 1));
        assert_eq!(close(&mut bars, 180, 60), [(2, [9; 4], 0, 0)]);
        assert!(!bars.add(&trade(2, 4, 8, 1), |_, _| ()), "too late");
    }

    #[test]
    fn what_a_clock_ahead_had_closed_closes_again_when_it_is_over_one_revision_higher() {
        let mut bars = Bars::new(60);
        let minutes = |bars: &mut Bars, minute: i64| {
            let mut closed = Vec::new();
            bars.close_until(86_400 * SECOND_NS + minute * MINUTE_NS, false, |length, bar| {
                if length == 60 {
                    let start = (bar.ts_open / SECOND_NS - 86_400) / 60;
                    closed.push((start, [bar.open, bar.close], bar.trade_count, bar.revision));
                }
            });
            closed
        };
        add(&mut bars, &trade(1, 1, 10, 1));
        add(&mut bars, &trade(61, 2, 12, 1));
        // Three hours ahead, of which an hour of minutes is kept.
        assert_eq!(minutes(&mut bars, 180).len(), 180);
        bars.step_back(86_400 * SECOND_NS + 2 * MINUTE_NS + 30 * SECOND_NS);
        assert_eq!(minutes(&mut bars, 2), []);
        assert_eq!(add(&mut bars, &trade(155, 3, 13, 1)), []);
        assert_eq!(add(&mut bars, &trade(245, 4, 14, 1)), []);
        assert_eq!(minutes(&mut bars, 5), [(2, [13, 13], 1, 1), (3, [13, 13], 0, 1), (4, [14, 14], 1, 1)]);
        assert_eq!(minutes(&mut bars, 180)[174], (179, [14, 14], 0, 1), "an empty bar repeats what is new");
        assert_eq!(minutes(&mut bars, 181), [(180, [14, 14], 0, 0)]);
        // A minute that is kept had trades: they stay in it.
        bars.step_back(86_400 * SECOND_NS + 180 * MINUTE_NS);
        assert_eq!(add(&mut bars, &trade(180 * 60 + 1, 5, 15, 1)), []);
        assert_eq!(minutes(&mut bars, 181), [(180, [15, 15], 1, 1)]);
        bars.step_back(86_400 * SECOND_NS + 180 * MINUTE_NS);
        add(&mut bars, &trade(180 * 60 + 2, 6, 16, 1));
        assert_eq!(minutes(&mut bars, 181), [(180, [15, 16], 2, 2)]);
    }

    #[test]
    fn a_bar_says_when_it_may_lack_trades() {
        let flags = |bars: &mut Bars, minutes: i64, by_trade: bool| {
            let mut flags = Vec::new();
            bars.close_until(86_400 * SECOND_NS + minutes * MINUTE_NS, by_trade, |interval_s, bar| {
                if interval_s == 60 {
                    flags.push(bar.flags & FLAG_UNPROVEN != 0);
                }
            });
            flags
        };
        let mut bars = Bars::new(8);
        for second in [1, 61, 121] {
            add(&mut bars, &trade(second, second as u64, 10, 1));
        }
        assert_eq!(flags(&mut bars, 3, false), [true, false, false], "the first began before the feed did");
        for second in [181, 241] {
            add(&mut bars, &BarTrade { flags: FLAG_BACKFILL, ..trade(second, second as u64, 10, 1) });
        }
        assert_eq!(flags(&mut bars, 4, true), [false]);
        assert_eq!(flags(&mut bars, 5, false), [true]);
    }

    /// (start in minutes, prices, trades, revision, whether it may lack trades) of a minute.
    fn minute((length, bar): (u32, BarState)) -> Option<(i64, i64, u32, u32, bool)> {
        let start = bar.ts_open / MINUTE_NS - 1_440;
        let unproven = bar.flags & FLAG_UNPROVEN != 0;
        (length == 60).then_some((start, bar.close, bar.trade_count, bar.revision, unproven))
    }

    fn close_minutes(bars: &mut Bars, seconds: i64) -> Vec<(i64, i64, u32, u32, bool)> {
        let mut closed = Vec::new();
        bars.close_until((86_400 + seconds) * SECOND_NS, false, |length, bar| closed.extend(minute((length, *bar))));
        closed
    }

    #[test]
    fn every_bar_between_two_trades_with_lost_ones_in_between_may_lack_trades() {
        let mut bars = Bars::new(8);
        for second in [1, 61, 119] {
            add(&mut bars, &trade(second, second as u64, 10, 1));
        }
        assert_eq!(
            close_minutes(&mut bars, 245),
            [(0, 10, 1, 0, true), (1, 10, 2, 0, false), (2, 10, 0, 0, false), (3, 10, 0, 0, false)]
        );
        let mut again = Vec::new();
        bars.doubt((86_400 + 310) * SECOND_NS, |length, bar| again.push((length, *bar)));
        let minutes: Vec<_> = again.iter().copied().filter_map(minute).collect();
        assert_eq!(minutes, [(1, 10, 2, 1, true), (2, 10, 0, 1, true), (3, 10, 0, 1, true)]);
        let seconds: Vec<_> = again.iter().filter(|(length, _)| *length == 1).map(|(_, bar)| bar.ts_open).collect();
        assert_eq!(seconds, [(86_400 + 119) * SECOND_NS], "a second without a bar stays without");
        add(&mut bars, &trade(310, 310, 12, 1));
        add(&mut bars, &trade(370, 370, 13, 1));
        assert_eq!(
            close_minutes(&mut bars, 420),
            [(4, 10, 0, 0, true), (5, 12, 1, 0, true), (6, 13, 1, 0, false)],
            "the one that was open, the one of the trade that told, and no more"
        );
        assert!(bars.series[4].open[0].flags & FLAG_UNPROVEN != 0, "and the day");
    }

    #[test]
    fn the_empty_bars_behind_a_close_follow_it() {
        let mut bars = Bars::new(8);
        add(&mut bars, &trade(10, 1, 100, 1));
        assert_eq!(close_minutes(&mut bars, 180).len(), 3);
        let again: Vec<_> = add(&mut bars, &trade(50, 2, 101, 1)).into_iter().filter_map(minute).collect();
        assert_eq!(again, [(0, 101, 2, 1, true), (1, 101, 0, 1, false), (2, 101, 0, 1, false)]);
        assert_eq!(close_minutes(&mut bars, 240), [(3, 101, 0, 0, false)]);
        let again: Vec<_> = add(&mut bars, &trade(20, 3, 99, 1)).into_iter().filter_map(minute).collect();
        assert_eq!(again, [(0, 101, 3, 2, true)], "another close is not changed by it");
        let again: Vec<_> = add(&mut bars, &trade(130, 4, 98, 1)).into_iter().filter_map(minute).collect();
        assert_eq!(again, [(2, 98, 1, 2, false), (3, 98, 0, 1, false)]);
    }

    #[test]
    fn a_first_trade_with_a_time_far_ahead_stops_no_bar() {
        let mut bars = Bars::new(8);
        add(&mut bars, &trade(3_550, 1, 100, 1));
        for second in [10, 70, 130] {
            assert!(bars.add(&trade(second, second as u64, 10, 1), |_, bar| panic!("{bar:?}")));
        }
        assert_eq!(close_minutes(&mut bars, 180), [(0, 10, 1, 0, true), (1, 10, 1, 0, false), (2, 10, 1, 0, false)]);
        assert_eq!(close(&mut bars, 300, 300), [(0, [10; 4], 3, 3)]);
        assert_eq!(close(&mut bars, 3_600, 3_600), [(0, [10, 100, 10, 100], 4, 4)]);
    }

    #[test]
    fn bars_go_on_in_other_units_or_begin_anew_where_these_cannot_hold_them() {
        let mut bars = Bars::new(4);
        for second in [1, 61] {
            add(&mut bars, &trade(second, second as u64, 10, 7));
        }
        assert_eq!(close(&mut bars, 60, 60), [(0, [10; 4], 7, 1)]);
        bars.rescale((4, 1));
        add(&mut bars, &trade(62, 62, 100_001, 3));
        let again = add(&mut bars, &trade(2, 2, 99_999, 1)).into_iter().find(|(length, _)| *length == 60).unwrap().1;
        assert_eq!((again.open, again.close, again.volume, again.notional), (100_000, 99_999, 71, 7_099_999));
        assert_eq!(close(&mut bars, 120, 60), [(1, [100_000, 100_001, 100_000, 100_001], 73, 2)]);
        let day = bars.series[4].open[0];
        assert_eq!((day.trade_count, day.volume, day.notional), (4, 144, 14_400_002));
        let before = bars.clone();
        bars.rescale((2, 0));
        bars.rescale((-2, 0));
        assert_eq!(bars.series[4].open, before.series[4].open);
        bars.rescale((-4, 0));
        assert_eq!(bars.series[4].open, [], "99,999 has no tenth");
        let mut bars = before;
        bars.rescale((16, 0));
        assert_eq!(bars.series[4].open, [], "too large");
    }
}
