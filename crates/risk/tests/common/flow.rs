//! Seeded commands of every kind that risk looks at, some of them nonsense.

use tidebook_testkit::Random;
use tidebook_types::command::{
    ACCOUNT_MARGIN, ACCOUNT_OWN_FEES, AccountBody, CancelAllAfterBody, CancelBody, InstrumentBody, KillBody,
    LimitsBody, MassCancelBody, PlaceBody, PlacePairBody, ReplaceBody, SessionBody, TransferBody,
};
use tidebook_types::{Command, CommandKind, OrderType, Peg, Session, TimeInForce};

pub const ACCOUNTS: u64 = 6;
pub const INSTRUMENTS: u64 = 3;

pub struct Flow {
    pub random: Random,
    ts: i64,
    /// Last sequence that was given; whoever sends other commands beside these says so here.
    pub sent: u64,
    /// Newest orders: sequence, account, instrument.
    placed: Vec<(u64, u32, u32)>,
    /// How often in 1,000 something is nonsense.
    nonsense: u64,
}

fn instrument(id: u32, random: &mut Random, changes: bool) -> InstrumentBody {
    let mut body = InstrumentBody {
        tick: 5,
        lot: if id == 2 { 1 } else { 10 },
        size_min: 10,
        size_max: 10_000,
        reference_price: if changes { 0 } else { 1_000 },
        band_ppm: if id == 3 { 0 } else { 200_000 },
        maker_ppm: [-100, 500, 10_000][id as usize % 3],
        taker_ppm: 1_000 * i32::try_from(id).unwrap(),
        // 1: BTC/USD, 2: ETH/USD, 3: BTC/EUR.
        base_asset: [0, 1, 2, 1][id as usize],
        quote_asset: [0, 10, 10, 11][id as usize],
        price_exp: 2,
        // One lot of instrument 2 is worth less than a unit.
        size_exp: [0, 1, 4, 2][id as usize],
        ..InstrumentBody::default()
    };
    if changes {
        body.maker_ppm += random.below(3) as i32 * 100;
        body.band_ppm = [0, 100_000, 300_000][random.index(3)];
        body.reference_price = [0, 900, 1_100][random.index(3)];
        match random.below(12) {
            0 => body.tick = 10,
            1 => body.size_exp = 5,
            2 => body.maker_ppm = 700_000,
            _ => {}
        }
    }
    body
}

fn account(id: u32, random: &mut Random, changes: bool) -> AccountBody {
    let margin = id.is_multiple_of(3);
    let mut body = AccountBody {
        group: 0,
        maker_ppm: 200,
        taker_ppm: 3_000,
        initial_margin_ppm: 100_000,
        maintenance_margin_ppm: 50_000,
        flags: (u8::from(margin) * ACCOUNT_MARGIN) | (u8::from(id.is_multiple_of(2)) * ACCOUNT_OWN_FEES),
        ..AccountBody::default()
    };
    if changes {
        body.maintenance_margin_ppm = 10_000 * (1 + random.below(10) as u32);
        body.taker_ppm = 1_000 * random.below(6) as i32;
        match random.below(10) {
            0 => body.flags ^= ACCOUNT_MARGIN,
            1 => body.flags = 4,
            2 => body.group = 1,
            3 | 4 => body.taker_ppm = 300_000,
            _ => {}
        }
    }
    body
}

impl Flow {
    pub fn new(seed: u64, nonsense: u64) -> Self {
        Self { random: Random::new(seed), ts: 1_000, sent: 0, placed: Vec::new(), nonsense }
    }

    /// What makes a venue to trade on.
    pub fn opening(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for id in 1..=INSTRUMENTS as u32 {
            let body = instrument(id, &mut self.random, false);
            commands.push(Command::new(CommandKind::Instrument, 0, id, &body));
            let body = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
            commands.push(Command::new(CommandKind::Session, 0, id, &body));
        }
        for id in 1..=ACCOUNTS as u32 {
            let body = account(id, &mut self.random, false);
            commands.push(Command::new(CommandKind::Account, id, 0, &body));
            // Margin accounts and one other are poor, so that they come to their limits.
            let cash = if id.is_multiple_of(3) {
                400
            } else if id == 5 {
                800
            } else {
                40_000
            };
            for (asset, amount) in [(1, 2_000), (2, 20), (10, cash), (11, cash)] {
                let body = TransferBody { amount, asset, amount_exp: 1, ..TransferBody::default() };
                commands.push(Command::new(CommandKind::Transfer, id, 0, &body));
            }
        }
        self.sent += commands.len() as u64;
        commands
    }

