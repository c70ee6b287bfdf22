//! Seeded streams of commands of every kind, tuned so that much of them does something: orders trade, stops cascade, pegs move, auctions uncross.
//!
//! The flow is told what was said to its commands, so that it cancels and replaces orders that are there and prices new ones around the last trade.
//! Each command keeps its own sequence, so a stream from which some were removed still means the same by each id.

use tidebook_types::command::{
    ACCOUNT_OWN_FEES, AccountBody, BandAction, CANCEL_ON_DISCONNECT, CancelAllAfterBody, CancelBody, Command,
    CommandKind, InstrumentBody, MassCancelBody, OrderType, POST_ONLY, Peg, PlaceBody, PlacePairBody, ReplaceBody,
    SelfTrade, Session, SessionBody, TimeInForce, UNITS_MAX, Verdict,
};
use tidebook_types::execution::{Execution, ExecutionKind};
use tidebook_types::records::{SIDE_BUY, SIDE_SELL};

use crate::Random;

/// What a stream has most of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// A bit of everything.
    Everything,
    /// Limit and market orders, cancels and replaces.
    Plain,
    /// Stops, trailing stops, pairs, and the trades that reach them.
    Stops,
    /// Pegged orders around a moving book.
    Pegs,
    /// Few owners, in groups, with every self-trade mode.
    Owners,
    /// Sessions change often.
    Auctions,
    /// A narrow band that halts.
    Bands,
    /// Orders with an end, switches, disconnects.
    Time,
    /// Many levels, some of them very far away.
    Wide,
    /// Fields without meaning, extreme values, random bytes.
    Hostile,
}

impl Mix {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Everything,
        Self::Plain,
        Self::Stops,
        Self::Pegs,
        Self::Owners,
        Self::Auctions,
        Self::Bands,
        Self::Time,
        Self::Wide,
        Self::Hostile,
    ];
}

const INSTRUMENTS: u32 = 3;
/// Open orders of an instrument beyond which more are cancelled than placed.
const CROWD: usize = 40;

#[derive(Debug, Clone, Copy)]
struct Listed {
    terms: InstrumentBody,
    session: Session,
    middle: i64,
}

#[derive(Debug, Clone, Copy)]
struct Live {
    order_id: u64,
    account: u32,
    instrument_id: u32,
    price: i64,
    size: i64,
    /// How it was placed; a pair as its limit leg.
    body: PlaceBody,
}

/// A stream of commands; see [`MatchingFlow::next_command`] and [`MatchingFlow::observe`].
#[derive(Debug, Clone)]
pub struct MatchingFlow {
    random: Random,
    mix: Mix,
    sequence: u64,
    ts: i64,
    accounts: u32,
    listed: Vec<Listed>,
    live: Vec<Live>,
    /// The order that was sent last.
    sent: PlaceBody,
    /// The first commands, last one first.
    setup: Vec<Command>,
}

impl MatchingFlow {
    /// The stream of this seed, on three instruments.
    pub fn new(seed: u64, mix: Mix) -> Self {
        Self::on(seed, mix, INSTRUMENTS)
    }

    /// The stream of this seed on so many instruments.
    pub fn on(seed: u64, mix: Mix, instruments: u32) -> Self {
        let mut random = Random::new(seed);
        let accounts = if mix == Mix::Owners { 3 } else { 6 };
        let mut setup = Vec::new();
        let mut list = || {
            let tick = [1, 1, 5, 25][random.index(4)];
            let lot = [1, 1, 10][random.index(3)];
            let banded = mix == Mix::Bands || (mix == Mix::Everything && random.chance(1, 3));
            let middle = 1000 * tick;
            let terms = InstrumentBody {
                tick,
                lot,
                size_min: lot * [0, 1, 2][random.index(3)],
                size_max: 1000 * lot,
                reference_price: if banded { middle } else { [0, middle][random.index(2)] },
                band_ppm: if banded { 4_000 } else { 0 },
                maker_ppm: [0, -100, 250][random.index(3)],
                taker_ppm: [0, 500, 333][random.index(3)],
                size_exp: [0, 1, 3][random.index(3)],
                price_exp: 2,
                band_action: BandAction::ALL[random.index(2)].code(),
                ..InstrumentBody::default()
            };
            Listed { terms, session: Session::Closed, middle }
        };
        let mut listed: Vec<_> = (0..instruments).map(|_| list()).collect();
        for account in 1..=accounts {
            let grouped = mix == Mix::Owners || random.chance(1, 4);
            let body = AccountBody {
                group: if grouped { 1 + account / 2 } else { 0 },
                maker_ppm: 77,
                taker_ppm: 99,
                flags: if random.chance(1, 4) { ACCOUNT_OWN_FEES } else { 0 },
                ..AccountBody::default()
            };
            setup.push(Command::new(CommandKind::Account, account, 0, &body));
        }
        for (index, instrument) in listed.iter_mut().enumerate() {
            let id = index as u32 + 1;
            setup.push(Command::new(CommandKind::Instrument, 0, id, &instrument.terms));
            setup.push(session(id, [Session::Continuous, Session::Continuous, Session::PreOpen][random.index(3)]));
        }
        setup.reverse();
        Self {
            random,
            mix,
            sequence: 0,
            ts: 1_000,
            accounts,
            listed,
            live: Vec::new(),
            sent: PlaceBody::default(),
            setup,
        }
    }

