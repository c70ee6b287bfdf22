"""The engine around the two state machines: reads what they are made of, publishes what they make, says how it stands.

One thread that looks at its channels some times a second and takes all that came at once. It reads `md.*` by overwriting, and `orders` from
the journal where the ring has gone on, so nobody ever waits for it; when nothing comes it reads a few counters and sleeps again. What it
published before is not published again: a start finds the last windows in its own channels and goes on behind them.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np

from tidebook.analytics import accounts as of_accounts
from tidebook.analytics import markets as of_markets
from tidebook.analytics.accounts import VENUE_CODE, Accounts
from tidebook.analytics.layouts import ACCOUNT, ACCOUNTS_CHANNEL, DAY, MARKET, MARKETS_CHANNEL, NS
from tidebook.analytics.markets import CHANNELS, CLOCKS, Markets
from tidebook.errors import (
    ChannelNotFoundError,
    EndpointBusyError,
    JournalAbsentError,
    SnapshotError,
    StateError,
    TidebookError,
)
from tidebook.observe.logs import logger
from tidebook.transport import Full, Gap, create_channel, open_consumer, open_producer
from tidebook.venue import Venue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tidebook.transport import Consumer, Producer

    Records = np.ndarray[Any, np.dtype[np.void]]

log = logger("analytics.engine")

_PACE_S: Final = 0.05
_IDLE_PACE_S: Final = 0.25
"""Between two looks while nothing comes."""
_QUIET_S: Final = 1.0
"""Who has been silent for so long has its open windows told as they are."""
_BATCH_MAX: Final = 8_192
_HURRY_COUNT: Final = 4_096
"""Of one channel at one look: then the next look follows at once."""
_BUFFER_SIZE_BYTES: Final = 4 << 20
_RETRY_S: Final = 0.5
_FULL_S: Final = 0.25

State = Literal["stopped", "starting", "following", "waiting", "failed"]


class AnalyticsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is doing."""

    state: State
    """`starting`: it reads the commands of this day; `waiting`: for a channel or a journal that is not there yet, or has no place left."""
    commands: int
    """Last command of `orders` taken in; 0 without a venue."""
    records: int
    """Published by this engine, on both channels."""
    missed: int
    """Records of `md.*` that were overwritten before it had read them."""
    problem: str
    """What it waits for or failed of; empty while nothing is wrong."""
    process: int | None = None
    """Process that does it, where that is one of its own and runs."""


