//! The resting orders of one instrument, as far as an order-by-order feed tells them.
//!
//! Venues say different things of an event: Bitstamp what is left of the order, NASDAQ what was taken from it. This table
//! remembers what rests, so that every event becomes one record that says both ([`OrderLine`]). It is no book: it knows no
//! queue and no level.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use tidebook_types::Exponent;
use tidebook_types::records::{
    FLAG_UNKNOWN_ORDER, FLAG_UNPROVEN, ORDER_ADD, ORDER_CANCEL, ORDER_CLEAR, ORDER_DELETE, ORDER_EXECUTE, ORDER_MODIFY,
    SIDE_NONE,
};

use crate::market::{Emitter, Markets};
use crate::saved::{Input, Saved, SavedError, name_of, save_field, saved};
use crate::scan::{ScanError, Scanner};
use crate::sink::RecordSink;
use crate::state_hash::StateHasher;
use crate::time::is_time;

/// Orders remembered. More than any instrument has; beyond it events are written as of unknown orders, so that damaged ids
/// cannot fill memory.
const ORDERS_MAX: usize = 1 << 22;

/// Deleted orders remembered, so that one whose creation comes after its deletion does not rest for good.
const DELETED_MAX: usize = 4_096;

/// An event as the venue tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrderEvent {
    /// `ORDER_*`, but no clear.
    pub(crate) action: u8,
    pub(crate) order_id: u64,
    pub(crate) side: i8,
    pub(crate) price: i64,
    /// As `Order::size`.
    pub(crate) size: i64,
}

/// What a record says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrderLine {
    pub(crate) order_id: u64,
    pub(crate) side: i8,
    pub(crate) price: i64,
    pub(crate) size: i64,
    pub(crate) remaining: i64,
    pub(crate) action: u8,
    pub(crate) flags: u8,
}

impl OrderLine {
    /// Every order is void.
    pub(crate) const CLEAR: Self =
        Self { order_id: 0, side: SIDE_NONE, price: 0, size: 0, remaining: 0, action: ORDER_CLEAR, flags: 0 };
}

/// What is known of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    /// `SIDE_NONE` where it was never told.
    pub(crate) side: i8,
    pub(crate) price: i64,
    /// What rests; 0 for an order that was deleted lately.
    pub(crate) remaining: i64,
}

saved!(Known { side, price, remaining });

/// Orders by id. Looked up, never walked.
///
/// Venues differ in what they tell and in what order. [`Self::apply`] takes events that say side and price themselves and
/// may come before the creation of their order; [`Self::create`] and [`Self::take`] those of a venue that keeps to the
/// order of things and names an order by its id alone. One table is used in one of these ways.
#[derive(Debug, Default)]
pub(crate) struct OrderTable {
    orders: HashMap<u64, Known, BuildHasherDefault<IdHasher>>,
    /// Ids that [`Self::apply`] deleted lately, oldest first.
    deleted: VecDeque<u64>,
}

/// By rising id: the same table gives the same bytes, in whatever order it came to be.
impl Saved for OrderTable {
    fn layout(text: &mut String) {
        text.push_str("OrderTable{orders:*");
        <(u64, Known)>::layout(text);
        text.push_str("deleted:");
        VecDeque::<u64>::layout(text);
        text.push('}');
    }
    fn save(&self, out: &mut Vec<u8>) {
        let Self { orders, deleted } = self;
        let mut sorted: Vec<_> = orders.iter().collect();
        sorted.sort_unstable_by_key(|(order_id, _)| **order_id);
        sorted.len().save(out);
        let mut last = 0;
        for (order_id, known) in sorted {
            (order_id - last).save(out);
            known.save(out);
            last = *order_id;
        }
        save_field(deleted, out, name_of!(OrderTable.deleted));
    }
    fn load(input: &mut Input<'_>) -> Result<Self, SavedError> {
        let mut orders = HashMap::default();
        let mut last = 0_u64;
        for number in 0..input.count()? {
            let order_id = last.checked_add(u64::load(input)?);
            let follows = order_id.filter(|order_id| number == 0 || *order_id > last);
            last = follows.ok_or(input.error("orders out of order"))?;
            orders.insert(last, Known::load(input)?);
        }
        Ok(Self { orders, deleted: VecDeque::load(input)? })
    }
}

