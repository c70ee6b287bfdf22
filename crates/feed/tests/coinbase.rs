//! The rules of both Coinbase dialects, as short scripts.

mod common;

use common::{Message, run, tally};
use tidebook_book::Side;
use tidebook_feed::{FeedEngine, Oracle, RecordBatch, StatusKind};
use tidebook_types::records::{FLAG_BACKFILL, FLAG_SNAPSHOT, SIDE_BUY, SIDE_NONE, SIDE_SELL};
use tidebook_types::{InstrumentId, MessageKind, Venue, format_units};

const START_NS: i64 = 1_786_309_548_000_000_000;

/// A time some µs after the start of a script.
fn time(micros: u64) -> String {
    format!("2026-08-09T21:05:48.{micros:06}Z")
}

/// Levels `10x2 9x1` as the feed writes them.
fn pairs(levels: &str) -> String {
    let level = |level: &str| {
        let (price, size) = level.split_once('x').unwrap();
        format!("[\"{price}\",\"{size}\"]")
    };
    format!("[{}]", levels.split_whitespace().map(level).collect::<Vec<_>>().join(","))
}

/// One line of an Exchange script.
fn exchange(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let product = |symbol: &str| format!("\"product_id\":\"{symbol}\"");
    match words[..] {
        // snapshot A-B bid x size/ask x size
        ["snapshot", symbol, ref levels @ ..] => {
            let levels = levels.join(" ");
            let (bids, asks) = levels.split_once('/').unwrap();
            format!("{{\"type\":\"snapshot\",{},\"asks\":{},\"bids\":{}}}", product(symbol), pairs(asks), pairs(bids))
        }
        ["update", symbol, at, side, level] => {
            let (price, size) = level.split_once('x').unwrap();
            let changes = format!("[[\"{side}\",\"{price}\",\"{size}\"]]");
            let time = time(at.parse().unwrap());
            format!("{{\"type\":\"l2update\",{},\"changes\":{changes},\"time\":\"{time}\"}}", product(symbol))
        }
        ["ticker", symbol, at, sequence, bid, ask] => format!(
            "{{\"type\":\"ticker\",\"sequence\":{sequence},{},\"price\":\"1\",\"best_bid\":\"{bid}\",\"best_ask\":\"{ask}\",\"side\":\"buy\",\"time\":\"{}\",\"trade_id\":1}}",
            product(symbol),
            time(at.parse().unwrap())
        ),
        [kind @ ("match" | "last_match"), symbol, at, sequence, id, side, level] => {
            let (price, size) = level.split_once('x').unwrap();
            format!(
                "{{\"type\":\"{kind}\",\"trade_id\":{id},\"maker_order_id\":\"a\",\"taker_order_id\":\"b\",\"side\":\"{side}\",\"size\":\"{size}\",\"price\":\"{price}\",{},\"sequence\":{sequence},\"time\":\"{}\"}}",
                product(symbol),
                time(at.parse().unwrap())
            )
        }
        ["heartbeat", symbol, at, id] => format!(
            "{{\"type\":\"heartbeat\",\"sequence\":90,\"last_trade_id\":{id},{},\"time\":\"{}\"}}",
            product(symbol),
            time(at.parse().unwrap())
        ),
        ["order", kind, symbol, sequence] => format!(
            "{{\"type\":\"{kind}\",\"time\":\"{}\",{},\"sequence\":{sequence},\"order_id\":\"d50ec984\",\"size\":\"1.34\",\"price\":\"502.1\",\"side\":\"buy\",\"order_type\":\"limit\",\"reason\":\"filled\",\"remaining_size\":\"0\"}}",
            time(1),
            product(symbol)
        ),
        // subscribed level2=A-B,C-D matches=A-B
        ["subscribed", ref channels @ ..] => {
            let channel = |channel: &&str| {
                let (name, products) = channel.split_once('=').unwrap();
                let products: Vec<_> = products.split(',').map(|symbol| format!("\"{symbol}\"")).collect();
                format!("{{\"name\":\"{name}\",\"product_ids\":[{}],\"account_ids\":null}}", products.join(","))
            };
            let channels: Vec<_> = channels.iter().map(channel).collect();
            format!("{{\"type\":\"subscriptions\",\"channels\":[{}]}}", channels.join(","))
        }
        _ => line.to_owned(),
    }
}

/// Plays lines, a digit and a colon in front naming another session than 1; `state <event>` and `rest <target> <body>` are
/// no frames.
fn play(venue: Venue, script: &[String]) -> (FeedEngine, RecordBatch) {
    let messages: Vec<_> = script
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let (connection, line) = match line.split_once(": ") {
                Some((number, rest)) if number.len() == 1 => (number.parse().unwrap(), rest),
                _ => (1, &line[..]),
            };
            let ts_recv = START_NS + index as i64 * 1_000_000;
            let message = if let Some(event) = line.strip_prefix("state ") {
                Message::new(MessageKind::State, ts_recv, "", &format!("{{\"event\":\"{event}\"}}"))
            } else if let Some((target, body)) = line.strip_prefix("rest ").and_then(|rest| rest.split_once(' ')) {
                Message::new(MessageKind::Rest, ts_recv, target, body)
            } else {
                Message::new(MessageKind::Ws, ts_recv, "", line)
            };
            Message { connection, ..message }
        })
        .collect();
    run(venue, &messages)
}

