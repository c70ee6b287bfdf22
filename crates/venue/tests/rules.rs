//! Each row of the page of rules on the venue.

mod engine;

use engine::Engine;
use tidebook_testkit::matching::rules::{
    FILES, check_combinations, check_file, check_full, check_rejected_by_risk, check_session_rows, check_session_table,
    check_time_in_force_table,
};

#[test]
fn each_scenario_is_played_as_it_is_written() {
    for (file, _) in FILES {
        check_file(file, Engine::new);
    }
}

#[test]
fn each_cell_of_the_table_of_sessions_changes_or_refuses() {
    check_session_table(Engine::new);
}

#[test]
fn each_cell_of_order_types_and_times_in_force_holds() {
    check_time_in_force_table(Engine::new);
}

#[test]
fn each_cell_of_what_may_be_done_in_a_session_holds() {
    check_session_rows(Engine::new);
}

#[test]
fn each_order_type_time_in_force_session_and_self_trade_mode_together_is_taken_or_refused_as_the_page_says() {
    check_combinations(Engine::new);
}

#[test]
fn a_venue_takes_as_much_as_it_has_room_for() {
    check_full(Engine::new);
}

#[test]
fn a_command_that_risk_rejected_moves_the_time_alone() {
    check_rejected_by_risk(Engine::new);
}
