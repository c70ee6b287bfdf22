"""`tidebook replay`: recordings through the market-data engine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli.inputs import RecordingDay, RecordingFile, data_directory, recording_files
from tidebook.cli.output import Json, console, counted, counted_rows, print_json
from tidebook.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from rich.console import Console

    from tidebook.node.replay import ReplayReport

_PLACES_SHOWN = 5
# Half of what a writer buffers: the rows of one piece of work come on top.
_FLUSH_ROWS_MAX = 2_000_000


def replay(
    *files: RecordingFile,
    data: Path | None = None,
    date: RecordingDay = None,
    flush_rows: int = 300_000,
    json: Json = False,
) -> int:
    """Decode recordings, check them against their oracles and, with --data, store what they hold exactly once.

    Parameters
    ----------
    files
        Capture files of one venue, in the order they were recorded; plain, zstd or gzip; `-` for stdin. None with --data:
        what the journals of the directory hold.
    data
        Data directory for the raw journal and the Parquet files; the same command goes on after an interruption.
    date
        Day of recordings whose times count from midnight (LOBSTER, ITCH); default: the one in the file's name.
    flush_rows
        Rows after which what was derived is committed; an interruption repeats at most so much work.
    """
    from tidebook.errors import UsageError
    from tidebook.node.presence import owning

    if not 1 <= flush_rows <= _FLUSH_ROWS_MAX:
        raise UsageError(f"--flush-rows {flush_rows}: name a number of rows from 1 to {_FLUSH_ROWS_MAX:,}")
    if data is not None:
        data = data_directory(data)
    if files:
        reports = [_replay_files(files, data, date, flush_rows, json)]
    elif date is not None:
        raise UsageError("--date is of recordings; name them: tidebook replay FILE ... --date DAY")
    elif data is not None:
        idle = _idle_journals(data)
        with owning(data, "replay"):
            reports = [_replay_journal(data, channel, flush_rows, json) for channel in idle]
    else:
        raise UsageError("no recording named; give capture files: tidebook replay FILE ... [--data DIR]")
    for report in reports:
        if json:
            print_json(asdict(report))
        else:
            _print(report, data)
    return 1 if any(report.damaged for report in reports) else 0


def _replay_files(
    files: Sequence[Path], data: Path | None, day: date | None, flush_rows: int, quiet: bool
) -> ReplayReport:
    from tidebook.node import replay as node
    from tidebook.node.presence import owning
    from tidebook.node.recordings import Recordings

    with recording_files(files) as paths:
        recordings = Recordings(paths, day)
        with progress_bar("replaying", recordings.size_bytes, quiet=quiet) as advance:
            if data is None:
                return node.replay(recordings, advance)
            with owning(data, "replay"):
                return node.replay_into(data, recordings, advance, flush_rows=flush_rows)


def _replay_journal(data: Path, channel: str, flush_rows: int, quiet: bool) -> ReplayReport:
    from tidebook.node.directory import journal_directory
    from tidebook.node.replay import replay_journal
    from tidebook.persistence import inspect

    messages = inspect(journal_directory(data, channel)).last_sequence
    with progress_bar(f"replaying {channel}", messages, bytes=False, quiet=quiet) as advance:
        return replay_journal(data, channel, advance, flush_rows=flush_rows)


def _idle_journals(data: Path) -> list[str]:
    """Channels of feeds with a journal that no node stores already. Raises: UsageError."""
    from tidebook.errors import UsageError
    from tidebook.node.directory import journaled_channels
    from tidebook.node.presence import running_node

    channels = [channel for channel in journaled_channels(data) if channel.startswith("feed.")]
    if not channels:
        raise UsageError(
            f"{data} holds no journal of a feed; give capture files: tidebook replay FILE ... --data {data}"
        )
    node = running_node(data)
    if node is not None:
        raise UsageError(f"a node runs on {data} and stores what its journals hold by itself")
    return channels


def _print(report: ReplayReport, data: Path | None) -> None:
    from rich.table import Table

    screen = console()
    new = "" if report.new is None or report.new == report.messages else f" ({report.new:,} of them new)"
    before = report.decoded - report.messages
    behind = f", decoded behind the {before:,} already there," if before else ""
    speed = f"in {report.seconds:.2f} s ({report.rate:,.0f}/s)"
    screen.print(f"{report.venue}: {counted(report.messages, 'message')}{new}{behind} {speed}")
    rows = counted_rows(report.rows)
    if data is None:
        screen.print(rows or "no rows")
    else:
        screen.print(f"new rows: {rows or 'none'}")
    _print_books(report, screen)
    if report.oracles:
        checks = Table("oracle", box=None, pad_edge=False)
        checks.add_column("passed", justify="right")
        checks.add_column("failed", justify="right")
        for oracle in report.oracles:
            failed = f"[red]{oracle['failed']:,}[/red]" if oracle["failed"] else "0"
            checks.add_row(oracle["name"], f"[green]{oracle['passed']:,}[/green]", failed)
        screen.print(checks)
        if report.checks_failed:
            screen.print("what a failed check says, and what it does not: docs/feeds.md, Oracles")
    malformed = report.counters.get("malformed", 0)
    if report.gaps or malformed:
        screen.print(f"[yellow]{counted(report.gaps, 'gap')}, {counted(malformed, 'frame')} set aside[/yellow]")
    _print_passed_over(report, screen)
    for frame in report.quarantined[:_PLACES_SHOWN]:
        screen.print(f"set aside: message {frame['sequence']:,}, byte {frame['offset']}: expected {frame['expected']}")
    for overlap in report.overlaps:
        screen.print(f"[yellow]overlap:[/yellow] {overlap}")
    for place in report.damaged[:_PLACES_SHOWN]:
        screen.print(f"[red]not readable:[/red] {place}")
    if len(report.damaged) > _PLACES_SHOWN:
        screen.print(f"[red]and {counted(len(report.damaged) - _PLACES_SHOWN, 'more place')}[/red]")
    if report.holdings is not None:
        held = counted_rows({kind: count for kind, count in report.holdings.rows.items() if kind != "instruments"})
        symbols = counted(report.holdings.symbols, "instrument")
        screen.print(
            f"{data} now holds of {symbols}: {held or 'no rows'}; {report.venue} up to message {report.stored:,}"
        )


def _print_passed_over(report: ReplayReport, screen: Console) -> None:
    """What a recording holds that nobody here knows: it changed nothing, and it may be news of the venue."""
    messages, fields, words = (
        report.counters.get(counter, 0) for counter in ("unknown", "unknown_fields", "unknown_values")
    )
    parts = [f"{counted(messages, 'message')} of types that are not decoded"] if messages else []
    parts += [counted(count, what) for count, what in ((fields, "unknown field"), (words, "unknown word")) if count]
    if parts:
        screen.print(f"passed over: {', '.join(parts)}")


def _print_books(report: ReplayReport, screen: Console) -> None:
    usable = report.books_usable
    if usable:
        screen.print(f"books usable: {', '.join(usable) if len(usable) <= _PLACES_SHOWN else f'{len(usable):,}'}")
    never = list(report.books_never_usable.items())
    for symbol, reason in never[:_PLACES_SHOWN]:
        screen.print(f"[yellow]{symbol}: the book was never usable ({reason})[/yellow]")
    if len(never) > _PLACES_SHOWN:
        screen.print(f"[yellow]and {counted(len(never) - _PLACES_SHOWN, 'more book')}[/yellow]")
