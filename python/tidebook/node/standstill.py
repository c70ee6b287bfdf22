"""Sees a venue that is there and judges nothing: commands wait on `orders.in` and its engine takes none of them.

An engine that is stopped does not say so, nor does a producer that has claimed a message and keeps it, behind which everybody waits. Both
are seen on the ring: the engine's place in it stays where it is. What the ring says is enough, so it does not matter whose commands wait.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tidebook.gateway.destination import CHANNEL
from tidebook.transport import open_channel

if TYPE_CHECKING:
    from pathlib import Path

STILL_S: Final = 2.0
_LOOKS_MIN: Final = 4
"""So many, too: where the node itself was stopped, the engine is no slower for that."""
_ENGINE: Final = "risk"
"""Its reader of `orders.in`."""


class Standstill:
    """What is seen, look by look. Threads: `look` from one, `now` from any."""

    def __init__(self, rings: Path) -> None:
        """Raises: ChannelError where there is no such channel."""
        self._ring = open_channel(CHANNEL, directory=rings).ring
        self._place = 0
        self._looks = 0
        self._began = 0.0
        self._since = ""
        self.now: str | None = None
        """What stands still, since when and why, behind the words "the engine"; None while it goes on."""

    def look(self, *, is_running: bool) -> None:
        """`is_running`: there is an engine that could take commands."""
        status = self._ring.status()
        place, waiting = next(
            ((found["next"], found["lag"]) for found in status["consumers"] if found["name"] == _ENGINE), (0, 0)
        )
        waits = waiting > 0 or status["stuck"] is not None
        if not is_running or not waits or place != self._place or self._looks == 0:
            self._place, self._looks = place, int(is_running and waits)
            self._began, self._since = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            self.now = None
            return
        self._looks += 1
        if self._looks >= _LOOKS_MIN and time.monotonic() - self._began >= STILL_S:
            self.now = f"takes no command since {self._since}: {_why(status, waiting)}"


def _why(status: dict[str, Any], waiting: int) -> str:
    if status["stuck"] is None:
        return f"{waiting} of {CHANNEL} wait"
    sequence, line = status["stuck"]
    holder = next((found["process_id"] for found in status["producers"] if found["line"] == line), 0)
    return f"process {holder} has claimed message {sequence} of {CHANNEL} and does not commit it"
