//! The checks, in their order; nothing changes here.

use tidebook_types::command::{
    ACCOUNT_MARGIN, ACCOUNT_OWN_FEES, AccountBody, BandAction, CancelBody, InstrumentBody, KillBody, LimitsBody,
    PlaceBody, PlacePairBody, ReplaceBody, TransferBody, UNITS_MAX,
};
use tidebook_types::records::{SIDE_BUY, SIDE_SELL};
use tidebook_types::{ClientOrderId, Command, CommandKind, OrderType, Reason, SelfTrade};
use zerocopy::IntoBytes;

use crate::entries::{Account, Limits, Line, Listed, Order, needs_price};
use crate::ledger::{LEDGER_EXP, LEDGER_MAX, MILLION, power};
use crate::portfolio::{pair, transferred};
use crate::reckon::{Need, need, rate};
use crate::risk::Risk;
use crate::table::NONE;

/// Largest rate to either side, in parts per million: with it no fill of at least a unit pays more than it brings.
const RATE_MAX: i32 = 500_000;

/// What risk puts into an accepted command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Of a cancel or replace; 0 to leave it.
    order_id: u64,
    /// Of an order or replace; 0 to leave it.
    price: i64,
}

impl Filled {
    pub(crate) fn put_into(self, command: &mut Command) {
        fn change<B>(command: &mut Command, change: impl FnOnce(&mut B))
        where
            B: zerocopy::FromBytes + IntoBytes + zerocopy::KnownLayout + zerocopy::Immutable,
        {
            let mut body = command.body::<B>();
            change(&mut body);
            command.body.copy_from_slice(body.as_bytes());
        }
        if self == Self::default() {
            return;
        }
        match CommandKind::from_code(command.head.kind) {
            Some(CommandKind::Cancel) => change(command, |body: &mut CancelBody| body.order_id = self.order_id),
            Some(CommandKind::Place) => change(command, |body: &mut PlaceBody| body.price = self.price),
            Some(CommandKind::Replace) => change(command, |body: &mut ReplaceBody| {
                if self.order_id != 0 {
                    body.order_id = self.order_id;
                }
                if self.price != 0 {
                    body.price = self.price;
                }
            }),
            _ => {}
        }
    }
}

/// What the checks found of a command that is accepted, so that carrying it out asks for nothing twice.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checked {
    filled: Filled,
    /// Of the account in the instrument, if there is one.
    pub(crate) line: Option<u32>,
    /// Of a replace: the order's slot.
    pub(crate) order: u32,
    /// Of an order or replace: the prices it is reckoned with, and what it needs with them.
    pub(crate) reckoned: Reckoned,
    pub(crate) need: Need,
}

impl Checked {
    pub(crate) const fn filled(&self) -> Filled {
        self.filled
    }

    /// Of a command that was only looked at.
    fn plain() -> Self {
        Self::default()
    }
}

/// The prices a new order or new terms are reckoned with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reckoned {
    /// The worst.
    pub(crate) price: i64,
    /// Of its worth: of a sell not below the reference.
    pub(crate) worth_price: i64,
    /// What goes into the command; 0 for nothing.
    pub(crate) put: i64,
}

/// What of an order says its worst price.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    side: i8,
    order_type: u8,
    price: i64,
    trigger: i64,
    offset: i64,
    by_amount: bool,
    /// Of a stop that is replaced: the worst price that it may have by then. 0 for none.
    kept: i64,
}

impl Terms {
    pub(crate) const fn of_place(body: &PlaceBody) -> Self {
        let (trigger, offset, by_amount) = (body.trigger_price, body.offset, body.amount != 0);
        Self { side: body.side, order_type: body.order_type, price: body.price, trigger, offset, by_amount, kept: 0 }
    }

