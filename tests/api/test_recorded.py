"""A recorded day's end through decoder, view and REST: what the API says is what the venue sent, digit for digit."""

from pathlib import Path
from typing import Any

import msgspec

from tests.api.conftest import Clock, open_desk
from tidebook._core import FeedDecoder, Recording, unpack_message
from tidebook.api import CHANNELS
from tidebook.api.view import TRADES_KEPT

FILE = "binance-spot/btcusdt-20240808.log.zst"


async def test_trades_top_and_health_are_those_of_the_recording(recordings: Path) -> None:
    desk = open_desk(Clock())
    recording, decoder = Recording(recordings / FILE), FeedDecoder("binance")
    sent: list[dict[str, Any]] = []
    tops: list[dict[str, Any]] = []
    sequence = 1
    while len(messages := recording.next()):
        for index in range(len(messages)):
            stream, data = _stream(messages[index])
            if stream.endswith("@trade"):
                sent.append(data)
            elif stream.endswith("@bookTicker"):
                tops.append(data)
        decoded = decoder.decode(sequence, messages)
        sequence += len(messages)
        for channel in CHANNELS:
            if (found := decoded.get(channel.removeprefix("md."))) is not None:
                desk.view.feed(channel, found)

    trades = (await desk.get(f"/api/v1/trades?instrument=BTCUSDT.BINANCE&limit={TRADES_KEPT}")).json()
    assert [(row["id"], row["price"], row["size"], row["side"], row["ts_event"]) for row in trades] == [
        (row["t"], row["p"], row["q"], "sell" if row["m"] else "buy", row["T"] * 1000) for row in sent[-TRADES_KEPT:]
    ]
    top = (await desk.get("/api/v1/bookTicker?instrument=BTCUSDT.BINANCE")).json()
    last = tops[-1]
    assert not top["derived"]
    assert [top[name] for name in ("update_id", "bid_price", "bid_size", "ask_price", "ask_size")] == [
        last[name] for name in ("u", "b", "B", "a", "A")
    ]
    feed = (await desk.get("/api/v1/feeds")).json()[0]
    assert (feed["messages"], feed["gaps"], feed["quarantined"], feed["missed_records"]) == (sequence - 1, 0, 0, 0)


def _stream(payload: bytes) -> tuple[str, dict[str, Any]]:
    frame = msgspec.json.decode(unpack_message(payload)[4])
    return frame.get("stream", ""), frame.get("data", {})