fn play_exchange(script: &[&str]) -> (FeedEngine, RecordBatch) {
    let lines: Vec<_> = script
        .iter()
        .map(|line| match line.split_once(": ") {
            Some((number, rest)) if number.len() == 1 => format!("{number}: {}", exchange(rest)),
            _ => exchange(line),
        })
        .collect();
    play(Venue::Coinbase, &lines)
}

/// The sides of a book as text, best first, or why there is none.
fn book(engine: &FeedEngine, index: u32) -> String {
    let view = engine.book(InstrumentId::new(engine.venue(), index)).unwrap();
    if !view.usable {
        return "unusable".to_owned();
    }
    let text = |units: i64| {
        let text = format_units(units, 8);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let side = |side| {
        let levels = view.book.levels(side).map(|level| format!("{}x{}", text(level.price), text(level.size)));
        levels.collect::<Vec<_>>().join(" ")
    };
    let mark = if view.unproven { " unproven" } else { "" };
    format!("{}/{}{mark}", side(Side::Bid), side(Side::Ask))
}

/// Statuses of these kinds as `message: kind (reason)`.
fn told(batch: &RecordBatch, kinds: &[StatusKind]) -> Vec<String> {
    let line = |status: &tidebook_types::Status| {
        let kind = StatusKind::from_code(status.kind).unwrap();
        let reason =
            StatusKind::from_code(status.reason).map_or(String::new(), |reason| format!(" ({})", reason.name()));
        kinds.contains(&kind).then(|| format!("{}: {}{reason}", status.source_sequence, kind.name()))
    };
    batch.status.iter().filter_map(line).collect()
}

const USE: [StatusKind; 3] = [StatusKind::BookUsable, StatusKind::BookUnusable, StatusKind::SnapshotWanted];

#[test]
fn a_snapshot_and_its_changes_make_the_book_of_their_session() {
    let (engine, batch) = play_exchange(&[
        "update A-B 1 buy 10x1",
        "snapshot A-B 10x2 9x1/11x3 12x0.5",
        "update A-B 5 sell 11x0.00",
        "update A-B 6 buy 9.5x4.25",
        "2: update A-B 7 buy 10.5x1",
        "update A-B 8 buy 8x0",
    ]);
    assert_eq!(book(&engine, 0), "10x2 9.5x4.25 9x1/12x0.5");
    assert_eq!(told(&batch, &USE), ["1: snapshot_wanted (started)", "2: book_usable (snapshot_applied)"]);
    let counters = engine.counters();
    assert_eq!((counters.depth_messages, counters.depth_levels, counters.updates_unused), (4, 7, 2));
    assert_eq!(batch.depth.last().unwrap().ts_event, START_NS + 8_000);
    assert_eq!(batch.instruments.len(), 1);
}

#[test]
fn a_second_session_takes_a_book_over_with_its_snapshot_and_the_end_of_the_first_changes_nothing() {
    let (engine, _) = play_exchange(&[
        "snapshot A-B 10x2/11x3",
        "2: snapshot A-B 10x5/11x5",
        "update A-B 1 buy 10x7",
        "state disconnected",
        "2: update A-B 2 sell 11x6",
    ]);
    assert_eq!(book(&engine, 0), "10x5/11x6");
    let (engine, batch) = play_exchange(&["snapshot A-B 10x2/11x3", "state disconnected", "2: update A-B 1 buy 10x7"]);
    assert_eq!(book(&engine, 0), "unusable");
    assert_eq!(told(&batch, &USE)[1..], ["2: book_unusable (disconnected)", "2: snapshot_wanted (disconnected)"]);
}

#[test]
fn what_may_have_been_a_change_and_cannot_be_read_makes_every_book_of_the_session_wait() {
    let update = exchange("update A-B 1 buy 10x1");
    let cut = &update[..40];
    for damaged in [
        cut,
        &update.replace("l2update", "l2updaze"),
        &update.replace("\"type\"", "\"tyqe\""),
        &update.replace("\"buy\"", "\"bux\""),
        &update.replace("changes", "chances"),
        &update.replace("product_id", "product_ie"),
        &update.replace("\"10\"", "\"1x\""),
        &update.replace("\"10\"", "\"0\""),
        &update.replace("A-B", "A-Q"),
        &exchange("snapshot A-B 10x2/11x3").replace("asks", "bsks"),
        "",
        "[]",
    ] {
        let (engine, _) = play_exchange(&[
            "snapshot A-B 10x2/11x3",
            "snapshot C-D 10x2/11x3",
            "2: snapshot E-F 10x2/11x3",
            damaged,
            "update C-D 3 buy 10x1",
            "snapshot C-D 10x4/11x3",
        ]);
        assert_eq!([0, 1, 2].map(|index| book(&engine, index)), ["unusable", "10x4/11x3", "10x2/11x3"], "{damaged}");
    }
}

#[test]
fn what_cannot_have_been_a_change_is_set_aside_or_counted_and_the_books_stay() {
    let ticker = exchange("ticker A-B 1 5 10 11").replace("\"10\"", "\"1o\"");
    let (engine, batch) = play_exchange(&[
        "snapshot A-B 10x2/11x3",
        &ticker,
        &exchange("match A-B 1 5 7 buy 10x1").replace("\"time\"", "\"tine\""),
        "{\"type\":\"auction_of_2030\",\"product_id\":\"A-B\",\"bid\":[1]}",
        "{\"type\":\"status\",\"products\":[]}",
        "{\"type\":\"error\",\"message\":\"Failed to subscribe\",\"reason\":\"level2 requires authentication\"}",
        "{\"type\":\"l2update\",\"new\":{\"x\":[1]},\"time\":\"2026-08-09T21:05:48.000001Z\",\"changes\":[[\"buy\",\"9\",\"1\",\"more\"]],\"product_id\":\"A-B\"}",
    ]);
    assert_eq!(book(&engine, 0), "10x2 9x1/11x3");
    let counters = engine.counters();
    assert_eq!((counters.malformed, counters.unknown, counters.acknowledged, counters.refused), (2, 1, 1, 1));
    assert_eq!(told(&batch, &[StatusKind::Refused, StatusKind::Malformed]).len(), 3);
}

#[test]
fn changes_of_a_product_that_go_back_in_time_cost_the_book() {
    let (engine, batch) = play_exchange(&[
        "snapshot A-B 10x2/11x3",
        "snapshot C-D 10x2/11x3",
        "update A-B 5 buy 10x1",
        "update C-D 4 buy 10x1",
        "update A-B 5 buy 10x3",
        "update A-B 4 buy 10x4",
    ]);
    assert_eq!([0, 1].map(|index| book(&engine, index)), ["unusable", "10x1/11x3"]);
    assert_eq!(told(&batch, &USE)[2..], ["6: book_unusable (out_of_order)", "6: snapshot_wanted (out_of_order)"]);
    assert_eq!(engine.counters().gaps, 1);
}

#[test]
fn a_crossed_book_waits_and_a_crossed_or_unordered_snapshot_is_refused() {
    let (engine, batch) = play_exchange(&["snapshot A-B 10x2/11x3", "update A-B 5 buy 11x1"]);
    assert_eq!(book(&engine, 0), "unusable");
    assert_eq!(told(&batch, &USE)[1..], ["2: book_unusable (crossed)", "2: snapshot_wanted (crossed)"]);
    for (snapshot, reason) in [("snapshot A-B 11x2/11x3", "crossed"), ("snapshot A-B 9x2 10x2/11x3", "out_of_order")] {
        let (engine, batch) = play_exchange(&["snapshot A-B 10x2/11x3", snapshot]);
        assert_eq!(book(&engine, 0), "unusable");
        assert_eq!(
            told(&batch, &[StatusKind::SnapshotRefused, StatusKind::BookUnusable]),
            [format!("2: book_unusable ({reason})"), format!("2: snapshot_refused ({reason})")]
        );
    }
}

/// The ticker as an oracle: what it finds, and what it must not be trusted with.
mod ticker {
    use super::*;

    const BEFORE: [&str; 3] =
        ["subscribed level2=A-B ticker=A-B", "snapshot A-B 10x2 9x1/11x3", "update A-B 5 buy 9x2"];
    const ORACLE: [StatusKind; 5] =
        [StatusKind::OracleDisagrees, StatusKind::OracleAgrees, USE[0], USE[1], StatusKind::SnapshotWanted];

    fn after(before: &[&str], script: &[&str]) -> (FeedEngine, Vec<String>) {
        let (engine, batch) = play_exchange(&[before, script].concat());
        let told = told(&batch, &ORACLE);
        (engine, told[1..].to_vec())
    }

    #[test]
    fn one_of_the_last_four_states_is_agreement() {
        let (engine, told) = after(
            &BEFORE,
            &["update A-B 6 buy 10x0", "update A-B 7 buy 9.5x1", "ticker A-B 7 1 10.0 11", "ticker A-B 7 2 9.5 11"],
        );
        assert_eq!((tally(&engine, Oracle::CoinbaseTicker), told.len()), ((2, 0), 0));
    }

    #[test]
    fn a_ticker_that_says_other_prices_makes_the_book_suspect_until_the_next_agrees() {
        let (engine, told) = after(&BEFORE, &["ticker A-B 5 1 9.9 11", "update A-B 6 buy 9x3"]);
        assert_eq!(book(&engine, 0), "unusable");
        assert_eq!(told, ["4: oracle_disagrees", "4: book_unusable (oracle_disagrees)"]);
        let (engine, told) = after(&BEFORE, &["ticker A-B 5 1 9.9 11", "update A-B 6 buy 9x3", "ticker A-B 6 2 10 11"]);
        assert_eq!(book(&engine, 0), "10x2 9x3/11x3 unproven");
        assert_eq!(told[2..], ["6: book_usable (oracle_agrees)"]);
        assert_eq!(tally(&engine, Oracle::CoinbaseTicker), (1, 1));
    }

    #[test]
    fn a_ticker_that_was_only_ahead_costs_no_more_than_the_wait() {
        let (engine, told) = after(&BEFORE, &["ticker A-B 6 1 10.5 11", "update A-B 6 buy 10.5x1"]);
        assert_eq!(book(&engine, 0), "10.5x1 10x2 9x2/11x3");
        assert_eq!(told[2..], ["5: book_usable (oracle_agrees)"]);
    }

    #[test]
    fn a_book_that_stays_wrong_gets_a_snapshot() {
        let wrong = "ticker A-B 5 1 9.9 11";
        let (_, told) = after(&BEFORE, &[wrong, "ticker A-B 5 2 9.8 11"]);
        assert_eq!(told[2..], ["5: oracle_disagrees", "5: snapshot_wanted (oracle_disagrees)"]);
        let update = "update A-B 6 buy 8x1";
        let (engine, told) =
            after(&BEFORE, &[wrong, update, update, update, update, update, "snapshot A-B 9.9x1/11x1"]);
        assert_eq!(told[2..], ["8: snapshot_wanted (oracle_disagrees)", "10: book_usable (snapshot_applied)"]);
        assert_eq!(book(&engine, 0), "9.9x1/11x1");
    }

    #[test]
    fn no_book_is_doubted_for_an_old_ticker_or_without_every_state() {
        let (engine, told) = after(&BEFORE, &["ticker A-B 4 1 9.9 11"]);
        assert_eq!((tally(&engine, Oracle::CoinbaseTicker), told.len()), ((0, 1), 0));
        for channels in ["subscribed level2_batch=A-B ticker=A-B", "2: subscribed level2=A-B", "{\"type\":\"status\"}"]
        {
            let (engine, told) = after(&[channels, BEFORE[1], BEFORE[2]], &["ticker A-B 5 1 9.9 11"]);
            assert_eq!((tally(&engine, Oracle::CoinbaseTicker), told.len()), ((0, 1), 0), "{channels}");
            assert_eq!(book(&engine, 0), "10x2 9x2/11x3");
        }
        // Before the first change there is nothing to compare with, and without a book there is nothing at all.
        let (engine, _) = after(&BEFORE[..2], &["ticker A-B 5 1 9.9 11"]);
        assert_eq!(tally(&engine, Oracle::CoinbaseTicker), (0, 0));
    }

    #[test]
    fn a_ticker_is_a_quote_of_the_venue_with_the_sizes_it_has() {
        let sizes = exchange("ticker A-B 5 2 10 11")
            .replace("\"side\"", "\"best_bid_size\":\"2.5\",\"best_ask_size\":\"0.1\",\"side\"");
        let (engine, batch) = play_exchange(&[
            "ticker A-B 5 1 10 11",
            "ticker A-B 5 1 10 11",
            &sizes,
            &exchange("ticker A-B 6 3  11"),
            &exchange("ticker A-B 6 4 10 11").replace("\"10\"", "null"),
        ]);
        let quotes: Vec<_> = batch
            .quotes
            .iter()
            .map(|quote| (quote.venue_sequence, quote.bid_price, quote.bid_size, quote.ask_price, quote.ask_size))
            .collect();
        let one = 100_000_000;
        assert_eq!(
            quotes,
            [
                (1, 10 * one, 0, 11 * one, 0),
                (2, 10 * one, one * 5 / 2, 11 * one, one / 10),
                (3, 0, 0, 11 * one, 0),
                (4, 0, 0, 11 * one, 0)
            ]
        );
        assert_eq!((engine.counters().duplicates, batch.quotes[0].flags), (1, 0));
        assert_eq!(batch.quotes[0].ts_event, START_NS + 5_000);
    }
}

#[test]
fn the_aggressor_is_the_other_side_than_the_makers_and_the_last_match_is_a_backfill() {
    let (engine, batch) = play_exchange(&[
        "last_match A-B 1 5 7 sell 10x1",
        "match A-B 2 8 8 buy 10.5x2",
        "match A-B 3 9 11 sell 11x1",
        "last_match A-B 2 8 8 buy 10.5x2",
        &exchange("match A-B 4 10 12 sell 11x1").replace("\"side\":\"sell\"", "\"side\":\"both\""),
    ]);
    let trades: Vec<_> = batch.trades.iter().map(|trade| (trade.trade_id, trade.side, trade.flags)).collect();
    assert_eq!(trades, [(7, SIDE_BUY, FLAG_BACKFILL), (8, SIDE_SELL, 0), (11, SIDE_BUY, 0), (12, SIDE_NONE, 0)]);
    assert_eq!(tally(&engine, Oracle::CoinbaseTradeIds), (2, 1));
    assert_eq!(told(&batch, &[StatusKind::TradeGap]), ["3: trade_gap"]);
    assert_eq!(engine.counters().duplicates, 1);
}

#[test]
fn a_heartbeat_finds_matches_that_never_came_by_the_next_one() {
    let (engine, batch) = play_exchange(&[
        "subscribed matches=A-B heartbeat=A-B",
        "last_match A-B 1 5 7 sell 10x1",
        "heartbeat A-B 2 8",
        "match A-B 2 8 8 buy 10x2",
        "heartbeat A-B 3 10",
        "heartbeat A-B 4 10",
        "heartbeat A-B 5 10",
        "match A-B 6 9 11 sell 11x1",
        "heartbeat A-B 7 11",
    ]);
    assert_eq!(tally(&engine, Oracle::CoinbaseLastTradeId), (2, 1));
    let gaps: Vec<_> = batch.status.iter().filter(|status| status.kind == StatusKind::TradeGap as u8).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].source_sequence, gaps[0].expected, gaps[0].found, gaps[0].count), (6, 9, 10, 2));
    assert_eq!((tally(&engine, Oracle::CoinbaseTradeIds), engine.counters().heartbeats), ((2, 0), 5));
    // Without the matches there is nothing to hold it against.
    let (engine, _) = play_exchange(&["last_match A-B 1 5 7 sell 10x1", "heartbeat A-B 2 8", "heartbeat A-B 3 9"]);
    assert_eq!(tally(&engine, Oracle::CoinbaseLastTradeId), (0, 0));
}

