//! The whole state as bytes, and back: `State` of the journal, so that snapshots, followers and recovery work on a venue.
//!
//! What follows from something else (books, heaps, lists, sums, bands) is not written but made again, so that saved bytes cannot
//! contradict themselves in it; orders are written in the order of their queues. Byte table: `docs/formats/venue-state.md`.

use std::io;

use tidebook_book::Side;
use tidebook_journal::{State, StateError};
use tidebook_types::command::{
    AccountBody, COMMAND_SIZE_BYTES, InstrumentBody, ORDER_FLAGS, Peg, SelfTrade, Session, TimeInForce, UNITS_MAX,
};
use tidebook_types::{Command, OrderType};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::market::{Market, Reached};
use crate::order::{ICEBERG, LINKED, NONE, Order, SELLS, Standing, TERMS, TIMED, Terms, slot_of};
use crate::shards::Shard;
use crate::validate;
use crate::venue::{Venue, VenueOptions};

/// Rises whenever the same commands would lead to another state, or a state means something else.
pub(crate) const STATE_VERSION: u32 = 1;

/// No count gets there in this world, so none that begins below overflows.
const COUNT_MAX: u64 = 1 << 62;

const KIND: &str = "venue";
const MAGIC: [u8; 8] = *b"TIDEVENU";

macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub(crate) struct $name { $($(#[$field_meta])* pub(crate) $field: $type,)* }
    };
}

record! {
    /// First of all.
    SavedHead {
        magic: [u8; 8],
        state_hash: u64,
        time: i64,
        executions: u64,
        orders_max: u32,
        instruments_max: u32,
        accounts_max: u32,
        accounts: u32,
        markets: u32,
        reserved: u32,
    }
}

record! {
    SavedAccount {
        number: u32,
        /// Whether the switch is on.
        switched: u32,
        switch_at: i64,
        body: [u8; 88],
    }
}

record! {
    /// Followed by its orders: bids, asks, those that wait by id; then the ids of triggered stops in their order.
    SavedMarket {
        body: [u8; 88],
        id: u32,
        session: u32,
        last_trade: i64,
        trades: u64,
        reference: i64,
        priority: u64,
        indicative_price: i64,
        indicative_size: i64,
        orders: u32,
        triggered: u32,
    }
}

record! {
    /// With `TERMS` in its flags it is followed by a [`SavedTerms`].
    SavedOrder {
        id: u64,
        price: i64,
        size: i64,
        filled: i64,
        priority: u64,
        account: u32,
        flags: u8,
        kind: u8,
        modes: u8,
        standing: u8,
    }
}

record! {
    SavedTerms {
        paid_ahead_low: u64,
        paid_ahead_high: i64,
        display: i64,
        shown: i64,
        trigger: i64,
        offset: i64,
        expire_ts: i64,
        at: i64,
        linked: u64,
        peg: u8,
        reserved: [u8; 7],
    }
}

/// Reads records one after another and says where the first wrong one begins.
struct Input<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Where the record read last begins.
    at: usize,
}

type Wrong = &'static str;

impl Input<'_> {
    fn read<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, Wrong> {
        self.at = self.offset;
        let (record, _) = T::read_from_prefix(&self.bytes[self.offset..]).map_err(|_| "it ends too early")?;
        self.offset += size_of::<T>();
        Ok(record)
    }
}

const fn check(holds: bool, wrong: Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(wrong) }
}

const fn is_units(value: i64) -> bool {
    0 <= value && value <= UNITS_MAX
}

impl VenueOptions {
    /// The room of the venue that saved these bytes; `None` if they are no saved venue.
    pub fn of_saved(bytes: &[u8]) -> Option<Self> {
        let (head, _) = SavedHead::read_from_prefix(bytes).ok()?;
        (head.magic == MAGIC).then_some(Self {
            orders_max: head.orders_max,
            instruments_max: head.instruments_max,
            accounts_max: head.accounts_max,
        })
    }
}

impl State for Venue {
    fn kind(&self) -> &str {
        KIND
    }

