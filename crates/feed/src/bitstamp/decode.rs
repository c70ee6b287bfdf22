//! Lines of a Bitstamp recording: the event's name, a space, the event's JSON.
//!
//! Orders and the book print decimals as text and exactly; trades print binary floats (`1.7885566900000001`), which are
//! taken as the units nearest to them.

use tidebook_book::Level;
use tidebook_types::Exponent;
use tidebook_types::records::{ORDER_ADD, ORDER_DELETE, ORDER_MODIFY, SIDE_BUY, SIDE_NONE, SIDE_SELL};

use crate::decimal::nearest_units;
use crate::failure::{Failure, Quantity};
use crate::kraken::decode::units;
use crate::market::{NO_LEVEL, Print, Top};
use crate::orders::OrderEvent;
use crate::scan::{ScanError, Scanner, Unknown, parse_unsigned};

/// Decimals of an instrument until a number asks for more: cents and satoshis.
pub(crate) const EXPONENTS: (Exponent, Exponent) = (2, 8);

/// Seconds beyond this are no time.
const SECONDS_MAX: u64 = 7_258_118_400;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// `ts_event` is 0 where the venue gives no time: it repeats an order's creation with every event.
    Order {
        ts_event: i64,
        event: OrderEvent,
    },
    Trade(Print),
    Book(Top),
    Unknown,
}

/// A decimal as text or as a bare number.
#[derive(Debug, Clone, Copy)]
struct Decimal<'a> {
    text: &'a [u8],
    quoted: bool,
    at: usize,
}

impl<'a> Decimal<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let quoted = scanner.peek() == Some(b'"');
        let at = scanner.position();
        let text = if quoted { scanner.string()? } else { scanner.number()? };
        Ok(Self { text, quoted, at })
    }

    fn units(self, quantity: Quantity, exponent: Exponent) -> Result<i64, Failure<'a>> {
        if self.quoted {
            return units(self.text, self.at, b"", quantity, exponent);
        }
        let expected = "a number within a thousandth of a unit";
        Ok(nearest_units(self.text, exponent).ok_or(ScanError { offset: self.at, expected })?)
    }
}

/// The line in `body`, whose JSON is whole.
pub(crate) fn line<'a>(
    body: &'a [u8],
    exponents: (Exponent, Exponent),
    unknown: &mut Unknown,
) -> Result<Line, Failure<'a>> {
    let name_size = body.iter().position(|&byte| byte == b' ').ok_or(ScanError { offset: 0, expected: "an event" })?;
    let mut scanner = Scanner::new(body);
    scanner.seek(name_size + 1);
    match &body[..name_size] {
        b"order_created" => order(&mut scanner, ORDER_ADD, exponents, unknown),
        b"order_changed" => order(&mut scanner, ORDER_MODIFY, exponents, unknown),
        b"order_deleted" => order(&mut scanner, ORDER_DELETE, exponents, unknown),
        b"trade" => trade(&mut scanner, exponents, unknown),
        b"order_book" => book(&mut scanner, exponents, unknown),
        _ => {
            scanner.skip()?;
            scanner.end()?;
            Ok(Line::Unknown)
        }
    }
}

fn order<'a>(
    scanner: &mut Scanner<'a>,
    action: u8,
    (price_exp, size_exp): (Exponent, Exponent),
    unknown: &mut Unknown,
) -> Result<Line, Failure<'a>> {
    let (mut order_id, mut price, mut amount, mut seconds, mut kind) = (None, None, None, None, None);
    let start = scanner.position();
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"id" => order_id = Some(scanner.unsigned()?),
            b"price" => price = Some(Decimal::read(scanner)?),
            b"amount" => amount = Some(Decimal::read(scanner)?),
            b"datetime" => seconds = parse_unsigned(Decimal::read(scanner)?.text),
            b"order_type" => kind = Some(scanner.unsigned()?),
            _ => unknown.field(scanner, is_passed(key))?,
        }
    }
    scanner.end()?;
    let missing = |expected| ScanError { offset: start, expected };
    let order_id = order_id.ok_or(missing("`id`"))?;
    let side = match kind.ok_or(missing("`order_type`"))? {
        0 => SIDE_BUY,
        1 => SIDE_SELL,
        _ => {
            unknown.values += 1;
            SIDE_NONE
        }
    };
    let price = price.ok_or(missing("`price`"))?.units(Quantity::Price, price_exp)?;
    let size = amount.ok_or(missing("`amount`"))?.units(Quantity::Size, size_exp)?;
    let seconds = seconds.filter(|&seconds| seconds < SECONDS_MAX).ok_or(missing("`datetime` in seconds"))?;
    if action == ORDER_ADD && (price == 0 || size == 0) {
        return Err(missing("`price` and `amount` above 0").into());
    }
    let ts_event = if action == ORDER_ADD { seconds as i64 * 1_000_000_000 } else { 0 };
    Ok(Line::Order { ts_event, event: OrderEvent { action, order_id, side, price, size } })
}

fn trade<'a>(
    scanner: &mut Scanner<'a>,
    (price_exp, size_exp): (Exponent, Exponent),
    unknown: &mut Unknown,
) -> Result<Line, Failure<'a>> {
    let (mut trade_id, mut price, mut amount) = (None, None, None);
    let start = scanner.position();
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"id" => trade_id = Some(scanner.unsigned()?),
            b"price" => price = Some(Decimal::read(scanner)?),
            b"amount" => amount = Some(Decimal::read(scanner)?),
            _ => unknown.field(scanner, is_passed(key))?,
        }
    }
    scanner.end()?;
    let missing = |expected| ScanError { offset: start, expected };
    Ok(Line::Trade(Print {
        ts_event: 0,
        trade_id: trade_id.ok_or(missing("`id`"))?,
        price: price.ok_or(missing("`price`"))?.units(Quantity::Price, price_exp)?,
        size: amount.ok_or(missing("`amount`"))?.units(Quantity::Size, size_exp)?,
        side: SIDE_NONE,
        flags: 0,
    }))
}

