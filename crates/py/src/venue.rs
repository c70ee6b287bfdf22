//! `Venue`: risk and matching in this process, driven by arrays of commands or one command at a time.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;
use tidebook_book::Side;
use tidebook_plane::{Happened, LocalVenue, LocalVenueError, LocalVenueOptions, NoRoom, Outcome};
use tidebook_types::command::{CancelBody, PlaceBody, ReplaceBody};
use tidebook_types::{ClientOrderId, Command, CommandKind, Execution, OpenOrderRecord, OrderType};
use zerocopy::{FromBytes, IntoBytes};

use crate::errors::{self, Fact, Raised};
use crate::portfolio::{BalanceFacts, HoldingFacts, MarginFacts, balance_facts, holding_facts, margin_facts};
use crate::records::{Spare, lent_array, shared_array, to_array};

impl From<LocalVenueError> for Raised {
    fn from(error: LocalVenueError) -> Self {
        let message = error.to_string();
        match error {
            LocalVenueError::Journal(error) => error.into(),
            LocalVenueError::Sizes(error) => error.into(),
            LocalVenueError::Snapshot(error) => error.into(),
            LocalVenueError::Sequence { sequence, first, last }
            | LocalVenueError::Removed { sequence, first, last, .. } => {
                let nearest = sequence.clamp(first, last.max(first));
                Self::new(errors::QUERY, message)
                    .fact("kind", Fact::Text("sequence".into()))
                    .fact("value", Fact::Number(sequence))
                    .fact("nearest", Fact::Number(nearest))
            }
            LocalVenueError::NoRoom(NoRoom { orders_max, possible }) => Self::new(errors::QUERY, message)
                .fact("kind", Fact::Text("orders_max".into()))
                .fact("value", Fact::Number(orders_max.into()))
                .fact("nearest", Fact::Number(possible.into())),
            LocalVenueError::OwnWay { sequence } => Self::new(errors::QUERY, message)
                .fact("kind", Fact::Text("sequence".into()))
                .fact("value", Fact::Number(sequence)),
            LocalVenueError::NoHistory => Self::new(errors::QUERY, message).fact("kind", Fact::Text("sequence".into())),
            LocalVenueError::NoSnapshot { path } => {
                Self::new(errors::SNAPSHOT, message).fact("path", Fact::Text(path.display().to_string()))
            }
            LocalVenueError::Empty => Self::new(errors::SNAPSHOT, message),
            LocalVenueError::NoBeginning { first, .. } => {
                Self::new(errors::JOURNAL_COMPACTED, message).fact("first_sequence", Fact::Number(first))
            }
            _ => Self::new(errors::STATE, message),
        }
    }
}

fn raised(error: LocalVenueError) -> PyErr {
    Raised::from(error).into()
}

/// A venue on its way into a `Venue`: given to its constructor once.
#[pyclass(frozen, module = "tidebook._core")]
pub struct VenueState(Mutex<Option<LocalVenue>>);

impl VenueState {
    const fn of(venue: LocalVenue) -> Self {
        Self(Mutex::new(Some(venue)))
    }
}

/// What became of one command.
#[pyclass(frozen, module = "tidebook._core")]
pub struct CommandOutcome {
    outcome: Outcome,
    happened: Box<[Execution]>,
}

#[pymethods]
impl CommandOutcome {
    #[getter]
    const fn sequence(&self) -> u64 {
        self.outcome.sequence
    }

    #[getter]
    const fn order_id(&self) -> u64 {
        self.outcome.order_id
    }

    #[getter]
    const fn reason(&self) -> u8 {
        self.outcome.reason
    }

    #[getter]
    const fn accepted(&self) -> bool {
        self.outcome.reason == 0
    }

    #[getter]
    const fn filled(&self) -> i64 {
        self.outcome.filled
    }

    #[getter]
    const fn remaining(&self) -> i64 {
        self.outcome.remaining
    }

    #[getter]
    fn executions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_array(py, self.happened.to_vec())
    }

    const fn __bool__(&self) -> bool {
        self.outcome.reason == 0
    }

    fn __repr__(&self) -> String {
        let Outcome { sequence, order_id, reason, filled, remaining } = self.outcome;
        let said = tidebook_types::Reason::from_code(reason).map_or("unknown", tidebook_types::Reason::name);
        if reason == 0 {
            format!("CommandOutcome(sequence={sequence}, order_id={order_id}, filled={filled}, remaining={remaining})")
        } else {
            format!("CommandOutcome(sequence={sequence}, refused: {said})")
        }
    }
}

