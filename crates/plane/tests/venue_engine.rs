//! The engine of a venue: what it publishes is what its journal gives, however often it ends and begins again.

#[path = "../../risk/tests/common/flow.rs"]
#[allow(dead_code, reason = "risk's tests use all of it")]
mod flow;
#[path = "common/venue.rs"]
mod venue;

use flow::Flow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidebook_channel::{Channel, ChannelOptions};
use tidebook_journal::snapshot::{Follower, FollowerOptions, SnapshotStore};
use tidebook_journal::storage::{Directory, Storage};
use tidebook_journal::{State, SyncPolicy};
use tidebook_plane::{
    PlaneError, VenueDurability, VenueEngine, VenueLayout, VenueSizes, VenueStage, VenueTime, new_venue,
    venue_snapshots_path,
};
use tidebook_ring::RingOptions;
use tidebook_types::command::{
    AccountBody, InstrumentBody, KillBody, LimitsBody, MassCancelBody, PlaceBody, SessionBody, TransferBody,
};
use tidebook_types::{
    Command, CommandKind, Execution, ExecutionKind, OrderType, Reason, Record, RiskEvent, Session, TimeInForce, Verdict,
};
use venue::{FUSED, Layout, Place, SPLIT, assert_published, held, journaled, sizes, wait_for};
use zerocopy::IntoBytes;

const LAYOUTS: [Layout; 5] =
    [FUSED, (VenueLayout::Together, 1), SPLIT, (VenueLayout::Split, 2), (VenueLayout::Split, 4)];

/// An instrument that trades and two accounts with cash and holdings.
fn opening() -> Vec<Command> {
    let instrument = InstrumentBody {
        tick: 1,
        lot: 1,
        size_min: 1,
        size_max: 1_000_000,
        base_asset: 1,
        quote_asset: 2,
        price_exp: 2,
        ..InstrumentBody::default()
    };
    let mut commands = vec![Command::new(CommandKind::Instrument, 0, 1, &instrument)];
    for account in [1, 2] {
        commands.push(Command::new(CommandKind::Account, account, 0, &AccountBody::default()));
        for asset in [1, 2] {
            let transfer = TransferBody { amount: 1_000_000, asset, ..TransferBody::default() };
            commands.push(Command::new(CommandKind::Transfer, account, 0, &transfer));
        }
    }
    let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
    commands.push(Command::new(CommandKind::Session, 0, 1, &session));
    commands
}

fn limit(account: u32, side: i8, price: i64, size: i64) -> Command {
    let (order_type, time_in_force) = (OrderType::Limit.code(), TimeInForce::Gtc.code());
    let body = PlaceBody { price, size, side, order_type, time_in_force, ..PlaceBody::default() };
    Command::new(CommandKind::Place, account, 1, &body)
}

/// Sends seeded commands until the engine has taken all.
fn send_flow(place: &Place, engine: &VenueEngine, flow: &mut Flow, opens: bool, count: usize) {
    let mut client = place.client();
    let mut last = 0;
    if opens {
        last = client.send_all(&flow.opening());
        wait_for(|| engine.status().source_sequence >= last);
    }
    for index in 0..count {
        if index % 50 == 0 {
            // Where it stands, so that cancels and replaces name orders that are there.
            wait_for(|| engine.status().source_sequence >= last);
            flow.sent = engine.status().published;
        }
        flow.sent += 1;
        last = client.send(&flow.next());
    }
    wait_for(|| engine.status().source_sequence >= last);
}

