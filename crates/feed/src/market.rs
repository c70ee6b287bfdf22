//! What the engine knows of one instrument, and how records about it are written.
//!
//! Venue dialects decide what to apply and when a book may be used; everything they do to an instrument goes through
//! here, so that both emit the same records in the same way.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use tidebook_book::{DepthBook, Level, Side};
use tidebook_types::records::{ACTION_CLEAR, ACTION_SET, FLAG_BACKFILL, FLAG_DERIVED, FLAG_LAST, FLAG_SNAPSHOT};
use tidebook_types::records::{BOOK_IMAGE_LEVELS, FLAG_UNKNOWN_ORDER, FLAG_UNPROVEN, SIDE_NONE};
use tidebook_types::units::{EXPONENT_MAX, parse_units};
use tidebook_types::{Bar, BookImage, Depth, Exponent, Instrument, InstrumentId, Order, Quote, Status, Trade, Venue};

use crate::bars::{BarState, BarTrade, Bars, SECOND_NS};
use crate::decimal::significant_decimals;
use crate::engine::{Counters, FeedOptions};
use crate::oracles::{Oracle, Oracles};
use crate::orders::OrderLine;
use crate::saved::{Input, Saved, SavedError, name_of, save_field, saved};
use crate::sink::{RecordSink, Stage};
use crate::status::StatusKind;
use crate::trades::{TradeIds, TradeStep};

/// A live trade whose venue time is further than this from its receive time says nothing about a minute.
const TRADE_CLOCKS_DIFFER_NS: i64 = 3_600_000_000_000;

/// Longest name of an instrument, as `Instrument::symbol` holds it.
const NAME_BYTES_MAX: usize = 40;

/// Longer than a connector needs for a snapshot it was asked for.
const WANTED_AGAIN_AFTER_NS: u64 = 15_000_000_000;

/// How long a venue may tell best prices that are not those of a book which no message changes: longer than any venue
/// leaves between a change and its message.
const LEFT_BEHIND_AFTER_NS: i64 = 5_000_000_000;

/// Whether a book may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BookState {
    /// No snapshot yet, or none since messages were lost.
    Waiting,
    /// In sequence and never contradicted.
    Usable,
    /// In sequence, but an oracle disagrees now.
    Suspect,
    /// In sequence; an oracle disagreed since the last snapshot and agrees again.
    Unproven,
}

saved!(BookState: Waiting = 0, Usable = 1, Suspect = 2, Unproven = 3);

impl BookState {
    pub(crate) const fn is_usable(self) -> bool {
        matches!(self, Self::Usable | Self::Unproven)
    }

    /// Flag of records made in this state.
    pub(crate) const fn flag(self) -> u8 {
        match self {
            Self::Suspect | Self::Unproven => FLAG_UNPROVEN,
            Self::Waiting | Self::Usable => 0,
        }
    }
}

/// Best level of each side; a missing one has size 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Top {
    pub(crate) bid: Level,
    pub(crate) ask: Level,
}

saved!(Top { bid, ask });

impl Top {
    pub(crate) const EMPTY: Self = Self { bid: NO_LEVEL, ask: NO_LEVEL };

    #[inline]
    pub(crate) fn of(book: &DepthBook) -> Self {
        let best = |side| book.best(side).unwrap_or(NO_LEVEL);
        Self { bid: best(Side::Bid), ask: best(Side::Ask) }
    }

    pub(crate) const fn level(&self, side: Side) -> Level {
        match side {
            Side::Bid => self.bid,
            Side::Ask => self.ask,
        }
    }
}

/// Whether a snapshot's levels stand best first, each price once.
pub(crate) fn is_best_first(bids: &[Level], asks: &[Level]) -> bool {
    bids.windows(2).all(|pair| pair[0].price > pair[1].price)
        && asks.windows(2).all(|pair| pair[0].price < pair[1].price)
}

/// Price and size steps of an instrument, each in units of its own exponent; 0 where not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Steps {
    pub(crate) tick: (i64, Exponent),
    pub(crate) lot: (i64, Exponent),
}

saved!(Steps { tick, lot });

impl Steps {
    /// Those of decimal texts; an empty text is a step that is not known. `None` when one is no decimal.
    pub(crate) fn parse(tick: &[u8], lot: &[u8]) -> Option<Self> {
        let step = |text: &[u8]| {
            if text.is_empty() {
                return Some((0, 0));
            }
            let exponent = significant_decimals(text);
            let units = if exponent > EXPONENT_MAX { None } else { parse_units(text, exponent).ok() };
            units.filter(|&units| units >= 0).map(|units| (units, exponent))
        };
        Some(Self { tick: step(tick)?, lot: step(lot)? })
    }

    /// Exponents that hold both steps and are not below those given.
    pub(crate) fn widened(self, (price_exp, size_exp): (Exponent, Exponent)) -> (Exponent, Exponent) {
        (price_exp.max(self.tick.1), size_exp.max(self.lot.1))
    }
}

