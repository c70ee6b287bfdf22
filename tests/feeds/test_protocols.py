"""What each venue's protocol says, without a socket: words to subscribe, answers told from data, signatures."""

import base64
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tidebook.config import Settings, keys
from tidebook.config.keys import PROCESS_VARIABLES
from tidebook.errors import ConfigError, UnknownVenueError
from tidebook.feeds.credentials import ApiKey, EnvironmentCredentials, NoCredentials
from tidebook.feeds.protocol import HEARTBEAT, Answer, Dial, Endpoints, Request, Snapshots, SnapshotSeen, VenueProtocol
from tidebook.feeds.registry import FEEDS, build_connector, build_protocol, feed_kind
from tidebook.feeds.sink import MemorySink
from tidebook.feeds.venues.binance import Binance
from tidebook.feeds.venues.binance_usdm import BinanceUsdm
from tidebook.feeds.venues.coinbase import Coinbase, signature
from tidebook.feeds.venues.coinbase_advanced import CoinbaseAdvanced, es256, token
from tidebook.feeds.venues.kraken import Kraken

EXCHANGE_KEY = ApiKey("the-key-name", base64.b64encode(b"the exchange secret").decode(), "the-passphrase")


def es256_key() -> tuple[ApiKey, ec.EllipticCurvePrivateKey]:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    return ApiKey("organizations/1/apiKeys/2", pem), private


def sent(requests: list[Request]) -> list[Any]:
    """The messages, numbered from 1."""
    return [json.loads(request.encode(number, request.symbols)) for number, request in enumerate(requests, 1)]


# Words to subscribe


def test_kraken_names_symbols_by_channel_and_instruments_once() -> None:
    kraken = Kraken(Kraken.local(1), depth=25)
    route = kraken.routes[0]
    assert kraken.dial(route, ["BTC/USD"]) == Dial("ws://127.0.0.1:1/v2")
    assert sent(kraken.subscribe(route.streams, ["BTC/USD", "ETH/USD"])) == [
        {
            "method": "subscribe",
            "params": {"channel": "book", "depth": 25, "snapshot": True, "symbol": ["BTC/USD", "ETH/USD"]},
            "req_id": 1,
        },
        {
            "method": "subscribe",
            "params": {"channel": "trade", "snapshot": True, "symbol": ["BTC/USD", "ETH/USD"]},
            "req_id": 2,
        },
        {
            "method": "subscribe",
            "params": {"channel": "ticker", "snapshot": True, "symbol": ["BTC/USD", "ETH/USD"]},
            "req_id": 3,
        },
    ]
    assert route.books == ("book",)
    assert sent(kraken.unsubscribe(route.books, ["ETH/USD"])) == [
        {"method": "unsubscribe", "params": {"channel": "book", "depth": 25, "symbol": ["ETH/USD"]}, "req_id": 1}
    ]
    assert sent(kraken.subscribe(kraken.feed_streams, ())) == [
        {"method": "subscribe", "params": {"channel": "instrument", "snapshot": True}, "req_id": 1}
    ]
    many = [f"S{number}/USD" for number in range(120)]
    assert [len(request.symbols) for request in kraken.subscribe(route.books, many)] == [50, 50, 20]


def test_coinbase_names_all_channels_in_one_message() -> None:
    coinbase = Coinbase(Coinbase.local(1))
    route = coinbase.routes[0]
    assert sent(coinbase.subscribe(route.streams, ["BTC-USD", "ETH-USD"])) == [
        {
            "type": "subscribe",
            "product_ids": ["BTC-USD", "ETH-USD"],
            "channels": ["level2_batch", "matches", "ticker", "heartbeat"],
        }
    ]
    assert sent(coinbase.unsubscribe(route.books, ["BTC-USD"])) == [
        {"type": "unsubscribe", "product_ids": ["BTC-USD"], "channels": ["level2_batch"]}
    ]
    assert [request.target for request, _ in coinbase.reference_requests(["BTC-USD"])] == ["/products"]
    assert coinbase.snapshots is Snapshots.RESUBSCRIBE


