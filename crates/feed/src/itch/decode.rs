//! One message of TotalView-ITCH 5.0.
//!
//! Every message has a fixed size by its type, and numbers are big-endian. All begin with type, stock locate (which names
//! the stock for this day), tracking number and time; sizes are shares, prices have four decimals. A message longer than
//! its type is one with fields of a later version behind those we know.

use tidebook_types::records::{SIDE_BUY, SIDE_SELL};

use crate::scan::ScanError;

/// Bytes of the fields that every message begins with.
pub(crate) const HEAD_BYTES: usize = 11;

/// A day has no more nanoseconds, even when clocks are set back.
const DAY_NS_MAX: i64 = 90_000_000_000_000;

/// Bytes of a message of this type, if we know it.
pub(crate) const fn size_bytes(kind: u8) -> Option<usize> {
    Some(match kind {
        b'S' | b'W' => 12,
        b'D' | b'B' => 19,
        b'Y' | b'N' => 20,
        b'h' => 21,
        b'X' => 23,
        b'H' => 25,
        b'L' => 26,
        b'K' => 28,
        b'E' => 31,
        b'V' | b'J' | b'U' => 35,
        b'A' | b'C' => 36,
        b'R' => 39,
        b'F' | b'Q' => 40,
        b'P' => 44,
        b'O' => 48,
        b'I' => 50,
        _ => return None,
    })
}

/// A stock's symbol, padded with spaces.
pub(crate) type Symbol = [u8; 8];

/// What all messages say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Number of the stock on this day; 0 where a message is of none.
    pub(crate) locate: u16,
    pub(crate) since_midnight_ns: i64,
}

/// What a message says beside its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// `R`: a stock and its round lot.
    Stock {
        symbol: Symbol,
        round_lot: u32,
    },
    /// `H`: halted, paused, quoted only or trading; and why.
    Trading {
        symbol: Symbol,
        state: u8,
        reason: [u8; 4],
    },
    /// `h`: one of the exchange's markets halts or goes on.
    Market {
        symbol: Symbol,
        market: u8,
        action: u8,
    },
    /// `A`, `F`.
    Add {
        symbol: Symbol,
        order_id: u64,
        side: i8,
        price: i64,
        size: i64,
    },
    /// `E`: filled at its own price.
    Execute {
        order_id: u64,
        size: i64,
        match_number: u64,
    },
    /// `C`: filled at another price. One that is not to be printed is told again as part of a cross.
    ExecuteAt {
        order_id: u64,
        size: i64,
        match_number: u64,
        printed: u8,
        price: i64,
    },
    /// `X`: a part of it was withdrawn.
    Cancel {
        order_id: u64,
        size: i64,
    },
    /// `D`: the rest of it was withdrawn.
    Delete {
        order_id: u64,
    },
    /// `U`: the order is gone and another of its side stands in its place.
    Replace {
        order_id: u64,
        by: u64,
        size: i64,
        price: i64,
    },
    /// `P`: a fill of an order that was never shown. Its side has meant nothing since 2014.
    HiddenTrade {
        symbol: Symbol,
        size: i64,
        price: i64,
        match_number: u64,
    },
    /// `Q`: all that an auction filled, at one price.
    Cross {
        symbol: Symbol,
        size: i64,
        price: i64,
        match_number: u64,
        kind: u8,
    },
    /// `B`: a trade of before is void.
    Broken {
        match_number: u64,
    },
    /// `S`: a part of the day begins or ends.
    Event {
        code: u8,
    },
    /// Says nothing of orders, trades or trading.
    Other,
    Unknown,
}

#[inline]
fn number<const SIZE: usize>(body: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word[8 - SIZE..].copy_from_slice(&body[at..at + SIZE]);
    u64::from_be_bytes(word)
}

#[inline]
fn bytes<const SIZE: usize>(body: &[u8], at: usize) -> [u8; SIZE] {
    body[at..at + SIZE].try_into().expect("a slice of this size")
}

/// Four bytes fit any signed 64 bits.
#[inline]
fn four(body: &[u8], at: usize) -> i64 {
    number::<4>(body, at) as i64
}

