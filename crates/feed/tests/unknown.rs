//! What nobody knows is passed over, counted, and changes nothing else: one table over every dialect.

mod common;

use common::{Message, messages, run};
use tidebook_feed::{LocalEvent, RecordBatch};
use tidebook_testkit::ItchMessage;
use tidebook_types::{MessageKind, Session, Venue};

/// A change of one message: text that stands in it, and what stands there instead.
type Change = (Vec<u8>, Vec<u8>);

/// A short session of a venue, in which its books are usable and every kind of message that is decoded comes.
struct Case {
    venue: Venue,
    messages: Vec<Message>,
    /// Of a type that does not exist; it comes last.
    message: Message,
    /// Fields that do not exist, in the messages that are decoded.
    fields: Vec<Change>,
    /// Words that are not of the list their field has.
    values: Vec<Change>,
}

const TS: i64 = 1_786_309_548_000_000_000;

fn ws(body: &str) -> Message {
    Message::new(MessageKind::Ws, TS, "", body)
}

fn rest(target: &str, body: &str) -> Message {
    Message::new(MessageKind::Rest, TS, target, body)
}

fn state(body: &str) -> Message {
    Message::new(MessageKind::State, TS, "", body)
}

fn changes(pairs: &[(&str, &str)]) -> Vec<Change> {
    pairs.iter().map(|(from, to)| (from.as_bytes().to_vec(), to.as_bytes().to_vec())).collect()
}

const NEW: &str = "\"tidebook\":{\"a\":[1,\"x\",null]},";

/// Binance's four dialects: the futures name the id before and the time of the engine, spot has a stream's wrapper.
fn binance(venue: Venue) -> Case {
    let futures = matches!(venue, Venue::BinanceUsdm | Venue::BinanceCoinm);
    let (api, size, times) = match venue {
        Venue::BinanceUsdm => ("/fapi/v1", "0.500", ",\"T\":1786309547990"),
        Venue::BinanceCoinm => ("/dapi/v1", "5", ",\"T\":1786309547990"),
        _ => ("/api/v3", "0.50000000", ""),
    };
    let (previous, origin) = if futures { (",\"pu\":160", "\"X\":\"MARKET\"") } else { ("", "\"M\":true") };
    let wrapped = |stream: &str, data: String| ws(&format!("{{\"stream\":\"{stream}\",\"data\":{data}}}"));
    let head = |event: &str, times: &str| format!("{{\"e\":\"{event}\",\"E\":1786309548000{times},\"s\":\"BTCUSDT\"");
    let mut values = vec![("\"PERCENT_PRICE\"", "\"PERCENT_OF_LUCK\"")];
    if futures {
        values.push(("\"MARKET\"", "\"LOTTERY\""));
    }
    Case {
        venue,
        messages: vec![
            rest(
                &format!("{api}/exchangeInfo"),
                "{\"symbols\":[{\"symbol\":\"BTCUSDT\",\"filters\":[{\"filterType\":\"PERCENT_PRICE\",\"up\":\"5\"}]}]}",
            ),
            wrapped(
                "btcusdt@depth",
                format!(
                    "{}{previous},\"U\":161,\"u\":162,\"b\":[[\"10.5\",\"{size}\"]],\"a\":[[\"10.7\",\"{size}\"]]}}",
                    head("depthUpdate", times)
                ),
            ),
            rest(
                &format!("{api}/depth?symbol=BTCUSDT&limit=1000"),
                &format!("{{\"lastUpdateId\":161,\"bids\":[[\"10.4\",\"{size}\"]],\"asks\":[[\"10.8\",\"{size}\"]]}}"),
            ),
            wrapped(
                "btcusdt@trade",
                format!(
                    "{},\"t\":9,\"p\":\"10.6\",\"q\":\"{size}\",{origin},\"m\":true}}",
                    head("trade", ",\"T\":1786309547990")
                ),
            ),
            wrapped(
                "btcusdt@bookTicker",
                format!(
                    "{{\"u\":162,\"s\":\"BTCUSDT\",\"b\":\"10.5\",\"B\":\"{size}\",\"a\":\"10.7\",\"A\":\"{size}\"{}}}",
                    if futures { ",\"T\":1786309547990,\"E\":1786309548000,\"e\":\"bookTicker\"" } else { "" }
                ),
            ),
        ],
        message: wrapped("btcusdt@weather", head("weather", times) + ",\"b\":1,\"k\":{\"t\":1}}"),
        fields: changes(&[
            ("{\"e\":\"depthUpdate\"", &format!("{{{NEW}\"e\":\"depthUpdate\"")),
            ("{\"stream\":\"btcusdt@depth\"", &format!("{{{NEW}\"stream\":\"btcusdt@depth\"")),
            ("\"U\":161", &format!("{NEW}\"U\":161")),
            (&format!("[\"10.5\",\"{size}\"]"), &format!("[\"10.5\",\"{size}\",[]]")),
            ("{\"lastUpdateId\"", &format!("{{{NEW}\"lastUpdateId\"")),
            ("{\"e\":\"trade\"", &format!("{{{NEW}\"e\":\"trade\"")),
            ("\"m\":true", "\"Y\":1,\"m\":true"),
            ("{\"u\":162,\"s\"", &format!("{{{NEW}\"u\":162,\"s\"")),
        ]),
        values: changes(&values),
    }
}

