//! What accounts have: positions with their cost, profit, fees and cash, exactly.
//!
//! A function of accepted commands and executions alone, usable without the rest of risk. Cost is kept as a sum rather than an average, so
//! that nothing is rounded while a position grows; see `docs/risk.md`.

use tidebook_types::command::{ACCOUNT_MARGIN, AccountBody, InstrumentBody, TransferBody};
use tidebook_types::records::SIDE_SELL;
use tidebook_types::{Command, CommandKind, Execution, ExecutionKind, Verdict};

use crate::ledger::{LEDGER_EXP, LEDGER_MAX, Scale, bounded, power};
use crate::plain::{Input, PlainError, plain};
use crate::table::{Entry, NONE, Table};

/// What the portfolio needs of an instrument.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Market {
    id: u32,
    pub(crate) base_asset: u32,
    pub(crate) quote_asset: u32,
    price_exp: u8,
    size_exp: u8,
    /// Last trade, else the reference price; 0 for neither.
    pub(crate) mark: i64,
    pub(crate) scale: Scale,
}

plain!(Market { id, base_asset, quote_asset, price_exp, size_exp, mark });

impl Entry for Market {
    type Key = u32;
    const SALT: u64 = 1;
    fn key(&self) -> u32 {
        self.id
    }
}

impl Market {
    fn worth(&self, holding: &Holding) -> i128 {
        if self.mark > 0 { self.scale.worth(holding.position.saturating_mul(self.mark.into())) } else { holding.cost }
    }
}

/// One that may owe, or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    id: u32,
    pub(crate) margin: bool,
    /// First of its holdings and balances; each names the next.
    holdings: u32,
    balances: u32,
}

impl Default for Owner {
    fn default() -> Self {
        Self { id: 0, margin: false, holdings: NONE, balances: NONE }
    }
}

plain!(Owner { id, margin });

impl Entry for Owner {
    type Key = u32;
    const SALT: u64 = 2;
    fn key(&self) -> u32 {
        self.id
    }
}

/// An account's position in an instrument. Amounts in ledger units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Whose.
    pub account: u32,
    /// In what.
    pub instrument_id: u32,
    /// In size units; below 0 when short.
    pub position: i128,
    /// What the position was bought for; below 0: what a short one was sold for.
    pub cost: i128,
    /// Profit of what was closed, before fees.
    pub realised: i128,
    /// Fees paid, less rebates.
    pub fees: i128,
    next: u32,
    pub(crate) market: u32,
}

plain!(Holding { account, instrument_id, position, cost, realised, fees });

impl Entry for Holding {
    type Key = u64;
    const SALT: u64 = 3;
    fn key(&self) -> u64 {
        pair(self.account, self.instrument_id)
    }
}

/// An account's cash or holdings of an asset, in ledger units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Whose; 0 for what the venue took in fees.
    pub account: u32,
    /// Of what.
    pub asset: u32,
    /// All of it, reserved or not. Of a margin account without its positions.
    pub total: i128,
    /// The part that open orders may need; 0 outside of risk.
    pub reserved: i128,
    /// Whether a margin call stands.
    pub(crate) called: bool,
    next: u32,
}

plain!(Balance { account, asset, total, called });

impl Entry for Balance {
    type Key = u64;
    const SALT: u64 = 4;
    fn key(&self) -> u64 {
        pair(self.account, self.asset)
    }
    fn hash_derived(&self, state: u64) -> u64 {
        crate::plain::Plain::hash(&self.reserved, state)
    }
}

pub(crate) const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// A fraction: `numerator` / `denominator`, with a denominator above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    /// Above the line.
    pub numerator: i128,
    /// Below the line.
    pub denominator: i128,
}

/// One side of a fill.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leg {
    pub(crate) account: u32,
    pub(crate) instrument_id: u32,
    /// 1 for the buyer, -1 for the seller.
    pub(crate) sign: i128,
    pub(crate) price: i64,
    pub(crate) size: i64,
    pub(crate) fee: i64,
}

impl Leg {
    /// Both sides of a fill: the order's, and the one it met.
    pub(crate) fn both(fill: &Execution) -> [Self; 2] {
        // In an auction the order is the buyer and the side is 0.
        let sign = if fill.side == SIDE_SELL { -1 } else { 1 };
        let leg = Self {
            account: fill.account,
            instrument_id: fill.instrument_id,
            sign,
            price: fill.price,
            size: fill.size,
            fee: fill.fee,
        };
        [leg, Self { account: fill.contra_account, sign: -sign, fee: fill.contra_fee, ..leg }]
    }
}