    pub(crate) fn of_replace(body: &ReplaceBody, order: &Order) -> Self {
        let Order { side, order_type, .. } = *order;
        let (price, trigger, offset) = (body.price, body.trigger_price, body.offset);
        let kept = if is_stop(order_type) { order.price_bound() } else { 0 };
        Self { side, order_type, price, trigger, offset, by_amount: false, kept }
    }

    const fn of_stop_leg(body: &PlacePairBody) -> Self {
        let (order_type, price, trigger) = (OrderType::StopLimit.code(), body.limit_price, body.trigger_price);
        Self { side: body.side, order_type, price, trigger, offset: 0, by_amount: false, kept: 0 }
    }

    /// Whether the stop keeps a trigger that risk does not know.
    const fn keeps_trigger(&self) -> bool {
        self.kept != 0 && self.order_type == OrderType::TrailingStop.code() && self.trigger == 0
    }
}

/// An account in an instrument where it has neither orders nor limits.
pub(crate) static NO_LINE: Line = Line::NONE;

const fn when(refused: bool, reason: Reason) -> Result<(), Reason> {
    if refused { Err(reason) } else { Ok(()) }
}

impl Listed {
    fn check_size(&self, size: i64) -> Result<(), Reason> {
        when(size % self.lot != 0, Reason::Lot)?;
        when(size < 1 || size < self.size_min || size > self.size_max, Reason::Size)
    }

    /// Prices that must be there, and others that may be 0.
    fn check_prices(&self, needed: &[i64], others: &[i64]) -> Result<(), Reason> {
        let valid = |price: &i64| (1..=UNITS_MAX).contains(price);
        let right = needed.iter().all(valid) && others.iter().all(|price| *price == 0 || valid(price));
        when(!right, Reason::Price)
    }

    fn check_ticks(&self, prices: &[i64]) -> Result<(), Reason> {
        when(prices.iter().any(|price| price % self.tick != 0), Reason::Tick)
    }

    /// From where an order's worst price is reckoned: the reference, or a stop's trigger where that is worse. 0 for nowhere.
    fn anchor(&self, terms: &Terms) -> i64 {
        let (buy, units) = (terms.side == SIDE_BUY, 1..=UNITS_MAX);
        if !is_stop(terms.order_type) {
            return self.reference;
        }
        let trails = terms.order_type == OrderType::TrailingStop.code() && terms.trigger == 0;
        let trigger = match (trails, buy) {
            (true, _) if self.reference == 0 || !units.contains(&terms.offset) => 0,
            (true, true) => (self.reference + terms.offset).min(UNITS_MAX),
            (true, false) => (self.reference - terms.offset).max(self.tick),
            (false, _) => terms.trigger,
        };
        match (units.contains(&trigger), self.reference) {
            (false, reference) => reference,
            (true, 0) => trigger,
            (true, reference) if buy => trigger.max(reference),
            (true, reference) => trigger.min(reference),
        }
    }
}

/// Lowest and highest price within so many parts per million of `middle`.
fn range(middle: i64, ppm: u32) -> (i128, i128) {
    let (middle, ppm) = (i128::from(middle), i128::from(ppm));
    let lower = (middle * (MILLION - ppm).max(0) + MILLION - 1) / MILLION;
    (lower, middle * (MILLION + ppm) / MILLION)
}

