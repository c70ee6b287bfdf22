//! How a feed does, told once a second of its own clock, so that live and in replay the same is said.
//!
//! Lag is receive time minus the venue's time: the way of a message and the difference of the two clocks in one. Its
//! smallest value over a while is where the way was shortest, which leaves the difference of the clocks; that cannot be
//! known better from one side.

use tidebook_types::{Health, InstrumentId, MessageKind};

use crate::market::{Emitter, Markets};
use crate::saved::saved;
use crate::sink::RecordSink;

/// Records whose smallest lags make the offset of the clocks.
const OFFSET_RECORDS: usize = 60;

/// What came since the last record.
#[derive(Debug, Default, Hash)]
pub(crate) struct HealthWindow {
    /// Clock of the last record; 0 before the first.
    since: i64,
    messages: u64,
    timed: u64,
    lag_min: i64,
    lag_max: i64,
    lag_sum: i128,
    /// Smallest lags of the last records, in no order of interest.
    smallest: Vec<i64>,
    /// Place in `smallest` that is written next, once it is full.
    next: usize,
}

saved!(HealthWindow { since, messages, timed, lag_min, lag_max, lag_sum, smallest, next });

impl HealthWindow {
    /// A message came.
    #[inline]
    pub(crate) fn count(&mut self, kind: MessageKind) {
        self.messages += u64::from(matches!(kind, MessageKind::Ws | MessageKind::Rest));
    }

    /// A message told the venue's clock.
    #[inline]
    pub(crate) fn lag(&mut self, lag: i64) {
        self.lag_min = if self.timed == 0 { lag } else { self.lag_min.min(lag) };
        self.lag_max = if self.timed == 0 { lag } else { self.lag_max.max(lag) };
        self.lag_sum += i128::from(lag);
        self.timed += 1;
    }

    /// The receiving clock was stepped; by how much, where that is known. The lags of the clock before say nothing of this
    /// one.
    pub(crate) fn step_clock(&mut self, step_ns: Option<i64>) {
        if self.since != 0 {
            self.since = step_ns.map_or(0, |step_ns| self.since.saturating_add(step_ns));
        }
        (self.timed, self.lag_min, self.lag_max, self.lag_sum) = (0, 0, 0, 0);
        self.smallest.clear();
        self.next = 0;
    }

    /// Writes a record and begins anew. The first call only begins.
    pub(crate) fn tell<S: RecordSink>(
        &mut self,
        clock: i64,
        markets: &Markets,
        connections: usize,
        emit: &mut Emitter<'_, S>,
    ) {
        let since = std::mem::replace(&mut self.since, clock);
        if since == 0 {
            return;
        }
        if self.timed > 0 {
            match self.smallest.get_mut(self.next) {
                Some(place) => *place = self.lag_min,
                None => self.smallest.push(self.lag_min),
            }
            self.next = (self.next + 1) % OFFSET_RECORDS;
        }
        let all = markets.all();
        let counters = &markets.counters;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let mean = self.lag_sum / i128::from(self.timed.max(1));
        let record = Health {
            ts_event: 0,
            ts_recv: emit.ts_recv,
            source_sequence: emit.sequence,
            source_index: emit.next(),
            instrument_id: InstrumentId::whole_feed(markets.venue).get(),
            interval_ns: clock.saturating_sub(since),
            messages: self.messages,
            timed: self.timed,
            lag_min_ns: self.lag_min,
            lag_mean_ns: i64::try_from(mean).unwrap_or(if mean < 0 { i64::MIN } else { i64::MAX }),
            lag_max_ns: self.lag_max,
            clock_offset_ns: self.smallest.iter().copied().min().unwrap_or(0),
            gaps: counters.gaps,
            resyncs: counters.resyncs,
            malformed: counters.malformed,
            instruments: count(all.len()),
            books_usable: count(all.iter().filter(|market| market.state.is_usable()).count()),
            connections: count(connections),
            reserved: [0; 4],
        };
        emit.sink.health(&record);
        (self.messages, self.timed, self.lag_min, self.lag_max, self.lag_sum) = (0, 0, 0, 0, 0);
    }
}