    /// The next command and its sequence.
    pub fn next_command(&mut self) -> (u64, Command) {
        self.sequence += 1 + self.random.below(2);
        self.ts += [0, 0, 1, 7][self.random.index(4)];
        let command = match self.setup.pop() {
            Some(command) => command,
            None => {
                let command = self.draw();
                if self.mix == Mix::Hostile && self.random.chance(1, 4) { self.spoil(command) } else { command }
            }
        };
        let mut command = if command.head.ts == 0 { command.at(self.ts) } else { command };
        if self.random.chance(1, 300) {
            command.head.verdict = Verdict::Rejected.code();
        }
        (self.sequence, command)
    }

    /// What an engine said to the last command.
    pub fn observe(&mut self, executions: &[Execution]) {
        for e in executions {
            let Some(kind) = ExecutionKind::from_code(e.kind) else { continue };
            let listed = self.listed.get_mut((e.instrument_id as usize).wrapping_sub(1));
            let gone = e.remaining == 0;
            match kind {
                ExecutionKind::Accepted => self.live.push(Live {
                    order_id: e.order_id,
                    account: e.account,
                    instrument_id: e.instrument_id,
                    price: e.price,
                    size: e.size,
                    body: self.sent,
                }),
                ExecutionKind::Triggered => {
                    // From now on it is a limit order.
                    if let Some(live) = self.live.iter_mut().find(|live| live.order_id == e.order_id) {
                        (live.body.order_type, live.body.trigger_price) = (OrderType::Limit.code(), 0);
                    }
                }
                ExecutionKind::Fill => {
                    if let Some(listed) = listed {
                        listed.middle = e.price;
                    }
                    self.live.retain(|live| {
                        !(live.order_id == e.order_id && gone
                            || live.order_id == e.contra_order_id && e.contra_remaining == 0)
                    });
                }
                ExecutionKind::Cancelled => self.live.retain(|live| live.order_id != e.order_id),
                ExecutionKind::Reduced if gone => self.live.retain(|live| live.order_id != e.order_id),
                ExecutionKind::SessionChanged => {
                    if let (Some(listed), Some(session)) = (listed, Session::from_code(e.size as u8)) {
                        listed.session = session;
                    }
                }
                _ => {}
            }
        }
    }

