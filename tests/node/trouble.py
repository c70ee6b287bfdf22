"""A day of trouble on five simulated venues, compressed into minutes, under a node as a user runs it.

An hour is a handful of faults on each venue, the first of all a disconnect, a stall, a gap and a message longer than all
others, then a checkpoint: the venues are stopped, and every book that the node's API gives must be the venue's own. Open
files, sockets and memory of the node are taken there too. The venues are processes of their own, so what they keep is not
the node's.

Run as a program for a report: python -m tests.node.trouble HOURS SEED
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tidebook._core import FeedDecoder, JournalReader, instrument_name, unpack_message
from tidebook.feeds.registry import FEEDS
from tidebook.feeds.sink import MessageKind

RATE = 300
LEVELS = 25
STALLED_AFTER_S = 2.0
LONG_STALL_S = 3.5
TROUBLES_AN_HOUR = 3
# On Binance many snapshots use up the minute's weight, and the next one waits for the next minute.
DEADLINE_S = 120.0

BOOKS = {
    "binance": "*@depth*",
    "binance-usdm": "*@depth*",
    "coinbase": "level2*",
    "coinbase-advanced": "level2:*",
    "kraken": "book-*",
}

Fault = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The node at the end of an hour, all its books equal to the venues' own."""

    hour: int
    files: int
    sockets: int
    """To the venues."""
    memory_bytes: int
    """That only the node has, but for rings, which are as large as they are made, and loaded libraries, whose pages are only
    its own for as long as no other process of the machine has loaded them."""


@dataclass(frozen=True)
class Found:
    """Troubles of one venue, as the node captured and decoded them."""

    disconnects: int
    """Sessions that the venue ended."""
    stalls: int
    """Sessions given up because nothing came."""
    gaps: int
    """Messages or trades that never came, and books that lost their checksum."""


@dataclass(frozen=True)
class Day:
    """What a day of trouble came to."""

    checkpoints: list[Checkpoint]
    faults: dict[str, int]
    """Kind -> how many were asked for."""
    found: dict[str, Found]
    """What each venue's journal tells of them."""
    books_compared: int
    gaps: int
    resyncs: int
    reconnects: int
    seconds: float


def certain_troubles(venue: str) -> list[list[Fault]]:
    """What every venue has once at least, and before all else: a connection lost, one that falls silent, messages that never
    come, and one longer than all others, to which every buffer on its way grows.

    Coinbase Exchange numbers no changes of a book, so there it is trades that are lost.
    """
    lost = "matches:*" if venue == "coinbase" else BOOKS[venue]
    return [
        [{"kind": "disconnect"}],
        [{"kind": "stall", "seconds": LONG_STALL_S}],
        [{"kind": "drop", "stream": lost, "count": 4}],
        [{"kind": "huge", "size_bytes": 1 << 20}],
    ]


def troubles(venue: str) -> list[list[Fault]]:
    """What may go wrong on a venue and can be found by its own means; what belongs together in one list."""
    book = BOOKS[venue]
    found: list[list[Fault]] = [
        *certain_troubles(venue),
        [{"kind": "disconnect", "stream": book}, {"kind": "refuse", "status": 503, "count": 2}],
        [{"kind": "close"}],
        [{"kind": "shutdown", "seconds": 0.3}],
        [{"kind": "malformed", "stream": book, "count": 2}],
        [{"kind": "duplicate", "stream": book, "count": 3}],
        [{"kind": "slow", "seconds": 0.5}],
    ]
    if venue != "coinbase":
        found += [
            [{"kind": "drop", "stream": book, "count": 2}],
            [{"kind": "reorder", "stream": book}],
            [{"kind": "stall", "seconds": 0.7}],
        ]
    if venue in ("binance", "binance-usdm"):
        found.append([{"kind": "disconnect", "stream": book}, {"kind": "rest", "status": 503}])
    if venue == "coinbase-advanced":
        found.append([{"kind": "sequence"}])
    if venue == "kraken":
        found.append([{"kind": "checksum", "count": 2}])
    return found


