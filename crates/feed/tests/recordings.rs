//! What must hold on recorded days of real venues.

mod common;

use std::collections::BTreeMap;

use common::{messages, run, tally};
use tidebook_book::{DepthBook, Side};
use tidebook_feed::{FeedEngine, Oracle, RecordBatch, StatusKind};
use tidebook_types::records::{ACTION_CLEAR, FLAG_DERIVED, FLAG_LAST, FLAG_UNPROVEN};
use tidebook_types::{BookImage, InstrumentId, Venue};
use zerocopy::FromZeros;

const BTCUSDT: [&str; 2] = ["binance-spot/btcusdt-20240808.log.zst", "binance-spot/btcusdt-20240809.log.zst"];
const KRAKEN: [(&str, u64, usize); 3] = [
    ("kraken-v2/kraken_btcusd_l2.cbcap.zst", 301, 10),
    ("kraken-v2/kraken_btcusd_sample.cbcap.zst", 2_052, 25),
    ("kraken-v2/kraken_xrpusd_sample.cbcap.zst", 1_147, 25),
];

/// Books made from the depth records alone, as a reader of `md.depth` would.
fn books(batch: &RecordBatch) -> BTreeMap<u32, DepthBook> {
    let mut books: BTreeMap<u32, DepthBook> = BTreeMap::new();
    for depth in &batch.depth {
        let book = books.entry(depth.instrument_id).or_default();
        if depth.action == ACTION_CLEAR {
            book.clear();
        } else {
            book.apply(Side::from_code(depth.side).unwrap(), depth.price, depth.size);
        }
    }
    books
}

/// Holds for every undamaged recording: nothing set aside, records in order, depth records make the engine's book.
fn assert_sound(engine: &FeedEngine, batch: &RecordBatch) {
    assert_eq!(engine.quarantined(), []);
    assert_eq!(engine.counters().malformed, 0);
    let books = books(batch);
    for (id, symbol) in engine.instruments() {
        let view = engine.book(id).unwrap();
        let symbol = String::from_utf8_lossy(symbol);
        if let Some(book) = books.get(&id.get()) {
            assert_eq!(book.state_hash(), view.book.state_hash(), "{symbol}");
            assert!(view.usable, "{symbol}");
        }
    }
    let places = batch.depth.iter().map(|depth| (depth.source_sequence, depth.source_index));
    assert!(places.clone().zip(places.skip(1)).all(|(one, next)| one < next));
    let mut last_of_message = BTreeMap::new();
    for depth in &batch.depth {
        last_of_message
            .insert((depth.source_sequence, depth.venue_sequence, depth.instrument_id), depth.flags & FLAG_LAST);
    }
    assert!(last_of_message.values().all(|&flag| flag == FLAG_LAST), "a message without its last record");
}

#[test]
fn binance_spot_chain_ticker_and_trade_ids_hold_over_both_files() {
    let Some((venue, messages)) = messages(&BTCUSDT) else { return };
    let (engine, batch) = run(venue, &messages);
    assert_eq!(tally(&engine, Oracle::BinanceDepthChain), (6_494, 0));
    // One more than there are messages behind the snapshot: a message kept from before it is compared as well.
    assert_eq!(tally(&engine, Oracle::BinanceBookTicker), (6_491, 2));
    assert_eq!(tally(&engine, Oracle::BinanceTradeIds), (19_903, 0));
    assert_eq!(batch.trades.len(), 19_904);
    let counters = engine.counters();
    assert_eq!((counters.messages, counters.gaps, counters.duplicates, counters.unknown), (99_574, 0, 0, 0));
    assert_eq!(batch.quotes.iter().filter(|quote| quote.flags & FLAG_DERIVED == 0).count(), 28_040 + 45_134);
    assert_sound(&engine, &batch);

    // Twice the venue's depth lacks a level that its bookTicker shows, and sends it in the next message.
    let told: Vec<_> = batch.status.iter().map(|status| StatusKind::from_code(status.kind).unwrap()).collect();
    let doubt = [StatusKind::OracleDisagrees, StatusKind::BookUnusable, StatusKind::SnapshotWanted];
    let mut expected = vec![StatusKind::SnapshotWanted, StatusKind::SnapshotApplied, StatusKind::BookUsable];
    expected.extend(doubt);
    expected.push(StatusKind::BookUsable);
    // The snapshot asked for the first time never came, so it is not asked for again.
    expected.extend(&doubt[..2]);
    expected.push(StatusKind::BookUsable);
    assert_eq!(told, expected);
    let id = InstrumentId::new(venue, 0);
    assert!(engine.book(id).unwrap().unproven);
    let mut image = BookImage::new_zeroed();
    assert!(engine.fill_image(id, &mut image));
    assert_eq!((image.usable, image.flags, image.venue_sequence), (1, FLAG_UNPROVEN, 50_093_696_318));
    assert!(image.bid_price[0] < image.ask_price[0] && image.bid_price[24] > 0);
}

#[test]
fn binance_spot_captures_of_several_symbols_hold_their_chains() {
    for (names, steps, instruments) in [
        (&["binance-spot/multi-20210404.log.zst"][..], 2_685, 3),
        (&["binance-spot/multi-20211012.http.log.zst", "binance-spot/multi-20211012.ws.log.zst"], 173, 4),
        (&["binance-spot/multi-20211012.ws.log.zst", "binance-spot/multi-20211012.http.log.zst"], 173, 4),
    ] {
        let Some((venue, messages)) = messages(names) else { return };
        let (engine, batch) = run(venue, &messages);
        assert_eq!(tally(&engine, Oracle::BinanceDepthChain), (steps, 0), "{names:?}");
        assert_eq!(tally(&engine, Oracle::BinanceBookTicker).1, 0, "{names:?}");
        assert_eq!(engine.counters().snapshots_applied, instruments, "{names:?}");
        assert_eq!(engine.instruments().count() as u64, instruments, "{names:?}");
        assert_sound(&engine, &batch);
    }
}

