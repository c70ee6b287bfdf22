//! The node's own venue as a feed: commands of `orders` in, what the venue says in public of each out.
//!
//! A matching engine of its own carries every visible command out once more. What it gives are the executions that channel `executions`
//! has, under the same numbers; the levels of the books are added up from the orders that they name. Why not from that channel: it is
//! in memory, waits for nobody, and knows neither definitions nor what of an order is shown, so who reads it needs `orders` all the same
//! whenever he starts or was too slow. The cost is matching each command twice, on another thread.
//!
//! What it says follows from the commands and the names alone: a start makes it again, of all commands or of those behind a snapshot
//! ([`crate::local_history`]).
//!
//! In an auction every order gives another indicative price, and nobody reads thousands in a second; they would push everything else out of
//! `md.status`. So an instrument's is said at most once in a tenth of a second of the commands' time, and the newest, where it was not
//! said so, when the engine gets to it ([`CommandFeed::take_unsaid`]).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use tidebook_feed::LocalEvent;
use tidebook_types::command::InstrumentBody;
use tidebook_types::records::SIDE_BUY;
use tidebook_types::{Command, CommandKind, Execution, ExecutionKind, MessageKind, RawMessage, Session};
use tidebook_venue::{Venue, VenueOptions};

use crate::error::PlaneError;
use crate::venue_names::instrument_names;

/// Of a venue that another takes the place of.
const NO_ROOM: VenueOptions = VenueOptions { orders_max: 1, instruments_max: 1, accounts_max: 1 };

/// Between two indicative prices of an instrument that commands bring, ns of their time.
const INDICATIVE_INTERVAL_NS: i64 = 100_000_000;

/// What an order shows in its book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    index: u32,
    side: i8,
    price: i64,
    size: i64,
}

/// One level of one book. Best first within a side is nobody's need here: any order that is always the same will do.
type Place = (u32, i8, i64);

/// An instrument by its number on `orders`.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) index: u32,
    pub(crate) symbol: Vec<u8>,
    pub(crate) session: Session,
    /// When it began, by the venue's time.
    pub(crate) since: i64,
    /// Price and size that its auction would give now; 0 where there is none.
    pub(crate) indicative: (i64, i64),
    /// When one was said last.
    pub(crate) indicative_said_at: i64,
}

/// Where trading in an instrument stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trading {
    pub(crate) session: Session,
    /// When the session began.
    pub(crate) since: i64,
    /// Price and size; 0 where there is none.
    pub(crate) indicative: (i64, i64),
}

/// The state from one command to the next.
#[derive(Debug)]
pub(crate) struct CommandFeed {
    venue: Venue,
    /// The file that says what numbers are called.
    names_file: PathBuf,
    names: HashMap<u32, String>,
    listed: HashMap<u32, Listed>,
    shown: HashMap<u64, Shown>,
    levels: HashMap<Place, i64>,
    /// Instruments whose indicative price is another than was said, by their index.
    unsaid: BTreeSet<u32>,
    // Room for one command.
    made: Vec<Execution>,
    /// Levels that it changed, and what they were.
    changed: Vec<(Place, i64)>,
    body: Vec<u8>,
    context: Vec<u8>,
}

impl CommandFeed {
    /// Before the first command of a venue with this room; `names_file` is read whenever an instrument is new.
    pub(crate) fn new(options: VenueOptions, names_file: &Path) -> Self {
        Self {
            venue: Venue::new(options),
            names_file: names_file.to_owned(),
            names: HashMap::new(),
            listed: HashMap::new(),
            shown: HashMap::new(),
            levels: HashMap::new(),
            unsaid: BTreeSet::new(),
            made: Vec::new(),
            changed: Vec::new(),
            body: Vec::new(),
            context: Vec::new(),
        }
    }

    /// Behind the last command of `venue`, whose instruments are these by their numbers. What orders show is taken from them.
    pub(crate) fn of_parts(venue: Venue, names_file: &Path, listed: Vec<(u32, Listed)>, unsaid: BTreeSet<u32>) -> Self {
        let mut feed = Self { venue, listed: listed.into_iter().collect(), unsaid, ..Self::new(NO_ROOM, names_file) };
        for order in feed.venue.open_orders() {
            feed.look_at(order.order_id);
        }
        feed.changed.clear();
        feed
    }

    /// The matching engine that carries the commands out.
    pub(crate) const fn venue(&self) -> &Venue {
        &self.venue
    }

    /// Whether the newest indicative price of an instrument was not said.
    pub(crate) fn is_unsaid(&self, index: u32) -> bool {
        self.unsaid.contains(&index)
    }