#[test]
fn the_full_channel_is_counted_by_its_sequence_and_gives_its_trades() {
    let (engine, batch) = play_exchange(&[
        "match A-B 1 4 6 sell 10x1",
        "order received A-B 20",
        "order open A-B 21",
        "match A-B 1 22 7 sell 10x1",
        "order done A-B 23",
        "order done A-B 23",
        "2: order open A-B 40",
        "order change A-B 26",
        "{\"type\":\"activate\",\"product_id\":\"A-B\",\"timestamp\":\"1483736448.299000\",\"order_id\":\"x\",\"side\":\"buy\"}",
        "{\"type\":\"open\",\"product_id\":\"A-B\",\"sequence\":27,\"side\":\"buy\"}",
    ]);
    let counters = engine.counters();
    assert_eq!((counters.orders, counters.trades, counters.malformed, counters.duplicates), (7, 2, 1, 1));
    assert_eq!(tally(&engine, Oracle::CoinbaseFullSequence), (3, 0));
    let (engine, batch_of_gap) = play_exchange(&["order open A-B 20", "order open A-B 23", "order open A-B 24"]);
    assert_eq!(tally(&engine, Oracle::CoinbaseFullSequence), (1, 1));
    let gap = batch_of_gap.status.iter().find(|status| status.kind == StatusKind::Gap as u8).unwrap();
    assert_eq!((gap.expected, gap.found, gap.count), (21, 23, 2));
    assert_eq!(batch.trades.iter().map(|trade| trade.side).collect::<Vec<_>>(), [SIDE_BUY, SIDE_BUY]);
}

