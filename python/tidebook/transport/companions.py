"""What belongs to a durable channel beside its ring and its journal: where each lies.

The journal's owner leaves two things beside the ring: a link to the journal, by which other processes find it, and, while the disk
is slow, a second ring with what is staged. In the journal's directory lie the store of checkpoints and a note of each ring's place.
"""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path
from typing import Final

from tidebook.errors import JournalError

_RINGS_BYTES_MAX: Final = 4 << 20
_BIRTH_BYTES: Final = 24


def journal_of(ring: Path) -> Path | None:
    """Where the owner of a ring has last opened its journal; None where no link says so."""
    try:
        return _link(ring).readlink()
    except OSError:
        return None


def noted_rings(journal: Path) -> list[Path]:
    """Where rings of a journal are or were, as their owners noted it in its directory.

    Raises: JournalError for notes that are not all that was written, or gone; OSError for those that cannot be read.
    """
    path = journal / "rings"
    content = _content(path, _RINGS_BYTES_MAX)
    if content is None:
        if not _says_that_rings_are_noted(journal):
            return []  # of a release that noted none, or never run with a ring
        raise _not_known(path, "it is gone")
    *entries, rest = content.split(b"\0")
    texts = [entry[9:] for entry in entries]
    if rest or any(entry[:9] != b"%08x " % zlib.crc32(text) for entry, text in zip(entries, texts, strict=True)):
        raise _not_known(path, "it is damaged")
    if not texts or texts[0] != b"%d" % (len(texts) - 1):
        raise _not_known(path, "it is damaged: some of it is missing")
    return [Path(os.fsdecode(place)) for place in texts[1:]]


def _not_known(path: Path, reason: str) -> JournalError:
    return JournalError(
        f"{path} does not say where rings of this journal are ({reason}), so who reads them is not known and nothing is removed: open the "
        "channel's producer again, once with each place of its rings whose readers are to be heard (directory=, buffer_file); it is written "
        "anew then",
        path=str(path),
    )


def _says_that_rings_are_noted(journal: Path) -> bool:
    """As the journal's owner leaves it behind the first note; where the file system keeps no time of birth nobody says so."""
    content = _content(journal / "birth", _BIRTH_BYTES) or b""
    return len(content) == _BIRTH_BYTES and content.startswith(b"TIDEBRTH") and bool(content[16] & 1)


def _content(path: Path, size_bytes_max: int) -> bytes | None:
    """Of a regular file, never what a link leads to or a named pipe has; None where there is none. Raises: JournalError; OSError."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _not_known(path, "it is no regular file: see what put it there, and move it away")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_known(path, "it is no regular file: see what put it there, and move it away")
        content = file.read(size_bytes_max + 1)
    if len(content) > size_bytes_max:
        raise _not_known(path, f"it is damaged: it has more than {size_bytes_max:,} bytes")
    return content


def continues(epoch: int, journal_id: int) -> bool:
    """Whether a ring with this epoch goes on with this journal: below its epoch has half of the journal's id, above the journal's
    own epoch, which a cut raises.
    """
    return epoch & 0xFFFFFFFF == journal_id & 0xFFFFFFFF


def staging_of(ring: Path) -> Path:
    """What is staged of a ring; there only while a disk is slow, or after its owner was killed then."""
    return ring.with_suffix(".staging")


def checkpoints_of(journal: Path) -> Path:
    """The directory of the checkpoints of a journal's readers."""
    return journal / "checkpoints"


def remove_companions(ring: Path, *, all_durable: bool) -> None:
    """Removes what stands beside the ring of a durable channel, once that is gone: the link to its journal, and the
    staging if the journal has all it held.
    """
    _link(ring).unlink(missing_ok=True)
    if all_durable:
        staging_of(ring).unlink(missing_ok=True)


def _link(ring: Path) -> Path:
    return ring.with_suffix(".journal")
