//! Binance's rules on small scripted feeds, told as the status records a connector and a reader see.

mod common;

use common::{Message, run, told};
use tidebook_book::{Level, Side};
use tidebook_feed::{FeedEngine, FeedOptions, RecordBatch, RecordSink};
use tidebook_types::records::{FLAG_DERIVED, FLAG_LAST, FLAG_SNAPSHOT, FLAG_UNPROVEN};
use tidebook_types::{BookImage, Health, Instrument, InstrumentId, MessageKind, Venue, format_units};
use zerocopy::FromZeros;

/// `99x5 98x7` as JSON levels.
fn levels(text: &str) -> String {
    let pair = |level: &str| {
        let (price, size) = level.split_once('x').unwrap();
        format!("[\"{price}.00000000\",\"{size}.00000000\"]")
    };
    format!("[{}]", text.split_whitespace().map(pair).collect::<Vec<_>>().join(","))
}

/// One line of a script:
/// `depth 5-7 | bids | asks` (futures: `depth 3<5-7`, behind id 3), `snapshot 4 | bids | asks`, `ticker 7 | 99x5 | 101x2`, `trade 12 99x1`,
/// `state <event>`, `state <event> | <stream>`, or any JSON frame.
fn message(line: &str, index: usize) -> Message {
    let ts_recv = 1_700_000_000_000_000_000 + index as i64 * 1_000_000;
    let ms = ts_recv / 1_000_000;
    let parts: Vec<_> = line.split('|').map(str::trim).collect();
    let (word, rest) = parts[0].split_once(' ').unwrap_or((parts[0], ""));
    let ws = |body: String| Message::new(MessageKind::Ws, ts_recv, "", &body);
    match word {
        "depth" => {
            let (previous, ids) = rest.split_once('<').map_or((None, rest), |(previous, ids)| (Some(previous), ids));
            let (first, last) = ids.split_once('-').unwrap();
            let (bids, asks) = (levels(parts[1]), levels(parts[2]));
            let chain = previous.map_or_else(String::new, |previous| format!("\"T\":{},\"pu\":{previous},", ms - 3));
            ws(format!(
                "{{\"e\":\"depthUpdate\",\"E\":{ms},\"s\":\"XY\",{chain}\"U\":{first},\"u\":{last},\"b\":{bids},\"a\":{asks}}}"
            ))
        }
        "snapshot" => {
            let body =
                format!("{{\"lastUpdateId\":{rest},\"bids\":{},\"asks\":{}}}", levels(parts[1]), levels(parts[2]));
            Message::new(MessageKind::Rest, ts_recv, "/api/v3/depth?symbol=XY&limit=100", &body)
        }
        "ticker" => {
            let (bid, ask) = (parts[1].split_once('x').unwrap(), parts[2].split_once('x').unwrap());
            let fields = [("b", bid.0), ("B", bid.1), ("a", ask.0), ("A", ask.1)];
            let fields: String = fields.iter().map(|(key, value)| format!(",\"{key}\":\"{value}.0\"")).collect();
            ws(format!("{{\"u\":{rest},\"s\":\"XY\"{fields}}}"))
        }
        "trade" => {
            let (id, level) = rest.split_once(' ').unwrap();
            let (price, size) = level.split_once('x').unwrap();
            ws(format!(
                "{{\"e\":\"trade\",\"E\":{ms},\"s\":\"XY\",\"t\":{id},\"p\":\"{price}.0\",\"q\":\"{size}.0\",\"T\":170000000000{id},\"m\":true}}"
            ))
        }
        "state" => {
            let streams = parts.get(1).map_or_else(String::new, |names| format!(",\"streams\":[\"{names}\"]"));
            Message::new(MessageKind::State, ts_recv, "", &format!("{{\"event\":\"{rest}\"{streams}}}"))
        }
        _ => ws(line.to_owned()),
    }
}

fn play(script: &[&str]) -> (FeedEngine, RecordBatch) {
    play_as(Venue::Binance, script)
}

fn play_as(venue: Venue, script: &[&str]) -> (FeedEngine, RecordBatch) {
    let messages: Vec<_> = script.iter().enumerate().map(|(index, line)| message(line, index)).collect();
    run(venue, &messages)
}

/// `bids | asks` of the book, best first, with a mark when it may not be used or is not proven.
fn picture(engine: &FeedEngine) -> String {
    let id = InstrumentId::new(engine.venue(), 0);
    let view = engine.book(id).unwrap();
    let mut image = BookImage::new_zeroed();
    assert!(engine.fill_image(id, &mut image));
    let side = |side| {
        let text = |units, exp| format_units(units, exp).trim_end_matches('0').trim_end_matches('.').to_owned();
        let (price_exp, size_exp) = (image.price_exp, image.size_exp);
        let level = |level: Level| format!("{}x{}", text(level.price, price_exp), text(level.size, size_exp));
        let levels = view.book.levels(side).map(level);
        levels.collect::<Vec<_>>().join(" ")
    };
    let mark = match (view.usable, view.unproven) {
        (false, _) => "unusable ",
        (true, true) => "unproven ",
        (true, false) => "",
    };
    format!("{mark}{}: {} | {}", view.venue_sequence, side(Side::Bid), side(Side::Ask))
}

