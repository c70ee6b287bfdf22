"""Commands of `orders` in order, durable ones alone: from the journal, and from the channel once that has nothing older to give.

Nothing lasting may come of what a crash can still take, so whoever reads here never sees it. The channel's consumer holds nobody up: what
its ring has overwritten it reads from the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from tidebook._core import JournalReader
from tidebook.errors import AuditError
from tidebook.transport import Gap, open_consumer
from tidebook.venue import COMMAND, Records

if TYPE_CHECKING:
    import threading
    from pathlib import Path
    from types import TracebackType

    from tidebook.transport import Channel, Consumer

CHANNEL = "orders"
_POLL_S = 0.02
_WAIT_S = 0.2
_NOTHING = np.zeros(0, COMMAND)


class Source:
    """Reads on behind a command; one thread uses it."""

    def __init__(self, journal: Path, sequence: int, channel: Channel | None = None) -> None:
        """Behind command `sequence` of a journal, and of the `channel` it belongs to; without one its end is looked at again and again.

        Raises: JournalError and its kinds.
        """
        self._reader = JournalReader(journal, channel=CHANNEL, from_sequence=sequence + 1)
        self._next = sequence + 1
        self._rest = _NOTHING
        self._channel = channel
        self._consumer: Consumer | None = None

    @property
    def durable(self) -> int:
        """Last command that is known to be durable; as new as the last read."""
        if self._channel is None:
            return self._reader.durable
        return max(self._reader.durable, self._next - 1)

    def read(self, limit: int, stop: threading.Event | None = None) -> tuple[int, Records] | None:
        """Sequence of the first and the next commands, `limit` at most; None when none came.

        With `stop` it waits a moment for the first one, unless that is set. Memory: a copy.
        Raises: AuditError where commands are missing; JournalError and its kinds; ChannelError.
        """
        if not len(self._rest):
            self._rest = self._read(limit, stop)
        if not len(self._rest):
            return None
        taken, self._rest = self._rest[:limit], self._rest[limit:]
        first = self._next
        self._next += len(taken)
        return first, taken

    def _read(self, limit: int, stop: threading.Event | None) -> Records:
        """Commands from the next one on, as many as come at once."""
        if self._consumer is None:
            found = self._reader.next(limit)
            if found is not None:
                first, payloads = found
                joined = b"".join([payloads[index] for index in range(len(payloads))])
                if len(joined) != len(payloads) * COMMAND.itemsize:
                    raise AuditError(
                        f"{CHANNEL}: messages from {first} on are no commands, which have {COMMAND.itemsize} bytes each",
                        sequence=first,
                    )
                return self._following(first, np.frombuffer(joined, COMMAND))
            if stop is None:
                return _NOTHING
            if self._channel is None:
                stop.wait(_POLL_S)
                return _NOTHING
            # Asleep until somebody trades: one that polls beside an idle venue takes a twentieth of a core.
            self._consumer = open_consumer(self._channel, start=self._next, policy="spill", wait="park")
        batch = self._consumer.poll_batch(limit, 0.0 if stop is None or stop.is_set() else _WAIT_S)
        if batch is None:
            return _NOTHING
        if isinstance(batch, Gap):
            raise _missing(self._next, batch.first + batch.count - 1)
        with batch:
            return self._following(batch.first_sequence, np.array(batch.array, COMMAND))

    def _following(self, first: int, commands: Records) -> Records:
        if first != self._next:
            raise _missing(self._next, first - 1)
        return commands

    def close(self) -> None:
        """Leaves the channel."""
        if self._consumer is not None:
            self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _missing(first: int, last: int) -> AuditError:
    return AuditError(
        f"{CHANNEL}: commands {first} to {last} are not in the journal any more, and nothing can be derived without them",
        sequence=first,
    )
