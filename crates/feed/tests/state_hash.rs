//! Engines of one state hash go on alike. Method: a market of each dialect is told with one message left out, repeated, from
//! another session, at another time or with another number; all engines that this gives go on with the same messages, each
//! of several continuations, and of those with the same hash the records must be the same.

mod common;

use std::collections::HashMap;

use common::{Message, Written};
use tidebook_feed::{FeedEngine, FeedOptions};
use tidebook_types::{MessageKind, Venue};

const START_MS: i64 = 1_700_000_000_000;

fn at(ms: i64, kind: MessageKind, context: &str, body: &str) -> Message {
    Message::new(kind, (START_MS + ms) * 1_000_000, context, body)
}

fn ws(ms: i64, body: &str) -> Message {
    at(ms, MessageKind::Ws, "", body)
}

fn timer(ms: i64) -> Message {
    at(ms, MessageKind::Timer, "", "")
}

fn state(ms: i64, body: &str) -> Message {
    at(ms, MessageKind::State, "", body)
}

fn binance() -> (Venue, Vec<Message>, Vec<Vec<Message>>) {
    let depth = |ms, id: u64, size: &str| {
        let body = r#"{"e":"depthUpdate","E":ID,"s":"XY","U":ID,"u":ID,"b":[["1.00","SIZE"]],"a":[["9.00","2.0"]]}"#;
        ws(ms, &body.replace("ID", &id.to_string()).replace("SIZE", size))
    };
    let trade = |ms: i64, id: u64, price: &str| {
        let time = START_MS + ms - 10;
        let body = format!(r#"{{"e":"trade","E":1,"s":"XY","t":{id},"p":"{price}","q":"2.0","T":{time},"m":false}}"#);
        ws(ms, &body)
    };
    let ticker = |ms, id: u64, size: &str| {
        ws(ms, &format!(r#"{{"u":{id},"s":"XY","b":"1.00","B":"{size}","a":"9.00","A":"2.0"}}"#))
    };
    let snapshot = |ms, id: u64| {
        let body = format!(r#"{{"lastUpdateId":{id},"bids":[["1.00","1.0"]],"asks":[["9.00","2.0"]]}}"#);
        at(ms, MessageKind::Rest, "/api/v3/depth?symbol=XY&limit=1000", &body)
    };
    let listing = r#"{"symbols":[{"symbol":"XY","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.01"}]}]}"#;
    let listing = at(0, MessageKind::Rest, "/api/v3/exchangeInfo", listing);
    let told = vec![
        listing,
        timer(0),
        state(50, r#"{"event":"connected"}"#),
        depth(100, 10, "1.0"),
        snapshot(150, 10),
        depth(200, 11, "2.0"),
        ticker(210, 11, "2.0"),
        trade(300, 1, "1.00"),
        trade(400, 2, "2.00"),
        timer(1_000),
        ticker(1_100, 12, "4.0"),
        trade(1_200, 4, "3.00"),
        depth(1_250, 12, "3.0"),
        timer(60_000),
        depth(60_100, 14, "5.0"),
        depth(60_200, 15, "5.0"),
        timer(62_000),
    ];
    let go_on = vec![
        vec![state(62_100, r#"{"event":"disconnected"}"#), depth(62_200, 30, "1.0"), timer(63_000)],
        vec![snapshot(62_100, 14), depth(62_200, 16, "5.0"), ticker(62_300, 16, "5.0"), timer(63_000)],
        vec![depth(75_500, 16, "5.0"), timer(76_000)],
        vec![trade(400, 2, "2.00"), trade(500, 3, "2.50"), trade(62_100, 5, "1.00"), timer(90_000_000)],
    ];
    (Venue::Binance, told, go_on)
}

fn coinbase() -> (Venue, Vec<Message>, Vec<Vec<Message>>) {
    let time = |ms: i64| {
        format!("2023-11-14T22:{:02}:{:02}.{:03}000Z", 13 + (20 + ms / 1_000) / 60, (20 + ms / 1_000) % 60, ms % 1_000)
    };
    let change = |ms: i64, size: &str| {
        let time = time(ms);
        ws(
            ms,
            &format!(r#"{{"type":"l2update","product_id":"X-Y","time":"{time}","changes":[["buy","1.00","{size}"]]}}"#),
        )
    };
    let trade = |ms: i64, kind: &str, id: u64| {
        let time = time(ms);
        ws(
            ms,
            &format!(
                r#"{{"type":"{kind}","trade_id":{id},"sequence":{id},"maker_order_id":"a","taker_order_id":"b","time":"{time}","product_id":"X-Y","size":"2.0","price":"1.00","side":"buy"}}"#
            ),
        )
    };
    let ticker = |ms: i64, bid: &str, sequence: u64| {
        let time = time(ms);
        ws(
            ms,
            &format!(
                r#"{{"type":"ticker","sequence":{sequence},"product_id":"X-Y","price":"1.00","best_bid":"{bid}","best_bid_size":"1.0","best_ask":"9.00","best_ask_size":"2.0","side":"buy","time":"{time}","trade_id":1,"last_size":"2.0"}}"#
            ),
        )
    };
    let snapshot =
        |ms| ws(ms, r#"{"type":"snapshot","product_id":"X-Y","bids":[["1.00","1.0"]],"asks":[["9.00","2.0"]]}"#);
    let subscribed = r#"{"type":"subscriptions","channels":[{"name":"level2","product_ids":["X-Y"]},{"name":"matches","product_ids":["X-Y"]}]}"#;
    let products = |tick: &str| {
        format!(
            r#"[{{"id":"X-Y","base_increment":"0.1","quote_increment":"{tick}"}},{{"id":"Z-Y","base_increment":"0.1","quote_increment":"{tick}"}}]"#
        )
    };
    let told = vec![
        at(0, MessageKind::Rest, "/products", &products("0.01")),
        at(1, MessageKind::Rest, "/products", &products("0.001")),
        timer(0),
        state(50, r#"{"event":"connected"}"#),
        ws(60, subscribed),
        snapshot(100),
        change(200, "2.0"),
        trade(300, "match", 1),
        ticker(310, "1.00", 1),
        trade(400, "match", 2),
        timer(1_000),
        ticker(1_100, "1.50", 3),
        change(1_150, "3.0"),
        timer(2_000),
    ];
    let z = r#"{"type":"snapshot","product_id":"Z-Y","bids":[["1.00","1.0"]],"asks":[["9.00","2.0"]]}"#;
    let go_on = vec![
        vec![state(2_100, r#"{"event":"disconnected"}"#), change(2_200, "1.0"), timer(3_000)],
        vec![change(2_100, "1.0"), change(2_200, "2.0"), change(2_300, "3.0"), change(2_400, "1.0"), timer(3_000)],
        vec![trade(2_100, "last_match", 2), trade(2_200, "match", 4), ticker(2_300, "1.00", 4), timer(100_000)],
        vec![snapshot(2_100), ws(2_200, z), timer(3_000)],
    ];
    (Venue::Coinbase, told, go_on)
}

fn kraken() -> (Venue, Vec<Message>, Vec<Vec<Message>>) {
    let time = |ms: i64| {
        format!("2023-11-14T22:{:02}:{:02}.{:03}000Z", 13 + (20 + ms / 1_000) / 60, (20 + ms / 1_000) % 60, ms % 1_000)
    };
    let trade = |ms: i64, id: u64, price: &str| {
        let time = time(ms);
        ws(
            ms,
            &format!(
                r#"{{"channel":"trade","type":"update","data":[{{"symbol":"X/USD","side":"buy","price":{price},"qty":2.0,"ord_type":"limit","trade_id":{id},"timestamp":"{time}"}}]}}"#
            ),
        )
    };
    let ohlc = |ms, close: &str| {
        let minute = START_MS / 1_000 / 60 * 60 + 60;
        let body = format!(
            r#"{{"error":[],"result":{{"X/USD":[[{minute},"1.0","2.0","1.0","{close}","1.5","4.0",2],[{},"1.0","2.0","1.0","1.0","1.5","4.0",2]],"last":{minute}}}}}"#,
            minute + 60
        );
        at(ms, MessageKind::Rest, "/0/public/OHLC?pair=X/USD&interval=1", &body)
    };
    let pairs = |tick: &str| {
        let body = format!(
            r#"{{"error":[],"result":{{"XUSD":{{"wsname":"X/USD","pair_decimals":2,"lot_decimals":1,"tick_size":"{tick}"}},"ZUSD":{{"wsname":"Z/USD","pair_decimals":2,"lot_decimals":1,"tick_size":"{tick}"}}}}}}"#
        );
        at(1, MessageKind::Rest, "/0/public/AssetPairs", &body)
    };
    let told = vec![
        pairs("0.01"),
        pairs("0.05"),
        timer(0),
        state(50, r#"{"event":"connected"}"#),
        ohlc(60, "2.0"),
        trade(300, 1, "1.0"),
        trade(41_000, 2, "1.0"),
        trade(42_000, 3, "2.0"),
        timer(50_000),
        ohlc(50_100, "1.0"),
    ];
    let z = String::from_utf8(trade(51_100, 1, "1.0").body).unwrap();
    let go_on = vec![
        vec![trade(102_000, 5, "1.00"), timer(170_000)],
        vec![trade(41_000, 2, "1.0"), trade(41_500, 4, "2.0"), timer(170_000)],
        vec![trade(51_000, 4, "2.0"), ws(51_100, &z.replace("X/", "Z/")), timer(170_000)],
    ];
    (Venue::Kraken, told, go_on)
}

fn bitstamp() -> (Venue, Vec<Message>, Vec<Vec<Message>>) {
    let order = |ms, event: &str, id: u64, amount: &str| {
        ws(
            ms,
            &format!(
                r#"order_{event} {{"price":"236.47","amount":"{amount}","datetime":"1700000000","id":{id},"order_type":0}}"#
            ),
        )
    };
    let told = vec![
        state(0, r#"{"event":"capture","format":"bitstamp","symbol":"BTC/USD"}"#),
        order(100, "created", 1, "2.00000000"),
        order(200, "changed", 1, "1.50000000"),
        order(300, "deleted", 2, "0.00000000"),
        order(400, "created", 3, "1.00000000"),
    ];
    let go_on = vec![
        vec![order(500, "created", 2, "1.00000000"), order(600, "deleted", 1, "0.00000000"), timer(2_000)],
        vec![order(500, "created", 3, "1.00000000"), state(600, r#"{"event":"disconnected"}"#)],
    ];
    (Venue::Bitstamp, told, go_on)
}

/// Each message left out, twice, of another session, later, or with one of its digits changed.
fn variants(told: &[Message]) -> Vec<Vec<Message>> {
    let mut all = vec![told.to_vec()];
    for place in 0..told.len() {
        let mut without = told.to_vec();
        let message = without.remove(place);
        let mut with = |replaced: Vec<Message>| {
            let mut messages = without.clone();
            messages.splice(place..place, replaced);
            all.push(messages);
        };
        with(vec![]);
        with(vec![message.clone(), message.clone()]);
        with(vec![Message { connection: 2, ..message.clone() }]);
        with(vec![Message { ts_recv: message.ts_recv + 1_000_000, ..message.clone() }]);
        for (at, _) in message.body.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
            let mut changed = message.clone();
            changed.body[at] = if changed.body[at] == b'1' { b'2' } else { b'1' };
            with(vec![changed]);
        }
    }
    all
}

fn after(venue: Venue, told: &[Message]) -> FeedEngine {
    let mut engine = FeedEngine::new(venue, FeedOptions::of(venue));
    for (sequence, message) in (1..).zip(told) {
        engine.on_message(sequence, message.raw(), &mut common::Nothing);
    }
    engine
}

#[test]
fn engines_of_one_state_hash_write_the_same_records_for_the_same_messages() {
    for (venue, told, go_on) in [binance(), coinbase(), kraken(), bitstamp()] {
        let counters = *after(venue, &told).counters();
        assert_eq!((counters.malformed, counters.refused, counters.unknown), (0, 0, 0), "{}", venue.name());
        let (mut by_hash, mut by_records) = (HashMap::new(), HashMap::new());
        for messages in variants(&told) {
            let hash = after(venue, &messages).state_hash();
            let mut records = Vec::new();
            for more in &go_on {
                let mut engine = after(venue, &messages);
                let mut written = Written::default();
                for (sequence, message) in (1_000..).zip(more) {
                    engine.on_message(sequence, message.raw(), &mut written);
                }
                records.push(format!("{written:?}"));
            }
            *by_records.entry(records.clone()).or_insert(0) += 1;
            let (others, before) = by_hash.entry(hash).or_insert((messages.clone(), records.clone()));
            let differ = others.iter().zip(&messages).find(|(one, other)| one != other);
            let differ =
                differ.map(|pair| [pair.0, pair.1].map(|of| (of.connection, String::from_utf8_lossy(&of.body))));
            assert_eq!(*before, records, "{}: one hash after {differ:?}", venue.name());
        }
        assert!(by_records.len() > 15, "{}: only {} ways to go on", venue.name(), by_records.len());
    }
}
