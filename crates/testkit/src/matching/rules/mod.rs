//! The page of rules as a suite that runs on any matching engine: its tables of cases as scenarios, its tables of combinations cell by cell.
//!
//! The tables of combinations are read from the page itself, so a cell that is changed there is a test that is changed here.

mod combinations;
mod page;

pub use combinations::{Combination, check_combinations, check_session_rows, check_time_in_force_table, combinations};
pub use page::{Table, tables};

use tidebook_types::command::{Command, CommandKind, Session};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

use super::script::{Scenario, play, scenarios};
use super::{MatchingEngine, NaiveOptions};

/// File and text of each section's scenarios.
pub const FILES: [(&str, &str); 11] = [
    ("fields", include_str!("fields.txt")),
    ("refusals", include_str!("refusals.txt")),
    ("continuous", include_str!("continuous.txt")),
    ("self_trade", include_str!("self_trade.txt")),
    ("replace", include_str!("replace.txt")),
    ("stops", include_str!("stops.txt")),
    ("pegs", include_str!("pegs.txt")),
    ("pairs", include_str!("pairs.txt")),
    ("sessions", include_str!("sessions.txt")),
    ("bands", include_str!("bands.txt")),
    ("time_and_fees", concat!(include_str!("time.txt"), include_str!("fees.txt"))),
];

/// All scenarios of all files.
pub fn all_scenarios() -> Vec<Scenario<'static>> {
    FILES.iter().flat_map(|(_, text)| scenarios(text)).collect()
}

/// Plays each scenario of a file.
///
/// # Panics
/// When an engine says or holds anything else than the scenario.
pub fn check_file<E: MatchingEngine>(file: &str, new: impl Fn(NaiveOptions) -> E) {
    let (_, text) = FILES.iter().find(|(name, _)| *name == file).expect("a file of the suite");
    for scenario in scenarios(text) {
        let (played, _) = play(&mut new(NaiveOptions::default()), &scenario.text);
        let heading = scenario.headings.join("; ");
        assert!(
            played.trim() == scenario.text.trim(),
            "{heading}\n---- expected\n{}\n---- happened\n{played}",
            scenario.text
        );
    }
}

/// A session an instrument is in, and how an open one comes there.
pub(crate) fn way_to(session: Session) -> &'static [Session] {
    match session {
        Session::Closed => &[Session::Closed],
        Session::PreOpen => &[Session::Closed, Session::PreOpen],
        Session::Auction => &[Session::Auction],
        Session::Continuous => &[],
        Session::Halted => &[Session::Halted],
    }
}

/// Plays the commands of a script, then these; what the last one gave.
fn after<E: MatchingEngine>(engine: &mut E, script: &str, commands: &[Command]) -> Vec<Execution> {
    let (_, _) = play(engine, script);
    let mut last = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        last = engine.apply(1000 + index as u64, command);
    }
    last
}

fn has(executions: &[Execution], kind: ExecutionKind, reason: Reason) -> bool {
    executions.iter().any(|e| e.kind == kind.code() && e.reason == reason.code())
}

