"""`tidebook journal export`: the messages of a journal as a file of the usual kinds."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from tidebook.cli import inputs
from tidebook.cli.channel import dump
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.progress import progress_bar
from tidebook.errors import ChannelFormatError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from tidebook.transport.view import Messages

_STDOUT = "-"
_MESSAGES_A_CALL = 65_536


def export(
    journal: Path | None = None,
    *,
    out: Annotated[str, Parameter(name=["-o", "--out"])] = _STDOUT,
    format: Literal["parquet", "csv", "jsonl", "raw"] | None = None,
    data: Path | None = None,
    first: Annotated[int, Parameter(name="--from")] = 0,
    last: Annotated[int, Parameter(name="--to")] = 0,
    force: bool = False,
    json: Json = False,
) -> None:
    """Write the durable messages of a journal into a Parquet, CSV, JSON-lines or raw file.

    Where the journal says what its records are, their fields are columns, as they are: a price in units of 10^-price_exp, a time
    in ns. A file is whole or not there; interrupted, nothing stays of it. Where the layout of the records changes, nothing is
    written and the message is named: export what is before it and what is from it on.

    Parameters
    ----------
    journal
        Directory of the journal, or of data with one journal; default: the one of the data directory.
    out
        File to write; `-` is stdout.
    format
        Default: by the ending of the file, else jsonl. `raw` is the records one after the other, as numpy.fromfile reads
        them; of messages the sequence (8 bytes), the length (4) and the payload of each.
    data
        Data directory; default: the setting `data_directory`.
    first
        Sequence to begin at; default: the oldest there is.
    last
        Sequence to end with; default: the newest that is durable now.
    force
        Replace the file if it exists.
    """
    from tidebook import persistence
    from tidebook._core import JournalReader

    chosen = dump.file_format(out, format)
    if json and out == _STDOUT:
        raise UsageError("--json prints to stdout; name an output file with -o")
    directory = inputs.one_journal(journal, data)
    held = persistence.inspect(directory)
    if first < 0 or last < 0 or (last and first > last):
        raise UsageError(f"--from {first:,} --to {last:,}: name sequences from 1 on, the first before the last")
    until = min(last or held.durable, held.durable)
    begin = first or held.first_sequence
    if first > held.durable:
        raise UsageError(f"--from {first:,} is beyond the end: {directory} holds messages up to {held.durable:,}")
    dtype = _record_type(directory, begin, until)
    reader = JournalReader(directory, from_sequence=begin)
    written = 0
    with (
        dump.opened(out, force) as file,
        progress_bar(f"writing {held.channel}", max(0, until + 1 - begin), bytes=False, quiet=json) as advance,
        dump.WRITERS[chosen](file, dtype) as writer,
    ):
        while written < until + 1 - begin and (found := reader.next(messages_max=_MESSAGES_A_CALL)) is not None:
            sequence, payloads = found
            count = min(len(payloads), until + 1 - sequence)
            writer.write(messages(sequence, [payloads[index] for index in range(count)], dtype))
            written += count
            advance(count)
    if json:
        print_json(
            {"out": out, "format": chosen, "channel": held.channel, "messages": written, "first": begin, "last": until}
        )
        return
    span = f", {begin:,} to {until:,}" if written else ""
    # What goes to stdout may be the file.
    print(
        f"{'stdout' if out == _STDOUT else out}: {counted(written, 'message')} of {held.channel}{span}",
        file=sys.stderr if out == _STDOUT else sys.stdout,
    )


def messages(first: int, payloads: list[bytes], dtype: np.dtype[Any] | None) -> Messages:
    """Messages of a journal, of one record type or none."""
    import numpy as np

    from tidebook.transport.view import Messages

    sequences = np.arange(first, first + len(payloads), dtype="<u8")
    if dtype is None:
        return Messages(sequences, None, payloads)
    return Messages(sequences, np.frombuffer(b"".join(payloads), dtype), None)


def record_types(directory: Path) -> list[tuple[int, np.dtype[Any] | None]]:
    """First message and record type of each part of a journal, oldest first; None for plain messages and what is not recorded."""
    from tidebook.transport.journal import record_layouts
    from tidebook.transport.layout import from_text

    types: list[tuple[int, np.dtype[Any] | None]] = []
    for layout in record_layouts(directory):
        try:
            dtype = from_text(layout.text, layout.record_size_bytes) if layout.text else None
        except ChannelFormatError:
            dtype = None
        if types and types[-1][0] == layout.first_sequence:
            types.pop()  # nothing was written under it
        if not types or types[-1][1] != dtype:
            types.append((layout.first_sequence, dtype))
    return types


def _record_type(directory: Path, first: int, last: int) -> np.dtype[Any] | None:
    """What these messages are by the journal; None where it does not say. Raises: UsageError where it changes among them."""
    types = record_types(directory)
    change = next((at for at, _ in types if first < at <= last), None)
    if change is not None:
        raise UsageError(
            f"{directory}: from message {change:,} on its records have another layout; export up to --to {change - 1} and "
            f"--from {change} on, each into a file of its own"
        )
    return next((dtype for at, dtype in reversed(types) if at <= first), None)
