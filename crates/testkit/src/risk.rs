//! Checks before matching that are right by being obvious: plain maps, and every sum added up again for every command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidebook_types::command::{
    ACCOUNT_MARGIN, ACCOUNT_OWN_FEES, AccountBody, BandAction, CancelBody, InstrumentBody, KillBody, LimitsBody,
    MassCancelBody, PlaceBody, PlacePairBody, ReplaceBody, TransferBody, UNITS_MAX,
};
use tidebook_types::{
    Command, CommandKind, Execution, ExecutionKind, OrderType, Reason, RiskEvent, RiskEventKind, SelfTrade,
    TimeInForce, Verdict,
};
use zerocopy::IntoBytes;

/// What both can do.
pub trait RiskEngine {
    /// Judges a command of `orders` and fills in what risk says of it.
    fn judge(&mut self, sequence: u64, command: &mut Command) -> Verdict;
    /// Takes in an execution.
    fn on_execution(&mut self, execution: &Execution);
    /// What the last call told.
    fn events(&self) -> Vec<RiskEvent>;
    /// The mass cancel that is to come next.
    fn follow_up(&self) -> Option<Command>;
    /// Ledger units of the asset that no open order may need.
    fn available(&self, account: u32, asset: u32) -> i128;
    /// Open buys and sells in size units.
    fn open_sizes(&self, account: u32, instrument_id: u32) -> (i128, i128);
}

const LEDGER_MAX: i128 = 1 << 120;
const NO_ID: [u8; 16] = [0; 16];

const fn power(exponent: u8) -> i128 {
    10_i128.pow(exponent as u32)
}

fn bounded(value: i128) -> i128 {
    value.clamp(-LEDGER_MAX, LEDGER_MAX)
}

fn ceil(numerator: i128, denominator: i128) -> i128 {
    numerator.div_euclid(denominator) + i128::from(numerator.rem_euclid(denominator) != 0)
}

const ANSWERED: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Of the replace that asked for them; 0 for those in force, `ANSWERED` for those that count until nothing waits for an answer.
    sequence: u64,
    price: i64,
    worth_price: i64,
    /// 0: that of the others.
    size: i64,
}

#[derive(Debug, Clone)]
struct NaiveOrder {
    id: u64,
    account: u32,
    instrument: u32,
    side: i8,
    order_type: u8,
    other_leg: Option<u64>,
    immediate: bool,
    /// Those in force first, then those that were asked for since the venue had last answered all; of a pair both legs'.
    terms: Vec<Terms>,
    filled: i64,
    /// In price unit x size unit.
    amount_left: Option<i128>,
    ids: Vec<[u8; 16]>,
    reserve: (i128, i128),
}

/// What an order is asked to be, as far as its worst price goes.
struct Asked {
    side: i8,
    order_type: u8,
    price: i64,
    trigger: i64,
    offset: i64,
    by_amount: bool,
    /// Of a stop that is replaced: its worst price so far, all that is not answered included.
    kept: Option<i64>,
}

impl Asked {
    fn placed(body: &PlaceBody) -> Self {
        Self {
            side: body.side,
            order_type: body.order_type,
            price: body.price,
            trigger: body.trigger_price,
            offset: body.offset,
            by_amount: body.amount != 0,
            kept: None,
        }
    }

