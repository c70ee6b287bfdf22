"""Changes of a feed's subscriptions, whether a node runs, starts, stops or does neither.

Who holds the lock `feeds/lock` of the data directory owns the subscriptions and makes the changes that are asked for: a node
for its whole life, on its connectors; where there is none, whoever wants one, in the files that the next node resumes. Who
asked waits for the answer and for the lock at once, so that a node that ends before it answers loses nothing: to make a
change twice comes to the same.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from tidebook.config import load
from tidebook.errors import ConfigError, OperationError, TidebookError, UsageError, VenueError
from tidebook.feeds.registry import build_protocol, feed_kind
from tidebook.feeds.subscriptions import Subscriptions, SubscriptionsFile
from tidebook.node.change_requests import Answer, Asked, Change, forget_old_answers, take_all
from tidebook.node.directory import subscriptions_file
from tidebook.observe.logs import logger
from tidebook.persistence.file_lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tidebook.feeds.connector import Connector
    from tidebook.node.change_requests import Taken

log = logger("node.changes")

_LOCK = "feeds/lock"
_POLL_INTERVAL_S = 0.1
_LOCK_TIMEOUT_S = 10.0
_TAKE_TIMEOUT_S = 20.0
_MAKE_TIMEOUT_S = 60.0
_OF_SIMULATED = (
    "; a simulated venue trades what the node was started with: stop the node, add the symbol and start it again"
)


def change_feed(data: Path, change: Change) -> Answer:
    """Makes a change, through the node where one runs.

    Raises: ConfigError for symbols that cannot be, or to give up what is not subscribed; UnknownVenueError; OperationError
            with what the node answered, or when it does not.
    """
    kind = feed_kind(change.venue)
    add, remove = (tuple(map(kind.protocol.normal, symbols)) for symbols in (change.add, change.remove))
    is_new = not data.exists()
    asked = Asked(data, Change(venue=change.venue, add=add, remove=remove))
    since_s = time.monotonic()
    made_here = False
    try:
        while (answer := asked.answer()) is None:
            with locked(data / _LOCK) as owner:
                if owner:
                    _make_in_files(data)
                    made_here = True
                    continue
            waited_s = time.monotonic() - since_s
            if waited_s > _TAKE_TIMEOUT_S and asked.withdraw():
                raise OperationError(
                    f"the node on {data} did not answer within {_TAKE_TIMEOUT_S:g} s; nothing was changed"
                )
            if waited_s > _MAKE_TIMEOUT_S:
                raise OperationError(
                    f"the node on {data} is still making the change after {_MAKE_TIMEOUT_S:g} s; "
                    "`tidebook feeds ls` shows when it is made"
                )
            time.sleep(_POLL_INTERVAL_S)
    finally:
        asked.withdraw()
    if answer.error:
        message = f"{change.venue}: {answer.error.removeprefix(f'{change.venue}: ')}"
        raise ConfigError(message, key="symbols") if answer.asked_wrong else OperationError(message)
    if not made_here:
        return answer
    # Somebody in another directory than they think sees it here.
    new = ", which was made for this" if is_new else ""
    where = f"no node runs on {data.resolve()}{new}; the next one there begins with these"
    return msgspec.structs.replace(answer, note="; ".join(filter(None, (answer.note, where))))


@contextmanager
def owned(data: Path) -> Iterator[None]:
    """The subscriptions of a data directory are this process's for the length of the block.

    Waits for whoever makes a change, which blocks. Raises: OperationError when that takes too long.
    """
    (data / _LOCK).parent.mkdir(parents=True, exist_ok=True)
    with locked(data / _LOCK, _LOCK_TIMEOUT_S) as got:
        if not got:
            raise OperationError(f"another process has held {data / _LOCK} for {_LOCK_TIMEOUT_S:g} s; end it")
        yield


class Changes:
    """Makes the changes that others ask for, on the connectors of this node, which owns the subscriptions."""

    def __init__(self, data: Path, connectors: Mapping[str, Connector], *, simulated: bool = False) -> None:
        self._data = data
        self._connectors = connectors
        self._simulated = simulated
        self._trouble = ""

    async def run(self) -> None:
        """Works until cancelled. Requests that cannot be read or answered are said, and tried again."""
        while True:
            try:
                forget_old_answers(self._data)
                for taken in take_all(self._data):
                    taken.answer(await self._make(taken))
                self._trouble = ""
            except (OSError, OperationError) as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    log.warning("changes of subscriptions cannot be made", reason=self._trouble)
            await asyncio.sleep(_POLL_INTERVAL_S)

    async def _make(self, taken: Taken) -> Answer:
        change = taken.change
        if change is None:
            return _no_change(taken)
        connector = self._connectors.get(change.venue)
        if connector is None:
            runs = ", ".join(self._connectors)
            return Answer(error=f"this node runs {runs}; a venue begins with a start: tidebook run --venues")
        try:
            _refuse_unknown(taken, connector.status().symbols)
            await connector.subscribe(change.add)
            await connector.unsubscribe(change.remove)
        except TidebookError as error:
            remedy = _OF_SIMULATED if self._simulated and isinstance(error, VenueError) else ""
            return Answer(error=f"{error}{remedy}", asked_wrong=isinstance(error, UsageError))
        log.info("subscriptions changed", venue=change.venue, add=list(change.add), remove=list(change.remove))
        status = connector.status()
        refused = [f"{symbol} {why}" for symbol, why in status.refused.items() if symbol in change.add]
        notes = [f"not all of it is delivered: {'; '.join(refused)}"] if refused else []
        if change.add and not status.connected:
            notes.append(f"{change.venue} is not connected now and will be asked when it is: `tidebook feeds top`")
        return Answer(symbols=status.symbols, note="; ".join(notes))


def _make_in_files(data: Path) -> None:
    """Makes what is asked for where no node runs; for who owns the subscriptions."""
    for taken in take_all(data):
        change = taken.change
        if change is None:
            taken.answer(_no_change(taken))
            continue
        try:
            feed_kind(change.venue)
            file = SubscriptionsFile(subscriptions_file(data, change.venue))
            saved = file.load() or Subscriptions()
            _refuse_unknown(taken, saved.symbols)
            added = dict.fromkeys((*saved.symbols, *change.add))
            kept = tuple(symbol for symbol in added if symbol not in change.remove)
            file.save(msgspec.structs.replace(saved, symbols=kept))
        except TidebookError as error:
            taken.answer(Answer(error=str(error), asked_wrong=isinstance(error, UsageError)))
        else:
            taken.answer(Answer(symbols=kept, note=_trouble_of_next_node(change.venue)))


def _refuse_unknown(taken: Taken, symbols: Sequence[str]) -> None:
    """Raises: ConfigError for symbols to give up that are not there, unless the change may have been made before."""
    assert taken.change is not None, "a request that holds no change was answered before"
    unknown = [symbol for symbol in taken.change.remove if symbol not in symbols]
    if unknown and not taken.again:
        raise ConfigError(
            f"{', '.join(unknown)} is not subscribed; it has {', '.join(symbols) or 'nothing'}",
            key="symbols",
            value=unknown,
        )


def _trouble_of_next_node(venue: str) -> str:
    """Keys and settings are those of the process that asks; another one may have what is missing here."""
    try:
        build_protocol(venue, feed_kind(venue).settings(load()))
    except UsageError as error:
        return f"a node that is started as this command was would not run: {error}"
    return ""


def _no_change(taken: Taken) -> Answer:
    return Answer(error=f"{taken.path.name} holds no change of subscriptions", asked_wrong=True)


def subscribed(data: Path, venues: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Symbols of each feed as its file has them; feeds without a file are left out."""
    loaded = {venue: SubscriptionsFile(subscriptions_file(data, venue)).load() for venue in venues}
    return {venue: saved.symbols for venue, saved in loaded.items() if saved is not None}
