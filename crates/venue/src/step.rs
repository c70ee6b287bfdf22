//! One command being carried out: where its executions go, and how they are numbered.

use tidebook_types::{Execution, ExecutionKind, Reason};

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
}

impl Step<'_> {
    /// Numbers an execution and hands it out.
    #[inline]
    pub(crate) fn say(&mut self, kind: ExecutionKind, reason: Reason, mut execution: Execution) {
        self.executions += 1;
        execution.sequence = self.executions;
        execution.source_sequence = self.source_sequence;
        execution.ts = self.ts;
        execution.source_index = self.source_index;
        execution.kind = kind.code();
        execution.reason = reason.code();
        self.source_index += 1;
        (self.out)(&execution);
    }
}