#[test]
fn a_snapshot_goes_under_the_changes_that_came_before_it() {
    let (engine, batch) = play(&[
        "depth 1-3 | 90x9 | ",
        "depth 4-6 | 99x1 | 101x1",
        "depth 7-8 | 98x2 | ",
        "snapshot 5 | 99x5 97x1 | 101x2 102x2",
        "depth 9-9 | 97x0 | ",
    ]);
    assert_eq!(picture(&engine), "9: 99x1 98x2 | 101x1 102x2");
    assert_eq!(
        told(&batch),
        ["1: snapshot_wanted (started)", "4: snapshot_applied 0 5 4", "4: book_usable (snapshot_applied)"]
    );
    // All of it belongs to the message that made it possible; a reader may look where a message of the venue ends.
    let depth: Vec<_> = batch.depth.iter().map(|d| (d.source_sequence, d.venue_sequence, d.flags)).collect();
    let s = FLAG_SNAPSHOT;
    assert_eq!(
        depth,
        [
            (4, 5, s),
            (4, 5, s),
            (4, 5, s),
            (4, 5, s),
            (4, 5, s | FLAG_LAST),
            (4, 6, 0),
            (4, 6, FLAG_LAST),
            (4, 8, FLAG_LAST),
            (5, 9, FLAG_LAST)
        ]
    );
}

#[test]
fn a_snapshot_older_than_the_changes_kept_is_refused_and_asked_for_again() {
    let (engine, batch) =
        play(&["depth 10-12 | 99x1 | 101x1", "snapshot 8 | 99x5 | 101x2", "snapshot 9 | 99x5 | 101x2"]);
    assert_eq!(picture(&engine), "12: 99x1 | 101x1");
    assert_eq!(
        told(&batch),
        [
            "1: snapshot_wanted (started)",
            "2: snapshot_refused 9 8 0",
            "2: snapshot_wanted (snapshot_refused)",
            "3: snapshot_applied 0 9 2",
            "3: book_usable (snapshot_applied)",
        ]
    );
}

#[test]
fn a_snapshot_ahead_of_the_stream_waits_for_the_change_that_reaches_it() {
    let (engine, _) =
        play(&["depth 1-2 | 99x1 | 101x1", "snapshot 6 | 99x5 | 101x2", "depth 3-4 | 99x3 | ", "depth 5-8 | 98x1 | "]);
    assert_eq!(picture(&engine), "8: 99x5 98x1 | 101x2");
    let (engine, batch) = play(&["snapshot 6 | 99x5 | 101x2", "depth 8-9 | 98x1 | ", "snapshot 9 | 99x4 98x1 | 101x2"]);
    assert_eq!(picture(&engine), "9: 99x4 98x1 | 101x2");
    assert_eq!(
        told(&batch)[2..],
        [
            "2: book_unusable (snapshot_refused)",
            "2: snapshot_refused 7 6 0",
            "2: snapshot_wanted (snapshot_refused)",
            "3: snapshot_applied 0 9 3",
            "3: book_usable (snapshot_applied)",
        ]
    );
}

#[test]
fn a_snapshot_that_the_stream_never_reaches_is_given_up() {
    let mut script = vec!["snapshot 900000 | 99x5 | 101x2".to_owned()];
    script.extend((1..=120).map(|id| format!("depth {id}-{id} | 98x{id} | ")));
    script.push("snapshot 120 | 99x5 98x1 | 101x2".to_owned());
    let script: Vec<_> = script.iter().map(String::as_str).collect();
    let (engine, batch) = play(&script);
    assert_eq!(picture(&engine), "120: 99x5 98x1 | 101x2");
    assert_eq!(
        told(&batch)[2..5],
        [
            "102: book_unusable (snapshot_ahead)",
            "102: snapshot_refused (snapshot_ahead) 900000 101 0",
            "102: snapshot_wanted (snapshot_refused)",
        ]
    );
}

/// A book is lost in each way that leaves nothing kept; then comes a snapshot one id before what was received, and one of
/// that id.
#[test]
fn a_snapshot_behind_what_was_received_and_dropped_is_never_taken() {
    let finer_trade = r#"{"e":"trade","E":1,"s":"XY","t":1,"p":"99.0000000005","q":"1.0","T":1700000000001,"m":true}"#;
    let start = ["state connected", "snapshot 4 | 99x5 | 101x2", "depth 5-6 | 98x1 | "];
    let ended = ["state disconnected", "state connected"];
    let lost: [(&str, &[&str]); 4] = [
        ("crossed", &["depth 7-8 | 103x1 | "]),
        ("other decimals", &["depth 7-8 | 97x1 | ", finer_trade]),
        ("the end of the session", &["depth 7-8 | 97x1 | ", ended[0], ended[1]]),
        ("two ends, a gap before them", &["depth 8-8 | 97x1 | ", ended[0], ended[1], ended[0], ended[1]]),
    ];
    for (how, rest) in lost {
        let script = [&start[..], rest, &["snapshot 7 | 99x1 | 101x2"]].concat();
        let (engine, batch) = play(&script);
        assert!(picture(&engine).starts_with("unusable"), "{how}");
        let told = told(&batch);
        let place = script.len();
        let expected =
            [format!("{place}: snapshot_refused 8 7 0"), format!("{place}: snapshot_wanted (snapshot_refused)")];
        assert_eq!(told[told.len() - 2..], expected, "{how}");
        let (engine, _) = play(&[&script[..], &["snapshot 8 | 99x2 | 101x2", "depth 9-9 | 98x3 | "]].concat());
        assert_eq!(picture(&engine), "9: 99x2 98x3 | 101x2", "{how}");
    }
    // A book that had no change yet, and one in doubt since a bookTicker of futures came.
    let (engine, _) = play(&["snapshot 4 | 99x5 | 101x2", finer_trade, "snapshot 3 | 99x1 | 101x2"]);
    assert!(picture(&engine).starts_with("unusable"));
    let doubted = ["depth 4<5-8 | 98x1 | ", "ticker 3 | 99x5 | 101x2", "ticker 8 | 99x7 | 101x2"];
    let script = [&["snapshot 4 | 99x5 | 101x2"], &doubted[..], &["snapshot 7 | 99x1 | 101x2"]].concat();
    let (engine, batch) = play_as(Venue::BinanceUsdm, &script);
    assert!(picture(&engine).starts_with("unusable"));
    assert!(told(&batch).contains(&"5: snapshot_refused 8 7 0".to_owned()), "{:?}", told(&batch));
}

