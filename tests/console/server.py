"""A node's face without a node: the real API and the built page over a seeded market, as a process of its own.

    python -m tests.console.server --port 8080 --seed 7

`--scene` chooses what the market does: `live` trades on and may lack trades of every tenth second, `many` has 500
instruments of three venues and one book in fifty unusable, `empty` has no instruments, `stale` falls silent after it has
shown something, `gap` stays without a usable book from its last second before the page can be opened, `sessions` has
instruments of the node's own venue too, of which one collects orders, one is halted and one has bids alone. All have had an
outage of four seconds by then, and a past of hours. It is what the browser tests open, and kill.
"""

import argparse
import asyncio
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvloop

from tests.market import LISTINGS, ClosedBars, Depths, SyntheticMarket, many, records
from tidebook.analytics import MARKET, MARKETS_CHANNEL
from tidebook.api import Bar, Batch, MarketView, Outage, create_app, listen, serving
from tidebook.api.bars import TIMEFRAMES
from tidebook.api.windows import Windows
from tidebook.console import mount_console
from tidebook.feeds.status import StatusKind

STEP_NS = 40_000_000
WARM_STEPS = 700
MANY = 500
MANY_STEP_NS = 500_000_000
MANY_WARM_STEPS = 10
SILENT_AFTER_STEPS = 40
SECOND_NS = 1_000_000_000
UNPROVEN = 4
"""The flag of a bar that may lack trades."""
DOUBTED_NS = 10 * SECOND_NS
"""Seconds that begin a multiple of this may lack trades, and so does every bar that one of them is in."""

OUTAGE_STEPS = (200, 300)
"""Steps at which an outage of every book begins and ends, long before the page is opened."""
GAP_STEP = WARM_STEPS - 25

PAST_BARS = 1_300
"""Bars of each timeframe that the history has."""
PAST_OUTAGE_S = (2_400, 2_220)
"""When an outage in the history began and ended, seconds before the start."""