/// What callers say of a client's id.
#[derive(FromPyObject)]
enum GivenId {
    Text(String),
    Bytes([u8; 16]),
}

fn id_bytes(given: Option<GivenId>) -> PyResult<[u8; 16]> {
    match given {
        None => Ok([0; 16]),
        Some(GivenId::Bytes(bytes)) => Ok(bytes),
        Some(GivenId::Text(text)) => Ok(text.parse::<ClientOrderId>().map_err(Raised::from)?.0),
    }
}

/// The size of a replace: one that is not given is kept, which 0 in the command says.
fn size_or_kept(size: Option<i64>) -> PyResult<i64> {
    if size == Some(0) {
        let message =
            "replace: size 0 is no size: leave it out to keep the one that the order has, or cancel the order";
        let raised = Raised::new(errors::COMMAND, message.to_owned()).fact("field", Fact::Text("size".into()));
        let expected = Fact::Text("an integer above 0, or None".into());
        return Err(raised.fact("value", Fact::Text("0".into())).fact("expected", expected).into());
    }
    Ok(size.unwrap_or(0))
}

/// Levels that `depth` gives: what is asked for is made whether there are so many or not.
const LEVELS_MAX: usize = 1 << 20;

/// Executions and events, as arrays.
type Told<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);
/// Executions, events, and best prices as bytes.
type Watched<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyBytes>);
/// Sequence of the first command, commands as they were judged, executions and events, and follow-up commands with their sequences.
type Submitted<'py> = (u64, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Vec<u64>);
/// Prices and sizes.
type Levels<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Risk and matching in this process.
#[pyclass(frozen, subclass, module = "tidebook._core")]
pub struct Venue {
    inner: Mutex<Inner>,
    /// Of executions that nobody looks at any more.
    spare: Spare<Execution>,
}

struct Inner {
    venue: LocalVenue,
    /// Of single commands, so that its memory is taken once.
    happened: Happened,
}

/// Room by the names of Python's arguments.
fn options(
    orders_max: Option<u32>,
    accounts_max: Option<u32>,
    instruments_max: Option<u32>,
    ended_ids_max: Option<u32>,
    history: bool,
) -> LocalVenueOptions {
    let mut options = LocalVenueOptions { history, ..LocalVenueOptions::default() };
    if let Some(max) = orders_max {
        (options.risk.orders_max, options.venue.orders_max) = (max, max);
    }
    if let Some(max) = accounts_max {
        (options.risk.accounts_max, options.venue.accounts_max) = (max, max);
    }
    if let Some(max) = instruments_max {
        (options.risk.instruments_max, options.venue.instruments_max) = (max, max);
    }
    options.risk.ended_ids_max = ended_ids_max.unwrap_or(options.risk.ended_ids_max);
    options
}

/// Asks Ctrl-C and the caller's own function whether to go on, from work that has released the GIL.
struct Ask {
    progress: Option<Py<PyAny>>,
    failure: Option<PyErr>,
}

impl Ask {
    const fn new(progress: Option<Py<PyAny>>) -> Self {
        Self { progress, failure: None }
    }