#[test]
fn an_answer_asked_for_in_a_session_that_was_replaced_does_not_make_the_book_that_sessions() {
    let script = [
        (1, "state connected"),
        (2, "state connected"),
        (2, "depth 4-4 | 99x5 | 101x2"),
        (1, "snapshot 4 | 99x5 | 101x2"),
        (2, "state disconnected"),
    ];
    let messages: Vec<_> =
        (0..).zip(script).map(|(index, (connection, line))| Message { connection, ..message(line, index) }).collect();
    assert!(!picture(&run(Venue::Binance, &messages[..4]).0).starts_with("unusable"));
    assert!(picture(&run(Venue::Binance, &messages).0).starts_with("unusable"));
}

/// The ids of one message became far too high. Method: at each place of a feed, on spot and futures; then the feed goes on
/// with its true ids, and a snapshot comes.
#[test]
fn a_message_with_ids_far_too_high_costs_its_book_until_the_next_snapshot_only() {
    const HIGH: u64 = 1_000_000_000_000;
    for venue in [Venue::Binance, Venue::BinanceUsdm] {
        for damaged in 1..=12 {
            for keeps_its_previous_id in [false, true] {
                let depth = |id: u64, previous: u64, size: u64| match venue {
                    Venue::Binance => format!("depth {id}-{id} | 98x{size} | "),
                    _ => format!("depth {previous}<{id}-{id} | 98x{size} | "),
                };
                let mut script = vec!["depth 1-1 | 98x1 | ".to_owned(), "snapshot 1 | 99x5 98x1 | 101x2".to_owned()];
                if venue != Venue::Binance {
                    script[0] = depth(1, 0, 1);
                }
                for id in 1..=12 {
                    let line = if id == damaged {
                        let previous = if keeps_its_previous_id { id - 1 } else { HIGH - 1 };
                        depth(HIGH, previous, id)
                    } else {
                        depth(id, id - 1, id)
                    };
                    match id {
                        1 => script[0] = line,
                        _ => script.push(line),
                    }
                }
                script.extend([depth(13, 12, 13), depth(14, 13, 14), "snapshot 13 | 99x5 98x13 | 101x2".to_owned()]);
                script.push(depth(15, 14, 15));
                let lines: Vec<_> = script.iter().map(String::as_str).collect();
                let context = format!("{}, message {damaged}, {keeps_its_previous_id}", venue.name());
                assert_eq!(picture(&play_as(venue, &lines).0), "15: 99x5 98x15 | 101x2", "{context}");
                // Nothing that came in between was taken for the truth: what is usable has the size of its id.
                for end in 1..lines.len() {
                    let (engine, _) = play_as(venue, &lines[..end]);
                    let Some(view) = engine.book(InstrumentId::new(venue, 0)).filter(|view| view.usable) else {
                        continue;
                    };
                    let size = view.book.levels(Side::Bid).find(|level| level.price == 98 * 100_000_000).unwrap().size;
                    let id = view.venue_sequence;
                    let units = if venue == Venue::Binance { 100_000_000 } else { 1_000 };
                    // Until the next message its ids are believed.
                    let believed = id == HIGH
                        && lines[..end].iter().filter(|line| line.starts_with("depth")).count() as u64 == damaged;
                    let id = if believed { damaged } else { id };
                    assert_eq!(size, id as i64 * units, "{context}: {} after {end} messages", picture(&engine));
                }
            }
        }
    }
}

#[test]
fn ids_that_stay_below_a_far_too_high_one_for_long_are_believed_even_if_its_time_was_damaged_too() {
    let depth = |time: u64, id: u64| {
        format!(
            "{{\"e\":\"depthUpdate\",\"E\":{time},\"s\":\"XY\",\"U\":{id},\"u\":{id},\"b\":[[\"98\",\"{id}\"]],\"a\":[]}}"
        )
    };
    let mut script = vec!["snapshot 4 | 99x5 | 101x2".to_owned(), depth(7_000_000_000_000, 900_000)];
    script.extend((5..=105).map(|id| depth(1_700_000_000_000 + id, id)));
    script.push("snapshot 105 | 99x5 98x105 | 101x2".to_owned());
    script.push(depth(1_700_000_000_106, 106));
    let lines: Vec<_> = script.iter().map(String::as_str).collect();
    let (engine, batch) = play(&lines);
    assert_eq!(picture(&engine), "106: 99x5 98x106 | 101x2");
    assert!(told(&batch).contains(&"103: gap 900001 105 0".to_owned()), "{:?}", told(&batch));
    assert_eq!(engine.counters().duplicates, 100);
}

#[test]
fn a_gap_makes_the_book_unusable_to_the_next_snapshot() {
    let (engine, batch) = play(&[
        "snapshot 4 | 99x5 | 101x2",
        "depth 5-6 | 98x1 | ",
        "depth 9-9 | 97x1 | ",
        "depth 10-10 | 96x1 | ",
        "snapshot 9 | 99x5 97x1 | 101x2",
    ]);
    assert_eq!(picture(&engine), "10: 99x5 97x1 96x1 | 101x2");
    assert_eq!(
        told(&batch)[2..],
        [
            "3: gap 7 9 2",
            "3: book_unusable (gap)",
            "3: snapshot_wanted (gap)",
            "5: snapshot_applied 0 9 3",
            "5: book_usable (snapshot_applied)",
        ]
    );
    assert!(batch.depth.iter().all(|depth| !matches!(depth.source_sequence, 3 | 4)), "a refused message wrote depth");
    assert_eq!(engine.counters().gaps, 1);
}