    fn replaced(body: &ReplaceBody, order: &NaiveOrder) -> Self {
        let prices = order.terms.iter().map(|terms| terms.price);
        let worst = if order.side > 0 { prices.max() } else { prices.min() };
        let stops = [OrderType::Stop, OrderType::StopLimit, OrderType::TrailingStop].map(OrderType::code);
        Self {
            side: order.side,
            order_type: order.order_type,
            price: body.price,
            trigger: body.trigger_price,
            offset: body.offset,
            by_amount: false,
            kept: worst.filter(|_| stops.contains(&order.order_type)),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    size: i128,
    worth: i128,
    quote: i128,
    base: i128,
}

/// The naive state machine.
#[derive(Debug, Clone)]
pub struct NaiveRisk {
    ended_ids_max: usize,
    ts: i64,
    sequence: u64,
    seen: u64,
    told: u64,
    killed: BTreeSet<u32>,
    instruments: BTreeMap<u32, InstrumentBody>,
    accounts: BTreeMap<u32, AccountBody>,
    limits: BTreeMap<(u32, u32), (LimitsBody, i64, Vec<i64>)>,
    orders: BTreeMap<u64, NaiveOrder>,
    ended: BTreeMap<u32, VecDeque<([u8; 16], u64)>>,
    cash: BTreeMap<(u32, u32), i128>,
    positions: BTreeMap<(u32, u32), i128>,
    called: BTreeSet<(u32, u32)>,
    definitions: Vec<(u64, Before)>,
    due: Vec<u32>,
    events: Vec<RiskEvent>,
}

#[derive(Debug, Clone)]
enum Before {
    Instrument(u32, Option<InstrumentBody>),
    Account(u32, Option<AccountBody>),
}

fn when(refused: bool, reason: Reason) -> Result<(), Reason> {
    if refused { Err(reason) } else { Ok(()) }
}

fn put<B: IntoBytes + zerocopy::Immutable>(command: &mut Command, body: &B) {
    command.body.copy_from_slice(body.as_bytes());
}

fn has_own_price(order_type: u8) -> bool {
    order_type == OrderType::Limit.code() || order_type == OrderType::StopLimit.code()
}

impl NaiveRisk {
    /// That remembers so many ids of ended orders of each account.
    pub fn new(ended_ids_max: usize) -> Self {
        Self {
            ended_ids_max,
            ts: 0,
            sequence: 0,
            seen: 0,
            told: 0,
            killed: BTreeSet::new(),
            instruments: BTreeMap::new(),
            accounts: BTreeMap::new(),
            limits: BTreeMap::new(),
            orders: BTreeMap::new(),
            ended: BTreeMap::new(),
            cash: BTreeMap::new(),
            positions: BTreeMap::new(),
            called: BTreeSet::new(),
            definitions: Vec::new(),
            due: Vec::new(),
            events: Vec::new(),
        }
    }

    fn is_margin(&self, account: u32) -> bool {
        self.accounts[&account].flags & ACCOUNT_MARGIN != 0
    }

    fn rate(&self, account: u32, instrument: u32) -> i128 {
        let (account, instrument) = (&self.accounts[&account], &self.instruments[&instrument]);
        let own = account.flags & ACCOUNT_OWN_FEES != 0;
        let rates =
            if own { [account.maker_ppm, account.taker_ppm] } else { [instrument.maker_ppm, instrument.taker_ppm] };
        i128::from(*rates.iter().max().unwrap()).max(0)
    }

    /// Ledger units of price unit x size unit, of a price unit of quote, of a size unit of base.
    fn units(&self, instrument: u32) -> (i128, i128, i128) {
        let body = &self.instruments[&instrument];
        (power(18 - body.price_exp - body.size_exp), power(18 - body.price_exp), power(18 - body.size_exp))
    }

    fn notional(&self, instrument: u32, notional: i128) -> i128 {
        bounded(notional.saturating_mul(self.units(instrument).0))
    }

    fn fee(&self, account: u32, instrument: u32, notional: i128) -> i128 {
        let whole = power(self.instruments[&instrument].size_exp) * 1_000_000;
        let rate = self.rate(account, instrument);
        let units = (notional / whole * rate) + ceil(notional % whole * rate, whole);
        bounded(units.saturating_mul(self.units(instrument).1))
    }

    fn needs(&self, order: &NaiveOrder) -> Needs {
        if order.other_leg.is_some() && order.id % 2 == 1 {
            return Needs::default();
        }
        let prices = order.terms.iter().map(|terms| i128::from(terms.price.max(1)));
        let price = if order.side > 0 { prices.max() } else { prices.min() }.unwrap();
        let size = order.terms.iter().map(|terms| terms.size).max().unwrap();
        let left = i128::from((size - order.filled).max(0));
        let worth_price = i128::from(order.terms.iter().map(|terms| terms.worth_price).max().unwrap());
        let (size, worth, paid) = match order.amount_left {
            Some(left) => (left / price, left, left),
            None => (left, left * worth_price, left * price),
        };
        let mut needs = Needs { size, worth, ..Needs::default() };
        if self.is_margin(order.account) {
            return needs;
        }
        let (_, quote, base) = self.units(order.instrument);
        if order.side > 0 {
            needs.quote = self.notional(order.instrument, paid) + self.fee(order.account, order.instrument, paid);
        } else {
            needs.base = size.saturating_mul(base);
            let body = &self.instruments[&order.instrument];
            let dust = price * i128::from(body.lot) < power(body.size_exp);
            if dust && self.rate(order.account, order.instrument) > 0 {
                needs.quote = quote;
            }
        }
        needs
    }

    fn open_of(&self, account: u32, instrument: u32) -> impl Iterator<Item = &NaiveOrder> {
        self.orders
            .values()
            .filter(move |order| order.account == account && (instrument == 0 || order.instrument == instrument))
    }

    fn total(&self, account: u32, asset: u32) -> i128 {
        self.cash.get(&(account, asset)).copied().unwrap_or(0)
    }

    fn reserved(&self, account: u32, asset: u32) -> i128 {
        let mut sum = 0;
        for order in self.open_of(account, 0) {
            let body = &self.instruments[&order.instrument];
            sum += if body.quote_asset == asset { order.reserve.0 } else { 0 };
            sum += if body.base_asset == asset { order.reserve.1 } else { 0 };
        }
        sum
    }

    fn position(&self, account: u32, instrument: u32) -> i128 {
        self.positions.get(&(account, instrument)).copied().unwrap_or(0)
    }

    fn worth(&self, account: u32, instrument: u32) -> i128 {
        let mark = i128::from(self.instruments[&instrument].reference_price);
        self.notional(instrument, self.position(account, instrument).saturating_mul(mark))
    }

    fn exposure(&self, account: u32, instrument: u32, more: (i128, i128)) -> i128 {
        let worth = self.worth(account, instrument);
        let sum = |side: i8| {
            let orders = self.open_of(account, instrument).filter(|order| order.side == side);
            self.notional(instrument, orders.map(|order| self.needs(order).worth).sum())
        };
        bounded((worth + sum(1) + more.0).max(-worth + sum(-1) + more.1))
    }

    fn quoted_in(&self, asset: u32) -> Vec<u32> {
        self.instruments.iter().filter(|(_, body)| body.quote_asset == asset).map(|(id, _)| *id).collect()
    }

    fn equity(&self, account: u32, asset: u32) -> i128 {
        self.total(account, asset) + self.quoted_in(asset).iter().map(|it| self.worth(account, *it)).sum::<i128>()
    }

    fn initial(&self, account: u32, exposures: i128) -> i128 {
        ceil(bounded(exposures) * i128::from(self.accounts[&account].initial_margin_ppm), 1_000_000)
    }

    fn limits(&self, account: u32, instrument: u32) -> LimitsBody {
        self.limits.get(&(account, instrument)).map_or(LimitsBody::default(), |(body, ..)| *body)
    }

    fn collar(&self, account: u32, instrument: u32) -> u32 {
        let own = self.limits(account, instrument).collar_ppm;
        if own > 0 { own } else { self.limits(account, 0).collar_ppm }
    }

    /// Tokens in 10^-9, from the beginning of the limits on.
    fn tokens(&self, key: (u32, u32), ts: i64) -> Option<u128> {
        let (body, since, takes) = self.limits.get(&key)?;
        if body.commands_per_s == 0 {
            return None;
        }
        let size = u128::from(if body.burst == 0 { body.commands_per_s } else { body.burst }) * 1_000_000_000;
        let (mut level, mut last) = (size, *since);
        for take in takes.iter().map(|take| (*take, 1_000_000_000)).chain([(ts, 0)]) {
            level = (level + u128::from(take.0.abs_diff(last)) * u128::from(body.commands_per_s)).min(size) - take.1;
            last = take.0;
        }
        Some(level)
    }

    fn order_of(&self, account: u32, id: [u8; 16]) -> Option<u64> {
        if id == NO_ID {
            return None;
        }
        let open = self.open_of(account, 0).find(|order| order.ids.contains(&id)).map(|order| order.id);
        open.or_else(|| self.ended.get(&account)?.iter().find(|ended| ended.0 == id).map(|ended| ended.1))
    }

    fn check_new_id(&self, account: u32, id: [u8; 16]) -> Result<(), Reason> {
        when(self.order_of(account, id).is_some(), Reason::Duplicate)
    }

    fn check(&self, command: &Command) -> Result<Command, Reason> {
        use CommandKind as Kind;
        let head = command.head;
        let kind = Kind::from_code(head.kind).ok_or(Reason::Fields)?;
        when(head.reserved != [0; 5], Reason::Fields)?;
        let for_operator = matches!(kind, Kind::Session | Kind::Instrument | Kind::Timer);
        when(for_operator && head.account != 0, Reason::Operator)?;
        let any = for_operator || matches!(kind, Kind::MassCancel | Kind::Kill | Kind::Cancel);
        let known = self.accounts.contains_key(&head.account);
        let passes = head.account == 0 && any || head.account != 0 && kind == Kind::Account || known;
        when(!passes, Reason::Account)?;
        let needs = matches!(kind, Kind::Place | Kind::PlacePair | Kind::Replace | Kind::Cancel | Kind::Session)
            || matches!(kind, Kind::MassCancel | Kind::Limits) && head.instrument_id != 0;
        when(needs && !self.instruments.contains_key(&head.instrument_id), Reason::Instrument)?;
        match kind {
            Kind::Place | Kind::PlacePair | Kind::Replace => {
                let keys = [(head.account, 0), (head.account, head.instrument_id)];
                let empty = |key| self.tokens(key, head.ts).is_some_and(|level| level < 1_000_000_000);
                when(keys.into_iter().any(empty), Reason::Throttled)?;
                when(self.killed.contains(&0) || self.killed.contains(&head.account), Reason::Killed)?;
                match kind {
                    Kind::Place => self.check_place(command),
                    Kind::PlacePair => self.check_pair(command),
                    _ => self.check_replace(command),
                }
            }
            Kind::Cancel => {
                let mut body: CancelBody = command.body();
                let named = if body.client_order_id == NO_ID {
                    body.order_id
                } else {
                    self.order_of(head.account, body.client_order_id).ok_or(Reason::UnknownOrder)?
                };
                when(body.order_id != 0 && body.order_id != named, Reason::UnknownOrder)?;
                self.named(&head, named)?;
                body.order_id = named;
                let mut filled = *command;
                put(&mut filled, &body);
                Ok(filled)
            }
            Kind::Instrument => self.check_instrument(head.instrument_id, &command.body()).map(|()| *command),
            Kind::Account => self.check_account(head.account, &command.body()).map(|()| *command),
            Kind::Limits => {
                let body: LimitsBody = command.body();
                when(body.reserved != [0; 39], Reason::Fields)?;
                let amounts = [body.order_size_max, body.order_notional_max, body.position_max];
                let below = amounts.iter().any(|it| *it < 0) || body.exposure_max < 0 || body.exposure_exp > 18;
                let misplaced = if head.instrument_id == 0 { amounts != [0; 3] } else { body.exposure_exp != 0 };
                when(below || misplaced, Reason::Definition).map(|()| *command)
            }
            Kind::Transfer => self.check_transfer(head.account, &command.body()).map(|()| *command),
            Kind::Kill => {
                let body: KillBody = command.body();
                when(body.killed > 1 || body.reserved != [0; 87], Reason::Fields).map(|()| *command)
            }
            _ => Ok(*command),
        }
    }

    fn named(&self, head: &tidebook_types::command::CommandHead, id: u64) -> Result<&NaiveOrder, Reason> {
        let order = self.orders.get(&id).ok_or(Reason::UnknownOrder)?;
        let own = head.account == 0 || order.account == head.account;
        when(!own || order.instrument != head.instrument_id, Reason::UnknownOrder)?;
        Ok(order)
    }

    /// Ticks, then lot and size, then prices.
    fn check_units(&self, instrument: u32, needed: &[i64], others: &[i64], size: Option<i64>) -> Result<(), Reason> {
        let body = &self.instruments[&instrument];
        when(needed.iter().chain(others).any(|price| price % body.tick != 0), Reason::Tick)?;
        if let Some(size) = size {
            when(size % body.lot != 0, Reason::Lot)?;
            when(size < 1 || size < body.size_min || size > body.size_max, Reason::Size)?;
        }
        when(needed.contains(&0), Reason::Price)?;
        when(needed.iter().chain(others).any(|price| !(0..=UNITS_MAX).contains(price)), Reason::Price)
    }

    fn check_collar(&self, account: u32, instrument: u32, asked: &Asked) -> Result<(), Reason> {
        let (ppm, reference) = (self.collar(account, instrument), self.instruments[&instrument].reference_price);
        if ppm == 0 || reference == 0 || asked.price == 0 || Some(asked.price) == asked.kept {
            return Ok(());
        }
        // Not rounded at all: |price - anchor| x 10^6 <= anchor x ppm, of the reference or of a stop's trigger.
        let (anchor, ppm) = (self.anchor(instrument, asked), i128::from(ppm));
        let price = i128::from(asked.price) * 1_000_000;
        let low = i128::from(anchor.min(reference)) * (1_000_000 - ppm);
        let high = i128::from(anchor.max(reference)) * (1_000_000 + ppm);
        when(price < low || price > high, Reason::Collar)
    }

    fn worth_price(&self, instrument: u32, side: i8, price: i64) -> i64 {
        if side < 0 { price.max(self.instruments[&instrument].reference_price) } else { price }
    }

    /// The worst price, and whether it goes into the command.
    /// From where the worst price of an order is reckoned; 0 for nowhere.
    fn anchor(&self, instrument: u32, asked: &Asked) -> i64 {
        use OrderType::{Stop, StopLimit, TrailingStop};
        let InstrumentBody { reference_price, tick, .. } = self.instruments[&instrument];
        let kind = OrderType::from_code(asked.order_type);
        if !matches!(kind, Some(Stop | StopLimit | TrailingStop)) {
            return reference_price;
        }
        let mut trigger = asked.trigger;
        if kind == Some(TrailingStop) && trigger == 0 && reference_price > 0 && (1..=UNITS_MAX).contains(&asked.offset)
        {
            trigger = if asked.side > 0 {
                UNITS_MAX.min(reference_price + asked.offset)
            } else {
                tick.max(reference_price - asked.offset)
            };
        }
        let prices = [trigger, reference_price].into_iter().filter(|price| (1..=UNITS_MAX).contains(price));
        (if asked.side > 0 { prices.max() } else { prices.min() }).unwrap_or(0)
    }

    /// The worst price, and whether it is put into the command.
    fn worst_price(&self, (account, instrument): (u32, u32), asked: &Asked) -> Result<(i64, bool), Reason> {
        let Asked { side, order_type, price, .. } = *asked;
        if price != 0 || has_own_price(order_type) {
            return Ok((price, false));
        }
        let body = &self.instruments[&instrument];
        if self.is_margin(account) {
            let reference = body.reference_price;
            return if reference > 0 { Ok((reference, false)) } else { Err(Reason::Price) };
        }
        let anchor = i128::from(self.anchor(instrument, asked));
        let collar = self.collar(account, instrument);
        let ppm = i128::from(if collar > 0 { collar } else { body.band_ppm });
        let tick = i128::from(body.tick);
        if ppm > 0 && anchor > 0 {
            let (low, high) = (anchor * (1_000_000 - ppm).max(0), anchor * (1_000_000 + ppm));
            let most = i128::from(UNITS_MAX) / tick * tick;
            let bound = if side > 0 {
                (high / 1_000_000 / tick * tick).max(tick).min(most)
            } else {
                (ceil(ceil(low, 1_000_000), tick) * tick).max(tick).min(most)
            };
            if bound * 1_000_000 <= high && bound * 1_000_000 >= low {
                let bound = bound as i64;
                // A trailing stop that keeps its trigger may have any it had.
                let trails = order_type == OrderType::TrailingStop.code() && asked.trigger == 0;
                return Ok(match asked.kept {
                    Some(kept) if trails && side > 0 => (bound.max(kept), true),
                    Some(kept) if trails => (bound.min(kept), bound.min(kept) > body.tick),
                    _ => (bound, true),
                });
            }
        }
        if side > 0 || asked.by_amount { Err(Reason::Price) } else { Ok((body.tick, false)) }
    }

    fn check_counts(&self, account: u32, instrument: u32, more: usize) -> Result<(), Reason> {
        let beyond = |instrument: u32| {
            let max = self.limits(account, instrument).open_orders_max as usize;
            max > 0 && self.open_of(account, instrument).count() + more > max
        };
        when(beyond(0) || beyond(instrument), Reason::OpenOrders)
    }

    fn check_order_size(&self, account: u32, instrument: u32, size: i128) -> Result<(), Reason> {
        let max = self.limits(account, instrument).order_size_max;
        when(max > 0 && size > max.into(), Reason::OrderSize)
    }

    fn check_place(&self, command: &Command) -> Result<Command, Reason> {
        let (account, instrument) = (command.head.account, command.head.instrument_id);
        let mut body: PlaceBody = command.body();
        let known = OrderType::from_code(body.order_type).is_some() && SelfTrade::from_code(body.self_trade).is_some();
        when(!known || !matches!(body.side, -1 | 1), Reason::Fields)?;
        let by_amount = body.amount != 0;
        let market = body.order_type == OrderType::Market.code();
        when(by_amount && (!market || body.size != 0), Reason::Fields)?;
        let size = (!by_amount).then_some(body.size);
        if has_own_price(body.order_type) {
            self.check_units(instrument, &[body.price], &[], size)?;
        } else {
            self.check_units(instrument, &[], &[body.price], size)?;
        }
        when(by_amount && !(1..=UNITS_MAX).contains(&body.amount), Reason::Amount)?;
        self.check_new_id(account, body.client_order_id)?;
        self.check_counts(account, instrument, 1)?;
        self.check_order_size(account, instrument, body.size.into())?;
        let asked = Asked::placed(&body);
        self.check_collar(account, instrument, &asked)?;
        let order = self.placed(0, account, instrument, &body)?;
        self.check_order_size(account, instrument, self.needs(&order).size)?;
        self.check_addition(None, &order)?;
        let worst = self.worst_price((account, instrument), &asked)?;
        if worst.1 {
            body.price = worst.0;
        }
        let mut filled = *command;
        put(&mut filled, &body);
        Ok(filled)
    }

    fn placed(&self, id: u64, account: u32, instrument: u32, body: &PlaceBody) -> Result<NaiveOrder, Reason> {
        let by_amount = body.amount != 0;
        let (price, _) = self.worst_price((account, instrument), &Asked::placed(body))?;
        let immediate = body.order_type == OrderType::Market.code()
            || [TimeInForce::Ioc.code(), TimeInForce::Fok.code()].contains(&body.time_in_force);
        Ok(NaiveOrder {
            id,
            account,
            instrument,
            side: body.side,
            order_type: body.order_type,
            other_leg: None,
            immediate,
            terms: vec![Terms {
                sequence: 0,
                price,
                worth_price: self.worth_price(instrument, body.side, price),
                size: body.size,
            }],
            filled: 0,
            amount_left: by_amount.then(|| i128::from(body.amount) * power(self.instruments[&instrument].size_exp)),
            ids: if body.client_order_id == NO_ID { vec![] } else { vec![body.client_order_id] },
            reserve: (0, 0),
        })
    }

    /// Both legs of a pair.
    fn paired(&self, id: u64, account: u32, instrument: u32, body: &PlacePairBody) -> Result<[NaiveOrder; 2], Reason> {
        let listed = &self.instruments[&instrument];
        let stop = if body.limit_price != 0 {
            body.limit_price
        } else if self.is_margin(account) {
            when(listed.reference_price == 0, Reason::Price)?;
            listed.reference_price
        } else {
            when(body.side > 0, Reason::Price)?;
            listed.tick
        };
        let terms = |price: i64| Terms {
            sequence: 0,
            price,
            worth_price: self.worth_price(instrument, body.side, price),
            size: body.size,
        };
        let legs = [(id, body.price, body.client_order_id), (id | 1, stop, body.stop_client_order_id)];
        Ok(legs.map(|(leg, price, client_order_id)| NaiveOrder {
            id: leg,
            account,
            instrument,
            side: body.side,
            order_type: match (leg == id, body.limit_price) {
                (true, _) => OrderType::Limit,
                (false, 0) => OrderType::Stop,
                (false, _) => OrderType::StopLimit,
            }
            .code(),
            other_leg: Some(leg ^ 1),
            immediate: false,
            // The first counts for both.
            terms: if leg == id { vec![terms(price), terms(stop)] } else { vec![terms(price)] },
            filled: 0,
            amount_left: None,
            ids: if client_order_id == NO_ID { vec![] } else { vec![client_order_id] },
            reserve: (0, 0),
        }))
    }

    fn check_pair(&self, command: &Command) -> Result<Command, Reason> {
        let (account, instrument) = (command.head.account, command.head.instrument_id);
        let body: PlacePairBody = command.body();
        when(SelfTrade::from_code(body.self_trade).is_none() || !matches!(body.side, -1 | 1), Reason::Fields)?;
        self.check_units(instrument, &[body.price], &[body.limit_price], Some(body.size))?;
        self.check_new_id(account, body.client_order_id)?;
        self.check_new_id(account, body.stop_client_order_id)?;
        let same = body.client_order_id == body.stop_client_order_id;
        when(same && body.client_order_id != NO_ID, Reason::Duplicate)?;
        self.check_counts(account, instrument, 2)?;
        self.check_order_size(account, instrument, body.size.into())?;
        let limit = Asked {
            side: body.side,
            order_type: OrderType::Limit.code(),
            price: body.price,
            trigger: body.trigger_price,
            offset: 0,
            by_amount: false,
            kept: None,
        };
        self.check_collar(account, instrument, &limit)?;
        let stop = Asked { order_type: OrderType::StopLimit.code(), price: body.limit_price, ..limit };
        self.check_collar(account, instrument, &stop)?;
        let [leg, _] = self.paired(0, account, instrument, &body)?;
        self.check_addition(None, &leg)?;
        Ok(*command)
    }

    fn check_replace(&self, command: &Command) -> Result<Command, Reason> {
        let head = command.head;
        let (account, instrument) = (head.account, head.instrument_id);
        let mut body: ReplaceBody = command.body();
        if body.order_id == 0 {
            body.order_id = self.order_of(account, body.client_order_id).ok_or(Reason::UnknownOrder)?;
        }
        let order = self.named(&head, body.order_id)?;
        when(order.other_leg.is_some(), Reason::Linked)?;
        when(body.price % self.instruments[&instrument].tick != 0, Reason::Tick)?;
        if body.size != 0 {
            self.check_units(instrument, &[], &[], Some(body.size))?;
            when(body.size <= order.filled, Reason::Size)?;
        }
        when(order.amount_left.is_some(), Reason::Size)?;
        if has_own_price(order.order_type) {
            self.check_units(instrument, &[body.price], &[], None)?;
        } else {
            self.check_units(instrument, &[], &[body.price], None)?;
        }
        if !order.ids.contains(&body.client_order_id) {
            self.check_new_id(account, body.client_order_id)?;
        }
        let kept = order.terms.iter().map(|terms| terms.size).max().unwrap();
        self.check_order_size(account, instrument, (if body.size == 0 { kept } else { body.size }).into())?;
        let asked = Asked::replaced(&body, order);
        self.check_collar(account, instrument, &asked)?;
        let (price, is_put) = self.worst_price((account, instrument), &asked)?;
        let mut after = order.clone();
        after.terms.push(Terms {
            sequence: u64::MAX,
            price,
            worth_price: self.worth_price(instrument, order.side, price),
            size: body.size,
        });
        self.check_addition(Some(order), &after)?;
        if is_put {
            body.price = price;
        }
        let mut filled = *command;
        put(&mut filled, &body);
        Ok(filled)
    }

    fn check_addition(&self, before: Option<&NaiveOrder>, after: &NaiveOrder) -> Result<(), Reason> {
        let (account, instrument) = (after.account, after.instrument);
        let (limits, needs) = (self.limits(account, instrument), self.needs(after));
        let was = before.map_or(Needs::default(), |order| Needs {
            quote: order.reserve.0,
            base: order.reserve.1,
            ..self.needs(order)
        });
        let body = self.instruments[&instrument];
        let (unit, quote, _) = self.units(instrument);
        let size = i128::from(after.terms.iter().map(|terms| terms.size).max().unwrap());
        let worth_price = i128::from(after.terms.iter().map(|terms| terms.worth_price).max().unwrap());
        let whole = if after.amount_left.is_some() { needs.worth } else { size * worth_price };
        let max = i128::from(limits.order_notional_max) * power(body.size_exp);
        when(max > 0 && whole > max || whole > LEDGER_MAX / unit, Reason::OrderNotional)?;

        let held = self.position(account, instrument) * i128::from(after.side);
        let same_side = self.open_of(account, instrument).filter(|order| order.side == after.side);
        let open: i128 = same_side.map(|order| self.needs(order).size).sum();
        let max = if limits.position_max > 0 { limits.position_max } else { UNITS_MAX };
        let added = needs.size - was.size;
        when(added > 0 && held + open + added > i128::from(max).max(0), Reason::Position)?;

        let added = self.notional(instrument, needs.worth - was.worth);
        let more = if after.side > 0 { (added, 0) } else { (0, added) };
        let (exposure, exposure_before) =
            (self.exposure(account, instrument, more), self.exposure(account, instrument, (0, 0)));
        let max = i128::from(limits.exposure_max) * quote;
        let grows = exposure > exposure_before;
        when(grows && max > 0 && exposure > max, Reason::Exposure)?;
        let others = self.quoted_in(body.quote_asset).into_iter().filter(|it| *it != instrument);
        let exposures = exposure + others.map(|it| self.exposure(account, it, (0, 0))).sum::<i128>();
        let whole = self.limits(account, 0);
        let max = i128::from(whole.exposure_max) * power(18 - whole.exposure_exp);
        when(grows && max > 0 && exposures > max, Reason::Exposure)?;

        if self.is_margin(account) {
            let needed = self.initial(account, exposures) + self.fee(account, instrument, needs.worth);
            return when(grows && needed > self.equity(account, body.quote_asset), Reason::Margin);
        }
        for (asset, more) in [(body.quote_asset, needs.quote - was.quote), (body.base_asset, needs.base - was.base)] {
            let available = self.total(account, asset) - self.reserved(account, asset);
            when(more > 0 && more > available, Reason::Balance)?;
        }
        Ok(())
    }

    fn check_instrument(&self, id: u32, body: &InstrumentBody) -> Result<(), Reason> {
        let range = |value: i64, low: i64| (low..=UNITS_MAX).contains(&value);
        let right = id != 0
            && range(body.tick, 1)
            && range(body.lot, 1)
            && range(body.size_min, 0)
            && range(body.size_max, body.size_min.max(body.lot))
            && range(body.reference_price, 0)
            && i32::from(body.price_exp) + i32::from(body.size_exp) <= 18
            && [body.maker_ppm, body.taker_ppm].iter().all(|rate| (-500_000..=500_000).contains(rate))
            && body.base_asset != body.quote_asset
            && BandAction::from_code(body.band_action).is_some();
        when(!right, Reason::Definition)?;
        if let Some(now) = self.instruments.get(&id) {
            let fixed = |it: &InstrumentBody| (it.price_exp, it.size_exp, it.base_asset, it.quote_asset);
            let steps = |it: &InstrumentBody| (it.tick, it.lot, it.size_max);
            let has_orders = self.orders.values().any(|order| order.instrument == id);
            when(fixed(now) != fixed(body), Reason::Definition)?;
            when(steps(now) != steps(body) && has_orders, Reason::Definition)?;
        }
        Ok(())
    }

    fn check_account(&self, id: u32, body: &AccountBody) -> Result<(), Reason> {
        let right = body.flags <= (ACCOUNT_OWN_FEES | ACCOUNT_MARGIN)
            && [body.maker_ppm, body.taker_ppm].iter().all(|rate| (-500_000..=500_000).contains(rate))
            && body.initial_margin_ppm <= 1_000_000
            && body.maintenance_margin_ppm <= body.initial_margin_ppm;
        when(!right, Reason::Definition)?;
        if let Some(now) = self.accounts.get(&id) {
            let has = self.open_of(id, 0).next().is_some()
                || self.positions.iter().any(|((account, _), position)| *account == id && *position != 0)
                || self.cash.iter().any(|((account, _), total)| *account == id && *total != 0);
            when((now.flags ^ body.flags) & ACCOUNT_MARGIN != 0 && has, Reason::Definition)?;
        }
        Ok(())
    }

    fn check_transfer(&self, account: u32, body: &TransferBody) -> Result<(), Reason> {
        when(body.reserved != [0; 75], Reason::Fields)?;
        when(body.amount == 0 || body.amount_exp > 18, Reason::Definition)?;
        let amount = i128::from(body.amount) * power(18 - body.amount_exp);
        when(amount.abs() >= LEDGER_MAX || self.total(account, body.asset) + amount > LEDGER_MAX, Reason::Definition)?;
        if amount > 0 {
            return Ok(());
        }
        if self.is_margin(account) {
            let exposures =
                self.quoted_in(body.asset).iter().map(|it| self.exposure(account, *it, (0, 0))).sum::<i128>();
            let left = self.equity(account, body.asset) + amount;
            return when(left < self.initial(account, exposures), Reason::Margin);
        }
        when(-amount > self.available(account, body.asset), Reason::Balance)
    }

    fn commit(&mut self, command: &Command) {
        use CommandKind as Kind;
        let head = command.head;
        let kind = Kind::from_code(head.kind);
        let reason = Reason::from_code(head.reason).unwrap();
        let event = RiskEvent { account: head.account, instrument_id: head.instrument_id, ..RiskEvent::default() };
        if matches!(kind, Some(Kind::Place | Kind::PlacePair | Kind::Replace))
            && head.reserved == [0; 5]
            && !matches!(reason, Reason::Account | Reason::Instrument | Reason::Throttled | Reason::Late)
        {
            for key in [(head.account, 0), (head.account, head.instrument_id)] {
                if let Some((_, _, takes)) = self.limits.get_mut(&key) {
                    takes.push(head.ts);
                }
            }
        }
        if head.verdict == Verdict::Rejected.code() {
            let (order_id, client_order_id) = match kind {
                Some(Kind::Place) => (0, command.body::<PlaceBody>().client_order_id),
                Some(Kind::PlacePair) => (0, command.body::<PlacePairBody>().client_order_id),
                Some(Kind::Replace) => {
                    (command.body::<ReplaceBody>().order_id, command.body::<ReplaceBody>().client_order_id)
                }
                Some(Kind::Cancel) => {
                    (command.body::<CancelBody>().order_id, command.body::<CancelBody>().client_order_id)
                }
                _ => (0, NO_ID),
            };
            let (reason, command_kind) = (head.reason, head.kind);
            let event = RiskEvent { order_id, client_order_id, reason, command_kind, ..event };
            return self.tell(RiskEventKind::Rejected, event);
        }
        let id = 2 * self.sequence;
        match kind.unwrap() {
            Kind::Place => {
                let order = self.placed(id, head.account, head.instrument_id, &command.body()).unwrap();
                self.add(order);
            }
            Kind::PlacePair => {
                for leg in self.paired(id, head.account, head.instrument_id, &command.body()).unwrap() {
                    self.add(leg);
                }
            }
            Kind::Replace => {
                let body: ReplaceBody = command.body();
                let order = self.orders[&body.order_id].clone();
                let key = (head.account, head.instrument_id);
                let (price, _) = self.worst_price(key, &Asked::replaced(&body, &order)).unwrap();
                let worth_price = self.worth_price(head.instrument_id, order.side, price);
                let order = self.orders.get_mut(&body.order_id).unwrap();
                order.terms.push(Terms { sequence: self.sequence, price, worth_price, size: body.size });
                if body.client_order_id != NO_ID && !order.ids.contains(&body.client_order_id) {
                    order.ids.insert(0, body.client_order_id);
                }
                let needs = self.needs(&self.orders[&body.order_id]);
                let reserve = &mut self.orders.get_mut(&body.order_id).unwrap().reserve;
                *reserve = (reserve.0.max(needs.quote), reserve.1.max(needs.base));
            }
            Kind::MassCancel => {
                if head.instrument_id == 0 && command.body::<MassCancelBody>().side == 0 {
                    self.due.retain(|account| *account != head.account);
                }
            }
            Kind::Timer => {
                for account in self.accounts.keys().copied().collect::<Vec<_>>() {
                    self.check_margin(account);
                }
            }
            Kind::Instrument => {
                let before = self.instruments.get(&head.instrument_id).copied();
                self.definitions.push((self.sequence, Before::Instrument(head.instrument_id, before)));
                let mut body: InstrumentBody = command.body();
                if body.reference_price == 0 {
                    body.reference_price = before.map_or(0, |before| before.reference_price);
                }
                body.reserved = [0; 25];
                self.instruments.insert(head.instrument_id, body);
                self.tell(RiskEventKind::InstrumentChanged, event);
            }
            Kind::Account => {
                let before = self.accounts.get(&head.account).copied();
                self.definitions.push((self.sequence, Before::Account(head.account, before)));
                self.accounts.insert(head.account, command.body());
                self.tell(RiskEventKind::AccountChanged, event);
                self.check_margin(head.account);
            }
            Kind::Limits => {
                let value = (command.body(), self.ts, Vec::new());
                self.limits.insert((head.account, head.instrument_id), value);
                self.tell(RiskEventKind::LimitsChanged, event);
            }
            Kind::Transfer => {
                let body: TransferBody = command.body();
                let amount = i128::from(body.amount) * power(18 - body.amount_exp);
                *self.cash.entry((head.account, body.asset)).or_default() += amount;
                self.tell(RiskEventKind::Transferred, RiskEvent { asset: body.asset, value: body.amount, ..event });
                self.check_margin(head.account);
            }
            Kind::Kill => {
                let account = head.account;
                if command.body::<KillBody>().killed == 1 {
                    self.killed.insert(account);
                    if !self.due.contains(&account) {
                        self.due.push(account);
                    }
                    self.tell(RiskEventKind::Killed, RiskEvent { account, ..RiskEvent::default() });
                } else {
                    self.killed.remove(&account);
                    self.tell(RiskEventKind::Revived, RiskEvent { account, ..RiskEvent::default() });
                }
            }
            Kind::Cancel | Kind::CancelAllAfter | Kind::Disconnect | Kind::Session => {}
        }
    }

    fn add(&mut self, mut order: NaiveOrder) {
        let needs = self.needs(&order);
        order.reserve = (needs.quote, needs.base);
        self.orders.insert(order.id, order);
    }

    fn tell(&mut self, kind: RiskEventKind, event: RiskEvent) {
        self.told += 1;
        self.events.push(RiskEvent {
            sequence: self.told,
            source_sequence: self.sequence,
            executions_seen: self.seen,
            ts: self.ts,
            kind: kind.code(),
            ..event
        });
    }

    fn end(&mut self, id: u64) {
        let Some(order) = self.orders.remove(&id) else { return };
        let ended = self.ended.entry(order.account).or_default();
        ended.extend(order.ids.iter().map(|client| (*client, id)));
        while ended.len() > self.ended_ids_max {
            ended.pop_front();
        }
        if let Some(other) = order.other_leg
            && let Some(mut other) = self.orders.remove(&other)
        {
            other.other_leg = None;
            other.terms.truncate(1);
            let needs = self.needs(&other);
            other.reserve = if other.id % 2 == 1 {
                (needs.quote, needs.base)
            } else {
                (other.reserve.0.min(needs.quote), other.reserve.1.min(needs.base))
            };
            self.orders.insert(other.id, other);
        }
    }

    fn shrink(&mut self, id: u64) {
        let needs = self.needs(&self.orders[&id]);
        let reserve = &mut self.orders.get_mut(&id).unwrap().reserve;
        *reserve = (reserve.0.min(needs.quote), reserve.1.min(needs.base));
    }

    fn fill(&mut self, fill: &Execution) {
        let instrument = fill.instrument_id;
        self.instruments.get_mut(&instrument).unwrap().reference_price = fill.price;
        let body = self.instruments[&instrument];
        let (_, quote_unit, base_unit) = self.units(instrument);
        let traded = i128::from(fill.price) * i128::from(fill.size);
        let notional = self.notional(instrument, traded);
        let sign = if fill.side < 0 { -1 } else { 1 };
        let sides = [
            (fill.order_id, fill.account, sign, fill.fee, fill.remaining),
            (fill.contra_order_id, fill.contra_account, -sign, fill.contra_fee, fill.contra_remaining),
        ];
        for (id, account, sign, fee, remaining) in sides {
            let fee = i128::from(fee) * quote_unit;
            let size = i128::from(fill.size);
            *self.positions.entry((account, instrument)).or_default() += sign * size;
            *self.cash.entry((account, body.quote_asset)).or_default() -= sign * notional + fee;
            if !self.is_margin(account) {
                *self.cash.entry((account, body.base_asset)).or_default() += sign * size * base_unit;
            }
            *self.cash.entry((0, body.quote_asset)).or_default() += fee;
            let Some(order) = self.orders.get_mut(&id) else { continue };
            order.filled += fill.size;
            if order.side > 0 {
                order.reserve.0 -= notional + fee;
            } else {
                order.reserve.0 -= (fee - notional).max(0);
                order.reserve.1 -= size * base_unit;
            }
            // What is due beyond the reserve comes from the balance.
            order.reserve = (order.reserve.0.max(0), order.reserve.1.max(0));
            let done = match &mut order.amount_left {
                Some(left) => {
                    *left = (*left - traded).max(0);
                    *left == 0
                }
                None => {
                    order.terms[0].size = order.filled + remaining;
                    remaining == 0
                }
            };
            if done {
                self.end(id);
            } else {
                self.shrink(id);
            }
        }
        let mut accounts = vec![fill.account, fill.contra_account];
        accounts.dedup();
        for account in accounts {
            if !self.is_margin(account) {
                for asset in [body.base_asset, body.quote_asset] {
                    let total = self.total(account, asset);
                    if total < 0 {
                        let event = RiskEvent { account, asset, value: told(total), ..RiskEvent::default() };
                        self.tell(RiskEventKind::Deficit, event);
                    }
                }
            }
            self.check_margin(account);
        }
    }

    fn check_margin(&mut self, account: u32) {
        if !self.is_margin(account) {
            return;
        }
        let assets: BTreeSet<u32> = self
            .instruments
            .values()
            .map(|body| body.quote_asset)
            .chain(self.cash.keys().filter(|key| key.0 == account).map(|key| key.1))
            .collect();
        for asset in assets {
            let worths: i128 = self.quoted_in(asset).iter().map(|it| self.worth(account, *it).abs()).sum();
            let rate = i128::from(self.accounts[&account].maintenance_margin_ppm);
            let needed = ceil(bounded(worths) * rate, 1_000_000);
            let equity = self.equity(account, asset);
            let short = needed > 0 && equity < needed;
            if short == self.called.contains(&(account, asset)) {
                continue;
            }
            let kind = if short {
                self.called.insert((account, asset));
                RiskEventKind::MarginCall
            } else {
                self.called.remove(&(account, asset));
                RiskEventKind::MarginRestored
            };
            let (value, limit) = (told(equity), told(needed + power(10) - 1));
            self.tell(kind, RiskEvent { account, asset, value, limit, ..RiskEvent::default() });
        }
    }
}

/// In units of 10^-8, rounded down.
fn told(amount: i128) -> i64 {
    amount.div_euclid(power(10)).clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl RiskEngine for NaiveRisk {
    fn judge(&mut self, sequence: u64, command: &mut Command) -> Verdict {
        self.events.clear();
        command.head.ts = command.head.ts.max(self.ts);
        command.head.executions_seen = self.seen;
        let verdict = match self.check(command) {
            Ok(filled) => {
                *command = filled;
                command.head.reason = Reason::None.code();
                Verdict::Accepted
            }
            Err(reason) => {
                command.head.reason = reason.code();
                Verdict::Rejected
            }
        };
        command.head.verdict = verdict.code();
        (self.ts, self.sequence) = (command.head.ts, sequence);
        self.commit(command);
        verdict
    }

    fn on_execution(&mut self, execution: &Execution) {
        self.events.clear();
        self.seen = execution.sequence;
        let source = execution.source_sequence;
        let over: Vec<u64> =
            self.orders.values().filter(|it| it.immediate && it.id / 2 < source).map(|it| it.id).collect();
        over.into_iter().for_each(|id| self.end(id));
        self.definitions.retain(|(sequence, _)| *sequence >= source);
        match ExecutionKind::from_code(execution.kind) {
            Some(ExecutionKind::Fill) => self.fill(execution),
            Some(ExecutionKind::Cancelled) => self.end(execution.order_id),
            Some(ExecutionKind::Reduced) => {
                let Some(order) = self.orders.get_mut(&execution.order_id) else { return };
                let size_exp = self.instruments[&order.instrument].size_exp;
                if let Some(left) = &mut order.amount_left {
                    *left = (*left).min((i128::from(execution.remaining) + 1) * power(size_exp) - 1);
                } else {
                    order.terms[0].size = order.filled + execution.remaining;
                    if execution.remaining == 0 {
                        return self.end(execution.order_id);
                    }
                }
                self.shrink(execution.order_id);
            }
            Some(ExecutionKind::Replaced | ExecutionKind::Rejected) => {
                let replaced = execution.kind == ExecutionKind::Replaced.code();
                for id in [2 * source, 2 * source + 1] {
                    self.end(id);
                }
                let id =
                    self.orders.values().find(|it| it.terms.iter().any(|it| it.sequence == source)).map(|it| it.id);
                if let Some(id) = id {
                    let order = self.orders.get_mut(&id).unwrap();
                    let index = order.terms.iter().position(|it| it.sequence == source).unwrap();
                    let terms = order.terms[index];
                    order.terms[index].sequence = ANSWERED;
                    if replaced {
                        order.terms.push(Terms { sequence: ANSWERED, ..order.terms[0] });
                        order.terms[0] = Terms { sequence: 0, size: order.filled + execution.remaining, ..terms };
                    }
                    if order.terms.iter().all(|it| it.sequence == 0 || it.sequence == ANSWERED) {
                        order.terms.truncate(1);
                    }
                    self.shrink(id);
                }
                if let Some(index) = self.definitions.iter().position(|(sequence, _)| *sequence == source) {
                    let event = match self.definitions.remove(index).1 {
                        Before::Instrument(id, before) => {
                            match before {
                                Some(body) => drop(self.instruments.insert(id, body)),
                                None => drop(self.instruments.remove(&id)),
                            }
                            RiskEvent { instrument_id: id, ..RiskEvent::default() }
                        }
                        Before::Account(id, before) => {
                            match before {
                                Some(body) => drop(self.accounts.insert(id, body)),
                                None => drop(self.accounts.remove(&id)),
                            }
                            RiskEvent { account: id, ..RiskEvent::default() }
                        }
                    };
                    self.tell(RiskEventKind::Reverted, event);
                }
            }
            Some(ExecutionKind::Done) => self.definitions.retain(|(sequence, _)| *sequence != source),
            _ => {}
        }
    }

    fn events(&self) -> Vec<RiskEvent> {
        self.events.clone()
    }

    fn follow_up(&self) -> Option<Command> {
        let account = *self.due.first()?;
        Some(Command::new(CommandKind::MassCancel, account, 0, &MassCancelBody::default()).at(self.ts))
    }

    fn available(&self, account: u32, asset: u32) -> i128 {
        self.total(account, asset) - self.reserved(account, asset)
    }

    fn open_sizes(&self, account: u32, instrument_id: u32) -> (i128, i128) {
        let sum = |side: i8| {
            let orders = self.open_of(account, instrument_id).filter(|order| order.side == side);
            orders.map(|order| self.needs(order).size).sum()
        };
        (sum(1), sum(-1))
    }
}
