"""What the simulated venue can be made to do wrong, and which message or request it befalls.

A fault is asked for (`POST /sim/faults` or an argument of the server) and befalls the next `count` things it matches.
Adding a kind means a word in `FaultKind` and a branch where the server delivers.
"""

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec


class FaultKind(StrEnum):
    """What goes wrong."""

    DROP = "drop"
    """A message of the stream is never sent."""
    DUPLICATE = "duplicate"
    """It is sent twice."""
    REORDER = "reorder"
    """It is sent after the stream's next message."""
    MALFORMED = "malformed"
    """It is sent damaged: cut short, a byte changed, no JSON at all, or as a binary frame, in turn."""
    DISCONNECT = "disconnect"
    """The connection is reset without a close frame just before the message."""
    CLOSE = "close"
    """The connection is closed politely, with code 1001, just before the message."""
    STALL = "stall"
    """The connection stays open but sends nothing for `seconds`, not even pongs; what came meanwhile is lost."""
    SHUTDOWN = "shutdown"
    """The venue announces `serverShutdown` to the connection and closes it `seconds` later."""
    REST = "rest"
    """A request under /api is answered with `status` and, for 418 and 429, `Retry-After: seconds`."""


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One fault and what it matches. `stream` is a name or a pattern such as `btcusdt@*`."""

    kind: FaultKind
    count: int = 1
    """How many more matching messages, connections or requests it befalls."""
    stream: str = "*"
    connection: int | None = None
    """Only this connection of the venue; None = any."""
    seconds: float = 1.0
    status: int = 429


class Faults:
    """The faults still to come, oldest first."""

    def __init__(self, pending: list[Fault] | None = None) -> None:
        self.pending: list[Fault] = list(pending or [])
        self._malformed_count = 0

    def add(self, fault: Fault) -> None:
        """Asks for a fault."""
        self.pending.append(fault)

    def next_for_message(self, stream: str, connection: int) -> Fault | None:
        """The fault that befalls this message, counted down; None almost always."""
        for fault in self.pending:
            if (
                fault.kind is not FaultKind.REST
                and fault.connection in (None, connection)
                and fnmatchcase(stream, fault.stream)
            ):
                return self._spend(fault)
        return None

    def next_for_request(self) -> Fault | None:
        """The fault that befalls a REST request."""
        for fault in self.pending:
            if fault.kind is FaultKind.REST:
                return self._spend(fault)
        return None

    def damage(self, payload: bytes) -> tuple[bytes, bool]:
        """`payload` damaged, and whether it goes out as a binary frame. The ways take turns."""
        way = self._malformed_count % 4
        self._malformed_count += 1
        if way == 0:
            return payload[: len(payload) // 2], False
        if way == 1:
            place = len(payload) * 2 // 3
            return payload[:place] + b"?" + payload[place + 1 :], False
        if way == 2:
            return b"<html>502 Bad Gateway</html>", False
        return payload[: len(payload) // 3] + bytes(range(128, 160)), True

    def _spend(self, fault: Fault) -> Fault:
        fault.count -= 1
        if fault.count <= 0:
            self.pending.remove(fault)
        return fault
