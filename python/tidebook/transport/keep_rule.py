"""What of a channel's journal is to stay: the rule of who makes the channel, as its journal keeps it.

It stands in the journal's configuration, so that who looks at a journal, or compacts one that nobody runs, finds it there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from tidebook._core import journal_configurations, journal_keep_rule
from tidebook.errors import JournalError

FOREVER: Final = "forever"
EVEN_UNREAD: Final = ", even unread"
"""How a rule ends that readers do not hold back."""
THRESHOLD_BYTES: Final = 1 << 30
_UNITS: Final = {
    "size": (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)),
    "age": (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)),
}


@dataclass(frozen=True, kw_only=True)
class KeepPlan:
    """When messages of a journal may go."""

    rule: str = FOREVER
    """As `ChannelOptions.keep` has it."""
    threshold_bytes: int = THRESHOLD_BYTES
    """A journal up to this size is left alone."""
    snapshots: Path | None = None
    """Where the snapshots are that the rule counts."""

    @property
    def conditions(self) -> str:
        """The rule without what it says of readers."""
        return self.rule.removesuffix(EVEN_UNREAD)

    @property
    def spares_readers(self) -> bool:
        """What a reader needs stays."""
        return not self.rule.endswith(EVEN_UNREAD)

    @property
    def counts_consumers(self) -> bool:
        """What no consumer needs may go, and nothing else."""
        return "consumers" in self.conditions.split(" and ")

    @property
    def removes(self) -> bool:
        """Something may go by it."""
        return self.conditions != FOREVER

    def checked(self) -> KeepPlan:
        """The same, spelled as the core does. Raises: JournalError for a rule that is none."""
        conditions = journal_keep_rule(self.conditions)
        if "stored" in conditions.split(" and "):
            raise JournalError(
                f"keep rule {self.rule!r}: the rows that `stored` counts are of a node's feeds, and of a channel of one's own it would "
                "keep everything; write forever, or some of snapshots 2, consumers, age 24h, size 10GiB"
            )
        if "snapshots" in conditions and self.snapshots is None:
            raise JournalError(f"keep rule {self.rule!r} counts snapshots: say where they are, with snapshots_dir")
        return replace(self, rule=conditions + ("" if self.spares_readers else EVEN_UNREAD))

    def configuration(self, journal: Path) -> str:
        """What the journal in this directory keeps of it, JSON; empty where everything stays.

        Snapshots beside the directory of journals are told from there: those of a copy are then its own.
        """
        if not self.removes:
            return ""
        said = {"keep": self.rule, "compaction_threshold": self.threshold_bytes}
        if self.snapshots is not None:
            beside = journal.absolute().parent.parent
            is_beside = beside != beside.parent and self.snapshots.is_relative_to(beside)
            said["snapshots_dir"] = os.path.relpath(self.snapshots, journal) if is_beside else str(self.snapshots)
        return json.dumps(said, sort_keys=True)


def spelled(rule: str) -> str:
    """A rule for people: in the largest units that say the same, as the core gives bytes and seconds."""
    words = rule.split(" ")
    for index, (word, value) in enumerate(pairwise(words)):
        number = value.rstrip("s,")
        if word not in _UNITS or not number.isdecimal() or not int(number):
            continue
        unit, factor = next(((unit, factor) for unit, factor in _UNITS[word] if int(number) % factor == 0), ("", 1))
        words[index + 1] = f"{int(number) // factor}{unit}" + ("," if value.endswith(",") else "")
    return " ".join(words)


def plan_of(journal: Path) -> KeepPlan:
    """The rule that a journal was last run with; `forever` where it says none.

    Raises: JournalAbsentError; JournalDamagedError for a damaged header.
    """
    changes = journal_configurations(journal)
    said = changes[-1]["configuration"] if changes else None
    try:
        options = json.loads(said or "{}").get("options") or {}
        snapshots = options.get("snapshots_dir")
        return KeepPlan(
            rule=str(options.get("keep", FOREVER)),
            threshold_bytes=int(options.get("compaction_threshold", THRESHOLD_BYTES)),
            snapshots=None if snapshots is None else Path(os.path.normpath(journal.absolute() / snapshots)),
        )
    except (ValueError, TypeError, AttributeError):
        return KeepPlan()  # the configuration of something else