impl Risk {
    pub(crate) fn check(&self, command: &Command) -> Result<Checked, Reason> {
        let head = &command.head;
        let kind = CommandKind::from_code(head.kind).ok_or(Reason::Fields)?;
        when(head.reserved != [0; 5], Reason::Fields)?;
        use CommandKind as Kind;
        when(matches!(kind, Kind::Session | Kind::Instrument | Kind::Timer) && head.account != 0, Reason::Operator)?;
        // The line knows both parties; who has none yet is looked up.
        let line = match kind {
            Kind::Place | Kind::PlacePair | Kind::Replace | Kind::Cancel => {
                self.lines.find(pair(head.account, head.instrument_id))
            }
            _ => None,
        };
        let (account, listed) = match line.map(|line| self.lines.get(line)) {
            Some(line) => (Some(self.accounts.get(line.owner)), Some(self.instruments.get(line.listed))),
            None => (self.accounts.by_key(head.account), self.instruments.by_key(head.instrument_id)),
        };
        let account = account.filter(|account| account.known);
        let by_operator = head.account == 0
            && matches!(
                kind,
                Kind::Session | Kind::Instrument | Kind::Timer | Kind::MassCancel | Kind::Kill | Kind::Cancel
            );
        let opens = kind == Kind::Account && head.account != 0;
        when(!by_operator && !opens && account.is_none(), Reason::Account)?;
        let listed = listed.filter(|listed| listed.known);
        let needs_instrument = match kind {
            Kind::Place | Kind::PlacePair | Kind::Replace | Kind::Cancel | Kind::Session => true,
            Kind::MassCancel | Kind::Limits => head.instrument_id != 0,
            _ => false,
        };
        when(needs_instrument && listed.is_none(), Reason::Instrument)?;
        match (kind, account, listed) {
            (Kind::Place, Some(account), Some(listed)) => self.check_place(command, account, listed, line),
            (Kind::PlacePair, Some(account), Some(listed)) => self.check_pair(command, account, listed, line),
            (Kind::Replace, Some(account), Some(listed)) => self.check_replace(command, account, listed, line),
            (Kind::Cancel, ..) => self.check_cancel(command),
            (Kind::Instrument, ..) => {
                self.check_instrument(head.instrument_id, &command.body()).map(|()| Checked::plain())
            }
            (Kind::Account, ..) => self.check_account(head.account, &command.body()).map(|()| Checked::plain()),
            (Kind::Limits, ..) => Self::check_limits(head.instrument_id, &command.body()).map(|()| Checked::plain()),
            (Kind::Transfer, Some(account), _) => {
                self.check_transfer(account, &command.body()).map(|()| Checked::plain())
            }
            (Kind::Kill, ..) => {
                let body: KillBody = command.body();
                when(body.killed > 1 || body.reserved != [0; 87], Reason::Fields).map(|()| Checked::plain())
            }
            _ => Ok(Checked::plain()),
        }
    }

    fn check_rate(&self, account: &Account, line: &Line, ts: i64) -> Result<(), Reason> {
        when(!account.limits.has_token(ts) || !line.limits.has_token(ts), Reason::Throttled)?;
        when(account.killed || self.killed, Reason::Killed)
    }

    fn check_place(
        &self,
        command: &Command,
        account: &Account,
        listed: &Listed,
        slot: Option<u32>,
    ) -> Result<Checked, Reason> {
        let body: PlaceBody = command.body();
        let line = slot.map_or(&NO_LINE, |slot| self.lines.get(slot));
        self.check_rate(account, line, command.head.ts)?;
        check_words(body.side, body.self_trade)?;
        let order_type = OrderType::from_code(body.order_type).ok_or(Reason::Fields)?;
        let by_amount = body.amount != 0;
        when(by_amount && (order_type != OrderType::Market || body.size != 0), Reason::Fields)?;
        listed.check_ticks(&[body.price])?;
        if !by_amount {
            listed.check_size(body.size)?;
        }
        if needs_price(body.order_type) {
            listed.check_prices(&[body.price], &[])?;
        } else {
            listed.check_prices(&[], &[body.price])?;
        }
        when(by_amount && !(1..=UNITS_MAX).contains(&body.amount), Reason::Amount)?;
        self.check_new_id(account.id, body.client_order_id)?;
        self.check_open_orders(account, line, 1)?;
        let limits = &line.limits;
        when(limits.order_size_max > 0 && body.size > limits.order_size_max, Reason::OrderSize)?;
        let terms = Terms::of_place(&body);
        self.check_collar(account, limits, listed, &terms)?;
        let reckoned = self.reckon(account, limits, listed, &terms)?;
        let order = new_order(0, account.id, &body, listed, reckoned);
        let need = need(&order, account, listed);
        when(by_amount && limits.order_size_max > 0 && need.size > limits.order_size_max.into(), Reason::OrderSize)?;
        self.check_addition(account, listed, slot, &Need::default(), &order, &need)?;
        let filled = Filled { order_id: 0, price: reckoned.put };
        Ok(Checked { filled, line: slot, order: NONE, reckoned, need })
    }

