"""What belongs to a durable channel beside its ring and its journal: where each lies.

The journal's owner leaves two things beside the ring: a link to the journal, by which other processes find it, and, while the disk
is slow, a second ring with what is staged. In the journal's directory lie the store of checkpoints and a note of each ring's place.
"""

from __future__ import annotations

import os
from pathlib import Path


def journal_of(ring: Path) -> Path | None:
    """Where the owner of a ring has last opened its journal; None where no link says so."""
    try:
        return _link(ring).readlink()
    except OSError:
        return None


def noted_rings(journal: Path) -> list[Path]:
    """Where rings of a journal are or were, as their owners noted it in its directory.

    Raises: OSError for notes that cannot be read.
    """
    try:
        content = (journal / "rings").read_bytes()
    except FileNotFoundError:
        return []
    # Behind the last zero byte is what a power failure cut.
    return [Path(os.fsdecode(place)) for place in content.split(b"\0")[:-1]]


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
