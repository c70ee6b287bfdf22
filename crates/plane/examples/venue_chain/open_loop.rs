//! An open loop: commands are sent when they are due, whatever became of those before, and each counts from when it was due.

use std::time::{Duration, Instant};

use tidebook_ring::{Consumer, Producer, Read, Written};
use zerocopy::IntoBytes;

use crate::market::order;
use crate::stalls::Stalls;

/// How fast, how many.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub per_s: u64,
    pub count: u64,
}

impl Pace {
    /// When the command of this index is due, ns from the beginning.
    pub const fn due_ns(self, index: u64) -> u64 {
        (index as u128 * 1_000_000_000 / self.per_s as u128) as u64
    }
}

/// What a round gave.
#[derive(Debug)]
pub struct Round {
    /// ns from due to read, of each command in its order.
    took_ns: Vec<u64>,
    /// As [`Stalls::told`].
    stalls: String,
}

impl Round {
    /// One line of JSON; the first tenth of the round is left out, which fills caches and wakes who slept.
    pub fn told(&self, chain: &str) -> String {
        let sorted = sorted(self.took_ns[self.took_ns.len() / 10..].to_vec());
        let [p50, p99, p999, max] = [500, 990, 999, 1000].map(|per_mille| quantile(&sorted, per_mille));
        let stalls = &self.stalls;
        format!(r#"{{"chain":"{chain}","p50_ns":{p50},"p99_ns":{p99},"p999_ns":{p999},"max_ns":{max},{stalls}}}"#)
    }
}

pub fn sorted(mut values: Vec<u64>) -> Vec<u64> {
    values.sort_unstable();
    values
}

pub fn quantile(sorted: &[u64], per_mille: usize) -> u64 {
    sorted[(sorted.len() * per_mille / 1000).min(sorted.len() - 1)]
}

/// Sends at `pace` and reads what comes until the last command has come back. `index_of` says which command of the round a message is the
/// first answer to.
pub fn open_loop(
    producer: &mut Producer,
    consumer: &mut Consumer,
    pace: Pace,
    mut index_of: impl FnMut(u64, &[u8]) -> Option<u64>,
) -> Round {
    let mut took_ns = vec![0; pace.count as usize];
    let (mut sent, mut read) = (0, 0);
    let mut stalls = Stalls::begin();
    let began = Instant::now();
    while read < pace.count {
        let now = began.elapsed().as_nanos() as u64;
        stalls.turn(now);
        while sent < pace.count && pace.due_ns(sent) <= now {
            // One that finds no room waits like the others behind it: its time has begun.
            let written = producer.write_within(order(sent).as_bytes(), Duration::ZERO).expect("a write");
            if !matches!(written, Written::At(_)) {
                break;
            }
            sent += 1;
        }
        let found = consumer.read(64, |sequence, payload| {
            if let Some(index) = index_of(sequence, payload) {
                let now = began.elapsed().as_nanos() as u64;
                took_ns[index as usize] = now.saturating_sub(pace.due_ns(index));
                read += 1;
            }
        });
        // Less is under way than the ring has slots.
        assert!(matches!(found, Ok(Read::Messages(_))), "{found:?}");
        consumer.commit();
    }
    Round { took_ns, stalls: stalls.told() }
}