#[test]
fn a_book_whose_subscription_ended_waits_and_wants_nothing() {
    let (engine, batch) = play_exchange(&[
        "subscribed level2=A-B,C-D",
        "snapshot A-B 10x2/11x3",
        "snapshot C-D 10x2/11x3",
        "subscribed level2=C-D matches=A-B",
    ]);
    assert_eq!([0, 1].map(|index| book(&engine, index)), ["unusable", "10x2/11x3"]);
    assert_eq!(told(&batch, &USE)[2..], ["4: book_unusable (unsubscribed)"]);
}

#[test]
fn a_number_that_does_not_fit_gives_a_version_with_other_exponents_once() {
    let (engine, batch) = play_exchange(&[
        "snapshot A-B 0.000000001x2 0.0000000005x1/0.0000000011x3",
        "update A-B 5 sell 0.0000000012x1",
        "snapshot C-D 0.00001x987654321098 0.000009x1.5/0.00002x1",
        "update C-D 5 sell 0.00003x1.25",
        "snapshot E-F 10x2/11x3",
        "update E-F 5 buy 10.0000000001x2",
    ]);
    let versions: Vec<_> = batch
        .instruments
        .iter()
        .map(|record| (record.instrument_id & 0xff, record.instrument_version, record.price_exp, record.size_exp))
        .collect();
    assert_eq!(versions, [(0, 1, 8, 8), (0, 2, 10, 8), (1, 1, 8, 8), (1, 2, 8, 5), (2, 1, 8, 8), (2, 2, 10, 8)]);
    assert_eq!(
        [0, 1, 2].map(|index| engine.book(InstrumentId::new(Venue::Coinbase, index)).unwrap().usable),
        [true, true, false]
    );
    assert_eq!(engine.counters().precision_changes, 3);
    // No exponent holds both of these sizes.
    let (engine, _) = play_exchange(&["snapshot A-B 10x98765432109876 9x0.00000001/11x3"]);
    assert_eq!((engine.counters().malformed, engine.counters().precision_changes), (1, 0));
}