    fn check_pair(
        &self,
        command: &Command,
        account: &Account,
        listed: &Listed,
        slot: Option<u32>,
    ) -> Result<Checked, Reason> {
        let body: PlacePairBody = command.body();
        let line = slot.map_or(&NO_LINE, |slot| self.lines.get(slot));
        self.check_rate(account, line, command.head.ts)?;
        check_words(body.side, body.self_trade)?;
        listed.check_ticks(&[body.price, body.limit_price])?;
        listed.check_size(body.size)?;
        listed.check_prices(&[body.price], &[body.limit_price])?;
        self.check_new_id(account.id, body.client_order_id)?;
        self.check_new_id(account.id, body.stop_client_order_id)?;
        let same = body.client_order_id == body.stop_client_order_id;
        when(same && ClientOrderId(body.client_order_id).is_some(), Reason::Duplicate)?;
        self.check_open_orders(account, line, 2)?;
        let limits = &line.limits;
        when(limits.order_size_max > 0 && body.size > limits.order_size_max, Reason::OrderSize)?;
        let stop = Terms::of_stop_leg(&body);
        self.check_collar(
            account,
            limits,
            listed,
            &Terms { order_type: OrderType::Limit.code(), price: body.price, ..stop },
        )?;
        self.check_collar(account, limits, listed, &stop)?;
        let [order, _] = self.pair_legs(0, account, &body, listed)?;
        let need = need(&order, account, listed);
        self.check_addition(account, listed, slot, &Need::default(), &order, &need)?;
        Ok(Checked { line: slot, ..Checked::default() })
    }

    /// Both legs: the first counts for both while they are linked, the other once it is alone.
    pub(crate) fn pair_legs(
        &self,
        id: u64,
        account: &Account,
        body: &PlacePairBody,
        listed: &Listed,
    ) -> Result<[Order; 2], Reason> {
        let sell = body.side == SIDE_SELL;
        let stop = match (body.limit_price, account.margin(), sell) {
            (1.., ..) => body.limit_price,
            (_, false, false) => return Err(Reason::Price),
            (_, false, true) => listed.tick,
            (_, true, _) if listed.reference > 0 => listed.reference,
            _ => return Err(Reason::Price),
        };
        let (own, other) = (worth_price(listed, body.side, body.price), worth_price(listed, body.side, stop));
        let limit = Order {
            id,
            account: account.id,
            instrument_id: listed.id,
            side: body.side,
            order_type: OrderType::Limit.code(),
            linked: true,
            price: body.price,
            worth_price: own,
            remaining: body.size,
            bound_size: body.size,
            bound_price: if sell { body.price.min(stop) } else { body.price.max(stop) },
            bound_worth_price: own.max(other),
            ..Order::default()
        };
        let order_type = if body.limit_price > 0 { OrderType::StopLimit } else { OrderType::Stop }.code();
        Ok([limit, Order { id: id | 1, order_type, price: stop, worth_price: other, ..limit }])
    }

    /// The open order that a cancel or replace names.
    pub(crate) fn named(&self, command: &Command, order_id: u64, by_id: Option<[u8; 16]>) -> Result<u32, Reason> {
        let head = &command.head;
        let order_id = match by_id {
            Some(id) => {
                let named = self.ids.order_of(head.account, id).ok_or(Reason::UnknownOrder)?;
                when(order_id != 0 && order_id != named, Reason::UnknownOrder)?;
                named
            }
            None => order_id,
        };
        let slot = self.orders.find(order_id).ok_or(Reason::UnknownOrder)?;
        let order = self.orders.get(slot);
        let own = head.account == 0 || order.account == head.account;
        when(!own || order.instrument_id != head.instrument_id, Reason::UnknownOrder)?;
        Ok(slot)
    }

