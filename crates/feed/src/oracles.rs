//! Independent checks of what the engine made, counted by name.
//!
//! A sequence check proves that no message was lost, not that the book is right; an oracle compares with something the
//! venue computed itself. An oracle only counts: what a disagreement does to a book is the venue's rule.

use crate::saved::saved;

/// A named check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Oracle {
    /// Each depth message begins one update id behind the end of the one before.
    BinanceDepthChain,
    /// After a depth message, our best prices and sizes equal the last bookTicker with an update id not above it.
    BinanceBookTicker,
    /// Trade ids of an instrument rise by exactly one.
    BinanceTradeIds,
    /// CRC32 over our ten best levels a side equals the venue's, for each book message.
    KrakenBookChecksum,
    /// Our one-minute bars equal the venue's, for each minute with trades that our input covers.
    KrakenOhlc,
    /// Trade ids of an instrument rise by exactly one.
    KrakenTradeIds,
    /// CRC32 over our ten best levels a side equals the venue's, for each book update of WebSocket v1.
    KrakenV1BookChecksum,
    /// `sequence_num` of a session's messages rises by exactly one over all its channels.
    CoinbaseSequenceNum,
    /// Best bid and ask of a ticker are those of one of the last four states of our book.
    CoinbaseTicker,
    /// Trade ids of an instrument rise by exactly one.
    CoinbaseTradeIds,
    /// The last trade id that a heartbeat told was seen by the next heartbeat.
    CoinbaseLastTradeId,
    /// `sequence` of a product's messages on the full channel rises by exactly one.
    CoinbaseFullSequence,
    /// `heartbeat_counter` of a session rises by exactly one.
    CoinbaseHeartbeats,
}

impl Oracle {
    /// Every oracle, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::BinanceDepthChain,
        Self::BinanceBookTicker,
        Self::BinanceTradeIds,
        Self::KrakenBookChecksum,
        Self::KrakenOhlc,
        Self::KrakenTradeIds,
        Self::KrakenV1BookChecksum,
        Self::CoinbaseSequenceNum,
        Self::CoinbaseTicker,
        Self::CoinbaseTradeIds,
        Self::CoinbaseLastTradeId,
        Self::CoinbaseFullSequence,
        Self::CoinbaseHeartbeats,
    ];

    /// `<venue>.<check>`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BinanceDepthChain => "binance.depth_chain",
            Self::BinanceBookTicker => "binance.book_ticker",
            Self::BinanceTradeIds => "binance.trade_ids",
            Self::KrakenBookChecksum => "kraken.book_checksum",
            Self::KrakenOhlc => "kraken.ohlc",
            Self::KrakenTradeIds => "kraken.trade_ids",
            Self::KrakenV1BookChecksum => "kraken-v1.book_checksum",
            Self::CoinbaseSequenceNum => "coinbase.sequence_num",
            Self::CoinbaseTicker => "coinbase.ticker",
            Self::CoinbaseTradeIds => "coinbase.trade_ids",
            Self::CoinbaseLastTradeId => "coinbase.last_trade_id",
            Self::CoinbaseFullSequence => "coinbase.full_sequence",
            Self::CoinbaseHeartbeats => "coinbase.heartbeats",
        }
    }
}

/// How often a check was made and held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times it held.
    pub passed: u64,
    /// Times it did not.
    pub failed: u64,
}

saved!(Tally { passed, failed });

/// The tallies of all oracles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oracles([Tally; Oracle::ALL.len()]);

saved!(Oracles(0));

impl Oracles {
    /// Counts one check.
    #[inline]
    pub const fn count(&mut self, oracle: Oracle, held: bool) {
        let tally = &mut self.0[oracle as usize];
        tally.passed += held as u64;
        tally.failed += !held as u64;
    }

    /// Tally of one oracle.
    pub const fn tally(&self, oracle: Oracle) -> Tally {
        self.0[oracle as usize]
    }

    /// Each oracle that made a check, with its tally.
    pub fn used(&self) -> impl Iterator<Item = (Oracle, Tally)> + '_ {
        let tallies = Oracle::ALL.into_iter().map(|oracle| (oracle, self.tally(oracle)));
        tallies.filter(|(_, tally)| tally.passed + tally.failed > 0)
    }

    /// Sum over all oracles.
    pub fn total(&self) -> Tally {
        self.0.iter().fold(Tally::default(), |sum, tally| Tally {
            passed: sum.passed + tally.passed,
            failed: sum.failed + tally.failed,
        })
    }
}