/// A step in units of another exponent; 0 where that cannot hold it.
fn rescaled((units, from): (i64, Exponent), to: Exponent) -> i64 {
    let power = |exponent: Exponent| 10i64.checked_pow(exponent.into()).unwrap_or(0);
    if to >= from {
        return units.checked_mul(power(to - from)).unwrap_or(0);
    }
    let divisor = power(from - to);
    if divisor != 0 && units % divisor == 0 { units / divisor } else { 0 }
}

pub(crate) const NO_LEVEL: Level = Level { price: 0, size: 0 };

/// One instrument.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    pub(crate) id: InstrumentId,
    pub(crate) symbol: Box<[u8]>,
    /// See [`Venue::instrument_name`].
    name: Box<[u8]>,
    /// 0 until the exponents are known.
    pub(crate) version: u32,
    pub(crate) price_exp: Exponent,
    pub(crate) size_exp: Exponent,
    steps: Steps,
    pub(crate) book: DepthBook,
    pub(crate) state: BookState,
    pub(crate) venue_sequence: u64,
    /// Connection of the last depth message.
    pub(crate) connection: u32,
    /// Whether a snapshot was asked for and has not come.
    wanted: bool,
    /// When it was asked for last, by our clock.
    wanted_at: i64,
    /// Whether one ever became the book.
    had_snapshot: bool,
    /// Top of the last derived quote.
    top: Top,
    /// Since when the venue tells other best prices than the book's, while no message changes it.
    apart_since: Option<i64>,
    pub(crate) trade_ids: TradeIds,
    pub(crate) bars: Bars,
    dirty: bool,
    /// Clocks and place of the last change of the book.
    changed: (i64, i64, u64),
}

saved!(Market {
    id, symbol, version, price_exp, size_exp, steps, book, state, venue_sequence, connection, wanted, wanted_at,
    had_snapshot, top, apart_since, trade_ids, bars, changed,
} without {
    // Both are given by those who load all instruments.
    name: Box::default(),
    dirty: false,
});

impl Hash for Market {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self {
            id,
            symbol,
            // Follows from the symbol.
            name: _,
            version,
            price_exp,
            size_exp,
            steps,
            book,
            state,
            venue_sequence,
            connection,
            wanted,
            wanted_at,
            had_snapshot,
            top,
            apart_since,
            trade_ids,
            bars,
            // Which images are due, and of what, is a matter of who drains them.
            dirty: _,
            changed: _,
        } = self;
        (id, symbol, version, price_exp, size_exp, steps, book.state_hash(), state).hash(hasher);
        (venue_sequence, connection, wanted, wanted_at, had_snapshot, top, apart_since, trade_ids, bars).hash(hasher);
    }
}

/// A public trade as decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    pub(crate) ts_event: i64,
    pub(crate) trade_id: u64,
    pub(crate) price: i64,
    pub(crate) size: i64,
    pub(crate) side: i8,
    pub(crate) flags: u8,
}

impl Print {
    /// A number that two trades under one id hardly share.
    const fn content(&self) -> u64 {
        let mixed = (self.ts_event as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.price as u64;
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.size as u64
    }
}

/// FNV-1a: symbols are short, and nothing ever walks the map.
#[derive(Default)]
pub(crate) struct SymbolHasher(u64);

impl Hasher for SymbolHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    fn finish(&self) -> u64 {
        // FNV's low bits depend on low bits only; the table takes its position from both ends.
        self.0 ^ (self.0 >> 32)
    }
}

/// Name of an instrument; `None` when the symbol cannot be one's.
fn name_of(venue: Venue, symbol: &[u8]) -> Option<Box<[u8]>> {
    let plain = symbol.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte));
    let symbol = std::str::from_utf8(symbol).ok().filter(|symbol| !symbol.is_empty() && plain)?;
    let name = venue.instrument_name(symbol).into_bytes();
    (name.len() <= NAME_BYTES_MAX).then(|| name.into())
}

/// All instruments of a feed and what is counted over them.
pub(crate) struct Markets {
    pub(crate) venue: Venue,
    pub(crate) options: FeedOptions,
    pub(crate) counters: Counters,
    pub(crate) oracles: Oracles,
    all: Vec<Market>,
    by_symbol: HashMap<Box<[u8]>, usize, BuildHasherDefault<SymbolHasher>>,
    /// Found last; most messages are about the instrument of the message before.
    recent: usize,
    dirty: Vec<usize>,
}

