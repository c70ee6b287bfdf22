//! Each row of each table of `docs/risk.md` is a case here, run on both implementations; a row that has none, or a case that has no row, fails.
//!
//! The desk of the cases: prices in cents, sizes in thousandths, fees of 0.1 %, a reference of 100.00; accounts 1 and 2 have 1,000.00 and 5 coins
//! each, account 3 has margin (10 %, 5 %) and 1,000.00. The first order has the id 22. See `common/shop.rs`.

mod common;

use common::ENDED_IDS_MAX;
use common::shop::{BTC, CENT, MILLI, Table, USD, instrument, limit, market, on_both, place, reason, set_limits};
use tidebook_types::command::{
    ACCOUNT_MARGIN, AccountBody, BandAction, CancelBody, InstrumentBody, KillBody, LimitsBody, MassCancelBody,
    PlaceBody, PlacePairBody, ReplaceBody, SessionBody, TransferBody,
};
use tidebook_types::records::{SIDE_BUY, SIDE_SELL};
use tidebook_types::{
    Command, CommandKind, OrderType, Peg, Reason, RiskEventKind, SelfTrade, Session, TimeInForce, Verdict,
};

const PAGE: &str = include_str!("../../../docs/risk.md");

/// Section and first cell of a row, and what must be so.
type Case = (&'static str, &'static str, fn(&mut dyn Table));

/// Section and first cell of every row.
fn rows() -> Vec<(String, String)> {
    let (mut section, mut inside, mut rows) = ("", false, Vec::new());
    for line in PAGE.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        let Some(cells) = line.strip_prefix("| ") else {
            inside = line.starts_with("|---");
            continue;
        };
        if inside {
            rows.push((section.to_owned(), cells.split(" | ").next().unwrap().to_owned()));
        }
    }
    rows
}