    fn draw(&mut self) -> Command {
        let id = 1 + self.random.below(self.listed.len() as u64) as u32;
        let account = 1 + self.random.below(u64::from(self.accounts)) as u32;
        let here = self.live.iter().filter(|live| live.instrument_id == id).count();
        // A closed or halted instrument does not stay so for long.
        let open = self.listed[id as usize - 1].session == Session::Continuous;
        if self.mix == Mix::Auctions && self.random.chance(1, 30) {
            use Session::{Auction, Closed, Continuous, Halted, PreOpen};
            let to: &[Session] = if open {
                &[Auction, Auction, Closed, Halted]
            } else {
                &[Auction, Continuous, Continuous, PreOpen, Closed]
            };
            return session(id, to[self.random.index(to.len())]);
        }
        let often = if self.mix == Mix::Auctions { 100 } else { 25 };
        if self.random.chance(1, if open { 3_000 } else { often }) {
            let to = if self.random.chance(1, 3) { Session::ALL[self.random.index(5)] } else { Session::Continuous };
            return session(id, to);
        }
        if here > if self.mix == Mix::Wide { 3 * CROWD } else { CROWD } && self.random.chance(1, 2) {
            return if self.random.chance(1, 12) { self.mass_cancel(account, id) } else { self.cancel() };
        }
        let rare = if self.mix == Mix::Time { 8 } else { 60 };
        if self.random.chance(1, rare) {
            return match self.random.below(10) {
                0 => Command::bare(CommandKind::Disconnect, account),
                1..=3 => {
                    let body = CancelAllAfterBody {
                        timeout_ns: [0, 1, 20, 200][self.random.index(4)],
                        ..CancelAllAfterBody::default()
                    };
                    Command::new(CommandKind::CancelAllAfter, account, 0, &body)
                }
                4 | 5 => {
                    self.ts += self.random.below(60) as i64;
                    Command::bare(CommandKind::Timer, 0)
                }
                6 => self.mass_cancel(account, id),
                7 => self.instrument(id),
                8 => Command::bare([CommandKind::Kill, CommandKind::Limits][self.random.index(2)], account),
                _ => {
                    let body = AccountBody {
                        group: self.random.below(3) as u32,
                        taker_ppm: 1_234,
                        flags: if self.random.chance(1, 2) { ACCOUNT_OWN_FEES } else { 0 },
                        ..AccountBody::default()
                    };
                    Command::new(CommandKind::Account, account, 0, &body)
                }
            };
        }
        match self.random.below(20) {
            0..=2 => self.cancel(),
            3..=6 => self.replace(),
            7 if matches!(self.mix, Mix::Stops | Mix::Everything | Mix::Time | Mix::Hostile) => self.pair(account, id),
            _ => self.place(account, id),
        }
    }

    fn order_type(&mut self) -> OrderType {
        use OrderType::{Limit, Market, Pegged, Stop, StopLimit, TrailingStop};
        let types: &[OrderType] = match self.mix {
            Mix::Plain => &[Limit, Limit, Limit, Market],
            Mix::Stops => &[Limit, Limit, Market, Stop, Stop, StopLimit, TrailingStop, TrailingStop],
            Mix::Pegs => &[Limit, Limit, Limit, Market, Pegged, Pegged, Stop],
            _ => &[Limit, Limit, Limit, Limit, Market, Stop, StopLimit, TrailingStop, Pegged],
        };
        types[self.random.index(types.len())]
    }

    fn place(&mut self, account: u32, id: u32) -> Command {
        let Listed { terms, middle, .. } = self.listed[id as usize - 1];
        let (tick, lot) = (terms.tick, terms.lot);
        let order_type = self.order_type();
        let side = [SIDE_BUY, SIDE_SELL][self.random.index(2)];
        let sign = i64::from(side);
        let mut body = PlaceBody {
            client_order_id: [self.random.next_u64() as u8; 16],
            size: lot * self.size(),
            side,
            order_type: order_type.code(),
            time_in_force: self.resting_time().code(),
            self_trade: SelfTrade::ALL[self.random.index(5)].code(),
            flags: if self.random.chance(1, 5) { CANCEL_ON_DISCONNECT } else { 0 },
            ..PlaceBody::default()
        };
        if self.mix != Mix::Owners && self.random.chance(1, 2) {
            body.self_trade = SelfTrade::None.code();
        }
        let off = self.distance();
        match order_type {
            OrderType::Limit => {
                let depth = if self.mix == Mix::Plain { 1 } else { 3 };
                body.price = middle - sign * tick * (off - depth);
                match self.random.below(10) {
                    0 => body.time_in_force = TimeInForce::Ioc.code(),
                    1 => body.time_in_force = TimeInForce::Fok.code(),
                    2 => body.flags |= POST_ONLY,
                    3 | 4 if body.size > lot => {
                        body.display_size = lot * (1 + self.random.below((body.size / lot - 1) as u64) as i64);
                    }
                    _ => {}
                }
            }
            OrderType::Market => {
                body.time_in_force = [TimeInForce::Ioc, TimeInForce::Fok][self.random.index(2)].code();
                if self.random.chance(1, 3) {
                    let scale = 10_i64.pow(u32::from(terms.size_exp));
                    body.amount = (middle * body.size / scale + self.random.below(1 + middle as u64) as i64).max(1);
                    body.size = 0;
                }
                if self.random.chance(1, 3) {
                    body.price = middle + sign * tick * off;
                }
            }
            OrderType::Stop | OrderType::StopLimit => {
                body.trigger_price = middle + sign * tick * off;
                if order_type == OrderType::StopLimit || self.random.chance(1, 4) {
                    body.price = body.trigger_price + sign * tick * (self.distance() - 4);
                }
            }
            OrderType::TrailingStop => {
                body.offset = tick * (1 + off);
                if self.random.chance(1, 3) {
                    body.trigger_price = middle + sign * tick * self.distance();
                }
                if self.random.chance(1, 5) {
                    body.price = middle + sign * tick * 2 * off;
                }
            }
            OrderType::Pegged => {
                body.peg = Peg::ALL[1 + self.random.index(3)].code();
                body.offset = tick * [0, 0, 1, 2, 5][self.random.index(5)];
                if self.random.chance(1, 3) {
                    body.price = middle - sign * tick * (off - 2);
                }
            }
        }
        if body.time_in_force == TimeInForce::Gtd.code() {
            body.expire_ts = self.ts + 1 + self.random.below(300) as i64;
        }
        self.sent = body;
        Command::new(CommandKind::Place, account, id, &body)
    }

