"""`tidebook journal compact`: removes what a keep rule lets go, of a journal that nobody runs or beside its producer."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidebook.cli import inputs
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.shown import size
from tidebook.errors import JournalError, JournalLockedError, OperationError, UsageError

if TYPE_CHECKING:
    from tidebook.transport.keeping import Kept


def compact(
    journal: Path | None = None,
    *,
    data: Path | None = None,
    keep: str | None = None,
    snapshots: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Remove the oldest segments of a channel's journal that its keep rule lets go, whatever its size.

    What a consumer, a stored cursor or a checkpoint still needs stays, unless the rule ends with `, even unread`. The newest two segments
    always stay. It may be done beside the producer, whose process does it by itself above the channel's `compaction_threshold`.
    The feeds of a node are the node's. Of its venue, `orders`, goes what `[venue] keep` lets go, beside the node or without it.

    Parameters
    ----------
    journal
        Directory of the journal, or of data with one journal; default: the one of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    keep
        Rule to go by, such as "age 24h" or "size 10GiB"; default: the one that the channel was last run with.
    snapshots
        Where the snapshots are that the rule counts; default: those that the channel was last run with.
    dry_run
        Say what would go and why the rest stays, and remove nothing.
    """
    from tidebook.node.directory import VENUE_CHANNEL, is_of_node
    from tidebook.transport.keep_rule import plan_of
    from tidebook.transport.keeping import compact_by, judged, ring_consumers

    directory = inputs.one_journal(journal, data)
    if is_of_node(directory) and directory.name == VENUE_CHANNEL:
        if snapshots is not None:
            raise UsageError(f"{directory} goes by the snapshots of its node", option="snapshots")
        _tell(directory, _orders(directory, keep, dry_run=dry_run), dry_run=dry_run, json=json)
        return
    if is_of_node(directory):
        raise UsageError(
            f"{directory} is a node's, which removes of it what rows and snapshots make needless; set keep_capture_h"
        )
    plan = replace(plan_of(directory), threshold_bytes=0)
    if snapshots is not None:
        plan = replace(plan, snapshots=snapshots.absolute())
    if keep is not None:
        plan = replace(plan, rule=keep)
    try:
        plan = plan.checked()
    except JournalError as error:
        raise UsageError(str(error), option="keep") from error
    if not plan.removes:
        raise UsageError(
            f'{directory} is to keep everything: that is its channel\'s rule; name another with --keep "age 24h"'
        )
    consumers = partial(ring_consumers, directory)
    if dry_run:
        kept = judged(directory, plan, consumers)
    else:
        try:
            kept = compact_by(directory, plan, consumers)
        except JournalLockedError as error:
            raise OperationError(
                f"{directory}: a backup is being made, or somebody else compacts it; try again then"
            ) from error
    _tell(directory, kept, dry_run=dry_run, json=json)


def _orders(directory: Path, keep: str | None, *, dry_run: bool) -> Kept:
    """Of the node's own venue: by its setting or another rule."""
    from tidebook.config import load
    from tidebook.node.venue_keeping import compact_orders, orders_plan

    settings = load()
    if keep is not None:
        try:
            venue = settings.venue.model_validate(settings.venue.model_dump() | {"keep": keep})
        except ValueError as error:
            raise UsageError(str(error.__cause__ or error), option="keep") from error
        settings = settings.model_copy(update={"venue": venue})
    plan = replace(orders_plan(settings), threshold_bytes=0)
    if not plan.removes:
        raise UsageError(
            f'{directory} is to keep everything: venue.keep is forever; name another rule with --keep "age 30d"'
        )
    try:
        return compact_orders(directory.parent.parent, plan, dry_run=dry_run)
    except JournalLockedError as error:
        raise OperationError(
            f"{directory}: a backup is being made, or somebody else compacts it; try again then"
        ) from error


def _tell(directory: Path, kept: Kept, *, dry_run: bool, json: bool) -> None:
    if json:
        print_json({"directory": str(directory), "dry_run": dry_run, **asdict(kept)})
        return
    if dry_run:
        said = f"whole segments before message {kept.keep_from:,} would go, but for the newest two"
    elif kept.removed_segments:
        said = f"{counted(kept.removed_segments, 'segment')} removed, {size(kept.removed_bytes)}; it begins with message {kept.first_sequence:,}"
    else:
        said = "nothing was removed"
    print(f"{directory}: {said}; {kept.held_by}")