#[test]
fn each_row_of_the_page_has_a_case_and_each_case_a_row() {
    let mut known: Vec<_> = cases().iter().map(|(section, row, _)| (section.to_string(), row.to_string())).collect();
    let mut told = rows();
    assert!(told.len() > 70, "{} rows", told.len());
    known.sort();
    told.sort();
    let missing: Vec<_> = told.iter().filter(|row| !known.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a case: {missing:#?}");
    assert_eq!(known, told, "cases without a row, or one is there twice");
}

#[test]
fn each_row_of_the_page_is_so_on_both_implementations() {
    let fails = |(section, row, case): Case| {
        let failed = std::panic::catch_unwind(|| on_both(case)).is_err();
        failed.then(|| format!("{section}: {row}"))
    };
    let failed: Vec<_> = cases().into_iter().filter_map(fails).collect();
    assert!(failed.is_empty(), "not so: {failed:#?}");
}

fn ask(table: &mut dyn Table, kind: CommandKind, account: u32, instrument: u32, body: &(impl Body + ?Sized)) -> Reason {
    reason(&table.ask(body.command(kind, account, instrument)))
}

/// What has a place in a command.
trait Body {
    fn command(&self, kind: CommandKind, account: u32, instrument: u32) -> Command;
}

macro_rules! bodies {
    ($($body:ident),*) => {
        $(impl Body for $body {
            fn command(&self, kind: CommandKind, account: u32, instrument: u32) -> Command {
                Command::new(kind, account, instrument, self)
            }
        })*
    };
}
bodies!(
    AccountBody,
    CancelBody,
    InstrumentBody,
    KillBody,
    LimitsBody,
    MassCancelBody,
    PlaceBody,
    PlacePairBody,
    ReplaceBody,
    SessionBody,
    TransferBody
);

fn pair(side: i8, size: i64, price: i64, trigger_price: i64, limit_price: i64) -> PlacePairBody {
    let time_in_force = TimeInForce::Gtc.code();
    PlacePairBody { side, size, price, trigger_price, limit_price, time_in_force, ..PlacePairBody::default() }
}

fn replace(order_id: u64, size: i64, price: i64) -> ReplaceBody {
    ReplaceBody { order_id, size, price, ..ReplaceBody::default() }
}

fn cancel(order_id: u64) -> CancelBody {
    CancelBody { order_id, ..CancelBody::default() }
}

fn transfer(asset: u32, amount: i64) -> TransferBody {
    TransferBody { asset, amount, ..TransferBody::default() }
}

fn kill(killed: u8) -> KillBody {
    KillBody { killed, ..KillBody::default() }
}

fn with_id(id: u8, body: PlaceBody) -> PlaceBody {
    PlaceBody { client_order_id: [id; 16], ..body }
}

fn collar(ppm: u32) -> LimitsBody {
    LimitsBody { collar_ppm: ppm, ..LimitsBody::default() }
}

/// Under these limits one order is refused for the reason, and the one beside it accepted.
fn bound(table: &mut dyn Table, limits: LimitsBody, refused: PlaceBody, accepted: PlaceBody, why: Reason) {
    set_limits(table, 1, 1, &limits);
    assert_eq!((place(table, 1, &refused), place(table, 1, &accepted)), (why, Reason::None));
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = vec![
        ("One command", "`ts`", |table| {
            let at = |ts| Command::bare(CommandKind::Timer, 0).at(ts);
            let said = [100, 50, 101].map(|ts| table.ask(at(ts)).head.ts);
            assert_eq!(said, [100, 100, 101]);
        }),
        ("One command", "`executions_seen`", |table| {
            let seen = |table: &mut dyn Table| table.ask(Command::bare(CommandKind::Timer, 0)).head.executions_seen;
            let before = seen(table);
            table.late(true);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(seen(table), before, "what the order gave is on its way");
            table.late(false);
            assert_eq!(seen(table), before + 1);
        }),
        ("One command", "`verdict`, `reason`", |table| {
            let nobody = table.ask(Command::new(CommandKind::Place, 9, 9, &limit(SIDE_BUY, 0, -1)));
            assert_eq!((nobody.head.verdict, reason(&nobody)), (Verdict::Rejected.code(), Reason::Account));
            let taken = table.ask(Command::new(CommandKind::Place, 1, 1, &limit(SIDE_BUY, 1, 100)));
            assert_eq!((taken.head.verdict, reason(&taken)), (Verdict::Accepted.code(), Reason::None));
        }),
        ("One command", "`order_id` of a cancel or replace that names its order by the client's id", |table| {
            assert_eq!(place(table, 1, &with_id(7, limit(SIDE_BUY, 1, 100))), Reason::None);
            let change = ReplaceBody { client_order_id: [7; 16], ..replace(0, 2, 101) };
            let judged = table.ask(Command::new(CommandKind::Replace, 1, 1, &change));
            let body: ReplaceBody = judged.body();
            assert_eq!((reason(&judged), body.order_id, body.client_order_id), (Reason::None, 22, [7; 16]));
            let away = CancelBody { client_order_id: [7; 16], ..CancelBody::default() };
            let judged = table.ask(Command::new(CommandKind::Cancel, 1, 1, &away));
            assert_eq!((reason(&judged), judged.body::<CancelBody>().order_id), (Reason::None, 22));
        }),
        ("One command", "`price` of an order of a spot account that has none", |table| {
            set_limits(table, 1, 1, &collar(100_000));
            let judged = table.ask(Command::new(CommandKind::Place, 1, 1, &market(SIDE_SELL, 1)));
            assert_eq!(judged.body::<PlaceBody>().price, 9_000);
        }),
    ];
    cases.extend(checks());
    cases.extend(prices());
    cases.extend(limits());
    cases.extend(client_ids());
    cases.extend(accounts());
    cases.extend(definitions());
    cases.extend(kill_switch());
    cases.extend(events());
    cases
}

fn checks() -> Vec<Case> {
    use CommandKind as K;
    const CHECKS: &str = "The checks";
    vec![
        (CHECKS, "`LATE`", |_| {
            // An engine alone says it; its row is run where there is one.
            let engine = include_str!("../../plane/tests/venue_engine.rs");
            assert!(
                engine.contains("fn what_asks_for_more_and_was_sent_long_ago_is_refused_as_late_and_a_recheck_agrees")
            );
        }),
        (CHECKS, "`FIELDS`", |table| {
            let mut unknown = Command::new(K::Place, 1, 1, &limit(SIDE_BUY, 1, 100));
            unknown.head.kind = 99;
            assert_eq!(reason(&table.ask(unknown)), Reason::Fields);
            let mut reserved = Command::new(K::Place, 1, 1, &limit(SIDE_BUY, 1, 100));
            reserved.head.reserved[0] = 1;
            assert_eq!(reason(&table.ask(reserved)), Reason::Fields);
        }),
        (CHECKS, "`OPERATOR`", |table| {
            assert_eq!(ask(table, K::Session, 1, 1, &SessionBody::default()), Reason::Operator);
            assert_eq!(ask(table, K::Instrument, 1, 1, &instrument()), Reason::Operator);
            assert_eq!(reason(&table.ask(Command::bare(K::Timer, 1))), Reason::Operator);
        }),
        (CHECKS, "`ACCOUNT`", |table| {
            for account in [0, 9] {
                assert_eq!(ask(table, K::Place, account, 1, &limit(SIDE_BUY, 1, 100)), Reason::Account);
                assert_eq!(ask(table, K::Transfer, account, 0, &transfer(USD, 1)), Reason::Account);
            }
            assert_eq!(ask(table, K::MassCancel, 0, 0, &MassCancelBody::default()), Reason::None);
            assert_eq!(ask(table, K::MassCancel, 9, 0, &MassCancelBody::default()), Reason::Account);
            assert_eq!(ask(table, K::Account, 9, 0, &AccountBody::default()), Reason::None, "the one it opens");
        }),
        (CHECKS, "`INSTRUMENT`", |table| {
            for instrument in [0, 9] {
                assert_eq!(ask(table, K::Place, 1, instrument, &limit(SIDE_BUY, 1, 100)), Reason::Instrument);
                assert_eq!(
                    ask(table, K::PlacePair, 1, instrument, &pair(SIDE_SELL, 1, 200, 50, 40)),
                    Reason::Instrument
                );
                assert_eq!(ask(table, K::Replace, 1, instrument, &replace(22, 1, 100)), Reason::Instrument);
                assert_eq!(ask(table, K::Cancel, 1, instrument, &cancel(22)), Reason::Instrument);
                assert_eq!(ask(table, K::Session, 0, instrument, &SessionBody::default()), Reason::Instrument);
            }
            assert_eq!(ask(table, K::MassCancel, 1, 9, &MassCancelBody::default()), Reason::Instrument);
            assert_eq!(ask(table, K::Limits, 1, 9, &LimitsBody::default()), Reason::Instrument);
            assert_eq!(ask(table, K::Limits, 1, 0, &LimitsBody::default()), Reason::None);
        }),
        (CHECKS, "`THROTTLED`", |table| {
            set_limits(table, 1, 1, &LimitsBody { commands_per_s: 1, burst: 1, ..LimitsBody::default() });
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(1)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::Throttled, "before KILLED");
            assert_eq!(ask(table, K::Replace, 1, 1, &replace(24, 2, 100)), Reason::Throttled);
            assert_eq!(ask(table, K::PlacePair, 1, 1, &pair(SIDE_SELL, 1, 200, 50, 40)), Reason::Throttled);
            assert_eq!(ask(table, K::Cancel, 1, 1, &cancel(24)), Reason::None);
        }),
        (CHECKS, "`KILLED`", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(1)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::Killed);
            assert_eq!(ask(table, K::PlacePair, 1, 1, &pair(SIDE_SELL, 1, 200, 50, 40)), Reason::Killed);
            assert_eq!(ask(table, K::Replace, 1, 1, &replace(99, 2, 100)), Reason::Killed, "before UNKNOWN_ORDER");
        }),
        (CHECKS, "`UNKNOWN_ORDER`", |table| {
            assert_eq!(place(table, 1, &with_id(1, limit(SIDE_BUY, 1, 100))), Reason::None);
            assert_eq!(place(table, 1, &with_id(2, limit(SIDE_BUY, 1, 100))), Reason::None);
            assert_eq!(ask(table, K::Cancel, 1, 1, &cancel(26)), Reason::UnknownOrder);
            assert_eq!(ask(table, K::Cancel, 2, 1, &cancel(22)), Reason::UnknownOrder, "another's");
            assert_eq!(ask(table, K::Replace, 2, 1, &replace(22, 2, 100)), Reason::UnknownOrder);
            let two = CancelBody { client_order_id: [2; 16], ..cancel(22) };
            assert_eq!(ask(table, K::Cancel, 1, 1, &two), Reason::UnknownOrder, "of two orders");
            assert_eq!(ask(table, K::Cancel, 0, 1, &cancel(22)), Reason::None, "the operator's");
        }),
        (CHECKS, "`LINKED`", |table| {
            assert_eq!(ask(table, K::PlacePair, 1, 1, &pair(SIDE_SELL, 1_000, 12_000, 9_000, 8_900)), Reason::None);
            assert_eq!(ask(table, K::Replace, 1, 1, &replace(22, 0, 12_100)), Reason::Linked, "before its size");
            assert_eq!(ask(table, K::Replace, 1, 1, &replace(23, 1_000, 8_800)), Reason::Linked);
        }),
        (CHECKS, "`FIELDS`", |table| {
            let mut limits = LimitsBody::default();
            limits.reserved[0] = 1;
            assert_eq!(ask(table, K::Limits, 1, 1, &limits), Reason::Fields);
            let mut out = transfer(USD, 0);
            out.reserved[0] = 1;
            assert_eq!(ask(table, K::Transfer, 1, 0, &out), Reason::Fields, "before its amount");
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(2)), Reason::Fields);
            let good = limit(SIDE_BUY, 1, 100);
            for wrong in [
                PlaceBody { side: 0, ..good },
                PlaceBody { order_type: 99, ..good },
                PlaceBody { self_trade: 99, ..good },
                PlaceBody { amount: 5, ..good },
                PlaceBody { amount: 5, size: 0, ..good },
            ] {
                assert_eq!(place(table, 1, &wrong), Reason::Fields, "{wrong:?}");
            }
            assert_eq!(
                place(table, 1, &PlaceBody { self_trade: SelfTrade::CancelNewest.code(), ..good }),
                Reason::None
            );
        }),
        (CHECKS, "`TICK`, `LOT`, `SIZE`, `PRICE`, `AMOUNT`", |table| {
            let coarse = InstrumentBody { tick: 5, lot: 10, size_min: 20, size_max: 1_000, ..instrument() };
            assert_eq!(ask(table, K::Instrument, 0, 1, &coarse), Reason::None);
            for (size, price, why) in [
                (15, 101, Reason::Tick),
                (15, 100, Reason::Lot),
                (0, 0, Reason::Size),
                (10, 0, Reason::Size),
                (1_010, 0, Reason::Size),
                (20, 0, Reason::Price),
                (20, -5, Reason::Price),
                (20, 1 << 53, Reason::Tick),
                (20, (1 << 53) + 3, Reason::Price),
                (20, 100, Reason::None),
            ] {
                assert_eq!(place(table, 1, &limit(SIDE_BUY, size, price)), why, "{size} at {price}");
            }
            for amount in [-1, 1 << 53] {
                let by_amount = PlaceBody { amount, price: 100, ..market(SIDE_BUY, 0) };
                assert_eq!(place(table, 1, &by_amount), Reason::Amount, "{amount}");
            }
            assert_eq!(place(table, 2, &limit(SIDE_SELL, 100, 200)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 40, 200)), Reason::None);
            let resting = table.ask(Command::bare(K::Timer, 0));
            assert_eq!(reason(&resting), Reason::None);
            assert_eq!(
                ask(table, K::Replace, 2, 1, &replace(RESTING_SELL, 40, 200)),
                Reason::Size,
                "not above what is filled"
            );
            assert_eq!(ask(table, K::Replace, 2, 1, &replace(RESTING_SELL, 60, 200)), Reason::None);
            let larger = InstrumentBody { size_min: 80, ..coarse };
            assert_eq!(ask(table, K::Instrument, 0, 1, &larger), Reason::None);
            assert_eq!(ask(table, K::Replace, 2, 1, &replace(RESTING_SELL, 70, 205)), Reason::Size);
            assert_eq!(ask(table, K::Replace, 2, 1, &replace(RESTING_SELL, 0, 206)), Reason::Tick);
            assert_eq!(ask(table, K::Replace, 2, 1, &replace(RESTING_SELL, 0, 0)), Reason::Price);
            assert_eq!(ask(table, K::Replace, 2, 1, &replace(RESTING_SELL, 0, 205)), Reason::None, "the size stays");
        }),
        (CHECKS, "`DUPLICATE`", |table| {
            assert_eq!(place(table, 1, &with_id(1, limit(SIDE_BUY, 1, 100))), Reason::None);
            assert_eq!(place(table, 1, &with_id(2, limit(SIDE_BUY, 1, 100))), Reason::None);
            assert_eq!(place(table, 1, &with_id(1, limit(SIDE_BUY, 1, 100))), Reason::Duplicate);
            let both = PlacePairBody { client_order_id: [1; 16], ..pair(SIDE_SELL, 1, 200, 50, 40) };
            assert_eq!(ask(table, K::PlacePair, 1, 1, &both), Reason::Duplicate);
            let taken = ReplaceBody { client_order_id: [2; 16], ..replace(22, 1, 100) };
            assert_eq!(ask(table, K::Replace, 1, 1, &taken), Reason::Duplicate);
        }),
        (CHECKS, "`OPEN_ORDERS`", |table| {
            set_limits(table, 1, 0, &LimitsBody { open_orders_max: 2, ..LimitsBody::default() });
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(ask(table, K::PlacePair, 1, 1, &pair(SIDE_SELL, 1, 20_000, 50, 40)), Reason::OpenOrders);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::OpenOrders);
        }),
        (CHECKS, "`ORDER_SIZE`", |table| {
            let limits = LimitsBody { order_size_max: 10, collar_ppm: 1, ..LimitsBody::default() };
            bound(table, limits, limit(SIDE_BUY, 11, 100), limit(SIDE_BUY, 10, 10_000), Reason::OrderSize);
            assert_eq!(ask(table, K::Replace, 1, 1, &replace(26, 11, 10_000)), Reason::OrderSize, "a replace too");
            assert_eq!(ask(table, K::Replace, 1, 1, &replace(26, 0, 10_000)), Reason::None);
            let lower = LimitsBody { order_size_max: 9, ..limits };
            set_limits(table, 1, 1, &lower);
            assert_eq!(ask(table, K::Replace, 1, 1, &replace(26, 0, 10_000)), Reason::OrderSize, "one that stays too");
        }),
        (CHECKS, "`COLLAR`", |table| {
            let limits = LimitsBody { order_notional_max: 1, ..collar(100_000) };
            set_limits(table, 1, 1, &limits);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 11_001)), Reason::Collar, "before ORDER_NOTIONAL");
        }),
        (CHECKS, "`PRICE`", |table| {
            set_limits(table, 1, 1, &LimitsBody { order_notional_max: 1, ..LimitsBody::default() });
            assert_eq!(place(table, 1, &market(SIDE_BUY, 1_000)), Reason::Price, "before ORDER_NOTIONAL");
        }),
        (CHECKS, "`ORDER_NOTIONAL`", |table| {
            let limits = LimitsBody { order_notional_max: 10_000, position_max: 1_000, ..LimitsBody::default() };
            bound(table, limits, limit(SIDE_BUY, 1_001, 10_000), limit(SIDE_BUY, 1_000, 10_000), Reason::OrderNotional);
        }),
        (CHECKS, "`POSITION`", |table| {
            let limits = LimitsBody { position_max: 1_000, exposure_max: 10_000, ..LimitsBody::default() };
            bound(table, limits, limit(SIDE_BUY, 1_001, 10_000), limit(SIDE_BUY, 1_000, 10_000), Reason::Position);
        }),
        (CHECKS, "`EXPOSURE`", |table| {
            let limits = LimitsBody { exposure_max: 10_000, ..LimitsBody::default() };
            bound(table, limits, limit(SIDE_BUY, 100_000, 10_000), limit(SIDE_BUY, 1_000, 10_000), Reason::Exposure);
        }),
        (CHECKS, "`BALANCE`", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_SELL, 5_001, 10_000)), Reason::Balance);
            assert_eq!(ask(table, K::Transfer, 1, 0, &transfer(BTC, -6)), Reason::Balance);
            assert_eq!(place(table, 1, &limit(SIDE_SELL, 5_000, 10_000)), Reason::None);
            assert_eq!(ask(table, K::Transfer, 1, 0, &transfer(BTC, -1)), Reason::Balance, "it is reserved");
        }),
        (CHECKS, "`MARGIN`", |table| {
            assert_eq!(
                place(table, 3, &limit(SIDE_BUY, 100_000, 10_000)),
                Reason::Margin,
                "nothing is left for the fee"
            );
            assert_eq!(place(table, 3, &limit(SIDE_BUY, 90_000, 10_000)), Reason::None);
            assert_eq!(ask(table, K::Transfer, 3, 0, &transfer(USD, -101)), Reason::Margin);
            assert_eq!(ask(table, K::Transfer, 3, 0, &transfer(USD, -50)), Reason::None);
        }),
        (CHECKS, "`DEFINITION`", |table| {
            assert_eq!(
                ask(table, K::Instrument, 0, 1, &InstrumentBody { tick: 0, ..instrument() }),
                Reason::Definition
            );
            assert_eq!(
                ask(table, K::Account, 1, 0, &AccountBody { flags: 1 << 7, ..AccountBody::default() }),
                Reason::Definition
            );
            assert_eq!(
                ask(table, K::Limits, 1, 1, &LimitsBody { exposure_max: -1, ..LimitsBody::default() }),
                Reason::Definition
            );
        }),
    ]
}