    fn version(&self) -> u32 {
        STATE_VERSION
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        let command = Command::read_from_bytes(payload).map_err(|_| StateError::Message {
            kind: KIND.to_owned(),
            sequence,
            reason: format!("it has {} bytes, a command has {COMMAND_SIZE_BYTES}", payload.len()),
        })?;
        Self::apply(self, sequence, &command, &mut |_| {});
        Ok(())
    }

    fn state_hash(&self) -> u64 {
        Self::state_hash(self)
    }

    fn recomputed_state_hash(&self) -> Option<u64> {
        Some(Self::recomputed_state_hash(self))
    }

    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        Self::save_shards(std::slice::from_ref(self), self.executions, out)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut input = Input { bytes, offset: 0, at: 0 };
        self.load_all(&mut input).map_err(|reason| StateError::Saved {
            kind: KIND.to_owned(),
            offset: input.at as u64,
            reason: reason.to_owned(),
        })
    }
}

impl Venue {
    /// Writes the whole of all its parts: what every part has from the first, and each instrument from the one that has it.
    pub(crate) fn save_shards(shards: &[Self], executions: u64, out: &mut dyn io::Write) -> io::Result<()> {
        let first = &shards[0];
        let head = SavedHead {
            magic: MAGIC,
            state_hash: Self::shards_hash(shards, executions),
            time: first.time,
            executions,
            orders_max: first.options.orders_max,
            instruments_max: first.options.instruments_max,
            accounts_max: first.options.accounts_max,
            accounts: first.accounts.len() as u32,
            markets: first.markets.len() as u32,
            reserved: 0,
        };
        out.write_all(head.as_bytes())?;
        for account in &first.accounts.all {
            let mut body = [0; 88];
            body.copy_from_slice(account.body.as_bytes());
            let saved = SavedAccount {
                number: account.number,
                switched: account.switch.is_some().into(),
                switch_at: account.switch.map_or(0, |(at, _)| at),
                body,
            };
            out.write_all(saved.as_bytes())?;
        }
        (0..first.markets.len()).try_for_each(|place| {
            let owner = Self::shard_of(first.markets[place].id, shards.len() as u32);
            shards[owner as usize].save_market(place as u32, out)
        })
    }

    fn save_market(&self, place: u32, out: &mut dyn io::Write) -> io::Result<()> {
        let market = &self.markets[place as usize];
        let mut body = [0; 88];
        body.copy_from_slice(market.body.as_bytes());
        let due = || market.triggered.iter().filter(|reached| self.is_due(**reached));
        let saved = SavedMarket {
            body,
            id: market.id,
            session: market.session.code().into(),
            last_trade: market.last_trade,
            trades: market.trades,
            reference: market.reference,
            priority: market.priority,
            indicative_price: market.indicative.0,
            indicative_size: market.indicative.1,
            orders: market.orders,
            triggered: due().count() as u32,
        };
        out.write_all(saved.as_bytes())?;
        for side in Side::BOTH {
            for handle in market.book.orders(side) {
                self.save_order(slot_of(market.book.get(handle)), out)?;
            }
        }
        let mut waiting = Vec::new();
        self.each_order(place, |id, slot| {
            if self.orders.hot[slot as usize].standing != Standing::Resting {
                waiting.push((id, slot));
            }
        });
        waiting.sort_unstable();
        waiting.into_iter().try_for_each(|(_, slot)| self.save_order(slot, out))?;
        due().try_for_each(|reached| out.write_all(&reached.id.to_le_bytes()))
    }

