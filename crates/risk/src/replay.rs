//! Risk and matching together, in the one order that `orders` records.
//!
//! Each command says how many executions risk had seen when it judged. So a replay holds executions back until a command says that they had been
//! seen, and both state machines go through the same steps as when they ran on cores of their own.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;

use tidebook_journal::{State, StateError};
use tidebook_types::command::COMMAND_SIZE_BYTES;
use tidebook_types::execution::EXECUTION_SIZE_BYTES;
use tidebook_types::{Command, Execution, Matching, Reason, RiskEvent, Verdict};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::plain::{Input, Plain, mix};
use crate::risk::{Risk, RiskOptions};

/// Where a recheck differs from what is journaled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// Risk judges the command otherwise.
    #[error(
        "orders: command {sequence} is journaled with verdict {} and reason {}, and judged again it has verdict {} and reason {}",
        .journaled.head.verdict, .journaled.head.reason, .judged.head.verdict, .judged.head.reason
    )]
    Verdict {
        /// Which command.
        sequence: u64,
        /// As it is on `orders`.
        journaled: Box<Command>,
        /// As risk would have written it.
        judged: Box<Command>,
    },
    /// The command says that risk had seen executions that matching has not made by then.
    #[error("orders: command {sequence} was judged after execution {seen}, and by then there are {made}")]
    Executions {
        /// Which command.
        sequence: u64,
        /// What it says.
        seen: u64,
        /// What there is.
        made: u64,
    },
}

