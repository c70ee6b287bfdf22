"""`tidebook channel dump`: the messages of a channel as a file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

from cyclopts import Parameter

from tidebook.cli.channel.inputs import AllowOthers, Node, Rings  # noqa: TC001 - cyclopts reads annotations
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.progress import progress_bar
from tidebook.errors import UsageError
from tidebook.persistence.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pyarrow as pa

    from tidebook.transport.view import Messages

_STDOUT = "-"
_TEXTS = {"symbol", "asset"}

Format = Literal["parquet", "csv", "jsonl", "raw"]


def dump(
    name: str,
    *,
    out: Annotated[str, Parameter(name=["-o", "--out"])] = _STDOUT,
    format: Format | None = None,
    first: Annotated[int, Parameter(name="--from")] = 0,
    last: Annotated[int, Parameter(name="--to")] = 0,
    node: Node = None,
    rings: Rings = None,
    allow_others: AllowOthers = False,
    force: bool = False,
    json: Json = False,
) -> int:
    """Write the messages of a channel into a file.

    Fields are written as they are: a price in units of 10^-price_exp, a time in ns. The exit code is 1 when messages of the
    span asked for were overwritten or damaged. Of a durable channel what is on disk is written.

    Parameters
    ----------
    name
        Channel, such as md.trades or desk/md.trades, or the path of its ring.
    out
        File to write; `-` is stdout.
    format
        Default: by the ending of the file, else jsonl. `raw` is the records one after the other, as numpy.fromfile reads
        them; of messages the sequence (8 bytes), the length (4) and the payload of each.
    first
        Sequence to begin at; default: the oldest there is.
    last
        Sequence to end with; default: the newest there is now.
    force
        Replace the file if it exists.
    """
    from tidebook.transport.view import ChannelView, Damage, Gap, Messages, find_channel

    chosen = file_format(out, format)
    if json and out == _STDOUT:
        raise UsageError("--json prints to stdout; name an output file with -o")
    view = ChannelView(find_channel(name, node=node, root=rings), allow_others=allow_others)
    status = view.status()
    newest = status["durable"] if view.info["visible_durable"] else status["published"]
    if first < 0 or last < 0 or (last and first > last):
        raise UsageError(f"--from {first:,} --to {last:,}: name sequences from 1 on, the first before the last")
    if first > newest:
        raise UsageError(f"--from {first:,} is beyond the end: {view.file.title} holds messages up to {newest:,}")
    until = min(last or newest, newest)
    begin = first or status["oldest"]
    told = _Told()
    with (
        opened(out, force) as file,
        progress_bar(f"writing {view.file.title}", max(0, until + 1 - begin), bytes=False, quiet=json) as advance,
        WRITERS[chosen](file, view.dtype) as writer,
    ):
        at = begin
        for found in view.read(begin):
            if isinstance(found, Messages):
                kept = _up_to(found, until)
                writer.write(kept)
                told.add(kept)
                after = int(found.sequences[-1]) + 1
            elif isinstance(found, Gap):
                told.overwritten += min(found.count, max(0, until + 1 - found.first))
                after = found.first + found.count
            else:
                assert isinstance(found, Damage), "it does not follow"
                told.damaged.append(f"message {found.sequence:,}: byte {found.offset:,}: {found.what}")
                told.unreadable += found.lost
                after = found.sequence + found.lost
            advance(after - at)
            at = after
            if after > until:
                break
    return _report(told, out, chosen, view.file.title, json)


class _Told:
    """What was written and what was not there to be."""

    def __init__(self) -> None:
        self.messages = 0
        self.first = 0
        self.last = 0
        self.overwritten = 0
        self.unreadable = 0
        self.damaged: list[str] = []

    def add(self, messages: Messages) -> None:
        if len(messages):
            self.messages += len(messages)
            self.first = self.first or int(messages.sequences[0])
            self.last = int(messages.sequences[-1])


def _report(told: _Told, out: str, format: str, title: str, json: bool) -> int:
    missing = bool(told.overwritten or told.damaged)
    if json:
        print_json({"out": out, "format": format, "channel": title, **vars(told)})
        return 1 if missing else 0
    span = f", {told.first:,} to {told.last:,}" if told.messages else ""
    # What goes to stdout may be the file.
    print(
        f"{'stdout' if out == _STDOUT else out}: {counted(told.messages, 'message')} of {title}{span}",
        file=sys.stderr if out == _STDOUT else sys.stdout,
    )
    if told.overwritten:
        were = "was" if told.overwritten == 1 else "were"
        print(f"not in it: {counted(told.overwritten, 'message')} that {were} overwritten before", file=sys.stderr)
    for line in told.damaged:
        print(f"not in it: {line}", file=sys.stderr)
    return 1 if missing else 0


def file_format(out: str, asked: Format | None) -> Format:
    """The format asked for, else by the ending of the file. Raises: UsageError for an ending of none."""
    if asked is not None:
        return asked
    ending = Path(out).suffix.removeprefix(".")
    if out == _STDOUT:
        return "jsonl"
    if ending in WRITERS:
        return ending  # type: ignore[return-value]
    raise UsageError(f"{out}: say --format {', '.join(WRITERS)}; its ending is none of them", option="format")


def _up_to(messages: Messages, last: int) -> Messages:
    from tidebook.transport.view import Messages

    count = int((messages.sequences <= last).sum())
    if count == len(messages):
        return messages
    records = None if messages.records is None else messages.records[:count]
    payloads = None if messages.payloads is None else messages.payloads[:count]
    return Messages(messages.sequences[:count], records, payloads)


@contextlib.contextmanager
def opened(out: str, force: bool) -> Iterator[BinaryIO]:
    """The file to write: whole and synced under its name in the end, or not there."""
    if out == _STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(out)
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name or add --force")
    with replacing(path) as staging, staging.open("wb") as file:
        yield file


def _columns(messages: Messages, *, flat: bool = False) -> dict[str, Any]:
    """Columns of these messages for Arrow: fixed lists of fields of several values, or with `flat` a column each."""
    import numpy as np
    import pyarrow as pa

    columns: dict[str, Any] = {"sequence": pa.array(messages.sequences)}
    if messages.records is None:
        columns["message"] = pa.array(messages.payloads, pa.binary())
        return columns
    for name in messages.records.dtype.names or ():
        if name == "reserved":
            continue
        values: np.ndarray[Any, Any] = messages.records[name]
        if values.ndim == 1:
            columns[name] = pa.array(np.ascontiguousarray(values))
        elif name in _TEXTS and values.dtype == np.uint8:
            columns[name] = pa.array(
                [bytes(text).rstrip(b"\0").decode(errors="replace") for text in values], pa.string()
            )
        elif flat:
            columns |= {f"{name}_{at}": pa.array(np.ascontiguousarray(values[:, at])) for at in range(values.shape[1])}
        else:
            flattened = pa.array(np.ascontiguousarray(values).ravel())
            columns[name] = pa.FixedSizeListArray.from_arrays(flattened, values.shape[1])
    return columns


def _text_columns(messages: Messages, *, flat: bool) -> dict[str, Any]:
    """As `_columns`, with bytes (payloads and fields of them) that are text under their name, and others under `<name>_hex`."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name, values in _columns(messages, flat=flat).items():
        kind = values.type.value_type if pa.types.is_fixed_size_list(values.type) else values.type
        if not pa.types.is_binary(kind):
            columns[name] = values
            continue
        found = values.to_pylist()
        columns[name] = texts = [_text(one) for one in found]
        columns[f"{name}_hex"] = [_hex(one) if text is None else None for one, text in zip(found, texts, strict=True)]
    return columns


