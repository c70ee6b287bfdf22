//! NASDAQ order flow in LOBSTER's form: one CSV row an event of a resting order.
//!
//! Six columns: seconds after midnight in New York, type, order id, size, price * 10,000, side of the resting order. The
//! exchange's clock is the only one, so it stands for ours too. There is no snapshot: orders placed before the recording
//! began are first heard of when they change. A fill is an order event and a public trade at once.
//!
//! Source: LOBSTER, "Output structure", message file.

mod decode;

use tidebook_types::Exponent;
use tidebook_types::records::{FLAG_HIDDEN, ORDER_EXECUTE, SIDE_NONE};

use crate::engine::Quarantine;
use crate::market::{Emitter, Markets, Print, StatusRecord};
use crate::orders::{OrderLine, OrderTables};
use crate::saved::saved;
use crate::scan::{ScanError, Unknown};
use crate::sink::RecordSink;
use crate::status::StatusKind;
use decode::{Row, row};

/// Prices are sent in hundredths of a cent, sizes in shares.
const EXPONENTS: (Exponent, Exponent) = (4, 0);

/// Midnight in New York on 14 July 2014: from that day on NASDAQ writes every hidden order as one to buy, and its side says
/// nothing ("TotalView-ITCH 5.0", trade message).
const HIDDEN_SIDES_END_NS: i64 = 1_405_310_400_000_000_000;

/// State of the dialect.
#[derive(Debug, Default, Hash)]
pub(crate) struct LobsterFeed {
    tables: OrderTables,
}

saved!(LobsterFeed { tables });

impl LobsterFeed {
    /// A row of a recording.
    pub(crate) fn on_ws<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        quarantine: &mut Quarantine,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) {
        if let Err(error) = self.on_row(markets, connection, body, emit) {
            quarantine.add(&mut markets.counters, error, emit);
        }
    }

    /// The recording of `connection` says which instrument and day it is of.
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

    fn on_row<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let recording = self.tables.recording(connection)?;
        let index = recording.index;
        let mut unknown = Unknown::default();
        let (since_midnight, row) = row(body, &mut unknown)?;
        if row != Row::Unknown {
            markets.counters.note(unknown);
        }
        let ts_event = recording.midnight_ns + since_midnight;
        let fill = match row {
            Row::Order(event) => {
                self.tables.apply(markets, index, ts_event, &event, emit);
                (event.action == ORDER_EXECUTE).then_some(event)
            }
            Row::HiddenFill(mut event) => {
                if recording.midnight_ns >= HIDDEN_SIDES_END_NS {
                    event.side = SIDE_NONE;
                }
                let line = OrderLine {
                    order_id: event.order_id,
                    side: event.side,
                    price: event.price,
                    size: event.size,
                    remaining: 0,
                    action: event.action,
                    flags: FLAG_HIDDEN,
                };
                markets.emit_order(index, ts_event, &line, true, emit);
                Some(event)
            }
            Row::Halted | Row::Resumed => {
                let kind = if row == Row::Halted { StatusKind::TradingHalted } else { StatusKind::TradingResumed };
                emit.status(markets.get(index).id.get(), ts_event, StatusRecord::of(kind));
                None
            }
            Row::Acknowledged => {
                markets.counters.acknowledged += 1;
                None
            }
            Row::UnknownHalt => None,
            Row::Unknown => {
                markets.counters.unknown += 1;
                None
            }
        };
        if let Some(event) = fill {
            let print = Print {
                ts_event,
                trade_id: 0,
                price: event.price,
                size: event.size,
                // Who crossed the spread is on the other side than who waited.
                side: -event.side,
                flags: 0,
            };
            markets.take_trade_unchecked(index, &print, emit);
        }
        Ok(())
    }
}
