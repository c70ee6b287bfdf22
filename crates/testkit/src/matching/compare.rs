//! Two engines on the same stream: they must say the same after each command, and a stream on which they do not is shortened until nothing can go.

use std::fmt;

use tidebook_book::Side;
use tidebook_types::command::Command;

use super::{MatchingEngine, MatchingFlow, Mix};

/// After how many commands open orders and depth are compared too; executions are after each.
const STATE_EVERY: usize = 16;

/// How two engines differ.
pub struct Difference {
    /// Of the stream.
    pub seed: u64,
    /// Of the stream.
    pub mix: Mix,
    /// The shortest stream found on which they still do: sequence and command.
    pub commands: Vec<(u64, Command)>,
    /// What they say of its last command.
    pub told: String,
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} of {:?}; the shortest stream:", self.seed, self.mix)?;
        for (sequence, command) in &self.commands {
            writeln!(f, "  {sequence} {}", describe(command))?;
        }
        write!(f, "{}", self.told)
    }
}

/// A command with its body as what it is.
fn describe(command: &Command) -> String {
    use tidebook_types::command as c;
    let head = command.head;
    let kind = c::CommandKind::from_code(head.kind);
    let body = match kind {
        Some(c::CommandKind::Place) => format!("{:?}", command.body::<c::PlaceBody>()),
        Some(c::CommandKind::PlacePair) => format!("{:?}", command.body::<c::PlacePairBody>()),
        Some(c::CommandKind::Replace) => format!("{:?}", command.body::<c::ReplaceBody>()),
        Some(c::CommandKind::Cancel) => format!("order {}", command.body::<c::CancelBody>().order_id),
        Some(c::CommandKind::Session) => format!("session {}", command.body[0]),
        Some(c::CommandKind::Instrument) => format!("{:?}", command.body::<c::InstrumentBody>()),
        Some(c::CommandKind::Account) => format!("{:?}", command.body::<c::AccountBody>()),
        Some(c::CommandKind::CancelAllAfter) => format!("{}", command.body::<c::CancelAllAfterBody>().timeout_ns),
        Some(c::CommandKind::MassCancel) => format!("side {}", command.body[0] as i8),
        _ => format!("{:?}", &command.body[..16]),
    };
    let zeroes = [
        ", client_order_id: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
        ", reserved: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
    ];
    let body = zeroes.iter().fold(body, |body, zero| body.replace(zero, ""));
    let kind = kind.map_or_else(|| head.kind.to_string(), |kind| format!("{kind:?}"));
    format!(
        "ts {} account {} instrument {} verdict {} {kind} {body}",
        head.ts, head.account, head.instrument_id, head.verdict
    )
}

/// What they say differently after this command, if they do.
fn differ<A: MatchingEngine, B: MatchingEngine>(
    one: &mut A,
    other: &mut B,
    (sequence, command): &(u64, Command),
    with_state: bool,
) -> Option<String> {
    let (left, right) = (one.apply(*sequence, command), other.apply(*sequence, command));
    if left != right {
        let at = left.iter().zip(&right).position(|(left, right)| left != right).unwrap_or(left.len().min(right.len()));
        return Some(format!(
            "execution {at} of {} and {}:\n{:#?}\n{:#?}",
            left.len(),
            right.len(),
            left.get(at),
            right.get(at)
        ));
    }
    if !with_state {
        return None;
    }
    let (left, right) = (one.open_orders(), other.open_orders());
    if left != right {
        let at = left.iter().zip(&right).position(|(left, right)| left != right).unwrap_or(left.len().min(right.len()));
        return Some(format!(
            "open order {at} of {} and {}:\n{:#?}\n{:#?}",
            left.len(),
            right.len(),
            left.get(at),
            right.get(at)
        ));
    }
    for instrument_id in 1..=4 {
        let (left, right) = (one.session(instrument_id), other.session(instrument_id));
        if left != right {
            return Some(format!("session of {instrument_id}: {left:?} and {right:?}"));
        }
        for side in Side::BOTH {
            let (left, right) = (one.depth(instrument_id, side), other.depth(instrument_id, side));
            if left != right {
                return Some(format!("depth of {instrument_id} {side:?}:\n{left:?}\n{right:?}"));
            }
        }
    }
    None
}