impl Hash for OrderTable {
    /// Tables with the same content hash alike, in whatever order it came to be.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { orders, deleted } = self;
        let one = |order: (&u64, &Known)| {
            let mut hasher = StateHasher::default();
            order.hash(&mut hasher);
            hasher.finish()
        };
        orders.len().hash(state);
        orders.iter().map(one).fold(0, u64::wrapping_add).hash(state);
        deleted.hash(state);
    }
}

impl OrderTable {
    /// Takes in an event that says all of its order. `late` counts orders that were deleted before the venue said that they
    /// exist.
    #[inline]
    pub(crate) fn apply(&mut self, event: &OrderEvent, late: &mut u64) -> OrderLine {
        let OrderEvent { action, order_id, side, price, size } = *event;
        let known = self.orders.get(&order_id).map(|known| known.remaining);
        let live = known.filter(|&rests| rests > 0);
        let unknown = if live.is_some() { 0 } else { FLAG_UNKNOWN_ORDER };
        let (remaining, flags) = match action {
            ORDER_ADD => match known {
                None => (size, 0),
                Some(0) => {
                    *late += 1;
                    (0, 0)
                }
                // It was changed before the venue said that it exists.
                Some(rests) => (rests, 0),
            },
            // A change behind the deletion is older than it.
            ORDER_MODIFY if known == Some(0) => (0, unknown),
            ORDER_MODIFY => (size, unknown),
            ORDER_CANCEL | ORDER_EXECUTE => match live {
                Some(rests) if size <= rests => (rests - size, 0),
                Some(_) => (0, FLAG_UNPROVEN),
                None => (0, unknown),
            },
            _ => (0, unknown),
        };
        let now = Known { side, price, remaining };
        if remaining > 0 {
            self.rest(order_id, now, known.is_some());
        } else if known != Some(0) {
            self.delete(order_id, now);
        }
        debug_assert!(matches!(action, ORDER_ADD..=ORDER_DELETE), "an event of one order, not {action}");
        OrderLine { order_id, side, price, size, remaining, action, flags }
    }

    /// An order rests. One of its id that rests already, which the venue would never tell of, is replaced and the record
    /// marked unproven.
    #[inline]
    pub(crate) fn create(&mut self, order_id: u64, side: i8, price: i64, size: i64) -> OrderLine {
        let now = Known { side, price, remaining: size };
        let full = self.orders.len() >= ORDERS_MAX;
        let flags = match self.orders.entry(order_id) {
            Entry::Occupied(mut known) => {
                known.insert(now);
                FLAG_UNPROVEN
            }
            Entry::Vacant(place) => {
                if !full {
                    place.insert(now);
                }
                0
            }
        };
        OrderLine { order_id, side, price, size, remaining: size, action: ORDER_ADD, flags }
    }

    /// `size` of an order was filled or withdrawn, all of it where none is told; gone when nothing rests. The line has the
    /// side and price the order was created with, or no side and price 0 when it is not known.
    #[inline]
    pub(crate) fn take(&mut self, action: u8, order_id: u64, size: Option<i64>) -> OrderLine {
        let Entry::Occupied(mut entry) = self.orders.entry(order_id) else {
            let size = size.unwrap_or(0);
            let flags = FLAG_UNKNOWN_ORDER;
            return OrderLine { order_id, side: SIDE_NONE, price: 0, size, remaining: 0, action, flags };
        };
        let Known { side, price, remaining: rested } = *entry.get();
        let size = size.unwrap_or(rested);
        let (remaining, flags) = if size <= rested { (rested - size, 0) } else { (0, FLAG_UNPROVEN) };
        if remaining > 0 {
            entry.get_mut().remaining = remaining;
        } else {
            entry.remove();
        }
        OrderLine { order_id, side, price, size, remaining, action, flags }
    }

    /// Whether no order rests and none was deleted lately.
    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Forgets every order.
    pub(crate) fn clear(&mut self) {
        self.orders.clear();
        self.deleted.clear();
    }

    #[inline]
    fn rest(&mut self, order_id: u64, now: Known, known: bool) {
        if known || self.orders.len() < ORDERS_MAX {
            self.orders.insert(order_id, now);
        }
    }

    #[inline]
    fn delete(&mut self, order_id: u64, now: Known) {
        if self.deleted.len() == DELETED_MAX
            && let Some(oldest) = self.deleted.pop_front()
        {
            self.orders.remove(&oldest);
        }
        self.deleted.push_back(order_id);
        self.orders.insert(order_id, now);
    }
}

/// One recording of an instrument, as the state `capture` in front of it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Recording {
    connection: u32,
    /// Index of the instrument.
    pub(crate) index: usize,
    /// The midnight that its times count from, ns since 1970 UTC; 0 where they count from 1970.
    pub(crate) midnight_ns: i64,
}