    fn save_order(&self, slot: u32, out: &mut dyn io::Write) -> io::Result<()> {
        let order = &self.orders.hot[slot as usize];
        let saved = SavedOrder {
            id: order.id,
            price: order.price,
            size: order.size,
            filled: order.filled,
            priority: order.priority,
            account: self.accounts.number(order.account),
            flags: order.flags & !TIMED,
            kind: order.kind.code(),
            modes: order.modes,
            standing: order.standing as u8,
        };
        out.write_all(saved.as_bytes())?;
        if !order.has(TERMS) {
            return Ok(());
        }
        let terms = &self.orders.terms[slot as usize];
        let saved = SavedTerms {
            paid_ahead_low: terms.paid_ahead as u64,
            paid_ahead_high: (terms.paid_ahead >> 64) as i64,
            display: terms.display,
            shown: if order.has(ICEBERG) { terms.shown } else { 0 },
            trigger: terms.trigger,
            offset: terms.offset,
            expire_ts: terms.expire_ts,
            at: terms.at,
            linked: if order.has(LINKED) { self.orders.hot[terms.linked as usize].id } else { 0 },
            peg: terms.peg.code(),
            reserved: [0; 7],
        };
        out.write_all(saved.as_bytes())
    }

    fn load_all(&mut self, input: &mut Input<'_>) -> Result<(), Wrong> {
        let head: SavedHead = input.read()?;
        check(head.magic == MAGIC && head.reserved == 0, "it is no venue's")?;
        check(self.markets.is_empty() && self.accounts.len() == 0, "this venue is not a new one")?;
        let options = VenueOptions {
            orders_max: head.orders_max,
            instruments_max: head.instruments_max,
            accounts_max: head.accounts_max,
        };
        check(
            options == self.options,
            "the venue it is of had room for another number of orders, instruments or accounts",
        )?;
        check(head.time >= 0 && head.executions < COUNT_MAX, "a time or a count that cannot be")?;
        (self.time, self.executions) = (head.time, head.executions);
        check(head.accounts <= head.accounts_max, "more accounts than there is room for")?;
        for _ in 0..head.accounts {
            self.load_account(input)?;
        }
        check(head.markets <= head.instruments_max, "more instruments than there is room for")?;
        for _ in 0..head.markets {
            self.load_market(input)?;
        }
        check(input.offset == input.bytes.len(), "something follows its end")?;
        self.list_orders();
        input.at = 0;
        let hash = if self.shard == Shard::WHOLE { head.state_hash } else { Self::state_hash(self) };
        check(Self::state_hash(self) == hash, "its hash is another")?;
        check(Self::recomputed_state_hash(self) == hash, "it contradicts itself")
    }

    fn load_account(&mut self, input: &mut Input<'_>) -> Result<(), Wrong> {
        let saved: SavedAccount = input.read()?;
        let body: AccountBody = zerocopy::transmute!(saved.body);
        check(saved.number != 0 && self.accounts.find(saved.number).is_none(), "an account's number")?;
        check(validate::account(&body, false).is_ok(), "an account's terms")?;
        check(saved.switched <= 1 && (saved.switched == 1 || saved.switch_at == 0), "a switch")?;
        let account = self.accounts.open(saved.number, body);
        self.account_hash_in(account);
        if saved.switched == 1 {
            self.switch_on(account, saved.switch_at);
        }
        Ok(())
    }

