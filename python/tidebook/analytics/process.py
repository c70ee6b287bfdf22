"""The analytics engine as a process of its own: node and process meet in channels and in the journal of `orders`, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tidebook.analytics.engine import AnalyticsEngine, AnalyticsStatus
from tidebook.observe.child import Child, serve


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `AnalyticsEngine`."""

    rings: str
    journal: str | None
    snapshots: str | None


_PLAN = msgspec.json.Decoder(_Plan)
_STATUS = msgspec.json.Decoder(AnalyticsStatus)


class AnalyticsProcess(Child[AnalyticsStatus]):
    """Has the engine run by a process of its own; used as `AnalyticsEngine`."""

    def __init__(self, rings: Path, *, journal: Path | None = None, snapshots: Path | None = None) -> None:
        """Nothing is started yet; arguments as of `AnalyticsEngine`."""
        plan = _Plan(
            rings=str(rings),
            journal=None if journal is None else str(journal),
            snapshots=None if snapshots is None else str(snapshots),
        )
        status = AnalyticsStatus(state="stopped", commands=0, records=0, missed=0, problem="")
        super().__init__("tidebook.analytics.process", "analytics", plan, status, _STATUS)


def _engine(plan: _Plan) -> AnalyticsEngine:
    return AnalyticsEngine(
        Path(plan.rings),
        journal=None if plan.journal is None else Path(plan.journal),
        snapshots=None if plan.snapshots is None else Path(plan.snapshots),
    )


if __name__ == "__main__":
    serve(_PLAN, _engine)
