"""`tidebook feeds top`: a table that fits its terminal."""

import io

import pytest
from rich.console import Console

from tidebook.cli.feeds import _table

FEED = {
    "state": "disconnected",
    "messages_per_second": 1234.5,
    "messages": 533_123_456,
    "delay_us": 12_345,
    "gaps": 12,
    "resyncs": 3,
    "quarantined": 4,
    "reconnects": 5,
    "books_usable": 100,
    "instruments": 500,
}


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_narrow_terminal_cuts_no_word_and_names_the_columns_without_room(width: int) -> None:
    feeds = [{"venue": venue, **FEED} for venue in ("binance_usdm", "coinbase_advanced")]
    screen = io.StringIO()
    Console(file=screen, width=width).print(_table("http://127.0.0.1:8080", feeds, width))
    shown = screen.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    lines = shown.splitlines()
    assert lines[3].split()[:4] == ["binance_usdm", "disconnected", "100/500", "1,234"]
    for name in ("messages", "delay ms", "gaps", "resyncs", "set aside", "reconnects", "books"):
        assert name in shown, name
