//! Rows of `docs/risk.md`, each on both implementations.

mod common;

use common::ENDED_IDS_MAX;
use common::shop::{BTC, CENT, MILLI, Table, USD, instrument, limit, market, on_both, place, reason, set_limits};
use tidebook_types::command::{
    AccountBody, CancelBody, InstrumentBody, KillBody, LimitsBody, PlaceBody, PlacePairBody, ReplaceBody, SessionBody,
    TransferBody,
};
use tidebook_types::records::{SIDE_BUY, SIDE_SELL};
use tidebook_types::{Command, CommandKind, Reason, RiskEventKind, Session, TimeInForce};

#[test]
fn a_buy_reserves_its_worst_price_and_fee_and_what_it_was_better_is_released() {
    on_both(|table| {
        // 2 coins at 110.00 and a fee of 0.22.
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 2_000, 11_000)), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 22_022) * CENT);
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 8_000, 10_000)), Reason::Balance);
        // One coin is sold to it; what is left of it needs half.
        assert_eq!(place(table, 2, &limit(SIDE_SELL, 1_000, 10_500)), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 22_022) * CENT);
        assert_eq!(table.available(2, USD), (100_000 + 11_000 - 11) * CENT);
        assert_eq!(table.available(2, BTC), 4_000 * MILLI);
        // A sell that rests at 90.00 meets a buy at 95.00: 5.00 are released.
        assert_eq!(place(table, 2, &limit(SIDE_SELL, 2_000, 11_500)), Reason::None);
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 12_000)), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 22_022 - 11_500 - 12) * CENT);
        assert_eq!(table.available(2, BTC), 2_000 * MILLI);
    });
}

#[test]
fn executions_that_are_late_release_nothing_too_early() {
    on_both(|table| {
        table.late(true);
        assert_eq!(place(table, 1, &limit(SIDE_SELL, 5_000, 10_000)), Reason::None);
        let cancel = CancelBody { order_id: 22, ..CancelBody::default() };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Cancel, 1, 1, &cancel))), Reason::None);
        assert_eq!(place(table, 1, &limit(SIDE_SELL, 1_000, 10_000)), Reason::Balance);
        table.late(false);
        assert_eq!(place(table, 1, &limit(SIDE_SELL, 1_000, 10_000)), Reason::None);
    });
}

#[test]
fn a_market_buy_gets_a_worst_price_from_the_collar_or_is_refused() {
    on_both(|table| {
        assert_eq!(place(table, 1, &market(SIDE_BUY, 1_000)), Reason::Price);
        set_limits(table, 1, 0, &LimitsBody { collar_ppm: 100_000, ..LimitsBody::default() });
        let judged = table.ask(Command::new(CommandKind::Place, 1, 1, &market(SIDE_BUY, 1_000)));
        assert_eq!((reason(&judged), judged.body::<PlaceBody>().price), (Reason::None, 11_000));
        let judged = table.ask(Command::new(CommandKind::Place, 1, 1, &market(SIDE_SELL, 1_000)));
        assert_eq!((reason(&judged), judged.body::<PlaceBody>().price), (Reason::None, 9_000));
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 11_001)), Reason::Collar);
        assert_eq!(place(table, 1, &limit(SIDE_SELL, 1_000, 8_999)), Reason::Collar);
        assert_eq!(table.available(1, USD), 100_000 * CENT, "a market order that met nobody reserves nothing");
    });
}

#[test]
fn a_pair_reserves_once_and_each_leg_alone_what_it_needs() {
    on_both(|table| {
        let pair = PlacePairBody {
            price: 12_000,
            size: 5_000,
            trigger_price: 9_000,
            side: SIDE_SELL,
            time_in_force: TimeInForce::Gtc.code(),
            ..PlacePairBody::default()
        };
        let judged = table.ask(Command::new(CommandKind::PlacePair, 1, 1, &pair));
        assert_eq!((reason(&judged), table.available(1, BTC)), (Reason::None, 0));
        let replace = ReplaceBody { order_id: 22, price: 12_100, size: 5_000, ..ReplaceBody::default() };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Replace, 1, 1, &replace))), Reason::Linked);
        let cancel = CancelBody { order_id: 23, ..CancelBody::default() };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Cancel, 1, 1, &cancel))), Reason::None);
        assert_eq!(table.available(1, BTC), 5_000 * MILLI, "with one leg the other goes");
        let buy = PlacePairBody { side: SIDE_BUY, price: 9_000, size: 1_000, trigger_price: 12_000, ..pair };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::PlacePair, 1, 1, &buy))), Reason::Price);
    });
}

