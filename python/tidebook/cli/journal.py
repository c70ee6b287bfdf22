"""`tidebook journal`: what journals hold and whether they are whole."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from tidebook.cli import inputs
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.shown import size, span_of
from tidebook.errors import JournalDamagedError, RawMessageError, UsageError
from tidebook.feeds.sink import MessageKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

_PREVIEW_BYTES = 96
_MESSAGES_A_CALL = 4_096


def ls(*journals: Path, data: Path | None = None, json: Json = False) -> None:
    """List the journals of a data directory and how far each is durable.

    Parameters
    ----------
    journals
        Directories of journals, of data, or what channels have for `wal_dir`; default: all of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    """
    from tidebook.config import load
    from tidebook.node.directory import VENUE_CHANNEL, is_of_node
    from tidebook.node.venue_keeping import orders_kept_now, orders_plan
    from tidebook.persistence import inspect
    from tidebook.persistence.holes import but_for, holes
    from tidebook.transport.keeping import kept_now

    directories = inputs.journals(journals, data)
    found = [inspect(directory) for directory in directories]
    keeping = [
        orders_kept_now(directory, orders_plan(load()))
        if directory.name == VENUE_CHANNEL and is_of_node(directory)
        else kept_now(directory)
        for directory in directories
    ]
    if json:
        shown = [asdict(state) | {"keep": asdict(kept)} for state, kept in zip(found, keeping, strict=True)]
        print_json({"journals": shown})
        return
    for state, kept in zip(found, keeping, strict=True):
        held_now = span_of(state.first_sequence, state.last_sequence)
        span = f"{held_now}{but_for(holes(state.directory))}, durable to {state.durable:,}"
        end = "closed" if state.closed else "open or not closed"
        if state.torn_bytes:
            end += f", {state.torn_bytes:,} torn bytes at its end"
        held = f"{counted(state.segments, 'segment')}, {size(state.size_bytes)}"
        print(f"{state.channel}: {span}; {held}; {end}{kept.text and '; '}{kept.text}")


def verify(*journals: Path, data: Path | None = None, json: Json = False) -> int:
    """Check every batch of journals; the exit code says whether all are whole.

    A journal that lies in the place of another channel's is named, and fails.

    Parameters
    ----------
    journals
        Directories of journals, of data, or what channels have for `wal_dir`; default: all of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    """
    from tidebook import persistence
    from tidebook.node.places import misplaced, rightful_channel

    whole, damaged, elsewhere = [], [], []
    for directory in inputs.journals(journals, data):
        try:
            whole.append(verified := persistence.verify(directory))
            place = rightful_channel(directory)
            if place != verified.channel:
                elsewhere.append(misplaced(directory, verified.channel, place))
        except JournalDamagedError as error:
            damaged.append({"directory": str(directory), "problem": str(error), **error.facts})
    if json:
        print_json({"whole": [asdict(state) for state in whole], "damaged": damaged, "misplaced": elsewhere})
    else:
        for state in whole:
            batches = f"{state.batches:,} batch{'' if state.batches == 1 else 'es'}"
            print(f"{state.directory}: whole, {counted(state.messages, 'message')} in {batches}")
        for problem in damaged:
            print(f"{problem['problem']}")
        for line in elsewhere:
            print(line)
    return 1 if damaged or elsewhere else 0


def dump(
    journal: Path | None = None,
    *,
    data: Path | None = None,
    first: Annotated[int, Parameter(name="--from")] = 0,
    last: Annotated[int, Parameter(name="--to")] = 0,
    limit: Annotated[int, Parameter(name=["-n", "--limit"])] = 20,
    json: Json = False,
) -> None:
    """Print the messages of a journal, oldest first.

    Where the journal says what its records are, their fields are shown, as `tidebook journal export` writes them.

    Parameters
    ----------
    journal
        Directory of the journal, or of data with one journal; default: the one of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    first
        Sequence to begin at; 0 for the first held.
    last
        Sequence to end with; 0 for the newest that is durable.
    limit
        How many messages; 0 for all.
    """
    from tidebook.persistence import inspect

    directory = inputs.one_journal(journal, data)
    if first < 0 or last < 0 or (last and first > last):
        raise UsageError(f"--from {first:,} --to {last:,}: name sequences from 1 on, the first before the last")
    if limit < 0:
        raise UsageError(f"--limit {limit:,}: name how many messages, or 0 for all")
    if first:
        held = inspect(directory)
        if first > held.durable:
            span = (
                f"{held.first_sequence:,} to {held.durable:,}" if held.durable >= held.first_sequence else "nothing yet"
            )
            raise UsageError(f"--from {first:,} is beyond the end: {directory} holds {span}")
    for sequence, facts in _each(directory, first, last, limit):
        if json:
            print_json({"sequence": sequence, **facts})
        else:
            print(sequence, *_words(facts))


def _each(directory: Path, first: int, last: int, limit: int) -> Iterator[tuple[int, dict[str, object]]]:
    """Sequence and what there is to show of each message, from `first` to `last` and at most `limit` (0 where open)."""
    from tidebook._core import JournalReader
    from tidebook.cli.journal_export import record_types

    types = record_types(directory)
    reader = JournalReader(directory, from_sequence=first)
    left = limit or sys.maxsize
    while left and (found := reader.next(messages_max=min(left, _MESSAGES_A_CALL))) is not None:
        begin, payloads = found
        at, end = begin, min(begin + len(payloads), begin + left, last + 1 if last else sys.maxsize)
        left = left - (end - at) if end == begin + len(payloads) else 0
        while at < end:
            # Up to here all are of one kind.
            until = min(end, *(change for change, _ in types if change > at), sys.maxsize)
            dtype = next((dtype for change, dtype in reversed(types) if change <= at), None)
            part = [payloads[index] for index in range(at - begin, until - begin)]
            yield from enumerate(map(_described, part) if dtype is None else _fields(at, part, dtype), at)
            at = until


def _fields(first: int, payloads: list[bytes], dtype: np.dtype[Any]) -> list[dict[str, object]]:
    """The fields of records."""
    from tidebook.cli.channel.dump import text_rows
    from tidebook.cli.journal_export import messages

    rows = text_rows(messages(first, payloads, dtype))
    return [{name: value for name, value in row.items() if name != "sequence"} for row in rows]


def _words(facts: dict[str, object]) -> list[str]:
    """A message for people."""
    last = "body" if {"kind", "context", "body"} <= facts.keys() else next(iter(facts))
    if last != "body" and (len(facts) > 1 or last not in ("text", "payload")):
        return [f"{name}={value}" for name, value in facts.items()]
    words = [str(value) for name, value in facts.items() if name != last and value != ""]
    text = str(facts[last])
    return [*words, text if len(text) <= _PREVIEW_BYTES else f"{text[:_PREVIEW_BYTES]}… ({len(text):,})"]


def _described(payload: bytes) -> dict[str, object]:
    """Fields of a raw message, or the bytes of a channel that holds something else."""
    from tidebook._core import unpack_message
    from tidebook.cli.channel.decoded import as_text

    try:
        ts_recv, connection, kind, context, body = unpack_message(payload)
    except RawMessageError:
        return {"payload": payload.hex()} if (text := as_text(payload)) is None else {"text": text}
    return {
        "ts_recv": ts_recv,
        "kind": MessageKind(kind).name.lower(),
        "connection": connection,
        "context": context.decode(errors="replace"),
        "body": body.decode(errors="replace"),
    }
