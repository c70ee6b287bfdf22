//! The venue: one command in, its executions out.
//!
//! Everything the rules of `docs/matching.md` need is in here and nothing else decides: no clock, no chance, no order of a hash table. A
//! command runs in the page's four steps: time, the command, triggered stops with pegged orders in between, indicative prices.
//! Memory is taken at the start or grows rarely; a command of a warm venue allocates nothing.

use tidebook_book::{Handle, Resting, Side};
use tidebook_types::command::{
    AccountBody, CancelAllAfterBody, CancelBody, InstrumentBody, POST_ONLY, PlaceBody, Session, TimeInForce, UNITS_MAX,
    Verdict,
};
use tidebook_types::{Command, CommandKind, Execution, ExecutionKind, Matching, OrderType, Reason};

use crate::accounts::Accounts;
use crate::aggress::Incoming;
use crate::auction::Crossing;
use crate::heap::{Entry, Heap};
use crate::index::NumberIndex;
use crate::market::Market;
use crate::order::{ICEBERG, LINKED, NONE, Order, Orders, SELLS, Standing, TERMS, TIMED, Terms, resting_id};
use crate::shards::{Phase, Shard, turn};
use crate::step::Step;
use crate::validate;

/// All orders of an instrument together stay below this, so that no sum of sizes leaves 64 bits.
const SIZES_MAX: i128 = 1 << 62;

/// How much a venue has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueOptions {
    /// Open orders over all instruments, waiting ones too. Their memory (about 230 bytes each) is reserved at the start.
    pub orders_max: u32,
    /// Instruments.
    pub instruments_max: u32,
    /// Accounts.
    pub accounts_max: u32,
}

impl Default for VenueOptions {
    fn default() -> Self {
        Self { orders_max: 1 << 20, instruments_max: 1 << 16, accounts_max: 1 << 22 }
    }
}

/// The matching engine of one or many instruments.
#[derive(Debug, Clone)]
pub struct Venue {
    pub(crate) options: VenueOptions,
    /// Which part of a venue it is.
    pub(crate) shard: Shard,
    /// Never going back.
    pub(crate) time: i64,
    /// Executions so far.
    pub(crate) executions: u64,
    pub(crate) orders: Orders,
    pub(crate) accounts: Accounts,
    pub(crate) markets: Vec<Market>,
    pub(crate) instruments: NumberIndex,
    /// Orders of GTD by time.
    pub(crate) timed: Heap,
    /// Dead man's switches by time.
    pub(crate) switches: Heap,
    /// Sum of the hashes of all orders.
    pub(crate) orders_hash: u64,
    /// Sum of the hashes of all accounts.
    pub(crate) accounts_hash: u64,
    /// Instruments to be looked at when the command is done; empty between commands.
    pub(crate) dirty: Vec<u32>,
    /// Room for lists of orders that are made and used up within a step.
    pub(crate) picked: Vec<(u64, u32)>,
    /// Room for the prices of an auction.
    pub(crate) crossing: Crossing,
}

impl Venue {
    /// One without instruments and accounts.
    pub fn new(options: VenueOptions) -> Self {
        Self::new_part(options, Shard::WHOLE)
    }

    /// One that is a part: all that there is room for may be its own, and its index is made for its share.
    pub(crate) fn new_part(options: VenueOptions, shard: Shard) -> Self {
        Self {
            options,
            shard,
            time: 0,
            executions: 0,
            orders: Orders::new(options.orders_max, options.orders_max.div_ceil(shard.count)),
            accounts: Accounts::default(),
            markets: Vec::new(),
            instruments: NumberIndex::default(),
            timed: Heap::default(),
            switches: Heap::default(),
            orders_hash: 0,
            accounts_hash: 0,
            dirty: Vec::new(),
            picked: Vec::new(),
            crossing: Crossing::default(),
        }
    }

