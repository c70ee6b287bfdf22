//! Every order type, in every time in force, session and self-trade mode: what the tables of the page say of it, and the commands that try it.

use tidebook_book::Side;
use tidebook_types::command::{
    Command, CommandKind, OrderType, POST_ONLY, Peg, PlaceBody, PlacePairBody, SelfTrade, Session, SessionBody,
    TimeInForce,
};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

use super::super::{MatchingEngine, NaiveOptions};
use super::{after, has, page, way_to};

/// What an order can be, as the rows of the page group them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Limit,
    PostOnly,
    Iceberg,
    PostOnlyIceberg,
    MarketBySize,
    MarketByAmount,
    Stop,
    TrailingStop,
    StopLimit,
    Pegged(Peg),
    Pair,
}

const KINDS: [Kind; 13] = [
    Kind::Limit,
    Kind::PostOnly,
    Kind::Iceberg,
    Kind::PostOnlyIceberg,
    Kind::MarketBySize,
    Kind::MarketByAmount,
    Kind::Stop,
    Kind::TrailingStop,
    Kind::StopLimit,
    Kind::Pegged(Peg::Primary),
    Kind::Pegged(Peg::Opposite),
    Kind::Pegged(Peg::Mid),
    Kind::Pair,
];

impl Kind {
    /// Its row in the table of times in force.
    const fn row(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::PostOnly => "limit, post-only",
            Self::Iceberg => "limit, iceberg",
            Self::PostOnlyIceberg => "limit, post-only iceberg",
            Self::MarketBySize | Self::MarketByAmount => "market, by size or by amount",
            Self::Stop | Self::TrailingStop => "stop, trailing stop",
            Self::StopLimit => "stop-limit",
            Self::Pegged(_) => "pegged",
            Self::Pair => "one-cancels-other",
        }
    }

    /// Its row in the table of sessions.
    const fn session_row(self, time_in_force: TimeInForce) -> &'static str {
        match self {
            Self::Limit if matches!(time_in_force, TimeInForce::Ioc | TimeInForce::Fok) => "place limit IOC, FOK",
            Self::Limit | Self::Iceberg => "place limit GTC, DAY, GTD, also iceberg",
            Self::PostOnly | Self::PostOnlyIceberg => "place post-only",
            Self::MarketBySize | Self::MarketByAmount => "place market",
            Self::Stop | Self::TrailingStop | Self::StopLimit => "place stop, stop-limit, trailing stop",
            Self::Pegged(_) => "place pegged",
            Self::Pair => "place one-cancels-other",
        }
    }

    /// ann buys 10, at 101 where it has a price; stops wait for 105.
    fn command(self, time_in_force: TimeInForce, self_trade: SelfTrade) -> Command {
        let expire_ts = if time_in_force == TimeInForce::Gtd { 50 } else { 0 };
        if self == Self::Pair {
            let body = PlacePairBody {
                price: 101,
                size: 10,
                trigger_price: 105,
                expire_ts,
                side: Side::Bid.code(),
                time_in_force: time_in_force.code(),
                self_trade: self_trade.code(),
                ..PlacePairBody::default()
            };
            return Command::new(CommandKind::PlacePair, 1, 1, &body);
        }
        let mut body = PlaceBody {
            price: 101,
            size: 10,
            expire_ts,
            side: Side::Bid.code(),
            order_type: OrderType::Limit.code(),
            time_in_force: time_in_force.code(),
            self_trade: self_trade.code(),
            ..PlaceBody::default()
        };
        match self {
            Self::Limit => {}
            Self::PostOnly => (body.flags, body.price) = (POST_ONLY, 99),
            Self::Iceberg => body.display_size = 3,
            Self::PostOnlyIceberg => (body.flags, body.price, body.display_size) = (POST_ONLY, 99, 3),
            Self::MarketBySize => (body.order_type, body.price) = (OrderType::Market.code(), 0),
            Self::MarketByAmount => {
                (body.order_type, body.price) = (OrderType::Market.code(), 0);
                (body.size, body.amount) = (0, 1005);
            }
            Self::Stop => (body.order_type, body.price, body.trigger_price) = (OrderType::Stop.code(), 0, 105),
            Self::TrailingStop => (body.order_type, body.price, body.offset) = (OrderType::TrailingStop.code(), 0, 5),
            Self::StopLimit => (body.order_type, body.trigger_price) = (OrderType::StopLimit.code(), 105),
            Self::Pegged(peg) => {
                (body.order_type, body.price, body.peg) = (OrderType::Pegged.code(), 0, peg.code());
            }
            Self::Pair => unreachable!("a command of its own"),
        }
        Command::new(CommandKind::Place, 1, 1, &body)
    }
}

