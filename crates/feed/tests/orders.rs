//! Order-by-order feeds: what must hold on recorded days, and each rule as a script.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::damage::Damage;
use common::orders::Book;
use common::{Message, messages, run, told};
use tidebook_feed::{FeedEngine, RecordBatch};
use tidebook_testkit::{Random, recording};
use tidebook_types::records::{
    FLAG_DERIVED, FLAG_HIDDEN, FLAG_LAST, FLAG_UNKNOWN_ORDER, FLAG_UNPROVEN, ORDER_ADD, ORDER_CANCEL, ORDER_CLEAR,
    ORDER_DELETE, ORDER_EXECUTE, ORDER_MODIFY, SIDE_BUY, SIDE_NONE, SIDE_SELL,
};
use tidebook_types::{MessageKind, Order, Quote, Venue};

const BITSTAMP: &str = "l3-bitstamp/btcusd-20150501.log.zst";
const LOBSTER: &str = "l3-lobster/aapl-20120621-message.csv.zst";
const LOBSTER_TOUCH: &str = "l3-lobster/aapl-20120621-touch.csv.zst";
const LOBSTER_FIRST: &str = "l3-lobster/aapl-20120621-level10-first999-message.csv.zst";

/// Records by action, from add to delete.
fn by_action(orders: &[Order]) -> [usize; 5] {
    [ORDER_ADD, ORDER_MODIFY, ORDER_CANCEL, ORDER_EXECUTE, ORDER_DELETE]
        .map(|action| orders.iter().filter(|order| order.action == action).count())
}

fn assert_sound(engine: &FeedEngine, batch: &RecordBatch) {
    assert_eq!(engine.quarantined(), []);
    assert_eq!((engine.counters().malformed, engine.counters().unknown), (0, 0));
    assert!(batch.orders.iter().all(|order| order.flags & FLAG_LAST != 0));
    assert!(batch.orders.iter().all(|order| order.remaining >= 0 && order.flags & FLAG_UNPROVEN == 0));
    let places = batch.orders.iter().map(|order| (order.source_sequence, order.source_index));
    assert!(places.clone().zip(places.skip(1)).all(|(one, next)| one < next));
}

#[test]
fn every_line_of_the_bitstamp_recording_is_a_record() {
    let Some((venue, messages)) = messages(&[BITSTAMP]) else { return };
    let (engine, batch) = run(venue, &messages);
    assert_sound(&engine, &batch);
    assert_eq!(by_action(&batch.orders), [14_907, 386, 0, 0, 14_919]);
    assert_eq!((batch.trades.len(), batch.quotes.len()), (359, 3_029));
    assert_eq!(batch.orders.len() + batch.trades.len() + batch.quotes.len(), 33_600);
    let symbols: Vec<_> = engine.instruments().map(|(_, symbol)| symbol).collect();
    assert_eq!(symbols, [b"BTC/USD"]);
    // The first trade of the recording: 0.21144331 at 236.47.
    assert_eq!(
        (batch.trades[0].price, batch.trades[0].size, batch.trades[0].trade_id),
        (23_647, 21_144_331, 8_111_041)
    );
    assert_eq!((batch.trades[1].price, batch.trades[1].size), (23_647, 178_855_669));
    // Orders placed before the recording, and those deleted before they are said to exist.
    let counters = engine.counters();
    assert_eq!((counters.orders, counters.orders_unknown, counters.orders_late), (30_212, 181, 3));
    // Bars go by our clock, since the venue's trades say no time.
    assert_eq!(counters.trades_off_clock, 0);
    assert!(batch.bars.len() > 100);
}

/// Method: a book made of the records alone is compared with every `order_book` event behind the first two hours, when orders
/// from before the recording are gone.
#[test]
fn orders_of_the_bitstamp_recording_make_the_book_that_the_venue_shows() {
    const TWO_HOURS_NS: i64 = 7_200_000_000_000;
    let Some((venue, messages)) = messages(&[BITSTAMP]) else { return };
    let (_, batch) = run(venue, &messages);
    let start = batch.orders[0].ts_recv;
    let mut book = Book::default();
    let mut orders = batch.orders.iter().peekable();
    let (mut equal, mut compared) = (0, 0);
    for quote in &batch.quotes {
        while let Some(order) = orders.next_if(|order| order.source_sequence < quote.source_sequence) {
            book.apply(order);
        }
        if quote.ts_recv - start < TWO_HOURS_NS {
            continue;
        }
        let Quote { bid_price, bid_size, ask_price, ask_size, flags, .. } = *quote;
        assert_eq!(flags & FLAG_DERIVED, 0);
        let [bid, ask] = book.top();
        assert!(bid.0 < ask.0, "crossed at {}", quote.source_sequence);
        compared += 1;
        equal += u32::from([bid, ask] == [(bid_price, bid_size), (ask_price, ask_size)]);
    }
    assert_eq!((equal, compared), (869, 871));
}

