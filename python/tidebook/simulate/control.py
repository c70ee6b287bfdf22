"""`/sim/`: what the real venue does not have. The truth behind the streams, pause, and faults on request.

A test that wants equal books pauses the venue: pending depth is sent at once, then nothing moves, and `/sim/book` is
what every subscriber must have. Answers have one shape for all venues; prices, sizes and trades in them are written as
the venue's own messages write them.
"""

from collections.abc import Callable
from itertools import islice

import msgspec
from aiohttp import web

from tidebook.simulate.dialect import SymbolTexts
from tidebook.simulate.faults import SPECIAL_FAULTS, Fault, Faults
from tidebook.simulate.market import Market
from tidebook.simulate.streams import StreamHub
from tidebook.simulate.venue import SimulatedVenue

LEVELS_MAX = 1_000_000
_OF_THE_WHOLE_VENUE = ("instrument", "status", "heartbeats", "subscriptions", "!serverShutdown")
_STREAMS_SHOWN = 3

_decode_faults = msgspec.json.Decoder(list[Fault] | Fault).decode


class Control:
    """The endpoints under `/sim`. `set_paused` stops or restarts the venue's clock."""

    def __init__(
        self, venue: SimulatedVenue, hub: StreamHub, faults: Faults, set_paused: Callable[[bool], None]
    ) -> None:
        self._venue = venue
        self._hub = hub
        self._faults = faults
        self._set_paused = set_paused

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
                "venue": options.venue,
                "symbols": list(options.symbols),
                "rate": options.rate,
                "seed": options.seed,
                "now_us": self._venue.now_us,
                "messages": self._venue.message_count,
                "faults_pending": len(self._faults.pending),
                "update_ids": {
                    symbol: self._venue.texts[symbol].book_id(market.update_id)
                    for symbol, market in self._venue.markets.items()
                },
                "trade_ids": {symbol: market.trade_id for symbol, market in self._venue.markets.items()},
                "connections": [
                    {
                        "number": c.number,
                        "streams": list(c.streams),
                        "sent": c.sent,
                        "messages": c.sent - c.control_sent,
                    }
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
        """The book now, as far as `levels` on each side or whole."""
        symbol, market = self._market(request)
        levels = market.levels(_integer(request, "levels", LEVELS_MAX))
        body = _book_text(self._venue.texts[symbol], self._venue.now_us, market.update_id, *levels)
        return web.Response(text=body, content_type="application/json")

    async def _checkpoints(self, request: web.Request) -> web.Response:
        """The best levels at each flush of the venue's first cadence after update `after`, oldest first."""
        symbol, market = self._market(request)
        after = _integer(request, "after", 0)
        texts = self._venue.texts[symbol]
        found = (_book_text(texts, *one) for one in market.checkpoints if texts.book_id(one.update_id) > after)
        return web.Response(text=f"[{','.join(found)}]", content_type="application/json")

    async def _trades(self, request: web.Request) -> web.Response:
        """Trades from id `from` on, at most `limit`, as the venue's messages have them."""
        symbol, market = self._market(request)
        first = _integer(request, "from", 0)
        limit = _integer(request, "limit", 1_000)
        texts = self._venue.texts[symbol]
        skipped = max(0, first - market.trades[0].trade_id) if market.trades else 0
        found = (texts.trade_text(trade) for trade in islice(market.trades, skipped, skipped + limit))
        return web.Response(text=f"[{','.join(found)}]", content_type="application/json")

    async def _ask_fault(self, request: web.Request) -> web.Response:
        """Takes one fault or a list of them."""
        try:
            faults = _decode_faults(await request.read())
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=f"/sim/faults: {error}") from error
        asked = faults if isinstance(faults, list) else [faults]
        dialect = self._venue.dialect
        for fault in asked:
            if fault.kind in SPECIAL_FAULTS - dialect.special_faults:
                raise web.HTTPBadRequest(text=f"/sim/faults: {dialect.name} has nothing that {fault.kind} could befall")
            streams = {*self._venue.streams(), *self._hub.subscribers, *_OF_THE_WHOLE_VENUE}
            if not fault.befalls_one_of(streams):
                examples = ", ".join(sorted(self._venue.streams())[:_STREAMS_SHOWN])
                raise web.HTTPBadRequest(
                    text=f"/sim/faults: {dialect.name} has no stream {fault.stream}; it has {examples} and others"
                )
        for fault in asked:
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


def _book_text(
    texts: SymbolTexts, time_us: int, update_id: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]
) -> str:
    bid_texts, ask_texts = ([list(texts.level(*level)) for level in side] for side in (bids, asks))
    book = {"lastUpdateId": texts.book_id(update_id), "time_us": time_us, "bids": bid_texts, "asks": ask_texts}
    return msgspec.json.encode(book).decode()
