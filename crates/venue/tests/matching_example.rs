//! The measuring programs, small: they must not rot, and each stream must trade as its generator says.

#[path = "../examples/matching.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod matching;

#[path = "../examples/book_alone.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod book_alone;

use matching::Run;

/// Method: the generators match with a book of their own, so this compares two ways to match.
#[test]
fn on_every_stream_the_venue_and_the_book_alone_make_the_trades_that_the_stream_was_made_with() {
    let streams = ["exchange-core-1k", "static", "normal", "swing-25", "swing-40", "flash-crash"];
    for stream in streams {
        let flow = matching::flow(stream, 60_000);
        let figures = Run::new(&flow).measure();
        assert!(figures.trades == flow.trades && figures.trades.count > 10, "{stream}: {figures}");
        assert_eq!(figures.commands + flow.filling, flow.commands.len());
        assert_eq!(book_alone::measure(flow.filling, &flow.commands).trades, flow.trades, "{stream}");
        assert!(figures.executions >= flow.commands.len() as u64, "{stream}: {figures}");
    }
}