fn book<'a>(
    scanner: &mut Scanner<'a>,
    exponents: (Exponent, Exponent),
    unknown: &mut Unknown,
) -> Result<Line, Failure<'a>> {
    let (mut bid, mut ask) = (None, None);
    let start = scanner.position();
    scanner.expect(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"bids" => bid = Some(best(scanner, exponents, unknown)?),
            b"asks" => ask = Some(best(scanner, exponents, unknown)?),
            _ => unknown.field(scanner, is_passed(key))?,
        }
    }
    scanner.end()?;
    match (bid, ask) {
        (Some(bid), Some(ask)) => Ok(Line::Book(Top { bid, ask })),
        _ => Err(ScanError { offset: start, expected: "`bids` and `asks`" }.into()),
    }
}

/// Whether later versions of the feed, by the venue's documents, have a field of this name that is not read.
const fn is_passed(name: &[u8]) -> bool {
    matches!(
        name,
        b"timestamp"
            | b"microtimestamp"
            | b"type"
            | b"id_str"
            | b"price_str"
            | b"amount_str"
            | b"amount_at_create"
            | b"amount_traded"
            | b"buy_order_id"
            | b"sell_order_id"
            | b"order_subtype"
            | b"event"
    )
}

/// The first level of the side at the scanner, which steps behind the side.
fn best<'a>(
    scanner: &mut Scanner<'a>,
    (price_exp, size_exp): (Exponent, Exponent),
    unknown: &mut Unknown,
) -> Result<Level, Failure<'a>> {
    let mut best = NO_LEVEL;
    scanner.expect(b'[', "levels")?;
    let mut first = true;
    if scanner.element(&mut first)? {
        scanner.expect(b'[', "a level")?;
        let mut inner = true;
        let mut column = || -> Result<Decimal<'a>, ScanError> {
            if !scanner.element(&mut inner)? {
                return Err(scanner.error("price and size"));
            }
            Decimal::read(scanner)
        };
        let (price, size) = (column()?, column()?);
        unknown.columns(scanner, &mut inner)?;
        best = Level { price: price.units(Quantity::Price, price_exp)?, size: size.units(Quantity::Size, size_exp)? };
    } else {
        return Ok(best);
    }
    while scanner.element(&mut first)? {
        scanner.skip()?;
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: &str = r#"order_changed {"price": "236.47", "amount": "1.78855669", "datetime": "1430438404", "id": 65595247, "order_type": 0}"#;

    fn plain(body: &str) -> Result<Line, Failure<'_>> {
        line(body.as_bytes(), EXPONENTS, &mut Unknown::default())
    }

    #[test]
    fn lines_become_orders_trades_and_tops() {
        let order = |action, size| OrderEvent { action, order_id: 65_595_247, side: SIDE_BUY, price: 23_647, size };
        let created = CHANGED.replace("changed", "created");
        let deleted = CHANGED.replace("changed", "deleted").replace("1.78855669", "0.00000000");
        let trade = r#"trade {"price": 236.46999999999999886, "amount": 1.7885566900000001, "id": 8111042}"#;
        let print = Print { ts_event: 0, trade_id: 8_111_042, price: 23_647, size: 178_855_669, side: 0, flags: 0 };
        let top = Top { bid: Level { price: 23_647, size: 178_855_669 }, ask: NO_LEVEL };
        for (body, expected) in [
            (CHANGED, Line::Order { ts_event: 0, event: order(ORDER_MODIFY, 178_855_669) }),
            (&created, Line::Order { ts_event: 1_430_438_404_000_000_000, event: order(ORDER_ADD, 178_855_669) }),
            (&deleted, Line::Order { ts_event: 0, event: order(ORDER_DELETE, 0) }),
            (trade, Line::Trade(print)),
            (r#"order_book {"bids": [["236.47", "1.78855669"], ["236.20", "0.1"]], "asks": []}"#, Line::Book(top)),
            (r#"order_weather {"id": 1}"#, Line::Unknown),
        ] {
            assert_eq!(plain(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn a_number_that_needs_more_decimals_asks_for_them() {
        let body = CHANGED.replace("236.47", "0.23647");
        let expected = Failure::Precision { symbol: b"", quantity: Quantity::Price, exponent: 5 };
        assert_eq!(plain(&body), Err(expected));
    }

    #[test]
    fn a_damaged_line_gives_nothing() {
        for size in 0..CHANGED.len() {
            assert!(plain(&CHANGED[..size]).is_err(), "{size}");
        }
        for (from, to) in [
            ("\"id\"", "\"ie\""),
            ("\"price\"", "\"prize\""),
            ("\"order_type\": 0", "\"order_tipe\": 0"),
            ("1430438404", "14304384o4"),
            ("1.78855669", "1.7885.669"),
            ("236.47", "-36.47"),
        ] {
            let body = CHANGED.replacen(from, to, 1);
            assert!(plain(&body).is_err(), "{body}");
        }
        let nothing = CHANGED.replace("changed", "created").replace("1.78855669", "0.00000000");
        assert!(plain(&nothing).is_err());
    }
}