    /// Has the kernel give the memory that orders are found by, 32 bytes for each there is room for, before the first of them comes: a live engine
    /// does this once, one that only replays need not. A part has that of its share; where it gets more orders it doubles, some ns an order.
    pub fn touch(&mut self) {
        self.orders.touch();
    }

    /// When the next order expires or the next dead man's switch goes off, ns since 1970 UTC: the first command at or after that time does it.
    pub fn next_due(&self) -> Option<i64> {
        [&self.timed, &self.switches].into_iter().filter_map(Heap::first).map(|first| first.key).min()
    }

    /// Carries out one command; `sequence` is its sequence on `orders`, above 0 and below 2^62. Its executions come in order.
    ///
    /// Whatever the bytes say, this neither panics nor loops: what cannot be carried out is rejected with a reason. A command that risk
    /// rejected changes nothing but the time and gives no execution. Executions of a part ([`Self::into_shards`]) have no numbers yet:
    /// [`crate::ShardMerge`] gives them.
    pub fn apply(&mut self, sequence: u64, command: &Command, out: &mut dyn FnMut(&Execution)) {
        self.time = self.time.max(command.head.ts);
        if command.head.verdict == Verdict::Rejected.code() {
            return;
        }
        let mut step = Step {
            out,
            source_sequence: sequence,
            ts: self.time,
            source_index: 0,
            executions: self.executions,
            phase: Phase::Expiry,
            turn: 0,
            is_part: self.shard.count > 1,
            answers: self.shard.owns(command.head.instrument_id),
        };
        self.expire(&mut step);
        step.phase = Phase::Command;
        if let Err(reason) = self.carry_out(&mut step, command)
            && step.answers
        {
            let head = &command.head;
            let order_id = match CommandKind::from_code(head.kind) {
                Some(CommandKind::Replace | CommandKind::Cancel) => command.body::<CancelBody>().order_id,
                _ => 0,
            };
            let of = Execution {
                instrument_id: head.instrument_id,
                account: head.account,
                order_id,
                command_kind: head.kind,
                ..Execution::default()
            };
            step.say(ExecutionKind::Rejected, reason, of);
        }
        self.follow_up(&mut step, command.head.instrument_id);
        self.executions = step.executions;
    }

    fn carry_out(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let head = &command.head;
        let kind = CommandKind::from_code(head.kind).ok_or(Reason::Fields)?;
        Verdict::from_code(head.verdict).ok_or(Reason::Fields)?;
        if !step.answers && !concerns_all(kind, command) {
            return Ok(());
        }
        match kind {
            CommandKind::Place => self.place(step, command),
            CommandKind::PlacePair => self.place_pair(step, command),
            CommandKind::Replace => self.replace(step, command),
            CommandKind::Cancel => self.cancel_one(step, command),
            CommandKind::MassCancel => self.mass_cancel(step, command),
            CommandKind::CancelAllAfter => self.set_switch(step, command),
            CommandKind::Disconnect => self.disconnect(step, command),
            CommandKind::Timer => {
                operator(command)?;
                fields(command, head.instrument_id == 0 && command.body.iter().all(|byte| *byte == 0))
            }
            CommandKind::Session => self.change_session(step, command),
            CommandKind::Instrument => self.define_instrument(step, command),
            CommandKind::Account => self.define_account(step, command),
            CommandKind::Limits | CommandKind::Transfer | CommandKind::Kill => {
                done(step, command);
                Ok(())
            }
        }
    }

    /// Steps 3 and 4: triggered stops one after another, pegged orders after each, and indicative prices.
    #[inline]
    fn follow_up(&mut self, step: &mut Step<'_>, instrument_id: u32) {
        if let Some(market) = self.instruments.find(instrument_id) {
            self.mark(market);
            if self.dirty.is_empty() && self.markets[market as usize].triggered.is_empty() {
                return;
            }
            step.phase = Phase::Pegs;
            self.price_all_pegs(step);
            step.phase = Phase::Stops;
            while self.execute_triggered(step, market) {
                self.mark(market);
                self.price_all_pegs(step);
            }
        } else {
            step.phase = Phase::Pegs;
            self.price_all_pegs(step);
        }
        step.phase = Phase::Indicatives;
        self.tell_indicatives(step);
    }

