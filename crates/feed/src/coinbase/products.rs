//! The list of products: steps of prices and sizes.
//!
//! `GET /products` of the Exchange answers with an array of products (`id`, `quote_increment`), `GET
//! /api/v3/brokerage/market/products` of Advanced Trade with an object that holds one (`product_id`, `price_increment`).
//! Both lists are read by one function, since they differ in names alone.

use std::collections::BTreeMap;

use tidebook_types::{Exponent, parse_units};

use super::EXPONENTS;
use crate::decimal::significant_decimals;
use crate::engine::Quarantine;
use crate::market::{Emitter, Markets, StatusRecord, Steps};
use crate::saved::saved;
use crate::scan::{ScanError, Scanner};
use crate::sink::RecordSink;
use crate::status::StatusKind;

/// Most places of an increment that is believed.
const PLACES_MAX: Exponent = 12;

/// One product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Product {
    /// Places of the increments.
    pub(super) exponents: (Exponent, Exponent),
    pub(super) steps: Steps,
}

saved!(Product { exponents, steps });

impl Product {
    fn of(price_step: &[u8], size_step: &[u8]) -> Option<Self> {
        let exponents = (significant_decimals(price_step), significant_decimals(size_step));
        if exponents.0.max(exponents.1) > PLACES_MAX {
            return None;
        }
        let tick = parse_units(price_step, exponents.0).ok().filter(|&tick| tick > 0)?;
        let lot = parse_units(size_step, exponents.1).ok().filter(|&lot| lot > 0)?;
        Some(Self { exponents, steps: Steps { tick: (tick, exponents.0), lot: (lot, exponents.1) } })
    }
}

/// Products by symbol.
#[derive(Debug, Default, Hash)]
pub(super) struct Products(BTreeMap<Box<[u8]>, Product>);

saved!(Products(0));

impl Products {
    /// Exponents to begin an instrument with.
    pub(super) fn exponents(&self, symbol: &[u8]) -> (Exponent, Exponent) {
        self.0.get(symbol).map_or(EXPONENTS, |product| product.exponents)
    }

    /// The product called `symbol`, if a list named it.
    pub(super) fn get(&self, symbol: &[u8]) -> Option<&Product> {
        self.0.get(symbol)
    }

    /// Takes in an answer; false when it holds no products. Products without increments are left out.
    pub(super) fn read(&mut self, body: &[u8]) -> Result<bool, ScanError> {
        // Nothing is taken from an answer that does not make sense to its end.
        let mut found = Vec::new();
        let mut scanner = Scanner::new(body);
        let any = match scanner.peek() {
            Some(b'[') => {
                list(&mut scanner, &mut found)?;
                true
            }
            _ => object(&mut scanner, &mut found, true)?,
        };
        scanner.end()?;
        for (symbol, product) in found {
            self.0.insert(symbol.into(), product);
        }
        Ok(any)
    }
}

fn list<'a>(scanner: &mut Scanner<'a>, found: &mut Vec<(&'a [u8], Product)>) -> Result<(), ScanError> {
    scanner.expect(b'[', "an array of products")?;
    let mut first = true;
    while scanner.element(&mut first)? {
        object(scanner, found, false)?;
    }
    Ok(())
}

/// Reads a product, or an object that holds a list of them where one may; says whether it was either.
fn object<'a>(
    scanner: &mut Scanner<'a>,
    found: &mut Vec<(&'a [u8], Product)>,
    may_hold_list: bool,
) -> Result<bool, ScanError> {
    let (mut symbol, mut price_step, mut quote_step, mut size_step) = (None, None, None, None);
    let mut any = false;
    scanner.expect(b'{', "a product")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        let field = match (key, scanner.peek()) {
            (b"products", Some(b'[')) if may_hold_list => {
                list(scanner, found)?;
                any = true;
                continue;
            }
            (b"id" | b"product_id", Some(b'"')) => &mut symbol,
            (b"price_increment", Some(b'"')) => &mut price_step,
            (b"quote_increment", Some(b'"')) => &mut quote_step,
            (b"base_increment", Some(b'"')) => &mut size_step,
            _ => {
                scanner.skip()?;
                continue;
            }
        };
        *field = Some(scanner.string()?);
    }
    if let (Some(symbol), Some(price_step), Some(size_step)) = (symbol, price_step.or(quote_step), size_step)
        && let Some(product) = Product::of(price_step, size_step)
    {
        found.push((symbol, product));
    }
    Ok(any || symbol.is_some())
}