/// All accounts' positions and balances.
#[derive(Debug, Clone)]
pub struct Portfolio {
    pub(crate) markets: Table<Market>,
    pub(crate) owners: Table<Owner>,
    holdings: Table<Holding>,
    balances: Table<Balance>,
}

impl Default for Portfolio {
    fn default() -> Self {
        Self::with_capacity(64, 1024)
    }
}

impl Portfolio {
    /// With room for so many instruments and accounts before it allocates.
    pub fn with_capacity(instruments: usize, accounts: usize) -> Self {
        Self {
            markets: Table::with_capacity(instruments),
            owners: Table::with_capacity(accounts),
            holdings: Table::with_capacity(accounts),
            balances: Table::with_capacity(accounts * 2),
        }
    }

    /// Takes in a command of `orders`; a refused one changes nothing.
    pub fn on_command(&mut self, command: &Command) {
        if command.head.verdict != Verdict::Accepted.code() {
            return;
        }
        match CommandKind::from_code(command.head.kind) {
            Some(CommandKind::Instrument) => self.list(command.head.instrument_id, &command.body()),
            Some(CommandKind::Account) => {
                self.open(command.head.account, &command.body());
            }
            Some(CommandKind::Transfer) => self.transfer(command.head.account, &command.body()),
            _ => {}
        }
    }

    /// Takes in an execution; all but fills change nothing.
    pub fn on_execution(&mut self, execution: &Execution) {
        if execution.kind != ExecutionKind::Fill.code() {
            return;
        }
        if let Some(market) = self.markets.find(execution.instrument_id) {
            self.markets.get_mut(market).mark = execution.price;
            for leg in Leg::both(execution) {
                self.fill(market, &leg);
            }
        }
    }

    pub(crate) fn list(&mut self, id: u32, body: &InstrumentBody) {
        if u16::from(body.price_exp) + u16::from(body.size_exp) > u16::from(LEDGER_EXP) {
            return;
        }
        let (scale, InstrumentBody { base_asset, quote_asset, price_exp, size_exp, reference_price, .. }) =
            (Scale::new(body), *body);
        let listed = Market { id, base_asset, quote_asset, price_exp, size_exp, mark: reference_price, scale };
        if let Some(slot) = self.markets.find(id) {
            let market = self.markets.get_mut(slot);
            let mark = if reference_price == 0 { market.mark } else { reference_price };
            *market = Market { mark, ..listed };
        } else {
            self.markets.insert(listed);
        }
    }

    pub(crate) fn open(&mut self, id: u32, body: &AccountBody) -> u32 {
        let margin = body.flags & ACCOUNT_MARGIN != 0;
        if let Some(slot) = self.owners.find(id) {
            if self.owners.get(slot).margin != margin {
                self.owners.get_mut(slot).margin = margin;
            }
            slot
        } else {
            self.owners.insert(Owner { id, margin, ..Owner::default() })
        }
    }

    pub(crate) fn transfer(&mut self, account: u32, body: &TransferBody) {
        if body.amount_exp <= LEDGER_EXP {
            if self.owners.find(account).is_none() {
                self.open(account, &AccountBody::default());
            }
            let slot = self.balance_slot(account, body.asset);
            self.add(slot, transferred(body));
        }
    }

    fn add(&mut self, slot: u32, amount: i128) {
        let balance = self.balances.get_mut(slot);
        balance.total = balance.total.saturating_add(amount).clamp(-LEDGER_MAX * 4, LEDGER_MAX * 4);
    }

    /// One side of a fill.
    pub(crate) fn fill(&mut self, market: u32, leg: &Leg) {
        let Market { base_asset, quote_asset, scale, .. } = *self.markets.get(market);
        let (price, size) = (i128::from(leg.price), i128::from(leg.size));
        let (notional, fee) = (scale.worth(price * size), i128::from(leg.fee) * scale.quote);
        let owner = match self.owners.find(leg.account) {
            Some(owner) => owner,
            None => self.open(leg.account, &AccountBody::default()),
        };
        let slot = self.holding_slot(leg.account, leg.instrument_id);
        let holding = self.holdings.get_mut(slot);
        holding.fees += fee;
        let closing = if holding.position.signum() == -leg.sign { size.min(holding.position.abs()) } else { 0 };
        if closing > 0 {
            let part = share(holding.cost, closing, holding.position.abs());
            holding.realised += -leg.sign * scale.worth(price * closing) - part;
            holding.cost -= part;
        }
        holding.cost += leg.sign * scale.worth(price * (size - closing));
        holding.position += leg.sign * size;
        let quote = self.balance_slot(leg.account, quote_asset);
        self.add(quote, -leg.sign * notional - fee);
        if !self.owners.get(owner).margin {
            let base = self.balance_slot(leg.account, base_asset);
            self.add(base, leg.sign * size * scale.base);
        }
        let venue = self.balance_slot(0, quote_asset);
        self.add(venue, fee);
    }

