//! Instruments, accounts and sessions.

use tidebook_types::command::{
    ACCOUNT_MARGIN, ACCOUNT_OWN_FEES, AccountBody, BandAction, Command, InstrumentBody, Session, SessionBody,
    TimeInForce, UNITS_MAX,
};
use tidebook_types::execution::{ExecutionKind, Reason};

use super::{Account, Instrument, NaiveVenue, demand, fields, head_is_clean};

/// The largest rate of a fee, and of a rebate: all of the notional.
const RATE_MAX: i32 = 1_000_000;
/// Decimals of prices and sizes together, so that every notional is a whole number of 10^-18.
const EXPONENTS_MAX: u32 = 18;

fn is_rate(ppm: i32) -> bool {
    (-RATE_MAX..=RATE_MAX).contains(&ppm)
}

impl NaiveVenue {
    pub(super) fn list_instrument(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let body: InstrumentBody = command.body();
        demand(head.account == 0, Reason::Operator)?;
        demand(head.instrument_id != 0, Reason::Instrument)?;
        fields(head_is_clean(command) && body.reserved == [0; 25])?;
        fields(u32::from(body.price_exp) + u32::from(body.size_exp) <= EXPONENTS_MAX)?;
        fields(is_rate(body.maker_ppm) && is_rate(body.taker_ppm))?;
        fields(BandAction::from_code(body.band_action).is_some())?;
        demand((1..=UNITS_MAX).contains(&body.tick), Reason::Tick)?;
        demand((1..=UNITS_MAX).contains(&body.lot), Reason::Lot)?;
        demand(0 <= body.size_min && body.size_min <= body.size_max, Reason::Size)?;
        demand(body.lot <= body.size_max && body.size_max <= UNITS_MAX, Reason::Size)?;
        demand((0..=UNITS_MAX).contains(&body.reference_price), Reason::Price)?;
        let has_orders = self.orders.iter().any(|order| order.instrument_id == head.instrument_id);
        if let Some(instrument) = self.instruments.get_mut(&head.instrument_id) {
            let of = |terms: &InstrumentBody| (terms.price_exp, terms.size_exp, terms.base_asset, terms.quote_asset);
            demand(of(&instrument.terms) == of(&body), Reason::Definition)?;
            let steps = |terms: &InstrumentBody| (terms.tick, terms.lot, terms.size_max);
            demand(steps(&instrument.terms) == steps(&body) || !has_orders, Reason::Definition)?;
            instrument.terms = body;
            if body.reference_price > 0 {
                instrument.reference_price = body.reference_price;
            }
        } else {
            demand(self.instruments.len() < self.options.instruments_max as usize, Reason::Full)?;
            let instrument = Instrument {
                terms: body,
                reference_price: body.reference_price,
                session: Session::Closed,
                last_trade: None,
                trade_id: 0,
                indicative: (0, 0),
            };
            self.instruments.insert(head.instrument_id, instrument);
        }
        self.say_done(command);
        Ok(())
    }

    pub(super) fn open_account(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let body: AccountBody = command.body();
        demand(head.account != 0, Reason::Account)?;
        fields(head_is_clean(command) && head.instrument_id == 0 && body.reserved == [0; 67])?;
        fields(body.flags & !(ACCOUNT_OWN_FEES | ACCOUNT_MARGIN) == 0)?;
        fields(is_rate(body.maker_ppm) && is_rate(body.taker_ppm))?;
        if let Some(account) = self.accounts.get_mut(&head.account) {
            account.terms = body;
        } else {
            demand(self.accounts.len() < self.options.accounts_max as usize, Reason::Full)?;
            self.accounts.insert(head.account, Account { terms: body, dead_man: None });
        }
        self.say_done(command);
        Ok(())
    }

    pub(super) fn change_session(&mut self, command: &Command) -> Result<(), Reason> {
        let head = command.head;
        let body: SessionBody = command.body();
        demand(head.account == 0, Reason::Operator)?;
        let from = self.instruments.get(&head.instrument_id).ok_or(Reason::Instrument)?.session;
        fields(head_is_clean(command) && body.reserved == [0; 87])?;
        let to = Session::from_code(body.session).ok_or(Reason::Fields)?;
        let refused = matches!(
            (from, to),
            (Session::Closed, Session::Closed | Session::Halted)
                | (Session::PreOpen | Session::Auction | Session::Continuous | Session::Halted, Session::PreOpen)
                | (Session::Auction, Session::Auction)
                | (Session::Continuous, Session::Continuous)
                | (Session::Halted, Session::Halted)
        );
        demand(!refused, Reason::Session)?;
        self.set_session(head.instrument_id, to, Reason::None);
        if to == Session::Continuous || (from == Session::Auction && to == Session::Closed) {
            self.uncross(head.instrument_id);
        }
        if to == Session::Closed {
            self.cancel_many(Reason::Expired, |order| {
                order.instrument_id == head.instrument_id && order.time_in_force == TimeInForce::Day
            });
        }
        if to == Session::Continuous
            && let Some(last) = self.instruments[&head.instrument_id].last_trade
        {
            self.reach(head.instrument_id, last);
        }
        Ok(())
    }

    pub(super) fn set_session(&mut self, instrument_id: u32, session: Session, reason: Reason) {
        let instrument = self.instruments.get_mut(&instrument_id).expect("it is traded");
        instrument.session = session;
        instrument.indicative = (0, 0);
        let number = i64::from(session.code());
        self.say_of_instrument(ExecutionKind::SessionChanged, instrument_id, 0, number, reason);
    }
}