def test_the_order_feed_of_coinbase_has_its_snapshot_over_rest_and_signed() -> None:
    coinbase = Coinbase(Coinbase.local(1), ["full", "heartbeat"], EXCHANGE_KEY)
    assert coinbase.snapshots is Snapshots.REST
    request = coinbase.snapshot_request("BTC-USD", 1)
    assert request.target == "/products/BTC-USD/book?level=3"
    assert request.headers is not None
    headers = request.headers()
    expected = signature(b"the exchange secret", headers["CB-ACCESS-TIMESTAMP"], "GET", request.target)
    assert headers["CB-ACCESS-SIGN"] == expected


def test_coinbase_advanced_names_one_channel_a_message_and_heartbeats_always() -> None:
    advanced = CoinbaseAdvanced(CoinbaseAdvanced.local(1))
    route = advanced.routes[0]
    assert sent(advanced.subscribe(route.streams, ["BTC-USD", "ETH-USD"])) == [
        {"type": "subscribe", "channel": channel, "product_ids": ["BTC-USD", "ETH-USD"]}
        for channel in ("level2", "market_trades", "ticker")
    ]
    assert sent(advanced.subscribe(advanced.connection_streams, ())) == [{"type": "subscribe", "channel": "heartbeats"}]
    (request, about) = advanced.reference_requests(["BTC-USD", "ETH-USD"])[0]
    assert request.target == "/api/v3/brokerage/market/products?product_ids=BTC-USD&product_ids=ETH-USD"
    assert about == ("BTC-USD", "ETH-USD")
    assert advanced.normal("btc-usdc") == "BTC-USD", "which is what the venue delivers under that name"


def test_usdm_streams_go_to_the_address_that_has_them() -> None:
    usdm = BinanceUsdm(Endpoints("wss://f/public", "https://f", "wss://f/market"))
    public, market = usdm.routes
    assert (public.streams, public.books) == (("bookTicker", "depth@100ms"), ("depth@100ms",))
    assert (market.streams, market.books) == (("trade",), ())
    assert usdm.dial(public, ["BTCUSDT"]).url == "wss://f/public/stream?streams=btcusdt@bookTicker/btcusdt@depth@100ms"
    assert usdm.dial(market, ["BTCUSDT"]).url == "wss://f/market/stream?streams=btcusdt@trade"
    assert usdm.snapshot_request("BTCUSDT", 1).target == "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    assert [request.target for request, _ in usdm.reference_requests(["BTCUSDT"])] == ["/fapi/v1/exchangeInfo"]
    assert [usdm.normal(name) for name in ("btcusdt", "BTCUSDT-PERP", "BTCUSDT_240927")] == [
        "BTCUSDT",
        "BTCUSDT",
        "BTCUSDT_240927",
    ], "the engine asks for snapshots by the name it gives a perpetual"
    assert len(BinanceUsdm(Endpoints("wss://f", "https://f", "wss://f")).routes) == 1, "one address has everything"


def test_what_cannot_be_asked_is_named() -> None:
    at = Endpoints("ws://x", "http://x")
    with pytest.raises(ConfigError, match="channel 'level2' needs a key; set TIDEBOOK_KEY_COINBASE, "):
        Coinbase(at, ["level2", "heartbeat"])
    with pytest.raises(ConfigError, match="no channel is called 'l2'; there are level2_batch, "):
        Coinbase(at, ["l2"])
    with pytest.raises(ConfigError, match="channel 'heartbeat' is missing"):
        Coinbase(at, ["matches"])
    with pytest.raises(ConfigError, match="no channel is called 'matches'; there are level2, "):
        CoinbaseAdvanced(at, ["matches"])
    with pytest.raises(
        ConfigError, match="is no Binance symbol that can be read here, which has letters of ASCII only"
    ):
        Binance(at).normal("\u5e01\u5b89USDT")
    for protocol, symbol in (
        (Coinbase(at), "BTCUSD"),
        (CoinbaseAdvanced(at), 'BTC-"USD'),
        (BinanceUsdm(at), "BTC-USDT"),
        (Binance(at), "BTC/USDT"),
        (Kraken(at), "BTC/"),
        (Kraken(at), "A B/USD"),
        (Kraken(at), "AB/U\tD"),
        (Kraken(at), "AB/U\\D"),
    ):
        with pytest.raises(ConfigError, match="is no "):
            protocol.normal(symbol)