    fn check_cancel(&self, command: &Command) -> Result<Checked, Reason> {
        let body: CancelBody = command.body();
        let by_id = ClientOrderId(body.client_order_id).is_some().then_some(body.client_order_id);
        let order_id = self.orders.get(self.named(command, body.order_id, by_id)?).id;
        Ok(Checked { filled: Filled { order_id, price: 0 }, ..Checked::default() })
    }

    fn check_replace(
        &self,
        command: &Command,
        account: &Account,
        listed: &Listed,
        slot: Option<u32>,
    ) -> Result<Checked, Reason> {
        let body: ReplaceBody = command.body();
        let line = slot.map_or(&NO_LINE, |slot| self.lines.get(slot));
        self.check_rate(account, line, command.head.ts)?;
        let by_id = (body.order_id == 0).then_some(body.client_order_id);
        let order_slot = self.named(command, body.order_id, by_id)?;
        let order = self.orders.get(order_slot);
        when(order.linked, Reason::Linked)?;
        listed.check_ticks(&[body.price])?;
        // 0 keeps the size, whatever that will be when the venue gets there.
        if body.size != 0 {
            listed.check_size(body.size)?;
            when(body.size <= order.filled, Reason::Size)?;
        }
        when(order.by_amount, Reason::Size)?;
        if order.needs_price() {
            listed.check_prices(&[body.price], &[])?;
        } else {
            listed.check_prices(&[], &[body.price])?;
        }
        if self.ids.order_of(account.id, body.client_order_id) != Some(order.id) {
            self.check_new_id(account.id, body.client_order_id)?;
        }
        let limits = &line.limits;
        let size = if body.size == 0 { order.size_max() } else { body.size };
        when(limits.order_size_max > 0 && size > limits.order_size_max, Reason::OrderSize)?;
        let terms = Terms::of_replace(&body, order);
        self.check_collar(account, limits, listed, &terms)?;
        let reckoned = self.reckon(account, limits, listed, &terms)?;
        let mut after = *order;
        after.ask(reckoned.price, reckoned.worth_price, body.size);
        let need = need(&after, account, listed);
        self.check_addition(account, listed, slot, &order.counted(), &after, &need)?;
        let filled = Filled { order_id: order.id, price: reckoned.put };
        Ok(Checked { filled, line: slot, order: order_slot, reckoned, need })
    }

    /// Whether it is a replace without a size that no reason before `SIZE` refuses.
    ///
    /// Such a one was refused for its size before 0 meant to keep it. Journals say nothing of which rules they were written by, so a recheck
    /// takes the journal's word where it has that reason.
    pub(crate) fn keeps_size(&self, command: &Command) -> bool {
        use Reason as R;
        let before = [
            R::Fields,
            R::Operator,
            R::Account,
            R::Instrument,
            R::Throttled,
            R::Killed,
            R::UnknownOrder,
            R::Linked,
            R::Tick,
        ];
        command.head.kind == CommandKind::Replace.code()
            && command.body::<ReplaceBody>().size == 0
            && !self.check(command).is_err_and(|reason| before.contains(&reason))
    }

    fn check_new_id(&self, account: u32, id: [u8; 16]) -> Result<(), Reason> {
        when(self.ids.order_of(account, id).is_some(), Reason::Duplicate)
    }

