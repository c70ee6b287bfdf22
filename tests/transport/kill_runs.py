"""`python -m tests.transport.kill_runs memory|wal KILLS SEED`: kills the writer of a channel at random moments, again and again.

A program of its own, because it forks: each writer is a child of a process that has imported everything, so that the kill lands in
its work. What it acknowledged stands in a pipe. A reader that lives on keeps open orders from what it reads; the same orders are
kept from the commands by their numbers, as a run would give that nothing ever broke. Both must be equal after each kill; at the
end the journal alone gives them too. Prints one line, or ends with status 1.
"""

import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path

import tidebook as tb
from tidebook import persistence

CHANNEL = "orders.in"
COMMAND = struct.Struct("<QQqq")  # kind, order, price_units, size_units
ORDER = struct.Struct("<4q")
ADD, CANCEL, REPLACE, EXECUTE = range(4)
WINDOW = 500
"""A command speaks of one of the last so many orders, so that most of them make sense."""
LONGEST_LIFE_S = 0.03


def command(sequence: int) -> bytes:
    """The command of this number, of which every other knows nothing."""
    chance = random.Random(sequence)
    kind = chance.choice((ADD, ADD, ADD, CANCEL, REPLACE, EXECUTE))
    order = sequence if kind == ADD else max(1, sequence - chance.randint(1, WINDOW))
    return COMMAND.pack(kind, order, chance.randint(1, 1_000), chance.randint(1, 100))


class Orders:
    """Open orders: a function of the commands, in their order.

    The hash of the state is kept with it, a sum over the orders, because there are ever more of them.
    """

    def __init__(self) -> None:
        self.last = 0
        self.open: dict[int, tuple[int, int, int]] = {}
        self._sum = 0

    def apply(self, sequence: int, payload: bytes) -> None:
        assert sequence == self.last + 1, f"{sequence} after {self.last}"
        self.last = sequence
        kind, order, price, size = COMMAND.unpack(payload)
        if kind == ADD:
            self._put(order, (price, size, sequence))
        elif order in self.open:
            old_price, old_size, priority = self.open[order]
            if kind == CANCEL or (kind == EXECUTE and size >= old_size):
                self._put(order, None)
            elif kind == EXECUTE:
                self._put(order, (old_price, old_size - size, priority))
            else:
                self._put(order, (price, size, sequence))

    def _put(self, order: int, now: tuple[int, int, int] | None) -> None:
        before = self.open.pop(order, None)
        if before is not None:
            self._sum -= order_hash(order, *before)
        if now is not None:
            self.open[order] = now
            self._sum += order_hash(order, *now)

    def state_hash(self) -> str:
        return f"{self.last}-{self._sum % (1 << 128):032x}"


def order_hash(*words: int) -> int:
    """Of an order: its number, price, size and priority."""
    return int.from_bytes(blake2b(ORDER.pack(*words), digest_size=16).digest(), "little")


def options(mode: str, wal_dir: Path) -> tb.ChannelOptions:
    if mode == "memory":
        return tb.ChannelOptions(buffer_size=1 << 18)
    return tb.ChannelOptions(buffer_size=1 << 18, durability="wal", wal_dir=wal_dir, journal_sync_interval_ms=1)


def write(mode: str, rings: Path, wal_dir: Path, pipe: int) -> None:
    """Writes commands and tells what is acknowledged: in memory what a write returned for, in wal what is durable."""
    producer = tb.open_producer(tb.create_channel(CHANNEL, options(mode, wal_dir), directory=rings))
    while True:
        first = producer.published + 1
        if first % 3:
            sequence = producer.write(
                command(first), wait="durable" if mode == "wal" and first % 7 == 0 else "published"
            )
        else:
            sequence = producer.write_batch([command(number) for number in range(first, first + 20)])
        if mode == "wal":
            sequence = producer.flush() if first % 11 == 0 else producer.guarantee()["durable"]
        assert isinstance(sequence, int), "nobody asked for a limit of time"
        os.write(pipe, sequence.to_bytes(8, "little"))


