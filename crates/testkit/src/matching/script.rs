//! Scenarios that a trader can read: commands, and below each, indented, what the venue says to it.
//!
//! A script is played by regenerating everything that is indented; it holds if that gives the same text again. So the whole answer is compared,
//! and a failure shows it. The venue a script begins with has the instruments X and Y, both in continuous trading, tick and lot 1, and the
//! accounts ann, bob, cyd, dan and eve.
//!
//! ```text
//! ann a buys 10 at 100
//!   accepted a: 10 at 100
//! bob b sells 4 market
//!   accepted b: 4
//!   b fills a: 4 at 100, b has 0, a has 6
//! book
//!   a buys 6 at 100
//! ```

use std::fmt::Write as _;

use tidebook_book::Side;
use tidebook_types::command::{
    ACCOUNT_OWN_FEES, AccountBody, BandAction, CANCEL_ON_DISCONNECT, CancelAllAfterBody, CancelBody, Command,
    CommandKind, InstrumentBody, MassCancelBody, OrderType, POST_ONLY, Peg, PlaceBody, PlacePairBody, ReplaceBody,
    SelfTrade, Session, SessionBody, TimeInForce,
};
use tidebook_types::execution::{Execution, ExecutionKind, Reason};

use super::{MatchingEngine, OpenOrder};

/// Accounts of a script, from number 1 on; `operator` is 0, `nobody` is unknown.
const ACCOUNTS: [&str; 5] = ["ann", "bob", "cyd", "dan", "eve"];
/// Instruments of a script, from number 1 on; `Z` is unknown.
const INSTRUMENTS: [&str; 3] = ["X", "Y", "Z"];

/// One scenario of a file: what it is about, and its lines.
#[derive(Debug, Clone)]
pub struct Scenario<'a> {
    /// Its headings, without `## `: rows of the page of rules, or a sentence.
    pub headings: Vec<&'a str>,
    /// Commands and answers.
    pub text: String,
}

/// The scenarios of a file: headings begin with `## `, lines with `#` are remarks.
pub fn scenarios(file: &str) -> Vec<Scenario<'_>> {
    let mut all: Vec<Scenario<'_>> = Vec::new();
    for line in file.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            match all.last_mut() {
                Some(last) if last.text.trim().is_empty() => last.headings.push(heading),
                _ => all.push(Scenario { headings: vec![heading], text: String::new() }),
            }
        } else if let Some(scenario) = all.last_mut() {
            scenario.text.push_str(line);
            scenario.text.push('\n');
        }
    }
    all
}

/// Plays a script on an engine that has seen nothing yet: the script with what this engine says, and all it said.
///
/// # Panics
/// When a line means nothing.
pub fn play(engine: &mut impl MatchingEngine, text: &str) -> (String, Vec<Execution>) {
    let mut stage = Stage::new(engine);
    let mut played = String::new();
    for line in text.lines() {
        if line.starts_with("  ") {
            continue;
        }
        played.push_str(line);
        played.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            stage.play_line(line, &mut played);
        }
    }
    (played, stage.said)
}

struct Stage<'a, E> {
    engine: &'a mut E,
    sequence: u64,
    ts: i64,
    terms: [InstrumentBody; 3],
    labels: Vec<(u64, String)>,
    said: Vec<Execution>,
}

/// The words of a line, read from left to right.
struct Words<'a> {
    line: &'a str,
    words: std::iter::Peekable<std::str::SplitWhitespace<'a>>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self { line, words: line.split_whitespace().peekable() }
    }

    fn word(&mut self) -> &'a str {
        self.words.next().unwrap_or_else(|| panic!("the line ends early: {}", self.line))
    }

    fn number(&mut self) -> i64 {
        let word = self.word();
        word.parse().unwrap_or_else(|_| panic!("{word} is no number: {}", self.line))
    }

    fn unknown(&self, word: &str) -> ! {
        panic!("{word} means nothing here: {}", self.line)
    }
}

