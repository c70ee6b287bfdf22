"""REST side of a simulated Binance: public market data, its request weights, and its errors.

Source: Binance API documentation, Spot, "REST API" (limits, general and market data endpoints) and "Errors".
"""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tidebook.simulate.faults import Faults
    from tidebook.simulate.limits import VenueLimits
    from tidebook.simulate.specs import SymbolSpec
    from tidebook.simulate.venue import SimulatedVenue

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class RestRules:
    """Where Binance's markets differ."""

    prefix: str
    depth_limit_default: int
    depth_weights: tuple[tuple[int, int], ...]
    """(limit up to which, weight), rising."""
    depth_limits: frozenset[int] | None
    """The only limits there are; None = any up to the largest."""
    exchange_info_weight: int
    rate_limits: tuple[tuple[str, str, int, int], ...]
    """Beside the request weight: type, interval, number of intervals, limit."""
    exchange_info_symbol: Callable[[SymbolSpec], dict[str, Any]]


class RestApi:
    """The endpoints under the prefix. One address is assumed: everybody here is 127.0.0.1.

    `snapshot` writes a depth answer from a symbol, its bids and its asks.
    """

    def __init__(
        self,
        venue: SimulatedVenue,
        faults: Faults,
        limits: VenueLimits,
        rules: RestRules,
        snapshot: Callable[[str, list[tuple[int, int]], list[tuple[int, int]]], bytes],
    ) -> None:
        self._venue = venue
        self._faults = faults
        self._limits = limits
        self._rules = rules
        self._snapshot = snapshot
        self._minute = 0
        self._used_weight = 0
        self._refused_count = 0
        self._banned_until = 0.0

    def routes(self) -> list[web.RouteDef]:
        """Its routes."""
        rules = self._rules
        return [
            web.get(f"{rules.prefix}/ping", self._weighted(self._ping, lambda _: 1)),
            web.get(f"{rules.prefix}/time", self._weighted(self._time, lambda _: 1)),
            web.get(
                f"{rules.prefix}/exchangeInfo",
                self._weighted(self._exchange_info, lambda _: rules.exchange_info_weight),
            ),
            web.get(f"{rules.prefix}/depth", self._weighted(self._depth, self._depth_weight)),
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
        chosen = list(markets)
        if "symbol" in request.query:
            chosen = [request.query["symbol"]]
        elif "symbols" in request.query:
            try:
                chosen = json.loads(request.query["symbols"])
            except ValueError:
                return _error(400, -1100, "Illegal characters found in parameter 'symbols'.")
        if any(symbol not in markets for symbol in chosen):
            return _error(400, -1121, "Invalid symbol.")
        return web.json_response(
            {
                "timezone": "UTC",
                "serverTime": self._venue.now_us // 1_000,
                "rateLimits": [
                    _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, self._limits.weight_per_minute),
                    *(_rate_limit(*limit) for limit in self._rules.rate_limits),
                ],
                "exchangeFilters": [],
                "symbols": [self._rules.exchange_info_symbol(markets[symbol].spec) for symbol in chosen],
            }
        )

    async def _depth(self, request: web.Request) -> web.Response:
        symbol = request.query.get("symbol", "")
        limit_text = request.query.get("limit", str(self._rules.depth_limit_default))
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
        limit = int(limit_text)
        if self._rules.depth_limits is not None and limit not in self._rules.depth_limits:
            known = ",".join(map(str, sorted(self._rules.depth_limits)))
            return _error(400, -4021, f"{limit} is not valid depth limit. Depth limit must be one of {known}.")
        bids, asks = self._venue.markets[symbol].levels(min(max(limit, 1), self._rules.depth_weights[-1][0]))
        return _json(self._snapshot(symbol, bids, asks))

    def _depth_weight(self, request: web.Request) -> int:
        text = request.query.get("limit", "")
        limit = int(text) if text.isdecimal() else self._rules.depth_limit_default
        weights = self._rules.depth_weights
        return next((weight for bound, weight in weights if limit <= bound), weights[-1][1])


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