impl Saved for Markets {
    fn layout(text: &mut String) {
        text.push_str("Markets{");
        <(Venue, FeedOptions, Counters)>::layout(text);
        <(Oracles, Vec<Market>, Vec<usize>)>::layout(text);
        text.push('}');
    }
    fn save(&self, out: &mut Vec<u8>) {
        let Self { venue, options, counters, oracles, all, by_symbol: _, recent: _, dirty } = self;
        venue.save(out);
        options.save(out);
        counters.save(out);
        oracles.save(out);
        save_field(all, out, name_of!(Markets.all));
        save_field(dirty, out, name_of!(Markets.dirty));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let mut markets = Self::new(Venue::load(input)?, FeedOptions::load(input)?);
        markets.counters = Counters::load(input)?;
        markets.oracles = Oracles::load(input)?;
        markets.all = Vec::load(input)?;
        markets.dirty = Vec::load(input)?;
        let Self { venue, all, by_symbol, dirty, .. } = &mut markets;
        for (index, market) in all.iter_mut().enumerate() {
            let twice = by_symbol.insert(market.symbol.clone(), index).is_some();
            let is_its_own = market.id.index() == index && market.id.get() >> 24 == *venue as u32;
            let name = name_of(*venue, &market.symbol).filter(|_| is_its_own && !twice);
            market.name = name.ok_or(input.error("an instrument that cannot be"))?;
        }
        for index in dirty {
            let market = all.get_mut(*index).filter(|market| !market.dirty);
            market.ok_or(input.error("a change of no instrument"))?.dirty = true;
        }
        Ok(markets)
    }
}

impl Hash for Markets {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The indices follow from the instruments. Of what is counted, these are told in records of health.
        let Self { venue, options, counters, oracles: _, all, by_symbol: _, recent: _, dirty: _ } = self;
        let Counters { gaps, resyncs, malformed, .. } = counters;
        (venue, options, gaps, resyncs, malformed, all).hash(state);
    }
}

impl Markets {
    pub(crate) fn new(venue: Venue, options: FeedOptions) -> Self {
        // The last index is no instrument's.
        let instruments_max = options.instruments_max.min(InstrumentId::INDEX_MAX as usize);
        Self {
            venue,
            options: FeedOptions { instruments_max, ..options },
            counters: Counters::default(),
            oracles: Oracles::default(),
            all: Vec::new(),
            by_symbol: HashMap::default(),
            recent: 0,
            dirty: Vec::new(),
        }
    }

    pub(crate) fn all(&self) -> &[Market] {
        &self.all
    }

    #[inline]
    pub(crate) fn get(&mut self, index: usize) -> &mut Market {
        &mut self.all[index]
    }

    /// Index of the instrument with this venue symbol.
    #[inline]
    pub(crate) fn find(&self, symbol: &[u8]) -> Option<usize> {
        match self.all.get(self.recent) {
            Some(market) if *market.symbol == *symbol => Some(self.recent),
            _ => self.by_symbol.get(symbol).copied(),
        }
    }

    /// Exponents in force for the symbol, or what the venue usually has.
    pub(crate) fn exponents(&self, symbol: &[u8], default: (Exponent, Exponent)) -> (Exponent, Exponent) {
        self.exponents_in_force(symbol).unwrap_or(default)
    }

    /// Exponents in force for the symbol; `None` before it has any.
    #[inline]
    pub(crate) fn exponents_in_force(&self, symbol: &[u8]) -> Option<(Exponent, Exponent)> {
        let market = self.find(symbol).map(|index| &self.all[index]).filter(|market| market.version > 0)?;
        Some((market.price_exp, market.size_exp))
    }

    /// Index of the instrument, made if it is new; `None` when the symbol cannot be one or the bound is reached.
    #[inline]
    pub(crate) fn find_or_open(&mut self, symbol: &[u8]) -> Option<usize> {
        let index = match self.find(symbol) {
            Some(index) => index,
            None => self.open(symbol)?,
        };
        self.recent = index;
        Some(index)
    }

    #[cold]
    fn open(&mut self, symbol: &[u8]) -> Option<usize> {
        let name = name_of(self.venue, symbol);
        let Some(name) = name.filter(|_| self.all.len() < self.options.instruments_max) else {
            self.counters.instruments_refused += 1;
            return None;
        };
        let index = self.all.len();
        self.all.push(Market {
            id: InstrumentId::new(self.venue, u32::try_from(index).ok()?),
            symbol: symbol.into(),
            name,
            version: 0,
            price_exp: 0,
            size_exp: 0,
            steps: Steps::default(),
            book: DepthBook::new(),
            state: BookState::Waiting,
            venue_sequence: 0,
            connection: 0,
            wanted: false,
            wanted_at: 0,
            had_snapshot: false,
            top: Top::EMPTY,
            apart_since: None,
            trade_ids: TradeIds::new(),
            bars: Bars::new(self.options.closed_bars_max),
            dirty: false,
            changed: (0, 0, 0),
        });
        self.by_symbol.insert(symbol.into(), index);
        Some(index)
    }