    /// Has the instrument looked at after the command, if it has anything that follows from its orders.
    #[inline]
    pub(crate) fn mark(&mut self, market: u32) {
        let state = &mut self.markets[market as usize];
        if !state.dirty && (!state.pegs.is_empty() || state.session == Session::Auction) {
            state.dirty = true;
            self.dirty.push(market);
        }
    }

    /// Step 1: what has expired by now, in the order of its time, orders before switches.
    #[inline]
    fn expire(&mut self, step: &mut Step<'_>) {
        loop {
            let due = |heap: &Heap| heap.first().filter(|first| first.key <= step.ts);
            match (due(&self.timed), due(&self.switches)) {
                (None, None) => return,
                (Some(order), switch) if switch.is_none_or(|switch| order.key <= switch.key) => {
                    step.turn = turn(order.key, false);
                    self.cancel(step, order.slot, Reason::Expired);
                }
                (_, Some(switch)) => {
                    step.turn = turn(switch.key, true);
                    self.switch_off_and_cancel(step, switch.slot);
                }
                (Some(_), None) => unreachable!("an order without a switch goes first"),
            }
        }
    }

    /// Instrument and account of a command that names both.
    #[inline]
    pub(crate) fn parties(&self, command: &Command) -> Result<(u32, u32), Reason> {
        let market = self.instruments.find(command.head.instrument_id).ok_or(Reason::Instrument)?;
        let account = self.accounts.find(command.head.account).ok_or(Reason::Account)?;
        Ok((market, account))
    }

    /// Whether so many more orders have room in this instrument.
    #[inline]
    pub(crate) fn room(&self, market: u32, more: u32) -> Result<(), Reason> {
        let market = &self.markets[market as usize];
        let sizes = i128::from(market.orders + more) * i128::from(market.body.size_max);
        if self.orders.has_room(more) && sizes <= SIZES_MAX { Ok(()) } else { Err(Reason::Full) }
    }

    fn place(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let (market, account) = self.parties(command)?;
        let body: PlaceBody = command.body();
        let state = &self.markets[market as usize];
        let words = validate::place(&body, reserved(command), &state.body, step.ts)?;
        let post_only = body.flags & POST_ONLY != 0;
        validate::session(state.session, &words, post_only)?;
        if post_only && state.would_meet(words.side, body.price) {
            return Err(Reason::PostOnly);
        }
        self.room(market, 1)?;
        let session = state.session;
        let mut order = Order {
            id: step.source_sequence.wrapping_mul(2),
            price: body.price,
            size: body.size,
            account,
            market,
            flags: body.flags | if words.side == Side::Ask { SELLS } else { 0 },
            kind: words.kind,
            modes: Order::modes_of(words.time_in_force, words.self_trade),
            ..Order::EMPTY
        };
        let accepted = Execution {
            instrument_id: command.head.instrument_id,
            order_id: order.id,
            account: command.head.account,
            // Where a pegged order is in the book: nowhere yet.
            price: if words.kind == OrderType::Pegged { 0 } else { body.price },
            size: body.size + body.amount,
            remaining: body.size + body.amount,
            side: body.side,
            ..Execution::default()
        };
        step.say(ExecutionKind::Accepted, Reason::None, accepted);
        let plain = words.kind == OrderType::Limit && body.display_size == 0 && words.time_in_force != TimeInForce::Gtd;
        let mut terms = Terms::NONE;
        if !plain && words.kind != OrderType::Market {
            order.flags |= TERMS | if body.display_size != 0 { ICEBERG } else { 0 };
            terms = Terms {
                display: body.display_size,
                trigger: body.trigger_price,
                offset: body.offset,
                expire_ts: body.expire_ts,
                peg: words.peg,
                ..Terms::NONE
            };
        }
        match words.kind {
            OrderType::Limit if session != Session::Continuous => {
                let slot = self.admit(order, &terms);
                self.rest(slot);
            }
            OrderType::Limit | OrderType::Market => {
                let mut incoming = Incoming::new(order, terms, NONE);
                if body.amount != 0 {
                    incoming.spend(body.amount, self.markets[market as usize].body.size_exp);
                }
                self.match_incoming(step, &mut incoming);
            }
            OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop => {
                let slot = self.admit(order, &terms);
                self.begin_waiting(slot);
                self.reach_alone(slot);
            }
            OrderType::Pegged => {
                let slot = self.admit(order, &terms);
                self.park(slot);
            }
        }
        Ok(())
    }

