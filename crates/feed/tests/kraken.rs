//! The ticker channel of Kraken's WebSocket v2 beside its books.

mod common;

use common::{Message, run, told};
use tidebook_feed::{FeedEngine, RecordBatch};
use tidebook_types::records::{FLAG_DERIVED, FLAG_SNAPSHOT};
use tidebook_types::{InstrumentId, MessageKind, Venue};

/// Bids 99.9 x 2.00 and 99.8 x 5.00, asks 100.1 x 1.00, with the checksum of those digits.
fn snapshot() -> String {
    let checksum = crc32fast::hash(b"1001100999200998500");
    format!(
        "{{\"channel\":\"book\",\"type\":\"snapshot\",\"data\":[{{\"symbol\":\"A/B\",\"bids\":[{{\"price\":99.9,\"qty\":2.00}},{{\"price\":99.8,\"qty\":5.00}}],\"asks\":[{{\"price\":100.1,\"qty\":1.00}}],\"checksum\":{checksum}}}]}}"
    )
}

/// Bid, its size, ask, its size.
fn ticker(kind: &str, symbol: &str, [bid, bid_size, ask, ask_size]: [&str; 4]) -> String {
    format!(
        "{{\"channel\":\"ticker\",\"type\":\"{kind}\",\"data\":[{{\"symbol\":\"{symbol}\",\"bid\":{bid},\"bid_qty\":{bid_size},\"ask\":{ask},\"ask_qty\":{ask_size},\"last\":100.1,\"volume\":7.5,\"vwap\":99.95,\"low\":99.0,\"high\":101.0,\"change\":-0.4,\"change_pct\":-0.40}}]}}"
    )
}

const TOP: [&str; 4] = ["99.9", "2.00", "100.1", "1.00"];

fn play(bodies: &[String]) -> (FeedEngine, RecordBatch) {
    let message = |(index, body): (i64, &String)| {
        Message::new(MessageKind::Ws, 1_700_000_000_000_000_000 + index * 1_000_000, "", body)
    };
    let messages: Vec<_> = (0..).zip(bodies).map(message).collect();
    run(Venue::Kraken, &messages)
}

/// Message, bid and ask, flags, exponents.
type Said = (u64, [(i64, i64); 2], u8, (u8, u8));

/// The venue's own quotes.
fn quotes(batch: &RecordBatch) -> Vec<Said> {
    let own = batch.quotes.iter().filter(|quote| quote.flags & FLAG_DERIVED == 0);
    own.map(|quote| {
        let top = [(quote.bid_price, quote.bid_size), (quote.ask_price, quote.ask_size)];
        (quote.source_sequence, top, quote.flags, (quote.price_exp, quote.size_exp))
    })
    .collect()
}

fn is_usable(engine: &FeedEngine) -> bool {
    engine.book(InstrumentId::new(Venue::Kraken, 0)).unwrap().usable
}

#[test]
fn a_ticker_is_a_quote_of_the_venue_in_the_digits_of_the_book() {
    let (engine, batch) =
        play(&[snapshot(), ticker("snapshot", "A/B", TOP), ticker("update", "A/B", ["99.8", "5", "100.1", "0.5"])]);
    let expected = [(2, [(999, 200), (1_001, 100)], FLAG_SNAPSHOT, (1, 2)), (3, [(998, 500), (1_001, 50)], 0, (1, 2))];
    assert_eq!(quotes(&batch), expected);
    assert_eq!((engine.counters().quotes, engine.counters().unknown, is_usable(&engine)), (2, 0, true));
    let derived = batch.quotes.iter().find(|quote| quote.flags & FLAG_DERIVED != 0).unwrap();
    assert_eq!((derived.bid_price, derived.ask_price), (999, 1_001));
}

#[test]
fn tickers_without_a_book_find_their_digits_by_themselves() {
    let (engine, batch) = play(&[
        ticker("snapshot", "A/B", ["99.9", "2", "100.1", "1"]),
        ticker("update", "A/B", ["99.9", "2.25", "100.15", "1"]),
        ticker("update", "A/B", ["99.9", "2.25", "100.1", "1"]),
    ]);
    let told: Vec<_> = quotes(&batch).into_iter().map(|(_, top, _, exponents)| (top, exponents)).collect();
    let expected = [
        ([(999, 2), (1_001, 1)], (1, 0)),
        ([(9_990, 225), (10_015, 100)], (2, 2)),
        ([(9_990, 225), (10_010, 100)], (2, 2)),
    ];
    assert_eq!(told, expected);
    assert_eq!(engine.counters().quotes_unfit, 0);
}

#[test]
fn a_ticker_with_other_digits_than_the_book_costs_no_book() {
    for unfit in [["99.95", "2", "100.1", "1"], ["99.9", "0.001", "100.1", "1"], ["99.9", "5.1e-05", "100.1", "1"]] {
        let (engine, batch) = play(&[snapshot(), ticker("update", "A/B", unfit), ticker("update", "A/B", TOP)]);
        assert!(is_usable(&engine), "{unfit:?}");
        assert_eq!(quotes(&batch).iter().map(|(message, ..)| *message).collect::<Vec<_>>(), [3], "{unfit:?}");
        assert_eq!((engine.counters().quotes_unfit, engine.counters().precision_changes), (1, 0), "{unfit:?}");
    }
}

/// What is no ticker as the venue sends it may be any other message, damaged: nothing later would tell.
#[test]
fn a_ticker_that_makes_no_sense_makes_the_books_of_its_session_wait() {
    let whole = ticker("update", "A/B", TOP);
    for (from, to) in [("\"bid\":", "\"bit\":"), ("99.9", "-99.9"), ("update", "updale"), ("\"symbol\"", "\"symbal\"")]
    {
        let (engine, batch) = play(&[snapshot(), whole.replacen(from, to, 1)]);
        assert!(!is_usable(&engine), "{from}");
        assert_eq!(engine.counters().malformed, 1, "{from}");
        assert!(told(&batch).contains(&"2: book_unusable (malformed)".to_owned()), "{:?}", told(&batch));
        assert_eq!(quotes(&batch).len(), 0, "{from}");
    }
}

#[test]
fn a_book_whose_updates_stay_away_is_lost_by_tickers_that_say_other_prices_for_seconds() {
    let other = ticker("update", "A/B", ["99.9", "2", "100.3", "1"]);
    let play = |tickers: &[(i64, &String)]| {
        let begin = Message::new(MessageKind::Ws, 1_700_000_000_000_000_000, "", &snapshot());
        let ticker = |&(second, body): &(i64, &String)| {
            Message::new(MessageKind::Ws, 1_700_000_000_000_000_000 + second * 1_000_000_000, "", body)
        };
        let messages: Vec<_> = std::iter::once(begin).chain(tickers.iter().map(ticker)).collect();
        run(Venue::Kraken, &messages)
    };
    let (engine, batch) = play(&[(60, &other), (64, &other), (65, &other)]);
    assert!(!is_usable(&engine));
    assert_eq!(
        told(&batch)[2..],
        ["4: oracle_disagrees", "4: book_unusable (oracle_disagrees)", "4: snapshot_wanted (oracle_disagrees)"]
    );
    let (engine, _) = play(&[(60, &other), (64, &other), (64, &ticker("update", "A/B", TOP)), (70, &other)]);
    assert!(is_usable(&engine), "prices that come back were ahead for a moment");
    let (engine, _) = play(&[(10, &ticker("update", "A/B", TOP)), (90, &ticker("update", "A/B", TOP))]);
    assert!(is_usable(&engine), "a quiet market is no lost one");
}