    /// Instruments whose book changed since the last call, each with the message that changed it last.
    pub(crate) fn drain_dirty(&mut self, mut each: impl FnMut(u64, InstrumentId)) {
        for &index in &self.dirty {
            let market = &mut self.all[index];
            market.dirty = false;
            each(market.changed.2, market.id);
        }
        self.dirty.clear();
    }
}

/// Writes the records of one message.
pub(crate) struct Emitter<'s, S> {
    pub(crate) sink: &'s mut S,
    pub(crate) venue: Venue,
    pub(crate) sequence: u64,
    pub(crate) ts_recv: i64,
    /// Records written so far.
    pub(crate) index: u32,
    /// Venue's time of the message, from its first record that tells it; 0 before.
    pub(crate) ts_event: i64,
}

impl<S: RecordSink> Emitter<'_, S> {
    /// Tells how far the message has come; `ts_event` 0 where the venue's time says nothing of now.
    #[inline]
    pub(crate) fn reached(&mut self, stage: Stage, ts_event: i64) {
        if self.ts_event == 0 {
            self.ts_event = ts_event;
        }
        self.sink.reached(stage, ts_event);
    }

    #[inline]
    pub(crate) const fn next(&mut self) -> u32 {
        let index = self.index;
        self.index += 1;
        index
    }

    /// Writes a status record; `instrument_id` 0 says that it concerns the whole feed.
    pub(crate) fn status(&mut self, instrument_id: u32, ts_event: i64, status: StatusRecord) {
        let instrument_id = match instrument_id {
            0 => InstrumentId::whole_feed(self.venue).get(),
            id => id,
        };
        let record = Status {
            ts_event,
            ts_recv: self.ts_recv,
            source_sequence: self.sequence,
            source_index: self.next(),
            instrument_id,
            kind: status.kind as u8,
            reason: status.reason.map_or(0, |reason| reason as u8),
            reserved: [0; 6],
            expected: status.expected,
            found: status.found,
            count: status.count,
        };
        self.sink.status(&record);
    }
}

/// Fields of a status record that differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusRecord {
    pub(crate) kind: StatusKind,
    pub(crate) reason: Option<StatusKind>,
    pub(crate) expected: u64,
    pub(crate) found: u64,
    pub(crate) count: u64,
}

impl StatusRecord {
    pub(crate) const fn of(kind: StatusKind) -> Self {
        Self { kind, reason: None, expected: 0, found: 0, count: 0 }
    }

    pub(crate) const fn because(kind: StatusKind, reason: StatusKind) -> Self {
        Self { reason: Some(reason), ..Self::of(kind) }
    }
}

impl Markets {
    /// Gives an instrument exponents; a change of those in force is a new version and drops the book. Bars go on in the
    /// new units, or begin anew where these cannot hold them.
    pub(crate) fn set_exponents<S: RecordSink>(
        &mut self,
        index: usize,
        (price_exp, size_exp): (Exponent, Exponent),
        emit: &mut Emitter<'_, S>,
    ) {
        let market = &mut self.all[index];
        if market.version > 0 && (market.price_exp, market.size_exp) == (price_exp, size_exp) {
            return;
        }
        let changed = market.version > 0;
        let digits = |from: Exponent, to: Exponent| i32::from(to) - i32::from(from);
        let more = (digits(market.price_exp, price_exp), digits(market.size_exp, size_exp));
        (market.price_exp, market.size_exp) = (price_exp, size_exp);
        self.announce(index, emit);
        if changed {
            self.counters.precision_changes += 1;
            let market = &mut self.all[index];
            emit.status(market.id.get(), 0, StatusRecord::of(StatusKind::PrecisionChanged));
            market.bars.rescale(more);
            market.book.clear();
            if market.state != BookState::Waiting {
                self.lose_book(index, StatusKind::PrecisionChanged, 0, true, emit);
            }
        }
    }

    /// Gives an instrument steps; a change is a new version, which leaves book and bars as they are.
    pub(crate) fn set_steps<S: RecordSink>(&mut self, index: usize, steps: Steps, emit: &mut Emitter<'_, S>) {
        let market = &mut self.all[index];
        if std::mem::replace(&mut market.steps, steps) != steps && market.version > 0 {
            self.announce(index, emit);
        }
    }

    /// Writes the next version of an instrument's definition.
    fn announce<S: RecordSink>(&mut self, index: usize, emit: &mut Emitter<'_, S>) {
        let market = &mut self.all[index];
        market.version += 1;
        let mut symbol = [0; NAME_BYTES_MAX];
        symbol[..market.name.len()].copy_from_slice(&market.name);
        let record = Instrument {
            ts_event: 0,
            ts_recv: emit.ts_recv,
            source_sequence: emit.sequence,
            source_index: emit.next(),
            instrument_id: market.id.get(),
            symbol,
            instrument_version: market.version,
            price_exp: market.price_exp,
            size_exp: market.size_exp,
            reserved: [0; 2],
            tick: rescaled(market.steps.tick, market.price_exp),
            lot: rescaled(market.steps.lot, market.size_exp),
        };
        emit.sink.instrument(&record);
    }