    /// Gives an order its slot, its place in its account's list and in the heap of times. It stands nowhere yet and is in no hash.
    pub(crate) fn admit(&mut self, order: Order, terms: &Terms) -> u32 {
        let slot = self.orders.insert(order, terms);
        self.accounts.append(&mut self.orders, slot);
        self.markets[order.market as usize].orders += 1;
        if order.time_in_force() == TimeInForce::Gtd {
            self.time_order(slot, terms.expire_ts);
        }
        slot
    }

    /// (Re)enters an order of GTD into the heap of times.
    pub(crate) fn time_order(&mut self, slot: u32, expire_ts: i64) {
        self.untime_order(slot);
        let entry = Entry { key: expire_ts, id: self.orders.hot[slot as usize].id, slot };
        self.orders.hot[slot as usize].flags |= TIMED;
        let terms = &mut self.orders.terms;
        self.timed.push(entry, |slot, place| terms[slot as usize].timed_place = place);
    }

    fn untime_order(&mut self, slot: u32) {
        if self.orders.hot[slot as usize].has(TIMED) {
            self.orders.hot[slot as usize].flags &= !TIMED;
            let terms = &mut self.orders.terms;
            let place = terms[slot as usize].timed_place;
            self.timed.remove(place, |slot, place| terms[slot as usize].timed_place = place);
        }
    }

    /// Lets go of an order that stands nowhere any more and is in no hash.
    #[inline]
    pub(crate) fn dismiss(&mut self, slot: u32) {
        self.untime_order(slot);
        self.accounts.take_out(&mut self.orders, slot);
        self.markets[self.orders.hot[slot as usize].market as usize].orders -= 1;
        self.orders.remove(slot);
    }

    /// Takes an order from where it stands, and out of the hash.
    #[inline]
    pub(crate) fn withdraw(&mut self, slot: u32) {
        self.hash_out(slot);
        let order = self.orders.hot[slot as usize];
        let market = &mut self.markets[order.market as usize];
        match order.standing {
            Standing::Resting => {
                market.book.remove(order.handle.expect("it rests"));
                if order.kind == OrderType::Pegged {
                    self.forget_peg(slot);
                }
            }
            Standing::Waiting => self.end_waiting(slot),
            Standing::Parked => self.forget_peg(slot),
            // Its place in the queue of triggered ones is found stale when it comes up.
            Standing::Triggered | Standing::Matching => {}
        }
        self.orders.hot[slot as usize].standing = Standing::Matching;
        self.orders.hot[slot as usize].handle = None;
    }

    /// Ends an order where it stands, and the other leg of its pair with it.
    pub(crate) fn cancel(&mut self, step: &mut Step<'_>, slot: u32, reason: Reason) {
        let of = self.about(slot);
        let of = Execution { size: of.remaining, remaining: 0, ..of };
        self.withdraw(slot);
        let order = self.orders.hot[slot as usize];
        step.say(ExecutionKind::Cancelled, reason, of);
        let other = self.unlink(slot);
        self.dismiss(slot);
        self.mark(order.market);
        if let Some(other) = other {
            self.cancel(step, other, Reason::Linked);
        }
    }

