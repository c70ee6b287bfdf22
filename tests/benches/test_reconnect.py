"""The bench of reconnecting still runs on every venue; its goals are judged by `make bench` on a quiet machine."""

from benches.harness import Bench
from benches.reconnect import reconnecting
from tidebook.feeds.registry import FEEDS


def test_every_venue_has_good_books_again_after_a_lost_connection() -> None:
    bench = Bench("feeds", small=True)
    reconnecting(bench)
    assert [figure.name.partition(",")[0] for figure in bench.figures[::2]] == list(FEEDS)
    assert all(figure.value > 0 for figure in bench.figures)