#[test]
fn ids_that_overlap_without_repeating_are_a_gap_too() {
    let start = ["snapshot 4 | 99x5 | 101x2", "depth 5-60 | 98x1 | "];
    let (engine, batch) = play(&[start[0], start[1], "depth 7-8 | 97x1 | "]);
    assert!(picture(&engine).starts_with("unusable"));
    assert_eq!(told(&batch)[2..], ["3: gap 61 7 0", "3: book_unusable (gap)", "3: snapshot_wanted (gap)"]);
    // One that was sent before and comes late.
    let (before, snapshot, change) = (message("depth 2-4 | 1x1 | ", 0), message(start[0], 1), message(start[1], 2));
    let messages = [snapshot, change.clone(), change, before, message("depth 61-61 | 97x1 | ", 3)];
    let (engine, _) = run(Venue::Binance, &messages);
    assert_eq!(picture(&engine), "61: 99x5 98x1 97x1 | 101x2");
    assert_eq!(engine.counters().duplicates, 2);
}

#[test]
fn a_crossed_book_is_never_published() {
    let (engine, batch) = play(&["snapshot 4 | 99x5 | 101x2", "depth 5-5 | 102x1 | ", "snapshot 5 | 99x5 | 103x1"]);
    assert_eq!(picture(&engine), "5: 99x5 | 103x1");
    assert_eq!(told(&batch)[2..4], ["2: book_unusable (crossed)", "2: snapshot_wanted (crossed)"]);
    let (engine, batch) = play(&["depth 4-4 | | ", "snapshot 4 | 102x5 | 101x2", "snapshot 4 | 98x1 99x1 | 101x2"]);
    assert!(picture(&engine).starts_with("unusable"));
    assert_eq!(told(&batch)[1], "2: snapshot_refused (crossed) 0 4 0");
    assert_eq!(told(&batch)[3], "3: snapshot_refused (out_of_order) 0 4 0");
}

#[test]
fn a_book_that_disagrees_with_the_ticker_is_doubted_until_each_price_in_dispute_was_sent_again() {
    let script = [
        "snapshot 4 | 99x5 | 101x2",
        "ticker 5 | 99x5 | 101x2",
        "depth 5-5 | 98x1 | ",
        "ticker 6 | 100x3 | 101x2",
        // 100x3 is missing.
        "depth 6-6 | 97x1 | ",
        // The tops agree by the ticker moving back, but 100 was not sent again.
        "ticker 7 | 99x5 | 101x2",
        "depth 7-7 | 97x0 | ",
        "ticker 8 | 99x6 | 101x2",
        "depth 8-8 | 99x6 | ",
        "depth 9-9 | 100x0 | ",
    ];
    let (engine, batch) = play(&script[..9]);
    assert!(picture(&engine).starts_with("unusable"));
    assert_eq!(
        told(&batch)[2..5],
        ["5: oracle_disagrees 6 6 0", "5: book_unusable (oracle_disagrees)", "5: snapshot_wanted (oracle_disagrees)",]
    );
    let (engine, batch) = play(&script);
    assert_eq!(picture(&engine), "unproven 9: 99x6 98x1 | 101x2");
    assert_eq!(told(&batch).last().unwrap(), "10: book_usable (oracle_agrees)");
    // In sequence all along: the changes are written, marked, and the derived top only while the book may be used.
    let marks: Vec<_> = batch.depth[3..].iter().map(|d| (d.source_sequence, d.flags & FLAG_UNPROVEN != 0)).collect();
    assert_eq!(marks, [(3, false), (5, true), (7, true), (9, true), (10, true)]);
    let derived = |quote: &&tidebook_types::Quote| quote.flags & FLAG_DERIVED != 0;
    let derived: Vec<_> = batch.quotes.iter().filter(derived).map(|quote| quote.source_sequence).collect();
    assert_eq!(derived, [1, 10]);
}

#[test]
fn a_snapshot_ends_a_doubt_without_losing_what_came_meanwhile() {
    let (engine, _) = play(&[
        "snapshot 4 | 99x5 | 101x2",
        "ticker 5 | 100x3 | 101x2",
        "depth 5-5 | 98x1 | ",
        "depth 6-6 | 97x1 | ",
        "depth 7-7 | 96x1 | ",
        "snapshot 5 | 100x3 99x5 98x1 | 101x2",
        "depth 8-8 | 95x1 | ",
    ]);
    assert_eq!(picture(&engine), "8: 100x3 99x5 98x1 97x1 96x1 95x1 | 101x2");
    assert_eq!(engine.counters().gaps, 0);
}

#[test]
fn a_ticker_stream_that_ended_raises_no_doubt() {
    let mut script = vec!["snapshot 4 | 99x5 | 101x2".to_owned(), "ticker 4 | 99x5 | 101x2".to_owned()];
    script.extend((5..=60).map(|id| format!("depth {id}-{id} | 98x{id} | ")));
    script.push("depth 61-61 | 100x1 | ".to_owned());
    let script: Vec<_> = script.iter().map(String::as_str).collect();
    let (engine, _) = play(&script);
    assert!(picture(&engine).starts_with("61: 100x1"));
}

#[test]
fn the_end_of_a_session_is_no_gap_but_needs_a_snapshot() {
    let (engine, batch) = play(&[
        "state connected",
        "snapshot 4 | 99x5 | 101x2",
        "depth 5-5 | 98x1 | ",
        "state disconnected",
        "state connected",
        "depth 50-51 | 97x1 | ",
        "snapshot 51 | 99x1 97x1 | 101x2",
    ]);
    assert_eq!(picture(&engine), "51: 99x1 97x1 | 101x2");
    assert_eq!(engine.counters().gaps, 0);
    assert_eq!(
        told(&batch)[3..6],
        ["4: disconnected 0 1 0", "4: book_unusable (disconnected)", "4: snapshot_wanted (disconnected)"]
    );
}

