"""Coinbase Advanced Trade: one channel a message, one answer a message, books that come with their subscription.

All messages of a connection are numbered together, so that a lost one shows; the engine then wants every book of the
connection anew, which is one message each way. Snapshots hold the whole book and are frames of several megabytes.

Source: Coinbase Advanced Trade documentation, "WebSocket overview", "WebSocket channels", "WebSocket rate limits",
"WebSocket authentication", "List public products"; RFC 7515 and RFC 7518, section 3.4, for the token.
"""

import base64
import secrets
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

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
from tidebook.feeds.venues.coinbase import product_id

HEARTBEATS = "heartbeats"
LEVEL2 = "level2"
CHANNELS = (LEVEL2, "market_trades", "ticker", "ticker_batch", "candles", "status", HEARTBEATS)
DEFAULT_STREAMS = (LEVEL2, "market_trades", "ticker", HEARTBEATS)
PRODUCTS_PATH = "/api/v3/brokerage/market/products"
PRODUCTS_PER_REQUEST = 50
TOKEN_LIFETIME_S = 120

_CHANNEL = b'{"channel":"'
_SNAPSHOT = b'"type":"snapshot"'
_PRODUCT = b'"product_id":"'
_MOVING = frozenset({b"l2_data", b"market_trades", b"ticker"})
# The envelope before the first event; the type of the event follows it at once.
_HEAD_BYTES = 400


class CoinbaseAdvanced(VenueProtocol):
    """Advanced Trade. Market data is for everybody; with `key` every subscription carries a token.

    Raises: ConfigError for a channel the venue does not have, and for a key that cannot be one.
    """

    venue: ClassVar[str] = "coinbase-advanced"
    limits: ClassVar[ConnectionLimits] = ConnectionLimits(
        # The venue names no bound; a snapshot of BTC-USD alone is 4 MB.
        symbols_per_connection=20,
        names_per_request=20,
        # 8 messages a second from one address without a key, of all connections together.
        request_spacing_s=0.25,
        requests_shared=True,
        # 8 connections a second from one address.
        connect_spacing_s=0.5,
        connects_per_window=60,
        connect_window_s=60.0,
        frame_bytes_max=16 * 1024 * 1024,
    )
    # 10 public requests a second from one address, half of them for others.
    rest_limits: ClassVar[RestLimits] = RestLimits(weight=5, window_s=1.0)
    heartbeats: ClassVar[bool] = True

    def __init__(
        self, endpoints: Endpoints, streams: Sequence[str] = DEFAULT_STREAMS, key: ApiKey | None = None
    ) -> None:
        super().__init__(endpoints)
        for stream in streams:
            if stream not in CHANNELS:
                raise ConfigError(
                    f"coinbase-advanced: no channel is called {stream!r}; there are {', '.join(CHANNELS)}",
                    key="streams",
                    value=stream,
                )
        self._key = key
        self._signing_key = signing_key(key) if key is not None else None
        self._route = Route(
            endpoints.ws,
            tuple(stream for stream in streams if stream != HEARTBEATS),
            (LEVEL2,) if LEVEL2 in streams else (),
        )

    @property
    def routes(self) -> tuple[Route, ...]:
        """One for all channels."""
        return (self._route,)

    @property
    def snapshots(self) -> Snapshots:
        """With the subscription."""
        return Snapshots.RESUBSCRIBE if self._route.books else Snapshots.NONE

    @classmethod
    def normal(cls, symbol: str) -> str:
        """As the venue spells it: `BTC-USD`. What is asked for in USDC is delivered as USD."""
        symbol = product_id(symbol)
        return symbol.removesuffix("C") if symbol.endswith("-USDC") else symbol

    def dial(self, route: Route, symbols: Sequence[str]) -> Dial:
        """Everything is subscribed by message."""
        del symbols
        return Dial(route.url)

    @property
    def connection_streams(self) -> tuple[str, ...]:
        """Heartbeats: without them the venue closes a connection that is quiet for a minute."""
        return (HEARTBEATS,)

    def subscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """One message a channel."""
        return [request for stream in streams for request in self._requests("subscribe", stream, symbols)]

    def unsubscribe(self, streams: Sequence[str], symbols: Sequence[str]) -> list[Request]:
        """One message a channel."""
        return [request for stream in streams for request in self._requests("unsubscribe", stream, symbols)]

    def reference_requests(self, symbols: Sequence[str]) -> list[tuple[RestRequest, tuple[str, ...]]]:
        """Products with their increments."""
        requests = []
        for part in chunks(symbols, PRODUCTS_PER_REQUEST):
            names = "&".join(f"product_ids={symbol}" for symbol in part)
            requests.append((RestRequest(f"{PRODUCTS_PATH}?{names}"), part))
        return requests

    def notice(self, body: bytes) -> Notice | None:
        """A heartbeat, a snapshot, or the answer to a request."""
        if body.startswith(_CHANNEL):
            channel = body[12 : body.find(b'"', 12, 40)]
            if channel == b"l2_data":
                # Of several events in one frame the first decides: books are resubscribed in messages of their own.
                return _snapshot(body) if body.find(_SNAPSHOT, 0, _HEAD_BYTES) >= 0 else None
            if channel == b"heartbeats":
                return HEARTBEAT
            return Answer() if channel == b"subscriptions" else None
        message = json_object(body)
        if message is None:
            return None
        if message.get("type") == "error" or "error" in message:
            refused = text_of(message.get("message") or message.get("error") or "no reason given")
            return Answer(refused=refused, too_fast=is_too_fast(refused))
        return Answer() if message.get("channel") == "subscriptions" else None

    def about(self, body: bytes) -> tuple[bytes, bool] | None:
        """Told by the channel and the first product; candles and ticker_batch come without a trade too."""
        channel = word_after(body, _CHANNEL, len(_CHANNEL))
        if channel not in _MOVING:
            return None
        product = word_after(body, _PRODUCT, 2 * _HEAD_BYTES)
        return None if product is None else (product, channel == b"l2_data")

    def _requests(self, kind: str, channel: str, symbols: Sequence[str]) -> list[Request]:
        def encode(number: int, part: Sequence[str]) -> bytes:
            del number
            message: dict[str, Any] = {"type": kind, "channel": channel}
            if part:
                message["product_ids"] = part
            if self._key is not None and self._signing_key is not None:
                message["jwt"] = token(self._key.name, self._signing_key, int(time.time()), secrets.token_hex(16))
            return json_bytes(message)

        parts = chunks(symbols, self.limits.names_per_request) or [()]
        return [Request(encode, (channel,), part) for part in parts]


