"""`python -m benches.venue_trader LAYOUT WAIT PER_S COUNT`: the whole way of a strategy in Python, a round for each line on standard input.

A message of a feed goes to the market data engine, its record to the strategy, the strategy's order to the venue, its execution back: engines and
channels of a node, and of Python what its users have: `tb.open_consumer` and `tb.connect`. The strategy's thread also plays the connector: it writes a
message when it is due, so there are no more threads than a machine of two cores has room for. Each message counts from when it was due. The twin in
Rust is `venue_chain trade` (`crates/plane/examples`), which is asked and answers in the same way.
"""

import contextlib
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tidebook as tb
from tidebook._core import MarketDataEngine, Ring, RingProducer, VenueEngine, pack_message
from tidebook.feeds.sink import MessageKind
from tidebook.transport import Gap
from tidebook.venue import Session, Side, account, instrument, session, transfer

STAGES = ("due_seen", "seen_taken", "taken_acknowledged", "taken_back", "total")
GAP_NS = 1_000_000
"""A turn that places an order takes some hundred microseconds where others share the machine; more is no work of ours."""
Times = np.ndarray[Any, np.dtype[np.int64]]
"""ns since 1970."""
TRADE = '{{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":{},"p":"61800.01","q":"0.00500","T":1700000000000,"m":false,"M":true}}'


def main() -> None:
    layout, wait, per_s, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir="/dev/shm") as folder:
        trader = Trader(Path(folder), layout, wait)
        # As a strategy that must not pause does.
        gc.collect()
        gc.freeze()
        gc.disable()
        for _ in sys.stdin:
            print(json.dumps(told(*trader.round(per_s, count))) + "\n", flush=True)
        trader.stop()


class Trader:
    """Both engines, a feed, and a strategy that places a buy or a sell in turn, whatever traded."""

    def __init__(self, directory: Path, layout: str, wait: str) -> None:
        self._feed = RingProducer(Ring.create_frames(directory / "feed.binance.ring", 1 << 20, parking=True))
        self._write(MessageKind.STATE, b'{"event":"connected"}')
        self._engine = VenueEngine(directory, directory / "orders", durability="memory", layout=layout, wait=wait)
        beside = self._engine if layout == "together" else None
        self._market_data = MarketDataEngine({"binance": directory / "none"}, directory, wait=wait, beside=beside)
        while not self._market_data.status()["live"]:
            time.sleep(0.001)
        self._trades = tb.open_consumer("md.trades", directory=directory, start="latest", policy="overwrite")
        self._venue = tb.connect(directory=directory)
        opening = [
            instrument(1, tick=1, lot=1, size_max=1_000_000, base_asset=1, quote_asset=2, price_exp=0, size_exp=0)
        ]
        for number in (1, 2):
            opening += [account(number), transfer(number, 1, 10**12), transfer(number, 2, 10**12)]
        opening.append(session(1, Session.CONTINUOUS))
        judged = [self._venue.submit(record, wait="memory") for record in opening]
        assert all(one.accepted.all() for one in judged)
        self._sent = 0

    def _write(self, kind: MessageKind, body: bytes) -> None:
        self._feed.write(pack_message(time.time_ns(), 1, kind, body))

    def round(self, per_s: int, count: int) -> tuple[Times, "Stalls"]:
        """Of each message when it was due, seen by the strategy, taken by the venue, acknowledged, and its execution in the strategy's hands."""
        times = np.zeros((count, 5), np.int64)
        gap_ns = 10**9 // per_s
        place, trades, clock = self._venue.place, self._trades, time.time_ns
        first, written, index = self._sent + 1, 0, 0
        stalls = Stalls()
        begin = clock() + gap_ns
        while index < count:
            stalls.turn()
            if written < count and begin + written * gap_ns <= clock():
                times[written, 0] = begin + written * gap_ns
                self._write(MessageKind.WS, TRADE.format(first + written).encode())
                written += 1
            batch = trades.poll_batch(timeout=0)
            if batch is None:
                continue
            assert not isinstance(batch, Gap), batch
            with batch:
                ids = batch.array["trade_id"].tolist()
            for trade_id in ids:
                assert trade_id == first + index
                seen = clock()
                side = Side.SELL if index % 2 else Side.BUY
                judged = place(1 + index % 2, 1, side, price=100, size=1, wait="memory")
                acknowledged = clock()
                executions = self._executions(int(judged.sequences[0]))
                times[index, 1:] = seen, int(executions["ts"][0]), acknowledged, clock()
                index += 1
        self._sent += count
        return times, stalls

    def _executions(self, sequence: int) -> Any:
        """Those of the command of this place on `orders`."""
        while True:
            found = self._venue.executions(timeout=1.0)
            assert not isinstance(found, Gap), found
            own = found[found["source_sequence"] == sequence]
            if len(own):
                return own

    def stop(self) -> None:
        self._trades.close()
        self._venue.close()
        self._market_data.stop()
        self._engine.stop()
        self._feed.close()


class Stalls:
    """What the machine took away meanwhile, as `venue_chain` tells it."""

    def __init__(self) -> None:
        self._before = waited_ns()
        self._gaps = self._longest_ns = 0
        self._began = self._last = time.perf_counter_ns()

    def turn(self) -> None:
        """The loop is at its top again."""
        now = time.perf_counter_ns()
        took, self._last = now - self._last, now
        self._longest_ns = max(self._longest_ns, took)
        self._gaps += took > GAP_NS

    def told(self) -> dict[str, float]:
        """The round is over."""
        waited = {task: ns - self._before.get(task, 0) for task, ns in waited_ns().items()}
        took_s = (self._last - self._began) / 1e9
        gaps, longest = self._gaps, self._longest_ns
        return {"waited_ns": sum(waited.values()), "gaps": gaps, "longest_gap_ns": longest, "took_s": took_s}


def told(times: Times, stalls: Stalls) -> dict[str, Any]:
    """p50 and p99 of each stage, ns; the first tenth of the round wakes who slept and is left out."""
    due, seen, taken, acknowledged, back = times[len(times) // 10 :].T
    parts = (seen - due, taken - seen, acknowledged - taken, back - taken, back - due)
    found: dict[str, Any] = {"chain": "trade", **stalls.told()}
    for stage, part in zip(STAGES, parts, strict=True):
        found[stage] = [int(np.quantile(part, share)) for share in (0.5, 0.99)]
    return found


def waited_ns() -> dict[str, int]:
    """Time that each thread of this process could have run and had no core."""
    waited = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError, IndexError):
            waited[task.name] = int((task / "schedstat").read_text().split()[1])
    return waited


if __name__ == "__main__":
    main()