#[test]
fn a_replace_counts_as_the_worse_of_both_until_it_is_answered() {
    on_both(|table| {
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 9_000)), Reason::None);
        table.late(true);
        let replace = ReplaceBody { order_id: 22, price: 5_000, size: 2_000, ..ReplaceBody::default() };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Replace, 1, 1, &replace))), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 18_018) * CENT, "2 coins at 90.00");
        table.late(false);
        assert_eq!(table.available(1, USD), (100_000 - 10_010) * CENT, "2 coins at 50.00");
    });
}

/// Method: what is reserved behind each step, with no answer, with each of them, and of a fill that came before them.
#[test]
fn a_replace_that_keeps_the_size_reserves_for_the_largest_that_it_may_be() {
    let asked = |table: &mut dyn Table, size: i64, price: i64| {
        let replace = ReplaceBody { order_id: 22, price, size, ..ReplaceBody::default() };
        reason(&table.ask(Command::new(CommandKind::Replace, 1, 1, &replace)))
    };
    on_both(|table| {
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 2_000, 9_000)), Reason::None);
        assert_eq!(asked(table, 0, 10_000), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 20_020) * CENT, "2 coins at 100.00");
        table.late(true);
        assert_eq!(asked(table, 3_000, 10_000), Reason::None);
        assert_eq!(asked(table, 0, 11_000), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 33_033) * CENT, "3 coins at 110.00");
        assert_eq!(place(table, 2, &limit(SIDE_SELL, 1_000, 11_000)), Reason::None);
        assert_eq!(asked(table, 1_500, 8_000), Reason::None);
        assert_eq!(asked(table, 0, 9_000), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 33_033) * CENT, "as long as nothing is answered");
        table.late(false);
        assert_eq!(table.available(1, USD), (100_000 - 11_011 - 4_505) * CENT, "half a coin left, at 90.00");
        assert_eq!(asked(table, 0, 200_000), Reason::Balance);
    });
}

#[test]
fn a_client_id_is_used_once_also_after_the_order_ended_as_long_as_it_is_remembered() {
    on_both(|table| {
        let with_id = |id: u8| PlaceBody { client_order_id: [id; 16], ..limit(SIDE_BUY, 1_000, 1_000) };
        assert_eq!(place(table, 1, &PlaceBody { size: 100_000, ..with_id(1) }), Reason::Balance);
        assert_eq!(place(table, 1, &with_id(1)), Reason::None, "refused by risk: never used");
        assert_eq!(place(table, 1, &with_id(1)), Reason::Duplicate);
        assert_eq!(place(table, 2, &with_id(1)), Reason::None, "another account's");
        let cancel = CancelBody { client_order_id: [1; 16], ..CancelBody::default() };
        let judged = table.ask(Command::new(CommandKind::Cancel, 1, 1, &cancel));
        assert_eq!((reason(&judged), judged.body::<CancelBody>().order_id), (Reason::None, 24));
        assert_eq!(place(table, 1, &with_id(1)), Reason::Duplicate);
        for id in 2..2 + ENDED_IDS_MAX as u8 {
            assert_eq!(place(table, 1, &with_id(id)), Reason::None);
            let cancel = CancelBody { client_order_id: [id; 16], ..CancelBody::default() };
            assert_eq!(reason(&table.ask(Command::new(CommandKind::Cancel, 1, 1, &cancel))), Reason::None);
        }
        assert_eq!(place(table, 1, &with_id(1)), Reason::None, "forgotten");
        assert_eq!(place(table, 2, &with_id(1)), Reason::Duplicate, "an open one never is");
    });
}

