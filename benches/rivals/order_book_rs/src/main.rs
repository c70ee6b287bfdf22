//! orderbook-rs on a stream of orders: `tidebook-rival-order-book FILE` prints one line of JSON, as every peer of `benches/matching.py` does.
//!
//! A replace of which nothing keeps its place is a cancel and a new order under the old id; one that only shrinks is an update. As with ours, a first
//! pass sees what trades, a second has the clock.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use orderbook_rs::{OrderBook, TradeResult};
use pricelevel::{Id, OrderUpdate, Quantity, Side, TimeInForce};

const RECORD_SIZE_BYTES: usize = 32;

struct Record {
    kind: u8,
    sells: bool,
    order: u32,
    price: i64,
    size: i64,
    left: i64,
}

fn main() {
    let bytes = std::fs::read(std::env::args().nth(1).expect("a stream")).expect("a stream");
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    assert_eq!(&bytes[..8], b"tbflow1\n");
    let filling = word(&bytes[8..16]) as usize;
    let records: Vec<Record> = bytes[32..]
        .chunks_exact(RECORD_SIZE_BYTES)
        .map(|record| Record {
            kind: record[0],
            sells: record[1] == 1,
            order: word(&record[..8]).wrapping_shr(32) as u32,
            price: word(&record[8..16]) as i64,
            size: word(&record[16..24]) as i64,
            left: word(&record[24..]) as i64,
        })
        .collect();
    let trades = Arc::new(Mutex::new((0_u64, 0xcbf2_9ce4_8422_2325_u64)));
    let seen = trades.clone();
    go(&records, filling, move |result| {
        let mut seen = seen.lock().unwrap();
        for trade in result.match_result.trades().as_vec() {
            let number = |id| match id {
                Id::Sequential(number) => number,
                _ => unreachable!("ids are numbers"),
            };
            seen.0 += 1;
            for word in [
                number(trade.maker_order_id()),
                number(trade.taker_order_id()),
                trade.price().as_u128() as u64,
                trade.quantity().as_u64(),
            ] {
                seen.1 = (seen.1 ^ word).wrapping_mul(0x100_0000_01b3);
                seen.1 ^= seen.1 >> 32;
            }
        }
    });
    let seconds = go(&records, filling, |_| {});
    let commands = records.len() - filling;
    let (count, hash) = *trades.lock().unwrap();
    let per_s = commands as f64 / seconds;
    println!(r#"{{"commands":{commands},"per_s":{per_s:.0},"trades":{count},"trade_hash":"{hash:016x}"}}"#);
}

/// Seconds of the commands behind those that fill the book.
fn go(records: &[Record], filling: usize, listener: impl Fn(&TradeResult) + Send + Sync + 'static) -> f64 {
    let book: OrderBook<()> = OrderBook::with_trade_listener("TIDE", Arc::new(listener));
    // Side, price and size by order: what a cancel and a new one need.
    let mut known = vec![(Side::Buy, 0, 0); records.len() + 1];
    let mut start = Instant::now();
    for (index, record) in records.iter().enumerate() {
        if index == filling {
            start = Instant::now();
        }
        let id = Id::Sequential(u64::from(record.order));
        let place = |side, size: i64, time_in_force| {
            let _ = book.add_limit_order(id, record.price as u128, size as u64, side, time_in_force, None);
        };
        let side = if record.sells { Side::Sell } else { Side::Buy };
        match record.kind {
            1 => {
                known[record.order as usize] = (side, record.price, record.size);
                place(side, record.size, TimeInForce::Gtc);
            }
            2 => place(side, record.size, TimeInForce::Ioc),
            3 => place(side, record.size, TimeInForce::Fok),
            4 => drop(book.cancel_order(id)),
            _ => {
                let (side, price, size) = &mut known[record.order as usize];
                let keeps = *price == record.price && record.size <= *size;
                (*price, *size) = (record.price, record.size);
                if keeps {
                    let new_quantity = Quantity::new(record.left as u64);
                    let _ = book.update_order(OrderUpdate::UpdateQuantity { order_id: id, new_quantity });
                } else {
                    let _ = book.cancel_order(id);
                    if record.left > 0 {
                        place(*side, record.left, TimeInForce::Gtc);
                    }
                }
            }
        }
    }
    start.elapsed().as_secs_f64()
}
