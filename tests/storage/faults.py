"""Disks that fail: the same system calls as the real one, until a chosen one."""

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from tidebook.storage.disk import Disk

# Calls that change something; a kill between two reads is a kill before the next of these.
CALLS = ("create", "write", "sync", "link", "unlink", "make_directory", "sync_directory")


class CountingDisk(Disk):
    """Calls `before` with the number of each changing call, from 1, and its name."""

    def __init__(self) -> None:
        self.calls = 0
        self._counting = threading.Lock()

    def before(self, number: int, name: str) -> None:
        """Nothing on a disk that works."""

    def _count(self, name: str) -> int:
        with self._counting:
            self.calls += 1
            number = self.calls
        self.before(number, name)
        return number

    def create(self, path: Path) -> int:
        self._count("create")
        return super().create(path)

    def write(self, descriptor: int, data: memoryview) -> int:
        self._count("write")
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._count("sync")
        super().sync(descriptor)

    def link(self, source: Path, target: Path) -> None:
        self._count("link")
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self._count("unlink")
        super().unlink(path)

    def make_directory(self, path: Path) -> None:
        self._count("make_directory")
        super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._count("sync_directory")
        super().sync_directory(path)


class KillingDisk(CountingDisk):
    """Kills the process with SIGKILL at one call; a write gets half of its bytes out first."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def before(self, number: int, name: str) -> None:
        if number == self.at and name != "write":
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.calls + 1 == self.at:
            os.write(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(descriptor, data)


class FailingDisk(CountingDisk):
    """Fails one call with an error of the system's; a write gets half of its bytes out first."""

    def __init__(self, at: int, code: int = errno.ENOSPC) -> None:
        super().__init__()
        self.at = at
        self.code = code
        self.failed = ""

    def before(self, number: int, name: str) -> None:
        if number == self.at:
            self.failed = name
            raise OSError(self.code, os.strerror(self.code))

    def write(self, descriptor: int, data: memoryview) -> int:
        try:
            return super().write(descriptor, data)
        except OSError:
            # Only the call that failed: parts are written by several threads, and another's write must stay whole.
            os.write(descriptor, data[: len(data) // 2])
            raise


class FailingWhen(CountingDisk):
    """Fails each call that `when` says, given its number and name, with an error of the system's."""

    def __init__(self, when: Callable[[int, str], bool], code: int = errno.ENOSPC) -> None:
        super().__init__()
        self.when = when
        self.code = code

    def before(self, number: int, name: str) -> None:
        if self.when(number, name):
            raise OSError(self.code, os.strerror(self.code))


class LyingDisk(Disk):
    """Flips one bit of every part it is given, and says all is well."""

    def write(self, descriptor: int, data: memoryview) -> int:
        damaged = bytearray(data)
        damaged[len(damaged) // 2] ^= 1
        return (
            super().write(descriptor, memoryview(damaged))
            if bytes(data[:4]) == b"PAR1"
            else super().write(descriptor, data)
        )
