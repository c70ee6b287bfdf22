"""`/sim/`: what the real venue does not have. The truth behind the streams, pause, and faults on request.

A test that wants equal books pauses the venue: pending depth is sent at once, then nothing moves, and `/sim/book` is
what every subscriber must have.
"""

from collections.abc import Callable
from itertools import islice

import msgspec
from aiohttp import web

from tidebook.simulate.binance_wire import Wire
from tidebook.simulate.faults import Fault, Faults
from tidebook.simulate.market import Market
from tidebook.simulate.streams import StreamHub
from tidebook.simulate.venue import SimulatedVenue

LEVELS_MAX = 1_000_000


class Control:
    """The endpoints under `/sim`. `set_paused` stops or restarts the venue's clock."""

    def __init__(
        self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, set_paused: Callable[[bool], None]
    ) -> None:
        self._venue = venue
        self._hub = hub
        self._faults = faults
        self._set_paused = set_paused
        self._wires = {symbol: Wire(market.spec) for symbol, market in venue.markets.items()}

    def routes(self) -> list[web.RouteDef]:
        """Its routes."""
        return [
            web.get("/sim/status", self._status),
            web.post("/sim/pause", self._pause),
            web.post("/sim/resume", self._resume),
            web.get("/sim/book", self._book),
            web.get("/sim/checkpoints", self._checkpoints),
            web.get("/sim/trades", self._trades),
            web.post("/sim/faults", self._ask_fault),
        ]

    async def _status(self, _request: web.Request) -> web.Response:
        options = self._venue.options
        return web.json_response(
            {
                "symbols": list(options.symbols),
                "rate": options.rate,
                "seed": options.seed,
                "now_us": self._venue.now_us,
                "messages": self._venue.message_count,
                "faults_pending": len(self._faults.pending),
                "update_ids": {symbol: market.update_id for symbol, market in self._venue.markets.items()},
                "trade_ids": {symbol: market.trade_id for symbol, market in self._venue.markets.items()},
                "connections": [
                    {"number": c.number, "streams": list(c.streams), "sent": c.sent}
                    for c in self._hub.connections.values()
                ],
            }
        )

    async def _pause(self, request: web.Request) -> web.Response:
        self._set_paused(True)
        return await self._status(request)

    async def _resume(self, request: web.Request) -> web.Response:
        self._set_paused(False)
        return await self._status(request)

    async def _book(self, request: web.Request) -> web.Response:
        """The whole book now, as a depth snapshot without a limit."""
        symbol, market = self._market(request)
        body = self._wires[symbol].snapshot(market.update_id, *market.levels(LEVELS_MAX))
        return web.Response(body=body, content_type="application/json")

    async def _checkpoints(self, request: web.Request) -> web.Response:
        """The best levels at each depth@100ms flush after update `after`, oldest first."""
        symbol, market = self._market(request)
        after = _integer(request, "after", 0)
        wire = self._wires[symbol]
        texts = (
            wire.snapshot(checkpoint.update_id, checkpoint.bids, checkpoint.asks).decode()
            for checkpoint in market.checkpoints
            if checkpoint.update_id > after
        )
        return web.Response(text=f"[{','.join(texts)}]", content_type="application/json")

    async def _trades(self, request: web.Request) -> web.Response:
        """Trades from id `from` on, at most `limit`, as the payloads of the trade stream."""
        symbol, market = self._market(request)
        first = _integer(request, "from", 0)
        limit = _integer(request, "limit", 1_000)
        wire = self._wires[symbol]
        skipped = max(0, first - market.trades[0].trade_id) if market.trades else 0
        texts = (wire.trade(trade).decode() for trade in islice(market.trades, skipped, skipped + limit))
        return web.Response(text=f"[{','.join(texts)}]", content_type="application/json")

    async def _ask_fault(self, request: web.Request) -> web.Response:
        """Takes one fault or a list of them."""
        try:
            faults = msgspec.json.decode(await request.read(), type=list[Fault] | Fault)
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=f"/sim/faults: {error}") from error
        for fault in faults if isinstance(faults, list) else [faults]:
            self._faults.add(fault)
        return web.json_response({"faults_pending": len(self._faults.pending)})

    def _market(self, request: web.Request) -> tuple[str, Market]:
        symbol = request.query.get("symbol", "")
        if symbol not in self._venue.markets:
            known = ", ".join(self._venue.markets)
            raise web.HTTPBadRequest(text=f"{request.path}: symbol {symbol or '(missing)'} is not one of {known}")
        return symbol, self._venue.markets[symbol]


def _integer(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal():
        raise web.HTTPBadRequest(text=f"{request.path}: {name} {text} is no whole number")
    return int(text)
