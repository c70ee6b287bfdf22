//! Which market a record belongs to.

/// An exchange whose dialect we decode. The number is stored in records and journals and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Venue {
    /// Binance spot.
    Binance = 1,
    /// Kraken spot, WebSocket v2.
    Kraken = 2,
    /// Binance futures margined in stable coins (USD-M).
    BinanceUsdm = 3,
    /// Binance futures margined in the coin itself (COIN-M).
    BinanceCoinm = 4,
    /// Binance.US spot.
    BinanceUs = 5,
    /// Coinbase Exchange.
    Coinbase = 6,
    /// Coinbase Advanced Trade.
    CoinbaseAdvanced = 7,
    /// Kraken spot, WebSocket v1.
    KrakenV1 = 8,
    /// Bitstamp, order by order.
    Bitstamp = 9,
    /// NASDAQ order by order in LOBSTER's form.
    Lobster = 10,
    /// NASDAQ order by order: TotalView-ITCH 5.0.
    Nasdaq = 11,
    /// The venue that a node runs itself.
    Local = 12,
}

/// What Binance's spot symbols end with; of two that fit the longer comes first.
const ONE_WORD_QUOTES: [&str; 27] = [
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDP", "BIDR", "IDRT", "USDS", "USD1", "DOGE", "USD", "BTC", "ETH",
    "BNB", "EUR", "GBP", "TRY", "BRL", "AUD", "JPY", "MXN", "ARS", "ZAR", "PLN", "DAI", "XRP",
];

impl Venue {
    /// Every venue, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Binance,
        Self::Kraken,
        Self::BinanceUsdm,
        Self::BinanceCoinm,
        Self::BinanceUs,
        Self::Coinbase,
        Self::CoinbaseAdvanced,
        Self::KrakenV1,
        Self::Bitstamp,
        Self::Lobster,
        Self::Nasdaq,
        Self::Local,
    ];

    /// Lower-case name: the command line's word and the end of `feed.<venue>`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Kraken => "kraken",
            Self::BinanceUsdm => "binance-usdm",
            Self::BinanceCoinm => "binance-coinm",
            Self::BinanceUs => "binance-us",
            Self::Coinbase => "coinbase",
            Self::CoinbaseAdvanced => "coinbase-advanced",
            Self::KrakenV1 => "kraken-v1",
            Self::Bitstamp => "bitstamp",
            Self::Lobster => "lobster",
            Self::Nasdaq => "nasdaq",
            Self::Local => "local",
        }
    }

    /// What stands behind the point of an instrument's name. Venues of one exchange share it, so it does not tell them
    /// apart: the number in an [`InstrumentId`] does.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Binance | Self::BinanceUsdm | Self::BinanceCoinm => "BINANCE",
            Self::BinanceUs => "BINANCEUS",
            Self::Kraken => "KRAKEN",
            Self::Coinbase => "COINBASE",
            Self::CoinbaseAdvanced => "COINBASEADV",
            Self::KrakenV1 => "KRAKENV1",
            Self::Bitstamp => "BITSTAMP",
            Self::Lobster => "LOBSTER",
            Self::Nasdaq => "NASDAQ",
            Self::Local => "LOCAL",
        }
    }

    /// The name of the instrument that the venue calls `symbol`: `BTCUSDT.BINANCE`. No two instruments share one.
    ///
    /// A perpetual future ends in `-PERP` whatever the venue writes, because Binance's USD-M symbols alone are those of
    /// its spot market; a future with a date (`BTCUSDT_240927`) keeps its symbol.
    pub fn instrument_name(self, symbol: &str) -> String {
        let perpetual = match self {
            Self::BinanceUsdm => Some(symbol).filter(|symbol| !symbol.contains('_')),
            Self::BinanceCoinm => symbol.strip_suffix("_PERP"),
            _ => None,
        };
        let suffix = self.suffix();
        perpetual.map_or_else(|| format!("{symbol}.{suffix}"), |pair| format!("{pair}-PERP.{suffix}"))
    }

    /// Base and quote currency of the spot market that the venue calls `symbol`: (BTC, USDT) of BTCUSDT. `None` for
    /// futures, shares and what cannot be told: Binance writes both in one word, so it is told by its end. Nor for a node's own
    /// venue: what is traded there is no price of the asset out in the world.
    pub fn asset(self, symbol: &str) -> Option<(&str, &str)> {
        let (base, quote) = match self {
            Self::Binance | Self::BinanceUs => {
                let quote = ONE_WORD_QUOTES.into_iter().find(|quote| symbol.ends_with(quote))?;
                symbol.split_at(symbol.len() - quote.len())
            }
            Self::Kraken | Self::KrakenV1 | Self::Bitstamp => symbol.split_once('/')?,
            Self::Coinbase | Self::CoinbaseAdvanced => symbol.split_once('-')?,
            Self::BinanceUsdm | Self::BinanceCoinm | Self::Lobster | Self::Nasdaq | Self::Local => return None,
        };
        let plain = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (plain(base) && plain(quote)).then_some((base, quote))
    }

    /// The venue called `name`, if we know it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| venue.name() == name)
    }

    /// The venue with this number, if we know it.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|venue| *venue as u8 == code)
    }
}

