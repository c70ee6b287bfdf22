//! The two dialects of Coinbase.
//!
//! [`exchange`] is the Exchange feed, [`advanced`] Advanced Trade. They share products, prices and books and differ in
//! all the rest: frames, how a loss is found, what a message may hold. Both print decimals without promising a number of
//! places, so an instrument begins with the places of its product's increments, or with eight where no list of products
//! was seen, and gets another version only when a number does not fit.

mod advanced;
mod advanced_decode;
mod exchange;
mod exchange_decode;
mod levels;
mod products;
mod states;

use tidebook_book::{Level, Side};
use tidebook_types::Exponent;

use crate::exponents::{PRECISION_ROUNDS_MAX, change_exponent, unfit};
use crate::failure::{Failure, Quantity};
use crate::market::{BookState, Emitter, Markets, StatusRecord, is_best_first};
use crate::scan::ScanError;
use crate::sink::RecordSink;
use crate::status::StatusKind;
use products::Products;

pub(crate) use advanced::AdvancedFeed;
pub(crate) use exchange::ExchangeFeed;

/// Exponents of an instrument whose product is not known: Coinbase prints at most eight places of nearly all.
const EXPONENTS: (Exponent, Exponent) = (8, 8);

/// Tells the exponents of a symbol.
type Exponents<'m> = &'m dyn Fn(&[u8]) -> (Exponent, Exponent);

/// Index of the instrument, announced if it is new.
#[inline]
fn market<S: RecordSink>(
    markets: &mut Markets,
    products: &Products,
    symbol: &[u8],
    emit: &mut Emitter<'_, S>,
) -> Option<usize> {
    let index = markets.find_or_open(symbol)?;
    if markets.get(index).version == 0 {
        if let Some(product) = products.get(symbol) {
            markets.set_steps(index, product.steps, emit);
        }
        markets.set_exponents(index, products.exponents(symbol), emit);
    }
    Some(index)
}

/// Gives the instrument of a number that did not fit other exponents; `None` when it cannot be an instrument.
#[cold]
fn refine<S: RecordSink>(
    markets: &mut Markets,
    products: &Products,
    (symbol, quantity, exponent): (&[u8], Quantity, Exponent),
    emit: &mut Emitter<'_, S>,
) -> Option<()> {
    let index = market(markets, products, symbol, emit)?;
    change_exponent(markets, index, quantity, exponent, emit);
    Some(())
}

/// Decodes with `decode`, which is given the exponents of a symbol, and gives instruments other exponents when a number
/// asks for it.
#[inline]
fn with_exponents<'a, S: RecordSink, T>(
    markets: &mut Markets,
    products: &Products,
    emit: &mut Emitter<'_, S>,
    mut decode: impl FnMut(Exponents<'_>) -> Result<T, Failure<'a>>,
) -> Result<T, ScanError> {
    for _ in 0..=PRECISION_ROUNDS_MAX {
        let exponents =
            |symbol: &[u8]| markets.exponents_in_force(symbol).unwrap_or_else(|| products.exponents(symbol));
        match decode(&exponents) {
            Ok(decoded) => return Ok(decoded),
            Err(Failure::Malformed(error)) => return Err(error),
            Err(Failure::Precision { symbol, quantity, exponent }) => {
                refine(markets, products, (symbol, quantity, exponent), emit).ok_or(unfit(0))?;
            }
        }
    }
    Err(unfit(0))
}

/// Every book that `connection` feeds waits for a snapshot.
#[cold]
fn lose_books<S: RecordSink>(
    markets: &mut Markets,
    connection: u32,
    reason: StatusKind,
    ts_event: i64,
    emit: &mut Emitter<'_, S>,
) {
    for index in 0..markets.all().len() {
        let market = markets.get(index);
        if market.connection == connection && market.state != BookState::Waiting {
            markets.lose_book(index, reason, ts_event, true, emit);
        }
    }
}

/// Makes a snapshot the book of its session, if it can be one; says whether it did.
fn apply_snapshot<S: RecordSink>(
    markets: &mut Markets,
    index: usize,
    (connection, venue_sequence, ts_event): (u32, u64, i64),
    (bids, asks): (&[Level], &[Level]),
    emit: &mut Emitter<'_, S>,
) -> bool {
    let market = markets.get(index);
    market.book.clear();
    // Worst first: the book grows at its best end without moving what it holds.
    for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
        for level in levels.iter().rev() {
            market.book.apply(side, level.price, level.size);
        }
    }
    market.connection = connection;
    market.venue_sequence = venue_sequence;
    let reason = if !is_best_first(bids, asks) {
        Some(StatusKind::OutOfOrder)
    } else if market.book.is_crossed() {
        Some(StatusKind::Crossed)
    } else {
        None
    };
    if let Some(reason) = reason {
        markets.lose_book(index, reason, ts_event, false, emit);
        let status =
            StatusRecord { found: venue_sequence, ..StatusRecord::because(StatusKind::SnapshotRefused, reason) };
        markets.refuse_snapshot(index, status, emit);
        return false;
    }
    markets.snapshot_applied(index, bids.len() + asks.len(), ts_event, emit);
    markets.emit_depth(index, ts_event, true, sides(bids, asks), emit);
    true
}

/// Applies the changes of a message to the book; says whether the book may still be used. Nothing is written yet.
#[inline]
fn apply_changes<S: RecordSink>(
    markets: &mut Markets,
    index: usize,
    ts_event: i64,
    (bids, asks): (&[Level], &[Level]),
    emit: &mut Emitter<'_, S>,
) -> bool {
    let market = markets.get(index);
    for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
        for level in levels {
            market.book.apply(side, level.price, level.size);
        }
    }
    if market.book.is_crossed() {
        markets.lose_book(index, StatusKind::Crossed, ts_event, true, emit);
        return false;
    }
    true
}

/// Whether changes that came by `connection` belong to the book. While it waits for a snapshot one is asked for; the
/// changes of another session are that session's matter.
#[inline]
fn feeds_book<S: RecordSink>(
    markets: &mut Markets,
    index: usize,
    connection: u32,
    ts_event: i64,
    emit: &mut Emitter<'_, S>,
) -> bool {
    let market = markets.get(index);
    let waits = market.state == BookState::Waiting;
    if !waits && market.connection == connection {
        return true;
    }
    markets.counters.updates_unused += 1;
    if waits {
        markets.want_snapshot(index, StatusKind::Started, ts_event, emit);
    }
    false
}

/// The form in which changes are written.
const fn sides<'a>(bids: &'a [Level], asks: &'a [Level]) -> [(Side, &'a [Level]); 4] {
    [(Side::Bid, bids), (Side::Ask, asks), (Side::Bid, &[]), (Side::Ask, &[])]
}