    fn load_market(&mut self, input: &mut Input<'_>) -> Result<(), Wrong> {
        let saved: SavedMarket = input.read()?;
        let body: InstrumentBody = zerocopy::transmute!(saved.body);
        check(saved.id != 0 && self.instruments.find(saved.id).is_none(), "an instrument's number")?;
        check(validate::instrument(&body, false).is_ok(), "an instrument's definition")?;
        let session = u8::try_from(saved.session).ok().and_then(Session::from_code).ok_or("a session")?;
        check(is_units(saved.last_trade) && is_units(saved.reference), "a price of an instrument")?;
        check(saved.trades < COUNT_MAX && saved.priority < COUNT_MAX, "a count of an instrument")?;
        let place = self.markets.len() as u32;
        self.instruments.insert(saved.id, place);
        let mut market = Market::new(saved.id, body);
        if !self.shard.owns(saved.id) {
            self.markets.push(market);
            return skip_orders(&saved, input);
        }
        (market.session, market.last_trade, market.trades) = (session, saved.last_trade, saved.trades);
        market.priority = saved.priority;
        market.indicative = (saved.indicative_price, saved.indicative_size);
        market.set_reference(saved.reference);
        self.markets.push(market);
        let mut pairs = Vec::new();
        for _ in 0..saved.orders {
            self.load_order(place, &mut pairs, input)?;
        }
        for (slot, other_id) in pairs {
            // That both legs name each other is seen when all is hashed anew.
            let other = self.orders.find(other_id).ok_or("a pair without its other leg")?;
            let [one, its] = [slot, other].map(|slot| &self.orders.hot[slot as usize]);
            let fits = other != slot && its.has(LINKED) && (its.market, its.account) == (one.market, one.account);
            check(fits, "the other leg of a pair")?;
            self.orders.terms[slot as usize].linked = other;
        }
        for _ in 0..saved.triggered {
            let id: u64 = input.read()?;
            let slot = self.orders.find(id).ok_or("a triggered stop that is not there")?;
            let reached = Reached { id, slot };
            let of = self.orders.hot[slot as usize].market;
            check(of == place && self.is_due(reached), "an order that is no triggered stop")?;
            self.markets[place as usize].triggered.push_back(reached);
        }
        Ok(())
    }

    fn load_order(&mut self, market: u32, pairs: &mut Vec<(u32, u64)>, input: &mut Input<'_>) -> Result<(), Wrong> {
        let saved: SavedOrder = input.read()?;
        let kind = OrderType::from_code(saved.kind).ok_or("an order's type")?;
        let standing = match saved.standing {
            0 => Standing::Resting,
            1 => Standing::Waiting,
            2 => Standing::Triggered,
            3 => Standing::Parked,
            _ => return Err("where an order stands"),
        };
        let known = ORDER_FLAGS | ICEBERG | LINKED | SELLS | TERMS;
        let time_in_force = TimeInForce::from_code(saved.modes & 15).ok_or("a time in force")?;
        SelfTrade::from_code(saved.modes >> 4).ok_or("a self-trade mode")?;
        check(saved.flags & !known == 0, "an order's flags")?;
        check(saved.id != 0 && self.orders.find(saved.id).is_none(), "an order's id")?;
        check(self.orders.has_room(1), "more orders than there is room for")?;
        check(is_units(saved.price) && is_units(saved.size), "an order's price or size")?;
        check(0 <= saved.filled && saved.filled < saved.size, "what is filled of an order")?;
        let account = self.accounts.find(saved.account).ok_or("an order's account")?;
        let mut order = Order {
            id: saved.id,
            price: saved.price,
            size: saved.size,
            filled: saved.filled,
            priority: saved.priority,
            account,
            market,
            flags: saved.flags,
            kind,
            modes: saved.modes,
            ..Order::EMPTY
        };
        let mut terms = Terms::NONE;
        let mut linked = 0;
        if order.has(TERMS) {
            (terms, linked) = load_terms(input, self.markets[market as usize].fee_parts)?;
        }
        let left = order.remaining();
        let iceberg = kind == OrderType::Limit && terms.display > 0 && terms.shown > 0 && terms.shown <= left;
        check(!order.has(ICEBERG) || (order.has(TERMS) && iceberg), "what an iceberg shows")?;
        check(order.has(ICEBERG) || terms.shown == 0, "what an order shows that shows all")?;
        check(order.has(LINKED) == (linked != 0), "the other leg of a pair")?;
        check((time_in_force == TimeInForce::Gtd) == (terms.expire_ts != 0), "the time of an order")?;
        let stop = matches!(kind, OrderType::Stop | OrderType::StopLimit | OrderType::TrailingStop);
        let stands = match standing {
            Standing::Resting if kind == OrderType::Pegged => terms.at > 0,
            Standing::Resting => kind == OrderType::Limit && order.price > 0,
            Standing::Waiting | Standing::Triggered => stop && order.has(TERMS),
            Standing::Parked => kind == OrderType::Pegged && terms.at == 0,
            Standing::Matching => false,
        };
        check(stands, "where an order stands")?;
        let price = if kind == OrderType::Pegged { terms.at } else { order.price };
        check(price % self.markets[market as usize].body.tick == 0, "a price between two ticks")?;
        check(kind != OrderType::Pegged || terms.peg != Peg::None, "what an order is pegged to")?;
        order.standing = standing;
        let slot = self.orders.insert(order, &terms);
        self.markets[market as usize].orders += 1;
        if time_in_force == TimeInForce::Gtd {
            self.time_order(slot, terms.expire_ts);
        }
        if linked != 0 {
            pairs.push((slot, linked));
        }
        match standing {
            Standing::Resting => {
                let shown = if order.has(ICEBERG) { terms.shown } else { left };
                self.rest_again(slot, shown);
            }
            Standing::Waiting => self.begin_waiting_again(slot, false),
            Standing::Parked => self.park(slot),
            Standing::Triggered | Standing::Matching => self.hash_in(slot),
        }
        Ok(())
    }