#[inline]
fn above_zero(units: i64, offset: usize, expected: &'static str) -> Result<i64, ScanError> {
    if units > 0 { Ok(units) } else { Err(ScanError { offset, expected }) }
}

fn shares(body: &[u8], at: usize) -> Result<i64, ScanError> {
    above_zero(four(body, at), at, "a size above 0")
}

fn price(body: &[u8], at: usize) -> Result<i64, ScanError> {
    above_zero(four(body, at), at, "a price above 0")
}

fn side(body: &[u8], at: usize) -> Result<i8, ScanError> {
    match body[at] {
        b'B' => Ok(SIDE_BUY),
        b'S' => Ok(SIDE_SELL),
        _ => Err(ScanError { offset: at, expected: "side B or S" }),
    }
}

/// Time of a message, ns after midnight, if it has one.
#[inline]
pub(crate) fn since_midnight_ns(body: &[u8]) -> Option<i64> {
    body.get(..HEAD_BYTES).map(|head| number::<6>(head, 5) as i64).filter(|&ns| ns < DAY_NS_MAX)
}

/// The message in `body`, and the bytes behind those of its type.
pub(crate) fn message(body: &[u8]) -> Result<(Head, Message, usize), ScanError> {
    let &kind = body.first().ok_or(ScanError { offset: 0, expected: "a message type" })?;
    let size = size_bytes(kind).unwrap_or(HEAD_BYTES);
    if body.len() < size {
        return Err(ScanError { offset: body.len(), expected: "all bytes of a message of this type" });
    }
    let time = ScanError { offset: 5, expected: "a time of the day" };
    let since_midnight_ns = since_midnight_ns(body).ok_or(time)?;
    let head = Head { locate: number::<2>(body, 1) as u16, since_midnight_ns };
    let message = match kind {
        b'A' | b'F' => Message::Add {
            symbol: bytes(body, 24),
            order_id: number::<8>(body, 11),
            side: side(body, 19)?,
            price: price(body, 32)?,
            size: shares(body, 20)?,
        },
        b'E' => Message::Execute {
            order_id: number::<8>(body, 11),
            size: shares(body, 19)?,
            match_number: number::<8>(body, 23),
        },
        b'C' => Message::ExecuteAt {
            order_id: number::<8>(body, 11),
            size: shares(body, 19)?,
            match_number: number::<8>(body, 23),
            printed: body[31],
            price: price(body, 32)?,
        },
        b'X' => Message::Cancel { order_id: number::<8>(body, 11), size: shares(body, 19)? },
        b'D' => Message::Delete { order_id: number::<8>(body, 11) },
        b'U' => Message::Replace {
            order_id: number::<8>(body, 11),
            by: number::<8>(body, 19),
            size: shares(body, 27)?,
            price: price(body, 31)?,
        },
        b'P' => Message::HiddenTrade {
            symbol: bytes(body, 24),
            size: shares(body, 20)?,
            price: price(body, 32)?,
            match_number: number::<8>(body, 36),
        },
        b'Q' => {
            let expected = "shares that fit 64 bits";
            let size = i64::try_from(number::<8>(body, 11)).map_err(|_| ScanError { offset: 11, expected })?;
            Message::Cross {
                symbol: bytes(body, 19),
                size,
                // An auction that filled nothing has no price.
                price: if size == 0 { four(body, 27) } else { price(body, 27)? },
                match_number: number::<8>(body, 31),
                kind: body[39],
            }
        }
        b'B' => Message::Broken { match_number: number::<8>(body, 11) },
        b'R' => Message::Stock { symbol: bytes(body, 11), round_lot: number::<4>(body, 21) as u32 },
        b'H' => Message::Trading { symbol: bytes(body, 11), state: body[19], reason: bytes(body, 21) },
        b'h' => Message::Market { symbol: bytes(body, 11), market: body[19], action: body[20] },
        b'S' => Message::Event { code: body[11] },
        _ if size_bytes(kind).is_some() => Message::Other,
        _ => return Ok((head, Message::Unknown, 0)),
    };
    Ok((head, message, body.len() - size))
}
