//! The dialect of the venue that a node runs itself: what it says in public of one command, whole.
//!
//! Nothing here ever lies in a file: whoever replays the commands of `orders` makes these messages anew ([`LocalEvent::write_to`]).
//! They are messages all the same, so that bars, books, tops and hashes of our own venue are made by the code that makes everybody's.
//! A message has the events of one command in the order they happened, levels last and each once, as it leaves them. The books are
//! whole from the first order on, so there is no snapshot to wait for and no gap to find.

use std::hash::{Hash, Hasher};

use tidebook_book::{Level, Side};
use tidebook_types::command::Session;
use tidebook_types::records::{SIDE_BUY, SIDE_NONE, SIDE_SELL};

use crate::engine::Quarantine;
use crate::market::{Emitter, Markets, Print, StatusRecord, Steps};
use crate::scan::ScanError;
use crate::sink::RecordSink;
use crate::status::StatusKind;

/// Bytes of every event.
const EVENT_SIZE_BYTES: usize = 32;

/// Something that the venue says in public. `index` is the place of the instrument in the order of their first definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalEvent {
    /// The instrument's definition, alone in its message; the context is its symbol.
    Instrument {
        /// Which.
        index: u32,
        /// Decimals of prices and of sizes.
        exponents: (u8, u8),
        /// Price step.
        tick: i64,
        /// Size step.
        lot: i64,
    },
    /// What the level shows from here on; 0: it is gone.
    Level {
        /// Of which instrument.
        index: u32,
        /// `SIDE_BUY` or `SIDE_SELL`.
        side: i8,
        /// Where.
        price: i64,
        /// How much.
        size: i64,
    },
    /// A fill.
    Trade {
        /// Of which instrument.
        index: u32,
        /// The aggressor's; `SIDE_NONE` in an auction.
        side: i8,
        /// At which price.
        price: i64,
        /// How much.
        size: i64,
        /// Its number in its instrument.
        trade_id: u64,
    },
    /// Another session.
    Session {
        /// Of which instrument.
        index: u32,
        /// The one it was.
        before: Session,
        /// The one it is.
        now: Session,
    },
    /// What the auction would give if it ended now; nothing where both are 0.
    Indicative {
        /// Of which instrument.
        index: u32,
        /// Its price.
        price: i64,
        /// Its size.
        size: i64,
    },
    /// What the auction gave.
    Uncrossed {
        /// Of which instrument.
        index: u32,
        /// Its price.
        price: i64,
        /// Its size.
        size: i64,
    },
}

/// First bytes of events.
const INSTRUMENT: u8 = 1;
const LEVEL: u8 = 2;
const TRADE: u8 = 3;
const SESSION: u8 = 4;
const INDICATIVE: u8 = 5;
const UNCROSSED: u8 = 6;

impl LocalEvent {
    /// Appends it to the body of a message.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let (kind, side, exponents, index, price, size, id) = match *self {
            Self::Instrument { index, exponents, tick, lot } => (INSTRUMENT, 0, exponents, index, tick, lot, 0),
            Self::Level { index, side, price, size } => (LEVEL, side, (0, 0), index, price, size, 0),
            Self::Trade { index, side, price, size, trade_id } => (TRADE, side, (0, 0), index, price, size, trade_id),
            Self::Session { index, before, now } => {
                (SESSION, 0, (0, 0), index, before.code().into(), now.code().into(), 0)
            }
            Self::Indicative { index, price, size } => (INDICATIVE, 0, (0, 0), index, price, size, 0),
            Self::Uncrossed { index, price, size } => (UNCROSSED, 0, (0, 0), index, price, size, 0),
        };
        out.extend_from_slice(&[kind, side as u8, exponents.0, exponents.1]);
        out.extend_from_slice(&index.to_le_bytes());
        for number in [price as u64, size as u64, id] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// An event as its bytes say it.
struct Wire {
    kind: u8,
    side: i8,
    exponents: (u8, u8),
    index: usize,
    price: i64,
    size: i64,
    id: u64,
}

impl Wire {
    fn of(bytes: &[u8; EVENT_SIZE_BYTES]) -> Self {
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self {
            kind: bytes[0],
            side: bytes[1] as i8,
            exponents: (bytes[2], bytes[3]),
            index: u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")) as usize,
            price: long(8) as i64,
            size: long(16) as i64,
            id: long(24),
        }
    }
}

