//! Once warm, judging and taking in executions allocates nothing: counted, not believed.

mod common;
#[path = "common/flow.rs"]
mod flow;

use common::{Desk, Fast, options};
use flow::Flow;
use tidebook_risk::Risk;
use tidebook_testkit::{Counted, allocations};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Method: commands and executions of every kind are recorded, then given to a new risk; the second half is counted.
#[test]
fn a_warm_risk_allocates_nothing() {
    let mut flow = Flow::new(900, 20);
    let mut desk = Desk::new(Fast(Risk::new(options())));
    let mut commands = flow.opening();
    commands.reverse();
    let mut steps = Vec::new();
    for _ in 0..6_000 {
        flow.sent = desk.sequence;
        let command = desk.risk.0.follow_up().or_else(|| commands.pop()).unwrap_or_else(|| flow.next());
        desk.send(command);
        steps.push((command, desk.show(usize::MAX)));
    }
    let mut risk = Risk::new(options());
    let mut counted = 0;
    for (index, (command, executions)) in steps.iter().enumerate() {
        let allocated = allocations(|| {
            let mut command = *command;
            risk.judge(index as u64 + 1, &mut command);
            executions.iter().for_each(|execution| risk.on_execution(execution));
        });
        if index > steps.len() / 2 {
            counted += allocated;
        }
    }
    assert_eq!(risk.state_hash(), desk.risk.0.state_hash());
    assert_eq!(counted, 0, "allocations in {} commands", steps.len() / 2);
}
