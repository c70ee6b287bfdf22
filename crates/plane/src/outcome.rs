//! What became of one command: the few facts that whoever sent it asks for first.

use tidebook_types::{Command, CommandKind, Execution, ExecutionKind, Verdict};

/// Of one command, behind its executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Sequence of the command.
    pub sequence: u64,
    /// The order it placed or names; 0 where it has none, or none was placed.
    pub order_id: u64,
    /// Why it was refused, by risk or by the venue; 0 where it was carried out.
    pub reason: u8,
    /// What of the order was filled by this command.
    pub filled: i64,
    /// What is left of the order.
    pub remaining: i64,
}

impl Outcome {
    /// Of `command` as it was judged, and the executions since it was given.
    pub fn of(sequence: u64, command: &Command, executions: &[Execution]) -> Self {
        let mut outcome = Self { sequence, ..Self::default() };
        if command.head.verdict == Verdict::Rejected.code() {
            outcome.reason = command.head.reason;
            return outcome;
        }
        let places =
            matches!(CommandKind::from_code(command.head.kind), Some(CommandKind::Place | CommandKind::PlacePair));
        outcome.order_id = match CommandKind::from_code(command.head.kind) {
            Some(CommandKind::Place | CommandKind::PlacePair) => sequence * 2,
            Some(CommandKind::Replace | CommandKind::Cancel) => {
                command.body::<tidebook_types::command::CancelBody>().order_id
            }
            _ => 0,
        };
        for execution in executions.iter().filter(|execution| execution.source_sequence == sequence) {
            match ExecutionKind::from_code(execution.kind) {
                Some(ExecutionKind::Rejected) => {
                    outcome.reason = execution.reason;
                    outcome.order_id = if places { 0 } else { outcome.order_id };
                }
                Some(ExecutionKind::Fill) if execution.order_id == outcome.order_id => {
                    outcome.filled += execution.size;
                    outcome.remaining = execution.remaining;
                }
                Some(ExecutionKind::Fill) if execution.contra_order_id == outcome.order_id => {
                    outcome.filled += execution.size;
                    outcome.remaining = execution.contra_remaining;
                }
                Some(_) if outcome.order_id != 0 && execution.order_id == outcome.order_id => {
                    outcome.remaining = execution.remaining;
                }
                _ => {}
            }
        }
        outcome
    }
}
