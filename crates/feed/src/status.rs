//! What can happen to a feed that is no market data: the numbers in `Status.kind` and `Status.reason`.
//!
//! One list serves both fields: the kind says what happened, the reason why. Numbers are stored and never change;
//! `docs/formats/records.md` repeats the table and a test compares the two.

macro_rules! status_kinds {
    ($($(#[$meta:meta])* $name:ident = $code:literal $text:literal,)*) => {
        /// What happened, or why.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum StatusKind {
            $($(#[$meta])* $name = $code,)*
        }

        impl StatusKind {
            /// Every kind, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word of logs and tables.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The kind with this number, if we know it.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

status_kinds! {
    /// Messages never came: `expected` and `found` the first update id or sequence, `count` those between, 0 when they
    /// went back. Of the whole feed it is of one session (Coinbase Advanced Trade). NASDAQ numbers nothing: messages of a
    /// stock whose time goes back, `expected` and `found` ns after midnight.
    Gap = 1 "gap",
    /// The book may not be used from here on; the reason says why.
    BookUnusable = 2 "book_unusable",
    /// The book may be used again; the reason is `snapshot_applied` or `oracle_agrees`.
    BookUsable = 3 "book_usable",
    /// A snapshot (Binance: REST depth; Kraken and Coinbase: a new subscription) is needed; the reason says why.
    SnapshotWanted = 4 "snapshot_wanted",
    /// A snapshot became the book; `found` is its sequence, `count` its levels.
    SnapshotApplied = 5 "snapshot_applied",
    /// A snapshot could not become the book: older than what we hold (`found` its id, `expected` the oldest that would
    /// do), or the reason: `crossed`, `out_of_order`, `checksum_mismatch`, `malformed`.
    SnapshotRefused = 6 "snapshot_refused",
    /// Kraken's CRC32: `expected` from the venue, `found` over our book.
    ChecksumMismatch = 7 "checksum_mismatch",
    /// Our best prices are not the venue's (Binance's bookTicker, Coinbase's ticker; Kraken's, of a book that nothing
    /// changes): `expected` its update id or sequence, `found` our book's where it has one.
    OracleDisagrees = 8 "oracle_disagrees",
    /// The tops agree again; on Binance every level of the disagreement was sent again since.
    OracleAgrees = 9 "oracle_agrees",
    /// Trade ids never came: `expected`, `found`, `count`.
    TradeGap = 10 "trade_gap",
    /// A trade id below the last one that was not seen before: `expected`, `found`.
    TradeLate = 11 "trade_late",
    /// A frame was set aside: `found` is the byte where it stops making sense.
    Malformed = 12 "malformed",
    /// The instrument has a new version with other exponents.
    PrecisionChanged = 13 "precision_changed",
    /// A session began.
    Connected = 14 "connected",
    /// A session ended; books fed by it wait for a snapshot.
    Disconnected = 15 "disconnected",
    /// The venue confirmed the end of a subscription.
    Unsubscribed = 16 "unsubscribed",
    /// The venue refused a request; `found` is its code, 0 where it sends words only.
    Refused = 17 "refused",
    /// The venue announced that it will close the connection.
    VenueShutdown = 18 "venue_shutdown",
    /// Best bid at or above best ask, which no venue's own book shows.
    Crossed = 19 "crossed",
    /// Levels of a snapshot are not in price order.
    OutOfOrder = 20 "out_of_order",
    /// The stream does not reach the snapshot's sequence within the bound: `expected` the snapshot's, `found` the
    /// stream's.
    SnapshotAhead = 21 "snapshot_ahead",
    /// More messages came before a snapshot than are kept; `count` were dropped.
    BufferFull = 22 "buffer_full",
    /// The first message of an instrument, or of a new subscription to it.
    Started = 23 "started",
    /// A book update from another connection than the book's snapshot.
    ConnectionChanged = 24 "connection_changed",
    /// The clock of the receiving machine was stepped, as its connector reports.
    ClockStepped = 25 "clock_stepped",
    /// The venue halted trading in the instrument; `found` is its reason where it gives one, four letters as bytes.
    TradingHalted = 26 "trading_halted",
    /// Trading in the instrument goes on.
    TradingResumed = 27 "trading_resumed",
    /// The venue declared a trade void; `found` is its id.
    TradeBroken = 28 "trade_broken",
    /// The session of the instrument is another one: `found` is its number as in `docs/formats/orders.md`.
    SessionChanged = 29 "session_changed",
    /// An auction that ended now would give price `found` and size `count`, in the instrument's units; both 0 when it would
    /// give no trade.
    IndicativePrice = 30 "indicative_price",
    /// The auction ended at price `found` and size `count`; its trades are told one by one as well.
    Uncrossed = 31 "uncrossed",
}