/// Of the sell in the case of sizes: the command of this number placed it.
const RESTING_SELL: u64 = 2 * 24;

/// The stop that is replaced in the case of collars.
const STOP: u64 = 2 * 13;

fn prices() -> Vec<Case> {
    const COLLAR: &str = "Collar";
    const WORST: &str = "The worst price";
    fn worst(table: &mut dyn Table, body: &PlaceBody) -> i64 {
        let judged = table.ask(Command::new(CommandKind::Place, 1, 1, body));
        assert_eq!(reason(&judged), Reason::None, "{body:?}");
        judged.body::<PlaceBody>().price
    }
    fn stop(side: i8, price: i64) -> PlaceBody {
        let order_type = if price == 0 { OrderType::Stop } else { OrderType::StopLimit }.code();
        let trigger_price = if side == SIDE_BUY { 20_000 } else { 50 };
        PlaceBody { order_type, trigger_price, ..limit(side, 1_000, price) }
    }
    /// Behind an order of account 1 at a price, what it has of an asset less than before.
    fn reserved(table: &mut dyn Table, asset: u32, body: &PlaceBody) -> i128 {
        let before = table.available(1, asset);
        assert_eq!(place(table, 1, body), Reason::None, "{body:?}");
        before - table.available(1, asset)
    }
    vec![
        (COLLAR, "`collar_ppm` of the account for this instrument is set and there is a reference", |table| {
            set_limits(table, 1, 1, &collar(100_004));
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 11_001)), Reason::Collar, "1,000.04 inwards");
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 11_000)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_SELL, 1, 8_999)), Reason::Collar);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 8_999)), Reason::Collar, "also where it harms nobody");
            let legs = pair(SIDE_SELL, 1, 11_000, 10_500, 8_999);
            assert_eq!(ask(table, CommandKind::PlacePair, 1, 1, &legs), Reason::Collar, "its limit_price");
        }),
        (COLLAR, "it is not set for the instrument but for the account as a whole", |table| {
            set_limits(table, 1, 0, &collar(100_000));
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 11_001)), Reason::Collar);
            set_limits(table, 1, 1, &collar(200_000));
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 11_001)), Reason::None, "its own goes first");
        }),
        (COLLAR, "no reference, or no collar", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 90_000)), Reason::None);
            let other = InstrumentBody { reference_price: 0, ..instrument() };
            assert_eq!(ask(table, CommandKind::Instrument, 0, 2, &other), Reason::None);
            set_limits(table, 1, 2, &collar(1));
            assert_eq!(ask(table, CommandKind::Place, 1, 2, &limit(SIDE_BUY, 1, 90)), Reason::None);
        }),
        (COLLAR, "trigger prices", |table| {
            set_limits(table, 1, 1, &collar(100_000));
            assert_eq!(place(table, 1, &PlaceBody { trigger_price: 50_000, ..stop(SIDE_BUY, 10_000) }), Reason::None);
        }),
        (COLLAR, "the `price` of a stop or trailing stop, the limit of a stop-limit or of a pair's stop", |table| {
            let leg = |side: i8, trigger_price: i64, price: i64| PlaceBody { trigger_price, ..stop(side, price) };
            set_limits(table, 1, 1, &collar(20_000));
            assert_eq!(place(table, 1, &leg(SIDE_SELL, 9_500, 9_309)), Reason::Collar);
            assert_eq!(place(table, 1, &leg(SIDE_SELL, 9_500, 9_310)), Reason::None, "2 % below 95.00");
            assert_eq!(place(table, 1, &leg(SIDE_SELL, 9_500, 9_700)), Reason::None, "between");
            assert_eq!(place(table, 1, &leg(SIDE_SELL, 9_500, 10_201)), Reason::Collar);
            assert_eq!(place(table, 1, &leg(SIDE_BUY, 11_000, 11_221)), Reason::Collar);
            assert_eq!(place(table, 1, &leg(SIDE_BUY, 11_000, 11_220)), Reason::None);
            let legs = |limit_price: i64| pair(SIDE_SELL, 1, 10_200, 9_500, limit_price);
            assert_eq!(ask(table, CommandKind::PlacePair, 1, 1, &legs(9_309)), Reason::Collar);
            assert_eq!(ask(table, CommandKind::PlacePair, 1, 1, &legs(9_310)), Reason::None);
            set_limits(table, 1, 1, &collar(10_000));
            let again = |price: i64| ReplaceBody { trigger_price: 9_500, ..replace(STOP, 500, price) };
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &again(9_311)), Reason::Collar);
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &again(9_310)), Reason::None, "as it is");
        }),
        (WORST, "limit, stop-limit", |table| {
            assert_eq!(reserved(table, USD, &limit(SIDE_BUY, 1_000, 9_000)), 9_009 * CENT);
            assert_eq!(reserved(table, USD, &stop(SIDE_BUY, 8_000)), 8_008 * CENT);
        }),
        (WORST, "market, stop, trailing stop, pegged with a `price`", |table| {
            set_limits(table, 1, 1, &collar(500_000));
            assert_eq!(worst(table, &PlaceBody { price: 9_000, ..market(SIDE_BUY, 1) }), 9_000);
            let bounded = PlaceBody { order_type: OrderType::Stop.code(), ..stop(SIDE_BUY, 9_000) };
            assert_eq!(reserved(table, USD, &bounded), 9_009 * CENT);
            let trailing =
                PlaceBody { order_type: OrderType::TrailingStop.code(), offset: 10, trigger_price: 0, ..bounded };
            assert_eq!(worst(table, &trailing), 9_000);
            let pegged = PlaceBody {
                order_type: OrderType::Pegged.code(),
                peg: Peg::Primary.code(),
                ..limit(SIDE_BUY, 1, 9_000)
            };
            assert_eq!(worst(table, &pegged), 9_000);
        }),
        (WORST, "the same without one, of a spot account, buy", |table| {
            assert_eq!(place(table, 1, &market(SIDE_BUY, 1)), Reason::Price);
            let banded =
                InstrumentBody { band_ppm: 200_004, band_action: BandAction::Reject.code(), tick: 7, ..instrument() };
            assert_eq!(ask(table, CommandKind::Instrument, 0, 1, &banded), Reason::None);
            assert_eq!(worst(table, &market(SIDE_BUY, 1)), 11_998, "120.00 down to a tick");
            set_limits(table, 1, 1, &collar(100_000));
            assert_eq!(worst(table, &market(SIDE_BUY, 1)), 10_997, "the collar goes first");
        }),
        (WORST, "the same, sell", |table| {
            assert_eq!(worst(table, &market(SIDE_SELL, 1)), 0, "one tick is counted, nothing put in");
            assert_eq!(place(table, 1, &PlaceBody { amount: 100, ..market(SIDE_SELL, 0) }), Reason::Price);
            let banded =
                InstrumentBody { band_ppm: 200_000, band_action: BandAction::Reject.code(), tick: 7, ..instrument() };
            assert_eq!(ask(table, CommandKind::Instrument, 0, 1, &banded), Reason::None);
            assert_eq!(worst(table, &market(SIDE_SELL, 1)), 8_001, "80.00 up to a tick");
            set_limits(table, 1, 1, &collar(100_000));
            assert_eq!(worst(table, &market(SIDE_SELL, 1)), 9_002);
        }),
        (WORST, "a stop or trailing stop among these", |table| {
            let its = |side: i8, order_type: OrderType, trigger_price: i64, offset: i64| PlaceBody {
                order_type: order_type.code(),
                trigger_price,
                offset,
                ..limit(side, 1_000, 0)
            };
            use OrderType::{Stop, TrailingStop};
            assert_eq!(worst(table, &its(SIDE_SELL, Stop, 9_500, 0)), 0, "neither collar nor band");
            assert_eq!(place(table, 1, &its(SIDE_BUY, Stop, 11_000, 0)), Reason::Price);
            set_limits(table, 1, 1, &collar(20_000));
            assert_eq!(worst(table, &its(SIDE_SELL, Stop, 9_500, 0)), 9_310, "2 % below 95.00");
            assert_eq!(worst(table, &its(SIDE_SELL, Stop, 15_000, 0)), 9_800, "reached already: below the reference");
            assert_eq!(worst(table, &its(SIDE_SELL, TrailingStop, 9_500, 10)), 9_310);
            assert_eq!(worst(table, &its(SIDE_SELL, TrailingStop, 0, 500)), 9_310, "5.00 and 2 % below 100.00");
            assert_eq!(worst(table, &its(SIDE_BUY, TrailingStop, 0, 500)), 10_710);
            assert_eq!(worst(table, &its(SIDE_BUY, Stop, 9_000, 0)), 10_200);
            assert_eq!(reserved(table, USD, &its(SIDE_BUY, Stop, 11_000, 0)), (11_220 + 12) * CENT);
            let other = InstrumentBody { reference_price: 0, ..instrument() };
            assert_eq!(ask(table, CommandKind::Instrument, 0, 2, &other), Reason::None);
            set_limits(table, 1, 2, &collar(20_000));
            let mut first = |body| reason(&table.ask(Command::new(CommandKind::Place, 1, 2, &body)));
            assert_eq!(first(its(SIDE_BUY, Stop, 5_000, 0)), Reason::None, "without a reference its trigger is enough");
            assert_eq!(first(its(SIDE_BUY, TrailingStop, 0, 500)), Reason::Price);
        }),
        (WORST, "a replace of a trailing stop without `price` and trigger", |table| {
            set_limits(table, 1, 1, &collar(20_000));
            let order_type = OrderType::TrailingStop.code();
            let trailing = PlaceBody { order_type, offset: 500, trigger_price: 9_000, ..limit(SIDE_SELL, 1_000, 0) };
            assert_eq!(worst(table, &trailing), 8_820);
            let judged = |table: &mut dyn Table, offset: i64, trigger_price: i64| {
                let body = ReplaceBody { offset, trigger_price, ..replace(2 * 12, 900, 0) };
                let judged = table.ask(Command::new(CommandKind::Replace, 1, 1, &body));
                assert_eq!(reason(&judged), Reason::None);
                judged.body::<ReplaceBody>().price
            };
            assert_eq!(judged(table, 100, 0), 8_820, "its trigger may be where it was");
            assert_eq!(judged(table, 3_000, 0), 6_860, "30.00 and 2 % below 100.00");
            assert_eq!(judged(table, 100, 9_900), 9_702, "it begins anew");
        }),
        (WORST, "pair", |table| {
            let before = table.available(1, USD);
            assert_eq!(
                ask(table, CommandKind::PlacePair, 1, 1, &pair(SIDE_BUY, 1_000, 5_000, 6_000, 7_000)),
                Reason::None
            );
            assert_eq!(before - table.available(1, USD), 7_007 * CENT, "the higher");
            assert_eq!(
                ask(table, CommandKind::PlacePair, 1, 1, &pair(SIDE_BUY, 1_000, 5_000, 6_000, 0)),
                Reason::Price
            );
            assert_eq!(
                ask(table, CommandKind::PlacePair, 1, 1, &pair(SIDE_SELL, 1_000, 20_000, 6_000, 0)),
                Reason::None
            );
        }),
        (WORST, "the same without one, of a margin account", |table| {
            let judged = table.ask(Command::new(CommandKind::Place, 3, 1, &market(SIDE_BUY, 1_000)));
            assert_eq!((reason(&judged), judged.body::<PlaceBody>().price), (Reason::None, 0));
            assert_eq!(place(table, 3, &market(SIDE_BUY, 100_000)), Reason::Margin, "10,000.00 at the reference");
            let other = InstrumentBody { reference_price: 0, ..instrument() };
            assert_eq!(ask(table, CommandKind::Instrument, 0, 2, &other), Reason::None);
            assert_eq!(ask(table, CommandKind::Place, 3, 2, &market(SIDE_BUY, 1)), Reason::Price);
        }),
    ]
}

