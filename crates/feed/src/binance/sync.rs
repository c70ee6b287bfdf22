//! Binance's rule by which a snapshot and a stream of changes become a book.
//!
//! Each depth message covers the update ids behind `previous` up to `u`, and the next one's `previous` is this `u`; how the
//! venue says so is a matter of its [`Rules`]. A snapshot stands at one id: changes up to it are dropped, the first one
//! kept must cover the id behind it, then each must follow the one before. Changes are kept (within a bound) whenever a
//! snapshot might have to be put under them: before the first, after a gap, and while the book is in doubt.
//!
//! What was received and is not kept any more leaves its last id behind: a snapshot below it is missing changes that
//! nothing will send again, so it is never taken, not even in the next session.
//!
//! Source: Binance documentation, "How to manage a local order book correctly". Stricter than it in two places: a message
//! that overlaps the one before and is no repetition of it proves that an id is damaged, so it is a gap; and so does one
//! that lies before it by its ids and behind it by its time, or after a hundred of them, for an id that a damaged message
//! made far too high would otherwise make a repetition of all that follow. And for futures wider in one: a snapshot
//! between `pu` and `U` is spanned as well, since the ids between are other instruments'.

use std::collections::VecDeque;

use tidebook_book::{Level, Side};

use super::rules::{Rules, TickerTime};
use super::ticker::{Compared, Dispute, Tickers, Waiting};
use crate::market::{BookState, Emitter, Markets, StatusRecord, Top, is_best_first};
use crate::oracles::Oracle;
use crate::saved::saved;
use crate::sink::RecordSink;
use crate::status::StatusKind;

/// Changes kept for a snapshot: over a quarter of an hour of a 100 ms stream.
const KEPT_MAX: usize = 10_000;
/// Levels in them, 16 bytes each.
const KEPT_LEVELS_MAX: usize = 1_000_000;

/// One depth message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) ts_event: i64,
    /// Last id of the message before, below `first`.
    pub(super) previous: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) bids: &'a [Level],
    pub(super) asks: &'a [Level],
}

/// A depth message kept.
#[derive(Debug, Clone, Hash)]
struct Kept {
    ts_event: i64,
    previous: u64,
    first: u64,
    last: u64,
    bids: Box<[Level]>,
    asks: Box<[Level]>,
}

saved!(Kept { ts_event, previous, first, last, bids, asks });

/// What stays of the last message received.
#[derive(Debug, Clone, Copy, Hash)]
struct Received {
    ts_event: i64,
    previous: u64,
    first: u64,
    last: u64,
}

saved!(Received { ts_event, previous, first, last });

/// How a message follows the one before.
enum Step {
    Follows,
    Repeats,
    /// Lies before it: a repetition, or it was damaged.
    Older,
    Breaks,
}

/// Sequencing state of one instrument.
#[derive(Debug, Clone, Hash)]
pub(super) struct Sync {
    rules: Rules,
    /// The last message received, whether or not there was a book to apply it to.
    received: Option<Received>,
    /// Messages in a row, since then, that lie before it.
    older: u32,
    /// Last id received in the sessions before; counts until this one has received something.
    left_off: u64,
    kept: VecDeque<Kept>,
    kept_levels: usize,
    /// The book is a snapshot, and no change that covers the id behind it came yet; this many came that end before.
    behind: Option<u32>,
    /// Why no change will come: a snapshot would become a book that nothing keeps true. Ends with the next change.
    unfed: Option<StatusKind>,
    tickers: Tickers,
    waiting: Waiting,
    dispute: Dispute,
}

saved!(Sync { rules, received, older, left_off, kept, kept_levels, behind, unfed, tickers, waiting, dispute });