#[test]
fn every_row_of_the_lobster_recordings_is_a_record() {
    for (name, counts, hidden) in
        [(LOBSTER, [20_273, 0, 233, 2_079 + 1_123, 18_495], 1_123), (LOBSTER_FIRST, [471, 0, 0, 98 + 61, 369], 61)]
    {
        let Some((venue, messages)) = messages(&[name]) else { return };
        let (engine, batch) = run(venue, &messages);
        assert_sound(&engine, &batch);
        assert_eq!(by_action(&batch.orders), counts, "{name}");
        assert_eq!(batch.orders.iter().filter(|order| order.flags & FLAG_HIDDEN != 0).count(), hidden, "{name}");
        assert_eq!(batch.trades.len(), counts[3], "{name}");
        assert_eq!(engine.instruments().next().unwrap().1, b"AAPL");
        let counters = engine.counters();
        assert_eq!((counters.orders_late, counters.quotes), (0, 0));
        if name == LOBSTER {
            assert_eq!((counters.orders, counters.orders_unknown), (42_203, 54));
            let first = &batch.orders[0];
            // 09:30:00.004241176 in New York on 21 June 2012.
            assert_eq!(first.ts_event, 1_340_285_400_004_241_176);
            assert_eq!((first.order_id, first.price, first.size, first.side), (16_113_575, 5_853_300, 18, SIDE_BUY));
            assert_eq!((first.price_exp, first.size_exp), (4, 0));
        }
    }
}

/// Method: the best prices before an event, and the event, give the best prices after it, or say that another level rose.
#[test]
fn each_event_of_the_lobster_recording_changes_the_touch_as_it_must() {
    let Some((venue, messages)) = messages(&[LOBSTER]) else { return };
    let touch = recording(LOBSTER_TOUCH).unwrap();
    let rows: Vec<[i64; 4]> = std::str::from_utf8(&touch)
        .unwrap()
        .lines()
        .map(|line| {
            let mut columns = line.split(',').map(|text| text.parse().unwrap());
            std::array::from_fn(|_| columns.next().unwrap())
        })
        .collect();
    let (_, batch) = run(venue, &messages);
    assert_eq!(batch.orders.len(), rows.len());
    let mut at_touch = 0;
    for (order, pair) in batch.orders[1..].iter().zip(rows.windows(2)) {
        let sides = |row: &[i64; 4]| [(row[2], row[3]), (row[0], row[1])];
        let place = usize::from(order.side == SIDE_SELL);
        let (before, after) = (sides(&pair[0]), sides(&pair[1]));
        let context = || format!("{order:?}: {before:?} {after:?}");
        assert_eq!(before[1 - place], after[1 - place], "{}", context());
        let (price, size) = before[place];
        let better = if order.side == SIDE_BUY { order.price > price } else { order.price < price };
        if order.flags & FLAG_HIDDEN != 0 || !(better || order.price == price) {
            assert_eq!(before[place], after[place], "{}", context());
            continue;
        }
        at_touch += 1;
        match order.action {
            ORDER_ADD if better => assert_eq!(after[place], (order.price, order.size), "{}", context()),
            ORDER_ADD => assert_eq!(after[place], (price, size + order.size), "{}", context()),
            _ if size > order.size => assert_eq!(after[place], (price, size - order.size), "{}", context()),
            _ => {
                assert_eq!(size, order.size, "{}", context());
                let worse = if order.side == SIDE_BUY { after[place].0 < price } else { after[place].0 > price };
                assert!(worse, "{}", context());
            }
        }
    }
    assert_eq!(at_touch, 13_081);
}

fn ws(body: &str) -> Message {
    Message::new(MessageKind::Ws, 1_430_438_404_000_000_000, "", body)
}

fn state(body: &str) -> Message {
    Message::new(MessageKind::State, 1_430_438_404_000_000_000, "", body)
}

fn bitstamp(event: &str, id: u64, price: &str, amount: &str) -> Message {
    ws(&format!(
        "order_{event} {{\"price\": \"{price}\", \"amount\": \"{amount}\", \"datetime\": \"1430438404\", \"id\": {id}, \"order_type\": 0}}"
    ))
}