fn limits() -> Vec<Case> {
    const LIMITS: &str = "Limits";
    const ONE: LimitsBody = LimitsBody {
        order_size_max: 0,
        order_notional_max: 0,
        position_max: 0,
        exposure_max: 0,
        open_orders_max: 0,
        collar_ppm: 0,
        commands_per_s: 0,
        burst: 0,
        exposure_exp: 0,
        reserved: [0; 39],
    };
    vec![
        (LIMITS, "`order_size_max`, `order_notional_max`, `position_max`", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 500, 10_000)), Reason::None);
            for (limits, why) in [
                (LimitsBody { order_size_max: 600, ..ONE }, Reason::OrderSize),
                (LimitsBody { order_notional_max: 6_000_000, ..ONE }, Reason::OrderNotional),
                (LimitsBody { position_max: 600, ..ONE }, Reason::Position),
            ] {
                let limits = if why == Reason::OrderNotional {
                    LimitsBody { order_notional_max: 6_000, ..limits }
                } else {
                    limits
                };
                set_limits(table, 1, 1, &limits);
                assert_eq!(ask(table, CommandKind::Replace, 1, 1, &replace(22, 601, 10_000)), why, "a replace too");
                assert_eq!(
                    ask(table, CommandKind::Limits, 1, 0, &limits),
                    Reason::Definition,
                    "{why:?} of the whole account"
                );
            }
        }),
        (LIMITS, "`collar_ppm`", |table| {
            set_limits(table, 1, 0, &collar(100_000));
            set_limits(table, 1, 1, &collar(50_000));
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 10_501)), Reason::Collar);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 10_500)), Reason::None);
        }),
        (LIMITS, "`open_orders_max`", |table| {
            assert_eq!(ask(table, CommandKind::Instrument, 0, 2, &instrument()), Reason::None);
            let open = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
            assert_eq!(ask(table, CommandKind::Session, 0, 2, &open), Reason::None);
            set_limits(table, 1, 1, &LimitsBody { open_orders_max: 2, ..ONE });
            set_limits(table, 1, 0, &LimitsBody { open_orders_max: 3, ..ONE });
            assert_eq!(ask(table, CommandKind::PlacePair, 1, 1, &pair(SIDE_SELL, 1, 20_000, 50, 40)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::OpenOrders, "each leg counts");
            assert_eq!(ask(table, CommandKind::Place, 1, 2, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(
                ask(table, CommandKind::Place, 1, 2, &limit(SIDE_BUY, 1, 100)),
                Reason::OpenOrders,
                "all of them"
            );
        }),
        (LIMITS, "`commands_per_s`, `burst`", |table| {
            assert_eq!(ask(table, CommandKind::Instrument, 0, 2, &instrument()), Reason::None);
            set_limits(table, 1, 1, &LimitsBody { commands_per_s: 1, ..ONE });
            set_limits(table, 1, 0, &LimitsBody { commands_per_s: 1, burst: 2, ..ONE });
            let mut said = |instrument, ts| {
                reason(&table.ask(Command::new(CommandKind::Place, 1, instrument, &limit(SIDE_BUY, 1, 100)).at(ts)))
            };
            let said = [said(1, 1), said(1, 1), said(2, 1), said(2, 1), said(1, 1_000_000_001)];
            assert_eq!(said, [Reason::None, Reason::Throttled, Reason::None, Reason::Throttled, Reason::None]);
        }),
        (LIMITS, "`exposure_max`", |table| {
            assert_eq!(ask(table, CommandKind::Instrument, 0, 2, &instrument()), Reason::None);
            set_limits(table, 1, 1, &LimitsBody { exposure_max: 10_000, ..ONE });
            assert_eq!(
                place(table, 1, &limit(SIDE_BUY, 1_001, 10_000)),
                Reason::Exposure,
                "quote units of the instrument"
            );
            set_limits(table, 1, 0, &LimitsBody { exposure_max: 150, exposure_exp: 0, ..ONE });
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 10_000)), Reason::None);
            assert_eq!(
                ask(table, CommandKind::Place, 1, 2, &limit(SIDE_BUY, 501, 10_000)),
                Reason::Exposure,
                "100 + 50.1"
            );
            assert_eq!(ask(table, CommandKind::Place, 1, 2, &limit(SIDE_BUY, 500, 10_000)), Reason::None);
        }),
    ]
}

