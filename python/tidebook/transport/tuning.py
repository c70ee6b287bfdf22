"""A process made ready for hot loops: its thread on a core of its own, rings kept in memory, no pauses of the collector.

    with tuned([producer.channel, consumer.channel], Tuning(cpu=3, lock_memory=True, collector="off")) as effects:
        for effect in effects:
            print(effect)
        hot_loop()

Each wish may be refused by the machine, and nothing but speed depends on it: what is really in force is told, as the
kernel itself says.
"""

from __future__ import annotations

import contextlib
import gc
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tidebook._core import pin_thread
from tidebook.errors import ChannelUsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tidebook.transport.channel import Channel


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What to ask for."""

    cpu: int | None = None
    """Bind the calling thread to this CPU. Spin only on one that nobody else uses."""
    lock_memory: bool = False
    """Never write a page of the rings to swap (needs a limit of locked memory, `ulimit -l`, above their size)."""
    huge_pages: bool = False
    """Map rings of 2 MiB and more with huge pages (needs shmem_enabled = advise or always)."""
    numa_node: int | None = None
    """Keep the rings in this node's memory."""
    collector: Literal["on", "frozen", "off"] = "on"
    """Python's garbage collector: `frozen` never looks again at what is there now, `off` does not run at all. Off, objects
    in cycles stay until the block ends."""


@dataclass(frozen=True)
class Effect:
    """What came of one wish."""

    of: str
    """A channel's name, `thread` or `process`."""
    option: str
    in_force: bool
    detail: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.of}: {self.option} {'is' if self.in_force else 'is NOT'} in force ({self.detail})"


@contextlib.contextmanager
def tuned(channels: Iterable[Channel], tuning: Tuning) -> Iterator[list[Effect]]:
    """Asks for `tuning` and gives what is in force; at the end the thread and the collector are as they were.

    What was asked for a ring's memory lasts as long as this process has it open.
    Raises: ChannelUsageError for a collector that is none of on, frozen, off.
    """
    if tuning.collector not in ("on", "frozen", "off"):
        raise ChannelUsageError(
            f"collector = {tuning.collector!r} is none of on, frozen, off", option="collector", value=tuning.collector
        )
    cpus = os.sched_getaffinity(0)
    was_on = gc.isenabled()
    effects = []
    try:
        if tuning.cpu is not None:
            effects.append(Effect("thread", *pin_thread(tuning.cpu)))
        for channel in channels:
            told = channel.ring.tune(lock=tuning.lock_memory, huge_pages=tuning.huge_pages, numa_node=tuning.numa_node)
            effects += [Effect(channel.name, *effect) for effect in told]
        if tuning.collector != "on":
            # What is garbage now goes first, and what stays is not looked at again.
            gc.collect()
            gc.freeze()
            if tuning.collector == "off":
                gc.disable()
            state = "runs, over new objects only" if gc.isenabled() else "does not run"
            effects.append(Effect("process", "collector", True, f"{gc.get_freeze_count()} objects frozen; it {state}"))
        yield effects
    finally:
        os.sched_setaffinity(0, cpus)
        if tuning.collector != "on":
            gc.unfreeze()
            if was_on:
                gc.enable()
