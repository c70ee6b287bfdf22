"""From the name of a venue and the settings to its connector: what `tidebook run` and `tidebook feeds` go by."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidebook.config.settings import BinanceSettings, FeedSettings, Settings
from tidebook.errors import UnknownVenueError
from tidebook.feeds.connector import Connector
from tidebook.feeds.line import ConnectorOptions
from tidebook.feeds.protocol import Endpoints, VenueProtocol
from tidebook.feeds.sink import RawSink
from tidebook.feeds.venues.binance import Binance


@dataclass(frozen=True, slots=True)
class FeedKind:
    """A venue that a connector is for."""

    protocol: type[VenueProtocol]
    settings: Callable[[Settings], FeedSettings]
    """Its section."""
    build: Callable[[Any, Endpoints], VenueProtocol]
    """The protocol that the section asks for."""
    default_symbols: tuple[str, ...]
    """What a node takes that was told nothing."""


def _binance(section: BinanceSettings, endpoints: Endpoints) -> VenueProtocol:
    return Binance(endpoints, section.streams)


FEEDS: dict[str, FeedKind] = {
    "binance": FeedKind(Binance, lambda settings: settings.binance, _binance, ("BTCUSDT", "ETHUSDT")),
}


def feed_kind(venue: str) -> FeedKind:
    """What is known of a venue. Raises: UnknownVenueError for one that no connector is for."""
    kind = FEEDS.get(venue)
    if kind is None:
        raise UnknownVenueError(f"no connector is for {venue!r}; there are {', '.join(FEEDS)}")
    return kind


def build_connector(
    venue: str,
    section: FeedSettings,
    sink: RawSink,
    *,
    endpoints: Endpoints | None = None,
    symbols: tuple[str, ...] | None = None,
    state_file: Path | None = None,
    **options: Any,
) -> Connector:
    """The connector that a venue's section of the settings asks for.

    `endpoints` and `symbols` replace those of the section; with neither, the symbols of `state_file` resume. Further
    options are those of `ConnectorOptions`.

    Raises: UnknownVenueError; ConfigError and SubscriptionsError as `Connector` does.
    """
    kind = feed_kind(venue)
    protocol = kind.build(section, endpoints or endpoints_of(section))
    wanted = ConnectorOptions(
        symbols=symbols or section.symbols or None,
        state_file=state_file,
        symbols_per_connection=section.symbols_per_connection,
        ping_after_s=section.stalled_after_s * 2 / 3,
        stalled_after_s=section.stalled_after_s,
    )
    return Connector(protocol, replace(wanted, **options), sink)


def endpoints_of(section: FeedSettings) -> Endpoints:
    """Those of the real venue, or what the settings have in its place."""
    return Endpoints(section.ws_url.rstrip("/"), section.rest_url.rstrip("/"))