#[test]
fn a_kill_refuses_new_orders_and_asks_for_a_mass_cancel_until_it_was_judged() {
    on_both(|table| {
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 9_000)), Reason::None);
        let kill = |killed| KillBody { killed, ..KillBody::default() };
        table.ask(Command::new(CommandKind::Kill, 1, 0, &kill(1)));
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 9_000)), Reason::Killed);
        assert_eq!(place(table, 2, &limit(SIDE_BUY, 1_000, 8_000)), Reason::None);
        let follow_up = table.follow_up().unwrap();
        assert_eq!((follow_up.head.kind, follow_up.head.account), (CommandKind::MassCancel.code(), 1));
        assert_eq!(reason(&table.ask(follow_up)), Reason::None);
        assert_eq!((table.follow_up(), table.available(1, USD)), (None, 100_000 * CENT));
        table.ask(Command::new(CommandKind::Kill, 0, 0, &kill(1)));
        assert_eq!(table.follow_up().unwrap().head.account, 0);
        table.ask(Command::new(CommandKind::Kill, 0, 0, &kill(0)));
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 9_000)), Reason::Killed, "its own stays");
        table.ask(Command::new(CommandKind::Kill, 1, 0, &kill(0)));
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 9_000)), Reason::None);
    });
}

#[test]
fn each_limit_refuses_with_its_reason_and_0_is_none() {
    on_both(|table| {
        let one = LimitsBody::default();
        for (limits, refused, passes, why) in [
            (LimitsBody { order_size_max: 1_000, ..one }, 1_001, 1_000, Reason::OrderSize),
            (LimitsBody { order_notional_max: 10_000, ..one }, 1_001, 1_000, Reason::OrderNotional),
            (LimitsBody { position_max: 1_500, ..one }, 1_501, 1_500, Reason::Position),
            (LimitsBody { exposure_max: 15_000, ..one }, 1_501, 1_500, Reason::Exposure),
        ] {
            set_limits(table, 1, 1, &limits);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, refused, 10_000)), why);
            assert_eq!(place(table, 1, &limit(SIDE_BUY, passes, 10_000)), Reason::None, "{why:?}");
            table.ask(Command::new(CommandKind::MassCancel, 1, 0, &[0_u8; 88]));
        }
        set_limits(table, 1, 1, &LimitsBody { open_orders_max: 1, ..one });
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 10_000)), Reason::None);
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1, 10_000)), Reason::OpenOrders);
        set_limits(table, 1, 1, &LimitsBody { commands_per_s: 1, burst: 2, ..one });
        let at = |ts| Command::new(CommandKind::Place, 1, 1, &limit(SIDE_BUY, 1, 10_000)).at(ts);
        let reasons: Vec<_> = [5, 5, 5, 1_000_000_004, 1_000_000_005].map(|ts| reason(&table.ask(at(ts)))).into();
        assert_eq!(reasons, [Reason::None, Reason::None, Reason::Throttled, Reason::Throttled, Reason::None]);
    });
}

#[test]
fn a_margin_account_may_owe_within_its_margin_and_is_called_when_it_falls_short() {
    on_both(|table| {
        // 1,000.00 at 10 % hold positions of 10,000.00.
        assert_eq!(place(table, 3, &limit(SIDE_SELL, 101_000, 10_000)), Reason::Margin);
        assert_eq!(place(table, 3, &limit(SIDE_SELL, 9_000, 10_000)), Reason::None);
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 9_000, 10_000)), Reason::None);
        assert_eq!(table.available(3, USD), (100_000 + 90_000 - 90) * CENT);
        // It is 9 coins short: at 205.00 it owes more than its equity holds.
        table.told();
        assert_eq!(place(table, 1, &limit(SIDE_SELL, 10, 20_500)), Reason::None);
        assert_eq!(place(table, 2, &limit(SIDE_BUY, 10, 20_500)), Reason::None);
        assert_eq!(table.told(), [], "the fill is not its own");
        table.ask(Command::bare(CommandKind::Timer, 0));
        assert_eq!(table.told(), [RiskEventKind::MarginCall]);
        table.ask(Command::bare(CommandKind::Timer, 0));
        assert_eq!(table.told(), [], "once");
        let transfer = TransferBody { asset: USD, amount: 500, ..TransferBody::default() };
        table.ask(Command::new(CommandKind::Transfer, 3, 0, &transfer));
        assert_eq!(table.told(), [RiskEventKind::Transferred, RiskEventKind::MarginRestored]);
        let out = TransferBody { amount: -500, ..transfer };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Transfer, 3, 0, &out))), Reason::Margin);
    });
}