#[test]
fn kraken_checksums_hold_for_every_book_message() {
    for (name, count, depth) in KRAKEN {
        let Some((venue, messages)) = messages(&[name]) else { return };
        let (engine, batch) = run(venue, &messages);
        assert_eq!(tally(&engine, Oracle::KrakenBookChecksum), (count, 0), "{name}");
        assert_eq!(engine.counters().gaps, 0, "{name}");
        assert_sound(&engine, &batch);
        let (bids, asks) = engine.book(InstrumentId::new(venue, 0)).unwrap().book.counts();
        assert!(bids <= depth && asks <= depth, "{name}: {bids} and {asks} levels");
    }
}

const KRAKEN_V1: [&str; 4] = [
    "kraken-v1/multi-20210417.assetpairs.log.zst",
    "kraken-v1/multi-20210417.book1000.log.zst",
    "kraken-v1/multi-20210417.ticker.log.zst",
    "kraken-v1/multi-20210417.trade.log.zst",
];

#[test]
fn kraken_v1_checksums_hold_for_every_book_update_whichever_file_comes_first() {
    let orders: [&[usize]; 3] = [&[1], &[0, 1, 2, 3], &[3, 2, 1, 0]];
    for order in orders {
        let names: Vec<_> = order.iter().map(|&index| KRAKEN_V1[index]).collect();
        let Some((venue, messages)) = messages(&names) else { return };
        assert_eq!(venue, Venue::KrakenV1);
        let (engine, batch) = run(venue, &messages);
        assert_eq!(tally(&engine, Oracle::KrakenV1BookChecksum), (4_269, 0), "{names:?}");
        let counters = engine.counters();
        // Ten snapshots, each proven by the first update behind it and published with that.
        assert_eq!((counters.snapshots_applied, counters.depth_messages), (10, 4_269));
        assert_eq!((counters.gaps, counters.snapshots_refused, counters.updates_unused), (0, 0, 0));
        assert_eq!((counters.unknown, counters.refused, counters.precision_changes), (0, 0, 0));
        assert_eq!(engine.instruments().count(), 10);
        assert!(engine.instruments().any(|(_, symbol)| symbol == b"BTC/CHF"));
        for (id, _) in engine.instruments() {
            let (bids, asks) = engine.book(id).unwrap().book.counts();
            assert!(bids <= 1_000 && asks <= 1_000, "{bids} and {asks} levels");
        }
        assert_sound(&engine, &batch);
        if order.len() == 4 {
            assert_eq!((batch.trades.len() as u64, counters.trades), (10, 10));
            let sent = batch.quotes.iter().filter(|quote| quote.flags & FLAG_DERIVED == 0).count();
            assert_eq!((sent, counters.quotes), (18, 18));
            assert_eq!(counters.heartbeats, 31 + 31 + 30);
            // Steps from AssetPairs: ADA/XBT prints nine decimals where eight are valid.
            let steps: BTreeMap<_, _> = batch
                .instruments
                .iter()
                .map(|found| (found.instrument_id, (found.price_exp, found.size_exp, found.tick, found.lot)))
                .collect();
            let of = |name: &[u8]| {
                let (id, _) = engine.instruments().find(|(_, symbol)| *symbol == name).unwrap();
                steps[&id.get()]
            };
            assert_eq!((of(b"ADA/BTC"), of(b"BTC/CHF")), ((9, 8, 10, 1), (5, 8, 10_000, 1)));
        }
    }
}

#[test]
fn kraken_rest_trades_make_the_venue_s_own_minute_bars() {
    for names in [
        ["kraken-rest/xbtusdt-trades-20251110.json.zst", "kraken-rest/xbtusdt-ohlc-20251110.json.zst"],
        ["kraken-rest/xbtusdt-ohlc-20251110.json.zst", "kraken-rest/xbtusdt-trades-20251110.json.zst"],
    ] {
        let Some((venue, messages)) = messages(&names) else { return };
        let (engine, batch) = run(venue, &messages);
        assert_eq!(tally(&engine, Oracle::KrakenOhlc), (272, 0), "{names:?}");
        assert_eq!(tally(&engine, Oracle::KrakenTradeIds), (999, 0), "{names:?}");
        assert_eq!(batch.trades.len(), 1_000, "{names:?}");
        assert_eq!(engine.instruments().map(|(_, symbol)| symbol).collect::<Vec<_>>(), [b"BTC/USDT"], "{names:?}");
    }
}

#[test]
fn the_same_messages_give_the_same_records_and_the_same_state_hash() {
    let Some((venue, messages)) = messages(&BTCUSDT[..1]) else { return };
    let (one, first) = run(venue, &messages);
    let (other, second) = run(venue, &messages);
    assert_eq!(one.state_hash(), other.state_hash());
    assert!(first.depth == second.depth && first.bars == second.bars && first.quotes == second.quotes);
    let (shorter, _) = run(venue, &messages[..messages.len() - 1]);
    assert_ne!(one.state_hash(), shorter.state_hash());
}