fn coinbase() -> Case {
    let time = "\"time\":\"2026-08-09T21:05:48.000000Z\"";
    let product = "\"product_id\":\"BTC-USD\"";
    Case {
        venue: Venue::Coinbase,
        messages: vec![
            ws("{\"type\":\"subscriptions\",\"channels\":[{\"name\":\"level2\",\"product_ids\":[\"BTC-USD\"]}]}"),
            ws(&format!("{{\"type\":\"snapshot\",{product},\"asks\":[[\"11\",\"3\"]],\"bids\":[[\"10\",\"2\"]]}}")),
            ws(&format!("{{\"type\":\"l2update\",{product},\"changes\":[[\"buy\",\"10.5\",\"1\"]],{time}}}")),
            ws(&format!(
                "{{\"type\":\"match\",\"trade_id\":5,\"maker_order_id\":\"a\",\"taker_order_id\":\"b\",\"side\":\"buy\",\"size\":\"1\",\"price\":\"10.5\",{product},\"sequence\":7,{time}}}"
            )),
            ws(&format!(
                "{{\"type\":\"ticker\",\"sequence\":7,{product},\"price\":\"10.5\",\"open_24h\":\"9\",\"best_bid\":\"10.5\",\"best_ask\":\"11\",\"side\":\"sell\",{time},\"trade_id\":5}}"
            )),
            ws(&format!("{{\"type\":\"heartbeat\",\"sequence\":8,\"last_trade_id\":5,{product},{time}}}")),
            ws(&format!(
                "{{\"type\":\"done\",{time},{product},\"sequence\":10,\"order_id\":\"d5\",\"reason\":\"filled\",\"side\":\"buy\",\"remaining_size\":\"0\"}}"
            )),
        ],
        message: ws(&format!("{{\"type\":\"weather\",{product},\"price\":\"1\"}}")),
        fields: changes(&[
            ("{\"type\":\"snapshot\"", &format!("{{{NEW}\"type\":\"snapshot\"")),
            ("[\"10\",\"2\"]", "[\"10\",\"2\",7]"),
            ("{\"type\":\"l2update\"", &format!("{{{NEW}\"type\":\"l2update\"")),
            ("[\"buy\",\"10.5\",\"1\"]", "[\"buy\",\"10.5\",\"1\",\"x\"]"),
            ("{\"type\":\"match\"", &format!("{{{NEW}\"type\":\"match\"")),
            ("{\"type\":\"ticker\"", &format!("{{{NEW}\"type\":\"ticker\"")),
            ("{\"type\":\"heartbeat\"", &format!("{{{NEW}\"type\":\"heartbeat\"")),
            ("{\"type\":\"done\"", &format!("{{{NEW}\"type\":\"done\"")),
        ]),
        values: changes(&[("\"side\":\"buy\",\"size\"", "\"side\":\"lend\",\"size\"")]),
    }
}

