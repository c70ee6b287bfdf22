"""Options that commands on channels share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

# The same words and help in every command.
Node = Annotated[str | None, Parameter(name="--node", help="Node to look at; default: all of them.")]
Rings = Annotated[
    Path | None,
    Parameter(name="--rings", help="Directory of nodes instead of $TIDEBOOK_RINGS or /dev/shm/tidebook-<uid>."),
]
AllowOthers = Annotated[
    bool, Parameter(name="--allow-others", negative="", help="Also a ring that others have made or could write.")
]
Peek = Annotated[bool, Parameter(name="--peek", negative="", help="Of a durable channel also what is not on disk yet.")]
