"""Who has the places of a ring: it has so many for consumers, and whoever finds none wants to know which programs hold them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tidebook.errors import EndpointBusyError
from tidebook.observe.processes import process

if TYPE_CHECKING:
    from tidebook._core import Ring

_SHOWN_MAX = 8


def all_taken(error: EndpointBusyError, ring: Ring) -> EndpointBusyError:
    """The same error with who holds the places: programs with as many as each has, and names that nobody uses now."""
    taken = ring.status()["consumers"]
    living = Counter(line["process_id"] for line in taken if line["alive"])
    unused = sorted(line["name"] for line in taken if not line["alive"])
    held = []
    for process_id, count in living.most_common(_SHOWN_MAX):
        found = process(process_id)
        held.append(f"{count} by process {process_id} ({'not seen from here' if found is None else found.command})")
    if len(living) > _SHOWN_MAX:
        held.append(f"{len(living) - _SHOWN_MAX} more processes")
    if unused:
        shown = ", ".join(unused[:_SHOWN_MAX])
        held.append(
            f"{len(unused)} by names that nobody uses now ({shown}{', ...' if len(unused) > _SHOWN_MAX else ''})"
        )
    facts: dict[str, Any] = {**error.facts, "process_ids": sorted(living), "unused": unused}
    return EndpointBusyError(f"{error}; taken: {', '.join(held)}", **facts)
