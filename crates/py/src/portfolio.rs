//! `Portfolio`: positions and cash from commands and executions alone.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use tidebook_types::{Command, Execution};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// account, instrument, position, cost, realised, fees, worth, unrealised, numerator and denominator of the average price.
pub type HoldingFacts = (u32, u32, i128, i128, i128, i128, i128, i128, i128, i128);
/// account, asset, total, reserved.
pub type BalanceFacts = (u32, u32, i128, i128);

/// account, asset, equity, initial margin, maintenance margin, whether it was called.
pub type MarginFacts = (u32, u32, i128, i128, i128, bool);

/// Of a margin account, or of all, in the order of account and asset.
pub fn margin_facts(risk: &tidebook_risk::Risk, account: Option<u32>) -> Vec<MarginFacts> {
    let balances = balance_facts(risk.portfolio(), account);
    let facts = balances.iter().filter_map(|&(account, asset, ..)| {
        let margin = risk.margin(account, asset)?;
        Some((account, asset, margin.equity, margin.initial, margin.maintenance, margin.called))
    });
    facts.collect()
}

/// Positions of an account, or of all, in the order of account and instrument.
pub fn holding_facts(portfolio: &tidebook_risk::Portfolio, account: Option<u32>) -> Vec<HoldingFacts> {
    let mut holdings = match account {
        Some(account) => portfolio.holdings(account).copied().collect(),
        None => portfolio.all_holdings(),
    };
    holdings.sort_unstable_by_key(|holding| (holding.account, holding.instrument_id));
    let facts = holdings.iter().map(|it| {
        let average = portfolio.average_price(it).map_or((0, 0), |price| (price.numerator, price.denominator));
        let (worth, unrealised) = (portfolio.worth(it), portfolio.unrealised(it));
        let terms = (it.account, it.instrument_id, it.position, it.cost, it.realised, it.fees);
        (terms.0, terms.1, terms.2, terms.3, terms.4, terms.5, worth, unrealised, average.0, average.1)
    });
    facts.collect()
}

/// Balances of an account, or of all, in the order of account and asset.
pub fn balance_facts(portfolio: &tidebook_risk::Portfolio, account: Option<u32>) -> Vec<BalanceFacts> {
    let mut balances = match account {
        // The venue's own is nobody's, so it is in no list of an owner.
        Some(account) if account != 0 => portfolio.balances(account).copied().collect(),
        _ => portfolio.all_balances(),
    };
    balances.retain(|balance| account.is_none_or(|account| account == balance.account));
    balances.sort_unstable_by_key(|balance| (balance.account, balance.asset));
    balances.iter().map(|it| (it.account, it.asset, it.total, it.reserved)).collect()
}

/// Positions, cost, profit, fees and cash of all accounts.
#[pyclass(frozen, subclass, module = "tidebook._core")]
pub struct Portfolio(Mutex<tidebook_risk::Portfolio>);

#[pymethods]
impl Portfolio {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// Takes in commands of `orders`.
    fn _commands(&self, py: Python<'_>, commands: PyBuffer<u8>) -> PyResult<()> {
        let commands = records_of::<Command>(&commands)?;
        py.detach(|| {
            let mut portfolio = self.lock();
            commands.iter().for_each(|command| portfolio.on_command(command));
        });
        Ok(())
    }

    /// Takes in executions.
    fn _executions(&self, py: Python<'_>, executions: PyBuffer<u8>) -> PyResult<()> {
        let executions = records_of::<Execution>(&executions)?;
        py.detach(|| {
            let mut portfolio = self.lock();
            executions.iter().for_each(|execution| portfolio.on_execution(execution));
        });
        Ok(())
    }

    /// Positions of an account, or of all.
    #[pyo3(signature = (account=None))]
    fn _positions(&self, account: Option<u32>) -> Vec<HoldingFacts> {
        holding_facts(&self.lock(), account)
    }

    /// Balances of an account, or of all.
    #[pyo3(signature = (account=None))]
    fn _balances(&self, account: Option<u32>) -> Vec<BalanceFacts> {
        balance_facts(&self.lock(), account)
    }

    /// Cash of an asset and what positions quoted in it are worth.
    fn equity(&self, account: u32, asset: u32) -> i128 {
        self.lock().equity(account, asset)
    }
}

impl Portfolio {
    fn lock(&self) -> MutexGuard<'_, tidebook_risk::Portfolio> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of a buffer, copied: somebody may write to it meanwhile.
fn records_of<T: FromBytes + KnownLayout + Immutable + Copy>(buffer: &PyBuffer<u8>) -> PyResult<Vec<T>> {
    if !buffer.is_c_contiguous() {
        return Err(PyTypeError::new_err("records must be contiguous"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the buffer is held by the caller, contiguous and of single bytes; every record is read out of it once.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    let wrong = || PyTypeError::new_err(format!("{} bytes are no whole number of records", bytes.len()));
    bytes.chunks(size_of::<T>()).map(|chunk| T::read_from_bytes(chunk).map_err(|_| wrong())).collect()
}
