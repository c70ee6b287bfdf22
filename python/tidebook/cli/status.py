"""`tidebook status`: the guarantee in force."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli.engines import engines_line
from tidebook.cli.inputs import data_directory
from tidebook.cli.output import Json, console, counted, print_json
from tidebook.cli.progress import progress_bar
from tidebook.cli.shown import Column, amount, plain, size, table

if TYPE_CHECKING:
    from tidebook.node.reading_all import ReadAll
    from tidebook.node.status import ChannelStatus, DirectoryStatus

_COLUMNS = (
    Column("channel", right=False),
    Column("synced", right=False, give_up=2),
    Column("on disk"),
    Column("in memory only", give_up=5),
    Column("rows up to", give_up=6),
    Column("snapshot", if_used=True, give_up=4),
    Column("taken", if_used=True, give_up=7),
    Column("checkpoint", if_used=True, give_up=8),
    Column("journal", give_up=3),
    Column("replicas", give_up=1),
    Column("state", right=False),
)


def status(*, data: Path | None = None, verify: bool = False, json: Json = False) -> int:
    """Say what is promised of each channel now, and never more; the exit code says whether something has failed.

    Parameters
    ----------
    data
        Data directory, whose node may run or not, or what channels have for `wal_dir`; default: the setting `data_directory`.
    verify
        Read everything: every batch of every journal, every row, snapshot and checkpoint. Without it headers, newest segments
        and newest snapshots are looked at, and damage further back is not seen.
    """
    from tidebook.errors import UsageError
    from tidebook.node.reading_all import read_all, size_of
    from tidebook.node.status import directory_status

    directory = data_directory(data)
    if not directory.is_dir():
        raise UsageError(f"there is no {directory}; name a data directory with --data")
    found, read = directory_status(directory), None
    if verify:
        with progress_bar("reading", size_of(found), quiet=json) as advance:
            read = read_all(found, advance)
    is_whole = found.ok and (read is None or read.is_whole)
    if json:
        print_json(found.facts() | {"ok": is_whole, "read": None if read is None else read.facts()})
        return 0 if is_whole else 1
    print(_head(found))
    if found.engines:
        print(engines_line(found.engines))
    screen = console()
    if found.channels:
        screen.print(table(_COLUMNS, [_row(channel) for channel in found.channels], screen.width))
    else:
        print("nothing is journaled here yet")
    if any(channel.channel.startswith("feed.") for channel in found.channels):
        if found.owner is None:
            print("md.* are in memory alone, and are derived again from these by a start")
        else:
            print(
                "md.* are in memory alone, survive the death of processes, and are derived again from these by a start"
            )
    for channel in found.channels:
        if channel.failure:
            screen.print(f"[red]{plain(channel.channel)}:[/red] {plain(channel.guarantee)}")
        elif channel.other_copies or channel.holes or channel.kept:
            print(f"{channel.channel}: {channel.guarantee}")
    if read is not None:
        for word, lines in (("damaged", read.damaged), ("misplaced", read.misplaced), ("not read", read.unread)):
            for line in lines:
                screen.print(f"[red]{word}:[/red] {plain(line)}")
        print(_read(read))
    return 0 if is_whole else 1


def _read(read: ReadAll) -> str:
    parts = (
        f"{counted(read.messages, 'message')} of {counted(read.journals, 'journal')}",
        f"{counted(read.rows, 'row')} of {counted(read.parts, 'part')}",
        counted(read.snapshots, "snapshot"),
        counted(read.checkpoints, "checkpoint"),
    )
    if read.is_whole:
        return f"read: {', '.join(parts)}, {size(read.size_bytes)}; all of it is whole"
    return f"read whole: {', '.join(parts)}, {size(read.size_bytes)}; the rest is named above"


def _head(found: DirectoryStatus) -> str:
    who = "nobody owns it" if found.layout_version is not None or not found.channels else "no node's directory"
    if found.owner is not None:
        what = "a node" if found.owner["command"] == "run" else f"`tidebook {found.owner['command']}`"
        who = f"{what} owns it (process {found.owner['pid']})"
        if found.owner["is_stopped"]:
            who += ", which is STOPPED"
        elif found.owner["address"] and not found.answers:
            who += f", which does not answer at {found.owner['address']}: this is what its files say"
    return f"{found.data}: {who}; {size(found.free_bytes)} free; no replicas"


def _row(channel: ChannelStatus) -> list[str]:
    beyond = max(0, channel.published - channel.durable)
    return [
        plain(channel.channel),
        channel.sync,
        f"{channel.durable:,}",
        f"{beyond:,}" if beyond else "",
        f"{channel.stored:,}" if channel.stored else "",
        "" if channel.snapshot is None else amount(channel.snapshot),
        _ago(channel.snapshot_age_s),
        _ago(channel.checkpoint_age_s),
        size(channel.journal_size_bytes),
        str(channel.replicas),
        _state(channel),
    ]


def _ago(age_s: float | None) -> str:
    """`35 s ago`, `12 min ago`, `3 h ago`, `2 days ago`."""
    if age_s is None:
        return ""
    for unit, seconds in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if age_s >= 2 * seconds:
            return f"{age_s / seconds:,.0f} {unit} ago"
    return f"{age_s:.0f} s ago"


def _state(channel: ChannelStatus) -> str:
    if channel.failure:
        return "[red]NOT READ[/red]" if channel.is_unread else "[red]FAILED[/red]"
    kind = "simulated, " if channel.is_simulated else ""
    if channel.runs:
        return f"[green]{kind}is written[/green]"
    if channel.unclosed:
        return f"[yellow]{kind}not closed: {channel.unclosed}[/yellow]"
    return f"{kind}closed" if channel.closed else f"{kind}nothing yet"
