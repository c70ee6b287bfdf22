//! One row of a LOBSTER message file.

use tidebook_types::records::{ORDER_ADD, ORDER_CANCEL, ORDER_DELETE, ORDER_EXECUTE, SIDE_BUY, SIDE_SELL};

use crate::decimal::nearest_nanoseconds;
use crate::orders::OrderEvent;
use crate::scan::{ScanError, Unknown, parse_unsigned};

/// A day has no more nanoseconds, even when clocks are set back.
const DAY_NS_MAX: i64 = 90_000_000_000_000;

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Order(OrderEvent),
    /// A fill of an order that was never shown.
    HiddenFill(OrderEvent),
    Halted,
    Resumed,
    /// Quotes resume ahead of trading.
    Acknowledged,
    /// Of a halt that is neither its beginning nor its end.
    UnknownHalt,
    Unknown,
}

/// Nanoseconds after midnight, and what the row says.
pub(crate) fn row(body: &[u8], unknown: &mut Unknown) -> Result<(i64, Row), ScanError> {
    let mut columns = [&b""[..]; 6];
    let mut count = 0;
    for column in body.trim_ascii_end().split(|&byte| byte == b',') {
        if let Some(place) = columns.get_mut(count) {
            *place = column;
        } else {
            unknown.fields += 1;
        }
        count += 1;
    }
    if count < columns.len() {
        return Err(ScanError { offset: body.len(), expected: "six columns" });
    }
    let [time, kind, order_id, size, price, side] = columns;
    let wrong = |expected| ScanError { offset: 0, expected };
    let since_midnight = nearest_nanoseconds(time).filter(|&ns| ns < DAY_NS_MAX);
    let since_midnight = since_midnight.ok_or(wrong("seconds after midnight"))?;
    let action = match parse_unsigned(kind).ok_or(wrong("a type"))? {
        1 => ORDER_ADD,
        2 => ORDER_CANCEL,
        3 => ORDER_DELETE,
        4 | 5 => ORDER_EXECUTE,
        7 => {
            let row = match price {
                b"-1" => Row::Halted,
                b"0" => Row::Acknowledged,
                b"1" => Row::Resumed,
                _ if !price.is_empty() => {
                    unknown.values += 1;
                    Row::UnknownHalt
                }
                _ => return Err(wrong("a halt's -1, 0 or 1 as price")),
            };
            return Ok((since_midnight, row));
        }
        _ => return Ok((since_midnight, Row::Unknown)),
    };
    let above_zero = |text| parse_unsigned(text).and_then(|units| i64::try_from(units).ok()).filter(|&units| units > 0);
    let event = OrderEvent {
        action,
        order_id: parse_unsigned(order_id).ok_or(wrong("an order id"))?,
        side: match side {
            b"1" => SIDE_BUY,
            b"-1" => SIDE_SELL,
            _ => return Err(wrong("side 1 or -1")),
        },
        price: above_zero(price).ok_or(wrong("a price above 0"))?,
        size: above_zero(size).ok_or(wrong("a size above 0"))?,
    };
    let row = if kind == b"5" { Row::HiddenFill(event) } else { Row::Order(event) };
    Ok((since_midnight, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(body: &str) -> Result<(i64, Row), ScanError> {
        row(body.as_bytes(), &mut Unknown::default())
    }

    #[test]
    fn each_type_of_row_is_an_event() {
        let event = |action| OrderEvent { action, order_id: 16_113_575, side: SIDE_SELL, price: 5_853_300, size: 18 };
        for (kind, expected) in [
            (1, Row::Order(event(ORDER_ADD))),
            (2, Row::Order(event(ORDER_CANCEL))),
            (3, Row::Order(event(ORDER_DELETE))),
            (4, Row::Order(event(ORDER_EXECUTE))),
            (5, Row::HiddenFill(event(ORDER_EXECUTE))),
            (6, Row::Unknown),
            (99, Row::Unknown),
        ] {
            let body = format!("34200.004241176,{kind},16113575,18,5853300,-1\r");
            assert_eq!(plain(&body), Ok((34_200_004_241_176, expected)), "{kind}");
        }
        for (price, expected) in [("-1", Row::Halted), ("0", Row::Acknowledged), ("1", Row::Resumed)] {
            assert_eq!(plain(&format!("34713.6,7,0,0,{price},-1")).unwrap().1, expected);
        }
    }

    #[test]
    fn a_damaged_row_gives_nothing() {
        let good = "34200.004241176,1,16113575,18,5853300,1";
        for size in 0..good.len() {
            assert!(plain(&good[..size]).is_err(), "{size}");
        }
        for (from, to) in [
            ("34200.", "3420o."),
            ("34200.", "94200."),
            (",1,161", ",x,161"),
            (",18,", ",0,"),
            (",18,", ",-18,"),
            ("5853300", "5853300.5"),
            ("00,1", "00,2"),
            ("5853300", "585,300"),
            ("16113575", "1611,3575"),
        ] {
            let body = good.replacen(from, to, 1);
            assert!(plain(&body).is_err(), "{body}");
        }
    }
}
