"""Options that commands on channels share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidebook.errors import ChannelNotFoundError

if TYPE_CHECKING:
    from tidebook.transport.view import ChannelFile

# The same words and help in every command.
Node = Annotated[str | None, Parameter(name="--node", help="Node to look at; default: all of them.")]
Rings = Annotated[
    Path | None,
    Parameter(name="--rings", help="Directory of nodes instead of $TIDEBOOK_RINGS or /dev/shm/tidebook-UID."),
]
AllowOthers = Annotated[
    bool, Parameter(name="--allow-others", negative="", help="Also a ring that others have made or could write.")
]
Peek = Annotated[bool, Parameter(name="--peek", negative="", help="Of a durable channel also what is not on disk yet.")]


def all_channels(node: str | None, rings: Path | None) -> list[ChannelFile]:
    """The channels of a node, or of all. Raises: ChannelNotFoundError for a node without any, naming those that have some."""
    from tidebook.transport.view import channel_files, rings_root

    found = channel_files(rings, node=node)
    if node is not None and not found:
        nodes = sorted({file.node for file in channel_files(rings)})
        hint = f"nodes with channels are {', '.join(nodes)}" if nodes else "nor has any other node"
        raise ChannelNotFoundError(
            f"node {node} has no channels in {rings_root(rings)}; {hint}", path=str(rings_root(rings))
        )
    return found