@pytest.mark.parametrize("protocol", [Binance, BinanceUsdm])
def test_streams_that_binance_does_not_have_or_that_make_one_book_twice_are_refused(protocol: type[Binance]) -> None:
    """A venue says nothing of a stream it does not have; two of one book would break each other's order."""
    at = protocol.local(1)
    for stream in ("nonsense", "a b/c?d", "depth@", "Trade", "kline_7m", ""):
        with pytest.raises(ConfigError, match=r"no stream is called .*; there are trade, aggTrade, "):
            protocol(at, ["trade", stream])
    with pytest.raises(ConfigError, match="depth and depth@100ms make the same book; name one"):
        protocol(at, ["trade", "depth", "depth@100ms"])
    with pytest.raises(ConfigError, match="'trade' is named twice"):
        protocol(at, ["trade", "bookTicker", "trade"])
    routes = protocol(at, ["aggTrade", "kline_1m", "depth20@100ms", "ticker", "depth"]).routes
    assert [books for route in routes if (books := route.books)] == [("depth",)], "a depth20 is no diff stream"


# Answers told from data


def test_frames_of_coinbase_are_told_apart() -> None:
    coinbase = Coinbase(Coinbase.local(1))
    frames = {
        b'{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD"}': HEARTBEAT,
        b'{"type":"subscriptions","channels":[{"name":"level2","product_ids":["BTC-USD"]}]}': Answer(),
        b'{"type":"snapshot","product_id":"BTC-USD","asks":[],"bids":[]}': SnapshotSeen("BTC-USD"),
        b'{"type":"snapshot","asks":[],"bids":[],"product_id":"BTC-USD"}': SnapshotSeen("BTC-USD"),
        b'{"type":"l2update","product_id":"BTC-USD","changes":[]}': None,
        b'{"type":"match","trade_id":1}': None,
        b'["open","BTC-USD","123"]': None,
        b'{"type":"error","message":"Failed to subscribe","reason":"X-Y is not a valid product"}': Answer(
            refused="Failed to subscribe: X-Y is not a valid product"
        ),
        b'{"message":"rate limit exceeded","type":"error"}': Answer(refused="rate limit exceeded", too_fast=True),
        b'{"type":"snapsh': None,
        b"<html>": None,
    }
    assert {frame: coinbase.notice(frame) for frame in frames} == frames


def test_frames_of_coinbase_advanced_are_told_apart() -> None:
    advanced = CoinbaseAdvanced(CoinbaseAdvanced.local(1))
    head = b'"timestamp":"2026-08-09T21:05:48.629706932Z","sequence_num":26,"events":['
    frames = {
        b'{"channel":"heartbeats",' + head + b'{"heartbeat_counter":"1"}]}': HEARTBEAT,
        b'{"channel":"subscriptions",' + head + b'{"subscriptions":{"level2":["BTC-USD"]}}]}': Answer(),
        b'{"channel":"l2_data",' + head + b'{"type":"snapshot","product_id":"BTC-USD","updates":[]}]}': SnapshotSeen(
            "BTC-USD"
        ),
        b'{"channel":"l2_data",' + head + b'{"type":"update","product_id":"BTC-USD","updates":[]}]}': None,
        b'{"channel":"market_trades",' + head + b'{"type":"snapshot","trades":[]}]}': None,
        b'{"type":"error","message":"authentication failure"}': Answer(refused="authentication failure"),
        b'{"channel":"l2_data",' + head + b'{"type":"snapshot"': None,
        b"": None,
    }
    assert {frame: advanced.notice(frame) for frame in frames} == frames