fn client_ids() -> Vec<Case> {
    const IDS: &str = "The client's ids";
    fn low(id: u8) -> PlaceBody {
        with_id(id, limit(SIDE_BUY, 1_000, 100))
    }
    vec![
        (IDS, "the id is that of an open order of the account", |table| {
            assert_eq!((place(table, 1, &low(1)), place(table, 1, &low(1))), (Reason::None, Reason::Duplicate));
        }),
        (IDS, "its order has ended, whatever way, also by the venue's refusal", |table| {
            assert_eq!(place(table, 1, &PlaceBody { flags: 1 << 6, ..low(1) }), Reason::None, "matching refuses it");
            assert_eq!(place(table, 1, &low(1)), Reason::Duplicate);
            assert_eq!(place(table, 1, &low(2)), Reason::None);
            assert_eq!(place(table, 2, &limit(SIDE_SELL, 1_000, 100)), Reason::None);
            assert_eq!(place(table, 1, &low(2)), Reason::Duplicate, "filled");
            for id in 3..=ENDED_IDS_MAX as u8 {
                assert_eq!(
                    place(table, 1, &PlaceBody { time_in_force: TimeInForce::Ioc.code(), ..low(id) }),
                    Reason::None
                );
            }
            assert_eq!(place(table, 1, &low(1)), Reason::Duplicate, "the last that is remembered");
            assert_eq!(place(table, 1, &PlaceBody { time_in_force: TimeInForce::Ioc.code(), ..low(99) }), Reason::None);
            assert_eq!(place(table, 1, &low(1)), Reason::None);
        }),
        (IDS, "another account has used it", |table| {
            assert_eq!((place(table, 1, &low(1)), place(table, 2, &low(1))), (Reason::None, Reason::None));
        }),
        (IDS, "the command that bore it was refused by risk", |table| {
            assert_eq!(place(table, 1, &PlaceBody { size: 0, ..low(1) }), Reason::Size);
            assert_eq!(place(table, 1, &low(1)), Reason::None);
        }),
        (IDS, "both legs of a pair bear the same", |table| {
            let legs = pair(SIDE_SELL, 1, 20_000, 50, 40);
            let same = PlacePairBody { client_order_id: [1; 16], stop_client_order_id: [1; 16], ..legs };
            assert_eq!(ask(table, CommandKind::PlacePair, 1, 1, &same), Reason::Duplicate);
            let other = PlacePairBody { stop_client_order_id: [2; 16], ..same };
            assert_eq!(ask(table, CommandKind::PlacePair, 1, 1, &other), Reason::None);
        }),
        (IDS, "a replace bears a new one", |table| {
            assert_eq!(place(table, 1, &low(1)), Reason::None);
            let new = ReplaceBody { client_order_id: [2; 16], ..replace(22, 900, 100) };
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &new), Reason::None);
            assert_eq!((place(table, 1, &low(1)), place(table, 1, &low(2))), (Reason::Duplicate, Reason::Duplicate));
            let away = CancelBody { client_order_id: [1; 16], ..CancelBody::default() };
            assert_eq!(ask(table, CommandKind::Cancel, 1, 1, &away), Reason::None, "its earlier one names it still");
        }),
        (IDS, "a replace bears one the order itself has", |table| {
            assert_eq!(place(table, 1, &low(1)), Reason::None);
            let same = ReplaceBody { client_order_id: [1; 16], ..replace(22, 900, 100) };
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &same), Reason::None);
            assert_eq!(place(table, 1, &low(1)), Reason::Duplicate);
        }),
    ]
}