    fn pair(&mut self, account: u32, id: u32) -> Command {
        let Listed { terms, middle, .. } = self.listed[id as usize - 1];
        let side = [SIDE_BUY, SIDE_SELL][self.random.index(2)];
        let sign = i64::from(side);
        let trigger_price = middle + sign * terms.tick * (1 + self.distance());
        let time_in_force = self.resting_time();
        let gtd = time_in_force == TimeInForce::Gtd;
        let body = PlacePairBody {
            price: middle - sign * terms.tick * (self.distance() - 2),
            size: terms.lot * self.size(),
            trigger_price,
            limit_price: [0, trigger_price + sign * terms.tick * 3][self.random.index(2)],
            expire_ts: if gtd { self.ts + 1 + self.random.below(300) as i64 } else { 0 },
            side,
            time_in_force: time_in_force.code(),
            self_trade: SelfTrade::ALL[self.random.index(5)].code(),
            flags: [0, 0, POST_ONLY, CANCEL_ON_DISCONNECT][self.random.index(4)],
            ..PlacePairBody::default()
        };
        self.sent = PlaceBody {
            side,
            order_type: OrderType::Limit.code(),
            time_in_force: body.time_in_force,
            expire_ts: body.expire_ts,
            ..PlaceBody::default()
        };
        Command::new(CommandKind::PlacePair, account, id, &body)
    }

    /// One that is there, or now and then one that is not, or of another account.
    fn target(&mut self) -> Live {
        if self.live.is_empty() || self.random.chance(1, 40) {
            let order_id = self.random.below(2 * self.sequence + 2);
            return Live { order_id, account: 1, instrument_id: 1, price: 1000, size: 10, body: PlaceBody::default() };
        }
        let mut live = self.live[self.random.index(self.live.len())];
        if self.random.chance(1, 40) {
            live.account = [0, 1, 2][self.random.index(3)];
        }
        live
    }

    fn cancel(&mut self) -> Command {
        let live = self.target();
        let body = CancelBody { order_id: live.order_id, ..CancelBody::default() };
        Command::new(CommandKind::Cancel, live.account, live.instrument_id, &body)
    }

    /// One or two fields changed, the others as they are; now and then one that the type does not have.
    fn replace(&mut self) -> Command {
        let Live { order_id, account, instrument_id, price, size, body: placed } = self.target();
        let Listed { terms, middle, .. } = self.listed[(instrument_id as usize - 1).min(self.listed.len() - 1)];
        let (tick, lot) = (terms.tick, terms.lot);
        let near = |random: &mut Random| (middle + tick * (random.below(17) as i64 - 8)).max(tick);
        let order_type = OrderType::from_code(placed.order_type).unwrap_or(OrderType::Limit);
        let is_stop = matches!(order_type, OrderType::Stop | OrderType::StopLimit);
        let mut body = ReplaceBody {
            order_id,
            price,
            size,
            trigger_price: if is_stop { placed.trigger_price } else { 0 },
            display_size: placed.display_size,
            offset: placed.offset,
            expire_ts: placed.expire_ts,
            ..ReplaceBody::default()
        };
        if order_type == OrderType::Pegged {
            body.price = placed.price;
        }
        match self.random.below(8) {
            0 => body.size = (size - lot * self.random.below(4) as i64).max(lot),
            1 => body.size = size + lot * self.random.below(4) as i64,
            2 if order_type == OrderType::Limit && size > lot => body.display_size = lot,
            3 | 4 if is_stop => body.trigger_price = near(&mut self.random),
            3 | 4 if order_type == OrderType::TrailingStop => {
                body.offset = tick * (1 + self.random.below(6) as i64);
                body.trigger_price = [0, near(&mut self.random)][self.random.index(2)];
            }
            3 | 4 if order_type == OrderType::Pegged => body.offset = tick * self.random.below(3) as i64,
            _ if matches!(order_type, OrderType::Limit | OrderType::StopLimit | OrderType::Pegged) => {
                body.price = near(&mut self.random);
            }
            _ => {}
        }
        if placed.time_in_force == TimeInForce::Gtd.code() || self.random.chance(1, 30) {
            body.expire_ts = self.ts + 1 + self.random.below(300) as i64;
        }
        if self.random.chance(1, 30) {
            body.offset += tick;
        }
        if let Some(live) = self.live.iter_mut().find(|live| live.order_id == order_id) {
            (live.price, live.size) = (body.price, body.size);
        }
        if body.size == size && self.ts % 2 == 0 {
            body.size = 0;
        }
        Command::new(CommandKind::Replace, account, instrument_id, &body)
    }