fn coinbase_advanced() -> Case {
    let frame = |channel: &str, number: u64, event: &str| {
        ws(&format!(
            "{{\"channel\":\"{channel}\",\"client_id\":\"\",\"timestamp\":\"2026-08-09T21:05:48.0Z\",\"sequence_num\":{number},\"events\":[{event}]}}"
        ))
    };
    let update = |side: &str, price: &str| {
        format!(
            "{{\"side\":\"{side}\",\"event_time\":\"2026-08-09T21:05:47.9Z\",\"price_level\":\"{price}\",\"new_quantity\":\"2\"}}"
        )
    };
    let book = |kind: &str, updates: &str| {
        format!("{{\"type\":\"{kind}\",\"product_id\":\"BTC-USD\",\"updates\":[{updates}]}}")
    };
    Case {
        venue: Venue::CoinbaseAdvanced,
        messages: vec![
            frame("l2_data", 0, &book("snapshot", &format!("{},{}", update("bid", "10"), update("offer", "11")))),
            frame("l2_data", 1, &book("update", &update("bid", "10.5"))),
            frame(
                "market_trades",
                2,
                "{\"type\":\"update\",\"trades\":[{\"product_id\":\"BTC-USD\",\"trade_id\":\"5\",\"price\":\"10.5\",\"size\":\"1\",\"time\":\"2026-08-09T21:05:48Z\",\"side\":\"BUY\"}]}",
            ),
            frame(
                "ticker",
                3,
                "{\"type\":\"update\",\"tickers\":[{\"type\":\"ticker\",\"product_id\":\"BTC-USD\",\"price\":\"10.5\",\"volume_24_h\":\"7\",\"best_bid\":\"10.5\",\"best_bid_quantity\":\"2\",\"best_ask\":\"11\",\"best_ask_quantity\":\"2\"}]}",
            ),
        ],
        message: frame("weather", 4, "{\"sun\":[{}]}"),
        fields: changes(&[
            ("{\"channel\":\"l2_data\"", &format!("{{{NEW}\"channel\":\"l2_data\"")),
            ("{\"type\":\"snapshot\"", &format!("{{{NEW}\"type\":\"snapshot\"")),
            ("{\"side\":\"bid\"", &format!("{{{NEW}\"side\":\"bid\"")),
            ("{\"product_id\"", &format!("{{{NEW}\"product_id\"")),
            ("{\"type\":\"update\",\"trades\"", &format!("{{{NEW}\"type\":\"update\",\"trades\"")),
            ("{\"type\":\"ticker\"", &format!("{{{NEW}\"type\":\"ticker\"")),
            ("{\"type\":\"update\",\"tickers\"", &format!("{{{NEW}\"type\":\"update\",\"tickers\"")),
        ]),
        values: changes(&[
            ("\"side\":\"BUY\"", "\"side\":\"LEND\""),
            ("\"type\":\"update\",\"trades\"", "\"type\":\"rumour\",\"trades\""),
            ("\"type\":\"update\",\"tickers\"", "\"type\":\"rumour\",\"tickers\""),
        ]),
    }
}

fn kraken() -> Case {
    let time = "\"timestamp\":\"2026-08-09T21:05:48.000000Z\"";
    let book = |kind: &str, bids: &str, asks: &str, digits: &str| {
        let checksum = crc32fast::hash(digits.as_bytes());
        ws(&format!(
            "{{\"channel\":\"book\",\"type\":\"{kind}\",\"data\":[{{\"symbol\":\"BTC/USD\",\"bids\":[{bids}],\"asks\":[{asks}],\"checksum\":{checksum},{time}}}]}}"
        ))
    };
    Case {
        venue: Venue::Kraken,
        messages: vec![
            book("snapshot", "{\"price\":10.0,\"qty\":2.00}", "{\"price\":11.0,\"qty\":3.00}", "110300100200"),
            book("update", "{\"price\":10.5,\"qty\":1.00}", "", "110300105100100200"),
            ws(&format!(
                "{{\"channel\":\"trade\",\"type\":\"update\",\"data\":[{{\"symbol\":\"BTC/USD\",\"side\":\"sell\",\"price\":10.5,\"qty\":1.00,\"ord_type\":\"market\",\"trade_id\":5,{time}}}]}}"
            )),
            ws(
                "{\"channel\":\"ticker\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"bid\":10.5,\"bid_qty\":1.00,\"ask\":11.0,\"ask_qty\":3.00,\"last\":10.5,\"vwap\":10.5}]}",
            ),
        ],
        message: ws("{\"channel\":\"weather\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"sun\":1}]}"),
        fields: changes(&[
            ("{\"channel\":\"book\"", &format!("{{{NEW}\"channel\":\"book\"")),
            ("\"bids\"", &format!("{NEW}\"bids\"")),
            ("{\"price\":10.0", &format!("{{{NEW}\"price\":10.0")),
            ("{\"price\":10.5", &format!("{{{NEW}\"price\":10.5")),
            ("{\"channel\":\"trade\"", &format!("{{{NEW}\"channel\":\"trade\"")),
            ("\"ord_type\"", &format!("{NEW}\"ord_type\"")),
            ("{\"channel\":\"ticker\"", &format!("{{{NEW}\"channel\":\"ticker\"")),
            ("\"last\"", &format!("{NEW}\"last\"")),
        ]),
        values: changes(&[("\"sell\"", "\"lend\""), ("\"market\"", "\"lottery\"")]),
    }
}

