"""Where each engine of a node runs, for who asks: as threads of it, or as a process that it keeps running."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from tidebook.api import EngineState
from tidebook.node.engine_process import EngineProcess
from tidebook.observe.child import Child

if TYPE_CHECKING:
    from tidebook.analytics import AnalyticsEngine
    from tidebook.analytics.process import AnalyticsProcess
    from tidebook.node.hosted_venue import HostedVenue
    from tidebook.node.market_data_process import MarketData


def engine_states(
    market_data: MarketData, venue: HostedVenue | None, analytics: AnalyticsEngine | AnalyticsProcess | None
) -> list[EngineState]:
    """Of those that there are."""
    found: list[tuple[str, object]] = [("market_data", market_data)]
    if venue is not None:
        found.append(("venue", venue.engine))
        if venue.audit is not None:
            found.append(("audit", venue.audit))
    if analytics is not None:
        found.append(("analytics", analytics))
    states = [_state(name, engine) for name, engine in found]
    return [state if venue is None or state.engine != "venue" else replace(state, away=venue.away) for state in states]


def _state(name: str, engine: object) -> EngineState:
    if isinstance(engine, EngineProcess | Child):
        return EngineState(name, "process", engine.process, engine.away)
    return EngineState(name, "thread", os.getpid(), None)
