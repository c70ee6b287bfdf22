"""Nodes of these tests have no venue of their own, which has tests of its own: they start in half the time."""

import pytest


@pytest.fixture(autouse=True)
def without_venue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.module.__name__.rpartition(".")[2] != "test_venue":
        monkeypatch.setenv("TIDEBOOK_VENUE_ENABLED", "false")
