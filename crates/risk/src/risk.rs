//! The state of risk, what it tells, and how it is kept.

use std::collections::VecDeque;

use tidebook_types::command::MassCancelBody;
use tidebook_types::{Command, CommandKind, Execution, Reason, RiskEvent, RiskEventKind, Verdict};

use crate::check::Checked;
use crate::client_ids::ClientIds;
use crate::entries::{
    Account, Line, Listed, Order, PendingDefinition, PendingReplace, hash_queue, load_queue, save_queue,
};
use crate::ledger::{LEDGER_EXP, Scale};
use crate::plain::{Input, Plain, PlainError, mix};
use crate::portfolio::{Portfolio, pair};
use crate::table::{NONE, Table};

/// Bounds of what risk holds. Part of its state: replays need the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiskOptions {
    /// Open orders, over all accounts.
    pub orders_max: u32,
    /// Accounts.
    pub accounts_max: u32,
    /// Instruments.
    pub instruments_max: u32,
    /// Ids of ended orders that are remembered of each account.
    pub ended_ids_max: u32,
}

impl Default for RiskOptions {
    /// A million open orders, a million accounts, 65,536 instruments, 4,096 ids.
    fn default() -> Self {
        Self { orders_max: 1 << 20, accounts_max: 1 << 20, instruments_max: 1 << 16, ended_ids_max: 4096 }
    }
}

/// The state machine of checks before matching.
#[derive(Debug, Clone)]
pub struct Risk {
    pub(crate) options: RiskOptions,
    /// Time of the last command.
    pub(crate) ts: i64,
    pub(crate) sequence: u64,
    pub(crate) executions_seen: u64,
    pub(crate) events_count: u64,
    pub(crate) killed: bool,
    pub(crate) instruments: Table<Listed>,
    pub(crate) accounts: Table<Account>,
    pub(crate) lines: Table<Line>,
    pub(crate) orders: Table<Order>,
    pub(crate) ids: ClientIds,
    pub(crate) portfolio: Portfolio,
    pub(crate) replaces: VecDeque<PendingReplace>,
    pub(crate) definitions: VecDeque<PendingDefinition>,
    /// Orders that end with the command that placed them.
    pub(crate) immediate: VecDeque<u64>,
    /// Accounts whose orders are to be cancelled.
    pub(crate) due: VecDeque<u32>,
    pub(crate) events: Vec<RiskEvent>,
    /// Room for a list of accounts that is made and used up within a command.
    pub(crate) picked: Vec<u32>,
    /// Only while a recheck asks what the checks said before the worst prices of stops were reckoned from their triggers.
    pub(crate) stops_by_reference: bool,
}

/// What was decided of a command, with what the checks found where it is accepted.
#[derive(Debug, Clone, Copy)]
#[must_use = "what was decided is to be taken in"]
pub struct Decided(Option<Checked>);

impl Decided {
    /// Its verdict.
    #[inline]
    pub const fn verdict(&self) -> Verdict {
        if self.0.is_some() { Verdict::Accepted } else { Verdict::Rejected }
    }
}

/// Entries that are allocated at the start; tables grow when they are needed larger.
const CAPACITY_MAX: usize = 1 << 12;

impl Risk {
    /// Knows nobody and nothing.
    pub fn new(options: RiskOptions) -> Self {
        let room = |max: u32| (max as usize).min(CAPACITY_MAX);
        let (orders, accounts) = (room(options.orders_max), room(options.accounts_max));
        let instruments = room(options.instruments_max).min(64);
        Self {
            options,
            ts: 0,
            sequence: 0,
            executions_seen: 0,
            events_count: 0,
            killed: false,
            instruments: Table::with_capacity(instruments),
            accounts: Table::with_capacity(accounts),
            lines: Table::with_capacity(accounts),
            orders: Table::with_capacity(orders),
            ids: ClientIds::new(orders, options.ended_ids_max),
            portfolio: Portfolio::with_capacity(instruments, accounts),
            replaces: VecDeque::with_capacity(1024),
            definitions: VecDeque::with_capacity(64),
            immediate: VecDeque::with_capacity(1024),
            due: VecDeque::with_capacity(64),
            events: Vec::with_capacity(64),
            picked: Vec::with_capacity(accounts),
            stops_by_reference: false,
        }
    }