    /// The book may not be used from here to the next snapshot.
    pub(crate) fn lose_book<S: RecordSink>(
        &mut self,
        index: usize,
        reason: StatusKind,
        ts_event: i64,
        want_snapshot: bool,
        emit: &mut Emitter<'_, S>,
    ) {
        self.change_state(index, BookState::Waiting, reason, ts_event, emit);
        if want_snapshot {
            self.want_snapshot(index, reason, ts_event, emit);
        }
    }

    /// Moves the book to another state and says so when that changes whether it may be used.
    pub(crate) fn change_state<S: RecordSink>(
        &mut self,
        index: usize,
        state: BookState,
        reason: StatusKind,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) {
        let market = &mut self.all[index];
        let (was, is) = (market.state.is_usable(), state.is_usable());
        market.state = state;
        if was == is {
            return;
        }
        // The next derived quote must be given whatever the last one said.
        market.top = Top::EMPTY;
        let kind = if is { StatusKind::BookUsable } else { StatusKind::BookUnusable };
        emit.status(market.id.get(), ts_event, StatusRecord::because(kind, reason));
        self.mark_dirty(index, ts_event, emit.ts_recv, emit.sequence);
    }

    /// Asks for a snapshot, once until one comes, and again when none came for a while: what a connector saw come may
    /// have come damaged.
    pub(crate) fn want_snapshot<S: RecordSink>(
        &mut self,
        index: usize,
        reason: StatusKind,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) {
        let market = &mut self.all[index];
        if market.wanted && emit.ts_recv.abs_diff(market.wanted_at) < WANTED_AGAIN_AFTER_NS {
            return;
        }
        market.wanted = true;
        market.wanted_at = emit.ts_recv;
        emit.status(market.id.get(), ts_event, StatusRecord::because(StatusKind::SnapshotWanted, reason));
    }

    /// Takes in best prices that the venue told; `differs` compares the book's top with them. Says whether they have
    /// differed for so long, while no message changed the book, that its changes must be lost.
    #[inline]
    pub(crate) fn is_left_behind(&mut self, index: usize, differs: impl Fn(Top) -> bool, ts_recv: i64) -> bool {
        let market = &mut self.all[index];
        if market.state == BookState::Waiting || !differs(Top::of(&market.book)) {
            market.apart_since = None;
            return false;
        }
        let since = *market.apart_since.get_or_insert(ts_recv);
        ts_recv.saturating_sub(since) >= LEFT_BEHIND_AFTER_NS
    }

    /// Takes in the best prices of a ticker that is no part of the book's stream, and loses a book that was left behind.
    pub(crate) fn hold_against_ticker<S: RecordSink>(
        &mut self,
        index: usize,
        ts_event: i64,
        (top, sequence): (Top, u64),
        emit: &mut Emitter<'_, S>,
    ) {
        let differs = |ours: Top| {
            let other = |side| top.level(side).price != 0 && top.level(side).price != ours.level(side).price;
            Side::BOTH.into_iter().any(other)
        };
        if self.is_left_behind(index, differs, emit.ts_recv) {
            self.leave_behind(index, (ts_event, sequence), true, emit);
        }
    }

    /// The changes of the book do not come, as the venue's own best prices show: it waits.
    #[cold]
    pub(crate) fn leave_behind<S: RecordSink>(
        &mut self,
        index: usize,
        (ts_event, told): (i64, u64),
        want_snapshot: bool,
        emit: &mut Emitter<'_, S>,
    ) {
        let market = &mut self.all[index];
        market.apart_since = None;
        let kind = StatusRecord::of(StatusKind::OracleDisagrees);
        emit.status(market.id.get(), ts_event, StatusRecord { expected: told, found: market.venue_sequence, ..kind });
        self.lose_book(index, StatusKind::OracleDisagrees, ts_event, want_snapshot, emit);
    }

    /// No snapshot is wanted any more, whether or not one was asked for.
    pub(crate) fn want_no_snapshot(&mut self, index: usize) {
        self.all[index].wanted = false;
    }

    /// A message came damaged. It may have been the snapshot that a waiting book wanted, so each that does wants it anew:
    /// whoever fetches snapshots saw one come.
    #[cold]
    pub(crate) fn want_again_after_damage<S: RecordSink>(&mut self, emit: &mut Emitter<'_, S>) {
        for index in 0..self.all.len() {
            let market = &mut self.all[index];
            if market.state == BookState::Waiting && std::mem::take(&mut market.wanted) {
                self.want_snapshot(index, StatusKind::Malformed, 0, emit);
            }
        }
    }

