"""Benches keep their promise: a missing peer or a missed goal is never shown as success, and no bench rots."""

import io
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from benches.harness import (
    AREAS,
    Bench,
    Goal,
    Sample,
    at_least,
    at_most,
    measure,
    print_table,
    times_better,
    within,
    write_jsonl,
)


def nanoseconds(value: float) -> Sample:
    return Sample(value, 1.0, "ns")


def rate(value: float) -> Sample:
    return Sample(value, 1.0, "rows/s", "higher")


@pytest.mark.parametrize(
    ("ours", "peers", "goals", "ratio", "met"),
    [
        (nanoseconds(10), {}, [], None, None),
        (nanoseconds(10), {}, [at_most(10)], None, True),
        (nanoseconds(11), {}, [at_most(10)], None, False),
        (rate(9), {}, [at_least(10)], None, False),
        (nanoseconds(10), {"peer": nanoseconds(200)}, [times_better(20, "peer")], 20.0, True),
        (nanoseconds(10), {"peer": nanoseconds(199)}, [times_better(20, "peer")], 19.9, False),
        (rate(50), {"peer": rate(10)}, [times_better(5, "peer")], 5.0, True),
        (nanoseconds(13), {"bare": nanoseconds(10)}, [within(1.35, "bare")], 10 / 13, True),
        (nanoseconds(14), {"bare": nanoseconds(10)}, [within(1.35, "bare")], 10 / 14, False),
        (nanoseconds(10), {"a": nanoseconds(30), "b": nanoseconds(20)}, [], 2.0, None),
        (nanoseconds(10), {"peer": None}, [times_better(20, "peer")], None, False),
        (nanoseconds(10), {"peer": None}, [at_most(20)], None, False),
        (nanoseconds(10), {"peer": None}, [], None, False),
    ],
)
def test_a_figure_is_met_only_when_every_goal_holds_and_every_peer_ran(
    ours: Sample, peers: dict[str, Sample | None], goals: list[Goal], ratio: float | None, met: bool | None
) -> None:
    figure = Bench("feeds").figure("x", ours, peers=peers, goals=goals)
    assert figure.ratio == pytest.approx(ratio)
    assert figure.met is met


def test_a_peer_in_another_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="peer is in rows/s, we are in ns"):
        Bench("feeds").figure("x", nanoseconds(1), peers={"peer": rate(1)})


def test_samples_convert_between_units_and_rates() -> None:
    second = Sample.of([1.0, 2.0, 3.0, 4.0, 5.0], "s")
    assert (second.value, second.spread) == (3.0, 3.0)
    assert second.per(3).in_unit("ns").value == pytest.approx(1e9)
    assert second.as_rate(300, "rows") == Sample(100.0, 100.0, "rows/s", "higher")


def test_peers_take_turns_and_warmup_does_not_count() -> None:
    order: list[str] = []
    samples = measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warmup=1)
    assert order == ["a", "b"] * 4
    assert set(samples) == {"a", "b"}


def test_a_line_of_json_has_every_field_and_the_table_says_missed(tmp_path: Path) -> None:
    bench = Bench("feeds")
    bench.figure("decode", nanoseconds(10), peers={"cryptofeed": None}, goals=[times_better(20, "cryptofeed")])
    write_jsonl(bench.figures, tmp_path / "out/feeds.jsonl")
    (line,) = (tmp_path / "out/feeds.jsonl").read_text().splitlines()
    fields = json.loads(line)
    assert {"name", "value", "unit", "spread", "peers", "ratio", "goal", "met", "machine", "cores", "load"} <= set(
        fields
    )
    assert (fields["peers"], fields["met"], fields["goal"]) == ({"cryptofeed": None}, False, "≥ 20x cryptofeed")
    console = Console(width=200, record=True, file=io.StringIO())
    print_table("feeds", bench.figures, console)
    shown = console.export_text()
    assert "MISSED" in shown
    assert "cryptofeed missing" in shown


@pytest.mark.parametrize("area", AREAS)
def test_an_area_runs_at_its_small_size_or_says_that_it_is_not_built(area: str, root: Path) -> None:
    """Method: in a process of its own, as `make bench` does, so that a peer's warnings are not ours."""
    command = [sys.executable, "-m", "benches", area, "--small"]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    if find_spec(f"benches.{area}") is None:
        assert f"{area}: not built yet" in shown.stdout
    else:
        assert not shown.stdout.rstrip().splitlines()[-1].startswith("0 figures")


def test_a_core_compiled_for_debugging_is_not_measured(root: Path) -> None:
    lines = (
        "import runpy, sys",
        "from tidebook import _core",
        "_core.profile = lambda: 'dev'",
        "sys.argv[1:] = ['audit']",
        "runpy.run_module('benches', run_name='__main__')",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    shown = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert "compiled for debugging" in shown.stderr
    assert "run `make build`" in shown.stderr
