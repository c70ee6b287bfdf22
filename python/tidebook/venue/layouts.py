"""Layouts of commands, executions and risk events as numpy dtypes.

A command has 128 bytes: a head that all have, and a body by its kind. `COMMAND` is the head with the body as its bytes, which is what
channels and `Venue` take; `LAYOUTS[kind]` is the same 128 bytes with the fields of that kind, so one is a view of the other:

    orders = commands(1000)
    place = orders.view(LAYOUTS[CommandKind.PLACE])
    place["kind"], place["price"] = CommandKind.PLACE, prices
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tidebook._core import command_layouts, schemas
from tidebook.errors import CommandError
from tidebook.venue.codes import CommandKind

Records = np.ndarray[Any, np.dtype[np.void]]

COMMAND: np.dtype[np.void] = schemas()["commands"].dtype()
EXECUTION: np.dtype[np.void] = schemas()["executions"].dtype()
RISK_EVENT: np.dtype[np.void] = schemas()["risk_events"].dtype()
OPEN_ORDER: np.dtype[np.void] = schemas()["open_orders"].dtype()


def _layout(fields: Iterable[tuple[str, int, str]]) -> np.dtype[np.void]:
    names, offsets, formats = zip(*fields, strict=True)
    return np.dtype(
        {
            "names": list(names),
            "formats": list(formats),
            "offsets": list(offsets),
            "itemsize": COMMAND.itemsize,
        }
    )


LAYOUTS: Mapping[CommandKind, np.dtype[np.void]] = MappingProxyType(
    {CommandKind[word.upper()]: _layout(fields) for word, fields in command_layouts().items()}
)
"""Each kind's head and body; spare bytes have no name."""

_SHOWN_MAX = 80
_OURS = (COMMAND, *LAYOUTS.values())


def commands(of: int | Iterable[Any] = 0) -> Records:
    """So many commands of zeros, or one array of the records that builders gave; of `COMMAND`, writable."""
    if isinstance(of, int):
        return np.zeros(of, COMMAND)
    records = list(of)
    array = np.empty(len(records), COMMAND)
    for at, record in enumerate(records):
        array[at] = as_commands(record)[0]
    return array


def as_commands(records: Any) -> Records:
    """These commands as a flat array of `COMMAND`: one record, an array of `COMMAND` or of a kind's layout, or a sequence of records.

    Memory: a view wherever numpy can give one.
    Raises: CommandError for anything else, with what it is.
    """
    if isinstance(records, (list, tuple)):
        return commands(records)
    if not isinstance(records, (np.ndarray, np.void)) or records.dtype not in _OURS:
        raise _unlike(records, "COMMAND", COMMAND)
    array = np.atleast_1d(records).reshape(-1)
    return array if array.dtype == COMMAND else array.view(COMMAND)


def order_ids_of(
    judged: Records, sequences: np.ndarray[Any, np.dtype[np.uint64]]
) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Ids of the orders that judged commands placed, of a pair that of its limit order; 0 where nothing was placed."""
    places = np.isin(judged["kind"], (CommandKind.PLACE, CommandKind.PLACE_PAIR)) & (judged["verdict"] == 1)
    return np.where(places, 2 * sequences, 0).astype(np.uint64)


def as_executions(records: Any) -> Records:
    """These executions as a flat array of `EXECUTION`. Raises: CommandError for anything else, with what it is."""
    if not isinstance(records, (np.ndarray, np.void)) or records.dtype != EXECUTION:
        raise _unlike(records, "EXECUTION", EXECUTION)
    return np.atleast_1d(records).reshape(-1)


def _unlike(found: Any, wanted: str, dtype: np.dtype[np.void]) -> CommandError:
    what = f"an array of {found.dtype}" if hasattr(found, "dtype") else type(found).__name__
    what = what if len(what) <= _SHOWN_MAX else f"{what[:_SHOWN_MAX]}..."
    return CommandError(
        f"records of tidebook.venue.{wanted} are wanted ({dtype.itemsize} bytes each), and this is {what}",
        field="dtype",
        value=what,
        expected=wanted,
    )