    fn check_open_orders(&self, account: &Account, line: &Line, more: u32) -> Result<(), Reason> {
        let beyond = |open: u32, max: u32| max > 0 && open + more > max;
        let many = self.orders.len() + more as usize > self.options.orders_max as usize;
        when(
            many || beyond(account.open_orders, account.limits.open_orders_max)
                || beyond(line.open_orders, line.limits.open_orders_max),
            Reason::OpenOrders,
        )
    }

    fn check_collar(&self, account: &Account, limits: &Limits, listed: &Listed, terms: &Terms) -> Result<(), Reason> {
        let ppm = collar(account, limits);
        let stays = terms.price == terms.kept && !self.stops_by_reference;
        if ppm == 0 || listed.reference == 0 || terms.price == 0 || stays {
            return Ok(());
        }
        let anchor = self.anchor(listed, terms);
        let (lower, upper) = (range(anchor.min(listed.reference), ppm).0, range(anchor.max(listed.reference), ppm).1);
        when(!(lower..=upper).contains(&terms.price.into()), Reason::Collar)
    }

    fn anchor(&self, listed: &Listed, terms: &Terms) -> i64 {
        if self.stops_by_reference { listed.reference } else { listed.anchor(terms) }
    }

    /// The prices to reckon an order with; see the page.
    pub(crate) fn reckon(
        &self,
        account: &Account,
        limits: &Limits,
        listed: &Listed,
        terms: &Terms,
    ) -> Result<Reckoned, Reason> {
        let collar = collar(account, limits);
        let ppm = if collar > 0 { collar } else { listed.band_ppm };
        let anchor = self.anchor(listed, terms);
        let unpriced = terms.price == 0 && !needs_price(terms.order_type) && !account.margin();
        if unpriced && ppm > 0 && anchor > 0 {
            let (lower, upper) = range(anchor, ppm);
            let tick = i128::from(listed.tick);
            let buy = terms.side == SIDE_BUY;
            let bound = if buy { upper / tick * tick } else { (lower + tick - 1) / tick * tick };
            // Of a coarse tick none may be within.
            let most = i128::from(UNITS_MAX) / tick * tick;
            let bound = bound.clamp(tick.min(most), most);
            if (lower..=upper).contains(&bound) {
                let keeps = terms.keeps_trigger() && !self.stops_by_reference;
                let bound = match bound as i64 {
                    bound if !keeps => bound,
                    bound if buy => bound.max(terms.kept),
                    bound => bound.min(terms.kept),
                };
                // One tick is what counts where none is put in.
                if !keeps || buy || bound > listed.tick {
                    return Ok(Reckoned {
                        price: bound,
                        worth_price: worth_price(listed, terms.side, bound),
                        put: bound,
                    });
                }
            }
        }
        Self::reckon_named(account, listed, terms)
    }

    /// The same where nothing is to be put in, or was already.
    pub(crate) fn reckon_named(account: &Account, listed: &Listed, terms: &Terms) -> Result<Reckoned, Reason> {
        let at = |price: i64| Ok(Reckoned { price, worth_price: worth_price(listed, terms.side, price), put: 0 });
        if terms.price != 0 || needs_price(terms.order_type) {
            at(terms.price)
        } else if account.margin() {
            if listed.reference > 0 { at(listed.reference) } else { Err(Reason::Price) }
        } else if terms.side == SIDE_BUY || terms.by_amount {
            Err(Reason::Price)
        } else {
            at(listed.tick)
        }
    }

