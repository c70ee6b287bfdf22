"""Disks whose power goes while a process writes to them.

`LoopDisk` is a real file system: ext4 in a file, mounted through a loop device. The power goes when its users are killed and the
file is copied at once: what they had written and nobody had synced is in the kernel's cache and not in the copy, which is mounted
in its place. What it does not have is a disk with a cache of its own, and sectors torn in half.

Where nothing may be mounted (a container without CAP_SYS_ADMIN) `SimulatedDisk` stands in: a plain directory whose users are
killed, after which every sector behind the last synced batch of each journal is kept or zeroed by a coin. It knows journals alone:
all other files keep everything, synced or not.
"""

import filecmp
import functools
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

IMAGE_SIZE_BYTES = 512 << 20
SECTOR_SIZE_BYTES = 512
SEGMENT_HEADER_SIZE_BYTES = 4096
BATCH_HEADER_SIZE_BYTES = 48


class Disk(Protocol):
    """A directory, its power, and how that goes."""

    name: str
    root: Path

    def lose_power(self, group: int, *, lied: bool = False) -> None:
        """Ends the processes of this process group in the instant the power goes; `root` is then what was found after it.

        `lied`: syncs had been answered and not done. A real file system shows that by itself.
        """
        ...

    def close(self) -> None: ...


class LoopDisk:
    """Ext4 in a file. The file system's own commits come often or hardly ever, by the seed: both orders are met."""

    name = "ext4 on a loop device"

    def __init__(self, where: Path, chance: random.Random) -> None:
        self._where = where
        self._options = f"loop,commit={chance.choice((1, 300))}"
        self._image = where / "0.image"
        self._copies = 0
        self.root = where / "disk"
        self.root.mkdir()
        with self._image.open("xb") as file:
            file.truncate(IMAGE_SIZE_BYTES)
        # Not lazily: a thread of the kernel would go on writing tables while the power goes.
        tables = "lazy_itable_init=0,lazy_journal_init=0"
        _call("mkfs.ext4", "-q", "-F", "-m", "0", "-E", tables, str(self._image))
        self._mount()

    def lose_power(self, group: int, *, lied: bool = False) -> None:  # noqa: ARG002 - it shows by itself
        _kill(group)
        self._copies += 1
        copy = self._where / f"{self._copies}.image"
        # One instant and not a stretch of time: the kernel may still be writing on its own.
        while True:
            _call("cp", "--sparse=always", str(self._image), str(copy))
            if filecmp.cmp(self._image, copy, shallow=False):
                break
        self.close()
        self._image = copy
        self._mount()

    def close(self) -> None:
        # Lazily: the last process of a killed group may still be on its way out.
        _call("umount", "-l", str(self.root))
        self._image.unlink()

    def _mount(self) -> None:
        _call("mount", "-o", self._options, str(self._image), str(self.root))


class SimulatedDisk:
    """A plain directory; what lies behind the synced part of a journal is torn when the power goes."""

    name = "simulated: no file system may be mounted here"

    def __init__(self, where: Path, chance: random.Random) -> None:
        self._chance = chance
        self.root = where / "disk"
        self.root.mkdir()

    def lose_power(self, group: int, *, lied: bool = False) -> None:
        _kill(group)
        for directory in sorted({file.parent for file in self.root.rglob("*.segment")}):
            self._tear(directory, lied=lied)

    def close(self) -> None:
        shutil.rmtree(self.root)

    def _tear(self, directory: Path, *, lied: bool) -> None:
        """Docs/formats/journal.md: the watermark file names the last synced batch and its segment."""
        note = directory / "durable"
        content = note.read_bytes() if note.exists() else b""
        if len(content) != 48:
            return
        synced_batch, segment = (int.from_bytes(content[at : at + 8], "little") for at in (16, 24))
        if lied:
            synced_batch = self._chance.randint(0, synced_batch)
        file = directory / f"{segment:010}.segment"
        data = bytearray(file.read_bytes())
        at = SEGMENT_HEADER_SIZE_BYTES
        while at + BATCH_HEADER_SIZE_BYTES <= len(data):
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            if not length or int.from_bytes(data[at + 16 : at + 24], "little") > synced_batch:
                break
            at += length
        while at < len(data):
            end = min(at // SECTOR_SIZE_BYTES * SECTOR_SIZE_BYTES + SECTOR_SIZE_BYTES, len(data))
            if self._chance.random() < 0.5:
                data[at:end] = bytes(end - at)
            at = end
        file.write_bytes(data)
        # It is never synced, so it may be gone too.
        if lied or self._chance.random() < 0.5:
            note.unlink()


@functools.cache
def cannot_mount() -> str | None:
    """Why no file system can be mounted here, or None."""
    with tempfile.TemporaryDirectory(prefix="tidebook-mount-") as where:
        try:
            LoopDisk(Path(where), random.Random(0)).close()
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
            return str(said).strip().splitlines()[0] if str(said).strip() else str(error)
    return None


@contextmanager
def disk(chance: random.Random, *, real: bool = True) -> Iterator[Disk]:
    """The best one to be had here, or the simulated; in memory: its syncs must not wait for the machine's own disk."""
    with tempfile.TemporaryDirectory(prefix="tidebook-power-", dir="/dev/shm") as where:
        real = real and cannot_mount() is None
        made: Disk = LoopDisk(Path(where), chance) if real else SimulatedDisk(Path(where), chance)
        try:
            yield made
        finally:
            made.close()


def _call(*command: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PATH": path, "LC_ALL": "C"})


def _kill(group: int) -> None:
    """Returns when no process of the group is left."""
    os.killpg(group, signal.SIGKILL)
    while any(_is_alive(process, group) for process in _processes()):
        time.sleep(0.001)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _is_alive(process: int, group: int) -> bool:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(fields[2]) == group and fields[0] not in "ZX"
