"""Tidebook: a trading data plane in Python on a small Rust core.

Names are loaded when first used: `import tidebook` imports neither numpy, polars nor pydantic, so that a command
or a notebook pays only for what it touches.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidebook import errors
    from tidebook._core import DepthBook
    from tidebook.errors import TidebookError
    from tidebook.storage.store import Store, open
    from tidebook.transport import (
        Batch,
        Channel,
        ChannelOptions,
        Checkpoint,
        Claim,
        Consumer,
        Cursor,
        Full,
        Gap,
        Producer,
        Tuning,
        create_channel,
        instruments,
        open_channel,
        open_consumer,
        open_producer,
        tuned,
    )
    from tidebook.venue import Venue
    from tidebook.venue.connection import connect

    __version__: str

# Public name -> module that holds it; a module stands for itself. `tests/house/test_exports.py` closes the list.
_EXPORTS = {
    "Batch": "tidebook.transport",
    "Channel": "tidebook.transport",
    "ChannelOptions": "tidebook.transport",
    "Checkpoint": "tidebook.transport",
    "Claim": "tidebook.transport",
    "Consumer": "tidebook.transport",
    "Cursor": "tidebook.transport",
    "DepthBook": "tidebook._core",
    "Full": "tidebook.transport",
    "Gap": "tidebook.transport",
    "Producer": "tidebook.transport",
    "Store": "tidebook.storage.store",
    "TidebookError": "tidebook.errors",
    "Tuning": "tidebook.transport",
    "Venue": "tidebook.venue",
    "connect": "tidebook.venue.connection",
    "create_channel": "tidebook.transport",
    "errors": "tidebook.errors",
    "instruments": "tidebook.transport",
    "open": "tidebook.storage.store",
    "open_channel": "tidebook.transport",
    "open_consumer": "tidebook.transport",
    "open_producer": "tidebook.transport",
    "tuned": "tidebook.transport",
}

__all__ = [
    "Batch",
    "Channel",
    "ChannelOptions",
    "Checkpoint",
    "Claim",
    "Consumer",
    "Cursor",
    "DepthBook",
    "Full",
    "Gap",
    "Producer",
    "Store",
    "TidebookError",
    "Tuning",
    "Venue",
    "__version__",
    "connect",
    "create_channel",
    "errors",
    "instruments",
    "open",
    "open_channel",
    "open_consumer",
    "open_producer",
    "tuned",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from tidebook._core import version

        return version()
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tidebook' has no attribute {name!r}")
    module = import_module(_EXPORTS[name])
    value = module if module.__name__ == f"tidebook.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