const BTCUSD: &str = "{\"event\":\"capture\",\"format\":\"bitstamp\",\"symbol\":\"BTC/USD\"}";
const AAPL: &str =
    "{\"event\":\"capture\",\"format\":\"lobster\",\"symbol\":\"AAPL\",\"midnight_ns\":1340251200000000000}";

/// (action, size, remaining, flags without the last).
fn lines(batch: &RecordBatch) -> Vec<(u8, i64, i64, u8)> {
    let line = |order: &Order| (order.action, order.size, order.remaining, order.flags & !FLAG_LAST);
    batch.orders.iter().map(line).collect()
}

#[test]
fn an_order_deleted_before_it_is_said_to_exist_does_not_rest() {
    let (engine, batch) = run(
        Venue::Bitstamp,
        &[state(BTCUSD), bitstamp("deleted", 1, "236.47", "2.5"), bitstamp("created", 1, "236.47", "2.5")],
    );
    let size = 250_000_000;
    assert_eq!(lines(&batch), [(ORDER_DELETE, size, 0, FLAG_UNKNOWN_ORDER), (ORDER_ADD, size, 0, 0)]);
    assert_eq!(engine.counters().orders_late, 1);
    // Only the creation has a time of its own.
    assert_eq!(batch.orders.iter().map(|order| order.ts_event).collect::<Vec<_>>(), [0, 1_430_438_404_000_000_000]);
}

#[test]
fn a_session_s_end_and_other_decimals_void_the_orders() {
    let (engine, batch) = run(
        Venue::Bitstamp,
        &[
            state(BTCUSD),
            bitstamp("created", 1, "236.47", "1"),
            bitstamp("changed", 1, "236.475", "0.5"),
            state("{\"event\":\"disconnected\"}"),
            bitstamp("created", 2, "236.47", "1"),
        ],
    );
    let one = 100_000_000;
    assert_eq!(
        lines(&batch),
        [
            (ORDER_ADD, one, one, 0),
            (ORDER_CLEAR, 0, 0, 0),
            (ORDER_MODIFY, one / 2, one / 2, FLAG_UNKNOWN_ORDER),
            (ORDER_CLEAR, 0, 0, 0)
        ]
    );
    assert_eq!(batch.instruments.iter().map(|found| found.price_exp).collect::<Vec<_>>(), [2, 3]);
    // What comes from a recording that nobody announced is of no instrument.
    assert_eq!(told(&batch), ["3: precision_changed", "4: disconnected 0 1 0", "5: malformed"]);
    assert_eq!(engine.quarantined()[0].sequence, 5);
}

#[test]
fn another_day_voids_the_orders_of_the_one_before() {
    let next_day = AAPL.replace("1340251200", "1340337600");
    let row = || ws("34200.5,1,16113575,18,5853300,1");
    let (engine, batch) = run(Venue::Lobster, &[state(AAPL), row(), state(AAPL), state(&next_day), row()]);
    assert_eq!(lines(&batch), [(ORDER_ADD, 18, 18, 0), (ORDER_CLEAR, 0, 0, 0), (ORDER_ADD, 18, 18, 0)]);
    assert_eq!(batch.orders[2].ts_event - batch.orders[0].ts_event, 86_400_000_000_000);
    assert_eq!(engine.counters().malformed, 0);
}

#[test]
fn a_fill_is_a_trade_of_the_other_side_and_halts_are_told() {
    let (engine, batch) = run(
        Venue::Lobster,
        &[
            state(AAPL),
            ws("34200.1,1,7,100,5853300,1"),
            ws("34200.2,4,7,40,5853300,1"),
            ws("34200.3,5,0,5,5853400,-1"),
            ws("34200.4,2,7,10,5853300,1"),
            ws("34200.5,7,0,0,-1,-1"),
            ws("34200.6,7,0,0,0,-1"),
            ws("34200.7,7,0,0,1,-1"),
            ws("34200.8,6,0,10,5853300,1"),
            ws("34200.9,3,7,50,5853300,1"),
        ],
    );
    assert_eq!(
        lines(&batch),
        [
            (ORDER_ADD, 100, 100, 0),
            (ORDER_EXECUTE, 40, 60, 0),
            (ORDER_EXECUTE, 5, 0, FLAG_HIDDEN),
            (ORDER_CANCEL, 10, 50, 0),
            (ORDER_DELETE, 50, 0, 0)
        ]
    );
    let trades: Vec<_> = batch.trades.iter().map(|trade| (trade.price, trade.size, trade.side)).collect();
    assert_eq!(trades, [(5_853_300, 40, SIDE_SELL), (5_853_400, 5, SIDE_BUY)]);
    assert_eq!(told(&batch), ["6: trading_halted", "8: trading_resumed"]);
    assert_eq!((engine.counters().unknown, engine.counters().acknowledged), (1, 1));
}