    fn on(&mut self, sequence: u64) -> ControlFlow<()> {
        let told = Python::attach(|py| {
            py.check_signals()?;
            self.progress.as_ref().map(|tell| tell.call1(py, (sequence,))).transpose()
        });
        match told {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// The error as it is, or what ended the work.
    fn raised(self, error: LocalVenueError) -> PyErr {
        match (error, self.failure) {
            (LocalVenueError::Interrupted { .. }, Some(failure)) => failure,
            (error, _) => raised(error),
        }
    }
}

#[pymethods]
impl Venue {
    #[new]
    #[pyo3(signature = (*, orders_max=None, accounts_max=None, instruments_max=None, ended_ids_max=None, history=true, state=None))]
    fn new(
        orders_max: Option<u32>,
        accounts_max: Option<u32>,
        instruments_max: Option<u32>,
        ended_ids_max: Option<u32>,
        history: bool,
        state: Option<&VenueState>,
    ) -> PyResult<Self> {
        let venue = match state {
            None => LocalVenue::with_room(options(orders_max, accounts_max, instruments_max, ended_ids_max, history))
                .map_err(raised)?,
            Some(state) => state
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .ok_or_else(|| PyTypeError::new_err("this state is in a venue already"))?,
        };
        let inner = Mutex::new(Inner { venue, happened: Happened::default() });
        Ok(Self { inner, spare: Spare::default() })
    }

    /// Judges and carries out commands; see `tidebook.venue.Venue.submit`.
    fn _submit<'py>(&self, py: Python<'py>, commands: PyBuffer<u8>) -> PyResult<Submitted<'py>> {
        let commands = lent_commands(&commands)?;
        let (first, judged, happened) = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut happened = Happened::with_room(commands.len(), self.take_spare());
            let first = inner.venue.sequence() + 1;
            let judged = inner.venue.submit_all(commands, &mut happened);
            (first, judged, happened)
        });
        let (sequences, follow_ups): (Vec<_>, Vec<_>) = happened.follow_ups.into_iter().unzip();
        let executions = lent_array(py, happened.executions, &self.spare)?;
        let (events, follow_ups) = (to_array(py, happened.events)?, to_array(py, follow_ups)?);
        Ok((first, shared_array(py, judged)?, executions, events, follow_ups, sequences))
    }

    /// Takes in journaled commands; see `tidebook.venue.Venue.replay`.
    fn _replay<'py>(&self, py: Python<'py>, commands: PyBuffer<u8>, recheck: bool) -> PyResult<Told<'py>> {
        let commands = lent_commands(&commands)?;
        let applied = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut happened = Happened::with_room(commands.len(), self.take_spare());
            inner.venue.apply_all_journaled(commands, recheck, &mut happened)?;
            Ok(happened)
        });
        let happened = applied.map_err(raised)?;
        Ok((lent_array(py, happened.executions, &self.spare)?, to_array(py, happened.events)?))
    }

    /// Takes in journaled commands and says what books were before each; see `tidebook.venue.Venue.replay_with_tops`.
    fn _replay_with_tops<'py>(&self, py: Python<'py>, commands: PyBuffer<u8>) -> PyResult<Watched<'py>> {
        let commands = lent_commands(&commands)?;
        let applied = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut happened = Happened::with_room(commands.len(), self.take_spare());
            let tops = inner.venue.apply_all_journaled_with_tops(commands, &mut happened)?;
            Ok((happened, tops))
        });
        let (happened, tops) = applied.map_err(raised)?;
        let executions = lent_array(py, happened.executions, &self.spare)?;
        Ok((executions, to_array(py, happened.events)?, PyBytes::new(py, tops.as_bytes())))
    }

    /// Applies what the journal has more by now; how many commands, executions, events.
    #[pyo3(signature = (sequence=None, progress=None))]
    fn _read_on<'py>(
        &self,
        py: Python<'py>,
        sequence: Option<u64>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(u64, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let mut ask = Ask::new(progress);
        let read = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut happened = Happened::default();
            let last = sequence.unwrap_or(u64::MAX);
            let count = inner.venue.read_on(last, Some(&mut happened), |sequence| ask.on(sequence))?;
            Ok((count, happened))
        });
        let (count, happened) = read.map_err(|error| ask.raised(error))?;
        Ok((count, to_array(py, happened.executions)?, to_array(py, happened.events)?))
    }

    /// A new order.
    #[pyo3(signature = (
        account, instrument_id, side, price=0, size=0, *, order_type=1, time_in_force=None, client_order_id=None, amount=0,
        trigger_price=0, display_size=0, offset=0, peg=0, self_trade=0, flags=0, expire_ts=0, ts=0
    ))]
    #[allow(clippy::too_many_arguments, reason = "fields by their names")]
    fn place(
        &self,
        py: Python<'_>,
        account: u32,
        instrument_id: u32,
        side: i8,
        price: i64,
        size: i64,
        order_type: u8,
        time_in_force: Option<u8>,
        client_order_id: Option<GivenId>,
        amount: i64,
        trigger_price: i64,
        display_size: i64,
        offset: i64,
        peg: u8,
        self_trade: u8,
        flags: u8,
        expire_ts: i64,
        ts: i64,
    ) -> PyResult<CommandOutcome> {
        let usual = || OrderType::from_code(order_type).map_or(0, |it| it.usual_time_in_force().code());
        let body = PlaceBody {
            client_order_id: id_bytes(client_order_id)?,
            price,
            size,
            amount,
            trigger_price,
            display_size,
            offset,
            expire_ts,
            side,
            order_type,
            time_in_force: time_in_force.unwrap_or_else(usual),
            self_trade,
            peg,
            flags,
            reserved: [0; 10],
        };
        Ok(self.one(py, Command::new(CommandKind::Place, account, instrument_id, &body).at(ts)))
    }

    /// One order away.
    #[pyo3(signature = (account, instrument_id, order_id=0, *, client_order_id=None, ts=0))]
    fn cancel(
        &self,
        py: Python<'_>,
        account: u32,
        instrument_id: u32,
        order_id: u64,
        client_order_id: Option<GivenId>,
        ts: i64,
    ) -> PyResult<CommandOutcome> {
        let body = CancelBody { order_id, client_order_id: id_bytes(client_order_id)?, reserved: [0; 64] };
        Ok(self.one(py, Command::new(CommandKind::Cancel, account, instrument_id, &body).at(ts)))
    }

    /// An order's new state.
    #[pyo3(signature = (
        account, instrument_id, order_id=0, price=0, size=None, *, client_order_id=None, trigger_price=0, display_size=0, offset=0,
        expire_ts=0, ts=0
    ))]
    #[allow(clippy::too_many_arguments, reason = "fields by their names")]
    fn replace(
        &self,
        py: Python<'_>,
        account: u32,
        instrument_id: u32,
        order_id: u64,
        price: i64,
        size: Option<i64>,
        client_order_id: Option<GivenId>,
        trigger_price: i64,
        display_size: i64,
        offset: i64,
        expire_ts: i64,
        ts: i64,
    ) -> PyResult<CommandOutcome> {
        let client_order_id = id_bytes(client_order_id)?;
        let body = ReplaceBody {
            order_id,
            client_order_id,
            price,
            size: size_or_kept(size)?,
            trigger_price,
            display_size,
            offset,
            expire_ts,
            reserved: [0; 16],
        };
        Ok(self.one(py, Command::new(CommandKind::Replace, account, instrument_id, &body).at(ts)))
    }

    /// Last command applied.
    #[getter]
    fn sequence(&self, py: Python<'_>) -> u64 {
        self.lock(py).venue.sequence()
    }

    /// The latest time of all commands.
    #[getter]
    fn ts(&self, py: Python<'_>) -> i64 {
        self.lock(py).venue.matching().time()
    }

    /// Executions so far.
    #[getter]
    fn execution_count(&self, py: Python<'_>) -> u64 {
        self.lock(py).venue.matching().execution_count()
    }

    /// Open orders, waiting ones too.
    #[getter]
    fn order_count(&self, py: Python<'_>) -> u32 {
        self.lock(py).venue.matching().order_count()
    }

    /// First sequence that can be made again.
    #[getter]
    fn history_begin(&self, py: Python<'_>) -> Option<u64> {
        self.lock(py).venue.history_begin()
    }

    /// A hash of the whole state.
    fn state_hash(&self, py: Python<'_>) -> u64 {
        self.lock(py).venue.state_hash()
    }

    /// The same hash, computed anew from the whole state.
    fn recomputed_state_hash(&self, py: Python<'_>) -> Option<u64> {
        py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).venue.recomputed_state_hash())
    }

    /// Open orders as an array.
    #[pyo3(signature = (account=None, instrument_id=None))]
    fn open_orders<'py>(
        &self,
        py: Python<'py>,
        account: Option<u32>,
        instrument_id: Option<u32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let orders = py.detach(|| {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let orders = inner.venue.matching().open_orders_of(account, instrument_id);
            orders.iter().map(OpenOrderRecord::from).collect::<Vec<_>>()
        });
        to_array(py, orders)
    }

    /// The open order with this id, as an array of one, or of none.
    fn _order<'py>(&self, py: Python<'py>, order_id: u64) -> PyResult<Bound<'py, PyAny>> {
        let order = self.lock(py).venue.matching().order(order_id);
        to_array(py, order.iter().map(OpenOrderRecord::from).collect())
    }

    /// The order that bears a client's id, or bore it and is remembered.
    fn order_of(&self, py: Python<'_>, account: u32, client_order_id: GivenId) -> PyResult<Option<u64>> {
        let id = id_bytes(Some(client_order_id))?;
        Ok(self.lock(py).venue.risk().order_of(account, id))
    }

    /// Asset, needed and available of a command that would be refused for its balance or margin now, in ledger units.
    fn _shortfall(&self, py: Python<'_>, command: &[u8]) -> PyResult<Option<(u32, i128, i128)>> {
        let command = Command::read_from_bytes(command)
            .map_err(|_| PyTypeError::new_err(format!("a command has 128 bytes, and this {}", command.len())))?;
        let lacks = self.lock(py).venue.risk().shortfall(&command);
        Ok(lacks.map(|lacks| (lacks.asset, lacks.needed, lacks.available)))
    }

    /// Prices and shown sizes of the best levels.
    #[pyo3(signature = (instrument_id, count=10))]
    fn depth<'py>(&self, py: Python<'py>, instrument_id: u32, count: usize) -> PyResult<Levels<'py>> {
        if count > LEVELS_MAX {
            let message = format!("depth: count = {count}: {LEVELS_MAX} levels of each side at most");
            return Err(Raised::new(errors::QUERY, message).fact("value", Fact::Number(count as u64)).into());
        }
        let mut prices = vec![0i64; 2 * count];
        let mut sizes = vec![0i64; 2 * count];
        {
            let inner = self.lock(py);
            for (row, side) in Side::BOTH.into_iter().enumerate() {
                for (place, level) in inner.venue.matching().depth(instrument_id, side).take(count).enumerate() {
                    (prices[row * count + place], sizes[row * count + place]) = level;
                }
            }
        }
        let numpy = py.import("numpy")?;
        let array = |units: Vec<i64>| {
            let bytes = PyBytes::new(py, units.as_bytes());
            numpy.call_method1("frombuffer", (bytes, "<i8"))?.call_method1("reshape", ((2, count),))
        };
        Ok((array(prices)?, array(sizes)?))
    }

    /// The instrument's session.
    fn _session(&self, py: Python<'_>, instrument_id: u32) -> u8 {
        self.lock(py).venue.matching().session(instrument_id).code()
    }

    /// Price of the last trade.
    fn last_trade(&self, py: Python<'_>, instrument_id: u32) -> Option<i64> {
        self.lock(py).venue.matching().last_trade(instrument_id)
    }

    /// Numbers of all instruments, rising.
    fn instrument_ids(&self, py: Python<'_>) -> Vec<u32> {
        self.lock(py).venue.matching().instrument_ids()
    }

    /// Numbers of all accounts, rising.
    fn account_ids(&self, py: Python<'_>) -> Vec<u32> {
        self.lock(py).venue.matching().account_ids()
    }

    /// The command that would define an instrument as it is, as its bytes.
    fn _definition<'py>(&self, py: Python<'py>, instrument_id: u32) -> Option<Bound<'py, PyBytes>> {
        let body = self.lock(py).venue.matching().definition(instrument_id)?;
        Some(PyBytes::new(py, Command::new(CommandKind::Instrument, 0, instrument_id, &body).as_bytes()))
    }

    /// Positions of an account, or of all.
    #[pyo3(signature = (account=None))]
    fn _positions(&self, py: Python<'_>, account: Option<u32>) -> Vec<HoldingFacts> {
        holding_facts(self.lock(py).venue.risk().portfolio(), account)
    }

    /// Balances of an account, or of all.
    #[pyo3(signature = (account=None))]
    fn _balances(&self, py: Python<'_>, account: Option<u32>) -> Vec<BalanceFacts> {
        balance_facts(self.lock(py).venue.risk().portfolio(), account)
    }

    /// What a margin account, or all, have and need of each quote asset.
    #[pyo3(signature = (account=None))]
    fn _margins(&self, py: Python<'_>, account: Option<u32>) -> Vec<MarginFacts> {
        margin_facts(self.lock(py).venue.risk(), account)
    }

    /// Account and asset of every margin call that stands.
    fn _margin_calls(&self, py: Python<'_>) -> Vec<(u32, u32)> {
        self.lock(py).venue.risk().margin_calls()
    }

    /// Cash of an asset and what positions quoted in it are worth.
    fn equity(&self, py: Python<'_>, account: u32, asset: u32) -> i128 {
        self.lock(py).venue.risk().portfolio().equity(account, asset)
    }

    /// Commands as they were journaled.
    fn _commands<'py>(&self, py: Python<'py>, first: u64, last: u64) -> PyResult<Bound<'py, PyAny>> {
        let commands =
            py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).venue.commands(first, last));
        to_array(py, commands.map_err(raised)?)
    }

    /// Another that is the same.
    fn _fork(&self, py: Python<'_>) -> VenueState {
        VenueState::of(py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).venue.fork()))
    }

    /// This venue as it was.
    #[pyo3(signature = (sequence, progress=None))]
    fn _at(&self, py: Python<'_>, sequence: u64, progress: Option<Py<PyAny>>) -> PyResult<VenueState> {
        let mut ask = Ask::new(progress);
        let venue = py.detach(|| {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.venue.at(sequence, |sequence| ask.on(sequence))
        });
        venue.map(VenueState::of).map_err(|error| ask.raised(error))
    }

    /// Writes a snapshot; where it is.
    fn _save(&self, py: Python<'_>, directory: PathBuf, created_ns: i64) -> PyResult<PathBuf> {
        let saved = py.detach(|| {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.venue.save(&directory, created_ns)
        });
        saved.map(|facts| facts.path).map_err(raised)
    }

    /// The venue of a snapshot.
    #[staticmethod]
    #[pyo3(signature = (directory, sequence=None, history=true))]
    fn _load(py: Python<'_>, directory: PathBuf, sequence: Option<u64>, history: bool) -> PyResult<VenueState> {
        let options = LocalVenueOptions { history, ..LocalVenueOptions::default() };
        let loaded = py.detach(|| LocalVenue::load(&directory, sequence, options));
        loaded.map(|(venue, _)| VenueState::of(venue)).map_err(raised)
    }

    /// The venue that a journal describes.
    #[staticmethod]
    #[pyo3(signature = (
        journal, snapshots=None, sequence=None, recheck=false, progress=None, *, orders_max=None, accounts_max=None,
        instruments_max=None, ended_ids_max=None, history=true
    ))]
    #[allow(clippy::too_many_arguments, reason = "options by their names")]
    fn _open(
        py: Python<'_>,
        journal: PathBuf,
        snapshots: Option<PathBuf>,
        sequence: Option<u64>,
        recheck: bool,
        progress: Option<Py<PyAny>>,
        orders_max: Option<u32>,
        accounts_max: Option<u32>,
        instruments_max: Option<u32>,
        ended_ids_max: Option<u32>,
        history: bool,
    ) -> PyResult<VenueState> {
        let options = options(orders_max, accounts_max, instruments_max, ended_ids_max, history);
        let mut ask = Ask::new(progress);
        let opened = py.detach(|| {
            let on = |sequence| ask.on(sequence);
            LocalVenue::open(&journal, snapshots.as_deref(), sequence, recheck, options, on)
        });
        opened.map(VenueState::of).map_err(|error| ask.raised(error))
    }
}

