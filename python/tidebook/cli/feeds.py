"""`tidebook feeds`: what a data directory's feeds are subscribed to, and how they are doing."""

from __future__ import annotations

import json as json_module
import sys
import time
import urllib.request
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING, Any

from tidebook.cli.inputs import data_directory, node_address
from tidebook.cli.output import Json, console, print_json
from tidebook.cli.shown import Column, amount, table
from tidebook.errors import OperationError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

_TIMEOUT_S = 5.0
_STATE_STYLES = {"live": "green", "quiet": "yellow", "waiting": "yellow", "disconnected": "red"}


def list_feeds(*, data: Path | None = None, json: Json = False) -> None:
    """List the feeds of a data directory with their symbols.

    Parameters
    ----------
    data
        Data directory; default: the setting `data_directory`.
    """
    from tidebook.feeds.registry import FEEDS
    from tidebook.node.changes import subscribed
    from tidebook.node.presence import running_node

    directory = data_directory(data)
    found = subscribed(directory, tuple(FEEDS))
    node = running_node(directory)
    if json:
        print_json({"data": str(directory), "running": node is not None, "feeds": found})
        return
    for venue, symbols in found.items():
        print(f"{venue}: {', '.join(symbols) or 'nothing'}")
    if not found:
        print(f"no feed has run on {directory}; `tidebook feeds add VENUE SYMBOL` or `tidebook run` begins one")
    elif node is not None:
        print(f"running at {node.address}" if node.address else "a node is starting or stopping")


def add(venue: str, *symbols: str, data: Path | None = None, json: Json = False) -> None:
    """Subscribe to symbols of a venue, in the running node or for the next one.

    Parameters
    ----------
    venue
        Such as `kraken`.
    symbols
        In the venue's spelling.
    data
        Data directory; default: the setting `data_directory`.
    """
    _change(data, venue, json, add=symbols)


def remove(venue: str, *symbols: str, data: Path | None = None, json: Json = False) -> None:
    """Give symbols of a venue up, in the running node or for the next one.

    Parameters
    ----------
    venue
        Such as `kraken`.
    symbols
        In the venue's spelling.
    data
        Data directory; default: the setting `data_directory`.
    """
    _change(data, venue, json, remove=symbols)


def top(*, data: Path | None = None, once: bool = False, interval_s: float = 1.0, json: Json = False) -> None:
    """Watch the feeds of the running node: rates, delays, gaps, books.

    Parameters
    ----------
    data
        Data directory of the node; default: the setting `data_directory`.
    once
        Print one picture and end; so it does where the output is no terminal.
    interval_s
        Seconds between two pictures.
    """
    from rich.live import Live

    address = node_address(data)
    if json:
        print_json({"address": address, "feeds": _feeds(address)})
        return
    screen = console()
    if once or not sys.stdout.isatty():
        screen.print(_table(address, _feeds(address), screen.width))
        return
    with Live(_table(address, _feeds(address), screen.width), console=screen, auto_refresh=False) as live:
        while True:
            time.sleep(max(0.1, interval_s))
            live.update(_table(address, _feeds(address), screen.width), refresh=True)


def _change(data: Path | None, venue: str, json: bool, **change: tuple[str, ...]) -> None:
    from tidebook.node.change_requests import Change
    from tidebook.node.changes import change_feed

    if not any(change.values()):
        raise UsageError(f"feeds: name at least one symbol of {venue}")
    answer = change_feed(data_directory(data), Change(venue=venue, **change))
    if json:
        print_json({"venue": venue, "symbols": answer.symbols, "note": answer.note})
        return
    print(f"{venue}: {', '.join(answer.symbols) or 'nothing'}")
    if answer.note:
        print(f"note: {answer.note}", file=sys.stderr)


def _feeds(address: str) -> list[dict[str, Any]]:
    """What the node says. Raises: OperationError when it does not answer."""
    try:
        with urllib.request.urlopen(f"{address}/api/v1/feeds", timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the address of our own node
            found: list[dict[str, Any]] = json_module.load(answer)
            return found
    except OSError as error:
        raise OperationError(f"the node at {address} does not answer ({error}); has it ended?") from error


def _table(address: str, feeds: list[dict[str, Any]], width: int) -> Table:
    rows = []
    for feed in feeds:
        style = _STATE_STYLES.get(feed["state"], "")
        rows.append(
            [
                feed["venue"],
                f"[{style}]{feed['state']}[/]" if style else feed["state"],
                f"{feed['books_usable']}/{feed['instruments']}",
                f"{feed['messages_per_second']:,.0f}",
                amount(feed["messages"]),
                "" if feed["delay_us"] is None else f"{feed['delay_us'] / 1000:.1f}",
                *(f"{feed[name]:,}" for name in ("gaps", "reconnects", "resyncs", "quarantined")),
            ]
        )
    shown = table(_COLUMNS, rows, width)
    shown.title, shown.title_justify = f"feeds at {address}", "left"
    return shown


_COLUMNS = (
    Column("venue", right=False),
    Column("state", right=False),
    Column("books"),
    Column("messages/s"),
    Column("messages", give_up=1),
    Column("delay ms", give_up=4),
    Column("gaps"),
    Column("reconnects"),
    Column("resyncs", give_up=3),
    Column("set aside", give_up=2),
)
