//! What must hold on recorded days of real venues.

mod common;

use std::collections::BTreeMap;

use common::{messages, run, tally};
use tidebook_book::{DepthBook, Side};
use tidebook_feed::{FeedEngine, Oracle, RecordBatch, StatusKind};
use tidebook_types::records::{ACTION_CLEAR, FLAG_BACKFILL, FLAG_DERIVED, FLAG_LAST, FLAG_UNPROVEN};
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

/// One instrument in files read one after the other: name, chain steps, comparisons, trade id steps, messages set apart.
struct Futures {
    names: &'static [&'static str],
    venue: Venue,
    instrument: &'static [u8],
    chain_steps: u64,
    comparisons: u64,
    trade_steps: u64,
    mark_prices: u64,
}

const FUTURES: [Futures; 3] = [
    // Each message behind the snapshot's id, but for those at the end for which no bookTicker came any more. The recording's
    // own count is one lower: it leaves out the message kept from before the snapshot.
    Futures {
        names: &["binance-usdm/btcusdt-20240808.log.zst"],
        venue: Venue::BinanceUsdm,
        instrument: b"BTCUSDT-PERP.BINANCE",
        chain_steps: 6_550,
        comparisons: 6_546,
        trade_steps: 21_312,
        mark_prices: 0,
    },
    Futures {
        names: &["binance-usdm/btcusdt-20230404.log.zst", "binance-usdm/btcusdt-20230405.log.zst"],
        venue: Venue::BinanceUsdm,
        instrument: b"BTCUSDT-PERP.BINANCE",
        chain_steps: 16_109,
        comparisons: 16_109,
        trade_steps: 12_934,
        mark_prices: 514,
    },
    Futures {
        names: &["binance-coinm/btcusd_perp-20240808.log.zst", "binance-coinm/btcusd_perp-20240809.log.zst"],
        venue: Venue::BinanceCoinm,
        instrument: b"BTCUSD-PERP.BINANCE",
        chain_steps: 44_794,
        comparisons: 44_770,
        trade_steps: 5_234,
        mark_prices: 0,
    },
];

#[test]
fn binance_futures_chain_ticker_and_trade_ids_hold() {
    for expected in FUTURES {
        let names = expected.names;
        let Some((venue, messages)) = messages(names) else { return };
        assert_eq!(venue, expected.venue, "{names:?}");
        let (engine, batch) = run(venue, &messages);
        assert_eq!(tally(&engine, Oracle::BinanceDepthChain), (expected.chain_steps, 0), "{names:?}");
        assert_eq!(tally(&engine, Oracle::BinanceBookTicker), (expected.comparisons, 0), "{names:?}");
        assert_eq!(tally(&engine, Oracle::BinanceTradeIds), (expected.trade_steps, 0), "{names:?}");
        let counters = engine.counters();
        assert_eq!((counters.snapshots_applied, counters.snapshots_refused), (1, 0), "{names:?}");
        assert_eq!((counters.gaps, counters.duplicates, counters.unknown), (0, 0, expected.mark_prices), "{names:?}");
        let told: Vec<_> = batch.status.iter().map(|status| StatusKind::from_code(status.kind).unwrap()).collect();
        // In 2023 the snapshot came before the first depth message, which then asks for none.
        assert!(told.ends_with(&[StatusKind::SnapshotApplied, StatusKind::BookUsable]), "{names:?}: {told:?}");
        assert!(told.len() == 2 || told[0] == StatusKind::SnapshotWanted && told.len() == 3, "{names:?}: {told:?}");
        assert_eq!(batch.instruments.len(), 1, "{names:?}");
        assert!(batch.instruments[0].symbol.starts_with(expected.instrument), "{names:?}");
        // Both the venue's quotes and the depth carry the matching engine's time.
        assert!(batch.quotes.iter().all(|quote| quote.ts_event > 1_680_000_000_000_000_000), "{names:?}");
        assert!(batch.depth.iter().all(|depth| depth.ts_event > 1_680_000_000_000_000_000), "{names:?}");
        assert_sound(&engine, &batch);
    }
}

#[test]
fn binance_captures_of_several_symbols_hold_their_chains() {
    const USDM: [&str; 2] = ["binance-usdm/multi-20210722.http.log.zst", "binance-usdm/multi-20210722.ws.log.zst"];
    const US: [&str; 2] = ["binance-us/multi-20211012.http.log.zst", "binance-us/multi-20211012.ws.log.zst"];
    for (names, venue, steps, instruments) in [
        (&["binance-spot/multi-20210404.log.zst"][..], Venue::Binance, 2_685, 3),
        (
            &["binance-spot/multi-20211012.http.log.zst", "binance-spot/multi-20211012.ws.log.zst"],
            Venue::Binance,
            173,
            4,
        ),
        (
            &["binance-spot/multi-20211012.ws.log.zst", "binance-spot/multi-20211012.http.log.zst"],
            Venue::Binance,
            173,
            4,
        ),
        (&USDM, Venue::BinanceUsdm, 760, 4),
        (&[USDM[1], USDM[0]], Venue::BinanceUsdm, 760, 4),
        (&US, Venue::BinanceUs, 332, 4),
        (&[US[1], US[0]], Venue::BinanceUs, 332, 4),
    ] {
        let Some((found, messages)) = messages(names) else { return };
        assert_eq!(found, venue, "{names:?}");
        let (engine, batch) = run(venue, &messages);
        assert_eq!(tally(&engine, Oracle::BinanceDepthChain), (steps, 0), "{names:?}");
        assert_eq!(tally(&engine, Oracle::BinanceBookTicker).1, 0, "{names:?}");
        assert_eq!(engine.counters().snapshots_applied, instruments, "{names:?}");
        assert_eq!(engine.counters().snapshots_refused, 0, "{names:?}");
        assert_eq!(engine.instruments().count() as u64, instruments, "{names:?}");
        assert_sound(&engine, &batch);
    }
}

