//! A desk with a market and three accounts, for cases that are run on both implementations.

use tidebook_risk::Risk;
use tidebook_testkit::{NaiveRisk, RiskEngine};
use tidebook_types::command::{
    ACCOUNT_MARGIN, AccountBody, InstrumentBody, LimitsBody, PlaceBody, SessionBody, TransferBody,
};
use tidebook_types::{Command, CommandKind, OrderType, Reason, RiskEvent, RiskEventKind, Session, TimeInForce};

use super::{Desk, ENDED_IDS_MAX, Fast, options};

pub const BTC: u32 = 1;
pub const USD: u32 = 2;
/// Ledger units of a cent, and of a thousandth of a coin.
pub const CENT: i128 = 10_i128.pow(16);
pub const MILLI: i128 = 10_i128.pow(15);

/// Runs a case on both: prices in cents, sizes in thousandths, taker and maker 0.1 %; accounts 1 and 2 are spot accounts with 1,000.00 and
/// 5 coins, 3 has margin (10 %, 5 %) and 1,000.00.
pub fn on_both(case: impl Fn(&mut dyn Table)) {
    case(&mut open(Fast(Risk::new(options()))));
    case(&mut open(NaiveRisk::new(ENDED_IDS_MAX as usize)));
}

/// A desk, whichever risk it has.
pub trait Table {
    fn ask(&mut self, command: Command) -> Command;
    fn available(&self, account: u32, asset: u32) -> i128;
    fn follow_up(&self) -> Option<Command>;
    fn told(&mut self) -> Vec<RiskEventKind> {
        self.events().iter().map(|event| RiskEventKind::from_code(event.kind).unwrap()).collect()
    }
    fn events(&mut self) -> Vec<RiskEvent>;
    fn late(&mut self, late: bool);
}

pub struct Shop<R> {
    desk: Desk<R>,
    late: bool,
}

impl<R: RiskEngine> Table for Shop<R> {
    fn ask(&mut self, command: Command) -> Command {
        let judged = self.desk.send(command);
        if !self.late {
            self.desk.show(usize::MAX);
        }
        judged
    }
    fn available(&self, account: u32, asset: u32) -> i128 {
        self.desk.risk.available(account, asset)
    }
    fn follow_up(&self) -> Option<Command> {
        self.desk.risk.follow_up()
    }
    fn events(&mut self) -> Vec<RiskEvent> {
        self.desk.events.drain(..).collect()
    }
    fn late(&mut self, late: bool) {
        self.late = late;
        if !late {
            self.desk.show(usize::MAX);
        }
    }
}

pub fn instrument() -> InstrumentBody {
    InstrumentBody {
        tick: 1,
        lot: 1,
        size_max: 1_000_000,
        reference_price: 10_000,
        maker_ppm: 1_000,
        taker_ppm: 1_000,
        base_asset: BTC,
        quote_asset: USD,
        price_exp: 2,
        size_exp: 3,
        ..InstrumentBody::default()
    }
}

pub fn open<R: RiskEngine>(risk: R) -> Shop<R> {
    let mut shop = Shop { desk: Desk::new(risk), late: false };
    let margin = AccountBody {
        initial_margin_ppm: 100_000,
        maintenance_margin_ppm: 50_000,
        flags: ACCOUNT_MARGIN,
        ..AccountBody::default()
    };
    let transfer = |asset, amount| TransferBody { asset, amount, ..TransferBody::default() };
    let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
    for command in [
        Command::new(CommandKind::Instrument, 0, 1, &instrument()),
        Command::new(CommandKind::Session, 0, 1, &session),
        Command::new(CommandKind::Account, 1, 0, &AccountBody::default()),
        Command::new(CommandKind::Account, 2, 0, &AccountBody::default()),
        Command::new(CommandKind::Account, 3, 0, &margin),
        Command::new(CommandKind::Transfer, 1, 0, &transfer(USD, 1_000)),
        Command::new(CommandKind::Transfer, 2, 0, &transfer(USD, 1_000)),
        Command::new(CommandKind::Transfer, 3, 0, &transfer(USD, 1_000)),
        Command::new(CommandKind::Transfer, 1, 0, &transfer(BTC, 5)),
        Command::new(CommandKind::Transfer, 2, 0, &transfer(BTC, 5)),
    ] {
        assert_eq!(reason(&shop.ask(command)), Reason::None, "{command:?}");
    }
    shop.told();
    shop
}

pub fn reason(command: &Command) -> Reason {
    Reason::from_code(command.head.reason).unwrap()
}

pub fn limit(side: i8, size: i64, price: i64) -> PlaceBody {
    PlaceBody {
        side,
        size,
        price,
        order_type: OrderType::Limit.code(),
        time_in_force: TimeInForce::Gtc.code(),
        ..PlaceBody::default()
    }
}

pub fn market(side: i8, size: i64) -> PlaceBody {
    PlaceBody { order_type: OrderType::Market.code(), time_in_force: TimeInForce::Ioc.code(), ..limit(side, size, 0) }
}

pub fn place(table: &mut dyn Table, account: u32, body: &PlaceBody) -> Reason {
    reason(&table.ask(Command::new(CommandKind::Place, account, 1, body)))
}

pub fn set_limits(table: &mut dyn Table, account: u32, instrument: u32, body: &LimitsBody) {
    assert_eq!(reason(&table.ask(Command::new(CommandKind::Limits, account, instrument, body))), Reason::None);
}
