//! The smallest market that trades: one instrument, two spot accounts that can pay for everything, orders that meet in pairs.

use tidebook_types::command::{AccountBody, InstrumentBody, PlaceBody, SessionBody, TransferBody};
use tidebook_types::{Command, CommandKind, OrderType, Session, TimeInForce};

/// A buy and a sell in turn, of two accounts, at one price: each second order fills the one before it.
pub fn order(index: u64) -> Command {
    let side = if index.is_multiple_of(2) { 1 } else { -1 };
    let (order_type, time_in_force) = (OrderType::Limit.code(), TimeInForce::Gtc.code());
    let body = PlaceBody { price: 100, size: 1, side, order_type, time_in_force, ..PlaceBody::default() };
    Command::new(CommandKind::Place, 1 + index as u32 % 2, 1, &body)
}

/// What comes before orders can.
pub fn opening() -> Vec<Command> {
    let instrument = InstrumentBody {
        tick: 1,
        lot: 1,
        size_max: 1_000_000,
        base_asset: 1,
        quote_asset: 2,
        ..InstrumentBody::default()
    };
    let mut commands = vec![Command::new(CommandKind::Instrument, 0, 1, &instrument)];
    for account in [1, 2] {
        commands.push(Command::new(CommandKind::Account, account, 0, &AccountBody::default()));
        for asset in [1, 2] {
            let transfer = TransferBody { amount: 1 << 50, asset, ..TransferBody::default() };
            commands.push(Command::new(CommandKind::Transfer, account, 0, &transfer));
        }
    }
    let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
    commands.push(Command::new(CommandKind::Session, 0, 1, &session));
    commands
}
