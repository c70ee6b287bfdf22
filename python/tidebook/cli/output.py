"""What a command prints: text for people, or one JSON object per result with `--json`."""

import sys
from collections.abc import Mapping
from typing import Annotated

from cyclopts import Parameter

# The flag every command takes: `def command(*, json: Json = False)`.
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object instead of text.")]


def print_json(facts: Mapping[str, object]) -> None:
    """One line of JSON to stdout; dataclasses, paths and times become what JSON has."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(facts, enc_hook=str) + b"\n")
