"""`tidebook channel doctor`: what is wrong, whose fault it is, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tidebook.cli.channel.inputs import Node, Rings, all_channels
from tidebook.cli.output import Json, console, counted, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tidebook.observe.finding import Finding

_MARKS = {"good": "[green]ok  [/]", "note": "[yellow]note[/]", "problem": "[red]BAD [/]"}


def doctor(name: str | None = None, *, node: Node = None, rings: Rings = None, json: Json = False) -> int:
    """Examine the machine and every channel; the exit code says whether something is wrong.

    Parameters
    ----------
    name
        One channel; default: all.
    """
    from tidebook.observe.machine import examine_machine
    from tidebook.transport.doctor import examine_files
    from tidebook.transport.view import find_channel

    files = all_channels(node, rings) if name is None else [find_channel(name, node=node, root=rings)]
    examined = examine_files(files)
    sizes = [file.path.stat().st_size for file in files if file.path.exists()]
    machine = examine_machine(sum(sizes))
    channels = [finding for _, findings in examined for finding in findings]
    bad = sum(finding.level == "problem" for finding in [*machine, *channels])
    if json:
        print_json(
            {
                "machine": [asdict(finding) for finding in machine],
                "channels": [asdict(finding) for finding in channels],
                "examined": [file.title for file in files],
                "problems": bad,
            }
        )
        return 1 if bad else 0
    screen = console()
    subjects = [finding.subject for finding in [*machine, *channels]] + [file.title for file in files]
    width = max(map(len, subjects), default=0)
    _print("machine", machine, width, screen)
    _print(f"channels ({counted(len(files), 'ring')})", channels, width, screen)
    well = [file.title for file, findings in examined if not findings]
    if well:
        _line(_MARKS["good"], f"{counted(len(well), 'channel')}", width, ", ".join(well), screen)
    told = "[green]nothing is wrong[/]" if not bad else f"[red]{counted(bad, 'problem')}[/]"
    screen.print(f"\n{told}")
    return 1 if bad else 0


def _print(title: str, findings: Sequence[Finding], width: int, screen: Console) -> None:
    screen.print(f"[bold]{title}[/]")
    ranks = {"problem": 0, "note": 1, "good": 2}
    for finding in sorted(findings, key=lambda one: ranks[one.level]):
        _line(_MARKS[finding.level], finding.subject, width, finding.what, screen)
        if finding.remedy:
            _line("    ", "", width, f"-> {finding.remedy}", screen, style="dim")


def _line(mark: str, subject: str, width: int, text: str, screen: Console, style: str = "") -> None:
    """A line whose text, where it is too long for the terminal, goes on below itself."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, width=4)
    table.add_column(no_wrap=True, width=width)
    table.add_column(overflow="fold")
    table.add_row(mark, subject, Text(text, style))
    screen.print(table)
