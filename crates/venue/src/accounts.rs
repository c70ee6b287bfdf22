//! Accounts as far as matching knows them: group, fee rates, orders in the order of acceptance, dead man's switch.

use tidebook_types::command::{ACCOUNT_OWN_FEES, AccountBody, InstrumentBody};

use crate::index::NumberIndex;
use crate::order::{NONE, Order, Orders};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) number: u32,
    pub(crate) body: AccountBody,
    /// Its orders by id; `NONE` for none.
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// When the dead man's switch goes off, if it is on; its place in the heap of switches.
    pub(crate) switch: Option<(i64, u32)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    pub(crate) all: Vec<Account>,
    index: NumberIndex,
}

impl Accounts {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    #[inline]
    pub(crate) fn find(&self, number: u32) -> Option<u32> {
        self.index.find(number)
    }

    /// Opens an account that is not there.
    pub(crate) fn open(&mut self, number: u32, body: AccountBody) -> u32 {
        let place = self.all.len() as u32;
        self.all.push(Account { number, body, first: NONE, last: NONE, switch: None });
        self.index.insert(number, place);
        place
    }

    #[inline]
    pub(crate) fn number(&self, place: u32) -> u32 {
        self.all[place as usize].number
    }

    /// What it pays as maker: by its own rate if it has one, else by the instrument's.
    #[inline]
    pub(crate) fn maker_ppm(&self, place: u32, instrument: &InstrumentBody) -> i32 {
        let body = &self.all[place as usize].body;
        if body.flags & ACCOUNT_OWN_FEES == 0 { instrument.maker_ppm } else { body.maker_ppm }
    }

    /// The same as taker.
    #[inline]
    pub(crate) fn taker_ppm(&self, place: u32, instrument: &InstrumentBody) -> i32 {
        let body = &self.all[place as usize].body;
        if body.flags & ACCOUNT_OWN_FEES == 0 { instrument.taker_ppm } else { body.taker_ppm }
    }

    /// Whether two orders of these are of one owner.
    #[inline]
    pub(crate) fn one_owner(&self, one: u32, other: u32) -> bool {
        one == other || {
            let group = self.all[one as usize].body.group;
            group != 0 && group == self.all[other as usize].body.group
        }
    }

    /// Puts an order, the newest, at the end of its account's list.
    #[inline]
    pub(crate) fn append(&mut self, orders: &mut Orders, slot: u32) {
        let account = &mut self.all[orders.hot[slot as usize].account as usize];
        let last = std::mem::replace(&mut account.last, slot);
        match last {
            NONE => account.first = slot,
            last => orders.hot[last as usize].next = slot,
        }
        let order = &mut orders.hot[slot as usize];
        (order.previous, order.next) = (last, NONE);
    }

    /// Takes an order out of its account's list.
    #[inline]
    pub(crate) fn take_out(&mut self, orders: &mut Orders, slot: u32) {
        let Order { account, previous, next, .. } = orders.hot[slot as usize];
        let account = &mut self.all[account as usize];
        match previous {
            NONE => account.first = next,
            previous => orders.hot[previous as usize].next = next,
        }
        match next {
            NONE => account.last = previous,
            next => orders.hot[next as usize].previous = previous,
        }
    }
}