    /// Notional, position, exposure, balance and margin, of an order as it counts `before` and as it would need `after`.
    #[inline]
    fn check_addition(
        &self,
        account: &Account,
        listed: &Listed,
        slot: Option<u32>,
        before: &Need,
        after: &Order,
        need: &Need,
    ) -> Result<(), Reason> {
        let line = slot.map_or(&NO_LINE, |slot| self.lines.get(slot));
        let (scale, limits) = (&listed.scale, &line.limits);
        let whole = if after.by_amount {
            need.worth
        } else {
            i128::from(after.bound_size.max(after.filled.saturating_add(after.remaining)))
                * i128::from(after.worth_price.max(after.bound_worth_price))
        };
        let most = i128::from(limits.order_notional_max);
        when(most > 0 && whole > most * scale.size || whole > scale.notional_max, Reason::OrderNotional)?;

        let buy = after.side > 0;
        let more = need.size - before.size;
        let held = if slot.is_some() { self.portfolio.holding_at(line.holding).position } else { 0 };
        let (held, open) = if buy { (held, line.buys) } else { (-held, line.sells) };
        let most = if limits.position_max > 0 { limits.position_max } else { UNITS_MAX };
        let after_all = held.saturating_add(open).saturating_add(more);
        when(more > 0 && after_all > 0 && after_all > most.into(), Reason::Position)?;

        // Nobody asks what a spot account without such limits has at risk.
        if limits.exposure_max > 0 || account.limits.exposure_max > 0 || account.margin() {
            let worth = scale.worth(need.worth - before.worth);
            let added = if buy { (worth, 0) } else { (0, worth) };
            self.check_exposure(account, listed, slot, line, added, need.worth)?;
        }
        if account.margin() {
            return Ok(());
        }
        when(self.lacks(account, listed, line, before, need).is_some(), Reason::Balance)
    }

    /// Exposure with so much more bought or sold, and what margin accounts need for it; `whole` is what all of the order may be worth.
    fn check_exposure(
        &self,
        account: &Account,
        listed: &Listed,
        slot: Option<u32>,
        line: &Line,
        added: (i128, i128),
        whole: i128,
    ) -> Result<(), Reason> {
        let (scale, limits) = (&listed.scale, &line.limits);
        let (exposure, exposure_before) = (self.exposure(line, added.0, added.1), self.exposure(line, 0, 0));
        if exposure <= exposure_before {
            return Ok(());
        }
        let most = i128::from(limits.exposure_max) * scale.quote;
        when(most > 0 && exposure > most, Reason::Exposure)?;
        let exposures = || exposure.saturating_add(self.exposures(account, listed.quote_asset, slot));
        let most = i128::from(account.limits.exposure_max) * power(LEDGER_EXP - account.limits.exposure_exp);
        when(most > 0 && exposures() > most, Reason::Exposure)?;
        if account.margin() {
            let fee = scale.fee(whole, rate(account, listed));
            let needed = Self::initial(account, exposures()).saturating_add(fee);
            when(needed > self.portfolio.equity(account.id, listed.quote_asset), Reason::Margin)?;
        }
        Ok(())
    }

    fn check_instrument(&self, id: u32, body: &InstrumentBody) -> Result<(), Reason> {
        let rates = [body.maker_ppm, body.taker_ppm];
        let units = 1..=UNITS_MAX;
        let wrong = !units.contains(&body.tick)
            || !units.contains(&body.lot)
            || body.size_min < 0
            || body.size_min > body.size_max
            || body.size_max < body.lot
            || body.size_max > UNITS_MAX
            || !(0..=UNITS_MAX).contains(&body.reference_price)
            || u16::from(body.price_exp) + u16::from(body.size_exp) > u16::from(LEDGER_EXP)
            || rates.iter().any(|rate| !(-RATE_MAX..=RATE_MAX).contains(rate))
            || body.base_asset == body.quote_asset
            || BandAction::from_code(body.band_action).is_none()
            || id == 0;
        when(wrong, Reason::Definition)?;
        let Some(listed) = self.instruments.by_key(id) else {
            return when(self.instruments.len() >= self.options.instruments_max as usize, Reason::Definition);
        };
        if !listed.known {
            return Ok(());
        }
        let fixed = |a: &InstrumentBody| (a.price_exp, a.size_exp, a.base_asset, a.quote_asset);
        let steps = |a: &InstrumentBody| (a.tick, a.lot, a.size_max);
        let now = listed.body();
        when(fixed(&now) != fixed(body) || steps(&now) != steps(body) && listed.open_orders > 0, Reason::Definition)
    }

