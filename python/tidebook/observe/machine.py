"""What a machine is like for shared memory and for threads that must not wait: read from `/proc`, `/sys` and `/etc`.

Everything is read below a root that a test can replace. What a machine does not have (a virtual one has no governor) is no
fault and is left out.
"""

from __future__ import annotations

import os
import pwd
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from tidebook.observe.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

SHM = "/dev/shm"  # noqa: S108 - where POSIX shared memory is, looked at and not written
_DOCKER_BYTES = 64 << 20
_FREE_MIN_BYTES = 64 << 20
_CORES_MIN = 4
_USER_MIN = 1000
_TMPFS = "tmpfs"


def examine_machine(shm_needed_bytes: int = 0, *, root: Path = Path("/")) -> list[Finding]:
    """What was found, good or not, in the order one would ask.

    `shm_needed_bytes`: what the rings there are have, for the limit of locked memory.
    """
    found: list[Finding] = []
    for look in (_shared_memory, _remove_ipc, _cores, _isolated, _governor, _huge_pages, _clock):
        found += look(root)
    found += _locked_memory(shm_needed_bytes)
    return found


def _shared_memory(root: Path) -> Iterator[Finding]:
    directory = root / SHM.lstrip("/")
    try:
        found = os.statvfs(directory)
    except OSError as error:
        yield Finding(
            level="problem",
            subject=SHM,
            what=f"cannot be used: {error.strerror}",
            remedy=f"mount a tmpfs at {SHM}, or set TIDEBOOK_RINGS to a directory on one",
        )
        return
    kind = _file_system(root, directory)
    if kind not in (None, _TMPFS):
        yield Finding(
            level="problem",
            subject=SHM,
            what=f"is on {kind}: rings would be written to a disk",
            remedy=f"mount a tmpfs at {SHM}, or set TIDEBOOK_RINGS to a directory on one",
        )
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    sizes = f"{megabytes(total)}, {megabytes(free)} free"
    facts = {"size_bytes": total, "free_bytes": free}
    if total <= _DOCKER_BYTES:
        remedy = "start the container with --shm-size=1g (compose: shm_size), or with --ipc=host"
        yield Finding(level="problem", subject=SHM, what=f"{sizes}: Docker's default", remedy=remedy, facts=facts)
    elif free < _FREE_MIN_BYTES:
        remedy = "remove what nobody uses (below), or enlarge it: mount -o remount,size=..."
        yield Finding(level="problem", subject=SHM, what=sizes, remedy=remedy, facts=facts)
    else:
        yield Finding(level="good", subject=SHM, what=sizes, facts=facts)


def _file_system(root: Path, directory: Path) -> str | None:
    """The kind of the file system that is mounted there; None when that is not told."""
    for line in reversed(_text(root / "proc/self/mounts").splitlines()):
        fields = line.split()
        if len(fields) > 2 and root / fields[1].lstrip("/") == directory:
            return fields[2]
    return None


def _remove_ipc(root: Path) -> Iterator[Finding]:
    user = os.geteuid()
    if not (root / "run/systemd/system").is_dir() or user < _USER_MIN:
        return
    subject = "logging out"
    if _logind_setting(root, "RemoveIPC", "yes").lower() in ("no", "false", "0", "off"):
        yield Finding(level="good", subject=subject, what="RemoveIPC=no: rings stay")
        return
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    if (root / "var/lib/systemd/linger" / name).exists():
        yield Finding(level="good", subject=subject, what=f"{name} lingers: rings stay")
        return
    yield Finding(
        level="problem",
        subject=subject,
        what=f"systemd removes what {name} has in {SHM} at the last log-out (RemoveIPC=yes)",
        remedy=f"loginctl enable-linger {name}, or RemoveIPC=no in /etc/systemd/logind.conf",
    )


def _logind_setting(root: Path, key: str, default: str) -> str:
    value = default
    for path in (root / "etc/systemd/logind.conf", *sorted((root / "etc/systemd/logind.conf.d").glob("*.conf"))):
        for line in _text(path).splitlines():
            name, equals, setting = line.partition("=")
            if equals and name.strip() == key:
                value = setting.strip()
    return value