fn kraken_v1() -> Case {
    let time = "\"1786309548.000000\"";
    let checksum = crc32fast::hash(b"110300105100100200");
    Case {
        venue: Venue::KrakenV1,
        messages: vec![
            ws(&format!(
                "[7,{{\"as\":[[\"11.0\",\"3.00\",{time}]],\"bs\":[[\"10.0\",\"2.00\",{time}]]}},\"book-10\",\"XBT/USD\"]"
            )),
            ws(&format!(
                "[7,{{\"b\":[[\"10.5\",\"1.00\",{time},\"r\"]],\"c\":\"{checksum}\"}},\"book-10\",\"XBT/USD\"]"
            )),
            ws(&format!("[8,[[\"10.5\",\"1.00\",{time},\"s\",\"l\",\"\"]],\"trade\",\"XBT/USD\"]")),
            ws(
                "[9,{\"b\":[\"10.5\",1,\"1.00\"],\"a\":[\"11.0\",3,\"3.00\"],\"c\":[\"10.5\",\"1.00\"]},\"ticker\",\"XBT/USD\"]",
            ),
        ],
        message: ws("[5,{\"sun\":[]},\"weather\",\"XBT/USD\"]"),
        fields: changes(&[
            ("\"book-10\"", "9,\"book-10\""),
            ("{\"as\"", &format!("{{{NEW}\"as\"")),
            ("[\"10.0\",\"2.00\",\"1786309548.000000\"]", "[\"10.0\",\"2.00\",\"1786309548.000000\",\"r\",4]"),
            ("{\"b\":[[", &format!("{{{NEW}\"b\":[[")),
            ("\"trade\"", "true,\"trade\""),
            ("\"l\",\"\"", "\"l\",\"\",\"x\""),
            ("{\"b\":[\"10.5\"", &format!("{{{NEW}\"b\":[\"10.5\"")),
            ("\"11.0\",3,\"3.00\"", "\"11.0\",3,\"3.00\",0"),
        ]),
        values: changes(&[("\"s\"", "\"x\""), ("\"l\"", "\"x\""), ("\"r\"", "\"x\"")]),
    }
}

fn bitstamp() -> Case {
    let order = |event: &str, amount: &str| {
        ws(&format!(
            "order_{event} {{\"price\": \"10.50\", \"amount\": \"{amount}\", \"datetime\": \"1786309548\", \"id\": 1, \"order_type\": 0}}"
        ))
    };
    Case {
        venue: Venue::Bitstamp,
        messages: vec![
            state("{\"event\":\"capture\",\"format\":\"bitstamp\",\"symbol\":\"BTC/USD\"}"),
            order("created", "2.00000000"),
            order("changed", "1.00000000"),
            ws("trade {\"price\": 10.5, \"amount\": 1.0, \"id\": 7}"),
            ws("order_book {\"bids\": [[\"10.50\", \"1.00000000\"]], \"asks\": []}"),
        ],
        message: ws("order_weather {\"id\": 1}"),
        fields: changes(&[
            ("created {", &format!("created {{{NEW}")),
            ("trade {", &format!("trade {{{NEW}")),
            ("order_book {", &format!("order_book {{{NEW}")),
            ("[\"10.50\", \"1.00000000\"]", "[\"10.50\", \"1.00000000\", \"4\"]"),
        ]),
        values: changes(&[("\"order_type\": 0", "\"order_type\": 7")]),
    }
}

fn lobster() -> Case {
    Case {
        venue: Venue::Lobster,
        messages: vec![
            state(
                "{\"event\":\"capture\",\"format\":\"lobster\",\"symbol\":\"AAPL\",\"midnight_ns\":1340251200000000000}",
            ),
            ws("34200.1,1,7,100,5853300,1"),
            ws("34200.2,4,7,40,5853300,1"),
            ws("34200.3,7,0,0,0,-1"),
        ],
        message: ws("34200.4,9,7,40,5853300,1"),
        fields: changes(&[("100,5853300,1", "100,5853300,1,x"), ("40,5853300,1", "40,5853300,1,x")]),
        values: changes(&[("0,0,0,-1", "0,0,4,-1")]),
    }
}