    /// Judges a command that is to have `sequence` on `orders`, and fills in what risk says of it.
    ///
    /// What it told is in [`Self::events`] until the next call of any kind; a command that has to follow is in [`Self::follow_up`].
    pub fn judge(&mut self, sequence: u64, command: &mut Command) -> Verdict {
        let decided = self.decide(command);
        self.take(sequence, command, decided);
        decided.verdict()
    }

    /// Judges a command, fills in what risk says of it, and changes nothing: [`Self::take`] has to follow before anything else does.
    #[inline]
    pub fn decide(&self, command: &mut Command) -> Decided {
        command.head.ts = command.head.ts.max(self.ts);
        command.head.executions_seen = self.executions_seen;
        let checked = self.check(command);
        command.head.reason = match &checked {
            Ok(checked) => {
                checked.filled().put_into(command);
                Reason::None.code()
            }
            Err(reason) => reason.code(),
        };
        let decided = Decided(checked.ok());
        command.head.verdict = decided.verdict().code();
        decided
    }

    /// As [`Self::decide`] of a command that is journaled so. Where another verdict, reason or price comes out, it is what the rules from before
    /// the worst prices of stops were reckoned from their triggers say, if those say it as journaled: journals say nothing of their rules.
    pub(crate) fn decide_again(&mut self, command: &mut Command, journaled: &Command) -> Decided {
        let mut said = *command;
        let decided = self.decide(&mut said);
        if said != *journaled {
            self.stops_by_reference = true;
            let before = self.decide(command);
            self.stops_by_reference = false;
            if *command == *journaled {
                return before;
            }
        }
        *command = said;
        decided
    }

    /// As [`Self::decide`], refuses a command for a reason that is not one of the rules: they know nothing of when it was sent. It is to change
    /// nothing but the time, and to take no token.
    pub fn decide_late(&self, command: &mut Command) -> Decided {
        self.decide_as(command, Reason::Late)
    }

    /// As [`Self::decide`], refuses it for this reason, whatever the rules would say of it now.
    pub(crate) fn decide_as(&self, command: &mut Command, reason: Reason) -> Decided {
        command.head.ts = command.head.ts.max(self.ts);
        command.head.executions_seen = self.executions_seen;
        (command.head.verdict, command.head.reason) = (Verdict::Rejected.code(), reason.code());
        Decided(None)
    }

    /// Takes in the command that was decided last, with `sequence` on `orders`. What it told is in [`Self::events`].
    #[inline]
    pub fn take(&mut self, sequence: u64, command: &Command, decided: Decided) {
        self.take_in(sequence, command, decided.0);
    }

    /// Takes in a command of `orders` with the verdict that it has, whatever the rules would say of it now.
    pub fn replay(&mut self, sequence: u64, command: &Command) {
        self.take_in(sequence, command, None);
    }

    /// `checked` is what the checks found of it, where they were made.
    #[inline]
    fn take_in(&mut self, sequence: u64, command: &Command, checked: Option<Checked>) {
        self.events.clear();
        self.ts = self.ts.max(command.head.ts);
        self.sequence = sequence;
        self.commit(command, checked);
    }

    /// Takes in an execution; they come in order.
    pub fn on_execution(&mut self, execution: &Execution) {
        self.events.clear();
        self.executions_seen = execution.sequence;
        self.execute(execution);
    }

    /// What the last call told, in the order it happened.
    pub fn events(&self) -> &[RiskEvent] {
        &self.events
    }

    /// The command that is to be judged and journaled next, before any other: the mass cancel of a kill switch. The same until it was judged.
    pub fn follow_up(&self) -> Option<Command> {
        let account = *self.due.front()?;
        Some(Command::new(CommandKind::MassCancel, account, 0, &MassCancelBody::default()).at(self.ts))
    }

    /// Its bounds.
    pub const fn options(&self) -> RiskOptions {
        self.options
    }

    /// What accounts have.
    pub const fn portfolio(&self) -> &Portfolio {
        &self.portfolio
    }

    /// Last execution that was seen.
    pub const fn executions_seen(&self) -> u64 {
        self.executions_seen
    }

    /// Events told so far: the number of the last.
    pub const fn events_count(&self) -> u64 {
        self.events_count
    }

    /// The time: that of the last command.
    pub const fn ts(&self) -> i64 {
        self.ts
    }