def signing_key(key: ApiKey) -> ec.EllipticCurvePrivateKey:
    """The private key in the PEM text the venue gave out. Raises: ConfigError, which does not repeat it."""
    try:
        loaded = load_pem_private_key(key.secret.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # the last for curves that the library does not have
        raise ConfigError("coinbase-advanced: the secret is no private key in PEM form", key="secret") from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise ConfigError("coinbase-advanced: the secret is no key of the curve P-256 (ES256)", key="secret")
    return loaded


def token(name: str, key: ec.EllipticCurvePrivateKey, now_s: int, nonce: str, uri: str = "") -> str:
    """A JWT by which the venue knows the key's owner for two minutes. `uri` is `METHOD host/path` of a REST request."""
    header = {"alg": "ES256", "typ": "JWT", "kid": name, "nonce": nonce}
    claims = {"sub": name, "iss": "cdp", "nbf": now_s, "exp": now_s + TOKEN_LIFETIME_S}
    if uri:
        claims["uri"] = uri
    signed = f"{_base64url(json_bytes(header))}.{_base64url(json_bytes(claims))}"
    return f"{signed}.{_base64url(es256(key, signed.encode()))}"


def es256(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """The signature as RFC 7518 has it: r and s, 32 bytes each, not the ASN.1 form that libraries give."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _snapshot(body: bytes) -> Notice | None:
    begin = body.find(_PRODUCT, 0, 2 * _HEAD_BYTES)
    if begin < 0:
        return None
    begin += len(_PRODUCT)
    return SnapshotSeen(body[begin : body.find(b'"', begin)].decode(errors="replace"))