impl Venue {
    fn lock<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, Inner> {
        self.inner.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for executions: none while somebody looks at what is in it.
    fn take_spare(&self) -> Vec<Execution> {
        std::mem::take(&mut *self.spare.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Submits one command.
    fn one(&self, py: Python<'_>, mut command: Command) -> CommandOutcome {
        let mut inner = self.lock(py);
        let Inner { venue, happened } = &mut *inner;
        happened.clear();
        let sequence = venue.submit(&mut command, happened);
        let outcome = Outcome::of(sequence, &command, &happened.executions);
        CommandOutcome { outcome, happened: happened.executions.as_slice().into() }
    }
}

/// The commands of a buffer, each to be copied before it is used: somebody may write to it meanwhile.
fn lent_commands(buffer: &PyBuffer<u8>) -> PyResult<&[Command]> {
    if !buffer.is_c_contiguous() {
        return Err(PyTypeError::new_err("commands must be contiguous"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(&[]);
    }
    // SAFETY: the buffer is held until the caller returns, contiguous and of single bytes.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    <[Command]>::ref_from_bytes(bytes).map_err(|_| no_commands(buffer))
}

fn no_commands(buffer: &PyBuffer<u8>) -> PyErr {
    PyTypeError::new_err(format!("{} bytes are no aligned commands of 128 bytes", buffer.len_bytes()))
}