/// Method: seeded commands of every kind; the journal is replayed with recheck and everything is compared, number by number.
#[test]
fn what_is_published_is_what_a_replay_of_the_journal_gives_whatever_the_threads() {
    for layout in LAYOUTS {
        let (place, mut flow) = (Place::new(), Flow::new(7, 20));
        let engine = place.start(layout);
        send_flow(&place, &engine, &mut flow, true, 3_000);
        // One in 32; with shards those alone that gave an execution.
        wait_for(|| engine.latency(VenueStage::JudgedMatched).count() > 20);
        let stopped = engine.stop().unwrap_or_else(|error| panic!("{error}"));
        let replayed = assert_published(&format!("{layout:?}"), place.path(), Some(stopped.state_hash));
        assert!(replayed.executions.len() > 1_000, "{} executions", replayed.executions.len());
        assert!(replayed.events.len() > 300, "{} events", replayed.events.len());
        assert_eq!(stopped.sequence, journaled(&place.journal()).len() as u64);
    }
}

#[test]
fn a_venue_started_again_goes_on_with_the_next_command_and_the_next_numbers_also_with_other_threads() {
    let (place, mut flow) = (Place::new(), Flow::new(11, 20));
    let mut before = None;
    for round in 0..8 {
        let engine = place.start(LAYOUTS[round % 6 % 5]);
        assert_eq!(engine.beginning().made_anew, [], "round {round}");
        if let Some(before) = before {
            let beginning = engine.beginning();
            assert_eq!(beginning.state.as_ref().unwrap().last_sequence, before, "round {round}");
        }
        send_flow(&place, &engine, &mut flow, round == 0, 300);
        let stopped = engine.stop().unwrap_or_else(|error| panic!("{error}"));
        assert_published(&format!("round {round}"), place.path(), Some(stopped.state_hash));
        before = Some(stopped.sequence);
    }
    let commands = journaled(&place.journal());
    let sources: Vec<_> = commands.iter().map(|(_, it)| it.head.source_sequence).filter(|it| *it > 0).collect();
    assert!(sources.is_sorted_by(|one, next| one < next), "each message of orders.in once");
    assert_eq!(sources.len() as u64, *sources.last().unwrap(), "and all of them");
}

/// Method: an engine with a bound takes what was written while none ran; each kind is there once fresh, once old and once without a time.
#[test]
fn what_asks_for_more_and_was_sent_long_ago_is_refused_as_late_and_a_recheck_agrees() {
    for layout in LAYOUTS {
        let place = Place::new();
        let start = || {
            let mut options = place.options(layout);
            (options.age_max, options.recheck) = (Some(Duration::from_secs(3_600)), true);
            VenueEngine::start(options).unwrap_or_else(|error| panic!("{error}"))
        };
        let engine = start();
        let mut client = place.client();
        let throttled = LimitsBody { commands_per_s: 1, burst: 3, ..LimitsBody::default() };
        let mut commands = opening();
        commands.push(Command::new(CommandKind::Limits, 1, 0, &throttled));
        let last = client.send_all(&commands);
        wait_for(|| engine.status().source_sequence >= last);
        engine.stop().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        let (old, fresh) = (now - 2 * 3_600_000_000_000, now - 1_000_000_000);
        let cancel = Command::new(CommandKind::MassCancel, 1, 0, &MassCancelBody::default());
        let before = journaled(&place.journal()).len();
        let last = client.send_all(&[
            limit(1, 1, 100, 5).at(old),
            limit(1, 1, 101, 5).at(fresh),
            limit(1, 1, 102, 5),
            limit(1, 1, 103, 5).at(old),
            limit(1, 1, 104, 5).at(fresh),
            limit(1, 1, 105, 5).at(fresh),
            cancel.at(old),
        ]);
        let engine = start();
        wait_for(|| engine.status().source_sequence >= last);
        engine.stop().unwrap();
        let reasons: Vec<_> = journaled(&place.journal())[before..]
            .iter()
            .filter(|(_, command)| command.head.source_sequence > 0)
            .map(|(_, command)| Reason::from_code(command.head.reason).unwrap())
            .collect();
        let (none, late) = (Reason::None, Reason::Late);
        assert_eq!(reasons, [late, none, none, late, none, Reason::Throttled, none], "{layout:?}");
        // Replays with recheck.
        let replayed = assert_published("", place.path(), None);
        let cancelled = replayed.executions.iter().filter(|it| it.kind == ExecutionKind::Cancelled.code()).count();
        assert_eq!(cancelled, 3);
        start().stop().unwrap();
    }
}