fn itch() -> Case {
    let message = |kind: u8, number: u64, fields: &dyn Fn(ItchMessage) -> ItchMessage| {
        let body = fields(ItchMessage::new(kind, 7, 0, 34_200_000_000_000 + number)).bytes();
        Message { body, ..ws("") }
    };
    let stock = "AAPL";
    let add = message(b'A', 1, &|m| m.eight(1).alpha("B", 1).four(100).alpha(stock, 8).four(1_500_000));
    let fill = message(b'C', 2, &|m| m.eight(1).four(10).eight(5).alpha("Y", 1).four(1_490_000));
    let cross = message(b'Q', 3, &|m| m.eight(50).alpha(stock, 8).four(1_500_000).eight(6).alpha("O", 1));
    let halt = message(b'H', 4, &|m| m.alpha(stock, 8).alpha("Q", 1).alpha("", 5));
    let event = message(b'S', 5, &|m| m.alpha("Q", 1));
    let longer = |message: &Message| (message.body.clone(), [&message.body[..], b"new"].concat());
    let with_last = |message: &Message, at: usize| {
        let mut changed = message.body.clone();
        changed[at] = b'?';
        (message.body.clone(), changed)
    };
    Case {
        venue: Venue::Nasdaq,
        fields: vec![longer(&add), longer(&fill), longer(&cross), longer(&halt)],
        values: vec![with_last(&cross, 39), with_last(&halt, 19), with_last(&event, 11)],
        messages: vec![
            state("{\"event\":\"capture\",\"format\":\"itch50\",\"midnight_ns\":1548824400000000000}"),
            add,
            fill,
            cross,
            halt,
            event,
        ],
        message: message(b'z', 6, &|m| m.alpha("what", 9)),
    }
}

fn local() -> Case {
    let message = |events: &[LocalEvent]| {
        let mut body = Vec::new();
        events.iter().for_each(|event| event.write_to(&mut body));
        Message { body, ..ws("") }
    };
    let index = 0;
    let definition = message(&[LocalEvent::Instrument { index, exponents: (2, 5), tick: 1, lot: 1 }]);
    let session = message(&[LocalEvent::Session { index, before: Session::Closed, now: Session::Continuous }]);
    let levels = message(&[
        LocalEvent::Level { index, side: 1, price: 100, size: 5 },
        LocalEvent::Level { index, side: -1, price: 101, size: 7 },
    ]);
    let trade = message(&[LocalEvent::Trade { index, side: 1, price: 101, size: 2, trade_id: 1 }]);
    let longer = |message: &Message| (message.body.clone(), [&message.body[..], b"new"].concat());
    let with = |message: &Message, at: usize, byte: u8| {
        let mut changed = message.body.clone();
        changed[at] = byte;
        (message.body.clone(), changed)
    };
    Case {
        venue: Venue::Local,
        fields: vec![longer(&levels), longer(&trade)],
        values: vec![with(&trade, 1, 9)],
        message: Message { body: with(&session, 0, 99).1, ..ws("") },
        messages: vec![Message { context: b"BTC-USD".to_vec(), ..definition }, session, levels, trade],
    }
}

fn cases() -> Vec<Case> {
    let binance_of = [Venue::Binance, Venue::BinanceUsdm, Venue::BinanceCoinm, Venue::BinanceUs].map(binance);
    let others = [coinbase(), coinbase_advanced(), kraken(), kraken_v1(), bitstamp(), lobster(), itch(), local()];
    binance_of.into_iter().chain(others).collect()
}

/// What an engine gave: its records, without the side of trades and orders where a word for it is not known.
fn records(batch: &RecordBatch, with_sides: bool) -> String {
    let mut batch = batch.clone();
    if !with_sides {
        batch.trades.iter_mut().for_each(|trade| trade.side = 0);
        batch.orders.iter_mut().for_each(|order| order.side = 0);
    }
    format!("{batch:#?}")
}

/// Every counter but those of what is not known, and of answers and halts that were acknowledged.
fn counted(engine: &tidebook_feed::FeedEngine) -> Vec<(&'static str, u64)> {
    let left_out = ["unknown", "unknown_fields", "unknown_values", "acknowledged", "messages"];
    engine.counters().all().filter(|(name, _)| !left_out.contains(name)).collect()
}

