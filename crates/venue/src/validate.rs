//! What is refused before anything is looked at but the definition: fields, numbers, times in force, sessions.
//!
//! Each function goes through the page's list of reasons in its order, so that the first that applies is given.

use tidebook_book::Side;
use tidebook_types::Reason;
use tidebook_types::command::{
    ACCOUNT_MARGIN, ACCOUNT_OWN_FEES, AccountBody, BandAction, InstrumentBody, ORDER_FLAGS, OrderType, POST_ONLY, Peg,
    PlaceBody, PlacePairBody, ReplaceBody, SelfTrade, Session, TimeInForce, UNITS_MAX,
};
use tidebook_types::units::EXPONENT_MAX;

use crate::fees::PPM_MAX;
use crate::order::Order;

/// What the numbers of a new order say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    pub(crate) side: Side,
    pub(crate) kind: OrderType,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) self_trade: SelfTrade,
    pub(crate) peg: Peg,
}

const fn check(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

/// Division by a number of 64 bits is slow, and most steps are 1 or short.
#[inline]
fn is_multiple(value: i64, step: i64) -> bool {
    if step == 1 {
        return true;
    }
    let (value, step) = (value.unsigned_abs(), step.unsigned_abs());
    match (u32::try_from(value), u32::try_from(step)) {
        (Ok(value), Ok(step)) => value % step == 0,
        _ => value % step == 0,
    }
}

const fn in_units(value: i64) -> bool {
    value > 0 && value <= UNITS_MAX
}

fn is_price(value: i64, definition: &InstrumentBody) -> bool {
    in_units(value) && is_multiple(value, definition.tick)
}

#[inline]
fn time_in_force(time_in_force: TimeInForce, expire_ts: i64, time: i64) -> Result<(), Reason> {
    check(time_in_force != TimeInForce::Gtd || expire_ts > time, Reason::Expired)
}

#[inline]
fn size(size: i64, definition: &InstrumentBody) -> Result<(), Reason> {
    check(size > 0 && definition.size_min <= size && size <= definition.size_max, Reason::Size)
}

/// A new order, but for what the session, the book and the room say.
#[inline]
pub(crate) fn place(body: &PlaceBody, reserved: bool, definition: &InstrumentBody, time: i64) -> Result<Words, Reason> {
    let fields = (
        Side::from_code(body.side),
        OrderType::from_code(body.order_type),
        TimeInForce::from_code(body.time_in_force),
        SelfTrade::from_code(body.self_trade),
        Peg::from_code(body.peg),
    );
    let (Some(side), Some(kind), Some(tif), Some(self_trade), Some(peg)) = fields else { return Err(Reason::Fields) };
    let words = Words { side, kind, time_in_force: tif, self_trade, peg };
    check(!reserved && body.flags & !ORDER_FLAGS == 0 && body.reserved == [0; 10], Reason::Fields)?;
    let takes = matches!(tif, TimeInForce::Ioc | TimeInForce::Fok);
    let by_amount = body.amount != 0;
    if kind == OrderType::Limit {
        check(
            body.amount | body.trigger_price | body.offset == 0
                && peg == Peg::None
                && (tif == TimeInForce::Gtd || body.expire_ts == 0),
            Reason::Fields,
        )?;
        check(!takes || (body.flags & POST_ONLY == 0 && body.display_size == 0), Reason::TimeInForce)?;
    } else {
        use OrderType::{Market, Pegged, Stop, StopLimit, TrailingStop};
        check(
            (!by_amount || (kind == Market && body.size == 0))
                && (matches!(kind, Stop | StopLimit | TrailingStop) || body.trigger_price == 0)
                && (matches!(kind, TrailingStop | Pegged) || body.offset == 0)
                && body.display_size == 0
                && (kind == Pegged) == (peg != Peg::None)
                && body.flags & POST_ONLY == 0
                && (tif == TimeInForce::Gtd || body.expire_ts == 0),
            Reason::Fields,
        )?;
        check((kind == Market) == takes, Reason::TimeInForce)?;
    }
    time_in_force(tif, body.expire_ts, time)?;
    check(is_multiple(body.price, definition.tick), Reason::Tick)?;
    check(is_multiple(body.size, definition.lot), Reason::Lot)?;
    if !by_amount {
        size(body.size, definition)?;
    }
    let priced = matches!(kind, OrderType::Limit | OrderType::StopLimit) || body.price != 0;
    check(!priced || in_units(body.price), Reason::Price)?;
    if kind == OrderType::Limit {
        display(body.display_size, body.size, definition)?;
        return Ok(words);
    }
    check(trigger(kind, body.trigger_price, definition), Reason::Trigger)?;
    check(offset(kind, body.offset, definition), Reason::Offset)?;
    check(!by_amount || in_units(body.amount), Reason::Amount)?;
    Ok(words)
}

/// Parts of an iceberg that one command may meet: each is a fill, so without a bound two orders would keep the venue busy for good.
const ICEBERG_PARTS_MAX: i64 = 100;

fn display(display: i64, size: i64, definition: &InstrumentBody) -> Result<(), Reason> {
    let shows = display > 0 && display < size && size <= display.saturating_mul(ICEBERG_PARTS_MAX);
    check(display == 0 || (shows && is_multiple(display, definition.lot)), Reason::Display)
}

fn trigger(kind: OrderType, trigger: i64, definition: &InstrumentBody) -> bool {
    match kind {
        OrderType::Stop | OrderType::StopLimit => is_price(trigger, definition),
        OrderType::TrailingStop => trigger == 0 || is_price(trigger, definition),
        _ => true,
    }
}

fn offset(kind: OrderType, offset: i64, definition: &InstrumentBody) -> bool {
    match kind {
        OrderType::TrailingStop => is_price(offset, definition),
        OrderType::Pegged => offset == 0 || is_price(offset, definition),
        _ => true,
    }
}

/// A pair, as far as [`place`] goes.
pub(crate) fn pair(
    body: &PlacePairBody,
    reserved: bool,
    definition: &InstrumentBody,
    time: i64,
) -> Result<Words, Reason> {
    let fields =
        (Side::from_code(body.side), TimeInForce::from_code(body.time_in_force), SelfTrade::from_code(body.self_trade));
    let (Some(side), Some(tif), Some(self_trade)) = fields else { return Err(Reason::Fields) };
    check(
        !reserved
            && body.flags & !ORDER_FLAGS == 0
            && body.reserved == [0; 12]
            && (tif == TimeInForce::Gtd || body.expire_ts == 0),
        Reason::Fields,
    )?;
    check(!matches!(tif, TimeInForce::Ioc | TimeInForce::Fok), Reason::TimeInForce)?;
    time_in_force(tif, body.expire_ts, time)?;
    check(is_multiple(body.price, definition.tick) && is_multiple(body.limit_price, definition.tick), Reason::Tick)?;
    check(is_multiple(body.size, definition.lot), Reason::Lot)?;
    size(body.size, definition)?;
    check(in_units(body.price) && (body.limit_price == 0 || in_units(body.limit_price)), Reason::Price)?;
    check(is_price(body.trigger_price, definition), Reason::Trigger)?;
    Ok(Words { side, kind: OrderType::Limit, time_in_force: tif, self_trade, peg: Peg::None })
}

/// New terms of `order`.
#[inline]
pub(crate) fn replace(
    body: &ReplaceBody,
    reserved: bool,
    order: &Order,
    definition: &InstrumentBody,
    time: i64,
) -> Result<(), Reason> {
    use OrderType::{Limit, Pegged, Stop, StopLimit, TrailingStop};
    let (kind, tif) = (order.kind, order.time_in_force());
    check(
        !reserved
            && body.reserved == [0; 16]
            && (kind == Limit || body.display_size == 0)
            && (matches!(kind, Stop | StopLimit | TrailingStop) || body.trigger_price == 0)
            && (matches!(kind, TrailingStop | Pegged) || body.offset == 0)
            && (tif == TimeInForce::Gtd || body.expire_ts == 0),
        Reason::Fields,
    )?;
    time_in_force(tif, body.expire_ts, time)?;
    check(is_multiple(body.price, definition.tick), Reason::Tick)?;
    // 0 keeps the size that it has, whatever the instrument's bounds are by now.
    if body.size != 0 {
        check(is_multiple(body.size, definition.lot), Reason::Lot)?;
        size(body.size, definition)?;
        check(body.size > order.filled, Reason::Size)?;
    }
    let priced = matches!(kind, Limit | StopLimit) || body.price != 0;
    check(!priced || in_units(body.price), Reason::Price)?;
    if kind == Limit {
        let whole = if body.size == 0 { order.size } else { body.size };
        return display(body.display_size, whole, definition);
    }
    check(trigger(kind, body.trigger_price, definition), Reason::Trigger)?;
    check(offset(kind, body.offset, definition), Reason::Offset)
}

/// Whether an order of this kind may be placed in this session.
#[inline]
pub(crate) fn session(session: Session, words: &Words, post_only: bool) -> Result<(), Reason> {
    let collected = match words.kind {
        OrderType::Limit => !post_only && !matches!(words.time_in_force, TimeInForce::Ioc | TimeInForce::Fok),
        OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop => true,
        OrderType::Market | OrderType::Pegged => false,
    };
    check(
        match session {
            Session::Continuous => true,
            Session::PreOpen | Session::Auction => collected,
            Session::Closed | Session::Halted => false,
        },
        Reason::Session,
    )
}

/// A definition by itself.
pub(crate) fn instrument(body: &InstrumentBody, reserved: bool) -> Result<(), Reason> {
    let rates = [body.maker_ppm, body.taker_ppm];
    check(
        !reserved
            && body.reserved == [0; 25]
            && u16::from(body.price_exp) + u16::from(body.size_exp) <= u16::from(EXPONENT_MAX)
            && BandAction::from_code(body.band_action).is_some()
            && rates.iter().all(|rate| (-PPM_MAX..=PPM_MAX).contains(rate)),
        Reason::Fields,
    )?;
    check(in_units(body.tick), Reason::Tick)?;
    check(in_units(body.lot), Reason::Lot)?;
    let sizes =
        0 <= body.size_min && body.size_min <= body.size_max && body.lot <= body.size_max && body.size_max <= UNITS_MAX;
    check(sizes, Reason::Size)?;
    check((0..=UNITS_MAX).contains(&body.reference_price), Reason::Price)
}

/// An account's terms, as far as matching uses them.
pub(crate) fn account(body: &AccountBody, reserved: bool) -> Result<(), Reason> {
    let rates = [body.maker_ppm, body.taker_ppm];
    check(
        !reserved
            && body.reserved == [0; 67]
            && body.flags & !(ACCOUNT_OWN_FEES | ACCOUNT_MARGIN) == 0
            && rates.iter().all(|rate| (-PPM_MAX..=PPM_MAX).contains(rate)),
        Reason::Fields,
    )
}
