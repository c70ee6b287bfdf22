"""Market data of a node over REST and WebSocket: latest state, fanned out, read-only.

    records ──► MarketView ──► REST /api/v1
    (source)        └────────► Hub ──► /ws/v1, each frame encoded once

`create_app` puts them together, `serving` runs the result. Importing this package imports numpy and pydantic.
"""

from tidebook.api.app import ApiOptions, create_app
from tidebook.api.server import ApiServer, listen, serving
from tidebook.api.source import Batch, RecordSource
from tidebook.api.view import CHANNELS, MarketView

__all__ = [
    "CHANNELS",
    "ApiOptions",
    "ApiServer",
    "Batch",
    "MarketView",
    "RecordSource",
    "create_app",
    "listen",
    "serving",
]
