"""Which channel's journal belongs in a directory: journals that changed places are whole, and nobody can start with them.

In a data directory the name says it. Elsewhere, where channels have their `wal_dir`, a journal may have been copied beside
itself under any name, which does no harm; so there a name counts if it is that of a channel: of another journal that lies beside, or
of a ring whose link leads there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidebook.errors import ChannelError, JournalError
from tidebook.node.directory import own_journals
from tidebook.persistence import inspect
from tidebook.transport.companions import journal_of
from tidebook.transport.view import channel_files

if TYPE_CHECKING:
    from pathlib import Path


def rightful_channel(journal: Path, rings_root: Path | None = None) -> str:
    """The channel whose place the directory of a journal is; its name where the journal cannot be read."""
    journal = journal.resolve()
    found = channel_in(journal)
    if journal.name == found or journal.parent.name == "journal":
        return journal.name
    try:
        beside = {channel_in(other) for other in own_journals(journal.parent) if other != journal}
    except OSError:  # it is told by who reads them
        beside = set()
    return journal.name if journal.name in beside or _is_led_to(journal, rings_root) else found


def channel_in(journal: Path) -> str:
    """The channel that a journal says it is of; the name of its directory where it cannot be read."""
    try:
        return inspect(journal).channel
    except JournalError:
        return journal.name


def misplaced(journal: Path, channel: str, place: str) -> str:
    """That a journal of `channel` lies in the place of another, and what to do."""
    return (
        f"{journal} is the journal of {channel}, not of {place}: nobody starts with it; put each journal in the directory "
        "of its channel's name"
    )


def _is_led_to(journal: Path, rings_root: Path | None) -> bool:
    """Whether a ring of the directory's name has its journal here."""
    try:
        targets = [journal_of(file.path) for file in channel_files(rings_root) if file.name == journal.name]
    except (ChannelError, OSError):
        return False
    return any(target is not None and target.resolve() == journal for target in targets)