#[test]
fn the_list_of_products_gives_exponents_before_the_first_number_and_steps_at_any_time() {
    let products = "rest /products [{\"id\":\"A-B\",\"quote_increment\":\"0.05\",\"base_increment\":\"0.1\"}]";
    let versions = |script: &[&str]| {
        let (engine, batch) = play_exchange(script);
        assert_eq!(engine.counters().precision_changes, 0);
        let version = |record: &tidebook_types::Instrument| {
            (record.instrument_version, record.price_exp, record.size_exp, record.tick, record.lot)
        };
        (batch.instruments.iter().map(version).collect::<Vec<_>>(), engine.counters().snapshots_applied)
    };
    let snapshot = "snapshot A-B 10.05x2.0 9x1/11x3";
    assert_eq!(versions(&[products, snapshot]), (vec![(1, 2, 1, 5, 1)], 1));
    // The book that is there already keeps its exponents and its levels.
    let later = vec![(1, 8, 8, 0, 0), (2, 8, 8, 5_000_000, 10_000_000)];
    assert_eq!(versions(&[snapshot, products, products]), (later, 1));
    let refused = "rest /products {\"message\":\"NotFound\"}";
    let (engine, _) = play_exchange(&[refused, "rest /products [{]", "rest /time {}", snapshot]);
    assert_eq!((engine.counters().refused, engine.counters().malformed, engine.counters().unknown), (1, 1, 1));
}

/// Advanced Trade, whose messages have a number.
mod advanced {
    use super::*;

    fn envelope(channel: &str, sequence: u64, events: &str) -> String {
        let timestamp = format!("2026-08-09T21:05:48.{:09}Z", sequence * 1_000);
        format!(
            "{{\"channel\":\"{channel}\",\"client_id\":\"\",\"timestamp\":\"{timestamp}\",\"sequence_num\":{sequence},\"events\":[{events}]}}"
        )
    }

