"""A writer of a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np

from tidebook._core import Full, Ring, RingProducer
from tidebook.errors import ChannelUsageError, EndpointBusyError, EndpointLostError
from tidebook.transport.channel import DEFAULT_NODE, Channel, declared, open_channel
from tidebook.transport.claim import Claim
from tidebook.transport.journal import JOURNAL_CONSUMER, Journal, RingShape
from tidebook.transport.keep_rule import KeepPlan
from tidebook.transport.keeping import Keeping
from tidebook.transport.record import Packing

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from numpy.typing import DTypeLike

    from tidebook.transport.keeping import Kept

    Message = bytes | bytearray | memoryview | Any
    """Bytes, or an instance of the dataclass that the channel's record type was declared as."""

Wait = Literal["published", "durable"]


class Producer:
    """Publishes messages or records. Calls release the GIL while they wait and obey Ctrl-C."""

    def __init__(
        self, channel: Channel, producer: RingProducer, journal: Journal | None = None, keeping: Keeping | None = None
    ) -> None:
        self.channel = channel
        self._producer = producer
        self._journal = journal
        self._keeping = keeping
        self._dtype = channel.dtype
        record = channel.record
        self._packing = None if record is None or self._dtype is None else Packing(record, self._dtype)

    @property
    def published(self) -> int:
        """Last committed sequence; 0 when there is none. In mode mpsc, of any producer, with all before it committed too."""
        return self._producer.published

    @property
    def recovery(self) -> str | None:
        """What opening the journal found, in one line; None on memory channels."""
        return None if self._journal is None else self._journal.recovery

    def guarantee(self) -> dict[str, Any]:
        """What is promised now: text (one line), published, durable (sequences), journal (directory or None), failure.

        On durable channels also `no_staging`: why the producer waits for a slow disk as soon as the ring is full, or None.
        """
        if self._journal is not None:
            return self._journal.guarantee()
        published = self.published
        text = f"memory, published up to {published}: survives the death of any process, not of the machine"
        return {"text": text, "published": published, "durable": None, "journal": None, "failure": None}

    def compact(self) -> Kept:
        """Removes of the journal what the channel's `keep` rule lets go, now; by itself it is done every ten seconds.

        Gives how the journal stands by its rule, also while everything stays or it could not be looked at (`failure`).
        Raises: ChannelUsageError on a memory channel.
        """
        if self._keeping is None:
            raise ChannelUsageError(
                f"channel {self.channel.name} has no journal here, so there is nothing to compact; make it with durability wal",
                option="durability",
            )
        return self._keeping.look()

    def write(self, message: Message, timeout: float | None = None, wait: Wait = "published") -> int | Full:
        """Commits one message, as bytes or as an instance of the channel's dataclass; waits for consumers that gate.

        Gives its sequence, or `Full` when `timeout` s passed, or a consumer in the way is not to be waited for longer.
        With `wait="durable"` it gives it only when it is synced, however long that takes.
        Raises: ChannelUsageError for a value that its field cannot hold, which is every one that would be read back as
                another, but floats, that are rounded to their size; for what is no message of this channel, and for
                `durable` on a memory channel; JournalError when the journal has stopped: nothing more is acknowledged.
        """
        if wait != "published":
            return self._synced(self._journal_for(wait), self.write(message, timeout))
        packing = self._packing
        payload = packing.pack(message) if packing is not None and isinstance(message, packing.record) else message
        try:
            return self._producer.write(payload, timeout)
        except TypeError:
            if _is_bytes(message):
                raise
            raise self._not_written(message) from None
        except EndpointLostError:
            self._tell_failure()
            raise

    def write_batch(
        self, messages: Sequence[Message] | np.ndarray[Any, Any], timeout: float | None = None, wait: Wait = "published"
    ) -> int | Full:
        """Commits many: a structured array of the channel's layout, or a sequence of what `write` takes.

        Gives the last sequence, or `Full` with how many were written; `timeout` is of the whole call, `wait` as in `write`.
        Raises: ChannelUsageError for an array of another layout, and as `write`; none is written then. What goes wrong
                after some were written says how many: `facts["written"]`.
        """
        if wait != "published":
            return self._synced(self._journal_for(wait), self.write_batch(messages, timeout))
        packing = self._packing
        records: memoryview | None = None
        if isinstance(messages, np.ndarray):
            records = self._bytes_of(messages)
        elif isinstance(messages, str | bytes | bytearray | memoryview) or not isinstance(messages, Sequence):
            raise ChannelUsageError(
                f"messages of {type(messages).__name__}: write_batch takes a structured array, a list or a tuple; `write` "
                "takes one message",
                option="messages",
            )
        elif packing is not None and messages and not isinstance(messages[0], bytes | bytearray | memoryview):
            records = memoryview(packing.pack_all(messages))
        try:
            if records is not None:
                return self._producer.write_records(records, timeout)
            return self._producer.write_messages(cast("Sequence[bytes]", messages), timeout)
        except TypeError:
            wrong = [one for one in messages if not _is_bytes(one)]
            if not wrong:
                raise
            raise self._not_written(wrong[0]) from None
        except EndpointLostError:
            self._tell_failure()
            raise

    def _bytes_of(self, records: np.ndarray[Any, Any]) -> memoryview:
        if records.dtype != self._dtype:
            raise ChannelUsageError(
                f"array of {records.dtype} written to {self.channel.name}, whose records are "
                f"{'plain messages' if self._dtype is None else self._dtype}",
                option="dtype",
            )
        return np.ascontiguousarray(records).view(np.uint8).data

    def _not_written(self, message: object) -> ChannelUsageError:
        """Why what is no bytes is no message of this channel either."""
        name, kind = self.channel.name, type(message).__name__
        if self._packing is not None:
            told = self._packing.unlike(message)
        elif self._dtype is None:
            told = f"expected were bytes, and not {kind}; encode it, or make the channel with a dtype"
        elif is_dataclass(message):
            told = f"it was opened without a dataclass; open it with dtype={kind}"
        else:
            told = f"expected were the bytes of one record, and not {kind}; an array of records is for write_batch"
        return ChannelUsageError(f"nothing written to {name}: {told}", option="message")

    def _journal_for(self, wait: str) -> Journal:
        """The journal to wait for, before anything is written."""
        if wait != "durable":
            raise ChannelUsageError(f"wait = {wait!r} is none of published, durable", option="wait", value=wait)
        if self._journal is None:
            raise ChannelUsageError(
                f"wait = 'durable': channel {self.channel.name} has no journal here; make it with durability wal",
                option="wait",
                value=wait,
            )
        return self._journal

    def _synced(self, journal: Journal, written: int | Full) -> int | Full:
        """What was written, once it is durable."""
        if not isinstance(written, Full):
            journal.wait(written)
        return written

    def _tell_failure(self) -> None:
        """Why a producer was deposed, where that was its own journal."""
        if self._journal is not None:
            self._journal.check()

    def claim(self, size: int | None = None, timeout: float | None = None) -> Claim | Full:
        """Room for a message of `size` bytes, or for one record, to be filled in place; waits as `write` does.

        A producer has one claim at a time and writes nothing else meanwhile. A claim is one piece: at most an eighth of
        the buffer, in mode mpsc 108 bytes; `write` takes longer messages. `with` over a `Full` raises ChannelFullError.
        Raises: ChannelUsageError for a size the channel cannot take, and while another claim is open.
        """
        if size is None:
            if self._dtype is None:
                raise ChannelUsageError("plain messages have no size of their own; use claim(size)", option="size")
            size = self._dtype.itemsize
        claimed = self._producer.claim(size, timeout)
        return claimed if isinstance(claimed, Full) else Claim(claimed, self._dtype)

    def flush(self, timeout: float | None = None) -> int:
        """Waits until all that is published is as safe as this channel makes it, and gives the last sequence that is.

        On durable channels that is the last one synced, less than `published` when `timeout` s passed first.
        Raises: JournalError when the journal has stopped.
        """
        if self._journal is None:
            return self.published
        published = self.published
        if self._journal.wait(published, timeout):
            return published
        durable: int = self._journal.guarantee()["durable"]
        return durable

    def close(self) -> None:
        """Gives the channel free for another producer; an open claim is aborted, a journal is synced.

        Raises: JournalError when the journal had stopped.
        """
        if self._keeping is not None:
            self._keeping.close()
        self._producer.close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_producer(
    channel: Channel | str,
    *,
    dtype: DTypeLike | type[Any] | None = None,
    node: str = DEFAULT_NODE,
    directory: str | os.PathLike[str] | None = None,
) -> Producer:
    """Becomes a producer of a channel, after its last committed message; `node` or `directory` find one given by name.

    dtype:  the record type, as in `ChannelOptions`; a channel of another one is refused, field by field.

    The producer of a durable channel runs its journal, so it is opened in the process that called `create_channel`.
    Raises: EndpointBusyError while another producer lives (mode spsc) or as many as may (mpsc); ChannelNotFoundError,
            ChannelFormatError; CorruptMessageError when the newest messages are damaged; of a durable channel JournalError
            and its kinds, and ChannelUsageError when nobody runs its journal.
    """
    opened = open_channel(channel, node=node, directory=directory) if isinstance(channel, str) else channel
    opened = declared(opened, dtype)
    if opened.journal is None:
        _check_journal_runs(opened)
        try:
            return Producer(opened, RingProducer(opened.ring))
        except EndpointBusyError as error:
            if opened.ring.mode != "spsc":
                raise
            raise EndpointBusyError(f"{error}, unless it was made with mode='mpsc'", **error.facts) from None
    path, shape, place = opened.path, RingShape.of(opened.ring), opened.journal
    journal = Journal(opened.name, path, place, shape)
    try:
        # The journal may have made the ring anew.
        opened = replace(opened, ring=Ring.open(path))
        keeping = Keeping(opened.name, place.directory, place.keep or KeepPlan())
        producer = Producer(opened, RingProducer(opened.ring), journal, keeping)
    except BaseException:
        journal.close()
        raise
    if place.keep is not None and place.keep.removes:
        keeping.begin()
    return producer


def _is_bytes(message: Any) -> bool:
    try:
        memoryview(message).release()
    except TypeError:
        return False
    return True


def _check_journal_runs(channel: Channel) -> None:
    """A durable channel without somebody who journals it would keep all it is given from its consumers."""
    if not channel.ring.visible_durable:
        return
    consumers = channel.status()["consumers"]
    if not any(consumer["name"] == JOURNAL_CONSUMER and consumer["alive"] for consumer in consumers):
        raise ChannelUsageError(
            f"channel {channel.name} is durable and nobody runs its journal: open the producer with what "
            "create_channel(..., durability='wal', wal_dir=...) gives",
            option="durability",
            path=str(channel.path),
        )