def test_frames_of_binance_are_told_apart() -> None:
    binance = Binance(Binance.local(1))
    assert binance.notice(b'{"stream":"btcusdt@trade","data":{}}') is None
    assert binance.notice(b'{"result":null,"id":4}') == Answer(4)
    assert binance.notice(b'{"code":2,"msg":"Invalid request","id":4}') == Answer(4, refused="2 Invalid request")
    nested = b'{"error":{"code":-1003,"msg":"Too many requests"},"id":4}'
    assert binance.notice(nested) == Answer(4, refused="-1003 Too many requests", too_fast=True)
    assert binance.notice(b'{"stream":"!x","data":{"e":"other"}}') is None
    for shutdown in (b'{"e":"serverShutdown","E":1}', b'{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}'):
        assert type(binance.notice(shutdown)).__name__ == "Shutdown"


@pytest.mark.parametrize("venue", list(FEEDS))
def test_a_frame_of_brackets_in_brackets_says_nothing(venue: str) -> None:
    """Venues send none; what comes from outside must not end a session all the same."""
    protocol = build_protocol(venue, FEEDS[venue].settings(Settings()), credentials=NoCredentials())
    heads = (
        b"",
        b'{"a":',
        b'{"type":"snapshot","a":',
        b'{"channel":"book","type":"snapshot","a":',
        b'{"stream":"!x","a":',
    )
    for head in heads:
        for deep in (b"[" * 100_000, b'{"a":' * 100_000):
            assert protocol.notice(head + deep) in (None, SnapshotSeen("")), (head, deep[:5])


def lines(path: Path) -> Iterator[str]:
    with pa.input_stream(str(path), compression="zstd") as file:
        yield from (line.decode() for line in file.read().splitlines())


def notices(protocol: VenueProtocol, frames: Iterator[bytes]) -> Counter[str]:
    told = (protocol.notice(frame) for frame in frames)
    return Counter(
        f"refused: {notice.refused}" if isinstance(notice, Answer) and notice.refused else type(notice).__name__
        for notice in told
    )


def test_every_recorded_frame_is_what_it_is(recordings: Path) -> None:
    """Counts are those of the recordings' own description."""
    received = (line.partition(": ")[2] for line in lines(recordings / "coinbase-exchange/multi-20210417.log.zst"))
    exchange = notices(Coinbase(Coinbase.local(1)), (body.encode() for body in received if body.startswith("{")))
    sent_count = 3
    assert exchange == Counter({"NoneType": 6_391 + 46 + 36 + 10 + sent_count, "SnapshotSeen": 10, "Answer": 3})
    records = [json.loads(line) for line in lines(recordings / "coinbase-advanced/btcusd-ethusd-20260809.jsonl.zst")]
    advanced = notices(
        CoinbaseAdvanced(CoinbaseAdvanced.local(1)), (r["data"].encode() for r in records if r["t"] == "recv")
    )
    assert advanced == Counter({"NoneType": 446 + 99 + 42 + 4, "Heartbeat": 14, "Answer": 5, "SnapshotSeen": 2})
    l2 = (line for line in lines(recordings / "kraken-v2/kraken_btcusd_l2.cbcap.zst") if line.startswith("{"))
    kraken = notices(Kraken(Kraken.local(1)), (line.encode() for line in l2))
    assert kraken == Counter({"NoneType": 296 + 1, "Heartbeat": 60, "Answer": 15, "SnapshotSeen": 5})


# Keys and signatures


