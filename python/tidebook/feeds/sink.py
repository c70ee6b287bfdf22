"""Where a connector writes: raw messages, and nothing else.

A connector knows no ring and no journal. What it writes to is the producer of `feed.<venue>`, or a list in a test.
"""

from enum import IntEnum
from typing import NamedTuple, Protocol


class MessageKind(IntEnum):
    """What kind of input a raw message is; the numbers are those of `crates/types/src/message.rs`."""

    WS = 1
    """A WebSocket message as received; no context."""
    REST = 2
    """Body of a REST answer; the context is the request target."""
    STATE = 3
    """A change of the connection, a JSON object with the key `event`; no context."""
    TIMER = 4
    """The clock of the feed; no context, no body."""


class RawSink(Protocol):
    """Takes raw messages in the order they happened.

    `write` must not wait for anything slow: it is called between two reads of the socket. What it raises ends the
    connector, because a capture with a hole would be silent about it.
    """

    def write(self, ts_recv_ns: int, connection: int, kind: int, context: bytes, body: bytes) -> object:
        """Takes one message; what it returns is not looked at."""


class RawMessage(NamedTuple):
    """One raw message as `MemorySink` keeps it."""

    ts_recv_ns: int
    connection: int
    kind: int
    context: bytes
    body: bytes


class MemorySink:
    """Keeps every message in `messages`, oldest first: for tests and for looking at a feed by hand."""

    def __init__(self) -> None:
        self.messages: list[RawMessage] = []

    def write(self, ts_recv_ns: int, connection: int, kind: int, context: bytes, body: bytes) -> None:
        """Appends the message."""
        self.messages.append(RawMessage(ts_recv_ns, connection, kind, context, body))