/// What waits on `orders.in` while no engine runs is taken by the next.
#[test]
fn commands_sent_while_no_engine_runs_are_taken_by_the_next() {
    let place = Place::new();
    let engine = place.start(FUSED);
    let mut client = place.client();
    let last = client.send_all(&opening());
    wait_for(|| engine.status().source_sequence >= last);
    engine.stop().unwrap();
    let last = client.send_all(&[limit(1, 1, 100, 5), limit(2, -1, 100, 5)]);
    for _ in 0..2 {
        let engine = place.start(SPLIT);
        wait_for(|| engine.status().source_sequence >= last);
        engine.stop().unwrap();
    }
    let replayed = assert_published("", place.path(), None);
    let fills = replayed.executions.iter().filter(|it| it.kind == ExecutionKind::Fill.code()).count();
    assert_eq!((fills, journaled(&place.journal()).len()), (1, 10));
}

#[test]
fn after_the_rings_are_lost_numbers_of_orders_in_go_on_and_no_execution_gets_another_number() {
    let (place, mut flow) = (Place::new(), Flow::new(13, 20));
    let mut newest = 0;
    for round in 0..4 {
        let engine = place.start(LAYOUTS[round % 4]);
        assert_eq!(engine.beginning().source_sequence, newest, "round {round}");
        if round > 0 {
            let executions = held::<Execution>(&place.rings(), "executions");
            let executed = engine.status().executed;
            wait_for(|| engine.status().executions == executed);
            assert!(executions.is_empty() || executions[0].0 > 0);
        }
        send_flow(&place, &engine, &mut flow, round == 0, 200);
        let stopped = engine.stop().unwrap();
        assert_published(&format!("round {round}"), place.path(), Some(stopped.state_hash));
        newest = journaled(&place.journal()).iter().map(|(_, it)| it.head.source_sequence).max().unwrap();
        place.lose_rings();
    }
    let commands = journaled(&place.journal());
    let sources: Vec<_> = commands.iter().map(|(_, it)| it.head.source_sequence).filter(|it| *it > 0).collect();
    assert!(sources.is_sorted_by(|one, next| one < next));
}

/// Method: a follower beside the engine takes snapshots; then the venue begins with one and its tail, and again from the first command.
#[test]
fn live_replay_snapshot_with_tail_and_follower_have_one_hash() {
    for layout in LAYOUTS {
        let (place, mut flow) = (Place::new(), Flow::new(17, 20));
        let engine = place.start(layout);
        let journal: Arc<dyn Storage> = Arc::new(Directory::new(place.journal()));
        let store = || SnapshotStore::open(&venue_snapshots_path(&place.snapshots()), "orders").unwrap();
        let make = || new_venue(sizes(), false);
        let options = FollowerOptions { interval: Duration::from_secs(3_600), ..FollowerOptions::default() };
        send_flow(&place, &engine, &mut flow, true, 500);
        let follower = Follower::start(make, Arc::clone(&journal), store(), options.clone(), |_| {}).unwrap();
        // What is sent is durable a little later, and nothing was taken yet is no snapshot.
        wait_for(|| follower.status().applied > 100);
        let first = follower.snapshot().unwrap().unwrap();
        send_flow(&place, &engine, &mut flow, false, 500);
        follower.stop().unwrap();
        let live = engine.stop().unwrap();
        let replayed = assert_published("replay", place.path(), Some(live.state_hash));
        let mut again = Vec::new();
        for behind in [true, false] {
            if !behind {
                std::fs::remove_dir_all(place.snapshots()).unwrap();
            }
            let mut options = place.options(layout);
            // Without a timer, which would be another command.
            (options.recheck, options.time) = (true, VenueTime::Command);
            let engine = VenueEngine::start(options).unwrap_or_else(|error| panic!("{error}"));
            let used = engine.beginning().state.as_ref().unwrap().used.as_ref().map(|facts| facts.sequence());
            assert_eq!(used, behind.then(|| first.sequence()));
            again.push(engine.stop().unwrap());
        }
        assert_eq!(again, [live, live]);
        // A follower's own state, at the end of the journal.
        let follower = Follower::start(make, journal, store(), options, |_| {}).unwrap();
        let last = follower.snapshot().unwrap().unwrap();
        assert_eq!(
            (last.sequence(), last.state_hash),
            (live.sequence, {
                let mut unsettled = new_venue(sizes(), false);
                for (sequence, command) in journaled(&place.journal()) {
                    unsettled.apply_journaled(sequence, &command).unwrap();
                }
                assert_eq!(unsettled.settled_state_hash(), replayed.venue.settled_state_hash());
                unsettled.state_hash()
            })
        );
        follower.stop().unwrap();
    }
}

