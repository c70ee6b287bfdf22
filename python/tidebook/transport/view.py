"""Channels looked at: found in all nodes, opened for reading alone, read without becoming a consumer.

A view takes no line and no lock and cannot write, so no producer waits for it and nobody is disturbed by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tidebook._core import Damage, Gap, RingView, Seen, ring_directory, ring_path
from tidebook.errors import ChannelNotFoundError, ChannelUsageError
from tidebook.transport.channel import DEFAULT_NODE, group_number
from tidebook.transport.layout import from_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ChannelFile", "ChannelView", "Damage", "Gap", "Messages", "channel_files", "find_channel", "rings_root"]

_SUFFIX = ".ring"
_READ_MAX_BYTES = 16 << 20


@dataclass(frozen=True, order=True)
class ChannelFile:
    """A file that by its place and name is the ring of a channel."""

    node: str
    name: str
    path: Path

    @property
    def title(self) -> str:
        """`md.trades`, or `desk/md.trades` of a node that is not the default one."""
        return self.name if self.node == DEFAULT_NODE else f"{self.node}/{self.name}"


@dataclass(frozen=True)
class Messages:
    """Messages that were read at once, copied.

    Shape:  sequences: uint64, rising, with holes where a claim was given back; records: the structured array of as many, or
            None on channels of plain messages; payloads: as many bytes objects, or None on channels of records.
    """

    sequences: np.ndarray[Any, np.dtype[np.uint64]]
    records: np.ndarray[Any, Any] | None
    payloads: list[bytes] | None

    def __len__(self) -> int:
        return len(self.sequences)


class ChannelView:
    """A channel opened to be looked at."""

    def __init__(self, file: ChannelFile, *, group: str | int | None = None, allow_others: bool = False) -> None:
        """Opens it. Raises: ChannelNotFoundError, ChannelFormatError, ChannelAccessError as `open_channel` does."""
        self.file = file
        self.ring = RingView.open(file.path, group=group_number(group), allow_others=allow_others)
        self.info: dict[str, Any] = self.ring.info()

    @cached_property
    def dtype(self) -> np.dtype[Any] | None:
        """Layout of its records; None for plain messages."""
        schema = self.info["schema"]
        return None if schema is None else from_text(schema[2], self.info["record_size_bytes"])

    @property
    def unit_size_bytes(self) -> int:
        """Bytes of one unit of `capacity`, `written` and `unread`: of a slot, or one byte of frames."""
        return self.info["stride"] or 1

    def status(self) -> dict[str, Any]:
        """How it stands now, as `Channel.status` says it."""
        return self.ring.status()

    def read(
        self, first: int = 0, *, limit: int = 4096, peek: bool = False, follow: bool = False
    ) -> Iterator[Messages | Gap | Damage | None]:
        """Its messages from sequence `first` on (0: the oldest there is), up to `limit` at a time.

        What was overwritten before it was read is a Gap, what cannot be read a Damage; it goes on behind both. Ends after
        the newest; with `follow` it gives None there and looks again. Without `peek` a durable channel ends at what
        is durable.
        """
        walker = self.ring.walk(first, peek=peek)
        dtype = self.dtype
        while True:
            found = walker.read(limit, _READ_MAX_BYTES)
            if isinstance(found, Seen):
                sequences = np.frombuffer(found.sequences, "<u8")
                if dtype is None:
                    yield Messages(sequences, None, found.messages())
                else:
                    yield Messages(sequences, np.frombuffer(found.payloads, dtype), None)
            elif found is not None:
                yield found
            elif follow:
                yield None
            else:
                return


def rings_root(root: Path | None = None) -> Path:
    """The directory of all nodes: `root` if given, else `$TIDEBOOK_RINGS` or `/dev/shm/tidebook-<uid>`."""
    return ring_directory(DEFAULT_NODE).parent if root is None else root


def channel_files(root: Path | None = None, *, node: str | None = None) -> list[ChannelFile]:
    """All files that are rings by name, of one node or of all; empty when there are none."""
    directory = rings_root(root)
    found = directory.glob(f"{node or '*'}/*{_SUFFIX}")
    return sorted(ChannelFile(path.parent.name, path.name.removesuffix(_SUFFIX), path) for path in found)


def find_channel(
    name: str, *, node: str | None = None, root: Path | None = None, is_to_change: bool = False
) -> ChannelFile:
    """The channel called `md.trades`, `desk/md.trades` (with its node), or by the path of its file.

    Without a node: the default one's, or the only one of this name. With `is_to_change`, of who is about to change or remove it,
    the default one's alone: the same command given again must not reach another node's.
    Raises: ChannelNotFoundError naming what is there instead; ChannelUsageError when several nodes have one.
    """
    path = Path(name)
    if name.endswith(_SUFFIX) and len(path.parts) > 1:
        return ChannelFile(path.absolute().parent.name, path.name.removesuffix(_SUFFIX), path)
    if "/" in name and node is None:
        node, _, name = name.partition("/")
    directory = rings_root(root)
    if node is not None:
        found = ring_path(directory / node, name)
        if not found.exists():
            raise ChannelNotFoundError(_absent(name, directory, node), path=str(found))
        return ChannelFile(node, name, found)
    ring_path(directory, name)  # refuses what is no name
    files = [file for file in channel_files(root) if file.name == name]
    preferred = [file for file in files if file.node == DEFAULT_NODE] or files
    if is_to_change and files and preferred[0].node != DEFAULT_NODE:
        raise ChannelNotFoundError(
            f"no channel {name} of node {DEFAULT_NODE} in {directory}, which a name without a node means where something is changed; "
            f"name another one with its node: {', '.join(file.title for file in files)}",
            path=str(directory),
        )
    if not preferred:
        raise ChannelNotFoundError(_absent(name, directory, None), path=str(directory))
    if len(preferred) > 1:
        names = ", ".join(file.title for file in files)
        raise ChannelUsageError(f"several nodes have a channel {name}; name one: {names}", option="node")
    return preferred[0]


def _absent(name: str, directory: Path, node: str | None) -> str:
    files = channel_files(directory, node=node)
    where = directory if node is None else directory / node
    if not files:
        hint = "no node has run there as this user; start one with `tidebook run`, or create the channel"
        return f"no channel {name} in {where}: {hint}"
    names = list(dict.fromkeys(file.name for file in files))
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no channel {name} in {where}: {hint}there are {', '.join(names)}"
