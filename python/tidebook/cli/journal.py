"""`tidebook journal`: what journals hold and whether they are whole."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import Annotated

from cyclopts import Parameter

from tidebook.cli import inputs
from tidebook.cli.output import Json, counted, print_json
from tidebook.errors import JournalDamagedError, RawMessageError, UsageError
from tidebook.feeds.sink import MessageKind

_PREVIEW_BYTES = 96


def ls(*journals: Path, data: Path | None = None, json: Json = False) -> None:
    """List the journals of a data directory and how far each is durable.

    Parameters
    ----------
    journals
        Directories of journals, or of data; default: all of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    """
    from tidebook.persistence import inspect

    found = [inspect(directory) for directory in inputs.journals(journals, data)]
    if json:
        print_json({"journals": [asdict(state) for state in found]})
        return
    for state in found:
        span = f"{state.first_sequence:,} to {state.last_sequence:,}, durable to {state.durable:,}"
        end = "closed" if state.closed else "open or not closed"
        if state.torn_bytes:
            end += f", {state.torn_bytes:,} torn bytes at its end"
        size = f"{counted(state.segments, 'segment')}, {state.size_bytes / 1e6:,.1f} MB"
        print(f"{state.channel}: {span}; {size}; {end}")


def verify(*journals: Path, data: Path | None = None, json: Json = False) -> int:
    """Check every batch of journals; the exit code says whether all are whole.

    Parameters
    ----------
    journals
        Directories of journals, or of data; default: all of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    """
    from tidebook import persistence

    whole, damaged = [], []
    for directory in inputs.journals(journals, data):
        try:
            whole.append(persistence.verify(directory))
        except JournalDamagedError as error:
            damaged.append({"directory": str(directory), "problem": str(error), **error.facts})
    if json:
        print_json({"whole": [asdict(state) for state in whole], "damaged": damaged})
    else:
        for state in whole:
            batches = f"{state.batches:,} batch{'' if state.batches == 1 else 'es'}"
            print(f"{state.directory}: whole, {counted(state.messages, 'message')} in {batches}")
        for problem in damaged:
            print(f"{problem['problem']}")
    return 1 if damaged else 0


def dump(
    journal: Path | None = None,
    *,
    data: Path | None = None,
    first: Annotated[int, Parameter(name="--from")] = 0,
    limit: int = 20,
    json: Json = False,
) -> None:
    """Print the messages of a journal, oldest first.

    Parameters
    ----------
    journal
        Directory of the journal, or of data with one journal; default: the one of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    first
        Sequence to begin at; 0 for the first held.
    limit
        How many messages; 0 for all.
    """
    from tidebook.persistence import inspect, read

    directory = inputs.one_journal(journal, data)
    if first:
        held = inspect(directory)
        if first > held.durable:
            span = (
                f"{held.first_sequence:,} to {held.durable:,}" if held.durable >= held.first_sequence else "nothing yet"
            )
            raise UsageError(f"--from {first:,} is beyond the end: {directory} holds {span}")
    for sequence, payload in itertools.islice(read(directory, from_sequence=first), limit or None):
        facts = _described(payload)
        if json:
            print_json({"sequence": sequence, **facts})
        else:
            words = [str(value) for key, value in facts.items() if key not in {"body", "payload"} and value != ""]
            text = str(facts.get("body", facts.get("payload")))
            shown = text if len(text) <= _PREVIEW_BYTES else f"{text[:_PREVIEW_BYTES]}… ({len(text):,})"
            print(sequence, *words, shown)


def _described(payload: bytes) -> dict[str, object]:
    """Fields of a raw message, or the bytes of a channel that holds something else."""
    from tidebook._core import unpack_message

    try:
        ts_recv, connection, kind, context, body = unpack_message(payload)
    except RawMessageError:
        return {"payload": payload.hex()}
    return {
        "ts_recv": ts_recv,
        "kind": MessageKind(kind).name.lower(),
        "connection": connection,
        "context": context.decode(errors="replace"),
        "body": body.decode(errors="replace"),
    }