    /// An event `A-B 10x2/11x3`.
    fn event(kind: &str, text: &str) -> String {
        let (symbol, levels) = text.split_once(' ').unwrap();
        let (bids, asks) = levels.split_once('/').unwrap();
        let mut updates = Vec::new();
        for (side, levels) in [("bid", bids), ("offer", asks)] {
            for level in levels.split_whitespace() {
                let (price, size) = level.split_once('x').unwrap();
                updates.push(format!(
                    "{{\"side\":\"{side}\",\"event_time\":\"2026-08-09T21:05:48.00001Z\",\"price_level\":\"{price}\",\"new_quantity\":\"{size}\"}}"
                ));
            }
        }
        format!("{{\"type\":\"{kind}\",\"product_id\":\"{symbol}\",\"updates\":[{}]}}", updates.join(","))
    }

    /// `snapshot 5 A-B 10x2/11x3`, `update 6 A-B 10x0/`, `seen 7` of a channel without events we keep.
    fn line(text: &str) -> String {
        let (session, text) = match text.split_once(": ") {
            Some((number, rest)) if number.len() == 1 => (format!("{number}: "), rest),
            _ => (String::new(), text),
        };
        let words: Vec<_> = text.splitn(3, ' ').collect();
        let line = match words[..] {
            [kind @ ("snapshot" | "update"), sequence, rest] => {
                envelope("l2_data", sequence.parse().unwrap(), &event(kind, rest))
            }
            ["seen", sequence] => envelope("status", sequence.parse().unwrap(), ""),
            _ => text.to_owned(),
        };
        session + &line
    }

    fn play_advanced(script: &[&str]) -> (FeedEngine, RecordBatch) {
        play(Venue::CoinbaseAdvanced, &script.iter().map(|text| line(text)).collect::<Vec<_>>())
    }

    #[test]
    fn a_snapshot_and_its_changes_make_the_book() {
        let (engine, batch) =
            play_advanced(&["snapshot 0 A-B 10x2 9.5x1/11x3 12x0.5", "seen 1", "update 2 A-B 10x0 9.75x1/11x4"]);
        assert_eq!(book(&engine, 0), "9.75x1 9.5x1/11x4 12x0.5");
        assert_eq!(tally(&engine, Oracle::CoinbaseSequenceNum), (2, 0));
        let last = batch.depth.last().unwrap();
        assert_eq!((last.venue_sequence, last.ts_event), (2, START_NS + 10_000));
        let name = String::from_utf8_lossy(&batch.instruments[0].symbol).trim_end_matches('\0').to_owned();
        assert_eq!(name, "A-B.COINBASEADV");
    }

    #[test]
    fn a_message_that_never_came_costs_every_book_of_its_session_and_no_other() {
        let (engine, batch) = play_advanced(&[
            "snapshot 0 A-B 10x2/11x3",
            "snapshot 1 C-D 10x2/11x3",
            "2: snapshot 0 E-F 10x2/11x3",
            "seen 4",
            "snapshot 5 C-D 10x1/11x1",
            "2: seen 1",
        ]);
        assert_eq!([0, 1, 2].map(|index| book(&engine, index)), ["unusable", "10x1/11x1", "10x2/11x3"]);
        assert_eq!(tally(&engine, Oracle::CoinbaseSequenceNum), (3, 1));
        let gap = batch.status.iter().find(|status| status.kind == StatusKind::Gap as u8).unwrap();
        let feed = InstrumentId::whole_feed(Venue::CoinbaseAdvanced).get();
        assert_eq!((gap.instrument_id, gap.expected, gap.found, gap.count), (feed, 2, 4, 2));
        assert_eq!(
            told(&batch, &[StatusKind::SnapshotWanted]),
            ["4: snapshot_wanted (gap)", "4: snapshot_wanted (gap)"]
        );
    }

    #[test]
    fn messages_that_change_places_or_share_a_number_cost_the_books_and_a_repetition_does_not() {
        let snapshot = "snapshot 0 A-B 10x2/11x3";
        let (engine, _) = play_advanced(&[snapshot, "update 1 A-B 10x1/", "update 1 A-B 10x1/", "update 2 A-B 9x1/"]);
        assert_eq!(book(&engine, 0), "10x1 9x1/11x3");
        assert_eq!((engine.counters().duplicates, tally(&engine, Oracle::CoinbaseSequenceNum)), (1, (2, 0)));
        let (engine, _) = play_advanced(&[snapshot, "update 2 A-B 10x1/", "update 1 A-B 9x1/", "update 3 A-B 9x1/"]);
        assert_eq!((book(&engine, 0), engine.counters().gaps), ("unusable".to_owned(), 3));
        let other = line("update 1 A-B 9x1/").replace("48.000001000Z", "48.000001001Z");
        let (engine, _) = play_advanced(&[snapshot, "update 1 A-B 10x1/", &other]);
        assert_eq!(book(&engine, 0), "unusable");
    }

    #[test]
    fn the_numbers_start_anew_with_each_session() {
        let (engine, _) = play_advanced(&[
            "snapshot 7 A-B 10x2/11x3",
            "state disconnected",
            "2: snapshot 0 A-B 10x1/11x3",
            "2: update 1 A-B 10x4/",
            "snapshot 3 C-D 10x2/11x3",
        ]);
        assert_eq!([0, 1].map(|index| book(&engine, index)), ["10x4/11x3", "10x2/11x3"]);
        assert_eq!(tally(&engine, Oracle::CoinbaseSequenceNum), (1, 0));
    }