/// Each cell of "from \ to": refused, or with what follows from it.
///
/// # Panics
/// When an engine does anything else than the cell.
pub fn check_session_table<E: MatchingEngine>(new: impl Fn(NaiveOptions) -> E) {
    let table = page::table("from \\ to");
    for row in &table.rows {
        for (name, cell) in table.header[1..].iter().zip(&row[1..]) {
            let (from, to) = (page::session(&row[0]), page::session(name));
            let mut engine = new(NaiveOptions::default());
            // Wherever that is possible orders that cross are collected first, and one for the day.
            let script = match from {
                Session::Closed => {
                    "operator session closed\noperator session pre-open\nann a buys 5 at 101\nbob b sells 5 at 100\noperator session closed"
                }
                Session::PreOpen => {
                    "operator session closed\noperator session pre-open\nann a buys 5 at 101\nbob b sells 5 at 100\ncyd d buys 1 at 50 day"
                }
                Session::Auction => {
                    "operator session auction\nann a buys 5 at 101\nbob b sells 5 at 100\ncyd d buys 1 at 50 day"
                }
                Session::Continuous => "ann a buys 5 at 100\nbob b sells 5 at 101\ncyd d buys 1 at 50 day",
                Session::Halted => {
                    "operator session auction\nann a buys 5 at 101\nbob b sells 5 at 100\ncyd d buys 1 at 50 day\noperator session halted"
                }
            };
            let said = after(&mut engine, script, &[combinations::session_command(to)]);
            let what = format!("{} to {name}: {cell}, but {said:?}", row[0]);
            let expected = (cell == "`SESSION`", cell.contains("uncross"), cell.contains("DAY expires"));
            let refused = has(&said, ExecutionKind::Rejected, Reason::Session);
            let uncrossed = has(&said, ExecutionKind::Uncrossed, Reason::None);
            let expired = has(&said, ExecutionKind::Cancelled, Reason::Expired);
            assert_eq!((refused, uncrossed, expired), expected, "{what}");
            assert!(refused || cell == "yes" || uncrossed || expired, "{what}");
            assert_eq!(engine.session(1), if refused { from } else { to }, "{what}");
            assert_eq!(has(&said, ExecutionKind::SessionChanged, Reason::None), !refused, "{what}");
        }
    }
}

/// `FULL`: of the venue's orders, instruments and accounts, and of sizes that might leave their type.
///
/// # Panics
/// When an engine takes more or fewer.
pub fn check_full<E: MatchingEngine>(new: impl Fn(NaiveOptions) -> E) {
    let options = NaiveOptions { orders_max: 2, instruments_max: 2, accounts_max: 5 };
    let script = "\
ann a buys 5 at 100
  accepted a: 5 at 100
ann b buys 5 at 99 or stop 110
  rejected FULL
ann c buys 5 stop 110
  accepted c: 5
bob d sells 5 market
  rejected FULL
bob e sells 5 at 120
  rejected FULL
ann cancels a
  cancelled a: 5, REQUESTED
bob f sells 5 at 120
  accepted f: 5 at 120
operator account nobody
  rejected FULL
operator instrument Z tick 1
  Z rejected FULL
operator instrument taker 7
  done
";
    assert_eq!(play(&mut new(options), script).0, script);
    let mut engine = new(NaiveOptions::default());
    let script = "operator instrument to 9007199254740991";
    after(&mut engine, script, &[]);
    let place = combinations::limit(1, tidebook_book::Side::Bid, 100, 1);
    let refused: Vec<u64> = (1..=514)
        .filter(|&index| has(&engine.apply(1000 + index, &place), ExecutionKind::Rejected, Reason::Full))
        .collect();
    assert_eq!(refused, [513, 514], "512 orders of 2^53 - 1 are below 2^62");
}

/// A command that risk rejected moves the time and does nothing else; what it made expire goes with the next.
///
/// # Panics
/// When an engine does more.
pub fn check_rejected_by_risk<E: MatchingEngine>(new: impl Fn(NaiveOptions) -> E) {
    let mut engine = new(NaiveOptions::default());
    after(&mut engine, "ann a buys 5 at 100 gtd 50", &[]);
    let mut rejected = combinations::limit(1, tidebook_book::Side::Ask, 100, 1).at(60);
    rejected.head.verdict = tidebook_types::command::Verdict::Rejected.code();
    assert_eq!(engine.apply(2000, &rejected), []);
    assert_eq!(engine.open_orders().len(), 1);
    let said = engine.apply(2001, &Command::bare(CommandKind::Timer, 0).at(55));
    assert_eq!((said.len(), said[0].ts), (1, 60), "{said:?}");
    assert!(has(&said, ExecutionKind::Cancelled, Reason::Expired));
}
