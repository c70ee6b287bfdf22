"""The simulator's texts beside what the real venue sent: same fields, same order, same types, same decimals."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.simulate.shapes import shape
from tidebook.simulate import SimulatedVenue, VenueOptions
from tidebook.simulate.market import DepthDiff
from tidebook.simulate.specs import SPECS, SymbolSpec
from tidebook.simulate.venue import DEFAULT_START_US
from tidebook.simulate.wire.binance import Wire, exchange_info_symbol


def recorded(recordings: Path, name: str) -> list[str]:
    with pa.CompressedInputStream(str(recordings / "binance-spot" / name), "zstd") as stream:
        text: str = stream.read().decode()
    return text.splitlines()


def shape_by_stream(frames: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Shape of the first message of each stream kind; of depth, the first that changes both sides."""
    found: dict[str, Any] = {}
    for frame in frames:
        data = frame["data"]
        if data.get("b", True) and data.get("a", True):
            found.setdefault(frame["stream"].partition("@")[2], shape(data))
    return found


def frames_of(lines: Iterable[str], separator: str) -> Iterator[dict[str, Any]]:
    for line in lines:
        text = line.partition(separator)[2]
        if text.startswith('{"stream"'):
            yield json.loads(text)


def test_stream_fields_are_those_of_the_recorded_venue(recordings: Path) -> None:
    real = shape_by_stream(frames_of(recorded(recordings, "btcusdt-20240808.log.zst"), " "))
    older = shape_by_stream(frames_of(recorded(recordings, "multi-20210404.log.zst"), ": "))
    real["aggTrade"] = older["aggTrade"]
    venue = SimulatedVenue(VenueOptions())
    messages = venue.advance(venue.now_us + 5_000_000)
    ours = shape_by_stream({"stream": m.stream, "data": json.loads(m.body)} for m in messages)
    assert set(real) == {"trade", "bookTicker", "depth@100ms", "aggTrade"}
    assert {kind: ours[kind] for kind in real} == real
    assert ours["depth"] == ours["depth@100ms"]


def test_the_snapshot_has_the_recorded_shape(recordings: Path) -> None:
    lines = recorded(recordings, "btcusdt-20240808.log.zst")
    real = next(json.loads(line.partition(" ")[2]) for line in lines if ' {"lastUpdateId"' in line[:40])
    market = SimulatedVenue(VenueOptions()).markets["BTCUSDT"]
    ours = json.loads(Wire(market.spec).snapshot(market.update_id, *market.levels(1_000)))
    assert shape(ours) == shape(real)
    assert len(ours["bids"]) == len(real["bids"]) == 1_000


def test_exchange_info_has_only_recorded_fields_in_their_order(recordings: Path) -> None:
    """The simulator leaves out filters for what it does not have (icebergs, algos); what it sends is the venue's."""
    line = next(line for line in recorded(recordings, "multi-20211012.info.log.zst") if "exchangeInfo ->" in line)
    real = next(one for one in json.loads(line.partition(": ")[2])["symbols"] if one["symbol"] == "BTCUSDT")
    ours = exchange_info_symbol(SPECS["BTCUSDT"])
    assert list(ours) == list(real)
    filters = {one["filterType"]: shape(one) for one in real["filters"]}
    assert isinstance(ours["filters"], list)
    for one in ours["filters"]:
        assert shape(one) == filters[one["filterType"]]


def test_texts_keep_eight_decimals_at_every_precision() -> None:
    for exponent, price in ((0, "4339.00000000"), (2, "43.39000000"), (8, "0.00004339")):
        wire = Wire(SymbolSpec("X", "X", "Y", exponent, 3, 1, 1))
        assert (wire.price(4_339), wire.size(12_005)) == (price, "12.00500000")


def test_times_are_milliseconds_and_microseconds_on_request() -> None:
    diff = DepthDiff(DEFAULT_START_US, 5, 6, [(100, 0)], [])
    text = '{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":5,"u":6,"b":[["1.00000000","0.00000000"]],"a":[]}'
    assert Wire(SPECS["BTCUSDT"]).depth(diff).decode() == text % (DEFAULT_START_US // 1_000)
    assert Wire(SPECS["BTCUSDT"], microseconds=True).depth(diff).decode() == text % DEFAULT_START_US
