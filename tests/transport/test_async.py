"""Consumers in event loops: tasks wait without holding the loop up, and leave nothing behind."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import uvloop

import tidebook as tb
from tidebook.errors import ChannelUsageError

NUMBER = np.dtype([("number", "<u8")])

WRITER = """
import sys
import numpy as np
import tidebook as tb

directory, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with tb.open_producer(name, directory=directory) as producer:
    sys.stdin.readline()
    for number in range(1, count + 1):
        producer.write(number.to_bytes(8, "little"))
"""

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def channel(rings: Path, name: str, **options: object) -> tb.Channel:
    asked = {"dtype": NUMBER, "buffer_size": 1 << 14} | options
    return tb.create_channel(name, tb.ChannelOptions(**asked), directory=rings)  # type: ignore[arg-type]


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(work())  # type: ignore[arg-type]


def eventfds() -> int:
    """Descriptors of event loops, those that they watch for consumers among them."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            count += descriptor.readlink() == Path("anon_inode:[eventfd]")
    return count


@LOOPS
@pytest.mark.parametrize("options", [{}, {"parking": False}, {"mode": "mpsc"}], ids=["parking", "looking", "mpsc"])
def test_many_consumers_of_one_loop_read_all_that_other_processes_write(
    rings: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], options: dict[str, object]
) -> None:
    names, count = [f"numbers-{index}" for index in range(3)], 3_000

    async def read(name: str) -> list[int]:
        seen: list[int] = []
        with tb.open_consumer(name, "reader", start="earliest", directory=rings) as consumer:
            async for batch in consumer:
                assert isinstance(batch, tb.Batch)
                with batch:
                    seen += batch.array["number"].tolist()
                if seen[-1] == count:
                    break
        return seen

    async def main() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            readers = [group.create_task(read(name)) for name in names]
            await asyncio.sleep(0)
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
        assert [reader.result() for reader in readers] == [list(range(1, count + 1))] * 3

    for name in names:
        channel(rings, name, **options)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(rings), name, str(count)], stdin=subprocess.PIPE, text=True)
        for name in names
    ]
    run(new_loop, main)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    threads = [(thread / "comm").read_text() for thread in Path("/proc/self/task").iterdir()]
    assert threads.count("tidebook-alarm\n") == 1


@LOOPS
def test_a_task_that_is_cancelled_loses_nothing_and_a_closed_loop_leaves_nothing_behind(
    rings: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    numbers = channel(rings, "numbers")

    async def main(expected: int) -> None:
        waiting = asyncio.create_task(consumer.next_batch())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await consumer.next_batch(timeout=0.001) is None
        waiting = asyncio.create_task(consumer.next_batch())
        await asyncio.sleep(0)
        # Both at once: what came is read by the next one.
        producer.write(bytes(8))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        batch = await consumer.next_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.sequences.tolist() == [expected]

    before = eventfds()
    with tb.open_producer(numbers) as producer, tb.open_consumer(numbers, "reader") as consumer:
        for expected in range(1, 6):
            run(new_loop, lambda expected=expected: main(expected))  # type: ignore[misc]
    # The last loop's goes with the loop; those before it went when it came.
    gc.collect()
    assert eventfds() == before


async def test_other_tasks_run_while_there_is_always_something_to_read(rings: Path) -> None:
    """Method: the reader writes what it reads next; without a turn for others, the event would never be set."""
    numbers = channel(rings, "numbers")
    others = asyncio.Event()
    asyncio.get_running_loop().call_later(0.002, others.set)
    with tb.open_producer(numbers) as producer, tb.open_consumer(numbers, "reader") as consumer:
        producer.write(bytes(8))
        async for batch in consumer:
            assert isinstance(batch, tb.Batch)
            batch.release()
            if others.is_set():
                break
            producer.write(bytes(8))


@pytest.mark.parametrize("thread", [False, True], ids=["task", "thread"])
async def test_a_consumer_closed_while_a_task_waits_ends_the_wait(rings: Path, thread: bool) -> None:
    numbers = channel(rings, "numbers")
    consumer = tb.open_consumer(numbers, "reader")
    waiting = asyncio.create_task(consumer.next_batch())
    await asyncio.sleep(0)
    with pytest.raises(ChannelUsageError, match="is awaited by another task"):
        await consumer.next_batch()
    if thread:
        await asyncio.to_thread(consumer.close)
    else:
        consumer.close()
    with pytest.raises(ChannelUsageError, match="was closed"):
        await waiting


async def test_an_overwritten_consumer_is_told_its_gap_in_a_loop_too(rings: Path) -> None:
    numbers = channel(rings, "numbers", buffer_size=4_096)
    with tb.open_producer(numbers) as producer, tb.open_consumer(numbers, policy="overwrite") as consumer:
        waiting = asyncio.create_task(consumer.next_batch())
        await asyncio.sleep(0)
        producer.write_batch([bytes(8)] * 1_000)
        gap = await waiting
        assert isinstance(gap, tb.Gap)
        seen = gap.count
        while seen < 1_000:
            batch = await consumer.next_batch()
            assert isinstance(batch, tb.Batch)
            seen += len(batch)
        assert (gap.first, seen) == (1, 1_000)


async def test_waiting_costs_no_processor_time(rings: Path) -> None:
    """Method: processor time of the whole process while twenty consumers wait for half a second."""
    channels = [channel(rings, f"numbers-{index}") for index in range(20)]
    consumers = [tb.open_consumer(each, "reader") for each in channels]
    waiting = [asyncio.create_task(consumer.next_batch()) for consumer in consumers]
    await asyncio.sleep(0.05)
    before = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - before < 0.1
    for task, consumer in zip(waiting, consumers, strict=True):
        task.cancel()
        consumer.close()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_loops_in_several_threads_wait_at_the_same_time(rings: Path) -> None:
    numbers = channel(rings, "numbers")
    ready, seen = threading.Barrier(4), []

    async def read(name: str) -> None:
        with tb.open_consumer(numbers, name) as consumer:
            waiting = asyncio.create_task(consumer.next_batch())
            await asyncio.sleep(0)
            ready.wait(60)
            batch = await waiting
            assert isinstance(batch, tb.Batch)
            seen.append(batch.sequences.tolist()[0])

    threads = [threading.Thread(target=lambda name=name: asyncio.run(read(name))) for name in "abc"]
    for thread in threads:
        thread.start()
    ready.wait(60)
    with tb.open_producer(numbers) as producer:
        producer.write(bytes(8))
        for thread in threads:
            thread.join(60)
    assert seen == [1, 1, 1]


@LOOPS
def test_a_consumer_awaited_in_a_loop_that_was_closed_is_awaited_in_the_next(
    rings: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Method: the task that was pending is kept until the end, as a reference to it may be."""
    with (
        tb.open_producer(channel(rings, "numbers")) as producer,
        tb.open_consumer("numbers", "reader", directory=rings) as consumer,
    ):
        closed = new_loop()
        pending = closed.create_task(consumer.next_batch())
        closed.run_until_complete(asyncio.sleep(0))
        closed.run_until_complete(asyncio.sleep(0))
        closed.close()

        async def work() -> None:
            assert await consumer.next_batch(timeout=0.01) is None
            waiting = asyncio.create_task(consumer.next_batch(timeout=60))
            await asyncio.sleep(0)
            producer.write(bytes(8))
            batch = await waiting
            assert isinstance(batch, tb.Batch)
            assert batch.first_sequence == 1

        run(new_loop, work)
        assert not pending.done()
        pending._log_destroy_pending = False  # type: ignore[attr-defined]
        del pending
        gc.collect()