/// What is told while commands are applied, in the order it happened.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// By matching.
    Execution(&'a Execution),
    /// By risk, of a command or of an execution that it was shown.
    Event(&'a RiskEvent),
}

/// Risk and a matching engine behind one sequence of commands.
#[derive(Debug, Clone)]
pub struct Replay<M> {
    risk: Risk,
    matching: M,
    /// Executions that risk has not seen.
    unseen: VecDeque<Execution>,
    /// Last message of `orders.in` that a command of `orders` was; 0 before the first.
    source_sequence: u64,
    recheck: bool,
}

impl<M: Matching> Replay<M> {
    /// Of new states. With `recheck` every command is judged again and compared.
    pub fn new(options: RiskOptions, matching: M, recheck: bool) -> Self {
        let unseen = VecDeque::with_capacity(1024);
        Self { risk: Risk::new(options), matching, unseen, source_sequence: 0, recheck }
    }

    /// Of parts that went on apart after [`Self::into_parts`]; risk has seen every execution.
    pub const fn of_parts(risk: Risk, matching: M, source_sequence: u64) -> Self {
        Self { risk, matching, unseen: VecDeque::new(), source_sequence, recheck: false }
    }

    /// Risk and matching, to go on apart. Only when risk has seen every execution ([`Self::settle`]).
    ///
    /// # Panics
    /// When it has not.
    pub fn into_parts(self) -> (Risk, M) {
        assert!(self.unseen.is_empty(), "executions that risk has not seen would be lost");
        (self.risk, self.matching)
    }

    /// Last message of `orders.in` that a command of `orders` was; 0 before the first. Commands that came from nowhere else, timers
    /// and what a kill switch asks for, leave it.
    pub const fn source_sequence(&self) -> u64 {
        self.source_sequence
    }

    /// The one part.
    pub const fn risk(&self) -> &Risk {
        &self.risk
    }

    /// The other part.
    pub const fn matching(&self) -> &M {
        &self.matching
    }

    /// Whether commands are judged again from now on.
    pub const fn set_recheck(&mut self, recheck: bool) {
        self.recheck = recheck;
    }

    /// Takes in a command of `orders` as it is journaled.
    ///
    /// # Errors
    /// The first difference, if rechecking was asked for, or if the executions it speaks of do not exist. It is not used after it.
    pub fn apply_journaled(&mut self, sequence: u64, command: &Command) -> Result<(), Difference> {
        self.apply_journaled_telling(sequence, command, &mut |_| {})
    }

    /// As [`Self::apply_journaled`], and says what happened.
    ///
    /// # Errors
    /// As [`Self::apply_journaled`].
    pub fn apply_journaled_telling(
        &mut self,
        sequence: u64,
        command: &Command,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<(), Difference> {
        self.show_until(command.head.executions_seen, &mut |event| tell(Told::Event(event)));
        if self.recheck {
            let seen = command.head.executions_seen;
            if self.risk.executions_seen() != seen {
                let made = self.risk.executions_seen() + self.unseen.len() as u64;
                return Err(Difference::Executions { sequence, seen, made });
            }
            let mut again = *command;
            (again.head.verdict, again.head.reason, again.head.executions_seen) = (Verdict::None.code(), 0, 0);
            let refused = command.head.verdict == Verdict::Rejected.code();
            let reason = if refused { Reason::from_code(command.head.reason) } else { None };
            let decided = match reason {
                // When it was sent is not journaled.
                Some(Reason::Late) => self.risk.decide_late(&mut again),
                // Before 0 kept the size it was refused.
                Some(Reason::Size) if self.risk.keeps_size(&again) => self.risk.decide_as(&mut again, Reason::Size),
                _ => self.risk.decide_again(&mut again, command),
            };
            self.risk.take(sequence, &again, decided);
            if again != *command {
                let (journaled, judged) = (Box::new(*command), Box::new(again));
                return Err(Difference::Verdict { sequence, journaled, judged });
            }
        } else {
            self.risk.replay(sequence, command);
        }
        self.risk.events().iter().for_each(|event| tell(Told::Event(event)));
        self.source_sequence = self.source_sequence.max(command.head.source_sequence);
        let unseen = &mut self.unseen;
        self.matching.apply(sequence, command, &mut |execution| {
            unseen.push_back(*execution);
            tell(Told::Execution(execution));
        });
        Ok(())
    }

    /// Judges a command of `orders.in` and carries it out, both on one thread: risk has seen every execution before.
    ///
    /// What risk said of the command itself is in its [`Risk::events`] until the next call.
    pub fn submit(&mut self, sequence: u64, command: &mut Command, out: &mut dyn FnMut(&Execution)) -> Verdict {
        self.settle(&mut |_| {});
        let verdict = self.risk.judge(sequence, command);
        self.source_sequence = self.source_sequence.max(command.head.source_sequence);
        let unseen = &mut self.unseen;
        self.matching.apply(sequence, command, &mut |execution| {
            unseen.push_back(*execution);
            out(execution);
        });
        verdict
    }

    /// As [`Self::submit`] with [`Self::settle`] behind it: executions are appended to `out`, from where risk sees them at once.
    pub fn submit_settled(
        &mut self,
        sequence: u64,
        command: &mut Command,
        out: &mut Vec<Execution>,
        tell: &mut dyn FnMut(&RiskEvent),
    ) -> Verdict {
        self.settle(&mut |_| {});
        let verdict = self.risk.judge(sequence, command);
        self.risk.events().iter().for_each(&mut *tell);
        self.source_sequence = self.source_sequence.max(command.head.source_sequence);
        let begin = out.len();
        self.matching.apply(sequence, command, &mut |execution| out.push(*execution));
        for execution in &out[begin..] {
            self.risk.on_execution(execution);
            self.risk.events().iter().for_each(&mut *tell);
        }
        verdict
    }

    /// Shows risk every execution that it has not seen: what [`Self::submit`] begins with. Asked for before, so that queries see them.
    ///
    /// Not for who replays a journal: the next command of that may have been judged without them.
    pub fn settle(&mut self, tell: &mut dyn FnMut(&RiskEvent)) {
        self.show_until(u64::MAX, tell);
    }

    /// Shows risk the executions up to this one.
    #[inline]
    fn show_until(&mut self, last: u64, tell: &mut dyn FnMut(&RiskEvent)) {
        let mut shown = 0;
        for execution in self.unseen.iter().take_while(|execution| execution.sequence <= last) {
            self.risk.on_execution(execution);
            self.risk.events().iter().for_each(&mut *tell);
            shown += 1;
        }
        // Where nothing is left it begins at its beginning again, in memory that was just used.
        if shown == self.unseen.len() {
            self.unseen.clear();
        } else {
            self.unseen.drain(..shown);
        }
    }

    /// Whether risk has seen every execution.
    pub fn is_settled(&self) -> bool {
        self.unseen.is_empty()
    }

    /// Risk as it will be when it has seen every execution: a copy, where it has not.
    pub fn settled_risk(&self) -> Cow<'_, Risk> {
        if self.unseen.is_empty() {
            return Cow::Borrowed(&self.risk);
        }
        let mut risk = self.risk.clone();
        self.unseen.iter().for_each(|execution| risk.on_execution(execution));
        Cow::Owned(risk)
    }

    /// The hash of all of it, with those of its parts.
    fn whole(&self, risk: u64, matching: u64, unseen: u64) -> u64 {
        mix(mix(mix(risk, matching), unseen), self.source_sequence)
    }

    fn unseen_hash(&self) -> u64 {
        self.unseen.iter().fold(mix(12, self.unseen.len() as u64), |state, execution| {
            let mut bytes = [0; EXECUTION_SIZE_BYTES];
            bytes.copy_from_slice(execution.as_bytes());
            bytes.hash(state)
        })
    }
}

impl<M: Matching + State> Replay<M> {
    /// The state hash as it will be when risk has seen every execution: the same for who was told the same commands, live or from a
    /// journal. Copies risk where it has not.
    pub fn settled_state_hash(&self) -> u64 {
        self.whole(self.settled_risk().state_hash(), self.matching.state_hash(), mix(12, 0))
    }
}

/// What the matching engine's part begins at a multiple of.
const ALIGNMENT: usize = 4096;

/// The state of channel `orders`: its messages are the 128 bytes of commands.
impl<M: Matching + State> State for Replay<M> {
    fn kind(&self) -> &str {
        "orders"
    }

    fn version(&self) -> u32 {
        // Both parts have a say: neither has more than 65,535 versions.
        2 << 16 | self.matching.version() & 0xffff
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        let refused = |reason: String| StateError::Message { kind: "orders".to_owned(), sequence, reason };
        let command = Command::read_from_bytes(payload)
            .map_err(|_| refused(format!("{} bytes where a command has {COMMAND_SIZE_BYTES}", payload.len())))?;
        self.apply_journaled(sequence, &command).map_err(|difference| refused(difference.to_string()))
    }

    fn state_hash(&self) -> u64 {
        self.whole(self.risk.state_hash(), self.matching.state_hash(), self.unseen_hash())
    }

    fn recomputed_state_hash(&self) -> Option<u64> {
        let matching = self.matching.recomputed_state_hash()?;
        Some(self.whole(self.risk.recomputed_state_hash(), matching, self.unseen_hash()))
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut risk = Vec::new();
        self.risk.save(&mut risk);
        let mut bytes = Vec::with_capacity(risk.len() + ALIGNMENT);
        self.source_sequence.save(&mut bytes);
        (risk.len() as u64).save(&mut bytes);
        bytes.append(&mut risk);
        (self.unseen.len() as u64).save(&mut bytes);
        self.unseen.iter().for_each(|execution| bytes.extend_from_slice(execution.as_bytes()));
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        out.write_all(&bytes)?;
        self.matching.save(out)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let Parts { source_sequence, risk, unseen, matching } = Parts::of(bytes)?;
        self.source_sequence = source_sequence;
        self.risk.load(risk.1).map_err(|(offset, reason)| saved(risk.0 + offset, reason))?;
        self.unseen.extend(unseen);
        self.matching.load(matching)
    }
}

/// The parts of a saved pair.
struct Parts<'a> {
    source_sequence: u64,
    /// Where it begins, and its bytes.
    risk: (u64, &'a [u8]),
    unseen: Vec<Execution>,
    matching: &'a [u8],
}

fn saved(offset: u64, reason: &str) -> StateError {
    StateError::Saved { kind: "orders".to_owned(), offset, reason: reason.to_owned() }
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, StateError> {
        let mut input = Input::new(bytes);
        let head = |error: crate::plain::PlainError| saved(error.offset as u64, error.reason);
        let source_sequence = Plain::load(&mut input).map_err(head)?;
        let count = input.count().map_err(head)?;
        let risk = (input.offset() as u64, input.skip(count).map_err(head)?);
        let mut unseen = Vec::new();
        for _ in 0..input.count().map_err(head)? {
            let bytes: [u8; EXECUTION_SIZE_BYTES] = input.take().map_err(head)?;
            let mut execution = Execution::new_zeroed();
            execution.as_mut_bytes().copy_from_slice(&bytes);
            unseen.push(execution);
        }
        let padding = input.offset().next_multiple_of(ALIGNMENT) - input.offset();
        if input.skip(padding).map_err(head)?.iter().any(|byte| *byte != 0) {
            return Err(saved(input.offset() as u64, "bytes between both parts"));
        }
        Ok(Self { source_sequence, risk, unseen, matching: input.rest() })
    }
}

/// What the matching engine saved, in the bytes of a saved pair.
///
/// # Errors
/// Where they are none.
pub fn saved_matching(bytes: &[u8]) -> Result<&[u8], StateError> {
    Ok(Parts::of(bytes)?.matching)
}
