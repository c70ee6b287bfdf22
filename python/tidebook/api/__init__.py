"""Market data of a node over REST and WebSocket, latest state, fanned out; and order entry to its own venue.

    records ──► MarketView ──► REST /api/v1 ◄── History, for what is older
    (source)        └────────► Hub ──► /ws/v1, each frame encoded once

`create_app` puts them together, `serving` runs the result. Importing this package imports numpy and pydantic.
"""

from tidebook.api.app import ApiOptions, OrderEntry, create_app
from tidebook.api.bars import Bar
from tidebook.api.history import History
from tidebook.api.outages import Outage
from tidebook.api.server import ApiServer, listen, serving
from tidebook.api.source import Batch, RecordSource
from tidebook.api.view import CHANNELS, MarketView
from tidebook.api.wire import ChannelGuarantee, EngineState

__all__ = [
    "CHANNELS",
    "ApiOptions",
    "ApiServer",
    "Bar",
    "Batch",
    "ChannelGuarantee",
    "EngineState",
    "History",
    "MarketView",
    "OrderEntry",
    "Outage",
    "RecordSource",
    "create_app",
    "listen",
    "serving",
]
