//! The rules of Kraken's WebSocket v1 on small scripted feeds, told as the status records a reader sees.

mod common;

use common::{Message, run, told};
use tidebook_book::{DepthBook, Side};
use tidebook_feed::{FeedEngine, RecordBatch};
use tidebook_types::records::{ACTION_CLEAR, FLAG_DERIVED, FLAG_SNAPSHOT};
use tidebook_types::{InstrumentId, MessageKind, Venue};

/// The venue: it keeps the whole book, sends the subscribed depth of it, and knows the checksum.
#[derive(Default)]
struct Exchange {
    book: DepthBook,
}

/// `99x5 98x7` as level, price and size.
fn levels(text: &str) -> Vec<(i64, i64)> {
    let level = |level: &str| {
        let (price, size) = level.split_once('x').unwrap();
        (price.parse().unwrap(), size.parse().unwrap())
    };
    text.split_whitespace().map(level).collect()
}

/// One decimal in prices, two in sizes: 10 stands for 1.0 and 100 for 1.00.
fn json(levels: &[(i64, i64)]) -> String {
    let text = tidebook_types::format_units;
    let level =
        |&(price, size): &(i64, i64)| format!("[\"{}\",\"{}\",\"1618678117.5\"]", text(price, 1), text(size, 2));
    format!("[{}]", levels.iter().map(level).collect::<Vec<_>>().join(","))
}

impl Exchange {
    fn apply(&mut self, side: Side, changes: &[(i64, i64)]) {
        for &(price, size) in changes {
            self.book.apply(side, price, size);
        }
    }

    fn checksum(&self) -> u32 {
        let mut digits = String::new();
        for side in [Side::Ask, Side::Bid] {
            for level in self.book.levels(side).take(10) {
                digits += &format!("{}{}", level.price, level.size);
            }
        }
        crc32fast::hash(digits.as_bytes())
    }

    /// One line of a script: `snapshot | bids | asks`, `update | bids | asks` (empty sides leave their object out),
    /// `lost | bids | asks` (the venue changes, its message does not come), `wrong | bids | asks` (another checksum),
    /// `state <event>`, or any JSON frame.
    fn message(&mut self, line: &str, index: usize) -> Option<Message> {
        let ts_recv = 1_618_678_118_000_000_000 + index as i64 * 1_000_000;
        let parts: Vec<_> = line.split('|').map(str::trim).collect();
        let (word, rest) = parts[0].split_once(' ').unwrap_or((parts[0], ""));
        let sides = || (levels(parts[1]), levels(parts[2]));
        let ws = |body: &str| Some(Message::new(MessageKind::Ws, ts_recv, "", body));
        match word {
            "snapshot" => {
                let (bids, asks) = sides();
                self.book.clear();
                self.apply(Side::Bid, &bids);
                self.apply(Side::Ask, &asks);
                ws(&format!("[7,{{\"as\":{},\"bs\":{}}},\"book-10\",\"XBT/USD\"]", json(&asks), json(&bids)))
            }
            "update" | "lost" | "wrong" => {
                let (bids, asks) = sides();
                self.apply(Side::Bid, &bids);
                self.apply(Side::Ask, &asks);
                let checksum = self.checksum() ^ u32::from(word == "wrong");
                let mut objects = Vec::new();
                for (key, levels) in [("a", &asks), ("b", &bids)] {
                    if !levels.is_empty() {
                        objects.push(format!("{{\"{key}\":{}", json(levels)));
                    }
                }
                let body = objects.join("},");
                (word != "lost")
                    .then(|| ws(&format!("[7,{body},\"c\":\"{checksum}\"}},\"book-10\",\"XBT/USD\"]")))
                    .flatten()
            }
            "state" => Some(Message::new(MessageKind::State, ts_recv, "", &format!("{{\"event\":\"{rest}\"}}"))),
            _ => ws(line),
        }
    }
}