saved!(Recording { connection, index, midnight_ns });

/// Recordings remembered; a feed reads a handful at a time.
const RECORDINGS_MAX: usize = 1_024;

/// The midnight at the scanner, ns since 1970 UTC: one that a time of the day can be added to.
pub(crate) fn midnight(scanner: &mut Scanner<'_>) -> Result<i64, ScanError> {
    let ns = i64::try_from(scanner.unsigned()?).ok().filter(|&ns| is_time(ns));
    ns.ok_or_else(|| scanner.error("a midnight from 1970 to 2200"))
}

/// The order tables of a feed, and which recording is of which instrument.
#[derive(Debug, Default, Hash)]
pub(crate) struct OrderTables {
    /// By index of the instrument.
    tables: Vec<OrderTable>,
    recordings: Vec<Recording>,
}

saved!(OrderTables { tables, recordings });

impl OrderTables {
    /// Takes in the state `capture`: what comes from `connection` is of this instrument. A recording of another day voids
    /// the orders of the one before, because venues give ids again.
    pub(crate) fn on_capture<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        body: &[u8],
        exponents: (Exponent, Exponent),
        emit: &mut Emitter<'_, S>,
    ) -> Result<(), ScanError> {
        let (mut symbol, mut midnight_ns) = (None, 0);
        let mut scanner = Scanner::new(body);
        scanner.expect(b'{', "an object")?;
        let mut first = true;
        while let Some(key) = scanner.key(&mut first)? {
            match key {
                b"symbol" => symbol = Some(scanner.string()?),
                b"midnight_ns" => midnight_ns = midnight(&mut scanner)?,
                _ => {
                    scanner.skip()?;
                }
            }
        }
        let symbol = symbol.ok_or(ScanError { offset: body.len(), expected: "`symbol`" })?;
        let Some(index) = markets.find_or_open(symbol) else { return Ok(()) };
        if index >= self.tables.len() {
            self.tables.resize_with(index + 1, OrderTable::default);
        }
        if markets.get(index).version == 0 {
            markets.set_exponents(index, exponents, emit);
        }
        let last = self.recordings.iter().rev().find(|recording| recording.index == index);
        if last.is_some_and(|last| last.midnight_ns != midnight_ns) {
            self.void(markets, index, emit);
        }
        self.recordings.retain(|recording| recording.connection != connection);
        if self.recordings.len() == RECORDINGS_MAX {
            self.recordings.remove(0);
        }
        self.recordings.push(Recording { connection, index, midnight_ns });
        Ok(())
    }

    /// The recording that `connection` reads.
    #[inline]
    pub(crate) fn recording(&self, connection: u32) -> Result<Recording, ScanError> {
        let found = self.recordings.iter().rev().find(|recording| recording.connection == connection);
        let expected = "a state `capture` before it that names the symbol";
        found.copied().ok_or(ScanError { offset: 0, expected })
    }

    /// Takes in an event and writes its record.
    #[inline]
    pub(crate) fn apply<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        index: usize,
        ts_event: i64,
        event: &OrderEvent,
        emit: &mut Emitter<'_, S>,
    ) {
        let line = self.tables[index].apply(event, &mut markets.counters.orders_late);
        markets.emit_order(index, ts_event, &line, true, emit);
    }

    /// Forgets the orders of an instrument and says so.
    pub(crate) fn void<S: RecordSink>(&mut self, markets: &mut Markets, index: usize, emit: &mut Emitter<'_, S>) {
        self.tables[index].clear();
        markets.emit_order(index, 0, &OrderLine::CLEAR, true, emit);
    }

    /// What was missed behind the end of a session is not known: its instrument's orders are void.
    pub(crate) fn on_disconnect<S: RecordSink>(
        &mut self,
        markets: &mut Markets,
        connection: u32,
        emit: &mut Emitter<'_, S>,
    ) {
        if let Ok(recording) = self.recording(connection) {
            self.void(markets, recording.index, emit);
        }
        self.recordings.retain(|recording| recording.connection != connection);
    }
}