    /// An update came for a book that waits: asks again when a snapshot was asked for long ago.
    pub(crate) fn remind<S: RecordSink>(
        &mut self,
        index: usize,
        reason: StatusKind,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) {
        if self.all[index].wanted {
            self.want_snapshot(index, reason, ts_event, emit);
        }
    }

    /// A snapshot came and was no use: says why and asks again.
    pub(crate) fn refuse_snapshot<S: RecordSink>(
        &mut self,
        index: usize,
        status: StatusRecord,
        emit: &mut Emitter<'_, S>,
    ) {
        self.counters.snapshots_refused += 1;
        let market = &mut self.all[index];
        market.wanted = false;
        emit.status(market.id.get(), 0, status);
        self.want_snapshot(index, StatusKind::SnapshotRefused, 0, emit);
    }

    /// The book now holds a snapshot; says so.
    pub(crate) fn snapshot_applied<S: RecordSink>(
        &mut self,
        index: usize,
        levels: usize,
        ts_event: i64,
        emit: &mut Emitter<'_, S>,
    ) {
        self.counters.snapshots_applied += 1;
        let market = &mut self.all[index];
        market.wanted = false;
        self.counters.resyncs += u64::from(std::mem::replace(&mut market.had_snapshot, true));
        let status = StatusRecord {
            found: market.venue_sequence,
            count: levels as u64,
            ..StatusRecord::of(StatusKind::SnapshotApplied)
        };
        emit.status(market.id.get(), ts_event, status);
        self.change_state(index, BookState::Usable, StatusKind::SnapshotApplied, ts_event, emit);
    }

