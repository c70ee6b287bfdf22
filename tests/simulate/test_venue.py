"""The simulated venue without a socket: one seed is one market, and its streams agree as the real venue's do."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tidebook.errors import ConfigError
from tidebook.simulate import SimulatedVenue, StreamMessage, VenueOptions
from tidebook.simulate.specs import SPECS
from tidebook.simulate.wire.binance import Wire

SECOND = 1_000_000


def play(venue: SimulatedVenue, seconds: float, step_us: int = SECOND) -> Iterator[StreamMessage]:
    end = venue.now_us + int(seconds * SECOND)
    while venue.now_us < end:
        yield from venue.advance(min(end, venue.now_us + step_us))


def digest(options: VenueOptions, step_us: int) -> str:
    whole = hashlib.sha256()
    for message in play(SimulatedVenue(options), 10, step_us):
        whole.update(message.stream.encode() + message.body)
    return whole.hexdigest()


def test_one_seed_is_one_sequence_of_messages_whatever_the_steps_of_the_clock() -> None:
    options = VenueOptions(seed=11)
    assert digest(options, SECOND) == digest(options, 1_777)
    assert digest(options, SECOND) != digest(VenueOptions(seed=12), SECOND)


def test_the_market_does_not_depend_on_who_listens() -> None:
    quiet, loud = SimulatedVenue(VenueOptions(seed=3)), SimulatedVenue(VenueOptions(seed=3))
    quiet.wanted = frozenset({"ethusdt@trade"})
    heard = list(play(quiet, 5))
    everything = list(play(loud, 5))
    assert heard == [message for message in everything if message.stream == "ethusdt@trade"]
    assert quiet.message_count == loud.message_count


@pytest.mark.parametrize("rate", [200.0, 1_000.0, 3_000.0])
def test_the_rate_is_the_mean_and_bursts_exceed_it(rate: float) -> None:
    venue = SimulatedVenue(VenueOptions(rate=rate, seed=5))
    venue.wanted = frozenset()
    windows: list[int] = []
    for _ in range(600):
        before = venue.message_count
        for _ in venue.advance(venue.now_us + SECOND // 10):
            pass
        windows.append(venue.message_count - before)
    assert sum(windows) / 60 == pytest.approx(rate, rel=0.1)
    assert max(windows) > 3 * rate / 10


class ReferenceBook:
    """The simplest book there is, fed by the depth stream alone."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.apply(snapshot["bids"], snapshot["asks"])

    def apply(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, size in changes:
                if units(size) == 0:
                    side.pop(price, None)
                else:
                    side[price] = size

    def top(self) -> list[str]:
        bid, ask = max(self.bids, key=units), min(self.asks, key=units)
        return [bid, self.bids[bid], ask, self.asks[ask]]


def units(text: str) -> int:
    return int(text.replace(".", ""))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ids_tops_trades_and_depth_agree_with_each_other(seed: int) -> None:
    """Method: rebuild each book from a snapshot and diffs; after each diff its top is the last bookTicker up to `u`."""
    venue = SimulatedVenue(VenueOptions(symbols=("BTCUSDT", "ETHUSDT", "XRPUSDT"), rate=2_000, seed=seed))
    books: dict[str, ReferenceBook] = {}
    last_u: dict[tuple[str, str], int] = {}
    next_trade_id: dict[str, int] = {}
    for symbol, market in venue.markets.items():
        snapshot = json.loads(Wire(market.spec).snapshot(market.update_id, *market.levels(100_000)))
        books[symbol] = ReferenceBook(snapshot)
        for kind in ("depth", "depth@100ms", "bookTicker"):
            last_u[symbol, kind] = snapshot["lastUpdateId"]
        next_trade_id[symbol] = market.trade_id + 1
    tickers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    fills: dict[str, list[dict[str, Any]]] = defaultdict(list)
    compared = 0
    for message in play(venue, 20):
        body = json.loads(message.body)
        symbol, kind = body["s"], message.stream.partition("@")[2]
        if kind == "bookTicker":
            assert body["u"] > last_u[symbol, kind]
            last_u[symbol, kind] = body["u"]
            assert units(body["b"]) < units(body["a"])
            tickers[symbol].append(body)
        elif kind == "trade":
            assert body["t"] == next_trade_id[symbol]
            next_trade_id[symbol] += 1
            fills[symbol].append(body)
        elif kind == "aggTrade":
            part = fills.pop(symbol)
            assert [trade["t"] for trade in part] == list(range(body["f"], body["l"] + 1))
            assert {(trade["p"], trade["m"]) for trade in part} == {(body["p"], body["m"])}
            assert sum(units(trade["q"]) for trade in part) == units(body["q"])
        else:
            assert body["U"] == last_u[symbol, kind] + 1
            last_u[symbol, kind] = body["u"]
            if kind == "depth@100ms":
                books[symbol].apply(body["b"], body["a"])
                known = [ticker for ticker in tickers[symbol] if ticker["u"] <= body["u"]]
                if known:
                    assert books[symbol].top() == [known[-1][key] for key in ("b", "B", "a", "A")]
                    compared += 1
                tickers[symbol] = tickers[symbol][-1:]
    assert compared > 500
    assert sum(market.trade_id for market in venue.markets.values()) > 1_000
    for symbol, market in venue.markets.items():
        newest = market.checkpoints[-1]
        truth = ReferenceBook(json.loads(Wire(market.spec).snapshot(0, newest.bids, newest.asks)))
        assert newest.update_id == last_u[symbol, "depth@100ms"]
        assert truth.top() == books[symbol].top()


def test_twenty_minutes_of_market_keeps_its_deep_book() -> None:
    """A book that runs dry, or a price that runs away, would end long runs."""
    venue = SimulatedVenue(VenueOptions(symbols=("BTCUSDT",), rate=100, seed=9))
    venue.wanted = frozenset()
    for _ in venue.advance(venue.now_us + 1_200 * SECOND):
        pass
    bids, asks = venue.markets["BTCUSDT"].levels(1_000)
    assert len(bids) == len(asks) == 1_000
    start = SPECS["BTCUSDT"].start_price
    assert abs(bids[0][0] - start) < start * 0.06


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"symbols": ("BTCUSDX",)}, "BTCUSDX"),
        ({"symbols": ()}, "(none)"),
        ({"symbols": ("BTCUSDT", "BTCUSDT")}, "BTCUSDT,BTCUSDT"),
        ({"rate": 0.0}, "0.0"),
        ({"rate": 1e9}, "1000000000.0"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match="simulator") as caught:
        VenueOptions(**options)
    assert named in str(caught.value)