#[test]
fn types_fields_and_words_that_nobody_knows_are_counted_in_every_dialect_and_change_nothing_else() {
    let cases = cases();
    let mut venues: Vec<_> = cases.iter().map(|case| case.venue).collect();
    venues.sort_unstable();
    assert_eq!(venues, Venue::ALL, "a dialect without a row");
    for Case { venue, messages, message, fields, values } in cases {
        let name = venue.name();
        let unknown = |engine: &tidebook_feed::FeedEngine| {
            let counters = engine.counters();
            (counters.unknown, counters.unknown_fields, counters.unknown_values)
        };
        let (engine, batch) = run(venue, &messages);
        assert_eq!((unknown(&engine), engine.quarantined()), ((0, 0, 0), &[][..]), "{name}");
        assert!(batch.trades.len() + batch.orders.len() > 1 || !batch.depth.is_empty(), "{name} tells too little");
        let id = engine.instruments().next().unwrap().0;
        let has_book = !batch.depth.is_empty();
        assert_eq!(engine.book(id).unwrap().usable, has_book, "{name}");

        let (with_message, its_batch) = run(venue, &[&messages[..], &[message]].concat());
        assert_eq!(unknown(&with_message), (1, 0, 0), "{name}: a type");
        assert_eq!(records(&its_batch, true), records(&batch, true), "{name}: a type");
        assert_eq!(counted(&with_message), counted(&engine), "{name}: a type");
        assert_eq!(with_message.book(id).unwrap().usable, has_book, "{name}: a type");

        let changed = |(from, to): &Change| {
            let holds = |body: &[u8]| body.windows(from.len()).position(|window| window == from);
            let mut changed = messages.clone();
            let (index, at) = changed
                .iter()
                .enumerate()
                .find_map(|(index, message)| holds(&message.body).map(|at| (index, at)))
                .unwrap_or_else(|| panic!("{name}: nothing has {}", String::from_utf8_lossy(from)));
            changed[index].body.splice(at..at + from.len(), to.iter().copied());
            (run(venue, &changed), String::from_utf8_lossy(to).into_owned())
        };
        assert!(!fields.is_empty() && !values.is_empty(), "{name}");
        for field in &fields {
            let ((with_field, its_batch), to) = changed(field);
            assert_eq!(unknown(&with_field), (0, 1, 0), "{name}: {to}");
            assert_eq!(records(&its_batch, true), records(&batch, true), "{name}: {to}");
            assert_eq!(counted(&with_field), counted(&engine), "{name}: {to}");
        }
        for value in &values {
            let ((with_value, its_batch), to) = changed(value);
            assert_eq!(unknown(&with_value), (0, 0, 1), "{name}: {to}");
            assert_eq!(records(&its_batch, false), records(&batch, false), "{name}: {to}");
            assert_eq!(counted(&with_value), counted(&engine), "{name}: {to}");
            assert_eq!(with_value.book(id).unwrap().usable, has_book, "{name}: {to}");
        }
    }
}

/// The lists of fields and words that are known and not read are whole as far as recordings reach.
#[test]
fn nothing_in_the_recordings_is_unknown_but_types_that_are_not_decoded() {
    for names in [
        &["binance-spot/btcusdt-20240808.log.zst", "binance-spot/btcusdt-20240809.log.zst"][..],
        &["binance-spot/multi-20210404.log.zst"],
        &["binance-spot/multi-20211012.info.log.zst", "binance-spot/multi-20211012.ws.log.zst"],
        &["binance-usdm/btcusdt-20230404.log.zst"],
        &["binance-usdm/btcusdt-20240808.log.zst"],
        &["binance-usdm/multi-20210722.http.log.zst", "binance-usdm/multi-20210722.ws.log.zst"],
        &["binance-coinm/btcusd_perp-20240809.log.zst"],
        &["binance-us/multi-20211012.http.log.zst", "binance-us/multi-20211012.ws.log.zst"],
        &["coinbase-exchange/multi-20210417.log.zst"],
        &["coinbase-advanced/btcusd-ethusd-20260809.jsonl.zst"],
        &["kraken-v2/kraken_btcusd_l2.cbcap.zst"],
        &["kraken-v2/kraken_btcusd_sample.cbcap.zst"],
        &["kraken-v2/kraken_xrpusd_sample.cbcap.zst"],
        &["kraken-v1/multi-20210417.book1000.log.zst"],
        &["kraken-v1/multi-20210417.ticker.log.zst"],
        &["kraken-v1/multi-20210417.trade.log.zst"],
        &["l3-bitstamp/btcusd-20150501.log.zst"],
        &["l3-lobster/aapl-20120621-message.csv.zst"],
    ] {
        let Some((venue, messages)) = messages(names) else { return };
        let (engine, _) = run(venue, &messages);
        let counters = engine.counters();
        assert_eq!((counters.unknown_fields, counters.unknown_values), (0, 0), "{names:?}");
    }
}