    fn mark_dirty(&mut self, index: usize, ts_event: i64, ts_recv: i64, sequence: u64) {
        let market = &mut self.all[index];
        market.changed = (ts_event, ts_recv, sequence);
        if !std::mem::replace(&mut market.dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Writes the level changes of one accepted message and, when the book may be used, a changed top.
    #[inline]
    pub(crate) fn emit_depth<S: RecordSink>(
        &mut self,
        index: usize,
        ts_event: i64,
        snapshot: bool,
        changes: [(Side, &[Level]); 4],
        emit: &mut Emitter<'_, S>,
    ) {
        emit.reached(Stage::Booked, if snapshot { 0 } else { ts_event });
        self.all[index].apart_since = None;
        let market = &self.all[index];
        let flags = market.state.flag() | if snapshot { FLAG_SNAPSHOT } else { 0 };
        let mut left = changes.iter().map(|(_, levels)| levels.len()).sum::<usize>();
        self.counters.depth_messages += 1;
        self.counters.depth_levels += left as u64;
        let mut record = Depth {
            ts_event,
            ts_recv: emit.ts_recv,
            source_sequence: emit.sequence,
            source_index: 0,
            instrument_id: market.id.get(),
            price: 0,
            size: 0,
            venue_sequence: market.venue_sequence,
            side: SIDE_NONE,
            action: ACTION_CLEAR,
            flags: flags | if left == 0 { FLAG_LAST } else { 0 },
            price_exp: market.price_exp,
            size_exp: market.size_exp,
            reserved: [0; 3],
        };
        if snapshot {
            record.source_index = emit.next();
            emit.sink.depth(&record);
        }
        record.action = ACTION_SET;
        record.flags = flags;
        for (side, levels) in changes {
            record.side = side.code();
            for level in levels {
                left -= 1;
                if left == 0 {
                    record.flags |= FLAG_LAST;
                }
                record.source_index = emit.next();
                record.price = level.price;
                record.size = level.size;
                emit.sink.depth(&record);
            }
        }
        self.emit_top(index, ts_event, emit);
        self.mark_dirty(index, ts_event, emit.ts_recv, emit.sequence);
    }

    /// Writes the top of a usable book when it differs from the last one written.
    #[inline]
    fn emit_top<S: RecordSink>(&mut self, index: usize, ts_event: i64, emit: &mut Emitter<'_, S>) {
        let market = &mut self.all[index];
        let top = Top::of(&market.book);
        if !market.state.is_usable() || top == market.top {
            return;
        }
        market.top = top;
        self.counters.quotes_derived += 1;
        let flags = FLAG_DERIVED | market.state.flag();
        let sequence = market.venue_sequence;
        self.emit_quote(index, ts_event, top, sequence, flags, emit);
    }

    /// Writes a top of book.
    pub(crate) fn emit_quote<S: RecordSink>(
        &self,
        index: usize,
        ts_event: i64,
        top: Top,
        venue_sequence: u64,
        flags: u8,
        emit: &mut Emitter<'_, S>,
    ) {
        // A quote that comes with its subscription is as old as it likes.
        emit.reached(Stage::Decoded, if flags & FLAG_SNAPSHOT == 0 { ts_event } else { 0 });
        let market = &self.all[index];
        let record = Quote {
            ts_event,
            ts_recv: emit.ts_recv,
            source_sequence: emit.sequence,
            source_index: emit.next(),
            instrument_id: market.id.get(),
            bid_price: top.bid.price,
            bid_size: top.bid.size,
            ask_price: top.ask.price,
            ask_size: top.ask.size,
            venue_sequence,
            flags,
            price_exp: market.price_exp,
            size_exp: market.size_exp,
            reserved: [0; 5],
        };
        emit.sink.quote(&record);
    }

    /// Writes what happened to one order; `last` when it is the last record of its message.
    #[inline]
    pub(crate) fn emit_order<S: RecordSink>(
        &mut self,
        index: usize,
        ts_event: i64,
        line: &OrderLine,
        last: bool,
        emit: &mut Emitter<'_, S>,
    ) {
        emit.reached(Stage::Booked, ts_event);
        let market = &self.all[index];
        self.counters.orders += 1;
        self.counters.orders_unknown += u64::from(line.flags & FLAG_UNKNOWN_ORDER != 0);
        let record = Order {
            ts_event,
            ts_recv: emit.ts_recv,
            source_sequence: emit.sequence,
            source_index: emit.next(),
            instrument_id: market.id.get(),
            order_id: line.order_id,
            price: line.price,
            size: line.size,
            remaining: line.remaining,
            venue_sequence: 0,
            side: line.side,
            action: line.action,
            flags: line.flags | if last { FLAG_LAST } else { 0 },
            price_exp: market.price_exp,
            size_exp: market.size_exp,
            reserved: [0; 3],
        };
        emit.sink.order(&record);
    }

    /// Checks the id, writes the trade and adds it to its bar; a duplicate does nothing but count.
    pub(crate) fn take_trade<S: RecordSink>(
        &mut self,
        index: usize,
        print: &Print,
        oracle: Oracle,
        emit: &mut Emitter<'_, S>,
    ) {
        let market = &mut self.all[index];
        let id = market.id.get();
        let step = market.trade_ids.step(print.trade_id, print.content());
        let status = match step {
            TradeStep::Duplicate => {
                self.counters.duplicates += 1;
                return;
            }
            TradeStep::First => None,
            TradeStep::Next => {
                self.oracles.count(oracle, true);
                None
            }
            TradeStep::Gap { expected, missing } => {
                self.oracles.count(oracle, false);
                self.counters.gaps += 1;
                let kind = StatusRecord::of(StatusKind::TradeGap);
                Some(StatusRecord { expected, found: print.trade_id, count: missing, ..kind })
            }
            TradeStep::Late { expected } => {
                self.oracles.count(oracle, false);
                self.counters.trades_late += 1;
                let kind = StatusRecord::of(StatusKind::TradeLate);
                Some(StatusRecord { expected, found: print.trade_id, ..kind })
            }
        };
        if let Some(status) = status {
            emit.status(id, print.ts_event, status);
        }
        if let TradeStep::Gap { .. } = step {
            self.doubt_bars(index, print.ts_event, emit);
        }
        if print.size == 0 {
            self.counters.trades_empty += 1;
            return;
        }
        self.take_trade_unchecked(index, print, emit);
    }

    /// Writes the trade and adds it to its bar: all that can be done where a venue gives trades no ids, or ids with holes.
    pub(crate) fn take_trade_unchecked<S: RecordSink>(
        &mut self,
        index: usize,
        print: &Print,
        emit: &mut Emitter<'_, S>,
    ) {
        let is_live = print.flags & (FLAG_SNAPSHOT | FLAG_BACKFILL) == 0;
        emit.reached(Stage::Decoded, if is_live { print.ts_event } else { 0 });
        let market = &self.all[index];
        let id = market.id.get();
        self.counters.trades += 1;
        let record = Trade {
            ts_event: print.ts_event,
            ts_recv: emit.ts_recv,
            source_sequence: emit.sequence,
            source_index: emit.next(),
            instrument_id: id,
            price: print.price,
            size: print.size,
            trade_id: print.trade_id,
            side: print.side,
            flags: print.flags,
            price_exp: market.price_exp,
            size_exp: market.size_exp,
            reserved: [0; 4],
        };
        emit.sink.trade(&record);
        // A venue that gives trades no time leaves ours to say which bar they are of.
        let ts_event = if print.ts_event == 0 { emit.ts_recv } else { print.ts_event };
        let ahead = ts_event.saturating_sub(emit.ts_recv);
        let off = ahead > TRADE_CLOCKS_DIFFER_NS
            || ahead < -TRADE_CLOCKS_DIFFER_NS && print.flags & (FLAG_SNAPSHOT | FLAG_BACKFILL) == 0;
        if off {
            self.counters.trades_off_clock += 1;
            return;
        }
        let flags = print.flags & FLAG_BACKFILL;
        let Print { trade_id, price, size, side, .. } = *print;
        let Self { venue, all, counters, .. } = self;
        let Market { bars, id, price_exp, size_exp, .. } = &mut all[index];
        let trade = BarTrade { ts_event, trade_id, price, size, side, flags };
        // Our own venue is known from its first order on.
        let is_first_of_all = *venue == Venue::Local && bars.is_new();
        let in_time = bars.add(&trade, |interval_s, bar| {
            counters.bar_revisions += 1;
            let record = bar_record(interval_s, bar, (id.get(), *price_exp, *size_exp), emit);
            emit.sink.bar(&record);
        });
        counters.trades_too_late += u64::from(!in_time);
        if is_first_of_all {
            bars.begin_whole();
        }
    }

    /// Trades were lost between the last one and one at `ts_event`.
    #[cold]
    pub(crate) fn doubt_bars<S: RecordSink>(&mut self, index: usize, ts_event: i64, emit: &mut Emitter<'_, S>) {
        let Self { all, counters, .. } = self;
        let Market { bars, id, price_exp, size_exp, .. } = &mut all[index];
        // Our time where the venue gives none, as for the bars, or one that cannot be.
        let is_none = ts_event == 0 || ts_event.saturating_sub(emit.ts_recv) > TRADE_CLOCKS_DIFFER_NS;
        let ts_event = if is_none { emit.ts_recv } else { ts_event };
        bars.doubt(ts_event, |interval_s, bar| {
            counters.bar_revisions += 1;
            let record = bar_record(interval_s, bar, (id.get(), *price_exp, *size_exp), emit);
            emit.sink.bar(&record);
        });
    }

    /// Closes the bars of one instrument.
    pub(crate) fn close_bars<S: RecordSink>(
        &mut self,
        index: usize,
        clock: i64,
        by_trade: bool,
        emit: &mut Emitter<'_, S>,
    ) {
        let Self { all, counters, .. } = self;
        let Market { bars, id, price_exp, size_exp, .. } = &mut all[index];
        bars.close_until(clock, by_trade, |interval_s, bar| {
            counters.bars += 1;
            let record = bar_record(interval_s, bar, (id.get(), *price_exp, *size_exp), emit);
            emit.sink.bar(&record);
        });
    }

    /// Our clock was ahead and is `ts_recv` now.
    pub(crate) fn step_clock_back(&mut self, ts_recv: i64) {
        let clock = ts_recv.saturating_sub(self.options.bar_delay_ns);
        self.all.iter_mut().for_each(|market| market.bars.step_back(clock));
    }

    /// Fills the image of one book.
    pub(crate) fn fill_image(&self, id: InstrumentId, image: &mut BookImage) -> bool {
        let Some(market) = self.all.get(id.index()).filter(|market| market.id == id) else { return false };
        let (bids, asks) = market.book.counts();
        let count = |levels: usize| u32::try_from(levels).unwrap_or(u32::MAX);
        let (ts_event, ts_recv, source_sequence) = market.changed;
        *image = BookImage {
            ts_event,
            ts_recv,
            source_sequence,
            source_index: 0,
            instrument_id: id.get(),
            venue_sequence: market.venue_sequence,
            bid_count: count(bids),
            ask_count: count(asks),
            usable: u8::from(market.state.is_usable()),
            flags: market.state.flag(),
            price_exp: market.price_exp,
            size_exp: market.size_exp,
            reserved: [0; 4],
            bid_price: [0; BOOK_IMAGE_LEVELS],
            bid_size: [0; BOOK_IMAGE_LEVELS],
            ask_price: [0; BOOK_IMAGE_LEVELS],
            ask_size: [0; BOOK_IMAGE_LEVELS],
        };
        for (side, prices, sizes) in [
            (Side::Bid, &mut image.bid_price, &mut image.bid_size),
            (Side::Ask, &mut image.ask_price, &mut image.ask_size),
        ] {
            for (place, level) in market.book.levels(side).take(BOOK_IMAGE_LEVELS).enumerate() {
                prices[place] = level.price;
                sizes[place] = level.size;
            }
        }
        true
    }
}

fn bar_record<S: RecordSink>(
    interval_s: u32,
    bar: &BarState,
    (instrument_id, price_exp, size_exp): (u32, Exponent, Exponent),
    emit: &mut Emitter<'_, S>,
) -> Bar {
    Bar {
        ts_event: bar.ts_open.saturating_add(i64::from(interval_s) * SECOND_NS),
        ts_recv: emit.ts_recv,
        source_sequence: emit.sequence,
        source_index: emit.next(),
        instrument_id,
        ts_open: bar.ts_open,
        interval_s,
        trade_count: bar.trade_count,
        open: bar.open,
        high: bar.high,
        low: bar.low,
        close: bar.close,
        volume: bar.volume,
        buy_volume: bar.buy_volume,
        notional_low: bar.notional as u64,
        notional_high: (bar.notional >> 64) as i64,
        revision: bar.revision,
        flags: bar.flags,
        price_exp,
        size_exp,
        reserved: 0,
    }
}
