"""What the simulated venue can be made to do wrong, and which message or request it befalls.

A fault is asked for (`POST /sim/faults` or an argument of the server) and befalls the next `count` things it matches.
Adding a kind means a word in `FaultKind` and a branch where the server delivers.
"""

import math
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
from aiohttp import web


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
    CHECKSUM = "checksum"
    """Its checksum is wrong (kraken)."""
    SEQUENCE = "sequence"
    """The number of the connection's next message is one too high, though nothing was lost (coinbase-advanced)."""
    HUGE = "huge"
    """It comes with spaces at its end, `size_bytes` long in all."""
    SLOW = "slow"
    """It comes in pieces over `seconds`, and what follows waits."""
    DISCONNECT = "disconnect"
    """The connection is reset without a close frame just before the message."""
    CLOSE = "close"
    """The connection is closed politely, with code 1001, just before the message."""
    STALL = "stall"
    """The connection stays open but sends nothing for `seconds`, not even pongs; what came meanwhile is lost."""
    SHUTDOWN = "shutdown"
    """The venue announces its shutdown to the connection, where it does so, and closes it `seconds` later."""
    REFUSE = "refuse"
    """A WebSocket upgrade is answered with `status` and, for 418 and 429, `Retry-After: seconds`."""
    RATE_LIMIT = "rate_limit"
    """A client's frame is refused as one too many, in the venue's words."""
    REST = "rest"
    """A REST request is answered with `status` and, for 418 and 429, `Retry-After: seconds`."""


SPECIAL_FAULTS = frozenset({FaultKind.CHECKSUM, FaultKind.SEQUENCE})
"""Only venues with checksums or numbered connections can have them."""

# What befalls no message of a stream.
_ELSEWHERE = {FaultKind.REST, FaultKind.REFUSE, FaultKind.RATE_LIMIT}


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One fault and what it matches. `stream` is a name or a pattern such as `btcusdt@*`."""

    kind: FaultKind
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How many more matching messages, connections or requests it befalls."""
    stream: str = "*"
    connection: int | None = None
    """Only this connection of the venue; None = any."""
    seconds: float = 1.0
    status: int = 429
    size_bytes: int = 8 * 1024 * 1024

    def befalls_one_of(self, streams: Iterable[str]) -> bool:
        """Whether it can ever happen on a venue of these streams."""
        return self.kind in _ELSEWHERE or any(fnmatchcase(stream, self.stream) for stream in streams)


class Faults:
    """The faults still to come, oldest first."""

    def __init__(self, pending: list[Fault] | None = None) -> None:
        self.pending: list[Fault] = list(pending or [])
        self._malformed_count = 0

    def add(self, fault: Fault) -> None:
        """Asks for a fault."""
        self.pending.append(fault)

    def next_for_message(self, stream: str, connection: int, payload: bytes) -> Fault | None:
        """The fault that befalls this message, counted down; None almost always."""
        for fault in self.pending:
            if (
                fault.kind not in _ELSEWHERE
                and fault.connection in (None, connection)
                and fnmatchcase(stream, fault.stream)
                and (fault.kind is not FaultKind.CHECKSUM or b'"checksum":' in payload)
            ):
                return self._spend(fault)
        return None

    def next_for_request(self) -> Fault | None:
        """The fault that befalls a REST request."""
        return self._next(FaultKind.REST)

    def next_for_connect(self) -> Fault | None:
        """The fault that befalls the upgrade to a WebSocket."""
        return self._next(FaultKind.REFUSE)

    def next_for_answer(self) -> Fault | None:
        """The fault that befalls a client's frame."""
        return self._next(FaultKind.RATE_LIMIT)

    def _next(self, kind: FaultKind) -> Fault | None:
        for fault in self.pending:
            if fault.kind is kind:
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


def refusal(fault: Fault, body: dict[str, Any] | None = None) -> web.Response:
    """The HTTP answer to a connection or request that is refused; 418 and 429 say when to come back."""
    answer = web.json_response(body, status=fault.status) if body else web.Response(status=fault.status, text="refused")
    if fault.status in (418, 429):
        answer.headers["Retry-After"] = str(max(0, math.ceil(fault.seconds)))
    return answer