/// Nothing is kept from one message to the next but what every market keeps; this is room to gather levels in.
#[derive(Debug, Default)]
pub(crate) struct LocalDialect {
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl Hash for LocalDialect {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl LocalDialect {
    /// What followed from a command.
    pub(crate) fn on_ws<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        (context, body): (&[u8], &[u8]),
        emit: &mut Emitter<'_, S>,
    ) {
        if let Err(error) = self.on_message(markets, context, body, emit) {
            quarantine.add(&mut markets.counters, error, emit);
        }
    }

    fn on_message<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        symbol: &[u8],
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let (events, rest) = body.as_chunks::<EVENT_SIZE_BYTES>();
        markets.counters.unknown_fields += u64::from(!rest.is_empty());
        // Whose levels are gathered.
        let mut gathered = None;
        for (place, bytes) in events.iter().enumerate() {
            let event = Wire::of(bytes);
            if event.kind == INSTRUMENT {
                define(markets, symbol, &event, emit)?;
                continue;
            }
            // One beyond the bound of instruments was refused and counted when it was defined.
            if event.index >= markets.all().len() {
                continue;
            }
            if event.kind == LEVEL {
                if gathered.is_some_and(|index| index != event.index) {
                    self.tell_levels(markets, &mut gathered, emit);
                }
                gathered = Some(event.index);
                let level = Level { price: event.price, size: event.size };
                match event.side {
                    SIDE_BUY => self.bids.push(level),
                    SIDE_SELL => self.asks.push(level),
                    _ => return Err(ScanError { offset: place * EVENT_SIZE_BYTES + 1, expected: "a side" }),
                }
                continue;
            }
            take(markets, &event, emit);
        }
        self.tell_levels(markets, &mut gathered, emit);
        Ok(())
    }

    fn tell_levels<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        gathered: &mut Option<usize>,
        emit: &mut Emitter<'_, S>,
    ) {
        let Self { bids, asks } = self;
        if let Some(index) = gathered.take() {
            let market = markets.get(index);
            market.venue_sequence = emit.sequence;
            for (side, levels) in [(Side::Bid, &*bids), (Side::Ask, &*asks)] {
                for level in levels {
                    market.book.apply(side, level.price, level.size);
                }
            }
            let changes = [(Side::Bid, &bids[..]), (Side::Ask, &asks[..]), (Side::Bid, &[]), (Side::Ask, &[])];
            markets.emit_depth(index, emit.ts_recv, false, changes, emit);
        }
        bids.clear();
        asks.clear();
    }
}

/// Lists an instrument, or gives it other steps.
fn define<S: RecordSink>(
    markets: &mut Markets,
    symbol: &[u8],
    event: &Wire,
    emit: &mut Emitter<'_, S>,
) -> Result<(), ScanError> {
    let Some(index) = markets.find_or_open(symbol) else { return Ok(()) };
    if index != event.index {
        return Err(ScanError { offset: 4, expected: "the place that this symbol was defined in" });
    }
    let is_new = markets.get(index).version == 0;
    let (price_exp, size_exp) = event.exponents;
    markets.set_steps(index, Steps { tick: (event.price, price_exp), lot: (event.size, size_exp) }, emit);
    markets.set_exponents(index, event.exponents, emit);
    if is_new {
        markets.get(index).venue_sequence = emit.sequence;
        let nothing = [(Side::Bid, &[][..]), (Side::Ask, &[]), (Side::Bid, &[]), (Side::Ask, &[])];
        markets.snapshot_applied(index, 0, emit.ts_recv, emit);
        markets.emit_depth(index, emit.ts_recv, true, nothing, emit);
    }
    Ok(())
}

/// All but definitions and levels.
fn take<S: RecordSink>(markets: &mut Markets, event: &Wire, emit: &mut Emitter<'_, S>) {
    let (ts_event, index) = (emit.ts_recv, event.index);
    let id = markets.get(index).id.get();
    let priced = |kind| StatusRecord { found: event.price as u64, count: event.size as u64, ..StatusRecord::of(kind) };
    match event.kind {
        TRADE => {
            let known = matches!(event.side, SIDE_BUY | SIDE_SELL | SIDE_NONE);
            markets.counters.unknown_values += u64::from(!known);
            let side = if known { event.side } else { SIDE_NONE };
            let (price, size) = (event.price, event.size);
            let print = Print { ts_event, trade_id: event.id, price, size, side, flags: 0 };
            markets.take_trade_unchecked(index, &print, emit);
        }
        SESSION => {
            let session = |code: i64| u8::try_from(code).ok().and_then(Session::from_code);
            let (Some(before), Some(now)) = (session(event.price), session(event.size)) else {
                markets.counters.unknown_values += 1;
                return;
            };
            let found = now.code().into();
            emit.status(id, ts_event, StatusRecord { found, ..StatusRecord::of(StatusKind::SessionChanged) });
            if now == Session::Halted {
                emit.status(id, ts_event, StatusRecord::of(StatusKind::TradingHalted));
            } else if before == Session::Halted && matches!(now, Session::Continuous | Session::Auction) {
                emit.status(id, ts_event, StatusRecord::of(StatusKind::TradingResumed));
            }
        }
        INDICATIVE => emit.status(id, ts_event, priced(StatusKind::IndicativePrice)),
        UNCROSSED => emit.status(id, ts_event, priced(StatusKind::Uncrossed)),
        _ => markets.counters.unknown += 1,
    }
}
