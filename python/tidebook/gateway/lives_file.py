"""The lives of orders at a command, as a file: a start reads on from there and not from the first command.

Derived and for nobody else: `docs/formats/lives.md`. Whoever reads it compares it with the journal (the command that it stands behind) and with
the venue as of that command, so a file that is damaged, of another journal, or wrong costs a start its time and nothing else.

Written beside an event loop, by a thread, in parts, between which others run; what changes meanwhile is written as it was.
"""

from __future__ import annotations

from hashlib import blake2b
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tidebook.errors import TidebookError
from tidebook.gateway.layouts import AccountDefinition, Definition, Limits
from tidebook.gateway.lives import Everything, Fill, Lives, Order
from tidebook.persistence.data_directory import make_directories
from tidebook.persistence.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tidebook.venue import Venue

FORMAT: Final = "tidebook-lives"
FORMAT_VERSION: Final = 2
WITHOUT_LIMITS: Final = 1
"""A version that lacks limits and dead man's switches: enough where nothing else tells what became of orders."""
_PART_ROWS: Final = 500

_ORDER: Final = attrgetter(*Order.__slots__)
_SUMS: Final = tuple(Order.__slots__.index(name) for name in ("notional", "fee"))
"""Integers without a bound: as text."""
_FILL: Final = attrgetter(*Fill.__slots__)
_DEFINITION: Final = attrgetter(*Definition.__slots__)
_ACCOUNT: Final = attrgetter(*AccountDefinition.__slots__)
_LIMITS: Final = attrgetter(*Limits.__slots__)


class LivesFileError(TidebookError):
    """A file that cannot be gone on from; never seen outside of a start's log."""


class _Head(msgspec.Struct, frozen=True):
    format: str
    version: int
    sequence: int
    """Of the command it stands behind."""
    command: str
    """Digest of that command."""
    content: str
    """Digest of all that follows the line."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_head = msgspec.json.Decoder(_Head).decode


class Picture:
    """Lives at a command, to be written."""

    def __init__(self, lives: Lives, sequence: int, command: bytes) -> None:
        """`command` is that of the `sequence`, the last one that they have taken in. Cost: that of `Lives.past`."""
        self.sequence = sequence
        self._command = command
        self._known = lives.past()

    def write(self, path: Path) -> None:
        """Has it on disk in the place of the one before. Raises: OperationError; OSError."""
        make_directories(path.parent)
        digest = blake2b(digest_size=16)
        with replacing(path) as staging, staging.open("wb") as file:
            head_size = len(self._head(digest.hexdigest()))
            file.seek(head_size)
            for part in self._parts():
                encoded = _encode(part)
                framed = len(encoded).to_bytes(4, "little") + encoded
                digest.update(framed)
                file.write(framed)
            file.seek(0)
            file.write(self._head(digest.hexdigest()))

    def _head(self, content: str) -> bytes:
        head = _Head(FORMAT, FORMAT_VERSION, self.sequence, command_digest(self._command), content)
        return msgspec.json.encode(head) + b"\n"

    def _parts(self) -> Iterator[tuple[str, list[Any]]]:
        known = self._known
        yield from _in_parts("ended", map(_row, known.ended()))
        yield from _in_parts("open", map(_row, known.open()))
        yield from _in_parts("ids", known.ids())
        yield from _in_parts("fills", map(_FILL, known.fills()))
        yield from _in_parts("definitions", ((number, *_DEFINITION(it)) for number, it in known.definitions.items()))
        yield from _in_parts("accounts", ((number, *_ACCOUNT(it)) for number, it in known.accounts.items()))
        yield from _in_parts("sessions", known.sessions.items())
        yield from _in_parts("killed", known.killed)
        yield from _in_parts("limits", ((*key, *_LIMITS(it)) for key, it in known.limits.items()))
        yield from _in_parts("switches", known.switches.items())


class Saved:
    """A file that was read: as of which command, and how to go on from it."""

    def __init__(self, path: Path) -> None:
        """Raises: FileNotFoundError; LivesFileError for one that is damaged or of another version; OSError."""
        line, newline, content = path.read_bytes().partition(b"\n")
        try:
            head = _decode_head(line)
        except msgspec.MsgspecError as error:
            raise LivesFileError(f"{path}: no head ({error})") from error
        if not newline or head.format != FORMAT or head.version not in (WITHOUT_LIMITS, FORMAT_VERSION):
            raise LivesFileError(f"{path} is {head.format} version {head.version}, not {FORMAT} {FORMAT_VERSION}")
        if blake2b(content, digest_size=16).hexdigest() != head.content:
            raise LivesFileError(f"{path} is damaged: its content is not what its digest says")
        self.path = path
        self.version = head.version
        self.sequence = head.sequence
        self._command = head.command
        self._content = content

    def is_behind(self, command: bytes | None) -> bool:
        """Whether this is the command that it stands behind: what the journal has at its sequence, None for nothing."""
        return command is not None and command_digest(command) == self._command

    def lives(self, command: bytes, venue: Venue, remembered: int) -> Lives:
        """Goes on from it: `command` is what the journal has at its sequence, `venue` stands behind that.

        Raises: LivesFileError where they are not those of the file.
        """
        if not self.is_behind(command):
            raise LivesFileError(f"{self.path}: command {self.sequence} of orders is another one")
        known = Everything([], [], [], [], {}, {}, {}, [], {}, {})
        try:
            for kind, rows in self._parts():
                _take(known, kind, rows)
            lives = Lives.of(known, remembered)
            difference = lives.difference(venue)
        except (TypeError, ValueError, LookupError, AttributeError, msgspec.MsgspecError) as error:
            raise LivesFileError(f"{self.path}: rows of another shape ({error})") from error
        if difference is not None:
            raise LivesFileError(f"{self.path}: {difference}")
        return lives

    def _parts(self) -> Iterator[tuple[str, list[Any]]]:
        at = 0
        while at < len(self._content):
            size = int.from_bytes(self._content[at : at + 4], "little")
            kind, rows = _decode(self._content[at + 4 : at + 4 + size])
            yield kind, rows
            at += 4 + size


def command_digest(command: bytes) -> str:
    """By which a command of a journal is known."""
    return blake2b(command, digest_size=16).hexdigest()


def _in_parts(kind: str, rows: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    part: list[Any] = []
    for row in rows:
        part.append(row)
        if len(part) == _PART_ROWS:
            yield kind, part
            part = []
    if part:
        yield kind, part


def _take(known: Everything, kind: str, rows: list[Any]) -> None:
    match kind:
        case "ended":
            known.ended.extend(map(_order, rows))
        case "open":
            known.open.extend(map(_order, rows))
        case "ids":
            known.ids.extend(map(tuple, rows))
        case "fills":
            known.fills.extend(Fill(*row) for row in rows)
        case "definitions":
            known.definitions.update({number: Definition(*row) for number, *row in rows})
        case "accounts":
            known.accounts.update({number: AccountDefinition(*row) for number, *row in rows})
        case "sessions":
            known.sessions.update(rows)
        case "killed":
            known.killed.extend(rows)
        case "limits":
            known.limits.update({(account, instrument): Limits(*row) for account, instrument, *row in rows})
        case "switches":
            known.switches.update(rows)


def _row(order: Order) -> list[Any]:
    row = list(_ORDER(order))
    for at in _SUMS:
        row[at] = str(row[at])
    return row


def _order(row: list[Any]) -> Order:
    for at in _SUMS:
        row[at] = int(row[at])
    order = Order(*row)
    order.earlier_ids = tuple(order.earlier_ids)
    return order