impl Sync {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            received: None,
            older: 0,
            left_off: 0,
            kept: VecDeque::new(),
            kept_levels: 0,
            behind: None,
            unfed: None,
            tickers: Tickers::default(),
            waiting: Waiting::default(),
            dispute: Dispute::default(),
        }
    }

    /// Takes a bookTicker in; false for a repetition.
    pub(super) fn on_ticker<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        ts_event: i64,
        (update_id, top): (u64, Top),
        emit: &mut Emitter<'_, S>,
    ) -> bool {
        if !self.tickers.push(update_id, top) {
            return false;
        }
        if self.rules.tickers == TickerTime::Around {
            self.compare_waiting(markets, index, ts_event, emit);
        }
        if markets.is_left_behind(index, |ours| ours != top, emit.ts_recv) {
            self.forget();
            self.unfed = Some(StatusKind::OracleDisagrees);
            markets.leave_behind(index, (ts_event, update_id), false, emit);
            markets.want_no_snapshot(index);
        }
        true
    }

    /// Makes the comparisons that bookTickers have decided by now; returns whether all held.
    fn compare_waiting<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) -> bool {
        let mut held = true;
        while let Some(compared) = self.waiting.next(&mut self.tickers) {
            held &= self.compare(markets, index, ts_event, compared, emit);
        }
        held
    }

    /// A new session begins: nothing received before says anything about what comes, but that no older book does.
    pub(super) fn restart(&mut self) {
        let left_off = self.received.map_or(self.left_off, |received| received.last);
        *self = Self { left_off, unfed: self.unfed, ..Self::new(self.rules) };
    }

    /// The diff stream was unsubscribed from: the book waits, and no snapshot is wanted.
    pub(super) fn on_unsubscribed<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        emit: &mut Emitter<'_, S>,
    ) {
        self.restart();
        self.unfed = Some(StatusKind::Unsubscribed);
        markets.lose_book(index, StatusKind::Unsubscribed, 0, false, emit);
        markets.want_no_snapshot(index);
    }

    /// The diff stream was subscribed to.
    pub(super) fn on_subscribed(&mut self) {
        self.unfed = None;
    }

    /// Refuses a snapshot that nothing would keep true, and asks for no other; false when there is no such reason.
    pub(super) fn refuse_unfed<S: RecordSink>(
        &self,
        markets: &mut Markets,
        index: usize,
        emit: &mut Emitter<'_, S>,
    ) -> bool {
        let Some(reason) = self.unfed else { return false };
        markets.counters.snapshots_refused += 1;
        markets.want_no_snapshot(index);
        emit.status(markets.get(index).id.get(), 0, StatusRecord::because(StatusKind::SnapshotRefused, reason));
        true
    }

    /// Drops what was kept for a snapshot.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        self.kept_levels = 0;
        self.behind = None;
        self.waiting.clear();
        self.dispute.clear();
    }

    /// The instrument's units are others from here on, and what was kept in the old ones means nothing.
    pub(super) fn rescale(&mut self) {
        self.forget();
        self.tickers = Tickers::default();
    }

    #[inline]
    const fn step(&self, change: &Change<'_>) -> Step {
        let Some(Received { ts_event, previous, first, last }) = self.received else { return Step::Follows };
        if change.previous == last {
            Step::Follows
        } else if change.first == first && change.last == last {
            Step::Repeats
        } else if change.last <= previous && change.ts_event <= ts_event && self.older < self.rules.behind_max {
            Step::Older
        } else {
            Step::Breaks
        }
    }

    /// A depth message.
    #[inline]
    pub(super) fn on_change<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        change: &Change<'_>,
        emit: &mut Emitter<'_, S>,
    ) {
        match self.step(change) {
            Step::Follows => {
                if self.received.is_some() {
                    markets.oracles.count(Oracle::BinanceDepthChain, true);
                }
            }
            Step::Repeats => {
                markets.counters.duplicates += 1;
                return;
            }
            Step::Older => {
                self.older += 1;
                markets.counters.duplicates += 1;
                return;
            }
            Step::Breaks => self.on_gap(markets, index, change, emit),
        }
        let Change { ts_event, previous, first, last, .. } = *change;
        self.received = Some(Received { ts_event, previous, first, last });
        self.older = 0;
        self.unfed = None;
        self.advance(markets, index, change, emit);
    }

    /// Does with a message that is in sequence what the state of the book asks for.
    #[inline]
    fn advance<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        change: &Change<'_>,
        emit: &mut Emitter<'_, S>,
    ) {
        let state = markets.get(index).state;
        if state != BookState::Usable {
            self.keep(markets, index, change, emit);
        }
        if state == BookState::Waiting {
            markets.want_snapshot(index, StatusKind::Started, change.ts_event, emit);
        } else if self.behind.is_some() {
            self.on_change_behind_snapshot(markets, index, change, emit);
        } else {
            self.apply(markets, index, change, emit);
        }
    }

    #[cold]
    fn on_gap<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        change: &Change<'_>,
        emit: &mut Emitter<'_, S>,
    ) {
        let expected = self.received.map_or(0, |received| received.last + 1);
        markets.oracles.count(Oracle::BinanceDepthChain, false);
        markets.counters.gaps += 1;
        let status = StatusRecord {
            expected,
            found: change.previous + 1,
            count: (change.previous + 1).saturating_sub(expected),
            ..StatusRecord::of(StatusKind::Gap)
        };
        emit.status(markets.get(index).id.get(), change.ts_event, status);
        // What lies before the gap cannot stand on a snapshot any more.
        self.forget();
        markets.lose_book(index, StatusKind::Gap, change.ts_event, true, emit);
    }

    /// The first changes behind a snapshot: those it contains are dropped, the next must reach across its id.
    fn on_change_behind_snapshot<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        change: &Change<'_>,
        emit: &mut Emitter<'_, S>,
    ) {
        let book = markets.get(index).venue_sequence;
        let behind = self.behind.unwrap_or(0);
        if change.last <= book {
            self.behind = Some(behind + 1);
            if behind == self.rules.behind_max {
                let status = StatusRecord {
                    expected: book,
                    found: change.last,
                    ..StatusRecord::because(StatusKind::SnapshotRefused, StatusKind::SnapshotAhead)
                };
                self.forget();
                markets.lose_book(index, StatusKind::SnapshotAhead, change.ts_event, false, emit);
                markets.refuse_snapshot(index, status, emit);
            }
        } else if change.previous <= book {
            self.behind = None;
            self.apply(markets, index, change, emit);
        } else {
            let status = StatusRecord {
                expected: change.previous,
                found: book,
                ..StatusRecord::of(StatusKind::SnapshotRefused)
            };
            self.forget();
            markets.lose_book(index, StatusKind::SnapshotRefused, change.ts_event, false, emit);
            self.keep(markets, index, change, emit);
            markets.refuse_snapshot(index, status, emit);
        }
    }

    /// Applies an accepted message, checks the result, writes it.
    #[inline]
    fn apply<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        change: &Change<'_>,
        emit: &mut Emitter<'_, S>,
    ) {
        let market = markets.get(index);
        for level in change.bids {
            market.book.apply(Side::Bid, level.price, level.size);
        }
        for level in change.asks {
            market.book.apply(Side::Ask, level.price, level.size);
        }
        if market.book.is_crossed() {
            self.forget();
            markets.lose_book(index, StatusKind::Crossed, change.ts_event, true, emit);
            return;
        }
        market.venue_sequence = change.last;
        let ours = Top::of(&market.book);
        if market.state != BookState::Usable {
            self.dispute.resolve(Side::Bid, change.bids);
            self.dispute.resolve(Side::Ask, change.asks);
        }
        let held = match self.rules.tickers {
            TickerTime::Before => self
                .tickers
                .compare(change.last, ours)
                .is_none_or(|compared| self.compare(markets, index, change.ts_event, compared, emit)),
            TickerTime::Around => {
                self.waiting.push(change.last, ours);
                self.compare_waiting(markets, index, change.ts_event, emit)
            }
        };
        if !held && self.kept.is_empty() {
            self.keep(markets, index, change, emit);
        }
        markets.emit_depth(
            index,
            change.ts_event,
            false,
            [(Side::Bid, change.bids), (Side::Ask, change.asks), (Side::Bid, &[]), (Side::Ask, &[])],
            emit,
        );
    }

    /// Counts a comparison and draws the consequence; returns whether it held.
    #[inline]
    fn compare<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        ts_event: i64,
        compared: Compared,
        emit: &mut Emitter<'_, S>,
    ) -> bool {
        let agrees = compared.ours == compared.venues;
        markets.oracles.count(Oracle::BinanceBookTicker, agrees);
        if !agrees || markets.get(index).state != BookState::Usable {
            self.on_doubt(markets, index, ts_event, compared, emit);
        }
        agrees
    }

    /// A disagreement, or a comparison while an earlier one stands.
    #[cold]
    fn on_doubt<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        ts_event: i64,
        Compared { sequence, ours, update_id, venues }: Compared,
        emit: &mut Emitter<'_, S>,
    ) {
        if ours != venues {
            self.dispute.add(ours, venues);
            let status =
                StatusRecord { expected: update_id, found: sequence, ..StatusRecord::of(StatusKind::OracleDisagrees) };
            emit.status(markets.get(index).id.get(), ts_event, status);
            markets.change_state(index, BookState::Suspect, StatusKind::OracleDisagrees, ts_event, emit);
            markets.want_snapshot(index, StatusKind::OracleDisagrees, ts_event, emit);
        } else if markets.get(index).state == BookState::Suspect && self.dispute.is_resolved() {
            markets.change_state(index, BookState::Unproven, StatusKind::OracleAgrees, ts_event, emit);
        }
    }

    /// Keeps a message for a snapshot to come; drops the oldest when there are too many.
    fn keep<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        change: &Change<'_>,
        emit: &mut Emitter<'_, S>,
    ) {
        let Change { ts_event, previous, first, last, bids, asks } = *change;
        self.kept_levels += bids.len() + asks.len();
        self.kept.push_back(Kept { ts_event, previous, first, last, bids: bids.into(), asks: asks.into() });
        let mut dropped = 0;
        while self.kept.len() > KEPT_MAX || self.kept_levels > KEPT_LEVELS_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_levels -= oldest.bids.len() + oldest.asks.len();
            dropped += 1;
        }
        if dropped > 0 {
            markets.counters.kept_dropped += dropped;
            // While the book is only in doubt, dropping costs nothing but a snapshot of that age.
            if markets.get(index).state == BookState::Waiting {
                let status = StatusRecord { count: dropped, ..StatusRecord::of(StatusKind::BufferFull) };
                emit.status(markets.get(index).id.get(), ts_event, status);
            }
        }
    }

    /// A REST snapshot.
    pub(super) fn on_snapshot<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        ts_event: i64,
        (last_update_id, bids, asks): (u64, &[Level], &[Level]),
        emit: &mut Emitter<'_, S>,
    ) {
        let market = markets.get(index);
        if market.state == BookState::Usable && last_update_id <= market.venue_sequence {
            // The book is whole and further on.
            markets.counters.snapshots_unneeded += 1;
            return;
        }
        // Changes that are not kept cannot be put on it: then it must have all that was ever received.
        let needed = match (self.kept.iter().find(|kept| kept.last > last_update_id), self.received) {
            (Some(kept), _) => kept.previous,
            (None, Some(received)) => received.last,
            (None, None) => self.left_off.max(market.venue_sequence),
        };
        // A market of this venue has orders on both sides: an answer without them is the venue's trouble, not its book.
        let refused = if bids.is_empty() || asks.is_empty() {
            Some(StatusRecord::because(StatusKind::SnapshotRefused, StatusKind::Malformed))
        } else if !is_best_first(bids, asks) {
            Some(StatusRecord::because(StatusKind::SnapshotRefused, StatusKind::OutOfOrder))
        } else if let (Some(bid), Some(ask)) = (bids.first(), asks.first())
            && bid.price >= ask.price
        {
            Some(StatusRecord::because(StatusKind::SnapshotRefused, StatusKind::Crossed))
        } else if last_update_id < needed {
            Some(StatusRecord { expected: needed, ..StatusRecord::of(StatusKind::SnapshotRefused) })
        } else {
            None
        };
        if let Some(status) = refused {
            markets.refuse_snapshot(index, StatusRecord { found: last_update_id, ..status }, emit);
            return;
        }
        let market = markets.get(index);
        market.book.clear();
        for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
            for level in levels {
                market.book.apply(side, level.price, level.size);
            }
        }
        market.venue_sequence = last_update_id;
        self.behind = Some(0);
        self.waiting.clear();
        self.dispute.clear();
        markets.snapshot_applied(index, bids.len() + asks.len(), ts_event, emit);
        markets.emit_depth(
            index,
            ts_event,
            true,
            [(Side::Bid, bids), (Side::Ask, asks), (Side::Bid, &[]), (Side::Ask, &[])],
            emit,
        );
        // The records of kept changes belong to this message: only now can their book be known.
        let kept = std::mem::take(&mut self.kept);
        self.kept_levels = 0;
        for Kept { ts_event, previous, first, last, bids, asks } in kept {
            if last <= last_update_id {
                continue;
            }
            let change = Change { ts_event, previous, first, last, bids: &bids, asks: &asks };
            self.advance(markets, index, &change, emit);
        }
    }
}
