"""Every call that may wait lets other threads run meanwhile, and Ctrl-C ends it.

Method: a process of its own makes the call in its main thread; another of its threads says when the call has been going on
for a while in which it ran itself. Then the process gets the signal of Ctrl-C.
"""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

import tidebook as tb
from tidebook.errors import EndpointBusyError

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
import sys, threading, time
import numpy as np
import tidebook as tb

DTYPE = np.dtype([("number", "<u8"), ("square", "<u8")])
records, message = np.zeros(50, DTYPE), bytes(16)
directory = sys.argv[1]
full = tb.create_channel("full", {{"dtype": DTYPE, "buffer_size": 4096}}, directory=directory)
many = tb.create_channel("many", {{"mode": "mpsc", "buffer_size": 4096}}, directory=directory)
quiet = tb.create_channel("quiet", {{"dtype": DTYPE}}, directory=directory)
# Nothing is synced within the life of a test.
slow = {{"durability": "wal", "wal_dir": directory + "/wal", "journal_sync_interval_ms": 600_000}}
durable = tb.create_channel("durable", slow, directory=directory)

begun = threading.Event()


def other_thread():
    begun.wait()
    for _ in range(50):
        time.sleep(0.001)
    print("others run", flush=True)


def fill(producer):
    while producer.write(message, timeout=0):
        pass


threading.Thread(target=other_thread, daemon=True).start()
with (
    tb.open_consumer(quiet, "reader") as reader,
    tb.open_consumer(full, "asleep"),
    tb.open_consumer(many, "asleep"),
    tb.open_producer(full) as producer,
    tb.open_producer(many) as one,
    tb.open_producer(durable) as journaled,
):
    fill(producer)
    fill(one)
    print("ready", flush=True)
    begun.set()
    try:
        {call}
        print("returned", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""

CALLS = {
    "write": "producer.write(message)",
    "write_within": "producer.write(message, timeout=600)",
    "write_batch_array": "producer.write_batch(records)",
    "write_batch_list": "producer.write_batch([message] * 3)",
    "claim": "producer.claim()",
    "claim_within": "producer.claim(timeout=600)",
    "write_of_many": "one.write(message)",
    "write_batch_of_many": "one.write_batch([message] * 3)",
    "claim_of_many": "one.claim(16)",
    "write_durable": "journaled.write(message, wait='durable')",
    "flush": "journaled.write(message) and journaled.flush()",
    "poll": "reader.poll(print, timeout=None)",
    "poll_within": "reader.poll(print, timeout=600)",
    "poll_batch": "reader.poll_batch(1, timeout=None)",
    "poll_batch_within": "reader.poll_batch(1, timeout=600)",
    "iteration": "next(iter(reader))",
    "next_batch": "__import__('asyncio').run(reader.next_batch())",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_waits_lets_threads_run_and_obeys_ctrl_c(name: str, rings: Path) -> None:
    command = [sys.executable, "-c", PROGRAM.format(call=CALLS[name]), str(rings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = [process.stdout.readline(), process.stdout.readline()]
        assert said == ["ready\n", "others run\n"], process.stderr.read()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (rest, process.returncode) == ("interrupted\n", 0), errors


# One byte at `joins` (docs/formats/ring.md).
REGISTRY = (os.SEEK_SET, 4352, 1, 0)


def set_registry_lock(file: IO[bytes], kind: int) -> None:
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhxxxxqqixxxx", kind, *REGISTRY))


@pytest.mark.parametrize("call", ["open", "remove", "move"])
def test_other_threads_run_while_a_call_waits_for_who_joins(rings: Path, call: str) -> None:
    """Method: this thread holds the lock of those who join. Were the GIL kept, it would run again only when the other had
    given up.
    """
    channel = tb.create_channel("ticks", directory=rings)
    tb.open_consumer(channel, "left").close()
    calls: dict[str, Callable[[], object]] = {
        "open": lambda: tb.open_consumer(channel, "joins").close(),
        "remove": lambda: channel.ring.remove_consumer("left"),
        "move": lambda: channel.ring.move_consumer("left", "latest"),
    }
    begun, ended = threading.Event(), threading.Event()

    def other_thread() -> None:
        begun.set()
        calls[call]()
        ended.set()

    with channel.path.open("r+b") as file:
        set_registry_lock(file, fcntl.F_WRLCK)
        other = threading.Thread(target=other_thread)
        other.start()
        begun.wait()
        time.sleep(0.05)
        assert other.is_alive()
        set_registry_lock(file, fcntl.F_UNLCK)
        other.join(60)
    assert ended.is_set()


def test_who_never_ends_joining_is_an_error_and_not_a_wait_for_ever(rings: Path) -> None:
    channel = tb.create_channel("ticks", directory=rings)
    with channel.path.open("r+b") as file:
        set_registry_lock(file, fcntl.F_WRLCK)
        with pytest.raises(EndpointBusyError, match=r"has kept the table of its consumers for 2 s.*doctor names it"):
            tb.open_consumer(channel, "late")
        set_registry_lock(file, fcntl.F_UNLCK)
    tb.open_consumer(channel, "late").close()
