"""REST side of the simulated venue: public market data, its request weights, and its errors.

Source: Binance API documentation, Spot, "REST API" (limits, general and market data endpoints) and "Errors".
"""

import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tidebook.simulate.binance_wire import Wire, exchange_info_symbol
from tidebook.simulate.faults import Faults
from tidebook.simulate.limits import VenueLimits
from tidebook.simulate.venue import SimulatedVenue

DEPTH_LIMIT_DEFAULT = 100
DEPTH_LIMIT_MAX = 5_000
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (DEPTH_LIMIT_MAX, 250))
EXCHANGE_INFO_WEIGHT = 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestApi:
    """The endpoints under `/api/v3`. One address is assumed: everybody here is 127.0.0.1."""

    def __init__(self, venue: SimulatedVenue, faults: Faults, limits: VenueLimits) -> None:
        self._venue = venue
        self._faults = faults
        self._limits = limits
        self._wires = {symbol: Wire(market.spec) for symbol, market in venue.markets.items()}
        self._minute = 0
        self._used_weight = 0
        self._refused_count = 0
        self._banned_until = 0.0

    def routes(self) -> list[web.RouteDef]:
        """Its routes."""
        return [
            web.get("/api/v3/ping", self._weighted(self._ping, lambda _: 1)),
            web.get("/api/v3/time", self._weighted(self._time, lambda _: 1)),
            web.get("/api/v3/exchangeInfo", self._weighted(self._exchange_info, lambda _: EXCHANGE_INFO_WEIGHT)),
            web.get("/api/v3/depth", self._weighted(self._depth, _depth_weight)),
        ]

    def _weighted(self, handler: Handler, weight_of: Callable[[web.Request], int]) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            fault = self._faults.next_for_request()
            if fault is not None:
                return _refusal(fault.status, fault.seconds)
            now = time.time()
            if now < self._banned_until:
                return _refusal(418, self._banned_until - now)
            if int(now // 60) != self._minute:
                self._minute, self._used_weight, self._refused_count = int(now // 60), 0, 0
            self._used_weight += weight_of(request)
            if self._used_weight > self._limits.weight_per_minute:
                self._refused_count += 1
                if self._refused_count > self._limits.ban_after_count:
                    self._banned_until = now + self._limits.ban_s
                return _refusal(429, 60 - now % 60)
            answer = await handler(request)
            used = str(self._used_weight)
            answer.headers["x-mbx-used-weight"] = used
            answer.headers["x-mbx-used-weight-1m"] = used
            return answer

        return serve

    async def _ping(self, _request: web.Request) -> web.Response:
        return _json(b"{}")

    async def _time(self, _request: web.Request) -> web.Response:
        return _json(b'{"serverTime":%d}' % (self._venue.now_us // 1_000))

    async def _exchange_info(self, request: web.Request) -> web.Response:
        markets = self._venue.markets
        chosen = [request.query["symbol"]] if "symbol" in request.query else list(markets)
        if any(symbol not in markets for symbol in chosen):
            return _error(400, -1121, "Invalid symbol.")
        return web.json_response(
            {
                "timezone": "UTC",
                "serverTime": self._venue.now_us // 1_000,
                "rateLimits": [
                    _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, self._limits.weight_per_minute),
                    _rate_limit("ORDERS", "SECOND", 10, 100),
                    _rate_limit("ORDERS", "DAY", 1, 200_000),
                    _rate_limit("RAW_REQUESTS", "MINUTE", 5, 61_000),
                ],
                "exchangeFilters": [],
                "symbols": [exchange_info_symbol(markets[symbol].spec) for symbol in chosen],
            }
        )

    async def _depth(self, request: web.Request) -> web.Response:
        symbol = request.query.get("symbol", "")
        limit_text = request.query.get("limit", str(DEPTH_LIMIT_DEFAULT))
        if not symbol:
            return _error(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if not re.fullmatch(r"[A-Z0-9-_.]{1,20}", symbol):
            return _error(
                400, -1100, "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'."
            )
        if not re.fullmatch(r"[0-9]{1,20}", limit_text):
            return _error(400, -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
        if symbol not in self._venue.markets:
            return _error(400, -1121, "Invalid symbol.")
        market = self._venue.markets[symbol]
        bids, asks = market.levels(min(max(int(limit_text), 1), DEPTH_LIMIT_MAX))
        return _json(self._wires[symbol].snapshot(market.update_id, bids, asks))


def _depth_weight(request: web.Request) -> int:
    text = request.query.get("limit", "")
    limit = int(text) if text.isdecimal() else DEPTH_LIMIT_DEFAULT
    return next((weight for bound, weight in DEPTH_WEIGHTS if limit <= bound), DEPTH_WEIGHTS[-1][1])


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="UTF-8")


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "msg": message}, status=status)


def _refusal(status: int, seconds: float) -> web.Response:
    """429 and 418 say when to come back; other codes stand for trouble of the venue's own."""
    if status == 429:
        answer = _error(
            status, -1003, "Too much request weight used; current limit is exceeded. Please use WebSocket Streams."
        )
    elif status == 418:
        answer = _error(status, -1003, "Way too much request weight used; IP banned. Please use WebSocket Streams.")
    else:
        answer = _error(status, -1000, "An unknown error occurred while processing the request.")
    if status in (418, 429):
        answer.headers["Retry-After"] = str(max(0, math.ceil(seconds)))
    return answer