#[test]
fn a_hidden_fill_has_no_side_since_the_exchange_says_none() {
    // Midnights in New York on 11 and 14 July 2014.
    for (midnight, side) in [("1405051200", SIDE_SELL), ("1405310400", SIDE_NONE)] {
        let rows = ["34200.1,5,0,5,5853400,1", "34200.2,4,7,40,5853300,1"].map(ws);
        let (_, batch) = run(Venue::Lobster, &[&[state(&AAPL.replace("1340251200", midnight))], &rows[..]].concat());
        assert_eq!(batch.trades.iter().map(|trade| trade.side).collect::<Vec<_>>(), [side, SIDE_SELL]);
        assert_eq!(batch.orders.iter().map(|order| order.side).collect::<Vec<_>>(), [-side, SIDE_BUY]);
    }
}

#[test]
fn a_midnight_that_no_time_of_a_day_can_be_added_to_is_damage_of_the_state_that_says_it() {
    let row = ws("34200.1,4,7,40,5853300,1");
    // A system event at the last nanosecond of a day.
    let body = [&b"S\0\0\0\0"[..], &86_399_999_999_999_u64.to_be_bytes()[2..], b"O"].concat();
    let event = Message { body, ..ws("") };
    for (venue, message) in [(Venue::Lobster, row), (Venue::Nasdaq, event)] {
        for (midnight, malformed) in [
            ("7258118399999999999", 0),
            ("7258118400000000000", 2),
            ("9223372036854775807", 2),
            ("18446744073709551615", 2),
        ] {
            let capture = state(&AAPL.replace("1340251200000000000", midnight));
            let (engine, batch) = run(venue, &[capture, message.clone()]);
            assert_eq!(engine.counters().malformed, malformed, "{midnight} of {}", venue.name());
            assert_eq!(batch.orders.len(), usize::from(malformed == 0 && venue == Venue::Lobster));
        }
    }
}

/// The number by which a line names its order or trade, if it does.
fn id_of(venue: Venue, body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let id = match venue {
        Venue::Bitstamp => text.split_once("\"id\":")?.1,
        _ => text.split(',').nth(2)?,
    };
    id.trim_start().bytes().take_while(u8::is_ascii_digit).map(char::from).collect::<String>().parse().ok()
}

/// What a record says of its order: action, side, price, size, what remains, flags.
type OrderLine = (u8, i8, i64, i64, i64, u8);

/// Everything that is said of each order, in turn.
fn by_order(batch: &RecordBatch) -> BTreeMap<u64, Vec<OrderLine>> {
    let mut orders = BTreeMap::<u64, Vec<OrderLine>>::new();
    for order in &batch.orders {
        let Order { order_id, action, side, price, size, remaining, flags, .. } = *order;
        orders.entry(order_id).or_default().push((action, side, price, size, remaining, flags & !FLAG_LAST));
    }
    orders
}

/// The announcement of a recording, and `count` lines of it from a place on.
fn stretch(name: &str, from: usize, count: usize) -> Option<(Venue, Vec<Message>)> {
    let (venue, all) = messages(&[name])?;
    let lines = all[1..].iter().skip(from).take(count);
    Some((venue, std::iter::once(&all[0]).chain(lines).cloned().collect()))
}