def ask(url: str, body: Any = None) -> Any:
    """The answer as JSON, its numbers exact; a body makes it a POST."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=20) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.1)


@contextlib.contextmanager
def tidebook(*words: str, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A command in a process of its own, and the line with which it says that it is ready."""
    command = [sys.executable, "-m", "tidebook", *words, "--json"]
    with subprocess.Popen(
        command, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


class Trouble:
    """Five venues and a node, all running."""

    def __init__(
        self, node: psutil.Process, address: str, rings: Path, venues: dict[str, dict[str, Any]], seed: int
    ) -> None:
        self.faults: dict[str, int] = {}
        self.books_compared = 0
        self._node = node
        self._api = f"{address}/api/v1"
        self._rings = f"{rings}/"
        self._venues = venues
        self._choose = random.Random(seed)
        self._due = {venue: certain_troubles(venue) for venue in venues}
        for due in self._due.values():
            self._choose.shuffle(due)

    def feeds(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ask(f"{self._api}/feeds")
        return found

    def until_good(self) -> None:
        """Waits until every book may be used."""
        symbols = sum(len(facts["symbols"]) for facts in self._venues.values())
        wait_for(lambda: sum(feed["books_usable"] for feed in self.feeds()) == symbols, f"good books: {self.feeds()}")

    def hour(self, number: int) -> Checkpoint:
        """Faults on every venue, then a checkpoint."""
        for _ in range(TROUBLES_AN_HOUR):
            for venue, facts in self._venues.items():
                due = self._due[venue]
                chosen = due.pop() if due else self._choose.choice(troubles(venue))
                for fault in chosen:
                    self.faults[fault["kind"]] = self.faults.get(fault["kind"], 0) + 1
                ask(f"{facts['rest']}/sim/faults", chosen)
            time.sleep(self._choose.uniform(0.1, 0.8))
        for venue, facts in self._venues.items():
            wait_for(partial(had_its_faults, facts["rest"]), f"{venue} had its faults")
        # What a fault took is found by what comes after it, and nothing comes from a venue that is stopped.
        time.sleep(LONG_STALL_S + 0.5)
        self.until_good()
        return self._checkpoint(number)

    def _checkpoint(self, number: int) -> Checkpoint:
        for facts in self._venues.values():
            ask(f"{facts['rest']}/sim/pause", {})
        for venue, facts in self._venues.items():
            for symbol in facts["symbols"]:
                truth = levels(ask(f"{facts['rest']}/sim/book?symbol={symbol}&levels={LEVELS}"))
                self._compare(instrument_name(venue, symbol), truth)
        found = Checkpoint(number, self._node.num_fds(), self._sockets(), self._memory_bytes())
        for facts in self._venues.values():
            ask(f"{facts['rest']}/sim/resume", {})
        return found

    def _compare(self, instrument: str, truth: list[list[tuple[Decimal, Decimal]]]) -> None:
        ours: dict[str, Any] = {}

        def equal() -> bool:
            ours.update(ask(f"{self._api}/depth?instrument={instrument}&limit={LEVELS}"))
            return bool(ours["usable"]) and levels(ours) == truth

        try:
            wait_for(equal, instrument)
        except AssertionError as error:
            raise AssertionError(
                f"{instrument}, usable {ours['usable']}: {[side[:3] for side in levels(ours)]} is not "
                f"{[side[:3] for side in truth]}"
            ) from error
        self.books_compared += 1

    def _memory_bytes(self) -> int:
        maps = self._node.memory_maps()
        own = (one for one in maps if ".so" not in one.path and not one.path.startswith(self._rings))
        return sum(one.private_clean + one.private_dirty for one in own)

    def _sockets(self) -> int:
        ports = {facts["port"] for facts in self._venues.values()}
        return sum(bool(one.raddr) and one.raddr.port in ports for one in self._node.net_connections("tcp"))


def found_in_journal(data: Path, venue: str) -> Found:
    """Decodes all that was captured of a venue."""
    decoder, reader = FeedDecoder(venue), JournalReader(data / f"journal/feed.{venue}")
    disconnects, stalls = 0, 0
    while read := reader.next(1_000):
        sequence, payloads = read
        decoder.decode(sequence, payloads)
        for index in range(len(payloads)):
            _, _, kind, _, body = unpack_message(payloads[index])
            if kind == MessageKind.STATE and b'"event":"disconnected"' in body:
                reason = json.loads(body)["reason"]
                stalls += reason.startswith("stalled")
                disconnects += not reason.startswith(("stalled", "stopped"))
    return Found(disconnects, stalls, decoder.report()["counters"]["gaps"])


def had_its_faults(rest: str) -> bool:
    return bool(ask(f"{rest}/sim/status")["faults_pending"] == 0)


def levels(book: dict[str, Any]) -> list[list[tuple[Decimal, Decimal]]]:
    """Both sides as numbers: venues differ in how they write them."""
    return [[(Decimal(price), Decimal(size)) for price, size in book[side]] for side in ("bids", "asks")]


def run_day(directory: Path, hours: int, seed: int) -> Day:
    """Runs a node through the hours and ends it as Ctrl-C would."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        rings = directory / "rings"
        rings.mkdir(mode=0o700)
        environment = {"TIDEBOOK_RINGS": str(rings), "TIDEBOOK_LOG_LEVEL": "error"}
        venues = {}
        for venue, kind in FEEDS.items():
            words = ("simulate", venue, "--port", "0", "--rate", str(RATE), "--seed", str(seed))
            _, venues[venue] = stack.enter_context(tidebook(*words, "--until-stdin-closes", environment={}))
            endpoints = kind.protocol.local(venues[venue]["port"])
            key = f"TIDEBOOK_{venue.upper().replace('-', '_')}"
            environment |= {f"{key}_WS_URL": endpoints.ws, f"{key}_REST_URL": endpoints.rest}
            environment[f"{key}_STALLED_AFTER_S"] = str(STALLED_AFTER_S)
            if endpoints.second_ws:
                environment[f"{key}_MARKET_WS_URL"] = endpoints.second_ws
        # `--live` with addresses on this machine: the venues are ours to ask, not the node's.
        words = ("run", "--live", "--venues", ",".join(FEEDS), "--data", str(directory / "data"), "--port", "0")
        process, facts = stack.enter_context(tidebook(*words, "--flush-interval-s", "2", environment=environment))
        trouble = Trouble(psutil.Process(process.pid), facts["address"], rings, venues, seed)
        trouble.until_good()
        checkpoints = [trouble.hour(number) for number in range(1, hours + 1)]
        feeds = trouble.feeds()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    found = {venue: found_in_journal(directory / "data", venue) for venue in FEEDS}
    sums = {what: sum(feed[what] for feed in feeds) for what in ("gaps", "resyncs", "reconnects")}
    return Day(checkpoints, trouble.faults, found, trouble.books_compared, seconds=time.monotonic() - began, **sums)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tidebook-trouble-", dir="/var/tmp") as folder:
        print(json.dumps(asdict(run_day(Path(folder), int(sys.argv[1]), int(sys.argv[2]))), indent=1))
