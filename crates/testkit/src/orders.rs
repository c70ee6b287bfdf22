//! A reference state machine: open orders and accounts as a function of commands, to prove snapshots and recovery with.
//!
//! Small rules, a large state. Four commands (add, cancel, replace, execute), of which those that make no sense are
//! counted as refused; accounts follow from the orders. Its hash is a sum of keyed hashes, one per order and account,
//! so that a command changes it in constant time; computed anew, the accounts' side of it comes from the orders.
//! [`OrderFlow`] gives command number n of a seed without the ones before it, so that who was killed goes on with the
//! same commands.

use std::io;

use tidebook_journal::{State, StateError};

use crate::random::Random;

const KIND: &str = "orders";
const VERSION: u32 = 1;

/// Bytes of a command.
pub const COMMAND_SIZE_BYTES: usize = 40;

/// Accounts are numbered from 0 to one below this.
pub const ACCOUNT_COUNT_MAX: u32 = 1 << 16;

/// What can be asked of an [`OrderStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A new order.
    Add {
        /// Its id, never used before.
        order: u64,
        /// Whose it is, below [`ACCOUNT_COUNT_MAX`].
        account: u32,
        /// Buys, or sells.
        buys: bool,
        /// Price in units.
        price: i64,
        /// Quantity in units, not 0.
        quantity: u64,
    },
    /// The order goes.
    Cancel {
        /// Its id.
        order: u64,
    },
    /// The order gets another price and quantity, and the last place of its price level.
    Replace {
        /// Its id.
        order: u64,
        /// New price in units.
        price: i64,
        /// New quantity in units, not 0.
        quantity: u64,
    },
    /// So much of the order, or what is left of it, is executed at its price.
    Execute {
        /// Its id.
        order: u64,
        /// Quantity in units, not 0.
        quantity: u64,
    },
}

const ADD: u64 = 1;
const CANCEL: u64 = 2;
const REPLACE: u64 = 3;
const EXECUTE: u64 = 4;

impl Command {
    /// As a message: kind and side, account, order, price, quantity; 8 bytes each, little endian.
    pub fn encode(self) -> [u8; COMMAND_SIZE_BYTES] {
        let words = match self {
            Self::Add { order, account, buys, price, quantity } => {
                [ADD | u64::from(buys) << 8, u64::from(account), order, price as u64, quantity]
            }
            Self::Cancel { order } => [CANCEL, 0, order, 0, 0],
            Self::Replace { order, price, quantity } => [REPLACE, 0, order, price as u64, quantity],
            Self::Execute { order, quantity } => [EXECUTE, 0, order, 0, quantity],
        };
        let mut bytes = [0; COMMAND_SIZE_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The command in a message, which may be longer than the command (padding).
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; COMMAND_SIZE_BYTES] = payload.first_chunk()?;
        let [kind, account, order, price, quantity] = words_of(bytes);
        match kind {
            CANCEL => Some(Self::Cancel { order }),
            REPLACE => Some(Self::Replace { order, price: price as i64, quantity }),
            EXECUTE => Some(Self::Execute { order, quantity }),
            _ if kind & !0x100 == ADD => {
                let account = u32::try_from(account).ok()?;
                Some(Self::Add { order, account, buys: kind & 0x100 != 0, price: price as i64, quantity })
            }
            _ => None,
        }
    }
}

/// An order that rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub order: u64,
    /// Whose it is.
    pub account: u32,
    /// Buys, or sells.
    pub buys: bool,
    /// Price in units.
    pub price: i64,
    /// Quantity left, in units; 0 marks a free place of the table.
    pub quantity: u64,
    /// Message that gave it its place in its price level.
    pub priority: u64,
}

const ORDER_WORDS: usize = 5;
const NO_ORDER: Order = Order { order: 0, account: 0, buys: false, price: 0, quantity: 0, priority: 0 };