def _cores(root: Path) -> Iterator[Finding]:
    usable, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    what = f"{usable}" if usable == there else f"{usable} of {there} may be used here"
    load = _text(root / "proc/loadavg").split()
    what += f", load {load[0]}" if load else ""
    facts = {"usable": usable, "there": there}
    if usable < _CORES_MIN:
        remedy = "do not spin: a thread that spins keeps a core from the others; wait hybrid or park"
        yield Finding(level="note", subject="cores", what=what, remedy=remedy, facts=facts)
    else:
        yield Finding(level="good", subject="cores", what=what, facts=facts)


def _isolated(root: Path) -> Iterator[Finding]:
    path = root / "sys/devices/system/cpu/isolated"
    if not path.exists():
        return
    cores = _text(path).strip()
    if cores:
        yield Finding(level="good", subject="isolated cores", what=cores)
        return
    remedy = "for the last microsecond: boot with isolcpus=N nohz_full=N and pin the hot threads there"
    yield Finding(level="note", subject="isolated cores", what="none: others run where you spin", remedy=remedy)


def _governor(root: Path) -> Iterator[Finding]:
    governors = {
        _text(path).strip() for path in (root / "sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")
    }
    governors.discard("")
    if not governors:
        return
    what = ", ".join(sorted(governors))
    if governors == {"performance"}:
        yield Finding(level="good", subject="governor", what=what)
    else:
        remedy = "cpupower frequency-set -g performance: cores that sleep wake late"
        yield Finding(level="note", subject="governor", what=what, remedy=remedy)


def _huge_pages(root: Path) -> Iterator[Finding]:
    directory = root / "sys/kernel/mm/transparent_hugepage"
    chosen = {name: _chosen(directory / name) for name in ("enabled", "shmem_enabled")}
    if chosen["shmem_enabled"]:
        what = f"shmem_enabled is {chosen['shmem_enabled']}"
        if chosen["shmem_enabled"] in ("never", "deny"):
            remedy = f"for rings of many MB: echo advise > /{directory.relative_to(root)}/shmem_enabled"
            yield Finding(level="note", subject="huge pages", what=f"{what}: rings cannot have any", remedy=remedy)
        else:
            yield Finding(level="good", subject="huge pages", what=what)
    if chosen["enabled"] == "always":
        remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled: the kernel moves pages under hot threads"
        yield Finding(level="note", subject="THP", what="always, for all memory", remedy=remedy)
    elif chosen["enabled"]:
        yield Finding(level="good", subject="THP", what=chosen["enabled"])


def _chosen(path: Path) -> str:
    """The word in brackets."""
    return _text(path).partition("[")[2].partition("]")[0]


def _clock(root: Path) -> Iterator[Finding]:
    source = _text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
    if source in ("hpet", "acpi_pm", "jiffies", "refined-jiffies"):
        remedy = "find out why the kernel does not trust the processor's counter (dmesg | grep -i tsc)"
        what = f"{source}: each look at it is a system call"
        yield Finding(level="problem", subject="clock", what=what, remedy=remedy)
    elif source:
        yield Finding(level="good", subject="clock", what=source)


def _locked_memory(needed_bytes: int) -> Iterator[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    subject = "locked memory"
    # Root may lock as much as it likes; resource.RLIM_INFINITY is -1.
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:
        yield Finding(level="good", subject=subject, what="unlimited")
        return
    what = f"{megabytes(limit)} may be locked"
    if limit >= needed_bytes:
        yield Finding(level="good", subject=subject, what=what)
        return
    what += f", the rings have {megabytes(needed_bytes)}"
    remedy = "before lock_memory is asked for: raise it (ulimit -l, or LimitMEMLOCK= of the unit)"
    yield Finding(level="note", subject=subject, what=what, remedy=remedy)


def megabytes(size_bytes: int) -> str:
    """`64 MB`, `23.6 GB`: powers of two, as memory is counted."""
    if size_bytes >= 10 << 30:
        return f"{size_bytes / (1 << 30):,.1f} GB"
    if size_bytes >= 10 << 20:
        return f"{size_bytes / (1 << 20):,.0f} MB"
    return f"{size_bytes / (1 << 20):,.1f} MB"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
