//! The best bid and ask of an asset over all venues that trade it.
//!
//! An asset is a pair of base and quote currency; USD and USDT are two. Each spot instrument of it counts with the top of
//! our own book, or with the venue's ticker where no book is kept. Left out are a book that may not be used, a top that is
//! crossed in itself, and every instrument of a feed that has been silent for [`SILENCE_NS`] while the clock went on (its
//! last prices are no prices). What two venues together show may well be crossed: that is a fact of the market.
//!
//! A pure state machine over the records of several feeds. It depends on how their messages interleave, which no feed's
//! journal tells, so unlike a feed's own records it is not derived again: only the newest top of an asset matters.

use std::cmp::Reverse;
use std::collections::HashMap;

use tidebook_types::records::{ASSET_BYTES, FLAG_DERIVED};
use tidebook_types::{ConsolidatedTop, Exponent, Instrument, InstrumentId, MessageKind, Quote, Status, Venue};

use crate::saved::{Input, Saved, SavedError, name_of, save_field, saved};
use crate::status::StatusKind;

/// A feed that brought nothing from its venue for so long is silent.
pub const SILENCE_NS: i64 = 10_000_000_000;

/// Base and quote as text, zero padded.
type AssetName = [u8; ASSET_BYTES];

/// One instrument of an asset.
#[derive(Debug, Clone, Copy)]
struct Member {
    id: u32,
    /// Whether the top below may be used.
    usable: bool,
    /// Whether it has a book of ours; the venue's own ticker does not count then.
    has_book: bool,
    bid: (i64, i64),
    ask: (i64, i64),
    price_exp: Exponent,
    size_exp: Exponent,
}

saved!(Member { id, usable, has_book, bid, ask, price_exp, size_exp });

#[derive(Debug, Clone)]
struct Asset {
    name: AssetName,
    members: Vec<Member>,
    /// What was told last, without where it came from.
    told: Option<ConsolidatedTop>,
}

/// Place of an instrument: asset, member.
type Place = (usize, usize);

#[derive(Debug, Clone, Default)]
struct VenueState {
    /// By index of the instrument.
    places: Vec<Option<Place>>,
    /// When its feed last brought something from the venue.
    said_at: i64,
    silent: bool,
}

/// What is known of one feed.
struct KnownFeed {
    said_at: i64,
    silent: bool,
    members: Vec<(AssetName, Member)>,
}

saved!(KnownFeed { said_at, silent, members });

/// Where a change came from: the first five fields of a record.
#[derive(Debug, Clone, Copy)]
struct Cause {
    ts_event: i64,
    ts_recv: i64,
    source_sequence: u64,
    source_index: u32,
    instrument_id: u32,
}

/// Keeps the tops of all assets. Says nothing before [`Consolidator::tell_all`]: nobody is told a history.
#[derive(Debug)]
pub struct Consolidator {
    assets: Vec<Asset>,
    by_name: HashMap<AssetName, usize>,
    /// By number of the venue.
    venues: Vec<VenueState>,
    /// The furthest any feed's clock has come since one said that ours was stepped.
    clock: i64,
    /// Whether changes are told; see [`Consolidator::tell_all`].
    speaks: bool,
}

/// What is known, not what was told: that is in the channel.
impl Saved for Consolidator {
    fn layout(text: &mut String) {
        text.push_str("Consolidator{clock,feeds:*");
        <(u8, KnownFeed)>::layout(text);
        text.push('}');
    }
    fn save(&self, out: &mut Vec<u8>) {
        save_field(&self.clock, out, name_of!(Consolidator.clock));
        self.known().count().save(out);
        for (code, known) in self.known() {
            out.push(code as u8);
            known.save(out);
        }
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let mut consolidator = Self { clock: i64::load(input)?, ..Self::default() };
        for _ in 0..input.count()? {
            let (code, known) = <(u8, KnownFeed)>::load(input)?;
            if known.members.iter().any(|(_, member)| code_of(member.id) != usize::from(code)) {
                return Err(input.error("an instrument of another feed"));
            }
            consolidator.learn(code.into(), &known);
        }
        Ok(consolidator)
    }
}

impl Default for Consolidator {
    fn default() -> Self {
        let venues = vec![VenueState::default(); usize::from(u8::MAX) + 1];
        Self { assets: Vec::new(), by_name: HashMap::new(), venues, clock: i64::MIN, speaks: false }
    }
}