    /// What every execution says of an order: whose, which, its terms, what is left and what was filled. `size` is the whole.
    pub(crate) fn about(&self, slot: u32) -> Execution {
        let order = &self.orders.hot[slot as usize];
        let pegged = order.kind == OrderType::Pegged;
        Execution {
            instrument_id: self.markets[order.market as usize].id,
            order_id: order.id,
            account: self.accounts.number(order.account),
            price: if pegged { self.orders.terms[slot as usize].at } else { order.price },
            size: order.size,
            remaining: order.remaining(),
            filled: order.filled,
            side: order.side().code(),
            ..Execution::default()
        }
    }

    /// Puts what is left of an order into the book behind all others of its price, and into the hash.
    #[inline]
    pub(crate) fn rest(&mut self, slot: u32) {
        let (shown, hidden) = self.queue(slot);
        self.orders.hot[slot as usize].standing = Standing::Resting;
        self.enter_book(slot, shown, hidden);
    }

    /// Puts an order behind all others of its price, with the priority it has, and into the hash.
    #[inline]
    pub(crate) fn enter_book(&mut self, slot: u32, shown: i64, hidden: i64) {
        let order = &mut self.orders.hot[slot as usize];
        let price = if order.kind == OrderType::Pegged { self.orders.terms[slot as usize].at } else { order.price };
        let resting = Resting { id: resting_id(slot), price, shown, hidden, side: order.side() };
        order.handle = Some(self.markets[order.market as usize].book.insert(resting));
        self.hash_in(slot);
    }

    /// Gives an order the priority of the last in a queue, and what of it is shown and hidden there.
    #[inline]
    pub(crate) fn queue(&mut self, slot: u32) -> (i64, i64) {
        let order = &mut self.orders.hot[slot as usize];
        let market = &mut self.markets[order.market as usize];
        market.priority += 1;
        order.priority = market.priority;
        let left = order.remaining();
        let mut shown = left;
        if order.has(ICEBERG) {
            let terms = &mut self.orders.terms[slot as usize];
            shown = left.min(terms.display);
            terms.shown = shown;
        }
        (shown, left - shown)
    }

    /// Fits what the book has of an order to what is left of it, in its place, and puts it into the hash.
    pub(crate) fn fit_in_place(&mut self, slot: u32, handle: Handle) {
        let order = &self.orders.hot[slot as usize];
        let left = order.remaining();
        let mut shown = left;
        if order.has(ICEBERG) {
            let terms = &mut self.orders.terms[slot as usize];
            terms.shown = terms.shown.min(left);
            shown = terms.shown;
        }
        self.markets[order.market as usize].book.resize(handle, shown, left - shown);
        self.hash_in(slot);
    }

    /// Slot of the order a command names, if it is the account's (0: the operator's, any) and of the instrument.
    #[inline]
    pub(crate) fn named(&self, order_id: u64, market: u32, account: Option<u32>) -> Result<u32, Reason> {
        let slot = self.orders.find(order_id).ok_or(Reason::UnknownOrder)?;
        let order = &self.orders.hot[slot as usize];
        let its = order.market == market && account.is_none_or(|account| account == order.account);
        if its { Ok(slot) } else { Err(Reason::UnknownOrder) }
    }

    fn cancel_one(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let head = &command.head;
        let market = self.instruments.find(head.instrument_id).ok_or(Reason::Instrument)?;
        let account = match head.account {
            0 => None,
            number => Some(self.accounts.find(number).ok_or(Reason::Account)?),
        };
        let body: CancelBody = command.body();
        let slot = self.named(body.order_id, market, account)?;
        fields(command, body.reserved == [0; 64])?;
        self.cancel(step, slot, Reason::Requested);
        Ok(())
    }

