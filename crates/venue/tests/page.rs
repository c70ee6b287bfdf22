//! The page of commands and executions agrees with the code.

use std::mem::offset_of;

use tidebook_types::command::{
    AccountBody, BandAction, CancelAllAfterBody, CancelBody, CommandHead, InstrumentBody, KillBody, LimitsBody,
    MassCancelBody, PlaceBody, PlacePairBody, ReplaceBody, SessionBody, TransferBody, Verdict,
};
use tidebook_types::{
    Command, CommandKind, Execution, ExecutionKind, OpenOrderRecord, OrderType, Peg, Reason, RiskEvent, RiskEventKind,
    SelfTrade, Session, TimeInForce,
};

fn page() -> String {
    let path = format!("{}/../../docs/formats/orders.md", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text below a heading, up to the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start =
        page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}")) + heading.len() + 2;
    let rest = &page[start..];
    &rest[..rest.find("\n#").unwrap_or(rest.len())]
}

/// Cells of the rows of every table that begin with a number.
fn rows(text: &str) -> Vec<Vec<String>> {
    let row = |line: &str| {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        Some(inner.split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
    };
    text.lines().filter_map(row).filter(|cells| cells[0].parse::<usize>().is_ok()).collect()
}

fn size_of_field<S, F>(_: impl FnOnce(&S) -> &F) -> usize {
    size_of::<F>()
}

fn size_of_type(name: &str) -> usize {
    match name {
        "i64" | "u64" => 8,
        "i32" | "u32" => 4,
        "i8" | "u8" => 1,
        array => array.trim_start_matches("[u8; ").trim_end_matches(']').parse().unwrap(),
    }
}

/// Compares every field's place and size with the rows below a heading; a field that is not named here does not compile.
macro_rules! compare {
    ($page:expr, $heading:literal, $base:expr, $type:ident { $($field:ident),* $(,)? }) => {{
        let $type { $($field: _),* } = $type::default();
        let known = vec![$((
            offset_of!($type, $field) + $base,
            size_of_field(|record: &$type| &record.$field),
            stringify!($field).to_owned(),
        )),*];
        let told: Vec<_> = rows(section($page, $heading))
            .into_iter()
            .filter(|row| row.len() == 4 && row[2] != "body")
            .map(|row| (row[0].parse().unwrap(), size_of_type(&row[1]), row[2].clone()))
            .collect();
        assert_eq!(told, known, $heading);
    }};
}

#[test]
fn the_page_has_every_field_of_every_record_in_its_place() {
    let page = &page();
    assert_eq!((size_of::<Command>(), size_of::<Execution>()), (128, 128));
    let body = size_of::<CommandHead>();
    compare!(
        page,
        "## Command",
        0,
        CommandHead { ts, source_sequence, executions_seen, account, instrument_id, kind, verdict, reason, reserved }
    );
    compare!(
        page,
        "### Place",
        body,
        PlaceBody {
            client_order_id,
            price,
            size,
            amount,
            trigger_price,
            display_size,
            offset,
            expire_ts,
            side,
            order_type,
            time_in_force,
            self_trade,
            peg,
            flags,
            reserved
        }
    );
    compare!(
        page,
        "### Place pair",
        body,
        PlacePairBody {
            client_order_id,
            stop_client_order_id,
            price,
            size,
            trigger_price,
            limit_price,
            expire_ts,
            side,
            time_in_force,
            self_trade,
            flags,
            reserved
        }
    );
    compare!(
        page,
        "### Replace",
        body,
        ReplaceBody {
            order_id,
            client_order_id,
            price,
            size,
            trigger_price,
            display_size,
            offset,
            expire_ts,
            reserved
        }
    );
    compare!(page, "### Cancel", body, CancelBody { order_id, client_order_id, reserved });
    compare!(page, "### Mass cancel", body, MassCancelBody { side, reserved });
    compare!(page, "### Cancel all after", body, CancelAllAfterBody { timeout_ns, reserved });
    compare!(page, "### Session", body, SessionBody { session, reserved });
    compare!(
        page,
        "### Instrument",
        body,
        InstrumentBody {
            tick,
            lot,
            size_min,
            size_max,
            reference_price,
            band_ppm,
            maker_ppm,
            taker_ppm,
            base_asset,
            quote_asset,
            price_exp,
            size_exp,
            band_action,
            reserved
        }
    );
    compare!(
        page,
        "### Account",
        body,
        AccountBody { group, maker_ppm, taker_ppm, initial_margin_ppm, maintenance_margin_ppm, flags, reserved }
    );
    compare!(
        page,
        "### Limits",
        body,
        LimitsBody {
            order_size_max,
            order_notional_max,
            position_max,
            exposure_max,
            open_orders_max,
            collar_ppm,
            commands_per_s,
            burst,
            exposure_exp,
            reserved
        }
    );
    compare!(page, "### Transfer", body, TransferBody { amount, asset, amount_exp, reserved });
    compare!(page, "### Kill", body, KillBody { killed, reserved });
    compare!(
        page,
        "## Open order",
        0,
        OpenOrderRecord {
            order_id,
            linked_order_id,
            price,
            trigger_price,
            size,
            filled,
            remaining,
            shown,
            expire_ts,
            account,
            instrument_id,
            side,
            order_type,
            time_in_force,
            flags,
            waiting,
            triggered,
            reserved,
        }
    );
    compare!(
        page,
        "## Risk event",
        0,
        RiskEvent {
            sequence,
            source_sequence,
            executions_seen,
            ts,
            client_order_id,
            order_id,
            value,
            limit,
            account,
            instrument_id,
            asset,
            kind,
            reason,
            command_kind,
            reserved
        }
    );
    compare!(
        page,
        "## Execution",
        0,
        Execution {
            sequence,
            source_sequence,
            ts,
            source_index,
            instrument_id,
            order_id,
            contra_order_id,
            account,
            contra_account,
            price,
            size,
            remaining,
            filled,
            contra_remaining,
            trade_id,
            fee,
            contra_fee,
            kind,
            reason,
            side,
            command_kind,
            reserved
        }
    );
}

#[test]
fn the_page_has_every_number() {
    let page = page();
    let numbers = section(&page, "## Numbers");
    macro_rules! same {
        ($field:literal, $codes:ident) => {
            let all: Vec<_> = $codes::ALL.iter().map(|code| format!("{} {}", code.code(), code.name())).collect();
            let row = format!("| {} | {} |", $field, all.join(", "));
            assert!(numbers.contains(&row), "{row}");
            for code in $codes::ALL {
                assert_eq!($codes::from_code(code.code()), Some(*code));
            }
        };
    }
    same!("kind", CommandKind);
    same!("verdict", Verdict);
    same!("order_type", OrderType);
    same!("time_in_force", TimeInForce);
    same!("self_trade", SelfTrade);
    same!("peg", Peg);
    same!("session", Session);
    same!("band_action", BandAction);
    let executions = rows(section(&page, "## Execution"));
    let told = |names: &[String]| {
        let has = |row: &Vec<String>| names.iter().any(|name| *name == format!("{} {}", row[0], row[1]));
        executions.iter().filter(|row| has(row)).count()
    };
    let kinds: Vec<_> = ExecutionKind::ALL.iter().map(|kind| format!("{} {}", kind.code(), kind.name())).collect();
    let events: Vec<_> = RiskEventKind::ALL.iter().map(|kind| (kind.code().to_string(), kind.name())).collect();
    let told_events = rows(section(&page, "## Risk event"));
    let has = |(code, name): &(String, &str)| {
        told_events.iter().any(|row| row.len() == 2 && row[0] == *code && row[1] == *name)
    };
    assert!(events.iter().all(has), "{told_events:?}");
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| format!("{} {}", reason.code(), reason.name())).collect();
    assert_eq!(told(&kinds), kinds.len());
    assert_eq!(told(&reasons), reasons.len());
}
