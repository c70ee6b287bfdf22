//! What risk knows of instruments, accounts, orders, and of each account in each instrument.

use tidebook_types::OrderType;
use tidebook_types::command::{ACCOUNT_MARGIN, AccountBody, InstrumentBody, LimitsBody};

use crate::client_ids::Ended;
use crate::ledger::Scale;
use crate::plain::{Input, Plain, PlainError, mix, plain};
use crate::portfolio::pair;
use crate::reckon::Need;
use crate::table::{Entry, NONE};
use crate::throttle::Bucket;

/// A listed instrument, or one that was.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Listed {
    pub(crate) id: u32,
    /// Not so after the venue refused its first definition.
    pub(crate) known: bool,
    pub(crate) tick: i64,
    pub(crate) lot: i64,
    pub(crate) size_min: i64,
    pub(crate) size_max: i64,
    /// Last trade, else the reference price; 0 for neither.
    pub(crate) reference: i64,
    pub(crate) band_ppm: u32,
    pub(crate) maker_ppm: i32,
    pub(crate) taker_ppm: i32,
    pub(crate) base_asset: u32,
    pub(crate) quote_asset: u32,
    pub(crate) price_exp: u8,
    pub(crate) size_exp: u8,
    pub(crate) band_action: u8,
    pub(crate) open_orders: u32,
    pub(crate) scale: Scale,
    pub(crate) market: u32,
}

plain!(Listed {
    id,
    known,
    tick,
    lot,
    size_min,
    size_max,
    reference,
    band_ppm,
    maker_ppm,
    taker_ppm,
    base_asset,
    quote_asset,
    price_exp,
    size_exp,
    band_action,
});

impl Entry for Listed {
    type Key = u32;
    const SALT: u64 = 7;
    fn key(&self) -> u32 {
        self.id
    }
    fn hash_derived(&self, state: u64) -> u64 {
        mix(state, u64::from(self.open_orders))
    }
}

impl Listed {
    /// Takes a definition; a reference price of 0 keeps the one there is.
    pub(crate) fn define(&mut self, body: &InstrumentBody) {
        (self.known, self.tick, self.lot) = (true, body.tick, body.lot);
        (self.size_min, self.size_max) = (body.size_min, body.size_max);
        (self.band_ppm, self.maker_ppm, self.taker_ppm) = (body.band_ppm, body.maker_ppm, body.taker_ppm);
        (self.base_asset, self.quote_asset) = (body.base_asset, body.quote_asset);
        (self.price_exp, self.size_exp, self.band_action) = (body.price_exp, body.size_exp, body.band_action);
        if body.reference_price != 0 {
            self.reference = body.reference_price;
        }
        self.scale = Scale::new(body);
    }

    /// The definition that would give this.
    pub(crate) fn body(&self) -> InstrumentBody {
        InstrumentBody {
            tick: self.tick,
            lot: self.lot,
            size_min: self.size_min,
            size_max: self.size_max,
            reference_price: self.reference,
            band_ppm: self.band_ppm,
            maker_ppm: self.maker_ppm,
            taker_ppm: self.taker_ppm,
            base_asset: self.base_asset,
            quote_asset: self.quote_asset,
            price_exp: self.price_exp,
            size_exp: self.size_exp,
            band_action: self.band_action,
            ..InstrumentBody::default()
        }
    }
}

/// Limits with the bucket of their rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) order_size_max: i64,
    pub(crate) order_notional_max: i64,
    pub(crate) position_max: i64,
    pub(crate) exposure_max: i64,
    pub(crate) open_orders_max: u32,
    pub(crate) collar_ppm: u32,
    pub(crate) commands_per_s: u32,
    pub(crate) burst: u32,
    pub(crate) exposure_exp: u8,
    bucket: Bucket,
}

plain!(Limits {
    order_size_max,
    order_notional_max,
    position_max,
    exposure_max,
    open_orders_max,
    collar_ppm,
    commands_per_s,
    burst,
    exposure_exp,
    bucket,
});

impl Limits {
    pub(crate) const NONE: Self = Self {
        order_size_max: 0,
        order_notional_max: 0,
        position_max: 0,
        exposure_max: 0,
        open_orders_max: 0,
        collar_ppm: 0,
        commands_per_s: 0,
        burst: 0,
        exposure_exp: 0,
        bucket: Bucket::NONE,
    };

    pub(crate) const fn new(body: &LimitsBody, ts: i64) -> Self {
        Self {
            order_size_max: body.order_size_max,
            order_notional_max: body.order_notional_max,
            position_max: body.position_max,
            exposure_max: body.exposure_max,
            open_orders_max: body.open_orders_max,
            collar_ppm: body.collar_ppm,
            commands_per_s: body.commands_per_s,
            burst: body.burst,
            exposure_exp: body.exposure_exp,
            bucket: Bucket::full(body.commands_per_s, body.burst, ts),
        }
    }

    pub(crate) fn has_token(&self, ts: i64) -> bool {
        self.bucket.has_token(self.commands_per_s, self.burst, ts)
    }

