"""What `tidebook venue status` says first: whether orders are taken."""

from types import SimpleNamespace
from typing import Any

import pytest

from tidebook.cli.venue import status

FOUND: dict[str, Any] = {
    "venue": "LOCAL",
    "killed": False,
    "sequence": 9,
    "durable": 9,
    "waiting": 0,
    "instruments": 1,
    "accounts": 2,
    "open_orders": 0,
    "margin_calls": 0,
    "state_hash": "0011223344556677",
    "engine": {"layout": "fused", "shards": 1, "threads": 1, "cores": 2, "process": 4711, "away": None},
    "audit": None,
}


@pytest.mark.parametrize(
    ("killed", "away", "said"),
    [
        (False, None, "trading"),
        (True, None, "trading of all is OFF"),
        (False, "is being started again", "AWAY, takes no orders now: the engine is being started again"),
        (True, "is being started again", "AWAY, takes no orders now: the engine is being started again"),
    ],
)
def test_the_first_line_says_whether_orders_are_taken(
    killed: bool, away: str | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = FOUND | {"killed": killed, "engine": FOUND["engine"] | {"away": away}}
    answers = {"venue": found, "status": {"engines": []}}
    node = SimpleNamespace(address="http://127.0.0.1:8080", get=answers.__getitem__)
    monkeypatch.setattr("tidebook.cli.venue.status.node_api", lambda _: node)
    status.status()
    assert capsys.readouterr().out.splitlines()[0] == f"venue LOCAL at http://127.0.0.1:8080: {said}"
