//! The fast engine and the naive one, which was written from `docs/matching.md` alone, on the same seeded streams: they say the same after each
//! command, field by field, and hold the same orders. Then what must hold of the fast one by itself.

mod engine;

use std::ops::Range;

use engine::Engine;
use tidebook_testkit::matching::rules::combinations;
use tidebook_testkit::matching::{Audit, MatchingEngine, MatchingFlow, Mix, NaiveOptions, NaiveVenue, compare};

/// Commands of a stream: a fault is seldom deep, and a short stream is made shorter soon.
const STREAM: usize = 2_000;

/// Every fourth stream has room for few orders.
const fn options(seed: u64) -> NaiveOptions {
    NaiveOptions { orders_max: if seed % 4 == 3 { 40 } else { 10_000 }, instruments_max: 8, accounts_max: 16 }
}

/// One stream of each mix for each seed; how many commands it was.
fn compare_streams(seeds: Range<u64>, checks_hash: bool) -> usize {
    let mut commands = 0;
    for seed in seeds {
        for mix in Mix::ALL {
            let fast = || Engine { checks_hash, ..Engine::new(options(seed)) };
            compare(seed, mix, STREAM, (|| NaiveVenue::new(options(seed)), fast), |_| {})
                .unwrap_or_else(|difference| panic!("{difference:?}"));
            commands += STREAM;
        }
    }
    commands
}

#[test]
fn both_engines_say_the_same_of_two_million_commands_and_hold_the_same_orders() {
    assert!(compare_streams(0..100, false) >= 2_000_000);
}

#[test]
fn the_hash_kept_is_that_of_the_state_after_each_command_of_any_stream() {
    compare_streams(1_000..1_005, true);
}

#[test]
#[ignore = "soak: a hundred million commands, some minutes in release"]
fn both_engines_say_the_same_of_a_hundred_million_commands() {
    let halves =
        [10_000..12_500, 20_000..22_500].map(|seeds| std::thread::spawn(move || compare_streams(seeds, false)));
    let commands: usize = halves.into_iter().map(|half| half.join().expect("they say the same")).sum();
    assert!(commands >= 100_000_000);
}

#[test]
fn both_engines_say_the_same_of_each_order_type_time_in_force_session_and_self_trade_mode_together() {
    for combination in combinations() {
        let mut fast = Engine::new(NaiveOptions::default());
        let mut naive = NaiveVenue::default();
        for (index, command) in combination.commands.iter().enumerate() {
            let sequence = index as u64 + 1;
            assert_eq!(fast.apply(sequence, command), naive.apply(sequence, command), "{}: {index}", combination.name);
            assert_eq!(fast.open_orders(), naive.open_orders(), "{}: {index}", combination.name);
        }
    }
}

#[test]
fn sizes_fees_numbers_queues_and_books_add_up_whatever_comes() {
    let mut fills = 0;
    for seed in 2_000..2_010 {
        for mix in Mix::ALL {
            let (mut flow, mut fast) = (MatchingFlow::new(seed, mix), Engine::new(options(seed)));
            let mut audit = Audit::default();
            for _ in 0..STREAM {
                let (sequence, command) = flow.next_command();
                let said = fast.apply(sequence, &command);
                audit.check(sequence, &command, &said, &fast);
                flow.observe(&said);
            }
            fills += audit.fills;
        }
    }
    assert!(fills > 20_000, "{fills} fills were looked at");
}