    fn define_instrument(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        operator(command)?;
        let id = command.head.instrument_id;
        if id == 0 {
            return Err(Reason::Instrument);
        }
        let body: InstrumentBody = command.body();
        validate::instrument(&body, reserved(command))?;
        match self.instruments.find(id) {
            // Of another part, which alone knows whether it may change.
            Some(_) if !step.answers => return Ok(()),
            Some(market) => {
                let state = &mut self.markets[market as usize];
                let is = &state.body;
                let same = (is.price_exp, is.size_exp, is.base_asset, is.quote_asset)
                    == (body.price_exp, body.size_exp, body.base_asset, body.quote_asset);
                let steps = (is.tick, is.lot, is.size_max) == (body.tick, body.lot, body.size_max);
                if !same || (state.orders != 0 && !steps) {
                    return Err(Reason::Definition);
                }
                state.define(body);
            }
            None if self.markets.len() >= self.options.instruments_max as usize => return Err(Reason::Full),
            None => {
                self.instruments.insert(id, self.markets.len() as u32);
                self.markets.push(Market::new(id, body));
            }
        }
        done(step, command);
        Ok(())
    }

    fn define_account(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let number = command.head.account;
        if number == 0 {
            return Err(Reason::Account);
        }
        let body: AccountBody = command.body();
        fields(command, command.head.instrument_id == 0)?;
        validate::account(&body, reserved(command))?;
        match self.accounts.find(number) {
            Some(account) => {
                self.account_hash_out(account);
                self.accounts.all[account as usize].body = body;
                self.account_hash_in(account);
            }
            None if self.accounts.len() >= self.options.accounts_max as usize => return Err(Reason::Full),
            None => {
                let account = self.accounts.open(number, body);
                self.account_hash_in(account);
            }
        }
        done(step, command);
        Ok(())
    }

    fn set_switch(&mut self, step: &mut Step<'_>, command: &Command) -> Result<(), Reason> {
        let account = self.accounts.find(command.head.account).ok_or(Reason::Account)?;
        let body: CancelAllAfterBody = command.body();
        fields(command, command.head.instrument_id == 0 && body.reserved == [0; 80] && body.timeout_ns >= 0)?;
        self.switch_off(account);
        if body.timeout_ns > 0 {
            self.switch_on(account, step.ts.saturating_add(body.timeout_ns));
        }
        done(step, command);
        Ok(())
    }

    pub(crate) fn switch_on(&mut self, account: u32, at: i64) {
        self.account_hash_out(account);
        let state = &mut self.accounts.all[account as usize];
        state.switch = Some((at, NONE));
        let entry = Entry { key: at, id: state.number.into(), slot: account };
        let all = &mut self.accounts.all;
        self.switches.push(entry, |account, place| {
            all[account as usize].switch.as_mut().expect("it is on").1 = place;
        });
        self.account_hash_in(account);
    }

    /// Switches an account's dead man's switch off, if it is on.
    pub(crate) fn switch_off(&mut self, account: u32) {
        if let Some((_, place)) = self.accounts.all[account as usize].switch {
            self.account_hash_out(account);
            let all = &mut self.accounts.all;
            self.switches.remove(place, |account, place| {
                all[account as usize].switch.as_mut().expect("it is on").1 = place;
            });
            self.accounts.all[account as usize].switch = None;
            self.account_hash_in(account);
        }
    }

    /// The other leg's slot, if the order is a leg: they are no pair any more.
    pub(crate) fn unlink(&mut self, slot: u32) -> Option<u32> {
        if !self.orders.hot[slot as usize].has(LINKED) {
            return None;
        }
        let other = self.orders.terms[slot as usize].linked;
        self.orders.hot[slot as usize].flags &= !LINKED;
        self.hash_out(other);
        self.orders.hot[other as usize].flags &= !LINKED;
        self.hash_in(other);
        Some(other)
    }