#[test]
fn what_expires_goes_by_a_timer_when_nobody_sends_anything() {
    for layout in LAYOUTS {
        let place = Place::new();
        let engine = place.start(layout);
        let mut client = place.client();
        let last = client.send_all(&opening());
        wait_for(|| engine.status().source_sequence >= last);
        let mut order = limit(1, 1, 100, 5);
        let mut body: PlaceBody = order.body();
        body.time_in_force = TimeInForce::Gtd.code();
        // The engine's clock is this one. Long enough that it is still to come when the order is taken, also on a busy machine.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        body.expire_ts = i64::try_from(now.as_nanos()).expect("before 2262") + 1_500_000_000;
        order = Command::new(CommandKind::Place, 1, 1, &body).at(i64::MAX);
        client.send(&order);
        wait_for(|| engine.status().executions >= 10);
        let status = engine.status();
        assert_eq!((status.timers, status.executions), (1, 10));
        engine.stop().unwrap();
        let replayed = assert_published("", place.path(), None);
        let gone = replayed.executions.last().unwrap();
        assert_eq!((gone.kind, gone.reason), (ExecutionKind::Cancelled.code(), Reason::Expired.code()));
        assert!(
            gone.ts >= body.expire_ts && gone.ts < i64::MAX / 2,
            "the client's own time moved nothing: {}",
            gone.ts
        );
        let commands = journaled(&place.journal());
        let (_, timer) = commands.last().unwrap();
        assert_eq!((timer.head.kind, timer.head.source_sequence), (CommandKind::Timer.code(), 0));
    }
}

#[test]
fn a_kill_switch_is_followed_by_its_mass_cancel_before_any_other_command() {
    for layout in LAYOUTS {
        let place = Place::new();
        let engine = place.start(layout);
        let mut client = place.client();
        let mut commands = opening();
        commands.extend([limit(1, 1, 100, 5), limit(1, 1, 99, 5)]);
        commands.push(Command::new(CommandKind::Kill, 1, 0, &KillBody { killed: 1, ..KillBody::default() }));
        commands.extend([limit(2, -1, 99, 5), limit(1, 1, 99, 5)]);
        let last = client.send_all(&commands);
        wait_for(|| engine.status().source_sequence >= last);
        let stopped = engine.stop().unwrap();
        let kinds: Vec<_> = journaled(&place.journal())
            .iter()
            .skip(10)
            .map(|(_, it)| (it.head.kind, it.head.source_sequence, it.head.verdict))
            .collect();
        let (accepted, rejected) = (Verdict::Accepted.code(), Verdict::Rejected.code());
        let expected = [
            (CommandKind::Kill.code(), 11, accepted),
            (CommandKind::MassCancel.code(), 0, accepted),
            (CommandKind::Place.code(), 12, accepted),
            (CommandKind::Place.code(), 13, rejected),
        ];
        assert_eq!(kinds, expected);
        let replayed = assert_published("", place.path(), Some(stopped.state_hash));
        assert!(replayed.executions.iter().all(|it| it.kind != ExecutionKind::Fill.code()));
    }
}

