//! Where the time of a message goes: from the venue to what follows from it being published.
//!
//! The state machine has no clock; it says how far a message has come, and the clock is read here. One message in some is
//! timed, at every stage: a clock read costs about as much as publishing a record, and one for every message cost eight in
//! a hundred of the engine's time. The others cost a step of a counter.

use std::time::{SystemTime, UNIX_EPOCH};

use tidebook_feed::Stage;

use crate::histogram::{Histogram, HistogramSnapshot};

/// A part of a message's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyStage {
    /// From the venue's time to our receipt. Two clocks: what would be below 0 counts as 0; `md.health` tells the offset.
    ExchangeReceived,
    /// From receipt to the bytes being numbers: the capture, the hand-over to the engine, decoding.
    ReceivedDecoded,
    /// From there to the book holding them. Only of messages that change a book.
    DecodedBook,
    /// From there, or from decoding where no book changes, to every record of the message being published.
    BookPublished,
    /// From receipt to every record being published.
    ReceivedPublished,
}

impl LatencyStage {
    /// All, in the order of the way; the last is the sum of three before it.
    pub const ALL: [Self; 5] = [
        Self::ExchangeReceived,
        Self::ReceivedDecoded,
        Self::DecodedBook,
        Self::BookPublished,
        Self::ReceivedPublished,
    ];

    /// The word of metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExchangeReceived => "exchange_received",
            Self::ReceivedDecoded => "received_decoded",
            Self::DecodedBook => "decoded_book",
            Self::BookPublished => "book_published",
            Self::ReceivedPublished => "received_published",
        }
    }
}

/// Histograms of one feed.
#[derive(Debug, Default)]
pub(crate) struct Latencies([Histogram; LatencyStage::ALL.len()]);

impl Latencies {
    fn record(&self, stage: LatencyStage, from: i64, to: i64) {
        self.0[stage as usize].record(u64::try_from(to.saturating_sub(from)).unwrap_or(0));
    }

    /// Counts the message in hand, whose records are all published, if it is timed.
    #[inline]
    pub(crate) fn published(&self, ts_recv: i64, clock: &StageClock) {
        if clock.timed {
            self.stages(ts_recv, clock);
        }
    }

    #[cold]
    fn stages(&self, ts_recv: i64, clock: &StageClock) {
        let published = now();
        self.record(LatencyStage::ReceivedPublished, ts_recv, published);
        if clock.decoded == 0 {
            return;
        }
        if clock.ts_event != 0 {
            self.record(LatencyStage::ExchangeReceived, clock.ts_event, ts_recv);
        }
        self.record(LatencyStage::ReceivedDecoded, ts_recv, clock.decoded);
        if clock.booked != 0 {
            self.record(LatencyStage::DecodedBook, clock.decoded, clock.booked);
        }
        self.record(LatencyStage::BookPublished, clock.booked.max(clock.decoded), published);
    }

    pub(crate) fn snapshot(&self, stage: LatencyStage) -> HistogramSnapshot {
        self.0[stage as usize].snapshot()
    }
}

/// When the message in hand reached which stage; 0 where it did not, or is not timed.
#[derive(Debug, Default)]
pub(crate) struct StageClock {
    /// One message in this many is timed; 0: none.
    every: u32,
    /// Messages until the next that is.
    until: u32,
    timed: bool,
    decoded: i64,
    booked: i64,
    ts_event: i64,
}

impl StageClock {
    pub(crate) fn new(every: u32) -> Self {
        Self { every, until: every, ..Self::default() }
    }

    /// Takes the next message in hand.
    #[inline]
    pub(crate) fn begin(&mut self) {
        (self.decoded, self.booked, self.ts_event) = (0, 0, 0);
        self.until = self.until.wrapping_sub(1);
        self.timed = self.until == 0;
        if self.timed {
            self.until = self.every;
        }
    }

    /// The message in hand is of a history: nothing of it is timed.
    pub(crate) fn pause(&mut self) {
        self.timed = false;
    }

    #[inline]
    pub(crate) fn reached(&mut self, stage: Stage, ts_event: i64) {
        if self.timed {
            self.mark(stage, ts_event);
        }
    }

    #[cold]
    fn mark(&mut self, stage: Stage, ts_event: i64) {
        if self.ts_event == 0 {
            self.ts_event = ts_event;
        }
        let first = match stage {
            Stage::Decoded => &mut self.decoded,
            Stage::Booked => &mut self.booked,
        };
        if *first == 0 {
            *first = now();
        }
        if self.decoded == 0 {
            self.decoded = self.booked;
        }
    }
}

/// ns since 1970: the one clock of the engine, read for latencies alone.
#[inline]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(latencies: &Latencies) -> [u64; 5] {
        LatencyStage::ALL.map(|stage| latencies.snapshot(stage).count())
    }

    #[test]
    fn one_message_in_some_is_timed_at_every_stage() {
        let (latencies, mut clock) = (Latencies::default(), StageClock::new(4));
        let ts_recv = now() - 1_000;
        for _ in 0..8 {
            clock.begin();
            clock.reached(Stage::Decoded, 0);
            clock.reached(Stage::Booked, ts_recv - 5_000);
            clock.reached(Stage::Decoded, ts_recv);
            latencies.published(ts_recv, &clock);
        }
        assert_eq!(counts(&latencies), [2, 2, 2, 2, 2]);
        let exchange = latencies.snapshot(LatencyStage::ExchangeReceived);
        assert_eq!(exchange.sum(), 10_000, "of the first record that tells the venue's time");
    }

    #[test]
    fn stages_that_were_not_reached_are_not_counted() {
        let (latencies, mut clock) = (Latencies::default(), StageClock::new(1));
        let count = |stages: &[Stage], clock: &mut StageClock| {
            clock.begin();
            stages.iter().for_each(|stage| clock.reached(*stage, 0));
            latencies.published(now(), clock);
            counts(&latencies)
        };
        assert_eq!(count(&[], &mut clock), [0, 0, 0, 0, 1], "a heartbeat");
        assert_eq!(count(&[Stage::Decoded], &mut clock), [0, 1, 0, 1, 2], "a trade");
        assert_eq!(count(&[Stage::Booked], &mut clock), [0, 2, 1, 2, 3], "a dialect that decodes into the book");
        clock.begin();
        clock.pause();
        clock.reached(Stage::Decoded, 0);
        latencies.published(now(), &clock);
        assert_eq!(counts(&latencies), [0, 2, 1, 2, 3], "of a history");
        let mut never = StageClock::new(0);
        for _ in 0..1_000 {
            never.begin();
            assert!(!never.timed);
        }
    }
}
