//! Kraken's names of one market: `BTC/USD` in WebSocket v2, `XBT/USD` in v1, `XXBTZUSD` or `XBTUSDT` in REST.
//!
//! Records name markets as WebSocket v2 does. REST keys carry no separator, so they are split at a known quote currency;
//! a name that cannot be split stays as it is, which keeps it unique and wrong for nobody.

/// Quote currencies of REST keys of the newer form; the long ones first, because some end in others.
const QUOTES: [&str; 10] = ["USDT", "USDC", "DAI", "USD", "EUR", "GBP", "CAD", "JPY", "XBT", "ETH"];

/// The WebSocket v2 name of a REST or v1 name.
pub(crate) fn normal(name: &str) -> String {
    let (base, quote) = match name.split_once('/') {
        Some(pair) => pair,
        None if is_old_pair(name) => name.split_at(4),
        None => match QUOTES.iter().find_map(|quote| Some((name.strip_suffix(quote)?, *quote))) {
            Some((base, quote)) if base.len() >= 2 => (base, quote),
            _ => return name.to_owned(),
        },
    };
    format!("{}/{}", asset(base), asset(quote))
}

/// Two old codes of four letters: `XXBTZUSD`.
fn is_old_pair(name: &str) -> bool {
    let old = |code: &[u8]| matches!(code.first(), Some(b'X' | b'Z'));
    name.len() == 8 && name.is_ascii() && old(&name.as_bytes()[..4]) && old(&name.as_bytes()[4..])
}

/// Kraken's old codes carry X or Z for coin or currency, and two coins have names of their own.
fn asset(code: &str) -> &str {
    let plain = match code.as_bytes() {
        [b'X' | b'Z', rest @ ..] if rest.len() == 3 && code.len() == 4 => &code[1..],
        _ => code,
    };
    match plain {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_a_market_become_one() {
        for (name, expected) in [
            ("BTC/USD", "BTC/USD"),
            ("XBT/USD", "BTC/USD"),
            ("XXBTZUSD", "BTC/USD"),
            ("XBTUSDT", "BTC/USDT"),
            ("XETHXXBT", "ETH/BTC"),
            ("XDGUSD", "DOGE/USD"),
            ("SOLUSD", "SOL/USD"),
            ("XXRPZEUR", "XRP/EUR"),
            ("XTZUSD", "XTZ/USD"),
            ("WEIRD", "WEIRD"),
            ("USD", "USD"),
            ("", ""),
        ] {
            assert_eq!(normal(name), expected, "{name}");
        }
    }
}
