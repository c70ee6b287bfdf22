"""Coinbase Exchange: one message for all channels, one answer a message, books that come with their subscription.

`level2_batch`, `matches`, `ticker` and `heartbeat` are for everybody; `level2`, `level3`, `full` and `user` need a key.
The feed of `full` has no book of its own: its snapshot is a REST answer, which is fetched when no level2 channel is
subscribed that would bring one.

Source: Coinbase Exchange documentation, "WebSocket overview", "WebSocket channels", "WebSocket rate limits", "WebSocket
authentication", "REST API: get product book".
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tidebook.errors import ConfigError
from tidebook.feeds.credentials import ApiKey
from tidebook.feeds.protocol import (
    HEARTBEAT,
    Answer,
    ConnectionLimits,
    Dial,
    Endpoints,
    Notice,
    Request,
    RestLimits,
    RestRequest,
    Route,
    Snapshots,
    SnapshotSeen,
    VenueProtocol,
    chunks,
    is_too_fast,
    json_bytes,
    json_object,
    text_of,
    word_after,
)

DEFAULT_STREAMS = ("level2_batch", "matches", "ticker", "heartbeat")
# The same book, each message at once instead of every 50 ms.
DEFAULT_STREAMS_WITH_KEY = ("level2", "matches", "ticker", "heartbeat")
OPEN_CHANNELS = ("level2_batch", "matches", "ticker", "ticker_batch", "heartbeat")
KEY_CHANNELS = ("level2", "level3", "full", "user")
BOOK_CHANNELS = ("level2", "level2_batch")
ORDER_CHANNELS = ("full", "level3")

VERIFY_PATH = "/users/self/verify"
"""What a subscription signs in place of a request of its own."""

_TYPE = b'{"type":"'
_PRODUCT = b'"product_id":"'
_HEAD_BYTES = 512
_MOVING = frozenset({b"l2update", b"match", b"ticker"})
_DATA = frozenset(
    {b"l2update", b"match", b"last_match", b"ticker", b"received", b"open", b"done", b"change", b"activate"}
)
_SNAPSHOT_PRODUCT = b'{"type":"snapshot","product_id":"'


class Coinbase(VenueProtocol):
    """Exchange. With `key` every subscription is signed.

    Raises: ConfigError for a channel the venue does not have or that needs a key, and for a key that cannot be one.
    """

    venue: ClassVar[str] = "coinbase"
    limits: ClassVar[ConnectionLimits] = ConnectionLimits(
        # The venue names no bound; a book's snapshot is a frame of some megabytes.
        symbols_per_connection=50,
        names_per_request=50,
        # 100 messages a second from one address, of all connections together.
        request_spacing_s=0.1,
        requests_shared=True,
        # 8 requests a second from one address, bursts of 20.
        connect_spacing_s=0.25,
        connects_per_window=150,
        connect_window_s=60.0,
    )
    # 10 requests a second from one address, half of them for others.
    rest_limits: ClassVar[RestLimits] = RestLimits(weight=5, window_s=1.0)
    heartbeats: ClassVar[bool] = True

    def __init__(
        self, endpoints: Endpoints, streams: Sequence[str] = DEFAULT_STREAMS, key: ApiKey | None = None
    ) -> None:
        super().__init__(endpoints)
        for stream in streams:
            if stream not in OPEN_CHANNELS + KEY_CHANNELS:
                known = ", ".join(OPEN_CHANNELS + KEY_CHANNELS)
                raise ConfigError(
                    f"coinbase: no channel is called {stream!r}; there are {known}", key="streams", value=stream
                )
            if stream in KEY_CHANNELS and key is None:
                raise ConfigError(
                    f"coinbase: channel {stream!r} needs a key; set TIDEBOOK_KEY_COINBASE, TIDEBOOK_SECRET_COINBASE and "
                    "TIDEBOOK_PASSPHRASE_COINBASE",
                    key="streams",
                    value=stream,
                )
        if "heartbeat" not in streams:
            raise ConfigError(
                "coinbase: channel 'heartbeat' is missing; without it a dead connection cannot be told from a quiet one",
                key="streams",
                value=",".join(streams),
            )
        self._key = key
        self._secret = secret_bytes(key) if key is not None else b""
        for word, text in (("key", key.name), ("passphrase", key.passphrase)) if key is not None else ():
            if not (text.isascii() and text.isprintable()):
                raise ConfigError(
                    f"coinbase: the {word} has a line break or another character that no request can carry; set "
                    f"TIDEBOOK_{word.upper()}_COINBASE as the venue gave it out",
                    key=word,
                )
        if key is not None and not key.passphrase:
            raise ConfigError(
                "coinbase: the key has no passphrase, which the venue gave out with it; set TIDEBOOK_PASSPHRASE_COINBASE",
                key="passphrase",
            )
        books = tuple(stream for stream in streams if stream in BOOK_CHANNELS)
        orders = tuple(stream for stream in streams if stream in ORDER_CHANNELS)
        self._snapshots = Snapshots.RESUBSCRIBE if books else Snapshots.REST if orders else Snapshots.NONE
        self._route = Route(endpoints.ws, tuple(streams), books or orders)

    @property
    def routes(self) -> tuple[Route, ...]:
        """One for all channels."""
        return (self._route,)

    @property
    def snapshots(self) -> Snapshots:
        """With the subscription of level2; over REST where only orders are subscribed."""
        return self._snapshots

    @classmethod
    def normal(cls, symbol: str) -> str:
        """As the venue spells it: `BTC-USD`."""
        return product_id(symbol)

    def dial(self, route: Route, symbols: Sequence[str]) -> Dial:
        """Everything is subscribed by message."""
        del symbols
        return Dial(route.url)

    def subscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """All channels in one message."""
        return self._requests("subscribe", tuple(streams), symbols)

    def unsubscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """All channels in one message."""
        return self._requests("unsubscribe", tuple(streams), symbols)

    def snapshot_request(self, symbol: str, symbol_count: int) -> RestRequest:
        """Every order of the book."""
        del symbol_count
        target = f"/products/{symbol}/book?level=3"
        return RestRequest(target, headers=lambda: self._headers("GET", target))

    def reference_requests(self, symbols: Sequence[str]) -> list[tuple[RestRequest, tuple[str, ...]]]:
        """The whole list: it is one answer, and a few hundred kilobytes."""
        return [(RestRequest("/products"), ())] if symbols else []

    def notice(self, body: bytes) -> Notice | None:
        """A heartbeat, a snapshot, or the answer to a request."""
        if body.startswith(_TYPE):
            kind = body[9 : body.find(b'"', 9, 32)]
            if kind in _DATA:
                return None
            if kind == b"heartbeat":
                return HEARTBEAT
            if kind == b"snapshot":
                return _snapshot(body)
            if kind == b"subscriptions":
                return Answer()
        message = json_object(body)
        if message is None:
            return None
        if message.get("type") == "error":
            words = [text_of(message[word]) for word in ("message", "reason") if message.get(word)]
            refused = ": ".join(words) or "no reason given"
            return Answer(refused=refused, too_fast=is_too_fast(refused))
        return Answer() if message.get("type") == "subscriptions" else None

    def about(self, body: bytes) -> tuple[bytes, bool] | None:
        """Told by the type, where a level2 channel is subscribed."""
        kind = word_after(body, _TYPE, len(_TYPE)) if self._snapshots is Snapshots.RESUBSCRIBE else None
        if kind not in _MOVING:
            return None
        product = word_after(body, _PRODUCT, _HEAD_BYTES)
        return None if product is None else (product, kind == b"l2update")

    def _requests(self, kind: str, streams: tuple[str, ...], symbols: Sequence[str]) -> list[Request]:
        def encode(number: int, part: Sequence[str]) -> bytes:
            del number
            message: dict[str, Any] = {"type": kind, "product_ids": part, "channels": streams}
            if self._key is not None:
                now_s = str(int(time.time()))
                message |= {
                    "key": self._key.name,
                    "passphrase": self._key.passphrase,
                    "timestamp": now_s,
                    "signature": signature(self._secret, now_s, "GET", VERIFY_PATH),
                }
            return json_bytes(message)

        return [Request(encode, streams, part) for part in chunks(symbols, self.limits.names_per_request)]

    def _headers(self, method: str, target: str) -> Mapping[str, str]:
        if self._key is None:
            return {}
        now_s = str(int(time.time()))
        return {
            "CB-ACCESS-KEY": self._key.name,
            "CB-ACCESS-PASSPHRASE": self._key.passphrase,
            "CB-ACCESS-TIMESTAMP": now_s,
            "CB-ACCESS-SIGN": signature(self._secret, now_s, method, target),
        }


def product_id(symbol: str) -> str:
    """`symbol` as Coinbase spells it. Raises: ConfigError."""
    base, dash, quote = symbol.partition("-")
    if not (dash and base.isalnum() and quote.replace("-", "").isalnum() and symbol.isascii()):
        raise ConfigError(
            f"feeds: {symbol!r} is no Coinbase product, which is BTC-USD or the like", key="symbols", value=symbol
        )
    return symbol.upper()


def secret_bytes(key: ApiKey) -> bytes:
    """The signing key in the text the venue gave out. Raises: ConfigError, which does not repeat it."""
    try:
        return base64.b64decode(key.secret, validate=True)
    except ValueError:  # binascii's own, and that of letters beyond ASCII
        raise ConfigError("coinbase: the secret is no base64 text, as the venue gives it out", key="secret") from None


def signature(secret: bytes, timestamp: str, method: str, target: str, body: str = "") -> str:
    """What proves a request or a subscription to be the key owner's."""
    message = f"{timestamp}{method}{target}{body}".encode()
    return base64.b64encode(hmac.digest(secret, message, hashlib.sha256)).decode()


def _snapshot(body: bytes) -> Notice | None:
    if body.startswith(_SNAPSHOT_PRODUCT):
        end = body.find(b'"', len(_SNAPSHOT_PRODUCT))
        return SnapshotSeen(body[len(_SNAPSHOT_PRODUCT) : end].decode(errors="replace"))
    message = json_object(body)
    return None if message is None else SnapshotSeen(str(message.get("product_id", "")))