impl Order {
    fn words(&self) -> [u64; ORDER_WORDS] {
        let owner = u64::from(self.account) << 1 | u64::from(self.buys);
        [self.order, owner, self.price as u64, self.quantity, self.priority]
    }

    fn of_words([order, owner, price, quantity, priority]: [u64; ORDER_WORDS]) -> Option<Self> {
        let account = u32::try_from(owner >> 1).ok()?;
        (quantity > 0).then_some(Self { order, account, buys: owner & 1 == 1, price: price as i64, quantity, priority })
    }

    fn hash(&self) -> u64 {
        hash(1, &self.words())
    }
}

/// What an account has open and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Orders that rest.
    pub open_orders: u64,
    /// Their quantity.
    pub open_quantity: u128,
    /// Quantity bought less quantity sold.
    pub position: i128,
    /// Paid less received, in price units times quantity units.
    pub paid: i128,
}

const ACCOUNT_WORDS: usize = 8;

impl Account {
    fn opened(&mut self, quantity: u64) {
        self.open_orders += 1;
        self.open_quantity += u128::from(quantity);
    }

    fn closed(&mut self, quantity: u64) {
        self.open_orders -= 1;
        self.open_quantity -= u128::from(quantity);
    }

    fn words(&self, account: u32) -> [u64; ACCOUNT_WORDS] {
        let (quantity, position, paid) = (self.open_quantity, self.position as u128, self.paid as u128);
        let halves = |word: u128| [word as u64, (word >> 64) as u64];
        let ([q0, q1], [p0, p1], [m0, m1]) = (halves(quantity), halves(position), halves(paid));
        [u64::from(account), self.open_orders, q0, q1, p0, p1, m0, m1]
    }

    fn of_words([account, open_orders, q0, q1, p0, p1, m0, m1]: [u64; ACCOUNT_WORDS]) -> Option<(u32, Self)> {
        let whole = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        let (open_quantity, position, paid) = (whole(q0, q1), whole(p0, p1) as i128, whole(m0, m1) as i128);
        Some((u32::try_from(account).ok()?, Self { open_orders, open_quantity, position, paid }))
    }

    fn hash(&self, account: u32) -> u64 {
        hash(2, &self.words(account))
    }
}

/// With its share of the sum, so that a change hashes only what comes of it. Hashing is most of a command's work.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed<T> {
    value: T,
    hash: u64,
}

/// Open orders and accounts.
#[derive(Debug, Clone, Default)]
pub struct OrderStore {
    orders: OrderTable,
    /// By number; `None` for one that never had an order.
    accounts: Vec<Option<Hashed<Account>>>,
    sequence: u64,
    refused: u64,
    /// Sum of the hashes of all orders and accounts.
    sum: u64,
}

impl OrderStore {
    /// Without orders.
    pub fn new() -> Self {
        Self::default()
    }

    /// Orders that rest.
    pub fn order_count(&self) -> usize {
        self.orders.count
    }

    /// The resting order of this id.
    pub fn order(&self, order: u64) -> Option<Order> {
        self.orders.place_of(order).map(|place| self.orders.at(place))
    }

    /// Accounts that ever had an order, by number.
    pub fn accounts(&self) -> impl Iterator<Item = (u32, &Account)> {
        (0..).zip(&self.accounts).filter_map(|(account, found)| Some((account, &found.as_ref()?.value)))
    }

    /// Commands that made no sense.
    pub fn refused_count(&self) -> u64 {
        self.refused
    }

