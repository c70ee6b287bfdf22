"""The market data engine as a process of its own.

It reads `feed.*`, `orders` and their journals, and writes `md.*`, as a thread of the node does; connectors and captures stay in the node. A
process that was killed left in `md.*`, and in the table beside them, how far it had come, so the next one goes on behind that without a gap or
a record twice, as at any start: from the newest snapshot of each feed on. What is received meanwhile is in the journals. The node asks it
one thing that no channel tells: of which instruments the records were that a reader lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from tidebook._core import MarketDataEngine
from tidebook.node.engine_process import EngineProcess, serve_engine

_ANSWER_S: Final = 0.05
"""So long the API's event loop may wait for it; without an answer all books are in doubt until they are told again."""


class MarketDataPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `MarketDataEngine`."""

    feeds: dict[str, str]
    rings_dir: str
    venue: tuple[str, str] | None
    snapshots_dir: str
    wait: str
    cpu: int | None
    lock_memory: bool
    huge_pages: bool
    numa_node: int | None
    seccomp: str


_PLAN = msgspec.json.Decoder(MarketDataPlan)


class MarketDataProcess(EngineProcess):
    """Runs the market data engine in a process of its own; used as `MarketDataEngine`."""

    def __init__(self, plan: MarketDataPlan) -> None:
        """Starts it and returns when it is open. Raises: as `MarketDataEngine`; ChannelError for a process that ended before."""
        super().__init__("tidebook.node.market_data_process", "market data engine", plan)

    def status(self) -> dict[str, Any]:
        """As of `MarketDataEngine`, as it was said last."""
        return super().status() | {"failure": self.failure}

    @property
    def made_anew(self) -> str | None:
        """As of `MarketDataEngine`, of the last start, as what follows."""
        found: str | None = self._found["made_anew"]
        return found

    @property
    def taken_up(self) -> list[tuple[str, int, list[str]]]:
        """As of `MarketDataEngine`."""
        return [(venue, behind, refused) for venue, behind, refused in self._found["taken_up"]]

    @property
    def in_force(self) -> list[tuple[str, str, bool, str]]:
        """As of `MarketDataEngine`."""
        return [(of, option, is_so, detail) for of, option, is_so, detail in self._found["in_force"]]

    def whose(self, channel: str, first: int, count: int) -> dict[int, int] | None:
        """As of `MarketDataEngine`; None too where it does not answer at once, or was started again since."""
        found = self._ask((channel, first, count), _ANSWER_S)
        return None if found is None else {int(instrument_id): records for instrument_id, records in found.items()}


MarketData = MarketDataEngine | MarketDataProcess


def engine_of(plan: MarketDataPlan, beside: Any = None) -> MarketDataEngine:
    """The engine as threads of this process; `beside` is a venue's, in whose thread it takes turns."""
    return MarketDataEngine(
        {venue: Path(journal) for venue, journal in plan.feeds.items()},
        plan.rings_dir,
        venue=None if plan.venue is None else (Path(plan.venue[0]), Path(plan.venue[1])),
        snapshots_dir=plan.snapshots_dir,
        wait=plan.wait,
        cpu=plan.cpu,
        lock_memory=plan.lock_memory,
        huge_pages=plan.huge_pages,
        numa_node=plan.numa_node,
        seccomp=plan.seccomp,
        beside=beside,
    )


def _found(engine: MarketDataEngine) -> dict[str, Any]:
    return {"made_anew": engine.made_anew, "taken_up": engine.taken_up, "in_force": engine.in_force}


def _whose(engine: MarketDataEngine, question: Any) -> dict[int, int] | None:
    channel, first, count = question
    return engine.whose(channel, first, count)


if __name__ == "__main__":
    serve_engine(_PLAN, engine_of, _found, _whose)
