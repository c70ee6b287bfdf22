"""`tidebook journal repair`: what is damaged, the choices, and what each loses. Without a choice nothing is changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - cyclopts reads annotations
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidebook.cli import inputs
from tidebook.cli.output import Json, counted, print_json
from tidebook.errors import UsageError

if TYPE_CHECKING:
    from tidebook.persistence.repair import Diagnosis


def repair(
    journal: Path | None = None,
    *,
    data: Path | None = None,
    source: Annotated[Path | None, Parameter(name="--from")] = None,
    cut_at: int | None = None,
    json: Json = False,
) -> int:
    """Say what is damaged in a journal and what can be done; with a choice, do it.

    Nothing is destroyed: what is replaced or taken out is kept in the directory `quarantine` of the journal. The exit code is
    1 while the journal is damaged.

    Parameters
    ----------
    journal
        Directory of the journal, or of data with one journal; default: the one of the data directory.
    data
        Data directory; default: the setting `data_directory`.
    source
        Put damaged segments back from this copy of the journal's directory, if they verify and fit. Loses nothing.
    cut_at
        Go on behind this message, which must be the last good one; what follows it is lost to the journal.
    """
    from tidebook import persistence

    if source is not None and cut_at is not None:
        raise UsageError("--from and --cut-at are two choices; make one")
    directory = inputs.one_journal(journal, data)
    found = persistence.examine(directory)
    done: dict[str, object] = {}
    if found.findings and source is not None:
        with inputs.owned_journal(directory, "journal repair"):
            done["restored"] = persistence.restore(directory, source)
    elif found.findings and cut_at is not None:
        with inputs.owned_journal(directory, "journal repair"):
            done["cut"] = asdict(persistence.cut(directory, cut_at))
    after = persistence.examine(directory) if done else found
    hints = _snapshots_beyond(directory, found)
    if json:
        print_json({"diagnosis": asdict(found), "snapshots": hints, **done, "damaged": bool(after.findings)})
        return 1 if after.findings else 0
    _print_findings(found)
    if done:
        _print_done(done, after, found, hints)
    elif found.findings:
        _print_choices(directory, found, hints)
    return 1 if after.findings else 0


def _print_findings(found: Diagnosis) -> None:
    if not found.findings:
        print(f"{found.directory}: whole, up to message {found.last_good:,}; nothing to repair")
        if found.torn_bytes:
            print(
                f"  {found.torn_bytes:,} torn bytes at its end were never acknowledged; the next start goes on without them"
            )
        return
    print(f"{found.directory}: damaged")
    for finding in found.findings:
        sequence = f"message {finding.sequence:,}" if finding.sequence else "an unknown message"
        print(f"  segment {finding.segment}, offset {finding.offset:,}, from {sequence} on: {finding.damage}")


def _print_choices(directory: Path, found: Diagnosis, snapshots: list[str]) -> None:
    lost = f"{found.last_good + 1:,} to {found.last_known:,}, {counted(found.lost_by_cutting, 'message')}"
    print("nothing was changed; the choices are")
    print("  --from DIR       put the damaged segments back from a copy or backup of this directory; loses nothing")
    if found.first_sequence:
        print(
            f"  --cut-at {found.last_good:<8} go on behind message {found.last_good:,}; loses {lost} as far as is known"
        )
    else:
        print("  the oldest header does not verify: without a copy nothing of this journal can be gone on from")
    if snapshots:
        print("  snapshots that reach beyond the last good message, to rebuild what depends on it:")
        for path in snapshots:
            print(f"    {path}")
    kept = directory / "quarantine"
    print(f"what is replaced or taken out is kept in {kept}")


def _print_done(done: dict[str, object], after: Diagnosis, before: Diagnosis, snapshots: list[str]) -> None:
    restored, cut = done.get("restored"), done.get("cut")
    if isinstance(restored, dict):
        for segment, refused in restored.items():
            print(f"segment {segment}: {'put back' if refused is None else 'not put back: ' + refused}")
    if isinstance(cut, dict):
        print(
            f"cut behind message {cut['last_sequence']:,}: {counted(cut['lost'], 'message')} lost as far as is known; the next "
            f"message is of epoch {cut['epoch']}"
        )
        for path in cut["quarantined"]:
            print(f"  kept: {path}")
        for path in snapshots:
            print(f"  move away: {path} holds messages that the journal no longer has")
        channel = before.directory.name
        print(
            f"a ring that still knows the lost messages keeps the channel from starting; see `tidebook channel rm {channel}`"
        )
    if not after.findings:
        print(f"{after.directory}: whole, up to message {after.last_good:,}")


def _snapshots_beyond(directory: Path, found: Diagnosis) -> list[str]:
    """Snapshots of the same data directory taken of later messages than the last good one, the newest first."""
    if not found.findings:
        return []
    snapshots = directory.parent.parent / "snapshots" / directory.name
    later = [
        path for path in snapshots.glob("*/*.snapshot") if path.stem.isdecimal() and int(path.stem) > found.last_good
    ]
    return [str(path) for path in sorted(later, key=lambda path: int(path.stem), reverse=True)]
