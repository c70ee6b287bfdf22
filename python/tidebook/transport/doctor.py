"""What is wrong with channels, whose fault it is, and what to do.

Looks twice, a moment apart: what stands still between is stuck, what moves is at work. Death is what a released lock says;
a process that is stopped says so itself, in `/proc`.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

from tidebook.errors import ChannelAccessError, ChannelNotFoundError, CheckpointError, TidebookError
from tidebook.observe.finding import Finding
from tidebook.observe.machine import megabytes
from tidebook.observe.processes import maps_file, process, processes
from tidebook.transport.checkpoints import INTERVAL_MS, stored_beside
from tidebook.transport.journal import JOURNAL_CONSUMER
from tidebook.transport.view import ChannelFile, ChannelView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FULL = 0.75
"""From here on a consumer that does not move is about to make producers wait."""
_STORED_AGE_MAX_S = 12 * INTERVAL_MS / 1000
"""From here on a stored cursor is late, unless it was asked for."""


def examine_files(files: list[ChannelFile], *, apart_s: float = 0.2) -> list[tuple[ChannelFile, list[Finding]]]:
    """The findings of each file; one that is removed meanwhile has none."""
    opened = [(file, *open_for_examination(file)) for file in files]
    before = [None if view is None else view.status() for _, view, _ in opened]
    if any(before):
        time.sleep(apart_s)
    found = []
    for (file, view, findings), earlier in zip(opened, before, strict=True):
        if view is not None and earlier is not None:
            findings += channel_findings(view, earlier, view.status())
        found.append((file, findings))
    return found


def open_for_examination(file: ChannelFile) -> tuple[ChannelView | None, list[Finding]]:
    """The view, if it can be opened at all, and what its file alone says."""
    findings = []
    try:
        view = ChannelView(file)
    except ChannelNotFoundError:
        return None, []
    except ChannelAccessError as error:
        try:
            view = ChannelView(file, allow_others=True)
        except (TidebookError, OSError) as worse:
            return None, [_unusable(file, worse)]
        findings.append(_open_to_others(file, error))
    except (TidebookError, OSError) as error:
        return None, [_unusable(file, error)]
    findings += _readable(file)
    return view, findings


def _unusable(file: ChannelFile, error: Exception) -> Finding:
    return Finding(
        level="problem",
        subject=file.title,
        what=str(error).partition(";")[0],
        remedy=f"when nothing of it is needed any more: rm {file.path}",
        short="not usable",
        facts={"path": str(file.path), "error": type(error).__name__},
    )


def _open_to_others(file: ChannelFile, error: ChannelAccessError) -> Finding:
    """A ring made for a group looks like one that is open to it by mistake, but both its modes are those of one."""
    found, directory = file.path.stat(), file.path.parent.stat()
    facts = {"path": str(error.facts["path"]), "group": found.st_gid}
    is_shared = (
        stat.S_IMODE(found.st_mode) == 0o660
        and stat.S_IMODE(directory.st_mode) == 0o770
        and found.st_gid == directory.st_gid
        and os.fspath(file.path.parent) in str(error.facts["path"])
    )
    if is_shared:
        return Finding(
            level="note",
            subject=file.title,
            what=f"is shared with group {found.st_gid}: every member can write it",
            remedy="if that is not meant: make it anew without a group",
            short="shared",
            facts=facts,
        )
    return Finding(
        level="problem",
        subject=file.title,
        what=str(error).partition(";")[0],
        remedy=f"chmod go-w {error.facts['path']}, and find out who could write it until now",
        short="others can write",
        facts=facts,
    )


def _readable(file: ChannelFile) -> Iterator[Finding]:
    try:
        mode, above = file.path.stat().st_mode, file.path.parent.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IROTH and above & stat.S_IXOTH:
        yield Finding(
            level="note",
            subject=file.title,
            what=f"everybody can read it (mode {stat.S_IMODE(mode):04o})",
            remedy=f"if that is not meant: chmod o-r {file.path}",
            short="readable",
            facts={"path": str(file.path)},
        )


def channel_findings(view: ChannelView, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Finding]:
    """What two looks at a channel say together."""
    examination = _Examination(view, before, now)
    return [
        *examination.stuck(),
        *examination.registry(),
        *examination.producers(),
        *(finding for one in now["consumers"] for finding in examination.consumer(one)),
        *examination.stored(),
        *examination.abandoned(),
    ]


class _Examination:
    """One channel, looked at twice."""

    def __init__(self, view: ChannelView, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        self._view = view
        self._before = before
        self._now = now
        self._full = now["unread"] / view.info["capacity"]
        self._lines = {one["line"]: one for one in now["producers"]}

    def _finding(self, level: Any, short: str, what: str, remedy: str, **facts: Any) -> Finding:
        return Finding(level=level, subject=self._view.file.title, what=what, remedy=remedy, short=short, facts=facts)

    def _who(self, process_id: int) -> tuple[str, bool]:
        """A process for people, and whether it is stopped. Numbers of another container's processes mean nothing here."""
        found = process(process_id)
        if found is None:
            return f"process {process_id} (not seen from here)", False
        if maps_file(process_id, self._view.file.path) is False:
            return f"process {process_id} (of another pid namespace: here that number is another's)", False
        return f"process {process_id} ({found.command})", found.is_stopped

    def stuck(self) -> Iterator[Finding]:
        """A claim behind which nobody can read, or a raiser without whom nobody finds room."""
        claim = self._now["stuck"]
        if claim is not None and claim == self._before["stuck"]:
            yield from self._held_by(claim[1], f"message {claim[0]} is claimed and not committed", "claim", claim[0])
        raiser = self._now["raiser"]
        unmoved = self._now["published"] == self._before["published"]
        if raiser is not None and raiser == self._before["raiser"] and unmoved:
            yield from self._held_by(raiser, "room is being made and does not come", "room", None)

    def registry(self) -> Iterator[Finding]:
        """Somebody who stands in the door: nobody else can join, leave or be given up."""
        if not (self._before["registry_held"] and self._now["registry_held"]):
            return
        path = self._view.file.path
        stopped = [found for found in processes() if found.is_stopped and maps_file(found.pid, path)]
        who = ", ".join(f"process {found.pid} ({found.command})" for found in stopped)
        pids = " ".join(str(found.pid) for found in stopped)
        yield self._finding(
            "problem", "door held",
            "nobody can join or leave it: " + (f"{who} is stopped (state T) within that" if who else "a process keeps the "
            "table of consumers and none that has it open is stopped"),
            f"let it go on: kill -CONT {pids}; or end it: kill -KILL {pids}" if pids
            else f"see who has it open: fuser {path}",
            process_ids=[found.pid for found in stopped],
        )  # fmt: skip

    def _held_by(self, line: int, state: str, kind: str, sequence: int | None) -> Iterator[Finding]:
        owner = self._lines.get(line)
        facts = {"line": line, "sequence": sequence}
        if owner is None:
            yield self._finding(
                "problem", "damaged", f"{state}, by a producer line {line} that nobody ever had",
                f"tidebook channel verify {self._view.file.title}", **facts,
            )  # fmt: skip
            return
        who, is_stopped = self._who(owner["process_id"])
        facts["process_id"] = owner["process_id"]
        held = "readers stand before it" if kind == "claim" else "producers wait"
        if not owner["alive"]:
            yield self._finding(
                "problem", f"dead {kind}", f"{state}: its producer, {who}, is dead; {held}",
                "the next consumer that waits or producer that writes repairs it within milliseconds: start one",
                dead=True, **facts,
            )  # fmt: skip
        elif is_stopped:
            pid = owner["process_id"]
            yield self._finding(
                "problem", f"stopped {kind}", f"{state}: its producer, {who}, is stopped (state T); {held}",
                f"let it go on: kill -CONT {pid}; or end it: kill -KILL {pid}, and its claim is given up at once",
                stopped=True, **facts,
            )  # fmt: skip
        else:
            yield self._finding(
                "problem", f"slow {kind}", f"{state}: its producer, {who}, lives and keeps it; {held}",
                "see what it does (py-spy dump --pid, gdb -p): between claim and commit nothing may wait", **facts,
            )  # fmt: skip

    def producers(self) -> Iterator[Finding]:
        """Producers that are stopped, whatever they hold."""
        named = {finding.facts.get("process_id") for finding in self.stuck()}
        for one in self._now["producers"]:
            if not one["alive"] or one["process_id"] in named:
                continue
            who, is_stopped = self._who(one["process_id"])
            if is_stopped:
                yield self._finding(
                    "problem", "stopped producer", f"a producer, {who}, is stopped (state T): it publishes nothing",
                    f"let it go on: kill -CONT {one['process_id']}",
                    process_id=one["process_id"], stopped=True, line=one["line"],
                )  # fmt: skip

    def consumer(self, one: Mapping[str, Any]) -> Iterator[Finding]:
        """What keeps this one from reading, and what that costs others."""
        name = one["name"] or f"#{one['line']}"
        facts = {"consumer": name, "process_id": one["process_id"], "lag": one["lag"]}
        earlier = next((other for other in self._before["consumers"] if other["line"] == one["line"]), None)
        gates = one["state"] == "gating"
        lag = f"{one['lag']:,} behind, {self._full:.0%} of the ring" if gates else f"{one['lag']:,} behind"
        who, is_stopped = self._who(one["process_id"])
        title = self._view.file.title
        if one["alive"] and is_stopped:
            yield self._finding(
                "problem", "stopped consumer",
                f"consumer {name}, {who}, is stopped (state T), {lag}"
                + ("; producers wait for it when the ring is full" if gates else ""),
                f"let it go on: kill -CONT {one['process_id']}; or end it: kill -KILL {one['process_id']}",
                stopped=True, **facts,
            )  # fmt: skip
        elif gates and not one["alive"]:
            yield from self._absent(one, name, lag, facts)
        elif gates and self._full >= _FULL:
            moves = earlier is not None and earlier["next"] != one["next"]
            how = "is slow" if moves else "does not read"
            yield self._finding(
                "note" if moves else "problem", "slow consumer" if moves else "idle consumer",
                f"consumer {name}, {who}, {how}: {lag}; producers wait for it when the ring is full",
                "speed it up, let it join with policy overwrite or fail, or give the channel a larger buffer_size",
                **facts,
            )  # fmt: skip
        if one["state"] == "detached":
            yield self._finding(
                "note", "given up",
                f"consumer {name} was dead too long and is not waited for; its cursor is kept, {lag}",
                f"if it does not come back: tidebook channel cursor remove {title} {name}", **facts,
            )  # fmt: skip
        if earlier is not None and one["lost"] > earlier["lost"]:
            yield self._finding(
                "note", "losing",
                f"consumer {name}, {who}, is overwritten: {one['lost']:,} messages lost in {one['gaps']:,} gaps so far",
                "it reads too slowly for this ring: larger batches, a larger buffer_size, or a policy that waits", **facts,
            )  # fmt: skip
        if one["corrupt"]:
            yield self._finding(
                "problem", "damage",
                f"consumer {name} has met {one['corrupt']:,} damaged messages",
                f"tidebook channel verify {title} names them; whoever wrote past its bounds maps this file",
                **facts,
            )  # fmt: skip

    def _absent(self, one: Mapping[str, Any], name: str, lag: str, facts: dict[str, Any]) -> Iterator[Finding]:
        """One that nobody has open: left, or killed, which the ring does not tell apart. Whether it matters is a matter of room."""
        written = self._now["producer_alive"]
        if name == JOURNAL_CONSUMER and self._view.info["visible_durable"]:
            # Never to be removed: what the ring holds beyond the journal would be lost to it.
            if written:
                yield self._finding(
                    "problem", "not journaled", f"a producer writes and nobody journals; {lag}",
                    "end its producer and start it again: opening it journals what the ring holds", absent=True, **facts,
                )  # fmt: skip
            elif one["lag"]:
                yield self._finding(
                    "note", "not on disk", f"{one['lag']:,} messages of the ring are not in the journal yet",
                    "start its producer (or node) again: opening it journals them first", absent=True, **facts,
                )  # fmt: skip
            return
        for_ever = one["detach_after_ms"] is None
        if not written and self._full < _FULL and not for_ever:
            return
        until = "for ever" if for_ever else f"{one['detach_after_ms'] / 1000:g} s from when the ring is full"
        yield self._finding(
            "problem" if self._full >= _FULL or (for_ever and written) else "note", "absent consumer",
            f"consumer {name} is not open and is waited for, {until}; {lag}",
            f"start it again; or give it up: tidebook channel cursor remove {self._view.file.title} {name}",
            absent=True, **facts,
        )  # fmt: skip

    def stored(self) -> Iterator[Finding]:
        """What a reboot would take back, of consumers that are open; and checkpoints that cannot be read."""
        file = self._view.file
        try:
            store = stored_beside(file.path) if self._view.info["visible_durable"] else None
            if store is None:
                return
            for one in self._now["consumers"]:
                found = store.newest("consumer", file.name, one["name"]) if one["alive"] and one["name"] else None
                if found is None:
                    continue
                age_s = (time.time_ns() - found["created_ns"]) / 1e9
                behind = one["next"] - 1 - found["sequence"]
                if behind > 0 and age_s > _STORED_AGE_MAX_S:
                    yield self._finding(
                        "note", "old cursor",
                        f"the stored cursor of consumer {one['name']} is {age_s:,.0f} s old and {behind:,} messages behind it: a "
                        "reboot would hand them out again",
                        "if its snapshot_interval_ms is not that long: see the log of its process for why it is not stored",
                        consumer=one["name"], age_s=age_s, behind=behind,
                    )  # fmt: skip
        except CheckpointError as error:
            yield self._finding(
                "problem", "checkpoints", str(error).partition(";")[0],
                f"put back what stands there from a backup, or remove it to begin without: {error.facts.get('path')}",
                error=type(error).__name__,
            )  # fmt: skip

    def abandoned(self) -> Iterator[Finding]:
        """A ring that nobody has open."""
        if self._now["producer_alive"] or any(one["alive"] for one in self._now["consumers"]):
            return
        size, path = self._view.info["file_size_bytes"], self._view.file.path
        yield self._finding(
            "note", "nobody", f"nobody has it open; it keeps {megabytes(size)} of shared memory",
            f"if nothing of it is needed any more: tidebook channel rm {self._view.file.title}", path=str(path), size_bytes=size,
        )  # fmt: skip
