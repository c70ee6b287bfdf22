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
}

impl Venue {
    /// Every venue, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Binance, Self::Kraken];

    /// Lower-case name: the command line's word and the end of `feed.<venue>`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Kraken => "kraken",
        }
    }

    /// Upper-case name: the end of an instrument id such as `BTCUSDT.BINANCE`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Binance => "BINANCE",
            Self::Kraken => "KRAKEN",
        }
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
    /// Largest index an id can carry.
    pub const INDEX_MAX: u32 = (1 << 24) - 1;

    /// The id of the venue's instrument number `index`.
    ///
    /// # Panics
    /// When `index` exceeds [`Self::INDEX_MAX`]: a venue with 16 million instruments is a decoding mistake.
    pub const fn new(venue: Venue, index: u32) -> Self {
        assert!(index <= Self::INDEX_MAX, "instrument index out of range");
        Self(((venue as u32) << 24) | index)
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
