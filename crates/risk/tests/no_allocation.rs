//! Once warm, judging and taking in executions allocates nothing: counted, not believed.

mod common;
#[path = "common/flow.rs"]
mod flow;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Desk, Fast, options};
use flow::Flow;
use tidebook_risk::Risk;

struct Counting;

thread_local! {
    // Constant and without a destructor, so that reading it allocates nothing itself.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
        let before = ALLOCATIONS.get();
        let mut command = *command;
        risk.judge(index as u64 + 1, &mut command);
        executions.iter().for_each(|execution| risk.on_execution(execution));
        if index > steps.len() / 2 {
            counted += ALLOCATIONS.get() - before;
        }
    }
    assert_eq!(risk.state_hash(), desk.risk.0.state_hash());
    assert_eq!(counted, 0, "allocations in {} commands", steps.len() / 2);
}