#[test]
fn a_session_that_a_killed_process_left_open_ends_when_the_next_one_starts() {
    let (engine, batch) = play(&[
        "state started",
        "state connected",
        "snapshot 4 | 99x5 | 101x2",
        "state started",
        "state started",
        "state connected",
        "snapshot 51 | 99x1 97x1 | 101x2",
    ]);
    assert_eq!(picture(&engine), "51: 99x1 97x1 | 101x2");
    let ends: Vec<_> = told(&batch).into_iter().filter(|line| line.contains("disconnected")).collect();
    assert_eq!(ends, ["4: disconnected 0 1 0", "4: book_unusable (disconnected)", "4: snapshot_wanted (disconnected)"]);
}

#[test]
fn a_number_with_other_decimals_is_a_new_version_of_the_instrument() {
    let finer = r#"{"e":"depthUpdate","E":1,"s":"XY","U":5,"u":5,"b":[["98.0000000005","1"]],"a":[]}"#;
    let (engine, batch) = play(&["snapshot 4 | 99x5 | 101x2", finer, "snapshot 5 | 99x5 | 101x2", "trade 1 99x1"]);
    let versions: Vec<_> = batch.instruments.iter().map(|i| (i.instrument_version, i.price_exp, i.size_exp)).collect();
    assert_eq!(versions, [(1, 8, 8), (2, 10, 8)]);
    assert_eq!(
        told(&batch)[2..],
        [
            "2: precision_changed",
            "2: book_unusable (precision_changed)",
            "2: snapshot_wanted (precision_changed)",
            "3: snapshot_applied 0 5 2",
            "3: book_usable (snapshot_applied)"
        ]
    );
    assert_eq!(engine.counters().malformed, 0);
    assert_eq!((batch.trades[0].price, batch.trades[0].price_exp), (990_000_000_000, 10));
}

#[test]
fn frames_that_make_no_sense_are_set_aside_and_the_feed_goes_on() {
    let (engine, batch) = play(&[
        "snapshot 4 | 99x5 | 101x2",
        "{\"e\":\"trade\"",
        "not json",
        "{\"e\":\"trade\",\"E\":1,\"s\":\"XY\"}",
        "{\"e\":\"somethingNew\",\"x\":[1,2,{}]}",
        "{\"result\":null,\"id\":1}",
        "{\"code\":2,\"msg\":\"Invalid request\",\"id\":null}",
        "{\"e\":\"serverShutdown\",\"E\":5}",
        "depth 5-5 | 98x1 | ",
    ]);
    assert_eq!(picture(&engine), "5: 99x5 98x1 | 101x2");
    let set_aside: Vec<_> = engine.quarantined().iter().map(|frame| (frame.sequence, frame.error.offset)).collect();
    assert_eq!(set_aside, [(2, 12), (3, 0), (4, 0)]);
    let counters = engine.counters();
    assert_eq!((counters.malformed, counters.unknown, counters.acknowledged, counters.refused), (3, 1, 1, 1));
    assert_eq!(
        told(&batch)[2..],
        ["2: malformed 0 12 0", "3: malformed", "4: malformed", "7: refused 0 2 0", "8: venue_shutdown",]
    );
}

#[test]
fn lost_late_and_repeated_trades_are_told_and_written_once() {
    let (engine, batch) = play(&["trade 7 99x1", "trade 9 99x1", "trade 8 99x1", "trade 9 99x1", "trade 10 99x1"]);
    assert_eq!(batch.trades.iter().map(|trade| trade.trade_id).collect::<Vec<_>>(), [7, 9, 8, 10]);
    assert_eq!(told(&batch), ["2: trade_gap 8 9 1", "3: trade_late 10 8 0"]);
    assert_eq!(engine.counters().duplicates, 1);
}

