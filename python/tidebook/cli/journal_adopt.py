"""`tidebook journal adopt`: a journal that was moved is the same one, and no older copy."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads annotations

from tidebook.cli import inputs
from tidebook.cli.output import Json, print_json


def adopt(journal: Path, *, json: Json = False) -> None:
    """Say of a journal that was moved whole that it is no older copy, so that it keeps its epoch.

    Files that were copied are told from those that were written last, and the next start of a copied journal takes a new epoch, because
    more may have been acknowledged behind it. Whoever moved the directory to another disk or machine, whole and closed, knows
    better. Adopt no older copy: its numbers would be given a second time in one epoch.

    Parameters
    ----------
    journal
        Directory of the journal.
    """
    from tidebook import persistence

    with inputs.owned_journal(journal, "journal adopt"):
        persistence.adopt(journal)
        state = persistence.inspect(journal)
    if json:
        print_json({"directory": str(journal), "epoch": state.epoch, "last_sequence": state.last_sequence})
        return
    print(f"{journal}: keeps epoch {state.epoch}, behind message {state.last_sequence:,}")