    pub(crate) fn take_token(&mut self, ts: i64) {
        self.bucket.take(self.commands_per_s, self.burst, ts);
    }
}

/// An account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) id: u32,
    pub(crate) group: u32,
    pub(crate) maker_ppm: i32,
    pub(crate) taker_ppm: i32,
    pub(crate) initial_ppm: u32,
    pub(crate) maintenance_ppm: u32,
    pub(crate) flags: u8,
    pub(crate) killed: bool,
    pub(crate) limits: Limits,
    pub(crate) open_orders: u32,
    pub(crate) ended: Ended,
    /// First of its lines; each names the next.
    pub(crate) lines: u32,
    /// Not so after the venue refused its first definition.
    pub(crate) known: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            id: 0,
            group: 0,
            maker_ppm: 0,
            taker_ppm: 0,
            initial_ppm: 0,
            maintenance_ppm: 0,
            flags: 0,
            killed: false,
            limits: Limits::default(),
            open_orders: 0,
            ended: Ended::default(),
            lines: NONE,
            known: false,
        }
    }
}

plain!(Account { id, group, maker_ppm, taker_ppm, initial_ppm, maintenance_ppm, flags, killed, limits, known });

impl Entry for Account {
    type Key = u32;
    const SALT: u64 = 8;
    fn key(&self) -> u32 {
        self.id
    }
    fn hash_derived(&self, state: u64) -> u64 {
        mix(state, u64::from(self.open_orders))
    }
}

impl Account {
    pub(crate) const fn margin(&self) -> bool {
        self.flags & ACCOUNT_MARGIN != 0
    }

    pub(crate) const fn define(&mut self, body: &AccountBody) {
        (self.known, self.group, self.flags) = (true, body.group, body.flags);
        (self.maker_ppm, self.taker_ppm) = (body.maker_ppm, body.taker_ppm);
        (self.initial_ppm, self.maintenance_ppm) = (body.initial_margin_ppm, body.maintenance_margin_ppm);
    }

    pub(crate) fn body(&self) -> AccountBody {
        AccountBody {
            group: self.group,
            maker_ppm: self.maker_ppm,
            taker_ppm: self.taker_ppm,
            initial_margin_ppm: self.initial_ppm,
            maintenance_margin_ppm: self.maintenance_ppm,
            flags: self.flags,
            ..AccountBody::default()
        }
    }
}

/// An account in an instrument: its limits there, and what its open orders may still add to the position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) account: u32,
    pub(crate) instrument_id: u32,
    pub(crate) limits: Limits,
    /// Size units of open buys and sells.
    pub(crate) buys: i128,
    pub(crate) sells: i128,
    /// The same x worst price.
    pub(crate) buys_worth: i128,
    pub(crate) sells_worth: i128,
    pub(crate) open_orders: u32,
    pub(crate) next: u32,
    /// Slots of its account, its instrument and its portfolio holding.
    pub(crate) owner: u32,
    pub(crate) listed: u32,
    pub(crate) holding: u32,
    /// Slots of the account's balances of quote and base asset, once they were asked for.
    pub(crate) quote: u32,
    pub(crate) base: u32,
}

impl Line {
    /// Of nobody in nothing.
    pub(crate) const NONE: Self = Self {
        account: 0,
        instrument_id: 0,
        limits: Limits::NONE,
        buys: 0,
        sells: 0,
        buys_worth: 0,
        sells_worth: 0,
        open_orders: 0,
        next: NONE,
        owner: NONE,
        listed: NONE,
        holding: NONE,
        quote: NONE,
        base: NONE,
    };
}

impl Default for Line {
    fn default() -> Self {
        Self::NONE
    }
}

plain!(Line { account, instrument_id, limits });

impl Entry for Line {
    type Key = u64;
    const SALT: u64 = 9;
    fn key(&self) -> u64 {
        pair(self.account, self.instrument_id)
    }
    fn hash_derived(&self, state: u64) -> u64 {
        let state = mix(state, u64::from(self.open_orders));
        [self.buys, self.sells, self.buys_worth, self.sells_worth].iter().fold(state, |state, sum| sum.hash(state))
    }
}

