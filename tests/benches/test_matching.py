"""The bench of matching still runs, on every stream; its goals are judged by `make bench` on a quiet machine."""

import pytest

from benches.harness import Bench
from benches.matching import BY_HAND, IN_CPP, REGIMES, run


def test_every_stream_gives_its_figures_and_an_engine_that_is_not_here_is_a_missed_goal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(BY_HAND, raising=False)
    bench = Bench("matching", small=True)
    run(bench)
    matched = [figure for figure in bench.figures if figure.name.endswith("commands matched")]
    assert len(matched) == 1 + len(REGIMES)
    assert all(figure.value > 0 and set(IN_CPP) <= set(figure.missing) for figure in matched)
    worst = bench.figures[-2]
    assert (worst.name, worst.met) == ("the worst of five regimes", False)
    assert worst.value == min(figure.value for figure in matched[1:])
