"""The gateway's view of the venue: a replica that follows `orders`, what became of every order, and who waits for what.

`orders` is read as soon as commands are in shared memory (`peek`), so that who is content with that is answered at once. A second
consumer sees only what is synced. Who asked for more waits for that, and so does everything that is told unasked (the private streams): it
would otherwise be told of what a power failure can take back.

The engine never waits for either. The first one, when it was overtaken, waits for the second, which reads from the journal what it
misses in the ring. Both keep their places on the channel from beginning to end: a place given up may be taken by others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tidebook.errors import OrderEntryError, UnconfirmedError
from tidebook.gateway.layouts import CANCEL, COMMAND_SIZE_BYTES, HEAD, HEAD_SIZE_BYTES, KILL, REPLACE
from tidebook.gateway.lives import Execution, Lives, executions_of
from tidebook.gateway.lives_file import Picture
from tidebook.transport import Batch, Gap, open_consumer
from tidebook.venue.codes import CommandKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tidebook.gateway.lives import Order
    from tidebook.venue import Venue

CHANNEL: Final = "orders"


def _whole(taken: Batch | Gap) -> Batch:
    """Raises: OrderEntryError for a gap."""
    if isinstance(taken, Gap):
        raise OrderEntryError(
            f"orders: commands {taken.first} to {taken.first + taken.count - 1} are neither in the ring nor in the journal"
        )
    return taken


class Judged:
    """A command as it stands on `orders`, with what came of it."""

    __slots__ = (
        "account",
        "command",
        "executions",
        "instrument_id",
        "kind",
        "last_sequence",
        "linked",
        "order",
        "reason",
        "sequence",
        "verdict",
    )

    def __init__(self, sequence: int, command: bytes, executions: Sequence[Execution]) -> None:
        self.sequence = sequence
        self.last_sequence = sequence
        """Of a kill switch that of the mass cancel behind it, whose executions are among its own; else the command's."""
        self.command = command
        self.executions = executions
        self.order: Order | None = None
        """The one that it placed, replaced or cancelled, as it left it: what comes later moves the order in lives, and may not be on disk."""
        self.linked: Order | None = None
        """The other leg of a pair that it placed, likewise."""
        _, _, _, self.account, self.instrument_id, self.kind, self.verdict, self.reason = HEAD.unpack_from(command)

    def keep_orders(self, lives: Lives) -> None:
        """To be called while nothing behind it is taken in."""
        if self.verdict != Verdict.ACCEPTED:
            return
        match self.kind:
            case CommandKind.PLACE | CommandKind.PLACE_PAIR:
                self.order = copy(lives.orders.get(2 * self.sequence))
                self.linked = copy(lives.orders.get(2 * self.sequence + 1))
            case CommandKind.REPLACE:
                self.order = copy(lives.orders.get(REPLACE.unpack(self.body)[0]))
            case CommandKind.CANCEL:
                self.order = copy(lives.orders.get(CANCEL.unpack(self.body)[0]))

    @property
    def body(self) -> bytes:
        """What is behind the head of its command."""
        return self.command[HEAD_SIZE_BYTES:]