    /// The instruments with their numbers, in the order of their definition.
    pub(crate) fn listed(&self) -> Vec<(u32, &Listed)> {
        let mut all: Vec<_> = self.listed.iter().map(|(number, listed)| (*number, listed)).collect();
        all.sort_unstable_by_key(|(_, listed)| listed.index);
        all
    }

    /// Where trading in an instrument stands.
    pub(crate) fn trading(&self, index: u32) -> Option<Trading> {
        let listed = self.listed.values().find(|listed| listed.index == index)?;
        Some(Trading { session: listed.session, since: listed.since, indicative: listed.indicative })
    }

    /// Instruments whose newest indicative price was not said, by their index; by now somebody says it.
    pub(crate) fn take_unsaid(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.unsaid)
    }

    /// What the venue says in public of the next command: a message of its feed, whose body may be empty.
    ///
    /// # Errors
    /// [`PlaneError::VenueNames`] when an instrument is new and the file of names cannot be read.
    pub(crate) fn take(&mut self, sequence: u64, command: &Command) -> Result<RawMessage<'_>, PlaneError> {
        self.body.clear();
        self.context.clear();
        let mut made = std::mem::take(&mut self.made);
        made.clear();
        self.venue.apply(sequence, command, &mut |execution| made.push(*execution));
        for execution in &made {
            self.say(execution, command)?;
            for order_id in [execution.order_id, execution.contra_order_id] {
                if order_id != 0 {
                    self.look_at(order_id);
                }
            }
        }
        self.made = made;
        self.say_levels();
        Ok(RawMessage {
            ts_recv: self.venue.time(),
            connection: 0,
            kind: MessageKind::Ws,
            context: &self.context,
            body: &self.body,
        })
    }

    fn say(&mut self, execution: &Execution, command: &Command) -> Result<(), PlaneError> {
        let Execution { instrument_id, price, size, side, trade_id, .. } = *execution;
        let kind = ExecutionKind::from_code(execution.kind);
        if kind == Some(ExecutionKind::Done) && command.head.kind == CommandKind::Instrument.code() {
            return self.list(instrument_id);
        }
        let Some(listed) = self.listed.get_mut(&instrument_id) else { return Ok(()) };
        let index = listed.index;
        let event = match kind {
            Some(ExecutionKind::Fill) => LocalEvent::Trade { index, side, price, size, trade_id },
            Some(ExecutionKind::SessionChanged) => {
                let Some(now) = u8::try_from(size).ok().and_then(Session::from_code) else { return Ok(()) };
                listed.indicative = (0, 0);
                listed.since = self.venue.time();
                listed.indicative_said_at = i64::MIN;
                self.unsaid.remove(&index);
                LocalEvent::Session { index, before: std::mem::replace(&mut listed.session, now), now }
            }
            Some(ExecutionKind::Indicative) => {
                listed.indicative = (price, size);
                let now = self.venue.time();
                if now < listed.indicative_said_at.saturating_add(INDICATIVE_INTERVAL_NS) {
                    self.unsaid.insert(index);
                    return Ok(());
                }
                listed.indicative_said_at = now;
                self.unsaid.remove(&index);
                LocalEvent::Indicative { index, price, size }
            }
            Some(ExecutionKind::Uncrossed) => LocalEvent::Uncrossed { index, price, size },
            _ => return Ok(()),
        };
        event.write_to(&mut self.body);
        Ok(())
    }

    /// An instrument was defined, for the first time or anew.
    fn list(&mut self, instrument_id: u32) -> Result<(), PlaneError> {
        let Some(definition) = self.venue.definition(instrument_id) else { return Ok(()) };
        if !self.listed.contains_key(&instrument_id) {
            if !self.names.contains_key(&instrument_id) {
                self.names = instrument_names(&self.names_file)?;
            }
            // What has no name is called by its number, as the API does.
            let symbol = self.names.get(&instrument_id).map_or_else(|| instrument_id.to_string(), Clone::clone);
            let index = self.listed.len() as u32;
            let listed = Listed {
                index,
                symbol: symbol.into_bytes(),
                session: self.venue.session(instrument_id),
                since: self.venue.time(),
                indicative: (0, 0),
                indicative_said_at: i64::MIN,
            };
            self.listed.insert(instrument_id, listed);
        }
        let listed = &self.listed[&instrument_id];
        let InstrumentBody { tick, lot, price_exp, size_exp, .. } = definition;
        self.context.extend_from_slice(&listed.symbol);
        LocalEvent::Instrument { index: listed.index, exponents: (price_exp, size_exp), tick, lot }
            .write_to(&mut self.body);
        Ok(())
    }

    /// Something happened to this order: its book shows what it shows now.
    fn look_at(&mut self, order_id: u64) {
        let order = self.venue.order(order_id).filter(|order| order.shown > 0);
        let now = order.and_then(|order| {
            let index = self.listed.get(&order.instrument_id)?.index;
            Some(Shown { index, side: order.side, price: order.price, size: order.shown })
        });
        let before = match now {
            Some(now) => self.shown.insert(order_id, now),
            None => self.shown.remove(&order_id),
        };
        if before == now {
            return;
        }
        for (shown, sign) in [(before, -1), (now, 1)] {
            if let Some(Shown { index, side, price, size }) = shown {
                let place = (index, side, price);
                let level = self.levels.entry(place).or_insert(0);
                self.changed.push((place, *level));
                *level += sign * size;
            }
        }
    }

    /// Says every level that is another than before the command: by instrument, bids first.
    fn say_levels(&mut self) {
        let Self { changed, levels, body, .. } = self;
        // The first change of a level says what it was.
        changed.sort_by_key(|((index, side, price), _)| (*index, *side != SIDE_BUY, *price));
        changed.dedup_by_key(|(place, _)| *place);
        for (place, before) in changed.drain(..) {
            let size = levels.get(&place).copied().unwrap_or(0);
            if size == 0 {
                levels.remove(&place);
            }
            if size != before {
                let (index, side, price) = place;
                LocalEvent::Level { index, side, price, size }.write_to(body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidebook_book::{DepthBook, Level, Side};
    use tidebook_feed::{FeedEngine, FeedOptions, RecordBatch, StatusKind};
    use tidebook_testkit::matching::{MatchingFlow, Mix};
    use tidebook_types::records::{ACTION_CLEAR, FLAG_LAST};
    use tidebook_types::{Depth, InstrumentId, Trade};

    use super::*;

    const OPTIONS: VenueOptions = VenueOptions { orders_max: 10_000, instruments_max: 8, accounts_max: 16 };
    const STREAM: usize = 1_500;

    /// The feed of a stream with what it led to.
    struct Followed {
        feed: CommandFeed,
        engine: FeedEngine,
        batch: RecordBatch,
    }

    impl Followed {
        fn new() -> Self {
            Self {
                feed: CommandFeed::new(OPTIONS, Path::new("no-such-file")),
                engine: FeedEngine::new(tidebook_types::Venue::Local, FeedOptions::of(tidebook_types::Venue::Local)),
                batch: RecordBatch::default(),
            }
        }

        fn take(&mut self, sequence: u64, command: &Command) {
            let Self { feed, engine, batch } = self;
            engine.on_message(sequence, feed.take(sequence, command).unwrap(), batch);
        }

        fn levels(&self, id: InstrumentId, side: Side) -> Vec<(i64, i64)> {
            let book = self.engine.book(id).unwrap();
            assert!(book.usable && !book.unproven);
            book.book.levels(side).map(|Level { price, size }| (price, size)).collect()
        }
    }

    /// What was said of the auction of each instrument, and when.
    #[derive(Default)]
    struct SaidOfAuctions {
        newest: BTreeMap<u32, (i64, i64)>,
        at: BTreeMap<u32, i64>,
        seen: usize,
        count: usize,
    }

    impl SaidOfAuctions {
        /// Takes what is new, and sees that every instrument's newest was said, or is known not to have been.
        fn check(&mut self, followed: &Followed, instruments: u32, what: &str) {
            for status in &followed.batch.status[self.seen..] {
                let index = status.instrument_id & InstrumentId::INDEX_MAX;
                if status.kind == StatusKind::SessionChanged as u8 {
                    self.newest.insert(index, (0, 0));
                    self.at.remove(&index);
                } else if status.kind == StatusKind::IndicativePrice as u8 {
                    self.newest.insert(index, (status.found as i64, status.count as i64));
                    self.count += 1;
                    if let Some(before) = self.at.insert(index, status.ts_event) {
                        assert!(
                            status.ts_event - before >= INDICATIVE_INTERVAL_NS,
                            "{what}: {status:?} after {before}"
                        );
                    }
                }
            }
            self.seen = followed.batch.status.len();
            for index in 0..instruments {
                let (said, is) = (self.newest.get(&index), followed.feed.trading(index).unwrap().indicative);
                let known = said.copied().unwrap_or_default() == is || followed.feed.unsaid.contains(&index);
                assert!(known, "{what}: {index} said {said:?}, is {is:?}");
            }
        }
    }

    /// Books as somebody has them who knows depth records alone.
    fn books_of(depth: &[Depth]) -> BTreeMap<u32, DepthBook> {
        let mut books: BTreeMap<u32, DepthBook> = BTreeMap::new();
        for record in depth {
            let book = books.entry(record.instrument_id).or_default();
            if record.action == ACTION_CLEAR {
                book.clear();
            } else {
                book.apply(Side::from_code(record.side).unwrap(), record.price, record.size);
            }
        }
        books
    }

    #[test]
    fn after_every_command_of_any_stream_the_books_of_market_data_are_those_of_the_venue() {
        let (mut compared, mut indicative, mut indicative_said) = (0, 0, 0);
        for seed in 0..6 {
            for mix in Mix::ALL {
                let (mut flow, mut venue) = (MatchingFlow::new(seed, mix), Venue::new(OPTIONS));
                let (mut followed, mut again) = (Followed::new(), Followed::new());
                // Numbers of the venue's instruments in the order of their definition.
                let (mut listed, mut fills, mut sessions) = (Vec::new(), Vec::new(), 0);
                let mut auctions = SaidOfAuctions::default();
                for _ in 0..STREAM {
                    let (sequence, command) = flow.next_command();
                    let mut said = Vec::new();
                    venue.apply(sequence, &command, &mut |execution| said.push(*execution));
                    flow.observe(&said);
                    followed.take(sequence, &command);
                    again.take(sequence, &command);
                    for number in venue.instrument_ids() {
                        if !listed.contains(&number) {
                            listed.push(number);
                        }
                    }
                    for (index, number) in listed.iter().enumerate() {
                        let id = InstrumentId::new(tidebook_types::Venue::Local, index as u32);
                        for side in Side::BOTH {
                            let theirs: Vec<_> = venue.depth(*number, side).collect();
                            assert_eq!(followed.levels(id, side), theirs, "seed {seed} {mix:?} command {sequence}");
                            compared += theirs.len();
                        }
                    }
                    fills.extend(said.iter().filter(|said| said.kind == ExecutionKind::Fill.code()).copied());
                    auctions.check(&followed, listed.len() as u32, &format!("seed {seed} {mix:?} command {sequence}"));
                    indicative += said.iter().filter(|said| said.kind == ExecutionKind::Indicative.code()).count();
                    sessions += said.iter().filter(|said| said.kind == ExecutionKind::SessionChanged.code()).count();
                }
                indicative_said += auctions.count;
                let Followed { engine, batch, .. } = &followed;
                let what = format!("seed {seed} {mix:?}");
                assert_eq!(engine.quarantined(), [], "{what}");
                assert_eq!(engine.counters().unknown, 0, "{what}");
                let trade =
                    |trade: &Trade| (trade.source_sequence, trade.trade_id, trade.price, trade.size, trade.side);
                let fill = |fill: &Execution| (fill.source_sequence, fill.trade_id, fill.price, fill.size, fill.side);
                assert!(batch.trades.iter().map(trade).eq(fills.iter().map(fill)), "{what}: trades");
                assert!(batch.bars.iter().all(|bar| bar.flags == 0), "{what}: of every bar all trades are known");
                let told = batch.status.iter().filter(|status| status.kind == StatusKind::SessionChanged as u8).count();
                assert_eq!(told, sessions, "{what}: sessions");
                for (id, book) in books_of(&batch.depth) {
                    let number = listed[(id & InstrumentId::INDEX_MAX) as usize];
                    for side in Side::BOTH {
                        let theirs: Vec<_> = venue.depth(number, side).collect();
                        assert!(book.levels(side).map(|level| (level.price, level.size)).eq(theirs), "{what}: {id:x}");
                    }
                }
                // Of one message and instrument the last record says so, and no other.
                for pair in batch.depth.windows(2) {
                    let same = |record: &Depth| (record.source_sequence, record.instrument_id);
                    assert_eq!(pair[0].flags & FLAG_LAST != 0, same(&pair[0]) != same(&pair[1]), "{what}: {pair:?}");
                }
                assert_eq!(
                    format!("{batch:?}"),
                    format!("{:?}", again.batch),
                    "{what}: the same commands, the same records"
                );
                assert_eq!(engine.state_hash(), again.engine.state_hash(), "{what}");
            }
        }
        assert!(compared > 100_000, "only {compared} levels were compared");
        assert!(indicative_said > 30 && indicative > 2 * indicative_said, "{indicative_said} of {indicative}");
    }
}