def test_a_subscription_of_coinbase_is_signed_as_the_venue_wants_it() -> None:
    """The expected signature was computed with `openssl dgst -sha256 -mac HMAC`."""
    assert (
        signature(b"the exchange secret", "1700000000", "GET", "/users/self/verify")
        == "RHyp2q4IpqNV8F5JKXqiU8fIdq54ns50+UUZ6rNuqDk="
    )
    coinbase = Coinbase(Coinbase.local(1), ["level2", "heartbeat"], EXCHANGE_KEY)
    (message,) = sent(coinbase.subscribe(coinbase.routes[0].streams, ["BTC-USD"]))
    assert (message["key"], message["passphrase"]) == ("the-key-name", "the-passphrase")
    assert message["signature"] == signature(b"the exchange secret", message["timestamp"], "GET", "/users/self/verify")


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_of_coinbase_advanced_verifies_with_the_public_key() -> None:
    key, private = es256_key()
    text = token(key.name, private, 1_700_000_000, "00ff")
    header, claims, signed = text.split(".")
    assert json.loads(decoded(header)) == {"alg": "ES256", "typ": "JWT", "kid": key.name, "nonce": "00ff"}
    assert json.loads(decoded(claims)) == {"sub": key.name, "iss": "cdp", "nbf": 1_700_000_000, "exp": 1_700_000_120}
    raw = decoded(signed)
    assert len(raw) == 64
    standard = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    private.public_key().verify(standard, f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    assert json.loads(decoded(token("n", private, 1, "0", "GET host/path").split(".")[1]))["uri"] == "GET host/path"


def test_signatures_have_64_bytes_whatever_their_numbers() -> None:
    """A number below 2^248 needs a leading zero byte, which one signature in 128 has."""
    _, private = es256_key()
    assert {len(es256(private, str(number).encode())) for number in range(600)} == {64}


def test_each_message_of_coinbase_advanced_has_a_token_of_its_own() -> None:
    key, _ = es256_key()
    advanced = CoinbaseAdvanced(CoinbaseAdvanced.local(1), key=key)
    (request,) = advanced.subscribe(advanced.connection_streams, ())
    first, second = (json.loads(request.encode(1, ())) for _ in range(2))
    assert first.keys() == {"type", "channel", "jwt"}
    nonces = [json.loads(decoded(message["jwt"].split(".")[0]))["nonce"] for message in (first, second)]
    assert nonces[0] != nonces[1]


def test_keys_come_from_the_environment_and_are_shown_nowhere() -> None:
    environment = {
        "TIDEBOOK_KEY_COINBASE_ADVANCED": "name",
        "TIDEBOOK_SECRET_COINBASE_ADVANCED": "-----BEGIN-----\\nxyz",
    }
    credentials = EnvironmentCredentials(environment)
    key = credentials.api_key("coinbase-advanced")
    assert key == ApiKey("name", "-----BEGIN-----\nxyz")
    assert repr(key) == "ApiKey()"
    assert (credentials.api_key("coinbase"), credentials.api_key("kraken")) == (None, None)
    assert NoCredentials().api_key("coinbase") is None


@pytest.mark.parametrize(
    ("word", "missing"),
    [
        ("KEY", "TIDEBOOK_SECRET_COINBASE"),
        ("SECRET", "TIDEBOOK_KEY_COINBASE"),
        ("PASSPHRASE", "TIDEBOOK_KEY_COINBASE and TIDEBOOK_SECRET_COINBASE"),
    ],
)
def test_half_a_key_is_an_error_that_names_the_other_half(word: str, missing: str) -> None:
    credentials = EnvironmentCredentials({f"TIDEBOOK_{word}_COINBASE": "alone"})
    with pytest.raises(ConfigError) as caught:
        build_protocol("coinbase", Settings().coinbase, credentials=credentials)
    assert str(caught.value) == f"TIDEBOOK_{word}_COINBASE is set and {missing} is not; set all of a key or none"
    with pytest.raises(ConfigError, match="the key has no passphrase, which the venue gave out"):
        Coinbase(Coinbase.local(1), key=replace(EXCHANGE_KEY, passphrase=""))


@pytest.mark.parametrize("secret", ["not base64!", "AAAA=BBBB", "s\u00e9cret"])
def test_a_secret_that_cannot_be_one_is_not_repeated(secret: str) -> None:
    for build in (Coinbase, CoinbaseAdvanced):
        with pytest.raises(ConfigError) as caught:
            build(build.local(1), key=ApiKey("name", secret))
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value.facts)
        assert caught.value.__cause__ is None
    wrong_curve = ec.generate_private_key(ec.SECP384R1())
    pem = wrong_curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ConfigError, match="P-256"):
        CoinbaseAdvanced(CoinbaseAdvanced.local(1), key=ApiKey("name", pem))


