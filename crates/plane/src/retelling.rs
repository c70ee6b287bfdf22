//! What stands, told again to who cannot know it: after a start, and to readers that were overtaken.
//!
//! Venues send their books whole with every session, but not while one lasts; the node's own has none at all. So the engine tells
//! what it holds, on the channels and in the form of every day, marked by where the records stand: `source_index` from
//! [`RETOLD_INDEX`] on, behind all that a message gives. Their number is bounded in time, so that who was too slow for a burst is not
//! overrun by what is told to heal it. A book that is larger than a piece is told in several, between which it goes on changing; each level
//! is told as it is by then, or changed by what comes later, so behind the last piece the reader has the book.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidebook_book::{Level, Side};
use tidebook_feed::{FeedEngine, StatusKind};
use tidebook_types::records::{ACTION_CLEAR, ACTION_SET, FLAG_LAST, FLAG_SNAPSHOT, FLAG_UNPROVEN, SIDE_NONE};
use tidebook_types::{BookImage, Depth, InstrumentId, Status};

use crate::command_feed::Trading;
use crate::output::FeedChannels;
use crate::positions::Point;

/// Where the records that are told again begin among those of their message.
pub(crate) const RETOLD_INDEX: u32 = 1 << 19;
/// Levels in one piece: an eighth of the ring of `md.depth`.
const PIECE_LEVELS: usize = 1 << 12;
/// What other records take of a piece in place of levels, since their rings are smaller: of `md.book` and of `md.status`.
const IMAGE_TAKES: usize = 16;
const STATUS_TAKES: usize = 8;
/// How long the next piece waits.
const PIECE_INTERVAL: Duration = Duration::from_millis(50);
/// What an instrument takes beside its levels, at most: an image, two states, and that its levels begin.
const BESIDE_LEVELS: usize = IMAGE_TAKES + 2 * STATUS_TAKES + 1;

/// What of an instrument is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts {
    /// Every level of its book.
    pub(crate) levels: bool,
    /// The image of its book.
    pub(crate) image: bool,
    /// Its session.
    pub(crate) session: bool,
    /// What its auction would give.
    pub(crate) indicative: bool,
}

impl Parts {
    pub(crate) const ALL: Self = Self { levels: true, image: true, session: true, indicative: true };
    pub(crate) const LEVELS: Self = Self { levels: true, image: false, session: false, indicative: false };
    pub(crate) const IMAGE: Self = Self { levels: false, image: true, session: false, indicative: false };
    pub(crate) const TRADING: Self = Self { levels: false, image: false, session: true, indicative: true };
    pub(crate) const INDICATIVE: Self = Self { levels: false, image: false, session: false, indicative: true };

    fn with(self, other: Self) -> Self {
        Self {
            levels: self.levels || other.levels,
            image: self.image || other.image,
            session: self.session || other.session,
            indicative: self.indicative || other.indicative,
        }
    }
}

/// What is told: the books of a feed as they are behind a message, and where trading stands.
pub(crate) struct Standing<'a> {
    pub(crate) engine: &'a FeedEngine,
    /// Of an instrument, where the venue tells it.
    pub(crate) trading: &'a dyn Fn(InstrumentId) -> Option<Trading>,
    pub(crate) sequence: u64,
    pub(crate) ts_recv: i64,
}

/// What is still to be told of one feed.
#[derive(Debug, Default)]
pub(crate) struct Retelling {
    wanted: BTreeMap<u32, Parts>,
    /// A book of which a piece was told, and up to which level.
    in_hand: Option<(InstrumentId, (Side, i64))>,
    /// Message that the last piece was told behind, and the next place there.
    place: (u64, u32),
    rests_until: Option<Instant>,
}

impl Retelling {
    /// Asks for these parts of an instrument.
    pub(crate) fn want(&mut self, id: u32, parts: Parts) {
        let wanted = self.wanted.entry(id).or_default();
        *wanted = wanted.with(parts);
    }

