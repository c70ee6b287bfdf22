"""Other processes, as `/proc` shows them: whether they are stopped, and what they were started as."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND_MAX = 100


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that is there."""

    pid: int
    state: str
    """The kernel's letter: R runs, S and D sleep, T is stopped, t traced, Z a zombie."""
    command: str
    """Its command line, or its name in brackets where that cannot be read."""

    @property
    def is_stopped(self) -> bool:
        """It does nothing until it is continued."""
        return self.state in ("T", "t")


def process(pid: int) -> Process | None:
    """The process of this number; None when there is none, or none that this user can see."""
    directory = Path("/proc") / str(pid)
    try:
        # The name stands in parentheses and may hold any character, parentheses too.
        name, _, rest = (directory / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        words = (directory / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    except OSError:
        return None
    command = " ".join(words) or f"[{name}]"
    shown = command if len(command) <= _COMMAND_MAX else f"{command[:_COMMAND_MAX]}…"
    return Process(pid=pid, state=rest.split()[0], command=shown)


def processes() -> Iterator[Process]:
    """All that this user can see."""
    for entry in Path("/proc").iterdir():
        found = process(int(entry.name)) if entry.name.isdigit() else None
        if found is not None:
            yield found


def lock_holders(path: Path) -> list[Process]:
    """Processes that hold a lock on a file, as far as this user can see them.

    Locks of an open file description, which have no process of their own, are told by the kernel beside the descriptors alone.
    """
    wanted = path.stat()
    return [one for one in processes() if _holds_lock(one.pid, wanted)]


def _holds_lock(pid: int, wanted: os.stat_result) -> bool:
    directory = Path("/proc") / str(pid)
    with suppress(OSError):  # it has ended, or is another user's
        for descriptor in (directory / "fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted):
                    about = (directory / "fdinfo" / descriptor.name).read_text()
                    if any(line.startswith("lock:") for line in about.splitlines()):
                        return True
    return False


def maps_file(pid: int, path: Path) -> bool | None:
    """Whether the process has this file mapped; None when that cannot be seen."""
    try:
        found = path.stat()
        lines = (Path("/proc") / str(pid) / "maps").read_text(errors="replace").splitlines()
    except OSError:
        return None
    # By number and not by name: a ring is mapped before it has one.
    own = [f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}", str(found.st_ino)]
    return any(line.split()[3:5] == own for line in lines)
