"""A simulated venue's limits and intervals. The defaults are Binance spot's; each dialect has its own.

Source: Binance API documentation, Spot, "WebSocket Streams" (general information, limits) and "Limits" of the REST API.
"""

from dataclasses import dataclass

NEVER_S = 1e9


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """Tests shorten them."""

    ping_interval_s: float = 20.0
    """Between pings of the WebSocket protocol; `NEVER_S` where the venue sends none."""
    pong_timeout_s: float = 60.0
    connection_lifetime_s: float = 24 * 3_600.0
    subscribe_within_s: float = NEVER_S
    """A connection that has not subscribed to anything by then is closed."""
    quiet_s: float = NEVER_S
    """A connection to which nothing was sent for so long is closed."""
    incoming_messages_per_s: int = 5
    streams_per_connection: int = 1_024
    weight_per_minute: int = 6_000
    requests_per_s: int = 10
    """REST requests of a venue that does not weigh them."""
    ban_s: float = 120.0
    """How long an address that goes on asking after a 429 is answered 418."""
    ban_after_count: int = 5
    """Refused requests in one minute before the ban."""
    buffer_bytes_max: int = 16 * 1024 * 1024
    """A client that lets this much pile up unread is cut off."""
