"""How the recovery of a node is shown: bars while it runs, then one table of what came of it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tidebook.cli.shown import Column, amount, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from tidebook.node.recovery import ChannelRecovery, Progress, Recovery

COLUMNS = (
    Column("channel", right=False),
    Column("found"),
    Column("kept", right=False),
    Column("cut", give_up=6),
    Column("from ring", give_up=5),
    Column("snapshot", give_up=3),
    Column("stored", give_up=4),
    Column("read", right=False, give_up=2),
    Column("time", give_up=1),
    Column("state", right=False),
)


@contextmanager
def recovery_bars(recovery: Recovery, *, quiet: bool = False) -> Iterator[Progress]:
    """A bar a channel on stderr while the recovery runs; nothing where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda _channel, _step, _messages: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[step]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {found.channel: bars.add_task(found.channel, total=None, step="") for found in recovery.channels}
        counts = {found.channel: found for found in recovery.channels}

        def tell(channel: str, step: str, messages: int) -> None:
            bars.update(tasks[channel], advance=messages, total=counts[channel].found or None, step=step)

        yield tell


def recovery_table(recovery: Recovery, width: int) -> Table:
    """What was found, kept, cut, refused and taken from rings, a line a channel."""
    shown = table(COLUMNS, [_row(found) for found in recovery.channels], width)
    shown.title, shown.title_justify = f"recovered in {recovery.seconds:.1f} s", "left"
    return shown


def refusals(recovery: Recovery) -> list[str]:
    """Why each refused channel is, a line each, but of the node's first: its cause is the error that the start ends with.

    The node starts all the same where those are not its own.
    """
    own = [
        f"refused: {found.channel}: {found.refused}" for found in recovery.channels if found.refused and found.is_own
    ]
    others = [found for found in recovery.channels if found.refused and not found.is_own]
    return own[1:] + [f"damaged, and the node runs without it: {found.channel}: {found.refused}" for found in others]


def _row(found: ChannelRecovery) -> list[str]:
    if found.is_new:
        return [found.channel, "nothing", *[""] * (len(COLUMNS) - 3), "new"]
    kept = f"{found.kept_first:,} to {found.kept_last:,}" if found.kept_last else "nothing"
    read = "every batch" if found.verified else "newest segment"
    if found.refused and not found.verified:
        # Reading it ended there; what is refused for another reason was perhaps not read at all.
        read = "up to the damage" if "segment" in (found.refused_facts or {}) else ""
    return [
        found.channel,
        amount(found.found),
        "nothing was changed" if found.refused else kept,
        f"{found.cut_bytes:,} bytes" if found.cut_bytes else "nothing",
        f"{found.from_ring:,}" if found.from_ring else "",
        "" if found.snapshot is None else f"{found.snapshot:,}",
        f"{found.stored:,}" if found.stored else "",
        read,
        f"{found.seconds:.1f} s",
        _state(found),
    ]


def _state(found: ChannelRecovery) -> str:
    if found.refused:
        return "[red]REFUSED[/red]" if found.is_own else "[red]DAMAGED[/red], not the node's"
    if not found.is_own:
        if found.is_written:
            return "not the node's, is written"
        return "not the node's, closed" if found.closed else "not the node's, goes on after a crash"
    if found.ring:
        lost = {None: "what was in it alone is unknown", 0: "nothing was in it alone"}.get(
            found.ring_lost, f"{found.ring_lost or 0:,} messages that were never durable went with it"
        )
        return f"[yellow]ring made anew; {lost}[/yellow]"
    if found.epoch_behind_copy is not None:
        return f"[yellow]put back from a copy; goes on in epoch {found.epoch_behind_copy}[/yellow]"
    return "closed cleanly" if found.closed else "goes on after a crash"
