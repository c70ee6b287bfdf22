"""Where the parts of a data directory lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidebook._core import venues
from tidebook.persistence.files import directories_in
from tidebook.transport.companions import checkpoints_of

if TYPE_CHECKING:
    from pathlib import Path


VENUE_CHANNEL: Final = "orders"
"""The journal of the node's own venue, if it has one."""
MARKET_DATA_STATES: Final = "market_data"
"""Kind of the snapshots of its market data."""


def channel_of(venue: str) -> str:
    """Name of the raw capture channel of a venue."""
    return f"feed.{venue}"


def journal_directory(data: Path, channel: str) -> Path:
    """Directory of a channel's journal."""
    return data / "journal" / channel


def snapshots_directory(data: Path) -> Path:
    """Directory of the snapshots of all states."""
    return data / "snapshots"


def checkpoints_file(journal: Path) -> Path:
    """The store of checkpoints of a channel's readers, alone in its directory beside the journal."""
    return checkpoints_of(journal) / "data.mdb"


def simulated_marker(journal: Path) -> Path:
    """A file that is there when the messages of a journal are those of a simulated venue."""
    return journal / "simulated"


def subscriptions_file(data: Path, venue: str) -> Path:
    """What the feed of a venue is subscribed to, kept over restarts."""
    return data / "feeds" / f"{venue}.json"


def venue_names_file(data: Path) -> Path:
    """What the venue's instruments, assets and accounts are called."""
    return data / "venue" / "names.json"


def venue_lives_file(data: Path) -> Path:
    """What became of the venue's orders, as of some command: a start reads `orders` on from there."""
    return data / "venue" / "lives"


def venue_lives_before_file(data: Path) -> Path:
    """The one before that, for when that is damaged."""
    return data / "venue" / "lives.before"


def own_journals(directory: Path) -> list[Path]:
    """Journals that lie in `directory` itself, by name: those of channels that have it for their `wal_dir`.

    Raises: OSError for what cannot be listed.
    """
    if directory.is_file() or holds_segments(directory):
        return []  # what lies in a journal is its own: segments that repair has put away
    return [entry for entry in directories_in(directory) if holds_segments(entry)]


def holds_segments(journal: Path) -> bool:
    """Whether names of segments are there, whatever they lead to, which is for who reads them to say.

    Raises: OSError for a directory that cannot be listed, and for a link to none.
    """
    try:
        return any(entry.name.endswith(".segment") for entry in journal.iterdir())
    except FileNotFoundError:
        if journal.is_symlink():
            raise
        return False


def journals_in(directory: Path) -> list[Path]:
    """The journals of a data directory; of one that has none, those that lie in it itself. Raises: OSError."""
    found = [journal_directory(directory, channel) for channel in journaled_channels(directory)]
    return found or own_journals(directory)


def journaled_channels(data: Path) -> list[str]:
    """Channels that have a journal in `data`, by name. Raises: OSError for a directory of journals that cannot be listed."""
    return [entry.name for entry in directories_in(data / "journal")]


def is_of_node(journal: Path) -> bool:
    """Whether a journal is that of a feed or of the venue of a node, by where it lies: its messages are the node's to keep or remove."""
    data = journal.resolve().parent.parent
    if journal_directory(data, journal.name) != journal.resolve():
        return False
    is_feed = journal.name.removeprefix("feed.") in venues().values() and journal.name.startswith("feed.")
    return is_feed or (journal.name == VENUE_CHANNEL and venue_names_file(data).parent.exists())