/// One instrument of one venue: `venue << 24 | index`, the index in order of first appearance from 0.
///
/// Unique over venues, so several feeds may share one channel; the symbol comes with an `Instrument` record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(u32);

impl InstrumentId {
    /// Largest index an id can carry. No instrument has it: it stands for the whole feed of the venue.
    pub const INDEX_MAX: u32 = (1 << 24) - 1;

    /// The id of the venue's instrument number `index`.
    ///
    /// # Panics
    /// When `index` exceeds [`Self::INDEX_MAX`]: a venue with 16 million instruments is a decoding mistake.
    pub const fn new(venue: Venue, index: u32) -> Self {
        assert!(index <= Self::INDEX_MAX, "instrument index out of range");
        Self(((venue as u32) << 24) | index)
    }

    /// What records about the whole feed of the venue carry.
    pub const fn whole_feed(venue: Venue) -> Self {
        Self::new(venue, Self::INDEX_MAX)
    }

    /// As stored in a record.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Position in the venue's instrument table.
    pub const fn index(self) -> usize {
        (self.0 & Self::INDEX_MAX) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_venue_has_its_own_number_and_name() {
        for venue in Venue::ALL {
            assert_eq!(Venue::from_code(venue as u8), Some(venue));
            assert_eq!(Venue::from_name(venue.name()), Some(venue));
        }
        assert!(Venue::ALL.windows(2).all(|pair| (pair[0] as u8) < pair[1] as u8));
    }

    #[test]
    fn a_spot_market_says_its_base_and_quote_and_nothing_else_does() {
        for (venue, symbol, asset) in [
            (Venue::Binance, "BTCUSDT", Some(("BTC", "USDT"))),
            (Venue::Binance, "BTCFDUSD", Some(("BTC", "FDUSD"))),
            (Venue::Binance, "ETHBTC", Some(("ETH", "BTC"))),
            (Venue::BinanceUs, "BTCUSD", Some(("BTC", "USD"))),
            (Venue::Kraken, "BTC/USD", Some(("BTC", "USD"))),
            (Venue::Coinbase, "BTC-USD", Some(("BTC", "USD"))),
            (Venue::Binance, "USDT", None),
            (Venue::Binance, "WHATEVER", None),
            (Venue::Kraken, "BTC/", None),
            (Venue::BinanceUsdm, "BTCUSDT", None),
            (Venue::Lobster, "AAPL", None),
            (Venue::Local, "BTC-USD", None),
        ] {
            assert_eq!(venue.asset(symbol), asset, "{symbol}");
        }
    }

    #[test]
    fn a_whole_feed_has_an_id_that_names_its_venue_and_no_instrument() {
        let id = InstrumentId::whole_feed(Venue::Kraken);
        assert_eq!((id.get(), id.index()), (0x02ff_ffff, InstrumentId::INDEX_MAX as usize));
    }

    #[test]
    fn an_instrument_is_named_by_its_symbol_and_its_exchange() {
        for (venue, symbol, name) in [
            (Venue::Binance, "BTCUSDT", "BTCUSDT.BINANCE"),
            (Venue::Kraken, "BTC/USD", "BTC/USD.KRAKEN"),
            (Venue::BinanceUsdm, "BTCUSDT", "BTCUSDT-PERP.BINANCE"),
            (Venue::BinanceUsdm, "BTCUSDT_240927", "BTCUSDT_240927.BINANCE"),
            (Venue::BinanceCoinm, "BTCUSD_PERP", "BTCUSD-PERP.BINANCE"),
            (Venue::BinanceCoinm, "BTCUSD_240927", "BTCUSD_240927.BINANCE"),
            (Venue::BinanceUs, "BTCUSDT", "BTCUSDT.BINANCEUS"),
            (Venue::Coinbase, "BTC-USD", "BTC-USD.COINBASE"),
            (Venue::CoinbaseAdvanced, "BTC-USD", "BTC-USD.COINBASEADV"),
            (Venue::KrakenV1, "BTC/USD", "BTC/USD.KRAKENV1"),
            (Venue::Bitstamp, "BTC/USD", "BTC/USD.BITSTAMP"),
            (Venue::Lobster, "AAPL", "AAPL.LOBSTER"),
            (Venue::Nasdaq, "AAPL", "AAPL.NASDAQ"),
            (Venue::Local, "BTC-USD", "BTC-USD.LOCAL"),
        ] {
            assert_eq!(venue.instrument_name(symbol), name);
        }
    }
}