    pub(crate) fn holding_slot(&mut self, account: u32, instrument_id: u32) -> u32 {
        if let Some(slot) = self.holdings.find(pair(account, instrument_id)) {
            return slot;
        }
        let market = self.markets.find(instrument_id).unwrap_or(NONE);
        let slot = self.holdings.insert(Holding { account, instrument_id, market, next: NONE, ..Holding::default() });
        self.chain_holding(slot);
        slot
    }

    fn chain_holding(&mut self, slot: u32) {
        if let Some(owner) = self.owners.find(self.holdings.get(slot).account) {
            self.holdings.get_mut(slot).next = self.owners.get(owner).holdings;
            self.owners.get_mut(owner).holdings = slot;
        }
    }

    pub(crate) fn balance_slot(&mut self, account: u32, asset: u32) -> u32 {
        if let Some(slot) = self.balances.find(pair(account, asset)) {
            return slot;
        }
        let slot = self.balances.insert(Balance { account, asset, next: NONE, ..Balance::default() });
        self.chain_balance(slot);
        slot
    }

    fn chain_balance(&mut self, slot: u32) {
        if let Some(owner) = self.owners.find(self.balances.get(slot).account) {
            self.balances.get_mut(slot).next = self.owners.get(owner).balances;
            self.owners.get_mut(owner).balances = slot;
        }
    }

    #[inline]
    pub(crate) fn balance_at(&mut self, slot: u32) -> &mut Balance {
        self.balances.get_mut(slot)
    }

    /// A balance by its slot.
    #[inline]
    pub(crate) fn balance_in(&self, slot: u32) -> &Balance {
        self.balances.get(slot)
    }

    #[inline]
    pub(crate) fn holding_at(&self, slot: u32) -> &Holding {
        self.holdings.get(slot)
    }

    /// The account's position in an instrument; all 0 if it never had one.
    pub fn holding(&self, account: u32, instrument_id: u32) -> Holding {
        self.holdings.by_key(pair(account, instrument_id)).copied().unwrap_or(Holding {
            account,
            instrument_id,
            next: NONE,
            ..Holding::default()
        })
    }

    /// The account's balance of an asset; all 0 if it never had any.
    pub fn balance(&self, account: u32, asset: u32) -> Balance {
        self.balances.by_key(pair(account, asset)).copied().unwrap_or(Balance {
            account,
            asset,
            next: NONE,
            ..Balance::default()
        })
    }

    /// The account's positions, in no order that means anything.
    pub fn holdings(&self, account: u32) -> impl Iterator<Item = &Holding> {
        let first = self.owners.by_key(account).map_or(NONE, |owner| owner.holdings);
        self.holdings.chain(first, |holding| holding.next).map(|(_, holding)| holding)
    }

    /// The account's balances, in no order that means anything.
    pub fn balances(&self, account: u32) -> impl Iterator<Item = &Balance> {
        let first = self.owners.by_key(account).map_or(NONE, |owner| owner.balances);
        self.balances.chain(first, |balance| balance.next).map(|(_, balance)| balance)
    }

    /// Of every account, the venue's fees too (account 0), in the order of account and asset.
    pub fn all_balances(&self) -> Vec<Balance> {
        let mut all: Vec<_> = self.balances.iter().map(|(_, balance)| *balance).collect();
        all.sort_unstable_by_key(Entry::key);
        all
    }

    /// Those of which a margin call stands.
    pub(crate) fn called(&self) -> impl Iterator<Item = &Balance> {
        self.balances.iter().map(|(_, balance)| balance).filter(|balance| balance.called)
    }

    /// Of every account, in the order of account and instrument.
    pub fn all_holdings(&self) -> Vec<Holding> {
        let mut all: Vec<_> = self.holdings.iter().map(|(_, holding)| *holding).collect();
        all.sort_unstable_by_key(Entry::key);
        all
    }

