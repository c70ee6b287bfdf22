"""The bench of the venue in Python still runs, and what trades in it is what must; its goals are judged by `make bench` on a quiet machine."""

import pytest

from benches import venue
from benches.harness import Bench
from benches.matching import IN_PYTHON


def test_every_way_into_the_venue_gives_its_figure_and_a_peer_that_is_not_here_is_a_missed_goal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue, "find_spec", lambda _: None)
    bench = Bench("venue", small=True)
    venue.run(bench)
    names = [figure.name for figure in bench.figures]
    for what in ("submitted", "replayed", "replayed and rechecked", "opened from a journal", "matching alone, in Rust"):
        assert sum(name.endswith(f", {what}") for name in names) == len(venue.STREAMS)
    assert all(figure.value > 0 for figure in bench.figures)
    compared = [figure for figure in bench.figures if figure.peers]
    assert len(compared) == len(venue.STREAMS) + 1
    assert all(figure.missing == [IN_PYTHON] and figure.met is False for figure in compared)
