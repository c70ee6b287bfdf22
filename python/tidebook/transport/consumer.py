"""A reader of a channel with a cursor of its own."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from tidebook._core import Gap, JournalReader, RingBatch, RingConsumer
from tidebook.errors import ChannelUsageError, EndpointBusyError, JournalError
from tidebook.transport import checkpoints as keeping
from tidebook.transport.batch import Batch
from tidebook.transport.channel import DEFAULT_NODE, Channel, declared, open_channel
from tidebook.transport.checkpoints import Checkpoint, ReaderCheckpoints
from tidebook.transport.event_loop import sleepers
from tidebook.transport.journal import JOURNAL_CONSUMER
from tidebook.transport.layout import slot
from tidebook.transport.moment import first_sequence_at
from tidebook.transport.options import check_text, is_integer
from tidebook.transport.places import all_taken
from tidebook.transport.record import Packing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from numpy.typing import DTypeLike

Start = Literal["earliest", "latest", "resume"]
Policy = Literal["block", "fail", "overwrite", "spill"]
WaitMode = Literal["spin", "hybrid", "park"]
Acknowledge = Literal["batch", "manual"]

_TURN_S = 0.001
_SEQUENCE_MAX = (1 << 64) - 1


class Consumer:
    """Reads a channel. A named consumer killed anywhere resumes at its cursor; what it lost is a `Gap`, never silence."""

    def __init__(
        self,
        channel: Channel,
        join: Callable[[str, int], RingConsumer],
        start: tuple[str, int],
        checkpoints: ReaderCheckpoints,
        *,
        is_manual: bool,
    ) -> None:
        """`join` makes its reader of the ring, at a start of a word and a sequence; once more when it is moved."""
        self.channel = channel
        self._join = join
        self._consumer = join(*start)
        self._checkpoints = checkpoints
        self._is_manual = is_manual
        # Made once: a dtype costs more than reading a batch.
        record = channel.dtype
        self._slot = None if record is None else slot(record, *channel.ring.slot)
        self._packing = None if channel.record is None or record is None else Packing(channel.record, record)
        self._keeps_cursor = False
        # Last message of the newest gap that was told: nobody was given it, so nothing waits to be released.
        self._told_lost = 0
        # When other tasks of the event loop last had their turn.
        self._yielded = 0.0

    def keep_cursor(self) -> None:
        """Has the cursor of a named consumer stored by itself from now on, where the channel is durable."""
        if self._checkpoints.keeps_itself():
            journal = self.channel.journal
            interval_ms = None if journal is None else journal.snapshot_interval_ms
            keeping.keeper.add(self._checkpoints, (interval_ms or keeping.INTERVAL_MS) / 1000)
            self._keeps_cursor = True

    @property
    def next_sequence(self) -> int:
        """The sequence it reads next."""
        return self._consumer.next_sequence

    @property
    def committed(self) -> int:
        """Last sequence it has consumed: it resumes after it."""
        return self._consumer.committed

    def poll(
        self, callback: Callable[[int, bytes], object], limit: int = 1024, timeout: float | None = 0.0
    ) -> int | Gap:
        """Hands up to `limit` messages to `callback(sequence, payload)`; how many, or the gap before the next one.

        Waits `timeout` s for the first (None: until one comes). A message whose callback raises is read again.
        Raises: ChannelUsageError for a limit below 1.
        """
        polled = self._consumer.poll(callback, limit, timeout)
        return self._told(polled) if isinstance(polled, Gap) else polled

    def poll_batch(self, limit: int = 1024, timeout: float | None = 0.0) -> Batch | Gap | None:
        """The next messages as one batch, the gap before the next one, or None when nothing came in time.

        The batch before is done with this call: its arrays keep their place in the ring until they are gone.
        Raises: CorruptMessageError at a damaged message; `skip` goes past it. ChannelUsageError for a limit below 1.
        """
        taken = self._consumer.take(limit, timeout)
        if isinstance(taken, RingBatch):
            return Batch(taken, self._slot, self._packing)
        return None if taken is None else self._told(taken)

    def _told(self, gap: Gap) -> Gap:
        self._told_lost = self._consumer.next_sequence - 1
        return gap

    def acknowledge(self, sequence: int | None = None) -> int:
        """Counts all up to this sequence as consumed (None: all that was read) and gives the last that is.

        With `acknowledge="manual"` nothing else does: what was not acknowledged comes again when this name is opened the
        next time, after a kill too. Each message is so seen at least once; one that was worked on and not acknowledged is
        seen twice. It is one store however many messages it is for, and arrays of them may stay.
        Raises: ChannelUsageError for a sequence that was not read yet, and on a consumer that acknowledges by batch.
        """
        return self._consumer.acknowledge(sequence)

    def checkpoint(
        self, state_id: str, state: bytes | bytearray | memoryview = b"", *, sequence: int | None = None
    ) -> int:
        """Stores a state with this consumer's cursor, in one commit, and gives the checkpoint's number when it is on disk.

        The state has to be of every message up to the cursor and of none behind it. The cursor is at the last message that was
        released (`committed`), so call this behind the `with` of a batch, and after `acknowledge` where that is manual; while
        messages that were read are not released it takes `sequence`, the last that is in the state, and is refused without. With `acknowledge="manual"` all up to `sequence` is acknowledged after it is stored, so that a
        channel without a journal keeps what the state lacks. The newest three of each state id are kept. It costs two
        syncs of a disk. Give `state_id` to one consumer at a time.
        Raises: ChannelUsageError for a state that is no bytes, for a sequence that was not read, for none while read messages are
                not released, and where there is no place for checkpoints;
                CheckpointError when the cursor is beyond what is durable (a `peek`): nothing lasting may come of it;
                CheckpointFullError: what was stored before stays.
        """
        _check_state_id(state_id)
        content = _bytes_of_state(state)
        committed, read = self._consumer.committed, self._consumer.next_sequence - 1
        if sequence is None and read > max(committed, self._told_lost):
            raise ChannelUsageError(
                f"checkpoint of {state_id!r} without a sequence while the messages {committed + 1} to {read} are read and not "
                f"released: it would be of message {committed} and a state that has them would count them twice; call it "
                f"{'after acknowledge(), ' if self._is_manual else 'behind the `with` of the batch, '}"
                "or say sequence=, the last message in the state",
                option="sequence",
                value=None,
            )
        at = committed if sequence is None else sequence
        if not is_integer(at) or not 0 <= at <= read:
            raise ChannelUsageError(
                f"sequence = {sequence!r}: a checkpoint is of messages that were read, up to {read}",
                option="sequence",
                value=sequence,
            )
        checkpoint_id = self._checkpoints.put(state_id, content, at)
        if self._is_manual and at > committed:
            self._consumer.acknowledge(at)
        return checkpoint_id

    def recover(self, which: str | int) -> Checkpoint | None:
        """The newest checkpoint of a state id, or the one of a number; this consumer reads on right behind it.

        None when there is none of a state id, and then the consumer stays where it is. What was read and is not in the state comes
        again, from the journal where the ring has overwritten it; what is nowhere any more is a `Gap`.
        Raises: CheckpointError for a number that is not kept, with those that are; CheckpointEpochError when the channel's ring was lost without a journal since, or its journal was cut before
                it; CheckpointError for one of messages that the journal does not hold; CheckpointDamagedError; ChannelUsageError while an array of a batch is there.
        """
        if not is_integer(which):
            _check_state_id(which, "which")
        found = self._checkpoints.find(which)
        if found is not None:
            self._go_behind(found.cursor.sequence)
        return found

    def _go_behind(self, sequence: int) -> None:
        if (self._consumer.committed, self._consumer.next_sequence) == (sequence, sequence + 1):
            return
        self._consumer.close()
        try:
            self._consumer = self._join("sequence", sequence + 1)
        except EndpointBusyError as error:
            raise ChannelUsageError(
                f"this consumer cannot be moved while arrays of its batches are there ({error}); release them, open it again "
                "and recover before it reads",
                option="which",
            ) from error

    def skip(self) -> Gap:
        """Goes past a damaged message; gives what is lost with it."""
        return self._told(self._consumer.skip())

    def __iter__(self) -> Iterator[Batch | Gap]:
        """Batches and gaps as they come, without end."""
        while True:
            taken = self.poll_batch(timeout=None)
            if taken is not None:
                yield taken

    async def next_batch(self, limit: int = 1024, timeout: float | None = None) -> Batch | Gap | None:  # noqa: ASYNC109
        """As `poll_batch`, in an event loop: other tasks run while this one waits, for ever or `timeout` s.

        Nothing is lost when the task is cancelled. While there is always something to read, other tasks run once a
        millisecond. On a channel without parking a waiting consumer looks every millisecond.
        Raises: ChannelUsageError while another task waits for this consumer, and when it is closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._yielded > _TURN_S:
            await asyncio.sleep(0)
            self._yielded = loop.time()
        taken = self.poll_batch(limit)
        if taken is not None:
            return taken
        waiting = sleepers()
        try:
            async with asyncio.timeout(timeout):
                while taken is None:
                    await waiting.sleep(self._consumer)
                    taken = self.poll_batch(limit)
        except TimeoutError:
            return None
        finally:
            self._yielded = loop.time()
        return taken

    def __aiter__(self) -> Self:
        """Batches and gaps as they come, without end: `async for batch in consumer`."""
        return self

    async def __anext__(self) -> Batch | Gap:
        taken = await self.next_batch()
        assert taken is not None, "a wait without end ends with something"
        return taken

    def close(self) -> None:
        """Leaves the channel, when the last array of its batches is gone; a named consumer's cursor stays.

        On a durable channel that cursor is stored too, so that it outlives the ring.
        """
        was_open = not self._consumer.closed
        self._consumer.close()
        if was_open and self._keeps_cursor:
            keeping.keeper.remove(self._checkpoints)
            self._checkpoints.keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_consumer(
    channel: Channel | str,
    name: str = "",
    *,
    start: Start | int | datetime | np.datetime64 = "resume",
    policy: Policy | None = None,
    patience_s: float | None = None,
    detach_after_s: float | None = 10.0,
    peek: bool = False,
    wait: WaitMode = "hybrid",
    acknowledge: Acknowledge = "batch",
    dtype: DTypeLike | type[Any] | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    node: str = DEFAULT_NODE,
    directory: str | os.PathLike[str] | None = None,
) -> Consumer:
    """Joins a channel as `name`; without a name it leaves nothing behind. `node` or `directory` find one given by name.

    start:  `earliest` still there, `latest` (only what comes), a sequence, `resume` where this name left (a new name
            starts at the earliest; one that the ring of a durable channel does not know any more, at its stored cursor),
            or a time: at the first record still there that is not before it, by its `ts_recv`, else its `ts_event` (ns
            since 1970 UTC). With `spill` what the journal holds is still there; with `overwrite`, where the journal can be read,
            what it alone holds is a `Gap`.
    policy: `block`: producers wait for this consumer, one write at most `patience_s` while it lives and `detach_after_s`
            when it is dead (None: for ever); `fail`: they do not wait and their write gives `Full` at once; `overwrite`:
            they do not, batches are validated copies, and what was missed is a `Gap`; `spill`: they do not, and what the
            ring has overwritten is read from the journal, as copies, until the consumer is back in the ring: nothing is
            missed but what the journal was made to give up, which is a `Gap`. None: spill on durable channels whose
            journal can be read here (unless `peek`), overwrite on channels whose producer waits for nobody (all of
            `md.*`, where asking for block is an error), and else block.
    peek:   also what is not durable yet; nothing lasting may come of it.
    wait:   `spin` keeps a core, `hybrid` spins and then sleeps 50 µs at a time, `park` sleeps until woken (the channel
            must have parking).
    acknowledge: `batch`: a batch counts as consumed when it is released or the next one is asked for; `manual`: only what
            `acknowledge` says does, and a gating consumer holds producers up a whole buffer after that.
    dtype:  the record type, as in `ChannelOptions`; a channel of another one is refused, field by field. With a dataclass
            `Batch.records()` gives instances of it.
    checkpoints: a directory for them; None: that of the journal. A memory channel has no other.
    Raises: ChannelUsageError for a word that is none of these, a start below 1 and one beyond the end; EndpointBusyError while a
            consumer of this name lives or all places are taken; ChannelNotFoundError and ChannelFormatError for a channel
            given by name.
    """
    check_text("name", name)
    if not isinstance(start, int | datetime | np.datetime64):
        _check("start", start, (*get_args(Start), "a sequence", "a time"))
    if policy is not None:
        _check("policy", policy, get_args(Policy))
    _check("wait", wait, get_args(WaitMode))
    _check("acknowledge", acknowledge, get_args(Acknowledge))
    opened = open_channel(channel, node=node, directory=directory) if isinstance(channel, str) else channel
    opened = declared(opened, dtype)
    if name == JOURNAL_CONSUMER and opened.ring.visible_durable:
        raise ChannelUsageError(
            f"name = {name!r}: on a durable channel that is its journal's, by which producers know that it runs; use another",
            option="name",
            value=name,
        )
    if isinstance(start, datetime | np.datetime64):
        start = first_sequence_at(opened, start, peek=peek, policy=policy)
    if isinstance(start, int) and start < 1:
        raise ChannelUsageError(f"start = {start}: sequences begin with 1", option="start", value=start)
    place = ("sequence", min(start, _SEQUENCE_MAX)) if isinstance(start, int) else (start, 0)
    kept = ReaderCheckpoints(opened, name, checkpoints)
    if start == "resume" and not peek and kept.keeps_itself() and not _is_known(opened, name):
        stored = kept.stored_cursor()
        place = place if stored is None else ("sequence", stored + 1)

    if policy == "overwrite" and not peek and place[0] in ("earliest", "resume"):
        place = _earliest_told(opened, name, place)

    def join(word: str, sequence: int) -> RingConsumer:
        try:
            return RingConsumer(
                opened.ring,
                name,
                start=word,
                sequence=sequence,
                policy=policy,
                patience=patience_s,
                detach_after=detach_after_s,
                peek=peek,
                wait=wait,
                manual=acknowledge == "manual",
            )
        except EndpointBusyError as error:
            if "max" not in error.facts:
                raise
            raise all_taken(error, opened.ring) from None

    consumer = Consumer(opened, join, place, kept, is_manual=acknowledge == "manual")
    if not peek:
        consumer.keep_cursor()
    return consumer


