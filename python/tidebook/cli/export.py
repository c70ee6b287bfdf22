"""`tidebook export`: a raw journal back into a capture file."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from cyclopts import Parameter

from tidebook.cli.inputs import data_directory
from tidebook.cli.output import Json, counted, print_json
from tidebook.cli.progress import progress_bar
from tidebook.errors import UsageError
from tidebook.node.export import export_journal
from tidebook.persistence.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator


def export(
    out: str = "-",
    *,
    data: Path | None = None,
    channel: str | None = None,
    format: Literal["tbcap", "hftbacktest", "cbcap"] = "tbcap",
    first: Annotated[int, Parameter(name="--from")] = 0,
    force: bool = False,
    json: Json = False,
) -> None:
    """Write a raw journal as a capture file, the recorded bytes bit for bit.

    Parameters
    ----------
    out
        File to write; `-` is stdout. A name ending in .zst is compressed.
    data
        Data directory; default: the setting `data_directory`.
    channel
        Channel to export, such as feed.binance; needed when the directory has several journals.
    format
        tbcap holds every message; hftbacktest and cbcap give such recordings back as they were, and hold one symbol.
    first
        Message to begin with; default: the first there ever was. Where older messages were compacted away it has to be named.
    force
        Replace the file if it exists.
    """
    if first < 0:
        raise UsageError(f"--from {first:,}: name a message from 1 on")
    if json and out == "-":
        raise UsageError("--json prints to stdout; name an output file")
    directory = data_directory(data)
    with _opened(out, force) as file, progress_bar("exporting", None, bytes=False, quiet=json) as advance:
        exported = export_journal(directory, channel, format, file, advance, first=first)
    left_out = f", {exported.left_out:,} left out that {format} has no word for" if exported.left_out else ""
    begins = f", from message {exported.first_sequence:,} on" if exported.first_sequence > 1 else ""
    if json:
        print_json({"out": out, "format": format, **vars(exported)})
        return
    shown = sys.stderr if out == "-" else sys.stdout  # what goes to stdout is the file
    for hole_first, hole_last in exported.holes:
        print(
            f"{exported.channel}: messages {hole_first:,} to {hole_last:,} were given up by a cut of the journal",
            file=shown,
        )
    if out != "-" or begins:
        print(f"{out}: {counted(exported.messages, 'message')} of {exported.channel}{begins}{left_out}", file=shown)


@contextlib.contextmanager
def _opened(out: str, force: bool) -> Iterator[BinaryIO]:
    """The file to write: whole and synced under its name in the end, or not there."""
    if out == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(out)
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name or add --force")
    with (
        replacing(path) as staging,
        _compressed(staging) if path.suffix == ".zst" else staging.open("wb") as file,
    ):
        yield file


def _compressed(path: Path) -> BinaryIO:
    import pyarrow

    stream: BinaryIO = pyarrow.output_stream(path, compression="zstd")
    return stream
