"""The bench of the venue in its channels still runs, in both layouts of threads; its goals are judged by `make bench` on a quiet machine."""

import pytest

from benches import venue_chain
from benches.harness import Bench
from benches.venue_chain import BARE, SYNC, WAY, Layout, Row


@pytest.mark.parametrize("cores", [2, 8])
def test_the_chain_the_journal_and_a_strategy_in_both_languages_give_their_figures(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Threads that spin are no layout for the machines of tests, however many cores one would have for them.
    found = Layout.of(cores)
    layout = Layout(found.risk_and_matching, "park", found.strategy)
    monkeypatch.setattr(Layout, "of", lambda _: layout)
    bench = Bench("venue_chain", small=True)
    venue_chain.run(bench)
    assert all(figure.value > 0 for figure in bench.figures if "added" not in figure.name)
    with_bare = [figure for figure in bench.figures if figure.peers.get(BARE)]
    assert len(with_bare) == 2 * len(venue_chain.RATES) * len(venue_chain.WAITS) * 3
    assert sum(bool(figure.peers.get(SYNC)) for figure in bench.figures) == len(venue_chain.BATCHES) + 1
    said = [figure.name for figure in bench.figures]
    for language, missing in (("Rust", 1), ("Python", 4)):
        assert sum(f"{language}: {words}" in said for words in WAY.values()) == len(WAY) - missing


def test_layouts_have_a_core_for_each_thread_that_spins() -> None:
    layouts = {cores: Layout.of(cores) for cores in (1, 2, 4, 6)}
    said = {cores: (layout.risk_and_matching, layout.engines, layout.strategy) for cores, layout in layouts.items()}
    assert said == {
        1: ("fused", "hybrid", "together"),
        2: ("fused", "hybrid", "together"),
        4: ("split", "hybrid", "together"),
        6: ("split", "spin", "split"),
    }


def test_quiet_rounds_are_chosen_by_what_the_machine_took_away() -> None:
    rounds: list[list[Row]] = [
        [{"chain": "bare", "waited_ns": waited, "took_s": 0.01, "p50_ns": 1}, {"chain": "sync", "p50_ns": 9}]
        for waited in (100_001, 100_000, 0, 5_000_000)
    ]
    assert venue_chain.of_quiet(rounds) == (rounds[1:3], "2 of 4 rounds were quiet")
    assert venue_chain.of_quiet([rounds[3], rounds[0]])[0] == [rounds[0]]


@pytest.mark.parametrize("asks_dead", [True, False])
def test_a_program_that_ends_before_it_has_answered_is_no_figure(asks_dead: bool) -> None:
    turns = venue_chain.Turns({"one": ["sh", "-c", "exit 3" if asks_dead else "read line; exit 3"]})
    if asks_dead:
        turns.programs["one"].wait()
    with pytest.raises(RuntimeError, match="one ended: 3"), turns:
        turns.ask("one")
