"""`docs/formats/websocket.md` says what the code does."""

import re
from pathlib import Path

import msgspec

from tidebook.api import hub, mailbox, topics, websocket, wire
from tidebook.api.bars import TIMEFRAMES


def test_the_page_names_every_stream_code_field_and_bound(root: Path) -> None:
    page = (root / "docs/formats/websocket.md").read_text()
    streams = set(re.findall(r"^\| `(?:<instrument>@|!)([\w<>]+)`", page, re.MULTILINE))
    grouped = {f"depth{groups}_step_<step>" for groups in topics.GROUPS}
    assert streams == {
        *topics._OF_INSTRUMENT,
        *grouped,
        "kline_<timeframe>",
        "analytics_<interval>",
        "tops",
        "feeds",
        "heartbeat",
    }
    assert f"Timeframes: {', '.join(f'`{timeframe}`' for timeframe in TIMEFRAMES)}" in page
    codes = {int(code) for code in re.findall(r"^\| (\d{4}) ", page, re.MULTILINE)}
    assert codes == {1012, hub.CLOSE_SLOW_CONSUMER, websocket.CLOSE_RATE}
    fields = re.findall(r"^\| `(\w+)` \| ", page.partition("## Frames")[2], re.MULTILINE)
    assert fields == [field.name for field in msgspec.structs.fields(wire.Frame)]
    for number in (
        f"{mailbox.EVENTS_MAX:,}",
        f"{mailbox.EVENTS_SIZE_MAX >> 20} MiB",
        f"best {topics.DEPTH_LEVELS} levels",
        f"last {topics.TRADES_IN_SNAPSHOT} trades",
        f"newest {topics.BARS_IN_SNAPSHOT} bars",
        f"{websocket.STREAMS_MAX:,} streams",
        f"{websocket.REQUESTS_BURST} requests at once and {websocket.REQUESTS_PER_SECOND} a second",
    ):
        assert number in page, number