fn by_name<T: Copy>(words: &mut Words<'_>, all: &[T], name: impl Fn(T) -> &'static str) -> T {
    let word = words.word().replace('-', "_");
    all.iter().copied().find(|&one| name(one) == word).unwrap_or_else(|| words.unknown(&word))
}

impl<'a, E: MatchingEngine> Stage<'a, E> {
    fn new(engine: &'a mut E) -> Self {
        let terms = InstrumentBody { tick: 1, lot: 1, size_min: 1, size_max: 1_000_000, ..InstrumentBody::default() };
        let mut stage = Self { engine, sequence: 0, ts: 0, terms: [terms; 3], labels: Vec::new(), said: Vec::new() };
        for number in 1..=ACCOUNTS.len() as u32 {
            stage.apply(Command::new(CommandKind::Account, number, 0, &AccountBody::default()));
        }
        for number in [1, 2] {
            stage.apply(Command::new(CommandKind::Instrument, 0, number, &terms));
            let body = SessionBody { session: Session::Continuous.code(), ..SessionBody::default() };
            stage.apply(Command::new(CommandKind::Session, 0, number, &body));
        }
        stage.said.clear();
        stage
    }

    fn apply(&mut self, command: Command) -> Vec<Execution> {
        self.sequence += 1;
        let executions = self.engine.apply(self.sequence, &command.at(self.ts));
        self.said.extend_from_slice(&executions);
        executions
    }

    fn play_line(&mut self, line: &str, played: &mut String) {
        let mut words = Words::new(line);
        let answers = match words.word() {
            "time" => {
                self.ts = words.number();
                Vec::new()
            }
            "book" => self.engine.open_orders().iter().map(|order| self.show_order(order)).collect(),
            "depth" => Side::BOTH
                .map(|side| {
                    let levels = self.engine.depth(1, side);
                    let levels: Vec<String> = levels.iter().map(|(price, size)| format!("{size} at {price}")).collect();
                    format!("{}: {}", if side == Side::Bid { "buys" } else { "sells" }, levels.join(", "))
                })
                .to_vec(),
            account => {
                let command = self.read_command(account, &mut words);
                let executions = self.apply(command);
                let done = executions.iter().any(|execution| execution.kind == ExecutionKind::Done.code());
                if command.head.kind == CommandKind::Instrument.code() && done {
                    self.terms[command.head.instrument_id as usize - 1] = command.body();
                }
                executions.iter().map(|execution| self.show(execution)).collect()
            }
        };
        assert!(words.words.peek().is_none(), "too many words: {line}");
        for answer in answers {
            writeln!(played, "  {answer}").expect("a string takes all");
        }
    }

    fn account(words: &Words<'_>, name: &str) -> u32 {
        match name {
            "operator" => 0,
            "nobody" => 99,
            _ => match ACCOUNTS.iter().position(|&account| account == name) {
                Some(index) => index as u32 + 1,
                None => words.unknown(name),
            },
        }
    }

    fn order(&self, words: &Words<'_>, label: &str) -> u64 {
        match self.labels.iter().find(|(_, known)| known == label) {
            Some((id, _)) => *id,
            None if label == "nothing" => 999_999,
            None => words.unknown(label),
        }
    }

    fn read_command(&mut self, account: &str, words: &mut Words<'_>) -> Command {
        let account = Self::account(words, account);
        match words.word() {
            "cancels" => match words.word() {
                "all" => Self::read_mass_cancel(account, words),
                label => {
                    let body = CancelBody { order_id: self.order(words, label), ..CancelBody::default() };
                    Command::new(CommandKind::Cancel, account, Self::read_instrument(words), &body)
                }
            },
            "replaces" => self.read_replace(account, words),
            "disconnects" => Command::bare(CommandKind::Disconnect, account),
            "switch" => {
                let body = CancelAllAfterBody { timeout_ns: words.number(), ..CancelAllAfterBody::default() };
                Command::new(CommandKind::CancelAllAfter, account, 0, &body)
            }
            "timer" => Command::bare(CommandKind::Timer, account),
            "session" => {
                let session = by_name(words, Session::ALL, Session::name).code();
                let body = SessionBody { session, ..SessionBody::default() };
                Command::new(CommandKind::Session, account, Self::read_instrument(words), &body)
            }
            "instrument" => self.read_terms(account, words),
            "account" => Self::read_account(words),
            "limits" => Self::of_risk(CommandKind::Limits, words),
            "transfer" => Self::of_risk(CommandKind::Transfer, words),
            "kill" => Self::of_risk(CommandKind::Kill, words),
            label => self.read_place(account, label, words),
        }
    }