    /// How much it has room for.
    pub const fn options(&self) -> VenueOptions {
        self.options
    }

    /// An instrument's definition; `reference_price` is the present one.
    pub fn definition(&self, instrument_id: u32) -> Option<InstrumentBody> {
        self.market(instrument_id).map(|market| InstrumentBody { reference_price: market.reference, ..market.body })
    }

    /// Numbers of all instruments, rising.
    pub fn instrument_ids(&self) -> Vec<u32> {
        let mut ids: Vec<_> = self.markets.iter().map(|market| market.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Numbers of all accounts, rising.
    pub fn account_ids(&self) -> Vec<u32> {
        let mut ids: Vec<_> = self.accounts.all.iter().map(|account| account.number).collect();
        ids.sort_unstable();
        ids
    }

    /// Price of the last trade of an instrument, if there was one.
    pub fn last_trade(&self, instrument_id: u32) -> Option<i64> {
        self.market(instrument_id).map(|market| market.last_trade).filter(|price| *price != 0)
    }

    /// Best price of a side of an instrument.
    pub fn best(&self, instrument_id: u32, side: Side) -> Option<i64> {
        self.market(instrument_id)?.book.best(side)
    }

    /// Price and shown size of each level, best first.
    pub fn depth(&self, instrument_id: u32, side: Side) -> impl Iterator<Item = (i64, i64)> + '_ {
        let book = self.market(instrument_id).map(|market| &market.book);
        book.into_iter().flat_map(move |book| book.levels(side)).map(|level| (level.price, level.shown))
    }

    /// The instrument's session; closed if it is unknown.
    pub fn session(&self, instrument_id: u32) -> Session {
        self.market(instrument_id).map_or(Session::Closed, |market| market.session)
    }

    /// Executions so far: the number of the last one.
    pub const fn execution_count(&self) -> u64 {
        self.executions
    }

    /// The venue's time: the latest of all commands.
    pub const fn time(&self) -> i64 {
        self.time
    }

    /// Open orders, waiting ones too.
    pub const fn order_count(&self) -> u32 {
        self.orders.len()
    }

    fn market(&self, instrument_id: u32) -> Option<&Market> {
        self.instruments.find(instrument_id).map(|market| &self.markets[market as usize])
    }
}

impl Matching for Venue {
    fn apply(&mut self, sequence: u64, command: &Command, out: &mut dyn FnMut(&Execution)) {
        self.apply(sequence, command, out);
    }
}

/// Whether the head's spare bytes say something.
#[inline]
pub(crate) fn reserved(command: &Command) -> bool {
    command.head.reserved != [0; 5]
}

/// Fields that this kind of command has no use for.
pub(crate) fn fields(command: &Command, right: bool) -> Result<(), Reason> {
    if right && !reserved(command) { Ok(()) } else { Err(Reason::Fields) }
}

/// An operator's command names no account.
pub(crate) const fn operator(command: &Command) -> Result<(), Reason> {
    if command.head.account == 0 { Ok(()) } else { Err(Reason::Operator) }
}

/// Whether a command is carried out by every part of a venue, and not by the one alone that has its instrument.
const fn concerns_all(kind: CommandKind, command: &Command) -> bool {
    match kind {
        CommandKind::MassCancel => command.head.instrument_id == 0,
        CommandKind::CancelAllAfter | CommandKind::Disconnect | CommandKind::Instrument | CommandKind::Account => true,
        _ => false,
    }
}

/// Answers a command that was carried out and has nothing else to say.
pub(crate) fn done(step: &mut Step<'_>, command: &Command) {
    if !step.answers {
        return;
    }
    let of = Execution {
        instrument_id: command.head.instrument_id,
        account: command.head.account,
        command_kind: command.head.kind,
        ..Execution::default()
    };
    step.say(ExecutionKind::Done, Reason::None, of);
}

const _: () = assert!(UNITS_MAX as i128 * 512 <= SIZES_MAX);