#[test]
fn exchange_info_gives_instruments_their_steps_whether_it_comes_before_or_after_their_first_message() {
    let [http, ws, info] = ["http", "ws", "info"].map(|part| format!("binance-spot/multi-20211012.{part}.log.zst"));
    for names in [[&info, &http, &ws], [&http, &ws, &info]] {
        let names = names.map(String::as_str);
        let Some((venue, messages)) = messages(&names) else { return };
        let (engine, batch) = run(venue, &messages);
        assert_sound(&engine, &batch);
        assert_eq!(engine.instruments().count(), 4, "{names:?}");
        let mut steps: Vec<_> = engine
            .instruments()
            .map(|(id, symbol)| {
                let last = batch.instruments.iter().rfind(|record| record.instrument_id == id.get()).unwrap();
                assert_eq!((last.price_exp, last.size_exp), (8, 8));
                (symbol, last.tick, last.lot)
            })
            .collect();
        steps.sort_unstable();
        let expected: [(&[u8], i64, i64); 4] = [
            (b"BLZETH", 1, 100_000_000),
            (b"LRCBTC", 1, 100_000_000),
            (b"NKNUSDT", 10_000, 100_000_000),
            (b"RUNEEUR", 100_000, 10_000_000),
        ];
        assert_eq!(steps, expected, "{names:?}");
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

const COINBASE: [&str; 2] = ["coinbase-exchange/products-20210417.log.zst", "coinbase-exchange/multi-20210417.log.zst"];
const COINBASE_ADVANCED: [&str; 1] = ["coinbase-advanced/btcusd-ethusd-20260809.jsonl.zst"];

#[test]
fn coinbase_exchange_applies_every_update_and_agrees_with_the_ticker() {
    for names in [&COINBASE[1..], &COINBASE[..]] {
        let Some((venue, messages)) = messages(names) else { return };
        let (engine, batch) = run(venue, &messages);
        let counters = engine.counters();
        assert_eq!(venue, Venue::Coinbase);
        // The ten snapshots are depth messages too.
        assert_eq!((counters.depth_messages, counters.snapshots_applied, counters.updates_unused), (6_401, 10, 0));
        assert_eq!((counters.gaps, counters.duplicates, counters.unknown, counters.precision_changes), (0, 0, 0, 0));
        // The one is the ticker that came with the subscription: it is older than the book.
        assert_eq!(tally(&engine, Oracle::CoinbaseTicker), (36, 1));
        assert_eq!(tally(&engine, Oracle::CoinbaseTradeIds), (36, 0));
        assert_eq!(
            (counters.trades, counters.quotes, counters.acknowledged),
            (46, 46, 3 + u64::from(names.len() == 2))
        );
        assert_eq!(engine.instruments().count(), 10);
        // Nothing was crossed and nothing doubted: each book became usable once.
        let told = |kind: StatusKind| batch.status.iter().filter(|status| status.kind == kind as u8).count();
        assert_eq!((told(StatusKind::BookUsable), told(StatusKind::BookUnusable)), (10, 0));
        assert_sound(&engine, &batch);
    }
}

#[test]
fn coinbase_advanced_counts_every_message_of_the_session() {
    let Some((venue, messages)) = messages(&COINBASE_ADVANCED) else { return };
    let (engine, batch) = run(venue, &messages);
    let counters = engine.counters();
    assert_eq!(venue, Venue::CoinbaseAdvanced);
    assert_eq!(tally(&engine, Oracle::CoinbaseSequenceNum), (611, 0));
    assert_eq!(tally(&engine, Oracle::CoinbaseHeartbeats), (13, 0));
    assert_eq!(tally(&engine, Oracle::CoinbaseTradeIds), (255, 0));
    assert_eq!((counters.depth_messages, counters.depth_levels), (448, 46_000 + 23_334 + 2_633));
    assert_eq!((counters.snapshots_applied, counters.updates_unused, counters.unknown), (2, 0, 0));
    assert_eq!((counters.gaps, counters.duplicates, counters.precision_changes), (0, 0, 0));
    assert_eq!((counters.trades, counters.quotes, counters.heartbeats, counters.candles), (257, 99, 14, 202));
    let backfilled = batch.trades.iter().filter(|trade| trade.flags & FLAG_BACKFILL != 0).count();
    assert_eq!(backfilled, 200);
    let told = |kind: StatusKind| batch.status.iter().filter(|status| status.kind == kind as u8).count();
    assert_eq!((told(StatusKind::BookUsable), told(StatusKind::BookUnusable)), (2, 0));
    assert_sound(&engine, &batch);
}