    /// Whether nothing is left to be told.
    pub(crate) fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.in_hand.is_none()
    }

    /// Tells the next piece, if one is due.
    pub(crate) fn tell(
        &mut self,
        now: Instant,
        standing: &Standing<'_>,
        image: &mut BookImage,
        sink: &mut FeedChannels<'_>,
    ) {
        if self.is_done() || self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        if self.place.0 != standing.sequence {
            self.place = (standing.sequence, RETOLD_INDEX);
        }
        let mut left = PIECE_LEVELS;
        if let Some((id, told)) = self.in_hand.take() {
            self.tell_levels(id, Some(told), standing, &mut left, sink);
        }
        let defined = standing.engine.exponents().map(|(id, ..)| id);
        let wanted: Vec<_> = defined.filter(|id| self.wanted.contains_key(&id.get())).collect();
        for id in wanted {
            let Some(view) = standing.engine.book(id) else { continue };
            let (bids, asks) = view.book.counts();
            // What fits into a piece is told in one.
            if self.in_hand.is_some() || left < PIECE_LEVELS && left < bids + asks + BESIDE_LEVELS {
                break;
            }
            let parts = self.wanted.remove(&id.get()).unwrap_or_default();
            self.tell_beside_levels(id, parts, standing, image, &mut left, sink);
            if parts.levels {
                self.tell_levels(id, None, standing, &mut left, sink);
            }
        }
        if left == PIECE_LEVELS {
            // What was asked for and is not defined.
            self.wanted.clear();
        }
        self.rests_until = Some(now + PIECE_INTERVAL);
    }

    fn next_index(&mut self) -> u32 {
        let index = self.place.1;
        self.place.1 = (index + 1).min(Point::INDEX_MAX);
        index
    }

    /// Tells levels from behind `told` on, as many as are left of the piece.
    fn tell_levels(
        &mut self,
        id: InstrumentId,
        told: Option<(Side, i64)>,
        standing: &Standing<'_>,
        left: &mut usize,
        sink: &mut FeedChannels<'_>,
    ) {
        let Some(view) = standing.engine.book(id).filter(|view| view.usable) else {
            // It waits for a snapshot, which tells it whole.
            return;
        };
        let Some((_, price_exp, size_exp)) = standing.engine.exponents().find(|(other, ..)| *other == id) else {
            return;
        };
        let flags = FLAG_SNAPSHOT | if view.unproven { FLAG_UNPROVEN } else { 0 };
        let mut record = Depth {
            ts_event: standing.ts_recv,
            ts_recv: standing.ts_recv,
            source_sequence: standing.sequence,
            source_index: 0,
            instrument_id: id.get(),
            price: 0,
            size: 0,
            venue_sequence: view.venue_sequence,
            side: SIDE_NONE,
            action: ACTION_CLEAR,
            flags,
            price_exp,
            size_exp,
            reserved: [0; 3],
        };
        let levels = Side::BOTH.into_iter().flat_map(|side| view.book.levels(side).map(move |level| (side, level)));
        let mut levels =
            levels.skip_while(|(side, level)| told.is_some_and(|told| !is_behind((*side, level.price), told)));
        let mut next = levels.next();
        match told {
            None => {
                record.flags = flags | if next.is_none() { FLAG_LAST } else { 0 };
                record.source_index = self.next_index();
                sink.retold_depth(&record);
                *left = left.saturating_sub(1);
            }
            Some((side, price)) if next.is_none() => {
                // All that was left has gone meanwhile. Something has to be the last.
                let level = view.book.levels(side).find(|level| level.price == price);
                next = Some((side, level.unwrap_or(Level { price, size: 0 })));
            }
            Some(_) => {}
        }
        record.action = ACTION_SET;
        while let Some((side, level)) = next {
            next = levels.next();
            *left = left.saturating_sub(1);
            record.flags = flags | if next.is_none() { FLAG_LAST } else { 0 };
            (record.side, record.price, record.size) = (side.code(), level.price, level.size);
            record.source_index = self.next_index();
            sink.retold_depth(&record);
            if *left == 0 && next.is_some() {
                self.in_hand = Some((id, (side, level.price)));
                return;
            }
        }
    }

    fn tell_beside_levels(
        &mut self,
        id: InstrumentId,
        parts: Parts,
        standing: &Standing<'_>,
        image: &mut BookImage,
        left: &mut usize,
        sink: &mut FeedChannels<'_>,
    ) {
        if parts.image && standing.engine.fill_image(id, image) {
            image.source_index = RETOLD_INDEX;
            sink.publish_book(image);
            *left = left.saturating_sub(IMAGE_TAKES);
        }
        let Some(Trading { session, since, indicative: (price, size), .. }) = (standing.trading)(id) else { return };
        let mut tell = |kind: StatusKind, ts_event: i64, found: u64, count: u64| {
            sink.retold_status(&Status {
                ts_event,
                ts_recv: standing.ts_recv,
                source_sequence: standing.sequence,
                source_index: self.next_index(),
                instrument_id: id.get(),
                kind: kind as u8,
                reason: 0,
                reserved: [0; 6],
                expected: 0,
                found,
                count,
            });
            *left = left.saturating_sub(STATUS_TAKES);
        };
        if parts.session {
            tell(StatusKind::SessionChanged, since, session.code().into(), 0);
        }
        // A session begins without one.
        if parts.indicative && (!parts.session || size > 0) {
            tell(StatusKind::IndicativePrice, standing.ts_recv, price as u64, size as u64);
        }
    }
}

/// Whether a level comes later than another in a book that is told: bids first, the best of each side first.
fn is_behind((side, price): (Side, i64), (other_side, other): (Side, i64)) -> bool {
    match (side, other_side) {
        (Side::Bid, Side::Bid) => price < other,
        (Side::Ask, Side::Ask) => price > other,
        (Side::Ask, Side::Bid) => true,
        (Side::Bid, Side::Ask) => false,
    }
}
