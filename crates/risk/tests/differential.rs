//! Both implementations judge the same seeded commands, with executions that come late, and agree after each step.

mod common;
#[path = "common/flow.rs"]
mod flow;

use std::collections::BTreeMap;

use common::{Desk, ENDED_IDS_MAX, Fast, Naive, options};
use flow::Flow;
use tidebook_risk::{LEDGER_EXP, Replay, Risk};
use tidebook_testkit::{NaiveRisk, RiskEngine};
use tidebook_types::command::TransferBody;
use tidebook_types::{Command, CommandKind, Reason, RiskEventKind, Verdict};

/// What a run has seen, so that a stream in which nothing happens proves nothing.
#[derive(Default)]
struct Seen {
    reasons: BTreeMap<u8, u64>,
    events: BTreeMap<u8, u64>,
    fills: u64,
}

fn run(seed: u64, count: usize, seen: &mut Seen) -> Desk<Fast> {
    let mut flow = Flow::new(seed, 30);
    let mut desk = Desk::new(Fast(Risk::new(options())));
    let mut naive = NaiveRisk::new(ENDED_IDS_MAX as usize);
    let mut commands = flow.opening();
    commands.reverse();
    for step in 0..count {
        let follow = (desk.risk.follow_up(), naive.follow_up());
        assert_eq!(follow.0, follow.1, "seed {seed}, step {step}");
        let command =
            follow.0.filter(|_| flow.random.chance(3, 4)).or_else(|| commands.pop()).unwrap_or_else(|| flow.next());
        let mut again = command;
        let judged = desk.send(command);
        let told = desk.risk.events();
        naive.judge(desk.sequence, &mut again);
        assert_eq!(judged, again, "seed {seed}, step {step}: {command:?}");
        assert_eq!(told, naive.events(), "seed {seed}, step {step}");
        *seen.reasons.entry(judged.head.reason).or_default() += 1;
        // Executions come at once, later, or many of them together.
        let shown = match flow.random.below(6) {
            0 | 1 => flow.random.index(4),
            _ => usize::MAX,
        };
        for _ in 0..shown.min(desk.on_the_way.len()) {
            let execution = desk.show(1)[0];
            naive.on_execution(&execution);
            assert_eq!(desk.risk.events(), naive.events(), "seed {seed}, step {step}: {execution:?}");
            seen.fills += u64::from(execution.trade_id > 0);
            told.iter().chain(&desk.risk.events()).for_each(|event| *seen.events.entry(event.kind).or_default() += 1);
        }
        told.iter().for_each(|event| *seen.events.entry(event.kind).or_default() += 1);
        for account in 1..=flow::ACCOUNTS as u32 {
            for asset in [1, 2, 10, 11] {
                let (ours, theirs) = (desk.risk.available(account, asset), naive.available(account, asset));
                assert_eq!(ours, theirs, "seed {seed}, step {step}: account {account}, asset {asset}, {judged:?}");
            }
            for instrument in 1..=flow::INSTRUMENTS as u32 {
                let (ours, theirs) = (desk.risk.open_sizes(account, instrument), naive.open_sizes(account, instrument));
                assert_eq!(ours, theirs, "seed {seed}, step {step}: account {account}, instrument {instrument}");
            }
        }
    }
    desk
}