    fn price(&mut self) -> i64 {
        let price = 1_000 + 5 * (self.random.below(60) as i64 - 30);
        match self.random.below(60) {
            0 => price * 3,
            1 => price + 1,
            2 => 5,
            _ => price,
        }
    }

    fn size(&mut self) -> i64 {
        match self.random.below(40) {
            0 => 7,
            1 => 20_000,
            2 => 0,
            3 => 10_000,
            _ => 10 * (1 + self.random.below(60) as i64),
        }
    }

    /// Of few, so that some come again.
    fn client_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        if self.random.chance(1, 3) {
            id[0] = 1 + self.random.below(250) as u8;
        }
        id
    }

    fn side(&mut self) -> i8 {
        match self.random.below(80) {
            0 => 0,
            1..=40 => 1,
            _ => -1,
        }
    }

    fn place(&mut self) -> PlaceBody {
        let mut body = PlaceBody {
            client_order_id: self.client_id(),
            price: self.price(),
            size: self.size(),
            side: self.side(),
            order_type: OrderType::Limit.code(),
            time_in_force: TimeInForce::Gtc.code(),
            self_trade: self.random.below(5) as u8,
            flags: u8::from(self.random.chance(1, 20)),
            ..PlaceBody::default()
        };
        let worst = if self.random.chance(1, 2) { 0 } else { body.price };
        match self.random.below(20) {
            0..=1 => {
                (body.order_type, body.time_in_force, body.price) =
                    (OrderType::Market.code(), TimeInForce::Ioc.code(), worst)
            }
            2 => {
                (body.order_type, body.time_in_force) = (OrderType::Market.code(), TimeInForce::Fok.code());
                (body.amount, body.size, body.price) = (1 + self.random.below(100_000) as i64, 0, worst);
            }
            3 => {
                (body.order_type, body.time_in_force) = (OrderType::Market.code(), TimeInForce::Ioc.code());
                (body.amount, body.size, body.price) = (self.random.below(30_000) as i64 - 2_000, 0, worst);
            }
            4 => (body.order_type, body.trigger_price, body.price) = (OrderType::Stop.code(), self.price(), worst),
            5 => (body.order_type, body.trigger_price) = (OrderType::StopLimit.code(), self.price()),
            6 => {
                (body.order_type, body.offset, body.price) = (OrderType::TrailingStop.code(), 20, worst);
                body.trigger_price = if self.random.chance(1, 2) { self.price() } else { 0 };
            }
            7 => {
                body.order_type = OrderType::Pegged.code();
                body.peg = [Peg::Primary, Peg::Opposite, Peg::Mid][self.random.index(3)].code();
                (body.offset, body.price) = (5, worst);
            }
            8 => body.time_in_force = TimeInForce::Ioc.code(),
            9 => body.time_in_force = TimeInForce::Fok.code(),
            10 => body.display_size = 10,
            11 => {
                (body.time_in_force, body.expire_ts) =
                    (TimeInForce::Gtd.code(), self.ts + self.random.below(5_000_000) as i64)
            }
            _ => {}
        }
        body
    }

    pub fn next(&mut self) -> Command {
        self.sent += 1;
        let passed = [0, 1, 1_000_000, 20_000_000][self.random.index(4)];
        self.ts += passed;
        let account = 1 + self.random.below(ACCOUNTS) as u32;
        let id = 1 + self.random.below(INSTRUMENTS) as u32;
        let known = if self.placed.is_empty() {
            (0, account, id)
        } else {
            self.placed[self.placed.len() - 1 - self.random.index(self.placed.len().min(40))]
        };
        let (known_id, holder, listed) = (2 * known.0 + u64::from(self.random.chance(1, 20)), known.1, known.2);
        let mut command = match self.random.below(1_000) {
            0..=579 => Command::new(CommandKind::Place, account, id, &self.place()),
            580..=629 => {
                let buy = self.side();
                let price = self.price();
                let body = PlacePairBody {
                    client_order_id: self.client_id(),
                    stop_client_order_id: self.client_id(),
                    price,
                    size: self.size(),
                    trigger_price: price + i64::from(buy) * 100,
                    limit_price: if self.random.chance(2, 3) { price + i64::from(buy) * 100 } else { 0 },
                    side: buy,
                    time_in_force: TimeInForce::Gtc.code(),
                    self_trade: self.random.below(5) as u8,
                    ..PlacePairBody::default()
                };
                Command::new(CommandKind::PlacePair, account, id, &body)
            }
            630..=769 => {
                let body = ReplaceBody {
                    order_id: if self.random.chance(1, 6) { 0 } else { known_id },
                    client_order_id: self.client_id(),
                    price: if self.random.chance(1, 6) { 0 } else { self.price() },
                    size: if self.random.chance(1, 3) { 0 } else { self.size() },
                    trigger_price: if self.random.chance(1, 4) { self.price() } else { 0 },
                    offset: if self.random.chance(1, 4) { 10 } else { 0 },
                    ..ReplaceBody::default()
                };
                Command::new(CommandKind::Replace, holder, listed, &body)
            }
            770..=869 => {
                let body = CancelBody {
                    order_id: if self.random.chance(1, 6) { 0 } else { known_id },
                    client_order_id: self.client_id(),
                    ..CancelBody::default()
                };
                let holder = if self.random.chance(1, 5) { 0 } else { holder };
                Command::new(CommandKind::Cancel, holder, listed, &body)
            }
            870..=884 => {
                let account = if self.random.chance(1, 5) { 0 } else { account };
                let id = if self.random.chance(1, 2) { 0 } else { id };
                Command::new(
                    CommandKind::MassCancel,
                    account,
                    id,
                    &MassCancelBody { side: self.side(), ..Default::default() },
                )
            }
            885..=889 => Command::bare(CommandKind::Disconnect, account),
            890..=894 => {
                let body =
                    CancelAllAfterBody { timeout_ns: self.random.below(100_000_000) as i64, ..Default::default() };
                Command::new(CommandKind::CancelAllAfter, account, 0, &body)
            }
            895..=914 => Command::bare(CommandKind::Timer, 0),
            915..=924 => {
                let session =
                    [Session::Continuous, Session::Auction, Session::PreOpen, Session::Halted, Session::Closed];
                let body = SessionBody { session: session[self.random.index(5)].code(), ..SessionBody::default() };
                Command::new(CommandKind::Session, 0, id, &body)
            }
            925..=939 => {
                let body = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
                Command::new(CommandKind::Session, 0, id, &body)
            }
            940..=949 => Command::new(CommandKind::Instrument, 0, id, &instrument(id, &mut self.random, true)),
            950..=957 => Command::new(CommandKind::Account, account, 0, &account_body(account, &mut self.random)),
            958..=977 => {
                let whole = self.random.chance(1, 3);
                let mut some = |value: u64| if self.random.chance(1, 3) { value as i64 } else { 0 };
                let body = LimitsBody {
                    order_size_max: if whole { 0 } else { some(400) },
                    order_notional_max: if whole { 0 } else { some(40_000) },
                    position_max: if whole { 0 } else { some(1_000) },
                    exposure_max: some(100_000),
                    open_orders_max: some(6) as u32,
                    collar_ppm: some(100_000) as u32,
                    commands_per_s: some(10) as u32,
                    burst: some(5) as u32,
                    exposure_exp: if whole { 2 } else { 0 },
                    ..LimitsBody::default()
                };
                Command::new(CommandKind::Limits, account, if whole { 0 } else { id }, &body)
            }
            978..=989 => {
                let body = TransferBody {
                    amount: self.random.below(20_000) as i64 - 9_000,
                    asset: [1, 2, 10, 11][self.random.index(4)],
                    amount_exp: self.random.below(3) as u8,
                    ..TransferBody::default()
                };
                Command::new(CommandKind::Transfer, account, 0, &body)
            }
            _ => {
                let killed = self.random.chance(1, 6);
                let all = if killed { self.random.chance(1, 20) } else { self.random.chance(1, 2) };
                let (account, killed) = (if all { 0 } else { account }, u8::from(killed));
                Command::new(CommandKind::Kill, account, 0, &KillBody { killed, ..KillBody::default() })
            }
        };
        if [CommandKind::Place.code(), CommandKind::PlacePair.code()].contains(&command.head.kind) {
            self.placed.push((self.sent, account, id));
        }
        if self.random.below(1_000) < self.nonsense {
            match self.random.below(4) {
                0 => command.head.account = self.random.below(9) as u32,
                1 => command.head.instrument_id = self.random.below(5) as u32,
                2 => command.head.kind = self.random.below(20) as u8,
                _ => {
                    let index = self.random.index(11);
                    let word = [i64::MAX, i64::MIN, -1, 0, 1, (1 << 53) - 1, 1 << 53][self.random.index(7)];
                    command.body[8 * index..8 * index + 8].copy_from_slice(&word.to_le_bytes());
                }
            }
        }
        command.at(self.ts - i64::from(self.random.chance(1, 10)) * 5)
    }
}

fn account_body(id: u32, random: &mut Random) -> AccountBody {
    account(id, random, true)
}
