//! Once warm, judging and taking in executions allocates nothing: counted, not believed.

mod common;
#[path = "common/flow.rs"]
mod flow;

use common::{Desk, Fast, options};
use flow::Flow;
use tidebook_risk::{Replay, Risk};
use tidebook_testkit::{Counted, Random, allocations};
use tidebook_types::command::{
    AccountBody, CancelBody, InstrumentBody, MassCancelBody, POST_ONLY, PlaceBody, PlacePairBody, ReplaceBody,
    SessionBody, TransferBody,
};
use tidebook_types::{Command, CommandKind, ExecutionKind, OrderType, Session};
use tidebook_venue::{Venue, VenueOptions};
use zerocopy::IntoBytes;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

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
        let allocated = allocations(|| {
            let mut command = *command;
            risk.judge(index as u64 + 1, &mut command);
            executions.iter().for_each(|execution| risk.on_execution(execution));
        });
        if index > steps.len() / 2 {
            counted += allocated;
        }
    }
    assert_eq!(risk.state_hash(), desk.risk.0.state_hash());
    assert_eq!(counted, 0, "allocations in {} commands", steps.len() / 2);
}

/// Orders of every type in a market that stays where it is, so that it is once as full as it gets; many are refused, for many reasons.
struct Standing {
    random: Random,
}

impl Standing {
    fn opening() -> Vec<Command> {
        let mut commands = Vec::new();
        for id in 1..=3 {
            let body = InstrumentBody {
                tick: 1,
                lot: 1,
                size_max: 1_000,
                taker_ppm: 300,
                base_asset: 1,
                quote_asset: 2,
                price_exp: 2,
                size_exp: 2,
                reference_price: 1_000,
                band_ppm: 200_000,
                ..InstrumentBody::default()
            };
            commands.push(Command::new(CommandKind::Instrument, 0, id, &body));
            let session = SessionBody { session: Session::Continuous.code(), reserved: [0; 87] };
            commands.push(Command::new(CommandKind::Session, 0, id, &session));
        }
        for account in 1..=6 {
            commands.push(Command::new(CommandKind::Account, account, 0, &AccountBody::default()));
            for asset in [1, 2] {
                let body = TransferBody { amount: 1_000_000, asset, ..TransferBody::default() };
                commands.push(Command::new(CommandKind::Transfer, account, 0, &body));
            }
        }
        commands
    }

    fn next(&mut self, sequence: u64) -> Command {
        let (account, instrument_id) = (1 + self.random.below(6) as u32, 1 + self.random.below(3) as u32);
        let order_id = 2 * sequence.saturating_sub(1 + self.random.below(200)).max(1);
        let (price, size) = (970 + self.random.below(60) as i64, 1 + self.random.below(20) as i64);
        let side = if self.random.chance(1, 2) { 1 } else { -1 };
        let of = |kind, body: &[u8]| {
            let mut command = Command::new(kind, account, instrument_id, &[0u8; 0]);
            command.body[..body.len()].copy_from_slice(body);
            command.at(sequence as i64)
        };
        match self.random.below(100) {
            0..60 => of(CommandKind::Place, self.order(sequence, price, size, side).as_bytes()),
            60..82 => of(CommandKind::Cancel, CancelBody { order_id, ..CancelBody::default() }.as_bytes()),
            82..92 => {
                of(CommandKind::Replace, ReplaceBody { order_id, price, size, ..ReplaceBody::default() }.as_bytes())
            }
            92..97 => {
                let body = PlacePairBody {
                    price: 1_000 - 20 * i64::from(side),
                    trigger_price: 1_000 + 30 * i64::from(side),
                    limit_price: 1_000 + 40 * i64::from(side),
                    size,
                    side,
                    time_in_force: 1,
                    ..PlacePairBody::default()
                };
                of(CommandKind::PlacePair, body.as_bytes())
            }
            97 | 98 => of(CommandKind::MassCancel, MassCancelBody::default().as_bytes()),
            _ => Command::bare(CommandKind::Timer, 0).at(sequence as i64),
        }
    }

    fn order(&mut self, sequence: u64, price: i64, size: i64, side: i8) -> PlaceBody {
        let mut body = PlaceBody { price, size, side, order_type: 1, time_in_force: 1, ..PlaceBody::default() };
        if self.random.chance(1, 2) {
            body.client_order_id[..8].copy_from_slice(&sequence.to_le_bytes());
        }
        body.self_trade = self.random.below(5) as u8;
        match self.random.below(12) {
            0 => (body.order_type, body.time_in_force) = (OrderType::Market.code(), 2),
            1 => (body.order_type, body.trigger_price) = (OrderType::StopLimit.code(), 1_000 + 8 * i64::from(side)),
            2 => (body.order_type, body.trigger_price) = (OrderType::Stop.code(), 1_000 + 9 * i64::from(side)),
            3 => (body.order_type, body.offset) = (OrderType::TrailingStop.code(), 7),
            4 => (body.order_type, body.peg, body.offset) = (OrderType::Pegged.code(), 1, 3),
            5 => (body.size, body.display_size) = (30, 5),
            6 => body.time_in_force = 2,
            7 => body.time_in_force = 3,
            8 => (body.time_in_force, body.expire_ts) = (4, sequence as i64 + 50),
            9 => body.flags = POST_ONLY,
            _ => {}
        }
        body
    }
}

/// Method: commands of every type of order are submitted to a risk with its venue, and taken in as journaled by another; behind the first
/// 40,000, by when both have been as full as they get, allocations are counted.
#[test]
fn a_warm_risk_with_its_venue_allocates_nothing_submitted_or_replayed() {
    let pair = || {
        let room = VenueOptions { orders_max: options().orders_max, ..VenueOptions::default() };
        Replay::new(options(), Venue::new(room), false)
    };
    let (mut live, mut replica) = (pair(), pair());
    let mut flow = Standing { random: Random::new(901) };
    let mut opening = Standing::opening();
    opening.reverse();
    let (mut submitted, mut replayed, mut kinds) = (0, 0, [0u64; 15]);
    for sequence in 1..=60_000 {
        let mut command = opening.pop().unwrap_or_else(|| flow.next(sequence));
        let counted = allocations(|| {
            live.submit(sequence, &mut command, &mut |execution| kinds[execution.kind as usize] += 1);
            live.settle(&mut |_| {});
        });
        let counted_too = allocations(|| replica.apply_journaled(sequence, &command).expect("it is the next one"));
        if sequence > 40_000 {
            submitted += counted;
            replayed += counted_too;
        }
    }
    let often = [ExecutionKind::Fill, ExecutionKind::Triggered, ExecutionKind::Refreshed, ExecutionKind::Repriced];
    assert!(often.iter().all(|kind| kinds[*kind as usize] > 500), "executions by kind: {kinds:?}");
    assert_eq!(live.settled_state_hash(), replica.settled_state_hash());
    assert_eq!((submitted, replayed), (0, 0), "allocations in 20,000 commands");
}