    fn check_account(&self, id: u32, body: &AccountBody) -> Result<(), Reason> {
        let rates = [body.maker_ppm, body.taker_ppm];
        let wrong = body.flags & !(ACCOUNT_OWN_FEES | ACCOUNT_MARGIN) != 0
            || rates.iter().any(|rate| !(-RATE_MAX..=RATE_MAX).contains(rate))
            || i128::from(body.initial_margin_ppm) > MILLION
            || body.maintenance_margin_ppm > body.initial_margin_ppm;
        when(wrong, Reason::Definition)?;
        let Some(account) = self.accounts.by_key(id) else {
            return when(self.accounts.len() >= self.options.accounts_max as usize, Reason::Definition);
        };
        let changes = account.margin() != (body.flags & ACCOUNT_MARGIN != 0);
        let has = account.open_orders > 0
            || self.portfolio.holdings(id).any(|holding| holding.position != 0)
            || self.portfolio.balances(id).any(|balance| balance.total != 0);
        when(changes && has, Reason::Definition)
    }

    fn check_limits(instrument_id: u32, body: &LimitsBody) -> Result<(), Reason> {
        when(body.reserved != [0; 39], Reason::Fields)?;
        let amounts = [body.order_size_max, body.order_notional_max, body.position_max, body.exposure_max];
        let wrong = amounts.iter().any(|amount| *amount < 0)
            || body.exposure_exp > LEDGER_EXP
            || instrument_id != 0 && body.exposure_exp != 0
            || instrument_id == 0 && amounts[..3] != [0; 3];
        when(wrong, Reason::Definition)
    }

    fn check_transfer(&self, account: &Account, body: &TransferBody) -> Result<(), Reason> {
        when(body.reserved != [0; 75], Reason::Fields)?;
        when(body.amount == 0 || body.amount_exp > LEDGER_EXP, Reason::Definition)?;
        let amount = transferred(body);
        let total = self.portfolio.balance(account.id, body.asset).total + amount;
        when(total > LEDGER_MAX || amount.abs() == LEDGER_MAX, Reason::Definition)?;
        if amount > 0 {
            return Ok(());
        }
        if account.margin() {
            let needed = Self::initial(account, self.exposures(account, body.asset, None));
            let equity = self.portfolio.equity(account.id, body.asset).saturating_add(amount);
            return when(equity < needed, Reason::Margin);
        }
        when(-amount > self.available(account.id, body.asset), Reason::Balance)
    }
}

fn check_words(side: i8, self_trade: u8) -> Result<(), Reason> {
    when(!matches!(side, SIDE_BUY | SIDE_SELL) || SelfTrade::from_code(self_trade).is_none(), Reason::Fields)
}

const fn collar(account: &Account, limits: &Limits) -> u32 {
    if limits.collar_ppm > 0 { limits.collar_ppm } else { account.limits.collar_ppm }
}

const fn is_stop(order_type: u8) -> bool {
    use OrderType::{Stop, StopLimit, TrailingStop};
    matches!(OrderType::from_code(order_type), Some(Stop | StopLimit | TrailingStop))
}

fn worth_price(listed: &Listed, side: i8, price: i64) -> i64 {
    if side == SIDE_SELL { price.max(listed.reference) } else { price }
}

pub(crate) fn new_order(id: u64, account: u32, body: &PlaceBody, listed: &Listed, reckoned: Reckoned) -> Order {
    Order {
        id,
        account,
        instrument_id: listed.id,
        side: body.side,
        order_type: body.order_type,
        by_amount: body.amount != 0,
        price: reckoned.price,
        worth_price: reckoned.worth_price,
        remaining: body.size,
        amount_left: i128::from(body.amount) * listed.scale.size,
        line: NONE,
        ..Order::default()
    }
}