    /// `in Y` at the end of a line; X without it.
    fn read_instrument(words: &mut Words<'_>) -> u32 {
        if words.words.next_if_eq(&"in").is_none() {
            return 1;
        }
        let name = words.word();
        INSTRUMENTS
            .iter()
            .position(|&known| known == name)
            .map_or_else(|| words.unknown(name), |index| index as u32 + 1)
    }

    fn read_mass_cancel(account: u32, words: &mut Words<'_>) -> Command {
        let mut side = 0;
        let mut instrument_id = 0;
        while let Some(&word) = words.words.peek() {
            match word {
                "in" => instrument_id = Self::read_instrument(words),
                "buys" => (side, _) = (Side::Bid.code(), words.word()),
                "sells" => (side, _) = (Side::Ask.code(), words.word()),
                _ => words.unknown(word),
            }
        }
        let body = MassCancelBody { side, ..MassCancelBody::default() };
        Command::new(CommandKind::MassCancel, account, instrument_id, &body)
    }

    fn read_terms(&self, account: u32, words: &mut Words<'_>) -> Command {
        let mut number = 1;
        if let Some(&name) = words.words.peek()
            && let Some(index) = INSTRUMENTS.iter().position(|&known| known == name)
        {
            words.word();
            number = index as u32 + 1;
        }
        let mut terms = self.terms[number as usize - 1];
        terms.reference_price = 0;
        while let Some(word) = words.words.next() {
            match word {
                "tick" => terms.tick = words.number(),
                "lot" => terms.lot = words.number(),
                "from" => terms.size_min = words.number(),
                "to" => terms.size_max = words.number(),
                "reference" => terms.reference_price = words.number(),
                "band" => terms.band_ppm = words.number() as u32,
                "maker" => terms.maker_ppm = words.number() as i32,
                "taker" => terms.taker_ppm = words.number() as i32,
                "price-decimals" => terms.price_exp = words.number() as u8,
                "size-decimals" => terms.size_exp = words.number() as u8,
                "base" => terms.base_asset = words.number() as u32,
                "rejects" => terms.band_action = BandAction::Reject.code(),
                "halts" => terms.band_action = BandAction::Halt.code(),
                _ => words.unknown(word),
            }
        }
        Command::new(CommandKind::Instrument, account, number, &terms)
    }

    fn read_account(words: &mut Words<'_>) -> Command {
        let name = words.word();
        let number = Self::account(words, name);
        let mut body = AccountBody::default();
        while let Some(word) = words.words.next() {
            match word {
                "group" => body.group = words.number() as u32,
                "maker" => (body.maker_ppm, body.flags) = (words.number() as i32, ACCOUNT_OWN_FEES),
                "taker" => (body.taker_ppm, body.flags) = (words.number() as i32, ACCOUNT_OWN_FEES),
                "flags" => body.flags = words.number() as u8,
                _ => words.unknown(word),
            }
        }
        Command::new(CommandKind::Account, number, 0, &body)
    }

    fn of_risk(kind: CommandKind, words: &mut Words<'_>) -> Command {
        let name = words.word();
        Command::bare(kind, Self::account(words, name))
    }

