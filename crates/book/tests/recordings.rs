//! Recorded days drive the order book, order by order; each has something beside it that says what the book must be.

use std::collections::HashMap;
use std::io::{Write, stderr};

use tidebook_book::{Handle, OrderBook, Resting, Side};
use tidebook_feed::capture::{CaptureOptions, CaptureReader};
use tidebook_feed::{FeedEngine, FeedOptions, RecordBatch};
use tidebook_testkit::recording;
use tidebook_types::Order;
use tidebook_types::records::{
    FLAG_HIDDEN, FLAG_UNKNOWN_ORDER, ORDER_ADD, ORDER_CANCEL, ORDER_DELETE, ORDER_EXECUTE, ORDER_MODIFY, SIDE_BUY,
    SIDE_NONE, SIDE_SELL,
};
use zerocopy::FromZeros;

const BITSTAMP: &str = "l3-bitstamp/btcusd-20150501.log.zst";
const LOBSTER: &str = "l3-lobster/aapl-20120621-message.csv.zst";
const LOBSTER_TOUCH: &str = "l3-lobster/aapl-20120621-touch.csv.zst";
const LOBSTER_LEVELS: &str = "l3-lobster/aapl-20120621-level10-first999-orderbook.csv.zst";
const CME: &str = "l3-cme-es/esh4-20231225.mbo.dbn.zst";

/// What a feed makes of a recording; `None` when recordings are missing.
fn records(name: &str) -> Option<RecordBatch> {
    let bytes = recording(name)?;
    let file_name = name.rsplit('/').next().unwrap_or(name);
    let options = CaptureOptions { connection: 1, file_name, day: None };
    let mut reader = CaptureReader::open(&bytes, options).unwrap();
    let venue = reader.venue();
    let mut engine = FeedEngine::new(venue, FeedOptions::of(venue));
    let mut batch = RecordBatch::default();
    let mut sequence = 0;
    while let Some(message) = reader.next_message().unwrap() {
        sequence += 1;
        engine.on_message(sequence, message, &mut batch);
    }
    Some(batch)
}

/// Rows of integers.
fn rows(name: &str) -> Vec<Vec<i64>> {
    let bytes = recording(name).expect("it lies beside the others");
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| line.split(',').map(|column| column.parse().unwrap()).collect()).collect()
}

fn say(line: &str) {
    // Straight to the stream: the test harness hides what print macros write in tests that pass.
    let _ = writeln!(stderr(), "{line}");
}

/// Price and size of the best level; (0, 0) where there is none.
fn touch(book: &OrderBook, side: Side) -> (i64, i64) {
    book.best_level(side).map_or((0, 0), |level| (level.price, level.shown))
}

/// The orders that rested when a recording began, which nobody told one by one: at each price one order in front of all others.
#[derive(Default)]
struct Earlier {
    levels: HashMap<(Side, i64), Option<Handle>>,
}

impl Earlier {
    /// So much rests at a price; told before any other order of it.
    fn reveal(&mut self, book: &mut OrderBook, side: Side, price: i64, size: i64) {
        let id = 1 << 63 | self.levels.len() as u64;
        let handle = book.insert(Resting { id, price, shown: size, hidden: 0, side });
        assert!(self.levels.insert((side, price), Some(handle)).is_none(), "{side:?} {price} was known");
    }

    /// `size` of one of them went; whether that much of them was there.
    fn take(&mut self, book: &mut OrderBook, side: Side, price: i64, size: i64) -> bool {
        let Some(Some(handle)) = self.levels.get(&(side, price)).copied() else { return false };
        if book.get(handle).shown < size {
            return false;
        }
        if book.fill(handle, size) == 0 {
            self.levels.insert((side, price), None);
        }
        true
    }
}

/// Method: after each row of the message file the touch is that of the touch file's row. What rested before the recording is taken from the ten levels
/// of the first row; all that follows comes of the orders.
#[test]
fn the_book_of_the_lobster_recording_has_the_touch_that_the_exchange_had() {
    let Some(batch) = records(LOBSTER) else { return };
    let touches = rows(LOBSTER_TOUCH);
    assert_eq!(batch.orders.len(), touches.len());
    let mut book = OrderBook::with_tick(100);
    let mut earlier = Earlier::default();
    let first = &batch.orders[0];
    for (index, level) in rows(LOBSTER_LEVELS)[0].chunks(2).enumerate() {
        let side = if index % 2 == 0 { Side::Ask } else { Side::Bid };
        if (side.code(), level[0]) != (first.side, first.price) {
            earlier.reveal(&mut book, side, level[0], level[1]);
        }
    }
    let (mut compared, mut changed, mut unseen) = (0, 0, 0);
    let (mut fills, mut in_turn) = (0, 0);
    let mut before = [(0, 0); 2];
    for (row, (order, expected)) in batch.orders.iter().zip(&touches).enumerate() {
        let context = || format!("row {row}: {order:?}");
        let side = Side::from_code(order.side).unwrap();
        if order.flags & FLAG_HIDDEN == 0 {
            if order.action == ORDER_EXECUTE {
                fills += 1;
                let turn = *book.get(book.first(side).unwrap());
                // A few were placed out of the file's sight and are told of when it comes back, behind younger ones.
                let is_in_turn = turn.id == order.order_id || turn.id >> 63 == 1 && turn.price == order.price;
                in_turn += u32::from(is_in_turn);
            }
            if order.flags & FLAG_UNKNOWN_ORDER == 0 {
                assert!(book.apply_record(order), "{}", context());
            } else {
                // Where it is not there, the level was out of the file's sight when the order was placed.
                unseen += u32::from(!earlier.take(&mut book, side, order.price, order.size));
            }
        }
        let expected = [(expected[2], expected[3]), (expected[0], expected[1])];
        for (side, expected) in Side::BOTH.into_iter().zip(expected) {
            assert_eq!(touch(&book, side), expected, "{side:?}; {}", context());
            compared += 1;
        }
        changed += u32::from(expected != before);
        before = expected;
    }
    say(&format!(
        "LOBSTER AAPL: {compared} touches equal in {} rows, of which {changed} change it; {unseen} changes of orders never seen; \
         {in_turn} of {fills} fills are of the first order in turn",
        touches.len()
    ));
    assert_eq!((compared, fills), (84_406, 2_079));
    assert!(in_turn * 100 >= fills * 99);
}

