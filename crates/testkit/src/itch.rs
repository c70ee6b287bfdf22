//! A seeded day of TotalView-ITCH 5.0, encoded field by field as the exchange's page says, with what every message says
//! beside it: made by a naive book of orders that knows nothing of the decoder.

use std::collections::{BTreeMap, HashMap};

use tidebook_types::records::{ORDER_ADD, ORDER_CANCEL, ORDER_DELETE, ORDER_EXECUTE, SIDE_BUY, SIDE_NONE, SIDE_SELL};

use crate::Random;

/// A message under construction: fields are appended in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItchMessage(Vec<u8>);

impl ItchMessage {
    /// The fields that every message begins with.
    pub fn new(kind: u8, locate: u16, tracking: u16, since_midnight_ns: u64) -> Self {
        let mut bytes = vec![kind];
        bytes.extend(locate.to_be_bytes());
        bytes.extend(tracking.to_be_bytes());
        bytes.extend(&since_midnight_ns.to_be_bytes()[2..]);
        Self(bytes)
    }

    /// Letters, padded with spaces to `width`.
    #[must_use]
    pub fn alpha(mut self, text: &str, width: usize) -> Self {
        self.0.extend(format!("{text:<width$}").bytes());
        self
    }

    /// A number of four bytes, or a price with four decimals.
    #[must_use]
    pub fn four(mut self, number: i64) -> Self {
        self.0.extend(u32::try_from(number).expect("a number of four bytes").to_be_bytes());
        self
    }

    /// A number of eight bytes.
    #[must_use]
    pub fn eight(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// The whole message.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// What a message says of one order, or a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItchTold {
    /// Stock, action, order id, side, price, size, what rests.
    Order(usize, u8, u64, i8, i64, i64, i64),
    /// Stock, id, price, size, aggressor.
    Trade(usize, u64, i64, i64, i8),
    /// Stock; trading is halted.
    Halted(usize),
    /// Stock; trading goes on.
    Resumed(usize),
    /// Stock, id of a trade that is void.
    Broken(usize, u64),
}

/// A day.
#[derive(Debug, Clone)]
pub struct ItchDay {
    /// Symbols, in the order of the directory.
    pub symbols: Vec<String>,
    /// Every message with what it says.
    pub messages: Vec<(Vec<u8>, Vec<ItchTold>)>,
    /// Best bid and ask of every stock, price and size, behind the first `tops_at` messages.
    pub tops: Vec<[Option<(i64, i64)>; 2]>,
    /// Behind them every order that rests is deleted.
    pub tops_at: usize,
}

impl ItchDay {
    /// As a file: every message behind its length, and a length of 0.
    pub fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for (body, _) in &self.messages {
            file.extend(u16::try_from(body.len()).expect("a short message").to_be_bytes());
            file.extend(body);
        }
        file.extend([0, 0]);
        file
    }
}

#[derive(Debug, Clone, Copy)]
struct Resting {
    stock: usize,
    side: i8,
    price: i64,
    size: i64,
}

/// What a day looks like.
#[derive(Debug, Clone, Copy)]
pub struct ItchFlow {
    /// Fixes everything else.
    pub seed: u64,
    /// Stocks in the directory.
    pub stocks: usize,
    /// Messages between the directory and the end of the day.
    pub steps: usize,
}

/// A day under construction.
struct Desk {
    random: Random,
    /// Names of the stocks and their numbers of the day, which do not follow the names.
    symbols: Vec<String>,
    locates: Vec<u16>,
    now_ns: u64,
    orders: BTreeMap<u64, Resting>,
    next_order: u64,
    next_match: u64,
    messages: Vec<(Vec<u8>, Vec<ItchTold>)>,
}

impl ItchFlow {
    /// The day.
    pub fn day(&self) -> ItchDay {
        let mut random = Random::new(self.seed);
        // Names of one to five letters, with classes behind a point.
        let name = |index: usize| {
            let letters = [index / 676, index / 26 % 26, index % 26].map(|letter| (b'A' + letter as u8 % 26) as char);
            let text: String = letters.iter().collect();
            if index.is_multiple_of(7) { format!("{text}.B") } else { text }
        };
        let symbols: Vec<_> = (0..self.stocks).map(name).collect();
        let mut locates: Vec<u16> = (0..self.stocks).map(|index| 3 * index as u16 + 1).collect();
        for index in (1..locates.len()).rev() {
            locates.swap(index, random.index(index + 1));
        }
        let mut desk = Desk {
            random,
            symbols,
            locates,
            now_ns: 11_000_000_000_000,
            orders: BTreeMap::new(),
            next_order: 1,
            next_match: 1,
            messages: Vec::new(),
        };
        desk.morning();
        for _ in 0..self.steps {
            desk.step();
        }
        let tops = (0..self.stocks).map(|stock| desk.tops(stock)).collect();
        let tops_at = desk.messages.len();
        while let Some(&id) = desk.orders.keys().next() {
            desk.delete(id);
        }
        for code in ["M", "E", "C"] {
            desk.event(code);
        }
        ItchDay { symbols: desk.symbols, messages: desk.messages, tops, tops_at }
    }
}