fn accounts() -> Vec<Case> {
    const SPOT: &str = "Spot accounts";
    const MARGIN: &str = "Margin accounts";
    vec![
        (SPOT, "buy by size", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 10_000)), Reason::None);
            assert_eq!(table.available(1, USD), (100_000 - 10_010) * CENT);
        }),
        (SPOT, "buy by amount", |table| {
            table.late(true);
            let by_amount = PlaceBody { amount: 10_001, price: 10_000, ..market(SIDE_BUY, 0) };
            assert_eq!(place(table, 1, &by_amount), Reason::None);
            // 10.001 cents of fee are 11.
            assert_eq!(table.available(1, USD), (100_000 - 10_001 - 11) * CENT);
        }),
        (SPOT, "sell by size", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_SELL, 1_000, 10_000)), Reason::None);
            assert_eq!((table.available(1, BTC), table.available(1, USD)), (4_000 * MILLI, 100_000 * CENT));
            assert_eq!(
                place(table, 1, &limit(SIDE_SELL, 1_000, 999)),
                Reason::None,
                "a lot of it is worth less than a cent"
            );
            assert_eq!((table.available(1, BTC), table.available(1, USD)), (3_000 * MILLI, 99_999 * CENT));
        }),
        (SPOT, "sell by amount", |table| {
            table.late(true);
            assert_eq!(
                place(table, 1, &PlaceBody { amount: 10_000, price: 10_000, ..market(SIDE_SELL, 0) }),
                Reason::None
            );
            assert_eq!((table.available(1, BTC), table.available(1, USD)), (4_000 * MILLI, 100_000 * CENT));
        }),
        (SPOT, "pair", |table| {
            assert_eq!(
                ask(table, CommandKind::PlacePair, 1, 1, &pair(SIDE_SELL, 5_000, 20_000, 9_000, 8_900)),
                Reason::None
            );
            assert_eq!(table.available(1, BTC), 0, "once, not twice");
        }),
        (SPOT, "fill", |table| {
            assert_eq!(place(table, 2, &limit(SIDE_SELL, 1_000, 9_000)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 2_000, 10_000)), Reason::None);
            // 90.00 and 0.09 are paid, the rest needs 100.10.
            assert_eq!(table.available(1, USD), (100_000 - 9_009 - 10_010) * CENT);
            assert_eq!(table.available(1, BTC), 6_000 * MILLI);
            assert_eq!(
                (table.available(2, USD), table.available(2, BTC)),
                ((100_000 + 9_000 - 9) * CENT, 4_000 * MILLI)
            );
        }),
        (SPOT, "cancelled, refused by the venue, expired", |table| {
            for body in [
                PlaceBody { time_in_force: TimeInForce::Ioc.code(), ..limit(SIDE_BUY, 1_000, 100) },
                PlaceBody { flags: 1 << 6, ..limit(SIDE_BUY, 1_000, 100) },
                PlaceBody { time_in_force: TimeInForce::Gtd.code(), expire_ts: 50, ..limit(SIDE_BUY, 1_000, 100) },
            ] {
                table.late(true);
                assert_eq!(place(table, 1, &body), Reason::None);
                assert_eq!(table.available(1, USD), (100_000 - 101) * CENT, "{body:?}");
                table.late(false);
                assert_eq!(reason(&table.ask(Command::bare(CommandKind::Timer, 0).at(60))), Reason::None);
                assert_eq!(table.available(1, USD), 100_000 * CENT, "{body:?}");
            }
        }),
        (SPOT, "reduced", |table| {
            let of_itself = PlaceBody { self_trade: SelfTrade::Decrement.code(), ..limit(SIDE_SELL, 400, 10_000) };
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 10_000)), Reason::None);
            assert_eq!(place(table, 1, &of_itself), Reason::None);
            assert_eq!(table.available(1, USD), (100_000 - 6_006) * CENT, "600 are left of it");
            assert_eq!(table.available(1, BTC), 5_000 * MILLI);
        }),
        (SPOT, "replace accepted", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 10_000)), Reason::None);
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &replace(22, 10_000, 10_000)), Reason::Balance);
            table.late(true);
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &replace(22, 2_000, 5_000)), Reason::None);
            assert_eq!(table.available(1, USD), (100_000 - 20_020) * CENT);
        }),
        (SPOT, "replaced, or its replace refused", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 10_000)), Reason::None);
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &replace(22, 2_000, 5_000)), Reason::None);
            assert_eq!(table.available(1, USD), (100_000 - 10_010) * CENT);
            let wrong = ReplaceBody { expire_ts: 5, ..replace(22, 2_000, 6_000) };
            assert_eq!(ask(table, CommandKind::Replace, 1, 1, &wrong), Reason::None, "matching refuses it");
            assert_eq!(table.available(1, USD), (100_000 - 10_010) * CENT);
        }),
        (SPOT, "fee rates are raised while it is open", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 9_990, 10_000)), Reason::None);
            let dearer = InstrumentBody { maker_ppm: 100_000, reference_price: 0, ..instrument() };
            assert_eq!(ask(table, CommandKind::Instrument, 0, 1, &dearer), Reason::None);
            assert_eq!(table.available(1, USD), 0, "as before, with a fee of 1.00");
            assert_eq!(ask(table, CommandKind::Transfer, 2, 0, &transfer(BTC, 5)), Reason::None);
            assert_eq!(place(table, 2, &limit(SIDE_SELL, 9_990, 10_000)), Reason::None);
            assert_eq!(table.available(1, USD), (100_000 - 99_900 - 9_990) * CENT);
        }),
        (MARGIN, "initial", |table| {
            assert_eq!(place(table, 3, &limit(SIDE_SELL, 100_000, 10_000)), Reason::Margin);
            assert_eq!(place(table, 3, &limit(SIDE_SELL, 90_000, 10_000)), Reason::None);
            assert_eq!(place(table, 3, &limit(SIDE_SELL, 10_000, 10_000)), Reason::Margin);
            assert_eq!(place(table, 3, &limit(SIDE_BUY, 80_000, 9_000)), Reason::None, "it enlarges nothing");
            assert_eq!(ask(table, CommandKind::Replace, 3, 1, &replace(2 * 12, 120_000, 10_000)), Reason::Margin);
        }),
        (MARGIN, "maintenance", |table| {
            assert_eq!(place(table, 3, &limit(SIDE_SELL, 5_000, 10_000)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 5_000, 10_000)), Reason::None);
            table.told();
            // It owes 5 coins. At 290.00 its equity of 1,500.00 less 1,450.00 is below 5 %, and a timer looks.
            assert_eq!(place(table, 1, &limit(SIDE_SELL, 1, 29_000)), Reason::None);
            assert_eq!(place(table, 2, &limit(SIDE_BUY, 1, 29_000)), Reason::None);
            assert_eq!(table.told(), []);
            for expected in [vec![RiskEventKind::MarginCall], vec![]] {
                table.ask(Command::bare(CommandKind::Timer, 0));
                assert_eq!(table.told(), expected);
            }
            assert_eq!(ask(table, CommandKind::Transfer, 3, 0, &transfer(USD, 100)), Reason::None);
            assert_eq!(table.told(), [RiskEventKind::Transferred, RiskEventKind::MarginRestored]);
        }),
    ]
}

