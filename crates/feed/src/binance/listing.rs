//! exchangeInfo: the steps of price and size of each symbol.
//!
//! The answer holds much more (limits, permissions, order types) and is large when all symbols were asked for; what is
//! not read is stepped over. The same shape on spot and futures.

use std::collections::BTreeMap;

use crate::failure::Quantity;
use crate::market::Steps;
use crate::saved::saved;
use crate::scan::{ScanError, Scanner, Unknown};

/// Whether the request was for exchangeInfo.
pub(crate) fn is_listing(target: &[u8]) -> bool {
    target.split(|&byte| byte == b'?').next().is_some_and(|path| path.ends_with(b"/exchangeInfo"))
}

/// Symbols whose steps are remembered; the largest venue lists about 3,000.
const LISTED_MAX: usize = 50_000;

/// What the venue lists, also of symbols that never had a message.
#[derive(Debug, Default, Hash)]
pub(crate) struct Listing(BTreeMap<Box<[u8]>, Steps>);

saved!(Listing(0));

impl Listing {
    /// Whether another answer's entry may be remembered.
    pub(crate) fn has_room(&self, symbol: &[u8]) -> bool {
        self.0.len() < LISTED_MAX || self.0.contains_key(symbol)
    }

    pub(crate) fn insert(&mut self, symbol: &[u8], steps: Steps) {
        self.0.insert(symbol.into(), steps);
    }

    /// Steps of a symbol; none known of one that was not listed.
    pub(crate) fn get(&self, symbol: &[u8]) -> Steps {
        self.0.get(symbol).copied().unwrap_or_default()
    }
}

/// Steps of one symbol as the venue writes them; a rule that is missing or disabled is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    pub(crate) symbol: &'a [u8],
    pub(crate) tick: &'a [u8],
    pub(crate) lot: &'a [u8],
}

/// Every symbol of an answer, in its order. False for an answer that is an error of the venue. Of what nobody knows only
/// filters are noted in `unknown`: they are rules, and the rest of an answer's many fields is none of ours.
pub(crate) fn listed<'a>(
    body: &'a [u8],
    unknown: &mut Unknown,
    mut each: impl FnMut(Listed<'a>),
) -> Result<bool, ScanError> {
    let mut scanner = Scanner::new(body);
    let mut found = false;
    let mut first = true;
    scanner.expect(b'{', "an object")?;
    while let Some(key) = scanner.key(&mut first)? {
        if key != b"symbols" {
            scanner.skip()?;
            continue;
        }
        found = true;
        scanner.expect(b'[', "an array of symbols")?;
        let mut first = true;
        while scanner.element(&mut first)? {
            let listed = symbol(&mut scanner, unknown)?;
            if !listed.symbol.is_empty() {
                each(listed);
            }
        }
    }
    scanner.end()?;
    Ok(found)
}

fn symbol<'a>(scanner: &mut Scanner<'a>, unknown: &mut Unknown) -> Result<Listed<'a>, ScanError> {
    let mut listed = Listed::default();
    let mut first = true;
    scanner.expect(b'{', "a symbol")?;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"symbol" => listed.symbol = scanner.string()?,
            b"filters" => {
                scanner.expect(b'[', "an array of filters")?;
                let mut first = true;
                while scanner.element(&mut first)? {
                    match filter(scanner, unknown)? {
                        Some((Quantity::Price, step)) => listed.tick = step,
                        Some((Quantity::Size, step)) => listed.lot = step,
                        None => {}
                    }
                }
            }
            _ => {
                scanner.skip()?;
            }
        }
    }
    Ok(listed)
}

/// The step that a filter sets, if it is one of the two that set one for every order.
fn filter<'a>(scanner: &mut Scanner<'a>, unknown: &mut Unknown) -> Result<Option<(Quantity, &'a [u8])>, ScanError> {
    let (mut kind, mut tick, mut step) = (&b""[..], None, None);
    let mut first = true;
    scanner.expect(b'{', "a filter")?;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"filterType" => kind = scanner.string()?,
            b"tickSize" => tick = Some(scanner.string()?),
            b"stepSize" => step = Some(scanner.string()?),
            _ => {
                scanner.skip()?;
            }
        }
    }
    Ok(match kind {
        b"PRICE_FILTER" => tick.map(|tick| (Quantity::Price, tick)),
        b"LOT_SIZE" => step.map(|step| (Quantity::Size, step)),
        _ => {
            unknown.values += u64::from(!is_filter(kind));
            None
        }
    })
}

/// Filters of the venue's documents that set no step.
const fn is_filter(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"PERCENT_PRICE"
            | b"PERCENT_PRICE_BY_SIDE"
            | b"MIN_NOTIONAL"
            | b"NOTIONAL"
            | b"ICEBERG_PARTS"
            | b"MARKET_LOT_SIZE"
            | b"MAX_NUM_ORDERS"
            | b"MAX_NUM_ALGO_ORDERS"
            | b"MAX_NUM_ICEBERG_ORDERS"
            | b"MAX_NUM_ORDER_LISTS"
            | b"MAX_NUM_ORDER_AMENDS"
            | b"MAX_POSITION"
            | b"TRAILING_DELTA"
            | b"POSITION_RISK_CONTROL"
            | b"EXCHANGE_MAX_NUM_ORDERS"
            | b"EXCHANGE_MAX_NUM_ALGO_ORDERS"
            | b"EXCHANGE_MAX_NUM_ICEBERG_ORDERS"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"timezone":"UTC","rateLimits":[{"limit":1200}],"symbols":[
        {"symbol":"BTCUSDT","status":"TRADING","filters":[
            {"filterType":"PRICE_FILTER","minPrice":"0.01","maxPrice":"1000000","tickSize":"0.01000000"},
            {"filterType":"MARKET_LOT_SIZE","stepSize":"0.00000000"},
            {"stepSize":"0.00001000","filterType":"LOT_SIZE"},{"filterType":"A_LATER_ONE","limits":[{"a":1}]}],
         "permissions":["SPOT"]},
        {"filters":[],"symbol":"NEW"},{"symbol":"PLAIN"}],"later":{}}"#;

    fn all(body: &str) -> Result<(Vec<Listed<'_>>, u64), ScanError> {
        let (mut all, mut unknown) = (Vec::new(), Unknown::default());
        assert!(listed(body.as_bytes(), &mut unknown, |listed| all.push(listed))?);
        Ok((all, unknown.values))
    }

    #[test]
    fn each_symbol_has_the_steps_of_its_price_and_lot_filters() {
        let expected = [
            Listed { symbol: b"BTCUSDT", tick: b"0.01000000", lot: b"0.00001000" },
            Listed { symbol: b"NEW", ..Listed::default() },
            Listed { symbol: b"PLAIN", ..Listed::default() },
        ];
        assert_eq!(all(BODY), Ok((expected.to_vec(), 1)), "`A_LATER_ONE` is no filter we know");
        let refused = br#"{"code":-1121,"msg":"Invalid symbol."}"#;
        assert_eq!(listed(refused, &mut Unknown::default(), |_| {}), Ok(false));
        for (target, answer) in [
            ("/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%5D", true),
            ("/fapi/v1/exchangeInfo", true),
            ("/api/v3/depth?symbol=exchangeInfo", false),
            ("", false),
        ] {
            assert_eq!(is_listing(target.as_bytes()), answer, "{target}");
        }
    }

    #[test]
    fn an_answer_cut_at_any_byte_is_an_error() {
        for size in 0..BODY.len() {
            assert!(listed(&BODY.as_bytes()[..size], &mut Unknown::default(), |_| {}).is_err(), "{size}");
        }
    }
}
