//! What both of Kraken's WebSocket versions do to a book.
//!
//! There are no sequence numbers: every update is applied, the book is cut to the subscribed depth, and the venue's CRC32
//! over the ten best levels a side must come out before anything is published.

use tidebook_book::{DepthBook, Level, Side};

use super::checksum;
use crate::market::{BookState, Emitter, Markets, StatusRecord};
use crate::oracles::Oracle;
use crate::sink::RecordSink;
use crate::status::StatusKind;

/// Depths the venue offers.
pub(crate) const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];

/// Levels that fell off the end of a side with the message at hand, as removals.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
}

impl Cut {
    /// Cuts `book` to `depth` levels a side. The venue never removes a level that was pushed out.
    pub(crate) fn truncate(&mut self, book: &mut DepthBook, depth: usize) {
        self.bids.clear();
        self.asks.clear();
        book.truncate(depth, |side, level| {
            let cut = if side == Side::Bid { &mut self.bids } else { &mut self.asks };
            cut.push(Level { size: 0, ..level });
        });
    }
}

/// Applies levels in their order: one price may occur twice in a message, and the last one wins.
pub(crate) fn apply(book: &mut DepthBook, bids: &[Level], asks: &[Level]) {
    for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
        for level in levels {
            book.apply(side, level.price, level.size);
        }
    }
}

/// Whether the book has the venue's checksum; counts it, and says so when not.
pub(crate) fn check<S: RecordSink>(
    markets: &mut Markets,
    index: usize,
    ts_event: i64,
    expected: u32,
    oracle: Oracle,
    emit: &mut Emitter<'_, S>,
) -> bool {
    let market = markets.get(index);
    let found = checksum::of(&market.book);
    let id = market.id.get();
    markets.oracles.count(oracle, found == expected);
    if found != expected {
        let kind = StatusRecord::of(StatusKind::ChecksumMismatch);
        emit.status(id, ts_event, StatusRecord { expected: expected.into(), found: found.into(), ..kind });
    }
    found == expected
}

/// Every book fed by `connection` waits for a snapshot: what was lost cannot be known, and without sequence numbers
/// nothing later would tell.
pub(crate) fn lose_books<S: RecordSink>(
    markets: &mut Markets,
    connection: u32,
    reason: StatusKind,
    emit: &mut Emitter<'_, S>,
) {
    for index in 0..markets.all().len() {
        let market = markets.get(index);
        if market.connection == connection && market.state != BookState::Waiting {
            markets.lose_book(index, reason, 0, true, emit);
        }
    }
}