impl Consolidator {
    /// Notes what was told before this one began: the same is not told again.
    pub fn told(&mut self, top: &ConsolidatedTop) {
        let asset = self.asset(top.asset);
        self.assets[asset].told = Some(content(top));
    }

    /// A definition: opens the instrument if it is of a spot market.
    pub fn on_instrument(&mut self, record: &Instrument) {
        if let Some(name) = asset_of(record) {
            self.open(record.instrument_id, name);
        }
    }

    /// The place of an instrument of this asset, made if it is new.
    fn open(&mut self, id: u32, name: AssetName) -> Place {
        let index = index_of(id);
        let asset = self.asset(name);
        let places = &mut self.venues[code_of(id)].places;
        if places.len() <= index {
            places.resize(index + 1, None);
        }
        let members = &mut self.assets[asset].members;
        *places[index].get_or_insert_with(|| {
            members.push(Member {
                id,
                usable: false,
                has_book: false,
                bid: (0, 0),
                ask: (0, 0),
                price_exp: 0,
                size_exp: 0,
            });
            (asset, members.len() - 1)
        })
    }

    /// Takes over what another one knows of its feeds; what either has told is left as it is.
    pub fn take_over(&mut self, other: &Self) {
        self.clock = self.clock.max(other.clock);
        for (code, known) in other.known() {
            self.learn(code, &known);
        }
    }

    /// What is known of each feed that has said something.
    fn known(&self) -> impl Iterator<Item = (usize, KnownFeed)> {
        let said = self.venues.iter().enumerate().filter(|(_, state)| state.said_at != 0 || !state.places.is_empty());
        said.map(|(code, state)| {
            let member = |&(asset, member): &Place| (self.assets[asset].name, self.assets[asset].members[member]);
            let members = state.places.iter().flatten().map(member).collect();
            (code, KnownFeed { said_at: state.said_at, silent: state.silent, members })
        })
    }

    fn learn(&mut self, code: usize, known: &KnownFeed) {
        for (name, member) in &known.members {
            let (asset, place) = self.open(member.id, *name);
            self.assets[asset].members[place] = *member;
        }
        (self.venues[code].said_at, self.venues[code].silent) = (known.said_at, known.silent);
    }

    /// A top of one venue.
    #[inline]
    pub fn on_quote(&mut self, record: &Quote, tell: impl FnMut(&ConsolidatedTop)) {
        let Some((asset, member)) = self.place(record.instrument_id) else { return };
        let derived = record.flags & FLAG_DERIVED != 0;
        let member = &mut self.assets[asset].members[member];
        if member.has_book && !derived {
            return;
        }
        member.has_book = derived;
        member.usable = true;
        member.bid = (record.bid_price, record.bid_size);
        member.ask = (record.ask_price, record.ask_size);
        (member.price_exp, member.size_exp) = (record.price_exp, record.size_exp);
        let cause = Cause {
            ts_event: record.ts_event,
            ts_recv: record.ts_recv,
            source_sequence: record.source_sequence,
            source_index: record.source_index,
            instrument_id: record.instrument_id,
        };
        self.tell(asset, cause, tell);
    }

    /// What may end the use of a book, or of all tickers of a feed.
    pub fn on_status(&mut self, record: &Status, mut tell: impl FnMut(&ConsolidatedTop)) {
        let cause = Cause {
            ts_event: record.ts_event,
            ts_recv: record.ts_recv,
            source_sequence: record.source_sequence,
            source_index: record.source_index,
            instrument_id: record.instrument_id,
        };
        match StatusKind::from_code(record.kind) {
            Some(StatusKind::BookUnusable) => {
                if let Some((asset, member)) = self.place(record.instrument_id)
                    && std::mem::take(&mut self.assets[asset].members[member].usable)
                {
                    self.tell(asset, cause, tell);
                }
            }
            // Books of the session say so one by one.
            Some(StatusKind::Disconnected) => {
                for place in 0..self.venues[code_of(record.instrument_id)].places.len() {
                    let Some((asset, member)) = self.venues[code_of(record.instrument_id)].places[place] else {
                        continue;
                    };
                    let member = &mut self.assets[asset].members[member];
                    if !member.has_book && std::mem::take(&mut member.usable) {
                        self.tell(asset, cause, &mut tell);
                    }
                }
            }
            Some(StatusKind::ClockStepped) => self.step_clock(record.ts_recv),
            _ => {}
        }
    }