    /// Last message applied.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Does what the command says; `false` if it makes no sense.
    fn execute(&mut self, sequence: u64, command: Command) -> bool {
        match command {
            Command::Add { order, account, buys, price, quantity } => {
                if quantity == 0 || account >= ACCOUNT_COUNT_MAX {
                    return false;
                }
                let added = Order { order, account, buys, price, quantity, priority: sequence };
                if !self.orders.insert(added) {
                    return false;
                }
                self.sum = self.sum.wrapping_add(added.hash());
                self.change_account(account, |account| account.opened(quantity));
            }
            Command::Cancel { order } => {
                let Some(place) = self.orders.place_of(order) else { return false };
                let found = self.orders.remove(place);
                self.sum = self.sum.wrapping_sub(found.hash());
                self.change_account(found.account, |account| account.closed(found.quantity));
            }
            Command::Replace { order, price, quantity } => {
                if quantity == 0 {
                    return false;
                }
                let Some(place) = self.orders.place_of(order) else { return false };
                let found = self.orders.at(place);
                self.put(place, Order { price, quantity, priority: sequence, ..found });
                self.change_account(found.account, |account| {
                    account.closed(found.quantity);
                    account.opened(quantity);
                });
            }
            Command::Execute { order, quantity } => {
                if quantity == 0 {
                    return false;
                }
                let Some(place) = self.orders.place_of(order) else { return false };
                let found = self.orders.at(place);
                let executed = quantity.min(found.quantity);
                let left = found.quantity - executed;
                if left == 0 {
                    self.orders.remove(place);
                    self.sum = self.sum.wrapping_sub(found.hash());
                } else {
                    self.put(place, Order { quantity: left, ..found });
                }
                self.change_account(found.account, |account| {
                    let quantity = if found.buys { i128::from(executed) } else { -i128::from(executed) };
                    account.position = account.position.wrapping_add(quantity);
                    account.paid = account.paid.wrapping_add(quantity.wrapping_mul(i128::from(found.price)));
                    account.closed(found.quantity);
                    if left > 0 {
                        account.opened(left);
                    }
                });
            }
        }
        true
    }

    /// Another order of the same id in its place.
    fn put(&mut self, place: usize, order: Order) {
        let before = self.orders.replace(place, order);
        self.sum = self.sum.wrapping_sub(before.hash()).wrapping_add(order.hash());
    }

    fn change_account(&mut self, account: u32, change: impl FnOnce(&mut Account)) {
        let index = account as usize;
        if index >= self.accounts.len() {
            self.accounts.resize(index + 1, None);
        }
        let found = self.accounts[index].get_or_insert_default();
        change(&mut found.value);
        let before = std::mem::replace(&mut found.hash, found.value.hash(account));
        self.sum = self.sum.wrapping_sub(before).wrapping_add(found.hash);
    }

    fn hash_with(&self, sum: u64) -> u64 {
        hash(3, &[sum, self.sequence, self.refused, self.orders.count as u64])
    }
}