#[test]
fn rates_that_are_raised_while_an_order_is_open_may_take_the_balance_below_0_and_it_is_told() {
    on_both(|table| {
        // 1,000.00 pay for 9 coins at 111.00 with their fee, and little more.
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 9_000, 11_099)), Reason::None);
        let dearer = InstrumentBody { maker_ppm: 100_000, reference_price: 0, ..instrument() };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Instrument, 0, 1, &dearer))), Reason::None);
        table.told();
        assert_eq!(place(table, 2, &limit(SIDE_SELL, 5_000, 11_099)), Reason::None);
        assert_eq!(table.told(), []);
        let more = TransferBody { asset: BTC, amount: 5, ..TransferBody::default() };
        table.ask(Command::new(CommandKind::Transfer, 2, 0, &more));
        table.told();
        assert_eq!(place(table, 2, &limit(SIDE_SELL, 4_000, 11_099)), Reason::None);
        assert_eq!(table.told(), [RiskEventKind::Deficit]);
    });
}

#[test]
fn definitions_that_cannot_be_are_refused() {
    on_both(|table| {
        let same = instrument();
        let change = |table: &mut dyn Table, body: &InstrumentBody| {
            reason(&table.ask(Command::new(CommandKind::Instrument, 0, 1, body)))
        };
        for wrong in [
            InstrumentBody { price_exp: 3, ..same },
            InstrumentBody { quote_asset: 3, ..same },
            InstrumentBody { base_asset: USD, ..same },
            InstrumentBody { maker_ppm: 500_001, ..same },
            InstrumentBody { tick: 0, ..same },
        ] {
            assert_eq!(change(table, &wrong), Reason::Definition);
        }
        assert_eq!(change(table, &InstrumentBody { tick: 2, ..same }), Reason::None);
        assert_eq!(place(table, 1, &limit(SIDE_BUY, 1_000, 9_000)), Reason::None);
        assert_eq!(change(table, &same), Reason::Definition, "the tick while an order is open");
        let spot = Command::new(CommandKind::Account, 3, 0, &AccountBody::default());
        assert_eq!(reason(&table.ask(spot)), Reason::Definition, "the margin flag while it has a balance");
    });
}

#[test]
fn what_an_order_reserves_is_of_the_assets_its_instrument_has_now() {
    on_both(|table| {
        // Risk takes a definition that the venue refuses, and an order in it; both are undone.
        let refused = InstrumentBody { reserved: [1; 25], ..instrument() };
        let in_second = |body: &PlaceBody| Command::new(CommandKind::Place, 1, 2, body);
        table.late(true);
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Instrument, 0, 2, &refused))), Reason::None);
        assert_eq!(reason(&table.ask(in_second(&limit(SIDE_BUY, 1_000, 10_000)))), Reason::None);
        assert_eq!(table.available(1, USD), (100_000 - 10_010) * CENT);
        table.late(false);
        assert!(table.told().contains(&RiskEventKind::Reverted));
        assert_eq!((table.available(1, USD), table.available(1, BTC)), (100_000 * CENT, 5_000 * MILLI));
        // The same account buys dollars for coins there: two at 1.50 each.
        let turned = InstrumentBody { base_asset: USD, quote_asset: BTC, maker_ppm: 0, taker_ppm: 0, ..instrument() };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Instrument, 0, 2, &turned))), Reason::None);
        let session = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
        assert_eq!(reason(&table.ask(Command::new(CommandKind::Session, 0, 2, &session))), Reason::None);
        assert_eq!(reason(&table.ask(in_second(&limit(SIDE_BUY, 2_000, 150)))), Reason::None);
        assert_eq!((table.available(1, USD), table.available(1, BTC)), (100_000 * CENT, 2_000 * MILLI));
        assert_eq!(reason(&table.ask(in_second(&limit(SIDE_SELL, 9_000, 200)))), Reason::None);
        assert_eq!((table.available(1, USD), table.available(1, BTC)), (99_100 * CENT, 2_000 * MILLI));
    });
}