    /// Last command of `orders` that was judged or replayed; 0 before the first.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Orders that may be open.
    pub const fn open_orders(&self) -> usize {
        self.orders.len()
    }

    /// The order that has this client's id, or had it and is remembered.
    pub fn order_of(&self, account: u32, client_order_id: [u8; 16]) -> Option<u64> {
        self.ids.order_of(account, client_order_id)
    }

    /// What of the account's balance of an asset no open order may need, in ledger units; below 0 if it owes.
    pub fn available(&self, account: u32, asset: u32) -> i128 {
        let balance = self.portfolio.balance(account, asset);
        balance.total - balance.reserved
    }

    /// The same, where the balance's slot may be known already.
    #[inline]
    pub(crate) fn available_in(&self, slot: u32, account: u32, asset: u32) -> i128 {
        if slot == NONE {
            return self.available(account, asset);
        }
        let balance = self.portfolio.balance_in(slot);
        balance.total - balance.reserved
    }

    /// What open orders may still add to the account's position: buys, sells, in size units.
    pub fn open_sizes(&self, account: u32, instrument_id: u32) -> (i128, i128) {
        self.lines.by_key(pair(account, instrument_id)).map_or((0, 0), |line| (line.buys, line.sells))
    }

    pub(crate) fn tell(&mut self, kind: RiskEventKind, event: RiskEvent) {
        self.events_count += 1;
        self.events.push(RiskEvent {
            sequence: self.events_count,
            source_sequence: self.sequence,
            executions_seen: self.executions_seen,
            ts: self.ts,
            kind: kind.code(),
            ..event
        });
    }

    /// A hash of everything that may change what later messages do.
    pub fn state_hash(&self) -> u64 {
        let tables = [
            self.instruments.hash(),
            self.accounts.hash(),
            self.lines.hash(),
            self.orders.hash(),
            self.ids.hash(),
            self.portfolio.hash(),
        ];
        self.hash_rest(tables.into_iter().fold(0, u64::wrapping_add))
    }

    fn hash_rest(&self, state: u64) -> u64 {
        let RiskOptions { orders_max, accounts_max, instruments_max, ended_ids_max } = self.options;
        let state =
            [orders_max, accounts_max, instruments_max, ended_ids_max].iter().fold(state, |state, it| it.hash(state));
        let state = self
            .killed
            .hash(self.events_count.hash(self.executions_seen.hash(self.sequence.hash(self.ts.hash(state)))));
        let state = hash_queue(&self.definitions, hash_queue(&self.replaces, mix(state, 11)));
        hash_queue(&self.due, hash_queue(&self.immediate, state))
    }

    /// The same hash by another way: of a state that is made anew from what [`Self::save`] writes, with every sum added up again.
    ///
    /// # Panics
    /// When what was saved cannot be loaded, which would be a fault of ours.
    pub fn recomputed_state_hash(&self) -> u64 {
        let mut bytes = Vec::new();
        self.save(&mut bytes);
        let mut again = Self::new(self.options);
        if let Err((offset, reason)) = again.load(&bytes) {
            unreachable!("what was saved is loaded, but at {offset}: {reason}");
        }
        again.state_hash()
    }

    /// Appends all of itself: a function of the messages alone.
    pub fn save(&self, out: &mut Vec<u8>) {
        let RiskOptions { orders_max, accounts_max, instruments_max, ended_ids_max } = self.options;
        [orders_max, accounts_max, instruments_max, ended_ids_max].iter().for_each(|it| it.save(out));
        self.ts.save(out);
        [self.sequence, self.executions_seen, self.events_count].iter().for_each(|it| it.save(out));
        self.killed.save(out);
        self.instruments.save(out);
        self.accounts.save(out);
        self.portfolio.save(out);
        self.lines.save(out);
        self.orders.save(out);
        self.ids.save(out);
        save_queue(&self.replaces, out);
        save_queue(&self.definitions, out);
        save_queue(&self.immediate, out);
        save_queue(&self.due, out);
    }

