//! The streams of commands that engines are compared on: that they do much of everything, and that a difference is found and made short.

use std::collections::BTreeSet;

use tidebook_book::Side;
use tidebook_testkit::matching::{Audit, MatchingEngine, MatchingFlow, Mix, NaiveVenue, OpenOrder, compare};
use tidebook_types::command::{Command, Session};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

/// Plays a stream; what was said in all.
fn play(seed: u64, mix: Mix, count: usize) -> Vec<Execution> {
    let (mut flow, mut engine) = (MatchingFlow::new(seed, mix), NaiveVenue::default());
    let mut all = Vec::new();
    for _ in 0..count {
        let (sequence, command) = flow.next_command();
        let said = engine.apply(sequence, &command);
        flow.observe(&said);
        all.extend(said);
    }
    all
}

#[test]
fn a_stream_is_the_same_for_the_same_seed() {
    for mix in Mix::ALL {
        assert!(play(7, mix, 300) == play(7, mix, 300), "{mix:?}");
        assert!(play(7, mix, 300) != play(8, mix, 300), "{mix:?}");
    }
}

#[test]
fn every_stream_trades_and_all_together_leave_out_no_kind_and_no_reason_of_matching() {
    let left_to_others = |reason: &Reason| {
        matches!(reason, Reason::Full | Reason::Late) || (Reason::Killed..Reason::Operator).contains(reason)
    };
    let mut reasons: BTreeSet<Reason> = Reason::ALL.iter().copied().filter(|r| !left_to_others(r)).collect();
    let mut kinds: BTreeSet<ExecutionKind> = ExecutionKind::ALL.iter().copied().collect();
    for mix in Mix::ALL {
        let mut fills = 0;
        for seed in 0..5 {
            for execution in play(seed, mix, 1_000) {
                let kind = ExecutionKind::from_code(execution.kind).unwrap();
                fills += usize::from(kind == ExecutionKind::Fill);
                kinds.remove(&kind);
                reasons.remove(&Reason::from_code(execution.reason).unwrap());
            }
        }
        assert!(fills > 200, "{mix:?}: {fills} fills of 5,000 commands");
    }
    assert_eq!((kinds, reasons), (BTreeSet::new(), BTreeSet::new()));
}

#[test]
fn sizes_fees_numbers_queues_and_books_add_up_on_the_naive_engine() {
    let mut fills = 0;
    for mix in Mix::ALL {
        for seed in 0..3 {
            let (mut flow, mut engine) = (MatchingFlow::new(seed, mix), NaiveVenue::default());
            let mut audit = Audit::default();
            for _ in 0..1_000 {
                let (sequence, command) = flow.next_command();
                let said = engine.apply(sequence, &command);
                audit.check(sequence, &command, &said, &engine);
                flow.observe(&said);
            }
            fills += audit.fills;
        }
    }
    assert!(fills > 3_000, "{fills} fills were looked at");
}

/// An engine that says of a self-trade that nothing was left of the resting order.
struct Forgetful(NaiveVenue);

impl MatchingEngine for Forgetful {
    fn apply(&mut self, sequence: u64, command: &Command) -> Vec<Execution> {
        let mut said = self.0.apply(sequence, command);
        for execution in said.iter_mut().filter(|execution| execution.kind == ExecutionKind::Reduced.code()) {
            execution.remaining = 0;
        }
        said
    }

    fn open_orders(&self) -> Vec<OpenOrder> {
        self.0.open_orders()
    }

    fn depth(&self, instrument_id: u32, side: Side) -> Vec<(i64, i64)> {
        self.0.depth(instrument_id, side)
    }

    fn session(&self, instrument_id: u32) -> Session {
        self.0.session(instrument_id)
    }
}

#[test]
fn a_difference_is_found_and_its_stream_made_as_short_as_it_can_be() {
    compare(1, Mix::Owners, 500, (NaiveVenue::default, NaiveVenue::default), |_| {}).unwrap();
    let found = compare(1, Mix::Owners, 2_000, (NaiveVenue::default, || Forgetful(NaiveVenue::default())), |_| {});
    let difference = found.expect_err("they say different things of a decrement");
    // An instrument, its session, one or two accounts, two orders and what makes them meet.
    assert!((5..=8).contains(&difference.commands.len()), "{difference:?}");
    assert!(format!("{difference:?}").contains("seed 1 of Owners"));
}