fn seeds(default: u64) -> u64 {
    std::env::var("TIDEBOOK_RISK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn both_implementations_give_the_same_verdicts_events_and_balances() {
    let mut seen = Seen::default();
    for seed in 1..=seeds(20) {
        run(seed, 1_000, &mut seen);
    }
    println!("{:?} {:?} {} fills", seen.reasons, seen.events, seen.fills);
    use Reason as R;
    for reason in [
        R::None,
        R::Instrument,
        R::Account,
        R::Fields,
        R::Tick,
        R::Lot,
        R::Size,
        R::Price,
        R::Amount,
        R::UnknownOrder,
        R::Linked,
        R::Killed,
        R::Duplicate,
        R::Throttled,
        R::Balance,
        R::Margin,
        R::OrderSize,
        R::OrderNotional,
        R::Collar,
        R::OpenOrders,
        R::Position,
        R::Exposure,
        R::Operator,
        R::Definition,
    ] {
        assert!(seen.reasons.contains_key(&reason.code()), "{reason:?} never came");
    }
    // A deficit takes rates that are raised in the wrong moment: see the rules.
    for kind in RiskEventKind::ALL.iter().filter(|kind| **kind != RiskEventKind::Deficit) {
        assert!(seen.events.contains_key(&kind.code()), "{kind:?} never came");
    }
    assert!(seen.fills > 500, "{} fills", seen.fills);
}

/// Method: of every asset, what all accounts hold and the venue took is what was transferred in; and of each account what
/// it made is what its cash and positions changed by.
#[test]
fn cash_positions_and_fees_are_conserved_over_all_accounts() {
    for seed in 100..105 {
        let desk = run(seed, 1_500, &mut Seen::default());
        let mut transferred: BTreeMap<u32, i128> = BTreeMap::new();
        let mut own: BTreeMap<(u32, u32), i128> = BTreeMap::new();
        for command in &desk.orders {
            if command.head.kind == CommandKind::Transfer.code() && command.head.verdict == Verdict::Accepted.code() {
                let body: TransferBody = command.body();
                let amount = i128::from(body.amount) * 10_i128.pow(u32::from(LEDGER_EXP - body.amount_exp));
                *transferred.entry(body.asset).or_default() += amount;
                *own.entry((command.head.account, body.asset)).or_default() += amount;
            }
        }
        let portfolio = desk.risk.0.portfolio();
        let mut held: BTreeMap<u32, i128> = BTreeMap::new();
        portfolio.all_balances().iter().for_each(|it| *held.entry(it.asset).or_default() += it.total);
        let bases = [0, 1, 2, 1];
        let base_units = [0, 10_i128.pow(17), 10_i128.pow(14), 10_i128.pow(16)];
        let mut positions = [0; 4];
        for holding in portfolio.all_holdings() {
            let instrument = holding.instrument_id as usize;
            positions[instrument] += holding.position;
            if holding.account.is_multiple_of(3) {
                // A margin account's base is its position alone.
                *held.entry(bases[instrument]).or_default() += holding.position * base_units[instrument];
            }
        }
        assert_eq!(positions, [0; 4], "seed {seed}: what one bought another sold");
        held.retain(|_, amount| *amount != 0);
        assert_eq!(held, transferred, "seed {seed}");
        for account in 1..=flow::ACCOUNTS as u32 {
            for asset in [10, 11] {
                let made: i128 = portfolio
                    .holdings(account)
                    .filter(|it| (if it.instrument_id == 3 { 11 } else { 10 }) == asset)
                    .map(|it| it.realised + portfolio.unrealised(it) - it.fees)
                    .sum();
                let changed = portfolio.equity(account, asset) - own.get(&(account, asset)).copied().unwrap_or(0);
                assert_eq!(made, changed, "seed {seed}, account {account}, asset {asset}");
            }
        }
    }
}

/// Method: spot accounts without changes of rates, executions late; no balance falls below 0 and none is promised twice.
#[test]
fn a_spot_account_never_owes_however_late_executions_come() {
    for seed in 200..210 {
        let mut flow = Flow::new(seed, 10);
        let mut desk = Desk::new(Fast(Risk::new(options())));
        let mut commands = flow.opening();
        commands.reverse();
        for step in 0..1_500 {
            flow.sent = desk.sequence;
            let command = commands.pop().unwrap_or_else(|| flow.next());
            let kind = CommandKind::from_code(command.head.kind);
            let opening = step < 40;
            if !opening && matches!(kind, Some(CommandKind::Instrument | CommandKind::Account)) {
                continue;
            }
            desk.send(command);
            let shown = if flow.random.chance(1, 2) { 0 } else { flow.random.index(30) };
            desk.show(shown);
            for account in [1, 2, 4, 5] {
                for asset in [1, 2, 10, 11] {
                    let available = desk.risk.available(account, asset);
                    assert!(available >= 0, "seed {seed}, step {step}: account {account} has {available} of {asset}");
                }
            }
        }
        assert!(desk.events.iter().all(|event| event.kind != RiskEventKind::Deficit.code()));
    }
}

#[test]
fn the_hash_is_that_of_a_state_added_up_anew_and_a_loaded_state_goes_on_alike() {
    for seed in 300..304 {
        let mut flow = Flow::new(seed, 30);
        let mut desk = Desk::new(Fast(Risk::new(options())));
        let mut twin: Option<Risk> = None;
        let mut commands = flow.opening();
        commands.reverse();
        for step in 0..1_200 {
            flow.sent = desk.sequence;
            let command = commands.pop().unwrap_or_else(|| flow.next());
            let judged = desk.send(command);
            if let Some(twin) = &mut twin {
                let mut again = command;
                twin.judge(desk.sequence, &mut again);
                assert_eq!(again, judged, "seed {seed}, step {step}");
            }
            let shown = flow.random.index(6);
            for execution in desk.show(shown) {
                if let Some(twin) = &mut twin {
                    twin.on_execution(&execution);
                }
            }
            let risk = &desk.risk.0;
            if let Some(twin) = &twin {
                assert_eq!(twin.state_hash(), risk.state_hash(), "seed {seed}, step {step}");
            }
            if step % 37 == 0 {
                assert_eq!(risk.state_hash(), risk.recomputed_state_hash(), "seed {seed}, step {step}");
                let mut bytes = Vec::new();
                risk.save(&mut bytes);
                let mut loaded = Risk::new(options());
                loaded.load(&bytes).unwrap();
                let mut again = Vec::new();
                loaded.save(&mut again);
                assert_eq!(bytes, again);
                twin = Some(loaded);
            }
        }
    }
}

#[test]
fn bytes_that_are_no_state_are_refused_and_never_panic() {
    let desk = run(400, 800, &mut Seen::default());
    let mut bytes = Vec::new();
    desk.risk.0.save(&mut bytes);
    for end in (0..bytes.len()).step_by(97) {
        assert!(Risk::new(options()).load(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
    let mut random = tidebook_testkit::Random::new(7);
    for _ in 0..1_000 {
        let mut changed = bytes.clone();
        for _ in 0..=random.below(3) {
            let index = random.index(changed.len());
            changed[index] = random.next_u64() as u8;
        }
        let mut risk = Risk::new(options());
        if risk.load(&changed).is_ok() {
            risk.state_hash();
        }
    }
}

/// Method: the journal of a run with late executions is judged again beside a new venue; then one byte of it is another.
#[test]
fn a_recheck_finds_every_verdict_again_and_names_the_first_that_differs() {
    let desk = run(500, 1_200, &mut Seen::default());
    let mut recheck = Replay::new(options(), Naive::new(), true);
    let mut replay = Replay::new(options(), Naive::new(), false);
    for (index, command) in desk.orders.iter().enumerate() {
        let sequence = index as u64 + 1;
        recheck.apply_journaled(sequence, command).unwrap_or_else(|difference| panic!("{difference}"));
        replay.apply_journaled(sequence, command).unwrap();
        assert_eq!(recheck.risk().state_hash(), replay.risk().state_hash(), "command {sequence}");
    }
    let refused = desk.orders.iter().position(|it| it.head.reason == Reason::Balance.code()).unwrap();
    let mut orders: Vec<Command> = desk.orders.clone();
    orders[refused].head.verdict = Verdict::Accepted.code();
    let mut recheck = Replay::new(options(), Naive::new(), true);
    let difference = orders
        .iter()
        .enumerate()
        .find_map(|(index, command)| recheck.apply_journaled(index as u64 + 1, command).err())
        .unwrap()
        .to_string();
    assert!(difference.contains(&format!("command {} ", refused + 1)), "{difference}");
    orders.truncate(1);
    orders[0].head.executions_seen = 5;
    let mut recheck = Replay::new(options(), Naive::new(), true);
    let difference = recheck.apply_journaled(1, &orders[0]).unwrap_err().to_string();
    assert_eq!(difference, "orders: command 1 was judged after execution 5, and by then there are 0");
}
