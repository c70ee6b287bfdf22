"""`tidebook replay`: recordings through the market-data engine."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING

from tidebook.cli.output import Json, print_json
from tidebook.cli.progress import progress_bar

if TYPE_CHECKING:
    from tidebook.node.replay import ReplayReport

_PLACES_SHOWN = 5


def replay(*files: Path, data: Path | None = None, flush_rows: int = 300_000, json: Json = False) -> int:
    """Decode recordings, check them against their oracles and, with --data, store what they hold exactly once.

    Parameters
    ----------
    files
        Capture files of one venue, in the order they were recorded; plain, zstd or gzip.
    data
        Data directory for the raw journal and the Parquet files; the same command goes on after an interruption.
    flush_rows
        Rows after which what was derived is committed; an interruption repeats at most so much work.
    """
    from tidebook.errors import UsageError
    from tidebook.node.recordings import Recordings

    if not files:
        raise UsageError("no recording named; give capture files: tidebook replay FILE ... [--data DIR]")
    recordings = Recordings(files)
    with progress_bar("replaying", recordings.size_bytes, quiet=json) as advance:
        if data is None:
            from tidebook.node.replay import replay as decode

            report = decode(recordings, advance)
        else:
            from tidebook.node.replay import replay_into

            report = replay_into(data, recordings, advance, flush_rows=flush_rows)
    if json:
        print_json(vars(report))
    else:
        _print(report, data)
    return 1 if report.damaged else 0


def _print(report: ReplayReport, data: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    checks = Table("oracle", box=None, pad_edge=False)
    checks.add_column("passed", justify="right")
    checks.add_column("failed", justify="right")
    for oracle in report.oracles:
        failed = f"[red]{oracle['failed']:,}[/red]" if oracle["failed"] else "0"
        checks.add_row(oracle["name"], f"[green]{oracle['passed']:,}[/green]", failed)
    rows = ", ".join(f"{count:,} {kind}" for kind, count in report.rows.items() if count)
    console.print(f"{report.venue}: {report.messages:,} messages in {report.seconds:.2f} s ({report.rate:,.0f}/s)")
    if data is not None:
        console.print(f"{data}: {rows or 'no new'} rows; stored up to message {report.stored:,}")
    elif rows:
        console.print(rows)
    if report.oracles:
        console.print(checks)
    malformed = report.counters.get("malformed", 0)
    if report.gaps or malformed:
        console.print(f"[yellow]{report.gaps:,} gaps, {malformed:,} frames set aside[/yellow]")
    for frame in report.quarantined[:_PLACES_SHOWN]:
        console.print(f"set aside: message {frame['sequence']:,}, byte {frame['offset']}: expected {frame['expected']}")
    for place in report.damaged[:_PLACES_SHOWN]:
        console.print(f"[red]not readable:[/red] {place}")
    if len(report.damaged) > _PLACES_SHOWN:
        console.print(f"[red]and {len(report.damaged) - _PLACES_SHOWN} more places[/red]")
