//! Canonical records: what every venue's messages become.
//!
//! Each is a plain little-endian struct without padding whose layout is published as data ([`Schema`]), so that a
//! ring, a file or numpy reads it without code of ours. All start with the same five fields: both clocks, and the
//! place of the record in the inputs (`source_sequence` of `feed.<venue>`, `source_index` among the records derived
//! from that one message). Changing a layout means a new `VERSION`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Scalar of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Signed 8 bits.
    I8,
    /// Unsigned 8 bits.
    U8,
    /// Signed 32 bits.
    I32,
    /// Unsigned 32 bits.
    U32,
    /// Unsigned 64 bits.
    U64,
    /// Signed 64 bits.
    I64,
}

/// A Rust type that a record field may have.
pub trait FieldType {
    /// Its scalar.
    const KIND: FieldKind;
    /// How many of it; above 1 for an array.
    const COUNT: usize = 1;
}

macro_rules! field_types {
    ($($rust:ty => $kind:ident),*) => { $(impl FieldType for $rust { const KIND: FieldKind = FieldKind::$kind; })* };
}
field_types!(i8 => I8, u8 => U8, i32 => I32, u32 => U32, u64 => U64, i64 => I64);

impl<T: FieldType, const N: usize> FieldType for [T; N] {
    const KIND: FieldKind = T::KIND;
    const COUNT: usize = N;
}

/// One field of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Name, as in numpy and Parquet.
    pub name: &'static str,
    /// Bytes from the start of the record.
    pub offset: usize,
    /// Scalar.
    pub kind: FieldKind,
    /// Elements; above 1 for an array.
    pub count: usize,
}

/// A record's published layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The record's name; of market data also the last word of its channel `md.<name>`.
    pub name: &'static str,
    /// Rises with each change of the fields.
    pub version: u32,
    /// Bytes of one record.
    pub size_bytes: usize,
    /// Fields in order, without holes.
    pub fields: &'static [Field],
}

/// A struct that may cross processes and files as its bytes.
pub trait Record: Copy + FromBytes + IntoBytes + Immutable + KnownLayout + Send + Sync + 'static {
    /// How others read it.
    const SCHEMA: Schema;
}

