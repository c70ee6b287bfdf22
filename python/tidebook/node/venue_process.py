"""The venue's engine as a process of its own.

Node and process meet in the channels `orders.in`, `orders`, `executions` and `risk`, whose rings both map, and in nothing else: a process that was
killed left what it had judged on `orders`, so the next one goes on behind it with the same numbers, and whoever has the channels open
notices nothing but the time it took. When the node ends, however it ends, the engine stops with all that it was given journaled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from tidebook._core import VenueEngine
from tidebook.node.engine_process import EngineProcess, serve_engine
from tidebook.transport import open_channel

_CHANNEL: Final = "orders"


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
        super().__init__("tidebook.node.venue_process", "venue's engine", plan)
        try:
            self._ring = open_channel(_CHANNEL, directory=Path(plan.rings_dir)).ring
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


def _engine(plan: VenueEnginePlan) -> VenueEngine:
    return VenueEngine(**msgspec.structs.asdict(plan))


if __name__ == "__main__":
    serve_engine(_PLAN, _engine, lambda engine: engine.recovery)
