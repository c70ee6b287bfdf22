"""A market view that a test feeds by hand, the API over it, and a real server where sockets matter."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.market import records
from tidebook.api import ApiOptions, Batch, MarketView, create_app, listen, serving

SECOND = 1_000_000_000
START = 1_723_161_253 * SECOND
BTC = 1 << 24
XRP = 1 << 24 | 1

BTC_DEFINITION = {
    "instrument_id": BTC,
    "symbol": "BTCUSDT.BINANCE",
    "instrument_version": 1,
    "price_exp": 2,
    "size_exp": 5,
    "tick": 1,
    "lot": 1,
}
XRP_DEFINITION = {
    "instrument_id": XRP,
    "symbol": "XRPUSDT.BINANCE",
    "instrument_version": 3,
    "price_exp": 8,
    "size_exp": 8,
}


def book(bids: list[tuple[int, int]], asks: list[tuple[int, int]], **fields: Any) -> dict[str, Any]:
    """A book image row of BTCUSDT from (price units, size units)."""

    def padded(values: list[int]) -> list[int]:
        return values + [0] * (25 - len(values))

    return {
        "instrument_id": BTC,
        "usable": 1,
        "price_exp": 2,
        "size_exp": 5,
        "bid_count": len(bids),
        "ask_count": len(asks),
        "bid_price": padded([price for price, _ in bids]),
        "bid_size": padded([size for _, size in bids]),
        "ask_price": padded([price for price, _ in asks]),
        "ask_size": padded([size for _, size in asks]),
        **fields,
    }


def trade(trade_id: int, side: int = 1, **fields: Any) -> dict[str, Any]:
    """A trade row of BTCUSDT at 100.00 for 1.00000."""
    return {
        "instrument_id": BTC,
        "trade_id": trade_id,
        "side": side,
        "price": 10_000,
        "size": 100_000,
        "price_exp": 2,
        "size_exp": 5,
        **fields,
    }


@dataclass
class Clock:
    """A clock that a test moves."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class HandFed:
    """A source that gives what a test put into it, once."""

    waiting: list[Batch] = field(default_factory=list)

    def put(
        self, channel: str, *rows: dict[str, Any], missed: int = 0, missed_of: dict[int, int] | None = None
    ) -> None:
        self.waiting.append(Batch(channel, records(channel, *rows), missed, missed_of))

    def poll(self) -> Iterator[Batch]:
        while self.waiting:
            yield self.waiting.pop(0)


@dataclass
class Desk:
    """The API of one test: put records into `source`, call `step`, look."""

    source: HandFed
    clock: Clock
    view: MarketView
    app: FastAPI

    def step(self) -> None:
        self.app.state.pump.step()

    def publish(self) -> None:
        self.app.state.pump.publish()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            yield client

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with self.client() as client:
            return await client.get(path, headers=headers)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """A real server on a free port; gives `127.0.0.1:port`."""
        sock = listen(port=0)
        host, port = sock.getsockname()
        async with serving(self.app, sock):
            yield f"{host}:{port}"


def open_desk(clock: Any, options: ApiOptions | None = None) -> Desk:
    source = HandFed()
    view = MarketView(["binance"], clock, clock)
    return Desk(source, clock, view, create_app(view, source, options))


@pytest.fixture
def desk() -> Desk:
    """An API that knows BTCUSDT and XRPUSDT and has seen nothing of them; its clock stands until a test moves it."""
    desk = open_desk(Clock())
    desk.source.put("md.instruments", BTC_DEFINITION, XRP_DEFINITION)
    desk.step()
    return desk