    /// Whoever fetches snapshots saw one come in the damaged message, and would wait for ever otherwise.
    #[test]
    fn a_damaged_message_while_a_book_waits_asks_again_for_its_snapshot() {
        let snapshot = line("snapshot 0 A-B 10x1/11x3");
        let cut = format!("2: {}", &snapshot[..snapshot.len() / 2]);
        let (engine, batch) =
            play_advanced(&["snapshot 7 A-B 10x2/11x3", "state disconnected", &cut, "2: snapshot 1 A-B 10x1/11x3"]);
        assert_eq!(
            told(&batch, &[StatusKind::SnapshotWanted]),
            ["2: snapshot_wanted (disconnected)", "3: snapshot_wanted (malformed)"]
        );
        assert_eq!(book(&engine, 0), "10x1/11x3");
    }

    #[test]
    fn all_events_of_a_frame_are_taken_or_none() {
        let events = [event("update", "A-B 10x5/"), event("update", "C-D 9x1/"), event("update", "A-B /11x0 12x1")];
        let frame = envelope("l2_data", 2, &events.join(","));
        let script = ["snapshot 0 A-B 10x2/11x3", "snapshot 1 C-D 10x2/11x3"];
        let (engine, _) = play_advanced(&[script[0], script[1], &frame]);
        assert_eq!([0, 1].map(|index| book(&engine, index)), ["10x5/12x1", "10x2 9x1/11x3"]);
        let turned =
            frame.replacen("{\"channel\":\"l2_data\",", "{", 1).replacen("]}", "],\"channel\":\"l2_data\"}", 0);
        assert_ne!(turned, frame);
        let damaged = frame.replacen("\"offer\"", "\"offex\"", 1);
        let (engine, batch) = play_advanced(&[script[0], script[1], &damaged]);
        assert_eq!([0, 1].map(|index| book(&engine, index)), ["unusable", "unusable"]);
        assert_eq!((batch.depth.len(), engine.counters().malformed), (6, 1));
    }

    #[test]
    fn fields_may_come_in_any_order_and_more_of_them() {
        let frame = "{ \"events\" : [ {\"updates\":[{\"new_quantity\":\"5\",\"x\":{},\"price_level\":\"10.50\",\"side\":\"bid\"}], \"product_id\":\"A-B\",\"type\":\"update\",\"y\":1}],\
            \"sequence_num\":1,\"timestamp\":\"2026-08-09T21:05:48Z\",\"channel\":\"l2_data\"}";
        let (engine, batch) = play_advanced(&["snapshot 0 A-B 10x2/11x3", frame]);
        assert_eq!(book(&engine, 0), "10.5x5 10x2/11x3");
        assert_eq!(batch.depth.last().unwrap().ts_event, START_NS);
    }

    #[test]
    fn what_cannot_be_read_makes_every_book_of_the_session_wait() {
        let update = line("update 2 A-B 10x1/11x1");
        for (from, to) in [
            ("\"l2_data\"", "\"l2_dbta\""),
            ("\"channel\"", "\"chbnnel\""),
            ("\"events\"", "\"evenss\""),
            ("\"sequence_num\"", "\"sequence_nun\""),
            ("\"update\"", "\"updatd\""),
            ("\"updates\"", "\"updatds\""),
            ("\"product_id\"", "\"product_ie\""),
            ("\"A-B\"", "\"A-Q\""),
            ("\"bid\"", "\"bie\""),
            ("\"price_level\"", "\"price_levek\""),
            ("\"new_quantity\":\"1\"", "\"new_quantity\":\"-\""),
            ("\"price_level\":\"10\"", "\"price_level\":\"0\""),
            ("]}]}", "]}]"),
            ("\"timestamp\":\"2026", "\"timestamp\":\"20x6"),
        ] {
            let damaged = update.replacen(from, to, 1);
            assert_ne!(damaged, update, "{from}");
            let (engine, _) = play_advanced(&[
                "snapshot 0 A-B 10x2/11x3",
                "snapshot 1 C-D 10x2/11x3",
                "2: snapshot 0 E-F 10x2/11x3",
                &damaged,
                "snapshot 3 C-D 10x4/11x3",
            ]);
            assert_eq!(
                [0, 1, 2].map(|index| book(&engine, index)),
                ["unusable", "10x4/11x3", "10x2/11x3"],
                "{damaged}"
            );
        }
    }

    #[test]
    fn channels_and_words_we_do_not_know_are_counted_and_keep_their_place_in_the_sequence() {
        let trade = "{\"type\":\"update\",\"trades\":[{\"product_id\":\"A-B\",\"trade_id\":\"5\",\"price\":\"1\",\"size\":\"1\",\"time\":\"2026-08-09T21:05:48Z\",\"side\":\"BOTH\"}]}";
        let (engine, batch) = play_advanced(&[
            "snapshot 0 A-B 10x2/11x3",
            &envelope("weather", 1, "{\"sun\":[{}]},7"),
            &envelope("market_trades", 2, trade),
            &envelope("futures_balance_summary", 3, "{}"),
            "{\"channel\":\"sports\",\"timestamp\":\"2026-08-09T21:05:48Z\",\"events\":[]}",
            "{\"type\":\"error\",\"message\":\"authentication failure\"}",
            "update 4 A-B 9x1/",
        ]);
        assert_eq!(book(&engine, 0), "10x2 9x1/11x3");
        let counters = engine.counters();
        assert_eq!((counters.unknown, counters.acknowledged, counters.refused, counters.malformed), (2, 1, 1, 0));
        assert_eq!(counters.unknown_values, 1, "neither BUY nor SELL");
        assert_eq!(batch.trades[0].side, SIDE_NONE);
        assert_eq!(told(&batch, &[StatusKind::Refused]), ["6: refused"]);
    }

