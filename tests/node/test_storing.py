"""Storing outlives what passes, stops for what does not, and says which of the two it is."""

import errno
import itertools
import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tidebook as tb
from tests.storage.faults import FailingWhen
from tidebook._core import JournalWriter, pack_message
from tidebook.errors import OperationError, StorageCorruptError, StorageError, StorageFullError
from tidebook.node import storing as module
from tidebook.node.storing import Storing
from tidebook.storage.disk import Disk
from tidebook.storage.follower import FollowerOptions
from tidebook.storage.writer import StorageWriter, WriterOptions

CHANNEL = "feed.binance"
DEADLINE_S = 60
START_NS = 1_723_161_254_000_000_000


def trade(number: int) -> bytes:
    at = START_NS + number * 1_000_000
    body = {"e": "trade", "E": at // 1_000_000, "s": "BTCUSDT", "t": number, "p": "10.01000000", "q": f"0.{number:08d}"}
    body |= {"T": at // 1_000_000, "m": number % 3 == 0, "M": True}
    return pack_message(at, 1, 1, json.dumps({"stream": "btcusdt@trade", "data": body}).encode())


class Feed:
    """A journal of trades, message n being trade n, and what stores it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        directory = data / "journal" / CHANNEL
        self._journal = JournalWriter(directory, CHANNEL, segment_size_bytes=1 << 20)
        self.storing = Storing(
            data,
            "binance",
            directory,
            CHANNEL,
            FollowerOptions(flush_interval_s=0.02, poll_interval_s=0.005),
            WriterOptions(threads=1, look_interval_s=0.0),
            retry_s=0.01,
        )

    def write(self, count: int) -> int:
        for _ in range(count):
            self._journal.append(trade(self._journal.next_sequence))
        return self._journal.sync()

    def stored_ids(self) -> list[int]:
        return tb.open(self.data).scan("trades").collect().sort("source_sequence")["trade_id"].to_list()

    def close(self) -> None:
        self._journal.close()


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    feed = Feed(tmp_path / "data")
    yield feed
    for end in (feed.storing.stop, feed.close):
        with suppress(OperationError):  # what the test was about
            end()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def full_while(full: threading.Event) -> Disk:
    return FailingWhen(lambda _, name: full.is_set() and name in {"create", "write", "make_directory"})


def with_disk(monkeypatch: pytest.MonkeyPatch, disk: Callable[[], Disk]) -> None:
    monkeypatch.setattr(module, "StorageWriter", lambda *words, **named: StorageWriter(*words, **named, disk=disk()))


def test_a_full_disk_stalls_storing_which_goes_on_by_itself_when_space_returns(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()
    with_disk(monkeypatch, lambda: full_while(full))
    feed.storing.start()
    first = feed.write(100)
    wait_for(lambda: feed.storing.state.stored == first)
    assert (feed.storing.state.status, feed.storing.state.behind(first)) == ("following", 0)
    full.set()
    last = feed.write(100)
    wait_for(lambda: feed.storing.state.status == "stalled")
    assert "No space left on device; nothing committed was lost, free some space" in feed.storing.state.reason
    assert (feed.storing.state.stored, feed.storing.failure) == (first, None)
    full.clear()
    wait_for(lambda: feed.storing.state.stored == last)
    assert (feed.storing.state.status, feed.storing.state.reason) == ("following", "")
    feed.storing.stop()
    assert feed.storing.state.status == "stopped"
    assert feed.stored_ids() == list(range(1, last + 1))


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.soak)])
def test_a_disk_that_is_full_at_any_one_call_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Method: the n-th changing call of a run fails once, for each n; then there is room again. Three commits."""
    at = 1
    while True:
        calls, reached = itertools.count(1), at
        with_disk(monkeypatch, lambda: FailingWhen(lambda *_: next(calls) == reached))  # noqa: B023 - of this round
        feed = Feed(tmp_path / f"data-{at}")
        feed.storing.start()
        for _ in range(3):
            last = feed.write(20)
            wait_for(lambda: feed.storing.state.stored == last)  # noqa: B023 - called here
        feed.storing.stop()
        feed.close()
        assert feed.stored_ids() == list(range(1, 61)), f"call {at}"
        assert tb.open(feed.data).verify().ok
        assert not list(feed.data.glob("_staging/*/")), f"call {at}"
        listed = {path.relative_to(feed.data).as_posix() for path in feed.data.glob("warm/**/*.parquet")}
        assert listed == set(tb.open(feed.data).manifest.files), f"call {at}"
        if next(calls) <= at:
            break
        at += step
    assert at > 40, "fewer calls were tried than three commits make"


def test_no_file_descriptors_stall_storing_until_there_are_some(feed: Feed) -> None:
    first = feed.write(10)
    feed.storing.start()
    wait_for(lambda: feed.storing.state.stored == first)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open("/dev/null", os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, before[1]))
        with suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        last = feed.write(10)
        wait_for(lambda: feed.storing.state.status == "stalled")
        assert "Too many open files" in feed.storing.state.reason
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)
    wait_for(lambda: feed.storing.state.stored == last)
    feed.storing.stop()
    assert feed.stored_ids() == list(range(1, last + 1))


def test_stopped_while_it_is_stalled_it_says_why_and_leaves_no_descriptor(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = threading.Event()
    full.set()
    with_disk(monkeypatch, lambda: full_while(full))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    feed.storing.start()
    feed.write(10)
    wait_for(lambda: feed.storing.state.status == "stalled")
    with pytest.raises(StorageFullError, match="No space left on device"):
        feed.storing.stop()
    assert feed.storing.state.status == "failed"
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_disk_that_fails_is_not_tried_again(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    with_disk(monkeypatch, lambda: FailingWhen(lambda _, name: name == "sync", errno.EIO))
    feed.storing.start()
    feed.write(10)
    wait_for(lambda: feed.storing.state.status == "failed")
    assert isinstance(feed.storing.failure, StorageError)
    assert "Input/output error" in feed.storing.state.reason


@pytest.mark.parametrize("gone", ["", "_manifest", "_staging", "warm", "warm/trades"])
def test_a_store_that_is_taken_away_is_said_at_once_and_not_made_anew(feed: Feed, gone: str) -> None:
    feed.storing.start()
    first = feed.write(10)
    wait_for(lambda: feed.storing.state.stored == first)
    taken: Any = feed.data / gone
    taken = taken.rename(feed.data.with_name("elsewhere"))
    wait_for(lambda: feed.storing.state.status == "failed")
    assert isinstance(feed.storing.failure, StorageCorruptError)
    assert "was removed, moved or replaced while the store was written" in feed.storing.state.reason
    assert feed.storing.state.reason.startswith(str(feed.data / gone))
    shutil.rmtree(taken)