    /// Our clock is another from here on: what was silent stays so until it speaks, and how long the others say nothing is
    /// counted anew.
    fn step_clock(&mut self, ts_recv: i64) {
        self.clock = ts_recv;
        for state in &mut self.venues {
            state.said_at = if state.silent { i64::MIN } else { ts_recv };
        }
    }

    /// A message came from the feed of `venue`, after everything that follows from it: moves the clock.
    #[inline]
    pub fn on_message(
        &mut self,
        venue: Venue,
        sequence: u64,
        ts_recv: i64,
        kind: MessageKind,
        tell: impl FnMut(&ConsolidatedTop),
    ) {
        self.clock = self.clock.max(ts_recv);
        let from_venue = matches!(kind, MessageKind::Ws | MessageKind::Rest);
        if from_venue {
            self.venues[venue as usize].said_at = ts_recv;
        }
        // A silent feed that speaks again is taken in at once, one that falls silent with the next timer.
        if kind == MessageKind::Timer || from_venue && self.venues[venue as usize].silent {
            self.look_for_silence(venue, sequence, ts_recv, tell);
        }
    }

    fn look_for_silence(&mut self, venue: Venue, sequence: u64, ts_recv: i64, mut tell: impl FnMut(&ConsolidatedTop)) {
        for code in 0..self.venues.len() {
            if !self.silence_changed(code) {
                continue;
            }
            let cause = Cause {
                ts_event: 0,
                ts_recv,
                source_sequence: sequence,
                source_index: 0,
                instrument_id: InstrumentId::whole_feed(venue).get(),
            };
            for place in 0..self.venues[code].places.len() {
                if let Some((asset, _)) = self.venues[code].places[place] {
                    self.tell(asset, cause, &mut tell);
                }
            }
        }
    }

    /// Notes whether the feed is silent now, and says whether that is new.
    fn silence_changed(&mut self, code: usize) -> bool {
        let state = &mut self.venues[code];
        let silent = self.clock.saturating_sub(state.said_at) > SILENCE_NS;
        !state.places.is_empty() && std::mem::replace(&mut state.silent, silent) != silent
    }

    /// Tells every asset whose top is another than was told last, and from here on every change.
    pub fn tell_all(&mut self, venue: Venue, sequence: u64, ts_recv: i64, mut tell: impl FnMut(&ConsolidatedTop)) {
        self.speaks = true;
        for code in 0..self.venues.len() {
            self.silence_changed(code);
        }
        let instrument_id = InstrumentId::whole_feed(venue).get();
        let cause = Cause { ts_event: 0, ts_recv, source_sequence: sequence, source_index: 0, instrument_id };
        // By name: in which order they came to be known is no fact of the market.
        let mut assets: Vec<_> = (0..self.assets.len()).collect();
        assets.sort_unstable_by_key(|&asset| self.assets[asset].name);
        for asset in assets {
            self.tell(asset, cause, &mut tell);
        }
    }

    fn asset(&mut self, name: AssetName) -> usize {
        *self.by_name.entry(name).or_insert_with(|| {
            self.assets.push(Asset { name, members: Vec::new(), told: None });
            self.assets.len() - 1
        })
    }

    #[inline]
    fn place(&self, id: u32) -> Option<Place> {
        *self.venues[code_of(id)].places.get(index_of(id))?
    }

    #[inline]
    fn tell(&mut self, asset: usize, cause: Cause, mut tell: impl FnMut(&ConsolidatedTop)) {
        if !self.speaks {
            return;
        }
        let top = self.top(asset);
        let asset = &mut self.assets[asset];
        let nothing_yet = asset.told.is_none() && top.venues == 0;
        if nothing_yet || asset.told == Some(top) {
            return;
        }
        asset.told = Some(top);
        let Cause { ts_event, ts_recv, source_sequence, source_index, instrument_id } = cause;
        tell(&ConsolidatedTop { ts_event, ts_recv, source_sequence, source_index, instrument_id, ..top });
    }

