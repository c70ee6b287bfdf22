//! The dialect of Bitstamp's order-by-order feed `live_orders`, as recorded with `live_trades` and `order_book` beside it.
//!
//! There are no sequence numbers and no snapshot at the start: an order that was placed earlier is first heard of when it
//! changes or goes. Events may change places: some orders are deleted before they are said to exist ([`OrderTables`] lets
//! those rest no more). `order_book` gives the venue's own top of book.

mod decode;

use crate::engine::Quarantine;
use crate::exponents::{PRECISION_ROUNDS_MAX, change_exponent, unfit};
use crate::failure::Failure;
use crate::market::{Emitter, Markets};
use crate::orders::OrderTables;
use crate::saved::saved;
use crate::scan::{ScanError, Unknown};
use crate::sink::RecordSink;
use decode::{EXPONENTS, Line};

/// State of the dialect.
#[derive(Debug, Default, Hash)]
pub(crate) struct BitstampFeed {
    tables: OrderTables,
}

saved!(BitstampFeed { tables });

impl BitstampFeed {
    /// A line of a recording: `<event> <JSON>`.
    pub(crate) fn on_ws<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        if let Err(error) = self.on_line(markets, connection, body, emit) {
            quarantine.add(&mut markets.counters, error, emit);
        }
    }

    /// The recording of `connection` says which instrument it is of.
    pub(crate) fn on_capture<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        self.tables.on_capture(markets, connection, body, EXPONENTS, emit)
    }

    /// Orders of `connection` are void.
    pub(crate) fn on_disconnect<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        self.tables.on_disconnect(markets, connection, emit);
    }

    fn on_line<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let index = self.tables.recording(connection)?.index;
        for _ in 0..PRECISION_ROUNDS_MAX {
            let market = markets.get(index);
            let (price_exp, size_exp) = (market.price_exp, market.size_exp);
            let mut unknown = Unknown::default();
            let line = decode::line(body, (price_exp, size_exp), &mut unknown);
            if line.is_ok() {
                markets.counters.note(unknown);
            }
            match line {
                Ok(Line::Order { ts_event, event }) => self.tables.apply(markets, index, ts_event, &event, emit),
                Ok(Line::Trade(print)) => markets.take_trade_unchecked(index, &print, emit),
                Ok(Line::Book(top)) => {
                    markets.counters.quotes += 1;
                    markets.emit_quote(index, 0, top, 0, 0, emit);
                }
                Ok(Line::Unknown) => markets.counters.unknown += 1,
                Err(Failure::Malformed(error)) => return Err(error),
                Err(Failure::Precision { quantity, exponent, .. }) => {
                    // Sizes known so far are of the old exponent.
                    self.tables.void(markets, index, emit);
                    change_exponent(markets, index, quantity, exponent, emit);
                    continue;
                }
            }
            return Ok(());
        }
        Err(unfit(0))
    }
}
