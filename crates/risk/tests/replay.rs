//! Risk and the fast venue behind one sequence of commands: snapshots, and what a load goes on with.

mod common;
#[path = "common/flow.rs"]
mod flow;

use common::options;
use flow::Flow;
use tidebook_journal::State;
use tidebook_risk::{Difference, Replay, RiskOptions, Told};
use tidebook_types::command::{
    AccountBody, InstrumentBody, LimitsBody, PlaceBody, ReplaceBody, Session, SessionBody, TimeInForce, TransferBody,
};
use tidebook_types::{Command, CommandKind, OrderType, Reason, Verdict};
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

/// Two instruments, the second without a reference price, and a spot account whose collar is 2 %; then these, as judged before.
fn judged_before(asked: &[(u32, PlaceBody, Result<i64, Reason>)]) -> Vec<Command> {
    let listed = InstrumentBody {
        tick: 1,
        lot: 1,
        size_max: 1_000_000,
        reference_price: 10_000,
        base_asset: 1,
        quote_asset: 2,
        price_exp: 2,
        size_exp: 3,
        ..InstrumentBody::default()
    };
    let bare = InstrumentBody { reference_price: 0, ..listed };
    let transfer = |asset| TransferBody { asset, amount: 1_000, ..TransferBody::default() };
    let limits = LimitsBody { collar_ppm: 20_000, ..LimitsBody::default() };
    let mut journal = vec![
        Command::new(CommandKind::Instrument, 0, 1, &listed),
        Command::new(CommandKind::Instrument, 0, 2, &bare),
        Command::new(CommandKind::Account, 1, 0, &AccountBody::default()),
        Command::new(CommandKind::Transfer, 1, 0, &transfer(1)),
        Command::new(CommandKind::Transfer, 1, 0, &transfer(2)),
        Command::new(CommandKind::Limits, 1, 0, &limits),
    ];
    for instrument in [1, 2] {
        let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
        journal.push(Command::new(CommandKind::Session, 0, instrument, &session));
    }
    let mut live = Replay::new(RiskOptions::default(), Venue::new(VenueOptions::default()), false);
    for (sequence, command) in (1..).zip(&mut journal) {
        assert_eq!(live.submit(sequence, command, &mut |_| {}), Verdict::Accepted);
    }
    live.settle(&mut |_| {});
    let mut seen = live.risk().executions_seen();
    for (instrument, body, said) in asked {
        let put = PlaceBody { price: said.unwrap_or(body.price), ..*body };
        let mut command = Command::new(CommandKind::Place, 1, *instrument, &put);
        let (verdict, reason) =
            said.map_or_else(|reason| (Verdict::Rejected, reason), |_| (Verdict::Accepted, Reason::None));
        (command.head.verdict, command.head.reason) = (verdict.code(), reason.code());
        command.head.executions_seen = seen;
        seen += u64::from(said.is_ok());
        journal.push(command);
    }
    journal
}

fn rechecked(journal: &[Command]) -> Result<u64, Difference> {
    let mut replay = Replay::new(RiskOptions::default(), Venue::new(VenueOptions::default()), true);
    for (sequence, command) in (1..).zip(journal) {
        replay.apply_journaled(sequence, command)?;
    }
    Ok(replay.settled_state_hash())
}

#[test]
fn a_journal_of_when_stops_were_reckoned_from_the_reference_is_rechecked() {
    let stop = |side: i8, order_type: OrderType, trigger_price: i64, price: i64| PlaceBody {
        side,
        order_type: order_type.code(),
        trigger_price,
        price,
        size: 1_000,
        time_in_force: TimeInForce::Gtc.code(),
        ..PlaceBody::default()
    };
    use OrderType::{Stop, StopLimit};
    let asked = [
        (1, stop(-1, Stop, 9_500, 0), Ok(9_800)),
        (1, stop(1, Stop, 11_000, 0), Ok(10_200)),
        (1, stop(-1, StopLimit, 9_500, 9_400), Err(Reason::Collar)),
        (2, stop(1, Stop, 5_000, 0), Err(Reason::Price)),
        (2, stop(-1, Stop, 5_000, 0), Ok(0)),
        (1, stop(-1, Stop, 9_500, 0), Ok(9_310)), // as it is now
    ];
    let journal = judged_before(&asked);
    let mut replay = Replay::new(RiskOptions::default(), Venue::new(VenueOptions::default()), false);
    for (sequence, command) in (1..).zip(&journal) {
        replay.apply_journaled(sequence, command).unwrap();
    }
    assert_eq!(rechecked(&journal).unwrap_or_else(|error| panic!("{error}")), replay.settled_state_hash());
    // What neither rule says is a difference.
    for wrong in [
        (1, stop(-1, Stop, 9_500, 9_400), Err(Reason::Price)),
        (1, stop(-1, StopLimit, 9_500, 9_000), Ok(9_000)),
        (1, stop(-1, StopLimit, 9_500, 9_900), Err(Reason::Collar)),
        (2, stop(1, StopLimit, 5_000, 5_000), Err(Reason::Price)),
    ] {
        let found = rechecked(&judged_before(&[wrong]));
        assert!(matches!(found, Err(Difference::Verdict { sequence: 9, .. })), "{wrong:?}");
    }
}
