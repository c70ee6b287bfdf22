//! Comparison of a book with the Exchange feed's ticker.
//!
//! A ticker is sent with each match and says best bid and best ask, without telling which state of the book it means. In
//! the recording it always is the one that the depth message before the match made, so it has to be one of the last few.

use std::collections::VecDeque;

use crate::market::Top;
use crate::saved::saved;

/// States that a ticker may mean.
const STATES_MAX: usize = 4;

/// Best bid and best ask as prices.
pub(super) type Prices = (i64, i64);

pub(super) const fn prices(top: &Top) -> Prices {
    (top.bid.price, top.ask.price)
}

/// What a ticker says of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Agrees,
    /// None of the states, but the ticker is older than they are: it may mean one that is no longer held.
    Old,
    Disagrees,
}

/// The last states of a book with the venue time of the message that made each; 0 for a snapshot.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct States(VecDeque<(i64, Prices)>);

saved!(States(0));

impl States {
    /// Begins with the state that a snapshot made.
    pub(super) fn restart(&mut self, top: &Top) {
        self.0.clear();
        self.push(0, top);
    }

    #[inline]
    pub(super) fn push(&mut self, ts_event: i64, top: &Top) {
        if self.0.len() == STATES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((ts_event, prices(top)));
    }

    /// Compares; `None` before the first change behind a snapshot: the ticker that comes with a subscription is that of
    /// the last match, however long ago.
    pub(super) fn compare(&self, ts_event: i64, ticker: Prices) -> Option<Verdict> {
        let &(oldest, _) = self.0.iter().find(|&&(ts_event, _)| ts_event != 0)?;
        Some(if self.0.iter().any(|&(_, prices)| prices == ticker) {
            Verdict::Agrees
        } else if ts_event < oldest {
            Verdict::Old
        } else {
            Verdict::Disagrees
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidebook_book::Level;

    fn top(bid: i64, ask: i64) -> Top {
        Top { bid: Level { price: bid, size: 1 }, ask: Level { price: ask, size: 1 } }
    }

    #[test]
    fn a_ticker_is_one_of_the_last_four_states_or_older_than_them() {
        let mut states = States::default();
        assert_eq!(states.compare(5, (10, 11)), None);
        states.restart(&top(10, 11));
        assert_eq!(states.compare(5, (10, 11)), None);
        for (ts_event, bid) in [(100, 7), (101, 8), (102, 9)] {
            states.push(ts_event, &top(bid, 11));
        }
        assert_eq!(states.compare(102, (10, 11)), Some(Verdict::Agrees));
        states.push(103, &top(6, 11));
        assert_eq!(states.compare(103, (10, 11)), Some(Verdict::Disagrees));
        assert_eq!(states.compare(99, (10, 11)), Some(Verdict::Old));
        assert_eq!(states.compare(99, (7, 11)), Some(Verdict::Agrees));
    }
}