impl Desk {
    /// A message of a stock, some time after the one before.
    fn message(&mut self, kind: u8, stock: usize) -> ItchMessage {
        self.now_ns += 1 + self.random.below(2_000_000);
        let tracking = 2 * self.random.below(4) as u16;
        ItchMessage::new(kind, self.locates[stock], tracking, self.now_ns)
    }

    fn say(&mut self, message: ItchMessage, told: Vec<ItchTold>) {
        self.messages.push((message.bytes(), told));
    }

    fn event(&mut self, code: &str) {
        self.now_ns += 1;
        let message = ItchMessage::new(b'S', 0, 0, self.now_ns).alpha(code, 1);
        self.say(message, Vec::new());
    }

    fn morning(&mut self) {
        self.event("O");
        for stock in 0..self.symbols.len() {
            let symbol = self.symbols[stock].clone();
            let lot = if stock.is_multiple_of(5) { 10 } else { 100 };
            let message = self.message(b'R', stock).alpha(&symbol, 8).alpha("Q", 1).alpha("N", 1).four(lot);
            let message = message.alpha("N", 1).alpha("C", 1).alpha("Z", 2).alpha("P", 1).alpha("N", 1).alpha("N", 1);
            let message = message.alpha("1", 1).alpha("N", 1).four(0).alpha("N", 1);
            self.say(message, Vec::new());
        }
        for stock in 0..self.symbols.len() {
            self.trading(stock, "T");
            let symbol = self.symbols[stock].clone();
            let message = self.message(b'Y', stock).alpha(&symbol, 8).alpha("0", 1);
            self.say(message, Vec::new());
            let message = self.message(b'L', stock).alpha("MKTM", 4).alpha(&symbol, 8).alpha("YNA", 3);
            self.say(message, Vec::new());
        }
        self.now_ns += 1;
        let levels = ItchMessage::new(b'V', 0, 0, self.now_ns).eight(276_914_000_000).eight(1).eight(2);
        self.say(levels, Vec::new());
        for code in ["S", "Q"] {
            self.event(code);
        }
    }

    fn trading(&mut self, stock: usize, state: &str) {
        let symbol = self.symbols[stock].clone();
        let reason = if state == "H" { "T1" } else { "" };
        let message = self.message(b'H', stock).alpha(&symbol, 8).alpha(state, 1).alpha("", 1).alpha(reason, 4);
        let told = match state {
            "H" | "P" => vec![ItchTold::Halted(stock)],
            "T" => vec![ItchTold::Resumed(stock)],
            _ => Vec::new(),
        };
        self.say(message, told);
    }

    fn add(&mut self) {
        let stock = self.random.index(self.symbols.len());
        let (side, letter) = if self.random.chance(1, 2) { (SIDE_BUY, "B") } else { (SIDE_SELL, "S") };
        // Bids begin below asks; replacements may carry them past each other, which no order cares about.
        let price = 100 * (1 + self.random.below(500)) as i64 + if side == SIDE_BUY { 1_000_000 } else { 1_050_100 };
        let size = 1 + self.random.below(900) as i64;
        self.next_order += 1 + self.random.below(5);
        let id = self.next_order;
        let attributed = self.random.chance(1, 4);
        let symbol = self.symbols[stock].clone();
        let message = self.message(if attributed { b'F' } else { b'A' }, stock).eight(id).alpha(letter, 1).four(size);
        let message = message.alpha(&symbol, 8).four(price);
        let message = if attributed { message.alpha("NITE", 4) } else { message };
        self.orders.insert(id, Resting { stock, side, price, size });
        self.say(message, vec![ItchTold::Order(stock, ORDER_ADD, id, side, price, size, size)]);
    }

    /// Takes `size` off an order, which is gone when nothing rests; says what rests.
    fn take(&mut self, id: u64, size: i64) -> i64 {
        let order = self.orders.get_mut(&id).expect("an order that rests");
        order.size -= size;
        let rests = order.size;
        if rests == 0 {
            self.orders.remove(&id);
        }
        rests
    }