def fork_writer(mode: str, rings: Path, wal_dir: Path) -> tuple[int, int]:
    """Process id of a writer, and the end of the pipe it acknowledges to."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(reading)
            write(mode, rings, wal_dir, writing)
        except BaseException as error:  # noqa: BLE001 - a child must never run on into the parent's loop
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    os.close(writing)
    os.set_blocking(reading, False)
    return process, reading


class Acknowledged:
    """The highest sequence that stands in the pipes of the writers."""

    def __init__(self) -> None:
        self.last = 0

    def take(self, pipe: int) -> None:
        while True:
            try:
                told = os.read(pipe, 1 << 16)
            except BlockingIOError:
                return
            if not told:
                return
            # Each is one write of 8 bytes, which a pipe takes whole or not at all.
            self.last = max(self.last, *(int.from_bytes(told[at : at + 8], "little") for at in range(0, len(told), 8)))


def read(consumer: tb.Consumer, seen: Orders, timeout: float) -> bool:
    """Applies what there is; whether there was anything."""
    batch = consumer.poll_batch(timeout=timeout)
    if batch is None:
        return False
    assert isinstance(batch, tb.Batch), f"a gap: {batch}"
    with batch:
        first, messages = batch.first_sequence, batch.messages()
    for number, message in enumerate(messages):
        assert message == command(first + number), f"payload of {first + number}"
        seen.apply(first + number, message)
    return True


def campaign(mode: str, kills: int, seed: int, where: Path) -> str:
    chance, acknowledged = random.Random(seed), Acknowledged()
    rings, wal_dir = where / "rings", where / "wal"
    rings.mkdir(mode=0o700)
    wal_dir.mkdir()
    channel = tb.create_channel(CHANNEL, options(mode, wal_dir), directory=rings)
    seen, unbroken = Orders(), Orders()
    consumer = tb.open_consumer(channel, "state", policy="block")
    for kill in range(kills):
        process, pipe = fork_writer(mode, rings, wal_dir)
        # Every third is killed while it starts.
        while kill % 3 and acknowledged.last <= unbroken.last:
            read(consumer, seen, 0.001)
            acknowledged.take(pipe)
            assert os.waitpid(process, os.WNOHANG) == (0, 0), "a writer ended by itself"
        until = time.monotonic() + chance.uniform(0, LONGEST_LIFE_S)
        while time.monotonic() < until:
            read(consumer, seen, 0.001)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        acknowledged.take(pipe)
        os.close(pipe)
        if mode == "wal":
            # The next owner journals what the dead one had published.
            with tb.open_producer(tb.create_channel(CHANNEL, options(mode, wal_dir), directory=rings)) as producer:
                published = producer.published
        else:
            published = channel.ring.published
        while seen.last < published:
            assert read(consumer, seen, 60), f"{seen.last} of {published} came"
        assert acknowledged.last <= published, f"{acknowledged.last} acknowledged, {published} there"
        while unbroken.last < published:
            unbroken.apply(unbroken.last + 1, command(unbroken.last + 1))
        assert seen.state_hash() == unbroken.state_hash(), f"the state after kill {kill} is not that of an unbroken run"
    consumer.close()
    if mode == "wal":
        journaled = Orders()
        for sequence, payload in persistence.read(wal_dir / CHANNEL):
            journaled.apply(sequence, payload)
        assert journaled.state_hash() == unbroken.state_hash(), "the journal gives another state"
    return (
        f"{kills} kills, {unbroken.last} messages, {acknowledged.last} acknowledged, {len(unbroken.open)} open orders, "
        f"state {unbroken.state_hash()}"
    )


def main(mode: str, kills: str, seed: str) -> None:
    where = Path(tempfile.mkdtemp(prefix="tidebook-kill-", dir="/dev/shm"))
    try:
        print(campaign(mode, int(kills), int(seed), where))
    finally:
        shutil.rmtree(where)


if __name__ == "__main__":
    main(*sys.argv[1:])