    fn read_replace(&self, account: u32, words: &mut Words<'_>) -> Command {
        let label = words.word();
        let mut body = ReplaceBody { order_id: self.order(words, label), ..ReplaceBody::default() };
        let mut instrument_id = 1;
        while let Some(&word) = words.words.peek() {
            if word == "in" {
                instrument_id = Self::read_instrument(words);
                continue;
            }
            words.word();
            match word {
                "with" => body.size = words.number(),
                "at" | "worst" => body.price = words.number(),
                "iceberg" => body.display_size = words.number(),
                "stop" | "from" => body.trigger_price = words.number(),
                "trail" | "offset" => body.offset = words.number(),
                "gtd" => body.expire_ts = words.number(),
                _ => words.unknown(word),
            }
        }
        Command::new(CommandKind::Replace, account, instrument_id, &body)
    }

    fn read_place(&mut self, account: u32, label: &str, words: &mut Words<'_>) -> Command {
        let side = match words.word() {
            "buys" => Side::Bid.code(),
            "sells" => Side::Ask.code(),
            word => words.unknown(word),
        };
        let mut body = PlaceBody { side, ..PlaceBody::default() };
        if words.words.next_if_eq(&"amount").is_some() {
            body.amount = words.number();
        } else {
            body.size = words.number();
        }
        let (mut pair, mut limit_price, mut instrument_id, mut stop_at_limit) = (false, 0, 1, false);
        let mut order_type = OrderType::Limit;
        while let Some(&word) = words.words.peek() {
            if word == "in" {
                instrument_id = Self::read_instrument(words);
                continue;
            }
            words.word();
            match word {
                "at" => (body.price, stop_at_limit) = (words.number(), true),
                "worst" => body.price = words.number(),
                "market" => order_type = OrderType::Market,
                "or" => pair = true,
                "stop" => (body.trigger_price, order_type) = (words.number(), OrderType::Stop),
                "limit" => limit_price = words.number(),
                "trail" => (body.offset, order_type) = (words.number(), OrderType::TrailingStop),
                "from" => body.trigger_price = words.number(),
                "peg" => {
                    body.peg = by_name(words, Peg::ALL, Peg::name).code();
                    order_type = OrderType::Pegged;
                }
                "offset" => body.offset = words.number(),
                "iceberg" => body.display_size = words.number(),
                "post-only" => body.flags |= POST_ONLY,
                "on-disconnect" => body.flags |= CANCEL_ON_DISCONNECT,
                "gtc" => body.time_in_force = TimeInForce::Gtc.code(),
                "day" => body.time_in_force = TimeInForce::Day.code(),
                "ioc" => body.time_in_force = TimeInForce::Ioc.code(),
                "fok" => body.time_in_force = TimeInForce::Fok.code(),
                "gtd" => (body.expire_ts, body.time_in_force) = (words.number(), TimeInForce::Gtd.code()),
                "stp" => body.self_trade = by_name(words, SelfTrade::ALL, SelfTrade::name).code(),
                "amount" => body.amount = words.number(),
                _ => words.unknown(word),
            }
        }
        if order_type == OrderType::Stop && stop_at_limit && !pair {
            order_type = OrderType::StopLimit;
        }
        if body.time_in_force == 0 {
            let at_once = order_type == OrderType::Market;
            body.time_in_force = if at_once { TimeInForce::Ioc.code() } else { TimeInForce::Gtc.code() };
        }
        body.order_type = order_type.code();
        let id = 2 * (self.sequence + 1);
        self.labels.push((id, label.to_owned()));
        if !pair {
            return Command::new(CommandKind::Place, account, instrument_id, &body);
        }
        self.labels.push((id + 1, format!("{label}'")));
        let body = PlacePairBody {
            price: body.price,
            size: body.size,
            trigger_price: body.trigger_price,
            limit_price,
            expire_ts: body.expire_ts,
            side: body.side,
            time_in_force: body.time_in_force,
            self_trade: body.self_trade,
            flags: body.flags,
            ..PlacePairBody::default()
        };
        Command::new(CommandKind::PlacePair, account, instrument_id, &body)
    }

