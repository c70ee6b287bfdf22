"""`tidebook channel rm`: the ring of a channel that nobody has open, given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidebook.cli.channel.inputs import AllowOthers, Node, Rings  # noqa: TC001 - cyclopts reads annotations
from tidebook.cli.output import Json, counted, print_json
from tidebook.errors import EndpointBusyError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tidebook.persistence import JournalState
    from tidebook.transport.view import ChannelFile, ChannelView

LoseUnjournaled = Annotated[
    bool,
    Parameter(
        name="--lose-unjournaled",
        negative="",
        help="Also one with messages that its journal does not have; says how many go.",
    ),
]


def rm(
    *names: str,
    node: Node = None,
    rings: Rings = None,
    allow_others: AllowOthers = False,
    lose_unjournaled: LoseUnjournaled = False,
    json: Json = False,
) -> None:
    """Remove channels that nobody has open, with what is in their rings; a journal stays.

    Parameters
    ----------
    names
        Channels, such as md.trades or desk/md.trades, or paths of rings.
    """
    from tidebook._core import Ring
    from tidebook.persistence import mark_put_back
    from tidebook.transport.companions import remove_companions
    from tidebook.transport.view import find_channel

    if not names:
        raise UsageError("channel rm: name at least one channel; `tidebook channel ls` shows them", option="names")
    files = list(dict.fromkeys(find_channel(name, node=node, root=rings, is_to_change=True) for name in names))
    # All are looked at before the first is gone.
    checked = [_check(file, allow_others, lose_unjournaled) for file in files]
    lost = [gone for gone, _ in checked]
    for file, (_, journal) in zip(files, checked, strict=True):
        if journal is not None:
            # The ring was what knew that these were given to messages which were acknowledged.
            mark_put_back(journal)
        Ring.remove(file.path)
        remove_companions(file.path, all_durable=True)
    if json:
        print_json(
            {
                "removed": [
                    {"channel": file.title, "path": str(file.path), "lost": gone}
                    for file, gone in zip(files, lost, strict=True)
                ]
            }
        )
        return
    for file, gone in zip(files, lost, strict=True):
        print(f"{file.title}: removed" + (f", with {counted(gone, 'message')} not in its journal" if gone else ""))


def _check(file: ChannelFile, allow_others: bool, lose_unjournaled: bool) -> tuple[int, Path | None]:
    """Messages that go with it, and its journal where that would give their numbers again.

    Raises: EndpointBusyError naming who has it open; UsageError while it holds what its journal does not.
    """
    from tidebook.transport.view import ChannelView

    view = ChannelView(file, allow_others=allow_others)
    status = view.status()
    holders = [f"a producer (process {one['process_id']})" for one in status["producers"] if one["alive"]]
    holders += [
        f"consumer {one['name'] or '#' + str(one['line'])} (process {one['process_id']})"
        for one in status["consumers"]
        if one["alive"]
    ]
    if holders:
        raise EndpointBusyError(
            f"channel {file.title} is open: {', '.join(holders)}; close it first", path=str(file.path)
        )
    left: int = status["published"] - status["durable"] if view.info["visible_durable"] else 0
    behind = _journal_without(file, view, status["durable"])
    if behind is not None:
        journal, held = behind
        left = status["published"] - held
        if not lose_unjournaled:
            why, remedy = (
                (
                    f"which ends at {journal.last_sequence:,} because a copy was put back",
                    "start its node or open its producer, which journals what the ring still holds of them",
                )
                if journal.last_sequence < status["durable"]
                else (
                    "which has others in their place because somebody has gone on with a copy that was put back",
                    "put back the journal that has them",
                )
            )
            raise UsageError(
                f"channel {file.title} knows {counted(left, 'message')} that its journal {journal.directory} does not have, {why}; "
                f"{remedy}, or give them up with --lose-unjournaled",
                option="names",
            )
    if left and not lose_unjournaled:
        raise UsageError(
            f"channel {file.title} holds {counted(left, 'message')} not in its journal yet; open its producer, or start its "
            "node, which journals them, or give them up with --lose-unjournaled",
            option="names",
        )
    if behind is None:
        return left, None
    journal, _ = behind
    # One of a later epoch than the ring's gives none of its numbers again.
    gives_numbers_again = journal.last_sequence < status["durable"] or journal.epoch < view.info["epoch"] >> 32
    return left, journal.directory if gives_numbers_again else None


def _journal_without(file: ChannelFile, view: ChannelView, durable: int) -> tuple[JournalState, int] | None:
    """The journal of a ring that knows more of it to be durable than it has, and the last message that it has of those.

    None where it has all, or cannot be read.
    """
    from tidebook.errors import JournalError
    from tidebook.persistence import inspect
    from tidebook.transport.companions import continues, journal_of

    journal = journal_of(file.path) if view.info["visible_durable"] else None
    if journal is None:
        return None
    try:
        state = inspect(journal)
        if not continues(view.info["epoch"], state.journal_id):
            return None
        if state.last_sequence < durable:
            return state, state.last_sequence
        before, epoch = view.info["first_sequence"] - 1, view.info["epoch"] >> 32
        if durable <= before or _epoch_of(journal, durable) in (epoch, None):
            return None
        # Of one epoch it has all up to some message and none behind it.
        while durable - before > 1:
            middle = (before + durable) // 2
            if _epoch_of(journal, middle) == epoch:
                before = middle
            else:
                durable = middle
        return state, before
    except JournalError:
        return None


def _epoch_of(journal: Path, sequence: int) -> int | None:
    """Epoch in which a journal got a message; None where it has no such message."""
    from tidebook._core import JournalReader

    reader = JournalReader(journal, from_sequence=sequence, durable_only=False)
    found = reader.next(1)
    if found is None or found[0] != sequence or reader.batch_end is None:
        return None
    return reader.batch_end[1]