macro_rules! record {
    ($(#[$meta:meta])* $name:ident = $channel:literal version $version:literal {
        $($(#[$field_meta:meta])* $field:ident : $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            /// Venue's clock, ns since 1970 UTC; 0 where the venue sends none.
            pub ts_event: i64,
            /// Our clock at receipt, ns since 1970 UTC.
            pub ts_recv: i64,
            /// Sequence of the `feed.<venue>` message this was derived from.
            pub source_sequence: u64,
            /// Position among all records derived from that message, from 0.
            pub source_index: u32,
            /// See [`crate::InstrumentId`]; that of the whole feed where a record concerns no single instrument.
            pub instrument_id: u32,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Record for $name {
            const SCHEMA: Schema = Schema {
                name: $channel,
                version: $version,
                size_bytes: size_of::<$name>(),
                fields: &[
                    field!($name, ts_event, i64),
                    field!($name, ts_recv, i64),
                    field!($name, source_sequence, u64),
                    field!($name, source_index, u32),
                    field!($name, instrument_id, u32),
                    $(field!($name, $field, $type),)*
                ],
            };
        }
    };
}

macro_rules! field {
    ($record:ident, $field:ident, $type:ty) => {
        $crate::records::Field {
            name: stringify!($field),
            offset: std::mem::offset_of!($record, $field),
            kind: <$type as $crate::records::FieldType>::KIND,
            count: <$type as $crate::records::FieldType>::COUNT,
        }
    };
}
pub(crate) use field;

/// Flag: last record of one venue message; nobody reads a book in between.
pub const FLAG_LAST: u8 = 128;
/// Flag: the record comes from a snapshot, not from a change.
pub const FLAG_SNAPSHOT: u8 = 32;
/// Flag: derived from our own book rather than sent by the venue.
pub const FLAG_DERIVED: u8 = 16;
/// Flag: fetched after the fact (REST history), not seen live.
pub const FLAG_BACKFILL: u8 = 8;
/// Flag: not proven whole. Of a book: an oracle disagreed since the last snapshot; its top has been right again since
/// then, deeper levels could not be checked. Of a bar: it may lack trades (its interval began before the feed did, ended
/// behind a backfill, or lost trades).
pub const FLAG_UNPROVEN: u8 = 4;

/// Flag, orders only: the order was not known, because it was placed before the input began or its `ORDER_ADD` was lost.
pub const FLAG_UNKNOWN_ORDER: u8 = 64;
/// Flag, orders only: the order was never shown, so the event changes no level of the book.
pub const FLAG_HIDDEN: u8 = 2;

/// Side of the book, or the aggressor of a trade: bid, buy.
pub const SIDE_BUY: i8 = 1;
/// Side of the book, or the aggressor of a trade: ask, sell.
pub const SIDE_SELL: i8 = -1;
/// The venue does not say.
pub const SIDE_NONE: i8 = 0;

record! {
    /// A public print of a fill.
    Trade = "trades" version 1 {
        /// Price in units of 10^-`price_exp`.
        price: i64,
        /// Size in units of 10^-`size_exp`.
        size: i64,
        /// Venue's trade id.
        trade_id: u64,
        /// The aggressor: `SIDE_*`.
        side: i8,
        /// `FLAG_*`.
        flags: u8,
        /// Decimals of `price`.
        price_exp: u8,
        /// Decimals of `size`.
        size_exp: u8,
        /// Zero.
        reserved: [u8; 4],
    }
}

record! {
    /// Top of book: best bid and ask with sizes. A missing side has size 0 and its price means nothing.
    Quote = "quotes" version 1 {
        /// Best bid in units of 10^-`price_exp`.
        bid_price: i64,
        /// Size at the best bid.
        bid_size: i64,
        /// Best ask in units of 10^-`price_exp`.
        ask_price: i64,
        /// Size at the best ask.
        ask_size: i64,
        /// Venue's sequence for this state of the book (Binance update id); 0 where it sends none.
        venue_sequence: u64,
        /// `FLAG_*`; `FLAG_DERIVED` when it is the top of our book, else the venue sent it.
        flags: u8,
        /// Decimals of prices.
        price_exp: u8,
        /// Decimals of sizes.
        size_exp: u8,
        /// Zero.
        reserved: [u8; 5],
    }
}

/// [`Depth::action`]: the level now has `size`; 0 means it is gone.
pub const ACTION_SET: u8 = 1;
/// [`Depth::action`]: both sides are empty from here; the levels of a snapshot follow.
pub const ACTION_CLEAR: u8 = 2;

record! {
    /// One level change of an L2 book. Changes of one venue message end with `FLAG_LAST`.
    Depth = "depth" version 1 {
        /// Price in units of 10^-`price_exp`.
        price: i64,
        /// New total size at the price in units of 10^-`size_exp`; 0 removes the level.
        size: i64,
        /// Venue's sequence of the whole message (Binance `u`, snapshot `lastUpdateId`); 0 where it sends none.
        venue_sequence: u64,
        /// `SIDE_BUY` for bids, `SIDE_SELL` for asks, `SIDE_NONE` for a clear.
        side: i8,
        /// `ACTION_*`.
        action: u8,
        /// `FLAG_*`.
        flags: u8,
        /// Decimals of `price`.
        price_exp: u8,
        /// Decimals of `size`.
        size_exp: u8,
        /// Zero.
        reserved: [u8; 3],
    }
}

/// [`Order::action`]: an order rests in the book. One that the venue deleted before saying so has `remaining` 0.
pub const ORDER_ADD: u8 = 1;
/// [`Order::action`]: its price or size is another; `size` is the new one.
pub const ORDER_MODIFY: u8 = 2;
/// [`Order::action`]: `size` of it was withdrawn, the rest stays.
pub const ORDER_CANCEL: u8 = 3;
/// [`Order::action`]: `size` of it was filled.
pub const ORDER_EXECUTE: u8 = 4;
/// [`Order::action`]: it left the book, and `size` of it was withdrawn.
pub const ORDER_DELETE: u8 = 5;
/// [`Order::action`]: every order of the instrument is void; nothing is known of the book from here.
pub const ORDER_CLEAR: u8 = 6;

record! {
    /// What happened to one resting order of an L3 feed. `remaining` alone makes the book: it is what rests afterwards.
    Order = "orders" version 1 {
        /// Venue's id of the order; 0 for a clear, and where a hidden order has none.
        order_id: u64,
        /// Price in units of 10^-`price_exp`.
        price: i64,
        /// Size that the event is about, in units of 10^-`size_exp`; see `ORDER_*`.
        size: i64,
        /// What rests afterwards; 0 when the order is gone, or unknown and the venue does not say.
        remaining: i64,
        /// Venue's sequence of the event; 0 where it sends none.
        venue_sequence: u64,
        /// Side of the resting order; `SIDE_NONE` for a clear.
        side: i8,
        /// `ORDER_*`.
        action: u8,
        /// `FLAG_*`; `FLAG_UNPROVEN` where the event contradicts what was known of the order.
        flags: u8,
        /// Decimals of `price`.
        price_exp: u8,
        /// Decimals of sizes.
        size_exp: u8,
        /// Zero.
        reserved: [u8; 3],
    }
}

record! {
    /// Trades of one interval, closed by a timer. A late trade gives the same interval again, one revision higher.
    Bar = "bars" version 1 {
        /// Start of the interval, ns since 1970 UTC; `ts_event` is its end.
        ts_open: i64,
        /// Length in seconds.
        interval_s: u32,
        /// Trades in it.
        trade_count: u32,
        /// First price in units of 10^-`price_exp`; all four equal the previous close when `trade_count` is 0.
        open: i64,
        /// Highest price.
        high: i64,
        /// Lowest price.
        low: i64,
        /// Last price.
        close: i64,
        /// Sum of sizes in units of 10^-`size_exp`.
        volume: i64,
        /// Volume of trades whose aggressor bought.
        buy_volume: i64,
        /// Sum of price * size, low 64 bits of an i128 in units of 10^-(`price_exp` + `size_exp`).
        notional_low: u64,
        /// High 64 bits of the same.
        notional_high: i64,
        /// From 0; each late trade gives one more.
        revision: u32,
        /// `FLAG_*`.
        flags: u8,
        /// Decimals of prices.
        price_exp: u8,
        /// Decimals of sizes.
        size_exp: u8,
        /// Zero.
        reserved: u8,
    }
}

/// Levels a side of a [`BookImage`].
pub const BOOK_IMAGE_LEVELS: usize = 25;

record! {
    /// The best levels of a book as of one message, conflated: late readers need only the newest.
    BookImage = "book" version 1 {
        /// Venue's sequence of the book; 0 where it sends none.
        venue_sequence: u64,
        /// Levels of the whole bid side, which may exceed those here.
        bid_count: u32,
        /// Levels of the whole ask side.
        ask_count: u32,
        /// 1 when the book may be used; 0 from a gap to the next snapshot.
        usable: u8,
        /// `FLAG_*`.
        flags: u8,
        /// Decimals of prices.
        price_exp: u8,
        /// Decimals of sizes.
        size_exp: u8,
        /// Zero.
        reserved: [u8; 4],
        /// Bids, best first. A missing level has size 0 and its price means nothing.
        bid_price: [i64; BOOK_IMAGE_LEVELS],
        /// Sizes of `bid_price`.
        bid_size: [i64; BOOK_IMAGE_LEVELS],
        /// Asks, best first.
        ask_price: [i64; BOOK_IMAGE_LEVELS],
        /// Sizes of `ask_price`.
        ask_size: [i64; BOOK_IMAGE_LEVELS],
    }
}

record! {
    /// Something happened to a feed or book that is no market data: a gap, a resync, a frame set aside.
    Status = "status" version 1 {
        /// What: `tidebook_feed::StatusKind` as its number.
        kind: u8,
        /// Why, by the same list; 0 where the kind says it all.
        reason: u8,
        /// Zero.
        reserved: [u8; 6],
        /// What should have come (sequence, checksum, trade id); 0 where it does not apply.
        expected: u64,
        /// What came.
        found: u64,
        /// How many were missed or set aside, where that is known.
        count: u64,
    }
}

record! {
    /// Definition of an instrument from here on; a change of precision gives a new version.
    Instrument = "instruments" version 1 {
        /// Id text, UTF-8, zero padded: `BTCUSDT.BINANCE`.
        symbol: [u8; 40],
        /// From 1; one more each change.
        instrument_version: u32,
        /// Decimals of prices.
        price_exp: u8,
        /// Decimals of sizes.
        size_exp: u8,
        /// Zero.
        reserved: [u8; 2],
        /// Price step in price units; 0 where not known.
        tick: i64,
        /// Size step in size units; 0 where not known.
        lot: i64,
    }
}

record! {
    /// How a feed does, once a second by its own clock. `instrument_id` is that of the whole feed.
    Health = "health" version 1 {
        /// Since the record before this one, ns of the feed's clock.
        interval_ns: i64,
        /// Messages of the venue in it: frames and answers.
        messages: u64,
        /// Messages in it that told the venue's clock; the three lags are of these and mean nothing without any.
        timed: u64,
        /// Smallest of receive time minus the venue's time, ns. Below 0 where our clock is behind.
        lag_min_ns: i64,
        /// Mean of the same.
        lag_mean_ns: i64,
        /// Largest of the same.
        lag_max_ns: i64,
        /// Smallest lag of the last 60 records that have one: by so much our clock is ahead of the venue's, the shortest
        /// way of a message included.
        clock_offset_ns: i64,
        /// Holes since the feed's first message.
        gaps: u64,
        /// Snapshots since then that replaced a book which had been usable before.
        resyncs: u64,
        /// Frames set aside since then.
        malformed: u64,
        /// Instruments of the feed.
        instruments: u32,
        /// Books that may be used.
        books_usable: u32,
        /// Sessions that are open.
        connections: u32,
        /// Zero.
        reserved: [u8; 4],
    }
}

/// Bytes of [`ConsolidatedTop::asset`].
pub const ASSET_BYTES: usize = 24;

record! {
    /// Best bid and best ask of one asset over all venues that can be trusted now. What the first five fields say is where
    /// the change came from. A missing side has size 0 and instrument 0, and its price means nothing.
    ConsolidatedTop = "consolidated" version 1 {
        /// Highest bid in units of 10^-`price_exp`.
        bid_price: i64,
        /// Size at it, on the one venue named.
        bid_size: i64,
        /// Lowest ask in units of 10^-`price_exp`. Below the bid where venues differ that much.
        ask_price: i64,
        /// Size at it, on the one venue named.
        ask_size: i64,
        /// Whose bid: an instrument id, and so a venue.
        bid_instrument_id: u32,
        /// Whose ask.
        ask_instrument_id: u32,
        /// Instruments that count.
        venues: u8,
        /// Instruments left out: their book may not be used or is crossed, or their feed is silent.
        left_out: u8,
        /// Zero.
        flags: u8,
        /// Decimals of prices: the most of any venue that counts.
        price_exp: u8,
        /// Decimals of sizes, likewise.
        size_exp: u8,
        /// Zero.
        reserved: [u8; 3],
        /// Base and quote currency, UTF-8, zero padded: `BTC/USD`.
        asset: [u8; ASSET_BYTES],
    }
}

/// Schema of every record type of market data, in the order of their first use.
pub const SCHEMAS: [Schema; 10] = [
    Trade::SCHEMA,
    Quote::SCHEMA,
    Depth::SCHEMA,
    Bar::SCHEMA,
    BookImage::SCHEMA,
    Status::SCHEMA,
    Instrument::SCHEMA,
    Order::SCHEMA,
    Health::SCHEMA,
    ConsolidatedTop::SCHEMA,
];

/// Schema of every record type of the venue: of its channels `orders.in` and `orders`, `executions`, `risk`, and of what it answers.
pub const VENUE_SCHEMAS: [Schema; 4] =
    [crate::Command::SCHEMA, crate::Execution::SCHEMA, crate::RiskEvent::SCHEMA, crate::OpenOrderRecord::SCHEMA];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_each_other_without_holes_to_a_multiple_of_eight() {
        for schema in SCHEMAS.into_iter().chain(VENUE_SCHEMAS) {
            let mut end = 0;
            for field in schema.fields {
                let width = match field.kind {
                    FieldKind::I8 | FieldKind::U8 => 1,
                    FieldKind::I32 | FieldKind::U32 => 4,
                    FieldKind::U64 | FieldKind::I64 => 8,
                };
                assert_eq!(field.offset, end, "{}.{}", schema.name, field.name);
                end += width * field.count;
            }
            assert_eq!(end, schema.size_bytes, "{}", schema.name);
            assert_eq!(schema.size_bytes % 8, 0, "{}", schema.name);
        }
    }

    #[test]
    fn sizes_are_those_of_the_format_page() {
        let sizes: Vec<_> =
            SCHEMAS.iter().chain(&VENUE_SCHEMAS).map(|schema| (schema.name, schema.size_bytes)).collect();
        assert_eq!(
            sizes,
            [
                ("trades", 64),
                ("quotes", 80),
                ("depth", 64),
                ("bars", 120),
                ("book", 856),
                ("status", 64),
                ("instruments", 96),
                ("orders", 80),
                ("health", 128),
                ("consolidated", 104),
                ("commands", 128),
                ("executions", 128),
                ("risk_events", 88),
                ("open_orders", 88)
            ]
        );
    }
}
