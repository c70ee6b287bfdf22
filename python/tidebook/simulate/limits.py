"""The simulated venue's limits and intervals.

Source: Binance API documentation, Spot, "WebSocket Streams" (general information, limits) and "Limits" of the REST API.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """Defaults are the venue's; tests shorten them."""

    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    connection_lifetime_s: float = 24 * 3_600.0
    incoming_messages_per_s: int = 5
    streams_per_connection: int = 1_024
    weight_per_minute: int = 6_000
    ban_s: float = 120.0
    """How long an address that goes on asking after a 429 is answered 418."""
    ban_after_count: int = 5
    """Refused requests in one minute before the ban."""
    buffer_bytes_max: int = 16 * 1024 * 1024
    """A client that lets this much pile up unread is cut off."""