    /// What the position is worth at the mark, in ledger units; at its average price where there is no mark.
    pub fn worth(&self, holding: &Holding) -> i128 {
        self.markets.by_key(holding.instrument_id).map_or(holding.cost, |market| market.worth(holding))
    }

    /// Profit the position would give at the mark: a short loses when the price rises.
    pub fn unrealised(&self, holding: &Holding) -> i128 {
        self.worth(holding).saturating_sub(holding.cost)
    }

    /// The average price of the position in price units; `None` without one.
    pub fn average_price(&self, holding: &Holding) -> Option<Fraction> {
        let market = self.markets.by_key(holding.instrument_id)?;
        let sign = holding.position.signum();
        (sign != 0).then(|| Fraction {
            numerator: holding.cost * sign,
            denominator: holding.position.abs().saturating_mul(market.scale.notional),
        })
    }

    /// Cash of the asset and what positions quoted in it are worth, in ledger units.
    pub fn equity(&self, account: u32, asset: u32) -> i128 {
        let quoted = self.holdings(account).filter(|holding| self.is_quoted_in(holding, asset));
        quoted.fold(self.balance(account, asset).total, |sum, holding| sum.saturating_add(self.worth(holding)))
    }

    pub(crate) fn is_quoted_in(&self, holding: &Holding, asset: u32) -> bool {
        self.markets.by_key(holding.instrument_id).is_some_and(|market| market.quote_asset == asset)
    }

    pub(crate) fn hash(&self) -> u64 {
        [self.markets.hash(), self.owners.hash(), self.holdings.hash(), self.balances.hash()]
            .into_iter()
            .fold(0, u64::wrapping_add)
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        self.markets.save(out);
        self.owners.save(out);
        self.holdings.save(out);
        self.balances.save(out);
    }

    pub(crate) fn load(&mut self, input: &mut Input<'_>) -> Result<(), PlainError> {
        self.markets.load(input)?;
        for slot in 0..self.markets.len() as u32 {
            let Market { price_exp, size_exp, .. } = *self.markets.get(slot);
            if u16::from(price_exp) + u16::from(size_exp) > u16::from(LEDGER_EXP) {
                return Err(input.error("exponents beyond the ledger"));
            }
            self.markets.get_mut(slot).scale =
                Scale::new(&InstrumentBody { price_exp, size_exp, ..Default::default() });
        }
        self.owners.load(input)?;
        self.holdings.load(input)?;
        for slot in 0..self.holdings.len() as u32 {
            let market = self.markets.find(self.holdings.get(slot).instrument_id).unwrap_or(NONE);
            let holding = self.holdings.get_mut(slot);
            (holding.market, holding.next) = (market, NONE);
            self.chain_holding(slot);
        }
        self.balances.load(input)?;
        for slot in 0..self.balances.len() as u32 {
            self.balances.get_mut(slot).next = NONE;
            self.chain_balance(slot);
        }
        Ok(())
    }
}

/// Ledger units of a transfer.
pub(crate) const fn transferred(body: &TransferBody) -> i128 {
    bounded(body.amount as i128 * power(LEDGER_EXP - body.amount_exp))
}

/// `cost` x `part` / `whole`, rounded towards 0, exact also where the product would not fit.
const fn share(cost: i128, part: i128, whole: i128) -> i128 {
    if part == whole { cost } else { cost / whole * part + cost % whole * part / whole }
}

#[cfg(test)]
mod tests {
    use tidebook_types::records::SIDE_BUY;

    use super::*;

    const BTC: u32 = 1;
    const USD: u32 = 2;

    /// Prices in cents, sizes in thousandths.
    fn portfolio(margin: bool) -> Portfolio {
        let mut portfolio = Portfolio::default();
        let body = InstrumentBody {
            price_exp: 2,
            size_exp: 3,
            base_asset: BTC,
            quote_asset: USD,
            ..InstrumentBody::default()
        };
        portfolio.list(1, &body);
        for account in [1, 2] {
            portfolio
                .open(account, &AccountBody { flags: u8::from(margin) * ACCOUNT_MARGIN, ..AccountBody::default() });
        }
        portfolio
    }

    /// Account 1 buys (or sells) from account 2.
    fn trade(portfolio: &mut Portfolio, side: i8, size: i64, price: i64, fees: (i64, i64)) {
        portfolio.on_execution(&Execution {
            kind: ExecutionKind::Fill.code(),
            instrument_id: 1,
            account: 1,
            contra_account: 2,
            side,
            size,
            price,
            fee: fees.0,
            contra_fee: fees.1,
            ..Execution::default()
        });
    }