fn play(script: &[&str]) -> (FeedEngine, RecordBatch, DepthBook) {
    let mut exchange = Exchange::default();
    let messages: Vec<_> =
        script.iter().enumerate().filter_map(|(index, line)| exchange.message(line, index)).collect();
    let (engine, batch) = run(Venue::KrakenV1, &messages);
    (engine, batch, exchange.book)
}

fn is_usable(engine: &FeedEngine) -> bool {
    engine.book(InstrumentId::new(Venue::KrakenV1, 0)).unwrap().usable
}

#[test]
fn a_snapshot_is_published_with_the_update_that_proves_it() {
    let (engine, batch, book) =
        play(&["snapshot | 99x5 98x7 | 101x3", "update | 99x6 | 101x0 102x4", "update | 97x1 |"]);
    assert_eq!(told(&batch), ["2: snapshot_applied 0 0 3", "2: book_usable (snapshot_applied)"]);
    let depth: Vec<_> = batch
        .depth
        .iter()
        .map(|depth| (depth.source_sequence, depth.action == ACTION_CLEAR, depth.price, depth.size))
        .collect();
    assert_eq!(depth, [(2, true, 0, 0), (2, false, 99, 6), (2, false, 98, 7), (2, false, 102, 4), (3, false, 97, 1)]);
    assert_eq!(batch.depth[1].flags & FLAG_SNAPSHOT, FLAG_SNAPSHOT);
    assert_eq!(batch.depth[4].ts_event, 1_618_678_117_500_000_000);
    let view = engine.book(InstrumentId::new(Venue::KrakenV1, 0)).unwrap();
    assert_eq!(view.book.state_hash(), book.state_hash());
    assert_eq!(batch.quotes.iter().filter(|quote| quote.flags & FLAG_DERIVED != 0).count(), 1);
}