/// Whether a request asks for products: `/products`, `/products/BTC-USD`, `/api/v3/brokerage/market/products?limit=..`.
pub(super) fn is_request(target: &[u8]) -> bool {
    let path = target.split(|&byte| byte == b'?').next().unwrap_or(target);
    let mut words = path.rsplit(|&byte| byte == b'/');
    let (last, before) = (words.next(), words.next());
    last == Some(b"products") || before == Some(b"products")
}

/// Takes in a REST answer of either dialect.
pub(super) fn on_rest<S: RecordSink>(
    products: &mut Products,
    markets: &mut Markets,
    quarantine: &mut Quarantine,
    (target, body): (&[u8], &[u8]),
    emit: &mut Emitter<'_, S>,
) {
    if !is_request(target) {
        markets.counters.unknown += 1;
        return;
    }
    match products.read(body) {
        Ok(true) => {
            markets.counters.acknowledged += 1;
            for index in 0..markets.all().len() {
                if let Some(product) = products.get(&markets.all()[index].symbol) {
                    markets.set_steps(index, product.steps, emit);
                }
            }
        }
        Ok(false) => {
            markets.counters.refused += 1;
            emit.status(0, 0, StatusRecord::of(StatusKind::Refused));
        }
        Err(error) => quarantine.add(&mut markets.counters, error, emit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_give_increments() {
        let mut products = Products::default();
        let exchange = br#"[{"id":"SKL-USD","base_currency":"SKL","quote_increment":"0.0001","base_increment":"0.1"},
            {"id":"SHIB-USD","quote_increment":"0.00000001","base_increment":"1","x":[{}]},{"id":"ODD-USD"}]"#;
        assert_eq!(products.read(exchange), Ok(true));
        let advanced = br#"{"products":[{"product_id":"BTC-USD", "price":"65086.18", "base_increment":"0.00000001",
            "quote_increment":"0.001", "price_increment":"0.05"}],"num_products":920}"#;
        assert_eq!(products.read(advanced), Ok(true));
        assert_eq!(products.exponents(b"SKL-USD"), (4, 1));
        assert_eq!(products.exponents(b"SHIB-USD"), (8, 0));
        assert_eq!(products.exponents(b"ODD-USD"), EXPONENTS);
        let bitcoin = *products.get(b"BTC-USD").unwrap();
        assert_eq!(bitcoin, Product { exponents: (2, 8), steps: Steps { tick: (5, 2), lot: (1, 8) } });
        assert_eq!(products.read(br#"{"id":"A-B","quote_increment":"0.01","base_increment":"0.01"}"#), Ok(true));
        assert_eq!(products.exponents(b"A-B"), (2, 2));
    }

    #[test]
    fn an_answer_without_products_or_cut_gives_nothing() {
        let mut products = Products::default();
        assert_eq!(products.read(br#"{"message":"NotFound"}"#), Ok(false));
        assert!(products.read(br#"[{"id":"A-B","quote_increment":"0.01","base_increment":"0.01"}"#).is_err());
        assert_eq!(products.exponents(b"A-B"), EXPONENTS);
        for (price, size) in [("0", "1"), ("x", "1"), ("-1", "1"), ("0.0000000000001", "1")] {
            assert_eq!(Product::of(price.as_bytes(), size.as_bytes()), None);
        }
    }

    #[test]
    fn requests_are_told_by_their_target() {
        for target in ["/products", "/products/BTC-USD", "/api/v3/brokerage/market/products?limit=5"] {
            assert!(is_request(target.as_bytes()), "{target}");
        }
        for target in ["/products/BTC-USD/book?level=3", "/time", ""] {
            assert!(!is_request(target.as_bytes()), "{target}");
        }
    }
}
