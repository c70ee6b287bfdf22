//! Risk and the fast venue behind one sequence of commands: snapshots, and what a load goes on with.

mod common;
#[path = "common/flow.rs"]
mod flow;

use common::options;
use flow::Flow;
use tidebook_journal::State;
use tidebook_risk::{Difference, Replay, RiskOptions, Told};
use tidebook_types::command::ReplaceBody;
use tidebook_types::{Command, CommandKind, Reason, Verdict};
use tidebook_venue::{Venue, VenueOptions};
use zerocopy::{FromBytes, IntoBytes};

fn aligned(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut room = vec![0; bytes.len() + 4096];
    let begin = room.as_ptr().align_offset(4096);
    room[begin..begin + bytes.len()].copy_from_slice(bytes);
    (room, begin)
}

/// Method: a live pair, one that follows its journal and rechecks, and one that is loaded from a snapshot now and then.
#[test]
fn live_replay_and_a_loaded_snapshot_have_one_hash() {
    let mut flow = Flow::new(700, 20);
    let mut live = Replay::new(options(), Venue::new(VenueOptions::default()), false);
    let mut follower = Replay::new(options(), Venue::new(VenueOptions::default()), true);
    let mut loaded: Option<Replay<Venue>> = None;
    let mut commands = flow.opening();
    commands.reverse();
    let mut executions = 0;
    for step in 1..=2_000 {
        let mut command = live.risk().follow_up().or_else(|| commands.pop()).unwrap_or_else(|| flow.next());
        flow.sent = step;
        live.submit(step, &mut command, &mut |_| executions += 1);
        State::apply(&mut follower, step, command.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(live.state_hash(), follower.state_hash(), "command {step}");
        if step % 7 == 0 {
            // Asked early or late, risk sees the same.
            live.settle(&mut |_| {});
            assert_eq!(live.state_hash(), follower.settled_state_hash(), "command {step}");
        }
        if let Some(loaded) = &mut loaded {
            State::apply(loaded, step, command.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(follower.state_hash(), loaded.state_hash(), "command {step}");
        }
        if step % 101 == 0 {
            assert_eq!(follower.recomputed_state_hash(), Some(follower.state_hash()), "command {step}");
            let mut bytes = Vec::new();
            follower.save(&mut bytes).unwrap();
            let (room, begin) = aligned(&bytes);
            let mut again = Replay::new(options(), Venue::new(VenueOptions::default()), true);
            again.load(&room[begin..begin + bytes.len()]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(again.state_hash(), follower.state_hash(), "command {step}");
            loaded = Some(again);
        }
    }
    assert!(executions > 1_000, "{executions} executions");
}

/// Method: all that a live pair tells while it is settled after each command, and what is told by one that takes in its journal.
#[test]
fn a_replay_tells_the_executions_and_events_that_were_told_live() {
    let mut flow = Flow::new(701, 20);
    let mut live = Replay::new(options(), Venue::new(VenueOptions::default()), false);
    let mut again = Replay::new(options(), Venue::new(VenueOptions::default()), true);
    let mut commands = flow.opening();
    commands.reverse();
    let (mut executions, mut events) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for step in 1..=2_000 {
        let mut command = live.risk().follow_up().or_else(|| commands.pop()).unwrap_or_else(|| flow.next());
        flow.sent = step;
        live.submit(step, &mut command, &mut |execution| executions.0.push(*execution));
        events.0.extend_from_slice(live.risk().events());
        live.settle(&mut |event| events.0.push(*event));
        let told = again.apply_journaled_telling(step, &command, &mut |told| match told {
            Told::Execution(execution) => executions.1.push(*execution),
            Told::Event(event) => events.1.push(*event),
        });
        told.unwrap_or_else(|error| panic!("{error}"));
    }
    again.settle(&mut |event| events.1.push(*event));
    assert!(executions.0 == executions.1 && executions.0.len() > 1_000, "{} executions", executions.0.len());
    assert!(events.0 == events.1 && events.0.len() > 100, "{} events", events.0.len());
    assert!(events.0.iter().map(|event| event.sequence).eq(1..=events.0.len() as u64));
}

/// Commands as a release journaled them that refused a replace of size 0, 8 of these among them. Never changed.
const REFUSED: &[u8] = include_bytes!("kept/replaces-of-size-0-refused.orders");
/// Of that release's state behind them.
const REFUSED_STATE_HASH: u64 = 0x2557_3fef_8972_9fb9;

fn refused() -> Vec<Command> {
    REFUSED.chunks_exact(128).map(|bytes| Command::read_from_bytes(bytes).unwrap()).collect()
}

#[test]
fn a_journal_of_when_size_0_was_refused_gives_its_state_and_is_rechecked() {
    for recheck in [false, true] {
        let mut replay = Replay::new(RiskOptions::default(), Venue::new(VenueOptions::default()), recheck);
        for (sequence, command) in (1..).zip(refused()) {
            replay.apply_journaled(sequence, &command).unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(replay.settled_state_hash(), REFUSED_STATE_HASH, "recheck {recheck}");
    }
    let is_one = |command: &&Command| command.head.reason == Reason::Size.code();
    assert_eq!(refused().iter().filter(is_one).count(), 8);
}

/// Method: each replace of that journal is said to have been refused for its size, and those that were get a size.
#[test]
fn a_recheck_takes_that_reason_from_no_other_command() {
    let commands = refused();
    for (index, command) in commands.iter().enumerate() {
        if command.head.kind != CommandKind::Replace.code() {
            continue;
        }
        let mut other = *command;
        let mut body: ReplaceBody = command.body();
        if command.head.reason == Reason::Size.code() {
            body.size = 2_400;
            other.body.copy_from_slice(body.as_bytes());
        }
        (other.head.verdict, other.head.reason) = (Verdict::Rejected.code(), Reason::Size.code());
        let mut replay = Replay::new(RiskOptions::default(), Venue::new(VenueOptions::default()), true);
        for (sequence, before) in (1..).zip(&commands[..index]) {
            replay.apply_journaled(sequence, before).unwrap();
        }
        let found = replay.apply_journaled(index as u64 + 1, &other);
        assert!(matches!(found, Err(Difference::Verdict { .. })), "command {}: {other:?}", index + 1);
    }
}