def test_a_key_of_a_curve_that_nobody_here_knows_is_no_key_of_ours() -> None:
    """Method: the curve that a key of P-256 names is made another one, SM2, which the library does not have."""
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    named = private.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a811ccf5501822d"))
    assert named != private
    pem = f"-----BEGIN PRIVATE KEY-----\n{base64.encodebytes(named).decode()}-----END PRIVATE KEY-----\n"
    with pytest.raises(ConfigError, match="the secret is no private key"):
        CoinbaseAdvanced(CoinbaseAdvanced.local(1), key=ApiKey("name", pem))


@pytest.mark.parametrize("field", ["name", "passphrase"])
def test_a_key_that_no_request_can_carry_is_refused_before_one_is_made(field: str) -> None:
    for text in ("a\nb", "a\r", "a\u00e9"):
        with pytest.raises(ConfigError, match="line break or another character that no request can carry") as caught:
            Coinbase(Coinbase.local(1), key=replace(EXCHANGE_KEY, **{field: text}))
        assert text not in str(caught.value)


# Registry


@pytest.mark.parametrize("venue", FEEDS)
def test_every_venue_has_a_connector_from_the_default_settings(venue: str) -> None:
    kind = feed_kind(venue)
    connector = build_connector(
        venue, kind.settings(Settings()), MemorySink(), symbols=kind.default_symbols, credentials=NoCredentials()
    )
    assert connector.protocol.venue == venue
    assert connector.status().symbols == kind.default_symbols
    assert connector.protocol.endpoints.ws.startswith("wss://")
    assert connector.protocol.snapshots is not Snapshots.NONE
    assert any(key.name.startswith(f"{venue.replace('-', '_')}.") for key in keys())


def test_a_key_for_coinbase_makes_its_books_immediate() -> None:
    class Vault:
        def api_key(self, venue: str) -> ApiKey | None:
            return EXCHANGE_KEY if venue == "coinbase" else None

    section = Settings().coinbase
    assert section.streams == ()
    open_feed = build_connector("coinbase", section, MemorySink(), symbols=("BTC-USD",), credentials=NoCredentials())
    keyed = build_connector("coinbase", section, MemorySink(), symbols=("BTC-USD",), credentials=Vault())
    assert [feed.protocol.routes[0].streams[0] for feed in (open_feed, keyed)] == ["level2_batch", "level2"]


def test_a_venue_without_a_connector_is_named() -> None:
    with pytest.raises(UnknownVenueError, match="no connector is for 'mtgox'; there are binance, "):
        feed_kind("mtgox")


def test_every_variable_of_a_key_is_a_known_one() -> None:
    wanted = {"TIDEBOOK_KEY_COINBASE", "TIDEBOOK_SECRET_COINBASE", "TIDEBOOK_PASSPHRASE_COINBASE"}
    wanted |= {"TIDEBOOK_KEY_COINBASE_ADVANCED", "TIDEBOOK_SECRET_COINBASE_ADVANCED"}
    assert wanted <= PROCESS_VARIABLES.keys()


def test_the_page_has_the_limits_in_force(root: Path) -> None:
    page = (root / "docs/feeds.md").read_text()
    for venue, kind in FEEDS.items():
        limits = kind.protocol.limits
        symbols = f"{limits.symbols_per_connection} symbols"
        streams = f"{limits.streams_per_connection} streams"
        protocol = build_connector(
            venue, kind.settings(Settings()), MemorySink(), symbols=kind.default_symbols, credentials=NoCredentials()
        ).protocol
        window = f"{limits.connects_per_window} in {limits.connect_window_s:g} s"
        row = [
            f"`{venue}`",
            streams if limits.streams_per_connection < 1_000_000 else symbols,
            "REST" if protocol.snapshots is Snapshots.REST else "resubscribe",
            "heartbeats" if protocol.heartbeats else "our ping, unanswered",
            f"{limits.request_spacing_s:g} s{', of all connections' if limits.requests_shared else ''}",
            f"{limits.connect_spacing_s:g} s, {window}",
            "never" if limits.rotate_after_s == math.inf else f"{limits.rotate_after_s / 3_600:g} h",
            f"{limits.frame_bytes_max >> 20} MiB",
        ]
        assert f"| {' | '.join(row)} |" in page
