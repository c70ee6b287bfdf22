"""Something an operator should know, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["good", "note", "problem"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at and what is with it."""

    level: Level
    subject: str
    """A channel, or a part of the machine."""
    what: str
    """What is so, in a line."""
    remedy: str = ""
    """What to do; empty where nothing has to be done."""
    short: str = ""
    """In a word or three, for a table."""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same for programs."""