fn definitions() -> Vec<Case> {
    use CommandKind as K;
    const DEFINITIONS: &str = "Definitions";
    const LARGEST: i64 = (1 << 53) - 1;
    vec![
        (DEFINITIONS, "`Instrument`", |table| {
            let same = instrument();
            for wrong in [
                InstrumentBody { tick: 0, ..same },
                InstrumentBody { tick: LARGEST + 1, ..same },
                InstrumentBody { lot: 0, ..same },
                InstrumentBody { size_min: -1, ..same },
                InstrumentBody { size_min: same.size_max + 1, ..same },
                InstrumentBody { lot: 2_000_000, ..same },
                InstrumentBody { size_max: LARGEST + 1, ..same },
                InstrumentBody { reference_price: -1, ..same },
                InstrumentBody { reference_price: LARGEST + 1, ..same },
                InstrumentBody { price_exp: 10, size_exp: 9, ..same },
                InstrumentBody { maker_ppm: -500_001, ..same },
                InstrumentBody { taker_ppm: 500_001, ..same },
                InstrumentBody { base_asset: USD, ..same },
                InstrumentBody { band_action: 99, ..same },
            ] {
                assert_eq!(ask(table, K::Instrument, 0, 2, &wrong), Reason::Definition, "{wrong:?}");
            }
            for changed in [InstrumentBody { size_exp: 4, ..same }, InstrumentBody { quote_asset: 3, ..same }] {
                assert_eq!(ask(table, K::Instrument, 0, 1, &changed), Reason::Definition, "{changed:?}");
            }
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            for changed in [
                InstrumentBody { tick: 2, ..same },
                InstrumentBody { lot: 2, ..same },
                InstrumentBody { size_max: 999_999, ..same },
            ] {
                assert_eq!(
                    ask(table, K::Instrument, 0, 1, &changed),
                    Reason::Definition,
                    "{changed:?} while one is open"
                );
            }
            let rates = InstrumentBody { maker_ppm: 500_000, taker_ppm: -500_000, ..same };
            assert_eq!(ask(table, K::Instrument, 0, 1, &rates), Reason::None);
        }),
        (DEFINITIONS, "`Account`", |table| {
            let same = AccountBody::default();
            for wrong in [
                AccountBody { flags: 1 << 7, ..same },
                AccountBody { maker_ppm: 500_001, ..same },
                AccountBody { taker_ppm: -500_001, ..same },
                AccountBody { initial_margin_ppm: 1_000_001, ..same },
                AccountBody { initial_margin_ppm: 5, maintenance_margin_ppm: 6, ..same },
                AccountBody { flags: ACCOUNT_MARGIN, initial_margin_ppm: 6, maintenance_margin_ppm: 5, ..same },
            ] {
                assert_eq!(ask(table, K::Account, 1, 0, &wrong), Reason::Definition, "{wrong:?}");
            }
            assert_eq!(ask(table, K::Account, 1, 0, &AccountBody { maker_ppm: -500_000, ..same }), Reason::None);
        }),
        (DEFINITIONS, "`Limits`", |table| {
            let none = LimitsBody::default();
            for wrong in [
                LimitsBody { order_size_max: -1, ..none },
                LimitsBody { order_notional_max: -1, ..none },
                LimitsBody { position_max: -1, ..none },
                LimitsBody { exposure_max: -1, ..none },
                LimitsBody { exposure_exp: 1, ..none },
            ] {
                assert_eq!(ask(table, K::Limits, 1, 1, &wrong), Reason::Definition, "{wrong:?}");
            }
            for wrong in [LimitsBody { exposure_exp: 19, ..none }, LimitsBody { order_size_max: 1, ..none }] {
                assert_eq!(ask(table, K::Limits, 1, 0, &wrong), Reason::Definition, "{wrong:?} of the account");
            }
            assert_eq!(
                ask(table, K::Limits, 1, 0, &LimitsBody { exposure_max: 1, exposure_exp: 18, ..none }),
                Reason::None
            );
        }),
        (DEFINITIONS, "`Transfer`", |table| {
            assert_eq!(ask(table, K::Transfer, 1, 0, &transfer(USD, 0)), Reason::Definition);
            assert_eq!(
                ask(table, K::Transfer, 1, 0, &TransferBody { amount_exp: 19, ..transfer(USD, 1) }),
                Reason::Definition
            );
            // 2^120 ledger units are 1.3e18 whole ones.
            assert_eq!(ask(table, K::Transfer, 1, 0, &transfer(USD, i64::MAX)), Reason::Definition);
            assert_eq!(
                ask(table, K::Transfer, 1, 0, &TransferBody { amount_exp: 18, ..transfer(USD, 1) }),
                Reason::None
            );
            assert_eq!(table.available(1, USD), 100_000 * CENT + 1);
        }),
    ]
}

