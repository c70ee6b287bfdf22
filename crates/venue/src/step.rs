//! One command being carried out: where its executions go, and how they are numbered.

use tidebook_types::{Execution, ExecutionKind, Reason};

use crate::shards::Phase;

pub(crate) struct Step<'a> {
    pub(crate) out: &'a mut dyn FnMut(&Execution),
    /// Sequence of the command on `orders`.
    pub(crate) source_sequence: u64,
    /// The venue's time.
    pub(crate) ts: i64,
    /// Executions of this command so far.
    pub(crate) source_index: u32,
    /// Executions ever.
    pub(crate) executions: u64,
    /// Where the command stands.
    pub(crate) phase: Phase,
    /// Within [`Phase::Expiry`], see [`crate::shards::turn`].
    pub(crate) turn: u64,
    /// The venue is a part: what it says is numbered when it is put in order with the rest.
    pub(crate) is_part: bool,
    /// It answers the command: the whole does, and of parts the one that has its instrument.
    pub(crate) answers: bool,
}

impl Step<'_> {
    /// Numbers an execution and hands it out.
    #[inline]
    pub(crate) fn say(&mut self, kind: ExecutionKind, reason: Reason, mut execution: Execution) {
        self.executions += 1;
        (execution.sequence, execution.source_index) =
            if self.is_part { (self.turn, self.phase as u32) } else { (self.executions, self.source_index) };
        execution.source_sequence = self.source_sequence;
        execution.ts = self.ts;
        execution.kind = kind.code();
        execution.reason = reason.code();
        self.source_index += 1;
        (self.out)(&execution);
    }
}