    /// Becomes what was saved. Called on a new state; the options are those of the saved one.
    ///
    /// # Errors
    /// The first byte that cannot be, and why. The state is not used after it.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), (u64, &'static str)> {
        let mut input = Input::new(bytes);
        let loaded = self.load_from(&mut input);
        loaded
            .and_then(
                |()| if input.rest().is_empty() { Ok(()) } else { Err(input.error("more bytes than a state has")) },
            )
            .map_err(|error| (error.offset as u64, error.reason))
    }

    fn load_from(&mut self, input: &mut Input<'_>) -> Result<(), PlainError> {
        *self = Self::new(RiskOptions {
            orders_max: Plain::load(input)?,
            accounts_max: Plain::load(input)?,
            instruments_max: Plain::load(input)?,
            ended_ids_max: Plain::load(input)?,
        });
        self.ts = Plain::load(input)?;
        self.sequence = Plain::load(input)?;
        self.executions_seen = Plain::load(input)?;
        self.events_count = Plain::load(input)?;
        self.killed = Plain::load(input)?;
        self.instruments.load(input)?;
        self.accounts.load(input)?;
        self.portfolio.load(input)?;
        for slot in 0..self.instruments.len() as u32 {
            let listed = *self.instruments.get(slot);
            if u16::from(listed.price_exp) + u16::from(listed.size_exp) > u16::from(LEDGER_EXP)
                || listed.tick < 1
                || listed.lot < 1
            {
                return Err(input.error("an instrument that cannot be listed"));
            }
            let market =
                self.portfolio.markets.find(listed.id).ok_or_else(|| input.error("an instrument of no market"))?;
            let listed = self.instruments.get_mut(slot);
            listed.scale = Scale::new(&listed.body());
            listed.market = market;
        }
        for slot in 0..self.accounts.len() as u32 {
            if self.portfolio.owners.find(self.accounts.get(slot).id).is_none() {
                return Err(input.error("an account without an owner"));
            }
        }
        self.lines.load(input)?;
        for slot in 0..self.lines.len() as u32 {
            self.tie_line(slot).ok_or_else(|| input.error("limits of no account or instrument"))?;
        }
        self.orders.load(input)?;
        for slot in 0..self.orders.len() as u32 {
            self.tie_order(slot).ok_or_else(|| input.error("an order of no account or instrument"))?;
        }
        let Self { ids, orders, accounts, .. } = self;
        ids.load(
            input,
            |order_id, chain| {
                let slot = orders.find(order_id)?;
                chain.map_or(Some(orders.get(slot).ids), |chain| {
                    orders.get_mut(slot).ids = chain;
                    Some(NONE)
                })
            },
            |account, list| {
                let slot = accounts.find(account)?;
                list.map_or(Some(accounts.get(slot).ended), |list| {
                    accounts.get_mut(slot).ended = list;
                    Some(list)
                })
            },
        )?;
        load_queue(&mut self.replaces, input)?;
        load_queue(&mut self.definitions, input)?;
        load_queue(&mut self.immediate, input)?;
        load_queue(&mut self.due, input)
    }

    /// The line of an account in an instrument, made if there is none.
    pub(crate) fn line_slot(&mut self, account: u32, instrument_id: u32) -> u32 {
        if let Some(slot) = self.lines.find(pair(account, instrument_id)) {
            return slot;
        }
        let slot = self.lines.insert(Line { account, instrument_id, ..Line::default() });
        self.tie_line(slot);
        slot
    }

    /// Puts a line among its account's. `None` if there is no such account or instrument.
    fn tie_line(&mut self, slot: u32) -> Option<()> {
        let Line { account, instrument_id, .. } = *self.lines.get(slot);
        let listed = self.instruments.find(instrument_id)?;
        let owner = self.accounts.find(account)?;
        let holding = self.portfolio.holding_slot(account, instrument_id);
        let next = std::mem::replace(&mut self.accounts.get_mut(owner).lines, slot);
        let line = self.lines.get_mut(slot);
        (line.next, line.owner, line.listed, line.holding) = (next, owner, listed, holding);
        Some(())
    }

    /// Counts a loaded order where it counts.
    fn tie_order(&mut self, slot: u32) -> Option<()> {
        let order = *self.orders.get(slot);
        let line = self.lines.find(pair(order.account, order.instrument_id))?;
        self.orders.get_mut(slot).line = line;
        self.count_order(line, 1);
        let (buy, counted) = (order.is_buy(), order.counted());
        self.count_sizes(line, buy, counted.size, counted.worth);
        self.reserve(line, counted.quote, counted.base);
        Some(())
    }
}