impl State for OrderStore {
    fn kind(&self) -> &str {
        KIND
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn apply(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StateError> {
        let refuse = |reason: String| Err(StateError::Message { kind: KIND.into(), sequence, reason });
        if sequence != self.sequence + 1 {
            return refuse(format!("message {} is the next", self.sequence + 1));
        }
        let Some(command) = Command::decode(payload) else { return refuse("no command".into()) };
        self.sequence = sequence;
        self.refused += u64::from(!self.execute(sequence, command));
        Ok(())
    }

    fn state_hash(&self) -> u64 {
        self.hash_with(self.sum)
    }

    /// From the orders; of the accounts only what their orders do not tell is taken as it is kept.
    fn recomputed_state_hash(&self) -> Option<u64> {
        let closed = |found: &Option<Hashed<Account>>| {
            found.map(|kept| Account { open_orders: 0, open_quantity: 0, ..kept.value })
        };
        let mut accounts: Vec<Option<Account>> = self.accounts.iter().map(closed).collect();
        let mut sum: u64 = 0;
        for order in self.orders.iter() {
            sum = sum.wrapping_add(order.hash());
            if let Some(owner) = accounts.get_mut(order.account as usize) {
                owner.get_or_insert_default().opened(order.quantity);
            }
        }
        for (account, found) in (0..).zip(&accounts) {
            sum = sum.wrapping_add(found.map_or(0, |found| found.hash(account)));
        }
        Some(self.hash_with(sum))
    }

    /// Counts, then orders by id, then accounts by id.
    fn save(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let counts = [self.sequence, self.refused, self.orders.count as u64, self.accounts().count() as u64];
        out.write_all(&bytes_of(&counts))?;
        let mut orders: Vec<Order> = self.orders.iter().copied().collect();
        orders.sort_unstable_by_key(|order| order.order);
        let mut piece = Vec::with_capacity(1 << 16);
        for orders in orders.chunks(1024) {
            piece.clear();
            orders.iter().for_each(|order| piece.extend_from_slice(&bytes_of(&order.words())));
            out.write_all(&piece)?;
        }
        for (account, found) in self.accounts() {
            out.write_all(&bytes_of(&found.words(account)))?;
        }
        Ok(())
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let refuse = |rest: &[u8], reason: &str| StateError::Saved {
            kind: KIND.into(),
            offset: (bytes.len() - rest.len()) as u64,
            reason: reason.into(),
        };
        let (head, mut rest) = bytes.split_first_chunk().ok_or_else(|| refuse(bytes, "too short for its counts"))?;
        let [sequence, refused, order_count, account_count] = words_of::<4, 32>(head);
        let size = |count: u64, words: usize| usize::try_from(count).ok()?.checked_mul(words * 8);
        let expected =
            size(order_count, ORDER_WORDS).and_then(|orders| orders.checked_add(size(account_count, ACCOUNT_WORDS)?));
        if expected != Some(rest.len()) {
            return Err(refuse(rest, "its counts say another size"));
        }
        *self = Self { sequence, refused, ..Self::default() };
        self.orders.reserve(order_count as usize);
        let mut before = None;
        for _ in 0..order_count {
            let (words, after) = rest.split_first_chunk().ok_or_else(|| refuse(rest, "no order"))?;
            let order = Order::of_words(words_of::<ORDER_WORDS, 40>(words)).ok_or_else(|| refuse(rest, "no order"))?;
            if before.replace(order.order) >= Some(order.order) {
                return Err(refuse(rest, "orders do not rise"));
            }
            self.orders.insert(order);
            self.sum = self.sum.wrapping_add(order.hash());
            rest = after;
        }
        for _ in 0..account_count {
            let (words, after) = rest.split_first_chunk().ok_or_else(|| refuse(rest, "no account"))?;
            let (account, found) = Account::of_words(words_of::<ACCOUNT_WORDS, 64>(words))
                .filter(|&(account, _)| account < ACCOUNT_COUNT_MAX && account as usize >= self.accounts.len())
                .ok_or_else(|| refuse(rest, "no account"))?;
            self.accounts.resize(account as usize, None);
            let hash = found.hash(account);
            self.accounts.push(Some(Hashed { value: found, hash }));
            self.sum = self.sum.wrapping_add(hash);
            rest = after;
        }
        Ok(())
    }
}

/// Orders whose ids differ only in so many bits are neighbours: ids are given in a row, and a row that lies apart is a miss of the cache for each
/// order. Longer rows would fill where others lie already.
const BLOCK_BITS: u32 = 3;

/// Orders by id: open addressing, linear probing, no tombstones.
#[derive(Debug, Clone, Default)]
struct OrderTable {
    places: Vec<Order>,
    count: usize,
}

impl OrderTable {
    fn home(&self, order: u64) -> usize {
        let block = (order >> BLOCK_BITS).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        (block << BLOCK_BITS | order & ((1 << BLOCK_BITS) - 1)) as usize & (self.places.len() - 1)
    }

    /// Where the order is, or the free place where it would be.
    fn find(&self, order: u64) -> usize {
        let mut place = self.home(order);
        while self.places[place].quantity != 0 && self.places[place].order != order {
            place = (place + 1) & (self.places.len() - 1);
        }
        place
    }

    fn place_of(&self, order: u64) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        Some(self.find(order)).filter(|&place| self.places[place].quantity != 0)
    }

    fn at(&self, place: usize) -> Order {
        self.places[place]
    }

    fn replace(&mut self, place: usize, order: Order) -> Order {
        std::mem::replace(&mut self.places[place], order)
    }

    /// `false` if one of its id is there.
    fn insert(&mut self, order: Order) -> bool {
        self.reserve(self.count + 1);
        let place = self.find(order.order);
        if self.places[place].quantity != 0 {
            return false;
        }
        self.places[place] = order;
        self.count += 1;
        true
    }

    fn remove(&mut self, place: usize) -> Order {
        let found = self.places[place];
        let mask = self.places.len() - 1;
        let mut hole = place;
        let mut next = (hole + 1) & mask;
        while self.places[next].quantity != 0 {
            // One may fill the hole if its home is not behind it.
            let home = self.home(self.places[next].order);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.places[hole] = NO_ORDER;
        self.count -= 1;
        found
    }

    /// Makes room for `count` orders, at most three of four places taken.
    fn reserve(&mut self, count: usize) {
        let size = (count + count / 3 + 1).next_power_of_two().max(64);
        if size > self.places.len() {
            let before = std::mem::replace(&mut self.places, vec![NO_ORDER; size]);
            for order in before.into_iter().filter(|order| order.quantity != 0) {
                let place = self.find(order.order);
                self.places[place] = order;
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Order> {
        self.places.iter().filter(|order| order.quantity != 0)
    }
}

/// Commands that follow from a seed and their number alone.
#[derive(Debug, Clone, Copy)]
pub struct OrderFlow {
    seed: u64,
    window: u64,
}

impl OrderFlow {
    /// The flow of `seed`; commands are about orders among the last 10,000 messages.
    pub const fn new(seed: u64) -> Self {
        Self { seed, window: 10_000 }
    }

    /// The same, about orders among the last `window` messages: about a quarter as many rest from when on the flow is
    /// longer, and those that were never asked for stay for ever.
    #[must_use]
    pub const fn with_window(self, window: u64) -> Self {
        Self { window, ..self }
    }

    fn random(&self, sequence: u64) -> Random {
        Random::new(self.seed ^ sequence.wrapping_mul(0xd129_0d3f_6d1c_9e35))
    }

    /// Whether the command of this number adds an order; its id is then the number.
    fn adds(&self, sequence: u64) -> bool {
        sequence <= 2 || self.random(sequence).below(100) < 45
    }

    /// Command `sequence`, from 1 on.
    pub fn command(&self, sequence: u64) -> Command {
        let mut random = self.random(sequence);
        let kind = random.below(100);
        let (price, quantity) = (random.below(2_000) as i64 - 500, random.below(100) + 1);
        if self.adds(sequence) {
            let (account, buys) = (random.below(1_000) as u32, random.chance(1, 2));
            return Command::Add { order: sequence, account, buys, price, quantity };
        }
        // Mostly an order that was added; what happened to it since is not looked at, so some commands are refused.
        let mut order = sequence - 1 - random.below(self.window.min(sequence - 1));
        while order > 1 && !self.adds(order) && !random.chance(1, 50) {
            order -= 1;
        }
        match kind {
            45..70 => Command::Cancel { order },
            70..85 => Command::Replace { order, price, quantity },
            _ => Command::Execute { order, quantity },
        }
    }

    /// As a message.
    pub fn payload(&self, sequence: u64) -> [u8; COMMAND_SIZE_BYTES] {
        self.command(sequence).encode()
    }

    /// The state after commands 1 to `last`, by itself: what an unbroken run comes to.
    ///
    /// # Panics
    /// Never: the flow's commands are commands.
    pub fn state_at(&self, last: u64) -> OrderStore {
        let mut state = OrderStore::new();
        for sequence in 1..=last {
            state.apply(sequence, &self.payload(sequence)).expect("a command of the flow");
        }
        state
    }
}

fn bytes_of<const N: usize>(words: &[u64; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn words_of<const N: usize, const BYTES: usize>(bytes: &[u8; BYTES]) -> [u64; N] {
    const { assert!(N * 8 == BYTES) };
    std::array::from_fn(|index| u64::from_le_bytes(std::array::from_fn(|byte| bytes[index * 8 + byte])))
}

/// Keyed by what kind of thing the words are; each word folds into a product of 128 bits.
fn hash(key: u64, words: &[u64]) -> u64 {
    words.iter().fold(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), |hash, word| {
        let product = u128::from(hash ^ word ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db_u128;
        (product as u64 ^ (product >> 64) as u64).wrapping_add(0x8ebc_6af0_9c88_c6e3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Method: the same rules over plain maps, with the hash computed anew again and again.
    #[test]
    fn the_store_agrees_with_plain_maps_at_each_command() {
        let flow = OrderFlow::new(7).with_window(300);
        let mut store = OrderStore::new();
        let mut orders: BTreeMap<u64, Order> = BTreeMap::new();
        let mut refused = 0;
        for sequence in 1..=5_000 {
            let command = flow.command(sequence);
            assert_eq!(Command::decode(&command.encode()), Some(command));
            store.apply(sequence, &command.encode()).unwrap();
            let done = match command {
                Command::Add { order, account, buys, price, quantity } => {
                    let added = Order { order, account, buys, price, quantity, priority: sequence };
                    orders.insert(order, added).is_none()
                }
                Command::Cancel { order } => orders.remove(&order).is_some(),
                Command::Replace { order, price, quantity } => orders.get_mut(&order).is_some_and(|found| {
                    *found = Order { price, quantity, priority: sequence, ..*found };
                    true
                }),
                Command::Execute { order, quantity } => orders.remove(&order).is_some_and(|found| {
                    if found.quantity > quantity {
                        orders.insert(order, Order { quantity: found.quantity - quantity, ..found });
                    }
                    true
                }),
            };
            refused += u64::from(!done);
            if sequence.is_multiple_of(17) {
                assert_eq!(Some(store.state_hash()), store.recomputed_state_hash(), "command {sequence}");
            }
        }
        let mut found: Vec<Order> = store.orders.iter().copied().collect();
        found.sort_unstable_by_key(|order| order.order);
        assert_eq!(found, orders.into_values().collect::<Vec<_>>());
        assert_eq!(store.refused_count(), refused);
        assert!(refused > 100 && store.order_count() > 500, "{refused} refused, {} open", store.order_count());
    }

    #[test]
    fn what_was_saved_loads_as_the_same_state_and_saves_the_same_bytes() {
        let flow = OrderFlow::new(8);
        for last in [1, 2, 100, 3_000] {
            let mut state = flow.state_at(last);
            let mut saved = Vec::new();
            state.save(&mut saved).unwrap();
            let mut loaded = OrderStore::new();
            loaded.load(&saved).unwrap();
            let mut again = Vec::new();
            loaded.save(&mut again).unwrap();
            assert_eq!((loaded.state_hash(), &again), (state.state_hash(), &saved), "{last}");
            for sequence in last + 1..last + 200 {
                state.apply(sequence, &flow.payload(sequence)).unwrap();
                loaded.apply(sequence, &flow.payload(sequence)).unwrap();
            }
            assert_eq!(loaded.state_hash(), state.state_hash(), "{last}");
            for size in 0..saved.len().min(300) {
                OrderStore::new().load(&saved[..size]).unwrap_err();
            }
        }
    }

    #[test]
    fn any_change_of_the_state_changes_the_hash() {
        let state = OrderFlow::new(9).state_at(40);
        let mut saved = Vec::new();
        state.save(&mut saved).unwrap();
        for bit in 0..saved.len() * 8 {
            let mut changed = saved.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut loaded = OrderStore::new();
            if loaded.load(&changed).is_ok() {
                assert_ne!(loaded.state_hash(), state.state_hash(), "bit {bit}");
            }
        }
    }
}
