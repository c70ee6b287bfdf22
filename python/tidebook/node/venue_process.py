"""The venue's engine as a process of its own.

Node and process meet in the channels `orders.in`, `orders`, `executions` and `risk`, whose rings both map, and in nothing else: a process that was
killed left what it had judged on `orders`, so the next one goes on behind it with the same numbers, and whoever has the channels open
notices nothing but the time it took. That holds for the rings that they have: where one has lost its name, the next engine would make
another that only new readers have, so there is none, and the node ends. When the node ends, however it ends, the engine stops with all that it was given journaled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from tidebook._core import VenueEngine
from tidebook.node.engine_process import EngineProcess, serve_engine
from tidebook.transport import open_channel

_CHANNEL: Final = "orders"
_CHANNELS: Final = ("orders.in", _CHANNEL, "executions", "risk")


class VenueEnginePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `VenueEngine`."""

    rings_dir: str
    journal_dir: str
    snapshots_dir: str
    layout: str | None
    shards: int
    wait: str
    recheck: bool
    age_max_s: float
    segment_size_bytes: int
    closes_bars: bool


_PLAN = msgspec.json.Decoder(VenueEnginePlan)


class VenueEngineProcess(EngineProcess):
    """Runs the venue's engine in a process of its own; used as `VenueEngine`."""

    def __init__(self, plan: VenueEnginePlan) -> None:
        """Starts it and returns when it is open. Raises: as `VenueEngine`; ChannelError for a process that ended before."""
        self._files: dict[Path, tuple[int, int] | None] = {}
        """Device and number of each ring's file, as the first engine made it."""
        super().__init__("tidebook.node.venue_process", "venue's engine", plan)
        try:
            channels = {name: open_channel(name, directory=Path(plan.rings_dir)) for name in _CHANNELS}
            self._ring = channels[_CHANNEL].ring
            self._files = {channel.path: _file(channel.path) for channel in channels.values()}
        except BaseException:
            self.stop()
            raise

    @property
    def recovery(self) -> dict[str, Any]:
        """What the last start found."""
        return self._found

    def status(self) -> dict[str, Any]:
        """As of `VenueEngine`: `sequence` and `durable` are read now, everything else is what it said last."""
        durable = self._ring.durable  # before the other, which is never behind it
        return super().status() | {"sequence": self._ring.published, "durable": durable}

    def _lost(self) -> str | None:
        for path, file in self._files.items():
            if (now := _file(path)) != file:
                how = "was removed" if now is None else "is another file by now"
                return f"{path} {how}, while the node and who trades have it open; start them again"
        return None


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _engine(plan: VenueEnginePlan) -> VenueEngine:
    return VenueEngine(**msgspec.structs.asdict(plan))


if __name__ == "__main__":
    serve_engine(_PLAN, _engine, lambda engine: engine.recovery)