fn kill_switch() -> Vec<Case> {
    use CommandKind as K;
    const KILL: &str = "The kill switch";
    vec![
        (KILL, "`Kill` with `killed` 1, of an account or (0) of all", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(1)), Reason::None);
            assert_eq!(
                (place(table, 1, &limit(SIDE_BUY, 1, 100)), place(table, 2, &limit(SIDE_BUY, 1, 100))),
                (Reason::Killed, Reason::None)
            );
            let next = table.follow_up().unwrap();
            assert_eq!((next.head.kind, next.head.account), (K::MassCancel.code(), 1));
            assert_eq!((reason(&table.ask(next)), table.available(1, USD)), (Reason::None, 100_000 * CENT));
            assert_eq!(ask(table, K::Kill, 0, 0, &kill(1)), Reason::None);
            assert_eq!(place(table, 2, &limit(SIDE_BUY, 1, 100)), Reason::Killed);
            assert_eq!(table.follow_up().unwrap().head.account, 0);
        }),
        (KILL, "`killed` 0", |table| {
            let mut switch = |account, killed| assert_eq!(ask(table, K::Kill, account, 0, &kill(killed)), Reason::None);
            switch(1, 1);
            switch(0, 1);
            switch(0, 0);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::Killed, "its own stays");
            assert_eq!(place(table, 2, &limit(SIDE_BUY, 1, 100)), Reason::None);
            let mut switch = |account, killed| assert_eq!(ask(table, K::Kill, account, 0, &kill(killed)), Reason::None);
            switch(0, 1);
            switch(1, 0);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::Killed, "that of all stays");
            assert_eq!(ask(table, K::Kill, 0, 0, &kill(0)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
        }),
        (KILL, "cancels of a killed account", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 100)), Reason::None);
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(1)), Reason::None);
            assert_eq!(ask(table, K::Cancel, 1, 1, &cancel(22)), Reason::None);
            assert_eq!(ask(table, K::MassCancel, 1, 0, &MassCancelBody::default()), Reason::None);
        }),
        (KILL, "the process ends between the two commands", |table| {
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(1)), Reason::None);
            let asked = table.follow_up();
            assert!(asked.is_some());
            table.ask(Command::bare(K::Timer, 0));
            assert_eq!(table.follow_up(), asked, "until it was judged");
            table.ask(asked.unwrap());
            assert_eq!(table.follow_up(), None);
            // That a snapshot has it is what the hash and the streams of `replay.rs` compare.
        }),
    ]
}

fn events() -> Vec<Case> {
    use CommandKind as K;
    use RiskEventKind as E;
    const EVENTS: &str = "Events";
    /// Kind, value and limit of all that was told since the last time.
    fn told(table: &mut dyn Table) -> Vec<(RiskEventKind, i64, i64)> {
        let of = |event: &tidebook_types::RiskEvent| (E::from_code(event.kind).unwrap(), event.value, event.limit);
        table.events().iter().map(of).collect()
    }
    vec![
        (EVENTS, "`rejected`", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 0, 100)), Reason::Size);
            assert_eq!(told(table), [(E::Rejected, 0, 0)]);
        }),
        (EVENTS, "`limits_changed`, `account_changed`, `instrument_changed`", |table| {
            set_limits(table, 1, 1, &collar(5));
            assert_eq!(ask(table, K::Account, 1, 0, &AccountBody::default()), Reason::None);
            assert_eq!(ask(table, K::Instrument, 0, 1, &instrument()), Reason::None);
            assert_eq!(
                told(table),
                [(E::LimitsChanged, 0, 0), (E::AccountChanged, 0, 0), (E::InstrumentChanged, 0, 0)]
            );
        }),
        (EVENTS, "`transferred`", |table| {
            assert_eq!(ask(table, K::Transfer, 1, 0, &transfer(USD, -7)), Reason::None);
            assert_eq!(told(table), [(E::Transferred, -7, 0)]);
        }),
        (EVENTS, "`killed`, `revived`", |table| {
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(1)), Reason::None);
            assert_eq!(ask(table, K::Kill, 1, 0, &kill(0)), Reason::None);
            assert_eq!(told(table), [(E::Killed, 0, 0), (E::Revived, 0, 0)]);
        }),
        (EVENTS, "`margin_call`, `margin_restored`", |table| {
            assert_eq!(place(table, 3, &limit(SIDE_SELL, 5_000, 10_000)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 5_000, 10_000)), Reason::None);
            assert_eq!(place(table, 1, &limit(SIDE_SELL, 1, 29_000)), Reason::None);
            assert_eq!(place(table, 2, &limit(SIDE_BUY, 1, 29_000)), Reason::None);
            told(table);
            table.ask(Command::bare(K::Timer, 0));
            // 1,000.00 + 500.00 less 0.50 of fee, less 5 coins at 290.00; 5 % of 1,450.00.
            assert_eq!(told(table), [(E::MarginCall, 4_950_000_000, 7_250_000_000)]);
            assert_eq!(ask(table, K::Transfer, 3, 0, &transfer(USD, 100)), Reason::None);
            assert_eq!(told(table), [(E::Transferred, 100, 0), (E::MarginRestored, 14_950_000_000, 7_250_000_000)]);
        }),
        (EVENTS, "`deficit`", |table| {
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 9_990, 10_000)), Reason::None);
            let dearer = InstrumentBody { maker_ppm: 100_000, reference_price: 0, ..instrument() };
            assert_eq!(ask(table, K::Instrument, 0, 1, &dearer), Reason::None);
            assert_eq!(ask(table, K::Transfer, 2, 0, &transfer(BTC, 5)), Reason::None);
            told(table);
            assert_eq!(place(table, 2, &limit(SIDE_SELL, 9_990, 10_000)), Reason::None);
            // 1,000.00 less 999.00 less 99.90.
            assert_eq!(told(table), [(E::Deficit, -9_890_000_000, 0)]);
        }),
        (EVENTS, "`reverted`", |table| {
            // Bytes without use are matching's to look at.
            let mut strange = InstrumentBody { tick: 2, ..instrument() };
            strange.reserved[0] = 1;
            assert_eq!(ask(table, K::Instrument, 0, 1, &strange), Reason::None);
            assert_eq!(told(table), [(E::InstrumentChanged, 0, 0), (E::Reverted, 0, 0)]);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 101)), Reason::None, "a tick is 1 again");
        }),
    ]
}
