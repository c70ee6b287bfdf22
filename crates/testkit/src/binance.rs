//! A seeded Binance feed, of spot or futures, that is right by construction: a book, and the messages a venue would send
//! about it.
//!
//! Each step changes a few levels near the touch; every change of the top gives a bookTicker with its update id, then
//! one depth message carries the net changes of the step in price order. Trades and REST snapshots are strewn in. On
//! futures other instruments take update ids too, and some bookTickers come behind the depth message.

use std::collections::BTreeMap;

use tidebook_types::{MessageKind, format_units};

use crate::Random;

/// What a flow looks like.
#[derive(Debug, Clone, Copy)]
pub struct BinanceFlow {
    /// Fixes everything else.
    pub seed: u64,
    /// Depth messages.
    pub steps: usize,
    /// Level changes of a step, at most.
    pub changes_max: u64,
    /// Levels a side at the start.
    pub levels: i64,
    /// Steps from one REST snapshot to the next; the first comes after three.
    pub snapshot_every: usize,
    /// Messages of USD-M futures instead of spot.
    pub futures: bool,
}

/// One message: kind, receive time, request target, body.
pub type FlowMessage = (MessageKind, i64, String, String);

const SYMBOL: &str = "BTCUSDT";
const START_MS: i64 = 1_723_161_600_000;
/// One price step, in units of 10^-8.
const TICK: i64 = 1_000_000;

/// Both sides by price in ticks; asks under their price, bids under its negative, so that the best is always first.
#[derive(Default)]
struct Truth([BTreeMap<i64, i64>; 2]);

impl Truth {
    fn top(&self) -> [(i64, i64); 2] {
        [0, 1].map(|side| self.0[side].first_key_value().map_or((0, 0), |(&key, &size)| (key.abs(), size)))
    }
}

fn decimal(ticks: i64) -> String {
    format_units(ticks * TICK, 8)
}

impl BinanceFlow {
    /// Sizes are multiples of 1,000 units; futures count in thousandths.
    fn size(&self, units: i64) -> String {
        if self.futures { format_units(units / 1_000, 3) } else { format_units(units, 8) }
    }

    fn array(&self, levels: impl Iterator<Item = (i64, i64)>) -> String {
        let levels: Vec<_> =
            levels.map(|(key, units)| format!("[\"{}\",\"{}\"]", decimal(key.abs()), self.size(units))).collect();
        format!("[{}]", levels.join(","))
    }

