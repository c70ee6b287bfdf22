//! A feed as a state that recovery rebuilds: it goes on from what was saved of it, and says what it is not.

#[allow(dead_code, reason = "what starts engines is for the tests of engines")]
mod common;

const WITH_SNAPSHOTS: bool = false;

use common::{Feed, directory};
use tidebook_journal::{State, StateError};
use tidebook_plane::FeedHistory;
use tidebook_types::Venue;

#[test]
fn a_feed_loaded_from_what_was_saved_goes_on_as_the_one_that_was() {
    let rings = directory();
    let mut feed = Feed::new(rings.path(), Venue::Binance);
    feed.write_market(0, 60);
    let mut whole = FeedHistory::new(Venue::Binance);
    let mut again = FeedHistory::new(Venue::Binance);
    for (payload, sequence) in feed.written.iter().zip(1..) {
        whole.apply(sequence, payload).unwrap();
        again.apply(sequence, payload).unwrap();
        if sequence % 17 == 0 {
            let mut saved = Vec::new();
            again.save(&mut saved).unwrap();
            again = FeedHistory::new(Venue::Binance);
            again.load(&saved).unwrap();
        }
        assert_eq!((again.state_hash(), again.state().sequence()), (whole.state_hash(), sequence));
    }
    assert_eq!((whole.kind(), whole.version()), ("feed.binance", tidebook_feed::state_number()));
}

#[test]
fn what_is_no_message_and_no_state_of_the_feed_is_an_error_that_says_so() {
    let mut history = FeedHistory::new(Venue::Kraken);
    let error = history.apply(7, b"no message").unwrap_err();
    assert!(matches!(error, StateError::Message { sequence: 7, .. }), "{error}");
    let mut saved = Vec::new();
    FeedHistory::new(Venue::Binance).save(&mut saved).unwrap();
    let error = history.load(&saved).unwrap_err();
    assert_eq!(
        error.to_string(),
        "state feed.kraken cannot be loaded from what was saved: a state of binance where kraken is wanted (at byte 0)"
    );
}