/// Method: the touch is compared with every `order_book` event behind the first two hours, when orders from before the recording are gone.
#[test]
fn the_book_of_the_bitstamp_recording_has_the_touch_that_the_exchange_shows() {
    const TWO_HOURS_NS: i64 = 7_200_000_000_000;
    let Some(batch) = records(BITSTAMP) else { return };
    let start = batch.orders[0].ts_recv;
    let mut book = OrderBook::new();
    let mut orders = batch.orders.iter().peekable();
    let (mut prices, mut sizes, mut compared) = (0, 0, 0);
    for quote in &batch.quotes {
        while let Some(order) = orders.next_if(|order| order.source_sequence < quote.source_sequence) {
            book.apply_record(order);
        }
        if quote.ts_recv - start < TWO_HOURS_NS {
            continue;
        }
        assert!(!book.is_crossed(), "at {}", quote.source_sequence);
        let shown = [(quote.bid_price, quote.bid_size), (quote.ask_price, quote.ask_size)];
        for (side, shown) in Side::BOTH.into_iter().zip(shown) {
            let found = touch(&book, side);
            compared += 1;
            prices += u32::from(found.0 == shown.0);
            sizes += u32::from(found == shown);
        }
    }
    say(&format!(
        "Bitstamp BTC/USD: of {compared} best bids and asks {prices} prices are equal, {sizes} with their sizes"
    ));
    assert!(compared > 1_700 && prices * 1_000 >= compared * 998 && sizes * 1_000 >= compared * 998);
}

/// One message of a Databento file of market by order.
struct Mbo {
    order_id: u64,
    price: i64,
    size: i64,
    action: u8,
    side: u8,
    is_last: bool,
}

/// Messages of a DBN file, version 1.
fn mbo(bytes: &[u8]) -> Vec<Mbo> {
    assert_eq!(&bytes[..4], b"DBN\x01");
    let metadata = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let (messages, rest) = bytes[8 + metadata..].as_chunks::<56>();
    assert!(rest.is_empty() && messages.iter().all(|message| message[..2] == [14, 160]));
    messages
        .iter()
        .map(|message| Mbo {
            order_id: u64::from_le_bytes(message[16..24].try_into().unwrap()),
            price: i64::from_le_bytes(message[24..32].try_into().unwrap()),
            size: i64::from(u32::from_le_bytes(message[32..36].try_into().unwrap())),
            is_last: message[36] & 128 != 0,
            action: message[38],
            side: message[39],
        })
        .collect()
}

/// Method: every cancel and modify finds its order with at least that size, a trade moves nothing by itself, and once trading has begun the
/// book is not crossed at the end of an event.
#[test]
fn every_cancel_and_modify_of_the_cme_recording_finds_its_order() {
    let Some(bytes) = recording(CME) else { return };
    let messages = mbo(&bytes);
    let mut book = OrderBook::new();
    let (mut found, mut fills, mut fills_found, mut events, mut most, mut trading) = (0, 0, 0, 0, 0, false);
    for (index, message) in messages.iter().enumerate() {
        let Mbo { order_id, price, size, action, side, is_last } = *message;
        let side = match side {
            b'B' => SIDE_BUY,
            b'A' => SIDE_SELL,
            _ => SIDE_NONE,
        };
        let rests = book.find(order_id).map(|handle| *book.get(handle));
        let change = match action {
            b'A' => {
                assert_eq!(rests, None, "message {index}");
                Some((ORDER_ADD, size))
            }
            b'M' => {
                assert!(rests.is_some_and(|order| order.side.code() == side), "message {index}: order {order_id}");
                found += 1;
                Some((ORDER_MODIFY, size))
            }
            b'C' => {
                let order = rests.unwrap_or_else(|| panic!("message {index}: order {order_id}"));
                assert!(size <= order.shown && (order.price, order.side.code()) == (price, side), "message {index}");
                found += 1;
                let remaining = order.shown - size;
                Some((if remaining > 0 { ORDER_CANCEL } else { ORDER_DELETE }, remaining))
            }
            b'F' => {
                fills += 1;
                fills_found += u32::from(rests.is_some());
                None
            }
            b'T' => None,
            other => panic!("message {index}: action {other}"),
        };
        if let Some((action, remaining)) = change {
            let record = Order { order_id, price, size, remaining, side, action, ..Order::new_zeroed() };
            assert!(book.apply_record(&record), "message {index}: {record:?}");
        }
        most = most.max(book.len());
        trading |= action == b'T';
        if is_last && trading {
            events += 1;
            assert!(!book.is_crossed(), "message {index}");
        }
    }
    say(&format!(
        "CME ES: all {found} cancels and modifies of {} messages find their order, {fills_found} of {fills} fills; never crossed behind \
         {events} events; up to {most} orders",
        messages.len()
    ));
    assert_eq!((found, fills), (30_232, 6_371));
}
