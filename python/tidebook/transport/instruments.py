"""Which instrument a record is about: the number in its `instrument_id` as the name people use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidebook.transport.batch import Batch
from tidebook.transport.channel import DEFAULT_NODE
from tidebook.transport.consumer import open_consumer

if TYPE_CHECKING:
    import os

_BATCH_MAX = 4_096


def instruments(node: str = DEFAULT_NODE, *, directory: str | os.PathLike[str] | None = None) -> dict[int, str]:
    """Every instrument a node has announced: id -> name, such as `{16777216: "BTCUSDT.BINANCE"}`.

    Raises: ChannelNotFoundError when no such node has run.
    """
    names: dict[int, str] = {}
    with open_consumer("md.instruments", start="earliest", policy="overwrite", node=node, directory=directory) as found:
        while (taken := found.poll_batch(_BATCH_MAX)) is not None:
            if isinstance(taken, Batch):
                with taken as batch:
                    texts = (bytes(symbol).rstrip(b"\0").decode() for symbol in batch.array["symbol"])
                    names.update(zip(batch.array["instrument_id"].tolist(), texts, strict=True))
    return names