class AnalyticsEngine:
    """Makes `analytics.*` in a directory of rings; `start` and `stop` from any one thread, `status` from any."""

    def __init__(self, rings: Path, *, journal: Path | None = None, snapshots: Path | None = None) -> None:
        """Nothing is opened yet. `journal` is that of `orders` (None: there is no venue), `snapshots` those of the venue."""
        self._rings = rings
        self._journal = journal
        self._snapshots = snapshots
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: State = "stopped"
        self._problem = ""
        self._commands = 0
        self._records = 0
        self._missed = 0

    def start(self) -> None:
        """Begins in a thread of its own; returns at once."""
        assert self._thread is None, "an engine is started once"
        self._state = "starting"
        self._thread = threading.Thread(target=self._run, name="analytics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends; windows that are open come again from what is in the rings, as far as they hold it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def status(self) -> AnalyticsStatus:
        """What it is doing now."""
        return AnalyticsStatus(
            state=self._state,
            commands=self._commands,
            records=self._records,
            missed=self._missed,
            problem=self._problem,
        )

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._follow()
                except (ChannelNotFoundError, EndpointBusyError, JournalAbsentError, OSError) as error:
                    if self._state != "waiting":
                        log.warning("waits", problem=str(error))
                    self._state, self._problem = "waiting", str(error)
                    self._stop.wait(_RETRY_S)
            self._state = "stopped"
        except TidebookError as error:
            log.error("failed; no analytics any more", problem=str(error))
            self._state, self._problem = "failed", str(error)
        except Exception as error:
            log.exception("failed; no analytics any more")
            self._state, self._problem = "failed", f"internal error: {type(error).__name__}: {error}"

    def _follow(self) -> None:
        """From the channels as they are now until the engine is stopped."""
        with ExitStack() as stack:
            markets_out = stack.enter_context(closing(_Output(self._rings, MARKETS_CHANNEL, MARKET)))
            accounts_out = stack.enter_context(closing(_Output(self._rings, ACCOUNTS_CHANNEL, ACCOUNT)))
            markets = Markets(of_markets.last_windows(markets_out.before))
            readers = {name: stack.enter_context(closing(_reader(self._rings, name))) for name in CHANNELS}
            orders, accounts = None, None
            if self._journal is not None:
                accounts, begin = self._replica(of_accounts.last_windows(accounts_out.before))
                orders = stack.enter_context(
                    open_consumer(
                        "orders", directory=self._rings, start=accounts.sequence + 1, policy="spill", wait="park"
                    )
                )
                self._catch_up(orders, accounts, begin, accounts_out)
            self._state, self._problem = "following", ""
            began: set[str] = set()
            quiet = _Quiet()
            pace_s = _PACE_S
            while not self._stop.wait(pace_s):
                most = 0
                for name, reader in readers.items():
                    most = max(most, self._read(name, reader, markets, began))
                self._publish(markets_out, markets.turn())
                if orders is not None and accounts is not None:
                    most = max(most, self._take(orders, accounts, accounts_out))
                self._missed = markets.missed
                silent = quiet.look(markets, accounts)
                if venues := [venue for venue in silent if venue != "accounts"]:
                    self._publish(markets_out, markets.preview(int(venue) for venue in venues))
                if "accounts" in silent and accounts is not None:
                    self._publish(accounts_out, accounts.preview())
                pace_s = 0.0 if most > _HURRY_COUNT else _PACE_S if most or quiet.waits else _IDLE_PACE_S

    def _read(self, name: str, reader: Consumer, markets: Markets, began: set[str]) -> int:
        """Takes all that a channel has, to its end, on which `turn` relies; how much that was."""
        count = 0
        while (taken := reader.poll_batch(_BATCH_MAX)) is not None:
            if isinstance(taken, Gap):
                if name in began:
                    markets.gap(name, taken.count)
                continue
            with taken as batch:
                array = batch.array
                if name not in began:
                    began.add(name)
                    if batch.first_sequence > 1 and name not in CLOCKS:
                        markets.begins(int(array["ts_recv"][0]))
                markets.take(name, array)
                count += len(batch)
                del array
        return count

    def _take(self, orders: Consumer, accounts: Accounts, out: _Output) -> int:
        count = 0
        while (taken := orders.poll_batch(_BATCH_MAX)) is not None:
            commands = _commands(taken)
            count += len(commands)
            self._publish(out, accounts.take(commands))
            self._commands = accounts.sequence
            if self._stop.is_set() or count > 8 * _BATCH_MAX:
                break
        return count

    def _catch_up(self, orders: Consumer, accounts: Accounts, begin: int, out: _Output) -> None:
        """Takes in what is durable now: days before `begin` as state alone."""
        skipping = True
        while not self._stop.is_set() and (taken := orders.poll_batch(65_536)) is not None:
            commands = _commands(taken)
            if skipping:
                before = int(np.searchsorted(commands["ts"], begin))
                if before:
                    accounts.skip(commands[:before])
                commands = commands[before:]
                skipping = not len(commands)
            if len(commands):
                self._publish(out, accounts.take(commands))
            self._commands = accounts.sequence

    def _replica(self, resume: dict[int, tuple[int, int, int]]) -> tuple[Accounts, int]:
        """The venue before the day that windows are wanted of, and that day's beginning.

        Raises: StateError when that cannot be had, because the journal's beginning is gone and no snapshot is there.
        """
        assert self._journal is not None
        begin = time.time_ns() // (DAY * NS) * DAY * NS
        if resume:
            begin = min(begin, max(resume.values())[0] // (DAY * NS) * DAY * NS)
        newest = self._newest_snapshot()
        if newest is not None and newest.ts < begin:
            return Accounts(newest, resume), begin
        try:
            return Accounts(Venue.open(self._journal, sequence=0, history=False), resume), begin
        except StateError as error:
            # Its beginning is gone: windows that begin before what is there say so.
            if newest is None:
                raise
            log.warning("windows of accounts begin behind a snapshot", sequence=newest.sequence, reason=str(error))
            return Accounts(newest, resume, since=newest.ts), begin

    def _newest_snapshot(self) -> Venue | None:
        """The venue as the newest snapshot has it, if that is one of this journal."""
        if self._snapshots is None or not self._snapshots.is_dir():
            return None
        assert self._journal is not None
        try:
            sequence = Venue.load(self._snapshots, history=False).sequence
            return Venue.open(self._journal, snapshots=self._snapshots, sequence=sequence, history=False)
        except (SnapshotError, StateError) as error:
            log.info("no snapshot is used", reason=str(error))
            return None

    def _publish(self, out: _Output, records: Records) -> None:
        """Waits while a reader that may do so holds it up: it can be stopped meanwhile."""
        while len(records) and not self._stop.is_set():
            written = out.producer.write_batch(records, timeout=_FULL_S)
            done = written.written if isinstance(written, Full) else len(records)
            self._records += done
            records = records[done:]


class _Quiet:
    """Who has gone silent with something to tell; each silence is found once."""

    def __init__(self) -> None:
        self._seen: dict[int | str, tuple[int, float, bool]] = {}

    def look(self, markets: Markets, accounts: Accounts | None) -> list[int | str]:
        now = time.monotonic()
        states: list[tuple[int | str, int, bool]] = [
            (venue, sequence, markets.is_open(venue)) for venue, sequence in markets.venues().items()
        ]
        if accounts is not None:
            states.append(("accounts", accounts.sequence, accounts.is_open))
        silent: list[int | str] = []
        for who, sequence, is_open in states:
            last, since, told = self._seen.get(who, (-1, now, True))
            if sequence != last:
                last, since, told = sequence, now, not is_open
            elif not told and now - since > _QUIET_S:
                told = True
                silent.append(who)
            self._seen[who] = last, since, told
        return silent

    @property
    def waits(self) -> bool:
        """Somebody's silence is not long enough yet."""
        return any(not told for _, _, told in self._seen.values())


class _Output:
    """A channel of analytics, and what is in it from before."""

    def __init__(self, rings: Path, name: str, dtype: np.dtype[Any]) -> None:
        create_channel(name, {"dtype": dtype, "buffer_size": _BUFFER_SIZE_BYTES, "consumers_max": 64}, directory=rings)
        self.producer: Producer = open_producer(name, directory=rings)
        try:
            self.before = list(_held(rings, name))
        except BaseException:
            self.producer.close()
            raise

    def close(self) -> None:
        self.producer.close()


def _held(rings: Path, name: str) -> Iterator[Records]:
    with open_consumer(name, directory=rings, start="earliest", policy="overwrite", wait="park") as consumer:
        while (taken := consumer.poll_batch(_BATCH_MAX)) is not None:
            if not isinstance(taken, Gap):
                with taken as batch:
                    yield batch.array.copy()


def _reader(rings: Path, name: str) -> Consumer:
    return open_consumer(name, directory=rings, start="earliest", policy="overwrite", wait="park")


def _commands(taken: Any) -> Records:
    """Raises: StateError for a gap, which a journal that was cut leaves."""
    if isinstance(taken, Gap):
        raise StateError(
            f"orders: commands {taken.first} to {taken.first + taken.count - 1} are neither in the ring nor in the journal"
        )
    with taken as batch:
        return np.ascontiguousarray(batch.array)


__all__ = ["VENUE_CODE", "AnalyticsEngine", "AnalyticsStatus"]