def _is_known(channel: Channel, name: str) -> bool:
    """Whether the ring has a cursor of this name: it is exact, and younger than any that is stored."""
    return any(line["name"] == name for line in channel.ring.status()["consumers"])


def _earliest_told(channel: Channel, name: str, place: tuple[str, int]) -> tuple[str, int]:
    """The start of one that reads the ring alone: the journal's first message, so that what only that holds is told as a gap."""
    journal = keeping.journal_beside(channel)
    if journal is None or (place[0] == "resume" and _is_known(channel, name)):
        return place
    try:
        first: int = JournalReader(journal).next_sequence
    except JournalError:
        return place  # of a reader that may not read it
    return ("sequence", first) if first < channel.ring.status()["oldest"] else place


def _check_state_id(state_id: object, option: str = "state_id") -> None:
    check_text(option, state_id)


def _bytes_of_state(state: object) -> bytes:
    """What is stored: a number would be that many zeros, a list its items, if bytes() were asked."""
    try:
        return memoryview(state).tobytes()  # type: ignore[arg-type]  # callers without a type checker give anything
    except TypeError:
        raise ChannelUsageError(
            f"state is of type {type(state).__name__}: a state is stored as the bytes that it is given as; encode it, as in "
            "json.dumps(state).encode()",
            option="state",
            expected="bytes, bytearray, memoryview",
            found=type(state).__name__,
        ) from None


def _check(option: str, value: object, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ChannelUsageError(
            f"{option} = {value!r} is none of {', '.join(words)}", option=option, value=value, expected=words
        )
