//! The suite of the page of rules on the naive engine, and that it leaves out no row, reason or kind of the page.

use std::collections::BTreeSet;

use tidebook_testkit::matching::NaiveVenue;
use tidebook_testkit::matching::rules::{
    FILES, all_scenarios, check_combinations, check_file, check_full, check_rejected_by_risk, check_session_rows,
    check_session_table, check_time_in_force_table, tables,
};
use tidebook_testkit::matching::script::{play, reason_word};
use tidebook_types::execution::{ExecutionKind, Reason};

#[test]
fn each_scenario_is_played_as_it_is_written() {
    for (file, _) in FILES {
        check_file(file, NaiveVenue::new);
    }
}

#[test]
fn each_cell_of_the_table_of_sessions_changes_or_refuses() {
    check_session_table(NaiveVenue::new);
}

#[test]
fn each_cell_of_order_types_and_times_in_force_holds() {
    check_time_in_force_table(NaiveVenue::new);
}

#[test]
fn each_cell_of_what_may_be_done_in_a_session_holds() {
    check_session_rows(NaiveVenue::new);
}

#[test]
fn each_order_type_time_in_force_session_and_self_trade_mode_together_is_taken_or_refused_as_the_page_says() {
    check_combinations(NaiveVenue::new);
}

#[test]
fn a_venue_takes_as_much_as_it_has_room_for() {
    check_full(NaiveVenue::new);
}

#[test]
fn a_command_that_risk_rejected_moves_the_time_alone() {
    check_rejected_by_risk(NaiveVenue::new);
}

/// Tables of combinations are tests of their own; all others are scenarios headed by the row's first cell.
#[test]
fn each_row_of_each_table_of_cases_is_a_scenario() {
    let headings: BTreeSet<&str> = all_scenarios().into_iter().flat_map(|scenario| scenario.headings).collect();
    let mut missing = Vec::new();
    for table in tables() {
        if ["", "from \\ to"].contains(&table.header[0].as_str()) {
            continue;
        }
        let fok = table.header[0] == "its self-trade mode";
        for row in table.rows {
            let heading = if fok { format!("FOK: {}", row[0]) } else { row[0].clone() };
            if !headings.contains(heading.as_str()) {
                missing.push(heading);
            }
        }
    }
    assert!(missing.is_empty(), "rows without a scenario: {missing:#?}");
}

#[test]
fn each_reason_and_each_kind_of_execution_of_matching_occurs_in_a_scenario() {
    // FULL has a test of its own; LATE and those from `Killed` on are risk's, but for two.
    let elsewhere = |reason: &Reason| {
        matches!(reason, Reason::Full | Reason::Late) || (Reason::Killed..Reason::Operator).contains(reason)
    };
    let mut reasons: BTreeSet<Reason> = Reason::ALL.iter().copied().filter(|reason| !elsewhere(reason)).collect();
    let mut kinds: BTreeSet<ExecutionKind> = ExecutionKind::ALL.iter().copied().collect();
    for scenario in all_scenarios() {
        for execution in play(&mut NaiveVenue::default(), &scenario.text).1 {
            reasons.remove(&Reason::from_code(execution.reason).unwrap());
            kinds.remove(&ExecutionKind::from_code(execution.kind).unwrap());
        }
    }
    let reasons: Vec<String> = reasons.into_iter().map(reason_word).collect();
    assert_eq!((reasons, kinds), (Vec::new(), BTreeSet::new()));
}