/// A journal of `orders` as somebody else wrote it.
fn write_journal(place: &Place, commands: &[Command]) {
    let ring = RingOptions::records(&Command::SCHEMA, 1 << 10).parking(true).consumers_max(64);
    let mut options = ChannelOptions::with_ring("orders", ring);
    options.sync = SyncPolicy::Group;
    options.journal.segment_size_bytes = 1 << 20;
    let (channel, _) = Channel::open(&place.rings().join("orders.ring"), &place.journal(), &options).unwrap();
    let mut producer = channel.producer().unwrap();
    for command in commands {
        producer.write(command.as_bytes()).unwrap();
    }
    drop(producer);
    channel.close().unwrap();
}

#[test]
fn a_journal_whose_verdicts_are_not_those_of_the_rules_starts_only_without_recheck() {
    let place = Place::new();
    let mut first = opening().remove(0);
    first.head.verdict = Verdict::Accepted.code();
    let mut stranger = limit(9, 1, 100, 5);
    (stranger.head.verdict, stranger.head.executions_seen) = (Verdict::Accepted.code(), 1);
    write_journal(&place, &[first, stranger]);
    let mut options = place.options(FUSED);
    options.sizes = VenueSizes::default();
    options.recheck = true;
    let error = VenueEngine::start(options.clone()).unwrap_err();
    assert!(matches!(error, PlaneError::Unrecoverable { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("command 2 is journaled with verdict 1 and reason 0") && said.contains("reason 2"), "{said}");
    assert!(!place.rings().join("executions.ring").exists(), "nothing was started");
    options.recheck = false;
    let engine = VenueEngine::start(options).unwrap();
    assert_eq!(engine.status().executed, 2);
    engine.stop().unwrap();
}

#[test]
fn a_journal_that_holds_something_else_than_commands_is_refused_with_its_first_message() {
    let place = Place::new();
    let options = ChannelOptions::frames("orders", 1 << 16);
    let (channel, _) = Channel::open(&place.rings().join("orders.ring"), &place.journal(), &options).unwrap();
    channel.producer().unwrap().write(b"no command").unwrap();
    channel.close().unwrap();
    let error = VenueEngine::start(place.options(FUSED)).unwrap_err();
    assert!(error.to_string().contains("records of 128 bytes"), "{error}");
}

#[test]
fn a_ring_of_another_history_is_made_anew_and_told_unless_somebody_has_it_open() {
    let place = Place::new();
    let engine = place.start(FUSED);
    let mut client = place.client();
    let last = client.send_all(&opening());
    wait_for(|| engine.status().source_sequence >= last);
    engine.stop().unwrap();
    // The journal and its ring go, the others stay.
    std::fs::remove_dir_all(place.journal()).unwrap();
    std::fs::remove_file(place.rings().join("orders.ring")).unwrap();
    let error = VenueEngine::start(place.options(FUSED)).unwrap_err();
    assert!(matches!(&error, PlaneError::InUse { ring, .. } if ring.ends_with("orders.in.ring")), "{error}");
    drop(client);
    let engine = place.start(FUSED);
    let anew: Vec<_> = engine.beginning().made_anew.iter().map(|(channel, _)| *channel).collect();
    // The two others were made anew by the start that was refused.
    assert_eq!(anew, ["orders.in"]);
    assert_eq!((engine.beginning().source_sequence, engine.status().executed), (0, 0));
    engine.stop().unwrap();
}

#[test]
fn the_room_of_a_venue_is_what_its_journal_began_with() {
    let place = Place::new();
    place.start(FUSED).stop().unwrap();
    let mut options = place.options(FUSED);
    options.sizes.venue.orders_max = 17;
    let engine = VenueEngine::start(options).unwrap();
    assert_eq!(engine.beginning().sizes, sizes());
    engine.stop().unwrap();
    assert_eq!(VenueSizes::of_journal(&place.journal()).unwrap(), Some(sizes()));
}

#[test]
fn a_venue_in_memory_publishes_at_once_and_leaves_nothing() {
    for layout in LAYOUTS {
        let place = Place::new();
        let mut options = place.options(layout);
        options.durability = VenueDurability::Memory;
        for _ in 0..2 {
            let engine = VenueEngine::start(options.clone()).unwrap();
            let mut client = place.client();
            client.send_all(&opening());
            client.send_all(&[limit(1, 1, 100, 5), limit(2, -1, 100, 5)]);
            wait_for(|| engine.status().executions == 11);
            drop(client);
            assert_eq!(engine.stop().unwrap().sequence, 10);
            assert_eq!(held::<Execution>(&place.rings(), "executions").len(), 11);
            assert_eq!(held::<RiskEvent>(&place.rings(), "risk").len(), 7);
        }
        assert!(!place.journal().exists());
    }
}

/// Parts of matching do not see together that all is full. Method: rooms so small that most orders are refused for them.
#[test]
fn risk_lets_no_more_orders_in_than_matching_has_room_for_so_shards_need_not_see_each_others() {
    let mut refused = 0;
    for (seed, layout) in (31..).zip(LAYOUTS) {
        let (place, mut flow) = (Place::new(), Flow::new(seed, 20));
        let mut options = place.options(layout);
        (options.sizes.risk.orders_max, options.sizes.venue.orders_max) = (12, 12);
        let room = options.sizes;
        let engine = VenueEngine::start(options).unwrap_or_else(|error| panic!("{error}"));
        send_flow(&place, &engine, &mut flow, true, 2_000);
        let stopped = engine.stop().unwrap_or_else(|error| panic!("{error}"));
        let commands = journaled(&place.journal());
        let replayed = venue::replayed(&commands, room);
        assert_eq!(replayed.venue.settled_state_hash(), stopped.state_hash, "{layout:?}");
        let told: Vec<_> = held::<Execution>(&place.rings(), "executions").into_iter().map(|(_, it)| it).collect();
        assert!(told == replayed.executions, "{layout:?}");
        let full = |it: &&Execution| it.reason == Reason::Full.code();
        assert_eq!(told.iter().find(full), None, "{layout:?}: matching refused for want of room");
        refused += commands.iter().filter(|(_, it)| it.head.reason == Reason::OpenOrders.code()).count();
    }
    assert!(refused > 500, "{refused} were refused by risk");
}

#[test]
fn shards_that_cannot_be_are_refused_before_anything_is_opened() {
    let place = Place::new();
    for (layout, message) in [
        ((VenueLayout::Split, 0), "shards = 0: must be 1 to 16, and more than 1 only with layout split"),
        ((VenueLayout::Split, 17), "shards = 17: must be 1 to 16, and more than 1 only with layout split"),
        ((VenueLayout::Fused, 2), "shards = 2: must be 1 to 16, and more than 1 only with layout split"),
        ((VenueLayout::Together, 2), "shards = 2: must be 1 to 16, and more than 1 only with layout split"),
    ] {
        let error = VenueEngine::start(place.options(layout)).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(!place.journal().exists());
    }
    let mut options = place.options((VenueLayout::Split, 2));
    options.sizes.venue.orders_max = 4_095;
    let error = VenueEngine::start(options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shards = 2: risk has room for 4096 orders and matching for 4095; shards need matching to have as much as risk: start this venue \
         with shards = 1"
    );
}

#[test]
fn several_shards_are_threads_of_their_own_whatever_the_cores() {
    let place = Place::new();
    let mut options = place.options((VenueLayout::Split, 3));
    options.layout = None;
    let engine = VenueEngine::start(options).unwrap();
    assert_eq!((engine.beginning().layout, engine.beginning().shards), (VenueLayout::Split, 3));
    let names: Vec<_> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    for name in ["venue-risk", "venue-merge", "venue-match-0", "venue-match-1", "venue-match-2"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    engine.stop().unwrap();
}