/// Plays a whole stream on both, comparing the state after each command; where they differ.
fn first_difference<A: MatchingEngine, B: MatchingEngine>(
    new: &(impl Fn() -> A, impl Fn() -> B),
    commands: &[(u64, Command)],
) -> Option<(usize, String)> {
    let (mut one, mut other) = (new.0(), new.1());
    commands.iter().enumerate().find_map(|(index, command)| Some((index, differ(&mut one, &mut other, command, true)?)))
}

/// Runs `count` commands of a stream on both; `after` is asked after each, for what one of them must hold by itself.
///
/// # Errors
/// Where they differ: the shortest stream that still does.
pub fn compare<A: MatchingEngine, B: MatchingEngine>(
    seed: u64,
    mix: Mix,
    count: usize,
    new: (impl Fn() -> A, impl Fn() -> B),
    mut after: impl FnMut(&B),
) -> Result<(), Difference> {
    let mut flow = MatchingFlow::new(seed, mix);
    let (mut one, mut other) = (new.0(), new.1());
    let mut commands = Vec::with_capacity(count);
    for index in 0..count {
        let command = flow.next_command();
        commands.push(command);
        // The flow hears what the first engine says: it is told by a copy that sees every command once.
        let mut heard = Heard { engine: &mut one, said: Vec::new() };
        let with_state = index % STATE_EVERY == 0 || index + 1 == count;
        if differ(&mut heard, &mut other, &command, with_state).is_some() {
            let (commands, told) = shorten(&new, commands);
            return Err(Difference { seed, mix, commands, told });
        }
        flow.observe(&heard.said);
        after(&other);
    }
    Ok(())
}

/// Keeps what an engine said.
struct Heard<'a, A> {
    engine: &'a mut A,
    said: Vec<tidebook_types::execution::Execution>,
}

impl<A: MatchingEngine> MatchingEngine for Heard<'_, A> {
    fn apply(&mut self, sequence: u64, command: &Command) -> Vec<tidebook_types::execution::Execution> {
        self.said = self.engine.apply(sequence, command);
        self.said.clone()
    }

    fn open_orders(&self) -> Vec<super::OpenOrder> {
        self.engine.open_orders()
    }

    fn depth(&self, instrument_id: u32, side: Side) -> Vec<(i64, i64)> {
        self.engine.depth(instrument_id, side)
    }

    fn session(&self, instrument_id: u32) -> tidebook_types::command::Session {
        self.engine.session(instrument_id)
    }
}

/// Removes commands, many at a time first, as long as the engines differ without them.
fn shorten<A: MatchingEngine, B: MatchingEngine>(
    new: &(impl Fn() -> A, impl Fn() -> B),
    mut commands: Vec<(u64, Command)>,
) -> (Vec<(u64, Command)>, String) {
    let Some((index, mut told)) = first_difference(new, &commands) else {
        return (commands, "they do not differ any more when the stream is played again".to_owned());
    };
    commands.truncate(index + 1);
    let mut step = commands.len().div_ceil(2);
    loop {
        let mut at = 0;
        let before = commands.len();
        while at < commands.len() {
            let mut fewer = commands.clone();
            fewer.drain(at..(at + step).min(commands.len()));
            match first_difference(new, &fewer) {
                Some((index, now)) => {
                    fewer.truncate(index + 1);
                    (commands, told) = (fewer, now);
                }
                None => at += step,
            }
        }
        if step == 1 && commands.len() == before {
            return (commands, told);
        }
        step = (step / 2).max(1);
    }
}