class OrdersFollower:
    """Reads `orders` and keeps a replica of the venue. Threads: one event loop's."""

    def __init__(self, rings: Path, venue: Venue, lives: Lives) -> None:
        """`venue` and `lives` are new ones, or stand behind the same command. Raises: ChannelError when `orders` cannot be read."""
        self._durable_reader = open_consumer(
            CHANNEL, directory=rings, start=venue.sequence + 1, policy="spill", wait="park"
        )
        try:
            self._reader = open_consumer(
                CHANNEL, directory=rings, start="latest", policy="overwrite", peek=True, wait="park"
            )
        except BaseException:
            self._durable_reader.close()
            raise
        self._ring = self._reader.channel.ring
        self._moved = asyncio.Event()
        self.venue = venue
        self.lives = lives
        self.sequence = venue.sequence
        """Last command taken in."""
        self._last: bytes | None = None
        """That command, if any was taken in here."""
        self.durable = venue.sequence
        """Up to this one `orders` is synced, as far as this process has seen."""
        self._kill: tuple[int, Judged] | None = None
        """A kill switch and its place on `orders.in`: it is told when the mass cancel that it asks for, the next command, is carried out."""
        self._judged: dict[int, asyncio.Future[Judged]] = {}
        """By their places on `orders.in`, rising. Who gives up waiting leaves his here: it is judged all the same."""
        self._synced: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._unreleased: deque[Execution] = deque()
        self._listeners: list[Callable[[Sequence[Execution]], None]] = []
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        """Why it follows no more."""
        return self._failure

    @property
    def synced(self) -> int:
        """Up to this one `orders` is synced now."""
        return self._ring.durable

    def catch_up(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Takes in all that is durable now and gives how many commands that were; for a thread, before `run`.

        Raises: what the replica finds wrong; JournalError; ChannelError.
        """
        before = self.sequence
        while (taken := self._durable_reader.poll_batch(65_536)) is not None:
            with _whole(taken) as batch:
                self._take_next(batch)
            progress(self.sequence - before)
        self.durable = self.sequence
        self._unreleased.clear()  # it happened in another life of the node
        return self.sequence - before

    async def run(self) -> None:
        """Follows until cancelled. Raises: as `catch_up`; then whoever waits is told."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(), name="orders: judged")
                group.create_task(self._follow_durable(), name="orders: durable")
        except BaseException as error:
            cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
            self._failure = "the gateway stops" if isinstance(cause, asyncio.CancelledError) else str(cause)
            self._give_up(self._failure)
            if isinstance(error, BaseExceptionGroup):
                raise cause from None
            raise

    def picture(self) -> Picture | None:
        """Lives as they are now, to be written when they are durable; None where nothing has happened yet."""
        return None if self._last is None else Picture(self.lives, self.sequence, self._last)

    def close(self) -> None:
        """Gives its places on the channel free, when it has ended."""
        self._reader.close()
        self._durable_reader.close()

    def listen(self, listener: Callable[[Sequence[Execution]], None]) -> None:
        """Has every execution that is durable told to `listener`, in order, from now on."""
        self._listeners.append(listener)

    def expect(self, source_sequence: int) -> asyncio.Future[Judged]:
        """What becomes of the command with this place on `orders.in`; to be asked for right after it was written."""
        future: asyncio.Future[Judged] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            future.set_exception(self._unanswered(self._failure))
            return future
        self._judged[source_sequence] = future
        return future

    async def wait_durable(self, sequence: int) -> None:
        """Returns when `orders` is synced up to this message. Raises: UnconfirmedError when the follower has failed."""
        if sequence <= self.durable:
            return
        if self._failure is not None:
            raise self._unanswered(self._failure)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Sequences come rising, but for who waits longer than the others for his turn.
        place = len(self._synced)
        while place and self._synced[place - 1][0] > sequence:
            place -= 1
        self._synced.insert(place, (sequence, future))
        await future

    @property
    def waiting(self) -> int:
        """Commands that were handed over and not judged yet."""
        return len(self._judged)

    async def _follow(self) -> None:
        async for taken in self._reader:
            if isinstance(taken, Gap):
                continue  # what comes next shows it again
            with taken as batch:
                while self.sequence + 1 < batch.first_sequence:
                    self._moved.clear()
                    await self._moved.wait()
                self._take_next(batch)

    async def _follow_durable(self) -> None:
        self._is_durable(self._ring.durable)
        async for taken in self._durable_reader:
            with _whole(taken) as batch:
                self._take_next(batch)
            # Not how far it has read: that is what was synced when it began to.
            self._is_durable(self._ring.durable)

    def _take_next(self, batch: Batch) -> None:
        """Takes in what of a batch is not taken in yet: two readers give the same."""
        new = batch.array[max(0, self.sequence + 1 - batch.first_sequence) :]
        if len(new):
            self._take(new)
            self._moved.set()

    def _take(self, commands: np.ndarray[Any, Any]) -> None:
        """Takes in commands as they are journaled, the next ones."""
        commands = np.ascontiguousarray(commands)
        executions = deque(executions_of(self.venue.replay(commands).executions))
        data = commands.tobytes()
        sources = commands["source_sequence"].tolist() if self._judged else ()  # 0: the engine's own
        for index in range(len(commands)):
            sequence = self.sequence + 1
            command = data[index * COMMAND_SIZE_BYTES : (index + 1) * COMMAND_SIZE_BYTES]
            own = []
            while executions and executions[0].source_sequence == sequence:
                own.append(executions.popleft())
            self.lives.apply(sequence, command, own)
            self.sequence = sequence
            if self._listeners:
                self._unreleased += own
            if not sources:
                continue
            judged = Judged(sequence, command, own)
            if sources[index] in self._judged:
                judged.keep_orders(self.lives)
            if self._kill is not None:
                source, kill = self._kill
                self._kill = None
                if not sources[index] and judged.kind == CommandKind.MASS_CANCEL:
                    kill.executions, kill.last_sequence = (*kill.executions, *own), sequence
                self._answer(source, kill)
            if not sources[index]:
                continue
            if judged.kind == CommandKind.KILL and judged.verdict == Verdict.ACCEPTED and KILL.unpack(judged.body)[0]:
                self._kill = (sources[index], judged)
            else:
                self._answer(sources[index], judged)
        self._last = data[-COMMAND_SIZE_BYTES:]
        if self.sequence <= self.durable:
            self._release()

    def _answer(self, source_sequence: int, judged: Judged) -> None:
        """Tells who waits for it; and those before it, which the engine has then passed over, because it takes them in order."""
        while self._judged and (first := next(iter(self._judged))) <= source_sequence:
            future = self._judged.pop(first)
            if future.done():
                continue
            if first == source_sequence:
                future.set_result(judged)
            else:
                future.set_exception(
                    OrderEntryError(
                        f"message {first} of orders.in was damaged on its way and is not carried out; send it again",
                        source_sequence=first,
                    )
                )

    def _is_durable(self, sequence: int) -> None:
        if sequence <= self.durable:
            return
        self.durable = sequence
        while self._synced and self._synced[0][0] <= sequence:
            _, future = self._synced.popleft()
            if not future.done():
                future.set_result(None)
        self._release()

    def _release(self) -> None:
        released = []
        while self._unreleased and self._unreleased[0].source_sequence <= self.durable:
            released.append(self._unreleased.popleft())
        if released:
            for listener in self._listeners:
                listener(released)

    @staticmethod
    def _unanswered(reason: str) -> UnconfirmedError:
        """For who has handed a command over."""
        return UnconfirmedError(
            f"what was handed over may be carried out: the venue is not followed any more ({reason})"
        )

    def _give_up(self, reason: str) -> None:
        error = self._unanswered(reason)
        waiting: list[asyncio.Future[Any]] = [*self._judged.values(), *(future for _, future in self._synced)]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        self._judged.clear()
        self._synced.clear()
