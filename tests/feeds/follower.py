"""A book and trade follower over raw messages: the simplest reading of the venue's rules, to judge a capture by.

It is the reference for the connector's tests, written straight from the rules and never shared with the engine.
Source: Binance API documentation, Spot, "WebSocket Streams" (how to manage a local order book correctly).
"""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tidebook.feeds.sink import MessageKind, RawMessage


@dataclass
class FollowedBook:
    update_id: int | None = None
    """None while the book waits for a snapshot."""
    bids: dict[str, str] = field(default_factory=dict)
    asks: dict[str, str] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    gap_count: int = 0

    def snapshot(self, body: dict[str, Any]) -> bool:
        """Whether the snapshot was new enough to be used."""
        if self.waiting and body["lastUpdateId"] < self.waiting[0]["U"] - 1:
            return False
        self.update_id = body["lastUpdateId"]
        self.bids, self.asks = {}, {}
        _set(self.bids, body["bids"])
        _set(self.asks, body["asks"])
        waiting, self.waiting = self.waiting, []
        for diff in waiting:
            self.apply(diff)
        return True

    def apply(self, diff: dict[str, Any]) -> None:
        if self.update_id is None:
            self.waiting.append(diff)
        elif diff["u"] > self.update_id:
            if diff["U"] > self.update_id + 1:
                self.update_id = None
                self.waiting = [diff]
                self.gap_count += 1
            else:
                _set(self.bids, diff["b"])
                _set(self.asks, diff["a"])
                self.update_id = diff["u"]

    def levels(self, count: int) -> tuple[list[list[str]], list[list[str]]]:
        bids = sorted(self.bids.items(), key=lambda level: _units(level[0]), reverse=True)
        asks = sorted(self.asks.items(), key=lambda level: _units(level[0]))
        return [list(level) for level in bids[:count]], [list(level) for level in asks[:count]]


@dataclass
class Follower:
    """What all messages together say."""

    books: dict[str, FollowedBook] = field(default_factory=dict)
    trades: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    malformed_count: int = 0
    wanted: set[str] = field(default_factory=set)
    """Symbols whose book needs a snapshot that nobody has asked for yet."""

    def feed(self, message: RawMessage) -> None:
        if message.kind == MessageKind.STATE:
            state = json.loads(message.body)
            if state["event"] == "connected":
                for symbol, book in self.books.items():
                    if any(stream.startswith(f"{symbol.lower()}@depth") for stream in state["streams"]):
                        book.update_id, book.waiting = None, []
        elif message.kind == MessageKind.REST and b"depth?" in message.context:
            symbol = parse_qs(urlsplit(message.context.decode()).query)["symbol"][0]
            if not self.book(symbol).snapshot(json.loads(message.body)):
                self.wanted.add(symbol)
        elif message.kind == MessageKind.WS:
            self.frame(message.body)

    def frame(self, body: bytes) -> None:
        try:
            frame = json.loads(body)
            stream, data = frame["stream"], frame["data"]
        except (ValueError, TypeError, KeyError):
            self.malformed_count += not body.startswith(b'{"result":null')
            return
        if "?" in body.decode():
            self.malformed_count += 1
        elif stream.endswith("@trade"):
            self.trades.setdefault(data["s"], {})[data["t"]] = data
        elif "@depth" in stream:
            book = self.book(data["s"])
            usable = book.update_id is not None
            book.apply(data)
            if usable and book.update_id is None:
                self.wanted.add(data["s"])

    def book(self, symbol: str) -> FollowedBook:
        return self.books.setdefault(symbol, FollowedBook())


def _set(side: dict[str, str], levels: list[list[str]]) -> None:
    for price, size in levels:
        if _units(size) == 0:
            side.pop(price, None)
        else:
            side[price] = size


def _units(text: str) -> int:
    return int(text.replace(".", ""))
