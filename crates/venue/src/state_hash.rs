//! The hash of all that may change what later commands do.
//!
//! Orders and accounts are summed as they change, so that it costs a command a few multiplications for each order it touches, whatever
//! the venue holds; the rest (instruments, counters) is hashed when asked for. The second way walks the books level by level and looks at every
//! order and account again.

use std::hash::{Hash, Hasher};

use tidebook_book::Side;
use tidebook_types::hash::{mix, scramble};

use crate::market::Market;
use crate::order::{ICEBERG, LINKED, NONE, Order, Standing, TERMS, TIMED, Terms, slot_of};
use crate::venue::Venue;

/// Product of two keyed words, both halves of it.
#[inline]
const fn pair(one: u64, one_key: u64, other: u64, other_key: u64) -> u64 {
    let product = (one ^ one_key) as u128 * (other ^ other_key) as u128;
    product as u64 ^ (product >> 64) as u64
}

const KEYS: [u64; 8] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7345,
    0xa409_3822_299f_31d1,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6d,
    0xc0ac_29b7_c97c_50dd,
    0x3f84_d5b5_b547_0917,
];

/// Hashes words one after another.
#[derive(Debug, Clone, Copy)]
struct Words(u64);

impl Words {
    const fn word(self, word: u64) -> Self {
        Self(mix(self.0, word))
    }
}

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            *self = self.word(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One order: its terms, its level, its priority, its owner and where it stands.
#[inline]
fn hash_of(order: &Order, terms: &Terms) -> u64 {
    let flags = order.flags & !TIMED;
    let small = u64::from(flags)
        | u64::from(order.kind.code()) << 8
        | u64::from(order.modes) << 16
        | (order.standing as u64) << 24
        | u64::from(order.market) << 32;
    let sum = pair(order.id, KEYS[0], order.price as u64, KEYS[1])
        .wrapping_add(pair(order.size as u64, KEYS[2], order.filled as u64, KEYS[3]))
        .wrapping_add(pair(order.priority, KEYS[4], u64::from(order.account) ^ small.rotate_left(29), KEYS[5]));
    let sum = scramble(sum ^ small ^ order.id.wrapping_mul(KEYS[6]));
    if order.has(TERMS) { hash_terms(sum, order, terms) } else { sum }
}

#[cold]
fn hash_terms(sum: u64, order: &Order, terms: &Terms) -> u64 {
    let shown = if order.has(ICEBERG) { terms.shown } else { 0 };
    [terms.display, shown, terms.trigger, terms.offset, terms.expire_ts, terms.at]
        .into_iter()
        .fold(Words(sum), |words, word| words.word(word as u64))
        .word(terms.paid_ahead as u64)
        .word((terms.paid_ahead >> 64) as u64)
        .word(terms.peg.code().into())
        .0
}

fn hash_of_sums(time: i64, executions: u64, orders: u64, accounts: u64, markets: u64) -> u64 {
    let sums = [orders, accounts, markets, time as u64, executions];
    sums.into_iter().fold(Words(0x7469_6465_626f_6f6b), Words::word).0
}

impl Venue {
    #[inline]
    fn hash_order(&self, slot: u32) -> u64 {
        hash_of(&self.orders.hot[slot as usize], &self.orders.terms[slot as usize])
    }

    /// Takes an order out of the sum, before it changes.
    #[inline]
    pub(crate) fn hash_out(&mut self, slot: u32) {
        self.orders_hash = self.orders_hash.wrapping_sub(self.hash_order(slot));
    }

    /// Puts an order into the sum, after it has changed.
    #[inline]
    pub(crate) fn hash_in(&mut self, slot: u32) {
        self.orders_hash = self.orders_hash.wrapping_add(self.hash_order(slot));
    }

    fn hash_account(&self, account: u32) -> u64 {
        let account = &self.accounts.all[account as usize];
        let mut words = Words(KEYS[7]);
        (account.number, account.switch.map(|(at, _)| at)).hash(&mut words);
        words.write(zerocopy::IntoBytes::as_bytes(&account.body));
        words.finish()
    }

    pub(crate) fn account_hash_out(&mut self, account: u32) {
        self.accounts_hash = self.accounts_hash.wrapping_sub(self.hash_account(account));
    }

    pub(crate) fn account_hash_in(&mut self, account: u32) {
        self.accounts_hash = self.accounts_hash.wrapping_add(self.hash_account(account));
    }

    fn hash_market(&self, market: &Market) -> u64 {
        let mut words = Words(market.id.into());
        words.write(zerocopy::IntoBytes::as_bytes(&market.body));
        let due = market.triggered.iter().filter(|reached| self.is_due(**reached));
        let mut words = due.fold(words, |words, reached| words.word(reached.id));
        words = words
            .word(market.session.code().into())
            .word(market.last_trade as u64)
            .word(market.trades)
            .word(market.reference as u64)
            .word(market.priority)
            .word(market.indicative.0 as u64)
            .word(market.indicative.1 as u64);
        words.word(market.orders.into()).0
    }

    fn hash_with(&self, orders: u64, accounts: u64) -> u64 {
        let markets = self.markets.iter().fold(0_u64, |sum, market| sum.wrapping_add(self.hash_market(market)));
        hash_of_sums(self.time, self.executions, orders, accounts, markets)
    }

    /// [`Self::state_hash`] of the whole of all parts.
    pub(crate) fn shards_hash(shards: &[Self], executions: u64) -> u64 {
        let first = &shards[0];
        let its = |market: &Market| {
            let owner = Self::shard_of(market.id, shards.len() as u32);
            &shards[owner as usize]
        };
        let markets = first.markets.iter().zip(0_usize..);
        let markets = markets.fold(0_u64, |sum, (market, place)| {
            let owner = its(market);
            sum.wrapping_add(owner.hash_market(&owner.markets[place]))
        });
        let orders = shards.iter().fold(0_u64, |sum, shard| sum.wrapping_add(shard.orders_hash));
        hash_of_sums(first.time, executions, orders, first.accounts_hash, markets)
    }

    /// Hash of everything that may change what later commands do. The same commands give the same one, on every machine.
    pub fn state_hash(&self) -> u64 {
        self.hash_with(self.orders_hash, self.accounts_hash)
    }

    /// The same by another way: every book is walked, every order and account hashed anew, and what says the same twice is compared (levels
    /// and orders, priority and place, lists, heaps and counts). Another number where anything disagrees.
    pub fn recomputed_state_hash(&self) -> u64 {
        let mut orders = 0_u64;
        let mut sound = self.dirty.is_empty();
        for (place, market) in self.markets.iter().enumerate() {
            let mut count = 0;
            self.each_order(place as u32, |_, slot| {
                let order = &self.orders.hot[slot as usize];
                let terms = self.orders.terms_of(slot);
                let of = Order { market: place as u32, ..*order };
                orders = orders.wrapping_add(hash_of(&of, &terms));
                sound &= self.orders.find(order.id) == Some(slot) && (order.filled >= 0 && order.remaining() > 0);
                let other = self.orders.terms.get(terms.linked as usize);
                sound &= !order.has(LINKED) || other.is_some_and(|other| other.linked == slot);
                count += 1;
            });
            sound &= count == market.orders;
            sound &= Side::BOTH.into_iter().all(|side| self.is_sound(market, side));
        }
        let mut accounts = 0_u64;
        let mut listed = 0;
        for account in 0..self.accounts.all.len() as u32 {
            accounts = accounts.wrapping_add(self.hash_account(account));
            let (mut slot, mut last) = (self.accounts.all[account as usize].first, 0);
            while slot != NONE && sound {
                let order = &self.orders.hot[slot as usize];
                sound &= order.account == account && order.id > last;
                (slot, last) = (order.next, order.id);
                listed += 1;
            }
        }
        sound &= listed == self.orders.len();
        sound &= self.timed.iter().all(|entry| self.orders.terms[entry.slot as usize].expire_ts == entry.key);
        let switches = self.accounts.all.iter().filter(|account| account.switch.is_some()).count();
        sound &= switches == self.switches.len();
        self.hash_with(orders, accounts) ^ u64::from(!sound)
    }

    /// Whether the book's levels and queues are what its orders say.
    fn is_sound(&self, market: &Market, side: Side) -> bool {
        let mut orders = market.book.orders(side);
        market.book.levels(side).all(|level| {
            let (mut shown, mut hidden, mut last) = (0_i128, 0_i128, 0);
            (0..level.count).all(|_| {
                let Some(handle) = orders.next() else { return false };
                let resting = market.book.get(handle);
                let slot = slot_of(resting) as usize;
                let order = &self.orders.hot[slot];
                shown += i128::from(resting.shown);
                hidden += i128::from(resting.hidden);
                let rises = order.priority > last;
                last = order.priority;
                let part = !order.has(ICEBERG) || self.orders.terms[slot].shown == resting.shown;
                let its = order.standing == Standing::Resting && order.handle == Some(handle) && order.side() == side;
                rises
                    && part
                    && its
                    && resting.price == level.price
                    && resting.shown + resting.hidden == order.remaining()
            }) && (shown, hidden) == (level.shown.into(), level.hidden.into())
        }) && orders.next().is_none()
    }
}
