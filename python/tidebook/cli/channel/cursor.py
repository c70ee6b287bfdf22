"""`tidebook channel cursor`: where consumers stand, and what of it is stored; the one thing here that writes to a channel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tidebook.cli.channel.inputs import AllowOthers, Node, Rings, all_channels
from tidebook.cli.output import Json, console, print_json
from tidebook.cli.shown import Column, plain, table
from tidebook.errors import TidebookError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tidebook._core import Ring
    from tidebook.transport.view import ChannelFile

_STATES = {"gating": "waited for", "lossy": "overwritten", "detached": "given up"}


def ls(*names: str, node: Node = None, rings: Rings = None, json: Json = False) -> None:
    """List the consumers of channels with their cursors, and the checkpoints that are stored of them.

    Parameters
    ----------
    names
        Channels, such as md.trades or desk/md.trades, or paths of rings; default: all.
    """
    from tidebook.transport.view import ChannelView, find_channel

    files = [find_channel(name, node=node, root=rings) for name in names] or all_channels(node, rings)
    found: list[dict[str, Any]] = []
    stored: list[dict[str, Any]] = []
    unreadable: list[dict[str, Any]] = []
    for file in files:
        try:
            status = ChannelView(file, allow_others=True).status()
        except TidebookError as error:
            if names:
                raise
            found.append({"channel": file.title, "error": str(error)})
            continue
        found += [
            {
                "channel": file.title,
                "consumer": one["name"],
                **{
                    name: one[name]
                    for name in ("line", "state", "alive", "process_id", "next", "lag", "detach_after_ms")
                },
                "published": status["published"],
            }
            for one in status["consumers"]
        ]
        try:
            stored += _stored(file, status["published"])
        except TidebookError as error:
            unreadable.append({"channel": file.title, "error": str(error)})
    if json:
        print_json({"consumers": found, "checkpoints": stored, "unreadable": unreadable})
        return
    if not found:
        print("no consumers")
    else:
        _print(found)
    if stored:
        _print_stored(stored)
    for one in found:
        if "error" in one:
            print(f"{one['channel']}: {one['error']}")
    for one in unreadable:
        print(f"{one['channel']}: its checkpoints cannot be read: {one['error']}")


def _stored(file: ChannelFile, published: int) -> list[dict[str, Any]]:
    """The newest checkpoint of each state and each consumer of a channel, and all that are damaged.

    Raises: CheckpointError and its kinds for a store that cannot be read.
    """
    from tidebook.transport.checkpoints import stored_beside

    store = stored_beside(file.path)
    whole, damaged = ([], []) if store is None else store.survey()
    newest = {(one["kind"], one["name"]): one for one in whole if one["channel"] == file.name}
    return [
        {
            "channel": file.title,
            **{name: one[name] for name in ("kind", "name", "checkpoint_id", "epoch", "sequence", "created_ns")},
            "state_size_bytes": one["state_size_bytes"],
            # Another node's ring of the same journal may have gone on further.
            "behind": published - one["sequence"] if one["sequence"] <= published else None,
        }
        for one in newest.values()
    ] + [
        {
            "channel": file.title,
            **{name: one[name] for name in ("kind", "name", "checkpoint_id")},
            "damaged": one["reason"],
        }
        for one in damaged
        if one["channel"] in (file.name, None)
    ]


def _print_stored(stored: list[dict[str, Any]]) -> None:
    now_ns = time.time_ns()
    rows = []
    for one in stored:
        subject = [plain(one["channel"]), "" if one["name"] is None else plain(one["name"])]
        if "damaged" in one:
            what = "cursor" if one["kind"] == "consumer" else "state"
            rows.append([*subject, f"[red]damaged {what}[/]: {one['damaged']}", f"{one['checkpoint_id']}", "", "", ""])
            continue
        what = "cursor" if one["kind"] == "consumer" else f"state of {one['state_size_bytes']:,} bytes"
        behind = "" if one["behind"] is None else f"{one['behind']:,}"
        age = f"{max(0, now_ns - one['created_ns']) / 1e9:,.0f} s"
        rows.append([*subject, what, f"{one['checkpoint_id']}", f"{one['sequence']:,}", behind, age])
    screen = console()
    screen.print(table(_STORED_COLUMNS, rows, screen.width))


def _print(found: list[dict[str, Any]]) -> None:
    rows = []
    for one in found:
        if "error" in one:
            rows.append([plain(one["channel"]), "[red]not usable[/]", "", "", "", ""])
            continue
        name = plain(one["consumer"]) or f"[dim]#{one['line']} without a name[/]"
        open_by = f"process {one['process_id']}" if one["alive"] else "[yellow]nobody[/]"
        state = _STATES[one["state"]]
        if one["state"] == "gating" and not one["alive"]:
            after = one["detach_after_ms"]
            state += " for ever" if after is None else f", {after / 1000:g} s when full"
        rows.append([plain(one["channel"]), name, open_by, state, f"{one['next']:,}", f"{one['lag']:,}"])
    screen = console()
    screen.print(table(_COLUMNS, rows, screen.width))


_COLUMNS = (
    *(Column(name, right=False) for name in ("channel", "consumer", "open by", "is")),
    Column("next"),
    Column("lag"),
)


_STORED_COLUMNS = (
    *(Column(name, right=False) for name in ("channel", "checkpoint of", "is")),
    *(Column(name) for name in ("number", "at message", "behind", "age")),
)


def reset(
    name: str,
    consumer: str,
    *,
    start: str,
    node: Node = None,
    rings: Rings = None,
    allow_others: AllowOthers = False,
    json: Json = False,
) -> None:
    """Move the cursor of a consumer that is not open.

    Parameters
    ----------
    name
        Channel, such as md.trades or desk/md.trades, or the path of its ring.
    consumer
        Name of the consumer.
    start
        `earliest` (the oldest message there is), `latest` (what comes next), or the sequence to read next.
    """
    word, sequence = _place(start)
    path, ring = _opened(name, consumer, node, rings, allow_others)
    after = ring.move_consumer(consumer, word, sequence)
    if json:
        print_json({"channel": name, "path": str(path), "consumer": consumer, "next": after})
    else:
        print(f"{name}: {consumer} reads message {after:,} next")


def remove(
    name: str,
    consumer: str,
    *,
    state: Annotated[bool, Parameter(negative="")] = False,
    node: Node = None,
    rings: Rings = None,
    allow_others: AllowOthers = False,
    json: Json = False,
) -> None:
    """Forget a consumer that is not open, with its cursor, the stored one too; or a state, with all its checkpoints.

    Parameters
    ----------
    name
        Channel, such as md.trades or desk/md.trades, or the path of its ring.
    consumer
        Name of the consumer.
    state
        The name is that of a state, whose checkpoints are stored.
    """
    from tidebook.transport.checkpoints import stored_beside

    if state:
        _forget_state(name, consumer, node, rings, json=json)
        return
    path, ring = _opened(name, consumer, node, rings, allow_others)
    store = stored_beside(path)
    whole, damaged = ([], []) if store is None else store.survey()
    subject = ("consumer", path.stem, consumer)
    was_stored = any((one["kind"], one["channel"], one["name"]) == subject for one in whole + damaged)
    # A stored one alone is left of a consumer whose ring was lost.
    if not was_stored or any(line["name"] == consumer for line in ring.status()["consumers"]):
        ring.remove_consumer(consumer)
    if store is not None:
        store.remove("consumer", path.stem, consumer)
    if json:
        print_json({"channel": name, "path": str(path), "removed": consumer})
    else:
        print(f"{name}: {consumer} is forgotten")


def _forget_state(channel: str, name: str, node: str | None, rings: Path | None, *, json: bool) -> None:
    from tidebook.transport.checkpoints import stored_beside
    from tidebook.transport.view import find_channel

    file = find_channel(channel, node=node, root=rings)
    store = stored_beside(file.path)
    count = 0 if store is None else store.remove("state", file.name, name)
    if not count:
        raise UsageError(
            f"{file.title} has no checkpoint of a state {name}; see `tidebook channel cursor ls`", option="consumer"
        )
    if json:
        print_json({"channel": channel, "path": str(file.path), "removed_state": name, "checkpoints": count})
    else:
        print(f"{channel}: state {name} is forgotten, with {count} checkpoint{'' if count == 1 else 's'}")


def _place(start: str) -> tuple[str, int]:
    if start in ("earliest", "latest"):
        return start, 0
    digits = start.replace(",", "").replace("_", "")
    if not digits.isdecimal() or int(digits) < 1 or int(digits) >= 1 << 63:
        raise UsageError(
            f"--start {start}: name earliest, latest, or a sequence from 1 on", option="start", value=start
        )
    return "sequence", int(digits)


def _opened(name: str, consumer: str, node: str | None, rings: Path | None, allow_others: bool) -> tuple[Path, Ring]:
    from tidebook._core import Ring
    from tidebook.transport.journal import JOURNAL_CONSUMER
    from tidebook.transport.view import find_channel

    file = find_channel(name, node=node, root=rings, is_to_change=True)
    ring = Ring.open(file.path, allow_others=allow_others)
    if ring.visible_durable and consumer == JOURNAL_CONSUMER:
        raise UsageError(
            f"{consumer} of {file.title} is its journal, which reads on by itself when its producer is opened; without its "
            "cursor messages would be lost",
            option="consumer",
            value=consumer,
        )
    return file.path, ring