    /// The top as it is now, without a cause.
    fn top(&self, asset: usize) -> ConsolidatedTop {
        let Asset { name, members, .. } = &self.assets[asset];
        let counts = |member: &&Member| {
            let both = member.bid.1 > 0 && member.ask.1 > 0;
            member.usable && !(both && member.bid.0 >= member.ask.0) && !self.venues[code_of(member.id)].silent
        };
        let price_exp = members.iter().filter(counts).map(|member| member.price_exp).max().unwrap_or(0);
        let size_exp = members.iter().filter(counts).map(|member| member.size_exp).max().unwrap_or(0);
        let mut top = content(&ConsolidatedTop {
            ts_event: 0,
            ts_recv: 0,
            source_sequence: 0,
            source_index: 0,
            instrument_id: 0,
            bid_price: 0,
            bid_size: 0,
            ask_price: 0,
            ask_size: 0,
            bid_instrument_id: 0,
            ask_instrument_id: 0,
            venues: 0,
            left_out: 0,
            flags: 0,
            price_exp,
            size_exp,
            reserved: [0; 3],
            asset: *name,
        });
        let (mut count, mut left_out) = (0_usize, 0_usize);
        for member in members {
            let scaled = |(price, size): (i64, i64)| {
                Some((scale(price, price_exp - member.price_exp)?, scale(size, size_exp - member.size_exp)?))
            };
            // What does not fit 64 bits at the finest venue's exponents is left out too.
            let sides = Some(member).filter(counts).and_then(|member| scaled(member.bid).zip(scaled(member.ask)));
            let Some((bid, ask)) = sides else {
                left_out += 1;
                continue;
            };
            count += 1;
            // Of equal prices the larger size, of equal sizes the lower id: not who was known first, which another run would
            // tell otherwise.
            let id = Reverse(member.id);
            let best_bid = (top.bid_price, top.bid_size, Reverse(top.bid_instrument_id));
            if bid.1 > 0 && (top.bid_size == 0 || (bid.0, bid.1, id) > best_bid) {
                (top.bid_price, top.bid_size, top.bid_instrument_id) = (bid.0, bid.1, member.id);
            }
            let best_ask = (-top.ask_price, top.ask_size, Reverse(top.ask_instrument_id));
            if ask.1 > 0 && (top.ask_size == 0 || (-ask.0, ask.1, id) > best_ask) {
                (top.ask_price, top.ask_size, top.ask_instrument_id) = (ask.0, ask.1, member.id);
            }
        }
        let byte = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        (top.venues, top.left_out) = (byte(count), byte(left_out));
        top
    }
}

/// The same without where it came from, to compare.
fn content(top: &ConsolidatedTop) -> ConsolidatedTop {
    ConsolidatedTop { ts_event: 0, ts_recv: 0, source_sequence: 0, source_index: 0, instrument_id: 0, ..*top }
}

fn scale(units: i64, exponents: Exponent) -> Option<i64> {
    units.checked_mul(10_i64.checked_pow(exponents.into())?)
}

const fn code_of(id: u32) -> usize {
    (id >> 24) as usize
}

const fn index_of(id: u32) -> usize {
    (id & InstrumentId::INDEX_MAX) as usize
}