/// An order of one kind, time in force, session and self-trade mode, tried among orders of its owner and of others.
#[derive(Debug, Clone)]
pub struct Combination {
    /// What it is.
    pub name: String,
    /// What the page says of it: taken, or refused for this reason.
    pub expected: Result<(), Reason>,
    /// Accounts, instrument and book; the last one but the tail places the order.
    pub commands: Vec<Command>,
    /// Which of them places it.
    pub places: usize,
}

pub(super) fn session_command(session: Session) -> Command {
    let body = SessionBody { session: session.code(), ..SessionBody::default() };
    Command::new(CommandKind::Session, 0, 1, &body)
}

pub(super) fn limit(account: u32, side: Side, price: i64, size: i64) -> Command {
    let body = PlaceBody {
        price,
        size,
        side: side.code(),
        order_type: OrderType::Limit.code(),
        time_in_force: TimeInForce::Gtc.code(),
        ..PlaceBody::default()
    };
    Command::new(CommandKind::Place, account, 1, &body)
}

fn cell(table: &page::Table, row: &str, column: &str) -> String {
    let row = table.rows.iter().find(|cells| cells[0] == row).unwrap_or_else(|| panic!("the page has no row {row}"));
    let index = table.header.iter().position(|name| name == column).expect("a column of the page");
    row[index].clone()
}

/// Every one there is: 13 kinds of order x 5 times in force x 5 sessions x 5 self-trade modes.
pub fn combinations() -> Vec<Combination> {
    let (times, sessions) = (page::table_with("GTC"), page::table_with("closed"));
    let mut all = Vec::new();
    for kind in KINDS {
        for &time_in_force in TimeInForce::ALL {
            for &session in Session::ALL {
                for &self_trade in SelfTrade::ALL {
                    let time = cell(&times, kind.row(), &time_in_force.name().to_uppercase());
                    let name = session.name().replace('_', "-");
                    let in_session = cell(&sessions, kind.session_row(time_in_force), &name);
                    let expected = if time.starts_with("rejected") {
                        Err(Reason::TimeInForce)
                    } else if in_session == "`SESSION`" {
                        Err(Reason::Session)
                    } else {
                        Ok(())
                    };
                    let mut commands = setting();
                    commands.extend(way_to(session).iter().map(|&session| session_command(session)));
                    let places = commands.len();
                    commands.push(kind.command(time_in_force, self_trade));
                    commands.extend(tail(session));
                    let name = format!("{kind:?} {time_in_force:?} in {session:?}, {self_trade:?}");
                    all.push(Combination { name, expected, commands, places });
                }
            }
        }
    }
    all
}

/// An instrument with a last trade at 100, orders of ann and of bob on both sides, an own pegged order and a stop of bob.
fn setting() -> Vec<Command> {
    use tidebook_types::command::{AccountBody, InstrumentBody};
    let terms = InstrumentBody { tick: 1, lot: 1, size_max: 1000, taker_ppm: 500, ..InstrumentBody::default() };
    let mut commands = vec![Command::new(CommandKind::Instrument, 0, 1, &terms)];
    commands.extend((1..=3).map(|account| Command::new(CommandKind::Account, account, 0, &AccountBody::default())));
    commands.push(session_command(Session::Continuous));
    commands.push(limit(2, Side::Ask, 100, 1));
    commands.push(limit(3, Side::Bid, 100, 1));
    for (side, prices) in [(Side::Bid, [98, 97]), (Side::Ask, [100, 101])] {
        commands.push(limit(2, side, prices[0], 4));
        commands.push(limit(1, side, prices[0], 3));
        commands.push(limit(2, side, prices[1], 5));
    }
    commands.push(Kind::Pegged(Peg::Primary).command(TimeInForce::Gtc, SelfTrade::None));
    let stop = PlaceBody {
        size: 2,
        trigger_price: 101,
        side: Side::Bid.code(),
        order_type: OrderType::Stop.code(),
        time_in_force: TimeInForce::Gtc.code(),
        ..PlaceBody::default()
    };
    commands.push(Command::new(CommandKind::Place, 2, 1, &stop));
    commands
}