#[test]
fn each_second_of_the_feeds_clock_says_how_the_feed_does() {
    struct Kept(Vec<Health>);
    impl RecordSink for Kept {
        fn health(&mut self, record: &Health) {
            self.0.push(*record);
        }
    }
    const START_MS: i64 = 1_700_000_000_000;
    let at = |ms: i64| (START_MS + ms) * 1_000_000;
    let timer = |ms: i64| Message::new(MessageKind::Timer, at(ms), "", "");
    // Received `lag` ms after the venue's time.
    let trade = |id: u64, ms: i64, lag: i64| {
        let body = format!(
            r#"{{"e":"trade","E":1,"s":"XY","t":{id},"p":"1.0","q":"2.0","T":{},"m":false}}"#,
            START_MS + ms - lag
        );
        Message::new(MessageKind::Ws, at(ms), "", &body)
    };
    let messages = [
        timer(1_000),
        Message::new(MessageKind::State, at(1_100), "", r#"{"event":"connected"}"#),
        trade(1, 1_200, 30),
        trade(2, 1_300, -10),
        trade(5, 1_400, 40),
        timer(1_900),
        timer(2_000),
        Message::new(MessageKind::Ws, at(2_500), "", "not JSON"),
        timer(3_000),
        timer(5_500),
    ];
    let mut engine = FeedEngine::new(Venue::Binance, FeedOptions::of(Venue::Binance));
    let mut kept = Kept(Vec::new());
    for (sequence, message) in (1..).zip(&messages) {
        engine.on_message(sequence, message.raw(), &mut kept);
    }
    let told = |record: &Health| {
        let lags = [record.lag_min_ns, record.lag_mean_ns, record.lag_max_ns].map(|lag| lag / 1_000_000);
        let totals = [record.gaps, record.malformed, record.connections.into(), record.instruments.into()];
        (record.source_sequence, record.interval_ns / 1_000_000, record.messages, record.timed, lags, totals)
    };
    let expected = [
        (7, 1_000, 3, 3, [-10, 20, 40], [1, 0, 1, 1]),
        (9, 1_000, 1, 0, [0, 0, 0], [1, 1, 1, 1]),
        (10, 2_500, 0, 0, [0, 0, 0], [1, 1, 1, 1]),
    ];
    assert_eq!(kept.0.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(kept.0.iter().all(|record| record.clock_offset_ns == -10_000_000));
    assert!(kept.0.iter().all(|record| record.instrument_id == InstrumentId::whole_feed(Venue::Binance).get()));
}

#[test]
fn timers_close_bars_and_without_them_receive_times_do() {
    let trade = |id: u64, second: i64| {
        let body = format!(
            "{{\"e\":\"trade\",\"E\":1,\"s\":\"XY\",\"t\":{id},\"p\":\"{id}.0\",\"q\":\"2.0\",\"T\":{},\"m\":false}}",
            1_700_000_040_000 + second * 1_000
        );
        Message::new(MessageKind::Ws, 1_700_000_040_000_000_000 + second * 1_000_000_000, "", &body)
    };
    let timer =
        |second: i64| Message::new(MessageKind::Timer, 1_700_000_040_000_000_000 + second * 1_000_000_000, "", "");
    let closed_of = |messages: &[Message], interval_s: u32| {
        let (_, batch) = run(Venue::Binance, messages);
        let bar = |bar: &tidebook_types::Bar| {
            assert_eq!(bar.ts_event, bar.ts_open + i64::from(bar.interval_s) * 1_000_000_000);
            (bar.source_sequence, bar.ts_open / 1_000_000_000 - 1_700_000_040, bar.trade_count, bar.revision)
        };
        batch.bars.iter().filter(|bar| bar.interval_s == interval_s).map(bar).collect::<Vec<_>>()
    };
    let closed = |messages: &[Message]| closed_of(messages, 60);
    // The minute ends at 60; a second is left for trades on their way.
    assert_eq!(closed(&[trade(1, 5), trade(2, 60), trade(3, 61)]), [(3, 0, 1, 0)]);
    let with_timers = [trade(1, 5), timer(60), trade(2, 70), timer(61), trade(3, 59), timer(181)];
    assert_eq!(closed(&with_timers), [(4, 0, 1, 0), (5, 0, 2, 1), (6, 60, 1, 0), (6, 120, 0, 0)]);
    // Seconds without trades give no bar; what comes after its second gives one, or gives it again.
    assert_eq!(closed_of(&with_timers, 1), [(2, 5, 1, 0), (5, 59, 1, 0), (6, 70, 1, 0)]);
    assert_eq!(closed_of(&with_timers, 300), [(4, -240, 1, 0), (5, -240, 2, 1)]);
    let long = [trade(1, 5), timer(6), trade(2, 86_400), timer(172_801), timer(172_802)];
    // The day, the hour and the five minutes that hold the first trade began before it: 22:14:00.
    assert_eq!(closed_of(&long, 3_600)[0], (4, -840, 1, 0));
    assert_eq!(closed_of(&long, 86_400), [(4, -80_040, 1, 0), (4, 6_360, 1, 0)]);
}

const FUTURES: [Venue; 2] = [Venue::BinanceUsdm, Venue::BinanceCoinm];

#[test]
fn futures_follow_the_chain_of_previous_ids_and_not_the_first_ones() {
    for venue in FUTURES {
        let (engine, batch) = play_as(
            venue,
            &[
                "depth 2<5-9 | 90x9 | ",
                "depth 9<20-31 | 99x1 | 101x1",
                "snapshot 25 | 99x5 97x1 | 101x2 102x2",
                "depth 31<90-95 | 97x0 | ",
                "depth 90<96-99 | 96x1 | ",
                "snapshot 99 | 99x2 | 101x7",
            ],
        );
        assert_eq!(picture(&engine), "99: 99x2 | 101x7");
        assert_eq!(
            told(&batch),
            [
                "1: snapshot_wanted (started)",
                "3: snapshot_applied 0 25 4",
                "3: book_usable (snapshot_applied)",
                // Overlaps the message before: its `pu` is below that one's `u`.
                "5: gap 96 91 0",
                "5: book_unusable (gap)",
                "5: snapshot_wanted (gap)",
                "6: snapshot_applied 0 99 2",
                "6: book_usable (snapshot_applied)",
            ]
        );
        let first = batch.depth.iter().find(|depth| depth.venue_sequence == 31).unwrap();
        assert_eq!(first.ts_event, 1_699_999_999_998_000_000, "the matching engine's time");
    }
}

/// Ids between `pu` and `U` are other instruments'. Method: one snapshot at each id around a message behind 10 that
/// covers 20 to 30, which came before the snapshot or comes after it.
#[test]
fn a_snapshot_of_futures_is_spanned_by_a_message_from_its_previous_id_on() {
    for id in 8..33 {
        let snapshot = format!("snapshot {id} | 99x5 | 101x2");
        let (engine, batch) = play_as(Venue::BinanceUsdm, &["depth 10<20-30 | 99x1 | ", &snapshot]);
        let refused = told(&batch).iter().any(|line| line.contains("snapshot_refused"));
        assert_eq!(refused, id < 10, "{id}");
        let expected = match id {
            ..10 => "unusable 0:  | ".to_owned(),
            10..30 => "30: 99x1 | 101x2".to_owned(),
            30.. => format!("{id}: 99x5 | 101x2"),
        };
        assert_eq!(picture(&engine), expected);
        let (engine, _) = play_as(Venue::BinanceUsdm, &[&snapshot, "depth 10<20-30 | 99x1 | "]);
        assert_eq!(engine.book(InstrumentId::new(Venue::BinanceUsdm, 0)).unwrap().usable, id >= 10, "{id}");
    }
}

#[test]
fn a_book_of_futures_is_compared_when_no_earlier_book_ticker_can_come_any_more() {
    let start = ["snapshot 4 | 99x5 | 101x2", "ticker 3 | 99x5 | 101x2", "depth 4<5-8 | 99x7 | "];
    let tally = |engine: &FeedEngine| common::tally(engine, tidebook_feed::Oracle::BinanceBookTicker);
    let usdm = |rest: &[&str]| play_as(Venue::BinanceUsdm, &[&start[..], rest].concat());
    // The change of the top comes behind the depth message that has it: no contradiction.
    assert_eq!(tally(&usdm(&[]).0), (0, 0));
    let (engine, batch) = usdm(&["ticker 6 | 99x7 | 101x2", "ticker 9 | 99x8 | 101x2"]);
    assert_eq!((tally(&engine), batch.status.len()), ((1, 0), 2));
    let (engine, _) = usdm(&["ticker 8 | 99x7 | 101x2"]);
    assert_eq!(tally(&engine), (1, 0));
    // Nothing between 3 and 9: at 8 the best bid still had 5.
    let (engine, batch) = usdm(&["ticker 9 | 99x8 | 101x2", "depth 8<9-9 | 99x8 | ", "ticker 12 | 99x9 | 101x2"]);
    assert_eq!(tally(&engine), (1, 1));
    assert_eq!(
        told(&batch)[2..],
        [
            "4: oracle_disagrees 3 8 0",
            "4: book_unusable (oracle_disagrees)",
            "4: snapshot_wanted (oracle_disagrees)",
            "5: book_usable (oracle_agrees)",
        ]
    );
    assert!(picture(&engine).starts_with("unproven 9: 99x8"));
}

#[test]
fn a_trade_of_size_0_takes_an_id_and_is_no_trade() {
    let script = ["trade 7 99x1", "trade 8 0x0", "trade 9 98x2"];
    let (engine, batch) = play_as(Venue::BinanceUsdm, &script);
    assert_eq!(batch.trades.iter().map(|trade| trade.trade_id).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(common::tally(&engine, tidebook_feed::Oracle::BinanceTradeIds), (2, 0));
    assert_eq!((engine.counters().trades, engine.counters().trades_empty), (2, 1));
}

#[test]
fn exchange_info_changes_exponents_only_where_a_step_needs_it() {
    let info = |tick: &str, lot: &str| {
        let filters = format!(
            "{{\"filterType\":\"PRICE_FILTER\",\"tickSize\":\"{tick}\"}},{{\"filterType\":\"LOT_SIZE\",\"stepSize\":\"{lot}\"}}"
        );
        let body = format!("{{\"symbols\":[{{\"symbol\":\"XY\",\"filters\":[{filters}]}}]}}");
        Message::new(MessageKind::Rest, 1_700_000_000_000_000_000, "/fapi/v1/exchangeInfo", &body)
    };
    let snapshot = message("snapshot 4 | 99x5 | 101x2", 1);
    let definitions = |messages: &[Message]| {
        let (engine, batch) = run(Venue::BinanceUsdm, messages);
        let row = |record: &Instrument| {
            (record.instrument_version, record.price_exp, record.size_exp, record.tick, record.lot)
        };
        (batch.instruments.iter().map(row).collect::<Vec<_>>(), picture(&engine))
    };
    let book = "4: 99x5 | 101x2".to_owned();
    let known = info("0.10", "0.001");
    assert_eq!(definitions(&[known.clone(), snapshot.clone()]), (vec![(1, 8, 3, 10_000_000, 1)], book.clone()));
    let twice = [snapshot.clone(), known.clone(), known];
    assert_eq!(definitions(&twice), (vec![(1, 8, 3, 0, 0), (2, 8, 3, 10_000_000, 1)], book.clone()));
    let finer = info("0.10", "0.00001000");
    assert_eq!(definitions(&[finer.clone(), snapshot.clone()]), (vec![(1, 8, 5, 10_000_000, 1)], book.clone()));
    let (rows, picture) = definitions(&[snapshot.clone(), finer.clone()]);
    assert_eq!(rows, [(1, 8, 3, 0, 0), (2, 8, 5, 0, 0), (3, 8, 5, 10_000_000, 1)]);
    assert!(picture.starts_with("unusable"));
    assert_eq!(definitions(&[snapshot.clone(), finer, snapshot]).1, book);
}

#[test]
fn a_book_whose_diff_stream_was_unsubscribed_waits_and_no_late_snapshot_makes_it_good() {
    let begin = ["depth 1-2 | 99x1 | 101x1", "snapshot 2 | 99x1 | 101x1"];
    let script = [
        "state unsubscribed | xy@trade",
        "state unsubscribed | xy@depth@100ms",
        "snapshot 9 | 99x1 | 101x1",
        r#"{"result":null,"id":7}"#,
        "state subscribed | xy@depth@100ms",
        "depth 21-22 | 98x1 | ",
        "snapshot 22 | 98x1 | 101x1",
    ];
    for venue in [Venue::Binance, Venue::BinanceUs] {
        let (engine, batch) = play_as(venue, &[&begin[..], &script[..4]].concat());
        assert_eq!(picture(&engine), "unusable 2: 99x1 | 101x1");
        assert_eq!(
            told(&batch)[3..],
            ["4: book_unusable (unsubscribed)", "5: snapshot_refused (unsubscribed)"],
            "and nothing is asked for"
        );
        let (engine, batch) = play_as(venue, &[&begin[..], &script[..]].concat());
        assert_eq!(picture(&engine), "22: 98x1 | 101x1");
        assert_eq!(told(&batch)[5], "8: snapshot_wanted (started)");
    }
    // The stream of another session than the book's: the book moved on to one that is open.
    let mut messages: Vec<_> = begin.iter().enumerate().map(|(index, line)| message(line, index)).collect();
    messages.push(Message { connection: 2, ..message(script[1], 2) });
    let (engine, _) = run(Venue::Binance, &messages);
    assert_eq!(picture(&engine), "2: 99x1 | 101x1");
}

#[test]
fn a_snapshot_without_a_side_is_refused_and_asked_for_again() {
    for empty in ["snapshot 2 |  | ", "snapshot 2 | 99x1 | ", "snapshot 2 |  | 101x1"] {
        let (engine, batch) = play(&["depth 1-2 | 99x1 | 101x1", empty, "snapshot 2 | 99x1 | 101x1"]);
        assert_eq!(picture(&engine), "2: 99x1 | 101x1");
        assert_eq!(
            told(&batch)[1..3],
            ["2: snapshot_refused (malformed) 0 2 0", "2: snapshot_wanted (snapshot_refused)"],
            "{empty}"
        );
    }
}

#[test]
fn a_symbol_with_a_letter_of_the_wrong_case_is_damage_and_no_instrument() {
    let plain = r#"{"e":"trade","E":1700000000000,"s":"BTCUSDt","t":1,"p":"1.0","q":"1.0","T":1700000000000,"m":true}"#;
    let combined = format!(r#"{{"stream":"btcusdt@trade","data":{plain}}}"#);
    let (engine, batch) = play(&[plain, &combined]);
    assert_eq!((engine.instruments().count(), engine.counters().malformed), (0, 2));
    assert_eq!(batch.trades.len(), 0);
    let (engine, _) = play(&[&combined.replace("BTCUSDt", "BTCUSDT")]);
    assert_eq!(engine.instruments().count(), 1);
}

/// The script, one line a second.
fn play_slowly(venue: Venue, script: &[&str]) -> (FeedEngine, RecordBatch) {
    let messages: Vec<_> = script.iter().enumerate().map(|(index, line)| message(line, index * 1_000)).collect();
    run(venue, &messages)
}

#[test]
fn a_book_whose_changes_stay_away_is_lost_by_the_venues_own_best_prices() {
    let begin = |venue| match venue {
        Venue::Binance => ["depth 1-2 | 99x1 | 101x1", "snapshot 2 | 99x1 | 101x1"],
        _ => ["depth 0<1-2 | 99x1 | 101x1", "snapshot 2 | 99x1 | 101x1"],
    };
    let ahead = ["ticker 3 | 99x1 | 102x1", "ticker 4 | 99x1 | 103x1", "ticker 5 | 99x2 | 103x1"];
    let later = ["ticker 6 | 98x2 | 103x1", "ticker 7 | 99x2 | 103x1", "ticker 8 | 100x1 | 103x1"];
    for venue in [Venue::Binance, Venue::BinanceUsdm] {
        let (engine, _) = play_slowly(venue, &[&begin(venue)[..], &ahead, &later[..2]].concat());
        assert!(engine.book(InstrumentId::new(venue, 0)).unwrap().usable, "its change may be on its way");
        let heal = [
            "snapshot 8 | 100x1 | 103x1",
            if venue == Venue::Binance { "depth 9-10 | 100x2 | " } else { "depth 8<9-10 | 100x2 | " },
            "snapshot 10 | 100x2 | 103x1",
        ];
        let (engine, batch) = play_slowly(venue, &[&begin(venue)[..], &ahead, &later, &heal[..1]].concat());
        assert!(picture(&engine).starts_with("unusable"));
        assert_eq!(
            told(&batch)[3..],
            [
                "8: oracle_disagrees 8 2 0",
                "8: book_unusable (oracle_disagrees)",
                "9: snapshot_refused (oracle_disagrees)"
            ],
            "a snapshot that nothing would keep true is refused"
        );
        let (engine, batch) = play_slowly(venue, &[&begin(venue)[..], &ahead, &later, &heal].concat());
        assert_eq!(picture(&engine), "10: 100x2 | 103x1");
        assert!(told(&batch).iter().any(|line| line.starts_with("10: snapshot_wanted")), "{:?}", told(&batch));
        // A quiet market, whose prices come back to the book's, loses nothing.
        let quiet = ["ticker 9 | 98x1 | 101x1", "ticker 10 | 99x1 | 101x1"].repeat(4);
        let (engine, _) = play_slowly(venue, &[&begin(venue)[..], &quiet].concat());
        assert!(engine.book(InstrumentId::new(venue, 0)).unwrap().usable);
    }
}

#[test]
fn a_trade_with_more_decimals_leaves_the_bars_that_are_open() {
    let trade = |id: i64, price: &str| {
        let ts_recv = 1_700_000_000_000_000_000 + id * 1_000_000_000;
        let body = format!(
            r#"{{"e":"trade","E":{0},"s":"XY","t":{id},"p":"{price}","q":"1.0","T":{0},"m":true}}"#,
            ts_recv / 1_000_000
        );
        Message::new(MessageKind::Ws, ts_recv, "", &body)
    };
    let mut messages: Vec<_> = (1..200).map(|id| trade(id, "100.00000000")).collect();
    messages.push(trade(200, "100.000000000001"));
    messages.push(Message::new(MessageKind::Timer, 1_700_100_000_000_000_000, "", ""));
    let (engine, batch) = run(Venue::Binance, &messages);
    assert_eq!(engine.counters().precision_changes, 1);
    let day = batch.bars.iter().find(|bar| bar.interval_s == 86_400).unwrap();
    assert_eq!((day.trade_count, day.price_exp), (200, 12));
    assert_eq!((day.low, day.high), (100_000_000_000_000, 100_000_000_000_001));
    let minutes = batch.bars.iter().filter(|bar| bar.interval_s == 60).map(|bar| bar.trade_count).sum::<u32>();
    assert_eq!(minutes, 200);
}
