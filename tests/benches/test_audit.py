"""The bench of the audit trail still runs, in both databases."""

from benches.audit import BARE, run
from benches.harness import Bench


def test_it_gives_its_figures_in_both_databases() -> None:
    bench = Bench("audit", small=True)
    run(bench)
    added = [figure for figure in bench.figures if "rows added" in figure.name]
    assert [figure.name.split(",")[0] for figure in added] == ["rows added to SQLite", "rows added to PostgreSQL"]
    assert all(figure.value > 0 and figure.peers[BARE] for figure in added)
    assert sum("durable until" in figure.name and figure.value > 0 for figure in bench.figures) == 2
