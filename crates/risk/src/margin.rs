//! Exposure, initial margin, and the maintenance check with its calls.

use tidebook_types::{RiskEvent, RiskEventKind};

use crate::entries::{Account, Line};
use crate::ledger::{bounded, parts_up};
use crate::risk::Risk;
use crate::table::NONE;

/// Decimals in which events tell amounts.
const EVENT_UNIT: i128 = crate::ledger::power(10);

/// An amount for an event, rounded down.
pub(crate) fn told(amount: i128) -> i64 {
    i64::try_from(amount.div_euclid(EVENT_UNIT)).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

/// What a margin account has and needs of a quote asset, in ledger units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margin {
    /// Cash and what its positions are worth.
    pub equity: i128,
    /// What positions and open orders need to be opened.
    pub initial: i128,
    /// What positions need to be kept.
    pub maintenance: i128,
    /// Whether it was told that its equity is below that.
    pub called: bool,
}

impl Margin {
    /// What could be taken out, or be the margin of more.
    pub const fn free(&self) -> i128 {
        self.equity.saturating_sub(self.initial)
    }
}

impl Risk {
    /// Of an account in a quote asset; `None` of one that is no margin account.
    pub fn margin(&self, account: u32, asset: u32) -> Option<Margin> {
        let account = self.accounts.by_key(account).filter(|account| account.known && account.margin())?;
        Some(Margin {
            equity: self.portfolio.equity(account.id, asset),
            initial: Self::initial(account, self.exposures(account, asset, None)),
            maintenance: self.maintenance(account, asset),
            called: self.portfolio.balance(account.id, asset).called,
        })
    }

    /// Account and asset of every call that was told and not taken back, in their order.
    pub fn margin_calls(&self) -> Vec<(u32, u32)> {
        let mut calls: Vec<_> = self.portfolio.called().map(|balance| (balance.account, balance.asset)).collect();
        calls.sort_unstable();
        calls
    }

    /// What the account stands to have at risk in an instrument, with so much more open worth (in ledger units) of buys and sells.
    pub(crate) fn exposure(&self, line: &Line, buys: i128, sells: i128) -> i128 {
        if line.listed == NONE {
            return buys.max(sells);
        }
        let worth = self.portfolio.worth(self.portfolio.holding_at(line.holding));
        let scale = &self.instruments.get(line.listed).scale;
        let long = worth.saturating_add(scale.worth(line.buys_worth)).saturating_add(buys);
        let short = (-worth).saturating_add(scale.worth(line.sells_worth)).saturating_add(sells);
        bounded(long.max(short))
    }

    /// The account's lines.
    fn lines_of(&self, account: &Account) -> impl Iterator<Item = (u32, &Line)> {
        self.lines.chain(account.lines, |line| line.next)
    }

    /// Sum of exposures in instruments quoted in `asset`, that of line `except` left out.
    pub(crate) fn exposures(&self, account: &Account, asset: u32, except: Option<u32>) -> i128 {
        self.lines_of(account)
            .filter(|(slot, line)| Some(*slot) != except && self.instruments.get(line.listed).quote_asset == asset)
            .fold(0, |sum: i128, (_, line)| sum.saturating_add(self.exposure(line, 0, 0)))
    }

    /// What a sum of exposures needs of equity to be opened.
    pub(crate) const fn initial(account: &Account, exposures: i128) -> i128 {
        parts_up(bounded(exposures), account.initial_ppm as i128)
    }

    /// What the account's positions quoted in `asset` need of equity to be kept.
    fn maintenance(&self, account: &Account, asset: u32) -> i128 {
        let worths = self
            .portfolio
            .holdings(account.id)
            .filter(|holding| self.portfolio.is_quoted_in(holding, asset))
            .fold(0, |sum: i128, holding| sum.saturating_add(self.portfolio.worth(holding).saturating_abs()));
        parts_up(bounded(worths), account.maintenance_ppm.into())
    }

    /// Says whether a margin account's equity is still, or again, what its positions need; of each asset in the order of their numbers.
    pub(crate) fn check_margin(&mut self, account: u32) {
        let Some(slot) = self.accounts.find(account) else { return };
        let account = *self.accounts.get(slot);
        if !account.margin() {
            return;
        }
        let mut last = None;
        loop {
            let assets = self.portfolio.balances(account.id).map(|balance| balance.asset);
            let Some(asset) = assets.filter(|&asset| last.is_none_or(|last| asset > last)).min() else { return };
            last = Some(asset);
            let (equity, needed) = (self.portfolio.equity(account.id, asset), self.maintenance(&account, asset));
            let short = needed > 0 && equity < needed;
            let balance = self.portfolio.balance_slot(account.id, asset);
            if self.portfolio.balance(account.id, asset).called == short {
                continue;
            }
            self.portfolio.balance_at(balance).called = short;
            let kind = if short { RiskEventKind::MarginCall } else { RiskEventKind::MarginRestored };
            let (value, limit) = (told(equity), told(needed.saturating_add(EVENT_UNIT - 1)));
            self.tell(kind, RiskEvent { account: account.id, asset, value, limit, ..RiskEvent::default() });
        }
    }
}
