"""From the name of a venue and the settings to its connector: what `tidebook run` and `tidebook feeds` go by."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidebook.config.settings import (
    BinanceSettings,
    BinanceUsdmSettings,
    CoinbaseAdvancedSettings,
    CoinbaseSettings,
    FeedSettings,
    KrakenSettings,
    Settings,
)
from tidebook.errors import UnknownVenueError
from tidebook.feeds.connector import Connector
from tidebook.feeds.credentials import ApiKey, Credentials, EnvironmentCredentials
from tidebook.feeds.line import ConnectorOptions
from tidebook.feeds.protocol import Endpoints, VenueProtocol
from tidebook.feeds.sink import RawSink
from tidebook.feeds.venues import coinbase
from tidebook.feeds.venues.binance import Binance
from tidebook.feeds.venues.binance_usdm import BinanceUsdm
from tidebook.feeds.venues.coinbase import Coinbase
from tidebook.feeds.venues.coinbase_advanced import CoinbaseAdvanced
from tidebook.feeds.venues.kraken import Kraken


@dataclass(frozen=True, slots=True)
class FeedKind:
    """A venue that a connector is for."""

    protocol: type[VenueProtocol]
    settings: Callable[[Settings], FeedSettings]
    """Its settings."""
    build: Callable[[Any, Endpoints, ApiKey | None], VenueProtocol]
    """The protocol that the section asks for."""
    default_symbols: tuple[str, ...]
    """What a node takes that was told nothing."""


def _binance(settings: BinanceSettings, endpoints: Endpoints, _key: ApiKey | None) -> VenueProtocol:
    return Binance(endpoints, settings.streams)


def _binance_usdm(settings: BinanceUsdmSettings, endpoints: Endpoints, _key: ApiKey | None) -> VenueProtocol:
    return BinanceUsdm(endpoints, settings.streams)


def _coinbase(settings: CoinbaseSettings, endpoints: Endpoints, key: ApiKey | None) -> VenueProtocol:
    streams = settings.streams or (coinbase.DEFAULT_STREAMS if key is None else coinbase.DEFAULT_STREAMS_WITH_KEY)
    return Coinbase(endpoints, streams, key)


def _coinbase_advanced(settings: CoinbaseAdvancedSettings, endpoints: Endpoints, key: ApiKey | None) -> VenueProtocol:
    return CoinbaseAdvanced(endpoints, settings.streams, key)


def _kraken(settings: KrakenSettings, endpoints: Endpoints, _key: ApiKey | None) -> VenueProtocol:
    return Kraken(endpoints, settings.streams, settings.depth)


FEEDS: dict[str, FeedKind] = {
    "binance": FeedKind(Binance, lambda settings: settings.binance, _binance, ("BTCUSDT", "ETHUSDT")),
    "binance-usdm": FeedKind(
        BinanceUsdm, lambda settings: settings.binance_usdm, _binance_usdm, ("BTCUSDT", "ETHUSDT")
    ),
    "coinbase": FeedKind(Coinbase, lambda settings: settings.coinbase, _coinbase, ("BTC-USD", "ETH-USD")),
    "coinbase-advanced": FeedKind(
        CoinbaseAdvanced, lambda settings: settings.coinbase_advanced, _coinbase_advanced, ("BTC-USD", "ETH-USD")
    ),
    "kraken": FeedKind(Kraken, lambda settings: settings.kraken, _kraken, ("BTC/USD", "ETH/USD")),
}


def feed_kind(venue: str) -> FeedKind:
    """What is known of a venue. Raises: UnknownVenueError for one that no connector is for."""
    kind = FEEDS.get(venue)
    if kind is None:
        raise UnknownVenueError(f"no connector is for {venue!r}; there are {', '.join(FEEDS)}")
    return kind


def build_protocol(
    venue: str, settings: FeedSettings, endpoints: Endpoints | None = None, credentials: Credentials | None = None
) -> VenueProtocol:
    """The protocol that a venue's section of the settings asks for, with the keys it needs.

    Raises: UnknownVenueError; ConfigError for streams the venue does not have or that need a key, and for a key that cannot
            be one.
    """
    kind = feed_kind(venue)
    key = (credentials or EnvironmentCredentials()).api_key(venue)
    return kind.build(settings, endpoints or endpoints_of(settings), key)


def build_connector(
    venue: str,
    settings: FeedSettings,
    sink: RawSink,
    *,
    endpoints: Endpoints | None = None,
    symbols: tuple[str, ...] | None = None,
    state_file: Path | None = None,
    credentials: Credentials | None = None,
    **options: Any,
) -> Connector:
    """The connector that a venue's section of the settings asks for.

    `endpoints` and `symbols` replace those of the section; where neither names symbols, those of `state_file` resume. Keys come
    from the environment unless `credentials` gives them. Further options are those of `ConnectorOptions`.

    Raises: UnknownVenueError; ConfigError and SubscriptionsError as `Connector` does.
    """
    protocol = build_protocol(venue, settings, endpoints, credentials)
    wanted = ConnectorOptions(
        symbols=symbols if symbols is not None else settings.symbols or None,
        state_file=state_file,
        symbols_per_connection=settings.symbols_per_connection,
        ping_after_s=settings.stalled_after_s * 2 / 3,
        stalled_after_s=settings.stalled_after_s,
    )
    return Connector(protocol, replace(wanted, **options), sink)


def endpoints_of(settings: FeedSettings) -> Endpoints:
    """Those of the real venue, or what the settings have in its place."""
    second = settings.market_ws_url if isinstance(settings, BinanceUsdmSettings) else ""
    return Endpoints(settings.ws_url.rstrip("/"), settings.rest_url.rstrip("/"), second.rstrip("/"))