/// What happens to an order later: trades around it, the time of GTD, continuous trading, the close.
fn tail(session: Session) -> Vec<Command> {
    let mut commands = vec![limit(3, Side::Ask, 98, 6), limit(3, Side::Ask, 105, 9), limit(2, Side::Bid, 105, 9)];
    if session != Session::Continuous {
        commands.push(session_command(Session::Continuous));
        commands.extend([limit(3, Side::Ask, 97, 6), limit(2, Side::Bid, 105, 9)]);
    }
    commands.push(Command::bare(CommandKind::Timer, 0).at(50));
    commands.push(session_command(Session::Closed).at(50));
    commands
}

/// Each combination is taken or refused as the tables of the page say.
///
/// # Panics
/// When an engine does otherwise.
pub fn check_combinations<E: MatchingEngine>(new: impl Fn(NaiveOptions) -> E) {
    for combination in combinations() {
        let mut engine = new(NaiveOptions::default());
        for (index, command) in combination.commands.iter().enumerate() {
            let said = engine.apply(index as u64 + 1, command);
            if index == combination.places {
                let happened = match said.iter().find(|e| e.kind == ExecutionKind::Rejected.code()) {
                    Some(rejected) => Err(Reason::from_code(rejected.reason).expect("a reason of the table")),
                    None => Ok(()),
                };
                assert_eq!(happened, combination.expected, "{}: {said:?}", combination.name);
            }
        }
    }
}

/// Each cell of the table of times in force: what becomes of an order that is taken.
///
/// # Panics
/// When an engine does anything else than the cell, or a cell says what this suite does not know.
pub fn check_time_in_force_table<E: MatchingEngine>(new: impl Fn(NaiveOptions) -> E) {
    let table = page::table_with("GTC");
    let known = table.rows.iter().all(|row| KINDS.iter().any(|kind| kind.row() == row[0]));
    assert!(known, "the page has an order type that this suite does not know");
    for kind in KINDS {
        for &time_in_force in TimeInForce::ALL {
            let cell = cell(&table, kind.row(), &time_in_force.name().to_uppercase());
            let command = kind.command(time_in_force, SelfTrade::None);
            let mut engine = new(NaiveOptions::default());
            // 4 are there to be taken; post-only and pegged orders stand before them.
            let said = after(&mut engine, "bob b sells 4 at 101\nbob c buys 1 at 95\n", &[command]);
            let what = format!("{kind:?} {time_in_force:?}: {cell}, but {said:?}");
            let filled = has(&said, ExecutionKind::Fill, Reason::None);
            let mine = |engine: &E| {
                engine
                    .open_orders()
                    .into_iter()
                    .filter(|order| order.account == 1)
                    .map(|o| o.waiting)
                    .collect::<Vec<_>>()
            };
            if cell.starts_with("rejected") {
                assert!(has(&said, ExecutionKind::Rejected, Reason::TimeInForce), "{what}");
                continue;
            }
            match cell.as_str() {
                "rests" | "rests until the session closes" | "rests until `expire_ts`" => {
                    assert_eq!(mine(&engine), [false], "{what}");
                    ends_in_time(&mut engine, time_in_force, &what);
                }
                "what is not filled at once is cancelled" | "what is not filled is cancelled" => {
                    assert!(filled && has(&said, ExecutionKind::Cancelled, Reason::Immediate), "{what}");
                }
                "filled whole at once, or cancelled whole" => {
                    assert!(!filled && has(&said, ExecutionKind::Cancelled, Reason::FillOrKill), "{what}");
                    let mut engine = new(NaiveOptions::default());
                    let said = after(&mut engine, "bob b sells 4 at 101\nbob c sells 9 at 100\n", &[command]);
                    assert!(has(&said, ExecutionKind::Fill, Reason::None), "{what}");
                    assert!(!has(&said, ExecutionKind::Cancelled, Reason::FillOrKill), "{what}");
                }
                "both legs" => {
                    // Half of it would be filled at once: here it is to rest.
                    let mut engine = new(NaiveOptions::default());
                    after(&mut engine, "bob b sells 4 at 102\n", &[command]);
                    assert_eq!(mine(&engine), [false, true], "{what}");
                    ends_in_time(&mut engine, time_in_force, &what);
                }
                "waits, then a market order IOC" | "the same" => {
                    assert_eq!(mine(&engine), [true], "{what}");
                    let mut waits = engine;
                    let said = trades(&mut waits);
                    assert!(has(&said, ExecutionKind::Triggered, Reason::None), "{what}: {said:?}");
                    assert_eq!(mine(&waits), [] as [bool; 0], "{what}");
                }
                "waits, then a limit order GTC" | "then DAY" | "then GTD" => {
                    assert_eq!(mine(&engine), [true], "{what}");
                    let said = trades(&mut engine);
                    assert!(has(&said, ExecutionKind::Triggered, Reason::None), "{what}: {said:?}");
                    assert_eq!(mine(&engine), [false], "{what}");
                    ends_in_time(&mut engine, time_in_force, &what);
                }
                _ => panic!("{what}: the suite does not know this cell"),
            }
        }
    }
}