    fn mass_cancel(&mut self, account: u32, id: u32) -> Command {
        let side = [0, 0, SIDE_BUY, SIDE_SELL][self.random.index(4)];
        let account = if self.random.chance(1, 4) { 0 } else { account };
        let id = if self.random.chance(1, 3) { 0 } else { id };
        Command::new(CommandKind::MassCancel, account, id, &MassCancelBody { side, ..MassCancelBody::default() })
    }

    fn instrument(&mut self, id: u32) -> Command {
        let Listed { mut terms, middle, .. } = self.listed[id as usize - 1];
        terms.reference_price = [0, middle][self.random.index(2)];
        match self.random.below(4) {
            0 => terms.taker_ppm = self.random.below(2_000) as i32 - 500,
            1 => terms.band_action = BandAction::ALL[self.random.index(2)].code(),
            2 => terms.size_min = terms.lot * self.random.below(3) as i64,
            _ => terms.lot += 1,
        }
        if terms.lot == self.listed[id as usize - 1].terms.lot {
            self.listed[id as usize - 1].terms = terms;
        }
        Command::new(CommandKind::Instrument, 0, id, &terms)
    }

    /// Mostly small, now and then a sweep.
    fn size(&mut self) -> i64 {
        let largest = [3, 10, 10, 60][self.random.index(4)];
        1 + self.random.below(largest) as i64
    }

    /// In ticks, mostly small.
    fn distance(&mut self) -> i64 {
        let farthest = match self.mix {
            Mix::Wide => [6, 100, 1 << 16, 1 << 40][self.random.index(4)],
            _ => [3, 6, 6, 12][self.random.index(4)],
        };
        self.random.below(farthest) as i64
    }

    fn resting_time(&mut self) -> TimeInForce {
        let gtd = if self.mix == Mix::Time { 3 } else { 1 };
        match self.random.below(12) {
            0..=1 => TimeInForce::Day,
            n if n < 2 + gtd => TimeInForce::Gtd,
            _ => TimeInForce::Gtc,
        }
    }

    /// A command with something in it that nobody would send in good faith.
    fn spoil(&mut self, mut command: Command) -> Command {
        let extremes = [0, 1, -1, i64::MAX, i64::MIN, UNITS_MAX, UNITS_MAX + 1, UNITS_MAX - 1, 1 << 62, 7];
        match self.random.below(12) {
            0..=6 => {
                // One of the 8-byte fields behind the client's id, or of that.
                let at = 8 * self.random.index(11);
                let value = extremes[self.random.index(extremes.len())];
                command.body[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            7 => command.body[self.random.index(88)] = self.random.next_u64() as u8,
            8 => command.head.kind = self.random.next_u64() as u8,
            9 => {
                let bytes = self.random.bytes(88);
                command.body.copy_from_slice(&bytes);
            }
            10 => match self.random.below(4) {
                0 => command.head.account = self.random.next_u64() as u32,
                1 => command.head.instrument_id = self.random.below(9) as u32,
                2 => command.head.reserved[self.random.index(5)] = 1,
                _ => command.head.verdict = self.random.next_u64() as u8,
            },
            _ => command.head.ts = [i64::MIN, -1, self.ts - 500, self.ts + 100][self.random.index(4)],
        }
        command
    }
}

fn session(instrument_id: u32, session: Session) -> Command {
    let body = SessionBody { session: session.code(), ..SessionBody::default() };
    Command::new(CommandKind::Session, 0, instrument_id, &body)
}
