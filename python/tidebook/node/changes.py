"""Changes of a feed's subscriptions, asked for by another process and made by the running node.

One file a request in `feeds/changes/` of the data directory: who may write there may ask, and nobody else. The node
answers under the same name with another ending. Without a running node the change is made in the subscriptions' file,
which the next node resumes.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from tidebook.config import load
from tidebook.errors import ConfigError, OperationError, TidebookError
from tidebook.feeds.registry import endpoints_of, feed_kind
from tidebook.feeds.subscriptions import Subscriptions, SubscriptionsFile
from tidebook.node.directory import subscriptions_file
from tidebook.node.presence import running_node
from tidebook.observe.logs import logger
from tidebook.persistence.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tidebook.feeds.connector import Connector

log = logger("node.changes")

_FOLDER = "feeds/changes"
_ASKED, _ANSWERED = ".asked", ".answered"
_POLL_INTERVAL_S = 0.1
_ANSWER_TIMEOUT_S = 20.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of one feed."""

    venue: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    symbols: tuple[str, ...] = ()
    """All of the feed now."""
    error: str = ""


def change_feed(data: Path, change: Change) -> tuple[str, ...]:
    """Makes a change, through the node where one runs; the feed's symbols after it.

    Raises: ConfigError for symbols that cannot be, UnknownVenueError; OperationError with what the node answered, or when
            it does not.
    """
    kind, settings = feed_kind(change.venue), load()
    protocol = kind.build(kind.settings(settings), endpoints_of(kind.settings(settings)), None)
    add = tuple(map(protocol.normal, change.add))
    remove = tuple(map(protocol.normal, change.remove))
    if running_node(data) is not None:
        return _ask(data, Change(venue=change.venue, add=add, remove=remove))
    file = SubscriptionsFile(subscriptions_file(data, change.venue))
    saved = file.load() or Subscriptions()
    unknown = [symbol for symbol in remove if symbol not in saved.symbols]
    if unknown:
        raise ConfigError(
            f"{change.venue}: {', '.join(unknown)} is not subscribed; it has {', '.join(saved.symbols) or 'nothing'}",
            key="symbols",
            value=unknown,
        )
    kept = [symbol for symbol in dict.fromkeys((*saved.symbols, *add)) if symbol not in remove]
    file.save(msgspec.structs.replace(saved, symbols=tuple(kept)))
    return tuple(kept)


def _ask(data: Path, change: Change) -> tuple[str, ...]:
    folder = data / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = secrets.token_hex(8)
    asked, answered = folder / (name + _ASKED), folder / (name + _ANSWERED)
    replace_durably(asked, msgspec.json.encode(change))
    deadline = time.monotonic() + _ANSWER_TIMEOUT_S
    while not answered.exists():
        if time.monotonic() > deadline:
            asked.unlink(missing_ok=True)
            raise OperationError(
                f"the node on {data} did not answer within {_ANSWER_TIMEOUT_S:g} s; nothing was changed"
            )
        time.sleep(_POLL_INTERVAL_S)
    answer = msgspec.json.decode(answered.read_bytes(), type=Answer)
    answered.unlink()
    if answer.error:
        raise OperationError(f"{change.venue}: {answer.error}")
    return answer.symbols


class Changes:
    """Makes the changes that others ask for, on the connectors of this node."""

    def __init__(self, data: Path, connectors: Mapping[str, Connector]) -> None:
        self._folder = data / _FOLDER
        self._connectors = connectors

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            for path in self._asked():
                answer = await self._make(path)
                replace_durably(path.with_suffix(_ANSWERED), msgspec.json.encode(answer))
                path.unlink(missing_ok=True)
            await asyncio.sleep(_POLL_INTERVAL_S)

    def _asked(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_ASKED}")) if self._folder.is_dir() else []

    async def _make(self, path: Path) -> Answer:
        try:
            change = _read(path)
        except (OSError, msgspec.DecodeError) as error:
            return Answer(error=f"not a change of subscriptions ({error})")
        connector = self._connectors.get(change.venue)
        if connector is None:
            runs = ", ".join(self._connectors)
            return Answer(error=f"this node runs {runs}; a venue begins with a start: tidebook run --venues")
        try:
            await connector.subscribe(change.add)
            await connector.unsubscribe(change.remove)
        except TidebookError as error:
            return Answer(error=str(error))
        symbols = connector.status().symbols
        log.info("subscriptions changed", venue=change.venue, add=list(change.add), remove=list(change.remove))
        return Answer(symbols=symbols)


def _read(path: Path) -> Change:
    return msgspec.json.decode(path.read_bytes(), type=Change)


def subscribed(data: Path, venues: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Symbols of each feed as its file has them; feeds without a file are left out."""
    files = {venue: subscriptions_file(data, venue) for venue in venues}
    loaded = {venue: SubscriptionsFile(file).load() for venue, file in files.items()}
    return {venue: saved.symbols for venue, saved in loaded.items() if saved is not None}