/// Trades from 95 up to 105, which reach every stop of the suite, trailing ones too.
fn trades<E: MatchingEngine>(engine: &mut E) -> Vec<Execution> {
    let mut said = engine.apply(1100, &limit(3, Side::Ask, 95, 1));
    said.extend(engine.apply(1101, &limit(3, Side::Ask, 105, 1)));
    said.extend(engine.apply(1102, &limit(2, Side::Bid, 105, 5)));
    said
}

/// GTD goes with the time, DAY with the close, GTC with neither.
fn ends_in_time<E: MatchingEngine>(engine: &mut E, time_in_force: TimeInForce, what: &str) {
    let open = |engine: &E| engine.open_orders().iter().any(|order| order.account == 1);
    engine.apply(1200, &Command::bare(CommandKind::Timer, 0).at(49));
    assert!(open(engine), "{what}");
    engine.apply(1201, &Command::bare(CommandKind::Timer, 0).at(50));
    assert_eq!(open(engine), time_in_force != TimeInForce::Gtd, "{what}");
    engine.apply(1202, &session_command(Session::Closed).at(50));
    assert_eq!(open(engine), time_in_force == TimeInForce::Gtc, "{what}");
}

/// Each cell of the table of sessions: what an order that is taken does there, and what else may be done.
///
/// # Panics
/// When an engine does anything else than the cell, or a cell says what this suite does not know.
pub fn check_session_rows<E: MatchingEngine>(new: impl Fn(NaiveOptions) -> E) {
    let table = page::table_with("closed");
    for row in &table.rows {
        for (name, cell) in table.header[1..].iter().zip(&row[1..]) {
            let session = page::session(name);
            let mut way: Vec<Command> = way_to(session).iter().map(|&session| session_command(session)).collect();
            let script = "bob b sells 4 at 101\nbob c buys 1 at 95\nann a buys 5 at 90 gtd 50 on-disconnect\n";
            if !row[0].starts_with("place ") {
                for act in acts(&row[0]) {
                    let mut engine = new(NaiveOptions::default());
                    after(&mut engine, script, &way);
                    let (played, said) = continue_play(&mut engine, act);
                    let what = format!("{act} in {name}: {cell}, but\n{played}");
                    let refused = has(&said, ExecutionKind::Rejected, Reason::Session);
                    let filled = has(&said, ExecutionKind::Fill, Reason::None);
                    let done = !has(&said, ExecutionKind::Rejected, Reason::UnknownOrder) && !refused;
                    match cell.as_str() {
                        "`SESSION`" => assert!(refused, "{what}"),
                        "yes" if row[0] == "replace" => assert!(done && filled, "{what}"),
                        "yes" => assert!(done && engine.open_orders().iter().all(|o| o.account != 1), "{what}"),
                        "yes, unmatched" => assert!(done && !filled, "{what}"),
                        _ => panic!("{what}: the suite does not know this cell"),
                    }
                }
                continue;
            }
            for kind in KINDS {
                for &time_in_force in TimeInForce::ALL {
                    let command = kind.command(time_in_force, SelfTrade::None);
                    let taken = !self::cell(&page::table_with("GTC"), kind.row(), &time_in_force.name().to_uppercase())
                        .starts_with("rejected");
                    if kind.session_row(time_in_force) != row[0] || !taken {
                        continue;
                    }
                    let mut engine = new(NaiveOptions::default());
                    way.push(command);
                    let said = after(&mut engine, script, &way);
                    way.pop();
                    let what = format!("{kind:?} {time_in_force:?} in {name}: {cell}, but {said:?}");
                    let refused = has(&said, ExecutionKind::Rejected, Reason::Session);
                    let filled = has(&said, ExecutionKind::Fill, Reason::None);
                    let killed = has(&said, ExecutionKind::Cancelled, Reason::FillOrKill);
                    let open: Vec<bool> =
                        engine.open_orders().iter().filter(|o| o.order_id >= 2000).map(|o| o.waiting).collect();
                    match cell.as_str() {
                        "`SESSION`" => assert!(refused && open.is_empty(), "{what}"),
                        "rests unmatched" => assert!(!refused && !filled && open == [false], "{what}"),
                        "matches" => assert!(filled || killed, "{what}"),
                        "waits" | "waits, or is triggered at once" => assert_eq!(open, [true], "{what}"),
                        "yes" => assert!(!refused && (filled || !open.is_empty()), "{what}"),
                        _ => panic!("{what}: the suite does not know this cell"),
                    }
                }
            }
        }
    }
}

