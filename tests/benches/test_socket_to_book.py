"""The latency bench still runs; its goals are judged by `make bench` on a quiet machine, not here."""

from benches.harness import Bench
from benches.socket_to_book import PEER, socket_to_book


def test_small_sizes_give_every_figure_with_its_peer() -> None:
    bench = Bench("feeds", small=True)
    socket_to_book(bench)
    assert [figure.name for figure in bench.figures] == [
        "socket to published top of book, p50",
        "socket to published top of book, p99",
        "the same, engine spinning, p50",
        "the same, engine spinning, p99",
        "the same, seen by another process, p50",
        "the same, seen by another process, p99",
    ]
    assert all(0 < figure.value < 1e7 for figure in bench.figures)
    assert all(figure.peers[PEER] is not None for figure in bench.figures)