    /// All messages of the flow.
    pub fn messages(&self) -> Vec<FlowMessage> {
        let mut random = Random::new(self.seed);
        let mut out = Vec::new();
        let mut truth = Truth::default();
        let mut middle: i64 = 6_180_000;
        for distance in 1..=self.levels {
            truth.0[0].insert(-(middle - distance), 100_000 * (1 + random.below(900)) as i64);
            truth.0[1].insert(middle + distance, 100_000 * (1 + random.below(900)) as i64);
        }
        let mut update_id: u64 = 50_000_000_000;
        let mut trade_id: u64 = 3_700_000_000;
        for step in 0..self.steps {
            let now_ms = START_MS + 100 * step as i64;
            let message = |delay_us: i64, kind, target: String, body| -> FlowMessage {
                (kind, (now_ms * 1_000 + delay_us) * 1_000, target, body)
            };
            let previous = update_id;
            if self.futures {
                update_id += random.below(50);
            }
            let first = update_id + 1;
            let times = format!("\"T\":{},\"E\":{now_ms}", now_ms - 3);
            let mut changed: [BTreeMap<i64, i64>; 2] = Default::default();
            // A drifting middle: levels that would cross it are taken away first, as trades would.
            middle += random.below(3) as i64 - 1;
            let count = 1 + random.below(self.changes_max);
            for change in 0..count {
                let before = truth.top();
                let side = random.index(2);
                let distance = 1 + (random.below(40) * random.below(40) / 20) as i64;
                let key = if side == 0 { distance - middle } else { middle + distance };
                let units = if random.below(10) < 4 { 0 } else { 1_000 * (1 + random.below(500_000)) as i64 };
                let crossing: Vec<i64> = (0..2)
                    .flat_map(|side| {
                        let edge = if side == 0 { -middle } else { middle };
                        truth.0[side].range(..=edge).map(|(&key, _)| key).collect::<Vec<_>>()
                    })
                    .collect();
                for key in crossing {
                    let side = usize::from(key > 0);
                    truth.0[side].remove(&key);
                    changed[side].insert(key, 0);
                }
                if units == 0 {
                    truth.0[side].remove(&key);
                } else {
                    truth.0[side].insert(key, units);
                }
                changed[side].insert(key, units);
                update_id += 1;
                let [bid, ask] = truth.top();
                if [bid, ask] != before {
                    let (b, bs, a, asz) = (decimal(bid.0), self.size(bid.1), decimal(ask.0), self.size(ask.1));
                    let top = format!(
                        "\"u\":{update_id},\"s\":\"{SYMBOL}\",\"b\":\"{b}\",\"B\":\"{bs}\",\"a\":\"{a}\",\"A\":\"{asz}\""
                    );
                    let data = if self.futures { format!("\"e\":\"bookTicker\",{top},{times}") } else { top };
                    let body = format!("{{\"stream\":\"btcusdt@bookTicker\",\"data\":{{{data}}}}}");
                    out.push(message(change as i64, MessageKind::Ws, String::new(), body));
                }
                if random.below(5) == 0 {
                    trade_id += 1;
                    let (price, maker) = if side == 0 { (bid.0, true) } else { (ask.0, false) };
                    let data = format!(
                        "{{\"e\":\"trade\",\"E\":{now_ms},\"s\":\"{SYMBOL}\",\"t\":{trade_id},\"p\":\"{}\",\"q\":\"{}\",\"T\":{now_ms},\"m\":{maker},\"M\":true}}",
                        decimal(price),
                        self.size(1_000 * (1 + random.below(1_000)) as i64),
                    );
                    out.push(message(
                        change as i64,
                        MessageKind::Ws,
                        String::new(),
                        format!("{{\"stream\":\"btcusdt@trade\",\"data\":{data}}}"),
                    ));
                }
            }
            let (event, chain) = if self.futures {
                (times, format!(",\"pu\":{previous}"))
            } else {
                (format!("\"E\":{now_ms}"), String::new())
            };
            let data = format!(
                "{{\"e\":\"depthUpdate\",{event},\"s\":\"{SYMBOL}\",\"U\":{first},\"u\":{update_id}{chain},\"b\":{},\"a\":{}}}",
                self.array(changed[0].iter().map(|(&key, &units)| (key, units))),
                self.array(changed[1].iter().map(|(&key, &units)| (key, units))),
            );
            let body = format!("{{\"stream\":\"btcusdt@depth@100ms\",\"data\":{data}}}");
            out.push(message(90_000, MessageKind::Ws, String::new(), body));
            if self.futures && random.below(3) == 0 {
                // The last message of the step, if it is a bookTicker, comes behind the depth message.
                let depth = out.len() - 1;
                if depth > 0 && out[depth - 1].3.contains("@bookTicker") {
                    let (early, late) = (out[depth - 1].1, out[depth].1);
                    out.swap(depth - 1, depth);
                    (out[depth - 1].1, out[depth].1) = (early, late);
                }
            }
            if step == 3 || (step > 3 && step % self.snapshot_every == 0) {
                let body = format!(
                    "{{\"lastUpdateId\":{update_id},\"bids\":{},\"asks\":{}}}",
                    self.array(truth.0[0].iter().map(|(&key, &units)| (key, units))),
                    self.array(truth.0[1].iter().map(|(&key, &units)| (key, units))),
                );
                out.push(message(95_000, MessageKind::Rest, format!("/api/v3/depth?symbol={SYMBOL}&limit=5000"), body));
            }
        }
        out
    }
}