@dataclass
class MadeUpPast:
    """A history of BTCUSDT that is a function of time."""

    until_ns: int

    def bars(self, instrument: str, timeframe: str, before_ns: int, count: int) -> Sequence[Bar]:
        """A wave that ends where the market begins."""
        if instrument != LISTINGS[0].symbol:
            return ()
        interval = TIMEFRAMES[timeframe] * SECOND_NS
        newest = (self.until_ns // interval) * interval - interval
        oldest = newest - (PAST_BARS - 1) * interval
        last = min(newest, (before_ns - 1) // interval * interval)
        first = max(oldest, last - (count - 1) * interval)
        return [self._bar(ts_open, interval) for ts_open in range(first, last + 1, interval)]

    def outages(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Outage]:  # noqa: ARG002
        """One, of every instrument."""
        since, until = (self.until_ns - seconds * SECOND_NS for seconds in PAST_OUTAGE_S)
        return [Outage(since, until, "disconnected")] if since < end_ns and until > start_ns else ()

    def _bar(self, ts_open: int, interval: int) -> Bar:
        def price(ns: int) -> int:
            age = (self.until_ns - ns) / interval
            return round(6_183_763 + 900 * math.sin(age / 11) + 400 * math.sin(age / 3))

        start, end = price(ts_open), price(ts_open + interval)
        number = ts_open // interval
        high, low = max(start, end) + number % 5 * 40, min(start, end) - number % 7 * 30
        volume = 100_000 + number % 13 * 30_000
        return Bar(ts_open, start, high, low, end, volume, volume // 2, 9, 0, 0, 2, 5)


@dataclass
class SceneSource:
    """A record source that lets the market run on the wall clock."""

    scene: str
    seed: int
    _market: SyntheticMarket = field(init=False)
    _stepped_ns: int = 0
    _step_ns: int = STEP_NS
    _warm_steps: int = WARM_STEPS
    _steps: int = 0
    _depths: Depths = field(default_factory=Depths)
    _bars: ClosedBars = field(default_factory=ClosedBars)
    _healthy_ns: int = 0

    def __post_init__(self) -> None:
        crowd = self.scene == "many"
        self._market = SyntheticMarket(self.seed, many(MANY) if crowd else LISTINGS)
        self._step_ns, self._warm_steps = (MANY_STEP_NS, MANY_WARM_STEPS) if crowd else (STEP_NS, WARM_STEPS)
        # A market with some history, so that the first picture is not of its first second.
        self._stepped_ns = time.time_ns() - self._warm_steps * self._step_ns

    def poll(self) -> Iterator[Batch]:
        now = time.time_ns()
        if self.scene == "empty":
            return
        if self._steps == 0:
            yield self._market.definitions(self._stepped_ns)
            if self.scene == "sessions":
                yield from own_venue(self._stepped_ns)
        while self._stepped_ns + self._step_ns <= now:
            self._stepped_ns += self._step_ns
            silent = self.scene == "stale" and self._steps > WARM_STEPS + SILENT_AFTER_STEPS
            yield from self._health(0 if silent else 50)
            if silent:
                continue
            self._steps += 1
            yield from self._statuses()
            trades = None
            for batch in self._market.step(self._stepped_ns):
                if batch.channel == "md.book":
                    self._spoil(batch)
                    if self.scene != "many":
                        yield self._depths.of(batch.records)
                trades = batch.records if batch.channel == "md.trades" else trades
                yield batch
            bars = self._bars.of(trades, self._stepped_ns)
            if self.scene == "live":
                ends = bars.records["ts_open"] + bars.records["interval_s"].astype("<i8") * SECOND_NS
                doubted = -(-bars.records["ts_open"] // DOUBTED_NS) * DOUBTED_NS < ends
                bars.records["flags"] |= np.where(doubted, UNPROVEN, 0).astype("u1")
            yield bars

    def _usable(self) -> bool:
        outage = OUTAGE_STEPS[0] <= self._steps < OUTAGE_STEPS[1]
        return not (outage or (self.scene == "gap" and self._steps >= GAP_STEP))

    def _spoil(self, images: Batch) -> None:
        if self.scene == "many":
            images.records["usable"] = images.records["instrument_id"] % 50 != 49
        elif not self._usable():
            images.records["usable"] = 0

    def _statuses(self) -> Iterator[Batch]:
        """What happens to every book at this step."""
        if self.scene == "many":
            return
        kinds = {OUTAGE_STEPS[0]: StatusKind.BOOK_UNUSABLE, OUTAGE_STEPS[1]: StatusKind.BOOK_USABLE}
        if self.scene == "gap":
            kinds[GAP_STEP] = StatusKind.BOOK_UNUSABLE
        kind = kinds.get(self._steps)
        if kind is not None:
            common: dict[str, Any] = {"kind": kind, "reason": StatusKind.GAP, "ts_recv": self._stepped_ns}
            rows = [{**common, "instrument_id": listing.instrument_id} for listing in LISTINGS]
            yield Batch("md.status", records("md.status", *rows))

    def _health(self, messages: int) -> Iterator[Batch]:
        """How every feed does, once a second."""
        if self._stepped_ns - self._healthy_ns < SECOND_NS:
            return
        interval = min(SECOND_NS, self._stepped_ns - self._healthy_ns)
        self._healthy_ns = self._stepped_ns
        common = {"ts_recv": self._stepped_ns, "interval_ns": interval, "messages": messages}
        venues = {listing.instrument_id >> 24 for listing in self._market.listings}
        rows = [{**common, "instrument_id": (venue << 24) + (1 << 24) - 1} for venue in sorted(venues)]
        yield Batch("md.health", records("md.health", *rows))


@dataclass
class MadeUpWindows:
    """One minute of BTCUSDT, told once."""

    told: bool = False

    def poll(self) -> Iterator[Batch]:
        if not self.told:
            self.told = True
            minute = np.zeros(1, MARKET)
            minute["instrument_id"], minute["interval_s"] = LISTINGS[0].instrument_id, 60
            minute["volume"], minute["vwap"], minute["spread_bps"] = 12.3456, 61_837.249, 0.1234
            minute["volatility"], minute["trade_imbalance"] = 0.00014, 0.24
            yield Batch(MARKETS_CHANNEL, minute)


AUCTION, HALTED, ONE_SIDED = ("AUC-USD.LOCAL", "HAL-USD.LOCAL", "ONE-USD.LOCAL")
_OWN = 12 << 24


def own_venue(now_ns: int) -> Iterator[Batch]:
    """Three instruments with two decimals of price and three of size, and where trading in them stands."""
    symbols = (AUCTION, HALTED, ONE_SIDED)
    common = {"price_exp": 2, "size_exp": 3, "ts_recv": now_ns, "ts_event": now_ns}
    ids = [{**common, "instrument_id": _OWN | index} for index in range(len(symbols))]
    steps = {"tick": 1, "lot": 1, "instrument_version": 1}
    yield Batch(
        "md.instruments",
        records("md.instruments", *({**one, **steps, "symbol": name} for one, name in zip(ids, symbols, strict=True))),
    )
    status = {"ts_recv": now_ns, "ts_event": now_ns, "kind": StatusKind.SESSION_CHANGED}
    sessions = [{**status, "instrument_id": _OWN | index, "found": number} for index, number in enumerate((2, 4, 3))]
    indicative = {**status, "instrument_id": _OWN, "kind": StatusKind.INDICATIVE_PRICE, "found": 300_050, "count": 500}
    yield Batch("md.status", records("md.status", *sessions, indicative))

    def side(*levels: tuple[int, int]) -> tuple[list[int], list[int]]:
        padded = [*levels, *[(0, 0)] * (25 - len(levels))]
        return [price for price, _ in padded], [size for _, size in padded]

    books = (
        (side((300_100, 2_000), (300_000, 500)), side((300_000, 500), (300_200, 700))),
        (side((10_000, 1_000)), side((10_050, 1_000))),
        (side((600_000, 1_500), (599_900, 250)), side()),
    )
    images = [
        {
            **one,
            "usable": 1,
            **dict(zip(("bid_price", "bid_size", "ask_price", "ask_size"), (*bids, *asks), strict=True)),
            "bid_count": sum(map(bool, bids[1])),
            "ask_count": sum(map(bool, asks[1])),
        }
        for one, (bids, asks) in zip(ids, books, strict=True)
    ]
    yield Batch("md.book", records("md.book", *images))


async def listings() -> list[dict[str, Any]]:
    """What the venue lists, as far as the page asks for it."""
    return [{"instrument": HALTED, "band_ppm": 50_000}, {"instrument": AUCTION, "band_ppm": 0}]


FAILED = "no windows of analytics are made: a record is damaged"


async def serve(port: int, scene: str, seed: int) -> None:
    source = SceneSource(scene, seed)
    past = MadeUpPast(time.time_ns() - WARM_STEPS * STEP_NS)
    windows = Windows(MadeUpWindows().poll) if scene == "live" else None
    failed = FAILED if scene == "gap" else None
    app = create_app(MarketView(["binance"]), source, history=past, windows=windows, degraded=lambda: failed)
    if scene == "sessions":
        app.add_api_route("/api/v1/venue/instruments", listings)
    mount_console(app)
    async with serving(app, listen(port=port)):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--scene", choices=["live", "many", "empty", "stale", "gap", "sessions"], default="live")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.port, arguments.scene, arguments.seed))


if __name__ == "__main__":
    main()
