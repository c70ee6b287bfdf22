//! What the venues that speak Binance's protocol do differently, as data: one decoder and one book rule serve them all.
//!
//! Source: Binance documentation of spot, USD-M and COIN-M futures, "How to manage a local order book correctly"; every
//! value here was checked on recordings (`crates/feed/tests/recordings.rs`).

use tidebook_types::{Exponent, Venue};

use crate::saved::saved;

/// Differences of one venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// How a depth message tells which one it follows.
    pub(crate) chain: Chain,
    /// When bookTickers come that belong to a depth message.
    pub(crate) tickers: TickerTime,
    /// Changes that may lie wholly before a snapshot's id until it counts as wrong: 10 s of the fastest depth stream.
    pub(crate) behind_max: u32,
    /// Exponents of price and size of every instrument until a number needs others.
    pub(crate) exponents: (Exponent, Exponent),
}

saved!(Rules { chain, tickers, behind_max, exponents });

/// How a depth message tells which one it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Chain {
    /// `U` is one more than `u` of the one before: update ids count one instrument's changes.
    First,
    /// `pu` is `u` of the one before: update ids count the changes of all instruments, so `U` says nothing of a chain.
    Previous,
}

saved!(Chain: First = 0, Previous = 1);

/// When bookTickers come that belong to a depth message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TickerTime {
    /// All with an id up to `u` before the depth message that ends with `u`.
    Before,
    /// Some behind it: in a recording of USD-M 1,093 of 66,089 do. The first one with an id from `u` on tells that none
    /// is missing.
    Around,
}

saved!(TickerTime: Before = 0, Around = 1);

impl Rules {
    const SPOT: Self = Self { chain: Chain::First, tickers: TickerTime::Before, behind_max: 100, exponents: (8, 8) };

    /// Futures count contracts in thousandths at the finest, and some in numbers that eight decimals would not leave
    /// room for.
    const FUTURES: Self =
        Self { chain: Chain::Previous, tickers: TickerTime::Around, behind_max: 1_000, exponents: (8, 3) };

    /// Those of a venue that speaks the protocol.
    pub(crate) const fn of(venue: Venue) -> Self {
        match venue {
            Venue::BinanceUsdm | Venue::BinanceCoinm => Self::FUTURES,
            _ => Self::SPOT,
        }
    }
}
