"""Trades of the node's own venue from before this server began, for `/trades`, `/tops` and the tape.

`md.trades` says each trade once, so after a restart it is silent until somebody trades. The gateway remembers fills of every account, and a
trade is the fill of whoever came, or bought in an auction.
"""

from __future__ import annotations

from heapq import nlargest
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from tidebook._core import schemas
from tidebook.venue.codes import Side

if TYPE_CHECKING:
    from tidebook.gateway.desk import OrderDesk

_TRADE = schemas()["trades"].dtype()


def past_trades(desk: OrderDesk, name: str, instrument_id: int, count: int) -> np.ndarray[Any, Any]:
    """The newest of an instrument that the gateway remembers, oldest first, as `md.trades` told them; none of one of another venue."""
    named = desk.names.instruments.get(name)
    definition = None if named is None else desk.follower.lives.definitions.get(named.number)
    if named is None or definition is None:
        return np.zeros(0, _TRADE)
    fills = nlargest(count, desk.follower.lives.trades(named.number), key=attrgetter("sequence"))
    rows = np.zeros(len(fills), _TRADE)
    rows["instrument_id"], rows["price_exp"], rows["size_exp"] = (
        instrument_id,
        definition.price_exp,
        definition.size_exp,
    )
    for row, fill in zip(rows, reversed(fills), strict=True):
        row["ts_event"] = row["ts_recv"] = fill.ts
        row["source_sequence"], row["trade_id"] = fill.source_sequence, fill.trade_id
        row["price"], row["size"] = fill.price, fill.size
        row["side"] = Side.NONE if fill.liquidity == "auction" else fill.side
    return rows