    fn step(&mut self) {
        if self.orders.is_empty() || self.random.chance(2, 5) {
            return self.add();
        }
        let place = self.random.index(self.orders.len().min(200));
        let (&id, &Resting { stock, side, price, size }) = self.orders.iter().nth(place).expect("one of them");
        let symbol = self.symbols[stock].clone();
        match self.random.below(20) {
            0..=4 => self.delete(id),
            5..=6 => {
                let cut = 1 + self.random.below(size as u64) as i64;
                let message = self.message(b'X', stock).eight(id).four(cut);
                let rests = self.take(id, cut);
                self.say(message, vec![ItchTold::Order(stock, ORDER_CANCEL, id, side, price, cut, rests)]);
            }
            7..=9 => self.fill(id, None),
            10 => self.fill(id, Some("Y")),
            11 => self.fill(id, Some("N")),
            12..=14 => {
                self.next_order += 1 + self.random.below(5);
                let (by, price_by) = (self.next_order, price + 100 * (self.random.below(3) as i64 - 1));
                let size_by = 1 + self.random.below(900) as i64;
                let message = self.message(b'U', stock).eight(id).eight(by).four(size_by).four(price_by);
                self.take(id, size);
                self.orders.insert(by, Resting { stock, side, price: price_by, size: size_by });
                let old = ItchTold::Order(stock, ORDER_DELETE, id, side, price, size, 0);
                let new = ItchTold::Order(stock, ORDER_ADD, by, side, price_by, size_by, size_by);
                self.say(message, vec![old, new]);
            }
            15 => {
                self.next_match += 1 + self.random.below(9);
                let (size, number) = (1 + self.random.below(900) as i64, self.next_match);
                let message = self.message(b'P', stock).eight(0).alpha("B", 1).four(size).alpha(&symbol, 8);
                let message = message.four(price).eight(number);
                let order = ItchTold::Order(stock, ORDER_EXECUTE, 0, SIDE_NONE, price, size, 0);
                self.say(message, vec![order, ItchTold::Trade(stock, number, price, size, SIDE_NONE)]);
            }
            16 => {
                self.next_match += 1 + self.random.below(9);
                let (filled, number) = (self.random.chance(1, 2), self.next_match);
                let size = if filled { 1 + self.random.below(1 << 34) } else { 0 };
                let paid = if filled { price } else { 0 };
                let message = self.message(b'Q', stock).eight(size).alpha(&symbol, 8).four(paid).eight(number);
                let trade = ItchTold::Trade(stock, number, paid, size as i64, SIDE_NONE);
                self.say(message.alpha("O", 1), if filled { vec![trade] } else { Vec::new() });
            }
            17 => {
                let state = ["H", "P", "Q", "T"][self.random.index(4)];
                self.trading(stock, state);
            }
            18 => {
                let number = 1 + self.random.below(self.next_match);
                let message = self.message(b'B', stock).eight(number);
                self.say(message, vec![ItchTold::Broken(stock, number)]);
            }
            _ => self.aside(stock, &symbol),
        }
    }

    fn delete(&mut self, id: u64) {
        let Resting { stock, side, price, size } = self.orders[&id];
        let message = self.message(b'D', stock).eight(id);
        self.take(id, size);
        self.say(message, vec![ItchTold::Order(stock, ORDER_DELETE, id, side, price, size, 0)]);
    }

    /// A fill at the order's price, or at another one that is printed or not.
    fn fill(&mut self, id: u64, printed: Option<&str>) {
        let Resting { stock, side, price, size } = self.orders[&id];
        let filled = 1 + self.random.below(size as u64) as i64;
        self.next_match += 1 + self.random.below(9);
        let number = self.next_match;
        let message = self.message(if printed.is_some() { b'C' } else { b'E' }, stock).eight(id).four(filled);
        let message = message.eight(number);
        let paid = if printed.is_some() { price + 50 } else { price };
        let message = match printed {
            Some(letter) => message.alpha(letter, 1).four(paid),
            None => message,
        };
        let rests = self.take(id, filled);
        let mut told = vec![ItchTold::Order(stock, ORDER_EXECUTE, id, side, price, filled, rests)];
        if printed != Some("N") {
            told.push(ItchTold::Trade(stock, number, paid, filled, -side));
        }
        self.say(message, told);
    }

    /// Messages that say nothing of orders, trades or trading on this exchange.
    fn aside(&mut self, stock: usize, symbol: &str) {
        let kind = b"IJKNOWh"[self.random.index(7)];
        let message = self.message(kind, stock);
        let message = match kind {
            b'I' => {
                let message = message.eight(5_000).eight(100).alpha("B", 1).alpha(symbol, 8);
                message.four(1_010_000).four(1_010_100).four(1_010_200).alpha("O", 1).alpha("L", 1)
            }
            b'J' => message.alpha(symbol, 8).four(1_010_000).four(1_060_000).four(960_000).four(1),
            b'K' => message.alpha(symbol, 8).four(34_500).alpha("A", 1).four(1_000_000),
            b'N' => message.alpha(symbol, 8).alpha("A", 1),
            b'O' => {
                let message = message.alpha(symbol, 8).alpha("Y", 1).four(900_000).four(1_100_000).four(1_000_000);
                message.eight(36_000_000_000_000).four(950_000).four(1_050_000)
            }
            b'W' => message.alpha("1", 1),
            _ => message.alpha(symbol, 8).alpha("B", 1).alpha("H", 1),
        };
        self.say(message, Vec::new());
    }

    fn tops(&self, stock: usize) -> [Option<(i64, i64)>; 2] {
        let mut sides: [HashMap<i64, i64>; 2] = Default::default();
        for order in self.orders.values().filter(|order| order.stock == stock) {
            *sides[usize::from(order.side == SIDE_SELL)].entry(order.price).or_default() += order.size;
        }
        let level = |(price, size): (&i64, &i64)| (*price, *size);
        [sides[0].iter().max_by_key(|level| level.0).map(level), sides[1].iter().min_by_key(|level| level.0).map(level)]
    }
}
