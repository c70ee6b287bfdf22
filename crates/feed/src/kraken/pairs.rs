//! Kraken's AssetPairs answer: the price and size steps of every pair.
//!
//! An entry's decimals say which numbers are valid, not how the wire prints them: `ADA/XBT` has eight decimals and WebSocket
//! v1 prints nine. Checksums cover the digits as printed, so exponents follow the wire and these give the steps.

use std::collections::BTreeMap;

use tidebook_types::units::EXPONENT_MAX;
use tidebook_types::{Exponent, decimals, parse_units};

use super::symbol;
use crate::engine::FeedOptions;
use crate::market::{Emitter, Markets, StatusRecord, Steps};
use crate::saved::saved;
use crate::scan::{ScanError, Scanner};
use crate::sink::RecordSink;
use crate::status::StatusKind;

/// What the answer says of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub(crate) price_decimals: Exponent,
    pub(crate) size_decimals: Exponent,
    /// The price step is `tick_size` where the answer has it; a step is one of the last decimal otherwise.
    pub(crate) steps: Steps,
}

saved!(Pair { price_decimals, size_decimals, steps });

/// Every pair the venue has told us of, by its WebSocket v2 name.
#[derive(Debug, Default, Hash)]
pub(crate) struct Pairs(BTreeMap<Box<[u8]>, Pair>);

saved!(Pairs(0));

impl Pairs {
    pub(crate) fn get(&self, symbol: &[u8]) -> Option<&Pair> {
        self.0.get(symbol)
    }

    /// Gives an instrument that has just opened the steps known of it.
    pub(crate) fn tell<S: RecordSink>(&self, markets: &mut Markets, index: usize, emit: &mut Emitter<'_, S>) {
        if let Some(pair) = self.get(&markets.get(index).symbol) {
            markets.set_steps(index, pair.steps, emit);
        }
    }

    /// Takes in the answer `body` and gives the open instruments their steps.
    pub(crate) fn on_answer<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        body: &[u8],
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let options = markets.options;
        let answered = self.read(body, &options, |name, pair| {
            if let Some(index) = markets.find(name) {
                markets.set_steps(index, pair.steps, emit);
            }
        })?;
        if answered {
            markets.counters.acknowledged += 1;
        } else {
            markets.counters.refused += 1;
            emit.status(0, 0, StatusRecord::of(StatusKind::Refused));
        }
        Ok(())
    }

    /// Takes in the answer `body`; calls `each` with every pair. False when the venue answered with an error. Entries
    /// without `wsname` are no markets of the public WebSocket and are left out.
    fn read(
        &mut self,
        body: &[u8],
        options: &FeedOptions,
        mut each: impl FnMut(&[u8], &Pair),
    ) -> Result<bool, ScanError> {
        let mut found = Vec::new();
        let mut scanner = Scanner::new(body);
        let mut answered = false;
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            if key != b"result" || scanner.peek() != Some(b'{') {
                scanner.skip()?;
                continue;
            }
            answered = true;
            scanner.expect(b'{', "an object")?;
            let mut first = true;
            while scanner.key(&mut first)?.is_some() {
                found.extend(entry(&mut scanner)?);
            }
        }
        scanner.end()?;
        // Only an answer that is whole says anything.
        for (name, pair) in found {
            if self.0.len() < options.instruments_max || self.0.contains_key(&name[..]) {
                each(&name, &pair);
                self.0.insert(name.into(), pair);
            }
        }
        Ok(answered)
    }
}

