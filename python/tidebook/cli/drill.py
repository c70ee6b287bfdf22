"""`tidebook drill`: the loss of a data directory, rehearsed."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli.inputs import data_directory
from tidebook.cli.output import Json, console, print_json
from tidebook.cli.shown import Column, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tidebook.node.drill import ChannelDrill

_COLUMNS = (
    Column("channel", right=False),
    Column("messages"),
    Column("lost"),
    Column("newer", give_up=2),
    Column("recovered in"),
    Column("from", right=False, give_up=3),
    Column("state", right=False, give_up=1),
    Column("verdict", right=False),
)


def drill(
    *, data: Path | None = None, backup: Path | None = None, scratch: Path | None = None, json: Json = False
) -> int:
    """Rehearse the loss of a data directory: restore a backup elsewhere, recover it there, compare; the exit code says.

    Parameters
    ----------
    data
        Data directory, whose node may run; default: the setting `data_directory`.
    backup
        A backup of it, or a directory of backups, of which the newest is taken; default: one is made for the drill.
    scratch
        Where the copies are made and removed again; default: beside the data directory.
    """
    from tidebook.node.drill import drill as rehearse

    def step(name: str) -> None:
        if not json and sys.stderr.isatty():
            print(f"{name} ...", file=sys.stderr)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with _ended_by_sigterm():
        found = rehearse(data_directory(data), backup, scratch, step, tell=tell)
    if json:
        print_json(found.facts())
        return 0 if found.ok else 1
    made = f"made in {found.backup_s:.1f} s, " if found.made else ""
    print(f"backup {found.backup}: {made}restored and verified in {found.restore_s:.1f} s, {found.rows:,} rows")
    screen = console()
    screen.print(table(_COLUMNS, [_row(channel) for channel in found.channels], screen.width))
    for channel in found.channels:
        if channel.limits:
            print(f"{channel.channel}: {channel.limits}")
    return 0 if found.ok else 1


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as an exception does, so that what it made is removed; by itself it would end the process on the spot."""

    def end(signum: int, _: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _from(channel: ChannelDrill) -> str:
    if channel.compared_from:
        return "no state"
    return f"snapshot at {channel.snapshot:,}" if channel.snapshot else "its first message"


def _row(channel: ChannelDrill) -> list[str]:
    verdict = "[green]as it was[/green]"
    if channel.absent:
        verdict = "[red]NOT IN THE BACKUP[/red]"
    elif channel.lost:
        verdict = "[red]LOST MESSAGES[/red]"
    elif channel.state_hash == channel.state_hash_original and not channel.equal:
        verdict = "[red]ANOTHER STATE in what its hash leaves out[/red]"
    elif not channel.equal:
        verdict = f"[red]ANOTHER STATE than {channel.state_hash_original}[/red]"
    return [
        channel.channel,
        f"{channel.messages:,}",
        f"{channel.lost:,}",
        f"{channel.newer:,}",
        f"{channel.recovery_s:.2f} s",
        _from(channel),
        channel.state_hash,
        verdict,
    ]
