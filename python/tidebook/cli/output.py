"""What a command prints: text for people, or one JSON object per result with `--json`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

_WIDTH_IN_A_PIPE = 10_000

# The flag every command takes: `def command(*, json: Json = False)`.
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object instead of text.")]


def print_json(facts: Mapping[str, object]) -> None:
    """One line of JSON to stdout; dataclasses, paths and times become what JSON has."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(facts, enc_hook=str) + b"\n")


def console() -> Console:
    """For text with colours and tables; as wide as the terminal, and without a bound where there is none."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH_IN_A_PIPE)


def counted(count: int, word: str) -> str:
    """`1 instrument`, `2 instruments`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def counted_rows(rows: Mapping[str, int]) -> str:
    """`9,757 trades, 1 bar`; empty when there are none."""
    return ", ".join(
        f"{count:,} {kind.removesuffix('s') if count == 1 and kind != 'status' else kind}"
        for kind, count in rows.items()
        if count
    )
