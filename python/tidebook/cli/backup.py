"""`tidebook backup`, `backups`, `restore`: a data directory copied whole, and put back."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli.inputs import data_directory
from tidebook.cli.output import Json, console, counted, print_json
from tidebook.cli.progress import progress_bar
from tidebook.cli.shown import size

if TYPE_CHECKING:
    from tidebook.node.backup import Backup


def backup(destination: Path, *, data: Path | None = None, json: Json = False) -> None:
    """Copy a data directory, also of a running node, into a directory of backups.

    Parameters
    ----------
    destination
        Directory of backups; each gets a directory of its own there. What never changes is shared with the one before.
    data
        Data directory; default: the setting `data_directory`.
    """
    from tidebook.node.backup import back_up

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    directory = data_directory(data)
    with progress_bar("backing up", None, quiet=json) as advance:
        made = back_up(directory, destination, advance, tell)
    path = destination / made.id
    if json:
        print_json({"path": str(path), **_facts(made)})
        return
    print(f"{path}: {counted(len(made.files), 'file')}, {size(made.size_bytes)}; {size(made.copied_bytes)} were new")
    for held in made.journals:
        print(f"{held.channel}: up to message {held.last_sequence:,}{_rows(held.stored)}")


def _rows(stored: int) -> str:
    """Of a channel that has rows, up to which message they are."""
    return f", rows up to {stored:,}" if stored else ""


def list_backups(destination: Path, *, verify: bool = False, json: Json = False) -> int:
    """List the backups of a directory; --verify reads every file of them.

    Parameters
    ----------
    destination
        Directory of backups, or one backup.
    verify
        Read every file and compare it with the listing; the exit code says whether all are whole.
    """
    from tidebook.cli.shown import Column, table
    from tidebook.errors import BackupError
    from tidebook.node.backup import backups, read_listing
    from tidebook.node.restore import check

    found: list[Backup] = []
    damaged: list[str] = []
    for path in backups(destination):
        try:
            found.append(check(path) if verify else read_listing(path))
        except BackupError as error:
            damaged.append(str(error))
    if json:
        print_json({"backups": [_facts(one) for one in found], "damaged": damaged})
        return 1 if damaged else 0
    if found:
        columns = (
            Column("backup", right=False),
            Column("taken", right=False, give_up=2),
            Column("files", give_up=1),
            Column("size"),
            Column("new"),
            Column("channels", right=False),
        )
        rows = [
            [
                one.id,
                f"{datetime.fromtimestamp(one.begun / 1e9, UTC):%Y-%m-%d %H:%M:%S}Z",
                f"{len(one.files):,}",
                size(one.size_bytes),
                size(one.copied_bytes),
                ", ".join(f"{held.channel} to {held.last_sequence:,}" for held in one.journals),
            ]
            for one in found
        ]
        screen = console()
        screen.print(table(columns, rows, screen.width))
    elif not damaged:
        print(f"no backup in {destination}; `tidebook backup {destination}` makes one")
    for line in damaged:
        print(line)
    return 1 if damaged else 0


def restore(backup: Path, *, data: Path | None = None, json: Json = False) -> None:
    """Put a backup into an empty directory, verified.

    Parameters
    ----------
    backup
        A backup, or a directory of backups, of which the newest is taken.
    data
        Data directory to make, absent or empty; default: the setting `data_directory`.
    """
    from tidebook.cli.inputs import named_directory
    from tidebook.node.backup import read_listing
    from tidebook.node.restore import facts, newest
    from tidebook.node.restore import restore as put_back

    directory, chosen = named_directory(data), newest(backup)
    with progress_bar("restoring", read_listing(chosen).size_bytes, quiet=json) as advance:
        restored = put_back(chosen, directory, advance)
    if json:
        print_json(facts(restored))
        return
    print(f"{directory}: restored from {chosen}, {counted(len(restored.backup.files), 'file')} verified")
    for journal in restored.journals:
        print(
            f"{journal.channel}: {counted(journal.messages, 'message')}, up to {journal.last_sequence:,}, every batch read"
        )
    if restored.store is not None:
        print(f"rows: {restored.store.rows:,} in {counted(restored.store.files, 'part')}, every part read")


def _facts(one: Backup) -> dict[str, object]:
    import msgspec

    facts: dict[str, object] = msgspec.to_builtins(one)
    return facts | {"files": len(one.files)}