/// Ids are dense numbers: one multiplication spreads them.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidebook_types::records::SIDE_BUY;

    /// Runs `(action, id, size)` and gives (remaining, flags) of each, and how many were late.
    fn run(events: &[(u8, u64, i64)]) -> (Vec<(i64, u8)>, u64) {
        let mut table = OrderTable::default();
        let mut late = 0;
        let lines = events.iter().map(|&(action, order_id, size)| {
            let event = OrderEvent { action, order_id, side: SIDE_BUY, price: 1, size };
            let line = table.apply(&event, &mut late);
            (line.remaining, line.flags)
        });
        (lines.collect(), late)
    }

    #[test]
    fn each_event_tells_what_rests_after_it() {
        let (lines, late) = run(&[
            (ORDER_ADD, 1, 10),
            (ORDER_CANCEL, 1, 3),
            (ORDER_EXECUTE, 1, 2),
            (ORDER_MODIFY, 1, 8),
            (ORDER_EXECUTE, 1, 8),
            (ORDER_ADD, 2, 5),
            (ORDER_DELETE, 2, 5),
        ]);
        assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), [10, 7, 5, 8, 0, 5, 0]);
        assert!(lines.iter().all(|line| line.1 == 0));
        assert_eq!(late, 0);
    }

    #[test]
    fn an_order_nobody_told_of_is_marked() {
        let unknown = FLAG_UNKNOWN_ORDER;
        assert_eq!(run(&[(ORDER_CANCEL, 1, 3)]).0, [(0, unknown)]);
        assert_eq!(run(&[(ORDER_DELETE, 1, 3)]).0, [(0, unknown)]);
        // A venue that tells what is left makes it known.
        assert_eq!(run(&[(ORDER_MODIFY, 1, 3), (ORDER_EXECUTE, 1, 1)]).0, [(3, unknown), (2, 0)]);
    }

    #[test]
    fn an_order_created_after_its_deletion_does_not_rest() {
        let (lines, late) = run(&[(ORDER_DELETE, 1, 4), (ORDER_ADD, 1, 4), (ORDER_MODIFY, 1, 2)]);
        assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), [0, 0, 0]);
        assert_eq!(late, 1);
        let (lines, late) = run(&[(ORDER_MODIFY, 1, 4), (ORDER_ADD, 1, 9)]);
        assert_eq!((lines[1], late), ((4, 0), 0));
    }

    #[test]
    fn a_fill_of_more_than_rests_is_not_proven() {
        assert_eq!(run(&[(ORDER_ADD, 1, 4), (ORDER_EXECUTE, 1, 5)]).0[1], (0, FLAG_UNPROVEN));
    }

    #[test]
    fn an_order_named_by_its_id_alone_keeps_the_side_and_price_it_was_created_with() {
        let mut table = OrderTable::default();
        let line = |action, size, remaining, flags| {
            let known = flags & FLAG_UNKNOWN_ORDER == 0;
            let (side, price) = if known { (SIDE_BUY, 30) } else { (SIDE_NONE, 0) };
            OrderLine { order_id: 1, side, price, size, remaining, action, flags }
        };
        assert_eq!(table.create(1, SIDE_BUY, 30, 10), line(ORDER_ADD, 10, 10, 0));
        assert_eq!(table.take(ORDER_EXECUTE, 1, Some(4)), line(ORDER_EXECUTE, 4, 6, 0));
        assert_eq!(table.take(ORDER_DELETE, 1, None), line(ORDER_DELETE, 6, 0, 0));
        assert_eq!(table.take(ORDER_EXECUTE, 1, Some(4)), line(ORDER_EXECUTE, 4, 0, FLAG_UNKNOWN_ORDER));
        assert_eq!(table.take(ORDER_DELETE, 1, None), line(ORDER_DELETE, 0, 0, FLAG_UNKNOWN_ORDER));
        assert!(table.is_empty());
        // What cannot be: an id given twice, more filled than rests.
        table.create(1, SIDE_BUY, 20, 10);
        assert_eq!(table.create(1, SIDE_BUY, 30, 5), line(ORDER_ADD, 5, 5, FLAG_UNPROVEN));
        assert_eq!(table.take(ORDER_EXECUTE, 1, Some(6)), line(ORDER_EXECUTE, 6, 0, FLAG_UNPROVEN));
        assert!(table.is_empty());
    }

    #[test]
    fn memory_of_deleted_orders_is_bounded() {
        let mut table = OrderTable::default();
        for order_id in 0..3 * DELETED_MAX as u64 {
            let event = OrderEvent { action: ORDER_DELETE, order_id, side: SIDE_BUY, price: 1, size: 1 };
            table.apply(&event, &mut 0);
        }
        assert_eq!((table.orders.len(), table.deleted.len()), (DELETED_MAX, DELETED_MAX));
    }
}