#[test]
fn until_a_checksum_comes_the_book_may_not_be_used() {
    let (engine, batch, _) = play(&["snapshot | 99x5 | 101x3", r#"{"event":"heartbeat"}"#]);
    assert!(!is_usable(&engine));
    assert!(told(&batch).is_empty() && batch.depth.is_empty() && batch.quotes.is_empty());
}

#[test]
fn a_snapshot_that_the_next_checksum_contradicts_is_refused() {
    let (engine, batch, _) = play(&[
        "snapshot | 99x5 | 101x3",
        "wrong | 99x6 |",
        "update | 99x7 |",
        "snapshot | 99x7 | 101x3",
        "update | 99x8 |",
    ]);
    let told = told(&batch);
    assert!(told[0].starts_with("2: checksum_mismatch "));
    assert_eq!(
        told[1..],
        [
            "2: snapshot_refused (checksum_mismatch)",
            "2: snapshot_wanted (snapshot_refused)",
            "5: snapshot_applied 0 0 2",
            "5: book_usable (snapshot_applied)",
        ]
    );
    assert_eq!((engine.counters().snapshots_refused, engine.counters().updates_unused), (1, 1));
    assert!(is_usable(&engine));
}

#[test]
fn a_lost_update_is_found_by_the_next_checksum_and_the_next_snapshot_heals() {
    let (engine, batch, book) = play(&[
        "snapshot | 99x5 98x7 | 101x3",
        "update | 99x6 |",
        "lost | 98x0 |",
        "update | | 101x4",
        "snapshot | 99x6 | 101x4",
        "update | 99x9 |",
    ]);
    let told = told(&batch);
    assert!(told[2].starts_with("3: checksum_mismatch "), "{told:?}");
    assert_eq!(told[3..5], ["3: book_unusable (checksum_mismatch)", "3: snapshot_wanted (checksum_mismatch)"]);
    assert_eq!(engine.counters().gaps, 1);
    assert!(is_usable(&engine));
    let view = engine.book(InstrumentId::new(Venue::KrakenV1, 0)).unwrap();
    assert_eq!(view.book.state_hash(), book.state_hash());
}

#[test]
fn a_book_is_cut_to_the_depth_of_its_channel() {
    let bids: Vec<_> = (0..10).map(|step| format!("{}x1", 90 - step)).collect();
    let snapshot = format!("snapshot | {} | 101x3", bids.join(" "));
    // A better bid pushes the tenth out, which the venue never removes; the removal of the best brings it back by name.
    let (engine, batch, _) = play(&[&snapshot, "update | 91x2 |", "update | 91x0 81x5 |"]);
    assert_eq!(engine.oracles().total().failed, 0);
    let cut: Vec<_> = batch.depth.iter().filter(|depth| depth.size == 0 && depth.price > 0).collect();
    assert_eq!(cut.iter().map(|depth| (depth.source_sequence, depth.price)).collect::<Vec<_>>(), [(3, 91)]);
    let (bids, _) = engine.book(InstrumentId::new(Venue::KrakenV1, 0)).unwrap().book.counts();
    assert_eq!(bids, 10);
}

#[test]
fn an_unreadable_frame_and_the_end_of_a_session_void_books_and_held_snapshots() {
    for (line, reason) in [("[7,{\"b\":", "malformed"), ("state disconnected", "disconnected")] {
        let (engine, batch, _) = play(&["snapshot | 99x5 | 101x3", "update | 99x6 |", line, "update | 99x7 |"]);
        let told = told(&batch);
        assert!(told.contains(&format!("3: book_unusable ({reason})")), "{told:?}");
        assert!(told.contains(&format!("3: snapshot_wanted ({reason})")), "{told:?}");
        assert!(!is_usable(&engine));
        let (engine, batch, _) = play(&["snapshot | 99x5 | 101x3", line, "update | 99x7 |"]);
        assert!(common::told(&batch).contains(&format!("2: snapshot_wanted ({reason})")));
        assert!(!is_usable(&engine));
    }
}

#[test]
fn what_nobody_asked_for_is_counted_and_changes_nothing() {
    let (engine, batch, _) = play(&[
        "snapshot | 99x5 | 101x3",
        "update | 99x6 |",
        r#"[7,{"b":[],"c":"1"},"weather","XBT/USD"]"#,
        r#"{"event":"weather"}"#,
        r#"[3,["1","2"],"spread","XBT/USD"]"#,
        r#"{"event":"pong"}"#,
        r#"{"errorMessage":"no","event":"subscriptionStatus","pair":"XBT/USD","status":"error"}"#,
        r#"{"channelName":"book-10","event":"subscriptionStatus","pair":"XBT/USD","status":"unsubscribed"}"#,
    ]);
    let counters = engine.counters();
    assert_eq!((counters.unknown, counters.acknowledged, counters.refused, counters.malformed), (2, 3, 1, 0));
    assert_eq!(told(&batch)[2..], ["7: refused", "8: book_unusable (unsubscribed)"]);
}

#[test]
fn asset_pairs_give_an_instrument_its_steps_before_or_after_it_appears() {
    let answer = r#"{"error":[],"result":{"XXBTZUSD":{"wsname":"XBT\/USD","pair_decimals":1,"lot_decimals":1}}}"#;
    let answer = Message::new(MessageKind::Rest, 1, "/0/public/AssetPairs", answer);
    let trade = r#"[7,[["99","5.25","1618678117.5","b","l",""]],"trade","XBT/USD"]"#;
    let trade = Message::new(MessageKind::Ws, 1_618_678_118_000_000_000, "", trade);
    let definitions = |messages: &[Message]| {
        let (_, batch) = run(Venue::KrakenV1, messages);
        let told = |i: &tidebook_types::Instrument| (i.instrument_version, i.price_exp, i.size_exp, i.tick, i.lot);
        batch.instruments.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(definitions(&[answer.clone(), trade.clone()]), [(1, 1, 2, 1, 10)]);
    // A tick of 0.1 is none at an exponent of 0.
    assert_eq!(definitions(&[trade, answer]), [(1, 0, 2, 0, 0), (2, 0, 2, 0, 10)]);
}