/// `BTC/USD` of an instrument of a spot market.
fn asset_of(record: &Instrument) -> Option<AssetName> {
    let venue = Venue::from_code((record.instrument_id >> 24) as u8)?;
    let end = record.symbol.iter().position(|&byte| byte == 0).unwrap_or(record.symbol.len());
    let name = std::str::from_utf8(&record.symbol[..end]).ok()?;
    let (base, quote) = venue.asset(name.rsplit_once('.')?.0)?;
    let text = format!("{base}/{quote}");
    let mut asset = [0; ASSET_BYTES];
    asset.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(asset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// A consolidator that is fed one thing after the other, and what it told, as text.
    #[derive(Default)]
    struct Desk {
        consolidator: Consolidator,
        told: Vec<String>,
        sequence: u64,
    }

    fn said(top: &ConsolidatedTop) -> String {
        let side = |price: i64, size: i64, id: u32| match id {
            0 => "none".to_owned(),
            id => format!("{}x{size}@{}", price, Venue::from_code((id >> 24) as u8).unwrap().name()),
        };
        let asset = String::from_utf8(top.asset.iter().copied().take_while(|&byte| byte != 0).collect()).unwrap();
        format!(
            "{asset} {} {} of {} without {}, e{}{}",
            side(top.bid_price, top.bid_size, top.bid_instrument_id),
            side(top.ask_price, top.ask_size, top.ask_instrument_id),
            top.venues,
            top.left_out,
            top.price_exp,
            top.size_exp
        )
    }

    impl Desk {
        fn instrument(&mut self, venue: Venue, index: u32, symbol: &str) {
            let name = venue.instrument_name(symbol);
            let mut text = [0; 40];
            text[..name.len()].copy_from_slice(name.as_bytes());
            self.consolidator.on_instrument(&Instrument {
                ts_event: 0,
                ts_recv: 0,
                source_sequence: 1,
                source_index: 0,
                instrument_id: InstrumentId::new(venue, index).get(),
                symbol: text,
                instrument_version: 1,
                price_exp: 2,
                size_exp: 2,
                reserved: [0; 2],
                tick: 0,
                lot: 0,
            });
        }

        fn quote(
            &mut self,
            venue: Venue,
            (bid, ask): ((i64, i64), (i64, i64)),
            exponent: u8,
            flags: u8,
        ) -> Vec<String> {
            self.sequence += 1;
            let record = Quote {
                ts_event: 0,
                ts_recv: 0,
                source_sequence: self.sequence,
                source_index: 3,
                instrument_id: InstrumentId::new(venue, 0).get(),
                bid_price: bid.0,
                bid_size: bid.1,
                ask_price: ask.0,
                ask_size: ask.1,
                venue_sequence: 0,
                flags,
                price_exp: exponent,
                size_exp: exponent,
                reserved: [0; 5],
            };
            let told = &mut self.told;
            self.consolidator.on_quote(&record, |top| {
                assert_eq!((top.source_sequence, top.source_index), (record.source_sequence, 3));
                told.push(said(top));
            });
            std::mem::take(&mut self.told)
        }

        fn book(&mut self, venue: Venue, bid: (i64, i64), ask: (i64, i64)) -> Vec<String> {
            self.quote(venue, (bid, ask), 2, FLAG_DERIVED)
        }

        fn status(&mut self, kind: StatusKind, id: InstrumentId) -> Vec<String> {
            self.status_at(kind, id, 0)
        }

        fn status_at(&mut self, kind: StatusKind, id: InstrumentId, ts_recv: i64) -> Vec<String> {
            let record = Status {
                ts_event: 0,
                ts_recv,
                source_sequence: 9,
                source_index: 0,
                instrument_id: id.get(),
                kind: kind as u8,
                reason: 0,
                reserved: [0; 6],
                expected: 0,
                found: 0,
                count: 0,
            };
            let told = &mut self.told;
            self.consolidator.on_status(&record, |top| told.push(said(top)));
            std::mem::take(&mut self.told)
        }

        fn message(&mut self, venue: Venue, second: i64, kind: MessageKind) -> Vec<String> {
            let told = &mut self.told;
            self.consolidator.on_message(venue, 1, second * SECOND, kind, |top| told.push(said(top)));
            std::mem::take(&mut self.told)
        }
    }

    /// Three venues of BTC/USD.
    fn desk() -> Desk {
        let mut desk = silent_desk();
        desk.consolidator.tell_all(Venue::Kraken, 1, 0, |_| panic!("nothing is known yet"));
        desk
    }

    /// The same, on the way through its history.
    fn silent_desk() -> Desk {
        let mut desk = Desk::default();
        desk.instrument(Venue::Kraken, 0, "BTC/USD");
        desk.instrument(Venue::Coinbase, 0, "BTC-USD");
        desk.instrument(Venue::BinanceUs, 0, "BTCUSD");
        desk
    }

    #[test]
    fn the_best_of_each_side_is_told_with_its_venue_when_it_changes() {
        let mut desk = desk();
        assert_eq!(
            desk.book(Venue::Kraken, (100, 5), (103, 6)),
            ["BTC/USD 100x5@kraken 103x6@kraken of 1 without 2, e22"]
        );
        assert_eq!(
            desk.book(Venue::Coinbase, (101, 1), (104, 1)),
            ["BTC/USD 101x1@coinbase 103x6@kraken of 2 without 1, e22"]
        );
        assert_eq!(desk.book(Venue::Coinbase, (101, 1), (105, 1)), [""; 0], "behind the best");
        assert_eq!(
            desk.book(Venue::Kraken, (101, 5), (103, 6)),
            ["BTC/USD 101x5@kraken 103x6@kraken of 2 without 1, e22"],
            "of equal prices the larger size"
        );
        assert_eq!(
            desk.book(Venue::Coinbase, (104, 1), (105, 1)),
            ["BTC/USD 104x1@coinbase 103x6@kraken of 2 without 1, e22"],
            "venues together may be crossed"
        );
        assert_eq!(
            desk.book(Venue::Coinbase, (0, 0), (105, 1)),
            ["BTC/USD 101x5@kraken 103x6@kraken of 2 without 1, e22"],
            "a side without orders"
        );
    }

    #[test]
    fn futures_and_other_quote_currencies_are_other_assets() {
        let mut desk = desk();
        desk.instrument(Venue::Binance, 0, "BTCUSDT");
        desk.instrument(Venue::BinanceUsdm, 0, "BTCUSDT");
        desk.book(Venue::Kraken, (100, 5), (103, 6));
        assert_eq!(desk.book(Venue::BinanceUsdm, (1, 1), (2, 1)), [""; 0]);
        assert_eq!(desk.book(Venue::Binance, (1, 1), (2, 1)), ["BTC/USDT 1x1@binance 2x1@binance of 1 without 0, e22"]);
    }

    #[test]
    fn a_top_that_is_crossed_in_itself_and_a_book_that_may_not_be_used_are_left_out() {
        let mut desk = desk();
        desk.book(Venue::Kraken, (100, 5), (103, 6));
        assert_eq!(desk.book(Venue::Coinbase, (110, 1), (109, 1)), [""; 0], "crossed");
        desk.book(Venue::Coinbase, (101, 1), (102, 1));
        let kraken = InstrumentId::new(Venue::Kraken, 0);
        assert_eq!(
            desk.status(StatusKind::BookUnusable, InstrumentId::new(Venue::Coinbase, 0)),
            ["BTC/USD 100x5@kraken 103x6@kraken of 1 without 2, e22"]
        );
        assert_eq!(desk.status(StatusKind::BookUnusable, kraken), ["BTC/USD none none of 0 without 3, e00"]);
        assert_eq!(desk.status(StatusKind::BookUnusable, kraken), [""; 0]);
        assert_eq!(
            desk.book(Venue::Kraken, (100, 5), (103, 6)),
            ["BTC/USD 100x5@kraken 103x6@kraken of 1 without 2, e22"]
        );
    }

    #[test]
    fn a_ticker_counts_where_there_is_no_book_until_its_session_ends() {
        let mut desk = desk();
        let quote = ((100, 1), (101, 1));
        assert_eq!(desk.quote(Venue::Kraken, quote, 2, 0), ["BTC/USD 100x1@kraken 101x1@kraken of 1 without 2, e22"]);
        assert_eq!(
            desk.status(StatusKind::Disconnected, InstrumentId::whole_feed(Venue::Kraken)),
            ["BTC/USD none none of 0 without 3, e00"]
        );
        desk.book(Venue::Kraken, (90, 1), (91, 1));
        assert_eq!(desk.quote(Venue::Kraken, quote, 2, 0), [""; 0], "the book counts, where there is one");
        let whole = InstrumentId::whole_feed(Venue::Kraken);
        assert_eq!(desk.status(StatusKind::Disconnected, whole), [""; 0], "books speak for themselves");
    }

    #[test]
    fn prices_of_other_exponents_are_compared_as_prices() {
        let mut desk = desk();
        desk.book(Venue::Kraken, (10_000, 500), (10_100, 600));
        assert_eq!(
            desk.quote(Venue::Coinbase, ((1_000_500, 7), (1_009_900, 8)), 4, FLAG_DERIVED),
            ["BTC/USD 1000500x7@coinbase 1009900x8@coinbase of 2 without 1, e44"]
        );
        assert_eq!(
            desk.book(Venue::Kraken, (10_006, 500), (10_100, 600)),
            ["BTC/USD 1000600x50000@kraken 1009900x8@coinbase of 2 without 1, e44"]
        );
        let huge = ((i64::MAX / 10, 1), (i64::MAX / 10, 1));
        assert_eq!(desk.quote(Venue::BinanceUs, huge, 2, FLAG_DERIVED), [""; 0], "it does not fit, and is left out");
    }

    #[test]
    fn a_silent_feed_is_left_out_and_counts_again_when_it_speaks() {
        let mut desk = desk();
        for venue in [Venue::Kraken, Venue::Coinbase] {
            assert_eq!(desk.message(venue, 100, MessageKind::Ws), [""; 0]);
        }
        desk.book(Venue::Kraken, (100, 5), (103, 6));
        desk.book(Venue::Coinbase, (101, 1), (102, 1));
        assert_eq!(desk.message(Venue::Coinbase, 110, MessageKind::Ws), [""; 0]);
        assert_eq!(desk.message(Venue::Kraken, 110, MessageKind::Timer), [""; 0], "ten seconds are not too long");
        assert_eq!(
            desk.message(Venue::Kraken, 111, MessageKind::Timer),
            ["BTC/USD 101x1@coinbase 102x1@coinbase of 1 without 2, e22"]
        );
        desk.message(Venue::Coinbase, 121, MessageKind::Ws);
        assert_eq!(
            desk.message(Venue::Kraken, 121, MessageKind::Ws),
            ["BTC/USD 101x1@coinbase 102x1@coinbase of 2 without 1, e22"]
        );
    }

    #[test]
    fn after_a_step_of_our_clock_a_feed_that_speaks_counts_and_one_that_falls_silent_does_not() {
        for step in [-3_600, 3_600] {
            let mut desk = desk();
            for venue in [Venue::Kraken, Venue::Coinbase] {
                desk.message(venue, 5_000, MessageKind::Ws);
            }
            desk.book(Venue::Kraken, (100, 5), (103, 6));
            desk.book(Venue::Coinbase, (101, 1), (102, 1));
            let now = 5_001 + step;
            let whole = InstrumentId::whole_feed(Venue::Kraken);
            assert_eq!(desk.status_at(StatusKind::ClockStepped, whole, now * SECOND), [""; 0]);
            for second in now..now + 10 {
                assert_eq!(desk.message(Venue::Kraken, second, MessageKind::Ws), [""; 0]);
                assert_eq!(desk.message(Venue::Kraken, second, MessageKind::Timer), [""; 0]);
            }
            desk.message(Venue::Kraken, now + 11, MessageKind::Ws);
            let without = "BTC/USD 100x5@kraken 103x6@kraken of 1 without 2, e22";
            assert_eq!(desk.message(Venue::Kraken, now + 11, MessageKind::Timer), [without]);
            // What is silent stays so over a step.
            desk.status_at(StatusKind::ClockStepped, whole, (now - 500) * SECOND);
            assert_eq!(desk.message(Venue::Kraken, now - 500, MessageKind::Timer), [""; 0]);
            let with = "BTC/USD 101x1@coinbase 102x1@coinbase of 2 without 1, e22";
            assert_eq!(desk.message(Venue::Coinbase, now - 499, MessageKind::Ws), [with]);
        }
    }

    #[test]
    fn a_history_is_told_nobody_and_what_was_told_before_it_is_not_told_again() {
        let mut before = desk();
        before.book(Venue::Kraken, (100, 5), (103, 6));
        let told = before.consolidator.assets[0].told.unwrap();
        let speak = |desk: &mut Desk| {
            let said_now = &mut desk.told;
            desk.consolidator.tell_all(Venue::Kraken, 7, 100 * SECOND, |top| {
                assert_eq!((top.source_sequence, top.ts_recv), (7, 100 * SECOND));
                said_now.push(said(top));
            });
            std::mem::take(said_now)
        };
        let mut same = silent_desk();
        same.consolidator.told(&told);
        same.message(Venue::Kraken, 100, MessageKind::Ws);
        assert_eq!(same.book(Venue::Kraken, (99, 5), (103, 6)), [""; 0]);
        assert_eq!(same.book(Venue::Kraken, (100, 5), (103, 6)), [""; 0]);
        assert_eq!(speak(&mut same), [""; 0]);
        let mut less = silent_desk();
        less.consolidator.told(&told);
        assert_eq!(
            speak(&mut less),
            ["BTC/USD none none of 0 without 3, e00"],
            "that nothing is known any more is told"
        );
        let mut more = silent_desk();
        more.book(Venue::Kraken, (98, 5), (103, 6));
        assert_eq!(speak(&mut more), ["BTC/USD 98x5@kraken 103x6@kraken of 1 without 2, e22"]);
    }
}
