"""`tidebook channel tail`: the newest messages of a channel, and those that come."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from cyclopts import Parameter

from tidebook.cli.channel.inputs import AllowOthers, Node, Peek, Rings  # noqa: TC001 - cyclopts reads annotations
from tidebook.cli.output import Json, console, counted, print_json
from tidebook.errors import ChannelNotFoundError, UsageError

if TYPE_CHECKING:
    from tidebook.cli.channel.decoded import Grid, Where
    from tidebook.transport.view import ChannelFile, ChannelView, Damage

_LOOK_S = 0.05
_PIPE_WIDTH = 10_000

Row = dict[str, Any]


def tail(
    name: str,
    *,
    limit: Annotated[int, Parameter(name=["-n", "--limit"])] = 20,
    follow: Annotated[bool, Parameter(name=["-f", "--follow"], negative="")] = False,
    where: str | None = None,
    node: Node = None,
    rings: Rings = None,
    peek: Peek = False,
    allow_others: AllowOthers = False,
    json: Json = False,
) -> int:
    """Show the newest messages of a channel, decoded.

    Parameters
    ----------
    name
        Channel, such as md.trades or desk/md.trades, or the path of its ring.
    limit
        How many messages, 0 for none, as before --follow; with --where, of those that match.
    follow
        Go on with what comes, until Ctrl-C.
    where
        Condition in SQL over the columns shown: "price > 100 AND instrument = 'BTCUSDT.BINANCE'".
    """
    from tidebook.cli.channel.decoded import Decoder, Grid, Where
    from tidebook.transport.view import ChannelView, find_channel

    if limit < 0:
        raise UsageError(f"--limit {limit:,}: name how many messages, or 0 for none")
    condition = None if where is None else Where(where)
    file = find_channel(name, node=node, root=rings)
    view = ChannelView(file, allow_others=allow_others)
    show: _Show = _Objects() if json else _Lines(Grid(console().width if sys.stdout.isatty() else _PIPE_WIDTH))
    # What is seen while the newest are looked for is kept until it is known which they are.
    kept: deque[Row] = deque(maxlen=min(limit, sys.maxsize))
    status = view.status()
    # The newest that are shown: behind them a durable channel has those that are not on disk yet.
    newest = status["durable"] if view.info["visible_durable"] and not peek else status["published"]
    first = 0 if condition is not None else max(1, newest + 1 - limit)
    after = _each(view, Decoder(view, rings), condition, 0 if first <= status["oldest"] else first, peek, kept, show)
    show.rows(list(kept))
    while follow:
        after = _follow(view, Decoder(view, rings), condition, after, peek, show)
        view, after = _renewed(file, allow_others), 0
        show.event("renewed", "the channel was made anew")
    show.end()
    return show.exit_code


def _each(
    view: ChannelView, decoder: Any, condition: Where | None, first: int, peek: bool, kept: deque[Any], show: _Show
) -> int:
    """Keeps the last matching rows there are now; gives the sequence after all that was seen."""
    from tidebook.transport.view import Messages

    after = first
    until = view.status()["published"]
    for found in view.read(first, peek=peek):
        if isinstance(found, Messages):
            rows = decoder.rows(found)
            kept.extend(condition.matching(rows) if condition else rows)
            after = int(found.sequences[-1]) + 1
        elif found is not None:
            after = _tell(show, found)
        if after > until:
            # A writer may be faster than this: what comes from here on is for --follow.
            break
    return max(after, 1)


def _follow(view: ChannelView, decoder: Any, condition: Where | None, first: int, peek: bool, show: _Show) -> int:
    """Shows what comes until the ring is removed and read to its end."""
    from tidebook.transport.view import Messages

    for found in view.read(first, peek=peek, follow=True):
        if isinstance(found, Messages):
            rows = decoder.rows(found)
            show.rows(condition.matching(rows) if condition else rows)
            first = int(found.sequences[-1]) + 1
        elif found is not None:
            first = _tell(show, found)
        else:
            sys.stdout.flush()
            if not view.ring.has_name():
                break
            time.sleep(_LOOK_S)
    return first


def _renewed(file: ChannelFile, allow_others: bool) -> ChannelView:
    """The ring that takes the place of a removed one, once it is there."""
    from tidebook.transport.view import ChannelView

    while True:
        try:
            return ChannelView(file, allow_others=allow_others)
        except ChannelNotFoundError:
            time.sleep(_LOOK_S)


def _tell(show: _Show, found: Any) -> int:
    """Shows a gap or a damage; gives the sequence after it."""
    from tidebook.transport.view import Gap

    if isinstance(found, Gap):
        last = found.first + found.count - 1
        what = f"{counted(found.count, 'message')} overwritten before they were read ({found.first:,} to {last:,})"
        show.event("gap", what, first=found.first, count=found.count)
        return found.first + found.count
    damage: Damage = found
    lost = f"; {counted(damage.lost, 'message')} cannot be read" if damage.lost > 1 else ""
    show.event(
        "damage",
        f"message {damage.sequence:,} is damaged: byte {damage.offset:,}: {damage.what}{lost}",
        sequence=damage.sequence,
        offset=damage.offset,
        lost=damage.lost,
    )
    return damage.sequence + damage.lost


class _Show(Protocol):
    exit_code: int

    def rows(self, rows: list[Row]) -> None: ...
    def event(self, kind: str, what: str, **facts: Any) -> None: ...
    def end(self) -> None: ...


class _Lines:
    """For people: aligned lines, and a word on what was missed."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._screen = console()
        self.exit_code = 0

    def rows(self, rows: list[Row]) -> None:
        for line in self._grid.lines(rows):
            print(line)

    def event(self, kind: str, what: str, **facts: Any) -> None:  # noqa: ARG002 - they are in the words
        self._screen.print(f"[red]-- {what}[/]" if kind == "damage" else f"[yellow]-- {what}[/]")
        self.exit_code = 1 if kind == "damage" else self.exit_code

    def end(self) -> None:
        if self._grid.left_out and sys.stdout.isatty():
            self._screen.print(f"[dim]not shown: {', '.join(self._grid.left_out)} (wider terminal, or --json)[/]")


class _Objects:
    """For programs: one object a message, and one for what was missed."""

    def __init__(self) -> None:
        self.exit_code = 0

    def rows(self, rows: list[Row]) -> None:
        for row in rows:
            print_json(row)

    def event(self, kind: str, what: str, **facts: Any) -> None:
        print_json({kind: facts or True, "what": what})
        self.exit_code = 1 if kind == "damage" else self.exit_code

    def end(self) -> None:
        """Nothing is left to say."""