/// Seeded variants with one to six lines damaged. A damaged line is set aside or is an event like another; the feed goes on,
/// every line is accounted for, no order is ever said to have less than nothing, and of orders that no damaged line names,
/// everything is said that was said before, unless a status says that all orders are void.
fn damage_orders(name: &str, venue: Venue, undamaged: &[Message], seeds: std::ops::Range<u64>) {
    let (engine, batch) = run(venue, undamaged);
    assert_eq!(engine.counters().malformed, 0);
    let expected = by_order(&batch);
    assert!(expected.len() > 200);
    let (count, mut void, mut found) = (seeds.end - seeds.start, 0, 0);
    for seed in seeds {
        let mut random = Random::new(seed);
        let mut damaged = undamaged.to_vec();
        let (mut touched, mut done) = (BTreeSet::new(), Vec::new());
        for _ in 0..=random.below(6) {
            let index = 1 + random.index(damaged.len() - 2);
            let damage = Damage::any(&mut random, &damaged[index]);
            touched.extend(damaged[index..index + 2].iter().filter_map(|message| id_of(venue, &message.body)));
            damage.apply(&mut damaged, index, |message| message);
            touched.extend(id_of(venue, &damaged[index].body));
            done.push((index, damage));
        }
        let context = || format!("seed {seed} of {name}: {done:?}");
        let (engine, batch) = run(venue, &damaged);
        let counters = engine.counters();
        let orders = batch.orders.iter().filter(|order| order.action != ORDER_CLEAR).count() as u64;
        // A fill of LOBSTER's is one line and two records; its unknown words are of halts, which give no record then.
        let others = if venue == Venue::Bitstamp { counters.trades } else { counters.unknown_values };
        let accounted = orders + others + counters.quotes + counters.malformed + counters.unknown;
        let halts = batch.status.iter().filter(|status| status.kind >= 26).count() as u64;
        let lines = damaged.len() as u64 - 1;
        assert_eq!(accounted + halts + counters.acknowledged, lines, "{}", context());
        assert!(batch.orders.iter().all(|order| order.remaining >= 0), "{}", context());
        let told_void = told(&batch).iter().any(|line| line.contains("precision_changed"));
        assert_eq!(batch.orders.iter().any(|order| order.action == ORDER_CLEAR), told_void, "{}", context());
        if told_void {
            void += 1;
            continue;
        }
        let said = by_order(&batch);
        for (id, lines) in expected.iter().filter(|(id, _)| !touched.contains(id)) {
            assert_eq!(said.get(id), Some(lines), "order {id}; {}", context());
        }
        for id in said.keys() {
            assert!(expected.contains_key(id) || touched.contains(id), "order {id} is unheard of; {}", context());
        }
        let doubts = |batch: &RecordBatch| {
            let flags = FLAG_UNKNOWN_ORDER | FLAG_UNPROVEN;
            batch.orders.iter().filter(|order| order.flags & flags != 0).count()
        };
        found += u64::from(counters.malformed > 0 || doubts(&batch) > expected_doubts(&expected));
    }
    assert!(void < count / 4 && found > count / 4, "of {count}, {void} void all orders, {found} are found; {name}");
}

fn expected_doubts(expected: &BTreeMap<u64, Vec<OrderLine>>) -> usize {
    expected.values().flatten().filter(|line| line.5 & (FLAG_UNKNOWN_ORDER | FLAG_UNPROVEN) != 0).count()
}

#[test]
fn damaged_order_flow_stops_nothing_and_changes_what_is_said_of_no_other_order() {
    for name in [BITSTAMP, LOBSTER_FIRST] {
        let Some((venue, undamaged)) = stretch(name, 0, 1_000) else { return };
        damage_orders(name, venue, &undamaged, 0..100);
    }
}

#[test]
#[ignore = "the full numbers: make soak"]
fn soak_damaged_order_flow() {
    for (name, from, count) in [
        (BITSTAMP, 0, 2_000),
        (BITSTAMP, 30_000, 2_000),
        (LOBSTER, 0, 2_000),
        (LOBSTER, 40_000, 2_000),
        (LOBSTER_FIRST, 0, 999),
    ] {
        let Some((venue, undamaged)) = stretch(name, from, count) else { return };
        damage_orders(name, venue, &undamaged, 10_000..12_000);
    }
}

/// Method: each creation of the first part of a recording is left out, one at a time.
#[test]
fn an_order_whose_creation_was_lost_is_marked_when_it_is_next_spoken_of() {
    for name in [BITSTAMP, LOBSTER_FIRST] {
        let Some((venue, undamaged)) = stretch(name, 0, 400) else { return };
        let (_, batch) = run(venue, &undamaged);
        let expected = by_order(&batch);
        let mut spoken_of = 0;
        for order in batch.orders.iter().filter(|order| order.action == ORDER_ADD) {
            let mut damaged = undamaged.clone();
            damaged.remove(order.source_sequence as usize - 1);
            let (_, batch) = run(venue, &damaged);
            let said = by_order(&batch);
            let Some(next) = said.get(&order.order_id).and_then(|lines| lines.first()) else {
                assert_eq!(expected[&order.order_id].len(), 1, "{name}, {order:?}");
                continue;
            };
            spoken_of += 1;
            assert_ne!(next.5 & FLAG_UNKNOWN_ORDER, 0, "{name}, {order:?}");
        }
        assert!(spoken_of > 50, "{name}: {spoken_of}");
    }
}