    // ---- what is shown ----------------------------------------------------------------------------------------------

    fn label(&self, id: u64) -> &str {
        self.labels.iter().find(|(known, _)| *known == id).map_or("?", |(_, label)| label)
    }

    fn show(&self, e: &Execution) -> String {
        let kind = ExecutionKind::from_code(e.kind).expect("a kind of the table");
        let order = self.label(e.order_id);
        let at = if e.price == 0 { String::new() } else { format!(" at {}", e.price) };
        let why = match Reason::from_code(e.reason).expect("a reason of the table") {
            Reason::None => String::new(),
            reason => format!(", {}", reason_word(reason)),
        };
        let instrument = instrument_prefix(e.instrument_id);
        let (size, left) = (e.size, e.remaining);
        let told = match kind {
            ExecutionKind::Accepted => format!("accepted {order}: {size}{at}"),
            ExecutionKind::Rejected => format!("rejected{}", why.trim_start_matches(',')),
            ExecutionKind::Fill => {
                let contra = self.label(e.contra_order_id);
                let verb = if e.side == 0 { "buys from" } else { "fills" };
                let fees = match (e.fee, e.contra_fee) {
                    (0, 0) => String::new(),
                    (fee, contra_fee) => format!(", fees {fee} and {contra_fee}"),
                };
                let contra_left = e.contra_remaining;
                format!("{order} {verb} {contra}: {size}{at}, {order} has {left}, {contra} has {contra_left}{fees}")
            }
            ExecutionKind::Cancelled => format!("cancelled {order}: {size}{why}"),
            ExecutionKind::Replaced => format!("replaced {order}: {size}{at}, {left} left"),
            ExecutionKind::Reduced => format!("reduced {order}: by {size}, {left} left"),
            ExecutionKind::Triggered => format!("triggered {order}: by {}", e.price),
            ExecutionKind::Refreshed => format!("refreshed {order}: shows {size} of {left}"),
            ExecutionKind::Repriced if e.price == 0 => format!("parked {order}"),
            ExecutionKind::Repriced => format!("repriced {order}: {}", e.price),
            ExecutionKind::SessionChanged => {
                let session = u8::try_from(size).ok().and_then(Session::from_code).expect("a session of the table");
                format!("session {}{why}", session.name().replace('_', "-"))
            }
            ExecutionKind::Indicative if size == 0 => "indicative none".to_owned(),
            ExecutionKind::Indicative => format!("indicative {size}{at}"),
            ExecutionKind::Uncrossed => format!("uncrossed {size}{at}"),
            ExecutionKind::MassCancelled => format!("mass-cancelled {size}"),
            ExecutionKind::Done => "done".to_owned(),
        };
        format!("{instrument}{told}")
    }

    fn show_order(&self, order: &OpenOrder) -> String {
        let instrument = instrument_prefix(order.instrument_id);
        let verb = if order.side == Side::Bid.code() { "buys" } else { "sells" };
        let mut shown = format!("{instrument}{} {verb} {}", self.label(order.order_id), order.remaining);
        if order.price > 0 {
            write!(shown, " at {}", order.price).expect("a string takes all");
        }
        if !order.waiting && order.shown != order.remaining {
            write!(shown, ", shows {}", order.shown).expect("a string takes all");
        }
        if order.trigger_price > 0 {
            write!(shown, " stop {}", order.trigger_price).expect("a string takes all");
        }
        if order.triggered {
            shown.push_str(", triggered");
        } else if order.waiting {
            shown.push_str(", waits");
        }
        shown
    }
}

/// X is not said.
fn instrument_prefix(instrument_id: u32) -> String {
    match instrument_id {
        0 | 1 => String::new(),
        _ => format!("{} ", INSTRUMENTS[instrument_id as usize - 1]),
    }
}

/// A reason as the page of rules writes it.
pub fn reason_word(reason: Reason) -> String {
    let mut word = String::new();
    for letter in format!("{reason:?}").chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}