    /// Resting orders of a book that is loaded: in the order of their queues, with the priority they have.
    fn rest_again(&mut self, slot: u32, shown: i64) {
        let order = &self.orders.hot[slot as usize];
        let hidden = order.remaining() - shown;
        if order.kind == OrderType::Pegged {
            self.list_peg(slot);
        }
        self.enter_book(slot, shown, hidden);
    }

    /// Puts every order into its account's list, in the order of acceptance.
    fn list_orders(&mut self) {
        let mut all: Vec<(u64, u32)> = self.orders.hot.iter().zip(0..).map(|(order, slot)| (order.id, slot)).collect();
        all.sort_unstable();
        for (_, slot) in all {
            self.accounts.append(&mut self.orders, slot);
        }
    }
}

/// Passes over what follows an instrument of another part.
fn skip_orders(of: &SavedMarket, input: &mut Input<'_>) -> Result<(), Wrong> {
    for _ in 0..of.orders {
        let order: SavedOrder = input.read()?;
        if order.flags & TERMS != 0 {
            input.read::<SavedTerms>()?;
        }
    }
    for _ in 0..of.triggered {
        input.read::<u64>()?;
    }
    Ok(())
}

fn load_terms(input: &mut Input<'_>, fee_parts: i128) -> Result<(Terms, u64), Wrong> {
    let saved: SavedTerms = input.read()?;
    let paid_ahead = i128::from(saved.paid_ahead_high) << 64 | i128::from(saved.paid_ahead_low);
    check((0..fee_parts).contains(&paid_ahead), "what is paid of fees")?;
    let units = [saved.display, saved.shown, saved.trigger, saved.offset, saved.at];
    check(units.into_iter().all(is_units) && saved.reserved == [0; 7], "an order's terms")?;
    let terms = Terms {
        paid_ahead,
        display: saved.display,
        shown: saved.shown,
        trigger: saved.trigger,
        offset: saved.offset,
        expire_ts: saved.expire_ts,
        at: saved.at,
        linked: NONE,
        peg: Peg::from_code(saved.peg).ok_or("a peg")?,
        ..Terms::NONE
    };
    Ok((terms, saved.linked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_sizes_that_the_page_says() {
        let path = format!("{}/../../docs/formats/venue-state.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(path).unwrap();
        let parts: [(&str, usize); 5] = [
            ("| head |", size_of::<SavedHead>()),
            ("| each account |", size_of::<SavedAccount>()),
            ("| each instrument |", size_of::<SavedMarket>()),
            ("| each of its orders:", size_of::<SavedOrder>()),
            ("| behind an order with flag 32 |", size_of::<SavedTerms>()),
        ];
        for (part, size) in parts {
            let row = page.lines().find(|line| line.starts_with(part)).unwrap_or_else(|| panic!("{part}"));
            assert!(row.contains(&format!("| {size} |")), "{part} has {size} bytes");
        }
        assert!(page.contains(&format!("version {STATE_VERSION}\n")) && page.contains("`TIDEVENU`"));
    }
}