/// Name and steps of the entry at the scanner, which steps behind it.
fn entry(scanner: &mut Scanner<'_>) -> Result<Option<(Vec<u8>, Pair)>, ScanError> {
    let (mut name, mut price_decimals, mut size_decimals, mut tick) = (None, None, None, None);
    scanner.peek();
    let start = scanner.position();
    scanner.expect(b'{', "a pair")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key {
            b"wsname" if scanner.peek() == Some(b'"') => name = Some(scanner.string()?),
            b"pair_decimals" => price_decimals = Some(scanner.unsigned()?),
            b"lot_decimals" => size_decimals = Some(scanner.unsigned()?),
            b"tick_size" if scanner.peek() == Some(b'"') => tick = Some(scanner.string()?),
            _ => {
                scanner.skip()?;
            }
        }
    }
    let wrong = |expected| ScanError { offset: start, expected };
    let exponent = |decimals: Option<u64>| {
        let decimals = decimals.and_then(|decimals| Exponent::try_from(decimals).ok());
        let decimals = decimals.filter(|&decimals| decimals <= EXPONENT_MAX);
        decimals.ok_or(wrong("`pair_decimals` and `lot_decimals`, at most 18"))
    };
    let Some(name) = name else { return Ok(None) };
    let (price_decimals, size_decimals) = (exponent(price_decimals)?, exponent(size_decimals)?);
    let tick = match tick {
        None => (1, price_decimals),
        Some(text) => {
            let exponent = decimals(text).min(EXPONENT_MAX);
            let units = parse_units(text, exponent).ok().filter(|&units| units > 0);
            (units.ok_or(wrong("a `tick_size` above 0"))?, exponent)
        }
    };
    let pair = Pair { price_decimals, size_decimals, steps: Steps { tick, lot: (1, size_decimals) } };
    // REST answers escape the slash.
    let name = String::from_utf8_lossy(name).replace("\\/", "/");
    Ok(Some((symbol::normal(&name).into_bytes(), pair)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidebook_types::Venue;

    const ANSWER: &str = r#"{"error":[],"result":{"ADAXBT":{"altname":"ADAXBT","wsname":"ADA\/XBT","fees":[[0,0.26]],"pair_decimals":8,"lot_decimals":8},"XXBTZUSD":{"wsname":"XBT/USD","pair_decimals":1,"lot_decimals":8,"tick_size":"0.5"},"XXBTZUSD.d":{"altname":"XBTUSD.d","pair_decimals":3,"lot_decimals":8}}}"#;

    fn read(body: &str) -> (Pairs, Result<bool, ScanError>, Vec<String>) {
        let (mut pairs, mut names) = (Pairs::default(), Vec::new());
        let options = FeedOptions::of(Venue::Kraken);
        let result =
            pairs.read(body.as_bytes(), &options, |name, _| names.push(String::from_utf8_lossy(name).into_owned()));
        (pairs, result, names)
    }

    #[test]
    fn pairs_have_the_names_of_websocket_v2_and_their_steps() {
        let (pairs, result, names) = read(ANSWER);
        assert_eq!((result, names), (Ok(true), vec!["ADA/BTC".to_owned(), "BTC/USD".to_owned()]));
        let expected = Pair { price_decimals: 1, size_decimals: 8, steps: Steps { tick: (5, 1), lot: (1, 8) } };
        assert_eq!(pairs.get(b"BTC/USD"), Some(&expected));
        let expected = Pair { price_decimals: 8, size_decimals: 8, steps: Steps { tick: (1, 8), lot: (1, 8) } };
        assert_eq!(pairs.get(b"ADA/BTC"), Some(&expected));
    }

    #[test]
    fn an_answer_that_is_not_whole_says_nothing() {
        for size in 0..ANSWER.len() {
            let (pairs, result, names) = read(&ANSWER[..size]);
            assert!(result.is_err() && names.is_empty() && pairs.get(b"BTC/USD").is_none(), "{size}");
        }
        for (from, to) in [("\"pair_decimals\":1", "\"pair_decimals\":99"), ("\"0.5\"", "\"0.0\"")] {
            assert!(read(&ANSWER.replacen(from, to, 1)).1.is_err(), "{to}");
        }
        assert_eq!(read(r#"{"error":["EService:Busy"]}"#).1, Ok(false));
    }
}