/// The commands of a row, as a script goes on: ann's order is a.
fn acts(row: &str) -> &'static [&'static str] {
    match row {
        "replace" => &["replace"],
        "cancel, mass cancel, disconnect, dead man's switch" => &["cancel", "mass cancel", "disconnect", "switch"],
        "expiry of GTD" => &["expiry"],
        _ => panic!("the suite does not know the row {row}"),
    }
}

fn continue_play<E: MatchingEngine>(engine: &mut E, act: &str) -> (String, Vec<Execution>) {
    use tidebook_types::command::{CancelAllAfterBody, CancelBody, MassCancelBody, ReplaceBody};
    let order_id = engine.open_orders().iter().find(|order| order.account == 1).expect("ann's order").order_id;
    let commands = match act {
        "replace" => {
            let body = ReplaceBody { order_id, price: 101, size: 6, expire_ts: 50, ..ReplaceBody::default() };
            vec![Command::new(CommandKind::Replace, 1, 1, &body)]
        }
        "cancel" => {
            let body = CancelBody { order_id, ..CancelBody::default() };
            vec![Command::new(CommandKind::Cancel, 1, 1, &body)]
        }
        "mass cancel" => vec![Command::new(CommandKind::MassCancel, 1, 0, &MassCancelBody::default())],
        "disconnect" => vec![Command::bare(CommandKind::Disconnect, 1)],
        "switch" => {
            let body = CancelAllAfterBody { timeout_ns: 10, ..CancelAllAfterBody::default() };
            let switch = Command::new(CommandKind::CancelAllAfter, 1, 0, &body);
            vec![switch, Command::bare(CommandKind::Timer, 0).at(10)]
        }
        _ => vec![Command::bare(CommandKind::Timer, 0).at(50)],
    };
    let mut said = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        said.extend(engine.apply(1500 + index as u64, command));
    }
    (format!("{said:?}"), said)
}