def text_rows(messages: Messages) -> list[dict[str, Any]]:
    """An object a message: its sequence and fields; bytes are text, or hex under `<name>_hex`."""
    import pyarrow as pa

    columns = {
        name: values.to_pylist() if isinstance(values, pa.Array) else values
        for name, values in _text_columns(messages, flat=False).items()
    }
    rows = zip(*columns.values(), strict=True)
    return [{name: one for name, one in zip(columns, row, strict=True) if one is not None} for row in rows]


def _text(value: bytes | list[bytes]) -> str | list[str] | None:
    try:
        return [one.decode() for one in value] if isinstance(value, list) else value.decode()
    except UnicodeDecodeError:
        return None


def _hex(value: bytes | list[bytes]) -> str | list[str]:
    return [one.hex() for one in value] if isinstance(value, list) else value.hex()


class _Writer:
    """Writes messages into a file that somebody else opens and closes."""

    def __init__(self, file: BinaryIO, dtype: np.dtype[Any] | None) -> None:
        self._file = file
        self._dtype = dtype

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is kept back."""

    def write(self, messages: Messages) -> None:
        raise NotImplementedError

    def _empty(self) -> Messages:
        """No messages of this channel: what a file without any has for columns."""
        import numpy as np

        from tidebook.transport.view import Messages

        sequences = np.empty(0, "<u8")
        return (
            Messages(sequences, None, [])
            if self._dtype is None
            else Messages(sequences, np.empty(0, self._dtype), None)
        )


class _ArrowWriter(_Writer):
    """Parquet and CSV: their head comes with the first messages, or at the end when there were none."""

    _writer: Any = None

    def __exit__(self, *error: object) -> None:
        if error[0] is None and self._writer is None:
            self.write(self._empty())
        if self._writer is not None:
            self._writer.close()

    def write(self, messages: Messages) -> None:
        table = self._table(messages)
        if self._writer is None:
            self._writer = self._open(table.schema)
        self._writer.write_table(table)

    def _table(self, messages: Messages) -> pa.Table:
        raise NotImplementedError

    def _open(self, schema: pa.Schema) -> Any:
        raise NotImplementedError


class _Parquet(_ArrowWriter):
    def _table(self, messages: Messages) -> pa.Table:
        import pyarrow as pa

        return pa.table(_columns(messages))

    def _open(self, schema: pa.Schema) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetWriter(self._file, schema, compression="zstd")


class _Csv(_ArrowWriter):
    def _table(self, messages: Messages) -> pa.Table:
        import pyarrow as pa

        columns = _text_columns(messages, flat=True)
        return pa.table(
            {name: pa.array(one, pa.string()) if isinstance(one, list) else one for name, one in columns.items()}
        )

    def _open(self, schema: pa.Schema) -> Any:
        import pyarrow.csv

        return pyarrow.csv.CSVWriter(self._file, schema)


class _JsonLines(_Writer):
    def write(self, messages: Messages) -> None:
        import msgspec

        for row in text_rows(messages):
            self._file.write(msgspec.json.encode(row) + b"\n")


class _Raw(_Writer):
    def write(self, messages: Messages) -> None:
        if messages.records is not None:
            self._file.write(messages.records.tobytes())
            return
        for sequence, payload in zip(messages.sequences.tolist(), messages.payloads or (), strict=True):
            self._file.write(sequence.to_bytes(8, "little") + len(payload).to_bytes(4, "little") + payload)


WRITERS: dict[str, type[_Writer]] = {"parquet": _Parquet, "csv": _Csv, "jsonl": _JsonLines, "raw": _Raw}
"""By format; each is made of a file and the type of the records, None for messages."""