/// An order from its acceptance to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) account: u32,
    pub(crate) instrument_id: u32,
    /// 1 for a buy, -1 for a sell.
    pub(crate) side: i8,
    pub(crate) order_type: u8,
    /// Whether its other leg is open too.
    pub(crate) linked: bool,
    pub(crate) by_amount: bool,
    /// Worst price of its present terms.
    pub(crate) price: i64,
    /// Price at which its worth counts: of a sell not below the reference of when it came.
    pub(crate) worth_price: i64,
    /// What is left by its present terms; 0 by amount.
    pub(crate) remaining: i64,
    pub(crate) filled: i64,
    /// Of an order by amount: what is left of it, in price unit x size unit; else 0.
    pub(crate) amount_left: i128,
    /// Replaces that the venue has not answered, and the worst of them (or of both legs) with the present terms.
    pub(crate) pending: u32,
    /// Whole size.
    pub(crate) bound_size: i64,
    pub(crate) bound_price: i64,
    pub(crate) bound_worth_price: i64,
    /// What the account's line counts for it: size, and size x worst price.
    pub(crate) counted: i128,
    pub(crate) counted_worth: i128,
    /// What it has reserved, in ledger units.
    pub(crate) quote: i128,
    pub(crate) base: i128,
    /// Its client's ids, newest first.
    pub(crate) ids: u32,
    pub(crate) line: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            id: 0,
            account: 0,
            instrument_id: 0,
            side: 1,
            order_type: 0,
            linked: false,
            by_amount: false,
            price: 0,
            worth_price: 0,
            remaining: 0,
            filled: 0,
            amount_left: 0,
            pending: 0,
            bound_size: 0,
            bound_price: 0,
            bound_worth_price: 0,
            counted: 0,
            counted_worth: 0,
            quote: 0,
            base: 0,
            ids: NONE,
            line: NONE,
        }
    }
}

plain!(Order {
    id,
    account,
    instrument_id,
    side,
    order_type,
    linked,
    by_amount,
    price,
    worth_price,
    remaining,
    filled,
    amount_left,
    pending,
    bound_size,
    bound_price,
    bound_worth_price,
    counted,
    counted_worth,
    quote,
    base,
});

impl Entry for Order {
    type Key = u64;
    const SALT: u64 = 10;
    fn key(&self) -> u64 {
        self.id
    }
}

impl Order {
    pub(crate) const fn is_buy(&self) -> bool {
        self.side > 0
    }

    /// What it counts for and has reserved now.
    pub(crate) const fn counted(&self) -> Need {
        Need { size: self.counted, worth: self.counted_worth, quote: self.quote, base: self.base }
    }

    /// The largest whole size that it may have when the venue has answered all that was asked for.
    pub(crate) fn size_max(&self) -> i64 {
        self.filled.saturating_add(self.remaining).max(if self.pending > 0 { self.bound_size } else { 0 })
    }

    /// The worst price that it may have when the venue has answered all that was asked for.
    pub(crate) const fn price_bound(&self) -> i64 {
        if self.pending > 0 { self.bound_price } else { self.price }
    }

    /// Terms are asked for beside those it has; a size of 0 keeps the one that it has by then.
    #[inline]
    pub(crate) fn ask(&mut self, price: i64, worth_price: i64, size: i64) {
        if self.pending == 0 {
            self.bound_size = self.filled.saturating_add(self.remaining);
            (self.bound_price, self.bound_worth_price) = (self.price, self.worth_price);
        }
        self.pending += 1;
        self.bound_size = self.bound_size.max(size);
        let worse = if self.is_buy() { self.bound_price.max(price) } else { self.bound_price.min(price) };
        self.bound_price = worse;
        self.bound_worth_price = self.bound_worth_price.max(worth_price);
    }

    /// Whether it is one that has to have a price.
    pub(crate) const fn needs_price(&self) -> bool {
        needs_price(self.order_type)
    }
}

pub(crate) const fn needs_price(order_type: u8) -> bool {
    matches!(OrderType::from_code(order_type), Some(OrderType::Limit | OrderType::StopLimit))
}

/// A replace that the venue has not answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PendingReplace {
    pub(crate) sequence: u64,
    pub(crate) order_id: u64,
    /// Worst price, price of its worth and whole size of its terms.
    pub(crate) price: i64,
    pub(crate) worth_price: i64,
    pub(crate) size: i64,
}

plain!(PendingReplace { sequence, order_id, price, worth_price, size });

/// A definition that the venue has not answered, with what was before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingDefinition {
    pub(crate) sequence: u64,
    /// Of an account, or 0.
    pub(crate) account: u32,
    pub(crate) instrument_id: u32,
    /// Whether there was one.
    pub(crate) known: bool,
    pub(crate) before: [u8; 88],
}

impl Default for PendingDefinition {
    fn default() -> Self {
        Self { sequence: 0, account: 0, instrument_id: 0, known: false, before: [0; 88] }
    }
}

plain!(PendingDefinition { sequence, account, instrument_id, known, before });

/// Saves a queue from its front to its back.
pub(crate) fn save_queue<T: Plain>(queue: &std::collections::VecDeque<T>, out: &mut Vec<u8>) {
    (queue.len() as u64).save(out);
    queue.iter().for_each(|element| element.save(out));
}

/// Loads what [`save_queue`] wrote.
pub(crate) fn load_queue<T: Plain>(
    queue: &mut std::collections::VecDeque<T>,
    input: &mut Input<'_>,
) -> Result<(), PlainError> {
    for _ in 0..input.count()? {
        queue.push_back(T::load(input)?);
    }
    Ok(())
}

/// A hash of a queue in its order.
pub(crate) fn hash_queue<T: Plain>(queue: &std::collections::VecDeque<T>, state: u64) -> u64 {
    queue.iter().fold(mix(state, queue.len() as u64), |state, element| element.hash(state))
}