    const CENT: i128 = power(16);

    fn dollars(portfolio: &Portfolio, account: u32) -> (i128, i128, i128) {
        let holding = portfolio.holding(account, 1);
        (holding.position, holding.realised / CENT, portfolio.unrealised(&holding) / CENT)
    }

    #[test]
    fn a_short_loses_when_the_price_rises_and_both_sides_sum_to_nothing() {
        let mut portfolio = portfolio(true);
        trade(&mut portfolio, SIDE_SELL, 1_000, 10_000, (0, 0));
        trade(&mut portfolio, SIDE_SELL, 1_000, 11_000, (0, 0));
        assert_eq!(dollars(&portfolio, 1), (-2_000, 0, -1_000));
        assert_eq!(dollars(&portfolio, 2), (2_000, 0, 1_000));
        assert_eq!(
            portfolio.average_price(&portfolio.holding(1, 1)),
            Some(Fraction { numerator: 21_000_000 * power(13), denominator: 2_000 * power(13) })
        );
        trade(&mut portfolio, SIDE_BUY, 500, 12_000, (0, 0));
        // A quarter of what was sold for 210.00 is 52.50, bought back for 60.00.
        assert_eq!(dollars(&portfolio, 1), (-1_500, -750, -2_250));
        assert_eq!(portfolio.equity(1, USD) / CENT, -3_000);
        assert_eq!(portfolio.equity(2, USD) / CENT, 3_000);
    }

    #[test]
    fn a_position_that_turns_round_is_closed_and_opened_anew() {
        let mut portfolio = portfolio(true);
        trade(&mut portfolio, SIDE_BUY, 1_000, 10_000, (10, -5));
        trade(&mut portfolio, SIDE_SELL, 3_000, 13_000, (39, -19));
        assert_eq!(dollars(&portfolio, 1), (-2_000, 3_000, 0));
        assert_eq!(portfolio.holding(1, 1).fees / CENT, 49);
        assert_eq!(portfolio.equity(1, USD) / CENT, 3_000 - 49);
        assert_eq!(portfolio.balance(0, USD).total / CENT, 49 - 24);
        assert_eq!(portfolio.average_price(&portfolio.holding(3, 1)), None);
    }

    #[test]
    fn what_rounding_leaves_is_realised_when_the_position_is_closed() {
        let mut portfolio = portfolio(true);
        trade(&mut portfolio, SIDE_BUY, 1, 1, (0, 0));
        trade(&mut portfolio, SIDE_BUY, 2, 2, (0, 0));
        // Cost 5 for 3: a third is no whole number of ledger units only if the ledger were coarse; the sum is exact anyway.
        trade(&mut portfolio, SIDE_SELL, 1, 3, (0, 0));
        trade(&mut portfolio, SIDE_SELL, 2, 3, (0, 0));
        let holding = portfolio.holding(1, 1);
        assert_eq!((holding.position, holding.cost, holding.realised), (0, 0, 4 * power(13)));
        assert_eq!((share(5, 1, 3), share(-5, 1, 3), share(i128::MAX / 2, 7, 7)), (1, -1, i128::MAX / 2));
    }

    #[test]
    fn a_spot_accounts_base_is_cash_too_and_all_holdings_of_an_asset_are_what_came_in() {
        let mut portfolio = portfolio(false);
        portfolio.transfer(2, &TransferBody { asset: BTC, amount: 5, amount_exp: 0, ..Default::default() });
        portfolio.transfer(1, &TransferBody { asset: USD, amount: 1_000, amount_exp: 0, ..Default::default() });
        trade(&mut portfolio, SIDE_BUY, 2_000, 10_000, (20, -7));
        assert_eq!(portfolio.balance(1, USD).total, (100_000 - 20_000 - 20) * CENT);
        assert_eq!(portfolio.balance(1, BTC).total, 2 * power(18));
        let sum =
            |asset| portfolio.all_balances().iter().filter(|it| it.asset == asset).map(|it| it.total).sum::<i128>();
        assert_eq!((sum(BTC), sum(USD)), (5 * power(18), 1_000 * power(18)));
        assert_eq!(portfolio.balances(1).count(), 2);
        assert_eq!(portfolio.all_holdings().len(), 2);
    }
}
