"""Requests to change a feed's subscriptions, as files in `feeds/changes/` of the data directory.

Who may write there may ask, and nobody else. A request is taken by renaming it, made, and answered under the same name
with another ending; so it is made by one, and one that was taken by somebody who was killed is seen. Names sort by time.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tidebook.errors import OperationError
from tidebook.persistence.files import read_regular, replace_durably

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOLDER = "feeds/changes"
_ASKED, _TAKEN, _ANSWERED = ".asked", ".taken", ".answered"
# Nobody waits so long for an answer: it is of somebody who was killed.
_ANSWER_AGE_MAX_S = 3_600.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of one feed."""

    venue: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    symbols: tuple[str, ...] = ()
    """All of the feed now."""
    error: str = ""
    asked_wrong: bool = False
    """The error is of who asked: the same request will fail again."""
    note: str = ""
    """What else whoever asked should know."""


_decode_change = msgspec.json.Decoder(Change).decode
_decode_answer = msgspec.json.Decoder(Answer).decode


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that is to be made now."""

    path: Path
    change: Change | None
    """None when the file holds none."""
    again: bool
    """Somebody who ended without an answer took it before, and may have made it."""

    def answer(self, answer: Answer) -> None:
        """Tells who asked. Raises: OperationError when it cannot be written; the request is then taken again."""
        replace_durably(self.path.with_suffix(_ANSWERED), msgspec.json.encode(answer))
        self.path.unlink(missing_ok=True)


class Asked:
    """A request of this process; `withdraw` it in the end, whatever came of it."""

    def __init__(self, data: Path, change: Change) -> None:
        folder = data / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        self._asked, self._answered = path.with_suffix(_ASKED), path.with_suffix(_ANSWERED)
        replace_durably(self._asked, msgspec.json.encode(change))

    def answer(self) -> Answer | None:
        """What became of it; None as long as nobody said. Raises: OperationError for what is no file under its name."""
        try:
            return _decode_answer(read_regular(self._answered))
        except FileNotFoundError:
            return None

    def withdraw(self) -> bool:
        """Takes it back if nobody took it yet, and says whether so; an answer has been read and goes."""
        self._answered.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self._asked.unlink()
            return True
        return False


def take_all(data: Path) -> Iterator[Taken]:
    """Every request there is, oldest first, each taken when its turn comes; one withdrawn before is left out.

    For who owns the subscriptions of the data directory. Raises: OSError.
    """
    folder = data / _FOLDER
    for path in sorted([*folder.glob(f"*{_ASKED}"), *folder.glob(f"*{_TAKEN}")]):
        again = path.suffix == _TAKEN
        with suppress(FileNotFoundError):
            taken = path if again else path.rename(path.with_suffix(_TAKEN))
            yield Taken(taken, _read(taken), again)


def forget_old_answers(data: Path) -> None:
    """Removes answers that nobody has fetched for an hour. Raises: OSError."""
    oldest_s = time.time() - _ANSWER_AGE_MAX_S
    for path in (data / _FOLDER).glob(f"*{_ANSWERED}"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest_s:
                path.unlink()


def _read(path: Path) -> Change | None:
    try:
        return _decode_change(read_regular(path))
    except (msgspec.DecodeError, OperationError):
        return None