    #[test]
    fn trades_come_oldest_first_whatever_the_venue_lists_and_a_snapshot_repeats_none() {
        let trade = |id: u64, side: &str| {
            format!(
                "{{\"product_id\":\"A-B\",\"trade_id\":\"{id}\",\"price\":\"10.5\",\"size\":\"0.25\",\"time\":\"{}\",\"side\":\"{side}\"}}",
                time(id)
            )
        };
        let trades =
            |kind: &str, trades: &[String]| format!("{{\"type\":\"{kind}\",\"trades\":[{}]}}", trades.join(","));
        let (engine, batch) = play_advanced(&[
            &envelope("market_trades", 0, &trades("snapshot", &[trade(8, "SELL"), trade(7, "BUY")])),
            &envelope("market_trades", 1, &trades("update", &[trade(10, "BUY"), trade(9, "SELL")])),
            &format!(
                "2: {}",
                envelope(
                    "market_trades",
                    0,
                    &trades("snapshot", &[trade(12, "BUY"), trade(11, "BUY"), trade(10, "BUY")])
                )
            ),
        ]);
        let seen: Vec<_> = batch.trades.iter().map(|trade| (trade.trade_id, trade.side, trade.flags)).collect();
        assert_eq!(
            seen,
            [
                (7, SIDE_SELL, FLAG_BACKFILL),
                (8, SIDE_BUY, FLAG_BACKFILL),
                (9, SIDE_BUY, 0),
                (10, SIDE_SELL, 0),
                (11, SIDE_SELL, FLAG_BACKFILL),
                (12, SIDE_SELL, FLAG_BACKFILL)
            ]
        );
        assert_eq!(tally(&engine, Oracle::CoinbaseTradeIds), (5, 0));
        assert_eq!(engine.counters().duplicates, 1);
        assert_eq!(batch.trades[0].ts_event, START_NS + 7_000);
    }

    #[test]
    fn tickers_are_quotes_and_heartbeats_are_counted_by_their_counter() {
        let ticker = |kind: &str| {
            format!(
                "{{\"type\":\"{kind}\",\"tickers\":[{{\"type\":\"ticker\",\"product_id\":\"A-B\",\"price\":\"10\",\"best_bid\":\"10\",\"best_ask\":\"11\",\"best_bid_quantity\":\"2\",\"best_ask_quantity\":\"\"}}]}}"
            )
        };
        let heartbeat = |counter: &str| format!("{{\"current_time\":\"x\",\"heartbeat_counter\":{counter}}}");
        let candles = "{\"type\":\"snapshot\",\"candles\":[{\"start\":\"1\"},{\"start\":\"2\"}]}";
        let (engine, batch) = play_advanced(&[
            &envelope("ticker", 0, &ticker("snapshot")),
            &envelope("ticker_batch", 1, &ticker("update")),
            &envelope("heartbeats", 2, &heartbeat("5")),
            &envelope("heartbeats", 3, &heartbeat("\"6\"")),
            &envelope("heartbeats", 4, &heartbeat("8")),
            &envelope("candles", 5, candles),
        ]);
        let quotes: Vec<_> = batch.quotes.iter().map(|quote| (quote.venue_sequence, quote.flags)).collect();
        assert_eq!(quotes, [(0, FLAG_SNAPSHOT), (1, 0)]);
        let quote = batch.quotes[0];
        assert_eq!((quote.bid_price, quote.bid_size, quote.ask_size), (1_000_000_000, 200_000_000, 0));
        assert_eq!(tally(&engine, Oracle::CoinbaseHeartbeats), (1, 1));
        assert_eq!((engine.counters().heartbeats, engine.counters().candles), (3, 2));
    }

    #[test]
    fn a_book_whose_subscription_ended_waits_unless_it_was_asked_for_in_usdc() {
        let subscribed = |sequence, products: &str| {
            envelope(
                "subscriptions",
                sequence,
                &format!("{{\"subscriptions\":{{\"level2\":[{products}],\"ticker\":[\"C-D\"]}}}}"),
            )
        };
        let (engine, batch) = play_advanced(&[
            "snapshot 0 A-USD 10x2/11x3",
            "snapshot 1 C-D 10x2/11x3",
            &subscribed(2, "\"A-USDC\",\"C-D\""),
            &subscribed(3, "\"A-USDC\""),
        ]);
        assert_eq!([0, 1].map(|index| book(&engine, index)), ["10x2/11x3", "unusable"]);
        assert_eq!(told(&batch, &USE)[2..], ["4: book_unusable (unsubscribed)"]);
    }

    #[test]
    fn a_snapshot_with_numbers_that_do_not_fit_gives_one_version_that_holds_them_all() {
        let (engine, batch) = play_advanced(&[
            "snapshot 0 A-B 0.000000001x2 0.0000000005x1/0.0000000011x3",
            "snapshot 1 C-D 0.00001x987654321098 0.000009x1.5/0.00002x1",
        ]);
        let versions: Vec<_> = batch
            .instruments
            .iter()
            .map(|record| (record.instrument_id & 0xff, record.instrument_version, record.price_exp, record.size_exp))
            .collect();
        assert_eq!(versions, [(0, 1, 8, 8), (0, 2, 10, 8), (1, 1, 8, 8), (1, 2, 8, 5)]);
        assert!(
            [0, 1].iter().all(|&index| engine.book(InstrumentId::new(Venue::CoinbaseAdvanced, index)).unwrap().usable)
        );
    }
}
