"""Bars and outages of a market as a chart wants them: what this process has seen, behind what is stored.

The two overlap, since a store lags and what is seen begins when a process does: where both have a bar, what was seen
counts. The history is asked in a worker thread, one request at a time, because reading Parquet takes what cores there are.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from tidebook.api.bars import SECOND_NS, TIMEFRAMES, Bar
from tidebook.api.history import History
from tidebook.api.outages import Outage, in_order
from tidebook.api.view import InstrumentView

_Found = TypeVar("_Found")


class Charts:
    """Answers about the past of the markets of one view."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._asking = asyncio.Lock()

    async def bars(
        self, market: InstrumentView, timeframe: str, now_ns: int, before_ns: int | None, count: int
    ) -> tuple[list[Bar], list[Bar]]:
        """The newest `count` bars that begin before `before_ns`, rising: closed ones and those that are open."""
        if before_ns is None:
            await self._complete_open_bar(market, timeframe, now_ns)
        bars = market.bars
        kept = bars.closed(timeframe).before(before_ns, count)
        if len(kept) < count:
            wanted, upto = count - len(kept), kept[0].ts_open if kept else before_ns or now_ns
            older = await self._ask(partial(self._history.bars, market.name, timeframe, upto, wanted))
        else:
            older = ()
        opened = bars.opened(timeframe) if before_ns is None else []
        # Bars may have closed while the history answered.
        closed = {bar.ts_open: bar for bar in (*older, *kept, *bars.closed(timeframe).before(before_ns, count))}
        begun = {bar.ts_open for bar in opened}
        rising = [closed[ts_open] for ts_open in sorted(closed) if ts_open not in begun]
        return rising[max(0, len(rising) + len(opened) - count) :], opened[-count:]

    async def outages(self, market: InstrumentView, start_ns: int, end_ns: int) -> list[Outage]:
        """Outages within [`start_ns`, `end_ns`), in order of their beginning."""
        seen = market.all_outages()
        stored = await self._ask(partial(self._history.outages, market.name, start_ns, end_ns))
        known = {outage.since for outage in seen}
        # One that lasted when it was stored, or is told by the store too, is the same one.
        both = in_order(seen, (outage for outage in stored if outage.since not in known))
        return [
            outage for outage in both if outage.since < end_ns and (outage.until is None or outage.until > start_ns)
        ]

    async def _complete_open_bar(self, market: InstrumentView, timeframe: str, now_ns: int) -> None:
        """Fills in the closed bars that an open one is made of and that this process did not see."""
        for finer, since, until in market.bars.lacks(timeframe, now_ns):
            wanted = (until - since) // (TIMEFRAMES[finer] * SECOND_NS) + 1
            found = await self._ask(partial(self._history.bars, market.name, finer, until, wanted))
            market.bars.fill(finer, since, (bar for bar in found if bar.ts_open >= since))

    async def _ask(self, question: Callable[[], _Found]) -> _Found:
        async with self._asking:
            return await asyncio.to_thread(question)
